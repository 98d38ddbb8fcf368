"""Which trials a study has and what became of them: kept in the store, written once, never changed.

A call is one study under one frozen plan; its key is a hash of that plan, so the same command finds
the same call. For each trial it holds its point (as it was given out) and its end. Rounds are found
by what the point says of them.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lthray.core.keys import key_of
from lthray.core.record import Outcome, Point
from lthray.core.store import Store, StoreError

INDEX = key_of("index of calls", 1, {})
DONE, STOPPED, FAILED = "done", "stopped", "failed"


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
        """Return every call in a store."""
        return [cls(store, key) for key in store.parts(INDEX)]

    @property
    def about(self) -> dict[str, Any]:
        """Facts of the call: study, preset, smoke, question, command, plan, created (Unix time)."""
        item = self.store.find(self.key, "plan")
        return item.facts if item else {}

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
        self.store.put(self.key, _part(number, "end"), facts=asdict(outcome), files=files)

    def end(self, number: int) -> Outcome | None:
        """Return how trial `number` ended; None while it is unfinished."""
        item = self.store.find(self.key, _part(number, "end"))
        return Outcome(**item.facts) if item else None

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
            if not part.endswith("-point"):
                continue
            point = self.store.find(self.key, part)
            if point is None:
                continue
            number = int(part.split("-")[1])
            yield Entry(number, _point(point.facts), self.end(number))


def _part(number: int, what: str) -> str:
    """Return the part of a call's key that holds `what` of trial `number`."""
    return f"trial-{number:04d}-{what}"


def _point(facts: Mapping[str, Any]) -> Point:
    """Return the point of its stored facts; StoreError where its rounds are of an older kind."""
    point = Point.from_json(facts)
    if any(isinstance(place, str) for place in point.rounds):
        fault = "its rounds were stored by an older lthray, and this one cannot read them"
        raise StoreError(f"trial {point.name!r}: {fault}; run the study again in another --out")
    return point
