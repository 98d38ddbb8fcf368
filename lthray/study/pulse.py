"""What each worker is at: a small file that the worker rewrites, and that whoever shows it reads.

The files lie in the root of the store, since every worker reaches that; nothing hangs on them.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lthray.core import metrics
from lthray.core.record import Progress, Round

FOLDER = "pulses"
STALE = 600.0  # seconds after which a file is one of a worker that is gone


@dataclass(frozen=True)
class Pulse:
    """Where a worker stands."""

    name: str
    """What it works on: a trial, or a network that trials share."""
    round: int = 0
    """Round that is trained or measured; 0 is the dense network."""
    step: int = 0
    of: int = 0
    """Last step of the training run; 0 before it begins."""
    loss: float | None = None
    """Mean training loss since the run began."""
    excess: float | None = None
    """Excess loss of the last ticket that was measured."""

    @property
    def trains(self) -> bool:
        """Whether a network is trained, and not measured."""
        return self.step < self.of

    def __str__(self) -> str:
        place = f"rung {self.round}" if self.round else "dense"
        doing = f"step {self.step} of {self.of}" if self.trains else "measuring"
        told = (("loss", self.loss, ".4f"), ("excess", self.excess, "+.1%"))
        numbers = [f", {name} {number:{form}}" for name, number, form in told if number is not None]
        return f"{place}, {doing}{''.join(numbers)}" if self.of else "begins"


class Heart:
    """Rewrites the file of one worker while it works on one thing; removes it at the end."""

    def __init__(self, root: str | Path, name: str):
        self.path = Path(root) / FOLDER / f"{socket.gethostname()}-{os.getpid()}.json"
        self.pulse = Pulse(name)

    def __enter__(self) -> "Heart":
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()

    def reached(self, progress: Progress) -> None:
        """Write where a training run stands."""
        place = {"round": progress.round, "step": progress.step, "of": progress.of}
        self._write(**place, loss=progress.loss)

    def measured(self, r: Round) -> None:
        """Write what a round has given."""
        if r.index:
            self._write(round=r.index, excess=r.metrics.get(metrics.EXCESS.name))

    def _write(self, **changed: Any) -> None:
        self.pulse = replace(self.pulse, **changed)
        aside = self.path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk is told by what matters
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            aside.write_text(json.dumps(asdict(self.pulse)))
            os.replace(aside, self.path)


def pulses(root: str | Path) -> Iterator[Pulse]:
    """Yield where each worker stands, by name; files of workers that are gone are removed."""
    found = []
    for path in Path(root).glob(f"{FOLDER}/*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):  # it may be rewritten just now
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()
            else:
                found.append(Pulse(**json.loads(path.read_text())))
    yield from sorted(found, key=lambda pulse: pulse.name)
