"""Figures of a search as Optuna draws them: by matplotlib into files, by plotly into a page.

Each is of the complete trials of an Optuna study (lthray.study.searched); `score` names what they
are compared by.
"""

import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lthray.findings.chance import Best
from lthray.findings.drawing import SIZE, painted
from lthray.findings.figures import Drawn

if TYPE_CHECKING:
    import optuna

SLICED = 3  # words side by side
MARGIN = {"l": 70, "r": 30, "t": 30, "b": 60}  # pixels around a figure on a page
BAND = "rgba(80, 80, 80, 0.15)"
ORDER = "best so far in random order (mean, 90 % of orders)"


def history(study: "optuna.Study", score: str, chance: Best) -> Drawn:
    """Return scores by trial, the best so far, and what a random order of them comes to."""
    numbers = _scored(study)

    def page(visualization: Any) -> Any:
        figure = visualization.plot_optimization_history(study, target_name=score)
        edges = [*chance.high, *chance.low[::-1]]
        band = {"x": [*numbers, *numbers[::-1]], "y": edges, "fill": "toself", "fillcolor": BAND}
        figure.add_scatter(**band, line={"width": 0}, showlegend=False, hoverinfo="skip")
        figure.add_scatter(x=numbers, y=chance.mean, name=ORDER, line={"dash": "dot"})
        return figure

    def paint(visualization: Any) -> Any:
        axes = visualization.plot_optimization_history(study, target_name=score)
        axes.fill_between(numbers, chance.low, chance.high, color="gray", alpha=0.2, linewidth=0)
        axes.plot(numbers, chance.mean, ":", color="gray", label=ORDER)
        axes.legend(fontsize=8)
        return axes

    return _drawn(page, paint)


def rungs(study: "optuna.Study", densities: Sequence[float], score: str) -> Drawn:
    """Return the score of each trial from rung to rung, those that were stopped too."""
    labels = [f"{density:.3g}" for density in densities]
    places = list(range(1, len(labels) + 1))

    def page(visualization: Any) -> Any:
        figure = visualization.plot_intermediate_values(study)
        figure.update_xaxes(title_text="density", tickvals=places, ticktext=labels)
        return figure.update_yaxes(title_text=score)

    def paint(visualization: Any) -> Any:
        axes = visualization.plot_intermediate_values(study)
        axes.set(xlabel="density", ylabel=score)
        axes.set_xticks(places, labels)
        _without_legend(axes)  # it has a line a trial
        return axes

    return _drawn(page, paint)


def slices(study: "optuna.Study", words: Sequence[str], score: str) -> Drawn:
    """Return the scores by each of some `words` alone, side by side; at most SLICED of them."""
    plot = partial(_plot, "plot_slice", study, params=list(words), target_name=score)
    numbers = _scored(study)
    ends = min(numbers), max(numbers)  # a colour is of one trial in all slices

    def page(visualization: Any) -> Any:
        return plot(visualization).update_traces(marker_cmin=ends[0], marker_cmax=ends[1])

    def paint(visualization: Any) -> Any:
        every = np.ravel(plot(visualization))
        for axes in every:
            axes.collections[0].set_clim(*ends)
        return every

    return _drawn(page, paint)


def contour(study: "optuna.Study", words: Sequence[str], score: str) -> Drawn:
    """Return the scores over two `words`, and what lies between them if it were smooth."""
    plot = partial(_plot, "plot_contour", study, params=list(words), target_name=score)
    return _drawn(plot, plot)


def parallel(study: "optuna.Study", words: Sequence[str], score: str) -> Drawn:
    """Return each trial as a line through its words; "None" is where a word was not drawn."""
    plot = partial(_plot, "plot_parallel_coordinate", study, params=list(words), target_name=score)
    return _drawn(plot, plot, size=(2 + 1.8 * len(words), 5.5), height=520)


def importance(study: "optuna.Study", shares: Mapping[str, float]) -> Drawn:
    """Return bars of the importance of each word, as it was found: word -> share."""
    from optuna.importance import BaseImportanceEvaluator

    class Found(BaseImportanceEvaluator):
        """Evaluator that has nothing left to do."""

        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            return dict(sorted(shares.items(), key=lambda item: -item[1]))

    name = "share of the variance of scores"
    plot = partial(_plot, "plot_param_importances", study, evaluator=Found(), target_name=name)

    def page(visualization: Any) -> Any:
        return plot(visualization).update_layout(xaxis_title=name, yaxis_title="")

    def paint(visualization: Any) -> Any:
        axes = plot(visualization)
        axes.set(xlabel=name, ylabel="")
        _without_legend(axes)
        return axes

    return _drawn(page, paint)


def _scored(study: "optuna.Study") -> list[int]:
    """Return the numbers of the complete trials."""
    return [trial.number for trial in study.trials if trial.value is not None]


def _plot(name: str, study: "optuna.Study", visualization: Any, **options: Any) -> Any:
    return getattr(visualization, name)(study, **options)


def _drawn(
    page: Callable[[Any], Any],
    paint: Callable[[Any], Any],
    *,
    size: tuple[float, float] = SIZE,
    height: int = 430,
) -> Drawn:
    """Return what `page` makes with optuna.visualization and `paint` with its matplotlib."""
    from optuna import visualization

    def sheet(plt: Any) -> Any:
        from optuna.visualization import matplotlib

        axes = np.ravel(paint(matplotlib))
        for each in axes:
            _mend(each)
        figure = axes[0].figure
        figure.suptitle("")
        figure.set_size_inches(*size)
        return figure

    with warnings.catch_warnings(action="ignore"):  # of few trials, and of what is experimental
        made = _unquoted(json.loads(page(visualization).to_json()))
        sheets = painted(sheet, bbox_inches="tight")
    layout = {word: value for word, value in made["layout"].items() if word not in OURS}
    return Drawn(sheets, {"data": made["data"], "layout": {**layout, "margin": MARGIN}}, height)


def _unquoted(value: Any) -> Any:
    """Return facts without the quotes that Optuna lays around the names of choices."""
    if isinstance(value, dict):
        return {word: _unquoted(inner) for word, inner in value.items()}
    if isinstance(value, list):
        return list(map(_unquoted, value))
    return QUOTED.sub(r"\1", value) if isinstance(value, str) else value


def _without_legend(axes: Any) -> None:
    legend = axes.get_legend()
    if legend:
        legend.remove()


def _mend(axes: Any) -> None:
    """Take the titles off axes, and turn the names of choices on them so that all can be read."""
    for place in ("left", "center", "right"):
        axes.set_title("", loc=place)
    places = axes.get_xticks()
    names = _unquoted(list(axes.xaxis.get_major_formatter().format_ticks(places)))
    if any(NAME.match(name) for name in names):
        axes.set_xticks(places, names, rotation=35, ha="right", rotation_mode="anchor")


QUOTED = re.compile("^'(.*)'$")
NAME = re.compile("[a-z]")  # begins the name of a choice, and of no number
OURS = ("template", "title")  # of a layout: the page has its own
