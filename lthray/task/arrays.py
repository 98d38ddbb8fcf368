"""Pictures in an .npz: one array of images with one of labels, or a pair of them a split.

Arrays are read without pickle, and none is read that the machine's memory could not hold.
"""

import math
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from lthray.config.fields import ConfigError
from lthray.task.folders import Found, Item, refusal, some, split_of
from lthray.task.pictures import MODES

IMAGES = {"x", "image", "images", "img", "imgs", "picture", "pictures", "data", "arr0"}
LABELS = {"y", "label", "labels", "target", "targets", "class", "classes", "arr1"}
UNREADABLE = (
    *(OSError, ValueError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
Array = np.ndarray[Any, Any]


def read(path: str, found: Found) -> list[Item]:
    """Return the pictures of the .npz at `path`, those of each split after another.

    Names are images and labels, x and y, or such names with a split, as x_train and y_train.
    Raises ConfigError for a file that is damaged or has no such arrays.
    """
    pairs = _pairs(path, found)
    items: list[Item] = []
    try:
        with zipfile.ZipFile(path) as archive:
            for split, (images, labels) in pairs.items():
                x = _array(archive, images)
                y = _array(archive, labels) if labels else np.full(len(x), "")
                items += _items(images, split, x, y, path)
    except ConfigError:
        raise
    except UNREADABLE as error:
        why = f"{type(error).__name__}: {ascii(str(error))[1:-1]}"
        raise refusal(path, f"cannot be read as an .npz ({why})") from None
    found.how = f"arrays {some(images for images, _ in pairs.values())}"
    return items


def _pairs(path: str, found: Found) -> dict[str, tuple[str, str]]:
    """Return split -> names of its images and its labels (empty: none)."""
    images, labels = {}, {}
    for name in _names(path):
        words = re.split(r"[^a-z0-9]+", name.lower().replace("arr_", "arr"))
        split = next(filter(None, map(split_of, words)), "")
        kind = images if IMAGES & {*words} else labels
        if not (IMAGES | LABELS) & {*words}:
            found.leave("arrays that are neither images nor labels", name)
        elif split in kind:
            both = some((kind[split], name))
            raise refusal(path, f"{both} may both be the images or labels of one split")
        else:
            kind[split] = name
    lost = labels.keys() - images.keys()
    if not images or lost or ("" in images and len(images) > 1):
        has = some(_names(path), 20)
        why = "must be images and labels, or x_train, y_train, x_test, y_test and so on"
        raise refusal(path, f"has the arrays {has}; they {why}")
    return {split: (name, labels.get(split, "")) for split, name in images.items()}


def _names(path: str) -> list[str]:
    """Return the names of the arrays in an .npz."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise refusal(path, f"is no .npz ({ascii(str(error))[1:-1]})") from None
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    """Return an array of an .npz; ValueError for one that memory cannot hold, or of objects."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    size = archive.getinfo(f"{name}.npy").file_size
    if size > most:
        raise ValueError(f"{name} has {size:,} bytes, more than half of this machine's memory")
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _items(name: str, split: str, x: Array, y: Array, path: str) -> Iterator[Item]:
    """Yield the images of an array, [N, H, W], [N, H, W, C] or [N, C, H, W], as [H, W, C]."""
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim == 4 and x.shape[-1] not in MODES and x.shape[1] in MODES:
        x = x.transpose(0, 2, 3, 1)
    if x.ndim != 4 or x.shape[-1] not in MODES or not math.prod(x.shape):
        wanted = "[N, H, W], [N, H, W, C] or [N, C, H, W], with 1 to 4 channels"
        raise refusal(path, f"{name!r} has the shape {x.shape}; images are {wanted}")
    if y.shape[1:] == (1,):
        y = y[:, 0]
    if y.shape != x.shape[:1] or y.dtype.kind not in "biuSU":
        labels = f"labels are {y.dtype} of the shape {y.shape}"
        raise refusal(path, f"{name!r} has {len(x)} images, its {labels}: one whole number each")
    for row, (values, label) in enumerate(zip(x, y.tolist(), strict=True)):
        text = label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
        yield Item(f"{name}[{row}]", text, split, values)
