"""What a study would do: its trials, the steps they share, bytes to expect and time."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lthray.config.labels import name_of
from lthray.config.options import Options
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import OBJECTIVES
from lthray.core.record import Point
from lthray.core.ticket import Mask
from lthray.study import resources
from lthray.study.call import Call, preview
from lthray.study.page import Grid
from lthray.study.room import size_of
from lthray.study.terminal import duration
from lthray.task import data
from lthray.trial.points import point
from lthray.trial.recipe import trajectory
from lthray.trial.state import State
from lthray.trial.steps import Step
from lthray.trial.training import Learner
from lthray.trial.trajectory import Trajectory
from lthray.trial.workshop import workshop_of


def lines(call: Call) -> Iterator[str]:
    """Yield the plan of a call, and what its trials would cost here."""
    configs, confirmed = preview(call), _confirmed(call)
    yield from _trial_lines(call, configs, confirmed)
    cpus = call.options.cpus_per_trial
    torch.set_num_threads(cpus)
    parameters, per_step = pace(call.config)
    slots = min(slots_here(call.options), len(configs))
    trials = list(map(trajectory, [*configs, *confirmed]))
    yield from plan_lines(trials, parameters, per_step, slots)


def _confirmed(call: Call) -> list[TrialConfig]:
    """Return the trials of a search's confirmation; other recipes stand in for those to be
    found."""
    if not call.recipes:
        return []
    stand_ins = [*call.first, *[{}] * 3][: call.recipes]
    return preview(call.confirmation(stand_ins))


def judged(call: Call) -> list[Point]:
    """Return the trials of a call that a verdict is given on: a confirmation's, or a list's."""
    listed = preview(call) if call.phase == Grid.phase else []
    configs = _confirmed(call) or listed
    return [point(trajectory(config), {}, call.phase) for config in configs]


def slots_here(options: Options) -> int:
    """Return how many trials run at a time on a machine like this one, as a study counts them.

    Raises ClusterError if not even one does. What a cluster has, only a study that joins it asks;
    of one the answer is what the user wants, or one.
    """
    if options.local or options.address:
        return (options.address and options.max_concurrent) or 1
    devices = torch.cuda.device_count()
    share = resources.SHARE if devices else 0.0
    if options.gpus_per_trial is not None:
        share = options.gpus_per_trial
    here = {"CPU": float(resources.cpus()), "GPU": float(devices)}
    return resources.slots(options, share, [(here, 1)])


def _trial_lines(
    call: Call, configs: Sequence[TrialConfig], confirmed: Sequence[TrialConfig]
) -> Iterator[str]:
    """Yield the words of a call, what it searches, and the names of its trials."""
    size = f"{call.trials} trials, seeds {call.seeds}, densities {call.config.prune.ladder}"
    yield f"{call.study.name}: {size}"
    for word, value in call.config.canonical().items():
        yield f"  {word} = {value}"
    for word, dial in call.space.items():
        yield f"  {word} in {dial}"
    seen: dict[TrialConfig, int] = {}
    for number, config in enumerate(configs):
        first = seen.setdefault(config, number)
        remark = "" if first == number else f" (repeats trial {first}: nothing new is left to draw)"
        yield f"trial {number}: {name_of(config, call.config)}{remark}"
    for number, config in enumerate(confirmed):
        remark = "" if number else " (recipes stand in for those to be found)"
        yield f"confirmation {number}: {name_of(config, call.config)}{remark}"


def plan_lines(
    trials: Sequence[Trajectory], parameters: int, per_step: float, slots: int
) -> list[str]:
    """Return lines on what trials would do: steps shared and unshared, bytes to expect, time.

    `parameters` is the number of a network's, `per_step` seconds of a training step; `slots` trials
    run at a time.
    """
    runs: dict[str, Step] = {}
    alone = alone_steps = 0
    for trial in trials:
        runs |= trial.runs
        alone += len(trial.runs)
        alone_steps += sum(run.length for run in trial.runs.values())
    steps = sum(run.length for run in runs.values())
    size = size_of(trials).of(parameters)
    share = f"{steps / max(alone_steps, 1):.0%}"
    pace = f"{per_step * 1e3:.0f} ms a step, {slots} at a time"
    return [
        f"training steps  {steps:,} unique of {alone_steps:,} if nothing were shared ({share})",
        f"training runs   {len(runs)} unique of {alone}",
        f"store           about {size / 1e6:,.0f} MB",
        f"training time   at most {duration(steps * per_step / slots)}: {pace}",
    ]


def pace(config: TrialConfig, steps: int = 10) -> tuple[int, float]:
    """Return the number of parameters, and the seconds that a training step takes here, now."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    workshop = workshop_of(config, device)
    images = data.load(config.data).to(device)
    if OBJECTIVES[config.objective.name].in_latents:
        blank = torch.zeros(2, len(images.images), *workshop.shape)
        images = data.Latents.of(images, blank)
    weights = workshop.weights(0, fresh=True)
    learner = Learner(workshop.network(0, fresh=True), workshop.task, images, config.train)
    states = learner.run(State.begin(weights, 0), Mask({}), stream=0, stops=[3, 3 + steps])
    warm = next(states).seconds
    parameters = sum(map(Tensor.numel, weights.values()))
    return parameters, (next(states).seconds - warm) / steps
