"""Whole trajectories: nested masks, exact rungs, rewinding to the bit, sharing, and every way of being interrupted.

The traps of published code (named in the tests) are each held here: norms pruned, an average that was never sparse,
moments that survive, re-initialising called rewinding, masks that are not saved, two runs that share state.
"""

import json
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest
import torch

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.core.record import Progress, Round
from lthray.core.store import Store
from lthray.core.ticket import Mask, TicketError, TrialFailed
from lthray.core.ticket_file import read_ticket
from lthray.measure import loss
from lthray.task import networks
from lthray.trial import checkpoints
from lthray.trial.plan import plan, twin_config
from lthray.trial.preflight import check
from lthray.trial.setting import Collapsed, Setting, pace
from lthray.trial.training import Learner
from lthray.trial.trajectory import Trial, _settled, run

from .conftest import lenet, rounds, same, tiny

RULES = ["init", "late", "tuned", "lr", "random", "sign"]


def begun(config: TrialConfig, store: Store, index: int, shown: bool = True):
    """The mask and the state from which a rung begins, of a trial that has been run."""
    trial = Trial(config, store, "cpu")
    rung = trial.plan.rungs[index]
    made = trial.start(rung, rung.shown if shown else rung.chain)
    try:
        while True:
            next(made)
    except StopIteration as done:
        return done.value


def masks(config: TrialConfig, store: Store) -> list[Mask]:
    return [begun(config, store, i, shown=False)[0] for i in range(len(config.prune.ladder) + 1)]


def final(config: TrialConfig, store: Store, index: int):
    run = plan(config).rungs[index].shown
    return checkpoints.load(store, run, run.end)


def steps_trained(monkeypatch) -> list[int]:
    """Counts the optimizer steps made from now on."""
    made: list[int] = []
    real = Learner._stepper

    def spy(self, *args):
        step = real(self, *args)
        return lambda live: (made.append(live.step), step(live))[1]

    monkeypatch.setattr(Learner, "_stepper", spy)
    return made


# laws of a trajectory, for every rule


@pytest.mark.parametrize("rule", RULES)
def test_masks_nest_rungs_are_exact_and_zeros_are_the_mask(store, rule):
    config = tiny(rewind__rule=rule)
    found = rounds(config, store)
    assert [r.index for r in found] == [0, 1, 2]
    prunable = found[0].metrics["cost/prunable"]
    for density, r in zip(config.prune.ladder, found[1:], strict=True):
        assert r.metrics["density/prunable"] * prunable == round(density * prunable)
        assert r.metrics["cost/kept"] == found[0].metrics["cost/parameters"] - prunable + round(density * prunable)
        assert r.metrics["density/total"] == r.metrics["cost/kept"] / r.metrics["cost/parameters"]
    chain = masks(config, store)
    assert all(b.within(a) for a, b in pairwise(chain))
    for index in (1, 2):
        mask, start = begun(config, store, index)
        end = final(config, store, index)
        for group in (start.weights, start.average, end.weights, end.average):
            assert mask.holds(group)
        for group in (end.weights, end.average):  # METHODS 1.3: an average that was never sparse is what was scored
            assert all(torch.equal(group[n] != 0, bits) for n, bits in mask.items())
        assert read_ticket(found[index].files["ticket"], {n: m.shape for n, m in mask.items()})[0].mask == mask


def test_norms_biases_first_and_last_layer_and_time_embedding_are_never_cut(store):
    """METHODS 1.3.6: a rule that prunes norm gains and the last layer leaves constants for output."""
    config = tiny(prune__ladder=(0.5, 0.02), prune__budget="uniform")
    rounds(config, store)
    mask, _ = begun(config, store, 2)
    end = final(config, store, 2)
    assert not any(word in name for name in mask for word in ("norm", "bias", "conv_in", "conv_out", "time_embedding"))
    for name, weight in end.weights.items():
        if name not in mask and "bias" not in name:
            assert bool((weight != 0).all()), name
    rules = Setting(config, torch.device("cpu")).rules
    assert {name for name, rule in rules.items() if rule == 1.0} == {
        "conv_in.weight",
        "conv_out.weight",
        "time_embedding.linear_1.weight",
        "time_embedding.linear_2.weight",
    }


