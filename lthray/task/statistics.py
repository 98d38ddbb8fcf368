"""Running statistics: the mean and variance that norms such as BatchNorm use in evaluation.

In training such a norm uses the batch at hand, and its running statistics follow weights that have
moved on since. A cut, a rewind or an average of weights makes them those of another network. So
whenever a network with such norms is scored or measured, they are reset and estimated anew with the
very weights that it then has: the cumulative mean, over a fixed number of batches of training
images, of what the norm meets. No weight changes. Batches and noise come from a stream of their
own, equal for all networks of a study. After a cut this is adaptive batch normalisation (Li et al.
2020, EagleEye, arXiv 2007.02491); for averaged weights it is bn_update of Izmailov et al. (2018,
arXiv 1803.05407). Dropout is off, since evaluation has none.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lthray.core.random import drawing
from lthray.core.task import Task

BATCHES = 32
"""Batches of training images over which statistics are estimated."""
STREAM = -1
"""Stream of these batches and of their noise; trials have streams from 0 on."""


def followed(network: nn.Module) -> list[_NormBase]:
    """Return the norms of `network` whose running statistics follow the batches of its training.

    A norm that a user keeps in evaluation while the network trains has constants, and is left out.
    """
    was_training = network.training
    network.train()
    norms = [module for module in network.modules() if isinstance(module, _NormBase)]
    followed = [norm for norm in norms if norm.training and norm.running_mean is not None]
    network.train(was_training)
    return followed


def estimate(
    network: nn.Module, task: Task, batch: Callable[[int, int], tuple[Tensor, Tensor]]
) -> None:
    """Estimate the running statistics of `network` over 32 batches of training images.

    `batch(stream, step)` returns images and classes. A network without such norms is not called.
    """
    norms = followed(network)
    if not norms:
        return
    was_training = network.training
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative mean
        norm.train()
    device = next(network.parameters()).device
    with torch.no_grad(), drawing(STREAM, device):
        for step in range(BATCHES):
            x, y = batch(STREAM, step)
            task.errors(network, *task.draw(x, y, STREAM, step))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)
