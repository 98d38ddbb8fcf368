"""Each breakage of `python -m tests.mutations` can still be made, and its tests are still there."""

from pathlib import Path

import pytest

from .mutations.table import TABLE

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("mutation", TABLE, ids=lambda mutation: mutation.why)
def test_a_breakage_can_be_made_and_has_its_tests(mutation):
    assert (ROOT / mutation.file).read_text().count(mutation.before) == 1
    assert mutation.before != mutation.after
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text() or not name


def test_there_are_breakages_of_every_kind_of_decision():
    files = {mutation.file for mutation in TABLE}
    assert len(TABLE) > 60
    assert {"lthray/findings/claims.py", "lthray/findings/stats.py", "lthray/core/keys.py"} <= files