# rewinding


def test_late_rewinding_is_the_dense_runs_state_at_k_bit_for_bit(store):
    """METHODS 1.3: the published code re-initialised instead, and its rewinding could not run."""
    config = tiny()
    rounds(config, store)
    dense = plan(config).rungs[0].chain
    anchor = checkpoints.load(store, dense, 2)
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
                assert bool((moment[~bits] == 0).all())  # METHODS 14.5: moments of dead weights that survive


def test_the_anchor_is_what_an_uninterrupted_dense_run_had_at_k(store, tmp_path):
    config = tiny()
    rounds(config, store)
    short = tiny(prune__ladder=(), rewind__rule="init")
    trial = Trial(short, Store(tmp_path / "other"), "cpu")
    state = State_at(trial, 2)
    anchor = checkpoints.load(store, plan(config).rungs[0].chain, 2)
    assert all(torch.equal(state.weights[n], w) for n, w in anchor.weights.items())


def State_at(trial: Trial, step: int):
    """The dense run's live state at a step, from the training loop itself."""
    from lthray.trial.training import State

    start = State.begin(trial.weights(trial.config.seed), 0).masked(Mask({}))
    return next(trial.learner.run(start, Mask({}), stream=trial.config.stream, stops=[step]))


def test_what_is_measured_is_the_average_of_this_round(store):
    config = tiny()
    found, setting = rounds(config, store), Setting(config, torch.device("cpu"))
    x, y = setting.images.held_out("validation", config.measure.images)
    for r in found:
        state = final(config, store, r.index)
        shown = {}
        for name, weights in (("average", state.average), ("weights", state.weights)):
            networks.set_weights(setting.twin, weights)
            shown[name] = loss.panel(setting.twin, setting.learner.task, x, y, config.measure.timesteps)
        assert torch.equal(r.arrays["loss"], shown["average"])
        assert not torch.equal(r.arrays["loss"], shown["weights"])


def test_moments_and_average_start_anew_when_the_policy_says_so(store):
    config = tiny(rewind__state="reset")
    rounds(config, store)
    mask, start = begun(config, store, 1)
    anchor = checkpoints.load(store, plan(config).rungs[0].chain, 2)
    assert (start.step, start.age, start.moments) == (2, 0, {})
    assert all(torch.equal(start.average[n], w) for n, w in start.weights.items())
    name = next(iter(mask))
    assert torch.equal(start.weights[name][mask[name]], anchor.weights[name][mask[name]])


@pytest.mark.parametrize("rule", ["init", "sign", "random", "tuned", "lr"])
def test_where_the_other_rules_begin(store, rule):
    config = tiny(rewind__rule=rule)
    rounds(config, store)
    initial = Setting(config, torch.device("cpu")).weights(config.seed)
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
    assert (plan(config).rungs[2].shown.start, plan(config).rungs[2].shown.end) == (start.step, 14 if rule == "tuned" else 8)


def test_a_previous_anchor_is_the_last_rounds_own_state_k_steps_after_its_start(store):
    config = tiny(rewind__anchor="previous", prune__ladder=(0.6, 0.45, 0.3))
    rounds(config, store)
    found = plan(config)
    for index in (1, 2, 3):
        source = found.rungs[index - 1].chain
        anchor = checkpoints.load(store, source, source.start + 2)
        mask, start = begun(config, store, index)
        assert start.step == 2
        assert anchor.step == source.start + 2
        for name, bits in mask.items():
            assert torch.equal(start.weights[name][bits], anchor.weights[name][bits])
    assert [rung.shown.history for rung in found.rungs] == [8, 8, 10, 12]


