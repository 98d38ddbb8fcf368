"""What a trained ticket is like inside: barriers between networks, sharpness, where it is sensitive, what it keeps.

`losses` maps weights to the losses [images, columns] of a network that has them, always of the same images and noise, so
that numbers of two networks are paired.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lthray.core.random import generator
from lthray.core.ticket import Mask, Weights
from lthray.prune.criteria import largest

POINTS = 11  # of the path between two networks, both ends included
RADIUS = 0.05  # of a weight's size: the standard deviation of a perturbation
BINS, WIDEST = 48, 4.0  # of histograms of initial weights, in standard deviations of the layer

Losses = Callable[[Weights], Tensor]


def path(losses: Losses, a: Weights, b: Weights) -> Tensor:
    """Losses on the straight path from a to b, [11 points, columns]."""
    alphas = torch.linspace(0, 1, POINTS).tolist()
    return torch.stack([losses({name: torch.lerp(a[name], b[name], alpha) for name in a}).mean(0) for alpha in alphas])


def barrier(path: Tensor) -> float:
    """max over alpha of L((1 - alpha) a + alpha b), over (L(a) + L(b)) / 2, minus 1 (Frankle et al. 2020, arXiv
    1912.05671), of a path [points, columns]. At least 0: both ends are points of the path."""
    along = path.mean(1)
    return float(along.max() / ((along[0] + along[-1]) / 2) - 1)


def sharpness(losses: Losses, weights: Weights, mask: Mask, draws: int) -> float:
    """Mean relative rise of the loss when every kept weight w moves by N(0, (0.05 |w|)^2): average-case adaptive sharpness
    (Andriushchenko et al. 2023, arXiv 2302.07011)."""
    before, rise = float(losses(weights).mean()), 0.0
    for draw in range(draws):
        moved = {name: weights[name] * (1 + RADIUS * _noise(weights[name], draw, name)) for name in mask}
        rise += float(losses({**weights, **moved}).mean()) / before - 1
    return rise / draws


def sensitivity(losses: Losses, weights: Weights, mask: Mask) -> Tensor:
    """Relative rise of the loss when one layer alone is cut to the largest tenth of what it has, [layers, columns]."""
    before, rows = losses(weights).mean(0), []
    for name, layer in mask.items():
        rows.append(losses({**weights, name: largest(weights[name], layer)}).mean(0) / before - 1)
    return torch.stack(rows)


def initial(weights: Weights, mask: Mask) -> Tensor:
    """Counts of the initial weights that are kept, and of those that are cut, [layers, 2, bins] (Frankle and Carbin 2019,
    figure 15); 48 equal bins over +-4 standard deviations of the layer, what lies beyond in the outermost."""
    rows = []
    for name, layer in mask.items():
        w = (weights[name] / weights[name].std(correction=0)).clamp(-WIDEST, WIDEST)
        rows.append(torch.stack([torch.histc(w[part], BINS, -WIDEST, WIDEST) for part in (layer, ~layer)]))
    return torch.stack(rows).to(torch.int32)


def _noise(weight: Tensor, draw: int, name: str) -> Tensor:
    return torch.randn(weight.shape, generator=generator("sharpness", draw, name))
