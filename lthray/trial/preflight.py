"""Preflight: what only the data, the network and the given files can refuse, before anything is
trained."""

from collections.abc import Iterable

import torch

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import FEATURES, NETWORKS, OBJECTIVES
from lthray.core.ticket import TicketError
from lthray.measure import quality
from lthray.prune import budgets
from lthray.prune.controls import CONTROLS
from lthray.prune.transfer import Origin
from lthray.prune.units import UNITS
from lthray.task import data, factories, inputs, networks
from lthray.task.objectives import SCHEDULES, answer
from lthray.task.samplers import trained_scheduler
from lthray.trial.begins import stretched, taken_mask
from lthray.trial.recipe import trajectory
from lthray.trial.sources import autoencoder_config
from lthray.trial.workshop import Workshop, workshop_of

ENDS = ("beta_start", "beta_end")
WORDS = {
    "num_train_timesteps": "objective.timesteps",
    "prediction_type": "objective.prediction",
    "beta_schedule": "objective.schedule",
    "beta_start": "the first beta",
    "beta_end": "the last beta",
}
"""Word of a diffusers scheduler -> the word of the config that it must agree with."""


def check(config: TrialConfig) -> None:
    """Refuse what only the data and the network can show; raises ConfigError or TicketError."""
    images = data.load(config.data)
    workshop = workshop_of(config)
    if config.model.name not in NETWORKS:
        _try_out(workshop, config)
    _check_images(config, images)
    objective = OBJECTIVES[config.objective.name]
    if config.model.pretrained and objective.denoises:
        _check_scheduler(config)
    if config.latent.pretrained and objective.in_latents:
        workshop_of(autoencoder_config(config)).network(0)
    if config.model.pretrained:
        workshop.network(config.seed)
    _check_layers(workshop, config)
    _check_origin(workshop, config)
    if config.measure.inception:
        quality.inception(config.measure.inception)


def _check_images(config: TrialConfig, images: data.Images) -> None:
    """Refuse what needs more training images than there are, where only loading them could tell how
    many."""
    n = len(images.splits["train"])
    samples = config.measure.samples
    if OBJECTIVES[config.objective.name].denoises and samples and n < 10 * FEATURES:
        why = f"0, for {n} training images are too few to compare with"
        raise ConfigError([f"measure.samples = {samples}: {why}"])
    wanted = {"train.batch": config.train.batch, "prune.images": config.prune.images}
    faults = []
    for word, number in wanted.items():
        if number > n:
            faults.append(f"{word} = {number}: at most the {n} training images")
    if faults:
        raise ConfigError(faults)


def _check_layers(workshop: Workshop, config: TrialConfig) -> None:
    """Refuse patterns, dials and channels that do not fit the network's layers."""
    prune = config.prune
    free = workshop.free(prune.layers)
    budgets.dial_of({name: networks.block_of(name) for name in free}, prune)
    if not UNITS[prune.unit].coupled:
        return
    coupling = workshop.coupling(prune.layers)
    counts = {group.name: group.step for group in coupling.groups}
    least, size = coupling.size(counts, free), workshop.free_size(prune.layers)
    if prune.ladder and not config.origin and round(prune.ladder[-1] * size) < least:
        say = f"with prune.unit = 'channel' at least {least / size:.4g} of the weights stays"
        why = "for every group of channels keeps some"
        raise ConfigError([f"prune.ladder = {prune.ladder}: {say}, {why}"])


def _check_origin(workshop: Workshop, config: TrialConfig) -> None:
    """Refuse a ticket of another trial that does not fit this network or this training."""
    spec = trajectory(config).rungs[-1].mask.spec
    origin = Origin.read(config.origin)
    if origin is None:
        return
    taken_mask(origin, workshop, spec)
    if config.rewind.rule != "given":
        return
    weights = origin.ticket.weights
    if not weights:
        weights = workshop_of(origin.trial(config)).weights(0, fresh=True)
    try:
        _check_begin(origin, config)
        stretched(weights, workshop.sizes, origin, workshop, spec)
    except TicketError as error:
        raise origin.refused(error) from None


def _check_begin(origin: Origin, config: TrialConfig) -> None:
    """Refuse a ticket whose weights cannot be trained here as the config says."""
    steps, row = config.train.steps, CONTROLS.get(config.control)
    start = origin.ticket.start
    if start >= steps:
        left = f"which leaves nothing of train.steps = {steps}"
        raise TicketError(f"begins at step {start}, {left}")
    needs_all = row is not None and not row.rule and (row.mask != "ticket" or row.moved)
    if origin.ticket.weights and needs_all:
        why = f"control = {config.control!r} needs all"
        raise TicketError(f"holds only the weights that it keeps, {why}")


def _check_scheduler(config: TrialConfig) -> None:
    """Refuse a pipeline that was trained on other noise, or to another target, than the config
    says."""
    source = config.model.pretrained
    own = dict(trained_scheduler(config.objective).config)
    own["beta_schedule"] = config.objective.schedule
    saved = inputs.json_facts(source, inputs.source_files(source).scheduler)
    has_ends = SCHEDULES[config.objective.schedule].has_ends
    faults = []
    for key, word in WORDS.items():
        compared = key in saved and (has_ends or key not in ENDS)
        if compared and saved[key] != own[key]:
            trained = f"was trained with {key} = {saved[key]!r}"
            faults.append(f"model.pretrained = {source!r}: {trained}, {word} = {own[key]!r}")
    if saved.get("trained_betas"):
        schedule = f"objective.schedule = {config.objective.schedule!r}"
        why = f"was trained with betas of its own, {schedule}"
        faults.append(f"model.pretrained = {source!r}: {why}")
    if faults:
        raise ConfigError(faults)


def _try_out(workshop: Workshop, config: TrialConfig) -> None:
    """Refuse a user's own network that cannot be called, or that is more than weights which follow
    from the seed."""
    name, seed = config.model.name, config.seed
    network, again = workshop.network(seed).train(), workshop.network(seed)
    before = [buffer.clone() for buffer in network.buffers()]
    given = workshop.task.example(torch.zeros(2, *workshop.shape))
    classifies = workshop.task.classifies
    wanted = (2, workshop.classes) if classifies else tuple(given[0].shape)
    try:
        output = network(*given) if classifies else answer(network, *given)
        networks.layers(network, given)
    except Exception as error:  # whatever a user's network raises
        raise factories.import_error("model.name", name, error) from None
    is_tensor = isinstance(output, torch.Tensor)
    answered = tuple(output.shape) if is_tensor else type(output).__name__
    faults = {
        f"answers with {answered}, not with a tensor of {wanted}": answered != wanted,
        "has buffers that change with every batch, as BatchNorm's; GroupNorm has none": not _equal(
            before, network.buffers()
        ),
        "has frozen parameters": not all(p.requires_grad for p in network.parameters()),
        "gives other weights at every call; draw them with torch": not _equal(
            again.parameters(), workshop.network(seed).parameters()
        ),
    }
    for fault, is_so in faults.items():
        if is_so:
            raise ConfigError([f"model.name = {name!r}: {fault}"])


def _equal(one: Iterable[torch.Tensor], other: Iterable[torch.Tensor]) -> bool:
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True))
