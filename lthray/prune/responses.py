"""Responses: how the layers of a network answer to images, and what the loss does without a layer.

A probe (`lthray.core.ticket.Probe`) gives the images: its terms are losses, one for each batch of a
classifier or each timestep of a denoiser. Nothing here changes the network.
"""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthray.core.kernels import gaussian, linear, normalised
from lthray.core.ticket import Probe, largest

POOL = 4  # side to which an activation is averaged before channels are compared
POOLS = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
"""Number of sides of a convolution's output -> how it is averaged."""


class Cooled(nn.Module):
    """Divide what it is given by a temperature."""

    def __init__(self, temperature: float):
        super().__init__()
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` divided by the temperature."""
        return x / self.temperature


def layer_rises(network: nn.Module, names: Sequence[str], probe: Probe) -> dict[str, float]:
    """Return layer -> relative rise of the mean loss when it alone is cut to its largest tenth.

    A layer whose rise is smaller than a thousandth of the largest counts as that thousandth.
    """
    parameters = dict(network.named_parameters())
    rises: dict[str, float] = {}
    with torch.no_grad(), still(network):
        before = _loss(probe)
        for name in names:
            weight = parameters[name]
            whole = weight.clone()
            weight.copy_(largest(whole, whole != 0))
            rises[name] = _loss(probe) / before - 1
            weight.copy_(whole)
    least = max(rises.values()) / 1000
    tiny = torch.finfo(torch.float32).tiny
    return {name: max(rise, least, tiny) for name, rise in rises.items()}


def channel_hsic(network: nn.Module, names: Sequence[str], probe: Probe) -> dict[str, Tensor]:
    """Return layer -> dependence of every output channel on the target, [channels].

    The dependence is the unbiased normalised HSIC with Gaussian kernels, averaged over the terms. A
    smaller value than 1 / images, which chance alone gives, counts as that: so a layer that sees
    only the timestep is not cut whole.
    """
    dependence: dict[str, Tensor] = {}
    for outputs, target in activations(network, names, probe):
        target_kernel = gaussian(target.flatten(1).double())
        for name, output in outputs.items():
            channel_kernels = gaussian(output.transpose(0, 1).double())
            share = normalised(channel_kernels, target_kernel) / len(probe.terms)
            dependence[name] = dependence.get(name, 0.0) + share
    chance = 1 / len(probe.targets[0])
    return {name: channels.clamp_min(chance) for name, channels in dependence.items()}


def layer_hsic(network: nn.Module, names: Sequence[str], probe: Probe) -> dict[str, float]:
    """Return layer -> mean over its channels of their dependence on the target (`channel_hsic`)."""
    means = {}
    for name, channels in channel_hsic(network, names, probe).items():
        means[name] = float(channels.mean())
    return means


def kernels(network: nn.Module, names: Sequence[str], probe: Probe) -> list[dict[str, Tensor]]:
    """Return, for each term, layer -> inner products of its outputs, [images, images]."""
    by_term = []
    for outputs, _ in activations(network, names, probe):
        products = {}
        for name, output in outputs.items():
            products[name] = linear(output.flatten(1).double())
        by_term.append(products)
    return by_term


def activations(
    network: nn.Module, names: Sequence[str], probe: Probe
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Yield, for each term of the probe, the outputs of all layers and the target.

    Outputs are [images, channels, positions], positions of a convolution pooled to 4 a side. A
    layer whose outputs are not one for each image is left out.
    """
    modules = dict(network.named_modules())
    latest: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        latest[name] = _pooled(module, output.detach())

    with contextlib.ExitStack() as hooks, torch.no_grad(), still(network):
        for name in names:
            module = modules[name.removesuffix(".weight")]
            hooks.callback(module.register_forward_hook(partial(keep, name)).remove)
        for term, target in zip(probe.terms, probe.targets, strict=True):
            term()
            images = len(target)
            outputs = {name: output for name, output in latest.items() if len(output) == images}
            yield outputs, target


@contextlib.contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode (no dropout) for the length of a block."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def _pooled(module: nn.Module, output: Tensor) -> Tensor:
    """A layer's output as [images, channels, positions]."""
    if isinstance(module, nn.Linear):
        return output.movedim(-1, 1)[..., None].flatten(2)
    sides = [min(POOL, side) for side in output.shape[2:]]
    pool = POOLS[len(sides)]
    return pool(output, sides).flatten(2)  # type: ignore[arg-type]


def _loss(probe: Probe) -> float:
    return sum(float(term()) for term in probe.terms)
