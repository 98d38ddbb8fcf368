"""What is cut as one: (scores, counts, group) -> Mask with exactly `counts` weights kept in each layer."""

from collections.abc import Callable, Mapping

import torch

from lthray.config.fields import ConfigError
from lthray.core.ticket import Mask, Scores, top


def weight(scores: Scores, counts: Mapping[str, int], group: int) -> Mask:
    """Single weights: the highest of each layer."""
    masks = {}
    for name, values in scores.items():
        flat = values.flatten()
        alive = int((flat > -torch.inf).sum())
        if counts[name] > alive:
            raise ValueError(f"{name}: {counts[name]} to keep, only {alive} are left")
        masks[name] = top(flat, counts[name]).reshape(values.shape)
    return Mask(masks)


def channel(scores: Scores, counts: Mapping[str, int], group: int) -> Mask:
    """Whole channels: the highest of each group of coupled channels; scores, counts and mask are then of channels, as
    `lthray.coupling` makes them from those of weights."""
    return weight(scores, counts, group)


def n_of_m(scores: Scores, counts: Mapping[str, int], group: int) -> Mask:
    """N of every M = `group` consecutive inputs of each output (at each place of a kernel), as sparse tensor cores take
    them (Mishra et al. 2021, arXiv 2104.08378); N is what the layer's count makes it."""
    masks = {}
    for name, values in scores.items():
        inputs = values.shape[1]
        if inputs % group:
            raise ConfigError([f"prune.group = {group}: {name} has {inputs} inputs; prune.layers can keep it whole"])
        rows = values.movedim(1, -1)  # [..., inputs]
        groups = rows.reshape(-1, group)
        n, rest = divmod(counts[name] * group, values.numel())
        if rest:
            raise ValueError(f"{name}: {counts[name]} of {values.numel()} weights are no whole number of every {group}")
        kept = torch.zeros(groups.shape, dtype=torch.bool)
        kept.scatter_(1, torch.sort(groups, dim=1, stable=True, descending=True).indices[:, :n], True)
        masks[name] = kept.reshape(rows.shape).movedim(-1, 1).contiguous()
        if (masks[name] & (values == -torch.inf)).any():
            raise ValueError(f"{name}: {n} of every {group} to keep, fewer are left")
    return Mask(masks)


UNITS: dict[str, Callable[[Scores, Mapping[str, int], int], Mask]] = {"weight": weight, "channel": channel, "n_of_m": n_of_m}
