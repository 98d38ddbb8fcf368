"""Records of trials: Progress, Round and TrialRecord, alike from the store and from MLflow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from lthray.core import metrics

if TYPE_CHECKING:  # reading a record must not load torch
    from torch import Tensor


class RecordError(ValueError):
    """Facts that should be a record are none: damaged, or not written by lthray."""


Key = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9._-]{0,63}$")]
"""Name of a study or a preset; it becomes a part of paths."""
TrialId = Annotated[str, Field(pattern="^[0-9a-z]{1,64}-[0-9]{1,9}$")]
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Span = Annotated[Sequence[Whole], Field(min_length=2, max_length=2)]
"""First and last step."""


@dataclass(frozen=True)
class RoundFacts:
    """Those facts of a recorded round that others are found by, or computed from."""

    index: Annotated[Whole, Field(ge=0, lt=10_000)]
    density: Number
    metrics: Mapping[str, Number]


@dataclass(frozen=True)
class PlaceFacts(RoundFacts):
    """What a round is assembled from; see lthray.trial.trajectory."""

    key: Key
    mask: Key | Literal[""]
    weights: Key
    measures: Mapping[str, Key]


def _places(rounds: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    for place in rounds:
        checked(PlaceFacts, place)
    return rounds


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def checked(kind: Any, facts: Any) -> Any:
    """Return `facts` as they are, if they are of `kind`, a type or a dataclass.

    Raises RecordError with the first fault: where it is, what was found, what it must be.
    """
    try:
        _adapter(kind).validate_python(facts)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        found = repr(fault["input"])[:80]
        raise RecordError(f"{where or 'facts'} = {found}: {fault['msg']}") from None
    return facts


@dataclass(frozen=True)
class Progress:
    """Where a running trial stands; reported once a state is stored, so stopping loses nothing."""

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
    """One rung of a trajectory as measured; round 0 is the dense network.

    A round names its weights by store key and does not hold them.
    """

    index: int
    """Number of the round."""
    density: float
    """Density that the ladder asks for; `metrics` has the density that was reached."""
    metrics: Mapping[str, float]
    """Metric name -> number; see lthray.core.metrics."""
    curve: Sequence[Sequence[float]] = ()
    """Training curve: (step, training loss, held-out loss, and of a classifier accuracy)."""
    densities: Mapping[str, float] = field(default_factory=dict, repr=False)
    """Density of each layer that may be cut, in forward order."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """train: of the measured training run, by whatever trial; along: of measuring along the run;
    measure: of measuring at its end."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Store keys: round (the set of its measures), mask, weights (the training run, whose end is
    part `final`)."""
    created: float = 0.0
    """Unix time at which the round was complete."""
    made: Mapping[str, Any] = field(default_factory=dict)
    """What the bits depend on beside the keys: torch, device, threads, modes. Where the round
    comes from what was made on several, their values are joined by `BOTH`."""
    arrays: Mapping[str, "Tensor"] = field(default_factory=dict, repr=False)
    """Tensors, such as loss [images, timesteps] and correct [images]; not in `facts`."""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """ticket: the ticket file; samples_<sampler>: a PNG. Not in `facts`."""

    @property
    def facts(self) -> dict[str, Any]:
        """The round as JSON: all but arrays and files."""
        return {name: getattr(self, name) for name in FACTS}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return the round of the `facts` of a round; what they lack is at its default.

        Raises RecordError where they are not those of a round.
        """
        return cls(**_fields_of(cls, checked(RoundFacts, facts)))


BOTH = " and "
"""Joins what a round was made on, where that is not one."""
MIXED = "mixed code"
"""Word of `Round.made` that names kinds of steps which other code has made."""
LATER = ("known", "kind")
"""Facts that older records do not have, and that are left out where they say nothing."""
UNSAID = "as usual"  # of a word that is recorded only where it is not at its default
FACTS = (
    *("index", "density", "metrics", "densities", "seconds", "keys", "created", "made"),
    "curve",
)


