"""The recipe of a trial: config -> steps. It reads like the paper, from top to bottom.

    init weights; train the dense network 0 -> T (its state at step k is the anchor)
    for each rung:  prune (criterion, budget, unit; on the trained weights, within the old mask)
                    -> rewind -> train -> measure

Nothing is made here. Data and given files are opened only to take a digest of their content.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from lthray.config.fields import ConfigError
from lthray.config.parts import Measure
from lthray.config.trial import TrialConfig, input_of, shape_of
from lthray.config.vocabulary import OBJECTIVES
from lthray.core.store import key_of
from lthray.measure.table import MEASURES, Asked
from lthray.prune.budgets import BUDGETS
from lthray.prune.controls import CONTROLS, MASKS, Control
from lthray.prune.criteria import CRITERIA
from lthray.prune.regimes import REGIMES
from lthray.prune.rewinds import REWINDS, span
from lthray.prune.transfer import Origin
from lthray.task import data, inputs, networks
from lthray.trial import parents
from lthray.trial.cutting import looks
from lthray.trial.steps import VERSIONS, Step, history, lineage, runs_of, walk

WHOLE = Step("whole", content="")
"""The mask that cuts nothing."""
DIGITS = ((1, 8, 8), 10)
"""Shape and classes that a network's initial weights are drawn for, where nothing else is said."""
FORKED = 2**31
"""Streams from here on are those of second runs; seeds from here on are those of fresh weights."""


@dataclass(frozen=True)
class Rung:
    """One round: the mask, the training run of the chain, the run that is shown, and what is
    measured of it."""

    index: int
    density: float
    mask: Step
    chain: Step
    """The run whose end the next rung is cut from."""
    shown: Step
    """The run that is measured: the chain's own, a second one on another stream, or a control's."""
    fellow: Step | None = None
    """Where the shown run is a second one: the run of the same begin on the chain's stream."""
    small: "Trajectory | None" = None
    """The trajectory of a narrower network that is shown, and only trained dense."""
    examined: bool = False
    """Whether it is measured at length, and samples are drawn."""
    measures: Mapping[str, Step] = field(default_factory=dict)
    """Name of a measure -> its step; `curve` and `ticket` among them."""

    @property
    def round(self) -> str:
        """Key of the round: a hash of all that is measured of it."""
        names = {name: step.key for name, step in self.measures.items()}
        return key_of("round", VERSIONS["round"], names)

    @property
    def spent(self) -> int:
        """Optimizer steps spent to get here: all training runs that mask and weights come from."""
        return sum(run.length for run in lineage(self.shown))


@dataclass(frozen=True)
class Trajectory:
    """All rungs of a trial, the dense network first."""

    config: TrialConfig
    key: str
    rungs: tuple[Rung, ...]
    digest: str
    """Digest of the data set."""
    curves: Mapping[str, Step] = field(default_factory=dict)
    """Key of a training run -> the curve that is measured along it, for all that other trials may
    show."""
    served: tuple[TrialConfig, ...] = ()
    """Networks that several trials need and that none asks about: autoencoder and feature
    extractor."""
    steps_native: int = 0
    """Of a given ticket: what as many rounds would have cost here as it took where it was found."""

    @property
    def shown(self) -> tuple[Rung, ...]:
        """The rungs that become rounds: the dense one, and all others or those that the config
        names."""
        named = self.config.rungs or range(len(self.rungs))
        wanted = {self.rungs[index].index for index in named} | {0}
        return tuple(rung for rung in self.rungs if rung.index in wanted)

    @cached_property
    def wanted(self) -> list[Step]:
        """Every measure of every round, in order."""
        return [step for rung in self.shown for step in rung.measures.values()]

    @cached_property
    def runs(self) -> dict[str, Step]:
        """Every training run that the trial needs, by key, those of autoencoder and extractor too."""
        return runs_of(self.wanted)

    @cached_property
    def anchors(self) -> dict[str, set[int]]:
        """Key of a training run -> steps whose states other steps of the trial ask for."""
        return anchors_of(self.wanted)


