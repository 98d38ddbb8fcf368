"""Which way of pruning finds the better tickets? Criteria, schedules, units and moving masks.

    python studies/pruning_methods.py   digits, 2 cores, two hours
    python analysis/pruning_methods.py  which win and which lose

Every method goes down the same ladder on the same seeds, from the same dense networks, and its
tickets are trained for as many steps. It differs from the others in what it cuts, when it looks, or
what its mask does in training, and in nothing else. Those that were published for the initial
weights are also tried there (rewind rule init, scored before training). Each method has its
re-initialised and shuffled masks at two rungs: where these are as good as the ticket, the method
found layer densities and no more. At the last rung a dense network of equal compute stands beside
it, trained for as many steps as finding and training the ticket took. Cost: methods x seeds x 8
training runs. Expect: magnitude hard to beat; pruning at initialisation behind it and no better
than its own shuffled masks (Frankle et al. 2021, arXiv 2009.08576); moving masks good where little
is left; and none of them worth its steps for one use alone.
"""

import sys

from lthray.cli import study
from lthray.study.comparators import LEAN, against, longer
from lthray.study.page import Grid
from lthray.study.space import Words

AT_START: Words = {"rewind.rule": "init", "rewind.fraction": 0.0, "prune.scored": "rewound"}
SPARSE: Words = {
    "rewind.rule": "init",
    "rewind.fraction": 0.0,
    "prune.criterion": "random",
    "prune.budget": "erk",
}
CHANNELS: Words = {"prune.unit": "channel", "prune.least": 0.0}
LOW = 0.02  # density where the dual lottery claims most

METHODS: list[Words] = [
    # criteria, scored on trained weights
    {"prune.criterion": "magnitude"},
    {"prune.criterion": "movement"},
    {"prune.criterion": "magnitude_increase"},
    {"prune.criterion": "taylor"},
    {"prune.criterion": "diff_pruning"},
    {"prune.criterion": "sensitivity"},
    {"prune.criterion": "hsic"},
    {"prune.criterion": "random"},
    # pruning at initialisation
    {"prune.criterion": "snip", **AT_START},
    {"prune.criterion": "grasp", **AT_START},
    {"prune.criterion": "synflow", "prune.scoring_steps": 25, **AT_START},
    # units other than single weights
    {"prune.unit": "n_of_m", "prune.group": 16, "prune.budget": "uniform"},
    {"prune.criterion": "magnitude", **CHANNELS},
    {"prune.criterion": "diff_pruning", **CHANNELS},
    {"prune.criterion": "hsic", **CHANNELS},
    # masks that move during training
    {"regime.name": "set", **SPARSE},
    {"regime.name": "rigl", **SPARSE},
    {"regime.name": "gradual"},
    {"regime.name": "rst", **SPARSE},
    # layer schedules
    {"prune.budget": "uniform"},
    {"prune.budget": "erk"},
    {"prune.budget": "lamp"},
    {"prune.budget": "sensitivity"},
    {"prune.budget": "hsic"},
    {"prune.budget": "ramp", "prune.slope": 1.0},
    {"prune.budget": "ramp", "prune.slope": -1.0},
    {"prune.budget": "cka", "prune.gamma": 1.0},
    {"prune.budget": "cka", "prune.gamma": -1.0},
    {"prune.budget": "cka", "prune.between": "dense"},
    # the mask as soon as it has settled, and one rung further down
    {"prune.early": 0.3},
    {"prune.ladder": (0.5, 0.25, 0.125, 0.0625, LOW)},
    {"regime.name": "rst", **SPARSE, "prune.ladder": (0.25, LOW)},
]

STUDY = Grid(
    name="pruning_methods",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    points=lambda config: METHODS,
    arms=lambda config: [
        *against("reinit", "shuffle", rungs=(2, -1)),
        *against("equal_compute", rungs=(-1,)),
    ],
    references=lambda config: [longer(config)],
    words={"measure.samples": 0, "prune.least": 0.005, **LEAN},  # no ranking cuts a layer away
    smoke={
        "train.steps": 50,
        "prune.ladder": (0.5, 0.125),
        "measure.images": 100,
        "prune.images": 32,
        "prune.terms": 4,
    },
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
