"""A call -> Ray Tune trials: the only file that knows Tune.

The store is the truth and Tune only schedules: no Tune checkpoint, no Tune restore. A worker
commits each round to the store before it reports it; going on is giving a new Tuner what the ledger
says is unfinished.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lthray.core.backends import DiskFull
from lthray.core.record import Round
from lthray.core.store import Store
from lthray.study import handshake
from lthray.study.cluster import Site, lost, ray, tune
from lthray.study.cluster import cluster as cluster
from lthray.study.failures import RETRIES, device_answers
from lthray.study.handshake import Greeting
from lthray.study.ledger import FAILED
from lthray.study.results import round_line
from lthray.study.signals import Ending
from lthray.study.space import score_of
from lthray.study.terminal import Watch
from lthray.study.watchdog import watched
from lthray.study.worker import DenseRun, Job, Run, Source, settle, train_dense, work


class Stop(tune.Stopper):
    """Tells Tune that the study ends: at a signal, by a fault, or where a node is refused."""

    def __init__(self, site: Site) -> None:
        self.site, self.ending = site, Ending(site.watch.say)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Return whether the study ends."""
        return self.ending.told.is_set() or bool(self.site.refusal)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that is never asked of it


def execute(queue: Source, run: Run, watch: Watch, *, scratch: str) -> bool:
    """Run what is unfinished of a call, inside `cluster`; returns whether it was interrupted.

    `run` is the function that runs a trial; `scratch` is a folder for Tune's own files. Raises
    ClusterError where no node is fit for a trial, or one of them is not, and DiskFull where a
    worker has met a full disk.
    """
    call = queue.call
    alone = not call.options.address
    with handshake.greeting(Store(queue.root), call.config, alone=alone) as greeting:
        site = Site(call, greeting, watch)
        stop = Stop(site)
        with stop.ending.listening():  # after the cluster: Ray takes SIGTERM for itself
            site.open(stop.stop_all)
            if not stop.stop_all():
                with watched(watch, lost, 60 * call.options.silence):
                    _run_on(site, queue, run, stop, scratch)
            site.check()
            stop.ending.check()
            return stop.ending.told.is_set()


def _run_on(site: Site, queue: Source, run: Run, stop: Stop, scratch: str) -> None:
    """Run what is unfinished on a site that is open; Tune's own failures are survived."""
    watch = site.watch
    watch.say(
        f"{site.counted}, {site.call.options.cpus_per_trial} threads each, {site.share:g} GPUs each"
    )
    prepare(queue, run, site, stop)
    for _ in range(RETRIES):
        queue = queue.again()
        if stop.stop_all() or not queue.left:
            break
        try:
            _tuner(queue, run, site, stop, scratch).fit()
            break  # each trial had its tries
        except (RuntimeError, EOFError, tune.TuneError) as error:
            fault = f"{type(error).__name__}: {str(error)[:200]}"  # Tune's; the store is whole
            watch.say(f"Tune failed ({fault}); going on from the store")
    site.look()  # a node may have gone since Tune's last step


# what a worker does


@ray.remote(max_retries=RETRIES)
def _dense(run: Run, dense: DenseRun, greeting: Greeting, threads: int, share: float) -> None:
    """Train and measure a dense network that several trials need."""
    handshake.check(greeting)
    settle(threads, share)
    train_dense(dense, Store(greeting.root), run)


def _trainable(run: Run, greeting: Greeting) -> Callable[[dict[str, Any]], None]:
    """Return a Tune trial: a whole trajectory, each round committed before it is reported."""

    def trial(config: dict[str, Any]) -> None:
        os.umask(0o077)  # a cluster's own may be another than the driver's
        handshake.check(greeting)  # a node may have joined since the driver last looked
        last = 0

        def report(r: Round) -> bool:
            nonlocal last
            last, metrics = r.index, dict(r.metrics)
            score = score_of(metrics, last)
            tune.report({"round": last, "score": score, "metrics": metrics})
            return True  # where the search stops it, Tune ends this process's work

        try:
            ended = work(Job(**config["task"]), run, report)
        except DiskFull as error:  # nothing that is tried again finds more room
            tune.report({"round": last, "score": float("nan"), "fault": str(error)})
            return
        if not device_answers():
            raise RuntimeError("this process has lost its GPU")  # Tune goes on in a fresh one
        if ended == FAILED:
            tune.report({"round": last, "score": float("nan")})

    return trial


