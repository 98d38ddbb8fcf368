"""What a trial will do, before it does anything: every step and its key, as a function of the config and of digests.

A key says what a thing is, never where it was cut or who made it. So trials that agree in a prefix of their steps agree
in those keys, find each other's work in the store, and a study can count beforehand what it will share.
"""

import hashlib
import math
import os
import time
from dataclasses import dataclass, replace
from typing import Any

from lthray.config.fields import ConfigError
from lthray.config.labels import name_of, recipe_of
from lthray.config.trial import (
    DENOISERS,
    EVIDENCE,
    PLACES,
    Measure,
    Model,
    Objective,
    Prune,
    Train,
    TrialConfig,
    input_of,
    layers_of,
    shape_of,
)
from lthray.core.record import Point
from lthray.core.store import key_of
from lthray.prune import budgets, criteria
from lthray.prune.controls import CONTROLS, UNCHAINED, Control
from lthray.prune.origin import Origin, content
from lthray.prune.rewinds import REWINDS, Rewinding, span
from lthray.task import data, networks, pretrained

# a kind's version is raised when its numbers change
VERSIONS = {"init": 1, "train": 1, "prune": 1, "rewind": 1, "control": 2, "measure": 2, "trial": 1, "latents": 1}


@dataclass(frozen=True)
class Run:
    """One training run: steps `start` to `end` of the schedule, keeping the states at `anchors`."""

    key: str
    start: int
    end: int
    stream: int
    history: int
    """Optimizer steps behind its last weights: more than the dense run's where a rule goes on from trained ones."""
    anchors: tuple[int, ...] = ()
    moves: bool = False
    """Whether its mask moves while it is trained."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the run itself."""
        return self.end - self.start

    def marks(self, points: int) -> tuple[int, ...]:
        """The steps that end `points` equal parts of the run."""
        return tuple(sorted({self.start + math.ceil(self.steps * j / points) for j in range(1, points + 1)}))

    def looks(self, prune: Prune) -> tuple[int, ...]:
        """The steps at which it is asked whether the next mask has settled: the last alone, unless prune.early."""
        return self.marks(prune.looks) if prune.early else (self.end,)


@dataclass(frozen=True)
class Rung:
    """One round: the chain's mask and run, the run that is shown (a control's, or the chain's own), what is measured."""

    index: int
    density: float
    mask: str
    chain: Run
    shown: Run
    spent: int
    """Optimizer steps spent to get here: the dense run, the chain, the run that is shown."""
    native: int = 0
    """Of a given ticket, what it would have cost here to get as far: the dense run, and a run like its own for each of the
    rounds that it took there."""
    fellow: Run | None = None
    """Where the shown run is a fork: what the same weights come to on the chain's own stream."""
    small: "Plan | None" = None
    """The plan of another network that is shown, and only trained dense."""
    curve: str = ""
    round: str = ""
    examined: bool = False
    """Whether samples are taken."""
    probed: bool = False
    """Whether sharpness and sensitivity are: of dense networks and tickets, not of controls."""


@dataclass(frozen=True)
class Plan:
    """All rungs of a trial, round 0 first, and the plan of the extractor that judges its samples."""

    config: TrialConfig
    key: str
    rungs: tuple[Rung, ...]
    referee: "Plan | None"
    autoencoder: "Plan | None"
    latents: str
    """Key of the data set as the autoencoder sees it."""

    @property
    def k(self) -> int:
        """The step to which a rung is rewound."""
        return round(self.config.rewind.fraction * self.config.train.steps)

    @property
    def shown(self) -> tuple[Rung, ...]:
        """The rungs that become rounds: the dense one, and all others or those that the config names."""
        wanted = {self.rungs[i].index for i in self.config.rungs or range(len(self.rungs))}
        return tuple(rung for rung in self.rungs if rung.index in wanted | {0})

    @property
    def runs(self) -> dict[str, Run]:
        """Every training run that the trial needs, by key, the extractor's too; a control's last chain is not needed."""
        row = CONTROLS.get(self.config.control)
        chained = self.rungs[: 1 if row and row.mask in UNCHAINED else max(self.shown[-1].index, 1)]
        needed = [rung.shown for rung in self.shown] + [rung.chain for rung in chained]
        needed += [rung.fellow for rung in self.shown if rung.fellow]
        parents = [parent.runs for parent in (self.referee, self.autoencoder) if parent]
        return {run.key: run for found in ({run.key: run for run in needed}, *parents) for run in found.values()}


