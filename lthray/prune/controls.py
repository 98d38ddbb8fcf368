"""What else is trained in a ticket's place: (ticket, fresh weights, seed) -> Ticket.

A control changes only what is trained at a rung; the chain of masks follows the uncontrolled trajectory. The ticket's
weights come whole, before the mask is applied, so that a control may keep others than the ticket does.
"""

from collections.abc import Callable

import torch

from lthray.seeds import generator
from lthray.ticket import Mask, Ticket, Weights


def reinit(ticket: Ticket, fresh: Weights, seed: int) -> Ticket:
    """The same mask over a new initialisation, trained for the whole schedule (Frankle and Carbin 2019)."""
    return Ticket(ticket.mask, fresh, 0)


def shuffle(ticket: Ticket, fresh: Weights, seed: int) -> Ticket:
    """The mask permuted within each layer, so layer densities stay (Frankle et al. 2021, arXiv 2009.08576)."""
    shuffled = {}
    for name, mask in ticket.mask.items():
        order = torch.randperm(mask.numel(), generator=generator("shuffle", seed, name))
        shuffled[name] = mask.flatten()[order].reshape(mask.shape)
    return Ticket(Mask(shuffled), ticket.weights, ticket.start)


CONTROLS: dict[str, Callable[[Ticket, Weights, int], Ticket]] = {"reinit": reinit, "shuffle": shuffle}
