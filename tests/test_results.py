"""What is published can be made again from the recorded trials beside it, and the README shows nothing else."""

import csv
import io
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lthray import reports, verdicts

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ANALYSIS = runpy.run_path(str(ROOT / "analysis/ticket_frequency.py"))


def published() -> list[tuple[Path, verdicts.Evidence]]:
    """Every published verdict: the path of its files without their ending, and what it was given on."""
    found = []
    for path in sorted((ROOT / "results").glob("*/trials.json")):
        told = verdicts.gather(verdicts.comparable(json.loads(path.read_text())))
        found += [(path.with_name(f"verdict_{e.steps}" if len(told) > 1 else "verdict"), e) for e in told]
    return found


VERDICTS = [pytest.param(*each, id=f"{each[0].parent.name} {each[0].name}") for each in published()]


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_there_are_results():
    assert len(VERDICTS) > 1


@pytest.mark.parametrize(("place", "evidence"), VERDICTS)
def test_tables_and_sentences_are_made_again_from_the_recorded_trials(place, evidence):
    assert verdicts.table(evidence) == rows(place.with_suffix(".csv"))
    told = place.with_suffix(".txt").read_text().splitlines()
    assert told[: len(verdicts.sentences(evidence))] == verdicts.sentences(evidence)
    assert told[-1].startswith("Recorded: python studies/")


@pytest.mark.parametrize(("place", "evidence"), VERDICTS)
def test_figures_are_made_again(place, evidence):
    again, before = Image.open(io.BytesIO(reports.png(ANALYSIS["excess"](evidence)))), Image.open(place.with_suffix(".png"))
    assert again.size == before.size
    a, b = (np.asarray(image.convert("L"), dtype=float) for image in (again, before))
    assert np.abs(a - b).mean() < 1.0  # of 255: fonts may differ by a pixel, curves may not


@pytest.mark.parametrize(("place", "evidence"), VERDICTS)
def test_the_readme_shows_verdicts_as_they_were_recorded(place, evidence):
    assert verdicts.sentences(evidence)[0] in README
    head, *told = verdicts.table(evidence)
    for row in told if place.name != "verdict" else ():
        assert f"{row[head.index('excess')]} {row[-1]}" in README
    if place.name == "verdict":
        for row in rows(place.with_suffix(".csv")):
            assert "| " + " | ".join(row) + " |" in README
        for line in place.with_suffix(".txt").read_text().splitlines():
            assert line in README


def test_results_hold_no_place():
    for path in (ROOT / "results").rglob("*.[ctj]*"):
        text = path.read_text()
        assert "/tmp" not in text
        assert "/home" not in text
        assert "://" not in text
