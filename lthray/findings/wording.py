"""Verdicts in words: rows of the verdict's table, and sentences that say what claims hold."""

import math
import statistics as plain
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lthray.core import metrics
from lthray.core.record import Round, machine_lines
from lthray.findings import claims
from lthray.findings import stats as st
from lthray.findings.claims import FEW, GRADES, MATCHING, Claim
from lthray.findings.evidence import Cell, Evidence, worse
from lthray.findings.rounds import kid_of, share_of_all

NONE = "–"  # a cell without a number
CUSTOMARY = ("ddim", "ddpm")  # samplers with a column in every table, so that studies line up


def percent(claim: Claim) -> str:
    """Return the mean of a claim and half its 95 % interval, in per cent."""
    return f"{100 * claim.mean:+.1f}±{100 * _half(claim):.1f}%"


def number(claim: Claim) -> str:
    """Return the mean of a claim and half its 95 % interval."""
    return f"{claim.mean:+.3f}±{_half(claim):.3f}"


def ratio(claim: Claim) -> str:
    """Return the ratio whose logarithm a claim is about, with its 95 % interval."""
    low, high = claim.interval
    return f"x{math.exp(claim.mean):.2f} ({math.exp(low):.2f}-{math.exp(high):.2f})"


def _half(claim: Claim) -> float:
    low, high = claim.interval
    return (high - low) / 2


@dataclass(frozen=True)
class Column:
    """One column of a verdict's table: a claim, and how its numbers are shown."""

    claim: str
    heading: str
    shown: Callable[[Claim], str]
    metric: str = ""
    """Metric by which dense networks differ by chance; empty where no floor is shown."""
    floor: str = "{:.3f}"
    """Format of the chance floor."""
    difference: str = "{:+.3f}"
    """Format of the difference between a given network and the dense ones."""

    def chance(self, evidence: Evidence) -> str:
        """Return the cell of what chance alone does."""
        if not self.metric:
            return NONE
        floor = claims.evidence_floor(evidence, self.metric)
        if not floor and self.claim != MATCHING:
            return NONE
        return self.floor.format(floor)


def columns(evidence: Evidence) -> list[Column]:
    """Return the columns of a verdict's table: loss, controls, KID by sampler, steps."""
    shown = [Column(MATCHING, "excess", percent, evidence.deciding, "{:.1%}", "{:+.1%}")]
    for contrast in claims.CONTRASTS:
        shown.append(Column(contrast.claim, contrast.heading, percent))
    if any(claims.EQUAL.control in cell.arms for cell in evidence.cells):
        shown.append(Column(claims.EQUAL.claim, claims.EQUAL.heading, percent))
    for sampler in sorted({*CUSTOMARY, *claims.all_samplers(evidence)}):
        shown.append(Column(sampler, f"KID {sampler}", number, kid_of(sampler)))
    return [*shown, Column(claims.FASTER, "steps", ratio)]


def table(evidence: Evidence, margin: float | None = None) -> list[list[str]]:
    """Return a row per recipe and density, a head above: share of all parameters, seeds, each
    claim's mean with its 95 % interval, grade.

    * = the claim holds. Shown are the excess of the ticket over dense, and minus that of each
    control; KID minus the dense network's; steps until it is as good as the dense network at its
    end, over that network's own. Last rows: what chance alone does to each, the 95 % quantile of
    the difference between dense networks; and trained networks that were given, against the dense
    ones.
    """
    shown = columns(evidence)
    heads = [column.heading for column in shown]
    rows = [["recipe", "density", "of all", "seeds", *heads, "grade"]]
    for recipe in evidence.recipes:
        for density, cell in evidence.ladder(recipe):
            tested = claims.claims(evidence, cell, margin)
            row = [
                cell.recipe,
                f"{density:.4g}",
                f"{share_of_all(cell.tickets.values()):.4g}",
                cell.seeds,
            ]
            row += [_cell(tested.get(column.claim), column) for column in shown]
            rows.append([*row, _grade(cell, tested)])
    if evidence.again:
        floors = [column.chance(evidence) for column in shown]
        rows.append(["chance alone", "1", "1", str(len(evidence.again)), *floors, ""])
    for name in evidence.given:
        behind = _behind(evidence, name, shown)
        rows.append([name, "1", "1", str(len(evidence.dense)), *behind, ""])
    return rows


