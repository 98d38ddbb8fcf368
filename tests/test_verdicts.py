"""What a page claims of tickets: grades on made-up numbers, failures, looks, errors, real runs."""

import itertools
import json
import math
import re
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig, words_of_role
from lthray.core import metrics
from lthray.core.record import Outcome, TrialRecord
from lthray.findings import charts, claims, comparators, floors, wording
from lthray.findings import stats as st
from lthray.findings.claims import BOTH, FASTER, NOTHING, UNTRIED, Verdict, better, judged, matches
from lthray.findings.contrasts import COMPUTE, CONVERGED, OWN
from lthray.findings.evidence import (
    Cell,
    Evidence,
    comparable,
    gather,
    recipe,
    setting_of,
)
from lthray.findings.formats import NONE, joined, plural
from lthray.findings.power import level_of
from lthray.findings.registry import Statement
from lthray.findings.rounds import POINTS, kid_of
from lthray.prune.controls import CONTROLS
from lthray.study.comparators import AGAIN, against, longer
from lthray.study.ledger import Ledger
from lthray.study.results import look_of, trials
from lthray.trial.points import point
from lthray.trial.recipe import trajectory

from .conftest import TINY, rounds, tiny

LADDER = (0.5, 0.1)
DENSE, SEEDS = 0.2, range(5)
_ids = itertools.count()


SAMPLERS = ("ddim", "ddpm", "heun")
FREQUENCY = runpy.run_path(str(Path(__file__).parent.parent / "analysis/ticket_frequency.py"))
WHOLE = {"prune.ladder": LADDER}
"""Words of trials that are to come to both rungs."""


def trial(
    control="none",
    seed=0,
    excess=(0.0, 0.0),
    kid=None,
    curve=None,
    error=0.001,
    call="a" * 16,
    dense=None,
    **config,
) -> TrialRecord:
    """Return a recorded trial.

    `excess` is that at each rung, `kid` that of dense network and ticket under each sampler,
    `curve` the loss along training.
    """

    def facts(index: int, density: float, d: float) -> dict:
        measured = {
            "loss/heldout": (dense or DENSE) * (1 + d),
            "loss/excess": d,
            "loss/excess_se": error,
            "density/total": 0.05 + 0.95 * density,
        }
        if kid and index in (0, len(excess)):
            measured |= {
                kid_of(s): value for s, value in zip(SAMPLERS, kid[min(index, 1)], strict=False)
            }
        return {
            "index": index,
            "density": density,
            "metrics": measured,
            "curve": (curve or {}).get(index, []),
        }

    fork = config.pop("fork", 0)
    shown = [
        facts(i, density, d) for i, (density, d) in enumerate(zip(LADDER, excess, strict=False), 1)
    ]
    about = {
        "seed": seed,
        "control": control,
        "fork": fork,
        "recipe": "overall late5%",
        "config": config,
        "data": ["d", "x"],
    }
    about |= {"name": f"overall late5% s{seed}", "phase": "list"}
    return TrialRecord.from_json(
        {
            "id": f"{call}-{next(_ids):04d}",
            "point": about,
            "end": {},
            "rounds": [facts(0, 1.0, 0.0), *shown],
        }
    )


def with_point(trial: TrialRecord, **fields) -> TrialRecord:
    """The trial with other fields of its point."""
    return replace(trial, point=replace(trial.point, **fields))


def study(
    d, shuffle=None, reinit=None, small=None, kid=None, equal=None, rungs=2, **more
) -> list[TrialRecord]:
    """One trial an arm and seed; numbers by seed, alike at all rungs.

    `kid` maps an arm to (KID of the dense network, of the arm) under each sampler, by seed; where
    it is no mapping it is that of tickets.
    """
    arms = {"none": d, "shuffle": shuffle, "reinit": reinit, "small_dense": small}
    arms["equal_compute"] = equal
    sampled = kid if isinstance(kid, dict) else {"none": kid}
    found = []
    for control, values in arms.items():
        for seed, value in zip(SEEDS, values if values is not None else (), strict=False):
            samples = sampled[control][seed] if sampled.get(control) else None
            found.append(trial(control, seed, (value,) * rungs, samples, **more))
    return found


def studied(found, look: int = 1) -> SimpleNamespace:
    """Return a recorded study of these trials, as analyses read it."""
    return SimpleNamespace(
        of=lambda call: found,
        trials=found,
        provenance=lambda trials: "Recorded.",
        look=lambda trials: look,
    )


def only(found) -> tuple[Evidence, Cell]:
    """Return the evidence of the one setting, and the sparsest cell of its one recipe."""
    (evidence,) = gather(comparable(found))
    ((_, cells),) = evidence.recipes.items()
    return evidence, cells[min(cells)]


def verdict_of(found, look: int = 1) -> Verdict:
    """Return the verdict on the one setting of a page."""
    (verdict,) = judged(gather(comparable(found)), look)
    return verdict


def graded(found) -> tuple[str, str]:
    """Return the two words of the grade at the sparsest rung of the one recipe."""
    verdict = verdict_of(found)
    (key,) = verdict.evidence.recipes
    (density, _) = verdict.evidence.ladder(key)[-1]
    return joined(verdict.matched(key, density)), verdict.shown(key, density)


def wins(found) -> bool:
    """Return whether the one recipe wins at its sparsest rung."""
    matched, shown = graded(found)
    return matched.startswith(OWN) and shown == BOTH


def told_of(found) -> list[str]:
    """Return the sentences of a page of one setting."""
    return wording.sentences(verdict_of(found))


SPREAD = np.array([-2, -1, 0, 1, 2]) * 1e-3
GOOD, MEDIUM, BAD = -0.02 + SPREAD, 0.005 + SPREAD[::-1], 0.2 + SPREAD
# (dense, ticket) x (ddim, ddpm)
FINE = [((0.3, 0.4), (0.3 + 0.001 * i, 0.4 - 0.001 * i)) for i in range(5)]
POOR = [((0.3, 0.4), (0.3, 0.9 + 0.01 * i)) for i in range(5)]
UGLY = [((0.3, 0.4), (0.8 + 0.01 * i, 0.9 - 0.01 * i)) for i in range(5)]


def again(kid, fork: int = 1) -> list[TrialRecord]:
    """A second dense network a seed, whose KID differs by 0.02."""
    words = {"fork": fork, "rewind.rule": "init"}
    return [
        trial("dense", s, (0.0,), [k[0], tuple(value + 0.02 for value in k[0])], **words)
        for s, k in zip(SEEDS, kid, strict=False)
    ]


def half(*kid: float) -> list[TrialRecord]:
    """A dense network of half the steps a seed: its KID under each sampler."""
    words = {"train.steps": 200, "dense": 0.3}
    return [trial(seed=s, excess=(), kid=[kid], **words) for s in SEEDS]


def twice(loss: float, seeds=SEEDS, steps: int = 800) -> list[TrialRecord]:
    """A dense network of more steps a seed, with this loss."""
    return [trial(seed=s, excess=(), dense=loss, **{"train.steps": steps}) for s in seeds]


