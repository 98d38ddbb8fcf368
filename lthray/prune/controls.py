"""What else is trained in a ticket's place: a table of (which mask, whose weights).

    mask    ticket: as it was found;  shuffled, anywhere, complement: made of it;  whole: nothing is cut;  at_once: cut
            from the dense network in one step;  narrow: another, smaller network, nothing of which is cut
    rule    the rewinding rule that gives the weights; "" = the trial's own
    moved   the kept weights are moved at random before they are trained

A control changes only what is trained at a rung; the chain of masks follows the uncontrolled trajectory. Weights come
whole, before the mask is applied, so that a control may keep others than the ticket does. A control whose mask is not
made rung by rung (whole, at_once) takes weights from the dense network where its rule takes trained ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lthray.core.random import generator
from lthray.core.ticket import Mask, Weights


@dataclass(frozen=True)
class Control:
    """One row of the table."""

    mask: Literal["ticket", "shuffled", "anywhere", "complement", "whole", "at_once", "narrow"]
    rule: str = ""
    moved: bool = False


CONTROLS: dict[str, Control] = {
    "reinit": Control("ticket", rule="random"),  # new weights, the whole schedule: Frankle and Carbin 2019, arXiv 1803.03635
    "shuffle": Control("shuffled"),  # the same layer densities at random: Frankle et al. 2021, arXiv 2009.08576
    "random_mask": Control("anywhere"),  # the same density at random, layers as they come: Su et al. 2020, arXiv 2009.11094
    "complement": Control("complement"),  # what the ticket cuts
    "perturb": Control("ticket", moved=True),  # how near must the weights be: Frankle et al. 2021
    "dense": Control("whole"),  # what the rewinding does by itself
    "small_dense": Control("narrow"),  # is sparse better than small
    "tuned": Control("ticket", rule="tuned"),  # is rewinding needed: Renda et al. 2020, arXiv 2003.02389
    "lr": Control("ticket", rule="lr"),
    "one_shot": Control("at_once"),  # are rounds needed
}

UNCHAINED = ("whole", "at_once", "narrow")  # masks that need no round before


def shuffled(mask: Mask, seed: int) -> Mask:
    """Permuted within each layer: a fresh random mask with the same layer densities."""
    return Mask({name: _permuted(layer, seed, name) for name, layer in mask.items()})


def anywhere(mask: Mask, seed: int) -> Mask:
    """As many weights at random places of the whole network, so that layer densities are lost too."""
    flat = _permuted(torch.cat([layer.flatten() for layer in mask.values()]), seed, "anywhere")
    parts = flat.split([layer.numel() for layer in mask.values()])
    return Mask({name: part.reshape(mask[name].shape) for name, part in zip(mask, parts, strict=True)})


def complement(mask: Mask, seed: int) -> Mask:
    """As many of the weights that the mask cuts, drawn at random in each layer; all of them where they are fewer.

    Not the whole complement, which at low density is nearly the dense network. A layer of which nothing is cut stays.
    """
    return Mask({name: _complement(layer, seed, name) for name, layer in mask.items()})


MASKS: dict[str, Callable[[Mask, int], Mask]] = {"shuffled": shuffled, "anywhere": anywhere, "complement": complement}


def moved(weights: Weights, mask: Mask, sigma: float, seed: int) -> Weights:
    """Every masked layer plus Gaussian noise of `sigma` times the layer's standard deviation."""
    return {name: _moved(w, sigma, seed, name) if name in mask else w for name, w in weights.items()}


def _permuted(bits: Tensor, seed: int, name: str) -> Tensor:
    return bits.flatten()[torch.randperm(bits.numel(), generator=generator("shuffle", seed, name))].reshape(bits.shape)


def _complement(layer: Tensor, seed: int, name: str) -> Tensor:
    cut = (~layer).flatten().nonzero()[:, 0]
    if not len(cut):
        return layer
    drawn = cut[torch.randperm(len(cut), generator=generator("complement", seed, name))[: int(layer.sum())]]
    return torch.zeros(layer.numel(), dtype=torch.bool).index_fill(0, drawn, True).reshape(layer.shape)


def _moved(weight: Tensor, sigma: float, seed: int, name: str) -> Tensor:
    noise = torch.randn(weight.shape, generator=generator("perturb", seed, name))
    return weight + sigma * weight.std(correction=0) * noise
