"""What a trial yields and what is kept of it: Progress, Round and TrialRecord, read from the store or from MLflow alike."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from torch import Tensor

from lthray.core import metrics


@dataclass(frozen=True)
class Progress:
    """Where a trial stands; told where a state was committed, so stopping there loses nothing."""

    round: int
    """Round that is being trained; 0 is the dense network."""
    step: int
    """Step of the schedule that was reached."""
    of: int
    """Last step of the schedule of this training run."""
    loss: float
    """Mean training loss since the run began."""
    seconds: float
    """Training time of the run so far."""


@dataclass(frozen=True)
class Round:
    """One rung of a trajectory as measured; round 0 is the dense network. Refers to weights by store key."""

    index: int
    density: float
    """Density that the ladder asks for; `metrics` has what was realised."""
    metrics: Mapping[str, float]
    """Metric name -> number; see lthray.core.metrics."""
    curve: Sequence[Sequence[float]] = ()
    """Points along the training: (step, training loss, held-out loss, and of a classifier accuracy)."""
    densities: Mapping[str, float] = field(default_factory=dict, repr=False)
    """Density of each layer that may be cut, in forward order."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """train: of the run that is shown, whoever spent it; along: measured along it; measure: at its end."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Store keys: round (the set of its measures), mask, weights (the training run; its end is part `final`)."""
    created: float = 0.0
    """Unix time at which the round was complete."""
    made: Mapping[str, Any] = field(default_factory=dict)
    """What bits depend on beside the key: torch, device, threads."""
    arrays: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    """loss [images, timesteps] of the panel; correct [images]; and what measure.anatomy finds. Not part of `facts`."""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """ticket: the ticket file; samples_<sampler>: a PNG. Not part of `facts`."""

    @property
    def facts(self) -> dict[str, Any]:
        """The round as JSON: all but arrays and files."""
        kept = ("index", "density", "metrics", "densities", "seconds", "keys", "created", "made", "curve")
        return {name: getattr(self, name) for name in kept}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return the round of its facts, as `facts` gives them; what an older record lacks is at its default."""
        known = {name: facts[name] for name in cls.__dataclass_fields__ if name in facts}
        return cls(**known)


@dataclass(frozen=True)
class Point:
    """A trial as it was given out: enough to run it, to find its rounds and to record it, without the data at hand."""

    name: str
    """Short name for tables and legends, such as "reinit erk late5% s3"."""
    recipe: str
    """The part of the name that trials share which differ in the seed or the control alone."""
    phase: str
    """search, confirm, list, design or single."""
    config: Mapping[str, Any]
    """Words of the config that differ from the defaults, places left out."""
    seed: int
    control: str
    fork: int = 0
    data: Sequence[str] = ("", "")
    """Name of the data set and the digest of its content."""
    trial: str = ""
    """Store key of the trial."""
    words: Mapping[str, Any] = field(default_factory=dict)
    """Words that the study drew or listed for this trial."""
    places: Mapping[str, Any] = field(default_factory=dict)
    """Where given files lie: words that are no part of what a trial is."""
    rounds: Sequence[Mapping[str, Any]] = ()
    """What each round is assembled from, in order; see lthray.trial.view."""
    runs: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Store key of every training run that the trial needs -> its first and last step."""
    at: float = 0.0
    """Unix time at which the trial was given out."""
    of: int = 1
    """Number of trials of its call."""

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Return the point of the facts that a ledger or a trial.json holds; KeyError where one that every record has is missing."""
        for name in ("name", "recipe", "phase", "config", "seed", "control", "fork"):
            facts[name]
        return cls(**{name: facts[name] for name in cls.__dataclass_fields__ if name in facts})

    @property
    def is_ticket(self) -> bool:
        """Whether the trial is what a study asks about, neither a control nor a second run on another stream."""
        return self.control == "none" and self.fork == 0


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    status: str
    """done, stopped (by the search, at a rung) or failed."""
    reason: str = ""
    last: int | None = None
    """Last round, where the trial ended before its ladder did."""
    at: float = 0.0
    """Unix time of the end."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial of a study with those of its rounds that are recorded."""

    id: str
    """Name of the trial for ever: the beginning of its call's key, and its number."""
    point: Point
    end: Outcome | None
    """None while the trial is unfinished."""
    rounds: tuple[Round, ...]
    run: str = ""
    """Id of its MLflow run, where it was read from there."""

    @property
    def number(self) -> int:
        """Number of the trial in its call."""
        return int(self.id.rpartition("-")[2])

    @property
    def name(self) -> str:
        """Recipe and seed, in short."""
        return self.point.name

    @property
    def status(self) -> str:
        """done, stopped, failed, or unfinished."""
        return self.end.status if self.end else "unfinished"

    @property
    def older(self) -> bool:
        """Whether its weights have seen more optimizer steps than its dense network's: then its excess flatters it."""
        name = metrics.STEPS_OF_WEIGHTS.name
        return self.rounds[-1].metrics[name] > self.rounds[0].metrics[name]

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON: what `from_json` reads."""
        end = asdict(self.end) if self.end else {}
        return {"id": self.id, "point": asdict(self.point), "end": end, "rounds": [r.facts for r in self.rounds]}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], run: str = "") -> Self:
        """Return the record that `to_json`, or an older lthray, has written; KeyError where it is no record."""
        end = Outcome(**facts["end"]) if facts["end"] else None
        rounds = tuple(Round.of(r) for r in facts["rounds"])
        return cls(facts["id"], Point.from_json(facts["point"]), end, rounds, run or facts.get("run", ""))
