"""Draws of a device that are the CPU's: with them, trials on two devices can be compared."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

DRAWING = (torch.rand, torch.randn, torch.randint, torch.randperm)


class Twins(TorchFunctionMode):
    """In the block, what a generator of a device draws is drawn by a twin of it on the CPU.

    So is what dropout leaves out. `aside()` is a context for the copies to the device, which no
    program without this mode makes.
    """

    def __init__(self, aside: Callable[[], contextlib.AbstractContextManager[None]]):
        super().__init__()
        self.aside = aside
        self.twins: dict[torch.Generator, torch.Generator] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Return what a call of a torch function gives here."""
        keywords = dict(kwargs or {})
        generator = keywords.get("generator")
        if function is F.dropout:
            return self.dropped(*args, **keywords)
        if generator is None or generator.device.type == "cpu" or function not in DRAWING:
            return function(*args, **keywords)
        device = torch.device(keywords.pop("device", "cpu"))
        if device.type == "cpu":
            raise RuntimeError(f"Expected a 'cpu' device type for generator of {function.__name__}")
        keywords["generator"] = self.twin(generator)
        with self.aside():
            return function(*args, **keywords).to(device)

    def twin(self, generator: torch.Generator) -> torch.Generator:
        """Return the CPU's generator of the same seed, which has drawn as much."""
        if generator not in self.twins:
            seed = generator.initial_seed()
            self.twins[generator] = torch.Generator("cpu").manual_seed(seed)
        return self.twins[generator]

    def dropped(self, x: torch.Tensor, p: float, training: bool, inplace: bool) -> torch.Tensor:
        """Return `x` dropped out by the CPU's own generator, which is seeded as the device's."""
        if not training or not p or x.device.type == "cpu":
            return F.dropout(x, p, training, inplace)
        with self.aside():
            kept = torch.empty_like(x, device="cpu").bernoulli_(1 - p).div_(1 - p).to(x.device)
        return x * kept


@contextlib.contextmanager
def unheeded_cuda() -> Iterator[None]:
    """Let the host wait for CUDA in the block, whatever the debug mode says."""
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(0)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)
