"""Whole trajectories: nested masks, exact rungs, rewinding to the bit, sharing, interruption.

The traps of published code (named in the tests) are each held here: norms pruned, an average that
was never sparse, moments that survive, re-initialising called rewinding, masks that are not saved,
two runs that share state.
"""

import random
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from scipy.stats import spearmanr

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.core.record import Progress, Round
from lthray.core.store import Store
from lthray.core.ticket import Mask, TicketError, TrialFailed, settled
from lthray.core.ticket_file import read_ticket
from lthray.measure import loss
from lthray.study.preview import pace
from lthray.task import networks
from lthray.trial.cutting import Collapsed
from lthray.trial.makers import KINDS
from lthray.trial.making import Making
from lthray.trial.preflight import check
from lthray.trial.recipe import trajectory
from lthray.trial.run import prepare, run
from lthray.trial.sources import twin_config
from lthray.trial.state import State
from lthray.trial.steps import Step, history, marks
from lthray.trial.training import Learner
from lthray.trial.trajectory import place_of
from lthray.trial.view import is_stored
from lthray.trial.workshop import Run, workshop_of

from . import forks
from .conftest import Killed, lenet, making_of, rounds, same, tiny

RULES = ["init", "late", "tuned", "lr", "random", "sign"]


def begun(config: TrialConfig, store: Store, index: int, shown: bool = True) -> tuple[Mask, State]:
    """Return the mask and the state from which a rung begins, of a trial that has been run."""
    making, chosen = making_of(config, store)
    rung = chosen.rungs[index]
    training: Run = making.make(rung.shown if shown else rung.chain)
    whole = training.workshop.whole(config.prune.layers)
    return training.first_mask or whole, training.masked_begin()


def masks(config: TrialConfig, store: Store) -> list[Mask]:
    """Return the masks of the chain, the dense network's first."""
    return [begun(config, store, i, shown=False)[0] for i in range(len(config.prune.ladder) + 1)]


def state_of(store: Store, training: Step, at: int) -> State | None:
    """Return the state of a training run at a step, as it is stored; None where it is not."""
    making = Making(KINDS, store, "cpu")
    return making.stored_state(making.make(training), at)


def final(config: TrialConfig, store: Store, index: int) -> State:
    """Return the stored state at the end of the run that a rung shows."""
    training = trajectory(config).rungs[index].shown
    state = state_of(store, training, training.span[1])
    assert state is not None
    return state


def anchor_of(config: TrialConfig, store: Store, at: int) -> State:
    """Return the stored state of the dense run at a step."""
    state = state_of(store, trajectory(config).rungs[0].chain, at)
    assert state is not None
    return state


def steps_trained(monkeypatch) -> list[int]:
    """Return a list to which every optimizer step that is made from now on is added."""
    made: list[int] = []
    real = Learner.run

    def spy(self, state: State, mask: Mask, **options) -> Iterator[State]:
        before = state.step
        for live in real(self, state, mask, **options):
            made.extend(range(before, live.step))
            before = live.step
            yield live

    monkeypatch.setattr(Learner, "run", spy)
    return made


def cut_short(config: TrialConfig, store: Store, stop: int = 0) -> int:
    """Run a trial that commits at every chance until its event `stop`, and return their number.

    An event is a commit or a round; 0 never stops.
    """
    events = 0

    def count(progress: Progress | None = None) -> None:
        nonlocal events
        events += 1
        if events == stop:
            raise Killed

    trial = run(config, store, device="cpu", commit=0.0, progress=count)
    try:
        for _ in trial:
            count()
    except Killed:
        pass
    finally:
        trial.close()
    return events


def all_same(ones: list[Round], others: list[Round]) -> bool:
    """Return whether two trials have the same rounds, bit for bit."""
    return all(same(one, other) for one, other in zip(ones, others, strict=True))


# laws of a trajectory, for every rule


