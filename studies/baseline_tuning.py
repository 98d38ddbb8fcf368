"""Against which dense network should tickets be tested? Learning rate, widths, steps and batch.

    python studies/baseline_tuning.py  digits, 2 cores, five minutes
    lthray preset tuned --experiment baseline_tuning.digits
    python studies/layerwise_search.py --preset tuned

The second line makes a preset of its best network, from which every other study can begin.

`lthray preset tuned --steps 400 ...` takes the best of one training budget.

This is a search (seeded TPE) over dense networks alone. The score is the held-out loss of the
averaged weights on one evaluation set, so data and objective are the same for all trials. A ticket
that beats a badly tuned network says nothing (Ma et al. 2021, arXiv 2107.00166). As a rule the loss
falls with width and steps, so the closing table gives the best network of every training budget
with what it cost. Giving a word (--train.steps 400) fixes it. Cost: trials x at most twice the
preset's steps. Expect, on digits: a lower loss from more steps, from batches twice as large, and
from a first level wider than the preset's.
"""

import sys

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.study.page import Search
from lthray.study.space import Choice, Dial, Range, Space


def space(config: TrialConfig) -> Space:
    """Return what is searched: half, once and twice what the preset has.

    Widths vary level by level, as far as the groups of the norms divide them.
    """
    steps, batch, lr = config.train.steps, config.train.batch, config.train.lr
    return {
        "train.lr": Range(lr / 4, lr * 4, log=True),
        **widths(config),
        "train.steps": Choice((steps // 2, steps, 2 * steps)),
        "train.ema": Choice((0.03, 0.1, 0.2)),
        "train.batch": Choice((batch // 2, batch, 2 * batch)),
    }


def widths(config: TrialConfig) -> dict[str, Dial]:
    """Return the widths of each level that are tried."""
    dials: dict[str, Dial] = {}
    for level, width in enumerate(config.model.channels):
        half = width // 2
        wider = (2 * half, 4 * half)
        divided = half % config.model.groups == 0
        dials[f"model.channels.{level}"] = Choice((half, *wider) if divided else wider)
    return dials


STUDY = Search(
    name="baseline_tuning",
    about=__doc__,
    seeds=(0,),
    trials=16,
    startup=8,
    space=space,
    words={"prune.ladder": (), "measure.rounds": (0,), "measure.samples": 0},
    smoke={"train.steps": 40, "measure.images": 100},
    smoke_trials=3,
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
