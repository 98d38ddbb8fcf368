"""What is left of tickets when the dense network trains longer, or as long as finding one took?

    python analysis/convergence.py --experiment convergence.digits

At every training budget S, a ticket is set beside its own dense network of S steps, a dense network
of equal compute, and the converged dense network. Converged is the network of the shortest budget
at which twice the steps gain less than 3 %, by the upper 95 % bound of the gain. Where no budget
that was tried is so long, the longest stands for it, and the page says so. Numbers are log-ratios
of held-out losses of one evaluation set, paired by seed. All claims of the page are one family
(Holm). Reads MLflow only; writes tables, a figure and sentences to <out>/reports/<experiment>/.
"""

import math
import statistics as plain
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.core.record import TrialRecord
from lthray.findings import answers, wording
from lthray.findings import stats as st
from lthray.findings.claims import UNTRIED, Verdict, judged
from lthray.findings.comparators import gains, is_converged, rivals
from lthray.findings.contrasts import CONVERGED, EQUAL_COMPUTE
from lthray.findings.evidence import Cell, Evidence, gather
from lthray.findings.figures import Line, Lines
from lthray.findings.floors import same
from lthray.findings.formats import NONE, percent
from lthray.findings.phrases import average, gain_of
from lthray.findings.rounds import MARGIN, differences, values_of
from lthray.findings.sections import Section
from lthray.tracking.read import Recorded

ORDER = 15  # place in a report
ACROSS = True  # it sets calls of unlike budgets side by side
NOTHING = "no dense network of equal compute or of twice the steps is recorded beside a ticket"
SEVERAL = "evaluation sets, recipes or more than the budget differ: nothing to set side by side"
DOUBLINGS = 3  # budgets from which a line is drawn through them
FARTHEST = 40  # doublings beyond which no budget is named

Trends = dict[tuple[float, str], dict[int, list[tuple[int, float]]]]
"""(density, rival) -> seed -> (steps of the budget, log-ratio)."""


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    found = evidence_of(recorded.of(call))
    kinds = {(each.panel, each.but_for_steps, name) for each in found for name in each.recipes}
    if len(kinds) > 1 or any(each.accurate for each in found):
        return SEVERAL
    told = any(gains(each, each.steps) or EQUAL_COMPUTE in arms_of(each) for each in found)
    return "" if told else NOTHING


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield the verdict at each budget, the dense networks, and the fit over budgets."""
    if reason := applies(recorded, call):
        raise ConfigError([reason])
    trials = recorded.of(call)
    found = evidence_of(trials)
    verdicts = judged(found, recorded.look(trials))
    text = [line for verdict in verdicts for line in sentences(verdict)]
    registry, look = verdicts[0].registry, verdicts[0].look
    text += [*chance(found), wording.family(registry, look), recorded.provenance(trials)]
    title = "Tickets beside three dense networks"
    rows, figure, said = table(verdicts), drawn(found), answers.answer(verdicts)
    yield Section("convergence", title, text, rows, figure, verdict=True, answer=said)
    title = "The dense network by training budget"
    yield Section("budgets", title, (), dense_table(found[0]))
    if len(found) >= DOUBLINGS:
        yield Section("fit", "The advantage by doubling of the budget", (), fit_table(found))


def arms_of(evidence: Evidence) -> set[str]:
    """Return the arms of all cells of a setting."""
    return {arm for cell in evidence.cells for arm in cell.arms}


def evidence_of(trials: Sequence[TrialRecord]) -> list[Evidence]:
    """Return the evidence of all settings with tickets, shortest budget first."""
    return sorted(gather(trials), key=lambda evidence: evidence.steps)


def cells_of(evidence: Evidence) -> list[Cell]:
    """Return the cells of the one recipe of a setting, densest first."""
    (recipe,) = evidence.recipes
    return [cell for _, cell in evidence.ladder(recipe)]


def table(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Return a row for each budget and density: the ticket against each rival and control.

    It is the table of a verdict, all budgets one below the other; a column holds the dense network
    of the longest budget for all of them.
    """
    heads: list[str] = []
    tables = [wording.table(verdict) for verdict in verdicts]
    for head, *_ in tables:
        heads += [each for each in head[1:] if each not in heads]
    ends = ["matches", "shows"]
    heads = [each for each in heads if each not in ends] + ends
    rows = [["budget", *heads]]
    for verdict, (head, *own) in zip(verdicts, tables, strict=True):
        for row in own:
            if row[0] in {cell.recipe for cell in verdict.evidence.cells}:
                cells = dict(zip(head, row, strict=True))
                shown = (cells.get(each, NONE) for each in heads)
                rows.append([str(verdict.evidence.steps), *shown])
    return rows


