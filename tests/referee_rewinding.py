"""A referee's recomputation of the published page on rewinding, with numpy and scipy alone:
`python -m tests.referee_rewinding`.

Nothing of lthray is imported. Barriers by rewind point, counts of stable against matching, their
rank correlation, and the rewind points that contradict an account are computed again from the
recorded trials and compared as they are printed.
"""

import csv
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from .referee import reported

RESULTS = Path(__file__).parent.parent / "results"
FRACTION = 0.05  # rewind point where a config names none
STABLE, MARGIN = 0.005, 0.01
EMA, RAW, EXCESS, PREVIOUS = "barrier/ema", "barrier/raw", "loss/excess", "barrier/previous"

Trial = dict[str, Any]
Cells = dict[tuple[float, float], dict[int, float]]
"""(k, density) -> seed -> number."""


def cells(trials: list[Trial], control: str, *, forked: bool, metric: str) -> Cells:
    """Return a metric of the rungs of one arm."""
    found: Cells = {}
    for trial in trials:
        point = trial["point"]
        if (point["control"], bool(point["fork"])) != (control, forked):
            continue
        config = point["config"]
        k = 0.0 if config.get("rewind.rule") == "init" else config.get("rewind.fraction", FRACTION)
        for r in trial["rounds"][1:]:
            if metric in r["metrics"]:
                found.setdefault((k, r["density"]), {})[point["seed"]] = r["metrics"][metric]
    return found


def spread(values: list[float]) -> str:
    """Return mean, maximum and number as they are printed."""
    if not values:
        return "–"
    return f"{np.mean(values):.4f} (max {max(values):.4f}, {len(values)})"


def barriers(trials: list[Trial], head: list[str]) -> Iterator[list[str]]:
    """Yield the rows of the table of barriers."""
    dense = {
        "dense, average": cells(trials, "dense", forked=True, metric=EMA),
        "dense, raw weights": cells(trials, "dense", forked=True, metric=RAW),
    }
    tickets = cells(trials, "none", forked=True, metric=EMA)
    for k in sorted({k for k, _ in dense["dense, average"]}):
        row = [f"{k:g}"]
        for name in head[1:]:
            density = name.removeprefix("ticket at ").removesuffix(", average")
            numbers = dense.get(name)
            if numbers is None:
                numbers = {at: own for at, own in tickets.items() if f"{at[1]:.4g}" == density}
            row.append(
                spread([v for at, own in numbers.items() if at[0] == k for v in own.values()])
            )
        yield row


def counted(pairs: list[tuple[float, float]]) -> list[str]:
    """Return how many are below or above the border of the first number, and of the second."""
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    low, match = a < STABLE, b < MARGIN
    kinds = (low & match, low & ~match, ~low & match, ~low & ~match)
    return [str(int(kind.sum())) for kind in kinds]


class Family:
    """The claims of the page (Holm): that a mean lies below a border, or above it."""

    def __init__(self, trials: list[Trial]):
        excess = cells(trials, "none", forked=False, metric=EXCESS)
        self.values: dict[tuple[Any, ...], np.ndarray] = {}
        for at, own in excess.items():
            self.enter("match", at, np.log1p(list(own.values())), math.log1p(MARGIN))
        for (k, _), own in cells(trials, "dense", forked=True, metric=EMA).items():
            self.enter("stable", (k,), self.logs(own), math.log(STABLE))
        for at, own in cells(trials, "none", forked=False, metric=PREVIOUS).items():
            self.enter("connected", at, self.logs(own), math.log(STABLE))
        seeds = {seed for own in excess.values() for seed in own}
        p = {key: self.p(values, len(seeds)) for key, values in self.values.items()}
        self.held: set[tuple[Any, ...]] = set()
        for step, key in enumerate(sorted(p, key=p.__getitem__)):
            if p[key] >= 0.04 / (len(p) - step):
                break
            self.held.add(key)

    @staticmethod
    def logs(barriers: dict[int, float]) -> np.ndarray:
        """Return barriers on a log scale, none below a tenth of the border."""
        return np.log(np.maximum(list(barriers.values()), STABLE / 10))

    @staticmethod
    def p(values: np.ndarray, planned: int) -> float:
        """Return the one-sided p of a mean below zero; 1 where a seed is missing."""
        whole = len(values) == planned > 1 and bool(np.isfinite(values).all())
        return float(stats.ttest_1samp(values, 0, alternative="less").pvalue) if whole else 1.0

    def enter(self, name: str, at: tuple[float, ...], values: np.ndarray, border: float) -> None:
        """Take in both claims on a mean."""
        self.values[name, True, at] = values - border
        self.values[name, False, at] = border - values

    def against(self, account: str, density: float, ks: list[float]) -> list[str]:
        """Return the rewind points that match against an account, and that fail against it."""
        found = []
        for matches in (True, False):
            held = []
            for k in ks:
                at = (k,) if account == "stable" else (k, density)
                both = ("match", matches, (k, density)), (account, not matches, at)
                held += [f"{k:g}"] * self.held.issuperset(both)
            found.append(", ".join(held) or "–")
        return found


