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
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from lthray.config.parts import Train
from lthray.core.random import seed_of
from lthray.core.task import Task
from lthray.core.ticket import Mask, TrialFailed, Weights
from lthray.prune import channels
from lthray.prune.regimes import Schedule
from lthray.task.data import Images
from lthray.task.networks import drawing, set_weights

CHUNK = 25  # steps between looks at the loss


class NonFinite(TrialFailed):
    """A loss or a weight became NaN or infinite."""


@dataclass
class State:
    """A training run at one step. As yielded it is live: it changes with the next step."""

    step: int
    """Of the schedule, which decides batches, noise and learning rate."""
    age: int
    """Updates since moments and average began."""
    weights: Weights
    average: Weights
    moments: Weights = field(default_factory=dict)
    """Optimizer state, "slot/parameter" -> tensor; empty = anew."""
    seconds: float = 0.0
    """Training time so far, whoever spent it."""
    loss_sum: float = 0.0
    """Sum of the training losses so far, and their number."""
    losses: int = 0
    mask: Mask | None = None
    """The mask as it stands, where a regime moves it."""

    @classmethod
    def begin(cls, weights: Weights, step: int) -> "State":
        """A run that starts from `weights` with moments and average anew."""
        return cls(step, 0, weights, weights)

    def masked(self, mask: Mask) -> "State":
        """A copy whose weights, average and moments are zero wherever the mask cuts."""
        weights, average, moments = (
            {name: t.clone() for name, t in group.items()}
            for group in (self.weights, self.average, self.moments)
        )
        mask.apply_(weights)
        mask.apply_(average)
        for slot in {name.split("/")[0] for name in moments}:
            mask.apply_({name: moments[f"{slot}/{name}"] for name in mask})
        return State(self.step, self.age, weights, average, moments, mask=self.mask)

    def mapped(self, change: Callable[[Weights], Weights]) -> "State":
        """The same with weights, average and each slot of the moments as `change` makes them."""
        slots: dict[str, Weights] = {}
        for key, tensor in self.moments.items():
            slot, name = key.split("/", 1)
            slots.setdefault(slot, {})[name] = tensor
        moments = {
            f"{slot}/{name}": t
            for slot, group in slots.items()
            for name, t in change(group).items()
        }
        return replace(
            self, weights=change(self.weights), average=change(self.average), moments=moments
        )

    def check(self, mask: Mask) -> None:
        """Raise unless everything is finite and zero wherever the mask cuts."""
        groups = [self.weights, self.average]
        for slot in {name.split("/")[0] for name in self.moments}:
            groups.append(
                {n.split("/", 1)[1]: t for n, t in self.moments.items() if n.startswith(f"{slot}/")}
            )
        for group in groups:
            for name, tensor in group.items():
                if not torch.isfinite(tensor).all():
                    raise NonFinite(f"{name} is not finite at step {self.step}")
            if not mask.holds(group):
                raise AssertionError(f"a cut weight is not zero at step {self.step}")


def learning_rate(train: Train, step: int) -> float:
    """The rate of a step of the schedule; past its end the last rate goes on."""
    if step < train.warmup:
        return train.lr * (step + 1) / train.warmup
    x = min((step - train.warmup) / max(train.steps - train.warmup, 1), 1.0)
    fall = {"constant": 0.0, "linear": x, "cosine": (1 - math.cos(math.pi * x)) / 2}[train.decay]
    return train.lr * (1 - (1 - train.floor) * fall)


def decay_of(train: Train, age: int) -> float:
    """The average's decay at its age-th update, ramped so that a young average forgets where it
    began."""
    return min(train.ema, (1 + age) / (10 + age))


