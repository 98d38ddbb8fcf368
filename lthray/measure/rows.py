"""A measure as a row of a table: what it needs, what it reads, and what it yields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from lthray.core.metrics import Metric
from lthray.core.ticket import Mask, Weights

Spec = Mapping[str, Any]
Roles = Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What a measure found of a round."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, Tensor] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON beside the metrics: densities of layers, points of a curve."""


@dataclass(frozen=True)
class Asked:
    """What decides whether a measure is asked for: the words of the config, and what kind of round
    it is."""

    measure: Any
    """The part `measure` of the config."""
    index: int
    examined: bool
    """Whether the round is measured at length, and samples are drawn."""
    probed: bool
    """Whether it is measured at length, and is a dense network or a ticket."""
    classifies: bool
    denoises: bool
    judged: bool
    """Whether a feature extractor can judge samples."""
    in_latents: bool
    cut: bool
    """Whether the network is sparse."""
    forked: bool
    """Whether the network has a fellow, trained from its begin on another stream."""
    chained: bool
    """Whether it is a ticket of the chain of masks, so that the rung before is its parent."""
    narrow: bool
    """Whether another, narrower network stands in the ticket's place."""
    early: bool
    """Whether masks are cut before the end of a training run."""


@dataclass(frozen=True)
class Measure:
    """One row of the table."""

    needs: tuple[str, ...]
    """Roles of what is measured: network, dense, fellow, previous, initial, judge, pixels, latents,
    inception, masks, samples, or the name of another measure of the round ("loss") or of the dense
    round ("dense loss")."""
    run: Callable[..., Measured]
    """(spec, *objects in the order of `needs`) -> Measured."""
    metrics: tuple[Metric, ...] = ()
    """Metrics that it yields."""
    words: tuple[str, ...] = ()
    """Words of the config that it reads; they are part of its key."""
    asked: Callable[[Asked], bool] = lambda asked: True
    """Whether a round is measured so."""
    per_sampler: bool = False
    """Whether it is taken once for each of measure.samplers, whose name its spec holds as
    `sampler`."""


class Network(Protocol):
    """What a measure may ask of a trained network."""

    train: Any
    images: Any
    workshop: Any
    final: Any
    cut: Any

    def network(self) -> nn.Module:
        """Return the network with the averaged weights of its end."""
        ...

    def fill(self, network: nn.Module, weights: Weights, buffers: Weights) -> None:
        """Put weights and buffers into a network of this run, and estimate its running statistics
        anew for these weights."""
        ...

    def mask(self, layers: Any) -> Mask:
        """Return its mask; all ones over the layers that may be cut where it is dense."""
        ...
