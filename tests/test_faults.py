"""Faults of the machine and of what stands around it, which no other file has."""

import contextlib
import errno
import http.server
import os
import resource
import signal
import sqlite3
import threading
import time
from types import SimpleNamespace

import pytest

from lthray.__main__ import main
from lthray.command import guarded
from lthray.config import options
from lthray.core.store import Store
from lthray.study.ledger import DONE
from lthray.study.local_runner import _Runner
from lthray.study.queue import Queue
from lthray.study.signals import STOPPING, Ending, handled
from lthray.tracking.write import Projector, Recorder, replay
from lthray.trial.run import run

from .conftest import same
from .test_cli import SMALL
from .test_desk import LIST, opened
from .test_local import Quiet, execute, found
from .test_recording import contents, uri_of
from .test_store import FACTS, KEY, tensors

DAY = 86400.0


# a terminal that is closed


def test_a_terminal_that_is_closed_ends_a_study_unless_nohup_is_before_it():
    told = []
    for before, count in ((signal.SIG_DFL, 1), (signal.SIG_IGN, 0)):
        real = signal.signal(signal.SIGHUP, before)
        try:
            with handled(lambda: told.append("end")):
                os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == before
        finally:
            signal.signal(signal.SIGHUP, real)
        assert len(told) == count
        told.clear()


def test_a_first_ctrl_c_ends_a_study_and_a_second_leaves_at_once():
    told, reached = [], []

    def study() -> int:
        with Ending(told.append).listening():
            for number in range(3):
                os.kill(os.getpid(), signal.SIGINT)
                reached.append(number)
        return options.DONE

    assert guarded(study, []) == options.KILLED == 130
    assert told == [STOPPING]
    assert reached == [0]


# clocks


class Clock:
    """A clock that jumps a day forth and a day back, again and again."""

    def __init__(self) -> None:
        self.looks, self.real = 0, time.time

    def __call__(self) -> float:
        self.looks += 1
        return self.real() + DAY * (self.looks % 3 - 1)


def test_a_clock_that_jumps_by_days_changes_no_result_and_no_order(tmp_path, monkeypatch):
    """Rounds follow their index, draws and keys no clock; recording it twice changes nothing."""
    calm = Store(tmp_path / "calm" / "store")
    execute(*opened(LIST, calm, "--trials", "1"))
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    store = Store(tmp_path / "wild" / "store")
    call, ledger = opened(LIST, store, "--trials", "1")
    assert not execute(call, ledger)[0]
    assert clock.looks > 20
    for one, other in zip(found(calm, opened(LIST, calm)[1]), found(store, ledger), strict=True):
        assert (one.status, other.status) == (DONE, DONE)
        assert [r.index for r in other.rounds] == [0, 1, 2]
        assert all(map(same, one.rounds, other.rounds))
    uri, place = uri_of(tmp_path), tmp_path / "artifacts"
    assert replay(store, uri, place) == 1
    once = contents(uri)
    assert replay(store, uri, place) == 1
    assert contents(uri) == once
    ((_, runs),) = once.values()
    for _, _, history, *_ in runs.values():
        assert [step for step, *_ in history["loss/heldout"]] == [0, 1, 2]


def test_a_lock_ends_with_its_holder_and_not_with_the_time(tmp_path, monkeypatch):
    store = Store(tmp_path)
    with store.lock(KEY):
        monkeypatch.setattr(time, "time", lambda: 4e9)
        with Store(tmp_path).lock(KEY, wait=False) as mine:
            assert not mine


# files that the system will not open


