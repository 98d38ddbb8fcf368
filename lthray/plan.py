"""What a trial will do, before it does anything: every step and its key, as a function of the config and of digests.

A key says what a thing is, never where it was cut or who made it. So trials that agree in a prefix of their steps agree
in those keys, find each other's work in the store, and a study can count beforehand what it will share.
"""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthray.config import PLACES, Data, Measure, Model, Objective, Prune, Train, TrialConfig
from lthray.flat import ConfigError
from lthray.prune.rewinds import REWINDS, span
from lthray.store import key_of
from lthray.task import data, models

# a kind's version is raised when its numbers change
VERSIONS = {"init": 1, "train": 1, "prune": 1, "rewind": 1, "control": 1, "measure": 1, "trial": 1}


@dataclass(frozen=True)
class Run:
    """One training run: steps `start` to `end` of the schedule, keeping the states at `anchors`."""

    key: str
    start: int
    end: int
    history: int
    """Optimizer steps behind its last weights: more than the dense run's where a rule goes on from trained ones."""
    anchors: tuple[int, ...] = ()

    @property
    def steps(self) -> int:
        """Optimizer steps of the run itself."""
        return self.end - self.start


@dataclass(frozen=True)
class Rung:
    """One round: the chain's mask and run, the run that is shown (a control's, or the chain's own), what is measured."""

    index: int
    density: float
    mask: str
    chain: Run
    shown: Run
    curve: str
    round: str
    sampled: bool
    spent: int
    """Optimizer steps spent to get here: the dense run, the chain, the run that is shown."""


@dataclass(frozen=True)
class Plan:
    """All rungs of a trial, round 0 first, and the plan of the extractor that judges its samples."""

    config: TrialConfig
    key: str
    rungs: tuple[Rung, ...]
    referee: "Plan | None"

    @property
    def k(self) -> int:
        """The step to which a rung is rewound."""
        return round(self.config.rewind.fraction * self.config.train.steps)

    @property
    def runs(self) -> dict[str, Run]:
        """Every training run that the trial needs, by key, the extractor's too; a control's last chain is not needed."""
        needed = [rung.shown for rung in self.rungs] + [rung.chain for rung in self.rungs[:-1]]
        return {run.key: run for run in needed} | (self.referee.runs if self.referee else {})


def plan(config: TrialConfig, anchors: tuple[int, ...] = ()) -> Plan:
    """The plan of a config; `anchors` are further steps of its dense run to keep for others."""
    images, origin = data.load(config.data), given_digest("origin", config.origin)
    rungs = _Rungs(config, images.digest)
    found = [rungs.dense(anchors)]
    for density in (0.0,) if origin else config.prune.ladder:
        mask = _key("prune", {"origin": origin}) if origin else rungs.mask(density, found[-1])
        found.append(rungs.rung(density, mask, found))
    return Plan(config, _key("trial", config.canonical(), images.digest, origin), tuple(found), rungs.referee)


