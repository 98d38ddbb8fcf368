"""A ticket of one depth as a network of another depth takes it: blocks of a level are copied or left out, the rest stays.

The elastic lottery ticket hypothesis (Chen et al. 2021, arXiv 2103.16547), which copies the mask and the rewound weights
alike: here whatever has a network's names is mapped, moments and averages too. Block 0, which changes width and side, is
kept; the others of a level of n blocks are stretched to m blocks, t = 1 .. m - 1, by

    interpolate   t <- 1 + floor((t - 1) (n - 1) / (m - 1))      0 1 2 -> 0 1 1 2 2
    append        t <- 1 + (t - 1) mod (n - 1)                   0 1 2 -> 0 1 2 1 2

or, where n = 1, from block 0 (which fits only if it changes neither). A level is squeezed by leaving out what stretching
would have added, so that squeezing what was stretched gives it back.

A U-Net's decoder mirrors its encoder. Block j of a level's n + 1 reads [hidden || skip]: block n the level's input as skip,
the others the output of encoder block n - 1 - j; block 0 the level below as hidden, the others the block before. A copy
keeps its skip half, and its hidden half where it reads the same kind; block 0 has its own, and a copy of block 0 elsewhere
that of block 1. So every half fits, whatever the widths of the levels.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lthray.core.ticket import TicketError, fitted

BLOCK = re.compile(r"((?:(?:down|up)_blocks\.\d+\.(?:resnets|attentions)|stages\.\d+)\.)([0-9]{1,4})(\..+)")
READS = (".norm1.weight", ".norm1.bias", ".conv1.weight", ".conv_shortcut.weight")  # what sees the input of a block


def assigned(before: int, after: int, order: str) -> list[int]:
    """The block of a level of `before` blocks that each block of one of `after` is made of."""
    if after < before:
        copies = assigned(after, before, order)
        return [copies.index(block) for block in range(after)]
    return [0] + [1 + ORDERS[order](t, before - 1, after - 1) if before > 1 else 0 for t in range(after - 1)]


def mirrored(blocks: Sequence[int], before: int) -> list[int]:
    """The same of the decoder: the block that read what the assigned encoder block had made; the last stays the last."""
    return [before - 1 - block for block in reversed(blocks)] + [before]


def stretch(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]], depths: tuple[int, int], order: str
) -> dict[str, Tensor]:
    """Name -> tensor of a network whose tensors have `shapes`, made of those of a network of another depth.

    `depths`: blocks of a level before and after. TicketError, naming tensors and shapes, unless all of `shapes` is covered
    and nothing is left over: a tensor that nothing is copied to would keep what it happened to be.
    """
    down = assigned(*depths, order)
    up, made = mirrored(down, depths[0]), {}
    for name, tensor in tensors.items():
        if not (found := BLOCK.fullmatch(name)):
            made[name] = tensor
            continue
        room, index, rest = found.groups()
        for target, source in enumerate(up if room.startswith("up") else down):
            if source == int(index):
                made[f"{room}{target}{rest}"] = _copy(tensors, room, rest, source, target)
    try:
        return fitted(made, shapes)
    except TicketError as error:
        if depths[0] == depths[1]:
            raise
        raise TicketError(f"from {depths[0]} to {depths[1]} blocks a level: {error}") from None


def _copy(tensors: Mapping[str, Tensor], room: str, rest: str, source: int, target: int) -> Tensor:
    """What a tensor becomes in a copy of its block: itself, but for the hidden half of what a decoder block reads."""
    tensor, hidden = tensors[f"{room}{source}{rest}"], max(source, 1) if target else 0
    if hidden == source or not room.startswith("up") or rest not in READS:
        return tensor
    try:
        halves = _halves(tensors, room, rest, hidden)[0], _halves(tensors, room, rest, source)[1]
        return torch.cat(halves, min(tensor.dim() - 1, 1))
    except (LookupError, RuntimeError, TypeError) as error:  # one of a file's tensors is missing, or of any shape
        made_of = f"the halves of {room}{hidden}{rest} and {room}{source}{rest}"
        raise TicketError(f"{room}{target}{rest}: cannot be made of {made_of} ({error})") from None


def _halves(tensors: Mapping[str, Tensor], room: str, rest: str, index: int) -> tuple[Tensor, ...]:
    """The hidden and the skip half of [outputs, inputs, ...] or [inputs]: but for the last block, the skip is as wide as its
    outputs; but for block 0, the hidden half is."""
    tensor = tensors[f"{room}{index}{rest}"]
    along = min(tensor.dim() - 1, 1)
    width, inputs = len(tensor if along else tensors[f"{room}{index}.conv1.weight"]), tensor.shape[along]
    return tensor.split([width, inputs - width] if index else [inputs - width, width], along)


def interpolate(t: int, before: int, after: int) -> int:
    """Each block followed by its copies."""
    return t * before // after


def append(t: int, before: int, after: int) -> int:
    """The whole level, and then again."""
    return t % before


ORDERS: dict[str, Callable[[int, int, int], int]] = {"interpolate": interpolate, "append": append}
