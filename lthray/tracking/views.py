"""Saved views of an experiment in MLflow: curves with a band over seeds, and all its runs.

MLflow keeps a named view of its page of runs in an experiment tag (JSON, deflated); a link names
the view. A version of MLflow that knows no such tag shows its own default charts.
"""

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lthray.core import metrics
from lthray.tracking import charts
from lthray.tracking.charts import Section, Shown
from lthray.tracking.notes import LONGEST

VIEW = "lthray-tickets"
RUNS = "lthray-runs"
TITLES = {VIEW: "Tickets: quality against density", RUNS: "Runs: table, recipes and samples"}
"""Key of a view -> its name in MLflow's list."""
PAGE = 100  # runs that MLflow loads at once, and draws
BANDS = {
    "aggregateFunction": "average",
    "groupByKeys": [{"mode": "tag", "groupByData": charts.CURVE}],
}
"""Runs that differ in their seed alone become one curve, with a band from least to largest."""


SEEDS = ("seed", "stream")  # words that every study varies; the seed has its column
WIDTHS = {
    "tags.`recipe`": 190,
    "tags.`arm`": 110,
    "tags.`seed`": 60,
    "metrics.`density/prunable`": 130,
    "tags.`grade`": 260,
}
"""Column of the table of runs -> its width in pixels, where MLflow's own would cut it off."""


def place(experiment: str, view: str = VIEW) -> str:
    """Return where a view of an experiment (its id) lies on a server, from # on.

    The page is named as one of model training: without that word MLflow opens its GenAI pages,
    whatever is recorded.
    """
    mode = "CHART" if view == VIEW else "TABLE"
    words = f"compareRunsMode={mode}&workflowType=machine_learning&viewStateShareKey={view}"
    return f"#/experiments/{experiment}/runs?{words}"


def link(base: str, experiment: str, view: str = VIEW) -> str:
    """Return the address of a view of an experiment (its id) on the MLflow server at `base`."""
    return f"{base.rstrip('/')}/{place(experiment, view)}"


def links(experiment: str) -> list[tuple[str, str]]:
    """Return the words of a link to each view of an experiment (its id), and where it leads."""
    words = {VIEW: "Charts", RUNS: "Runs"}
    return [(word, place(experiment, view)) for view, word in words.items()]


def tags(shown: Shown, varied: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of the experiment tags that hold the views of what is shown.

    `varied` are the words of the config that differ between the runs.
    """
    curves, pictures = charts.curves(shown), charts.pictures(shown, varied)
    grouped = shown.repeats
    yield _tag(VIEW, _state(shown, curves if grouped else [*curves, *pictures], varied, grouped))
    yield _tag(RUNS, _state(shown, pictures or curves, varied, grouped=False))


def _tag(view: str, state: Mapping[str, Any]) -> tuple[str, str]:
    packed = base64.b64encode(zlib.compress(json.dumps(state, separators=(",", ":")).encode()))
    saved = {
        "name": TITLES[view],
        "createdAt": 0,
        "updatedAt": 0,
        "state": f"deflate;{packed.decode()}",
    }
    text = json.dumps(saved)
    if len(text) > LONGEST and state["groupsExpanded"]:  # thousands of curves: none is folded
        return _tag(view, {**state, "groupsExpanded": {}})
    return f"mlflow.sharedViewState.{view}", text


def _state(
    shown: Shown, sections: Sequence[Section], varied: Sequence[str], grouped: bool
) -> dict[str, Any]:
    """Return the state of MLflow's page of runs that shows `sections`, with seeds `grouped`."""
    groups, drawn = [], []
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
        drawn += [{**chart, "metricSectionId": section.key} for chart in section.charts]
    hidden = charts.left_out(shown, drawn, sections[0].key) if sections else []
    folded = [f"tag.{charts.CURVE}.{curve}" for curve in shown.curves if grouped]
    columns = [*_columns(shown), *(f"params.`{word}`" for word in varied if word not in SEEDS)]
    # of more runs than a page, one with some seeds of every arm says more than one that lacks arms
    by_seed = grouped and len(shown.runs) > PAGE
    return {
        "orderByKey": "tags.`seed`" if by_seed else "attributes.start_time",
        "orderByAsc": True,
        "runsHiddenMode": "SHOWALL",
        "groupBy": BANDS if grouped else None,
        "groupsExpanded": dict.fromkeys(folded, False),
        "useGroupedValuesInCharts": grouped,
        "compareRunSections": groups,
        "compareRunCharts": [*drawn, *hidden],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {name: width for name, width in WIDTHS.items() if name in columns},
    }


def _columns(shown: Shown) -> list[str]:
    """Return the columns of the table of runs, first those by which runs are told apart."""
    loss = metrics.LOST if metrics.LOST.name in shown.metrics else metrics.EXCESS
    return [
        *(f"tags.`{name}`" for name in ("recipe", "arm", "seed")),
        *(f"metrics.`{metric.name}`" for metric in (metrics.PRUNABLE, loss)),
        *(f"tags.`{name}`" for name in ("grade", "status")),
    ]
