"""A search space as a table: word of the config -> what may be drawn for it, and when; and how a search remembers."""

import warnings
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]
    when: tuple[str, tuple[Any, ...]] | None = None
    """Drawn only where this other word has one of these values."""


@dataclass(frozen=True)
class Range:
    """A number between two bounds."""

    low: float
    high: float
    log: bool = False
    when: tuple[str, tuple[Any, ...]] | None = None
    """Drawn only where this other word has one of these values."""


Dial = Choice | Range
Space = Mapping[str, Dial]


def offers(dial: Dial, value: Any) -> bool:
    """Whether a value can be drawn."""
    return value in dial.values if isinstance(dial, Choice) else dial.low <= value <= dial.high


def draw(space: Space, trial: "optuna.Trial | _Given", fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The words that a trial draws; a word whose condition does not hold, here or in `fixed`, is left out."""
    words: dict[str, Any] = {}
    for word, dial in space.items():
        if dial.when is None or {**fixed, **words}.get(dial.when[0]) in dial.when[1]:
            if isinstance(dial, Choice):
                words[word] = trial.suggest_categorical(word, dial.values)
            else:
                words[word] = trial.suggest_float(word, dial.low, dial.high, log=dial.log)
    return words


def design(space: Space, n: int, fixed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The 2^n points of a scrambled Sobol sequence over the space, the same every time: no outcome moves them.

    Coordinates of words whose condition does not hold are left unused, since a design of conditional words would not be
    one (Sobol 1967; scrambling of Owen 1998).
    """
    from scipy.stats import qmc

    rows = qmc.Sobol(len(space), scramble=True, rng=0).random_base2(n)
    return [draw(space, _Given(dict(zip(space, map(float, row), strict=True))), fixed) for row in rows]


class _Given:
    """Answers as an Optuna trial does, from numbers between 0 and 1."""

    def __init__(self, at: Mapping[str, float]):
        self.at = at

    def suggest_categorical(self, word: str, values: Sequence[Any]) -> Any:
        return values[min(int(self.at[word] * len(values)), len(values) - 1)]

    def suggest_float(self, word: str, low: float, high: float, *, log: bool) -> float:
        if log:
            return low * (high / low) ** self.at[word]
        return low + (high - low) * self.at[word]


def without(space: Space, given: Container[str], fixed: Mapping[str, Any]) -> dict[str, Dial]:
    """The space that is left when the user gives some words (a tuple with its entries), so that `fixed` is the config."""
    left = {word: dial for word, dial in space.items() if word not in given and word.rpartition(".")[0] not in given}
    return {
        word: dial
        for word, dial in left.items()
        if dial.when is None or dial.when[0] in left or fixed[dial.when[0]] in dial.when[1]
    }


Past = tuple[Mapping[str, Any], list[float], bool]  # words, score of each rung, whether it went to the last


def memory(space: Space, seed: int, startup: int, finished: Sequence[Past] = (), storage: Any = None) -> "optuna.Study":
    """An Optuna study with seeded TPE (Bergstra et al. 2011) that remembers the `finished` trials.

    A trial that was cut short is PRUNED, never COMPLETE: its last value, from a denser rung, would look better than that
    of a trial which went on. Every option is named because Optuna 5 changed the defaults.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        # group: words that are only drawn together with others are modelled together
        tpe = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, group=True, constant_liar=True)
    study = optuna.create_study(storage=storage, sampler=tpe, direction="minimize", study_name="lthray")
    states = optuna.trial.TrialState
    for words, scores, complete in finished:
        if scores:
            study.add_trial(
                optuna.trial.create_trial(
                    state=states.COMPLETE if complete else states.PRUNED,
                    value=scores[-1] if complete else None,
                    params=dict(words),
                    distributions={word: _distribution(space[word]) for word in words},
                    intermediate_values=dict(enumerate(scores, 1)),
                )
            )
    return study


def _distribution(dial: Dial) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return (
        CategoricalDistribution(dial.values) if isinstance(dial, Choice) else FloatDistribution(dial.low, dial.high, dial.log)
    )


def promoted(score: float, earlier: Sequence[float], reduction: int) -> bool:
    """Whether a score is among the best 1/`reduction` of those that came to its rung so far; smaller is better.

    Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934); the first to come always go on.
    """
    rank = sum(other <= score for other in earlier)
    return rank < -(-(len(earlier) + 1) // reduction)
