"""What is published can be made again from the trials beside it; the README shows nothing else."""

import csv
import io
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lthray.core.record import TrialRecord
from lthray.findings import designs, sections, wording
from lthray.findings.evidence import Evidence, comparable, gather

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DESIGN = ROOT / "results/frequency.digits"
BY = ("prune.criterion", "rewind.rule", "objective.name")  # words of its page, as it was published
ANALYSIS = runpy.run_path(str(ROOT / "analysis/ticket_frequency.py"))


def recorded(path: Path) -> list[TrialRecord]:
    """The published trials of a folder."""
    return [
        TrialRecord.from_json(facts) for facts in json.loads((path / "trials.json").read_text())
    ]


def published() -> list[tuple[Path, Evidence]]:
    """Return every published verdict: the path of its files without ending, and its evidence."""
    found = []
    for path in sorted((ROOT / "results").glob("*/trials.json")):
        if not list(path.parent.glob("verdict*.csv")):
            continue
        trials = recorded(path.parent)
        told = gather(comparable(trials)) if trials[0].point.phase != "design" else []
        places = [(path.with_name(e.name if len(told) > 1 else "verdict"), e) for e in told]
        found += [(place, e) for place, e in places if place.with_suffix(".csv").is_file()]
    return found


VERDICTS = [pytest.param(*each, id=f"{each[0].parent.name} {each[0].name}") for each in published()]


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_there_are_results():
    assert len(VERDICTS) > 1


@pytest.mark.parametrize(("place", "evidence"), VERDICTS)
def test_tables_and_sentences_are_made_again_from_the_recorded_trials(place, evidence):
    assert wording.table(evidence) == rows(place.with_suffix(".csv"))
    told = place.with_suffix(".txt").read_text().splitlines()
    assert told[: len(wording.sentences(evidence))] == wording.sentences(evidence)
    assert told[-1].startswith("Recorded: python studies/")


@pytest.mark.parametrize(
    ("place", "evidence"), [v for v in VERDICTS if v.values[0].with_suffix(".png").is_file()]
)
def test_figures_are_made_again(place, evidence):
    assert alike(sections.png(ANALYSIS["excess"](evidence)), place.with_suffix(".png"))


def alike(again: bytes, place: Path) -> bool:
    """Whether two pictures are the same but for fonts, which may differ by a pixel."""
    a, b = (
        np.asarray(Image.open(file).convert("L"), dtype=float)
        for file in (io.BytesIO(again), place)
    )
    return a.shape == b.shape and bool(np.abs(a - b).mean() < 1.0)  # of 255


def test_the_surface_and_its_barriers_are_made_again():
    place = ROOT / "results/rewinding.digits"
    trials = recorded(place)
    page = runpy.run_path(str(ROOT / "analysis/rewinding.py"))
    study = SimpleNamespace(of=lambda call: trials, provenance=lambda trials: "Recorded.")
    made = {section.name: section for section in page["sections"](study)}
    assert list(made["surface"].text) == ["Recorded."]
    for name in ("barriers", "stability"):
        assert [list(row) for row in made[name].table] == rows(place / f"{name}.csv")
        for row in rows(place / f"{name}.csv"):
            assert "| " + " | ".join(row) + " |" in README
    for name in ("surface", "barriers"):
        assert alike(sections.png(made[name].figure), place / f"{name}.png")
    assert list(made["stability"].text) == (place / "stability.txt").read_text().splitlines()


def test_frequencies_are_made_again():
    """Of the former design, as its sentences say: a crossed one is not recorded yet."""
    *_, provenance = (DESIGN / "frequency.txt").read_text().splitlines()
    found = designs.sections(comparable(recorded(DESIGN)), BY, provenance)
    made = {section.name: section for section in found}
    assert {path.stem for path in DESIGN.glob("*.csv")} == set(made)
    for name, section in made.items():
        assert [list(row) for row in section.table] == rows(DESIGN / f"{name}.csv")
        if section.text:
            told = (DESIGN / f"{name}.txt").read_text().splitlines()
            assert list(section.text) == told
        if section.figure:
            assert alike(sections.png(section.figure), DESIGN / f"{name}.png")
    for name in ("frequency", "survival"):
        for row in rows(DESIGN / f"{name}.csv"):
            assert "| " + " | ".join(row) + " |" in README
    for line in made["frequency"].text:
        assert f"* {line}\n" in README
    assert any("of the former kind" in line for line in made["frequency"].text)


@pytest.mark.parametrize(("place", "evidence"), VERDICTS)
def test_the_readme_shows_verdicts_as_they_were_recorded(place, evidence):
    if place.name == "verdict" and len(evidence.recipes) == 1:
        for row in rows(place.with_suffix(".csv")):
            assert "| " + " | ".join(row) + " |" in README
        for line in place.with_suffix(".txt").read_text().splitlines():
            assert line in README
    else:  # several side by side: a cell each
        assert wording.sentences(evidence)[0] in README
        head, *told = wording.table(evidence)
        for row in told:
            assert f"{row[head.index('excess')]} {row[-1]}" in README or row[0] == "chance alone"


# file -> what makes it
PAGES = {"methods": "pruning_methods", "spaces": "architectures", "samples": "architectures"}
PAGES |= {"convergence": "convergence", "budgets": "convergence"}
MADE = [
    (path, PAGES[path.stem])
    for path in sorted((ROOT / "results").glob("*/*.csv"))
    if path.stem in PAGES
]


def test_every_folder_of_trials_has_a_verdict_that_is_made_again():
    assert {path.parent for path in (ROOT / "results").glob("*/trials.json")} == {
        *(place.parent for place, _ in (case.values for case in VERDICTS)),
        *(path.parent for path, _ in MADE),
        ROOT / "results/frequency.digits",
    }


@pytest.mark.parametrize(
    ("place", "page"),
    [pytest.param(*case, id=f"{case[0].parent.name} {case[0].stem}") for case in MADE],
)
def test_comparisons_are_made_again_and_shown(place, page):
    trials = recorded(place.parent)
    analysis = runpy.run_path(str(ROOT / f"analysis/{page}.py"))
    study = SimpleNamespace(of=lambda call: trials, provenance=lambda trials: "")
    assert analysis["applies"](study) == ""
    made = {s.name: s for s in analysis["sections"](study)}[place.stem]
    assert [list(row) for row in made.table] == rows(place)
    told = place.with_suffix(".txt").read_text().splitlines() if made.text else []
    assert [line for line in made.text if line] == told[: len([line for line in made.text if line])]
    if made.figure:
        assert alike(sections.png(made.figure), place.with_suffix(".png"))
    for line in [*("| " + " | ".join(row) + " |" for row in rows(place)), *told]:
        assert line in README


@pytest.mark.parametrize(
    "place", sorted(path.parent.name for path in (ROOT / "results").glob("*/trials.json"))
)
def test_trials_are_written_as_they_were_published(place):
    text = (ROOT / "results" / place / "trials.json").read_text()
    assert sections.dump(recorded(ROOT / "results" / place)) == text


def test_results_hold_no_place():
    files = list((ROOT / "results").rglob("*.[ctj]*"))
    assert len(files) > 10
    for path in files:
        text = path.read_text()
        assert "/tmp" not in text
        assert "/home" not in text
        assert "://" not in text
