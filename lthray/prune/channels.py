"""Channels: find those that can only be cut together, and make the network without some of them.

Groups are torch-pruning's (Fang et al. 2023, arXiv 2301.12900). The cutting is our own, for a
smaller network must be a function of the whole one and a mask. Under GroupNorm a channel of zeros
still moves the mean and variance of its group, so the smaller network itself is trained and
measured.
"""

import copy
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

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
    see the image, keep outputs that no other layer makes with them.
    """
    import torch_pruning

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
        group, makers = _group(graph, name, modules)
        covered |= makers
        if not makers & stays and not makers <= {*told}:
            groups.append(group)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    return Coupling(shapes, tuple(groups))


def _staying(layers: Iterable[str]) -> list[str]:
    return [name for name in layers if name.split(".")[-2] in STAY]


def _group(graph: Any, name: str, modules: Mapping[str, nn.Module]) -> tuple[Group, set[str]]:
    """All that is coupled to the outputs of one layer, and the weights that make these channels."""
    names = {module: module_name for module_name, module in modules.items()}
    layer = modules[name.removesuffix(".weight")]
    channels = len(layer.get_parameter("weight"))
    norm_groups = 1
    makers = set()
    indices: dict[tuple[str, int], Tensor] = {}
    prune = graph.get_pruner_of_module(layer).prune_out_channels
    for item in graph.get_pruning_group(layer, prune, list(range(channels))):
        module = item.dep.target.module
        if module not in names:
            continue  # a sum, a concatenation
        makes = graph.is_out_channel_pruning_fn(item.dep.handler)
        if makes and isinstance(module, nn.Conv2d | nn.Linear):
            makers.add(f"{names[module]}.weight")
        if isinstance(module, nn.GroupNorm):
            norm_groups = max(norm_groups, module.num_groups)
        for parameter, dim in _dims(module, makes):
            length = module.get_parameter(parameter).shape[dim]
            place = (f"{names[module]}.{parameter}", dim)
            channel = indices.setdefault(place, torch.full((length,), -1))
            channel[list(item.idxs)] = torch.tensor(item.root_idxs)
    step = channels // math.gcd(channels, norm_groups) if norm_groups > 1 else 1
    slices = [Slices(parameter, dim, channel) for (parameter, dim), channel in indices.items()]
    return Group(name, channels, step, tuple(slices)), makers


def _dims(module: nn.Module, makes: bool) -> list[tuple[str, int]]:
    """Parameters of a layer that channels run through, each with the channels' dimension."""
    reads = not makes and not isinstance(module, nn.GroupNorm)
    if reads or isinstance(module, nn.Embedding):
        return [("weight", 1)]
    return [(name, 0) for name, _ in module.named_parameters(recurse=False)]


def shrink(network: nn.Module, cover: Mask) -> nn.Module:
    """Return a copy of the network without the channels that `cover` cuts.

    `cover` is what is left of each parameter (`Coupling.cover`); where it is empty the network
    itself is returned.
    """
    if not cover:
        return network
    shrunk = copy.deepcopy(network)
    for name, module in shrunk.named_modules():
        own = dict(module.named_parameters(name, recurse=False))
        covered = {key: parameter.detach() for key, parameter in own.items() if key in cover}
        for key, tensor in small(covered, cover).items():
            setattr(module, key.rpartition(".")[2], nn.Parameter(tensor))
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
        case nn.Conv2d():
            module.out_channels, module.in_channels = module.weight.shape[:2]
        case nn.Linear():
            module.out_features, module.in_features = module.weight.shape
        case nn.Embedding():
            module.embedding_dim = module.weight.shape[1]
        case nn.GroupNorm():
            left = len(module.weight)
            module.num_groups = groups_left(module.num_groups, module.num_channels, left)
            module.num_channels = left
        case _ if type(module).__name__ in RESIZING:
            module.out_channels, module.channels = module.conv.weight.shape[:2]
