"""Networks as users have them, for model.name = tests.nets:NAME: layers of many kinds, buffers,
norms with running statistics, and whatever is drawn in a call."""

import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

OWN = {"data.name": "tests.nets:images", "data.side": 8, "data.channels": 1, "data.classes": 2}


def images(root: str) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.integers(0, 255, (600, 8, 8), dtype=np.uint8), np.arange(600) % 2


class Plain(nn.Module):
    """Three convolutions, told the timestep as one more channel; others change the middle."""

    width = 8

    def __init__(self, shape, classes):
        super().__init__()
        self.first = nn.Conv2d(shape[0] + 1, self.width, 3, padding=1)
        self.middle = nn.Conv2d(self.width, self.width, 3, padding=1)
        self.last = nn.Conv2d(self.width, shape[0], 3, padding=1)

    def inner(self, h: Tensor) -> Tensor:
        return self.middle(h)

    def forward(self, x, t):
        time = (t / 1000)[:, None, None, None].expand_as(x[:, :1])
        h = self.first(torch.cat([x, time], 1)).relu()
        return self.last(self.inner(h).relu())


class Norm(Plain):
    """A batch norm after the middle."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.norm = nn.BatchNorm2d(self.width)

    def inner(self, h):
        return self.norm(self.middle(h))


class FrozenNorm(Norm):
    """Its norm stays in evaluation, as that of a given network often does."""

    def train(self, mode: bool = True):
        super().train(mode)
        self.norm.eval()
        return self


class Fourier(Plain):
    """Frequencies are drawn once, and are no parameter."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.register_buffer("frequencies", 4 * torch.randn(4))
        self.told = nn.Linear(8, self.width)

    def forward(self, x, t):
        phase = 6.28 * (t / 1000)[:, None] * self.frequencies
        told = self.told(torch.cat([phase.sin(), phase.cos()], 1))
        h = self.first(torch.cat([x, torch.zeros_like(x[:, :1])], 1))
        return self.last(self.middle((h + told[:, :, None, None]).relu()).relu())


class Depthwise(Plain):
    """A block of a MobileNet."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.middle = nn.Conv2d(self.width, self.width, 3, padding=1, groups=self.width)
        self.wide = nn.Conv2d(self.width, 12, 1)
        self.narrow = nn.Conv2d(12, self.width, 1)

    def inner(self, h):
        return h + self.narrow(self.wide(self.middle(h)).relu())


class Grouped(Plain):
    """A convolution of two groups, beside two that are whole."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.middle = nn.Conv2d(self.width, self.width, 3, padding=1, groups=2)
        self.more = nn.Conv2d(self.width, 6, 1)
        self.less = nn.Conv2d(6, self.width, 1)

    def inner(self, h):
        return self.middle(h) + self.less(self.more(h).relu())


class LayerNorm(Plain):
    """A block of a ConvNeXt: channels last, a norm, two linear layers."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.norm = nn.LayerNorm(self.width)
        self.wide, self.narrow = nn.Linear(self.width, 12), nn.Linear(12, self.width)

    def inner(self, h):
        z = self.norm(self.middle(h).permute(0, 2, 3, 1))
        return h + self.narrow(self.wide(z).relu()).permute(0, 3, 1, 2)


class Up(Plain):
    """Down by a strided convolution and up by a transposed one."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.down = nn.Conv2d(self.width, 12, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(12, self.width, 4, stride=2, padding=1)

    def inner(self, h):
        return self.up(self.down(self.middle(h)).relu())


class Slope(Plain):
    """A rectifier with a slope for each channel."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.slope = nn.PReLU(self.width)

    def inner(self, h):
        return self.slope(self.middle(h))


class Shared(Plain):
    """Two layers with one weight."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.again = nn.Conv2d(self.width, self.width, 3, padding=1)
        self.again.weight = self.middle.weight

    def inner(self, h):
        return self.again(self.middle(h).relu())


class Attention(Plain):
    """Attention over all pixels, whose weights are in no layer."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.attention = nn.MultiheadAttention(self.width, 2, batch_first=True)

    def inner(self, h):
        z = h.flatten(2).mT
        return self.middle(h) + self.attention(z, z, z)[0].mT.reshape(h.shape)


class Drops(Plain):
    """Dropout without a module."""

    def inner(self, h):
        return self.middle(F.dropout(h, 0.2, training=self.training))


class DropsAlways(Plain):
    """The default of F.dropout, which does not ask whether the network is in training."""

    def inner(self, h):
        return self.middle(F.dropout(h, 0.2))


class Noisy(Plain):
    """Noise in training."""

    def inner(self, h):
        return self.middle(h + 0.1 * torch.randn_like(h) * float(self.training))


class ByNumpy(Plain):
    """Noise of numpy."""

    def inner(self, h):
        return self.middle(h) * float(np.random.rand())


class ByPython(Plain):
    """A choice of Python's random."""

    def inner(self, h):
        return self.middle(h) if random.random() < 2 else h


