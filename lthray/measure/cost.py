"""What a network costs: parameters, multiply-accumulates of one forward pass, bytes of its ticket."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lthray.core.ticket import Mask


def parameters(network: nn.Module, mask: Mask, free: Iterable[str], gone: int = 0) -> dict[str, float]:
    """Counts of all parameters, of those that may be cut (`free` layers), and of those kept of all.

    `density/prunable` is kept over all in the free layers; `density/total` counts norms, biases and exempt layers too.
    Where channels are cut, `gone` parameters of the whole network are no longer there, and all that is there is kept.
    """
    total = sum(p.numel() for p in network.parameters())
    free = list(free)
    prunable, alive = sum(mask[n].numel() for n in free), sum(int(mask[n].sum()) for n in free)
    kept = total - (gone or mask.size - mask.kept)
    return {
        "cost/parameters": total - gone,
        "cost/prunable": prunable,
        "cost/kept": kept,
        "density/prunable": alive / prunable,
        "density/total": kept / total,
    }


def as_if(metrics: Mapping[str, float], network: nn.Module, whole: Mask, free: Iterable[str]) -> dict[str, float]:
    """The densities at which a ticket of `network` would keep as many parameters as another, smaller network has."""
    total, prunable = sum(p.numel() for p in network.parameters()), sum(whole[n].numel() for n in free)
    kept = metrics["cost/parameters"]
    return {"density/prunable": (kept - (total - prunable)) / prunable, "density/total": kept / total}


def macs(network: nn.Module, mask: Mask, example: tuple[Tensor, ...]) -> dict[str, float]:
    """Multiply-accumulates of one image through the convolutions and linear layers: dense, and counting kept weights only.

    Masked MACs are theoretical: a masked dense network runs as long as a dense one.
    """
    uses: dict[str, int] = {}
    hooks = []

    def count(name: str, module: nn.Module, out: Tensor) -> None:
        uses[name] = uses.get(name, 0) + _uses(module, out)

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            hooks.append(module.register_forward_hook(lambda m, _x, out, name=name: count(name, m, out)))
    with torch.no_grad():
        network(*example)
    for hook in hooks:
        hook.remove()
    weights = dict(network.named_parameters())
    dense = {name: n * weights[f"{name}.weight"].numel() for name, n in uses.items()}
    kept = {name: int(mask[f"{name}.weight"].sum()) if f"{name}.weight" in mask else 0 for name in uses}
    masked = {name: n * kept[name] if f"{name}.weight" in mask else dense[name] for name, n in uses.items()}
    images = len(example[0])
    return {"cost/macs_dense": sum(dense.values()) / images, "cost/macs_masked": sum(masked.values()) / images}


def _uses(module: nn.Module, out: Tensor) -> int:
    """How often each weight of a layer is used in the batch: output pixels of a convolution, rows of a linear layer."""
    return out.shape[0] * out.shape[2] * out.shape[3] if isinstance(module, nn.Conv2d) else out.numel() // out.shape[-1]