def plan(config: TrialConfig, anchors: tuple[int, ...] = ()) -> Plan:
    """The plan of a config; `anchors` are further steps of its dense run to keep for others."""
    digest, given = data.load(config.data).digest, Origin.read(config.origin)
    autoencoder = plan(autoencoder_config(config)) if config.objective.name == "latent_denoise" else None
    latents = _key("latents", {"augment": config.data.augment}, autoencoder.rungs[0].chain.key, digest) if autoencoder else ""
    rungs = _Rungs(config, latents or digest, given)
    found = [rungs.dense(anchors)]
    for density in (0.0,) if given else config.prune.ladder:
        found.append(rungs.rung(density, rungs.mask(density, found[-1]), found))
    key = _key("trial", config.canonical(), digest, given.digest if given else "")
    return Plan(config, key, tuple(found), rungs.referee, autoencoder, latents)


class _Rungs:
    """Makes the rungs of one config."""

    def __init__(self, config: TrialConfig, digest: str, given: Origin | None):
        self.config, self.digest, self.k = config, digest, round(config.rewind.fraction * config.train.steps)
        self.given, self.carried = given, config.rewind.rule == "given"
        self.source = source_of(given, config) if given and self.carried and not given.ticket.weights else None
        self.referee = plan(referee_config(config)) if _samples(config) else None
        self.moves = config.regime.name != "static"

    def dense(self, anchors: tuple[int, ...]) -> Rung:
        row = REWINDS[self.config.rewind.rule]
        mine = (self.k,) if (row.weights, row.start) == ("anchor", "k") else ()
        kept = tuple(sorted({*anchors, *mine}))
        run = self.run(0, self.config.train.steps, self.init(self.config.seed), 0, self.config.stream, kept)
        return self.measured(Rung(0, 1.0, "", run, run, run.steps), "")

    def rung(self, density: float, mask: str, found: list[Rung]) -> Rung:
        index, row, small = len(found), CONTROLS.get(self.config.control), None
        chain = shown = self.rewound(self.config.rewind.rule, mask, found, self.config.stream, moves=self.moves)
        native = found[0].chain.steps + self.given.round * chain.steps if self.given and self.given.round else 0
        before = [] if self.carried else found[: 1 if row and row.mask in UNCHAINED else None]
        fellow, spent = None, sum(rung.chain.steps for rung in before)
        if row and row.mask == "narrow":
            small = plan(small_config(self.config, density))
            shown, spent = small.rungs[0].chain, 0
        elif row or self.config.fork:
            final = chain.key if self.moves and row else mask  # a control is of the mask as the ticket's training has left it
            fellow, shown = (self.shown(row, density, final, found, fork) for fork in (0, self.config.fork))
        spent += 0 if shown.key == found[0].chain.key else shown.steps
        fellow = fellow if self.config.fork else None
        return self.measured(Rung(index, density, mask, chain, shown, spent, native, fellow, small), found[0].round)

    def shown(self, row: Control | None, density: float, mask: str, found: list[Rung], fork: int) -> Run:
        """What is trained in the ticket's place."""
        stream = 2**31 + 1000 * self.config.stream + fork if fork else self.config.stream
        rule = row.rule if row and row.rule else self.config.rewind.rule
        if row is None or row.mask == "ticket":
            moves = row is None and self.moves
            return self.rewound(rule, mask, found, stream, moved=bool(row and row.moved), moves=moves)
        if row.mask == "at_once":
            return self.rewound(rule, self.mask(density, found[0]), found[:1], stream, index=len(found))
        if row.mask != "whole":
            drawn = {"mask": row.mask, "seed": fresh_seed(self.config, len(found))}
            return self.rewound(rule, _key("control", drawn, mask), found, stream)
        if REWINDS[rule].weights == "anchor" and (rule == "init" or self.config.rewind.state == "rewound"):
            if not fork:
                return found[0].chain  # it would go on as it went
            if rule == "init":
                return self.run(0, self.config.train.steps, self.init(self.config.seed), 0, stream)
        return self.rewound(rule, "", found[:1], stream, index=len(found))

    def rewound(
        self, rule: str, mask: str, found: list[Rung], stream: int, *, index: int | None = None, moved: bool = False,
        moves: bool = False,
    ) -> Run:  # fmt: skip
        """The run of a mask from rewound weights; `found` are the rounds before it, as far as the rule may see them."""
        row, index, previous = REWINDS[rule], len(found) if index is None else index, self.config.rewind.anchor == "previous"
        source = found[-1].chain if row.weights == "trained" or previous else found[0].chain
        start, end = span(rule, self.k, self.config.train.steps, self.given.ticket.start if self.given else 0)
        parents = {"fresh": self.init(fresh_seed(self.config, index)), "given": self.given.digest if self.given else ""}
        taken = {"from": row.weights, **self.taken(row, source)}
        before = {"trained": source.history, "anchor": source.history - source.steps + self.k if start else 0}
        before["given"] = self.source.history - self.source.steps if self.source else start
        begin = _key("rewind", taken, parents.get(row.weights, source.key), mask)
        if moved:
            begin = _key("control", {"sigma": self.config.sigma, "seed": fresh_seed(self.config, index)}, begin)
        anchors = (start + self.k,) if previous and stream == self.config.stream else ()
        return self.run(start, end, begin, before.get(row.weights, 0), stream, anchors, moves)

    def run(
        self, start: int, end: int, begin: str, age: int, stream: int, anchors: tuple[int, ...] = (), moves: bool = False
    ) -> Run:
        fixed = {**self.config.canonical("data", "model", "objective", "train"), "stream": stream if end else 0}
        fixed |= self.config.canonical("regime") if moves else {}
        key = _key("train", {**fixed, "span": [start, end]}, begin, self.digest)
        found = Run(key, start, end, stream, age + end - start, moves=moves)
        looks = found.looks(self.config.prune)[:-1] if stream == self.config.stream else ()
        return replace(found, anchors=tuple(sorted({*anchors, *looks})))

    def init(self, seed: int) -> str:
        """Weights before the first step: a function of the seed; or the given ones, but of a rung's fresh seed."""
        model = self.config.model
        given, source = pretrained.digest_of(model.pretrained, networks.part_of(model)), networks.source_of(model)
        spec = {**self.config.canonical("model"), "seed": 0 if given and seed == self.config.seed else seed}
        return _key("init", spec, given, *([source] if source else []))

    def mask(self, density: float, last: Rung) -> str:
        if self.given:
            unit = {"unit": "channel"} if self.config.prune.unit == "channel" else {}  # the same mask, another network
            return _key("prune", {"origin": self.given.digest, **unit, **self.stretched()})
        spec = {word: value for word, value in self.config.canonical("prune").items() if word != "prune.ladder"}
        prune = self.config.prune
        seeded = prune.criterion in criteria.SEEDED or prune.budget in EVIDENCE
        drawn: dict[str, Any] = {"seed": self.config.seed} if seeded else {}
        if prune.budget == "cka":
            drawn |= {"pair": twin_config(self.config).canonical("seed", "stream")}
        rewound = self.config.canonical("rewind") if self.config.prune.scored == "rewound" else {}
        return _key("prune", {**spec, **drawn, **rewound, "density": density}, last.chain.key, last.mask)

    def taken(self, row: Rewinding, source: Run) -> dict[str, Any]:
        """What of the source run is taken: its state at a step, with or without moments and average."""
        if row.weights == "given":
            return self.stretched()
        if row.weights != "anchor":
            return {}
        step = 0 if row.start == "0" else source.start + self.k
        return {"at": step, "state": self.config.rewind.state if row.start == "k" else "reset"}

    def stretched(self) -> dict[str, Any]:
        """How a given ticket is brought to another depth."""
        if not self.given or not self.given.stretches(self.config):
            return {}
        return {"layers": self.config.model.layers, "elastic": self.config.elastic}

    def measured(self, rung: Rung, dense: str) -> Rung:
        """The rung with the keys of what is measured."""
        m, last = self.config.measure, 1 if self.config.origin else len(self.config.prune.ladder)
        examined = rung.index in {last if i == -1 else i for i in m.rounds}
        panel = {"split": m.split, "images": m.images, "timesteps": m.timesteps}
        curve = _key("measure", {**panel, "checkpoints": m.checkpoints}, self.digest)
        drawn: dict[str, Any] = {"index": rung.index}
        probed = examined and (not rung.index or self.config.control == "none")
        if probed:
            drawn |= {"perturbations": m.perturbations, "sensitivity": m.sensitivity}
        judges: tuple[str, ...] = ()
        if examined and self.referee:
            drawn |= {"samples": m.samples, "samplers": m.samplers, "steps": m.sampling_steps}
            judges = (self.referee.rungs[0].round, given_digest("measure.inception", m.inception))
        fellow = (rung.fellow.key,) if rung.fellow else ()
        key = _key("measure", {**panel, **drawn}, rung.shown.key, curve, dense, *judges, *fellow)
        return replace(rung, curve=curve, round=key, examined=examined, probed=probed)


