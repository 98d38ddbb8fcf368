"""Lists of pictures: a CSV or JSONL file with a path, a label and perhaps a split a row.

The metadata of a Hugging Face imagefolder is such a list, whose paths begin at its own folder.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from lthray.config.fields import ConfigError
from lthray.task.folders import UNLISTED, Found, Item, Walk, fault_of, refusal, some, split_of
from lthray.task.pictures import suffixes

PATHS = ("file_name", "filename", "file", "filepath", "path", "image_path", "image", "img")
LABELS = ("label", "labels", "class", "class_name", "category", "target", "y")
SPLIT_COLUMNS = ("split", "subset", "partition", "set")
PLAIN = ("path", "label", "split")  # columns of a list whose first row names none
MOST_BYTES = 2**28  # of a list: some million rows
Row = dict[str, Any]


def read(path: str, found: Found) -> list[Item]:
    """Return the pictures of the list at `path`; what is wrong with a row goes into `found`.

    Paths in it begin at its folder, which none may leave. Raises ConfigError for no list.
    """
    place = Path(os.path.realpath(path))
    items = list(Listed(place, path).items(str(place.parent), place.parent, found))
    found.how = "a list"
    return items


def described(walk: Walk, plain: list[Item]) -> list[Item]:
    """Return the pictures of a folder as its metadata tables list them.

    A table's label stands in the place of the folder's where it has one; pictures that no table
    lists are passed over. `plain` are the pictures by their folders alone.
    """
    by_folder = {item.name: item for item in plain}
    items: list[Item] = []
    has_labels = False
    for name in walk.tables:
        listed = Listed(walk.path(name), str(name))
        has_labels = has_labels or bool(listed.label)
        for item in listed.items(walk.root, walk.path(name).parent, walk.found):
            own = by_folder.pop(item.name, item)
            label = item.label if listed.label else own.label
            items.append(Item(item.name, label, item.split or own.split, item.source))
    for left in by_folder:
        walk.found.leave(UNLISTED, left)
    labels = "its labels" if has_labels else "no column of labels, so the folders are the classes"
    walk.found.how = f"an imagefolder with {some(walk.tables)}, {labels}"
    return items


class Listed:
    """The rows of a list, and which column is what."""

    def __init__(self, path: Path, name: str):
        self.name = name
        self.rows = list(_rows(path, name))
        columns = list(dict.fromkeys(column for row in self.rows[:100] for column in row))
        self.path = _column(columns, PATHS)
        self.label = _column(columns, LABELS)
        self.split = _column(columns, SPLIT_COLUMNS)
        if not self.path:
            wanted = f"one must name the files: {', '.join(PATHS)}"
            raise refusal(name, f"has the columns {some(columns) or 'of no row'}; {wanted}")

    def items(self, root: str, folder: Path, found: Found) -> Iterator[Item]:
        """Yield the pictures of all rows; what is wrong with a row goes into `found`.

        `root` is the real place of the whole collection, `folder` that of the list.
        """
        seen: dict[str, Item] = {}
        for number, row in enumerate(self.rows, 1):
            item = self._item(row, root, folder)
            fault = self._fault(row) or fault_of(Path(item.source), root)
            before = seen.setdefault(item.name, item)
            if not fault and before is not item and before != item:
                fault = "is listed before as something else"
            if fault:
                found.bad[f"{self.name}, row {number}: {item.name}"] = fault
            elif before is item:
                yield item

    def _item(self, row: Row, root: str, folder: Path) -> Item:
        text = str(row.get(self.path) or "").replace("\0", "")
        place = folder / text
        name = os.path.relpath(place, root) if text else ""
        label = str(row.get(self.label, "")).strip() if self.label else ""
        split = split_of(str(row.get(self.split) or ""))
        return Item(name, label, split, place)

    def _fault(self, row: Row) -> str:
        """Return what is wrong with the words of a row; empty if nothing is."""
        if not row.get(self.path):
            return "names no file"
        if self.label and row.get(self.label) in (None, "", [], {}):
            return f"has no {self.label}"
        word = row.get(self.split)
        if self.split and not split_of(str(word or "")):
            return f"has the {self.split} {word!r}, which is none of train, validation, test"
        return ""


def _column(columns: Sequence[str], wanted: Sequence[str]) -> str:
    """Return the first of the wanted names that is a column; empty where none is."""
    return next((name for name in wanted if name in columns), "")


def _rows(path: Path, name: str) -> Iterator[Row]:
    """Yield the rows of a list by column, in small letters; ConfigError where it cannot be read."""
    fault = fault_of(path, str(path.parent))
    if fault:
        raise refusal(name, fault)
    if path.stat().st_size > MOST_BYTES:
        raise refusal(name, f"is no list: it has more than {MOST_BYTES:,} bytes")
    read_rows = _json_rows if path.suffix.lower() == ".jsonl" else _csv_rows
    try:
        text = path.read_bytes().decode("utf-8-sig")
        yield from read_rows(text)
    except UnicodeDecodeError:
        raise refusal(name, "is no text in UTF-8") from None
    except ConfigError:
        raise
    except (ValueError, RecursionError, csv.Error, OSError) as error:
        raise refusal(name, f"cannot be read as a list: {ascii(str(error))[1:-1]}") from None


def _csv_rows(text: str) -> Iterator[Row]:
    first, _, _ = text.partition("\n")
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns: list[str] = []
    for row in rows:
        if not any(row):
            continue
        if columns:
            yield dict(zip(columns, row, strict=False))
        elif PurePath(row[0]).suffix.lower() in suffixes():
            columns = list(PLAIN[: len(row)])
            yield dict(zip(columns, row, strict=False))
        else:
            columns = [column.strip().lower() for column in row]


def _json_rows(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no object")
        yield {str(column).lower(): value for column, value in row.items()}
