"""What the tests share: one thread, and a trial so small that a whole trajectory takes a second."""

import os
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # for every thread of torch, and for processes that tests start

import pytest
import torch
from scipy import special
from torch import nn

from lthray.config.parts import Objective
from lthray.config.trial import TrialConfig
from lthray.core.record import Progress, Round
from lthray.core.store import Store
from lthray.core.ticket import Probe
from lthray.findings import stats
from lthray.task.objectives import OBJECTIVES
from lthray.trial.makers import KINDS
from lthray.trial.making import Making
from lthray.trial.recipe import trajectory
from lthray.trial.run import prepare, run
from lthray.trial.trajectory import Trajectory

TINY: dict[str, Any] = {
    "model.channels": (8,),
    "model.groups": 4,
    "train.steps": 8,
    "train.batch": 8,
    "train.ema": 0.2,
    "rewind.fraction": 0.25,
    "prune.ladder": (0.5, 0.3),
    "measure.images": 8,
    "measure.timesteps": 4,
    "measure.checkpoints": 2,
    "measure.samples": 0,
}
TINY_LENET: dict[str, Any] = {
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


@pytest.fixture(scope="session", autouse=True)
def the_disk_is_not_waited_for():
    """Let nothing of this process wait until its files are on the disk: no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def quick(monkeypatch):
    """Compute Student's distribution by the functions of scipy that check no arguments."""
    monkeypatch.setattr(stats.scipy.stats.t, "cdf", lambda x, df: special.stdtr(df, x))
    monkeypatch.setattr(stats.scipy.stats.t, "ppf", lambda q, df: special.stdtrit(df, q))


def tiny(**words) -> TrialConfig:
    """Return a tiny denoising trial; words with __ for the dot."""
    changed = {word.replace("__", "."): value for word, value in words.items()}
    return TrialConfig.from_flat(TINY | changed)


def lenet(**words) -> TrialConfig:
    """Return a tiny classification trial; words with __ for the dot."""
    changed = {word.replace("__", "."): value for word, value in words.items()}
    return TrialConfig.from_flat(TINY_LENET | changed)


def probe_of(
    network: nn.Module, objective: str = "denoise", images: int = 16, terms: int = 2, **words
) -> Probe:
    """Return what a criterion may see of a network: random images, and random weights of before."""
    g = torch.Generator().manual_seed(3)
    x = torch.rand(images, 1, 8, 8, generator=g) * 2 - 1
    y = torch.randint(0, 10, (images,), generator=g)
    task = OBJECTIVES[objective].task(Objective(), "cpu")
    seen = list(task.terms(x, y, terms, 0))
    closures = tuple(
        lambda inputs=inputs: task.errors(network, *inputs).mean() for inputs, _ in seen
    )
    before = {name: torch.roll(p.detach(), 1, 0) for name, p in network.named_parameters()}
    targets = tuple(target for _, target in seen)
    return Probe(closures, targets, task.example(x[:1]), **{"before": before, **words})


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the tier of the pretended device, unless it is named.

    Torch must know of a device before the first gradient of a process, so `test_accelerator.py`
    gives the tier a process of its own.
    """
    is_named = any("accelerator" in argument for argument in config.args)
    return True if collection_path.name == "accelerator" and not is_named else None


FIRST = (
    *("test_study.py", "test_pages.py", "test_analysis.py", "test_cli.py", "test_notebooks.py"),
    *("test_accelerator.py", "test_trajectory.py", "test_recording.py", "test_graph.py"),
)
"""Files that take longest: begun first, so that no process waits for them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first."""
    order = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(FIRST)))


def rounds(config: TrialConfig, store: Store, **options) -> list[Round]:
    """Return all rounds of a trial."""
    return list(run(config, store, device="cpu", **options))


def making_of(config: TrialConfig, store: Store, **options) -> tuple[Making, Trajectory]:
    """Return what makes the steps of a trial, and the trial's steps."""
    chosen = trajectory(config)
    making = Making(KINDS, store, "cpu", **options)
    prepare(making, chosen)
    return making, chosen


class Killed(Exception):
    """A trial was stopped where a state had been committed."""


def resumed(config: TrialConfig, store: Store, device: torch.device | str = "cpu") -> list[Round]:
    """Return the rounds of a trial that is killed at each commit and round, and begun again."""

    def kill(progress: Progress) -> None:
        raise Killed

    found: list[Round] = []
    count = len(config.rungs or config.prune.ladder) + 1
    if config.origin:
        count = 2
    while len(found) < count:
        trial = run(config, store, device=device, commit=0.0, progress=kill)
        try:
            again = [next(trial) for _ in range(len(found) + 1)]
        except Killed:
            continue
        finally:
            trial.close()
        found.append(again[-1])
    return found


def same(a: Round, b: Round) -> bool:
    """Return whether two rounds are equal bit for bit, but for the clock."""
    timed = ("cost/train_seconds", "cost/measure_seconds")
    metrics = [{n: v for n, v in r.metrics.items() if n not in timed} for r in (a, b)]
    curves = [[[*point] for point in r.curve] for r in (a, b)]
    arrays = a.arrays.keys() == b.arrays.keys()
    for name in a.arrays if arrays else ():
        arrays = arrays and torch.equal(a.arrays[name], b.arrays[name])
    equal = metrics[0] == metrics[1] and curves[0] == curves[1] and arrays
    return equal and a.files == b.files and a.keys == b.keys and a.densities == b.densities
