"""How good a network's samples are: FID, KID, precision and recall, memorisation, picture grids.

FID, precision and recall come from torch-fidelity. Metrics carry the sampler and the extractor that
saw the images: quality/ddim/fid_lenet is not quality/ddim/fid_inception. Images are uint8 of shape
[n, C, H, W] unless a docstring says otherwise. Extractors take them to their own device and give
features on the CPU, where all metrics are computed: torch-fidelity places nothing.
"""

import io
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lthray.config.fields import ConfigError, checked
from lthray.core import metrics
from lthray.core.metrics import Metric
from lthray.core.task import to_bytes
from lthray.task.saved import pickled

SPLIT = 512  # images a forward pass
REAL = 10_000  # at most so many real images stand on the other side of FID and KID
NEIGHBOURS = 3  # of precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991)
COPIED = 1 / 3  # nearest over second-nearest distance below which a sample counts as memorised
SUBSET = 1000  # images in a subset of torch-fidelity's KID, at most
SMALLEST = 24  # pixels; the images of a grid are enlarged to this side at least

Named = Iterator[tuple[str, float]]
Decode = Callable[[Tensor], Tensor]


class Reals:
    """The features of real images, [n, d] on the CPU, and what every set of samples is compared
    with: computed once."""

    def __init__(self, features: Tensor):
        """Take the `features`."""
        self.features = features

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """Their mean and covariance, as torch-fidelity has them."""
        from torch_fidelity.metric_fid import fid_features_to_statistics

        found: dict[str, Any] = fid_features_to_statistics(self.features)
        return found

    @cached_property
    def within(self) -> float:
        """The mean kernel over all pairs of different images."""
        return _kernel_within(self.features.double())


