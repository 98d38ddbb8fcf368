"""A recorded ticket at hand: the trained network of a round, its mask, and where it begins."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lthray.config.trial import TrialConfig
from lthray.core.record import Round, TrialRecord
from lthray.core.ticket import Mask, Ticket
from lthray.core.ticket_file import read_ticket
from lthray.task.samplers import sample
from lthray.trial.workshop import Encoded, Run


def _alone(words: Mapping[str, Any], *, out: str) -> "RecordedTicket":
    raise RuntimeError("a ticket that is to be trained again comes from lthray.load")


@dataclass(frozen=True)
class RecordedTicket:
    """One round of a recorded trial: what `lthray.load` returns."""

    out: str
    """Folder whose store it lies in."""
    trial: TrialRecord
    round: Round
    """What was measured."""
    config: TrialConfig
    run: Run
    """The training run whose end was measured."""
    about: Mapping[str, Any]
    """Facts of the call that recorded it: study, command, version and commit."""
    runs: Callable[..., "RecordedTicket"] = field(default=_alone, repr=False, compare=False)
    """What runs a trial and returns its last ticket: `lthray.run_trial`."""

    def __repr__(self) -> str:
        return f"<{self.trial.name} at density {self.density:.4g}, trial {self.trial.id}>"

    @property
    def density(self) -> float:
        """Share of the weights that may be pruned which is kept, as its ladder asks for it."""
        return self.round.density

    @property
    def metrics(self) -> dict[str, float]:
        """Everything that was measured of it, by the name of the metric."""
        return dict(self.round.metrics)

    @cached_property
    def trained(self) -> nn.Module:
        """The trained network itself; `network` gives copies."""
        return self.run.network().eval()

    def network(self) -> nn.Module:
        """Return the trained network on the CPU, with averaged weights and in evaluation, without
        the channels that are cut.

        It is trained again only where the store no longer holds its end.
        """
        return copy.deepcopy(self.trained)

    def sample(
        self, images: int = 16, calls: int = 50, sampler: str = "ddim", seed: int = 0
    ) -> Tensor:
        """Return pictures [images, C, H, W] in [0, 1] that the network draws with so many calls.

        The noise is drawn from `seed`. Raises ValueError for calls that the sampler cannot make.
        """
        objective, seen = self.run.workshop.objective, self.run.images
        first = torch.Generator().manual_seed(seed)
        x = torch.randn((images, *self.run.workshop.shape), generator=first)
        made = sample(self.trained, objective, sampler, calls, x, bound=seen.bound)
        pictures = self.latents.decode(made) if self.latents else made
        return (pictures / 2 + 0.5).clamp(0, 1)

    def train(self, words: Mapping[str, Any] | None = None) -> "RecordedTicket":
        """Return the ticket trained again, from the weights with which it begins, under other
        `words` of the config such as {"train.steps": 800}.

        The trial is recorded like any other. {"rewind.rule": "late"} trains the mask from weights
        of this trial's own, drawn from the word `seed`. Raises RuntimeError where the trial fails.
        """
        file = Path(self.out) / "tickets" / f"{self.trial.id}-{self.round.index}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.ticket())
        same = self.config.canonical("data", "model", "objective", "latent", "train", "measure")
        same |= {"seed": self.config.seed, "stream": self.config.stream}
        given = {"origin": str(file), "rewind.rule": "given"}
        return self.runs({**same, **given, **(words or {})}, out=self.out)

    @property
    def tags(self) -> dict[str, str]:
        """What a registry keeps of it: where it comes from, and how sparse it is."""
        point = self.trial.point
        about = {"study": self.about["study"], "data": self.config.data.name}
        about |= {"recipe": point.recipe, "seed": str(point.seed), "trial": self.trial.id}
        return {**about, "round": str(self.round.index), "density": f"{self.density:.4g}"}

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
