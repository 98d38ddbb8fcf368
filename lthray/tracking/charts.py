"""Charts as the chart page of MLflow keeps them: lines over density, parallel recipes, pictures."""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lthray.core import metrics
from lthray.core.metrics import Metric

Chart = dict[str, Any]
CURVE = "curve"  # tag that runs share which differ in their seed alone


@dataclass(frozen=True)
class Shown:
    """What the runs of an experiment have recorded, so that its chart page may show it."""

    metrics: frozenset[str] = frozenset()
    """Names of metrics."""
    pictures: frozenset[str] = frozenset()
    """Names of sample grids, samples_<sampler>."""
    last: int = 0
    """Largest round."""
    runs: frozenset[tuple[str, int]] = frozenset()
    """Curve and seed of every run; runs of one curve differ in their seed alone."""

    def beside(self, metrics: Iterable[str], pictures: Iterable[str], index: int) -> "Shown":
        """Return what is shown together with a round: its metrics, sample grids and index."""
        return replace(
            self,
            metrics=self.metrics.union(metrics),
            pictures=self.pictures.union(pictures),
            last=max(self.last, index),
        )

    def with_run(self, curve: str, seed: int) -> "Shown":
        """Return what is shown together with a run."""
        return replace(self, runs=self.runs | {(curve, seed)})

    @property
    def curves(self) -> list[str]:
        """Names of the curves, sorted."""
        return sorted({curve for curve, _ in self.runs})

    @property
    def repeats(self) -> bool:
        """Whether most runs share their curve with another seed."""
        seeds = Counter(curve for curve, _ in self.runs)
        alone = sum(number == 1 for number in seeds.values())
        return 2 * alone < len(self.runs)


@dataclass(frozen=True)
class Section:
    """A titled group of charts."""

    title: str
    height: int
    """Height of a chart in pixels."""
    charts: Sequence[Chart]
    columns: int = 1
    """Charts side by side."""

    @property
    def key(self) -> str:
        """Id of the section, the same in every view."""
        return _id(self.title)


def curves(shown: Shown) -> list[Section]:
    """Return the sections of charts over density that have a chart."""
    names = sorted(shown.metrics)
    decisive = _lines(names, metrics.EXCESS, metrics.ACCURACY, metrics.LOST)
    sampled = _lines(names, metrics.KID, metrics.FID, metrics.PRECISION, metrics.RECALL)
    losses = _lines(names, metrics.HELDOUT, metrics.TRAIN, metrics.BAND)
    costs = _lines(names, *COSTS)
    sections = [
        Section("Excess loss over its own dense network", 440, decisive, columns=len(decisive)),
        Section("Sample metrics", 360, sampled, columns=2),
        Section("Held-out loss: mean, on training images, by timestep", 320, losses, columns=3),
        Section("Cost", 320, costs, columns=3),
    ]
    return _filled(sections)


def pictures(shown: Shown, varied: Sequence[str]) -> list[Section]:
    """Return the sections of what has no mean over seeds, recipes and samples, that have a chart.

    `varied` are the words of the config that differ between the runs.
    """
    title, score = ("held-out loss", metrics.HELDOUT)
    if shown.last:
        title, score = ("excess at the last rung", metrics.EXCESS)
    recipes = [_parallel(list(varied), score)] * bool(varied)
    grids = [_images(last_of(picture)) for picture in sorted(shown.pictures)]
    sections = [
        Section(f"Recipes, and the {title}", 440, recipes),
        Section("Samples of the last rung that was sampled, from one bank of noise", 520, grids),
    ]
    return _filled(sections)


def left_out(shown: Shown, charts: Iterable[Chart], section: str) -> list[Chart]:
    """Return a deleted chart, in a section, of each metric that no chart shows, and of the pictures
    of single rounds.

    MLflow makes a chart of its own for every metric that has none, also for what never changes.
    """
    charted = {chart.get("metricKey") for chart in charts}
    names = {*shown.metrics, *(metric.name for metric in UNMEASURED)} - charted
    gone: list[Chart] = [{"type": "LINE", "metricKey": name} for name in sorted(names)]
    gone += [{"type": "IMAGE", "imageKeys": [name]} for name in sorted(shown.pictures)]
    place = {"metricSectionId": section, "deleted": True, "isGenerated": True}
    return [{"uuid": _id("deleted", str(chart)), **chart, **place} for chart in gone]


def last_of(picture: str) -> str:
    """Return the name under which the last picture of a run is kept, whatever its round.

    MLflow shows one round of all runs at a time, and an empty box for each run that has none there.
    """
    return f"{picture}_last"


def _filled(sections: Iterable[Section]) -> list[Section]:
    return [section for section in sections if section.charts]


def _id(*words: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(words)).hex


def _chart(kind: str, key: str, title: str, **more: Any) -> Chart:
    common = {
        "uuid": _id(kind, key),
        "type": kind,
        "displayName": title,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 100,
    }
    return common | more


def _lines(names: Sequence[str], *families: Metric) -> list[Chart]:
    """Return a line chart for each of the recorded `names` that belongs to one of the families."""
    charts = []
    for family in families:
        charts += [_line(name, family) for name in names if metrics.find(name) is family]
    return charts


def _line(name: str, family: Metric) -> Chart:
    """Return the chart of a metric against the halvings of the prunable weights.

    MLflow scales an axis of steps alone by the logarithm, never one of a metric. Where a margin
    decides, it is a second, dashed curve.
    """
    match = family.pattern.fullmatch(name)
    fields = match.groupdict() if match else {}
    title = family.label.format(**fields)
    if title == family.label:  # the label leaves the fields out
        title = " ".join([title, *fields.values()])
    drawn = [name]
    if family in DECIDED:
        drawn.append(metrics.MARGIN.name)
    return _chart(
        "LINE",
        name,
        title,
        xAxisKey="metric",
        selectedXAxisMetricKey=metrics.HALVINGS.name,
        useGlobalXaxisKey=False,
        metricKey=name,
        selectedMetricKeys=drawn,
        yAxisKey="metric",
        yAxisExpressions=[],
        lineSmoothness=0,
        scaleType="linear",
        range={},
        displayPoints=True,
        useGlobalLineSmoothing=False,
    )


def _parallel(varied: list[str], score: Metric) -> Chart:
    return _chart(
        "PARALLEL",
        "recipes",
        "recipes",
        selectedParams=varied,
        selectedMetrics=[score.name],
        showAllRuns=True,
    )


def _images(picture: str) -> Chart:
    return _chart("IMAGE", picture, picture, imageKeys=[picture], step=0, showRunParams=False)


COSTS = (metrics.STEPS_OF_WEIGHTS, metrics.MACS_MASKED, metrics.TRAIN_SECONDS)
"""Metrics in the section on cost."""
DECIDED = (metrics.EXCESS, metrics.LOST)
"""Metrics that decide a verdict, within a margin."""
UNMEASURED = (metrics.HALVINGS, metrics.MARGIN, metrics.SPARSEST_MATCHING)
"""Metrics of runs that no round holds."""
