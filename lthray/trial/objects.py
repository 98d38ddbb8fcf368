"""What makers make: masks with their context, states from which runs begin, training runs, and what
was measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from lthray.config.parts import Regime, Train
from lthray.core.ticket import Mask
from lthray.prune import channels
from lthray.prune.coupling import Coupling, small
from lthray.prune.regimes import REGIMES, Schedule
from lthray.task import networks
from lthray.task.data import Images, Latents
from lthray.trial.state import State
from lthray.trial.steps import Step
from lthray.trial.training import Learner
from lthray.trial.workshop import Layers, Workshop


@dataclass(frozen=True)
class Cut:
    """A mask as it was cut, and what it takes to train under it. An empty mask cuts nothing."""

    mask: Mask = field(default_factory=lambda: Mask({}))
    index: int = 0
    """Rung that the mask belongs to; 0 where nothing is cut."""
    coupling: Coupling = field(default_factory=lambda: Coupling({}))
    """Channels that are cut together; none where single weights are."""
    step: int = 0
    """Step of the schedule of the run before at which the mask was settled."""
    steps: int = 0
    """Optimizer steps of that run until then."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON that is recorded with it: weights kept of each layer, and the rules over layers."""

    @cached_property
    def cover(self) -> Mask:
        """What whole channels leave of every parameter that they run through; empty where single
        weights are cut."""
        return self.coupling.cover(self.mask) if self.mask else Mask({})


@dataclass(frozen=True)
class Begin:
    """Whole weights from which a run may begin, before the mask is applied, and the mask."""

    state: State
    cut: Cut = field(default_factory=Cut)

    def masked(self, mask: Mask | None = None) -> State:
        """Return the state with zeros wherever `mask` cuts; None is the mask that belongs to it."""
        chosen = self.cut if mask is None else replace(self.cut, mask=mask)
        return self.state.masked(chosen.cover or chosen.mask)


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

        `sources` are functions that give its workshop, its images, its begin and the mask of the
        rung before, each when it is first asked for. `reach(run, at)` gives the state of the run at
        a step of the schedule.
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
    def learner(self) -> Learner:
        """The network in training, which all runs of its workshop share."""
        return self.workshop.learner(self.images, self.train)

    def network(self) -> nn.Module:
        """Return the network with the averaged weights of its end, on the device, without the
        channels that are cut."""
        cover = self.cut.cover
        network = channels.shrink(self.workshop.twin, cover)
        networks.set_weights(network, small(self.final.average, cover))
        return network


@dataclass(frozen=True)
class Samples:
    """Generated images."""

    images: Tensor
    """uint8 [n, C, H, W]."""


@dataclass(frozen=True)
class GivenFile:
    """A file that a user gives."""

    path: str


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

    def decode(self, z: Tensor) -> Tensor:
        """Return the pictures of latents `z` [n, c, h, w]."""
        assert self.autoencoder is not None
        return networks.decoded(self.autoencoder.network(), z * self.scale)


def cut_of(made: Any) -> Cut:
    """Return the mask of a step: its own, or what a training run has left of one."""
    return made.cut if isinstance(made, Run) else made