def optimizer_of(parameters: Sequence[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    """The optimizer of a config, in its fused implementation."""
    if train.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            train.lr,
            momentum=train.momentum,
            weight_decay=train.weight_decay,
            fused=True,
        )
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return kind(
        parameters,
        train.lr,
        betas=(train.momentum, 0.999),
        weight_decay=train.weight_decay,
        fused=True,
    )


class Mover:
    """Applies a regime to a run: its penalty to the gradients, its masks to weights, average,
    moments and gradients."""

    def __init__(
        self,
        moves: Schedule,
        parameters: dict[str, nn.Parameter],
        average: Weights,
        optimizer,
        held: Weights,
    ):
        self.moves, self.parameters, self.average, self.optimizer, self.held = (
            moves,
            parameters,
            average,
            optimizer,
            held,
        )
        device = next(iter(held.values())).device
        pressed = {name: moves.pressed(name) for name in held}
        self.goes = {name: bits.to(device) for name, bits in pressed.items() if bits is not None}

    def moved(self, live: State) -> bool:
        """Whether the mask was exchanged in place of the step's update; the gradients are known,
        and dense."""
        if strength := self.moves.penalty(live.step):
            for name, goes in self.goes.items():
                gradient = self.parameters[name].grad
                assert gradient is not None
                gradient.add_(self.parameters[name].detach() * goes, alpha=strength)
        if not self.moves.due(live.step):
            return False
        assert live.mask is not None
        gradients = {
            name: p.grad
            for name, p in self.parameters.items()
            if name in self.held and p.grad is not None
        }
        after = self.moves.next(live.step, live.mask, self.parameters, gradients).to(
            live.mask.device
        )
        both = {name: after[name] & live.mask[name] for name in after}
        live.mask = after
        for name, stays in both.items():  # what is new begins at zero, what went is zero
            state = self.optimizer.state[self.parameters[name]]
            groups = [t for slot, t in state.items() if slot != "step" and isinstance(t, Tensor)]
            for tensor in (self.parameters[name].detach(), self.average[name], *groups):
                tensor.mul_(stays)
            self.held[name].copy_(after[name])
        if exchanged := self.moves.exchanges:
            self.optimizer.zero_grad()
            for state in self.optimizer.state.values():
                if "step" in state:
                    state["step"] += (
                        1  # the optimizer's clock is the state's age, whatever a step was spent on
                    )
        return exchanged


class Learner:
    """A network, its task and its data, kept for all runs of a trial; runs share nothing but these."""

    def __init__(self, network: nn.Module, task: Task, images: Images, train: Train):
        self.device = images.images.device
        self.format = torch.channels_last if train.channels_last else torch.contiguous_format
        self.network = network.to(self.device).to(memory_format=self.format).train()
        self.images, self.task, self.train = images, task, train
        self.loss: Callable[..., Tensor] = self._loss
        if train.compile != "none":
            self.loss = torch.compile(self._loss, mode=train.compile, dynamic=False)

    def smaller(self, cover: Mask) -> "Learner":
        """Return the learner of the smaller network that `cover` leaves of this one's parameters."""
        network = channels.shrink(self.network, cover)
        return Learner(network, self.task, self.images, self.train)

    def run(
        self, state: State, mask: Mask, *, stream: int, stops: Sequence[int], due: Callable[[], bool] = lambda: False,
        moves: Schedule | None = None,
    ) -> Iterator[State]:  # fmt: skip
        """Train from `state` (already masked) to the last of `stops`; yields the live state at each
        stop and, between chunks, whenever `due()`. Raises NonFinite with the step of the first bad
        loss. `moves` changes the mask, of which the state then tells how it stands."""
        mask = mask.to(self.device)
        live, optimizer, step = self._begin(state, mask, stream, moves)
        losses = torch.empty(CHUNK, device=self.device)
        if live.step == max(
            stops, default=None
        ):  # given weights, of which nothing is asked but to be measured
            live.check(mask)
            yield live
        first, began = live.step, time.perf_counter()
        while live.step < max(stops, default=0):
            losses[live.step - first] = step(live)
            live.step += 1
            live.age += 1
            if live.step % CHUNK and live.step not in stops:
                continue
            live.loss_sum += _finite_sum(losses[: live.step - first], first)
            live.losses += live.step - first
            live.seconds += time.perf_counter() - began
            if live.step in stops or due():
                live.moments = _moments(optimizer, self.network)
                live.check(live.mask or mask)
                yield live
            first, began = live.step, time.perf_counter()

    def _begin(self, state: State, mask: Mask, stream: int, moves: Schedule | None):
        """The live state, whose weights are the network's own, its optimizer, and the function that
        makes a step."""
        parameters = dict(self.network.named_parameters())
        set_weights(self.network, state.weights)
        average = {
            name: p.detach().clone().copy_(state.average[name]) for name, p in parameters.items()
        }
        weights = {name: p.detach() for name, p in parameters.items()}
        optimizer = optimizer_of(list(parameters.values()), self.train)
        _restore(optimizer, self.network, state)
        live = State(
            state.step, state.age, weights, average, {}, state.seconds, state.loss_sum, state.losses
        )
        live.mask = (state.mask or moves.first).to(self.device) if moves else None
        return (
            live,
            optimizer,
            self._stepper(parameters, average, optimizer, live.mask or mask, stream, moves),
        )

    def _stepper(
        self, parameters, average, optimizer, mask: Mask, stream: int, moves: Schedule | None
    ) -> Callable[[State], Tensor]:
        images, task, train = self.images, self.task, self.train
        everything, averages = list(parameters.values()), list(average.values())
        weights = [p.detach() for p in everything]
        whole = [name for name, bits in mask.items() if moves is None and bool(bits.all())]
        held = {
            n: b.float().to(memory_format=_format(b, self.format))
            for n, b in mask.items()
            if n not in whole
        }
        cut, bits = [parameters[name] for name in held], list(held.values())
        draws = any(isinstance(m, nn.Dropout) and m.p > 0 for m in self.network.modules())
        mover = Mover(moves, parameters, average, optimizer, held) if moves else None

        def step(live: State) -> Tensor:
            x, y = images.batch(stream, live.step, train.batch)
            inputs = task.draw(x.contiguous(memory_format=self.format), y, stream, live.step)
            with (
                drawing(seed_of("dropout", stream, live.step), self.device)
                if draws
                else contextlib.nullcontext()
            ):
                loss = self.loss(*inputs)
            loss.backward()
            if mover and mover.moved(live):
                return loss.detach()
            if cut:
                torch._foreach_mul_([p.grad for p in cut], bits)
            if train.clip:
                nn.utils.clip_grad_norm_(everything, train.clip)
            optimizer.param_groups[0]["lr"] = learning_rate(train, live.step)
            optimizer.step()
            optimizer.zero_grad()
            torch._foreach_lerp_(averages, weights, 1 - decay_of(train, live.age))
            return loss.detach()

        return step

    def _loss(self, *inputs: Tensor) -> Tensor:
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.train.autocast == "bfloat16"
        ):
            return self.task.errors(self.network, *inputs).float().mean()


