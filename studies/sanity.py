"""Is the machinery right? LeNet-300-100 and ResNet-20 must show what was published.

    python studies/sanity.py                    digits, 2 cores, two minutes
    python studies/sanity.py --preset mnist     as published, half an hour
    python studies/sanity.py --preset cifar10   ResNet-20, as published: a GPU

The last two take --data-root. A subset of CIFAR-10 on two CPU cores, in minutes:

    python studies/sanity.py --preset cifar10 --data-root DATA --seeds 0 \\
        --data.fraction 0.1 --train.steps 200 --train.warmup 50 \\
        --train.batch 64 --prune.ladder 0.5 0.1 \\
        --measure.images 1000 --measure.checkpoints 3

The reference is Frankle and Carbin (2019, arXiv 1803.03635): iterative magnitude pruning, layer by
layer, back to the initial weights. Tickets are compared with the same masks over new weights
(reinit) and with the same layer densities at random places (shuffle). What counts is accuracy on
the test split, of the last weights, never of a best checkpoint. Cost: seeds x 3 arms x rungs short
training runs. Expect, as in their figures 3 and 4: tickets as accurate as the dense network, or a
little better, down to a few per cent of the weights; re-initialised ones fall behind steadily.

ResNet-20 is theirs of section 4: pruned over all its convolutions together but the shortcuts,
30,000 steps of SGD, of which 20,000 warm up to 0.03. Without the warmup, tickets at init do not
match, and late rewinding is needed (--train.warmup 0 --train.lr 0.1 --rewind.rule late; Frankle et
al. 2020, arXiv 1912.05671). Two things differ: GroupNorm, and a rate that falls in a line, not in
two steps. Expect tickets that match down to about a tenth of the weights, and controls that do not.
ResNet-18: --model.channels 64 128 256 512 --model.layers 2 --model.groups 32.
"""

import sys

from lthray.cli import study
from lthray.study.comparators import AGAIN, against, longer
from lthray.study.page import Grid
from lthray.study.space import Words

LENET: Words = {
    "model.name": "lenet300",
    "objective.name": "classify",
    "train.steps": 1500,
    "train.lr": 1.2e-3,
    "train.decay": "constant",
    "train.batch": 60,
    "train.clip": 0.0,
    "train.ema": 0.0,
    "prune.budget": "uniform",
    "prune.ladder": (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625),
    "rewind.rule": "init",
    "measure.samples": 0,
    "measure.images": 10_000,
    "measure.split": "test",
}

PUBLISHED_LENET: Words = {
    "train.steps": 8000,
    "prune.ladder": tuple(round(0.64**rung, 4) for rung in range(1, 13)),
}

RESNET20: Words = {
    "data.augment": "flip_shift",
    "model.name": "resnet",
    "model.channels": (16, 32, 64),
    "model.layers": 3,
    "model.attention": (),
    "model.groups": 8,
    "train.steps": 30_000,
    "train.batch": 128,
    "train.optimizer": "sgd",
    "train.lr": 0.03,
    "train.warmup": 20_000,
    "train.decay": "linear",
    "train.floor": 0.01,
    "train.weight_decay": 1e-4,
    "prune.budget": "overall",
    "prune.layers": (("output", 1.0), ("*.shortcut", 1.0), ("*", "free")),
    "prune.ladder": tuple(round(0.64**rung, 4) for rung in range(1, 9)),
}

STUDY = Grid(
    name="sanity",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    points=lambda config: against("reinit", "shuffle"),
    references=lambda config: [AGAIN, longer(config)],
    words=LENET,
    presets={
        "mnist": PUBLISHED_LENET,
        "fashion_mnist": PUBLISHED_LENET,
        "cifar10": RESNET20,
    },
    smoke={
        "train.steps": 100,
        "train.warmup": 0,
        "train.batch": 60,
        "prune.ladder": (0.25, 0.05),
        "measure.images": 300,
    },
    surface=("control", "quality/accuracy"),
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
