"""The page of a design: how often tickets win, negative controls apart, and what its words do.

All claims of the page are one family, adjusted by Holm: that a share lies above its base rate, of
negative controls too, and that a word changes the excess. A star is a claim that holds. Shares by
word, survival and importances are told without any claim.
"""

import math
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lthray.config.fields import ConfigError
from lthray.core.record import TrialRecord
from lthray.findings import effects as fx
from lthray.findings import stats as st
from lthray.findings.figures import DENSITY, Interval, Intervals, Line, Lines
from lthray.findings.formats import NONE, plural, series
from lthray.findings.frequency import (
    BOTH,
    KINDS,
    MATCHES,
    WINS,
    Key,
    Rung,
    Studied,
    apart,
    best_of,
    claimed,
    share,
    studied,
)
from lthray.findings.power import level_of
from lthray.findings.sections import Section
from lthray.findings.survival import first_failures, logrank
from lthray.study.design import MOST, Association, strongest

DESIGN = "A design's frequency: for this space of recipes, on these seeds, at this training budget."
NO_CONTROLS = "no ticket has its re-initialised and shuffled masks: nothing can be called winning"
NO_RECIPES = "all recipes are negative controls, of which none is expected to win"
HEAD = ("density", "outcome", "count", "of", "share", "base rate", "95 %", "effective", "p", "Holm")
TITLE = "How often tickets win"
SHARES = (
    "A row is a density. The dotted line is the base rate, which chance alone comes to. Intervals "
    "are of 95 %, each by itself. A filled dot is a share that is shown to lie above its base "
    "rate, among all claims of the page."
)
CLAIMED = (*map(best_of, KINDS), WINS)  # outcomes of which a share above its base rate is a claim


@dataclass(frozen=True)
class Page:
    """All that a design's trials say, with every claim tested once."""

    real: Studied
    """Recipes that can win."""
    negative: Mapping[str, Studied]
    """Rule that cannot win -> its recipes."""
    look: int = 1
    """How often its seeds were looked at."""

    @classmethod
    def of(cls, trials: Sequence[TrialRecord], look: int = 1) -> "Page":
        """Return the page of the trials of a design at the `look`-th look at their seeds.

        Raises ConfigError where nothing can win there.
        """
        design = studied(trials)
        if not design.graded:
            raise ConfigError([NO_CONTROLS])
        real, negative = apart(design)
        if not real.recipes:
            raise ConfigError([NO_RECIPES])
        return cls(real, negative, look)

    @cached_property
    def strongest(self) -> Association:
        """The two words that go together most."""
        return strongest(self.real.drawn)

    @property
    def crossed(self) -> list[Rung]:
        """Rungs at which words are told apart: of a design whose words go together none."""
        return self.real.graded if self.strongest.strength < MOST else []

    @cached_property
    def models(self) -> list[fx.Model]:
        """The mixed model at each rung at which it can be fitted."""
        return [model for rung in self.crossed if (model := fx.fitted(self.real, rung))]

    @cached_property
    def p(self) -> dict[Key, float]:
        """The family of the page: claim -> p."""
        found = claimed(self.real, CLAIMED)
        for rule, design in self.negative.items():
            found |= claimed(design, [WINS], rule)
        for model in self.models:
            for effect in () if model.lost else model.effects:
                found[effect.word, effect.change, model.density] = effect.p
        return found

    @cached_property
    def adjusted(self) -> dict[Key, float]:
        """Claim -> p, adjusted over the family by Holm."""
        return dict(zip(self.p, map(float, st.holm(list(self.p.values()))), strict=True))

    @property
    def held(self) -> list[Key]:
        """All claims that hold."""
        return [key for key, p in self.adjusted.items() if p < level_of(self.look)]

    def cells(self, key: Key) -> list[str]:
        """Return the cells p and Holm of a claim, with a star where it holds."""
        if key not in self.p:
            return [NONE, NONE]
        return [f"{self.p[key]:.2g}", f"{self.adjusted[key]:.2g}" + "*" * (key in self.held)]


def sections(
    trials: Sequence[TrialRecord], by: Sequence[str], provenance: str, look: int = 1
) -> Iterator[Section]:
    """Yield all sections of the page of a design at the `look`-th look at its seeds.

    `by` are words by which shares are told apart. Without any, shares are told by every named word
    that was drawn, and figures are of all.
    """
    page = Page.of(trials, look)
    design, words = page.real, list(by) or named(page.real)
    text = [*(sentence(page, rung) for rung in design.graded), *remarks(page), DESIGN, provenance]
    rows = [[*HEAD], *table(page, design)]
    drawn, said = figure(design, by[:1]), answer(page)
    yield Section("frequency", TITLE, text, rows, drawn, verdict=True, answer=said)
    more = [negatives(page), by_words(design, words), survival(design, by[:1])]
    more += [fx.told(page.models, page.cells), fx.ranked(design, page.crossed)]
    yield from (section for section in more if len(section.table) > 1)


