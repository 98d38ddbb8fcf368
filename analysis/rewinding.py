"""To which step must a ticket be rewound, and is that where training becomes stable?

    python analysis/rewinding.py --experiment rewinding.digits

The surface of excess loss over (density x k), and beside it the error barrier between two children
of one anchor: of the dense network forked at k, and of the ticket. Frankle et al. 2020 (arXiv
1912.05671) take stability there for the cause of matching. Where it was measured, the barrier
between the solutions of successive rungs is shown too, by noise level: Paul et al. 2023 (arXiv
2210.03044) take a path without a barrier for the mark of a rung that matches.

Either account is contradicted at a rewind point where tickets are shown to match although the
barrier is shown to be there, or not to match although there is none. These claims are of one family
with the verdict, which says where tickets match; counts of single seeds stand beside them and claim
nothing. Reads MLflow only; writes tables, figures and sentences to <out>/reports/<experiment>/.
"""

import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.core import metrics
from lthray.core.record import Point, TrialRecord
from lthray.findings.accounts import (
    CONNECTED,
    FAILS,
    POINTED,
    STABLE,
    STABLE_THERE,
    absent,
    rewind_points,
)
from lthray.findings.claims import Verdict, judged, matches
from lthray.findings.contrasts import OWN
from lthray.findings.evidence import TICKET, comparable, gather
from lthray.findings.figures import DENSITY, Line, Lines
from lthray.findings.formats import NONE
from lthray.findings.rounds import MARGIN, values_of
from lthray.findings.sections import Section
from lthray.findings.wording import family
from lthray.study.results import config_of, surface
from lthray.tracking.read import Recorded

ORDER = 40  # place in a report
DENSE = "dense"  # control whose forks are two children of one dense anchor
NO_SURFACE = "no recipes of one setting differ in the rewind point alone"
STABILITY = (
    "density", "stable and matching", "stable, not matching", "unstable, matching", "neither",
    "Spearman", "k that match unstable", "k that fail stable",
)  # fmt: skip
CONNECTION = (
    "connected, matching", "connected, not matching", "apart, matching", "neither",
    "k that match apart", "k that fail connected",
)  # fmt: skip
BY_STABILITY = (
    "tickets match where training is stable", "training is unstable there", "it is stable there",
)  # fmt: skip
BY_CONNECTION = (
    "tickets match that are connected to the rung before", "a barrier parts them from it",
    "they are connected to it",
)  # fmt: skip
"""An account of what matches, what is so where tickets match against it, and where they do not."""
COUNTED = "Counts are of single seeds, and nothing is claimed of them."

Cells = dict[tuple[float, float], dict[int, float]]
"""(k, density) -> seed -> number."""
Anchors = Mapping[float, Mapping[int, float]]
"""k -> seed -> number."""


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    settings = gather(comparable(recorded.of(call)))
    return "" if len(settings) == 1 and rewind_points(settings[0]) else NO_SURFACE


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield the surface of excess; barriers by k; stability against matching."""
    if reason := applies(recorded, call):
        raise ConfigError([reason])
    trials = recorded.of(call)
    tickets = tickets_of(trials)
    title = "Excess over dense by density and rewind point"
    text = [recorded.provenance(trials)]
    yield Section("surface", title, text, table(tickets), figure(tickets))
    (verdict,) = judged(gather(trials), recorded.look(trials))
    dense = forks(trials, DENSE, metrics.BARRIER_EMA.name)
    chain = [trial for trial in trials if trial.point.is_ticket]
    if dense:
        raw = forks(trials, DENSE, metrics.BARRIER_RAW.name)
        sparse = forks(trials, TICKET, metrics.BARRIER_EMA.name)
        yield barriers({"dense, average": dense, "dense, raw weights": raw} | by_density(sparse))
        yield stability(tickets, by_anchor(dense), verdict)
    if cells(chain, metrics.BARRIER_PREVIOUS.name):
        yield connections(chain, verdict)


def k_of(point: Point) -> float:
    """Return the rewind point as a share of the steps: 0 for a rule that begins at the first
    step."""
    rewind = config_of(point).rewind
    return rewind.fraction * POINTED[rewind.rule]


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
            if metric in r.metrics:
                numbers.setdefault((k, r.density), {})[trial.point.seed] = r.metrics[metric]
    return numbers


def by_anchor(dense: Cells) -> dict[float, dict[int, float]]:
    """Return k -> seed -> the barrier of the dense network's averages."""
    anchors: dict[float, dict[int, float]] = {}
    for (k, _), seeds in dense.items():
        anchors.setdefault(k, {}).update(seeds)
    return anchors


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
        return NONE
    return f"{plain.fmean(values):.4f} (max {max(values):.4f}, {len(values)})"


