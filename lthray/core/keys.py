"""Keys: what a thing is, as one text and as a hash of it."""

import hashlib
import json
from typing import Any


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted names, no spaces; ValueError for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(kind: str, version: int, spec: Any, *parents: str) -> str:
    """Return the key of a step: a hash of its kind, version, spec and the keys of its parents."""
    return hashlib.sha256(canonical([kind, version, spec, parents]).encode()).hexdigest()
