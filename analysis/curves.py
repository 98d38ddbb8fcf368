"""A metric against density, for each value of one word: mean and standard deviation over the trials
(seeds) of each.

    python analysis/curves.py --experiment rewinding.digits --by rewind.fraction
    python analysis/curves.py --experiment sanity.mnist --by control \\
        --metric quality/accuracy

Reads MLflow only. Writes a table, a figure and a line on where the trials were made to
<out>/reports/<experiment>/, and prints the table.
It describes what was recorded; it tests nothing.
"""

import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic.dataclasses import dataclass

from lthray.cli import asked, guarded
from lthray.config.fields import ConfigError, words
from lthray.config.options import OPTIONS, Asked
from lthray.config.trial import TrialConfig
from lthray.core import metrics
from lthray.core.record import TrialRecord
from lthray.findings.figures import DENSITY, Line, Lines
from lthray.findings.sections import Section, write
from lthray.study.results import config_of, pruned, surface
from lthray.tracking.read import Recorded


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Wanted(Asked):
    """Options of this page."""

    by: str = "control"
    """Word of the config, one curve a value."""
    metric: str = metrics.EXCESS.name
    """Recorded metric."""


Cells = dict[tuple[str, float], list[float]]


def cells_of(trials: Sequence[TrialRecord], by: str, metric: str) -> Cells:
    """Return (value of the word `by`, density) -> the metric of every trial there.

    Dense networks alone are references and left out; so are forks, the same trials once more on
    another stream, unless they are what is told apart. Raises ConfigError where nothing is
    recorded, with the metrics that are.
    """
    cells: Cells = {}
    for trial, value in _shown(trials, by):
        for r in trial.rounds:
            if metric in r.metrics:
                density = r.metrics[metrics.PRUNABLE.name]
                cells.setdefault((value, density), []).append(r.metrics[metric])
    if not cells:
        recorded = sorted({name for trial in trials for r in trial.rounds for name in r.metrics})
        raise ConfigError([f"--metric {metric!r}: recorded are {', '.join(recorded)}"])
    return cells


def _shown(trials: Sequence[TrialRecord], by: str) -> Iterator[tuple[TrialRecord, str]]:
    """Yield the trials that are shown, each with its value of the word `by`."""
    for trial in trials:
        config = config_of(trial.point)
        if pruned(config) and (by == "fork" or not config.fork):
            yield trial, str(config.flat()[by])


def figure(cells: Cells, by: str, metric: str) -> Lines:
    """Return curves over density, with a band of one standard deviation around each."""
    lines = []
    for value in dict.fromkeys(value for value, _ in cells):
        points = sorted((d, numbers) for (v, d), numbers in cells.items() if v == value)
        densities, mean, low, high = [], [], [], []
        for density, numbers in points:
            spread = statistics.stdev(numbers) if len(numbers) > 1 else 0.0
            densities.append(density)
            mean.append(statistics.mean(numbers))
            low.append(mean[-1] - spread)
            high.append(mean[-1] + spread)
        lines.append(Line(f"{by} = {value}", densities, mean, low, high))
    return Lines(DENSITY, metric, lines)


def main() -> int:
    """Write the table and the figure; return the exit code."""
    wanted = asked(Wanted, sys.argv[1:], "python analysis/curves.py", __doc__ or "")
    if wanted.by not in words(TrialConfig):
        raise ConfigError([f"--by {wanted.by!r}: no word of a config"])
    recorded = Recorded(wanted.uri, wanted.experiment)
    trials = recorded.of(wanted.call) if wanted.call else recorded.trials
    cells = cells_of(trials, wanted.by, wanted.metric)
    shown = [trial for trial, _ in _shown(trials, wanted.by)]
    section = Section(
        f"{wanted.metric.replace('/', '_')}_by_{wanted.by}",
        f"{wanted.metric} by {wanted.by}",
        [recorded.provenance(shown)],
        table=surface(cells, wanted.by),
        figure=figure(cells, wanted.by, wanted.metric),
    )
    print("\n".join(write([section], Path(wanted.out) / "reports" / recorded.name)))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
