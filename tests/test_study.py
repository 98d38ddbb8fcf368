"""Studies on Ray, as a user runs them: from the command line, interrupted, resumed, extended, on a
cluster.

Each test starts Ray, so there are few; the faults of a single trial are tested without it.
"""

import contextlib
import io
import os
import re
import runpy
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lthray import cli
from lthray.core.store import Store
from lthray.study.ledger import Ledger
from lthray.study.resources import BASE, PREFIX
from lthray.study.results import trials

from .conftest import TINY, same

PAGE = f"""
import sys
from lthray.study.comparators import AGAIN, against, longer
from lthray.study.page import Confirmation, Grid, Search
from lthray.cli import study
from lthray.study.space import Choice

WORDS = {TINY!r} | {{"measure.samples": 0}}
SEARCH = Search(name="search", about="Tiny.", seeds=(0,), trials=4,
               words=WORDS | {{"prune.ladder": (0.6, 0.5, 0.4)}},
               space=lambda config: {{"prune.criterion": Choice(("magnitude", "random")),
                                      "rewind.fraction": Choice((0.25, 0.5))}})
CONFIRMED = Search(name="confirmed", about="Tiny.", seeds=(0,), trials=2, words=WORDS,
                  first=[{{"prune.criterion": "magnitude"}}],
                  space=lambda config: {{"prune.criterion": Choice(("magnitude", "random"))}},
                  confirm=Confirmation(
                      seeds=(11, 12),
                      arms=lambda config: against("reinit", "shuffle", rungs=(-1,)),
                      references=lambda config, doublings: [AGAIN, longer(config)],
                      words={{"measure.split": "test"}}))
LIST = Grid(name="list", about="Tiny.", seeds=(0, 1), words=WORDS,
             points=lambda config: [{{"prune.criterion": "magnitude"}},
                                    {{"prune.criterion": "random"}}],
             surface=("prune.criterion", "loss/excess"))
BROKEN = Grid(name="broken", about="Tiny.", seeds=(0,), words=WORDS,
               points=lambda config: [{{"train.lr": 0.004}}, {{"train.lr": 1e30}}])
PAGES = {{"search": SEARCH, "confirmed": CONFIRMED, "list": LIST, "broken": BROKEN}}
if __name__ == "__main__":
    sys.exit(study(PAGES[sys.argv[1]], sys.argv[2:]))
"""
LONG = ["--train.steps", "600", "--seeds", "0"]  # some seconds a run: time to be interrupted


