"""Make everything that is published again from the recorded trials: `python -m tests.republish`.

A folder of results/ holds the trials of a study, and the tables and sentences that analyses make of
them. This command makes these again, with their figures, and a page of each folder in docs/results.

    python -m tests.republish runs/reports/convergence.digits

adds the trials of a report to those of its folder, or publishes it for the first time: trials of
several sittings become one page.
"""

import csv
import re
import runpy
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lthray.core.record import TrialRecord
from lthray.findings import sections, sheets
from lthray.findings.sections import Section

from .published import ROOT, alike, recorded, rows

SHOWN = ROOT / "docs" / "results"
PAGES = {
    "verdict": "ticket_frequency",
    "frequency": "ticket_frequency",
    "survival": "ticket_frequency",
    "shares": "ticket_frequency",
    "negatives": "ticket_frequency",
    "effects": "ticket_frequency",
    "importances": "ticket_frequency",
    "methods": "pruning_methods",
    "spaces": "architectures",
    "samples": "architectures",
    "convergence": "convergence",
    "budgets": "convergence",
    "fit": "convergence",
    "width": "width",
    "sparsest": "width",
    "surface": "rewinding",
    "barriers": "rewinding",
    "stability": "rewinding",
    "connections": "rewinding",
    "transfer": "transfer",
    "parts": "transfer",
    "efficiency": "efficiency",
    "images": "efficiency",
    "timed": "efficiency",
    "robustness": "robustness",
    "controls": "robustness",
    "attacks": "robustness",
    "stress": "robustness",
}
"""Section -> the analysis that makes it."""
TIMED, KEPT = "timed", "timings.json"  # seconds cannot be made from trials: they are kept
RECORDED = "Recorded: "  # how the line begins that says when and how trials were made
BY = ("prune.criterion", "rewind.rule", "objective.name")
"""Words by which frequencies are told apart."""


def folders() -> list[Path]:
    """Return every folder of results that holds trials."""
    return sorted(path.parent for path in (ROOT / "results").glob("*/trials.json"))


def published(folder: Path) -> list[str]:
    """Return the names of the sections that a folder shows, the verdict first."""
    files = [*folder.glob("*.csv"), *folder.glob("*.txt"), *(SHOWN / folder.name).glob("*.png")]
    stems = {path.stem for path in files}
    order = list(PAGES)
    return sorted(stems, key=lambda stem: (order.index(stem.partition("_")[0]), stem))


def provenance(folder: Path) -> str:
    """Return the line that says when, with what and on what the trials of a folder were made."""
    for path in sorted(folder.glob("*.txt")):
        lines = path.read_text().splitlines()
        if told := [line for line in lines if line.startswith(RECORDED)]:
            return " ".join(told)
    return ""


def add(report: Path) -> None:
    """Add the trials of a report, and where they come from, to the folder of its name.

    A folder that is not there yet takes over all tables and sentences.
    """
    folder = ROOT / "results" / report.name
    if not folder.is_dir():
        folder.mkdir()
        for path in (*report.glob("*.csv"), *report.glob("*.txt")):
            if path.stem.partition("_")[0] in PAGES and not path.stem.endswith(
                ("_claims", "_margins")
            ):
                (folder / path.name).write_bytes(path.read_bytes())
        for name in ("trials.json", KEPT):
            if (report / name).is_file():
                (folder / name).write_bytes((report / name).read_bytes())
        return
    known = {trial.id: trial for trial in recorded(folder)}
    before = len(known)
    known |= {trial.id: trial for trial in recorded(report)}
    (folder / "trials.json").write_text(sections.dump(list(known.values())))
    if len(known) > before:
        place = next(path for path in sorted(folder.glob("*.txt")) if RECORDED in path.read_text())
        place.write_text(place.read_text() + provenance(report) + "\n")


def looks(folder: Path) -> int:
    """Return how often the seeds of a folder were looked at when it was published."""
    told = "\n".join(path.read_text() for path in folder.glob("*.txt"))
    said = re.search(r"look (\d+) at these seeds", told)
    return int(said[1]) if said else 1


@cache
def analysis(page: str) -> dict[str, Any]:
    """Return the names of an analysis."""
    return runpy.run_path(str(ROOT / f"analysis/{page}.py"))


