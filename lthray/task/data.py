"""The images: digits (embedded in scikit-learn) and their halves, torchvision's sets, any folder of images, a user's own.

Every set comes as uint8 images with one fixed train / validation / test split and a digest of its content. Batches are
a function of (stream, step): nothing is carried from step to step, so a run can be cut and continued anywhere.
"""

import contextlib
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lthray.config.fields import ConfigError
from lthray.config.trial import IMAGES, Data
from lthray.core.random import generator
from lthray.task import imported

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


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
        return self.augmented(index, stream, step), self.labels[index]

    def augmented(self, index: Tensor, stream: int, step: int) -> Tensor:
        """The images at `index` as one step sees them."""
        return AUGMENT[self.augment](self.scaled(index), stream, step)


@dataclass(frozen=True)
class Latents(Images):
    """A data set as an autoencoder sees it: `images` are float32 latents of unit variance, [1, N, c, h, w], or
    [2, N, c, h, w] where some images are to be seen mirrored."""

    @classmethod
    def of(cls, pixels: Images, latents: Tensor) -> "Latents":
        """The latents of all images of a data set, on their device."""
        return cls(**vars(pixels) | {"images": latents.to(pixels.images.device)})

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return tuple(self.images.shape[2:])  # type: ignore[return-value]

    def scaled(self, index: Tensor) -> Tensor:
        """The latents at `index`, [n, c, h, w]."""
        return self.images[0, index]

    def augmented(self, index: Tensor, stream: int, step: int) -> Tensor:
        """The same images mirrored that would be in pixels."""
        if self.augment == "none":
            return self.scaled(index)
        return self.images[_heads(len(index), stream, step).long().to(index.device), index]


@lru_cache(maxsize=4)
def _order(n: int, stream: int, epoch: int, device: str) -> Tensor:
    return torch.randperm(n, generator=generator("order", stream, epoch)).to(device)


