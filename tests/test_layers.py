"""Layers of every kind that can be cut are cut and counted right; the rest is told, or refused,
before anything is trained."""

import copy
import logging

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lthray.__main__ import main
from lthray.config import options
from lthray.config.fields import ConfigError
from lthray.core import layers
from lthray.core.random import generator
from lthray.core.ticket import Mask
from lthray.measure import cost
from lthray.prune import channels, criteria
from lthray.prune.responses import channel_hsic
from lthray.task import networks
from lthray.trial.preflight import check
from lthray.trial.workshop import workshop_of

from . import nets
from .conftest import TINY, making_of, probe_of, rounds, tiny
from .test_buffers import SHAPE, classifier, own
from .test_channels import answer, drawn, pruned
from .test_cli import argv_of
from .test_cost import flops_of
from .test_trajectory import masks

X = torch.randn(2, *SHAPE, generator=generator("layers"))
EXAMPLE = (X, torch.tensor([3, 700]))
TRANSPOSED = {
    "one side": (nn.ConvTranspose1d(4, 6, 3, stride=2), (4, 5)),
    "two sides": (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), (4, 5, 6)),
    "three sides": (nn.ConvTranspose3d(4, 6, 2), (4, 3, 3, 3)),
    "groups": (nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 5, 5)),
    "depthwise": (nn.ConvTranspose2d(4, 4, 3, groups=4), (4, 5, 5)),
}


@pytest.mark.parametrize("kind", TRANSPOSED)
def test_each_output_of_a_transposed_convolution_is_made_by_its_row_alone(kind):
    layer, shape = TRANSPOSED[kind]
    turned = layers.turned_groups(nn.Sequential(layer))
    stored = {"0.weight": layer.weight.detach().clone()}
    rows = layers.outputs_first(stored, turned)["0.weight"]
    assert rows.shape[:2] == (layer.out_channels, layer.in_channels // layer.groups)
    x = torch.randn(1, *shape, generator=generator("turned", kind))
    whole = layer(x).detach()
    for output in range(layer.out_channels):
        alone = torch.zeros_like(rows)
        alone[output] = rows[output]
        one = copy.deepcopy(layer)
        back = layers.as_stored({"0.weight": alone}, turned)["0.weight"]
        with torch.no_grad():
            one.weight.copy_(back)
            one.bias.zero_()
        said = one(x)[0] + layer.bias.reshape(-1, *[1] * (len(shape) - 1))
        assert torch.allclose(said[output], whole[0, output], atol=1e-6)
        assert not (said.detach() - layer.bias.reshape(-1, *[1] * (len(shape) - 1)))[:output].any()
    assert torch.equal(layers.as_stored({"0.weight": rows}, turned)["0.weight"], stored["0.weight"])


@pytest.mark.parametrize("kind", TRANSPOSED)
def test_macs_of_a_transposed_convolution_are_half_of_torchs_flops(kind):
    layer, shape = TRANSPOSED[kind]
    x = torch.zeros(3, *shape)
    found = cost.macs(nn.Sequential(layer), Mask({}), (x,))
    pixels = x[0, 0].numel()
    assert found["cost/macs_dense"] == layer.weight.numel() * pixels
    if layer.groups == 1:  # torch's counter takes no notice of groups there
        assert 2 * 3 * found["cost/macs_dense"] == flops_of(layer, (x,))


@pytest.mark.parametrize("name", ["Plain", "Up", "LayerNorm", "Depthwise", "Norm", "Fourier"])
def test_macs_of_a_network_are_half_of_torchs_flops(name):
    network = getattr(nets, name)(SHAPE, 2).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*EXAMPLE)
    found = cost.macs(network, Mask({}), EXAMPLE)
    assert 2 * len(X) * found["cost/macs_dense"] == counter.get_total_flops()


def test_a_weight_that_two_layers_share_is_one_weight_and_is_used_twice(store):
    network = nets.Shared(SHAPE, 2)
    shapes = networks.layers(network, EXAMPLE)
    assert list(shapes) == ["first.weight", "middle.weight", "last.weight"]
    once = cost.macs(nets.Plain(SHAPE, 2), Mask({}), EXAMPLE)["cost/macs_dense"]
    middle = 8 * 8 * 9 * 64
    assert cost.macs(network, Mask({}), EXAMPLE)["cost/macs_dense"] == once + middle
    config = own("Shared")
    check(config)
    found = rounds(config, store)
    making, chosen = making_of(config, store)
    left = making.make(chosen.rungs[2].chain).network()
    assert left.again.weight is left.middle.weight
    assert int((left.middle.weight != 0).sum()) <= round(0.3 * 8 * 8 * 9)
    assert found[2].densities["middle.weight"] == pytest.approx(0.3, abs=0.01)
    with pytest.raises(ConfigError, match=r"middle\.weight is shared by 2 layers; prune\.unit"):
        check(own("Shared", prune__unit="channel", rewind__rule="init"))


