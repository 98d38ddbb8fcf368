"""A metric against density, for each value of one word: mean and standard deviation over the trials (seeds) of each.

    python analysis/curves.py --experiment rewinding.digits --by rewind.fraction
    python analysis/curves.py --experiment sanity.mnist --by control --metric quality/accuracy

Reads MLflow only. Writes a table and a figure to <out>/reports/<experiment>/ and prints the table.
It describes what was recorded; it tests nothing.
"""

import statistics
import sys
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from lthray.cli import asked, guarded
from lthray.config.fields import ConfigError, words
from lthray.config.options import OPTIONS, Asked
from lthray.config.trial import TrialConfig
from lthray.findings.sections import Line, Lines, Section, write
from lthray.study.results import config_of, pruned, surface
from lthray.tracking.read import Recorded


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Wanted(Asked):
    """What is drawn."""

    by: str = "control"
    """Word of the config, one curve a value."""
    metric: str = "loss/excess"
    """Recorded metric."""


Cells = dict[tuple[str, float], list[float]]


def cells_of(trials: list[dict[str, Any]], by: str, metric: str) -> Cells:
    """(value of the word, density) -> the metric of every trial there."""
    cells: Cells = {}
    for trial in trials:
        config = config_of(trial["point"])
        if not pruned(config) or (config.fork and by != "fork"):
            continue  # a reference, or the same once more on another stream
        for found in (r["metrics"] for r in trial["rounds"] if metric in r["metrics"]):
            cells.setdefault((str(config.flat()[by]), found["density/prunable"]), []).append(found[metric])
    if not cells:
        known = sorted({name for trial in trials for r in trial["rounds"] for name in r["metrics"]})
        raise ConfigError([f"--metric {metric!r}: recorded are {', '.join(known)}"])
    return cells


def figure(cells: Cells, by: str, metric: str) -> Lines:
    """Curves over density, a band of one standard deviation around each."""
    lines = []
    for value in dict.fromkeys(value for value, _ in cells):
        points = sorted((d, found) for (v, d), found in cells.items() if v == value)
        mean = [statistics.mean(found) for _, found in points]
        spread = [statistics.stdev(found) if len(found) > 1 else 0.0 for _, found in points]
        low, high = ([m + sign * s for m, s in zip(mean, spread, strict=True)] for sign in (-1, 1))
        lines.append(Line(f"{by} = {value}", [d for d, _ in points], mean, low, high))
    return Lines("density of the prunable weights", metric, lines)


def main() -> int:
    """Write the table and the figure."""
    wanted = asked(Wanted, sys.argv[1:], "python analysis/curves.py", __doc__ or "")
    if wanted.by not in words(TrialConfig):
        raise ConfigError([f"--by {wanted.by!r}: no word of a config"])
    found = Recorded(wanted.uri, wanted.experiment)
    cells = cells_of(found.of(wanted.call) if wanted.call else found.trials, wanted.by, wanted.metric)
    title, name = f"{wanted.metric} by {wanted.by}", f"{wanted.metric.replace('/', '_')}_by_{wanted.by}"
    section = Section(name, title, table=surface(cells, wanted.by), figure=figure(cells, wanted.by, wanted.metric))
    print("\n".join(write([section], Path(wanted.out) / "reports" / found.name)))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
