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

from lthray.config.fields import ConfigError

HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
UNET, PLAIN = "diffusion_pytorch_model.safetensors", "model.safetensors"
SCHEDULERS = ("scheduler/scheduler_config.json", "scheduler_config.json")
WORDS = {"unet": "model.pretrained", "vae": "latent.pretrained"}  # part of a pipeline -> the word that asks for it
PARTS = [f"{part}/{name}" for part in WORDS for name in ("config.json", UNET)]
FETCHED = ["model_index.json", "config.json", UNET, PLAIN, *PARTS, *SCHEDULERS]


@dataclass(frozen=True)
class Given:
    """The files that count."""

    weights: Path
    config: Path | None
    """What a saved diffusers network says of its architecture."""
    scheduler: Path | None
    """How a pipeline noises its images."""


@functools.cache
def given(source: str, part: str = "unet") -> Given:
    """The files behind `model.pretrained` or, of part vae, `latent.pretrained`; ConfigError where they are not there."""
    place = Path(source)
    if place.is_file():
        return Given(place, None, None)
    if not place.is_dir():
        place = _hub(source, part)
    if (found := _files(place, part)) is None:
        raise wrong(source, part, f"has no {UNET} with its config.json, nor a {PLAIN}")
    return found


def digest_of(source: str, part: str = "unet") -> str:
    """The content of what was given, for keys; empty for nothing."""
    if not source:
        return ""
    found = given(source, part)
    paths = [path for path in (found.config, found.weights) if path]
    return _digest(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


def tensors(source: str, part: str) -> dict[str, Tensor]:
    """Weights by name."""
    try:
        return load_file(given(source, part).weights)
    except Exception as error:  # whatever safetensors raises, the file cannot be used
        raise wrong(source, part, f"{type(error).__name__}: {error}") from None


def facts(source: str, path: Path | None, part: str = "unet") -> dict[str, Any]:
    """One of the JSON files; empty for none."""
    try:
        return json.loads(path.read_bytes()) if path else {}
    except ValueError as error:
        raise wrong(source, part, f"{path}: {error}") from None


def fitting(source: str, part: str, missing: list[str], more: list[str], sizes: list[str]) -> None:
    """Refuse weights that are not those of the network, name by name."""
    faults = {"lacks": missing, "has, where the network has none,": more, "has another shape for": sizes}
    told = [f"{what} {names[0]} and {len(names) - 1} more" for what, names in faults.items() if names]
    if told:
        raise wrong(source, part, "; ".join(told))


def _files(folder: Path, part: str) -> Given | None:
    """A saved network, or that part of a pipeline (old ones lie beside their index)."""
    scheduler = next((folder / name for name in SCHEDULERS if (folder / name).is_file()), None)
    piped = (folder / "model_index.json").is_file()
    saved = folder / part if piped and (folder / part).is_dir() else folder
    if (saved / "config.json").is_file() and (saved / UNET).is_file():
        return Given(saved / UNET, saved / "config.json", scheduler if piped else None)
    return Given(folder / PLAIN, None, None) if (folder / PLAIN).is_file() else None


def _hub(source: str, part: str) -> Path:
    """The local snapshot of a Hub repository, `owner/name` or `owner/name@revision`."""
    if not HUB.fullmatch(source):
        raise wrong(source, part, "is no file, no folder, and no Hub id such as google/ddpm-cifar10-32")
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    asked: dict[str, Any] = {"revision": revision or None, "allow_patterns": FETCHED}
    for cached in (True, False):
        try:
            folder = Path(snapshot_download(name, local_files_only=cached, **asked))
        except Exception as error:  # offline, unknown, private: whatever it is, the weights are not there
            why = type(error).__name__
        else:
            if _files(folder, part) or not cached:
                return folder
    raise wrong(source, part, f"is no folder here, is not in the Hub's cache, and cannot be fetched ({why})")


def wrong(source: str, part: str, why: str) -> ConfigError:
    """The error that says which source cannot be used, and why."""
    return ConfigError([f"{WORDS[part]} = {source!r}: {' '.join(why.split())}"])


@functools.cache
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()
