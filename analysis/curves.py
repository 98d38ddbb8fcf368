"""A metric against density, for each value of one word: mean and standard deviation over the trials (seeds) of each.

    python analysis/curves.py --experiment rewinding.digits --by rewind.fraction
    python analysis/curves.py --experiment sanity.mnist --by control --metric quality/accuracy

Reads MLflow only. Writes a table (CSV, Markdown) and a figure (PNG) to <out>/reports/<experiment>/ and prints the table.
It describes what was recorded; it tests nothing.
"""

import csv
import statistics
import sys
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from lthray.cli import asked, guarded
from lthray.config import TrialConfig
from lthray.flat import ConfigError, words
from lthray.options import NAME, OPTIONS, Root
from lthray.results import config_of, surface


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Wanted(Root):
    """What is drawn."""

    experiment: str = ""
    """The study and its preset as MLflow names them, such as rewinding.digits; must be given."""
    by: str = "control"
    """Word of the config, one curve a value."""
    metric: str = "loss/excess"
    """Recorded metric."""


Cells = dict[tuple[str, float], list[float]]


def cells_of(trials: list[dict[str, Any]], by: str, metric: str) -> Cells:
    """(value of the word, density) -> the metric of every trial there."""
    cells: Cells = {}
    for trial in trials:
        value = str(config_of(trial["point"]).flat()[by])
        for found in (r["metrics"] for r in trial["rounds"] if metric in r["metrics"]):
            cells.setdefault((value, found["density/prunable"]), []).append(found[metric])
    if not cells:
        known = sorted({name for trial in trials for r in trial["rounds"] for name in r["metrics"]})
        raise ConfigError([f"--metric {metric!r}: recorded are {', '.join(known)}"])
    return cells


def figure(cells: Cells, by: str, metric: str, path: Path) -> None:
    """Curves over density on a logarithmic axis, a band of one standard deviation around each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    axes = plt.figure(figsize=(7, 4.2), dpi=150, layout="constrained").add_subplot()
    for value in dict.fromkeys(value for value, _ in cells):
        points = sorted((d, found) for (v, d), found in cells.items() if v == value)
        x, mean = [d for d, _ in points], [statistics.mean(found) for _, found in points]
        spread = [statistics.stdev(found) if len(found) > 1 else 0.0 for _, found in points]
        (line,) = axes.plot(x, mean, marker="o", markersize=3, label=f"{by} = {value}")
        low, high = ([m + sign * s for m, s in zip(mean, spread, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xscale="log", xlabel="density of the prunable weights", ylabel=metric)
    axes.invert_xaxis()
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    axes.figure.savefig(path)  # type: ignore[union-attr]
    plt.close("all")


def main() -> int:
    """Write the table and the figure."""
    wanted = asked(Wanted, sys.argv[1:], "python analysis/curves.py", __doc__ or "")
    if not NAME.fullmatch(wanted.experiment):
        raise ConfigError([f"--experiment {wanted.experiment!r}: study.preset, such as rewinding.digits"])
    if wanted.by not in words(TrialConfig):
        raise ConfigError([f"--by {wanted.by!r}: no word of a config"])
    from lthray.recording import recorded

    trials = recorded(wanted.uri, wanted.experiment)
    cells = cells_of(trials, wanted.by, wanted.metric)
    rows = surface(cells, wanted.by)
    folder = Path(wanted.out) / "reports" / wanted.experiment
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{wanted.metric.replace('/', '_')}_by_{wanted.by}"
    with open(folder / f"{stem}.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    (folder / f"{stem}.md").write_text("\n".join(lines) + "\n")
    figure(cells, wanted.by, wanted.metric, folder / f"{stem}.png")
    print("\n".join(lines))
    print(f"{folder / stem}.csv .md .png")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
