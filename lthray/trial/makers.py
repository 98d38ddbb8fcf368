"""The makers: kind of step -> how it is made. Each is a plain function of the spec and the parents'
objects.

A maker receives the spec, the objects of the parents in their order, and those of the implied steps
and facts by name, each made when it is first looked at. `Work` gives it a device and the networks
that were built on it before. It sees no config, no store, no file but those that its spec names.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from lthray.config.parts import Data, Model, Objective, Prune
from lthray.config.spec import part_of
from lthray.config.trial import shape_of
from lthray.core.random import generator
from lthray.core.store import Item
from lthray.core.ticket import Mask, Ticket, TicketError, Weights, alive
from lthray.measure import loss, quality
from lthray.measure.table import MEASURES, Measured
from lthray.prune import transfer
from lthray.prune.controls import MASKS, moved
from lthray.prune.coupling import Coupling
from lthray.prune.rewinds import signs
from lthray.task import data, networks
from lthray.task.samplers import sample
from lthray.trial.cutting import Cutting
from lthray.trial.objects import Begin, Cut, Encoded, GivenFile, Run, Samples
from lthray.trial.state import State
from lthray.trial.steps import Step
from lthray.trial.workshop import Workshop

Spec = Mapping[str, Any]
Parents = Sequence[Any]
Implied = Mapping[str, Any]


class Work(Protocol):
    """What a maker may use beside its spec and its parents' objects."""

    device: torch.device

    def workshop(self, model: Model, objective: Objective, shape: Any, classes: int) -> Workshop:
        """Return the networks of an architecture at its task, built once."""
        ...

    def run(self, step: Step, **sources: Callable[[], Any]) -> Run:
        """Return a training run whose states are stored, or trained when they are asked for."""
        ...

    def measure_along(self, run: Run, curve: Step) -> "Measured":
        """Train a run from the start, or from where `curve` was measured until, and return its
        curve."""
        ...


# what is given


def given_data(step: Step, parents: Parents, implied: Implied, work: Work) -> data.Images:
    """Load a whole data set onto the device."""
    return data.whole(implied["data"]).to(work.device)


def given_file(step: Step, parents: Parents, implied: Implied, work: Work) -> GivenFile:
    """Return a file that the user gives."""
    return GivenFile(implied["path"])


def nothing_cut(step: Step, parents: Parents, implied: Implied, work: Work) -> Cut:
    """Return the mask that cuts nothing."""
    return Cut()


def latents(step: Step, parents: Parents, implied: Implied, work: Work) -> Encoded:
    """Encode a data set: means of the latents of all images, scaled to unit variance on training
    images.

    Where images are to be seen mirrored, those of mirrored images too.
    """
    autoencoder, pixels = parents[0].network(), parents[1]
    parts = torch.arange(len(pixels.images), device=work.device).split(loss.SPLIT)
    ways = [_as_it_is, _mirrored] if step.spec["augment"] == "flip" else [_as_it_is]
    encoded = []
    for way in ways:
        encoded.append(
            torch.cat([networks.encoded(autoencoder, way(pixels.scaled(p))).cpu() for p in parts])
        )
    both = torch.stack(encoded)
    scale = float(both[0, pixels.splits["train"].cpu()].std())
    return Encoded.encode_with(pixels, both / scale, scale, parents[0])


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _mirrored(x: Tensor) -> Tensor:
    return x.flip(-1)


def pack_latents(made: Encoded) -> dict[str, Any]:
    """Return latents as an object of the store."""
    return {"facts": {"std": made.scale}, "tensors": {"latents": made.images}}


def unpack_latents(item: Item, step: Step, parents: Parents, implied: Implied) -> Encoded:
    """Return the latents that a stored object holds."""
    tensors = item.tensors["latents"]
    return Encoded.encode_with(parents[1], tensors, item.facts["std"], parents[0])


# weights


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


# masks


def cut_of(made: Any) -> Cut:
    """Return the mask of a step: its own, or what a training run has left of one."""
    return made.cut if isinstance(made, Run) else made


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


def perturbed(spec: Spec, begin: Begin) -> Begin:
    """Move all masked layers by noise, weights and average alike."""
    state = begin.state
    after = moved(state.weights, begin.cut.mask, spec["sigma"], spec["seed"])
    shifts = {name: weight - state.weights[name] for name, weight in after.items()}
    weights = {name: weight + shifts[name] for name, weight in state.weights.items()}
    average = {name: weight + shifts[name] for name, weight in state.average.items()}
    return replace(begin, state=replace(state, weights=weights, average=average))


# training


def train(step: Step, parents: Parents, implied: Implied, work: Work) -> Run:
    """Return a training run; it is trained when one of its states is asked for."""
    spec = step.spec

    def workshop() -> Workshop:
        model = replace(part_of(Model, "model", spec), pretrained=implied["pretrained"])
        objective = part_of(Objective, "objective", spec)
        classes = shape_of(part_of(Data, "data", spec))[2]
        return work.workshop(model, objective, parents[1].shape, classes)

    def before() -> Mask:
        begin = parents[0].cut.mask
        whole = Mask.full({name: bits.shape for name, bits in begin.items()})
        return cut_of(implied["before"]).mask or whole

    return work.run(
        step,
        workshop=workshop,
        begin=lambda: parents[0],
        images=lambda: data.taken(parents[1], part_of(Data, "data", spec)),
        before=before,
    )


def curve(step: Step, parents: Parents, implied: Implied, work: Work) -> Measured:
    """Measure the held-out loss along a training run."""
    return work.measure_along(parents[0], step)


# what is measured


