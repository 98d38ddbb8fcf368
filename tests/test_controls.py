"""What is trained in a ticket's place: never the chain, always what its row says, sharing all that it can."""

import math

import pytest
import torch

from lthray.config.parts import Model
from lthray.config.vocabulary import IMAGES
from lthray.prune.controls import CONTROLS
from lthray.task import networks
from lthray.trial import checkpoints
from lthray.trial.plan import plan, point, small_config
from lthray.trial.setting import Setting

from .conftest import lenet, rounds, same, tiny
from .test_trajectory import begun, final, masks, steps_trained

DENSITIES = tiny().prune.ladder
# optimizer steps of two rungs that a control trains when the ticket's own trajectory is in the store (8 steps, k = 2)
STEPS = {
    "reinit": 8 + 8,
    "shuffle": 6 + 6,
    "random_mask": 6 + 6,
    "complement": 6 + 6,
    "perturb": 6 + 6,
    "dense": 0,  # late rewinding with moments and average: the dense run itself
    "small_dense": 8 + 8,
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
    assert len(plan(config).runs) == len({r.shown.key for r in plan(config).rungs} | chain_of(config))
    made.clear()
    assert all(same(a, b) for a, b in zip(rounds(config, store), found, strict=True))
    assert made == []


def chain_of(config) -> set[str]:
    unchained = ("dense", "small_dense", "one_shot")
    return {r.chain.key for r in plan(config).rungs[: 1 if config.control in unchained else -1]}


@pytest.mark.parametrize("rule", ["late", "init"])
@pytest.mark.parametrize("control", ["shuffle", "random_mask", "complement"])
def test_other_masks_keep_the_tickets_weights(store, control, rule):
    plain, config = tiny(rewind__rule=rule), tiny(rewind__rule=rule, control=control)
    rounds(plain, store)
    found = rounds(config, store)
    dense = plan(plain).rungs[0].chain
    whole = Setting(config, torch.device("cpu")).weights(0) if rule == "init" else checkpoints.load(store, dense, 2).weights
    for index in (1, 2):
        chain, mask, start = begun(config, store, index, shown=False)[0], *begun(config, store, index)
        assert mask != chain
        assert (mask.densities == chain.densities) == (control == "shuffle")
        assert found[index].densities == mask.densities
        assert all(torch.equal(start.weights[n], whole[n] * bits) for n, bits in mask.items())
        assert all(torch.equal(w, whole[n]) for n, w in start.weights.items() if n not in mask)


def test_reinit_keeps_the_mask_and_no_weight(store):
    config = tiny(control="reinit")
    rounds(config, store)
    for index in (1, 2):
        mask, start = begun(config, store, index)
        assert mask == begun(config, store, index, shown=False)[0]
        assert start.step == 0
        own = begun(tiny(), store, index)[1]
        assert not any(torch.equal(start.weights[n][mask[n]], own.weights[n][mask[n]]) for n in mask)


def test_a_perturbed_ticket_has_its_mask_its_moments_and_weights_nearby(store):
    own, config = tiny(), tiny(control="perturb", sigma=0.25)
    rounds(config, store)
    mask, start = begun(config, store, 2)
    at = begun(own, store, 2)[1]
    assert mask == begun(own, store, 2)[0]
    assert all(torch.equal(start.moments[n], at.moments[n]) for n in at.moments)
    for name in mask:
        moves = (start.weights[name] - at.weights[name])[mask[name]]
        assert 0.1 < float(moves.std() / at.weights[name][mask[name]].std()) < 0.5
        assert torch.allclose(start.average[name] - at.average[name], start.weights[name] - at.weights[name], atol=1e-6)
        assert not start.weights[name][~mask[name]].any()


def test_the_same_numbers_under_two_words_are_one_run():
    """Controls by another rule's weights share the first rung with trials of that rule; one-shot with a short ladder."""
    for control, words in {
        "tuned": {"rewind__rule": "tuned"},
        "lr": {"rewind__rule": "lr"},
        "reinit": {"rewind__rule": "random"},
    }.items():
        assert plan(tiny(control=control)).rungs[1].shown == plan(tiny(**words)).rungs[1].shown
    at_once = plan(tiny(control="one_shot")).rungs[2].shown
    assert at_once == plan(tiny(prune__ladder=DENSITIES[1:])).rungs[1].shown


def test_one_shot_cuts_the_dense_network_in_one_step(store):
    found = rounds(tiny(control="one_shot"), store)[2]
    alone = rounds(tiny(prune__ladder=DENSITIES[1:]), store)[1]
    assert torch.equal(found.arrays["loss"], alone.arrays["loss"])
    assert found.metrics["cost/steps_spent"] == alone.metrics["cost/steps_spent"] == 8 + 6
    assert not torch.equal(found.arrays["loss"], rounds(tiny(), store)[2].arrays["loss"])


@pytest.mark.parametrize("rule", ["late", "init"])
def test_a_dense_network_that_is_rewound_whole_is_itself(store, rule):
    for r in rounds(tiny(control="dense", rewind__rule=rule), store)[1:]:
        assert r.metrics["loss/excess"] == 0.0
        assert r.metrics["density/prunable"] == 1.0
        assert "ticket" not in r.files


@pytest.mark.parametrize("words", [{"rewind__state": "reset"}, {"rewind__rule": "lr"}, {"rewind__rule": "random"}])
def test_a_dense_network_that_is_rewound_otherwise_is_trained_once_for_all_rungs(store, words, monkeypatch):
    rounds(tiny(prune__ladder=()), store, anchors=(2,))
    made, config = steps_trained(monkeypatch), tiny(control="dense", **words)
    found = rounds(config, store)
    fresh = words == {"rewind__rule": "random"}  # new weights for each rung
    assert len(made) == (16 if fresh else 6)
    assert torch.equal(found[1].arrays["loss"], found[2].arrays["loss"]) != fresh
    assert abs(found[1].metrics["loss/excess"]) > 1e-4
    assert all(bool(bits.all()) for bits in begun(config, store, 2)[0].values())


@pytest.mark.parametrize("control", ["reinit", "dense", "small_dense", "one_shot"])
def test_a_control_may_be_trained_at_some_rungs_only(store, control, monkeypatch):
    rounds(tiny(), store)
    whole, made = rounds(tiny(control=control), store), steps_trained(monkeypatch)
    for rungs, indices in {(2,): (0, 2), (1,): (0, 1), (-1,): (0, 2), (1, -1): (0, 1, 2)}.items():
        found = rounds(tiny(control=control, rungs=rungs), store)
        assert [r.index for r in found] == list(indices)
        assert all(same(r, whole[r.index]) for r in found)
        planned = point(tiny(control=control, rungs=rungs), {}, "").rounds
        assert [r.keys["round"] for r in found] == [r["key"] for r in planned]
    assert made == []


def test_a_control_of_the_first_rung_needs_no_chain_beyond_the_dense_network(store, monkeypatch):
    made = steps_trained(monkeypatch)
    rounds(tiny(control="reinit", rungs=(1,)), store)
    assert len(made) == 8 + 8
    assert sum(run.steps for run in plan(tiny(control="reinit", rungs=(1,))).runs.values()) == 16
    made.clear()
    rounds(tiny(control="reinit", rungs=(2,)), store)
    assert len(made) == 6 + 8


# a smaller network


@pytest.mark.parametrize("make", [tiny, lenet])
def test_small_dense_is_a_trial_of_its_own_network(store, make):
    config = make(control="small_dense")
    found = rounds(config, store)
    for index, density in enumerate(config.prune.ladder, 1):
        small = small_config(config, density)
        alone = rounds(small, store)[0]
        assert torch.equal(found[index].arrays["loss"], alone.arrays["loss"])
        assert found[index].metrics["cost/parameters"] == alone.metrics["cost/parameters"]
        assert found[index].metrics["cost/steps_spent"] == config.train.steps
        assert "ticket" not in found[index].files


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
    channels, side, classes, _ = IMAGES[name]
    model, shape = Model(**words), (channels, side, side)
    whole, layers = networks.sizes(model, shape, classes)
    built = networks.build(model, shape, classes, 0)
    assert whole == sum(p.numel() for p in built.parameters())
    assert layers == {n: p.numel() for n, p in built.named_parameters() if n in layers}
    widths = math.gcd(*(model.hidden if model.name == "lenet300" else model.channels))
    family = [networks.sizes(networks._scaled(model, k), shape, classes)[0] for k in range(1, widths + 1)]
    assert family == sorted(family)
    for share in (0.01, 0.06, 0.3, 0.77, 1.0):
        wanted = round(share * whole)
        found = networks.sizes(networks.narrower(model, shape, classes, wanted), shape, classes)[0]
        assert abs(found - wanted) == min(abs(n - wanted) for n in family)


@pytest.mark.parametrize("density", [0.5, 0.1])
def test_small_dense_counts_what_a_ticket_keeps_of_everything(store, density):
    """Norms, biases and exempt layers are parameters too."""
    ladder = (density,)
    ticket = rounds(tiny(model__channels=(16,), prune__ladder=ladder), store)[1].metrics
    config = tiny(model__channels=(16,), prune__ladder=ladder, control="small_dense")
    m = rounds(config, store)[1].metrics
    family = [networks.sizes(networks._scaled(config.model, k), (1, 8, 8), 10)[0] for k in range(1, 17)]
    assert m["cost/kept"] == m["cost/parameters"] == min(family, key=lambda n: abs(n - ticket["cost/kept"]))
    assert m["density/total"] == m["cost/kept"] / ticket["cost/parameters"]
    spare = (m["cost/kept"] - ticket["cost/kept"]) / ticket["cost/prunable"]
    assert m["density/prunable"] == pytest.approx(ticket["density/prunable"] + spare)


# forks: the same weights on another stream


@pytest.mark.parametrize("words", [{}, {"rewind__rule": "init"}, {"control": "shuffle"}, {"rewind__state": "reset"}])
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
    assert plan(tiny(fork=2, **words)).rungs[1].shown.key != plan(config).rungs[1].shown.key


@pytest.mark.parametrize("rule", ["init", "late"])
def test_a_fork_of_the_dense_network_is_the_same_network_by_chance_alone(store, rule):
    """The A/A run: a mask of ones, the same beginning, other batches; its fellow is the dense network itself."""
    config = tiny(control="dense", fork=1, rewind__rule=rule, prune__ladder=(0.5,))
    r = rounds(config, store)[1]
    assert r.metrics["loss/excess"] != 0
    assert r.metrics["density/prunable"] == 1.0
    rung = plan(config).rungs[1]
    assert rung.fellow.key == plan(config).rungs[0].chain.key
    a, b = (checkpoints.load(store, run, run.end) for run in (rung.shown, rung.fellow))
    trial = Setting(config, torch.device("cpu"))
    middle = {n: (a.average[n] + b.average[n]) / 2 for n in a.average}
    ends = [panel_loss(trial, w) for w in (b.average, middle, a.average)]
    assert r.arrays["barrier"].shape == (2, 11, 2)
    assert {name for name in r.metrics if name.startswith("barrier/")} == {
        f"barrier/{n}" for n in ("raw", "ema", "t000", "t200")
    }
    along = r.arrays["barrier"][1].mean(1)
    assert [float(along[i]) for i in (0, 5, 10)] == pytest.approx(ends, rel=1e-5)
    assert r.metrics["barrier/ema"] == pytest.approx(float(along.max()) / ((ends[0] + ends[2]) / 2) - 1, abs=1e-6)


def panel_loss(trial: Setting, weights) -> float:
    """Written out again: images 0, 4 of 8, the middles of two halves of the schedule."""
    from lthray.measure import loss

    networks.set_weights(trial.twin, weights)
    x, y = trial.images.held_out("validation", 8)
    return float(loss.panel(trial.twin, trial.learner.task, x[::4], y[::4], 2).mean())


def test_final_weights_of_a_control_are_sparse_as_its_mask(store):
    for control in ("complement", "random_mask", "perturb", "lr"):
        rounds(tiny(control=control), store)
        mask = begun(tiny(control=control), store, 2)[0]
        state = final(tiny(control=control), store, 2)
        assert mask.holds(state.weights)
        assert mask.holds(state.average)
