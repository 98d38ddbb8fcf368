"""Transfer: read the ticket of another trial, and bring it to a network of another depth.

Depth is the number of blocks in each level of a network. What is brought to another depth is
anything that has a network's names: mask, weights, average or moments. Blocks of a level are copied
or left out and the rest stays, after the elastic lottery ticket hypothesis (Chen et al. 2021, arXiv
2103.16547). Block 0, which changes width and side, is kept. The others of a level of n blocks are
stretched to m blocks, t = 1 .. m - 1, by

    interpolate   t <- 1 + floor((t - 1) (n - 1) / (m - 1))      0 1 2 -> 0 1 1 2 2
    append        t <- 1 + (t - 1) mod (n - 1)                   0 1 2 -> 0 1 2 1 2

or, where n = 1, from block 0 (which fits only if it changes neither). A level is squeezed by
leaving out what stretching would have added, so that squeezing undoes stretching.

A U-Net's decoder mirrors its encoder. Block j of a level's n + 1 reads two halves, [hidden ||
skip]:

    hidden   block 0: from the level below;  the others: from the block before
    skip     block n: the level's input;     the others: from encoder block n - 1 - j

A copy keeps its skip half, and its hidden half where it reads the same kind of input. Where it does
not, block 0 keeps its own hidden half, and a copy of block 0 elsewhere takes that of block 1. So
every half fits, whatever the widths of the levels.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lthray.config.fields import ConfigError, content
from lthray.config.parts import Model
from lthray.config.trial import PLACES, TrialConfig
from lthray.core.ticket import Ticket, TicketError
from lthray.core.ticket_file import fitted, read_ticket

DEEPEST = 1000  # blocks a level, or rounds, that a file may speak of
# name of a tensor of a block: the level's list of blocks, the block's number, the rest
BLOCK = re.compile(
    r"((?:(?:down|up)_blocks\.\d+\.(?:resnets|attentions)|stages\.\d+)\.)([0-9]{1,4})(\..+)"
)
# tensors that see the input of a block
READS = (".norm1.weight", ".norm1.bias", ".conv1.weight", ".conv_shortcut.weight")


@dataclass(frozen=True)
class Origin:
    """The ticket file of another trial, as it was read.

    What the file does not say is 0: the ticket is then for its own depth, and of no known round.
    """

    path: str
    digest: str
    """sha256 of the file."""
    ticket: Ticket
    facts: Mapping[str, Any]
    """Metadata of the file, which nobody vouches for."""

    @classmethod
    def read(cls, path: str) -> "Origin | None":
        """Return the ticket in a file, or None for an empty path.

        Raises ConfigError where there is no such file, and TicketError where it holds no ticket.
        """
        if not path:
            return None
        data = content("origin", path)
        try:
            ticket, facts = read_ticket(data)
        except TicketError as error:
            raise TicketError(f"origin = {path!r}: {error}") from None
        return cls(path, hashlib.sha256(data).hexdigest(), ticket, facts)

    @property
    def round(self) -> int:
        """Round of its own trial that the ticket is of; 0 = unknown."""
        return self._count(self.facts.get("round", 0))

    @property
    def layers(self) -> int:
        """Blocks in each level of the ticket's own network; 0 = unknown."""
        config = self.facts.get("config")
        if not isinstance(config, dict):
            return 0
        return self._count(config.get("model.layers", Model().layers))

    def stretches(self, config: TrialConfig) -> bool:
        """Return whether the network of `config` is of another depth than the ticket's own."""
        return self.layers not in (0, config.model.layers)

    def trial(self, here: TrialConfig) -> TrialConfig:
        """Return the config of the ticket's own trial, with the places of images that `here` has.

        No other file is opened because a ticket names it. Raises TicketError where the file says no
        config, or one that cannot be used.
        """
        if not self.layers:
            raise self.refused("has neither weights nor the config of its trial")
        words = {word: value for word, value in self.facts["config"].items() if word not in PLACES}
        words |= {"data.root": here.data.root, "data.download": here.data.download}
        try:
            return TrialConfig.from_flat(words)
        except ConfigError as error:
            faults = "; ".join(error.faults)
            raise self.refused(f"its config cannot be used: {faults}") from None

    def refused(self, why: object) -> TicketError:
        """Return the error that says which file cannot be used, and why."""
        return TicketError(f"origin = {self.path!r}: {why}")

    def _count(self, number: Any) -> int:
        if type(number) is not int or not 0 <= number <= DEEPEST:
            stated = str(number)[:20]
            raise self.refused(f"round or model.layers = {stated}: must be 0 to {DEEPEST}")
        return number