@pytest.mark.parametrize(
    ("arms", "matched", "shown"),
    [
        # better than its controls, but no match
        ({"d": BAD, "shuffle": BAD + 1, "reinit": BAD + 1}, "none", BOTH),
        ({"d": GOOD}, OWN, UNTRIED),  # without controls nothing more is claimed
        ({"d": GOOD, "reinit": BAD}, OWN, UNTRIED),
        ({"d": GOOD, "shuffle": BAD}, OWN, UNTRIED),
        ({"d": GOOD, "shuffle": GOOD[::-1], "reinit": BAD}, OWN, "initialisation"),
        ({"d": GOOD, "shuffle": BAD, "reinit": GOOD[::-1]}, OWN, "structure"),
        ({"d": GOOD, "shuffle": GOOD[::-1], "reinit": GOOD[::-1]}, OWN, NOTHING),
        ({"d": BAD, "shuffle": BAD[::-1], "reinit": BAD[::-1]}, "none", NOTHING),
        # a little worse than dense, within the margin
        ({"d": MEDIUM, "shuffle": BAD, "reinit": BAD}, OWN, BOTH),
        ({"d": GOOD, "shuffle": BAD, "reinit": BAD, "equal": GOOD[::-1]}, "own and equal compute", BOTH),  # noqa: E501
        ({"d": GOOD, "shuffle": BAD, "reinit": BAD, "equal": GOOD - 0.1}, OWN, BOTH),
        ({"d": BAD, "shuffle": BAD + 1, "reinit": BAD + 1, "equal": BAD[::-1]}, COMPUTE, BOTH),
        ({"d": GOOD[:1], "shuffle": BAD[:1], "reinit": BAD[:1]}, "none", NOTHING),  # one seed
    ],
)  # fmt: skip
def test_grades_are_two_words(arms, matched, shown):
    assert graded(study(**arms)) == (matched, shown)
    assert wins(study(**arms)) == (matched.startswith(OWN) and shown == BOTH)


def test_winning_is_to_match_the_own_dense_network_and_to_beat_both_controls():
    for arms, won in (
        ((GOOD, BAD, BAD), [0.5, 0.1]),
        ((BAD, BAD + 1, BAD + 1), []),
        ((GOOD, BAD, GOOD[::-1]), []),
        ((GOOD, GOOD[::-1], BAD), []),
    ):
        verdict = verdict_of(study(*arms))
        (key,) = verdict.evidence.recipes
        assert verdict.winning(key) == won


# samples


def in_samples(found) -> bool | None:
    """Return whether tickets win in samples at the sparsest rung."""
    verdict = verdict_of(found)
    (key,) = verdict.evidence.recipes
    return verdict.in_samples(key, LADDER[-1])


def sampled(tickets, controls=UGLY) -> list[TrialRecord]:
    """A study whose tickets and controls have this KID; half the steps have one of 0.6 more."""
    kid = {"none": tickets, "shuffle": controls, "reinit": controls}
    dense = tickets[0][0]
    return [
        *study(GOOD, BAD, BAD, kid=kid),
        *again(tickets),
        *half(*(value + 0.6 for value in dense)),
    ]


@pytest.mark.parametrize(
    ("tickets", "controls", "won"),
    [
        (FINE, UGLY, True),
        (POOR, UGLY, False),  # bad under one sampler
        (FINE, POOR, False),  # under ddim the controls are as good
        (UGLY, [(dense, (2, 2)) for dense, _ in UGLY], False),  # better, but bad
        (FINE, None, False),  # controls were not sampled
        ([(dense[:1], ticket[:1]) for dense, ticket in FINE], UGLY, None),  # one sampler
    ],
)
def test_samples_win_under_every_sampler_against_dense_network_and_controls(tickets, controls, won):
    found = sampled(tickets, controls)
    assert in_samples(found) is won
    assert any("wins in samples" in line for line in told_of(found)) is (won is True)


@pytest.mark.parametrize(
    ("third", "won"),
    [((0.5, 0.5), True), ((0.5, 0.9), False)],  # KID of dense and ticket under a third sampler
)
def test_every_sampler_that_was_used_decides_and_has_its_column(third, won):
    def more(kid, of_third):
        return [
            ((*dense, third[0]), (*own, of_third + 0.001 * i)) for i, (dense, own) in enumerate(kid)
        ]

    found = sampled(more(FINE, third[1]), more(UGLY, 1.5))
    assert in_samples(found) is won
    assert floors.samplers(only(found)[1]) == ["ddim", "ddpm", "heun"]
    head, *rows = wording.table(verdict_of(found))
    assert [name for name in head if name.startswith("KID")] == ["KID ddim", "KID ddpm", "KID heun"]
    assert rows[-2][head.index("KID heun")].endswith("*") is won
    # chance alone: five pairs differ by .02, ten by nothing
    assert rows[-1][head.index("KID heun")] == f"{0.02 / st.dependence(5, 5):.3f}"


@pytest.mark.parametrize(("gone", "kept"), [("half", "ddim"), ("again", "ddim"), ("third", "heun")])
def test_without_power_a_kid_decides_nothing_and_is_said_to(gone, kept):
    """Power wants a dense network of half the steps and a second one, of two seeds each."""
    found = sampled(FINE)
    if gone == "half":
        found = [*found[:-5], *found[-5:-4]]
    elif gone == "again":
        found = [t for t in found if not (t.point.control == "dense" and t.point.seed)]
    else:  # half the steps are as good under heun
        kids = [((*d, 0.5), (*t, 0.5)) for d, t in FINE]
        poor = [((*d, 0.5), (*t, 0.9)) for d, t in UGLY]
        found = [*sampled(kids, poor)[:-5], *half(0.9, 1.0, 0.5)]
    verdict = verdict_of(found)
    (key,) = verdict.evidence.recipes
    assert floors.kid_margin(verdict.evidence, kept) is None
    assert verdict.find(claims.samples(kept), key, 0.1) is None
    names = {tested.statement.name for tested in verdict.registry}
    assert not any(kept in name for name in names)
    assert f"KID under {kept} is without power here and decides nothing" in " ".join(told_of(found))
    head, *rows = wording.table(verdict)
    shown = rows[1][head.index(f"KID {kept}")]
    assert re.fullmatch(r"[+-]\d\.\d{3}", shown)  # a mean without bound and star
    # two others with power decide
    assert verdict.in_samples(key, 0.1) is (True if gone == "third" else None)


# equal compute


@pytest.mark.parametrize(
    ("equal", "standing", "cell", "matched"),
    [
        (-0.15, "is 10.5% better", "+11.8%", False),
        (-0.05, "is matched", "0.0%", True),  # of either sign
        (-0.052, "is 0.2% better, within the margin", "+0.2%", True),
        (0.02, "is 7.4% worse", "-6.9%", True),
    ],
)
def test_a_dense_network_of_equal_compute_stands_beside_the_ticket(equal, standing, cell, matched):
    small = SPREAD / 4
    spread = small if equal == -0.052 else small[::-1]
    found = study(-0.05 + small, BAD, BAD, equal=equal + spread)
    head, *rows = wording.table(verdict_of(found))
    shown = rows[-1][head.index("equal compute")]
    assert f"{cell} (< " in shown
    assert shown.endswith("*") is matched
    assert (COMPUTE in rows[-1][-2]) is matched
    assert f". A dense network of equal compute {standing}." in told_of(found)[2]
    alone = study(GOOD, BAD, BAD)
    assert COMPUTE not in wording.table(verdict_of(alone))[0]
    assert COMPUTE not in " ".join(told_of(alone))


