"""Coupled channels as plain data: what goes from a network when a channel goes, and the way into a smaller network and back.

A channel of a group is one output of every layer that makes it and an input of every layer that reads it. Masks of whole
channels stay in the coordinates of the whole network, so that they nest and compare as others do. What one leaves of a
parameter is a product of what it leaves along each dimension,

    kept[i, j] = a[i] b[j],

so `small` takes a tensor to the smaller network by what is kept, and `full` takes it back with zeros elsewhere. Of a
network that no channel is cut from nothing is covered, and both leave things as they are.
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
    """Where a group's channels lie along one dimension of a parameter."""

    parameter: str
    dim: int
    channel: Tensor
    """Channel of the group to which each index belongs, [n]; -1 = to none."""

    @cached_property
    def each(self) -> int:
        """Indices that go with one channel."""
        return int((self.channel == 0).sum())


@dataclass(frozen=True)
class Group:
    """Channels of several layers that can only be cut together."""

    name: str
    """The weight that makes them first, in forward order."""
    channels: int
    step: int
    """Channels cut at a time: as many as one group of their norms has, so that norms keep groups of that size."""
    slices: tuple[Slices, ...]


@dataclass(frozen=True)
class Coupling:
    """All groups of a network that may be cut, in forward order; none where single weights are."""

    shapes: Mapping[str, tuple[int, ...]]
    """Of every parameter."""
    groups: tuple[Group, ...] = ()

    def channels(self, mask: Mask) -> Mask:
        """The channels that a mask of weights leaves, group -> [channels]."""
        return Mask({group.name: mask[group.name].flatten(1).any(1) for group in self.groups})

    def cover(self, mask: Mask) -> Mask:
        """What a mask of whole channels leaves of every parameter that they run through; nothing where it leaves all."""
        return Mask({}) if mask.kept == mask.size else self.left(self.channels(mask))

    def left(self, channels: Mask) -> Mask:
        """What these channels leave of every parameter that the groups run through."""
        along: dict[str, dict[int, Tensor]] = defaultdict(dict)
        for group in self.groups:
            for s in group.slices:
                kept = channels[group.name][s.channel] | (s.channel < 0)
                along[s.parameter][s.dim] = kept & along[s.parameter].get(s.dim, torch.tensor(True))
        return Mask({name: _product(self.shapes[name], along[name]) for name in self.shapes if name in along})

    def mask(self, channels: Mask, whole: Mask) -> Mask:
        """The mask of weights, for the layers that `whole` covers, that leaves these channels."""
        left = self.left(channels)
        return Mask({name: left.get(name, bits) for name, bits in whole.items()})

    def scores(self, scores: Scores) -> Scores:
        """Mean score of the weights that go with each channel and are still there, group -> [channels]; -inf = cut."""
        return {group.name: _mean(group, scores) for group in self.groups}

    def size(self, counts: Mapping[str, int], names: Iterable[str]) -> int:
        """Weights of the named layers that are left when each group keeps so many channels."""
        lost: dict[tuple[str, int], int] = defaultdict(int)
        for group in self.groups:
            for s in group.slices:
                lost[s.parameter, s.dim] += s.each * (group.channels - counts[group.name])
        return sum(math.prod(n - lost[name, dim] for dim, n in enumerate(self.shapes[name])) for name in names)


def small(tensors: Mapping[str, Tensor], cover: Mask) -> Weights:
    """Tensors of the whole network as the smaller one has them."""
    return {name: _cut(t, cover[name]) if name in cover else t for name, t in tensors.items()}


def full(tensors: Mapping[str, Tensor], cover: Mask, fill: float = 0.0) -> Weights:
    """The way back, `fill` where nothing was."""
    return {name: _grown(t, cover[name], fill) if name in cover else t for name, t in tensors.items()}


def _cut(tensor: Tensor, bits: Tensor) -> Tensor:
    point = torch.unravel_index(bits.flatten().byte().argmax(), bits.shape)  # one that is kept: lines through it tell a and b
    sides = [int(bits.movedim(dim, -1)[point[:dim] + point[dim + 1 :]].sum()) for dim in range(bits.dim())]
    return tensor[bits.to(tensor.device)].reshape(sides)


def _grown(tensor: Tensor, bits: Tensor, fill: float) -> Tensor:
    whole = torch.full(bits.shape, fill, dtype=tensor.dtype, device=tensor.device)
    whole[bits.to(tensor.device)] = tensor.flatten()
    return whole


def _product(shape: tuple[int, ...], along: Mapping[int, Tensor]) -> Tensor:
    bits = torch.ones(shape, dtype=torch.bool)
    for dim, kept in along.items():
        bits &= kept.reshape([-1 if d == dim else 1 for d in range(len(shape))])
    return bits


def _mean(group: Group, scores: Scores) -> Tensor:
    total, count = torch.zeros(2, group.channels, dtype=torch.float64)
    for s in group.slices:
        if s.parameter in scores:
            values = scores[s.parameter].movedim(s.dim, 0).flatten(1).double()  # [n, weights]
            there, mine = values > -torch.inf, s.channel >= 0
            total.index_add_(0, s.channel[mine], values.where(there, 0.0).sum(1)[mine])
            count.index_add_(0, s.channel[mine], there.double().sum(1)[mine])
    return torch.where(count > 0, total / count, -torch.inf)
