"""The paired panel loss, against the dense network and along training; accuracy of classifiers.

The panel is one fixed set of held-out images x stratified timesteps x noise, so that every network of a study answers
the same questions and differences are paired.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lthray.config import Measure
from lthray.statistics import relative_excess
from lthray.task.data import Images
from lthray.task.objectives import Denoise, Task

SPLIT = 512  # images a forward pass
QUARTER = 4  # along training a quarter of the images and half the timesteps are measured
Named = Iterator[tuple[str, float]]


def panel(network: nn.Module, task: Task, x: Tensor, y: Tensor, columns: int) -> Tensor:
    """The loss of every image at every stratified timestep, [images, columns] float32 on the CPU."""
    with torch.no_grad():
        return torch.stack(
            [
                torch.cat([task.errors(network, *part) for part in zip(*(i.split(SPLIT) for i in inputs), strict=True)])
                for inputs in task.panel(x, y, columns)
            ],
            dim=1,
        ).float().cpu()  # fmt: skip


def bands(losses: Tensor, strata: list[int], parts: int = 5) -> Named:
    """Mean loss of each of `parts` equal bands of timesteps, named by the first timestep of the band."""
    timesteps = strata[-1] + strata[0]
    for i, band in enumerate(losses.mean(0).tensor_split(parts)):
        if len(band):
            yield f"loss/t{round(i * timesteps / parts):03d}", float(band.mean())


def correct(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Whether each image is classified rightly, [n] bool on the CPU."""
    with torch.no_grad():
        return torch.cat([(network(a).argmax(1) == b) for a, b in zip(x.split(SPLIT), y.split(SPLIT), strict=True)]).cpu()


def marks(start: int, end: int, points: int) -> list[int]:
    """The steps of a run at which its curve is measured: `points` equal parts, the last at its end."""
    return sorted({start + math.ceil((end - start) * j / points) for j in range(1, points + 1)})


def along(network: nn.Module, task: Task, images: Images, measure: Measure) -> float:
    """The panel loss at one point of a training run, on a part of the panel."""
    x, y = images.held_out(measure.split, measure.images)
    columns = max(1, measure.timesteps // 2)
    return float(panel(network, task, x[::QUARTER], y[::QUARTER], columns).mean())


def paired(
    network: nn.Module, task: Task, images: Images, measure: Measure, dense: dict[str, Tensor]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Metrics and arrays of the whole panel; `dense` holds the arrays of the dense network (empty for itself)."""
    x, y = images.held_out(measure.split, measure.images)
    arrays = {"loss": panel(network, task, x, y, measure.timesteps)}
    index = images.splits["train"][: len(x)]
    seen = panel(network, task, images.scaled(index), images.labels[index], measure.timesteps)
    reference = dense.get("loss", arrays["loss"])
    excess, error = relative_excess(arrays["loss"].numpy(), reference.numpy())
    metrics = {"loss/heldout": float(arrays["loss"].mean()), "loss/train": float(seen.mean())}
    metrics |= {"loss/excess": excess, "loss/excess_se": error}
    if isinstance(task, Denoise):
        metrics |= dict(bands(arrays["loss"], task.strata(measure.timesteps)))
    else:
        arrays["correct"] = correct(network, x, y)
        metrics["quality/accuracy"] = float(arrays["correct"].double().mean())
    return metrics, arrays


def curve(points: list) -> Tensor:
    """[points, 3]: step, mean training loss since the point before, held-out loss; from (step, sum, number, held-out, ...)."""
    before, rows = (0.0, 0), []
    for step, total, number, held_out, *_ in points:
        rows.append([step, (total - before[0]) / max(number - before[1], 1), held_out])
        before = (total, number)
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)
