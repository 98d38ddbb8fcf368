"""Which trials a study has and what became of them: kept in the store, written once, never changed.

A call is one study under one frozen plan; its key is a hash of that plan, so the same command finds
the same call. For each trial it holds its point (as it was given out) and its end. Rounds are found
by what the point says of them.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from lthray.core.keys import KEY, key_of
from lthray.core.record import Name, Number, Outcome, Point, RecordError, checked
from lthray.core.store import DamagedStore, Store, StoreError

log = logging.getLogger("lthray")
T = TypeVar("T")

INDEX = key_of("index of calls", 1, {})
DONE, STOPPED, FAILED = "done", "stopped", "failed"


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


@dataclass(frozen=True)
class Entry:
    """One trial of a call."""

    number: int
    point: Point
    """The trial as it was given out."""
    end: Outcome | None
    """How it ended; None while it is unfinished."""

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
        last: int | None = None,
    ) -> None:
        """Enter how trial `number` ended: DONE, STOPPED or FAILED, and why.

        `trace` is the traceback of a failure, `last` the last round of a trial that ended before
        its ladder did. What was entered first stays.
        """
        outcome = Outcome(status, reason, last, time.time())
        files = {"traceback": trace.encode()} if trace else {}
        end = _part(number, "end")
        self.store.put(self.key, end, facts=asdict(outcome), files=files, repeatable=False)

    def end(self, number: int) -> Outcome | None:
        """Return how trial `number` ended; None while it is unfinished."""
        item = self.store.find(self.key, _part(number, "end"))
        return _read(self._name(number), Outcome.of, item.facts) if item else None

    def promote(self, number: int, rung: int, score: float) -> None:
        """Enter that trial `number` goes on after `rung` with `score`: it is never asked again."""
        self.store.put(self.key, _part(number, f"rung-{rung}"), facts={"score": score})

    def promoted(self, number: int, rung: int) -> float | None:
        """Return the score with which trial `number` went on after `rung`; None if it has not."""
        item = self.store.find(self.key, _part(number, f"rung-{rung}"))
        return item.facts["score"] if item else None

    def traceback(self, number: int) -> dict[str, bytes]:
        """Return {"traceback.txt": text} of a trial that failed, else an empty dict."""
        item = self.store.find(self.key, _part(number, "end"))
        if item is None or "traceback" not in item.files:
            return {}
        return {"traceback.txt": item.files["traceback"]}

    def first_time(self, number: int, what: str) -> bool:
        """Return whether `what` has not happened to trial `number` before; from now on it has."""
        part = _part(number, what)
        happened = part in self.store.parts(self.key)
        self.store.put(self.key, part, facts={"at": time.time()})
        return not happened

    def __iter__(self) -> Iterator[Entry]:
        """Yield every trial that was given out, in order."""
        for part in self.store.parts(self.key):
            match = GIVEN_OUT.fullmatch(part)
            point = self.store.find(self.key, part) if match else None
            if match is None or point is None:
                continue
            number = int(match[1])
            given_out = _read(self._name(number), _point, point.facts)
            yield Entry(number, given_out, self.end(number))

    def _name(self, number: int) -> str:
        """Return how a line names a trial."""
        return f"call {self.key[:16]}, trial {number}"


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
