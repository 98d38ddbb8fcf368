"""Pictures in an .npz: one array of images with one of labels, or a pair of them a split.

Arrays are read without pickle, and none is read that the machine's memory could not hold.
"""

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from lthray.task.found import Found, Item, Unreadable, some, split_of

Array = np.ndarray[Any, Any]

WORDS = {
    **dict.fromkeys(("x", "image", "images", "img", "imgs", "pictures", "data"), "images"),
    **dict.fromkeys(("y", "label", "labels", "target", "targets", "class", "classes"), "labels"),
}
"""Word in the name of an array, in small letters -> what the array holds."""
UNNAMED = {"arr_0": "images", "arr_1": "labels"}  # of arrays that were saved without a name
MOST_CHANNELS = 4
USELESS = "arrays that are neither images nor labels"
NUMBERS = "biuSU"  # numpy's kinds of labels: whole numbers and words
UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What numpy and zipfile raise for a file that is damaged or hostile."""


def read(path: str, found: Found) -> list[Item]:
    """Return the pictures of the .npz at `path`, those of each split after another.

    Names are images and labels, x and y, or such names with a split, as x_train and y_train. Raises
    Unreadable for a file that is damaged or has no such arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, found)
    except Unreadable:
        raise
    except UNREADABLE as error:
        why = ascii(str(error))[1:-1]
        raise Unreadable(f"cannot be read as an .npz ({type(error).__name__}: {why})") from None


def _read(archive: zipfile.ZipFile, found: Found) -> list[Item]:
    """Return the pictures of an open .npz."""
    named = _named(archive, found)
    images, labels = named["images"], named["labels"]
    items: list[Item] = []
    for split, name in images.items():
        x = _pictures(name, _array(archive, name))
        y = np.full(len(x), "")
        if split in labels:
            y = _labels(labels[split], _array(archive, labels[split]), len(x))
        items += _items(name, split, x, y)
    found.how = f"arrays {some(images.values())}"
    found.counted = True
    return items


def _named(archive: zipfile.ZipFile, found: Found) -> dict[str, dict[str, str]]:
    """Return images and labels, each as split -> name of the array.

    The split is empty where no name has one. Raises Unreadable where names are missing, or where
    two arrays may both be meant.
    """
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    named: dict[str, dict[str, str]] = {"images": {}, "labels": {}}
    for name in names:
        words = re.split(r"[^a-z0-9]+", name.lower())
        split = next(filter(None, map(split_of, words)), "")
        kinds = {UNNAMED.get(name, ""), *(WORDS.get(word, "") for word in words)} - {""}
        if not kinds:
            found.leave(USELESS, name)
            continue
        kind = min(kinds)  # train_images_labels would be images
        if split in named[kind]:
            both = some((named[kind][split], name))
            raise Unreadable(f"{both} may both be the {kind} of one split")
        named[kind][split] = name
    _check(named, names)
    return named


def _check(named: dict[str, dict[str, str]], names: list[str]) -> None:
    """Raise Unreadable for arrays that are no pairs of images and labels."""
    images, labels = named["images"].keys(), named["labels"].keys()
    faults = {
        "none holds images": not images,
        "images are missing for some labels": labels - images,
        "some images have a split and some have none": "" in images and len(images) > 1,
    }
    for fault, is_so in faults.items():
        if is_so:
            wanted = "use images and labels, or x_train, y_train, x_test, y_test and so on"
            raise Unreadable(f"has the arrays {some(names, 20)}: {fault}; {wanted}")


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    """Return an array of an .npz.

    Raises Unreadable for one that half of the machine's memory cannot hold, and ValueError for one
    of objects, which only pickle could read.
    """
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    size = archive.getinfo(f"{name}.npy").file_size
    if size > most:
        raise Unreadable(f"{name!r} has {size:,} bytes, more than half of this machine's memory")
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _pictures(name: str, x: Array) -> Array:
    """Return images [N, H, W], [N, H, W, C] or [N, C, H, W] as [N, H, W, C].

    Raises Unreadable for another shape. Where both ends could be channels, the last is.
    """
    is_last = x.shape[-1:] <= (MOST_CHANNELS,)
    layouts = {
        (3, False): lambda: x[..., None],
        (3, True): lambda: x[..., None],
        (4, False): lambda: np.moveaxis(x, 1, -1),
        (4, True): lambda: x,
    }
    arranged = layouts.get((x.ndim, is_last), lambda: np.empty(0))()
    if arranged.size and arranged.shape[-1] <= MOST_CHANNELS:
        return arranged
    wanted = "[N, H, W], [N, H, W, C] or [N, C, H, W], with 1 to 4 channels"
    raise Unreadable(f"{name!r} has the shape {x.shape}; images are {wanted}")


def _labels(name: str, y: Array, number: int) -> Array:
    """Return the labels of that many images as words [N]; Unreadable for another shape or type."""
    if y.size != number or len(y) != number or y.dtype.kind not in NUMBERS:
        wanted = f"one whole number or word for each of {number} images"
        raise Unreadable(f"{name!r} is {y.dtype} of the shape {y.shape}; labels are {wanted}")
    return y.reshape(number).astype(str)


def _items(name: str, split: str, x: Array, y: Array) -> Iterator[Item]:
    """Yield images [N, H, W, C] with their labels [N]."""
    for row, label in enumerate(y.tolist()):
        yield Item(
            name=f"{name}[{row}]",
            label=label,
            split=split,
            source=x[row],
        )
