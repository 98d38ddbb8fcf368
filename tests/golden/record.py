"""Record the golden table anew: `python -m tests.golden.record`, after a change that is meant.

Prints what differs from what was recorded, so that the commit can say why.
"""

import hashlib
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import torch

from lthray.config.trial import TrialConfig
from lthray.core.store import Store

from .table import TABLE
from .trials import observed, words

PLACE = Path(__file__).parent / "recorded.json"
PROBE = Path(__file__).parent / "probe.txt"
"""How the CPU of the record rounds; see `probe`."""
BITS = ("chain_end", "shown_end", "arrays", "files")
"""Digests of end states, arrays and files, which another kind of CPU rounds otherwise."""
EXACT, ROUNDED, COUNTED = (1e-6, 1e-9), (0.02, 0.005), (0.1, 0.1)
"""Relative and absolute tolerance: on the CPU of the record; on another; on another of metrics that
count samples, or compare a few. One weight in a tie may be cut there that is kept here."""
FEW = ("quality/", "floor/")  # how metrics begin that count samples


def probe() -> str:
    """Return a digest of what torch alone makes of a few training steps.

    Kinds of CPU round otherwise. Where this digest is that of the record, so are all bits.
    """
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(1, 16, 3), torch.nn.GroupNorm(4, 16), torch.nn.SiLU())
    network = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(576, 64))
    optimizer = torch.optim.AdamW(network.parameters())
    for _ in range(4):
        images = torch.randn(8, 1, 8, 8)
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()
    weights = b"".join(w.detach().numpy().tobytes() for w in network.parameters())
    return hashlib.sha256(weights).hexdigest()


def main() -> None:
    """Run every trial of the table, print the differences, write recorded.json."""
    torch.set_num_threads(1)
    PROBE.write_text(probe() + "\n")
    before = json.loads(PLACE.read_text()) if PLACE.is_file() else {}
    recorded: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="lthray-golden-"))
    for name in TABLE:
        with tempfile.TemporaryDirectory(prefix="lthray-golden-") as store:
            config = TrialConfig.from_flat(words(name, folder))
            recorded[name] = observed(config, Store(Path(store) / "store"))
        for line in differences(before.get(name, []), recorded[name]):
            print(f"{name}: {line}", flush=True)
    rows = []
    for name, trial in recorded.items():
        rows.append(f"{json.dumps(name)}: {json.dumps(trial, separators=(',', ':'))}")
    PLACE.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def differences(
    before: list[dict[str, Any]], after: list[dict[str, Any]], *, bits: bool = True
) -> list[str]:
    """Return a line for each thing that was recorded otherwise.

    Without `bits`, on another kind of CPU, keys and masks are equal, and numbers but for rounding.
    """
    lines = []
    if len(before) != len(after):
        lines.append(f"{len(before)} rounds before, {len(after)} now")
    for index, (old, new) in enumerate(zip(before, after, strict=False)):
        for word, value in old.items():
            if word in BITS and not bits:
                continue
            if isinstance(value, dict):
                for key, number in value.items():
                    if not _alike(number, new[word].get(key), _tolerance(key, bits)):
                        lines.append(
                            f"round {index} {word} {key}: {number} -> {new[word].get(key)}"
                        )
            elif new.get(word) != value:
                lines.append(f"round {index} {word}: {value} -> {new.get(word)}")
    return lines


def _tolerance(metric: str, bits: bool) -> tuple[float, float]:
    """Return the relative and the absolute tolerance of a metric."""
    if bits:
        return EXACT
    return COUNTED if metric.startswith(FEW) else ROUNDED


def _alike(number: Any, other: Any, tolerance: tuple[float, float]) -> bool:
    """Return whether two recorded values are equal, floats but for rounding."""
    if isinstance(number, float) and isinstance(other, float):
        relative, absolute = tolerance
        return math.isclose(number, other, rel_tol=relative, abs_tol=absolute)
    return bool(number == other)


if __name__ == "__main__":
    main()
