"""What is found at a place where pictures are looked for: pictures, bad files, what is left out.

No picture is opened here, and no file that is not an ordinary one.
"""

import os
import re
import stat
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Word for a part of the images, in small letters, and the split that it means."""
BESIDE_A_SPLIT = re.compile(r"[\W\d_]+|(sets?|data|images|imgs)$")
"""What may stand beside such a word, as in training_set, test-images or val2017."""
SHOWN = 5  # names in a line that need not name all
KINDS = {
    stat.S_IFIFO: "is a pipe (FIFO)",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
    stat.S_IFDIR: "is a folder",
}
OUTSIDE = "lies outside the folder, where nothing is read; copy it into the folder"
LOST = "is not there"
EMPTY = "is empty (0 bytes)"


class Unreadable(ValueError):
    """Signal a place where pictures cannot be looked for; the message says why."""


@dataclass(frozen=True)
class Item:
    """One picture that was found, not opened yet."""

    name: str
    """Path below the root, or the place in an array."""
    label: str
    """Name of its class; empty where nobody says."""
    split: str
    """train, validation, test; empty where nobody says."""
    source: Path | np.ndarray[Any, Any]
    """File, or array [H, W, C]."""


@dataclass
class Found:
    """What was found at a place, before any picture is opened."""

    how: str = ""
    """What kind of collection it is, in a few words."""
    counted: bool = False
    """Whether classes may be numbers, which are then ordered by size."""
    items: list[Item] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    """Name of a file -> why it cannot be used."""
    left: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the names of what is passed over for it."""
    notes: list[str] = field(default_factory=list)
    """Lines on how it was read."""

    def leave(self, why: str, name: str) -> None:
        """Pass over what is called `name`, because of `why`."""
        self.left.setdefault(why, []).append(name)

    def left_lines(self) -> list[str]:
        """Return a line for every reason for which something was passed over."""
        return [f"{len(names)} {why} left out: {some(names)}" for why, names in self.left.items()]

    def demand(self, has: Callable[[Item], str], why: str) -> None:
        """Call pictures bad, because of `why`, that do not have what others have.

        `has` returns what is looked at, such as the label of a picture.
        """
        having = list(filter(has, self.items))
        if having:
            self.bad |= {item.name: why for item in self.items if not has(item)}
            self.items = having


def fault_of(path: Path, root: str) -> str:
    """Return why the file at `path` may not be opened; empty for an ordinary file.

    `root` is the real place of the folder that no link may leave. The file is not opened.
    """
    real = os.path.realpath(path)
    if os.path.commonpath([real, root]) != root:
        return OUTSIDE
    try:
        facts = os.stat(real)
    except OSError:
        return LOST
    kind = stat.S_IFMT(facts.st_mode)
    if kind != stat.S_IFREG:
        return KINDS.get(kind, "is no ordinary file")
    return "" if facts.st_size else EMPTY


def split_of(word: object) -> str:
    """Return the split that a word means, in any spelling; empty for any other word."""
    letters = BESIDE_A_SPLIT.sub("", str(word).lower())
    return SPLITS.get(BESIDE_A_SPLIT.sub("", letters), "")


def some(names: Collection[object], most: int = SHOWN) -> str:
    """Return names in quotes, free of control characters.

    The first `most` are named, and of the others it is said how many they are.
    """
    return listed([repr(str(name)) for name in names], most)


def listed(texts: Sequence[str], most: int) -> str:
    """Return the first `most` texts in a row, and how many more there are."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + f" and {more} more" * (more > 0)
