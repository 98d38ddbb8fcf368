"""Colour profiles: a picture's colours are what its own profile means, worked out here by hand."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lthray.study.answers import asked
from lthray.task.pictures import opened

from .test_images import SIDE, data_of, pets, pictures, read, told

D50 = (0.9642, 1.0, 0.8249)
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""X, Y and Z of red, green and blue of Adobe RGB (1998), as its published profile has them."""
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
"""Those of sRGB, IEC 61966-2-1."""
GAMMA = 563 / 256  # of Adobe RGB


def fixed(*numbers: float) -> bytes:
    """Numbers as ICC writes them: sixteen bits before the point and sixteen behind."""
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def profile(space: bytes, **tags: bytes) -> bytes:
    """An ICC profile, version 2, of a display with these tags."""
    table, body, place = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name.encode() + struct.pack(">II", place + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s12s4s", place + len(body), b"", 0x02100000, b"mntr", space,
                       b"XYZ ", b"", b"acsp")  # fmt: skip
    return (head + b"\0" * 28 + fixed(*D50)).ljust(128, b"\0") + table + body


def curve(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256))


def adobe() -> bytes:
    """The profile of Adobe RGB (1998)."""
    tags = {"wtpt": b"XYZ \0\0\0\0" + fixed(*D50)}
    for name, point in zip("rgb", ADOBE, strict=True):
        tags |= {f"{name}XYZ": b"XYZ \0\0\0\0" + fixed(*point), f"{name}TRC": curve(GAMMA)}
    return profile(b"RGB ", **tags)


def grey(gamma: float) -> bytes:
    return profile(b"GRAY", wtpt=b"XYZ \0\0\0\0" + fixed(*D50), kTRC=curve(gamma))


def encoded(light: np.ndarray) -> np.ndarray:
    """Light from 0 to 1 as sRGB writes it, in 255 steps."""
    light = np.clip(light, 0, 1)
    bent = 1.055 * light ** (1 / 2.4) - 0.055
    return 255 * np.where(light <= 0.0031308, 12.92 * light, bent)


def meant(values: np.ndarray) -> np.ndarray:
    """Colours of Adobe RGB [..., 3] as sRGB shows them."""
    points = (values / 255) ** GAMMA @ np.array(ADOBE)
    return encoded(points @ np.linalg.inv(np.array(SRGB)))


def saved(root: Path, values: np.ndarray, icc: bytes, ending: str = "png") -> np.ndarray:
    """Save pictures with a profile; returns how they are read, [N, H, W, C]."""
    root.mkdir(exist_ok=True)
    for row, picture in enumerate(values):
        where = root / f"{row:02}.{ending}"
        Image.fromarray(picture).save(where, icc_profile=icc, lossless=True)
    channels = 1 if values.ndim == 3 else 3
    return read(root, channels=channels).images.numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("ending", ["png", "tiff", "webp"])
def test_colours_are_those_that_the_profile_means(tmp_path, ending):
    values = pictures(12)
    found = saved(tmp_path, values, adobe(), ending)
    assert np.abs(found - meant(values)).max() <= 2  # steps of rounding
    assert np.abs(values - meant(values)).max() > 40  # what is stored is another colour
    said = "12 of 12 pictures have a colour profile of their own: converted to sRGB"
    assert said in told(tmp_path)


def test_grey_stays_grey_under_its_profile(tmp_path):
    values = np.arange(12 * SIDE * SIDE, dtype=np.uint16).reshape(12, SIDE, SIDE) % 256
    found = saved(tmp_path, values.astype(np.uint8), grey(1.8))
    wanted = encoded((values / 255) ** 1.8)
    assert np.abs(found[..., 0] - wanted).max() <= 2
    assert asked(data_of(tmp_path, channels=0))["data.channels"] == 1


def test_a_profile_of_srgb_changes_no_bit(tmp_path):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    values = pictures(12)
    assert np.array_equal(saved(tmp_path, values, icc), values)
    assert "profile" not in told(tmp_path)


def test_transparency_and_palettes_go_with_a_profile(tmp_path):
    values = pictures(1, shape=(SIDE, SIDE, 4))[0]
    Image.fromarray(values).save(tmp_path / "clear.png", icc_profile=adobe())
    shown = opened(tmp_path / "clear.png", transparent=True).values
    assert np.array_equal(shown[..., 3], values[..., 3])
    assert np.abs(shown[..., :3] - meant(values[..., :3])).max() <= 2
    few = Image.fromarray(values[..., :3]).quantize(4)
    few.save(tmp_path / "few.png", icc_profile=adobe())
    shown = opened(tmp_path / "few.png").values
    assert np.abs(shown - meant(np.asarray(few.convert("RGB")))).max() <= 2


UNFIT = {
    "no profile": b"profile",
    "damaged": adobe()[:200],
    "of grey": grey(1.8),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_profile_that_cannot_be_used_is_told_and_left_aside(tmp_path, name):
    values = pictures(12)
    assert np.array_equal(saved(tmp_path, values, UNFIT[name]), values)
    assert "12 of 12 pictures have a colour profile that cannot be used" in told(tmp_path)


def test_a_profile_beside_others_is_counted_and_part_of_the_digest(tmp_path):
    plain, other = pets(tmp_path / "plain"), pets(tmp_path / "other")
    path = other / "cat" / "000.png"
    Image.open(path).save(path, icc_profile=adobe())
    assert "1 of 18 pictures have a colour profile of their own" in told(other)
    assert read(plain).digest != read(other).digest
