"""Controls: what is trained in a ticket's place, as a table of (which mask, whose weights).

A control changes only what is trained at a rung; the chain of masks follows the uncontrolled
trajectory. Weights come whole, before the mask is applied, so that a control may keep others than
the ticket does. A control that needs no chain takes the weights of the dense network where its
rewinding rule takes trained ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lthray.core.random import generator
from lthray.core.ticket import Mask, Weights


def shuffled(mask: Mask, seed: int) -> Mask:
    """Permute the mask within each layer: a random mask with the same layer densities."""
    return Mask({name: _permuted(layer, seed, name) for name, layer in mask.items()})


def within_groups(mask: Mask, seed: int, group: int) -> Mask:
    """Permute the mask within every `group` consecutive inputs of each output, at each place of a
    kernel: a random mask of the same N of M."""
    layers = {}
    for name, layer in mask.items():
        rows = layer.movedim(1, -1)  # [..., inputs]
        groups = rows.reshape(-1, group)
        drawn = torch.rand(groups.shape, generator=generator("shuffle", seed, name))
        mixed = groups.gather(1, drawn.argsort(1)).reshape(rows.shape)
        layers[name] = mixed.movedim(-1, 1).contiguous()
    return Mask(layers)


def anywhere(mask: Mask, seed: int) -> Mask:
    """Permute the mask over the whole network, so that layer densities are lost too."""
    flat = torch.cat(list(map(torch.flatten, mask.values())))
    sizes = list(map(Tensor.numel, mask.values()))
    parts = _permuted(flat, seed, "anywhere").split(sizes)
    layers = {}
    for (name, layer), part in zip(mask.items(), parts, strict=True):
        layers[name] = part.reshape(layer.shape)
    return Mask(layers)


def complement(mask: Mask, seed: int) -> Mask:
    """Draw in each layer as many weights as the mask keeps from those that it cuts.

    All of the cut weights are kept where they are fewer. A layer of which nothing is cut stays. The
    whole complement would be nearly the dense network at low density.
    """
    return Mask({name: _complement(layer, seed, name) for name, layer in mask.items()})


def moved(weights: Weights, mask: Mask, sigma: float, seed: int) -> Weights:
    """Add Gaussian noise of sigma times the layer's standard deviation to every masked layer.

    Tensors without a mask stay as they are.
    """
    perturbed = {}
    for name, weight in weights.items():
        perturbed[name] = _moved(weight, sigma, seed, name) if name in mask else weight
    return perturbed


def _permuted(bits: Tensor, seed: int, name: str) -> Tensor:
    order = torch.randperm(bits.numel(), generator=generator("shuffle", seed, name))
    return bits.flatten()[order].reshape(bits.shape)


def _complement(layer: Tensor, seed: int, name: str) -> Tensor:
    cut = (~layer).flatten().nonzero()[:, 0]
    if not len(cut):
        return layer
    order = torch.randperm(len(cut), generator=generator("complement", seed, name))
    drawn = cut[order[: int(layer.sum())]]
    none = torch.zeros(layer.numel(), dtype=torch.bool)
    return none.index_fill(0, drawn, True).reshape(layer.shape)


def _moved(weight: Tensor, sigma: float, seed: int, name: str) -> Tensor:
    noise = torch.randn(weight.shape, generator=generator("perturb", seed, name))
    return weight + sigma * weight.std(correction=0) * noise


@dataclass(frozen=True)
class Control:
    """One row of the table: which mask is trained, from which weights, and how it is called."""

    mask: Literal[
        "ticket", "shuffled", "anywhere", "complement", "whole", "at_once", "narrow", "longer"
    ]
    """ticket: the mask as it was found; shuffled, anywhere, complement: made of it (`MASKS`);
    whole: nothing is cut; at_once: cut from the dense network in one step; narrow: a smaller
    network, of which nothing is cut; longer: nothing is cut, and training takes as many steps as
    finding and training the ticket."""
    label: str
    """Name in tables and charts."""
    rule: str = ""
    """Rewinding rule that gives the weights; "" = the trial's own."""
    moved: bool = False
    """Whether the kept weights are moved at random before training."""

    @property
    def chained(self) -> bool:
        """Whether the mask needs those of the rounds before."""
        return self.mask == "ticket" or self.mask in MASKS


MASKS: dict[str, Callable[[Mask, int], Mask]] = {
    "shuffled": shuffled,
    "anywhere": anywhere,
    "complement": complement,
}
CONTROLS: dict[str, Control] = {
    # new weights, the whole schedule: Frankle and Carbin 2019, arXiv 1803.03635
    "reinit": Control("ticket", "re-initialised", rule="random"),
    # the same layer densities at random: Frankle et al. 2021, arXiv 2009.08576
    "shuffle": Control("shuffled", "shuffled"),
    # the same density at random, layers as they come: Su et al. 2020, arXiv 2009.11094
    "random_mask": Control("anywhere", "random mask"),
    # the weights that the ticket cuts
    "complement": Control("complement", "complement"),
    # how near must the weights be: Frankle et al. 2021, arXiv 2009.08576
    "perturb": Control("ticket", "perturbed", moved=True),
    # what rewinding does by itself
    "dense": Control("whole", "dense, rewound"),
    # is sparse better than small
    "small_dense": Control("narrow", "small dense"),
    # is finding a ticket worth its steps: Liu et al. 2019, arXiv 1810.05270
    "equal_compute": Control("longer", "dense of equal compute"),
    # is rewinding needed: Renda et al. 2020, arXiv 2003.02389
    "tuned": Control("ticket", "fine-tuned", rule="tuned"),
    "lr": Control("ticket", "learning rate rewound", rule="lr"),
    # are rounds needed
    "one_shot": Control("at_once", "one-shot"),
}
