"""Sections: text, table and figure that an analysis leaves, as files for a paper and as parts of a
page.

A figure is data (lthray.findings.figures); its files are a PNG, an SVG and a PDF.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lthray.config import presets
from lthray.core.record import TrialRecord
from lthray.findings.figures import Figure
from lthray.findings.sheets import drawn

Row = Sequence[str]

LOCAL = ("runs", "rounds", "places")  # of a point: where things lie, no part of what was found
JUDGED = ("index", "density", "metrics", "curve", "created", "made")  # of a round
LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
}
ESCAPES = {ord(character): escaped for character, escaped in LATEX.items()}


@dataclass(frozen=True)
class Section:
    """A finding: of text, table, figure and pictures what there is."""

    name: str
    """Name of its files."""
    title: str
    text: Sequence[str] = ()
    table: Sequence[Row] = ()
    figure: Figure | None = None
    pictures: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Caption -> PNG."""
    verdict: bool = False
    """Whether the text is a verdict, which a report tells before all else."""
    answer: Sequence[str] = ()
    """Two sentences, at most, that answer the study's question: a report opens with them."""
    sheets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Files of the figure by the ends of their names, where it was drawn before."""

    @property
    def drawn(self) -> Mapping[str, bytes]:
        """End of a file's name -> the figure in that format; empty where there is none."""
        if self.sheets or not self.figure:
            return self.sheets
        return drawn(self.figure)


def write(sections: Iterable[Section], folder: Path) -> list[str]:
    """Write sections to `folder` as .txt, .csv, .tex, .md, .png, .svg and .pdf files; return
    the lines to print.

    All sections are made before the first file is written, so that a fault leaves nothing
    half-written.
    """
    made, lines = list(sections), list[str]()
    folder.mkdir(parents=True, exist_ok=True)
    for section in made:
        for ending, content in _files(section).items():
            presets.write(folder / f"{section.name}{ending}", content)
        shown = [markdown(section.table)] if section.table else []
        lines += [section.title, "", *shown, *section.text, ""]
    return [*lines, f"files: {folder}"]


def keep_trials(trials: Iterable[TrialRecord], folder: Path, name: str = "trials.json") -> None:
    """Write the file `name` to `folder`, which the sections can be made of again."""
    presets.write(folder / name, dump(trials).encode())


def dump(trials: Iterable[TrialRecord]) -> str:
    """Return as JSON all of recorded trials that a verdict is given on; TrialRecord.from_json reads
    it."""
    bare = []
    for trial in trials:
        facts = trial.to_json()
        point = {word: value for word, value in facts["point"].items() if word not in LOCAL}
        kept = {
            "id": trial.id,
            "point": dict(sorted(point.items())),
            "end": dict(sorted(facts["end"].items())),
            "rounds": [{word: r[word] for word in JUDGED} for r in facts["rounds"]],
            "run": trial.run,
        }
        bare.append(kept)
    return json.dumps(bare, separators=(",", ":"))


def _files(section: Section) -> dict[str, bytes]:
    """Return the end of each file's name -> content."""
    files: dict[str, str | bytes] = {}
    if section.text:
        files[".txt"] = "\n".join(section.text) + "\n"
    if section.table:
        files |= {".csv": _csv(section.table), ".tex": latex(section.table)}
        files[".md"] = markdown(section.table)
    files |= section.drawn
    for caption, picture in section.pictures.items():
        files[f"_{re.sub('[^a-z0-9]+', '_', caption.lower())}.png"] = picture
    return {end: data.encode() if isinstance(data, str) else data for end, data in files.items()}


def endings(section: Section) -> list[str]:
    """Return the ends of the names of the files that hold a section's table and figure."""
    tables = [".csv", ".tex"] if section.table else []
    return [*tables, *([".svg", ".pdf"] if section.figure else [])]


def markdown(rows: Sequence[Row]) -> str:
    """Return a table in Markdown; the first row is the head."""
    lines = []
    for row in rows:
        cells = (cell.replace("|", "\\|") for cell in row)
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join([lines[0], "|" + "---|" * len(rows[0]) + "\n", *lines[1:]])


def latex_text(text: str) -> str:
    """Return a text for LaTeX, every special character escaped."""
    return text.translate(ESCAPES)


def latex(rows: Sequence[Row]) -> str:
    """Return a tabular in LaTeX, every special character escaped; the first row is the head."""
    head, *body = [" & ".join(map(latex_text, row)) + r" \\" for row in rows]
    lines = [r"\hline", head, r"\hline", *body, r"\hline"]
    columns = "l" + "r" * (len(rows[0]) - 1)
    return "\n".join([f"\\begin{{tabular}}{{{columns}}}", *lines, "\\end{tabular}\n"])


def _csv(rows: Sequence[Row]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
