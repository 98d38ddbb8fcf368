"""Are tickets as robust as a dense network that is as good? Under each stressor, at equal error.

    python analysis/robustness.py --experiment robustness.digits

A worse denoiser looks more robust, since its error under stress is a smaller multiple of its clean
error. So every network is set beside dense networks of its own seed, of fewer and of more training
steps. Told is delta: by how much its error under stress lies above the line through theirs, at its
own clean error. A ticket is not less robust where the upper bound of delta is below 5 %, and more
robust where it is below zero. No number is made from outside of the dense networks' range. A
network's attacks must pass five checks first (Carlini et al. 2019, arXiv 1902.06705), or it counts
as one without a value. Nothing is claimed under a stressor that is not calibrated, or that raises
the dense network's error by less than 15.8 %, thrice 5 % on a log scale. All claims of the page are
one family (Holm), with two draws of the dense network as negative controls. Reads MLflow only;
writes tables, figures and sentences to <out>/reports/<experiment>/.
"""

import math
import statistics as plain
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.config.stressors import STRESSES
from lthray.core import metrics
from lthray.core.record import Round
from lthray.findings import robustness as rb
from lthray.findings import stats as st
from lthray.findings.charts import arms
from lthray.findings.claims import Verdict, judged
from lthray.findings.evidence import TICKET, Cell, Evidence, gather
from lthray.findings.figures import Line, Lines
from lthray.findings.formats import NONE, listed, percent, series
from lthray.findings.phrases import budget_line, noise
from lthray.findings.registry import Tested
from lthray.findings.rounds import Rounds
from lthray.findings.sections import Section
from lthray.findings.wording import family
from lthray.tracking.read import Recorded

