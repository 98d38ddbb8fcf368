"""Images from which nothing can be learnt for others: a negative control of transfer."""

import numpy as np


def scrambled(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return images [N, C, H, W] with their pixels in one random order, and labels [N] permuted.

    The order is the same for all images and channels, so that grey levels stay as they are.
    """
    draw = np.random.default_rng(0)
    order = draw.permutation(x.shape[2] * x.shape[3])
    mixed = x.reshape(*x.shape[:2], -1)[..., order].reshape(x.shape)
    return np.ascontiguousarray(mixed), draw.permutation(y)
