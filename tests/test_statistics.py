"""Intervals cover and tests err as often as they say; values are those of statsmodels."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from lthray.findings import stats as st

STUDIES = 3000


def studies(n: int, mean: float = 0.0) -> np.ndarray:
    """Differences of n seeds in each of many studies, in units of their standard deviation."""
    return np.random.default_rng([n, 7]).normal(mean, 1, (STUDIES, n))


def rate(found) -> float:
    return float(np.mean(list(found)))


# rates


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_t_interval_covers_as_it_says(n):
    for level in (0.95, 0.8):
        covered = rate(
            low <= 0.3 <= high for low, high in (st.t_interval(x, level) for x in studies(n, 0.3))
        )
        assert covered == pytest.approx(level, abs=0.015 if level == 0.95 else 0.025)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_a_ticket_just_as_bad_as_the_margin_passes_one_time_in_twenty(n):
    for margin in (0.0, 1.5):
        assert rate(st.upper_bound(x) < margin for x in studies(n, margin)) == pytest.approx(
            0.05, abs=0.012
        )
    assert rate(st.upper_bound(x, 0.8) < 0 for x in studies(n)) == pytest.approx(0.2, abs=0.022)


@pytest.mark.parametrize(
    ("n", "margin", "power"),
    [
        (5, 1, 0.58),
        (5, 1.5, 0.86),
        (5, 2, 0.97),
        (6, 1, 0.68),
        (6, 1.5, 0.93),
        (8, 1, 0.82),
        (10, 1, 0.90),
    ],
)
def test_power_of_non_inferiority_is_as_the_protocol_says(n, margin, power):
    assert stats.nct.cdf(stats.t.ppf(0.05, n - 1), n - 1, -margin * math.sqrt(n)) == pytest.approx(
        power, abs=0.006
    )
    assert rate(st.upper_bound(x) < margin for x in studies(n)) == pytest.approx(power, abs=0.03)


@pytest.mark.parametrize("test", [st.t_test, st.sign_flip])
@pytest.mark.parametrize("alternative", ["less", "greater", "two-sided"])
def test_a_true_hypothesis_is_rejected_one_time_in_twenty(test, alternative):
    found = [test(x, alternative, shift=0.4) for x in studies(8, 0.4)[:2000]]
    assert rate(p <= 0.05 for p in found) == pytest.approx(0.05, abs=0.015)


def test_sign_flips_need_only_symmetry():
    heavy = np.random.default_rng(3).standard_cauchy((2000, 6))
    assert rate(st.sign_flip(x, "less") <= 0.05 for x in heavy) == pytest.approx(3 / 64, abs=0.015)


@pytest.mark.parametrize("level", [0.95, 0.8])
@pytest.mark.parametrize("n", [1, 2, 5, 8, 10, 20, 50])
def test_clopper_pearson_never_covers_less(n, level):
    shares = np.linspace(0.001, 0.999, 400)
    assert coverage(st.clopper_pearson, n, level, shares).min() >= level - 1e-12


def test_jeffreys_covers_as_it_says_on_average_only():
    shares = np.linspace(0.0005, 0.9995, 1000)
    for n in (5, 8, 10, 20):
        found = coverage(st.jeffreys, n, 0.95, shares)
        assert found.mean() == pytest.approx(0.952, abs=0.006)
        assert found.min() < 0.9
    assert coverage(st.jeffreys, 8, 0.8, shares).mean() == pytest.approx(0.8, abs=0.01)


def coverage(interval, n: int, level: float, shares: np.ndarray) -> np.ndarray:
    """Return the exact coverage of each true share: the binomial over counts that contain it."""
    low, high = np.array([interval(x, n, level=level) for x in range(n + 1)]).T
    p = shares[:, None]
    return (stats.binom.pmf(np.arange(n + 1), n, p) * ((low <= p) & (p <= high))).sum(1)


def test_holm_errs_in_one_family_of_twenty():
    p = np.random.default_rng(4).random((STUDIES, 6))
    assert rate((st.holm(x) <= 0.05).any() for x in p) == pytest.approx(
        1 - (1 - 0.05 / 6) ** 6, abs=0.012
    )
    p[:, [1, 4]] = 1e-6  # two effects are there, and leave .05 / 4 to each of the others
    found = [st.holm(x) <= 0.05 for x in p]
    assert all(x[1] and x[4] for x in found)
    assert rate(x[[0, 2, 3, 5]].any() for x in found) == pytest.approx(
        1 - (1 - 0.05 / 4) ** 4, abs=0.012
    )


# references


def test_the_mean_of_seeds_is_statsmodels():
    several = studies(5, 0.2)[:20]
    assert len(several) == 20
    for x in several:
        reference = DescrStatsW(x)
        assert st.t_interval(x, 0.9) == pytest.approx(reference.tconfint_mean(0.1))
        assert st.upper_bound(x, 0.95) == pytest.approx(reference.tconfint_mean(0.1)[1])
        assert st.upper_bound(x, 0.8) == pytest.approx(
            reference.tconfint_mean(alternative="smaller", alpha=0.2)[1]
        )
        for alternative, theirs in (
            ("less", "smaller"),
            ("greater", "larger"),
            ("two-sided", "two-sided"),
        ):
            expected = reference.ttest_mean(0.3, alternative=theirs)[1]
            assert st.t_test(x, alternative, shift=0.3) == pytest.approx(expected)


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_sign_flips_are_all_flips(n):
    rng = np.random.default_rng(n)
    for x in (rng.normal(size=n), rng.integers(-4, 5, size=n).astype(float)):
        y = x - 1
        sums = np.array([np.dot(signs, y) for signs in itertools.product((1, -1), repeat=n)])
        less, greater = np.mean(sums <= y.sum() + 1e-9), np.mean(sums >= y.sum() - 1e-9)
        assert st.sign_flip(x, "less", shift=1) == pytest.approx(less)
        assert st.sign_flip(x, "greater", shift=1) == pytest.approx(greater)
        assert st.sign_flip(x, shift=1) == pytest.approx(min(1, 2 * min(less, greater)))


def test_few_seeds_can_never_be_significant_by_sign_flips():
    falling = {n: st.sign_flip(-np.arange(1.0, n + 1), "less") for n in (3, 4, 5, 6, 10)}
    assert falling == {3: 0.125, 4: 0.0625, 5: 0.03125, 6: 0.015625, 10: pytest.approx(2**-10)}
    assert st.sign_flip(-np.arange(1.0, 6), "two-sided") == 0.0625


def test_flips_of_many_seeds_are_drawn_and_never_give_nought():
    x = np.random.default_rng(8).normal(-0.3, 1, 24)
    assert st.sign_flip(x, "less") == st.sign_flip(x, "less")
    assert st.sign_flip(x, "less") == pytest.approx(st.t_test(x, "less"), abs=0.01)
    assert st.sign_flip(x - 100, "less") == 1 / (2**16 + 1)


def test_holm_is_statsmodels():
    rng = np.random.default_rng(9)
    for m in (1, 2, 7, 30):
        p = rng.random(m) ** 3
        assert np.allclose(st.holm(p), multipletests(p, method="holm")[1])
    assert st.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_benjamini_and_hochberg_are_statsmodels():
    g = np.random.default_rng(12)
    for _ in range(100):
        p = g.uniform(size=g.integers(1, 9)) ** 2
        assert np.allclose(st.benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1])
    assert st.benjamini_hochberg([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    with pytest.raises(ValueError, match="p"):
        st.benjamini_hochberg([0.1, 1.5])


@pytest.mark.parametrize(
    ("mine", "theirs"), [(st.clopper_pearson, "beta"), (st.jeffreys, "jeffreys")]
)
def test_intervals_of_a_share_are_statsmodels(mine, theirs):
    for n, level in itertools.product((1, 5, 20), (0.95, 0.8)):
        for x in range(n + 1):
            low, high = proportion_confint(x, n, 1 - level, method=theirs)
            assert mine(x, n, level=level) == pytest.approx((low if x else 0, high if x < n else 1))


@pytest.fixture
def arms():
    """(sparsity, failed) of two arms on a common ladder: unsorted, with ties and censoring."""
    rng = np.random.default_rng(10)
    ladder = 1 - 0.8 ** np.arange(1, 13)
    last = ladder[rng.integers(2, 12, (2, 30))]
    fails = ladder[np.stack([rng.integers(0, 8, 30), rng.integers(3, 12, 30)])]
    return np.minimum(fails, last), fails <= last


def test_survival_is_statsmodels(arms):
    assert len(arms[0]) == 2
    for times, observed in zip(*arms, strict=True):
        expected, found = (
            SurvfuncRight(times, observed),
            st.kaplan_meier(times, observed, level=0.9),
        )
        at = np.searchsorted(found.t, expected.surv_times)
        assert np.allclose(found.t, np.unique(times))
        assert np.allclose(found.survival[at], expected.surv_prob)
        assert found.median == expected.quantile(0.5)
        some = (expected.surv_prob > 0) & (expected.surv_prob < 1)
        share = expected.surv_prob[some]
        half = stats.norm.ppf(0.95) * expected.surv_prob_se[some] / (share * np.log(share))
        assert np.allclose(found.low[at][some], share ** np.exp(-half))
        assert np.allclose(found.high[at][some], share ** np.exp(half))


def test_the_error_of_an_excess_is_that_of_a_ratio_of_means_by_hand():
    """Cochran 1977, section 2.11, three images: sum (a - R b)^2 = 3.5 of ratio R = 1.5."""
    a, b = np.array([1.0, 2.0, 6.0]), np.array([1.0, 2.0, 3.0])
    error = math.sqrt(3.5 / 2 / 3) / 2
    assert st.relative_excess(a, b) == pytest.approx((0.5, error))
    columns = np.array([0.5, 1.5])  # two timesteps of one image are no two images
    assert st.relative_excess(np.outer(a, columns), np.outer(b, columns)) == pytest.approx(
        (0.5, error)
    )


def test_a_noise_floor_is_a_quantile_of_sizes():
    x = np.random.default_rng(12).normal(0, 2, 20000)
    assert st.noise_floor(x) == pytest.approx(2 * 1.96, abs=0.08)
    assert st.noise_floor([-3.0, 1.0, -2.0], 1) == 3
    assert st.noise_floor([-3.0, 1.0, -2.0], 0.5) == 2


@pytest.mark.parametrize(("n", "published"), [(3, 0.70), (5, 0.82), (10, 0.91)])
def test_floors_of_few_networks_are_too_small_by_what_was_published(n, published):
    """Of n dense networks and as many second ones, as a page has them."""
    assert st.dependence(n, n) == pytest.approx(published, abs=0.015)
    assert st.dependence(n, 0) < st.dependence(n, n) < 1


@pytest.mark.parametrize(("n", "again"), [(2, 0), (3, 0), (5, 0), (10, 0), (3, 3), (5, 2)])
def test_the_dependence_of_pairs_is_that_of_a_simulation(n, again):
    """Networks of equal quality; the true quantile is found by pairs that share none of them."""
    rng, ratios = np.random.default_rng(n), []
    true = np.quantile(np.abs(np.diff(rng.normal(size=(400_000, 2)))), 0.95)
    for _ in range(3000):
        first, second = rng.normal(size=(2, n))
        pairs = [a - b for a, b in itertools.combinations(first, 2)]
        pairs += list((first - second)[:again])
        ratios.append(np.percentile(np.abs(pairs), 95) / true)
    assert st.dependence(n, again) == pytest.approx(np.median(ratios), abs=0.025)


# steps


def power_law(exponent: float, steps) -> np.ndarray:
    steps = np.asarray(steps, dtype=float)
    return np.stack([steps, 3 * steps**-exponent], 1)


@pytest.mark.parametrize("exponent", [0.09, 0.136, 0.5])
def test_a_power_law_is_inverted_exactly(exponent):
    curve = power_law(exponent, [20, 50, 200, 700, 2000])
    for step in (20, 33, 200, 1999):
        assert st.steps_to(curve, 3 * step**-exponent) == pytest.approx(step)
    assert st.step_equivalent(curve, 0.01) == pytest.approx(1 - 1.01 ** (-1 / exponent))
    assert st.step_equivalent(curve, 0) == pytest.approx(0)


@pytest.mark.parametrize(
    ("target", "step"),
    [
        (9, 10),
        (8, 10),
        (4, 20),
        (math.sqrt(8), 20 * math.sqrt(2)),
        (2, 40),
        (1.9, 160 / 1.9),
        (1, 160),
        (0.9, math.inf),
    ],
)
def test_a_target_is_reached_once_and_for_all(target, step):
    # what has been reached at 40 is not lost at 80
    curve = [(10, 8.0), (20, 4.0), (40, 2.0), (80, 5.0), (160, 1.0)]
    assert st.steps_to(curve, target) == pytest.approx(step)


def test_a_margin_is_worth_the_steps_since_the_loss_was_that_high():
    curve = [(10, 8.0), (20, 4.0), (40, 0.9), (80, 1.0)]
    assert st.step_equivalent(curve, 3) == pytest.approx(1 - 20 / 80)
    # a lower bound
    assert (
        st.step_equivalent(curve, 7) == st.step_equivalent(curve, 50) == pytest.approx(1 - 10 / 80)
    )
    assert 1 - 40 / 80 < st.step_equivalent(curve, 0) < 1 - 20 / 80  # the last loss, not the best


# edges


SAME = [0.1] * 3  # whose computed mean is not 0.1


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: st.t_interval(SAME), (0.1, 0.1)),
        (lambda: st.upper_bound(SAME), 0.1),
        (lambda: st.upper_bound(SAME) < 0.1, False),
        (lambda: st.upper_bound(SAME) < 0.1001, True),
        (lambda: [st.t_test(SAME, a) for a in ("less", "greater", "two-sided")], [1, 0, 0]),
        (
            lambda: [st.t_test(SAME, a, shift=0.2) for a in ("less", "greater", "two-sided")],
            [0, 1, 0],
        ),
        (
            lambda: [st.t_test(SAME, a, shift=0.1) for a in ("less", "greater", "two-sided")],
            [0.5, 0.5, 1],
        ),
        (
            lambda: [st.sign_flip(SAME, a) for a in ("less", "greater", "two-sided")],
            [1, 0.125, 0.25],
        ),
        (
            lambda: [st.sign_flip(SAME, a, shift=0.1) for a in ("less", "greater", "two-sided")],
            [1, 1, 1],
        ),
        (lambda: st.holm([]).tolist(), []),
        (lambda: st.holm([0.04]).tolist(), [0.04]),
        (lambda: st.holm([0.9, 1.0, 0.9]).tolist(), [1, 1, 1]),
        (lambda: (st.jeffreys(0, 8).low, st.jeffreys(8, 8).high), (0, 1)),
        (lambda: (st.clopper_pearson(0, 8).low, st.clopper_pearson(8, 8).high), (0, 1)),
        (
            lambda: [round(f(10, 10).low, 2) for f in (st.jeffreys, st.clopper_pearson)],
            [0.78, 0.69],
        ),
        (lambda: st.kaplan_meier([3, 1, 2], [0, 0, 0]).survival.tolist(), [1, 1, 1]),
        (lambda: st.kaplan_meier([3, 1, 2], [0, 0, 0]).median, math.inf),
        (lambda: st.kaplan_meier([3, 1, 2, 2], [1, 1, 0, 1]).t.tolist(), [1, 2, 3]),
        (lambda: st.kaplan_meier([3, 1, 2, 2], [1, 1, 0, 1]).survival.tolist(), [0.75, 0.5, 0]),
        (lambda: st.kaplan_meier([3, 1, 2, 2], [1, 1, 0, 1]).median, 2),
        (
            lambda: np.isnan(st.kaplan_meier([3, 1, 2, 2], [1, 1, 0, 1]).low).tolist(),
            [False, False, True],
        ),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_edges(found, expected):
    assert found() == pytest.approx(expected, abs=1e-15 if expected != (0.02, 0.02) else 1e-12)


def test_equal_seeds_have_an_interval_of_no_width():
    low, high = st.t_interval(SAME)
    assert low == high == st.upper_bound(SAME) == 0.1


FEW = "two or more finite values, not"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: st.t_interval([0.3]), rf"{FEW} \[0\.3\]"),
        (lambda: st.upper_bound([0.3]), FEW),
        (lambda: st.t_test([0.3]), FEW),
        (lambda: st.sign_flip([0.3]), FEW),
        (lambda: st.t_interval([]), FEW),
        (lambda: st.t_interval([[1, 2], [3, 4]]), FEW),
        (lambda: st.upper_bound([1, math.nan]), rf"{FEW} \[ 1\. nan\]"),
        (lambda: st.sign_flip([1, -math.inf]), FEW),
        (lambda: st.holm([0.1, math.nan]), r"between 0 and 1, not \[0\.1 nan\]"),
        (lambda: st.holm([1.2]), "between 0 and 1"),
        (lambda: st.jeffreys(3, 2), "3 of 2 is not a share"),
        (lambda: st.jeffreys(0, 0), "0 of 0 is not a share"),
        (lambda: st.clopper_pearson(3, 2), "must not be greater than"),
        (lambda: st.kaplan_meier([1, 2], [1]), "same length"),
        (lambda: st.steps_to([(0, 1.0), (1, 0.5)], 0.7), "rising steps above 0"),
        (lambda: st.steps_to([(2, 1.0), (1, 0.5)], 0.7), "rising steps above 0"),
        (lambda: st.steps_to([(1, 1.0), (2, 0.0)], 0.7), "losses above 0"),
        (lambda: st.step_equivalent([(1, 1.0), (2, math.inf)], 0.1), "losses above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_who_only_imports_the_module_does_not_wait_for_scipy():
    code = "import sys, lthray.findings.stats; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
