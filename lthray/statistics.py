"""Intervals and tests: pure functions on arrays."""

import numpy as np


def relative_excess(losses: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """mean(losses) / mean(reference) - 1 over paired images, and its standard error by the delta method.

    Both are [images] (or [images, columns], averaged over columns first: an image is the unit that was drawn). The error
    is of the evaluation alone; it says nothing of other seeds.
    """
    a, b = (x.astype(np.float64).reshape(len(x), -1).mean(1) for x in (losses, reference))
    excess = a.mean() / b.mean() - 1
    influence = (a - (1 + excess) * b) / b.mean()
    return float(excess), float(influence.std(ddof=1) / np.sqrt(len(a)))
