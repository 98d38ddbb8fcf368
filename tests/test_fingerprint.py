"""What rounds were made on is recorded, and unlike machines are not compared without a word."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from lthray.config.trial import TrialConfig
from lthray.core.record import BOTH, MIXED, Outcome, Round, TrialRecord, machine_lines, unlike
from lthray.findings import wording
from lthray.study.results import verdict
from lthray.trial import making, sources
from lthray.trial.fingerprint import fingerprint, settle_algorithms
from lthray.trial.points import point
from lthray.trial.recipe import trajectory

from .conftest import lenet, resumed, rounds, tiny

ELSEWHERE = {"torch": torch.__version__, "device": "cuda NVIDIA A100", "threads": 8, "cuda": "13.2"}
CPU = torch.device("cpu")


def made(**words) -> Round:
    """Return a round that says what it was made on; words with __ for a space."""
    return Round(1, 0.5, {}, made={word.replace("__", " "): value for word, value in words.items()})


@contextlib.contextmanager
def precision(word: str) -> Iterator[None]:
    """Let products of float32 be as exact as `word` says, in the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(word)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def on_another_machine(patch: pytest.MonkeyPatch) -> None:
    """Let what is made from now on say that it was made on a GPU."""
    patch.setattr(making, "fingerprint", lambda device: dict(ELSEWHERE))


def test_a_fingerprint_has_all_that_bits_depend_on_and_leaves_out_what_is_usual(monkeypatch):
    usual = fingerprint(CPU)
    assert list(usual) == ["torch", "device", "threads"]
    assert usual["device"] == f"cpu {torch.backends.cpu.get_cpu_capability()}"
    assert usual["threads"] == torch.get_num_threads()
    with torch.autocast("cpu", torch.bfloat16):
        assert fingerprint(CPU) == usual | {"autocast": "torch.bfloat16"}
    with precision("medium"):
        assert fingerprint(CPU) == usual | {"float32": "matmul bf16, convolution ieee"}
    torch.use_deterministic_algorithms(True)
    try:
        assert fingerprint(CPU) == usual | {"deterministic": "True"}
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_fingerprint_of_cuda_says_tf32_determinism_and_versions(monkeypatch):
    monkeypatch.setattr("lthray.trial.fingerprint.CHIPS", {"cuda": lambda device: "NVIDIA A100"})
    cuda = torch.device("cuda")
    usual = fingerprint(cuda)
    assert usual["device"] == "cuda NVIDIA A100"
    assert usual["cuda"] == str(torch.version.cuda)
    assert usual["cudnn"].endswith("deterministic False, benchmark False")
    assert usual["float32"] == "matmul ieee, convolution tf32"
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    assert fingerprint(cuda)["cudnn"].endswith("deterministic True, benchmark False")
    with precision("high"):
        assert fingerprint(cuda)["float32"] == "matmul tf32, convolution tf32"


def test_a_gpu_computes_by_algorithms_that_give_equal_bits(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    settle_algorithms(CPU)
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    try:
        settle_algorithms(torch.device("cuda"))
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)


def test_unlike_machines_are_named_by_the_words_in_which_they_differ():
    one, other = made(device="cpu AVX2", threads=1), made(device="cpu AVX512", threads=1)
    assert unlike([one, one]) == ""
    assert unlike([one, other]) == "device cpu AVX2, cpu AVX512"
    assert unlike([one, made(device="cpu AVX2", threads=4)]) == "threads 1, 4"
    assert unlike([made(device=f"a{BOTH}b", threads=1)]) == "device a, b"
    assert unlike([one, made(device="cpu AVX2", threads=1, autocast="bf16")]) == (
        "autocast as usual, bf16"
    )
    assert unlike([one, replace(one, made={**one.made, MIXED: "train"})]) == ""
    assert unlike([one, Round(0, 1.0, {})]) == ""  # an old record that does not say
    assert machine_lines([one, one]) == []
    (line,) = machine_lines([one, other])
    assert line.startswith("Measured on unlike machines (device cpu AVX2, cpu AVX512)")


def test_rounds_that_come_from_another_machine_say_so_and_so_does_every_verdict(store):
    config = lenet(prune__ladder=(0.5,))
    with pytest.MonkeyPatch.context() as patch:
        on_another_machine(patch)
        assert {r.made["device"] for r in rounds(lenet(prune__ladder=()), store)} == {
            "cuda NVIDIA A100"
        }
    dense, ticket = rounds(config, store)  # the dense run is found, the ticket is made here
    assert dense.made == ELSEWHERE
    here = fingerprint(CPU)["device"]
    assert ticket.made["device"] == f"{here}{BOTH}cuda NVIDIA A100"
    assert ticket.made["threads"] == f"1{BOTH}8"
    record = TrialRecord(
        f"{'0' * 16}-0000",
        point(trajectory(config), {}, "confirm"),
        Outcome("done"),
        (dense, ticket),
    )
    assert "Measured on unlike machines" in verdict(record)
    told = [line for line in wording.told([record], 1)[0] if "unlike machines" in line]
    assert len(told) == 1
    assert "cuda NVIDIA A100" in told[0]
    assert here in told[0]


def test_rounds_of_one_machine_say_nothing(store):
    config = lenet(prune__ladder=(0.5,))
    found = rounds(config, store)
    assert [r.made for r in found] == [fingerprint(CPU)] * 2
    record = TrialRecord(
        "0-0000", point(trajectory(config), {}, "list"), Outcome("done"), tuple(found)
    )
    assert "unlike" not in verdict(record)
    assert "unlike" not in "".join(wording.told([record], 1)[0])


def test_a_run_that_goes_on_elsewhere_says_so(store, monkeypatch):
    config = lenet(prune__ladder=())
    machines = iter([ELSEWHERE] * 3)
    here = making.fingerprint
    monkeypatch.setattr(making, "fingerprint", lambda device: dict(next(machines, here(device))))
    (dense,) = resumed(config, store)
    assert dense.made["device"] == f"{here(CPU)['device']}{BOTH}cuda NVIDIA A100"


def test_the_machine_of_a_judge_sets_no_round_apart(store, monkeypatch):
    words = {"measure__samples": 320, "measure__sampling_steps": (2,), "measure__rounds": (0,)}
    real = sources.judge_config

    def quick(config: TrialConfig) -> TrialConfig:
        judge = real(config)
        return replace(judge, train=replace(judge.train, steps=20))

    monkeypatch.setattr(sources, "judge_config", quick)
    config = tiny(prune__ladder=(), **words)
    with pytest.MonkeyPatch.context() as patch:
        on_another_machine(patch)
        rounds(quick(config), store)
    (dense,) = rounds(config, store)
    assert dense.made == fingerprint(CPU)
