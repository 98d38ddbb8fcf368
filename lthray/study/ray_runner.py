"""A call -> Ray Tune trials: the only file that knows Ray.

The store is the truth and Tune only schedules: no Tune checkpoint, no Tune restore. A worker
commits each round to the store before it reports it; going on is giving a new Tuner what the ledger
says is unfinished.
"""

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Ray reads these when it is imported
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")  # its kills end a whole Tune experiment
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # the study has its own

import ray
import torch
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from lthray.core.record import Round
from lthray.core.store import Store
from lthray.study import resources
from lthray.study.call import Call
from lthray.study.ledger import FAILED
from lthray.study.resources import ClusterError as ClusterError
from lthray.study.resources import Nodes
from lthray.study.results import round_line
from lthray.study.signals import STOPPING, handled
from lthray.study.space import score_of
from lthray.study.terminal import Watch
from lthray.study.worker import RETRIES, DenseRun, Job, Run, Source, settle, train_dense, work

UNBOUNDED = 1000  # nodes of a type whose number the autoscaler does not limit


class Stop(tune.Stopper):
    """Ctrl-C and SIGTERM: the first ends the study at once and leaves everything resumable.

    A second one leaves without waiting.
    """

    def __init__(self) -> None:
        self.signalled = threading.Event()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Return whether a signal has come."""
        return self.signalled.is_set()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that is never asked of it

    @contextlib.contextmanager
    def listening(self, watch: Watch) -> Iterator["Stop"]:
        """Let signals end the study while this is open."""

        def handle() -> None:
            if self.signalled.is_set():
                raise KeyboardInterrupt
            self.signalled.set()
            watch.say(STOPPING)

        with handled(handle):
            yield self


def execute(queue: Source, run: Run, watch: Watch, *, slots: int, scratch: str) -> bool:
    """Run what is unfinished of a call, inside `cluster`; returns whether it was interrupted.

    `run` is the function that runs a trial. `slots` trials run at a time; `scratch` is a folder for
    Tune's own files.
    """
    call = queue.call
    with Stop().listening(watch) as stop:  # after the cluster: Ray takes SIGTERM for itself
        watch.slots = slots
        threads, share = call.options.cpus_per_trial, gpus(call)
        watch.say(f"{slots} trials at a time, {threads} threads each, {share:g} GPUs each")
        prepare(queue, run, watch, stop)
        for _ in range(RETRIES):
            queue = queue.again()
            if stop.signalled.is_set() or not queue.left:
                break
            try:
                _tuner(queue, run, watch, stop, slots=slots, scratch=scratch).fit()
            except (RuntimeError, EOFError, tune.TuneError) as error:
                fault = f"{type(error).__name__}: {str(error)[:200]}"  # Tune's; the store is whole
                watch.say(f"Tune failed ({fault}); going on from the store")
        return stop.signalled.is_set()


# the cluster


@contextlib.contextmanager
def cluster(call: Call) -> Iterator[tuple[int, str]]:
    """Open Ray for the time of a study: the cluster at --address, or a private one.

    Yields the number of trials that run at a time, and a folder for Tune's own files. Raises
    ClusterError before anything starts.
    """
    address = call.options.address
    base = "/tmp" if os.path.isdir("/tmp") else None
    scratch = tempfile.mkdtemp(prefix="lthray-", dir=base)  # short: Ray's sockets live below it
    common = Path(call.options.out).absolute() / "tune"  # where every node of a cluster can write
    try:
        _join(address, scratch)
        fitting = resources.slots(call.options, gpus(call), _nodes(), declared())
        yield fitting, str(common if address else Path(scratch) / "tune")
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
        if address:
            shutil.rmtree(common, ignore_errors=True)


def _join(address: str, scratch: str) -> None:
    """Join the cluster at `address`, or start a private one below `scratch` where there is none."""
    private: dict[str, Any] = {}
    if not address:
        resources.private_token(scratch)
        private = {"_temp_dir": scratch, "include_dashboard": False, "num_cpus": os.cpu_count()}
    try:
        resources.knock(address)
        ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **private)
    except (OSError, ValueError, RuntimeError) as error:
        raise resources.refused(address, error) from None


def gpus(call: Call) -> float:
    """Return the GPUs of a trial: as the user says, or a quarter where there is one."""
    if call.options.gpus_per_trial is not None:
        return call.options.gpus_per_trial
    if call.options.address:
        there = any(node.get("GPU") for node, _ in [*_nodes(), *declared()])
    else:
        there = torch.cuda.device_count() > 0
    return resources.SHARE if there else 0.0


def _nodes() -> Nodes:
    """Return the nodes that are there, each once."""
    return [(node["Resources"], 1) for node in ray.nodes() if node["Alive"]]


def declared() -> Nodes:
    """Return the node types that the cluster's autoscaler may still start, each with its limit."""
    from ray._private.state import state  # Ray has no public way to ask

    config = state.get_cluster_config()
    startable: list[tuple[Any, int]] = []
    for group in config.node_group_configs if config else []:
        if group.max_count:
            count = group.max_count if group.max_count > 0 else UNBOUNDED
            startable.append((dict(group.resources), count))
    return startable


