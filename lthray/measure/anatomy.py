"""The inside of a trained ticket: barriers, sharpness, sensitivity, and which weights it keeps.

`losses` maps weights to the losses [images, columns] of a network that has them, always of equal
images and noise, so that numbers of two networks are paired.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lthray.core.random import generator
from lthray.core.ticket import Mask, Weights, largest

POINTS = 11  # of the path between two networks, both ends included
RADIUS = 0.05  # standard deviation of a perturbation, relative to the weight
BINS = 48  # of the histograms of initial weights
WIDEST = 4.0  # end of these histograms, in standard deviations of the layer

Losses = Callable[[Weights], Tensor]


def path(losses: Losses, a: Weights, b: Weights) -> Tensor:
    """Return the losses on the straight path from weights `a` to weights `b`, [11, columns]."""
    points = []
    for alpha in torch.linspace(0, 1, POINTS).tolist():
        between = {name: torch.lerp(a[name], b[name], alpha) for name in a}
        points.append(losses(between).mean(0))
    return torch.stack(points)


def barrier(path: Tensor) -> float:
    """Return the error barrier of a `path` [points, columns], relative to the mean of its ends.

    max over alpha of L((1 - alpha) a + alpha b), over (L(a) + L(b)) / 2, minus 1 (Frankle et al.
    2020, arXiv 1912.05671). At least 0, for both ends are points of the path.
    """
    along = path.mean(1)
    ends = (along[0] + along[-1]) / 2
    return float(along.max() / ends - 1)


def sharpness(losses: Losses, weights: Weights, mask: Mask, draws: int) -> float:
    """Return the mean relative rise of the loss when every kept weight w moves a little.

    Each of `draws` perturbations adds N(0, (0.05 |w|)^2) to the weights that have a mask:
    average-case adaptive sharpness (Andriushchenko et al. 2023, arXiv 2302.07011).
    """
    before = float(losses(weights).mean())
    rise = 0.0
    for draw in range(draws):
        moved = {}
        for name in mask:
            moved[name] = weights[name] * (1 + RADIUS * _noise(weights[name], draw, name))
        rise += float(losses({**weights, **moved}).mean()) / before - 1
    return rise / draws


def sensitivity(losses: Losses, weights: Weights, mask: Mask) -> Tensor:
    """Return the relative rise of the loss when one layer alone is cut, [layers, columns].

    The layer keeps the largest tenth of the weights that `mask` keeps.
    """
    before = losses(weights).mean(0)
    rows = []
    for name, layer in mask.items():
        cut = {**weights, name: largest(weights[name], layer)}
        rows.append(losses(cut).mean(0) / before - 1)
    return torch.stack(rows)


def initial(weights: Weights, mask: Mask) -> Tensor:
    """Return histograms of the initial weights that are kept and cut, [layers, 2, 48] int32.

    Frankle and Carbin 2019 (arXiv 1803.03635), figure 15: equal bins over +-4 standard deviations
    of the layer; weights beyond are counted in the outermost bins.
    """
    rows = []
    for name, layer in mask.items():
        scaled = (weights[name] / weights[name].std(correction=0)).clamp(-WIDEST, WIDEST)
        rows.append(torch.stack([_histogram(scaled[layer]), _histogram(scaled[~layer])]))
    return torch.stack(rows).to(torch.int32)


def _histogram(values: Tensor) -> Tensor:
    return torch.histc(values, BINS, -WIDEST, WIDEST)


def _noise(weight: Tensor, draw: int, name: str) -> Tensor:
    return torch.randn(weight.shape, generator=generator("sharpness", draw, name))
