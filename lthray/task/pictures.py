"""Pictures as arrays: folders of picture files, cut square, scaled, turned grey."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lthray.config.fields import ConfigError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
FEWEST = 12  # images that give every split some
LUMA = (0.299, 0.587, 0.114)  # shares of red, green and blue in grey


def read_folder(
    root: str, *, side: int, channels: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return every image below the folder `root`, in order of its path, and its class.

    Images are [N, channels, side, side] uint8. An image's class, int64, is the place of its first
    subfolder in the alphabet. Raises ConfigError for a folder that does not have that many
    `classes` (0: any number), for too few images and for files that cannot be read.
    """
    folder = Path(root)
    if not root or not folder.is_dir():
        raise _refusal(root, "data.name = 'folder' needs a folder of images")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(paths) < FEWEST:
        suffixes = " ".join(SUFFIXES)
        raise _refusal(root, f"has {len(paths)} images ({suffixes}), {FEWEST} are needed")
    names = [_subfolder(path, folder) for path in paths]
    class_names = sorted(set(names))
    if classes and len(class_names) != classes:
        line = f"data.classes = {classes}: {root!r} has {len(class_names)} subfolders with images"
        raise ConfigError([line])
    images = _read_all(paths, root, side, channels)
    labels = [class_names.index(name) for name in names]
    return _as_bytes(images), np.array(labels, dtype=np.int64)


def square(source: Any, side: int, channels: int) -> np.ndarray:
    """Return a picture, cut square about its middle and scaled, [channels, side, side].

    `source` is a file or a PIL image. The array is uint8; of a picture with more bits than eight,
    as slices of a scan have, float32.
    """
    from PIL import Image

    if not isinstance(source, Path):
        return _cut(source, side, channels)
    with Image.open(source) as picture:
        return _cut(picture, side, channels)


def fitted(x: np.ndarray, side: int, channels: int) -> np.ndarray:
    """Return images `x` [N, C, H, W] uint8 with that many `channels` and that `side`; 0: as it is.

    Colour becomes grey by its luma; scaling is bilinear and antialiased.
    """
    if channels == 1 and x.shape[1] == 3:
        weighted = x * np.array(LUMA)[None, :, None, None]
        x = np.rint(weighted.sum(1, keepdims=True)).astype(np.uint8)
    if side and side != x.shape[-1]:
        x = _resized(x, side)
    return x


def _resized(x: np.ndarray, side: int) -> np.ndarray:
    interpolate = torch.nn.functional.interpolate
    parts = []
    for part in torch.from_numpy(x).split(1000):
        parts.append(interpolate(part.float(), (side, side), mode="bilinear", antialias=True))
    return torch.cat(parts).round().to(torch.uint8).numpy()


def _cut(picture: Any, side: int, channels: int) -> np.ndarray:
    from PIL import Image, ImageOps

    if picture.mode[0] in "IF":
        deep = Image.fromarray(np.asarray(picture, dtype=np.float32))
        values = np.asarray(ImageOps.fit(deep, (side, side)))
        return np.repeat(values[None], channels, axis=0)
    picture = ImageOps.fit(picture.convert("L" if channels == 1 else "RGB"), (side, side))
    return np.asarray(picture).reshape(side, side, -1).transpose(2, 0, 1)


def _subfolder(path: Path, folder: Path) -> str:
    """Return the first subfolder on the way from `folder` to a file; empty for a file in it."""
    return path.relative_to(folder).parts[0] if path.parent != folder else ""


def _read_all(paths: list[Path], root: str, side: int, channels: int) -> list[np.ndarray]:
    """Return all pictures; ConfigError that names the first five that cannot be read."""
    images, broken = [], []
    for path in paths:
        try:
            images.append(square(path, side, channels))
        except (OSError, ValueError, SyntaxError) as error:  # whatever Pillow makes of such a file
            broken.append(f"{path.relative_to(root)} ({type(error).__name__})")
    if broken:
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise _refusal(root, f"cannot be read: {', '.join(broken[:5])}{more}")
    return images


def _as_bytes(images: list[np.ndarray]) -> np.ndarray:
    """Return all images as uint8; those of more bits, over the range that they have together."""
    deep = [x for x in images if x.dtype != np.uint8]
    low = min((x.min() for x in deep), default=0.0)
    high = max((x.max() for x in deep), default=1.0)
    scale = 255 / max(high - low, 1e-9)
    as_bytes = []
    for x in images:
        if x.dtype != np.uint8:
            x = np.rint(scale * (x - low)).astype(np.uint8)
        as_bytes.append(x)
    return np.stack(as_bytes)


def _refusal(root: str, why: str) -> ConfigError:
    return ConfigError([f"data.root = {root!r}: {why}"])
