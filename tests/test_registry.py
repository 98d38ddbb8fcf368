"""A page's claims are adjusted once: the family errs in 5 %, and bounds agree with tests."""

import math

import numpy as np
import pytest
from scipy import stats

from lthray.findings import stats as st
from lthray.findings.discoveries import Discoveries
from lthray.findings.power import detectable, level_of
from lthray.findings.registry import Registry, Statement
from lthray.findings.stats import ALPHA


def statement(values, margin: float = 0.0, planned: int = 0, place: float = 0.0) -> Statement:
    numbers = dict(enumerate(values))
    return Statement("better", (place,), numbers, planned or len(numbers), margin)


def families(count: int, rng: np.random.Generator, shift: float, rho: float = 0.7):
    """Yield families of 6 claims on 5 seeds, whose values share a part by seed."""
    for _ in range(count):
        own, shared = rng.normal(size=(6, 5)), rng.normal(size=5)
        values = shift + math.sqrt(rho) * shared + math.sqrt(1 - rho) * own
        yield Registry(statement(row, place=i) for i, row in enumerate(values))


def test_a_family_without_effects_makes_any_claim_in_five_per_cent_at_most():
    studies = 2000
    wrong = sum(any(t.holds for t in family) for family in families(studies, RNG(0), 0.0))
    assert wrong / studies <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / studies)
    alone = [any(st.t_test(list(s.values.values()), "less") < ALPHA for s in family.family.values())
             for family in families(300, RNG(1), 0.0)]  # fmt: skip
    assert np.mean(alone) > 2 * ALPHA  # the test would see a family that is not adjusted


def test_large_effects_are_found():
    found = [all(t.holds for t in family) for family in families(200, RNG(2), -4.0)]
    assert np.mean(found) > 0.9


RNG = np.random.default_rng


def test_what_holds_is_what_holm_rejects_and_its_bound_agrees():
    outcomes = set()
    for seed in range(300):
        rng = RNG(seed)
        values = rng.normal(rng.choice([0.0, -0.5, -1.5, -3.0], size=7)[:, None], 1.0, size=(7, 5))
        registry = Registry(statement(row, place=i) for i, row in enumerate(values))
        p = [stats.ttest_1samp(row, 0.0, alternative="less").pvalue for row in values]
        adjusted = st.holm(p)
        for tested, value in zip(registry, adjusted, strict=True):
            assert tested.holds == (value < ALPHA) == (tested.bound < 0)
            outcomes.add(tested.holds)
    assert outcomes == {True, False}


@pytest.mark.parametrize("alpha", [0.05, 0.04, 0.008])
def test_levels_are_holms_steps_and_stay_where_the_first_claim_fails(alpha):
    """By hand: alpha / 4, alpha / 3, then alpha / 2 for the first that fails and for all after."""
    five = np.array([-2, -1, 0, 1, 2]) * math.sqrt(2 / 5)  # of standard error sqrt(.2)
    quantiles = [stats.t.ppf(alpha / k, 4) for k in (4, 3, 2, 1)]
    shifts = [q * math.sqrt(0.2) for q in quantiles]
    means = [1.01 * shifts[0], 1.01 * shifts[1], 0.99 * shifts[2], 1.01 * shifts[3]]
    made = Registry((statement(five + m, place=i) for i, m in enumerate(means)), alpha)
    found = [made.find("better", float(i)) for i in range(4)]
    assert [t.level for t in found] == pytest.approx([alpha / 4, alpha / 3, alpha / 2, alpha / 2])
    assert [t.holds for t in found] == [True, True, False, False]
    assert [t.bound < 0 for t in found] == [True, True, False, False]


def test_what_is_spent_at_a_look_is_part_of_what_is_left():
    assert level_of(1) == pytest.approx(0.8 * ALPHA)
    for look in range(1, 9):
        left = ALPHA - sum(map(level_of, range(1, look)))
        assert level_of(look) == pytest.approx(0.8 * left)


