"""How training images are varied from step to step: every draw is a function of (stream, step)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lthray.core.random import drawn_on, generator


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """One way to vary images."""

    apply: Callable[[Tensor, int, int], Tensor]
    """(images [n, C, H, W] in [-1, 1], stream, step) -> images of that step."""
    mirrors: bool = False
    """Whether some images are mirrored, so that latents of mirrored images are needed too."""


def heads(n: int, stream: int, step: int, device: torch.device) -> Tensor:
    """Return for each of `n` images whether it is mirrored, [n] bool: each with probability 1/2."""
    place = drawn_on(stream, device)
    g = generator("flip", stream, step, device=place)
    return torch.rand(n, generator=g, device=place).to(device) < 0.5


def _plain(x: Tensor, stream: int, step: int) -> Tensor:
    return x


def _flip(x: Tensor, stream: int, step: int) -> Tensor:
    """Mirror each image with probability 1/2."""
    mirrored = heads(len(x), stream, step, x.device)
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def _shift(x: Tensor, stream: int, step: int) -> Tensor:
    """Move each image by up to an eighth of its side, background moving in."""
    n, _, height, width = x.shape
    pad = width // 8
    place = drawn_on(stream, x.device)
    g = generator("shift", stream, step, device=place)
    moves = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=g, device=place).to(x.device)
    rows = torch.arange(height, device=x.device) + moves[0]  # [n, H]
    columns = torch.arange(width, device=x.device) + moves[1]  # [n, W]
    images = torch.arange(n, device=x.device)[:, None, None]  # [n, 1, 1]
    padded = torch.nn.functional.pad(x, (pad,) * 4, value=-1.0)
    moved = padded[images, :, rows[:, :, None], columns[:, None, :]]  # [n, H, W, C]
    return moved.permute(0, 3, 1, 2).contiguous()


def _flip_shift(x: Tensor, stream: int, step: int) -> Tensor:
    return _shift(_flip(x, stream, step), stream, step)


AUGMENTS: dict[str, Augmentation] = {
    "none": Augmentation(apply=_plain),
    "flip": Augmentation(apply=_flip, mirrors=True),
    "shift": Augmentation(apply=_shift),
    "flip_shift": Augmentation(apply=_flip_shift, mirrors=True),
}
