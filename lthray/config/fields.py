"""Read a frozen dataclass and its parts as flat dotted words, such as "prune.criterion": "random".

Validation is pydantic's. All faults are reported at once, one line each, naming the word, its value
and what is allowed; and a field declares in its `Annotated` type what it is (`Only`, `Place`,
`Role`), so that no second table repeats it.
"""

import difflib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
D = TypeVar("D", bound="Declaration")

MOST = 8 * 2**30  # bytes of a file that is read whole
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class ConfigError(ValueError):
    """Signal that words do not make a config; `faults` has one line for each fault."""

    def __init__(self, faults: list[str]):
        super().__init__("\n".join(faults))
        self.faults = faults


def content(word: str, path: str) -> bytes:
    """Return the bytes of a file that was given as `word`; ConfigError where it cannot be read."""
    checked(word, path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError([f"{word} = {path!r}: {error.strerror}"]) from None


def checked(word: str, path: str) -> str:
    """Return the `path` of a file that was given as `word`; ConfigError where it is not there, is
    no regular file, which could be read without end, or is larger than any that is wanted."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise ConfigError([f"{word} = {path!r}: {error.strerror}"]) from None
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        raise ConfigError([f"{word} = {path!r}: is {kind}, not a regular file"])
    if status.st_size > MOST:
        raise ConfigError([f"{word} = {path!r}: has more than {MOST / 2**30:.0f} GiB"])
    return path


class Declaration:
    """Mark the classes whose instances say, in an `Annotated` type, what a field is."""


@dataclass(frozen=True, init=False)
class Only(Declaration):
    """Declare a field that means something only while the field `word` has one of `values`.

    Elsewhere it must be left at its default. `hint` is added to the message where it is not.
    """

    word: str
    values: tuple[str, ...]
    hint: str

    def __init__(self, word: str, *values: str, hint: str = ""):
        object.__setattr__(self, "word", word)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "hint", hint)


@dataclass(frozen=True)
class Place(Declaration):
    """Declare a field that says where a given file lies; of a trial only its content is part."""


@dataclass(frozen=True)
class Role(Declaration):
    """Declare what a field, or all fields of a part, are to a trial."""

    name: str


class Word(NamedTuple):
    """A field as users meet it: its type without declarations, its default, and its description."""

    kind: Any
    default: Any
    text: str


@cache
def words(cls: type, prefix: str = "") -> Mapping[str, Word]:
    """Return dotted word -> (type, default, description) of every field of `cls` and of its parts.

    The description of a field that is declared `Only` ends with "(only with WORD = VALUES)".
    """
    result: dict[str, Word] = {}
    described = _described(cls)
    for name, hint in _hints(cls).items():
        kind, declarations = _parted(hint)
        if is_dataclass(kind):
            result |= words(kind, f"{prefix}{name}.")  # type: ignore[arg-type]
            continue
        text = (described[name].description or "").split()
        text += [_only_with(each) for each in declarations if isinstance(each, Only)]
        result[prefix + name] = Word(kind, _default(cls, name), " ".join(text))
    return result


@cache
def defaults(cls: type) -> Mapping[str, Any]:
    """Return dotted word -> default of every field of `cls` and of its parts."""
    return {word: row.default for word, row in words(cls).items()}


def default_of(cls: type, word: str) -> Any:
    """Return the default of a dotted word of `cls`."""
    return defaults(cls)[word]


def changed(config: Any, word: str) -> bool:
    """Return whether a dotted word of `config` is not at its default."""
    return bool(attrgetter(word)(config) != default_of(type(config), word))


@cache
def declared(cls: type, declaration: type[D]) -> Mapping[str, D]:
    """Return dotted word -> the `declaration` of its field, or of the part the field is in.

    Words for which nothing of this kind is declared are left out.
    """
    result: dict[str, D] = {}
    for name, hint in _hints(cls).items():
        kind, declarations = _parted(hint)
        own = next((each for each in declarations if isinstance(each, declaration)), None)
        if not is_dataclass(kind):
            result |= {name: own} if own else {}
            continue
        if own:
            result |= dict.fromkeys(words(kind, f"{name}."), own)  # type: ignore[arg-type]
        for word, inner in declared(kind, declaration).items():  # type: ignore[arg-type]
            result[f"{name}.{word}"] = inner
    return result


def _hints(cls: type) -> dict[str, Any]:
    """Return field name -> type with its `Annotated` notes, in the order of the fields."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def _parted(hint: Any) -> tuple[Any, list[Declaration]]:
    """Return a type hint without its declarations, and the declarations."""
    if get_origin(hint) is not Annotated:
        return hint, []
    kind, *notes = get_args(hint)
    declarations = []
    for note in notes:
        if isinstance(note, Declaration):
            declarations.append(note)
        else:
            kind = Annotated[kind, note]
    return kind, declarations


def _described(cls: type) -> dict[str, Any]:
    """Return field name -> pydantic's account of it, from the class that first wrote the field."""
    described: dict[str, Any] = {}
    for base in cls.__mro__:
        described |= getattr(base, "__pydantic_fields__", {})
    return described


def _default(cls: type, name: str) -> Any:
    default = next(field.default for field in fields(cls) if field.name == name)
    if default is not MISSING:
        return default
    return _described(cls)[name].get_default(call_default_factory=True)


def _only_with(only: Only) -> str:
    return f"(only with {only.word} = {either(only.values)})"


def from_flat(cls: type[T], flat: Mapping[str, Any], base: T | None = None) -> T:
    """Return `base` (or the default) with the dotted words of `flat` set.

    An indexed word sets one entry of a tuple: {"prune.dials.0": 0.5, "prune.dials.1": -0.5}. Raises
    ConfigError with all faults at once: after bad words are found, the good ones are still checked.
    """
    allowed = words(cls)  # type: ignore[arg-type]
    values: dict[str, Any] = dict(walk(base)) if base else {}
    faults: list[str] = []
    for word, value in _gathered(flat, allowed).items():
        if word in allowed:
            values[word] = value
        else:
            faults.append(_unknown(word, value, allowed))
    validator = TypeAdapter(cls)
    while True:
        try:
            made = validator.validate_python(_nested(values))
            break
        except ValidationError as error:
            bad_words, lines = _explained(error)
        faults += lines
        if bad_words.isdisjoint(values):  # what is left are fields that contradict each other
            break
        values = {word: value for word, value in values.items() if word not in bad_words}
    if faults:
        raise ConfigError(faults)
    return made


def walk(part: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted word and value of every field of a dataclass and of the parts in it."""
    for each in fields(part):
        value = getattr(part, each.name)
        if is_dataclass(value):
            yield from walk(value, f"{prefix}{each.name}.")
        else:
            yield prefix + each.name, value


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted words as nested dictionaries: the inverse of `walk`."""
    nested: dict[str, Any] = {}
    for word, value in flat.items():
        *path, last = word.split(".")
        part = nested
        for name in path:
            part = part.setdefault(name, {})
        part[last] = value
    return nested


def _gathered(flat: Mapping[str, Any], allowed: Mapping[str, Word]) -> dict[str, Any]:
    """Return `flat` with indexed words collected into the tuple that they belong to."""
    gathered: dict[str, Any] = {}
    entries: dict[str, dict[int, Any]] = {}
    for word, value in flat.items():
        stem, _, index = word.rpartition(".")
        if stem in allowed and index.isdecimal():
            entries.setdefault(stem, {})[int(index)] = value
        else:
            gathered[word] = value
    for stem, by_index in entries.items():
        gathered[stem] = [by_index[index] for index in sorted(by_index)]
    return gathered


def either(allowed: Iterable[str]) -> str:
    """Return the allowed words as a phrase: "a", or "one of a, b, c"."""
    names = list(map(str, allowed))
    return names[0] if len(names) == 1 else "one of " + ", ".join(names)


def quoted(allowed: Sequence[str]) -> str:
    """Return the allowed words as a phrase, in quotes if there is one: "'a'", or "one of a, b"."""
    return repr(allowed[0]) if len(allowed) == 1 else either(allowed)


def meant(word: str, allowed: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the nearest allowed word, or "" if none is near `word`."""
    near = difflib.get_close_matches(str(word), list(map(str, allowed)), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _unknown(word: str, value: Any, allowed: Mapping[str, Word]) -> str:
    """Return the fault line of a word that no field has."""
    last_parts = [each.split(".")[-1] for each in allowed]
    near = meant(word, allowed) or meant(word.split(".")[-1], last_parts)
    return f"{word} = {value!r}: no such field{near}"


def _explained(error: ValidationError) -> tuple[set[str], list[str]]:
    """Return the bad words, and fault lines: those of our own checks, then one for each bad word.

    A field that may be of several types has several faults, which share its line.
    """
    bad: dict[str, tuple[Any, list[str]]] = {}
    lines: list[str] = []
    for fault in error.errors():
        if fault["type"] == "value_error":
            lines += str(fault["ctx"]["error"]).split("\n")
            continue
        word, entry = _located(fault["loc"])
        bad.setdefault(word, (fault["input"], []))[1].append(_allowed(fault) + entry)
    for word, (value, allowed) in bad.items():
        lines.append(f"{word} = {value!r}: {' or '.join(allowed)}")
    return set(bad), lines


def _located(location: tuple[int | str, ...]) -> tuple[str, str]:
    """Return the dotted word of a pydantic `location`, and " (entry I)" if it is inside a tuple."""
    places = []
    for place in map(str, location):
        if not place.startswith(("constrained-", "literal[", "tuple[")):
            places.append(place)
    path = list(itertools.takewhile(lambda place: not place.isdigit(), places))
    inner = places[len(path) :]
    return ".".join(path), f" (entry {'.'.join(inner)})" if inner else ""


def _allowed(fault: Any) -> str:
    """Return what one of pydantic's faults says is allowed."""
    if fault["type"] == "literal_error":
        names = fault["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"must be {either(names)}{meant(fault['input'], names)}"
    if fault["type"] == "string_pattern_mismatch":
        return "an import path package.module:factory"
    is_share = fault.get("ctx", {}).get("lt") == 1 or str(fault["input"]).endswith("%")
    says = fault["msg"].replace("Input should be", "must be")
    return f"{says}; 20 % is written 0.2" if is_share else says
