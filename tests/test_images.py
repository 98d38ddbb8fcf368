"""Images as people have them: read as a viewer shows them, whatever holds them; told, or refused.

One content has one digest, however it is kept. So most tests compare digests with those of a plain
folder, and the others compare pixels with values that are worked out by hand.
"""

import io
import json
import math
import os
import re
import shutil
import socket
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from lthray.__main__ import main
from lthray.command import configured
from lthray.config import options, presets
from lthray.config.fields import ConfigError
from lthray.config.parts import Data
from lthray.study.answers import asked
from lthray.study.call import resolve
from lthray.study.page import Grid
from lthray.task.data import Images, load
from lthray.task.data import read as once
from lthray.task.look import sides
from lthray.tracking.write import experiment_name
from lthray.trial.recipe import trajectory

from .conftest import TINY, rounds, tiny

SIDE = 8


def pictures(number: int, *, seed: int = 0, shape: tuple[int, ...] = (SIDE, SIDE, 3)) -> np.ndarray:
    """Random pictures, no two of them alike."""
    return np.random.default_rng(seed).integers(0, 256, (number, *shape), np.uint8)


def folder_of(root: Path, classes: dict[str, np.ndarray], ending: str = "png") -> Path:
    """A folder with a folder for each class; returns it."""
    for name, values in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for row, picture in enumerate(values):
            Image.fromarray(picture).save(root / name / f"{row:03}.{ending}")
    return root


CATS, DOGS = pictures(9), pictures(9, seed=1)
PETS = {"cat": CATS, "dog": DOGS}


def pets(root: Path) -> Path:
    return folder_of(root, PETS)


def data_of(root: Path, **words: Any) -> Data:
    return Data(**{"name": "folder", "root": str(root), "side": SIDE, "channels": 3} | words)


def read(root: Path, **words: Any) -> Images:
    once.cache_clear()  # files change under a test
    return load(data_of(root, **words))


def fault(root: Path, **words: Any) -> str:
    """The one line by which images are refused."""
    with pytest.raises(ConfigError) as caught:
        read(root, **words)
    (line,) = caught.value.faults
    assert line.isprintable()
    return line


def told(root: Path, **words: Any) -> str:
    """All lines on how images were read."""
    lines = read(root, **words).notes
    assert all(line.isprintable() for line in lines)
    return "\n".join(lines)


@pytest.fixture
def plain(tmp_path) -> Path:
    return pets(tmp_path / "plain")


@pytest.fixture
def digest(plain) -> str:
    return read(plain).digest


# as a viewer shows it

UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: x.transpose(1, 0, 2)[:, ::-1],
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: x.transpose(1, 0, 2)[::-1],
}
"""EXIF orientation -> how a stored array [H, W, C] is shown, by the standard's own table."""


@pytest.mark.parametrize("ending", ["png", "tiff", "webp"])
def test_a_picture_is_turned_as_its_orientation_says(tmp_path, ending):
    stored, shown = pictures(16), []
    for row, values in enumerate(stored):
        exif = Image.Exif()
        exif[0x0112] = row % 8 + 1
        where = tmp_path / f"{row:02}.{ending}"
        Image.fromarray(values).save(where, exif=exif, lossless=True)
        shown.append(UPRIGHT[row % 8 + 1](values))
    assert np.array_equal(read(tmp_path).images.numpy().transpose(0, 2, 3, 1), np.stack(shown))
    assert "14 of 16 pictures were turned as their EXIF orientation says" in told(tmp_path)


def laid(values: np.ndarray, ground: int) -> np.ndarray:
    """Colours over a grey ground by their last channel, as painters do it."""
    share = values[..., -1:] / 255
    return values[..., :-1] * share + ground * (1 - share)


