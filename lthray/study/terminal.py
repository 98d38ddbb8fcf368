"""What a study shows while it runs: progress and the time left."""

import contextlib
import sys
import threading
import time
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table as Table
from rich.text import Text

from lthray.core.store import Store
from lthray.study.ledger import Ledger
from lthray.study.pulse import Pulse, pulses

WIDE = 180  # columns of a log
PAGE = 120  # columns of a notebook, which breaks longer lines in the middle of words
PULSE = 60.0  # seconds without a line after which a log tells what is at work
SMOKE_PULSE = 10.0  # the same with --smoke, which somebody is waiting for
LIGHT = 50  # times as long as a look took, until the next
LONGEST = 60.0  # seconds until the next, however long a look took


class Output(Console):
    """A console that raises BrokenPipeError where its reader has gone, as any other output does."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command how it ends."""
        raise


def console() -> Console:
    """Return a console on stdout, as wide as the terminal; in a log, as wide as tables.

    A notebook is a log as well, with lines as wide as its page.
    """
    is_terminal, in_notebook = sys.stdout.isatty(), Console().is_jupyter
    width = PAGE if in_notebook else WIDE
    made = Output(
        width=None if is_terminal else width,
        highlight=False,
        markup=False,  # [x] and :x: are parts of names here
        emoji=False,
        soft_wrap=not (is_terminal or in_notebook),
        force_terminal=is_terminal,  # FORCE_COLOR, which a kernel sets, makes no terminal of a log
        force_jupyter=False,  # or text would go round stdout, and round what hides secrets there
    )
    if not made.width:  # a terminal that does not know, such as of COLUMNS=0, would show nothing
        made.width = WIDE
    return made


