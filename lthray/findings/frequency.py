"""How often tickets win: outcomes of the trajectories of a design, and what chance alone does.

A trajectory is one recipe on one seed. At a density its ticket is ranked among controls that share
its chain: masks shuffled within their layers, and the same mask over new weights. Of k controls to
which the ticket is exchangeable it is the best of all with probability 1 / (k + 1), the base rate
of the share beside which it stands. To win, a ticket must be the best of both kinds and match its
dense network. Where one kind is exchangeable with it, that happens in 1 / (k + 1) at most.

A trial that was planned and has no number is the worst outcome: a ticket without one is never the
best, and no ticket is better than a control without one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lthray.config.trial import TrialConfig, words_of_role
from lthray.core.record import Point, TrialRecord
from lthray.findings import stats as st
from lthray.findings.contrasts import INITIALISATION, STRUCTURE
from lthray.findings.evidence import TICKET, recipe, setting
from lthray.findings.rounds import BORDER, MARGIN, margin_of, worse

KINDS = {STRUCTURE.control: "shuffled", INITIALISATION.control: "re-initialised"}
"""Control that a ticket is ranked among -> its name."""
NEGATIVE = {"rewind.rule": "random", "prune.criterion": "random"}
"""Words of rules that cannot win but by chance: weights drawn anew, masks drawn at random."""
MATCHES, BOTH, WINS = "matches", "best of both", "wins"
NOT_DRAWN = {*words_of_role("control"), *words_of_role("measure")}
"""Words that a design lists and that are no part of a recipe."""

Key = tuple[str, str, str]
"""What a claim is about: a rule or a word, an outcome or a change, and a density."""


def best_of(kind: str) -> str:
    """Return the name of the outcome that a ticket is the best among controls of a kind."""
    return f"best of {KINDS[kind]}"


@dataclass(frozen=True)
class Rung:
    """All trajectories at one density, as arrays of [recipes, seeds]."""

    density: float
    excess: np.ndarray
    """Excess of the ticket over its own dense network; inf where it has none."""
    error: np.ndarray
    """Standard error of its evaluation."""
    controls: Mapping[str, np.ndarray]
    """Kind of control -> excess of its draws, [recipes, seeds, draws]; -inf where it has none. Of
    both kinds, or empty where tickets are not ranked."""
    margin: float = MARGIN

    @property
    def name(self) -> str:
        """The density as it is shown."""
        return f"{self.density:.4g}"

    @property
    def outcomes(self) -> dict[str, np.ndarray]:
        """Outcome -> whether it holds, [recipes, seeds]."""
        matches = {MATCHES: self.excess < self.margin}
        if not self.controls:
            return matches
        best = {best_of(kind): self.excess < each.min(-1) for kind, each in self.controls.items()}
        both = np.logical_and(*best.values())
        return {**matches, **best, BOTH: both, WINS: both & matches[MATCHES]}

    @property
    def bases(self) -> dict[str, float]:
        """Outcome -> its largest share where the ticket is exchangeable with controls of a kind."""
        rates = {best_of(kind): 1 / (1 + each.shape[-1]) for kind, each in self.controls.items()}
        most = max(rates.values(), default=1.0)
        return {**rates, BOTH: most, WINS: most}

    @property
    def near(self) -> int:
        """Number of tickets whose excess is within two standard errors of the margin."""
        distance = np.abs(self.excess - self.margin)
        return int((distance < BORDER * self.error).sum())

    def of(self, rows: Sequence[int]) -> "Rung":
        """Return the rung of some of the recipes, by their places."""
        at = list(rows)
        controls = {kind: draws[at] for kind, draws in self.controls.items()}
        return Rung(self.density, self.excess[at], self.error[at], controls, self.margin)


@dataclass(frozen=True)
class Studied:
    """A design as it was recorded: its recipes, its seeds, and its rungs, the densest first."""

    recipes: Sequence[Mapping[str, Any]]
    """Words of each recipe's config."""
    drawn: Sequence[Mapping[str, Any]]
    """Words that the design drew for each recipe."""
    seeds: Sequence[int]
    rungs: Sequence[Rung]

    @property
    def size(self) -> int:
        """Number of trajectories that were planned."""
        return len(self.recipes) * len(self.seeds)

    @property
    def graded(self) -> list[Rung]:
        """Rungs at which tickets are ranked among controls, the densest first."""
        return [rung for rung in self.rungs if rung.controls]

    @property
    def missing(self) -> int:
        """Number of trajectories that have no ticket at the last density."""
        return int(np.isinf(self.rungs[-1].excess).sum())

    def of(self, rows: Sequence[int]) -> "Studied":
        """Return the design of some of its recipes, by their places."""
        recipes = list(map(self.recipes.__getitem__, rows))
        drawn = list(map(self.drawn.__getitem__, rows))
        return Studied(recipes, drawn, self.seeds, [rung.of(rows) for rung in self.rungs])

    def by(self, word: str) -> dict[str, "Studied"]:
        """Return the designs of the recipes that have one value of a word, by the value as text."""
        rows: dict[str, list[int]] = {}
        for row, words in enumerate(self.recipes):
            rows.setdefault(str(words[word]), []).append(row)
        return {value: self.of(rows[value]) for value in sorted(rows)}


