"""Hands out the trials of a call and remembers what came back; runners ask here alone."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lthray.core.record import Point
from lthray.study.call import Call
from lthray.study.ledger import DONE, FAILED, STOPPED, Entry, Ledger
from lthray.study.space import Drawer, Past, Words, draw, memory, promoted, score_of
from lthray.study.worker import DenseRun, Job
from lthray.trial.given import places_of
from lthray.trial.points import point
from lthray.trial.recipe import trajectory
from lthray.trial.trajectory import Trajectory, place_of
from lthray.trial.view import assemble, is_stored


class Queue:
    """Trials in order: what the ledger holds unfinished first, then the next ones."""

    def __init__(self, call: Call, ledger: Ledger):
        self.call, self.ledger = call, ledger
        entries = list(ledger)
        self.waiting = deque(entry for entry in entries if entry.end is None)
        self.begun = len(entries)
        self.past: list[Past] = []
        self.scores: dict[int, dict[int, float]] = {}
        """Rung -> trial -> score, of all that came to that rung."""
        for entry in entries:
            if entry.end and entry.end.status != FAILED:
                self._remember(entry, complete=entry.end.status == DONE)

    def again(self) -> "Queue":
        """Return a new queue of the same call, as its ledger stands now."""
        return Queue(self.call, self.ledger)

    @property
    def root(self) -> str:
        """Folder of the store."""
        return str(self.ledger.store.root)

    @property
    def left(self) -> int:
        """Number of trials to run."""
        return len(self.waiting) + max(0, self.call.trials - self.begun)

    def listed(self) -> list[Words]:
        """Return the words of all trials of a list that are left, in order."""
        unfinished = [entry.point.words for entry in self.waiting]
        fresh = [dict(self.call.point(i)) for i in range(self.begun, self.call.trials)]
        return [*unfinished, *fresh]

    def memory(self, storage: Any = None) -> Any:
        """Return the Optuna study of a search as it stands.

        Finished trials are told, unfinished ones and the page's first points are enqueued.
        """
        call = self.call
        study = memory(call.space, call.options.seed, call.study.startup, self.past, storage)
        for entry in self.waiting:
            study.enqueue_trial(dict(entry.point.words))
        for words in call.first[self.begun :]:
            study.enqueue_trial(dict(words))
        return study

    def draw(self, drawer: Drawer) -> dict[str, Any]:
        """Draw the words of a trial of a search."""
        return draw(self.call.space, drawer, self.call.config.flat())

    def task(self, words: Words, gpus: float) -> Job:
        """Hand out the next trial, entered in the ledger before anything of it is made.

        `words` are those that were drawn or listed for it; where an unfinished trial waits, it is
        handed out as it was. `gpus` is what the trial may use.
        """
        if self.waiting:
            entry = self.waiting.popleft()
            number, facts = entry.number, entry.point
        else:
            number, self.begun = self.begun, self.begun + 1
            facts = self._begin(number, dict(words))
        return Job(
            number=number,
            name=facts.name,
            words={**facts.config, **facts.places},
            root=self.root,
            call=self.ledger.key,
            threads=self.call.options.cpus_per_trial,
            gpus=gpus,
        )

    def _begin(self, number: int, words: dict[str, Any]) -> Point:
        """Enter a new trial in the ledger; returns its point."""
        chosen = trajectory(self.call.config_of(number, words))
        made = point(chosen, words, self.call.phase)
        return self.ledger.begin(number, replace(made, of=self.call.trials))

    def goes_on(self, number: int, rung: int, score: float) -> bool:
        """Return whether a search lets trial `number` go on after `rung`; if not, that is its end.

        A score that is no number decides nothing.
        """
        if not self.call.space or rung not in self.call.stops or score != score:
            return True
        scores = self.scores.setdefault(rung, {})
        earlier = [other for trial, other in scores.items() if trial != number]
        scores[number] = score
        reduction = self.call.study.reduction
        if promoted(score, earlier, reduction):
            return True
        place = f"not among the best 1/{reduction} of {len(earlier) + 1}"
        reason = f"excess {score:+.2%} at round {rung}: {place}"
        self.ledger.finish(number, STOPPED, reason, last=rung)
        return False

    def shared(self) -> list[DenseRun]:
        """Return what several trials need and the store does not have yet, in order.

        First come extractors and autoencoders, then dense runs with all their checkpoints.
        """
        trials = [trajectory(config) for config in self.call.shared()]
        wanted: dict[str, tuple[Trajectory, set[int]]] = {}
        for trial in trials:
            for config in trial.served:
                network = trajectory(config)
                wanted.setdefault(network.rungs[0].round, (network, set()))
        for trial in trials:
            dense = trial.rungs[0]
            _, anchors = wanted.setdefault(dense.round, (trial, set()))
            anchors.update(trial.anchors.get(dense.chain.key, ()))
        missing = []
        for trial, anchors in wanted.values():
            if not is_stored(self.ledger.store, place_of(trial.rungs[0], trial)):
                words = {**trial.config.canonical(), **places_of(trial.config)}
                missing.append(DenseRun(words, tuple(sorted(anchors))))
        return missing

    def _remember(self, entry: Entry, *, complete: bool) -> None:
        """Take in what an ended trial scored."""
        scores = self._scores(entry.rounds)
        self.past.append(Past(entry.point.words, scores, complete))
        for rung, score in enumerate(scores, 1):
            self.scores.setdefault(rung, {})[entry.number] = score

    def _scores(self, places: Sequence[Mapping[str, Any]]) -> list[float]:
        """Return the scores of a trial's rungs; of a dense network alone, its own."""
        scores = []
        for index, place in enumerate(places):
            r = assemble(self.ledger.store, place)
            if r is not None and (index or not self.call.rungs):
                scores.append(score_of(r.metrics, index))
        return scores
