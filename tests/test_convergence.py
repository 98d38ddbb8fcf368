"""Tickets against three dense networks: planted standings are told, error rates right, and table
and sentences are views of one registry."""

import math
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from lthray.config.fields import ConfigError
from lthray.core.record import TrialRecord
from lthray.findings.claims import judged
from lthray.findings.comparators import is_converged
from lthray.findings.formats import NONE

from .test_verdicts import LADDER, WHOLE, failed, studied, trial

PAGE = runpy.run_path(str(Path(__file__).parent.parent / "analysis/convergence.py"))
SEEDS = 5
NOISE = np.array([-2, -1, 0, 1, 2]) * 1e-3
DENSE = {400: 0.2, 800: 0.19, 1600: 0.187}


def budget(steps: int, arms: dict[str, np.ndarray], dense=None) -> list[TrialRecord]:
    """Return the trials of one budget: control -> excess over the own dense network by seed."""
    losses = DENSE[steps] * np.exp(NOISE) if dense is None else dense
    found = []
    for control, values in arms.items():
        for seed, value in enumerate(values):
            excess = (value,) * len(LADDER)
            words = {"train.steps": steps, "dense": float(losses[seed]), **WHOLE}
            found.append(trial(control, seed, excess, **words))
    return found


def arms(ticket=-0.05, control=0.1, equal=-0.15) -> dict[str, np.ndarray]:
    """Return the usual arms, with means as given."""
    shuffled = NOISE[::-1] / 2
    return {
        "none": ticket + NOISE / 2,
        "shuffle": control + shuffled,
        "reinit": control + shuffled,
        "equal_compute": equal + shuffled,
    }


def sections(found, look: int = 1) -> dict:
    return {section.name: section for section in PAGE["sections"](studied(found, look))}


def row_of(made: dict, steps: str, density: str = "0.1") -> dict[str, str]:
    """Return a row of the page's table by its head."""
    head, *rows = made["convergence"].table
    (row,) = (row for row in rows if row[0] == steps and row[1] == density)
    return dict(zip(head, row, strict=True))


def test_a_ticket_that_wins_at_its_budget_loses_to_equal_compute_and_to_the_converged_network():
    found = [*budget(400, arms()), *budget(800, arms()), *budget(1600, arms())]
    made = sections(found)
    head, *rows = made["budgets"].table
    assert head[0] == "steps"
    assert [row[0] for row in rows] == ["400", "800", "1600"]
    assert [row[-1] for row in rows] == ["no", "yes", "–"]
    told = made["convergence"].text
    assert told[1] == (
        "At 400 steps tickets with 10.0% of the free weights (14.5% of all parameters) beat their "
        "dense network (-5.0%, 5 seeds) and beat both controls. A dense network of equal compute "
        "is 10.5% better. The converged dense network (800 steps) is matched."
    )
    assert row_of(made, "400")["matches"] == "own and converged"
    assert row_of(made, "400")["dense of 800 steps"].endswith("*")
    # of 800 steps the own dense network is the converged one
    assert row_of(made, "800")["matches"] == "own and converged"
    assert row_of(made, "800")["dense of 800 steps"] == NONE
    assert row_of(made, "800")["shows"] == "both"
    assert told[-1] == "Recorded."
    family = 2 * (3 * (2 + 3 + 3) + 2 * 3)
    assert told[-2] == (
        f"All {family} claims of this page are one family (Holm, level 0.04, look 1 at these "
        "seeds)."
    )


def test_a_page_counts_looks_and_is_judged_at_what_is_left():
    found = [*budget(400, arms()), *budget(800, arms())]
    assert "level 0.008, look 2 at these seeds" in sections(found, look=2)["convergence"].text[-2]


def test_what_matches_everything_is_told():
    found = [
        *budget(400, arms(equal=-0.02, ticket=-0.07)),
        *budget(800, arms(equal=-0.02, ticket=-0.07)),
        *budget(1600, arms(equal=-0.02, ticket=-0.07)),
    ]
    made = sections(found)
    row = row_of(made, "1600")
    assert (row["matches"], row["shows"]) == ("own and equal compute and converged", "both")
    (told,) = (
        line
        for line in made["convergence"].text
        if line.startswith("At 1600 steps tickets with 10")
    )
    assert "A dense network of equal compute is 5.4% worse" in told
    assert "The converged dense network (800 steps) is 9.3% worse" in told


def test_the_longest_budget_stands_for_one_that_was_not_reached():
    made = sections([*budget(400, arms()), *budget(800, arms())])
    longest = "longest trained dense network (800 steps, not shown to be converged)"
    assert f"{longest} is matched" in made["convergence"].text[0]
    assert row_of(made, "400")["matches"] == "own and longest"
    assert row_of(made, "800")["matches"] == "own"


