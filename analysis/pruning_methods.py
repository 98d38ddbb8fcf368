"""Which methods win and which lose: each beside one reference, on the same seeds, at the same
densities.

    python analysis/pruning_methods.py --experiment pruning_methods.digits

A row is a method. It has its excess over the own dense network at each density, and its excess less
that of the reference, paired by seed, at the sparsest density of both. The reference is the first
method of the list: magnitudes of the trained weights. At the last rung the row says whether the
method is better than its own shuffled and re-initialised masks. It also says whether it matches a
dense network that trained for as many steps as finding the ticket took. A method loses, or is
better, or beats its controls, where that claim holds (*). All claims of the page are one
exploratory family, of which at most 5 % are false on average (Benjamini and Hochberg): what it
finds is for a confirmation to claim. Intervals are of 95 %, each taken by itself. Reads MLflow
only; writes a table, a figure and sentences to <out>/reports/<experiment>/.
"""

import json
import math
import re
import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.core import metrics
from lthray.core.record import TrialRecord
from lthray.findings import stats as st
from lthray.findings.charts import excess_by_density
from lthray.findings.claims import FEW
from lthray.findings.contrasts import EQUAL, INITIALISATION, STRUCTURE
from lthray.findings.discoveries import Discoveries
from lthray.findings.evidence import TICKET, Cell, Evidence, comparable, gather, recipe, setting
from lthray.findings.figures import DENSITY, Line, Lines
from lthray.findings.formats import plural
from lthray.findings.phrases import noise
from lthray.findings.registry import Place, Statement, Tested
from lthray.findings.rounds import paired
from lthray.findings.sections import Section
from lthray.findings.stats import ALPHA
from lthray.findings.transfer import is_lent, transfers
from lthray.tracking.read import Recorded

ORDER = 20  # place in a report
DRAWN = 6  # methods in the figure: the reference and the best others
NEAR = 0.02  # relative: a realised density that is further from the ladder's is shown
METHOD = ("prune", "regime")  # parts of a config in which methods differ
DRAWS = ("search", "design")  # phases whose recipes were drawn: the first is no reference
REFERENCE, LOSES, BETTER, OPEN = "reference", "loses", "better", "not told apart"
OUTCOMES = (LOSES, BETTER, OPEN)
MATCHES, STAR, NONE = "matches", "*", "–"  # a star stands where a claim holds
CONTRASTS = (STRUCTURE, INITIALISATION, EQUAL)
ELSEWHERE = "its tickets come from other trials, of which the page on transfer tells"
ONE_METHOD = "one method only is recorded there: there is nothing to compare"
DRAWN_RECIPES = "its recipes were drawn, not listed: there is no reference to compare them with"

LADDER = re.compile(r" ladder=\S+")  # in a name, where recipes of a study differ in it

Cells = Mapping[float, Cell]
Planned = Mapping[tuple[str, str], set[int]]
"""(setting, recipe) -> seeds on which it was planned, whatever became of them."""


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    trials = recorded.of(call)
    if trials[0].point.phase in DRAWS:
        return DRAWN_RECIPES
    if any(map(transfers, gather(trials))):
        return ELSEWHERE
    return "" if any(map(methods, compared(trials))) else ONE_METHOD


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield a table for each setting that has several recipes."""
    trials = recorded.of(call)
    settings = compared(trials)
    if not settings:
        raise ConfigError([ONE_METHOD])
    family = Discoveries(claims(settings, planned_of(trials)))
    for i, evidence in enumerate(settings):
        text = [*sentences(evidence, family), recorded.provenance(trials)]
        name = evidence.name.replace("verdict", "methods") if i else "methods"
        rows = table(evidence, family)
        drawn, said = figure(evidence), answer(evidence, family)
        yield Section(name, "Methods side by side", text, rows, drawn, answer=said)


def compared(trials: Sequence[TrialRecord]) -> list[Evidence]:
    """Return the settings in which several recipes are recorded, none with a lent ticket."""
    settings = gather(comparable(trials))
    return [e for e in settings if len(e.recipes) > 1 and not any(map(is_lent, e.recipes))]


def methods(evidence: Evidence) -> bool:
    """Return whether recipes differ in what is cut, not only in where they are rewound to."""
    seen = set()
    for key in evidence.recipes:
        words = json.loads(key)
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


def against(reference: Cells, cells: Cells) -> tuple[float, dict[int, float]]:
    """Return the sparsest density of both, and by seed the excess there less the reference's."""
    density = min(reference.keys() & cells.keys(), default=0.0)
    if not density:
        return 0.0, {}
    return density, paired(cells[density].excess(TICKET), reference[density].excess(TICKET))


