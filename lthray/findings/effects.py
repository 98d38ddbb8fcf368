"""What the words of a design do to the excess of its tickets: a mixed model, and importances.

    log(1 + excess) = intercept + words + recipe + seed + rest

Recipe, seed and rest are random and independent. All recipes are on all seeds, so the estimates of
restricted maximum likelihood are those of the analysis of variance, in closed form (Searle et al.
1992): words are fitted by least squares to the means over seeds, whose spread is that of recipes.
Recipes that lack a seed are left out, for their excess is no number, and nothing is claimed then. A
share has no such model: it would have to say how far a ticket is from winning.

A seed may do something to a word, which all its recipes share. So the variance of an effect is that
which recipes make plus that which seeds make, less what single outcomes add to both (Cameron et al.
2011), with the degrees of freedom of Satterthwaite (1946).
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lthray.findings import forests
from lthray.findings import stats as st
from lthray.findings.formats import NONE
from lthray.findings.frequency import Key, Rung, Studied
from lthray.findings.sections import Section
from lthray.study.searched import scored
from lthray.study.space import Choice, Dial, Past, Range

FEWEST = 8  # recipes from which a forest is grown
SPARE = 4  # recipes that a model has beyond its coefficients, at least

EXPLORED = "No claim is made of it, and it enters no family."

Drawn = Sequence[Mapping[str, Any]]
"""Words that were drawn for each recipe."""


@dataclass(frozen=True)
class Effect:
    """What one change of a word does to log(1 + excess)."""

    word: str
    change: str
    """From which value to which, or a standard deviation of a number."""
    estimate: float
    error: float
    df: float
    of_recipes: float
    """The standard error if recipes alone differed, and no seed did anything to a word."""

    @cached_property
    def _tested(self) -> tuple[st.Interval, float]:
        return st.t_of(self.estimate, self.error, self.df)

    @property
    def interval(self) -> st.Interval:
        """95 % t-interval of the effect."""
        return self._tested[0]

    @property
    def p(self) -> float:
        """Two-sided p of no effect."""
        return self._tested[1]


@dataclass(frozen=True)
class Model:
    """A mixed model as it was fitted at one density."""

    density: str
    effects: Sequence[Effect]
    recipe: float
    """Standard deviation between recipes that their words do not explain."""
    seed: float
    """Standard deviation between seeds."""
    rest: float
    """Standard deviation of one recipe on one seed."""
    recipes: int
    """Number of recipes that it was fitted to."""
    lost: int
    """Number of recipes that have no number on some seed, and are left out."""


def fitted(design: Studied, rung: Rung) -> Model | None:
    """Return the mixed model of the excess at a rung.

    None where fewer than two seeds, or too few recipes, have a number for every coefficient.
    """
    complete = np.isfinite(rung.excess).all(1)
    y = np.log1p(rung.excess[complete])
    names, columns = coded(_complete(design, complete))
    x = np.column_stack([np.ones(len(y)), *columns])
    spare = len(y) - x.shape[1]
    if min(spare - SPARE, y.shape[1] - 2, np.linalg.matrix_rank(x) - x.shape[1]) < 0:
        return None
    means, seeds = y.mean(1), y.shape[1]
    by_seed = np.linalg.lstsq(x, y, rcond=None)[0]  # [coefficients, seeds]
    beta = by_seed.mean(1)
    between = float(((means - x @ beta) ** 2).sum()) / spare  # of means over seeds
    recipe, seed, rest = _spreads(y, between)
    scale = np.diag(np.linalg.inv(x.T @ x))
    ways = np.stack([between * scale, by_seed.var(1, ddof=1) / seeds])  # [2, coefficients]
    variance = np.maximum(ways.max(0), ways.sum(0) - rest**2 * scale / seeds)
    df = ways.sum(0) ** 2 / (ways**2 / [[spare], [seeds - 1]]).sum(0)
    effects = []
    for at, name in enumerate(names, 1):
        numbers = (beta[at], math.sqrt(variance[at]), df[at], math.sqrt(ways[0, at]))
        effects.append(Effect(*name, *map(float, numbers)))
    return Model(rung.name, effects, recipe, seed, rest, len(y), len(complete) - len(y))


def _complete(design: Studied, complete: np.ndarray) -> list[Mapping[str, Any]]:
    """Return the words that were drawn for the recipes that are `complete`."""
    return list(itertools.compress(design.drawn, complete))


def _spreads(y: np.ndarray, between: float) -> tuple[float, float, float]:
    """Return the standard deviations of recipe, seed and rest of y [recipes, seeds].

    `between` is the variance of the means of recipes about their fit.
    """
    recipes, seeds = y.shape
    of_seeds = y.mean(0)
    rest = y - y.mean(1, keepdims=True) - of_seeds + y.mean()
    noise = float((rest**2).sum()) / (recipes - 1) / (seeds - 1)
    recipe = between - noise / seeds
    seed = float(of_seeds.var(ddof=1)) - noise / recipes
    return math.sqrt(max(recipe, 0.0)), math.sqrt(max(seed, 0.0)), math.sqrt(noise)


def coded(drawn: Drawn) -> tuple[list[tuple[str, str]], list[np.ndarray]]:
    """Return (word, change) of each column of a model, and the columns, of the words of recipes.

    A name has a column for each value but the first. A number has one: its distance from the mean
    in standard deviations, of its logarithm where it is above 0; 0 where it was not drawn.
    """
    names: list[tuple[str, str]] = []
    columns: list[np.ndarray] = []
    for word in sorted(set().union(*drawn)):
        has = np.array([word in words for words in drawn])
        values = [words[word] for words in itertools.compress(drawn, has)]
        made = _number(values, has) if isinstance(values[0], float) else _name(values, has)
        names += [(word, change) for change in made]
        columns += made.values()
    return names, columns


def _name(values: Sequence[str], has: np.ndarray) -> dict[str, np.ndarray]:
    """Return change -> column of the values of a name, in the recipes that have it."""
    places = np.zeros(len(has), dtype=int)
    levels, places[has] = np.unique(values, return_inverse=True)
    changes = [f"{levels[0]} to {level}" for level in levels[1:]]
    return dict(zip(changes, np.eye(len(levels))[1:, places] * has, strict=True))


def _number(values: Sequence[float], has: np.ndarray) -> dict[str, np.ndarray]:
    """Return change -> column of the values of a number, in the recipes that have it."""
    positive = min(values) > 0
    scaled = np.log(values) if positive else np.array(values)
    column = np.zeros(len(has))
    column[has] = scaled - scaled.mean()
    change = "a standard deviation" + " of its log" * positive
    return {change: column / scaled.std()} if scaled.std() else {}


def importances_of(design: Studied, rung: Rung) -> list[forests.Importance]:
    """Return the importance of each word for the mean excess of a recipe, largest first.

    It is fANOVA (Hutter et al. 2014) over the words that every recipe has, beside what it comes to
    by chance. Empty where there are too few recipes, or fewer than two such words.
    """
    complete = np.isfinite(rung.excess).all(1)
    points = _complete(design, complete)
    common = sorted(set(design.drawn[0]).intersection(*points))
    columns = {word: [words[word] for words in points] for word in common}
    space = {word: _spanned(values) for word, values in columns.items() if len(set(values)) > 1}
    if len(points) < FEWEST or len(space) < 2:
        return []
    means = np.log1p(rung.excess[complete]).mean(1).tolist()
    past = {}
    for number, (words, mean) in enumerate(zip(points, means, strict=True)):
        varied = {word: words[word] for word in space}
        past[number] = Past(varied, (mean,), "complete")
    return forests.importances(scored(space, past, 1))


def _spanned(values: Sequence[Any]) -> Dial:
    """Return the dial over the values that a word has taken; on a log scale if all are above 0."""
    if isinstance(values[0], float):
        return Range(min(values), max(values), log=min(values) > 0)
    return Choice(tuple(dict.fromkeys(values)))


# sections


def told(models: Sequence[Model], cells: Callable[[Key], list[str]]) -> Section:
    """Return the mixed models of the excess: what each word changes, and what is left.

    `cells` returns the p of a claim and its adjusted p, as they are shown.
    """
    rows = [["density", "word", "change", "points", "low", "high", "p", "Holm"]]
    for model in models:
        for effect in model.effects:
            ends = map(points, (effect.estimate, *effect.interval))
            key = effect.word, effect.change, model.density
            rows.append([model.density, effect.word, effect.change, *ends, *cells(key)])
        for name in ("recipe", "seed", "rest"):
            spread = f"{100 * getattr(model, name):.2f}"
            rows.append([model.density, name, "standard deviation", spread, *[NONE] * 4])
    text = [
        "Mixed model of log(1 + excess), in points of 1 %: words are fixed, recipe and seed are "
        "random effects. Below zero is a better ticket.",
        "All claims of the page are adjusted together (Holm), and a star is one that holds. An "
        "interval is as wide as recipes differ from their fit, and seeds in what a word changes.",
    ]
    for model in models:
        if model.lost:
            text.append(
                f"At density {model.density}, {model.lost} of {model.lost + model.recipes} recipes "
                "have no number on some seed and are left out, so that nothing is claimed there."
            )
    return Section("effects", "What the words change", text, rows)


def points(value: float) -> str:
    """Return a change of log(1 + excess) in points of 1 %."""
    return f"{100 * value:+.2f}"


def ranked(design: Studied, rungs: Sequence[Rung]) -> Section:
    """Return the importance of each word for the mean excess, at some of a design's rungs."""
    found: dict[str, dict[str, str]] = {}
    for rung in rungs:
        told = {}
        for each in importances_of(design, rung):
            told[each.word] = f"{each.mean:.2f} ({each.chance:.2f})"
        found[rung.name] = told
    rows = [["word", *found]]
    for word in sorted(set().union(*found.values())):
        rows.append([word, *(told.get(word, NONE) for told in found.values())])
    text = [
        "fANOVA (Hutter et al. 2014): of what single words explain of the variance of the mean "
        "excess of a recipe, the share of each, over the words that every recipe has. In brackets "
        "stands what chance alone comes to, where the excess is shuffled among the recipes (95 % "
        f"quantile): a number with many values gets most of it. {EXPLORED}"
    ]
    return Section("importances", "Which words matter", text, rows)
