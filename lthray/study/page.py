"""What a study's page states: its question, its trials and its sizes, as one of three kinds.

A Search draws its trials and learns from those that have ended; a Grid lists them; a Design crosses
what varies, so that no word says anything of another. Only a search can be wrong about its best, so
it alone has a Confirmation. `Study` is what all of them answer to the call that is made of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lthray.config.fields import ConfigError
from lthray.config.options import NAME
from lthray.config.trial import TrialConfig
from lthray.study.design import MOST, corner, crossed, laid_over, strongest
from lthray.study.space import Space, Words, without

Points = tuple[Words, ...]
Listed = Callable[[TrialConfig], Sequence[Words]]
"""Words of several trials, given the config of the call."""
Referred = Callable[[TrialConfig, int], Sequence[Words]]
"""Words of dense networks, given the config of the call and the number of doublings."""
Searched = Callable[[TrialConfig], Space]
"""What may be drawn, given the config of the call."""

STARTUP, GRACE, REDUCTION = 4, 2, 2  # defaults of a search


def nothing(config: TrialConfig) -> Sequence[Words]:
    """Return no words at all: a study without references."""
    return ()


def ticket_alone(config: TrialConfig) -> Sequence[Words]:
    """Return the words of one arm that changes nothing: a study without controls."""
    return ({},)


def once(points: Sequence[Words]) -> Points:
    """Return the points in order, without those that repeat an earlier one."""
    return tuple({repr(sorted(point.items())): point for point in points}.values())


@dataclass(frozen=True, kw_only=True)
class Study(ABC):
    """What every kind of study states, and what a call asks of it."""

    phase: ClassVar[str]
    """Word for the kind, as it is recorded with every trial."""

    name: str
    about: str
    """The question, as text for --help and for the experiment."""
    seeds: tuple[int, ...]
    words: Words = field(default_factory=dict)
    """What the study changes in every preset."""
    presets: Mapping[str, Words] = field(default_factory=dict)
    """What it changes in one preset."""
    smoke: Words = field(default_factory=dict)
    """What it changes with --smoke."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            allowed = "up to 64 of a-z 0-9 . _ - that begin with a letter or digit"
            raise ValueError(f"Study.name {self.name!r}: {allowed}")

    @abstractmethod
    def vary(
        self, config: TrialConfig, user_words: Container[str], *, smoke: bool
    ) -> tuple[Space, Points]:
        """Return the space that trials are drawn from, or the points that are listed.

        `config` is that of the call, `user_words` hold the words that the user has fixed. Of space
        and points one is empty; points are not yet crossed with the seeds.
        """

    def base(self, preset: str, *, smoke: bool) -> dict[str, Any]:
        """Return the words that the page lays over a preset."""
        changed = {**self.words, **self.presets.get(preset, {})}
        return {**changed, **self.smoke} if smoke else changed

    def drawn(self, *, smoke: bool) -> int:
        """Return the number of trials that are drawn where the user names none: none of a list."""
        return 0

    def taken(self, wanted: int | None, listed: int) -> int:
        """Return how many of the `listed` trials are run, where the user wants so many."""
        return min(wanted, listed) if wanted else listed

    def stops(self, rungs: int) -> frozenset[int]:
        """Return the rounds, of `rungs` after the dense one, at which a trial may be stopped."""
        return frozenset()

    @property
    def surface(self) -> tuple[str, str] | None:
        """Word that makes the columns of a closing table, and the metric in it, by density."""
        return None

    @property
    def confirm(self) -> "Confirmation | None":
        """How the best recipes are confirmed, of a study that looks for any."""
        return None

    @property
    def first(self) -> Sequence[Words]:
        """Points that are tried before any is drawn."""
        return ()

    @property
    def startup(self) -> int:
        """Number of random trials before a search learns."""
        return STARTUP

    @property
    def grace(self) -> int:
        """First rung at which a trial may be stopped."""
        return GRACE

    @property
    def reduction(self) -> int:
        """At a rung the best 1/reduction so far go on."""
        return REDUCTION


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """How a search is confirmed: its best recipes run again on fresh seeds, beside comparators."""

    seeds: tuple[int, ...]
    arms: Listed
    """Words laid over each recipe: the ticket itself, its controls."""
    references: Referred
    """Words of what no recipe changes: dense networks."""
    words: Words = field(default_factory=dict)
    """What the confirmation changes in every trial."""
    recipes: int = 1
    """Number of recipes that are confirmed where the user names none."""
    presets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Seeds in one preset."""
    smoke_seeds: int = 2
    """Number of seeds with --smoke."""
    smoke: Words = field(default_factory=dict)
    """What the confirmation changes with --smoke."""

    def seeds_of(self, preset: str, *, smoke: bool) -> tuple[int, ...]:
        """Return the fresh seeds where the user names none."""
        if smoke:
            return self.seeds[: self.smoke_seeds]
        return self.presets.get(preset, self.seeds)

    def config(self, config: TrialConfig, *, smoke: bool) -> TrialConfig:
        """Return the config of the confirmation, given that of the search."""
        words = {**self.words, **self.smoke} if smoke else self.words
        return TrialConfig.from_flat(words, config)

    def points(
        self,
        recipes: Sequence[Words],
        config: TrialConfig,
        setting_of: Callable[[Words], Words],
        doublings: int,
    ) -> Points:
        """Return every recipe with every arm, the ticket of all recipes first, then references.

        `config` is that of the confirmation; dense networks are trained for so many `doublings` of
        its steps; `setting_of` returns the part of a recipe in which its
        dense network differs, so that each kind of dense network has references of its own.
        """
        points: list[Words] = []
        for arm in self.arms(config):
            points += [{**recipe, **arm} for recipe in recipes]
        for recipe in recipes:
            setting = setting_of(recipe)
            references = self.references(TrialConfig.from_flat(setting, config), doublings)
            points += [{**setting, **reference} for reference in references]
        return once(points)


@dataclass(frozen=True, kw_only=True)
class Search(Study):
    """A study that looks for the best recipe: trials drawn from a space by seeded TPE.

    With a ladder, trials are stopped early by successive halving; see lthray.study.space.
    """

    phase: ClassVar[str] = "search"

    space: Searched
    trials: int
    smoke_trials: int = 2
    """Number of trials with --smoke."""
    first: Sequence[Words] = ()
    """Points that the search tries before it draws."""
    startup: int = STARTUP
    """Number of random trials before TPE learns."""
    grace: int = GRACE
    """First rung at which the search may stop a trial."""
    reduction: int = REDUCTION
    """At a rung the best 1/reduction so far go on."""
    confirm: Confirmation | None = None

    def vary(
        self, config: TrialConfig, user_words: Container[str], *, smoke: bool
    ) -> tuple[Space, Points]:
        """Return the space without the words that are given; the one point left if that is all."""
        space = without(self.space(config), user_words, config.flat())
        return space, () if space else ({},)

    def drawn(self, *, smoke: bool) -> int:
        """Return the number of trials where the user names none."""
        return self.smoke_trials if smoke else self.trials

    def stops(self, rungs: int) -> frozenset[int]:
        """Return grace, grace x reduction, ... below the last of `rungs`."""
        stops, rung = set(), self.grace
        while rung < rungs:
            stops.add(rung)
            rung *= max(self.reduction, 2)
        return frozenset(stops)


@dataclass(frozen=True, kw_only=True)
class Grid(Study):
    """A study of listed points, each with all its arms and on all seeds."""

    phase: ClassVar[str] = "list"

    points: Listed
    arms: Listed = ticket_alone
    """Words laid over each point: the ticket itself, its controls."""
    references: Listed = nothing
    """Words of what no point changes, such as dense networks."""
    surface: tuple[str, str] | None = None
    """Word that makes the columns of a closing table, and the metric in it, by density."""

    def vary(
        self, config: TrialConfig, user_words: Container[str], *, smoke: bool
    ) -> tuple[Space, Points]:
        """Return the points with their arms, then the references."""
        points = self.points(config)
        return {}, _crossed(points, self.arms(config), self.references(config), user_words)


@dataclass(frozen=True, kw_only=True)
class Design(Study):
    """A study of how often something holds: a fixed design over a space, nothing searched.

    Named words are fully crossed, and numbers are a Latin hypercube within each crossing. Each
    point has all its arms and is run on all seeds.
    """

    phase: ClassVar[str] = "design"

    space: Searched
    each: int = 4
    """Points in every cell, a cell being a combination of the named words."""
    arms: Listed = ticket_alone
    """Words laid over each point: the ticket itself, its controls."""
    negatives: Listed = nothing
    """Words of rules that cannot win, each laid over a few points: negative controls."""
    rare: int = 16
    """One point in so many is also run as a negative control of each kind."""
    references: Listed = nothing
    """Words of what no point changes, such as dense networks."""

    def vary(
        self, config: TrialConfig, user_words: Container[str], *, smoke: bool
    ) -> tuple[Space, Points]:
        """Return the points of the design with their arms, then the references.

        Raises ConfigError where words of so small a design go together. With `smoke` it is a corner
        of the design: of all choices but the first, the first value, and one draw of each control.
        """
        fixed = config.flat()
        space: Space = without(self.space(config), user_words, fixed)
        each = self.each
        if smoke:
            space, each = corner(space), 2
        points = crossed(space, each, fixed)
        found = strongest(points)
        if found.strength >= MOST:
            why = f"{found.one} and {found.other} go together ({found.strength:.2f}, not below"
            raise ConfigError([f"{self.name}: {why} {MOST}); give one of them on the command line"])
        given = user_words.__contains__
        negatives = [words for words in self.negatives(config) if not any(map(given, words))]
        points += laid_over(points, negatives, space, fixed, self.rare)
        arms = [arm for arm in self.arms(config) if not smoke or arm.get("draw", 0) < 2]
        return {}, _crossed(points, arms, self.references(config), user_words)

    def taken(self, wanted: int | None, listed: int) -> int:
        """Return the number of `listed` trials; ConfigError where the user wants fewer of them.

        A part of a design would not be balanced.
        """
        if wanted and wanted < listed:
            why = f"a design is balanced only as a whole, of {listed:,} trials"
            smaller = "give words that it varies, or fewer --seeds"
            raise ConfigError([f"--trials {wanted}: {why}; to make it smaller, {smaller}"])
        return listed


def _crossed(
    points: Sequence[Words],
    arms: Sequence[Words],
    references: Sequence[Words],
    user_words: Container[str],
) -> Points:
    """Return every point with every arm, the first arm of all points first, then the references.

    What the user has given is taken out of points and arms, but not out of references, which are
    made of what was given.
    """
    if not points:
        return ()
    listed: list[Words] = []
    for arm in arms:
        for point in points:
            words = {**point, **arm}
            listed.append({word: value for word, value in words.items() if word not in user_words})
    return once([*listed, *references])
