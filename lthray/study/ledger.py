"""Which trials a study has and what became of them: kept in the store, written once, never changed.

A call is one study under one frozen plan; its key is a hash of that plan, so the same command finds
the same call. For each trial it holds its point (as it was given out) and its end. Rounds are found
by what the point says of them.
"""

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from lthray.config.addresses import redacted
from lthray.core.keys import KEY, key_of
from lthray.core.record import Name, Number, Outcome, Point, RecordError, checked
from lthray.core.store import DamagedStore, Store, StoreError

log = logging.getLogger("lthray")
T = TypeVar("T")

INDEX = key_of("index of calls", 1, {})
DONE, STOPPED, FAILED = "done", "stopped", "failed"
UNFINISHED = Outcome("unfinished")

NO_INPUTS = {"data": "", "given": ""}
"""Parts of a plan that are digests of what lies outside, without any."""
GIVEN_OUT = re.compile(r"trial-(\d{4,9})-point")


@dataclass(frozen=True)
class About:
    """What is kept of a call beside its trials, and where it is read, what it may be."""

    study: Name
    preset: Name
    smoke: bool
    question: str
    created: Number
    plan: Mapping[str, Any]
    command: str = ""
    commit: str = ""
    lthray: str = ""
    varied: Sequence[str] = ()
    order: Sequence[str] = ()
    """Words of a search's space in the order in which they are drawn; a plan does not keep it."""


@dataclass(frozen=True)
class Entry:
    """One trial of a call."""

    number: int
    point: Point
    """The trial as it was given out."""
    end: Outcome | None
    """How it ended; None while it is unfinished."""

    @property
    def ended(self) -> Outcome:
        """How it ended; of a trial that has not, an outcome of that status."""
        return self.end or UNFINISHED

    @property
    def rounds(self) -> Sequence[Mapping[str, Any]]:
        """Entries of `point.rounds` as far as the trial went; later ones are of other trials."""
        if self.end is None or self.end.last is None:
            return self.point.rounds
        return self.point.rounds[: self.end.last + 1]


class Ledger:
    """The trials of one call."""

    def __init__(self, store: Store, key: str):
        self.store, self.key = store, key
        self.points: dict[int, Point] = {}
        """Trials whose points were read, by number: they never change."""

    @classmethod
    def freeze(cls, store: Store, plan: Mapping[str, Any], about: Mapping[str, Any]) -> "Ledger":
        """Open the call of a `plan`, or begin it.

        `about` is recorded beside the plan and does not decide which call it is; what was recorded
        first stays.
        """
        key = key_of("call", 1, plan)
        if store.find(key, "plan") is None:
            store.put(key, "plan", facts={**about, "plan": dict(plan), "created": time.time()})
        if key not in store.parts(INDEX):
            store.put(INDEX, key, facts={})
        return cls(store, key)

    @classmethod
    def all(cls, store: Store) -> list["Ledger"]:
        """Return every call in a store whose plan can be read; the others are warned of."""
        ledgers = []
        for key in store.parts(INDEX):
            if KEY.fullmatch(key) and store.find(key, "plan"):
                ledgers.append(cls(store, key))
            else:
                log.warning("the plan of call %s is damaged; its own command restores it", key[:16])
        return ledgers

    @property
    def about(self) -> dict[str, Any]:
        """Facts of the call: study, preset, smoke, question, command, plan, created (Unix time)."""
        item = self.store.find(self.key, "plan")
        return _read(f"call {self.key[:16]}", checked, About, item.facts) if item else {}

    def changed_inputs(self) -> list[str]:
        """Return a line on each earlier call that is this one but for data or given files, of which
        nothing is used; none where trials of this call were given out."""
        if list(self):
            return []
        lines, own = [], {**self.about["plan"], **NO_INPUTS}
        for other in Ledger.all(self.store):
            if other.key != self.key and {**other.about["plan"], **NO_INPUTS} == own:
                changed = "the data, or files that are given, have changed"
                lines.append(f"{changed} since call {other.key[:16]}: all is made anew")
        return lines

    def begin(self, number: int, point: Point) -> Point:
        """Give out trial `number` as `point`; returns what was given out first, which stays."""
        return _point(self.store.put(self.key, _part(number, "point"), facts=asdict(point)).facts)

    def finish(
        self,
        number: int,
        status: str,
        reason: str = "",
        *,
        trace: str = "",
        kind: str = "",
        last: int | None = None,
    ) -> None:
        """Enter how trial `number` ended: DONE, STOPPED or FAILED, and why.

        `trace` is the traceback of a failure and `kind` its class, `last` the last round of a trial
        that ended before its ladder did. Texts are entered without secrets. What was entered first
        stays.
        """
        outcome = Outcome(status, redacted(reason), last, time.time(), kind)
        files = {"traceback": redacted(trace).encode()} if trace else {}
        end = self._end(number)
        self.store.put(self.key, end, facts=asdict(outcome), files=files, repeatable=False)

    def promote(self, number: int, rung: int, score: float) -> None:
        """Enter that trial `number` goes on after `rung` with `score`: it is never asked again."""
        self.store.put(self.key, _part(number, f"rung-{rung}"), facts={"score": score})

    def promoted(self, number: int, rung: int) -> float | None:
        """Return the score with which trial `number` went on after `rung`; None if it has not."""
        item = self.store.find(self.key, _part(number, f"rung-{rung}"))
        return item.facts["score"] if item else None

    def traceback(self, number: int) -> dict[str, bytes]:
        """Return {"traceback.txt": text} of a trial that failed, else an empty dict."""
        item = self.store.find(self.key, self._end(number))
        if item is None or "traceback" not in item.files:
            return {}
        return {"traceback.txt": item.files["traceback"]}

    def end(self, number: int) -> Outcome | None:
        """Return how trial `number` has ended; None while it is unfinished."""
        item = self.store.find(self.key, self._end(number))
        return _read(self._name(number), Outcome.of, item.facts) if item else None

    def happened(self, number: int, what: str) -> int:
        """Enter that `what` has happened to trial `number`.

        Returns how often it has, this time too, since the trial was put in line.
        """
        before = self._count(number, f"{self._tried(number)}{what}-")
        part = _part(number, f"{self._tried(number)}{what}-{before:02d}")
        self.store.put(self.key, part, facts={"at": time.time()})
        return before + 1

    def retry(self, number: int) -> None:
        """Put trial `number`, which has ended, in line again; how it ended stays on record."""
        times = self._count(number, "again-")
        self.store.put(self.key, _part(number, f"again-{times:02d}"), facts={"at": time.time()})

    def _end(self, number: int) -> str:
        """Return the part that holds how a trial ended, the last time that it was in line."""
        return _part(number, f"{self._tried(number)}end")

    def _tried(self, number: int) -> str:
        """Return what marks the parts of a trial that was put in line again: "2-", or nothing."""
        times = self._count(number, "again-")
        return f"{times}-" if times else ""

    def _count(self, number: int, what: str) -> int:
        count = 0
        while self.store.facts(self.key, _part(number, f"{what}{count:02d}")) is not None:
            count += 1
        return count

    def __iter__(self) -> Iterator[Entry]:
        """Yield every trial that was given out, in order."""
        for number in self.numbers:
            entry = self.entry(number)
            if entry:
                yield entry

    @property
    def numbers(self) -> list[int]:
        """Numbers of the trials that were given out, in order."""
        matches = map(GIVEN_OUT.fullmatch, self.store.parts(self.key))
        return [int(match[1]) for match in matches if match]

    def entry(self, number: int) -> Entry | None:
        """Return trial `number` as it stands; None where it was not given out."""
        if number not in self.points:
            item = self.store.find(self.key, _part(number, "point"))
            if item is None:
                return None
            self.points[number] = _read(self._name(number), _point, item.facts)
        return Entry(number, self.points[number], self.end(number))

    def _name(self, number: int) -> str:
        """Return how a line names a trial."""
        return f"call {self.key[:16]}, trial {number}"


