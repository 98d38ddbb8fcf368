"""Regimes: while a ticket is trained, counts are exact at every step, cut or whole is the same."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.stats import spearmanr

from lthray.config.parts import Regime, Train
from lthray.core.random import generator
from lthray.core.store import Store
from lthray.core.ticket import Mask
from lthray.core.ticket_file import read_ticket
from lthray.prune import regimes
from lthray.prune.regimes import Schedule
from lthray.task import data, networks
from lthray.task.objectives import Classify
from lthray.trial.recipe import trajectory
from lthray.trial.state import State
from lthray.trial.training import Learner

from .conftest import lenet, resumed, rounds, same, tiny

SHAPES = {"a": (20, 30), "b": (8, 4, 3, 3)}
MOVING = [name for name, row in regimes.REGIMES.items() if row.moves]


def tensors(seed: int) -> dict[str, torch.Tensor]:
    return {n: torch.randn(s, generator=generator("regimes", seed, n)) for n, s in SHAPES.items()}


def thinned(mask: Mask, density: float, seed: int = 0) -> Mask:
    layers = {}
    for name, layer in mask.items():
        draws = torch.rand(layer.shape, generator=generator("thin", seed, name))
        scores = draws.masked_fill(~layer, -1)
        keep = round(density * layer.numel())
        layers[name] = scores >= scores.flatten().sort(descending=True).values[keep - 1]
    return Mask(layers)


WHOLE = Mask.full(SHAPES)
TARGET = thinned(WHOLE, 0.2)


def schedule(
    name: str, *, every: int = 5, start: int = 10, end: int = 110, before: Mask = WHOLE, **words
) -> Schedule:
    return Schedule(Regime(name=name, every=every, **words), start, end, before, TARGET, stream=3)


def masks_of(moves: Schedule) -> list[tuple[int, Mask]]:
    mask, found = moves.first, []
    for step in range(moves.start, moves.end):
        if moves.due(step):
            weights = tensors(step)
            mask.apply_(weights)
            mask = moves.next(step, mask, weights, tensors(step + 1000))
        found.append((step, mask))
    return found


@pytest.mark.parametrize("name", ["gradual", "rst"])
@pytest.mark.parametrize(("until", "end"), [(1.0, 110), (0.996, 110), (0.8, 12)])
def test_the_cut_is_made_however_late_it_is(name, until, end):
    """The end of a run is no step of it, so a cut there was never made."""
    found = masks_of(schedule(name, until=until, end=end))
    assert found[-1][1].densities == TARGET.densities


@pytest.mark.parametrize("name", ["set", "rigl"])
def test_exchanges_keep_every_layers_count_at_every_step(name):
    found = masks_of(schedule(name))
    assert found[0][1] == TARGET
    different = {mask.packed().numpy().tobytes() for _, mask in found}
    assert len(different) == 14  # the first, and thirteen changes
    for _, mask in found:
        assert mask.densities == TARGET.densities
    steps = [step for (_, before), (step, mask) in pairwise(found) if mask != before]
    assert steps == list(
        range(15, 80, 5)
    )  # until 75 % of the run, near which the share rounds to nothing


def test_rigl_drops_the_smallest_and_grows_where_the_dense_gradient_is_largest():
    """Evci et al.'s update by sets of indices."""
    moves, step = schedule("rigl"), 30
    weights, gradients = tensors(1), tensors(2)
    TARGET.apply_(weights)
    after = moves.next(step, TARGET, weights, gradients)
    for name, kept in TARGET.items():
        share = 0.3 / 2 * (1 + math.cos(math.pi * 20 / 75))
        moved = math.floor(share * int(kept.sum()))
        w, g = weights[name].flatten().abs().tolist(), gradients[name].flatten().abs().tolist()
        active = [i for i, bit in enumerate(kept.flatten().tolist()) if bit]
        stays = set(sorted(active, key=lambda i: -w[i])[: len(active) - moved])
        grown = set(
            sorted((i for i in range(len(g)) if i not in stays), key=lambda i: -g[i])[:moved]
        )
        assert {i for i, bit in enumerate(after[name].flatten().tolist()) if bit} == stays | grown
        assert moved > 5


def test_set_grows_anywhere_and_its_draws_are_a_function_of_stream_and_step():
    weights, gradients = tensors(1), tensors(2)
    TARGET.apply_(weights)
    after = schedule("set").next(30, TARGET, weights, gradients)
    assert after == schedule("set").next(30, TARGET, weights, tensors(5))
    assert after != schedule("set").next(35, TARGET, weights, gradients)
    grown = (after["a"] & ~TARGET["a"]).flatten()
    rho = spearmanr(grown.float(), gradients["a"].abs().flatten()).statistic
    assert abs(rho) < 4 / math.sqrt(grown.numel())


