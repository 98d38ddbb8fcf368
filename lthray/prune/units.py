"""What is cut as one: (scores, counts) -> Mask with exactly `counts` weights kept in each layer."""

from collections.abc import Callable, Mapping

import torch

from lthray.ticket import Mask, Scores


def weight(scores: Scores, counts: Mapping[str, int]) -> Mask:
    """Single weights: the top `count` of each layer by index, never by threshold, ties by index."""
    masks = {}
    for name, values in scores.items():
        flat = values.flatten()
        alive = int((flat > -torch.inf).sum())
        if counts[name] > alive:
            raise ValueError(f"{name}: {counts[name]} weights to keep, only {alive} are left")
        mask = torch.zeros(flat.shape, dtype=torch.bool)
        mask[torch.sort(flat, stable=True, descending=True).indices[: counts[name]]] = True
        masks[name] = mask.reshape(values.shape)
    return Mask(masks)


UNITS: dict[str, Callable[[Scores, Mapping[str, int]], Mask]] = {"weight": weight}
