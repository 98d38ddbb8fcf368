"""Masks and tickets: which weights are kept, what they begin from, and the ticket file.

A ticket file is one safetensors file: all masks packed bit by bit into one tensor, optionally the
kept weights, and one metadata entry of canonical JSON (names, shapes, start, config, lineage).
lthray.core.ticket_file reads it.
"""

import json
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

Weights: TypeAlias = dict[str, Tensor]
Scores: TypeAlias = dict[str, Tensor]
"""Layer -> score of each weight, in forward order; larger is kept; -inf where already cut."""
Shapes: TypeAlias = Mapping[str, Sequence[int]]
"""Layer -> shape of its weight, in forward order."""

SETTLED = 4  # earlier looks from which a settled mask may differ but little
REMAINS = 0.1  # share of a layer's kept weights that is left when that layer alone is cut


class TicketError(ValueError):
    """A ticket file is damaged, hostile, or of another network."""


class TrialFailed(RuntimeError):
    """A trial cannot go on and would fail again; it is not retried, and what is recorded stays."""


def top(flat: Tensor, count: int) -> Tensor:
    """Return which entries of `flat` [n] are the `count` highest, [n] bool; ties by index.

    The choice is by index, never by a threshold, so the count is exact.
    """
    kept = torch.zeros(flat.shape, dtype=torch.bool, device=flat.device)
    order = torch.sort(flat, stable=True, descending=True).indices
    return kept.index_fill_(0, order[:count], True)


def largest(weight: Tensor, layer: Tensor) -> Tensor:
    """Return `weight` with the largest tenth of what the mask `layer` keeps, and zeros elsewhere.

    Both have one shape; ties go to the lower index, and at least one weight is left.
    """
    count = max(1, round(REMAINS * int(layer.sum())))
    kept = top(weight.abs().flatten(), count)
    return weight * kept.reshape(layer.shape)


class Mask(Mapping[str, Tensor]):
    """Layer name -> bool tensor of the weight's shape, in forward order; True = kept."""

    def __init__(self, masks: Mapping[str, Tensor]):
        """Take the mask of each layer; ValueError where one is not of dtype bool."""
        for name, mask in masks.items():
            if mask.dtype != torch.bool:
                raise ValueError(f"mask of {name}: dtype {mask.dtype}, expected torch.bool")
        self._masks = dict(masks)

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    @classmethod
    def full(cls, shapes: Shapes) -> "Mask":
        """Return the mask of a dense network, which keeps every weight of the layers `shapes`."""
        return cls({name: torch.ones(tuple(s), dtype=torch.bool) for name, s in shapes.items()})

    @property
    def size(self) -> int:
        """Number of weights in the layers that have a mask."""
        return sum(map(Tensor.numel, self.values()))

    @property
    def kept(self) -> int:
        """Number of weights that are kept."""
        return sum(int(mask.sum()) for mask in self.values())

    @property
    def density(self) -> float:
        """Share of the weights that is kept, over all layers that have a mask."""
        return self.kept / self.size

    @property
    def densities(self) -> dict[str, float]:
        """Share of the weights that is kept in each layer."""
        return {name: int(mask.sum()) / mask.numel() for name, mask in self.items()}

    def __and__(self, other: "Mask") -> "Mask":
        self._check_fits(other)
        return Mask({name: mask & other[name] for name, mask in self.items()})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask) or list(self) != list(other):
            return False
        return all(torch.equal(mask, other[name]) for name, mask in self.items())

    __hash__ = None  # type: ignore[assignment]

    def within(self, other: "Mask") -> bool:
        """Return whether `other` keeps every weight that this mask keeps."""
        return (self & other).kept == self.kept

    def overlap(self, other: "Mask") -> float:
        """Return the weights kept in both masks over those kept in either (Jaccard index)."""
        both = (self & other).kept
        return both / (self.kept + other.kept - both)

    def agreement(self, other: "Mask") -> float:
        """Return how many weights both masks keep, beyond chance, relative to the most possible.

        0 is what two random masks with these layer densities have; 1 is as equal as masks with
        these densities can be; 0 also where chance could not do otherwise.
        """
        both, chance, most = 0, 0.0, 0
        for name, mask in self.items():
            first, second = int(mask.sum()), int(other[name].sum())
            both += int((mask & other[name]).sum())
            chance += first * second / mask.numel()
            most += min(first, second)
        return (both - chance) / (most - chance) if most > chance else 0.0

    def among(self, names: Container[str]) -> "Mask":
        """Return what this mask says of the tensors that `names` lists."""
        return Mask({name: mask for name, mask in self.items() if name in names})

    def apply_(self, weights: Mapping[str, Tensor]) -> None:
        """Set every cut weight to zero in place; tensors that have no mask stay as they are."""
        self._check_fits(weights, exact=False)
        if self:
            with torch.no_grad():
                torch._foreach_mul_([weights[name] for name in self], list(self.values()))

    def holds(self, weights: Mapping[str, Tensor]) -> bool:
        """Return whether every cut weight is exactly zero."""
        for name, mask in self.items():
            nonzero = weights[name] != 0
            if bool((nonzero > mask).any()):
                return False
        return True

    def to(self, device: torch.device | str) -> "Mask":
        """Return this mask on another device."""
        return Mask({name: mask.to(device) for name, mask in self.items()})

    @property
    def device(self) -> torch.device:
        """Device that the mask lies on; the CPU where it covers no layer."""
        return next((mask.device for mask in self.values()), torch.device("cpu"))

    def packed(self) -> Tensor:
        """Return all masks one after another, eight weights a byte (uint8, little end first)."""
        bits = torch.cat([mask.flatten().cpu() for mask in self.values()]).numpy()
        return torch.from_numpy(np.packbits(bits, bitorder="little"))

    @classmethod
    def unpacked(cls, packed: Tensor, shapes: Shapes) -> "Mask":
        """Return the mask that `packed()` made of layers with these `shapes`."""
        sizes = list(map(math.prod, shapes.values()))
        bits = np.unpackbits(packed.numpy(), count=sum(sizes), bitorder="little").astype(bool)
        parts = torch.from_numpy(bits).split(sizes)
        masks = {}
        for (name, shape), part in zip(shapes.items(), parts, strict=True):
            masks[name] = part.reshape(tuple(shape)).clone()
        return cls(masks)

    def _check_fits(self, other: Mapping[str, Tensor], *, exact: bool = True) -> None:
        """Refuse tensors of other shapes than the mask's, or names; `exact`: of more names too."""
        missing = [name for name in self if name not in other]
        extra = [name for name in other if name not in self]
        unlike = missing or (extra if exact else [])
        if unlike:
            raise ValueError(f"mask and tensors differ in names: {', '.join(unlike[:5])}")
        for name, mask in self.items():
            shape = other[name].shape
            if mask.shape != shape:
                wanted = tuple(mask.shape)
                raise ValueError(f"{name}: mask has shape {wanted}, tensor {tuple(shape)}")


