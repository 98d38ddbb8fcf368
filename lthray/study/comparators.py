"""What a recipe is compared with, as words that are laid over it: every study that grades tickets uses the same.

Each arm of a seed shares all it can with the ticket: the dense run, the chain of masks, the panel.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lthray.config.fields import ConfigError
from lthray.config.trial import DENOISERS, TrialConfig

Words = Mapping[str, Any]

# a second dense network from the same weights on another stream (A/A): what chance alone does
AGAIN: Words = {
    "control": "dense",
    "fork": 1,
    "rewind.rule": "init",
    "rewind.fraction": 0.0,
    "rungs": (1,),
    "measure.rounds": (0, 1),
}


def against(*controls: str, rungs: Sequence[int] = ()) -> list[Words]:
    """The ticket, and controls of it at some rungs (all if none are named), whose samples decide nothing and are not taken."""
    return [{"control": "none"}, *({"control": name, "rungs": tuple(rungs), "measure.rounds": (0,)} for name in controls)]


def longer(config: TrialConfig) -> Words:
    """The dense network at twice the steps: is the reference undertrained?"""
    return {"train.steps": 2 * config.train.steps, "prune.ladder": (), "measure.samples": 0, "measure.rounds": (0,)}


def spaces(config: TrialConfig) -> tuple[str, ...]:
    """Objectives of a denoiser that a config admits: in pixels and, where their sides fit, in latents."""
    return tuple(name for name in DENOISERS if _admits(config, {"objective.name": name}))


def _admits(config: TrialConfig, words: Words) -> bool:
    try:
        return bool(TrialConfig.from_flat(words, config))
    except ConfigError:
        return False


def given(source: str) -> Words:
    """A trained network as it is: a file, a folder, a pipeline or a Hub id, measured and neither trained nor pruned."""
    plain = {"train.steps": 0, "train.warmup": 0, "prune.ladder": (), "prune.least": 0.0, "origin": ""}
    return plain | {"control": "none", "fork": 0, "rungs": (), "measure.rounds": (0,), "model.pretrained": source}


def forked(*rungs: int) -> list[Words]:
    """The dense network from its anchor, and tickets at some rungs, on another stream: with a barrier to their fellows."""
    return [{"control": "dense", "fork": 1, "rungs": (1,)}, {"fork": 1, "rungs": rungs}]