def anchors_of(wanted: Iterable[Step]) -> dict[str, set[int]]:
    """Return key of a training run -> steps whose states the steps that `wanted` come from ask for."""
    anchors: dict[str, set[int]] = {}
    for step in walk(wanted):
        if step.kind == "rewind" and step.spec.get("at"):
            anchors.setdefault(step.parents[0].key, set()).add(step.spec["at"])
        if step.kind == "prune" and "looks" in step.implied:
            anchors.setdefault(step.parents[0].key, set()).update(step.implied["looks"])
    return anchors


def trajectory(config: TrialConfig) -> Trajectory:
    """Return the steps of a trial.

    Raises ConfigError or TicketError where a file that the config names is not there, or unfit.
    """
    return Recipe(config).trajectory()


class Recipe:
    """The steps of one config, each made when it is asked for."""

    def __init__(self, config: TrialConfig):
        self.config = c = config
        self.k = round(c.rewind.fraction * c.train.steps)
        self.origin = Origin.read(c.origin)
        self.digest = data.load(c.data).digest
        self.chained: list[Rung] = []

    # the paper's loop

    def trajectory(self) -> Trajectory:
        """Return all rungs, and what is measured of each."""
        c = self.config
        densities = (0.0,) if self.origin else c.prune.ladder
        rungs = [self.measured(self.rung(0))]
        for index in range(1, len(densities) + 1):
            rungs.append(self.measured(self.shown(index)))
        given = self.origin.digest if self.origin else ""
        key = key_of("trial", VERSIONS["trial"], c.canonical(), self.digest, given)
        return Trajectory(
            c, key, tuple(rungs), self.digest, self.curves(rungs), self.served, self.native
        )

    def rung(self, index: int) -> Rung:
        """Return a rung of the chain: the dense network (0), or the ticket of a density."""
        while len(self.chained) <= index:
            self.chained.append(self.next_rung(len(self.chained)))
        return self.chained[index]

    def next_rung(self, index: int) -> Rung:
        """Return the rung that follows those made so far."""
        if index == 0:
            dense = self.train(self.init(self.config.seed), 0, self.config.train.steps)
            return Rung(0, 1.0, WHOLE, dense, dense)
        density = 0.0 if self.origin else self.config.prune.ladder[index - 1]
        before = self.rung(index - 1)
        mask = self.prune(density, before)
        ticket = self.rewound(self.config.rewind.rule, mask, before, index, moves=True)
        return Rung(index, density, mask, ticket, ticket)

    def shown(self, index: int) -> Rung:
        """Return a rung with what is trained in the ticket's place: a control, or a second run on
        another stream."""
        rung, row = self.rung(index), CONTROLS.get(self.config.control)
        if row and row.mask == "narrow":
            small = trajectory(parents.small_config(self.config, rung.density))
            return replace(rung, small=small, shown=small.rungs[0].chain)
        if row is None and not self.config.fork:
            return rung
        shown = self.in_place(row, rung, self.config.fork)
        fellow = self.in_place(row, rung, 0) if self.config.fork else None
        return replace(rung, shown=shown, fellow=fellow)

    def in_place(self, row: Control | None, rung: Rung, fork: int) -> Step:
        """Return the training run in the ticket's place: of a control's `row`, on the `fork`-th
        other stream."""
        stream = FORKED + 1000 * self.config.stream + fork if fork else self.config.stream
        before, index = self.rung(rung.index - 1), rung.index
        rule = (row.rule if row else "") or self.config.rewind.rule
        if row is None:
            return self.rewound(rule, rung.mask, before, index, stream, moves=True)
        if row.mask == "whole":
            return self.whole(rule, index, stream, fork)
        if row.mask == "at_once":
            mask = self.prune(rung.density, self.rung(0))
            return self.rewound(rule, mask, self.rung(0), index, stream)
        mask = rung.chain if self.moves else rung.mask  # as the ticket's training has left it
        if row.mask in MASKS:
            drawn = {"mask": row.mask, "seed": fresh_seed(self.config, index)}
            mask = Step("control", drawn, (mask,))
        return self.rewound(rule, mask, before, index, stream, moved=row.moved)

    def whole(self, rule: str, index: int, stream: int, fork: int) -> Step:
        """Return the dense network as a rung rewinds it; the dense run itself where that would go
        on as it went."""
        dense = self.rung(0)
        same = rule == "init" or self.config.rewind.state == "rewound"
        if REWINDS[rule].weights == "anchor" and same:
            if not fork:
                return dense.chain
            if rule == "init":
                return self.train(self.init(self.config.seed), 0, self.config.train.steps, stream)
        return self.rewound(rule, WHOLE, dense, index, stream)

    # steps

    @cached_property
    def images(self) -> Step:
        """The images that the network works on: the data set, or its latents."""
        if not OBJECTIVES[self.config.objective.name].in_latents:
            return self.pixels
        autoencoder = Recipe(parents.autoencoder_config(self.config)).rung(0).chain
        return Step("latents", {"augment": self.config.data.augment}, (autoencoder, self.pixels))

    @cached_property
    def pixels(self) -> Step:
        """The data set; its key is the digest of its content."""
        return Step("data", implied={"data": self.config.data}, content=self.digest)

    def file(self, word: str, path: str, digest: str) -> Step:
        """Return a file that the user gives; its key is the digest of its content."""
        return Step("file", {"word": word}, implied={"path": path}, content=digest)

    def init(self, seed: int) -> Step:
        """Return the weights before the first step: a function of `seed`, or the given ones but for
        a fresh seed."""
        c, model = self.config, self.config.model
        digest = inputs.digest_of(model.pretrained, networks.part_of(model))
        own = digest and seed == c.seed
        spec = {**c.canonical("model"), "seed": 0 if own else seed, **self.shape}
        made_of = [self.file("model.pretrained", model.pretrained, digest)]
        source = networks.source_of(model)
        if source:
            made_of.append(self.file("model.name", model.name, source))
        return Step("init", spec, tuple(made_of))

    @cached_property
    def shape(self) -> dict[str, Any]:
        """Shape and classes for which initial weights are drawn, where they are not those of
        digits."""
        channels, side = input_of(self.config)
        shape, classes = (channels, side, side), shape_of(self.config.data)[2]
        return {} if (shape, classes) == DIGITS else {"shape": shape, "classes": classes}

    def train(
        self,
        begin: Step,
        start: int,
        end: int,
        stream: int | None = None,
        before: Step | None = None,
    ) -> Step:
        """Return the training run from `begin`, steps `start` to `end` of the schedule.

        `before` is the training run of the rung before, given where a regime moves the mask.
        """
        c = self.config
        chosen = c.stream if stream is None else stream
        spec = c.canonical("data", "model", "objective", "train")
        spec |= {"stream": chosen if end else 0, "span": [start, end]}
        implied: dict[str, Any] = {"pretrained": c.model.pretrained}
        if before is not None:
            spec |= c.canonical("regime")
            implied["before"] = before
        return Step("train", spec, (begin, self.images), implied)

    def prune(self, density: float, last: Rung) -> Step:
        """Return the mask that is cut from the network that `last` has trained, within its mask."""
        c = self.config
        index = last.index + 1
        if self.origin:
            return self.given_mask()
        spec = {
            word: value for word, value in c.canonical("prune").items() if word != "prune.ladder"
        }
        implied: dict[str, Any] = {"index": index}
        if CRITERIA[c.prune.criterion].seeded or BUDGETS[c.prune.budget].asks:
            spec["seed"] = c.seed
        if BUDGETS[c.prune.budget].between_seeds:
            spec["pair"] = parents.twin_config(c).canonical("seed", "stream")
            rung = last.index if c.prune.between == "tickets" else 0
            implied |= {"one": self.rung(rung).chain, "other": self.twin.rung(rung).chain}
        if c.prune.scored == "rewound":
            spec |= c.canonical("rewind")
            implied["rewound"] = self.begin(c.rewind.rule, last.mask, last, index)
        if c.prune.early:
            implied["looks"] = looks(*last.chain.span, c.prune)[:-1]
        return Step("prune", {**spec, "density": density}, (last.chain, last.mask), implied)

    def begin(self, rule: str, mask: Step, before: Rung, index: int) -> Step:
        """Return the weights from which a run begins under `mask`, as the rewinding `rule` says."""
        c, row = self.config, REWINDS[rule]
        dense = self.rung(0).chain
        source = (
            before.chain if row.weights == "trained" or c.rewind.anchor == "previous" else dense
        )
        spec: dict[str, Any] = {"from": row.weights}
        if row.weights == "given":
            return self.given_begin(mask)
        if row.weights == "fresh":
            source = self.init(fresh_seed(c, index))
        if row.weights == "anchor":
            midway = row.start == "k"
            spec["at"] = source.span[0] + self.k if midway else 0
            spec["state"] = c.rewind.state if midway else "reset"
        return Step("rewind", spec, (source, mask))

    def rewound(
        self,
        rule: str,
        mask: Step,
        before: Rung,
        index: int,
        stream: int | None = None,
        *,
        moved: bool = False,
        moves: bool = False,
    ) -> Step:
        """Return the training run of `mask` from the weights that `rule` gives.

        `moved`: the weights are perturbed first; `moves`: a regime may move the mask on the way.
        """
        begin = self.begin(rule, mask, before, index)
        if moved:
            spec = {"sigma": self.config.sigma, "seed": fresh_seed(self.config, index)}
            begin = Step("control", spec, (begin,))
        given = self.origin.ticket.start if self.origin else 0
        start, end = span(rule, self.k, self.config.train.steps, given)
        return self.train(begin, start, end, stream, before.chain if moves and self.moves else None)

    @property
    def moves(self) -> bool:
        """Whether a regime moves the mask of a ticket while it is trained."""
        return REGIMES[self.config.regime.name].moves

    @cached_property
    def twin(self) -> "Recipe":
        """The recipe on the other seed of a pair, whose twin is this one."""
        twin = Recipe(parents.twin_config(self.config))
        twin.twin = self
        return twin

    # the ticket of another trial

    def stretched(self) -> dict[str, Any]:
        """Return how the given ticket is brought to another depth, for the spec of a step."""
        c = self.config
        if not self.origin or not self.origin.stretches(c):
            return {}
        return {"layers": c.model.layers, "elastic": c.elastic}

    def origin_file(self) -> Step:
        """Return the ticket file of another trial."""
        assert self.origin
        return self.file("origin", self.config.origin, self.origin.digest)

    def given_mask(self) -> Step:
        """Return the mask of the given ticket, as this network takes it."""
        assert self.origin
        c = self.config
        unit = {"unit": "channel"} if c.prune.unit == "channel" else {}
        layers = c.canonical("prune").get("prune.layers")
        spec = {"origin": self.origin.digest, **unit, **self.stretched()}
        if layers:
            spec["prune.layers"] = layers
        implied = {"file": self.origin_file(), "dense": self.rung(0).chain}
        return Step("prune", spec, (), implied)

    def given_begin(self, mask: Step) -> Step:
        """Return the weights with which the given ticket begins in its own trial."""
        assert self.origin
        implied: dict[str, Any] = {"dense": self.rung(0).chain, "history": self.origin.ticket.start}
        if not self.origin.ticket.weights:
            there = self.source(self.origin)
            implied |= {"begin": there.parents[0], "history": history(there) - there.length}
        return Step(
            "rewind", {"from": "given", **self.stretched()}, (self.origin_file(), mask), implied
        )

    def source(self, origin: Origin) -> Step:
        """Return the training run of the given ticket in its own trial.

        Raises TicketError unless it can be made again from what the file says.
        """
        unfit = "its weights cannot be made again here"
        try:
            rungs = trajectory(origin.trial(self.config)).rungs
        except ConfigError as error:
            raise origin.refused(f"{unfit}: {'; '.join(error.faults)}") from None
        run = rungs[origin.round].shown if origin.round < len(rungs) else None
        if run is None or (run.key, run.span[0]) != (
            origin.facts.get("weights"),
            origin.ticket.start,
        ):
            why = "other data, a given file, or another version of lthray"
            raise origin.refused(f"{unfit}: {why}")
        return run

    @property
    def native(self) -> int:
        """Optimizer steps of the dense run and of as many rounds here as the given ticket took in
        its own trial."""
        if not self.origin or not self.origin.round:
            return 0
        return self.rung(0).chain.length + self.origin.round * self.rung(1).chain.length

    # what is measured

    def measured(self, rung: Rung) -> Rung:
        """Return the rung with a step for each measure that the config asks of it."""
        c = self.config
        last = 1 if c.origin else len(c.prune.ladder)
        examined = rung.index in {last if index == -1 else index for index in c.measure.rounds}
        rung = replace(rung, examined=examined)
        asked = self.asked(rung)
        steps: dict[str, Step] = {"curve": self.curve(rung)}
        roles = self.roles(rung)
        for name, row in MEASURES.items():
            if not row.asked(asked):
                continue
            for sampler in c.measure.samplers if row.per_sampler else ("",):
                step = self.measure(name, sampler, rung, {**roles, **steps})
                steps[f"{name} {sampler}".strip()] = step
        if asked.cut and rung.index:
            steps["ticket"] = self.ticket(rung)
        if rung.index == 0:
            self.dense_measures = steps
        return replace(rung, measures=steps)

    dense_measures: Mapping[str, Step]

    def asked(self, rung: Rung) -> Asked:
        """Return what decides which measures are taken of a rung."""
        c, objective = self.config, OBJECTIVES[self.config.objective.name]
        return Asked(
            measure=c.measure,
            index=rung.index,
            examined=rung.examined,
            probed=rung.examined and (not rung.index or c.control == "none"),
            classifies=objective.classifies,
            judged=objective.denoises and c.measure.samples > 0 and bool(c.measure.rounds),
            in_latents=objective.in_latents,
            cut=self.is_cut(rung),
            forked=rung.fellow is not None,
            narrow=rung.small is not None,
            early=bool(c.prune.early),
        )

    def is_cut(self, rung: Rung) -> bool:
        """Return whether the network that is shown has a mask."""
        begin = rung.shown.parents[0]
        while begin.kind == "control":
            begin = begin.parents[0]
        return begin.kind == "rewind" and begin.parents[1] is not WHOLE

    def roles(self, rung: Rung) -> dict[str, Any]:
        """Return role -> step, for the needs of a measure."""
        c = self.config
        model = rung.small.config if rung.small else c
        roles: dict[str, Any] = {
            "network": rung.shown,
            "dense": self.rung(0).chain,
            "fellow": rung.fellow,
            "initial": Recipe(model).init(c.seed) if rung.small else self.init(c.seed),
            "pixels": self.pixels,
            "latents": self.images,
            "masks": tuple(self.rung(index).mask for index in range(1, rung.index + 1)),
        }
        if OBJECTIVES[c.objective.name].denoises and c.measure.samples:
            roles["judge"] = self.judge
            path = c.measure.inception
            digest = inputs.file_digest("measure.inception", path)
            roles["inception"] = self.file("measure.inception", path, digest)
        return roles

    @property
    def served(self) -> tuple[TrialConfig, ...]:
        """Configs of the networks that serve this trial: an autoencoder, a feature extractor."""
        c, objective = self.config, OBJECTIVES[self.config.objective.name]
        configs = [parents.autoencoder_config(c)] if objective.in_latents else []
        if objective.denoises and c.measure.samples and c.measure.rounds:
            configs.append(parents.judge_config(c))
        return tuple(configs)

    @cached_property
    def judge(self) -> Step:
        """The feature extractor of sample metrics: a classifier that is trained once for each data
        set."""
        classifier = Recipe(parents.judge_config(self.config)).rung(0).chain
        return Step("judge", {}, (classifier, self.pixels))

    def curve(self, rung: Rung) -> Step:
        """Return the held-out loss along the run that is shown."""
        return self.curve_of(rung.shown)

    def curve_of(self, run: Step) -> Step:
        """Return the held-out loss along a training run."""
        words = ("measure.split", "measure.images", "measure.timesteps", "measure.checkpoints")
        return Step("curve", self.words(self.config, words), (run,))

    def curves(self, rungs: Iterable[Rung]) -> dict[str, Step]:
        """Return key of a training run -> its curve, for the runs of this architecture and those
        that are shown."""
        wanted = [step for rung in rungs for step in rung.measures.values()]
        own = self.rung(0).chain.spec
        curves = {}
        for key, run in runs_of(wanted).items():
            if all(run.spec.get(word) == own.get(word) for word in own if "." in word):
                curves[key] = self.curve_of(run)
        shown = {step.parents[0].key: step for step in wanted if step.kind == "curve"}
        return {**curves, **shown}

    def words(self, config: TrialConfig, names: Iterable[str]) -> dict[str, Any]:
        """Return the named words of a config that are not at their default, for the spec of a step."""
        chosen = set(names)
        return {word: value for word, value in config.canonical().items() if word in chosen}

    def measure(self, name: str, sampler: str, rung: Rung, roles: Mapping[str, Any]) -> Step:
        """Return one measure of a rung."""
        row = MEASURES[name]
        config = rung.small.config if rung.small and "network" in row.needs else self.config
        spec = {"measure": name, **self.words(config, row.words)}
        if sampler:
            spec["sampler"] = sampler
        made_of: list[Step] = []
        for need in row.needs:
            if need == "samples":
                made_of.append(self.samples(rung.shown, sampler))
            elif need.startswith("dense "):
                own = need.removeprefix("dense ")
                dense = roles if rung.index == 0 else self.dense_measures
                made_of.append(dense[own])
            else:
                step = roles[need]
                made_of.extend(step if isinstance(step, tuple) else (step,))
        return Step("measure", spec, tuple(made_of))

    def samples(self, run: Step, sampler: str) -> Step:
        """Return the images that a network generates from the fixed bank of noise."""
        m = self.config.measure
        spec = {"sampler": sampler, "samples": m.samples, "calls": calls_of(m)[sampler]}
        return Step("sample", spec, (run,))

    def ticket(self, rung: Rung) -> Step:
        """Return the ticket file of a rung, which names its weights by store key."""
        spec = {
            "config": self.config.canonical(),
            "round": rung.index,
            "mask": rung.mask.key,
            "dense": self.rung(0).chain.key,
        }
        return Step("ticket", spec, (rung.shown,))


def calls_of(measure: Measure) -> dict[str, int]:
    """Return sampler -> network calls of an image; one number serves all samplers."""
    calls = measure.sampling_steps
    if len(calls) == 1:
        calls = calls * len(measure.samplers)
    return dict(zip(measure.samplers, calls, strict=True))


def fresh_seed(config: TrialConfig, index: int) -> int:
    """Return the seed of a rung's new weights and random masks: never an initial seed."""
    return FORKED + config.seed * 1000 + index
