"""How much a study will store, and whether there is room for it, before anything is trained.

Both depend on the number of parameters. The driver of a study does not build a network, which takes
seconds; it adds up the bytes a parameter, and the first worker, which needs the network anyway,
says whether there is room.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lthray.config.parts import Measure
from lthray.config.trial import TrialConfig
from lthray.core.backends import DiskFull, free
from lthray.core.record import Round
from lthray.core.store import Store
from lthray.trial.trajectory import Trajectory, anchors_of
from lthray.trial.workshop import workshop_of


@dataclass(frozen=True)
class Size:
    """Bytes that trials will store: so many for each parameter of their network, and others."""

    per_parameter: float
    others: float

    def of(self, parameters: int) -> int:
        """Return the bytes of trials whose networks have so many `parameters`."""
        return round(self.per_parameter * parameters + self.others)


@dataclass(frozen=True)
class Roomy:
    """The function `run`, which first asks whether there is room for all trials of a study."""

    run: Callable[..., Iterator[Round]]
    config: TrialConfig
    """The config whose network is counted."""
    size: Size
    """What the trials will store that is not stored yet."""
    room: int
    """Bytes that were free when the study began."""

    def __call__(self, config: TrialConfig, store: Store, **options: Any) -> Iterator[Round]:
        """Run a trial; DiskFull where all trials would store more than there was room for.

        What serves trials by another network, as an autoencoder does, is run without a question.
        """
        if config.model != self.config.model:
            return self.run(config, store, **options)
        size = self.size.of(parameters_of(self.config))
        if size > self.room:
            need = f"the trials will store about {size / 1e6:,.0f} MB below {store.root}"
            way_out = "make room, choose another --out, or fewer --trials"
            space = f"where {self.room / 1e6:,.0f} MB are free"
            raise DiskFull(errno.ENOSPC, f"{need}, {space}; {way_out}")
        return self.run(config, store, **options)


def roomy(
    run: Callable[..., Iterator[Round]], trials: Sequence[Trajectory], store: Store
) -> Callable[..., Iterator[Round]]:
    """Return `run` as a function that first asks whether all `trials` have room in `store`.

    They are counted with the network of the first one.
    """
    size = size_of(trials, lambda key: bool(store.parts(key)))
    return Roomy(run, trials[0].config, size, free(store.root))


def size_of(
    trials: Sequence[Trajectory], is_stored: Callable[[str], bool] = lambda key: False
) -> Size:
    """Return what trials will store; what has a key that `is_stored` is there already.

    Of a run its weights and their average are kept, at an anchor the moments of the optimizer too,
    of a round mask, losses and facts.
    """
    runs: set[str] = set()
    rounds: dict[str, Measure] = {}
    anchors = anchors_of(step for trial in trials for step in trial.wanted)
    for trial in trials:
        runs |= trial.runs.keys()
        rounds |= {rung.measures["loss"].key: trial.config.measure for rung in trial.shown}
    states = [len(anchors.get(key, ())) for key in runs if not is_stored(key)]
    measures = [measure for key, measure in rounds.items() if not is_stored(key)]
    losses = sum(measure.images * measure.timesteps for measure in measures)
    per_parameter = 8 * len(states) + 16 * sum(states) + len(measures) / 8
    return Size(per_parameter, 4 * losses + 20_000 * len(measures))


@lru_cache(maxsize=8)
def parameters_of(config: TrialConfig) -> int:
    """Return the number of parameters of the network of a trial."""
    network = workshop_of(config).network(0, fresh=True)
    return sum(parameter.numel() for parameter in network.parameters())
