"""What is left of tickets when the dense network trains longer, or as long as finding one took?

    python analysis/convergence.py --experiment convergence.digits

At every training budget S, a ticket is set beside its own dense network of S steps, a dense network
of equal compute, and the converged dense network: that of the shortest budget at which twice the
steps gain less than 3 %, by the upper 95 % bound of the gain. Where no budget that was tried is so
long, the longest stands for it, and the page says so. Numbers are log-ratios of held-out losses of
one evaluation set, paired by seed. All claims of the page are one family (Holm). Reads MLflow only;
writes tables, a figure and sentences to <out>/reports/<experiment>/.
"""

import math
import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.core import metrics
from lthray.core.record import Round, TrialRecord
from lthray.findings import stats as st
from lthray.findings.claims import CONTRASTS, EQUAL, GAIN, INITIALISATION, NEEDED, STRUCTURE
from lthray.findings.evidence import MARGIN, Cell, Evidence, gather, setting
from lthray.findings.registry import Registry, Statement, Tested
from lthray.findings.rounds import share_of_all
from lthray.findings.sections import Line, Lines, Section
from lthray.tracking.read import Recorded

ORDER = 15  # place in a report
NOTHING = "no dense network of equal compute or of twice the steps is recorded beside a ticket"
SEVERAL = "evaluation sets, recipes or more than the budget differ: nothing to set side by side"
DOUBLINGS = 3  # budgets from which a line is drawn through them
OWN, COMPUTE, CONVERGED = "own", "equal compute", "converged"
CONTROLS = {c.control: c.heading.removeprefix("- ") for c in CONTRASTS}
"""Control -> its name. Of a control the claim is that the ticket is better."""

Losses = Mapping[int, float]
"""Seed -> held-out loss."""
Trends = dict[tuple[float, str], dict[int, list[tuple[int, float]]]]
"""(density, rival) -> seed -> (steps of the budget, log-ratio)."""


