"""Which recipe finds the sparsest good tickets? Method, layer schedule, rewinding, architecture.

    python studies/layerwise_search.py          digits, 2 cores, ten minutes
    python studies/layerwise_search.py --smoke  all of it, in two minutes
    python studies/layerwise_search.py --preset cifar10 --data-root DATA \\
        --gpus-per-trial 0.25 --trials 64

This is a search (seeded TPE) over whole trajectories, one a trial, in pixels or in latents. The
score is the paired excess of the ticket's held-out loss over the trial's own dense network, at each
density of one common ladder. At the second rung, the fourth, ... the better half goes on
(asynchronous successive halving). A trial that was cut short never counts as a good one.

Then the best recipe (--recipes, up to 3) is confirmed on fresh seeds (--confirm-seeds), fresh
streams and the untouched test split. Beside it run its controls at the last rung, a dense network
of equal compute (was finding the ticket worth its steps), and a second dense network a seed (what
chance does). So do a dense network of half the steps (how much samples can tell) and one of twice
the steps (is the reference converged; `--doublings 5` goes on to 32 times). Only the confirmation
is graded; how much the search flattered itself is told.

Ten minutes allow five seeds of 400 steps. Five are the fewest with which so many claims can
hold at all. At 400 steps the dense network is far from converged. So the verdict says whether a
ticket learns faster than it. It does not say whether a ticket is as good as a network that has
learnt all it can (studies/convergence.py), nor whether it is worth its steps in general.

Cost: digits, at most trials x 4 rungs of 400 steps, then what --dry-run says of the confirmation.
Expect, on digits: magnitude far ahead of random; tickets ahead of every control and of their own
dense network, behind a dense network of equal compute. An adaptive search says which recipe is
best, not how often tickets exist.
"""

import sys
from typing import get_args

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import Criterion, RegimeName, denoisers
from lthray.study.comparators import AGAIN, LEAN, against, doubled, shorter, spaces, twins
from lthray.study.page import Confirmation, Search
from lthray.study.space import Choice, Range, Space, Words

MAGNITUDE: Words = {
    "prune.budget": "overall",
    "prune.criterion": "magnitude",
    "regime.name": "static",
    "rewind.rule": "late",
    "rewind.fraction": 0.05,
}
POINTED = ("late", "lr", "tuned")  # rules with a rewind point, of those searched
FRESH = (1001, 1002, 1003, 1004, 1005)  # seeds of the confirmation


def space(config: TrialConfig) -> Space:
    """Return what is searched: architecture (DDPM, LDM), layer schedule, criterion, regime and
    rewinding."""
    blocks = 2 * len(config.model.channels) + 1  # down blocks, the middle, up blocks
    sampled = ("prune.budget", ("sampled",))
    dials = {f"prune.dials.{block}": Range(-1.5, 1.5, when=sampled) for block in range(blocks)}
    return {
        "objective.name": Choice(spaces(config)),
        "prune.budget": Choice(("overall", "lamp", "erk", "uniform", "ramp", "sampled")),
        "prune.slope": Range(-2.0, 2.0, when=("prune.budget", ("ramp",))),
        **dials,
        "prune.criterion": Choice(get_args(Criterion)),
        "regime.name": Choice(get_args(RegimeName)),
        "rewind.rule": Choice(("late", "init", "lr", "tuned", "sign", "random")),
        "rewind.fraction": Choice((0.02, 0.05, 0.1, 0.2), when=("rewind.rule", POINTED)),
    }


CONFIRMATION = Confirmation(
    seeds=FRESH,
    arms=lambda config: [
        *against(
            "reinit",
            "shuffle",
            "small_dense",
            "equal_compute",
            rungs=(-1,),
            sampled=("reinit", "shuffle"),
        ),
        *twins("reinit", "shuffle"),
    ],
    references=lambda config, doublings: [AGAIN, shorter(config), *doubled(config, doublings)],
    words={
        "measure.split": "test",
        "measure.samplers": ("ddim", "ddpm"),
        "measure.sampling_steps": (20,),
    },
    smoke={"measure.sampling_steps": (5,)},
)

STUDY = Search(
    name="layerwise_search",
    about=__doc__,
    seeds=(0,),
    trials=6,
    words={"prune.least": 0.005, **LEAN},  # least: no ranking cuts a layer away
    first=[{"objective.name": name, **MAGNITUDE} for name in denoisers()],
    space=space,
    confirm=CONFIRMATION,
    smoke_trials=3,
    smoke={
        "latent.steps": 50,
        "train.steps": 50,
        "prune.ladder": (0.5, 0.25, 0.125, 0.0625),
        "measure.images": 100,
        "measure.samples": 320,
        "measure.sampling_steps": (5,),
        "measure.timesteps": 5,
        "measure.checkpoints": 2,
    },
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