def planned_of(trials: Sequence[TrialRecord]) -> Planned:
    """Return the seeds on which each recipe was planned in each setting."""
    seeds: dict[tuple[str, str], set[int]] = {}
    for trial in trials:
        seeds.setdefault((setting(trial), recipe(trial)), set()).add(trial.point.seed)
    return seeds


def claims(found: Sequence[Evidence], planned: Planned) -> Iterator[Statement]:
    """Yield every claim of the page, of each setting and recipe.

    At its last rung a recipe may match its dense network and one of equal compute, and be better
    than its controls; at the sparsest of both, it may lose to its reference or be better.
    """
    for evidence in found:
        base = references(evidence)
        for key, cells in evidence.recipes.items():
            seeds = planned[evidence.setting, key]
            yield from _alone(evidence, key, len(seeds))
            if base[key] != key:
                both = len(seeds & planned[evidence.setting, base[key]])
                _, more = against(evidence.recipes[base[key]], cells)
                less = {seed: -value for seed, value in more.items()}
                yield Statement(BETTER, place_of(evidence, key), more, both)
                yield Statement(LOSES, place_of(evidence, key), less, both)


def _alone(evidence: Evidence, key: str, seeds: int) -> Iterator[Statement]:
    """Yield the claims of a recipe, planned on so many `seeds`, that need no other recipe."""
    place, last = place_of(evidence, key), last_of(evidence.recipes[key])
    own = last.excess(TICKET)
    yield Statement(MATCHES, place, own, seeds, evidence.margin)
    for contrast in CONTRASTS:
        if contrast.control in {**last.arms, **last.failed}:
            differences = paired(own, last.excess(contrast.control))
            border = evidence.margin if contrast is EQUAL else 0.0
            yield Statement(contrast.control, place, differences, seeds, border)


def place_of(evidence: Evidence, key: str) -> Place:
    """Return what the claims on a recipe of a setting are about."""
    return evidence.setting, str(evidence.panel), key


def last_of(cells: Cells) -> Cell:
    """Return the cell of the last rung that was planned for a recipe, whatever became of it."""
    return cells[min(cells)]


def outcomes(evidence: Evidence, family: Discoveries) -> dict[str, str]:
    """Return recipe -> loses, better or not told apart from its reference."""
    base, results = references(evidence), {}
    for key in evidence.recipes:
        place = place_of(evidence, key)
        tested = family.find(LOSES, *place)
        if base[key] == key:
            results[key] = REFERENCE
        elif tested is None:
            results[key] = NONE
        elif not tested.statement.whole:
            results[key] = f"{tested.statement.seeds} seeds"
        else:
            held = [name for name in (LOSES, BETTER) if family.holds(name, *place)]
            results[key] = "".join(held) or OPEN
    return results


def table(evidence: Evidence, family: Discoveries) -> list[list[str]]:
    """Return a row per method, a head above."""
    densities = sorted({d for cells in evidence.recipes.values() for d in cells}, reverse=True)
    names, results, base = named(evidence), outcomes(evidence, family), references(evidence)
    rows = [["method", "seeds", *(f"{d:.4g}" for d in densities), "less the reference"]]
    rows[0] += [*(contrast.heading for contrast in CONTRASTS), "steps", "outcome"]
    for key, cells in evidence.recipes.items():
        place = place_of(evidence, key)
        row = [names[key], seeds_of(family.find(MATCHES, *place))]
        row += [cell(cells.get(density)) for density in densities]
        if family.holds(MATCHES, *place):
            row[2 + densities.index(min(cells))] += STAR
        row.append(NONE)
        if base[key] != key:
            told = results[key] in (LOSES, BETTER)
            row[-1] = difference(evidence.recipes[base[key]], cells, star=STAR * told)
        row += [shown(family.find(contrast.control, *place)) for contrast in CONTRASTS]
        rows.append([*row, steps_spent(last_of(cells)), results[key]])
    return rows


def seeds_of(tested: Tested | None) -> str:
    """Return how many of the planned seeds a claim is about."""
    return tested.statement.seeds if tested else NONE


def steps_spent(cell: Cell) -> str:
    """Return the mean of optimizer steps that a ticket took, all that it needed included."""
    taken = [r.metrics[metrics.STEPS_SPENT.name] for r in cell.tickets.values()]
    return f"{plain.fmean(taken):.0f}" if taken else NONE


def cell(of: Cell | None) -> str:
    """Return the mean excess with its 95 % interval over seeds; in brackets a density that is not
    the ladder's."""
    if of is None or not of.tickets:
        return NONE
    realised = plain.fmean(r.metrics[metrics.PRUNABLE.name] for r in of.tickets.values())
    other = f" ({realised:.3g})" if abs(realised / of.density - 1) > NEAR else ""
    return spread(list(of.excess(TICKET).values())) + other


def difference(reference: Cells, cells: Cells, *, star: str) -> str:
    """Return the mean excess less the reference's, with its 95 % interval and a `star`, at the
    sparsest density of both."""
    density, more = against(reference, cells)
    return f"{spread(list(more.values()))}{star} at {density:.4g}" if len(more) > 1 else NONE


