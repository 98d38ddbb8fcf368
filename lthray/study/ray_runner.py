"""A call -> Ray Tune trials of `run()`: the only file that knows Ray.

The store is the truth and Tune only schedules: no Tune checkpoint, no Tune restore. A worker commits each Round to the
store before it reports it; going on is giving a new Tuner what the ledger says is unfinished.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
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
from optuna.storages import InMemoryStorage
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search.optuna import OptunaSearch

from lthray.config.trial import TrialConfig
from lthray.core.store import Store
from lthray.core.ticket import Round
from lthray.study.call import Call
from lthray.study.ledger import DONE, FAILED, Ledger
from lthray.study.queue import Desk
from lthray.study.results import pruned, score_of
from lthray.study.terminal import Watch, round_line
from lthray.trial.plan import places_of, plan
from lthray.trial.trajectory import run

RETRIES = 3  # of a trial that lost its worker or its node; one that fails by itself is not tried again
UNBOUNDED = 1000  # nodes of a type whose number the autoscaler does not limit
MEMORY = 1.5e9  # bytes of host memory a worker may need before it has done anything


class ClusterError(RuntimeError):
    """The cluster cannot be reached, or cannot do what is asked of it."""


class Stop(tune.Stopper):
    """Ctrl-C and SIGTERM end the study at once and leave everything resumable; a second one leaves without waiting."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.asked.is_set()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that is never asked of it

    @contextlib.contextmanager
    def listening(self, watch: Watch) -> Iterator["Stop"]:
        """Signals end the study while this is open (in the main thread; elsewhere nothing changes)."""

        def handle(number: int, _frame: Any) -> None:
            if self.asked.is_set():
                raise KeyboardInterrupt
            self.asked.set()
            watch.say("stopping; everything committed so far is kept")

        main = threading.current_thread() is threading.main_thread()
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM) if main}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def execute(call: Call, store: Store, ledger: Ledger, watch: Watch, slots: int, scratch: str) -> bool:
    """Run what is unfinished of a call, inside `cluster`; returns whether it was interrupted."""
    with Stop().listening(watch) as stop:  # opened after the cluster: Ray takes SIGTERM for itself
        watch.slots = slots
        watch.say(f"{slots} trials at a time, {call.options.cpus_per_trial} threads each, {gpus(call):g} GPUs each")
        prepare(call, store, watch, stop)
        for _ in range(RETRIES):
            if stop.asked.is_set() or not Desk(call, ledger).left:
                break
            try:
                _fit(call, ledger, watch, stop, slots, scratch)
            except (RuntimeError, EOFError, tune.TuneError) as error:  # Tune itself fell over; the store did not
                watch.say(f"Tune failed ({type(error).__name__}: {str(error)[:200]}); going on from the store")
        return stop.asked.is_set()


def gpus(call: Call) -> float:
    """GPUs of a trial: as asked, or a quarter where there is one."""
    asked = call.options.gpus_per_trial
    if asked is not None:
        return asked
    if call.options.address:
        return 0.25 if any(kind.get("GPU") for kind, _ in _nodes() + _declared()) else 0.0
    return 0.25 if torch.cuda.device_count() else 0.0


@contextlib.contextmanager
def cluster(call: Call) -> Iterator[tuple[int, str]]:
    """Ray for the time of a study: the cluster at --address, or a private one; yields the slots and a scratch folder.

    ClusterError before anything starts.
    """
    address, base = call.options.address, "/tmp" if os.path.isdir("/tmp") else None
    scratch = tempfile.mkdtemp(prefix="lthray-", dir=base)  # short: Ray's sockets live below it
    private: dict[str, Any] = {}
    if not address:
        token = Path(scratch, "token")
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        private = {"_temp_dir": scratch, "include_dashboard": False, "num_cpus": os.cpu_count()}
    try:
        try:
            _reach(address)
            ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **private)
        except (OSError, ValueError, RuntimeError) as error:
            raise ClusterError(_connection(address, error)) from None
        shared = Path(call.options.out).absolute() / "tune" if address else Path(scratch) / "tune"
        yield _slots(call), str(shared)
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
        if address:
            shutil.rmtree(Path(call.options.out).absolute() / "tune", ignore_errors=True)


