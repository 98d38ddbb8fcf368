"""The table of measures: what can be measured of a round, from what, by which words of the config.

A measure is a step of its own. Its row names what it needs (roles, which the recipe fills with
steps), the words of the config that it reads, when it is asked for, and the metrics that it yields.
Adding a row measures recorded networks: nothing is trained or sampled again.
"""

from typing import Any

from lthray.core import metrics
from lthray.core.task import to_bytes
from lthray.core.ticket import Mask
from lthray.measure import anatomy, cost, deep, loss, paired, probes, quality, robustness
from lthray.measure.probes import layers_of, panel_of, words_of
from lthray.measure.rows import Measure, Measured, Network, Spec
from lthray.prune.coupling import small


def heldout(spec: Spec, trained: Network) -> Measured:
    """Measure the loss [images, timesteps] on the evaluation set, and on training images."""
    words = words_of(spec)
    network, task, x, y = panel_of(trained, words)
    images = trained.images
    losses = loss.panel(network, task, x, y, words.timesteps)
    first = images.splits["train"][: len(x)]
    seen = loss.panel(network, task, images.scaled(first), images.labels[first], words.timesteps)
    found = {metrics.HELDOUT.name: float(losses.mean()), metrics.TRAIN.name: float(seen.mean())}
    found[metrics.GAP.name] = found[metrics.HELDOUT.name] / found[metrics.TRAIN.name] - 1
    for band, columns in loss.bands(task, words.timesteps):
        found[f"loss/{band}"] = float(losses[:, columns].mean())
    return Measured(found, {"loss": losses})


def excess(spec: Spec, own: Measured, dense: Measured) -> Measured:
    """Measure how much larger the loss is than the dense network's, paired by image."""
    return Measured(loss.excess(own.arrays["loss"], dense.arrays["loss"]))


def accuracy(spec: Spec, trained: Network) -> Measured:
    """Measure which images of the evaluation set are classified correctly."""
    network, _, x, y = panel_of(trained, words_of(spec))
    correct = loss.correct(network, x, y)
    return Measured({metrics.ACCURACY.name: float(correct.double().mean())}, {"correct": correct})


def lost(spec: Spec, own: Measured, dense: Measured) -> Measured:
    """Measure how much accuracy is lost to the dense network, paired by image."""
    return Measured(loss.accuracy_lost(own.arrays["correct"], dense.arrays["correct"]))


def size(spec: Spec, trained: Network) -> Measured:
    """Count parameters and the share of them that is kept."""
    layers = layers_of(spec)
    mask, cover = trained.mask(layers), trained.cut.cover
    free = trained.workshop.free(layers)
    parameters = cover.among(trained.workshop.sizes)
    gone = parameters.size - parameters.kept
    found = cost.parameters(trained.workshop.twin, mask, free, gone=gone)
    return Measured(found, facts={"densities": mask.densities})


def as_if(spec: Spec, own: Measured, dense: Network) -> Measured:
    """Say at which densities a ticket would keep as many parameters as a narrower network has."""
    layers, workshop = layers_of(spec), dense.workshop
    whole, free = workshop.whole(layers), workshop.free(layers)
    return Measured(cost.as_if(own.metrics, workshop.twin, whole, free))


def rate(spec: Spec, trained: Network) -> Measured:
    """Say with which learning rate a network was trained that had a choice."""
    return Measured({metrics.RATE.name: trained.train.lr})


def macs(spec: Spec, trained: Network) -> Measured:
    """Count the multiply-accumulates of one image."""
    mask = Mask(small(trained.mask(layers_of(spec)), trained.cut.cover))
    return Measured(cost.macs(trained.network(), mask, trained.workshop.example))


def initial(spec: Spec, trained: Network, begin: Any) -> Measured:
    """Count the initial weights that are kept and that are cut, by size."""
    mask = trained.mask(layers_of(spec))
    return Measured(arrays={"initial": anatomy.initial(begin.state.weights, mask)})


def masks(spec: Spec, *cuts: Any) -> Measured:
    """Add up the optimizer steps until the mask was known, had each run ended where the next mask
    was settled."""
    return Measured({metrics.STEPS_TO_MASK.name: sum(cut.steps for cut in cuts)})


