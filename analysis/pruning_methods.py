"""Which methods win and which lose: each beside one reference, on the same seeds, at the same
densities.

    python analysis/pruning_methods.py --experiment pruning_methods.digits

A row a method: its excess over the own dense network at each density, what it has over the
reference (the first method of the list: magnitudes of the trained weights) at its sparsest common
one, paired by seed, and whether it is better than its own shuffled and re-initialised masks there.
A method loses, or is better, where the 95 % interval of that difference lies above or below zero,
each taken by itself; * = also when adjusted over all methods (Holm), for which few seeds leave
little power. Reads MLflow only; writes a table, a figure and sentences to
<out>/reports/<experiment>/.
"""

import json
import re
import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.core import metrics
from lthray.core.record import TrialRecord
from lthray.findings import claims
from lthray.findings import stats as st
from lthray.findings.charts import excess_by_density
from lthray.findings.claims import ALPHA, Claim
from lthray.findings.evidence import TICKET, Cell, Evidence, comparable, gather
from lthray.findings.rounds import paired
from lthray.findings.sections import DENSITY, Line, Lines, Section
from lthray.findings.wording import seeds_of
from lthray.tracking.read import Recorded

ORDER = 20  # place in a report
DRAWN = 6  # methods in the figure: the reference and the best others
NEAR = 0.02  # relative: a realised density that is further from the ladder's is shown
METHOD = ("prune", "regime")  # parts of a config in which methods differ
DRAWS = ("search", "design")  # phases whose recipes were drawn: the first is no reference
REFERENCE, LOSES, BETTER, OPEN = "reference", "loses", "better", "not told apart"
OUTCOMES = (LOSES, BETTER, OPEN)
ONE_METHOD = "one method only is recorded there: there is nothing to compare"
DRAWN_RECIPES = "its recipes were drawn, not listed: there is no reference to compare them with"

LADDER = re.compile(r" ladder=\S+")  # in a name, where recipes of a study differ in it

Cells = Mapping[float, Cell]


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    trials = recorded.of(call)
    if trials[0].point.phase in DRAWS:
        return DRAWN_RECIPES
    return "" if any(map(methods, compared(trials))) else ONE_METHOD


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield a table for each setting that has several recipes."""
    trials = recorded.of(call)
    settings = compared(trials)
    if not settings:
        raise ConfigError([ONE_METHOD])
    for i, evidence in enumerate(settings):
        text = [*sentences(evidence), recorded.provenance(trials)]
        name = evidence.name.replace("verdict", "methods") if i else "methods"
        yield Section(name, "Methods side by side", text, table(evidence), figure(evidence))


def compared(trials: Sequence[TrialRecord]) -> list[Evidence]:
    """Return the settings in which several recipes are recorded."""
    return [evidence for evidence in gather(comparable(trials)) if len(evidence.recipes) > 1]


def methods(evidence: Evidence) -> bool:
    """Return whether recipes differ in what is cut, not only in where they are rewound to."""
    seen = set()
    for recipe in evidence.recipes:
        words = json.loads(recipe)
        method = {word: words[word] for word in words if word.split(".")[0] in METHOD}
        seen.add(json.dumps(method, sort_keys=True))
    return len(seen) > 1


def names_of(evidence: Evidence) -> dict[str, str]:
    """Return recipe -> the name that its trials share, without the ladder."""
    names = {}
    for key, cells in evidence.recipes.items():
        name = next(iter(cells.values())).recipe
        names[key] = LADDER.sub("", name)
    return names


def named(evidence: Evidence) -> dict[str, str]:
    """Return recipe -> its name, with its last density where another recipe goes by that name."""
    names = names_of(evidence)
    every = list(names.values())
    labels = {}
    for key, name in names.items():
        labels[key] = name
        if every.count(name) > 1:
            labels[key] = f"{name} to {min(evidence.recipes[key]):g}"
    return labels


def references(evidence: Evidence) -> dict[str, str]:
    """Return recipe -> the recipe that it is compared with.

    That is the first; or, where its sparsest rung is sparser, one of the first's name that goes as
    far.
    """
    names = names_of(evidence)
    first = next(iter(names))
    same = [key for key in names if names[key] == names[first]]
    bases = {}
    for key, cells in evidence.recipes.items():
        reaching = [other for other in same if min(cells) in evidence.recipes[other]]
        bases[key] = reaching[0] if reaching else first
    return bases


def against(reference: Cells, cells: Cells) -> tuple[float, list[float]]:
    """Return the sparsest density of both, and by seed the excess there less the reference's."""
    density = min(reference.keys() & cells.keys(), default=0.0)
    if not density:
        return 0.0, []
    own, other = cells[density].excess(TICKET), reference[density].excess(TICKET)
    return density, list(paired(own, other).values())


def outcomes(evidence: Evidence) -> dict[str, str]:
    """Return recipe -> better, loses or not told apart from its reference; * = after adjusting as
    well."""
    base = references(evidence)
    first, *others = evidence.recipes
    results = {first: REFERENCE} | dict.fromkeys(others, "–")
    tested: dict[str, list[float]] = {}
    for key in others:
        _, paired = against(evidence.recipes[base[key]], evidence.recipes[key])
        if len(paired) > 1:
            tested[key] = paired
    p = [st.t_test(values) for values in tested.values()]
    for (key, values), alone, adjusted in zip(tested.items(), p, st.holm(p), strict=True):
        results[key] = OPEN
        if alone < ALPHA:
            results[key] = LOSES if plain.fmean(values) > 0 else BETTER
            results[key] += "*" if adjusted < ALPHA else ""
    return results | {key: REFERENCE for key in others if base[key] == key}


