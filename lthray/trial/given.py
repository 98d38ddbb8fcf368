"""What a config names by a place: where it lies, and the digest of its content."""

import os
import re
from pathlib import Path
from typing import Any

from lthray.config.trial import PLACES, TrialConfig
from lthray.task import inputs, networks

COMMIT = re.compile(r".*/snapshots/([0-9a-f]{40})/")  # beginning of a path in the Hub's cache


def places_of(config: TrialConfig) -> dict[str, Any]:
    """Return where given files lie, in full: whoever runs the trial stands elsewhere.

    Ids on the Hub have the commit that was read here, so that every machine reads that one.
    """
    flat = config.flat()
    places = {word: _absolute(flat[word]) for word in PLACES if flat[word]}
    for word, part in _parts(config).items():
        if word in places:
            places[word] = _pinned(places[word], part)
    return places


def given_digests(config: TrialConfig) -> dict[str, str]:
    """Return word -> digest of the content of every file that a config names."""
    digests = {
        "origin": inputs.file_digest("origin", config.origin),
        "measure.inception": inputs.file_digest("measure.inception", config.measure.inception),
    }
    flat = config.flat()
    for word, part in _parts(config).items():
        digests[word] = inputs.digest_of(flat[word], part)
    return {word: digest for word, digest in digests.items() if digest}


def _parts(config: TrialConfig) -> dict[str, str]:
    """Return word -> the part of a diffusers pipeline that it asks for."""
    return {"model.pretrained": networks.part_of(config.model), "latent.pretrained": "vae"}


def _pinned(source: str, part: str) -> str:
    """Return a Hub id as owner/name@commit, of the snapshot that `source` is read from here.

    A branch or a tag may be moved; a commit is the same on every machine and on every day. What is
    no Hub id is returned as it is.
    """
    if Path(source).exists():
        return source
    weights, *_ = inputs.source_files(source, part).weights
    commits = COMMIT.findall(weights.as_posix())
    name, _, _ = source.partition("@")
    return "@".join([name, *commits]) if commits else source


def _absolute(place: Any) -> Any:
    """A path in full; what is no path here (a Hub id) as it is."""
    return os.path.abspath(place) if isinstance(place, str) and os.path.exists(place) else place
