"""What is a winning ticket like inside: where it is sparse, what it keeps, what it is bad at, how it learns.

    python analysis/ticket_anatomy.py --experiment layerwise_search.digits

Layer densities; initial weights of kept against cut weights (Frankle and Carbin 2019, figure 15); agreement of masks
between seeds, corrected for chance; excess by timestep; how sensitive each layer is at each noise level; sharpness and
generalisation gap against density; learning curves; samples beside the dense network's from one bank of noise. Of one
recipe: the one with the most seeds. Reads MLflow only; writes tables, figures and sentences to <out>/reports/<experiment>/.
"""

import math
import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.core.ticket import read_ticket
from lthray.findings import claims
from lthray.findings.evidence import comparable, is_ticket, recipe, worse
from lthray.findings.sections import Heat, Line, Lines, Section
from lthray.measure.anatomy import BINS, WIDEST
from lthray.study.results import config_of
from lthray.tracking.read import Recorded

DENSITY = "density of the prunable weights"

Trial = Mapping[str, Any]


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """All that the recorded rounds allow."""
    trials = comparable(recorded.of(call))
    tickets = [t for t in trials if is_ticket(t["point"]) and len(t["rounds"]) > 1]
    if not tickets:
        raise ConfigError(["no ticket is recorded there"])
    groups: dict[str, list[Trial]] = {}
    for trial in tickets:
        groups.setdefault(recipe(trial), []).append(trial)
    mine = max(groups.values(), key=len)
    name = mine[0]["point"]["recipe"]
    arrays = {t["point"]["seed"]: {r["index"]: recorded.arrays(t, r["index"]) for r in t["rounds"]} for t in mine}
    yield layer_map(mine, name)
    yield kept_and_cut(arrays)
    if len(mine) > 1:
        yield masks(recorded, mine)
    yield from timesteps(mine, arrays)
    yield from sensitivity(mine, arrays)
    yield flatness(mine)
    yield from learning(mine, [t for t in trials if t["rounds"][1:]])
    yield from samples(recorded, mine[0])


def layer_map(trials: Sequence[Trial], name: str) -> Section:
    """Mean density of each layer, in forward order, at each rung."""
    rounds = list(zip(*(t["rounds"][1:] for t in trials), strict=False))
    layers = list(rounds[0][0]["densities"])
    values = [[plain.fmean(r["densities"][layer] for r in rung) for rung in rounds] for layer in layers]
    columns = [f"{rung[0]['density']:.4g}" for rung in rounds]
    short = [layer.removesuffix(".weight") for layer in layers]
    rows = [["layer", *columns], *([layer, *(f"{v:.4f}" for v in row)] for layer, row in zip(short, values, strict=True))]
    relative = [[math.log2(v / rung[0]["density"]) for v, rung in zip(row, rounds, strict=True)] for row in values]
    text = [f"Mean over {len(trials)} seeds of {name}; the figure shows log2 of each over the overall density."]
    return Section("layers", "Where the ticket is sparse", text, rows, Heat(DENSITY, "layer", columns, short, relative))


def kept_and_cut(arrays: Mapping[int, Mapping[int, Any]]) -> Section:
    """Initial weights of what the sparsest ticket keeps and cuts, all layers and seeds together."""
    counts = sum(rounds[max(rounds)]["initial"].sum(0).double() for rounds in arrays.values())
    width = 2 * WIDEST / BINS
    middles = [-WIDEST + (i + 0.5) * width for i in range(BINS)]
    lines, means = [], []
    for label, row in zip(("kept", "cut"), counts, strict=True):
        share = (row / row.sum()).tolist()
        lines.append(Line(label, middles, [s / width for s in share]))
        means.append(sum(abs(m) * s for m, s in zip(middles, share, strict=True)))
    text = [f"Mean initial |w| in deviations of its layer: {means[0]:.3f} of what is kept, {means[1]:.3f} of what is cut."]
    chart = Lines("initial weight, in deviations of its layer", "share per deviation", lines, ladder=False)
    return Section("initial", "Initial weights of what is kept and what is cut", text, figure=chart)


def masks(recorded: Recorded, trials: Sequence[Trial]) -> Section:
    """Agreement of the masks of two seeds beyond chance."""
    rows = [["density", "pairs of seeds", "agreement beyond chance (mean)", "smallest", "largest"]]
    for rung in trials[0]["rounds"][1:]:
        path = f"rounds/{rung['index']:02d}/ticket.safetensors"
        found = [read_ticket(data)[0].mask for t in trials if (data := recorded.file(t, path))]
        values = [a.agreement(b) for a, b in combinations(found, 2)]
        if values:
            rows.append(
                [
                    f"{rung['density']:.4g}",
                    str(len(values)),
                    *(f"{v:+.3f}" for v in (plain.fmean(values), min(values), max(values))),
                ]
            )
    text = ["0 is what random masks with the same layer densities would have, 1 the most that these densities allow."]
    text.append("Units of differently initialised layers are not matched, so chance is what symmetry predicts.")
    return Section("masks", "Do two seeds find the same mask?", text, rows)