# what the driver does


def prepare(queue: Source, run: Run, site: Site, stop: Stop) -> None:
    """Make what several trials share, as Ray tasks of their own.

    These are extractors and autoencoders, then dense runs with all their checkpoints.
    """
    threads, share = queue.call.options.cpus_per_trial, site.share
    task = _dense.options(num_cpus=threads, num_gpus=share)
    shared, pending = queue.shared(), []
    for dense in shared:
        pending.append(task.remote(run, dense, site.greeting, threads, share))
    if shared:
        site.watch.expect([dense.shown for dense in shared])
    while pending and not stop.stop_all():
        # a failure here comes again, and is told, in the trials themselves
        _, pending = ray.wait(pending, timeout=1.0)
        site.look()
        site.watch.update()


class Searching(tune.search.Searcher):
    """Tune's way to ask the queue for the next trial, drawn or listed; it knows nothing of its own.

    A list is no grid to Tune, which copies a whole grid for each of its trials.
    """

    def __init__(self, jobs: Iterator[Job], watch: Watch):
        super().__init__("score", "min")
        self.jobs, self.watch = jobs, watch

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return Tune's config of a new trial."""
        job = next(self.jobs)
        if job.note:
            self.watch.say(job.note)
        return {"task": asdict(job)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: how a trial ended is in the ledger, where the queue looks."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: Tune's restore is never asked; what a search knows is in the ledger."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


class Rungs(tune.schedulers.FIFOScheduler):
    """Early stopping at rungs of the ladder, by the excess over the trial's own dense network.

    The queue decides, so a study that goes on decides with all that it knew.
    """

    def __init__(self, queue: Source):
        super().__init__()
        self.queue = queue

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether Tune goes on with a trial after a round."""
        number = trial.config["task"]["number"]
        goes_on = self.queue.goes_on(number, result["round"], result["score"])
        return self.CONTINUE if goes_on else self.STOP


class Telling(tune.Callback):
    """Tune's events as progress, and a look at the nodes at each of its steps."""

    def __init__(self, rungs: int, site: Site, ending: Ending):
        self.rungs, self.site, self.watch, self.ending = rungs, site, site.watch, ending

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        """Show how far the study is, and which nodes have come or gone."""
        self.site.look()
        self.watch.update()

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Show a line for a round; end the study where a worker tells of a full disk."""
        if "fault" in result:
            self.ending.fail(DiskFull(errno.ENOSPC, result["fault"]))
        task = trial.config["task"]
        if "metrics" in result:
            name = f"trial {task['number']} {task['name']}"
            self.watch.say(round_line(name, result["round"], self.rungs, result["metrics"]))


def _tuner(queue: Source, run: Run, site: Site, stop: Stop, scratch: str) -> tune.Tuner:
    """Return a Tuner over what is unfinished."""
    call, share = queue.call, site.share
    wanted = {"cpu": call.options.cpus_per_trial, "gpu": share}
    return tune.Tuner(
        tune.with_resources(_trainable(run, site.greeting), wanted),
        tune_config=tune.TuneConfig(
            num_samples=queue.left,
            search_alg=Searching(queue.jobs(share), site.watch),
            scheduler=Rungs(queue),
            max_concurrent_trials=site.slots,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=scratch,
            verbose=0,
            callbacks=[Telling(call.rungs, site, stop.ending)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            stop=stop,
        ),
    )
