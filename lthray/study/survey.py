"""A look at a user's own images before anything is trained: counts, problems, a contact sheet, and
the words of a preset that fit them."""

import io
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from lthray.config import presets
from lthray.config.fields import ConfigError
from lthray.config.options import Root
from lthray.config.parts import Data, Prune, Train
from lthray.config.shell import pasteable
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import FEATURES
from lthray.study.answers import answered, data_of
from lthray.task.data import Images, load
from lthray.task.found import some

CLASSES = 20  # classes that are listed, or that have a row of the contact sheet
COLUMNS = 10  # images of a class on it
CELL = 64  # pixels of the longer side of an image on it
EDGE, CAPTION = 4, 12  # pixels around an image, and of the name of a class above its row
GROUND = (96, 96, 96)
LEAST = 8  # training images that a criterion must see
ORDER = ("train", "validation", "test")


def survey(words: Mapping[str, Any]) -> tuple[Images, dict[str, Any]]:
    """Return a user's images, and the words of a preset for them.

    `words` are those on data that the user gave. Raises ConfigError where the images cannot be
    read, or no trial could learn from them.
    """
    data = data_of(answered(words))
    images = load(data)
    preset = preset_words(images, data)
    TrialConfig.from_flat(preset)
    return images, preset


def lines(images: Images, words: Mapping[str, Any]) -> Iterator[str]:
    """Yield what there is: how it was read, counts by class and split, the shape, what is amiss.

    `words` are those of the preset that is made of the images.
    """
    how, *notes = images.notes
    channels, height, width = images.shape
    kind = {1: "grey", 2: "grey with transparency", 3: "colour", 4: "colour with transparency"}
    counts = [f"{len(images.splits[split])} {split}" for split in ORDER]
    yield f"{words['data.root']!r}: {len(images.images)} images ({how}): {', '.join(counts)}"
    yield f"taken as {height} x {width}, {kind[channels]}, {len(images.classes)} classes"
    yield from _class_lines(images)
    for note in notes:
        yield f"note: {note}"


def _class_lines(images: Images) -> Iterator[str]:
    """Yield the numbers of images of each class in each split."""
    names = np.array(images.classes)
    numbers = np.zeros((len(names), len(ORDER)), dtype=int)
    for column, split in enumerate(ORDER):
        labels = images.labels[images.splits[split]]
        numbers[:, column] = torch.bincount(labels, minlength=len(names)).numpy()
    for name, row in zip(names[:CLASSES], numbers, strict=False):
        counts = "  ".join(map("{:>6} {}".format, row, ORDER))
        yield f"  {str(name)!r:<20} {counts}"
    if len(names) > CLASSES:
        yield f"  and {len(names) - CLASSES} more classes"
    untaught = names[numbers[:, 0] == 0]
    if len(untaught):
        yield f"note: no training image is of class {some(untaught)}"


def keep(name: str, out: str, images: Images, words: Mapping[str, Any]) -> list[str]:
    """Write the preset `name` of the root `out`, and a contact sheet beside it.

    Returns lines on where they are and how the preset is used. Raises ConfigError where the preset
    cannot be written; then there is no new sheet either.
    """
    path = presets.save(name, out, words)
    picture = presets.write(path.with_suffix(".png"), sheet(images))
    root = f" --out {shlex.quote(out)}" * (out != Root().out)
    return [
        f"preset:  {path}",
        f"look:    {picture}",
        f"use it:  {pasteable(f'lthray study layerwise_search --preset {name}{root}')}",
    ]


def preset_words(images: Images, data: Data) -> dict[str, Any]:
    """Return the words of a preset for these images: the default network, on as many as there are.

    Raises ConfigError where they are too few to prune with.
    """
    number = len(images.splits["train"])
    if number < LEAST:
        why = f"has {number} training images, a criterion needs at least {LEAST}"
        raise ConfigError([f"data.root = {data.root!r}: {why}"])
    given, usual = asdict(data), asdict(Data())
    words = {f"data.{name}": given[name] for name in given if given[name] != usual[name]}
    batch = Train().batch
    while batch > number:
        batch //= 2
    words |= {"train.batch": batch, "prune.images": min(Prune().images, number)}
    if number < 10 * FEATURES or len(images.classes) < 2:
        words["measure.samples"] = 0
    return words


def sheet(images: Images) -> bytes:
    """Return a PNG with a row of images for each class, as the network will see them, enlarged."""
    from PIL import Image, ImageDraw

    factor = max(1, CELL // max(images.shape[1:]))
    height, width = images.shape[1] * factor + EDGE, images.shape[2] * factor + EDGE
    rows = range(min(len(images.classes), CLASSES))
    page = Image.new("RGB", (COLUMNS * width + EDGE, len(rows) * (height + CAPTION) + EDGE), GROUND)
    draw = ImageDraw.Draw(page)
    for label in rows:
        top = EDGE + label * (height + CAPTION)
        draw.text((EDGE, top), ascii(images.classes[label])[1:-1] or "all", fill="white")
        of_class = (images.labels == label).nonzero().flatten()[:COLUMNS]
        for column, row in enumerate(of_class.tolist()):
            values = images.images[row].numpy().transpose(1, 2, 0)
            large = np.ascontiguousarray(values.repeat(factor, 0).repeat(factor, 1))
            picture = Image.fromarray(large.squeeze(-1) if large.shape[-1] == 1 else large)
            page.paste(picture.convert("RGB"), (EDGE + column * width, top + CAPTION))
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()
