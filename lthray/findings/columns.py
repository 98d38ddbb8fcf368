"""Columns and rows of a verdict's table: a view of the registry of claims of its page."""

import math
import statistics as plain
from collections.abc import Sequence
from dataclasses import dataclass

from lthray.findings import claims, floors
from lthray.findings import comparators as beside
from lthray.findings.amounts import NONE, Shown, amount, joined, number, times
from lthray.findings.claims import FASTER, Verdict, better, matches
from lthray.findings.comparators import COMPUTE, CONVERGED, OWN
from lthray.findings.evidence import Cell, Evidence
from lthray.findings.registry import Tested
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
    if any({beside.EQUAL_COMPUTE} & {*cell.arms, *cell.failed} for cell in evidence.cells):
        columns.append(Column(matches(COMPUTE), COMPUTE, shown))
    steps = beside.reference(evidence)
    if steps != evidence.steps:
        columns.append(Column(matches(CONVERGED), f"dense of {steps} steps", shown))
    for contrast in beside.CONTRASTS:
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
    for recipe in evidence.recipes:
        for density, cell in evidence.ladder(recipe):
            size = [f"{density:.4g}", f"{share_of_all(cell.tickets.values()):.4g}", cell.seeds]
            cells = []
            for column in shown:
                tested = verdict.find(column.claim, recipe, density)
                unclaimed = _unclaimed(evidence, cell, column)
                cells.append(_cell(tested, column.shown) if tested else unclaimed)
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


def _cell(tested: Tested, shown: Shown) -> str:
    """Return the mean of a claim, its bound, and a star where it holds."""
    values = tested.statement.values.values()
    if never := sum(map(math.isinf, values)):
        return f"never in {never} of {len(values)}"
    if not tested.statement.finite:
        return NONE
    star = "*" if tested.holds else ""
    bound = f" (< {shown(tested.bound)})" if math.isfinite(tested.bound) else ""
    outlier = " (outlier)" if tested.statement.sensitive else ""
    return f"{shown(tested.statement.mean)}{bound}{star}{outlier}"


def _chance(evidence: Evidence, column: Column) -> str:
    """Return the cell of what chance alone does, under the dense network and under each KID."""
    if column.claim == matches(OWN):
        return f"{floors.floor_of(evidence, evidence.deciding):.1%}"
    if column.sampler:
        return f"{floors.floor_of(evidence, kid_of(column.sampler)):.3f}"
    return NONE


def _behind(evidence: Evidence, name: str, shown: Sequence[Column]) -> list[str]:
    """Return the cells of a given network: by how much it is worse than the dense ones."""
    told = {matches(OWN): f"{floors.lead(evidence, name):+.1%}"}
    for sampler, behind in floors.lead_in_samples(evidence, name).items():
        told[claims.samples(sampler)] = number(behind)
    return [told.get(column.claim, NONE) for column in shown]
