"""Imports go strictly down; each outside library has its home; nothing unpickles; functions stay small."""

import ast
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    0: ["flat", "ticket", "store", "options", "seeds"],
    1: ["config", "statistics", "similarity", "coupling", "imported", "pretrained", "task.classifiers"],
    2: [
        "task.channels",
        "task.data",
        "task.models",
        "task.objectives",
        "prune.criteria",
        "prune.budgets",
        "prune.units",
        "prune.regimes",
        "prune.rewinds",
        "prune.elastic",
    ]
    + ["prune.controls", "origin", "evidence", "names", "arms", "ledger", "space", "charts", "presets"],
    3: [
        "training",
        "measure.loss",
        "measure.quality",
        "measure.cost",
        "measure.anatomy",
        "plan",
        "call",
        "results",
        "reports",
        "verdicts",
    ],
    4: ["setting", "states", "desk", "console", "recording", "pages"],
    5: ["trajectory", "refusals", "recorded"],
    6: ["study"],
    7: ["cli"],
    8: ["__main__"],
}
FLOOR = {module: floor for floor, modules in FLOORS.items() for module in modules}
HOMES = {
    "ray": {"study"},
    "mlflow": {"recording"},
    "diffusers": {"task.models", "task.objectives"},
    "torch_fidelity": {"measure.quality"},
    "torch_pruning": {"task.channels"},
    "torchvision": {"task.data", "measure.quality"},
    "sklearn": {"task.data"},
    "huggingface_hub": {"pretrained"},
    "optuna": {"space", "study"},
    "rich": {"console"},
    "fcntl": {"store"},
}
BANNED_IMPORTS = {"pickle", "joblib", "shelve", "dill", "cloudpickle", "marshal"}
BANNED_CALLS = {
    "torch.load",
    "torch.save",
    "eval",
    "exec",
    "compile",
    "yaml.load",
    "np.load",
    "numpy.load",
    "torch.manual_seed",
}


def trees(folder: str) -> dict[str, ast.Module]:
    """Module name -> syntax tree."""
    files = sorted((ROOT / folder).rglob("*.py"))
    return {".".join(f.relative_to(ROOT / folder).with_suffix("").parts): ast.parse(f.read_text()) for f in files}


def imported(tree: ast.Module) -> set[str]:
    """Every module that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


PACKAGE = {name: tree for name, tree in trees("lthray").items() if not name.endswith("__init__")}


def inside(tree: ast.Module) -> set[str]:
    names = {name.removeprefix("lthray.") for name in imported(tree) if name.startswith("lthray.")}
    return {name for name in names if name in PACKAGE}


def test_every_module_has_a_floor():
    assert set(PACKAGE) == set(FLOOR)
    assert not any(module.split(".")[-1] in ("utils", "helpers", "common") for module in PACKAGE)


@pytest.mark.parametrize("module", PACKAGE)
def test_imports_go_strictly_down(module):
    for other in inside(PACKAGE[module]):
        assert FLOOR[other] < FLOOR[module], f"{module} imports {other}"


def test_task_and_prune_do_not_know_each_other():
    for module, tree in PACKAGE.items():
        room, others = module.split(".")[0], {name.split(".")[0] for name in inside(tree)}
        assert not (room == "prune" and "task" in others)
        assert not (room == "task" and "prune" in others)


def test_the_drawing_in_the_readme_is_this_test():
    readme = (ROOT / "README.md").read_text()
    for module in PACKAGE:
        assert module.split(".")[-1] in readme, f"{module} is not in the README's picture of the house"


@pytest.mark.parametrize("library", HOMES)
def test_each_library_is_imported_in_its_home_only(library):
    users = {m for m, tree in PACKAGE.items() if any(n.split(".")[0] == library for n in imported(tree) if n)}
    assert users == HOMES[library]


def test_analyses_never_know_ray():
    for name, tree in trees("analysis").items():
        assert not {"ray", "lthray.study.ray_runner"} & imported(tree), name


@pytest.mark.parametrize("folder", ["lthray", "studies", "analysis"])
def test_nothing_pickles_evaluates_or_seeds_the_world(folder):
    for name, tree in trees(folder).items():
        assert not BANNED_IMPORTS & {n.split(".")[0] for n in imported(tree)}, name
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in BANNED_CALLS:
                inside_fork = name == "task.models" and ast.unparse(node.func) == "torch.manual_seed"
                assert inside_fork, f"{name}:{node.lineno} calls {ast.unparse(node.func)}"


def test_functions_and_files_stay_small():
    sizes = defaultdict(list)
    for name, tree in PACKAGE.items():
        assert ast.get_docstring(tree), f"{name} has no docstring"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                sizes[name].append((node.end_lineno or 0) - node.lineno + 1)
                given = node.args.args + node.args.kwonlyargs
                assert len([a for a in given if a.arg not in ("self", "cls")]) <= 7, f"{name}.{node.name} takes too much"
    every = [size for found in sizes.values() for size in found]
    assert max(every) <= 60
    assert statistics.quantiles(every, n=10)[8] <= 30
    assert statistics.median(every) <= 10


def test_cycles_are_impossible_because_floors_are():
    for module, tree in PACKAGE.items():
        for other in inside(tree):
            assert module not in inside(PACKAGE[other]), f"{module} and {other} import each other"
