"""Tickets against three dense networks: planted standings are told, error rates right, and table
and sentences are views of one registry."""

import math
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lthray.config.fields import ConfigError
from lthray.core.record import TrialRecord
from lthray.findings.registry import ALPHA, Registry

from .test_verdicts import LADDER, trial

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
            words = {"train.steps": steps, "dense": float(losses[seed])}
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


def sections(found) -> dict:
    study = SimpleNamespace(of=lambda call: found, provenance=lambda trials: "Recorded.")
    return {section.name: section for section in PAGE["sections"](study)}


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
        "dense network (-5.0%, 5 seeds) and both controls; a dense network of equal compute is "
        "10.5% better; the converged dense network (800 steps) is matched."
    )
    own, *_ = (row for row in made["convergence"].table if row[:2] == ["800", "0.1"])
    assert own[-2:] == ["own", "both"]
    assert told[-1] == "Recorded."


def test_what_matches_everything_is_told():
    found = [
        *budget(400, arms(equal=-0.02, ticket=-0.07)),
        *budget(800, arms(equal=-0.02, ticket=-0.07)),
        *budget(1600, arms(equal=-0.02, ticket=-0.07)),
    ]
    made = sections(found)
    (row,) = (row for row in made["convergence"].table if row[:2] == ["1600", "0.1"])
    assert row[-2:] == ["own and equal compute and converged", "both"]
    assert "a dense network of equal compute is 5.4% worse" in made["convergence"].text[-2]


def test_the_longest_budget_stands_for_one_that_was_not_reached():
    made = sections([*budget(400, arms()), *budget(800, arms())])
    assert (
        "longest trained dense network (800 steps, not shown to be converged)"
        in (made["convergence"].text[0])
    )


def test_lost_seeds_support_nothing():
    found = budget(400, arms())
    lost = [t for t in found if not (t.point.control == "none" and t.point.seed in (0, 3, 4))]
    lost += [TrialRecord(t.id, t.point, t.end, ()) for t in found if t not in lost]
    made = sections([*lost, *budget(800, arms())])
    (row,) = (row for row in made["convergence"].table if row[:2] == ["400", "0.1"])
    assert row[3] == "2 of 5"
    assert row[-2:] == ["none", "nothing"]
    assert (
        "do not match their dense network (-5.0%, 2 of 5 seeds) but neither control"
        in (made["convergence"].text[0])
    )


def test_the_advantage_is_fitted_over_doublings():
    found = []
    for i, steps in enumerate((400, 800, 1600)):
        found += budget(steps, arms(ticket=math.expm1(-0.06 + 0.02 * i)))
    _, *rows = sections(found)["fit"].table
    (row,) = (row for row in rows if row[:2] == ["0.1", "own"])
    assert row[2:4] == ["5", "+2.00 points [+2.00, +2.00]"]
    assert row[4] == f"{400 * 2 ** ((math.log(1.01) + 0.06) / 0.02):,.0f} steps"
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


def studied(rng: np.random.Generator, shift: float) -> list[TrialRecord]:
    """Return the trials of two budgets that differ by chance alone, tickets by `shift`."""
    found = []
    for steps in (400, 800):
        common = rng.normal(0, 0.005, SEEDS)
        values = {"none": shift + common * 0.7**0.5 + rng.normal(0, 0.005 * 0.3**0.5, SEEDS)}
        for control in ("shuffle", "reinit", "equal_compute"):
            values[control] = shift + rng.normal(0, 0.025, SEEDS)
        found += budget(steps, values, dense=0.2 * np.exp(rng.normal(0, 0.01, SEEDS)))
    return found


@pytest.mark.parametrize(
    ("shift", "wrong"),
    [(0.0, ("better than", "beaten by")), (0.0101, ("matches own", "better than own"))],
)
def test_a_page_makes_any_false_claim_in_five_per_cent_of_studies(shift, wrong):
    studies, false, true = 300, 0, 0
    for seed in range(studies):
        found = PAGE["evidence_of"](studied(np.random.default_rng(seed), shift))
        planned = {evidence.setting: SEEDS for evidence in found}
        registry = Registry(PAGE["claims"](found, PAGE["budgets_of"](found), planned))
        held = [t.statement.name for t in registry if t.holds]
        false += any(name.startswith(wrong) for name in held)
        true += any(not name.startswith(wrong) for name in held)
    assert false / studies <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / studies)
    assert true  # the page is not silent


VERBS = {"beat": True, "match": True, "do not match": False}


def test_table_and_sentences_agree_on_random_evidence():
    verbs = set()
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
        made = sections(found)["convergence"]
        rows = {tuple(row[:2]): row for row in made.table[1:]}
        for line in made.text[:-1]:
            steps, size, verb = re.match(r"At (\d+) steps tickets with (\S+)% .*?\) (beat|match|do not match) their", line).groups()  # fmt: skip # noqa: E501
            row = rows[steps, f"{float(size) / 100:.4g}"]
            verbs.add(verb)
            assert row[4].endswith("*") == VERBS[verb] == row[-2].startswith("own")
            assert ("and both controls" in line) == (row[-1] == "both")
            assert ("but neither control" in line) == (row[-1] == "nothing")
            equal = re.search(r"of equal compute is (.*?)[;.]", line).group(1)
            assert row[5].endswith("*") == ("equal compute" in row[-2])
            if equal.endswith("better"):
                assert not row[5].endswith("*")
            if equal.endswith("worse"):
                assert row[5].endswith("*")
    assert verbs == set(VERBS)
