"""Figures as plotly has them: data and layout, for a page where one can point at what is drawn."""

from dataclasses import astuple
from typing import Any

import numpy as np

from lthray.findings.figures import Drawn, Figure, Heat, Intervals, Line, Lines

# blue below zero and red above, as in the files; plotly's own scale of the name runs the other way
SCALE = [[0, "#2166ac"], [0.25, "#92c5de"], [0.5, "#f7f7f7"], [0.75, "#f4a582"], [1, "#b2182b"]]
SYMBOLS = {True: "circle", False: "circle-open"}  # of a claim that holds, and of another
MARGIN = {"l": 60, "r": 20, "t": 20, "b": 50}  # pixels around a figure on a page


def traces(figure: Figure) -> dict[str, Any]:
    """Return the figure as plotly's data and layout."""
    if isinstance(figure, Drawn):
        return {**figure.plotly}
    if isinstance(figure, Intervals):
        drawn = _interval_traces(figure)
    else:
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


def _interval_traces(figure: Intervals) -> dict[str, Any]:
    names, means, lows, highs, holds = zip(*map(astuple, figure.rows), strict=True)
    marks: dict[str, Any] = {"type": "scatter", "mode": "markers"}
    marks |= {"x": list(means), "y": list(names)}
    marks["marker"] = {"symbol": list(map(SYMBOLS.__getitem__, holds))}
    above = np.subtract(highs, means).tolist()
    below = np.subtract(means, lows).tolist()
    marks["error_x"] = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    border = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"dash": "dot"}}
    border |= {"x0": figure.border, "x1": figure.border}
    layout = {
        "xaxis": {"title": {"text": figure.x}, "range": list(figure.ends)},
        "yaxis": {"type": "category", "autorange": "reversed"},
        "shapes": [border],
    }
    return {"data": [marks], "layout": layout}
