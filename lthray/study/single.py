"""One trial in this process, outside of any study, with a ledger of its own."""

import sys
import traceback
from collections.abc import Callable, Iterator

from lthray.config import options
from lthray.core.record import Point, Progress, Round
from lthray.core.ticket import TrialFailed
from lthray.study.failures import DETERMINISTIC, DEVICE, RESOURCE, class_of, described
from lthray.study.ledger import DONE, FAILED, Ledger
from lthray.study.results import round_line
from lthray.study.signals import handled, interrupt


def work_alone(
    rounds: Iterator[Round], ledger: Ledger, point: Point, show: Callable[[str], None]
) -> int:
    """Run trial 0 of a call, show how it goes and enter how it ended; returns the exit code.

    `rounds` yields the rounds of the trial, which was given out as `point`. One that had failed is
    tried again, since whoever asks for it again wants that. Errors that are neither the trial's own
    nor of memory or a device are raised. KeyboardInterrupt is raised at SIGINT and SIGTERM.
    """
    last = len(point.rounds) - 1
    ended = ledger.end(0)
    if ended and ended.status == FAILED:
        ledger.retry(0)
    try:
        with handled(interrupt):
            for r in rounds:
                show(round_line(point.name, r.index, last, r.metrics))
    except TrialFailed as error:
        reason = f"{type(error).__name__}: {error}"
        trace = traceback.format_exc()
        ledger.finish(0, FAILED, reason, trace=trace, kind=DETERMINISTIC)
        print(f"error: {reason}", file=sys.stderr)
        return options.PARTIAL
    except Exception as error:
        kind = class_of(error)
        if kind not in (RESOURCE, DEVICE):
            raise
        what = f"{described(error)} ({kind})"
        print(f"error: {what}; the same command goes on from what is stored", file=sys.stderr)
        return options.ENVIRONMENT
    ledger.finish(0, DONE)
    return options.DONE


def progress_line(progress: Progress) -> str:
    """Return one line on where a trial stands."""
    loss = f"loss {progress.loss:.4f}, {progress.seconds:.0f} s"
    return f"  round {progress.round}, step {progress.step}/{progress.of}, {loss}"
