"""Read the parts of a config back from the spec of a step: dotted words that are not at their
default."""

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def part_of(cls: type[T], name: str, spec: Mapping[str, Any]) -> T:
    """Return the part `cls` of a config, called `name`, that the words of `spec` make of the
    defaults."""
    prefix = f"{name}."
    own = [word for word in spec if word.startswith(prefix)]
    return cls(**{word.removeprefix(prefix): spec[word] for word in own})
