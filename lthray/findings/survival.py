"""Down to which sparsity the tickets of a design match: when each first does not, and in which of
two groups that is earlier.

It is survival of matching, not of winning: a dense ticket may match with nothing yet to be better
than, and a failure to win there would end a trajectory that wins later.
"""

import math

import numpy as np

from lthray.findings.frequency import MATCHES, Studied


def first_failures(design: Studied) -> tuple[np.ndarray, np.ndarray]:
    """Return the sparsity at which each trajectory first does not match, and whether it ever did.

    Both are [recipes, seeds]. Where it always matches, the sparsity is the last that was tried.
    """
    times = np.full((len(design.recipes), len(design.seeds)), np.nan)
    for rung in design.rungs:
        failing = np.isnan(times) & ~rung.outcomes[MATCHES]
        times[failing] = 1 - rung.density
    failed = ~np.isnan(times)
    times[~failed] = 1 - design.rungs[-1].density
    return times, failed


def logrank(times: np.ndarray, failed: np.ndarray, first: np.ndarray, draws: int = 9999) -> float:
    """Return p of like survival of two groups of recipes, by log-rank and permutation of recipes.

    `times` and `failed` are [recipes, seeds], `first` says which recipes are the first group. Whole
    recipes change groups, since their trajectories are dependent; seeds are shared by both groups.
    nan where a group has no failure, and nothing can be compared.
    """
    if not (failed[first].any() and failed[~first].any()):
        return math.nan
    scores = failed.astype(float)
    for time in np.unique(times[failed]):
        at_risk = times >= time
        scores -= at_risk * ((times == time) & failed).sum() / at_risk.sum()
    own = scores.sum(1)
    orders = np.random.default_rng(0).permuted(np.tile(first, (draws, 1)), axis=1)
    observed = abs(own[first].sum())
    as_far = (np.abs(orders @ own) >= observed - 1e-12).sum()
    return float((1 + as_far) / (1 + draws))
