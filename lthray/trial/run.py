"""The one function: `run(config, store)` makes the steps of a trial in order and yields each round
once it is stored.

Every step is asked for in the store first, so stopping early is `break`, and resuming is calling
again.
"""

from collections.abc import Callable, Iterator

import torch

from lthray.config.trial import TrialConfig
from lthray.core.record import Progress, Round
from lthray.core.store import Store
from lthray.trial.makers import KINDS
from lthray.trial.making import COMMIT, Making
from lthray.trial.recipe import trajectory
from lthray.trial.trajectory import Rung, Trajectory, place_of
from lthray.trial.view import assemble


def run(
    config: TrialConfig,
    store: Store,
    *,
    device: str | torch.device | None = None,
    anchors: tuple[int, ...] = (),
    commit: float = COMMIT,
    progress: Callable[[Progress], None] | None = None,
    allow_code_change: bool = False,
) -> Iterator[Round]:
    """Run a trial, or go on with it, and yield each round.

    `device` is CUDA where there is one; `anchors` are further steps of the dense run to keep, for
    trials that will share it; `commit` is the time in seconds between commits inside a training
    run, after each of which `progress` is called. Raises TrialFailed where trying again would fail
    again: a loss that is not finite, a layer without weights.
    """
    chosen = trajectory(config)
    making = Making(
        KINDS,
        store,
        device,
        commit=commit,
        progress=progress or _ignore,
        allow_code_change=allow_code_change,
    )
    prepare(making, chosen, anchors)
    for rung in chosen.shown:
        yield make_round(making, rung, chosen)
        making.forget()


def prepare(making: Making, chosen: Trajectory, anchors: tuple[int, ...] = ()) -> None:
    """Tell a making which states other steps will ask for, and what is to be measured along
    training runs."""
    for key, steps in chosen.anchors.items():
        making.anchors.setdefault(key, set()).update(steps)
    making.anchors.setdefault(chosen.rungs[0].chain.key, set()).update(anchors)
    making.curves.update(chosen.curves)


def make_round(making: Making, rung: Rung, chosen: Trajectory) -> Round:
    """Make all measures of a rung and return the round that they are assembled to."""
    for step in rung.measures.values():
        making.make(step)
    found = assemble(making.store, place_of(rung, chosen))
    if found is None:
        raise OSError(f"round {rung.index} was stored and cannot be read back")
    return found


def _ignore(progress: Progress) -> None:
    pass
