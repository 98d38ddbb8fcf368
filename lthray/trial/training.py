"""One training run under a mask, from any stored state to any step.

The loop never waits for a GPU but at the end of a chunk of steps. Masked weights stay exactly zero
because the moments are masked once, at the start, and the gradient at every step, before it is
clipped: then the update of a cut weight is zero. Cut anywhere and continued, a run equals the whole
run bit for bit on one CPU fingerprint.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from lthray.config.parts import Train
from lthray.core.random import drawing, draws, seed_of
from lthray.core.task import Task
from lthray.core.ticket import Mask, Weights
from lthray.prune import channels
from lthray.prune.regimes import Schedule
from lthray.task.data import Images
from lthray.task.networks import buffers_of, set_buffers, set_weights
from lthray.trial.state import NonFinite, State

CHUNK = 25  # steps between looks at the loss

DECAYS: dict[str, Callable[[float], float]] = {
    "constant": lambda x: 0.0,
    "linear": lambda x: x,
    "cosine": lambda x: (1 - math.cos(math.pi * x)) / 2,
}
"""Share of the way from the peak rate to the last that has fallen at share x of the schedule."""


def learning_rate(train: Train, step: int) -> float:
    """Return the learning rate of a step of the schedule; past its end the last rate goes on."""
    if step < train.warmup:
        return train.lr * (step + 1) / train.warmup
    x = min((step - train.warmup) / max(train.steps - train.warmup, 1), 1.0)
    return train.lr * (1 - (1 - train.floor) * DECAYS[train.decay](x))


def decay_of(train: Train, age: int) -> float:
    """Return the decay of the average at its `age`-th update, the first being 0.

    The weights after update i count as i^gamma, where gamma = 1 / train.ema - 2. The mean age is
    then train.ema x (number of updates) exactly, at every age of the run (polynomial-decay
    averaging, Shamir and Zhang 2013, arXiv 1212.1824; Karras et al. 2024, arXiv 2312.02696).
    """
    return (1 + age) / (1 / train.ema + age) if train.ema else 0.0


def _sgd(parameters: Sequence[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    decay, momentum = train.weight_decay, train.momentum
    return torch.optim.SGD(parameters, train.lr, momentum=momentum, weight_decay=decay, fused=True)


def _adam(parameters: Sequence[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    betas, decay = (train.momentum, 0.999), train.weight_decay
    return torch.optim.Adam(parameters, train.lr, betas=betas, weight_decay=decay, fused=True)


def _adamw(parameters: Sequence[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    betas, decay = (train.momentum, 0.999), train.weight_decay
    return torch.optim.AdamW(parameters, train.lr, betas=betas, weight_decay=decay, fused=True)


OPTIMIZERS: dict[str, Callable[[Sequence[nn.Parameter], Train], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
}


class Mover:
    """Applies a regime to a run: its penalty to gradients, its masks to weights and moments."""

    def __init__(
        self,
        moves: Schedule,
        parameters: dict[str, nn.Parameter],
        average: Weights,
        optimizer: torch.optim.Optimizer,
        factors: Weights,
    ):
        """Hold what the mask is applied to; `factors` are masks by which gradients are scaled."""
        self.moves, self.parameters, self.average = moves, parameters, average
        self.optimizer, self.factors = optimizer, factors
        self.pressed: Weights = {}
        for name, factor in factors.items():
            bits = moves.pressed(name)
            if bits is not None:
                self.pressed[name] = bits.to(factor.device)

    def exchange(self, live: State) -> bool:
        """Press and move the mask as the regime says, once the gradients are known, and dense.

        Returns whether weights were exchanged, in place of the step's update.
        """
        self._press(self.moves.penalty(live.step))
        if not self.moves.due(live.step):
            return False
        self._move(live)
        if self.moves.exchanges:
            self.optimizer.zero_grad()
            self._tick()
        return self.moves.exchanges

    def _press(self, strength: float) -> None:
        """Add the gradient of the penalty to that of every pressed weight."""
        if not strength:
            return
        for name, pressed in self.pressed.items():
            gradient = self.parameters[name].grad
            assert gradient is not None
            gradient.add_(self.parameters[name].detach() * pressed, alpha=strength)

    def _move(self, live: State) -> None:
        """Exchange the mask; a weight that is new begins at zero, and one that went is zero."""
        before = live.mask
        assert before is not None
        gradients = {}
        for name in self.factors:
            gradient = self.parameters[name].grad
            if gradient is not None:
                gradients[name] = gradient
        after = self.moves.next(live.step, before, self.parameters, gradients).to(before.device)
        live.mask = after
        for name in after:
            stays = after[name] & before[name]
            for tensor in self._tensors_of(name):
                tensor.mul_(stays)
            self.factors[name].copy_(after[name])

    def _tensors_of(self, name: str) -> Iterator[Tensor]:
        """Yield a weight, its average and its moments."""
        yield self.parameters[name].detach()
        yield self.average[name]
        for slot, tensor in self.optimizer.state[self.parameters[name]].items():
            if slot != "step" and isinstance(tensor, Tensor):
                yield tensor

    def _tick(self) -> None:
        """Advance the optimizer's clock, which is the state's age whatever a step was spent on."""
        for state in self.optimizer.state.values():
            if "step" in state:
                state["step"] += 1


class Learner:
    """A network, its task and its data, kept for all runs of a trial, which share nothing else."""

    def __init__(self, network: nn.Module, task: Task, images: Images, train: Train):
        self.device = images.images.device
        formats = {True: torch.channels_last, False: torch.contiguous_format}
        self.format = formats[train.channels_last]
        self.network = network.to(self.device).to(memory_format=self.format).train()
        self.images, self.task, self.train = images, task, train
        self.draws = draws(self._try, self.device)
        """Whether the network draws when it trains, as dropout does."""
        self.loss: Callable[..., Tensor] = self._loss
        if train.compile != "none":
            self.loss = torch.compile(self._loss, mode=train.compile, dynamic=False)

    def _try(self) -> Tensor:
        """Return the loss of two images, in a call as that of a training step."""
        x, y = self.images.batch(0, 0, 2)
        x = x.contiguous(memory_format=self.format)
        return self.task.errors(self.network, *self.task.draw(x, y, 0, 0)).mean()

    def try_step(self, state: State) -> None:
        """Make the forward and backward pass of a training step with the weights of `state`."""
        set_weights(self.network, state.weights)
        set_buffers(self.network, state.buffers)
        self._try().backward()
        self.network.zero_grad()

    def smaller(self, cover: Mask) -> "Learner":
        """Return the learner of the smaller network that `cover` leaves of the parameters."""
        network = channels.shrink(self.network, cover)
        return Learner(network, self.task, self.images, self.train)

    def run(
        self,
        state: State,
        mask: Mask,
        *,
        stream: int,
        stops: Sequence[int],
        due: Callable[[], bool] = lambda: False,
        moves: Schedule | None = None,
    ) -> Iterator[State]:
        """Train from `state`, already masked, to the last of `stops`.

        Yields the live state at each stop and, between chunks of steps, whenever `due()`. `moves`
        changes the mask; the state then holds it. Raises NonFinite with the step of the first bad
        loss.
        """
        mask = mask.to(self.device)
        session = _Session(self, state, mask, stream, moves and moves.on(self.device))
        live, last = session.live, max(stops, default=0)
        if stops and live.step == last:  # given weights, which are only to be measured
            live.check(mask)
            yield live
        losses = torch.empty(CHUNK, device=self.device)
        first, began = live.step, time.perf_counter()
        while live.step < last:
            losses[live.step - first] = session.step()
            live.step += 1
            live.age += 1
            if live.step % CHUNK and live.step not in stops:
                continue
            live.loss_sum += _finite_sum(losses[: live.step - first], first)
            live.losses += live.step - first
            live.seconds += time.perf_counter() - began
            if live.step in stops or due():
                live.moments = _moments(session.optimizer, self.network)
                live.buffers = buffers_of(self.network)
                live.check(live.mask or mask)
                yield live
            first, began = live.step, time.perf_counter()

    def _loss(self, *inputs: Tensor) -> Tensor:
        mixed = self.train.autocast == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            return self.task.errors(self.network, *inputs).float().mean()


class _Session:
    """A learner at work on one run: the live state, whose weights are the network's own."""

    def __init__(
        self, learner: Learner, state: State, mask: Mask, stream: int, moves: Schedule | None
    ):
        self.learner, self.stream = learner, stream
        network, train = learner.network, learner.train
        self.parameters = dict(network.named_parameters())
        set_weights(network, state.weights)
        set_buffers(network, state.buffers)
        average = {}
        for name, parameter in self.parameters.items():
            average[name] = parameter.detach().clone().copy_(state.average[name])
        weights = {name: parameter.detach() for name, parameter in self.parameters.items()}
        self.everything = list(self.parameters.values())
        self.optimizer = OPTIMIZERS[train.optimizer](self.everything, train)
        _restore(self.optimizer, network, state)
        self.live = replace(state, weights=weights, average=average, moments={}, mask=None)
        if moves:
            self.live.mask = (state.mask or moves.first).to(learner.device)
        factors = self._factors(self.live.mask or mask, bool(moves))
        self.cut = [self.parameters[name] for name in factors]
        self.factors: list[Tensor] = list(factors.values())
        self.averages, self.weights = list(average.values()), list(weights.values())
        self.mover = None
        if moves:
            self.mover = Mover(moves, self.parameters, average, self.optimizer, factors)

    def _factors(self, mask: Mask, moves: bool) -> Weights:
        """Return the masks of layers that are cut, or may be, as factors of their gradients."""
        factors = {}
        for name, bits in mask.items():
            if moves or not bool(bits.all()):
                layout = self.learner.format if bits.dim() == 4 else torch.contiguous_format
                factors[name] = bits.float().to(memory_format=layout)
        return factors

    def step(self) -> Tensor:
        """Make one training step; returns the loss, which nobody has waited for."""
        learner, live, train = self.learner, self.live, self.learner.train
        x, y = learner.images.batch(self.stream, live.step, train.batch)
        x = x.contiguous(memory_format=learner.format)
        inputs = learner.task.draw(x, y, self.stream, live.step)
        with self._drawing():
            loss = learner.loss(*inputs)
        loss.backward()
        if self.mover and self.mover.exchange(live):
            return loss.detach()
        if self.cut:
            gradients: list[Tensor] = [p.grad for p in self.cut if p.grad is not None]
            torch._foreach_mul_(gradients, self.factors)
        if train.clip:
            nn.utils.clip_grad_norm_(self.everything, train.clip)
        self.optimizer.param_groups[0]["lr"] = learning_rate(train, live.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        torch._foreach_lerp_(self.averages, self.weights, 1 - decay_of(train, live.age))
        return loss.detach()

    def _drawing(self) -> contextlib.AbstractContextManager[None]:
        """Return the context of a training step's call, in which all that the network draws from
        torch's global generators, as dropout does, is a function of stream and step."""
        if not self.learner.draws:
            return contextlib.nullcontext()
        seed = seed_of("dropout", self.stream, self.live.step)
        return drawing(seed, self.learner.device)


def _finite_sum(losses: Tensor, first: int) -> float:
    """Return the sum of `losses` in double precision; NonFinite at the first that is not finite."""
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        index = int(bad[0, 0])
        raise NonFinite(f"training loss is {losses[index].item()} at step {first + index}")
    return float(losses.double().sum())


def _moments(optimizer: torch.optim.Optimizer, network: nn.Module) -> Weights:
    """Return the optimizer's tensors as "slot/parameter"; its step counter is the state's age."""
    moments = {}
    for name, parameter in network.named_parameters():
        for slot, tensor in optimizer.state[parameter].items():
            if slot != "step" and isinstance(tensor, Tensor):
                moments[f"{slot}/{name}"] = tensor
    return moments


def _restore(optimizer: torch.optim.Optimizer, network: nn.Module, state: State) -> None:
    parameters = dict(network.named_parameters())
    for key, tensor in state.moments.items():
        slot, name = key.split("/", 1)
        parameter = parameters[name]
        slots = optimizer.state[parameter]
        slots[slot] = parameter.detach().clone().copy_(tensor)
        if slot == "exp_avg":
            slots["step"] = torch.tensor(float(state.age), device=parameter.device)
