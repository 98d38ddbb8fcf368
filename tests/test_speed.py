"""Timing, executed operations and sparse layers: laws, and independent implementations."""

import math

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from torch import nn

from lthray.findings import stats
from lthray.measure import cost, speed
from lthray.trial.workshop import workshop_of

from . import nets
from .conftest import lenet, tiny

EXAMPLES = {
    "unet": tiny(model__channels=(8, 16), model__attention=(1,), model__head=4),
    "lenet300": lenet(),
    "lenet5": lenet(model__name="lenet5", model__channels=(4, 8)),
    "resnet": lenet(model__name="resnet", model__channels=(8, 16), model__groups=4),
}


def network_of(name: str, batch: int = 3):
    """Return a network and inputs of so many images."""
    workshop = workshop_of(EXAMPLES[name])
    return workshop.network(1).eval(), workshop.task.example(torch.randn(batch, *workshop.shape))


def answers(network, example):
    with torch.no_grad():
        out = network(*example)
    return getattr(out, "sample", out)


@pytest.mark.parametrize("name", EXAMPLES)
def test_sparse_layers_answer_as_dense_ones_do(name):
    network, example = network_of(name)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= torch.rand(parameter.shape) < 0.3
    changed = speed.sparse(network)
    kinds = [type(module) for module in changed.modules()]
    assert not {nn.Linear, nn.Conv2d} & set(kinds)
    assert torch.allclose(answers(changed, example), answers(network, example), atol=1e-5)


@pytest.mark.parametrize("words", [{"stride": 2}, {"dilation": 2, "padding": 3}, {"bias": False}])
def test_a_sparse_convolution_is_that_of_torch(words):
    layer = nn.Conv2d(3, 5, (3, 2), **words)
    x = torch.randn(2, 3, 9, 7)
    assert torch.allclose(speed.SparseConvolution(layer)(x), layer(x), atol=1e-5)


def test_convolutions_with_groups_or_other_padding_stay_as_they_are():
    network = nn.Sequential(nets.Depthwise((1, 8, 8), 2), nn.Conv2d(1, 1, 3, padding="same"))
    kept = [module for module in speed.sparse(network).modules() if isinstance(module, nn.Conv2d)]
    assert len(kept) == 2


@pytest.mark.parametrize("name", ["lenet300", "lenet5", "resnet"])
def test_executed_operations_are_those_of_all_layers(name):
    """Torch counts them, and so does lthray, layer by layer."""
    network, example = network_of(name)
    counted = cost.macs(network, workshop_of(EXAMPLES[name]).whole(()), example)
    assert speed.executed(network, example) == counted["cost/macs_dense"]


def test_attention_executes_more_than_its_layers():
    network, example = network_of("unet")
    counted = cost.macs(network, workshop_of(EXAMPLES["unet"]).whole(()), example)
    share = cost.outside_layers(network, example)
    whole = counted["cost/macs_dense"] / (1 - share)
    assert speed.executed(network, example) == pytest.approx(whole)


def test_the_peak_is_what_lives_at_once():
    """The first layer's output stays beside the activation; both go before the last one is made."""
    network = nn.Sequential(
        nn.Linear(1000, 500, bias=False), nn.ReLU(), nn.Linear(500, 10, bias=False)
    )
    x = torch.randn(64, 1000)
    weights = sum(parameter.nbytes for parameter in network.parameters())
    assert speed.peak(network, (x,)) == weights + x.nbytes + 2 * 64 * 500 * 4
    small = nn.Sequential(nn.Linear(1000, 10, bias=False))
    assert speed.peak(small, (x,)) == small[0].weight.nbytes + x.nbytes + 64 * 10 * 4


def test_modelled_energy_is_of_operations_and_of_weights_that_are_read():
    assert speed.energy(1e12, 0, 1) == pytest.approx(4.6)
    assert speed.energy(0, 1e9, 1) == pytest.approx(0.64)
    assert speed.energy(0, 1e9, 64) == pytest.approx(0.01)


def test_networks_take_turns_and_who_begins_changes(monkeypatch):
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    monkeypatch.setattr(speed, "_calls_of_a_turn", lambda call: 1)
    seconds = speed.interleaved(calls, blocks=40)
    turns = order[::2]
    assert turns == order[1::2]  # each is called once before it is timed
    blocks = ["".join(turns[first : first + 3]) for first in range(0, 120, 3)]
    assert {"".join(sorted(block)) for block in blocks} == {"abc"}
    assert len(set(blocks)) == 6
    assert [len(values) for values in seconds.values()] == [40, 40, 40]


def test_what_was_called_before_is_not_felt(monkeypatch):
    """One call leaves the next slower, as one that fills the caches does."""
    now, last = [0.0], [""]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])

    def call(name: str):
        now[0] += 0.02 if last[0] in (name, "") else 0.03
        last[0] = name

    found = speed.interleaved({name: (lambda name=name: call(name)) for name in "abc"}, blocks=6)
    assert all(each == pytest.approx([0.02] * 6) for each in found.values())


def test_seconds_are_those_of_one_call_however_many_a_turn_has(monkeypatch):
    """On a clock that only the calls move."""
    now = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])

    def spend(seconds: float):
        now[0] += seconds

    calls = {"short": lambda: spend(0.0001), "long": lambda: spend(0.05)}
    found = speed.interleaved(calls, blocks=3)
    assert found["short"] == pytest.approx([0.0001] * 3)
    assert found["long"] == pytest.approx([0.05] * 3)
    once = 0.0001 + 0.05
    assert now[0] == pytest.approx(4 * once + 3 * (once + 0.01 + 0.05))  # warm, one; turns


def test_the_interval_of_a_median_covers_it_in_at_least_95_per_cent():
    g, studies = np.random.default_rng(0), 2000
    inside = 0
    for _ in range(studies):
        low, high = stats.median_interval(np.exp(g.normal(size=30)))  # a skew distribution
        inside += low <= 1 <= high
    assert inside / studies >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / studies)
    assert inside / studies <= 0.98


def test_the_interval_of_a_median_is_that_of_scipy():
    x = np.random.default_rng(1).normal(size=25)
    expected = scipy_stats.quantile_test(x, p=0.5).confidence_interval(0.95)
    assert stats.median_interval(x) == pytest.approx((expected.low, expected.high))
    assert stats.median_interval(x[:5]) == (-math.inf, math.inf)