# failures


def failed(trial: TrialRecord, rungs: int = -1) -> TrialRecord:
    """Return a trial that failed after so many rungs; -1: before its dense network."""
    end = Outcome("failed", "NonFinite: training loss is nan", None, 0.0, "deterministic")
    return replace(trial, end=end, rounds=trial.rounds[: 1 + rungs] if rungs >= 0 else ())


def eight(**more) -> list[TrialRecord]:
    """Return a ticket that wins at both rungs and its controls, on eight seeds."""
    found = []
    for s in range(8):
        found.append(trial("none", s, (-0.05 + 1e-3 * s,) * 2, **WHOLE, **more))
        for arm in ("shuffle", "reinit"):
            found.append(trial(arm, s, (0.1 + 2e-3 * s,) * 2, **WHOLE, **more))
    return found


def with_failures(found, arm: str, seeds, rungs: int = -1) -> list[TrialRecord]:
    """Return the trials, those of an arm on some seeds as failed."""
    return [
        failed(t, rungs) if t.point.control == arm and t.point.seed in seeds else t for t in found
    ]


@pytest.mark.parametrize("rungs", [-1, 0, 1])
@pytest.mark.parametrize("arm", ["none", "shuffle", "reinit"])
def test_trials_that_failed_count_against_the_claims_they_would_have_supported(arm, rungs):
    """Three of eight seeds diverge, before the dense network, the first rung or the second."""
    assert graded(eight()) == (OWN, BOTH)
    found = with_failures(eight(), arm, (1, 4, 6), rungs)
    shown = {"none": NOTHING, "shuffle": "initialisation", "reinit": "structure"}[arm]
    assert graded(found) == ("none" if arm == "none" else OWN, shown)
    verdict = verdict_of(found)
    (key,) = verdict.evidence.recipes
    assert verdict.winning(key) == ([0.5] if rungs == 1 else [])
    name = matches(OWN) if arm == "none" else better(arm)
    lost = verdict.find(name, key, 0.1)
    assert (lost.statement.seeds, lost.statement.p, lost.bound) == ("5 of 8", 1, math.inf)
    head, _, row = wording.table(verdict)
    assert row[head.index("seeds")] == ("5 of 8" if arm == "none" else "8")
    column = {"none": "own dense", "shuffle": "shuffled", "reinit": "reinit"}[arm]
    assert row[head.index(column)].endswith(" (5 of 8)")
    told = wording.sentences(verdict)
    assert told[0].startswith("overall late5% (8 seeds) matches its dense network of 400 steps at ")
    assert ("5 of 8 seeds)" in told[2]) == (arm == "none")
    page = FREQUENCY["claim_rows"](verdict)
    at = page[0].index("seeds")
    assert {row[at] for row in page[1:] if row[1:3] == ["0.1", name]} == {"5 of 8"}
    # tickets may yet come, and are not waited for; a control that is not there shows nothing
    assert wins([replace(t, end=None) for t in found]) is (arm == "none")


def test_a_failure_that_another_trial_has_made_up_for_does_not_count():
    lost = [failed(t) for t in eight()]
    for found in ([*lost, *eight()], [*eight(), *lost]):
        assert wins(found)
        assert only(found)[1].failed == {}


def test_a_second_dense_network_that_failed_stands_nowhere():
    words = {"fork": 1, "rewind.rule": "init"}
    lost = [failed(trial("dense", s, (0.0,), **words)) for s in SEEDS]
    assert only([*eight(), *lost])[1].failed == {}


@pytest.mark.parametrize("arm", ["shuffle", "reinit", "small_dense", "equal_compute"])
def test_an_arm_whose_every_seed_failed_still_stands_in_the_family(arm):
    extra = [trial(arm, s, (0.1, 0.1), **WHOLE) for s in range(8) if arm[-1] in "se"]
    found = [*eight(), *extra]
    verdict = verdict_of(with_failures(found, arm, range(8)))
    (key,) = verdict.evidence.recipes
    lost = verdict.find(matches(COMPUTE) if arm == "equal_compute" else better(arm), key, 0.1)
    assert not lost.holds
    assert lost.statement.seeds == "0 of 8"
    assert verdict.shown(key, 0.1) != UNTRIED
    assert len(verdict.registry.family) == len(verdict_of(found).registry.family)


@pytest.mark.parametrize(
    ("words", "counted"),
    [
        ({}, {0.5, 0.1}),
        ({"rungs": (-1,)}, {0.1}),
        ({"rungs": (2,)}, {0.1}),
        ({"rungs": (1,)}, {0.5}),
        ({"rungs": (0, 1)}, {0.5}),
        ({"rungs": (1, -1)}, {0.5, 0.1}),
    ],
)
def test_a_failed_trial_counts_at_the_densities_that_it_was_to_come_to(words, counted):
    (evidence,) = gather([*eight(), failed(trial("shuffle", 8, **WHOLE, **words))])
    (cells,) = evidence.recipes.values()
    assert {d for d, cell in cells.items() if cell.failed} == counted
    assert all(cells[d].failed == {"shuffle": {8}} for d in counted)


def test_a_failed_ticket_counts_down_its_own_ladder_alone():
    short = {"prune.ladder": (0.5,)}
    found = [
        *(trial("none", s, (-0.05,), **short) for s in range(3)),
        failed(trial(seed=3, **short)),
    ]
    (evidence,) = gather(found)
    (cells,) = evidence.recipes.values()
    assert [(d, cell.seeds) for d, cell in cells.items()] == [(0.5, "3 of 4")]
    usual = failed(trial(seed=9))  # of the ladder that is the default
    (cells,) = gather([*study(GOOD), usual])[0].recipes.values()
    assert {d for d, cell in cells.items() if cell.failed} == set(TrialConfig().prune.ladder)


LINE = [(10, 9.0, 0.3), (40, 9.0, 0.2)]


def test_the_size_of_the_family_does_not_change_by_which_tickets_fail():
    """Speed, samples, controls and three dense networks: all stand, whoever fails.

    Where all fail it is not known which rungs were to be sampled, and all count.
    """
    curves = dict.fromkeys(range(3), LINE)
    found = [trial(t.point.control, t.point.seed, (-0.02,) * 2, kid=FINE[t.point.seed % 5],
                   curve=curves, **WHOLE) for t in eight()]  # fmt: skip
    found += [trial("equal_compute", s, (0.0, 0.0), **WHOLE) for s in range(8)]
    rest = [*again(FINE), *half(0.9, 1.0), *twice(0.19)]
    whole = {(t.statement.name, t.statement.place) for t in verdict_of(found + rest).registry}
    assert {FASTER, claims.samples("ddim"), matches(CONVERGED)} <= {name for name, _ in whole}
    rng = np.random.default_rng(0)
    for n in (1, 3, 7, 8):
        for rungs in (-1, 0, 1):
            lost = with_failures(found, "none", rng.permutation(8)[:n], rungs)
            family = verdict_of(lost + rest).registry.family
            assert set(family) == whole or (n == 8 and set(family) > whole), (n, rungs)


