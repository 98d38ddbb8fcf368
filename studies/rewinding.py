"""To which step must a ticket be rewound? The surface of excess loss over (density x k).

    python studies/rewinding.py   digits, 2 cores, fifty minutes
    python analysis/rewinding.py  surface, barriers, stable against matching

One recipe (global magnitude, one ladder) is rewound to step k, from 0 to 40 % of the training,
crossed with seeds. All trials of a seed share its dense run, which keeps a checkpoint at every k.
Rewinding later leaves fewer steps after it: k and the steps that are left move together here. There
are controls at two rungs. The dense network from each k, and tickets, are also trained once more on
another stream, so that the error barrier between two runs from one checkpoint tells whether
training is stable there. The ladder goes down to 0.01, where tickets no longer match: only there
can stability be tested at all. Beside it stands the barrier between the solutions of successive
rungs (Paul et al. 2023, arXiv 2210.03044). Expect: small k > 0 better than k = 0 (Frankle et al.
2020, arXiv 1912.05671), late k worse again.
"""

import sys

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.study.comparators import LEAN, against, forked, longer, twins
from lthray.study.page import Grid
from lthray.study.space import Words

K = (0.02, 0.05, 0.1, 0.2, 0.4)  # shares of the training
POINTS: list[Words] = [
    {"rewind.rule": "init", "rewind.fraction": 0.0},
    *({"rewind.rule": "late", "rewind.fraction": k} for k in K),
]


def graded(config: TrialConfig) -> tuple[int, ...]:
    """Return the rungs with controls: one that matches as a rule, and the last."""
    return (3, -1) if len(config.prune.ladder) > 3 else (-1,)


STUDY = Grid(
    name="rewinding",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    points=lambda config: POINTS,
    arms=lambda config: [
        *against("reinit", "shuffle", rungs=graded(config)),
        *forked(1, -1),
        *twins("reinit", "shuffle"),
    ],
    references=lambda config: [longer(config)],
    words={
        "measure.rounds": (0,),
        "measure.samples": 0,
        "measure.connected": True,
        "prune.ladder": (0.5, 0.25, 0.1, 0.05, 0.02, 0.01),
        **LEAN,
    },
    smoke={
        "train.steps": 50,
        "prune.ladder": (0.5, 0.1),
        "measure.images": 100,
    },
    surface=("rewind.fraction", "loss/excess"),
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
