"""The noise of given pipelines: whether a network was trained on what the config says."""

import logging
from collections.abc import Mapping
from typing import Any

import torch

from lthray.config.fields import ConfigError
from lthray.config.parts import Objective
from lthray.config.trial import TrialConfig
from lthray.task import inputs
from lthray.task.objectives import alphas_cumprod, schedule_words
from lthray.task.samplers import saved_scheduler, trained_scheduler

log = logging.getLogger("lthray")
OF_TRAINING = ("prediction_type", "rescale_betas_zero_snr")  # words beside those of the noise
OF_FILES = ("_class_name", "_diffusers_version", "_name_or_path", "_use_default_values")
CLOSE = 1e-5  # by which two tables of the signal's share may differ: that of single precision
WORDS = {
    "num_train_timesteps": "objective.timesteps",
    "beta_schedule": "objective.schedule",
    "beta_start": "the first beta",
    "beta_end": "the last beta",
}
"""Word of a diffusers scheduler -> the word of the config that decides the same."""


def check_scheduler(config: TrialConfig) -> None:
    """Refuse a pipeline that was trained on other noise, or to another target, than the config
    says.

    Compared are the signal's shares at all timesteps, whatever words they come from. In what else
    its own scheduler would sample otherwise is told, for samples are drawn by measure.samplers.
    """
    source, mine = config.model.pretrained, alphas_cumprod(config.objective)
    saved = inputs.json_facts(source, inputs.source_files(source).scheduler)
    if not saved:
        return
    theirs = saved_scheduler(saved)
    if theirs is None:
        why = f"was trained on the noise of {saved.get('_class_name')}, which has no betas"
        raise ConfigError([f"model.pretrained = {source!r}: {why} that can be compared"])
    faults = []
    target, signal = theirs.config.get("prediction_type", "epsilon"), theirs.alphas_cumprod
    if target != config.objective.prediction:
        word = f"objective.prediction = {config.objective.prediction!r}"
        faults.append(f"was trained with prediction_type = {target!r}, {word}")
    if signal.shape != mine.shape or not torch.allclose(signal, mine, rtol=0, atol=CLOSE):
        faults.append(_other_noise(theirs.config, config))
    if faults:
        raise ConfigError([f"model.pretrained = {source!r}: {fault}" for fault in faults])
    differing = _sampled_otherwise(theirs, config.objective)
    if differing:
        told = "samples here are drawn by measure.samplers, and not as its own scheduler says"
        log.warning("model.pretrained = %r: %s: %s", source, told, "; ".join(differing))


def _other_noise(saved: Mapping[str, Any], config: TrialConfig) -> str:
    """Return in which words a saved scheduler differs from that of the config."""
    own = {**trained_scheduler(config.objective).config, "beta_schedule": config.objective.schedule}
    if saved.get("trained_betas"):
        return f"was trained with betas of its own, objective.schedule = {own['beta_schedule']!r}"
    told = []
    for key, word in WORDS.items():
        if key in saved and saved[key] != own[key]:
            told.append(f"{key} = {saved[key]!r}, {word} = {own[key]!r}")
    if saved.get("rescale_betas_zero_snr"):
        told.append("rescale_betas_zero_snr = True, for which the config has no word")
    return f"was trained with {'; '.join(told) or 'other noise than the config says'}"


def _sampled_otherwise(theirs: Any, objective: Objective) -> list[str]:
    """Return the words, with both values, in which a saved scheduler samples otherwise than one of
    its class does here.

    Words of noise and target are left out: those that a network is trained with.
    """
    mine = type(theirs).from_config(trained_scheduler(objective).config).config
    differing = []
    known = mine.keys() & theirs.config.keys()
    for word in sorted(known - {*schedule_words(objective), *OF_TRAINING, *OF_FILES}):
        if theirs.config[word] != mine[word]:
            differing.append(f"{word} = {theirs.config[word]!r}, here {mine[word]!r}")
    return differing