# units and criteria know the outputs of a transposed convolution


def test_n_of_m_are_inputs_of_each_output_of_a_transposed_convolution(store):
    config = own(
        "Up",
        prune__unit="n_of_m",
        prune__ladder=(0.5,),
        prune__layers=(("first", 1.0), ("*", "free")),
    )
    check(config)
    rounds(config, store)
    bits = masks(config, store)[1]["up.weight"]  # [12 inputs, 8 outputs, 4, 4]
    for output in range(8):
        for group in range(3):
            kept = bits[4 * group : 4 * group + 4, output].sum(0)
            assert (kept == 2).all()


def test_hsic_is_shared_out_over_the_weights_of_each_output():
    network = nets.Up(SHAPE, 2).eval()
    names = list(networks.layers(network, EXAMPLE))
    probe = probe_of(network)
    by_channel = channel_hsic(network, names, probe)
    scores = criteria.hsic(network, names, probe)
    for name in names:
        sums_over = (0, 2, 3) if name == "up.weight" else (1, 2, 3)
        shared = scores[name].sum(sums_over)
        assert torch.allclose(shared, by_channel[name].double(), rtol=1e-6), name


def test_channels_of_a_linear_layer_on_images_with_channels_last_are_its_own():
    network = nets.LayerNorm(SHAPE, 2).eval()
    names = list(networks.layers(network, EXAMPLE))
    found = channel_hsic(network, names, probe_of(network))
    assert {name: len(found[name]) for name in names} == {
        "first.weight": 8,
        "middle.weight": 8,
        "wide.weight": 12,
        "narrow.weight": 8,
        "last.weight": 1,
    }


# channels


CUT = ["Plain", "Norm", "Depthwise", "LayerNorm", "Up", "Slope", "Fourier"]


@pytest.mark.parametrize("name", CUT)
def test_what_is_left_is_what_torch_pruning_leaves(name):
    network = getattr(nets, name)(SHAPE, 2).eval()
    with torch.no_grad():
        for key, tensor in (*network.named_parameters(), *network.named_buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator("moved", key)))
    coupling = channels.find(network, EXAMPLE, networks.layers(network, EXAMPLE), [])
    kept = drawn(coupling)
    cover = coupling.left(kept)
    ours = channels.shrink(network, cover)
    theirs = pruned(network, EXAMPLE, kept, {})
    assert torch.equal(answer(ours, EXAMPLE), answer(theirs, EXAMPLE))
    assert str(ours) == str(theirs)  # every size that a layer notes
    expected = theirs.state_dict()
    for key, tensor in ours.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    whole = Mask.full(networks.layers(network, EXAMPLE))
    mask = coupling.mask(kept, whole)
    assert coupling.channels(mask) == kept
    assert sum(p.numel() for p in ours.parameters()) < sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", ["Norm", "Depthwise", "LayerNorm", "Up"])
def test_a_trial_of_channels_runs_down_the_ladder(store, name):
    config = own(name, prune__unit="channel", prune__ladder=(0.6, 0.4), rewind__rule="init")
    check(config)
    found = rounds(config, store)
    making, chosen = making_of(config, store)
    for rung, r in zip(chosen.rungs[1:], found[1:], strict=True):
        network = making.make(rung.chain).network()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(*workshop_of(config).example)
        assert 2 * r.metrics["cost/macs_dense"] == counter.get_total_flops()
        assert r.metrics["cost/parameters"] == sum(p.numel() for p in network.parameters())
        assert r.metrics["density/prunable"] <= r.density


def test_channels_of_a_grouped_convolution_stay_and_others_go():
    network = nets.Grouped(SHAPE, 2).eval()
    coupling = channels.find(network, EXAMPLE, networks.layers(network, EXAMPLE), [])
    assert [group.name for group in coupling.groups] == ["more.weight"]


# told before anything is trained


def test_what_no_mask_cuts_is_told_with_its_share(caplog):
    with caplog.at_level(logging.WARNING, "lthray"):
        check(own("Attention"))
    network = nets.Attention(SHAPE, 2)
    weights = {n: p.numel() for n, p in network.named_parameters() if p.dim() > 1}
    left = weights["attention.in_proj_weight"] + weights["attention.out_proj.weight"]
    line, products = caplog.messages
    assert f"{100 * left / sum(weights.values()):.3g} % of its weights are in attention.in" in line
    assert "% of its multiply-accumulates lie in no layer" in products
    caplog.clear()
    check(own("Up"))
    assert caplog.messages == []


