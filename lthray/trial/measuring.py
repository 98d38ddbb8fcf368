"""What is measured of a rung: a step for each row of the table of measures that the config asks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from lthray.config.parts import Measure
from lthray.config.stressors import STRESSES
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import OBJECTIVES
from lthray.measure.rows import Asked
from lthray.measure.table import MEASURES
from lthray.task import inputs
from lthray.trial.sources import Sources, autoencoder_config, judge_config, words_of
from lthray.trial.steps import Step, runs_of
from lthray.trial.trajectory import WHOLE, Rung

CURVE = ("measure.split", "measure.images", "measure.timesteps", "measure.checkpoints")
"""Words that say what is measured along a training run."""


class Measuring:
    """Makes the measures of a trial's rungs; `chain(index)` gives a rung of the chain of masks."""

    def __init__(self, sources: Sources, chain: Callable[[int], Rung]):
        self.sources, self.chain = sources, chain
        self.config = sources.config
        self.objective = OBJECTIVES[self.config.objective.name]

    def measured(self, rung: Rung) -> Rung:
        """Return `rung` with a step for each measure that is asked of it."""
        c = self.config
        last = 1 if c.origin else len(c.prune.ladder)
        examined = {last if index == -1 else index for index in c.measure.rounds}
        rung = replace(rung, examined=rung.index in examined)
        return replace(rung, measures=self.measures_of(rung))

    @cached_property
    def dense(self) -> Mapping[str, Step]:
        """The measures of the dense network, with which others are paired."""
        return self.measured(self.chain(0)).measures

    def measures_of(self, rung: Rung) -> dict[str, Step]:
        """Return name -> measure of a rung, in the order of the table."""
        asked, roles = self.asked(rung), self.roles(rung)
        steps: dict[str, Step] = {"curve": self.curve(rung.shown)}
        for name, row in MEASURES.items():
            if not row.asked(asked):
                continue
            for sampler in self.config.measure.samplers if row.per_sampler else ("",):
                step = self.measure(name, sampler, rung, {**roles, **steps})
                steps[f"{name} {sampler}".strip()] = step
        if asked.cut and rung.index:
            steps["ticket"] = self.ticket(rung)
        return steps

    @property
    def judged(self) -> bool:
        """Whether samples are drawn and judged."""
        measure = self.config.measure
        return self.objective.denoises and measure.samples > 0 and bool(measure.rounds)

    def asked(self, rung: Rung) -> Asked:
        """Return what decides which measures are taken of a rung."""
        c = self.config
        return Asked(
            measure=c.measure,
            index=rung.index,
            examined=rung.examined,
            probed=rung.examined and (not rung.index or c.control == "none"),
            classifies=self.objective.classifies,
            denoises=self.objective.denoises,
            judged=self.judged,
            in_latents=self.objective.in_latents,
            cut=is_cut(rung.shown),
            forked=rung.fellow is not None,
            chained=rung.index > 0 and c.control == "none" and not c.fork,
            narrow=rung.small is not None,
            early=bool(c.prune.early),
        )

    def roles(self, rung: Rung) -> dict[str, Any]:
        """Return role -> step or steps, for the needs of measures."""
        own = Sources(rung.small) if rung.small else self.sources
        roles: dict[str, Any] = {
            "network": rung.shown,
            "dense": self.sources.dense,
            "fellow": rung.fellow,
            "previous": self.chain(max(rung.index - 1, 0)).shown,
            "initial": own.init(self.config.seed),
            "pixels": self.sources.pixels,
            "latents": self.sources.images,
            "masks": tuple(self.chain(index).mask for index in range(1, rung.index + 1)),
        }
        if self.judged:
            path = self.config.measure.inception
            digest = inputs.file_digest("measure.inception", path)
            roles["inception"] = self.sources.file("measure.inception", path, digest)
            roles["judge"] = self.sources.judge
            roles["efficientnet"] = Step("deep", {}, (self.sources.pixels,))
        return roles

    def measure(self, name: str, sampler: str, rung: Rung, roles: Mapping[str, Any]) -> Step:
        """Return one measure of a rung; `sampler` names the one that made the samples, if any."""
        row = MEASURES[name]
        config = rung.small if rung.small and "network" in row.needs else self.config
        spec = {"measure": name, **words_of(config, row.words)}
        if sampler:
            spec["sampler"] = sampler
        made_of: list[Step] = []
        for need in row.needs:
            made_of.extend(self.supply(need, sampler, rung, roles))
        return Step("measure", spec, tuple(made_of))

    def supply(
        self, need: str, sampler: str, rung: Rung, roles: Mapping[str, Any]
    ) -> tuple[Step, ...]:
        """Return the steps that fill one need of a measure."""
        if need == "samples":
            return (self.samples(rung.shown, sampler),)
        if need == "stressed samples":
            return tuple(self.unsettled(rung.shown))
        if need == "dense samples":
            return (self.samples(self.chain(0).shown, sampler),)
        if need.startswith("dense "):
            dense = roles if rung.index == 0 else self.dense
            return (dense[need.removeprefix("dense ")],)
        supplied = roles[need]
        return supplied if isinstance(supplied, tuple) else (supplied,)

    def samples(self, run: Step, sampler: str) -> Step:
        """Return the images that a network generates from the fixed bank of noise."""
        measure = self.config.measure
        calls = calls_of(measure)[sampler]
        spec = {"sampler": sampler, "samples": measure.samples, "calls": calls}
        return Step("sample", spec, (run,))

    def unsettled(self, run: Step) -> Iterator[Step]:
        """Yield the images that a network generates without stress, then under each stressor of
        sampling."""
        measure = self.config.measure
        sampler, calls = next(iter(calls_of(measure).items()))
        spec = {"sampler": sampler, "samples": measure.robust, "calls": calls}
        yield Step("sample", spec, (run,))
        for name, row in STRESSES.items():
            for severity in row.severities * row.sampled:
                yield Step("sample", {**spec, "stressor": name, "severity": severity}, (run,))

    def curve(self, run: Step) -> Step:
        """Return the held-out loss along a training run."""
        return Step("curve", words_of(self.config, CURVE), (run,))

    def curves(self, rungs: Iterable[Rung]) -> dict[str, Step]:
        """Return key of a training run -> the curve to be measured when it is trained.

        Runs of this architecture have one even if they are not shown: other trials may show them.
        """
        wanted = [step for rung in rungs for step in rung.measures.values()]
        own = _config_words(self.sources.dense).items()
        runs = runs_of(wanted).items()
        curves = {key: self.curve(run) for key, run in runs if own <= _config_words(run).items()}
        shown = [run for step in wanted if step.kind == "curve" for run in _candidates(step)]
        return curves | {run.key: self.curve(run) for run in shown}

    def ticket(self, rung: Rung) -> Step:
        """Return the ticket file of a rung, which names its weights by store key."""
        spec = {
            "config": self.config.canonical(),
            "round": rung.index,
            "mask": rung.mask.key,
            "dense": self.sources.dense.key,
        }
        return Step("ticket", spec, (rung.shown,))

    @property
    def served(self) -> tuple[TrialConfig, ...]:
        """Configs of the networks that serve this trial: an autoencoder, a feature extractor."""
        configs = []
        if self.objective.in_latents:
            configs.append(autoencoder_config(self.config))
        if self.judged:
            configs.append(judge_config(self.config))
        return tuple(configs)


def _config_words(step: Step) -> dict[str, Any]:
    """Return the words of the config in the spec of a step."""
    return {word: value for word, value in step.spec.items() if "." in word}


def _candidates(curve: Step) -> list[Step]:
    """Return the training run that a curve is of, or all those that it is chosen from."""
    (shown,) = curve.parents
    return [step for step in (shown, *shown.parents) if step.kind == "train"]


def is_cut(run: Step) -> bool:
    """Return whether a training run has a mask."""
    begin = run.parents[0]
    while begin.kind in ("control", "lend"):
        begin = begin.parents[0]
    return begin.kind == "rewind" and begin.parents[1] is not WHOLE


def calls_of(measure: Measure) -> dict[str, int]:
    """Return sampler -> network calls of an image; one number serves all samplers."""
    calls = measure.sampling_steps
    if len(calls) == 1:
        calls = calls * len(measure.samplers)
    return dict(zip(measure.samplers, calls, strict=True))