def judged(spec: Spec, samples: Any, judge: quality.Referee) -> Measured:
    """Judge samples by FID, KID, precision and recall of a feature extractor of the same images."""
    named = dict(quality.sample_metrics(samples.images, judge))
    found = {f"quality/{spec['sampler']}/{name}": value for name, value in named.items()}
    return Measured(found)


def memorised(spec: Spec, samples: Any, trained: Network, pixels: Any) -> Measured:
    """Count the samples that copy any of the images that the network was trained on."""
    learnt = trained.images
    training = to_bytes(pixels.scaled(learnt.splits["train"])).cpu()
    share = quality.memorised(samples.images, training, mirrored=learnt.mirrors)
    return Measured({metrics.MEMORISED.of(sampler=spec["sampler"]): share})


def inception(spec: Spec, samples: Any, judge: quality.Referee, weights: Any) -> Measured:
    """Judge samples by FID and KID of Inception-v3."""
    named = dict(quality.inception_metrics(samples.images, judge.real, weights.path, judge.device))
    return Measured({f"quality/{spec['sampler']}/{name}": value for name, value in named.items()})


def efficientnet(spec: Spec, samples: Any, extractor: deep.Extractor) -> Measured:
    """Judge samples by FID and KID of EfficientNet-Lite0."""
    named = deep.judged(samples.images, extractor)
    return Measured({f"quality/{spec['sampler']}/{name}": value for name, value in named})


def perceptual(spec: Spec, samples: Any, dense: Any, extractor: deep.Extractor) -> Measured:
    """Compare images one by one with the dense network's, by the features of EfficientNet-Lite0."""
    distance = extractor.distances(samples.images, dense.images).mean()
    name = metrics.PERCEPTUAL.of(sampler=spec["sampler"], extractor=deep.NAME)
    return Measured({name: float(distance)})


def paired_with(spec: Spec, samples: Any, dense: Any, judge: quality.Referee) -> Measured:
    """Compare images one by one with those that the dense network makes of the same noise."""
    found, worth = paired.compared(spec["sampler"], samples.images, dense.images, judge)
    return Measured(found, worth)


def grid(spec: Spec, samples: Any) -> Measured:
    """Draw the first samples as a grid."""
    return Measured(files={f"samples_{spec['sampler']}": quality.grid(samples.images)})


def floor(spec: Spec, latents: Any, pixels: Any, judge: quality.Referee) -> Measured:
    """Judge training images that only went through the autoencoder: no sampler of latents can be
    better."""
    index = pixels.splits["train"][: words_of(spec).samples]
    again = latents.decode(latents.scaled(index))
    return Measured(quality.floor(again, pixels.scaled(index), judge))


PANEL = ("measure.split", "measure.images", "measure.timesteps")
LAYERS = ("prune.layers",)
STRESS = ("measure.split", "measure.robust")

