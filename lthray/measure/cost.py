"""What a network costs: its parameters, and the multiply-accumulates of one forward pass."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lthray.core import layers, metrics
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
    for name, uses in _uses_of_weights(network, example).items():
        size = weights[name].numel()
        kept = int(mask[name].sum()) if name in mask else size
        dense += uses * size
        masked += uses * kept
    images = len(example[0])
    return {metrics.MACS_DENSE.name: dense / images, metrics.MACS_MASKED.name: masked / images}


def outside_layers(network: nn.Module, example: tuple[Tensor, ...]) -> float:
    """Return the share of the multiply-accumulates of one forward pass that `macs` leaves out.

    It is that of matrix products and convolutions in no layer, such as the products of attention.
    They are counted by torch, with gradients, for the fast path of nn.MultiheadAttention is one
    operation that torch cannot count.
    """
    inside = 0

    def enter(*_: object) -> None:
        nonlocal inside
        inside -= counter.get_total_flops()

    def leave(*_: object) -> None:
        nonlocal inside
        inside += counter.get_total_flops()

    hooks = []
    for _, module in layers.weights_of(network):
        hooks.append(module.register_forward_pre_hook(enter))
        hooks.append(module.register_forward_hook(leave))
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        network(*example)
    for hook in hooks:
        hook.remove()
    return 1 - inside / max(counter.get_total_flops(), 1)


def _size(network: nn.Module) -> int:
    return sum(map(Tensor.numel, network.parameters()))


def _uses_of_weights(network: nn.Module, example: tuple[Tensor, ...]) -> dict[str, int]:
    """Return how often each weight of a layer is used in one forward pass of `example`."""
    names = {module: name for name, module in layers.weights_of(network)}
    uses: dict[str, int] = {}

    def count(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        name = names[module]
        uses[name] = uses.get(name, 0) + layers.uses(module, inputs[0], out)

    hooks = [module.register_forward_hook(count) for module in names]
    with torch.no_grad():
        network(*example)
    for hook in hooks:
        hook.remove()
    return uses
