"""Analyses read MLflow alone, say what is wrong in one line, and print what was recorded."""

import csv
import runpy
import shutil
import statistics
from pathlib import Path

import pytest
from PIL import Image

from lthray.__main__ import main
from lthray.options import Root
from lthray.recorded import Recorded

from .conftest import TINY

CURVES = Path(__file__).parent.parent / "analysis" / "curves.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four recorded trials: two arms, two seeds."""
    place = tmp_path_factory.mktemp("root")
    words = [f"--{w}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for w, v in TINY.items()]
    for control in ("none", "reinit"):
        for seed in ("0", "1"):
            argv = ["trial", *words, "--control", control, "--seed", seed, "--out", str(place / "runs")]
            assert main(argv) == 0
    shutil.rmtree(place / "runs/store")  # what an analysis says, it says from MLflow
    return place


def curves(monkeypatch, root: Path, *argv: str) -> int:
    monkeypatch.setattr("sys.argv", ["analysis/curves.py", "--out", str(root / "runs"), *argv])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(CURVES), run_name="__main__")
    return left.value.code


def test_curves_are_means_over_the_recorded_trials(monkeypatch, root, capsys):
    assert curves(monkeypatch, root, "--experiment", "trial.digits") == 0
    folder = root / "runs/reports/trial.digits"
    rows = list(csv.reader((folder / "loss_excess_by_control.csv").read_text().splitlines()))
    assert rows[0] == ["density", "control = none", "control = reinit"]
    assert [row[0] for row in rows[1:]] == ["1", "0.5", "0.3"]
    found = Recorded(Root(out=str(root / "runs")).uri, "trial.digits").trials
    mine = [t["rounds"][1]["metrics"]["loss/excess"] for t in found if t["point"]["control"] == "reinit"]
    assert len(mine) == 2
    assert rows[2][2] == f"{statistics.mean(mine):.4f} ± {statistics.stdev(mine):.4f} (2)"
    assert "| density | control = none | control = reinit |" in capsys.readouterr().out
    assert (folder / "loss_excess_by_control.md").read_text().count("\n") == 5
    assert Image.open(folder / "loss_excess_by_control.png").size == (1050, 630)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--experiment", "trial.digits", "--metrik", "x"], "--metrik: no such option; did you mean --metric?"),
        (["--experiment", "a.b", "--tracking-uri", "sqlite:////nix/mlflow.db"], "there is no /nix/mlflow.db"),
        (["--experiment", "nosuch.digits"], "--experiment 'nosuch.digits': "),
        (["--experiment", "../../x"], "--experiment '../../x': study.preset"),
        (["--experiment", "trial.digits", "--by", "colour"], "--by 'colour': no word of a config"),
        (["--experiment", "trial.digits", "--metric", "loss/none"], "--metric 'loss/none': recorded are cost/"),
        (["--experiment", "trial.digits", "--tracking-uri", "nix"], "--tracking-uri = 'nix': must begin with"),
    ],
)
def test_bad_words_are_one_line(argv, said, monkeypatch, root, capsys):
    reports = sorted((root / "runs").rglob("*.csv"))
    assert curves(monkeypatch, root, *argv) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert sorted((root / "runs").rglob("*.csv")) == reports
