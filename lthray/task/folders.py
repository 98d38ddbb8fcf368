"""What lies in a folder of pictures: which files are pictures, of which class, in which split.

Nothing is opened here. Hidden files and copies that notebooks leave are passed over; links are
followed as long as they stay in the folder; what is no ordinary file is named.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from lthray.config.fields import ConfigError
from lthray.task import pictures

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
"""Names of folders, in small letters, and the split that each means."""
JUNK = {
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir"),
    *("__pycache__", "lost+found", "system volume information"),
}
"""What operating systems and programs leave in folders, in small letters."""
COPY = "-checkpoint"  # end of the name of a copy that a notebook keeps
TABLES = ("metadata.csv", "metadata.jsonl")  # of a Hugging Face imagefolder
LISTS = (".csv", ".tsv", ".jsonl", ".npz")
MOST_LINKS = 3  # linked folders within linked folders
DEEPEST = 64  # folders within folders
SHOWN = 5  # names in a line that need not name all
KINDS = {
    stat.S_IFIFO: "is a pipe (FIFO)",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
    stat.S_IFDIR: "is a folder",
}
HIDDEN = "hidden and system files or folders"
COPIES = "copies of notebooks"
CIRCLES = "links in a circle"
BESIDE = "files beside the folders of the splits"
UNLISTED = "pictures that no table lists"


@dataclass(frozen=True)
class Item:
    """One picture that was found, not opened yet."""

    name: str
    """Path below the root, or the place in an array."""
    label: str
    split: str
    """train, validation, test; empty where nobody says."""
    source: Path | np.ndarray[Any, Any]
    """File, or array [H, W, C]."""


@dataclass
class Found:
    """What was found at a place, before any picture is opened."""

    how: str = ""
    """What kind of collection it is, in a few words."""
    items: list[Item] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    """Name of a file -> why it cannot be used."""
    left: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the names of what is passed over for it."""
    notes: list[str] = field(default_factory=list)
    """Lines on how it was read."""

    def leave(self, why: str, name: str) -> None:
        """Pass over what is called `name`."""
        self.left.setdefault(why, []).append(name)

    def left_lines(self) -> list[str]:
        """Return a line for every reason for which something was passed over."""
        lines = []
        for why, names in self.left.items():
            lines.append(f"{len(names)} {why} left out: {some(names)}")
        return lines


class Walk:
    """A walk through a folder: files by kind, relative to its root."""

    def __init__(self, root: str, found: Found):
        self.root, self.found = os.path.realpath(root), found
        self.pictures: list[Path] = []
        self.tables: list[Path] = []
        self.others: Counter[str] = Counter()
        """Ending -> number of files that are neither pictures nor tables."""
        self._into(PurePath(), (self.root,))
        self.pictures.sort()

    def path(self, name: PurePath) -> Path:
        """Return the place of what is called `name` below the root."""
        return Path(self.root) / name

    def _into(self, folder: PurePath, above: tuple[str, ...], links: int = 0) -> None:
        """Sort what lies in `folder`; `above` are the real places of the folders around it."""
        if len(above) > DEEPEST:
            self.found.bad[str(folder)] = f"lies more than {DEEPEST} folders deep"
            return
        try:
            names = sorted(os.listdir(self.path(folder)))
        except OSError as error:
            self.found.bad[str(folder)] = str(error.strerror).lower()
            return
        for name in names:
            if name.startswith(".") or name.lower() in JUNK:
                self.found.leave(HIDDEN, str(folder / name))
            elif _is_copy(name, names):
                self.found.leave(COPIES, str(folder / name))
            else:
                self._sort(folder / name, above, links)

    def _sort(self, name: PurePath, above: tuple[str, ...], links: int) -> None:
        path = self.path(name)
        is_picture = name.suffix.lower() in pictures.suffixes()
        real = os.path.realpath(path)
        fault = fault_of(path, self.root)
        if os.path.isdir(path):
            is_link = os.path.islink(path)
            if fault == OUTSIDE:
                self.found.bad[str(name)] = fault
            elif real in above or links + is_link > MOST_LINKS:
                self.found.leave(CIRCLES, str(name))
            else:
                self._into(name, (*above, real), links + is_link)
        elif is_picture and fault:
            self.found.bad[str(name)] = fault
        elif is_picture:
            self.pictures.append(Path(name))
        elif name.name.lower() in TABLES and not fault:
            self.tables.append(Path(name))
        else:
            self.others[name.suffix.lower() or "no ending"] += 1


