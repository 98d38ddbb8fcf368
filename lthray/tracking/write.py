"""Stored rounds -> MLflow: written by the driver off the hot path, and written again from the
store.

An MLflow that is down or slow costs the study nothing: it is tried again. An empty one can be
filled from the store, and what was deleted in it comes back.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from lthray.config.addresses import redacted
from lthray.core.keys import key_of
from lthray.core.record import TrialRecord
from lthray.core.store import Store
from lthray.study.ledger import FAILED, Ledger
from lthray.study.results import News, look, trials
from lthray.study.terminal import until_next
from lthray.tracking.client import one_line
from lthray.tracking.contents import experiment_name as experiment_name
from lthray.tracking.recorder import Recorder as Recorder
from lthray.tracking.recorder import Sentences

RETRY = (2.0, 4.0, 8.0, 15.0, 30.0)  # seconds between tries while MLflow does not answer
GRADED = ("confirm", "list")  # phases of which a verdict is recorded


class Follower(Protocol):
    """What is written of a call beside MLflow."""

    def follow(self, store: Store, ledger: Ledger) -> None:
        """Write what is new of a call; never raises."""


class Projector(threading.Thread):
    """Records a call in the background for as long as it runs, every `every` seconds or later.

    `sentences` words the verdict on a call that has ended; None leaves it out. `beside` is written
    too, first, so that an MLflow that does not answer holds none of it up.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        uri: str,
        artifacts: Path,
        *,
        every: float = 3.0,
        sentences: Sentences | None = None,
        beside: Sequence[Follower] = (),
    ):
        super().__init__(name="lthray-mlflow", daemon=True)
        self.store, self.ledger = store, ledger
        self.uri, self.artifacts = uri, artifacts
        self.every, self.sentences, self.beside = every, sentences, beside
        self.closing = threading.Event()
        self.recorder: Recorder | None = None
        self.news = News(store, ledger)  # what is not recorded yet
        self.judged = 0  # trials that had ended when the verdict was recorded
        self.behind: str | None = "it has not answered yet"
        self.experiment: str | None = None

    def run(self) -> None:
        """Record what is new, again and again, until `close`; never raises."""
        failures = 0
        while True:
            is_last = self.closing.is_set()  # asked before: what ends meanwhile needs another time
            began = time.monotonic()
            for follower in self.beside:
                follower.follow(self.store, self.ledger)
            self.behind = self._catch_up()
            if is_last and self.behind is None:
                return
            failures = (failures + 1) * bool(self.behind)
            pause = until_next(self.every, time.monotonic() - began)
            if failures:
                pause = RETRY[min(failures, len(RETRY)) - 1]
            if self.closing.wait(pause) and failures:
                threading.Event().wait(1.0)

    def _catch_up(self) -> str | None:
        """Record what is new; return what MLflow raised, or None."""
        try:
            if self.recorder is None:
                self.recorder = Recorder(self.uri, self.artifacts)
            self.experiment = self.recorder.experiment(self.ledger.about)
            _record(self.recorder, self.store, self.ledger, self.news)
            ended = len(self.news.ended)
            if ended > self.judged:
                _judge(self.recorder, self.store, self.ledger, self.sentences, ended)
            self.judged = ended
        except (
            Exception
        ) as error:  # whatever it is, the study goes on and the store keeps everything
            if self.recorder:
                self.recorder.forget()
            reason = redacted(str(error).partition("\n")[0])[:160]
            return f"{type(error).__name__}: {reason}"
        return None

    def close(self, patience: float) -> str | None:
        """Wait at most `patience` seconds for everything to be recorded.

        Returns what is in the way, or None.
        """
        self.closing.set()
        self.join(patience)
        if self.behind is None and self.is_alive():
            return "it is slow"
        return self.behind


def replay(
    store: Store,
    uri: str,
    artifacts: Path,
    only: Ledger | None = None,
    *,
    sentences: Sentences | None = None,
) -> int:
    """Record every call of a store, or `only` one; returns the number of trials.

    `sentences` words the verdicts on calls that have ended; None leaves them out.
    """
    ledgers = [only] if only else Ledger.all(store)
    ledgers.sort(key=lambda ledger: ledger.about["created"])
    for ledger in ledgers:
        list(ledger)  # one that is damaged is told before anything is written
    number = 0
    with one_line(uri):
        recorder = Recorder(uri, artifacts)
        for ledger in ledgers:
            ended = _record(recorder, store, ledger, trials(store, ledger), repair=True)
            _judge(recorder, store, ledger, sentences, ended)
            number += ended
    return number


def _record(
    recorder: Recorder,
    store: Store,
    ledger: Ledger,
    told: Iterable[TrialRecord],
    *,
    repair: bool = False,
) -> int:
    """Record the trials `told` of a call, and what charts show; return how many have ended."""
    about, ended = ledger.about, 0
    with _writing(recorder, store):
        for trial in filter(_has_results, told):
            traceback = ledger.traceback(trial.number) if trial.status == FAILED else {}
            recorder.record(trial, about, traceback, repair=repair)
            ended += trial.end is not None
        recorder.charts(about)
    return ended


def _has_results(trial: TrialRecord) -> bool:
    """Return whether a round of a trial is stored, or its end. Of a list all are given out
    together, and thousands of runs without a number would look busy."""
    return bool(trial.rounds or trial.end)


def _judge(
    recorder: Recorder, store: Store, ledger: Ledger, sentences: Sentences | None, ended: int
) -> None:
    """Record the verdict on a call that is graded, once as many trials as it has have `ended`."""
    about = ledger.about
    is_graded = about["plan"].get("phase") in GRADED
    if sentences and is_graded and 0 < ended == len(ledger.numbers):
        judged = list(trials(store, ledger))
        with _writing(recorder, store):
            recorder.verdict(about, *sentences(judged, look(store, judged)))


def _writing(recorder: Recorder, store: Store) -> AbstractContextManager[bool]:
    """Hold the lock of a store's records in one MLflow."""
    return store.lock(key_of("recording", 1, recorder.client.tracking_uri))
