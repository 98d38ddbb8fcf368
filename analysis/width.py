"""How sparse can a ticket be at each width: does it need a number of weights, or a share of them?

    python analysis/width.py --experiment width.digits

At each width and density stands the verdict on the ticket, all widths being one family of claims.
Below is the sparsest density down to which the ticket matches its own dense network at every rung,
with the weights that it then keeps. Reads MLflow only; writes tables, a figure and sentences to
<out>/reports/<experiment>/.
"""

import math
import statistics as plain
import sys
from collections.abc import Iterator, Sequence

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.config.parts import Model
from lthray.core import metrics
from lthray.core.record import TrialRecord
from lthray.findings import wording
from lthray.findings.claims import UNTRIED, Verdict, judged, matches
from lthray.findings.contrasts import OWN
from lthray.findings.evidence import TICKET, Evidence, gather
from lthray.findings.figures import Line, Lines
from lthray.findings.formats import NONE, series
from lthray.findings.phrases import budget_line, noise
from lthray.findings.rounds import values_of
from lthray.findings.sections import Section
from lthray.tracking.read import Recorded

ORDER = 16  # place in a report
WORD = "model.channels"
ONE_WIDTH = "tickets of one width only are recorded there, or widths differ in more than channels"


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    return "" if len(by_width(recorded.of(call))) > 1 else ONE_WIDTH


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield the verdict at each width, and the sparsest ticket that matches."""
    trials = recorded.of(call)
    found = by_width(trials)
    if len(found) < 2:
        raise ConfigError([ONE_WIDTH])
    verdicts = judged(found, recorded.look(trials))
    text = [line for verdict in verdicts for line in sentences(verdict)]
    for each in found:
        text += [f"With {width_of(each)} channels: {line}" for line in noise(each)]
    text += [wording.family(verdicts[0].registry, verdicts[0].look), recorded.provenance(trials)]
    title = "Tickets of narrow and of wide networks"
    rows, figure, said = table(verdicts), drawn(found), answer(verdicts)
    yield Section("width", title, text, rows, figure, verdict=True, answer=said)
    yield Section("sparsest", "The sparsest ticket that matches", (), sparsest_table(verdicts))


def answer(verdicts: Sequence[Verdict]) -> list[str]:
    """Return how sparse tickets can be at each width, and whether dense networks are converged."""
    told = []
    for verdict in verdicts:
        density = sparsest(verdict)
        reach = "at no density" if density is None else f"down to density {density:.4g}"
        told.append(f"{reach} with {width_of(verdict.evidence)} channels")
    last = verdicts[-1].evidence
    return [
        f"Tickets match their dense network {series(told)}.",
        f"With {width_of(last)} channels: {budget_line(last)}",
    ]


def by_width(trials: Sequence[TrialRecord]) -> list[Evidence]:
    """Return the settings that differ in their channels alone, narrowest first; else none."""
    found = gather(trials)
    others = {str(sorted({**each.words, WORD: ()}.items())) for each in found}
    recipes = {recipe for each in found for recipe in each.recipes}
    if len(others) > 1 or len(recipes) > 1 or len({width_of(each) for each in found}) < 2:
        return []
    return sorted(found, key=weights_of)


def width_of(evidence: Evidence) -> str:
    """Return the channels of a setting, as text."""
    return " ".join(map(str, evidence.words.get(WORD, Model().channels)))


def weights_of(evidence: Evidence) -> float:
    """Return the number of weights of the dense network that are free to be cut."""
    sizes = values_of(evidence.dense.values(), metrics.PRUNABLE_SIZE.name)
    return plain.fmean(sizes) if sizes else math.nan


def table(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Return the tables of all widths, one below the other, with the channels in front."""
    tables = [wording.table(verdict) for verdict in verdicts]
    rows = [["channels", *tables[0][0][1:]]]
    for verdict, (_, *own) in zip(verdicts, tables, strict=True):
        (recipe,) = verdict.evidence.recipes
        count = len(verdict.evidence.ladder(recipe))
        rows += [[width_of(verdict.evidence), *row[1:]] for row in own[:count]]
    return rows


def sentences(verdict: Verdict) -> Iterator[str]:
    """Yield down to which density tickets of a width match, and a sentence on each with
    controls."""
    evidence = verdict.evidence
    (recipe,) = evidence.recipes
    name = f"{width_of(evidence)} channels ({weights_of(evidence):,.0f} free weights)"
    density = sparsest(verdict)
    down = "at no density" if density is None else f"down to density {density:.4g}"
    yield f"With {name} tickets match their dense network {down}."
    for rung, cell in evidence.ladder(recipe):
        if verdict.shown(recipe, rung) != UNTRIED:
            yield wording.ticket_sentence(verdict, recipe, rung, cell)


def sparsest(verdict: Verdict) -> float | None:
    """Return the density down to which a ticket matches at every rung; None where at none."""
    (recipe,) = verdict.evidence.recipes
    reached = None
    for density, _ in verdict.evidence.ladder(recipe):
        if not verdict.holds(matches(OWN), recipe, density):
            break
        reached = density
    return reached


def sparsest_table(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Return a row for each width: the sparsest density that matches, and the weights kept."""
    rows = [["channels", "free weights", "sparsest density", "weights kept"]]
    for verdict in verdicts:
        evidence, density = verdict.evidence, sparsest(verdict)
        weights = weights_of(evidence)
        told = [NONE, NONE]
        if density is not None:
            told = [f"{density:.4g}", f"{density * weights:,.0f}"]
        rows.append([width_of(evidence), f"{weights:,.0f}", *told])
    return rows


def drawn(found: Sequence[Evidence]) -> Lines:
    """Return the excess over the own dense network against the weights that are kept."""
    lines = []
    for evidence in found:
        (recipe,) = evidence.recipes
        points = {}
        for density, cell in evidence.ladder(recipe):
            if excess := cell.excess(TICKET):
                points[density * weights_of(evidence)] = list(excess.values())
        lines.append(Line.over(f"{width_of(evidence)} channels", points))
    x = "free weights that are kept"
    return Lines(x, "excess over the own dense network", lines, doublings=True, ladder=False)


if __name__ == "__main__":
    sys.exit(analysis("width", __doc__ or "", sections))
