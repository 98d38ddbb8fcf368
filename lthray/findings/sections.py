"""Sections: text, table and figure that an analysis leaves, as files for a paper and as parts of a
page.

A figure is data, drawn twice: by matplotlib into a PNG, by plotly into a page where one can point
at it.
"""

import csv
import io
import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lthray.config import presets
from lthray.core.record import TrialRecord
from lthray.findings.drawing import DPI, SIZE, painted
from lthray.findings.stats import t_interval

Row = Sequence[str]

LOCAL = ("runs", "rounds", "places")  # of a point: where things lie, no part of what was found
JUDGED = ("index", "density", "metrics", "curve", "created", "made")  # of a round
DENSITY = "density of the prunable weights"
TICKS = 8  # labels of a ladder, at most
CYCLE = 10  # lines after which matplotlib's colours begin again
# blue below zero and red above, as in the PNGs; plotly's own scale of the name runs the other way
SCALE = [[0, "#2166ac"], [0.25, "#92c5de"], [0.5, "#f7f7f7"], [0.75, "#f4a582"], [1, "#b2182b"]]
MARGIN = {"l": 60, "r": 20, "t": 20, "b": 50}  # pixels around a figure on a page
LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
}


@dataclass(frozen=True)
class Line:
    """One curve, with a band around it where `low` and `high` are filled."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    @classmethod
    def over(cls, name: str, points: Mapping[float, Sequence[float]]) -> "Line":
        """Return the curve of x -> numbers, one per seed: their mean with its 95 % t-interval, if
        there are two."""
        mean, low, high = list[float](), list[float](), list[float]()
        for _, numbers in sorted(points.items()):
            mean.append(statistics.fmean(numbers))
            span = t_interval(numbers) if len(numbers) > 1 else (numbers[0], numbers[0])
            low.append(span[0])
            high.append(span[1])
        return cls(name, sorted(points), mean, low, high)


@dataclass(frozen=True)
class Lines:
    """Curves over one axis; a sparsity ladder runs from dense on the left to sparse on the right,
    by equal factors."""

    x: str
    y: str
    lines: Sequence[Line]
    ladder: bool = True
    """Whether x are densities of a ladder."""
    steps: bool = False
    """Whether curves are drawn as steps."""
    doublings: bool = False
    """Whether x doubles from mark to mark, so that its axis is logarithmic."""
    level: float | None = None
    """Height of a horizontal line."""

    @property
    def ticks(self) -> list[float]:
        """Densities of the ladder that are labelled: every so many where they are many."""
        densities = sorted({x for line in self.lines for x in line.x}, reverse=True)
        every = -(-len(densities) // TICKS)
        return densities[::every] if densities else []

    @property
    def marks(self) -> list[float]:
        """The x of doublings that are labelled, rising: each at least twice the one before."""
        marks: list[float] = []
        for x in sorted({x for line in self.lines for x in line.x}):
            if not marks or x >= 2 * marks[-1]:
                marks.append(x)
        return marks


@dataclass(frozen=True)
class Heat:
    """A matrix of numbers around zero, [rows, columns]."""

    x: str
    y: str
    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Drawn:
    """A figure that another library has drawn, both ways."""

    png: bytes = field(repr=False)
    plotly: Mapping[str, Any] = field(repr=False)
    """Its data and layout, as plotly has them in JSON."""
    height: int = 430
    """Pixels on a page."""


Figure = Lines | Heat | Drawn


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
    """Whether the text answers the study's question: a report opens with it."""


