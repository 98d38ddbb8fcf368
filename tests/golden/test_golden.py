"""Keys and results of small trials are as they were recorded: what changes one of them is meant.

If this fails, stored results of others no longer match. Where a kind's numbers were wrong, raise
its version; then record the table anew (`python -m tests.golden.record`) and say why.
"""

import json
from pathlib import Path

import pytest

from lthray.config.trial import TrialConfig
from lthray.core.store import Store

from .record import PLACE, PROBE, differences, probe
from .table import TABLE
from .trials import observed, words

RECORDED = json.loads(PLACE.read_text())


@pytest.fixture(scope="session")
def is_same_cpu() -> bool:
    """Return whether torch rounds here as where the table was recorded."""
    return probe() == PROBE.read_text().strip()


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("golden")


def test_every_trial_of_the_table_is_recorded():
    assert list(RECORDED) == list(TABLE)
    assert len(TABLE) > 200


@pytest.mark.parametrize("name", TABLE)
def test_a_trial_is_as_it_was_recorded(name, folder, tmp_path, is_same_cpu):
    config = TrialConfig.from_flat(words(name, folder))
    again = observed(config, Store(tmp_path / "store"))
    assert differences(RECORDED[name], again, bits=is_same_cpu) == []


def test_another_kind_of_cpu_is_forgiven_its_rounding_and_nothing_else():
    first, *others = RECORDED["base"]
    loss = first["metrics"]["loss/heldout"]

    def told(bits: bool, **changed) -> list[str]:
        return differences([first], [{**first, **changed}], bits=bits)

    assert told(False, chain_end=["0", "0"]) == []
    assert told(True, chain_end=["0", "0"])
    assert told(False, chain="0")
    assert told(False, mask="0")
    for factor, forgiven in ((1 + 1e-4, True), (1.05, False)):
        metrics = {**first["metrics"], "loss/heldout": loss * factor}
        assert (told(False, metrics=metrics) == []) is forgiven
        assert told(True, metrics=metrics)
    assert differences(RECORDED["base"], [first], bits=False)
    assert others
