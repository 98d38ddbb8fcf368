"""What workers are at: files that they rewrite, lines of a terminal, and a line a minute in a
log."""

import io
import os
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from lthray.core.record import Progress, Round
from lthray.core.store import Store
from lthray.study import pulse, terminal
from lthray.study.pulse import Heart, Pulse, pulses
from lthray.study.terminal import Shared, Tally, Watch
from lthray.study.worker import DenseRun, Job, train_dense, work


@pytest.fixture(autouse=True)
def _root(store):
    store.put("0" * 64, "plan", facts={})


REACHED = Progress(round=2, step=30, of=400, loss=0.25, seconds=1.0)


def measured(index: int, excess: float) -> Round:
    return SimpleNamespace(index=index, metrics={"loss/excess": excess})


def test_a_worker_writes_where_it_stands_and_leaves_nothing(tmp_path):
    with Heart(tmp_path, "trial 3 overall s0") as heart:
        assert list(map(str, pulses(tmp_path))) == ["begins"]
        heart.measured(measured(0, 0.0))
        heart.measured(measured(1, -0.031))
        heart.reached(REACHED)
        (found,) = pulses(tmp_path)
        assert found.name == "trial 3 overall s0"
        assert str(found) == "rung 2, step 30 of 400, loss 0.2500, excess -3.1%"
        heart.reached(replace(REACHED, step=400))
        assert str(*pulses(tmp_path)) == "rung 2, measuring, loss 0.2500, excess -3.1%"
    assert list(pulses(tmp_path)) == []
    assert list((tmp_path / "pulses").iterdir()) == []


def test_a_worker_that_is_gone_is_not_shown(tmp_path):
    heart = Heart(tmp_path, "trial 0")
    heart.reached(REACHED)
    assert len(list(pulses(tmp_path))) == 1
    old = time.time() - pulse.STALE - 1
    os.utime(heart.path, (old, old))
    assert list(pulses(tmp_path)) == []
    assert not heart.path.exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"name": "x", "colour": 1}'])
def test_a_file_that_is_being_written_is_passed_over(tmp_path, text):
    Heart(tmp_path, "trial 0").reached(REACHED)
    (tmp_path / "pulses/other.json").write_text(text)
    assert [found.name for found in pulses(tmp_path)] == ["trial 0"]


def test_a_place_that_cannot_be_written_is_no_fault(tmp_path):
    (tmp_path / "file").touch()
    with Heart(tmp_path / "file", "trial 0") as heart:
        heart.reached(REACHED)


def test_a_trial_and_a_shared_network_have_a_pulse_while_they_run(store):
    seen = []

    def run(config, store, *, anchors=(), progress=None):
        progress(REACHED)
        seen.extend(found.name for found in pulses(store.root))
        yield measured(0, 0.0)

    shown = Shared("dense s0", "key", 400)
    train_dense(DenseRun({}, (), shown), store, run)
    job = Job(0, "overall s0", {}, str(store.root), "0" * 64, 1, 0.0)
    assert work(job, run, lambda r: True) == "done"
    assert seen == ["dense s0", "trial 0 overall s0"]
    assert list(pulses(store.root)) == []


# what is shown


class Counted(Tally):
    """A tally whose numbers are given."""

    def __init__(self, store: Store, *numbers: tuple[int, int]):
        self.store, self.ledger, self.trials = store, None, 4
        self.begun, self.shared, self.numbers = 0, (), list(numbers)

    def __call__(self) -> tuple[int, int]:
        return self.numbers.pop(0)


def watch_of(store: Store, *numbers: tuple[int, int], is_terminal: bool = False, pulse=60.0):
    text = io.StringIO()
    watch = Watch(Counted(store, *numbers), "list", every=0.0, pulse=pulse)
    made = Console(file=text, force_terminal=is_terminal, width=140)
    watch.console = watch.bar.live.console = made
    return watch, text


