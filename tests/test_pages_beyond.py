"""The studies of transfer and robustness run, as small as can be, and their pages are made."""

import runpy
import sys
from dataclasses import replace

import pytest

from lthray.cli import study
from lthray.config import options

from .published import ROOT

TINY = {
    "model.channels": (8, 8),
    "model.groups": 4,
    "train.steps": 4,
    "train.batch": 8,
    "rewind.fraction": 0.25,
    "latent.steps": 4,
    "latent.widths": (4, 8),
    "latent.groups": 4,
    "measure.images": 8,
    "measure.timesteps": 2,
    "measure.checkpoints": 1,
    "measure.sampling_steps": (2,),
}
SIZES = {"transfer": {}, "robustness": {"measure.robust": 4, "measure.attack": 1}}


@pytest.mark.parametrize("name", SIZES)
def test_a_study_runs_and_its_page_is_made(name, tmp_path, monkeypatch, capsys):
    page = runpy.run_path(str(ROOT / f"studies/{name}.py"))["STUDY"]
    small = replace(page, smoke={**page.smoke, **TINY, **SIZES[name]})
    out = str(tmp_path / "runs")
    assert study(small, ["--smoke", "--local", "--seeds", "0", "--out", out]) == options.DONE
    capsys.readouterr()
    argv = ["--out", out, "--experiment", f"{name}.digits.smoke"]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *argv])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / f"analysis/{name}.py"), run_name="__main__")
    assert ended.value.code == options.DONE
    told = capsys.readouterr().out
    assert "claims of this page are one family" in told
    files = {path.name for path in (tmp_path / f"runs/reports/{name}.digits.smoke").iterdir()}
    assert {f"{name}.csv", f"{name}.txt", "trials.json"} <= files
