"""The networks: U-Net, autoencoder, classifiers, a user's own; fresh or with given weights."""

import bisect
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lthray.config.fields import ConfigError
from lthray.config.parts import Model
from lthray.config.vocabulary import FEATURES
from lthray.core.layers import refuse_transformed, weights_of
from lthray.core.random import drawing, seed_of
from lthray.task import factories, inputs
from lthray.task.classifiers import LeNet5, LeNet300, ResNet

Shape = tuple[int, int, int]  # channels, height, width

MISSED = 0.3  # share of the parameters by which a narrower network may miss and keep its heads


@dataclass(frozen=True, kw_only=True)
class Network:
    """One architecture: all that is particular to it."""

    build: Callable[[Model, Shape, int], nn.Module]
    """(model, shape of an image, classes) -> network with weights of torch's global generator."""
    widths: Literal["channels", "hidden"] = "channels"
    """Field of `Model` that holds its widths."""
    groups: bool = False
    """Whether its norms are GroupNorm, of model.groups groups."""
    part: Literal["unet", "vae"] = "unet"
    """Part of a diffusers pipeline that holds such a network."""
    classifier: type[LeNet300] | type[LeNet5] | type[ResNet] | None = None
    """Class of a classifier, whose method `features` is its hidden layer."""


def build(model: Model, shape: Shape, classes: int, seed: int, *, fresh: bool = False) -> nn.Module:
    """Return a network for images of `shape` (channels, height, width) and that many `classes`.

    Its weights and buffers are a function of `seed` alone, or those of model.pretrained unless
    `fresh`. Buffers that no file keeps (persistent=False) are those that the network is built with.
    """
    with drawing(seed_of("init", seed), torch.device("cpu")):
        network = _row(model).build(model, shape, classes)
    if model.pretrained and not fresh:
        _load(network, model)
    return network


def _load(network: nn.Module, model: Model) -> None:
    """Put the tensors of model.pretrained into a network: all parameters and persistent buffers."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    names = {tensor: name for name, tensor in tensors.items()}
    own_names = {name: names[tensor] for name, tensor in network.state_dict(keep_vars=True).items()}
    shapes = {name: tensors[name].shape for name in own_names.values()}
    given = inputs.weights_of(model.pretrained, part_of(model), shapes, own_names)
    set_weights(network, given)
    buffers = dict(network.named_buffers())
    set_buffers(network, {name: given[name] for name in given if name in buffers})


def source_of(model: Model) -> str:
    """Return the digest of the source of a user's own network, for keys; empty for another."""
    return "" if model.name in NETWORKS else factories.digest("model.name", model.name)


def part_of(model: Model) -> str:
    """Return the part of a diffusers pipeline that holds such a network: unet or vae."""
    return _row(model).part


def layers(network: nn.Module, example: tuple[Tensor, ...]) -> dict[str, tuple[int, ...]]:
    """Return weight name -> shape of every prunable layer, in the order that `example` meets them.

    Prunable are convolutions, transposed ones and linear layers; layers that share a weight count
    as one. Raises ValueError for a layer that transforms its weight before use, such as weight
    standardisation: a zero that is stored there is no zero in use, so a mask would mean nothing.
    """
    refuse_transformed(network)
    order: list[str] = []
    hooks = []
    for weight_name, module in weights_of(network):
        note = lambda _module, _inputs, seen=weight_name: order.append(seen)  # noqa: E731
        hooks.append(module.register_forward_pre_hook(note))
    with torch.no_grad():
        network(*example)
    for hook in hooks:
        hook.remove()
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    return {name: shapes[name] for name in dict.fromkeys(order)}


def told(network: nn.Module, example: tuple[Tensor, ...]) -> set[str]:
    """Return the weight names of prunable layers that never see the image of `example`.

    They tell the network the time or the class. The image is the first tensor of `example`. It is
    made not-a-number, which every layer that sees any of it passes on, whatever its weights.
    """
    called: set[str] = set()
    seeing: set[str] = set()

    def note(weight_name: str, _module: nn.Module, arguments: Any, keywords: Any) -> None:
        called.add(weight_name)
        given = [each for each in (*arguments, *keywords.values()) if isinstance(each, Tensor)]
        if any(map(torch.any, map(torch.isnan, given))):
            seeing.add(weight_name)

    hooks = []
    for weight_name, module in weights_of(network):
        hook = functools.partial(note, weight_name)
        hooks.append(module.register_forward_pre_hook(hook, with_kwargs=True))
    with torch.no_grad():
        network(torch.full_like(example[0], torch.nan), *example[1:])
    for handle in hooks:
        handle.remove()
    return called - seeing


@functools.cache
def sizes(model: Model, shape: Shape, classes: int) -> tuple[int, dict[str, int]]:
    """Return the numbers of all parameters and of each prunable layer's weights, making none."""
    with torch.device("meta"):
        network = _row(model).build(model, shape, classes)
    layer_sizes = {}
    for name, module in weights_of(network):
        layer_sizes[name] = module.get_parameter("weight").numel()
    return sum(map(Tensor.numel, network.parameters())), layer_sizes


def narrower(model: Model, shape: Shape, classes: int, parameters: int) -> Model:
    """Return `model` narrowed in all widths alike, with as near to `parameters` as that comes.

    Each GroupNorm keeps the channels of a group, since smaller groups alone cost loss; so widths
    come in as many steps as there are groups. Attention keeps the width of a head, unless no such
    width is within a share MISSED of `parameters`.
    """

    def count(narrow: Model) -> int:
        return sizes(narrow, shape, classes)[0]

    def distance(narrow: Model) -> int:
        return abs(count(narrow) - parameters)

    def nearest(models: list[Model]) -> Model:
        above = min(bisect.bisect_left(models, parameters, key=count), len(models) - 1)
        return min(models[max(above - 1, 0) : above + 1], key=distance)

    scaled = _scaled(model)
    chosen = nearest([narrow for narrow in scaled if narrow.head == model.head])
    near_enough = distance(chosen) <= MISSED * parameters
    return chosen if near_enough else nearest(scaled)


