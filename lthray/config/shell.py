"""How the `lthray` command, and the pages of studies and analyses, are called from this shell."""

import builtins
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lthray.config import addresses

FOLDERS = {"study": "studies", "analysis": "analysis"}
"""Kind of page -> the folder of its pages."""


def folder_of(kind: str) -> Path:
    """Return the folder of all pages of a kind: in the package as installed, or beside it in a
    clone."""
    package = Path(__file__).parent.parent
    inside = package / FOLDERS[kind]
    return inside if inside.is_dir() else package.parent / FOLDERS[kind]


def pages(kind: str) -> list[str]:
    """Return the names of all pages of a kind, such as rewinding."""
    return sorted(path.stem for path in folder_of(kind).glob("[a-z]*.py"))


def is_interactive() -> bool:
    """Return whether this is a notebook, whose program is its kernel, or a prompt, which has
    none."""
    return hasattr(builtins, "get_ipython") or not sys.argv[0]


def program() -> list[str]:
    """Return the words by which the page that runs is called again: `python studies/NAME.py` from
    the folder of a clone, `lthray study NAME` from elsewhere."""
    path = Path(sys.argv[0]).absolute()
    for kind in FOLDERS:
        if path.parent == folder_of(kind) and not path.is_relative_to(Path.cwd()):
            return ["lthray", kind, path.stem]
    return ["python", os.path.relpath(path)]


def command_line(argv: Sequence[str]) -> str:
    """Return the command that was given, or the call in Python, with `argv` and no secrets."""
    if is_interactive():
        return f"the call in Python, with {joined(argv)}"
    return joined([*program(), *argv])


def joined(argv: Sequence[str]) -> str:
    """Return the words of a command line as one text for a shell, without secrets."""
    secrets = addresses.secrets_of(argv)
    return shlex.join([addresses.redacted(word, secrets) for word in argv])


def pasteable(command: str) -> str:
    """Return a command that begins with `python` or `lthray` as the shell finds it."""
    name, blank, rest = command.partition(" ")
    found = {"python": interpreter, "lthray": own_command}.get(name)
    return f"{found()}{blank}{rest}" if found else command


def own_command() -> str:
    """Return how `lthray` is called here: by its name, or by its path where the shell does not find
    the one of this Python."""
    beside = Path(sys.executable).with_name("lthray")
    is_other = beside.is_file() and shutil.which("lthray") != str(beside)
    return _shown(beside) if is_other else "lthray"


def interpreter() -> str:
    """Return how this Python is called: `python` where that is what the shell finds."""
    beside = Path(sys.executable).with_name("python")
    return "python" if shutil.which("python") == str(beside) else _shown(Path(sys.executable))


def _shown(path: Path) -> str:
    is_below = path.is_relative_to(Path.cwd())
    return shlex.quote(os.path.relpath(path) if is_below else str(path))
