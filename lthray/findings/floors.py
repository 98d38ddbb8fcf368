"""Floors: what chance alone does to a metric, what a margin is worth, how fast tickets learn."""

import math
import statistics as plain
from itertools import combinations

from lthray.core import metrics
from lthray.core.record import Round
from lthray.findings import stats as st
from lthray.findings.evidence import Cell, Evidence
from lthray.findings.rounds import (
    Rounds,
    differences,
    heldout_curve,
    kid_of,
    pairs_of,
    samplers_of,
    values_of,
)

PART = 3  # the margin of a KID is this part of what the second half of the training gains
LOUD = 3  # standard deviations of A/A that this gain must exceed, or the KID has no power


def same(evidence: Evidence) -> dict[int, float]:
    """Return by seed how much worse a second dense network is than the first one (A/A)."""
    return differences(evidence.again, evidence.dense, evidence.deciding)


def floor_of(evidence: Evidence, metric: str) -> float:
    """Return the 95 % quantile of a metric's difference between dense networks: chance alone.

    Pairs are dense networks that differ in the stream alone, and those of different seeds. Of a
    loss the difference is relative. The quantile is corrected for networks that stand in several
    pairs. 0 where no two networks have the metric.
    """
    relative = metric == metrics.HELDOUT.name
    found = []
    for one, other in _dense_pairs(evidence):
        a, b = one.metrics.get(metric), other.metrics.get(metric)
        if a is not None and b is not None:
            found.append((a - b) / b if relative else a - b)
    if not found:
        return 0.0
    return st.noise_floor(found) / st.dependence(len(evidence.dense), len(evidence.again))


def _dense_pairs(evidence: Evidence) -> list[tuple[Round, Round]]:
    pairs = []
    for seed, r in evidence.again.items():
        if seed in evidence.dense:
            pairs.append((r, evidence.dense[seed]))
    return pairs + list(combinations(evidence.dense.values(), 2))


def kid_margin(evidence: Evidence, sampler: str) -> float | None:
    """Return by how much a ticket's KID may be larger: a third of what a dense network gains from
    half the steps to all of them.

    None where that gain was not measured on two seeds, or lies below three standard deviations of
    A/A: the metric then has no power here and decides nothing.
    """
    kid = kid_of(sampler)
    half = evidence.budgets.get(evidence.steps // 2, {})
    gained = _changes(half, evidence.dense, kid)
    noise = _changes(evidence.dense, evidence.again, kid)
    if len(gained) < 2 or len(noise) < 2:
        return None
    gain = plain.fmean(gained)
    return gain / PART if gain > LOUD * plain.stdev(noise) else None


def _changes(first: Rounds, second: Rounds, metric: str) -> list[float]:
    """Return by seed a metric of the first network less that of the second, where both have it."""
    shared = {seed: r for seed, r in second.items() if seed in first}
    return [a - b for a, b in pairs_of(first, shared, metric)]


def samplers(cell: Cell) -> list[str]:
    """Return the samplers whose KID was taken of the tickets."""
    return samplers_of(cell.tickets.values())


def all_samplers(evidence: Evidence) -> list[str]:
    """Return the samplers whose KID was taken of any dense network or ticket."""
    rounds = list(evidence.dense.values())
    for cell in evidence.cells:
        rounds += cell.tickets.values()
    return samplers_of(rounds)


def speed(evidence: Evidence, cell: Cell) -> dict[int, float]:
    """Return by seed a ticket's steps to its dense network's last loss, over the network's own.

    inf where a ticket never is. Both curves are of the same part of the evaluation set.
    """
    ratios = {}
    for seed, r in cell.tickets.items():
        dense, ticket = heldout_curve(evidence.dense[seed]), heldout_curve(r)
        if dense and ticket:
            target = dense[-1][1]
            ratios[seed] = st.steps_to(ticket, target) / st.steps_to(dense, target)
    return ratios


def worth(evidence: Evidence, margin: float) -> float:
    """Return the share of its last steps in which a dense network gains the margin, on average.

    nan where no curve was recorded.
    """
    shares = []
    for r in evidence.dense.values():
        if r.curve:
            shares.append(st.step_equivalent(heldout_curve(r), margin))
    return plain.fmean(shares) if shares else math.nan


def lead(evidence: Evidence, name: str) -> float:
    """Return by how much the given network `name` is worse than the mean of the dense ones.

    It is relative loss, or accuracy of a classifier.
    """
    value = evidence.given[name].metrics[evidence.deciding]
    others = values_of(evidence.dense.values(), evidence.deciding)
    if evidence.accurate:
        return plain.fmean(other - value for other in others)
    return plain.fmean(value / other - 1 for other in others)


def lead_in_samples(evidence: Evidence, name: str) -> dict[str, float]:
    """Return sampler -> KID of the given network `name`, less the mean of the dense ones."""
    own, behind = evidence.given[name].metrics, {}
    for sampler in all_samplers(evidence):
        kids = values_of(evidence.dense.values(), kid_of(sampler))
        if kid_of(sampler) in own and kids:
            behind[sampler] = own[kid_of(sampler)] - plain.fmean(kids)
    return behind
