"""Splits of a data set: train, validation and test, in one fixed shuffled order."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Rows = np.ndarray[Any, Any]


def split(number: int, test: Rows | None, own: Sequence[str]) -> dict[str, Rows]:
    """Return the rows of each split of that many images.

    `test` are the rows of an official test part, where there is one; `own` is the split of each
    image, where the user has split them. To test: the official part, or a sixth. To validate: a
    tenth of the rest, a twelfth where it has 60 000 images; or a sixth of all where there is no
    official part. A split that the user has made is kept.
    """
    order = np.random.default_rng(0).permutation(number)
    if test is not None:
        return _beside(order, test)
    if {*own} - {"train", ""}:
        return _kept(order, np.array(own))
    sixth = number // 6 + 1
    held_out = {"test": order[:sixth], "validation": order[sixth : 2 * sixth]}
    return held_out | {"train": order[2 * sixth :]}


def _beside(order: Rows, test: Rows) -> dict[str, Rows]:
    """Return the splits of all rows, in their `order`, beside an official test part."""
    official = np.isin(order, test)
    rest = order[~official]
    part = len(rest) // 10 if len(rest) < 60_000 else len(rest) // 12
    return {"test": order[official], "validation": rest[:part], "train": rest[part:]}


def _kept(order: Rows, own: Rows) -> dict[str, Rows]:
    """Return the splits that the user has made, of all rows in their `order`.

    A split that is not there is a tenth of the training images, and no longer among them.
    """
    splits = {name: order[own[order] == name] for name in ("test", "validation", "train")}
    for name, rows in splits.items():
        if not len(rows):
            train = splits["train"]
            part = len(train) // 10 + 1
            splits |= {name: train[:part], "train": train[part:]}
    return splits