def spread(values: Sequence[float]) -> str:
    """Return the mean and half the 95 % interval, in per cent."""
    mean = plain.fmean(values)
    half = ""
    if len(values) > 1:
        half = f"±{(st.t_interval(values).high - mean) * 100:.1f}"
    return f"{mean * 100:+.1f}{half}%"


def shown(tested: Tested | None) -> str:
    """Return the mean of a claim with its interval, * where it holds."""
    if tested is None or len(tested.statement.finite) < 2:
        return NONE
    return spread(tested.statement.finite) + STAR * tested.holds


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
    """Return the mean excess at the sparsest rung; inf where no seed came there."""
    values = last_of(cells).excess(TICKET).values()
    return plain.fmean(values) if values else math.inf


def sentences(evidence: Evidence, family: Discoveries) -> list[str]:
    """Return who loses, who is better, who finds no more than layer densities, and what all of it
    is worth."""
    lines = ranking(evidence, family)
    failing = some(_with(evidence, family, STRUCTURE.control, held=False))
    lines.append(
        f"Not shown to be better than their own shuffled masks at the last rung: {failing}."
    )
    failing = some(_with(evidence, family, MATCHES, held=False))
    lines.append(f"Not shown to match their dense networks at the last rung: {failing}.")
    lines += [worth_the_steps(evidence, family), *noise(evidence), exploratory(family)]
    seeds = min(len(last_of(cells).tickets) for cells in evidence.recipes.values())
    if seeds < FEW:
        lines.append(f"{plural(seeds, 'seed')}, fewer than {FEW}.")
    return lines


def _with(evidence: Evidence, family: Discoveries, claim: str, *, held: bool) -> list[str]:
    """Return the names of the recipes of which a claim was tested and holds, or does not."""
    chosen = []
    for key, name in named(evidence).items():
        tested = family.find(claim, *place_of(evidence, key))
        if tested and tested.holds == held:
            chosen.append(name)
    return chosen


def worth_the_steps(evidence: Evidence, family: Discoveries) -> str:
    """Return which recipes match a dense network that took as many steps as finding them did."""
    equal, other = (_with(evidence, family, EQUAL.control, held=held) for held in (True, False))
    if not equal and not other:
        return "No dense network of equal compute is recorded beside them."
    tried = len(equal) + len(other)
    what = "a dense network that took as many steps as finding the ticket did"
    return f"{len(equal)} of {tried} match {what}: {some(equal)}."


def exploratory(family: Discoveries) -> str:
    """Return how the claims of the page were tested."""
    held = sum(tested.holds for tested in family)
    return (
        f"The page's {len(family.family)} claims are one exploratory family, and {held} hold (*): "
        f"of these at most {ALPHA:.0%} are false on average (Benjamini and Hochberg). "
        "To claim one of them takes a confirmation on fresh seeds."
    )


def ranking(evidence: Evidence, family: Discoveries) -> list[str]:
    """Return who loses against the reference, who is better, and who is not told apart."""
    names, results = named(evidence), outcomes(evidence, family)
    groups: dict[str, list[str]] = {outcome: [] for outcome in OUTCOMES}
    base, first = references(evidence), next(iter(names))
    for key, result in results.items():
        told = [f"against {names[base[key]]}"] if base[key] != first else []
        if result == OPEN:
            tested = family.find(BETTER, *place_of(evidence, key))
            assert tested
            told.append(f"its seeds find {tested.detectable:.1%}")
        if result in groups:
            groups[result].append(f"{names[key]} ({', '.join(told)})" if told else names[key])
    tried = sum(map(len, groups.values()))
    reference, losing, better, open_ = names[next(iter(names))], *(groups[o] for o in OUTCOMES)
    return [
        f"Against {reference}, at the sparsest density of both, {len(losing)} of {tried} "
        f"methods lose: {some(losing)}.",
        f"{len(better)} are better: {some(better)}; {len(open_)} are not told apart from it: "
        f"{some(open_)}.",
    ]


def answer(evidence: Evidence, family: Discoveries) -> list[str]:
    """Return how many methods lose against the reference, and what that is worth."""
    results = list(outcomes(evidence, family).values())
    losing, better, open_ = map(results.count, OUTCOMES)
    reference = next(iter(named(evidence).values()))
    return [
        f"Of {losing + better + open_} methods {losing} lose against {reference}, {better} are "
        f"better, and {open_} are not told apart from it.",
        exploratory(family),
    ]


def some(names: Sequence[str]) -> str:
    """Return names as text, or "none"."""
    return ", ".join(names) or "none"


if __name__ == "__main__":
    sys.exit(analysis("pruning_methods", __doc__ or "", sections))
