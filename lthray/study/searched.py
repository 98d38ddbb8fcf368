"""A search as it was recorded: what it drew from, how far its trials came, what it would draw next.

All of it is a function of the plan of its call and of its trials, so it is the same each time.
"""

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lthray.config.trial import TrialConfig
from lthray.core.record import RecordError, TrialRecord
from lthray.study.comparators import rungs_of
from lthray.study.ledger import DONE, FAILED, STOPPED
from lthray.study.space import (
    Choice,
    Dial,
    Drawn,
    Past,
    Range,
    Sampler,
    Space,
    State,
    frozen,
    score_of,
)

if TYPE_CHECKING:
    import optuna

STATES: Mapping[str, State] = {DONE: "complete", STOPPED: "pruned", FAILED: "failed"}
"""End of a trial -> what it is to a search."""
DIALS = {"Choice": Choice, "Range": Range}


def dial_of(text: str) -> Dial:
    """Return the dial that a plan describes, such as "Range(low=0.1, high=0.6, log=False)".

    Nothing of it is run. RecordError where it is no dial.
    """
    try:
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Name)
        values = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
        return DIALS[call.func.id](**values)
    except (AssertionError, KeyError, SyntaxError, TypeError, ValueError):
        raise RecordError(f"{text[:80]!r} is no dial of a search's space") from None


@dataclass(frozen=True)
class Searched:
    """One search with its trials."""

    space: Space
    """Word -> what may be drawn for it, in the order in which words are drawn."""
    ordered: bool
    """Whether that order was recorded; else it is one that the conditions allow."""
    config: TrialConfig
    """Config that the trials share."""
    seeds: Sequence[int]
    """Seeds that the trials walk through."""
    sampler: Sampler
    """What draws the trials; the first points of its page are already among them."""
    trials: Mapping[int, TrialRecord]
    """Number -> trial, in order."""

    @classmethod
    def of(cls, plan: Mapping[str, Any], trials: Iterable[TrialRecord]) -> "Searched":
        """Return the search of a call with its `plan`, as a ledger holds it, and its `trials`.

        Beside it the plan may hold the `order` of its words. RecordError, KeyError or TypeError
        where the plan is none of a search.
        """
        by_number = {trial.number: trial for trial in sorted(trials, key=lambda each: each.number)}
        dials = {word: dial_of(text) for word, text in plan["space"].items()}
        order = [word for word in plan.get("order", ()) if word in dials]
        ordered = len(order) == len(dials)
        space = {word: dials[word] for word in (order if ordered else _allowed(dials))}
        places = next(iter(by_number.values())).point.places
        config = TrialConfig.from_flat({**plan["config"], **places})
        sampler = Sampler(
            space=space,
            fixed=config.flat(),
            seed=plan["seed"],
            startup=plan["search"][0],
            repetitions=len(plan["seeds"]),
        )
        return cls(space, ordered, config, plan["seeds"], sampler, by_number)

    @property
    def rungs(self) -> int:
        """Number of rounds after the dense one; 0 of a search of dense networks."""
        return rungs_of(self.config)

    @cached_property
    def past(self) -> dict[int, Past]:
        """Number -> trial as a search knows it."""
        return {number: self._past(trial) for number, trial in self.trials.items()}

    def _past(self, trial: TrialRecord) -> Past:
        drawn = trial.point.words
        words = {word: _tuples(drawn[word]) for word in self.space if word in drawn}
        scores = []
        for r in trial.rounds if trial.status != FAILED else ():
            if r.index or not self.rungs:
                scores.append(score_of(r.metrics, r.index))
        return Past(words, scores, STATES.get(trial.status, "running"))

    @property
    def common(self) -> int:
        """The last rung to which all trials came that did not fail; 0 where there is none."""
        return min((len(past.scores) for past in self.past.values() if past.scores), default=0)

    def at(self, rung: int) -> dict[int, float]:
        """Return number -> finite score at a rung, of the trials that came so far."""
        scores = {}
        for number, past in self.past.items():
            if len(past.scores) >= rung and math.isfinite(past.scores[rung - 1]):
                scores[number] = past.scores[rung - 1]
        return scores

    @property
    def densities(self) -> list[float]:
        """Densities of the rungs, as far as any trial came."""
        longest = max(self.trials.values(), key=lambda trial: len(trial.rounds))
        return [r.density for r in longest.rounds[1:]]

    def study(self, rung: int) -> "optuna.Study":
        """Return the trials as Optuna keeps them, each by its score at a rung."""
        return scored(self.space, self.past, rung)

    def proposals(self, count: int) -> dict[int, Drawn]:
        """Return number -> words of the next trials, as if all of them were given out at once.

        The first is what the search itself draws next, once all recorded trials have ended, if the
        order of its words is known.
        """
        past, drawn = dict(self.past), dict[int, Drawn]()
        for number in range(max(past) + 1, max(past) + 1 + count):
            drawn[number] = self.sampler.draw(number, past)
            past[number] = Past(drawn[number].words)
        return drawn

    def config_of(self, number: int, drawn: Mapping[str, Any]) -> TrialConfig:
        """Return the config of trial `number`: its words over those of the call, with its seed."""
        seed = self.seeds[number % len(self.seeds)]
        return TrialConfig.from_flat({**drawn, "seed": seed, "stream": seed}, self.config)


def scored(space: Space, past: Mapping[int, Past], rung: int) -> "optuna.Study":
    """Return an Optuna study of finished trials, each by its score at a rung, in their order.

    A trial is COMPLETE if it came so far, PRUNED if it did not, FAIL if it failed; so none is
    compared by the score of a denser rung.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize", study_name="lthray")
    for _, trial in sorted(past.items()):
        value = trial.scores[rung - 1] if len(trial.scores) >= rung else math.nan
        state: State = "complete" if math.isfinite(value) else "pruned"
        if trial.state == "failed":
            state = "failed"
        study.add_trial(frozen(space, trial, state, value))
    return study


def _allowed(space: Space) -> list[str]:
    """Return words in an order in which each comes after the one that it hangs on."""

    def depth(word: str) -> int:
        other, _ = space[word].when or ("", ())
        return 1 + depth(other) if other in space else 0

    return sorted(space, key=depth)


def _tuples(value: Any) -> Any:
    """Return a value with tuples for lists, as a space has them."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