@pytest.mark.parametrize("rule", RULES)
def test_masks_nest_rungs_are_exact_and_zeros_are_the_mask(store, rule):
    config = tiny(rewind__rule=rule)
    found = rounds(config, store)
    assert [r.index for r in found] == [0, 1, 2]
    prunable = found[0].metrics["cost/prunable"]
    exempt = found[0].metrics["cost/parameters"] - prunable
    for density, r in zip(config.prune.ladder, found[1:], strict=True):
        kept = round(density * prunable)
        assert r.metrics["density/prunable"] * prunable == kept
        assert r.metrics["cost/kept"] == exempt + kept
        assert r.metrics["density/total"] == r.metrics["cost/kept"] / r.metrics["cost/parameters"]
    chain = masks(config, store)
    assert len(chain) == 3
    assert all(b.within(a) for a, b in pairwise(chain))
    for index in (1, 2):
        mask, start = begun(config, store, index)
        end = final(config, store, index)
        for group in (start.weights, start.average, end.weights, end.average):
            assert mask.holds(group)
        for group in (end.weights, end.average):
            # METHODS 1.3: an average that was never sparse is what was scored
            assert all(torch.equal(group[n] != 0, bits) for n, bits in mask.items())
        shapes = {n: m.shape for n, m in mask.items()}
        assert read_ticket(found[index].files["ticket"], shapes)[0].mask == mask


def test_norms_biases_first_and_last_layer_and_time_embedding_are_never_cut(store):
    """METHODS 1.3.6: a rule that prunes norm gains and the last layer leaves constants for
    output."""
    config = tiny(prune__ladder=(0.5, 0.02), prune__budget="uniform")
    rounds(config, store)
    mask, _ = begun(config, store, 2)
    end = final(config, store, 2)
    never = ("norm", "bias", "conv_in", "conv_out", "time_emb")
    assert not any(word in name for name in mask for word in never)
    others = [name for name in end.weights if name not in mask and "bias" not in name]
    assert others
    for name in others:
        assert bool((end.weights[name] != 0).all()), name
    rules = workshop_of(config).rules(config.prune.layers)
    projections = [name for name in end.weights if name.endswith("time_emb_proj.weight")]
    assert len(projections) > 3
    assert {name for name, rule in rules.items() if rule == 1.0} == {
        "conv_in.weight",
        "conv_out.weight",
        "time_embedding.linear_1.weight",
        "time_embedding.linear_2.weight",
        *projections,
    }


# rewinding


def test_late_rewinding_is_the_dense_runs_state_at_k_bit_for_bit(store):
    """METHODS 1.3: the published code re-initialised instead, and its rewinding could not run."""
    config = tiny()
    rounds(config, store)
    anchor = anchor_of(config, store, 2)
    for index in (1, 2):
        mask, start = begun(config, store, index)
        assert (start.step, start.age) == (2, 2)
        for name, weight in start.weights.items():
            bits = mask.get(name, torch.ones_like(weight, dtype=torch.bool))
            assert torch.equal(weight[bits], anchor.weights[name][bits])
            assert torch.equal(start.average[name][bits], anchor.average[name][bits])
            for slot in ("exp_avg", "exp_avg_sq"):
                moment = start.moments[f"{slot}/{name}"]
                assert torch.equal(moment[bits], anchor.moments[f"{slot}/{name}"][bits])
                # METHODS 14.5: moments of dead weights that survive
                assert bool((moment[~bits] == 0).all())


def test_the_anchor_is_what_an_uninterrupted_dense_run_had_at_k(store, tmp_path):
    config = tiny()
    rounds(config, store)
    making, chosen = making_of(
        tiny(prune__ladder=(), rewind__rule="init"), Store(tmp_path / "other")
    )
    dense: Run = making.make(chosen.rungs[0].chain)
    start = State.begin(dense.workshop.weights(config.seed), 0).masked(Mask({}))
    live = next(making.learner(dense).run(start, Mask({}), stream=config.stream, stops=[2]))
    anchor = anchor_of(config, store, 2)
    assert live.step == 2
    assert all(torch.equal(live.weights[n], w) for n, w in anchor.weights.items())


def test_what_is_measured_is_the_average_of_this_round(store):
    config = tiny()
    found, (making, chosen) = rounds(config, store), making_of(config, store)
    dense: Run = making.make(chosen.rungs[0].chain)
    twin, task = dense.workshop.twin, dense.workshop.task
    x, y = dense.images.held_out("validation", config.measure.images)
    assert len(found) == 3
    for r in found:
        state = final(config, store, r.index)
        shown = {}
        for name, weights in (("average", state.average), ("weights", state.weights)):
            networks.set_weights(twin, weights)
            shown[name] = loss.panel(twin, task, x, y, config.measure.timesteps)
        assert torch.equal(r.arrays["loss"], shown["average"])
        assert not torch.equal(r.arrays["loss"], shown["weights"])