def table(
    title: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, left: Container[str] = ()
) -> Table:
    """Return a table without a box; columns with heads in `left` are flush left, others right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in head:
        made.add_column(column, justify="left" if column in left else "right")
    for row in rows:
        made.add_row(*row)
    return made


@dataclass(frozen=True)
class Shared:
    """A training run that several trials share, and that is made before them."""

    name: str
    key: str
    steps: int


class Tally:
    """Counts training steps of a call as its store shows them; trials may share runs."""

    def __init__(self, store: Store, ledger: Ledger, trials: int):
        self.store, self.ledger, self.trials = store, ledger, trials
        self.shared: tuple[Shared, ...] = ()  # what is made before the trials
        self.begun = 0  # trials that were given out
        self.runs: dict[str, tuple[int, int]] = {}  # key of a training run -> first and last step
        self.finished: set[str] = set()

    def __call__(self) -> tuple[int, int]:
        """Return (steps trained, steps in all).

        Trials that were not given out yet count as much as the mean of those that were; before any
        is, what they share counts alone.
        """
        self._look_for_trials()
        if not self.begun:
            self.runs = {shared.key: (0, shared.steps) for shared in self.shared}
        done = sum(map(self._trained, self.runs))
        total = sum(end - start for start, end in self.runs.values())
        if 0 < self.begun < self.trials:
            total = total * self.trials // self.begun
        return done, total

    def _look_for_trials(self) -> None:
        if self.begun >= self.trials:
            return
        begun = sum(part.endswith("-point") for part in self.store.parts(self.ledger.key))
        if begun > self.begun:
            self.begun = begun
            points = [entry.point for entry in self.ledger]
            self.runs = {key: (a, b) for point in points for key, (a, b) in point.runs.items()}

    def _trained(self, key: str) -> int:
        """Return how many steps of a training run are done."""
        start, end = self.runs[key]
        if key in self.finished:
            return end - start
        parts = self.store.parts(key)
        if "final" in parts:
            self.finished.add(key)
            return end - start
        reached = [int(part[-8:]) - start for part in parts if part[:4] in ("step", "anch")]
        return max(reached, default=0)


class Speed(ProgressColumn):
    """Training steps a second of a line."""

    def render(self, task: Task) -> Text:
        """Return the speed, or nothing where nothing is trained."""
        return Text(f"{task.speed:.0f} steps/s" if task.speed and task.total else "")


class Watch:
    """Shows the progress of a study: a bar for all of it and a line for each trial at work on a
    terminal; in a log a line a round, and one a minute where nothing else is said."""

    def __init__(self, tally: Tally, title: str, every: float = 2.0, pulse: float = PULSE):
        self.tally, self.every, self.title, self.pulse = tally, every, title, pulse
        self.left = ""  # time left, in words
        self.slots = 1  # trials at a time
        self.lines = 0  # that were told
        self.began: tuple[float, int] | None = None  # when it first looked, and the steps done then
        self.begun = 0  # trials that were given out when it last looked
        self.due, self.spoke = 0.0, time.monotonic()
        self.console = console()
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TextColumn("{task.fields[phase]}"),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f} %"),
            Speed(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task(title, total=None, left="", phase="")
        self.rows: dict[str, TaskID] = {}  # name of what is at work -> its line
        self._looking, self._over = threading.Lock(), threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "Watch":
        self.bar.start()
        self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._ticker.join()
        self.bar.stop()

    def _tick(self) -> None:
        """Look again and again, whoever else looks: a runner may wait for long."""
        while not self._over.wait(self.every):
            with contextlib.suppress(OSError):  # who looks next may be luckier, or tells of it
                self.update()

    def expect(self, shared: Sequence[Shared]) -> None:
        """Count and show what is made before the trials."""
        self.tally.shared = tuple(shared)
        self.say(f"first what the trials share: {len(shared)} dense runs")

    def update(self) -> None:
        """Look again how far the study is, at most once in `every` seconds."""
        with self._looking:
            now = time.monotonic()
            if now >= self.due:
                self._look(now)
                self.due = now + until_next(self.every, time.monotonic() - now)

    def _look(self, now: float) -> None:
        done, total = self.tally()
        trials_came, self.begun = bool(self.tally.begun and not self.begun), self.tally.begun
        if self.began is None or trials_came:  # other runs are counted from here
            self.began = now, done
        since, done_then = self.began
        rate = (done - done_then) / max(now - since, 1e-9)
        self.left = ""
        if rate > 0 and done < total:
            self.left = f"{duration((total - done) / rate)} left at most"
        work = list(pulses(self.tally.store.root))
        if self.console.is_terminal:
            self.bar.update(self.task, completed=done, total=total or None, left=self.left)
            self._show(work)
        elif now - self.spoke > self.pulse:
            self._print(self._pulse(work, done, total, rate))

    def _show(self, work: Sequence[Pulse]) -> None:
        """Bring the lines of a terminal to what is at work now."""
        for name in self.rows.keys() - {each.name for each in work}:
            self.bar.remove_task(self.rows.pop(name))
        for each in work:
            if each.name not in self.rows:
                self.rows[each.name] = self.bar.add_task(each.name, total=None, phase="", left="")
            steps = each.of or None  # None: the bar moves to and fro
            row = self.rows[each.name]
            self.bar.update(row, completed=each.step, total=steps, phase=str(each))

    def _pulse(self, work: Sequence[Pulse], done: int, total: int, rate: float) -> str:
        """Return a line on all that is at work."""
        told = [f"{done:,} of {total:,} steps, {rate:.0f} a second"]
        for each in work:
            told.append(f"{each.name}: {each}")
        return f"{self.title}: {'; '.join(told)}"

    def signs(self) -> object:
        """Return what changes while the study gets on: lines told, where workers stand, objects.

        May be called from another thread, and waits for no other.
        """
        store = self.tally.store
        return self.lines, list(pulses(store.root)), store.latest()

    def say(self, text: str) -> None:
        """Print a line above the bar, or in the log."""
        self.lines += 1
        self._print(text)

    def _print(self, text: str) -> None:
        self.spoke = time.monotonic()
        left = f"  ({self.left})" if self.left else ""
        self.console.print(f"{time.strftime('%H:%M:%S')}  {text}{left}")


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it: seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def until_next(every: float, took: float) -> float:
    """Return the seconds until the next look, after one that `took` so many.

    They are `every`, or more where looks at thousands of trials would load the machine, yet at most
    LONGEST: a first look may have had much to do.
    """
    return max(every, min(LONGEST, LIGHT * took))
