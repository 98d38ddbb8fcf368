"""HSIC and CKA against brute force; independent features are around zero, however many."""

import itertools

import numpy as np
import pytest
import torch

from lthray.core import kernels


def features(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def brute(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al.'s U-statistic: the mean over all ordered quadruples of different inputs."""
    n, total, count = len(k), 0.0, 0
    for i, j, q, r in itertools.permutations(range(n), 4):
        total += k[i, j] * m[i, j] + k[i, j] * m[q, r] - 2 * k[i, j] * m[i, q]
        count += 1
    return total / count


@pytest.mark.parametrize("kernel", [kernels.linear, kernels.gaussian])
def test_hsic_is_the_mean_over_all_quadruples(kernel):
    a, b = features(7, 3, 0), features(7, 2, 1)
    a[:, 0] += b[:, 1]
    k, m = kernel(a), kernel(b)
    assert float(kernels.hsic(k, m)) == pytest.approx(brute(k.numpy(), m.numpy()), rel=1e-9)


def test_independent_features_are_around_zero_even_if_they_are_many():
    """Where the usual estimator says .5 and more: 40 inputs, 200 features."""
    pairs = [(features(40, 200, 2 * s), features(40, 200, 2 * s + 1)) for s in range(40)]
    found = torch.stack(
        [kernels.normalised(kernels.linear(a), kernels.linear(b)) for a, b in pairs]
    )
    assert abs(float(found.mean())) < 3 * float(found.std()) / 40**0.5
    assert float(found.abs().max()) < 0.2
    centre = torch.eye(40, dtype=torch.float64) - 1 / 40
    biased = [
        float(
            (centre @ k @ centre * m).sum()
            / ((centre @ k @ centre).norm() * (centre @ m @ centre).norm())
        )
        for k, m in ((kernels.linear(a), kernels.linear(b)) for a, b in pairs)
    ]
    assert min(biased) > 0.5


@pytest.mark.parametrize("kernel", [kernels.linear, kernels.gaussian])
def test_the_same_features_are_one_whatever_their_scale_and_turn(kernel):
    a = features(20, 5, 0)
    turn = torch.linalg.qr(features(5, 5, 1)).Q
    assert float(kernels.normalised(kernel(a), kernel(a))) == pytest.approx(1.0)
    assert float(kernels.normalised(kernel(a), kernel(3.0 * a @ turn))) == pytest.approx(1.0)
    assert float(kernels.normalised(kernel(a), kernel(features(20, 5, 2)))) < 0.4


def test_leading_dimensions_are_taken_one_by_one():
    a = torch.stack([features(12, 3, s) for s in range(4)])
    b = features(12, 2, 9)
    each = [kernels.normalised(kernels.gaussian(x), kernels.gaussian(b)) for x in a]
    assert torch.allclose(
        kernels.normalised(kernels.gaussian(a), kernels.gaussian(b)), torch.stack(each)
    )


def test_gaussian_kernels_have_the_median_distance_for_width():
    a = features(9, 3, 0)
    distances = [float((x - y).norm()) for x, y in itertools.combinations(a, 2)]
    width = sorted(distances)[(len(distances) - 1) // 2]
    assert float(kernels.gaussian(a)[0, 1]) == pytest.approx(
        np.exp(-(float((a[0] - a[1]).norm()) ** 2) / (2 * width**2))
    )


def test_a_dead_channel_has_to_do_with_nothing():
    dead = kernels.gaussian(torch.zeros(10, 4, dtype=torch.float64))
    assert float(kernels.normalised(dead, kernels.gaussian(features(10, 3, 0)))) == 0.0


def test_three_inputs_are_too_few():
    with pytest.raises(ValueError, match="3 inputs: the unbiased HSIC needs 4"):
        kernels.hsic(torch.eye(3), torch.eye(3))
