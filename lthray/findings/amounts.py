"""Numbers of verdicts as they are written: in per cent, in points, as a factor."""

import math
from collections.abc import Callable, Sequence

from lthray.findings.evidence import Evidence

NONE = "–"  # a cell without a number

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


def amount(evidence: Evidence) -> Shown:
    """Return how differences between networks are written: in per cent, or in points."""
    return points if evidence.accurate else percent


def listed(densities: Sequence[float]) -> str:
    """Return densities as text, in their order."""
    return ", ".join(f"{d:.4g}" for d in densities)


def joined(names: Sequence[str]) -> str:
    """Return the names of dense networks as text, or "none"."""
    return " and ".join(names) or "none"
