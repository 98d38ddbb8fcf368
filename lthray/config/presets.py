"""Presets: those of the package, and a root's own, <out>/presets/NAME.json, the dotted words of a config and their values."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lthray.config.fields import ConfigError, either, meant
from lthray.config.options import NAME
from lthray.config.trial import PRESETS, TrialConfig


def words_of(name: str, out: str) -> dict[str, Any]:
    """The words of a preset; ConfigError where there is none of this name."""
    if name in PRESETS:
        return PRESETS[name]
    path = _path(name, out)
    if not NAME.fullmatch(name) or not path.is_file():
        known = [*PRESETS, *sorted(file.stem for file in path.parent.glob("*.json"))]
        raise ConfigError([f"preset = {name!r}: must be {either(known)}{meant(name, known)}"])
    try:
        found = json.loads(path.read_bytes())
        TrialConfig.from_flat(found)
    except (ValueError, AttributeError) as error:
        raise ConfigError([f"preset = {name!r}: {path}: {'; '.join(str(error).splitlines())}"]) from None
    return found


def save(name: str, out: str, words: Mapping[str, Any]) -> Path:
    """Keep words as a preset of a root; what is there under this name stays."""
    path, text = _path(name, out), json.dumps(dict(words), indent=1) + "\n"
    if name in PRESETS or not NAME.fullmatch(name):
        why = "is one of the package's own" if name in PRESETS else "up to 64 of a-z 0-9 . _ -, first a letter or digit"
        raise ConfigError([f"preset {name!r}: {why}"])
    if path.is_file() and path.read_text() != text:
        raise ConfigError([f"preset {name!r}: {path} is there and says something else; choose another name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(text)
    os.replace(part, path)
    return path


def _path(name: str, out: str) -> Path:
    return Path(out) / "presets" / f"{name}.json"