def _reach(address: str) -> None:
    """Knock at the address: where nobody answers, Ray itself would wait for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _connection(address: str, error: Exception) -> str:
    hint = "is it running, is the token right (RAY_AUTH_TOKEN_PATH), are Ray and Python the same version there?"
    return f"--address {address!r}: cannot join ({hint}) {str(error).splitlines()[0][:200]}"


def _slots(call: Call) -> int:
    """How many trials fit at a time; ClusterError if not even one ever will."""
    cpus, share = call.options.cpus_per_trial, gpus(call)
    nodes, declared = _nodes(), _declared()
    fits = [(_fit_on(kind, cpus, share), count) for kind, count in nodes + declared]
    if not any(n for n, _ in fits):
        seen = "; ".join(f"{k.get('CPU', 0):g} CPUs {k.get('GPU', 0):g} GPUs" for k, _ in nodes + declared)
        raise ClusterError(f"--cpus-per-trial {cpus} --gpus-per-trial {share:g}: no node has that much (nodes: {seen})")
    now = sum(n for n, _ in fits[: len(nodes)])
    later = sum(n * count for n, count in fits[len(nodes) :])
    slots = max(now, later)
    if not call.options.address and not share:
        slots = max(1, min(slots, int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MEMORY)))
    return min(slots, call.options.max_concurrent or slots)


def _fit_on(resources: Mapping[str, float], cpus: int, share: float) -> int:
    """Trials that one node carries; fractions of a GPU never span two."""
    by_cpu = int(resources.get("CPU", 0) // cpus)
    if not share:
        return by_cpu
    devices = int(resources.get("GPU", 0))
    return min(by_cpu, devices * int(1 / share + 1e-9) if share <= 1 else devices // int(share))


def _nodes() -> list[tuple[Mapping[str, float], int]]:
    return [(node["Resources"], 1) for node in ray.nodes() if node["Alive"]]


def _declared() -> list[tuple[Mapping[str, float], int]]:
    """Node types that the cluster's autoscaler may still start, with their largest number."""
    from ray._private.state import state  # Ray has no public way to ask

    config = state.get_cluster_config()
    groups = config.node_group_configs if config else []
    return [(dict(g.resources), g.max_count if g.max_count > 0 else UNBOUNDED) for g in groups if g.max_count]


# what a worker does


def _settle(threads: int, share: float) -> None:
    """One explicit thread count a trial, and no more of a shared GPU's memory than its share."""
    torch.set_num_threads(threads)
    if 0 < share < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)


@ray.remote(max_retries=RETRIES)
def _prefix(words: dict[str, Any], anchors: tuple[int, ...], root: str, threads: int, share: float) -> None:
    """Train and measure the dense network of a config, keeping the anchors that other trials will want."""
    _settle(threads, share)
    for event in run(TrialConfig.from_flat(words), Store(root), anchors=anchors):
        if isinstance(event, Round):
            return


def _trial(config: dict[str, Any]) -> None:
    """One Tune trial: a whole trajectory, each Round committed before it is reported."""
    task = config["task"]
    _settle(task["threads"], task["gpus"])
    store = Store(task["root"])
    ledger, number, last = Ledger(store, task["call"]), task["number"], 0
    try:
        trial = TrialConfig.from_flat(task["words"])
        for event in run(trial, store):
            if isinstance(event, Round) and (event.index or not pruned(trial)):
                last = event.index
                tune.report({"round": last, "score": score_of(event.metrics, last), "metrics": event.metrics})
        ledger.finish(number, DONE)
    except OSError:
        raise  # disk, network, a lost node: infrastructure, tried again by Tune
    except (MemoryError, torch.OutOfMemoryError):
        if not ledger.first_time(number, "oom"):
            ledger.finish(number, FAILED, "out of memory, twice", trace=traceback.format_exc())
            tune.report({"round": last, "score": float("nan")})
            return
        raise
    except Exception as error:  # everything else would fail again the same way
        ledger.finish(number, FAILED, f"{type(error).__name__}: {error}", trace=traceback.format_exc())
        tune.report({"round": last, "score": float("nan")})


