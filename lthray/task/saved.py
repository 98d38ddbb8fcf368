"""What is in a folder of weights: the files that are read, or what is there instead of them.

A folder is a network as diffusers saves it (whole, in shards, or of one variant such as fp16), a
pipeline with such a network, or one file of the network's own names.
"""

import fnmatch
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

STEM = "diffusion_pytorch_model"
UNET = f"{STEM}.safetensors"
PLAIN = "model.safetensors"
CONFIG = "config.json"
INDEX = "model_index.json"
SHARDS = f"{UNET}.index.json"
SCHEDULERS = ("scheduler/scheduler_config.json", "scheduler_config.json")
CLASSES = {"unet": "UNet2DModel", "vae": "AutoencoderKL"}
SHOWN = 6  # names of what is there, at most
PICKLES = (b"PK\x03\x04", b"\x80")  # of torch.save as it is and as it was: a zip, or bare
BY_DIFFUSERS = re.compile(rf"{STEM}(\.(?P<variant>\w+))?(-\d+-of-\d+)?\.bin")
"""Name of a pickle that diffusers has saved: the whole, or a shard, perhaps of a variant."""
POINTER = b"version https://git-lfs"  # begins what Git LFS keeps in the place of a large file
CONVERSION = (
    "import sys, torch, safetensors.torch as s; "
    "s.save_file({n: t.contiguous() for n, t in "
    "torch.load(sys.argv[1], weights_only=True).items()}, sys.argv[2])"
)


@dataclass(frozen=True)
class SourceFiles:
    """The files of a user's weights that are read."""

    weights: tuple[Path, ...]
    """One file, or the shards of one network in order."""
    config: Path | None
    """Architecture of a network that diffusers saved."""
    scheduler: Path | None
    """Noise schedule of a pipeline."""


def in_file(file: Path) -> SourceFiles:
    """Return weights alone, with the noise of the pipeline that they lie in, if any."""
    return SourceFiles((file,), None, _scheduler_of(file.parent))


def in_folder(folder: Path, part: str) -> SourceFiles | None:
    """Return the files of a saved network, or of `part` of a pipeline; None where there are none.

    The first pipelines on the Hub hold the files of their network beside their index.
    """
    inside = (folder / INDEX).is_file() and (folder / part).is_dir()
    network = folder / part if inside else folder
    weights = _weights_in(network)
    if weights and (network / CONFIG).is_file():
        return SourceFiles(weights, network / CONFIG, _scheduler_of(network))
    if (folder / PLAIN).is_file():
        return SourceFiles((folder / PLAIN,), None, None)
    return None


def _weights_in(folder: Path) -> tuple[Path, ...]:
    """Return the files of a network's weights: the whole, else its shards, else one variant."""
    if (folder / UNET).is_file():
        return (folder / UNET,)
    listed = _shards_in(folder)
    if listed:
        return listed
    variants = sorted(folder.glob(f"{STEM}.*.safetensors"))
    return tuple(variants) if len(variants) == 1 else ()


def _shards_in(folder: Path) -> tuple[Path, ...]:
    """Return the shards that an index names, if all of them are there, beside it."""
    try:
        index = json.loads(_index_in(folder).read_bytes())
        names = sorted(set(index["weight_map"].values()))
        shards = [folder / name for name in names if Path(name).name == name]
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return ()
    return tuple(shards) if len(shards) == len(names) and _all_there(shards) else ()


def _index_in(folder: Path) -> Path:
    """Return the index of the shards of a network: that of the whole, else of its one variant."""
    whole, variants = folder / SHARDS, sorted(folder.glob(f"{UNET}.index.*.json"))
    return variants[0] if len(variants) == 1 and not whole.is_file() else whole


def _all_there(files: list[Path]) -> bool:
    return all(file.is_file() for file in files)


