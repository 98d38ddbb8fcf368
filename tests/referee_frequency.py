"""A referee's recomputation of the tables of a design, with numpy and scipy alone:
`python -m tests.referee_frequency`.

Nothing of lthray is imported. Shares, base rates, intervals, survival and mixed models are computed
again from the recorded trials, and compared as they are printed. Formulas are those of
docs/statistics.md. Importances are of a random forest, and log-rank tests permute recipes: neither
is recomputed here.
"""

import csv
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special, stats

from . import referee

NONE = "–"
EXCESS = "loss/excess"
MARGIN, LEVEL = 0.01, 0.04  # at the first look at the seeds
NAMES = {"shuffle": "shuffled", "reinit": "re-initialised"}
RULES = {"rewind.rule": "random", "prune.criterion": "random"}
NOT_DRAWN = {"control", "sigma", "rates", "draw", "fork", "rungs"}
DEFAULTS = {
    "objective.name": "denoise",
    "prune.criterion": "magnitude",
    "prune.budget": "overall",
    "rewind.rule": "late",
}

Trial = dict[str, Any]
Words = dict[str, Any]


class Group:
    """Some recipes of a design: excess by recipe, seed, density and arm."""

    def __init__(self, recipes: list[Words], seeds: list[int], excess: dict[Any, float], arms: Any):
        self.recipes, self.seeds, self.excess, self.arms = recipes, seeds, excess, arms

    def table(self, density: float, arm: tuple[str, int], missing: float) -> np.ndarray:
        """Return the excess of an arm, [recipes, seeds]."""
        rows = []
        for words in self.recipes:
            key = json.dumps(words, sort_keys=True)
            rows.append([self.excess.get((key, s, density, arm), missing) for s in self.seeds])
        return np.array(rows)

    def of(self, recipes: list[Words]) -> "Group":
        """Return the group of some of the recipes."""
        return Group(recipes, self.seeds, self.excess, self.arms)

    @property
    def densities(self) -> list[float]:
        """Densities, the densest first."""
        return sorted({density for density, _ in self.arms}, reverse=True)

    def outcomes(self, density: float) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Return outcome -> [recipes, seeds], and outcome -> base rate."""
        d = self.table(density, ("none", 0), math.inf)
        found, bases = {"matches": d < MARGIN}, {}
        for control, name in NAMES.items():
            draws = [arm for at, arm in self.arms if at == density and arm[0] == control]
            if not draws:
                return {"matches": found["matches"]}, {}
            tables = [self.table(density, arm, -math.inf) for arm in draws]
            found[f"best of {name}"] = np.all([d < table for table in tables], axis=0)
            bases[f"best of {name}"] = 1 / (1 + len(draws))
        both = np.all([found[name] for name in bases], axis=0)
        found["best of both"], found["wins"] = both, both & found["matches"]
        bases["best of both"] = bases["wins"] = max(bases.values())
        return found, bases


def group_of(trials: list[Trial]) -> Group:
    """Return all recipes of a design, negative controls too."""
    recipes: dict[str, Words] = {}
    seeds, excess, arms = set(), {}, set()
    for trial in trials:
        point = trial["point"]
        if point["fork"] or point["config"].get("prune.ladder") == []:
            continue
        words = drawn_of(point["words"])
        key = json.dumps(words, sort_keys=True)
        recipes[key] = words
        seeds.add(point["seed"])
        for r in trial["rounds"][1:]:
            arm = (point["control"], point["config"].get("draw", 0))
            arms.add((r["density"], arm))
            excess[key, point["seed"], r["density"], arm] = r["metrics"][EXCESS]
    return Group(list(recipes.values()), sorted(seeds), excess, arms)


def drawn_of(words: Words) -> Words:
    """Return the words of a recipe that its design drew."""
    return {
        word: value
        for word, value in words.items()
        if word not in NOT_DRAWN and not word.startswith("measure.")
    }


def value_of(words: Words, word: str) -> str:
    """Return the value of a word, as text."""
    return str(words.get(word, DEFAULTS.get(word)))


def rule_of(words: Words) -> str:
    """Return the rule that makes a recipe a negative control; empty where none does."""
    return " and ".join(f"{w} {rule}" for w, rule in RULES.items() if value_of(words, w) == rule)


# shares


def interval(holds: np.ndarray) -> tuple[float, float, float]:
    """Return the ends of the interval of Korn and Graubard, and its effective number."""
    recipes, seeds = holds.shape
    n, p = holds.size, holds.mean()
    size = float(min(holds.shape))
    if 0 < p < 1:
        by_recipe, by_seed = holds.sum(1) - seeds * p, holds.sum(0) - recipes * p
        ways = []
        for totals in (by_recipe, by_seed):
            count = len(totals)
            ways.append((totals**2).sum() / n**2 * count / (count - 1) if count > 1 else 0.0)
        single = n / (n - 1) * ((holds - p) ** 2).sum() / n**2
        variance = max(*ways, sum(ways) - single)
        parts = zip(ways, holds.shape, strict=True)
        weight = sum(way**2 / (count - 1) for way, count in parts if count > 1)
        df = sum(ways) ** 2 / weight if weight else max(min(holds.shape) - 1, 1)
        ratio = special.stdtrit(n - 1, 0.025) / special.stdtrit(df, 0.025)
        size = min(p * (1 - p) * ratio**2 / variance, n) if variance else float(n)
    x = size * p
    low = special.betaincinv(x, size - x + 1, 0.025) if x else 0.0
    high = special.betaincinv(x + 1, size - x, 0.975) if p < 1 else 1.0
    return float(low), float(high), size


def p_of(holds: np.ndarray, base: float) -> float:
    """Return p of a share above its base rate: by seeds, and by the interval, the larger."""
    x = interval(holds)[2] * holds.mean()
    by_interval = special.betainc(x, interval(holds)[2] - x + 1, base) if x else 1.0
    shares = holds.mean(0)
    if len(shares) < 2:
        return 1.0
    if np.ptp(shares) == 0:
        by_seeds = 0.5 * (1 + np.sign(base - shares[0]))
    else:
        by_seeds = stats.ttest_1samp(shares, base, alternative="greater").pvalue
    return float(max(by_interval, by_seeds))


# the mixed model


def model_of(group: Group, density: float) -> tuple[list[list[str]], list[float | None]]:
    """Return the rows of a mixed model, without their p, and the p of its effects."""
    d = group.table(density, ("none", 0), math.inf)
    kept = np.isfinite(d).all(1)
    y = np.log(1 + d[kept])
    recipes = [words for words, keep in zip(group.recipes, kept, strict=True) if keep]
    names, columns = columns_of(recipes)
    x = np.column_stack([np.ones(len(y)), *columns])
    (r, s), k = y.shape, x.shape[1]
    if s < 2 or r - k < 4 or np.linalg.matrix_rank(x) < k:
        return [], []
    # ordinary least squares of the means, and mean squares of a two-way layout
    solved = np.linalg.solve(x.T @ x, np.column_stack([x.T @ y.mean(1), np.eye(k)]))
    beta, inverse = solved[:, 0], solved[:, 1:]
    square = ((y.mean(1) - x @ beta) ** 2).sum() / (r - k)
    total = ((y - y.mean()) ** 2).sum()
    of_recipes = s * ((y.mean(1) - y.mean()) ** 2).sum()
    of_seeds = r * ((y.mean(0) - y.mean()) ** 2).sum()
    rest = (total - of_recipes - of_seeds) / (r - 1) / (s - 1)
    rows: list[list[str]] = []
    p: list[float | None] = []
    seeds = np.linalg.solve(x.T @ x, x.T @ y)[1:]  # the effects on each seed alone
    for at, (word, change) in enumerate(names):
        b, v = beta[at + 1], inverse[at + 1, at + 1]
        one, other = square * v, stats.sem(seeds[at]) ** 2
        error = math.sqrt(max(one, other, one + other - rest * v / s))
        df = (one + other) ** 2 / (one**2 / (r - k) + other**2 / (s - 1))
        half = error * special.stdtrit(df, 0.975)
        p_value = 2 * float(special.stdtr(df, -abs(b) / error))
        numbers = [f"{100 * value:+.2f}" for value in (b, b - half, b + half)]
        rows.append([f"{density:.4g}", word, change, *numbers])
        p.append(p_value if kept.all() else None)
    spreads = {"recipe": square - rest / s, "seed": of_seeds / (s - 1) / r - rest / r, "rest": rest}
    for name, variance in spreads.items():
        shown = f"{100 * math.sqrt(max(variance, 0)):.2f}"
        rows.append([f"{density:.4g}", name, "standard deviation", shown, NONE, NONE])
    return rows, p


def columns_of(recipes: list[Words]) -> tuple[list[tuple[str, str]], list[np.ndarray]]:
    """Return the columns of a model with their names."""
    names, columns = [], []
    for word in sorted({word for words in recipes for word in words}):
        values = [words[word] for words in recipes if word in words]
        if len(set(values)) < 2:
            continue
        if isinstance(values[0], str):
            first, *others = sorted(set(values))
            for other in others:
                names.append((word, f"{first} to {other}"))
                columns.append(np.array([words.get(word) == other for words in recipes], float))
            continue
        logs = min(values) > 0
        numbers = np.log(values) if logs else np.array(values)
        shown = iter(stats.zscore(numbers))
        names.append((word, "a standard deviation" + (" of its log" if logs else "")))
        columns.append(np.array([next(shown) if word in words else 0.0 for words in recipes]))
    return names, columns


# the page


class Frequencies:
    """The tables of a design, from its trials."""

    def __init__(self, trials: list[Trial]):
        whole = group_of(trials)
        rules: dict[str, list[Words]] = {}
        for words in whole.recipes:
            rules.setdefault(rule_of(words), []).append(words)
        self.real = whole.of(rules.pop(""))
        self.negative = {rule: whole.of(recipes) for rule, recipes in sorted(rules.items())}
        self.family = self.claims()

    def claims(self) -> dict[tuple[str, ...], tuple[float, float]]:
        """Return claim -> p and p adjusted by Holm."""
        p: dict[tuple[str, ...], float] = {}
        for rule, group in {"": self.real, **self.negative}.items():
            for density in group.densities:
                found, bases = group.outcomes(density)
                told = ["wins"] if rule else [name for name in bases if name != "best of both"]
                for name in told:
                    if name in bases:
                        p[rule, name, f"{density:.4g}"] = p_of(found[name], bases[name])
        for row, value in self.effects():
            if value is not None:
                p[row[1], row[2], row[0]] = value
        order = sorted(p, key=p.__getitem__)
        adjusted, most = {}, 0.0
        for step, key in enumerate(order):
            most = max(most, min(1.0, p[key] * (len(order) - step)))
            adjusted[key] = (p[key], most)
        return adjusted

    def effects(self) -> list[tuple[list[str], float | None]]:
        """Return the rows of the mixed models, each with its p where it has one."""
        found: list[tuple[list[str], float | None]] = []
        for density in self.real.densities:
            if "wins" in self.real.outcomes(density)[0]:
                rows, p = model_of(self.real, density)
                found += zip(rows, [*p, *[None] * (len(rows) - len(p))], strict=True)
        return found

    def tested(self, *key: str) -> list[str]:
        """Return the cells of a claim: p, adjusted p, and a star where it holds."""
        if key not in self.family:
            return [NONE, NONE]
        p, adjusted = self.family[key]
        return [f"{p:.2g}", f"{adjusted:.2g}" + "*" * (adjusted < LEVEL)]

    def rows(self, group: Group, rule: str = "") -> Iterator[list[str]]:
        """Yield the rows of a table of shares."""
        for density in group.densities:
            found, bases = group.outcomes(density)
            for name, holds in found.items():
                low, high, size = interval(holds)
                base = f"{bases[name]:.2f}" if name in bases else NONE
                numbers = [str(holds.sum()), str(holds.size), f"{holds.mean():.2f}", base]
                cells = self.tested(rule, name, f"{density:.4g}")
                ends = f"{low:.2f}-{high:.2f}"
                yield [f"{density:.4g}", name, *numbers, ends, f"{size:.1f}", *cells]

    def negatives(self) -> Iterator[list[str]]:
        """Yield the rows of the negative controls."""
        for rule, group in self.negative.items():
            for row in self.rows(group, rule):
                if row[1] != "best of both":
                    yield [rule, *row]

    def by_word(self, name: str, density: str) -> list[str]:
        """Return a row of the shares by word."""
        group = self.real
        if name != "all":
            word, value = name.split(" ", 1)
            group = group.of([w for w in group.recipes if value_of(w, word) == value])
        (at,) = (d for d in group.densities if f"{d:.4g}" == density)
        found, _ = group.outcomes(at)
        cells = []
        for outcome in ("matches", *(f"best of {each}" for each in NAMES.values()), "wins"):
            cells.append(NONE)
            if outcome in found:
                low, high, _ = interval(found[outcome])
                cells[-1] = f"{found[outcome].mean():.2f} ({low:.2f}-{high:.2f})"
        return [name, density, str(len(group.recipes) * len(group.seeds)), *cells]

    def survival(self, name: str, sparsity: str, by: str) -> list[str]:
        """Return a row of the table of survival."""
        recipes = self.real.recipes
        if name != "all":
            recipes = [words for words in recipes if value_of(words, by) == name]
        group, densities = self.real.of(recipes), self.real.densities
        tables = [group.table(density, ("none", 0), math.inf).ravel() for density in densities]
        times = []
        for path in np.transpose(tables):
            failing = [x for x, value in zip(densities, path, strict=True) if value >= MARGIN]
            times.append((1 - (failing or densities[-1:])[0], bool(failing)))
        alive, row = 1.0, []
        for t in sorted({time for time, _ in times}):
            tried = sum(time >= t for time, _ in times)
            failed = sum(fails and time == t for time, fails in times)
            alive *= 1 - failed / tried
            if f"{t:.4g}" == sparsity:
                row = [name, sparsity, str(tried), str(failed), f"{alive:.2f}"]
        return row


def read(path: Path) -> list[list[str]]:
    """Return the rows of a table below its head."""
    return list(csv.reader(path.read_text().splitlines()))[1:]


def of_design(folder: Path, by: str = "") -> Iterator[str]:
    """Yield a line for each row of the page of a design that is recomputed otherwise.

    `by` is the word by which its figures are told apart, if any.
    """
    page = Frequencies(json.loads((folder / "trials.json").read_text()))
    again = {"frequency": list(page.rows(page.real)), "negatives": list(page.negatives())}
    again["shares"] = [page.by_word(*row[:2]) for row in read(folder / "shares.csv")]
    again["survival"] = []
    for row in read(folder / "survival.csv"):  # a permutation is not drawn again
        permuted = row[1] == "log-rank p"
        again["survival"].append(row if permuted else page.survival(*row[:2], by))
    again["effects"] = []
    for row, p in page.effects():
        cells = [NONE, NONE] if p is None else page.tested(row[1], row[2], row[0])
        again["effects"].append([*row, *cells])
    for name, rows in again.items():
        path = folder / f"{name}.csv"
        shown = read(path) if path.is_file() else []
        if len(shown) != len(rows):
            yield f"{folder.name} {name}: {len(shown)} rows, not {len(rows)}"
        for row, other in zip(shown, rows, strict=False):
            if row != other:
                yield f"{folder.name} {name}: {row} is {other}"


def disagreements() -> Iterator[str]:
    """Yield a line for each row that is published otherwise than it is recomputed."""
    for path in sorted(referee.RESULTS.glob("*/frequency.csv")):
        yield from of_design(path.parent, by="prune.criterion")


if __name__ == "__main__":
    sys.exit(referee.reported(list(disagreements())))