@pytest.mark.parametrize(("ground", "level"), [("white", 255), ("black", 0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "array"])
def test_transparency_lies_on_a_stated_ground(tmp_path, ground, level, mode):
    values = pictures(12, shape=(SIDE, SIDE, 2 if mode == "LA" else 4))
    root = tmp_path / "images.npz"
    if mode == "array":
        np.savez(root, images=values)
    else:
        root = folder_of(tmp_path, {"": values})
    found = read(root, ground=ground).images.numpy().transpose(0, 2, 3, 1)
    assert np.abs(found - laid(values, level)).max() <= 1  # a step of rounding
    assert f"12 of 12 pictures are transparent: laid on {ground}" in told(root, ground=ground)


def test_a_palette_and_a_colour_key_are_shown_as_their_colours(tmp_path):
    for row in range(12):
        picture = Image.new("P", (SIDE, SIDE), row % 2)
        picture.putpalette([200, 10, 30, 0, 0, 255])
        picture.save(tmp_path / f"{row:02}.png", transparency=1)
    found = read(tmp_path).images
    for row in range(12):
        wanted = (255, 255, 255) if row % 2 else (200, 10, 30)  # the second colour is a hole
        assert torch.equal(found[row, :, 0, 0], torch.tensor(wanted, dtype=torch.uint8))


@pytest.mark.parametrize(("channels", "mode"), [(2, "LA"), (4, "RGBA")])
def test_transparency_may_be_a_channel(tmp_path, channels, mode):
    values = pictures(12, shape=(SIDE, SIDE, channels))
    root = folder_of(tmp_path / "files", {"": values})
    found = read(root, channels=channels)
    assert found.shape == (channels, SIDE, SIDE)
    assert "laid on" not in told(root, channels=channels)
    assert np.array_equal(found.images.numpy().transpose(0, 2, 3, 1), values)
    np.savez(tmp_path / "images.npz", images=values.transpose(0, 3, 1, 2))
    assert read(tmp_path / "images.npz", channels=channels).digest == found.digest


def test_sixteen_bits_are_shown_as_eight_and_mix_with_them(tmp_path):
    """White of sixteen bits is 65,535, so v shows as v / 257; as do the same pictures of bytes."""
    deep = np.random.default_rng(0).integers(0, 2**16, (12, SIDE, SIDE), np.uint16)
    deep[0, 0, 0] = 2**16 - 1
    for row, values in enumerate(deep):
        Image.fromarray(values).save(tmp_path / f"{row:02}.png")
    wanted = np.rint(deep / 257)
    for row, values in enumerate(wanted.astype(np.uint8)):
        Image.fromarray(values).save(tmp_path / f"{row + 12}.png")
    found = read(tmp_path, channels=1).images[:, 0].numpy()
    assert np.array_equal(found, np.concatenate([wanted, wanted]))
    assert "12 of 24 pictures have more than eight bits: 0 is black and 65535 white" in told(
        tmp_path, channels=1
    )


@pytest.mark.parametrize(("kept", "channels"), [(1, 1), (1, 3), (3, 1), (3, 3)])
def test_floats_go_over_their_range_and_change_colours_as_bytes_do(tmp_path, kept, channels):
    values = np.random.default_rng(0).random((12, SIDE, SIDE, kept))
    found = read(write(tmp_path / "x.npz", images=values), channels=channels).images.numpy()
    shown = values if kept <= channels else values @ np.array([[0.299], [0.587], [0.114]])
    shown = np.broadcast_to(shown, (12, SIDE, SIDE, channels)).transpose(0, 3, 1, 2)
    wanted = 255 * (shown - shown.min()) / (shown.max() - shown.min())
    assert np.abs(found - wanted).max() <= 0.51


def test_colours_of_ink_are_shown_as_light(tmp_path):
    for row in range(12):
        ink = Image.new("CMYK", (SIDE, SIDE), (0, 20 * row, 255, 0))
        ink.save(tmp_path / f"{row:02}.tiff")
    found = read(tmp_path).images
    for row in range(12):
        wanted = torch.tensor([255, 255 - 20 * row, 0])
        assert (found[row, :, 0, 0].int() - wanted).abs().max() <= 1


def test_the_first_frame_is_taken(tmp_path):
    for row in range(12):
        frames = [Image.new("RGB", (SIDE, SIDE), (20 * row, frame, 0)) for frame in (0, 200)]
        frames[0].save(tmp_path / f"{row:02}.png", save_all=True, append_images=frames[1:])
    assert read(tmp_path).images[:, 1].max() == 0
    assert "12 of 12 pictures have several frames: the first is taken" in told(tmp_path)


# one content, one digest


def as_csv(plain: Path, root: Path) -> Path:
    rows = [f"{path.relative_to(plain)},{path.parent.name}" for path in files_of(plain)]
    (plain / "list.csv").write_text("\ufeff" + "\n".join(["path,label", *rows, rows[0], ""]))
    return plain / "list.csv"


def as_bare_csv(plain: Path, root: Path) -> Path:
    rows = [f"{path.relative_to(plain)};{path.parent.name}" for path in files_of(plain)]
    (plain / "list.csv").write_text("\n".join(rows))
    return plain / "list.csv"


def as_imagefolder(plain: Path, root: Path) -> Path:
    """Files whose folders say nothing, beside one that the table does not list."""
    root.mkdir()
    rows = []
    for number, path in enumerate(files_of(plain)):
        shutil.copy(path, root / f"{number:02}.png")
        rows.append({"file_name": f"{number:02}.png", "label": int(path.parent.name == "dog")})
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shutil.copy(path, root / "unlisted.png")
    return root


def as_metadata_without_labels(plain: Path, root: Path) -> Path:
    rows = [f"{path.relative_to(plain)},a cat" for path in files_of(plain)]
    (plain / "metadata.csv").write_text("\n".join(["file_name,text", *rows]))
    return plain


def as_parquet_imagefolder(plain: Path, root: Path) -> Path:
    """As the one above, with the table that pandas and Hugging Face write."""
    as_imagefolder(plain, root)
    rows = [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]
    (root / "metadata.jsonl").unlink()
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "metadata.parquet")
    return root


