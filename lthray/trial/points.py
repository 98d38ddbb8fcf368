"""A trial as it is given out: enough to run it, to find its rounds and to record it, without the
data at hand."""

import time
from typing import Any

from lthray.config.labels import name_of, recipe_of
from lthray.config.trial import TrialConfig
from lthray.core.record import Point
from lthray.trial.given import places_of
from lthray.trial.trajectory import Trajectory, place_of


def point(
    chosen: Trajectory, words: dict[str, Any], phase: str, shared: TrialConfig | None = None
) -> Point:
    """Return the point of a trial, whose trajectory is `chosen`.

    `words` are those that its study drew or listed, `phase` the part of the study, and `shared` the
    config that its trials share.
    """
    config = chosen.config
    return Point(
        name=name_of(config, shared),
        recipe=recipe_of(config, shared),
        phase=phase,
        words=words,
        config=config.canonical(),
        places=places_of(config),
        seed=config.seed,
        control=config.control,
        fork=config.fork,
        data=[config.data.name, chosen.digest],
        trial=chosen.key,
        rounds=[place_of(rung, chosen) for rung in chosen.shown],
        runs={key: list(run.span) for key, run in chosen.runs.items()},
        at=time.time(),
    )