def _scheduler_of(network: Path) -> Path | None:
    """Return the noise schedule of the pipeline that a folder is, or that it is a part of."""
    for pipeline in (network, network.parent):
        for name in SCHEDULERS if (pipeline / INDEX).is_file() else SCHEDULERS[:1]:
            if (pipeline / name).is_file():
                return pipeline / name
    return None


def instead(folder: Path, part: str) -> str:
    """Return why a folder will not do: what it lacks, what is there, and the way out."""
    wanted = f"has no {UNET} with its {CONFIG}, nor a {PLAIN}"
    return "; ".join([wanted, *_ways_out(folder, part)])


def _ways_out(folder: Path, part: str) -> Iterator[str]:
    """Yield what can be done with what is in a folder; what is there, where nothing can."""
    below = [*sorted(folder.glob("*/")), *sorted(folder.glob("*/*/"))]
    parts = [shlex.quote(str(at)) for at in below if in_folder(at, part)]
    if parts:
        more = ["..."] if len(parts) > SHOWN else []
        places = " or ".join([*parts[:SHOWN], *more])
        yield f"its folders hold networks ({len(parts)}), name one: {places}"
        return
    inside = folder / part
    yield _in_network(inside if inside.is_dir() else folder, part)


def _in_network(network: Path, part: str) -> str:
    """Return what a folder holds in place of the files of a network, and the way out."""
    names = sorted(path.name for path in network.iterdir())
    variants = fnmatch.filter(names, f"{STEM}*safetensors")
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    indices = fnmatch.filter(names, f"{UNET}.index*.json")
    if indices:
        return f"shards that {indices[0]} names are missing"
    if variants:
        missing = "" if CONFIG in names else f", and {CONFIG} is not there"
        return f"there are {', '.join(variants[:SHOWN])}: name one file{missing}"
    if pickles:
        return f"{pickles[0]} {_converted(network, pickles[0], part)}"
    more = ["..."] if len(names) > SHOWN else []
    return f"there is {', '.join([*names[:SHOWN], *more]) or 'nothing'}"


def _converted(network: Path, name: str, part: str) -> str:
    """Return how the pickle `name` of a network that diffusers saved becomes safetensors."""
    saved = BY_DIFFUSERS.fullmatch(name)
    if not saved:
        return pickled(network / name) or "is no file of weights that is known here"
    kind, place = CLASSES[part], str(network)
    words = f"{place!r}, use_safetensors=False, variant={saved['variant']!r}"
    code = f"from diffusers import {kind}; {kind}.from_pretrained({words})"
    command = shlex.join(["python", "-c", f"{code}.save_pretrained({place!r})"])
    return f"is a pickle, which can run code and is never loaded; convert it once:  {command}"


def tensors_in(files: Iterable[Path]) -> dict[str, Tensor]:
    """Return the tensors in files of one network; ValueError with the reason for no safetensors."""
    stored: dict[str, Tensor] = {}
    for path in files:
        try:
            stored |= load_file(path)
        except Exception as error:  # whatever safetensors raises, the file cannot be used
            why = _pointed(path) or f"{type(error).__name__}: {error}"
            raise ValueError(why) from None
    return stored


def _pointed(path: Path) -> str:
    """Return what to do with a file that only points to another; of any other, nothing."""
    with open(path, "rb") as file:
        is_pointer = file.read(len(POINTER)) == POINTER
    return "is a pointer of Git LFS and not the file: run `git lfs pull` there" * is_pointer


def pickled(path: str | Path) -> str:
    """Return what to do with a file that torch has pickled, which is never loaded; else nothing."""
    with open(path, "rb") as file:
        begin = file.read(9)
    is_safe = begin.endswith(b"{")  # safetensors: the length of a header in eight bytes, the header
    if is_safe or not begin.startswith(PICKLES):
        return ""
    target = Path(path).with_suffix(".safetensors")
    command = shlex.join(["python", "-c", CONVERSION, str(path), str(target)])
    return f"is a pickle, which can run code and is never loaded; convert it once:  {command}"