def test_a_page_whose_every_ticket_failed_can_be_read():
    verdict = verdict_of(with_failures(eight(), "none", range(8)))
    told = " ".join(wording.sentences(verdict))
    assert "nan" not in told
    assert "with 10.0% of the free weights were never trained to their end (0 of 8 seeds)." in told
    row = wording.table(verdict)[2]
    assert row[2:5] == [NONE, "0 of 8", NONE]
    assert "nan" not in " ".join(row)


# columns, forks, charts


def test_without_samples_the_table_has_the_customary_columns():
    head = wording.table(verdict_of(study(GOOD)))[0]
    assert head == [
        "recipe",
        "density",
        "of all",
        "seeds",
        "own dense",
        "shuffled",
        "reinit",
        "small dense",
        "steps",
        "matches",
        "shows",
    ]


@pytest.mark.parametrize("fork", [1, 2, 7])
def test_forks_of_any_number_are_arms_of_their_own_and_a_second_dense_network(fork):
    found = [
        *study(GOOD),
        *again(FINE, fork),
        *(trial(seed=s, fork=fork, excess=(0.1, 0.1)) for s in SEEDS),
    ]
    evidence, cell = only(found)
    assert sorted(cell.arms) == ["none", f"none fork {fork}"]
    assert sorted(evidence.again) == list(SEEDS)
    assert graded(found)[0] == OWN  # of the ticket alone


def test_charts_name_every_control_those_of_claims_first():
    labels = charts.arms()
    assert list(labels)[:4] == ["none", "shuffle", "reinit", "small_dense"]
    assert list(labels.values())[:4] == ["ticket", "shuffled", "re-initialised", "small dense"]
    assert labels.keys() == {"none", *CONTROLS}


# errors, by simulation


def most(level: float, studies: int) -> float:
    """Return the share of wrong studies that a right level exceeds once in a thousand."""
    return level + 3 * math.sqrt(level * (1 - level) / studies)


def test_what_is_quick_is_the_same(quick):
    assert st.t_test([0.1, 0.2, 0.4], "less", shift=0.3) == pytest.approx(0.2643, abs=1e-4)
    assert st.upper_bound([0.1, 0.2, 0.4], 0.95) == pytest.approx(0.2333 + 2.92 * 0.0882, abs=1e-3)


BUDGETS = (400, 800)


def page_of_two(seeds: int) -> list[TrialRecord]:
    """Return the trials of a page: two budgets, two rungs, all comparators, and A/A."""
    found = []
    for steps in BUDGETS:
        words = {"train.steps": steps}
        for s in range(seeds):
            for arm in ("none", "shuffle", "reinit", "equal_compute"):
                found.append(trial(arm, s, (0.0, 0.0), **words))
            second = {"fork": 1, "rewind.rule": "init"}
            found.append(trial("dense", s, (0.0,), **second, **words))
    return found


def simulate(found: list[Evidence], rng: np.random.Generator, border: float) -> None:
    """Put new numbers into the rounds of a page, of which no ticket is better than its border.

    A/A has a standard deviation of 1 %, a ticket beside its own dense network of .5 %, beside a
    control of 2.5 %; cells are correlated by .7. `border` is by how much tickets are worse than
    dense networks; controls are as good as tickets.
    """
    seeds = len(found[0].dense)
    common = {arm: rng.standard_normal(seeds) for arm in ("none", "shuffle", "reinit")}

    def noise(arm: str) -> np.ndarray:
        return math.sqrt(0.7) * common[arm] + math.sqrt(0.3) * rng.standard_normal(seeds)

    def put(rounds, values) -> None:
        for seed, r in rounds.items():
            r.metrics["loss/heldout"] = DENSE * math.exp(values[seed])

    for evidence in found:
        dense, second, equal = 0.01 / math.sqrt(2) * rng.standard_normal((3, seeds))
        put(evidence.dense, dense)
        put(evidence.again, second)
        for cell in evidence.cells:
            ticket = dense + border + 0.005 * noise("none")
            put(cell.arms["none"], ticket)
            for arm in ("shuffle", "reinit"):
                put(cell.arms[arm], ticket + 0.025 * noise(arm))
            put(cell.arms["equal_compute"], equal)


@pytest.mark.parametrize("seeds", [3, 6])
@pytest.mark.parametrize(
    ("border", "wrong"),
    [
        (0.0, ("better than", "beaten by")),
        (math.log1p(0.01), ("matches", "better than")),
    ],
)
def test_a_page_makes_any_false_claim_in_five_per_cent_of_studies(quick, seeds, border, wrong):
    """2,000 studies in which every claim is false, and lies at its border."""
    studies, said, unadjusted, family = 2000, 0, 0, 0
    found, rng = gather(page_of_two(seeds)), np.random.default_rng(seeds)
    for _ in range(studies):
        simulate(found, rng, border)
        verdicts = judged(found)
        false = [t for t in verdicts[0].registry if t.statement.name.startswith(wrong)]
        p = min(t.statement.p for t in false)
        unadjusted += p < st.ALPHA
        # a claim of a larger p cannot hold where none of a smaller p does
        said += p < verdicts[0].registry.alpha and any(t.holds for t in false)
        family = max(family, len(verdicts[0].registry.family))
    assert family >= 2 * 2 * 8
    assert said / studies <= most(level_of(1), studies) < most(0.05, studies)
    assert said  # simulation is not silent
    assert unadjusted / studies > 0.15  # and would see claims that are not adjusted


def drawn_twice(g, shift: float) -> list[TrialRecord]:
    """Return a ticket whose controls were drawn twice, the second draws worse by `shift`."""
    found = [trial("none", s, (0.0, 0.0), **WHOLE) for s in range(5)]
    for arm in ("shuffle", "reinit"):
        for s in range(5):
            first, second = 0.1 + 0.02 * g.standard_normal((2, 2))
            found.append(trial(arm, s, tuple(first), **WHOLE))
            found.append(trial(arm, s, tuple(second + shift), draw=1, **WHOLE))
    return found


def test_negative_controls_are_counted_and_those_that_hold_are_told():
    g = np.random.default_rng(0)
    (verdict,) = judged(gather(drawn_twice(g, 0.0)))
    assert len(verdict.negatives) == 4  # of two rungs, each control beside its other draw
    line = "of 4 claims that one draw of a control is better than another, which are all false"
    assert wording.sentences(verdict).count(f"Negative controls: {line}, 0 hold.") == 1
    (verdict,) = judged(gather(drawn_twice(g, 0.5)))
    assert any(f"Negative controls: {line}, 4 hold." in said for said in wording.sentences(verdict))
    (verdict,) = judged(gather(eight()))
    assert not any("Negative controls" in said for said in wording.sentences(verdict))


def test_negative_controls_hold_in_at_most_five_per_cent_of_studies():
    g, studies = np.random.default_rng(1), 400
    pages = (judged(gather(drawn_twice(g, 0.0)))[0] for _ in range(studies))
    wrong = sum(any(tested.holds for tested in page.negatives) for page in pages)
    assert wrong / studies <= most(level_of(1), studies)


