"""Verdicts in words: a view of the registry of claims of a page, as its table is."""

import math
import statistics as plain
from collections.abc import Iterator, Sequence

from lthray.core import metrics
from lthray.core.record import Round, TrialRecord, machine_lines
from lthray.findings import claims, floors
from lthray.findings import comparators as beside
from lthray.findings import stats as st
from lthray.findings.amounts import amount, listed
from lthray.findings.claims import BOTH, FASTER, NOTHING, UNTRIED, Verdict, better, matches
from lthray.findings.comparators import COMPUTE, CONVERGED, INITIALISATION, OWN, STRUCTURE
from lthray.findings.evidence import Cell, Evidence, gather
from lthray.findings.rounds import kid_of, share_of_all


def told(trials: Sequence[TrialRecord], look: int) -> list[str]:
    """Return the verdict on all settings of recorded trials; `look` counts looks at their seeds."""
    lines = []
    for verdict in claims.judged(gather(trials), look):
        lines += sentences(verdict)
    return lines


def sentences(verdict: Verdict) -> list[str]:
    """Return the verdict in words: where each recipe matches, a sentence on each of its tickets
    that has controls, then what all this must be read beside."""
    evidence = verdict.evidence
    lines: list[str] = []
    for recipe in evidence.recipes:
        lines += _of_recipe(verdict, recipe)
    lines += [*_noise(evidence), *machine_lines(evidence.rounds), *_samples(verdict)]
    share = f"{floors.worth(evidence, verdict.margin):.0%}"
    steps = f"{evidence.steps} steps"
    lines.append(
        f"The margin of {verdict.margin:.1%} is worth {share} of the dense network's {steps}."
    )
    lines += [budget_line(evidence), family(verdict)]
    return [*lines, *(_given(evidence, name, r) for name, r in evidence.given.items())]


def _of_recipe(verdict: Verdict, recipe: str) -> Iterator[str]:
    """Yield where a recipe matches its dense network, then a sentence on each controlled ticket."""
    ladder = verdict.evidence.ladder(recipe)
    name = ladder[0][1].recipe
    seeds = max(cell.planned for _, cell in ladder)
    if seeds < 2:
        yield f"{name}: one seed only, which no test can generalise."
        return
    few = f", fewer than {claims.FEW}" if seeds < claims.FEW else ""
    matched = [d for d, _ in ladder if verdict.holds(matches(OWN), recipe, d)]
    at = f"at density {listed(matched)}" if matched else "at no density"
    begin = (
        f"{name} ({seeds} seeds{few}) matches its dense network of {verdict.evidence.steps} steps"
    )
    tried = f"tried at {listed([d for d, _ in ladder])}"
    controlled = [(d, cell) for d, cell in ladder if verdict.shown(recipe, d) != UNTRIED]
    end = "" if controlled else "; no controls were trained, so nothing more is claimed"
    yield f"{begin} {at} ({tried}){end}."
    for density, cell in controlled:
        yield ticket_sentence(verdict, recipe, density, cell)


def ticket_sentence(verdict: Verdict, recipe: str, density: float, cell: Cell) -> str:
    """Return how a ticket stands beside every comparator."""
    evidence = verdict.evidence
    share = f"{share_of_all(cell.tickets.values()):.1%} of all parameters"
    size = f"{density:.1%} of the free weights ({share})"
    verb = _verb(verdict, recipe, density)
    begin = f"At {evidence.steps} steps tickets with {size} {verb} their dense network"
    own = verdict.find(matches(OWN), recipe, density)
    by = amount(evidence)(own.statement.mean) if own and own.statement.finite else "never trained"
    controls = _controls(verdict.shown(recipe, density))
    parts = [f"{begin} ({by}, {cell.seeds} seeds) {controls}"]
    for name, called in rival_names(evidence).items():
        rival = verdict.find(matches(name), recipe, density)
        if rival:
            parts.append(f"{called} {_standing(verdict, name, recipe, density)}")
    parts += _speed(verdict, recipe, density)
    parts += _older(evidence, cell)
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


def rival_names(evidence: Evidence) -> dict[str, str]:
    """Return what sentences call the dense networks that are not a ticket's own."""
    steps = beside.reference(evidence)
    longest = f"the longest trained dense network ({steps} steps, not shown to be converged)"
    if beside.converged(evidence):
        longest = f"the converged dense network ({steps} steps)"
    return {COMPUTE: "a dense network of equal compute", CONVERGED: longest}


