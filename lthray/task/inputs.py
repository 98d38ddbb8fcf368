"""Weights that a user gives, as safetensors: a file, a folder, a diffusers pipeline or a Hub id.

Nothing is unpickled. What is in the Hub's local cache is used from there; only what is missing is
fetched.
"""

import functools
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lthray.config.fields import ConfigError, checked, content
from lthray.task.saved import (
    CONFIG,
    INDEX,
    PLAIN,
    SCHEDULERS,
    SHARDS,
    STEM,
    UNET,
    SourceFiles,
    in_file,
    in_folder,
    instead,
    pickled,
    tensors_in,
)

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
# names of the parts of an attention layer in early diffusers, and today
RENAMED = (
    (".query.", ".to_q."),
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
)


@dataclass(frozen=True, kw_only=True)
class Input:
    """What one word of the config accepts from a user."""

    part: str
    """Part of a diffusers pipeline whose weights the word asks for."""
    accepts: tuple[str, ...]
    """Forms that a value may have, as messages name them."""


@functools.cache
def source_files(source: str, part: str = "unet") -> SourceFiles:
    """Return the files behind `source`, from which `part` of a pipeline (unet or vae) is wanted.

    Raises ConfigError where they are not there.
    """
    place = Path(source)
    if place.exists() and not place.is_dir():
        checked(_word_of(part), source)
        how = pickled(place)
        if how:
            raise wrong(source, part, how)
        return in_file(place)
    if not place.is_dir():
        place = _from_hub(source, part)
    files = in_folder(place, part)
    if files is None:
        raise wrong(source, part, instead(place, part))
    return files


def digest_of(source: str, part: str = "unet") -> str:
    """Return the sha256 of architecture and weights behind `source`, for keys; empty for none."""
    if not source:
        return ""
    files = source_files(source, part)
    paths = [path for path in (files.config, *files.weights) if path]
    return _content_digest(tuple(map(_version_of, paths)))


def file_digest(word: str, path: str) -> str:
    """Return the sha256 of a file that the user gives as `word`; empty for no path.

    Raises ConfigError where there is no such file.
    """
    return hashlib.sha256(content(word, path)).hexdigest() if path else ""


def json_facts(source: str, path: Path | None, part: str = "unet") -> dict[str, Any]:
    """Return the content of the JSON file at `path`, one of `source`; empty for None.

    Raises ConfigError for bad JSON.
    """
    if path is None:
        return {}
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise wrong(source, part, f"{path}: no JSON object ({error})") from None


def from_config(kind: Any, source: str, part: str, faults: Iterable[str]) -> nn.Module:
    """Return a fresh network of the diffusers class `kind`, as the config of `source` has it.

    Raises ConfigError for the first of `faults`, or where diffusers refuses the config.
    """
    first_fault = next(iter(faults), None)
    if first_fault:
        raise wrong(source, part, first_fault)
    try:
        return kind.from_config(saved_config(source, part))
    except Exception as error:  # whatever diffusers raises, the folder cannot be used
        raise wrong(source, part, f"{type(error).__name__}: {error}") from None


def saved_config(source: str, part: str) -> dict[str, Any] | None:
    """Return what `source` says of its architecture; None where it is empty or says nothing."""
    path = source_files(source, part).config if source else None
    return json_facts(source, path, part) if path else None


def unet_faults(config: dict[str, Any], channels: int) -> Iterator[str]:
    """Yield what keeps a saved network of this `config` from denoising images of `channels`."""
    kind, ins, outs = map(config.get, ("_class_name", "in_channels", "out_channels"))
    if kind != "UNet2DModel":
        yield f"is a {kind}, not a UNet2DModel"
    if ins != channels:
        yield f"has {ins} channels, data {channels}"
    if outs != ins:
        yield f"answers with {outs} channels"
    if config.get("class_embed_type") or config.get("num_class_embeds"):
        yield "is told the class of an image"


def check_words(source: str, part: str, own: Mapping[str, Any]) -> None:
    """Refuse a saved network that is another one than the words say, which are recorded.

    `own` maps every word of the config to its value. ConfigError names the words to give.
    """
    config = saved_config(source, part) or {}
    given = []
    for word, value in WORDS_OF[part](config).items():
        values = list(value) if isinstance(value, list | tuple) else [value]
        mine = list(own[word]) if isinstance(own[word], tuple) else [own[word]]
        if value is not None and values != mine:
            given.append(shlex.join([f"--{word}", *map(str, values)]))
    if given:
        raise wrong(source, part, f"is another network than the words say; give {' '.join(given)}")