def table(evidence: Evidence) -> list[list[str]]:
    """Return a row per method, a head above."""
    densities = sorted({d for cells in evidence.recipes.values() for d in cells}, reverse=True)
    names, results, base = named(evidence), outcomes(evidence), references(evidence)
    contrasts = [claims.STRUCTURE, claims.INITIALISATION]
    rows = [["method", *(f"{d:.4g}" for d in densities), "less the reference"]]
    rows[0] += [*(contrast.heading for contrast in contrasts), "steps", "outcome"]
    for key, cells in evidence.recipes.items():
        last = cells[min(cells)]
        tested = claims.claims(evidence, last)
        row = [names[key], *(cell(cells.get(density)) for density in densities)]
        row.append("–" if base[key] == key else difference(evidence.recipes[base[key]], cells))
        row += [shown(tested.get(contrast.claim)) for contrast in contrasts]
        rows.append([*row, f"{steps_spent(last):.0f}", results[key]])
    return rows


def steps_spent(cell: Cell) -> float:
    """Return the mean of optimizer steps that a ticket took, all rounds before it included."""
    return plain.fmean(r.metrics[metrics.STEPS_SPENT.name] for r in cell.tickets.values())


def cell(of: Cell | None) -> str:
    """Return the mean excess with its 95 % interval over seeds; in brackets a density that is not
    the ladder's."""
    if of is None:
        return "–"
    realised = plain.fmean(r.metrics[metrics.PRUNABLE.name] for r in of.tickets.values())
    other = f" ({realised:.3g})" if abs(realised / of.density - 1) > NEAR else ""
    return spread(list(of.excess(TICKET).values())) + other


def difference(reference: Cells, cells: Cells) -> str:
    """Return the mean excess less the reference's, with its 95 % interval, at the sparsest density
    of both."""
    density, paired = against(reference, cells)
    return f"{spread(paired)} at {density:.4g}" if len(paired) > 1 else "–"


def spread(values: Sequence[float]) -> str:
    """Return the mean and half the 95 % interval, in per cent."""
    mean = plain.fmean(values)
    half = ""
    if len(values) > 1:
        half = f"±{(st.t_interval(values).high - mean) * 100:.1f}"
    return f"{mean * 100:+.1f}{half}%"


def shown(claim: Claim | None) -> str:
    """Return the mean of a claim with its interval, * where it holds."""
    if claim is None:
        return "–"
    return spread(claim.values) + ("*" if claim.holds else "")


def figure(evidence: Evidence) -> Lines:
    """Return the reference and the best others as curves down the ladder."""
    names = named(evidence)
    first, *others = evidence.recipes
    best = sorted(others, key=lambda key: last_excess(evidence.recipes[key]))
    lines = []
    for key in [first, *best[: DRAWN - 1]]:
        points = excess_by_density(evidence.recipes[key], TICKET)
        lines.append(Line.over(names[key], points))
    label = "excess over the own dense network"
    return Lines(DENSITY, label, lines, level=evidence.margin)


def last_excess(cells: Cells) -> float:
    """Return the mean excess at the sparsest rung."""
    return plain.fmean(cells[min(cells)].excess(TICKET).values())


def sentences(evidence: Evidence) -> list[str]:
    """Return who wins, who loses, and who finds no more than layer densities."""
    last = {k: claims.claims(evidence, cells[min(cells)]) for k, cells in evidence.recipes.items()}
    names = named(evidence)
    lines = ranking(evidence)
    for claim, text in (
        (claims.STRUCTURE.claim, "Not shown to be better than their own shuffled masks"),
        (claims.MATCHING, "Do not match their dense networks"),
    ):
        failing = [
            names[k] for k, tested in last.items() if claim in tested and not tested[claim].holds
        ]
        lines.append(f"{text} at the last rung: {some(failing)}.")
    seeds = max(seeds_of(cells) for cells in evidence.recipes.values())
    if seeds < claims.FEW:
        lines.append(f"{seeds} seeds, fewer than {claims.FEW}.")
    return lines


def ranking(evidence: Evidence) -> list[str]:
    """Return who is better and who loses against the reference, each alone and adjusted over
    all."""
    names, results = named(evidence), outcomes(evidence)
    groups: dict[str, list[str]] = {outcome: [] for outcome in OUTCOMES}
    sure = []
    for key, result in results.items():
        outcome = result.rstrip("*")
        if outcome in groups:
            groups[outcome].append(names[key])
        if result.endswith("*"):
            sure.append(f"{names[key]} {outcome}")
    compared = sum(map(len, groups.values()))
    reference, losing, better, open_ = names[next(iter(names))], *(groups[o] for o in OUTCOMES)
    return [
        f"Against {reference}, at the sparsest density of both, {len(losing)} of {compared} "
        f"methods lose: {some(losing)}.",
        f"{len(better)} are better: {some(better)}; {len(open_)} are not told apart from it: "
        f"{some(open_)}.",
        "Each by its own 95 % interval, of which one in twenty errs; adjusted over all "
        f"{compared} (Holm): {some(sure)}.",
    ]


def some(names: Sequence[str]) -> str:
    """Return names as text, or "none"."""
    return ", ".join(names) or "none"


if __name__ == "__main__":
    sys.exit(analysis("pruning_methods", __doc__ or "", sections))