def made(folder: Path) -> Iterator[Section]:
    """Yield the sections of a folder, made again."""
    trials: list[TrialRecord] = recorded(folder)
    study = SimpleNamespace(
        of=lambda call: trials,
        trials=trials,
        look=lambda judged: looks(folder),
        provenance=lambda judged: provenance(folder),
    )
    names = published(folder)
    for page in dict.fromkeys(PAGES[name.partition("_")[0]] for name in names):
        words = {"by": BY} if trials[0].point.phase == "design" else {}
        for section in analysis(page)["sections"](study, **words):
            if section.name in names:
                yield section
    if TIMED in names:
        yield analysis(PAGES[TIMED])["again"](folder / KEPT)


def write(folder: Path, section: Section) -> None:
    """Write the files of a section; a figure only where it has changed."""
    place = folder / section.name
    if section.table:
        with place.with_suffix(".csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(section.table)
    if section.text:
        lines = [line for line in section.text if line]
        place.with_suffix(".txt").write_text("\n".join(lines) + "\n")
    if section.figure:
        drawn = sheets.drawn(section.figure)[".png"]
        shown = figure_of(folder, section.name)
        if not (shown.is_file() and alike(drawn, shown)):
            shown.parent.mkdir(parents=True, exist_ok=True)
            shown.write_bytes(drawn)


def figure_of(folder: Path, section: str) -> Path:
    """Return where the figure of a section lies, beside the page that shows it."""
    return SHOWN / folder.name / f"{section}.png"


def page_of(folder: Path, shown: list[Section]) -> str:
    """Return the page of a folder in Markdown: sentences, tables and figures of its sections."""
    name = folder.name.partition(".")[0]
    asked = (runpy.run_path(str(ROOT / f"studies/{name}.py"))["__doc__"] or "").strip()
    question = asked.partition("\n\n")[0].replace("\n", " ")
    lines = [f"# {folder.name}", "", question, ""]
    kept = "trials.json and timings.json" if (folder / KEPT).is_file() else "trials.json"
    lines += [
        f"Made from {kept} in `results/{folder.name}/` by `python -m tests.republish`; no number "
        "here was typed in.",
        "",
    ]
    for section in shown:
        lines += [f"## {section.title}", ""]
        lines += [f"* {line}" for line in section.text if line]
        if section.text:
            lines.append("")
        if section.table:
            lines += [*markdown(section.table), ""]
        if section.figure:
            lines += [f"![{section.title}]({folder.name}/{section.name}.png)", ""]
    return "\n".join(lines).rstrip() + "\n"


def markdown(of: Sequence[Sequence[str]]) -> list[str]:
    """Return a table, its head first, as the lines of a table in Markdown."""
    head, *below = of
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return table + ["| " + " | ".join(row) + " |" for row in below]


QUOTE = re.compile(r"^<!-- (\S+) line (\d+) -->\n> .*$", re.M)
"""A published line in a page that is written by hand, below a note of where it comes from."""
ROW = re.compile(r"^<!-- (\S+) row (\d+) -->\n(?:\|.*\n)+", re.M)
"""A row of a published table below the table's head, and below a note of where it comes from."""
QUOTING = [
    ROOT / "README.md",
    ROOT / "docs" / "claims.md",
    ROOT / "docs" / "quickstart.md",
    ROOT / "docs" / "verdicts.md",
]


def quoted(page: str) -> str:
    """Return a page with every line and row that it quotes as that is published now."""

    def line(match: re.Match[str]) -> str:
        place, number = match.groups()
        told = (ROOT / "results" / f"{place}.txt").read_text().splitlines()
        return f"<!-- {place} line {number} -->\n> {told[int(number) - 1]}"

    def row(match: re.Match[str]) -> str:
        place, number = match.groups()
        head, *below = rows(ROOT / "results" / f"{place}.csv")
        shown = "\n".join(markdown([head, below[int(number) - 1]]))
        return f"<!-- {place} row {number} -->\n{shown}\n"

    return ROW.sub(row, QUOTE.sub(line, page))


def index() -> str:
    """Return the page that leads to all others."""
    lines = ["# Results", "", "What studies found; each page is made from recorded trials.", ""]
    for folder in folders():
        lines.append(f"* [{folder.name}]({folder.name}.md)")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Add the reports that are named, and write every folder and its page."""
    SHOWN.mkdir(exist_ok=True)
    for report in sys.argv[1:]:
        add(Path(report))
    for folder in folders():
        shown = list(made(folder))
        for section in shown:
            write(folder, section)
        (SHOWN / f"{folder.name}.md").write_text(page_of(folder, shown))
    (SHOWN / "index.md").write_text(index())
    for page in QUOTING:
        page.write_text(quoted(page.read_text()))


if __name__ == "__main__":
    main()