def test_equal_arms_win_almost_never():
    """Where nothing matters all parts must err together: they share the ticket, so not never."""
    rng, won = np.random.default_rng(3), 0
    for _ in range(200):
        d, shuffle, reinit = 0.02 * rng.standard_normal((3, 5))
        won += wins(study(d, shuffle, reinit, rungs=1))
    assert won <= 6


# looks


def test_levels_of_all_looks_sum_to_less_than_five_per_cent():
    levels = [level_of(look) for look in range(1, 60)]
    assert levels[:3] == pytest.approx([0.04, 0.008, 0.0016])
    assert all(a > b > 0 for a, b in itertools.pairwise(levels))
    assert 0.0499 < sum(levels) < 0.05 + 1e-12


def test_a_second_look_is_judged_at_what_is_left_of_the_level_and_says_so():
    found = study(GOOD, BAD, BAD)
    for look, level in ((1, "0.04"), (2, "0.008"), (3, "0.0016")):
        verdict = verdict_of(found, look)
        assert verdict.registry.alpha == pytest.approx(float(level))
        assert wording.family(verdict.registry, verdict.look) == (
            f"All 10 claims of this page are one family (Holm, level {level}, look {look} at these "
            "seeds)."
        )
        told, _ = wording.told(found, look)
        assert told == wording.sentences(verdict)


@pytest.mark.parametrize(
    ("look", "grade"),
    [
        (1, "matches own at 0.1; controls: both"),
        (40, "matches none at 0.1; controls: nothing"),  # nothing is left of the level
    ],
)
def test_every_seed_of_a_ticket_has_the_grade_of_its_recipe_and_controls_have_none(look, grade):
    found = study(GOOD, BAD, BAD)
    _, grades = wording.told(found, look)
    assert grades == {trial.id: grade for trial in found if trial.point.is_ticket and trial.rounds}
    assert 0 < len(grades) < len(found)


def called(call: str, seeds, phase: str = "list", **words) -> list[TrialRecord]:
    """Return the trials of a call, one a seed."""
    found = [trial(seed=s, call=call * 16, **words) for s in seeds]
    return [with_point(t, phase=phase) for t in found]


def test_looks_are_calls_on_some_of_the_seeds_but_not_on_all():
    now = called("a", range(8))
    assert look_of(now, now) == 1
    assert look_of(now, [*now, *called("b", range(5))]) == 2
    assert look_of(now, [*now, *called("b", range(5)), *called("c", range(6))]) == 3
    assert look_of(called("b", range(5)), [*now, *called("b", range(5))]) == 1  # the first of two
    # the same seeds once more, or others
    assert look_of(now, [*now, *called("b", range(8))]) == 1
    assert look_of(now, [*now, *called("b", range(5)), *called("c", range(5))]) == 2
    assert look_of(now, [*now, *called("b", range(5, 12))]) == 1
    assert look_of(now, [*now, *called("b", range(8, 12))]) == 1
    assert look_of(now, [*now, *called("b", range(12))]) == 1


@pytest.mark.parametrize(
    ("other", "looks"),
    [
        ({"phase": "search"}, 1),
        ({"phase": "confirm"}, 2),
        ({"prune.criterion": "random"}, 1),
        ({"rewind.state": "reset"}, 1),
        ({"train.lr": 1.0}, 1),
        ({"train.steps": 800}, 1),
        ({"measure.images": 10}, 2),  # the same recipe and setting, measured otherwise
        ({}, 2),
    ],
)
def test_a_look_is_at_the_same_recipe_and_setting_and_no_search(other, looks):
    now = called("a", range(8))
    assert look_of(now, [*now, *called("b", range(5), **other)]) == looks


def errs(verdicts: list[Verdict]) -> bool:
    """Return whether any claim of a page holds but that of a match, which is true."""
    return any(t.holds for t in verdicts[0].registry if t.statement.name != matches(OWN))


def test_seeds_that_are_added_until_a_page_wins_err_in_five_per_cent(quick):
    """2,000 studies of up to four looks, which end as soon as any claim holds; all are false."""
    studies, sizes = 2000, (5, 8, 12, 20)
    rng, said, naive = np.random.default_rng(5), 0, 0
    arms = ("none", "shuffle", "reinit")
    pages = {}
    for n in sizes:
        trials_of_n = [trial(arm, s, (0.0,)) for s in range(n) for arm in arms]
        pages[n] = gather(trials_of_n)
    for _ in range(studies):
        values = {
            "none": 0.005 * rng.standard_normal(20),
            "shuffle": 0.025 * rng.standard_normal(20),
            "reinit": 0.025 * rng.standard_normal(20),
        }
        ended = without = False
        for look, n in enumerate(sizes, 1):
            (evidence,) = pages[n]
            for arm, of_arm in evidence.cells[0].arms.items():
                for seed, r in of_arm.items():
                    r.metrics["loss/heldout"] = DENSE * math.exp(values[arm][seed])
            ended |= errs(judged([evidence], look))
            without |= errs(judged([evidence]))
        said, naive = said + ended, naive + without
    assert said / studies <= most(0.05, studies)
    assert naive / studies > 0.06  # without what looks cost
    assert said / studies < naive / studies


# claims carry their numbers


def test_pairs_are_of_the_same_seed():
    """Shuffled masks that are worse in every seed are worse, however far seeds lie apart."""
    apart = np.array([-0.3, -0.2, -0.1, -0.05, -0.02])
    worse = apart + 0.005 + SPREAD / 2
    found = []
    for t in study(apart, worse, worse):
        moved = (t.point.seed + 1) % 5 if t.point.control == "shuffle" else t.point.seed
        found.append(with_point(t, seed=moved))
    assert graded(found)[1] == "initialisation"
    assert graded(study(apart, worse, worse))[1] == BOTH


def test_differences_of_losses_are_ratios():
    """A ticket of twice its dense network's loss, and a control of twice that, differ alike."""
    verdict = verdict_of(study([1.0] * 5, [3.0] * 5, rungs=1))
    (key,) = verdict.evidence.recipes
    own, control = (verdict.find(name, key, 0.5) for name in (matches(OWN), better("shuffle")))
    assert own.statement.values == pytest.approx(dict.fromkeys(SEEDS, math.log(2)))
    assert control.statement.values == pytest.approx(dict.fromkeys(SEEDS, -math.log(2)))
    assert own.statement.margin == pytest.approx(math.log(1.01))
    head, row = wording.table(verdict)
    assert row[head.index("own dense")] == "+100.0% (< +100.0%)"
    assert row[head.index("shuffled")] == "-50.0% (< -50.0%)*"


def test_the_margin_of_a_page_can_be_multiplied():
    found = gather(study(0.015 + SPREAD, rungs=1))
    for factor, matched in ((0.5, []), (1.0, []), (2.0, [OWN])):
        (verdict,) = judged(found, times=factor)
        (key,) = verdict.evidence.recipes
        assert verdict.margin == pytest.approx(0.01 * factor)
        assert verdict.matched(key, 0.5) == matched


# how fast, at what budget, against which noise


def curve(*points: tuple[int, float]) -> list[tuple[int, float, float]]:
    return [(step, 9.0, loss) for step, loss in points]


