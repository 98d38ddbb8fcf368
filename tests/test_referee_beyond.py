"""The referees of transfer and robustness agree with the pages, and tell what does not."""

import json
import math

import numpy as np
import pytest

from lthray.config.labels import recipe_of
from lthray.config.trial import TrialConfig
from lthray.core import metrics
from lthray.findings import sections

from . import referee_robustness, referee_transfer, test_robustness, test_transfer
from .test_verdicts import with_point


def transfers():
    """Trials of a study of transfer under the names that trials of such words have."""
    draw, found = np.random.default_rng(0), []
    for each in test_transfer.recorded(-0.03, 0.02, -0.025, -0.05, part=-0.02):
        words = {w: v for w, v in each.point.config.items() if w != "prune.ladder"}
        for r in each.rounds[1:]:
            r.metrics["loss/heldout"] *= math.exp(0.001 * draw.standard_normal())  # no two alike
            r.metrics["cost/steps_saved"] = 400.0
        found.append(with_point(each, recipe=recipe_of(TrialConfig.from_flat(words))))
    return found


def stressed():
    """Trials whose stressors differ, so that no two claims of the page have one p."""
    draw, found = np.random.default_rng(0), test_robustness.recorded(-0.004, noise=0.01)
    for r in {id(r): r for each in found for r in each.rounds}.values():
        for name in r.metrics:
            if name.startswith("robust/") and name != "robust/clean":
                r.metrics[name] *= math.exp(0.003 * draw.standard_normal())
    return found


def failed():
    """The same, but attacks on one ticket, and on two dense networks of another seed, fail."""
    name = metrics.LONGER_ATTACK.name
    found = test_robustness.with_fault(stressed(), name, {1}, tickets=True)
    return test_robustness.with_fault(found, name, {4}, tickets=False)


CASES = {
    "transfer": (test_transfer.PAGE, transfers, referee_transfer),
    "robustness": (test_robustness.PAGE, stressed, referee_robustness),
    "attacks": (test_robustness.PAGE, failed, referee_robustness),
}


@pytest.fixture(params=CASES)
def published(request, tmp_path):
    page, trials, referee = CASES[request.param]
    found, folder = trials(), tmp_path / "made.digits"
    made = page["sections"](test_transfer.studied(found))
    sections.write([section for section in made if section.table], folder)
    sections.keep_trials(found, folder)
    return folder, referee


def test_a_page_is_recomputed_to_the_last_digit(published):
    folder, referee = published
    assert list(referee.disagreements(folder.parent)) == []


def test_a_number_that_is_not_that_of_the_trials_is_told(published):
    folder, referee = published
    trials = json.loads((folder / "trials.json").read_text())
    changed = next(t for t in trials if t["point"]["control"] == "none" and t["rounds"][1:])
    for name in changed["rounds"][1]["metrics"]:
        changed["rounds"][1]["metrics"][name] *= 1.02
    (folder / "trials.json").write_text(json.dumps(trials))
    assert list(referee.disagreements(folder.parent))
