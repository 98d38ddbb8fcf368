"""A thread that ends a study which has gone silent: nothing would ever come of waiting longer."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from lthray.config.options import INTERRUPTED

EVERY = 5.0  # seconds between two looks
PAUSE = 2.0  # seconds between two signals
GRACE = 30.0  # seconds that the study has to end by itself, once it was told to


class Watched(Protocol):
    """What shows how a study gets on; see lthray.study.terminal.Watch."""

    def signs(self) -> object:
        """Return what changes while the study gets on."""

    def say(self, text: str) -> None:
        """Print a line."""


@contextlib.contextmanager
def watched(watch: Watched, lost: Callable[[], str], limit: float) -> Iterator[None]:
    """Let a watchdog end the study while this is open.

    What it ends is left here, so that the study goes on to its own end.
    """
    dog = Watchdog(watch.signs, lost, watch.say, limit=limit)
    try:
        dog.start()
        yield
    except KeyboardInterrupt:
        if not dog.barked.is_set():
            raise
    finally:
        dog.close()


class Watchdog(threading.Thread):
    """Looks for signs of life until `close`, and ends the study where there are none.

    `signs` returns anything that changes while the study gets on. `lost` returns what the study has
    lost that it cannot go on without, in words, or nothing. `tell` is given the line that says why
    the study ends. Silence is borne for `limit` seconds.
    """

    def __init__(
        self,
        signs: Callable[[], Any],
        lost: Callable[[], str],
        tell: Callable[[str], None],
        *,
        limit: float,
    ):
        super().__init__(name="lthray-watchdog", daemon=True)
        self.signs, self.lost, self.tell = signs, lost, tell
        self.limit = limit
        self.closing = threading.Event()
        self.barked = threading.Event()
        """Set once the study was told to end."""

    def run(self) -> None:
        """Look until `close`; then nothing, or end the study."""
        seen, since = None, time.monotonic()
        while not self.closing.wait(EVERY):
            now = seen
            with contextlib.suppress(OSError):  # a file system may come back; until then, silence
                now = self.signs()
            since = since if now == seen else time.monotonic()
            seen = now
            reason = self.lost() or self._silence(time.monotonic() - since)
            if reason:
                self._end(reason)
                return

    def close(self) -> None:
        """Look no longer."""
        self.closing.set()

    def _silence(self, seconds: float) -> str:
        """Return in words that the silence is too long; empty while it is not."""
        return f"no event and no step for {seconds / 60:.0f} min" * (seconds > self.limit)

    def _end(self, reason: str) -> None:
        """Tell the study to end, as Ctrl-C would; where it does not, end the process.

        Libraries that wait for a lost process may never come back. Everything that counts was
        committed before.
        """
        self.tell(f"{reason}; ending, and everything committed so far is kept")
        self.barked.set()
        os.kill(os.getpid(), signal.SIGINT)
        if not self.closing.wait(PAUSE):
            os.kill(os.getpid(), signal.SIGINT)  # the second leaves without waiting
        if not self.closing.wait(GRACE):
            print("interrupted; to go on, the same command", flush=True)
            sys.stderr.flush()
            os._exit(INTERRUPTED)
