"""A referee's recomputation of the page on transfer, with numpy and scipy alone:
`python -m tests.referee_transfer`.

Nothing of lthray is imported. A lent recipe is told by its name, "mask from digits_high overall
late5%": what is taken, of which source, and how tickets are found.
"""

import csv
import json
import math
import sys
from collections.abc import Iterator
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from . import referee
from .referee import NONE, By, Page, Place, Setting, bound, one_sided

LENT, RANDOM, SAVED = " from ", "random erk", "cost/steps_saved"
LATENT = "latent "  # before the name of every recipe there
PART = ", fraction 0.25"
CONTRASTS = ("unrelated", "full", "leak", "aligned", "signed", "larger")


def is_outliers(values: list[float], margin: float) -> bool:
    """Return whether all flips of signs give a p that is unlike the t-test's, from six seeds on."""
    if len(values) < 6:
        return False
    apart = np.array(values) - margin
    flips = np.array(list(product((-1, 1), repeat=len(apart)))) @ np.abs(apart)
    p_flip = np.mean(flips <= apart.sum() + 1e-12)
    p = max(one_sided(values, margin), 0.5 ** len(apart))
    return not 1 / 3 <= p_flip / p <= 3


class Transfers(Page):
    """Tickets from elsewhere, and those that were found on the target."""

    @cached_property
    def found_here(self) -> dict[Setting, str]:
        """Return the name of the recipe whose tickets are found on each target."""
        return {
            place[0]: place[1]
            for place in self.arms
            if LENT not in place[1] and RANDOM not in place[1]
        }

    def recipe(self, setting: Setting, taken: str, source: str) -> str:
        """Return the name of what is taken of a source."""
        native = self.found_here[setting]
        space = LATENT * native.startswith(LATENT)
        return f"{space}{taken}{LENT}{source} {native.removeprefix(LATENT)}"

    def arm(self, setting: Setting, recipe: str, density: str, arm: str = "none") -> Any:
        """Return the rounds of an arm by seed; none where it was not run."""
        return self.arms.get((setting, recipe, density), {}).get(arm, {})

    @cached_property
    def sources(self) -> list[tuple[Setting, str, str]]:
        """Return target, source and density of every ticket from elsewhere."""
        found = []
        for setting, recipe, density in self.arms:
            taken, _, rest = recipe.partition(LENT)
            if taken.removeprefix(LATENT) == "ticket":
                native = self.found_here[setting].removeprefix(LATENT)
                found.append((setting, rest.removesuffix(f" {native}"), density))
        return found

    @property
    def places(self) -> list[Place]:
        """All tickets that were found on the target, which have the claims of a verdict."""
        return [place for place in super().places if LENT not in place[1]]

    def pairs(self, setting: Setting, source: str, density: str) -> dict[str, tuple[Any, Any]]:
        """Return claim -> the two networks that it is on."""

        def run(taken: str, of: str = source, arm: str = "none") -> Any:
            return self.arm(setting, self.recipe(setting, taken, of), density, arm)

        return {
            "unrelated": (run("ticket"), run("ticket", "scrambled")),
            "full": (run("ticket"), self.arm(setting, self.found_here[setting], density)),
            "leak": (run("ticket"), run("weights", arm="shuffle")),
            "aligned": (run("aligned"), run("mask")),
            "signed": (run("signs"), run("mask")),
            "larger": (run("ticket"), run("ticket", source + PART)),
            "matches": (run("ticket"), self.dense[setting]),
            "shuffled": (run("ticket"), run("ticket", arm="shuffle")),
            "mask": (run("mask"), run("mask", arm="shuffle")),
        }

    @cached_property
    def family(self) -> dict[Any, tuple[By, float]]:
        """All claims of the page."""
        found: dict[Any, tuple[By, float]] = {}
        for place in self.places:
            found |= {(place, name): one for name, one in self.claims(place).items()}
        for setting, source, density in self.sources:
            for name, pair in self.pairs(setting, source, density).items():
                if not all(pair) or (source == "scrambled" and name in CONTRASTS):
                    continue
                margin = self.margin() if name in ("full", "matches") else 0.0
                found[(setting, source, density), name] = self.worse(*pair), margin
        return found

    def p(self, key: Any) -> float:
        """Return the one-sided p of a claim; 1 where a seed has no finite number."""
        values, margin = self.family[key]
        return one_sided(list(values.values()), margin)

    def lent_cell(self, place: Any, name: str) -> str:
        """Return mean, bound and star of a claim."""
        if (place, name) not in self.family:
            return NONE
        values, margin = self.family[place, name]
        numbers = list(values.values())
        mean, limit = math.fsum(numbers) / len(numbers), bound(numbers, self.levels[place, name])
        marks = "*" * self.holds(place, name) + " (outlier)" * is_outliers(numbers, margin)
        return f"{math.expm1(mean):+.1%} (< {math.expm1(limit):+.1%}){marks}"

    def efficiency(self, setting: Setting, source: str, density: str) -> str:
        """Return (E - T) / (E - N) with its interval: the ratios that no paired t-test rejects."""
        random = next((r for s, r, _ in self.arms if s == setting and RANDOM in r), "")
        networks = [
            self.arm(setting, recipe, density)
            for recipe in (
                random,
                self.recipe(setting, "ticket", source),
                self.found_here[setting],
            )
        ]
        if not all(networks):
            return NONE
        gained, possible = (self.worse(networks[0], other) for other in networks[1:])
        a = np.array([gained[seed] for seed in gained if seed in possible])
        b = np.array([possible[seed] for seed in gained if seed in possible])
        if b.mean() <= 3 * stats.sem(b):
            return "native gain not told"
        edges = []
        for toward in (-1, 1):
            inside, outside = a.mean() / b.mean(), a.mean() / b.mean() + toward * 100
            for _ in range(200):
                middle = (inside + outside) / 2
                rejected = stats.ttest_1samp(a - middle * b, 0).pvalue < 0.05
                inside, outside = (inside, middle) if rejected else (middle, outside)
            edges.append(inside)
        return f"{a.mean() / b.mean():.2f} [{edges[0]:.2f}, {edges[1]:.2f}]"

    def verdict(self, place: Any) -> str:
        """Return how far a ticket transfers."""
        if (place, "shuffled") not in self.family:
            return "not tried"
        if not (self.holds(place, "matches") and self.holds(place, "shuffled")):
            return "not shown to transfer"
        words = "transfers" + " what this source knows" * self.holds(place, "unrelated")
        return words + ", fully" * self.holds(place, "full")

    def rows(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the rows of both tables, but for the target, for all sources but unrelated ones."""
        for place in self.sources:
            setting, source, density = place
            if source == "scrambled":
                continue
            tickets = self.arm(setting, self.recipe(setting, "ticket", source), density)
            saved = [r["metrics"][SAVED] for r in tickets.values()]
            names = ("matches", "shuffled", "unrelated", "full")
            yield (
                [
                    source,
                    density,
                    str(len(tickets)),
                    *(self.lent_cell(place, name) for name in names),
                    self.efficiency(*place),
                    f"{np.mean(saved):,.0f}",
                    self.verdict(place),
                ],
                [
                    source,
                    density,
                    *(
                        self.lent_cell(place, name)
                        for name in ("mask", "leak", "aligned", "signed", "larger")
                    ),
                ],
            )


def disagreements(results: Path | None = None) -> Iterator[str]:
    """Yield a line for each row that is published otherwise than it is recomputed."""
    for path in sorted((results or referee.RESULTS).glob("*/transfer.csv")):
        page = Transfers(json.loads((path.parent / "trials.json").read_text()))
        for name, table in zip(("transfer", "parts"), zip(*page.rows(), strict=True), strict=True):
            _, *published = csv.reader(path.with_name(f"{name}.csv").read_text().splitlines())
            again = sorted(table)
            for row, other in zip(sorted(row[1:] for row in published), again, strict=True):
                if row != other:
                    yield f"{path.parent.name} {name}: {row} is {other}"
        yield from referee.of_verdicts(path.parent, page)


if __name__ == "__main__":
    sys.exit(referee.reported(list(disagreements())))