def to_bytes(x: Tensor) -> Tensor:
    """Float images in [-1, 1] as uint8 in 0 ... 255, for extractors and pictures."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def load(data: Data) -> Images:
    """The data set of a config; ConfigError where its files are not there."""
    whole = read(replace(data, fraction=1.0, augment="none"))
    train = whole.splits["train"]
    part = train[: math.ceil(len(train) * data.fraction)]
    return replace(whole, splits={**whole.splits, "train": part}, augment=data.augment)


@lru_cache(maxsize=2)
def read(data: Data) -> Images:
    """All of it as it is, once for whoever takes a part or sees it changed: a trial, its extractor, its autoencoder."""
    x, y, levels, test = SETS.get(data.name, _imported)(data)
    x = _fitted(x, data)
    splits = _split(y, test)
    digest = hashlib.sha256(f"{levels} {tuple(x.shape)}".encode())
    for array in (x, y, *splits.values()):
        digest.update(np.ascontiguousarray(array).tobytes())
    index = {name: torch.from_numpy(rows) for name, rows in splits.items()}
    return Images(torch.from_numpy(x), torch.from_numpy(y), levels, index, data.augment, digest.hexdigest())


def _split(labels: np.ndarray, test: np.ndarray | None) -> dict[str, np.ndarray]:
    """Fixed split in a fixed shuffled order: the official test part or a sixth; a twelfth or a sixth to validate."""
    order = np.random.default_rng(0).permutation(len(labels))
    if test is None:
        part = len(labels) // 6 + 1
        return {"test": order[:part], "validation": order[part : 2 * part], "train": order[2 * part :]}
    rest = order[~np.isin(order, test)]
    part = len(rest) // 10 if len(rest) < 60_000 else len(rest) // 12
    return {"test": order[np.isin(order, test)], "validation": rest[:part], "train": rest[part:]}


def _fitted(x: np.ndarray, data: Data) -> np.ndarray:
    """Images of the wanted side and channels: colour becomes grey by its luma, scaling is bilinear and antialiased."""
    if data.channels == 1 and x.shape[1] == 3:
        x = np.rint((x * np.array([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdims=True)).astype(np.uint8)
    if data.side and data.side != x.shape[-1]:
        size, parts = (data.side, data.side), torch.from_numpy(x).split(1000)
        scaled = [nn.functional.interpolate(p.float(), size, mode="bilinear", antialias=True) for p in parts]
        x = torch.cat(scaled).round().to(torch.uint8).numpy()
    return x


def _digits(data: Data):
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    x, y = bunch.images.astype(np.uint8)[:, None], bunch.target.astype(np.int64)
    first = {"digits_low": 0, "digits_high": 5}.get(data.name)
    if first is not None:
        half = (y >= first) & (y < first + 5)
        x, y = x[half], y[half] - first
    return x, y, 16, None


def _folder(data: Data):
    """Every image below a folder, in order of its path; its class is its first subfolder."""
    root = Path(data.root)
    if not data.root or not root.is_dir():
        raise ConfigError([f"data.root = {data.root!r}: data.name = 'folder' needs a folder of images"])
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in PICTURES)
    if len(files) < 12:
        raise ConfigError([f"data.root = {data.root!r}: has {len(files)} images ({' '.join(PICTURES)}), 12 are needed"])
    names = [path.relative_to(root).parts[0] if path.parent != root else "" for path in files]
    known = sorted(set(names))
    if data.classes and len(known) != data.classes:
        raise ConfigError([f"data.classes = {data.classes}: {data.root!r} has {len(known)} subfolders with images"])
    images, bad = [], []
    for path in files:
        try:
            images.append(_square(path, data))
        except (OSError, ValueError, SyntaxError) as error:  # whatever Pillow makes of a broken file
            bad.append(f"{path.relative_to(root)} ({type(error).__name__})")
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise ConfigError([f"data.root = {data.root!r}: cannot be read: {', '.join(bad[:5])}{more}"])
    return _bytes(images), np.array([known.index(name) for name in names], dtype=np.int64), 255, None


def _bytes(images: list[np.ndarray]) -> np.ndarray:
    """All as uint8; those of more bits, as slices of a scan have, over the range that they have together."""
    deep = [x for x in images if x.dtype != np.uint8]
    low, high = min((x.min() for x in deep), default=0.0), max((x.max() for x in deep), default=1.0)
    scale = 255 / max(high - low, 1e-9)
    return np.stack([x if x.dtype == np.uint8 else np.rint(scale * (x - low)).astype(np.uint8) for x in images])


def _square(source: Any, data: Data) -> np.ndarray:
    """A picture (or its file), cut square about its middle and scaled, [channels, side, side] uint8, or float if of more
    bits than eight."""
    from PIL import Image, ImageOps

    with contextlib.ExitStack() as stack:
        picture = stack.enter_context(Image.open(source)) if isinstance(source, Path) else source
        if picture.mode[0] in "IF":
            deep = ImageOps.fit(Image.fromarray(np.asarray(picture, dtype=np.float32)), (data.side, data.side))
            return np.repeat(np.asarray(deep)[None], data.channels, axis=0)
        picture = ImageOps.fit(picture.convert("L" if data.channels == 1 else "RGB"), (data.side, data.side))
        return np.asarray(picture).reshape(data.side, data.side, -1).transpose(2, 0, 1)


def _flowers(data: Data):
    """All three official parts together: 102 flowers have too few training images in theirs."""
    from torchvision import datasets

    wanted = replace(data, side=data.side or IMAGES[data.name][1], channels=data.channels or 3)
    found = [
        (_square(picture, wanted), label)
        for split in ("train", "val", "test")
        for picture, label in _opened(datasets.Flowers102, data, split=split)
    ]
    return np.stack([x for x, _ in found]), np.array([y for _, y in found], dtype=np.int64), 255, None


def _opened(kind: Any, data: Data, **options: Any) -> Any:
    """A torchvision data set; ConfigError where its files are not there."""
    if not data.root:
        raise ConfigError(
            [f"data.root = '': {data.name} needs the folder that holds torchvision's {kind.__name__} (--data-root)"]
        )
    try:
        return kind(data.root, download=data.download, **options)
    except (RuntimeError, OSError) as error:
        hint = "" if data.download else "; --data.download true fetches it"
        place = Path(data.root).absolute()
        raise ConfigError([f"data.root = {data.root!r}: no usable {kind.__name__} below {place}{hint} ({error})"]) from None


def _torchvision(data: Data):
    from torchvision import datasets

    kind = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}[data.name]
    parts = [_opened(getattr(datasets, kind), data, train=train) for train in (True, False)]
    x = np.concatenate([np.asarray(p.data) for p in parts])
    x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    y = np.concatenate([np.asarray(p.targets) for p in parts]).astype(np.int64)
    return np.ascontiguousarray(x), y, 255, np.arange(len(parts[0].data), len(x))


def _imported(data: Data):
    """What a user's factory gives, as it should be."""
    make = imported.factory("data.name", data.name)
    try:
        images, labels = make(data.root)
        x, y = np.array(images), np.array(labels)
    except Exception as error:
        raise imported.told("data.name", data.name, error) from None
    x, wanted = x[:, None] if x.ndim == 3 else x, (data.channels, data.side, data.side)
    faults = {
        f"images are {x.dtype}, not uint8": x.dtype != np.uint8,
        f"images are {x.shape[1:]}, data.channels and data.side say {wanted}": x.shape[1:] != wanted,
        f"has {len(x)} images, 12 are needed": len(x) < 12,
        f"has {len(x)} images and labels {y.shape}": y.shape != x.shape[:1],
        f"labels are {y.dtype}, not integers": y.dtype.kind not in "iu",
    }
    if not any(faults.values()):
        faults[f"labels are {y.min()} to {y.max()}, data.classes = {data.classes}"] = y.min() < 0 or 0 < data.classes <= y.max()
    if wrong := next((said for said, is_so in faults.items() if is_so), None):
        raise ConfigError([f"data.name = {data.name!r}: {wrong}"])
    return np.ascontiguousarray(x), y.astype(np.int64), 255, None


