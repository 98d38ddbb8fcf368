"""A page's registry of claims: each is tested once, and all of them are adjusted together.

A table, its stars, the sentences and the figures of a page are views of one registry, so that they
cannot disagree. A claim says that a mean over seeds lies below a margin. Its bound is the one-sided
upper bound of that mean at the level at which Holm's procedure (1979) tests the claim within the
family, and the claim holds where the bound lies below the margin: bound and test always agree, and
all claims of the page together err in at most 5 % or, where seeds were added, in what is left of
it: `lthray.findings.power.level_of` spends the level over looks (Lan and DeMets 1983).

A run that was planned and is missing, or that has no finite value, is the worst outcome of the
claim that it would have supported: the claim does not hold.
"""

import math
import statistics as plain
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from lthray.findings import stats as st
from lthray.findings.power import detectable
from lthray.findings.stats import ALPHA

DISAGREE = 3.0  # times by which p of the t-test and of sign flips may differ without a word
ENOUGH = 6  # seeds from which sign flips can reach the level of a test

Place = tuple[str | float, ...]
"""What a claim is about, beside its name: a budget, a recipe, a density."""


@dataclass(frozen=True)
class Statement:
    """One claim: the mean of `values`, one for each seed, lies below `margin`."""

    name: str
    place: Place
    values: Mapping[int, float]
    """Seed -> number; of a run that diverged not a finite one."""
    planned: int
    """Number of seeds that were planned."""
    margin: float = 0.0

    @property
    def finite(self) -> list[float]:
        """The values of the seeds that have a finite one."""
        return list(filter(math.isfinite, self.values.values()))

    @property
    def whole(self) -> bool:
        """Whether every planned seed has a finite value, and there are two or more."""
        return len(self.finite) == self.planned > 1

    @property
    def mean(self) -> float:
        """Mean over the seeds that have a finite value; nan where none has."""
        return plain.fmean(self.finite) if self.finite else math.nan

    @cached_property
    def p(self) -> float:
        """One-sided p of the t-test; 1 where a planned seed is missing."""
        return st.t_test(self.finite, "less", shift=self.margin) if self.whole else 1.0

    @property
    def p_flip(self) -> float:
        """One-sided p of sign flips, which fewer than five seeds can never make significant; nan
        where a planned seed is missing."""
        return st.sign_flip(self.finite, "less", shift=self.margin) if self.whole else math.nan

    @property
    def sensitive(self) -> bool:
        """Whether sign flips, which no outlier misleads, give a p that is unlike the t-test's."""
        if not self.whole or self.planned < ENOUGH:
            return False
        least = 2.0**-self.planned  # no p of sign flips is smaller
        return not 1 / DISAGREE <= self.p_flip / max(self.p, least) <= DISAGREE

    @property
    def seeds(self) -> str:
        """How many of the planned seeds have a finite value, as "5 of 8", or "8"."""
        count = len(self.finite)
        return str(count) if count == self.planned else f"{count} of {self.planned}"


@dataclass(frozen=True)
class Tested:
    """A statement as the family has tested it."""

    statement: Statement
    level: float
    """Level of the test, and of its bound."""

    @property
    def bound(self) -> float:
        """Upper bound of the mean; inf where a planned seed is missing."""
        if not self.statement.whole:
            return math.inf
        return st.upper_bound(self.statement.finite, 1 - self.level)

    @property
    def holds(self) -> bool:
        """Whether the claim holds, all others of the page considered."""
        return self.bound < self.statement.margin

    @property
    def detectable(self) -> float:
        """The smallest distance from the margin that these seeds find four times in five; nan where
        a planned seed is missing."""
        if not self.statement.whole:
            return math.nan
        values = self.statement.finite
        return detectable(len(values), plain.stdev(values), alpha=self.level)


class Registry:
    """All claims of a page, by name and place."""

    def __init__(self, statements: Iterable[Statement], alpha: float = ALPHA):
        """Take the family of a page, which as a whole errs in `alpha` at most.

        A claim that stands there twice is refused (ValueError).
        """
        self.alpha = alpha
        self.family: dict[tuple[str, Place], Statement] = {}
        for statement in statements:
            key = statement.name, statement.place
            if key in self.family:
                raise ValueError(f"{statement.name} of {statement.place} is claimed twice")
            self.family[key] = statement

    @cached_property
    def levels(self) -> dict[tuple[str, Place], float]:
        """The level at which each claim is tested: that of its step in Holm's procedure, and after
        the first claim that fails, the level of that one."""
        levels: dict[tuple[str, Place], float] = {}
        level, failed = self.alpha, False
        for step, key in enumerate(sorted(self.family, key=lambda key: self.family[key].p)):
            if not failed:
                level = self.alpha / (len(self.family) - step)
                failed = self.family[key].p >= level
            levels[key] = level
        return levels

    def __iter__(self) -> Iterator[Tested]:
        """Iterate over all claims in the order in which they were made."""
        for key, statement in self.family.items():
            yield Tested(statement, self.levels[key])

    def find(self, name: str, *place: str | float) -> Tested | None:
        """Return a claim as it was tested; None where it was not made."""
        key = name, place
        return Tested(self.family[key], self.levels[key]) if key in self.family else None

    def holds(self, name: str, *place: str | float) -> bool:
        """Return whether a claim was made and holds."""
        tested = self.find(name, *place)
        return tested is not None and tested.holds
