"""Counts of a budget: shares by bisection, whole numbers by largest remainders, ties by order.

The references are written down another way, and do not import what they check.
"""

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import pytest
import torch

from lthray.core.ticket import top
from lthray.prune.shares import filled, highest, rounded

INF = math.inf


def drawn(case: int) -> tuple[dict[str, torch.Tensor], dict[str, float], int]:
    """Scores of small layers, some of them cut, their relative densities, and what to keep."""
    rng = np.random.default_rng([case, 3])
    scores, relative = {}, {}
    for layer in range(rng.integers(1, 7)):
        values = rng.random(rng.integers(1, 40))
        values[rng.random(len(values)) < rng.choice([0, 0.5, 0.9])] = -INF
        scores[f"l{layer}"] = torch.from_numpy(values)
        relative[f"l{layer}"] = math.exp(rng.normal(0, 1.5))
    left = sum(int(values.isfinite().sum()) for values in scores.values())
    return scores, relative, int(rng.integers(0, left + 1))


def exact(
    scores: Mapping[str, torch.Tensor], relative: Mapping[str, float], keep: int
) -> dict[str, float]:
    """Return min(cap, c p n) of each layer, for the c by which they sum to `keep`: by bisection."""

    caps = {name: int(values.isfinite().sum()) for name, values in scores.items()}
    rates = {name: relative[name] * len(values) for name, values in scores.items()}

    def shares(c: float) -> dict[str, float]:
        return {name: min(cap, c * rates[name]) for name, cap in caps.items()}

    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if sum(shares(middle).values()) >= keep else (middle, high)
    return shares(high)


@pytest.mark.parametrize("part", range(4))
def test_shares_are_those_of_one_common_factor_and_rounded_by_the_largest_remainders(part):
    full = 0
    for case in range(part * 100, part * 100 + 100):
        scores, relative, keep = drawn(case)
        counts, shares = filled(scores, keep, relative), exact(scores, relative, keep)
        assert sum(counts.values()) == keep
        up, down = [], []
        for name, values in scores.items():
            cap = int(values.isfinite().sum())
            assert counts[name] <= cap
            assert abs(counts[name] - shares[name]) < 1 + 1e-6
            full += counts[name] == cap < len(values)
            remainder = shares[name] - math.floor(shares[name] + 1e-6)
            if remainder > 1e-6:
                (up if counts[name] > shares[name] else down).append(remainder)
        assert min(up, default=1) > max(down, default=0) - 1e-6
    assert full > 10  # some layers keep all that is left of them


def test_more_than_is_left_cannot_be_kept_and_all_that_is_left_can():
    scores = {"a": torch.tensor([1.0, -INF, 2.0]), "b": torch.tensor([-INF, 3.0])}
    assert filled(scores, 3, {"a": 1.0, "b": 9.0}) == {"a": 2, "b": 1}
    with pytest.raises(ValueError, match="4 weights to keep, only 3 are left"):
        filled(scores, 4, {"a": 1.0, "b": 1.0})


@pytest.mark.parametrize(
    ("shares", "total", "caps", "counts"),
    [
        ((1.5, 1.5, 1.0), 4, (9, 9, 9), (2, 1, 1)),  # the first of two equal remainders
        ((1.25, 1.5, 1.25), 4, (9, 9, 9), (1, 2, 1)),
        ((1.25, 1.25, 1.5), 4, (9, 9, 9), (1, 1, 2)),
        ((0.5, 0.5, 2.0), 3, (9, 9, 9), (1, 0, 2)),
        ((1.75, 1.25, 1.0), 4, (1, 9, 9), (1, 2, 1)),  # the layer with the largest is full
    ],
)
def test_what_is_missing_goes_to_the_largest_remainders_by_hand(shares, total, caps, counts):
    exact_shares, most = (dict(zip("abc", row, strict=True)) for row in (shares, caps))
    assert rounded(exact_shares, total, most) == dict(zip("abc", counts, strict=True))


# ranking


def ranked(values: list[float], keep: int) -> list[int]:
    """Return the places of the `keep` highest, the first of equal ones first: by plain sorting."""
    return sorted(range(len(values)), key=lambda i: (-Fraction(values[i]), i))[:keep]


@pytest.mark.parametrize("keep", [0, 1, 7, 20, 40])
def test_the_highest_are_taken_by_index_where_scores_are_equal(keep):
    for case in range(30):
        values = np.random.default_rng([case, 4]).integers(0, 5, 40).astype(float).tolist()
        kept = top(torch.tensor(values), keep)
        assert kept.nonzero().flatten().tolist() == sorted(ranked(values, keep))
        layers = {"a": torch.tensor(values[:13]), "b": torch.tensor(values[13:]).reshape(3, 9)}
        first = sum(place < 13 for place in ranked(values, keep))
        assert highest(layers, keep) == {"a": first, "b": keep - first}
