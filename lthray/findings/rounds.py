"""Readings of rounds: the numbers of networks by which verdicts are given."""

import math
import statistics
from collections.abc import Iterable, Mapping

from lthray.core import metrics
from lthray.core.record import Round

MARGIN = 0.01  # of the dense loss, fixed before any run
POINTS = 0.005  # of accuracy, likewise, for classifiers
BORDER = 2  # standard errors around the margin within which one seed decides nothing
CERTAIN = 1.645  # standard errors of the evaluation: one-sided 95 %
EXTRACTOR = "lenet"  # feature extractor whose KID is judged


Rounds = Mapping[int, Round]
"""Seed -> round."""


def differences(first: Rounds, second: Rounds, metric: str) -> dict[int, float]:
    """Return by seed how much worse the first network is than the second, by the `metric` that
    decides.

    It is the logarithm of the ratio of their held-out losses or, of classifiers, the accuracy that
    is lost. A seed without a finite number of both has none.
    """
    found = {}
    for seed, r in first.items():
        a, b = _value(r, metric), _value(second.get(seed), metric)
        if math.isfinite(a) and math.isfinite(b):
            found[seed] = b - a if metric == metrics.ACCURACY.name else math.log(a / b)
    return found


def _value(r: Round | None, metric: str) -> float:
    """Return a metric of a round; nan where there is none."""
    return r.metrics.get(metric, math.nan) if r else math.nan


def kid_of(sampler: str) -> str:
    """Return the name of the KID by which samples of `sampler` are judged."""
    return metrics.KID.of(sampler=sampler, extractor=EXTRACTOR)


def samplers_of(rounds: Iterable[Round]) -> list[str]:
    """Return the samplers whose KID was taken of any of the rounds, by name."""
    names: set[str] = set()
    for r in rounds:
        names.update(r.metrics)
    samplers, pattern = set(), metrics.KID.pattern
    for name in names:
        kid = pattern.fullmatch(name)
        if kid and kid["extractor"] == EXTRACTOR:
            samplers.add(kid["sampler"])
    return sorted(samplers)


def values_of(rounds: Iterable[Round], metric: str) -> list[float]:
    """Return a metric of the rounds that have it."""
    return [r.metrics[metric] for r in rounds if metric in r.metrics]


def share_of_all(rounds: Iterable[Round]) -> float:
    """Return the share of all parameters that networks keep, mean over the rounds; nan of none."""
    shares = values_of(rounds, metrics.TOTAL.name)
    return statistics.fmean(shares) if shares else math.nan


def pairs_of(
    first: Mapping[int, Round], second: Mapping[int, Round], metric: str
) -> list[tuple[float, float]]:
    """Return a metric of two networks per seed of the second, where both have it."""
    pairs = []
    for seed, r in second.items():
        a, b = first[seed].metrics.get(metric), r.metrics.get(metric)
        if a is not None and b is not None:
            pairs.append((a, b))
    return pairs


def heldout_curve(r: Round) -> list[tuple[float, float]]:
    """Return the points (step, held-out loss) along the training of a round."""
    return [(step, loss) for step, _, loss, *_ in r.curve]


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """Return by seed the first number less the second, where both are there."""
    return {seed: value - second[seed] for seed, value in first.items() if seed in second}


def worse(r: Round) -> tuple[float, float]:
    """Return by how much a round is worse than its own dense network, and the standard error of the
    evaluation.

    Of a classifier it is the accuracy lost, else the relative excess of the held-out loss.
    """
    value, error = metrics.EXCESS, metrics.EXCESS_SE
    if metrics.LOST.name in r.metrics:
        value, error = metrics.LOST, metrics.LOST_SE
    return r.metrics[value.name], r.metrics[error.name]


def matches(r: Round) -> bool:
    """Return whether a round is as good as its dense network but for the margin.

    It is a fact about one seed, certain to the error of its evaluation alone.
    """
    difference, error = worse(r)
    return difference + CERTAIN * error < margin_of(r)


def margin_of(r: Round) -> float:
    """Return by how much a round may be worse than its dense network and still match: of the loss,
    or of accuracy."""
    return POINTS if metrics.LOST.name in r.metrics else MARGIN