def test_lost_seeds_support_nothing():
    found = budget(400, arms())
    lost = [
        failed(t) if t.point.control == "none" and t.point.seed in (0, 3, 4) else t for t in found
    ]
    made = sections([*lost, *budget(800, arms())])
    row = row_of(made, "400")
    assert row["seeds"] == "2 of 5"
    assert (row["matches"], row["shows"]) == ("none", "nothing")
    assert (
        "are not shown to match their dense network (-5.0%, 2 of 5 seeds) and beat neither control"
        in made["convergence"].text[0]
    )
    whole = sections([*found, *budget(800, arms())])["convergence"].text[-2]
    assert made["convergence"].text[-2] == whole  # the family is as large


def test_the_page_is_a_view_of_its_verdicts():
    found = [*budget(400, arms()), *budget(800, arms())]
    verdicts = judged(PAGE["evidence_of"](found))
    made = sections(found)["convergence"]
    assert [list(row) for row in made.table] == PAGE["table"](verdicts)
    told = [line for verdict in verdicts for line in PAGE["sentences"](verdict)]
    assert list(made.text[: len(told)]) == told


def test_budgets_say_what_twice_the_steps_gain():
    """By hand: the seeds of both budgets are paired, so that the gain has no spread."""
    _, *rows = sections([*budget(400, arms()), *budget(800, arms()), *budget(1600, arms())])[
        "budgets"
    ].table
    assert [row[3] for row in rows] == ["5.0% (< 5.0%)", "1.6% (< 1.6%)", NONE]
    (evidence, *_) = PAGE["evidence_of"]([*budget(400, arms()), *budget(800, arms())])
    assert is_converged(evidence, 400) is False
    assert is_converged(evidence, 800) is None


def test_the_advantage_is_fitted_over_doublings():
    found = []
    for i, steps in enumerate((400, 800, 1600)):
        found += budget(steps, arms(ticket=math.expm1(-0.06 + 0.02 * i)))
    _, *rows = sections(found)["fit"].table
    (row,) = (row for row in rows if row[:2] == ["0.1", "own"])
    assert row[2:4] == ["5", "+2.00 points [+2.00, +2.00]"]
    assert (
        row[4] == f"{400 * 2 ** ((math.log(1.01) + 0.06) / 0.02):,.0f} steps, more than were tried"
    )
    assert "fit" not in sections(found[: len(found) // 3 * 2])


def test_pages_that_have_nothing_to_say_are_told():
    alone = {control: values for control, values in arms().items() if control != "equal_compute"}
    with pytest.raises(ConfigError, match="no dense network of equal compute"):
        sections(budget(400, alone))
    other = [trial("none", 0, (0.0, 0.0), **{"train.steps": 400, "prune.criterion": "random"})]
    with pytest.raises(
        ConfigError, match="evaluation sets, recipes or more than the budget differ"
    ):
        sections([*budget(400, arms()), *other])


VERBS = {"beat": True, "match": True, "lose to": False, "are not shown to match": False}
PATTERN = re.compile(
    rf"At (\d+) steps tickets with (\S+)% .*?\) ({'|'.join(VERBS)}) their dense network .*?\) (.*)"
)
MATCHED = ("is matched", "worse", "within the margin")


def test_table_and_sentences_agree_on_random_evidence(quick):
    verbs, standings = set(), set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = []
        for steps in (400, 800, 1600):
            level, spread = rng.normal(-0.01, 0.03), rng.choice([0.002, 0.02])
            values = {
                control: level + gap + rng.normal(0, spread, SEEDS)
                for control, gap in (
                    ("none", 0.0),
                    ("shuffle", rng.choice([0.0, 0.05])),
                    ("reinit", rng.choice([0.0, 0.05])),
                    ("equal_compute", rng.choice([-0.05, 0.0, 0.05])),
                )
            }
            found += budget(steps, values)
        made = sections(found)
        lines = [line for line in made["convergence"].text if line.startswith("At ")]
        assert len(lines) == 3 * len(LADDER)
        for line in lines:
            steps, size, verb, rest = PATTERN.match(line).groups()
            row = row_of(made, steps, f"{float(size) / 100:.4g}")
            verbs.add(verb)
            matched = row["matches"].split(" and ")
            assert row["own dense"].endswith("*") == VERBS[verb] == ("own" in matched)
            assert ("and beat both controls" in rest) == (row["shows"] == "both")
            assert ("and beat neither control" in rest) == (row["shows"] == "nothing")
            for name, head in (("equal compute", "equal compute"), ("converged", None)):
                other = re.search(rf"{name}( dense network \(\d+ steps\))? (is .*?)[;.]( |$)", rest)
                if other is None:
                    continue
                standings.add(other[2].split()[-1])
                told = other[2].endswith(MATCHED)
                assert told == (name in matched)
                if head:
                    assert told == row[head].endswith("*")
    assert verbs == set(VERBS)
    assert {"matched", "better", "worse"} <= standings
