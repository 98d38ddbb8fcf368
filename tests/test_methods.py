"""Methods side by side: planted winners and losers are told, by paired differences, adjusted over
the methods."""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lthray.config.fields import ConfigError
from lthray.core.record import TrialRecord
from lthray.findings.evidence import gather

from .test_verdicts import LADDER, trial, with_point

PAGE = runpy.run_path(str(Path(__file__).parent.parent / "analysis/pruning_methods.py"))
NOISE = np.array([-1, 0, 1, 0.5]) * 1e-2  # of a seed, the same for every method
SMALL = np.array([-1, 1, 0, 0.5]) * 1e-3


def recorded(**methods) -> list[TrialRecord]:
    """Return trials of methods: criterion -> (excess at the last rung by seed, by how much its
    controls are worse)."""
    found = []
    for name, (values, control) in methods.items():
        config = {"prune.criterion": name} if name != "magnitude" else {}
        for seed, d in enumerate(values):
            for arm, more in (("none", 0.0), ("shuffle", control), ("reinit", control)):
                each = trial(arm, seed, (d / 2 + more, d + more), **config)
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
        "random": "loses*",
        "taylor": "better*",
        "snip": "not told apart",
    }
    text = " ".join(section(found).text)
    assert (
        "1 of 3 methods lose: random. 1 are better: taylor; 1 are not told apart from it: snip."
        in text
    )
    assert "(Holm): random loses, taylor better." in text
    assert "better than their own shuffled masks at the last rung: random." in text
    assert "4 seeds, fewer than 5." in text


def test_differences_are_adjusted_over_the_methods():
    g = np.random.default_rng(3)
    said, alone = [], []
    for _ in range(60):  # ten methods that do not differ from the reference
        draws = {f"m{i}": (NOISE + g.normal(0, 0.01, 4), 0.1) for i in range(10)}
        found = outcomes(recorded(magnitude=(NOISE, 0.1), **draws))
        said.append(any(outcome.endswith("*") for outcome in found.values()))
        alone.append(set(found.values()) != {"reference", "not told apart"})
    assert np.mean(said) < 0.2
    assert np.mean(alone) > 0.25  # what each by itself would say of methods that do not differ


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
    assert rows["method"][1:4] == ["0.5", "0.1", "0.02"]
    assert rows["random to 0.02"][4].startswith("+7.0")
    assert rows["random to 0.1"][4].startswith("+5.0")
    assert (rows["magnitude to 0.02"][4], rows["magnitude to 0.02"][-1]) == ("–", "reference")


def test_a_realised_density_is_told_where_it_is_not_the_one_asked_for():
    found = recorded(magnitude=(NOISE, 0.1), channels=(NOISE, 0.1))
    for each in found:
        if each.point.recipe == "channels":
            each.rounds[2].metrics["density/prunable"] = 0.17
    rows = {row[0]: row for row in section(found).table}
    assert rows["channels"][2].endswith("% (0.17)")
    assert rows["magnitude"][2].endswith("%")
    assert rows["channels"][1].endswith("%")


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
    assert rows["magnitude"][-4].endswith("*")
    assert not rows["random"][-4].endswith("*")
    assert len(rows["random"]) == len(LADDER) + 6
