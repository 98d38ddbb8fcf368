"""How often do winning tickets exist? A crossed design over recipes and seeds.

    python studies/frequency.py                     digits
    python studies/frequency.py --smoke             a corner of it
    python studies/frequency.py --rewind.rule late  half of the design
    python analysis/ticket_frequency.py --experiment frequency.digits

Architecture (DDPM, LDM), criterion, layer schedule and rewind rule are fully crossed: 16 cells.
Within each, learning rate, slope of the schedule and rewind point are a Latin hypercube of 4
points. So no word says anything of another: the largest association of any two is below .3. Each of
the 64 recipes is run on every seed, with four controls at the last rung: two shuffled masks and two
re-initialised ones. They share the chain of the ticket, and only their own training is new. If a
ticket were no better than two controls, it would be best one time in three: the base rate.

Rules that cannot win but by chance, weights drawn anew and masks drawn at random, are negative
controls. Few points have them, and no share counts them. Nothing is searched: no outcome decides
what is tried next and no trial is stopped early.

Cost, by --dry-run: 1,800 trials share 2,841 training runs of 1.1 million steps and need 4 GB. That
is two hours and three quarters on two cores at 18 ms a step. `--rewind.rule late` halves it.
"""

import sys

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.study.comparators import LEAN, drawn, spaces
from lthray.study.page import Design
from lthray.study.space import Choice, Range, Space, Words

DRAWS = 2  # shuffles, and re-initialisations, of a trajectory


def space(config: TrialConfig) -> Space:
    """Return the space: architecture, criterion, layer schedule, rewinding and learning rate."""
    lr = config.train.lr
    return {
        "objective.name": Choice(spaces(config)),
        "prune.criterion": Choice(("magnitude", "taylor")),
        "prune.budget": Choice(("overall", "ramp")),
        "rewind.rule": Choice(("late", "init")),
        "prune.slope": Range(-1.5, 1.5, when=("prune.budget", ("ramp",))),
        "rewind.fraction": Range(0.01, 0.4, log=True, when=("rewind.rule", ("late",))),
        "train.lr": Range(lr / 4, lr * 2, log=True),
    }


def arms(config: TrialConfig) -> list[Words]:
    """Return the ticket, and its controls at the end of the ladder."""
    return drawn("shuffle", "reinit", draws=DRAWS, rungs=(-1,))


STUDY = Design(
    name="frequency",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    space=space,
    each=4,
    arms=arms,
    negatives=lambda config: [{"rewind.rule": "random"}, {"prune.criterion": "random"}],
    words={
        **LEAN,
        "prune.ladder": (0.5, 0.25, 0.125),
        "prune.least": 0.005,  # no ranking cuts a layer away
        "measure.samples": 0,
        "measure.checkpoints": 2,  # the page of a design reads no learning curve
    },
    smoke={
        "latent.steps": 50,
        "train.steps": 50,
        "prune.ladder": (0.5, 0.1),
        "measure.images": 100,
    },
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
