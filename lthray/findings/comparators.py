"""Comparators: the networks that a ticket is set beside, and by how much it is worse than each.

A ticket that was found at S training steps stands beside three dense networks: its own of S steps,
one of equal compute, and the converged one. Converged is the shortest training budget at which
twice the steps gain less than 3 %, by the upper 95 % bound of the gain over seeds. Where no budget
that was recorded is so long, the longest stands for it. Controls say what a ticket's mask and its
initial weights are worth.
"""

import math

from lthray.findings import stats as st
from lthray.findings.contrasts import (
    COMPUTE,
    CONTRASTS,
    CONVERGED,
    EQUAL_COMPUTE,
    NEEDED,
    OWN,
    SECOND_DRAW,
    Contrast,
)
from lthray.findings.evidence import Cell, Evidence
from lthray.findings.rounds import POINTS, Rounds, differences

GAIN = 0.03  # of the loss: a dense network that twice the steps improve by more is undertrained


def gains(evidence: Evidence, steps: int) -> list[float]:
    """Return by seed what twice the `steps` gain a dense network; see `differences`."""
    now, later = evidence.budgets[steps], evidence.budgets.get(2 * steps, {})
    return list(differences(now, later, evidence.deciding).values())


def is_converged(evidence: Evidence, steps: int) -> bool | None:
    """Return whether twice the `steps` are shown to gain too little to matter.

    None where twice the steps were not trained on two seeds.
    """
    gained = gains(evidence, steps)
    if len(gained) < 2:
        return None
    most = POINTS if evidence.accurate else -math.log(1 - GAIN)
    return st.upper_bound(gained) < most


def converged(evidence: Evidence) -> int | None:
    """Return the shortest training budget that is converged; None where none is."""
    return next(
        (steps for steps in sorted(evidence.budgets) if is_converged(evidence, steps)), None
    )


def reference(evidence: Evidence) -> int:
    """Return the converged budget or, where there is none, the longest of two seeds or more."""
    long = [steps for steps, dense in evidence.budgets.items() if len(dense) > 1]
    return converged(evidence) or max(long, default=evidence.steps)


def rivals(evidence: Evidence, cell: Cell) -> dict[str, Rounds]:
    """Return the dense networks that a ticket is set beside, by name."""
    rounds: dict[str, Rounds] = {OWN: evidence.dense}
    if EQUAL_COMPUTE in cell.planned_arms:
        rounds[COMPUTE] = cell.arms.get(EQUAL_COMPUTE, {})
    if reference(evidence) != evidence.steps:
        rounds[CONVERGED] = evidence.budgets[reference(evidence)]
    return rounds


def controls(cell: Cell) -> dict[Contrast, Rounds]:
    """Return the controls of a ticket that were trained, or were to be."""
    planned = [contrast for contrast in CONTRASTS if contrast.control in cell.planned_arms]
    return {contrast: cell.arms.get(contrast.control, {}) for contrast in planned}


def twins(cell: Cell) -> dict[Contrast, tuple[Rounds, Rounds]]:
    """Return both draws of the controls that were drawn twice, or were to be: negative controls,
    since neither can be better than the other but by chance."""
    found: dict[Contrast, tuple[Rounds, Rounds]] = {}
    for contrast, first in controls(cell).items():
        twin = SECOND_DRAW.format(contrast.control)
        if twin in cell.planned_arms:
            found[contrast] = (first, cell.arms.get(twin, {}))
    return found


def is_controlled(cell: Cell) -> bool:
    """Return whether a ticket has the controls without which nothing is shown of it."""
    return {contrast.control for contrast in NEEDED} <= {c.control for c in controls(cell)}
