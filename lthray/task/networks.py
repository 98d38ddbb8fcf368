"""The networks: diffusers' UNet2DModel and AutoencoderKL; LeNet-300-100, a small convolutional classifier, ResNets; a
user's own; fresh or from a folder."""

import bisect
import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lthray.config.fields import ConfigError
from lthray.config.trial import FEATURES, Model
from lthray.core.random import seed_of
from lthray.task import imported, pretrained
from lthray.task.classifiers import LeNet5, LeNet300, ResNet

PLAIN = (nn.Conv2d, nn.Linear)
# what diffusers called the parts of an attention layer, and calls them
OLD = ((".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0."))


def build(model: Model, shape: tuple[int, int, int], classes: int, seed: int, *, fresh: bool = False) -> nn.Module:
    """A network for images of `shape` (channels, height, width); its weights are a function of `seed` alone, or those of
    model.pretrained unless they are to be `fresh`."""
    with drawing(seed_of("init", seed), torch.device("cpu")):
        network = MODELS.get(model.name, _imported)(model, shape, classes)
    if model.pretrained and not fresh:
        _load(network, model)
    return network


def source_of(model: Model) -> str:
    """The digest of a user's own network's source, for keys; empty for ours."""
    return "" if model.name in MODELS else imported.digest("model.name", model.name)


def layers(network: nn.Module, example: tuple[Tensor, ...]) -> dict[str, tuple[int, ...]]:
    """Weight name -> shape of every layer that may be pruned, in forward order as seen by hooks.

    Raises ValueError for a layer that transforms its weight before use: its mask would mean nothing (METHODS: weight
    standardisation turns stored zeros into non-zeros).
    """
    order: list[str] = []
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if type(module) not in PLAIN or "weight" not in dict(module.named_parameters(recurse=False)):
                raise ValueError(f"{name}: {type(module).__name__} transforms its weight, so it cannot be pruned")
            hooks.append(module.register_forward_pre_hook(lambda _m, _x, name=name: order.append(f"{name}.weight")))
    with torch.no_grad():
        network(*example)
    for hook in hooks:
        hook.remove()
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    return {name: shapes[name] for name in dict.fromkeys(order)}


