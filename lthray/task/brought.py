"""Images that the user brings: a folder, an .npz or a list, read as a viewer shows it.

One import step finds the pictures, opens each, names all that are bad at once, and says what it
did. What is not given of side, channels and classes can be asked of the pictures.
"""

import hashlib
import os
import statistics
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lthray.config.fields import ConfigError
from lthray.config.parts import Data
from lthray.task import arrays, folders, lists, pictures
from lthray.task.folders import Found, Item, refusal, some
from lthray.task.pictures import Shown, Values

ASKED_SIDE = 32
"""Largest shorter side that is chosen where the user gives none: small enough for a CPU."""
STEP = 4  # sides that are chosen are multiples, so that levels can halve them
ALIKE = 0.02  # by which shapes may differ and still be of one kind
MOST_NAMED = 100  # bad files in one line


class Brought(NamedTuple):
    """A user's data set as it was read."""

    images: Values  # [N, C, H, W] uint8
    labels: Values  # [N] int64
    splits: list[str]  # of each image: train, validation, test, or empty where nobody says
    names: list[str]  # of each image
    classes: list[str]
    how: str
    notes: list[str]


@dataclass
class Look:
    """What is seen of pictures that are opened one after another."""

    shapes: list[tuple[int, int]] = field(default_factory=list)
    """Height and width of each."""
    facts: Counter[str] = field(default_factory=Counter)
    """What is worth a line -> number of pictures of which it is so."""
    high: float = 0.0
    low: float = 0.0

    def add(self, shown: Shown) -> None:
        """Take in one picture."""
        height, width, _ = shown.values.shape
        self.shapes.append((height, width))
        is_deep = shown.values.dtype != np.uint8
        self.facts["colour"] += not shown.is_grey
        self.facts["turned"] += shown.is_turned
        self.facts["transparent"] += shown.is_transparent
        self.facts["animated"] += shown.frames > 1
        self.facts["deep"] += is_deep
        self.facts["fractional"] += is_deep and not shown.is_whole
        if is_deep:
            self.high = max(self.high, float(shown.values.max()))
            self.low = min(self.low, float(shown.values.min()))

    @property
    def ends(self) -> tuple[float, float] | None:
        """Black and white of 16-bit pictures that fill the sixteen bits; else None."""
        is_sixteen = not self.facts["fractional"] and pictures.HALF <= self.high < 2**16
        return (0.0, 2.0**16 - 1) if is_sixteen and not self.low else None

    def lines(self, data: Data) -> Iterator[str]:
        """Yield what was done to pictures so that they are as a viewer shows them."""
        words = {
            "turned": "were turned as their EXIF orientation says",
            "transparent": f"are transparent: laid on {data.ground} (--data.ground)",
            "animated": "have several frames: the first is taken",
        }
        for fact, said in words.items():
            if self.facts[fact]:
                yield f"{self.facts[fact]} of {len(self.shapes)} pictures {said}"


def find(root: str) -> Found:
    """Return the pictures at a place, none of them opened; ConfigError where it is no such place.

    A place is a folder, an .npz, or a list as .csv, .tsv or .jsonl.
    """
    if not root:
        raise refusal(root, "data.name = 'folder' needs a folder of images, an .npz or a list")
    try:
        mode = os.stat(root).st_mode
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", "") or "is no name of a file"
        raise refusal(root, f"{why}; data.name = 'folder' needs a folder of images") from None
    found = Found()
    if stat.S_ISDIR(mode):
        found.items = _in_folder(root, found)
        _name_unsplit(found)
        return found
    readers: Mapping[str, Callable[[str, Found], list[Item]]] = {
        ".npz": arrays.read,
        ".csv": lists.read,
        ".tsv": lists.read,
        ".jsonl": lists.read,
    }
    read_place = readers.get(Path(root).suffix.lower())
    if read_place is None or not stat.S_ISREG(mode):
        kinds = ", ".join(readers)
        raise refusal(root, f"must be a folder of images, or one file of {kinds}")
    found.items = read_place(root, found)
    _name_unsplit(found)
    return found


def _name_unsplit(found: Found) -> None:
    """Call pictures bad that are in no split while others are."""
    if not any(item.split for item in found.items):
        return
    for item in list(found.items):
        if not item.split:
            found.bad[item.name] = "is in no split, as others are"
            found.items.remove(item)


