"""A design: named words fully crossed, numbers by a Latin hypercube within each crossing.

So no word says anything of another, and what differs between the values of one is not the doing of
another. How far two words of a design go together is measured too, by one number from 0 to 1.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lthray.study.space import Choice, Range, Space, Words, applies, hypercube

TRIED = 200  # designs at most, of which the one whose words go together least is taken
ENOUGH = 0.15  # association of two words below which no other design is tried
MOST = 0.3  # association of two words from which a design says of one what is the other's doing
NOTHING = 1e-9  # a singular value below which a word never varies


def crossed(space: Space, each: int, fixed: Words, seed: int = 0) -> list[dict[str, Any]]:
    """Return the points of a design over `space`, `each` of them in every cell, cell by cell.

    A cell is a combination of the values of all choices, a choice being left out where its
    condition does not hold by the cell and by `fixed`, the words of the config. Within a cell the
    numbers are a Latin hypercube. Of many such designs the one is taken whose words go together
    least; equal seeds give equal designs.
    """
    best = _design(space, each, fixed, TRIED * seed)
    least = strongest(best).strength
    for attempt in range(1, TRIED):
        if least < ENOUGH:
            break
        other = _design(space, each, fixed, TRIED * seed + attempt)
        best = min(best, other, key=lambda points: strongest(points).strength)
        least = strongest(best).strength
    return best


def cells(space: Space, fixed: Words) -> list[dict[str, Any]]:
    """Return every combination of the values of the choices of `space`, given the config's words.

    The last choice varies fastest.
    """
    crossing: list[dict[str, Any]] = [{}]
    for word, dial in choices(space).items():
        wider: list[dict[str, Any]] = []
        for cell in crossing:
            wider += _widened(cell, word, dial, fixed)
        crossing = wider
    return crossing


def choices(space: Space) -> dict[str, Choice]:
    """Return the words of `space` that are drawn from a choice, in their order."""
    return {word: dial for word, dial in space.items() if isinstance(dial, Choice)}


def corner(space: Space) -> Space:
    """Return a space with its first choice whole, and of each other choice the first value.

    It is a design for trying a study out.
    """
    later = list(choices(space).items())[1:]
    firsts = {word: replace(dial, values=dial.values[:1]) for word, dial in later}
    return {**space, **firsts}


def laid_over(
    points: Sequence[Words], negatives: Sequence[Words], space: Space, fixed: Words, rare: int
) -> list[dict[str, Any]]:
    """Return one in `rare` of the `points`, evenly spread, with each of `negatives` laid over it.

    Words of `space` are left out where their condition does not hold, by the point or by `fixed`,
    the words of the config.
    """
    count = max(1, len(points) // rare)
    places = np.linspace(0, len(points) - 1, count).round().astype(int)
    made = []
    for words, place in itertools.product(negatives, places):
        point = {**points[place], **words}
        known = {**fixed, **point}
        kept = [word for word in point if word not in space or applies(space[word], known)]
        made.append({word: point[word] for word in kept})
    return made


def _widened(cell: Words, word: str, dial: Choice, fixed: Words) -> list[dict[str, Any]]:
    """Return a cell with each value of a choice, or the cell itself where it is not drawn."""
    if not applies(dial, {**fixed, **cell}):
        return [dict(cell)]
    return [{**cell, word: value} for value in dial.values]


def _design(space: Space, each: int, fixed: Words, seed: int) -> list[dict[str, Any]]:
    """Return one design of many: the cells with the numbers of the hypercube of `seed`."""
    points = []
    for index, cell in enumerate(cells(space, fixed)):
        words = {**fixed, **cell}
        ranges = {w: d for w, d in space.items() if isinstance(d, Range) and applies(d, words)}
        for shares in hypercube(each, len(ranges), 1000 * seed + index):
            numbers = map(Range.at, ranges.values(), shares)
            points.append({**cell, **dict(zip(ranges, numbers, strict=True))})
    return points


# how far words go together


class Association(NamedTuple):
    """Two words of a design, and how far they go together."""

    one: str
    other: str
    strength: float
    """0 where one says nothing of the other, 1 where it says all."""


def strongest(points: Sequence[Words]) -> Association:
    """Return the two words of `points` that go together most; of fewer than two words, nothing."""
    found = associations(points)
    return max(found, key=lambda each: each.strength, default=Association("", "", 0.0))


def associations(points: Sequence[Words]) -> list[Association]:
    """Return how far any two words of `points` go together, where both are drawn.

    Of two names it is Cramer's V (1946). Of two numbers it is Spearman's rank correlation without
    its sign. Of a name and a number it is the correlation ratio of the number's ranks. All three
    are one formula: the mean square of the canonical correlations, and its root.
    """
    found = []
    for one, other in itertools.combinations(sorted(set().union(*points)), 2):
        both = [point for point in points if {one, other} <= point.keys()]
        if both:
            a, b = (_block([point[word] for point in both]) for word in (one, other))
            least = max(min(a.shape[1], b.shape[1]), 1)
            strength = float(np.linalg.norm(a.T @ b)) / math.sqrt(least)
            found.append(Association(one, other, strength))
    return found


def _block(values: Sequence[Any]) -> np.ndarray:
    """Return orthonormal columns that span what a word says, [points, columns].

    A number says its rank, a name which one it is. Of a word that never varies there is no column.
    """
    names = np.array(list(map(repr, values)))
    columns = (names[:, None] == np.unique(names)).astype(float)
    if isinstance(values[0], float):
        columns = _ranks(values)[:, None]
    spanned, singular, _ = np.linalg.svd(columns - columns.mean(0), full_matrices=False)
    return spanned[:, singular > NOTHING]


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Return the rank of each value; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place]
