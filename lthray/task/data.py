"""The images: digits (embedded in scikit-learn), MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 (torchvision).

Every set comes as uint8 images with one fixed train / validation / test split and a digest of its content. Batches are
a function of (stream, step): nothing is carried from step to step, so a run can be cut and continued anywhere.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lthray.config import Data
from lthray.flat import ConfigError
from lthray.seeds import generator


@dataclass(frozen=True)
class Images:
    """One data set on one device."""

    images: Tensor  # [N, C, H, W] uint8
    labels: Tensor  # [N] int64
    levels: int  # grey level that means white: 16 for digits, 255 otherwise
    splits: dict[str, Tensor]  # train, validation, test -> [n] int64
    augment: str
    digest: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return tuple(self.images.shape[1:])  # type: ignore[return-value]

    def to(self, device: torch.device | str) -> "Images":
        """The same images on another device."""
        splits = {name: index.to(device) for name, index in self.splits.items()}
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), splits=splits)

    def scaled(self, index: Tensor) -> Tensor:
        """The images at `index` as float32 in [-1, 1], [n, C, H, W]."""
        return self.images[index].to(torch.float32) * (2 / self.levels) - 1

    def held_out(self, split: str, n: int) -> tuple[Tensor, Tensor]:
        """The first n images and labels of a split: the same for every network of a study."""
        index = self.splits[split][:n]
        return self.scaled(index), self.labels[index]

    def batch(self, stream: int, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Images [size, C, H, W] and labels [size] of one step: epochs without replacement, last part dropped."""
        train = self.splits["train"]
        epoch, place = divmod(step, len(train) // size)
        order = _order(len(train), stream, epoch, str(train.device))
        index = train[order[place * size : (place + 1) * size]]
        return AUGMENT[self.augment](self.scaled(index), stream, step), self.labels[index]


@lru_cache(maxsize=4)
def _order(n: int, stream: int, epoch: int, device: str) -> Tensor:
    return torch.randperm(n, generator=generator("order", stream, epoch)).to(device)


def to_bytes(x: Tensor) -> Tensor:
    """Float images in [-1, 1] as uint8 in 0 ... 255, for extractors and pictures."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def load(data: Data) -> Images:
    """The data set of a config; ConfigError where its files are not there."""
    return _load(data.name, data.root, data.download, data.fraction, data.augment)


@lru_cache(maxsize=2)
def _load(name: str, root: str, download: bool, fraction: float, augment: str) -> Images:
    x, y, levels, test = SETS[name](name, root, download)
    splits = _split(y, test)
    digest = hashlib.sha256(f"{levels} {tuple(x.shape)}".encode())
    for array in (x, y, *splits.values()):
        digest.update(np.ascontiguousarray(array).tobytes())
    splits["train"] = splits["train"][: math.ceil(len(splits["train"]) * fraction)]
    index = {name: torch.from_numpy(rows) for name, rows in splits.items()}
    return Images(torch.from_numpy(x), torch.from_numpy(y), levels, index, augment, digest.hexdigest())


def _split(labels: np.ndarray, test: np.ndarray | None) -> dict[str, np.ndarray]:
    """Fixed split in a fixed shuffled order: the official test part or a sixth; a twelfth or a sixth to validate."""
    order = np.random.default_rng(0).permutation(len(labels))
    if test is None:
        part = len(labels) // 6 + 1
        return {"test": order[:part], "validation": order[part : 2 * part], "train": order[2 * part :]}
    rest = order[~np.isin(order, test)]
    part = len(rest) // 10 if len(rest) < 60_000 else len(rest) // 12
    return {"test": order[np.isin(order, test)], "validation": rest[:part], "train": rest[part:]}


def _digits(name: str, root: str, download: bool):
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return bunch.images.astype(np.uint8)[:, None], bunch.target.astype(np.int64), 16, None


def _torchvision(name: str, root: str, download: bool):
    from torchvision import datasets

    kind = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}[name]
    if not root:
        raise ConfigError([f"data.root = '': {name} needs the folder that holds torchvision's {kind} (--data-root)"])
    try:
        parts = [getattr(datasets, kind)(root, train=train, download=download) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        hint = "" if download else "; --data.download true fetches it"
        raise ConfigError([f"data.root = {root!r}: no usable {kind} below {Path(root).absolute()}{hint} ({error})"]) from None
    x = np.concatenate([np.asarray(p.data) for p in parts])
    x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    y = np.concatenate([np.asarray(p.targets) for p in parts]).astype(np.int64)
    return np.ascontiguousarray(x), y, 255, np.arange(len(parts[0].data), len(x))


def _plain(x: Tensor, stream: int, step: int) -> Tensor:
    return x


def _flip(x: Tensor, stream: int, step: int) -> Tensor:
    """Mirror each image with probability 1/2."""
    heads = torch.rand(len(x), generator=generator("flip", stream, step)) < 0.5
    return torch.where(heads.to(x.device)[:, None, None, None], x.flip(-1), x)


def _shift(x: Tensor, stream: int, step: int) -> Tensor:
    """Move each image by up to an eighth of its side, background moving in."""
    n, _, height, width = x.shape
    pad = width // 8
    moves = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=generator("shift", stream, step)).to(x.device)
    rows = (torch.arange(height, device=x.device) + moves[0])[:, :, None]  # [n, H, 1]
    columns = (torch.arange(width, device=x.device) + moves[1])[:, None, :]  # [n, 1, W]
    padded = torch.nn.functional.pad(x, (pad,) * 4, value=-1.0)
    return padded[torch.arange(n, device=x.device)[:, None, None], :, rows, columns].permute(0, 3, 1, 2).contiguous()


SETS: dict[str, Callable[[str, str, bool], tuple]] = {
    "digits": _digits,
    "mnist": _torchvision,
    "fashion_mnist": _torchvision,
    "cifar10": _torchvision,
    "cifar100": _torchvision,
}
AUGMENT: dict[str, Callable[[Tensor, int, int], Tensor]] = {"none": _plain, "flip": _flip, "shift": _shift}