def written(folder: Path) -> Path:
    """Return the page of studies, written to a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / "page.py"
    path.write_text(PAGE)
    return path


@pytest.fixture
def page(tmp_path):
    return written(tmp_path)


def command(page: Path, study: str, *argv: str) -> list[str]:
    return [sys.executable, str(page), study, "--out", str(page.parent / "runs"), *argv]


def go(page: Path, study: str, *argv: str, code: int = 0, env: dict | None = None) -> str:
    """Run a study to its end; its output."""
    done = subprocess.run(
        command(page, study, *argv),
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def here(page: Path, study: str, *argv: str, code: int = 0) -> str:
    """Run a study in this process, where none of it needs Ray; its output."""
    pages = runpy.run_path(str(page))["PAGES"]
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        left = cli.study(pages[study], ["--out", str(page.parent / "runs"), *argv])
    assert left == code, text.getvalue()
    return text.getvalue()


def begin(page: Path, study: str, *argv: str, env: dict | None = None) -> subprocess.Popen:
    return subprocess.Popen(
        command(page, study, *argv),
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def results(page: Path, root: str = "runs") -> dict[str, list]:
    """Name -> trial of the only call."""
    store = Store(page.parent / root / "store")
    (ledger,) = Ledger.all(store)
    return {trial.name: trial for trial in trials(store, ledger)}


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        len(a[n].rounds) == len(b[n].rounds) and all(map(same, a[n].rounds, b[n].rounds)) for n in a
    )


def wait_for(page: Path, pattern: str, seconds: float = 90) -> None:
    """Until the store has an object whose path matches."""
    until = time.monotonic() + seconds
    root = page.parent / "runs" / "store" / "objects"
    while not any(re.search(pattern, str(path)) for path in root.rglob("*")):
        assert time.monotonic() < until, f"nothing like {pattern} appeared"
        time.sleep(0.1)


class OnRay:
    """A study as it was run on Ray, one trial at a time: its page, its output, its trials."""

    def __init__(self, folder: Path, study: str):
        self.page = written(folder)
        self.text = go(self.page, study, "--max-concurrent", "1")
        self.story = story(folder)


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory):
    """Return what gives a study as it was run on Ray, once for all tests that look at it."""
    done: dict[str, OnRay] = {}

    def run(study: str) -> OnRay:
        if study not in done:
            done[study] = OnRay(tmp_path_factory.mktemp(study), study)
        return done[study]

    return run


def test_a_search_from_begin_to_end_then_again_then_extended(on_ray):
    page, text = on_ray("search").page, on_ray("search").text
    assert "trials, best first" in text
    assert "best recipe: " in text
    assert re.search(r"the first step after \d+ s; \d+% of \d slots trained or measured", text)
    assert re.search(r"^look:  \S*lthray ui --out ", text, re.M)
    found = {t.number: t for t in trials(*opened(page))}
    assert sorted(found) == [0, 1, 2, 3]
    assert {t.status for t in found.values()} <= {"done", "stopped"}
    for trial in found.values():
        assert len(trial.rounds) == (4 if trial.status == "done" else 3)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{page.parent / 'runs' / 'mlflow.db'}")
    (experiment,) = (e for e in client.search_experiments() if e.name == "search.digits")
    assert len(client.search_runs([experiment.experiment_id])) == 4
    before = listing(page)
    again = here(page, "search")
    assert listing(page) == before, "a finished study trained something"
    assert "at a time" not in again  # Ray was not even started
    assert "best recipe: " in again
    assert "slots trained" not in again
    here(page, "search", "--trials", "6", "--local")
    assert len(list(trials(*opened(page)))) == 6
    assert [t.point.words for t in list(trials(*opened(page)))[:4]] == [
        f.point.words for f in found.values()
    ]


def test_a_search_ends_with_its_confirmation_and_then_trains_nothing(on_ray):
    page, text = on_ray("confirmed").page, on_ray("confirmed").text
    assert "confirmed on fresh seeds" in text
    assert re.search(r"\(2 seeds, fewer than 5\) matches its dense network", text)
    assert "Twice the steps gain the dense network" in text
    assert re.search(r"excess [+-].*% in the search, [+-].*% on fresh seeds \(shrinkage [+-]", text)
    store = Store(page.parent / "runs" / "store")
    phases = {
        ledger.about["plan"]["phase"]: list(trials(store, ledger)) for ledger in Ledger.all(store)
    }
    assert {phase: len(found) for phase, found in phases.items()} == {"search": 2, "confirm": 2 * 5}
    assert {t.point.seed for t in phases["confirm"]} == {11, 12}
    assert all(t.status == "done" for t in phases["confirm"])
    before = listing(page)
    again = here(page, "confirmed")
    assert listing(page) == before
    assert "confirmed on fresh seeds" in again
    assert "confirmed on fresh seeds" not in here(page, "confirmed", "--recipes", "0")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{page.parent / 'runs' / 'mlflow.db'}")
    (experiment,) = (e for e in client.search_experiments() if e.name == "confirmed.digits")
    runs = client.search_runs([experiment.experiment_id], "tags.phase = 'confirm'")
    assert sorted(r.data.tags["control"] for r in runs) == sorted(
        2 * ["none", "none", "reinit", "shuffle", "dense"]
    )


def opened(page: Path):
    store = Store(page.parent / "runs" / "store")
    (ledger,) = Ledger.all(store)
    return store, ledger


def listing(page: Path) -> list[str]:
    return sorted(str(p) for p in (page.parent / "runs" / "store" / "objects").rglob("*"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The long list, uninterrupted and without Ray."""
    from lthray.study.call import resolve
    from lthray.study.ledger import DONE
    from lthray.study.queue import Queue
    from lthray.trial.run import run

    from .test_desk import LIST

    torch.set_num_threads(
        1
    )  # as in the studies: a fixture of a module is made before those of its first test
    store = Store(tmp_path_factory.mktemp("reference") / "store")
    call = resolve(LIST, LONG)
    ledger = Ledger.freeze(
        store, call.plan("x"), {"study": "list", "preset": "digits", "smoke": False, "question": ""}
    )
    queue = Queue(call, ledger)
    for words in queue.listed():
        task = queue.task(words, 0.0)
        list(run(call.config_of(task.number, words), store, device="cpu"))
        ledger.finish(task.number, DONE)
    return {trial.name: trial for trial in trials(store, ledger)}


