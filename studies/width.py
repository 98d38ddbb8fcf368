"""How sparse a ticket can be: is it a matter of capacity? One recipe at half, once and twice the
channels.

    python studies/width.py   digits, 2 cores, forty minutes
    python analysis/width.py  the sparsest ticket that matches, by width

The recipe is the same at every width (global magnitude, late rewinding), and so are the training
budget and the learning rate. Each width has its own dense networks: one of equal compute, a second
one on another stream (what chance does), and one of twice the steps (is the reference converged).
If what a ticket needs is a number of weights, then the sparsest density that matches halves as the
weights double. If it needs a share of them, that density stays. Expect: tickets of wide networks
match at lower densities, since a wide network has more to spare.
"""

import sys

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.study.comparators import AGAIN, LEAN, against, longer, twins
from lthray.study.page import Grid
from lthray.study.space import Words

WITH_CONTROLS = (3, 5)  # rungs at densities 0.1 and 0.02


def widths(config: TrialConfig) -> list[Words]:
    """Return half, once and twice the channels of the preset."""
    half = {"model.channels": tuple(max(c // 2, 1) for c in config.model.channels)}
    twice = {"model.channels": tuple(2 * c for c in config.model.channels)}
    return [half, {"model.channels": config.model.channels}, twice]


def arms(config: TrialConfig) -> list[Words]:
    """Return the ticket and its controls; on a shorter ladder they are at its last rung."""
    whole = len(config.prune.ladder) > 4
    graded = WITH_CONTROLS if whole else (-1,)
    return [
        *against("reinit", "shuffle", "equal_compute", rungs=graded),
        *twins("reinit", "shuffle"),
    ]


def references(config: TrialConfig) -> list[Words]:
    """Return the dense references, once for each width."""
    dense = (AGAIN, longer(config))
    return [{**words, **width} for width in widths(config) for words in dense]


STUDY = Grid(
    name="width",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    points=widths,
    arms=arms,
    references=references,
    words={
        "measure.samples": 0,
        "measure.split": "test",
        "prune.ladder": (0.5, 0.25, 0.1, 0.05, 0.02),
        **LEAN,
    },
    smoke={"train.steps": 40, "prune.ladder": (0.5, 0.1), "measure.images": 100},
    surface=("model.channels", "loss/excess"),
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