MEASURES: dict[str, Measure] = {
    "loss": Measure(
        ("network",),
        heldout,
        (metrics.HELDOUT, metrics.TRAIN, metrics.GAP, metrics.BAND),
        PANEL,
    ),
    "excess": Measure(("loss", "dense loss"), excess, (metrics.EXCESS, metrics.EXCESS_SE)),
    "accuracy": Measure(
        ("network",),
        accuracy,
        (metrics.ACCURACY,),
        ("measure.split", "measure.images"),
        lambda asked: asked.classifies,
    ),
    "lost": Measure(
        ("accuracy", "dense accuracy"),
        lost,
        (metrics.LOST, metrics.LOST_SE),
        asked=lambda asked: asked.classifies,
    ),
    "size": Measure(
        ("network",),
        size,
        (metrics.PARAMETERS, metrics.PRUNABLE_SIZE, metrics.KEPT, metrics.PRUNABLE, metrics.TOTAL),
        LAYERS,
    ),
    "rate": Measure(("network",), rate, (metrics.RATE,), asked=lambda asked: asked.narrow),
    "macs": Measure(("network",), macs, (metrics.MACS_DENSE, metrics.MACS_MASKED), LAYERS),
    "as_if": Measure(
        ("size", "dense"),
        as_if,
        (metrics.PRUNABLE, metrics.TOTAL),
        LAYERS,
        lambda asked: asked.narrow,
    ),
    "judged": Measure(
        ("samples", "judge"),
        judged,
        (metrics.FID, metrics.KID, metrics.PRECISION, metrics.RECALL),
        asked=lambda asked: asked.examined and asked.judged,
        per_sampler=True,
    ),
    "memorised": Measure(
        ("samples", "network", "pixels"),
        memorised,
        (metrics.MEMORISED,),
        asked=lambda asked: asked.examined and asked.judged,
        per_sampler=True,
    ),
    "inception": Measure(
        ("samples", "judge", "inception"),
        inception,
        (metrics.FID, metrics.KID),
        asked=lambda asked: asked.examined and asked.judged and bool(asked.measure.inception),
        per_sampler=True,
    ),
    "paired": Measure(
        ("samples", "dense samples", "judge"),
        paired_with,
        (metrics.PAIRED, metrics.SSIM, metrics.NOISE_RANKS, metrics.NOISE_ALONE),
        asked=lambda asked: asked.examined and asked.judged and asked.index > 0,
        per_sampler=True,
    ),
    "efficientnet": Measure(
        ("samples", "efficientnet"),
        efficientnet,
        (metrics.FID, metrics.KID),
        asked=lambda asked: asked.examined and asked.judged and asked.measure.efficientnet,
        per_sampler=True,
    ),
    "perceptual": Measure(
        ("samples", "dense samples", "efficientnet"),
        perceptual,
        (metrics.PERCEPTUAL,),
        asked=lambda asked: (
            asked.examined and asked.judged and asked.measure.efficientnet and asked.index > 0
        ),
        per_sampler=True,
    ),
    "grid": Measure(
        ("samples",),
        grid,
        asked=lambda asked: asked.examined and asked.judged,
        per_sampler=True,
    ),
    "floor": Measure(
        ("latents", "pixels", "judge"),
        floor,
        (metrics.FLOOR_MSE, metrics.FLOOR),
        ("measure.samples",),
        lambda asked: asked.examined and asked.judged and asked.in_latents,
    ),
    "initial": Measure(("network", "initial"), initial, (), LAYERS, lambda asked: asked.index > 0),
    "sharpness": Measure(
        ("network",),
        probes.sharpness,
        (metrics.SHARPNESS,),
        (*PANEL, "measure.perturbations", *LAYERS),
        lambda asked: asked.probed and asked.measure.perturbations > 0,
    ),
    "sensitivity": Measure(
        ("network",),
        probes.sensitivity,
        (),
        (*PANEL, *LAYERS),
        lambda asked: asked.probed and asked.measure.sensitivity,
    ),
    "barrier": Measure(
        ("network", "fellow"),
        probes.barrier,
        (metrics.BARRIER_RAW, metrics.BARRIER_EMA, metrics.BARRIER_BAND),
        PANEL,
        lambda asked: asked.forked,
    ),
    "connected": Measure(
        ("network", "previous"),
        probes.connected,
        (metrics.BARRIER_PREVIOUS, metrics.BARRIER_PREVIOUS_BAND),
        PANEL,
        lambda asked: asked.measure.connected and asked.chained,
    ),
    "robust": Measure(
        ("network", "stressed samples"),
        robustness.robust,
        (metrics.CLEAN_ERROR, metrics.STRESSED),
        STRESS,
        lambda asked: asked.measure.robust > 0 and asked.denoises,
    ),
    "attack": Measure(
        ("network",),
        robustness.attack,
        (
            metrics.STRESSED,
            metrics.OVER_RANDOM,
            metrics.LONGER_ATTACK,
            metrics.HUGE_ATTACK,
            metrics.GRADIENT,
        ),
        (*STRESS, "measure.attack"),
        lambda asked: asked.measure.robust > 0 and asked.denoises,
    ),
    "transferred": Measure(
        ("network", "dense attack"),
        robustness.transferred,
        (metrics.TRANSFERRED,),
        STRESS,
        lambda asked: asked.measure.robust > 0 and asked.denoises and asked.index > 0,
    ),
    "masks": Measure(
        ("masks",),
        masks,
        (metrics.STEPS_TO_MASK,),
        asked=lambda asked: asked.early and asked.index > 0,
    ),
}
