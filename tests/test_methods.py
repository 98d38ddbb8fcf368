"""Methods side by side: planted winners and losers are told, by paired differences, as one
exploratory family of the page."""

import math
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lthray.config.fields import ConfigError
from lthray.core.record import TrialRecord
from lthray.findings.discoveries import Discoveries
from lthray.findings.evidence import gather
from lthray.findings.registry import ALPHA

from .test_verdicts import LADDER, trial, with_point

PAGE = runpy.run_path(str(Path(__file__).parent.parent / "analysis/pruning_methods.py"))
NOISE = np.array([-1, 0, 1, 0.5]) * 1e-2  # of a seed, the same for every method
SMALL = np.array([-1, 1, 0, 0.5]) * 1e-3


def recorded(**methods) -> list[TrialRecord]:
    """Return trials of methods: criterion -> (excess at the last rung by seed, by how much its
    controls are worse; and where there is a third, by how much a network of equal compute is)."""
    found = []
    for name, (values, control, *equal) in methods.items():
        config = {"prune.criterion": name} if name != "magnitude" else {}
        arms = {"none": 0.0, "shuffle": control, "reinit": control}
        arms |= dict(zip(["equal_compute"], equal, strict=False))
        for arm, more in arms.items():
            worse = np.broadcast_to(more, len(values))
            for seed, d in enumerate(values + worse):
                each = trial(arm, seed, (d / 2, d), **config)
                for r in each.rounds:
                    r.metrics.update({"cost/steps_spent": 1000, "density/prunable": r.density})
                found.append(with_point(each, recipe=name))
    return found


def section(found):
    (made,) = PAGE["sections"](
        SimpleNamespace(of=lambda call: found, provenance=lambda trials: "Recorded.")
    )
    return made


def outcomes(found) -> dict[str, str]:
    return {row[0]: row[-1] for row in section(found).table[1:]}


def test_winners_and_losers_are_told_apart_from_the_reference_by_seed():
    found = recorded(
        magnitude=(NOISE, 0.1),
        random=(NOISE + 0.01 + SMALL, 0.0),  # less than what seeds differ by, but on every seed
        taylor=(NOISE - 0.01 + SMALL, 0.1),
        snip=(NOISE + SMALL, 0.1),
    )
    assert outcomes(found) == {
        "magnitude": "reference",
        "random": "loses",
        "taylor": "better",
        "snip": "not told apart",
    }
    text = " ".join(section(found).text)
    assert (
        "1 of 3 methods lose: random. 1 are better: taylor; 1 are not told apart from it: "
        "snip (its seeds find "
    ) in text
    assert "No dense network of equal compute is recorded beside them." in text
    assert "better than their own shuffled masks at the last rung: random." in text
    assert "4 seeds, fewer than 5." in text


def held(found) -> tuple[set, set]:
    """The claims of a page that hold, and all of them, as (name, method)."""
    settings = PAGE["compared"](found)
    names = PAGE["named"](settings[0])
    family = Discoveries(PAGE["claims"](settings, PAGE["planned_of"](found)))
    every = {(t.statement.name, names[t.statement.place[-1]]): t.holds for t in family}
    return {claim for claim, holds in every.items() if holds}, set(every)


def test_every_claim_that_holds_has_its_star_and_no_other_has():
    found = recorded(
        magnitude=(NOISE, 0.1, -0.1),
        random=(NOISE + 0.01 + SMALL, 0.0, -0.2),
        taylor=(NOISE - 0.01 + SMALL, 0.1, 0.05),
        snip=(NOISE + SMALL, 0.1, -0.01),
    )
    claims, every = held(found)
    made = section(found)
    assert sum(cell.count("*") for row in made.table[1:] for cell in row) == len(claims)
    assert (
        f"{len(every)} claims are one exploratory family, and {len(claims)} hold" in made.text[-3]
    )
    assert len(every) == 4 * 4 + 3 * 2
    assert ("equal_compute", "taylor") in claims
    assert ("equal_compute", "random") not in claims
    rows = {row[0]: row for row in made.table}
    assert rows["method"][-3] == "equal compute"
    assert rows["taylor"][-3] == "-5.0±0.0%*"
    assert rows["random"][-3] == "+20.0±0.0%"
    told = "1 of 4 match a dense network that took as many steps as finding the ticket did: taylor."
    assert told in made.text


def test_a_seed_that_is_lost_supports_nothing():
    found = recorded(magnitude=(NOISE, 0.1), taylor=(NOISE - 0.01 + SMALL, 0.1))
    assert outcomes(found)["taylor"] == "better"
    lost = [
        t for t in found if (t.point.recipe, t.point.control, t.point.seed) == ("taylor", "none", 2)
    ]
    left = [t if t not in lost else replace(t, rounds=()) for t in found]
    rows = {row[0]: row for row in section(left).table}
    assert (rows["taylor"][1], rows["magnitude"][1]) == ("3 of 4", "4")
    assert rows["taylor"][-1] == "3 of 4 seeds"
    assert "*" not in "".join(rows["taylor"])
    assert "3 seeds, fewer than 5." in section(left).text


def test_a_method_that_fails_at_its_last_rung_ends_no_page_and_is_not_judged_elsewhere():
    found = recorded(magnitude=(NOISE, 0.1), taylor=(NOISE - 0.01 + SMALL, 0.1))
    left = []
    for t in found:
        is_lost = (t.point.recipe, t.point.control) == ("taylor", "none")
        left.append(replace(t, rounds=t.rounds[:-1]) if is_lost else t)
    rows = {row[0]: row for row in section(left).table}
    assert (rows["taylor"][1], rows["taylor"][-1]) == ("0 of 4", "0 of 4 seeds")
    assert rows["taylor"][-2] == "–"


