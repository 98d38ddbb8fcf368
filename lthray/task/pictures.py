"""Pictures as arrays: one picture as a viewer shows it, cut to a shape, as bytes.

A viewer turns a picture as its EXIF orientation says, lays what is transparent on a ground, shows
the first frame of several, and colours as the picture's own colour profile means them.
"""

import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

FEWEST = 12  # images that give every split some
LUMA = (0.299, 0.587, 0.114)  # shares of red, green and blue in grey
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's modes by number of channels
FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "TGA"),
    *("TIFF", "WEBP"),
)
"""Formats of Pillow that are read: pictures of pixels, none that runs another program."""
MOST_PIXELS = 10**8
"""Pixels of the largest picture that is opened: 10,000 x 10,000."""
INKS = {"1": "L", "L": "L", "LA": "L", "La": "L", "CMYK": "CMYK"}
"""Mode of a picture -> the mode in which its colour profile takes it; RGB for any other."""
STEPS = 18  # of each colour, where two ways of showing colours are compared
NEAR = 2  # steps of 255 by which a profile may differ from sRGB and be taken for it
CONVERTED, UNUSABLE = "converted", "unusable"  # what became of a colour profile
ORIENTATION = 0x0112  # number of the orientation among the EXIF facts
Values = np.ndarray[Any, Any]


class BadPicture(ValueError):
    """Signal a picture that is readable and yet cannot be used; the message says why."""


@dataclass(frozen=True)
class Shown:
    """One picture as a viewer shows it."""

    values: Values
    """[H, W, C] uint8; or float32, of a picture with more bits than eight."""
    is_whole: bool = False
    """Whether the values of a picture with more bits are whole numbers."""
    is_turned: bool = False
    is_transparent: bool = False
    """Whether something of it was laid on the ground."""
    frames: int = 1
    profile: str = ""
    """What became of its colour profile; empty where it has none, or that of sRGB."""

    @property
    def facts(self) -> dict[str, bool]:
        """What is worth a line of the picture, each as whether it is so."""
        colours = self.values[..., :3]
        is_deep = self.values.dtype != np.uint8
        return {
            "colour": bool((colours != colours[..., :1]).any()),
            "turned": self.is_turned,
            "transparent": self.is_transparent,
            "animated": self.frames > 1,
            "converted": self.profile == CONVERTED,
            "unusable": self.profile == UNUSABLE,
            "deep": is_deep,
            "fractional": is_deep and not self.is_whole,
        }


@cache
def suffixes() -> tuple[str, ...]:
    """Return the endings, in small letters, of files that are taken for pictures."""
    from PIL import Image

    named = Image.registered_extensions().items()
    return tuple(sorted(suffix for suffix, name in named if name in FORMATS))


@cache
def _formats() -> tuple[str, ...]:
    """Return the names of formats that the Pillow of this machine can open."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def opened(path: Path, ground: str = "white", *, transparent: bool = False) -> Shown:
    """Return the picture in a file as a viewer shows it on a `ground`.

    With `transparent` its last channel is transparency instead. Raises BadPicture for what is no
    finite picture of sane size, and whatever Pillow raises for a file that it cannot read.
    """
    from PIL import Image

    with _quiet(), Image.open(path, formats=_formats()) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            size = f"{picture.width} x {picture.height}"
            raise BadPicture(f"has {size} pixels, at most {MOST_PIXELS:,} are read")
        return _shown(picture, ground, transparent)


def of_array(values: Values, ground: str = "white", *, transparent: bool = False) -> Shown:
    """Return an array [H, W, C] as a picture; its second or fourth channel is transparency."""
    from PIL import Image

    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    if values.dtype != np.uint8:
        return Shown(_finite(values), is_whole=values.dtype.kind in "iu")
    channels = values.shape[-1]
    if channels in (1, 3) or transparent:
        return Shown(values)
    return _shown(Image.fromarray(np.ascontiguousarray(values), MODES[channels]), ground, False)


def reason(error: Exception) -> str:
    """Return why a picture cannot be read, in a few words without control characters."""
    said = " ".join(str(error).split())
    words = {
        BadPicture.__name__: said,
        **REASONS,
        Exception.__name__: f"{type(error).__name__}: {ascii(said)[1:-1][:80]}",
    }
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return words[next(filter(words.__contains__, kinds))]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow's warnings about strange files off the terminal while this is open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _shown(picture: Any, ground: str, transparent: bool) -> Shown:
    """Return a PIL image as a viewer shows it on a `ground`, or `transparent` as it is.

    Of several frames it is the first. Grey is returned as three equal colours.
    """
    from PIL import Image, ImageOps

    frames = getattr(picture, "n_frames", 1)
    is_turned = _orientation(picture) > 1
    upright = ImageOps.exif_transpose(picture) if is_turned else picture
    upright, profile = _in_srgb(upright, picture.info.get("icc_profile"))
    if upright.mode[0] in "IF":
        return Shown(
            values=_finite(np.asarray(upright)[..., None]),
            is_whole=upright.mode[0] == "I",
            is_turned=is_turned,
            frames=frames,
            profile=profile,
        )
    clear = upright.has_transparency_data
    if not (clear or transparent):
        values = _array(upright.convert("RGB"))
        return Shown(values, is_turned=is_turned, frames=frames, profile=profile)
    layer = upright.convert("RGBA")
    is_transparent = False
    if not transparent:
        is_transparent = bool((np.asarray(layer)[..., 3] < 255).any())
        below = Image.new("RGBA", layer.size, ground)
        layer = Image.alpha_composite(below, layer).convert("RGB")
    return Shown(
        values=_array(layer),
        is_turned=is_turned,
        is_transparent=is_transparent,
        frames=frames,
        profile=profile,
    )


def _in_srgb(picture: Any, profile: bytes | None) -> tuple[Any, str]:
    """Return a PIL image with its colours in sRGB, and what became of its colour `profile`.

    One that is damaged, or of another kind of colours than the picture, is left aside, as viewers
    do; so is that of a picture with more bits than eight.
    """
    if not profile:
        return picture, ""
    inks = INKS.get(picture.mode, "RGB")
    try:
        transform = _to_srgb(profile, inks)
    except Exception:  # whatever the library of colours raises, the profile cannot be used
        return picture, UNUSABLE
    if transform is None:
        return picture, ""
    if picture.mode[0] in "IF":
        return picture, UNUSABLE
    shown = transform.apply(picture.convert(inks))
    if picture.has_transparency_data:
        shown.putalpha(picture.convert("RGBA").getchannel("A"))
    return shown, CONVERTED


@lru_cache(maxsize=64)
def _to_srgb(profile: bytes, inks: str) -> Any:
    """Return what takes colours in the mode `inks` from a colour profile to sRGB.

    None where the profile is that of sRGB, within the rounding of such tables. Raises what Pillow's
    ImageCms raises for a profile that it cannot read or that is not one of these colours.
    """
    from PIL import Image, ImageCms

    own = ImageCms.getOpenProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), inks, "RGB")
    steps = np.linspace(0, 255, STEPS).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(*[steps] * len(inks)), -1).reshape(1, -1, len(inks))
    colours = Image.fromarray(grid.squeeze(-1) if inks == "L" else grid, inks)
    before = np.asarray(colours.convert("RGB"), dtype=int)
    after = np.asarray(transform.apply(colours), dtype=int)
    return None if np.abs(before - after).max() <= NEAR else transform


def _orientation(picture: Any) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none that a viewer could read."""
    try:
        number = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged facts beside a picture that is whole
        return 1
    return number if number in range(1, 9) else 1


