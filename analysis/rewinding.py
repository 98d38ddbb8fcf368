"""To which step must a ticket be rewound, and is that where training becomes stable?

    python analysis/rewinding.py --experiment rewinding.digits

The surface of excess loss over (density x k), and beside it the error barrier between two children of one anchor: of the
dense network forked at k, and of the ticket (Frankle et al. 2020, arXiv 1912.05671, take stability there for the cause of
matching; here the two are set against each other, seed by seed). Reads MLflow only; writes tables, figures and sentences
to <out>/reports/<experiment>/.
"""

import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.findings.evidence import MARGIN, comparable, is_ticket
from lthray.findings.sections import Line, Lines, Section
from lthray.study.results import config_of, surface
from lthray.tracking.read import Recorded

STABLE = 0.005  # of the loss: a lower barrier is called stable

Cells = dict[tuple[float, float], dict[int, float]]  # (k, density) -> seed -> number


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """The surface of excess; barriers by k; stability against matching."""
    trials = comparable(recorded.of(call))
    tickets = cells(trials, "none", 0, "loss/excess")
    if len({k for k, _ in tickets}) < 2:
        raise ConfigError(["one rewind point only: there is no surface"])
    if len({_but_k(trial["point"]) for trial in trials if is_ticket(trial["point"]) and trial["rounds"][1:]}) > 1:
        raise ConfigError(["recipes differ in more than the rewind point: there is no surface over it"])
    yield Section("surface", "Excess over dense by density and rewind point", table=table(tickets), figure=figure(tickets))
    dense, sparse = cells(trials, "dense", 1, "barrier/ema"), cells(trials, "none", 1, "barrier/ema")
    if dense:
        yield from barriers(tickets, dense, sparse, cells(trials, "dense", 1, "barrier/raw"))


def _but_k(point: Mapping[str, Any]) -> str:
    """All that makes a ticket what it is, but for its seed and the step to which it is rewound."""
    outside = [
        "seed",
        "stream",
        *(["rewind.rule", "rewind.fraction"] if config_of(point).rewind.rule in ("init", "late") else []),
    ]
    return str(sorted((w, v) for w, v in point["config"].items() if w not in outside and not w.startswith("measure.")))


def cells(trials: Sequence[Mapping[str, Any]], control: str, fork: int, metric: str) -> Cells:
    """A metric of the rounds of an arm, by rewind point (0 for rule init), density and seed."""
    found: Cells = {}
    for trial in trials:
        point = trial["point"]
        if (point["control"], point["fork"]) == (control, fork):
            config = config_of(point)
            k = 0.0 if config.rewind.rule == "init" else config.rewind.fraction
            for r in trial["rounds"][1:]:
                found.setdefault((k, r["density"]), {})[point["seed"]] = r["metrics"][metric]
    return found


def table(found: Cells) -> list[list[str]]:
    """Densities by rewind points: mean, standard deviation and number of seeds."""
    return surface({(f"{k:g}", d): list(values.values()) for (k, d), values in sorted(found.items())}, "k")


def figure(found: Cells) -> Lines:
    """A curve a rewind point."""
    points = sorted({k for k, _ in found})
    lines = [Line.over(f"k = {k:g}", {d: list(v.values()) for (at, d), v in found.items() if at == k}) for k in points]
    return Lines("density of the prunable weights", "excess over the own dense network", lines, level=MARGIN)


def barriers(tickets: Cells, dense: Cells, sparse: Cells, raw: Cells) -> Iterator[Section]:
    """How high the barrier is by k, and whether a stable anchor is a matching one."""
    arms = {"dense, average": dense, "dense, raw weights": raw}
    arms |= {
        f"ticket at {d:.4g}, average": {(k, d): v for (k, at), v in sparse.items() if at == d}
        for d in sorted({d for _, d in sparse})
    }
    lines = [Line.over(name, {k: list(values.values()) for (k, _), values in found.items()}) for name, found in arms.items()]
    rows = [["k", *arms]]
    for k in sorted({k for k, _ in dense}):
        rows.append(
            [
                f"{k:g}",
                *(_cell([v for (at, _), seeds in found.items() if at == k for v in seeds.values()]) for found in arms.values()),
            ]
        )
    chart = Lines("rewind point k, share of the training", "error barrier", lines, ladder=False, level=STABLE)
    yield Section("barriers", "Error barrier between two children of one anchor", table=rows, figure=chart)
    yield stability(tickets, {(k, seed): v for (k, _), seeds in dense.items() for seed, v in seeds.items()})


def _cell(values: Sequence[float]) -> str:
    return f"{plain.fmean(values):.4f} (max {max(values):.4f}, {len(values)})" if values else "–"


def stability(tickets: Cells, dense: Mapping[tuple[float, int], float]) -> Section:
    """Counts of stable against matching, over rewind points and seeds, at each density."""
    from scipy.stats import spearmanr

    rows, text = [["density", "stable and matching", "stable, not matching", "unstable, matching", "neither", "Spearman"]], []
    for density in sorted({d for _, d in tickets}, reverse=True):
        pairs = [
            (dense[k, s], d) for (k, at), seeds in tickets.items() if at == density for s, d in seeds.items() if (k, s) in dense
        ]
        counts = [
            sum((b < STABLE) is stable and (d < MARGIN) is match for b, d in pairs)
            for stable in (True, False)
            for match in (True, False)
        ]
        rho = float(spearmanr(*zip(*pairs, strict=True)).statistic) if len(pairs) > 2 else 0.0
        rows.append([f"{density:.4g}", *map(str, counts), f"{rho:+.2f}"])
        if counts[1] or counts[2]:
            text.append(
                f"At density {density:.4g} stability does not decide: {counts[1]} of {counts[0] + counts[1]} stable anchors "
                f"do not match, {counts[2]} of {counts[2] + counts[3]} unstable ones do."
            )
    text.append(
        f"Stable: a barrier of the dense network's averages below {STABLE:.1%} of the loss; later anchors leave fewer steps."
    )
    return Section("stability", "Is a stable anchor a matching one?", text, rows)


if __name__ == "__main__":
    sys.exit(analysis("rewinding", __doc__ or "", sections))
