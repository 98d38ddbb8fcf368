"""What a study was asked to do: page and command line, resolved into one frozen call.

Everything that can be wrong with a command line is said here, all at once, before anything starts.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from lthray.config.fields import ConfigError, defaults, meant, words
from lthray.config.options import Options, option_of, split
from lthray.config.presets import SIZES, flagged, read_options, smaller, words_of
from lthray.config.trial import TrialConfig
from lthray.core import metrics
from lthray.findings import evidence, rounds
from lthray.study import comparators
from lthray.study.answers import answered
from lthray.study.page import Points, Study, once
from lthray.study.space import Past, Sampler, Space, Words, combinations

OWN = words(Options)
OURS = ("seed", "stream")  # words of a config that a study sets itself, from --seeds
CONFIRM = "confirm"  # phase of a confirmation
CONFIRMING = ("recipes", "confirm_seeds", "doublings")  # options of a confirmation alone
ANCHORED = ("objective.name", "rewind.fraction")  # words by which trials share a dense run
MOST = 10_000  # trials of a call


@dataclass(frozen=True)
class Call:
    """A study with its options, the config that its trials share, and what varies."""

    study: Study
    options: Options
    config: TrialConfig
    space: Space
    """What trials are drawn from; empty where they are listed."""
    points: Points
    """Words of the listed trials, each to be run on all seeds; empty where they are drawn."""
    argv: tuple[str, ...]
    phase: str = "search"
    beside: Points = ()
    """Words of what is measured once, on no seed's behalf, after the list."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the trials."""
        if self.options.seeds:
            return self.options.seeds
        return self.study.seeds[:1] if self.options.smoke else self.study.seeds

    @property
    def trials(self) -> int:
        """Number of trials in all."""
        wanted = self.options.trials
        if not self.points:
            return wanted or self.study.drawn(smoke=self.options.smoke)
        listed = self.listed + len(self.beside)
        return self.study.taken(wanted, listed)

    @property
    def listed(self) -> int:
        """Number of trials that are a point on a seed."""
        return len(self.points) * len(self.seeds)

    @property
    def recipes(self) -> int:
        """Number of recipes that are confirmed."""
        if self.study.confirm is None:
            return 0
        wanted = self.options.recipes
        return self.study.confirm.recipes if wanted is None else wanted

    @property
    def confirm_seeds(self) -> tuple[int, ...]:
        """Seeds of the confirmation."""
        own = self.study.confirm
        if own is None or self.options.confirm_seeds:
            return self.options.confirm_seeds
        return own.seeds_of(self.options.preset, smoke=self.options.smoke)

    def confirmation(self, recipes: Sequence[Words]) -> "Call":
        """Return the call that confirms frozen `recipes`, the words of trials of this search.

        Each is run again on fresh seeds with all its arms, beside dense references.
        """
        own = self.study.confirm
        assert own is not None
        config = own.config(self.config, smoke=self.options.smoke)
        points = own.points(recipes, config, evidence.setting_of, self.options.doublings)
        options = replace(self.options, seeds=self.confirm_seeds, trials=None, recipes=0)
        return Call(self.study, options, config, {}, points, self.argv, CONFIRM, self.beside)

    @property
    def first(self) -> Sequence[Words]:
        """Points of the page that a search tries first, without words that the user has fixed."""
        offered = []
        for point in self.study.first:
            left = {word: value for word, value in point.items() if word in self.space}
            if all(self.space[word].offers(value) for word, value in left.items()):
                offered.append(left)
        return once(offered)

    @property
    def sampler(self) -> Sampler:
        """What draws the trials of a search."""
        return Sampler(
            space=self.space,
            fixed=self.config.flat(),
            seed=self.options.seed,
            startup=self.study.startup,
            first=self.first,
            repetitions=len(self.seeds),
            make=partial(self.config_of, 0),
        )

    @property
    def varied(self) -> list[str]:
        """Words that differ between trials, for charts; none that belongs to one value alone."""
        varied = []
        for word, dial in self.space.items():
            if dial.when is None or len(dial.when[1]) > 1:
                varied.append(word)
        for point in self.points:
            varied += point
        if len(self.seeds) > 1:
            varied.append("seed")
        return list(dict.fromkeys(varied))

    @property
    def rungs(self) -> int:
        """Number of rounds after the dense one."""
        return comparators.rungs_of(self.config)

    @property
    def stops(self) -> frozenset[int]:
        """Rounds at which the search may stop a trial."""
        return self.study.stops(self.rungs)

    def config_of(self, number: int, drawn: Words) -> TrialConfig:
        """Return the config of trial `number`: its words over the call's, with its seed."""
        seed = self.seeds[number % len(self.seeds)]
        return TrialConfig.from_flat({**drawn, "seed": seed, "stream": seed}, self.config)

    def point(self, number: int) -> Words:
        """Return the words of trial `number` of a list."""
        if number < self.listed:
            return self.points[number // len(self.seeds)]
        return self.beside[number - self.listed]

    def shared(self) -> list[TrialConfig]:
        """Return configs that between them need every dense run and every rewind point."""
        if self.points:
            return [self.config_of(number, self.point(number)) for number in range(self.trials)]
        if not self.rungs:
            return []
        kinds = list(filter(self.sampler.allows, combinations(self.space, ANCHORED)))
        seeds = range(len(self.seeds))
        return [self.config_of(number, kind) for number in seeds for kind in kinds]

    def plan(self, data: str, files: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return what makes this call the one it is, as JSON.

        The same command finds the same call again, and more --trials extend it. `data` is the data
        set's digest, `files` maps a word to the digest of the file that was given.
        """
        plan: dict[str, Any] = {
            "study": self.study.name,
            "phase": self.phase,
            "margin": rounds.MARGIN,
            "preset": self.options.preset,
            "smoke": self.options.smoke,
            "config": self.config.canonical(),
            "space": {word: repr(dial) for word, dial in self.space.items()},
            "points": list(map(dict, self.points)),
            "seeds": self.seeds,
            "seed": self.options.seed,
            "search": [self.study.startup, self.study.grace, self.study.reduction],
            "data": data,
        }
        if self.beside and self.points:
            plan["beside"] = list(map(dict, self.beside))
        if files:
            plan["given"] = files
        return plan


# a command line


def known_words() -> dict[str, Any]:
    """Return every word that a study's command line may have, and what is known of it."""
    open_words = {word: about for word, about in words(TrialConfig).items() if word not in OURS}
    return {**OWN, **open_words}


def resolve(study: Study, argv: Sequence[str]) -> Call:
    """Return the call of a command line; raises ConfigError with every fault that can be told."""
    flat, faults = split(argv, known_words())
    own_words = {word: value for word, value in flat.items() if word in OWN}
    user_words = {word: value for word, value in flat.items() if word not in OWN}
    options = read_options(Options, own_words, faults)
    try:
        config = TrialConfig.from_flat(answered({**_base(study, options), **user_words}))
    except ConfigError as error:
        faults += list(map(flagged, error.faults))
    faults += _without_effect(study, own_words)
    if faults:
        raise ConfigError(faults)
    space, points = study.vary(config, user_words, smoke=options.smoke)
    beside = tuple(map(comparators.given, options.beside))
    call = Call(study, options, config, space, points, tuple(argv), study.phase, beside)
    _check_options(call)
    _check_surface(call)
    _check_points(call)
    return call


def _base(study: Study, options: Options) -> dict[str, Any]:
    """Return the words under those of the command line: the preset's, the page's, the data root."""
    whole = words_of(options.preset, options.out)
    preset = smaller(whole) if options.smoke else whole
    sizes = {word: preset[word] for word in SIZES if options.smoke and word in preset}
    base = {**preset, **study.base(options.preset, smoke=options.smoke), **sizes}
    if preset.get("measure.samples") == 0:  # of images that could not judge any
        base["measure.samples"] = 0
    if options.data_root:
        base["data.root"] = options.data_root
    return base


def _without_effect(study: Study, given: Container[str]) -> list[str]:
    """Return a fault for each given option of a search or a confirmation that a study has not."""
    is_search = study.phase == "search"
    lacks = "is no search, so there is nothing to "
    confirms = {True: "confirms nothing", False: f"{lacks}confirm"}[is_search]
    reasons = {**dict.fromkeys(CONFIRMING, confirms), "seed": f"{lacks}draw"}
    idle = {**dict.fromkeys(CONFIRMING, study.confirm is None), "seed": not is_search}
    named = [option for option in reasons if option in given and idle[option]]
    return [f"{option_of(option)}: {study.name} {reasons[option]}" for option in named]


def _check_options(call: Call) -> None:
    """Raise ConfigError if options do not go together.

    Networks of --beside differ in name, have something to be beside, and are not cut away by
    --trials; --local joins no cluster; seeds of a confirmation are not those of the search; trials
    are not too many ever to be run.
    """
    sources, trials, local = call.options.beside, call.trials, call.options.local
    names = {Path(source).name for source in sources}
    is_graded = bool(call.points or call.recipes)
    whole = bool(call.points) * (call.listed + len(sources))
    both = set(call.seeds) & set(call.confirm_seeds)
    first = min(both, default="")
    counted = f"{len(call.points):,} points on {len(call.seeds):,} seeds"
    faults = {
        f"--beside {' '.join(sources)}: two of them would have one name": (
            len(names) < len(sources)
        ),
        "--beside: a search grades nothing, so there is nothing to measure beside; let it confirm "
        "a recipe": bool(sources) and not is_graded,
        f"--beside: --trials {trials} leaves out the last of {whole} trials; leave out --trials": (
            bool(sources) and trials < whole
        ),
        "--local: runs in this process and joins no cluster; leave out --address": (
            local and bool(call.options.address)
        ),
        f"{call.study.name} has {trials:,} trials ({counted}), at most {MOST:,} are run; give "
        "--trials, or fewer --seeds": trials > MOST,
        f"--confirm-seeds {first}: is a seed of the search; fresh ones are needed": (
            bool(both) and call.recipes > 0
        ),
    }
    broken = [fault for fault, is_so in faults.items() if is_so]
    if broken:
        raise ConfigError(broken)


def _check_surface(call: Call) -> None:
    """Raise ConfigError if the closing table of a page is of no word or of no metric."""
    word, metric = call.study.surface or (OURS[0], metrics.EXCESS.name)
    if word not in defaults(TrialConfig) or metrics.find(metric) is None:
        near = meant(metric, map(attrgetter("name"), metrics.METRICS))
        why = f"must be a word of a config and a metric{near}"
        raise ConfigError([f"surface of {call.study.name} = {word!r}, {metric!r}: {why}"])


def _check_points(call: Call) -> None:
    """Raise ConfigError if a trial does not go with the rest of the command line.

    Looked at is each point of a list and of a confirmation, and what is measured beside them.
    """
    try:
        _make_configs(call)
        if call.recipes:
            _make_configs(call.confirmation([{}]))
        for point in call.beside:
            call.config_of(0, point)
    except ConfigError as error:
        faults = [f"{fault} (a trial of {call.study.name})" for fault in error.faults]
        raise ConfigError(faults) from None


def _make_configs(call: Call) -> None:
    """Make the config of each point of a list."""
    if call.points:
        for number in range(0, call.trials, len(call.seeds)):
            call.config_of(number, call.point(number))


def preview(call: Call) -> list[TrialConfig]:
    """Return the configs of all trials; of a search as it would draw them if it learnt nothing."""
    if call.points:
        return [call.config_of(number, call.point(number)) for number in range(call.trials)]
    past: dict[int, Past] = {}
    for number in range(call.trials):
        past[number] = Past(call.sampler.draw(number, past).words)
    return [call.config_of(number, trial.words) for number, trial in past.items()]
