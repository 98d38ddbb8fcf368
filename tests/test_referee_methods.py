"""Published tables of methods and of both spaces agree with a recomputation that uses nothing of
lthray."""

import ast
import json
import shutil
from pathlib import Path

import pytest

from . import referee_methods as referee


def test_nothing_is_published_that_a_referee_cannot_compute_again():
    assert list(referee.disagreements()) == []
    assert {path.stem for path in referee.tables()} == set(referee.MADE)


def test_the_referee_uses_nothing_of_the_package():
    tree = ast.parse(Path(referee.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    assert not [name for name in names if name.startswith("lthray")]
    assert {"numpy", "scipy"} <= names


@pytest.mark.parametrize(
    ("folder", "control", "told"),
    [
        ("pruning_methods.digits", "none", "methods: ['overall late5% to 0.0625'"),
        ("pruning_methods.digits", "shuffle", "methods: ['overall late5% to 0.0625'"),
        ("architectures.digits", "none", "spaces: ['0.0625'"),
    ],
)
def test_a_number_that_is_not_that_of_the_trials_is_told(
    tmp_path, monkeypatch, folder, control, told
):
    place = tmp_path / folder
    shutil.copytree(referee.RESULTS / folder, place)
    monkeypatch.setattr(referee, "RESULTS", tmp_path)
    assert list(referee.disagreements()) == []
    trials = json.loads((place / "trials.json").read_text())
    changed = next(t for t in trials if t["point"]["control"] == control)
    changed["rounds"][-1]["metrics"]["loss/heldout"] *= 1.05
    (place / "trials.json").write_text(json.dumps(trials))
    lines = list(referee.disagreements())
    assert lines
    assert f"{folder} {told}" in "\n".join(lines)
