"""A referee's recomputation of the page on robustness, with numpy and scipy alone:
`python -m tests.referee_robustness`.

Nothing of lthray is imported.
"""

import json
import math
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from . import referee
from .referee import NONE, By, Page, Place, Round, Setting, bound, interval, one_sided

LABELS = {
    "less_noise": "less noise than told",
    "more_noise": "more noise than told",
    "gaussian": "noise in the image",
    "salt": "salt and pepper",
    "blur": "blur",
    "contrast": "less contrast",
    "l2": "attack in L2",
    "linf": "attack in L-inf",
    "weights": "noise on the weights",
    "integers": "weights of 8 and 4 bits",
    "start": "moved x_T",
    "steps": "noise at each step",
}
ATTACKS, SAMPLED = ("l2", "linf"), ("start", "steps")
ARMS = {"ticket": "none", "shuffled": "shuffle", "re-initialised": "reinit"}
ARMS["small dense"] = "small_dense"
LESS, FEWEST = math.log(1.05), 10


def logs(r: Round, stressor: str) -> tuple[float, float] | None:
    """Return the logs of the clean error and of that under a stressor; None if it says nothing."""
    if stressor in ATTACKS and not is_valid(r):
        return None
    prefix = f"robust/{stressor}_"
    errors = [value for name, value in r["metrics"].items() if name.startswith(prefix)]
    return math.log(r["metrics"]["robust/clean"]), float(np.mean(np.log(errors)))


def is_valid(r: Round) -> bool:
    """Return whether the attacks on a network pass every check."""
    m = r["metrics"]
    errors = [m[f"robust/l2_{radius}"] for radius in ("0.05", "0.1", "0.2")]
    checks = [
        errors == sorted(errors),
        m["attack/over_random"] > 2,
        m["attack/longer"] <= 1.02,
        m["attack/huge"] > 2,
        m.get("attack/transferred", 0) <= errors[1],
    ]
    return all(checks)


def is_measured(r: Round) -> bool:
    """Return whether robustness was measured of a network."""
    return "robust/clean" in r["metrics"]


