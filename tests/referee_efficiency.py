"""A referee's recomputation of the pages on efficiency, with numpy and scipy alone:
`python -m tests.referee_efficiency`.

Nothing of lthray is imported. Costs are computed again from the recorded trials, and the timed
table from the seconds of all blocks.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from . import referee
from .referee import NONE, Trial

CALLS = 50  # of the network, for one image


def key(trial: Trial, r: dict[str, Any]) -> tuple[str, float]:
    """Return the recipe of a trial and the density of its ladder that a round stands for."""
    ladder = trial["point"]["config"]["prune.ladder"]
    return trial["point"]["recipe"], ladder[r["index"] - 1]


def costs(trials: list[Trial]) -> Iterator[list[str]]:
    """Yield the rows of what tickets cost, in the order of recipes, densest first."""
    found: dict[tuple[str, float], list[tuple[dict[str, float], dict[str, float]]]]
    found = defaultdict(list)
    for trial in trials:
        if trial["point"]["control"] != "none":
            continue
        dense, *rounds = trial["rounds"]
        for r in rounds:
            found[key(trial, r)].append((r["metrics"], dense["metrics"]))
    for (recipe, density), pairs in found.items():
        tickets = [ticket for ticket, _ in pairs]
        excess = [t["loss/heldout"] / d["loss/heldout"] - 1 for t, d in pairs]
        counted = [t["cost/macs_masked"] / d["cost/macs_dense"] for t, d in pairs]
        stored = [
            t["cost/ticket_bytes_with_weights"] * t["density/total"] / (4 * t["cost/kept"])
            for t in tickets
        ]
        yield [
            recipe,
            f"{density:.4g}",
            f"{np.mean([t['density/total'] for t in tickets]):.4g}",
            str(len(pairs)),
            f"{np.mean(excess):+.2%}",
            f"{np.mean(counted):.3f}",
            f"{np.mean(stored):.3f}",
            f"{np.mean([t['cost/steps_spent'] for t in tickets]):,.0f}",
        ]


def spread(ratios: list[float] | None) -> tuple[float, float]:
    """Return the interval of a median."""
    found = stats.quantile_test(ratios, p=0.5).confidence_interval(0.95)
    return float(found.low), float(found.high)


def cell(ratios: list[float] | None) -> str:
    """Return a median with its interval."""
    if ratios is None:
        return NONE
    return "{:.2f} [{:.2f}, {:.2f}]".format(np.median(ratios), *spread(ratios))


def timed(one: dict[str, Any]) -> list[str]:
    """Return the row of a ticket at a batch size."""
    ratios = one["ratios"]
    median, (low, high) = np.median(ratios["ticket"]), spread(ratios["ticket"])
    second = [np.median(one["dense"]) * CALLS * (1 - 1 / ratio) for ratio in (median, high, low)]
    pays = "never shown"
    if low > max(1.0, spread(ratios["dense twice"])[1]):
        pays = "{:,.0f} [{:,.0f}, {:,.0f}]".format(*(one["finding"] / saved for saved in second))
    return [
        one["recipe"],
        f"{one['density']:.4g}",
        f"{one['counted']:.3f}",
        f"{one['executed']:.3f}",
        str(one["batch"]),
        *(cell(ratios.get(name)) for name in ("ticket", "as CSR", "dense twice")),
        f"{median * one['executed']:.2f}",
        f"{one['memory']:.3f}",
        f"{one['energy']:.3f}",
        pays,
    ]


def tables(folder: Path) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield the tables of a folder, made again."""
    if (folder / "efficiency.csv").is_file():
        yield "efficiency", list(costs(json.loads((folder / "trials.json").read_text())))
    kept = json.loads((folder / "timings.json").read_text())
    yield "timed", list(map(timed, kept["timings"]))


def disagreements(results: Path | None = None) -> Iterator[str]:
    """Yield a line for each row that is published otherwise than it is recomputed."""
    for path in sorted((results or referee.RESULTS).glob("*/timings.json")):
        for name, again in tables(path.parent):
            yield from referee.unlike(path.with_name(f"{name}.csv"), again)


if __name__ == "__main__":
    sys.exit(referee.reported(list(disagreements())))
