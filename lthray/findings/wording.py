"""Verdicts in words: rows of the verdict's table, and sentences that say what claims hold.

Both are views of the one registry of claims of a page, so that they cannot disagree.
"""

import math
import statistics as plain
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lthray.core.record import TrialRecord, machine_lines
from lthray.findings import claims, comparators, floors
from lthray.findings.claims import BOTH, FASTER, NOTHING, UNTRIED, Verdict, better, matches
from lthray.findings.contrasts import (
    COMPUTE,
    CONTRASTS,
    CONVERGED,
    EQUAL_COMPUTE,
    INITIALISATION,
    OWN,
    SMALL,
    STRUCTURE,
)
from lthray.findings.evidence import Cell, Evidence, gather, panel_of, setting
from lthray.findings.evidence import recipe as recipe_of
from lthray.findings.formats import NONE, UNITS, Shown, joined, listed, number, times
from lthray.findings.phrases import amount, budget_line, given, noise, older, rival_names
from lthray.findings.registry import Registry, Tested
from lthray.findings.rounds import kid_of, share_of_all


@dataclass(frozen=True)
class Column:
    """One column of a verdict's table: a claim, and how its numbers are written."""

    claim: str
    heading: str
    shown: Shown
    sampler: str = ""
    """Sampler whose KID is shown, also where it has no power to claim anything."""


def columns(evidence: Evidence) -> list[Column]:
    """Return the columns of a verdict's table: dense networks, controls, KID by sampler, steps."""
    shown = amount(evidence)
    columns = [Column(matches(OWN), "own dense", shown)]
    if any(EQUAL_COMPUTE in cell.planned_arms for cell in evidence.cells):
        columns.append(Column(matches(COMPUTE), COMPUTE, shown))
    steps = comparators.reference(evidence)
    if steps != evidence.steps:
        columns.append(Column(matches(CONVERGED), f"dense of {steps} steps", shown))
    for contrast in CONTRASTS:
        columns.append(Column(better(contrast.control), contrast.heading, shown))
    for sampler in floors.all_samplers(evidence):
        columns.append(Column(claims.samples(sampler), f"KID {sampler}", number, sampler))
    return [*columns, Column(FASTER, "steps", times)]


def table(verdict: Verdict) -> list[list[str]]:
    """Return a row per recipe and density, a head above: share of all parameters, seeds, each
    claim, and the two words of the grade.

    Of a claim is shown the mean over seeds of how much worse the ticket is, its one-sided bound at
    the level at which the page tests the claim, and a star where the claim holds. Last rows: what
    chance alone does to a metric, the 95 % quantile of the difference between dense networks; and
    trained networks that were given, against the dense ones.
    """
    evidence = verdict.evidence
    shown = columns(evidence)
    heads = [column.heading for column in shown]
    rows = [["recipe", "density", "of all", "seeds", *heads, "matches", "shows"]]
    for recipe in verdict.recipes:
        for density, cell in evidence.ladder(recipe):
            share = f"{share_of_all(cell.tickets.values()):.4g}".replace("nan", NONE)
            size = [f"{density:.4g}", share, cell.seeds]
            cells = []
            for column in shown:
                tested = verdict.find(column.claim, recipe, density)
                unclaimed = _unclaimed(evidence, cell, column)
                cells.append(cell_of(tested, column.shown) if tested else unclaimed)
            grade = [joined(verdict.matched(recipe, density)), verdict.shown(recipe, density)]
            rows.append([cell.recipe, *size, *cells, *grade])
    if evidence.again:
        chance = [_chance(evidence, column) for column in shown]
        rows.append(["chance alone", "1", "1", str(len(evidence.again)), *chance, "", ""])
    for name in evidence.given:
        behind = _behind(evidence, name, shown)
        rows.append([name, "1", "1", str(len(evidence.dense)), *behind, "", ""])
    return rows


def _unclaimed(evidence: Evidence, cell: Cell, column: Column) -> str:
    """Return the mean of a KID of which nothing is claimed."""
    kids = claims.kids(evidence.dense, cell.tickets, column.sampler) if column.sampler else {}
    return column.shown(plain.fmean(kids.values())) if kids else NONE


def cell_of(tested: Tested, shown: Shown) -> str:
    """Return the mean of a claim, its bound, and a star where it holds; where some of the planned
    seeds have no value, how many have one."""
    claim, values = tested.statement, tested.statement.values.values()
    if never := sum(map(math.isinf, values)):
        return f"never in {never} of {len(values)}"
    if not claim.finite:
        return NONE
    if not claim.whole:
        return f"{shown(claim.mean)} ({claim.seeds})"
    star = "*" if tested.holds else ""
    outlier = " (outlier)" if claim.sensitive else ""
    return f"{shown(claim.mean)} (< {shown(tested.bound)}){star}{outlier}"


