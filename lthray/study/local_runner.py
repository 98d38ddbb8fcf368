"""A call in this process, without Ray: for a debugger, for notebooks and for tests.

Ledger, queue, search decisions and failures are those of a study on Ray with one trial at a time.
"""

import contextlib
from collections.abc import Callable

from lthray.core.backends import DiskFull
from lthray.core.record import Progress, Round
from lthray.core.store import Store
from lthray.study.failures import RETRIES, class_of, described, device_answers
from lthray.study.results import round_line
from lthray.study.signals import STOPPING, handled, interrupt
from lthray.study.space import score_of
from lthray.study.terminal import Watch
from lthray.study.worker import (
    Job,
    Run,
    Source,
    settle,
    train_dense,
    work,
)

ANY_GPU = 0.0  # trials run one after another, so none needs a bound on the memory of a GPU


def execute(queue: Source, run: Run, watch: Watch) -> bool:
    """Run what is unfinished of a call; returns whether it was interrupted.

    Trials run one after another, each by `run`. Ctrl-C and SIGTERM leave everything resumable.
    """
    runner = _Runner(queue, run, watch)
    try:
        with handled(interrupt):
            runner.prepare()
            runner.work_off()
    except KeyboardInterrupt:
        watch.say(STOPPING)
        return True
    return False


class _Runner:
    """Runs the trials of a queue in this process."""

    def __init__(self, queue: Source, run: Run, watch: Watch):
        self.queue, self.run, self.watch = queue, run, watch

    def prepare(self) -> None:
        """Make what several trials share, so that no dense run is trained for each of them."""
        shared = self.queue.shared()
        if shared:
            self.watch.expect([dense.shown for dense in shared])
        settle(self.queue.call.options.cpus_per_trial, ANY_GPU)
        for dense in shared:
            # a failure here comes again, and is told, in the trials themselves
            with contextlib.suppress(Exception):
                train_dense(dense, Store(self.queue.root), self.run, self.progress)

    def work_off(self) -> None:
        """Run the trials; one of a search is drawn when the one before it has ended."""
        for job in self.queue.jobs(ANY_GPU):
            if job.note:
                self.watch.say(job.note)
            self.attempt(job)

    def attempt(self, job: Job) -> None:
        """Run one trial, again where its machine failed it.

        One that was tried in vain stays unfinished.
        """
        for more in reversed(range(1 + RETRIES)):
            try:
                work(job, self.run, self.reporter(job), self.progress)
                return
            except DiskFull:
                raise
            except Exception as error:  # `work` raises what is to be tried again
                then = "trying again" if more else "left unfinished"
                fault = f"{described(error)} ({class_of(error)})"
                self.watch.say(f"trial {job.number} {job.name}: {fault}; {then}")
                if not device_answers():
                    self.watch.say("only a fresh process can use the GPU again")
                    raise KeyboardInterrupt from None

    def reporter(self, job: Job) -> Callable[[Round], bool]:
        """Return what is told each round of a trial, and says whether it goes on."""
        call = self.queue.call

        def report(r: Round) -> bool:
            name = f"trial {job.number} {job.name}"
            self.watch.update()
            self.watch.say(round_line(name, r.index, call.rungs, r.metrics))
            return self.queue.goes_on(job.number, r.index, score_of(r.metrics, r.index))

        return report

    def progress(self, _reached: Progress) -> None:
        """Show how far the study is."""
        self.watch.update()
