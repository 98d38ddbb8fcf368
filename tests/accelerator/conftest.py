"""The device of the tier: a pretended one, and with `-m gpu` a real one."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from lthray.config.trial import TrialConfig
from lthray.core.record import Round
from lthray.core.store import Store
from lthray.core.ticket import Mask
from lthray.core.ticket_file import read_ticket
from lthray.task.data import _order
from lthray.trial.run import run
from lthray.trial.training import _Session

from . import pretended
from .twins import Twins, unheeded_cuda

Context = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass
class Accelerator:
    """A device, and how to see what the host waits for."""

    device: torch.device
    tolerance: Mapping[str, float]
    """By how much numbers differ from the CPU's; torch takes other ways on other devices."""
    overlap: float
    """Share of a mask that must be the CPU's: rounding on a real device may move a weight that lies
    on the edge."""
    aside: Context
    """A context in which waiting is not noted."""
    waits: Counter[str] = field(default_factory=Counter)
    """What training steps have waited for, or were sent by the host."""

    def step(self, session: _Session) -> torch.Tensor:
        """Make a training step and note what it waits for."""
        if self.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
            try:
                return TRAINING_STEP(session)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        with pretended.noted() as found:
            loss = TRAINING_STEP(session)
        self.waits += found
        return loss

    def twins(self) -> Twins:
        """Return a context in which the device draws what the CPU would."""
        return Twins(self.aside)


TRAINING_STEP = _Session.step
TIMED = {"cost/train_seconds", "cost/measure_seconds"}


def _pretended() -> Accelerator:
    return Accelerator(pretended.install(), {"rel": 1e-3, "abs": 1e-4}, 1.0, pretended.unnoted)


def _cuda() -> Accelerator:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    return Accelerator(torch.device("cuda"), {"rel": 2e-2, "abs": 5e-3}, 0.99, unheeded_cuda)


KINDS_OF_DEVICE = {"pretended": _pretended, "cuda": _cuda}


@pytest.fixture(params=["pretended", pytest.param("cuda", marks=pytest.mark.gpu)])
def accelerator(request, monkeypatch) -> Iterator[Accelerator]:
    """The device of a test; every training step on it is watched."""
    made = KINDS_OF_DEVICE[request.param]()
    if made.device.type == pretended.NAME:
        monkeypatch.setattr(torch, "Generator", pretended.Generator)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(_Session, "step", lambda session: made.step(session))
    _order.cache_clear()  # orders of images, which another test may have drawn on the device
    yield made
    assert not made.waits, made.waits.most_common(5)


def outcome(config: TrialConfig, store: Store, device: torch.device | str) -> list[Round]:
    """Return all rounds of a trial on a device."""
    with sdpa_kernel(SDPBackend.MATH):  # a fused kernel of attention adds up in another order
        return list(run(config, store, device=device))


def masks_of(rounds: list[Round]) -> list[Mask]:
    """Return the masks in the ticket files of rounds."""
    return [read_ticket(r.files["ticket"])[0].mask for r in rounds if "ticket" in r.files]


def assert_equal(
    accelerator: Accelerator, ours: list[Round], theirs: list[Round], overlap: float = 1.0
) -> None:
    """Assert that rounds made on the device and on the CPU are one trial, and equal."""
    assert [r.keys for r in ours] == [r.keys for r in theirs]
    for mine, other in zip(masks_of(ours), masks_of(theirs), strict=True):
        assert mine.kept == other.kept
        assert mine.overlap(other) >= min(overlap, accelerator.overlap)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.metrics.keys() == other.metrics.keys()
        assert mine.arrays.keys() == other.arrays.keys()
        for name in mine.metrics.keys() - TIMED:
            wanted = pytest.approx(other.metrics[name], **accelerator.tolerance)
            assert mine.metrics[name] == wanted, f"round {mine.index}: {name}"
