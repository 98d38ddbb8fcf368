"""Where the bytes of a store lie: the few operations a store needs, and a folder that has them.

Names are relative paths with "/" between their parts, such as "objects/ab/<key>/whole/000/tensors".
Whatever has these operations can stand below a store: a folder on a local or shared file system, an
object store, a dictionary in a test. `filelock` has its only home here.
"""

import contextlib
import errno
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from filelock import lock_descriptor

log = logging.getLogger("lthray")

PRIVATE = 0o700  # mode of the root: nobody else sees below it
POLL = 0.1  # seconds between two looks at a lock that another process holds
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
TRIES = 20  # renames before a failure is believed, while others may remove the folder above


class DiskFull(OSError):
    """There is no space left where results are stored."""

    def __str__(self) -> str:
        return str(self.strerror)


class LeadsOutside(ValueError):
    """A link in a folder that is to be written leads out of it."""


class Backend(Protocol):
    """Named bytes, in groups that are whole or absent."""

    place: str
    """Where the names lie: a path or an address."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; FileNotFoundError or ValueError where `name` is no file."""
        ...

    def names(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix`, sorted; none where nothing is there."""
        ...

    def write_file(self, name: str, data: bytes) -> None:
        """Write one file, whole or absent; of several writers the last stays."""
        ...

    def write_group(self, name: str, files: Mapping[str, bytes]) -> bool:
        """Write all files below `name`, whole or absent; False where the name is taken already.

        Readers see a group once they see the last of `files`: a backend that cannot rename a whole
        group writes them in order, and the last only if it is absent.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove all below `name` at once; nothing happens where this process may not delete."""
        ...

    def set_aside(self, name: str) -> None:
        """Move all below `name` out of the readers' way until `sweep`, where this process may."""
        ...

    def lock(self, name: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Hold the lock of a name, no longer than the process lives.

        Yields whether it is held: without `wait`, False at once where another process holds it.
        """
        ...

    def size(self, prefix: str) -> int:
        """Return the bytes of all files below `prefix`."""
        ...

    def latest(self, prefix: str) -> float:
        """Return when something was last added two levels below `prefix`; 0 where nothing was."""
        ...

    def sweep(self, older: float) -> int:
        """Remove what dead writers left and what was set aside, if `older` seconds old.

        Returns how many groups were removed.
        """
        ...


class Folder:
    """Keep the bytes in a folder of a local or shared file system.

    A group is written under `tmp/`, made durable and renamed into place, so a reader sees all of it
    or nothing. What is set aside lies under `damaged/`, locks lie under `locks/`.
    """

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root).absolute()
        self.place = str(self.root)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; ValueError where it is a link or a folder."""
        try:
            # a named pipe would hold up whoever opens it; O_NONBLOCK changes nothing for files
            handle = os.open(self.root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(handle, "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise
        except OSError as error:
            if (self.root / name).is_symlink() or not (self.root / name).is_file():
                raise ValueError(f"{name}: not a file ({error.strerror})") from None
            raise

    def names(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix`, sorted, without hidden ones.

        Raises NotADirectoryError where the folder itself is a file.
        """
        try:
            names = os.listdir(self.root / prefix)
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            if prefix:  # a stray file, such as a user's note, holds nothing
                return []
            raise
        return sorted(name for name in names if not name.startswith("."))

    def write_file(self, name: str, data: bytes) -> None:
        """Write one file under a temporary name beside `name`, then replace `name` by it."""
        path = self.root / name
        self._check_inside(path)
        self.root.mkdir(PRIVATE, parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{uuid.uuid4().hex}"
        with _telling_full(self.root):
            _write(temporary, data)
            os.replace(temporary, path)

    def write_group(self, name: str, files: Mapping[str, bytes]) -> bool:
        """Write all files below `name`, whole or absent; False where the name is taken already.

        The files and their folder are durable before the rename shows them. Afterwards one more
        sync makes the rename durable, and with it, as file systems keep the order of such changes,
        the new folders above. Where power fails before that, the group is absent.
        """
        target = self.root / name
        self._check_inside(target)
        with _telling_full(self.root), self._temporary() as folder:
            for file, data in files.items():
                _write(folder / file, data)
            _sync(folder)
            if not _renamed(folder, target):
                return False
        with contextlib.suppress(FileNotFoundError):  # removed again already
            _sync(target.parent)
        return True

    def remove(self, name: str) -> None:
        """Remove all below `name` at once, where this process may delete."""
        target = self.root / name
        with contextlib.suppress(PermissionError, FileNotFoundError):
            if target.is_dir():
                self._check_inside(target)
                with self._temporary() as folder:
                    os.rename(target, folder / "dropped")

    def set_aside(self, name: str) -> None:
        """Move all below `name` to `damaged/`, where this process may delete."""
        key = Path(name).parts[-3]
        damaged = self.root / "damaged"
        self._check_inside(damaged / key)
        self._check_inside(self.root / name)
        with contextlib.suppress(OSError):
            damaged.mkdir(exist_ok=True)
            os.rename(self.root / name, damaged / f"{key[:16]}-{uuid.uuid4().hex}")

    @contextlib.contextmanager
    def lock(self, name: str, *, wait: bool) -> Iterator[bool]:
        """Hold the lock of a name; the system releases it however the process ends.

        Where nothing may be written there is nothing to exclude, so that is as if it were held.
        """
        path = self.root / "locks" / name
        with contextlib.ExitStack() as stack:
            handle = None
            try:
                self._check_inside(path)
                path.parent.mkdir(parents=True, exist_ok=True)
                handle = stack.enter_context(open(path, "a"))
            except OSError as error:
                if error.errno not in READ_ONLY:
                    raise
            yield handle is None or self._acquire(handle, wait)

    def latest(self, prefix: str) -> float:
        """Return when something was last added two levels below `prefix`; 0 where nothing was."""
        shelves = [self.root / prefix / name for name in self.names(prefix)]
        return max((shelf.stat().st_mtime for shelf in shelves), default=0.0)

    def size(self, prefix: str) -> int:
        """Return the bytes of all files below `prefix`."""
        found = 0
        for folder, _, names in os.walk(self.root / prefix):
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # a study drops what it needs no more
                    found += os.lstat(Path(folder, name)).st_size
        return found

    def sweep(self, older: float) -> int:
        """Remove temporary and damaged folders that last changed `older` seconds ago or more."""
        now = time.time()
        swept = 0
        for path in [*(self.root / "tmp").glob("*"), *(self.root / "damaged").glob("*")]:
            with contextlib.suppress(FileNotFoundError):  # its writer has just renamed it
                if now - path.stat().st_mtime >= older:
                    shutil.rmtree(path, ignore_errors=True)
                    swept += 1
        return swept

    def _check_inside(self, path: Path) -> None:
        """Raise LeadsOutside where a link above `path` would take what is done outside the root."""
        place = path.parent.resolve()
        if not place.is_relative_to(self.root.resolve()):
            raise LeadsOutside(f"{path}: a link leads to {place}, outside {self.root}")

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        folder = self.root / "tmp" / uuid.uuid4().hex
        self._check_inside(folder)
        self.root.mkdir(PRIVATE, parents=True, exist_ok=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _acquire(self, handle: IO[str], wait: bool) -> bool:
        while True:
            try:
                if lock_descriptor(handle.fileno(), blocking=False):
                    return True
                if not wait:
                    return False
                time.sleep(POLL)
            except OSError as error:  # no locks here: work may be done twice, never wrongly
                log.warning("no locks on %s (%s): shared work may be done twice", self.root, error)
                return True


def free(place: str | os.PathLike[str]) -> int:
    """Return the free bytes of the disk of `place`, which need not exist yet."""
    there = Path(place).absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


@contextlib.contextmanager
def _telling_full(root: Path) -> Iterator[None]:
    """Raise DiskFull, with the place and its free space, where the system says that it is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        space = f"{free(root) / 1e6:,.0f} MB are free below {root}"
        kept = "everything recorded so far is kept; make room, and the same command goes on"
        raise DiskFull(error.errno, f"{error.strerror}: {space}; {kept}") from None


def _renamed(folder: Path, target: Path) -> bool:
    """Rename `folder` to `target`; False where another writer was first.

    A process that removes the object at that moment takes the target's parent away between any two
    calls here, so a failure is tried again before it is believed.
    """
    for left in reversed(range(TRIES)):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(folder, target)
            return True
        except OSError:
            if target.is_dir():
                return False
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
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
