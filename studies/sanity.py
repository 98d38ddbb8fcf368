"""Is the machinery right? LeNet-300-100 must show what Frankle and Carbin (2019, arXiv 1803.03635) published.

    python studies/sanity.py                                       digits, two CPU cores, two minutes
    python studies/sanity.py --preset mnist --data-root DATA       the published setting, half an hour

Iterative magnitude pruning, layer by layer, back to the initial weights, against the same masks over new weights (reinit)
and the same layer densities at random places (shuffle); accuracy on the test split, of the last weights, never of a best
checkpoint. Cost: seeds x 3 arms x rungs short runs. Expect, as in their figures 3 and 4: tickets as accurate as the dense
network, or a little better, down to a few per cent of the weights; re-initialised ones fall behind steadily.
"""

import sys

from lthray.arms import AGAIN, against, longer
from lthray.call import Study
from lthray.cli import study

LENET = {
    "model.name": "lenet300",
    "objective.name": "classify",
    "prune.budget": "uniform",
    "rewind.rule": "init",
    "train.lr": 1.2e-3,
    "train.batch": 60,
    "train.clip": 0.0,
    "train.ema": 0.0,
    "measure.samples": 0,
    "measure.images": 10_000,
    "measure.split": "test",
}

STUDY = Study(
    name="sanity",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    points=lambda config: against("reinit", "shuffle"),
    references=lambda config: [AGAIN, longer(config)],
    words=LENET | {"train.steps": 1500, "prune.ladder": (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)},
    presets={
        name: {"train.steps": 8000, "prune.ladder": tuple(round(0.64**rung, 4) for rung in range(1, 13))}
        for name in ("mnist", "fashion_mnist")
    },
    smoke={"train.steps": 100, "prune.ladder": (0.25, 0.05)},
    surface=("control", "quality/accuracy"),
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
