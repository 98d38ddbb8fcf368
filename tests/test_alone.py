"""A study that is left alone: silence ends, dead folders go, room is asked for, trials retried."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lthray.__main__ import main
from lthray.cli import study
from lthray.config import options
from lthray.core.backends import DiskFull, Folder
from lthray.core.store import Store
from lthray.study import resources, room, watchdog
from lthray.study.call import preview, resolve
from lthray.study.ledger import Ledger
from lthray.study.watchdog import watched
from lthray.trial.recipe import trajectory

from .conftest import rounds, tiny
from .test_cli import SMALL
from .test_desk import LIST

# the watchdog


class Life:
    """Signs of life that stop after so many looks."""

    def __init__(self, looks: int):
        self.looks, self.looked = looks, 0
        self.said: list[str] = []

    def signs(self) -> int:
        self.looked += 1
        return min(self.looked, self.looks)

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(watchdog, "EVERY", 0.02)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    yield
    signal.signal(signal.SIGINT, before)


def wait(until, seconds: float = 20.0) -> None:
    """Wait until something is true, as a study waits."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("lost", "said"), [("", "no event and no step for 0 min"), ("Ray has lost its raylet", "Ray")]
)
def test_silence_and_loss_end_the_wait_and_say_so(hasty, lost, said):
    life, after = Life(3), []
    with watched(life, lambda: lost, limit=0.1):
        wait(lambda: False)
        after.append("never")
    assert after == []
    (line,) = life.said
    assert line.startswith(said)
    assert line.endswith("; ending, and everything committed so far is kept")
    assert (life.looked >= 3) == (not lost)


def test_signs_of_life_keep_a_study_going_whatever_it_takes(hasty):
    life = Life(10**9)
    with watched(life, lambda: "", limit=0.1):
        wait(lambda: life.looked > 20)  # four times as long as silence would be borne
    assert life.said == []


def test_the_users_own_ctrl_c_is_not_swallowed(hasty):
    def interrupted() -> None:
        with watched(Life(10**9), lambda: "", limit=60):
            os.kill(os.getpid(), signal.SIGINT)
            wait(lambda: False)

    with pytest.raises(KeyboardInterrupt):
        interrupted()


HUNG = """
import signal, time
from lthray.study import watchdog
watchdog.EVERY, watchdog.GRACE = 0.02, 0.3
signal.signal(signal.SIGINT, signal.SIG_IGN)
class Watch:
    signs, say = (lambda self: 0), (lambda self, text: print(text, flush=True))
with watchdog.watched(Watch(), lambda: "", limit=0.1):
    time.sleep(60)
"""


def test_a_study_that_hangs_for_good_is_left_with_75():
    done = subprocess.run([sys.executable, "-c", HUNG], capture_output=True, text=True, timeout=50)
    assert done.returncode == options.INTERRUPTED
    assert "no event and no step" in done.stdout
    assert "to go on, the same command" in done.stdout


class Flickering:
    """Signs that change at each look, one of which finds no file system."""

    def __init__(self):
        self.looks = 0

    def __call__(self) -> int:
        self.looks += 1
        if self.looks == 2:
            raise OSError(116, "stale file handle")
        return self.looks


def test_a_look_that_fails_does_not_end_the_watchdog(monkeypatch):
    monkeypatch.setattr(watchdog, "EVERY", 0.01)
    life = Flickering()
    dog = watchdog.Watchdog(life, lambda: "", print, limit=60)
    dog.start()
    until = time.monotonic() + 20
    while life.looks < 5 and time.monotonic() < until:
        time.sleep(0.01)
    dog.close()
    dog.join(10)
    assert life.looks >= 5
    assert not dog.barked.is_set()


# private folders

