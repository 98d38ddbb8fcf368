"""The paired panel loss, whole and at a glance; the excess over the dense network; accuracy of classifiers.

The panel is one fixed set of held-out images x stratified timesteps x noise, so that every network of a study answers
the same questions and differences are paired.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lthray.config.trial import Measure
from lthray.findings.stats import relative_excess
from lthray.task.data import Images
from lthray.task.objectives import Classify, Denoise, Task

SPLIT = 512  # images a forward pass
QUARTER = 4  # of the images, and half of the timesteps, are what a glance takes


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


def bands(task: Task, columns: int, parts: int = 5) -> Iterator[tuple[str, Tensor]]:
    """Equal bands of a denoiser's timesteps: named by the first timestep, the columns of a panel that lie in it."""
    if isinstance(task, Denoise):
        for i, band in enumerate(torch.arange(columns).tensor_split(parts)):
            if len(band):
                yield f"t{round(i * task.timesteps / parts):03d}", band


def correct(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Whether each image is classified rightly, [n] bool on the CPU."""
    with torch.no_grad():
        return torch.cat([(network(a).argmax(1) == b) for a, b in zip(x.split(SPLIT), y.split(SPLIT), strict=True)]).cpu()


def along(network: nn.Module, task: Task, images: Images, measure: Measure) -> list[float]:
    """At one point of a training run: the held-out loss at a glance, and of a classifier the accuracy."""
    found = [float(glance(network, task, images, measure).mean())]
    if isinstance(task, Classify):
        x, y = images.held_out(measure.split, measure.images)
        found.append(float(correct(network, x[::QUARTER], y[::QUARTER]).double().mean()))
    return found


def glance(network: nn.Module, task: Task, images: Images, measure: Measure) -> Tensor:
    """The losses on a part of the panel, [images / 4, timesteps / 2]: for what is measured often."""
    x, y = images.held_out(measure.split, measure.images)
    return panel(network, task, x[::QUARTER], y[::QUARTER], max(1, measure.timesteps // 2))


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
    metrics |= {"loss/excess": excess, "loss/excess_se": error, "loss/gap": metrics["loss/heldout"] / metrics["loss/train"] - 1}
    metrics |= {f"loss/{band}": float(arrays["loss"][:, at].mean()) for band, at in bands(task, measure.timesteps)}
    if isinstance(task, Classify):
        arrays["correct"] = correct(network, x, y)
        lost = dense.get("correct", arrays["correct"]).double() - arrays["correct"].double()
        metrics["quality/accuracy"] = float(arrays["correct"].double().mean())
        metrics |= {"quality/lost": float(lost.mean()), "quality/lost_se": float(lost.std() / len(lost) ** 0.5)}
    return metrics, arrays


def curve(points: list) -> Tensor:
    """[points, 3 or 4]: step, mean training loss since the point before, held-out loss, accuracy of a classifier; from
    (step, sum of losses, their number, seconds, held-out loss, ...)."""
    before, rows = (0.0, 0), []
    for step, total, number, _, *held_out in points:
        rows.append([step, (total - before[0]) / max(number - before[1], 1), *held_out])
        before = (total, number)
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), -1 if rows else 3)
