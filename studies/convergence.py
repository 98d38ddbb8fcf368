"""Do tickets survive a converged dense network, and one of equal compute?

    python studies/convergence.py --train.steps 400   digits, five minutes
    python studies/convergence.py --train.steps 1600  one budget a call
    python analysis/convergence.py                    verdict against budget

One recipe (global magnitude, late rewinding to the same share of the training) at one training
budget S. A ticket is set beside three dense networks: its own, of S steps; one that was trained for
as many steps as finding and training the ticket took (Liu et al. 2019, arXiv 1810.05270); and, in
the analysis, the converged one, which is the shortest of the budgets tried at which twice the steps
gain less than 3 % (Ma et al. 2021, arXiv 2107.00166). At two rungs it has all its controls: the
shuffled mask, new weights, and a narrower dense network with the best of three learning rates.

Budgets share what they can: the dense network of twice the steps is the next budget's own. Cost:
seeds x 21 training runs, with as many steps as 27 runs of S. Expect: the advantage of tickets
shrinks with every doubling.
"""

import sys

from lthray.cli import study
from lthray.study.comparators import AGAIN, against, longer, twins
from lthray.study.page import Grid

GRADED = (2, 4)  # rungs with controls: densities 0.25 and 0.0625

STUDY = Grid(
    name="convergence",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    points=lambda config: [{}],
    arms=lambda config: [
        *against("reinit", "shuffle", "small_dense", "equal_compute", rungs=GRADED),
        *twins("reinit", "shuffle"),
    ],
    references=lambda config: [AGAIN, longer(config)],
    words={"measure.samples": 0, "measure.split": "test", "measure.checkpoints": 5},
    smoke={"train.steps": 40, "measure.images": 100},
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
