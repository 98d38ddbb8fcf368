"""Hold the presets: those of the package, and the user's own of a root, <out>/presets/NAME.json.

A preset is the dotted words of a config, with values, that differ from the default. Options are
read here too, for one of them names a preset.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lthray.config.fields import ConfigError, either, from_flat, meant
from lthray.config.options import NAME, Root, option_of
from lthray.config.parts import Data
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import data_facts

# The rate is the best of `studies/baseline_tuning.py --train.steps 3000 --train.batch 128
# --train.ema 0.1 --model.channels 32 64 64 --trials 8` on MNIST. That of COLOUR is not tuned.
GREY = {
    "model.channels": (32, 64, 64),
    "train.steps": 3000,
    "train.batch": 128,
    "train.lr": 1.5e-3,
    "prune.ladder": (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625),
    "measure.images": 1000,
    "measure.samples": 1000,
    "measure.sampling_steps": (50,),
}
COLOUR = GREY | {
    "data.augment": "flip",
    "model.channels": (64, 128, 128, 128),
    "model.layers": 2,
    "model.attention": (1,),
    "model.groups": 32,
    "train.steps": 20_000,
    "train.lr": 5e-4,
    "train.ema": 0.05,
    "measure.samples": 5000,
}
PRESETS: dict[str, dict[str, Any]] = {
    "digits": {},  # two CPU cores
    "mnist": GREY | {"data.name": "mnist"},  # a GPU, or smaller channels
    "fashion_mnist": GREY | {"data.name": "fashion_mnist"},
    "cifar10": COLOUR | {"data.name": "cifar10"},  # a GPU
    "cifar100": COLOUR | {"data.name": "cifar100"},
}

SMALL = 8  # side of images with --smoke, as that of the digits
SIZES = ("data.side", "data.width")
COUNTS = ("train.batch", "prune.images", "measure.samples")
"""Words of which a preset of few images has less than the default."""

T = TypeVar("T")
MOST = 2**20  # bytes of a preset that are read
LONGEST = 40  # letters of a name that is made of a folder's


def preset(name: str) -> TrialConfig:
    """Return the config of a preset of the package."""
    return TrialConfig.from_flat(PRESETS[name])


def words_of(name: str, out: str) -> dict[str, Any]:
    """Return the words of a preset of the package or of the root `out`.

    Raises ConfigError where there is none of this name, or its file does not make a config.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = _path(name, out)
    if not NAME.fullmatch(name) or not path.is_file():
        existing = [*PRESETS, *sorted(file.stem for file in _path("", out).parent.glob("*.json"))]
        allowed = f"must be {either(existing)}{meant(name, existing)}"
        raise ConfigError([f"preset = {name!r}: {allowed}"])
    try:
        with path.open("rb") as file:
            words = {**json.loads(file.read(MOST), object_pairs_hook=_once)}
        TrialConfig.from_flat(words)
    except (ValueError, TypeError, RecursionError) as error:
        why = "; ".join(str(error).splitlines())
        raise ConfigError([f"preset = {name!r}: {path}: {why}"]) from None
    return words


def smaller(words: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words of a preset with --smoke: its data at the size of the digits, under the
    default network and training, with batches and samples as small as the preset's."""
    usual = TrialConfig().flat()
    kept = {word: value for word, value in words.items() if word.startswith("data.")}
    kept |= {word: min(words[word], usual[word]) for word in COUNTS if word in words}
    if words.get("data.name", usual["data.name"]) != usual["data.name"]:
        kept |= {"data.side": SMALL, "data.width": usual["data.width"]}
    return kept


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict; ValueError where it names a word twice."""
    named = dict(pairs)
    if len(named) < len(pairs):
        names, _ = zip(*pairs, strict=True)
        raise ValueError(f"given twice: {max(names, key=names.count)}")
    return named


def read_options(cls: type[T], flat: Mapping[str, Any], faults: list[str]) -> T:
    """Return the options `cls` of a command line's words.

    What is wrong with them is added to `faults`, and left at its default.
    """
    good: dict[str, Any] = {}
    default_root = Root().out  # a root that nobody named can be as bad as a named one
    for word, value in {"out": default_root, **flat}.items():
        try:
            from_flat(cls, {word: value})
            if word == "preset":
                words_of(value, good.get("out", default_root))
            good[word] = value
        except ConfigError as error:
            faults += list(map(flagged, error.faults))
    return from_flat(cls, good)


def flagged(fault: str) -> str:
    """Return a fault of a field as a fault of its option: `max_concurrent = 0` with dashes."""
    word, equals, rest = fault.partition(" = ")
    return f"{option_of(word)}{equals}{rest}"


def collection(name: str, out: str, data: Data) -> str:
    """Return the name of what is studied: the preset `name` of the root `out`, or other `data`.

    Where the command line has put other data in the place of the preset's, their own name: that of
    the data set, of the folder or file, or of the factory.
    """
    words = words_of(name, out)
    if data.name != words.get("data.name", Data().name):
        return _slug(data)
    root = words.get("data.root", data.root)
    is_moved = data_facts(data.name).brought and os.path.abspath(root) != os.path.abspath(data.root)
    return _slug(data) if is_moved else name


def _slug(data: Data) -> str:
    """Return the name of a data set in letters that a preset or an experiment may have."""
    word = Path(data.root).absolute().stem if data.name == "folder" else data.name
    return slug(word)


def slug(word: str) -> str:
    """Return a word in letters that the name of a preset may have, without dots."""
    return re.sub(r"[^a-z0-9_]+", "-", word.lower()).strip("-_")[:LONGEST] or "images"


def usable(name: str) -> str:
    """Return the name of a new preset; ConfigError where none may have it."""
    if name in PRESETS:
        raise ConfigError([f"preset {name!r}: is one of the package's own"])
    if not NAME.fullmatch(name):
        allowed = "up to 64 of a-z 0-9 . _ -, first a letter or digit"
        raise ConfigError([f"preset {name!r}: {allowed}"])
    return name


def save(name: str, out: str, words: Mapping[str, Any]) -> Path:
    """Keep `words` as the preset `name` of the root `out`, and return its file.

    Raises ConfigError where the name cannot be used, or its file is there with other words.
    """
    usable(name)
    path = _path(name, out)
    text = json.dumps(dict(words), indent=1) + "\n"
    if path.is_file() and path.read_text() != text:
        other = "is there and says something else; choose another name"
        raise ConfigError([f"preset {name!r}: {path} {other}"])
    return write(path, text.encode())


def write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _path(name: str, out: str) -> Path:
    return Path(out) / "presets" / f"{name}.json"
