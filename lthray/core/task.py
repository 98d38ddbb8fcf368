"""The contract between what is learnt and everything that trains, prunes or measures it."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

Inputs = tuple[Tensor, ...]


class Task(Protocol):
    """An objective on one device: how inputs are drawn, and what the loss of a network is on them.

    An element of `Inputs` is [n, ...], one entry an image; its order and number are the task's own.
    """

    @property
    def classifies(self) -> bool:
        """Whether the network answers with the scores of classes."""
        ...

    @property
    def timesteps(self) -> int | None:
        """Length of the noise schedule; None for a task without one."""
        ...

    def draw(self, x: Tensor, y: Tensor, stream: int, step: int) -> Inputs:
        """Return the inputs of one training step for images `x` [n, C, H, W] and classes `y` [n].

        Every random number is a function of (`stream`, `step`).
        """
        ...

    def errors(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """Return the loss of `network` on each image of `inputs`, [n]."""
        ...

    def panel(self, x: Tensor, y: Tensor, columns: int) -> Iterator[Inputs]:
        """Yield the fixed evaluation inputs of every network of a study: one a column.

        A denoiser has `columns` of them, one for each stratified timestep; other tasks have one.
        """
        ...

    def example(self, x: Tensor) -> Inputs:
        """Return the arguments with which a network is called for images `x`."""
        ...

    def terms(self, x: Tensor, y: Tensor, parts: int, seed: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Yield what a pruning criterion may see: inputs, and the answer that they ask for.

        There are `parts` of them: timesteps of a denoiser, batches of another task. Noise is a
        function of `seed` and the part, and none that a network is trained or measured with.
        """
        ...


def to_bytes(x: Tensor) -> Tensor:
    """Return float images in [-1, 1] as uint8 in 0 ... 255, for extractors and pictures."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
