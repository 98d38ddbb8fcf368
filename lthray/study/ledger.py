"""Which trials a study has and what became of them: kept in the store, written once, never changed.

A call is one study under one frozen plan; its key is a hash of that plan, so the same command finds the same call. For
each trial it holds its point (as it was given out) and its end. Rounds are found by the keys that the point names.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lthray.core.store import Store, key_of

INDEX = key_of("index of calls", 1, {})
DONE, STOPPED, FAILED = "done", "stopped", "failed"


@dataclass(frozen=True)
class Entry:
    """One trial of a call."""

    number: int
    point: dict[str, Any]
    """words: what was sampled; config: all that differs from the defaults; rounds, trial: store keys; phase, seed, name."""
    end: dict[str, Any] | None
    """status (done, stopped by the rungs, failed), reason, last round, at (Unix time); None while it is unfinished."""

    @property
    def rounds(self) -> list[str]:
        """Store keys of its rounds, as far as it went: another trial may have made what it would have come to."""
        last = self.end["last"] if self.end else None
        return self.point["rounds"][: None if last is None else last + 1]


class Ledger:
    """The trials of one call."""

    def __init__(self, store: Store, key: str):
        self.store, self.key = store, key

    @classmethod
    def freeze(cls, store: Store, plan: Mapping[str, Any], about: Mapping[str, Any]) -> "Ledger":
        """The call of a plan, opened or begun; `about` is recorded beside it but does not decide which call it is."""
        key = key_of("call", 1, plan)
        if store.find(key, "plan") is None:
            store.put(key, "plan", facts={**about, "plan": dict(plan), "created": time.time()})
        if key not in store.parts(INDEX):
            store.put(INDEX, key, facts={})
        return cls(store, key)

    @classmethod
    def all(cls, store: Store) -> list["Ledger"]:
        """Every call in a store."""
        return [cls(store, key) for key in store.parts(INDEX)]

    @property
    def about(self) -> dict[str, Any]:
        """study, preset, smoke, question, command, plan, created."""
        item = self.store.find(self.key, "plan")
        return item.facts if item else {}

    def begin(self, number: int, point: Mapping[str, Any]) -> dict[str, Any]:
        """Give out a point; what was given out first stays."""
        return self.store.put(self.key, f"trial-{number:04d}-point", facts=dict(point)).facts

    def finish(self, number: int, status: str, reason: str = "", *, trace: str = "", last: int | None = None) -> None:
        """Say how a trial ended, and after which round if it was before its last."""
        facts = {"status": status, "reason": reason, "last": last, "at": time.time()}
        files = {"traceback": trace.encode()} if trace else {}
        self.store.put(self.key, f"trial-{number:04d}-end", facts=facts, files=files)

    def traceback(self, number: int) -> dict[str, bytes]:
        """{"traceback.txt": ...} of a trial that failed, or nothing."""
        end = self.store.find(self.key, f"trial-{number:04d}-end")
        return {"traceback.txt": end.files["traceback"]} if end and "traceback" in end.files else {}

    def first_time(self, number: int, what: str) -> bool:
        """Whether this has not happened to a trial before; from now on it has."""
        part = f"trial-{number:04d}-{what}"
        happened = part in self.store.parts(self.key)
        self.store.put(self.key, part, facts={"at": time.time()})
        return not happened

    def __iter__(self) -> Iterator[Entry]:
        for part in self.store.parts(self.key):
            if part.endswith("-point") and (point := self.store.find(self.key, part)):
                end = self.store.find(self.key, part.replace("-point", "-end"))
                yield Entry(int(part.split("-")[1]), point.facts, end.facts if end else None)
