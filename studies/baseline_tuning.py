"""Which dense network, trained how, should tickets be asked of: learning rate, width, steps, average, batch.

    python studies/baseline_tuning.py                                    digits, two CPU cores, five minutes
    lthray preset tuned --experiment baseline_tuning.digits              its best becomes a preset (--steps 400: of that budget)
    python studies/layerwise_search.py --preset tuned                    and every other study begins from it

A search (seeded TPE) over dense networks alone; the score is the held-out loss of the average on one panel, so data and
objective are the same for all. A ticket that beats a badly tuned network says nothing (Ma et al. 2021, arXiv 2107.00166).
The loss falls with width and steps as a rule, so the table gives the best of every training budget with what it cost; giving
a word (--train.steps 400) fixes it. Cost: trials x at most twice the preset's steps. Expect, on digits: a lower loss
from more steps, from batches twice as large, and from a first level wider than the preset's.
"""

import sys

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.study.call import Study
from lthray.study.space import Choice, Range, Space


def space(config: TrialConfig) -> Space:
    """Half, once and twice what the preset has; widths level by level, as far as the groups of its norms divide them."""
    steps, batch, lr = config.train.steps, config.train.batch, config.train.lr
    halves = {i: width // 2 for i, width in enumerate(config.model.channels)}
    widths = {i: [half] * (half % config.model.groups == 0) + [2 * half, 4 * half] for i, half in halves.items()}
    return {
        "train.lr": Range(lr / 4, lr * 4, log=True),
        **{f"model.channels.{i}": Choice(tuple(choices)) for i, choices in widths.items()},
        "train.steps": Choice((steps // 2, steps, 2 * steps)),
        "train.ema": Choice((0.98, 0.99, 0.995, 0.999)),
        "train.batch": Choice((batch // 2, batch, 2 * batch)),
    }


STUDY = Study(
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
