"""A search space as a table: word of the config -> what may be drawn for it, and when.

Here too: how a search scores a trial, how it draws the next one, and which it lets go on.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from lthray.config.fields import ConfigError
from lthray.config.spec import text_of
from lthray.core.keys import canonical, key_of
from lthray.core.metrics import EXCESS, HELDOUT

if TYPE_CHECKING:
    import optuna

Words = Mapping[str, Any]
"""Dotted words of a config and their values."""
Condition = tuple[str, tuple[Any, ...]]
"""Another word, and the values of it for which a word is drawn."""


class Drawer(Protocol):
    """What a word can be drawn from: an Optuna trial."""

    def suggest_categorical(self, word: str, values: Sequence[Any]) -> Any:
        """Return one of `values` for `word`."""

    def suggest_float(self, word: str, low: float, high: float, *, log: bool) -> float:
        """Return a number from `low` to `high` for `word`, evenly or on a log scale."""


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]
    when: Condition | None = None
    """Drawn only where this other word has one of these values."""

    @property
    def told(self) -> str:
        """The values in words."""
        return ", ".join(map(text_of, self.values))

    def offers(self, value: Any) -> bool:
        """Return whether `value` can be drawn."""
        return value in self.values

    def draw(self, word: str, drawer: Drawer) -> Any:
        """Draw one of the values for `word`."""
        return drawer.suggest_categorical(word, self.values)

    def distribution(self) -> "optuna.distributions.BaseDistribution":
        """Return the values as Optuna describes them."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


