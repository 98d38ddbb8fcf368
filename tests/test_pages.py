"""Every study runs, as small as can be, and its page is made of what was recorded."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from lthray.__main__ import main
from lthray.cli import study
from lthray.config import options
from lthray.measure import speed

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
CUT = {"prune.ladder": (0.5, 0.25)}
GROUPED = {"model.channels": (16, 16)}  # of sixteen inputs some are kept
ELSEWHERE = {"throughput", "layerwise_search"}  # one records nothing, one is the gate's
FEW = {"pruning_methods": 8, "rewinding": 4}
"""Study -> of so many recipes one is tried."""
STUDIES = {
    "architectures": ("architectures", "spaces", CUT | {"measure.samples": 0}),
    "baseline_tuning": ("search", "search", {}),
    "budget": ("ticket_frequency", "verdict", CUT | {"train.steps": 8}),
    "convergence": ("convergence", "convergence", {"prune.ladder": (0.7, 0.5, 0.35, 0.25)}),
    "efficiency": ("efficiency", "efficiency", CUT),
    "frequency": ("ticket_frequency", "frequency", CUT | {"train.steps": 25}),
    "pruning_methods": (
        "pruning_methods",
        "methods",
        CUT | {"train.steps": 20, "model.channels": (16, 16)},
    ),
    "rewinding": ("rewinding", "surface", CUT | {"train.steps": 50}),
    "robustness": ("robustness", "robustness", {"measure.robust": 4, "measure.attack": 1}),
    "sanity": ("ticket_frequency", "verdict", {"measure.images": 8}),
    "transfer": ("transfer", "transfer", {}),
    "width": ("width", "width", CUT),
}
"""Study -> its analysis, a section that this writes, and what makes it smaller."""


def test_every_study_is_here():
    pages = {path.stem for path in (ROOT / "studies").glob("*.py")}
    assert pages - ELSEWHERE == set(STUDIES)


def run(name: str, out: str) -> list[str]:
    """Run a study as small as can be; return the options of its analysis."""
    page = runpy.run_path(str(ROOT / f"studies/{name}.py"))["STUDY"]
    tiny = {} if name == "sanity" else TINY
    small = replace(page, smoke={**page.smoke, **tiny, **STUDIES[name][-1]})
    if name in FEW:
        small = replace(small, points=lambda config: page.points(config)[:: FEW[name]])
    assert study(small, ["--smoke", "--local", "--seeds", "0", "--out", out]) == options.DONE
    return ["--out", out, "--experiment", f"{name}.digits.smoke"]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_and_its_page_is_made(name, tmp_path, capsys, monkeypatch):
    analysis, section, _ = STUDIES[name]
    monkeypatch.setattr(speed, "BLOCKS", 6)
    monkeypatch.setattr(speed, "LEAST", 0.001)
    argv = run(name, str(tmp_path / "runs"))
    capsys.readouterr()
    assert main(["analysis", analysis, *argv]) == options.DONE
    assert f"reports/{name}.digits.smoke" in capsys.readouterr().out
    report = tmp_path / f"runs/reports/{name}.digits.smoke"
    assert list(report.glob(f"{section}*.csv"))


def test_the_report_of_a_study_is_made_and_its_address_said(tmp_path, capsys):
    argv = run("sanity", str(tmp_path / "runs"))
    assert main(["report", *argv]) == options.DONE
    *_, address = capsys.readouterr().out.splitlines()
    assert address == (tmp_path / "runs/reports/sanity.digits.smoke/report.html").as_uri()
    assert "Is the machinery right?" in Path(address.removeprefix("file://")).read_text()