def retry(
    store: Store, name: str, numbers: Collection[int] = (), kind: str = ""
) -> Iterator[tuple[Ledger, list[Entry]]]:
    """Put failed trials of every call of a study in line again, and yield each call with them.

    `name` is that of the study, with or without its preset, or the beginning of a call's key; empty
    is every call. Without `numbers` and `kind`, a class of failures, all failed trials are meant.
    Raises BlockingIOError while a call is running.
    """
    for ledger in Ledger.all(store):
        if not is_called(ledger, name):
            continue
        about = ledger.about
        chosen = [entry for entry in ledger if _is_meant(entry, numbers, kind)]
        with store.lock(ledger.key, wait=False) as is_ours:
            if chosen and not is_ours:
                raise BlockingIOError(f"{about['study']} is running; stop it first")
            for entry in chosen:
                ledger.retry(entry.number)
        if chosen:
            yield ledger, chosen


def is_called(ledger: Ledger, name: str) -> bool:
    """Return whether `name` is that of a call's study, with or without its preset, or the beginning
    of the call's key."""
    about = ledger.about
    names = (about["study"], f"{about['study']}.{about['preset']}")
    return name in names or ledger.key.startswith(name)


def _is_meant(entry: Entry, numbers: Collection[int], kind: str) -> bool:
    is_of_kind = entry.ended.status == FAILED and entry.ended.kind.startswith(kind)
    return is_of_kind and (not numbers or entry.number in numbers)


def _part(number: int, what: str) -> str:
    """Return the part of a call's key that holds `what` of trial `number`."""
    return f"trial-{number:04d}-{what}"


def _point(facts: Mapping[str, Any]) -> Point:
    """Return the point of its stored facts; StoreError where its rounds are of an older kind."""
    if any(isinstance(place, str) for place in facts.get("rounds", ())):
        fault = "its rounds were stored by an older lthray, and this one cannot read them"
        raise StoreError(f"trial {facts['name']!r}: {fault}; run the study again in another --out")
    return Point.from_json(facts)


def _read(what: str, read: Callable[..., T], *given: Any) -> T:
    """Return what `read` makes of stored facts; DamagedStore, naming `what`, where it cannot."""
    try:
        return read(*given)
    except (RecordError, KeyError, TypeError) as error:
        fault = f"not what lthray writes ({type(error).__name__}: {error})"
        raise DamagedStore(f"{what}: {fault}; delete it from the store, or use another") from None
