"""A referee's recomputation of published verdicts, with numpy and scipy alone:
`python -m tests.referee`.

Nothing of lthray is imported. Every cell of the tables of verdicts and of convergence is computed
again from the recorded trials beside it and compared as it is printed. Formulas are those of
docs/statistics.md.
"""

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from .referee_beside import beside

RESULTS = Path(__file__).parent.parent / "results"
NONE = "–"
SETTING = ("data", "model", "objective", "latent", "train")
CONTROLS = {"shuffled": "shuffle", "reinit": "reinit", "small dense": "small_dense"}
LOSS, ACCURACY, KID = "loss/heldout", "quality/accuracy", "quality/{}/kid_lenet"
STEPS = 400  # training steps where a config names none

Trial = dict[str, Any]
Round = dict[str, Any]
Setting = tuple[str, int]
"""Words of a setting without its steps, and its steps."""
Place = tuple[Setting, str, str]
"""Setting, recipe, density."""
By = dict[int, float]
"""Seed -> number."""


def interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and half its 95 % interval."""
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return math.fsum(values) / len(values), float(half)


def bound(values: list[float], level: float = 0.05) -> float:
    """Return the one-sided upper bound of the mean."""
    error = stats.sem(values) * stats.t.ppf(1 - level, len(values) - 1)
    return math.fsum(values) / len(values) + float(error)


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


def dependence(networks: int, again: int) -> float:
    """Return by what factor a quantile over pairs is too small where networks stand in several."""
    draws = np.random.default_rng(0).standard_normal((4000, networks + again))
    pairs = [draws[:, a] - draws[:, b] for a, b in combinations(range(networks), 2)]
    pairs += [draws[:, i] - draws[:, networks + i] for i in range(again)]
    quantiles = np.quantile(np.abs(np.stack(pairs, 1)), 0.95, axis=1)
    return float(np.median(quantiles) / (math.sqrt(2) * stats.norm.ppf(0.975)))


def one_sided(values: list[float], margin: float) -> float:
    """Return p of a mean below the margin; 1 where a seed has no finite number."""
    if len(values) < 2 or not np.isfinite(values).all():
        return 1.0
    return float(stats.ttest_1samp(values, margin, alternative="less").pvalue)


class Page:
    """The verdicts of one folder, from its trials."""

    def __init__(self, trials: list[Trial]):
        self.beside = beside(trials)  # claims that are no verdict's
        self.dense: dict[Setting, dict[int, Round]] = {}
        self.again: dict[Setting, dict[int, Round]] = {}
        self.arms: dict[Place, dict[str, dict[int, Round]]] = {}
        for trial in trials:
            if trial["rounds"]:
                self.enter(trial)
        first = next(iter(self.dense.values()))
        self.accurate = any(ACCURACY in r["metrics"] for r in first.values())
        self.metric = ACCURACY if self.accurate else LOSS

    def enter(self, trial: Trial) -> None:
        """Take the rounds of a trial."""
        point, (dense, *rungs) = trial["point"], trial["rounds"]
        words = point["config"]
        kept = {w: v for w, v in words.items() if w.split(".")[0] in SETTING and w != "train.steps"}
        setting = json.dumps(kept, sort_keys=True), words.get("train.steps", STEPS)
        known = self.dense.setdefault(setting, {})
        seed = point["seed"]
        if seed not in known or len(known[seed]["metrics"]) < len(dense["metrics"]):
            known[seed] = dense
        if point["fork"]:
            if point["control"] == "dense" and words.get("rewind.rule") == "init" and rungs:
                self.again.setdefault(setting, {})[seed] = rungs[0]
            return
        for r in rungs:
            place = setting, point["recipe"], f"{r['density']:.4g}"
            arm = point["control"] + " again" * (words.get("draw", 0) == 1)
            self.arms.setdefault(place, {}).setdefault(arm, {})[seed] = r

    def worse(self, first: dict[int, Round], second: dict[int, Round]) -> By:
        """Return by seed how much worse one network is than another."""
        found = {}
        for seed in first.keys() & second.keys():
            a, b = (side[seed]["metrics"][self.metric] for side in (first, second))
            found[seed] = b - a if self.accurate else math.log(a / b)
        return {seed: found[seed] for seed in first if seed in found}

    def gains(self, setting: Setting) -> list[float]:
        """Return by seed what twice the steps gain a dense network."""
        words, steps = setting
        return list(
            self.worse(self.dense[setting], self.dense.get((words, 2 * steps), {})).values()
        )

    def is_converged(self, setting: Setting) -> bool:
        """Return whether twice the steps are shown to gain too little to matter."""
        gains = self.gains(setting)
        most = 0.005 if self.accurate else -math.log(0.97)
        return len(gains) > 1 and bound(gains) < most

    def reference(self, setting: Setting) -> Setting:
        """Return the shortest converged budget, or the longest."""
        alike = sorted(other for other in self.dense if other[0] == setting[0])
        return next(filter(self.is_converged, alike), alike[-1])

    def floor(self, setting: Setting, metric: str) -> float:
        """Return the 95 % quantile of what dense networks differ by; relative for a loss."""
        dense, again = self.dense[setting], self.again.get(setting, {})
        pairs = [(r, dense[seed]) for seed, r in again.items()]
        pairs += combinations(dense.values(), 2)
        found = []
        for one, other in pairs:
            a, b = one["metrics"].get(metric), other["metrics"].get(metric)
            if a is not None and b is not None:
                found.append(abs(a - b) / (b if metric == LOSS else 1))
        quantile = float(np.quantile(found, 0.95)) if found else 0.0
        return quantile / dependence(len(dense), len(again))

    def margin(self) -> float:
        """Return by how much a ticket may be worse and still match."""
        return 0.005 if self.accurate else math.log(1.01)

    def kids(self, first: dict[int, Round], second: dict[int, Round], sampler: str) -> By:
        """Return by seed the KID of one network less that of another, where both have it."""
        name, found = KID.format(sampler), {}
        for seed in first.keys() & second.keys():
            a, b = first[seed]["metrics"], second[seed]["metrics"]
            if name in a and name in b:
                found[seed] = a[name] - b[name]
        return found

    def kid_margin(self, setting: Setting, sampler: str) -> float | None:
        """Return a third of what the second half of training gains; None without power."""
        dense = self.dense[setting]
        half = self.dense.get((setting[0], setting[1] // 2), {})
        gained = list(self.kids(half, dense, sampler).values())
        noise = list(self.kids(self.again.get(setting, {}), dense, sampler).values())
        if len(gained) < 2 or len(noise) < 2:
            return None
        gain = math.fsum(gained) / len(gained)
        return gain / 3 if gain > 3 * np.std(noise, ddof=1) else None

    def claims(self, place: Place) -> dict[str, tuple[By, float]]:
        """Return the claims on a ticket: name -> values by seed, margin."""
        setting, arms = place[0], self.arms[place]
        tickets = arms["none"]
        rivals = {"own": self.dense[setting]}
        if "equal_compute" in arms:
            rivals["equal compute"] = arms["equal_compute"]
        if self.reference(setting) != setting:
            rivals["converged"] = self.dense[self.reference(setting)]
        found: dict[str, tuple[By, float]] = {}
        for name, rounds in rivals.items():
            values = self.worse(tickets, rounds)
            found[f"matches {name}"] = values, self.margin()
            found[f"better than {name}"] = values, 0.0
            found[f"beaten by {name}"] = {seed: -value for seed, value in values.items()}, 0.0
        controls = [control for control in CONTROLS.values() if control in arms]
        for control in controls:
            found[f"better than {control}"] = self.worse(tickets, arms[control]), 0.0
        for control in controls:
            if f"{control} again" in arms:
                found[f"{control} twice"] = self.worse(arms[control], arms[f"{control} again"]), 0.0
        for sampler in samplers(tickets):
            margin = self.kid_margin(setting, sampler)
            if margin is not None:
                found[f"KID {sampler}"] = self.kids(tickets, self.dense[setting], sampler), margin
                for control in controls:
                    if values := self.kids(tickets, arms[control], sampler):
                        found[f"KID {sampler} {control}"] = values, 0.0
        ratios = {}
        for seed, r in tickets.items():
            curve = self.dense[setting][seed]["curve"]
            if curve and r["curve"]:
                target = curve[-1][2]
                ratio = reached(r["curve"], target) / reached(curve, target)
                ratios[seed] = math.log(ratio)
        if ratios:
            found["faster"] = ratios, 0.0
        return found

    @cached_property
    def family(self) -> dict[tuple[Place, str], tuple[By, float]]:
        """All claims of the page."""
        found = {**self.beside}
        for place in self.places:
            found |= {(place, name): one for name, one in self.claims(place).items()}
        return found

    @property
    def places(self) -> list[Place]:
        """All tickets."""
        return [place for place, arms in self.arms.items() if "none" in arms]

    def p(self, key: tuple[Place, str]) -> float:
        """Return the one-sided p of a claim; 1 where a seed has no finite number."""
        values, margin = self.family[key]
        numbers = list(values.values())
        planned = len(numbers) if key in self.beside else len(self.arms[key[0]]["none"])
        return one_sided(numbers, margin) if len(numbers) == planned else 1.0

    @cached_property
    def levels(self) -> dict[tuple[Place, str], float]:
        """The level of each claim; after the first that fails, that of the failed one."""
        p = {key: self.p(key) for key in self.family}
        levels, failed, level = {}, False, 0.0
        for step, key in enumerate(sorted(p, key=p.__getitem__)):
            level = level if failed else 0.04 / (len(p) - step)
            failed = failed or p[key] >= level
            levels[key] = level
        return levels

    def holds(self, place: Place, name: str) -> bool:
        """Return whether a claim was made and holds."""
        key = place, name
        if key not in self.family or self.p(key) == 1.0:
            return False
        values, margin = self.family[key]
        return bound(list(values.values()), self.levels[key]) < margin

    def cell(self, place: Place, name: str) -> str:
        """Return a claim as it is shown: mean, bound and star."""
        if (place, name) not in self.family:
            sampler = name.removeprefix("KID ")
            kids = self.kids(self.arms[place]["none"], self.dense[place[0]], sampler)
            unclaimed = name.startswith("KID ") and kids
            return f"{np.mean(list(kids.values())):+.3f}" if unclaimed else NONE
        values = list(self.family[place, name][0].values())
        if never := int(np.isinf(values).sum()):
            return f"never in {never} of {len(values)}"
        limit = bound(values, self.levels[place, name])
        star = "*" if self.holds(place, name) else ""
        mean = math.fsum(values) / len(values)
        return f"{self.shown(name, mean)} (< {self.shown(name, limit)}){star}"

    def shown(self, name: str, value: float) -> str:
        """Return a number as it is written."""
        if name == "faster":
            return f"x{math.exp(value):.2f}"
        if name.startswith("KID"):
            return f"{value:+.3f}"
        return f"{100 * value:+.1f} points" if self.accurate else f"{math.expm1(value):+.1%}"

    def words(self, place: Place) -> list[str]:
        """Return the two words of a grade."""
        names = ("own", "equal compute", "converged")
        matched = [name for name in names if self.holds(place, f"matches {name}")]
        if (
            "own" in matched
            and self.is_converged(place[0])
            and self.reference(place[0]) == place[0]
        ):
            matched.append("converged")
        if not {"shuffle", "reinit"} <= self.arms[place].keys():
            shows = "not tried"
        else:
            parts = {"structure": "shuffle", "initialisation": "reinit"}
            held = [part for part, arm in parts.items() if self.holds(place, f"better than {arm}")]
            shows = "both" if len(held) > 1 else "".join(held) or "nothing"
        return [" and ".join(matched) or "none", shows]

    def row(self, place: Place, head: list[str]) -> list[str]:
        """Return the cells of a ticket below the heads of a table."""
        tickets = self.arms[place]["none"]
        share = np.mean([r["metrics"]["density/total"] for r in tickets.values()])
        cells = {
            "recipe": place[1],
            "steps of the budget": str(place[0][1]),
            "density": place[2],
            "of all": f"{share:.4g}",
            "seeds": str(len(tickets)),
            "own dense": self.cell(place, "matches own"),
            "equal compute": self.cell(place, "matches equal compute"),
            "steps": self.cell(place, "faster"),
        }
        cells["matches"], cells["shows"] = self.words(place)
        for heading in head:
            if heading in CONTROLS:
                cells[heading] = self.cell(place, f"better than {CONTROLS[heading]}")
            elif heading.startswith("KID "):
                cells[heading] = self.cell(place, heading)
            elif heading.startswith("dense of "):
                cells[heading] = self.cell(place, "matches converged")
        return [cells[heading] for heading in head]

    def chance(self, setting: Setting, head: list[str]) -> list[str]:
        """Return the row of what chance alone does."""
        cells = dict.fromkeys(head, NONE) | {"matches": "", "shows": ""}
        cells |= {"recipe": "chance alone", "density": "1", "of all": "1"}
        cells["seeds"] = str(len(self.again[setting]))
        unit = " points" if self.accurate else "%"
        cells["own dense"] = f"{100 * self.floor(setting, self.metric):.1f}{unit}"
        for heading in head:
            if heading.startswith("KID "):
                name = KID.format(heading.removeprefix("KID "))
                cells[heading] = f"{self.floor(setting, name):.3f}"
        return [cells[heading] for heading in head]

    def budgets(self) -> Iterator[list[str]]:
        """Yield the rows of the table of dense networks."""
        for setting, dense in sorted(self.dense.items()):
            gains, told = self.gains(setting), [NONE, NONE]
            if len(gains) > 1:
                low, high = (-math.expm1(-value) for value in (np.mean(gains), bound(gains)))
                told = [f"{low:.1%} (< {high:.1%})", "yes" if self.is_converged(setting) else "no"]
            mean = f"{np.mean([r['metrics'][LOSS] for r in dense.values()]):.4f}"
            yield [str(setting[1]), str(len(dense)), mean, *told]

    def fit(self) -> Iterator[list[str]]:
        """Yield the rows of the fit over budgets, sparsest last."""
        points: dict[tuple[float, str], dict[int, list[tuple[float, float]]]] = {}
        for place in sorted(self.places, key=lambda place: place[0][1]):
            arms, (setting, _, density) = self.arms[place], place
            rivals = {"own": self.dense[setting], "equal compute": arms.get("equal_compute", {})}
            for name, rounds in rivals.items():
                for seed, ratio in self.worse(arms["none"], rounds).items():
                    own = points.setdefault((float(density), name), {})
                    own.setdefault(seed, []).append((math.log2(setting[1]), ratio))
        for (density, name), seeds in sorted(points.items(), reverse=True):
            lines = [np.polyfit(*zip(*own, strict=True), 1) for own in seeds.values()]
            slope, height = np.mean(lines, axis=0)
            _, half = interval([line[0] for line in lines])
            low, high = 100 * (slope - half), 100 * (slope + half)
            change = f"{100 * slope:+.2f} points [{low:+.2f}, {high:+.2f}]"
            at = (math.log(1.01) - height) / slope
            meets = f"{2**at:,.0f} steps" if 0 < at < 40 else "never"
            longest = max(steps for own in seeds.values() for steps, _ in own)
            if longest < at < 40:
                meets += ", more than were tried"
            yield [f"{density:.4g}", name, str(len(lines)), change, meets]


def samplers(tickets: dict[int, Round]) -> list[str]:
    """Return the samplers whose KID was taken of tickets."""
    names = {name for r in tickets.values() for name in r["metrics"]}
    parts = [name.split("/") for name in names if name.endswith("/kid_lenet")]
    return sorted(part[1] for part in parts if len(part) == 3)


def row_again(page: Page, head: list[str], row: list[str], name: str) -> list[str]:
    """Return a row of a verdict's table, computed again for what the row says it is of.

    `name` is that of the table: verdict, verdict_400, verdict_400_latents, verdict_400_mnist,
    verdict_400_latents_mnist.
    """
    _, steps, which = [*name.split("_", 2), "", ""][:3]
    wanted = [s for s in page.dense if steps in ("", str(s[1]))]
    both = {"latent_denoise" in words for words, _ in page.dense} == {True, False}
    in_latents = which.partition("_")[0] == "latents"
    data = which.removeprefix("latents").removeprefix("_")
    settings = [s for s in wanted if not both or ("latent_denoise" in s[0]) == in_latents]
    if data:
        settings = [s for s in settings if json.loads(s[0]).get("data.name") == data]
    if row[0] == "chance alone":
        return page.chance(next(s for s in settings if s in page.again), head)
    recipe, density = row[head.index("recipe")], row[head.index("density")]
    (place,) = [p for p in page.places if p[0] in settings and p[1:] == (recipe, density)]
    return page.row(place, head)


def unlike(table: Path, again: Iterable[list[str]]) -> Iterator[str]:
    """Yield a line for each row of a published table that is not the one that is made again."""
    _, *rows = csv.reader(table.read_text().splitlines())
    for row, other in zip(rows, again, strict=True):
        if row != other:
            yield f"{table.parent.name} {table.stem}: {row} is {other}"


def disagreements(results: Path | None = None) -> Iterator[str]:
    """Yield a line for each row that is published otherwise than it is recomputed."""
    results = results or RESULTS
    for path in sorted(results.glob("*/trials.json")):
        if not (path.parent / "transfer.csv").is_file():  # whose claims are more than a verdict's
            yield from of_verdicts(path.parent, Page(json.loads(path.read_text())))
    for path in sorted(results.glob("*/convergence.csv")):
        yield from of_convergence(path)


def of_verdicts(folder: Path, page: Page) -> Iterator[str]:
    """Yield a line for each row of the verdicts of a folder that is recomputed otherwise."""
    for path in sorted(folder.glob("verdict*.csv")):
        head, *rows = csv.reader(path.read_text().splitlines())
        yield from unlike(path, (row_again(page, head, row, path.stem) for row in rows))


def of_convergence(path: Path) -> Iterator[str]:
    """Yield a line for each row of the page of convergence that is recomputed otherwise."""
    page = Page(json.loads((path.parent / "trials.json").read_text()))
    (first, *head), *rows = csv.reader(path.read_text().splitlines())
    assert first == "budget"
    for steps, *row in rows:
        (place,) = [p for p in page.places if (str(p[0][1]), p[2]) == (steps, row[0])]
        if row != page.row(place, head):
            yield f"{path.parent.name}: {steps} {row} is {page.row(place, head)}"
    for name, again in (("budgets", page.budgets()), ("fit", page.fit())):
        _, *published = csv.reader(path.with_name(f"{name}.csv").read_text().splitlines())
        for row, other in zip(published, again, strict=True):
            if row != other:
                yield f"{path.parent.name} {name}: {row} is {other}"


def reported(found: list[str]) -> int:
    """Print every disagreement, and how many there are; return the exit code."""
    print("\n".join([*found, f"{len(found)} disagreements"]))
    return len(found) > 0


if __name__ == "__main__":
    sys.exit(reported(list(disagreements())))
