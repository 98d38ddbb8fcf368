"""Which methods win and which lose: each beside one reference, on the same seeds, at the same densities.

    python analysis/pruning_methods.py --experiment pruning_methods.digits

A row a method: its excess over the own dense network at each density, what it has over the reference (the first method of
the list: magnitudes of the trained weights) at its sparsest common one, paired by seed, and whether it is better than its own
shuffled and re-initialised masks there. A method loses, or is better, where the 95 % interval of that difference lies above
or below zero, each taken by itself; * = also when adjusted over all methods (Holm), for which few seeds leave little power.
Reads MLflow only; writes a table, a figure and sentences to <out>/reports/<experiment>/.
"""

import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.findings import claims
from lthray.findings import stats as st
from lthray.findings.claims import ALPHA
from lthray.findings.evidence import Cell, Evidence, comparable, gather
from lthray.findings.sections import Line, Lines, Section
from lthray.tracking.read import Recorded

Cells = Mapping[float, Cell]
DRAWN = 6  # methods in the figure: the reference and the best others


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """One table for each setting that has several methods."""
    trials = recorded.of(call)
    found = [e for e in gather(comparable(trials)) if len(e.recipes) > 1]
    if not found:
        raise ConfigError(["one method only is recorded there: there is nothing to compare"])
    for i, evidence in enumerate(found):
        text = [*sentences(evidence), recorded.provenance(trials)]
        name = evidence.name.replace("verdict", "methods") if i else "methods"
        yield Section(name, "Methods side by side", text, table(evidence), figure(evidence))


def named(evidence: Evidence) -> dict[str, str]:
    """Recipe -> its name, with its last density where another recipe goes by that name."""
    names = {key: next(iter(cells.values())).recipe for key, cells in evidence.recipes.items()}
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {key: f"{name} to {min(evidence.recipes[key]):g}" if name in twice else name for key, name in names.items()}


def against(reference: Cells, cells: Cells) -> tuple[float, list[float]]:
    """The sparsest density of both, and by seed the excess there less the reference's."""
    density = min(reference.keys() & cells.keys(), default=0.0)
    if not density:
        return 0.0, []
    own, other = cells[density].excess("none"), reference[density].excess("none")
    return density, [own[seed] - other[seed] for seed in own if seed in other]


def outcomes(evidence: Evidence) -> dict[str, str]:
    """Recipe -> better, loses or not told apart from the reference, which is the first; * = after adjusting as well."""
    first, *others = evidence.recipes
    base = references(evidence)
    paired = {key: against(evidence.recipes[base[key]], evidence.recipes[key])[1] for key in others}
    tested = {key: values for key, values in paired.items() if len(values) > 1}
    p = [st.t_test(values) for values in tested.values()]
    said = dict.fromkeys(others, "–")
    for (key, values), alone, adjusted in zip(tested.items(), p, st.holm(p), strict=True):
        sign = ("loses" if plain.fmean(values) > 0 else "better") + "*" * bool(adjusted < ALPHA)
        said[key] = sign if alone < ALPHA else "not told apart"
    return {first: "reference", **said, **{key: "reference" for key in others if base[key] == key}}


def references(evidence: Evidence) -> dict[str, str]:
    """Recipe -> that which it is compared with: the first, or, where its sparsest rung is sparser, one of the first's name
    that goes as far."""
    first, *_ = evidence.recipes
    names = {key: next(iter(cells.values())).recipe for key, cells in evidence.recipes.items()}
    same = [key for key in evidence.recipes if names[key] == names[first]]
    return {
        key: next((other for other in same if min(evidence.recipes[key]) in evidence.recipes[other]), first)
        for key in evidence.recipes
    }


