"""Figures as matplotlib draws them: a PNG to look at, an SVG for a page, a PDF for a paper."""

from collections.abc import Mapping
from typing import Any

from lthray.findings.drawing import DPI, SIZE, painted
from lthray.findings.figures import Drawn, Figure, Heat, Intervals, Lines

CYCLE = 10  # lines after which matplotlib's colours begin again
DASHES = ("-", "--")  # of the first lines, and of those whose colours begin anew
ROW, MARGINS, LEAST = 0.24, 0.9, 1.6  # inches of a row of intervals, around all, and at least
WIDE, KEY = 120, 8  # letters of a sheet's width, and of the line before a name


def drawn(figure: Figure) -> Mapping[str, bytes]:
    """Return the end of a file's name -> the figure in that format: .png, .svg and .pdf.

    The PNG has 1050 x 630 pixels, or as many more below as there are rows.
    """
    if isinstance(figure, Drawn):
        return figure.sheets

    def draw(plt: Any) -> Any:
        size = SIZE
        if isinstance(figure, Intervals):
            size = (SIZE[0], max(MARGINS + ROW * len(figure.rows), LEAST))
        sheet = plt.figure(figsize=size, dpi=DPI, layout="constrained")
        axes = sheet.add_subplot()
        if isinstance(figure, Intervals):
            _draw_intervals(axes, figure)
            return sheet
        axes.set(xlabel=figure.x, ylabel=figure.y)
        if isinstance(figure, Heat):
            _draw_heat(axes, figure)
        else:
            _draw_lines(axes, figure)
        return sheet

    return painted(draw)


def _draw_lines(axes: Any, figure: Lines) -> None:
    style: dict[str, Any] = {"marker": "o", "markersize": 3}
    band: dict[str, Any] = {"alpha": 0.15, "linewidth": 0}
    if figure.steps:
        style = {"drawstyle": "steps-post"}
        band["step"] = "post"
    for i, line in enumerate(figure.lines):
        dash = DASHES[i // CYCLE % len(DASHES)]
        (drawn,) = axes.plot(line.x, line.y, label=line.name, linestyle=dash, **style)
        if line.low:
            colour = drawn.get_color()
            axes.fill_between(line.x, line.low, line.high, color=colour, **band)
            axes.vlines(line.x, line.low, line.high, color=colour, alpha=0.4)  # a band needs two x
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
    columns = WIDE // (max(len(line.name) for line in figure.lines) + KEY)
    above: dict[str, Any] = {"loc": "outside upper center", "ncols": max(columns, 1)}
    axes.figure.legend(frameon=False, fontsize=8, **above)  # no place among lines is always free


def _draw_heat(axes: Any, figure: Heat) -> None:
    limit = max((abs(v) for row in figure.values for v in row), default=1.0) or 1.0
    image = axes.imshow(figure.values, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit)
    columns, rows = range(len(figure.columns)), range(len(figure.rows))
    axes.set_xticks(columns, figure.columns, rotation=45, ha="right", fontsize=7)
    axes.set_yticks(rows, figure.rows, fontsize=6)
    axes.figure.colorbar(image)


def _draw_intervals(axes: Any, figure: Intervals) -> None:
    """Draw a row for each mean, filled where its claim holds; the first row is at the top."""
    for place, row in enumerate(figure.rows):
        color, face = ("C0", "C0") if row.holds else ("dimgray", "white")
        axes.plot([row.low, row.high], [place, place], color=color, linewidth=1.5)
        axes.plot([row.mean], [place], "o", color=color, markerfacecolor=face, markersize=5)
    axes.axvline(figure.border, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(figure.rows)), [row.name for row in figure.rows], fontsize=8)
    axes.set_ylim(len(figure.rows) - 0.4, -0.6)
    low, high = figure.ends
    axes.set_xlim(low, high)
    axes.set_xlabel(figure.x)
    axes.grid(axis="x", alpha=0.25)