def _in_folder(root: str, found: Found) -> list[Item]:
    walk = folders.Walk(root, found)
    items = folders.in_folders(walk)
    if walk.tables:
        items = lists.described(walk, items)
    if walk.others:
        found.notes.append(f"files that are no pictures: {folders.unread(walk.others)}")
    for ending in sorted(walk.others.keys() & {*folders.LISTS}):
        hint = f"a {ending} in the folder is not read; to use it, give it as data.root"
        found.notes.append(hint)
    return items


def read(data: Data) -> Brought:
    """Return a user's images in the shape that `data` says.

    Raises ConfigError that names every file that cannot be used, unless data.skip_bad, and for too
    few images or another number of classes.
    """
    found, look = find(data.root), Look()
    height, width = data.side, data.width or data.side
    images: list[Values] = []
    items: list[Item] = []
    for item, shown in _opened(found, data):
        try:
            images.append(pictures.cut(shown, height, width, data.channels))
        except Exception as error:
            found.bad[item.name] = pictures.reason(error)
            continue
        look.add(shown)
        items.append(item)
    _refuse(found, data, len(items))
    classes = _classes(items, found)
    if data.classes and len(classes) != data.classes:
        has = f"{data.root!r} has {len(classes)} classes: {some(classes)}"
        raise ConfigError([f"data.classes = {data.classes}: {has}"])
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[item.label] for item in items], dtype=np.int64)
    notes = [*_notes(found), *look.lines(data), *_depth_lines(look, images)]
    notes += _shape_lines(look.shapes, height, width)
    splits, names = [item.split for item in items], [item.name for item in items]
    arrays_of_bytes = pictures.as_bytes(images, look.ends)
    return Brought(arrays_of_bytes, labels, splits, names, classes, found.how, notes)


def asked(data: Data) -> dict[str, int]:
    """Return the words data.side, width, channels and classes that the pictures answer.

    Only words that `data` leaves at 0 are answered. Raises ConfigError as `read` does.
    """
    found, look = find(data.root), Look()
    items = []
    for item, shown in _opened(found, data):
        look.add(shown)
        items.append(item)
    _refuse(found, data, len(items))
    answers = {"data.channels": 3 if look.facts["colour"] else 1}
    answers["data.classes"] = len(_classes(items, found))
    if not data.side:
        height, width = sides(look.shapes)
        answers["data.side"] = height
        answers["data.width"] = 0 if height == width else width
    return unanswered(answers, data)


def unanswered(answers: Mapping[str, int], data: Data) -> dict[str, int]:
    """Return those of the answers whose words `data` leaves at 0."""
    given = {f"data.{word}": value for word, value in asdict(data).items()}
    return {word: value for word, value in answers.items() if value and not given[word]}


