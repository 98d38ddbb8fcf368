"""Every family's words in the vocabulary are exactly the names in its tables."""

from typing import get_args

import pytest

from lthray.config import vocabulary
from lthray.config.parts import Data, Model
from lthray.measure import quality
from lthray.prune import budgets, controls, criteria, regimes, rewinds, transfer, units
from lthray.task import augment, blocks, data, networks, objectives, samplers
from lthray.tracking import logs
from lthray.trial import training


@pytest.mark.parametrize(
    ("words", "table"),
    [
        (vocabulary.DataName, data.DATA_SETS),
        (vocabulary.DataName, vocabulary.DATA_SETS),
        (vocabulary.Augment, augment.AUGMENTS),
        (vocabulary.Augment, vocabulary.AUGMENTS),
        (vocabulary.ModelName, networks.NETWORKS),
        (vocabulary.ModelName, vocabulary.NETWORKS),
        (vocabulary.ObjectiveName, objectives.OBJECTIVES),
        (vocabulary.ObjectiveName, vocabulary.OBJECTIVES),
        (vocabulary.NoiseSchedule, objectives.SCHEDULES),
        (vocabulary.Prediction, objectives.PREDICTIONS),
        (vocabulary.Decay, training.DECAYS),
        (vocabulary.Decay, vocabulary.DECAYS),
        (vocabulary.Granularity, blocks.GRANULARITIES),
        (vocabulary.Criterion, criteria.CRITERIA),
        (vocabulary.Budget, budgets.BUDGETS),
        (vocabulary.Budget, vocabulary.BUDGETS),
        (vocabulary.Unit, units.UNITS),
        (vocabulary.Unit, vocabulary.UNITS),
        (vocabulary.RegimeName, regimes.REGIMES),
        (vocabulary.RegimeName, vocabulary.REGIMES),
        (vocabulary.RewindRule, rewinds.REWINDS),
        (vocabulary.RewindRule, vocabulary.REWINDS),
        (vocabulary.Elastic, transfer.ORDERS),
        (vocabulary.Control, {"none": None, **controls.CONTROLS}),
        (vocabulary.Control, vocabulary.CONTROLS),
        (vocabulary.Sampler, samplers.SAMPLERS),
        (vocabulary.Split, {"validation": 0, "test": 0}),
        (vocabulary.LogName, logs.LOGS),
    ],
)
def test_words_are_the_table(words, table):
    assert set(get_args(words)) == set(table)


def test_criteria_that_ask_from_where_a_training_began_are_named():
    assert set(vocabulary.TRACING) == holding(criteria.CRITERIA, lambda row: row.traces)
    assert set(vocabulary.COMPARING) <= {*criteria.CRITERIA, *budgets.BUDGETS}


def holding(table, says) -> set[str]:
    """The names of a table's rows of which something is true."""
    return {name for name, row in table.items() if says(row)}


@pytest.mark.parametrize(
    ("facts", "stated", "table", "done"),
    [
        (
            vocabulary.OBJECTIVES,
            lambda f: f.denoises,
            objectives.OBJECTIVES,
            lambda row: row.denoises,
        ),
        (
            vocabulary.OBJECTIVES,
            lambda f: f.in_latents,
            objectives.OBJECTIVES,
            lambda row: row.latent,
        ),
        (
            vocabulary.OBJECTIVES,
            lambda f: f.classifies,
            objectives.OBJECTIVES,
            lambda row: row.classifies,
        ),
        (vocabulary.BUDGETS, lambda f: f.evidence, budgets.BUDGETS, lambda row: row.asks),
        (vocabulary.BUDGETS, lambda f: f.pair, budgets.BUDGETS, lambda row: row.between_seeds),
        (vocabulary.BUDGETS, lambda f: f.channels, budgets.BUDGETS, lambda row: row.cut_first),
        (
            vocabulary.DECAYS,
            lambda f: f.falls,
            training.DECAYS,
            lambda fallen: fallen(1.0) > 0,
        ),
        (
            vocabulary.REWINDS,
            lambda f: f.rate,
            rewinds.REWINDS,
            lambda row: (row.weights, row.start) == ("trained", "k"),
        ),
        (vocabulary.CONTROLS, lambda f: f.rate, controls.CONTROLS, lambda row: row.rule == "lr"),
        (vocabulary.UNITS, lambda f: f.coupled, units.UNITS, lambda row: row.coupled),
        (vocabulary.REGIMES, lambda f: f.moves, regimes.REGIMES, lambda row: row.moves),
        (vocabulary.REWINDS, lambda f: f.pointed, rewinds.REWINDS, lambda row: row.pointed),
        (
            vocabulary.REWINDS,
            lambda f: f.trained,
            rewinds.REWINDS,
            lambda row: row.weights == "trained",
        ),
        (
            vocabulary.REWINDS,
            lambda f: f.ticket,
            rewinds.REWINDS,
            lambda row: row.weights == "given",
        ),
        (
            vocabulary.REWINDS,
            lambda f: f.midway,
            rewinds.REWINDS,
            lambda row: (row.weights, row.start) == ("anchor", "k"),
        ),
        (
            vocabulary.CONTROLS,
            lambda f: f.narrower,
            controls.CONTROLS,
            lambda row: row.mask == "narrow",
        ),
        (
            vocabulary.CONTROLS,
            lambda f: f.one_mask,
            controls.CONTROLS,
            lambda row: row.mask == "at_once",
        ),
        (
            vocabulary.CONTROLS,
            lambda f: f.whole_network,
            controls.CONTROLS,
            lambda row: row.mask == "anywhere",
        ),
        (
            vocabulary.CONTROLS,
            lambda f: f.other_weights,
            controls.CONTROLS,
            lambda row: row.mask in ("shuffled", "anywhere", "complement"),
        ),
        (
            vocabulary.CONTROLS,
            lambda f: f.fresh,
            controls.CONTROLS,
            lambda row: row.rule == "random" or row.moved,
        ),
        (vocabulary.CONTROLS, lambda f: f.trains, controls.CONTROLS, lambda row: True),
    ],
)
def test_rows_agree_with_what_a_config_knows_of_them(facts, stated, table, done):
    assert holding(facts, stated) == holding(table, done) != set()


def test_images_table_is_what_digits_are():
    images = data.load(Data())
    facts = vocabulary.DATA_SETS["digits"]
    assert images.shape == (facts.channels, facts.side, facts.side)
    for half in ("digits_low", "digits_high"):
        found = data.load(Data(name=half))
        classes, train = int(found.labels.max()) + 1, len(found.splits["train"])
        assert vocabulary.DATA_SETS[half] == vocabulary.DataFacts(1, 8, classes, train)
    assert int(images.labels.max()) + 1 == facts.classes
    assert len(images.splits["train"]) == facts.training_images
    referee = networks.build(Model(name="lenet5"), images.shape, 10, 0)
    assert referee.hidden.out_features == vocabulary.FEATURES
    assert facts.training_images <= quality.REAL


def test_every_objective_is_learnt_and_every_network_learns():
    learnt = {name: vocabulary.learners(name) for name in vocabulary.OBJECTIVES}
    assert all(learnt.values())
    assert {network for each in learnt.values() for network in each} == set(vocabulary.NETWORKS)