# what a worker does


@ray.remote(max_retries=RETRIES)
def _dense(run: Run, dense: DenseRun, root: str, threads: int, share: float) -> None:
    """Train and measure a dense network that several trials need."""
    settle(threads, share)
    train_dense(dense, Store(root), run)


def _trainable(run: Run) -> Callable[[dict[str, Any]], None]:
    """Return a Tune trial: a whole trajectory, each round committed before it is reported."""

    def trial(config: dict[str, Any]) -> None:
        os.umask(0o077)  # a cluster's own may be another than the driver's
        last = 0

        def report(r: Round) -> bool:
            nonlocal last
            last, metrics = r.index, dict(r.metrics)
            score = score_of(metrics, last)
            tune.report({"round": last, "score": score, "metrics": metrics})
            return True  # where the search stops it, Tune ends this process's work

        if work(Job(**config["task"]), run, report) == FAILED:
            tune.report({"round": last, "score": float("nan")})

    return trial


# what the driver does


def prepare(queue: Source, run: Run, watch: Watch, stop: Stop) -> None:
    """Make what several trials share, as Ray tasks of their own.

    These are extractors and autoencoders, then dense runs with all their checkpoints.
    """
    options, share = queue.call.options, gpus(queue.call)
    task = _dense.options(num_cpus=options.cpus_per_trial, num_gpus=share)
    pending = []
    for dense in queue.shared():
        pending.append(task.remote(run, dense, queue.root, options.cpus_per_trial, share))
    if pending:
        watch.say(f"first what the trials share: {len(pending)} dense runs")
    while pending and not stop.signalled.is_set():
        # a failure here comes again, and is told, in the trials themselves
        _, pending = ray.wait(pending, timeout=1.0)
        watch.update()


class Searching(Searcher):
    """Tune's way to ask the queue for the next trial; it knows nothing of its own."""

    def __init__(self, queue: Source, share: float, watch: Watch):
        super().__init__("score", "min")
        self.queue, self.share, self.watch = queue, share, watch

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return Tune's config of a new trial."""
        job = self.queue.next(self.share)
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


class Rungs(FIFOScheduler):
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
    """Tune's events as progress."""

    def __init__(self, rungs: int, watch: Watch):
        self.rungs, self.watch = rungs, watch

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        """Show how far the study is."""
        self.watch.update()

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Show a line for a round."""
        task = trial.config["task"]
        if "metrics" in result:
            name = f"trial {task['number']} {task['name']}"
            self.watch.say(round_line(name, result["round"], self.rungs, result["metrics"]))


def _tuner(
    queue: Source, run: Run, watch: Watch, stop: Stop, *, slots: int, scratch: str
) -> tune.Tuner:
    """Return a Tuner over what is unfinished."""
    call, share = queue.call, gpus(queue.call)
    search = Searching(queue, share, watch) if call.space else None
    tasks: dict[str, Any] = {}
    if search is None:
        jobs = [asdict(queue.task(words, share)) for words in queue.listed()]
        tasks = {"task": tune.grid_search(jobs)}
    resources = {"cpu": call.options.cpus_per_trial, "gpu": share}
    return tune.Tuner(
        tune.with_resources(_trainable(run), resources),
        param_space=tasks,
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=Rungs(queue),
            num_samples=queue.left if search else 1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=scratch,
            verbose=0,
            callbacks=[Telling(call.rungs, watch)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            stop=stop,
        ),
    )