def _cell(claim: Claim | None, column: Column) -> str:
    if claim is None:
        return NONE
    if not claim.finite:
        return f"never in {sum(map(math.isinf, claim.values))} of {len(claim.values)}"
    return column.shown(claim) + ("*" if claim.holds else "")


def _grade(cell: Cell, tested: Mapping[str, Claim]) -> str:
    if not tested:
        return NONE
    grade = claims.grade(tested)
    controlled = set(claims.NEEDED) <= cell.arms.keys()
    return f"{grade} {GRADES[grade]}" + ("" if controlled else " (no controls)")


def _behind(evidence: Evidence, name: str, shown: Sequence[Column]) -> list[str]:
    """Return the cells of a given network: by how much it is worse than the dense ones."""
    behind = claims.lead(evidence, name)
    cells = []
    for column in shown:
        value = behind.get(column.claim)
        cells.append(NONE if value is None else column.difference.format(value))
    return cells


def sentences(evidence: Evidence, margin: float | None = None) -> list[str]:
    """Return the verdict in words: one sentence or more for each recipe, then what it must be read
    beside."""
    margin = evidence.margin if margin is None else margin
    lines = [_verdict(evidence, recipe, margin) for recipe in evidence.recipes]
    lines += [*_noise(evidence), *machine_lines(evidence.rounds)]
    share = f"{claims.worth(evidence, margin):.0%}"
    steps = f"{evidence.steps} steps"
    lines.append(f"The margin of {margin:.1%} is worth {share} of the dense network's {steps}.")
    lines.append(_budget(evidence))
    return [*lines, *(_given(evidence, name, r) for name, r in evidence.given.items())]


def listed(densities: Sequence[float]) -> str:
    """Return densities as text, in their order."""
    return ", ".join(f"{d:.4g}" for d in densities)


def budget_label(undertrained: bool) -> str:
    """Return the words for a dense network that is, or is not, undertrained."""
    return "UNDERTRAINED, which flatters tickets" if undertrained else "not undertrained"


def _verdict(evidence: Evidence, recipe: str, margin: float) -> str:
    """Return where one recipe matches and wins, and what else holds at the sparsest such rung."""
    rungs = evidence.ladder(recipe)
    cells = dict(rungs)
    name, seeds = rungs[0][1].recipe, seeds_of(cells)
    if seeds < 2:
        return f"{name}: one seed only, which no test can generalise."
    few = f", fewer than {FEW}" if seeds < FEW else ""
    matched = claims.sparsest(evidence, recipe, margin)
    lowest = f"down to density {matched:.4g}" if matched else "at no rung"
    text = f"{name} ({rungs[-1][1].seeds} seeds{few}) matches its dense network {lowest}"
    tried = _with_controls(rungs)
    if not tried:
        return f"{text}; no controls were trained, so nothing more is claimed."
    won = claims.winning(evidence, recipe, margin)
    at = (won or tried)[-1]
    tested = claims.claims(evidence, cells[at], margin)
    more = f"{_extras(tested)}{_older(evidence, cells[at])}.{_equal(tested)}"
    return f"{text} and {_wins(won, tried)} (tried at {listed(tried)}). At {at:.4g} it {more}"


def seeds_of(cells: Mapping[float, Cell]) -> int:
    """Return the largest number of tickets, one per seed, at any density."""
    return max(len(cell.tickets) for cell in cells.values())


def _with_controls(rungs: Sequence[tuple[float, Cell]]) -> list[float]:
    """Return the densities at which both controls of a winning ticket were trained, and tickets of
    two seeds or more."""
    densities = []
    for density, cell in rungs:
        if set(claims.NEEDED) <= cell.arms.keys() and len(cell.tickets) > 1:
            densities.append(density)
    return densities


