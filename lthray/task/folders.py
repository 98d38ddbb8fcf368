"""What lies in a folder of pictures: which files are pictures, of which class, in which split.

Nothing is opened here. Hidden files and copies that notebooks leave are passed over; links are
followed as long as they stay in the folder; what is no ordinary file is named.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePath

from lthray.task import pictures
from lthray.task.found import OUTSIDE, Found, Item, fault_of, split_of

JUNK = (
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir"),
    *("__pycache__", "lost+found", "system volume information"),
)
"""What operating systems and programs leave in folders, in small letters."""
HIDDEN_NAME = re.compile(rf"\..*|~\$.*|{'|'.join(map(re.escape, JUNK))}", re.IGNORECASE | re.DOTALL)
COPY = "-checkpoint"  # end of the name of a copy that a notebook keeps
TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of a Hugging Face imagefolder
MOST_LINKS = 3  # linked folders within linked folders
DEEPEST = 64  # folders within folders
HIDDEN = "hidden and system files or folders"
COPIES = "copies of notebooks"
CIRCLES = "links in a circle"
BESIDE = "pictures beside the folders of the splits"


class Walk:
    """A walk through a folder, which sorts its files by kind.

    `root` is the real place of the folder; names are paths below it. What is bad, and what is
    passed over, goes into `found`.
    """

    def __init__(self, root: str, found: Found):
        self.root, self.found = os.path.realpath(root), found
        self.pictures: list[Path] = []
        self.tables: list[Path] = []
        """Metadata of an imagefolder."""
        self.others: Counter[str] = Counter()
        """Ending -> number of files that are neither."""
        self._into(Path(), (self.root,), links=0)
        self.pictures.sort()

    def path(self, name: PurePath) -> Path:
        """Return the place of what is called `name` below the root."""
        return Path(self.root) / name

    def unread(self, files: Collection[str]) -> list[str]:
        """Return lines on what is no picture.

        `files` are the endings of what a user may give instead of the folder.
        """
        if not self.others:
            return []
        counts = [f"{ascii(ending)[1:-1]} {count}" for ending, count in self.others.items()]
        line = f"files that are no pictures: {', '.join(sorted(counts))}"
        given = " or ".join(sorted(self.others.keys() & files))
        hint = f"to use a {given} of the folder, give the file itself as data.root"
        return [line, hint] if given else [line]

    def _into(self, folder: Path, above: tuple[str, ...], links: int) -> None:
        """Sort what lies in `folder`.

        `above` are the real places of the folders around it, of which `links` were come to by a
        link.
        """
        try:
            names = sorted(os.listdir(self.path(folder)))
        except OSError as error:
            self.found.bad[str(folder)] = f"cannot be entered ({error.strerror})"
            return
        for name in names:
            why = _needless(name, names)
            if why:
                self.found.leave(why, str(folder / name))
            elif os.path.isdir(self.path(folder / name)):
                self._enter(folder / name, above, links)
            else:
                self._sort(folder / name)

    def _enter(self, name: Path, above: tuple[str, ...], links: int) -> None:
        """Go into the folder `name`, unless a link to it leads out of the root or in a circle."""
        path = self.path(name)
        real = os.path.realpath(path)
        links += os.path.islink(path)
        if fault_of(path, self.root) == OUTSIDE:
            self.found.bad[str(name)] = OUTSIDE
        elif real in above or links > MOST_LINKS:
            self.found.leave(CIRCLES, str(name))
        elif len(above) > DEEPEST:
            self.found.bad[str(name)] = f"lies more than {DEEPEST} folders deep"
        else:
            self._into(name, (*above, real), links)

    def _sort(self, name: Path) -> None:
        """Put a file among the pictures, the tables or the others, or say what is wrong with it."""
        files = self._files_like(name)
        if files is None:
            self.others[name.suffix.lower() or "no ending"] += 1
            return
        fault = fault_of(self.path(name), self.root)
        if fault:
            self.found.bad[str(name)] = fault
        else:
            files.append(name)

    def _files_like(self, name: Path) -> list[Path] | None:
        """Return the files among which one of this name belongs; None if it is of no use."""
        if name.suffix.lower() in pictures.suffixes():
            return self.pictures
        return self.tables if name.name.lower() in TABLES else None


def _needless(name: str, beside: Collection[str]) -> str:
    """Return why a file or folder is passed over, by its name and those beside it; empty if not."""
    if HIDDEN_NAME.fullmatch(name):
        return HIDDEN
    stem, suffix = os.path.splitext(name)
    original = stem.removesuffix(COPY) + suffix
    return COPIES if original != name and original in beside else ""


def in_folders(walk: Walk) -> list[Item]:
    """Return the pictures of a walk, by its folders.

    The class is the first folder. Where the first folders are train, val and test in any spelling,
    they are the splits, and the folders in them the classes; or the folders in those of the classes
    are the splits. Pictures beside the splits are passed over. Folders around all the others are no
    classes where the splits lie in them.
    """
    depth, level = _layout(walk.pictures)
    walk.found.how = "own splits, " * (level is not None)
    items = []
    for name, split, folders in _parted(walk.pictures, depth, level):
        if level is None or split:
            item = Item(
                name=str(name),
                label=folders[0],
                split=split,
                source=walk.path(name),
            )
            items.append(item)
        else:
            walk.found.leave(BESIDE, str(name))
    classes = {item.label for item in items}
    walk.found.how += "flat: one class" if classes == {""} else "a class a folder"
    walk.found.notes += _doubts(walk.pictures, classes) * (level is None)
    return items


def _doubts(names: Sequence[Path], classes: Collection[str]) -> list[str]:
    """Return a line where all pictures lie in one folder, and in several folders of that one.

    Then there is one class, but the user may have meant the folders in it.
    """
    around = _around(names)
    inner = {name.parts[: len(around) + 1] for name in names if len(name.parts) > len(around) + 1}
    if len(classes) > 1 or len(inner) < 2:
        return []
    only = "/".join(around)
    hint = f"if the folders in it are the classes, give {only!r} of it as data.root"
    return [f"there is one class, {min(classes)!r}; {hint}"]


def _around(names: Sequence[Path]) -> tuple[str, ...]:
    """Return the folders, from the outermost, that lie around all pictures."""
    parents = [name.parent for name in names] or [Path()]
    return Path(os.path.commonpath(parents)).parts


def _layout(names: Sequence[Path]) -> tuple[int, int | None]:
    """Return how many folders lie around the splits, and the level of the splits in these.

    The level is None where there are no splits.
    """
    for depth in range(len(_around(names)), -1, -1):
        level = _split_level([Path(*name.parts[depth:]) for name in names])
        if level is not None:
            return depth, level
    return 0, None


def _parted(
    names: Sequence[Path], depth: int, level: int | None
) -> Iterator[tuple[Path, str, tuple[str, ...]]]:
    """Yield each picture with its split and its other folders, the last of them empty.

    The first `depth` folders do not count. `level` is that of the folders that are splits below
    them, None where there are none.
    """
    for name in names:
        folders = (*name.parts[depth:-1], "")
        if level is None:
            yield name, "", folders
        else:
            yield name, split_of(folders[level]), folders[:level] + folders[level + 1 :] + ("",)


def _split_level(names: Sequence[Path]) -> int | None:
    """Return the level of the folders that are splits: 0, 1 below those of the classes, or None.

    One folder called train among classes of other names is a class; beside one called test it is a
    split, and so it is alone.
    """
    in_folder = [name for name in names if len(name.parts) > 1]
    first = {split_of(name.parts[0]) for name in in_folder}
    if "train" in first and first != {"train", ""}:
        return 0
    second = {split_of((*name.parts[1:-1], "")[0]) for name in names}
    return 1 if "train" in second and "" not in second else None
