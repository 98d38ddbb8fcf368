"""What the tests share: one thread, and a trial so small that a whole trajectory takes a second."""

import pytest
import torch
from torch import nn

from lthray.config.trial import Objective, TrialConfig
from lthray.core.store import Store
from lthray.core.ticket import Probe, Round
from lthray.task.objectives import OBJECTIVES
from lthray.trial.trajectory import run

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


def probe_of(network: nn.Module, objective: str = "denoise", images: int = 16, terms: int = 2, **words) -> Probe:
    """What a criterion may see of a network: random images, and what it began from if nothing else is said."""
    g = torch.Generator().manual_seed(3)
    x, y = torch.rand(images, 1, 8, 8, generator=g) * 2 - 1, torch.randint(0, 10, (images,), generator=g)
    task = OBJECTIVES[objective](Objective(), "cpu")
    seen = list(task.terms(x, y, terms))
    closures = tuple(lambda inputs=inputs: task.errors(network, *inputs).mean() for inputs, _ in seen)
    before = {name: torch.roll(p.detach(), 1, 0) for name, p in network.named_parameters()}
    return Probe(closures, tuple(t for _, t in seen), task.example(x[:1]), **{"before": before, **words})


def rounds(config: TrialConfig, store: Store, **options) -> list[Round]:
    """All rounds of a trial."""
    return [event for event in run(config, store, device="cpu", **options) if isinstance(event, Round)]


def same(a: Round, b: Round) -> bool:
    """Equal bit for bit, but for the clock."""
    timed = ("cost/train_seconds", "cost/measure_seconds")
    metrics = [{n: v for n, v in r.metrics.items() if n not in timed} for r in (a, b)]
    arrays = a.arrays.keys() == b.arrays.keys() and all(torch.equal(a.arrays[n], b.arrays[n]) for n in a.arrays)
    return metrics[0] == metrics[1] and arrays and a.files == b.files and a.keys == b.keys and a.densities == b.densities
