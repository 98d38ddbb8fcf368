"""What is published in results/: trials, tables and figures, as they lie there."""

import csv
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from lthray.core.record import TrialRecord

ROOT = Path(__file__).parent.parent


def recorded(folder: Path) -> list[TrialRecord]:
    """Return the published trials of a folder."""
    facts = json.loads((folder / "trials.json").read_text())
    return [TrialRecord.from_json(each) for each in facts]


def rows(path: Path) -> list[list[str]]:
    """Return the rows of a table."""
    return list(csv.reader(path.read_text().splitlines()))


def alike(again: bytes, place: Path) -> bool:
    """Return whether two pictures are the same but for fonts, which may differ by a pixel."""
    a, b = (
        np.asarray(Image.open(file).convert("L"), dtype=float)
        for file in (io.BytesIO(again), place)
    )
    return a.shape == b.shape and bool(np.abs(a - b).mean() < 1.0)  # of 255
