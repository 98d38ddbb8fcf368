"""Makers of what a run begins from: initial and rewound weights, given masks, controls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from lthray.config.parts import Model
from lthray.config.spec import part_of
from lthray.core.store import Item
from lthray.core.ticket import Mask, TicketError, Weights, alive
from lthray.prune import transfer
from lthray.prune.controls import MASKS, moved
from lthray.prune.coupling import Coupling
from lthray.prune.rewinds import signs
from lthray.task import networks
from lthray.trial.state import Begin, Cut, GivenFile, State
from lthray.trial.steps import Step
from lthray.trial.workshop import Implied, Parents, Run, Spec, Work, Workshop, cut_of


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
    return Begin(State.begin(weights, 0, networks.buffers_of(network)))


def rewind(step: Step, parents: Parents, implied: Implied, work: Work) -> Begin:
    """Take weights back to where a rewinding rule says, for the mask that is the second parent."""
    source, cut = parents[0], cut_of(parents[1])
    return Begin(SOURCES[step.spec["from"]](step.spec, source, cut, implied), cut)


def from_anchor(spec: Spec, source: Run, cut: Cut, implied: Implied) -> State:
    """Return the state of a run at a step, with its optimizer moments and average where they are
    rewound too."""
    state = source.begin.state if spec["at"] == source.start else source.state(spec["at"])
    if spec["state"] == "reset":
        return State.begin(state.weights, state.step, state.buffers)
    moments, buffers = state.moments, state.buffers
    return State(state.step, state.age, state.weights, state.average, moments, buffers=buffers)


def from_trained(spec: Spec, source: Run, cut: Cut, implied: Implied) -> State:
    """Return the weights at the end of a run."""
    return State.begin(source.final.weights, source.end, source.final.buffers)


def from_fresh(spec: Spec, source: Begin, cut: Cut, implied: Implied) -> State:
    """Return new weights."""
    return source.state


def from_signs(spec: Spec, source: Run, cut: Cut, implied: Implied) -> State:
    """Return the signs of the initial weights, at one size a layer."""
    layers = tuple(spec.get("prune.layers", ()))
    mask = cut.mask or source.workshop.whole(layers)
    state = source.begin.state
    return State.begin(signs(state.weights, mask), 0, state.buffers)


def from_ticket(spec: Spec, source: GivenFile, cut: Cut, implied: Implied) -> State:
    """Return what a given ticket begins with in its own trial, brought to this network's depth."""
    workshop = implied["dense"].workshop
    origin = transfer.Origin.read(source.path)
    assert origin is not None

    def brought(tensors: Mapping[str, Tensor]) -> Weights:
        return stretched(tensors, workshop.sizes, origin, workshop, spec)

    ticket = origin.ticket
    if ticket.weights:
        return State.begin(brought(ticket.weights), ticket.start, ticket.buffers)
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


def given_mask(step: Step, implied: Implied) -> Cut:
    """Return the mask of a given ticket as this network takes it; TicketError where it cannot."""
    origin = transfer.Origin.read(implied["file"].path)
    assert origin is not None
    return taken_mask(origin, implied["dense"].workshop, step.spec)


def taken_mask(origin: transfer.Origin, workshop: Workshop, spec: Spec) -> Cut:
    """Return the mask of `origin` as the network of `workshop` takes it; TicketError where it
    cannot."""
    layers = tuple(spec.get("prune.layers", ()))
    whole = workshop.whole(layers)
    coupling = workshop.coupling(layers) if spec.get("unit") == "channel" else Coupling({})
    shapes = {name: bits.shape for name, bits in whole.items()}
    try:
        mask = alive(Mask(stretched(origin.ticket.mask, shapes, origin, workshop, spec)))
        if coupling.groups and coupling.mask(coupling.channels(mask), whole) != mask:
            raise TicketError("its mask does not cut whole channels (prune.unit = 'channel')")
    except TicketError as error:
        raise origin.refused(error) from None
    return Cut(mask, 1, coupling)


def pack_cut(made: Cut) -> dict[str, Any]:
    """Return a mask as an object of the store."""
    settled = {"step": made.step, "steps": made.steps}
    return {"facts": {**made.facts, **settled}, "tensors": {"mask": made.mask.packed()}}


def unpack_cut(item: Item, step: Step, parents: Parents, implied: Implied) -> Cut:
    """Return the mask that a stored object holds."""
    spec = step.spec
    trained: Run = implied["dense"] if "origin" in spec else parents[0]
    layers = tuple(spec.get("prune.layers", ()))
    workshop = trained.workshop
    shapes = {name: bits.shape for name, bits in workshop.whole(layers).items()}
    channels = spec.get("prune.unit", spec.get("unit")) == "channel"
    coupling = workshop.coupling(layers) if channels else Coupling({})
    mask = Mask.unpacked(item.tensors["mask"], shapes)
    facts = item.facts
    return Cut(mask, implied.get("index", 1), coupling, facts["step"], facts["steps"])


def control(step: Step, parents: Parents, implied: Implied, work: Work) -> Cut | Begin:
    """Make a control's mask of a ticket's, or move the weights that a run begins from."""
    spec, source = step.spec, parents[0]
    if "sigma" in spec:
        return perturbed(spec, source)
    cut = cut_of(source)
    change = MASKS[spec["mask"]]
    if not cut.coupling.groups:
        return replace(cut, mask=change(cut.mask, spec["seed"]))
    whole = Mask.full({name: bits.shape for name, bits in cut.mask.items()})
    channels = change(cut.coupling.channels(cut.mask), spec["seed"])
    return replace(cut, mask=cut.coupling.mask(channels, whole))
