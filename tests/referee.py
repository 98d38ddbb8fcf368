"""A referee's recomputation of published tables, with numpy and scipy alone:
`python -m tests.referee`.

Nothing of lthray is imported. Every cell of a verdict's table, and of the tables of convergence, is
computed again from the recorded trials beside it and compared as it is printed. Formulas are those
of docs/statistics.md.
"""

import csv
import json
import math
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

RESULTS = Path(__file__).parent.parent / "results"
NONE = "–"
CONTROLS = {"- shuffled": "shuffle", "- reinit": "reinit", "- small dense": "small_dense"}
LOSS, ACCURACY, KID = "loss/heldout", "quality/accuracy", "quality/{}/kid_lenet"
GRADES = ("none", "matching", "structure matters", "winning", "winning in samples")

Trial = dict[str, Any]
Arms = dict[str, dict[int, tuple[dict[str, Any], dict[str, Any]]]]
"""Arm -> seed -> (dense round, round) of one recipe at one density."""


def arms_of(trials: list[Trial], recipe: str, density: str) -> Arms:
    """Return the rounds of a recipe at a density, each beside its own dense round."""
    arms: Arms = {}
    for trial in trials:
        point = trial["point"]
        if point["recipe"] != recipe or point["fork"] or not trial["rounds"]:
            continue
        dense, *rungs = trial["rounds"]
        for r in rungs:
            if f"{r['density']:.4g}" == density:
                arms.setdefault(point["control"], {})[point["seed"]] = (dense, r)
    return arms


def worse(dense: dict[str, Any], r: dict[str, Any]) -> float:
    """Return how much worse a round is than its dense one: accuracy lost, or relative loss."""
    a, b = r["metrics"], dense["metrics"]
    if ACCURACY in b:
        return round(b[ACCURACY] - a[ACCURACY], 12)  # both are counts of images
    return a[LOSS] / b[LOSS] - 1


def interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and half its 95 % interval."""
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return math.fsum(values) / len(values), float(half)


def below(values: list[float], margin: float) -> bool:
    """Return whether the one-sided 95 % bound of the mean lies below a margin."""
    bound = np.mean(values) + stats.sem(values) * stats.t.ppf(0.95, len(values) - 1)
    return bool(bound < margin)


def reached(curve: list[list[float]], target: float) -> float:
    """Return the step at which a curve's running minimum is down to a target, in log-log."""
    steps = [point[0] for point in curve]
    best = np.minimum.accumulate([point[2] for point in curve])
    if best[-1] > target:
        return math.inf
    at = next(i for i, loss in enumerate(best) if loss <= target)
    if at == 0:
        return steps[0]
    share = math.log(best[at - 1] / target) / math.log(best[at - 1] / best[at])
    return math.exp(math.log(steps[at - 1]) + share * math.log(steps[at] / steps[at - 1]))


