"""Ctrl-C, SIGTERM and a terminal that is closed, for as long as a study runs."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

STOPPING = "stopping; everything committed so far is kept"


@contextlib.contextmanager
def handled(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` at every SIGINT and SIGTERM while this is open, also where one was ignored.

    So at SIGHUP, but where it is ignored, as `nohup` wants it. Signals belong to the main thread;
    in another one nothing changes.
    """
    hung_up = [signal.SIGHUP] * (signal.getsignal(signal.SIGHUP) == signal.SIG_DFL)

    def on_signal(_number: int, _frame: Any) -> None:
        handle()

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGINT, signal.SIGTERM, *hung_up):
            before[each] = signal.signal(each, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt() -> None:
    """Raise KeyboardInterrupt: what Ctrl-C does by itself."""
    raise KeyboardInterrupt


class Ending:
    """How a study is told to end: the first signal ends it, a second one leaves at once.

    `say` is given the line that tells so. All that was committed is kept.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.told = threading.Event()
        self.fault: Exception | None = None
        """Why nothing of the study can go on."""

    def fail(self, fault: Exception) -> None:
        """End the study because of a fault."""
        self.fault = fault
        self.told.set()

    def check(self) -> None:
        """Raise the fault for which the study was ended, if there is one."""
        if self.fault:
            raise self.fault

    def listening(self) -> contextlib.AbstractContextManager[None]:
        """Let signals end the study while this is open."""
        return handled(self._on_signal)

    def _on_signal(self) -> None:
        if self.told.is_set():
            raise KeyboardInterrupt
        self.told.set()
        self.say(STOPPING)