# how often


def answer(page: Page) -> list[str]:
    """Return in two sentences how often tickets win, and of what that is a frequency."""
    ends = {rung.name: rung for rung in (page.real.graded[0], page.real.graded[-1])}
    held = [rung.name for rung in page.real.graded if ("", WINS, rung.name) in page.held]
    told = []
    for rung in ends.values():
        found = share(rung.outcomes[WINS])
        told.append(f"{found.count} of {found.of} trajectories at density {rung.name}")
    more = f"at {', '.join(held)}" if held else "at no density"
    return [
        f"Tickets win in {' and '.join(told)}; more often than by chance is shown {more}.",
        DESIGN,
    ]


def table(page: Page, design: Studied, rule: str = "") -> list[list[str]]:
    """Return a row for each density and outcome: share, base rate, interval, and its claim."""
    rows = []
    for rung in design.rungs:
        for outcome, holds in rung.outcomes.items():
            found = share(holds)
            base = f"{rung.bases[outcome]:.2f}" if outcome in rung.bases else NONE
            numbers = [str(found.count), str(found.of), f"{found.value:.2f}", base, found.ends]
            tested = page.cells((rule, outcome, rung.name))
            rows.append([rung.name, outcome, *numbers, f"{found.interval.size:.1f}", *tested])
    return rows


def sentence(page: Page, rung: Rung) -> str:
    """Return how often tickets win at a training budget and density, and whether more often than by
    chance."""
    found, base = share(rung.outcomes[WINS]), rung.bases[WINS]
    budgets = sorted({recipe["train.steps"] for recipe in page.real.recipes})
    shown = "" if ("", WINS, rung.name) in page.held else "not shown to be "
    return (
        f"At {series(list(map(str, budgets)))} steps and density {rung.name}, {found.count} of "
        f"{found.of} trajectories win: {shown}more often than by chance (share {found.value:.2f}, "
        f"95 % {found.ends}, base rate {base:.2f})."
    )


def remarks(page: Page) -> list[str]:
    """Return what the shares of a design are to be read beside."""
    design, last = page.real, page.real.graded[-1]
    draws = [last.controls[kind].shape[-1] for kind in KINDS]
    told = " and ".join(map("{} {}".format, draws, KINDS.values()))
    level, claims = level_of(page.look), len(page.p)
    lines = [
        f"All {claims} claims of this page are one family (Holm, level {level:.2g}, look "
        f"{page.look} at these seeds).",
        f"To win, a ticket must match its dense network and be the best among its controls ({told})"
        ". The base rate is what chance does at most where one kind is as good; where both are, "
        f"{1 / (1 + sum(draws)):.2f} are best of both.",
        f"Intervals are those of Korn and Graubard, with clusters of {len(design.recipes)} recipes "
        f"and of {plural(len(design.seeds), 'seed')}.",
        f"At density {last.name}, {last.near} of {design.size} tickets are within two standard "
        f"errors of the margin, and {design.missing} have no number: they do not match.",
    ]
    one, other, strength = page.strongest
    if strength >= MOST:
        lines.append(
            f"This is a design of the former kind, which is not crossed: {one} and {other} go "
            f"together ({strength:.2f}), so what is told of one may be the other's doing."
        )
    elif one:
        lines.append(f"Of the design's words {one} and {other} go together most ({strength:.2f}).")
    return lines


def evidence(trials: Sequence[TrialRecord], look: int = 1) -> Iterator[Section]:
    """Yield a section for each outcome whose share is a claim: the share at each density, with its
    interval, beside its base rate."""
    page = Page.of(trials, look)
    for outcome in (WINS, *map(best_of, KINDS)):
        rows, base = [], 0.0
        for rung in page.real.graded:
            found, base = share(rung.outcomes[outcome]), rung.bases[outcome]
            low, high, *_ = found.interval
            held = ("", outcome, rung.name) in page.held
            rows.append(Interval(rung.name, found.value, low, high, held))
        name = "_".join(["evidence", *outcome.split()])
        drawn = Intervals("share of trajectories", rows, base)
        yield Section(name, f"How often: {outcome}", [SHARES], figure=drawn)


