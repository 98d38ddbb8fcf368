"""Channels of a network that can only be cut together, and the network that is left without some of them.

Groups are torch-pruning's (Fang et al. 2023, arXiv 2301.12900); the cutting is our own, for a smaller network must be a
function of the whole one and a mask. Under GroupNorm a channel of zeros still moves its group's mean and variance, so what
is trained and measured is the smaller network itself.
"""

import copy
import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lthray.core.ticket import Mask
from lthray.prune.coupling import Coupling, Group, Slices, small

STAY = ("to_q", "to_k", "to_v", "quant_conv")  # make the channels of attention heads, and of latents
RESIZING = ("Downsample2D", "Upsample2D")  # diffusers' layers that compare their input with channels noted elsewhere


def find(network: nn.Module, example: tuple[Tensor, ...], layers: Mapping[str, object], whole: Collection[str]) -> Coupling:
    """The groups of channels that may be cut; `layers` are the weights that could be, in forward order.

    Layers in `whole` keep all their outputs, and so do attention heads, latents and the last layer, whose outputs are the
    network's; inputs of any layer go with what feeds them.
    """
    import torch_pruning

    traced = copy.deepcopy(network)  # tracing leaves a network in evaluation mode
    modules = dict(traced.named_modules())
    with torch.enable_grad():
        graph = torch_pruning.DependencyGraph().build_dependency(traced, example_inputs=example, verbose=False)
    stays = {*whole, list(layers)[-1], *(name for name in layers if name.split(".")[-2] in STAY)}
    groups, seen = [], set()
    for name in layers:
        if name not in seen:
            group, makers = _group(graph, name, modules)
            seen |= makers
            groups += [] if makers & stays else [group]
    return Coupling({name: tuple(p.shape) for name, p in network.named_parameters()}, tuple(groups))


def _group(graph, name: str, modules: Mapping[str, nn.Module]) -> tuple[Group, set[str]]:
    """All that is coupled to the outputs of one layer, and the weights of all layers that make these channels."""
    names, layer = {module: name for name, module in modules.items()}, modules[name.removesuffix(".weight")]
    channels, norms, makers = len(layer.get_parameter("weight")), 1, set()
    found: dict[tuple[str, int], Tensor] = {}
    for item in graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, list(range(channels))):
        module, makes = item.dep.target.module, graph.is_out_channel_pruning_fn(item.dep.handler)
        if module not in names:
            continue  # a sum, a concatenation
        if makes and isinstance(module, nn.Conv2d | nn.Linear):
            makers.add(f"{names[module]}.weight")
        if isinstance(module, nn.GroupNorm):
            norms = max(norms, module.num_groups)
        for parameter, dim in _dims(module, makes):
            at = torch.full((module.get_parameter(parameter).shape[dim],), -1)
            at = found.setdefault((f"{names[module]}.{parameter}", dim), at)
            at[list(item.idxs)] = torch.tensor(item.root_idxs)
    step = channels // math.gcd(channels, norms) if norms > 1 else 1
    return Group(name, channels, step, tuple(Slices(*where, channel=at) for where, at in found.items())), makers


def _dims(module: nn.Module, makes: bool) -> list[tuple[str, int]]:
    """The parameters of a layer along which the channels lie that it makes, or reads."""
    if isinstance(module, nn.Embedding):
        return [("weight", 1)]
    if makes or isinstance(module, nn.GroupNorm):
        return [(name, 0) for name, _ in module.named_parameters(recurse=False)]
    return [("weight", 1)]


def shrink(network: nn.Module, cover: Mask) -> nn.Module:
    """The network that is left, `cover` being what is of its parameters; itself where that covers nothing."""
    if not cover:
        return network
    left = copy.deepcopy(network)
    for name, module in left.named_modules():
        own = {n: p.detach() for n, p in module.named_parameters(name, recurse=False) if n in cover}
        for parameter, tensor in small(own, cover).items():
            setattr(module, parameter.rpartition(".")[2], nn.Parameter(tensor))
    for module in left.modules():
        _renumber(module)
    return left


def groups_left(groups: int, before: int, left: int) -> int:
    """Groups of a norm of which `left` channels of `before` are left: as many as divide them, none smaller than it was.

    So a norm of which whole groups are cut does to the others what it did, and groups do not thin out to single channels,
    whose norm would undo what the time embedding adds to them.
    """
    return max(n for n in range(1, groups + 1) if left % n == 0 and (n == 1 or left // n >= before // groups))


def _renumber(module: Any) -> None:
    """What a layer notes of its own sizes."""
    match module:
        case nn.Conv2d():
            module.out_channels, module.in_channels = module.weight.shape[:2]
        case nn.Linear():
            module.out_features, module.in_features = module.weight.shape
        case nn.Embedding():
            module.embedding_dim = module.weight.shape[1]
        case nn.GroupNorm():
            module.num_groups = groups_left(module.num_groups, module.num_channels, len(module.weight))
            module.num_channels = len(module.weight)
        case _ if type(module).__name__ in RESIZING:
            module.out_channels, module.channels = module.conv.weight.shape[:2]
