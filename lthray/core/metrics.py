"""Every metric that a round may hold: its name, its label in tables and charts, its unit.

Names are paths, written here and nowhere else. A name with fields in braces stands for a family:
`quality/{sampler}/kid_{extractor}` is one metric for each sampler and feature extractor.
"""

import re
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher", "neither"]

FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Metric:
    """A number, or a family of numbers, that is measured of a round."""

    name: str
    """Path of the metric; fields in braces make it a family."""
    label: str
    """Words for an axis or the head of a column; a family's fields may stand in them."""
    unit: str = ""
    """Unit of the number; empty where it is a pure number."""
    better: Better = "neither"
    """Direction in which the number improves."""

    def of(self, **fields: str) -> str:
        """Return the name of one member of a family.

        KID.of(sampler="ddim", extractor="lenet") is "quality/ddim/kid_lenet".
        """
        return self.name.format(**fields)

    @property
    def pattern(self) -> re.Pattern[str]:
        """Regular expression that matches the names of the family, each field a named group."""
        pieces = []
        for i, piece in enumerate(FIELD.split(self.name)):
            is_field = i % 2 == 1
            pieces.append(f"(?P<{piece}>[^/]+)" if is_field else re.escape(piece))
        return re.compile("".join(pieces))


def find(name: str) -> Metric | None:
    """Return the metric, or the family of metrics, that `name` belongs to; None for other names.

    A metric of exactly this name comes before a family that would hold it too.
    """
    exact = (metric for metric in METRICS if metric.name == name)
    return next(exact, None) or next((m for m in METRICS if m.pattern.fullmatch(name)), None)


# losses on the evaluation panel

HELDOUT = Metric("loss/heldout", "held-out loss", better="lower")
TRAIN = Metric("loss/train", "loss on training images", better="lower")
GAP = Metric("loss/gap", "held-out over training loss, minus 1")
EXCESS = Metric("loss/excess", "excess loss over the own dense network", better="lower")
EXCESS_SE = Metric("loss/excess_se", "standard error of the excess over images")
BAND = Metric("loss/t{start}", "held-out loss from timestep {start} on", better="lower")
SHARPNESS = Metric("loss/sharpness", "relative rise of the loss under weight noise", better="lower")

# training

RATE = Metric("train/lr", "learning rate of the narrower network")

# predictions and samples

ACCURACY = Metric("quality/accuracy", "accuracy", better="higher")
LOST = Metric("quality/lost", "accuracy lost to the own dense network", better="lower")
LOST_SE = Metric("quality/lost_se", "standard error of the accuracy lost")
FID = Metric("quality/{sampler}/fid_{extractor}", "FID", better="lower")
KID = Metric("quality/{sampler}/kid_{extractor}", "KID", better="lower")
PRECISION = Metric("quality/{sampler}/precision_{extractor}", "precision", better="higher")
RECALL = Metric("quality/{sampler}/recall_{extractor}", "recall", better="higher")
MEMORISED = Metric(
    "quality/{sampler}/memorised", "share of samples that copy a training image", better="lower"
)
PAIRED = Metric(
    "quality/{sampler}/paired_{extractor}", "distance to the dense network's images, in features"
)
PERCEPTUAL = Metric(
    "quality/{sampler}/perceptual_{extractor}", "perceptual distance to the dense network's images"
)
SSIM = Metric("quality/{sampler}/ssim", "structural similarity to the dense network's images")
NOISE_RANKS = Metric(
    "quality/{sampler}/noise_ranks", "rank correlation with the dense network of what noises give"
)
NOISE_ALONE = Metric(
    "quality/{sampler}/noise_alone", "share of its best noises that the dense network draws worse"
)
FLOOR_MSE = Metric("floor/mse", "squared error of the autoencoder", better="lower")
FLOOR = Metric(
    "floor/{name}",
    "sample metric of images that only went through the autoencoder",
    better="lower",
)

# sizes and costs

PRUNABLE = Metric("density/prunable", "density of the prunable weights")
TOTAL = Metric("density/total", "density of all parameters")
PARAMETERS = Metric("cost/parameters", "parameters", better="lower")
PRUNABLE_SIZE = Metric("cost/prunable", "weights that may be cut")
KEPT = Metric("cost/kept", "parameters kept", better="lower")
MACS_DENSE = Metric("cost/macs_dense", "multiply-accumulates of an image", "MAC", "lower")
MACS_MASKED = Metric(
    "cost/macs_masked", "multiply-accumulates of the kept weights of an image", "MAC", "lower"
)
STEPS_OF_WEIGHTS = Metric(
    "cost/steps_of_weights", "optimizer steps behind the weights", "step", "lower"
)
STEPS_SPENT = Metric("cost/steps_spent", "optimizer steps spent to get here", "step", "lower")
STEPS_SAVED = Metric(
    "cost/steps_saved", "optimizer steps saved by a given ticket", "step", "higher"
)
STEPS_TO_MASK = Metric(
    "cost/steps_to_mask", "optimizer steps until the mask was settled", "step", "lower"
)
TICKET_BYTES = Metric("cost/ticket_bytes", "size of the ticket file", "B", "lower")
TICKET_BYTES_WITH_WEIGHTS = Metric(
    "cost/ticket_bytes_with_weights", "size of the ticket file with its weights", "B", "lower"
)
TRAIN_SECONDS = Metric("cost/train_seconds", "seconds of training", "s", "lower")
MEASURE_SECONDS = Metric("cost/measure_seconds", "seconds of measuring", "s", "lower")

# robustness of a denoiser, on images of measure.robust

CLEAN_ERROR = Metric("robust/clean", "squared error of the clean image", better="lower")
STRESSED = Metric(
    "robust/{stressor}_{severity}", "squared error under {stressor} of {severity}", better="lower"
)
TRANSFERRED = Metric("attack/transferred", "squared error under the dense network's attack")
OVER_RANDOM = Metric("attack/over_random", "attack over random noise, in standard errors")
LONGER_ATTACK = Metric("attack/longer", "error after five times the steps of an attack, as a ratio")
HUGE_ATTACK = Metric("attack/huge", "error under an attack without bounds, as a ratio")
GRADIENT = Metric("attack/gradient", "norm of the gradient of the error")

# linear mode connectivity, and the verdict on a trial

BARRIER_RAW = Metric("barrier/raw", "error barrier of the raw weights", better="lower")
BARRIER_EMA = Metric("barrier/ema", "error barrier of the averaged weights", better="lower")
BARRIER_PREVIOUS = Metric(
    "barrier/previous", "error barrier to the rung before, averaged weights", better="lower"
)
BARRIER_PREVIOUS_BAND = Metric(
    "barrier/previous_t{start}",
    "error barrier to the rung before, from timestep {start} on",
    better="lower",
)
BARRIER_BAND = Metric("barrier/t{start}", "error barrier from timestep {start} on", better="lower")
SPARSEST_MATCHING = Metric(
    "ticket/sparsest_matching_density", "sparsest density that matches", better="lower"
)

# for the charts of MLflow alone: what has no place of its own there becomes a number of a round

HALVINGS = Metric("density/halvings", "halvings of the weights, as the ladder asks")
MARGIN = Metric("ticket/margin", "margin within which a ticket matches")

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
