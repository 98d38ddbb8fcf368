"""Makers of masks: cut from a trained network, taken from a given ticket, or made by a control."""

from dataclasses import replace
from typing import Any

from lthray.config.parts import Prune
from lthray.config.spec import part_of
from lthray.core.store import Item
from lthray.core.ticket import Mask, TicketError, alive
from lthray.prune import transfer
from lthray.prune.controls import MASKS
from lthray.prune.coupling import Coupling
from lthray.trial.begins import perturbed, stretched
from lthray.trial.contract import Implied, Parents, Spec, Work
from lthray.trial.cutting import Cutting
from lthray.trial.objects import Begin, Cut, Run, cut_of
from lthray.trial.steps import Step
from lthray.trial.workshop import Workshop


def prune(step: Step, parents: Parents, implied: Implied, work: Work) -> Cut:
    """Cut the mask of a rung from the network that was trained before it, or take that of a given
    ticket."""
    spec = step.spec
    if "origin" in spec:
        return given_mask(step, implied)
    pair = (implied["one"], implied["other"]) if "one" in implied else ()
    trained: Run = parents[0]
    cutting = Cutting(
        trained,
        part_of(Prune, "prune", spec),
        spec["density"],
        spec.get("seed", 0),
        implied["index"],
        implied.get("rewound"),
        pair,
    )
    mask, facts = cutting.mask()
    steps = facts["step"] - trained.start
    return Cut(mask, implied["index"], cutting.coupling, facts["step"], steps, facts)


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