def _chance(evidence: Evidence, column: Column) -> str:
    """Return the cell of what chance alone does, under the dense network and under each KID."""
    if column.claim == matches(OWN):
        floor = floors.floor_of(evidence, evidence.deciding)
        return f"{100 * floor:.1f}{UNITS[evidence.accurate]}"
    if column.sampler:
        return f"{floors.floor_of(evidence, kid_of(column.sampler)):.3f}"
    return NONE


def _behind(evidence: Evidence, name: str, shown: Sequence[Column]) -> list[str]:
    """Return the cells of a given network: by how much it is worse than the dense ones."""
    worse = 100 * floors.lead(evidence, name)
    told = {matches(OWN): f"{worse:+.1f}{UNITS[evidence.accurate]}"}
    for sampler, behind in floors.lead_in_samples(evidence, name).items():
        told[claims.samples(sampler)] = number(behind)
    return [told.get(column.claim, NONE) for column in shown]


def told(trials: Sequence[TrialRecord], look: int) -> tuple[list[str], dict[str, str]]:
    """Return the verdict on all settings of recorded trials, and by id of a ticket's trial the
    grade of its recipe; `look` counts looks at their seeds."""
    lines, graded = list[str](), dict[str, str]()
    for verdict in claims.judged(gather(trials), look):
        lines += sentences(verdict)
        graded |= verdict.grades(trials)
    return lines, graded


def of_ticket(
    trials: Sequence[TrialRecord], look: int, one: TrialRecord, at: float
) -> tuple[dict[str, str], list[str]]:
    """Return what the verdict on recorded trials says of one of them at density `at`: the two words
    of its grade, where it matches its own dense network, and sentences.

    Both are empty where the trial is not among what is judged.
    """
    for verdict in claims.judged(gather(trials), look):
        evidence, key = verdict.evidence, recipe_of(one)
        cell = evidence.recipes.get(key, {}).get(at)
        if cell and (evidence.setting, evidence.panel) == (setting(one), panel_of(one)):
            told = [line for density, line in _of_recipe(verdict, key) if density in (None, at)]
            matched = verdict.matched(key, at)
            grade = {"matches": joined(matched), "shows": verdict.shown(key, at)}
            told += [budget_line(evidence), family(verdict.registry, verdict.look)]
            return grade if OWN in matched else {}, told
    return {}, []


def sentences(verdict: Verdict) -> list[str]:
    """Return the verdict in words: where each recipe matches, a sentence on each of its tickets
    that has controls, then what all this must be read beside."""
    evidence = verdict.evidence
    lines: list[str] = []
    for key in verdict.recipes:
        lines += [line for _, line in _of_recipe(verdict, key)]
    lines += [*noise(evidence), *machine_lines(evidence.rounds), *_samples(verdict)]
    lines += [_margin(verdict), budget_line(evidence), *_negative(verdict)]
    lines.append(family(verdict.registry, verdict.look))
    return [*lines, *(given(evidence, name, r) for name, r in evidence.given.items())]


def _of_recipe(verdict: Verdict, recipe: str) -> Iterator[tuple[float | None, str]]:
    """Yield where a recipe matches its dense network, then a sentence on each controlled ticket,
    each with the density that it is about."""
    ladder = verdict.evidence.ladder(recipe)
    name = ladder[0][1].recipe
    seeds = max(cell.planned for _, cell in ladder)
    if seeds < 2:
        yield None, f"{name}: one seed only, which no test can generalise."
        return
    few = f", fewer than {claims.FEW}" if seeds < claims.FEW else ""
    matched = [d for d, _ in ladder if verdict.holds(matches(OWN), recipe, d)]
    at = f"at density {listed(matched)}" if matched else "at no density"
    begin = (
        f"{name} ({seeds} seeds{few}) matches its dense network of {verdict.evidence.steps} steps"
    )
    tried = f"tried at {listed([d for d, _ in ladder])}"
    controlled = [(d, cell) for d, cell in ladder if verdict.shown(recipe, d) != UNTRIED]
    end = "" if controlled else "; not both controls were trained, so nothing more is claimed"
    yield None, f"{begin} {at} ({tried}){end}."
    for density, cell in controlled:
        yield density, ticket_sentence(verdict, recipe, density, cell)


def ticket_sentence(verdict: Verdict, recipe: str, density: float, cell: Cell) -> str:
    """Return how a ticket stands beside every comparator."""
    evidence = verdict.evidence
    begin = f"At {evidence.steps} steps tickets with {density:.1%} of the free weights"
    own = verdict.find(matches(OWN), recipe, density)
    if not (cell.tickets and own):
        return f"{begin} were never trained to their end ({cell.seeds} seeds)."
    share = f"{share_of_all(cell.tickets.values()):.1%} of all parameters"
    stands = f"{_verb(verdict, recipe, density)} their dense network"
    by = f"{amount(evidence)(own.statement.mean)}, {cell.seeds} seeds"
    by += {True: ", sensitive to outliers", False: ""}[own.statement.sensitive]
    controls = _controls(verdict.shown(recipe, density))
    parts = [f"{begin} ({share}) {stands} ({by}) {controls}"]
    for name, called in rival_names(evidence).items():
        rival = verdict.find(matches(name), recipe, density)
        if rival:
            parts.append(f"{called} {_standing(verdict, name, rival)}")
    parts += _further(verdict, recipe, density)
    parts += older(evidence, cell)
    return ". ".join(part[0].upper() + part[1:] for part in parts) + "."