def _scaled(model: Model) -> list[Model]:
    """Return the network at all its widths, the narrowest first, with the groups that it has."""
    row = _row(model)
    widths = getattr(model, row.widths)
    steps = model.groups if row.groups else math.gcd(*widths)
    scaled = []
    for k in range(1, steps + 1):
        narrow = tuple(k * width // steps for width in widths)
        changes: dict[str, Any] = {row.widths: narrow}
        if row.groups:
            changes["groups"] = k
        if model.attention:
            changes["head"] = math.gcd(model.head, *narrow)
        scaled.append(replace(model, **changes))
    return scaled


def set_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights`, with every parameter by name, into `network`, on whatever device it is."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(weights[name])


def set_buffers(network: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """Copy `buffers` by name into `network`, on whatever device it is."""
    own = dict(network.named_buffers())
    for name, buffer in buffers.items():
        own[name].copy_(buffer)


def buffers_of(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of all buffers of `network` by name, those that no file keeps too."""
    copies = {}
    for name, buffer in network.named_buffers():
        copies[name] = buffer.detach().clone(memory_format=torch.contiguous_format)
    return copies


@torch.no_grad()
def encoded(autoencoder: nn.Module, x: Tensor) -> Tensor:
    """Return the means of the latents, [n, c, h, w], of images `x` [n, C, H, W]."""
    return autoencoder.encode(x).latent_dist.mode()  # type: ignore[operator]


@torch.no_grad()
def decoded(autoencoder: nn.Module, z: Tensor) -> Tensor:
    """Return the images, [n, C, H, W], of latents `z` [n, c, h, w], 512 at a time."""
    decode = autoencoder.decode
    return torch.cat([decode(part).sample for part in z.split(512)])  # type: ignore[operator]


def features_of(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the hidden layer of a classifier, images [n, C, H, W] -> [n, d].

    Raises TypeError for another network.
    """
    for row in NETWORKS.values():
        if row.classifier and isinstance(network, row.classifier):
            return network.features
    raise TypeError(f"{type(network).__name__} has no hidden layer to look at")


def _row(model: Model) -> Network:
    """Return the row of a network; a user's own is known by its import path alone."""
    return NETWORKS.get(model.name, OWN)


def _unet(model: Model, shape: Shape, classes: int) -> nn.Module:
    from diffusers import UNet2DModel

    config = inputs.saved_config(model.pretrained, part_of(model))
    if config is not None:
        faults = inputs.unet_faults(config, shape[0])
        return inputs.from_config(UNet2DModel, model.pretrained, "unet", faults)
    attention = [level in model.attention for level in range(len(model.channels))]
    down = ["AttnDownBlock2D" if attends else "DownBlock2D" for attends in attention]
    up = ["AttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attention)]
    return UNet2DModel(
        sample_size=shape[1],
        in_channels=shape[0],
        out_channels=shape[0],
        block_out_channels=model.channels,
        layers_per_block=model.layers,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        add_attention=bool(model.attention),
        attention_head_dim=model.head,
        norm_num_groups=model.groups,
        dropout=model.dropout,
        num_class_embeds=classes if model.conditional else None,
    )


def _autoencoder(model: Model, shape: Shape, classes: int) -> nn.Module:
    from diffusers import AutoencoderKL

    config = inputs.saved_config(model.pretrained, part_of(model))
    if config is not None:
        faults = inputs.autoencoder_faults(config, shape[0], model.latent, model.channels)
        return inputs.from_config(AutoencoderKL, model.pretrained, "vae", faults)
    return AutoencoderKL(
        sample_size=shape[1],
        in_channels=shape[0],
        out_channels=shape[0],
        latent_channels=model.latent,
        block_out_channels=model.channels,
        layers_per_block=model.layers,
        down_block_types=("DownEncoderBlock2D",) * len(model.channels),
        up_block_types=("UpDecoderBlock2D",) * len(model.channels),
        norm_num_groups=model.groups,
        mid_block_add_attention=False,
    )


def _resnet(model: Model, shape: Shape, classes: int) -> nn.Module:
    return ResNet(
        shape[0],
        model.channels,
        layers=model.layers,
        classes=classes,
        groups=model.groups,
        dropout=model.dropout,
    )


def _lenet300(model: Model, shape: Shape, classes: int) -> nn.Module:
    return LeNet300(math.prod(shape), model.hidden, classes)


def _lenet5(model: Model, shape: Shape, classes: int) -> nn.Module:
    return LeNet5(shape[0], model.channels, FEATURES, classes)


def _own(model: Model, shape: Shape, classes: int) -> nn.Module:
    """Return the network of a user's factory; ConfigError where it makes none."""
    make = factories.factory("model.name", model.name)
    try:
        network = make(shape, classes)
    except Exception as error:
        raise factories.import_error("model.name", model.name, error) from None
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise ConfigError([f"model.name = {model.name!r}: gives a {kind}, not a torch.nn.Module"])
    return network


OWN = Network(build=_own)
NETWORKS: dict[str, Network] = {
    "unet": Network(build=_unet, groups=True),
    "lenet300": Network(build=_lenet300, widths="hidden", classifier=LeNet300),
    "lenet5": Network(build=_lenet5, classifier=LeNet5),
    "resnet": Network(build=_resnet, groups=True, classifier=ResNet),
    "autoencoder": Network(build=_autoencoder, groups=True, part="vae"),
}
