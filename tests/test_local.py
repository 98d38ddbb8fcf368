"""A study in this process, without Ray: the same ledger, the same decisions, the same failures; see
also test_study.py."""

import os
import signal
import threading
from collections.abc import Sequence

import pytest
import torch

from lthray.core.store import Store
from lthray.core.ticket import TrialFailed
from lthray.study import local_runner
from lthray.study.call import preview
from lthray.study.failures import CLASSES, DEVICE, RETRIES, class_of
from lthray.study.ledger import DONE, FAILED, STOPPED, Ledger, retry
from lthray.study.queue import Queue
from lthray.study.results import trials
from lthray.study.terminal import Shared
from lthray.trial.run import run
from lthray.trial.view import assemble

from .conftest import rounds, same
from .test_desk import LIST, SEARCH, opened


class Quiet:
    """Shows nothing, and keeps what it is told."""

    slots = 1

    def __init__(self):
        self.said: list[str] = []
        self.updates = 0

    def say(self, text: str) -> None:
        self.said.append(text)

    def expect(self, shared: Sequence[Shared]) -> None:
        self.say(f"first what the trials share: {len(shared)} dense runs")

    def update(self) -> None:
        self.updates += 1


def execute(call, ledger, using=run) -> tuple[bool, Quiet]:
    watch = Quiet()
    return local_runner.execute(Queue(call, ledger), using, watch), watch


def found(store: Store, ledger) -> list:
    return list(trials(store, ledger))


def failing(*errors: BaseException | None, after: int = 0):
    """`run` that raises the errors in turn, each after so many rounds of a trial; None and later
    runs raise nothing."""
    left = list(errors)

    def run_and_fail(config, store, *, anchors=(), progress=None):
        if anchors:  # the dense run that trials share
            yield from run(config, store, anchors=anchors)
            return
        error = left.pop(0) if left else None
        for r in run(config, store, progress=progress):
            if error is not None and r.index == after:
                raise error
            yield r

    return run_and_fail


def test_a_list_gives_what_its_trials_give_alone(store, tmp_path):
    call, ledger = opened(LIST, store)
    interrupted, watch = execute(call, ledger)
    assert not interrupted
    made = found(store, ledger)
    assert [t.status for t in made] == [DONE] * 4
    for trial in made:
        elsewhere = Store(tmp_path / f"alone{trial.number}")
        rounds(call.config_of(trial.number, trial.point.words), elsewhere)
        alone = [assemble(elsewhere, place) for place in trial.point.rounds]
        assert len(alone) == len(trial.rounds) == 3
        assert all(map(same, alone, trial.rounds))
    assert watch.said[0] == "first what the trials share: 2 dense runs"
    assert len(watch.said) == 1 + 4 * 2  # a line a rung
    assert watch.said[1].startswith(f"trial 0 {made[0].name}: round 1/2, density 0.5, excess ")
    assert watch.updates > 4 * 3
    before = sorted(store)
    assert execute(call, ledger)[0] is False  # and again: nothing to do
    assert sorted(store) == before