def worker_of(process: subprocess.Popen) -> int:
    """Return the process of a trial on Ray, once there is one."""
    until, search = time.monotonic() + 90, ["pgrep", "-f", "ray::ImplicitFunc"]
    while process.poll() is None:
        found = subprocess.run(search, capture_output=True, text=True, check=False).stdout.split()
        if found:
            return int(found[0])
        assert time.monotonic() < until, "no worker appeared"
        time.sleep(0.1)
    raise AssertionError(process.communicate()[0])


def test_a_study_goes_on_after_sigterm_a_killed_worker_and_a_killed_driver(page, reference):
    """And while it runs, no second driver is let in."""
    process = begin(page, "list", *LONG)
    wait_for(page, r"trial-0001-point")
    assert "another process is running this study" in here(page, "list", *LONG, code=4)
    process.send_signal(signal.SIGTERM)
    text = process.communicate(timeout=60)[0]
    assert process.returncode == 75, text
    assert "to go on, the same command:" in text
    assert "--train.steps 600" in text

    process = begin(page, "list", *LONG)
    worker = worker_of(process)
    time.sleep(1)  # into its work
    os.kill(worker, signal.SIGKILL)
    time.sleep(3)
    assert process.poll() is None  # the study goes on
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(1)
    go(page, "list", *LONG)
    assert equal(results(page), reference)


def raylet_of(process: subprocess.Popen) -> tuple[int, str]:
    """Return the raylet of a study's own Ray, and its command line."""
    search = ["pgrep", "-P", str(process.pid), "-a", "-f", "raylet/raylet"]
    found = subprocess.run(search, capture_output=True, text=True, check=True).stdout
    number, _, line = found.partition(" ")
    return int(number), line


def test_a_lost_raylet_is_said_and_left_with_75(page):
    process = begin(page, "list", *LONG)
    wait_for(page, r"trial-0000-point")
    raylet, _ = raylet_of(process)
    os.kill(raylet, signal.SIGKILL)
    text = process.communicate(timeout=100)[0]
    assert process.returncode == 75, text
    assert "Ray has lost its raylet; ending, and everything committed so far is kept" in text
    assert "to go on, the same command:" in text


def test_trials_that_fail_by_themselves_are_not_retried_and_ray_leaves_nothing_behind(page):
    home = page.parent / "home"
    home.mkdir()
    process = begin(page, "broken", env={"HOME": str(home)})
    wait_for(page, r"trial-0000-point")
    private = re.search(rf"{BASE}/{PREFIX}\w+", raylet_of(process)[1])[0]
    assert Path(private).is_dir()
    text = process.communicate(timeout=300)[0]
    assert process.returncode == 5, text
    store, ledger = opened(page)
    found = list(trials(store, ledger))
    assert [t.status for t in found] == ["done", "failed"]
    assert "NonFinite: " in found[1].end.reason
    assert [len(t.rounds) for t in found] == [3, 0]
    assert b"Traceback" in ledger.traceback(1)["traceback.txt"]
    assert "failed" in text
    assert not Path(private).exists()
    assert not list(Path(BASE).glob(f"ray*/session_*_{process.pid}"))  # where Ray's would lie
    assert not (home / ".ray").exists()
    assert not (home / "ray_results").exists()
    names = sorted(p.name for p in (page.parent / "runs").iterdir())
    assert names == ["artifacts", "mlflow.db", "store"]
    here(page, "broken", code=5)  # and again: nothing to do, the same answer


