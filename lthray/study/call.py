"""What a study was asked to do: its page and the command line, resolved into one frozen call before anything starts."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from lthray.config.fields import ConfigError, from_flat, words
from lthray.config.options import NAME, Options, Root, split
from lthray.config.presets import words_of
from lthray.config.trial import TrialConfig
from lthray.findings.evidence import MARGIN, setting_of
from lthray.study import comparators
from lthray.study.space import Choice, Space, design, draw, memory, offers, without

MINE = words(Options)
T = TypeVar("T")
OURS = ("seed", "stream")  # words of a config that a study sets itself, from --seeds


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """How a search is confirmed: its best recipes run again on fresh seeds, beside what they must be compared with."""

    seeds: tuple[int, ...]
    arms: Callable[[TrialConfig], Sequence[Mapping[str, Any]]]
    """Words laid over each recipe: the ticket itself, its controls."""
    references: Callable[[TrialConfig], Sequence[Mapping[str, Any]]]
    """Words of what no recipe changes: dense networks."""
    words: Mapping[str, Any] = field(default_factory=dict)
    """What the confirmation changes in every trial."""
    recipes: int = 1
    presets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Seeds in one preset."""
    smoke_seeds: int = 2
    smoke: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study's page: its question, its trials as a space to search or as a list, its sizes."""

    name: str
    about: str
    seeds: tuple[int, ...]
    trials: int = 0
    """Of a search; a list has as many as it has points and seeds."""
    space: Callable[[TrialConfig], Space] | None = None
    """What a search draws from, given the config of the call."""
    points: Callable[[TrialConfig], Sequence[Mapping[str, Any]]] | None = None
    """The frozen list of points, each crossed with all seeds."""
    confirm: Confirmation | None = None
    words: Mapping[str, Any] = field(default_factory=dict)
    """What the study changes in every preset."""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What it changes in one preset."""
    smoke: Mapping[str, Any] = field(default_factory=dict)
    smoke_trials: int = 2
    startup: int = 4
    """Random trials before TPE learns."""
    first: Sequence[Mapping[str, Any]] = ()
    """Points that a search tries before it draws."""
    design: int = 0
    """n > 0: instead of a search, 2^n points of a Sobol design over `space`, each with every one of `arms`."""
    arms: Callable[[TrialConfig], Sequence[Mapping[str, Any]]] = lambda config: ({},)
    """Of a list or a design: words laid over each point."""
    references: Callable[[TrialConfig], Sequence[Mapping[str, Any]]] = lambda config: ()
    """Of a list or a design: words of what no point changes, such as dense networks."""
    smoke_design: int = 1
    surface: tuple[str, str] | None = None
    """Of a list: the word that makes the columns of its table, and the metric in it, by density."""
    grace: int = 2
    """First rung at which a search may stop a trial."""
    reduction: int = 2
    """At a rung the best 1/reduction so far go on."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"Study.name {self.name!r}: up to 64 of a-z 0-9 . _ - that begin with a letter or digit")


