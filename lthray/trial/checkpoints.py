"""Training states in the store: the state of a run at a step is part `anchor-s`, `step-s` or
`final` of the run's key.

Anchors stay. A state on the way goes when a later one is stored, and optimizer moments go when the
run is complete: what is left of a run is its last weights, their average, and its anchors.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from lthray.core.store import Item, Store
from lthray.core.ticket import Mask, Weights
from lthray.trial.state import State
from lthray.trial.steps import Step

STATE = re.compile(r"(?:anchor|step)-(\d{8})")
FINAL = "final"
GROUPS = ("weights", "average", "moments", "mask", "buffers")
"""Groups of tensors that a stored state may have; a network without buffers has no such group."""
Check = Callable[[Item], None]
Curve = list[list[float]]
"""Points along a run: (step, sum of training losses, their number, seconds of measuring, held-out
loss, ...)."""


def load(store: Store, run: Step, step: int, check: Check) -> State | None:
    """Return the stored state of a training run at a step of its schedule, on the CPU; None where
    there is none.

    `check(item)` raises where an object must not be used.
    """
    parts = [FINAL] if step == run.span[1] else [f"anchor-{step:08d}", f"step-{step:08d}"]
    for part in parts:
        item = store.find(run.key, part)
        if item is not None:
            check(item)
            return decode(item)
    return None


def nearest(
    store: Store, run: Step, target: int, curve: str, points: Sequence[int], check: Check
) -> tuple[State, Curve] | None:
    """Return the latest stored state before `target` with the curve up to it; None where only the
    start will do.

    `curve` is the key of the curve that is to be measured along the run, at the steps `points`. A
    state that was stored while another curve, or none, was measured counts only before the first of
    `points`.
    """
    parts = {}
    for part in store.parts(run.key):
        match = STATE.fullmatch(part)
        if match and int(match[1]) < target:
            parts[int(match[1])] = part
    for step in sorted(parts, reverse=True):
        item = store.find(run.key, parts[step])
        if item is None:
            continue
        check(item)
        measured = item.facts["curves"].get(curve)
        if measured is not None or min(points, default=step + 1) > step:
            return decode(item), list(measured or [])
    return None


def save(
    store: Store,
    run: Step,
    live: State,
    *,
    anchors: Collection[int],
    facts: Mapping[str, Any],
) -> None:
    """Commit the live state of a run, then drop the states on the way that it makes needless.

    `anchors` are the steps whose states stay; `facts` go with the state: the curves so far, and
    what it was made with.
    """
    needless = [part for part in store.parts(run.key) if part.startswith("step-")]
    final = live.step == run.span[1]
    kind = "anchor" if live.step in anchors else "step"
    part = FINAL if final else f"{kind}-{live.step:08d}"
    groups = {
        "weights": live.weights,
        "average": live.average,
        "moments": {} if final else live.moments,
        "mask": dict(live.mask or {}),
        "buffers": live.buffers,
    }
    tensors = {}
    for group, named in groups.items():
        tensors.update({f"{group}/{name}": tensor for name, tensor in named.items()})
    counts: dict[str, Any] = {
        "step": live.step,
        "age": live.age,
        "loss_sum": live.loss_sum,
        "losses": live.losses,
        "seconds": live.seconds,
    }
    if live.mask is not None:
        counts["layers"] = list(
            live.mask
        )  # in forward order, which a file of tensors does not keep
    store.put(run.key, part, facts={**counts, **facts}, tensors=tensors)
    for old in needless:
        store.drop(run.key, old)


def decode(item: Item) -> State:
    """Return the state that a stored object holds."""
    groups: dict[str, Weights] = {name: {} for name in GROUPS}
    for key, tensor in item.tensors.items():
        group, name = key.split("/", 1)
        groups[group][name] = tensor
    bits = groups.pop("mask")
    facts = item.facts
    mask = Mask({name: bits[name] for name in facts["layers"]}) if bits else None
    return State(
        facts["step"],
        facts["age"],
        groups["weights"],
        groups["average"],
        groups["moments"],
        seconds=facts["seconds"],
        loss_sum=facts["loss_sum"],
        losses=facts["losses"],
        mask=mask,
        buffers=groups["buffers"],
    )
