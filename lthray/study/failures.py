"""Classes of failures: what is the machine's is tried again, what is the trial's own is final."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from lthray.core.store import CodeChanged
from lthray.core.ticket import TrialFailed

PREEMPTED, RESOURCE, DEVICE = "preempted", "resource", "device"
ENVIRONMENT, DETERMINISTIC = "environment", "deterministic"
MEMORY_WORDS = re.compile(r"out of memory|can't allocate memory|not enough memory|_ALLOC_FAILED")
DEVICE_WORDS = re.compile(
    r"CUDA error|CUDA driver|CUDNN_STATUS|cuDNN error|CUBLAS_STATUS|CUSOLVER_STATUS|CUFFT_|"
    r"NCCL|HIP error|No CUDA GPUs|no CUDA-capable device|device-side assert|"
    r"unspecified launch failure|illegal memory access|GPU is lost|fallen off the bus|ECC error"
)


@dataclass(frozen=True)
class FailureClass:
    """What is done about failures of a class."""

    tries: int
    """How often a trial is tried again at once, in a fresh process where Ray runs it."""
    stays: bool
    """Whether a trial has failed when that is used up, until `lthray retry` puts it in line again.
    Else it is left unfinished, and the same command goes on with it."""


CLASSES: Mapping[str, FailureClass] = {
    PREEMPTED: FailureClass(tries=3, stays=False),
    RESOURCE: FailureClass(tries=1, stays=True),
    DEVICE: FailureClass(tries=3, stays=True),
    ENVIRONMENT: FailureClass(tries=3, stays=False),
    DETERMINISTIC: FailureClass(tries=0, stays=True),
}
"""Every class of failures: a lost worker or node; memory; a GPU; disk, network and code; and
the trial's own, such as a loss that is not finite."""
ANY_WORDS = re.compile("")
SIGNS: Sequence[tuple[re.Pattern[str], tuple[type[BaseException], ...], str]] = (
    (ANY_WORDS, (TrialFailed,), DETERMINISTIC),
    (ANY_WORDS, (MemoryError, torch.OutOfMemoryError), RESOURCE),
    (ANY_WORDS, (OSError, CodeChanged), ENVIRONMENT),
    (MEMORY_WORDS, (RuntimeError,), RESOURCE),
    (DEVICE_WORDS, (RuntimeError,), DEVICE),
    (ANY_WORDS, (torch.AcceleratorError,), DEVICE),
)
"""By what an error is known: words in its text, types; the first row that fits names its class."""
RETRIES = CLASSES[PREEMPTED].tries


def class_of(error: BaseException) -> str:
    """Return the class of an error that ended a trial.

    Torch tells of memory and of devices by a RuntimeError, so that its text is looked at too.
    """
    for pattern, types, kind in SIGNS:
        if isinstance(error, types) and pattern.search(str(error)):
            return kind
    return DETERMINISTIC


def described(error: BaseException) -> str:
    """Return an error in one line: its class of Python and the first line of its text."""
    text = str(error).strip().partition("\n")[0]
    name = type(error).__name__
    return f"{name}: {text[:300]}" if text else name


def device_answers() -> bool:
    """Return whether this process can still compute on its GPU, where it has one.

    After some errors of CUDA nothing but a fresh process can.
    """
    if not torch.cuda.is_available():
        return True
    try:
        torch.zeros(1, device="cuda").add_(1).item()
    except RuntimeError:
        return False
    return True