def sides(shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the height and width at which pictures of these shapes are best taken.

    The shorter is the shorter side of all but a tenth of them, at most 32 and a multiple of four.
    The longer keeps the shape where all pictures have one; else they are cropped square.
    """
    shorter = sorted(map(min, shapes))[len(shapes) // 10]
    side = max(STEP, min(ASKED_SIDE, shorter) // STEP * STEP)
    if not _width_of(shapes, side):
        return side, side
    is_upright = shapes[0][0] > shapes[0][1]
    turned = [shape[::-1] for shape in shapes] if is_upright else shapes
    for shorter_side in range(side, side // 2, -STEP):
        longer = _width_of(turned, shorter_side)
        if pictures.kept_share(turned[0], shorter_side, longer) >= 1 - ALIKE:
            side = shorter_side
            break
    longer = _width_of(turned, side)
    return (longer, side) if is_upright else (side, longer)


def _width_of(shapes: Sequence[tuple[int, int]], height: int) -> int:
    """Return the width that keeps the shape of pictures at a height; 0 where they have several."""
    ratios = [width / height for height, width in shapes]
    if max(ratios) > min(ratios) * (1 + ALIKE):
        return 0
    return max(STEP, STEP * round(height * statistics.median(ratios) / STEP))


def twins(images: Values, rows: Mapping[str, Values], names: Sequence[str]) -> Iterator[str]:
    """Yield a line for every two splits that share images, and for images of one colour.

    `rows` maps a split to the rows of its images in `images`; `names` are those of all images.
    """
    if images.min() == images.max():
        yield f"all {len(images)} images are of one and the same colour: there is nothing to learn"
        return
    prints = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    flat = images.reshape(len(images), -1)
    constant = int((flat.min(1) == flat.max(1)).sum())
    if constant:
        yield f"{constant} of {len(images)} images are of one colour"
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        first = {prints[row]: names[row] for row in rows[one]} if len(names) else {}
        copies = [row for row in rows[other] if prints[row] in first]
        if copies:
            row = copies[0]
            such = f"such as {names[row]!r}, which is {first[prints[row]]!r}"
            count = f"{len(copies)} of {len(rows[other])} images of {other}"
            yield f"{count} are copies of images of {one}, {such}"


def _opened(found: Found, data: Data) -> Iterator[tuple[Item, Shown]]:
    """Yield every picture with what a viewer shows; those that are bad go into `found`."""
    transparent = data.channels in (2, 4)
    for item in found.items:
        try:
            if isinstance(item.source, Path):
                shown = pictures.opened(item.source, data.ground, transparent=transparent)
            else:
                shown = pictures.of_array(item.source, data.ground, transparent=transparent)
        except Exception as error:  # whatever Pillow makes of such a file
            found.bad[item.name] = pictures.reason(error)
        else:
            yield item, shown


def _refuse(found: Found, data: Data, number: int) -> None:
    """Refuse bad files, all of them in one line, and too few images."""
    faults = []
    if found.bad and not data.skip_bad:
        faults.append(f"data.root = {data.root!r}: {bad_line(found.bad)}")
    elif number < pictures.FEWEST:
        how = f"has {number} images that can be used, {pictures.FEWEST} are needed"
        there = "; ".join(_notes(found))
        faults.append(f"data.root = {data.root!r}: {how}" + f" ({there})" * bool(there))
    if faults:
        raise ConfigError(faults)


def bad_line(bad: Mapping[str, str]) -> str:
    """Return all bad files with their reasons in one line, and the way on."""
    return f"{_files(bad)} cannot be used (--data.skip_bad goes on without): {_named(bad)}"


def _files(bad: Mapping[str, str]) -> str:
    return "1 file" if len(bad) == 1 else f"{len(bad)} files"


def _named(bad: Mapping[str, str]) -> str:
    """Return bad files in quotes, so that no name reaches the terminal raw, with their reasons."""
    shown = [f"{name!r} {why}" for name, why in list(bad.items())[:MOST_NAMED]]
    more = f" and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
    return ", ".join(shown) + more


def _classes(items: Sequence[Item], found: Found) -> list[str]:
    """Return the names of classes in order: numbers of lists and arrays by size, words by letter."""
    names = sorted({item.label for item in items})
    if found.how.startswith(("a class", "flat")):
        return names
    try:
        return sorted(names, key=int)
    except ValueError:
        return names


def _notes(found: Found) -> list[str]:
    """Return what is said of how the pictures were found."""
    notes = [*found.notes, *found.left_lines()]
    if found.bad:
        notes.append(f"{_files(found.bad)} skipped (data.skip_bad): {_named(found.bad)}")
    return notes


def _depth_lines(look: Look, images: Sequence[Values]) -> Iterator[str]:
    """Yield how pictures of more bits than eight were made bytes."""
    if look.facts["deep"]:
        low, high = look.ends or pictures.together(images)
        which = "the whole range" if look.ends else "the range that they have together"
        number = f"{look.facts['deep']} of {len(look.shapes)} pictures have more than eight bits"
        yield f"{number}: {low:g} is black and {high:g} white, {which}"


def _shape_lines(shapes: Sequence[tuple[int, int]], height: int, width: int) -> Iterator[str]:
    """Yield how many pictures lose a part, and how many are enlarged."""
    shares = [pictures.kept_share(shape, height, width) for shape in shapes]
    cropped = sum(share < 1 - ALIKE for share in shares)
    if cropped:
        most = f"up to {1 - min(shares):.0%} of a picture is cut away"
        yield f"{cropped} of {len(shapes)} pictures are cropped to {height} x {width}: {most}"
        whole = _width_of(shapes, height)
        if whole not in (0, width):
            yield f"all pictures have one shape, which --data.width {whole} keeps"
    smaller = sum(shape[0] < height or shape[1] < width for shape in shapes)
    if smaller:
        yield f"{smaller} of {len(shapes)} pictures are smaller than {height} x {width}: enlarged"