def as_parquet_splits(plain: Path, root: Path) -> Path:
    """A table for each of two folders, whose names say nothing, with labels that are words."""
    for folder in plain.iterdir():
        part = root / folder.name[:1]
        shutil.copytree(folder, part)
        rows = [{"file_name": p.name, "label": folder.name} for p in sorted(part.iterdir())]
        parquet.write_table(pyarrow.Table.from_pylist(rows), part / "metadata.parquet")
    return root


def as_parquet(plain: Path, root: Path) -> Path:
    rows = [{"Path": str(p.relative_to(plain)), "Label": p.parent.name} for p in files_of(plain)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), plain / "list.parquet")
    return plain / "list.parquet"


def as_npz(plain: Path, root: Path) -> Path:
    labels = np.array([[3]] * 9 + [[12]] * 9)  # numbers go by size, not by letter
    np.savez_compressed(f"{root}.npz", images=np.concatenate([CATS, DOGS]), labels=labels)
    return root.with_name(f"{root.name}.npz")


def as_words(plain: Path, root: Path) -> Path:
    images = np.concatenate([CATS, DOGS]).transpose(0, 3, 1, 2)
    np.savez(f"{root}.npz", x=images, y=np.array(["cat"] * 9 + ["dog"] * 9))
    return root.with_name(f"{root.name}.npz")


def as_links(plain: Path, root: Path) -> Path:
    """A class that is a link, and pictures that are, all to places in the folder."""
    shutil.move(plain / "cat", plain / ".cats")
    (plain / "cat").symlink_to(".cats")
    shutil.move(plain / "dog" / "000.png", plain / ".dog")
    (plain / "dog" / "000.png").symlink_to("../.dog")
    return plain


def as_another_format(plain: Path, root: Path) -> Path:
    return folder_of(root, PETS, ending="bmp")


def files_of(root: Path) -> list[Path]:
    return sorted(root.glob("*/*.png"))


@pytest.mark.parametrize(
    "kept",
    [
        as_csv,
        as_bare_csv,
        as_imagefolder,
        as_parquet_imagefolder,
        as_parquet_splits,
        as_parquet,
        as_metadata_without_labels,
        as_npz,
        as_words,
        as_links,
        as_another_format,
    ],
)
def test_the_same_images_have_one_digest_however_they_are_kept(plain, digest, tmp_path, kept):
    assert read(kept(plain, tmp_path / "kept"), classes=2).digest == digest


LEFT = {
    "._000.png": "cat",
    ".DS_Store": "cat",
    "~$a.png": "cat",
    "Thumbs.db": "dog",
    "desktop.ini": ".",
    "000-checkpoint.png": "dog",
    "x.png": ".ipynb_checkpoints",
    "y.png": "__MACOSX/cat",
    "z.png": "dog/.hidden",
}
"""File -> the folder in which people find it."""


@pytest.mark.parametrize("name", LEFT)
def test_what_no_viewer_lists_is_left_out_and_counted(plain, digest, name):
    folder = plain / LEFT[name]
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(plain / "cat" / "001.png", folder / name)
    assert read(plain).digest == digest
    seen = next(part for part in (folder / name).relative_to(plain).parts if part not in PETS)
    assert re.search(rf"\n1 (hidden|copies).* left out: '.*{re.escape(seen)}'", told(plain))


def test_files_that_are_no_pictures_are_counted_by_their_ending(plain, digest):
    (plain / "cat" / "notes.txt").write_text("a cat")
    (plain / "labels.csv").write_text("path,label")
    assert read(plain).digest == digest
    assert "files that are no pictures: .csv 1, .txt 1" in told(plain)
    assert "to use a .csv of the folder, give the file itself as data.root" in told(plain)


def test_pixels_labels_and_splits_are_all_in_the_digest(plain, digest, tmp_path):
    changed = CATS.copy()
    changed[3, 2, 1, 0] ^= 1
    assert read(folder_of(tmp_path / "a", {"cat": changed, "dog": DOGS})).digest != digest
    assert read(folder_of(tmp_path / "b", {"cat": CATS[:8], "dog": DOGS})).digest != digest
    split = {"train/cat": CATS, "val/dog": DOGS}
    assert read(folder_of(tmp_path / "c", split), classes=2).digest != digest


# splits


