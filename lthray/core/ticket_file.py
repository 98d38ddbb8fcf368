"""Reading ticket files: nothing in a file is trusted before it is checked.

The header is checked as JSON before any tensor is touched, the mask against the shapes of the
network, and the weights against the mask. Whatever does not fit is a TicketError.
"""

import math
import struct
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor

from lthray.core.keys import parsed
from lthray.core.ticket import Mask, Shapes, Ticket, TicketError, Weights, alive

MAX_HEADER = 4 << 20  # bytes; the header of a real ticket is a few kilobytes
MAX_SIDE = 2**24  # entries along one dimension of a weight, less one
MAX_DIMENSIONS = 7
MALFORMED = (ValueError, KeyError, TypeError, AttributeError)


def read_ticket(data: bytes, shapes: Shapes | None = None) -> tuple[Ticket, dict[str, Any]]:
    """Return the ticket in the bytes `data` of a file, and its facts.

    `shapes` are those of the network's prunable layers; None takes those that the file names.
    Kept weights come back in place, zeros elsewhere; a file without weights gives an empty dict.
    Raises TicketError where the file is no ticket, is damaged, or is of another network.
    """
    facts = _facts(data)
    try:
        tensors = load_tensors(data)
    except Exception as error:  # the parser is native code: whatever it raises, this is no ticket
        raise TicketError(f"not a safetensors file: {error}") from None
    named = {str(name): tuple(shape) for name, shape in facts["shapes"].items()}
    _check_same(named, named if shapes is None else shapes)
    mask = _mask(tensors.pop("mask", torch.empty(0)), named)
    buffers = {}
    for key in [key for key in tensors if key.startswith("buffers.")]:
        buffers[key.removeprefix("buffers.")] = tensors.pop(key)
    return Ticket(mask, _unfold(tensors, mask), facts["start"], buffers), facts


def fitted(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Return `tensors` in the order of `shapes`.

    Raises TicketError where one is missing, has another shape, or is one too many.
    """
    _check_same({name: tuple(tensor.shape) for name, tensor in tensors.items()}, shapes)
    return {name: tensors[name] for name in shapes}


def _check_same(actual: Mapping[str, tuple[int, ...]], shapes: Shapes) -> None:
    """Refuse other names or shapes than the network's."""
    wanted = {name: tuple(shape) for name, shape in shapes.items()}
    unlike = []
    for name in {**wanted, **actual}:
        if actual.get(name) != wanted.get(name):
            unlike.append(f"{name} {actual.get(name)} here {wanted.get(name)}")
    if unlike:
        raise TicketError("ticket of another network: " + "; ".join(unlike[:5]))


def _facts(data: bytes) -> dict[str, Any]:
    """Return the JSON of a ticket's header, checked before any tensor is touched."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= length <= min(MAX_HEADER, len(data) - 8):
        raise TicketError("not a safetensors file (lthray never loads pickles)")
    try:
        header = parsed(data[8 : 8 + length])
        facts = parsed(header["__metadata__"]["lthray"])
        well_formed = _is_start(facts["start"]) and all(map(_is_shape, facts["shapes"].values()))
    except MALFORMED as error:
        name = type(error).__name__
        raise TicketError(f"not a ticket: {name} in its header: {error}") from None
    if not well_formed:
        raise TicketError("not a ticket: shapes or start are malformed")
    return facts


def _is_start(start: Any) -> bool:
    return type(start) is int and start >= 0


def _is_shape(shape: Any) -> bool:
    if not isinstance(shape, list) or not 1 <= len(shape) <= MAX_DIMENSIONS:
        return False
    return all(type(side) is int and 0 < side < MAX_SIDE for side in shape)


def _mask(packed: Tensor, shapes: Shapes) -> Mask:
    size = sum(map(math.prod, shapes.values()))
    count = (size + 7) // 8
    if packed.dtype != torch.uint8 or packed.shape != (count,):
        form = f"{packed.dtype} {tuple(packed.shape)}"
        raise TicketError(f"mask is {form}, expected {count} packed bytes")
    return alive(Mask.unpacked(packed, shapes))


def _unfold(tensors: Weights, mask: Mask) -> Weights:
    """Return the kept weights back in their places, zeros elsewhere."""
    weights: Weights = {}
    for key, kept in tensors.items():
        name = key.removeprefix("weights.")
        if not key.startswith("weights.") or not _is_finite(kept):
            raise TicketError(f"{key}: expected a finite float tensor of kept weights")
        weights[name] = _in_place(key, kept, mask[name]) if name in mask else kept
    return weights


def _is_finite(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(torch.isfinite(tensor).all())


def _in_place(key: str, kept: Tensor, layer: Tensor) -> Tensor:
    count = int(layer.sum())
    if kept.shape != (count,):
        raise TicketError(f"{key}: {tuple(kept.shape)}, the mask keeps {count}")
    weight = torch.zeros(layer.shape, dtype=kept.dtype)
    weight[layer] = kept
    return weight
