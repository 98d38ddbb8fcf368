"""Gives out the trials of a call and remembers what came back; what schedules them asks here and knows no store."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from lthray.study.call import Call
from lthray.study.ledger import DONE, FAILED, STOPPED, Ledger
from lthray.study.results import score_of
from lthray.study.space import Past, draw, memory, promoted
from lthray.trial.plan import point


class Desk:
    """Points in order: what the ledger holds unfinished first, then the next of the list or of the search."""

    def __init__(self, call: Call, ledger: Ledger):
        self.call, self.ledger = call, ledger
        entries = list(ledger)
        self.waiting = deque(entry for entry in entries if entry.end is None)
        self.begun = len(entries)
        self.past: list[Past] = []
        self.scores: dict[int, dict[int, float]] = {}
        for entry in entries:
            if entry.end and entry.end["status"] != FAILED:
                scores = self._scores(entry.rounds)
                self.past.append((entry.point["words"], scores, entry.end["status"] == DONE))
                for rung, score in enumerate(scores, 1):
                    self.scores.setdefault(rung, {})[entry.number] = score

    @property
    def left(self) -> int:
        """Trials to run."""
        return len(self.waiting) + max(0, self.call.trials - self.begun)

    def queue(self) -> list[dict[str, Any]]:
        """The words of all trials of a list that are left, in order."""
        new = range(self.begun, self.call.trials)
        return [entry.point["words"] for entry in self.waiting] + [dict(self.call.point(i)) for i in new]

    def memory(self, storage: Any) -> Any:
        """The Optuna study of a search as it stands: finished trials told, unfinished and first points enqueued."""
        study = memory(self.call.space, self.call.options.seed, self.call.study.startup, self.past, storage)
        for entry in self.waiting:
            study.enqueue_trial(entry.point["words"])
        for words in self.call.first[self.begun :]:
            study.enqueue_trial(dict(words))
        return study

    def draw(self, trial: Any) -> dict[str, Any]:
        """The words that an Optuna trial draws."""
        return draw(self.call.space, trial, self.call.config.flat())

    def task(self, words: Mapping[str, Any], gpus: float) -> dict[str, Any]:
        """The next trial, entered in the ledger before anything of it is made."""
        if self.waiting:
            entry = self.waiting.popleft()
            number, facts = entry.number, entry.point
        else:
            number, self.begun = self.begun, self.begun + 1
            made = point(self.call.config_of(number, words), dict(words), self.call.phase)
            facts = self.ledger.begin(number, {**made, "of": self.call.trials})
        place = {"root": str(self.ledger.store.root), "call": self.ledger.key}
        means = {"threads": self.call.options.cpus_per_trial, "gpus": gpus}
        return {"number": number, "name": facts["name"], "words": {**facts["config"], **facts["places"]}, **place, **means}

    def goes_on(self, number: int, rung: int, score: float) -> bool:
        """Whether a search lets a trial go on after a rung; if not, that is its end."""
        if rung not in self.call.stops or not self.call.space or score != score:
            return True
        scores = self.scores.setdefault(rung, {})
        earlier = [other for n, other in scores.items() if n != number]
        scores[number] = score
        if promoted(score, earlier, self.call.study.reduction):
            return True
        place = f"not among the best 1/{self.call.study.reduction} of {len(earlier) + 1}"
        self.ledger.finish(number, STOPPED, f"excess {score:+.2%} at round {rung}: {place}", last=rung)
        return False

    def _scores(self, keys: list[str]) -> list[float]:
        """Of a trial's rungs; of a dense network alone, its own."""
        items = [(index, self.ledger.store.find(key)) for index, key in enumerate(keys)]
        return [score_of(item.facts["metrics"], index) for index, item in items if item and (index or not self.call.rungs)]
