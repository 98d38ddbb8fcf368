"""Barriers, sharpness, sensitivity and histograms, against what they are by definition."""

import pytest
import torch
from torch import nn

from lthray.core.random import generator
from lthray.core.ticket import Mask
from lthray.measure import anatomy, loss
from lthray.task import data, networks
from lthray.trial.workshop import Workshop, workshop_of

from .conftest import lenet, rounds, tiny


@pytest.fixture(params=[tiny, lenet])
def workshop(request) -> Workshop:
    return workshop_of(request.param())


def losses_of(workshop: Workshop, network=None):
    """Return the loss as a function of weights: every fourth image, half the columns."""
    x, y = data.load(tiny().data).held_out("validation", 40)

    def losses(weights):
        twin = network or workshop.twin
        networks.set_weights(twin, weights)
        return loss.panel(twin, workshop.task, x[::4], y[::4], 2)

    return losses


def test_no_barrier_between_a_network_and_itself(workshop):
    weights = workshop.weights(0)
    path = anatomy.path(losses_of(workshop), weights, weights)
    assert anatomy.barrier(path) == pytest.approx(0, abs=1e-6)
    assert path.shape[0] == 11
    assert float(path.std(0).max()) < 1e-5


def test_a_barrier_is_the_highest_point_of_the_path_over_the_mean_of_its_ends(workshop):
    a, b, losses = workshop.weights(0), workshop.weights(1), losses_of(workshop)
    path = anatomy.path(losses, a, b)
    want = [
        float(losses({n: (1 - i / 10) * a[n] + i / 10 * b[n] for n in a}).mean()) for i in range(11)
    ]
    assert path.mean(1).tolist() == pytest.approx(want, rel=1e-5)
    assert anatomy.barrier(path) == pytest.approx(
        max(want) / ((want[0] + want[10]) / 2) - 1, rel=1e-4, abs=1e-6
    )
    assert anatomy.barrier(torch.tensor([[1.0], [4.0], [3.0]])) == 1.0


def test_a_convex_loss_has_no_barrier():
    """The loss of a linear classifier is convex in its weights: no point lies above the chord."""
    workshop = workshop_of(lenet())
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    ends = [{n: torch.randn(p.shape) for n, p in network.named_parameters()} for _ in range(2)]
    path = anatomy.path(losses_of(workshop, network), *ends).mean(1)
    chord = torch.lerp(path[:1], path[-1:], torch.linspace(0, 1, 11))
    assert (path <= chord + 1e-5).all()
    assert (path[1:-1] < chord[1:-1]).any()


def test_sharpness_is_the_mean_rise_of_perturbed_weights(workshop):
    mask, weights, losses = workshop.whole(()), workshop.weights(0), losses_of(workshop)
    rises = []
    for draw in range(3):
        noise = {
            n: torch.randn(w.shape, generator=generator("sharpness", draw, n))
            for n, w in weights.items()
        }
        moved = {
            n: w + 0.05 * w.abs() * w.sign() * noise[n] if n in mask else w
            for n, w in weights.items()
        }
        rises.append(float(losses(moved).mean()) / float(losses(weights).mean()) - 1)
    found = anatomy.sharpness(losses, weights, mask, 3)
    assert found == pytest.approx(sum(rises) / 3, rel=1e-3, abs=1e-6)
    assert found != 0


def test_sharpness_moves_no_weight_that_is_cut_nor_one_without_a_mask(workshop):
    weights, mask = workshop.weights(0), workshop.whole(())
    for name in mask:
        weights[name] = torch.zeros_like(weights[name])
    assert anatomy.sharpness(losses_of(workshop), weights, mask, 2) == 0


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_sensitivity_is_the_rise_when_one_layer_keeps_the_largest_tenth_of_what_it_has(
    workshop, density
):
    mask = Mask(
        {
            n: torch.arange(m.numel()).reshape(m.shape) * density % 1 == 0
            for n, m in workshop.whole(()).items()
        }
    )
    weights, losses = workshop.weights(0), losses_of(workshop)
    mask.apply_(weights)
    found = anatomy.sensitivity(losses, weights, mask)
    assert found.shape[0] == len(mask)
    for row, (name, layer) in zip(found, mask.items(), strict=True):
        w, keep = weights[name], round(0.1 * int(layer.sum()))
        threshold = w.abs().flatten().sort(descending=True).values[keep - 1]
        cut = weights | {name: w.where(w.abs() >= threshold, 0.0)}
        rise = losses(cut).mean(0) / losses(weights).mean(0) - 1
        assert row.tolist() == pytest.approx(rise.tolist(), rel=1e-3, abs=1e-5)
    assert float(found.abs().max()) > 1e-3


def test_histograms_of_initial_weights_count_every_weight_once(workshop):
    mask = Mask(
        {
            n: torch.rand(m.shape, generator=torch.Generator().manual_seed(1)) < 0.3
            for n, m in workshop.whole(()).items()
        }
    )
    weights = workshop.weights(0)
    found = anatomy.initial(weights, mask)
    assert found.shape == (len(mask), 2, 48)
    assert len(mask) > 0
    for row, name in zip(found, mask, strict=True):
        assert row[0].sum() == mask[name].sum()
        assert row[1].sum() == (~mask[name]).sum()
        scaled = weights[name][mask[name]] / weights[name].std(correction=0)
        inner = ((scaled >= 0) & (scaled < 8 / 48)).sum()
        # a value on the border of two bins may fall on either side
        assert abs(int(row[0, 24]) - int(inner)) <= 1


def test_controls_are_not_probed(store):
    words = {"measure__perturbations": 2, "measure__sensitivity": True, "measure__rounds": (0, 2)}
    found = rounds(tiny(control="shuffle", **words), store)
    assert ["loss/sharpness" in r.metrics for r in found] == [True, False, False]


def test_a_trajectory_records_them_where_the_config_says(store):
    config = tiny(measure__perturbations=2, measure__sensitivity=True, measure__rounds=(0, 2))
    found = rounds(config, store)
    assert ["loss/sharpness" in r.metrics for r in found] == [True, False, True]
    assert ["sensitivity" in r.arrays for r in found] == [True, False, True]
    assert ["initial" in r.arrays for r in found] == [False, True, True]
    assert found[2].arrays["sensitivity"].shape == (len(found[2].densities), 2)
    assert not any(name.startswith("barrier/") for r in found for name in r.metrics)
    for r in found:
        assert r.metrics["loss/gap"] == pytest.approx(
            r.metrics["loss/heldout"] / r.metrics["loss/train"] - 1
        )