def test_a_log_has_a_line_a_minute_and_no_more(store, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    Heart(store.root, "trial 3 overall s0").reached(REACHED)
    watch, text = watch_of(store, *[(100 + 10 * i, 1000) for i in range(20)])
    lines = watch.lines
    for _ in range(13):
        watch.update()
        now[0] += 10.0
    told = text.getvalue().splitlines()
    assert len(told) == 1
    assert "list: 170 of 1,000 steps, 1 a second; trial 3 overall s0: rung 2, step 30" in told[0]
    assert "14 min left at most" in told[0]
    assert watch.lines == lines  # a pulse alone is no sign that a study gets on
    watch.say("a round")
    watch.update()
    assert len(text.getvalue().splitlines()) == 2


def test_the_log_of_a_smoke_run_has_a_line_every_ten_seconds(store, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    Heart(store.root, "trial 3 overall s0").reached(REACHED)
    numbers = [(100 + i, 1000) for i in range(20)]
    watch, text = watch_of(store, *numbers, pulse=terminal.SMOKE_PULSE)
    for _ in range(7):
        now[0] += 11.0
        watch.update()
    assert len(text.getvalue().splitlines()) == 7


def test_a_log_is_no_terminal_whatever_the_environment_says_of_colours(monkeypatch, capsys):
    """A cell with !python, and many a service that runs tests, force colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert not terminal.console().is_terminal
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert terminal.console().is_terminal


def test_a_terminal_has_a_line_for_each_that_is_at_work(store, monkeypatch):
    monkeypatch.setattr(terminal, "LIGHT", 0)
    watch, _ = watch_of(store, *[(0, 0)] * 4, is_terminal=True)
    with Heart(store.root, "trial 3 overall s0") as heart:
        watch.update()
        (row,) = watch.rows.values()
        assert watch.bar.tasks[row].total is None  # it moves to and fro: nothing is trained yet
        heart.reached(REACHED)
        watch.update()
        assert (watch.bar.tasks[row].completed, watch.bar.tasks[row].total) == (30, 400)
        assert watch.bar.tasks[row].fields["phase"].startswith("rung 2, step 30 of 400")
    watch.update()
    assert watch.rows == {}


def test_a_look_takes_a_small_part_of_the_time_however_long_it_takes(store, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    watch, _ = watch_of(store, *[(i, 1000) for i in range(100)])
    slow = watch.tally.__class__.__call__

    def counted(tally):
        now[0] += 0.4
        return slow(tally)

    monkeypatch.setattr(Counted, "__call__", counted)
    looks = 0
    while now[0] < 1200.0:
        left = len(watch.tally.numbers)
        watch.update()
        looks += left - len(watch.tally.numbers)
        now[0] += 0.1
    assert looks == pytest.approx(200 / (0.4 * (1 + terminal.LIGHT)), abs=1)


@pytest.mark.parametrize(
    ("every", "took", "pause"),
    [(2.0, 0.001, 2.0), (2.0, 0.3, 15.0), (2.0, 90.0, 60.0), (75.0, 90.0, 75.0), (0.0, 0.0, 0.0)],
)
def test_the_next_look_is_neither_too_soon_nor_too_late(every, took, pause):
    assert terminal.until_next(every, took) == pytest.approx(pause)


def test_signs_of_life_are_where_workers_stand(store):
    watch, _ = watch_of(store)
    before = watch.signs()
    assert watch.signs() == before
    with Heart(store.root, "trial 3 overall s0") as heart:
        heart.reached(REACHED)
        trained = watch.signs()
        heart.reached(replace(REACHED, step=REACHED.step + 1))
        assert before != trained != watch.signs()


def test_time_left_is_of_what_is_trained_now(store, monkeypatch):
    """Steps that were stored before the trials came in sight are not taken for a fast machine."""
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    watch, _ = watch_of(store, (0, 100), (50, 100), (10_000, 20_000), (10_010, 20_000))
    for begun in (0, 0, 4, 4):
        now[0] += 10.0
        watch.tally.begun = begun
        watch.update()
        if begun == 4 and not watch.left:
            began = watch.began
    assert began == (30.0, 10_000)
    assert watch.left == "2.8 h left at most"


def test_what_trials_share_is_counted_until_there_are_trials(store):
    ledger = SimpleNamespace(key="0" * 64)
    tally = Tally(store, ledger, 4)
    assert tally() == (0, 0)
    tally.shared = (Shared("a", "1" * 64, 400), Shared("b", "2" * 64, 800))
    assert tally() == (0, 1200)
    store.put("1" * 64, "final", facts={})
    store.put("2" * 64, "step-00000100", facts={})
    assert tally() == (500, 1200)


def test_a_pulse_holds_what_is_shown_and_nothing_else():
    assert str(Pulse("x", round=0, step=5, of=8)) == "dense, step 5 of 8"
    assert not Pulse("x", step=8, of=8).trains