def figure(design: Studied, by: Sequence[str]) -> Lines:
    """Return shares against density, with their intervals: of each outcome or, where a word is
    named, of what wins by its values."""
    for word in by:
        lines = [curve(value, group, WINS) for value, group in design.by(word).items()]
        return Lines(DENSITY, "share of trajectories that win", lines)
    outcomes = design.graded[-1].outcomes
    lines = [curve(outcome, design, outcome) for outcome in outcomes]
    return Lines(DENSITY, "share of trajectories", lines)


def curve(name: str, design: Studied, outcome: str) -> Line:
    """Return the share of an outcome against density, sparsest first, with its interval."""
    points = []
    for rung in reversed(design.rungs):
        if outcome in rung.outcomes:
            found = share(rung.outcomes[outcome])
            points.append((rung.density, found.value, *found.interval[:2]))
    return Line(name, *np.transpose(points).tolist())


def named(design: Studied) -> list[str]:
    """Return the words that recipes differ in and whose values are names, not numbers."""
    values = dict(ChainMap(*map(dict, design.drawn)))
    names = [word for word, value in values.items() if isinstance(value, str)]
    return sorted(word for word in names if len(design.by(word)) > 1)


def by_words(design: Studied, words: Sequence[str]) -> Section:
    """Return a row per value of each word and density, whatever the other words are: shares with
    their intervals."""
    groups = {"all": design}
    for word in words:
        groups |= {f"{word} {value}": group for value, group in design.by(word).items()}
    rows = [["recipes", "density", "of", MATCHES, *CLAIMED]]
    for name, group in groups.items():
        for rung in group.rungs:
            cells = [share(h).text for outcome, h in rung.outcomes.items() if outcome != BOTH]
            cells += [NONE] * (1 + len(CLAIMED) - len(cells))
            rows.append([name, rung.name, str(group.size), *cells])
    return Section("shares", f"{TITLE}, by each word alone", table=rows)


def negatives(page: Page) -> Section:
    """Return the shares of rules that cannot win but by chance."""
    rows = [["rule", *HEAD]]
    for rule, design in page.negative.items():
        rows += [[rule, *row] for row in table(page, design, rule) if row[1] != BOTH]
    text = [
        "Rules that cannot win but by chance, apart from the shares above: new weights are as good "
        "as other new weights, and a random mask is as good as its shuffles.",
    ]
    faults = [(rule, density) for rule, _, density in page.held if rule in page.negative]
    text += [f"{rule} wins at {density} more often than by chance." for rule, density in faults]
    text += ["None of them wins more often than by chance."] * (not faults)
    return Section("negatives", "Negative controls", text, rows)


# survival


def survival(design: Studied, by: Sequence[str]) -> Section:
    """Return the share of trajectories that match down to each sparsity (Kaplan and Meier 1958)."""
    groups = design.by(by[0]) if by else {"all": design}
    rows = [["recipes", "sparsity", "still tried", "failed", "share that matches"]]
    lines, text = [], []
    for name, group in groups.items():
        times, failed = first_failures(group)
        curve = st.kaplan_meier(times.ravel(), failed.ravel())
        lines.append(Line(name, [0.0, *curve.t.tolist()], [1.0, *curve.survival.tolist()]))
        for t, alive in zip(curve.t, curve.survival, strict=True):
            counts = [int((times >= t).sum()), int((failed & (times == t)).sum())]
            rows.append([name, f"{t:.4g}", *map(str, counts), f"{alive:.2f}"])
        half = "" if math.isinf(curve.median) else f", half of them by {curve.median:.4g}"
        cease = f"{failed.sum()} of {group.size} trajectories cease to match"
        text.append(f"{name}: {cease}{half}.")
    if len(groups) == 2:
        p, told = _compared(design, by[0])
        rows.append([" against ".join(groups), "log-rank p", NONE, NONE, p])
        text.append(told)
    chart = Lines("sparsity", "share that still matches", lines, ladder=False, steps=True)
    return Section("survival", "Down to which sparsity tickets match", text, rows, chart)


def _compared(design: Studied, word: str) -> tuple[str, str]:
    """Return the p of the log-rank test of the two values of a word, and what it is, or why there
    is none."""
    one, other = design.by(word)
    first = np.array([str(words[word]) == one for words in design.recipes])
    p = logrank(*first_failures(design), first)
    if math.isnan(p):
        return NONE, f"{one} and {other} are not compared: one of them never ceases to match."
    return f"{p:.2g}", (
        f"Log-rank p of {one} against {other}: {p:.2g}, by permutation of whole recipes, since "
        f"trajectories of one recipe are not independent. {fx.EXPLORED}"
    )
