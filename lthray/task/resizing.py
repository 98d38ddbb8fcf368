"""Images of a data set, all at once, to the shape and the channels that are asked for."""

from typing import Any

import numpy as np
import torch

from lthray.config.fields import ConfigError
from lthray.task.pictures import Values, luma
from lthray.task.scrambling import scrambled


def as_asked(x: np.ndarray, y: np.ndarray, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return images [N, C, H, W] and labels [N] as the part `data` of a config asks for them.

    Raises ConfigError where they are not as many.
    """
    if len(x) != len(y):
        uneven = f"{data.name} has {len(x)} images and {len(y)} labels there"
        raise ConfigError([f"data.root = {data.root!r}: {uneven}"])
    fit = fitted(x, data.side, data.width or data.side, data.channels)
    return scrambled(fit, y) if data.scrambled else (fit, y)


def fitted(x: Values, height: int, width: int, channels: int) -> Values:
    """Return images `x` [N, C, H, W] uint8 with that shape and that many `channels`; 0: as it is.

    Colour becomes grey by its luma; scaling is bilinear and antialiased.
    """
    if channels == 1 and x.shape[1] == 3:
        x = np.rint(luma(x)).astype(np.uint8)
    if height and (height, width) != x.shape[-2:]:
        x = _resized(x, height, width)
    return x


def _resized(x: Values, height: int, width: int) -> Values:
    interpolate = torch.nn.functional.interpolate
    parts = []
    for part in torch.from_numpy(x).split(1000):
        parts.append(interpolate(part.float(), (height, width), mode="bilinear", antialias=True))
    return torch.cat(parts).round().to(torch.uint8).numpy()