def source_of(given: Origin, config: TrialConfig) -> Run:
    """The run of a given ticket in its own trial; TicketError unless that can be made again from what the file says."""
    try:
        rungs = plan(given.trial(config)).rungs
    except ConfigError as error:
        raise given.refused(f"its weights cannot be made again here: {'; '.join(error.faults)}") from None
    run = rungs[given.round].shown if given.round < len(rungs) else None
    if run is None or (run.key, run.start) != (given.facts.get("weights"), given.ticket.start):
        raise given.refused("its weights cannot be made again here: other data, a given file, or another version of lthray")
    return run


def given_digest(word: str, path: str) -> str:
    """sha256 of a file that somebody gave; empty for no path, ConfigError where there is no such file."""
    return hashlib.sha256(content(word, path)).hexdigest() if path else ""


def givens(config: TrialConfig) -> dict[str, str]:
    """Word -> digest of every file that somebody gave: what a config leaves out of its words."""
    files = {"origin": config.origin, "measure.inception": config.measure.inception}
    found = {word: given_digest(word, path) for word, path in files.items()}
    found["model.pretrained"] = pretrained.digest_of(config.model.pretrained, networks.part_of(config.model))
    found["latent.pretrained"] = pretrained.digest_of(config.latent.pretrained, "vae")
    return {word: digest for word, digest in found.items() if digest}


