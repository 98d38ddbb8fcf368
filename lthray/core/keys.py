"""Keys: what a thing is, as one text and as a hash of it; and JSON read with distrust."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

KEY = re.compile(r"[0-9a-f]{64}")
DIGITS = 18  # of an integer in JSON, at most: what fits into 64 bits


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted names, no spaces; ValueError for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(kind: str, version: int, spec: Any, *parents: str) -> str:
    """Return the key of a step: a hash of its kind, version, spec and the keys of its parents."""
    return hashlib.sha256(canonical([kind, version, spec, parents]).encode()).hexdigest()


def parsed(data: bytes | str) -> Any:
    """Return the value of a JSON text from a file that may be damaged or hostile.

    Raises ValueError for what is no JSON, and for what JSON allows and no record has: numbers that
    are not finite, integers of more than 18 digits, a name given twice, nesting without end.
    """
    try:
        return json.loads(
            data,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_integer,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise ValueError("nested too deep") from None


def _unique(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    """Return a JSON object as a dict; ValueError where it names something twice."""
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError("duplicate names")
    return named


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is not a finite number")
    return number


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)