@contextlib.contextmanager
def few_files(more: int):
    """Let this process open no more than so many files beside those that it has open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = max(map(int, os.listdir("/proc/self/fd")))
    held = []
    with contextlib.suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDONLY)) < taken:  # fill the gaps
            held.append(number)
        os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1 + more, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        for number in held:
            os.close(number)


def test_without_a_file_to_open_an_object_is_whole_or_absent(tmp_path):
    failed = 0
    for more in range(6):
        store = Store(tmp_path / str(more))
        codes = []
        with few_files(more):
            try:
                store.put(KEY, facts=FACTS, tensors=tensors())
            except OSError as error:
                codes.append(error.errno)
        assert {*codes} <= {errno.EMFILE}
        failed += len(codes)
        again = Store(tmp_path / str(more))
        visible = list((again.root / "objects").glob(f"??/{KEY}/whole/*"))
        assert (again.find(KEY) is not None) == bool(visible)
        assert again.put(KEY, facts=FACTS, tensors=tensors()).facts == FACTS
    assert 0 < failed < 6


def test_a_trial_without_files_to_open_is_one_line_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["trial", *SMALL, "--prune.ladder", "0.5", "--out", "other"]) == options.BAD_INPUT
    capsys.readouterr()  # a word given twice: nothing was written, and modules are loaded
    with few_files(1):
        code = main(["trial", *SMALL])
    shown = capsys.readouterr()
    assert code == options.ENVIRONMENT
    assert shown.err.count("\n") == 1
    assert "Too many open files" in shown.err
    assert main(["trial", *SMALL]) == options.DONE
    assert main(["store", "verify"]) == options.DONE


# MLflow


@pytest.mark.parametrize("revision", ["1b5f0d9ad7c1", "dc11aaaaaaaa"], ids=["older", "newer"])
def test_a_database_of_another_mlflow_is_left_as_it_is(tmp_path, capsys, revision):
    """`lthray record` never changes a schema: that is `mlflow db upgrade`, after a copy."""
    store = Store(tmp_path / "runs" / "store")
    call, ledger = opened(LIST, store, "--trials", "1")
    queue = Queue(call, ledger)
    queue.task(next(iter(queue.listed())), 0.0)
    Recorder(uri_of(tmp_path), tmp_path / "artifacts")
    place = (tmp_path / "mlflow.db").rename(tmp_path / "runs" / "mlflow.db")
    with contextlib.closing(sqlite3.connect(place)) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        database.commit()
        before = list(database.iterdump())
    assert main(["record", "--out", str(tmp_path / "runs")]) == options.ENVIRONMENT
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "mlflow db upgrade" in err
    with contextlib.closing(sqlite3.connect(place)) as database:
        assert list(database.iterdump()) == before
    assert len(list(ledger)) == 1


class Answering(http.server.BaseHTTPRequestHandler):
    """A server that answers every request in one way."""

    status, text = 500, b""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.text)))
        self.end_headers()
        self.wfile.write(self.text)

    do_POST = do_GET

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("status", [200, 302, 401, 413, 429, 500])
def test_a_server_that_answers_something_else_holds_nothing_up(tmp_path, status, capfd, caplog):
    """A login page, a proxy's error: told in one line without the password, and tried again."""
    store = Store(tmp_path / "store")
    _, ledger = opened(LIST, store, "--trials", "1")
    page = b"<html>canary in a page</html>\n" * 50
    handler = type("Handler", (Answering,), {"status": status, "text": page})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://me:cAnArY7@127.0.0.1:{server.server_port}"
    projector = Projector(store, ledger, uri, tmp_path / "artifacts", every=0.1)
    began = time.monotonic()
    projector.start()
    behind = projector.close(patience=0.8)
    server.shutdown()
    server.server_close()
    assert time.monotonic() - began < 10
    assert behind
    assert "\n" not in behind
    told = behind + caplog.text + "".join(capfd.readouterr())
    assert "cAnArY7" not in told


# Tune's own folder


def test_when_tune_fails_the_study_goes_on_from_the_store(store, monkeypatch):
    """As where the disk of its folder is full: it then raises EOFError for a file that it has cut
    short itself. Nothing of a study lies there, so another Tuner is given what is unfinished."""
    from lthray.study import ray_runner

    call, ledger = opened(LIST, store, "--trials", "2")
    tries = []

    def tuner(queue, given, site, stop, scratch):
        def fit() -> None:
            tries.append(queue.left)
            runner = _Runner(queue, given, site.watch)
            for words in list(queue.listed())[:1]:
                runner.attempt(queue.task(words, 0.0))
            if len(tries) == 1:
                raise EOFError("Ran out of input")

        return SimpleNamespace(fit=fit)

    monkeypatch.setattr(ray_runner, "_tuner", tuner)
    monkeypatch.setattr(ray_runner, "prepare", lambda *_: None)
    watch = Quiet()
    looks = []
    site = SimpleNamespace(
        watch=watch,
        counted="2 trials at a time",
        share=0.0,
        call=call,
        look=lambda: looks.append(None),
    )
    stop = SimpleNamespace(stop_all=lambda: False)
    ray_runner._run_on(site, Queue(call, ledger), run, stop, "nowhere")
    assert tries == [2, 1]
    assert len(looks) == 1
    assert any("Tune failed (EOFError: Ran out of input); going on" in line for line in watch.said)
    assert [trial.status for trial in found(store, ledger)] == [DONE, DONE]
