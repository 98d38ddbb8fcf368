"""Are tickets as robust as a dense network that is as good? Noise, corruption, attack, rounding.

    python studies/robustness.py   digits, 2 cores, fifty minutes
    python analysis/robustness.py  robustness at matched clean error

Each network is measured under twelve stressors: more and less noise than it is told, corrupted
images, attacks in two norms, noise on its weights, rounded weights, and noise in its sampler. A
worse denoiser looks more robust in ratio, so each is set beside eleven dense networks of its seed,
trained for a quarter to twice of the steps, at equal clean error. Shuffled and re-initialised
masks, small dense networks and a second dense network stand beside the tickets. Cost: 24 training
runs a seed; measuring takes three times as long. Expect: tickets are as robust as a dense network
of their error. Where a stressor hardly harms the dense network, or dense networks of two budgets
differ under it, nothing is claimed.
"""

import sys

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.study.comparators import AGAIN, LEAN, against
from lthray.study.page import Grid
from lthray.study.space import Words

# shares of the steps of dense networks that are set beside every other; .6 is the calibration
SHARES = (0.25, 0.35, 0.5, 0.6, 0.7, 0.85, 1.2, 1.4, 1.7, 2.0)


def beside(config: TrialConfig) -> list[Words]:
    """Return dense networks of other training budgets, and a second one of the trial's own."""
    listed: list[Words] = [AGAIN]
    for share in SHARES:
        steps = max(round(share * config.train.steps), 1)
        listed.append({"train.steps": steps, "prune.ladder": (), "measure.rounds": (0,)})
    return listed


STUDY = Grid(
    name="robustness",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4, 5),
    points=lambda config: [{}],
    arms=lambda config: against("shuffle", "reinit", "small_dense"),
    references=beside,
    words={
        "measure.samples": 0,
        "measure.split": "test",
        "measure.robust": 100,
        "prune.ladder": (0.25, 0.0625),
        **LEAN,
    },
    smoke={
        "train.steps": 20,
        "prune.ladder": (0.25,),
        "measure.images": 50,
        "measure.timesteps": 4,
        "measure.robust": 10,
        "measure.attack": 2,
    },
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
