"""How does the verdict move with the training budget? One recipe at half, once and twice the steps.

    python studies/budget.py                       digits, two CPU cores, about a quarter of an hour
    python analysis/ticket_frequency.py --experiment budget.digits --by train.steps

The same recipe (global magnitude, late rewinding to the same share of the training) with its controls, each budget against
its own dense networks; the dense network of twice the steps tells whether one was undertrained, which flatters whatever
learns faster (Ma et al. 2021, arXiv 2107.00166). Cost: seeds x 3 budgets x 3 arms x rungs runs. Expect: tickets lose ground
as the budget grows.
"""

import sys

from lthray.arms import against
from lthray.call import Study
from lthray.cli import study

STUDY = Study(
    name="budget",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    points=lambda config: [
        {"train.steps": steps} for steps in (config.train.steps // 2, config.train.steps, 2 * config.train.steps)
    ],
    arms=lambda config: against("reinit", "shuffle"),
    references=lambda config: [{"train.steps": 4 * config.train.steps, "prune.ladder": ()}],
    words={"measure.samples": 0},
    smoke={"train.steps": 40, "prune.ladder": (0.5, 0.1), "measure.images": 100},
    surface=("train.steps", "loss/excess"),
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