def test_random_masks_follow_the_random_weights_own_training(store):
    """rewind = random is no control: its masks come from its own trained weights."""
    config = tiny(rewind__rule="random", prune__ladder=(0.6, 0.45, 0.3))
    rounds(config, store)
    rounds(tiny(rewind__rule="init", prune__ladder=(0.6, 0.45, 0.3)), store)
    ours, theirs = masks(config, store), masks(tiny(rewind__rule="init", prune__ladder=(0.6, 0.45, 0.3)), store)
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
    rounds(tiny(rewind__fraction=0.5), store)  # a new anchor: two steps of the dense run from the old anchor, then rungs
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
    """METHODS 1.3.11: masks in a module global, two trainers that collide."""
    a, b = make(), make(seed=1, stream=1, prune__criterion="random")
    apart = rounds(a, Store(tmp_path / "a")), rounds(b, Store(tmp_path / "b"))
    together = Store(tmp_path / "c")
    live = [run(a, together, device="cpu", commit=0), run(b, together, device="cpu", commit=0)]
    found: list[list[Round]] = [[], []]
    while any(live):
        for i, events in enumerate(live):
            event = next(events, None) if events else None
            if event is None:
                live[i] = None
            elif isinstance(event, Round):
                found[i].append(event)
    for one, other in zip(apart, found, strict=True):
        assert all(same(x, y) for x, y in zip(one, other, strict=True))


# interruption


@pytest.mark.parametrize("make", [tiny, lenet])
def test_closed_anywhere_and_run_again_equals_the_uninterrupted_run(make, tmp_path):
    config = make(train__steps=60, prune__ladder=(0.5, 0.2))
    whole = rounds(config, Store(tmp_path / "whole"))
    events = len(list(run(config, Store(tmp_path / "count"), device="cpu", commit=0)))
    assert events > 8
    for stop in range(1, events):
        store = Store(tmp_path / str(stop))
        live = run(config, store, device="cpu", commit=0)
        for _ in range(stop):
            next(live)
        live.close()
        assert all(same(a, b) for a, b in zip(rounds(config, store, commit=0), whole, strict=True)), stop


def test_progress_comes_where_a_state_was_committed(store, monkeypatch):
    config = tiny(train__steps=60, prune__ladder=(0.5,))
    live = run(config, store, device="cpu", commit=0)
    event = next(live)
    while not (isinstance(event, Progress) and event.round == 1 and event.step == 50):
        event = next(live)
    live.close()
    made = steps_trained(monkeypatch)
    rounds(config, store)
    assert made == list(range(50, 60))


RUNNER = """
import json, sys, torch
torch.set_num_threads(1)
from lthray.config.trial import TrialConfig
from lthray.core.store import Store
from lthray.trial.trajectory import run
for event in run(TrialConfig.from_flat(json.loads(sys.argv[1])), Store(sys.argv[2]), device="cpu", commit=0.05):
    print(event.__class__.__name__, flush=True)
"""


def test_real_sigkills_at_random_moments_leave_the_result_bit_for_bit_the_same(tmp_path, caplog):
    config = tiny(train__steps=150, prune__ladder=(0.5, 0.2), measure__checkpoints=5)
    whole = rounds(config, Store(tmp_path / "whole"))
    command = [sys.executable, "-c", RUNNER, json.dumps(config.canonical()), str(tmp_path / "killed")]
    rng, kills, lines = random.Random(3), 0, []
    for _ in range(40):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        lines.append(process.stdout.readline())  # it has committed something
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is not None or kills == 6:
            process.communicate()
            assert process.returncode == 0
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
    assert kills >= 3
    assert "Progress\n" in lines
    found = rounds(config, Store(tmp_path / "killed"))
    assert all(same(a, b) for a, b in zip(found, whole, strict=True))
    assert "set aside" not in caplog.text


def test_every_damaged_object_is_made_again_and_the_result_is_the_same(tmp_path, caplog):
    config = tiny()
    whole = rounds(config, Store(tmp_path / "s"))
    for path in sorted((tmp_path / "s" / "objects").rglob("*")):
        if path.is_file():
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 4
            path.chmod(0o644)
            path.write_bytes(data)
    again = rounds(config, Store(tmp_path / "s"))
    assert all(same(a, b) for a, b in zip(again, whole, strict=True))
    assert "set aside" in caplog.text


