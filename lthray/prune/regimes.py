"""Regimes: change the mask while a ticket is trained.

    static    the mask stays
    set       at intervals each layer drops its smallest weights and grows as many at random (Mocanu
              et al. 2018)
    rigl      as set, but weights grow where the gradient is largest (Evci et al. 2020, arXiv
              1911.11134)
    gradual   from the density of the round before to the rung's own by a cubic, smallest weights
              first (Zhu and Gupta 2017, arXiv 1710.01878)
    rst       an L2 penalty that grows presses the weights that will go towards zero, then they are
              cut (Bai et al. 2022, arXiv 2203.04248)

set and rigl train under the rung's mask and keep the count of every layer at every step. gradual
and rst begin with the mask of the round before; from the cut on they have the rung's layer counts,
rst its very mask.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from lthray.config.parts import Regime
from lthray.core.random import generator
from lthray.core.ticket import Mask, top


@dataclass(frozen=True)
class Layer:
    """One layer at a step at which its mask may change."""

    name: str
    kept: Tensor
    """The layer's mask."""
    weight: Tensor
    gradients: Mapping[str, Tensor]
    """Dense gradients of all layers, by name."""

    @property
    def sizes(self) -> Tensor:
        """Absolute values of the kept weights, [weights]; -inf where the mask cuts."""
        sizes = self.weight.detach().abs().flatten()
        return sizes.masked_fill(~self.kept.flatten(), -torch.inf)


@dataclass(frozen=True)
class Schedule:
    """A regime at work on one training run: steps `start` to `end`, masks `before` to `target`."""

    regime: Regime
    start: int
    end: int
    before: Mask
    """Mask of the round before."""
    target: Mask
    """Mask of the rung."""
    stream: int
    """Seed of what is drawn."""

    def on(self, device: torch.device) -> "Schedule":
        """Return this with its masks on a device, so that no training step has to bring them."""
        moved = replace(self, before=self.before.to(device), target=self.target.to(device))
        _ = moved.counts  # known from now on: a step would wait for the device to count
        return moved

    @cached_property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Layer -> weights kept by the mask of the round before, and by that of the rung."""
        counts = {}
        for name, bits in self.target.items():
            counts[name] = int(self.before[name].sum()), int(bits.sum())
        return counts

    @property
    def row(self) -> "Moving":
        """The regime's row of the table."""
        return REGIMES[self.regime.name]

    @property
    def first(self) -> Mask:
        """The mask with which the run begins."""
        return self.before if self.row.from_before else self.target

    @property
    def cut(self) -> int:
        """The first step at which the mask rests: a step of the run, so never its end."""
        length = self.end - self.start
        return self.start + max(1, min(round(self.regime.until * length), length - 1))

    @property
    def exchanges(self) -> bool:
        """Whether weights are dropped and grown; such a step is no step of the optimizer."""
        return self.row.exchanges

    def due(self, step: int) -> bool:
        """Return whether the mask may change at a step, once its gradient is known."""
        return self.start < step <= self.cut and self.row.due(self, step)

    def penalty(self, step: int) -> float:
        """Return the L2 coefficient on the pressed weights at a step; 0 from the cut on."""
        return self.row.penalty(self, step) if step < self.cut else 0.0

    def pressed(self, name: str) -> Tensor | None:
        """Return the mask of a layer's weights under the penalty, or None where there is none."""
        return self.row.pressed(self, name) if self.row.pressed else None

    def next(
        self,
        step: int,
        mask: Mask,
        weights: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
    ) -> Mask:
        """Return the mask after a step at which it is due.

        `gradients` are dense: of the weights that the mask cuts, too.
        """
        layers = {}
        for name, kept in mask.items():
            layer = Layer(name, kept, weights[name], gradients)
            layers[name] = self.row.update(self, step, layer)
        return Mask(layers)


def never(moves: Schedule, step: int) -> bool:
    """Return False: the mask is never due."""
    return False


def at_intervals(moves: Schedule, step: int) -> bool:
    """Return whether a whole number of intervals `regime.every` has passed."""
    return (step - moves.start) % moves.regime.every == 0


def at_the_cut(moves: Schedule, step: int) -> bool:
    """Return whether the step is the cut."""
    return step == moves.cut


