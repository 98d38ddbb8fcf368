"""The chart page of an experiment in MLflow: quality against density, recipes side by side,
samples.

MLflow keeps a named view of its chart page in an experiment tag (JSON, deflated); a link names the
view. A version of MLflow that knows no such tag shows its own default charts.
"""

import base64
import json
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lthray.core import metrics
from lthray.core.metrics import Metric

VIEW = "lthray-tickets"
Chart = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """What the runs of an experiment have recorded, so that its chart page may show it."""

    metrics: frozenset[str] = frozenset()
    """Names of metrics."""
    pictures: frozenset[str] = frozenset()
    """Names of sample grids, samples_<sampler>."""
    last: int = 0
    """Largest round."""

    def beside(self, metrics: Iterable[str], pictures: Iterable[str], index: int) -> "Shown":
        """Return what is shown together with a round: its metrics, sample grids and index."""
        return Shown(
            self.metrics.union(metrics), self.pictures.union(pictures), max(self.last, index)
        )


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


def link(base: str, experiment: str) -> str:
    """Return the address of the view of an experiment (its id) on the MLflow server at `base`."""
    page = f"{base.rstrip('/')}/#/experiments/{experiment}/runs"
    return f"{page}?compareRunsMode=CHART&workflowType=machine_learning&viewStateShareKey={VIEW}"


def tag(shown: Shown, varied: Sequence[str]) -> tuple[str, str]:
    """Return name and value of the experiment tag that holds the view of what is shown.

    `varied` are the words of the config that differ between the runs.
    """
    sections = _sections(shown, list(varied))
    state = json.dumps(_state(sections, varied), separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(state.encode())).decode()
    view = {
        "name": "Tickets: quality against density",
        "createdAt": 0,
        "updatedAt": 0,
        "state": f"deflate;{packed}",
    }
    return f"mlflow.sharedViewState.{VIEW}", json.dumps(view)


def _sections(shown: Shown, varied: list[str]) -> list[Section]:
    """Return the sections that have a chart."""
    names, last = sorted(shown.metrics), shown.last
    decisive = _lines(names, metrics.EXCESS, metrics.ACCURACY, metrics.LOST)
    sampled = _lines(names, metrics.KID, metrics.FID, metrics.PRECISION, metrics.RECALL)
    losses = _lines(names, metrics.HELDOUT, metrics.TRAIN, metrics.BAND)
    costs = _lines(names, *COSTS)
    grids = [_images(picture, last) for picture in sorted(shown.pictures)]
    title, score = ("held-out loss", metrics.HELDOUT)
    if last:
        title, score = ("excess at the last rung", metrics.EXCESS)
    recipes = [_parallel(varied, score)] if varied else []
    sections = [
        Section("Excess loss over its own dense network", 440, decisive, columns=len(decisive)),
        Section(f"Recipes, and the {title}", 440, recipes),
        Section("Samples from one bank of noise", 520, grids),
        Section("Sample metrics", 360, sampled, columns=2),
        Section("Held-out loss: mean, on training images, by timestep", 320, losses, columns=3),
        Section("Cost", 320, costs, columns=3),
    ]
    return [section for section in sections if section.charts]


def _state(sections: Sequence[Section], varied: Sequence[str]) -> dict[str, Any]:
    """Return the state of MLflow's chart page that shows `sections`."""
    groups, charts = [], []
    for section in sections:
        groups.append(
            {
                "uuid": section.key,
                "name": section.title,
                "columns": section.columns,
                "cardHeight": section.height,
                "display": True,
                "isReordered": True,
                "deleted": False,
                "isGenerated": False,
            }
        )
        charts += [{**chart, "metricSectionId": section.key} for chart in section.charts]
    columns = ["tags.`status`"]
    columns += [f"metrics.`{metric.name}`" for metric in TABLE]
    columns += [f"params.`{word}`" for word in varied]
    return {
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "runsHiddenMode": "SHOWALL",
        "compareRunSections": groups,
        "compareRunCharts": charts,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "selectedColumns": columns,
    }


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
        members = [name for name in names if metrics.find(name) is family]
        charts += [_line(name, family) for name in members]
    return charts


def _line(name: str, family: Metric) -> Chart:
    """Return the chart of a metric against the density of the prunable weights."""
    match = family.pattern.fullmatch(name)
    fields = match.groupdict() if match else {}
    title = family.label.format(**fields)
    if title == family.label:  # the label leaves the fields out
        title = " ".join([title, *fields.values()])
    return _chart(
        "LINE",
        name,
        title,
        xAxisKey="metric",
        selectedXAxisMetricKey=metrics.PRUNABLE.name,
        xAxisScaleType="log",
        useGlobalXaxisKey=False,
        metricKey=name,
        selectedMetricKeys=[name],
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


def _images(picture: str, last: int) -> Chart:
    return _chart("IMAGE", picture, picture, imageKeys=[picture], step=last, showRunParams=False)


COSTS = (metrics.STEPS_OF_WEIGHTS, metrics.MACS_MASKED, metrics.TRAIN_SECONDS)
"""Metrics in the section on cost."""
TABLE = (metrics.EXCESS, metrics.SPARSEST_MATCHING)
"""Metrics in the table of runs."""