@pytest.mark.parametrize(
    "words",
    [
        ("train", "val", "test"),
        ("Training", "valid", "TESTING"),
        ("train", "dev", "test"),
        ("training_set", "val2017", "Test-Images"),
    ],
)
@pytest.mark.parametrize("below", [False, True])
def test_splits_that_are_there_are_kept(tmp_path, words, below):
    wanted: dict[str, np.ndarray] = {}
    classes = {}
    for number, word in enumerate(words):
        values = pictures(6 + number, seed=number)
        wanted[("train", "validation", "test")[number]] = values
        for name, half in (("cat", values[:3]), ("dog", values[3:])):
            classes[f"{name}/{word}" if below else f"{word}/{name}"] = half
    found = read(folder_of(tmp_path, classes), classes=2)
    for split, values in wanted.items():
        rows = found.splits[split]
        shown = found.images[rows].numpy().transpose(0, 2, 3, 1)
        assert sorted(x.tobytes() for x in shown) == sorted(x.tobytes() for x in values)
        assert sorted(found.labels[rows].tolist()) == [0] * 3 + [1] * (len(values) - 3)
    assert "own splits" in told(tmp_path)


def test_a_split_that_is_missing_is_a_part_of_the_training_images(tmp_path):
    values = pictures(42)
    alone = read(folder_of(tmp_path / "a", {"train": values}))
    nobody = read(folder_of(tmp_path / "b", {"": values}))
    assert alone.digest == nobody.digest
    two = read(folder_of(tmp_path / "c", {"train": values[:30], "test": values[30:]}))
    assert {name: len(rows) for name, rows in two.splits.items()} == {
        "test": 12,
        "validation": 4,
        "train": 26,
    }
    assert sorted(torch.cat(list(two.splits.values())).tolist()) == list(range(42))


def test_train_among_other_classes_is_a_class(tmp_path):
    found = read(folder_of(tmp_path, {"train": CATS, "bus": DOGS}))
    assert found.classes == ("bus", "train")
    assert "own splits" not in told(tmp_path)


def test_a_folder_around_all_of_it_is_no_class(tmp_path):
    classes = {f"set/{split}/{name}": PETS[name] for split in ("train", "test") for name in PETS}
    wrapped = read(folder_of(tmp_path / "a", classes))
    assert wrapped.classes == ("cat", "dog")
    assert wrapped.digest == read(tmp_path / "a" / "set").digest
    deep = {f"archive/data/{name}": pictures for name, pictures in classes.items()}
    assert read(folder_of(tmp_path / "c", deep)).digest == wrapped.digest
    folder_of(tmp_path / "d" / "archive" / "pets", PETS)
    assert "there is one class, 'archive'; if the folders in it are" in told(tmp_path / "d")
    assert "give 'archive/pets' of it as data.root" in told(tmp_path / "d")
    below = {f"set/{name}/{split}": PETS[name] for split in ("train", "test") for name in PETS}
    by_class = read(folder_of(tmp_path / "e", below))
    assert by_class.classes == ("cat", "dog")
    assert len(by_class.splits["test"]) == len(wrapped.splits["test"]) == 18
    folder_of(tmp_path / "b" / "pets", PETS)
    assert "there is one class, 'pets'; if the folders in it are" in told(tmp_path / "b")


def test_what_lies_beside_the_splits_is_said(tmp_path):
    folder_of(tmp_path, {"train": pictures(12), "test": pictures(3, seed=1)})
    folder_of(tmp_path, {"extra": pictures(2, seed=2)})
    assert len(read(tmp_path).images) == 15
    assert "2 pictures beside the folders of the splits left out: 'extra/000.png'" in told(tmp_path)


def test_a_list_and_arrays_may_say_the_splits(plain, tmp_path):
    rows = ["file;class;split"]
    for number, path in enumerate(files_of(plain)):
        rows.append(
            f"{path.relative_to(plain)};{path.parent.name};{('train', 'valid')[number % 2]}"
        )
    (plain / "list.csv").write_text("\n".join(rows))
    by_list = read(plain / "list.csv", classes=2)
    both, labels = np.concatenate([CATS, DOGS]), np.repeat([0, 1], 9)
    odd = {"x_train": both[::2], "y_train": labels[::2], "x_val": both[1::2], "y_val": labels[1::2]}
    np.savez(tmp_path / "images.npz", **odd)
    by_array = read(tmp_path / "images.npz", classes=2)
    for found in (by_list, by_array):
        assert {name: len(rows) for name, rows in found.splits.items()} == {
            "test": 1,
            "validation": 9,
            "train": 8,
        }
    only = write(tmp_path / "only.npz", x_test=both, y_test=labels)
    assert "has only the splits 'test', and nothing to train on" in fault(only, classes=2)


