"""What is seen of pictures: shapes, colours, depths, copies; and what a reader is told of them."""

import hashlib
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

Shape = tuple[int, int]  # height, width
Values = np.ndarray[Any, Any]
ASKED_SIDE = 32
"""Largest shorter side that is chosen where the user gives none: small enough for a CPU."""
STEP = 4  # sides that are chosen are multiples, so that levels can halve them
ALIKE = 0.02  # by which shapes may differ and still be of one kind
SIXTEEN = (0.0, 2.0**16 - 1)  # black and white of sixteen bits
HALF = 2.0**15
"""Pictures of more bits than eight with values from here on are taken to fill the sixteen bits."""
DONE = {
    "turned": "were turned as their EXIF orientation says",
    "transparent": "are transparent: laid on {ground} (--data.ground)",
    "animated": "have several frames: the first is taken",
    "converted": "have a colour profile of their own: converted to sRGB",
    "unusable": "have a colour profile that cannot be used: taken without it",
}
"""Fact of a picture -> what was done so that it is as a viewer shows it."""


@dataclass
class Look:
    """What is seen of pictures that are opened one after another."""

    shapes: list[Shape] = field(default_factory=list)
    """Height and width of each."""
    facts: Counter[str] = field(default_factory=Counter)
    """What is worth a line -> number of pictures of which it is so."""
    high: float = 0.0
    low: float = 0.0

    def add(self, values: Values, facts: Mapping[str, bool]) -> None:
        """Take in one picture, [H, W, C], and whether each of its facts is so."""
        height, width, _ = values.shape
        self.shapes.append((height, width))
        self.facts.update(facts)
        if facts["deep"]:
            self.high = max(self.high, float(values.max()))
            self.low = min(self.low, float(values.min()))

    @property
    def ends(self) -> tuple[float, float] | None:
        """Black and white of 16-bit pictures that fill the sixteen bits; else None."""
        if self.facts["fractional"] or self.low < 0:
            return None
        return SIXTEEN if HALF <= self.high <= SIXTEEN[1] else None

    def lines(self, ground: str) -> Iterator[str]:
        """Yield what was done to pictures so that they are as a viewer shows them.

        `ground` is the colour on which what is transparent was laid.
        """
        for fact, said in DONE.items():
            number = self.facts[fact]
            if number:
                yield f"{number} of {len(self.shapes)} pictures {said.format(ground=ground)}"

    def depth_lines(self, low: float, high: float) -> Iterator[str]:
        """Yield how pictures of more bits than eight are made bytes.

        Black is at the value `low` and white at `high`.
        """
        number = self.facts["deep"]
        if not number:
            return
        which = "all sixteen bits" if self.ends else "the range that they have together"
        deep = f"{number} of {len(self.shapes)} pictures have more than eight bits"
        yield f"{deep}: {low:g} is black and {high:g} white, {which}"


def sides(shapes: Sequence[Shape]) -> Shape:
    """Return the height and width at which pictures of these shapes are best taken.

    The shorter is the shorter side of all but a tenth of them, at most 32 and a multiple of four;
    where all pictures have one shape, the largest such number, from there to its half, at which the
    longer keeps that shape. Pictures of several shapes are cropped square.
    """
    shorter = sorted(map(min, shapes))[len(shapes) // 10]
    side = max(STEP, min(ASKED_SIDE, shorter) // STEP * STEP)
    if not width_of(shapes, side):
        return side, side
    height, width = shapes[0]
    lying = [(min(shape), max(shape)) for shape in shapes]
    candidates = range(side, side // 2, -STEP)
    tried = [(candidate, width_of(lying, candidate)) for candidate in candidates]
    shares = np.array([kept_share(lying[0], *shape) for shape in tried])
    best = tried[int((shares >= 1 - ALIKE).argmax())]  # the first, which is the largest
    return best[::-1] if height > width else best


def width_of(shapes: Sequence[Shape], height: int) -> int:
    """Return the width that keeps the shape of pictures at a height.

    It is a multiple of four; 0 where the pictures have several shapes.
    """
    ratios = [width / height for height, width in shapes]
    if max(ratios) > min(ratios) * (1 + ALIKE):
        return 0
    return max(STEP, STEP * round(height * statistics.median(ratios) / STEP))


def shape_lines(shapes: Sequence[Shape], height: int, width: int) -> Iterator[str]:
    """Yield how many pictures lose a part where they are cut to a shape, or are enlarged.

    `shapes` are those of the pictures, `height` and `width` the shape that they are cut to.
    """
    total, wanted = len(shapes), f"{height} x {width}"
    lost = np.array([1 - kept_share(shape, height, width) for shape in shapes])
    cropped = int((lost > ALIKE).sum())
    if cropped:
        most = f"up to {lost.max():.0%} of a picture is cut away"
        yield f"{cropped} of {total} pictures are cropped to {wanted}: {most}"
    whole = width_of(shapes, height)
    if cropped and whole not in (0, width):
        yield f"all pictures have one shape, which --data.width {whole} keeps"
    smaller = int((np.array(shapes) < (height, width)).any(1).sum())
    if smaller:
        yield f"{smaller} of {total} pictures are smaller than {wanted}: enlarged"


def kept_share(shape: Shape, height: int, width: int) -> float:
    """Return the share of a picture of `shape` that is kept where it is cut to another shape.

    It is cropped about its middle, along one side only, and then scaled.
    """
    ratio = (shape[1] / shape[0]) / (width / height)
    return min(ratio, 1 / ratio)


def twins(images: Values, rows: Mapping[str, Values], names: Sequence[str]) -> Iterator[str]:
    """Yield a line for images of one colour, and for every two splits that share images.

    Images count as copies that are equal pixel by pixel, as the network sees them. Where two splits
    share some, a loss on the one says less of what was learnt from the other.

    `images` are [N, C, H, W] uint8, `rows` maps a split to the rows of its images, [n]; `names` are
    those of all N images.
    """
    flat = images.reshape(len(images), -1)
    constant = int((flat.min(1) == flat.max(1)).sum())
    if constant:
        yield f"{constant} of {len(images)} images are of one colour: nothing is to learn of them"
    prints = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    for one, other in combinations(("train", "validation", "test"), 2):
        first = {prints[row]: names[row] for row in rows[one]}
        copies = [row for row in rows[other] if prints[row] in first]
        if copies:
            such = f"such as {names[copies[0]]!r}, which is {first[prints[copies[0]]]!r}"
            count = f"{len(copies)} of {len(rows[other])} images of {other}"
            yield f"{count} are copies of images of {one}, {such}"
