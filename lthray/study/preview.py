"""What a study would do: its trials, the steps they share, bytes to expect and time."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lthray.config.help_page import titled
from lthray.config.labels import name_of, setting_of
from lthray.config.options import Options
from lthray.config.spec import text_of, texts
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import OBJECTIVES
from lthray.core.record import Point
from lthray.core.ticket import Mask
from lthray.study import resources
from lthray.study.call import Call, preview
from lthray.study.page import Grid
from lthray.study.room import size_of
from lthray.study.space import Dial
from lthray.study.terminal import duration
from lthray.task import data
from lthray.trial.points import point
from lthray.trial.recipe import trajectory
from lthray.trial.state import State
from lthray.trial.steps import Step
from lthray.trial.training import Learner
from lthray.trial.trajectory import Trajectory
from lthray.trial.workshop import workshop_of


def planned(call: Call) -> tuple[Sequence[TrialConfig], Sequence[TrialConfig]]:
    """Return the trials of a call, and those of its confirmation; of recipes that a search has yet
    to find, others stand in for them."""
    if not call.recipes:
        return preview(call), []
    stand_ins = [call.sampler.draw(number, {}).words for number in range(call.recipes)]
    return preview(call), preview(call.confirmation(stand_ins))


def lines(
    call: Call, configs: Sequence[TrialConfig], confirmed: Sequence[TrialConfig]
) -> Iterator[str]:
    """Yield the page of a plan: what its trials share, what they are, and what they would take."""
    yield f"{call.study.name}: {call.trials:,} trials"
    words = {"prune.ladder": call.config.prune.ladder, **call.config.canonical()}
    shared = {word: text_of(value) or "none" for word, value in words.items()}
    yield from titled("what all trials share", shared)
    yield from titled("what each trial draws", {word: _told(d) for word, d in call.space.items()})
    yield from _arms(f"trials of the {call.phase}", configs, call.config)
    yield from _arms("then, of recipes like those to be found", confirmed, call.config)
    torch.set_num_threads(call.options.cpus_per_trial)
    parameters, per_step = pace(call.config)
    slots = min(slots_here(call.options), len(configs))
    trials = list(map(trajectory, [*configs, *confirmed]))
    costs = plan_rows(trials, parameters, per_step, slots)
    yield from titled("what that takes on this machine", costs)


def judged(
    call: Call, configs: Sequence[TrialConfig], confirmed: Sequence[TrialConfig]
) -> list[Point]:
    """Return the trials of a call that a verdict is given on: a confirmation's, or a list's."""
    listed = configs if call.phase == Grid.phase else []
    return [point(trajectory(config), {}, call.phase) for config in confirmed or listed]


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


def _arms(kind: str, configs: Sequence[TrialConfig], shared: TrialConfig) -> Iterator[str]:
    """Yield the names of trials that are alike but for their seed, and their seeds."""
    seeds: dict[str, list[int]] = {}
    for config in configs:
        name = name_of(config, shared).removesuffix(f" s{config.seed}")
        setting = setting_of(config, shared)
        seeds.setdefault(", ".join(filter(None, (name, setting))), []).append(config.seed)
    rows = {name: _seeds(listed) for name, listed in seeds.items()}
    if len(set(rows.values())) == 1:
        kind += f", each with {next(iter(rows.values()))}"
        rows = dict.fromkeys(rows, "")
    yield from titled(kind, rows)


def _seeds(listed: Sequence[int]) -> str:
    """Return seeds in words, and whether one is there again since a search has nothing to draw."""
    once = list(dict.fromkeys(listed))
    again = " (again: nothing new is left to draw)" if len(once) < len(listed) else ""
    return f"seed{'s' * (len(once) > 1)} {text_of(once)}{again}"


def _told(dial: Dial) -> str:
    """Return in words what is drawn, and when."""
    if dial.when is None:
        return dial.told
    word, values = dial.when
    return f"{dial.told}; where {word} is {' or '.join(texts(values))}"


def plan_rows(
    trials: Sequence[Trajectory], parameters: int, per_step: float, slots: int
) -> dict[str, str]:
    """Return what trials would do: steps shared and unshared, bytes to expect, time.

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
    return {
        "training steps": f"{steps:,} unique of {alone_steps:,} if nothing were shared ({share})",
        "training runs": f"{len(runs)} unique of {alone}",
        "store": f"about {size / 1e6:,.0f} MB",
        "training time": f"at most {duration(steps * per_step / slots)}: {pace}",
    }


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