def test_a_search_draws_as_its_preview_and_stops_the_worse_half(store):
    call, ledger = opened(SEARCH, store)
    assert not execute(call, ledger)[0]
    made = found(store, ledger)
    assert [call.config_of(t.number, t.point.words) for t in made] == preview(
        call
    )  # none is drawn by what was learnt yet
    assert {t.status for t in made} <= {DONE, STOPPED}
    reached: list[float] = []
    for trial in made:
        score = trial.rounds[2].metrics["loss/excess"]
        goes_on = sum(other <= score for other in reached) < -(-(len(reached) + 1) // 2)
        assert (trial.status, len(trial.rounds)) == ((DONE, 4) if goes_on else (STOPPED, 3))
        reached.append(score)
    assert len(reached) == 3
    more, _ = opened(SEARCH, store, "--trials", "4")
    assert not execute(more, ledger)[0]
    assert [t.point.words for t in found(store, ledger)[:3]] == [t.point.words for t in made]
    assert len(found(store, ledger)) == 4


@pytest.mark.parametrize("signalled", [False, True])
def test_ctrl_c_and_sigterm_leave_everything_resumable(store, tmp_path, signalled):
    call, ledger = opened(LIST, store)

    class Killed(KeyboardInterrupt):
        pass

    def run_and_be_stopped(config, store, *, anchors=(), progress=None):
        for r in run(config, store, anchors=anchors, progress=progress):
            yield r
            if not anchors and r.index == 1:
                if not signalled:
                    raise Killed
                os.kill(os.getpid(), signal.SIGTERM)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    interrupted, watch = execute(call, ledger, run_and_be_stopped)
    assert interrupted
    assert watch.said[-1] == "stopping; everything committed so far is kept"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    entered = found(store, ledger)  # a list is entered as a whole; dense networks are made first
    assert [t.status for t in entered] == ["unfinished"] * 4
    assert [len(t.rounds) for t in entered] == [2, 1, 1, 1]
    assert not execute(call, ledger)[0]
    whole = Store(tmp_path / "whole" / "store")
    again, other = opened(LIST, whole)
    assert not execute(again, other)[0]
    resumed, alone = found(store, ledger), found(whole, other)
    assert [t.status for t in resumed] == [t.status for t in alone] == [DONE] * 4
    for one, another in zip(resumed, alone, strict=True):
        assert all(map(same, one.rounds, another.rounds))


def test_outside_the_main_thread_signals_are_left_alone(store):
    call, ledger = opened(LIST, store, "--trials", "1")
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(execute(call, ledger)[0]))
    thread.start()
    thread.join()
    assert ended == [False]
    assert [t.status for t in found(store, ledger)] == [DONE]


NEVER = [OSError("no route to host")] * (1 + RETRIES)
CUDA = RuntimeError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA")
ALWAYS = [CUDA] * (1 + CLASSES[DEVICE].tries)


@pytest.mark.parametrize(
    ("errors", "status", "reason", "retries"),
    [
        ([TrialFailed("no weight left")], FAILED, "TrialFailed: no weight left", 0),
        ([ValueError("x")], FAILED, "ValueError: x", 0),
        ([OSError("the disk")], DONE, "", 1),
        ([MemoryError()], DONE, "", 1),
        ([torch.OutOfMemoryError("CUDA out of memory")], DONE, "", 1),
        ([MemoryError(), MemoryError()], FAILED, "MemoryError (resource, 2 times)", 1),
        ([CUDA], DONE, "", 1),
        ([CUDA, MemoryError(), CUDA], DONE, "", 3),
        (
            ALWAYS,
            FAILED,
            "RuntimeError: CUDA error: unspecified launch failure (device, 4 times)",
            3,
        ),
        (NEVER, "unfinished", None, RETRIES),
    ],
    ids=[
        *("itself", "any", "disk", "memory", "gpu memory", "memory twice"),
        *("device once", "device and memory", "device for good", "disk for good"),
    ],
)
def test_failures_are_the_trials_own_or_tried_again_and_the_study_goes_on(
    store, errors, status, reason, retries
):
    call, ledger = opened(LIST, store, "--trials", "2")
    interrupted, watch = execute(call, ledger, failing(*errors, after=1))
    assert not interrupted
    assert sum(line.endswith("; trying again") for line in watch.said) == retries
    assert any(line.endswith("; left unfinished") for line in watch.said) == (
        status == "unfinished"
    )
    first, second = found(store, ledger)
    assert first.status == status
    assert (first.end.reason if first.end else None) == reason
    assert second.status == DONE
    assert bool(ledger.traceback(0)) == (status == FAILED)
    assert len(first.rounds) == (3 if status == DONE else 2)  # what was committed is kept
    execute(call, ledger)
    assert found(store, ledger)[0].status == (status if status == FAILED else DONE)


