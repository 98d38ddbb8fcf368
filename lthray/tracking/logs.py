"""Projections of the store that may be wanted beside MLflow: a table of rows, asked for by name.

Each is a function of what is stored, and is never read for a decision. One that cannot be written
holds up nothing, and `lthray record` writes it later.
"""

import importlib.util
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lthray.config.addresses import redacted
from lthray.config.fields import ConfigError
from lthray.config.shell import pasteable
from lthray.core.keys import key_of
from lthray.core.record import TrialRecord
from lthray.core.store import Store
from lthray.study.ledger import Ledger
from lthray.study.results import News
from lthray.tracking.events import EventFiles
from lthray.tracking.journal import Journal


class Writer(Protocol):
    """The files of one projection, open for writing."""

    def record(self, trial: TrialRecord, about: Mapping[str, Any]) -> None:
        """Bring what is written of a trial up to what is stored, given what its call holds."""


@dataclass(frozen=True)
class Row:
    """One projection."""

    place: str
    """File or folder below --out."""
    opened: Callable[[Path], Writer]
    """Opens that place for writing."""
    look: str
    """Command that shows the place, which stands behind it."""
    package: str
    """Package that the command comes with; writing needs none."""
    searches: bool = False
    """Whether it holds searches alone."""


class Log:
    """One projection of the store below --out, kept up to date."""

    def __init__(self, name: str, out: str):
        self.name, self.out, self.row = name, out, LOGS[name]
        self.place = Path(out) / self.row.place
        self.writer: Writer | None = None
        self.news: News | None = None  # what is not written yet of the call that is followed
        self.behind: str | None = None

    def follow(self, store: Store, ledger: Ledger) -> None:
        """Write what is new of a call; what stands in the way is kept in `behind`, not raised."""
        self.news = self.news or News(store, ledger)
        try:
            self.catch_up(self.news)
            self.behind = None
        except Exception as error:  # whatever it is, the study goes on and the store keeps all
            self.writer, self.news = None, None
            self.behind = f"{type(error).__name__}: {redacted(str(error))[:160]}"

    def catch_up(self, news: News) -> int:
        """Write what is new of a call; return how many of its trials have ended."""
        about = news.ledger.about
        if self.row.searches and not about["plan"].get("space"):
            return 0
        with news.store.lock(key_of("log", 1, str(self.place.absolute()))):
            self.writer = self.writer or self.row.opened(self.place)
            for trial in news:
                self.writer.record(trial, about)
        return len(news.ended)

    def lines(self) -> Iterator[str]:
        """Yield how to look at what was written, or how to write what could not be."""
        if self.behind:
            words = ["record", "--log", self.name, "--out", self.out]
            later = pasteable(shlex.join(["lthray", *words]))
            yield f"{self.name} is behind ({self.behind}); later:  {later}"
        elif self.place.exists():
            is_there = importlib.util.find_spec(self.row.package)
            needed = "" if is_there else f" (pip install {self.row.package.replace('_', '-')})"
            yield f"look{needed}:  {self.row.look} {shlex.quote(str(self.place))}"


LOGS: Mapping[str, Row] = {
    "tensorboard": Row("tensorboard", EventFiles, "tensorboard --logdir", "tensorboard"),
    "optuna": Row("optuna.log", Journal, "optuna-dashboard", "optuna_dashboard", searches=True),
}


def check(names: Sequence[str], study: str, *, is_search: bool) -> None:
    """Raise ConfigError where a projection that is asked for has no place for a study."""
    for name in names:
        if LOGS[name].searches and not is_search:
            raise ConfigError([f"--log {name}: {study} is no search, and it holds nothing else"])


def fill(store: Store, calls: Iterable[Ledger], names: Sequence[str], out: str) -> Iterator[str]:
    """Write calls of a store into projections, oldest first; yield a line on each projection."""
    oldest_first = sorted(calls, key=lambda ledger: ledger.about["created"])
    for log in [Log(name, out) for name in dict.fromkeys(names)]:
        number = sum(log.catch_up(News(store, ledger)) for ledger in oldest_first)
        yield f"{number} trials recorded in {log.place}"
        yield from log.lines()
