"""Phrases of verdicts: what stands beside claims, whatever they are."""

import math
import statistics as plain
from collections.abc import Sequence

from lthray.config.parts import Data
from lthray.core import metrics
from lthray.core.record import Round
from lthray.findings import floors
from lthray.findings import stats as st
from lthray.findings.comparators import converged, gains, is_converged, reference
from lthray.findings.contrasts import COMPUTE, CONVERGED
from lthray.findings.evidence import Cell, Evidence
from lthray.findings.formats import UNITS, Shown, percent, plural, points


def amount(evidence: Evidence) -> Shown:
    """Return how differences between networks are written: in per cent, or in points."""
    return points if evidence.accurate else percent


def images_of(evidence: Evidence) -> str:
    """Return the name of a setting's data set."""
    name: str = evidence.words.get("data.name", Data().name)
    return name


def rival_names(evidence: Evidence) -> dict[str, str]:
    """Return what sentences call the dense networks that are not a ticket's own."""
    steps = reference(evidence)
    longest = f"the longest trained dense network ({steps} steps, not shown to be converged)"
    if converged(evidence):
        longest = f"the converged dense network ({steps} steps)"
    return {COMPUTE: "a dense network of equal compute", CONVERGED: longest}


def average(values: Sequence[float], shown: Shown) -> str:
    """Return the mean of the differences of seeds and, of two or more, its 95 % interval and p."""
    mean = f"{shown(plain.fmean(values))} on average"
    if len(values) < 2:
        return mean
    low, high = st.t_interval(values)
    return f"{mean} [{shown(low)}, {shown(high)}], p {st.t_test(values):.2g}"


def noise(evidence: Evidence) -> list[str]:
    """Return what chance alone does, where a second dense network was trained."""
    same = list(floors.same(evidence).values())
    if not same:
        return []
    shown = amount(evidence)
    floor = floors.floor_of(evidence, evidence.deciding)
    mean = average(same, shown)
    most = max(map(abs, same))
    return [
        f"Two dense networks of one seed on two streams differ by {mean}, and by "
        f"{shown(most)[1:]} at most ({plural(len(same), 'seed')}); any two dense networks differ "
        f"by less than {100 * floor:.2f}{UNITS[evidence.accurate]} in 95 %."
    ]


def gain_of(evidence: Evidence, changes: Sequence[float]) -> str:
    """Return what twice the steps gain a dense network, given by seed, with its upper bound."""
    mean, bound = plain.fmean(changes), st.upper_bound(changes)
    if evidence.accurate:
        return f"{points(mean)} of accuracy (< {points(bound)})"
    return f"{-math.expm1(-mean):.1%} (< {-math.expm1(-bound):.1%})"


def budget_line(evidence: Evidence) -> str:
    """Return whether the dense network is converged."""
    changes = gains(evidence, evidence.steps)
    if len(changes) < 2:
        return (
            "Whether the dense network is converged was not measured: "
            "a verdict at this training budget."
        )
    gain = gain_of(evidence, changes)
    label = converged_label(is_converged(evidence, evidence.steps))
    return f"Twice the steps gain the dense network {gain}, {len(changes)} seeds: {label}."


def converged_label(is_converged: bool | None) -> str:
    """Return the words for a dense network that is, or is not, converged."""
    return "converged" if is_converged else "NOT CONVERGED, which flatters tickets"


def older(evidence: Evidence, cell: Cell) -> list[str]:
    """Return whether a ticket's weights have seen more optimizer steps than its dense network's."""
    seen = [r.metrics.get(metrics.STEPS_OF_WEIGHTS.name, 0) for r in cell.tickets.values()]
    steps = max(seen, default=0)
    if steps <= evidence.steps:
        return []
    return [f"their weights have seen {steps:.0f} steps, which flatters tickets"]


def given(evidence: Evidence, name: str, r: Round) -> str:
    """Return how a trained network that was given stands beside the dense ones."""
    what = "accuracy lost" if evidence.accurate else "loss"
    size = r.metrics[metrics.PARAMETERS.name]
    return (
        f"Beside them, {name} ({size:,.0f} parameters, measured as it was given): "
        f"{what} {100 * floors.lead(evidence, name):+.1f}{UNITS[evidence.accurate]} against the "
        "dense networks."
    )