@dataclass(frozen=True)
class Range:
    """A number between two bounds."""

    low: float
    high: float
    log: bool = False
    when: Condition | None = None
    """Drawn only where this other word has one of these values."""

    @property
    def told(self) -> str:
        """The bounds in words."""
        return f"{self.low:g} to {self.high:g}{', on a log scale' * self.log}"

    def offers(self, value: Any) -> bool:
        """Return whether `value` can be drawn."""
        return self.low <= value <= self.high

    def at(self, share: float) -> float:
        """Return the number at a `share`, from 0 to 1, of the way between the bounds."""
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + (self.high - self.low) * share

    def draw(self, word: str, drawer: Drawer) -> float:
        """Draw a number between the bounds for `word`."""
        return drawer.suggest_float(word, self.low, self.high, log=self.log)

    def distribution(self) -> "optuna.distributions.BaseDistribution":
        """Return the bounds as Optuna describes them."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, self.log)


Dial = Choice | Range
Space = Mapping[str, Dial]


def draw(space: Space, drawer: Drawer, fixed: Words) -> dict[str, Any]:
    """Draw the words of one trial from `space`.

    A word is left out where its condition does not hold, by the words drawn before it or by those
    of `fixed`.
    """
    drawn: dict[str, Any] = {}
    for word, dial in space.items():
        if applies(dial, {**fixed, **drawn}):
            drawn[word] = dial.draw(word, drawer)
    return drawn


def applies(dial: Dial, words: Words) -> bool:
    """Return whether the condition of a dial holds for `words`."""
    if dial.when is None:
        return True
    other, values = dial.when
    return words.get(other) in values


def without(space: Space, user_words: Container[str], fixed: Words) -> dict[str, Dial]:
    """Return the part of `space` that is left when the user gives some words.

    Giving a tuple gives its entries too. A word is also left out where its condition can no longer
    hold: it hangs on a word that is not drawn any more and that has another value in `fixed`, the
    words of the config.
    """
    open_dials = dict(space)
    for word in space:
        if word in user_words or word.rpartition(".")[0] in user_words:
            del open_dials[word]
    left = {}
    for word, dial in open_dials.items():
        other, _ = dial.when or ("", ())
        if other in open_dials or applies(dial, fixed):
            left[word] = dial
    return left


def combinations(space: Space, words: Sequence[str]) -> list[dict[str, Any]]:
    """Return every combination of values of those of `words` that `space` draws from a choice."""
    values = []
    for word in words:
        dial = space.get(word)
        if isinstance(dial, Choice):
            values.append([(word, value) for value in dial.values])
    return list(map(dict, itertools.product(*values)))


# a design


def hypercube(n: int, dimensions: int, seed: int) -> list[list[float]]:
    """Return `n` points of a Latin hypercube, [n, dimensions] of numbers from 0 to 1.

    In each dimension every n-th part holds one point (McKay et al. 1979). Equal seeds give equal
    points. Without a dimension there is one point.
    """
    from scipy.stats import qmc

    if not dimensions:
        return [[]]
    return qmc.LatinHypercube(dimensions, rng=seed).random(n).tolist()


# what a search knows

LEARNT, RANDOM = 8, 120  # attempts at a trial that is new: drawn by TPE, then at random


State = Literal["running", "complete", "pruned", "failed"]
"""complete: it went to the last rung; pruned: it was cut short; failed: it teaches nothing."""


class Past(NamedTuple):
    """An earlier trial of a search, as it is known when the next one is drawn."""

    words: Words
    scores: Sequence[float] = ()
    """Score at each rung that it reached, first rung first."""
    state: State = "running"


class Drawn(NamedTuple):
    """Words that were drawn for a trial."""

    words: dict[str, Any]
    repeats: int | None = None
    """Number of the earlier trial with the same words and seed, where nothing new was found."""


def score_of(metrics: Mapping[str, float], index: int) -> float:
    """Return what a search makes small in the round `index` with these `metrics`.

    Of a ticket it is the excess loss over its own dense network; of a dense network (round 0) its
    held-out loss.
    """
    return metrics[EXCESS.name if index else HELDOUT.name]


@dataclass(frozen=True)
class Sampler:
    """How a search draws: a function of the trial's number and of what is known of earlier ones.

    Nothing is remembered between two draws, so it does not matter where a search was cut or how
    often it was extended.
    """

    space: Space
    fixed: Words
    """Words of the config that the trials share."""
    seed: int
    startup: int
    """Number of trials that must have ended before TPE learns; until then draws are random."""
    first: Sequence[Words] = ()
    """Words of the first trials; the rest of their words is drawn."""
    repetitions: int = 1
    """Number of seeds that trials walk through: a recipe on another seed is another trial."""
    make: Callable[[Words], Any] = dict
    """Makes a trial of words; those that it refuses (ConfigError) are drawn again."""

    def draw(self, number: int, past: Mapping[int, Past]) -> Drawn:
        """Draw the words of trial `number`, given the earlier trials by their number.

        A trial that repeats an earlier one is drawn again: by what was learnt, then at random.
        """
        earlier: dict[str, int] = {}
        for peer, trial in past.items():
            if (peer - number) % self.repetitions == 0:
                earlier.setdefault(_named(trial.words), peer)
        in_order = [past[peer] for peer in sorted(past)]
        words: dict[str, Any] = {}
        for attempt in range(LEARNT + RANDOM):
            words = self._attempt(number, attempt, in_order if attempt < LEARNT else ())
            if _named(words) not in earlier and self.allows(words):
                return Drawn(words)
        return Drawn(words, earlier.get(_named(words)))

    def allows(self, words: Words) -> bool:
        """Return whether words make a trial."""
        try:
            self.make(words)
        except ConfigError:
            return False
        return True

    def _attempt(self, number: int, attempt: int, past: Sequence[Past]) -> dict[str, Any]:
        """Draw the words of trial `number` for the `attempt`-th time, whether new or not."""
        seed = int(key_of("draw", 1, [self.seed, number, attempt])[:8], 16)
        study = memory(self.space, seed, self.startup, past)
        if number < len(self.first):
            study.enqueue_trial(dict(self.first[number]))
        return draw(self.space, study.ask(), self.fixed)


def _named(words: Words) -> str:
    """Return one text for equal words, whatever their order and whether they were stored."""
    return canonical(dict(words))


def memory(space: Space, seed: int, startup: int, past: Sequence[Past] = ()) -> "optuna.Study":
    """Return an Optuna study with seeded TPE that remembers the trials of `past`, in their order.

    TPE is that of Bergstra et al. 2011; until `startup` trials have ended, draws are random. A
    trial that was cut short is PRUNED, never COMPLETE: its last value, from a denser rung, would
    look better than that of a trial which went on. Every option is named because Optuna 5 changed
    the defaults.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        tpe = optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=startup,
            multivariate=True,
            group=True,  # words that are only drawn together with others are modelled together
            constant_liar=True,  # a trial that runs counts as a bad one, so that no two are alike
        )
    study = optuna.create_study(sampler=tpe, direction="minimize", study_name="lthray")
    taught = sum(bool(trial.scores) for trial in past)
    for trial in past if taught >= startup else ():  # fewer change nothing of a random draw
        if trial.state == "running" or (trial.scores and trial.state != "failed"):
            study.add_trial(frozen(space, trial, _known(trial)))
    return study


def _known(trial: Past) -> State:
    """Return what a trial is to the search; one whose last score is no number was cut short."""
    is_lost = bool(trial.scores) and math.isnan(trial.scores[-1])
    return "pruned" if is_lost else trial.state


def frozen(
    space: Space, trial: Past, state: State, value: float | None = None
) -> "optuna.trial.FrozenTrial":
    """Return an earlier trial as Optuna keeps it, in a state.

    The value of one that is complete is `value`, or its last score where there is none.
    """
    from optuna.trial import TrialState, create_trial

    if state == "complete" and value is None:
        value = trial.scores[-1]
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # tuples as choices
        return create_trial(
            state=TrialState["FAIL" if state == "failed" else state.upper()],
            value=value if state == "complete" else None,
            params=dict(trial.words),
            distributions={word: space[word].distribution() for word in trial.words},
            intermediate_values=dict(enumerate(trial.scores, 1)),
        )


def promoted(score: float, earlier: Sequence[float], reduction: int) -> bool:
    """Return whether a trial with `score` at a rung goes on, given `earlier` scores at that rung.

    It does if it is among the best 1/`reduction` of those that came so far; smaller is better. This
    is asynchronous successive halving (Li et al. 2020, arXiv 1810.05934); the first to come always
    go on.
    """
    rank = sum(other <= score for other in earlier)
    return rank < -(-(len(earlier) + 1) // reduction)
