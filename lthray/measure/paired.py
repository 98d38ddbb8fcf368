"""Images of two networks from equal noise, compared one by one; and which noises each draws well.

The structural similarity of two images (Wang et al. 2004) is a mean over positions of

    (2 mu_x mu_y + c1)(2 cov + c2) / ((mu_x^2 + mu_y^2 + c1)(var_x + var_y + c2))

in Gaussian windows of 1.5 pixels, c1 and c2 being squares of 1 % and 3 % of the range. A noise
is drawn well where the image that comes of it lies near a real one in the extractor's features.
Noises that one network draws well need not be those of another (Mao et al. 2024, arXiv 2312.08872).
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from lthray.core import metrics
from lthray.core.kernels import linear
from lthray.measure.quality import Referee

SIGMA, WIDEST = 1.5, 11  # pixels of a window: its spread, and its side at most
C1, C2 = 0.01**2, 0.03**2
WELL = 0.25  # share of the noises that a network draws best


def compared(
    sampler: str, images: Tensor, others: Tensor, judge: Referee
) -> tuple[dict[str, float], Mapping[str, Tensor]]:
    """Return how far images lie from `others` of the same noises, and what each noise is worth.

    Both are uint8 [n, C, H, W]. The arrays are the distance of each image to the nearest real one,
    of the first network and of the second, [2, n].
    """
    mine, theirs = judge(images), judge(others)
    real = judge.reals.features
    worth = torch.stack([nearest(mine, real), nearest(theirs, real)])
    found = {
        metrics.PAIRED.of(sampler=sampler, extractor=judge.name): float(
            (mine - theirs).square().mean()
        ),
        metrics.SSIM.of(sampler=sampler): float(ssim(images, others).mean()),
        metrics.NOISE_RANKS.of(sampler=sampler): ranks(*worth),
        metrics.NOISE_ALONE.of(sampler=sampler): alone(*worth),
    }
    return found, {f"noises_{sampler}": worth}


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Return the structural similarity of each pair of images, uint8 [n, C, H, W] -> [n]."""
    x, y = one.double() / 255, other.double() / 255
    side = min(WIDEST, *x.shape[-2:])
    side -= 1 - side % 2
    at = torch.arange(side, dtype=x.dtype) - side // 2
    line = (-at.square() / (2 * SIGMA**2)).exp()
    window = torch.outer(line, line) / line.sum() ** 2

    def mean(image: Tensor) -> Tensor:
        return F.conv2d(image.flatten(0, 1)[:, None], window[None, None])

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    like = (2 * mx * my + C1) * (2 * cov + C2) / ((mx**2 + my**2 + C1) * (vx + vy + C2))
    return like.flatten(1).mean(1).reshape(len(x), -1).mean(1)


def nearest(features: Tensor, real: Tensor) -> Tensor:
    """Return the distance of each row of `features` [n, d] to the nearest of `real` [m, d], [n]."""
    return torch.cdist(features.double(), real.double()).amin(1)


def ranks(one: Tensor, other: Tensor) -> float:
    """Return Spearman's rank correlation of two numbers of each noise; 0 where one is constant."""
    orders = torch.stack([each.argsort().argsort().double() for each in (one, other)])
    centred = orders - orders.mean(1, keepdim=True)
    products = linear(centred)
    size = float((products[0, 0] * products[1, 1]).sqrt())
    return float(products[0, 1]) / size if size else 0.0


def alone(one: Tensor, other: Tensor) -> float:
    """Return the share of the noises that the first network draws best which the second does not.

    It is 1 - `WELL` where the two have nothing to do with each other.
    """
    count = max(round(WELL * len(one)), 1)
    mine, theirs = (set(each.argsort()[:count].tolist()) for each in (one, other))
    return len(mine - theirs) / count
