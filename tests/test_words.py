"""Every family's words in config.py are exactly the names in its table."""

from typing import get_args

import pytest

from lthray.config import trial as config
from lthray.measure import quality
from lthray.prune import budgets, controls, criteria, elastic, regimes, rewinds, units
from lthray.task import data, networks, objectives


@pytest.mark.parametrize(
    ("words", "table"),
    [
        (config.DataName, data.SETS),
        (config.DataName, config.IMAGES),
        (config.Augment, data.AUGMENT),
        (config.ModelName, networks.MODELS),
        (config.ModelName, config.POLICY),
        (config.ObjectiveName, objectives.OBJECTIVES),
        (config.ObjectiveName, config.LEARNS),
        (config.Criterion, criteria.CRITERIA),
        (config.Budget, budgets.BUDGETS),
        (config.Unit, units.UNITS),
        (config.RegimeName, regimes.NAMES),
        (config.RewindRule, rewinds.REWINDS),
        (config.Elastic, elastic.ORDERS),
        (config.Control, {"none": None, **controls.CONTROLS}),
        (config.Sampler, objectives.SAMPLERS),
        (config.Split, {"validation": 0, "test": 0}),
    ],
)
def test_words_are_the_table(words, table):
    assert set(get_args(words)) == set(table)


def test_images_table_is_what_digits_are():
    images = data.load(config.Data())
    channels, side, classes, train = config.IMAGES["digits"]
    assert images.shape == (channels, side, side)
    for half in ("digits_low", "digits_high"):
        found = data.load(config.Data(name=half))
        assert config.IMAGES[half] == (1, 8, int(found.labels.max()) + 1, len(found.splits["train"]))
    assert int(images.labels.max()) + 1 == classes
    assert len(images.splits["train"]) == train
    assert networks.build(config.Model(name="lenet5"), images.shape, 10, 0).hidden.out_features == config.FEATURES
    assert train <= quality.REAL
