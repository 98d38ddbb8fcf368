"""Two accounts of what matches: what contradicts them is found, and little of it is false."""

import math
import runpy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lthray.core.record import TrialRecord
from lthray.findings import accounts, wording
from lthray.findings.claims import judged
from lthray.findings.evidence import gather
from lthray.prune.rewinds import REWINDS

from .test_verdicts import LADDER, WHOLE, failed, studied, trial

PAGE = runpy.run_path(str(Path(__file__).parent.parent / "analysis/rewinding.py"))
K = (0.0, 0.1)
SPREAD = np.array([-2, -1, 0, 1, 2]) / 10
HIGH, LOW = PAGE["STABLE"] * np.exp(3 + SPREAD), PAGE["STABLE"] * np.exp(-2 + SPREAD)


@cache
def bare(control: str, seed: int, excess: tuple[float, ...], fork: int, **words) -> TrialRecord:
    """Return a trial without barriers; pages of equal tickets share it."""
    return trial(control, seed, excess, fork=fork, **words)


def with_barriers(made: TrialRecord, name: str, barrier: float) -> TrialRecord:
    """Return a trial with a barrier at each rung."""
    dense, *rungs = made.rounds
    shown = [replace(r, metrics={**r.metrics, name: float(barrier)}) for r in rungs]
    return replace(made, rounds=(dense, *shown))


def recorded(excess, anchors, connected=None) -> list[TrialRecord]:
    """Return the trials of a page of two rewind points.

    `excess` and `connected` are [rewind points, seeds], at both rungs; `anchors` are the barriers
    of dense networks, [rewind points, seeds].
    """
    found = []
    for i, k in enumerate(K):
        words = {**WHOLE, "rewind.rule": "late" if k else "init", "rewind.fraction": k}
        for seed, d in enumerate(excess[i]):
            ticket = bare("none", seed, (float(d),) * len(LADDER), 0, **words)
            if connected is not None:
                ticket = with_barriers(ticket, "barrier/previous", connected[i][seed])
            dense = bare("dense", seed, (0.0,), 1, **words)
            dense = with_barriers(dense, "barrier/ema", anchors[i][seed])
            found += [ticket, with_barriers(dense, "barrier/raw", anchors[i][seed])]
    return found


def sections(found, look: int = 1) -> dict:
    return {section.name: section for section in PAGE["sections"](studied(found, look))}


MATCHING, FAILING = -0.05 + SPREAD / 100, 0.1 + SPREAD / 100


def test_tickets_that_match_where_training_is_unstable_contradict():
    made = sections(recorded([MATCHING, MATCHING], [HIGH, LOW]))["stability"]
    assert [row[-2:] for row in made.table[1:]] == [["0", "–"]] * 2
    assert made.text[0] == (
        "At density 0.5 tickets from k = 0 match although training is unstable there."
    )
    cells = 2 * 2  # rewind points and rungs
    family = 4 * cells + 2 * 2  # matches, better, beaten, does not match; stable or not at each k
    assert made.text[-1].startswith(f"All {family} claims of this page are one family (Holm, ")


def test_tickets_that_fail_where_training_is_stable_contradict():
    made = sections(recorded([MATCHING, FAILING], [HIGH, LOW]))["stability"]
    assert [row[-2:] for row in made.table[1:]] == [["0", "0.1"]] * 2
    assert made.text[0].endswith(
        "match although training is unstable there, and tickets from k = 0.1 do not match although "
        "it is stable there."
    )


def test_where_all_agree_nothing_is_shown_against_it():
    made = sections(recorded([FAILING, MATCHING], [HIGH, LOW]))["stability"]
    assert [row[-2:] for row in made.table[1:]] == [["–", "–"]] * 2
    assert made.text[0] == (
        "At density 0.5 nothing is shown against the account that tickets match where training is "
        "stable."
    )
    assert [row[1:5] for row in made.table[1:]] == [["5", "0", "0", "5"]] * 2


