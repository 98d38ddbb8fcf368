"""Where results live: key -> object, whole or absent, verified on every read.

An object is a folder `objects/ab/<key>/<part>/<attempt>` with its files and a manifest that names their sha256. It is
written under `tmp/` and renamed into place, so a reader sees all of it or nothing; attempts are only ever added, and the
first that verifies is the object. A damaged attempt is set aside with a warning and made again by whoever needs it.
Locks save work and are never needed for correctness. Tensors are safetensors, facts are JSON; there are no pickles.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

log = logging.getLogger("lthray")
FORMAT = 1
KEY = re.compile(r"[0-9a-f]{64}")
PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
STALE = 3600.0  # seconds after which an abandoned temporary folder may be swept


class StoreError(ValueError):
    """The folder is no lthray store, or one that this version cannot read."""


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted names, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(kind: str, version: int, spec: Any, *parents: str) -> str:
    """The key of a step: a hash of what it is and of the keys of what it is made from."""
    return hashlib.sha256(canonical([kind, version, spec, parents]).encode()).hexdigest()


@dataclass(frozen=True)
class Item:
    """An object as read: facts, and its files as bytes that were checked against the manifest."""

    facts: dict[str, Any]
    files: dict[str, bytes] = field(repr=False)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the object."""
        return load_tensors(self.files["tensors"]) if "tensors" in self.files else {}


