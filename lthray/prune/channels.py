"""Channels: find those that can only be cut together, and make the network without some of them.

Groups are torch-pruning's (Fang et al. 2023, arXiv 2301.12900). The cutting is our own, for a
smaller network must be a function of the whole one and a mask. Under GroupNorm a channel of zeros
still moves the mean and variance of its group, so the smaller network itself is trained and
measured.
"""

import copy
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lthray.config.fields import ConfigError
from lthray.core.layers import TRANSPOSED, is_layer
from lthray.core.ticket import Mask
from lthray.prune.coupling import Coupling, Group, Slices, small

STAY = ("to_q", "to_k", "to_v", "quant_conv")  # make the channels of attention heads and latents
RESIZING = (
    "Downsample2D",
    "Upsample2D",
)  # of diffusers; they compare their input with a noted size


def find(
    network: nn.Module,
    example: tuple[Tensor, ...],
    layers: Mapping[str, object],
    whole: Collection[str],
    told: Collection[str] = (),
) -> Coupling:
    """Return the groups of channels of a network that may be cut.

    `example` is one input of the network, and `layers` are the weights that could be pruned, in
    forward order. Layers in `whole` keep all their outputs, and so do attention heads, latents and
    the last layer; the inputs of any layer go with what feeds them. Layers in `told`, which never
    see the image, keep outputs that no other layer makes with them. Channels stay too that run
    through a tensor of which it is not known how it shrinks. Raises ConfigError where layers share
    a weight.
    """
    import torch_pruning

    _refuse_shared(network)
    traced = copy.deepcopy(network)  # tracing leaves a network in evaluation mode
    modules = dict(traced.named_modules())
    with torch.enable_grad():
        tracer = torch_pruning.DependencyGraph()
        graph = tracer.build_dependency(traced, example_inputs=example, verbose=False)
    stays = {*whole, list(layers)[-1], *_staying(layers)}
    groups: list[Group] = []
    covered: set[str] = set()
    for name in sorted(layers, key=told.__contains__):  # a group is named by one that may be cut
        if name in covered:
            continue
        group, makers, known = _group(graph, name, modules)
        covered |= makers
        if known and not makers & stays and not makers <= {*told}:
            groups.append(group)
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return Coupling(shapes, tuple(groups))


def _refuse_shared(network: nn.Module) -> None:
    """Raise ConfigError where two layers have one weight.

    Its rows are outputs of both, so that their channels would have to go in the same order.
    """
    users: Counter[nn.Parameter] = Counter()
    for module in network.modules():
        users.update(set(module.parameters(recurse=False)))
    for name, parameter in network.named_parameters():
        if users[parameter] > 1:
            why = f"{name} is shared by {users[parameter]} layers; prune.unit = 'weight' can cut it"
            raise ConfigError([f"prune.unit = 'channel': {why}"])


def _staying(layers: Iterable[str]) -> list[str]:
    return [name for name in layers if _kind_of(name) in STAY]


def _kind_of(name: str) -> str:
    """Return the last part of the name of a weight's layer, such as to_q."""
    return name.removesuffix(".weight").rpartition(".")[2]


def _group(graph: Any, name: str, modules: Mapping[str, nn.Module]) -> tuple[Group, set[str], bool]:
    """All that is coupled to the outputs of one layer, the weights that make these channels, and
    whether it is known of all of it how it shrinks."""
    names = {module: module_name for module_name, module in modules.items()}
    layer = modules[name.removesuffix(".weight")]
    dim = int(isinstance(layer, TRANSPOSED) and not _is_depthwise(layer))
    channels = layer.get_parameter("weight").shape[dim]
    norms = [1]
    makers = {name}
    indices: dict[tuple[str, int], Tensor] = {}
    known = not _is_depthwise(layer)  # one that comes first is fed by the images
    prune = graph.get_pruner_of_module(layer).prune_out_channels
    for item in graph.get_pruning_group(layer, prune, list(range(channels))):
        module = item.dep.target.module
        if module not in names or not _is_known(module):  # the former may be a sum
            known &= module not in names and not isinstance(module, nn.Parameter)
            continue
        makes = _makes(graph, item)
        if makes:
            makers.add(f"{names[module]}.weight")
        norms.append(getattr(module, "num_groups", 1))
        for tensor, place in _dims(module, makes):
            length = _tensors(module)[tensor].shape[place]
            key = (f"{names[module]}.{tensor}", place)
            channel = indices.setdefault(key, torch.full((length,), -1))
            channel[list(item.idxs)] = torch.tensor(item.root_idxs)
    norm_groups = max(norms)
    step = channels // math.gcd(channels, norm_groups) if norm_groups > 1 else 1
    slices = [Slices(tensor, place, channel) for (tensor, place), channel in indices.items()]
    return Group(name, channels, step, tuple(slices), dim), makers, known


