"""How good a network's samples are: FID, KID, precision and recall through torch-fidelity, memorisation, grids.

Metrics carry the sampler and the extractor that saw the images: quality/ddim/fid_lenet is not quality/ddim/fid_inception.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.core.random import generator
from lthray.task.data import Images, to_bytes
from lthray.task.objectives import sample

SPLIT = 512  # images a forward pass
REAL = 10_000  # at most so many real images stand on the other side of FID and KID
NEIGHBOURS = 3  # of precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991)
COPIED = 1 / 3  # nearest over second-nearest distance below which a sample counts as memorised

Named = Iterator[tuple[str, float]]
Decode = Callable[[Tensor], Tensor]


def examine(
    network: nn.Module, config: TrialConfig, images: Images, referee: "Referee", decode: Decode
) -> tuple[dict[str, float], dict[str, bytes]]:
    """Metrics and picture grids of the samples that `network` makes of one fixed bank of noise, for each sampler; `decode`
    makes pictures of what it works on."""
    device = images.images.device
    bank = torch.randn(config.measure.samples, *images.shape, generator=generator("bank", device=device), device=device)
    metrics: dict[str, float] = {}
    grids: dict[str, bytes] = {}
    samplers, steps = config.measure.samplers, config.measure.sampling_steps
    for sampler, calls in zip(samplers, steps if len(steps) > 1 else steps * len(samplers), strict=True):
        fakes = to_bytes(decode(sample(network, config.objective, sampler, calls, bank))).cpu()
        named = dict(sample_metrics(fakes, referee))
        named["memorised"] = memorised(fakes, referee.real)
        if config.measure.inception:
            named |= dict(inception_metrics(fakes, referee.real, config.measure.inception))
        metrics |= {f"quality/{sampler}/{name}": value for name, value in named.items()}
        grids[f"samples_{sampler}"] = grid(fakes)
    return metrics, grids


def floor(again: Tensor, real: Tensor, referee: "Referee") -> dict[str, float]:
    """What no sampler of latents can be better than: images [n, C, H, W] in [-1, 1] that went through the autoencoder, and
    as they were. Of training images, so that it is a floor."""
    found = {"floor/mse": float((again - real).square().mean())}
    return found | {f"floor/{name}": value for name, value in sample_metrics(to_bytes(again).cpu(), referee)}


class Referee:
    """A feature extractor as torch-fidelity wants it: a classifier's hidden layer, standardised by the real images."""

    def __init__(self, name: str, features: Callable[[Tensor], Tensor], real: Tensor):
        """`features` maps float images in [-1, 1] to [n, d]; `real` are uint8 images [n, C, H, W]."""
        self.name, self.real = name, real[:REAL].cpu()
        with torch.no_grad():
            seen = torch.cat([features(_floats(part)) for part in self.real.split(SPLIT)])
        self.mean, self.scale = seen.mean(0), seen.std(0).clamp_min(1e-6)
        self.features, self.width = features, seen.shape[1]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Standardised features of uint8 images, [n, d]."""
        return (self.features(_floats(images)) - self.mean) / self.scale


def sample_metrics(fakes: Tensor, referee: Referee) -> Named:
    """FID, KID, precision and recall of uint8 images `fakes` against the referee's real ones.

    FID, precision and recall by torch-fidelity; its KID is a mean over random subsets, with their noise, so KID is taken
    here over all of both sets. ValueError below ten images a feature.
    """
    smaller = min(len(fakes), len(referee.real))
    if smaller < 10 * referee.width:
        raise ValueError(f"{smaller} images for {referee.width} features: FID needs ten a feature")
    found = _fidelity(fakes, referee.real, _registered(referee), prc=True)
    yield f"fid_{referee.name}", found["frechet_inception_distance"]
    yield f"kid_{referee.name}", kid(referee(fakes), referee(referee.real))
    yield f"precision_{referee.name}", found["precision"]
    yield f"recall_{referee.name}", found["recall"]


def inception_metrics(fakes: Tensor, real: Tensor, weights: str) -> Named:
    """FID and KID with torch-fidelity's Inception-v3, its weights read from a safetensors file (never a pickle).

    KID as torch-fidelity takes it: the mean over 100 subsets of at most 1000 images.
    """
    smaller = min(len(fakes), len(real[:REAL]), 1000)
    found = _fidelity(_rgb(fakes), _rgb(real[:REAL].cpu()), inception(weights), kid=True, kid_subset_size=smaller)
    yield "fid_inception", found["frechet_inception_distance"]
    yield "kid_inception", found["kernel_inception_distance_mean"]


def kid(a: Tensor, b: Tensor) -> float:
    """Unbiased MMD^2 with the kernel (x.y / d + 1)^3 over all of two feature sets [n, d], [m, d]; may be negative
    (Binkowski et al. 2018, arXiv 1801.01401)."""
    a, b = a.double(), b.double()
    within = [(_kernel_sum(x, x) - float(_kernel(x, x, paired=True).sum())) / (len(x) * (len(x) - 1)) for x in (a, b)]
    return sum(within) - 2 * _kernel_sum(a, b) / (len(a) * len(b))


def _kernel(x: Tensor, y: Tensor, *, paired: bool = False) -> Tensor:
    products = (x * y).sum(1) if paired else x @ y.T
    return (products / x.shape[1] + 1) ** 3


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    return sum(float(_kernel(part, y).sum()) for part in x.split(SPLIT))


def memorised(fakes: Tensor, real: Tensor) -> float:
    """Share of fakes that lie three times nearer to one training image than to the next (iDDPM's check)."""
    a, b = fakes.flatten(1).float(), real.flatten(1).float()
    nearest = torch.cat([torch.cdist(part, b).topk(2, largest=False).values for part in a.split(SPLIT)])
    return float((nearest[:, 0] < COPIED * nearest[:, 1]).double().mean())


def grid(images: Tensor, columns: int = 8) -> bytes:
    """A PNG of the first columns^2 uint8 images [n, C, H, W], small ones enlarged by whole factors."""
    from PIL import Image
    from torchvision.utils import make_grid

    factor = max(1, 24 // images.shape[-1])
    large = images[: columns**2].cpu().repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    sheet = make_grid(large, nrow=columns, padding=2, pad_value=96)
    file = io.BytesIO()
    Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


class _Images(Dataset):
    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def _fidelity(fakes: Tensor, real: Tensor, extractor: str, **wanted: Any) -> dict[str, float]:
    from torch_fidelity import calculate_metrics

    return calculate_metrics(
        input1=_Images(fakes.cpu()),
        input2=_Images(real),
        feature_extractor=extractor,
        batch_size=SPLIT,
        fid=True,
        prc_neighborhood=NEIGHBOURS,
        cuda=torch.cuda.is_available(),
        cache=False,  # its cache knows neither the images nor the extractor's weights
        save_cpu_ram=True,  # no loader processes inside a worker
        verbose=False,
        **wanted,
    )


def _registered(referee: Referee) -> str:
    """The referee under a name of its own in torch-fidelity's registry."""
    from torch_fidelity import FeatureExtractorBase
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    class Registered(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: Any):
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return (str(referee.width),)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return str(referee.width)

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (referee(x),)

    name = f"lthray-{referee.name}"
    FEATURE_EXTRACTORS_REGISTRY.pop(name, None)  # one referee a name at a time; the registry refuses a second
    register_feature_extractor(name, Registered)
    return name


def inception(path: str) -> str:
    """Inception-v3 with the weights of a safetensors file, under a name in the registry; ConfigError for another file."""
    from unittest.mock import patch

    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch_fidelity import feature_extractor_inceptionv3 as module
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    class Inception(module.FeatureExtractorInceptionV3):
        def __init__(self, name: str, features_list: list[str], **_: Any):
            # given a path, torch-fidelity would unpickle it; its download function is the seam for safe tensors
            with patch.object(module, "load_state_dict_from_url", lambda *_a, **_k: weights):
                super().__init__(name, features_list)

    try:
        weights = load_file(path)
        Inception("inception", ["2048"])
    except (SafetensorError, OSError, RuntimeError) as error:
        lines = str(error).splitlines()
        raise ConfigError(
            [f"measure.inception = {path!r}: not torch-fidelity's Inception as safetensors ({lines[0]})"]
        ) from None
    FEATURE_EXTRACTORS_REGISTRY.pop("lthray-inception", None)
    register_feature_extractor("lthray-inception", Inception)
    return "lthray-inception"


def _floats(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def _rgb(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
