"""Intervals and tests: pure functions on arrays.

The unit that is repeated is the seed: `x` is one number a seed, most often a paired difference, ticket minus dense.
Images, timesteps and noise are repeats inside one network; they say how well it was measured, and no more.
"""

import math
import warnings
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy  # scipy.stats loads at first use; workers import this module, and use none
from numpy.typing import ArrayLike

Alternative = Literal["less", "greater", "two-sided"]


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Survival(NamedTuple):
    """The share still alive after each time t, with its interval; nan where the interval is undefined."""

    t: np.ndarray
    survival: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def median(self) -> float:
        """The first time by which half are gone, inf where fewer than half ever are."""
        return float(min(self.t[self.survival <= 0.5 + 1e-12], default=math.inf))


def relative_excess(losses: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """mean(losses) / mean(reference) - 1 over paired images, and its standard error by the delta method.

    Both are [images] (or [images, columns], averaged over columns first: an image is the unit that was drawn). The error
    is of the evaluation alone; it says nothing of other seeds.
    """
    a, b = (x.astype(np.float64).reshape(len(x), -1).mean(1) for x in (losses, reference))
    excess = a.mean() / b.mean() - 1
    influence = (a - (1 + excess) * b) / b.mean()
    return float(excess), float(influence.std(ddof=1) / np.sqrt(len(a)))


def image_interval(
    losses: np.ndarray, reference: np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The percentile bootstrap over images of `relative_excess`: the error of evaluating this one network, in pairs.

    Never over seeds: of n seeds it covers .75 (n = 3), .83 (5), .90 (10) instead of .95 (Hesterberg 2015, arXiv 1411.5279).
    """
    data = [np.asarray(x, dtype=np.float64).reshape(len(x), -1).mean(1) for x in (losses, reference)]

    def excess(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return a.mean(axis) / b.mean(axis) - 1

    found = scipy.stats.bootstrap(  # batch: [100, images] in memory
        data, excess, paired=True, confidence_level=level, n_resamples=resamples, batch=100, method="percentile", rng=seed
    )
    return Interval(*map(float, found.confidence_interval))


def t_interval(x: ArrayLike, level: float = 0.95) -> Interval:
    """mean +- t_{(1 + level) / 2, n - 1} s / sqrt(n), of two or more seeds (Student 1908)."""
    mean, error, df = _mean(x)
    half = float(scipy.stats.t.ppf((1 + level) / 2, df)) * error
    return Interval(mean - half, mean + half)


def upper_bound(x: ArrayLike, level: float = 0.95) -> float:
    """mean + t_{level, n - 1} s / sqrt(n): the one-sided bound of the mean."""
    mean, error, df = _mean(x)
    return mean + float(scipy.stats.t.ppf(level, df)) * error


def t_test(x: ArrayLike, alternative: Alternative = "two-sided", *, shift: float = 0.0) -> float:
    """p of the hypothesis that the mean is `shift`, against its being less, greater, or either.

    Equal values leave no doubt: p is 0 or 1 by the side on which they lie, and on `shift` itself .5, or 1 of two sides.
    """
    mean, error, df = _mean(_seeds(x) - shift)
    t = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    tail = {"less": t, "greater": -t, "two-sided": -abs(t)}[alternative]
    return float(scipy.stats.t.cdf(tail, df)) * (2 if alternative == "two-sided" else 1)


def sign_flip(x: ArrayLike, alternative: Alternative = "two-sided", *, shift: float = 0.0) -> float:
    """p of the mean among those of all 2^n flips of the signs of x - shift (Fisher 1935): exact under symmetry alone.

    Of one side no less than 2^-n: .125 for 3 seeds, .0625 for 4, .03125 for 5. Above 16 seeds, 2^16 flips at random.
    """
    found = scipy.stats.permutation_test(
        (_seeds(x) - shift,), np.mean, permutation_type="samples", n_resamples=2**16, alternative=alternative, rng=0
    )
    return float(found.pvalue)


def non_inferior(differences: ArrayLike, margin: float, *, alpha: float = 0.05) -> bool:
    """Is the upper one-sided 1 - alpha bound of the mean difference below the margin? With margin 0: superior."""
    return upper_bound(differences, 1 - alpha) < margin


def fixed_sequence(passed: Sequence[bool]) -> int:
    """How many hypotheses, in an order set beforehand, are confirmed before the first that is not.

    Each at alpha, all of them together at alpha, without correction (Maurer et al. 1995).
    """
    return sum(1 for _ in takewhile(bool, passed))


def holm(p: ArrayLike) -> np.ndarray:
    """Adjusted p, in the order given: max over j <= i of (m - j + 1) p_(j), at most 1 (Holm 1979)."""
    p = np.asarray(p, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values lie between 0 and 1, not {p}")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def jeffreys(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Quantiles of Beta(x + 1/2, n - x + 1/2); the lower end is 0 at x = 0, the upper 1 at x = n (Brown et al. 2001)."""
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is not a share")
    low, high = scipy.stats.beta.ppf([(1 - level) / 2, (1 + level) / 2], successes + 0.5, n - successes + 0.5)
    return Interval(float(low) if successes else 0.0, float(high) if successes < n else 1.0)


def clopper_pearson(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """The exact interval of a share: it covers at least `level` of the time, whatever the share (Clopper, Pearson 1934)."""
    return Interval(*map(float, scipy.stats.binomtest(successes, n).proportion_ci(level, method="exact")))


def newcombe(x1: int, n1: int, x2: int, n2: int, *, level: float = 0.95) -> Interval:
    """p1 - p2 -+ the hypotenuse of the two Wilson intervals' sides that face that way (Newcombe 1998, method 10)."""
    counts = ((x1, n1), (x2, n2))
    (l1, u1), (l2, u2) = (scipy.stats.binomtest(x, n).proportion_ci(level, method="wilson") for x, n in counts)
    p1, p2 = x1 / n1, x2 / n2
    return Interval(p1 - p2 - math.hypot(p1 - l1, u2 - p2), p1 - p2 + math.hypot(u1 - p1, p2 - l2))


def effective_size(groups: Sequence[Sequence[float]]) -> float:
    """How many independent outcomes as many dependent ones are worth: N / (1 + (m - 1) ICC), m their mean number a group.

    ICC by one-way analysis of variance (Kish 1965), between 0 and 1; one group, or groups of one, are worth N.
    """
    sizes = np.array([len(group) for group in groups], dtype=np.float64)
    total, k = sizes.sum(), len(groups)
    if k < 2 or total == k:
        return float(total)
    means, grand = np.array([np.mean(group) for group in groups]), np.mean(np.concatenate([np.asarray(g) for g in groups]))
    between = (sizes * (means - grand) ** 2).sum() / (k - 1)
    within = sum(((np.asarray(g) - m) ** 2).sum() for g, m in zip(groups, means, strict=True)) / (total - k)
    size = (total - (sizes**2).sum() / total) / (k - 1)
    spread = between + (size - 1) * within
    icc = min(max((between - within) / spread, 0.0), 1.0) if spread else 1.0
    return float(total / (1 + (total / k - 1) * icc))


def kaplan_meier(times: ArrayLike, observed: ArrayLike, *, level: float = 0.95) -> Survival:
    """The share of trajectories that still match, over sparsity (Kaplan, Meier 1958), with the log-log Greenwood interval.

    `times` [trajectories]: the sparsity that failed first, or, where not `observed`, the last that was tried (censored).
    The interval is undefined (nan) before the first failure, and when none is left.
    """
    alive = scipy.stats.ecdf(_censored(times, observed)).sf
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # it warns of the nan
        low, high = alive.confidence_interval(level, method="log-log")
    return Survival(alive.quantiles, alive.probabilities, low.probabilities, high.probabilities)


def logrank(times_a: ArrayLike, observed_a: ArrayLike, times_b: ArrayLike, observed_b: ArrayLike) -> float:
    """Two-sided p that two arms survive alike (Mantel 1966); 1 where nothing failed while both were at risk."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p = float(scipy.stats.logrank(_censored(times_a, observed_a), _censored(times_b, observed_b)).pvalue)
    return 1.0 if math.isnan(p) else p


def noise_floor(differences: ArrayLike, q: float = 0.95) -> float:
    """The q-quantile of |differences| of a metric between pairs that differ in nothing that matters (A/A)."""
    return float(np.quantile(np.abs(differences), q))


def steps_to(curve: ArrayLike, target: float) -> float:
    """The first step at which a curve [points, (step, loss)] is down to the target; inf if never (right-censored).

    On the running minimum, log loss linear in log step between points. Before the first point nothing is known: a curve
    that begins at or below the target gives its first step, an upper bound.
    """
    curve = np.asarray(curve, dtype=np.float64)
    steps, loss = curve.T
    if not (np.isfinite(loss) & (loss > 0) & (np.diff(steps, prepend=0) > 0)).all():
        raise ValueError(f"a curve has rising steps above 0 and losses above 0, not {curve}")
    best = np.minimum.accumulate(loss)
    if best[-1] > target:
        return math.inf
    at = int(np.argmax(best <= target))
    span = [at, max(at - 1, 0)]  # np.interp wants rising losses
    return float(np.exp(np.interp(np.log(target), np.log(best[span]), np.log(steps[span]))))


def step_equivalent(curve: ArrayLike, margin: float) -> float:
    """1 - s / S, where a dense run of S steps first had 1 + margin times its last loss at s: the steps a margin is worth.

    `curve` as of `steps_to`. A lower bound where the curve begins at or below that loss; and where the rate decays, since
    a run planned to end at s would have been lower there than one passing by.
    """
    last, loss = np.asarray(curve, dtype=np.float64)[-1]
    return float(1 - steps_to(curve, loss * (1 + margin)) / last)


def _seeds(x: ArrayLike) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(f"a mean over seeds needs two or more finite values, not {x}")
    return x


def _mean(x: ArrayLike) -> tuple[float, float, int]:
    """Mean, standard error, degrees of freedom; taken from the first value, so equal ones have an error of exactly 0."""
    x = _seeds(x)
    rest = x - x[0]
    return float(x[0] + rest.mean()), float(rest.std(ddof=1) / math.sqrt(len(x))), len(x) - 1


def _censored(times: ArrayLike, observed: ArrayLike) -> Any:
    return scipy.stats.CensoredData.right_censored(times, ~np.asarray(observed, dtype=bool))