def stretch(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, Sequence[int]],
    depths: tuple[int, int],
    order: str,
) -> dict[str, Tensor]:
    """Return tensors of a network brought to another depth, where they have `shapes`.

    `depths` are the blocks of a level before and after, `order` is a name in `ORDERS`. Raises
    TicketError, naming tensors and shapes, unless all of `shapes` is covered and nothing is left
    over: a tensor that nothing is copied to would keep what it happened to be.
    """
    encoder = assigned(*depths, order)
    decoder = mirrored(encoder, depths[0])
    made: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        match = BLOCK.fullmatch(name)
        if not match:
            made[name] = tensor
            continue
        level, block, rest = match.groups()
        sources = decoder if level.startswith("up") else encoder
        for target, source in enumerate(sources):
            if source == int(block):
                made[f"{level}{target}{rest}"] = _copy(tensors, level, rest, source, target)
    try:
        return fitted(made, shapes)
    except TicketError as error:
        if depths[0] == depths[1]:
            raise
        route = f"from {depths[0]} to {depths[1]} blocks a level"
        raise TicketError(f"{route}: {error}") from None


def assigned(before: int, after: int, order: str) -> list[int]:
    """Return, for each of `after` blocks of a level, the block of `before` that it is made of."""
    if after < before:
        copies = assigned(after, before, order)
        return list(map(copies.index, range(after)))
    if before == 1:
        return [0] * after
    copy_of = ORDERS[order]
    return [0] + [1 + copy_of(t, before - 1, after - 1) for t in range(after - 1)]


def mirrored(blocks: Sequence[int], before: int) -> list[int]:
    """Return, for each decoder block of a level, the decoder block that it is made of.

    It is the one that read what the assigned encoder block had made (`blocks`, of a level of
    `before`); the last stays the last.
    """
    return [before - 1 - block for block in reversed(blocks)] + [before]


def _copy(tensors: Mapping[str, Tensor], level: str, rest: str, source: int, target: int) -> Tensor:
    """A tensor of block `target`: that of its source, with the hidden half that fits its place."""
    tensor = tensors[f"{level}{source}{rest}"]
    hidden = max(source, 1) if target else 0
    if hidden == source or not level.startswith("up") or rest not in READS:
        return tensor
    try:
        hidden_half = _halves(tensors, level, rest, hidden)[0]
        skip_half = _halves(tensors, level, rest, source)[1]
        return torch.cat([hidden_half, skip_half], _inputs(tensor))
    except (LookupError, RuntimeError, TypeError) as error:
        # one of the file's tensors is missing, or has any shape
        halves = f"the halves of {level}{hidden}{rest} and {level}{source}{rest}"
        fault = f"{level}{target}{rest}: cannot be made of {halves} ({error})"
        raise TicketError(fault) from None


def _halves(tensors: Mapping[str, Tensor], level: str, rest: str, block: int) -> tuple[Tensor, ...]:
    """The hidden and the skip half of [outputs, inputs, ...] or [inputs].

    In block 0 the skip half is as wide as the block's outputs, in all others the hidden half is.
    """
    tensor = tensors[f"{level}{block}{rest}"]
    dim = _inputs(tensor)
    width = len(tensor if dim else tensors[f"{level}{block}.conv1.weight"])
    other = tensor.shape[dim] - width
    return tensor.split([width, other] if block else [other, width], dim)


def _inputs(tensor: Tensor) -> int:
    """The dimension along which a tensor's inputs lie."""
    return min(tensor.dim() - 1, 1)


def interpolate(t: int, before: int, after: int) -> int:
    """Return the source of block t: each of `before` blocks is followed by its copies."""
    return t * before // after


def append(t: int, before: int, after: int) -> int:
    """Return the source of block t: the level of `before` blocks is appended to itself."""
    return t % before


ORDERS: dict[str, Callable[[int, int, int], int]] = {"interpolate": interpolate, "append": append}