@dataclass(frozen=True)
class Point:
    """A trial as it was given out.

    It is enough to run the trial, to find its rounds and to record it, without the data at hand.
    """

    name: str
    """Short name for tables and legends, such as "reinit erk late5% s3"."""
    recipe: str
    """The part of the name that trials share which differ only in seed or control."""
    phase: str
    """search, confirm, list, design or single."""
    config: Mapping[str, Any]
    """Words of the config that differ from the defaults, places left out."""
    seed: Whole
    """Seed of the initial weights."""
    control: str
    """Control that is trained in the ticket's place; none for a ticket."""
    fork: Whole = 0
    """n > 0: the tickets are trained on the n-th other stream; 0: on that of the masks."""
    data: Sequence[str] = ("", "")
    """Name of the data set and the digest of its content."""
    trial: Key | Literal[""] = ""
    """Store key of the trial."""
    words: Mapping[str, Any] = field(default_factory=dict)
    """Words that the study drew or listed for this trial."""
    places: Mapping[str, Any] = field(default_factory=dict)
    """Words that say where the user's files lie; they are no part of what a trial is."""
    rounds: Annotated[Sequence[Mapping[str, Any]], AfterValidator(_places)] = ()
    """What each round is assembled from, in order; see lthray.trial.view."""
    runs: Mapping[Key, Span] = field(default_factory=dict)
    """Store key of every training run that the trial needs -> its first and last step."""
    at: Number = 0.0
    """Unix time at which the trial was given out."""
    of: Whole = 1
    """Number of trials of its call."""
    known: Sequence[int] = ()
    """Numbers of the trials of a search that had ended when this one was drawn."""

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Return the point of the `facts` in a ledger or a trial.json.

        Raises KeyError where one that every record has is missing, RecordError where one is of
        another kind, or is a name or key that cannot be.
        """
        for name in REQUIRED:
            facts[name]
        return cls(**_fields_of(cls, checked(cls, facts)))

    @property
    def is_ticket(self) -> bool:
        """Whether the trial seeks a ticket: no control, and no second run on another stream."""
        return self.control == "none" and self.fork == 0


REQUIRED = ("name", "recipe", "phase", "config", "seed", "control", "fork")


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    status: Annotated[str, Field(pattern="^(done|stopped|failed)$")]
    """done, stopped (by the search, at a rung) or failed."""
    reason: str = ""
    """Why, in words; empty where the trial is done."""
    last: Whole | None = None
    """Last round, where the trial ended before its ladder did."""
    at: Number = 0.0
    """Unix time of the end."""
    kind: str = ""
    """Class of the failure; see lthray.study.failures."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return the outcome of its stored `facts`; RecordError where they are none."""
        return cls(**_fields_of(cls, checked(cls, facts)))


@dataclass(frozen=True)
class TrialRecord:
    """A trial of a study with those of its rounds that are recorded."""

    id: str
    """Permanent name of the trial: the beginning of its call's key, and its number."""
    point: Point
    """The trial as it was given out."""
    end: Outcome | None
    """How the trial ended; None while it is unfinished."""
    rounds: tuple[Round, ...]
    """Rounds that are recorded, the dense one first."""
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
        """One of done, stopped, failed and unfinished."""
        return self.end.status if self.end else "unfinished"

    @property
    def older(self) -> bool:
        """Whether its weights have seen more optimizer steps than the dense network's.

        Then the excess over the dense network flatters them.
        """
        name = metrics.STEPS_OF_WEIGHTS.name
        return self.rounds[-1].metrics[name] > self.rounds[0].metrics[name]

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON: what `from_json` reads."""
        return {
            "id": self.id,
            "point": _said(asdict(self.point)),
            "end": _said(asdict(self.end)) if self.end else {},
            "rounds": [r.facts for r in self.rounds],
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], run: str = "") -> Self:
        """Return the record that `to_json`, of this lthray or an older one, has written.

        `run` is the id of the MLflow run it was read from. Raises KeyError where it is no record.
        """
        return cls(
            id=checked(TrialId, facts["id"]),
            point=Point.from_json(facts["point"]),
            end=Outcome.of(facts["end"]) if facts["end"] else None,
            rounds=tuple(map(Round.of, facts["rounds"])),
            run=run or facts.get("run", ""),
        )


def _fields_of(record: type[Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `facts` that the dataclass `record` has a field for."""
    return {each.name: facts[each.name] for each in fields(record) if each.name in facts}


def _said(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return `facts` without those of LATER that say nothing, so that older records stay as they
    are."""
    return {name: value for name, value in facts.items() if value or name not in LATER}


def unlike(rounds: Iterable[Round]) -> str:
    """Return in what the machines differ that rounds which are compared were made on.

    Such as "device cpu AVX512, cuda NVIDIA A100; threads 1, 2"; empty where they are alike.
    """
    made = [r.made for r in rounds if r.made]
    lines = []
    for word in dict.fromkeys(chain.from_iterable(made)):
        values: dict[str, None] = {}
        for each in made:
            values |= dict.fromkeys(str(each.get(word, UNSAID)).split(BOTH))
        if len(values) > 1 and word != MIXED:
            lines.append(f"{word} {', '.join(values)}")
    return "; ".join(lines)


def machine_lines(rounds: Iterable[Round]) -> list[str]:
    """Return a line that says so where rounds which are compared were made on unlike machines."""
    words = unlike(rounds)
    return [f"Measured on unlike machines ({words}): they differ by that, too."] if words else []
