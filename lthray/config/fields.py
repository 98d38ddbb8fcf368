"""A frozen dataclass and its parts as flat words, "prune.criterion": "random", and everything that is wrong with them.

Validation is pydantic's; what is ours is that every fault is told at once, one line each, naming the word, its value and
what is allowed.
"""

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


class ConfigError(ValueError):
    """A config, or the words that should make one, cannot be used; `faults` has one line for each fault."""

    def __init__(self, faults: list[str]):
        super().__init__("\n".join(faults))
        self.faults = faults


def words(cls: type, prefix: str = "") -> dict[str, tuple[Any, Any, str]]:
    """Dotted word -> (type, default, description) of every field of a part and the parts below it."""
    found: dict[str, tuple[Any, Any, str]] = {}
    hints = get_type_hints(cls, include_extras=True)
    known: dict[str, Any] = {}
    for part in cls.__mro__:  # a field has its docstring where it was first written
        known |= getattr(part, "__pydantic_fields__", {})
    for field in fields(cls):
        if is_dataclass(hints[field.name]):
            found |= words(hints[field.name], f"{prefix}{field.name}.")
        else:
            info = known[field.name]
            default = field.default if field.default is not MISSING else info.get_default(call_default_factory=True)
            found[prefix + field.name] = (hints[field.name], default, " ".join((info.description or "").split()))
    return found


def from_flat(cls: type[T], flat: Mapping[str, Any], base: T | None = None) -> T:
    """`base` (or the default) with the dotted words of `flat` set; raises ConfigError with all faults at once.

    An indexed word sets one entry of a tuple: {"prune.dials.0": 0.5, "prune.dials.1": -0.5}.
    """
    known = words(cls)
    flat = _gather(flat, known)
    faults = [_unknown(word, value, known) for word, value in flat.items() if word not in known]
    before = dict(walk(asdict(base))) if base else {}  # type: ignore[call-overload]
    good = {**before, **{word: value for word, value in flat.items() if word in known}}
    while True:
        try:
            made = TypeAdapter(cls).validate_python(_nested(good))
            break
        except ValidationError as error:
            bad, lines = _faults(error)
            faults += lines
            if not bad & good.keys():  # only fields that contradict each other are left, and they have had their say
                break
            good = {word: value for word, value in good.items() if word not in bad}
    if faults:
        raise ConfigError(faults)
    return made


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for word, value in flat.items():
        *path, last = word.split(".")
        room = nested
        for name in path:
            room = room.setdefault(name, {})
        room[last] = value
    return nested


def walk(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted word and value of every leaf."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from walk(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _gather(flat: Mapping[str, Any], known: Mapping) -> dict[str, Any]:
    """Indexed words collected into the tuple that they belong to."""
    gathered: dict[str, Any] = {}
    entries: dict[str, dict[int, Any]] = {}
    for word, value in flat.items():
        stem, _, index = word.rpartition(".")
        if stem in known and index.isdigit():
            entries.setdefault(stem, {})[int(index)] = value
        else:
            gathered[word] = value
    return gathered | {stem: [found[i] for i in sorted(found)] for stem, found in entries.items()}


def either(allowed: Iterable[str]) -> str:
    """The allowed words in a sentence."""
    words = [str(word) for word in allowed]
    return words[0] if len(words) == 1 else "one of " + ", ".join(words)


def meant(word: str, allowed: Iterable[str]) -> str:
    """A hint where an allowed word is near, else nothing."""
    near = difflib.get_close_matches(str(word), [str(a) for a in allowed], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _unknown(word: str, value: Any, known: dict) -> str:
    near = meant(word, known) or meant(word.split(".")[-1], [k.split(".")[-1] for k in known])
    return f"{word} = {value!r}: no such field{near}"


def _faults(error: ValidationError) -> tuple[set[str], list[str]]:
    """The bad words, and pydantic's account as lines of ours, one a word: word = value: what is allowed."""
    bad: dict[str, tuple[Any, list[str]]] = {}
    lines: list[str] = []
    for fault in error.errors():
        if fault["type"] == "value_error":
            lines += str(fault["ctx"]["error"]).split("\n")
            continue
        places = [str(place) for place in fault["loc"] if not str(place).startswith(("constrained-", "literal[", "tuple["))]
        word = ".".join(itertools.takewhile(lambda place: not place.isdigit(), places))
        entry = f" (entry {'.'.join(places[len(word.split('.')) :])})" if len(places) > len(word.split(".")) else ""
        bad.setdefault(word, (fault["input"], []))[1].append(_allowed(fault) + entry)
    return set(bad), lines + [f"{word} = {value!r}: {' or '.join(allowed)}" for word, (value, allowed) in bad.items()]


def _allowed(fault: Any) -> str:
    if fault["type"] == "literal_error":
        expected = [word.strip("'") for word in fault["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return f"must be {either(expected)}{meant(fault['input'], expected)}"
    if fault["type"] == "string_pattern_mismatch":
        return "an import path package.module:factory"
    return fault["msg"].replace("Input should be", "must be")