def test_no_more_is_exchanged_than_there_is_room():
    before = thinned(WHOLE, 0.95)
    moves = Schedule(Regime(name="rigl", every=1, share=1.0), 0, 10, WHOLE, before, 0)
    weights = tensors(1)
    before.apply_(weights)
    after = moves.next(1, before, weights, tensors(2))
    assert after.densities == before.densities
    assert after.within(WHOLE)


def test_gradual_follows_the_cubic_and_never_takes_back():
    moves = schedule("gradual")
    found = masks_of(moves)
    assert moves.cut == 85
    assert found[0][1] == WHOLE
    assert len(found) == 100
    for (_, before), (step, mask) in pairwise(found):
        assert mask.within(before)
        x = min(1.0, (step - (step - 10) % 5 - 10) / 75)
        for name, layer in mask.items():
            final, first = int(TARGET[name].sum()), layer.numel()
            assert int(layer.sum()) == final + math.ceil((first - final) * (1 - x) ** 3)
    assert found[-1][1].densities == TARGET.densities
    weights = tensors(0)
    kept = moves.next(85, WHOLE, weights, {})["a"]
    assert float(weights["a"].abs()[kept].min()) >= float(weights["a"].abs()[~kept].max())


def test_a_cut_that_no_interval_meets_is_still_made():
    found = masks_of(schedule("gradual", every=7))
    assert found[-1][1].densities == TARGET.densities


@pytest.mark.parametrize("power", [1, 2, 3])
def test_the_penalty_grows_by_a_power_until_the_cut(power):
    moves = schedule("rst", power=power, penalty=2.0)
    found = [moves.penalty(step) for step in range(10, 110)]
    assert found[:5] == [0.0] * 5
    assert found[30] == pytest.approx(2.0 * (30 / 75) ** power)
    assert found == sorted(found[:75]) + [0.0] * 25
    masks = masks_of(moves)
    assert [mask == TARGET for _, mask in masks] == [step >= 85 for step, _ in masks]


@pytest.mark.parametrize("name", regimes.REGIMES)
def test_a_regime_begins_with_the_rungs_mask_or_with_the_one_before(name):
    assert schedule(name).first == (WHOLE if name in ("gradual", "rst") else TARGET)
    assert not any(schedule("static").due(step) for step in range(200))
    assert MOVING == ["set", "rigl", "gradual", "rst"]


@pytest.mark.parametrize("name", regimes.REGIMES)
def test_only_rst_presses_weights_and_only_those_that_will_go(name):
    moves = schedule(name)
    for layer, kept in TARGET.items():
        pressed = moves.pressed(layer)
        if name == "rst":
            assert torch.equal(pressed, WHOLE[layer] & ~kept)
        else:
            assert pressed is None
    assert any(moves.penalty(step) > 0 for step in range(10, 110)) == (name == "rst")
    assert moves.exchanges == (name in ("set", "rigl"))


# in training


def learner(**words) -> Learner:
    network = networks.build(lenet().model, (1, 8, 8), 10, 0)
    task, images = Classify(lenet().objective, "cpu"), data.load(lenet().data)
    return Learner(network, task, images, Train(batch=20, steps=60, **words))


def trained(name: str, stops, state=None, **words):
    """Return copies of the states at some steps of a run of 60 under a regime, and its schedule."""
    it = learner()
    weights = {n: p.detach().clone() for n, p in it.network.named_parameters()}
    hidden = [n for n in weights if n.startswith("hidden") and n.endswith("weight")]
    shapes = {n: tuple(weights[n].shape) for n in hidden}
    target = thinned(Mask.full(shapes), 0.2)
    moves = Schedule(Regime(name=name, every=5, **words), 0, 60, Mask.full(shapes), target, 0)
    state = state or State.begin(weights, 0).masked(moves.first)
    found = {}
    for live in it.run(state, moves.first, stream=0, stops=stops, moves=moves):
        groups = []
        for group in (live.weights, live.average, live.moments):
            groups.append({n: t.clone() for n, t in group.items()})
        copy = State(live.step, live.age, *groups)
        copy.mask, copy.losses, copy.loss_sum = live.mask, live.losses, live.loss_sum
        found[live.step] = copy
    return found, moves


@pytest.mark.parametrize("name", MOVING)
def test_weights_average_and_moments_are_zero_off_the_mask_at_every_step(name):
    found, moves = trained(name, range(1, 61))
    assert list(found) == list(range(1, 61))
    for step, state in found.items():
        state.check(state.mask)
        assert (state.mask == moves.first) == (step <= (45 if name == "rst" else 5)), step
    assert found[60].mask.densities == moves.target.densities


