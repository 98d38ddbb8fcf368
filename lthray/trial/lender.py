"""The trial that tickets come from, `source`: its masks and weights, as steps of another trial."""

from typing import Any, Protocol

from lthray.config.trial import TrialConfig
from lthray.trial.sources import Sources, words_of
from lthray.trial.steps import Step, lineage
from lthray.trial.trajectory import WHOLE, Rung

LAYERS = ("prune.layers", "prune.unit")
"""Words that say what of a network may be cut, and how."""
SEEN = ("prune.images", "prune.terms")
"""Words that say which images two networks answer to when their channels are compared."""


class Chain(Protocol):
    """The recipe of a trial, as far as a lender asks it."""

    config: TrialConfig
    sources: Sources

    def rung(self, index: int) -> Rung:
        """Return a rung of its chain."""
        ...

    def begin(self, rule: str, mask: Step, before: Rung, index: int, draw: int = 0) -> Step:
        """Return the weights from which a run begins under `mask`, as a rewinding rule says."""
        ...


class Lender:
    """The `recipe` of a source, and what the trial of `sources` takes of it."""

    def __init__(self, recipe: Chain, sources: Sources):
        self.recipe, self.sources = recipe, sources
        self.config, self.source = sources.config, sources.config.source

    @property
    def alike(self) -> bool:
        """Whether both networks have the same tensors."""
        one, other = self.recipe.config, self.config
        shapes = [sources.shape for sources in (self.recipe.sources, self.sources)]
        return one.model == other.model and shapes[0] == shapes[1]

    @property
    def stretched(self) -> dict[str, Any]:
        """How what is lent is brought to this network's depth, for the spec of a step."""
        layers = [self.recipe.config.model.layers, self.config.model.layers]
        return {"layers": layers, "elastic": self.config.elastic, **self.words(*LAYERS)}

    def words(self, *names: str) -> dict[str, Any]:
        """Return those of the words `names` that are not at their default."""
        return words_of(self.config, names)

    def mask(self, index: int) -> Step:
        """Return the mask of a rung of the source, as this network takes it."""
        mask = self.recipe.rung(index).mask
        dense = self.sources.dense
        if not self.alike:
            mask = Step("stretch", self.stretched, (mask,), {"dense": dense})
        if self.source.align == "none":
            return mask
        spec = {"seed": self.config.seed, **self.words(*LAYERS, *SEEN)}
        networks = (dense, self.recipe.sources.dense)
        return Step("align", spec, (*networks, mask), {"index": index})

    def begin(self, rule: str, own: Step, index: int) -> Step:
        """Return what a run of a rung begins from, given its own begin under its mask."""
        if self.source.takes == "mask":
            return own
        if self.source.takes == "signs":
            spec = {"takes": "signs", **self.stretched}
            trained = self.recipe.rung(index).chain
            return Step("lend", spec, (own, trained), {"dense": self.sources.dense})
        before, mask = self.recipe.rung(index - 1), own.parents[1]
        if self.alike:
            return self.recipe.begin(rule, mask, before, index)
        lent = self.recipe.begin(rule, WHOLE, before, index)
        spec = {"takes": "weights", **self.stretched}
        return Step("lend", spec, (own, lent), {"dense": self.sources.dense})

    def saved(self, rung: Rung) -> int:
        """Return the optimizer steps that a rung saves here, beside finding a ticket here."""
        lent = {run.key for run in lineage(self.recipe.rung(rung.index).chain)}
        spent = sum(run.length for run in lineage(rung.shown) if run.key not in lent)
        return self.sources.dense.length + rung.index * rung.chain.length - spent