KILLED = """
import os, signal, sys
from lthray.study.resources import private_folder, private_token
with private_folder(sys.argv[1]) as folder:
    private_token(folder)
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_folder_and_token_of_a_killed_study_are_swept_by_the_next_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    dead = Path(done.stdout.strip())
    assert (dead / "token").read_text()
    results, others = (tmp_path / f"lthray-{name}" for name in ("results", "link"))
    (results / "store").mkdir(parents=True)
    (results / "mlflow.db").write_text("three weeks")
    os.utime(results, (1, 1))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("x")
    others.symlink_to(tmp_path / "precious")
    with resources.private_folder(str(tmp_path)) as mine:
        assert not dead.exists()
        assert (Path(mine).stat().st_mode & 0o777) == 0o700
        with resources.private_folder(str(tmp_path)) as second:  # of another study that lives
            assert Path(mine).exists()
            assert second != mine
    left = ["lthray-link", "lthray-results", "precious"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    assert (results / "mlflow.db").read_text() == "three weeks"  # a user's own, of such a name
    assert (tmp_path / "precious" / "thesis.tex").exists()


def test_a_private_folder_that_goes_while_it_is_looked_at_is_no_fault(tmp_path, monkeypatch):
    gone = tmp_path / f"{resources.PREFIX}gone"
    monkeypatch.setattr(resources.Path, "glob", lambda self, pattern: iter([gone]))
    assert resources.sweep_private(str(tmp_path)) == 0


def test_a_cluster_that_is_not_joined_leaves_what_lies_in_out(tmp_path):
    mine = tmp_path / "tune" / "my_experiment" / "result.json"
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    from lthray.study import cluster

    call = resolve(LIST, ["--out", str(tmp_path), "--address", "127.0.0.1:1"])
    with pytest.raises(resources.ClusterError), cluster.cluster(call):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["tune"]
    assert mine.read_text() == "{}"


# room


def test_a_study_that_has_no_room_is_refused_before_it_begins(tmp_path, monkeypatch):
    call = resolve(LIST, ["--out", str(tmp_path)])
    store = Store(tmp_path / "store")
    trials = [trajectory(config) for config in preview(call)]
    parameters = room.parameters_of(tiny())
    wanted = room.size_of(trials).of(parameters)
    runs = {key for trial in trials for key in trial.runs}
    anchors = 2  # the rewind point of each of two dense runs
    images = 8 * 4
    network = 8 * parameters * len(runs) + 16 * parameters * anchors
    assert wanted == network + round(2 * 5 * (parameters / 8 + 4 * images + 20_000))
    monkeypatch.setattr(room, "free", lambda place: wanted)
    begun = []
    room.roomy(lambda *given: begun.append(given), trials, store)(call.config, store)
    assert begun == [(call.config, store)]
    monkeypatch.setattr(room, "free", lambda place: wanted - 1)
    with pytest.raises(DiskFull, match=r"will store about .* MB are free; make room, choose"):
        room.roomy(lambda *given: begun.append(given), trials, store)(call.config, store)
    assert len(begun) == 1
    stored = {rung.measures["loss"].key for trial in trials for rung in trial.shown} | runs
    assert room.size_of(trials, stored.__contains__).of(parameters) == 0


def test_a_study_without_room_trains_nothing_and_goes_on_where_there_is_some(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(room, "free", lambda place: 1000)
        assert study(LIST, ["--local"]) == options.ENVIRONMENT
    assert "0 MB are free; make room" in capsys.readouterr().err
    runs = {key for config in preview(resolve(LIST, [])) for key in trajectory(config).runs}
    assert runs.isdisjoint({key for key, _ in Store("runs/store")})
    assert study(LIST, ["--local"]) == options.DONE
    assert runs <= {key for key, _ in Store("runs/store")}


def test_the_estimate_is_what_a_trial_stores(store):
    config = tiny()
    rounds(config, store)
    sizes = [path.stat().st_size for path in (store.root / "objects").rglob("tensors")]
    chosen = trajectory(config)
    assert 0.5 < room.size_of([chosen]).of(room.parameters_of(config)) / (sum(sizes) + 60_000) < 2


# again


def test_a_failed_trial_is_put_in_line_by_a_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["trial", *SMALL, "--train.lr", "1e30"]) == options.PARTIAL
    (ledger,) = Ledger.all(Store("runs/store"))
    capsys.readouterr()
    assert main(["retry", "other"]) == options.BAD_INPUT
    assert "'other' is no study and no call of this store" in capsys.readouterr().err
    for argv in (["retry", "5"], ["retry", "trial", "5"], ["retry", "--kind", "device"]):
        assert main(argv) == options.DONE
        assert capsys.readouterr().out == "0 failed trials were put in line again\n"
    assert main(["retry", "x", "y"]) == options.BAD_INPUT
    assert "'y' is no number of a trial" in capsys.readouterr().err
    assert main(["retry", "trial", "0", "--kind", "deterministic"]) == options.DONE
    said = capsys.readouterr().out
    assert "trial 0 overall late25% s0: NonFinite: training loss is" in said
    assert re.search(r"to go on:  \S*lthray trial ", said)
    assert "1 failed trials were put in line again" in said
    assert ledger.end(0) is None
    assert main(["trial", *SMALL, "--train.lr", "1e30"]) == options.PARTIAL
    assert ledger.end(0).status == "failed"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "MemoryError (resource)"),
        (RuntimeError("CUDA error: no kernel\nCompile"), "CUDA error: no kernel (device)"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_what_the_machine_does_to_a_trial_is_one_line_and_nothing_has_failed(
    tmp_path, monkeypatch, capsys, error, said
):
    def broken(*args, **options):
        raise error
        yield

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lthray.trial.run.run", broken)
    assert main(["trial", *SMALL]) == options.ENVIRONMENT
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err
    (ledger,) = Ledger.all(Store("runs/store"))
    assert ledger.end(0) is None


def test_a_lock_that_dies_with_its_process_is_free(tmp_path):
    folder = Folder(tmp_path)
    with folder.lock("study", wait=False) as mine:
        assert mine
    with folder.lock("study", wait=False) as again:
        assert again
