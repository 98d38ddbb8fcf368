"""A recorded ticket that leaves its store: the trained network of a round, and where it begins."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from lthray.config.trial import TrialConfig
from lthray.core.record import Round, TrialRecord
from lthray.core.ticket import Mask, Ticket
from lthray.core.ticket_file import read_ticket
from lthray.trial.workshop import Encoded, Run


@dataclass(frozen=True)
class Taken:
    """One round of a recorded trial."""

    trial: TrialRecord
    round: Round
    """What was measured."""
    config: TrialConfig
    run: Run
    """The training run whose end was measured."""
    about: Mapping[str, Any]
    """Facts of the call that recorded it: study, command, version and commit."""

    @cached_property
    def network(self) -> nn.Module:
        """The trained network, with averaged weights; without the channels that are cut.

        It is trained again only where the store no longer holds its end.
        """
        return self.run.network().eval()

    @property
    def mask(self) -> Mask:
        """Which weights are kept; empty for a dense network."""
        return self.run.cut.mask

    @property
    def is_small(self) -> bool:
        """Whether channels are cut, so that the network is smaller and not merely sparse."""
        return bool(self.run.cut.cover)

    @property
    def latents(self) -> Encoded | None:
        """What the network was trained on, where that is latents."""
        images = self.run.images
        return images if isinstance(images, Encoded) else None

    def ticket(self) -> bytes:
        """Return its ticket file with the weights from which it begins."""
        begin = self.run.masked_begin()
        ticket = Ticket(self.mask, begin.weights, begin.step, begin.buffers)
        _, facts = read_ticket(self.round.files["ticket"])
        own = {key: value for key, value in facts.items() if key not in ("shapes", "start")}
        return ticket.to_bytes(own, with_weights=True)
