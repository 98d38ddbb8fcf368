"""What is measured along a training run, while it is trained."""

import time
from typing import Any

from lthray.config.parts import Measure
from lthray.config.spec import part_of
from lthray.core.random import drawing, seed_of
from lthray.measure import loss
from lthray.prune import channels
from lthray.trial.state import State
from lthray.trial.steps import Step, marks
from lthray.trial.workshop import Run


class Along:
    """What is measured along a training run: the held-out loss at some points; None is nothing."""

    def __init__(self, run: Run, curve: Step | None):
        self.run, self.curve = run, curve
        self.key = curve.key if curve else ""
        self.points: tuple[int, ...] = ()
        self.measured: list[list[float]] = []
        if curve is None:
            return
        words = part_of(Measure, "measure", curve.spec)
        self.timesteps = words.timesteps
        self.points = marks(run.start, run.end, words.checkpoints)
        self.x, self.y = run.images.held_out(words.split, words.images)
        self.network = channels.shrink(run.workshop.twin, run.begin.cut.cover)

    def see(self, live: State) -> None:
        """Measure the live state of the run, where its step is one of the points.

        A point is (step, sum of training losses, their number, seconds, held-out loss, ...).
        """
        if live.step not in self.points:
            return
        began = time.perf_counter()
        self.run.fill(self.network, live.average, live.buffers)
        task = self.run.workshop.task
        with drawing(seed_of("made", "curve"), self.x.device):
            held_out = loss.along(self.network, task, self.x, self.y, self.timesteps)
        seconds = time.perf_counter() - began
        self.measured.append([live.step, live.loss_sum, live.losses, seconds, *held_out])

    @property
    def so_far(self) -> dict[str, list[list[float]]]:
        """Key of the curve -> its points until now; nothing where nothing is measured."""
        return {self.key: self.measured} if self.points else {}

    def facts(self, live: State) -> dict[str, Any]:
        """Return the curve as facts of an object, with the seconds of measuring and of training."""
        seconds = sum(point[3] for point in self.measured)
        curve = {"metrics": {}, "curve": self.measured}
        return {**curve, "seconds": seconds, "train": live.seconds}
