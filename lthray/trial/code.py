"""The code that makes numbers: a digest of it for each kind of step, recorded with every object.

The digest is of the syntax trees of a kind's modules without docstrings and comments, so that a
word of English changes nothing. An object of other code is not mixed in silently.
"""

import ast
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lthray.core.record import Point
from lthray.core.store import CodeChanged, Store
from lthray.trial.checkpoints import FINAL
from lthray.trial.makers import KINDS, STORED
from lthray.trial.steps import Step, walk

ROOT = Path(__file__).parent.parent
OLDER = "of an older lthray"
"""Kind of an object that does not say by which code it was made."""


@cache
def digest(kind: str) -> str:
    """Return the digest of the code that makes steps of `kind`, 16 hex digits."""
    text = "\n".join(_digest_of(module) for module in sorted(KINDS[kind].modules))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _digest_of(module: str) -> str:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            statements = [part for part in body if not _is_text(part)]
            node.body = statements or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(f"{module} {ast.dump(tree)}".encode()).hexdigest()


def _is_text(node: ast.AST) -> bool:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)


def digests_of(step: Step) -> dict[str, str]:
    """Return kind -> digest of its code, for `step` and for all stored steps that it comes from."""
    kinds = {need.kind for need in walk([step]) if need.kind in STORED}
    return {kind: digest(kind) for kind in sorted(kinds)}


def changed(facts: Mapping[str, Any]) -> set[str]:
    """Return the kinds of steps behind an object, of recorded `facts`, that other code has made."""
    recorded = facts.get("code")
    if not isinstance(recorded, dict):
        return {OLDER}
    kinds = set(facts.get("mixed", ()))
    for kind, made_by in recorded.items():
        if kind not in KINDS or made_by != digest(kind):
            kinds.add(kind)
    return kinds


def refuse(kinds: Iterable[str]) -> None:
    """Raise CodeChanged, which names `kinds`, unless there are none."""
    names = sorted(set(kinds))
    if names:
        raise CodeChanged(
            f"stored results were made by other code ({', '.join(names)}): "
            "choose another --out, or go on all the same with --allow-code-change"
        )


def check_steps(store: Store, wanted: Iterable[Step]) -> None:
    """Raise CodeChanged where a stored step that `wanted` come from was made by other code."""
    kept = [step for step in walk(wanted) if step.kind in STORED]
    parts = {"train": FINAL}
    refuse(_changed_of(store, ((step.key, parts.get(step.kind, "whole")) for step in kept)))


def check_points(store: Store, points: Iterable[Point]) -> None:
    """Raise CodeChanged where a stored measure of a trial was made by other code."""
    keys: list[tuple[str, str]] = []
    for point in points:
        for place in point.rounds:
            measures = place.get("measures", {"round": place.get("key", "")})
            keys.extend((key, "whole") for key in measures.values() if key)
    refuse(_changed_of(store, keys))


def _changed_of(store: Store, objects: Iterable[tuple[str, str]]) -> set[str]:
    kinds: set[str] = set()
    for key, part in dict.fromkeys(objects):
        facts = store.facts(key, part)
        if facts is not None:
            kinds |= changed(facts)
    return kinds
