"""The chart page with which a study opens in MLflow: quality against density, recipes side by side, samples.

MLflow keeps a named view of its chart page in an experiment tag (JSON, deflated); a link names the view. A version of
MLflow that knows no such tag shows its own default charts.
"""

import base64
import json
import uuid
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

VIEW = "lthray-tickets"
DENSITY = "density/prunable"


def link(base: str, experiment: str) -> str:
    """The address of the view, on the MLflow server at `base`."""
    page = f"{base.rstrip('/')}/#/experiments/{experiment}/runs"
    return f"{page}?compareRunsMode=CHART&workflowType=machine_learning&viewStateShareKey={VIEW}"


def tag(metrics: Iterable[str], pictures: Iterable[str], varied: Sequence[str], last: int) -> tuple[str, str]:
    """Name and value of the experiment tag that holds the view, for what the runs have recorded up to round `last`."""
    state = json.dumps(_state(sorted(metrics), sorted(pictures), list(varied), last), separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(state.encode())).decode()
    view = {"name": "Tickets: quality against density", "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"}
    return f"mlflow.sharedViewState.{VIEW}", json.dumps(view)


def _state(metrics: list[str], pictures: list[str], varied: list[str], last: int) -> dict[str, Any]:
    quality = [m for m in metrics if m.startswith("quality/") and not m.endswith("memorised")]
    bands = [m for m in metrics if m.startswith("loss/t") and m[6:].isdigit()]
    accuracy, sampled = [m for m in quality if "accuracy" in m], [m for m in quality if "accuracy" not in m]
    told, score = ("excess at the last rung", "loss/excess") if last else ("held-out loss", "loss/heldout")
    sections: list[tuple[str, int, int, list[dict[str, Any]]]] = [  # title, columns, height, charts
        ("Excess loss over its own dense network", 1 + len(accuracy), 440, [*map(_line, ["loss/excess", *accuracy])]),
        (f"Recipes, and the {told}", 1, 440, [_parallel(varied, score)] if varied else []),
        ("Samples from one bank of noise", 1, 520, [_images(picture, last) for picture in pictures]),
        ("Sample metrics", 2, 360, [*map(_line, sampled)]),
        ("Held-out loss: mean, on training images, by timestep", 3, 320, [*map(_line, ["loss/heldout", "loss/train", *bands])]),
        ("Cost", 3, 320, [*map(_line, ["cost/steps_of_weights", "cost/macs_masked", "cost/train_seconds"])]),
    ]
    shown = [(_id(title), title, columns, height, charts) for title, columns, height, charts in sections if charts]
    whole = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "runsHiddenMode": "SHOWALL",
        "compareRunSections": [
            {"uuid": key, "name": title, "columns": columns, "cardHeight": height, **whole}
            for key, title, columns, height, _ in shown
        ],
        "compareRunCharts": [{**chart, "metricSectionId": key} for key, *_, charts in shown for chart in charts],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "selectedColumns": ["tags.`status`", "metrics.`loss/excess`", "metrics.`ticket/sparsest_matching_density`"]
        + [f"params.`{word}`" for word in varied],
    }


def _id(*words: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(words)).hex


def _chart(kind: str, name: str, **more: Any) -> dict[str, Any]:
    common = {"uuid": _id(kind, name), "type": kind, "displayName": name, "deleted": False, "isGenerated": False}
    return common | {"runsCountToCompare": 100} | more


def _line(metric: str) -> dict[str, Any]:
    axis = {"xAxisKey": "metric", "selectedXAxisMetricKey": DENSITY, "xAxisScaleType": "log", "useGlobalXaxisKey": False}
    curve = {"metricKey": metric, "selectedMetricKeys": [metric], "yAxisKey": "metric", "yAxisExpressions": []}
    look = {"lineSmoothness": 0, "scaleType": "linear", "range": {}, "displayPoints": True, "useGlobalLineSmoothing": False}
    return _chart("LINE", metric, **axis, **curve, **look)


def _parallel(varied: list[str], metric: str) -> dict[str, Any]:
    return _chart("PARALLEL", "recipes", selectedParams=varied, selectedMetrics=[metric], showAllRuns=True)


def _images(picture: str, last: int) -> dict[str, Any]:
    return _chart("IMAGE", picture, imageKeys=[picture], step=last, showRunParams=False)
