"""Images that the user brings, found at a place: opened as a viewer shows them, and checked.

All that are bad are named at once, and what was done is said. Side, channels and classes can be
asked of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lthray.config.fields import ConfigError
from lthray.task import look, pictures
from lthray.task.found import Found, Item, listed, some
from lthray.task.pictures import Shown, Values

MOST_NAMED = 100  # bad files in one line
DIGITS = 20  # of the largest number of a class


class Wanted(NamedTuple):
    """How the images at a place are to be read."""

    root: str
    """The place, as the user names it."""
    height: int
    width: int
    channels: int
    classes: int
    """Number of classes that there must be; 0 = any."""
    ground: str
    """Colour that shows through where a picture is transparent."""
    skip_bad: bool


class Raw(NamedTuple):
    """A data set as it was read."""

    images: Values  # [N, C, H, W] uint8
    labels: Values  # [N] int64
    test: Values | None = None  # rows of the official test part, where there is one
    own: tuple[str, ...] = ()  # the split of each image; empty where the user has not split them
    names: tuple[str, ...] = ()  # of each image of the user's, to speak of it
    classes: tuple[str, ...] = ()  # names of the user's classes
    notes: tuple[str, ...] = ()  # lines on how the user's images were read


def read(found: Found, wanted: Wanted) -> Raw:
    """Return the images that were found, as they are wanted.

    Raises ConfigError that names every file that cannot be used, unless wanted.skip_bad, and for
    too few images, another number of classes, or nothing to train on.
    """
    seen, cut = look.Look(), list[Values]()

    def take(shown: Shown) -> None:
        """Cut a picture to the shape and the channels that are wanted."""
        cut.append(pictures.cut(shown, wanted.height, wanted.width, wanted.channels))

    items = _open(found, wanted, seen, take)
    classes = _classes(items, counted=found.counted)
    splits = [item.split for item in items]
    _check(wanted, classes, splits)
    numbers = {name: number for number, name in enumerate(classes)}
    ends = seen.ends or pictures.together(cut)
    notes = [
        found.how,
        *_notes(found),
        *seen.lines(wanted.ground),
        *seen.depth_lines(*ends),
        *look.shape_lines(seen.shapes, wanted.height, wanted.width),
    ]
    return Raw(
        images=pictures.as_bytes(cut, ends),
        labels=np.array([numbers[item.label] for item in items], dtype=np.int64),
        own=tuple(splits),
        names=tuple(item.name for item in items),
        classes=tuple(classes),
        notes=tuple(notes),
    )


def asked(found: Found, wanted: Wanted) -> dict[str, int]:
    """Return side, width (0: square), channels and classes, as the pictures that were found have.

    What is wanted of them is not looked at. Raises ConfigError as `read` does.
    """
    seen = look.Look()
    items = _open(found, wanted, seen, lambda shown: None)
    height, width = look.sides(seen.shapes)
    return {
        "data.side": height,
        "data.width": 0 if width == height else width,
        "data.channels": 3 if seen.facts["colour"] else 1,
        "data.classes": len(_classes(items, counted=found.counted)),
    }


def _open(
    found: Found, wanted: Wanted, seen: look.Look, take: Callable[[Shown], None]
) -> list[Item]:
    """Open every picture, give it to `seen` and `take`, and return those that are good.

    Bad ones are named all at once in a ConfigError, or passed over with wanted.skip_bad; so are too
    few good ones.
    """
    good = []
    for item in found.items:
        try:
            shown = _shown(item, wanted)
            take(shown)
        except Exception as error:  # whatever Pillow makes of such a file
            found.bad[item.name] = pictures.reason(error)
            continue
        seen.add(shown.values, shown.facts)
        good.append(item)
    if found.bad and not wanted.skip_bad:
        named = f"{_files(found.bad)} cannot be read (--data.skip_bad goes on without)"
        raise refusal(wanted.root, f"{named}: {_named(found.bad)}")
    if len(good) < pictures.FEWEST:
        number = f"has {len(good)} images, {pictures.FEWEST} are needed"
        raise refusal(wanted.root, "; ".join([number, *_notes(found)]))
    return good


def refusal(root: str, why: str) -> ConfigError:
    """Return the one-line error of what was given as data.root."""
    return ConfigError([f"data.root = {root!r}: {why}"])


def _shown(item: Item, wanted: Wanted) -> Shown:
    """Return a picture as a viewer shows it, or with its transparency as a channel."""
    transparent = wanted.channels in (2, 4)
    if isinstance(item.source, Path):
        return pictures.opened(item.source, wanted.ground, transparent=transparent)
    return pictures.of_array(item.source, wanted.ground, transparent=transparent)


def _check(wanted: Wanted, classes: Sequence[str], splits: Sequence[str]) -> None:
    """Refuse another number of classes than the config says, and splits without one to train on."""
    if wanted.classes not in (0, len(classes)):
        has = f"{wanted.root!r} has {len(classes)} classes: {some(classes)}"
        raise ConfigError([f"data.classes = {wanted.classes}: {has}"])
    if any(splits) and "train" not in splits:
        has = f"has only the splits {some(sorted({*splits}))}, and nothing to train on"
        raise refusal(wanted.root, has)


def _classes(items: Sequence[Item], *, counted: bool) -> list[str]:
    """Return the names of the classes by letter; with `counted` numbers in them by their size."""
    names = {item.label for item in items}
    return sorted(names, key=_by_size if counted else str)


def _by_size(name: str) -> str:
    """Return a word whose place in the alphabet is that of a number by its size."""
    return re.sub(r"-?[0-9]+", lambda number: number[0].zfill(DIGITS), name)


def _notes(found: Found) -> Iterator[str]:
    """Yield what is said of how the pictures were found, before any is opened."""
    yield from found.notes
    yield from found.left_lines()
    if found.bad:
        yield f"{_files(found.bad)} left out: {_named(found.bad)}"


def _files(bad: Mapping[str, str]) -> str:
    """Return how many files are bad, in words."""
    return "1 file" if len(bad) == 1 else f"{len(bad)} files"


def _named(bad: Mapping[str, str]) -> str:
    """Return bad files in quotes, each with its reason.

    The quotes keep control characters of a name away from the terminal.
    """
    return listed([f"{name!r} {why}" for name, why in bad.items()], MOST_NAMED)
