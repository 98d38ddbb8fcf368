"""How a part of a config is read: by pydantic, strictly; and back from the spec of a step, from
dotted words that are not at their default. And how a value is written on a command line."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict

T = TypeVar("T")
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
"""How pydantic reads a part: nothing unknown, nothing infinite."""


def part_of(cls: type[T], name: str, spec: Mapping[str, Any]) -> T:
    """Return the part `cls` of a config, called `name`, that the words of `spec` make of the
    defaults."""
    prefix = f"{name}."
    own = [word for word in spec if word.startswith(prefix)]
    return cls(**{word.removeprefix(prefix): spec[word] for word in own})


def text_of(value: Any) -> str:
    """Return a value as the command line has it, in one text."""
    return " ".join(texts(value))


def texts(value: Any) -> list[str]:
    """Return a value as the command line has it; one of a list as so many texts."""
    if isinstance(value, list | tuple):
        return [text for part in value for text in texts(part)]
    return [str(value).lower() if isinstance(value, bool) else str(value)]