def test_faster_is_the_ratio_of_steps_to_the_dense_networks_last_quality():
    dense = curve((10, 1.0), (20, 0.5), (40, 0.25))
    fast, never = curve((10, 0.5), (20, 0.25), (40, 0.2)), curve((10, 0.5), (40, 0.3))
    found = [trial(seed=s, curve={0: dense, 2: fast}) for s in SEEDS]
    assert floors.speed(*only(found)) == pytest.approx(dict.fromkeys(SEEDS, 0.5))
    verdict = verdict_of(found)
    (key,) = verdict.evidence.recipes
    assert verdict.holds(FASTER, key, 0.1)
    assert not verdict.holds(FASTER, key, 0.5)
    found[3] = trial(seed=3, curve={0: dense, 2: never})
    assert floors.speed(*only(found))[3] == math.inf
    assert not verdict_of(found).holds(FASTER, key, 0.1)
    assert "never in 1 of 5" in wording.table(verdict_of(found))[2]


@pytest.mark.parametrize(("later", "label"), [(0.19, "NOT CONVERGED"), (0.196, "converged")])
def test_a_dense_network_that_gains_from_twice_the_steps_is_not_converged(later, label):
    evidence, _ = only(study(GOOD) + twice(later))
    assert comparators.gains(evidence, 400) == pytest.approx([math.log(DENSE / later)] * 5)
    gain = f"{1 - later / DENSE:.1%}"
    line = f"Twice the steps gain the dense network {gain} (< {gain}), 5 seeds: {label}"
    assert any(told.startswith(line) for told in told_of(study(GOOD) + twice(later)))
    assert "not measured" in " ".join(told_of(study(GOOD)))
    assert "not measured" in " ".join(told_of(study(GOOD) + twice(later, [0])))  # one seed


def test_the_noise_floor_is_of_dense_networks_among_themselves():
    again = [
        trial("dense", s, (0.01 * (s + 1),), fork=1, dense=DENSE, **{"rewind.rule": "init"})
        for s in SEEDS
    ]
    evidence, _ = only(study(GOOD) + again)
    # five A/A pairs, ten pairs of equal dense networks
    pairs = [0.01, 0.02, 0.03, 0.04, 0.05] + [0.0] * 10
    floor = np.quantile(pairs, 0.95) / st.dependence(5, 5)
    assert floors.floor_of(evidence, "loss/heldout") == pytest.approx(floor)
    told = " ".join(told_of(study(GOOD) + again))
    x = np.log1p(pairs[:5])
    low, high = (np.mean(x) + sign * 2.7764 * np.std(x, ddof=1) / math.sqrt(5) for sign in (-1, 1))
    assert (
        f"Two dense networks of one seed on two streams differ by {math.expm1(np.mean(x)):+.1%} on "
        f"average [{math.expm1(low):+.1%}, {math.expm1(high):+.1%}], p {st.t_test(x):.2g}, and by "
        f"5.0% at most (5 seeds); any two dense networks differ by less than {floor:.2%} in 95 %."
    ) in told
    assert wording.table(verdict_of(study(GOOD) + again))[-1][4] == f"{floor:.1%}"


def test_a_floor_is_right_in_the_median_however_few_the_networks():
    """Dense networks of equal quality: half of all floors lie above the true quantile."""
    for n in (3, 5):
        (evidence,) = gather([trial(seed=s, excess=(0.0,)) for s in range(n)])
        rng, found = np.random.default_rng(n), []
        for _ in range(1500):
            for r in evidence.dense.values():
                r.metrics["loss/heldout"] = 1 + 1e-4 * rng.standard_normal()
            found.append(floors.floor_of(evidence, "loss/heldout"))
        assert np.median(found) == pytest.approx(1e-4 * math.sqrt(2) * 1.96, rel=0.05)


def test_the_margin_in_steps():
    dense = curve((10, 1.0), (20, 0.5), (40, 0.25))
    evidence, _ = only([trial(seed=s, curve={0: dense}) for s in SEEDS])
    # at 20 of 40 steps it was twice as high
    assert floors.worth(evidence, margin=1.0) == pytest.approx(0.5)


# classifiers


def classified(lost, reinit=None, later: float = 0.0, spread=0.0) -> list[TrialRecord]:
    """Return trials of classifiers: accuracy lost by seed, and what twice the steps gain."""
    found = []
    for s in SEEDS:
        own = 0.9 + spread * (s - 2)
        for arm, values in (("none", lost), ("reinit", reinit), ("shuffle", reinit)):
            if values is not None:
                found.append(trial(arm, s, (0.5, 0.5)))
                found[-1].rounds[0].metrics.update({"quality/accuracy": own, "quality/lost": 0.0})
                for r in found[-1].rounds[1:]:
                    accuracy = {"quality/accuracy": own - values[s], "quality/lost": values[s]}
                    r.metrics.update(accuracy | {"quality/lost_se": 1e-4})
        found.append(trial(seed=s, excess=(), **{"train.steps": 800}))
        found[-1].rounds[0].metrics.update({"quality/accuracy": own + later, "quality/lost": 0.0})
    return found


POINT = 1e-4 * np.arange(5)


def test_classifiers_are_judged_by_their_accuracy_in_points():
    found = classified(0.003 + POINT, 0.1 + POINT[::-1], 0.004)
    verdict = verdict_of(found)
    evidence = verdict.evidence
    (key,) = evidence.recipes
    assert evidence.margin == verdict.margin == POINTS
    assert graded(found) == ("own and converged", BOTH)
    own, control = (verdict.find(name, key, 0.1) for name in (matches(OWN), better("reinit")))
    assert own.statement.values == pytest.approx(dict(enumerate(0.003 + POINT)))
    assert own.statement.margin == POINTS
    assert control.statement.mean == pytest.approx(-0.097)
    assert comparators.gains(evidence, 400) == pytest.approx([0.004] * 5)
    head, _, row = wording.table(verdict)
    assert row[head.index("own dense")].startswith("+0.3 points (< +0.3 points)*")
    assert row[head.index("reinit")].startswith("-9.7 points (< ")
    told = " ".join(wording.sentences(verdict))
    assert "match their dense network (+0.3 points, 5 seeds) and beat both controls" in told
    assert (
        "Twice the steps gain the dense network +0.4 points of accuracy (< +0.4 points), 5 seeds: "
        "converged."
    ) in told
    assert graded(classified(0.006 + POINT))[0] == "none"
    assert comparators.is_converged(only(classified(POINT, later=0.006))[0], 400) is False


def test_a_longer_trained_classifier_is_told_apart_in_points():
    found = classified(POINT, 0.1 + POINT, later=0.02)
    told = " ".join(told_of(found))
    longest = "The longest trained dense network (800 steps, not shown to be converged)"
    assert f"{longest} is 2.0 points better" in told
    unsure = np.array([0.0, 0.02, 0.04, 0.06, -0.02])
    unclear = " ".join(told_of(classified(unsure, 0.1 + POINT, later=0.02)))
    assert re.search(r"is not told apart \(these seeds find [\d.]+ points\)", unclear)


