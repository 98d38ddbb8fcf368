"""How often do winning tickets exist? A fixed design over recipes, crossed with seeds.

    python studies/frequency.py                        digits, two CPU cores, two hours
    python studies/frequency.py --smoke                the same pipeline in under 90 seconds
    python analysis/ticket_frequency.py --experiment frequency.digits

The design has 2^4 points of a scrambled Sobol sequence over architecture (DDPM, LDM), criterion,
layer schedule with its dials, rewind rule and point, and learning rate. Each point is run on every
seed, with its re-initialised and its shuffled masks at every rung of one ladder. Nothing is
searched: no outcome decides what is tried next and no trial is stopped early. So the share of
winning tickets is an estimate for this space of recipes, which an adaptive search would flatter.
Cost: 16 recipes x seeds x 3 arms x rungs training runs. Expect, on digits: masks of magnitude over
rewound weights always win, down to an eighth of the weights; those of taylor down to a quarter;
those of movement or random ones hardly ever, and weights drawn anew (rule random) never.
"""

import sys

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.study.comparators import against, spaces
from lthray.study.page import Design
from lthray.study.space import Choice, Range, Space


def space(config: TrialConfig) -> Space:
    """Return the space: architecture, criterion, layer schedule, rewinding and learning rate."""
    blocks = 2 * len(config.model.channels) + 1  # down blocks, the middle, up blocks
    sampled = ("prune.budget", ("sampled",))
    dials = {f"prune.dials.{block}": Range(-1.0, 1.0, when=sampled) for block in range(blocks)}
    late = ("rewind.rule", ("late",))
    lr = config.train.lr
    return {
        "objective.name": Choice(spaces(config)),
        "prune.criterion": Choice(("magnitude", "movement", "taylor", "random")),
        "prune.budget": Choice(("overall", "lamp", "erk", "uniform", "ramp", "sampled")),
        "prune.slope": Range(-1.5, 1.5, when=("prune.budget", ("ramp",))),
        **dials,
        "rewind.rule": Choice(("late", "init", "random")),
        "rewind.fraction": Range(0.01, 0.4, log=True, when=late),
        "train.lr": Range(lr / 4, lr * 2, log=True),
    }


STUDY = Design(
    name="frequency",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    space=space,
    size=4,
    arms=lambda config: against("reinit", "shuffle"),
    words={"measure.samples": 0, "prune.least": 0.005},  # no ranking cuts a layer away
    smoke={
        "latent.steps": 50,
        "train.steps": 50,
        "prune.ladder": (0.5, 0.1),
        "measure.images": 100,
    },
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
