"""Each diff of docs/adding.md adds a member that works: it is applied, and a tiny trial is run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.measure.table import MEASURES

from .diffs import applied, by_section
from .members import CHECKS, MEMBERS, OUTCOMES, TRIALS, words_of

ROOT = Path(__file__).parent.parent
DIFFS = by_section((ROOT / "docs" / "adding.md").read_text())
# files of the package that a member of a family takes
TOUCHED = {
    "criterion": 2,
    "budget": 2,
    "unit": 2,
    "regime": 2,
    "rewinding rule": 2,
    "control": 2,
    "sampler": 2,
    "measure": 2,
    "network": 3,  # classes of networks stand apart from their table
    "data set": 2,
    "objective": 2,
}


def changed(*families: str) -> dict[str, str]:
    """Return path -> text of the files that the diffs of some families change, one by one."""
    texts: dict[str, str] = {}
    for hunk in (hunk for family in families for hunk in DIFFS[family]):
        text = texts.get(hunk.path) or (ROOT / hunk.path).read_text()
        texts[hunk.path] = applied(text, hunk)
    return texts


def test_every_family_has_a_diff_and_a_trial():
    assert list(DIFFS) == list(TOUCHED) == list(MEMBERS) == list(TRIALS) == list(CHECKS)


@pytest.mark.parametrize("family", TOUCHED)
def test_a_diff_fits_the_code_by_itself(family):
    """If this fails, redraw the diff of docs/adding.md: the code around it has changed."""
    assert changed(family)


def test_the_diffs_fit_the_code_together_in_any_order():
    assert changed(*DIFFS) == changed(*reversed(DIFFS))


@pytest.mark.parametrize("family", TOUCHED)
def test_a_member_takes_few_files(family):
    paths = {hunk.path for hunk in DIFFS[family]}
    assert len([path for path in paths if path.startswith("lthray/")]) == TOUCHED[family]


@pytest.mark.parametrize("family", [family for family in MEMBERS if MEMBERS[family]])
def test_a_member_is_refused_without_its_diff(family):
    (word,) = MEMBERS[family]
    with pytest.raises(ConfigError) as refused:
        TrialConfig.from_flat(words_of(family))
    named = [fault for fault in refused.value.faults if fault.startswith(f"{word} = ")]
    assert "must be one of" in named[0]


def test_a_measure_is_not_there_without_its_diff():
    assert "worst" not in MEASURES


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, str]:
    """Return family -> what is wrong with its trial, run in a copy with all diffs applied."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("lthray", "tests"):
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, ignore=without)
    for path, text in changed(*DIFFS).items():
        if path.startswith("lthray/"):
            (copy / path).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "tests.members"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads((copy / OUTCOMES).read_text())
    return found


@pytest.mark.parametrize("family", TOUCHED)
def test_a_member_that_a_diff_adds_takes_effect_in_a_trial(outcomes, family):
    assert not outcomes[family], outcomes[family]
