"""Shares: turn the shares of layers in a number of weights into whole numbers of that very sum.

A layer's cap is the number of its weights that are not yet cut. Relative densities p_l are brought
to the overall density by water-filling,

    d_l = min(cap_l, c p_l),   c such that sum_l n_l d_l = keep,

and to whole weights by largest remainders, ties by layer order.
"""

import math
from collections.abc import Mapping

import torch

from lthray.core.ticket import Scores

Counts = dict[str, int]


def sizes_of(scores: Scores) -> Counts:
    """Return the number of scores of each layer."""
    return {name: values.numel() for name, values in scores.items()}


def caps_of(scores: Scores) -> Counts:
    """Return how many scores of each layer are not -inf, which is not yet cut."""
    return {name: int((values > -torch.inf).sum()) for name, values in scores.items()}


def highest(scores: Scores, keep: int) -> Counts:
    """Return how many of the `keep` highest scores of all layers lie in each, ties by index."""
    sizes = torch.tensor(list(sizes_of(scores).values()))
    flat = torch.cat(list(map(torch.flatten, scores.values())))
    kept = torch.sort(flat, stable=True, descending=True).indices[:keep]
    layer_of = torch.repeat_interleave(torch.arange(len(scores)), sizes)
    counts = torch.bincount(layer_of[kept], minlength=len(scores))
    return dict(zip(scores, counts.tolist(), strict=True))


def filled(scores: Scores, keep: int, relative: Mapping[str, float]) -> Counts:
    """Return how many weights each layer keeps, given relative densities; the sum is `keep`.

    Raises ValueError where fewer than `keep` weights are left.
    """
    caps = caps_of(scores)
    if keep > sum(caps.values()):
        raise ValueError(f"{keep} weights to keep, only {sum(caps.values())} are left")
    exact = _water_filled(sizes_of(scores), keep, relative, caps)
    return rounded(exact, keep, caps)


def _water_filled(
    sizes: Counts, keep: int, relative: Mapping[str, float], caps: Counts
) -> dict[str, float]:
    """Exact shares: a layer whose share exceeds its cap is full, and the rest is shared again."""
    exact: dict[str, float] = {}
    unfilled = list(caps)
    while unfilled:
        weights = sum(sizes[name] * relative[name] for name in unfilled)
        c = (keep - sum(exact.values())) / weights
        shares = {name: c * relative[name] * sizes[name] for name in unfilled}
        for name, share in shares.items():
            if share >= caps[name]:
                exact[name] = float(caps[name])
        unfilled = [name for name in shares if name not in exact]
        if len(unfilled) == len(shares):
            return exact | shares
    return exact


def rounded(exact: Mapping[str, float], total: int, caps: Counts) -> Counts:
    """Return whole numbers of sum `total`: largest remainders, ties by order, none above a cap."""
    counts = {name: min(math.floor(exact[name]), cap) for name, cap in caps.items()}
    by_remainder = sorted(caps, key=lambda name: counts[name] - exact[name])  # stable
    missing = total - sum(counts.values())
    for name in by_remainder:
        if missing and counts[name] < caps[name]:
            counts[name] += 1
            missing -= 1
    return counts
