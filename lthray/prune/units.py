"""Units: turn the number of weights that each layer keeps into a mask, by what is cut as one.

A unit is a function (scores, counts, group) -> Mask that keeps exactly `counts` in each layer, the
highest scores first. Scores are -inf where a weight is already cut.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lthray.config.fields import ConfigError
from lthray.core.ticket import Mask, Scores, top


def weight(scores: Scores, counts: Mapping[str, int], group: int) -> Mask:
    """Keep the highest single weights of each layer, ties by index; `group` is not used.

    Raises ValueError where a layer has fewer weights left than it is to keep.
    """
    masks = {}
    for name, values in scores.items():
        flat = values.flatten()
        left = int((flat > -torch.inf).sum())
        if counts[name] > left:
            raise ValueError(f"{name}: {counts[name]} to keep, only {left} are left")
        masks[name] = top(flat, counts[name]).reshape(values.shape)
    return Mask(masks)


def n_of_m(scores: Scores, counts: Mapping[str, int], group: int) -> Mask:
    """Keep the highest N of every M = `group` consecutive inputs of each output.

    This is the pattern of sparse tensor cores (Mishra et al. 2021, arXiv 2104.08378), at each place
    of a kernel; N follows from the layer's count. Raises ConfigError where a layer's inputs are no
    multiple of M, and ValueError where its count is no whole N.
    """
    masks = {}
    for name, values in scores.items():
        if values.shape[1] % group:
            inputs = f"{name} has {values.shape[1]} inputs; prune.layers can keep it whole"
            raise ConfigError([f"prune.group = {group}: {inputs}"])
        n, rest = divmod(counts[name] * group, values.numel())
        if rest:
            count = f"{counts[name]} of {values.numel()} weights"
            raise ValueError(f"{name}: {count} are no whole number of every {group}")
        masks[name] = _highest_of_each_group(values, n, group)
        if (masks[name] & (values == -torch.inf)).any():
            raise ValueError(f"{name}: {n} of every {group} to keep, fewer are left")
    return Mask(masks)


def _highest_of_each_group(values: Tensor, n: int, group: int) -> Tensor:
    """The `n` highest of every `group` consecutive inputs of [outputs, inputs, ...]; bool."""
    rows = values.movedim(1, -1)  # [..., inputs]
    groups = rows.reshape(-1, group)
    highest = torch.sort(groups, dim=1, stable=True, descending=True).indices[:, :n]
    kept = torch.zeros(groups.shape, dtype=torch.bool)
    kept.scatter_(1, highest, True)
    return kept.reshape(rows.shape).movedim(-1, 1).contiguous()


@dataclass(frozen=True)
class Unit:
    """One row of the table: how a mask is made of scores and counts, and what these belong to."""

    keep: Callable[[Scores, Mapping[str, int], int], Mask]
    """(scores, counts, group) -> mask."""
    coupled: bool = False
    """Whether scores, counts and mask are of groups of coupled channels (`prune.coupling`), not of
    the weights of layers."""


UNITS: dict[str, Unit] = {
    "weight": Unit(weight),
    "channel": Unit(weight, coupled=True),  # Fang et al. 2023, arXiv 2301.12900
    "n_of_m": Unit(n_of_m),
}
