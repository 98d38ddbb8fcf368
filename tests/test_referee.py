"""Published tables agree with a recomputation that uses nothing of lthray."""

import ast
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lthray.findings import designs, sections

from . import referee, referee_frequency
from .test_frequency import DRAWN, design_of, null, trials_of


def test_nothing_is_published_that_a_referee_cannot_compute_again():
    assert [*referee.disagreements(), *referee_frequency.disagreements()] == []
    assert len(list(referee.RESULTS.glob("*/verdict*.csv"))) > 5


@pytest.mark.parametrize("of", [referee, referee_frequency])
def test_the_referee_uses_nothing_of_the_package(of):
    tree = ast.parse(Path(of.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    assert not [name for name in names if name and name.startswith("lthray")]
    assert {"numpy", "scipy"} <= names


@pytest.mark.parametrize("control", ["none", "shuffle"])
def test_a_number_that_is_not_that_of_the_trials_is_told(tmp_path, monkeypatch, control):
    place = tmp_path / "layerwise_search.digits"
    shutil.copytree(referee.RESULTS / place.name, place)
    monkeypatch.setattr(referee, "RESULTS", tmp_path)
    assert list(referee.disagreements()) == []
    trials = json.loads((place / "trials.json").read_text())
    changed = next(t for t in trials if t["point"]["control"] == control)
    changed["rounds"][-1]["metrics"]["loss/heldout"] *= 1.05
    (place / "trials.json").write_text(json.dumps(trials))
    lines = list(referee.disagreements())  # bounds of other rows move with the family
    row = "layerwise_search.digits verdict: ['overall late5%', '0.0625'"
    assert any(line.startswith(row) for line in lines)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The page of a design that was never trained, as files, beside its trials."""
    rng, folder = np.random.default_rng(11), tmp_path_factory.mktemp("made") / "made.digits"
    rungs = null(rng, "exchangeable", DRAWN)
    late = [words["rewind.rule"] == "late" for words in DRAWN]
    for rung in rungs:
        rung.excess[late] -= 0.05
    rungs[0].excess[3, 1] = np.inf  # so that no word has an effect there that could be claimed
    found = trials_of(design_of(DRAWN, rungs, 5))
    sections.write(designs.sections(found, ["prune.criterion"], "Recorded."), folder)
    sections.keep_trials(found, folder)
    return folder


@pytest.fixture
def recorded(made, tmp_path):
    return shutil.copytree(made, tmp_path / made.name)


def test_a_referee_computes_every_table_of_a_design_again(recorded):
    assert list(referee_frequency.of_design(recorded, "prune.criterion")) == []
    for name in ("frequency", "negatives", "shares", "survival", "effects"):
        assert len(referee_frequency.read(recorded / f"{name}.csv")) > 3
    stars = [row for row in referee_frequency.read(recorded / "effects.csv") if "*" in row[-1]]
    assert stars


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("frequency", 2, "7"),
        ("frequency", 6, "0.01-0.02"),
        ("frequency", 9, "0.001*"),
        ("negatives", 5, "0.99"),
        ("shares", 6, "0.10 (0.00-0.20)"),
        ("survival", 4, "0.77"),
        ("effects", 3, "+1.23"),
    ],
)
def test_a_cell_of_a_design_that_is_not_that_of_the_trials_is_told(recorded, name, column, value):
    path = recorded / f"{name}.csv"
    table = list(csv.reader(path.read_text().splitlines()))
    table[2][column] = value
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    (line,) = referee_frequency.of_design(recorded, "prune.criterion")
    assert line.startswith(f"made.digits {name}: ")