def test_what_stands_beside_classifiers_is_told_in_points():
    second = []
    for s in SEEDS:
        second.append(trial("dense", s, (0.0,), fork=1, **{"rewind.rule": "init"}))
        measured = {"quality/accuracy": 0.9 - 0.001 * (s + 1), "quality/lost": 0.0}
        for r in second[-1].rounds:
            r.metrics.update(measured if r.index else measured | {"quality/accuracy": 0.9})
    found = [*classified(POINT), *second]
    floor = 100 * np.quantile([0.001, 0.002, 0.003, 0.004, 0.005] + [0.0] * 10, 0.95)
    floor /= st.dependence(5, 5)
    told = " ".join(told_of(found))
    assert "differ by +0.3 points on average [+0.1 points, +0.5 points]" in told
    assert "and by 0.5 points at most (5 seeds)" in told
    assert f"any two dense networks differ by less than {floor:.2f} points in 95 %" in told
    assert "The margin is 0.5 points of accuracy." in told
    assert wording.table(verdict_of(found))[-1][4] == f"{floor:.1f} points"
    assert "The margin is 0.5 points of accuracy." in told_of(classified(POINT))


@pytest.mark.parametrize("spread", [0.0, 0.0005, 0.02])
def test_the_margin_is_fixed_however_much_chance_does_in_a_study(spread):
    """A study would else be the easier to match in, the noisier its networks are."""
    evidence, _ = only(classified(POINT, spread=spread))
    assert (floors.floor_of(evidence, "quality/accuracy") > POINTS) == (spread == 0.02)
    (verdict,) = judged([evidence])
    (key,) = evidence.recipes
    assert verdict.margin == verdict.find(matches(OWN), key, 0.1).statement.margin == POINTS
    worse = 0.006 + 1e-3 * np.array([-2, -1, 0, 1, 2])  # 0.6 points
    assert graded(classified(worse, 0.1 + POINT, spread=spread))[0] == "none"


# which budget is converged


@pytest.mark.parametrize(
    ("losses", "converged", "reference"),
    [
        ({}, None, 400),
        ({800: 0.199}, 400, 400),
        ({800: 0.199, 1600: 0.1985}, 400, 400),  # the shortest of two
        ({800: 0.19}, None, 800),
        ({800: 0.19, 1600: 0.189}, 800, 800),
        ({800: 0.19, 1600: 0.18}, None, 1600),
        ({200: 0.201}, 200, 200),
        ({1600: 0.199}, None, 1600),  # twice the steps alone say so
    ],
)
def test_the_converged_budget_is_the_shortest_and_else_the_longest_stands_for_it(
    losses, converged, reference
):
    found = study(GOOD)
    for steps, loss in losses.items():
        found += twice(loss, steps=steps)
    evidence, cell = only(found)
    assert comparators.converged(evidence) == converged
    assert comparators.reference(evidence) == reference
    assert (CONVERGED in comparators.rivals(evidence, cell)) == (reference != 400)
    assert comparators.reference(only([*found, *twice(0.1, [3], 3200)])[0]) == reference  # one seed


@pytest.mark.parametrize(
    ("longer", "matched"),
    [
        (0.199, "own and converged"),  # they are one
        (0.19, "own"),  # not shown to be converged
        (0.25, "own and converged"),  # twice the steps make it worse: converged
    ],
)
def test_own_and_converged_are_matched_together_where_they_are_one(longer, matched):
    assert graded(study(GOOD) + twice(longer))[0] == matched


def test_no_ticket_matches_a_converged_network_where_none_is_shown_to_be():
    """The ticket is as good as the longest trained network, which may not be converged."""
    found = study(-0.1 + SPREAD, BAD, BAD) + twice(0.19)
    assert graded(found)[0] == "own and longest"
    head, *rows = wording.table(verdict_of(found))
    assert rows[-1][head.index("dense of 800 steps")].endswith("*")
    assert "not shown to be converged) is 5.6% worse" in told_of(found)[2]
    assert graded(found + twice(0.189, steps=1600))[0] == "own and converged"


# by seed, and down the ladder


def down(ticket, shuffle, reinit=None) -> list[TrialRecord]:
    """Return a study of two rungs: means of each arm at each, a seed being off by its spread."""
    found = []
    for seed, spread in zip(SEEDS, SPREAD, strict=True):
        found.append(trial("none", seed, tuple(d + spread for d in ticket)))
        for control, values in (("shuffle", shuffle), ("reinit", reinit or shuffle)):
            found.append(trial(control, seed, tuple(d - 2 * spread for d in values)))
    return found


def places(found) -> tuple[list[float], list[float]]:
    """Return the densities at which the one recipe matches its dense network, and wins."""
    verdict = verdict_of(found)
    (key,) = verdict.evidence.recipes
    matched = [d for d in LADDER if OWN in verdict.matched(key, d)]
    return matched, verdict.winning(key)


def test_where_a_recipe_matches_and_where_it_wins():
    high = (0.3, 0.3)
    assert places(down((-0.02, -0.02), high)) == ([0.5, 0.1], [0.5, 0.1])
    assert places(down((-0.02, 0.2), high)) == ([0.5], [0.5])
    assert places(down((0.2, -0.02), high)) == ([0.1], [0.1])
    # as LeNet on MNIST does: at the first rung a shuffled mask is as good
    assert places(down((-0.02, -0.02), (-0.02, 0.3))) == ([0.5, 0.1], [0.1])
    assert places(down((-0.02, -0.02), (-0.02, 0.3), high)) == ([0.5, 0.1], [0.1])
    assert places(down((-0.02, -0.02), high, (0.3, -0.02))) == ([0.5, 0.1], [0.5])
    without = [t for t in down((-0.02, -0.02), high) if t.point.control != "shuffle"]
    assert places(without) == ([0.5, 0.1], [])


@pytest.mark.parametrize("gone", LADDER)
def test_a_rung_without_controls_is_not_won(gone):
    found = []
    for each in down((-0.02, -0.02), (0.3, 0.3)):
        left = tuple(r for r in each.rounds if each.point.control == "none" or r.density != gone)
        found.append(replace(each, rounds=left))
    assert places(found) == ([0.5, 0.1], [d for d in LADDER if d != gone])
    (line,) = (line for line in told_of(found) if line.startswith("At 400 steps tickets"))
    assert f"{0.1 if gone == 0.5 else 0.5:.1%} of the free weights" in line


# in words


def test_a_page_in_words():
    told = told_of(study(GOOD, BAD, BAD) + twice(0.19))
    assert told[:3] == [
        "overall late5% (5 seeds) matches its dense network of 400 steps at density 0.5, 0.1 "
        "(tried at 0.5, 0.1).",
        "At 400 steps tickets with 50.0% of the free weights (52.5% of all parameters) beat their "
        "dense network (-2.0%, 5 seeds) and beat both controls. The longest trained dense network "
        "(800 steps, not shown to be converged) is 3.1% better.",
        "At 400 steps tickets with 10.0% of the free weights (14.5% of all parameters) beat their "
        "dense network (-2.0%, 5 seeds) and beat both controls. The longest trained dense network "
        "(800 steps, not shown to be converged) is 3.1% better.",
    ]
    assert told[-1] == (
        "All 16 claims of this page are one family (Holm, level 0.04, look 1 at these seeds)."
    )


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ((GOOD, BAD, BAD), "beat their dense network (-2.0%, 5 seeds) and beat both controls"),
        ((MEDIUM, BAD, BAD), "match their dense network (+0.5%, 5 seeds) and beat both controls"),
        (
            (BAD, BAD + 1, BAD[::-1]),
            "lose to their dense network (+20.0%, 5 seeds) and beat their shuffled masks, but not "
            "new weights",
        ),
        (
            (0.01 + 5 * SPREAD, 0.01 + 5 * SPREAD[::-1], BAD),
            "are not shown to match their dense network (+1.0%, 5 seeds) and beat new weights, but "
            "not their shuffled masks",
        ),
        ((GOOD, GOOD[::-1], GOOD[::-1]), "-2.0%, 5 seeds) and beat neither control"),
    ],
)
def test_verbs_say_how_a_ticket_stands(arms, said):
    assert said in told_of(study(*arms))[2]


