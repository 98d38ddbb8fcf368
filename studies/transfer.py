"""Do tickets transfer: to other images, to another seed, depth or space? And what comes along?

    python studies/transfer.py   digits, 2 cores, up to two hours
    python studies/transfer.py --preset mnist --data-root DATA
    python analysis/transfer.py  a sentence and a row for each

The second line takes MNIST and Fashion-MNIST from DATA; `--data.download true` fetches them.

A ticket that was found on a source is trained on a target. Beside it stand, on every seed, the
ticket that is found on the target itself, a ticket from scrambled images, the dense network, and
one of equal compute. So do other masks over the source's weights: the source's mask shuffled, and a
random mask of the layer densities found on the target. Over the target's own weights stand the
source's mask alone, that mask shuffled, and a random mask of Erdos-Renyi densities. So it is told
apart what the mask brings, what the weights bring, and what any ticket would (Morcos et al. 2019,
arXiv 1906.02773). A source with a quarter of the images is a positive control: it should lend less.

Two further arms ask why a mask alone fails. It is permuted to the channels of the target's network
before (Adnan et al. 2025, arXiv 2505.05143), or it brings the signs of its weights and its norms
(Oh et al. 2025, arXiv 2504.05357). Cost: about 110 training runs a seed. Expect: tickets transfer
between alike images, and not to other weights.
"""

import sys
from collections.abc import Sequence

from lthray.cli import study
from lthray.config.trial import TrialConfig
from lthray.findings.transfer import RANDOM
from lthray.study.comparators import AGAIN, LEAN, against, longer, spaces
from lthray.study.page import Grid
from lthray.study.space import Words

OTHER = {
    "digits": ("digits_low", "digits_high"),
    "mnist": ("mnist", "fashion_mnist"),
    "fashion_mnist": ("fashion_mnist", "mnist"),
    "cifar10": ("cifar10", "cifar100"),
    "cifar100": ("cifar100", "cifar10"),
}
"""Images of a preset -> the two sets between which tickets are carried."""
APART = 1000  # seeds between a source and its target, where they begin from other weights
SHUFFLED: Words = {"control": "shuffle"}


def lent(*pairs: tuple[str, str], **words: object) -> Words:
    """Return the words of a source that differs in `pairs` of a word and its value."""
    return {"source.words": pairs, **{f"source.{word}": value for word, value in words.items()}}


def taken(source: Words, *, alike: bool = True) -> list[Words]:
    """Return all that is taken of a source: its tickets, masks, weights and signs.

    Channels can be matched only of networks that are `alike`.
    """
    mask = {**source, "source.takes": "mask"}
    words = [
        source,
        {**source, **SHUFFLED},
        mask,
        {**mask, **SHUFFLED},
        {**source, "source.takes": "weights", **SHUFFLED},
        {**source, "source.takes": "signs"},
    ]
    return [*words, {**mask, "source.align": "activations"}] if alike else words


def one_way(here: str, there: str) -> list[Words]:
    """Return what is trained on the images `here`: tickets from `there`, and what is beside."""
    whole, part = ("data.name", there), ("data.fraction", "0.25")
    listed = [
        *against("equal_compute"),
        RANDOM,
        lent(("data.scrambled", "true")),
        *taken(lent(whole)),
        lent(whole, part),
    ]
    return [{"data.name": here, **words} for words in listed]


def points(config: TrialConfig) -> Sequence[Words]:
    """Return both ways between two sets of images and, on the first, transfers from another seed,
    from a deeper network and from the other space, where there is one."""
    here, there = OTHER.get(config.data.name, OTHER["digits"])
    others = [
        *taken(lent(seeds=APART)),
        *taken(lent(("model.layers", str(config.model.layers + 1))), alike=False),
    ]
    for space in spaces(config):
        if space != config.objective.name:
            others += taken(lent(("objective.name", space)), alike=False)
    further = [{"data.name": here, **words} for words in others]
    return [*one_way(here, there), *one_way(there, here), *further]


def references(config: TrialConfig) -> list[Words]:
    """Return dense networks of each set of images: a second one, and one of twice the steps."""
    both = OTHER.get(config.data.name, OTHER["digits"])
    dense = (AGAIN, longer(config))
    return [{**words, "data.name": name} for name in both for words in dense]


STUDY = Grid(
    name="transfer",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4, 5),
    points=points,
    references=references,
    words={
        "measure.samples": 0,
        "measure.split": "test",
        "prune.ladder": (0.25, 0.0625),
        **LEAN,
    },
    smoke={
        "train.steps": 20,
        "latent.steps": 20,
        "prune.ladder": (0.25,),
        "measure.images": 50,
        "measure.timesteps": 4,
    },
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
