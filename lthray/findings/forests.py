"""Random forests over what a search has tried: which words mattered, and what others might score.

Both are exploratory. A search looks where scores were good, so its trials are no sample of its
space, and few trials fit many stories. So an importance stands beside what it comes to when scores
are shuffled among the trials, and a forecast beside its error on trials that it has not seen.
"""

import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

FORESTS, SHUFFLES = 10, 20  # forests of other seeds, and of shuffled scores
TREES = 200  # of a forest that forecasts
ENDS = (0.05, 0.95)  # quantiles over forests
Forest = Mapping[str, float]
"""Word -> importance, all together 1."""


@dataclass(frozen=True)
class Importance:
    """Share of the variance of scores that a word explains alone (fANOVA; Hutter et al. 2014)."""

    word: str
    mean: float
    """Mean over forests that differ in their seed."""
    low: float
    """5 % quantile over these forests."""
    high: float
    """95 % quantile over these forests."""
    chance: float
    """95 % quantile where scores are shuffled among the trials."""


def importances(study: "optuna.Study") -> list[Importance]:
    """Return the importance of every word that all complete trials of a study have, largest first.

    The same study gives the same numbers.
    """
    forests = [fanova(study, seed) for seed in range(FORESTS)]
    shuffled = [fanova(_shuffled(study, seed), seed) for seed in range(SHUFFLES)]
    found = []
    for word in forests[0]:
        shares = [forest[word] for forest in forests]
        low, high = np.quantile(shares, ENDS)
        chance = np.quantile([forest[word] for forest in shuffled], ENDS[1])
        mean = statistics.fmean(shares)
        found.append(Importance(word, mean, float(low), float(high), float(chance)))
    return sorted(found, key=lambda each: -each.mean)


def ped_anova(study: "optuna.Study") -> dict[str, float]:
    """Return how much each word differs between the best tenth and all trials, as shares of 1.

    Words that only some trials have are among them (PED-ANOVA; Watanabe et al. 2023).
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings(action="ignore"):  # of few trials
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def fanova(study: "optuna.Study", seed: int = 0) -> Forest:
    """Return the share of the variance of scores that each word explains alone: one forest.

    Only words that all complete trials have are among them. The shares are of all that words
    explain alone (fANOVA; Hutter et al. 2014, as Optuna takes it).
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))


def _shuffled(study: "optuna.Study", seed: int) -> "optuna.Study":
    """Return a study of the complete trials with their scores in another order."""
    import optuna

    trials = complete(study)
    scores = np.random.default_rng(seed).permutation([trial.value for trial in trials])
    other = optuna.create_study(direction="minimize", study_name="lthray")
    for trial, score in zip(trials, scores, strict=True):
        other.add_trial(
            optuna.trial.create_trial(
                value=float(score),
                params=trial.params,
                distributions=trial.distributions,
            )
        )
    return other


def complete(study: "optuna.Study") -> "list[FrozenTrial]":
    """Return the complete trials of a study."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


# forecasts


@dataclass(frozen=True)
class Forecasts:
    """What a forest predicts, and how well."""

    means: Sequence[float]
    """Predicted score of each recipe that was asked for."""
    spreads: Sequence[float]
    """Standard deviation over the trees of each."""
    error: float
    """Root mean square error on trials that a tree has not seen."""
    blind: float
    """Error of the mean of the other trials, which knows nothing of the words."""

    @property
    def informed(self) -> bool:
        """Whether the forest predicts better than that mean."""
        return self.error < self.blind


def forecasts(study: "optuna.Study", recipes: Sequence[Mapping[str, Any]]) -> Forecasts:
    """Return what a forest of the complete trials of a study predicts for other recipes.

    `recipes` hold the words of each. The same study and recipes give the same numbers.
    """
    from sklearn.ensemble import RandomForestRegressor

    trials = complete(study)
    dials: dict[str, BaseDistribution] = {}
    for trial in trials:
        dials |= trial.distributions
    scores = np.array([trial.value for trial in trials], dtype=np.float64)
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0)
    forest.fit(encoded([trial.params for trial in trials], dials), scores)
    asked = encoded(recipes, dials)
    predicted = np.array([tree.predict(asked) for tree in forest.estimators_])
    error = np.sqrt(np.mean((forest.oob_prediction_ - scores) ** 2))
    others = len(scores) / (len(scores) - 1) * (scores - scores.mean())
    blind = np.sqrt(np.mean(others**2))
    means, spreads = predicted.mean(0).tolist(), predicted.std(0, ddof=1).tolist()
    return Forecasts(means, spreads, float(error), float(blind))


def encoded(
    recipes: Sequence[Mapping[str, Any]], dials: "Mapping[str, BaseDistribution]"
) -> np.ndarray:
    """Return recipes as numbers, [recipes, columns]: a column for a number, or for each choice.

    A word that a recipe does not have is nan, or none of its choices.
    """
    rows = [list(_columns(words, dials)) for words in recipes]
    return np.array(rows, dtype=np.float32).reshape(len(recipes), -1)


def _columns(words: Mapping[str, Any], dials: "Mapping[str, BaseDistribution]") -> Iterator[float]:
    from optuna.distributions import CategoricalDistribution

    for word, dial in dials.items():
        value = words.get(word)
        if isinstance(dial, CategoricalDistribution):
            yield from (float(value == choice) for choice in dial.choices)
        elif value is None:
            yield float("nan")
        else:
            yield float(np.log(value)) if getattr(dial, "log", False) else float(value)
