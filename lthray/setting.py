"""What is the same for all rungs of a trial: data, networks, layers and the rules over them; and what only they can refuse."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from lthray import imported, pretrained
from lthray.config import DENOISERS, FEATURES, POLICY, TrialConfig, input_of, layers_of, shape_of
from lthray.coupling import Coupling
from lthray.flat import ConfigError
from lthray.measure import quality
from lthray.origin import Origin
from lthray.plan import autoencoder_config, plan
from lthray.prune import budgets, elastic
from lthray.prune.controls import CONTROLS
from lthray.task import channels, data, models
from lthray.task.objectives import OBJECTIVES, Task, answer, trained_scheduler
from lthray.ticket import Mask, Ticket, TicketError, Weights, alive
from lthray.training import Learner, State


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
        return models.build(self.config.model, self.shape, classes, seed, fresh=fresh)

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
        return models.layers(self.twin, self.example)

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
        return budgets.dial_of({name: models.block_of(name) for name in self.free}, self.config.prune)

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


def check(config: TrialConfig) -> None:
    """Refuse, before anything is made, what only the data and the network can show (ConfigError, TicketError)."""
    setting = Setting(config, torch.device("cpu"))
    if config.model.name not in POLICY:
        _try_out(setting)
    _enough(setting)
    if config.model.pretrained and config.objective.name in DENOISERS:
        _agree(config)
    if config.latent.pretrained and config.objective.name == "latent_denoise":
        Setting(autoencoder_config(config), torch.device("cpu")).network(0)
    _ = plan(config), setting.dials, setting.coupling, setting.given
    if config.measure.inception:
        quality.inception(config.measure.inception)


def _enough(setting: Setting) -> None:
    """Refuse what needs more training images than there are, where only loading them could tell how many."""
    c, n = setting.config, len(setting.pixels.splits["train"])
    wanted = {"train.batch": c.train.batch, "prune.images": c.prune.images}
    if c.objective.name in DENOISERS and c.measure.samples and n < 10 * FEATURES:
        raise ConfigError([f"measure.samples = {c.measure.samples}: 0, for {n} training images are too few to compare with"])
    if faults := [f"{word} = {number}: at most the {n} training images" for word, number in wanted.items() if number > n]:
        raise ConfigError(faults)


def _agree(config: TrialConfig) -> None:
    """Refuse a pipeline that was trained on other noise, or to another target, than the config says."""
    source, own = config.model.pretrained, trained_scheduler(config.objective).config
    said = pretrained.facts(source, pretrained.given(source).scheduler)
    words = {"num_train_timesteps": "objective.timesteps", "prediction_type": "objective.prediction"}
    words |= {"beta_schedule": "objective.schedule", "beta_start": "the first beta", "beta_end": "the last beta"}
    ours = {**own, "beta_schedule": config.objective.schedule}
    if config.objective.schedule == "squaredcos_cap_v2":  # which has no such ends
        words = {key: word for key, word in words.items() if key not in ("beta_start", "beta_end")}
    faults = [
        f"model.pretrained = {source!r}: was trained with {key} = {said[key]!r}, {word} = {ours[key]!r}"
        for key, word in words.items()
        if key in said and said[key] != ours[key]
    ]
    if said.get("trained_betas"):
        told = f"objective.schedule = {config.objective.schedule!r}"
        faults.append(f"model.pretrained = {source!r}: was trained with betas of its own, {told}")
    if faults:
        raise ConfigError(faults)


def _try_out(setting: Setting) -> None:
    """Refuse a user's own network that cannot be called, or that is more than weights which are a function of the seed."""
    config = setting.config
    name, seed, classes = config.model.name, config.seed, shape_of(config.data)[2]
    network, again = setting.network(seed).train(), setting.network(seed)
    before = [buffer.clone() for buffer in network.buffers()]
    inputs = setting.task.example(torch.zeros(2, *setting.shape))
    classifies = config.objective.name == "classify"
    wanted = (2, classes) if classifies else tuple(inputs[0].shape)
    try:
        found = network(*inputs) if classifies else answer(network, *inputs)
        models.layers(network, inputs)
    except Exception as error:
        raise imported.told("model.name", name, error) from None
    given = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    faults = {
        f"answers with {given}, not with a tensor of {wanted}": given != wanted,
        "has buffers that change with every batch, as BatchNorm's; GroupNorm has none": not _same(before, network.buffers()),
        "has frozen parameters": not all(p.requires_grad for p in network.parameters()),
        "gives other weights at every call; draw them with torch": not _same(
            again.parameters(), setting.network(seed).parameters()
        ),
    }
    if wrong := next((said for said, is_so in faults.items() if is_so), None):
        raise ConfigError([f"model.name = {name!r}: {wrong}"])


def _same(one: Iterable[torch.Tensor], other: Iterable[torch.Tensor]) -> bool:
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True))


def pace(config: TrialConfig, steps: int = 10) -> tuple[int, float]:
    """Parameters of the network, and seconds that one training step takes here, now."""
    setting = Setting(config, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if config.objective.name == "latent_denoise":
        setting.images = data.Latents.of(setting.pixels, torch.zeros(2, len(setting.pixels.images), *setting.shape))
    states_of = setting.learner.run(State.begin(setting.weights(0), 0), Mask({}), stream=0, stops=[3, 3 + steps])
    warm = next(states_of).seconds
    return sum(w.numel() for w in setting.weights(0).values()), (next(states_of).seconds - warm) / steps
