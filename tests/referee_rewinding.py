"""A referee's recomputation of the published page on rewinding, with numpy and scipy alone:
`python -m tests.referee_rewinding`.

Nothing of lthray is imported. Barriers by rewind point, counts of stable against matching, their
rank correlation, and the rewind points that contradict an account are computed again from the
recorded trials and compared as they are printed.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from .referee import Page, reported, unlike
from .referee_beside import k_of

RESULTS = Path(__file__).parent.parent / "results"
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
        for r in trial["rounds"][1:]:
            if metric in r["metrics"]:
                found.setdefault((k_of(trial), r["density"]), {})[point["seed"]] = r["metrics"][
                    metric
                ]
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


class Accounts:
    """Which rewind points contradict an account, by the claims of the study."""

    def __init__(self, trials: list[Trial]):
        self.page = Page(trials)
        self.recipes: dict[float, str] = {}
        for trial in trials:
            is_ticket = trial["point"]["control"] == "none" and not trial["point"]["fork"]
            if is_ticket and trial["rounds"][1:]:
                self.recipes[k_of(trial)] = trial["point"]["recipe"]

    def matches(self, k: float, density: float) -> bool:
        """Return whether tickets are shown to match their dense network."""
        name, at = self.recipes[k], f"{density:.4g}"
        return any(
            self.page.holds(p, "matches own") for p in self.page.places if p[1:] == (name, at)
        )

    def against(self, account: str, density: float) -> list[str]:
        """Return the rewind points that match against an account, and that fail against it."""
        spared, hurt = [], []
        for k in sorted(self.recipes):
            at = k if account == "stable" else (k, density)
            if self.matches(k, density) and self.page.holds(at, f"not {account}"):
                spared.append(f"{k:g}")
            if self.page.holds((k, density), "fails") and self.page.holds(at, account):
                hurt.append(f"{k:g}")
        return [", ".join(points) or "–" for points in (spared, hurt)]


def stability(trials: list[Trial]) -> Iterator[list[str]]:
    """Yield the rows of the table of stable against matching."""
    tickets = cells(trials, "none", forked=False, metric=EXCESS)
    dense: dict[tuple[float, int], float] = {}
    for (k, _), own in cells(trials, "dense", forked=True, metric=EMA).items():
        dense |= {(k, seed): value for seed, value in own.items()}
    accounts = Accounts(trials)
    for density in sorted({density for _, density in tickets}, reverse=True):
        pairs = []
        for (k, at), own in tickets.items():
            if at == density:
                pairs += [(dense[k, seed], d) for seed, d in own.items() if (k, seed) in dense]
        rho = stats.spearmanr(*zip(*pairs, strict=True)).statistic
        against = accounts.against("stable", density)
        yield [f"{density:.4g}", *counted(pairs), f"{rho:+.2f}", *against]


def connections(trials: list[Trial], head: list[str]) -> Iterator[list[str]]:
    """Yield the rows of the table of connected against matching."""
    names = [f"{PREVIOUS}_t{int(name.rpartition(' ')[2]):03d}" for name in head[2:-6]]
    columns = [cells(trials, "none", forked=False, metric=m) for m in (PREVIOUS, *names)]
    excess = cells(trials, "none", forked=False, metric=EXCESS)
    accounts = Accounts(trials)
    for density in sorted({density for _, density in excess}, reverse=True):
        shown = []
        for column in columns:
            values = [v for at, own in column.items() if at[1] == density for v in own.values()]
            shown.append(spread(values))
        pairs = []
        for at, own in columns[0].items():
            if at[1] == density:
                pairs += [(value, excess[at][seed]) for seed, value in own.items()]
        against = accounts.against("connected", density)
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
            head = next(csv.reader(table.read_text().splitlines()))
            yield from unlike(table, made(name, trials, head))


if __name__ == "__main__":
    sys.exit(reported(list(disagreements())))
