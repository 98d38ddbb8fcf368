"""Coupled channels as plain data: what goes with a channel, and how tensors shrink and grow back.

A channel of a group is one output of every layer that makes it and one input of every layer that
reads it. Masks of whole channels stay in the coordinates of the whole network, so that they nest
and compare as others do. What such a mask leaves of a parameter is a product of what it leaves
along each dimension,

    kept[i, j] = a[i] b[j],

so `small` takes a tensor to the smaller network by what is kept, and `full` takes it back. A cover
is what a mask leaves of every tensor that channels run through, norms and their running statistics
too. Where no channel is cut the cover is empty, and both functions leave tensors as they are.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lthray.core.ticket import Mask, Scores, Weights


@dataclass(frozen=True)
class Slices:
    """Where the channels of a group lie along one dimension of a parameter."""

    parameter: str
    dim: int
    channel: Tensor
    """Channel of the group to which each index belongs, [n]; -1 = to none."""

    @cached_property
    def each(self) -> int:
        """Number of indices that go with one channel."""
        return int((self.channel == 0).sum())

    def reordered(self, order: Tensor) -> Tensor:
        """Return where each index is taken from, [n], if channel c is to be what `order[c]` was."""
        source = torch.arange(len(self.channel))
        for here, there in enumerate(order.tolist()):
            source[self.channel == here] = (self.channel == there).nonzero()[:, 0]
        return source


@dataclass(frozen=True)
class Group:
    """Channels of several layers that can only be cut together."""

    name: str
    """The weight that makes them first, in forward order."""
    channels: int
    step: int
    """Channels cut at a time: as many as one group of their norms has, so that the norms keep
    groups of that size."""
    slices: tuple[Slices, ...]
    dim: int = 0
    """Dimension of that weight along which its outputs lie; 1 in a transposed convolution."""


@dataclass(frozen=True)
class Coupling:
    """All groups of channels that may be cut, in forward order; none for single weights."""

    shapes: Mapping[str, tuple[int, ...]]
    """Shape of every parameter and buffer."""
    groups: tuple[Group, ...] = ()

    def channels(self, mask: Mask) -> Mask:
        """Return the channels that a mask of weights leaves, group -> [channels]."""
        left = {}
        for group in self.groups:
            left[group.name] = mask[group.name].movedim(group.dim, 0).flatten(1).any(1)
        return Mask(left)

    def cover(self, mask: Mask) -> Mask:
        """Return the cover of a mask of whole channels; empty where the mask cuts nothing."""
        if mask.kept == mask.size:
            return Mask({})
        return self.left(self.channels(mask))

    def left(self, channels: Mask) -> Mask:
        """Return the cover of `channels`, a mask of the groups."""
        along: dict[str, dict[int, Tensor]] = defaultdict(dict)
        for group in self.groups:
            for part in group.slices:
                kept = channels[group.name][part.channel] | (part.channel < 0)
                others = along[part.parameter].get(part.dim, torch.tensor(True))
                along[part.parameter][part.dim] = kept & others
        cover = {}
        for name, shape in self.shapes.items():
            if name in along:
                cover[name] = _product(shape, along[name])
        return Mask(cover)

    def mask(self, channels: Mask, whole: Mask) -> Mask:
        """Return the mask of weights that leaves these channels, of the layers in `whole`."""
        left = self.left(channels)
        return Mask({name: left.get(name, layer) for name, layer in whole.items()})

    def permuted(self, mask: Mask, orders: Mapping[str, Tensor]) -> Mask:
        """Return the mask with the channels of each group in another order.

        `orders` is group -> for each channel, which of the mask's channels it becomes, [channels].
        """
        layers = dict(mask)
        for group in self.groups:
            for part in group.slices:
                if part.parameter in layers:
                    source = part.reordered(orders[group.name])
                    layers[part.parameter] = layers[part.parameter].index_select(part.dim, source)
        return Mask(layers)

    def scores(self, scores: Scores) -> Scores:
        """Return the scores of channels, group -> [channels], given those of weights.

        A channel scores the mean of all weights that go with it and are not yet cut, -inf if none.
        """
        return {group.name: _mean(group, scores) for group in self.groups}

    def size(self, counts: Mapping[str, int], names: Iterable[str]) -> int:
        """Return how many weights of the named layers are left when each group keeps its count."""
        lost: dict[tuple[str, int], int] = defaultdict(int)
        for group in self.groups:
            for part in group.slices:
                cut = group.channels - counts[group.name]
                lost[part.parameter, part.dim] += part.each * cut
        total = 0
        for name in names:
            total += math.prod(n - lost[name, dim] for dim, n in enumerate(self.shapes[name]))
        return total


def small(tensors: Mapping[str, Tensor], cover: Mask) -> Weights:
    """Return tensors of the whole network as the smaller network has them."""
    shrunk = {}
    for name, tensor in tensors.items():
        shrunk[name] = _cut(tensor, cover[name]) if name in cover else tensor
    return shrunk


def full(tensors: Mapping[str, Tensor], cover: Mask, fill: float = 0.0) -> Weights:
    """Return tensors of the smaller network as the whole one has them, `fill` elsewhere."""
    grown = {}
    for name, tensor in tensors.items():
        grown[name] = _grown(tensor, cover[name], fill) if name in cover else tensor
    return grown


def _cut(tensor: Tensor, kept: Tensor) -> Tensor:
    """The kept part of a tensor; its sides are counted along lines through one kept point."""
    point = torch.unravel_index(kept.flatten().byte().argmax(), kept.shape)
    sides = []
    for dim in range(kept.dim()):
        line = kept.movedim(dim, -1)[point[:dim] + point[dim + 1 :]]
        sides.append(int(line.sum()))
    return tensor[kept.to(tensor.device)].reshape(sides)


def _grown(tensor: Tensor, kept: Tensor, fill: float) -> Tensor:
    whole = torch.full(kept.shape, fill, dtype=tensor.dtype, device=tensor.device)
    whole[kept.to(tensor.device)] = tensor.flatten()
    return whole


def _product(shape: tuple[int, ...], along: Mapping[int, Tensor]) -> Tensor:
    """The mask of a parameter, given what is kept along its dimensions."""
    bits = torch.ones(shape, dtype=torch.bool)
    for dim, kept in along.items():
        sides = [1] * len(shape)
        sides[dim] = -1
        bits &= kept.reshape(sides)
    return bits


def _mean(group: Group, scores: Scores) -> Tensor:
    """Mean score of the weights of each channel that are not yet cut, [channels]."""
    total, count = torch.zeros(2, group.channels, dtype=torch.float64)
    for part in group.slices:
        if part.parameter not in scores:
            continue
        values = scores[part.parameter].movedim(part.dim, 0).flatten(1).double()  # [n, weights]
        left = values > -torch.inf
        coupled = part.channel >= 0
        channel = part.channel[coupled]
        total.index_add_(0, channel, values.where(left, 0.0).sum(1)[coupled])
        count.index_add_(0, channel, left.double().sum(1)[coupled])
    return torch.where(count > 0, total / count, -torch.inf)
