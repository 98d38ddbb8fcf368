"""A network at its task, the training runs of it, and the contract of the makers that use both."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lthray.config.parts import Model, Objective, Regime, Train
from lthray.config.trial import TrialConfig, input_shape, shape_of
from lthray.config.vocabulary import network_facts
from lthray.core.layers import turned_groups
from lthray.core.random import drawing
from lthray.core.store import Item
from lthray.core.task import Task
from lthray.core.ticket import Mask, Weights
from lthray.prune import budgets, channels
from lthray.prune.coupling import Coupling, small
from lthray.prune.regimes import REGIMES, Schedule
from lthray.task import networks, statistics
from lthray.task.data import Images, Latents
from lthray.task.objectives import OBJECTIVES
from lthray.trial.state import Begin, Cut, State
from lthray.trial.steps import Step

Spec = Mapping[str, Any]
Parents = Sequence[Any]
Implied = Mapping[str, Any]
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
        with drawing(0, self.device):
            return networks.layers(self.twin, self.example)

    @cached_property
    def turned(self) -> dict[str, int]:
        """Weight name -> groups of every transposed convolution, whose inputs lie first."""
        return turned_groups(self.twin)

    @cached_property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter."""
        return {name: tuple(parameter.shape) for name, parameter in self.twin.named_parameters()}

    @cached_property
    def told(self) -> set[str]:
        """Layers that tell the network the time or the class, and never see the image."""
        with drawing(0, self.device):
            return networks.told(self.twin, self.example)

    def rules(self, layers: Layers) -> Rules:
        """Return layer -> fixed density or "free" under prune.layers; empty = the network's own
        policy."""
        own = network_facts(self.model.name).layers
        return budgets.policy(self.shapes, layers, own, self.told)

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
            told = set() if layers else self.told
            rules, shapes = self.rules(layers).items(), self.shapes
            fixed = [name for name, rule in rules if rule != "free" and name not in told]
            with drawing(0, self.device):
                found = channels.find(self.twin, self.example, shapes, fixed, told)
            self._couplings[layers] = found
        return self._couplings[layers]


def workshop_of(config: TrialConfig, device: str | torch.device = "cpu") -> Workshop:
    """Return the network of a trial at its task, on `device`."""
    shape, classes = input_shape(config), shape_of(config.data)[2]
    return Workshop(config.model, config.objective, shape, classes, torch.device(device))


