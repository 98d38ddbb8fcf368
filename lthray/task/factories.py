"""Functions that a user names by import path, and the digests of the files that define them."""

import functools
import hashlib
import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthray.config.fields import ConfigError


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
