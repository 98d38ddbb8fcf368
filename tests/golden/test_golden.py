"""Keys and results of small trials are as they were recorded: what changes one of them must be meant."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from lthray.config.trial import TrialConfig
from lthray.core.store import Store
from lthray.trial import checkpoints
from lthray.trial.making import Making
from lthray.trial.recipe import trajectory
from lthray.trial.run import make_round, prepare

from .table import TABLE

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """Hash names, dtypes and bytes of some tensors."""
    h = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        h.update(name.encode() + str(tensor.dtype).encode() + tensor.numpy().tobytes())
    return h.hexdigest()[:16]


@cache
def ticket(name: str, index: str, folder: Path) -> str:
    """Write the ticket of a round of a trial of the table, and return its path."""
    store = Store(folder / f"{name}-{index}")
    found = rounds(TrialConfig.from_flat(words(name, folder)), store)
    path = folder / f"{name}-{index}.safetensors"
    path.write_bytes(found[int(index)].files["ticket"])
    return str(path)


def words(name: str, folder: Path) -> dict[str, Any]:
    """Return the words of a trial of the table, its origin as a file."""
    chosen = dict(TABLE[name])
    if "origin" in chosen:
        chosen["origin"] = ticket(*chosen["origin"].split("#"), folder)
    return chosen


def rounds(config: TrialConfig, store: Store) -> dict[int, Any]:
    """Return the rounds of a trial by index."""
    chosen = trajectory(config)
    making = Making(store, "cpu")
    prepare(making, chosen)
    return {rung.index: make_round(making, rung, chosen) for rung in chosen.shown}


def observed(config: TrialConfig, store: Store) -> list[dict[str, Any]]:
    """Return keys, end states, metrics, arrays and files of a trial, as recorded.json has them."""
    made = rounds(config, store)
    rows = []
    for rung in trajectory(config).rungs:
        row: dict[str, Any] = {
            "mask": rung.mask.key[:16],
            "chain": rung.chain.key[:16],
            "shown": rung.shown.key[:16],
        }
        for which, run in (("chain", rung.chain), ("shown", rung.shown)):
            state = checkpoints.load(store, run, run.span[1], lambda kind, item: None)
            row[f"{which}_end"] = state and [digest(state.weights), digest(state.average)]
        if rung.index in made:
            r = made[rung.index]
            row |= {"density": r.density, "metrics": dict(r.metrics)}
            row["arrays"] = {name: digest({name: array}) for name, array in r.arrays.items()}
            row["files"] = {
                name: hashlib.sha256(file).hexdigest()[:16] for name, file in r.files.items()
            }
        rows.append(row)
    return rows


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("golden")


@pytest.mark.parametrize("name", TABLE)
def test_a_trial_is_as_it_was_recorded(name, folder, tmp_path):
    torch.set_num_threads(1)
    found = observed(TrialConfig.from_flat(words(name, folder)), Store(tmp_path / "store"))
    want = RECORDED[name]
    assert len(found) == len(want) > 0
    for row, expected in zip(found, want, strict=True):
        for word in ("mask", "chain", "shown", "density"):
            assert row.get(word) == expected.get(word), word
        for word in ("chain_end", "shown_end"):
            assert row[word] == expected[word], word
        for group in ("metrics",):
            for key, value in expected.get(group, {}).items():
                assert row[group][key] == value, key
        for key, value in expected.get("arrays", {}).items():
            if key != "curve":
                assert row["arrays"][key] == value, key