def at_intervals_and_the_cut(moves: Schedule, step: int) -> bool:
    """Return whether intervals have passed or the step is the cut, which no interval need meet."""
    return at_intervals(moves, step) or at_the_cut(moves, step)


def unchanged(moves: Schedule, step: int, layer: Layer) -> Tensor:
    """Return the layer's mask as it is."""
    return layer.kept


def target(moves: Schedule, step: int, layer: Layer) -> Tensor:
    """Return the layer's mask of the rung."""
    return moves.target[layer.name]


def shrunk(moves: Schedule, step: int, layer: Layer) -> Tensor:
    """Keep the largest weights, as many as the cubic leaves at a step (Zhu and Gupta 2017)."""
    first, last = moves.counts[layer.name]
    passed = (step - moves.start) / (moves.cut - moves.start)
    count = last + math.ceil((first - last) * (1 - passed) ** 3)
    return top(layer.sizes, count).reshape(layer.kept.shape)


def grown_at_random(moves: Schedule, step: int, layer: Layer) -> Tensor:
    """Drop the smallest weights and grow as many at random (Mocanu et al. 2018)."""
    device = layer.weight.device
    g = generator("grow", moves.stream, step, layer.name, device=device)
    draws = torch.rand(layer.kept.numel(), generator=g, device=device)
    return _exchanged(moves, step, layer, draws)


def grown_by_gradient(moves: Schedule, step: int, layer: Layer) -> Tensor:
    """Drop the smallest weights, grow as many where gradients are largest (Evci et al. 2020)."""
    return _exchanged(moves, step, layer, layer.gradients[layer.name].abs().flatten())


def _exchanged(moves: Schedule, step: int, layer: Layer, growth: Tensor) -> Tensor:
    """Drop the smallest, then grow the highest of `growth`; a dropped weight may come back."""
    count = moves.counts[layer.name][1]
    angle = math.pi * (step - moves.start) / (moves.cut - moves.start)
    share = moves.regime.share / 2 * (1 + math.cos(angle))
    room = layer.kept.numel() - count
    exchanged = min(math.floor(share * count), room)
    stays = top(layer.sizes, count - exchanged)
    grown = top(growth.masked_fill(stays, -torch.inf), exchanged)
    return (stays | grown).reshape(layer.kept.shape)


def no_penalty(moves: Schedule, step: int) -> float:
    """Return 0: nothing is pressed."""
    return 0.0


def growing_penalty(moves: Schedule, step: int) -> float:
    """Return `regime.penalty` x^`regime.power`, x being the share of the way to the cut.

    x grows at the intervals `regime.every`.
    """
    intervals = (step - moves.start) // moves.regime.every
    behind = intervals * moves.regime.every
    return moves.regime.penalty * (behind / (moves.cut - moves.start)) ** moves.regime.power


def going(moves: Schedule, name: str) -> Tensor:
    """Return the mask of a layer's weights that the rung's mask cuts and the one before keeps."""
    return moves.before[name] & ~moves.target[name]


@dataclass(frozen=True)
class Moving:
    """One row of the table: when and how a mask moves in training."""

    due: Callable[[Schedule, int], bool] = never
    """Whether the mask changes at a step between the start and the cut."""
    update: Callable[[Schedule, int, Layer], Tensor] = unchanged
    """A layer's next mask."""
    from_before: bool = False
    """Whether training begins with the mask of the round before, not with the rung's."""
    exchanges: bool = False
    """Whether weights are dropped and grown: a step that does so is no step of the optimizer, and
    masks of two rounds need not nest."""
    penalty: Callable[[Schedule, int], float] = no_penalty
    """L2 coefficient at a step before the cut."""
    pressed: Callable[[Schedule, str], Tensor] | None = None
    """Mask of a layer's weights under the penalty."""

    @property
    def moves(self) -> bool:
        """Whether the mask changes in training at all."""
        return self.due is not never


REGIMES: dict[str, Moving] = {
    "static": Moving(),
    "set": Moving(at_intervals, grown_at_random, exchanges=True),
    "rigl": Moving(at_intervals, grown_by_gradient, exchanges=True),
    "gradual": Moving(at_intervals_and_the_cut, shrunk, from_before=True),
    "rst": Moving(at_the_cut, target, from_before=True, penalty=growing_penalty, pressed=going),
}