def fresh_seed(config: TrialConfig, index: int) -> int:
    """The seed of a rung's new weights (rewind random, control reinit) and random masks: never an initial seed."""
    return 2**31 + config.seed * 1000 + index


def twin_config(config: TrialConfig) -> TrialConfig:
    """The same recipe on the other seed of a pair (0 and 1, 2 and 3, ...), whose twin is this one."""
    alone = {"control": "none", "fork": 0, "rungs": (), "measure.samples": 0}
    return TrialConfig.from_flat({**alone, "seed": config.seed ^ 1, "stream": config.stream ^ 1}, config)


def referee_config(config: TrialConfig) -> TrialConfig:
    """The classifier whose hidden layer sees the samples: one for each data set, whatever the trial."""
    return TrialConfig(
        data=replace(config.data, fraction=1.0, augment="shift"),
        model=Model(name="lenet5", channels=(16, 32)),
        objective=Objective(name="classify"),
        train=Train(steps=1000, batch=64, lr=2e-3, decay="cosine", floor=0.01),
        prune=Prune(ladder=()),
        measure=Measure(samples=0, checkpoints=0, images=1000),
    )


def autoencoder_config(config: TrialConfig) -> TrialConfig:
    """What makes the latents: one for each data set, whatever the trial."""
    latent = config.latent
    return TrialConfig(
        data=replace(config.data, fraction=1.0),
        model=Model(
            name="autoencoder",
            channels=latent.widths,
            groups=latent.groups,
            latent=latent.channels,
            pretrained=latent.pretrained,
        ),
        objective=Objective(name="autoencode"),
        train=Train(steps=0 if latent.pretrained else latent.steps, batch=64, lr=2e-3, decay="cosine", floor=0.01),
        prune=Prune(ladder=()),
        measure=Measure(samples=0, checkpoints=0, images=1000),
    )


def small_config(config: TrialConfig, density: float) -> TrialConfig:
    """The dense network of the same family whose parameters are nearest in number to those a ticket keeps."""
    (channels, side), classes = input_of(config), shape_of(config.data)[2]
    shape = (channels, side, side)
    total, layers = networks.sizes(config.model, shape, classes)
    rules = budgets.assign(layers, layers_of(config))
    kept = total - sum(n * (1 - (density if rules[name] == "free" else float(rules[name]))) for name, n in layers.items())
    model = networks.narrower(config.model, shape, classes, round(kept))
    plain = {
        "prune.ladder": (),
        "prune.layers": (),
        "rungs": (),
        "control": "none",
        "measure.samples": 0,
        "measure.rounds": (0,),
    }
    words = {"model.channels": model.channels, "model.hidden": model.hidden, "model.groups": model.groups}
    return TrialConfig.from_flat({**plain, **words, "model.head": model.head}, config)


def point(config: TrialConfig, words: dict[str, Any], phase: str) -> Point:
    """A trial as the ledger keeps it: enough to run it, to find its rounds and to record it, without the data at hand."""
    found = plan(config)
    return Point(
        name=name_of(config),
        recipe=recipe_of(config),
        phase=phase,
        words=words,
        config=config.canonical(),
        places=places_of(config),
        seed=config.seed,
        control=config.control,
        fork=config.fork,
        data=[config.data.name, data.load(config.data).digest],
        trial=found.key,
        rounds=[{"key": rung.round} for rung in found.shown],
        runs={key: [run.start, run.end] for key, run in found.runs.items()},
        at=time.time(),
    )


def places_of(config: TrialConfig) -> dict[str, Any]:
    """Where what was given lies, in full: whoever runs the trial stands elsewhere."""
    flat = config.flat()
    return {word: _absolute(flat[word]) for word in PLACES if flat[word]}


def _absolute(place: Any) -> Any:
    """A path in full; what is no path here (a Hub id) as it is."""
    return os.path.abspath(place) if isinstance(place, str) and os.path.exists(place) else place


def _samples(config: TrialConfig) -> bool:
    return config.objective.name in DENOISERS and config.measure.samples > 0 and bool(config.measure.rounds)


def _key(kind: str, spec: Any, *parents: str) -> str:
    return key_of(kind, VERSIONS[kind], spec, *parents)