def apart(design: Studied) -> tuple[Studied, dict[str, Studied]]:
    """Return a design without its negative controls, and these by the rule that makes them so."""
    rows: dict[str, list[int]] = {}
    for row, words in enumerate(design.recipes):
        rules = [f"{word} {rule}" for word, rule in NEGATIVE.items() if words[word] == rule]
        rows.setdefault(" and ".join(rules), []).append(row)
    real = design.of(rows.pop("", []))
    return real, {rule: design.of(rows[rule]) for rule in sorted(rows)}


# what was recorded


def studied(trials: Iterable[TrialRecord]) -> Studied:
    """Return the design whose trials these are; second runs and references are no part of it.

    All recipes are planned on all seeds, with every control that any recipe has at a density.
    """
    own = list(filter(belongs, trials))
    points = dict(zip(map(key_of, own), (trial.point for trial in own), strict=True))
    rows = dict(zip(points, range(len(points)), strict=True))
    seeds = sorted({trial.point.seed for trial in own})
    tables: dict[float, dict[str, np.ndarray]] = defaultdict(dict)
    margin = MARGIN
    for trial in own:
        place = rows[key_of(trial)], seeds.index(trial.point.seed)
        for r in trial.rounds[1:]:
            empty = np.full((len(rows), len(seeds), 2), np.nan)
            tables[r.density].setdefault(arm_of(trial.point), empty)[place] = worse(r)
            margin = margin_of(r)
    rungs = [_rung(density, tables[density], margin) for density in sorted(tables, reverse=True)]
    recipes = [{**TrialConfig().flat(), **point.config} for point in points.values()]
    return Studied(recipes, list(map(drawn_of, points.values())), seeds, rungs)


def belongs(trial: TrialRecord) -> bool:
    """Return whether a trial is of a recipe: neither a second run nor a dense network alone."""
    point = trial.point
    return not point.fork and bool(point.config.get("prune.ladder", True))


def key_of(trial: TrialRecord) -> str:
    """Return what is alike in all trials of a recipe of a design, and unlike between recipes."""
    return setting(trial) + recipe(trial)


def arm_of(point: Point) -> str:
    """Return the name of an arm of a design: the control, and which draw of it."""
    return f"{point.control} {point.config.get('draw', 0)}"


def drawn_of(point: Point) -> dict[str, Any]:
    """Return the words of a recipe that its design drew and that have one value each."""
    drawn = {word: value for word, value in point.words.items() if word not in NOT_DRAWN}
    return {word: value for word, value in drawn.items() if isinstance(value, str | float)}


