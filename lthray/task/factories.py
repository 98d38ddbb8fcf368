"""Functions that a user names by import path, and the digests of the files that define them."""

import functools
import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lthray.config.fields import ConfigError
from lthray.task import pictures

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Imported:
    """A user's function, and the digest of the file that defines it."""

    function: Callable[..., Any]
    digest: str


def factory(word: str, path: str) -> Callable[..., Any]:
    """Return the function at import path `path`, which is the value of the config's `word`.

    Raises ConfigError where there is none.
    """
    return imported(word, path).function


def images(path: str, root: str) -> tuple[Array, Array]:
    """Return what the factory at `path` gives for `root`: images and labels, not looked at yet.

    Images [N, H, W] are returned as [N, 1, H, W]. Raises ConfigError where the factory fails.
    """
    make = factory("data.name", path)
    try:
        given, labels = make(root)
        x, y = np.array(given), np.array(labels)
    except Exception as error:
        raise import_error("data.name", path, error) from None
    return (x[:, None] if x.ndim == 3 else x), y


def asked(x: Array, y: Array) -> dict[str, int]:
    """Return what a factory's images and labels say of side, width, channels and classes.

    Nothing is said by arrays that are none of images [N, C, H, W] and of numbers.
    """
    answers = {"data.classes": int(y.max(initial=0)) + 1} if y.dtype.kind in "iu" else {}
    if x.ndim == 4 and x.shape[1] in pictures.MODES:
        _, channels, height, width = x.shape
        answers |= {"data.channels": channels, "data.side": height}
        answers["data.width"] = 0 if height == width else width
    return answers


def faults(x: Array, y: Array, shape: tuple[int, int, int], classes: int) -> Iterator[str]:
    """Yield what is wrong with a user's images `x` and labels `y`.

    `shape` is (channels, height, width) as the config has it, `classes` the number of classes or 0.
    Each check assumes those before it.
    """
    if x.dtype != np.uint8:
        yield f"images are {x.dtype}, not uint8"
    if x.shape[1:] != shape:
        yield f"images are {x.shape[1:]}, data.channels and data.side say {shape}"
    if len(x) < pictures.FEWEST:
        yield f"has {len(x)} images, {pictures.FEWEST} are needed"
    if y.shape != x.shape[:1]:
        yield f"has {len(x)} images and labels {y.shape}"
    if y.dtype.kind not in "iu":
        yield f"labels are {y.dtype}, not integers"
    if y.min() < 0 or 0 < classes <= y.max():
        yield f"labels are {y.min()} to {y.max()}, data.classes = {classes}"


def digest(word: str, path: str) -> str:
    """Return the sha256 of the file that defines the function at `path`.

    It goes into keys, so that an edited factory makes another network.
    """
    return imported(word, path).digest


def import_error(word: str, path: str, error: Exception) -> ConfigError:
    """Return the one-line ConfigError for whatever the user's code at `path` has raised."""
    lines = str(error).splitlines() or [""]
    return ConfigError([f"{word} = {path!r}: {type(error).__name__}: {lines[0]}"])


@functools.cache
def imported(word: str, path: str) -> Imported:
    """Import `package.module:function`, once for each process; ConfigError where that fails."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # as Ray does for its workers
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
        function = getattr(module, name)
        text = Path(str(module.__file__)).read_bytes()
    except Exception as error:
        raise import_error(word, path, error) from None
    if not callable(function):
        kind = type(function).__name__
        raise ConfigError([f"{word} = {path!r}: is a {kind}, not a function"])
    return Imported(function, hashlib.sha256(text).hexdigest())
