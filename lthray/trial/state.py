"""The state of a training run at one step, the mask of a rung, and what a run begins from."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lthray.core.ticket import Mask, TrialFailed, Weights
from lthray.prune.coupling import Coupling, full, small


class NonFinite(TrialFailed):
    """A loss or a weight became NaN or infinite."""


@dataclass
class State:
    """A training run at one step. While the run goes on it is live: it changes with each step."""

    step: int
    """Step of the schedule, which decides batches, noise and learning rate."""
    age: int
    """Number of updates since moments and average began."""
    weights: Weights
    average: Weights
    """Exponential moving average of the weights, which is what is measured."""
    moments: Weights = field(default_factory=dict)
    """Optimizer state, "slot/parameter" -> tensor; empty where it begins anew."""
    seconds: float = 0.0
    """Training time so far, whoever spent it."""
    loss_sum: float = 0.0
    """Sum of the training losses so far."""
    losses: int = 0
    """Number of the training losses so far."""
    mask: Mask | None = None
    """The mask as it stands, where a regime moves it."""
    buffers: Weights = field(default_factory=dict)
    """What a network keeps beside its weights, such as running statistics: no gradient moves it."""

    @classmethod
    def begin(cls, weights: Weights, step: int, buffers: Weights | None = None) -> "State":
        """Return the state of a run that starts from `weights` and `buffers`, with moments and
        average anew."""
        return cls(step, 0, weights, weights, buffers=buffers or {})

    def masked(self, mask: Mask) -> "State":
        """Return a copy whose weights, average, moments and buffers are zero wherever `mask`
        cuts."""
        copied = self._changed(_copied)
        groups = [copied.weights, copied.average, copied.buffers]
        groups.extend(group for _, group in by_slot(copied.moments))
        for group in groups:
            mask.among(group).apply_(group)
        return State(
            self.step,
            self.age,
            copied.weights,
            copied.average,
            copied.moments,
            mask=self.mask,
            buffers=copied.buffers,
        )

    def smaller(self, cover: Mask) -> "State":
        """Return the state of the smaller network that `cover` leaves of the whole one."""
        return self._changed(lambda tensors: small(tensors, cover))

    def larger(self, cover: Mask) -> "State":
        """Return the state of the whole network, given that of the smaller one; zeros elsewhere."""
        return self._changed(lambda tensors: full(tensors, cover))

    def _changed(self, change: Callable[[Weights], Weights]) -> "State":
        return replace(self.mapped(change), buffers=change(self.buffers))

    def mapped(self, change: Callable[[Weights], Weights]) -> "State":
        """Return the state with `change` applied to weights, average and each slot of moments.

        Buffers stay as they are.
        """
        moments: Weights = {}
        for slot, group in by_slot(self.moments):
            for name, tensor in change(group).items():
                moments[f"{slot}/{name}"] = tensor
        weights, average = change(self.weights), change(self.average)
        return replace(self, weights=weights, average=average, moments=moments)

    def check(self, mask: Mask) -> None:
        """Raise unless all is finite (NonFinite) and zero wherever `mask` cuts (AssertionError)."""
        groups = [self.weights, self.average]
        groups.extend(group for _, group in by_slot(self.moments))
        for group in groups:
            for name, tensor in group.items():
                if not torch.isfinite(tensor).all():
                    raise NonFinite(f"{name} is not finite at step {self.step}")
            if not mask.holds(group):
                raise AssertionError(f"a cut weight is not zero at step {self.step}")


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


@dataclass(frozen=True)
class Samples:
    """Generated images."""

    images: Tensor
    """uint8 [n, C, H, W]."""


@dataclass(frozen=True)
class GivenFile:
    """A file that a user gives."""

    path: str


def by_slot(moments: Weights) -> Iterator[tuple[str, Weights]]:
    """Yield each slot of an optimizer's state with its tensors by parameter."""
    for slot in slots_of(moments):
        prefix = f"{slot}/"
        group = {}
        for key, tensor in moments.items():
            if key.startswith(prefix):
                group[key.removeprefix(prefix)] = tensor
        yield slot, group


def slots_of(moments: Weights) -> list[str]:
    """Return the slots of an optimizer's state, such as exp_avg, in order."""
    return list(dict.fromkeys(key.split("/")[0] for key in moments))


def _copied(tensors: Weights) -> Weights:
    return {name: tensor.clone() for name, tensor in tensors.items()}
