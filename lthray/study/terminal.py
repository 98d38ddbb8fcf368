"""What a study shows while it runs: progress and the time left."""

import sys
import time
from collections.abc import Container, Iterable, Sequence
from functools import cached_property

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Table

from lthray.core.store import Store
from lthray.study.ledger import Ledger

WIDE = 180  # columns of a log


def console() -> Console:
    """Return a console on stdout, as wide as the terminal; in a log, as wide as tables."""
    is_terminal = sys.stdout.isatty()
    width = None if is_terminal else WIDE
    wraps = not is_terminal
    # [x] and :x: are parts of names here
    made = Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=wraps)
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


class Tally:
    """Counts training steps of a call as its store shows them; trials may share runs."""

    def __init__(self, store: Store, ledger: Ledger, trials: int):
        self.store, self.ledger, self.trials = store, ledger, trials
        self.runs: dict[str, tuple[int, int]] = {}  # key of a training run -> first and last step
        self.finished: set[str] = set()
        self.begun = 0  # trials that were given out

    def __call__(self) -> tuple[int, int]:
        """Return (steps trained, steps in all).

        Trials that were not given out yet count as much as the mean of those that were.
        """
        self._look_for_trials()
        done = sum(map(self._trained, self.runs))
        total = sum(end - start for start, end in self.runs.values())
        if self.begun < self.trials:
            total = total * self.trials // max(self.begun, 1)
        return done, total

    def _look_for_trials(self) -> None:
        begun = sum(part.endswith("-point") for part in self.store.parts(self.ledger.key))
        if begun > self.begun:
            self.begun = begun
            for entry in self.ledger:
                for key, (start, end) in entry.point.runs.items():
                    self.runs[key] = start, end

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


class Watch:
    """Shows the progress of a study: a bar on a terminal, a line a round in a log."""

    def __init__(self, tally: Tally, title: str, every: float = 2.0):
        self.tally, self.every = tally, every
        self.left = ""  # time left, in words
        self.slots = 1  # trials at a time
        self.lines = 0  # that were told
        self.began: tuple[float, int] | None = None  # when it first looked, and the steps done then
        self.looked = 0.0
        self.console = console()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task(title, total=None, left="")

    def __enter__(self) -> "Watch":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self) -> None:
        """Look again how far the study is, at most once in `every` seconds."""
        now = time.monotonic()
        if now - self.looked < self.every:
            return
        self.looked = now
        done, total = self.tally()
        self.began = self.began or (now, done)
        since, done_then = self.began
        rate = (done - done_then) / max(now - since, 1e-9)
        self.left = ""
        if rate > 0 and done < total:
            self.left = f"{duration((total - done) / rate)} left at most"
        self.bar.update(self.task, completed=done, total=total, left=self.left)

    def signs(self) -> object:
        """Return what changes while the study gets on: lines told, steps trained, objects stored.

        May be called from another thread.
        """
        return self.lines, self._second(), self._second.store.latest()

    @cached_property
    def _second(self) -> Tally:
        """A tally of its own for the other thread, which remembers what it has seen."""
        return Tally(self.tally.store, self.tally.ledger, self.tally.trials)

    def say(self, text: str) -> None:
        """Print a line above the bar, or in the log."""
        self.lines += 1
        left = f"  ({self.left})" if self.left else ""
        self.console.print(f"{time.strftime('%H:%M:%S')}  {text}{left}")


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it: seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
