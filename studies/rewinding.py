"""To which step must a ticket be rewound? The surface of excess loss over (density x k).

    python studies/rewinding.py                    digits, two CPU cores, about a quarter of an hour
    python analysis/rewinding.py                   surface, barriers, stable against matching

One recipe (global magnitude, one ladder) is rewound to step k, from 0 to 40 % of the training,
crossed with seeds. All trials of a seed share its dense run, which keeps a checkpoint at every k.
Rewinding later leaves fewer steps after it: k and the steps that are left move together here. There
are controls at two rungs. The dense network from each k, and tickets, are also trained once more on
another stream, so that the error barrier between two runs from one checkpoint tells whether
training is stable there. Cost: seeds x 6 points x 11 training runs. Expect: small k > 0 better than
k = 0 (Frankle et al. 2020, arXiv 1912.05671), late k worse again.
"""

import sys

from lthray.cli import study
from lthray.study.comparators import against, forked, longer
from lthray.study.page import Grid
from lthray.study.space import Words

K = (0.02, 0.05, 0.1, 0.2, 0.4)  # shares of the training
POINTS: list[Words] = [
    {"rewind.rule": "init", "rewind.fraction": 0.0},
    *({"rewind.rule": "late", "rewind.fraction": k} for k in K),
]

STUDY = Grid(
    name="rewinding",
    about=__doc__,
    seeds=(0, 1, 2),
    points=lambda config: POINTS,
    arms=lambda config: [*against("reinit", "shuffle", rungs=(2, -1)), *forked(1, -1)],
    references=lambda config: [longer(config)],
    words={"measure.rounds": (0,)},
    smoke={
        "train.steps": 50,
        "prune.ladder": (0.5, 0.1),
        "measure.images": 100,
        "measure.samples": 320,
    },
    surface=("rewind.fraction", "loss/excess"),
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