def test_a_failed_trial_of_a_search_never_counts_as_a_good_one(store):
    call, ledger = opened(SEARCH, store)
    assert not execute(call, ledger, failing(TrialFailed("broken"), after=2))[0]
    first, *others = found(store, ledger)
    assert first.status == FAILED
    assert [t.status for t in others] == [DONE, STOPPED] or [t.status for t in others] == [
        DONE,
        DONE,
    ]
    past = Queue(call, ledger).past
    assert past[0].state == "failed"
    assert [past[t.number].state == "complete" for t in others] == [
        t.status == DONE for t in others
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "resource"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "resource"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "resource"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "resource"),
        (RuntimeError("CUDA error: device-side assert triggered"), "device"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), "device"),
        (RuntimeError("No CUDA GPUs are available"), "device"),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error"), "device"),
        (OSError(5, "Input/output error"), "environment"),
        (ConnectionResetError(), "environment"),
        (TimeoutError("the lock"), "environment"),
        (TrialFailed("CUDA error is what it says"), "deterministic"),
        (ValueError("out of memory"), "deterministic"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "deterministic"),
        (KeyError("conv"), "deterministic"),
    ],
    ids=repr,
)
def test_an_error_has_a_class(error, kind):
    assert class_of(error) == kind


def test_failed_trials_are_put_in_line_again_by_class_or_number_and_go_on(store, tmp_path):
    call, ledger = opened(LIST, store)
    errors = [TrialFailed("broken"), MemoryError(), MemoryError()]
    execute(call, ledger, failing(*errors, after=1))
    assert [t.status for t in found(store, ledger)] == [FAILED, FAILED, DONE, DONE]
    assert [t.end.kind for t in found(store, ledger)[:2]] == ["deterministic", "resource"]

    def again(*words) -> list[list[int]]:
        return [[entry.number for entry in some] for _, some in retry(store, *(words or [""]))]

    assert again("nobody") == again("list", [2]) == again("list", (), "device") == []
    assert again("list.digits", (), "resource") == [[1]]
    assert [t.status for t in found(store, ledger)] == [FAILED, "unfinished", DONE, DONE]
    assert Queue(call, ledger).left == 1
    assert again(ledger.key[:8], [0, 2]) == [[0]]
    assert again() == []  # nothing has failed now
    execute(call, ledger, failing(MemoryError(), TrialFailed("broken"), after=1))
    first, second, *_ = found(store, ledger)  # its budget is a new one
    assert (first.status, second.status) == (DONE, FAILED) or (first.status, second.status) == (
        FAILED,
        DONE,
    )
    assert again() == [[first.number if first.status == FAILED else second.number]]
    execute(call, ledger)
    whole = Store(tmp_path / "whole" / "store")
    other_call, other = opened(LIST, whole)
    execute(other_call, other)
    for one, another in zip(found(store, ledger), found(whole, other), strict=True):
        assert one.status == another.status == DONE
        assert all(map(same, one.rounds, another.rounds))


def test_a_running_study_is_not_put_in_line(store):
    call, ledger = opened(LIST, store, "--trials", "1")
    execute(call, ledger, failing(TrialFailed("broken")))
    with Store(store.root).lock(ledger.key), pytest.raises(BlockingIOError, match="is running"):
        list(retry(store, "list"))
    assert [t.status for t in found(store, ledger)] == [FAILED]


def test_a_gpu_that_only_a_fresh_process_can_use_ends_the_study_resumable(store, monkeypatch):
    monkeypatch.setattr(local_runner, "device_answers", lambda: False)
    call, ledger = opened(LIST, store, "--trials", "1")
    interrupted, watch = execute(call, ledger, failing(CUDA, after=1))
    assert interrupted
    assert "only a fresh process can use the GPU again" in watch.said
    assert [t.status for t in found(store, ledger)] == ["unfinished"]
    assert not execute(call, Ledger(store, ledger.key))[0]
    assert [t.status for t in found(store, ledger)] == [DONE]


def test_a_full_disk_ends_the_study_with_one_line(store, monkeypatch):
    """Whatever was recorded stays, and with room again the study ends as it would have."""
    from lthray.core import backends

    call, ledger = opened(LIST, store, "--trials", "2")
    real, room = backends._write, [60]

    def write(path, data):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(backends, "_write", write)
    with pytest.raises(
        OSError, match=r"No space left on device: [0-9,]+ MB are free below "
    ) as full:
        execute(call, ledger)
    assert str(store.root) in str(full.value)
    assert "everything recorded so far is kept" in str(full.value)
    stored = sorted(store)
    assert stored
    assert list((store.root / "tmp").iterdir()) == []
    assert all(store.find(*name) for name in stored)
    room[0] = 10**6
    assert not execute(call, ledger)[0]
    assert [t.status for t in found(store, ledger)] == [DONE, DONE]