def _plain(x: Tensor, stream: int, step: int) -> Tensor:
    return x


def _flip(x: Tensor, stream: int, step: int) -> Tensor:
    """Mirror each image with probability 1/2."""
    return torch.where(_heads(len(x), stream, step).to(x.device)[:, None, None, None], x.flip(-1), x)


def _heads(n: int, stream: int, step: int) -> Tensor:
    return torch.rand(n, generator=generator("flip", stream, step)) < 0.5


def _shift(x: Tensor, stream: int, step: int) -> Tensor:
    """Move each image by up to an eighth of its side, background moving in."""
    n, _, height, width = x.shape
    pad = width // 8
    moves = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=generator("shift", stream, step)).to(x.device)
    rows = (torch.arange(height, device=x.device) + moves[0])[:, :, None]  # [n, H, 1]
    columns = (torch.arange(width, device=x.device) + moves[1])[:, None, :]  # [n, 1, W]
    padded = torch.nn.functional.pad(x, (pad,) * 4, value=-1.0)
    return padded[torch.arange(n, device=x.device)[:, None, None], :, rows, columns].permute(0, 3, 1, 2).contiguous()


def _flip_shift(x: Tensor, stream: int, step: int) -> Tensor:
    return _shift(_flip(x, stream, step), stream, step)


SETS: dict[str, Callable[[Data], tuple]] = {
    "digits": _digits,
    "digits_low": _digits,
    "digits_high": _digits,
    "mnist": _torchvision,
    "fashion_mnist": _torchvision,
    "cifar10": _torchvision,
    "cifar100": _torchvision,
    "flowers102": _flowers,
    "folder": _folder,
}
AUGMENT: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "none": _plain,
    "flip": _flip,
    "shift": _shift,
    "flip_shift": _flip_shift,
}
