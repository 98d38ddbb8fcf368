"""The contract of a maker: what it receives, and what it may use."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from lthray.config.parts import Model, Objective
from lthray.trial.objects import Run
from lthray.trial.steps import Step
from lthray.trial.workshop import Workshop

Spec = Mapping[str, Any]
Parents = Sequence[Any]
Implied = Mapping[str, Any]


class Work(Protocol):
    """What a maker may use beside its spec and its parents' objects."""

    device: torch.device

    def workshop(self, model: Model, objective: Objective, shape: Any, classes: int) -> Workshop:
        """Return the networks of an architecture at its task, built once."""

    def run(self, step: Step, **sources: Callable[[], Any]) -> Run:
        """Return a training run whose states are stored, or trained when they are asked for."""

    def measure_along(self, run: Run, curve: Step) -> Any:
        """Train a run from the start, or from where `curve` was measured until, and return its
        curve."""
