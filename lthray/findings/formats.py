"""Formats: how numbers, densities and lists of names are written in sentences and tables."""

import math
from collections.abc import Callable, Sequence

NONE = "–"  # a cell without a number

UNITS = {True: " points", False: "%"}
"""Whether accuracy decides -> unit in which differences are written, after a number."""

Shown = Callable[[float], str]


def percent(ratio: float) -> str:
    """Return a log-ratio as a change in per cent."""
    return f"{math.expm1(ratio):+.1%}"


def points(lost: float) -> str:
    """Return accuracy that is lost, in percentage points."""
    return f"{100 * lost:+.1f} points"


def number(difference: float) -> str:
    """Return a difference of two KIDs."""
    return f"{difference:+.3f}"


def times(ratio: float) -> str:
    """Return a log-ratio as a factor."""
    return f"x{math.exp(ratio):.2f}"


def joined(names: Sequence[str]) -> str:
    """Return the names of dense networks as text, or "none"."""
    return " and ".join(names) or "none"


def series(texts: Sequence[str]) -> str:
    """Return texts as a list in a sentence: a, b and c."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def listed(densities: Sequence[float]) -> str:
    """Return densities as text, in their order."""
    return ", ".join(f"{d:.4g}" for d in densities)


def plural(count: int, noun: str) -> str:
    """Return how many there are of what a noun names: 1 seed, 5 seeds."""
    return f"{count} {noun}{'s' * (count != 1)}"
