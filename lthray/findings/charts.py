"""Curves of verdicts: the arms of a recipe against density."""

from collections.abc import Iterator, Mapping

from lthray.findings.contrasts import CONTRASTS
from lthray.findings.evidence import TICKET, Cell
from lthray.findings.figures import Line
from lthray.prune.controls import CONTROLS


def arms() -> dict[str, str]:
    """Return arm -> label in the order of charts: ticket, what claims need, other controls."""
    labels = {TICKET: "ticket"}
    for contrast in CONTRASTS:
        labels[contrast.control] = CONTROLS[contrast.control].label
    for control, row in CONTROLS.items():
        labels.setdefault(control, row.label)
    return labels


def excess_by_density(cells: Mapping[float, Cell], arm: str) -> dict[float, list[float]]:
    """Return density -> excess of an arm over dense, one number per seed, where it was trained."""
    points = {}
    for density, cell in cells.items():
        values = list(cell.excess(arm).values())
        if values:
            points[density] = values
    return points


def excess_lines(cells: Mapping[float, Cell], ending: str) -> Iterator[Line]:
    """Yield a curve for each arm of a recipe: mean over seeds with its 95 % interval.

    Each is named by the arm's label and `ending`.
    """
    for arm, label in arms().items():
        points = excess_by_density(cells, arm)
        if points:
            yield Line.over(f"{label}{ending}", points)
