"""The handshake with every node before a trial runs there: one store, one code, one data.

The driver writes a nonce to the store. A node must read it there and write one of its own, which
the driver reads: then both mean the same folder by --out. Versions, the code of the package and
the content of what is read from a path are compared with the driver's. Nothing here knows Ray.
"""

import contextlib
import functools
import hashlib
import json
import platform
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import NETWORKS
from lthray.core.store import Store
from lthray.task import data, factories
from lthray.trial.given import given_digests, places_of
from lthray.version import __version__

FOLDER = "greetings"
CODE = "code of lthray"
LIBRARIES = ("torch", "ray", "numpy", "torchvision", "diffusers")
"""Libraries through which numbers run, or that must be one release on all nodes."""
Pairs = tuple[tuple[str, str], ...]


class NodeRefused(OSError):
    """A node is not fit for a trial: it has another store, other code or other data."""


@dataclass(frozen=True)
class Greeting:
    """What the driver asks of a node; plain values, so that it can cross to another machine."""

    root: str
    """Folder of the store."""
    nonce: str
    words: str
    """Words of the config that trials share, those of places too, as JSON."""
    versions: Pairs
    contents: Pairs
    """Word -> digest of what the driver reads from the place that it names."""

    @property
    def place(self) -> str:
        """Name in the store below which driver and nodes write to each other."""
        return f"{FOLDER}/{self.nonce}"


@contextlib.contextmanager
def greeting(store: Store, config: TrialConfig, *, alone: bool = False) -> Iterator[Greeting]:
    """Yield the greeting of a driver whose trials share `config`; its nonce is in the store.

    Where the driver's machine is `alone`, the code is not compared: it may be edited meanwhile, and
    what that changes is told with the objects of the store (lthray.trial.code).
    """
    nonce = secrets.token_hex(16)
    words = json.dumps({**config.canonical(), **places_of(config)})
    compared = [pair for pair in versions().items() if not (alone and pair[0] == CODE)]
    made = Greeting(str(store.root), nonce, words, tuple(compared), tuple(contents(config).items()))
    store.backend.write_file(f"{made.place}/driver", nonce.encode())
    try:
        yield made
    finally:
        store.backend.remove(made.place)


def versions() -> dict[str, str]:
    """Return name -> version of all that must be alike on every node.

    Of Python only major and minor count, of a library not the build: +cpu and +cu are one release.
    """
    found = {"lthray": __version__, CODE: _code()}
    for name in LIBRARIES:
        found[name] = metadata.version(name).partition("+")[0]
    return {**found, "Python": ".".join(platform.python_version_tuple()[:2])}


def contents(config: TrialConfig) -> dict[str, str]:
    """Return word -> digest of the content that is read from a path or an import path."""
    digests = {"data": data.load(config.data).digest, **given_digests(config)}
    if config.model.name not in NETWORKS:
        digests["model.name"] = factories.digest("model.name", config.model.name)
    return digests


# what a node does


def answer(asked: Greeting) -> tuple[str, str]:
    """Return (the nonce that this node has written to the store, what keeps trials off it)."""
    nonce = secrets.token_hex(16)
    faults = list(differences(asked))
    try:
        Store(asked.root).backend.write_file(f"{asked.place}/{nonce}", nonce.encode())
    except (OSError, ValueError) as error:
        faults.append(f"cannot write to --out ({error})")
    return nonce, "; ".join(faults)


@functools.cache
def differences(asked: Greeting) -> tuple[str, ...]:
    """Return in what this node differs from the driver; looked at once in a process."""
    return tuple(_differences(asked))


def check(asked: Greeting) -> None:
    """Raise NodeRefused where no trial may run on this node."""
    if differences(asked):
        raise NodeRefused("; ".join(differences(asked)))


def _differences(asked: Greeting) -> Iterator[str]:
    if not _is_there(asked, "driver", asked.nonce):
        yield f"does not share --out with the driver: {asked.root} there is another folder"
    yield from unlike(dict(asked.versions), versions())
    try:
        config = TrialConfig.from_flat(json.loads(asked.words))
        yield from unlike(dict(asked.contents), contents(config))
    except (ConfigError, OSError) as error:
        yield f"cannot read what the trials need: {' '.join(str(error).split())}"


def unlike(here: Mapping[str, str], there: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each name whose value is another there; digests are shortened."""
    for name, value in here.items():
        other = there.get(name, "nothing")
        if other != value:
            yield f"{name} is {other[:12]} there and {value[:12]} here"


# what the driver does


def heard(asked: Greeting, nonce: str) -> str:
    """Return what keeps trials off a node that says it has written `nonce`; empty if nothing."""
    if _is_there(asked, nonce, nonce):
        return ""
    return f"does not share --out with the driver: what it writes to {asked.root} is not seen here"


def _is_there(asked: Greeting, name: str, nonce: str) -> bool:
    """Return whether a nonce can be read in the store, under the name it was written to."""
    with contextlib.suppress(OSError, ValueError):
        return Store(asked.root).backend.read(f"{asked.place}/{name}") == nonce.encode()
    return False


@functools.cache
def _code() -> str:
    """Return the digest of every module of the package, as it lies on this machine."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
