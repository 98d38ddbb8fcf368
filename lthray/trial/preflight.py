"""What only the data, the network and the given files can refuse, before anything is made."""

from collections.abc import Iterable

import torch

from lthray.config.fields import ConfigError
from lthray.config.trial import DENOISERS, FEATURES, POLICY, TrialConfig, shape_of
from lthray.measure import quality
from lthray.task import imported, networks, pretrained
from lthray.task.objectives import answer, trained_scheduler
from lthray.trial.plan import autoencoder_config, plan
from lthray.trial.setting import Setting


def check(config: TrialConfig) -> None:
    """Refuse, before anything is made, what only the data and the network can show (ConfigError, TicketError)."""
    setting = Setting(config, torch.device("cpu"))
    if config.model.name not in POLICY:
        _try_out(setting)
    _enough(setting)
    if config.model.pretrained and config.objective.name in DENOISERS:
        _agree(config)
    if config.latent.pretrained and config.objective.name == "latent_denoise":
        Setting(autoencoder_config(config), torch.device("cpu")).network(0)
    _ = plan(config), setting.dials, setting.coupling, setting.given
    if config.measure.inception:
        quality.inception(config.measure.inception)


def _enough(setting: Setting) -> None:
    """Refuse what needs more training images than there are, where only loading them could tell how many."""
    c, n = setting.config, len(setting.pixels.splits["train"])
    wanted = {"train.batch": c.train.batch, "prune.images": c.prune.images}
    if c.objective.name in DENOISERS and c.measure.samples and n < 10 * FEATURES:
        raise ConfigError([f"measure.samples = {c.measure.samples}: 0, for {n} training images are too few to compare with"])
    if faults := [f"{word} = {number}: at most the {n} training images" for word, number in wanted.items() if number > n]:
        raise ConfigError(faults)


def _agree(config: TrialConfig) -> None:
    """Refuse a pipeline that was trained on other noise, or to another target, than the config says."""
    source, own = config.model.pretrained, trained_scheduler(config.objective).config
    said = pretrained.facts(source, pretrained.given(source).scheduler)
    words = {"num_train_timesteps": "objective.timesteps", "prediction_type": "objective.prediction"}
    words |= {"beta_schedule": "objective.schedule", "beta_start": "the first beta", "beta_end": "the last beta"}
    ours = {**own, "beta_schedule": config.objective.schedule}
    if config.objective.schedule == "squaredcos_cap_v2":  # which has no such ends
        words = {key: word for key, word in words.items() if key not in ("beta_start", "beta_end")}
    faults = [
        f"model.pretrained = {source!r}: was trained with {key} = {said[key]!r}, {word} = {ours[key]!r}"
        for key, word in words.items()
        if key in said and said[key] != ours[key]
    ]
    if said.get("trained_betas"):
        told = f"objective.schedule = {config.objective.schedule!r}"
        faults.append(f"model.pretrained = {source!r}: was trained with betas of its own, {told}")
    if faults:
        raise ConfigError(faults)


def _try_out(setting: Setting) -> None:
    """Refuse a user's own network that cannot be called, or that is more than weights which are a function of the seed."""
    config = setting.config
    name, seed, classes = config.model.name, config.seed, shape_of(config.data)[2]
    network, again = setting.network(seed).train(), setting.network(seed)
    before = [buffer.clone() for buffer in network.buffers()]
    inputs = setting.task.example(torch.zeros(2, *setting.shape))
    classifies = config.objective.name == "classify"
    wanted = (2, classes) if classifies else tuple(inputs[0].shape)
    try:
        found = network(*inputs) if classifies else answer(network, *inputs)
        networks.layers(network, inputs)
    except Exception as error:
        raise imported.told("model.name", name, error) from None
    given = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    faults = {
        f"answers with {given}, not with a tensor of {wanted}": given != wanted,
        "has buffers that change with every batch, as BatchNorm's; GroupNorm has none": not _same(before, network.buffers()),
        "has frozen parameters": not all(p.requires_grad for p in network.parameters()),
        "gives other weights at every call; draw them with torch": not _same(
            again.parameters(), setting.network(seed).parameters()
        ),
    }
    if wrong := next((said for said, is_so in faults.items() if is_so), None):
        raise ConfigError([f"model.name = {name!r}: {wrong}"])


def _same(one: Iterable[torch.Tensor], other: Iterable[torch.Tensor]) -> bool:
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True))