def stability(tickets: Cells, anchors: Anchors, verdict: Verdict) -> Section:
    """Return counts of stable against matching, over rewind points and seeds, at each density; and
    the rewind points that contradict the account.

    `anchors` maps k and seed to the barrier of the dense network's averages.
    """
    rows, text = [list(STABILITY)], []
    for density in sorted({d for _, d in tickets}, reverse=True):
        pairs = _pairs(tickets, anchors, density)
        against = contradictions(verdict, STABLE_THERE, density)
        counts = map(str, _counts(pairs))
        rows.append([f"{density:.4g}", *counts, _rank_correlation(pairs), *map(_listed, against)])
        text.append(contradicted(density, against, BY_STABILITY))
    text += [
        f"Stable: a barrier of the dense network's averages below {STABLE:.1%} of the loss; "
        "later anchors leave fewer steps.",
        *closing(verdict),
    ]
    return Section("stability", "Is a stable anchor a matching one?", text, rows)


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> str:
    """Return Spearman's correlation, or "–" of fewer than three pairs or of a side that never
    varies."""
    from scipy.stats import spearmanr

    sides = list(zip(*pairs, strict=True))
    if len(pairs) < 3 or any(len(set(side)) < 2 for side in sides):
        return NONE
    return f"{spearmanr(*sides).statistic:+.2f}"


def contradictions(verdict: Verdict, name: str, density: float) -> tuple[list[float], list[float]]:
    """Return the rewind points that contradict an account, by the claims that hold.

    First those where tickets match although `name` does not hold, then those where they do not
    match although it does.
    """
    evidence, holds = verdict.evidence, verdict.registry.holds
    spared, hurt = [], []
    for k, recipe in rewind_points(evidence).items():
        ticket = evidence.place(recipe, density)
        place = evidence.place(recipe) if name == STABLE_THERE else ticket
        if holds(matches(OWN), *ticket) and holds(absent(name), *place):
            spared.append(k)
        if holds(FAILS, *ticket) and holds(name, *place):
            hurt.append(k)
    return spared, hurt


def closing(verdict: Verdict) -> list[str]:
    """Return the lines that end the text on an account."""
    return [COUNTED, family(verdict.registry, verdict.look)]


def contradicted(
    density: float, against: tuple[list[float], list[float]], words: tuple[str, str, str]
) -> str:
    """Return which rewind points contradict an account at a density."""
    account, *although = words
    told = []
    for points, match, why in zip(against, ("match", "do not match"), although, strict=True):
        if points:
            told.append(f"tickets from k = {_listed(points)} {match} although {why}")
    what = ", and ".join(told) or f"nothing is shown against the account that {account}"
    return f"At density {density:.4g} {what}."


def _listed(points: Sequence[float]) -> str:
    return ", ".join(f"{k:g}" for k in points) or NONE


def connections(trials: Sequence[TrialRecord], verdict: Verdict) -> Section:
    """Return the barrier between successive rungs, whole and by noise level; counts of connected
    against matching, over rewind points and seeds; and the rewind points that contradict the
    account, at each density."""
    rounds = [r for trial in trials for r in trial.rounds[1:]]
    pattern, whole = metrics.BARRIER_PREVIOUS_BAND.pattern, metrics.BARRIER_PREVIOUS.name
    bands = sorted({name for r in rounds for name in r.metrics if pattern.fullmatch(name)})
    heads = [f"from timestep {int(band.rpartition('t')[2])}" for band in bands]
    rows, text = [["density", "barrier", *heads, *CONNECTION]], []
    for density in sorted({r.density for r in rounds}, reverse=True):
        at = [r for r in rounds if r.density == density and whole in r.metrics]
        barrier = [_cell(values_of(at, name)) for name in (whole, *bands)]
        counts = _counts([(r.metrics[whole], r.metrics[metrics.EXCESS.name]) for r in at])
        against = contradictions(verdict, CONNECTED, density)
        rows.append([f"{density:.4g}", *barrier, *map(str, counts), *map(_listed, against)])
        text.append(contradicted(density, against, BY_CONNECTION))
    text.append(f"Connected: a barrier of the averages below {STABLE:.1%} of the loss.")
    text += closing(verdict)
    return Section("connections", "Does a ticket match that is connected?", text, rows)


def _pairs(tickets: Cells, anchors: Anchors, density: float) -> list[tuple[float, float]]:
    """Return (barrier of the dense network, excess of the ticket) of each rewind point and seed."""
    pairs = []
    for (k, at), seeds in tickets.items():
        barriers = anchors.get(k, {}) if at == density else {}
        pairs += [(barriers[seed], excess) for seed, excess in seeds.items() if seed in barriers]
    return pairs


def _counts(pairs: Sequence[tuple[float, float]]) -> list[int]:
    """Return the four counts of `STABILITY`: (stable or not) x (matching or not)."""
    outcomes = [(barrier < STABLE, excess < MARGIN) for barrier, excess in pairs]
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    return [outcomes.count(kind) for kind in kinds]


if __name__ == "__main__":
    sys.exit(analysis("rewinding", __doc__ or "", sections))