def test_what_can_be_found_is_at_the_level_of_the_claim():
    values = [-1.0, 0.0, 1.0, 0.5, -0.5]
    (alone,) = Registry([statement(values)], 0.05)
    assert alone.detectable == pytest.approx(detectable(5, np.std(values, ddof=1), alpha=0.05))
    many = Registry(statement(values, place=i) for i in range(8))
    (first, *_) = many
    assert first.level == ALPHA / 8
    assert first.detectable == pytest.approx(detectable(5, np.std(values, ddof=1), alpha=ALPHA / 8))
    assert first.detectable > alone.detectable
    assert math.isnan(Registry([statement(values, planned=6)]).find("better", 0.0).detectable)


def test_margins_shift_what_is_claimed():
    values = [0.006, 0.008, 0.007, 0.0065, 0.0075]
    assert not Registry([statement(values)]).holds("better", 0.0)
    matching = Registry([statement(values, margin=0.01)])
    assert matching.holds("better", 0.0)
    found = matching.find("better", 0.0)
    assert found.bound == pytest.approx(st.upper_bound(values, 0.95))
    assert matching.find("better", 1.0) is None
    assert not matching.holds("worse", 0.0)


@pytest.mark.parametrize("lost", [[], [math.inf], [math.nan], [math.inf] * 3])
def test_seeds_that_are_lost_support_nothing(lost):
    values = [-0.05, -0.051, -0.049, -0.0505, -0.0495]
    given = values[: 5 - len(lost)] + lost if lost else values[:4]
    few = statement(given, planned=5)
    assert few.seeds == f"{sum(map(math.isfinite, given))} of 5"
    assert few.p == 1
    assert not Registry([few]).holds("better", 0.0)
    assert math.isinf(Registry([few]).find("better", 0.0).bound)
    assert few.mean == pytest.approx(-0.05, abs=1e-3)
    assert Registry([statement(values)]).holds("better", 0.0)


def test_one_seed_supports_nothing():
    alone = statement([-1.0])
    assert not Registry([alone]).holds("better", 0.0)
    assert alone.seeds == "1"


def test_an_outlier_is_told():
    steady = [-0.05, -0.051, -0.049, -0.0505, -0.0495, -0.05, -0.051, -0.0502]
    assert not statement(steady).sensitive
    assert statement([*steady[:7], -0.9]).sensitive  # all flips agree, and the t-test has p = .09
    assert not statement([*steady[:7], 0.9]).sensitive  # neither claims anything
    assert not statement(steady[:5]).sensitive  # five seeds cannot tell


def test_no_claim_is_made_twice():
    with pytest.raises(ValueError, match=r"better of \(0\.0,\) is claimed twice"):
        Registry([statement([1.0, 2.0]), statement([1.0, 3.0])])


def test_discoveries_are_what_benjamini_and_hochberg_reject_and_their_bounds_agree():
    outcomes = set()
    for seed in range(300):
        rng = RNG(seed)
        values = rng.normal(rng.choice([0.0, -0.5, -1.5, -3.0], size=7)[:, None], 1.0, size=(7, 5))
        family = Discoveries(statement(row, place=i) for i, row in enumerate(values))
        p = np.array([stats.ttest_1samp(row, 0.0, alternative="less").pvalue for row in values])
        ordered = np.sort(p)
        rejected = [i for i in range(1, 8) if ordered[i - 1] <= i * ALPHA / 7]
        border = ordered[max(rejected) - 1] if rejected else -1.0
        for tested, value in zip(family, p, strict=True):
            assert tested.holds == (value <= border) == (tested.bound < 0)
            outcomes.add(tested.holds)
    assert outcomes == {True, False}


def test_discoveries_are_no_fewer_than_what_holm_leaves():
    more = 0
    for seed in range(100):
        values = RNG(seed).normal(-1.0, 1.0, size=(10, 5))
        made = [statement(row, place=i) for i, row in enumerate(values)]
        found = [sum(t.holds for t in family(made)) for family in (Registry, Discoveries)]
        assert found[1] >= found[0]
        more += found[1] > found[0]
    assert more > 20
    assert list(Discoveries([])) == []
