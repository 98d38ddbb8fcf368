"""Layers whose weights can be cut one by one, and where the outputs and inputs of a weight lie.

A convolution's weight is [outputs, inputs / groups, ...] and a linear layer's [outputs, inputs].
That of a transposed convolution is [inputs, outputs / groups, ...]. What counts outputs or inputs
takes all weights with the outputs first.
"""

from collections.abc import Iterator, Mapping
from itertools import filterfalse

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)
COMPUTING = ("forward", "_conv_forward")
"""Methods that may transform a weight before it is used."""
PLAIN_AGAIN = {
    "parametrizations.weight": "torch.nn.utils.parametrize.remove_parametrizations({}, 'weight')",
    "weight_mask": "torch.nn.utils.prune.remove({}, 'weight')",
    "weight_u": "torch.nn.utils.remove_spectral_norm({})",
    "weight_g": "torch.nn.utils.remove_weight_norm({})",
}
"""How a tensor is called by which a layer transforms its weight -> what makes it a plain layer
again."""


NORMS = (nn.GroupNorm, nn.LayerNorm, _NormBase)


def norms_of(network: nn.Module) -> list[str]:
    """Return the names of the weights and biases of a network's norms."""
    found = []
    for name, module in network.named_modules():
        if isinstance(module, NORMS):
            found += [f"{name}.{own}" for own, _ in module.named_parameters(recurse=False)]
    return found


def is_layer(module: nn.Module) -> bool:
    """Return whether a module is a layer of a kind that can be cut."""
    return isinstance(module, LAYERS)


def uses_stored_weight(module: nn.Module) -> bool:
    """Return whether a layer computes with its weight as it is stored, so that a zero is a zero.

    A parametrised layer does not, and one with a forward of its own, or of its class, need not.
    """
    kind = next(kind for kind in LAYERS if isinstance(module, kind))
    is_stored = "weight" in dict(module.named_parameters(recurse=False))
    own = vars(module).keys() & {*COMPUTING}
    return (is_stored and not own) and all(
        getattr(type(module), method, None) is getattr(kind, method, None) for method in COMPUTING
    )


def weights_of(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the name of the weight of every layer, and the layer.

    Layers that share a weight have one name for it, the first. A weight that something else uses
    too, as an embedding may, is left out.
    """
    names = {parameter: name for name, parameter in network.named_parameters()}
    others: set[nn.Parameter] = set()
    for module in filterfalse(is_layer, network.modules()):
        others.update(module.parameters(recurse=False))
    for module in filter(uses_stored_weight, filter(is_layer, network.modules())):
        weight = module.get_parameter("weight")
        if weight not in others:
            yield names[weight], module


def refuse_transformed(network: nn.Module) -> None:
    """Raise ValueError for a layer that does not use its weight as stored.

    It names the layer and the way out.
    """
    for name, module in network.named_modules():
        if is_layer(module) and not uses_stored_weight(module):
            kind = type(module).__name__
            why = "transforms its weight, or may, so that a stored zero is none in use"
            raise ValueError(f"{name}: {kind} {why}: it cannot be pruned; {_way_out(module)}")


def _way_out(module: nn.Module) -> str:
    """Return how a layer that transforms its weight becomes one that can be cut."""
    tensors = " ".join(module.state_dict())
    for name, call in PLAIN_AGAIN.items():
        if name in tensors:
            return f"{call.format('LAYER')} makes it a plain layer again"
    kind = next(kind for kind in LAYERS if isinstance(module, kind))
    return f"a torch.nn.{kind.__name__}, without a forward of its own, can be"


def never_cut(network: nn.Module, shapes: Mapping[str, object]) -> tuple[float, list[str]]:
    """Return the share of the weights of a network that lie in no layer of `shapes`, and where.

    Weights are parameters of two dimensions or more.
    """
    sizes_of_weights = {}
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            sizes_of_weights[name] = parameter.numel()
    left = [name for name in sizes_of_weights if name not in shapes]
    total = max(1, sum(sizes_of_weights.values()))
    return sum(sizes_of_weights[name] for name in left) / total, left


def turned_groups(network: nn.Module) -> dict[str, int]:
    """Return weight name -> groups of every transposed convolution."""
    groups = {}
    for name, module in weights_of(network):
        if isinstance(module, TRANSPOSED):
            groups[name] = module.groups
    return groups


def outputs_first(tensors: Mapping[str, Tensor], turned: Mapping[str, int]) -> dict[str, Tensor]:
    """Return tensors of weights, by name, with the outputs along the first dimension.

    `turned` maps the weights that have their inputs first to their groups.
    """
    return _swapped(tensors, turned)


def as_stored(tensors: Mapping[str, Tensor], turned: Mapping[str, int]) -> dict[str, Tensor]:
    """Return what `outputs_first` has made of tensors as it was before."""
    return _swapped(tensors, turned)


def _swapped(tensors: Mapping[str, Tensor], turned: Mapping[str, int]) -> dict[str, Tensor]:
    swapped = {}
    for name, tensor in tensors.items():
        swapped[name] = _swap(tensor, turned[name]) if name in turned else tensor
    return swapped


def _swap(weight: Tensor, groups: int) -> Tensor:
    """Swap the two channel dimensions group by group; twice is nothing."""
    by_group = weight.unflatten(0, (groups, -1))  # [groups, first / groups, second, ...]
    return by_group.transpose(1, 2).flatten(0, 1).contiguous()


def uses(module: nn.Module, given: Tensor, out: Tensor) -> int:
    """Return how often each weight of a layer is used in one call, for all images.

    A convolution uses a weight once for each pixel of its outputs `out`, a transposed one once for
    each pixel that it is `given`, and a linear layer once for each row.
    """
    if isinstance(module, nn.Linear):
        return out.numel() // out.shape[-1]
    pixels = given if isinstance(module, TRANSPOSED) else out
    return pixels.shape[0] * pixels[0, 0].numel()
