"""What was recorded as a pandas frame, a row a round."""

from collections.abc import Iterable, Iterator
from typing import Any

import pandas

from lthray.core.record import TrialRecord
from lthray.study.results import config_of


def frame(trials: Iterable[TrialRecord]) -> pandas.DataFrame:
    """Return a row for each round of recorded trials, in their order.

    Columns: trial, run, name, phase, recipe, control, seed, status, round, density, every word of
    the config in which trials differ, and every metric.
    """
    every = list(trials)
    flat = [config_of(trial.point).flat() for trial in every]
    varied = [word for word in flat[0] if len({str(words[word]) for words in flat}) > 1]
    rows: list[dict[str, Any]] = []
    for trial, words in zip(every, flat, strict=True):
        own = {word: words[word] for word in varied if word not in ("seed", "control")}
        rows += [{**about, **own, **metrics} for about, metrics in _rounds(trial)]
    return pandas.DataFrame(rows)


def _rounds(trial: TrialRecord) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
    """Yield what names each round of a trial, and its metrics."""
    point = trial.point
    about: dict[str, Any] = {
        "trial": trial.id,
        "run": trial.run,
        "name": trial.name,
        "phase": point.phase,
    }
    about |= {"recipe": point.recipe, "control": point.control, "seed": point.seed}
    for r in trial.rounds:
        place = {"status": trial.status, "round": r.index, "density": r.density}
        yield {**about, **place}, dict(r.metrics)
