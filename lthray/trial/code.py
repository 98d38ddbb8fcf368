"""The code that makes numbers: a digest of it for each kind of step, and what is done where stored
objects have another.

The digest is of the syntax trees of a kind's modules without docstrings and comments, so that a
word of English changes nothing.
"""

import ast
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lthray.trial.makers import KINDS

ROOT = Path(__file__).parent.parent


class CodeChanged(RuntimeError):
    """Stored objects were made by other code than this."""


@cache
def digest(kind: str) -> str:
    """Return the digest of the code that makes steps of a kind."""
    text = "\n".join(sorted(_digest_of(module) for module in KINDS[kind].modules))
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
    is_constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_constant and isinstance(node.value.value, str)  # type: ignore[attr-defined]


def digests() -> dict[str, str]:
    """Return kind -> digest of the code that makes it, for every kind that is kept."""
    return {kind: digest(kind) for kind, row in KINDS.items() if row.modules}


def check(recorded: Mapping[str, str | None]) -> None:
    """Raise CodeChanged where objects of some kinds are recorded with other digests than those of
    this code."""
    changed = [kind for kind, made_by in recorded.items() if made_by != digest(kind)]
    if changed:
        names = ", ".join(sorted(changed))
        raise CodeChanged(
            f"stored results of kind {names} were made by other code; use another --out, or --allow-code-change to go on"
        )