def test_moments_and_average_start_anew_when_the_policy_says_so(store):
    config = tiny(rewind__state="reset")
    rounds(config, store)
    mask, start = begun(config, store, 1)
    anchor = anchor_of(config, store, 2)
    assert (start.step, start.age, start.moments) == (2, 0, {})
    assert all(torch.equal(start.average[n], w) for n, w in start.weights.items())
    name = next(iter(mask))
    assert torch.equal(start.weights[name][mask[name]], anchor.weights[name][mask[name]])


@pytest.mark.parametrize("rule", ["init", "sign", "random", "tuned", "lr"])
def test_where_the_other_rules_begin(store, rule):
    config = tiny(rewind__rule=rule)
    rounds(config, store)
    initial = workshop_of(config).weights(config.seed)
    mask, start = begun(config, store, 2)
    before = final(config, store, 1)
    assert start.step == {"lr": 2, "tuned": 8}.get(rule, 0)
    assert (start.age, start.moments) == (0, {})
    for name, weight in start.weights.items():
        bits = mask.get(name, torch.ones_like(weight, dtype=torch.bool))
        kept = weight[bits]
        if rule == "init":
            assert torch.equal(kept, initial[name][bits])
        elif rule in ("tuned", "lr"):
            assert torch.equal(kept, before.weights[name][bits])
        elif rule == "sign" and name in mask:
            assert torch.equal(kept.sign(), initial[name][bits].sign())
            assert torch.allclose(kept.abs(), initial[name].std(correction=0).expand_as(kept))
        elif rule == "random" and name in mask:
            assert not torch.equal(kept, initial[name][bits])
    span = trajectory(config).rungs[2].shown.span
    assert span == (start.step, 14 if rule == "tuned" else 8)


def test_a_previous_anchor_is_the_last_rounds_own_state_k_steps_after_its_start(store):
    config = tiny(rewind__anchor="previous", prune__ladder=(0.6, 0.45, 0.3))
    rounds(config, store)
    chosen = trajectory(config)
    for index in (1, 2, 3):
        source = chosen.rungs[index - 1].chain
        at = source.span[0] + 2
        anchor = state_of(store, source, at)
        mask, start = begun(config, store, index)
        assert start.step == 2
        assert anchor is not None
        assert anchor.step == at
        for name, bits in mask.items():
            assert torch.equal(start.weights[name][bits], anchor.weights[name][bits])
    assert [history(rung.shown) for rung in chosen.rungs] == [8, 8, 10, 12]


def test_random_masks_follow_the_random_weights_own_training(store):
    """rewind = random is no control: its masks come from its own trained weights."""
    pair = [tiny(rewind__rule=rule, prune__ladder=(0.6, 0.45, 0.3)) for rule in ("random", "init")]
    for config in pair:
        rounds(config, store)
    ours, theirs = (masks(config, store) for config in pair)
    assert ours[1] == theirs[1]  # the first cut is of the same dense network
    assert ours[2] != theirs[2]


# sharing


def test_trials_that_agree_in_a_prefix_share_it(store, monkeypatch):
    rounds(tiny(), store)
    made = steps_trained(monkeypatch)
    rounds(tiny(), store)
    assert made == []
    rounds(tiny(rewind__rule="init"), store)  # the dense run and the first mask are there
    assert len(made) == 16
    made.clear()
    rounds(tiny(prune__ladder=(0.5, 0.4)), store)  # all but the last rung
    assert len(made) == 6
    made.clear()
    # a new anchor: two steps of the dense run from the old anchor, then rungs
    rounds(tiny(rewind__fraction=0.5), store)
    assert len(made) == 2 + 4 + 4


def test_anchors_kept_for_others_save_even_that(store, monkeypatch):
    rounds(tiny(prune__ladder=()), store, anchors=(2, 4))
    made = steps_trained(monkeypatch)
    rounds(tiny(rewind__fraction=0.5), store)
    assert len(made) == 4 + 4


def test_another_seed_or_stream_shares_nothing(store, monkeypatch):
    rounds(tiny(), store)
    made = steps_trained(monkeypatch)
    rounds(tiny(stream=1), store)
    assert len(made) == 8 + 6 + 6
    made.clear()
    rounds(tiny(seed=1), store)
    assert len(made) == 8 + 6 + 6


