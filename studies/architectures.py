"""Does it hold for latent diffusion as it does in pixels? One recipe, one trunk, in both spaces, on the same seeds.

    python studies/architectures.py                      digits, two CPU cores, about half an hour
    python analysis/architectures.py                     interaction and equivalence

The same U-Net but for its first and last layer, trained for as many steps on images (DDPM; Ho et al. 2020) and on the latents
of an autoencoder that is trained once (LDM; Rombach et al. 2022), each ticket against its own dense network, with its
re-initialised and shuffled masks at every rung, a second dense network and one of twice the steps. Cost: 2 spaces x seeds x 15
runs. Expect: tickets win in both; what differs is how sparse.
"""

import sys

from lthray.cli import study
from lthray.study.call import Study
from lthray.study.comparators import AGAIN, against, longer

SPACES = ({"objective.name": "denoise"}, {"objective.name": "latent_denoise"})
GREY = {"data.side": 32}  # 28 leaves latents that three levels cannot halve

STUDY = Study(
    name="architectures",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4),
    points=lambda config: list(SPACES),
    arms=lambda config: against("reinit", "shuffle"),
    references=lambda config: [{**words, **space} for space in SPACES for words in (AGAIN, longer(config))],
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
