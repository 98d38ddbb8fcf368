"""Designs: every word crossed with every other, whatever is given on the command line."""

import runpy
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lthray.config.fields import ConfigError
from lthray.study import design
from lthray.study.call import resolve
from lthray.study.design import MOST, associations, crossed, strongest
from lthray.study.page import Design
from lthray.study.space import Choice, Range

STUDIES = Path(__file__).parent.parent / "studies"
PAGES = {}
for path in sorted(STUDIES.glob("*.py")):
    page = runpy.run_path(str(path)).get("STUDY")
    if isinstance(page, Design):
        PAGES[path.stem] = page
ARM = ("control", "draw", "fork", "rungs", "measure.rounds")
RULES = {"rewind.rule": "random", "prune.criterion": "random"}
SPACE = {
    "a": Choice(("x", "y", "z")),
    "b": Choice(("p", "q")),
    "c": Choice(("s", "t"), when=("b", ("q",))),
    "f": Range(1.0, 100.0, log=True),
    "g": Range(-2.0, 2.0, when=("a", ("x", "y"))),
    "h": Range(0.0, 1.0),
}


def recipes(page: Design, *argv: str) -> tuple[list[dict], list[dict]]:
    """Return the points of a call of a page that can win, and its negative controls."""
    points = [p for p in resolve(page, argv).points if p["control"] == "none"]
    bare = [{word: v for word, v in p.items() if word not in ARM} for p in points]
    negative = [p for p in bare if any(p.get(word) == rule for word, rule in RULES.items())]
    return [p for p in bare if p not in negative], negative


def cramer(one, other) -> float:
    pairs = Counter(zip(one, other, strict=True))
    table = np.array([[pairs[a, b] for b in sorted(set(other))] for a in sorted(set(one))])
    return stats.contingency.association(table, "cramer") if min(table.shape) > 1 else 0.0


def quarters(values) -> list[int]:
    """Return in which quarter of its values each number lies."""
    return [int(4 * (rank - 0.5) / len(values)) for rank in stats.rankdata(values)]


# every page


def test_there_is_a_page_of_a_design():
    assert "frequency" in PAGES


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("--preset", "mnist"),
        ("--rewind.rule", "late"),
        ("--prune.budget", "ramp", "--rewind.rule", "late"),
        ("--prune.criterion", "taylor", "--objective.name", "denoise"),
        ("--prune.budget", "overall"),
        ("--seeds", "0", "1"),
    ],
)
def test_no_two_words_of_a_page_go_together(name, argv):
    """Two names by Cramer's V, two numbers by rank, and both with numbers in quarters."""
    points, _ = recipes(PAGES[name], *argv)
    assert strongest(points).strength < MOST
    words = dict.fromkeys(word for point in points for word in point)
    for one, other in combinations(words, 2):
        pairs = [(p[one], p[other]) for p in points if one in p and other in p]
        a, b = (list(values) for values in zip(*pairs, strict=True))
        numbers = [isinstance(values[0], float) for values in (a, b)]
        if all(numbers):
            assert abs(stats.spearmanr(a, b).statistic) < MOST
        elif any(numbers):
            names, values = (b, a) if numbers[0] else (a, b)
            assert cramer(names, quarters(values)) < MOST
        else:
            assert cramer(a, b) == pytest.approx(0)  # fully crossed


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_as_many_points_in_every_cell_and_few_negative_controls(name):
    points, negative = recipes(PAGES[name])
    cells = Counter(tuple(v for v in p.values() if isinstance(v, str)) for p in points)
    assert len(cells) == 16
    assert set(cells.values()) == {4}
    assert 0 < len(negative) <= len(points) / 6
    rules = Counter(p["rewind.rule"] + p["prune.criterion"] for p in negative)
    assert sum("random" in rule for rule in rules.elements()) == len(negative)
    for point in negative:
        assert ("rewind.fraction" in point) == (point["rewind.rule"] == "late")
    for word in ("objective.name", "prune.budget"):  # spread over the other words
        for rule in RULES:
            told = [p[word] for p in negative if p.get(rule) == "random"]
            assert set(Counter(told).values()) == {2}


@pytest.mark.parametrize("name", PAGES)
def test_every_recipe_has_four_controls_two_of_each_kind_that_share_its_chain(name):
    made = resolve(PAGES[name], [])
    arms = Counter((p["control"], p.get("draw", 0)) for p in made.points)
    assert set(arms.values()) == {72}
    assert set(arms) == {
        ("none", 0),
        *((c, n) for c in ("shuffle", "reinit") for n in (1, 2)),
    }
    assert {p["rungs"] for p in made.points if p["control"] != "none"} == {(-1,)}


