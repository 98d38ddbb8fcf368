"""What a ticket is: masks, the weights and step it begins from, and what a trajectory yields on its way.

A ticket file is one safetensors file: all masks packed bit by bit into one tensor, optionally the kept weights, and one
metadata entry of canonical JSON (names, shapes, start, config, lineage). Reading one trusts nothing in it.
"""

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

Weights: TypeAlias = dict[str, Tensor]
Scores: TypeAlias = dict[str, Tensor]  # in forward order; larger = kept; -inf where already cut, so masks nest

MAX_HEADER = 4 << 20  # bytes; the header of a real ticket is a few kilobytes


class TicketError(ValueError):
    """A ticket file is damaged, hostile, or of another network."""


class TrialFailed(RuntimeError):
    """A trial cannot go on and would fail the same way again: never retried, everything recorded so far stays."""


def top(flat: Tensor, count: int) -> Tensor:
    """The `count` highest of [n] by index, never by threshold, ties by index; [n] bool."""
    kept = torch.zeros(flat.shape, dtype=torch.bool, device=flat.device)
    kept[torch.sort(flat, stable=True, descending=True).indices[:count]] = True
    return kept


class Mask(Mapping[str, Tensor]):
    """Layer name -> bool tensor of the weight's shape, in forward order; True = kept."""

    def __init__(self, masks: Mapping[str, Tensor]):
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
    def full(cls, shapes: Mapping[str, Sequence[int]]) -> "Mask":
        """The mask of a dense network."""
        return cls({name: torch.ones(tuple(shape), dtype=torch.bool) for name, shape in shapes.items()})

    @property
    def size(self) -> int:
        """Weights covered."""
        return sum(mask.numel() for mask in self.values())

    @property
    def kept(self) -> int:
        """Weights kept."""
        return sum(int(mask.sum()) for mask in self.values())

    @property
    def density(self) -> float:
        """Share of all covered weights that is kept."""
        return self.kept / self.size

    @property
    def densities(self) -> dict[str, float]:
        """Share kept in each layer."""
        return {name: int(mask.sum()) / mask.numel() for name, mask in self.items()}

    def __and__(self, other: "Mask") -> "Mask":
        self._fits(other)
        return Mask({name: mask & other[name] for name, mask in self.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and list(self) == list(other) and all(torch.equal(self[n], other[n]) for n in self)

    __hash__ = None  # type: ignore[assignment]

    def within(self, other: "Mask") -> bool:
        """Whether every weight kept here is kept in `other`."""
        return (self & other).kept == self.kept

    def overlap(self, other: "Mask") -> float:
        """Kept in both over kept in either (Jaccard); 1 = equal masks."""
        return (self & other).kept / (self.kept + other.kept - (self & other).kept)

    def agreement(self, other: "Mask") -> float:
        """Kept in both, beyond chance: 0 as two random masks with these layer densities, 1 as equal as these can be."""
        pairs = [(int(m.sum()), int(other[n].sum()), int((m & other[n]).sum()), m.numel()) for n, m in self.items()]
        chance, most = sum(a * b / n for a, b, _, n in pairs), sum(min(a, b) for a, b, _, _ in pairs)
        return (sum(both for _, _, both, _ in pairs) - chance) / (most - chance) if most > chance else 0.0

    def apply_(self, weights: Mapping[str, Tensor]) -> None:
        """Set every cut weight to zero in place; tensors that have no mask stay as they are."""
        self._fits(weights, exact=False)
        if self:
            with torch.no_grad():
                torch._foreach_mul_([weights[name] for name in self], [self[name] for name in self])

    def holds(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether every cut weight is exactly zero."""
        return not any(bool(((weights[name] != 0) > mask).any()) for name, mask in self.items())

    def to(self, device: torch.device | str) -> "Mask":
        """The same mask on another device."""
        return Mask({name: mask.to(device) for name, mask in self.items()})

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next((mask.device for mask in self.values()), torch.device("cpu"))

    def packed(self) -> Tensor:
        """All masks one after another, eight weights a byte (uint8, little end first)."""
        bits = torch.cat([mask.flatten().cpu() for mask in self.values()]).numpy()
        return torch.from_numpy(np.packbits(bits, bitorder="little"))

    @classmethod
    def unpacked(cls, packed: Tensor, shapes: Mapping[str, Sequence[int]]) -> "Mask":
        """The mask that `packed()` made."""
        sizes = [math.prod(shape) for shape in shapes.values()]
        bits = np.unpackbits(packed.numpy(), count=sum(sizes), bitorder="little").astype(bool)
        parts = torch.from_numpy(bits).split(sizes)
        return cls({name: p.reshape(tuple(s)).clone() for (name, s), p in zip(shapes.items(), parts, strict=True)})

    def _fits(self, other: Mapping[str, Tensor], exact: bool = True) -> None:
        missing = [name for name in self if name not in other] or [n for n in other if exact and n not in self]
        if missing:
            raise ValueError(f"mask and tensors differ in names: {', '.join(missing[:5])}")
        for name, mask in self.items():
            if mask.shape != other[name].shape:
                raise ValueError(f"{name}: mask has shape {tuple(mask.shape)}, tensor {tuple(other[name].shape)}")


@dataclass(frozen=True)
class Ticket:
    """A sub-network: its mask, the weights that it begins from, and the step of the schedule where it begins."""

    mask: Mask
    weights: Weights
    start: int

    def to_bytes(self, facts: Mapping[str, Any], *, with_weights: bool = False) -> bytes:
        """The ticket file; without weights `facts` must say where they are (a store key)."""
        tensors = {"mask": self.mask.packed()}
        if with_weights:
            for name, weight in self.weights.items():
                kept = weight[self.mask[name]] if name in self.mask else weight
                tensors[f"weights.{name}"] = kept.detach().cpu().contiguous()
        shapes = {name: list(mask.shape) for name, mask in self.mask.items()}
        header = {**facts, "shapes": shapes, "start": self.start}
        return save_tensors(tensors, {"lthray": json.dumps(header, separators=(",", ":"))})


def read_ticket(data: bytes, shapes: Mapping[str, Sequence[int]] | None = None) -> tuple[Ticket, dict[str, Any]]:
    """The ticket in `data` and its facts, for a network whose prunable layers have `shapes` (None: as it says);
    TicketError if unfit.

    Kept weights come back in place, zeros elsewhere; a file without weights gives an empty dict.
    """
    facts = _facts(data)
    try:
        tensors = load_tensors(data)
    except Exception as error:  # the parser is native code: whatever it raises, the file is not a ticket
        raise TicketError(f"not a safetensors file: {error}") from None
    got = {str(name): tuple(shape) for name, shape in facts["shapes"].items()}
    _same(got, got if shapes is None else shapes)
    packed, size = tensors.pop("mask", torch.empty(0)), sum(math.prod(shape) for shape in got.values())
    if packed.dtype != torch.uint8 or packed.shape != ((size + 7) // 8,):
        raise TicketError(f"mask is {packed.dtype} {tuple(packed.shape)}, expected {(size + 7) // 8} packed bytes")
    mask = alive(Mask.unpacked(packed, got))
    return Ticket(mask, _unfold(tensors, mask), facts["start"]), facts


def fitted(tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """The tensors in the order of `shapes`; TicketError where one is missing, of another shape, or one too many."""
    _same({name: tuple(tensor.shape) for name, tensor in tensors.items()}, shapes)
    return {name: tensors[name] for name in shapes}


def alive(mask: Mask) -> Mask:
    """The mask, if it keeps some weight of every layer; TicketError if not."""
    if empty := [name for name, layer in mask.items() if not layer.any()]:
        raise TicketError(f"mask keeps no weight of {', '.join(empty[:5])}")
    return mask


def _same(got: Mapping[str, tuple[int, ...]], shapes: Mapping[str, Sequence[int]]) -> None:
    want = {name: tuple(shape) for name, shape in shapes.items()}
    if unlike := [f"{n} {got.get(n)} here {want.get(n)}" for n in {**want, **got} if got.get(n) != want.get(n)]:
        raise TicketError("ticket of another network: " + "; ".join(unlike[:5]))


def _facts(data: bytes) -> dict[str, Any]:
    """The JSON of a ticket's header, checked before any tensor is touched."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= length <= min(MAX_HEADER, len(data) - 8):
        raise TicketError("not a safetensors file (lthray never loads pickles)")
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique)
        facts = json.loads(header["__metadata__"]["lthray"], object_pairs_hook=_unique)
        shapes, start = facts["shapes"], facts["start"]
        fine = type(start) is int and start >= 0 and all(_is_shape(shape) for shape in shapes.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TicketError(f"not a ticket: {type(error).__name__} in its header: {error}") from None
    if not fine:
        raise TicketError("not a ticket: shapes or start are malformed")
    return facts


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and 0 < len(shape) < 8 and all(type(n) is int and 0 < n < 2**24 for n in shape)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("duplicate names")
    return dict(pairs)


def _unfold(tensors: Weights, mask: Mask) -> Weights:
    """Kept weights back in their places."""
    weights: Weights = {}
    for key, kept in tensors.items():
        name = key.removeprefix("weights.")
        if not key.startswith("weights.") or not kept.is_floating_point() or not torch.isfinite(kept).all():
            raise TicketError(f"{key}: expected a finite float tensor of kept weights")
        if name in mask:
            if kept.shape != (int(mask[name].sum()),):
                raise TicketError(f"{key}: {tuple(kept.shape)}, the mask keeps {int(mask[name].sum())}")
            weights[name] = torch.zeros(mask[name].shape, dtype=kept.dtype)
            weights[name][mask[name]] = kept
        else:
            weights[name] = kept
    return weights


@dataclass(frozen=True)
class Probe:
    """All that a criterion may see besides the model."""

    terms: tuple[Callable[[], Tensor], ...] = ()
    """Losses as closures: one a batch (classifier) or one a timestep, low noise first (diffusion)."""
    targets: tuple[Tensor, ...] = ()
    """What the network should answer, [n, ...], of each term."""
    example: tuple[Tensor, ...] = ()
    """Inputs of one forward pass."""
    before: Weights = field(default_factory=dict)
    """Weights from which the training began whose end is scored."""
    threshold: float = 0.0
    """Share of the largest loss below which diff_pruning stops."""
    seed: int = 0
    """For criteria that draw."""


@dataclass(frozen=True)
class Progress:
    """Where a trial stands; yielded where a state was committed, so closing the generator there loses nothing."""

    round: int
    step: int
    of: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class Round:
    """One rung of a trajectory as measured; round 0 is the dense network. Refers to weights by store key."""

    index: int
    density: float
    """As asked for by the ladder; `metrics` has what was realised."""
    metrics: dict[str, float]
    """Names are paths: loss/excess, density/total, quality/ddim/kid_lenet, cost/kept."""
    arrays: dict[str, Tensor] = field(repr=False)
    """loss [images, timesteps] of the panel; curve [points, (step, training loss, held-out loss, accuracy)]; correct
    [images]; and what measure.anatomy finds."""
    files: dict[str, bytes] = field(repr=False)
    """ticket: the ticket file; samples_<sampler>: a PNG."""
    densities: dict[str, float] = field(repr=False)
    """Density of each layer that may be cut, in forward order."""
    seconds: dict[str, float]
    """train: of the run that is shown, whoever spent it; along: measured along it; measure: at its end."""
    keys: dict[str, str]
    """Store keys: round, mask, weights (the run; its end is part `final`)."""
    created: float
    """Unix time at which the round was first committed."""
    made: dict[str, Any]
    """What bits depend on beside the key: torch, device, threads."""

    FACTS: ClassVar = ("index", "density", "metrics", "densities", "seconds", "keys", "created", "made")

    @classmethod
    def of(cls, facts: Mapping[str, Any], tensors: Weights, files: Mapping[str, bytes]) -> "Round":
        """The Round that a store object holds."""
        files = {name: data for name, data in files.items() if name != "tensors"}
        return cls(arrays=tensors, files=files, **{name: facts[name] for name in cls.FACTS})
