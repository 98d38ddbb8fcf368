"""Which way of cutting finds the better tickets? Criteria, at initialisation, layer schedules, N of M, channels, moving masks.

    python studies/pruning_methods.py                            digits, two CPU cores, an hour
    python analysis/pruning_methods.py                           which win and which lose

Every method goes down the same ladder on the same seeds, from the same dense networks, its tickets trained for as many steps;
it differs from the others in what it cuts, when it looks, or what its mask does in training, and in nothing else. Those that
were published for the initial weights are also tried there (rewind rule init, scored before training). Each has its
re-initialised and shuffled masks at two rungs: where these are as good, the method found layer densities and no more. Cost:
methods x seeds x 8 runs. Expect: magnitude hard to beat; pruning at initialisation behind it and no better than its own
shuffled masks (Frankle et al. 2021, arXiv 2009.08576); moving masks good where little is left.
"""

import sys

from lthray.cli import study
from lthray.study.call import Study
from lthray.study.comparators import Words, against, longer

CRITERIA = ("magnitude", "movement", "magnitude_increase", "taylor", "diff_pruning", "sensitivity", "hsic", "random")
AT_START: Words = {"rewind.rule": "init", "rewind.fraction": 0.0, "prune.scored": "rewound"}
SPARSE: Words = {"rewind.rule": "init", "rewind.fraction": 0.0, "prune.criterion": "random", "prune.budget": "erk"}

LOW = 0.02  # where the dual lottery claims most
METHODS: list[Words] = [
    *({"prune.criterion": name} for name in CRITERIA),
    *({"prune.criterion": name, **AT_START} for name in ("snip", "grasp")),
    {"prune.criterion": "synflow", "prune.scoring_steps": 25, **AT_START},
    {"prune.unit": "n_of_m", "prune.group": 16, "prune.budget": "uniform"},
    *({"prune.unit": "channel", "prune.criterion": name, "prune.least": 0.0} for name in ("magnitude", "diff_pruning", "hsic")),
    *({"regime.name": name, **SPARSE} for name in ("set", "rigl")),
    {"regime.name": "gradual"},
    {"regime.name": "rst", **SPARSE},
    *({"prune.budget": name} for name in ("uniform", "erk", "lamp", "sensitivity", "hsic")),
    *({"prune.budget": "ramp", "prune.slope": slope} for slope in (1.0, -1.0)),
    *({"prune.budget": "cka", "prune.gamma": gamma} for gamma in (1.0, -1.0)),
    {"prune.budget": "cka", "prune.between": "dense"},
    {"prune.early": 0.3},
    {"prune.ladder": (0.5, 0.25, 0.125, 0.0625, LOW)},
    {"regime.name": "rst", **SPARSE, "prune.ladder": (0.25, LOW)},
]

STUDY = Study(
    name="pruning_methods",
    about=__doc__,
    seeds=(0, 1, 2),
    points=lambda config: METHODS,
    arms=lambda config: against("reinit", "shuffle", rungs=(2, -1)),
    references=lambda config: [longer(config)],
    words={"measure.samples": 0, "prune.least": 0.005},  # no ranking cuts a layer away
    smoke={"train.steps": 50, "prune.ladder": (0.5, 0.125), "measure.images": 100, "prune.images": 32, "prune.terms": 4},
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
