"""What the mask does while a ticket is trained: (step, mask, weights, gradients) -> the next mask, or None where it stays.

    static    nothing
    set       every so many steps each layer drops its smallest weights and grows as many at random (Mocanu et al. 2018)
    rigl      the same, growing where the gradient is largest (Evci et al. 2020, arXiv 1911.11134)
    gradual   from the density before to the rung's own by a cubic, smallest weights first (Zhu and Gupta 2017, arXiv
              1710.01878)
    rst       what will be cut is pressed towards zero by an L2 penalty that grows, then cut (Bai et al. 2022, arXiv
              2203.04248)

set and rigl train under the rung's mask, whose layer counts they keep exactly at every step; their masks need not nest.
gradual and rst begin with the mask before it and have the rung's layer counts (rst: its mask) from the cut on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lthray.config.trial import Regime
from lthray.core.random import generator
from lthray.core.ticket import Mask, top

NAMES = ("static", "set", "rigl", "gradual", "rst")
EXCHANGES = ("set", "rigl")  # drop and grow; a step at which they do is no step of the optimizer
SHRINKS = ("gradual", "rst")  # begin with the mask of the round before


@dataclass(frozen=True)
class Schedule:
    """A regime at work on one run: steps `start` to `end`, from the mask `before` to the rung's own, `target`."""

    regime: Regime
    start: int
    end: int
    before: Mask
    target: Mask
    stream: int

    @property
    def first(self) -> Mask:
        """The mask with which the run begins."""
        return self.before if self.regime.name in SHRINKS else self.target

    @property
    def cut(self) -> int:
        """The first step at which the mask rests."""
        return self.start + max(1, round(self.regime.until * (self.end - self.start)))

    def due(self, step: int) -> bool:
        """Whether the mask may change at a step, once its gradient is known."""
        inside = self.start < step <= self.cut and self.regime.name != "static"
        on_time = step == self.cut if self.regime.name == "rst" else (step - self.start) % self.regime.every == 0
        return inside and (on_time or (step == self.cut and self.regime.name == "gradual"))

    def penalty(self, step: int) -> float:
        """L2 coefficient on what will be cut, in [0, regime.penalty): x^power of the share x of the way to the cut."""
        if self.regime.name != "rst" or step >= self.cut:
            return 0.0
        passed = (step - self.start) // self.regime.every * self.regime.every
        return self.regime.penalty * (passed / (self.cut - self.start)) ** self.regime.power

    def next(self, step: int, mask: Mask, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Mask:
        """The mask after a step at which it is due."""
        if self.regime.name == "rst":
            return self.target
        layers = {}
        for name, kept in mask.items():
            w = weights[name].detach().abs().flatten()
            if self.regime.name == "gradual":
                layers[name] = self._shrunk(name, kept, w, step)
            else:
                layers[name] = self._exchanged(name, kept, w, gradients[name].abs().flatten(), step)
        return Mask(layers)

    def _exchanged(self, name: str, kept: Tensor, w: Tensor, g: Tensor, step: int) -> Tensor:
        """Drop the smallest, grow as many of what is then cut: what was just dropped may come back."""
        flat, count = kept.flatten(), int(self.target[name].sum())
        share = self.regime.share / 2 * (1 + math.cos(math.pi * (step - self.start) / (self.cut - self.start)))
        moved = min(math.floor(share * count), flat.numel() - count)
        stays = top(w.masked_fill(~flat, -torch.inf), count - moved)
        if self.regime.name == "set":
            g = torch.rand(flat.shape, generator=generator("grow", self.stream, step, name)).to(w.device)
        return (stays | top(g.masked_fill(stays, -torch.inf), moved)).reshape(kept.shape)

    def _shrunk(self, name: str, kept: Tensor, w: Tensor, step: int) -> Tensor:
        """The largest weights, as many as the cubic has left."""
        first, last = int(self.before[name].sum()), int(self.target[name].sum())
        x = (step - self.start) / (self.cut - self.start)
        count = last + math.ceil((first - last) * (1 - x) ** 3)
        return top(w.masked_fill(~kept.flatten(), -torch.inf), count).reshape(kept.shape)