ORDER = 50  # place in a report
NOTHING = "no robustness (measure.robust) is recorded of a dense network and a ticket"
HEAD = (
    "recipe", "density", "stressor", "dense x clean", "ticket x clean", "seeds", "delta",
    "not less robust (< 5.0%)", "more robust",
)  # fmt: skip
DRAWN = ("more_noise", "gaussian", "l2", "weights")
"""Stressors whose curves are drawn."""


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    return "" if any(map(rb.measured, gather(recorded.of(call)))) else NOTHING


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield what tickets are worth under stress, their controls, checks of attacks, and curves."""
    trials = recorded.of(call)
    verdicts = judged(gather(trials), recorded.look(trials))
    told = [verdict for verdict in verdicts if rb.measured(verdict.evidence)]
    if not told:
        raise ConfigError([NOTHING])
    for number, verdict in enumerate(told):
        ending, evidence = f"_{number}" if number else "", verdict.evidence
        text = [*sentences(verdict), *noise(evidence), recorded.provenance(trials)]
        title, said = "Robustness at matched clean error", answer(verdict)
        name, rows = f"robustness{ending}", table(verdict)
        yield Section(name, title, text, rows, verdict=True, answer=said)
        title = "Controls, by delta at matched clean error"
        yield Section(f"controls{ending}", title, [CONTROLS], controls(evidence))
        yield Section(f"attacks{ending}", "Are the attacks valid?", (), attacks(evidence))
        for stressor in DRAWN:
            label = STRESSES[stressor].label
            figure = curves(evidence, stressor)
            title = f"Error under stress: {label}"
            yield Section(f"stress_{stressor}{ending}", title, [CURVES], figure=figure)


def answer(verdict: Verdict) -> list[str]:
    """Return under how many stressors tickets are as robust, and whether that is of a converged
    network."""
    evidence, told = verdict.evidence, []
    for recipe in evidence.recipes:
        for density, _ in evidence.ladder(recipe):
            kept = sum(verdict.holds(rb.not_less(s), recipe, density) for s in STRESSES)
            told.append(f"under {kept} of {len(STRESSES)} stressors at density {density:.4g}")
    what = "Tickets are shown to be not less robust than a dense network of their error"
    return [f"{what} {series(told)}.", budget_line(evidence)]


CURVES = "Mean over seeds with its 95 % interval, as a multiple of the own clean error."
CONTROLS = "Mean over seeds with its 95 % interval; no claim is made of controls."


def table(verdict: Verdict) -> list[list[str]]:
    """Return a row for each stressor and density of tickets."""
    evidence, rows = verdict.evidence, [list(HEAD)]
    for recipe in evidence.recipes:
        for density, cell in evidence.ladder(recipe):
            for stressor in STRESSES:
                made = verdict.find(rb.not_less(stressor), recipe, density)
                more = verdict.find(rb.more(stressor), recipe, density)
                if made is None:
                    continue
                ratios = [ratio(rounds, stressor) for rounds in (evidence.dense, cell.tickets)]
                place = [cell.recipe, f"{density:.4g}", STRESSES[stressor].label, *ratios]
                why = rb.silent(evidence, cell.tickets, stressor)
                rows.append([*place, *outcome(made, why), held(more)])
    return rows


def ratio(rounds: Rounds, stressor: str) -> str:
    """Return the error under a stressor as a multiple of the clean error: a geometric mean."""
    points = [point for r in rounds.values() if (point := rb.logs(r, stressor))]
    if not points:
        return NONE
    return f"{math.exp(plain.fmean(stressed - clean for clean, stressed in points)):.2f}"


def outcome(made: Tested, why: str) -> list[str]:
    """Return seeds, mean and bound of delta, and whether the claim holds; `why` there is none."""
    if not made.statement.finite:
        return [made.statement.seeds, NONE, why]
    mean = percent(made.statement.mean)
    if made.statement.whole:
        mean += f" (< {percent(made.bound)})"
    return [made.statement.seeds, mean, held(made)]


def held(made: Tested | None) -> str:
    """Return whether a claim holds, as a cell of a table."""
    return "yes" if made is not None and made.holds else NONE


def controls(evidence: Evidence) -> list[list[str]]:
    """Return delta of tickets, of what stands in their place, and of a second dense network."""
    labels = arms()
    rows = [["density", "network", *(row.label for row in STRESSES.values())]]
    for recipe in evidence.recipes:
        for density, cell in evidence.ladder(recipe):
            for arm in filter(cell.arms.__contains__, labels):
                rows.append([f"{density:.4g}", labels[arm], *row_of(evidence, cell.arms[arm])])
    if evidence.again:
        rows.append(["1", "second dense", *row_of(evidence, evidence.again)])
    return rows


def row_of(evidence: Evidence, rounds: Rounds) -> list[str]:
    """Return the mean of delta under each stressor, with its 95 % interval."""
    cells = []
    for stressor in STRESSES:
        values = [v for v in rb.deltas(evidence, rounds, stressor).values() if math.isfinite(v)]
        if len(values) < 2:
            cells.append(NONE)
            continue
        low, high = st.t_interval(values)
        cells.append(f"{percent(plain.fmean(values))} [{percent(low)}, {percent(high)}]")
    return cells


def attacks(evidence: Evidence) -> list[list[str]]:
    """Return what the attacks on each kind of network are worth, the worst of all seeds."""
    rows = [
        ["network", "over random noise", "5 x steps", "unbounded", "transferred / own", "fault"]
    ]
    for name, rounds in networks(evidence).items():
        if all(metrics.OVER_RANDOM.name in r.metrics for r in rounds.values()):
            rows.append([name, *worst(rounds), faulty(rounds)])
    return rows


def faulty(rounds: Rounds) -> str:
    """Return each fault of attacks, and on how many seeds it was seen."""
    seen = Counter(fault for r in rounds.values() for fault in rb.faults(r))
    return "; ".join(f"{fault} ({count} of {len(rounds)})" for fault, count in seen.items()) or NONE


def networks(evidence: Evidence) -> Mapping[str, Rounds]:
    """Return name -> rounds of the dense network and of tickets."""
    found: dict[str, Rounds] = {"dense": evidence.dense}
    for cell in evidence.cells:
        found[f"{cell.recipe} at {cell.density:.4g}"] = cell.tickets
    return {name: rounds for name, rounds in found.items() if rounds}


def worst(rounds: Rounds) -> list[str]:
    """Return the least surplus over noise, the largest gain of steps, the least destruction and
    the strongest attack of another network."""

    def all_of(metric: metrics.Metric) -> list[float]:
        return [r.metrics[metric.name] for r in rounds.values() if metric.name in r.metrics]

    other = [_transferred(r) for r in rounds.values() if metrics.TRANSFERRED.name in r.metrics]
    return [
        f"{min(all_of(metrics.OVER_RANDOM)):.1f} SE",
        f"x{max(all_of(metrics.LONGER_ATTACK)):.3f}",
        f"x{min(all_of(metrics.HUGE_ATTACK)):.0f}",
        f"{max(other):.3f}" if other else NONE,
    ]


def _transferred(r: Round) -> float:
    return r.metrics[metrics.TRANSFERRED.name] / rb.severities(r, "l2")[1]


def sentences(verdict: Verdict) -> list[str]:
    """Return under which stressors tickets are as robust, and what of the page checks itself."""
    evidence = verdict.evidence
    lines = []
    for recipe in evidence.recipes:
        for density, cell in evidence.ladder(recipe):
            lines.append(sentence(verdict, recipe, density, cell))
    lines += [*calibrated(evidence), *weak(evidence), *chance(verdict), budget_line(evidence)]
    return [*lines, family(verdict.registry, verdict.look)]


def sentence(verdict: Verdict, recipe: str, density: float, cell: Cell) -> str:
    """Return under which stressors the tickets of a density are not less robust, or more."""
    labels = {name: row.label for name, row in STRESSES.items()}
    kept = [labels[s] for s in STRESSES if verdict.holds(rb.not_less(s), recipe, density)]
    more = [labels[s] for s in STRESSES if verdict.holds(rb.more(s), recipe, density)]
    rest = [label for label in labels.values() if label not in kept]
    steps = verdict.evidence.steps
    line = f"At {steps} steps, tickets of density {listed([density])} are shown to be not less "
    line += f"robust than a dense network of their error under {', '.join(kept) or 'nothing'}"
    if rest:
        line += f"; this is not shown under {', '.join(rest)}"
    if more:
        line += f". They are more robust under {', '.join(more)}"
    return line + "."


def calibrated(evidence: Evidence) -> list[str]:
    """Return under how many stressors dense networks of .6 and of all steps are as robust as each
    other."""
    right = [name for name in STRESSES if rb.calibrated(evidence, name)]
    rest = ", ".join(row.label for name, row in STRESSES.items() if name not in right)
    line = (
        "Calibration: dense networks of .6 and of all steps are shown to be as robust as each "
        f"other, within 5 %, under {len(right)} of {len(STRESSES)} stressors"
    )
    return [f"{line}; nothing is claimed under {rest}." if rest else f"{line}."]


def weak(evidence: Evidence) -> list[str]:
    """Return under which stressors nothing can be told, for they hardly harm a dense network."""
    told = [name for name in STRESSES if ratio(evidence.dense, name) != NONE]
    names = [STRESSES[name].label for name in told if not rb.harms(evidence, name)]
    if not names:
        return []
    return [
        f"Too weak to tell: nothing is claimed under {', '.join(names)}, where the dense network's "
        f"error grows by less than {math.expm1(rb.HARM):.1%}, thrice 5 % on a log scale."
    ]


def chance(verdict: Verdict) -> list[str]:
    """Return how many of the claims hold that a second dense network is more robust."""
    names = [rb.by_chance(stressor) for stressor in STRESSES]
    made = [tested for tested in verdict.claims if tested.statement.name in names]
    if not made:
        return []
    held = sum(tested.holds for tested in made)
    return [
        f"Negative controls: that a second dense network is more robust than the first is claimed "
        f"{held} times of {len(made)}."
    ]


def curves(evidence: Evidence, stressor: str) -> Lines:
    """Return the error over the clean error by severity, for dense networks, tickets and shuffled
    masks at the sparsest rung."""
    lines = [_line("dense", evidence.dense, stressor)]
    for recipe in evidence.recipes:
        density, cell = evidence.ladder(recipe)[-1]
        for arm, label in arms().items():
            if arm in (TICKET, "shuffle", "small_dense") and cell.arms.get(arm):
                lines.append(_line(f"{label} at {density:.4g}", cell.arms[arm], stressor))
    label = STRESSES[stressor].label
    return Lines(label, "error / clean error", lines, ladder=False)


def _line(name: str, rounds: Rounds, stressor: str) -> Line:
    points: dict[float, Sequence[float]] = {0.0: [1.0] * len(rounds)}
    for place, severity in enumerate(STRESSES[stressor].severities):
        ratios = []
        for r in rounds.values():
            errors, clean = rb.severities(r, stressor), r.metrics.get(metrics.CLEAN_ERROR.name)
            ratios += [errors[place] / clean] if errors and clean else []
        if ratios:
            points[abs(severity)] = ratios
    return Line.over(name, points)


if __name__ == "__main__":
    sys.exit(analysis("robustness", __doc__ or "", sections))
