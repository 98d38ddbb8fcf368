"""Costs are counted, not guessed."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lthray.config.parts import Model
from lthray.core.ticket import Mask
from lthray.measure import cost
from lthray.task import networks

EXAMPLE = (torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64))


def flops_of(network, example) -> int:
    """torch's own counter: two a multiply-accumulate."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*example)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("config", "example"),
    [
        (Model(), EXAMPLE),
        (Model(name="lenet300"), EXAMPLE[:1]),
        (Model(name="lenet5"), EXAMPLE[:1]),
    ],
)
def test_dense_macs_are_half_of_torchs_flops(config, example):
    network = networks.build(config, (1, 8, 8), 10, 0)
    macs = cost.macs(network, Mask({}), example)
    assert 2 * macs["cost/macs_dense"] == flops_of(network, example)


def test_macs_are_of_one_image_whatever_the_batch():
    network = networks.build(Model(), (1, 8, 8), 10, 0)
    many = (torch.zeros(5, 1, 8, 8), torch.zeros(5, dtype=torch.int64))
    assert cost.macs(network, Mask({}), many) == cost.macs(network, Mask({}), EXAMPLE)


def test_masked_macs_count_kept_weights_once_for_every_use():
    network = networks.build(Model(), (1, 8, 8), 10, 0)
    shapes = networks.layers(network, EXAMPLE)
    mask = Mask(
        {
            n: torch.rand(s, generator=torch.Generator().manual_seed(0)) < 0.1
            for n, s in shapes.items()
        }
    )
    found = cost.macs(network, mask, EXAMPLE)
    assert 0.09 < found["cost/macs_masked"] / found["cost/macs_dense"] < 0.11
    name = "down_blocks.0.resnets.0.conv1.weight"
    only = cost.macs(network, Mask({name: mask[name]}), EXAMPLE)
    cut = int((~mask[name]).sum()) * 64  # each weight of a convolution on 8 x 8 is used 64 times
    assert only["cost/macs_dense"] - only["cost/macs_masked"] == cut


def test_parameters_are_counted_over_everything():
    network = networks.build(Model(), (1, 8, 8), 10, 0)
    shapes = networks.layers(network, EXAMPLE)
    free = [n for n in shapes if not n.startswith(("conv_in", "conv_out", "time_embedding"))]
    first = {}
    for name in free:
        first[name] = torch.zeros(shapes[name], dtype=torch.bool)
        first[name].view(-1)[0] = True
    mask = Mask(first)
    found = cost.parameters(network, mask, free)
    assert found["cost/parameters"] == 159_697
    assert found["cost/prunable"] == mask.size
    assert found["cost/kept"] == 159_697 - mask.size + len(free)
    assert found["density/prunable"] == len(free) / mask.size
    assert found["density/total"] == found["cost/kept"] / 159_697


def test_a_ticket_is_small(store):
    """Bits and a config are at most a twenty-fifth of the dense weights, at density 0.1."""
    from lthray.config.trial import TrialConfig

    from .conftest import rounds

    config = TrialConfig.from_flat(
        {
            "train.steps": 2,
            "rewind.rule": "init",
            "prune.ladder": (0.1,),
            "prune.budget": "uniform",
            "measure.samples": 0,
        }
        | {"measure.images": 8, "measure.checkpoints": 0}
    )
    ticket = rounds(config, store)[1]
    dense = 4 * ticket.metrics["cost/parameters"]
    assert ticket.metrics["cost/ticket_bytes"] == len(ticket.files["ticket"])
    assert dense / ticket.metrics["cost/ticket_bytes"] >= 25
    assert dense / ticket.metrics["cost/ticket_bytes_with_weights"] >= 3.5


def test_a_ticket_as_large_as_a_smaller_network_has_its_parameters():
    network, smaller = (
        networks.build(Model(channels=(c,), groups=4), (1, 8, 8), 10, 0) for c in (16, 8)
    )
    shapes = networks.layers(network, EXAMPLE)
    whole, count = Mask.full(shapes), sum(p.numel() for p in smaller.parameters())
    found = cost.as_if({"cost/parameters": count}, network, whole, shapes)
    total = sum(p.numel() for p in network.parameters())
    assert found["density/total"] == count / total
    assert found["density/prunable"] == 1 - (total - count) / whole.size