def _verb(verdict: Verdict, recipe: str, density: float) -> str:
    """Return how a ticket stands beside its own dense network."""
    verbs = {better(OWN): "beat", matches(OWN): "match", claims.beaten(OWN): "lose to"}
    held = (verb for claim, verb in verbs.items() if verdict.holds(claim, recipe, density))
    return next(held, "are not shown to match")


def _controls(shown: str) -> str:
    """Return what stands for the second word of a grade in a sentence."""
    return {
        BOTH: "and beat both controls",
        STRUCTURE.shows: f"and beat {STRUCTURE.called}, but not {INITIALISATION.called}",
        INITIALISATION.shows: f"and beat {INITIALISATION.called}, but not {STRUCTURE.called}",
        NOTHING: "and beat neither control",
    }[shown]


def _standing(verdict: Verdict, name: str, tested: Tested) -> str:
    """Return how the dense network `name` stands beside a ticket, whose match with it was
    tested."""
    evidence, mean = verdict.evidence, tested.statement.mean
    size = f"{100 * abs(mean):.1f} points" if evidence.accurate else f"{abs(math.expm1(-mean)):.1%}"
    margin = {True: ", within the margin", False: ""}[tested.holds]
    ways = {
        claims.beaten(name): f"is {size} better{margin}",
        better(name): f"is {size} worse",
        matches(name): "is matched",
    }
    for claim, way in ways.items():
        if verdict.registry.holds(claim, *tested.statement.place):
            return way
    least = f" (these seeds find {100 * tested.detectable:.2g}{UNITS[evidence.accurate]})"
    return f"is not told apart{least * tested.statement.whole}"


def _further(verdict: Verdict, recipe: str, density: float) -> Iterator[str]:
    """Yield what else is shown of a ticket: against small dense networks, of its speed, and under
    which samplers its samples match the dense network's."""
    if verdict.holds(better(SMALL.control), recipe, density):
        yield f"{SMALL.called} are beaten"
    faster = verdict.find(FASTER, recipe, density)
    if faster and faster.holds:
        share = f"{math.exp(faster.statement.mean):.0%}"
        yield f"tickets reach the loss of their own dense network after {share} of its steps"
    names = floors.all_samplers(verdict.evidence)
    alike = [name for name in names if verdict.holds(claims.samples(name), recipe, density)]
    if alike:
        yield f"their samples match the dense network's under {joined(alike)}"


def _negative(verdict: Verdict) -> list[str]:
    """Return how many claims hold that cannot be true, where controls were drawn twice."""
    tested = verdict.negatives
    line = (
        f"Negative controls: of {len(tested)} claims that one draw of a control is better than "
        f"another, which are all false, {sum(each.holds for each in tested)} hold."
    )
    return [line] if tested else []


def _samples(verdict: Verdict) -> list[str]:
    """Return what KID decides, where samples were taken."""
    evidence, lines = verdict.evidence, []
    for sampler in floors.all_samplers(evidence):
        margin = floors.kid_margin(evidence, sampler)
        floor = f"{floors.floor_of(evidence, kid_of(sampler)):.3g}"
        if margin is None:
            lines.append(
                f"KID under {sampler} is without power here and decides nothing; dense networks "
                f"differ by {floor}."
            )
        else:
            lines.append(
                f"KID under {sampler}: a ticket may be {margin:.3g} worse and still match."
            )
    for recipe in verdict.recipes:
        for density, cell in evidence.ladder(recipe):
            if verdict.in_samples(recipe, density):
                lines.append(
                    f"{cell.recipe} at density {density:.4g} wins in samples, under every sampler "
                    "that has power."
                )
    return lines


def _margin(verdict: Verdict) -> str:
    """Return by how much a ticket may be worse and still match; of a loss also what share of the
    steps that is worth, where it was measured along training."""
    evidence, margin = verdict.evidence, verdict.margin
    if evidence.accurate:
        return f"The margin is {100 * margin:.2g} points of accuracy."
    share = floors.worth(evidence, margin)
    if math.isnan(share):
        return f"The margin is {margin:.1%} of the dense network's loss."
    steps = f"the dense network's {evidence.steps} steps"
    return f"The margin of {margin:.1%} is worth {share:.0%} of {steps}."


def family(registry: Registry, look: int) -> str:
    """Return how many claims are tested together, and how often their seeds were looked at."""
    looks = f"Holm, level {registry.alpha:.2g}, look {look} at these seeds"
    return f"All {len(registry.family)} claims of this page are one family ({looks})."
