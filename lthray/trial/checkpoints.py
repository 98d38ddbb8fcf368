"""Training states in the store: a run's state at step s is part `anchor-s`, `step-s` or `final` of the run's key.

Anchors stay. States on the way go when a later one is stored, moments when the run is complete: what is left of a run is
its last weights and average.
"""

import re
from collections.abc import Sequence
from typing import Any

from lthray.core.store import Item, Store
from lthray.core.ticket import Mask, Weights
from lthray.trial.plan import Run
from lthray.trial.training import State

STATE = re.compile(r"(?:anchor|step)-(\d{8})")
Curve = list[list[float]]  # points (step, sum of training losses, their number, seconds, held-out loss, ...)


def load(store: Store, run: Run, step: int) -> State | None:
    """The stored state of a run at a step."""
    names = ["final"] if step == run.end else [f"anchor-{step:08d}", f"step-{step:08d}"]
    return next((_decoded(item) for name in names if (item := store.find(run.key, name))), None)


def nearest(store: Store, run: Run, target: int, curve: str, points: Sequence[int]) -> tuple[State, Curve] | None:
    """The latest stored state before `target` with the curve up to it; None where only the start will do.

    A state that was stored while another curve (or none) was measured counts only before the first of `points`.
    """
    found = {int(match[1]): part for part in store.parts(run.key) if (match := STATE.fullmatch(part))}
    for step in sorted((step for step in found if step < target), reverse=True):
        item = store.find(run.key, found[step])
        known = item.facts["curves"].get(curve) if item else None
        if item and (known is not None or not any(point <= step for point in points)):
            return _decoded(item), list(known or [])
    return None


def save(store: Store, run: Run, live: State, curves: dict[str, Curve], made: dict[str, Any]) -> None:
    """Commit a live state, then drop the states on the way that it makes needless."""
    old = [part for part in store.parts(run.key) if part.startswith("step-")]
    final = live.step == run.end
    part = "final" if final else f"{'anchor' if live.step in run.anchors else 'step'}-{live.step:08d}"
    groups = {"weights": live.weights, "average": live.average, "moments": {} if final else live.moments}
    groups["mask"] = dict(live.mask or {})
    tensors = {f"{group}/{name}": t for group, named in groups.items() for name, t in named.items()}
    counts: dict[str, Any] = {"step": live.step, "age": live.age, "loss_sum": live.loss_sum, "losses": live.losses}
    if live.mask is not None:
        counts["layers"] = list(live.mask)  # in forward order, which a file of tensors does not keep
    store.put(run.key, part, facts={**counts, "seconds": live.seconds, "curves": curves, "made": made}, tensors=tensors)
    for part in old:
        store.drop(run.key, part)


def load_curve(store: Store, run: Run, curve: str) -> Curve | None:
    """The whole curve along a run, where it has been measured."""
    item = store.find(run.key, f"curve-{curve[:16]}")
    return item.facts["curve"] if item else None


def save_curve(store: Store, run: Run, curve: str, points: Curve) -> None:
    """Keep the whole curve along a run."""
    store.put(run.key, f"curve-{curve[:16]}", facts={"curve": points})


def _decoded(item: Item) -> State:
    groups: dict[str, Weights] = {"weights": {}, "average": {}, "moments": {}, "mask": {}}
    for key, tensor in item.tensors.items():
        group, name = key.split("/", 1)
        groups[group][name] = tensor
    f, bits = item.facts, groups.pop("mask")
    mask = Mask({name: bits[name] for name in f["layers"]}) if bits else None
    return State(f["step"], f["age"], **groups, seconds=f["seconds"], loss_sum=f["loss_sum"], losses=f["losses"], mask=mask)