class _Rungs:
    """Makes the rungs of one config."""

    def __init__(self, config: TrialConfig, digest: str):
        self.config, self.digest, self.row = config, digest, REWINDS[config.rewind.rule]
        self.k = round(config.rewind.fraction * config.train.steps)
        self.referee = plan(referee_config(config)) if _samples(config) else None

    def dense(self, anchors: tuple[int, ...]) -> Rung:
        mine = (self.k,) if (self.row.weights, self.row.start) == ("anchor", "k") else ()
        run = self.run(0, self.config.train.steps, self.init(self.config.seed), 0, tuple(sorted({*anchors, *mine})))
        return self.measured(0, 1.0, "", run, run, "", run.steps)

    def rung(self, density: float, mask: str, found: list[Rung]) -> Rung:
        index, last, rewind = len(found), found[-1], self.config.rewind
        previous = rewind.anchor == "previous"
        source = last.chain if self.row.weights == "trained" or previous else found[0].chain
        start, end = span(rewind.rule, self.k, self.config.train.steps)
        parent = self.init(fresh_seed(self.config, index)) if self.row.weights == "fresh" else source.key
        taken = {"from": self.row.weights, **self.taken(source)}
        before = {"trained": source.history, "anchor": source.history - source.steps + self.k if start else 0}
        begin, age = _key("rewind", taken, parent, mask), before.get(self.row.weights, 0)
        chain = self.run(start, end, begin, age, (start + self.k,) if previous else ())
        shown = chain
        if self.config.control != "none":
            start, age = (0, 0) if self.config.control == "reinit" else (start, age)
            drawn = {"control": self.config.control, "seed": fresh_seed(self.config, index)}
            shown = self.run(start, end, _key("control", drawn, begin), age, ())
        spent = sum(rung.chain.steps for rung in found) + shown.steps
        return self.measured(index, density, mask, chain, shown, found[0].round, spent)

    def run(self, start: int, end: int, begin: str, age: int, anchors: tuple[int, ...]) -> Run:
        fixed = {**self.config.canonical("data", "model", "objective", "train"), "stream": self.config.stream}
        key = _key("train", {**fixed, "span": [start, end]}, begin, self.digest)
        return Run(key, start, end, age + end - start, anchors)

    def init(self, seed: int) -> str:
        """Weights before the first step: a function of the seed, or the given ones, which no seed changes."""
        given = models.digest_of(self.config.model.pretrained) if seed == self.config.seed else ""
        return _key("init", {**self.config.canonical("model"), "seed": 0 if given else seed}, given)

    def mask(self, density: float, last: Rung) -> str:
        spec = {word: value for word, value in self.config.canonical("prune").items() if word != "prune.ladder"}
        drawn = {"seed": self.config.seed} if self.config.prune.criterion == "random" else {}
        return _key("prune", {**spec, **drawn, "density": density}, last.chain.key, last.mask)

    def taken(self, source: Run) -> dict[str, Any]:
        """What of the source run is taken: its state at a step, with or without moments and average."""
        if self.row.weights != "anchor":
            return {}
        step = 0 if self.row.start == "0" else source.start + self.k
        return {"at": step, "state": self.config.rewind.state if self.row.start == "k" else "reset"}

    def measured(self, index: int, density: float, mask: str, chain: Run, shown: Run, dense: str, spent: int) -> Rung:
        m, last = self.config.measure, 1 if self.config.origin else len(self.config.prune.ladder)
        sampled = self.referee is not None and index in {last if i == -1 else i for i in m.rounds}
        panel = {"split": m.split, "images": m.images, "timesteps": m.timesteps}
        curve = _key("measure", {**panel, "checkpoints": m.checkpoints}, self.digest)
        drawn = {"samples": m.samples, "samplers": m.samplers, "steps": m.sampling_steps} if sampled else {}
        judges = (
            (self.referee.rungs[0].round, given_digest("measure.inception", m.inception)) if sampled and self.referee else ()
        )
        key = _key("measure", {**panel, **drawn, "index": index}, shown.key, curve, dense, *judges)
        return Rung(index, density, mask, chain, shown, curve, key, sampled, spent)


def given_digest(word: str, path: str) -> str:
    """sha256 of a file that somebody gave; empty for no path, ConfigError where there is no such file."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""
    except OSError as error:
        raise ConfigError([f"{word} = {path!r}: {error.strerror}"]) from None


def fresh_seed(config: TrialConfig, index: int) -> int:
    """The seed of a rung's new weights (rewind random, control reinit) and of its shuffle: never an initial seed."""
    return 2**31 + config.seed * 1000 + index


def referee_config(config: TrialConfig) -> TrialConfig:
    """The classifier whose hidden layer sees the samples: one for each data set, whatever the trial."""
    return TrialConfig(
        data=Data(name=config.data.name, root=config.data.root, download=config.data.download, augment="shift"),
        model=Model(name="lenet5", channels=(16, 32)),
        objective=Objective(name="classify"),
        train=Train(steps=1000, batch=64, lr=2e-3, decay="cosine", floor=0.01),
        prune=Prune(ladder=()),
        measure=Measure(samples=0, checkpoints=0, images=1000),
    )


def point(config: TrialConfig, words: dict[str, Any], phase: str) -> dict[str, Any]:
    """A trial as the ledger keeps it: enough to run it, to find its rounds and to record it, without the data at hand."""
    found, flat = plan(config), config.flat()
    return {
        "name": name_of(config),
        "phase": phase,
        "words": words,
        "config": config.canonical(),
        "places": {word: flat[word] for word in PLACES if flat[word]},
        "seed": config.seed,
        "control": config.control,
        "data": [config.data.name, data.load(config.data).digest],
        "trial": found.key,
        "rounds": [rung.round for rung in found.rungs],
        "runs": {key: [run.start, run.end] for key, run in found.runs.items()},
        "at": time.time(),
    }


def name_of(config: TrialConfig) -> str:
    """A short name for tables and legends: "erk late5% s3"."""
    c, r = config.prune, config.rewind
    budget = {"ramp": f"ramp{c.slope:+.1f}", "sampled": "sampled(" + " ".join(f"{d:+.1f}" for d in c.dials) + ")"}
    at = "" if REWINDS[r.rule].start == "0" else f"{r.fraction:.0%}"
    words = [budget.get(c.budget, c.budget), f"{r.rule}{at}", f"s{config.seed}"]
    extra = [w for w in (c.criterion, config.control, config.origin and "origin") if w not in ("magnitude", "none", "")]
    return " ".join([*extra, *words])


def _samples(config: TrialConfig) -> bool:
    return config.objective.name == "denoise" and config.measure.samples > 0 and bool(config.measure.rounds)


def _key(kind: str, spec: Any, *parents: str) -> str:
    return key_of(kind, VERSIONS[kind], spec, *parents)
