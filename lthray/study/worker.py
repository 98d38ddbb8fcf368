"""What a worker does with one trial: run it, report each round, enter how it ended.

Both runners use this, so a study has the same failures and the same ledger with Ray and without.
Runners are handed the source of trials and the function that runs one by whoever starts a study, so
that they need to know neither.
"""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from lthray.config.trial import TrialConfig
from lthray.core.record import Progress, Round
from lthray.core.store import Store
from lthray.study.call import Call
from lthray.study.comparators import pruned
from lthray.study.failures import CLASSES, class_of, described
from lthray.study.ledger import DONE, FAILED, STOPPED, Ledger
from lthray.study.pulse import Heart
from lthray.study.space import Words
from lthray.study.terminal import Shared


class Run(Protocol):
    """The function that runs a trial; see lthray.trial.run."""

    def __call__(
        self,
        config: TrialConfig,
        store: Store,
        *,
        anchors: tuple[int, ...] = (),
        progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Round]:
        """Run `config`, or go on with it, and yield each round once it is stored.

        `anchors` are further steps of the dense run to keep; `progress` is told where the trial
        stands, each time that a state was committed.
        """


@dataclass(frozen=True)
class Job:
    """A trial as a worker receives it: plain values, so that it can cross to another machine."""

    number: int
    name: str
    words: Words
    """Words of the config, those of places too."""
    root: str
    """Folder of the store."""
    call: str
    """Key of the ledger."""
    threads: int
    gpus: float
    """Share of a GPU, or their number; 0 leaves the memory of a GPU unlimited."""
    note: str = ""
    """What is to be said when it is handed out."""


@dataclass(frozen=True)
class DenseRun:
    """A dense network that several trials need, as a worker receives it."""

    words: Words
    """Words of the config, those of places too."""
    anchors: tuple[int, ...]
    """Steps at which trials want its checkpoints."""
    shown: Shared
    """Its training run, as it is shown."""


class Source(Protocol):
    """What hands out the trials of a call; see lthray.study.queue.Queue."""

    call: Call

    @property
    def root(self) -> str:
        """Folder of the store."""

    @property
    def left(self) -> int:
        """Number of trials to run."""

    def again(self) -> "Source":
        """Return a new source of the same call, as its ledger stands now."""

    def shared(self) -> list[DenseRun]:
        """Return what several trials need and the store does not have yet, in order."""

    def jobs(self, gpus: float) -> Iterator[Job]:
        """Hand out all trials that are left, each entered in the ledger before it is made."""

    def goes_on(self, number: int, rung: int, score: float) -> bool:
        """Return whether a search lets trial `number` go on after `rung`."""


def settle(threads: int, gpus: float) -> None:
    """Take `threads` CPU threads and, of a GPU that is shared, no more memory than `gpus` of it."""
    torch.set_num_threads(threads)
    if 0 < gpus < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpus)


def work(
    job: Job,
    run: Run,
    report: Callable[[Round], bool],
    progress: Callable[[Progress], None] | None = None,
) -> str:
    """Run one trial, enter in the ledger how it ended, and return that: DONE, STOPPED or FAILED.

    `report` is told each round once it is stored (of a trial with a ladder, those after the dense
    one) and returns whether the trial goes on; whoever says no has entered why. Raises what ended
    the trial where it should be tried again; see lthray.study.failures. A trial that has ended is
    not run.
    """
    settle(job.threads, job.gpus)
    store = Store(job.root)
    ledger = Ledger(store, job.call)
    if end := ledger.end(job.number):
        return end.status
    try:
        config = TrialConfig.from_flat(job.words)
        with Heart(store.root, f"trial {job.number} {job.name}") as heart:
            for r in run(config, store, progress=both(heart.reached, progress)):
                heart.measured(r)
                if not _is_reference(r, config) and not report(r):
                    return STOPPED
        ledger.finish(job.number, DONE)
        return DONE
    except Exception as error:
        kind = class_of(error)
        row = CLASSES[kind]
        if not row.stays or (row.tries and ledger.happened(job.number, kind) <= row.tries):
            raise
        times = f" ({kind}, {1 + row.tries} times)" if row.tries else ""
        trace, reason = traceback.format_exc(), f"{described(error)}{times}"
        ledger.finish(job.number, FAILED, reason, trace=trace, kind=kind)
    return FAILED


def both(
    first: Callable[[Progress], None], second: Callable[[Progress], None] | None
) -> Callable[[Progress], None]:
    """Return a function that tells both, the second if there is one."""

    def tell(progress: Progress) -> None:
        first(progress)
        if second:
            second(progress)

    return tell


def _is_reference(r: Round, config: TrialConfig) -> bool:
    """Return whether a round is the dense one of a trial with a ladder, which nothing decides."""
    return r.index == 0 and pruned(config)


def train_dense(
    dense: DenseRun, store: Store, run: Run, progress: Callable[[Progress], None] | None = None
) -> None:
    """Train and measure a dense network, keeping the checkpoints that trials want."""
    config = TrialConfig.from_flat(dense.words)
    with Heart(store.root, dense.shown.name) as heart:
        told = both(heart.reached, progress)
        for _ in run(config, store, anchors=dense.anchors, progress=told):
            return
