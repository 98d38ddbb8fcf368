"""What a user wrote, named by its import path, "package.module:factory", and the digest of the file that it is in."""

import functools
import hashlib
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lthray.config.fields import ConfigError


def factory(word: str, path: str) -> Callable[..., Any]:
    """The function that a word of the config names; ConfigError where there is none."""
    return _found(word, path)[0]


def digest(word: str, path: str) -> str:
    """sha256 of the module's file as it was imported, for keys: an edited factory is another one."""
    return _found(word, path)[1]


def told(word: str, path: str, error: Exception) -> ConfigError:
    """Whatever a user's code has raised, as one line."""
    first = (str(error).splitlines() or [""])[0]
    return ConfigError([f"{word} = {path!r}: {type(error).__name__}: {first}"])


@functools.cache
def _found(word: str, path: str) -> tuple[Callable[..., Any], str]:
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # as Ray does for its workers
    module, _, name = path.partition(":")
    try:
        found = importlib.import_module(module)
        made, file = getattr(found, name), Path(str(found.__file__)).read_bytes()
    except Exception as error:
        raise told(word, path, error) from None
    if not callable(made):
        raise ConfigError([f"{word} = {path!r}: is a {type(made).__name__}, not a function"])
    return made, hashlib.sha256(file).hexdigest()
