"""Ctrl-C and SIGTERM, for as long as a study runs."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

STOPPING = "stopping; everything committed so far is kept"


@contextlib.contextmanager
def handled(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` at every SIGINT and SIGTERM while this is open, also where one was ignored.

    Signals belong to the main thread; in another one nothing changes.
    """

    def on_signal(_number: int, _frame: Any) -> None:
        handle()

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGINT, signal.SIGTERM):
            before[each] = signal.signal(each, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt() -> None:
    """Raise KeyboardInterrupt: what Ctrl-C does by itself."""
    raise KeyboardInterrupt
