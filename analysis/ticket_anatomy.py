"""What is a winning ticket like inside: where it is sparse, what it keeps, what it is bad at, how
it learns.

    python analysis/ticket_anatomy.py --experiment layerwise_search.digits

Layer densities; initial weights of kept against cut weights (Frankle and Carbin 2019, figure 15);
agreement of masks between seeds, corrected for chance. Excess by timestep; how sensitive each layer
is at each noise level; sharpness and generalisation gap against density. Learning curves; samples
beside the dense network's from one bank of noise. Of one recipe: the one with the most seeds. Reads
MLflow only; writes tables, figures and sentences to <out>/reports/<experiment>/.
"""

import math
import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from torch import Tensor

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.core import metrics
from lthray.core.record import TrialRecord
from lthray.core.ticket_file import read_ticket
from lthray.findings.charts import arms
from lthray.findings.evidence import comparable, panel_of, recipe, setting
from lthray.findings.figures import DENSITY, Heat, Line, Lines
from lthray.findings.formats import plural
from lthray.findings.rounds import values_of, worse
from lthray.findings.sections import Section
from lthray.measure.anatomy import BINS, WIDEST
from lthray.study.results import config_of
from lthray.tracking.read import Recorded

ORDER = 50  # place in a report
NO_TICKET = "no ticket is recorded there"
LOSS, ACCURACY = (
    2,
    3,
)  # places in a point of a learning curve: held-out loss, and accuracy of a classifier

Arrays = Mapping[int, Mapping[int, Mapping[str, Tensor]]]
"""Seed -> round -> name -> array."""


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    return "" if tickets_of(comparable(recorded.of(call))) else NO_TICKET


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield all that the recorded rounds allow."""
    trials = comparable(recorded.of(call))
    tickets = tickets_of(trials)
    if not tickets:
        raise ConfigError([NO_TICKET])
    arrays = arrays_of(recorded, tickets)
    yield layer_map(tickets, recorded.provenance(tickets))
    yield kept_and_cut(arrays)
    if len(tickets) > 1:
        yield masks(recorded, tickets)
    yield from timesteps(tickets, arrays)
    yield from sensitivity(tickets, arrays)
    yield flatness(tickets)
    yield learning(tickets)
    yield from early_stopping(tickets, trials)
    yield from samples(recorded, tickets[0])


def tickets_of(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the tickets, one per seed, of the recipe and setting that have the most seeds."""
    groups: dict[Any, list[TrialRecord]] = {}
    for trial in trials:
        if trial.point.is_ticket and len(trial.rounds) > 1:
            kind = (setting(trial), panel_of(trial), recipe(trial))
            groups.setdefault(kind, []).append(trial)
    return max(groups.values(), key=len, default=[])


def arrays_of(recorded: Recorded, tickets: Sequence[TrialRecord]) -> Arrays:
    """Return the recorded arrays of every round."""
    arrays: dict[int, dict[int, Mapping[str, Tensor]]] = {}
    for trial in tickets:
        own = arrays.setdefault(trial.point.seed, {})
        for r in trial.rounds:
            own[r.index] = recorded.arrays(trial, r.index)
    return arrays


def short(layer: str) -> str:
    """Return the name of a layer without that of its weight."""
    return layer.removesuffix(".weight")


def layer_map(tickets: Sequence[TrialRecord], provenance: str) -> Section:
    """Return the mean density of each layer, in forward order, at each rung.

    `provenance` is the line on when, with what and on which machines the tickets were made.
    """
    rungs = list(zip(*(trial.rounds[1:] for trial in tickets), strict=False))
    columns = [f"{rung[0].density:.4g}" for rung in rungs]
    rows, layers, relative = [["layer", *columns]], [], []
    for layer in rungs[0][0].densities:
        means = [plain.fmean(r.densities[layer] for r in rung) for rung in rungs]
        layers.append(short(layer))
        rows.append([short(layer), *(f"{mean:.4f}" for mean in means)])
        ratios = [mean / rung[0].density for mean, rung in zip(means, rungs, strict=True)]
        relative.append([math.log2(ratio) for ratio in ratios])
    name = tickets[0].point.recipe
    text = [
        f"Mean over {plural(len(tickets), 'seed')} of {name}; the figure shows log2 of each over "
        "the overall density.",
        provenance,
    ]
    chart = Heat(DENSITY, "layer", columns, layers, relative)
    return Section("layers", "Where the ticket is sparse", text, rows, chart)