def _rung(density: float, tables: Mapping[str, np.ndarray], margin: float) -> Rung:
    """Return the trajectories at a density, given (excess, error) of each arm, nan where missing.

    The arrays are [recipes, seeds, 2].
    """
    some = next(iter(tables.values()))
    excess, error = np.moveaxis(tables.get(f"{TICKET} 0", np.full_like(some, np.nan)), -1, 0)
    controls = {}
    for kind in KINDS:
        arms = [arm for arm in sorted(tables) if arm.split()[0] == kind]
        if arms:
            draws = np.stack(list(map(tables.__getitem__, arms)), axis=2)[..., 0]
            controls[kind] = np.where(np.isfinite(draws), draws, -np.inf)
    ranked = controls if len(controls) == len(KINDS) else {}
    lost = ~np.isfinite(excess)
    return Rung(density, np.where(lost, np.inf, excess), np.where(lost, 0, error), ranked, margin)


# shares and their claims


@dataclass(frozen=True)
class Share:
    """How often something holds among trajectories."""

    count: int
    of: int
    interval: st.Effective
    """95 % interval after Korn and Graubard, and the effective number."""

    @property
    def value(self) -> float:
        """Share of all planned trajectories."""
        return self.count / self.of

    @property
    def ends(self) -> str:
        """The interval as it is shown."""
        return f"{self.interval.low:.2f}-{self.interval.high:.2f}"

    @property
    def text(self) -> str:
        """The share with its interval."""
        return f"{self.value:.2f} ({self.ends})"


def share(holds: np.ndarray) -> Share:
    """Return the share of true ones among [recipes, seeds], with the interval of two-way clusters.

    Trajectories of one recipe are dependent, and so are those of one seed.
    """
    value, clusters = float(holds.mean()), min(holds.shape)
    variance, df = spread(holds)
    interval = st.korn_graubard(value, variance, holds.size, df, clusters=clusters)
    return Share(int(holds.sum()), holds.size, interval)


def spread(holds: np.ndarray) -> tuple[float, float]:
    """Return the variance of the share of true ones among [recipes, seeds], and its df.

    The variance is that between recipes plus that between seeds less that of single outcomes
    (Cameron et al. 2011), and not below that of either. The degrees of freedom are those of
    Satterthwaite (1946): of recipes or of seeds, as one or the other makes the variance.
    """
    off = holds - holds.mean()
    ways = np.array([_between(off.mean(1)), _between(off.mean(0))])
    variance = max(ways.max(), ways.sum() - _between(off.ravel()))
    degrees = np.maximum(np.array(holds.shape) - 1, 1)
    told = float((ways**2 / degrees).sum())
    df = float(ways.sum() ** 2 / told) if told else float(degrees.min())
    return float(variance), df


def _between(means: np.ndarray) -> float:
    """Return the variance of the mean of independent `means`, whose own mean is 0; 0 of one."""
    count = len(means)
    return float((means**2).sum()) / count / max(count - 1, 1)


def claimed(design: Studied, outcomes: Sequence[str], rule: str = "") -> dict[Key, float]:
    """Return the p of each claim that one of `outcomes` is more frequent than its base rate.

    `rule` is that of negative controls, and empty for recipes that can win.
    """
    found: dict[Key, float] = {}
    for rung in design.graded:
        holds, bases = rung.outcomes, rung.bases
        for outcome in outcomes:
            found[rule, outcome, rung.name] = above(holds[outcome], bases[outcome])
    return found


def above(holds: np.ndarray, base: float) -> float:
    """Return one-sided p of the share of true ones among [recipes, seeds] against `base`.

    It is the larger of two: that of a t-test over seeds of the share of recipes, and that of the
    interval of Korn and Graubard. The first knows how much seeds differ; the second is not misled
    where they happen to agree. Of one seed p is 1.
    """
    shares, found = holds.mean(0), share(holds)
    if len(shares) < 2:
        return 1.0
    by_seeds = st.t_test(base - shares, "less")
    return max(by_seeds, st.above(base, found.value, found.interval.size))