@pytest.mark.parametrize("name", ["set", "rigl"])
def test_what_is_new_begins_at_zero_and_that_step_changes_nothing_else(name):
    found, _ = trained(name, range(1, 61))
    before, after = found[5], found[6]  # the mask moves at step 5, after its gradient is known
    for layer, mask in after.mask.items():
        new = mask & ~before.mask[layer]
        assert new.any()
        moments = [after.moments[f"{slot}/{layer}"] for slot in ("exp_avg", "exp_avg_sq")]
        for tensor in (after.weights[layer], after.average[layer], *moments):
            assert not tensor[new].any()
        stays = mask & before.mask[layer]
        assert torch.equal(after.weights[layer][stays], before.weights[layer][stays])
    assert torch.equal(after.weights["output.weight"], before.weights["output.weight"])
    assert after.age == before.age + 1


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("at", [5, 23, 45])
def test_a_run_that_is_cut_and_continued_equals_the_whole_run(name, at):
    whole, _ = trained(name, (at, 60))
    again, _ = trained(name, (60,), state=whole[at])
    for group in ("weights", "average", "moments"):
        a, b = getattr(whole[60], group), getattr(again[60], group)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[n], b[n]) for n in a)
    assert whole[60].mask == again[60].mask


def test_rst_presses_what_will_be_cut_and_only_that():
    found, moves = trained("rst", (45,), penalty=1.0)
    free, _ = trained("rst", (45,), penalty=1e-9)

    def size(state: State, kept: bool) -> float:
        parts = []
        for layer, mask in moves.target.items():
            chosen = mask if kept else ~mask
            parts.append(state.weights[layer][chosen].abs().mean())
        return float(torch.stack(parts).mean())

    assert size(found[45], kept=False) < 0.5 * size(free[45], kept=False)
    assert size(found[45], kept=True) > 0.8 * size(free[45], kept=True)


# in a trajectory


def tickets(store: Store, **words) -> list[Mask]:
    """Return the masks of the ticket files of a tiny trial."""
    files = [r.files["ticket"] for r in rounds(tiny(train__steps=12, **words), store)[1:]]
    return [read_ticket(file)[0].mask for file in files]


@pytest.mark.parametrize("name", MOVING)
def test_every_regime_goes_down_a_ladder_and_its_ticket_is_what_training_left(store, name):
    words = {"prune__criterion": "random", "prune__budget": "uniform"}
    moving = {"regime__name": name, "regime__every": 1}
    found = rounds(tiny(train__steps=12, **words, **moving), store)
    densities = [r.metrics["density/prunable"] for r in found]
    assert densities == pytest.approx([1.0, 0.5, 0.3], abs=2e-3)
    masks, static = tickets(store, **words, **moving), tickets(store, **words)
    assert (masks[0] == static[0]) == (name == "rst")  # the others have moved it
    assert masks[1].within(masks[0]) or regimes.REGIMES[name].exchanges


@pytest.mark.parametrize("name", MOVING)
def test_a_killed_trajectory_goes_on_bit_by_bit(store, tmp_path, name):
    words = {"regime__name": name, "regime__every": 1}
    config = tiny(**words, train__steps=12, prune__budget="uniform")
    whole = rounds(config, Store(tmp_path / "other"))
    again = resumed(config, store)
    assert len(again) == 3
    assert all(same(a, b) for a, b in zip(again, whole, strict=True))


def test_controls_are_of_the_mask_as_training_left_it(store):
    words = {"regime__name": "rigl", "regime__every": 1, "prune__ladder": (0.3,)}
    (ticket,) = tickets(store, **words)
    assert tickets(store, **words, control="reinit") == [ticket]
    (shuffled,) = tickets(store, **words, control="shuffle")
    assert shuffled.densities == ticket.densities
    assert shuffled != ticket


def test_a_regime_changes_the_tickets_run_and_neither_the_dense_one_nor_the_mask():
    base, other = (trajectory(tiny(regime__name=name)).rungs for name in ("static", "rigl"))
    assert base[0].chain.key == other[0].chain.key
    assert base[1].mask.key == other[1].mask.key
    assert base[1].chain.key != other[1].chain.key
    assert base[2].mask.key != other[2].mask.key
    fork = trajectory(tiny(regime__name="rigl", fork=1)).rungs[1].shown
    control = trajectory(tiny(regime__name="rigl", control="reinit")).rungs[1].shown
    assert fork.spec["regime.name"] == "rigl"
    assert "regime.name" not in control.spec
