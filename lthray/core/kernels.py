"""How much two sets of features of the same n inputs have to do with one another: unbiased HSIC, and CKA made of it.

Features are [..., n, d], kernels [..., n, n]; leading dimensions are taken one by one. The unbiased estimator (Song et al.
2012, JMLR 13, theorem 2) is around 0 for independent features however few the inputs and many the features, where the
usual one is not (Davari et al. 2023, arXiv 2210.16156); so it may be negative.
"""

import torch
from torch import Tensor


def linear(features: Tensor) -> Tensor:
    """Inner products, of CKA (Kornblith et al. 2019, arXiv 1905.00414)."""
    return features @ features.mT


def gaussian(features: Tensor) -> Tensor:
    """exp(-|a - b|^2 / 2 m^2) with m the median distance between two of the inputs; all ones where that is 0."""
    squares = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").square()
    rows, columns = torch.triu_indices(squares.shape[-2], squares.shape[-1], offset=1)
    median = squares[..., rows, columns].median(-1).values[..., None, None]
    return torch.where(median > 0, torch.exp(-squares / (2 * median.clamp_min(torch.finfo(squares.dtype).tiny))), 1.0)


def hsic(k: Tensor, m: Tensor) -> Tensor:
    """Unbiased Hilbert-Schmidt independence criterion of two kernels of the same n >= 4 inputs."""
    n = k.shape[-1]
    if n < 4:
        raise ValueError(f"{n} inputs: the unbiased HSIC needs 4")
    off = ~torch.eye(n, dtype=torch.bool, device=k.device)
    k, m = k * off, m * off
    rows, columns = k.sum(-1), m.sum(-1)
    both, totals = (k * m).sum((-2, -1)), rows.sum(-1) * columns.sum(-1)
    return (both + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows * columns).sum(-1)) / (n * (n - 3))


def normalised(k: Tensor, m: Tensor) -> Tensor:
    """HSIC(k, m) over the geometric mean of HSIC(k, k) and HSIC(m, m); 0 where one of these is not positive.

    Of linear kernels this is debiased CKA.
    """
    first = hsic(k, k)
    own = first * hsic(m, m)
    return torch.where((own > 0) & (first > 0), hsic(k, m) / own.clamp_min(torch.finfo(own.dtype).tiny).sqrt(), 0.0)
