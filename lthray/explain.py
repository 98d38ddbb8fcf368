"""Explain what is stored: what a step is, from what, when and by which code, and where it is used.

For two trials: the first step in which they part, and the words that make the difference.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from lthray.config.trial import TrialConfig
from lthray.core.store import Store
from lthray.study.ledger import Entry, Ledger
from lthray.study.named import SHORT, the_one, trial_named
from lthray.trial.code import changed
from lthray.trial.recipe import trajectory
from lthray.trial.steps import Step, parting
from lthray.trial.trajectory import Trajectory


def explain(store: Store, names: Sequence[str]) -> list[str]:
    """Return lines that explain one object or trial of a store, or where two trials part.

    A name is the beginning of a store key, or of a trial's id (CALL-NUMBER). Raises ConfigError for
    a name that nothing has.
    """
    if len(names) == 2:
        one, other = (trial_named(store, name)[1] for name in names)
        return list(_parted(one, other))
    (name,) = names
    if "-" in name:
        return list(_trial_lines(trial_named(store, name)[1]))
    return list(_object_lines(store, _key(store, name)))


def _key(store: Store, start: str) -> str:
    keys = {key[:SHORT]: key for key, _ in store if key.startswith(start or "-")}
    return the_one(start, keys, "object of the store has a key")


def _object_lines(store: Store, key: str) -> Iterator[str]:
    """Yield lines about an object: what it is, from what, when, by which code, where it is used."""
    for part in store.parts(key):
        facts = store.facts(key, part)
        if facts is None:
            continue
        yield f"{key[:SHORT]} {part}"
        if "what" in facts:
            yield from _step_lines(facts["what"], "  ")
            yield f"  made {_moment(facts)}, {_made(facts)}"
            yield from _code_lines(facts)
    yield from _uses(store, key)


def _step_lines(step: Mapping[str, Any], indent: str) -> Iterator[str]:
    yield f"{indent}{step['kind']} {step['key'][:SHORT]}"
    for word, value in step.get("spec", {}).items():
        yield f"{indent}  {word} = {json.dumps(value)}"
    for parent in step.get("parents", ()):
        yield from _step_lines(parent, f"{indent}    from ")


def _code_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    digests = [f"{kind} {digest}" for kind, digest in facts["code"].items()]
    yield f"  by code {', '.join(digests)}"
    kinds = sorted(changed(facts))
    if kinds:
        yield f"  which is not this code: {', '.join(kinds)}"


def _moment(facts: Mapping[str, Any]) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(facts.get("created", 0)))


def _made(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{word} {value}" for word, value in facts.get("made", {}).items())


def _uses(store: Store, key: str) -> Iterator[str]:
    """Yield the trials that name an object; where none does, those of what was made from it."""
    direct = list(_users(store, {key}))
    yield from direct or _users(store, _made_from(store, key))


def _users(store: Store, keys: Set[str]) -> Iterator[str]:
    """Yield the trials that name one of several objects."""
    for ledger in Ledger.all(store):
        study = ledger.about["study"]
        for entry in ledger:
            if not keys.isdisjoint(_keys_of(entry)):
                trial = f"{ledger.key[:SHORT]}-{entry.number:04d}"
                yield f"  used by {study}, trial {trial}: {entry.point.name}"


def _keys_of(entry: Entry) -> set[str]:
    """Return the keys that a trial names: its runs, and what each of its rounds shows."""
    keys = {*entry.point.runs}
    for place in entry.point.rounds:
        keys |= {place["mask"], place["weights"], *place["measures"].values()}
    return keys


def _made_from(store: Store, key: str) -> set[str]:
    """Return the keys of all objects made from one, with no other stored object between."""
    return {other for other, part in store if key in _lineage(_what(store, other, part))}


def _what(store: Store, key: str, part: str) -> Mapping[str, Any]:
    """Return the step that made a stored part of an object; empty where none is told."""
    facts = store.facts(key, part) or {}
    what: Mapping[str, Any] = facts.get("what", {})
    return what


def _lineage(step: Mapping[str, Any]) -> Iterator[str]:
    """Yield the key of a step, and of all that it comes from."""
    yield step.get("key", "")
    for parent in step.get("parents", ()):
        yield from _lineage(parent)


def _trial_lines(entry: Entry) -> Iterator[str]:
    """Yield lines about a trial: its words, and the keys of each round."""
    point = entry.point
    yield f"{point.name} ({point.phase}), key {point.trial[:SHORT]}"
    for word, value in point.config.items():
        yield f"  {word} = {json.dumps(value)}"
    for place in point.rounds:
        yield f"round {place['index']}, density {place['density']:g}"
        yield f"  mask {place['mask'][:SHORT] or 'whole'}, weights {place['weights'][:SHORT]}"
        for name, key in place["measures"].items():
            yield f"  {name} {key[:SHORT]}"


def _parted(one: Entry, other: Entry) -> Iterator[str]:
    """Yield the first step in which two trials part, and the words that differ in it."""
    trials = list(map(_trajectory, (one, other)))
    for rung, theirs in zip(trials[0].rungs, trials[1].rungs, strict=False):
        shared = sorted(rung.measures.keys() & theirs.measures.keys())
        measures = [(rung.measures[name], theirs.measures[name]) for name in shared]
        made = [(rung.mask, theirs.mask), (rung.shown, theirs.shown)]
        for mine, other_step in (*made, *measures):
            pair = parting(mine, other_step)
            if pair is not None:
                yield f"{one.point.name}  and  {other.point.name}  part in round {rung.index}:"
                yield from _difference(*pair)
                return
    yield f"{one.point.name}  and  {other.point.name}  share all steps that both have"


def _trajectory(entry: Entry) -> Trajectory:
    words = {**entry.point.config, **entry.point.places}
    return trajectory(TrialConfig.from_flat(words))


def _difference(mine: Step, theirs: Step) -> Iterator[str]:
    if mine.kind != theirs.kind:
        yield f"  one is a {mine.kind} step, the other a {theirs.kind} step"
        return
    yield f"  {mine.kind} {mine.key[:SHORT]}  and  {mine.kind} {theirs.key[:SHORT]}"
    for word in dict.fromkeys([*mine.spec, *theirs.spec]):
        values = [step.spec.get(word, "the default") for step in (mine, theirs)]
        if values[0] != values[1]:
            yield f"  {word}: {values[0]}  and  {values[1]}"
    if mine.spec == theirs.spec:
        yield "  the content of what was given differs, or what it is made from"
