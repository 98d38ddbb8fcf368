"""A referee's recomputation of the tables of methods and of both spaces:
`python -m tests.referee_methods`.

It uses numpy and scipy alone, and nothing of lthray. Every cell of `methods.csv`, `spaces.csv` and
`samples.csv` is computed again from the recorded trials beside it and compared as it is printed.
Formulas are those of docs/statistics.md.
"""

import csv
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from .referee import Page, bound

RESULTS = Path(__file__).parent.parent / "results"
NONE = "–"
RECIPE = ("prune", "rewind", "regime", "origin", "elastic")  # parts of a config that are a recipe's
CONTROLS = {"shuffled": "shuffle", "reinit": "reinit", "equal compute": "equal_compute"}
LOSS, MARGIN, LEVEL = "loss/heldout", 0.01, 0.05

Trial = dict[str, Any]
Table = list[list[str]]
BySeed = dict[int, float]


def recipe_of(trial: Trial) -> str:
    """Return the words of a recipe as one text."""
    config = trial["point"]["config"]
    return json.dumps({w: v for w, v in sorted(config.items()) if w.split(".")[0] in RECIPE})


def excess(trial: Trial, r: dict[str, Any]) -> float:
    """Return how much larger a round's loss is than that of the trial's own dense network."""
    return r["metrics"][LOSS] / trial["rounds"][0]["metrics"][LOSS] - 1


def less(a: BySeed, b: BySeed) -> list[float]:
    """Return the first numbers less the second, of seeds that have both."""
    return [a[seed] - b[seed] for seed in a if seed in b]


def p_below(values: list[float], margin: float = 0.0) -> float:
    """Return one-sided p of a mean of `margin` or more."""
    return float(stats.ttest_1samp(values, margin, alternative="less").pvalue)


def discovered(p: dict[Any, float]) -> set[Any]:
    """Return the keys that Benjamini and Hochberg's procedure rejects."""
    ordered = sorted(p, key=p.__getitem__)
    last = 0
    for i, key in enumerate(ordered, 1):
        if p[key] <= i * LEVEL / len(p):
            last = i
    return set(ordered[:last])


def spread(values: list[float]) -> str:
    """Return the mean and half its 95 % interval, in per cent."""
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{100 * np.mean(values):+.1f}±{100 * half:.1f}%"


