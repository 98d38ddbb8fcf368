"""Readings of rounds: the numbers of networks by which verdicts are given."""

import math
import statistics
from collections.abc import Iterable, Mapping

from lthray.core import metrics
from lthray.core.record import Round

EXTRACTOR = "lenet"  # feature extractor whose KID is judged


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