class Run:
    """A training run: how it is trained, and its states, which are stored or trained when they are
    asked for."""

    def __init__(
        self,
        step: Step,
        train: Train,
        regime: Regime,
        *,
        sources: Mapping[str, Callable[[], Any]],
        reach: Callable[["Run", int], State],
    ):
        """Hold what the run is made from; nothing is trained yet.

        `sources` are functions that give its workshop, its images, its begin, the mask of the rung
        before and the network in training, each when it is first asked for. `reach(run, at)` gives
        the state of the run at a step of the schedule.
        """
        self.step = step
        self.train, self.regime = train, regime
        self._sources, self._reach = sources, reach
        self.start, self.end = step.span
        self.stream: int = step.spec["stream"]

    @cached_property
    def workshop(self) -> Workshop:
        """The architecture at its task."""
        return self._sources["workshop"]()

    @cached_property
    def images(self) -> Images:
        """The images, or latents, that it learns from."""
        return self._sources["images"]()

    @cached_property
    def begin(self) -> Begin:
        """The whole weights and the mask from which it begins."""
        begin = self._sources["begin"]()
        return replace(begin, state=replace(begin.state, step=self.start))

    @property
    def moves(self) -> bool:
        """Whether a regime moves the mask on the way."""
        return REGIMES[self.regime.name].moves

    @cached_property
    def schedule(self) -> Schedule | None:
        """What the regime does to the mask on the way; None where the mask stays."""
        if not self.moves:
            return None
        target = self.begin.cut.mask
        return Schedule(
            self.regime, self.start, self.end, self._sources["before"](), target, self.stream
        )

    @property
    def first_mask(self) -> Mask:
        """The mask with which it begins."""
        schedule = self.schedule
        return schedule.first if schedule else self.begin.cut.mask

    def masked_begin(self) -> State:
        """Return the state from which it begins, zero wherever its first mask cuts."""
        return self.begin.masked(self.first_mask)

    def state(self, at: int) -> State:
        """Return the state at a step of the schedule, on the CPU."""
        return self.final if at == self.end else self._reach(self, at)

    @cached_property
    def final(self) -> State:
        """The state at its end."""
        return self._reach(self, self.end)

    @cached_property
    def cut(self) -> Cut:
        """The mask as the training has left it; one that stays is known without the training."""
        begin = self.begin.cut
        if not self.moves or self.final.mask is None:
            return begin
        return replace(begin, mask=self.final.mask)

    def mask(self, layers: Layers) -> Mask:
        """Return the mask at its end; of a dense network, one that keeps all layers that may be
        cut."""
        return self.cut.mask or self.workshop.whole(layers)

    @property
    def scratch(self) -> nn.Module:
        """The network in training, which all runs of its workshop share; it holds whatever weights
        were set last."""
        scratch: nn.Module = self._sources["network"]()
        return scratch

    def network(self) -> nn.Module:
        """Return the network with the averaged weights of its end, on the device, without the
        channels that are cut."""
        network = channels.shrink(self.workshop.twin, self.cut.cover)
        networks.set_weights(network, small(self.final.average, self.cut.cover))
        networks.set_buffers(network, self._buffers)
        return network

    @cached_property
    def _buffers(self) -> Weights:
        """The buffers with which the averaged weights of its end are measured."""
        state = self.final.smaller(self.cut.cover)
        network = channels.shrink(self.workshop.twin, self.cut.cover)
        self.fill(network, state.average, state.buffers)
        return networks.buffers_of(network)

    def fill(self, network: nn.Module, weights: Weights, buffers: Weights) -> None:
        """Put weights and buffers into a network, and estimate its running statistics anew.

        Given weights that are neither trained nor cut keep the statistics that they came with.
        """
        networks.set_weights(network, weights)
        networks.set_buffers(network, buffers)
        if self.end > self.start or self.begin.cut.mask:
            batch = partial(self.images.batch, size=self.train.batch)
            statistics.estimate(network, self.workshop.task, batch)


@dataclass(frozen=True)
class Encoded(Latents):
    """A data set as an autoencoder sees it, and the way back to pictures."""

    scale: float = 1.0
    """Standard deviation of the latents of the training images, by which all were divided."""
    autoencoder: Run | None = None

    @classmethod
    def encode_with(
        cls, pixels: Images, latents: Tensor, scale: float, autoencoder: Run
    ) -> "Encoded":
        """Return the latents of all images of `pixels`, on their device."""
        on_device = latents.to(pixels.images.device)
        facts = {**vars(pixels), "images": on_device, "scale": scale, "autoencoder": autoencoder}
        return cls(**facts)

    @property
    def network(self) -> nn.Module:
        """The autoencoder."""
        assert self.autoencoder is not None
        return self.autoencoder.network()

    def decode(self, z: Tensor) -> Tensor:
        """Return the pictures of latents `z` [n, c, h, w]."""
        return networks.decoded(self.network, z * self.scale)


def cut_of(made: Any) -> Cut:
    """Return the mask of a step: its own, or what a training run has left of one."""
    return made.cut if isinstance(made, Run) else made


class Work(Protocol):
    """What a maker receives beside its spec and its parents' objects."""

    device: torch.device

    def workshop(self, model: Model, objective: Objective, shape: Any, classes: int) -> Workshop:
        """Return the networks of an architecture at its task, built once."""

    def run(self, step: Step, **sources: Callable[[], Any]) -> Run:
        """Return a training run whose states are stored, or trained when they are asked for."""

    def measure_along(self, run: Run, curve: Step) -> Any:
        """Train a run from the start, or from where `curve` was measured until, and return its
        curve."""


@dataclass(frozen=True)
class Kind:
    """One row of the table: how a kind of step is made, and how it is kept."""

    make: Callable[[Step, Parents, Implied, Work], Any]
    pack: Callable[[Any], dict[str, Any]] | None = None
    """Object -> facts, tensors and files of the store; None for what is made anew each time, or
    kept in parts."""
    unpack: Callable[[Item, Step, Parents, Implied], Any] | None = None
    shared: bool = False
    """Whether several trials may want it at one time, so that making it is worth a lock."""
