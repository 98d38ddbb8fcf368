"""What an analysis leaves: sections of text, a table and a figure, as files for a paper and as parts of a page.

A figure is data, drawn twice: by matplotlib into a PNG, by plotly into a page where one can point at it.
"""

import csv
import io
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lthray.findings.stats import t_interval

Row = Sequence[str]
# blue below zero and red above, as in the PNGs; plotly's own scale of the name runs the other way
SCALE = [[0, "#2166ac"], [0.25, "#92c5de"], [0.5, "#f7f7f7"], [0.75, "#f4a582"], [1, "#b2182b"]]


@dataclass(frozen=True)
class Line:
    """One curve, with a band around it where `low` and `high` are given."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    @classmethod
    def over(cls, name: str, points: Mapping[float, Sequence[float]]) -> "Line":
        """x -> numbers, one a seed: their mean with its 95 % t-interval; one number has none."""
        spans = [t_interval(v) if len(v) > 1 else (v[0], v[0]) for _, v in sorted(points.items())]
        mean = [statistics.fmean(v) for _, v in sorted(points.items())]
        return cls(name, sorted(points), mean, [low for low, _ in spans], [high for _, high in spans])


@dataclass(frozen=True)
class Lines:
    """Curves over one axis; a sparsity ladder runs from dense on the left to sparse on the right, by equal factors."""

    x: str
    y: str
    lines: Sequence[Line]
    ladder: bool = True
    steps: bool = False
    level: float | None = None
    """A horizontal line."""


@dataclass(frozen=True)
class Heat:
    """A matrix of numbers around zero."""

    x: str
    y: str
    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Section:
    """A finding."""

    name: str
    """Of its files."""
    title: str
    text: Sequence[str] = ()
    table: Sequence[Row] = ()
    figure: Lines | Heat | None = None
    pictures: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Caption -> PNG."""


def write(sections: Iterable[Section], folder: Path) -> list[str]:
    """Sections as files: .txt, .csv, .tex, .md, .png; returns what to print."""
    made, lines = list(sections), []  # all of them first: what cannot be said leaves nothing half-written
    folder.mkdir(parents=True, exist_ok=True)
    for section in made:
        place = folder / section.name
        if section.text:
            place.with_suffix(".txt").write_text("\n".join(section.text) + "\n")
        if section.table:
            place.with_suffix(".csv").write_text(_csv(section.table))
            place.with_suffix(".tex").write_text(latex(section.table))
            place.with_suffix(".md").write_text(markdown(section.table))
        if section.figure:
            place.with_suffix(".png").write_bytes(png(section.figure))
        for caption, picture in section.pictures.items():
            (folder / f"{section.name}_{re.sub('[^a-z0-9]+', '_', caption.lower())}.png").write_bytes(picture)
        lines += [section.title, "", *([markdown(section.table)] if section.table else []), *section.text, ""]
    return [*lines, f"files: {folder}"]


def markdown(rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    head, *body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows]
    return "".join([head, "|" + "---|" * len(rows[0]) + "\n", *body])


def latex(rows: Sequence[Row]) -> str:
    """A tabular in LaTeX, every special character escaped."""
    special = {c: f"\\{c}" for c in "&%$#_{}"} | {
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
    }
    special |= {"±": r"$\pm$", "–": "--", "<": "$<$", ">": "$>$"}
    lines = [" & ".join("".join(special.get(c, c) for c in cell) for cell in row) + r" \\" for row in rows]
    body = "\n".join([r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"])
    return f"\\begin{{tabular}}{{{'l' + 'r' * (len(rows[0]) - 1)}}}\n{body}\n\\end{{tabular}}\n"


def _csv(rows: Sequence[Row]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def png(figure: Lines | Heat) -> bytes:
    """The figure as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sheet = plt.figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = sheet.add_subplot(xlabel=figure.x, ylabel=figure.y)
    if isinstance(figure, Heat):
        _draw_heat(axes, figure)
    else:
        _draw_lines(axes, figure)
    file = io.BytesIO()
    sheet.savefig(file, format="png", metadata={"Software": None})
    plt.close("all")
    return file.getvalue()


def _draw_lines(axes: Any, figure: Lines) -> None:
    for i, line in enumerate(figure.lines):
        style = {"drawstyle": "steps-post"} if figure.steps else {"marker": "o", "markersize": 3}
        dash = "-" if i < 10 else "--"  # where matplotlib's colours begin again
        (drawn,) = axes.plot(line.x, line.y, label=line.name, linestyle=dash, **style)
        if line.low:
            step = "post" if figure.steps else None
            axes.fill_between(line.x, line.low, line.high, color=drawn.get_color(), alpha=0.15, linewidth=0, step=step)
    if figure.level is not None:
        axes.axhline(figure.level, color="black", linewidth=0.8, linestyle=":")
    if figure.ladder:
        axes.set_xscale("log")
        axes.set_xticks(_ticks(figure), [f"{x:.3g}" for x in _ticks(figure)])
        axes.minorticks_off()
        axes.invert_xaxis()
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)


def _ticks(figure: Lines) -> list[float]:
    """The densities of a ladder, every so many where they are many."""
    found = sorted({x for line in figure.lines for x in line.x}, reverse=True)
    return found[:: -(-len(found) // 8)] if found else []


def _draw_heat(axes: Any, figure: Heat) -> None:
    limit = max((abs(v) for row in figure.values for v in row), default=1.0) or 1.0
    image = axes.imshow(figure.values, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_xticks(range(len(figure.columns)), figure.columns, rotation=45, ha="right", fontsize=7)
    axes.set_yticks(range(len(figure.rows)), figure.rows, fontsize=6)
    axes.figure.colorbar(image)


def traces(figure: Lines | Heat) -> dict[str, Any]:
    """The figure as plotly's data and layout."""
    common: dict[str, Any] = {"margin": {"l": 60, "r": 20, "t": 20, "b": 50}}
    if isinstance(figure, Heat):
        heat = {"type": "heatmap", "x": figure.columns, "y": figure.rows, "z": figure.values, "colorscale": SCALE, "zmid": 0}
        axes = {
            "xaxis": {"title": {"text": figure.x}, "type": "category"},
            "yaxis": {"title": {"text": figure.y}, "autorange": "reversed"},
        }
        return {"data": [heat], "layout": {**common, **axes}}
    data: list[dict[str, Any]] = []
    for line in figure.lines:
        trace: dict[str, Any] = {
            "type": "scatter",
            "name": line.name,
            "x": list(line.x),
            "y": list(line.y),
            "mode": "lines+markers",
        }
        if figure.steps:
            trace |= {"mode": "lines", "line": {"shape": "hv"}}
        if line.low:
            trace["error_y"] = {
                "type": "data",
                "symmetric": False,
                "array": [h - y for h, y in zip(line.high, line.y, strict=True)],
                "arrayminus": [y - low for low, y in zip(line.low, line.y, strict=True)],
            }
        data.append(trace)
    x: dict[str, Any] = {"title": {"text": figure.x}}
    if figure.ladder:
        x |= {
            "type": "log",
            "autorange": "reversed",
            "tickvals": _ticks(figure),
            "ticktext": [f"{t:.3g}" for t in _ticks(figure)],
        }
    shapes = [] if figure.level is None else [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": figure.level, "y1": figure.level, "line": {"dash": "dot"}}
    ]  # fmt: skip
    return {"data": data, "layout": {**common, "xaxis": x, "yaxis": {"title": {"text": figure.y}}, "shapes": shapes}}