PIXELS, WIDTH = 64, 8
CONVOLUTIONS = PIXELS * 9 * (2 * WIDTH + WIDTH * WIDTH + WIDTH)
ATTENTION = 2 * PIXELS * PIXELS * WIDTH  # queries by keys, and that by values
PROJECTIONS = 4 * PIXELS * WIDTH * WIDTH  # queries, keys, values and what is made of all


@pytest.mark.parametrize(
    ("name", "left"),
    [("Plain", 0), ("Up", 0), ("Products", ATTENTION), ("Attention", ATTENTION + PROJECTIONS)],
)
def test_products_that_no_layer_makes_are_told_with_their_share(name, left, caplog):
    network = getattr(nets, name)(SHAPE, 2).eval()
    share = cost.outside_layers(network, EXAMPLE)
    counted = cost.macs(network, Mask({}), EXAMPLE)["cost/macs_dense"]
    if name != "Up":
        assert counted == CONVOLUTIONS
    assert share == pytest.approx(left / (left + counted))
    with caplog.at_level(logging.WARNING, "lthray"):
        check(own(name))
    told = [line for line in caplog.messages if "multiply-accumulates" in line]
    assert len(told) == (left > 0)
    if told:
        assert f"tests.nets:{name}': {100 * share:.3g} % of its multiply-acc" in told[0]


def test_products_of_a_unet_with_attention_are_told_too(caplog):
    with caplog.at_level(logging.WARNING, "lthray"):
        check(tiny(model__attention=(0,)))
    assert ["multiply-accumulates" in line for line in caplog.messages] == [True]


COLLAPSE = "prune.least keeps a share of every layer"
REFUSED = {
    "pattern": (
        "Plain",
        {"prune.unit": "n_of_m", "prune.ladder": (0.5,)},
        "prune.group = 4: first.weight has 2 inputs; prune.layers can keep it whole",
    ),
    "nothing left": (
        "Plain",
        {"prune.ladder": (0.5, 0.006)},
        f"no weight left at round 1, density 0.006: last.weight; {COLLAPSE}",
    ),
    "fewer than layers": (
        "Plain",
        {"prune.ladder": (0.001,), "prune.budget": "overall"},
        "1 weights are fewer than the 3 layers that may be cut, so one would be empty",
    ),
    "no channels": (
        "Attention",
        {"prune.unit": "channel", "prune.ladder": (0.5,)},
        "with prune.unit = 'channel' at least 1 of the weights stays",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_cut_that_cannot_be_made_is_one_line_and_exit_2(case, tmp_path, monkeypatch, capsys):
    name, words, said = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    flat = TINY | nets.OWN | {"model.name": f"tests.nets:{name}", "prune.budget": "uniform"}
    assert main(["trial", *argv_of(flat | words)]) == options.BAD_INPUT
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert said in lines[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["Recurrent", "Shuffled", "Volume", "Filtered"])
def test_channels_that_cannot_be_followed_are_refused_and_single_weights_are_cut(name):
    with pytest.raises(ConfigError) as caught:
        check(own(name, prune__unit="channel", rewind__rule="init"))
    (line,) = caught.value.faults
    assert line.startswith("prune.unit = 'channel': cannot cut model.name = 'tests.nets:")
    assert line.endswith("; prune.unit = 'weight' cuts single weights")
    check(own(name))


def test_an_empty_layer_that_other_scores_may_fill_is_not_refused(caplog):
    with caplog.at_level(logging.WARNING, "lthray"):
        check(own("Plain", prune__ladder=(0.005,), prune__budget="overall"))
    assert caplog.messages == []


def test_every_distinct_recipe_is_cut_once(monkeypatch):
    from lthray.trial import preflight

    seen = []
    cut = preflight.Rehearsal._cut
    monkeypatch.setattr(
        preflight.Rehearsal, "_cut", lambda self, config: (seen.append(config), cut(self, config))
    )
    base = classifier()
    others = [classifier(seed=seed) for seed in range(3)]
    others += [classifier(prune__budget=budget) for budget in ("uniform", "erk", "erk")]
    check(base, others)
    assert [config.prune.budget for config in seen] == ["uniform", "erk"]
    bad = classifier(prune__unit="n_of_m", prune__ladder=(0.5,))
    with pytest.raises(ConfigError, match=r"prune\.group = 4: 0\.weight has 1 inputs"):
        check(base, [bad])


@pytest.mark.parametrize("criterion", criteria.CRITERIA)
def test_a_trial_cut_trains_nothing_and_stores_nothing(criterion, tmp_path, monkeypatch):
    from lthray.trial import preflight

    def stop(*_args, **_words):
        raise AssertionError("a step was trained")

    monkeypatch.setattr("lthray.trial.training._Session.step", stop)
    preflight.Rehearsal().rehearse([classifier(prune__criterion=criterion)])
