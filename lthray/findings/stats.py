"""Intervals and tests: pure functions on arrays.

The unit of replication is the seed: `x` holds one number per seed, most often a paired difference,
ticket minus dense. Images, timesteps and noise are repeats inside one network: they say how well it
was measured, and no more.
"""

import math
import warnings
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy  # scipy.stats loads at first use; workers import this module, and use none
from numpy.typing import ArrayLike

ALPHA = 0.05  # level of everything that a page claims
STUDIES = 4000  # simulated ones, behind `dependence`

Alternative = Literal["less", "greater", "two-sided"]


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Survival(NamedTuple):
    """Share still alive after each time t, with its interval; nan where that is undefined."""

    t: np.ndarray
    survival: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def median(self) -> float:
        """First time by which half are gone; inf where fewer than half ever are."""
        half_gone = self.t[self.survival <= 0.5 + 1e-12]
        return float(min(half_gone, default=math.inf))


def relative_excess(losses: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Return mean(losses) / mean(reference) - 1 over images, and its standard error (delta method).

    Both arrays are [images], or [images, columns] and averaged over columns first: an image is the
    unit that was drawn. The error is that of the evaluation alone; it says nothing of other seeds.
    """
    a, b = _image_means(losses), _image_means(reference)
    excess = a.mean() / b.mean() - 1
    influence = (a - (1 + excess) * b) / b.mean()
    return float(excess), float(influence.std(ddof=1) / np.sqrt(len(a)))


def t_interval(x: ArrayLike, level: float = 0.95) -> Interval:
    """Return mean +- t_{(1 + level) / 2, n - 1} s / sqrt(n), of two or more seeds (Student)."""
    mean, error, df = _mean(x)
    half = float(scipy.stats.t.ppf((1 + level) / 2, df)) * error
    return Interval(mean - half, mean + half)


def upper_bound(x: ArrayLike, level: float = 0.95) -> float:
    """Return mean + t_{level, n - 1} s / sqrt(n): the one-sided upper bound of the mean."""
    mean, error, df = _mean(x)
    return mean + float(scipy.stats.t.ppf(level, df)) * error


def t_test(x: ArrayLike, alternative: Alternative = "two-sided", *, shift: float = 0.0) -> float:
    """Return p of a mean over seeds of `shift`, against its being less, greater, or either.

    Equal values leave no doubt: p is 0 or 1 by the side on which they lie, and on `shift` itself
    .5, or 1 of two sides.
    """
    mean, error, df = _mean(_seeds(x) - shift)
    t = 0.0
    if error:
        t = mean / error
    elif mean:
        t = math.copysign(math.inf, mean)
    tail = {"less": t, "greater": -t, "two-sided": -abs(t)}[alternative]
    sides = 2 if alternative == "two-sided" else 1
    return float(scipy.stats.t.cdf(tail, df)) * sides


def sign_flip(x: ArrayLike, alternative: Alternative = "two-sided", *, shift: float = 0.0) -> float:
    """Return p of the mean among all 2^n flips of the signs of x - shift (Fisher 1935).

    It is exact under symmetry. A one-sided p is at least 2^-n: .125 for 3 seeds, .0625 for 4,
    .03125 for 5. Above 16 seeds, 2^16 random flips are drawn.
    """
    test = scipy.stats.permutation_test(
        (_seeds(x) - shift,),
        np.mean,
        permutation_type="samples",
        n_resamples=2**16,
        alternative=alternative,
        rng=0,
    )
    return float(test.pvalue)


def median_interval(x: ArrayLike, level: float = 0.95) -> Interval:
    """Return an interval of the median that holds for every distribution.

    Its ends are order statistics: how many of n values lie below the median is binomial, with one
    half. Of fewer than six values none is narrow enough, and the interval is infinite.
    """
    values = np.sort(np.asarray(x, dtype=float))
    n = len(values)
    outside = int(scipy.stats.binom.ppf((1 - level) / 2, n, 0.5))
    if not outside:
        return Interval(-math.inf, math.inf)
    return Interval(float(values[outside - 1]), float(values[n - outside]))


def fieller(above: ArrayLike, below: ArrayLike, level: float = 0.95) -> Interval:
    """Return an interval of mean(above) / mean(below), both [seeds] and paired (Fieller 1954).

    It holds whatever `below` is near. Where the mean of `below` is not told apart from zero, no
    finite interval does, and the interval is infinite.
    """
    a, b = _seeds(above), _seeds(below)
    n = len(a)
    t = float(scipy.stats.t.ppf((1 + level) / 2, n - 1))
    (va, cov), (_, vb) = np.cov(a, b) * t**2 / n
    square, cross, rest = b.mean() ** 2 - vb, a.mean() * b.mean() - cov, a.mean() ** 2 - va
    if square <= 0:
        return Interval(-math.inf, math.inf)
    half = math.sqrt(max(cross**2 - square * rest, 0.0))
    return Interval(float((cross - half) / square), float((cross + half) / square))


def holm(p: ArrayLike) -> np.ndarray:
    """Return p-values adjusted by Holm (1979): max over j <= i of (m - j + 1) p_(j), at most 1.

    They are in the order of `p`. Raises ValueError where one of `p` does not lie between 0 and 1.
    """
    p = np.asarray(p, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values lie between 0 and 1, not {p}")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    factors = np.arange(len(p), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> np.ndarray:
    """Return p-values adjusted by Benjamini and Hochberg (1995): min over j >= i of m p_(j) / j.

    Of those at most q, a share of q is false at most, on average. They are in the order of `p`.
    Raises ValueError where one of `p` does not lie between 0 and 1.
    """
    return np.asarray(scipy.stats.false_discovery_control(p, method="bh"))


def jeffreys(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Return quantiles of Beta(x + 1/2, n - x + 1/2); 0 is the lower end at x = 0, 1 the upper at
    n.

    After Brown et al. (2001). Raises ValueError where `successes` of `n` is not a share.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is not a share")
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = scipy.stats.beta.ppf(tails, successes + 0.5, n - successes + 0.5)
    return Interval(float(low) if successes else 0.0, float(high) if successes < n else 1.0)


def clopper_pearson(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Return the exact interval of a share: it covers at least `level` (Clopper, Pearson 1934)."""
    low, high = scipy.stats.binomtest(successes, n).proportion_ci(level, method="exact")
    return Interval(float(low), float(high))


class Effective(NamedTuple):
    """A share's interval, and the number of independent outcomes that it is worth."""

    low: float
    high: float
    size: float


def korn_graubard(
    share: float, variance: float, n: int, df: float, *, clusters: int, level: float = 0.95
) -> Effective:
    """Return the interval of a `share` of `n` dependent outcomes (Korn and Graubard 1998).

    It is that of Clopper and Pearson for share (1 - share) / variance outcomes, times the square of
    t_{n - 1} / t_df, at most n. `variance` is that of the share as clusters tell it, with `df`
    degrees of freedom. Where all outcomes are alike no variance is told, and each of so many
    `clusters` counts as one outcome.
    """
    tail = (1 - level) / 2
    size = float(clusters)
    if 0 < share < 1:
        narrower = scipy.special.stdtrit(n - 1, tail) / scipy.special.stdtrit(df, tail)
        wanted = share * (1 - share) * narrower**2
        size = float(wanted / variance) if variance * n > wanted else float(n)
    won, lost = size * share, size * (1 - share)
    low = float(scipy.special.betaincinv(won, lost + 1, tail)) if won else 0.0
    high = float(scipy.special.betaincinv(won + 1, lost, 1 - tail)) if lost else 1.0
    return Effective(low, high, size)


def above(base: float, share: float, size: float) -> float:
    """Return one-sided p of a share of `size` outcomes, which need not be whole, against `base`.

    It is the tail to which the lower end of the interval of Clopper and Pearson belongs.
    """
    won, lost = size * share, size * (1 - share)
    return float(scipy.special.betainc(won, lost + 1, base)) if won else 1.0


def t_of(
    estimate: float, error: float, df: float, *, level: float = 0.95
) -> tuple[Interval, float]:
    """Return the t-interval of an estimate with a standard error, and its two-sided p against 0."""
    half = float(scipy.special.stdtrit(df, (1 + level) / 2)) * error
    t = abs(estimate) / error if error else math.inf
    p = 2 * float(scipy.special.stdtr(df, -t)) if estimate else 1.0
    return Interval(estimate - half, estimate + half), p


def kaplan_meier(times: ArrayLike, observed: ArrayLike, *, level: float = 0.95) -> Survival:
    """Return the share still matching over sparsity, with the log-log Greenwood interval.

    `times` [trajectories] is the sparsity that failed first, or, where not `observed`, the last
    that was tried (censored). The interval is undefined (nan) before the first failure, and when
    none is left (Kaplan, Meier 1958).
    """
    alive = scipy.stats.ecdf(_censored(times, observed)).sf
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # it warns of the nan
        low, high = alive.confidence_interval(level, method="log-log")
    return Survival(alive.quantiles, alive.probabilities, low.probabilities, high.probabilities)


def noise_floor(differences: ArrayLike, q: float = 0.95) -> float:
    """Return the q-quantile of |differences| between pairs that differ in nothing (A/A)."""
    return float(np.quantile(np.abs(differences), q))


@cache
def dependence(networks: int, again: int) -> float:
    """Return by what factor `noise_floor` is too small where networks stand in several pairs.

    Pairs are all of so many `networks`, and `again` second networks each beside its first. The
    factor is the median of the estimate over the true quantile, in simulated studies of equal
    normal networks: near .7 for three networks, .8 for five, .9 for ten.
    """
    rng = np.random.default_rng(0)
    values = rng.standard_normal((STUDIES, networks + again))
    first, second = np.triu_indices(networks, 1)
    among = values[:, first] - values[:, second]
    apart = values[:, :again] - values[:, networks:]
    estimates = np.quantile(np.abs(np.hstack([among, apart])), 0.95, axis=1)
    true = math.sqrt(2) * float(scipy.stats.norm.ppf(0.975))
    return float(np.median(estimates)) / true


def steps_to(curve: ArrayLike, target: float) -> float:
    """Return the first step at which a curve is down to `target`; inf if never (right-censored).

    `curve` is [points, (step, loss)]. On its running minimum, log loss is linear in log step
    between points. Before the first point nothing was measured: a curve that begins at or below the
    target gives its first step, an upper bound. Raises ValueError where steps do not rise or losses
    are not above 0.
    """
    curve = np.asarray(curve, dtype=np.float64)
    steps, loss = curve.T
    rising = np.diff(steps, prepend=0) > 0
    if not (np.isfinite(loss) & (loss > 0) & rising).all():
        raise ValueError(f"a curve has rising steps above 0 and losses above 0, not {curve}")
    best = np.minimum.accumulate(loss)
    if best[-1] > target:
        return math.inf
    at = int(np.argmax(best <= target))
    span = [at, max(at - 1, 0)]  # np.interp wants rising losses
    log_step = np.interp(np.log(target), np.log(best[span]), np.log(steps[span]))
    return float(np.exp(log_step))


def step_equivalent(curve: ArrayLike, margin: float) -> float:
    """Return 1 - s / S, where a dense run of S steps first had 1 + margin times its last loss at s.

    That is the share of the steps that a margin is worth; `curve` as of `steps_to`. It is a lower
    bound where the curve begins at or below that loss; and where the learning rate decays, since a
    run planned to end at s would have been lower there than one passing by.
    """
    last, loss = np.asarray(curve, dtype=np.float64)[-1]
    return float(1 - steps_to(curve, loss * (1 + margin)) / last)


def _image_means(losses: np.ndarray) -> np.ndarray:
    """Return the mean of each image, [images], in double precision."""
    return np.asarray(losses, dtype=np.float64).reshape(len(losses), -1).mean(1)


def _seeds(x: ArrayLike) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(f"a mean over seeds needs two or more finite values, not {x}")
    return x


def _mean(x: ArrayLike) -> tuple[float, float, int]:
    """Return mean, standard error and degrees of freedom.

    Both are taken from the first value on, so that equal values have an error of exactly 0.
    """
    x = _seeds(x)
    rest = x - x[0]
    error = float(rest.std(ddof=1) / math.sqrt(len(x)))
    return float(x[0] + rest.mean()), error, len(x) - 1


def _censored(times: ArrayLike, observed: ArrayLike) -> Any:
    return scipy.stats.CensoredData.right_censored(times, ~np.asarray(observed, dtype=bool))