@dataclass(frozen=True)
class Call:
    """A study with its options, the config that its trials share, and what varies."""

    study: Study
    options: Options
    config: TrialConfig
    space: Space
    points: tuple[Mapping[str, Any], ...]
    argv: tuple[str, ...]
    phase: str = "search"
    beside: tuple[Mapping[str, Any], ...] = ()
    """Words of what is measured once, on no seed's behalf, after the list."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the trials."""
        return self.options.seeds or (self.study.seeds[:1] if self.options.smoke else self.study.seeds)

    @property
    def trials(self) -> int:
        """Trials in all."""
        if self.points:
            return min(self.options.trials or 10**9, len(self.points) * len(self.seeds) + len(self.beside))
        return self.options.trials or (self.study.smoke_trials if self.options.smoke else self.study.trials)

    @property
    def recipes(self) -> int:
        """How many recipes are confirmed."""
        asked, own = self.options.recipes, self.study.confirm
        return 0 if own is None else own.recipes if asked is None else asked

    @property
    def confirm_seeds(self) -> tuple[int, ...]:
        """Seeds of the confirmation."""
        own = self.study.confirm
        if own is None or self.options.confirm_seeds:
            return self.options.confirm_seeds
        return own.seeds[: own.smoke_seeds] if self.options.smoke else own.presets.get(self.options.preset, own.seeds)

    def confirmation(self, recipes: Sequence[Mapping[str, Any]]) -> "Call":
        """The call that runs frozen recipes again on fresh seeds, each with all its arms, and the dense references."""
        own = self.study.confirm
        assert own is not None
        config = TrialConfig.from_flat({**own.words, **(own.smoke if self.options.smoke else {})}, self.config)
        points = [{**recipe, **arm} for arm in own.arms(config) for recipe in recipes]
        for recipe in recipes:  # each kind of dense network has references of its own
            setting = setting_of(recipe)
            points += [{**setting, **reference} for reference in own.references(TrialConfig.from_flat(setting, config))]
        chosen = replace(self.options, seeds=self.confirm_seeds, trials=None, recipes=0)
        return replace(self, options=chosen, config=config, space={}, points=_once(points), phase="confirm")

    @property
    def first(self) -> Sequence[Mapping[str, Any]]:
        """Points that a search tries before it draws, as far as the user has left them open and they can be drawn."""
        points = [{word: v for word, v in point.items() if word in self.space} for point in self.study.first]
        return _once([p for p in points if all(offers(self.space[word], value) for word, value in p.items())])

    @property
    def varied(self) -> list[str]:
        """Words that differ between trials, for charts; not those that belong to one value of another word."""
        drawn = [word for word, dial in self.space.items() if dial.when is None or len(dial.when[1]) > 1]
        listed = [word for point in self.points for word in point]
        return list(dict.fromkeys([*drawn, *listed, *(["seed"] if len(self.seeds) > 1 else [])]))

    @property
    def rungs(self) -> int:
        """Rounds after the dense one."""
        return 1 if self.config.origin else len(self.config.prune.ladder)

    @property
    def stops(self) -> frozenset[int]:
        """Rounds at which the search may stop a trial: grace, grace x reduction, ... below the last."""
        found, rung = set(), self.study.grace
        while rung < self.rungs:
            found.add(rung)
            rung *= max(self.study.reduction, 2)
        return frozenset(found)

    def config_of(self, number: int, drawn: Mapping[str, Any]) -> TrialConfig:
        """The config of a trial: its words over the call's, with the seed that its number falls on."""
        seed = self.seeds[number % len(self.seeds)]
        return TrialConfig.from_flat({**drawn, "seed": seed, "stream": seed}, self.config)

    def point(self, number: int) -> Mapping[str, Any]:
        """The words of a trial of the list."""
        listed = len(self.points) * len(self.seeds)
        return self.points[number // len(self.seeds)] if number < listed else self.beside[number - listed]

    def shared(self) -> list[TrialConfig]:
        """Configs that between them need every dense run and every anchor of the call."""
        if self.points or not self.rungs:
            return [self.config_of(i, self.point(i)) for i in range(self.trials if self.points else 0)]
        dials = {word: self.space.get(word) for word in ("objective.name", "rewind.fraction")}
        values = [[(word, v) for v in dial.values] for word, dial in dials.items() if isinstance(dial, Choice)]
        return [self.config_of(i, dict(words)) for i in range(len(self.seeds)) for words in itertools.product(*values)]

    def plan(self, digest: str, given: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What makes this call the one it is: the same command finds it again, more --trials extend it. Data and given files
        count by their content."""
        return {
            "study": self.study.name,
            "phase": self.phase,
            "margin": MARGIN,
            "preset": self.options.preset,
            "smoke": self.options.smoke,
            "config": self.config.canonical(),
            "space": {word: repr(dial) for word, dial in self.space.items()},
            "points": [dict(point) for point in self.points],
            "seeds": self.seeds,
            "seed": self.options.seed,
            "search": [self.study.startup, self.study.grace, self.study.reduction],
            "data": digest,
            **({"beside": [dict(words) for words in self.beside]} if self.beside and self.points else {}),
            **({"given": given} if given else {}),
        }


def known_words() -> dict[str, Any]:
    """Every word that a study's command line may have."""
    return {**MINE, **{word: about for word, about in words(TrialConfig).items() if word not in OURS}}


def resolve(study: Study, argv: Sequence[str]) -> Call:
    """The call of a command line; ConfigError with every fault."""
    flat, faults = split(argv, known_words())
    mine, given = {w: v for w, v in flat.items() if w in MINE}, {w: v for w, v in flat.items() if w not in MINE}
    options = read_options(Options, mine, faults)
    base: dict[str, Any] = {
        **words_of(options.preset, options.out),
        **study.words,
        **study.presets.get(options.preset, {}),
        **(study.smoke if options.smoke else {}),
    }
    if options.data_root:
        base["data.root"] = options.data_root
    try:
        config = TrialConfig.from_flat({**base, **given})
    except ConfigError as error:
        faults += [flagged(fault) for fault in error.faults]
    faults += _unconfirmed(study, options)
    if faults:
        raise ConfigError(faults)
    space = without(study.space(config), given, config.flat()) if study.space else {}
    call = Call(
        study, options, config, {} if study.design else space, _points(study, options, config, space, given), tuple(argv)
    )
    call = replace(call, phase="design" if study.design else "search" if study.space else "list")
    if len({Path(source).name for source in options.beside}) < len(options.beside):
        raise ConfigError([f"--beside {' '.join(options.beside)}: two of them would have one name"])
    call = replace(call, beside=tuple(map(comparators.given, options.beside)))
    if call.beside and not (call.points or call.recipes):
        raise ConfigError(["--beside: a search grades nothing, so there is nothing to measure beside; let it confirm a recipe"])
    if both := set(call.seeds) & set(call.confirm_seeds):
        raise ConfigError([f"--confirm-seeds {min(both)}: is a seed of the search; fresh ones are needed"])
    _check_points(call)
    return call


def _points(
    study: Study, options: Options, config: TrialConfig, space: Space, given: Mapping[str, Any]
) -> tuple[Mapping[str, Any], ...]:
    """The frozen list of a study that has one: each point with all its arms (the ticket first), then the references."""
    if study.design:
        points: Sequence[Mapping[str, Any]] = design(
            space, study.smoke_design if options.smoke else study.design, config.flat()
        )
    else:
        points = study.points(config) if study.points else () if space else ({},)
    if not points:
        return ()
    listed = [{**point, **arm} for arm in study.arms(config) for point in points]
    free = [{word: value for word, value in point.items() if word not in given} for point in listed]
    references = [dict(point) for point in study.references(config)]  # which are made of what was given
    return _once([*free, *references])


def _once(points: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The points without those that say the same again."""
    return tuple({repr(sorted(point.items())): point for point in points}.values())


def _unconfirmed(study: Study, options: Options) -> list[str]:
    """Faults of a confirmation asked of a study that has none."""
    if study.confirm:
        return []
    asked = {"recipes": options.recipes is not None, "confirm-seeds": bool(options.confirm_seeds)}
    return [
        f"--{word}: {study.name} is no search, so there is nothing to confirm" for word, is_asked in asked.items() if is_asked
    ]


def read_options(cls: type[T], flat: Mapping[str, Any], faults: list[str]) -> T:
    """The options of a command line; what is wrong with them is added to `faults`, and left at its default."""
    good: dict[str, Any] = {}
    for word, value in {"out": Root().out, **flat}.items():  # a root that nobody named can be as bad as a named one
        try:
            from_flat(cls, {word: value})
            if word == "preset":
                words_of(value, good.get("out", Root().out))
            good[word] = value
        except ConfigError as error:
            faults += [flagged(fault) for fault in error.faults]
    return from_flat(cls, good)


def flagged(fault: str) -> str:
    """A fault of a field as a fault of its option."""
    word, equals, rest = fault.partition(" = ")
    return f"--{word if '.' in word else word.replace('_', '-')}{equals}{rest}"


def _check_points(call: Call) -> None:
    """ConfigError if a point of a list, or a control of a confirmation, does not go with the rest of the line."""
    try:
        for asked in (call, *([call.confirmation([{}])] if call.recipes else [])):
            for number in range(0, asked.trials, len(asked.seeds)) if asked.points else ():
                asked.config_of(number, asked.point(number))  # a point once: another seed changes nothing
        for words in call.beside:
            call.config_of(0, words)
    except ConfigError as error:
        raise ConfigError([f"{fault} (a trial of {call.study.name})" for fault in error.faults]) from None


def preview(call: Call) -> list[TrialConfig]:
    """The configs of all trials of a list; of a search, those that its sampler would draw if it learnt nothing."""
    if call.points:
        return [call.config_of(i, call.point(i)) for i in range(call.trials)]
    study, fixed = memory(call.space, call.options.seed, call.study.startup), call.config.flat()
    for point in call.first:
        study.enqueue_trial(dict(point))
    return [call.config_of(i, draw(call.space, study.ask(), fixed)) for i in range(call.trials)]