def timesteps(trials: Sequence[Trial], arrays: Mapping[int, Mapping[int, Any]]) -> Iterator[Section]:
    """Excess over dense at each timestep of the panel."""
    lines = []
    for rung in trials[0]["rounds"][1:]:
        excess = []
        for rounds in arrays.values():
            a, b = (rounds[i]["loss"].double().mean(0) for i in (rung["index"], 0))
            excess.append((a / b - 1).tolist())
        columns = len(excess[0])
        if columns < 2:
            return  # a classifier
        total = config_of(trials[0]["point"]).objective.timesteps
        at = {(k + 0.5) * total / columns: [seed[k] for seed in excess] for k in range(columns)}
        lines.append(Line.over(f"density {rung['density']:.4g}", at))
    text = [
        f"{line.name}: {line.y[0]:+.1%} at the lowest noise, {line.y[-1]:+.1%} at the highest"
        + (" (the mean hides a change of sign)." if min(line.y) < 0 < max(line.y) else ".")
        for line in lines
    ]
    chart = Lines("timestep (noise grows to the right)", "excess over dense", lines, ladder=False, level=0.0)
    yield Section("timesteps", "Where in the noise a ticket is better or worse", text, figure=chart)


def sensitivity(trials: Sequence[Trial], arrays: Mapping[int, Mapping[int, Any]]) -> Iterator[Section]:
    """Rise of the loss when a layer alone is cut to a tenth, by noise level, for the sparsest ticket that has it."""
    last = trials[0]["rounds"][-1]
    found = [rounds[last["index"]]["sensitivity"] for rounds in arrays.values() if "sensitivity" in rounds[last["index"]]]
    if found:
        mean = sum(found) / len(found)
        layers = [name.removesuffix(".weight") for name in last["densities"]]
        columns = [f"band {i + 1}" for i in range(mean.shape[1])]
        rows = [["layer", *columns], *([n, *(f"{v:+.3f}" for v in row)] for n, row in zip(layers, mean.tolist(), strict=True))]
        chart = Heat("noise level (grows to the right)", "layer", columns, layers, mean.tolist())
        yield Section("sensitivity", "Which layer matters at which noise", ["Relative rise of the loss."], rows, chart)


def flatness(trials: Sequence[Trial]) -> Section:
    """Generalisation gap and sharpness beside excess."""
    rows, lines = [["density", "excess", "gap held-out / train - 1", "sharpness"]], []
    gaps: dict[float, list[float]] = {}
    for rung in zip(*(t["rounds"] for t in trials), strict=False):
        d = rung[0]["density"]
        gaps[d] = [r["metrics"]["loss/gap"] for r in rung]
        sharp = [r["metrics"]["loss/sharpness"] for r in rung if "loss/sharpness" in r["metrics"]]
        told = f"{plain.fmean(sharp):+.4f}" if sharp else "–"
        rows.append([f"{d:.4g}", f"{plain.fmean(worse(r)[0] for r in rung):+.2%}", f"{plain.fmean(gaps[d]):+.2%}", told])
    lines.append(Line.over("ticket", gaps))
    return Section(
        "flatness", "Gap and sharpness against density", (), rows, Lines(DENSITY, "held-out loss / training loss - 1", lines)
    )


def learning(tickets: Sequence[Trial], trials: Sequence[Trial]) -> Iterator[Section]:
    """Held-out loss (accuracy of a classifier) along training, and the step of the smallest held-out loss, by density."""
    curves = {r["density"]: r["curve"] for r in tickets[0]["rounds"] if r["curve"]}
    column, what = (3, "accuracy") if all(len(c[0]) > 3 for c in curves.values()) else (2, "held-out loss")
    lines = []
    for d in curves:
        at: dict[float, list[float]] = {}
        for t in tickets:
            for r in t["rounds"]:
                for point in r["curve"] if r["density"] == d else ():
                    at.setdefault(point[0], []).append(point[column])
        lines.append(Line.over(f"density {d:.4g}", at))
    yield Section("learning", "Learning curves", figure=Lines("step of the schedule", what, lines, ladder=False))
    if column == 3:
        stops: dict[str, dict[float, list[float]]] = {}
        for t in trials:
            if (arm := claims.ARMS.get(t["point"]["control"])) and not t["point"]["fork"]:
                for r in t["rounds"]:
                    best = min(r["curve"], key=lambda point: point[2])[0]
                    stops.setdefault(arm, {}).setdefault(r["density"], []).append(best)
        chart = Lines(DENSITY, "early-stopping step", [Line.over(name, points) for name, points in stops.items()])
        yield Section("early_stopping", "Step of the smallest held-out loss", figure=chart)


def samples(recorded: Recorded, trial: Trial) -> Iterator[Section]:
    """The dense network's and the tickets' samples of one bank of noise."""
    pictures = {
        f"{'dense' if not r['index'] else 'ticket at ' + format(r['density'], '.4g')}, {name.removeprefix('samples_')}": png
        for r in trial["rounds"]
        for name, png in recorded.pictures(trial, r["index"])
    }
    if pictures:
        text = [f"Seed {trial['point']['seed']}, the same noise for all."]
        yield Section("samples", "Samples of dense network and ticket", text, pictures=pictures)


if __name__ == "__main__":
    sys.exit(analysis("ticket_anatomy", __doc__ or "", sections))