def test_sentences_say_how_few_and_whether_controls_were_trained():
    few = told_of(study(GOOD[:3], BAD[:3], BAD[:3]))
    assert few[0].startswith("overall late5% (3 seeds, fewer than 5) matches its dense network of ")
    for arms in ({}, {"shuffle": BAD}, {"reinit": BAD}):
        told = told_of(study(GOOD, **arms))
        assert told[0].endswith("; not both controls were trained, so nothing more is claimed.")
        assert not told[1].startswith("At 400 steps tickets")
    assert "at no density (tried at 0.5, 0.1)" in told_of(study(BAD))[0]
    assert told_of(study(GOOD[:1], BAD[:1], BAD[:1]))[0] == (
        "overall late5%: one seed only, which no test can generalise."
    )


def test_small_dense_networks_speed_and_samples_are_told_where_they_are_claimed():
    fast = {index: curve((10, 0.3 if index else 1.0), (40, 0.2)) for index in range(3)}
    kid = {"none": FINE, "shuffle": UGLY, "reinit": UGLY}
    best = study(GOOD, BAD, BAD, BAD, kid=kid, curve=fast)
    told = told_of([*best, *again(FINE), *half(0.9, 1.0)])
    assert ". Small dense networks are beaten. " in told[2]
    assert "Tickets reach the loss of their own dense network" not in told[2]
    assert ". Their samples match the dense network's under ddim and ddpm" in told[2]
    assert "samples" not in told[1]  # none were taken there
    worst = told_of([*study(GOOD, BAD, BAD, GOOD[::-1], kid=UGLY), *again(UGLY), *half(0.9, 1.0)])
    assert "small dense" not in worst[2]
    assert "samples" not in worst[2]


def test_tickets_that_were_trained_longer_are_told_as_such():
    found = study(GOOD, BAD, BAD)
    for t in found:
        for r in t.rounds:
            r.metrics[metrics.STEPS_OF_WEIGHTS.name] = (
                400 if t.point.control != "none" or not r.index else 780
            )
    assert "Their weights have seen 780 steps, which flatters tickets" in told_of(found)[2]
    assert "flatters tickets" not in " ".join(told_of(study(GOOD, BAD, BAD)))


# what may be averaged


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"train.lr": 1.0}, "several settings"),
        ({"measure.split": "test"}, "several panels"),
        ({"measure.images": 10}, "panels"),
    ],
)
def test_calls_that_are_not_comparable_are_not_averaged(words, said):
    with pytest.raises(ConfigError, match=said) as caught:
        comparable([*study(GOOD), *study(GOOD, call="b" * 16, **words)])
    assert "--call: aaaaaaaaaaaa, bbbbbbbbbbbb" in caught.value.faults[0]
    # of one call: what differs was meant to
    assert len(comparable([*study(GOOD), *study(GOOD, **words)])) == 10
    assert len(comparable([*study(GOOD), *study(GOOD, call="b" * 16)])) == 10


def test_settings_and_recipes_are_made_of_the_words_that_the_config_declares_for_them():
    words = TrialConfig().flat()
    setting, recipe_words = set(words_of_role("setting")), set(words_of_role("recipe"))
    assert set(setting_of(words)) == setting
    assert set(json.loads(recipe(with_point(trial(), config=words)))) == recipe_words


def test_recipes_are_apart_even_under_one_name():
    other = study(BAD, **{"rewind.state": "reset"})
    (evidence,) = gather([*study(GOOD), *other])
    assert sorted(len(cells[0.1].arms["none"]) for cells in evidence.recipes.values()) == [5, 5]


def test_nothing_recorded_is_one_line():
    with pytest.raises(ConfigError, match="no finished ticket"):
        comparable([])


# real runs


def recorded(store, configs) -> list[TrialRecord]:
    ledger = Ledger.freeze(
        store, {"test": 1}, {"study": "t", "preset": "digits", "smoke": False, "question": ""}
    )
    for number, config in enumerate(configs):
        ledger.begin(number, point(trajectory(config), {}, "list"))
        rounds(config, store)
        ledger.finish(number, "done")
    return list(trials(store, ledger))


def with_arms(seeds, arms, **words) -> list:
    base = {w.replace("__", "."): v for w, v in words.items()}
    return [
        tiny(seed=s, stream=s, **{w.replace(".", "__"): v for w, v in {**base, **arm}.items()})
        for s in seeds
        for arm in arms
    ]


def test_the_arms_of_a_study_become_evidence(store):
    arms = [*against("reinit", "shuffle", "small_dense", rungs=(-1,)), AGAIN, longer(tiny())]
    (evidence,) = gather(recorded(store, with_arms((0, 1), arms)))
    ((_, cells),) = evidence.recipes.items()
    assert {d: sorted(cell.arms) for d, cell in cells.items()} == {
        0.5: ["none"],
        0.3: ["none", "reinit", "shuffle", "small_dense"],
    }
    steps = TINY["train.steps"]
    assert evidence.steps == steps
    budgets = {steps: sorted(evidence.dense), 2 * steps: sorted(evidence.dense)}
    assert {each: sorted(dense) for each, dense in evidence.budgets.items()} == budgets
    assert sorted(evidence.again) == sorted(evidence.dense) == [0, 1]
    assert len(comparators.gains(evidence, steps)) == 2


def test_a_study_of_nothing_but_chance_finds_nothing(store):
    """A/A: the same dense networks on two streams, taken for tickets."""
    seeds, config = (
        range(8),
        {"train__steps": 40, "control": "dense", "fork": 1, "rewind__rule": "init", "rungs": (1,)},
    )
    found = [
        next(r for r in rounds(tiny(seed=s, stream=s, **config), store) if r.index) for s in seeds
    ]
    d = [r.metrics["loss/excess"] for r in found]
    claim = Statement("better", (), dict(enumerate(d)), len(d))
    assert min(map(abs, d)) > 0
    low, high = st.t_interval(d)
    assert low < 0 < high
    assert 0.05 < claim.p < 0.95
    assert 0.05 < claim.p_flip < 0.95


def test_random_masks_at_low_density_never_win(store):
    words = {
        "prune__criterion": "random",
        "prune__ladder": (0.05,),
        "train__steps": 60,
        "rewind__fraction": 0.05,
    }
    found = recorded(store, with_arms(range(4), against("reinit", "shuffle"), **words))
    verdict = verdict_of(found)
    (key,) = verdict.evidence.recipes
    assert not verdict.matched(key, 0.05)
    assert verdict.winning(key) == []


def test_one_seed_is_one_seed():
    assert [plural(n, "seed") for n in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
