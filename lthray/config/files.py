"""Files that a user names, before they are read: regular, of a sane size, and no pickle."""

import os
import shlex
import stat
from pathlib import Path

from lthray.config.fields import ConfigError

MOST = 8 * 2**30  # bytes of a file that is read whole
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
PICKLES = (b"PK\x03\x04", b"\x80")  # of torch.save as it is and as it was: a zip, or bare
CONVERSION = (
    "import sys, torch, safetensors.torch as s; "
    "s.save_file({n: t.contiguous() for n, t in "
    "torch.load(sys.argv[1], weights_only=True).items()}, sys.argv[2])"
)


def content(word: str, path: str) -> bytes:
    """Return the bytes of a file that was given as `word`; ConfigError where it cannot be read."""
    checked(word, path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError([f"{word} = {path!r}: {error.strerror}"]) from None


def checked(word: str, path: str) -> str:
    """Return the `path` of a file that was given as `word`.

    Raises ConfigError where it is not there, is no regular file, which could be read without end,
    or is larger than any that is wanted.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise ConfigError([f"{word} = {path!r}: {error.strerror}"]) from None
    why = ""
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        why = f"is {kind}, not a regular file"
    elif status.st_size > MOST:
        why = f"has {status.st_size / 2**30:,.0f} GiB, more than the {MOST / 2**30:.0f} of a file"
    if why:
        raise ConfigError([f"{word} = {path!r}: {why}"])
    return path


def pickled(path: str | Path) -> str:
    """Return what to do with a file that torch has pickled, which is never loaded; else nothing."""
    with open(path, "rb") as file:
        begin = file.read(9)
    is_safe = begin.endswith(b"{")  # safetensors: the length of a header in eight bytes, the header
    if is_safe or not begin.startswith(PICKLES):
        return ""
    target = Path(path).with_suffix(".safetensors")
    command = shlex.join(["python", "-c", CONVERSION, str(path), str(target)])
    return f"is a pickle, which can run code and is never loaded; convert it once:  {command}"