def _makes(graph: Any, item: Any) -> bool:
    """Return whether an item of a group of torch-pruning is the outputs of a layer."""
    makes = graph.is_out_channel_pruning_fn(item.dep.handler)
    return makes and is_layer(item.dep.target.module)


def _is_depthwise(module: nn.Module) -> bool:
    groups = getattr(module, "groups", 1)
    return groups > 1 and groups == module.in_channels == module.out_channels


def _is_known(module: nn.Module) -> bool:
    """Return whether it is known how a module shrinks with its channels."""
    match module:
        case nn.LayerNorm() | nn.GroupNorm():
            return getattr(module.weight, "ndim", 0) == 1
        case nn.Embedding() | nn.PReLU() | _NormBase():
            return True
        case _ if is_layer(module):
            return getattr(module, "groups", 1) == 1 or _is_depthwise(module)
    return not _tensors(module)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers of a module itself."""
    own = dict(module.named_parameters(recurse=False))
    return {**own, **dict(module.named_buffers(recurse=False))}


def _dims(module: nn.Module, makes: bool) -> list[tuple[str, int]]:
    """Tensors of a module that channels run through, each with the channels' dimension."""
    if isinstance(module, nn.Embedding):
        return [("weight", 1)]
    if is_layer(module) and not _is_depthwise(module):
        inputs, outputs = (0, 1) if isinstance(module, TRANSPOSED) else (1, 0)
        biases = [("bias", 0)] if module.bias is not None else []
        return [("weight", outputs), *biases] if makes else [("weight", inputs)]
    own = _tensors(module).items()
    return [(name, 0) for name, tensor in own if tensor.dim() and len(tensor) > 1]


def shrink(network: nn.Module, cover: Mask) -> nn.Module:
    """Return a copy of the network without the channels that `cover` cuts.

    `cover` is what is left of each tensor (`Coupling.cover`); where it is empty the network itself
    is returned.
    """
    if not cover:
        return network
    shrunk = copy.deepcopy(network)
    for name, module in shrunk.named_modules():
        prefix = f"{name}." if name else ""
        own = {f"{prefix}{key}": tensor.detach() for key, tensor in _tensors(module).items()}
        covered = {key: tensor for key, tensor in own.items() if key in cover}
        for key, tensor in small(covered, cover).items():
            tensor_name = key.removeprefix(prefix)
            is_parameter = tensor_name in module._parameters
            setattr(module, tensor_name, nn.Parameter(tensor) if is_parameter else tensor)
    for module in shrunk.modules():
        _renumber(module)
    return shrunk


def groups_left(groups: int, before: int, left: int) -> int:
    """Return the number of groups of a norm of which `left` channels of `before` are left.

    It is the largest number that divides them and makes no group smaller than it was. So a norm of
    which whole groups are cut treats the others as before, and groups do not thin out to single
    channels, whose norm would undo what the time embedding adds to them.
    """
    size = before // groups
    for number in range(groups, 1, -1):
        if left % number == 0 and left // number >= size:
            return number
    return 1


def _renumber(module: Any) -> None:
    """Set the sizes that a layer notes to those of its parameters."""
    match module:
        case nn.Linear():
            module.out_features, module.in_features = module.weight.shape
        case _ if is_layer(module):
            _renumber_convolution(module)
        case nn.Embedding():
            module.embedding_dim = module.weight.shape[1]
        case nn.LayerNorm() if module.weight is not None:
            module.normalized_shape = tuple(module.weight.shape)
        case nn.PReLU():
            module.num_parameters = len(module.weight)
        case _NormBase():
            sized = [tensor for tensor in _tensors(module).values() if tensor.dim()]
            module.num_features = len(sized[0]) if sized else module.num_features
        case nn.GroupNorm() if module.weight is not None:
            left = len(module.weight)
            module.num_groups = groups_left(module.num_groups, module.num_channels, left)
            module.num_channels = left
        case _ if type(module).__name__ in RESIZING:
            module.out_channels, module.channels = module.conv.weight.shape[:2]


def _renumber_convolution(module: Any) -> None:
    """Set the sizes that a convolution notes.

    One with groups that is not depthwise is never cut, and keeps its own.
    """
    if _is_depthwise(module):
        module.groups = module.in_channels = module.out_channels = len(module.weight)
        return
    if module.groups > 1:
        return
    sides = module.weight.shape[:2]
    module.out_channels, module.in_channels = sides[::-1] if module.transposed else sides