class Methods:
    """The table of methods, from excesses by recipe, density, arm and seed."""

    def __init__(self, trials: list[Trial]):
        self.cells: dict[str, dict[float, dict[str, BySeed]]] = {}
        self.realised: dict[tuple[str, float], list[float]] = {}
        self.steps: dict[tuple[str, float], list[float]] = {}
        self.names: dict[str, str] = {}
        self.planned: dict[str, set[int]] = {}
        for trial in trials:
            self.planned.setdefault(recipe_of(trial), set()).add(trial["point"]["seed"])
            for r in trial["rounds"][1:]:
                self.enter(trial, r)
        self.labels = self.labelled()
        self.held = discovered(self.family())

    def enter(self, trial: Trial, r: dict[str, Any]) -> None:
        """Take in a round."""
        point, recipe, density = trial["point"], recipe_of(trial), r["density"]
        self.names.setdefault(recipe, re.sub(r" ladder=\S+", "", point["recipe"]))
        arms = self.cells.setdefault(recipe, {}).setdefault(density, {})
        arms.setdefault(point["control"], {})[point["seed"]] = excess(trial, r)
        if point["control"] == "none":
            measured = r["metrics"]
            self.realised.setdefault((recipe, density), []).append(measured["density/prunable"])
            self.steps.setdefault((recipe, density), []).append(measured["cost/steps_spent"])

    def labelled(self) -> dict[str, str]:
        """Return the name of each recipe, and how far it goes where two go by one name."""
        every = list(self.names.values())
        labels = {}
        for recipe, name in self.names.items():
            twice = every.count(name) > 1
            labels[recipe] = f"{name} to {min(self.cells[recipe]):g}" if twice else name
        return labels

    def reference(self, recipe: str) -> str:
        """Return the recipe that one is compared with: of the first's name, and as far."""
        first = next(iter(self.names))
        for other, name in self.names.items():
            if name == self.names[first] and min(self.cells[recipe]) in self.cells[other]:
                return other
        return first

    def more(self, recipe: str) -> tuple[float, list[float]]:
        """Return the sparsest density of a recipe and its reference, and the excess over it."""
        own, other = self.cells[recipe], self.cells[self.reference(recipe)]
        density = min(own.keys() & other.keys())
        return density, less(own[density]["none"], other[density]["none"])

    def last(self, recipe: str) -> dict[str, BySeed]:
        """Return the arms of a recipe at its last rung."""
        return self.cells[recipe][min(self.cells[recipe])]

    def family(self) -> dict[tuple[str, str], float]:
        """Return p of every claim of the page."""
        p = {}
        for recipe in self.cells:
            arms = self.last(recipe)
            p[recipe, "matches"] = p_below(list(arms["none"].values()), MARGIN)
            for heading, control in CONTROLS.items():
                if control in arms:
                    border = MARGIN if control == "equal_compute" else 0.0
                    p[recipe, heading] = p_below(less(arms["none"], arms[control]), border)
            if self.reference(recipe) != recipe:
                _, values = self.more(recipe)
                p[recipe, "better"] = p_below(values)
                p[recipe, "loses"] = p_below([-value for value in values])
        return p

    def star(self, recipe: str, *claims: str) -> str:
        """Return a star where one of the claims holds."""
        return "*" * any((recipe, claim) in self.held for claim in claims)

    def rung(self, recipe: str, density: float) -> str:
        """Return the cell of a recipe at a density."""
        if density not in self.cells[recipe]:
            return NONE
        shown = spread(list(self.cells[recipe][density]["none"].values()))
        realised = np.mean(self.realised[recipe, density])
        if abs(realised / density - 1) > 0.02:
            shown += f" ({realised:.3g})"
        return shown + self.star(recipe, "matches") * (density == min(self.cells[recipe]))

    def row(self, recipe: str, densities: list[float]) -> list[str]:
        """Return the row of a recipe."""
        arms, size = self.last(recipe), len(self.planned[recipe])
        found = len(arms["none"])
        row = [self.labels[recipe], str(size) if found == size else f"{found} of {size}"]
        row += [self.rung(recipe, density) for density in densities]
        outcome = "reference"
        if self.reference(recipe) == recipe:
            row.append(NONE)
        else:
            density, values = self.more(recipe)
            row.append(f"{spread(values)}{self.star(recipe, 'better', 'loses')} at {density:.4g}")
            held = [name for name in ("loses", "better") if (recipe, name) in self.held]
            outcome = "".join(held) or "not told apart"
        for heading, control in CONTROLS.items():
            values = less(arms["none"], arms.get(control, {}))
            row.append(spread(values) + self.star(recipe, heading) if values else NONE)
        steps = np.mean(self.steps[recipe, min(self.cells[recipe])])
        return [*row, f"{steps:.0f}", outcome]

    def table(self) -> Table:
        """Return all rows, without a head."""
        densities = sorted({d for cells in self.cells.values() for d in cells}, reverse=True)
        return [self.row(recipe, densities) for recipe in self.cells]


