"""Where results live: key -> object, whole or absent, verified on every read.

An object is a group of files below `objects/ab/<key>/<part>/<attempt>`, with a manifest that holds
its facts and the sha256 of each file. Attempts are only ever added, and the first that verifies is
the object. A damaged attempt is set aside with a warning and made again by whoever needs it. Locks
save work and are never needed for correctness. Tensors are safetensors, facts are JSON; there are
no pickles. Where the bytes lie is the business of a backend (lthray.core.backends).
"""

import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from lthray.core.backends import Backend, Folder
from lthray.core.keys import KEY, canonical, key_of, parsed

log = logging.getLogger("lthray")

FORMAT = 1
MARK = "lthray-store.json"  # a folder with this file is a store
MANIFEST = "manifest.json"
STALE = 3600.0  # seconds after which what a dead writer left may be swept
PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")  # no "/", no "..", not hidden
SEALED = re.compile(rb'\{"manifest":(.*),"sha256":"([0-9a-f]{64})"\}', re.DOTALL)
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError)
CONFLICTS = key_of("conflicts", 1, {})
"""Key under which objects are listed that two writers made with unlike bytes."""


class CodeChanged(RuntimeError):
    """Stored results were made by other code than this."""


class StoreError(ValueError):
    """The place is no lthray store, or one that this version cannot read."""


class DamagedStore(StoreError):
    """What the store holds is damaged, or was not written by lthray."""


@dataclass(frozen=True)
class Item:
    """An object as read: its facts and files, checked against its manifest."""

    facts: dict[str, Any]
    """JSON that the object was put with."""
    files: dict[str, bytes] = field(repr=False)
    """File name -> bytes; the file `tensors` holds all tensors."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the object by name; none where it was put without."""
        return load_tensors(self.files["tensors"]) if "tensors" in self.files else {}