def test_when_a_run_is_complete_only_anchors_and_last_weights_stay(store):
    config = tiny(train__steps=60)
    rounds(config, store, commit=0)
    found = plan(config)
    curve = f"curve-{found.rungs[0].curve[:16]}"
    assert store.parts(found.rungs[0].chain.key) == ["anchor-00000015", curve, "final"]
    assert store.parts(found.rungs[1].chain.key) == [curve, "final"]
    assert checkpoints.load(store, found.rungs[1].chain, 60).moments == {}


def test_a_curve_that_was_measured_elsewhere_is_measured_again_for_another_split(store, monkeypatch):
    validation = rounds(tiny(), store)
    made = steps_trained(monkeypatch)
    test = rounds(tiny(measure__split="test"), store)
    assert len(made) == 6 + 6 + 6  # from the anchor, before the first point: the way is walked again, with other eyes
    for a, b in zip(validation, test, strict=True):
        assert a.keys["weights"] == b.keys["weights"]
        assert torch.equal(a.arrays["curve"][:, :2], b.arrays["curve"][:, :2])
        assert not torch.equal(a.arrays["curve"][:, 2], b.arrays["curve"][:, 2])


def test_an_anchor_made_for_another_trial_does_not_lose_the_curve_before_it(tmp_path):
    """Reaching only for an anchor past the first points measures nothing; the run must look at them again."""
    whole = rounds(tiny(prune__ladder=()), Store(tmp_path / "whole"))
    store = Store(tmp_path / "anchored")
    trial = Trial(tiny(prune__ladder=()), store, "cpu", anchors=(6,))
    dense = trial.plan.rungs[0]
    assert [event.step for event in trial.reach(dense, dense.chain, 6)] == [2, 6]
    assert same(rounds(tiny(prune__ladder=()), store)[0], whole[0])


# failures


def test_a_loss_that_is_not_finite_ends_the_trial_with_its_step_and_keeps_what_was_recorded(store):
    config = tiny(train__lr=1e30, train__clip=0.0)
    with pytest.raises(TrialFailed, match=r"is not finite|is nan|is inf"):
        rounds(config, store)


def test_a_layer_without_weights_is_named_with_its_round(store):
    config = tiny(prune__ladder=(0.5, 0.0002))
    events = run(config, store, device="cpu")
    seen = []
    with pytest.raises(Collapsed, match=r"no weight left at round 2, density 0.0002: .*conv"):
        seen.extend(e.index for e in events if isinstance(e, Round))
    assert [r.round for r in plan(config).rungs if store.find(r.round)] == [r.round for r in plan(config).rungs[:2]]


# what only data and network can show


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"'conv_inn' matches no layer"):
        check(tiny(prune__layers=(("conv_inn", 1.0), ("*", "free"))))


def test_dials_of_another_network_are_refused():
    with pytest.raises(ConfigError, match=r"needs 3, one each for down_blocks.0, mid_block, up_blocks.0"):
        check(tiny(prune__budget="sampled", prune__dials=(1.0, 2.0)))


def test_the_sampled_budget_runs(store):
    found = rounds(tiny(prune__budget="sampled", prune__dials=(-1.0, 0.0, 1.0)), store)
    density = found[1].densities
    assert density["up_blocks.0.resnets.0.conv1.weight"] > density["down_blocks.0.resnets.0.conv1.weight"]


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
    anchor = checkpoints.load(store, plan(config).rungs[0].chain, 2)
    assert all(torch.equal(start.weights[n][mask[n]], anchor.weights[n][mask[n]]) for n in mask)
    assert found[1].keys["mask"] != source[2].keys["mask"]


def test_a_ticket_of_another_network_or_a_damaged_one_is_refused_before_anything_is_made(store, tmp_path):
    path = tmp_path / "ticket.safetensors"
    path.write_bytes(rounds(tiny(), store)[1].files["ticket"])
    with pytest.raises(TicketError, match="another network"):
        check(tiny(origin=str(path), model__channels=(16,)))
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(TicketError, match="never loads pickles"):
        check(tiny(origin=str(path)))