@dataclass(frozen=True)
class Budgets:
    """The dense networks of one setting, by training budget."""

    losses: Mapping[int, Losses]
    """Steps -> held-out losses."""

    def gain(self, steps: int) -> list[float]:
        """Return by seed the logarithm of how much lower the loss of twice the steps is."""
        now, later = self.losses[steps], self.losses.get(2 * steps, {})
        return [math.log(now[seed] / later[seed]) for seed in now if seed in later]

    @property
    def converged(self) -> int | None:
        """The shortest budget at which twice the steps gain too little; None if none is so long."""
        most = -math.log(1 - GAIN)
        for steps in sorted(self.losses):
            gains = self.gain(steps)
            if len(gains) > 1 and st.upper_bound(gains) < most:
                return steps
        return None

    @property
    def reference(self) -> int:
        """The converged budget or, where there is none, the longest of two seeds or more."""
        long = [steps for steps, losses in self.losses.items() if len(losses) > 1]
        return self.converged or max(long)


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    found = evidence_of(recorded.of(call))
    kinds = set()
    for evidence in found:
        others = {**evidence.words, "train.steps": 0}
        kinds |= {(evidence.panel, str(sorted(others.items())), name) for name in evidence.recipes}
    if len(kinds) > 1:
        return SEVERAL
    told = [
        each
        for each in found
        if each.longer or any(EQUAL.control in c.arms for c in cells_of(each))
    ]
    return "" if told else NOTHING


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield the verdict at each budget, the dense networks, and the fit over budgets."""
    if reason := applies(recorded, call):
        raise ConfigError([reason])
    trials = recorded.of(call)
    found = evidence_of(trials)
    budgets = budgets_of(found)
    registry = Registry(claims(found, budgets, planned_of(trials)))
    text = [line for evidence in found for line in sentences(evidence, budgets, registry)]
    text += [*chance(found), recorded.provenance(trials)]
    title = "Tickets beside three dense networks"
    figure = drawn(found)
    yield Section("convergence", title, text, table(found, budgets, registry), figure, verdict=True)
    yield Section("budgets", "The dense network by training budget", (), dense_table(budgets))
    if len(found) >= DOUBLINGS:
        yield Section("fit", "The advantage by doubling of the budget", (), fit_table(found))


def cells_of(evidence: Evidence) -> list[Cell]:
    """Return the cells of the one recipe of a setting, densest first."""
    (recipe,) = evidence.recipes
    return [cell for _, cell in evidence.ladder(recipe)]


def evidence_of(trials: Sequence[TrialRecord]) -> list[Evidence]:
    """Return the evidence of all settings with tickets, shortest budget first."""
    return sorted(gather(trials), key=lambda evidence: evidence.steps)


def budgets_of(found: Sequence[Evidence]) -> Budgets:
    """Return the dense networks of all budgets, also of those without a ticket."""
    losses: dict[int, Losses] = {}
    for evidence in found:
        losses.setdefault(2 * evidence.steps, _losses(evidence.longer))
        losses[evidence.steps] = _losses(evidence.dense)
    return Budgets({steps: of_seeds for steps, of_seeds in sorted(losses.items()) if of_seeds})


def planned_of(trials: Sequence[TrialRecord]) -> dict[str, int]:
    """Return setting -> number of seeds on which it was planned, whatever became of them."""
    seeds: dict[str, set[int]] = {}
    for trial in trials:
        seeds.setdefault(setting(trial), set()).add(trial.point.seed)
    return {key: len(of_setting) for key, of_setting in seeds.items()}


def claims(
    found: Sequence[Evidence], budgets: Budgets, planned: Mapping[str, int]
) -> Iterator[Statement]:
    """Yield every claim of the page: of each budget and density, against each rival and control.

    Of a rival there are three: that the ticket matches it, is better, and is beaten by it.
    """
    for evidence in found:
        seeds = planned[evidence.setting]
        for cell in cells_of(evidence):
            place = (evidence.steps, cell.density)
            for name, losses in rivals(evidence, cell, budgets).items():
                ratios = against(cell, losses)
                beaten = {seed: -ratio for seed, ratio in ratios.items()}
                yield Statement(f"matches {name}", place, ratios, seeds, math.log1p(MARGIN))
                yield Statement(f"better than {name}", place, ratios, seeds)
                yield Statement(f"beaten by {name}", place, beaten, seeds)
            for control in CONTROLS:
                if control in cell.arms:
                    ratios = against(cell, _losses(cell.arms[control]))
                    yield Statement(f"better than {control}", place, ratios, seeds)


def rivals(evidence: Evidence, cell: Cell, budgets: Budgets) -> dict[str, Losses]:
    """Return the losses of the dense networks that a ticket is set beside, by name."""
    losses: dict[str, Losses] = {OWN: _losses(evidence.dense)}
    if EQUAL.control in cell.arms:
        losses[COMPUTE] = _losses(cell.arms[EQUAL.control])
    if budgets.reference != evidence.steps:
        losses[CONVERGED] = budgets.losses[budgets.reference]
    return losses


def against(cell: Cell, losses: Losses) -> dict[int, float]:
    """Return by seed the logarithm of the ticket's loss over another; of a lost run there is
    none."""
    tickets = _losses(cell.tickets)
    return {s: math.log(loss / losses[s]) for s, loss in tickets.items() if s in losses}


def table(found: Sequence[Evidence], budgets: Budgets, registry: Registry) -> list[list[str]]:
    """Return a row for each budget and density: the ticket against each rival and control.

    Shown are the mean over seeds, its one-sided bound at the level of the claim, and a star where
    the claim holds: that the ticket matches a rival, or is better than a control.
    """
    reference = f"dense of {budgets.reference} steps"
    heads = ["own dense", "equal compute", reference, *CONTROLS.values()]
    rows = [["steps", "density", "of all", "seeds", *heads, "matches", "shows"]]
    names = [f"matches {name}" for name in (OWN, COMPUTE, CONVERGED)]
    names += [f"better than {control}" for control in CONTROLS]
    for evidence in found:
        for cell in cells_of(evidence):
            place = (evidence.steps, cell.density)
            tested = [registry.find(name, *place) for name in names]
            size = [f"{cell.density:.4g}", f"{share_of_all(cell.tickets.values()):.4g}"]
            seeds = next(each.statement.seeds for each in tested if each)
            row = [str(evidence.steps), *size, seeds, *map(shown, tested)]
            rows.append([*row, *grade(registry, place, cell)])
    return rows


def shown(tested: Tested | None) -> str:
    """Return the mean of a claim in per cent, its bound, and a star where it holds."""
    if tested is None:
        return "–"
    star = "*" if tested.holds else ""
    bound = f" (< {percent(tested.bound)})" if math.isfinite(tested.bound) else ""
    outlier = " (outlier)" if tested.statement.sensitive else ""
    return f"{percent(tested.statement.mean)}{bound}{star}{outlier}"


def grade(registry: Registry, place: tuple[float, float], cell: Cell) -> list[str]:
    """Return the two words of a grade: which dense networks are matched, and what is shown."""
    matched = [n for n in (OWN, COMPUTE, CONVERGED) if registry.holds(f"matches {n}", *place)]
    if not cell.arms.keys() >= set(NEEDED):
        return [" and ".join(matched) or "none", "not tried"]
    parts = []
    for contrast in (STRUCTURE, INITIALISATION):
        if registry.holds(f"better than {contrast.control}", *place):
            parts.append(contrast.claim)
    told = "both" if len(parts) > 1 else "".join(parts) or "nothing"
    return [" and ".join(matched) or "none", told]


def sentences(evidence: Evidence, budgets: Budgets, registry: Registry) -> Iterator[str]:
    """Yield one sentence on each ticket of a budget that has controls, the sparsest last."""
    for cell in cells_of(evidence):
        if cell.arms.keys() >= set(NEEDED):
            place = (evidence.steps, cell.density)
            yield _sentence(evidence, cell, budgets, registry, place)


def _sentence(
    evidence: Evidence,
    cell: Cell,
    budgets: Budgets,
    registry: Registry,
    place: tuple[float, float],
) -> str:
    matched, told = grade(registry, place, cell)
    controls = {
        "both": "and both controls",
        "structure": "and their shuffled masks, but not new weights",
        "initialisation": "and new weights, but not their shuffled masks",
        "nothing": "but neither control",
    }[told]
    verb = "do not match"
    if OWN in matched.split(" and "):
        verb = "beat" if registry.holds(f"better than {OWN}", *place) else "match"
    own = registry.find(f"matches {OWN}", *place)
    assert own is not None
    share = f"{share_of_all(cell.tickets.values()):.1%} of all parameters"
    size = f"{cell.density:.1%} of the free weights ({share})"
    begin = f"At {evidence.steps} steps tickets with {size} {verb} their dense network"
    parts = [f"{begin} ({percent(own.statement.mean)}, {own.statement.seeds} seeds) {controls}"]
    names = {COMPUTE: "a dense network of equal compute", CONVERGED: reference_name(budgets)}
    for name, called in names.items():
        rival = registry.find(f"matches {name}", *place)
        if rival:
            parts.append(f"{called} {_standing(registry, name, place, rival)}")
    return "; ".join(parts) + "."


def _standing(registry: Registry, name: str, place: tuple[float, float], rival: Tested) -> str:
    """Return how a dense network stands beside a ticket."""
    size = f"{abs(math.expm1(-rival.statement.mean)):.1%}"
    if registry.holds(f"beaten by {name}", *place):
        return f"is {size} better"
    if registry.holds(f"better than {name}", *place):
        return f"is {size} worse"
    return "is matched" if rival.holds else "is not told apart"


def reference_name(budgets: Budgets) -> str:
    """Return what the converged dense network is called, or the one that stands for it."""
    steps = budgets.reference
    if budgets.converged:
        return f"the converged dense network ({steps} steps)"
    return f"the longest trained dense network ({steps} steps, not shown to be converged)"


def chance(found: Sequence[Evidence]) -> Iterator[str]:
    """Yield what two dense networks of one seed differ by, which should be nothing on average."""
    values = []
    for evidence in found:
        for seed, r in evidence.again.items():
            first = evidence.dense[seed].metrics[metrics.HELDOUT.name]
            values.append(math.log(r.metrics[metrics.HELDOUT.name] / first))
    if len(values) > 1:
        low, high = st.t_interval(values)
        yield (
            f"Two dense networks of one seed differ by {percent(plain.fmean(values))} on average "
            f"[{percent(low)}, {percent(high)}], p {st.t_test(values):.2g} ({len(values)} pairs)."
        )


def dense_table(budgets: Budgets) -> list[list[str]]:
    """Return a row for each training budget: its loss, and what twice the steps gain."""
    rows = [["steps", "seeds", "held-out loss", "gain of twice the steps", "converged"]]
    for steps, losses in budgets.losses.items():
        gains, told = budgets.gain(steps), ["–", "–"]
        if len(gains) > 1:
            bound = st.upper_bound(gains)
            gain = f"{-math.expm1(-plain.fmean(gains)):.1%} (< {-math.expm1(-bound):.1%})"
            told = [gain, "yes" if bound < -math.log(1 - GAIN) else "no"]
        rows.append([str(steps), str(len(losses)), f"{plain.fmean(losses.values()):.4f}", *told])
    return rows


def fit_table(found: Sequence[Evidence]) -> list[list[str]]:
    """Return by density and rival how the log-ratio changes a doubling of the budget.

    A line is fitted for each seed; shown are the mean slope with its 95 % interval over seeds, and
    where the mean line meets the margin.
    """
    rows = [["density", "against", "seeds", "change a doubling", "meets the margin at"]]
    for (density, name), by_seed in sorted(trends_of(found).items(), reverse=True):
        lines = [line_of(points) for points in by_seed.values() if len(points) >= DOUBLINGS]
        if len(lines) < 2:
            continue
        slope, height = np.mean(lines, axis=0)
        low, high = st.t_interval([line[0] for line in lines])
        meets = (
            "never" if slope <= 0 else f"{2 ** ((math.log1p(MARGIN) - height) / slope):,.0f} steps"
        )
        change = f"{100 * slope:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]"
        rows.append([f"{density:.4g}", name, str(len(lines)), change, meets])
    return rows


def line_of(points: Sequence[tuple[int, float]]) -> np.ndarray:
    """Return slope and height of the least-squares line of log-ratios over log2(steps)."""
    steps, ratios = zip(*points, strict=True)
    return np.polyfit(np.log2(steps), ratios, 1)


def trends_of(found: Sequence[Evidence]) -> Trends:
    """Return the log-ratios of tickets over rivals of their own budget."""
    trends: Trends = {}
    for evidence in found:
        own = Budgets({evidence.steps: _losses(evidence.dense)})
        for cell in cells_of(evidence):
            for name, losses in rivals(evidence, cell, own).items():
                by_seed = trends.setdefault((cell.density, name), {})
                for seed, ratio in against(cell, losses).items():
                    by_seed.setdefault(seed, []).append((evidence.steps, ratio))
    return trends


def drawn(found: Sequence[Evidence]) -> Lines:
    """Return the log-ratio against the budget, a curve for each density and rival."""
    lines = []
    for (density, name), by_seed in sorted(trends_of(found).items(), reverse=True):
        points: dict[float, list[float]] = {}
        for seed_points in by_seed.values():
            for steps, ratio in seed_points:
                points.setdefault(steps, []).append(ratio)
        lines.append(Line.over(f"{density:.4g} against {name}", points))
    x, y = "training steps of the budget", "log-ratio of held-out losses, ticket over dense"
    return Lines(x, y, lines, ladder=False, doublings=True, level=0.0)


def percent(ratio: float) -> str:
    """Return a log-ratio as a change in per cent."""
    return f"{math.expm1(ratio):+.1%}"


def _losses(rounds: Mapping[int, Round]) -> dict[int, float]:
    """Return the finite held-out losses of rounds, by seed."""
    losses = {seed: r.metrics.get(metrics.HELDOUT.name, math.nan) for seed, r in rounds.items()}
    return {seed: loss for seed, loss in losses.items() if math.isfinite(loss)}


if __name__ == "__main__":
    sys.exit(analysis("convergence", __doc__ or "", sections))
