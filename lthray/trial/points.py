"""A trial as it is given out: enough to run it, to find its rounds and to record it, without the
data at hand."""

import os
import time
from typing import Any

from lthray.config.labels import name_of, recipe_of
from lthray.config.trial import PLACES, TrialConfig
from lthray.core.record import Point
from lthray.task import inputs, networks
from lthray.trial.trajectory import Trajectory, place_of


def point(chosen: Trajectory, words: dict[str, Any], phase: str) -> Point:
    """Return the point of a trial, whose trajectory is `chosen`.

    `words` are those that its study drew or listed, `phase` the part of the study.
    """
    config = chosen.config
    return Point(
        name=name_of(config),
        recipe=recipe_of(config),
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


def places_of(config: TrialConfig) -> dict[str, Any]:
    """Return where given files lie, in full: whoever runs the trial stands elsewhere."""
    flat = config.flat()
    return {word: _absolute(flat[word]) for word in PLACES if flat[word]}


def given_digests(config: TrialConfig) -> dict[str, str]:
    """Return word -> digest of the content of every file that a config names."""
    digests = {
        "origin": inputs.file_digest("origin", config.origin),
        "measure.inception": inputs.file_digest("measure.inception", config.measure.inception),
        "model.pretrained": inputs.digest_of(
            config.model.pretrained, networks.part_of(config.model)
        ),
        "latent.pretrained": inputs.digest_of(config.latent.pretrained, "vae"),
    }
    return {word: digest for word, digest in digests.items() if digest}


def _absolute(place: Any) -> Any:
    """A path in full; what is no path here (a Hub id) as it is."""
    return os.path.abspath(place) if isinstance(place, str) and os.path.exists(place) else place
