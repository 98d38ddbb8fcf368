"""What chance makes of the best of many: in random order, and where all are equal."""

from typing import NamedTuple

import numpy as np
import scipy  # scipy.stats loads at first use
from numpy.typing import ArrayLike


class Best(NamedTuple):
    """Best of the first k of some numbers for each k, over all orders: mean, 5 % and 95 %."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def best_of(values: ArrayLike) -> Best:
    """Return the smallest of the first k of n values, k = 1 ... n, if their order were random.

    It is what a search comes to that learns nothing, and tries just these. The smallest of k is
    above the i-th smallest of all with probability C(n - i, k) / C(n, k).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    ranks, counts = np.arange(1, n + 1), np.arange(1, n + 1)[:, None]
    above = scipy.stats.hypergeom.pmf(0, n, ranks, counts)  # [k, i]
    mean = ordered[0] + above[:, :-1] @ np.diff(ordered)
    low, high = ((above <= 1 - q).argmax(1) for q in (0.05, 0.95))
    return Best(mean, ordered[low], ordered[high])


def best_of_normal(n: int) -> float:
    """Return by how many standard deviations the best of n equals is better than their mean.

    It is the expected extreme of n normal draws (Blom 1958).
    """
    return float(scipy.stats.norm.ppf((n - 0.375) / (n + 0.25)))
