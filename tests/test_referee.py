"""Published tables agree with a recomputation that uses nothing of lthray."""

import ast
import json
import shutil
from pathlib import Path

import pytest

from . import referee


def test_nothing_is_published_that_a_referee_cannot_compute_again():
    assert list(referee.disagreements()) == []
    assert len(list(referee.RESULTS.glob("*/verdict*.csv"))) > 5


def test_the_referee_uses_nothing_of_the_package():
    tree = ast.parse(Path(referee.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    assert not [name for name in names if name.startswith("lthray")]
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
    (line,) = referee.disagreements()
    assert line.startswith("layerwise_search.digits verdict: ['overall late5%', '0.0625'")
