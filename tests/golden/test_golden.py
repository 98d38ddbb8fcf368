"""Keys and results of small trials are as they were recorded: what changes one of them is meant.

If this fails, stored results of others no longer match. Where a kind's numbers were wrong, raise
its version; then record the table anew (`python -m tests.golden.record`) and say why.
"""

import json
from pathlib import Path

import pytest

from lthray.config.trial import TrialConfig
from lthray.core.store import Store

from .record import PLACE, differences
from .table import TABLE
from .trials import observed, words

RECORDED = json.loads(PLACE.read_text())


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("golden")


def test_every_trial_of_the_table_is_recorded():
    assert list(RECORDED) == list(TABLE)
    assert len(TABLE) > 200


@pytest.mark.parametrize("name", TABLE)
def test_a_trial_is_as_it_was_recorded(name, folder, tmp_path):
    config = TrialConfig.from_flat(words(name, folder))
    assert differences(RECORDED[name], observed(config, Store(tmp_path / "store"))) == []