def test_pace_times_a_step():
    parameters, seconds = pace(tiny(), steps=3)
    assert parameters == sum(w.numel() for w in Setting(tiny(), torch.device("cpu")).weights(0).values())
    assert 0 < seconds < 1


# early-bird tickets


def test_a_mask_is_cut_where_it_has_settled(store):
    words = {"train__steps": 40, "prune__looks": 10, "prune__ladder": (0.5, 0.3)}
    late, early = (lenet(**words, prune__early=share) for share in (1e-9, 0.3))  # hardly ever settled; soon settled
    for config in (late, early):
        found = rounds(config, store)
        for r, mask in zip(found[1:], masks(config, store)[1:], strict=True):
            chain = plan(config).rungs[r.index - 1].chain
            step = store.find(plan(config).rungs[r.index].mask).facts["step"]
            assert step in chain.marks(10)
            stored = checkpoints.load(store, chain, step)
            best = {n: w.abs() for n, w in stored.weights.items() if n in mask}
            assert all(best[n][mask[n]].min() >= best[n][~mask[n]].max() for n in mask if not mask[n].all())
    steps = [rounds(config, store)[-1].metrics["cost/steps_to_mask"] for config in (late, early)]
    assert steps[1] < steps[0] == 40 + 30  # dense, and the first rung from a quarter of the way


def test_a_mask_has_settled_when_none_of_the_four_before_it_differs_by_more():
    drawn = torch.arange(100)
    masks = [Mask({"a": (drawn >= k) & (drawn < 50 + k)}) for k in (0, 1, 2, 3, 4)]  # the first differs from the last by 8 %
    assert _settled(masks, 0.08)
    assert not _settled(masks, 0.079)
    assert not _settled(masks[1:], 0.5)  # four are too few to tell
    assert _settled([Mask({"a": drawn < 10}), *masks], 0.08)  # what is further back does not count


def test_a_control_of_an_early_ticket_never_trains_the_chain_to_its_end(store):
    config = lenet(prune__early=0.9, prune__looks=10, prune__ladder=(0.5, 0.3), control="reinit", rungs=(2,))
    rounds(config, store)
    chain = plan(config).rungs[1].chain
    assert checkpoints.load(store, chain, chain.end) is None


# budgets that follow the likeness of two networks


def test_likeness_is_of_the_pair_and_the_same_from_both_sides(store):
    words = {"prune__budget": "cka", "prune__images": 16, "prune__terms": 2, "prune__between": "tickets"}
    pair = [tiny(**words, seed=seed, stream=seed) for seed in (2, 3)]
    assert twin_config(pair[0]) == pair[1]
    assert twin_config(pair[1]) == pair[0]
    reverse = tiny(**words, seed=2, stream=2, prune__gamma=-1.0)
    found = {}
    for name, config in {"this": pair[0], "that": pair[1], "reverse": reverse}.items():
        rounds(config, store)
        mask = masks(config, store)[1]
        found[name] = {n: d for n, d in mask.densities.items() if mask[n].numel() > 200}
    ranks = {name: sorted(d, key=d.__getitem__) for name, d in found.items()}
    assert len({round(d, 2) for d in found["this"].values()}) > 3  # far from uniform
    assert ranks["this"][:2] == ranks["that"][:2]  # each sees images of its own, but the same two networks
    products = [d * found["reverse"][name] for name, d in found["this"].items() if max(d, found["reverse"][name]) < 1]
    assert max(products) == pytest.approx(min(products), rel=0.05)


def test_what_is_between_dense_networks_does_not_wait_for_tickets(store):
    config = tiny(prune__budget="cka", prune__images=16, prune__terms=2, prune__between="dense", prune__ladder=(0.5, 0.3))
    rounds(config, store)
    twin = plan(twin_config(config))
    assert checkpoints.load(store, twin.rungs[0].chain, 8) is not None
    assert checkpoints.load(store, twin.rungs[1].chain, 8) is None