class ByItself(Plain):
    """Has a generator of its own, which no state holds."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.generator = torch.Generator().manual_seed(0)

    def inner(self, h):
        return self.middle(h) * torch.rand((), generator=self.generator)


class Counts(Plain):
    """A count that is in no buffer."""

    calls = 0

    def inner(self, h):
        self.calls += 1
        return self.middle(h) / self.calls


class Hides(Plain):
    """Draws a tensor that is neither parameter nor buffer."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.scale = torch.rand(())

    def inner(self, h):
        return self.middle(h) * self.scale


class Grows(Plain):
    """A buffer that the first call makes."""

    def inner(self, h):
        self.register_buffer("seen", torch.ones(1))
        return self.middle(h)


class Lazy(Plain):
    """A layer without sizes."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.middle = nn.LazyConv2d(self.width, 3, padding=1)


class Reshaped(nn.Conv2d):
    """A convolution that computes with another weight than it stores."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean(), bias)


class Standardised(Plain):
    """A layer that computes with another weight than it stores."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.middle = Reshaped(self.width, self.width, 3, padding=1)


class Spectral(Plain):
    """Spectral normalisation, as a parametrisation."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.middle = nn.utils.parametrizations.spectral_norm(self.middle)


class WeightNorm(Plain):
    """Weight normalisation, as a parametrisation."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.middle = nn.utils.parametrizations.weight_norm(self.middle)


class OldSpectral(Plain):
    """Spectral normalisation as it was before parametrisations."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.middle = nn.utils.spectral_norm(self.middle)


class OldWeightNorm(Plain):
    """Weight normalisation as it was before parametrisations."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.middle = nn.utils.weight_norm(self.middle)


class Pruned(Plain):
    """A layer that torch has pruned."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        prune.l1_unstructured(self.middle, "weight", 0.5)


class Patched(Plain):
    """A layer whose forward was replaced."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        layer = self.middle
        self.middle.forward = lambda x: F.conv2d(x, layer.weight.abs(), layer.bias, padding=1)


class Moves(Plain):
    """Centres its weights in every call."""

    def inner(self, h):
        with torch.no_grad():
            self.middle.weight.sub_(self.middle.weight.mean())
        return self.middle(h)


class Recurrent(Plain):
    """A recurrent layer over all pixels."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.recurrent = nn.GRU(self.width, self.width, batch_first=True)

    def inner(self, h):
        return self.middle(h) + self.recurrent(h.flatten(2).mT)[0].mT.reshape(h.shape)


class Shuffled(Plain):
    """Pixels that become channels, and channels that become pixels."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.wide = nn.Conv2d(4 * self.width, 4 * self.width, 1)

    def inner(self, h):
        return self.middle(F.pixel_shuffle(self.wide(F.pixel_unshuffle(h, 2)).relu(), 2))


class Volume(Plain):
    """A convolution of three sides over the channels."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.middle = nn.Conv3d(1, 4, 3, padding=1)
        self.back = nn.Conv3d(4, 1, 1)

    def inner(self, h):
        return self.back(self.middle(h[:, None]).relu())[:, 0]


class Filtered(Plain):
    """A buffer that has an entry for each channel."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.register_buffer("chosen", torch.randperm(self.width))

    def inner(self, h):
        return self.middle(h)[:, self.chosen]


class Untaught(Plain):
    """A layer that no gradient reaches."""

    def inner(self, h):
        with torch.no_grad():
            return self.middle(h)


class Halved(Plain):
    """Weights of sixteen bits."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.middle = self.middle.half()

    def inner(self, h):
        return self.middle(h.half()).float()


class Complex(Plain):
    """A filter of complex numbers on the spectrum."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.filter = nn.Parameter(torch.ones(8, 5, dtype=torch.complex64))

    def inner(self, h):
        return self.middle(torch.fft.irfft2(torch.fft.rfft2(h) * self.filter, s=h.shape[-2:]))


class Products(Plain):
    """Attention without a module, and without weights of its own."""

    def inner(self, h):
        z = self.middle(h).flatten(2).mT
        return F.scaled_dot_product_attention(z, z, z).mT.reshape(h.shape)


class Classifier(nn.Sequential):
    """A published kind of classifier: convolution, norm, rectifier, mean, linear layer."""

    def __init__(self, shape, classes):
        super().__init__(
            nn.Conv2d(shape[0], 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, classes),
        )