def stability(trials: list[Trial]) -> Iterator[list[str]]:
    """Yield the rows of the table of stable against matching."""
    tickets = cells(trials, "none", forked=False, metric=EXCESS)
    dense: dict[tuple[float, int], float] = {}
    for (k, _), own in cells(trials, "dense", forked=True, metric=EMA).items():
        dense |= {(k, seed): value for seed, value in own.items()}
    family, ks = Family(trials), sorted({k for k, _ in dense})
    for density in sorted({density for _, density in tickets}, reverse=True):
        pairs = []
        for (k, at), own in tickets.items():
            if at == density:
                pairs += [(dense[k, seed], d) for seed, d in own.items() if (k, seed) in dense]
        rho = stats.spearmanr(*zip(*pairs, strict=True)).statistic
        against = family.against("stable", density, ks)
        yield [f"{density:.4g}", *counted(pairs), f"{rho:+.2f}", *against]


def connections(trials: list[Trial], head: list[str]) -> Iterator[list[str]]:
    """Yield the rows of the table of connected against matching."""
    names = [f"{PREVIOUS}_t{int(name.rpartition(' ')[2]):03d}" for name in head[2:-6]]
    columns = [cells(trials, "none", forked=False, metric=m) for m in (PREVIOUS, *names)]
    excess = cells(trials, "none", forked=False, metric=EXCESS)
    family, ks = Family(trials), sorted({k for k, _ in excess})
    for density in sorted({density for _, density in excess}, reverse=True):
        shown = []
        for column in columns:
            values = [v for at, own in column.items() if at[1] == density for v in own.values()]
            shown.append(spread(values))
        pairs = []
        for at, own in columns[0].items():
            if at[1] == density:
                pairs += [(value, excess[at][seed]) for seed, value in own.items()]
        against = family.against("connected", density, ks)
        yield [f"{density:.4g}", *shown, *counted(pairs), *against]


def made(name: str, trials: list[Trial], head: list[str]) -> Iterator[list[str]]:
    """Yield the rows of a table."""
    if name == "stability":
        return stability(trials)
    return (barriers if name == "barriers" else connections)(trials, head)


def disagreements(results: Path | None = None) -> Iterator[str]:
    """Yield a line for each row that is published otherwise than it is recomputed."""
    results = results or RESULTS
    for path in sorted(results.glob("*/barriers.csv")):
        trials = json.loads((path.parent / "trials.json").read_text())
        for name in ("barriers", "stability", "connections"):
            table = path.with_name(f"{name}.csv")
            if not table.is_file():
                continue
            head, *rows = csv.reader(table.read_text().splitlines())
            again = made(name, trials, head)
            for row, other in zip(rows, again, strict=True):
                if row != other:
                    yield f"{path.parent.name} {name}: {row} is {other}"


if __name__ == "__main__":
    sys.exit(reported(list(disagreements())))
