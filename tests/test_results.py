"""What is published can be made again from the trials beside it; the README shows nothing else."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from lthray.config.stressors import STRESSES
from lthray.findings import sections, sheets

from . import (
    referee,
    referee_efficiency,
    referee_rewinding,
    referee_robustness,
    referee_transfer,
    republish,
)
from .published import ROOT, alike, recorded, rows

README = (ROOT / "README.md").read_text()
PATTERNS = (
    r"dense of \d+ steps",
    r"k = [\d.]+",
    r"from timestep \d+",
    r"0\.\d+",  # a density
    r"(dense|ticket at [\d.]+), (average|raw weights)",
    r"(stable|unstable|connected|apart).* matching",
)
"""Columns that are named after a value or a kind; the page explains one of each."""
FOLDERS = republish.folders()
NAMES = [folder.name for folder in FOLDERS]


def test_there_are_results():
    assert len(FOLDERS) > 5
    assert all(republish.published(folder) for folder in FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_tables_sentences_figures_and_the_page_are_made_again(folder):
    made = {section.name: section for section in republish.made(folder)}
    assert made.keys() == set(republish.published(folder))
    for name, section in made.items():
        place = folder / name
        if section.table:
            assert [list(row) for row in section.table] == rows(place.with_suffix(".csv"))
        if section.text:
            told = [line for line in section.text if line]
            assert told == place.with_suffix(".txt").read_text().splitlines()
        if section.figure:
            drawn = republish.figure_of(folder, name)
            assert alike(sheets.drawn(section.figure)[".png"], drawn)
    page = republish.SHOWN / f"{folder.name}.md"
    assert page.read_text() == republish.page_of(folder, list(made.values()))


def test_the_page_of_pages_names_them_all():
    assert (republish.SHOWN / "index.md").read_text() == republish.index()


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_trials_are_written_as_they_were_published(folder):
    text = (folder / "trials.json").read_text()
    assert sections.dump(recorded(folder)) == text


@pytest.mark.parametrize("page", republish.QUOTING, ids=lambda page: page.name)
def test_quotes_are_published_lines(page):
    text = page.read_text()
    assert len(republish.QUOTE.findall(text)) == text.count("\n> ") >= 1
    assert republish.quoted(text) == text


def test_the_readme_has_no_number_of_a_result_that_is_no_quote():
    results = README[README.index("\n## What was found") :]
    results = results[: results.index("\n## ", 5)]
    rest = re.sub(r"^> .+$|<!--.*?-->|`[^`]*`|\([^)]*\)", "", results, flags=re.M)
    assert not re.findall(r"\d", rest)


def test_every_column_that_is_published_is_explained():
    page = (ROOT / "docs" / "verdicts.md").read_text()
    cells = re.findall(r"^\| (`.+?) \|", page, re.M)
    explained = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    stressors = {facts.label for facts in STRESSES.values()}
    columns = {column for path in (ROOT / "results").glob("*/*.csv") for column in rows(path)[0]}
    assert len(columns) > 60
    for column in columns - explained - stressors:
        assert any(re.fullmatch(pattern, column) for pattern in PATTERNS), column


def test_results_hold_no_place():
    files = list((ROOT / "results").rglob("*.[ctj]*"))
    assert len(files) > 10
    for path in files:
        text = path.read_text()
        assert "/tmp" not in text
        assert "/home" not in text
        assert "://" not in text


# a referee who does not know the package


REFEREES = [
    referee,
    referee_efficiency,
    referee_rewinding,
    referee_robustness,
    referee_transfer,
]


@pytest.mark.parametrize("who", REFEREES)
def test_an_independent_recomputation_agrees_with_everything_that_is_published(who):
    assert list(who.disagreements()) == []


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("layerwise_search.digits/verdict", "own dense"),
        ("layerwise_search.digits/verdict", "shuffled"),
        ("sanity.mnist/verdict", "shows"),
        ("convergence.digits/convergence", "matches"),
        ("convergence.digits/budgets", "converged"),
        ("rewinding.digits/barriers", "dense, average"),
        ("rewinding.digits/stability", "Spearman"),
        ("transfer.digits/transfer", "efficiency [95 %]"),
        ("robustness.digits/robustness", "delta"),
        ("robustness.digits/controls", "attack in L2"),
        ("efficiency.digits/efficiency", "stored bytes"),
        ("efficiency.mnist/timed", "images to win it back"),
        ("efficiency.wide/timed", "speed-up x executed"),
    ],
)
def test_the_referee_sees_a_cell_that_was_changed(tmp_path, table, column):
    name, stem = table.split("/")
    shutil.copytree(ROOT / "results" / name, tmp_path / name)
    path = tmp_path / name / f"{stem}.csv"
    head, *below = rows(path)
    below[0][head.index(column)] += "*"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *below])
    assert sum(len(list(who.disagreements(tmp_path))) for who in REFEREES) == 1


@pytest.mark.parametrize("who", REFEREES)
def test_a_referee_imports_nothing_of_the_package(who):
    text = Path(who.__file__).read_text()
    assert not re.search(r"^\s*(from|import) lthray", text, re.M)
