"""Losses on the evaluation panel, the excess over the dense network, accuracy of classifiers.

The panel is one fixed set of images x stratified timesteps x noise, so that every network of a
study is measured on equal inputs and differences are paired. `x` are images [n, C, H, W] as the
network takes them, `y` their classes [n].
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lthray.core import metrics
from lthray.core.task import Inputs, Task
from lthray.findings.stats import relative_excess

SPLIT = 512  # images a forward pass
QUARTER = 4  # a glance takes one image of so many
BANDS = 5  # equal parts into which a denoiser's timesteps are divided


def panel(network: nn.Module, task: Task, x: Tensor, y: Tensor, columns: int) -> Tensor:
    """Return the loss of every image at every stratified timestep, float32 on the CPU.

    The result is [images, columns]; a task without timesteps has one column.
    """
    with torch.no_grad():
        losses = [_losses(network, task, inputs) for inputs in task.panel(x, y, columns)]
    return torch.stack(losses, dim=1).float().cpu()


def glance(network: nn.Module, task: Task, x: Tensor, y: Tensor, columns: int) -> Tensor:
    """Return the losses on a part of the panel, for what is measured often.

    The part is every fourth image and half of the `columns`: [images / 4, columns / 2].
    """
    return panel(network, task, x[::QUARTER], y[::QUARTER], max(1, columns // 2))


def along(network: nn.Module, task: Task, x: Tensor, y: Tensor, columns: int) -> list[float]:
    """Return the mean loss at a glance and, of a classifier, the accuracy on the same images."""
    point = [float(glance(network, task, x, y, columns).mean())]
    if task.classifies:
        point.append(accuracy(correct(network, x[::QUARTER], y[::QUARTER])))
    return point


def bands(task: Task, columns: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the equal bands of a denoiser's timesteps; none for a task without timesteps.

    Each is a name, "t" and the first timestep of the band, and the columns of a panel with
    `columns` timesteps that lie in it. Bands without a column are left out.
    """
    if task.timesteps is None:
        return
    for number, band in enumerate(torch.arange(columns).tensor_split(BANDS)):
        if len(band):
            start = round(number * task.timesteps / BANDS)
            yield f"t{start:03d}", band


def correct(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return whether each image `x` is classified as its class in `y`, [n] bool on the CPU."""
    right = []
    with torch.no_grad():
        for images, classes in zip(x.split(SPLIT), y.split(SPLIT), strict=True):
            right.append(network(images).argmax(1) == classes)
    return torch.cat(right).cpu()


def accuracy(correct: Tensor) -> float:
    """Return the share of images that are classified rightly, of `correct` [n] bool."""
    return float(correct.double().mean())


def excess(losses: Tensor, reference: Tensor) -> dict[str, float]:
    """Return the relative excess of `losses` over those of a `reference` network, and its error.

    Both are [images, columns] of one panel; the standard error is over images.
    """
    value, error = relative_excess(losses.numpy(), reference.numpy())
    return {metrics.EXCESS.name: value, metrics.EXCESS_SE.name: error}


def accuracy_lost(correct: Tensor, reference: Tensor) -> dict[str, float]:
    """Return the accuracy lost to a `reference` network, and its standard error over images.

    Both are [n] bool of the same images.
    """
    lost = reference.double() - correct.double()
    error = float(lost.std() / len(lost) ** 0.5)
    return {metrics.LOST.name: float(lost.mean()), metrics.LOST_SE.name: error}


def curve(points: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return a row a point: step, training loss, held-out loss and, of a classifier, accuracy.

    Each of `points` is (step, sum of the training losses so far, their number, seconds, held-out
    loss, ...); the training loss of a row is the mean since the point before.
    """
    rows = []
    total_before, number_before = 0.0, 0.0
    for step, total, number, _, *held_out in points:
        losses = max(number - number_before, 1)
        rows.append([step, (total - total_before) / losses, *held_out])
        total_before, number_before = total, number
    return rows


def _losses(network: nn.Module, task: Task, inputs: Inputs) -> Tensor:
    """Return the loss of each image of one column of the panel, [n]."""
    batches = zip(*(tensor.split(SPLIT) for tensor in inputs), strict=True)
    return torch.cat([task.errors(network, *batch) for batch in batches])
