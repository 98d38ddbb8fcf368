"""Tryout: a user's own network is called on made-up images before anything is trained.

What is asked: that it answers in the right shape and is learnt by gradients; that all it keeps is
in its parameters and buffers; and that all it draws comes from torch's global generators, which a
trial seeds at every step.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from lthray.config.fields import ConfigError
from lthray.core.random import drawing, generator
from lthray.task import factories, networks
from lthray.task.objectives import answer
from lthray.trial.workshop import Workshop

IMAGES = 2
LAZY = torch.nn.parameter.UninitializedParameter


@dataclass(frozen=True)
class Tryout:
    """A user's network of one seed, called on made-up images. It is built anew at each call of
    `built`."""

    workshop: Workshop
    seed: int

    def built(self, seed: int) -> nn.Module:
        """Return a network of `seed` in training mode."""
        return self.workshop.network(seed, fresh=True).train()

    @cached_property
    def network(self) -> nn.Module:
        """The network whose training step is tried out."""
        return self.built(self.seed)

    @cached_property
    def images(self) -> Tensor:
        """Made-up images, [2, C, H, W]."""
        draws = generator("tryout")
        return torch.rand(IMAGES, *self.workshop.shape, generator=draws) * 2 - 1

    @property
    def fault(self) -> str | None:
        """What keeps the network from being trained and continued exactly; None where nothing
        does."""
        with drawing(0, torch.device("cpu")):
            found = self._unfit_answer()
            example = self.workshop.task.example(self.images)
            called = networks.layers(self.network.eval(), example)
            self.network.train()
            faults = (fault for fault, is_so in FAULTS.items() if is_so(self))
            return found or next(faults, None) or self._untaught(called)

    def answer(self, network: nn.Module) -> Tensor:
        """Return what `network` says of the images, with torch's global generators seeded."""
        given = self.workshop.task.example(self.images)
        with drawing(1, torch.device("cpu")), torch.no_grad():
            if self.workshop.task.classifies:
                return network(*given)
            return answer(network, *given)

    def _unfit_answer(self) -> str | None:
        """Return what is wrong with the form of its answer, or else make a training step."""
        task = self.workshop.task
        wanted = tuple(self.images.shape)
        if task.classifies:
            wanted = (IMAGES, self.workshop.classes)
        said = self.answer(self.network)
        answered = tuple(said.shape) if isinstance(said, Tensor) else type(said).__name__
        if answered != wanted:
            return f"answers with {answered}, not with a tensor of {wanted}"
        classes = torch.zeros(IMAGES, dtype=torch.int64)
        inputs = task.draw(self.images, classes, 0, 0)
        task.errors(self.network, *inputs).mean().backward()
        return None

    def _untaught(self, called: Iterable[str]) -> str | None:
        """Return which of the weights `called` no gradient has reached in the training step."""
        parameters = dict(self.network.named_parameters())
        why = "no gradient reaches it, so it would not be trained"
        faults = (f"{name}: {why}" for name in called if parameters[name].grad is None)
        return next(faults, None)


def _imprecise(tryout: Tryout) -> bool:
    """Whether some parameters have less than 32 bits, or are no real numbers."""
    return not {p.dtype for p in tryout.network.parameters()} <= {torch.float32, torch.float64}


def _frozen(tryout: Tryout) -> bool:
    """Whether some parameters do not train."""
    return not all(p.requires_grad for p in tryout.network.parameters())


def _unseeded(tryout: Tryout) -> bool:
    """Whether two networks of one seed differ."""
    one, other = tryout.built(tryout.seed), tryout.built(tryout.seed)
    return not _equal(_state(one).values(), _state(other).values())


def _grows(tryout: Tryout) -> bool:
    """Whether a call makes, drops or resizes parameters or buffers."""
    called, new = _state(tryout.network), _state(tryout.built(tryout.seed))
    forms = [{name: (t.shape, t.dtype) for name, t in state.items()} for state in (called, new)]
    return forms[0] != forms[1]


def _moves_weights(tryout: Tryout) -> bool:
    """Whether a call changes parameters, which would bring back what a mask has cut."""
    network = tryout.built(tryout.seed)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    tryout.answer(network)
    return not _equal(before, network.parameters())


def _draws_elsewhere(tryout: Tryout) -> bool:
    """Whether a call moves the global generators of numpy or of Python."""
    before = _other_generators()
    for network in (tryout.built(tryout.seed), tryout.built(tryout.seed).eval()):
        tryout.answer(network)
    return _other_generators() != before


def _answers_otherwise(tryout: Tryout) -> bool:
    """Whether two calls with equal parameters, buffers and generators differ."""
    for mode in (True, False):
        network = tryout.built(tryout.seed).train(mode)
        start = {name: tensor.clone() for name, tensor in _state(network).items()}
        first = tryout.answer(network)
        _copy(start, network)
        if not _equal([first], [tryout.answer(network)]):
            return True
    return False


def _hides(tryout: Tryout) -> bool:
    """Whether networks of two seeds differ though parameters and buffers are equal."""
    one, other = tryout.built(tryout.seed), tryout.built(tryout.seed + 1)
    _copy(_state(one), other)
    return not _equal([tryout.answer(one)], [tryout.answer(other)])


FAULTS: dict[str, Callable[[Tryout], bool]] = {
    "has parameters that are neither float32 nor float64; keep weights in float32 "
    "(train.autocast computes in less)": _imprecise,
    "has frozen parameters; let them train, or register them as buffers": _frozen,
    "gives other weights at every call; draw them with torch": _unseeded,
    "makes or resizes tensors when it is called; register them when it is built": _grows,
    "changes its parameters when it is called; let gradients alone move them": _moves_weights,
    "draws from numpy or from Python's random when it is called; draw with torch, whose global "
    "generators are seeded at every step": _draws_elsewhere,
    "answers otherwise at a second call with equal weights, buffers and seed; keep what it counts "
    "in a buffer, and draw with torch's global generators": _answers_otherwise,
    "keeps what it draws outside of parameters and buffers; use register_buffer": _hides,
}
"""What may be wrong with a network that answers in the right shape -> whether it is, in the order
in which it is asked."""


def try_out(workshop: Workshop, name: str, seed: int) -> None:
    """Raise ConfigError where the user's network `name` cannot be trained and continued exactly."""
    tryout = Tryout(workshop, seed)
    lazy = any(isinstance(tensor, LAZY) for tensor in tryout.network.parameters())
    try:
        fault = "has lazy layers; give them their sizes" if lazy else tryout.fault
    except Exception as error:  # whatever a user's network raises
        raise factories.import_error("model.name", name, error) from None
    if fault:
        raise ConfigError([f"model.name = {name!r}: {fault}"])


def _state(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers of a network by name."""
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    return parameters | dict(network.named_buffers())


def _copy(tensors: dict[str, Tensor], network: nn.Module) -> None:
    """Put the parameters and buffers of one network into another."""
    networks.set_weights(network, tensors)
    buffers = dict(network.named_buffers())
    networks.set_buffers(network, {name: tensors[name] for name in buffers})


def _other_generators() -> tuple[object, ...]:
    """Return the states of the global generators of Python and of numpy."""
    return random.getstate(), repr(np.random.get_state(legacy=False)["state"])


def _equal(one: Iterable[Tensor], other: Iterable[Tensor]) -> bool:
    """Return whether tensors are equal pair by pair; NaN equals NaN."""
    for a, b in zip(one, other, strict=True):
        if a.shape != b.shape or not torch.equal(a.nan_to_num(), b.nan_to_num()):
            return False
    return True
