"""What the tests share: one thread, and a trial so small that a whole trajectory takes a second."""

import pytest
import torch

from lthray.config import TrialConfig
from lthray.store import Store
from lthray.ticket import Round
from lthray.trajectory import run

TINY = {
    "model.channels": (8,),
    "model.groups": 4,
    "train.steps": 8,
    "train.batch": 8,
    "train.ema": 0.9,
    "rewind.fraction": 0.25,
    "prune.ladder": (0.5, 0.3),
    "measure.images": 8,
    "measure.timesteps": 4,
    "measure.checkpoints": 2,
    "measure.samples": 0,
}
TINY_LENET = {
    "model.name": "lenet300",
    "model.hidden": (20, 10),
    "objective.name": "classify",
    "train.steps": 40,
    "train.batch": 20,
    "rewind.fraction": 0.25,
    "prune.ladder": (0.5, 0.3),
    "measure.images": 50,
    "measure.checkpoints": 2,
    "measure.samples": 0,
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def tiny(**words) -> TrialConfig:
    """A tiny denoising trial; words with __ for the dot."""
    return TrialConfig.from_flat(TINY | {word.replace("__", "."): value for word, value in words.items()})


def lenet(**words) -> TrialConfig:
    """A tiny classification trial."""
    return TrialConfig.from_flat(TINY_LENET | {word.replace("__", "."): value for word, value in words.items()})


def rounds(config: TrialConfig, store: Store, **options) -> list[Round]:
    """All rounds of a trial."""
    return [event for event in run(config, store, device="cpu", **options) if isinstance(event, Round)]


def same(a: Round, b: Round) -> bool:
    """Equal bit for bit, but for the clock."""
    timed = ("cost/train_seconds", "cost/measure_seconds")
    metrics = [{n: v for n, v in r.metrics.items() if n not in timed} for r in (a, b)]
    arrays = a.arrays.keys() == b.arrays.keys() and all(torch.equal(a.arrays[n], b.arrays[n]) for n in a.arrays)
    return metrics[0] == metrics[1] and arrays and a.files == b.files and a.keys == b.keys and a.densities == b.densities