def sentences(verdict: Verdict) -> Iterator[str]:
    """Yield one sentence on each ticket of a budget that has controls, the sparsest last."""
    (recipe,) = verdict.evidence.recipes
    for density, cell in verdict.evidence.ladder(recipe):
        if verdict.shown(recipe, density) != UNTRIED:
            yield wording.ticket_sentence(verdict, recipe, density, cell)


def chance(found: Sequence[Evidence]) -> Iterator[str]:
    """Yield what two dense networks of one seed differ by, which should be nothing on average."""
    values = [value for evidence in found for value in same(evidence).values()]
    if len(values) > 1:
        told = average(values, percent)
        yield f"Two dense networks of one seed differ by {told} ({len(values)} pairs)."


def dense_table(evidence: Evidence) -> list[list[str]]:
    """Return a row for each training budget: its loss, and what twice the steps gain."""
    rows = [["steps", "seeds", "held-out loss", "gain of twice the steps", "converged"]]
    for steps, dense in sorted(evidence.budgets.items()):
        losses = values_of(dense.values(), evidence.deciding)
        if not losses:  # all of them failed
            continue
        gained, told = gains(evidence, steps), [NONE, NONE]
        if len(gained) > 1:
            told = [gain_of(evidence, gained), "yes" if is_converged(evidence, steps) else "no"]
        rows.append([str(steps), str(len(losses)), f"{plain.fmean(losses):.4f}", *told])
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
        slope, height = map(float, np.mean(lines, axis=0))
        low, high = st.t_interval([line[0] for line in lines])
        change = f"{100 * slope:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]"
        longest = max(steps for points in by_seed.values() for steps, _ in points)
        meets = meeting(slope, height, longest)
        rows.append([f"{density:.4g}", name, str(len(lines)), change, meets])
    return rows


def meeting(slope: float, height: float, longest: int) -> str:
    """Return at which training budget a line over log2(steps) comes to the margin, from below or
    from above, and whether that is more than the `longest` that was tried."""
    doublings = (math.log1p(MARGIN) - height) / slope if slope else math.inf
    if not 0 < doublings < FARTHEST:
        return "never"
    beyond = ", more than were tried" if 2**doublings > longest else ""
    return f"{2**doublings:,.0f} steps{beyond}"


def line_of(points: Sequence[tuple[int, float]]) -> np.ndarray:
    """Return slope and height of the least-squares line of log-ratios over log2(steps)."""
    steps, ratios = zip(*points, strict=True)
    return np.polyfit(np.log2(steps), ratios, 1)


def trends_of(found: Sequence[Evidence]) -> Trends:
    """Return the log-ratios of tickets over rivals of their own budget."""
    trends: Trends = {}
    for evidence in found:
        for cell in cells_of(evidence):
            for name, rounds in rivals(evidence, cell).items():
                if name == CONVERGED:
                    continue  # it is of another budget
                by_seed = trends.setdefault((cell.density, name), {})
                for seed, ratio in differences(cell.tickets, rounds, evidence.deciding).items():
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


if __name__ == "__main__":
    sys.exit(analysis("convergence", __doc__ or "", sections))
