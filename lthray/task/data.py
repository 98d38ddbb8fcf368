"""The images: digits and their halves, torchvision's sets, any folder of images, a user's own.

Every set comes as uint8 images with one fixed train / validation / test split and a digest of its
content. Batches are a function of (stream, step): nothing is carried from step to step, so a run
can be cut and continued anywhere.
"""

import hashlib
import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lthray.config.fields import ConfigError
from lthray.config.parts import Data
from lthray.config.vocabulary import data_facts
from lthray.core.random import drawn_on, generator
from lthray.task import (
    arrays,
    brought,
    factories,
    folders,
    inputs,
    lists,
    look,
    pictures,
    resizing,
)
from lthray.task.augment import AUGMENTS, heads
from lthray.task.brought import Raw
from lthray.task.found import Found, Item, Unreadable
from lthray.task.splits import split

FILES: Mapping[str, Callable[[str, Found], list[Item]]] = {
    ".npz": arrays.read,
    ".csv": lists.read,
    ".tsv": lists.read,
    ".jsonl": lists.read,
    ".parquet": lists.read,
}
"""Ending of a file that may be given in the place of a folder -> what reads it."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One data set: all that is particular to it."""

    read: Callable[[Data], Raw]
    white: int = 255
    """Grey level that means white."""


@dataclass(frozen=True)
class Images:
    """One data set on one device."""

    images: Tensor  # [N, C, H, W] uint8
    labels: Tensor  # [N] int64
    levels: int  # grey level that means white: 16 for digits, 255 otherwise
    splits: dict[str, Tensor]  # train, validation, test -> [n] int64
    augment: str
    digest: str
    notes: tuple[str, ...] = ()  # lines on how a user's images were read, to be told
    classes: tuple[str, ...] = ()  # names of a user's classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return tuple(self.images.shape[1:])  # type: ignore[return-value]

    @property
    def bound(self) -> float:
        """Bound of a prediction of clean numbers; infinite where the objective itself has one."""
        return math.inf

    @property
    def mirrors(self) -> bool:
        """Whether some images are mirrored in training."""
        return AUGMENTS[self.augment].mirrors

    def to(self, device: torch.device | str) -> "Images":
        """Return these images on another device."""
        splits = {name: index.to(device) for name, index in self.splits.items()}
        images, labels = self.images.to(device), self.labels.to(device)
        return replace(self, images=images, labels=labels, splits=splits)

    def scaled(self, index: Tensor) -> Tensor:
        """Return the images at `index` [n] as float32 in [-1, 1], [n, C, H, W]."""
        return self.images[index].to(torch.float32) * (2 / self.levels) - 1

    def held_out(self, split: str, n: int) -> tuple[Tensor, Tensor]:
        """Return the first `n` images and labels of a split: equal for every network of a study."""
        index = self.splits[split][:n]
        return self.scaled(index), self.labels[index]

    def batch(self, stream: int, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Return the images [size, C, H, W] and labels [size] of one training step.

        An epoch shows no image twice; its last images, too few for a batch, are dropped. Where all
        are too few, each batch is all of them.
        """
        train = self.splits["train"]
        epoch, place = divmod(step, max(1, len(train) // size))
        order = _order(len(train), stream, epoch, train.device)
        index = train[order[place * size : (place + 1) * size]]
        return self.augmented(index, stream, step), self.labels[index]

    def augmented(self, index: Tensor, stream: int, step: int) -> Tensor:
        """Return the images at `index` as the training step (`stream`, `step`) sees them."""
        return AUGMENTS[self.augment].apply(self.scaled(index), stream, step)


@dataclass(frozen=True)
class Latents(Images):
    """A data set as an autoencoder sees it.

    `images` are float32 latents of unit variance, [1, N, c, h, w]; or [2, N, c, h, w], the second
    of mirrored images, where some are to be seen mirrored.
    """

    @property
    def bound(self) -> float:
        """Largest absolute number of a training latent."""
        return float(self.scaled(self.splits["train"]).abs().max())

    @classmethod
    def of(cls, pixels: Images, latents: Tensor) -> "Latents":
        """Return the `latents` of all images of a data set, on the device of `pixels`."""
        return cls(**vars(pixels) | {"images": latents.to(pixels.images.device)})

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return tuple(self.images.shape[2:])  # type: ignore[return-value]

    def scaled(self, index: Tensor) -> Tensor:
        """Return the latents at `index`, [n, c, h, w]."""
        return self.images[0, index]

    def augmented(self, index: Tensor, stream: int, step: int) -> Tensor:
        """Return the latents at `index`, mirrored where the pixels of that step would be."""
        if not AUGMENTS[self.augment].mirrors:
            return self.scaled(index)
        mirrored = heads(len(index), stream, step, index.device).long()
        return self.images[mirrored, index]


@lru_cache(maxsize=4)
def _order(n: int, stream: int, epoch: int, device: torch.device) -> Tensor:
    place = drawn_on(stream, device)
    g = generator("order", stream, epoch, device=place)
    return torch.randperm(n, generator=g, device=place).to(device)


def load(data: Data) -> Images:
    """Return the images that a config learns from; ConfigError where their files are not there."""
    return taken(whole(data), data)


def whole(data: Data) -> Images:
    """Return the data set of a config with all its training images, not changed in any way."""
    return read(replace(data, fraction=1.0, augment="none"))


def taken(images: Images, data: Data) -> Images:
    """Return the share data.fraction of the training images, changed as data.augment says."""
    train = images.splits["train"]
    part = train[: math.ceil(len(train) * data.fraction)]
    return replace(images, splits={**images.splits, "train": part}, augment=data.augment)


@lru_cache(maxsize=2)
def read(data: Data) -> Images:
    """Return a whole data set, read once for all who take a part of it or see it changed."""
    row = DATA_SETS.get(data.name, OWN)
    raw = row.read(data)
    x, y = resizing.as_asked(raw.images, raw.labels, data)
    splits = split(len(y), raw.test, raw.own)
    twins = look.twins(x, splits, raw.names) if raw.names else ()
    digest = hashlib.sha256(f"{row.white} {tuple(x.shape)}".encode())
    for array in (x, y, *splits.values()):
        digest.update(np.ascontiguousarray(array).tobytes())
    return Images(
        images=torch.from_numpy(x),
        labels=torch.from_numpy(y),
        levels=row.white,
        splits={name: torch.from_numpy(rows) for name, rows in splits.items()},
        augment=data.augment,
        digest=digest.hexdigest(),
        notes=(*raw.notes, *twins),
        classes=raw.classes,
    )


def _digits(data: Data, first: int = 0, classes: int = 10) -> Raw:
    """Read scikit-learn's digits: those of `classes` classes from `first` on."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    x = bunch.images.astype(np.uint8)[:, None]
    y = bunch.target.astype(np.int64)
    wanted = (y >= first) & (y < first + classes)
    if wanted.all():  # a copy would have other strides, for which convolutions round otherwise
        return Raw(x, y)
    return Raw(x[wanted], y[wanted] - first)


def _folder(data: Data) -> Raw:
    """Read the user's own images, where `_find` finds them."""
    return brought.read(_find(data.root), _wanted(data))


def _wanted(data: Data) -> brought.Wanted:
    """Return how the user's own images are to be read."""
    height, width = data.side, data.width or data.side
    shape = (height, width, data.channels, data.classes)
    return brought.Wanted(data.root, *shape, ground=data.ground, skip_bad=data.skip_bad)


def _find(root: str) -> Found:
    """Return the pictures at a place, none of them opened.

    A place is a folder, an .npz, or a list as .csv, .tsv, .jsonl or .parquet. Raises ConfigError
    for any other, without opening it.
    """
    found = Found()
    try:
        found.items = _reader(root)(root, found)
    except Unreadable as error:
        raise brought.refusal(root, str(error)) from None
    found.demand(lambda item: item.label, "is of no class, as others are")
    found.demand(lambda item: item.split, "is in no split, as others are")
    return found


def _reader(root: str) -> Callable[[str, Found], list[Item]]:
    """Return what finds the pictures at a place; Unreadable where nothing does."""
    needs = "data.name = 'folder' needs a folder of images, an .npz or a list"
    try:
        mode = os.stat(root).st_mode
    except (OSError, ValueError) as error:  # ValueError: no name that a file could have
        why = getattr(error, "strerror", "no name of a file") if root else "nothing is given"
        raise Unreadable(f"{why}; {needs}") from None
    if stat.S_ISDIR(mode):
        return _in_folder
    ending = Path(root).suffix.lower()
    if ending not in FILES or not stat.S_ISREG(mode):
        raise Unreadable(f"is neither a folder nor a file as {', '.join(FILES)}; {needs}")
    return FILES[ending]


def _in_folder(root: str, found: Found) -> list[Item]:
    """Return the pictures of a folder, as its metadata lists them where it has some."""
    walk = folders.Walk(root, found)
    found.items = folders.in_folders(walk)
    if walk.tables:
        found.items = lists.described(walk.tables, walk.root, found)
    found.notes += walk.unread(FILES)
    return found.items


def _flowers(data: Data) -> Raw:
    """Read all three official parts together: the training part has only ten images a class."""
    from torchvision import datasets

    facts = data_facts(data.name)
    side, channels = data.side or facts.side, data.channels or facts.channels
    given = (data.name, data.root, data.download)
    images, labels = [], []
    for part in ("train", "val", "test"):
        for picture, label in inputs.opened(datasets.Flowers102, given, split=part):
            images.append(pictures.square(picture, side, channels))
            labels.append(label)
    return Raw(np.stack(images), np.array(labels, dtype=np.int64))


def _torchvision(data: Data, kind: str) -> Raw:
    """Read the training and the test part of a torchvision data set, whose class is `kind`."""
    from torchvision import datasets

    given = (data.name, data.root, data.download)
    parts = [inputs.opened(getattr(datasets, kind), given, train=train) for train in (True, False)]
    x = np.concatenate([np.asarray(part.data) for part in parts])
    x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    y = np.concatenate([np.asarray(part.targets) for part in parts]).astype(np.int64)
    test = np.arange(len(parts[0].data), len(x))
    return Raw(np.ascontiguousarray(x), y, test)


def _own(data: Data) -> Raw:
    """Read what a user's factory gives; ConfigError where it raises or gives something else."""
    x, y = factories.images(data.name, data.root)
    shape = (data.channels, data.side, data.width or data.side)
    for fault in factories.faults(x, y, shape, data.classes):
        raise ConfigError([f"data.name = {data.name!r}: {fault}"])
    names = tuple(f"image {row}" for row in range(len(x)))
    return Raw(np.ascontiguousarray(x), y.astype(np.int64), names=names)


def seen(data: Data) -> dict[str, int]:
    """Return what a user's images say of data.side, width, channels and classes; 0: nothing.

    Raises ConfigError where they cannot be read.
    """
    if data.name in DATA_SETS:
        return brought.asked(_find(data.root), _wanted(data))
    return factories.asked(*factories.images(data.name, data.root))


OWN = DataSet(read=_own)
DATA_SETS: dict[str, DataSet] = {
    "digits": DataSet(read=_digits, white=16),
    "digits_low": DataSet(read=partial(_digits, first=0, classes=5), white=16),
    "digits_high": DataSet(read=partial(_digits, first=5, classes=5), white=16),
    "mnist": DataSet(read=partial(_torchvision, kind="MNIST")),
    "fashion_mnist": DataSet(read=partial(_torchvision, kind="FashionMNIST")),
    "cifar10": DataSet(read=partial(_torchvision, kind="CIFAR10")),
    "cifar100": DataSet(read=partial(_torchvision, kind="CIFAR100")),
    "flowers102": DataSet(read=_flowers),
    "folder": DataSet(read=_folder),
}