# what the driver does


def prepare(call: Call, store: Store, watch: Watch, stop: Stop) -> None:
    """Make what several trials share, as tasks of their own: extractors and autoencoders, then dense runs with all their
    anchors."""
    plans = [plan(config) for config in call.shared()]
    parents = [parent for found in plans for parent in (found.autoencoder, found.referee) if parent]
    wanted: dict[str, tuple[TrialConfig, set[int]]] = {p.rungs[0].round: (p.config, set()) for p in parents}
    for found in plans:
        dense = found.rungs[0]
        wanted.setdefault(dense.round, (found.config, set()))[1].update(dense.chain.anchors)
    share = gpus(call)
    task = _prefix.options(num_cpus=call.options.cpus_per_trial, num_gpus=share)
    pending = [
        task.remote(
            {**config.canonical(), **places_of(config)},
            tuple(sorted(anchors)),
            str(store.root),
            call.options.cpus_per_trial,
            share,
        )
        for key, (config, anchors) in wanted.items()
        if not store.parts(key)
    ]
    if pending:
        watch.say(f"first what the trials share: {len(pending)} dense runs")
    while pending and not stop.asked.is_set():
        _, pending = ray.wait(pending, timeout=1.0)  # a failure here comes again, and is told, in the trials themselves
        watch.update()


class Searching(OptunaSearch):
    """OptunaSearch over the desk, which never takes a trial that was cut short for a good one."""

    def __init__(self, desk: Desk, gpus: float):
        storage = InMemoryStorage()
        study = desk.memory(storage)
        super().__init__(desk.draw, "score", "min", sampler=study.sampler, storage=storage, study_name=study.study_name)
        self.desk, self.gpus = desk, gpus

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        words = super().suggest(trial_id)
        return None if words is None else {"task": self.desk.task(words, self.gpus)}

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()  # Tune's restore is never asked; what a search knows is in the ledger

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result and result["round"] < self.desk.call.rungs:  # cut short: PRUNED, compared at its rung
            self.on_trial_result(trial_id, result)
            result = None
        super().on_trial_complete(trial_id, result, error)


class Rungs(FIFOScheduler):
    """Early stopping whose rung is the density ladder and whose score is the paired excess over the trial's own dense
    network. The desk decides, so a study that goes on decides with all that it knew."""

    def __init__(self, desk: Desk):
        super().__init__()
        self.desk = desk

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = trial.config["task"]["number"]
        return self.CONTINUE if self.desk.goes_on(number, result["round"], result["score"]) else self.STOP


class Telling(tune.Callback):
    """Tune's events as progress."""

    def __init__(self, desk: Desk, watch: Watch):
        self.desk, self.watch = desk, watch

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        self.watch.update()

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any) -> None:
        task = trial.config["task"]
        if "metrics" in result:
            name = f"trial {task['number']} {task['name']}"
            self.watch.say(round_line(name, result["round"], self.desk.call.rungs, result["metrics"]))


def _fit(call: Call, ledger: Ledger, watch: Watch, stop: Stop, slots: int, scratch: str) -> None:
    """One Tuner over what is unfinished; returns when it is done or stopped."""
    desk, share = Desk(call, ledger), gpus(call)
    if call.space:
        space, samples, search = {}, desk.left, Searching(desk, share)
    else:
        space, samples, search = {"task": tune.grid_search([desk.task(words, share) for words in desk.queue()])}, 1, None
    tune.Tuner(
        tune.with_resources(_trial, {"cpu": call.options.cpus_per_trial, "gpu": share}),
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=Rungs(desk),
            num_samples=samples,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=scratch,
            verbose=0,
            callbacks=[Telling(desk, watch)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            stop=stop,
        ),
    ).fit()
