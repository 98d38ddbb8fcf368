"""The code that makes numbers: a digest of it for each kind of step, recorded with every object.

The digest is of the syntax trees of a kind's modules without docstrings and comments, so that a
word of English changes nothing. An object of other code is not mixed in silently.
"""

import ast
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lthray.config import fields
from lthray.config.trial import TrialConfig
from lthray.core.record import Point
from lthray.core.store import CodeChanged, Store
from lthray.trial.checkpoints import FINAL
from lthray.trial.steps import STORED, Step, walk

ROOT = Path(__file__).parent.parent
OLDER = "of an older lthray"
"""Kind of an object that does not say by which code it was made."""

_TASK = (
    "core.layers",
    "core.random",
    "core.task",
    "task.arrays",
    "task.augment",
    "task.blocks",
    "task.brought",
    "task.classifiers",
    "task.data",
    "task.factories",
    "task.folders",
    "task.found",
    "task.inputs",
    "task.saved",
    "task.lists",
    "task.look",
    "task.networks",
    "task.objectives",
    "task.pictures",
    "task.resizing",
    "task.scrambling",
    "task.splits",
    "task.statistics",
)
_PRUNE = ("core.ticket", "prune.coupling", "prune.channels", "trial.state")
_CUT = (
    "trial.begins",
    "trial.cutting",
    "prune.budgets",
    "prune.criteria",
    "prune.responses",
    "prune.shares",
    "prune.units",
)
_BEGIN = ("prune.rewinds", "prune.controls", "prune.transfer")
_RUN = ("trial.training", "prune.regimes", *_TASK, *_PRUNE)
_LOSS = ("measure.loss", *_TASK, *_PRUNE)

MODULES: dict[str, tuple[str, ...]] = {
    "latents": ("prune.regimes", *_TASK, *_PRUNE),
    "prune": (*_CUT, "core.kernels", "prune.transfer", *_RUN),
    "align": (*_CUT, "core.kernels", "prune.matching", "prune.transfer", *_RUN),
    "train": ("trial.begins", *_BEGIN, *_RUN),
    "curve": ("trial.along", *_LOSS, *_RUN),
    "sample": ("task.samplers", "prune.regimes", *_TASK, *_PRUNE),
    "measure": (
        "prune.budgets",
        "prune.regimes",
        "measure.rows",
        "measure.table",
        "measure.anatomy",
        "measure.cost",
        "measure.deep",
        "measure.paired",
        "measure.probes",
        "measure.quality",
        "measure.robustness",
        "measure.stress",
        "findings.stats",
        "core.kernels",
        *_LOSS,
    ),
    "ticket": ("core.random", "core.ticket", "trial.state", "prune.coupling", "prune.regimes"),
}
"""Kind of a stored step -> modules of the package through which its numbers run."""

FAMILIES = {
    "measure.table": ("MEASURES", "measure"),
    "prune.budgets": ("BUDGETS", "prune.budget"),
    "prune.controls": ("MASKS", "mask"),
    "prune.criteria": ("CRITERIA", "prune.criterion"),
    "prune.regimes": ("REGIMES", "regime.name"),
    "prune.units": ("UNITS", "prune.unit"),
    "task.data": ("DATA_SETS", "data.name"),
    "task.networks": ("NETWORKS", "model.name"),
    "task.objectives": ("OBJECTIVES", "objective.name"),
    "task.samplers": ("SAMPLERS", "sampler"),
}
"""Module -> the table of a family in it, and the word of a spec that names a member.

What belongs to other members alone is no part of the code of a step: adding a member changes
nothing of what is stored.
"""
Members = Mapping[str, Sequence[str]]


def members_of(step: Step) -> dict[str, list[str]]:
    """Return module -> the members of its family that `step` and all that it comes from use."""
    specs = [need.spec for need in walk([step])]
    defaults = fields.defaults(TrialConfig)
    members = {}
    for module, (_, word) in FAMILIES.items():
        names = {str(spec[word]) for spec in specs if word in spec}
        if word in defaults:
            names.add(str(defaults[word]))  # a spec leaves out what is at its default
        members[module] = sorted(names)
    return members


def digest(kind: str, members: Members) -> str:
    """Return the digest of the code that makes steps of `kind` of these members, 16 hex digits."""
    digests = []
    for module in sorted(MODULES[kind]):
        digests.append(digest_of(module, tuple(members.get(module, ()))))
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


@cache
def digest_of(module: str, members: tuple[str, ...]) -> str:
    """Return the digest of a module's code, without what belongs to other members alone."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            statements = [part for part in body if not _is_text(part)]
            node.body = statements or [ast.Pass()]  # type: ignore[attr-defined]
    if module in FAMILIES:
        _leave_out(tree, FAMILIES[module][0], members)
    return hashlib.sha256(f"{module} {ast.dump(tree)}".encode()).hexdigest()


def _is_text(node: ast.AST) -> bool:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)


def _leave_out(tree: ast.Module, table: str, members: Sequence[str]) -> None:
    """Take from a module the rows of other members, and the definitions that only they use."""
    definitions = {_name_of(node): node for node in tree.body}
    rows = definitions[table].value  # type: ignore[attr-defined]
    others: set[str] = set()
    for key, value in list(zip(rows.keys, rows.values, strict=True)):
        if key.value not in members:
            rows.keys.remove(key)
            rows.values.remove(value)
            others |= _reached(_names_in(value), definitions)
    kept = {name for name in definitions if name not in others}
    used = set(kept)
    for name in kept:
        used |= _reached(_names_in(definitions[name]), definitions)
    tree.body = [node for node in tree.body if _name_of(node) in used]


def _name_of(node: ast.stmt) -> str:
    """Return the name that a statement defines; one of its own where it defines none."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.AnnAssign | ast.Assign):
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        return ast.unparse(target)
    return f"line {node.lineno}"


def _names_in(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _reached(names: set[str], definitions: Mapping[str, ast.stmt]) -> set[str]:
    """Return the definitions that `names` lead to, through others too."""
    reached: set[str] = set()
    open_names = [name for name in names if name in definitions]
    while open_names:
        name = open_names.pop()
        if name not in reached:
            reached.add(name)
            used = _names_in(definitions[name])
            open_names.extend(other for other in used if other in definitions)
    return reached


def record(step: Step) -> dict[str, Any]:
    """Return what is recorded of the code behind `step`: digests by kind, and the members used."""
    members = members_of(step)
    kinds = {need.kind for need in walk([step]) if need.kind in STORED}
    return {"code": {kind: digest(kind, members) for kind in sorted(kinds)}, "members": members}


def changed(facts: Mapping[str, Any]) -> set[str]:
    """Return the kinds of steps behind an object, of recorded `facts`, that other code has made."""
    recorded = facts.get("code")
    if not isinstance(recorded, dict):
        return {OLDER}
    current = {kind: digest(kind, facts["members"]) for kind in recorded.keys() & MODULES.keys()}
    changes = [kind for kind in recorded if recorded[kind] != current.get(kind)]
    return {*facts.get("mixed", ()), *changes}


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
