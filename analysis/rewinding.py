"""To which step must a ticket be rewound, and is that where training becomes stable?

    python analysis/rewinding.py --experiment rewinding.digits

The surface of excess loss over (density x k), and beside it the error barrier between two children
of one anchor: of the dense network forked at k, and of the ticket (Frankle et al. 2020, arXiv
1912.05671, take stability there for the cause of matching; here the two are set against each other,
seed by seed). Where it was measured, the barrier between the solutions of successive rungs is set
against matching too, by noise level (Paul et al. 2023, arXiv 2210.03044, take a path without a
barrier for the mark of a rung that matches). Reads MLflow only; writes tables, figures and
sentences to <out>/reports/<experiment>/.
"""

import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.core import metrics
from lthray.core.record import Point, TrialRecord
from lthray.findings.evidence import TICKET, comparable
from lthray.findings.rounds import MARGIN, values_of
from lthray.findings.sections import DENSITY, Line, Lines, Section
from lthray.prune.rewinds import REWINDS
from lthray.study.results import config_of, surface
from lthray.tracking.read import Recorded

ORDER = 40  # place in a report
STABLE = 0.005  # of the loss: a lower barrier is called stable
DENSE = "dense"  # control whose forks are two children of one dense anchor
ONE_POINT = "one rewind point only: there is no surface"
MORE = "recipes differ in more than the rewind point: there is no surface over it"
STABILITY = (
    "density", "stable and matching", "stable, not matching", "unstable, matching", "neither",
    "Spearman",
)  # fmt: skip

