"""Processes to be killed: they begin at once, as forks of one that has loaded all they need."""

import multiprocessing
import random
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from lthray.config.trial import TrialConfig
from lthray.core.keys import key_of
from lthray.core.store import Store
from lthray.trial.run import run

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["sklearn.datasets", "lthray.task.factories", __name__])


def begin(what: Callable[..., None], *args: Any) -> tuple[BaseProcess, Connection]:
    """Start a function in a process; return the process, and the end at which what it tells is
    received. The function gets `args`, and the other end."""
    receiver, sender = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=what, args=(*args, sender))
    process.start()
    sender.close()
    return process, receiver


def train(words: dict[str, Any], place: Path, told: Connection) -> None:
    """Run a trial in the store at `place`, and tell the kind of each event."""
    torch.set_num_threads(1)

    def tell(event: object) -> None:
        told.send(type(event).__name__)

    config = TrialConfig.from_flat(words)
    for event in run(config, Store(place), device="cpu", commit=0.05, progress=tell):
        tell(event)


def write(place: Path, seed: int, told: Connection) -> None:
    """Write and drop objects in the store at `place` without end."""
    torch.set_num_threads(1)
    store, rng = Store(place), random.Random(seed)
    told.send("ready")
    while True:
        n = rng.randrange(12)
        store.put(key_of("torture", 1, n), facts={"n": n}, tensors={"w": weights(n)})
        if rng.random() < 0.3:
            store.drop(key_of("torture", 1, n))


def weights(n: int) -> torch.Tensor:
    """Return what writers put at the object with number `n`."""
    return torch.randn(20_000, generator=torch.Generator().manual_seed(n))