def _array(picture: Any) -> Values:
    """Return a PIL image of bytes as an array [H, W, C]."""
    return np.asarray(picture).reshape(picture.height, picture.width, -1)


def _finite(values: Values) -> Values:
    """Return numbers as float32; BadPicture where some are not finite."""
    if values.dtype.kind not in "iuf":
        raise BadPicture(f"holds {values.dtype}, no numbers that are pixels")
    with np.errstate(over="ignore"):
        deep = values.astype(np.float32)
    broken = int((~np.isfinite(deep)).sum())
    if broken:
        raise BadPicture(f"has NaN or infinity in {broken} of {deep.size} values")
    return deep


def cut(shown: Shown, height: int, width: int, channels: int) -> Values:
    """Return a picture cropped about its middle to a shape, and scaled: [channels, height, width].

    The array is uint8; of a picture with more bits than eight, float32.
    """
    from PIL import Image, ImageOps

    values = np.ascontiguousarray(shown.values)
    if values.dtype == np.uint8:
        picture = Image.fromarray(values.squeeze(-1) if values.shape[-1] == 1 else values)
        fitted = ImageOps.fit(picture.convert(MODES[channels]), (width, height))
        return _array(fitted).transpose(2, 0, 1)
    bands = []
    for band in values.transpose(2, 0, 1):
        bands.append(np.asarray(ImageOps.fit(Image.fromarray(band), (width, height))))
    return _coloured(np.stack(bands), channels)


def square(picture: Any, side: int, channels: int) -> Values:
    """Return a PIL image, cut square about its middle and scaled, [channels, side, side] uint8."""
    return cut(_shown(picture, "white", False), side, side, channels)


def _coloured(bands: Values, channels: int) -> Values:
    """Return bands [C, H, W] float32 with that many channels: grey repeated, colour by its luma.

    Raises BadPicture where neither helps.
    """
    if len(bands) == channels:
        return bands
    if len(bands) == 1 and channels == 3:
        return np.repeat(bands, 3, axis=0)
    if len(bands) == 3 and channels == 1:
        return luma(bands[None])[0].astype(np.float32)
    had = f"has {len(bands)} channels of more than eight bits"
    raise BadPicture(f"{had}, which data.channels = {channels} cannot show")


def luma(x: Values) -> Values:
    """Return the grey [N, 1, H, W] of colours [N, 3, H, W]."""
    weights = np.array(LUMA)[None, :, None, None]
    return (x * weights).sum(1, keepdims=True)


def as_bytes(images: Sequence[Values], ends: tuple[float, float]) -> Values:
    """Return images [C, H, W] as one array of uint8.

    Those of more bits than eight go from black to white between `ends`.
    """
    low, high = ends
    scale = 255 / max(high - low, 1e-9)
    parts = []
    for x in images:
        if x.dtype != np.uint8:
            x = np.clip(np.rint(scale * (x - low)), 0, 255).astype(np.uint8)
        parts.append(x)
    return np.stack(parts)


def together(images: Iterable[Values]) -> tuple[float, float]:
    """Return the least and the largest value of images that are not of bytes; 0 and 1 of none."""
    ends = [(x.min(), x.max()) for x in images if x.dtype != np.uint8]
    lows, highs = zip(*ends, strict=True) if ends else ([0], [1])
    return float(min(lows)), float(max(highs))


REASONS = {
    "UnidentifiedImageError": "is no picture that can be read",
    "DecompressionBombError": f"has more than {MOST_PIXELS:,} pixels",
    "PermissionError": "may not be read",
    "FileNotFoundError": "is not there",
    "MemoryError": "needs more memory than there is",
}
"""Class of an error -> what is said of the file."""
