"""Figures as data: curves, matrices, intervals, and what another library has drawn.

They are drawn by lthray.findings.sheets into files and pages, and by lthray.findings.traces into
pages where one can point at them.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from lthray.findings.stats import t_interval

DENSITY = "density of the prunable weights"
SLACK = 0.04  # of an axis, that is left empty at each of its ends
REACH = 1.5  # spreads of means by which intervals widen an axis, at most
TICKS = 8  # labels of a ladder, at most


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
        last = 0.0
        for x in sorted({x for line in self.lines for x in line.x}):
            if x >= 2 * last:
                marks.append(x)
                last = x
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

    sheets: Mapping[str, bytes] = field(repr=False)
    """End of a file's name, such as .png -> the file."""
    plotly: Mapping[str, Any] = field(repr=False)
    """Its data and layout, as plotly has them in JSON."""
    height: int = 430
    """Pixels on a page."""


@dataclass(frozen=True)
class Interval:
    """A mean with its interval."""

    name: str
    mean: float
    low: float
    high: float
    holds: bool
    """Whether the claim on it holds."""


@dataclass(frozen=True)
class Intervals:
    """Means with their intervals, a row each, beside the border that tests compare them with."""

    x: str
    rows: Sequence[Interval]
    border: float

    @property
    def ends(self) -> tuple[float, float]:
        """Ends of the axis: an interval much wider than what means differ by leaves the figure."""
        means = [self.border, *map(attrgetter("mean"), self.rows)]
        low, high = min(means), max(means)
        most = REACH * (high - low or 1.0)
        least = min(low, *map(attrgetter("low"), self.rows))
        largest = max(high, *map(attrgetter("high"), self.rows))
        left, right = max(least, low - most), min(largest, high + most)
        slack = SLACK * (right - left or 1.0)
        return left - slack, right + slack


Figure = Lines | Heat | Intervals | Drawn