def _format(tensor: Tensor, format: torch.memory_format) -> torch.memory_format:
    return format if tensor.dim() == 4 else torch.contiguous_format


def _finite_sum(losses: Tensor, first: int) -> float:
    """The sum in double precision; raises at the first loss that is not finite."""
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        raise NonFinite(
            f"training loss is {losses[bad[0, 0]].item()} at step {first + int(bad[0, 0])}"
        )
    return float(losses.double().sum())


def _moments(optimizer: torch.optim.Optimizer, network: nn.Module) -> Weights:
    """The optimizer's tensors as "slot/parameter"; its step counter is the state's age."""
    return {
        f"{slot}/{name}": tensor
        for name, parameter in network.named_parameters()
        for slot, tensor in optimizer.state[parameter].items()
        if slot != "step" and isinstance(tensor, Tensor)
    }


def _restore(optimizer: torch.optim.Optimizer, network: nn.Module, state: State) -> None:
    parameters = dict(network.named_parameters())
    for key, tensor in state.moments.items():
        slot, name = key.split("/", 1)
        held = optimizer.state[parameters[name]]
        held[slot] = parameters[name].detach().clone().copy_(tensor)
        if slot == "exp_avg":
            held["step"] = torch.tensor(float(state.age), device=parameters[name].device)
