"""The docs agree with the code: modules, imports, links, paths, terms; sentences are short."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import lthray

from .diffs import blocks

ROOT = Path(__file__).parent.parent
BESIDE = [ROOT / f"{name}.md" for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY")]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *BESIDE]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
PACKAGE = [path for path in sorted((ROOT / "lthray").rglob("*.py")) if path.stem != "__init__"]
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PACKAGE]
LOWER = ("findings.evidence", "findings.rounds", "findings.stats")
"""Modules that the drawing shows apart from their wing."""
LONGEST = 35  # words of a sentence
GLOSSARY = ROOT / "docs" / "concepts.md"


def text_of(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


# modules and imports


def test_every_module_is_in_the_reference():
    pages = sorted((ROOT / "docs" / "reference").glob("*.md"))
    named = Counter(re.findall(r"^::: (\S+)$", "\n".join(page.read_text() for page in pages), re.M))
    assert len(MODULES) > 90
    missing, gone = set(MODULES) - set(named), set(named) - set(MODULES)
    assert (missing, gone) == (set(), set())
    assert set(named.values()) == {1}


def place_of(module: str) -> str:
    """Return the name in the drawing of a module such as trial.steps."""
    return module if module in LOWER else module.split(".")[0]


def imported(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names & set(MODULES)


def test_the_drawing_of_the_wings_is_what_they_import():
    drawings = blocks((ROOT / "docs" / "architecture.md").read_text(), "text")
    (drawing,) = [each for each in drawings if each.startswith("wing ")]
    drawn: dict[str, set[str]] = {}
    for line in drawing.splitlines()[1:]:
        wing, *others = line.split()
        drawn[wing] = set(others) - {"-"}
    imports: dict[str, set[str]] = {wing: set() for wing in drawn}
    for path, module in zip(PACKAGE, MODULES, strict=True):
        place = place_of(module.removeprefix("lthray."))
        others = {place_of(other.removeprefix("lthray.")) for other in imported(path)}
        imports[place] |= others - {place}
    assert drawn["findings"] >= {"findings.evidence"}
    assert drawn == imports
    order = list(drawn)
    assert len(order) > 10
    for wing, others in drawn.items():
        for other in others:
            assert order.index(other) > order.index(wing), f"{wing} is drawn below {other}"


# links, paths, words


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", text_of(page)):
        assert target.startswith("https://") or (page.parent / target).is_file(), target


PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|json|yaml|lock)|[\w-]+\.yaml)`")
DOTTED = re.compile(r"\blthray(?:\.[a-z_]+)+\b")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_paths_and_modules_that_are_named_exist(page):
    for name in PATH.findall(text_of(page)):
        assert (ROOT / name).is_file(), name
    tags = {"lthray.trial", "lthray.recorded"}  # of MLflow, and packages
    for name in set(DOTTED.findall(page.read_text())) - tags:
        path, of_package = ROOT.joinpath(*name.split(".")), name.count(".") == 1
        is_there = path.is_dir() or path.with_suffix(".py").is_file()
        assert is_there or (of_package and hasattr(lthray, path.name)), name


def test_the_pages_name_paths():
    named = {name for page in PAGES for name in PATH.findall(text_of(page))}
    assert len(named) > 40


def test_the_navigation_has_every_page():
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = {name.removeprefix("docs/") for name in NAMES if name.startswith("docs/")}
    assert set(re.findall(r"([\w/.]+\.md)$", navigation, re.M)) == pages


def test_every_promise_of_security_names_a_test_that_exists():
    page = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", page)
    assert len(named) > 25
    for path, name in named:
        nodes = ast.walk(ast.parse((ROOT / path).read_text()))
        assert name in {node.name for node in nodes if isinstance(node, ast.FunctionDef)}, name
    assert len(re.findall(r"^\| [A-Z].*\|$", page, re.M)) == len(named)


FAULTS = [f"F{number:02d}" for number in range(1, 53)]
INPUTS = [*(f"B{number:02d}" for number in range(1, 51)), "B39b"]


def test_every_fault_and_input_has_a_promise_a_test_that_exists_and_a_way_to_see_it():
    """Each number of the two lists is a row, or is said not to apply and why."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    tables, _, needless = page.partition("## What does not apply")
    left_out = re.findall(r"^\* ([FB]\d\d), .+: .+\.$", needless, re.M)
    rows: dict[str, list[str]] = {}
    for line in re.findall(r"^\| [FB]\d.*\|$", tables, re.M):
        number, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        assert number not in rows, number
        rows[number] = cells
    assert sorted([*rows, *left_out]) == sorted([*FAULTS, *INPUTS])
    assert len(rows.keys() & {*FAULTS}) >= 46
    assert len(rows.keys() & {*INPUTS}) >= 50
    for number, cells in rows.items():
        what, promise, tests, way = cells
        assert what
        assert promise
        assert "`" in way or way.startswith(("as ", "run the test")), number
        named = re.findall(r"`(tests/\w+\.py)::(\w+)`", tests)
        assert named, number
        for path, name in named:
            nodes = ast.walk(ast.parse((ROOT / path).read_text()))
            assert name in {node.name for node in nodes if isinstance(node, ast.FunctionDef)}, name


# terms and sentences


def test_each_term_is_defined_once_and_bold_is_for_terms():
    _, glossary = GLOSSARY.read_text().split("## Glossary")
    defined = Counter(term.lower() for term in re.findall(r"^\*\*(.+?)\*\*: ", glossary, re.M))
    assert len(defined) >= 25
    assert set(defined.values()) == {1}
    for page in PAGES:
        for term in re.findall(r"\*\*(.+?)\*\*", text_of(page)):
            assert term.lower() in defined, f"{page.name}: {term}"


def sentences(text: str) -> list[str]:
    """Return the sentences of a page: its paragraphs and list items, without tables and heads."""
    kept = []
    for line in text.splitlines():
        if line.startswith(("|", "#", ":::", "> ", "<!--")):
            kept.append("")
        elif re.match(r"\s*([*-]|\d+\.) ", line):
            kept.append("\n\n" + line)
        else:
            kept.append(line)
    plain = re.sub(r"\]\([^)]*\)", "]", "\n".join(kept))
    found = []
    for paragraph in re.split(r"\n\s*\n", plain):
        found += re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split()))
    return found


WRITTEN = [page for page in PAGES if page.parent.name != "results"]  # the others are generated


@pytest.mark.parametrize("page", WRITTEN, ids=[page.name for page in WRITTEN])
def test_sentences_are_short(page):
    for sentence in sentences(text_of(page)):
        assert len(sentence.split()) <= LONGEST, sentence
