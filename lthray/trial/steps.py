"""A step: a thing that can be made, known by what it is and by what it is made from.

A trial is a graph of steps, and the graph is the only description of it. The key of a step is a
hash of its kind, the version of that kind, its spec and the keys of its parents. It never says who
made the thing, where a run was cut, or where a file lies. So trials that agree in some steps agree
in those keys, and find each other's work in the store.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lthray.core.keys import key_of

# The version of a kind is raised when its numbers change.
VERSIONS = {
    "init": 1,
    "train": 2,
    "prune": 2,
    "rewind": 1,
    "control": 2,
    "stretch": 1,
    "align": 1,
    "lend": 1,
    "choose": 1,
    "latents": 1,
    "trial": 1,
    "sample": 2,
    "judge": 1,
    "deep": 1,
    "curve": 1,
    "measure": 3,
    "ticket": 1,
    "round": 1,
}

STORED = ("latents", "prune", "align", "train", "curve", "sample", "measure", "ticket")
"""Kinds that the store keeps; the others are made anew wherever they are needed."""


@dataclass(frozen=True, eq=False)
class Step:
    """A thing that can be made: its kind, what it is, and what it is made from."""

    kind: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    """All that the maker may read: words of the config that are not at their default, and what is
    particular to the step, such as a seed. JSON; part of the key."""
    parents: tuple["Step", ...] = ()
    """Steps that it is made from, whose keys are part of the key."""
    implied: Mapping[str, Any] = field(default_factory=dict)
    """Further steps and facts that spec and parents already determine, said once more for the
    maker; not part of the key. Steps of one key have the same implied steps and facts, but for the
    places of files."""
    content: str | None = None
    """Key of a thing that is given and not made: a digest of its content; None for what is made."""

    @cached_property
    def key(self) -> str:
        """Hash of what the step is and of the keys of what it is made from."""
        if self.content is not None:
            return self.content
        parents = [parent.key for parent in self.parents]
        return key_of(self.kind, VERSIONS[self.kind], self.spec, *parents)

    @property
    def needs(self) -> tuple["Step", ...]:
        """All steps that the maker may ask for: the parents, then the implied ones."""
        further = [value for value in self.implied.values() if isinstance(value, Step)]
        return (*self.parents, *further)

    @property
    def span(self) -> tuple[int, int]:
        """First and last step of the schedule of a training run."""
        start, end = self.spec["span"]
        return start, end

    @property
    def length(self) -> int:
        """Optimizer steps of a training run."""
        start, end = self.span
        return end - start


def walk(wanted: Iterable[Step]) -> Iterator[Step]:
    """Yield every step that `wanted` come from and these themselves, each once, parents first."""
    seen: set[tuple[str, str]] = set()
    stack = [(step, False) for step in reversed(list(wanted))]
    while stack:
        step, expanded = stack.pop()
        name = (step.kind, step.key)
        if expanded:
            yield step
        elif name not in seen:
            seen.add(name)
            stack.append((step, True))
            stack.extend((need, False) for need in reversed(step.needs))


def runs_of(wanted: Iterable[Step]) -> dict[str, Step]:
    """Return every training run that `wanted` come from, by key, in the order in which they must be
    trained."""
    return {step.key: step for step in walk(wanted) if step.kind == "train"}


def lineage(step: Step) -> Iterator[Step]:
    """Yield the training runs that the weights and the mask of `step` come from, each once, parents
    first.

    The runs that made data (an autoencoder) or that only judge are no part of it. Nor is a run of
    which nothing is used, such as the one before a mask that is drawn, or cut from new weights.
    """
    seen: dict[str, Step] = {}
    _trace(step, seen)
    yield from (found for found in seen.values() if found.kind == "train")


def _trace(step: Step, seen: dict[str, Step]) -> None:
    name = f"{step.kind} {step.key}"
    if name in seen:
        return
    for origin in _origins(step):
        _trace(origin, seen)
    seen[name] = step


def _origins(step: Step) -> Iterator[Step]:
    """Yield the steps that the weights and the mask of a step are taken from."""
    if step.kind == "train":
        yield step.parents[0]
    elif step.kind == "rewind" and step.spec.get("at") == 0:
        source, mask = step.parents
        yield from (source.parents[0], mask)
    elif step.kind == "prune" and "scored" in step.implied:
        yield from step.implied["scored"]
        yield step.parents[1]
    else:
        yield from step.parents


def history(step: Step) -> int:
    """Return the number of optimizer steps behind the last weights of `step`.

    It is more than the dense run's where a rule goes on from trained weights.
    """
    if step.kind == "train":
        return history(step.parents[0]) + step.length
    if step.kind in ("control", "choose"):
        return history(step.parents[0])
    if step.kind == "lend":
        return history(step.parents[step.spec["takes"] == "weights"])
    if step.kind != "rewind":
        return 0
    source = step.parents[0]
    if step.spec["from"] == "trained":
        return history(source)
    if step.spec["from"] == "anchor":
        return history(source) - (source.span[1] - step.spec["at"])
    return step.implied.get("history", 0)


def ready(
    wanted: Iterable[Step], stored: Callable[[Step], bool], kept: Iterable[str]
) -> list[Step]:
    """Return the steps that could be made now, side by side: not stored, while all they need is.

    Only steps of the kinds `kept` are ever stored; what lies between them is made on the way.
    """
    kinds = set(kept)
    available: dict[tuple[str, str], bool] = {}
    found = []
    for step in walk(wanted):
        supplied = all(available[need.kind, need.key] for need in step.needs)
        if step.kind not in kinds:
            available[step.kind, step.key] = supplied
            continue
        done = stored(step)
        available[step.kind, step.key] = done
        if supplied and not done:
            found.append(step)
    return found


def marks(start: int, end: int, points: int) -> tuple[int, ...]:
    """Return the steps that end `points` equal parts of a run from `start` to `end`."""
    ends = {start + -(-(end - start) * part // points) for part in range(1, points + 1)}
    return tuple(sorted(ends))


def alike(step: Step) -> str:
    """Return what two training runs must share to be trained in one program.

    They may differ in the weights they begin from, in the mask and in the stream of batches and
    noise.
    """
    shared = {word: value for word, value in step.spec.items() if word != "stream"}
    return key_of("alike", 1, shared, step.parents[1].key)


def describe(step: Step, kept: Iterable[str]) -> dict[str, Any]:
    """Return a step as JSON for a record: kind, version, key, spec and parents.

    A parent that is stored itself, or given, is named by its kind and key alone.
    """
    kinds = set(kept)
    parents = []
    for parent in step.parents:
        named = {"kind": parent.kind, "key": parent.key}
        is_named = parent.kind in kinds or parent.content is not None
        parents.append(named if is_named else describe(parent, kinds))
    facts = {"kind": step.kind, "version": VERSIONS[step.kind], "key": step.key}
    return {**facts, "spec": dict(step.spec), "parents": parents}


def parting(one: Step, other: Step) -> tuple[Step, Step] | None:
    """Return the earliest pair of steps, one of each lineage, in which two steps differ; None where
    they are equal.

    It goes down both graphs side by side as long as a parent differs.
    """
    if one.kind == other.kind and one.key == other.key:
        return None
    if one.kind == other.kind and len(one.parents) == len(other.parents):
        for mine, theirs in zip(one.parents, other.parents, strict=True):
            earlier = parting(mine, theirs)
            if earlier is not None:
                return earlier
    return one, other
