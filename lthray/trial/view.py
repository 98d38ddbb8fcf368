"""A round as a view: assembled from the measures of a rung, when it is asked for."""

from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from lthray.core import metrics
from lthray.core.record import BOTH, MIXED, Round
from lthray.core.store import DamagedStore, Item, Store
from lthray.measure import loss


def assemble(store: Store, place: Mapping[str, Any]) -> Round | None:
    """Return the round that `place`, an entry of Point.rounds, says how to assemble; None while it
    is not all stored.

    Raises DamagedStore where what is stored there are no measures.
    """
    try:
        return _assemble(store, place)
    except (KeyError, TypeError, AttributeError, SafetensorError) as error:
        fault = f"not what lthray writes ({type(error).__name__}: {error})"
        raise DamagedStore(f"round {place['key'][:16]}: {fault}") from None


def _assemble(store: Store, place: Mapping[str, Any]) -> Round | None:
    """Return the round that `place` says how to assemble; None while it is not all stored."""
    items: dict[str, Item] = {}
    for name, key in place["measures"].items():
        item = store.find(key)
        if item is None:
            return None
        items[name] = item
    found: dict[str, float] = {}
    for item in items.values():
        found.update(item.facts["metrics"])
    found.update(place["metrics"])
    seconds = _seconds(items)
    found[metrics.TRAIN_SECONDS.name] = seconds["train"]
    found[metrics.MEASURE_SECONDS.name] = seconds["along"] + seconds["measure"]
    return Round(
        index=place["index"],
        density=place["density"],
        metrics=found,
        curve=loss.curve(items["curve"].facts["curve"]),
        densities=items["size"].facts["densities"],
        seconds=seconds,
        keys={"round": place["key"], "mask": place["mask"], "weights": place["weights"]},
        created=max(item.facts["created"] for item in items.values()),
        made={**_made(items), **_mixed(items)},
        arrays=_arrays(items),
        files=_files(items),
    )


def _made(items: Mapping[str, Item]) -> dict[str, Any]:
    """Return what the measures of a round, and all that they come from, were made on.

    A word has one value, or several joined by `BOTH` where that differs.
    """
    made: dict[str, Any] = {}
    for item in (items["loss"], *items.values()):
        for each in (item.facts["made"], *item.facts.get("beside", ())):
            for word, value in each.items():
                known = made.setdefault(word, value)
                if str(value) not in str(known).split(BOTH):
                    made[word] = f"{known}{BOTH}{value}"
    return made


def _mixed(items: Mapping[str, Item]) -> dict[str, str]:
    """Return which kinds of other code had a part in a round, where that was allowed."""
    kinds = sorted({kind for item in items.values() for kind in item.facts.get("mixed", ())})
    return {MIXED: ", ".join(kinds)} if kinds else {}


def is_stored(store: Store, place: Mapping[str, Any]) -> bool:
    """Return whether all measures of a round have been stored, without reading them."""
    return all(map(store.parts, place["measures"].values()))


def _seconds(items: Mapping[str, Item]) -> dict[str, float]:
    """Return seconds of training, of measuring along it, and of measuring at its end."""
    curve = items["curve"].facts
    at_end = [item.facts["seconds"] for name, item in items.items() if name != "curve"]
    return {"train": curve["train"], "along": curve["seconds"], "measure": sum(at_end)}


def _arrays(items: Mapping[str, Item]) -> dict[str, Tensor]:
    arrays: dict[str, Tensor] = {}
    for item in items.values():
        arrays.update(item.tensors)
    return arrays


def _files(items: Mapping[str, Item]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for item in items.values():
        files |= item.files
    files.pop("tensors", None)
    return files