class Store:
    """A folder of objects, on a local or a shared file system; nothing is written before the first `put`."""

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root).absolute()
        foreign = self.root.is_dir() and any(not path.name.startswith(".") for path in self.root.iterdir())
        if self.root.is_file() or (foreign and not self._mark.is_file()):
            raise StoreError(f"{self.root}: not an lthray store (it has no {self._mark.name}) and not an empty folder")
        if self._mark.is_file():
            found = json.loads(self._mark.read_bytes() or b"{}").get("format")
            if found != FORMAT:
                raise StoreError(f"{self.root}: store format {found}, this lthray reads {FORMAT}")

    @property
    def exists(self) -> bool:
        """Whether anything was ever put."""
        return self._mark.is_file()

    def find(self, key: str, part: str = "whole") -> Item | None:
        """The first attempt at (key, part) that verifies, or None."""
        for attempt in self._attempts(key, part):
            try:
                return _read(attempt, key, part)
            except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
                if attempt.is_dir():  # else it was dropped meanwhile
                    self._set_aside(attempt, error)
        return None

    def parts(self, key: str) -> list[str]:
        """Names of the parts of a key that have an attempt, sorted."""
        folder = self._folder(key)
        names = [entry.name for entry in folder.iterdir() if PART.fullmatch(entry.name)] if folder.is_dir() else []
        return sorted(name for name in names if self._attempts(key, name))

    def put(
        self,
        key: str,
        part: str = "whole",
        *,
        facts: Mapping[str, Any],
        tensors: Mapping[str, Tensor] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Item:
        """Write an object; where another writer was first and verifies, that one is returned."""
        contents = dict(files or {})
        if tensors:
            contents["tensors"] = save_tensors({n: t.detach().cpu().contiguous() for n, t in tensors.items()})
        manifest = {
            "format": FORMAT,
            "key": key,
            "part": part,
            "facts": dict(facts),
            "files": {n: {"bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in contents.items()},
        }
        target = self._folder(key, part)
        with self._temporary() as folder:
            for name, data in contents.items():
                _write(folder / name, data)
            _write(folder / "manifest.json", _sealed(manifest))
            _sync(folder)
            while True:
                if (taken := self._attempts(key, part)) and (found := self.find(key, part)):
                    return found
                target.mkdir(parents=True, exist_ok=True)
                attempt = target / f"{max((int(a.name) for a in taken), default=-1) + 1:03d}"
                try:
                    os.rename(folder, attempt)
                    break
                except OSError:  # another writer was first, or dropped the part: look again; anything else is a fault
                    if target.is_dir() and not attempt.is_dir():
                        raise
        with contextlib.suppress(FileNotFoundError):  # dropped again already
            for place in (target, target.parent, target.parent.parent):
                _sync(place)
        return Item(json.loads(canonical(manifest))["facts"], contents)

    def drop(self, key: str, part: str = "whole") -> None:
        """Forget an object that is no longer needed, where this process may delete."""
        with contextlib.suppress(PermissionError, FileNotFoundError), self._temporary() as folder:
            os.rename(self._folder(key, part), folder / "dropped")

    @contextlib.contextmanager
    def lock(self, key: str, *, wait: bool = True, poll: float = 0.1) -> Iterator[bool]:
        """Hold the lock of a key, so that two processes do not make the same object twice; it ends with the process.

        Without `wait`, yields at once, and False where another process holds it.
        """
        path = self.root / "locks" / key
        self._begin(path.parent)
        with open(path, "a") as handle:
            yield self._locked(handle, wait, poll)

    def _locked(self, handle: IO[str], wait: bool, poll: float) -> bool:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if not wait:
                    return False
                time.sleep(poll)
            except OSError as error:  # a file system without locks: the work may be done twice, never wrongly
                log.warning("no locks on %s (%s): shared work may be done twice", self.root, error)
                return True

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Every (key, part) in the store."""
        for folder in sorted((self.root / "objects").glob("??/*")):
            if KEY.fullmatch(folder.name):
                yield from ((folder.name, part) for part in self.parts(folder.name))

    def size(self) -> int:
        """Bytes of all objects."""
        return sum(path.stat().st_size for path in (self.root / "objects").rglob("*") if path.is_file())

    def sweep(self, older: float = STALE) -> int:
        """Remove what killed writers left under tmp/ and what was set aside; returns how many."""
        now, swept = time.time(), 0
        for path in [*(self.root / "tmp").glob("*"), *(self.root / "damaged").glob("*")]:
            if now - path.stat().st_mtime >= older:
                shutil.rmtree(path, ignore_errors=True)
                swept += 1
        return swept

    @property
    def _mark(self) -> Path:
        return self.root / "lthray-store.json"

    def _folder(self, key: str, part: str | None = None) -> Path:
        if not KEY.fullmatch(key) or not (part is None or PART.fullmatch(part)):
            raise ValueError(f"not an object's name: {key!r} {part!r}")
        folder = self.root / "objects" / key[:2] / key
        return folder if part is None else folder / part

    def _attempts(self, key: str, part: str) -> list[Path]:
        folder = self._folder(key, part)
        with contextlib.suppress(FileNotFoundError):
            return sorted(attempt for attempt in folder.iterdir() if attempt.name.isdigit())
        return []

    def _begin(self, folder: Path) -> None:
        if not self._mark.is_file():
            self.root.mkdir(parents=True, exist_ok=True)
            temporary = self.root / f".{uuid.uuid4().hex}"
            _write(temporary, canonical({"format": FORMAT}).encode())
            os.replace(temporary, self._mark)
        folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        folder = self.root / "tmp" / uuid.uuid4().hex
        self._begin(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _set_aside(self, attempt: Path, error: Exception) -> None:
        log.warning("damaged object %s set aside, it will be made again: %s", attempt.relative_to(self.root), error)
        (self.root / "damaged").mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            os.rename(attempt, self.root / "damaged" / f"{attempt.parent.parent.name[:16]}-{uuid.uuid4().hex}")


def _sealed(manifest: dict[str, Any]) -> bytes:
    """The manifest with a digest of itself, so that no bit of it can change unseen."""
    seal = hashlib.sha256(canonical(manifest).encode()).hexdigest()
    return canonical({"manifest": manifest, "sha256": seal}).encode()


def _read(attempt: Path, key: str, part: str) -> Item:
    data = (attempt / "manifest.json").read_bytes()
    manifest = json.loads(data)["manifest"]
    if _sealed(manifest) != data or (manifest["key"], manifest["part"]) != (key, part):
        raise ValueError("manifest.json does not match its own digest and place")
    files = {}
    for name, want in manifest["files"].items():
        files[name] = (attempt / name).read_bytes()
        got = hashlib.sha256(files[name]).hexdigest()
        if got != want["sha256"]:
            raise ValueError(f"{name}: sha256 {got[:16]}…, expected {want['sha256'][:16]}…")
    return Item(manifest["facts"], files)


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