@pytest.mark.parametrize("name", PAGES)
def test_a_part_of_a_design_is_refused_in_one_line_and_a_word_makes_it_smaller(
    name, capsys, monkeypatch
):
    page = PAGES[name]
    with pytest.raises(ConfigError) as refused:
        resolve(page, ["--trials", "100"])
    (line,) = refused.value.faults
    assert line.startswith("--trials 100: a design is balanced only as a whole, of 1,800 trials; ")
    assert resolve(page, ["--trials", "4000"]).trials == resolve(page, []).trials == 1800
    assert resolve(page, ["--rewind.rule", "late"]).trials < 1800 / 2
    monkeypatch.setattr("sys.argv", [f"studies/{name}.py", "--trials", "100", "--dry-run"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(STUDIES / f"{name}.py"), run_name="__main__")
    shown = capsys.readouterr()
    assert left.value.code == 2
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("name", PAGES)
def test_what_is_too_small_to_be_balanced_is_refused_in_one_line(name):
    words = ("objective.name", "denoise", "prune.criterion", "taylor", "rewind.rule", "late")
    argv = [f"--{each}" if n % 2 == 0 else each for n, each in enumerate(words)]
    with pytest.raises(ConfigError) as refused:
        resolve(PAGES[name], [*argv, "--prune.budget", "ramp"])
    (line,) = refused.value.faults
    assert "go together" in line
    assert line.endswith("give one of them on the command line")
    recipes(PAGES[name], *argv, "--prune.budget", "ramp", "--prune.slope", "0.5")


@pytest.mark.parametrize("name", PAGES)
def test_a_smoke_is_a_corner_of_the_design(name):
    points, negative = recipes(PAGES[name], "--smoke")
    assert len(points) == 4
    assert len(negative) == 2
    assert {p["objective.name"] for p in points} == {"denoise", "latent_denoise"}
    assert len(resolve(PAGES[name], ["--smoke"]).points) == 3 * (4 + 2)
    assert strongest(points).strength < MOST


# any space, seed and size


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("each", [3, 4, 6])
def test_names_are_crossed_and_numbers_fill_their_ranges_in_every_cell(each, seed):
    points = crossed(SPACE, each, {}, seed)
    cells: dict[tuple, list[dict]] = {}
    for point in points:
        cells.setdefault((point["a"], point["b"], point.get("c")), []).append(point)
    assert len(cells) == 3 * (1 + 2)
    for (a, b, c), within in cells.items():
        assert (c is None) == (b == "p")
        assert len(within) == each
        parts = {"h": [point["h"] for point in within]}
        parts["f"] = [np.log10(point["f"]) / 2 for point in within]
        assert all(("g" in point) == (a != "z") for point in within)
        if a != "z":
            parts["g"] = [(point["g"] + 2) / 4 for point in within]
        for shares in parts.values():
            assert sorted(int(each * share) for share in shares) == list(range(each))
    assert strongest(points).strength < MOST


def test_a_design_is_the_same_every_time_and_another_by_its_seed():
    assert crossed(SPACE, 4, {}) == crossed(SPACE, 4, {}) != crossed(SPACE, 4, {}, seed=1)


def test_conditions_hold_by_the_words_of_the_config_too():
    space = {word: dial for word, dial in SPACE.items() if word != "a"}
    assert all("g" in point for point in crossed(space, 4, {"a": "x"}))
    assert not any("g" in point for point in crossed(space, 4, {"a": "z"}))


def test_names_alone_are_one_point_a_cell():
    assert crossed({"a": SPACE["a"], "b": SPACE["b"]}, 4, {}) == [
        {"a": a, "b": b} for a in "xyz" for b in "pq"
    ]
    assert crossed({}, 4, {}) == [{}]


# how far words go together


def test_associations_are_those_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.choice(list("xyz"), 60).tolist(), rng.choice(list("pq"), 60).tolist()
    d = rng.choice(list("stuv"), 60).tolist()
    f, g = rng.normal(size=60).round(1).tolist(), rng.normal(size=60).tolist()
    points = [dict(zip("abdfg", row, strict=True)) for row in zip(a, b, d, f, g, strict=True)]
    found = {(each.one, each.other): each.strength for each in associations(points)}
    assert found["a", "b"] == pytest.approx(cramer(a, b))
    assert found["a", "d"] == pytest.approx(cramer(a, d))
    assert found["f", "g"] == pytest.approx(abs(stats.spearmanr(f, g).statistic))
    of_names = [[x for x, other in zip(f, a, strict=True) if other == name] for name in "xyz"]
    assert found["a", "f"] == pytest.approx(np.sqrt(stats.kruskal(*of_names).statistic / 59))
    assert strongest(points).strength == max(found.values())


def test_words_that_say_all_of_each_other_are_told():
    """The fault that the former design had: architecture and learning rate were one."""
    points = [{"a": "x", "b": "p", "f": n / 10} for n in range(8)]
    points += [{"a": "y", "b": "q", "f": 1 + n / 10} for n in range(8)]
    found = {(each.one, each.other): each.strength for each in associations(points)}
    assert found["a", "b"] == pytest.approx(1)
    assert found["a", "f"] > 0.85
    assert strongest([{"a": "x"}, {"a": "y"}]).strength == 0
    assert design.associations([{"a": "x", "b": "p"}, {"a": "x", "b": "q"}])[0].strength == 0