def alive(mask: Mask) -> Mask:
    """Return `mask`, if it keeps some weight of every layer; TicketError if not."""
    empty = [name for name, layer in mask.items() if not layer.any()]
    if empty:
        raise TicketError(f"mask keeps no weight of {', '.join(empty[:5])}")
    return mask


@dataclass(frozen=True)
class Ticket:
    """A sub-network: a mask, and the weights and the step of the schedule that it begins from."""

    mask: Mask
    weights: Weights
    """Parameter -> weights at the start, zero where cut; empty where they are stored elsewhere."""
    start: int
    """Step of the schedule at which training begins."""
    buffers: Weights = field(default_factory=dict)
    """What the network keeps beside its weights; none where weights are stored elsewhere."""

    def to_bytes(self, facts: Mapping[str, Any], *, with_weights: bool = False) -> bytes:
        """Return the ticket file; without weights, `facts` must name their store key."""
        tensors = {"mask": self.mask.packed()}
        if with_weights:
            for name, weight in self.weights.items():
                kept = weight[self.mask[name]] if name in self.mask else weight
                tensors[f"weights.{name}"] = kept.detach().cpu().contiguous()
            for name, buffer in self.buffers.items():
                tensors[f"buffers.{name}"] = buffer.detach().cpu().contiguous()
        shapes = {name: list(mask.shape) for name, mask in self.mask.items()}
        header = {**facts, "shapes": shapes, "start": self.start}
        return save_tensors(tensors, {"lthray": json.dumps(header, separators=(",", ":"))})


@dataclass(frozen=True)
class Probe:
    """All that a pruning criterion may see besides the network."""

    terms: tuple[Callable[[], Tensor], ...] = ()
    """Losses as closures: one a batch of a classifier, one a timestep of a denoiser."""
    targets: tuple[Tensor, ...] = ()
    """What the network should answer, [n, ...], of each term."""
    example: tuple[Tensor, ...] = ()
    """Inputs of one forward pass."""
    before: Weights = field(default_factory=dict)
    """Weights at the start of the training run whose end is scored."""
    threshold: float = 0.0
    """Share of the largest loss below which the criterion diff_pruning stops."""
    seed: int = 0
    """Seed of the criteria that draw random numbers."""


def settled(masks: list[Mask], early: float) -> bool:
    """Return whether the last mask keeps, but for a share `early`, what each of the four before it
    keeps.

    Shares of what is kept are compared, not Hamming distance, which is small between any two sparse
    masks.
    """
    if len(masks) <= SETTLED:
        return False
    last = masks[-1]
    changes = [1 - (last & before).kept / last.kept for before in masks[-1 - SETTLED : -1]]
    return max(changes) <= early
