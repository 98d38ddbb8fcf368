"""Aligning: a mask of another network, permuted to where this network has the same channels."""

from dataclasses import replace

import torch
from torch import Tensor

from lthray.config.parts import Prune
from lthray.config.spec import part_of
from lthray.prune import responses
from lthray.prune.matching import matched
from lthray.trial.cutting import Cutting
from lthray.trial.state import Cut
from lthray.trial.steps import Step
from lthray.trial.workshop import Implied, Parents, Run, Work, cut_of


def align(step: Step, parents: Parents, implied: Implied, work: Work) -> Cut:
    """Permute the mask of another network, the third parent, to the channels of this one.

    The first two parents are this dense network and the other, at their ends. Both answer to the
    same training images of this one.
    """
    mine, theirs, lent = parents
    cut = cut_of(lent)
    prune = part_of(Prune, "prune", step.spec)
    coupling = mine.workshop.coupling(prune.layers)
    cutting = Cutting(mine, prune, 1.0, step.spec["seed"], 0)
    names = [group.name for group in coupling.groups]
    orders = matched(coupling, *(answers(run, names, cutting) for run in (mine, theirs)))
    return replace(cut, mask=coupling.permuted(cut.mask, orders))


def answers(run: Run, names: list[str], cutting: Cutting) -> dict[str, Tensor]:
    """Return layer -> what a dense network answers to the images of `cutting`, [observations,
    channels]; an observation is a position of an image at a timestep."""
    network = run.network()
    probe = cutting.probe(network, cutting.examples())
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for outputs, _ in responses.activations(network, names, probe):
        for name in names:
            parts[name].append(outputs[name].transpose(1, 2).flatten(0, 1).cpu())
    return {name: torch.cat(seen) for name, seen in parts.items()}