@pytest.mark.parametrize("make", [tiny, lenet])
def test_two_trials_in_one_process_share_nothing(make, tmp_path):
    """METHODS 1.3.11: masks in a module global, two trainers that collide.

    Each time that one trial commits a state, the other makes a round.
    """
    pair = make(), make(seed=1, stream=1, prune__criterion="random")
    apart = [rounds(config, Store(tmp_path / f"{i}")) for i, config in enumerate(pair)]
    for first, second in ((0, 1), (1, 0)):
        together = Store(tmp_path / f"together {first}")
        inner = run(pair[second], together, device="cpu", commit=0.0)
        seconds: list[Round] = []

        def turn(progress: Progress, inner=inner, seconds=seconds) -> None:
            made = next(inner, None)
            if made is not None:
                seconds.append(made)

        outer = run(pair[first], together, device="cpu", commit=0.0, progress=turn)
        assert all_same(list(outer), apart[first])
        assert len(seconds) == 3  # all in the midst of the other's training
        assert all_same(seconds, apart[second])


# interruption


@pytest.mark.parametrize("make", [tiny, lenet])
def test_closed_anywhere_and_run_again_equals_the_uninterrupted_run(make, tmp_path):
    config = make(train__steps=60, prune__ladder=(0.5, 0.2))
    whole = rounds(config, Store(tmp_path / "whole"))
    events = cut_short(config, Store(tmp_path / "count"))
    assert events > 8
    for stop in range(1, events):
        store = Store(tmp_path / str(stop))
        assert cut_short(config, store, stop) == stop
        assert all_same(rounds(config, store, commit=0.0), whole), stop


def test_progress_comes_where_a_state_was_committed(store, monkeypatch):
    config = tiny(train__steps=60, prune__ladder=(0.5,))

    def kill(progress: Progress) -> None:
        if (progress.round, progress.step) == (1, 50):
            raise Killed

    with pytest.raises(Killed):
        rounds(config, store, commit=0.0, progress=kill)
    made = steps_trained(monkeypatch)
    rounds(config, store)
    assert made == list(range(50, 60))


def test_real_sigkills_at_random_moments_leave_the_result_bit_for_bit_the_same(tmp_path, caplog):
    config = tiny(train__steps=150, prune__ladder=(0.5, 0.2), measure__checkpoints=5)
    whole = rounds(config, Store(tmp_path / "whole"))
    rng, kills, events = random.Random(3), 0, []
    for _ in range(40):
        process, told = forks.begin(forks.train, config.canonical(), tmp_path / "killed")
        events.append(told.recv())  # it has committed something
        time.sleep(rng.uniform(0, 0.5))
        if not process.is_alive() or kills == 6:
            process.join()
            assert process.exitcode == 0
            break
        process.kill()
        process.join()
        kills += 1
    assert kills >= 3
    assert "Progress" in events
    assert all_same(rounds(config, Store(tmp_path / "killed")), whole)
    assert "set aside" not in caplog.text


def test_every_damaged_object_is_made_again_and_the_result_is_the_same(tmp_path, caplog):
    config = tiny()
    whole = rounds(config, Store(tmp_path / "s"))
    damaged = 0
    for path in sorted((tmp_path / "s" / "objects").rglob("*")):
        if path.is_file():
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 4
            path.chmod(0o644)
            path.write_bytes(data)
            damaged += 1
    assert damaged > 10
    assert all_same(rounds(config, Store(tmp_path / "s")), whole)
    assert "set aside" in caplog.text


def test_a_damaged_measure_is_made_again_alone(store, monkeypatch, caplog):
    whole, rung = rounds(tiny(), store), trajectory(tiny()).rungs[1]
    path = store.root / "objects" / rung.measures["loss"].key[:2] / rung.measures["loss"].key

    def created() -> dict[str, float]:
        items = {name: store.find(step.key) for name, step in rung.measures.items()}
        return {name: item.facts["created"] for name, item in items.items() if item}

    before = created()
    (manifest,) = path.rglob("manifest.json")
    manifest.chmod(0o644)
    manifest.write_bytes(b"{}")
    made = steps_trained(monkeypatch)
    assert all_same(rounds(tiny(), store), whole)
    assert "set aside" in caplog.text
    after = created()
    assert before.keys() == after.keys() == rung.measures.keys()
    assert {name for name in after if after[name] != before[name]} == {"loss"}
    assert made == []


