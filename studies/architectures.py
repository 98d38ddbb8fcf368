"""Do tickets behave alike in latent diffusion and in pixels? One recipe and one trunk in both.

    python studies/architectures.py   digits, 2 cores, half an hour
    python analysis/architectures.py  interaction and equivalence

The network is the same U-Net but for its first and last layer. It is trained for as many steps on
images (DDPM; Ho et al. 2020) and on the latents of an autoencoder that is trained once (LDM;
Rombach et al. 2022), on the same seeds. Each ticket is compared with its own dense network, with
its re-initialised and shuffled masks at every rung, and with a second dense network. It is also
compared with a dense network of twice the steps and, at the last rung, with one of equal compute.
Cost: 182 training runs for five seeds and 2 spaces. Expect: tickets win in both spaces; they differ
in how sparse a winning ticket can be.
"""

import sys

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.study.comparators import AGAIN, LEAN, against, longer, twins
from lthray.study.page import Grid
from lthray.study.space import Words

SPACES: list[Words] = [{"objective.name": "denoise"}, {"objective.name": "latent_denoise"}]
GREY = {"data.side": 32}  # 28 leaves latents that three levels cannot halve


def references(config: TrialConfig) -> list[Words]:
    """Return the dense references, once in each space."""
    dense = (AGAIN, longer(config))
    return [{**words, **space} for space in SPACES for words in dense]


STUDY = Grid(
    name="architectures",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    points=lambda config: SPACES,
    arms=lambda config: [
        *against("reinit", "shuffle"),
        *against("equal_compute", rungs=(-1,)),
        *twins("reinit", "shuffle"),
    ],
    references=references,
    words=LEAN,
    presets={"mnist": GREY, "fashion_mnist": GREY},
    smoke={
        "latent.steps": 50,
        "train.steps": 50,
        "prune.ladder": (0.5, 0.1),
        "measure.images": 100,
        "measure.samples": 320,
        "measure.sampling_steps": (5,),
    },
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