class Referee:
    """A feature extractor for sample metrics: a classifier's hidden layer and the real images.

    Features are standardised by those of the real images.
    """

    def __init__(
        self,
        name: str,
        features: Callable[[Tensor], Tensor],
        real: Tensor,
        device: torch.device | str = "cpu",
    ):
        """Take the extractor's `name`, its `features` and the `real` images.

        `features` maps float images in [-1, 1] on `device` to [n, d].
        """
        self.name, self.real = name, real[:REAL].cpu()
        self.features, self.device = features, torch.device(device)
        seen = self._raw(self.real)
        self.mean, self.scale = seen.mean(0), seen.std(0).clamp_min(1e-6)
        self.width = seen.shape[1]
        self.reals = Reals(self._standardised(seen))

    def __call__(self, images: Tensor) -> Tensor:
        """Return the standardised features of `images`, [n, d] on the CPU."""
        return self._standardised(self._raw(images))

    @torch.no_grad()
    def _raw(self, images: Tensor) -> Tensor:
        return torch.cat(list(map(self._part, images.split(SPLIT))))

    def _part(self, images: Tensor) -> Tensor:
        return self.features(_floats(images.to(self.device))).cpu()

    def _standardised(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.scale


def sample_metrics(fakes: Tensor, referee: Referee) -> Named:
    """Yield FID, KID, precision and recall of the samples `fakes` by the referee's features.

    Each is the last part of a metric's name and a number. torch-fidelity's KID is a mean over
    random subsets, with their noise, so KID is taken here over all of both sets. Raises ValueError
    below ten images a feature.
    """
    from torch_fidelity.metric_prc import prc_features_to_metric

    smaller = min(len(fakes), len(referee.real))
    if smaller < 10 * referee.width:
        raise ValueError(f"{smaller} images for {referee.width} features: FID needs ten a feature")
    seen, reals = referee(fakes), referee.reals
    found = prc_features_to_metric(
        seen, reals.features, prc_neighborhood=NEIGHBOURS, save_cpu_ram=True, verbose=False
    )
    yield named_by(metrics.FID, referee.name), fid(seen, reals)
    yield named_by(metrics.KID, referee.name), kid(seen, reals)
    yield named_by(metrics.PRECISION, referee.name), found["precision"]
    yield named_by(metrics.RECALL, referee.name), found["recall"]


def inception_metrics(
    fakes: Tensor, real: Tensor, weights: str, device: torch.device | str = "cpu"
) -> Named:
    """Yield FID and KID by the Inception-v3 of torch-fidelity, on `device`, of the samples `fakes`.

    Each is the last part of a metric's name and a number. `weights` is the path of a safetensors
    file (never a pickle). KID is the mean over 100 subsets of at most 1000 images.
    """
    from torch_fidelity import calculate_metrics

    real = real[:REAL].cpu()
    fidelity = calculate_metrics(
        input1=_Images(rgb(fakes).cpu()),
        input2=_Images(rgb(real)),
        feature_extractor=inception(weights, device),
        batch_size=SPLIT,
        fid=True,
        kid=True,
        kid_subset_size=min(len(fakes), len(real), SUBSET),
        cuda=False,  # the extractor places its own work
        cache=False,  # its cache knows neither the images nor the extractor's weights
        save_cpu_ram=True,  # no loader processes inside a worker
        verbose=False,
    )
    yield named_by(metrics.FID, "inception"), fidelity["frechet_inception_distance"]
    yield named_by(metrics.KID, "inception"), fidelity["kernel_inception_distance_mean"]


def kid(fakes: Tensor, reals: Reals) -> float:
    """Return the kernel inception distance of the features `fakes` [n, d] from `reals`.

    It is the unbiased MMD^2 with the kernel (x.y / d + 1)^3 over all of both sets, and may be
    negative (Binkowski et al. 2018, arXiv 1801.01401).
    """
    a, b = fakes.double(), reals.features.double()
    across = _kernel_sum(a, b) / (len(a) * len(b))
    return _kernel_within(a) + reals.within - 2 * across


def fid(fakes: Tensor, reals: Reals) -> float:
    """Return the Frechet distance of the features `fakes` [n, d] from `reals`, by
    torch-fidelity."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    own = fid_features_to_statistics(fakes)
    found = fid_statistics_to_metric(own, reals.statistics, verbose=False)
    return float(found["frechet_inception_distance"])


def memorised(fakes: Tensor, training: Tensor, *, mirrored: bool = False) -> float:
    """Return the share of `fakes` that lie three times nearer to one training image than to others.

    `training` are all images that the network was trained on, at least two; it has seen some of
    them `mirrored` if so. An image that is there twice counts once. The check of Nichol and
    Dhariwal 2021 (arXiv 2102.09672).
    """
    training = _once(training, mirrored=mirrored)
    ways = [fakes, fakes.flip(-1)] if mirrored else [fakes]
    samples = [way.flatten(1).float() for way in ways]
    nearest = torch.full((len(fakes), 2), torch.inf)
    for part in training.flatten(1).split(SPLIT):
        images = part.float()
        distances = torch.stack([torch.cdist(way, images) for way in samples]).amin(0)
        nearest = torch.cat([nearest, distances], 1).topk(2, largest=False).values
    copied = nearest[:, 0] < COPIED * nearest[:, 1]
    return float(copied.double().mean())


def _once(images: Tensor, *, mirrored: bool) -> Tensor:
    """Return images without those that repeat another one, or its mirror image, in order."""
    ways = [images, images.flip(-1)] if mirrored else [images]
    _, places = torch.unique(torch.cat(ways).flatten(1), dim=0, return_inverse=True)
    alike = places.reshape(len(ways), -1).amin(0)
    _, first = np.unique(alike.numpy(force=True), return_index=True)
    return images[torch.from_numpy(np.sort(first))]


def floor(again: Tensor, real: Tensor, referee: Referee) -> dict[str, float]:
    """Return the metrics that no sampler of latents can surpass.

    `again` are float images in [-1, 1] that went through the autoencoder, `real` the same images
    before. They are training images, so that the numbers are a floor.
    """
    values = {metrics.FLOOR_MSE.name: float((again - real).square().mean())}
    for name, value in sample_metrics(to_bytes(again).cpu(), referee):
        values[metrics.FLOOR.of(name=name)] = value
    return values


def grid(images: Tensor, columns: int = 8) -> bytes:
    """Return a PNG of the first `columns`^2 images, small ones enlarged by whole factors."""
    from PIL import Image
    from torchvision.utils import make_grid

    factor = max(1, SMALLEST // images.shape[-1])
    shown = images[: columns**2].cpu()
    large = shown.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    sheet = make_grid(large, nrow=columns, padding=2, pad_value=96)
    file = io.BytesIO()
    Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


def inception(path: str, device: torch.device | str = "cpu") -> str:
    """Register Inception-v3 with the weights of a safetensors file, and return its name.

    The name is one in torch-fidelity's registry; the network works on `device`. Raises ConfigError
    for another file.
    """
    from unittest.mock import patch

    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch_fidelity import feature_extractor_inceptionv3 as module

    class Inception(module.FeatureExtractorInceptionV3):
        def __init__(self, name: str, features_list: list[str], **_: Any):
            # torch-fidelity would unpickle a path; its download function takes tensors instead
            with patch.object(module, "load_state_dict_from_url", lambda *_a, **_k: weights):
                super().__init__(name, features_list)
            self.to(device)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return tuple(features.cpu() for features in super().forward(x.to(device)))

    how = pickled(checked("measure.inception", path))
    if how:
        raise ConfigError([f"measure.inception = {path!r}: {how}"])
    try:
        weights = load_file(path)
        Inception("inception", ["2048"])
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        fault = f"{path!r}: not torch-fidelity's Inception as safetensors ({reason})"
        raise ConfigError([f"measure.inception = {fault}"]) from None
    return _register("lthray-inception", Inception)


def named_by(metric: Metric, extractor: str) -> str:
    """Return the last part of a metric's name, for the samples of any sampler."""
    return metric.of(sampler="", extractor=extractor).rpartition("/")[2]


def _kernel_sum(x: Tensor, y: Tensor, *, within: bool = False) -> float:
    """Return the sum of the kernel over all pairs of rows of `x` and `y`.

    `within` leaves out the pairs of a row and itself. They are never added, for beside the kernel
    of an outlier and itself all others would be lost to rounding.
    """
    total = 0.0
    for start in range(0, len(x), SPLIT):
        kernel = (x[start : start + SPLIT] @ y.T / x.shape[1] + 1) ** 3
        if within:
            kernel.diagonal(start).zero_()
        total += float(kernel.sum())
    return total


def _kernel_within(x: Tensor) -> float:
    """Return the mean kernel over all pairs of different rows of `x`."""
    return _kernel_sum(x, x, within=True) / (len(x) * (len(x) - 1))


class _Images(Dataset):
    """Images as torch-fidelity reads them."""

    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def _register(name: str, extractor: type) -> str:
    """Register an extractor in the place of any other of that name, which would be refused."""
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    FEATURE_EXTRACTORS_REGISTRY.pop(name, None)
    register_feature_extractor(name, extractor)
    return name


def _floats(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def rgb(images: Tensor) -> Tensor:
    """Return images of one or three channels as ones of three."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
