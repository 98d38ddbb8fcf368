"""Where trials run: what a node carries, and how a cluster is reached. Nothing here imports Ray."""

import contextlib
import math
import os
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lthray.config.options import Options
from lthray.core.backends import Folder

RAY = {
    "RAY_AUTH_MODE": "token",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # its kills end a whole Tune experiment
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the study has its own
}
"""What Ray reads from the environment when it is imported."""
MEMORY = 1.5e9  # bytes of host memory a worker may need before it has done anything
SHARE = 0.25  # of a GPU, for a trial that names none where there is one
BASE = "/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()
PREFIX = "lthray-"  # of private folders
ALIVE = "study"  # lock of a private folder, held while its study lives; it marks the folder
PATIENCE = 10.0  # seconds for a cluster's address to answer
HINT = (
    "is it running, is the token right (RAY_AUTH_TOKEN_PATH), "
    "are Ray and Python the same version there?"
)

Node = Mapping[str, float]
"""Resources of a node: CPU and, where it has any, GPU."""
Nodes = Sequence[tuple[Node, int]]
"""Nodes, or types of nodes, each with its number."""


@dataclass(frozen=True)
class Member:
    """A node that is there."""

    name: str
    """Ray's id of the node."""
    address: str
    resources: Node

    def __str__(self) -> str:
        return f"{self.address} ({self.name[:8]})"


class ClusterError(RuntimeError):
    """The cluster cannot be reached, or cannot do what is asked of it."""


def before_ray() -> None:
    """Set what Ray reads when it is imported, where the user has not."""
    for name, value in RAY.items():
        os.environ.setdefault(name, value)


def shown(cpus: float, gpus: float) -> str:
    """Return resources in words."""
    return f"{cpus:g} CPUs {gpus:g} GPUs"


def slots(options: Options, share: float, alive: Nodes, startable: Nodes = ()) -> int:
    """Return how many trials, each with `share` of a GPU, run at a time.

    `alive` are the nodes that are there, `startable` those that an autoscaler may still start.
    Raises ClusterError if not even one trial ever fits.
    """
    cpus = options.cpus_per_trial
    fitting = max(_fitting(alive, cpus, share), _fitting(startable, cpus, share))
    if not fitting:
        seen = []
        for node, _ in [*alive, *startable]:
            seen.append(shown(node.get("CPU", 0), node.get("GPU", 0)))
        wanted = f"--cpus-per-trial {cpus} --gpus-per-trial {share:g}"
        raise ClusterError(f"{wanted}: no node has that much (nodes: {'; '.join(seen)})")
    if not options.address and not share:
        fitting = max(1, min(fitting, int(free_memory() / MEMORY)))
    return min(fitting, options.max_concurrent or fitting)


CGROUP = Path("/sys/fs/cgroup")
MEMORY_OF_ALL = Path("/proc/meminfo")  # in KiB
CPU = (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"])
RAM = (
    ["memory.max", "memory.current"],
    ["memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"],
)
"""Files of a control group with a limit and a second number: of version 2, and of version 1."""


def cpus() -> int:
    """Return the CPUs that this process may use: of its affinity, within the quota of its group."""
    quota, period = _limits(CPU)
    of_linux = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if of_linux else os.cpu_count() or 1
    return int(max(1, min(allowed, quota / period)))


def free_memory() -> float:
    """Return the bytes of memory that are free: of the machine, and within the group's limit.

    What files lie in memory counts as free, for it is given up when it is needed. Where the system
    does not say what is free, as macOS, all of its memory counts.
    """
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    free = float(os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE"))
    limit, used = _limits(RAM)
    with contextlib.suppress(OSError, ValueError):
        free = 1024.0 * _number(MEMORY_OF_ALL, "MemAvailable:")
    for names in RAM:
        with contextlib.suppress(OSError, ValueError):
            used -= _number((CGROUP / names[0]).with_name("memory.stat"), "inactive_file")
            break
    return max(0.0, min(free, limit - used))


def _number(path: Path, name: str) -> int:
    """Return the number behind a name in a file of names and numbers.

    Raises OSError where there is no such file, and ValueError where it has no such name.
    """
    words = path.read_text().split()
    return int(words[words.index(name) + 1])


def _limits(versions: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Return the two numbers in files of this process's control group: inf and 1 without them."""
    for names in versions:
        with contextlib.suppress(OSError, ValueError):
            text = " ".join((CGROUP / name).read_text() for name in names)
            limit, other = text.replace("max", "inf").replace("-1", "inf").split()
            return float(limit), float(other)
    return math.inf, 1.0


def _fitting(nodes: Nodes, cpus: int, share: float) -> int:
    """Return how many trials fit on all nodes together."""
    return sum(count * trials_on(node, cpus, share) for node, count in nodes)


def trials_on(node: Node, cpus: int, share: float) -> int:
    """Return how many trials of `cpus` threads and `share` of a GPU one node carries.

    A fraction of a GPU never spans two.
    """
    by_cpu = int(node.get("CPU", 0) // cpus)
    if not share:
        return by_cpu
    devices = int(node.get("GPU", 0))
    if share <= 1:
        return min(by_cpu, devices * int(1 / share + 1e-9))
    return min(by_cpu, devices // int(share))


@contextlib.contextmanager
def private_folder(base: str = BASE) -> Iterator[str]:
    """Make a folder that nobody else can read, below `base`, for as long as this is open.

    Folders of studies that were killed are removed first, with their tokens.
    """
    os.makedirs(base, exist_ok=True)
    sweep_private(base)
    scratch = tempfile.mkdtemp(prefix=PREFIX, dir=base)  # short: Ray's sockets live below it
    try:
        with Folder(scratch).lock(ALIVE, wait=False):
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sweep_private(base: str = BASE) -> int:
    """Remove private folders that no process holds any more; returns how many.

    Only those are looked at that `private_folder` has made for this user: a folder with such a name
    may be anything else.
    """
    swept = 0
    for folder in Path(base).glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # another process may remove its own just now
            status = folder.lstat()
            is_ours = (status.st_uid, stat.S_IFMT(status.st_mode)) == (os.getuid(), stat.S_IFDIR)
            if is_ours and (folder / "locks" / ALIVE).exists():
                with Folder(folder).lock(ALIVE, wait=False) as dead:
                    if dead:
                        shutil.rmtree(folder, ignore_errors=True)
                        swept += 1
    return swept


def private_token(folder: str) -> None:
    """Make the token without which nobody speaks to a private Ray, below `folder`."""
    token = Path(folder, "token")
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)


def knock(address: str) -> None:
    """Raise OSError where nobody answers at `address`; Ray would wait there for many minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()


def refused(address: str, error: Exception) -> ClusterError:
    """Return the error of a cluster at `address` that cannot be joined, with what may be wrong."""
    reason = " ".join(str(error).split())[:400]
    if not address:
        return ClusterError(f"Ray does not start here ({reason}); try again, or --local")
    return ClusterError(f"--address {address!r}: cannot join ({HINT}) {reason}")
