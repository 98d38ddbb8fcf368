"""What bits depend on beside the key: torch, the device, its modes; and what was made on another.

It is recorded with every object and never hashed. Numbers of two devices differ by rounding, and
where a device draws for training, by what was drawn. So an object that comes from steps made on
another says so, and whoever compares rounds can tell (`lthray.core.record.unlike`).
"""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import torch

from lthray.core.store import Store
from lthray.trial.steps import STORED, Step

Fingerprint = Mapping[str, Any]

ASIDE = ("judge", "deep", "latents", "data", "file")
"""Kinds that serve all networks of a study alike: where they were made sets none apart."""
CHIPS: dict[str, Callable[[torch.device], str]] = {
    "cpu": lambda device: torch.backends.cpu.get_cpu_capability(),
    "cuda": torch.cuda.get_device_name,
}
USUAL = {
    "float32": "matmul ieee, convolution ieee",
    "deterministic": "False",
    "autocast": "False",
}
"""Modes of a CPU as torch begins, which are left out."""


def settle_algorithms(device: torch.device) -> None:
    """Let torch use, on a GPU, the algorithms that give equal bits each time, where it has them.

    On a CPU all do. Where there is none for an operation, torch warns, and trials of such a network
    are equal up to rounding. The fused kernels of attention have none, and are not used.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS begins
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def fingerprint(device: torch.device) -> dict[str, Any]:
    """Return word -> value of all that bits made on `device` depend on beside the key."""
    chip = CHIPS.get(device.type, str)(device)
    made = {"device": f"{device.type} {chip}", "threads": torch.get_num_threads()}
    modes = dict(sorted(_modes(device).items() - USUAL.items()))
    return {"torch": torch.__version__, **made, **modes}


def _modes(device: torch.device) -> dict[str, str]:
    """Return the precision of float32 products, such as TF32, autocast, and determinism."""
    backends: Any = torch.backends
    deterministic = str(torch.are_deterministic_algorithms_enabled())
    modes = {"deterministic": deterministic, "autocast": str(_autocast(device.type))}
    if device.type != "cuda":
        return modes | {"float32": _products(backends.mkldnn.matmul, backends.mkldnn.conv)}
    cudnn = backends.cudnn
    algorithms = f"deterministic {cudnn.deterministic}, benchmark {cudnn.benchmark}"
    versions = {"cuda": str(torch.version.cuda), "cudnn": f"{cudnn.version()}, {algorithms}"}
    return modes | versions | {"float32": _products(backends.cuda.matmul, cudnn.conv)}


def _products(matmul: Any, convolution: Any) -> str:
    asked = f"matmul {matmul.fp32_precision}, convolution {convolution.fp32_precision}"
    return asked.replace("none", "ieee")  # nothing was asked: they are exact


def _autocast(kind: str) -> torch.dtype | bool:
    """Return the type to which products are cast all over this process, or False."""
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)


class Machines:
    """Knows on what the steps in a store were made, and reads each object once."""

    def __init__(self, store: Store):
        self.store = store
        self._made = cache(self._read)

    def beside(self, step: Step, own: Fingerprint) -> list[Fingerprint]:
        """Return the fingerprints, unlike `own`, of what a step comes from, each once.

        A training run comes from its own states too: it may have been begun elsewhere.
        """
        found = {str(own): own}
        for each in _lineage(step):
            parts = tuple(self.store.parts(each.key))
            found |= {str(made): made for made in self._made(each.key, parts)}
        return list(found.values())[1:]

    def _read(self, key: str, parts: tuple[str, ...]) -> list[Fingerprint]:
        """Return what the parts of a key were made on, and what they come from."""
        found: list[Fingerprint] = []
        for part in parts:
            facts = self.store.facts(key, part) or {}
            found += [facts.get("made", {}), *facts.get("beside", ())]
        return found


def _lineage(step: Step) -> Iterator[Step]:
    """Yield a step and what it comes from, of what the store keeps, without what is `ASIDE`."""
    seen: set[tuple[str, str]] = set()
    stack = [step]
    while stack:
        each = stack.pop()
        if each.kind in ASIDE or (each.kind, each.key) in seen:
            continue
        seen.add((each.kind, each.key))
        stack.extend(each.needs)
        if each.kind in STORED:
            yield each
