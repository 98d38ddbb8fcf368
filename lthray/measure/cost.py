"""What a network costs: its parameters, and the multiply-accumulates of one forward pass."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lthray.core import metrics
from lthray.core.ticket import Mask


def parameters(
    network: nn.Module, mask: Mask, free: Iterable[str], gone: int = 0
) -> dict[str, float]:
    """Return the counts of all parameters, of the prunable ones, and of those kept of all.

    `free` names the layers that may be cut. The prunable density is kept over all in these layers;
    the total density counts norms, biases and exempt layers too. Where channels are cut, `gone`
    parameters of the whole network are no longer there, and all that is there is kept.
    """
    total = _size(network)
    prunable, alive = 0, 0
    for name in free:
        prunable += mask[name].numel()
        alive += int(mask[name].sum())
    kept = total - (gone or mask.size - mask.kept)
    return {
        metrics.PARAMETERS.name: total - gone,
        metrics.PRUNABLE_SIZE.name: prunable,
        metrics.KEPT.name: kept,
        metrics.PRUNABLE.name: alive / prunable,
        metrics.TOTAL.name: kept / total,
    }


def as_if(
    smaller: Mapping[str, float], network: nn.Module, whole: Mask, free: Iterable[str]
) -> dict[str, float]:
    """Return the densities of a ticket of `network` with as many parameters as a smaller network.

    `smaller` holds the metrics of the smaller network, `whole` the mask of the dense `network`, and
    `free` names the layers that may be cut.
    """
    total = _size(network)
    prunable = sum(whole[name].numel() for name in free)
    kept = smaller[metrics.PARAMETERS.name]
    return {
        metrics.PRUNABLE.name: (kept - (total - prunable)) / prunable,
        metrics.TOTAL.name: kept / total,
    }


def macs(network: nn.Module, mask: Mask, example: tuple[Tensor, ...]) -> dict[str, float]:
    """Return the multiply-accumulates of one image: dense, and of the kept weights only.

    Counted are convolutions and linear layers in one forward pass of the inputs `example`. Masked
    counts are theoretical: a masked dense network runs as long as a dense one.
    """
    weights = dict(network.named_parameters())
    dense, masked = 0, 0
    for layer, uses in _uses_of_layers(network, example).items():
        name = f"{layer}.weight"
        size = weights[name].numel()
        kept = int(mask[name].sum()) if name in mask else size
        dense += uses * size
        masked += uses * kept
    images = len(example[0])
    return {metrics.MACS_DENSE.name: dense / images, metrics.MACS_MASKED.name: masked / images}


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _uses_of_layers(network: nn.Module, example: tuple[Tensor, ...]) -> dict[str, int]:
    """Return how often each weight of a layer is used in one forward pass of `example`."""
    layers: dict[nn.Module, str] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            layers[module] = name
    uses: dict[str, int] = {}

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], out: Tensor) -> None:
        name = layers[module]
        uses[name] = uses.get(name, 0) + _uses(module, out)

    hooks = [module.register_forward_hook(count) for module in layers]
    with torch.no_grad():
        network(*example)
    for hook in hooks:
        hook.remove()
    return uses


def _uses(module: nn.Module, out: Tensor) -> int:
    """Return how often each weight is used for the outputs `out` of one call of a layer.

    These are the output pixels of a convolution, or the rows of a linear layer, of all images.
    """
    if isinstance(module, nn.Conv2d):
        return out.shape[0] * out.shape[2] * out.shape[3]
    return out.numel() // out.shape[-1]
