"""A round as it is assembled from what the store holds."""

from collections.abc import Mapping
from typing import Any

from lthray.core.record import Round
from lthray.core.store import Store


def assemble(store: Store, place: Mapping[str, Any]) -> Round | None:
    """Return the round that `place`, an entry of Point.rounds, says how to assemble; None while it is not all stored."""
    item = store.find(place["key"])
    if item is None:
        return None
    arrays = dict(item.tensors)
    curve = arrays.pop("curve").tolist()
    files = {name: data for name, data in item.files.items() if name != "tensors"}
    known = {name: item.facts[name] for name in Round.__dataclass_fields__ if name in item.facts}
    return Round(**known, curve=curve, arrays=arrays, files=files)