def dense_pairs(trials: list[Trial]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return pairs of dense rounds that differ by chance alone."""
    dense: dict[int, dict[str, Any]] = {}
    again: dict[int, dict[str, Any]] = {}
    for trial in trials:
        point = trial["point"]
        if trial["rounds"]:
            first, *rungs = trial["rounds"]
            if len(dense.get(point["seed"], {"metrics": ()})["metrics"]) < len(first["metrics"]):
                dense[point["seed"]] = first
            if is_again(point) and rungs:
                again[point["seed"]] = rungs[0]
    pairs = [(r, dense[seed]) for seed, r in again.items()]
    return pairs + list(combinations(dense.values(), 2))


def is_again(point: dict[str, Any]) -> bool:
    """Return whether a trial trains the dense network once more, on another stream."""
    rule = point["config"].get("rewind.rule")
    return point["fork"] > 0 and point["control"] == "dense" and rule == "init"


def floor(trials: list[Trial], metric: str) -> float:
    """Return the 95 % quantile of what dense networks differ by; relative for a loss."""
    differences = []
    for one, other in dense_pairs(trials):
        a, b = one["metrics"].get(metric), other["metrics"].get(metric)
        if a is not None and b is not None:
            differences.append(abs(a - b) / (b if metric == LOSS else 1))
    return float(np.quantile(differences, 0.95)) if differences else 0.0


def row_of(trials: list[Trial], head: list[str], shown: list[str]) -> list[str]:
    """Return a row of a verdict's table for the recipe and density of the row that is shown."""
    recipe, density = shown[:2]
    arms = arms_of(trials, recipe, density)
    tickets = arms["none"]
    accurate = any(ACCURACY in dense["metrics"] for dense, _ in tickets.values())
    margin = 0.005 if accurate else 0.01
    held, cells = {}, {}
    own = {seed: worse(*pair) for seed, pair in tickets.items()}
    held["excess"] = below(list(own.values()), margin)
    cells["excess"] = percent(list(own.values()), held["excess"])
    for heading, control in CONTROLS.items():
        pairs = arms.get(control, {})
        values = [d - worse(*pairs[seed]) for seed, d in own.items() if seed in pairs]
        held[heading] = len(values) > 1 and below(values, 0.0)
        cells[heading] = percent(values, held[heading]) if len(values) > 1 else NONE
    sampled = []
    for sampler in ("ddim", "ddpm"):
        name = KID.format(sampler)
        values = []
        for dense, r in tickets.values():
            if name in dense["metrics"] and name in r["metrics"]:
                values.append(r["metrics"][name] - dense["metrics"][name])
        cells[f"KID {sampler}"] = NONE
        if len(values) > 1:
            sampled.append(below(values, floor(trials, name)))
            mean, half = interval(values)
            cells[f"KID {sampler}"] = f"{mean:+.3f}±{half:.3f}" + "*" * sampled[-1]
    cells["steps"] = steps_cell(tickets)
    share = np.mean([r["metrics"]["density/total"] for _, r in tickets.values()])
    parts = [held["excess"], held["- shuffled"], held["- reinit"]]
    parts.append(len(sampled) > 1 and all(sampled) and held["- small dense"])
    grade = parts.index(False) if False in parts else len(parts)
    tried = {"shuffle", "reinit"} <= arms.keys()
    cells["grade"] = f"{grade} {GRADES[grade]}" + ("" if tried else " (no controls)")
    start = [recipe, density, f"{share:.4g}", str(len(tickets))]
    return start + [cells[heading] for heading in head[4:]]


def percent(values: list[float], held: bool) -> str:
    """Return a mean with half its interval in per cent, and a star where its claim holds."""
    mean, half = interval(values)
    return f"{100 * mean:+.1f}±{100 * half:.1f}%" + "*" * held


def steps_cell(tickets: dict[int, tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """Return the steps until a ticket is as good as its dense network, over that network's own."""
    ratios = []
    for dense, r in tickets.values():
        if dense["curve"] and r["curve"]:
            target = dense["curve"][-1][2]
            ratios.append(reached(r["curve"], target) / reached(dense["curve"], target))
    if len(ratios) < 2:
        return NONE
    if not np.isfinite(ratios).all():
        return f"never in {np.isinf(ratios).sum()} of {len(ratios)}"
    logs = list(np.log(ratios))
    mean, half = interval(logs)
    low, high = math.exp(mean - half), math.exp(mean + half)
    return f"x{math.exp(mean):.2f} ({low:.2f}-{high:.2f})" + "*" * below(logs, 0.0)


def chance_row(trials: list[Trial], head: list[str]) -> list[str]:
    """Return the row of what chance alone does."""
    seeds = {t["point"]["seed"] for t in trials if is_again(t["point"]) and len(t["rounds"]) > 1}
    cells = dict.fromkeys(head[4:], NONE) | {"grade": ""}
    accurate = any(ACCURACY in t["rounds"][0]["metrics"] for t in trials if t["rounds"])
    cells["excess"] = f"{floor(trials, ACCURACY if accurate else LOSS):.1%}"
    for sampler in ("ddim", "ddpm"):
        chance = floor(trials, KID.format(sampler))
        cells[f"KID {sampler}"] = f"{chance:.3f}" if chance else NONE
    return ["chance alone", "1", "1", str(len(seeds)), *cells.values()]


Losses = dict[int, float]
Place = tuple[int, str]
"""Steps of the budget and density."""


class Convergence:
    """The tables of convergence, from losses by budget, density, arm and seed."""

    def __init__(self, trials: list[Trial]):
        self.dense: dict[int, Losses] = {}
        self.arms: dict[Place, dict[str, Losses]] = {}
        self.share: dict[Place, list[float]] = {}
        for trial in trials:
            self.enter(trial)
        self.family = {}
        for place in self.arms:
            self.family |= {(name, place): one for name, one in self.claims(place).items()}
        self.levels = self.by_holm()

    def enter(self, trial: Trial) -> None:
        """Take the losses of a trial."""
        point = trial["point"]
        steps, seed = point["config"].get("train.steps", 400), point["seed"]
        dense, *rungs = trial["rounds"]
        self.dense.setdefault(steps, {})[seed] = dense["metrics"][LOSS]
        if point["fork"]:
            return
        for r in rungs:
            place = steps, f"{r['density']:.4g}"
            arm = self.arms.setdefault(place, {}).setdefault(point["control"], {})
            arm[seed] = r["metrics"][LOSS]
            if point["control"] == "none":
                self.share.setdefault(place, []).append(r["metrics"]["density/total"])

    def gains(self, steps: int) -> list[float]:
        """Return by seed the logarithm of how much lower the loss of twice the steps is."""
        now, later = self.dense[steps], self.dense.get(2 * steps, {})
        return [math.log(now[seed] / later[seed]) for seed in now if seed in later]

    @property
    def reference(self) -> int:
        """The shortest converged budget, or the longest."""
        for steps in sorted(self.dense):
            gains = self.gains(steps)
            if len(gains) > 1 and below(gains, -math.log(0.97)):
                return steps
        return max(self.dense)

    def claims(self, place: Place) -> dict[str, tuple[list[float], float]]:
        """Return the claims of a place: name -> values by seed, margin."""
        arms = self.arms[place]
        rivals = {"own": self.dense[place[0]]}
        if "equal_compute" in arms:
            rivals["equal compute"] = arms["equal_compute"]
        if self.reference != place[0]:
            rivals["converged"] = self.dense[self.reference]
        found = {}
        for name, losses in rivals.items():
            values = [math.log(d / losses[seed]) for seed, d in arms["none"].items()]
            found[f"matches {name}"] = values, math.log(1.01)
            found[f"better than {name}"] = values, 0.0
            found[f"beaten by {name}"] = [-value for value in values], 0.0
        for control in CONTROLS.values():
            if control in arms:
                values = [math.log(d / arms[control][seed]) for seed, d in arms["none"].items()]
                found[f"better than {control}"] = values, 0.0
        return found

    def by_holm(self) -> dict[tuple[str, Place], float]:
        """Return the level of each claim; after the first that fails, that of the failed one."""
        p = {}
        for key, (values, margin) in self.family.items():
            p[key] = stats.ttest_1samp(values, margin, alternative="less").pvalue
        levels, failed, level = {}, False, 0.0
        for step, key in enumerate(sorted(p, key=p.__getitem__)):
            level = level if failed else 0.05 / (len(p) - step)
            failed = failed or p[key] >= level
            levels[key] = level
        return levels

    def cell(self, name: str, place: Place) -> str:
        """Return a claim as it is shown: mean, bound and star."""
        if (name, place) not in self.family:
            return NONE
        values, margin = self.family[name, place]
        error = stats.sem(values)
        mean = float(np.mean(values))
        bound = mean + error * stats.t.ppf(1 - self.levels[name, place], len(values) - 1)
        star = "*" if bound < margin else ""
        return f"{math.expm1(mean):+.1%} (< {math.expm1(bound):+.1%}){star}"

    def verdicts(self) -> list[list[str]]:
        """Return the rows of the table of verdicts, without the two words of the grade."""
        names = [f"matches {rival}" for rival in ("own", "equal compute", "converged")]
        names += [f"better than {control}" for control in CONTROLS.values()]
        rows = []
        for place in sorted(self.arms, key=lambda place: (place[0], -float(place[1]))):
            steps, density = place
            start = [str(steps), density, f"{np.mean(self.share[place]):.4g}"]
            seeds = str(len(self.arms[place]["none"]))
            rows.append([*start, seeds, *(self.cell(name, place) for name in names)])
        return rows

    def budgets(self) -> list[list[str]]:
        """Return the rows of the table of dense networks."""
        rows = []
        for steps, losses in sorted(self.dense.items()):
            gains, told = self.gains(steps), [NONE, NONE]
            if len(gains) > 1:
                bound = np.mean(gains) + stats.sem(gains) * stats.t.ppf(0.95, len(gains) - 1)
                gain = f"{-math.expm1(-np.mean(gains)):.1%} (< {-math.expm1(-bound):.1%})"
                told = [gain, "yes" if bound < -math.log(0.97) else "no"]
            mean = f"{np.mean(list(losses.values())):.4f}"
            rows.append([str(steps), str(len(losses)), mean, *told])
        return rows


def of_convergence(folder: Path) -> Iterator[str]:
    """Yield a line for each row of a page of convergence that is recomputed otherwise."""
    page = Convergence(json.loads((folder / "trials.json").read_text()))
    for name, again in (("convergence", page.verdicts()), ("budgets", page.budgets())):
        _, *rows = csv.reader((folder / f"{name}.csv").read_text().splitlines())
        for row, other in zip(rows, again, strict=True):
            if row[: len(other)] != other:
                yield f"{folder.name} {name}: {row} is {other}"


def disagreements() -> Iterator[str]:
    """Yield a line for each row that is published otherwise than it is recomputed."""
    for path in sorted(RESULTS.glob("*/convergence.csv")):
        yield from of_convergence(path.parent)
    for path in sorted(RESULTS.glob("*/verdict*.csv")):
        trials = json.loads((path.parent / "trials.json").read_text())
        budget = path.stem.removeprefix("verdict_")
        if budget.isdigit():
            own = (t["point"]["config"].get("train.steps", 400) == int(budget) for t in trials)
            trials = [t for t, mine in zip(trials, own, strict=True) if mine]
        head, *rows = csv.reader(path.read_text().splitlines())
        for row in rows:
            again = (
                chance_row(trials, head) if row[0] == "chance alone" else row_of(trials, head, row)
            )
            if row != again:
                yield f"{path.parent.name} {path.stem}: {row} is {again}"


def main() -> int:
    """Print every disagreement, and how many there are."""
    found = list(disagreements())
    print("\n".join([*found, f"{len(found)} disagreements"]))
    return len(found) > 0


if __name__ == "__main__":
    sys.exit(main())