Cells = dict[tuple[float, float], dict[int, float]]
"""(k, density) -> seed -> number."""


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    trials = comparable(recorded.of(call))
    if len({k for k, _ in tickets_of(trials)}) < 2:
        return ONE_POINT
    tickets = [trial for trial in trials if trial.point.is_ticket and trial.rounds[1:]]
    return MORE if len({_but_k(trial.point) for trial in tickets}) > 1 else ""


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield the surface of excess; barriers by k; stability against matching."""
    if reason := applies(recorded, call):
        raise ConfigError([reason])
    trials = recorded.of(call)
    tickets = tickets_of(trials)
    title = "Excess over dense by density and rewind point"
    text = [recorded.provenance(trials)]
    yield Section("surface", title, text, table(tickets), figure(tickets))
    dense = forks(trials, DENSE, metrics.BARRIER_EMA.name)
    if dense:
        raw = forks(trials, DENSE, metrics.BARRIER_RAW.name)
        sparse = forks(trials, TICKET, metrics.BARRIER_EMA.name)
        yield barriers({"dense, average": dense, "dense, raw weights": raw} | by_density(sparse))
        by_anchor: dict[tuple[float, int], float] = {}
        for (k, _), seeds in dense.items():
            by_anchor |= {(k, seed): barrier for seed, barrier in seeds.items()}
        yield stability(tickets, by_anchor)
    chain = [trial for trial in trials if trial.point.is_ticket]
    if any(metrics.BARRIER_PREVIOUS.name in r.metrics for t in chain for r in t.rounds):
        yield connections(chain)


def _but_k(point: Point) -> str:
    """Return all that makes a ticket what it is, but for its seed and the step to which it is
    rewound."""
    outside = ["seed", "stream"]
    if REWINDS[config_of(point).rewind.rule].weights == "anchor":
        outside += ["rewind.rule", "rewind.fraction"]
    words = {word: value for word, value in point.config.items() if word not in outside}
    return str(sorted(item for item in words.items() if not item[0].startswith("measure.")))


def k_of(point: Point) -> float:
    """Return the rewind point as a share of the steps: 0 for a rule that begins at the first
    step."""
    rewind = config_of(point).rewind
    return 0.0 if REWINDS[rewind.rule].start == "0" else rewind.fraction


def tickets_of(trials: Sequence[TrialRecord]) -> Cells:
    """Return the excess of tickets by rewind point, density and seed."""
    return cells([trial for trial in trials if trial.point.is_ticket], metrics.EXCESS.name)


def forks(trials: Sequence[TrialRecord], control: str, metric: str) -> Cells:
    """Return a metric of second runs, on another stream, by rewind point, density and seed."""
    chosen = [t for t in trials if t.point.control == control and t.point.fork]
    return cells(chosen, metric)


def cells(trials: Sequence[TrialRecord], metric: str) -> Cells:
    """Return a metric of all rungs by rewind point, density and seed."""
    numbers: Cells = {}
    for trial in trials:
        k = k_of(trial.point)
        for r in trial.rounds[1:]:
            numbers.setdefault((k, r.density), {})[trial.point.seed] = r.metrics[metric]
    return numbers


def by_density(sparse: Cells) -> dict[str, Cells]:
    """Return the barriers of tickets apart by density, named as arms."""
    arms: dict[str, Cells] = {}
    for density in sorted({d for _, d in sparse}):
        own = {(k, d): seeds for (k, d), seeds in sparse.items() if d == density}
        arms[f"ticket at {density:.4g}, average"] = own
    return arms


def table(tickets: Cells) -> list[list[str]]:
    """Return densities by rewind points: mean, standard deviation and number of seeds."""
    columns = {}
    for (k, density), seeds in sorted(tickets.items()):
        columns[f"{k:g}", density] = list(seeds.values())
    return surface(columns, "k")


def figure(tickets: Cells) -> Lines:
    """Return a curve over density for each rewind point."""
    lines = []
    for point in sorted({k for k, _ in tickets}):
        points = {d: list(seeds.values()) for (k, d), seeds in tickets.items() if k == point}
        lines.append(Line.over(f"k = {point:g}", points))
    return Lines(DENSITY, "excess over the own dense network", lines, level=MARGIN)


def barriers(arms: Mapping[str, Cells]) -> Section:
    """Return how high the barrier is by k; the first arm says at which k."""
    lines = []
    for name, numbers in arms.items():
        points = {k: list(seeds.values()) for (k, _), seeds in numbers.items()}
        lines.append(Line.over(name, points))
    rows = [["k", *arms]]
    for k in sorted({k for k, _ in next(iter(arms.values()))}):
        rows.append([f"{k:g}", *(_cell(_at(numbers, k)) for numbers in arms.values())])
    chart = Lines(
        "rewind point k, share of the training",
        "error barrier",
        lines,
        ladder=False,
        level=STABLE,
    )
    title = "Error barrier between two children of one anchor"
    return Section("barriers", title, table=rows, figure=chart)


def _at(numbers: Cells, k: float) -> list[float]:
    """Return the numbers of all densities and seeds at one rewind point."""
    return [value for (at, _), seeds in numbers.items() if at == k for value in seeds.values()]


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{plain.fmean(values):.4f} (max {max(values):.4f}, {len(values)})"


def stability(tickets: Cells, dense: Mapping[tuple[float, int], float]) -> Section:
    """Return counts of stable against matching, over rewind points and seeds, at each density.

    `dense` maps (k, seed) to the barrier of the dense network's averages.
    """
    from scipy.stats import spearmanr

    rows, text = [list(STABILITY)], []
    for density in sorted({d for _, d in tickets}, reverse=True):
        pairs = _pairs(tickets, dense, density)
        counts = _counts(pairs)
        rho = 0.0
        if len(pairs) > 2:
            rho = float(spearmanr(*zip(*pairs, strict=True)).statistic)
        rows.append([f"{density:.4g}", *map(str, counts), f"{rho:+.2f}"])
        if counts[1] or counts[2]:
            text.append(
                f"At density {density:.4g} stability does not decide: {counts[1]} of "
                f"{counts[0] + counts[1]} stable anchors do not match, {counts[2]} of "
                f"{counts[2] + counts[3]} unstable ones do."
            )
    text.append(
        f"Stable: a barrier of the dense network's averages below {STABLE:.1%} of the loss; "
        "later anchors leave fewer steps."
    )
    return Section("stability", "Is a stable anchor a matching one?", text, rows)


def connections(trials: Sequence[TrialRecord]) -> Section:
    """Return the barrier between successive rungs, whole and by noise level, and counts of
    connected against matching, over rewind points and seeds, at each density."""
    rounds = [r for trial in trials for r in trial.rounds[1:]]
    pattern, whole = metrics.BARRIER_PREVIOUS_BAND.pattern, metrics.BARRIER_PREVIOUS.name
    bands = sorted({name for r in rounds for name in r.metrics if pattern.fullmatch(name)})
    heads = [f"from timestep {int(band.rpartition('t')[2])}" for band in bands]
    kinds = ("connected, matching", "connected, not matching", "apart, matching", "neither")
    rows, text = [["density", "barrier", *heads, *kinds]], []
    for density in sorted({r.density for r in rounds}, reverse=True):
        at = [r for r in rounds if r.density == density and whole in r.metrics]
        cells = [_cell(values_of(at, name)) for name in (whole, *bands)]
        counts = _counts([(r.metrics[whole], r.metrics[metrics.EXCESS.name]) for r in at])
        rows.append([f"{density:.4g}", *cells, *map(str, counts)])
        text.append(
            f"At density {density:.4g} {counts[0]} of {counts[0] + counts[1]} tickets that are "
            f"connected to the rung before match, and {counts[2]} of {counts[2] + counts[3]} that "
            "are not."
        )
    text.append(f"Connected: a barrier of the averages below {STABLE:.1%} of the loss.")
    return Section("connections", "Does a ticket match that is connected?", text, rows)


def _pairs(
    tickets: Cells, dense: Mapping[tuple[float, int], float], density: float
) -> list[tuple[float, float]]:
    """Return (barrier of the dense network, excess of the ticket) of each rewind point and seed."""
    pairs = []
    for (k, at), seeds in tickets.items():
        for seed, excess in seeds.items():
            if at == density and (k, seed) in dense:
                pairs.append((dense[k, seed], excess))
    return pairs


def _counts(pairs: Sequence[tuple[float, float]]) -> list[int]:
    """Return the four counts of `STABILITY`: (stable or not) x (matching or not)."""
    outcomes = [(barrier < STABLE, excess < MARGIN) for barrier, excess in pairs]
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    return [outcomes.count(kind) for kind in kinds]


if __name__ == "__main__":
    sys.exit(analysis("rewinding", __doc__ or "", sections))
