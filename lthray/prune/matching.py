"""Matching: which channel of one network answers as a channel of another does.

Two networks that were trained from other weights may compute the same with their channels in
another order. Channels are matched group by group, so that the sum of their correlations over
images and positions is largest (Li et al. 2015, arXiv 1511.07543; Ainsworth et al. 2023, arXiv
2209.04836), by linear assignment. Where a norm sees several channels as one, channels that stand in
one of its groups stay together: the best order within each pair of groups is found first, and then
the best pairs.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lthray.prune.coupling import Coupling

TINY = 1e-12  # standard deviation below which a channel answers nothing


def matched(
    coupling: Coupling, mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return group -> for each of its channels here, the channel there that answers most alike.

    `mine` and `theirs` are the answers of both networks to the same inputs, group ->
    [observations, channels].
    """
    orders = {}
    for group in coupling.groups:
        alike = correlations(mine[group.name], theirs[group.name])
        orders[group.name] = assigned(alike, group.step)
    return orders


def correlations(mine: Tensor, theirs: Tensor) -> Tensor:
    """Return the correlation of each channel here with each there, [channels, channels].

    Both are [observations, channels]. A channel that does not vary correlates with none.
    """
    here, there = _standard(mine), _standard(theirs)
    return here.T @ there / len(here)


def assigned(alike: Tensor, together: int = 1) -> Tensor:
    """Return for each row the column that it is assigned to, [n], so that the sum is largest.

    `alike` is [n, n]. Rows of one block of so many `together` go to columns of one block.
    """
    import scipy.optimize  # a worker that matches nothing does not load it

    blocks = len(alike) // together
    if blocks == 1 or together == 1:
        _, columns = scipy.optimize.linear_sum_assignment(alike.numpy(), maximize=True)
        return torch.from_numpy(columns)
    worth, within = torch.zeros(blocks, blocks, dtype=alike.dtype), {}
    for row in range(blocks):
        for column in range(blocks):
            here = slice(row * together, (row + 1) * together)
            there = slice(column * together, (column + 1) * together)
            order = assigned(alike[here, there])
            within[row, column] = order
            worth[row, column] = alike[here, there].gather(1, order[:, None]).sum()
    parts = []
    for row, column in enumerate(assigned(worth).tolist()):
        parts.append(column * together + within[row, column])
    return torch.cat(parts)


def _standard(answers: Tensor) -> Tensor:
    """Each channel less its mean, in standard deviations."""
    centred = answers.double() - answers.double().mean(0)
    return centred / centred.std(0, correction=0).clamp_min(TINY)