# without Ray


def story(root: Path) -> dict[tuple, list]:
    """Call and number -> what the trial was, how it ended and what it measured."""
    store = Store(root / "runs" / "store")
    told = {}
    for ledger in Ledger.all(store):
        for trial in trials(store, ledger):
            end = (trial.status, trial.end.reason, trial.end.last)
            told[ledger.about["plan"]["phase"], trial.number] = (
                ledger.key,
                trial.point.words,
                end,
                trial.rounds,
            )
    return told


@pytest.mark.parametrize("study", ["search", "confirmed"])
def test_a_study_without_ray_is_the_study_on_ray(on_ray, page, study):
    text = here(page, study, "--local")
    assert "trials, best first" in text
    assert "at a time" not in text  # Ray was not started
    with_ray, alone = on_ray(study).story, story(page.parent)
    assert with_ray.keys() == alone.keys()
    assert len(with_ray) == {"search": 4, "confirmed": 2 + 10}[study]
    for trial, (*what, rounds) in with_ray.items():
        *same_what, same_rounds = alone[trial]
        assert what == same_what
        assert len(rounds) == len(same_rounds)
        assert all(map(same, rounds, same_rounds))


@pytest.mark.walk
def test_a_killed_study_without_ray_is_run_again_to_the_same_result(page, reference):
    process = begin(page, "list", *LONG, "--local")
    wait_for(page, r"trial-0000-point")
    process.send_signal(signal.SIGTERM)
    text = process.communicate(timeout=60)[0]
    assert process.returncode == 75, text
    assert "to go on, the same command:" in text
    process = begin(page, "list", *LONG, "--local")
    wait_for(page, r"trial-0001-point")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    go(page, "list", *LONG, "--local")
    assert equal(results(page), reference)


NODES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
for _ in range(2):
    cluster.add_node(num_cpus=1, num_gpus=1)