def _unet_words(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words that describe a saved U-Net; None for what it does not say."""
    kinds = config.get("down_block_types", ())
    attention = [level for level, kind in enumerate(kinds) if "Attn" in kind]
    return {
        "model.channels": config.get("block_out_channels"),
        "model.layers": config.get("layers_per_block"),
        "model.groups": config.get("norm_num_groups"),
        "model.attention": attention if kinds else None,
        "model.head": config.get("attention_head_dim") if attention else None,
        "model.dropout": config.get("dropout"),
    }


def _autoencoder_words(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words that describe a saved autoencoder; None for what it does not say."""
    return {
        "latent.channels": config.get("latent_channels"),
        "latent.widths": config.get("block_out_channels"),
        "latent.groups": config.get("norm_num_groups"),
    }


WORDS_OF = {"unet": _unet_words, "vae": _autoencoder_words}
"""Part of a pipeline -> the words that describe it, of what diffusers has saved."""


def autoencoder_faults(
    config: dict[str, Any], channels: int, latent: int, widths: tuple[int, ...]
) -> Iterator[str]:
    """Yield what keeps a saved network of this `config` from being the autoencoder of a trial.

    That one has images of that many `channels`, `latent` channels of a latent, and levels of these
    `widths`.
    """
    depth = len(config.get("block_out_channels", ()))
    if config.get("_class_name") != "AutoencoderKL":
        yield f"is a {config.get('_class_name')}, not an AutoencoderKL"
    if config.get("in_channels") != channels:
        yield f"has {config.get('in_channels')} channels, data {channels}"
    if config.get("latent_channels") != latent:
        yield f"has {config.get('latent_channels')} latent channels, latent.channels = {latent}"
    if depth != len(widths):
        yield f"has {depth} levels, latent.widths = {widths}"


def weights_of(
    source: str,
    part: str,
    shapes: Mapping[str, torch.Size],
    own_names: Mapping[str, str] | None = None,
) -> dict[str, Tensor]:
    """Return the tensors behind `source` by the names of a network whose tensors have `shapes`.

    `own_names` maps each name that a file may have to the one in `shapes`: layers that share a
    weight have several. Raises ConfigError for a file that is not safetensors, and for another
    name, another shape or NaN.
    """
    try:
        stored = tensors_in(source_files(source, part).weights)
    except ValueError as error:
        raise wrong(source, part, str(error)) from None
    known = own_names or {name: name for name in shapes}
    weights = {known.get(name) or _todays_name(name): w for name, w in stored.items()}
    shared = shapes.keys() & weights.keys()
    misfits = {
        "lacks": shapes.keys() - weights.keys(),
        "has, where the network has none,": weights.keys() - shapes.keys(),
        "holds NaN or infinity in": {n for n, w in weights.items() if not w.isfinite().all()},
        "has another shape for": {name for name in shared if shapes[name] != weights[name].shape},
    }
    found = [(fault, min(names), len(names) - 1) for fault, names in misfits.items() if names]
    lines = [f"{fault} {first} and {others} more" for fault, first, others in found]
    if lines:
        raise wrong(source, part, "; ".join(lines))
    return weights


def _todays_name(name: str) -> str:
    for before, today in RENAMED:
        name = name.replace(before, today)
    return name


def wrong(source: str, part: str, why: str) -> ConfigError:
    """Return the ConfigError that says `why` the value `source` of the word for `part` fails."""
    line = " ".join(why.split())
    return ConfigError([f"{_word_of(part)} = {source!r}: {line}"])


def _word_of(part: str) -> str:
    return next(word for word, row in INPUTS.items() if row.part == part)


def _from_hub(source: str, part: str) -> Path:
    """Return the local snapshot of the Hub repository owner/name[@revision], fetched if need be."""
    if not HUB_ID.fullmatch(source):
        forms = [f"no {form}" for form in INPUTS[_word_of(part)].accepts]
        raise wrong(source, part, f"is {', '.join(forms[:-1])}, and {forms[-1]}")
    cached = _snapshot(source, local_files_only=True)
    if isinstance(cached, Path) and in_folder(cached, part):
        return cached
    fetched = _snapshot(source, local_files_only=False)
    if isinstance(fetched, Path):
        return fetched
    kind = type(fetched).__name__
    why = f"is no folder here, is not in the Hub's cache, and cannot be fetched ({kind})"
    raise wrong(source, part, why)


def _snapshot(source: str, *, local_files_only: bool) -> Path | Exception:
    """Return the folder of a Hub repository's snapshot, or the exception that keeps it away."""
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    try:
        folder = snapshot_download(
            name,
            revision=revision or None,
            allow_patterns=_fetched_names(),
            local_files_only=local_files_only,
        )
    except Exception as error:  # offline, unknown, private: the weights are not there
        return error
    return Path(folder)


def _fetched_names() -> list[str]:
    """Return the names of all files that are read of a Hub repository: safetensors and JSON."""
    network = [CONFIG, UNET, SHARDS, f"{STEM}-*.safetensors"]
    parts = [f"{row.part}/{name}" for row in INPUTS.values() for name in network]
    return [INDEX, PLAIN, *SCHEDULERS, *network, *parts]


def _version_of(path: Path) -> tuple[Path, int, int]:
    """Return path, time of change and size, which differ once a file was edited."""
    status = path.stat()
    return path, status.st_mtime_ns, status.st_size


@functools.cache
def _content_digest(versions: tuple[tuple[Path, int, int], ...]) -> str:
    """Return the sha256 of the contents of files, read once for each version of them."""
    content = hashlib.sha256()
    for path, _, _ in versions:
        content.update(path.read_bytes())
    return content.hexdigest()


_FORMS = ("file", "folder", "Hub id such as google/ddpm-cifar10-32")
INPUTS: dict[str, Input] = {
    "model.pretrained": Input(part="unet", accepts=_FORMS),
    "latent.pretrained": Input(part="vae", accepts=_FORMS),
}


def opened(kind: Any, given: tuple[str, str, bool], **options: Any) -> Any:
    """Return a torchvision data set of class `kind`; ConfigError where its files are not there.

    `given` are data.name, data.root and data.download.
    """
    name, root, download = given
    if not root:
        why = f"{name} needs the folder that holds torchvision's {kind.__name__} (--data-root)"
        raise ConfigError([f"data.root = '': {why}"])
    try:
        return kind(root, download=download, **options)
    except Exception as error:  # of many classes: a damaged file is found out by what reads it
        hint = "" if download else "; --data.download true fetches it"
        fault = str(error) or type(error).__name__
        why = f"no usable {kind.__name__} below {Path(root).absolute()}{hint} ({fault})"
        raise ConfigError([f"data.root = {root!r}: {why}"]) from None
