"""How often do winning tickets exist? A fixed design over recipes, crossed with seeds; nothing is searched.

    python studies/frequency.py                        digits, two CPU cores, two hours
    python studies/frequency.py --smoke                the same pipeline in under 90 seconds
    python analysis/ticket_frequency.py --experiment frequency.digits

2^4 points of a scrambled Sobol sequence over architecture (DDPM, LDM), criterion, layer schedule with its dials, rewind rule
and point, and learning rate, each on every seed, with its re-initialised and its shuffled masks at every rung of one
ladder. No outcome decides what is tried next and none is stopped early, so that the share of winning tickets is an
estimate for this space of recipes: an adaptive search would flatter it. Cost: 16 recipes x seeds x 3 arms x rungs runs.
Expect, on digits: always for masks of magnitude over rewound weights, down to an eighth; for those of taylor down to a
quarter; hardly ever for those of movement or for random ones, and never for weights drawn anew (rule random).
"""

import sys

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.study.call import Study
from lthray.study.comparators import against, spaces
from lthray.study.space import Choice, Range, Space


def space(config: TrialConfig) -> Space:
    """Architecture x criterion x layer schedule and its dials x rewind rule and point x learning rate."""
    blocks = 2 * len(config.model.channels) + 1  # down blocks, the middle, up blocks
    dials: Space = {f"prune.dials.{i}": Range(-1.0, 1.0, when=("prune.budget", ("sampled",))) for i in range(blocks)}
    return {
        "objective.name": Choice(spaces(config)),
        "prune.criterion": Choice(("magnitude", "movement", "taylor", "random")),
        "prune.budget": Choice(("overall", "lamp", "erk", "uniform", "ramp", "sampled")),
        "prune.slope": Range(-1.5, 1.5, when=("prune.budget", ("ramp",))),
        **dials,
        "rewind.rule": Choice(("late", "init", "random")),
        "rewind.fraction": Range(0.01, 0.4, log=True, when=("rewind.rule", ("late",))),
        "train.lr": Range(config.train.lr / 4, config.train.lr * 2, log=True),
    }


STUDY = Study(
    name="frequency",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    space=space,
    design=4,
    arms=lambda config: against("reinit", "shuffle"),
    words={"measure.samples": 0, "prune.least": 0.005},  # no ranking cuts a layer away
    smoke={"latent.steps": 50, "train.steps": 50, "prune.ladder": (0.5, 0.1), "measure.images": 100},
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
