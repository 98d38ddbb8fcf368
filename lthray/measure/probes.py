"""Probes of a trained network: its loss as weights move at random, layer by layer, or on the way to
another network's."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lthray.config.parts import Measure as Words
from lthray.config.spec import part_of
from lthray.core import metrics
from lthray.core.task import Task
from lthray.core.ticket import Weights
from lthray.measure import anatomy, loss
from lthray.measure.rows import Measured, Network, Spec
from lthray.prune.coupling import small


def words_of(spec: Spec) -> Words:
    """Return the words of a step's spec that say how is measured."""
    return part_of(Words, "measure", spec)


def panel_of(trained: Network, words: Words) -> tuple[nn.Module, Task, Tensor, Tensor]:
    """Return a trained network at its task, and the images and labels of the evaluation set."""
    x, y = trained.images.held_out(words.split, words.images)
    return trained.network(), trained.workshop.task, x, y


def layers_of(spec: Spec) -> tuple[tuple[str, float | str], ...]:
    """Return the rules over layers of a step's spec."""
    return tuple(map(tuple, spec.get("prune.layers", ())))


def _losses(trained: Network, words: Words) -> Callable[[Weights], Tensor]:
    network, task, x, y = panel_of(trained, words)
    cover = trained.cut.cover
    buffers = small(trained.final.buffers, cover)

    def losses(weights: Weights) -> Tensor:
        trained.fill(network, small(weights, cover), buffers)
        return loss.glance(network, task, x, y, words.timesteps)

    return losses


def sharpness(spec: Spec, trained: Network) -> Measured:
    """Measure how the loss rises when all kept weights move at random."""
    words = words_of(spec)
    losses = _losses(trained, words)
    mask = trained.mask(layers_of(spec))
    rise = anatomy.sharpness(losses, trained.final.average, mask, words.perturbations)
    return Measured({metrics.SHARPNESS.name: rise})


def sensitivity(spec: Spec, trained: Network) -> Measured:
    """Measure how the loss rises when one layer alone is cut further."""
    losses = _losses(trained, words_of(spec))
    mask = trained.mask(layers_of(spec))
    return Measured(
        arrays={"sensitivity": anatomy.sensitivity(losses, trained.final.average, mask)}
    )


def barrier(spec: Spec, trained: Network, fellow: Network) -> Measured:
    """Measure the error barrier between two children of one begin, raw and averaged, and by
    timestep."""
    losses = _losses(trained, words_of(spec))
    one, other = fellow.final, trained.final
    raw = anatomy.path(losses, one.weights, other.weights)
    averaged = anatomy.path(losses, one.average, other.average)
    found = {
        metrics.BARRIER_RAW.name: anatomy.barrier(raw),
        metrics.BARRIER_EMA.name: anatomy.barrier(averaged),
    }
    for band, columns in loss.bands(trained.workshop.task, averaged.shape[1]):
        found[f"barrier/{band}"] = anatomy.barrier(averaged[:, columns])
    return Measured(found, {"barrier": torch.stack([raw, averaged])})


def connected(spec: Spec, trained: Network, previous: Network) -> Measured:
    """Measure the error barrier between a ticket and the solution of the rung before, by timestep.

    Both are put into the network of the rung before, which has all weights of the ticket.
    """
    losses = _losses(previous, words_of(spec))
    averaged = anatomy.path(losses, previous.final.average, trained.final.average)
    found = {metrics.BARRIER_PREVIOUS.name: anatomy.barrier(averaged)}
    for band, columns in loss.bands(trained.workshop.task, averaged.shape[1]):
        found[f"barrier/previous_{band}"] = anatomy.barrier(averaged[:, columns])
    return Measured(found)