def test_when_a_run_is_complete_only_anchors_and_last_weights_stay(store):
    config = tiny(train__steps=60)
    rounds(config, store, commit=0.0)
    dense, first = trajectory(config).rungs[:2]
    assert store.parts(dense.chain.key) == ["anchor-00000015", "final"]
    assert store.parts(first.chain.key) == ["final"]
    assert store.parts(first.measures["curve"].key) == ["whole"]
    assert final(config, store, 1).moments == {}


def test_a_curve_that_was_measured_elsewhere_is_measured_again_for_another_split(
    store, monkeypatch
):
    validation = rounds(tiny(), store)
    made = steps_trained(monkeypatch)
    test = rounds(tiny(measure__split="test"), store)
    # from the anchor, before the first point: the way is walked again, with other eyes
    assert len(made) == 6 + 6 + 6
    for a, b in zip(validation, test, strict=True):
        assert a.keys["weights"] == b.keys["weights"]
        assert len(a.curve) == 2
        assert [point[:2] for point in a.curve] == [point[:2] for point in b.curve]
        assert [point[2] for point in a.curve] != [point[2] for point in b.curve]


def test_an_anchor_made_for_another_trial_does_not_lose_the_curve_before_it(tmp_path):
    """Reaching only for an anchor past the first points measures nothing; the run must look at
    them again."""
    config = tiny(prune__ladder=())
    whole = rounds(config, Store(tmp_path / "whole"))
    store = Store(tmp_path / "anchored")
    reached: list[int] = []
    making, chosen = making_of(config, store, progress=lambda event: reached.append(event.step))
    prepare(making, chosen, anchors=(2, 6))
    assert making.make(chosen.rungs[0].chain).state(6).step == 6
    assert reached == [2, 6]
    assert same(rounds(config, store)[0], whole[0])


# failures


def test_a_loss_that_is_not_finite_ends_the_trial_with_its_step_and_keeps_what_was_recorded(store):
    config = tiny(train__lr=1e30, train__clip=0.0)
    with pytest.raises(TrialFailed, match=r"is not finite|is nan|is inf"):
        rounds(config, store)


def test_a_layer_without_weights_is_named_with_its_round(store):
    config = tiny(prune__ladder=(0.5, 0.0002))
    trial = run(config, store, device="cpu")
    seen: list[int] = []
    with pytest.raises(Collapsed, match=r"no weight left at round 2, density 0.0002: .*conv"):
        seen.extend(r.index for r in trial)
    assert seen == [0, 1]
    chosen = trajectory(config)
    assert [is_stored(store, place_of(rung, chosen)) for rung in chosen.rungs] == [
        True,
        True,
        False,
    ]


# what only data and network can show


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"'conv_inn' matches no layer"):
        check(tiny(prune__layers=(("conv_inn", 1.0), ("*", "free"))))


def test_dials_of_another_network_are_refused():
    needs = r"needs 3, one each for down_blocks.0, mid_block, up_blocks.0"
    with pytest.raises(ConfigError, match=needs):
        check(tiny(prune__budget="sampled", prune__dials=(1.0, 2.0)))


def test_the_sampled_budget_runs(store):
    found = rounds(tiny(prune__budget="sampled", prune__dials=(-1.0, 0.0, 1.0)), store)
    density = found[1].densities
    layer = "resnets.0.conv1.weight"
    assert density[f"up_blocks.0.{layer}"] > density[f"down_blocks.0.{layer}"]


# a ticket of another trial


def test_a_given_ticket_is_trained_from_the_trials_own_weights(store, tmp_path):
    source = rounds(tiny(), store)
    path = tmp_path / "ticket.safetensors"
    path.write_bytes(source[2].files["ticket"])
    config = tiny(seed=5, origin=str(path))
    check(config)
    found = rounds(config, store)
    assert len(found) == 2
    assert found[1].densities == source[2].densities
    mask, start = begun(config, store, 1)
    anchor = anchor_of(config, store, 2)
    assert all(torch.equal(start.weights[n][mask[n]], anchor.weights[n][mask[n]]) for n in mask)
    assert found[1].keys["mask"] != source[2].keys["mask"]


def test_a_ticket_of_another_network_or_a_damaged_one_is_refused_before_anything_is_made(
    store, tmp_path
):
    path = tmp_path / "ticket.safetensors"
    path.write_bytes(rounds(tiny(), store)[1].files["ticket"])
    with pytest.raises(TicketError, match="another network"):
        check(tiny(origin=str(path), model__channels=(16,)))
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(TicketError, match="never loads pickles"):
        check(tiny(origin=str(path)))