def table(evidence: Evidence) -> list[list[str]]:
    """A row a method, a head above."""
    densities = sorted({d for cells in evidence.recipes.values() for d in cells}, reverse=True)
    names, said, base = named(evidence), outcomes(evidence), references(evidence)
    head = ["method", *(f"{d:.4g}" for d in densities), "less the reference", "- shuffled", "- reinit", "steps", "outcome"]
    rows = [head]
    for key, cells in evidence.recipes.items():
        last = cells[min(cells)]
        found = claims.claims(evidence, last)
        density, paired = against(evidence.recipes[base[key]], cells)
        reference = f"{spread(paired)} at {density:.4g}" if len(paired) > 1 and key != base[key] else "–"
        controls = [told(found, claim) for claim in ("structure", "initialisation")]
        spent = plain.fmean(r["metrics"]["cost/steps_spent"] for r in last.arms["none"].values())
        rows.append([names[key], *(cell(cells.get(d)) for d in densities), reference, *controls, f"{spent:.0f}", said[key]])
    return rows


def cell(found: Cell | None) -> str:
    """Mean excess with its 95 % interval over seeds; the density in brackets where it is not the one asked for."""
    if found is None:
        return "–"
    realised = plain.fmean(r["metrics"]["density/prunable"] for r in found.arms["none"].values())
    other = f" ({realised:.3g})" if abs(realised / found.density - 1) > 0.02 else ""
    return spread(list(found.excess("none").values())) + other


def spread(values: Sequence[float]) -> str:
    """Mean and half the 95 % interval."""
    half = f"±{(st.t_interval(values)[1] - plain.fmean(values)) * 100:.1f}" if len(values) > 1 else ""
    return f"{plain.fmean(values) * 100:+.1f}{half}%"


def told(found: Mapping[str, claims.Claim], name: str) -> str:
    """A claim: mean with its interval, * where it holds."""
    return spread(found[name].values) + "*" * found[name].holds if name in found else "–"


def figure(evidence: Evidence) -> Lines:
    """The reference and the best others down the ladder."""
    names = named(evidence)
    first, *others = evidence.recipes
    best = sorted(
        others, key=lambda key: plain.fmean(evidence.recipes[key][min(evidence.recipes[key])].excess("none").values())
    )
    lines = [
        Line.over(names[key], {d: list(c.excess("none").values()) for d, c in evidence.recipes[key].items()})
        for key in [first, *best[: DRAWN - 1]]
    ]
    return Lines("density of the prunable weights", "excess over the own dense network", lines, level=evidence.margin)


def sentences(evidence: Evidence) -> list[str]:
    """Who wins, who loses, and who finds no more than layer densities."""
    names, said = named(evidence), outcomes(evidence)
    listed = {
        word: [names[key] for key, outcome in said.items() if outcome.rstrip("*") == word]
        for word in ("loses", "better", "not told apart")
    }
    sure = [f"{names[key]} {outcome.rstrip('*')}" for key, outcome in said.items() if outcome.endswith("*")]
    compared = sum(map(len, listed.values()))
    lines = [
        f"Against {names[next(iter(evidence.recipes))]}, at the sparsest density of both, {len(listed['loses'])} of {compared} "
        f"methods lose: {', '.join(listed['loses']) or 'none'}.",
        f"{len(listed['better'])} are better: {', '.join(listed['better']) or 'none'}; {len(listed['not told apart'])} are not "
        f"told apart from it: {', '.join(listed['not told apart']) or 'none'}.",
        f"Each by its own 95 % interval, of which one in twenty errs; adjusted over all {compared} (Holm): "
        f"{', '.join(sure) or 'none'}.",
    ]
    last = {key: claims.claims(evidence, cells[min(cells)]) for key, cells in evidence.recipes.items()}
    plain_ones = [names[key] for key, found in last.items() if "structure" in found and not found["structure"].holds]
    lines.append(f"Not shown to be better than their own shuffled masks at the last rung: {', '.join(plain_ones) or 'none'}.")
    dense = [names[key] for key, found in last.items() if "matching" in found and not found["matching"].holds]
    lines.append(f"Do not match their dense networks at the last rung: {', '.join(dense) or 'none'}.")
    seeds = max(len(cell.arms["none"]) for cells in evidence.recipes.values() for cell in cells.values())
    if seeds < claims.FEW:
        lines.append(f"{seeds} seeds, fewer than {claims.FEW}.")
    return lines


if __name__ == "__main__":
    sys.exit(analysis("pruning_methods", __doc__ or "", sections))