def write(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


# bad files


def pipe(path: Path) -> None:
    os.mkfifo(path)


def sock(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)  # the path of a socket must be short
        server.bind(path.name)
        os.chdir(here)


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says it has 30,000 x 30,000 pixels."""
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    chunks = b""
    for kind, content in ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(kind + content))
        chunks += struct.pack(">I", len(content)) + kind + content + crc
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def truncated(path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(pictures(1, shape=(64, 64, 3))[0]).save(file, "PNG")
    path.write_bytes(file.getvalue()[:3000])


def not_a_number(path: Path) -> None:
    values = np.zeros((SIDE, SIDE), np.float32)
    values[1, 2:4] = np.nan, np.inf
    Image.fromarray(values).save(path, "TIFF")


BAD = {
    "empty.png": (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
    "text.jpg": (lambda path: path.write_text("no picture"), "is no picture that can be read"),
    "short.png": (truncated, "OSError: image file is truncated"),
    "bomb.png": (bomb, "has more than 100,000,000 pixels"),
    "pipe.png": (pipe, "is a pipe (FIFO)"),
    "sock.png": (sock, "is a socket"),
    "device.png": (lambda path: path.symlink_to("/dev/zero"), "lies outside the folder"),
    "out.png": (lambda path: path.symlink_to(__file__), "lies outside the folder"),
    "away": (lambda path: path.symlink_to("/usr"), "lies outside the folder"),
    "lost.png": (lambda path: path.symlink_to("nowhere.png"), "is not there"),
    "nan.tiff": (not_a_number, "has NaN or infinity in 2 of 64 values"),
    "e\nerror: lost\x1b[31m\u202e.png": (
        lambda path: path.write_bytes(b"?"),
        "is no picture that can be read",
    ),
}
"""Name of a file -> what makes it, and why it is refused."""


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_and_can_be_skipped(plain, digest, name):
    make, why = BAD[name]
    make(plain / "cat" / name)
    line = fault(plain)
    assert line.startswith(f"data.root = {str(plain)!r}: 1 file cannot be read (--data.skip_bad")
    assert f"{'cat/' + name!r} {why}" in line
    assert read(plain, skip_bad=True).digest == digest
    assert f"1 file left out: {'cat/' + name!r} {why}" in told(plain, skip_bad=True)


def test_all_bad_files_are_named_at_once_and_nothing_raw_is_printed(plain, capsys, tmp_path):
    for name, (make, _) in BAD.items():
        make(plain / "dog" / name)
    words = ["data", str(plain), "--out", str(tmp_path / "runs")]
    assert main(words) == options.BAD_INPUT
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert shown.err.removesuffix("\n").isprintable()
    for name in BAD:
        assert repr(f"dog/{name}") in shown.err
    assert not (tmp_path / "runs").exists()
    assert main([*words, "--data.skip_bad"]) == options.DONE


def test_a_picture_in_no_class_is_bad_where_others_have_one(plain, digest):
    shutil.copy(plain / "cat" / "001.png", plain / "preview.png")
    assert "'preview.png' is of no class, as others are" in fault(plain)
    assert read(plain, skip_bad=True).digest == digest


def test_links_in_a_circle_end(plain, digest):
    (plain / "cat" / "all").symlink_to("..")
    (plain / "dog" / "self").symlink_to(".")
    assert read(plain).digest == digest
    assert "2 links in a circle left out: 'cat/all', 'dog/self'" in told(plain)


ROWS = {
    "lost.png,cat": "is not there",
    "cat/000.png,": "has no label",
    ",cat": "names no file",
    "../../x.png,cat": "lies outside the folder",
    "/dev/zero,cat": "lies outside the folder",
    "cat/000.png,dog": "is listed before as something else",
}


@pytest.mark.parametrize("row", ROWS)
def test_a_bad_row_of_a_list_is_named(plain, digest, row):
    path = as_csv(plain, plain)
    path.write_text(f"{path.read_text().rstrip()}\n{row}\n")
    line = fault(path, classes=2)
    assert "'list.csv, row 20: " in line
    assert ROWS[row] in line
    assert read(path, classes=2, skip_bad=True).digest == digest


def test_paths_of_a_list_may_be_written_as_windows_does(plain, digest):
    path = as_csv(plain, plain)
    path.write_text(path.read_text().replace("/", "\\"))
    assert read(path, classes=2).digest == digest


LISTS = {
    "no column": (b"a,b\n1,2\n", "has 1 rows and the columns 'a', 'b'; one of them must name"),
    "nothing": (b"path,label\n", "has 0 rows"),
    "bytes": (b"\xff\xfe\x00", "invalid start byte); save it as UTF-8"),
    "empty": (b"", "is empty (0 bytes)"),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_list_that_is_none_is_one_line(tmp_path, case):
    content, said = LISTS[case]
    (tmp_path / "x.csv").write_bytes(content)
    assert said in fault(tmp_path / "x.csv")


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, "3"])
def test_lines_that_are_no_objects_are_one_line(tmp_path, text):
    (tmp_path / "x.jsonl").write_text(text)
    assert "cannot be read as a list" in fault(tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"file_name": "\ud800.png", "label": "cat"}, "names no file"),
        ({"file_name": "cat.png", "label": math.nan}, "has no label"),
    ],
)
def test_a_row_without_a_name_or_a_label_is_told(tmp_path, row, said):
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    assert said in fault(tmp_path / "x.jsonl")


def test_an_array_of_no_axis_is_no_image(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.array(3), labels=np.arange(14))
    assert "images are [N, H, W]" in fault(tmp_path / "x.npz")


def parquet_of(**columns: Any) -> bytes:
    written = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), written)
    return written.getvalue()


PARQUETS = {
    "cut": (parquet_of(path=["a.png"])[:-9], "cannot be read as a list (ArrowInvalid"),
    "none": (b"PAR1" * 9, "cannot be read as a list (ArrowInvalid"),
    "pictures": (
        parquet_of(image=[{"bytes": b"x", "path": "a.png"}], label=[1]),
        "'image' holds the pictures themselves; save them as files",
    ),
    "no column": (parquet_of(a=[1]), "has 1 rows and the columns 'a'; one of them must name"),
}


@pytest.mark.parametrize("case", PARQUETS)
def test_a_parquet_table_that_will_not_do_is_one_line(tmp_path, case):
    content, said = PARQUETS[case]
    (tmp_path / "x.parquet").write_bytes(content)
    assert said in fault(tmp_path / "x.parquet")


def test_a_small_file_of_large_rows_is_not_read(tmp_path, monkeypatch):
    content = parquet_of(path=["a.png" * 20_000])
    (tmp_path / "x.parquet").write_bytes(content)
    monkeypatch.setattr("lthray.task.lists.MOST_BYTES", 2 * len(content))
    monkeypatch.delattr(parquet.ParquetFile, "read")
    assert re.search(r"its rows have [\d,]+ bytes, at most", fault(tmp_path / "x.parquet"))


IMAGES = pictures(12)
ARRAYS = {
    "objects": ({"images": np.array([{}] * 12, object)}, "Object arrays cannot be loaded"),
    "names": ({"faces": IMAGES}, "has the arrays 'faces': none holds images"),
    "flat": ({"x": IMAGES.reshape(12, -1)}, "'x' has the shape (12, 192); images are [N, H, W]"),
    "five": ({"x": IMAGES[..., None]}, "'x' has the shape (12, 8, 8, 3, 1)"),
    "none": ({"x": IMAGES[:0]}, "'x' has the shape (0, 8, 8, 3)"),
    "labels": ({"x": IMAGES, "y": np.zeros(5, int)}, "'y' is int64 of the shape (5,); labels are"),
    "one hot": ({"x": IMAGES, "y": np.eye(12)}, "'y' is float64 of the shape (12, 12); labels are"),
    "twice": ({"x": IMAGES, "images": IMAGES}, "'x', 'images' may both be the images of one split"),
    "lost": ({"x_train": IMAGES, "y_test": np.zeros(12, int)}, "images are missing for some"),
    "mixed": ({"x": IMAGES, "x_test": IMAGES}, "some images have a split and some have none"),
    "nan": ({"x": np.where(IMAGES[3, 0, 0, 0] == IMAGES, np.nan, IMAGES)}, "'x[3]' has NaN or inf"),
    "complex": ({"x": IMAGES + 1j}, "'x[0]' holds complex128, no numbers that are pixels"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_will_not_do_are_one_line(tmp_path, case):
    arrays, said = ARRAYS[case]
    assert said in fault(write(tmp_path / "x.npz", **arrays))


def test_a_file_that_is_no_npz_or_too_large_for_memory_is_one_line(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 no more")
    assert "cannot be read as an .npz (BadZipFile" in fault(tmp_path / "x.npz")
    head = io.BytesIO()
    facts = {"descr": "|u1", "fortran_order": False, "shape": (10**13, 8, 8)}
    np.lib.format.write_array_header_1_0(head, facts)
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("x.npy", head.getvalue())
    assert "cannot be read as an .npz" in fault(tmp_path / "y.npz")


def npz_of(path: Path, *entries: tuple[str, bytes]) -> Path:
    """An archive with exactly these entries, whatever their names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there twice
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries:
                archive.writestr(name, content)
    return path


def test_an_archive_is_never_unpacked(tmp_path):
    """Names that lead elsewhere, names twice, a hundred thousand names, and zeros without end."""
    file = io.BytesIO()
    np.save(file, IMAGES)
    array, place = file.getvalue(), tmp_path / "in"
    place.mkdir()
    for name in ("../x.npy", "/escaped/x.npy", "a/../../x.npy"):
        found = npz_of(place / "x.npz", (name, array))
        assert np.array_equal(read(found).images.numpy().transpose(0, 2, 3, 1), IMAGES)
    for name in ("x.npy/", "images/0.png", "data.txt"):  # any other zip
        assert "cannot be read as an .npz" in fault(npz_of(place / "x.npz", (name, array)))
    twice = npz_of(place / "x.npz", ("x.npy", array), ("x.npy", array))
    assert "may both be the images of one split" in fault(twice)
    many = [(f"n{row}.npy", b"") for row in range(20_000)]
    assert "20000 arrays that are neither" in told(npz_of(place / "x.npz", ("x.npy", array), *many))
    link = zipfile.ZipInfo("x.npy")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(place / "x.npz", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "cannot be read as an .npz" in fault(place / "x.npz")
    bomb = npz_of(place / "x.npz", ("x.npy", array[:128] + bytes(2**26)))
    assert int(read(bomb).images.max()) == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "x.npz"]
    assert not Path("/escaped").exists()


@pytest.mark.parametrize("name", ["", "nowhere", "x.txt", "a\0b", "pipe.npz"])
def test_a_place_that_is_none_is_one_line_and_is_not_opened(tmp_path, name):
    (tmp_path / "x.txt").write_text("no picture")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(ConfigError) as caught:
        load(Data(name="folder", root=str(tmp_path / name) if name else "", side=8, channels=1))
    (line,) = caught.value.faults
    assert "data.name = 'folder' needs a folder of images, an .npz or a list" in line


# what is told


def test_copies_over_the_splits_are_counted(tmp_path):
    split = {"train": CATS, "val": DOGS, "test": np.concatenate([CATS[:2], DOGS[:1], IMAGES[:1]])}
    split["test"][3] ^= 255
    lines = told(folder_of(tmp_path, split))
    assert "2 of 4 images of test are copies of images of train, such as 'test/00" in lines
    assert "1 of 4 images of test are copies of images of validation, such as 'test/002." in lines
    assert "of validation are copies" not in lines


def test_copies_count_in_another_format_and_nothing_is_said_of_others(plain, tmp_path):
    assert told(plain) == "a class a folder"
    root = folder_of(tmp_path / "x", {"train": CATS})
    folder_of(root, {"test": CATS[:3]}, ending="bmp")
    assert "3 of 3 images of test are copies of images of train" in told(root)


def test_images_of_one_colour_are_counted(tmp_path):
    values = pictures(12)
    values[4], values[7] = 3, 200
    assert "2 of 12 images are of one colour" in told(folder_of(tmp_path, {"": values}))


# shapes


def test_what_is_cut_away_is_said(tmp_path):
    root = folder_of(tmp_path, {"": pictures(12, shape=(30, 45, 3))})
    lines = told(root)
    assert "12 of 12 pictures are cropped to 8 x 8: up to 33% of a picture is cut away" in lines
    assert "all pictures have one shape, which --data.width 12 keeps" in lines
    assert "cropped" not in told(root, width=12)
    assert "12 of 12 pictures are smaller than 40 x 40: enlarged" in told(root, side=40)


@pytest.mark.parametrize(
    ("shapes", "wanted"),
    [
        ([(16, 16)], (16, 16)),
        ([(28, 28)], (28, 28)),
        ([(30, 45)], (24, 36)),
        ([(45, 30)], (36, 24)),
        ([(480, 640)], (24, 32)),
        ([(640, 480), (480, 640)], (32, 32)),
        ([(1080, 1920)], (32, 56)),
        ([(300, 300)] * 9 + [(3, 3)], (32, 32)),  # one thumbnail does not decide
        ([(3, 3)], (4, 4)),
    ],
)
def test_sides_keep_the_shape_and_are_small(shapes, wanted):
    assert sides(shapes) == wanted


def test_pictures_that_are_not_square_are_trained_on(tmp_path, store):
    values = pictures(40, shape=(8, 12, 3))
    root = folder_of(tmp_path, {"cat": values[:20], "dog": values[20:]})
    words = {"data__name": "folder", "data__root": str(root), "data__side": 8, "data__width": 12}
    short = {"prune__ladder": (0.5,), "measure__checkpoints": 0, "train__steps": 4}
    config = tiny(**words, data__channels=3, prune__images=8, **short)
    found = load(config.data)
    assert np.array_equal(found.images.numpy().transpose(0, 2, 3, 1), values)
    assert len(rounds(config, store)) == 2
    square = tiny(**words | {"data__width": 0}, data__channels=3, prune__images=8)
    assert trajectory(config).key != trajectory(square).key


def test_a_batch_of_too_few_images_is_all_of_them(plain):
    found = read(plain)
    images, labels = found.batch(0, 5, 64)
    assert len(images) == len(labels) == len(found.splits["train"])


# words that the images answer


def config_of(root: Path, **words: object) -> Any:
    flat = TINY | {"data.name": "folder", "data.root": str(root), "prune.images": 8} | words
    argv = []
    for word, value in flat.items():
        argv += [f"--{word}", *map(str, value if isinstance(value, tuple) else (value,))]
    return configured(argv, "", "")[0]


def test_words_that_are_asked_make_the_keys_of_words_that_are_given(plain):
    by_asking = config_of(plain)
    given = {"data.side": SIDE, "data.channels": 3, "data.classes": 2}
    assert by_asking == config_of(plain, **given)
    assert trajectory(by_asking).key == trajectory(config_of(plain, **given)).key
    assert config_of(plain, **{"data.side": 6}).data.side == 6


def test_grey_that_is_stored_as_colour_is_grey(tmp_path):
    grey = np.repeat(pictures(12, shape=(SIDE, SIDE, 1)), 3, axis=-1)
    assert asked(data_of(folder_of(tmp_path / "a", {"": grey}), channels=0))["data.channels"] == 1
    grey[5, 0, 0, 1] ^= 1
    assert asked(data_of(folder_of(tmp_path / "b", {"": grey}), channels=0))["data.channels"] == 3


def test_a_factory_is_asked_too(tmp_path, monkeypatch):
    text = "import numpy as np\ndef images(root): return np.zeros((40, 2, 8, 12), np.uint8), L"
    (tmp_path / "answers_mine.py").write_text(f"{text}\nL = np.arange(40) % 5\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert asked(Data(name="answers_mine:images")) == {
        "data.channels": 2,
        "data.side": 8,
        "data.width": 12,
        "data.classes": 5,
    }


# two commands

STUDY = Grid(name="tiny", about="Tiny.", seeds=(0,), points=lambda config: [{}])


def test_a_study_of_ones_own_images_is_two_commands(plain, tmp_path, capsys):
    out = tmp_path / "runs"
    shutil.copy(plain / "cat" / "001.png", plain / "cat" / "._001.png")
    assert main(["data", str(plain), "--out", str(out), "--name", "mine"]) == options.DONE
    shown = capsys.readouterr().out
    for line in (
        f"{str(plain)!r}: 18 images (a class a folder): 10 train, 4 validation, 4 test",
        "taken as 8 x 8, colour, 2 classes",
        "note: 1 hidden and system files or folders left out: 'cat/._001.png'",
        f"lthray study layerwise_search --preset mine --out {out}",
    ):
        assert line in shown
    counts = re.findall(r"'(?:cat|dog)' +(\d+) train +(\d+) validation +(\d+) test", shown)
    assert np.array(counts).astype(int).sum(0).tolist() == [10, 4, 4]
    assert np.array(counts).astype(int).sum(1).tolist() == [9, 9]
    sheet = Image.open(out / "presets" / "mine.png").convert("RGB")
    first = np.asarray(sheet)[4 + 12 :: 8, 4::8][:8, :8]  # enlarged eight times
    assert np.array_equal(first, CATS[0])
    call = resolve(STUDY, ["--preset", "mine", "--out", str(out)])
    assert call.config.data == data_of(plain, classes=2)
    assert call.config.train.batch <= 10
    assert presets.collection("mine", str(out), call.config.data) == "mine"


def test_a_preset_that_is_there_with_other_words_is_kept(plain, tmp_path, capsys):
    words = ["data", str(plain), "--out", str(tmp_path / "runs")]
    assert main(words) == main(words) == options.DONE
    before = (tmp_path / "runs" / "presets" / "plain.json").read_bytes()
    assert main([*words, "--data.side", "4"]) == options.BAD_INPUT
    assert "choose another name" in capsys.readouterr().err
    assert (tmp_path / "runs" / "presets" / "plain.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "lthray data: needs a folder of images, an .npz or a list"),
        (["nowhere"], "No such file or directory; data.name = 'folder' needs"),
        (["plain", "--data.side", "wide"], "--data.side = 'wide': must be a valid integer"),
        (["plain", "--data.name", "digits"], "--data.name: no such option"),
        (["plain", "--data.classes", "3"], "data.classes = 3: "),
        (["plain", "--name", "digits"], "preset 'digits': is one of the package's own"),
        (["plain", "--data.side", "7"], "2 levels, but 7 is no multiple"),
    ],
)
def test_what_will_not_do_is_one_line_and_writes_nothing(plain, monkeypatch, words, said, capsys):
    monkeypatch.chdir(plain.parent)
    assert main(["data", *words]) == options.BAD_INPUT
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (Data(), "digits"),
        (Data(name="mnist"), "mnist"),
        (Data(name="folder", root="/x/My Pets (1)"), "my-pets-1"),
        (Data(name="folder", root="/x/pets.npz"), "pets"),
        (Data(name="folder", root="/x/\u732b"), "images"),
        (Data(name="mine:images"), "mine-images"),
    ],
)
def test_a_study_is_named_after_its_data(data, name):
    collection = presets.collection("digits", "runs", data)
    about = {"study": "s", "preset": "digits", "smoke": False, "collection": collection}
    assert experiment_name(about) == f"s.{name}"
