"""The makers: kind of step -> how it is made. Each is a plain function of the spec and the parents'
objects.

A maker receives the spec, the objects of the parents in their order, and those of the implied steps
and facts by name, each made when it is first looked at. `Work` gives it a device and the networks
that were built on it before. It sees no config, no store, no file but those that its spec names.
"""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lthray.config.parts import Data, Model, Objective
from lthray.config.spec import part_of
from lthray.config.trial import shape_of
from lthray.core.metrics import HELDOUT
from lthray.core.random import fixed_noise
from lthray.core.store import Item
from lthray.core.task import to_bytes
from lthray.core.ticket import Mask, Ticket, TrialFailed
from lthray.measure import deep, loss, quality
from lthray.measure.rows import Measured
from lthray.measure.table import MEASURES
from lthray.task import data, networks
from lthray.task.samplers import sample, unsettled
from lthray.trial.begins import (
    control,
    given_mask,
    init,
    lend,
    pack_cut,
    rewind,
    stretch,
    unpack_cut,
)
from lthray.trial.cutting import align, trained_mask
from lthray.trial.state import Cut, GivenFile, Samples
from lthray.trial.steps import Step
from lthray.trial.workshop import Encoded, Implied, Kind, Parents, Run, Work, Workshop, cut_of

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


def prune(step: Step, parents: Parents, implied: Implied, work: Work) -> Cut:
    """Return the mask of a rung: that of a given ticket, or cut from the network trained before."""
    if "origin" in step.spec:
        return given_mask(step, implied)
    return trained_mask(step, parents, implied, work)


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


def choose(step: Step, parents: Parents, implied: Implied, work: Work) -> Run:
    """Return the training run of least loss, of runs and then their losses.

    A run that diverged has none. Raises TrialFailed where all did.
    """
    number = len(parents) // 2
    losses = {}
    for index in range(number):
        try:
            losses[index] = parents[number + index].metrics[HELDOUT.name]
        except TrialFailed as diverged:
            failure = diverged
    if not losses:
        raise failure
    chosen: Run = parents[min(losses, key=losses.__getitem__)]
    return chosen


def curve(step: Step, parents: Parents, implied: Implied, work: Work) -> Measured:
    """Measure the held-out loss along a training run."""
    return work.measure_along(parents[0], step)


# what is measured


def judge(step: Step, parents: Parents, implied: Implied, work: Work) -> quality.Referee:
    """Make a feature extractor of a trained classifier."""
    classifier, pixels = parents
    real = _first_images(pixels)
    network = copy.deepcopy(classifier.network())
    return quality.Referee("lenet", networks.features_of(network), real, work.device)


def extractor(step: Step, parents: Parents, implied: Implied, work: Work) -> deep.Extractor:
    """Load the feature extractor that was trained on ImageNet."""
    (pixels,) = parents
    return deep.Extractor(_first_images(pixels), work.device)


def _first_images(pixels: data.Images) -> Tensor:
    """Return the training images with which samples are compared, as bytes [n, C, H, W]."""
    return to_bytes(pixels.scaled(pixels.splits["train"][: quality.REAL]))


def samples(step: Step, parents: Parents, implied: Implied, work: Work) -> Samples:
    """Generate images from the fixed bank of noise, as bytes [n, C, H, W]."""
    spec = step.spec
    trained: Run = parents[0]
    images = trained.images
    bank = fixed_noise((spec["samples"], *images.shape), "bank", device=work.device)
    objective = trained.workshop.objective
    sampler, calls, bound = spec["sampler"], spec["calls"], images.bound
    network = trained.network()
    if "stressor" in spec:
        network, bank = unsettled(network, bank, spec["stressor"], spec["severity"])
    made = sample(network, objective, sampler, calls, bank, bound=bound)
    pictures = images.decode(made) if isinstance(images, Encoded) else made
    return Samples(to_bytes(pictures).cpu())


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
    made = Ticket(trained.cut.mask, begin.weights, begin.step, begin.buffers)
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


KINDS: dict[str, Kind] = {
    "data": Kind(given_data),
    "file": Kind(given_file),
    "whole": Kind(nothing_cut),
    "latents": Kind(latents, pack_latents, unpack_latents, shared=True),
    "init": Kind(init),
    "rewind": Kind(rewind),
    "control": Kind(control),
    "prune": Kind(prune, pack_cut, unpack_cut),
    "stretch": Kind(stretch),
    "align": Kind(align, pack_cut, unpack_cut),
    "lend": Kind(lend),
    "train": Kind(train),
    "choose": Kind(choose),
    "curve": Kind(curve, pack_measured, unpack_measured),
    "judge": Kind(judge),
    "deep": Kind(extractor),
    "sample": Kind(samples, pack_samples, unpack_samples, shared=True),
    "measure": Kind(measure, pack_measured, unpack_measured),
    "ticket": Kind(ticket, pack_measured, unpack_measured),
}
"""Kind of a step -> how it is made and kept. Those with `pack` are STORED, and training runs."""
