"""Weights that somebody gave: a safetensors file, a folder, a diffusers pipeline or a Hub id -> the files of it that count.

Never a pickle. What is in the Hub's local cache is used as it is there; only what is not is fetched.
"""

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from lthray.flat import ConfigError

HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
UNET, PLAIN = "diffusion_pytorch_model.safetensors", "model.safetensors"
SCHEDULERS = ("scheduler/scheduler_config.json", "scheduler_config.json")
FETCHED = ["model_index.json", "config.json", "unet/config.json", UNET, f"unet/{UNET}", PLAIN, *SCHEDULERS]


@dataclass(frozen=True)
class Given:
    """The files that count."""

    weights: Path
    config: Path | None
    """What a saved diffusers network says of its architecture."""
    scheduler: Path | None
    """How a pipeline noises its images."""


@functools.cache
def given(source: str) -> Given:
    """The files behind `model.pretrained`; ConfigError where they are not there."""
    place = Path(source)
    if place.is_file():
        return Given(place, None, None)
    if not place.is_dir():
        place = _hub(source)
    if (found := _files(place)) is None:
        raise _wrong(source, f"has no {UNET} with its config.json, nor a {PLAIN}")
    return found


def digest_of(source: str) -> str:
    """The content of what was given, for keys; empty for nothing."""
    if not source:
        return ""
    found = given(source)
    paths = [path for path in (found.config, found.weights) if path]
    return _digest(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


def tensors(source: str) -> dict[str, Tensor]:
    """Weights by name."""
    try:
        return load_file(given(source).weights)
    except Exception as error:  # whatever safetensors raises, the file cannot be used
        raise _wrong(source, f"{type(error).__name__}: {error}") from None


def facts(source: str, path: Path | None) -> dict[str, Any]:
    """One of the JSON files; empty for none."""
    try:
        return json.loads(path.read_bytes()) if path else {}
    except ValueError as error:
        raise _wrong(source, f"{path}: {error}") from None


def fitting(source: str, missing: list[str], more: list[str], sizes: list[str]) -> None:
    """Refuse weights that are not those of the network, name by name."""
    faults = {"lacks": missing, "has, where the network has none,": more, "has another shape for": sizes}
    told = [f"{what} {names[0]} and {len(names) - 1} more" for what, names in faults.items() if names]
    if told:
        raise _wrong(source, "; ".join(told))


def _files(folder: Path) -> Given | None:
    """A saved network, or the U-Net of a pipeline (old ones lie beside their index)."""
    scheduler = next((folder / name for name in SCHEDULERS if (folder / name).is_file()), None)
    piped = (folder / "model_index.json").is_file()
    saved = folder / "unet" if piped and (folder / "unet").is_dir() else folder
    if (saved / "config.json").is_file() and (saved / UNET).is_file():
        return Given(saved / UNET, saved / "config.json", scheduler if piped else None)
    return Given(folder / PLAIN, None, None) if (folder / PLAIN).is_file() else None


def _hub(source: str) -> Path:
    """The local snapshot of a Hub repository, `owner/name` or `owner/name@revision`."""
    if not HUB.fullmatch(source):
        raise _wrong(source, "is no file, no folder, and no Hub id such as google/ddpm-cifar10-32")
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    asked: dict[str, Any] = {"revision": revision or None, "allow_patterns": FETCHED}
    for cached in (True, False):
        try:
            folder = Path(snapshot_download(name, local_files_only=cached, **asked))
        except Exception as error:  # offline, unknown, private: whatever it is, the weights are not there
            why = type(error).__name__
        else:
            if _files(folder) or not cached:
                return folder
    raise _wrong(source, f"is no folder here, is not in the Hub's cache, and cannot be fetched ({why})")


def _wrong(source: str, why: str) -> ConfigError:
    return ConfigError([f"model.pretrained = {source!r}: {' '.join(why.split())}"])


@functools.cache
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()
