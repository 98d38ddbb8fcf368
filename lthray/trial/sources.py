"""The steps before any pruning: data or latents, initial weights, the dense training run; and the
configs of other networks that a trial needs."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import torch

from lthray.config import vocabulary
from lthray.config.parts import Measure, Model, Objective, Prune, Train
from lthray.config.trial import (
    PLAIN,
    TrialConfig,
    input_shape,
    shape_of,
    words_of_role,
)
from lthray.prune import budgets
from lthray.task import data, inputs, networks
from lthray.task.objectives import OBJECTIVES
from lthray.trial.steps import Step

ALONE = Measure(samples=0, checkpoints=0, images=1000)
"""What is measured of a network that only serves others."""
DIGITS = ((1, 8, 8), 10)
"""Shape and classes that initial weights are drawn for, where a spec says nothing else."""


class Sources:
    """The data, initial weights and training runs of one config, as steps."""

    def __init__(self, config: TrialConfig):
        self.config = config
        self.digest = data.load(config.data).digest
        """Digest of the data set's content."""

    @cached_property
    def pixels(self) -> Step:
        """The data set; its key is the digest of its content."""
        return Step("data", implied={"data": self.config.data}, content=self.digest)

    @cached_property
    def images(self) -> Step:
        """The images that the network works on: the data set, or its latents."""
        if not vocabulary.OBJECTIVES[self.config.objective.name].in_latents:
            return self.pixels
        autoencoder = Sources(autoencoder_config(self.config)).dense
        return Step("latents", {"augment": self.config.data.augment}, (autoencoder, self.pixels))

    @cached_property
    def judge(self) -> Step:
        """The feature extractor of sample metrics, which is trained once for each data set."""
        classifier = Sources(judge_config(self.config)).dense
        return Step("judge", {}, (classifier, self.pixels))

    @cached_property
    def dense(self) -> Step:
        """The training run of the dense network."""
        return self.train(self.init(self.config.seed), 0, self.config.train.steps)

    def file(self, word: str, path: str, digest: str) -> Step:
        """Return a file that the user gives as `word`; its key is the digest of its content."""
        return Step("file", {"word": word}, implied={"path": path}, content=digest)

    def init(self, seed: int) -> Step:
        """Return the weights before the first step, drawn from `seed`.

        With model.pretrained, the seed of the config means the given weights; another is fresh.
        """
        model = self.config.model
        digest = inputs.digest_of(model.pretrained, networks.part_of(model))
        is_given = digest and seed == self.config.seed
        spec = self.config.canonical("model") | {"seed": 0 if is_given else seed}
        made_of = [self.file("model.pretrained", model.pretrained, digest)]
        source = networks.source_of(model)
        if source:
            made_of.append(self.file("model.name", model.name, source))
        return Step("init", spec | self.shape, tuple(made_of))

    @cached_property
    def shape(self) -> dict[str, Any]:
        """Shape and classes that initial weights are drawn for, unless they are those of digits."""
        shape = input_shape(self.config)
        classes = shape_of(self.config.data)[2]
        return {} if (shape, classes) == DIGITS else {"shape": shape, "classes": classes}

    def train(
        self,
        begin: Step,
        start: int,
        end: int,
        stream: int | None = None,
        before: Step | None = None,
    ) -> Step:
        """Return the training run from `begin`, steps `start` to `end` of the schedule.

        `stream` seeds batches and noise, the config's own if None. `before` is the training run of
        the rung before, given where a regime moves the mask on the way.
        """
        c = self.config
        chosen = c.stream if stream is None else stream
        spec = c.canonical("data", "model", "objective", "train")
        spec |= {"stream": chosen if end else 0, "span": [start, end]}
        implied: dict[str, Any] = {"pretrained": c.model.pretrained}
        if before is not None:
            spec |= c.canonical("regime")
            implied["before"] = before
        return Step("train", spec, (begin, self.images), implied)


def twin_config(config: TrialConfig) -> TrialConfig:
    """Return the same recipe on the other seed of a pair (0 and 1, 2 and 3, ...)."""
    alone = {word: PLAIN[word] for word in words_of_role("control")} | {"measure.samples": 0}
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


@cache
def _rules(config: TrialConfig) -> dict[str, float | str]:
    """Return layer -> fixed density or "free" of the network of `config`."""
    shape, own = input_shape(config), vocabulary.network_facts(config.model.name).layers
    network = networks.build(config.model, shape, shape_of(config.data)[2], 0, fresh=True).eval()
    task = OBJECTIVES[config.objective.name].task(config.objective, "cpu", config.model.conditional)
    example = task.example(torch.zeros(1, *shape))
    layers, told = networks.layers(network, example), networks.told(network, example)
    return budgets.policy(layers, config.prune.layers, own, told)


def small_config(config: TrialConfig, density: float) -> TrialConfig:
    """Return the dense network of the same family with about as many parameters as a ticket of
    `density` keeps.

    It has groups and heads of the same width, so that only its size differs.
    """
    shape, classes = input_shape(config), shape_of(config.data)[2]
    total, layers = networks.sizes(config.model, shape, classes)
    cut = 0.0
    for name, rule in _rules(config).items():
        cut += layers[name] * (1 - (density if rule == "free" else float(rule)))
    model = networks.narrower(config.model, shape, classes, round(total - cut))
    plain: dict[str, Any] = {
        **PLAIN,
        "prune.ladder": (),
        "prune.layers": (),
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


def words_of(config: TrialConfig, names: Iterable[str]) -> dict[str, Any]:
    """Return the words `names` of a config that are not at their default, for a step's spec."""
    chosen = set(names)
    return {word: value for word, value in config.canonical().items() if word in chosen}