@functools.cache
def sizes(model: Model, shape: tuple[int, int, int], classes: int) -> tuple[int, dict[str, int]]:
    """Number of all parameters of a network, and of the weights of each layer that may be pruned, without making it."""
    with torch.device("meta"):
        network = MODELS[model.name](model, shape, classes)
    layers = {f"{n}.weight": m.weight.numel() for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    return sum(p.numel() for p in network.parameters()), layers


def narrower(model: Model, shape: tuple[int, int, int], classes: int, parameters: int) -> Model:
    """The network of the same depth and proportions, no wider than `model`, with the nearest number of parameters."""

    def count(k: int) -> int:
        return sizes(_scaled(model, k), shape, classes)[0]

    widest = math.gcd(*_widths(model))
    above = min(bisect.bisect_left(range(1, widest + 1), parameters, key=count) + 1, widest)
    return _scaled(model, min((max(above - 1, 1), above), key=lambda k: abs(count(k) - parameters)))


def _widths(model: Model) -> tuple[int, ...]:
    return model.hidden if model.name == "lenet300" else model.channels


def _scaled(model: Model, k: int) -> Model:
    """Widths k / gcd as large; groups and heads still divide them."""
    widths = tuple(k * width // math.gcd(*_widths(model)) for width in _widths(model))
    if model.name == "lenet300":
        return replace(model, hidden=widths)
    return replace(model, channels=widths, groups=math.gcd(model.groups, *widths), head=math.gcd(model.head, *widths))


@contextlib.contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """What the network draws inside, such as what dropout leaves out, is a function of `seed`, and of nothing outside."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def set_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a network, wherever it is."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(weights[name])


@torch.no_grad()
def encoded(autoencoder: nn.Module, x: Tensor) -> Tensor:
    """Means of the latents of images [n, C, H, W]: [n, c, h, w]."""
    return autoencoder.encode(x).latent_dist.mode()  # type: ignore[operator]


@torch.no_grad()
def decoded(autoencoder: nn.Module, z: Tensor) -> Tensor:
    """The images of latents, a part at a time."""
    return torch.cat([autoencoder.decode(part).sample for part in z.split(512)])  # type: ignore[operator]


def features_of(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The hidden layer of a classifier, images [n, C, H, W] -> [n, d]."""
    if not isinstance(network, LeNet300 | LeNet5 | ResNet):
        raise TypeError(f"{type(network).__name__} has no hidden layer to look at")
    return network.features


def block_of(layer: str) -> str:
    """The block that a layer belongs to: a U-Net level (down_blocks.0, mid_block, ...), else the layer itself."""
    first, second, *_ = (*layer.split("."), "")
    return f"{first}.{second}" if second.isdigit() else first


def group_of(layer: str, granularity: str, levels: int) -> str:
    """What a layer shares a density with: nothing, its block, or its level of a U-Net, on the way down and up (the middle
    belongs to the lowest)."""
    if granularity == "layer":
        return layer
    block = block_of(layer)
    part, _, number = block.partition(".")
    if granularity == "block" or part not in ("down_blocks", "up_blocks", "mid_block"):
        return block
    return f"level {({'down_blocks': int(number or 0), 'up_blocks': levels - 1 - int(number or 0)}).get(part, levels - 1)}"


def _unet(model: Model, shape: tuple[int, int, int], classes: int) -> nn.Module:
    from diffusers import UNet2DModel

    if model.pretrained and pretrained.given(model.pretrained).config:
        return _as_saved(model.pretrained, shape)
    levels = range(len(model.channels))
    return UNet2DModel(
        sample_size=shape[1],
        in_channels=shape[0],
        out_channels=shape[0],
        block_out_channels=model.channels,
        layers_per_block=model.layers,
        down_block_types=tuple("AttnDownBlock2D" if i in model.attention else "DownBlock2D" for i in levels),
        up_block_types=tuple("AttnUpBlock2D" if i in model.attention else "UpBlock2D" for i in reversed(levels)),
        add_attention=bool(model.attention),
        attention_head_dim=model.head,
        norm_num_groups=model.groups,
        dropout=model.dropout,
        num_class_embeds=classes if model.conditional else None,
    )


def _as_saved(source: str, shape: tuple[int, int, int]) -> nn.Module:
    """A fresh network of the architecture that a saved one names."""
    from diffusers import UNet2DModel

    said = pretrained.facts(source, pretrained.given(source).config)
    faults = {
        f"is a {said.get('_class_name')}, not a UNet2DModel": said.get("_class_name") != "UNet2DModel",
        f"has {said.get('in_channels')} channels, data {shape[0]}": said.get("in_channels") != shape[0],
        f"answers with {said.get('out_channels')} channels": said.get("out_channels") != said.get("in_channels"),
        "is told the class of an image": said.get("class_embed_type") or said.get("num_class_embeds"),
    }
    return _from_config(UNet2DModel, source, "unet", said, faults)


def _from_config(kind: Any, source: str, part: str, said: dict[str, Any], faults: Mapping[str, Any]) -> nn.Module:
    """A network as diffusers makes it of a saved config, unless one of the faults is there."""
    if wrong := next((told for told, is_so in faults.items() if is_so), None):
        raise pretrained.wrong(source, part, wrong)
    try:
        return kind.from_config(said)
    except Exception as error:  # whatever diffusers raises, the folder cannot be used
        raise pretrained.wrong(source, part, f"{type(error).__name__}: {error}") from None


def _load(network: nn.Module, model: Model) -> None:
    """Put the given weights in; every name and shape must be the network's own."""
    own, found, source, part = {name: p.shape for name, p in network.named_parameters()}, {}, model.pretrained, part_of(model)
    for name, tensor in pretrained.tensors(source, part).items():
        found[name if name in own else functools.reduce(lambda n, pair: n.replace(*pair), OLD, name)] = tensor
    sizes = [name for name in own.keys() & found.keys() if own[name] != found[name].shape]
    missing, more = sorted(own.keys() - found.keys()), sorted(found.keys() - own.keys())
    pretrained.fitting(source, part, missing, more, sorted(sizes))
    set_weights(network, found)


def part_of(model: Model) -> str:
    """The part of a pipeline that such a network is."""
    return "vae" if model.name == "autoencoder" else "unet"


def _autoencoder(model: Model, shape: tuple[int, int, int], classes: int) -> nn.Module:
    from diffusers import AutoencoderKL

    levels = len(model.channels)
    if model.pretrained and (file := pretrained.given(model.pretrained, "vae").config):
        said = pretrained.facts(model.pretrained, file, "vae")
        depth = len(said.get("block_out_channels", ()))
        faults = {
            f"is a {said.get('_class_name')}, not an AutoencoderKL": said.get("_class_name") != "AutoencoderKL",
            f"has {said.get('in_channels')} channels, data {shape[0]}": said.get("in_channels") != shape[0],
            f"has {said.get('latent_channels')} latent channels, latent.channels = {model.latent}": said.get("latent_channels")
            != model.latent,
            f"has {depth} levels, latent.widths = {model.channels}": depth != levels,
        }
        return _from_config(AutoencoderKL, model.pretrained, "vae", said, faults)
    return AutoencoderKL(
        sample_size=shape[1],
        in_channels=shape[0],
        out_channels=shape[0],
        latent_channels=model.latent,
        block_out_channels=model.channels,
        layers_per_block=model.layers,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=model.groups,
        mid_block_add_attention=False,
    )


def _imported(model: Model, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """What a user's factory gives."""
    make = imported.factory("model.name", model.name)
    try:
        network = make(shape, classes)
    except Exception as error:
        raise imported.told("model.name", model.name, error) from None
    if not isinstance(network, nn.Module):
        raise ConfigError([f"model.name = {model.name!r}: gives a {type(network).__name__}, not a torch.nn.Module"])
    return network


def _resnet(model: Model, shape: tuple[int, int, int], classes: int) -> nn.Module:
    return ResNet(shape[0], model.channels, model.layers, classes, model.groups, model.dropout)


def _lenet300(model: Model, shape: tuple[int, int, int], classes: int) -> nn.Module:
    return LeNet300(shape[0] * shape[1] * shape[2], model.hidden, classes)


def _lenet5(model: Model, shape: tuple[int, int, int], classes: int) -> nn.Module:
    return LeNet5(shape[0], model.channels, FEATURES, classes)


MODELS: dict[str, Callable[[Model, tuple[int, int, int], int], nn.Module]] = {
    "unet": _unet,
    "lenet300": _lenet300,
    "lenet5": _lenet5,
    "resnet": _resnet,
    "autoencoder": _autoencoder,
}
