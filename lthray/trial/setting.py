"""What is the same for all rungs of a trial: data, networks, layers and the rules over them; and how weights are cut."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from lthray.config.fields import ConfigError
from lthray.config.trial import EVIDENCE, TrialConfig, input_of, layers_of, shape_of
from lthray.core.random import seed_of
from lthray.core.ticket import Mask, Probe, Scores, Ticket, TicketError, TrialFailed, Weights, alive
from lthray.prune import budgets, channels, criteria, elastic, units
from lthray.prune.controls import CONTROLS
from lthray.prune.coupling import Coupling, full, small
from lthray.prune.origin import Origin
from lthray.task import data, networks
from lthray.task.objectives import OBJECTIVES, Inputs, Task
from lthray.trial.plan import Rung
from lthray.trial.training import Learner, State

Seen = tuple[list[tuple[Inputs, Tensor]], Weights]  # inputs and what to answer, of each term; weights of before


class Collapsed(TrialFailed):
    """A layer has no weight left."""


class Setting:
    """What is the same for all rungs of a trial: data, networks, the layers and their rules."""

    def __init__(self, config: TrialConfig, device: torch.device):
        self.config, self.device = config, device

    @cached_property
    def pixels(self) -> data.Images:
        """The data set on the device."""
        return data.load(self.config.data).to(self.device)

    @cached_property
    def images(self) -> data.Images:
        """What the network works on: the data set or its latents, which a trial puts here when it has made them."""
        assert self.config.objective.name != "latent_denoise", "the latents are not made yet"
        return self.pixels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what the network works on."""
        depth, side = input_of(self.config)
        return depth, side, side

    def network(self, seed: int) -> nn.Module:
        """A network on the CPU: as the trial begins, or with new weights where the seed is another."""
        classes, fresh = shape_of(self.config.data)[2], seed != self.config.seed
        return networks.build(self.config.model, self.shape, classes, seed, fresh=fresh)

    def weights(self, seed: int) -> Weights:
        """Its weights."""
        return {name: p.detach().clone() for name, p in self.network(seed).named_parameters()}

    @cached_property
    def learner(self) -> Learner:
        """The network in training."""
        return Learner(self.network(self.config.seed), self.task, self.images, self.config.train)

    @cached_property
    def task(self) -> Task:
        """What it learns."""
        return OBJECTIVES[self.config.objective.name](self.config.objective, self.device, self.config.model.conditional)

    def learner_of(self, cover: Mask) -> Learner:
        """The same in training of a smaller network, `cover` being what is left of the parameters."""
        if not cover:
            return self.learner
        return Learner(channels.shrink(self.learner.network, cover), self.task, self.images, self.config.train)

    @cached_property
    def twin(self) -> nn.Module:
        """The network that is measured, so that measuring never touches the one in training."""
        return self.network(self.config.seed).to(self.device).eval()

    @cached_property
    def example(self) -> tuple[torch.Tensor, ...]:
        """What the network is called with, for one blank image."""
        return self.task.example(torch.zeros(1, *self.shape, device=self.device))

    @cached_property
    def rules(self) -> dict[str, float | str]:
        """Layer -> fixed density or "free", for every layer that could be pruned, in forward order."""
        return budgets.assign(self.shapes, layers_of(self.config))

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Layer -> shape of its weight, in forward order."""
        return networks.layers(self.twin, self.example)

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter."""
        return {name: tuple(p.shape) for name, p in self.twin.named_parameters()}

    @property
    def whole(self) -> Mask:
        """The mask of the dense network: it covers every layer that no rule keeps whole."""
        return Mask.full({name: shape for name, shape in self.shapes.items() if self.rules[name] != 1.0})

    @property
    def free(self) -> list[str]:
        """Layers whose density the budget decides."""
        return [name for name, rule in self.rules.items() if rule == "free"]

    @property
    def free_size(self) -> int:
        """Weights of these layers."""
        return sum(math.prod(self.shapes[name]) for name in self.free)

    @cached_property
    def coupling(self) -> Coupling:
        """The channels that are cut together, and what goes with them; none where single weights are cut."""
        if self.config.prune.unit != "channel":
            return Coupling({})
        kept = [name for name, rule in self.rules.items() if rule != "free"]
        found, ladder = channels.find(self.twin, self.example, self.shapes, kept), self.config.prune.ladder
        least = found.size({group.name: group.step for group in found.groups}, self.free)
        if ladder and not self.config.origin and round(ladder[-1] * self.free_size) < least:
            say = f"with prune.unit = 'channel' at least {least / self.free_size:.4g} of the weights stays"
            raise ConfigError([f"prune.ladder = {ladder}: {say}, for every group of channels keeps some"])
        return found

    @cached_property
    def dials(self) -> dict[str, float]:
        """Layer -> dial of its block, for the sampled budget."""
        return budgets.dial_of({name: networks.block_of(name) for name in self.free}, self.config.prune)

    def cut(
        self, weights: Weights, rung: Rung, within: Mask, seen: Seen, alike: Mapping[str, float]
    ) -> tuple[Mask, budgets.Counts]:
        """The mask of a rung that weights give, within another; and how many each layer keeps, or group of channels.

        `alike`: layer -> CKA, for the budget that asks. Raises Collapsed where a layer is cut away.
        """
        steps, mask = self.config.prune.scoring_steps, within
        first = sum(int(within[name].sum()) for name in self.free) / self.free_size
        for step in range(1, steps + 1):
            scores, probe = self.scores(weights, rung, mask, seen)
            dials = self._evident(probe, alike) if self.config.prune.budget in EVIDENCE else self.dials
            mask, counts = self._kept(scores, first ** (1 - step / steps) * rung.density ** (step / steps), dials)
            if gone := [name for name, count in counts.items() if count == 0]:
                raise Collapsed(f"no weight left at round {rung.index}, density {rung.density:g}: {', '.join(gone)}")
        return mask, counts

    def scores(self, weights: Weights, rung: Rung, mask: Mask, seen: Seen) -> tuple[Scores, Probe]:
        """Scores of all weights under a mask, and what they were told; where channels are cut, those of the smaller
        network."""
        cover = self.coupling.cover(mask)
        network = channels.shrink(self.learner.network, cover)
        networks.set_weights(network, small(State.begin(weights, 0).masked(mask).weights, cover))
        probe = self.probe(rung, network, (seen[0], small(seen[1], cover)))
        scores = criteria.score(self.config.prune.criterion, network, Mask(small(mask, cover)), probe)
        return full(scores, cover, -torch.inf), probe

    def probe(self, rung: Rung, network: nn.Module, seen: Seen) -> Probe:
        """All that a criterion may see besides the network."""
        terms = tuple(lambda inputs=inputs: self.task.errors(network, *inputs).mean() for inputs, _ in seen[0])
        targets = tuple(target for _, target in seen[0])
        seed = seed_of(self.config.seed, rung.index)
        return Probe(terms, targets, self.example, seen[1], self.config.prune.threshold, seed)

    def _kept(self, scores: Scores, density: float, dials: Mapping[str, float]) -> tuple[Mask, budgets.Counts]:
        """The mask that budget and unit make of scores, and what it keeps of each layer, or group of channels."""
        prune, coupling = self.config.prune, self.coupling
        if not coupling.groups:
            counts = budgets.allot(scores, self.rules, density, prune, dials)
            return units.UNITS[prune.unit](scores, counts, prune.group), counts
        scores, steps = coupling.scores(scores), {group.name: group.step for group in coupling.groups}
        keep = round(density * self.free_size)
        counts = budgets.allot_channels(scores, steps, keep, lambda found: coupling.size(found, self.free), prune.budget)
        return coupling.mask(units.UNITS[prune.unit](scores, counts, prune.group), self.whole), counts

    def _evident(self, probe: Probe, alike: Mapping[str, float]) -> dict[str, float]:
        """Layer -> dial of a budget that asks the network; it has the weights that are scored."""
        prune, network, levels = self.config.prune, self.learner.network, len(self.config.model.channels)
        if prune.budget == "sensitivity":
            alike = criteria.layer_rises(network, self.free, probe)
        elif prune.budget == "hsic":
            alike = {name: float(c.mean()) for name, c in criteria.channel_hsic(network, self.free, probe).items()}
        return budgets.evidence(alike, {n: networks.group_of(n, prune.granularity, levels) for n in self.free}, prune.gamma)

    @cached_property
    def origin(self) -> Origin | None:
        """The ticket of another trial, as it was found there."""
        return Origin.read(self.config.origin)

    @cached_property
    def given(self) -> Ticket | None:
        """The same as this network takes it; TicketError where it cannot."""
        if (found := self.origin) is None:
            return None
        ticket, begins = found.ticket, {}
        if self.config.rewind.rule == "given":
            begins = ticket.weights or Setting(found.trial(self.config), self.device).weights(0)
        try:
            mask = alive(Mask(self.taken(ticket.mask, {name: whole.shape for name, whole in self.whole.items()})))
            if self.coupling.groups and self.coupling.mask(self.coupling.channels(mask), self.whole) != mask:
                raise TicketError("its mask does not cut whole channels (prune.unit = 'channel')")
            if begins:
                self._begins(ticket)
                begins = self.taken(begins, self.sizes)
        except TicketError as error:
            raise found.refused(error) from None
        return Ticket(mask, begins if ticket.weights else {}, ticket.start)

    def taken(self, tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> Weights:
        """Tensors of the origin's network as this one takes them."""
        assert self.origin is not None
        layers = self.config.model.layers
        return elastic.stretch(tensors, shapes, (self.origin.layers or layers, layers), self.config.elastic)

    def _begins(self, ticket: Ticket) -> None:
        """Refuse a ticket whose weights cannot be trained here as the config says."""
        steps, row = self.config.train.steps, CONTROLS.get(self.config.control)
        if ticket.start >= steps:
            raise TicketError(f"begins at step {ticket.start}, which leaves nothing of train.steps = {steps}")
        if ticket.weights and row and not row.rule and (row.mask != "ticket" or row.moved):
            raise TicketError(f"holds only the weights that it keeps, control = {self.config.control!r} needs all")


def pace(config: TrialConfig, steps: int = 10) -> tuple[int, float]:
    """Parameters of the network, and seconds that one training step takes here, now."""
    setting = Setting(config, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if config.objective.name == "latent_denoise":
        setting.images = data.Latents.of(setting.pixels, torch.zeros(2, len(setting.pixels.images), *setting.shape))
    states_of = setting.learner.run(State.begin(setting.weights(0), 0), Mask({}), stream=0, stops=[3, 3 + steps])
    warm = next(states_of).seconds
    return sum(w.numel() for w in setting.weights(0).values()), (next(states_of).seconds - warm) / steps