def _is_copy(name: str, beside: Iterable[str]) -> bool:
    """Return whether a file is a notebook's copy of one that lies beside it."""
    stem, suffix = os.path.splitext(name)
    return stem.endswith(COPY) and stem.removesuffix(COPY) + suffix in beside


OUTSIDE = "links out of the folder, which is not followed; copy what it leads to"


def fault_of(path: Path, root: str) -> str:
    """Return why the file at `path` may not be opened; empty for an ordinary file in `root`."""
    real = os.path.realpath(path)
    if real != root and not real.startswith(os.path.join(root, "")):
        return OUTSIDE if os.path.islink(path) or os.path.exists(path) else "leads to nothing"
    try:
        facts = os.stat(path)
    except OSError:
        return "leads to nothing" if os.path.islink(path) else "is not there"
    if not stat.S_ISREG(facts.st_mode):
        return KINDS.get(stat.S_IFMT(facts.st_mode), "is no ordinary file")
    return "" if facts.st_size else "is empty (0 bytes)"


def some(names: Iterable[object], most: int = SHOWN) -> str:
    """Return names in quotes, free of control characters: `most` of them and how many more."""
    shown = [repr(str(name)) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def in_folders(walk: Walk) -> list[Item]:
    """Return the pictures of a walk; what is wrong with their places goes into what was found.

    The class is the first folder. Where the first folders are train, val and test in any spelling,
    they are the splits, and the folders in them the classes; or the folders in those of the
    classes are the splits.
    """
    level = _split_level(walk.pictures)
    items = []
    for name in walk.pictures:
        folders, split = list(name.parts[:-1]), ""
        if level is not None:
            split = split_of(folders.pop(level)) if len(folders) > level else ""
            if not split:
                walk.found.leave(BESIDE, str(name))
                continue
        items.append(Item(str(name), folders[0] if folders else "", split, walk.path(name)))
    _describe(items, walk.found, level)
    return items


def split_of(word: str) -> str:
    """Return the split that a word means; empty for any other word."""
    return SPLITS.get(word.strip().lower(), "")


def _split_level(names: Iterable[Path]) -> int | None:
    """Return the level of folders that are splits: 0, 1 below those of the classes, or None."""
    tops = {name.parts[0] for name in names if len(name.parts) > 1}
    splits = {split_of(top) for top in tops} - {""}
    if "train" in splits and (len(splits) > 1 or all(map(split_of, tops))):
        return 0
    inner = {name.parts[1] if len(name.parts) > 2 else "" for name in names}
    if inner and all(map(split_of, inner)) and "train" in map(split_of, inner):
        return 1
    return None


def _describe(items: list[Item], found: Found, level: int | None) -> None:
    """Say what the folders mean, and name pictures that lie in no class while others do."""
    classes = {item.label for item in items}
    found.how = "flat: one class" if classes == {""} else "a class a folder"
    if level is not None:
        found.how += ", own splits"
    if "" not in classes or len(classes) == 1:
        return
    for item in list(items):
        if not item.label:
            found.bad[item.name] = "lies in no folder of a class, as others do"
            items.remove(item)


def unread(others: Mapping[str, int]) -> str:
    """Return in a few words which files are not read, by ending; empty where there are none."""
    counts = [f"{ascii(ending)[1:-1]} {count}" for ending, count in sorted(others.items())]
    return ", ".join(counts)


def refusal(root: str, why: str) -> ConfigError:
    """Return the one-line error of what was given as data.root."""
    return ConfigError([f"data.root = {root!r}: {why}"])
