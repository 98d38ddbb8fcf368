"""Robustness at matched clean error: is a ticket as robust as a dense network that is as good?

A worse denoiser looks more robust, for its error under stress is a smaller multiple of its clean
error. So each network is set beside dense networks of its seed that were trained for fewer and for
more steps. Through them runs a line, log e_stress on log e_clean, and what is compared is

    delta = log e_stress - line(log e_clean),

where e_stress is the geometric mean over severities. Nothing is said of a network whose clean error
lies outside of theirs, or that stands beside fewer than ten.

    not less robust to X    the mean of delta over seeds lies below log 1.05
    more robust to X        it lies below 0
    X robust by chance      a second dense network is more robust: a negative control, and false

An attack that fails one of its checks says nothing of its network: a dense network is no anchor
then, and a ticket's seed has no value, so that no claim on the tickets holds. No seed has a value
under two kinds of stressors. One is not calibrated: the dense network of .6 of the steps is not
shown to be as robust as that of all steps, each at its own clean error. The other is too weak:
where hardly any harm is done, every network bears it, and a comparison has no assay sensitivity
(ICH E10, 2000).
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from lthray.config.stressors import STRESSES
from lthray.core import metrics
from lthray.core.record import Round
from lthray.findings.evidence import Evidence
from lthray.findings.registry import Statement
from lthray.findings.rounds import Rounds
from lthray.findings.stats import t_interval

LESS = math.log(1.05)  # from which a network is called less robust
LEVEL = 0.05  # of each of the two tests by which a stressor is calibrated
HARM = 3 * LESS  # of log error, by which a stressor that tells anything harms the dense network
SHORTER = 0.6  # share of the steps of the dense network that calibrates
ANCHORS = 10  # dense networks beside each, at least
ABOVE_RANDOM = 2.0  # standard errors by which an attack must be stronger than noise
LONGER = 1.02  # times by which more steps may strengthen it
DESTROYED = 2.0  # times the clean error that one without bounds must reach


def not_less(stressor: str) -> str:
    """Return the name of the claim that tickets are not less robust."""
    return f"not less robust to {stressor}"


def more(stressor: str) -> str:
    """Return the name of the claim that tickets are more robust."""
    return f"more robust to {stressor}"


def by_chance(stressor: str) -> str:
    """Return the name of the claim that a second dense network is more robust, which is false."""
    return f"robust by chance to {stressor}"


def severities(r: Round, stressor: str) -> list[float]:
    """Return the error of a network at each severity of a stressor; none where not measured."""
    row = STRESSES[stressor]
    names = [metrics.STRESSED.of(stressor=stressor, severity=f"{s:g}") for s in row.severities]
    return [r.metrics[name] for name in names if name in r.metrics]


def logs(r: Round, stressor: str) -> tuple[float, float] | None:
    """Return the logs of the clean error and of that under a stressor.

    None where they are not measured, or an attack is not valid.
    """
    errors, clean = severities(r, stressor), r.metrics.get(metrics.CLEAN_ERROR.name)
    if clean is None or not errors or min(errors) <= 0:
        return None
    if STRESSES[stressor].attack and faults(r):
        return None
    return math.log(clean), float(np.log(errors).mean())


def measured(evidence: Evidence) -> bool:
    """Return whether robustness was measured in a setting."""
    return any(metrics.CLEAN_ERROR.name in r.metrics for r in evidence.dense.values())


def anchors(
    evidence: Evidence, seed: int, stressor: str, without: int = 0
) -> list[tuple[float, float]]:
    """Return the logs of all dense networks of a seed, but for the one of `without` steps."""
    found = []
    for steps, dense in sorted(evidence.budgets.items()):
        point = logs(dense[seed], stressor) if seed in dense and steps != without else None
        found += [point] if point else []
    return found


def delta(point: tuple[float, float], beside: Sequence[tuple[float, float]]) -> float:
    """Return by how much a network lies above the line through dense ones; nan where there are too
    few, or its clean error lies outside of theirs."""
    if len(beside) < ANCHORS:
        return math.nan
    clean, stressed = np.array(beside).T
    if not clean.min() <= point[0] <= clean.max():
        return math.nan
    slope, level = np.polyfit(clean - clean.mean(), stressed, 1)
    return float(point[1] - level - slope * (point[0] - clean.mean()))


def deltas(evidence: Evidence, rounds: Rounds, stressor: str, without: int = 0) -> dict[int, float]:
    """Return by seed how much less robust a network is than a dense one that is as good."""
    found = {}
    for seed, r in rounds.items():
        point = logs(r, stressor)
        if point:
            found[seed] = delta(point, anchors(evidence, seed, stressor, without))
    return found


def faults(r: Round) -> list[str]:
    """Return why attacks on a network say nothing; empty where they do."""
    names = (metrics.OVER_RANDOM, metrics.LONGER_ATTACK, metrics.HUGE_ATTACK)
    values = [r.metrics.get(metric.name) for metric in names]
    if None in values:
        return ["not measured"]
    over, longer, huge = (float(value) for value in values if value is not None)
    errors = severities(r, "l2")
    checks = {
        "its error does not grow with the radius": errors == sorted(errors),
        "it is no stronger than random noise": over > ABOVE_RANDOM,
        "more steps strengthen it": longer <= LONGER,
        "without bounds it does not destroy": huge > DESTROYED,
        "the dense network's attack is stronger": (
            r.metrics.get(metrics.TRANSFERRED.name, 0.0) <= errors[1]
        ),
    }
    return [fault for fault, holds in checks.items() if not holds]


def silent(evidence: Evidence, rounds: Rounds, stressor: str) -> str:
    """Return why no network of several seeds has a value under a stressor."""
    if not any(logs(r, stressor) for r in rounds.values()):
        return "attack invalid" if STRESSES[stressor].attack else "not measured"
    if all(len(anchors(evidence, seed, stressor)) < ANCHORS for seed in rounds):
        return "too few dense networks"
    if not calibrated(evidence, stressor):
        return "not calibrated"
    if not harms(evidence, stressor):
        return "too weak to tell"
    return "no dense network is as good"


def statements(evidence: Evidence, margin: float) -> Iterator[Statement]:
    """Yield the claims on the robustness of a setting's tickets, where it was measured.

    `margin` is that of the verdict; robustness has its own.
    """
    if not measured(evidence):
        return
    for stressor in STRESSES:
        yield from _on(evidence, stressor)


def _on(evidence: Evidence, stressor: str) -> Iterator[Statement]:
    """Yield the claims on one stressor; of one that is not calibrated or too weak, no seed has a
    value."""
    decides = calibrated(evidence, stressor) and harms(evidence, stressor)

    def values(rounds: Rounds) -> dict[int, float]:
        return deltas(evidence, rounds, stressor) if decides else {}

    if evidence.again:
        twins = values(evidence.again)
        yield Statement(by_chance(stressor), evidence.place(), twins, len(evidence.again))
    for recipe in evidence.recipes:
        for density, cell in evidence.ladder(recipe):
            at = evidence.place(recipe, density)
            found = values(cell.tickets)
            yield Statement(not_less(stressor), at, found, cell.planned, LESS)
            yield Statement(more(stressor), at, found, cell.planned)


def harms(evidence: Evidence, stressor: str) -> bool:
    """Return whether a stressor harms the dense network enough, as the mean over seeds.

    One that acts on sampling moves pictures, which has no clean error to be compared with.
    """
    points = filter(None, [logs(r, stressor) for r in evidence.dense.values()])
    harm = [stressed - clean for clean, stressed in points]
    return STRESSES[stressor].sampled or sum(harm) >= HARM * max(len(harm), 1)


def calibrated(evidence: Evidence, stressor: str) -> bool:
    """Return whether dense networks of .6 and of all steps are shown to be as robust as each other,
    at the error that each has, by two one-sided tests (Schuirmann 1987)."""
    gaps = calibration(evidence, stressor)
    if len(gaps) < 2:
        return False
    low, high = t_interval(gaps, 1 - 2 * LEVEL)
    return low > -LESS and high < LESS


def calibration(evidence: Evidence, stressor: str) -> list[float]:
    """Return for each seed by how much the dense network of all steps is less robust than that of
    .6 of the steps, each at its own clean error."""
    shorter = round(SHORTER * evidence.steps)
    one = deltas(evidence, evidence.budgets.get(shorter, {}), stressor, shorter)
    other = deltas(evidence, evidence.dense, stressor, evidence.steps)
    gaps = [other[seed] - one[seed] for seed in one if seed in other]
    return list(filter(math.isfinite, gaps))
