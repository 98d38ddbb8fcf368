"""The ticket of another trial: its mask and its begin, as steps of the trial that is given it."""

from collections.abc import Callable
from typing import Any

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.prune.transfer import Origin
from lthray.trial.sources import Sources
from lthray.trial.steps import Step, history
from lthray.trial.trajectory import Trajectory


class Borrowed:
    """A ticket of elsewhere; `trajectory` gives the steps of its own trial."""

    def __init__(
        self,
        origin: Origin,
        sources: Sources,
        trajectory: Callable[[TrialConfig], Trajectory],
    ):
        self.origin, self.sources, self.trajectory = origin, sources, trajectory
        self.config = sources.config

    @property
    def file(self) -> Step:
        """The ticket file."""
        return self.sources.file("origin", self.config.origin, self.origin.digest)

    @property
    def stretched(self) -> dict[str, Any]:
        """How the ticket is brought to another depth, for the spec of a step."""
        if not self.origin.stretches(self.config):
            return {}
        return {"layers": self.config.model.layers, "elastic": self.config.elastic}

    def mask(self) -> Step:
        """Return the mask of the ticket, as this network takes it."""
        c = self.config
        spec: dict[str, Any] = {"origin": self.origin.digest, **self.stretched}
        if c.prune.unit == "channel":
            spec["unit"] = c.prune.unit
        layers = c.canonical("prune").get("prune.layers")
        if layers:
            spec["prune.layers"] = layers
        return Step("prune", spec, (), {"file": self.file, "dense": self.sources.dense})

    def begin(self, mask: Step) -> Step:
        """Return the weights with which the ticket begins in its own trial, under `mask`."""
        ticket = self.origin.ticket
        implied: dict[str, Any] = {"dense": self.sources.dense, "history": ticket.start}
        if not ticket.weights:
            run = self.run()
            implied |= {"begin": run.parents[0], "history": history(run) - run.length}
        spec = {"from": "given", **self.stretched}
        return Step("rewind", spec, (self.file, mask), implied)

    def run(self) -> Step:
        """Return the training run of the ticket in its own trial.

        Raises TicketError unless it can be made again from what the file says.
        """
        origin = self.origin
        unfit = "its weights cannot be made again here"
        try:
            rungs = self.trajectory(origin.trial(self.config)).rungs
        except ConfigError as error:
            raise origin.refused(f"{unfit}: {'; '.join(error.faults)}") from None
        recorded = (origin.facts.get("weights"), origin.ticket.start)
        if origin.round < len(rungs):
            run = rungs[origin.round].shown
            if (run.key, run.span[0]) == recorded:
                return run
        why = "other data, a given file, or another version of lthray"
        raise origin.refused(f"{unfit}: {why}")
