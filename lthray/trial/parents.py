"""Configs that follow from a trial's own: the networks that it needs beside those that it asks
about."""

from dataclasses import replace
from typing import Any

from lthray.config.parts import Measure, Model, Objective, Prune, Train
from lthray.config.trial import TrialConfig, input_of, layers_of, shape_of
from lthray.prune import budgets
from lthray.task import networks

ALONE = Measure(samples=0, checkpoints=0, images=1000)
"""What is measured of a network that only serves others."""


def input_shape(config: TrialConfig) -> tuple[int, int, int]:
    """Return channels, height and width of what the network works on: images, or their latents."""
    channels, side = input_of(config)
    return channels, side, side


def twin_config(config: TrialConfig) -> TrialConfig:
    """Return the same recipe on the other seed of a pair (0 and 1, 2 and 3, ...)."""
    alone = {"control": "none", "fork": 0, "rungs": (), "measure.samples": 0}
    other = {"seed": config.seed ^ 1, "stream": config.stream ^ 1}
    return TrialConfig.from_flat({**alone, **other}, config)


def judge_config(config: TrialConfig) -> TrialConfig:
    """Return the classifier whose hidden layer sees samples: one for each data set, whatever the
    trial."""
    return TrialConfig(
        data=replace(config.data, fraction=1.0, augment="shift"),
        model=Model(name="lenet5", channels=(16, 32)),
        objective=Objective(name="classify"),
        train=Train(steps=1000, batch=64, lr=2e-3, decay="cosine", floor=0.01),
        prune=Prune(ladder=()),
        measure=ALONE,
    )


def autoencoder_config(config: TrialConfig) -> TrialConfig:
    """Return the autoencoder that makes the latents: one for each data set, whatever the trial."""
    latent = config.latent
    steps = 0 if latent.pretrained else latent.steps
    return TrialConfig(
        data=replace(config.data, fraction=1.0),
        model=Model(
            name="autoencoder",
            channels=latent.widths,
            groups=latent.groups,
            latent=latent.channels,
            pretrained=latent.pretrained,
        ),
        objective=Objective(name="autoencode"),
        train=Train(steps=steps, batch=64, lr=2e-3, decay="cosine", floor=0.01),
        prune=Prune(ladder=()),
        measure=ALONE,
    )


def small_config(config: TrialConfig, density: float) -> TrialConfig:
    """Return the dense network of the same family with about as many parameters as a ticket of
    `density` keeps."""
    channels, side = input_of(config)
    shape, classes = (channels, side, side), shape_of(config.data)[2]
    total, layers = networks.sizes(config.model, shape, classes)
    rules = budgets.assign(layers, layers_of(config))
    cut = 0.0
    for name, weights in layers.items():
        rule = rules[name]
        cut += weights * (1 - (density if rule == "free" else float(rule)))
    model = networks.narrower(config.model, shape, classes, round(total - cut))
    plain: dict[str, Any] = {
        "prune.ladder": (),
        "prune.layers": (),
        "rungs": (),
        "control": "none",
        "measure.samples": 0,
        "measure.rounds": (0,),
    }
    words = {
        "model.channels": model.channels,
        "model.hidden": model.hidden,
        "model.groups": model.groups,
        "model.head": model.head,
    }
    return TrialConfig.from_flat({**plain, **words}, config)