class Spaces:
    """The tables of both spaces, from losses by space, density, arm and seed."""

    def __init__(self, trials: list[Trial]):
        self.arms: dict[tuple[str, float], dict[str, BySeed]] = {}
        self.skills: dict[tuple[str, float], list[float]] = {}
        self.dense: dict[tuple[str, int], dict[str, float]] = {}
        self.tickets: dict[tuple[str, float], dict[int, dict[str, float]]] = {}
        for trial in trials:
            if trial["point"]["config"].get("train.steps", 400) == 400:
                self.enter(trial)
        self.page = Page(trials)

    def enter(self, trial: Trial) -> None:
        """Take in a trial."""
        point = trial["point"]
        is_latent = point["config"].get("objective.name") == "latent_denoise"
        space, seed = "latents" if is_latent else "pixels", point["seed"]
        dense = trial["rounds"][0]["metrics"]
        if len(self.dense.get((space, seed), ())) < len(dense):
            self.dense[space, seed] = dense
        for r in [] if point["fork"] else trial["rounds"][1:]:
            place = space, r["density"]
            arms = self.arms.setdefault(place, {})
            arms.setdefault(point["control"], {})[seed] = excess(trial, r)
            if point["control"] == "none":
                kept = (1 - r["metrics"][LOSS]) / (1 - dense[LOSS])
                self.skills.setdefault(place, []).append(kept)
                self.tickets.setdefault(place, {})[seed] = r["metrics"]

    @property
    def densities(self) -> list[float]:
        """The densities of both spaces, densest first."""
        both = [{d for space, d in self.arms if space == name} for name in ("pixels", "latents")]
        return sorted(both[0] & both[1], reverse=True)

    def alike(self, at: Any) -> BySeed:
        """Return the excess in latents less that in pixels."""
        return self.page.beside[at, "worse"][0]

    def wins(self, space: str, density: float) -> str:
        """Return whether a ticket matches its dense network and beats both controls, all claims of
        the page being one family."""
        objective = "latent_denoise" if space == "latents" else None
        for place in self.page.places:
            (words, steps), _, at = place
            same = json.loads(words).get("objective.name") == objective
            if same and steps == 400 and at == f"{density:.4g}":
                matched, shows = self.page.words(place)
                return "wins" if "own" in matched.split(" and ") and shows == "both" else NONE
        return NONE

    def spaces(self) -> Table:
        """Return the rows of the table of spaces."""
        rows = []
        for density in self.densities:
            row = [f"{density:.4g}", str(len(self.alike(density)))]
            for space in ("pixels", "latents"):
                mean = np.mean(list(self.arms[space, density]["none"].values()))
                row += [f"{mean:+.2%}", self.wins(space, density)]
            kept = [np.mean(self.skills[space, density]) for space in ("pixels", "latents")]
            row += self.equivalence(density)
            rows.append([*row, f"{kept[0]:.3f} / {kept[1]:.3f}"])
        at = "interaction"
        rows.append([at, str(len(self.alike(at))), "", "", "", "", *self.equivalence(at), ""])
        return rows

    def equivalence(self, at: Any) -> list[str]:
        """Return the mean of a comparison with the bounds of its two tests, and whether both hold
        in the family of the page."""
        worse, better = (at, "worse"), (at, "better")
        low, high = (
            bound(list(self.page.family[key][0].values()), self.page.levels[key])
            for key in (better, worse)
        )
        shown = f"{np.mean(list(self.alike(at).values())):+.2%} [{-low:+.2%}, {high:+.2%}]"
        return [shown, "yes" if max(low, high) < MARGIN else "not shown"]

    def samples(self) -> Table:
        """Return the rows of the table of samples."""
        rows = []
        for space in ("pixels", "latents"):
            for density in sorted((d for s, d in self.tickets if s == space), reverse=True):
                for sampler in ("ddim", "ddpm", "dpm_solver", "heun"):
                    pairs = self.pairs(space, density, f"quality/{sampler}/kid_lenet")
                    if pairs:
                        rows.append([space, sampler, f"{density:.4g}", *ratio(pairs)])
        return rows

    def pairs(self, space: str, density: float, metric: str) -> list[tuple[float, float]]:
        """Return a metric of dense networks and tickets, by seed."""
        found = []
        for seed, ticket in self.tickets[space, density].items():
            dense = self.dense[space, seed]
            if metric in dense and metric in ticket:
                found.append((dense[metric], ticket[metric]))
        return found


def ratio(pairs: list[tuple[float, float]]) -> list[str]:
    """Return both means, the geometric mean of the ratios of positive pairs, and their number."""
    logs = [math.log(ticket / dense) for dense, ticket in pairs if min(dense, ticket) > 0]
    means = [f"{np.mean(side):.4f}" for side in zip(*pairs, strict=True)]
    return [*means, f"{math.exp(np.mean(logs)):.3f}" if logs else NONE, str(len(logs))]


MADE: dict[str, Callable[[list[Trial]], Table]] = {
    "methods": lambda trials: Methods(trials).table(),
    "spaces": lambda trials: Spaces(trials).spaces(),
    "samples": lambda trials: Spaces(trials).samples(),
}
"""Table -> what computes its rows again from recorded trials."""


def tables() -> list[Path]:
    """Return the published tables that are computed again."""
    return [path for path in sorted(RESULTS.glob("*/*.csv")) if path.stem in MADE]


def disagreements() -> Iterator[str]:
    """Yield a line for each row that is published otherwise than it is recomputed."""
    for path in tables():
        trials = json.loads((path.parent / "trials.json").read_text())
        _, *rows = csv.reader(path.read_text().splitlines())
        again = MADE[path.stem](trials)
        if len(rows) != len(again):
            yield f"{path.parent.name} {path.stem}: {len(rows)} rows are {len(again)}"
        for row, other in zip(rows, again, strict=False):
            if row != other:
                yield f"{path.parent.name} {path.stem}: {row} is {other}"


def main() -> int:
    """Print every disagreement, and how many there are."""
    found = list(disagreements())
    print("\n".join([*found, f"{len(found)} disagreements in {len(tables())} tables"]))
    return len(found) > 0


if __name__ == "__main__":
    sys.exit(main())
