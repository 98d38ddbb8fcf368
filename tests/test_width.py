"""Tickets by width: what matches at which density, and how many weights that is."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from lthray.config.fields import ConfigError
from lthray.core.record import TrialRecord

from .test_verdicts import LADDER, studied, trial

PAGE = runpy.run_path(str(Path(__file__).parent.parent / "analysis/width.py"))
SPREAD = np.array([-2, -1, 0, 1, 2]) * 1e-3
NARROW, WIDE = (8, 16), (32, 64)
SIZES = {NARROW: 1000, WIDE: 16000}


def width(channels: tuple[int, ...], *excess: float, controls: float = 0.2, **words):
    """Return the trials of five seeds at one width: excess at both rungs, controls worse."""
    found: list[TrialRecord] = []
    for control, level in (("none", 0.0), ("shuffle", controls), ("reinit", controls)):
        for seed, spread in enumerate(SPREAD):
            noise = spread if control == "none" else -spread
            rungs = tuple(d + level + noise for d in excess)
            config = {"model.channels": list(channels), **words}
            found.append(trial(control, seed, rungs, **config))
    for each in found:
        for r in each.rounds:
            r.metrics["cost/prunable"] = SIZES[channels]
    return found


def test_the_sparsest_ticket_that_matches_is_told_in_density_and_in_weights():
    found = [*width(WIDE, -0.05, -0.04), *width(NARROW, -0.05, 0.3)]
    made = {section.name: section for section in PAGE["sections"](studied(found))}
    assert list(made["sparsest"].table[1:]) == [
        ["8 16", "1,000", "0.5", "500"],
        ["32 64", "16,000", "0.1", "1,600"],
    ]
    told = made["width"].text
    assert told[0].startswith("With 8 16 channels (1,000 free weights) tickets match")
    assert told[0].endswith("down to density 0.5.")
    head, *rows = made["width"].table
    assert head[0] == "channels"
    assert [row[0] for row in rows] == ["8 16", "8 16", "32 64", "32 64"]
    assert [row[head.index("matches")] for row in rows] == ["own", "none", "own", "own"]
    lines = made["width"].figure.lines
    assert [line.name for line in lines] == ["8 16 channels", "32 64 channels"]
    assert sorted(lines[1].x) == [d * 16000 for d in sorted(LADDER)]


def test_a_rung_that_matches_below_one_that_does_not_is_not_the_sparsest():
    found = [*width(WIDE, 0.3, -0.04), *width(NARROW, -0.05, -0.04)]
    rows = {row[0]: row for row in PAGE["sparsest_table"](verdicts(found))}
    assert rows["32 64"][2:] == ["–", "–"]
    assert rows["8 16"][2:] == ["0.1", "100"]


def verdicts(found):
    return PAGE["judged"](PAGE["by_width"](found))


@pytest.mark.parametrize(
    "found",
    [
        width(WIDE, -0.05, -0.04),
        [*width(WIDE, -0.05, -0.04), *width(NARROW, -0.05, -0.04, **{"train.lr": 1.0})],
        [*width(WIDE, -0.05, -0.04), *width(NARROW, -0.05, -0.04, **{"rewind.rule": "init"})],
    ],
)
def test_what_is_of_one_width_or_differs_otherwise_has_no_such_page(found):
    assert PAGE["applies"](studied(found)) == PAGE["ONE_WIDTH"]
    with pytest.raises(ConfigError):
        list(PAGE["sections"](studied(found)))


def test_all_widths_are_one_family():
    found = [*width(WIDE, -0.05, -0.04), *width(NARROW, -0.05, -0.04)]
    one, other = verdicts(found)
    assert one.registry is other.registry
    alone = verdicts([*width(WIDE, -0.05, -0.04), *width(NARROW, -0.05)])[0]
    assert len(one.registry.family) > len(alone.registry.family)


def test_verdicts_of_two_widths_have_files_of_their_own():
    page = runpy.run_path(str(Path(__file__).parent.parent / "analysis/ticket_frequency.py"))
    found = [*width(WIDE, -0.05, -0.04), *width(NARROW, -0.05, 0.3)]
    names = [section.name for section in page["sections"](studied(found)) if section.verdict]
    assert names == ["verdict_400_0", "verdict_400_1"]
    same = [section.name for section in page["sections"](studied(found[:15])) if section.verdict]
    assert same == ["verdict"]
