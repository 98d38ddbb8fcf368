"""A round as a view: assembled from the measures of a rung, when it is asked for."""

from collections.abc import Iterator, Mapping
from typing import Any

from lthray.core import metrics
from lthray.core.record import Round
from lthray.core.store import Item, Store
from lthray.measure import loss


def assemble(store: Store, place: Mapping[str, Any]) -> Round | None:
    """Return the round that `place`, an entry of Point.rounds, says how to assemble; None while it
    is not all stored."""
    items: dict[str, Item] = {}
    for name, key in place["measures"].items():
        item = store.find(key)
        if item is None:
            return None
        items[name] = item
    found: dict[str, float] = {}
    for _, item in _in_order(items):
        found.update(item.facts["metrics"])
    found.update(place["metrics"])
    seconds = _seconds(items)
    found[metrics.TRAIN_SECONDS.name] = seconds["train"]
    found[metrics.MEASURE_SECONDS.name] = seconds["along"] + seconds["measure"]
    first = items["loss"].facts
    return Round(
        index=place["index"],
        density=place["density"],
        metrics=found,
        curve=loss.curve(items["curve"].facts["curve"]),
        densities=items["size"].facts["densities"],
        seconds=seconds,
        keys={"round": place["key"], "mask": place["mask"], "weights": place["weights"]},
        created=max(item.facts["created"] for item in items.values()),
        made=first["made"],
        arrays={
            name: tensor for _, item in _in_order(items) for name, tensor in item.tensors.items()
        },
        files=_files(items),
    )


def is_stored(store: Store, place: Mapping[str, Any]) -> bool:
    """Return whether all measures of a round have been stored, without reading them."""
    return all(store.parts(key) for key in place["measures"].values())


def _in_order(items: Mapping[str, Item]) -> Iterator[tuple[str, Item]]:
    yield from items.items()


def _seconds(items: Mapping[str, Item]) -> dict[str, float]:
    """Return seconds of training, of measuring along it, and of measuring at its end."""
    curve = items["curve"].facts
    at_end = [item.facts["seconds"] for name, item in items.items() if name != "curve"]
    return {"train": curve["train"], "along": curve["seconds"], "measure": sum(at_end)}


def _files(items: Mapping[str, Item]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for item in items.values():
        for name, content in item.files.items():
            if name != "tensors":
                files[name] = content
    return files
