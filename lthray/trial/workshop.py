"""A network at its task: what all steps share that work with one architecture on one kind of
images."""

import math
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import nn

from lthray.config.parts import Model, Objective, Train
from lthray.config.vocabulary import network_facts
from lthray.core.task import Task
from lthray.core.ticket import Mask, Weights
from lthray.prune import budgets, channels
from lthray.prune.coupling import Coupling
from lthray.task import networks
from lthray.task.data import Images
from lthray.task.objectives import OBJECTIVES
from lthray.trial.training import Learner

Layers = tuple[tuple[str, float | str], ...]
Rules = Mapping[str, float | str]


class Workshop:
    """An architecture with its objective on one device; builds its networks and knows their layers.

    `shape` is (channels, height, width) of what the network works on: images, or their latents.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        shape: tuple[int, int, int],
        classes: int,
        device: torch.device,
    ):
        self.model, self.objective = model, objective
        self.shape, self.classes, self.device = shape, classes, device
        self._learner: tuple[Train, str, Learner] | None = None
        self._couplings: dict[Layers, Coupling] = {}

    def network(self, seed: int, *, fresh: bool = False) -> nn.Module:
        """Return a new network, on the CPU: drawn from `seed`, or given unless `fresh`."""
        return networks.build(self.model, self.shape, self.classes, seed, fresh=fresh)

    def weights(self, seed: int, *, fresh: bool = False) -> Weights:
        """Return the weights of `network(seed)` by name."""
        parameters = self.network(seed, fresh=fresh).named_parameters()
        return {name: parameter.detach().clone() for name, parameter in parameters}

    @cached_property
    def task(self) -> Task:
        """The objective on the device: how a loss is made of images."""
        row = OBJECTIVES[self.objective.name]
        return row.task(self.objective, self.device, self.model.conditional)

    def learner(self, images: Images, train: Train) -> Learner:
        """Return the network in training; the last one is kept, because compiling and moving it
        costs time."""
        if self._learner is None or self._learner[:2] != (train, images.digest):
            network = self.network(0, fresh=True)
            self._learner = (train, images.digest, Learner(network, self.task, images, train))
        return self._learner[2]

    @cached_property
    def twin(self) -> nn.Module:
        """The network that is measured, so that measuring never touches the one in training."""
        return self.network(0, fresh=True).to(self.device).eval()

    @cached_property
    def example(self) -> tuple[torch.Tensor, ...]:
        """Inputs of one forward pass, for one blank image."""
        return self.task.example(torch.zeros(1, *self.shape, device=self.device))

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Weight name -> shape of every layer that could be pruned, in forward order."""
        return networks.layers(self.twin, self.example)

    @cached_property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter."""
        return {name: tuple(parameter.shape) for name, parameter in self.twin.named_parameters()}

    def rules(self, layers: Layers) -> Rules:
        """Return layer -> fixed density or "free" under prune.layers; empty = the network's own
        policy."""
        return budgets.assign(self.shapes, layers or network_facts(self.model.name).layers)

    def whole(self, layers: Layers) -> Mask:
        """Return the mask of the dense network: every layer that no rule keeps whole."""
        rules = self.rules(layers)
        return Mask.full({name: shape for name, shape in self.shapes.items() if rules[name] != 1.0})

    def free(self, layers: Layers) -> list[str]:
        """Return the layers whose density the budget decides, in forward order."""
        return [name for name, rule in self.rules(layers).items() if rule == "free"]

    def free_size(self, layers: Layers) -> int:
        """Return the number of weights in the free layers."""
        return sum(math.prod(self.shapes[name]) for name in self.free(layers))

    def coupling(self, layers: Layers) -> Coupling:
        """Return the groups of channels that can only be cut together."""
        if layers not in self._couplings:
            fixed = [name for name, rule in self.rules(layers).items() if rule != "free"]
            groups = channels.find(self.twin, self.example, self.shapes, fixed)
            self._couplings[layers] = groups
        return self._couplings[layers]