class Robust(Page):
    """Tickets beside dense networks of their seed, at their clean error."""

    def delta(
        self, setting: Setting, seed: int, r: Round, stressor: str, without: int = 0
    ) -> float:
        """Return how far a network lies above the line through dense networks of its seed."""
        beside, point = self.anchors(setting, seed, stressor, without), logs(r, stressor)
        if point is None or len(beside) < FEWEST:
            return math.nan
        clean, stressed = np.array(beside).T
        at, under = point
        if not clean.min() <= at <= clean.max():
            return math.nan
        line = stats.linregress(clean, stressed)
        return float(under - line.intercept - line.slope * at)

    def anchors(
        self, setting: Setting, seed: int, stressor: str, without: int = 0
    ) -> list[tuple[float, float]]:
        """Return the logs of the dense networks of a seed that say something, but for one."""
        points = [
            logs(dense[seed], stressor)
            for other, dense in self.dense.items()
            if other[0] == setting[0] and other[1] != without
            if seed in dense and is_measured(dense[seed])
        ]
        return [point for point in points if point]

    def deltas(self, setting: Setting, rounds: dict[int, Round], stressor: str) -> By:
        """Return delta by seed."""
        return {seed: self.delta(setting, seed, r, stressor) for seed, r in rounds.items()}

    def told(self, setting: Setting, rounds: dict[int, Round], stressor: str) -> By:
        """Return what claims are made of: nothing where a stressor decides nothing."""
        values = self.deltas(setting, rounds, stressor)
        decides = self.is_calibrated(setting, stressor) and self.is_harmful(setting, stressor)
        return values if decides else dict.fromkeys(values, math.nan)

    def is_harmful(self, setting: Setting, stressor: str) -> bool:
        """Return whether a stressor raises the dense network's error by three margins or more."""
        points = [logs(r, stressor) for r in self.dense[setting].values()]
        grown = [under - clean for clean, under in filter(None, points)]
        return stressor in SAMPLED or (grown != [] and math.fsum(grown) / len(grown) >= 3 * LESS)

    def is_calibrated(self, setting: Setting, stressor: str) -> bool:
        """Return whether two tests show dense networks of .6 and of all steps equally robust."""
        words, steps = setting
        fewer = (words, round(0.6 * steps))
        gaps = []
        for seed, dense in self.dense[setting].items():
            if seed in self.dense.get(fewer, {}):
                whole = self.delta(setting, seed, dense, stressor, steps)
                short = self.delta(setting, seed, self.dense[fewer][seed], stressor, fewer[1])
                gaps += [whole - short]
        gaps = [gap for gap in gaps if math.isfinite(gap)]
        if len(gaps) < 2:
            return False
        tests = [
            stats.ttest_1samp(gaps, LESS, alternative="less"),
            stats.ttest_1samp(gaps, -LESS, alternative="greater"),
        ]
        return all(test.pvalue < 0.05 for test in tests)

    @property
    def measured(self) -> list[Place]:
        """The tickets whose robustness was measured."""
        return [p for p in self.places if all(map(is_measured, self.arms[p]["none"].values()))]

    @cached_property
    def family(self) -> dict[Any, tuple[By, float]]:
        """All claims of the page."""
        found: dict[Any, tuple[By, float]] = {}
        for place in self.places:
            found |= {(place, name): one for name, one in self.claims(place).items()}
        for stressor in LABELS:
            for place in self.measured:
                values = self.told(place[0], self.arms[place]["none"], stressor)
                found[place, f"not less {stressor}"] = values, LESS
                found[place, f"more {stressor}"] = values, 0.0
                again = self.again.get(place[0], {})
                if again:
                    chance = self.told(place[0], again, stressor)
                    found[(place[0],), f"chance {stressor}"] = chance, 0.0
        return found

    def p(self, key: Any) -> float:
        """Return the one-sided p of a claim; 1 where a seed has no finite number."""
        values, margin = self.family[key]
        return one_sided(list(values.values()), margin)

    def ratio(self, rounds: dict[int, Round], stressor: str) -> str:
        """Return the error under a stressor over the clean one, a geometric mean."""
        points = [point for r in rounds.values() if (point := logs(r, stressor))]
        if not points:
            return NONE
        return f"{math.exp(np.mean([under - clean for clean, under in points])):.2f}"

    def rows(self) -> Iterator[list[str]]:
        """Yield the rows of the table of tickets."""
        for place in sorted(self.measured, key=lambda place: -float(place[2])):
            tickets = self.arms[place]["none"]
            for stressor, label in LABELS.items():
                ratios = [self.ratio(r, stressor) for r in (self.dense[place[0]], tickets)]
                row = [place[1], place[2], label, *ratios]
                values = list(self.family[place, f"not less {stressor}"][0].values())
                finite = [value for value in values if math.isfinite(value)]
                seeds = str(len(values))
                if len(finite) < len(values):
                    seeds = f"{len(finite)} of {len(values)}"
                if not finite:
                    yield [*row, seeds, NONE, self.silent(place[0], tickets, stressor), NONE]
                    continue
                shown = f"{math.expm1(math.fsum(finite) / len(finite)):+.1%}"
                if len(finite) == len(values):
                    limit = bound(values, self.levels[place, f"not less {stressor}"])
                    shown += f" (< {math.expm1(limit):+.1%})"
                held = [
                    "yes" if self.holds(place, f"{name} {stressor}") else NONE
                    for name in ("not less", "more")
                ]
                yield [*row, seeds, shown, *held]

    def silent(self, setting: Setting, rounds: dict[int, Round], stressor: str) -> str:
        """Return why no seed has a value."""
        if not any(logs(r, stressor) for r in rounds.values()):
            return "attack invalid"
        if all(len(self.anchors(setting, seed, stressor)) < FEWEST for seed in rounds):
            return "too few dense networks"
        if not self.is_calibrated(setting, stressor):
            return "not calibrated"
        if not self.is_harmful(setting, stressor):
            return "too weak to tell"
        return "no dense network is as good"

    def controls(self) -> Iterator[list[str]]:
        """Yield the rows of the table of controls."""
        for place in sorted(self.measured, key=lambda place: -float(place[2])):
            for label, arm in ARMS.items():
                if arm in self.arms[place]:
                    yield [place[2], label, *self.cells(place[0], self.arms[place][arm])]
        for setting, again in self.again.items():
            if setting in {place[0] for place in self.measured}:
                yield ["1", "second dense", *self.cells(setting, again)]

    def cells(self, setting: Setting, rounds: dict[int, Round]) -> Iterator[str]:
        """Yield the mean of delta under each stressor, with its interval."""
        for stressor in LABELS:
            values = [
                v for v in self.deltas(setting, rounds, stressor).values() if math.isfinite(v)
            ]
            if len(values) < 2:
                yield NONE
                continue
            mean, half = interval(values)
            ends = (math.expm1(value) for value in (mean, mean - half, mean + half))
            yield "{:+.1%} [{:+.1%}, {:+.1%}]".format(*ends)


def disagreements(results: Path | None = None) -> Iterator[str]:
    """Yield a line for each row that is published otherwise than it is recomputed."""
    for path in sorted((results or referee.RESULTS).glob("*/robustness.csv")):
        page = Robust(json.loads((path.parent / "trials.json").read_text()))
        for name, again in (("robustness", page.rows()), ("controls", page.controls())):
            yield from referee.unlike(path.with_name(f"{name}.csv"), again)


if __name__ == "__main__":
    sys.exit(referee.reported(list(disagreements())))