class Store:
    """Objects by (key, part) over a backend; nothing is written before the first `put`."""

    def __init__(self, root: str | os.PathLike[str] | Backend):
        """Open the store in the folder `root`, or over another backend.

        A store begins with its first `put`. Raises StoreError where something else is there: an
        empty folder, or none, is where a new store may begin.
        """
        self.backend = Folder(root) if isinstance(root, str | os.PathLike) else root
        self.root = Path(self.backend.place)
        self.set_aside: list[str] = []
        """Attempts that were found damaged here, and set aside."""
        try:
            names = self.backend.names("")
        except NotADirectoryError:
            names = [self.root.name]
        if MARK in names:
            self._check_format()
        elif names:
            raise StoreError(
                f"{self.root}: not an lthray store (it has no {MARK}) and not an empty folder"
            )

    @property
    def exists(self) -> bool:
        """Whether anything was ever put."""
        return MARK in self.backend.names("")

    def find(self, key: str, part: str = "whole") -> Item | None:
        """Return the first attempt at (key, part) that verifies, or None."""
        folder = _place(key, part)
        for attempt in self._attempts(folder):
            try:
                return self._read(f"{folder}/{attempt}", key, part)
            except DAMAGE as error:
                if attempt in self._attempts(folder):  # else it was dropped meanwhile
                    self._set_aside(f"{folder}/{attempt}", error)
        return None

    def facts(self, key: str, part: str = "whole") -> dict[str, Any] | None:
        """Return the facts of the first attempt at (key, part) whose manifest verifies, or None.

        Its files are not read, so this is quick, and says nothing of them.
        """
        folder = _place(key, part)
        for attempt in self._attempts(folder):
            try:
                manifest = _unsealed(self.backend.read(f"{folder}/{attempt}/{MANIFEST}"))
            except DAMAGE:
                continue
            return dict(manifest["facts"])
        return None

    def parts(self, key: str) -> list[str]:
        """Return the names of the parts of a key that have an attempt, sorted."""
        folder = _place(key)
        names = [name for name in self.backend.names(folder) if PART.fullmatch(name)]
        return [name for name in names if self._attempts(f"{folder}/{name}")]

    def put(
        self,
        key: str,
        part: str = "whole",
        *,
        facts: Mapping[str, Any],
        tensors: Mapping[str, Tensor] | None = None,
        files: Mapping[str, bytes] | None = None,
        repeatable: bool = True,
    ) -> Item:
        """Write an object and return it; where another writer was first, return that writer's.

        `facts` must be JSON without NaN, `files` have plain names; ValueError where they do not.
        Of what is `repeatable`, all writers should make the same numbers: where the first has made
        others, that is warned of and listed in `conflicts`.
        """
        folder = _place(key, part)
        contents = dict(files or {})
        if tensors:
            contents["tensors"] = _packed(tensors)
        sealed = _sealed(_manifest(key, part, facts, contents))
        self._begin()
        while True:
            attempts = self._attempts(folder)
            if attempts and (item := self.find(key, part)):
                unlike = _unlike(item, facts, contents) if repeatable else []
                if unlike:
                    self._report(key, part, unlike, [item.facts, facts])
                return item
            number = max(map(int, attempts), default=-1) + 1
            group = {**contents, MANIFEST: sealed}  # its last file makes a group an object
            if self.backend.write_group(f"{folder}/{number:03d}", group):
                return Item(_unsealed(sealed)["facts"], contents)

    def drop(self, key: str, part: str = "whole") -> None:
        """Forget an object that is no longer needed, where this process may delete."""
        self.backend.remove(_place(key, part))

    @contextlib.contextmanager
    def lock(self, key: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of a key, so that two processes do not make the same object twice.

        The lock ends with the process. Without `wait`, yields at once, and False where another
        process holds it.
        """
        _place(key)
        self._begin()
        with self.backend.lock(key, wait=wait) as acquired:
            yield acquired

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterate over every (key, part) in the store."""
        for shelf in self.backend.names("objects"):
            names = [name for name in self.backend.names(f"objects/{shelf}") if name[:2] == shelf]
            for key in filter(KEY.fullmatch, names):
                yield from zip(repeat(key), self.parts(key), strict=False)

    def conflicts(self) -> list[dict[str, Any]]:
        """Return what is known of each object that two writers made with unlike bytes.

        That is its `key` and `part`, the names of what is `unlike`, and what was `made` with: that
        of the writer whose object stays, then that of the other.
        """
        parts = self.parts(CONFLICTS)
        return [facts for part in parts if (facts := self.facts(CONFLICTS, part))]

    def latest(self) -> float:
        """Return when an object of a new key was stored last, as the backend's clock has it."""
        return self.backend.latest("objects")

    def size(self) -> int:
        """Return the bytes of all objects."""
        return self.backend.size("objects")

    def sweep(self, older: float = STALE) -> int:
        """Remove what dead writers left, and what was set aside, `older` seconds ago or more.

        Returns how many groups were removed.
        """
        return self.backend.sweep(older)

    def _check_format(self) -> None:
        try:
            mark = parsed(self.backend.read(MARK))
            version = mark["format"]
        except DAMAGE as error:
            way_out = f'write {{"format": {FORMAT}}} into it, or restore it'
            raise DamagedStore(f"{self.root}: {MARK} is damaged ({error}); {way_out}") from None
        if version != FORMAT:
            raise StoreError(f"{self.root}: store format {version}, this lthray reads {FORMAT}")

    def _begin(self) -> None:
        if not self.exists:
            self.backend.write_file(MARK, canonical({"format": FORMAT}).encode())

    def _attempts(self, folder: str) -> list[str]:
        return [name for name in self.backend.names(folder) if name.isdecimal()]

    def _read(self, attempt: str, key: str, part: str) -> Item:
        manifest = _unsealed(self.backend.read(f"{attempt}/{MANIFEST}"))
        if (manifest["key"], manifest["part"]) != (key, part):
            raise ValueError(f"{MANIFEST} belongs to another object")
        expected = {name: entry["sha256"] for name, entry in dict(manifest["files"]).items()}
        _check_names(expected)
        files = {name: self.backend.read(f"{attempt}/{name}") for name in expected}
        for name, data in files.items():
            digest = hashlib.sha256(data).hexdigest()
            if digest != expected[name]:
                short = expected[name][:16]
                raise ValueError(f"{name}: sha256 {digest[:16]}…, expected {short}…")
        return Item(dict(manifest["facts"]), files)

    def _report(
        self, key: str, part: str, unlike: list[str], facts: list[Mapping[str, Any]]
    ) -> None:
        """Warn of an object that a second writer has made with other bytes, and list it."""
        made = [dict(sorted(each.get("made", {}).items())) for each in facts]
        makers = [", ".join(map(str, each.values())) or "unknown" for each in made]
        message = "two writers made %s %s with unlike %s; the first stays (made by %s, then by %s)"
        log.warning(message, key[:16], part, ", ".join(unlike), *makers)
        known = {"key": key, "part": part, "unlike": unlike, "made": made, "at": time.time()}
        self.put(CONFLICTS, f"{key}-{part}"[:100], facts=known, repeatable=False)

    def _set_aside(self, attempt: str, error: Exception) -> None:
        message = "damaged object %s set aside, it will be made again: %s"
        log.warning(message, attempt, error)
        self.backend.set_aside(attempt)
        self.set_aside.append(attempt)


def _place(key: str, part: str | None = None) -> str:
    """Return the name below which the attempts at an object lie, or the parts of a key."""
    if not KEY.fullmatch(key) or not (part is None or PART.fullmatch(part)):
        raise ValueError(f"not an object's name: {key!r} {part!r}")
    folder = f"objects/{key[:2]}/{key}"
    return folder if part is None else f"{folder}/{part}"


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    return save_tensors({name: t.detach().cpu().contiguous() for name, t in tensors.items()})


def _manifest(
    key: str, part: str, facts: Mapping[str, Any], contents: Mapping[str, bytes]
) -> dict[str, Any]:
    _check_names(contents)
    files = {}
    for name, data in contents.items():
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return {"format": FORMAT, "key": key, "part": part, "facts": dict(facts), "files": files}


def _unlike(item: Item, facts: Mapping[str, Any], contents: Mapping[str, bytes]) -> list[str]:
    """Return the names of what another writer has made otherwise than `item`: files, `metrics`.

    Clocks differ between any two writers, so other facts are not looked at.
    """
    names = item.files.keys() | contents.keys()
    unlike = [name for name in sorted(names) if item.files.get(name) != contents.get(name)]
    if item.facts.get("metrics") != facts.get("metrics"):
        unlike.append("metrics")
    return unlike


def _check_names(names: Mapping[str, Any]) -> None:
    """Refuse names that are no plain file names, so that none leads out of its own folder."""
    for name in names:
        if name == MANIFEST or not FILE.fullmatch(name):
            allowed = "letters, digits, '.', '_' and '-'"
            raise ValueError(f"not a file's name: {name!r} ({allowed} only)")


def _sealed(manifest: dict[str, Any]) -> bytes:
    """Return a manifest with a digest of itself, so that no bit of it can change unseen."""
    seal = hashlib.sha256(canonical(manifest).encode()).hexdigest()
    return canonical({"manifest": manifest, "sha256": seal}).encode()


def _unsealed(data: bytes) -> dict[str, Any]:
    """Return the manifest that `_sealed` made `data` of; ValueError where a bit was changed."""
    match = SEALED.fullmatch(data)
    if not match or hashlib.sha256(match[1]).hexdigest() != match[2].decode():
        raise ValueError(f"{MANIFEST} does not match its own digest")
    manifest: dict[str, Any] = parsed(match[1])
    return manifest
