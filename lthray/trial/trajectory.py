"""The trajectory of a trial: its rungs, and the steps that each is made of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lthray.config.trial import TrialConfig
from lthray.core import metrics
from lthray.core.keys import key_of
from lthray.trial.steps import VERSIONS, Step, history, lineage, runs_of, walk

WHOLE = Step("whole", content="")
"""The mask that cuts nothing."""


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
    small: TrialConfig | None = None
    """The config of a narrower network that is shown, and only trained dense."""
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
    saved: Mapping[int, int] = field(default_factory=dict)
    """Rung of a ticket from elsewhere -> optimizer steps that it saves beside one found here."""

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
        """All training runs that the trial needs, by key; those of an autoencoder too."""
        return runs_of(self.wanted)

    @cached_property
    def anchors(self) -> dict[str, set[int]]:
        """Key of a training run -> steps whose states other steps of the trial, and of the whole
        chain where only some rungs are shown, ask for."""
        chain = [rung.chain for rung in self.rungs]
        return anchors_of([*self.wanted, *chain])


def anchors_of(wanted: Iterable[Step]) -> dict[str, set[int]]:
    """Return key of a training run -> steps whose states `wanted` and their needs ask for."""
    anchors: dict[str, set[int]] = {}
    for step in walk(wanted):
        if step.kind == "rewind" and step.spec.get("at"):
            anchors.setdefault(step.parents[0].key, set()).add(step.spec["at"])
        if step.kind == "prune" and "looks" in step.implied:
            anchors.setdefault(step.parents[0].key, set()).update(step.implied["looks"])
    return anchors


def place_of(rung: Rung, chosen: Trajectory) -> dict[str, Any]:
    """Return what a round is assembled from, as JSON: keys of its measures, and what the graph says
    of it."""
    known = {
        metrics.STEPS_OF_WEIGHTS.name: history(rung.shown),
        metrics.STEPS_SPENT.name: rung.spent,
    }
    if rung.index in chosen.saved:
        known[metrics.STEPS_SAVED.name] = chosen.saved[rung.index]
    return {
        "index": rung.index,
        "density": rung.density,
        "key": rung.round,
        "mask": rung.mask.key,
        "weights": rung.shown.key,
        "metrics": known,
        "measures": {name: step.key for name, step in rung.measures.items()},
    }