def write(sections: Iterable[Section], folder: Path) -> list[str]:
    """Write sections to `folder` as .txt, .csv, .tex, .md and .png files; return the lines to
    print.

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
    if section.figure:
        files[".png"] = png(section.figure)
    for caption, picture in section.pictures.items():
        files[f"_{re.sub('[^a-z0-9]+', '_', caption.lower())}.png"] = picture
    return {end: data.encode() if isinstance(data, str) else data for end, data in files.items()}


def markdown(rows: Sequence[Row]) -> str:
    """Return a table in Markdown; the first row is the head."""
    lines = []
    for row in rows:
        cells = (cell.replace("|", "\\|") for cell in row)
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join([lines[0], "|" + "---|" * len(rows[0]) + "\n", *lines[1:]])


def latex(rows: Sequence[Row]) -> str:
    """Return a tabular in LaTeX, every special character escaped; the first row is the head."""
    escapes = str.maketrans(LATEX)
    head, *body = [" & ".join(cell.translate(escapes) for cell in row) + r" \\" for row in rows]
    lines = [r"\hline", head, r"\hline", *body, r"\hline"]
    columns = "l" + "r" * (len(rows[0]) - 1)
    return "\n".join([f"\\begin{{tabular}}{{{columns}}}", *lines, "\\end{tabular}\n"])


def _csv(rows: Sequence[Row]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def png(figure: Figure) -> bytes:
    """Return the figure drawn by matplotlib, as a PNG of 1050 x 630 pixels."""
    if isinstance(figure, Drawn):
        return figure.png

    def draw(plt: Any) -> Any:
        sheet = plt.figure(figsize=SIZE, dpi=DPI, layout="constrained")
        axes = sheet.add_subplot(xlabel=figure.x, ylabel=figure.y)
        if isinstance(figure, Heat):
            _draw_heat(axes, figure)
        else:
            _draw_lines(axes, figure)
        return sheet

    return painted(draw)


def _draw_lines(axes: Any, figure: Lines) -> None:
    style: dict[str, Any] = {"marker": "o", "markersize": 3}
    if figure.steps:
        style = {"drawstyle": "steps-post"}
    for i, line in enumerate(figure.lines):
        dash = "-" if i < CYCLE else "--"
        (drawn,) = axes.plot(line.x, line.y, label=line.name, linestyle=dash, **style)
        if line.low:
            band = {"color": drawn.get_color(), "alpha": 0.15, "linewidth": 0}
            band["step"] = "post" if figure.steps else None
            axes.fill_between(line.x, line.low, line.high, **band)
    if figure.level is not None:
        axes.axhline(figure.level, color="black", linewidth=0.8, linestyle=":")
    if figure.ladder:
        axes.set_xscale("log")
        axes.set_xticks(figure.ticks, [f"{x:.3g}" for x in figure.ticks])
        axes.minorticks_off()
        axes.invert_xaxis()
    if figure.doublings:
        axes.set_xscale("log", base=2)
        axes.set_xticks(figure.marks, [f"{x:,.0f}" for x in figure.marks], fontsize=8)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)


def _draw_heat(axes: Any, figure: Heat) -> None:
    limit = max((abs(v) for row in figure.values for v in row), default=1.0) or 1.0
    image = axes.imshow(figure.values, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit)
    columns, rows = range(len(figure.columns)), range(len(figure.rows))
    axes.set_xticks(columns, figure.columns, rotation=45, ha="right", fontsize=7)
    axes.set_yticks(rows, figure.rows, fontsize=6)
    axes.figure.colorbar(image)


def traces(figure: Figure) -> dict[str, Any]:
    """Return the figure as plotly's data and layout."""
    if isinstance(figure, Drawn):
        return {**figure.plotly}
    drawn = _heat_traces(figure) if isinstance(figure, Heat) else _line_traces(figure)
    return drawn | {"layout": {"margin": MARGIN, **drawn["layout"]}}


def _heat_traces(figure: Heat) -> dict[str, Any]:
    heat: dict[str, Any] = {
        "type": "heatmap",
        "x": figure.columns,
        "y": figure.rows,
        "z": figure.values,
    }
    heat |= {"colorscale": SCALE, "zmid": 0}
    layout = {
        "xaxis": {"title": {"text": figure.x}, "type": "category"},
        "yaxis": {"title": {"text": figure.y}, "autorange": "reversed"},
    }
    return {"data": [heat], "layout": layout}


def _line_traces(figure: Lines) -> dict[str, Any]:
    x: dict[str, Any] = {"title": {"text": figure.x}}
    if figure.ladder:
        labels = [f"{tick:.3g}" for tick in figure.ticks]
        x |= {"type": "log", "autorange": "reversed"}
        x |= {"tickvals": figure.ticks, "ticktext": labels}
    if figure.doublings:
        x |= {"type": "log", "tickvals": figure.marks}
        x |= {"ticktext": [f"{mark:,.0f}" for mark in figure.marks]}
    shapes = []
    if figure.level is not None:
        level = {"type": "line", "xref": "paper", "x0": 0, "x1": 1}
        level |= {"y0": figure.level, "y1": figure.level, "line": {"dash": "dot"}}
        shapes.append(level)
    layout = {"xaxis": x, "yaxis": {"title": {"text": figure.y}}, "shapes": shapes}
    return {"data": [_trace(line, figure.steps) for line in figure.lines], "layout": layout}


def _trace(line: Line, steps: bool) -> dict[str, Any]:
    trace: dict[str, Any] = {"type": "scatter", "name": line.name}
    trace |= {"x": list(line.x), "y": list(line.y), "mode": "lines+markers"}
    if steps:
        trace |= {"mode": "lines", "line": {"shape": "hv"}}
    if line.low:
        above = [high - y for high, y in zip(line.high, line.y, strict=True)]
        below = [y - low for low, y in zip(line.low, line.y, strict=True)]
        error = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
        trace["error_y"] = error
    return trace