def test_the_barrier_to_the_rung_before_is_an_account_of_its_own():
    found = recorded([MATCHING, FAILING], [LOW, HIGH], connected=[HIGH, LOW])
    made = sections(found)
    assert [row[-2:] for row in made["stability"].table[1:]] == [["–", "–"]] * 2
    assert [row[-2:] for row in made["connections"].table[1:]] == [["0", "0.1"]] * 2
    assert "match although a barrier parts them from it" in made["connections"].text[0]


@pytest.mark.parametrize("rungs", [-1, 0])
def test_a_ticket_that_diverged_takes_the_claim_away(rungs):
    first, *others = recorded([MATCHING, MATCHING], [HIGH, LOW])
    made = sections([failed(first, rungs), *others])["stability"]
    assert [row[-2:] for row in made.table[1:]] == [["–", "–"]] * 2


def test_the_page_and_the_verdict_are_of_one_family():
    """What is said to match on the page has its star in the table of verdicts, and the other way
    round."""
    g = np.random.default_rng(7)
    for _ in range(50):
        means = g.choice([-0.01, 0.0, 0.005, 0.03], 2)[:, None]
        found = recorded(means + g.normal(0, 0.004, (2, 5)), [HIGH, HIGH])
        (verdict,) = judged(gather(found))
        *table, _ = wording.table(verdict)[1:]  # the last row is of chance
        stars = {row[1]: [] for row in table}
        for i, row in enumerate(table):
            stars[row[1]] += [f"{K[i // len(LADDER)]:g}"] * row[4].endswith("*")
        rows = sections(found)["stability"].table[1:]
        assert {row[0]: row[-2] for row in rows} == {
            density: ", ".join(points) or "–" for density, points in stars.items()
        }
        assert sections(found)["stability"].text[-1] == wording.family(verdict.registry, 1)


def test_rules_that_begin_at_the_anchor_are_those_of_the_table():
    anchored = {rule: row.start == "k" for rule, row in REWINDS.items() if row.weights == "anchor"}
    assert anchored == accounts.POINTED


def test_recipes_that_differ_in_more_than_the_rewind_point_have_no_surface():
    found = recorded([MATCHING, MATCHING], [HIGH, LOW])
    other = trial("none", 0, (0.0, 0.0), **{"rewind.fraction": 0.1, "prune.slope": 0.5, **WHOLE})
    assert PAGE["applies"](studied(found)) == ""
    assert "rewind point alone" in PAGE["applies"](studied([*found, other]))
    assert "rewind point alone" in PAGE["applies"](studied(found[:10]))


def test_a_barrier_of_nothing_is_stable():
    made = sections(recorded([MATCHING, FAILING], [HIGH, 0 * LOW]))["stability"]
    assert made.table[1][-1] == "0.1"


def test_pages_where_every_barrier_lies_on_the_border_err_in_at_most_five_per_cent():
    """All tickets match, or none does, so that a claim on a barrier is all that is false."""
    g, studies, wrong = np.random.default_rng(3), 400, 0
    for study in range(studies):
        excess = np.array([MATCHING, FAILING]) if study % 2 else np.array([FAILING, MATCHING])
        barriers = PAGE["STABLE"] * np.exp(g.normal(0, 0.7, (2, 2, 5)))
        made = sections(recorded(excess, *barriers))
        rows = made["stability"].table[1:] + made["connections"].table[1:]
        wrong += any(row[-2:] != ["–", "–"] for row in rows)
    assert wrong / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


@pytest.mark.parametrize(
    ("pairs", "shown"),
    [
        ([], "–"),
        ([(0.1, 0.2), (0.2, 0.1)], "–"),
        ([(0.1, 0.1), (0.1, 0.2), (0.1, 0.3)], "–"),
        ([(0.1, 0.1), (0.2, 0.2), (0.3, 0.3)], "+1.00"),
    ],
)
def test_a_correlation_is_of_three_pairs_at_least_that_vary(pairs, shown):
    assert PAGE["_rank_correlation"](pairs) == shown