def kept_and_cut(arrays: Arrays) -> Section:
    """Return the initial weights of what the sparsest ticket keeps and cuts, all layers and seeds
    together."""
    histograms = [rounds[max(rounds)]["initial"].sum(0).double() for rounds in arrays.values()]
    counts = sum(histograms[1:], start=histograms[0])
    width = 2 * WIDEST / BINS
    middles = [-WIDEST + (i + 0.5) * width for i in range(BINS)]
    lines, means = [], []
    for label, row in zip(("kept", "cut"), counts, strict=True):
        share = (row / row.sum()).tolist()
        lines.append(Line(label, middles, [s / width for s in share]))
        means.append(sum(abs(m) * s for m, s in zip(middles, share, strict=True)))
    text = [
        f"Mean initial |w| in deviations of its layer: {means[0]:.3f} of what is kept, "
        f"{means[1]:.3f} of what is cut."
    ]
    x = "initial weight, in deviations of its layer"
    chart = Lines(x, "share per deviation", lines, ladder=False)
    title = "Initial weights of what is kept and what is cut"
    return Section("initial", title, text, figure=chart)


def masks(recorded: Recorded, tickets: Sequence[TrialRecord]) -> Section:
    """Return the agreement of the masks of two seeds beyond chance."""
    head = ["density", "pairs of seeds", "agreement beyond chance (mean)", "smallest", "largest"]
    rows = [head]
    for rung in tickets[0].rounds[1:]:
        path = f"rounds/{rung.index:02d}/ticket.safetensors"
        files = [recorded.file(trial, path) for trial in tickets]
        seen = [read_ticket(data)[0].mask for data in files if data]
        values = [a.agreement(b) for a, b in combinations(seen, 2)]
        if values:
            numbers = (plain.fmean(values), min(values), max(values))
            cells = [f"{value:+.3f}" for value in numbers]
            rows.append([f"{rung.density:.4g}", str(len(values)), *cells])
    text = [
        "0 is what random masks with the same layer densities would have, 1 the most that these "
        "densities allow.",
        "Units of differently initialised layers are not matched, so chance is what symmetry "
        "predicts.",
    ]
    return Section("masks", "Do two seeds find the same mask?", text, rows)


def timesteps(tickets: Sequence[TrialRecord], arrays: Arrays) -> Iterator[Section]:
    """Yield the excess over dense at each timestep of the evaluation set; nothing of a classifier,
    which has none."""
    total = config_of(tickets[0].point).objective.timesteps
    lines = []
    for rung in tickets[0].rounds[1:]:
        excess = [_excess(rounds, rung.index) for rounds in arrays.values()]
        columns = len(excess[0])
        if columns < 2:
            return
        at = {(k + 0.5) * total / columns: [seed[k] for seed in excess] for k in range(columns)}
        lines.append(Line.over(f"density {rung.density:.4g}", at))
    title = "Where in the noise a ticket is better or worse"
    x = "timestep (noise grows to the right)"
    chart = Lines(x, "excess over dense", lines, ladder=False, level=0.0)
    yield Section("timesteps", title, list(map(_ends, lines)), figure=chart)


def _excess(rounds: Mapping[int, Mapping[str, Tensor]], index: int) -> list[float]:
    """Return the relative excess of a round over the dense network, by timestep."""
    ticket, dense = (rounds[i]["loss"].double().mean(0) for i in (index, 0))
    return (ticket / dense - 1).tolist()


def _ends(line: Line) -> str:
    """Return the excess at the lowest noise and at the highest in words."""
    text = f"{line.name}: {line.y[0]:+.1%} at the lowest noise, {line.y[-1]:+.1%} at the highest"
    mixed = min(line.y) < 0 < max(line.y)
    return text + (" (the mean hides a change of sign)." if mixed else ".")


