"""Makers of what a run begins from: initial and rewound weights, given masks, controls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lthray.config.parts import Model
from lthray.config.spec import part_of
from lthray.core.layers import norms_of
from lthray.core.store import Item
from lthray.core.ticket import Mask, TicketError, Weights, alive
from lthray.prune import transfer
from lthray.prune.controls import MASKS, moved, within_groups
from lthray.prune.coupling import Coupling
from lthray.prune.rewinds import signs
from lthray.task import networks
from lthray.trial.state import Begin, Cut, GivenFile, State, by_slot
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
    layers = workshop.model.layers
    try:
        return mask_here(origin.ticket.mask, (origin.layers or layers, layers), workshop, spec)
    except TicketError as error:
        raise origin.refused(error) from None


def mask_here(mask: Mask, depths: tuple[int, int], workshop: Workshop, spec: Spec) -> Cut:
    """Return a mask of another network as that of `workshop` takes it; TicketError where it cannot.

    `depths` are the blocks of a level there and here.
    """
    layers = tuple(spec.get("prune.layers", ()))
    whole = workshop.whole(layers)
    coupling = workshop.coupling(layers) if _unit(spec) == "channel" else Coupling({})
    shapes = {name: bits.shape for name, bits in whole.items()}
    made = alive(Mask(transfer.stretch(mask, shapes, depths, spec.get("elastic", "interpolate"))))
    if coupling.groups and coupling.mask(coupling.channels(made), whole) != made:
        raise TicketError("its mask does not cut whole channels (prune.unit = 'channel')")
    return Cut(made, 1, coupling)


def _unit(spec: Spec) -> str:
    unit: str = spec.get("prune.unit", spec.get("unit", ""))
    return unit


def stretch(step: Step, parents: Parents, implied: Implied, work: Work) -> Cut:
    """Return the mask of another network, of another depth or space, as this one takes it."""
    cut, spec = cut_of(parents[0]), step.spec
    made = mask_here(cut.mask, tuple(spec["layers"]), implied["dense"].workshop, spec)
    return replace(made, index=cut.index)


def lend(step: Step, parents: Parents, implied: Implied, work: Work) -> Begin:
    """Put what another network lends, the second parent, into what a run would begin from."""
    own, lent = parents
    return replace(own, state=LENDINGS[step.spec["takes"]](step.spec, own, lent, implied))


def lent_weights(spec: Spec, own: Begin, lent: Begin, implied: Implied) -> State:
    """Return the weights of another network, with its moments and average, where they fit.

    Ways in and out that are of another shape there are this network's own.
    """
    workshop, state = implied["dense"].workshop, lent.state
    weights = brought(spec, state.weights, own.state.weights, workshop)
    average = brought(spec, state.average, own.state.average, workshop)
    moments: dict[str, Tensor] = {}
    mine = dict(by_slot(own.state.moments))
    for slot, group in by_slot(state.moments):
        for name, tensor in brought(spec, group, mine[slot], workshop).items():
            moments[f"{slot}/{name}"] = tensor
    buffers = own.state.buffers
    return replace(state, weights=weights, average=average, moments=moments, buffers=buffers)


def lent_signs(spec: Spec, own: Begin, trained: Run, implied: Implied) -> State:
    """Return this network's weights, with the signs of another's trained ticket and its norms.

    Moments stay this network's own, as they do where its mask alone is lent.
    """
    workshop, state = implied["dense"].workshop, own.state
    ticket = brought(spec, trained.final.weights, state.weights, workshop)
    norms = norms_of(workshop.twin)

    def signed(tensors: Weights) -> Weights:
        changed = dict(tensors)
        for name in own.cut.mask:
            changed[name] = tensors[name].abs() * torch.sign(ticket[name])
        return changed | {name: ticket[name] for name in norms}

    return replace(state, weights=signed(state.weights), average=signed(state.average))


LENDINGS: dict[str, Callable[[Spec, Begin, Any, Implied], State]] = {
    "weights": lent_weights,
    "signs": lent_signs,
}


def brought(spec: Spec, lent: Weights, own: Weights, workshop: Workshop) -> Weights:
    """Return tensors of another network as that of `workshop` has them: blocks are copied or left
    out, and ways in and out that do not fit are `own`.

    Raises TicketError where another tensor does not fit.
    """
    rules = workshop.rules(tuple(spec.get("prune.layers", ())))
    tensors = dict(lent)
    for name, rule in rules.items():
        if rule == 1.0 and name in lent and lent[name].shape != own[name].shape:
            way = name.removesuffix("weight")
            tensors |= {name: tensor for name, tensor in own.items() if name.startswith(way)}
    order = spec.get("elastic", "interpolate")
    return transfer.stretch(tensors, workshop.sizes, tuple(spec["layers"]), order)


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
    coupling = workshop.coupling(layers) if _unit(spec) == "channel" else Coupling({})
    mask = Mask.unpacked(item.tensors["mask"], shapes)
    facts = item.facts
    return Cut(mask, implied.get("index", 1), coupling, facts["step"], facts["steps"])


def control(step: Step, parents: Parents, implied: Implied, work: Work) -> Cut | Begin:
    """Make a control's mask of a ticket's, or move the weights that a run begins from."""
    spec, source = step.spec, parents[0]
    if "sigma" in spec:
        return perturbed(spec, source)
    cut = cut_of(source)
    if "group" in spec:
        return replace(cut, mask=within_groups(cut.mask, spec["seed"], spec["group"]))
    change = MASKS[spec["mask"]]
    if not cut.coupling.groups:
        return replace(cut, mask=change(cut.mask, spec["seed"]))
    whole = Mask.full({name: bits.shape for name, bits in cut.mask.items()})
    channels = change(cut.coupling.channels(cut.mask), spec["seed"])
    return replace(cut, mask=cut.coupling.mask(channels, whole))
