"""How does the verdict move with the training budget? One recipe at half, once and twice the steps.

    python studies/budget.py             digits, 2 cores, forty minutes
    python analysis/ticket_frequency.py  a verdict for each budget

The literature claims winning tickets at 90 to 99 % sparsity (Jiang et al. 2023, arXiv 2310.18823).
So the ladder goes down to 1 % of the weights, with controls at densities 0.1, 0.02 and 0.01. The
recipe is the same at every budget: global magnitude, late rewinding to the same share of the
training. Each budget has its own dense networks, of which one of equal compute stands beside the
last rung. The dense network of twice the steps tells whether one was undertrained, which flatters
whatever learns faster (Ma et al. 2021, arXiv 2107.00166). Cost: 245 training runs for five seeds
and 3 budgets. Expect: tickets lose ground as the budget grows.
"""

import sys

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.study.comparators import LEAN, against, twins
from lthray.study.page import Grid
from lthray.study.space import Words

WITH_CONTROLS = (3, 5, 6)  # rungs at densities 0.1, 0.02 and 0.01


def budgets(config: TrialConfig) -> list[Words]:
    """Return half, once and twice the steps of the preset."""
    steps = config.train.steps
    return [{"train.steps": budget} for budget in (steps // 2, steps, 2 * steps)]


def arms(config: TrialConfig) -> list[Words]:
    """Return the ticket and its controls; on a shorter ladder they are at every rung."""
    whole = len(config.prune.ladder) > 5
    graded = WITH_CONTROLS if whole else ()
    return [
        *against("reinit", "shuffle", rungs=graded),
        *against("equal_compute", rungs=(-1,)),
        *twins("reinit", "shuffle"),
    ]


STUDY = Grid(
    name="budget",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    points=budgets,
    arms=arms,
    references=lambda config: [{"train.steps": 4 * config.train.steps, "prune.ladder": ()}],
    words={"measure.samples": 0, "prune.ladder": (0.5, 0.25, 0.1, 0.05, 0.02, 0.01), **LEAN},
    smoke={"train.steps": 40, "prune.ladder": (0.5, 0.1), "measure.images": 100},
    surface=("train.steps", "loss/excess"),
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
