"""What a study says last: where to look at it, and how to go on."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lthray.config import addresses
from lthray.config.options import Options
from lthray.config.shell import pasteable
from lthray.tracking import views


@dataclass(frozen=True)
class Ending:
    """How a call was run."""

    interrupted: bool
    experiment: str | None
    """Id of its experiment in MLflow."""
    behind: str | None
    """What keeps MLflow behind the store."""
    beside: Sequence[str] = ()
    """Lines on what was written beside MLflow."""


def lines(chosen: Options, ending: Ending, left: int, command: str) -> Iterator[str]:
    """Yield the closing lines of a call with `left` trials, which `command` goes on with."""
    if ending.behind:
        later = pasteable(shlex.join(["lthray", "record", "--out", chosen.out]))
        yield f"MLflow is behind ({ending.behind}); later:  {later}"
    if ending.experiment:
        yield f"look:  {_look(chosen, ending.experiment)}"
    yield from ending.beside
    if ending.interrupted or left:
        state = "interrupted" if ending.interrupted else "unfinished"
        yield f"{state}; to go on, the same command:  {pasteable(command)}"


def _look(chosen: Options, experiment: str) -> str:
    """Return how to look at an experiment: the address at a server, or the command that starts
    one."""
    if chosen.tracking_uri.startswith(addresses.SERVERS):
        return views.link(addresses.page_of(chosen.uri), experiment)
    words = ["lthray", "ui", "--out", chosen.out]
    if chosen.tracking_uri:
        words += ["--tracking-uri", addresses.redacted(chosen.tracking_uri)]
    return pasteable(shlex.join(words))
