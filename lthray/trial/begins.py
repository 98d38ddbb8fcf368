"""Makers of what a run begins from: initial weights, and weights taken back by a rewinding rule."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from lthray.config.parts import Model
from lthray.config.spec import part_of
from lthray.core.ticket import Weights
from lthray.prune import transfer
from lthray.prune.controls import moved
from lthray.prune.rewinds import signs
from lthray.task import networks
from lthray.trial.contract import Implied, Parents, Spec, Work
from lthray.trial.objects import Begin, Cut, GivenFile, Run, cut_of
from lthray.trial.state import State
from lthray.trial.steps import Step
from lthray.trial.workshop import Workshop


def init(step: Step, parents: Parents, implied: Implied, work: Work) -> Begin:
    """Draw initial weights from the seed, or take given ones; a fresh seed is drawn from all the
    same."""
    spec = step.spec
    model = replace(part_of(Model, "model", spec), pretrained=parents[0].path)
    shape = tuple(spec.get("shape", (1, 8, 8)))
    network = networks.build(
        model, shape, spec.get("classes", 10), spec["seed"], fresh=spec["seed"] != 0
    )
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    return Begin(State.begin(weights, 0))


def rewind(step: Step, parents: Parents, implied: Implied, work: Work) -> Begin:
    """Take weights back to where a rewinding rule says, for the mask that is the second parent."""
    source, cut = parents[0], cut_of(parents[1])
    return Begin(SOURCES[step.spec["from"]](step.spec, source, cut, implied), cut)


def from_anchor(spec: Spec, source: Run, cut: Cut, implied: Implied) -> State:
    """Return the state of a run at a step, with its optimizer moments and average where they are
    rewound too."""
    state = source.begin.state if spec["at"] == source.start else source.state(spec["at"])
    if spec["state"] == "reset":
        return State.begin(state.weights, state.step)
    return State(state.step, state.age, state.weights, state.average, state.moments)


def from_trained(spec: Spec, source: Run, cut: Cut, implied: Implied) -> State:
    """Return the weights at the end of a run."""
    return State.begin(source.final.weights, source.end)


def from_fresh(spec: Spec, source: Begin, cut: Cut, implied: Implied) -> State:
    """Return new weights."""
    return source.state


def from_signs(spec: Spec, source: Run, cut: Cut, implied: Implied) -> State:
    """Return the signs of the initial weights, at one size a layer."""
    layers = tuple(spec.get("prune.layers", ()))
    mask = cut.mask or source.workshop.whole(layers)
    return State.begin(signs(source.begin.state.weights, mask), 0)


def from_ticket(spec: Spec, source: GivenFile, cut: Cut, implied: Implied) -> State:
    """Return what a given ticket begins with in its own trial, brought to this network's depth."""
    workshop = implied["dense"].workshop
    origin = transfer.Origin.read(source.path)
    assert origin is not None

    def brought(tensors: Mapping[str, Tensor]) -> Weights:
        return stretched(tensors, workshop.sizes, origin, workshop, spec)

    if origin.ticket.weights:
        return State.begin(brought(origin.ticket.weights), origin.ticket.start)
    return implied["begin"].state.mapped(brought)


SOURCES: dict[str, Callable[[Spec, Any, Cut, Implied], State]] = {
    "anchor": from_anchor,
    "trained": from_trained,
    "fresh": from_fresh,
    "sign": from_signs,
    "given": from_ticket,
}


def stretched(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, Sequence[int]],
    origin: transfer.Origin,
    workshop: Workshop,
    spec: Spec,
) -> Weights:
    """Return tensors of the network of `origin` as the network of `workshop` takes them."""
    layers = workshop.model.layers
    depths = (origin.layers or layers, layers)
    return transfer.stretch(tensors, shapes, depths, spec.get("elastic", "interpolate"))


def perturbed(spec: Spec, begin: Begin) -> Begin:
    """Move all masked layers by noise, weights and average alike."""
    state = begin.state
    after = moved(state.weights, begin.cut.mask, spec["sigma"], spec["seed"])
    shifts = {name: weight - state.weights[name] for name, weight in after.items()}
    weights = {name: weight + shifts[name] for name, weight in state.weights.items()}
    average = {name: weight + shifts[name] for name, weight in state.average.items()}
    return replace(begin, state=replace(state, weights=weights, average=average))
