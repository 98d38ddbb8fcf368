"""What a study says last: where to look at it in MLflow, and how to go on."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from lthray.config import addresses
from lthray.config.options import Options
from lthray.tracking import views

PORT = 5000  # of the `mlflow ui` that users are told to start


@dataclass(frozen=True)
class Ending:
    """How a call was run."""

    interrupted: bool
    experiment: str | None
    """Id of its experiment in MLflow."""
    behind: str | None
    """What keeps MLflow behind the store."""


def lines(chosen: Options, ending: Ending, left: int, command: str) -> Iterator[str]:
    """Yield the closing lines of a call with `left` trials, which `command` goes on with."""
    if ending.behind:
        later = f"lthray record --out {shlex.quote(chosen.out)}"
        yield f"MLflow is behind ({ending.behind}); later:  {later}"
    if not chosen.tracking_uri:
        address = shlex.quote(chosen.uri)
        yield f"look:  mlflow ui --port {PORT} --backend-store-uri {address}"
    if ending.experiment:
        is_server = chosen.tracking_uri.startswith(addresses.SERVERS)
        base = addresses.page_of(chosen.uri) if is_server else f"http://127.0.0.1:{PORT}"
        yield f"then:  {views.link(base, ending.experiment)}"
    if ending.interrupted or left:
        state = "interrupted" if ending.interrupted else "unfinished"
        yield f"{state}; to go on, the same command:  {command}"
