"""The classifiers: LeNet-300-100, a small convolutional network and ResNets; each shows its last
hidden layer."""

import itertools

import torch
from torch import Tensor, nn


class LeNet300(nn.Module):
    """Fully connected classifier, 300-100 units (LeCun et al. 1998; the first network of Frankle
    and Carbin 2019).

    As there, inputs are grey levels from 0 to 1 and weights are drawn from Glorot's normal
    distribution. Over levels from -1 to 1 the background would act as hundreds of biases on each
    unit, and the magnitude of a weight would say little of what it is for.
    """

    def __init__(self, size: int, hidden: tuple[int, ...], classes: int):
        super().__init__()
        widths = (size, *hidden)
        self.hidden = nn.ModuleList(
            nn.Linear(before, width) for before, width in itertools.pairwise(widths)
        )
        self.output = nn.Linear(widths[-1], classes)
        for layer in (*self.hidden, self.output):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def features(self, x: Tensor) -> Tensor:
        """Return the last hidden layer, [n, hidden[-1]], for images `x` [n, C, H, W] in [-1, 1]."""
        x = (x.flatten(1) + 1) / 2
        for layer in self.hidden:
            x = layer(x).relu()
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes, [n, classes]."""
        return self.output(self.features(x))


def averages(side: int, bins: int, like: Tensor) -> Tensor:
    """Return the matrix [bins, side] of adaptive average pooling along one side of images.

    As a product its gradient is equal bit for bit each time on a GPU, which that of torch's own
    pooling is not.
    """
    places = torch.arange(side, device=like.device)
    bin_of = torch.arange(bins, device=like.device)[:, None]
    starts, ends = bin_of * side // bins, ((bin_of + 1) * side + bins - 1) // bins
    inside = ((starts <= places) & (places < ends)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


class LeNet5(nn.Module):
    """Two or more 3x3 convolutions with pooling, then one narrow hidden layer: the extractor of
    sample metrics."""

    def __init__(self, colours: int, channels: tuple[int, ...], width: int, classes: int):
        super().__init__()
        widths = (colours, *channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.hidden = nn.Linear(channels[-1] * 16, width)
        self.output = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the hidden layer, [n, width], for images `x` [n, C, H, W] in [-1, 1]."""
        for i, conv in enumerate(self.convs):
            x = conv(x).relu()
            if i and x.shape[-1] > 4:
                x = nn.functional.max_pool2d(x, 2)
        if x.shape[-2:] != (4, 4):
            rows, columns = (averages(side, 4, x) for side in x.shape[-2:])
            x = rows @ x @ columns.mT
        return self.hidden(x.flatten(1)).relu()

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes, [n, classes]."""
        return self.output(self.features(x))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, before: int, width: int, *, stride: int, groups: int, dropout: float):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(groups, width)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(groups, width)
        if (before, 1) == (width, stride):
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.shortcut = nn.Conv2d(before, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, width, H / stride, W / stride] for `x` [n, before, H, W]."""
        inside = self.dropout(self.norm1(self.conv1(x)).relu())
        return (self.norm2(self.conv2(inside)) + self.shortcut(x)).relu()


class ResNet(nn.Module):
    """ResNet-20, -32, ... and -18 for small images: `layers` blocks a stage, each stage but the
    first halves the side.

    GroupNorm stands in place of BatchNorm (Wu and He 2018, arXiv 1803.08494), so that nothing need
    be estimated anew for every mask.
    """

    def __init__(
        self,
        colours: int,
        channels: tuple[int, ...],
        *,
        layers: int,
        classes: int,
        groups: int,
        dropout: float,
    ):
        super().__init__()
        widths = (channels[0], *channels)
        self.stem = nn.Conv2d(colours, widths[0], 3, 1, 1, bias=False)
        self.norm = nn.GroupNorm(groups, widths[0])
        self.stages = nn.ModuleList()
        for stage, (before, width) in enumerate(itertools.pairwise(widths)):
            stride = 2 if stage else 1
            blocks = [Block(before, width, stride=stride, groups=groups, dropout=dropout)]
            for _ in range(layers - 1):
                blocks.append(Block(width, width, stride=1, groups=groups, dropout=dropout))
            self.stages.append(nn.Sequential(*blocks))
        self.output = nn.Linear(widths[-1], classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the last stage averaged over positions, [n, channels[-1]], for images `x` [n, C,
        H, W] in [-1, 1]."""
        x = self.norm(self.stem(x)).relu()
        for stage in self.stages:
            x = stage(x)
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes, [n, classes]."""
        return self.output(self.features(x))