def judge(step: Step, parents: Parents, implied: Implied, work: Work) -> quality.Referee:
    """Make a feature extractor of a trained classifier."""
    classifier, pixels = parents
    first = pixels.splits["train"][: quality.REAL]
    real = data.to_bytes(pixels.scaled(first))
    network = copy.deepcopy(classifier.network()).cpu()
    return quality.Referee("lenet", networks.features_of(network), real)


def samples(step: Step, parents: Parents, implied: Implied, work: Work) -> Samples:
    """Generate images from the fixed bank of noise, as bytes [n, C, H, W]."""
    spec = step.spec
    trained: Run = parents[0]
    images = trained.images
    draw = generator("bank", device=work.device)
    bank = torch.randn(spec["samples"], *images.shape, generator=draw, device=work.device)
    objective = trained.workshop.objective
    made = sample(trained.network(), objective, spec["sampler"], spec["calls"], bank)
    pictures = images.decode(made) if isinstance(images, Encoded) else made
    return Samples(data.to_bytes(pictures).cpu())


def pack_samples(made: Samples) -> dict[str, Any]:
    """Return samples as an object of the store."""
    return {"facts": {}, "tensors": {"images": made.images}}


def unpack_samples(item: Item, step: Step, parents: Parents, implied: Implied) -> Samples:
    """Return the samples that a stored object holds."""
    return Samples(item.tensors["images"])


def measure(step: Step, parents: Parents, implied: Implied, work: Work) -> Measured:
    """Measure, as the row of the table says that the spec names."""
    row = MEASURES[step.spec["measure"]]
    return row.run(step.spec, *parents)


def ticket(step: Step, parents: Parents, implied: Implied, work: Work) -> Measured:
    """Write the ticket file of a rung: its mask, and where its weights are."""
    spec = step.spec
    trained: Run = parents[0]
    begin = trained.masked_begin()
    lineage = {"mask": spec["mask"], "weights": trained.step.key, "dense": spec["dense"]}
    words = dict(sorted(spec["config"].items()))  # the bytes must not depend on the order of fields
    facts = {"config": words, "round": spec["round"], **lineage}
    made = Ticket(trained.cut.mask, begin.weights, begin.step)
    file = made.to_bytes(facts)
    whole = made.to_bytes(facts, with_weights=True)
    sizes = {"cost/ticket_bytes": len(file), "cost/ticket_bytes_with_weights": len(whole)}
    return Measured(sizes, files={"ticket": file})


def pack_measured(made: Measured) -> dict[str, Any]:
    """Return what was measured as an object of the store."""
    facts = {"metrics": dict(made.metrics), **made.facts}
    return {"facts": facts, "tensors": made.arrays, "files": made.files}


def unpack_measured(item: Item, step: Step, parents: Parents, implied: Implied) -> Measured:
    """Return the measurement that a stored object holds."""
    files = {name: content for name, content in item.files.items() if name != "tensors"}
    return Measured(item.facts["metrics"], item.tensors, files, item.facts)


@dataclass(frozen=True)
class Kind:
    """One row of the table: how a kind of step is made, and how it is kept."""

    make: Callable[[Step, Parents, Implied, Work], Any]
    pack: Callable[[Any], dict[str, Any]] | None = None
    """Object -> facts, tensors and files of the store; None for what is made anew each time, or
    kept in parts."""
    unpack: Callable[[Item, Step, Parents, Implied], Any] | None = None
    shared: bool = False
    """Whether several trials may want it at one time, so that making it is worth a lock."""
    modules: tuple[str, ...] = ()
    """Modules of the package through which its numbers run, for the digest of its code."""


_TASK = (
    "core.random",
    "task.augment",
    "task.classifiers",
    "task.data",
    "task.factories",
    "task.inputs",
    "task.networks",
    "task.objectives",
    "task.pictures",
)
_PRUNE = ("core.ticket", "prune.coupling", "prune.channels")
_CUT = (
    "trial.cutting",
    "prune.budgets",
    "prune.criteria",
    "prune.responses",
    "prune.shares",
    "prune.units",
)
_RUN = ("trial.training", "trial.state", "prune.regimes", *_TASK, *_PRUNE)
_LOSS = ("measure.loss", *_TASK, *_PRUNE)

KINDS: dict[str, Kind] = {
    "data": Kind(given_data),
    "file": Kind(given_file),
    "whole": Kind(nothing_cut),
    "latents": Kind(latents, pack_latents, unpack_latents, True, (*_TASK, *_PRUNE)),
    "init": Kind(init),
    "rewind": Kind(rewind),
    "control": Kind(control),
    "prune": Kind(
        prune, pack_cut, unpack_cut, False, (*_CUT, "core.kernels", "prune.transfer", *_RUN)
    ),
    "train": Kind(train, modules=("prune.rewinds", "prune.controls", "prune.transfer", *_RUN)),
    "curve": Kind(curve, pack_measured, unpack_measured, False, (*_LOSS, *_RUN)),
    "judge": Kind(judge),
    "sample": Kind(samples, pack_samples, unpack_samples, True, ("task.samplers", *_TASK, *_PRUNE)),
    "measure": Kind(
        measure,
        pack_measured,
        unpack_measured,
        False,
        (
            "prune.budgets",
            "prune.regimes",
            "measure.table",
            "measure.anatomy",
            "measure.cost",
            "measure.quality",
            "findings.stats",
            *_LOSS,
        ),
    ),
    "ticket": Kind(ticket, pack_measured, unpack_measured, False, ("core.ticket",)),
}
STORED = tuple(name for name, kind in KINDS.items() if kind.pack) + ("train",)
"""Kinds that the store keeps."""