def test_pace_times_a_step():
    parameters, seconds = pace(tiny(), steps=3)
    assert parameters == sum(w.numel() for w in workshop_of(tiny()).weights(0).values())
    assert 0 < seconds < 1


# early-bird tickets


def test_a_mask_is_cut_where_it_has_settled(store):
    words = {"train__steps": 40, "prune__looks": 10, "prune__ladder": (0.5, 0.3)}
    # hardly ever settled; soon settled
    late, early = (lenet(**words, prune__early=share) for share in (1e-9, 0.3))
    for config in (late, early):
        found, rungs = rounds(config, store), trajectory(config).rungs
        assert len(found) == 3
        for r, mask in zip(found[1:], masks(config, store)[1:], strict=True):
            chain, item = rungs[r.index - 1].chain, store.find(rungs[r.index].mask.key)
            assert item is not None
            at = item.facts["step"]
            assert at in marks(*chain.span, 10)
            stored = state_of(store, chain, at)
            assert stored is not None
            sizes = {n: w.abs() for n, w in stored.weights.items() if n in mask}
            cut = {n: bits for n, bits in mask.items() if not bits.all()}
            assert cut
            assert all(sizes[n][bits].min() >= sizes[n][~bits].max() for n, bits in cut.items())
    steps = [rounds(config, store)[-1].metrics["cost/steps_to_mask"] for config in (late, early)]
    # dense, and the first rung from a quarter of the way
    assert steps[1] < steps[0] == 40 + 30


def test_a_mask_has_settled_when_none_of_the_four_before_it_differs_by_more():
    drawn = torch.arange(100)
    # the first differs from the last by 8 %
    looked_at = [Mask({"a": (drawn >= k) & (drawn < 50 + k)}) for k in (0, 1, 2, 3, 4)]
    assert settled(looked_at, 0.08)
    assert not settled(looked_at, 0.079)
    assert not settled(looked_at[1:], 0.5)  # four are too few to tell
    assert settled([Mask({"a": drawn < 10}), *looked_at], 0.08)  # what is further back is past


def test_a_control_of_an_early_ticket_never_trains_the_chain_to_its_end(store):
    words = {"prune__early": 0.9, "prune__looks": 10, "prune__ladder": (0.5, 0.3)}
    config = lenet(**words, control="reinit", rungs=(2,))
    rounds(config, store)
    chain = trajectory(config).rungs[1].chain
    assert store.parts(chain.key)
    assert state_of(store, chain, chain.span[1]) is None


# budgets that follow the likeness of two networks


def test_likeness_is_of_the_pair_and_the_same_from_both_sides(store):
    words = {"prune__budget": "cka", "prune__images": 16, "prune__terms": 2}
    words |= {"prune__between": "tickets"}
    pair = [tiny(**words, seed=seed, stream=seed) for seed in (2, 3)]
    assert twin_config(pair[0]) == pair[1]
    assert twin_config(pair[1]) == pair[0]
    reverse = tiny(**words, seed=2, stream=2, prune__gamma=-1.0)
    found = {}
    for name, config in {"this": pair[0], "that": pair[1], "reverse": reverse}.items():
        rounds(config, store)
        mask = masks(config, store)[1]
        found[name] = {n: d for n, d in mask.densities.items() if mask[n].numel() > 200}
    assert len({round(d, 2) for d in found["this"].values()}) > 3  # far from uniform
    # each sees images of its own, but the same two networks
    agreement = spearmanr(*(list(found[name].values()) for name in ("this", "that")))[0]
    assert agreement > 0.6
    both = [(d, found["reverse"][name]) for name, d in found["this"].items()]
    products = [d * other for d, other in both if max(d, other) < 1]
    assert max(products) == pytest.approx(min(products), rel=0.05)


def test_what_is_between_dense_networks_does_not_wait_for_tickets(store):
    words = {"prune__budget": "cka", "prune__images": 16, "prune__terms": 2}
    config = tiny(**words, prune__between="dense", prune__ladder=(0.5, 0.3))
    rounds(config, store)
    twin = trajectory(twin_config(config))
    assert state_of(store, twin.rungs[0].chain, 8) is not None
    assert state_of(store, twin.rungs[1].chain, 8) is None
