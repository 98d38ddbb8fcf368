"""Record the golden table anew: `python -m tests.golden.record`, after a change that is meant.

Prints what differs from what was recorded, so that the commit can say why.
"""

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


def main() -> None:
    """Run every trial of the table, print the differences, write recorded.json."""
    torch.set_num_threads(1)
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


def differences(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    """Return a line for each thing that was recorded otherwise.

    Numbers are equal to a millionth: judges round otherwise on another kind of CPU.
    """
    lines = []
    if len(before) != len(after):
        lines.append(f"{len(before)} rounds before, {len(after)} now")
    for index, (old, new) in enumerate(zip(before, after, strict=False)):
        for word, value in old.items():
            if isinstance(value, dict):
                for key, number in value.items():
                    if not _alike(number, new[word].get(key)):
                        lines.append(
                            f"round {index} {word} {key}: {number} -> {new[word].get(key)}"
                        )
            elif new.get(word) != value:
                lines.append(f"round {index} {word}: {value} -> {new.get(word)}")
    return lines


def _alike(number: Any, other: Any) -> bool:
    """Return whether two recorded values are equal, floats but for rounding."""
    if isinstance(number, float) and isinstance(other, float):
        return math.isclose(number, other, rel_tol=1e-6, abs_tol=1e-9)
    return bool(number == other)


if __name__ == "__main__":
    main()