def null_study(rng: np.random.Generator, real: int) -> list[TrialRecord]:
    """Return a study of four methods of which only `real` do anything.

    The others are on the border of every claim: as good as the reference and their controls, a
    margin worse than dense networks. Dense networks differ by 1 %, methods of a seed by .5 %,
    controls by 2.5 %, of which .7 is shared by the methods.
    """
    seeds, rho = 3, 0.7
    shared = {arm: rng.normal(0, 1, seeds) for arm in ("ticket", "shuffle", "reinit", "equal")}

    def drawn(arm: str, sd: float) -> np.ndarray:
        return sd * (rho**0.5 * shared[arm] + (1 - rho) ** 0.5 * rng.normal(0, 1, seeds))

    found, dense = [], rng.normal(0, 0.01, seeds)
    for i, name in enumerate(("magnitude", "random", "taylor", "snip")):
        gain = 0.06 if 0 < i <= real else 0.0
        ticket = 0.01 + dense + drawn("ticket", 0.005) - gain
        arms = {"none": ticket, "equal_compute": dense + drawn("equal", 0.01)}
        for control in ("shuffle", "reinit"):
            arms[control] = 0.01 + dense + drawn(control, 0.025) + 2 * gain
        config = {"prune.criterion": name} if i else {}
        for arm, values in arms.items():
            for seed, d in enumerate(values):
                found.append(with_point(trial(arm, seed, (d, d), **config), recipe=name))
    return found


@pytest.mark.parametrize(("real", "studies"), [(0, 2000), (1, 500)])
def test_of_the_claims_that_hold_five_per_cent_are_false_on_average(real, studies):
    """In null studies, and in studies in which one method is better in all that is claimed."""
    false, found_of = [], []
    true = {"random"} if real else set()
    for seed in range(studies):
        found = null_study(np.random.default_rng(seed), real)
        claims, every = held(found)
        wrong = {claim for claim in claims if claim[1] not in true or claim[0] == "loses"}
        false.append(len(wrong) / max(len(claims), 1))
        found_of.append(len(claims - wrong))
        assert len(every) == 4 * 4 + 3 * 2
    assert np.mean(false) <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / studies)
    assert np.mean(found_of) >= 3 * real  # of the five that are true


def test_what_goes_further_is_compared_with_a_reference_that_goes_as_far():
    found = recorded(magnitude=(NOISE, 0.1), random=(NOISE + 0.05 + SMALL, 0.1))
    for each in recorded(magnitude=(NOISE - 0.02, 0.1), random=(NOISE + 0.05 + SMALL, 0.1)):
        *rounds, last = each.rounds
        further = replace(each, rounds=(*rounds, replace(last, density=0.02)))
        found.append(with_point(further, config={**each.point.config, "prune.ladder": (0.5, 0.02)}))
    (evidence,) = gather(found)
    assert list(PAGE["named"](evidence).values()) == [
        "magnitude to 0.1",
        "random to 0.1",
        "magnitude to 0.02",
        "random to 0.02",
    ]
    rows = {row[0]: row for row in section(found).table}
    assert rows["method"][2:5] == ["0.5", "0.1", "0.02"]
    assert rows["random to 0.02"][5].startswith("+7.0")
    assert rows["random to 0.1"][5].startswith("+5.0")
    assert (rows["magnitude to 0.02"][5], rows["magnitude to 0.02"][-1]) == ("–", "reference")


def test_a_realised_density_is_told_where_it_is_not_the_one_asked_for():
    found = recorded(magnitude=(NOISE, 0.1), channels=(NOISE, 0.1))
    for each in found:
        if each.point.recipe == "channels":
            each.rounds[2].metrics["density/prunable"] = 0.17
    rows = {row[0]: row for row in section(found).table}
    assert rows["channels"][3].rstrip("*").endswith("% (0.17)")
    assert rows["magnitude"][3].rstrip("*").endswith("%")
    assert rows["channels"][2].endswith("%")


def applies(found) -> str:
    return PAGE["applies"](SimpleNamespace(of=lambda call: found))


def test_one_method_alone_is_refused():
    with pytest.raises(ConfigError, match="one method only"):
        section(recorded(magnitude=(NOISE, 0.1)))
    assert "one method only" in applies(recorded(magnitude=(NOISE, 0.1)))


def test_it_applies_to_a_list_of_methods_and_not_to_rewind_points_nor_to_what_was_drawn():
    found = recorded(magnitude=(NOISE, 0.1), random=(NOISE, 0.1))
    assert applies(found) == ""
    assert "drawn, not listed" in applies([with_point(each, phase="design") for each in found])
    rewound = [
        with_point(each, config={"rewind.fraction": 0.1})
        for each in recorded(magnitude=(NOISE, 0.1))
    ]
    assert "one method only" in applies([*recorded(magnitude=(NOISE, 0.1)), *rewound])


def test_the_last_rung_is_where_controls_are_asked():
    found = recorded(magnitude=(NOISE, 0.1), random=(NOISE, 0.0))
    for each in found:
        if each.point.recipe == "random" and each.point.control == "shuffle":
            each.rounds[1].metrics["loss/excess"] += 1.0  # worse at the first rung only
    rows = {row[0]: row for row in section(found).table}
    assert rows["magnitude"][-5].endswith("*")
    assert not rows["random"][-5].endswith("*")
    assert len(rows["random"]) == len(LADDER) + 8
