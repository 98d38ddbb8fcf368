"""Metric names are written once, and every name is found again."""

import re

import pytest

from lthray.core import metrics
from lthray.core.metrics import METRICS, find
from lthray.core.record import Outcome, Point, Progress, Round, TrialRecord


def test_names_are_paths_and_no_two_metrics_share_one():
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names)) > 30
    wrong = [name for name in names if not re.fullmatch(r"[a-z]+(/[a-z_{}]+)+", name)]
    assert wrong == []


@pytest.mark.parametrize("metric", METRICS, ids=[metric.name for metric in METRICS])
def test_every_member_of_a_family_is_found_by_its_name(metric):
    fields = dict.fromkeys(metric.pattern.groupindex, "abc")
    assert find(metric.of(**fields)) is metric
    match = metric.pattern.fullmatch(metric.of(**fields))
    assert match.groupdict() == fields


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("loss/train", metrics.TRAIN),  # not the band that begins at timestep "rain"
        ("loss/t200", metrics.BAND),
        ("barrier/t000", metrics.BARRIER_BAND),
        ("quality/ddim/kid_lenet", metrics.KID),
        ("floor/mse", metrics.FLOOR_MSE),
        ("floor/fid_lenet", metrics.FLOOR),
        ("quality/ddim/x/kid_lenet", None),
        ("loss", None),
        ("", None),
    ],
)
def test_a_name_belongs_to_one_metric_or_to_none(name, metric):
    assert find(name) is metric


def test_a_record_comes_back_from_its_json():
    keys = {"key": "a" * 64, "mask": "", "weights": "b" * 64, "measures": {"curve": "c" * 64}}
    place = {"index": 0, "density": 1.0, "metrics": {}, **keys}
    point = Point("reinit s3", "reinit", "search", {"train.steps": 8}, 3, "reinit", rounds=(place,))
    steps = metrics.STEPS_OF_WEIGHTS.name
    rounds = (Round(0, 1.0, {steps: 8.0}), Round(1, 0.5, {steps: 9.0}, curve=[[1, 2.0, 3.0]]))
    record = TrialRecord("abc-0012", point, Outcome("done", at=1.0), rounds)
    again = TrialRecord.from_json(record.to_json(), run="r")
    assert (again.point, again.end, again.rounds, again.run) == (point, record.end, rounds, "r")
    assert (again.number, again.name, again.status) == (12, "reinit s3", "done")
    assert again.older
    assert not point.is_ticket
    assert TrialRecord.from_json({**record.to_json(), "end": {}}).status == "unfinished"


def test_what_an_older_record_lacks_is_at_its_default_and_what_it_must_have_is_missed():
    assert Round.of({"index": 1, "density": 0.5, "metrics": {}, "unknown": 3}) == Round(1, 0.5, {})
    facts = {
        "name": "a",
        "recipe": "a",
        "phase": "search",
        "config": {},
        "seed": 0,
        "control": "none",
        "fork": 0,
    }
    assert Point.from_json(facts) == Point("a", "a", "search", {}, 0, "none")
    for name in facts:
        with pytest.raises(KeyError, match=name):
            Point.from_json({key: value for key, value in facts.items() if key != name})
    assert len(facts) == 7


def test_progress_holds_still():
    progress = Progress(round=1, step=5, of=8, loss=0.5, seconds=0.1)
    with pytest.raises(AttributeError):
        progress.step = 6