print("address", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    """A cluster of two nodes with a declared GPU each, which asks for a token; its address and what
    a driver must know."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    env = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
    }  # before Ray is imported, so in its own process
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(
        [sys.executable, "-c", NODES], text=True, env={**os.environ, **env}, **pipes
    )
    address = next(line.split()[1] for line in process.stdout if line.startswith("address"))
    yield address, env
    process.communicate("")


def test_a_cluster_of_two_nodes_with_shares_of_their_gpus(page, two_nodes):
    address, env = two_nodes
    text = go(page, "search", "--address", address, "--gpus-per-trial", "0.5", env=env)
    assert "2 trials at a time, 1 threads each, 0.5 GPUs each" in text
    assert len(list(trials(*opened(page)))) == 4


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--gpus-per-trial", "2"], "--gpus-per-trial 2: no node has that much (nodes: "),
        (
            ["--cpus-per-trial", "3"],
            "--cpus-per-trial 3 --gpus-per-trial 0.25: no node has that much",
        ),
    ],
)
def test_what_no_node_can_carry_is_refused_before_the_start(page, two_nodes, asked, said):
    address, env = two_nodes
    text = go(page, "search", "--address", address, *asked, code=4, env=env)
    assert said in text
    assert "1 CPUs 1 GPUs" in text
    assert not list((page.parent / "runs").rglob("trial-*"))


GOING = """
import subprocess, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
print("address", cluster.address, flush=True)
for line in sys.stdin:
    node = nodes.pop()
    if line == "drained\\n":
        words = {"address": cluster.address, "node-id": node.node_id, "reason-message": "spot",
                 "reason": "DRAIN_NODE_REASON_PREEMPTION", "deadline-remaining-seconds": "60"}
        named = [text for word in words for text in ("--" + word, words[word])]
        drain = ["ray", "drain-node", *named]
        subprocess.run(drain, check=True, stdout=subprocess.DEVNULL)
    cluster.remove_node(node, allow_graceful=False)
cluster.shutdown()
"""


@pytest.mark.walk
@pytest.mark.parametrize("how", ["killed", "drained"])
def test_a_node_that_goes_is_told_and_its_trials_go_on_elsewhere(page, reference, tmp_path, how):
    """Without notice, and as after a spot notice; the results are those of a quiet machine."""
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    bin_of = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    nodes = subprocess.Popen(
        [sys.executable, "-c", GOING], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={**os.environ, **env, "PATH": bin_of},
    )  # fmt: skip
    address = next(line.split()[1] for line in nodes.stdout if line.startswith("address"))
    study = subprocess.Popen(
        command(page, "list", *LONG, "--address", address),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **env},
    )  # fmt: skip
    wait_for(page, r"trial-0001-point")
    time.sleep(3)  # into their work
    print(how, file=nodes.stdin, flush=True)
    text = study.communicate(timeout=300)[0]
    nodes.communicate("", timeout=60)
    assert study.returncode == 0, text
    assert "is gone; its trials go on elsewhere from what is stored" in text
    assert equal(results(page), reference)


DECLARE = """
import sys
from ray.core.generated import autoscaler_pb2
from lthray.study import cluster
cluster.ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
assert cluster.declared() == []
config = autoscaler_pb2.ClusterConfig()
config.node_group_configs.add(name="big", resources={"CPU": 8, "GPU": 4}, max_count=3)
config.node_group_configs.add(name="any", resources={"CPU": 1}, max_count=-1)
config.node_group_configs.add(name="none", resources={"CPU": 64}, max_count=0)
cluster.ray._private.worker.global_worker.gcs_client.report_cluster_config(config.SerializeToString())
print([(kind["CPU"], kind.get("GPU", 0), n) for kind, n in cluster.declared()])
"""


def test_node_types_that_an_autoscaler_may_start_count_as_there(two_nodes):
    """A cluster that has too little yet, but whose autoscaler has declared that it can start more
    (keep this test last of those that are refused: the declaration stays)."""
    address, env = two_nodes
    script = [sys.executable, "-c", DECLARE, address]
    done = subprocess.run(
        script, capture_output=True, text=True, env={**os.environ, **env}, timeout=60, check=False
    )
    assert "[(8, 4, 3), (1, 0, 1000)]" in done.stdout, done.stderr


def test_how_many_trials_a_node_carries():
    from lthray.study.resources import trials_on

    node = {"CPU": 16.0, "GPU": 2.0}
    assert [trials_on(node, 1, share) for share in (0.0, 0.25, 0.3, 0.5, 1.0, 2.0, 3.0)] == [
        16,
        8,
        6,
        4,
        2,
        1,
        0,
    ]
    assert trials_on(node, 6, 0.25) == 2
    assert trials_on({"CPU": 4.0}, 1, 0.25) == 0


@pytest.mark.parametrize("fault", ["nobody there", "wrong token"])
def test_a_cluster_that_cannot_be_joined_is_one_line(page, two_nodes, fault):
    address, env = two_nodes
    if fault == "nobody there":
        address = "127.0.0.1:1"
    else:
        wrong = page.parent / "wrong"
        wrong.write_text("0" * 64)
        env = env | {"RAY_AUTH_TOKEN_PATH": str(wrong)}
    text = go(page, "search", "--address", address, code=4, env=env)
    (line,) = (line for line in text.splitlines() if line.startswith("error: "))
    assert "cannot join (is it running, is the token right (RAY_AUTH_TOKEN_PATH)" in line
    assert "Traceback" not in text
