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
FOLDERS = sorted(path.parent for path in (ROOT / "results").glob("*/trials.json"))
ANALYSIS = runpy.run_path(str(ROOT / "analysis/ticket_frequency.py"))


def evidence(folder: Path) -> verdicts.Evidence:
    (found,) = verdicts.gather(verdicts.comparable(json.loads((folder / "trials.json").read_text())))
    return found


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_there_are_results():
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_tables_and_sentences_are_made_again_from_the_recorded_trials(folder):
    found = evidence(folder)
    assert verdicts.table(found) == rows(folder / "verdict.csv")
    assert ANALYSIS["claim_rows"](found) == rows(folder / "verdict_claims.csv")
    told = (folder / "verdict.txt").read_text().splitlines()
    assert told[: len(verdicts.sentences(found))] == verdicts.sentences(found)
    assert told[-1].startswith("Recorded: python studies/")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_figure_is_made_again(folder):
    again = Image.open(io.BytesIO(reports.png(ANALYSIS["excess"](evidence(folder)))))
    published = Image.open(folder / "verdict.png")
    assert again.size == published.size
    a, b = (np.asarray(image.convert("L"), dtype=float) for image in (again, published))
    assert np.abs(a - b).mean() < 1.0  # of 255: fonts may differ by a pixel, curves may not


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_readme_shows_the_verdict_as_it_was_recorded(folder):
    readme = (ROOT / "README.md").read_text()
    for row in rows(folder / "verdict.csv"):
        assert "| " + " | ".join(row) + " |" in readme
    for line in (folder / "verdict.txt").read_text().splitlines():
        assert line in readme


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_results_hold_no_place(folder):
    for path in folder.glob("*.[ctj]*"):
        text = path.read_text()
        assert "/tmp" not in text
        assert "/home" not in text
        assert "://" not in text
