"""Controls: what is trained in a ticket's place is never the chain, always what its row says, and
shares all that it can."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from lthray.config.parts import Model
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import data_facts
from lthray.core.ticket import TrialFailed
from lthray.measure import loss
from lthray.prune.controls import CONTROLS, within_groups
from lthray.prune.units import n_of_m
from lthray.task import networks
from lthray.trial.points import point
from lthray.trial.recipe import trajectory
from lthray.trial.sources import small_config
from lthray.trial.steps import runs_of
from lthray.trial.workshop import Run, workshop_of

from .conftest import lenet, making_of, rounds, same, tiny
from .test_trajectory import all_same, anchor_of, begun, final, masks, steps_trained

DENSITIES = tiny().prune.ladder
# optimizer steps of two rungs that a control trains when the ticket's own trajectory is in the
# store (8 steps, k = 2)
STEPS = {
    "reinit": 8 + 8,
    "shuffle": 6 + 6,
    "random_mask": 6 + 6,
    "complement": 6 + 6,
    "perturb": 6 + 6,
    "dense": 0,  # late rewinding with moments and average: the dense run itself
    "small_dense": 3 * 8,  # three rates; the nearest narrower network of both rungs is one
    "equal_compute": 14 + 20,  # schedules of as many steps as the ticket of a rung has cost
    "tuned": 6 + 6,
    "lr": 6 + 6,
    "one_shot": 0 + 6,  # its first rung is the ticket's own
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_trains_only_itself_and_never_changes_the_chain(store, control, monkeypatch):
    own, made = rounds(tiny(), store), steps_trained(monkeypatch)
    config = tiny(control=control)
    found = rounds(config, store)
    assert len(made) == STEPS[control]
    assert masks(tiny(), store) == masks(config, store)
    assert same(found[0], own[0])
    assert [r.density for r in found] == [r.density for r in own]
    chosen = trajectory(config)
    shown = {r.shown.key: r.shown for r in chosen.rungs}
    of_shown = runs_of(shown.values())  # several, where one of them is chosen
    assert set(chosen.runs) == set(of_shown) | chain_of(config)
    assert all(step.kind == "choose" for key, step in shown.items() if key not in of_shown)
    made.clear()
    assert all_same(rounds(config, store), found)
    assert made == []


def chain_of(config: TrialConfig) -> set[str]:
    """Return the keys of the runs of the chain that a control needs."""
    needed = -1 if CONTROLS[config.control].chained else 1
    return {rung.chain.key for rung in trajectory(config).rungs[:needed]}


@pytest.mark.parametrize("rule", ["late", "init"])
@pytest.mark.parametrize("control", ["shuffle", "random_mask", "complement"])
def test_other_masks_keep_the_tickets_weights(store, control, rule):
    plain, config = tiny(rewind__rule=rule), tiny(rewind__rule=rule, control=control)
    rounds(plain, store)
    found = rounds(config, store)
    if rule == "init":
        whole = workshop_of(config).weights(0)
    else:
        whole = anchor_of(plain, store, 2).weights
    for index in (1, 2):
        chain, _ = begun(config, store, index, shown=False)
        mask, start = begun(config, store, index)
        assert mask != chain
        assert (mask.densities == chain.densities) == (control == "shuffle")
        assert found[index].densities == mask.densities
        assert all(torch.equal(start.weights[n], whole[n] * bits) for n, bits in mask.items())
        assert all(torch.equal(w, whole[n]) for n, w in start.weights.items() if n not in mask)


def test_a_shuffled_mask_of_n_of_m_is_one_of_them():
    """Else the ticket would be held to a pattern to which its control is not."""
    g = torch.Generator().manual_seed(0)
    scores = {"a": torch.rand(16, 8, 3, 3, generator=g), "b": torch.rand(4, 32, generator=g)}
    ticket = n_of_m(scores, {name: s.numel() // 4 for name, s in scores.items()}, 8)
    mask = within_groups(ticket, 1, 8)
    for name, layer in mask.items():
        groups = layer.movedim(1, -1).reshape(-1, 8).sum(1)
        assert set(groups.tolist()) == {2}
        assert layer.shape == ticket[name].shape
        assert not torch.equal(layer, ticket[name])
    assert within_groups(ticket, 1, 8) == mask != within_groups(ticket, 2, 8)
    pattern = {"prune__unit": "n_of_m", "prune__budget": "uniform", "prune__ladder": (0.5,)}
    control = trajectory(tiny(control="shuffle", **pattern)).rungs[1].shown.parents[0].parents[1]
    assert control.spec["group"] == 4


def test_reinit_keeps_the_mask_and_no_weight(store):
    config = tiny(control="reinit")
    rounds(config, store)
    for index in (1, 2):
        mask, start = begun(config, store, index)
        assert mask == begun(config, store, index, shown=False)[0]
        assert start.step == 0
        own = begun(tiny(), store, index)[1]
        equal = [torch.equal(start.weights[n][mask[n]], own.weights[n][mask[n]]) for n in mask]
        assert equal
        assert not any(equal)


def test_a_perturbed_ticket_has_its_mask_its_moments_and_weights_nearby(store):
    own, config = tiny(), tiny(control="perturb", sigma=0.25)
    rounds(config, store)
    mask, start = begun(config, store, 2)
    at = begun(own, store, 2)[1]
    assert mask
    assert mask == begun(own, store, 2)[0]
    assert all(torch.equal(start.moments[n], at.moments[n]) for n in at.moments)
    for name in mask:
        move = start.weights[name] - at.weights[name]
        own_spread = at.weights[name][mask[name]].std()
        assert 0.1 < float(move[mask[name]].std() / own_spread) < 0.5
        assert torch.allclose(start.average[name] - at.average[name], move, atol=1e-6)
        assert not start.weights[name][~mask[name]].any()


def test_the_same_numbers_under_two_words_are_one_run():
    """Controls by another rule's weights share the first rung with trials of that rule; one-shot
    with a short ladder."""
    for control, words in {
        "tuned": {"rewind__rule": "tuned"},
        "lr": {"rewind__rule": "lr"},
        "reinit": {"rewind__rule": "random"},
    }.items():
        ours, theirs = trajectory(tiny(control=control)), trajectory(tiny(**words))
        assert ours.rungs[1].shown.key == theirs.rungs[1].shown.key
    at_once = trajectory(tiny(control="one_shot")).rungs[2].shown
    assert at_once.key == trajectory(tiny(prune__ladder=DENSITIES[1:])).rungs[1].shown.key


def test_one_shot_cuts_the_dense_network_in_one_step(store):
    found = rounds(tiny(control="one_shot"), store)[2]
    alone = rounds(tiny(prune__ladder=DENSITIES[1:]), store)[1]
    assert torch.equal(found.arrays["loss"], alone.arrays["loss"])
    assert found.metrics["cost/steps_spent"] == alone.metrics["cost/steps_spent"] == 8 + 6
    assert not torch.equal(found.arrays["loss"], rounds(tiny(), store)[2].arrays["loss"])


@pytest.mark.parametrize("rule", ["late", "init"])
def test_a_dense_network_that_is_rewound_whole_is_itself(store, rule):
    found = rounds(tiny(control="dense", rewind__rule=rule), store)
    assert len(found) == 3
    for r in found[1:]:
        assert r.metrics["loss/excess"] == 0.0
        assert r.metrics["density/prunable"] == 1.0
        assert "ticket" not in r.files


OTHERWISE = [{"rewind__state": "reset"}, {"rewind__rule": "lr"}, {"rewind__rule": "random"}]


@pytest.mark.parametrize("words", OTHERWISE)
def test_a_dense_network_that_is_rewound_otherwise_is_trained_once_for_all_rungs(
    store, words, monkeypatch
):
    rounds(tiny(prune__ladder=()), store, anchors=(2,))
    made, config = steps_trained(monkeypatch), tiny(control="dense", **words)
    found = rounds(config, store)
    fresh = words == {"rewind__rule": "random"}  # new weights for each rung
    assert len(made) == (16 if fresh else 6)
    assert torch.equal(found[1].arrays["loss"], found[2].arrays["loss"]) != fresh
    assert abs(found[1].metrics["loss/excess"]) > 1e-4
    mask = begun(config, store, 2)[0]
    assert mask
    assert all(bool(bits.all()) for bits in mask.values())


@pytest.mark.parametrize("control", ["reinit", "dense", "small_dense", "one_shot"])
def test_a_control_may_be_trained_at_some_rungs_only(store, control, monkeypatch):
    rounds(tiny(), store)
    whole, made = rounds(tiny(control=control), store), steps_trained(monkeypatch)
    chosen = {(2,): (0, 2), (1,): (0, 1), (-1,): (0, 2), (1, -1): (0, 1, 2)}
    for rungs, indices in chosen.items():
        config = tiny(control=control, rungs=rungs)
        found = rounds(config, store)
        assert [r.index for r in found] == list(indices)
        assert all(alike_but_for_its_ticket(r, whole[r.index]) for r in found)
        planned = point(trajectory(config), {}, "").rounds
        assert [r.keys["round"] for r in found] == [place["key"] for place in planned]
    assert made == []


def alike_but_for_its_ticket(one, other) -> bool:
    """Return whether two rounds are equal but for the ticket file, which names its whole trial."""
    keys = {**other.keys, "round": one.keys["round"]}
    metrics = {**other.metrics}
    for name in ("cost/ticket_bytes", "cost/ticket_bytes_with_weights"):
        if name in metrics:
            metrics[name] = one.metrics[name]
    return same(one, replace(other, files=one.files, keys=keys, metrics=metrics))


def test_a_control_of_the_first_rung_needs_no_chain_beyond_the_dense_network(store, monkeypatch):
    made = steps_trained(monkeypatch)
    config = tiny(control="reinit", rungs=(1,))
    rounds(config, store)
    assert len(made) == 8 + 8
    assert sum(training.length for training in trajectory(config).runs.values()) == 16
    made.clear()
    rounds(tiny(control="reinit", rungs=(2,)), store)
    assert len(made) == 6 + 8


# a smaller network


@pytest.mark.parametrize("make", [tiny, lenet])
def test_small_dense_is_a_trial_of_its_own_network(store, make):
    config = make(control="small_dense", rates=(1.0,))
    found = rounds(config, store)
    for index, density in enumerate(config.prune.ladder, 1):
        small = small_config(config, density)
        alone = rounds(small, store)[0]
        assert torch.equal(found[index].arrays["loss"], alone.arrays["loss"])
        assert found[index].metrics["cost/parameters"] == alone.metrics["cost/parameters"]
        assert found[index].metrics["cost/steps_spent"] == config.train.steps
        assert "ticket" not in found[index].files


@pytest.mark.parametrize("words", [{}, {"rewind__rule": "init"}, {"fork": 1}])
def test_a_dense_network_of_equal_compute_is_a_trial_of_as_many_steps_as_the_ticket_cost(
    store, words
):
    config = tiny(control="equal_compute", **words)
    ticket = rounds(tiny(**words | {"fork": 0}), store)
    found = rounds(config, store)
    for own, r in zip(ticket[1:], found[1:], strict=True):
        spent = own.metrics["cost/steps_spent"]
        assert r.metrics["cost/steps_spent"] == r.metrics["cost/steps_of_weights"] == spent
        alone = rounds(tiny(train__steps=int(spent), prune__ladder=()), store)[0]
        is_alone = r.metrics["loss/heldout"] == alone.metrics["loss/heldout"]
        assert is_alone == torch.equal(r.arrays["loss"], alone.arrays["loss"])
        assert is_alone == ("fork" not in words)  # on another stream it is a second one


def test_a_narrower_network_has_the_best_of_its_rates_by_validation_images(store):
    """The choice never sees the images that are measured, where those are test images."""
    words = {"control": "small_dense", "rates": (0.01, 0.5, 1.0)}
    config = tiny(model__channels=(16,), measure__split="test", **words)
    found = rounds(config, store)
    best = set()
    for index, density in enumerate(config.prune.ladder, 1):
        small = small_config(config, density)
        validated, tested = {}, {}
        for factor in config.rates:
            at_rate = {"train.lr": factor * small.train.lr}
            tested[factor] = rounds(TrialConfig.from_flat(at_rate, small), store)[0]
            at_rate["measure.split"] = "validation"
            alone = rounds(TrialConfig.from_flat(at_rate, small), store)[0]
            validated[alone.metrics["loss/heldout"]] = factor
        assert len(validated) == 3
        chosen = validated[min(validated)]
        best.add(chosen)
        assert found[index].metrics["train/lr"] == chosen * config.train.lr
        assert torch.equal(found[index].arrays["loss"], tested[chosen].arrays["loss"])
        assert found[index].curve == tested[chosen].curve
        assert found[index].metrics["cost/steps_of_weights"] == config.train.steps
        assert found[index].metrics["cost/steps_spent"] == 3 * config.train.steps
    assert best != {0.01}


def test_a_rate_that_diverges_is_never_chosen(store):
    words = {"model__channels": (16,), "prune__ladder": (0.5,), "control": "small_dense"}
    found = rounds(tiny(**words, rates=(1e30, 1.0)), store)
    assert found[1].metrics["train/lr"] == tiny().train.lr
    with pytest.raises(TrialFailed, match="training loss is nan"):
        rounds(tiny(**words, rates=(1e30, 1e31)), store)


def family_of(model: Model, shape: tuple[int, int, int], classes: int) -> list[int]:
    """Return the parameters of all networks whose widths are those of `model`, narrowed alike."""
    word = "hidden" if model.name == "lenet300" else "channels"
    widths: tuple[int, ...] = getattr(model, word)
    whole = model.groups if model.name == "unet" else math.gcd(*widths)
    counts = []
    for k in range(1, whole + 1):
        narrow: tuple[int, ...] = tuple(width * k // whole for width in widths)
        words: dict[str, Any] = {word: narrow}
        if model.name == "unet":
            words["groups"] = k
        if model.attention:
            words["head"] = math.gcd(model.head, *narrow)
        counts.append(networks.sizes(replace(model, **words), shape, classes)[0])
    return counts


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits", {}),
        ("mnist", {"channels": (32, 64, 64)}),
        ("digits", {"channels": (16, 32), "attention": (1,)}),
        ("mnist", {"name": "lenet300"}),
        ("digits", {"name": "lenet5", "channels": (16, 32)}),
    ],
)
def test_the_narrower_network_is_the_nearest_of_its_family(name, words):
    facts = data_facts(name)
    model, shape, classes = Model(**words), (facts.channels, facts.side, facts.side), facts.classes
    whole, layers = networks.sizes(model, shape, classes)
    built = networks.build(model, shape, classes, 0)
    assert whole == sum(p.numel() for p in built.parameters())
    assert layers == {n: p.numel() for n, p in built.named_parameters() if n in layers}
    family = family_of(model, shape, classes)
    assert family == sorted(family)
    assert family[-1] == whole
    for share in (0.01, 0.06, 0.3, 0.77, 1.0):
        wanted = round(share * whole)
        narrower = networks.narrower(model, shape, classes, wanted)
        found = networks.sizes(narrower, shape, classes)[0]
        heads = narrower.head == model.head
        near = 0.3 * wanted if model.attention and heads else 0
        assert abs(found - wanted) <= max(near, min(abs(n - wanted) for n in family))


def group_sizes(model: Model) -> set[int]:
    """Channels in a group of each GroupNorm of a network."""
    network = networks.build(model, (1, 8, 8), 10, 0)
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    return {norm.num_channels // norm.num_groups for norm in norms}


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"channels": (64, 128), "groups": 32, "layers": 2},
        {"name": "resnet", "channels": (16, 32, 64)},
        {"channels": (32, 64), "attention": (1,), "head": 16},
    ],
)
def test_a_narrower_network_keeps_groups_and_heads_and_has_the_parameters(words):
    """With one channel a group, a U-Net of a quarter of the weights is 13 % worse by that alone."""
    model = Model(**words)
    whole = networks.sizes(model, (1, 8, 8), 10)[0]
    for density in (0.5, 0.25, 0.125, 0.0625):
        narrow = networks.narrower(model, (1, 8, 8), 10, round(density * whole))
        found = networks.sizes(narrow, (1, 8, 8), 10)[0]
        assert group_sizes(narrow) == group_sizes(model)
        assert found / whole == pytest.approx(density, rel=0.3)
        if density == 0.25:
            assert narrow.head == model.head


@pytest.mark.parametrize("density", [0.5, 0.1])
def test_small_dense_counts_what_a_ticket_keeps_of_everything(store, density):
    """Norms, biases and exempt layers are parameters too."""
    ladder = (density,)
    ticket = rounds(tiny(model__channels=(16,), prune__ladder=ladder), store)[1].metrics
    config = tiny(model__channels=(16,), prune__ladder=ladder, control="small_dense")
    m = rounds(config, store)[1].metrics
    family = family_of(config.model, (1, 8, 8), 10)
    nearest = min(family, key=lambda n: abs(n - ticket["cost/kept"]))
    assert m["cost/kept"] == m["cost/parameters"] == nearest
    assert m["density/total"] == m["cost/kept"] / ticket["cost/parameters"]
    spare = (m["cost/kept"] - ticket["cost/kept"]) / ticket["cost/prunable"]
    assert m["density/prunable"] == pytest.approx(ticket["density/prunable"] + spare)


# forks: the same weights on another stream

FORKED = [{}, {"rewind__rule": "init"}, {"control": "shuffle"}, {"rewind__state": "reset"}]


@pytest.mark.parametrize("words", FORKED)
def test_a_fork_begins_as_its_fellow_and_sees_other_batches(store, words, monkeypatch):
    own, config = tiny(**words), tiny(fork=1, **words)
    plain, made = rounds(own, store), steps_trained(monkeypatch)
    found = rounds(config, store)
    assert len(made) == (16 if words.get("rewind__rule") == "init" else 12)
    for index in (1, 2):
        (mask, start), (theirs, at) = begun(config, store, index), begun(own, store, index)
        assert mask == theirs
        assert all(torch.equal(start.weights[n], at.weights[n]) for n in at.weights)
        assert not torch.equal(found[index].arrays["loss"], plain[index].arrays["loss"])
        assert found[index].metrics["barrier/ema"] >= 0
    assert masks(own, store) == masks(config, store)
    another = trajectory(tiny(fork=2, **words)).rungs[1].shown
    assert another.key != trajectory(config).rungs[1].shown.key


@pytest.mark.parametrize("rule", ["init", "late"])
def test_a_fork_of_the_dense_network_is_the_same_network_by_chance_alone(store, rule):
    """The A/A run: a mask of ones, the same beginning, other batches; its fellow is the dense
    network itself."""
    config = tiny(control="dense", fork=1, rewind__rule=rule, prune__ladder=(0.5,))
    r = rounds(config, store)[1]
    assert r.metrics["loss/excess"] != 0
    assert r.metrics["density/prunable"] == 1.0
    making, chosen = making_of(config, store)
    dense, rung = chosen.rungs
    assert rung.fellow is not None
    assert rung.fellow.key == dense.chain.key
    second: Run = making.make(rung.shown)
    a, b = second.final.average, making.make(rung.fellow).final.average
    middle = {n: (a[n] + b[n]) / 2 for n in a}
    ends = [panel_loss(second, weights) for weights in (b, middle, a)]
    assert r.arrays["barrier"].shape == (2, 11, 2)
    names = {name for name in r.metrics if name.startswith("barrier/")}
    assert names == {f"barrier/{n}" for n in ("raw", "ema", "t000", "t200")}
    along = r.arrays["barrier"][1].mean(1)
    assert [float(along[i]) for i in (0, 5, 10)] == pytest.approx(ends, rel=1e-5)
    barrier = float(along.max()) / ((ends[0] + ends[2]) / 2) - 1
    assert r.metrics["barrier/ema"] == pytest.approx(barrier, abs=1e-6)


def test_a_ticket_is_connected_to_the_rung_before_by_the_path_between_their_averages(store):
    """By hand, on every point of the path; a ticket's own weights are zero where it is cut."""
    config = tiny(measure__connected=True)
    found = rounds(config, store)
    making, chosen = making_of(config, store)
    assert [any("previous" in name for name in r.metrics) for r in found] == [False, True, True]
    runs = [making.make(rung.shown) for rung in chosen.rungs]
    for before, own, r in zip(runs, runs[1:], found[1:], strict=False):
        a, b = before.final.average, own.final.average
        losses = []
        for tenth in range(11):
            between = {n: a[n] + tenth / 10 * (b[n] - a[n]) for n in a}
            losses.append(panel_loss(before, between))
        barrier = max(losses) / ((losses[0] + losses[-1]) / 2) - 1
        assert r.metrics["barrier/previous"] == pytest.approx(barrier, abs=1e-5)
        names = {name for name in r.metrics if name.startswith("barrier/previous_")}
        assert names == {"barrier/previous_t000", "barrier/previous_t200"}


def panel_loss(training: Run, weights: Mapping[str, torch.Tensor]) -> float:
    """Return the loss written out again: images 0, 4 of 8, the middles of two halves of the
    schedule."""
    workshop = training.workshop
    networks.set_weights(workshop.twin, weights)
    x, y = training.images.held_out("validation", 8)
    return float(loss.panel(workshop.twin, workshop.task, x[::4], y[::4], 2).mean())


def test_final_weights_of_a_control_are_sparse_as_its_mask(store):
    for control in ("complement", "random_mask", "perturb", "lr"):
        rounds(tiny(control=control), store)
        mask = begun(tiny(control=control), store, 2)[0]
        state = final(tiny(control=control), store, 2)
        assert mask
        assert mask.holds(state.weights)
        assert mask.holds(state.average)
