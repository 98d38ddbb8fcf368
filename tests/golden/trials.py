"""What is observed of a trial of the golden table: keys, end states, metrics, arrays, files."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lthray.config.trial import TrialConfig
from lthray.core.record import Round
from lthray.core.store import Store
from lthray.trial import checkpoints
from lthray.trial.makers import KINDS
from lthray.trial.making import Making
from lthray.trial.recipe import trajectory
from lthray.trial.run import make_round, prepare
from lthray.trial.steps import Step

from .table import TABLE

TIMED = ("cost/train_seconds", "cost/measure_seconds")


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
    made = rounds(TrialConfig.from_flat(words(name, folder)), store)
    path = folder / f"{name}-{index}.safetensors"
    path.write_bytes(made[int(index)].files["ticket"])
    return str(path)


def words(name: str, folder: Path) -> dict[str, Any]:
    """Return the words of a trial of the table, its origin as a file in `folder`."""
    chosen = dict(TABLE[name])
    if "origin" in chosen:
        chosen["origin"] = ticket(*chosen["origin"].split("#"), folder)
    return chosen


def rounds(config: TrialConfig, store: Store) -> dict[int, Round]:
    """Return the rounds of a trial by index."""
    chosen = trajectory(config)
    making = Making(KINDS, store, "cpu")
    prepare(making, chosen)
    return {rung.index: make_round(making, rung, chosen) for rung in chosen.shown}


def observed(config: TrialConfig, store: Store) -> list[dict[str, Any]]:
    """Run a trial and return a row for each rung, as recorded.json has them."""
    made = rounds(config, store)
    rows = []
    for rung in trajectory(config).rungs:
        row: dict[str, Any] = {}
        for word, step in (("mask", rung.mask), ("chain", rung.chain), ("shown", rung.shown)):
            row[word] = step.key[:16]
        for word, run in (("chain_end", rung.chain), ("shown_end", rung.shown)):
            row[word] = end_of(run, store)
        if rung.index in made:
            row |= observed_round(made[rung.index])
        rows.append(row)
    return rows


def end_of(run: Step, store: Store) -> list[str] | None:
    """Return the digests of weights and average at the end of a training run, None where it was not
    trained; of a run that is chosen, those of all that it is chosen from."""
    if run.kind == "choose":
        candidates = [end_of(step, store) for step in run.parents if step.kind == "train"]
        return [each for end in candidates for each in end or ()]
    state = checkpoints.load(store, run, run.span[1], lambda item: None)
    return state and [digest(state.weights), digest(state.average)]


def observed_round(r: Round) -> dict[str, Any]:
    """Return what is kept of a round: all but the clock, long things by their digest."""
    metrics = {name: value for name, value in sorted(r.metrics.items()) if name not in TIMED}
    arrays = {name: digest({name: array}) for name, array in sorted(r.arrays.items())}
    files = {name: hashlib.sha256(file).hexdigest()[:16] for name, file in sorted(r.files.items())}
    return {"density": r.density, "metrics": metrics, "arrays": arrays, "files": files}