def sensitivity(tickets: Sequence[TrialRecord], arrays: Arrays) -> Iterator[Section]:
    """Yield the rise of the loss when a layer alone is cut to a tenth, by noise level, at the last
    rung that has it."""
    last = tickets[0].rounds[-1]
    rises = []
    for rounds in arrays.values():
        if "sensitivity" in rounds[last.index]:
            rises.append(rounds[last.index]["sensitivity"])
    if not rises:
        return
    mean = sum(rises[1:], start=rises[0]) / len(rises)
    layers = list(map(short, last.densities))
    columns = [f"band {i + 1}" for i in range(mean.shape[1])]
    rows = [["layer", *columns]]
    for layer, row in zip(layers, mean.tolist(), strict=True):
        rows.append([layer, *(f"{value:+.3f}" for value in row)])
    chart = Heat("noise level (grows to the right)", "layer", columns, layers, mean.tolist())
    text = ["Relative rise of the loss."]
    yield Section("sensitivity", "Which layer matters at which noise", text, rows, chart)


def flatness(tickets: Sequence[TrialRecord]) -> Section:
    """Return generalisation gap and sharpness beside excess."""
    rows = [["density", "excess", "gap held-out / train - 1", "sharpness"]]
    gaps: dict[float, list[float]] = {}
    for rung in zip(*(trial.rounds for trial in tickets), strict=False):
        density = rung[0].density
        gaps[density] = values_of(rung, metrics.GAP.name)
        sharpness = values_of(rung, metrics.SHARPNESS.name)
        row = [f"{density:.4g}", f"{plain.fmean(worse(r)[0] for r in rung):+.2%}"]
        row.append(f"{plain.fmean(gaps[density]):+.2%}")
        rows.append([*row, f"{plain.fmean(sharpness):+.4f}" if sharpness else "–"])
    chart = Lines(DENSITY, "held-out loss / training loss - 1", [Line.over("ticket", gaps)])
    return Section("flatness", "Gap and sharpness against density", (), rows, chart)


def accurate(tickets: Sequence[TrialRecord]) -> bool:
    """Return whether learning curves hold accuracy, as those of a classifier do."""
    return all(len(r.curve[0]) > ACCURACY for r in tickets[0].rounds if r.curve)


def learning(tickets: Sequence[TrialRecord]) -> Section:
    """Return held-out loss (accuracy of a classifier) along training, by density."""
    column, what = (ACCURACY, "accuracy") if accurate(tickets) else (LOSS, "held-out loss")
    curves: dict[float, dict[float, list[float]]] = {}
    for r in tickets[0].rounds:
        if r.curve:
            curves[r.density] = {}
    for r in (r for trial in tickets for r in trial.rounds if r.density in curves):
        for point in r.curve:
            curves[r.density].setdefault(point[0], []).append(point[column])
    lines = [Line.over(f"density {density:.4g}", at) for density, at in curves.items()]
    chart = Lines("step of the schedule", what, lines, ladder=False)
    return Section("learning", "Learning curves", figure=chart)


def early_stopping(
    tickets: Sequence[TrialRecord], trials: Sequence[TrialRecord]
) -> Iterator[Section]:
    """Yield of a classifier the step of the smallest held-out loss, by density, of tickets and
    controls."""
    if not accurate(tickets):
        return
    labels = arms()
    stops: dict[str, dict[float, list[float]]] = {}
    for trial in trials:
        if trial.point.fork or trial.point.control not in labels or len(trial.rounds) < 2:
            continue
        steps = stops.setdefault(labels[trial.point.control], {})
        for r in trial.rounds:
            best = min(r.curve, key=lambda point: point[LOSS])
            steps.setdefault(r.density, []).append(best[0])
    lines = [Line.over(arm, points) for arm, points in stops.items()]
    chart = Lines(DENSITY, "early-stopping step", lines)
    yield Section("early_stopping", "Step of the smallest held-out loss", figure=chart)


def samples(recorded: Recorded, trial: TrialRecord) -> Iterator[Section]:
    """Yield the dense network's and the tickets' samples of one bank of noise."""
    pictures = {}
    for r in trial.rounds:
        label = f"ticket at {r.density:.4g}" if r.index else "dense"
        for name, png in recorded.pictures(trial, r.index):
            pictures[f"{label}, {name.removeprefix('samples_')}"] = png
    if pictures:
        text = [f"Seed {trial.point.seed}, the same noise for all."]
        yield Section("samples", "Samples of dense network and ticket", text, pictures=pictures)


if __name__ == "__main__":
    sys.exit(analysis("ticket_anatomy", __doc__ or "", sections))
