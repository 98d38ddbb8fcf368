"""Every metric that a round may hold: its name, its label in tables and charts, its unit and which way is better.

Names are paths, written here and nowhere else. A name with fields in braces stands for a family:
`quality/{sampler}/kid_{extractor}` is one metric for each sampler and feature extractor.
"""

import re
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True)
class Metric:
    """A number that is measured of a round."""

    name: str
    """Path of the metric; fields in braces make it a family."""
    label: str
    """Words for an axis or the head of a column."""
    unit: str = ""
    """Unit of the number; empty where it is a pure number."""
    better: Better = "neither"

    def of(self, **fields: str) -> str:
        """Return the name of one member of a family, such as KID.of(sampler="ddim", extractor="lenet")."""
        return self.name.format(**fields)

    @property
    def pattern(self) -> re.Pattern[str]:
        """Regular expression that matches the names of the family, each field a group."""
        parts = re.split(r"\{(\w+)\}", self.name)
        pieces = [f"(?P<{part}>[^/]+)" if i % 2 else re.escape(part) for i, part in enumerate(parts)]
        return re.compile("".join(pieces))


HELDOUT = Metric("loss/heldout", "held-out loss", better="lower")
TRAIN = Metric("loss/train", "loss on training images", better="lower")
GAP = Metric("loss/gap", "held-out over training loss, less 1")
EXCESS = Metric("loss/excess", "excess loss over the own dense network", better="lower")
EXCESS_SE = Metric("loss/excess_se", "standard error of the excess over images")
BAND = Metric("loss/t{start}", "held-out loss from timestep {start} on", better="lower")
SHARPNESS = Metric("loss/sharpness", "relative rise of the loss under weight noise", better="lower")

ACCURACY = Metric("quality/accuracy", "accuracy", better="higher")
LOST = Metric("quality/lost", "accuracy lost to the own dense network", better="lower")
LOST_SE = Metric("quality/lost_se", "standard error of the accuracy lost")
FID = Metric("quality/{sampler}/fid_{extractor}", "FID", better="lower")
KID = Metric("quality/{sampler}/kid_{extractor}", "KID", better="lower")
PRECISION = Metric("quality/{sampler}/precision_{extractor}", "precision", better="higher")
RECALL = Metric("quality/{sampler}/recall_{extractor}", "recall", better="higher")
MEMORISED = Metric("quality/{sampler}/memorised", "share of samples that copy a training image", better="lower")
FLOOR_MSE = Metric("floor/mse", "squared error of the autoencoder", better="lower")
FLOOR = Metric("floor/{name}", "sample metric of images that only went through the autoencoder", better="lower")

PRUNABLE = Metric("density/prunable", "density of the prunable weights")
TOTAL = Metric("density/total", "density of all parameters")

PARAMETERS = Metric("cost/parameters", "parameters", better="lower")
PRUNABLE_SIZE = Metric("cost/prunable", "weights that may be cut")
KEPT = Metric("cost/kept", "parameters kept", better="lower")
MACS_DENSE = Metric("cost/macs_dense", "multiply-accumulates of an image", "MAC", "lower")
MACS_MASKED = Metric("cost/macs_masked", "multiply-accumulates of kept weights of an image", "MAC", "lower")
STEPS_OF_WEIGHTS = Metric("cost/steps_of_weights", "optimizer steps behind the weights", "step", "lower")
STEPS_SPENT = Metric("cost/steps_spent", "optimizer steps spent to get here", "step", "lower")
STEPS_SAVED = Metric("cost/steps_saved", "optimizer steps saved by a given ticket", "step", "higher")
STEPS_TO_MASK = Metric("cost/steps_to_mask", "optimizer steps until the mask was known", "step", "lower")
TICKET_BYTES = Metric("cost/ticket_bytes", "size of the ticket file", "B", "lower")
TICKET_BYTES_WITH_WEIGHTS = Metric("cost/ticket_bytes_with_weights", "size of the ticket with its weights", "B", "lower")
TRAIN_SECONDS = Metric("cost/train_seconds", "seconds of training", "s", "lower")
MEASURE_SECONDS = Metric("cost/measure_seconds", "seconds of measuring", "s", "lower")

BARRIER_RAW = Metric("barrier/raw", "error barrier of the raw weights", better="lower")
BARRIER_EMA = Metric("barrier/ema", "error barrier of the averaged weights", better="lower")
BARRIER_BAND = Metric("barrier/t{start}", "error barrier from timestep {start} on", better="lower")
SPARSEST_MATCHING = Metric("ticket/sparsest_matching_density", "sparsest density that matches", better="lower")

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


def find(name: str) -> Metric | None:
    """Return the metric, or family of metrics, that a name belongs to; None where it is none of ours."""
    exact = next((metric for metric in METRICS if metric.name == name), None)
    return exact or next((metric for metric in METRICS if metric.pattern.fullmatch(name)), None)
