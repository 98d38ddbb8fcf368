"""Lists of pictures: a CSV, JSONL or Parquet file with a path, a label and perhaps a split a row.

The metadata of a Hugging Face imagefolder is such a list, whose paths begin at its own folder.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from lthray.config.addresses import is_text
from lthray.task.found import Found, Item, Unreadable, fault_of, some, split_of
from lthray.task.pictures import suffixes

PATHS = ("file_name", "filename", "file", "filepath", "path", "image_path", "image", "img")
LABELS = ("label", "labels", "class", "class_name", "category", "target", "y")
SPLIT_COLUMNS = ("split", "subset", "partition", "set")
PLAIN = ("path", "label", "split")  # columns of a list whose first row names none
MOST_BYTES = 2**28  # of a list: some million rows
UNLISTED = "pictures that no table lists"
ABSENT: tuple[Any, ...] = (None, "", [], {})  # labels that are none
FAULTS = (ValueError, RecursionError, csv.Error, OSError, NotImplementedError, MemoryError)
"""What is raised for a file that is no such table; of Parquet by pyarrow."""
Row = dict[str, Any]


def read(path: str, found: Found) -> list[Item]:
    """Return the pictures of the list at `path`; what is wrong with a row goes into `found`.

    Paths in it begin at its folder, which none may leave. Raises Unreadable for no list.
    """
    place = Path(os.path.realpath(path))
    items = list(Listed(place, place.name).items(str(place.parent), found))
    found.how = "a list"
    found.counted = True
    return items


def described(tables: Sequence[Path], root: str, found: Found) -> list[Item]:
    """Return the pictures of a folder as its metadata tables list them.

    `tables` are paths below the real place `root`; the items of `found` are the pictures by their
    folders, which say the class and the split where a table does not. Pictures that no table lists
    are passed over.
    """
    by_folder = {item.name: item for item in found.items}
    items: list[Item] = []
    labels = set()
    for name in tables:
        listed = Listed(Path(root) / name, str(name))
        labels.add(listed.label)
        for item in listed.items(root, found):
            own = by_folder.pop(item.name, item)
            label = item.label if listed.label else own.label
            items.append(replace(item, label=label, split=item.split or own.split))
    for left in by_folder:
        found.leave(UNLISTED, left)
    said = "without labels, so the folders are the classes" if labels == {""} else "with labels"
    found.how = f"an imagefolder with {some(tables)} {said}"
    found.counted = labels != {""}
    return items


class Listed:
    """The rows of a list, and which column is what.

    `name` is how the user knows the list. Raises Unreadable where it is none.
    """

    def __init__(self, path: Path, name: str):
        self.name, self.folder = name, path.parent
        self.rows = list(_rows(path, name))
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        self.path = _column(columns, PATHS)
        self.label = _column(columns, LABELS)
        self.split = _column(columns, SPLIT_COLUMNS)
        if not self.path:
            wanted = f"one of them must name the files: {', '.join(PATHS)}"
            has = f"has {len(self.rows)} rows and the columns {some(columns) or 'of none'}"
            raise Unreadable(f"{name!r} {has}; {wanted}")

    def items(self, root: str, found: Found) -> Iterator[Item]:
        """Yield the pictures of all rows; what is wrong with a row goes into `found`.

        `root` is the real place of the whole collection, which no path may leave. A row that says
        again what another has said is passed over.
        """
        seen: dict[str, Item] = {}
        for number, row in enumerate(self.rows, 1):
            item = self._item(row, root)
            before = seen.setdefault(item.name, item)
            again = "is listed before as something else" * (before != item)
            fault = self._fault(row) or fault_of(Path(root) / item.name, root) or again
            if fault:
                found.bad[f"{self.name}, row {number}: {item.name}"] = fault
            elif before is item:
                yield item

    def _item(self, row: Row, root: str) -> Item:
        """Return the picture of a row, whatever may be wrong with it."""
        path = str(row.get(self.path)).replace("\0", "")
        place = self.folder / path
        if not os.path.lexists(place):  # perhaps a path as Windows writes it
            place = self.folder / path.replace("\\", "/")
        label = str(row.get(self.label, "")).strip()
        split = split_of(row.get(self.split, ""))
        return Item(
            name=os.path.relpath(place, root),
            label=label,
            split=split,
            source=place,
        )

    def _fault(self, row: Row) -> str:
        """Return what is wrong with the words of a row; empty if nothing is."""
        split = row.get(self.split)
        faults = {
            "names no file": not (row.get(self.path) and is_text(str(row[self.path]))),
            f"has no {self.label}": self.label and _is_absent(row.get(self.label)),
            f"is of no split, train, validation or test, but {split!r}": (
                self.split and not split_of(split)
            ),
        }
        return next((fault for fault, is_so in faults.items() if is_so), "")


def _is_absent(label: Any) -> bool:
    """Return whether a label is none: such as NaN, which tables write for what is missing."""
    return label in ABSENT or label != label


def _column(columns: Sequence[str], wanted: Sequence[str]) -> str:
    """Return the first of the wanted names that is a column; empty where none is."""
    return next((name for name in wanted if name in columns), "")


def _rows(path: Path, name: str) -> Iterator[Row]:
    """Yield the rows of a list, each as column in small letters -> value.

    Raises Unreadable where the list is no ordinary file of sane size, or no table.
    """
    fault = fault_of(path, str(path.parent))
    if fault or path.stat().st_size > MOST_BYTES:
        raise Unreadable(f"{name!r} {fault or f'has more than {MOST_BYTES:,} bytes'}")
    read_rows = READERS.get(path.suffix.lower(), _csv_rows)
    try:
        yield from read_rows(path.read_bytes())
    except FAULTS as error:
        why = f"{type(error).__name__}: {ascii(str(error))[1:-1]}"
        out = "; save it as UTF-8" * isinstance(error, UnicodeError)
        raise Unreadable(f"{name!r} cannot be read as a list ({why}){out}") from None


def _csv_rows(data: bytes) -> Iterator[Row]:
    """Yield the rows of a table whose cells are parted by commas, semicolons or tabs.

    The first row names the columns, unless it begins with the path of a picture.
    """
    text = data.decode("utf-8-sig")
    first, _, _ = text.partition("\n")
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = [column.strip().lower() for column in next(rows, ())]
    if columns and PurePath(columns[0]).suffix in suffixes():
        columns = list(PLAIN[: len(columns)])
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for cells in filter(any, rows):
        row = dict(zip(columns, cells, strict=False))
        row.pop("", None)  # the numbers of rows that some programs write
        yield row


def _json_rows(data: bytes) -> Iterator[Row]:
    """Yield the objects of a text that has one a line; ValueError for anything else."""
    for line in filter(str.strip, data.decode("utf-8-sig").splitlines()):
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"a line holds a {type(row).__name__}, not an object")
        yield {str(column).lower(): value for column, value in row.items()}


def _parquet_rows(data: bytes) -> Iterator[Row]:
    """Yield the rows of a Parquet table; ValueError where it is none, or none of sane size.

    It is also raised where the table holds the pictures themselves, and not where they lie.
    """
    from pyarrow import parquet, types

    table = parquet.ParquetFile(io.BytesIO(data))
    facts = table.metadata
    size = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
    nested = [column.name for column in table.schema_arrow if types.is_nested(column.type)]
    held = [name for name in nested if name.lower() in PATHS]
    if held:
        raise ValueError(f"{held[0]!r} holds the pictures themselves; save them as files")
    if size > MOST_BYTES:
        raise ValueError(f"its rows have {size:,} bytes, at most {MOST_BYTES:,} are read")
    for row in table.read(use_threads=False).to_pylist():
        yield {name.lower(): value for name, value in row.items()}


READERS: dict[str, Callable[[bytes], Iterator[Row]]] = {
    ".jsonl": _json_rows,
    ".parquet": _parquet_rows,
}
"""Ending of a list that is no CSV -> what reads the rows in its bytes."""