def _wins(won: Sequence[float], tried: Sequence[float]) -> str:
    """Return at which of the rungs with controls a recipe wins."""
    if not won:
        return "wins at none of the rungs that have controls"
    if list(won) == list(tried[: len(won)]):
        return f"wins down to {won[-1]:.4g}"
    return f"wins at {listed(won)}"


def _older(evidence: Evidence, cell: Cell) -> str:
    """Return whether a ticket's weights have seen more optimizer steps than its dense network's."""
    steps = max(r.metrics.get(metrics.STEPS_OF_WEIGHTS.name, 0) for r in cell.tickets.values())
    if steps <= evidence.steps:
        return ""
    return f", with weights that have seen {steps:.0f} steps, which flatters it"


def _equal(tested: Mapping[str, Claim]) -> str:
    """Return how a ticket stands beside a dense network of equal compute, where there is one."""
    claim = tested.get(claims.EQUAL.claim)
    if claim is None:
        return ""
    stands = "matches" if claim.holds else "does not match"
    return (
        f" It {stands} a dense network that trained for as many steps as finding and training the "
        f"ticket took ({percent(claim)} of the dense loss)."
    )


def _extras(tested: Mapping[str, Claim]) -> str:
    """Return whether a ticket is better and faster, and how its samples stand beside its loss."""
    parts = ["is better than dense" if tested[claims.BETTER].holds else "is not better than dense"]
    if claims.FASTER in tested:
        parts.append("learns faster" if tested[claims.FASTER].holds else "does not learn faster")
    sampled = claims.sampled(tested)
    if sampled:
        parts.append(_agreement(sampled, tested[MATCHING].holds))
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _agreement(sampled: Sequence[bool], matching: bool) -> str:
    """Return how samples stand beside the loss: `sampled` has an outcome per sampler."""
    if len(set(sampled)) > 1:
        return "is good or bad by the sampler"
    agree = "agree" if sampled[0] == matching else "disagree"
    return f"has samples that {agree} with the loss"


def _noise(evidence: Evidence) -> list[str]:
    """Return what chance alone does, where a second dense network was trained."""
    if not evidence.again:
        return []
    same = [worse(r)[0] for r in evidence.again.values()]
    floor = claims.evidence_floor(evidence, evidence.deciding)
    mean = f"{plain.fmean(same):+.2%} on average"
    if len(same) > 1:
        low, high = st.t_interval(same)
        mean = f"{mean} [{low:+.2%}, {high:+.2%}], p {st.t_test(same):.2g}"
    most = max(map(abs, same))
    return [
        f"Noise floor: two dense networks of one seed on two streams differ by {most:.2%} at "
        f"most ({len(same)} seeds) and by {mean}, any two dense networks by {floor:.2%} in 95 %"
        f"{_sample_noise(evidence)}."
    ]


def _sample_noise(evidence: Evidence) -> str:
    """Return the chance floor of every KID and FID of the dense networks."""
    first = next(iter(evidence.dense.values()))
    text = ""
    for name in sorted(first.metrics):
        if metrics.find(name) in (metrics.KID, metrics.FID):
            floor = claims.evidence_floor(evidence, name)
            text += f", {name.partition('/')[2]} by {floor:.3g}"
    return text


def _budget(evidence: Evidence) -> str:
    """Return whether the dense network is undertrained."""
    short, changes = claims.undertrained(evidence)
    if short is None:
        return (
            "Whether the dense network is undertrained was not measured: "
            "a verdict at this training budget."
        )
    what = "accuracy" if evidence.accurate else "loss"
    return (
        f"Twice the steps change the dense {what} by {plain.fmean(changes):+.1%} "
        f"({len(changes)} seeds): {budget_label(short)}."
    )


def _given(evidence: Evidence, name: str, r: Round) -> str:
    """Return how a trained network that was given stands beside the dense ones."""
    what = "accuracy lost" if evidence.accurate else "loss"
    behind = claims.lead(evidence, name)[MATCHING]
    size = r.metrics[metrics.PARAMETERS.name]
    return (
        f"Beside them, {name} ({size:,.0f} parameters, measured as it was given): "
        f"{what} {behind:+.1%} against the dense networks."
    )
