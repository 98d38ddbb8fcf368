"""How strongly two sets of features of the same n inputs depend on each other: HSIC and CKA.

Features are [..., n, d] and kernels [..., n, n]; leading dimensions are taken one by one. The
unbiased estimator of HSIC (Song et al. 2012, JMLR 13, theorem 2) is around 0 for independent
features, however few the inputs and many the features, where the usual one is not (Davari et al.
2023, arXiv 2210.16156). So it may be negative.
"""

import torch
from torch import Tensor


def linear(features: Tensor) -> Tensor:
    """Return the inner products of `features`, the kernel of CKA.

    Kornblith et al. 2019, arXiv 1905.00414.
    """
    return features @ features.mT


def gaussian(features: Tensor) -> Tensor:
    """Return exp(-|a - b|^2 / 2 m^2) of every two inputs, m being their median distance.

    All ones where the median distance is 0.
    """
    exact = "donot_use_mm_for_euclid_dist"
    squares = torch.cdist(features, features, compute_mode=exact).square()
    rows, columns = torch.triu_indices(squares.shape[-2], squares.shape[-1], offset=1)
    ordered = squares[..., rows, columns].sort(-1).values
    median = ordered[..., (ordered.shape[-1] - 1) // 2][..., None, None]
    tiny = torch.finfo(squares.dtype).tiny
    kernel = torch.exp(-squares / (2 * median.clamp_min(tiny)))
    return torch.where(median > 0, kernel, 1.0)


def hsic(k: Tensor, m: Tensor) -> Tensor:
    """Return the unbiased Hilbert-Schmidt independence criterion of two kernels, [...].

    Both kernels are of the same n inputs; ValueError below n = 4.
    """
    n = k.shape[-1]
    if n < 4:
        raise ValueError(f"{n} inputs: the unbiased HSIC needs 4")
    off_diagonal = ~torch.eye(n, dtype=torch.bool, device=k.device)
    k, m = k * off_diagonal, m * off_diagonal
    rows, columns = k.sum(-1), m.sum(-1)
    both = (k * m).sum((-2, -1))
    totals = rows.sum(-1) * columns.sum(-1)
    crossed = (rows * columns).sum(-1)
    estimate = both + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * crossed
    return estimate / (n * (n - 3))


def normalised(k: Tensor, m: Tensor) -> Tensor:
    """Return HSIC(k, m) over the geometric mean of HSIC(k, k) and HSIC(m, m), [...].

    0 where one of these two is not positive. Of linear kernels this is debiased CKA.
    """
    first = hsic(k, k)
    product = first * hsic(m, m)
    tiny = torch.finfo(product.dtype).tiny
    ratio = hsic(k, m) / product.clamp_min(tiny).sqrt()
    return torch.where((product > 0) & (first > 0), ratio, 0.0)
