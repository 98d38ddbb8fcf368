"""How does the verdict move with the training budget? One recipe at half, once and twice the steps, down to 1 % of the weights.

    python studies/budget.py                       digits, two CPU cores, about twenty minutes
    python analysis/ticket_frequency.py            a verdict for each budget

The claim in the literature is of winning tickets at 90 to 99 % sparsity (Jiang et al. 2023, arXiv 2310.18823): the rungs with
controls are those at 0.1, 0.02 and 0.01. The same recipe (global magnitude, late rewinding to the same share of the training),
each budget against its own dense networks; the dense network of twice the steps tells whether one was undertrained, which
flatters whatever learns faster (Ma et al. 2021, arXiv 2107.00166). Cost: seeds x 3 budgets x 13 runs. Expect: tickets lose
ground as the budget grows.
"""

import sys

from lthray.cli import study
from lthray.study.call import Study
from lthray.study.comparators import against

STUDY = Study(
    name="budget",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    points=lambda config: [
        {"train.steps": steps} for steps in (config.train.steps // 2, config.train.steps, 2 * config.train.steps)
    ],
    arms=lambda config: against("reinit", "shuffle", rungs=(3, 5, 6) if len(config.prune.ladder) > 5 else ()),
    references=lambda config: [{"train.steps": 4 * config.train.steps, "prune.ladder": ()}],
    words={"measure.samples": 0, "prune.ladder": (0.5, 0.25, 0.1, 0.05, 0.02, 0.01)},
    smoke={"train.steps": 40, "prune.ladder": (0.5, 0.1), "measure.images": 100},
    surface=("train.steps", "loss/excess"),
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