def _standing(verdict: Verdict, name: str, recipe: str, density: float) -> str:
    """Return how a dense network stands beside a ticket."""
    tested = verdict.find(matches(name), recipe, density)
    assert tested is not None
    accurate = verdict.evidence.accurate
    mean = tested.statement.mean
    size = f"{100 * abs(mean):.1f} points" if accurate else f"{abs(math.expm1(-mean)):.1%}"
    ways = {
        claims.beaten(name): f"is {size} better",
        better(name): f"is {size} worse",
        matches(name): "is matched",
    }
    for claim, way in ways.items():
        if verdict.holds(claim, recipe, density):
            return way
    found = tested.detectable
    least = "" if math.isnan(found) else f" (these seeds find {100 * found:.2g} %)"
    return f"is not told apart{least}"


def _speed(verdict: Verdict, recipe: str, density: float) -> list[str]:
    """Return what share of the dense network's steps a ticket needs, where that is shown."""
    tested = verdict.find(FASTER, recipe, density)
    if tested is None or not tested.holds:
        return []
    share = f"{math.exp(tested.statement.mean):.0%}"
    return [f"tickets reach the loss of their own dense network after {share} of its steps"]


def _older(evidence: Evidence, cell: Cell) -> list[str]:
    """Return whether a ticket's weights have seen more optimizer steps than its dense network's."""
    seen = [r.metrics.get(metrics.STEPS_OF_WEIGHTS.name, 0) for r in cell.tickets.values()]
    steps = max(seen, default=0)
    if steps <= evidence.steps:
        return []
    return [f"their weights have seen {steps:.0f} steps, which flatters tickets"]


def _noise(evidence: Evidence) -> list[str]:
    """Return what chance alone does, where a second dense network was trained."""
    same = list(floors.same(evidence).values())
    if not same:
        return []
    shown = amount(evidence)
    floor = floors.floor_of(evidence, evidence.deciding)
    mean = f"{shown(plain.fmean(same))} on average"
    if len(same) > 1:
        low, high = st.t_interval(same)
        mean = f"{mean} [{shown(low)}, {shown(high)}], p {st.t_test(same):.2g}"
    most = max(map(abs, same))
    return [
        f"Two dense networks of one seed on two streams differ by {mean}, and by "
        f"{shown(most)[1:]} at most ({len(same)} seeds); any two dense networks differ by less "
        f"than {floor:.2%} in 95 %."
    ]


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
    for recipe in evidence.recipes:
        for density, cell in evidence.ladder(recipe):
            if verdict.in_samples(recipe, density):
                lines.append(
                    f"{cell.recipe} at density {density:.4g} wins in samples, under every sampler."
                )
    return lines


def budget_line(evidence: Evidence) -> str:
    """Return whether the dense network is converged."""
    changes = beside.gains(evidence, evidence.steps)
    if len(changes) < 2:
        return (
            "Whether the dense network is converged was not measured: "
            "a verdict at this training budget."
        )
    shown = amount(evidence)
    bound = st.upper_bound(changes)
    if evidence.accurate:
        gain = f"{shown(plain.fmean(changes))} of accuracy (< {shown(bound)})"
    else:
        gain = f"{-math.expm1(-plain.fmean(changes)):.1%} (< {-math.expm1(-bound):.1%})"
    label = converged_label(beside.is_converged(evidence, evidence.steps))
    return f"Twice the steps gain the dense network {gain}, {len(changes)} seeds: {label}."


def converged_label(is_converged: bool | None) -> str:
    """Return the words for a dense network that is, or is not, converged."""
    return "converged" if is_converged else "NOT CONVERGED, which flatters tickets"


def family(verdict: Verdict) -> str:
    """Return how many claims are tested together, and how often their seeds were looked at."""
    count = len(verdict.registry.family)
    looks = f"look {verdict.look} at these seeds"
    level = f"{verdict.registry.alpha:.2g}"
    return f"All {count} claims of this page are one family (Holm, level {level}, {looks})."


def _given(evidence: Evidence, name: str, r: Round) -> str:
    """Return how a trained network that was given stands beside the dense ones."""
    what = "accuracy lost" if evidence.accurate else "loss"
    size = r.metrics[metrics.PARAMETERS.name]
    return (
        f"Beside them, {name} ({size:,.0f} parameters, measured as it was given): "
        f"{what} {floors.lead(evidence, name):+.1%} against the dense networks."
    )
