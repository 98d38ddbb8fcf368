"""Hands out the trials of a call and remembers what came back; runners ask here alone."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from lthray.core.record import Point
from lthray.study.call import Call
from lthray.study.ledger import FAILED, STOPPED, Entry, Ledger
from lthray.study.searched import STATES
from lthray.study.space import Past, Words, promoted, score_of
from lthray.study.terminal import Shared
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
        self.entries: dict[int, Entry] = {}
        self.past: dict[int, Past] = {}
        """Number -> trial as a search knows it; all of it is in the ledger and the store."""
        self.scores: dict[int, dict[int, float]] = {}
        """Rung -> trial -> score, of all that came to that rung."""
        for entry in ledger:
            self._remember(entry)
        self.waiting = deque(entry for entry in self.entries.values() if entry.end is None)
        self.fresh = deque(n for n in range(call.trials) if n not in self.entries)

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
        return len(self.waiting) + len(self.fresh)

    def listed(self) -> list[Words]:
        """Return the words of all trials of a list that are left, in order."""
        unfinished = [entry.point.words for entry in self.waiting]
        fresh = [dict(self.call.point(number)) for number in self.fresh]
        return [*unfinished, *fresh]

    def jobs(self, gpus: float) -> Iterator[Job]:
        """Hand out all trials that are left.

        Those of a list are entered in the ledger together, so that it tells how much there is to
        do; one of a search is drawn when it is asked for, by what is known then. `gpus` is what
        each may use.
        """
        if self.call.space:
            while self.left:
                yield self.next(gpus)
        else:
            yield from [self.task(words, gpus) for words in self.listed()]

    def next(self, gpus: float) -> Job:
        """Hand out the next trial of a search, drawn where no unfinished one waits.

        Which trials had ended by then is entered in the ledger, so that a draw can be made again.
        """
        if self.waiting:
            return self.task({}, gpus)
        known = self.ended()
        drawn = self.call.sampler.draw(self.fresh[0], self.past)
        job = self.task(drawn.words, gpus, known=known)
        if drawn.repeats is None:
            return job
        why = f"repeats trial {drawn.repeats}: nothing new was found to draw"
        return replace(job, note=f"trial {job.number} {job.name}: {why}")

    def ended(self) -> list[int]:
        """Return the numbers of the trials that have ended, after looking again."""
        for number, entry in self.entries.items():
            end = entry.end or self.ledger.end(number)
            if end != entry.end:
                self._remember(replace(entry, end=end))
        return sorted(n for n, entry in self.entries.items() if entry.end is not None)

    def task(self, words: Words, gpus: float, *, known: Sequence[int] = ()) -> Job:
        """Hand out the next trial, entered in the ledger before anything of it is made.

        `words` are those that were drawn or listed for it; where an unfinished trial waits, it is
        handed out as it was. `gpus` is what the trial may use, `known` the trials that had ended
        when it was drawn.
        """
        if self.waiting:
            entry = self.waiting.popleft()
        else:
            number = self.fresh.popleft()
            entry = Entry(number, self._begin(number, dict(words), known), None)
            self._remember(entry)
        facts = entry.point
        return Job(
            number=entry.number,
            name=facts.name,
            words={**facts.config, **facts.places},
            root=self.root,
            call=self.ledger.key,
            threads=self.call.options.cpus_per_trial,
            gpus=gpus,
        )

    def _begin(self, number: int, words: dict[str, Any], known: Sequence[int]) -> Point:
        """Enter a new trial in the ledger; returns its point."""
        chosen = trajectory(self.call.config_of(number, words))
        made = point(chosen, words, self.call.phase, self.call.config)
        return self.ledger.begin(number, replace(made, of=self.call.trials, known=known))

    def goes_on(self, number: int, rung: int, score: float) -> bool:
        """Return whether a search lets trial `number` go on after `rung`; if not, that is its end.

        A score that is no number decides nothing. What was decided once stays, so a trial that is
        run again is not asked again.
        """
        if not self.call.space or rung not in self.call.stops or score != score:
            return True
        scores = self.scores.setdefault(rung, {})
        if number in scores:
            return self.ledger.end(number) is None
        earlier = list(scores.values())
        scores[number] = score
        reduction = self.call.study.reduction
        if promoted(score, earlier, reduction):
            self.ledger.promote(number, rung, score)
            return True
        place = f"not among the best 1/{reduction} of {len(earlier) + 1}"
        reason = f"excess {score:+.2%} at round {rung}: {place}"
        self.ledger.finish(number, STOPPED, reason, last=rung)
        return False

    def shared(self) -> list[DenseRun]:
        """Return what several trials need and the store does not have yet, in order.

        First come extractors and autoencoders, then dense runs with all their checkpoints.
        """
        trials = list(map(trajectory, self.call.shared()))
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
                missing.append(DenseRun(words, tuple(sorted(anchors)), _shown(trial)))
        return missing

    def _remember(self, entry: Entry) -> None:
        """Take in what the ledger says of a trial, and what it scored."""
        number, scores = entry.number, []
        self.entries[number], self.past[number] = entry, Past(entry.point.words)
        if entry.end is not None:
            scores = [] if entry.end.status == FAILED else self._scores(entry)
            self.past[number] = Past(entry.point.words, scores, STATES[entry.end.status])
        at_rung = dict(enumerate(scores, 1))
        for rung in self.call.stops:
            score = at_rung.get(rung, self.ledger.promoted(number, rung))
            if score is not None:
                self.scores.setdefault(rung, {})[number] = score

    def _scores(self, entry: Entry) -> list[float]:
        """Return the scores of a trial's rungs; of a dense network alone, its own; none of lists.

        A trial that ended before its last rung has the scores of those that it came to.
        """
        scores = []
        for index, place in enumerate(entry.rounds if self.call.space else ()):
            r = assemble(self.ledger.store, place)
            if r is not None and (index or not self.call.rungs):
                scores.append(score_of(r.metrics, index))
        return scores


def _shown(trial: Trajectory) -> Shared:
    """Return how the dense run of a trajectory is shown while it is made."""
    config, run = trial.config, trial.rungs[0].chain
    name = f"dense {config.objective.name} s{config.seed}, {run.length} steps"
    return Shared(name, run.key, run.length)
