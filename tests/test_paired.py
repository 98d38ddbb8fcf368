"""Images of equal noise compared one by one: references, and a trial that measures them."""

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from scipy.spatial.distance import cdist

from lthray.core import metrics
from lthray.measure.paired import SIGMA, alone, nearest, ranks, ssim

from .conftest import rounds, tiny


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def by_hand(one: np.ndarray, other: np.ndarray, side: int) -> float:
    """Structural similarity of two grey images, window by window."""
    at = np.arange(side) - side // 2
    window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * SIGMA**2))
    window /= window.sum()
    values = []
    for row in range(one.shape[0] - side + 1):
        for column in range(one.shape[1] - side + 1):
            x, y = (image[row : row + side, column : column + side] for image in (one, other))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            top = (2 * mx * my + 0.01**2) * (2 * cov + 0.03**2)
            values.append(top / ((mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2)))
    return float(np.mean(values))


@pytest.mark.parametrize(("size", "side"), [(8, 7), (16, 11), (11, 11)])
def test_structural_similarity_is_that_of_its_definition(size, side):
    one, other = drawn(3, 2, size, size), drawn(3, 2, size, size, seed=1)
    found = ssim(one, other)
    for image in range(3):
        want = [
            by_hand(one[image, c].numpy() / 255, other[image, c].numpy() / 255, side)
            for c in (0, 1)
        ]
        assert float(found[image]) == pytest.approx(np.mean(want), abs=1e-9)
    assert torch.allclose(ssim(one, one), torch.ones(3, dtype=torch.float64))
    assert float(found.max()) < 0.5


def test_the_nearest_real_image_is_that_of_all_distances():
    mine, real = torch.randn(20, 5), torch.randn(30, 5)
    want = cdist(mine.numpy(), real.numpy()).min(1)
    assert nearest(mine, real).numpy() == pytest.approx(want, rel=1e-5)


def test_ranks_are_those_of_spearman():
    draw = np.random.default_rng(0)
    one = draw.standard_normal(50)
    other = one + draw.standard_normal(50)
    want = scipy_stats.spearmanr(one, other).statistic
    assert ranks(torch.tensor(one), torch.tensor(other)) == pytest.approx(want)
    assert ranks(torch.tensor(one), torch.tensor(-one)) == pytest.approx(-1)


def test_noises_that_only_one_network_draws_well():
    one = torch.arange(20.0)
    assert alone(one, one) == 0
    assert alone(one, -one) == 1
    draw = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(200):
        pair = torch.rand(2, 100, generator=draw)
        shares.append(alone(*pair))
    assert np.mean(shares) == pytest.approx(0.75, abs=0.02)


def test_tickets_are_compared_with_their_dense_network(store):
    words = {"measure__samples": 320, "measure__sampling_steps": (2,), "prune__ladder": (0.5,)}
    dense, ticket = rounds(tiny(**words), store)
    assert metrics.SSIM.of(sampler="ddim") not in dense.metrics
    found = {name: ticket.metrics[name] for name in ticket.metrics if name in EXPECTED}
    assert found.keys() == EXPECTED
    assert 0 < found[metrics.SSIM.of(sampler="ddim")] < 1
    assert found[metrics.PAIRED.of(sampler="ddim", extractor="lenet")] > 0
    assert ticket.arrays["noises_ddim"].shape == (2, 320)


EXPECTED = {
    metrics.SSIM.of(sampler="ddim"),
    metrics.PAIRED.of(sampler="ddim", extractor="lenet"),
    metrics.NOISE_RANKS.of(sampler="ddim"),
    metrics.NOISE_ALONE.of(sampler="ddim"),
}
