"""Data are split once and for all, and a batch is a function of (stream, step)."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lthray.config.fields import ConfigError
from lthray.config.parts import Data
from lthray.core.task import to_bytes
from lthray.task.augment import AUGMENTS
from lthray.task.data import load


@pytest.fixture(scope="module")
def digits():
    return load(Data())


def test_splits_are_disjoint_cover_everything_and_never_change(digits):
    index = torch.cat(list(digits.splits.values()))
    assert sorted(index.tolist()) == list(range(1797))
    assert {name: len(rows) for name, rows in digits.splits.items()} == {
        "test": 300,
        "validation": 300,
        "train": 1197,
    }
    assert digits.digest == "773b614c" + digits.digest[8:]
    for rows in digits.splits.values():
        assert torch.bincount(digits.labels[rows], minlength=10).min() > 0.06 * len(rows)


def test_images_are_scaled_to_minus_one_and_one_and_back(digits):
    x = digits.scaled(torch.arange(1797))
    assert (x.min(), x.max()) == (-1, 1)
    assert x.dtype == torch.float32
    assert torch.equal(to_bytes(x).float(), (digits.images.float() * (255 / 16)).round())


def test_batches_are_stateless_and_streams_differ(digits):
    forwards = [digits.batch(3, step, 32)[0] for step in range(5)]
    backwards = [digits.batch(3, step, 32)[0] for step in reversed(range(5))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not torch.equal(forwards[0], digits.batch(4, 0, 32)[0])


def test_an_epoch_shows_each_image_at_most_once_and_epochs_differ(digits):
    steps = 1197 // 32
    labels = [
        torch.cat([digits.batch(0, e * steps + s, 32)[0] for s in range(steps)]).flatten(1)
        for e in range(2)
    ]
    train = digits.scaled(digits.splits["train"]).flatten(1)
    unique = len(torch.unique(train, dim=0))
    assert len(torch.unique(labels[0], dim=0)) >= steps * 32 - (1197 - unique)
    assert not torch.equal(labels[0], labels[1])


def test_held_out_images_are_never_trained_on(digits):
    train, test = set(digits.splits["train"].tolist()), digits.splits["test"].tolist()
    assert not train & set(test)
    x, y = digits.held_out("test", 10)
    assert torch.equal(x, digits.scaled(digits.splits["test"][:10]))
    assert len(y) == 10


def test_a_fraction_is_nested_and_leaves_held_out_splits_alone(digits):
    half = load(Data(fraction=0.5))
    assert half.splits["train"].tolist() == digits.splits["train"][:599].tolist()
    assert torch.equal(half.splits["test"], digits.splits["test"])
    assert half.digest == digits.digest


def test_augmentation_is_stateless_and_does_what_it_says(digits):
    x = digits.scaled(digits.splits["train"][:64])
    assert len(AUGMENTS) == 4
    for name, row in AUGMENTS.items():
        assert torch.equal(row.apply(x, 1, 2), row.apply(x, 1, 2))
        assert row.apply(x, 1, 2).shape == x.shape
        assert (name == "none") == torch.equal(row.apply(x, 1, 2), x)
    flipped = AUGMENTS["flip"].apply(x, 1, 2)
    each = [
        torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(flipped, x, strict=True)
    ]
    assert all(each)
    shifted = AUGMENTS["shift"].apply(flipped, 1, 2)
    assert torch.equal(AUGMENTS["flip_shift"].apply(x, 1, 2), shifted)
    inner = torch.zeros(64, 1, 8, 8)
    inner[:, :, 3, 3] = 1.0
    moved = AUGMENTS["shift"].apply(inner * 2 - 1, 0, 0)
    places = moved[:, 0].flatten(1).argmax(1)
    assert set((places // 8).tolist()) == {2, 3, 4}
    assert set((places % 8).tolist()) == {2, 3, 4}
    assert torch.equal(moved.flatten(1).sum(1), torch.full((64,), -62.0))


def fake_mnist(root, folder="MNIST", images=120):
    """A tiny data set in the IDX files that torchvision reads."""
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for stem, n in (("train", images), ("t10k", 30)):
        x, y = rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n).astype(np.uint8)
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 2051, n, 28, 28) + x.tobytes()
        )
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + y.tobytes())
        for part in ("images-idx3", "labels-idx1"):
            path = raw / f"{stem}-{part}-ubyte"
            (raw / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")]
)
def test_torchvision_sets_are_read_from_their_files(tmp_path, name, folder):
    fake_mnist(tmp_path, folder)
    images = load(Data(name=name, root=str(tmp_path)))
    assert images.shape == (1, 28, 28)
    assert {name: len(rows) for name, rows in images.splits.items()} == {
        "test": 30,
        "validation": 12,
        "train": 108,
    }
    assert sorted(images.splits["test"].tolist()) == list(range(120, 150))
    assert images.levels == 255


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\0\0\x08\x01" + b"x" * 20])
@pytest.mark.parametrize("part", ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3"])
def test_a_damaged_file_of_a_torchvision_set_is_one_line(tmp_path, content, part):
    fake_mnist(tmp_path)
    (tmp_path / "MNIST" / "raw" / f"{part}-ubyte").write_bytes(content)
    with pytest.raises(ConfigError, match=r"data\.root = .*MNIST"):
        load(Data(name="mnist", root=str(tmp_path)))


def test_as_many_labels_as_images_are_needed(tmp_path):
    fake_mnist(tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    labels = (raw / "t10k-labels-idx1-ubyte").read_bytes()
    (raw / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 20) + labels[8:28])
    with pytest.raises(ConfigError, match="mnist has 150 images and 140 labels"):
        load(Data(name="mnist", root=str(tmp_path)))


def test_the_digest_is_of_the_content(tmp_path):
    for name in ("a", "b", "c"):
        fake_mnist(tmp_path / name)
    labels = tmp_path / "c" / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    data = bytearray(labels.read_bytes())
    data[-1] ^= 1
    labels.write_bytes(data)
    a, b, c = (load(Data(name="mnist", root=str(tmp_path / name))).digest for name in "abc")
    assert a == b != c
    assert len(a) == len(hashlib.sha256().hexdigest())


def folder_of(root: Path, classes: int = 3, each: int = 10, mode: str = "RGB") -> Path:
    """Pictures of many sizes, brighter from class to class, with a file beside them that is
    none."""
    for kind in range(classes):
        (root / f"kind{kind}").mkdir(parents=True)
        for i in range(each):
            level = 60 * kind + i
            if mode == "I;16":
                values = np.linspace(0, 1000 * (kind + 1), 30 * 20, dtype=np.uint16).reshape(30, 20)
                Image.fromarray(values).save(root / f"kind{kind}" / f"{i}.png")
            else:
                fill = (level, 0, 0) if mode == "RGB" else level
                Image.new(mode, (20 + i, 30), fill).save(
                    root / f"kind{kind}" / f"{i}.{'png' if i % 2 else 'bmp'}"
                )
    (root / "notes.txt").write_text("no picture")
    return root


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_images_of_any_size(tmp_path, channels):
    found = load(
        Data(
            name="folder",
            root=str(folder_of(tmp_path / "a")),
            side=12,
            channels=channels,
            classes=3,
        )
    )
    assert found.images.shape == (30, channels, 12, 12)
    assert torch.bincount(found.labels).tolist() == [10, 10, 10]
    assert {name: len(rows) for name, rows in found.splits.items()} == {
        "test": 6,
        "validation": 6,
        "train": 18,
    }
    red = torch.tensor(
        [
            60 * k + i
            for k in range(3)
            for i in sorted(range(10), key=lambda i: f"{i}.{'png' if i % 2 else 'bmp'}")
        ]
    )
    levels = found.images.float().amax((2, 3))[:, 0]
    assert torch.allclose(levels, red * (0.299 if channels == 1 else 1.0), atol=1)
    again = load(
        Data(
            name="folder",
            root=str(folder_of(tmp_path / "b")),
            side=12,
            channels=channels,
            classes=3,
        )
    )
    assert again.digest == found.digest


def test_slices_of_sixteen_bits_keep_their_range(tmp_path):
    found = load(
        Data(name="folder", root=str(folder_of(tmp_path, mode="I;16")), side=20, channels=1)
    )
    assert (int(found.images.min()), int(found.images.max())) == (0, 255)
    assert len(torch.unique(found.images)) > 100
    brightest = torch.stack(
        [found.images[found.labels == kind].amax() for kind in range(3)]
    ).float()
    assert torch.allclose(
        brightest, torch.tensor([85.0, 170.0, 255.0]), atol=20
    )  # all on one scale


def test_halves_of_the_digits_share_nothing_and_are_the_whole():
    low, high, whole = (load(Data(name=name)) for name in ("digits_low", "digits_high", "digits"))
    assert len(low.images) + len(high.images) == len(whole.images)
    assert torch.equal(low.images, whole.images[whole.labels < 5])
    assert torch.equal(high.labels + 5, whole.labels[whole.labels > 4])


def test_images_are_scaled_to_the_side_that_is_asked_for(digits):
    found = load(Data(side=4))
    assert found.shape == (1, 4, 4)
    assert found.levels == 16
    assert float(found.images.float().mean()) == pytest.approx(
        float(digits.images.float().mean()), rel=0.05
    )
    assert found.digest != digits.digest


def test_flowers_are_read_as_torchvision_reads_them(tmp_path, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import Flowers102

    base = tmp_path / "flowers-102"
    (base / "jpg").mkdir(parents=True)
    for i in range(1, 31):
        Image.new("RGB", (40, 30 + i), (8 * i, 0, 0)).save(base / "jpg" / f"image_{i:05d}.jpg")
    savemat(base / "imagelabels.mat", {"labels": np.array([[1 + i % 3 for i in range(30)]])})
    parts = {"trnid": range(1, 11), "valid": range(11, 21), "tstid": range(21, 31)}
    savemat(base / "setid.mat", {name: np.array([list(ids)]) for name, ids in parts.items()})
    monkeypatch.setattr(
        Flowers102, "_check_integrity", lambda self: True
    )  # of the real files' checksums
    found = load(Data(name="flowers102", root=str(tmp_path), side=16))
    assert found.images.shape == (30, 3, 16, 16)
    assert found.labels.tolist() == [i % 3 for i in range(30)]
    assert found.images[:, 0].float().mean((1, 2)).diff().min() > 4  # in order


@pytest.mark.parametrize("fault", ["broken", "few", "one", "empty", "classes", "none"])
def test_bad_folders_are_one_line(tmp_path, fault):
    classes, each = {"few": (3, 2), "one": (1, 1), "empty": (0, 0)}.get(fault, (3, 5))
    (tmp_path / "images").mkdir()
    root = folder_of(tmp_path / "images", classes=classes, each=each)
    if fault == "broken":
        for i in (1, 3):
            (root / "kind1" / f"{i}.png").write_bytes(b"\x89PNG no more")
    said = {
        "broken": "2 files cannot be read (--data.skip_bad goes on without): 'kind1/1.png' is ",
        "few": "has 6 images, 12 are needed; files that are no pictures: .txt 1",
        "one": "has 1 images, 12 are needed",
        "empty": "has 0 images, 12 are needed",
        "classes": "data.classes = 4: ",
        "none": "needs a folder of images",
    }[fault]
    with pytest.raises(ConfigError) as caught:
        load(
            Data(
                name="folder",
                root="nowhere" if fault == "none" else str(root),
                side=8,
                channels=1,
                classes=4 if fault == "classes" else 3,
            )
        )
    (line,) = caught.value.faults
    assert said in line


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Data(name="flowers102"), "needs the folder that holds torchvision's Flowers102"),
        (Data(name="mnist"), "needs the folder that holds torchvision's MNIST"),
        (
            Data(name="cifar10", root="/nowhere"),
            "no usable CIFAR10 below /nowhere; --data.download true fetches it",
        ),
    ],
)
def test_missing_files_are_one_line(data, said):
    with pytest.raises(ConfigError) as caught:
        load(data)
    (line,) = caught.value.faults
    assert said in line
    assert "\n" not in line
