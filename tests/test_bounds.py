"""Where a claim begins to hold: every bound of a verdict, from both sides, on made-up numbers."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from lthray.core.record import Round, TrialRecord
from lthray.findings import comparators, floors, wording
from lthray.findings import stats as st
from lthray.findings.claims import FASTER, beaten, better, judged, matches, samples, samples_better
from lthray.findings.contrasts import COMPUTE, CONVERGED, OWN
from lthray.findings.evidence import gather
from lthray.findings.power import level_of
from lthray.findings.registry import Statement
from lthray.findings.rounds import matches as is_matching

from .test_verdicts import (
    BAD,
    DENSE,
    FINE,
    GOOD,
    SEEDS,
    SPREAD,
    again,
    curve,
    half,
    only,
    study,
    told_of,
    trial,
    twice,
    verdict_of,
    with_point,
)

T_95 = 2.1318  # Student's table: one-sided 95 %, four degrees of freedom
T_99 = 3.7469  # and 99 %
ALPHA = 0.04  # of a page at its first look
ERROR = math.sqrt(0.5)  # standard error of -2, -1, 0, 1, 2
UNITS = np.arange(-2.0, 3.0)
EQUAL = np.zeros(5)
MATCH = math.log(1.01)


def losses(ratios: np.ndarray) -> np.ndarray:
    """Return the excess of which these are the log-ratios."""
    return np.expm1(ratios)


def sampled(differences: np.ndarray, control=None) -> list[TrialRecord]:
    """A study whose tickets' KID differs by so much; that of half the steps is larger by .06."""
    kid = {"none": [((0.3,), (0.3 + d,)) for d in differences]}
    if control is not None:
        kid["shuffle"] = [((0.3,), (value,)) for value in control]
    shuffle = None if control is None else BAD
    return [*study(EQUAL, shuffle, kid=kid, rungs=1), *again(kid["none"]), *half(0.36)]


def paced(ratios: Sequence[float], **arms) -> list[TrialRecord]:
    """A study whose tickets need `ratios` times the steps of their dense networks."""
    points = ((10, 1.0), (20, 0.5), (40, 0.25))
    found = []
    for seed, times in enumerate(ratios):
        ticket = curve(*((step * times, loss) for step, loss in points))
        found.append(trial(seed=seed, excess=(0.0,), curve={0: curve(*points), 1: ticket}))
    return found + study(None, rungs=1, **arms)


def beside(values: np.ndarray) -> list[TrialRecord]:
    """A study whose tickets differ so from the dense network of twice the steps."""
    return study(0.95 * np.exp(values) - 1, rungs=1) + twice(0.95 * DENSE)


def equal(values: np.ndarray) -> list[TrialRecord]:
    """A study whose tickets differ so from the dense network of equal compute."""
    return study(EQUAL, equal=losses(-values), rungs=1)


def own(values: np.ndarray) -> list[TrialRecord]:
    """A study whose tickets differ so from their own dense network."""
    return study(losses(values), rungs=1)


# claim -> (margin, one step of the spread, values by seed -> study, claims of the page, of which so
# many are tested before this one)
CLAIMS = {
    matches(OWN): (MATCH, 1e-3, own, 3, 1),  # beaten is certain
    better(OWN): (0.0, 1e-3, own, 3, 1),  # matched is
    beaten(OWN): (0.0, 1e-3, lambda x: own(-x), 3, 1),
    better("shuffle"): (0.0, 1e-3, lambda x: study(EQUAL, shuffle=losses(-x), rungs=1), 4, 1),
    better("reinit"): (0.0, 1e-3, lambda x: study(EQUAL, reinit=losses(-x), rungs=1), 4, 1),
    better("small_dense"): (0.0, 1e-3, lambda x: study(EQUAL, small=losses(-x), rungs=1), 4, 1),
    matches(COMPUTE): (MATCH, 1e-3, equal, 6, 2),
    better(COMPUTE): (0.0, 1e-3, equal, 6, 2),
    beaten(COMPUTE): (0.0, 1e-3, lambda x: equal(-x), 6, 2),
    matches(CONVERGED): (MATCH, 1e-3, beside, 6, 3),
    better(CONVERGED): (0.0, 1e-3, beside, 6, 3),
    beaten(CONVERGED): (0.0, 1e-3, lambda x: beside(-x), 6, 3),
    FASTER: (0.0, 0.1, lambda x: paced(np.exp(x)), 4, 1),
    samples("ddim"): (0.02, 1e-3, sampled, 4, 1),
    samples_better("ddim", "shuffle"): (0.0, 1e-3, lambda x: sampled(EQUAL, 0.3 - x), 6, 3),
}
PLACE = 0.5  # density of studies of one rung


def test_every_claim_is_held_to_its_bound():
    kid = {"none": FINE, "shuffle": FINE, "reinit": FINE}
    curves = {index: curve((8, 1)) for index in range(2)}
    arms = {"shuffle": BAD, "reinit": BAD, "small": BAD, "equal": BAD}
    found = study(GOOD, **arms, kid=kid, curve=curves, rungs=1)
    page = verdict_of([*found, *again(FINE), *half(0.9, 1.0), *twice(0.19)]).registry
    names = {tested.statement.name for tested in page}
    others = {samples("ddpm"), samples_better("ddim", "reinit")}
    others |= {samples_better("ddpm", arm) for arm in ("shuffle", "reinit")}
    assert names == set(CLAIMS) | others


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize(("beyond", "holds"), [(1.01, True), (0.99, False), (-1.01, False)])
def test_a_claim_holds_where_the_upper_bound_of_its_mean_is_below_its_margin(name, beyond, holds):
    """By hand: mean + t s / sqrt(5) at the level of Holm's step, the mean so far below the margin,
    or above it."""
    margin, unit, of, count, before = CLAIMS[name]
    level = ALPHA / (count - before)
    quantile = student.ppf(1 - level, 4)
    values = margin + unit * (UNITS - beyond * quantile * ERROR)
    verdict = verdict_of(of(values))
    (key,) = verdict.evidence.recipes
    tested = verdict.find(name, key, PLACE)
    assert len(verdict.registry.family) == count
    assert tested.statement.values == pytest.approx(dict(enumerate(values)))
    assert tested.statement.margin == pytest.approx(margin)
    assert tested.holds is holds
    p = 1 - level if beyond < 0 else level
    assert tested.statement.p == pytest.approx(p, rel=0.04)
    assert (tested.statement.p < level) is holds
    if beyond > 0:
        assert tested.level == pytest.approx(level)
        assert tested.bound == pytest.approx(values.mean() + quantile * unit * ERROR)
        assert sum(each.holds for each in verdict.registry) == before + holds


def test_quantiles_are_those_of_the_table():
    assert student.ppf(1 - 0.05, 4) == pytest.approx(T_95, abs=1e-4)
    found = CLAIMS[matches(COMPUTE)]
    assert ALPHA / (found[3] - found[4]) == pytest.approx(0.01)
    assert student.ppf(0.99, 4) == pytest.approx(T_99, abs=1e-4)


def test_the_numbers_of_a_claim_are_means_whose_bound_has_one_side():
    verdict = verdict_of(own(np.array([-0.02, -0.02, -0.02, -0.02, 0.03])))
    (key,) = verdict.evidence.recipes
    skewed = verdict.find(matches(OWN), key, PLACE)
    assert skewed.statement.mean == pytest.approx(-0.01)  # no median
    # p is .058, the first of three
    assert skewed.level == pytest.approx(ALPHA / 3)
    assert skewed.bound == pytest.approx(-0.01 + 0.01 * student.ppf(1 - ALPHA / 3, 4))
    assert verdict.find(better(OWN), key, PLACE).level == skewed.level
    low = verdict_of(own(0.005 + SPREAD)).find(matches(OWN), key, PLACE)
    assert low.statement.p_flip == 1 / 32  # all five are above 0 and below the margin


def test_a_claim_needs_two_seeds():
    one, two = (study(GOOD[:n], BAD[:n], BAD[:n]) for n in (1, 2))
    assert not any(tested.holds for tested in verdict_of(one).registry)
    assert len(verdict_of(one).registry.family) == len(verdict_of(two).registry.family) == 10
    assert any(tested.holds for tested in verdict_of(two).registry)


# Holm's steps over a page


def at(p: float) -> np.ndarray:
    """Numbers of five seeds whose one-sided t-test against 0 gives `p`."""
    return 1e-3 * (UNITS + student.ppf(p, 4) * ERROR)


def rungs(arms: dict[str, np.ndarray], **words) -> list[TrialRecord]:
    """Return trials: arm -> excess, [seeds, rungs]."""
    found = []
    for control, rows in arms.items():
        found += [trial(control, s, tuple(row), **words) for s, row in enumerate(rows)]
    return found


CASES = [
    # of four claims that are left: .04 / 4, then .04 / 3
    ((0.0098, 0.0131), [0.5, 0.1]),
    ((0.0131, 0.0098), [0.5, 0.1]),
    ((0.0098, 0.0136), [0.5]),
    ((0.0136, 0.0098), [0.1]),
    ((0.0102, 0.0105), []),
]


@pytest.mark.parametrize(("p", "won"), CASES)
@pytest.mark.parametrize("part", ["matching", "shuffle", "reinit"])
def test_the_weakest_part_of_a_ticket_is_adjusted_over_the_whole_page(part, p, won):
    """Two rungs of five claims: six are certain, two are tested, and two are hopeless."""
    tested = np.stack([at(each) for each in p], 1)
    ratios = MATCH + tested if part == "matching" else np.full((5, 2), -0.02)
    arms = {"none": losses(ratios)}
    for control in ("shuffle", "reinit"):
        gap = tested if part == control else SPREAD[:, None] - 0.5
        arms[control] = losses(ratios - gap)
    verdict = verdict_of(rungs(arms))
    (key,) = verdict.evidence.recipes
    assert verdict.winning(key) == won
    assert len(verdict.registry.family) == 10


@pytest.mark.parametrize(("p", "won"), CASES)
@pytest.mark.parametrize(
    "words", [{"prune.criterion": "random"}, {"train.lr": 1.0}, {"measure.split": "test"}]
)
def test_recipes_settings_and_panels_of_a_page_are_adjusted_together(p, won, words):
    """Two claims are certain, two are tested, and two are hopeless."""
    first, second = ({"none": losses(at(each))[:, None]} for each in p)
    page = judged(gather([*rungs(first), *rungs(second, **words)]))
    assert len(page[0].registry.family) == 6
    held = []
    for verdict in page:
        assert verdict.registry is page[0].registry
        held += [verdict.holds(better(OWN), key, PLACE) for key in verdict.evidence.recipes]
    assert held == [0.5 in won, 0.1 in won]


# speed


def test_a_ticket_that_is_slower_in_most_seeds_is_not_said_to_learn_faster():
    def told(*ratios: float) -> str:
        return told_of(paced(ratios, shuffle=BAD, reinit=BAD))[1]

    assert "Tickets reach the loss of their own dense network after 58% of its steps" in told(
        0.5, 0.6, 0.7, 0.5, 0.6
    )
    assert "reach the loss" not in told(1.5, 1.6, 1.4, 1.5, 1.6)
    assert "reach the loss" not in told(0.3, 0.3, 2.0, 0.3, 2.0)  # faster on average alone


@pytest.mark.parametrize(
    ("dense", "target", "steps"),
    [
        (((10, 1.0), (20, 0.5), (40, 0.25)), 0.25, 40),
        (((10, 1.0), (20, 0.25), (40, 0.25)), 0.25, 20),  # it was as good at 20 as at its end
        (((10, 1.0), (20, 0.25), (40, 0.5)), 0.5, 10 * math.sqrt(2)),  # and better on the way
    ],
)
def test_both_networks_are_timed_to_the_last_loss_of_the_dense_one(dense, target, steps):
    ticket = curve((10, 1.0), (20, 0.5), (40, 0.2))
    took = {0.5: 20, 0.25: 20 * 2 ** (math.log(2) / math.log(2.5))}[target]
    evidence, cell = only([trial(seed=s, curve={0: curve(*dense), 2: ticket}) for s in SEEDS])
    assert floors.speed(evidence, cell) == pytest.approx(dict.fromkeys(SEEDS, took / steps))


# one seed


@pytest.mark.parametrize(
    ("measured", "certain"),
    [
        ({"loss/excess": 0.0, "loss/excess_se": 0.00607}, True),  # 0.01 / 1.645 = 0.00608
        ({"loss/excess": 0.0, "loss/excess_se": 0.00609}, False),
        ({"loss/excess": 0.0099, "loss/excess_se": 0.0}, True),
        ({"loss/excess": 0.01, "loss/excess_se": 0.0}, False),
        ({"quality/lost": 0.0, "quality/lost_se": 0.00303}, True),  # 0.005 / 1.645 = 0.00304
        ({"quality/lost": 0.0, "quality/lost_se": 0.00305}, False),
        ({"quality/lost": 0.005, "quality/lost_se": 0.0}, False),
    ],
)
def test_one_network_matches_by_the_one_sided_error_of_its_evaluation(measured, certain):
    plain = {"loss/excess": 0.0, "loss/excess_se": 0.0}
    assert is_matching(Round(1, 0.5, plain | measured)) is certain


# KID: its margin, and its power


def kids(gain: float, noise: Sequence[float], seeds: int = 5, steps: int = 400):
    """Return evidence: what half the steps lack of the dense network's KID, and A/A of it."""
    found = []
    for s in range(seeds):
        words = {"train.steps": steps}
        found.append(trial(seed=s, excess=(0.0,), kid=[(0.3,), (0.3,)], **words))
        before = {"train.steps": steps // 2, "dense": 0.3}
        # seeds differ, and the mean decides
        kid = [(0.3 + gain + 0.01 * (s - (seeds - 1) / 2),)]
        found.append(trial(seed=s, excess=(), kid=kid, **before))
    for s, value in enumerate(noise):
        second = {"fork": 1, "rewind.rule": "init", "train.steps": steps}
        found.append(trial("dense", s, (0.0,), [(0.3,), (0.3 + value,)], **second))
    (evidence,) = gather(found)
    return evidence


A_A = 0.01 * UNITS  # its standard deviation is .0158


def test_the_margin_of_a_kid_is_a_third_of_what_half_the_steps_lack():
    assert floors.kid_margin(kids(0.06, A_A), "ddim") == pytest.approx(0.02)
    assert floors.kid_margin(kids(0.3, A_A), "ddim") == pytest.approx(0.1)
    assert floors.kid_margin(kids(0.06, A_A, steps=800), "ddim") == pytest.approx(0.02)
    assert floors.kid_margin(kids(0.06, A_A), "ddpm") is None  # which was not taken


@pytest.mark.parametrize(("gain", "power"), [(3.01, True), (2.99, False), (-4, False)])
def test_a_kid_has_power_from_three_standard_deviations_of_a_a_on(gain, power):
    size = gain * 0.01 * math.sqrt(2.5)
    margin = floors.kid_margin(kids(size, A_A), "ddim")
    assert margin == (pytest.approx(size / 3) if power else None)
    # a shift of all of A/A is no noise
    assert (floors.kid_margin(kids(size, 0.5 + A_A), "ddim") is not None) is power


def test_a_kid_without_half_the_steps_or_without_two_seeds_of_a_a_has_no_power():
    assert floors.kid_margin(kids(0.06, A_A[:1]), "ddim") is None
    assert floors.kid_margin(kids(0.06, ()), "ddim") is None
    assert floors.kid_margin(kids(0.06, A_A[:2]), "ddim") == pytest.approx(0.02)
    alone = kids(0.06, A_A)
    alone.budgets.pop(200)
    assert floors.kid_margin(alone, "ddim") is None
    one = kids(0.06, A_A)
    one.budgets[200] = {0: one.budgets[200][0]}
    assert floors.kid_margin(one, "ddim") is None


# what stands beside


def budget(*changes: float, accurate: bool = False) -> bool | None:
    """Say whether dense networks that twice the steps change by so much are converged: by a
    log-ratio, or in accuracy."""
    found = study(GOOD)
    for seed, change in enumerate(changes):
        words = {"train.steps": 800}
        found.append(trial(seed=seed, excess=(), dense=DENSE * math.exp(-change), **words))
    for each in found if accurate else ():
        longer = each.point.config.get("train.steps")
        gain = changes[each.point.seed] if longer else 0.0
        for r in each.rounds:
            more = {"quality/lost": 0.0, "quality/lost_se": 0.0, "quality/accuracy": 0.9 + gain}
            r.metrics.update(more)
    return comparators.is_converged(only(found)[0], 400)


THREE = -math.log(0.97)  # three per cent of the loss


def test_a_dense_network_is_converged_below_three_per_cent_or_half_a_point():
    assert budget(*[0.999 * THREE] * 5) is True
    assert budget(*[1.001 * THREE] * 5) is False
    assert budget(*[-0.1] * 5) is True  # more steps make it worse
    assert budget(*[0.0049] * 5, accurate=True) is True
    assert budget(*[0.0051] * 5, accurate=True) is False
    assert budget(*[-0.0051] * 5, accurate=True) is True


@pytest.mark.parametrize(("beyond", "converged"), [(1.01, True), (0.99, False)])
@pytest.mark.parametrize(("most", "accurate"), [(THREE, False), (0.005, True)])
def test_converged_is_by_the_upper_95_percent_bound_of_the_gain(most, accurate, beyond, converged):
    """By hand: mean + 2.1318 s / sqrt(5); the mean itself is below in both cases."""
    changes = most + 1e-3 * (UNITS - beyond * T_95 * ERROR)
    assert changes.mean() < most
    assert budget(*changes, accurate=accurate) is converged


def test_one_seed_of_twice_the_steps_says_nothing():
    assert budget(0.0) is None
    assert budget() is None
    assert budget(0.0, 0.0) is True


def test_the_gain_of_a_page_is_told_with_its_bound():
    changes = 0.02 + 1e-3 * UNITS
    found = study(GOOD)
    for seed, change in enumerate(changes):
        words = {"train.steps": 800}
        found.append(trial(seed=seed, excess=(), dense=DENSE * math.exp(-change), **words))
    bound = 0.02 + 1e-3 * T_95 * ERROR
    line = (
        f"Twice the steps gain the dense network {-math.expm1(-0.02):.1%} "
        f"(< {-math.expm1(-bound):.1%}), 5 seeds: converged."
    )
    assert line in told_of(found)


def test_what_the_margin_is_worth_is_a_mean_over_seeds():
    early, late = curve((10, 2.0), (40, 1.0)), curve((10, 4.0), (20, 2.0), (40, 1.0))
    pair = [trial(seed=s, curve={0: dense}) for s, dense in enumerate((early, late))]
    assert floors.worth(only(pair)[0], margin=1.0) == pytest.approx((0.75 + 0.5) / 2)


def with_given(own: dict, *dense: dict):
    """Return evidence of dense networks and a given one, with these metrics."""
    found = study(GOOD[: len(dense)])
    for each, measured in zip(found, dense, strict=True):
        each.rounds[0].metrics.update(measured)
    evidence, _ = only(found)
    evidence.given["net"] = Round(0, 1.0, own)
    return evidence


def test_a_given_network_is_worse_by_what_it_has_more_of_loss_and_kid_and_less_of_accuracy():
    kid = "quality/ddim/kid_lenet"
    beside_dense = with_given(
        {"loss/heldout": 0.2, kid: 0.5, "quality/ddim/kid_inception": 9.0},
        {"loss/heldout": 0.1, kid: 0.3, "quality/ddim/kid_inception": 1.0},
        {"loss/heldout": 0.4, kid: 0.6},
    )
    assert floors.lead(beside_dense, "net") == pytest.approx((1.0 - 0.5) / 2)
    assert floors.lead_in_samples(beside_dense, "net") == pytest.approx({"ddim": 0.05})
    accurate = with_given(
        {"quality/accuracy": 0.87},
        {"quality/accuracy": 0.9, "quality/lost": 0.0},
        {"quality/accuracy": 0.94, "quality/lost": 0.0},
    )
    assert floors.lead(accurate, "net") == pytest.approx(0.05)
    assert floors.lead_in_samples(accurate, "net") == {}


# what is compared with what


def test_an_arm_is_a_control_its_noise_and_its_stream_and_a_dense_control_is_no_second_network():
    found = study(GOOD)
    for seed in SEEDS:
        found += [
            trial("dense", seed, **{"rewind.rule": "init"}),
            trial("dense", seed, fork=1, **{"rewind.rule": "late"}),
            trial("perturb", seed),
            trial("perturb", seed, sigma=0.1),
        ]
    (evidence,) = gather(found)
    assert evidence.again == {}
    arms = sorted(arm for cells in evidence.recipes.values() for arm in cells[0.1].arms)
    assert arms == ["dense", "dense fork 1", "none", "perturb", "perturb 0.1"]


def test_a_second_dense_network_that_is_not_trained_yet_is_none():
    begun = trial("dense", 0, (), fork=1, **{"rewind.rule": "init"})
    evidence, _ = only([*study(GOOD), begun, *again(FINE)[1:]])
    assert sorted(evidence.again) == [1, 2, 3, 4]


def test_a_a_is_how_much_worse_the_second_network_is():
    second = [trial("dense", s, (0.01 * s,), fork=1, **{"rewind.rule": "init"}) for s in SEEDS]
    same = floors.same(only([*study(GOOD), *second])[0])
    assert same == pytest.approx({s: math.log1p(0.01 * s) for s in SEEDS})


@pytest.mark.parametrize(
    "words",
    [{"measure.split": "test"}, {"measure.images": 10}, {"measure.timesteps": 10}, {}],
)
def test_what_another_evaluation_set_gave_is_not_compared(words):
    """Of other words or, where there are none, of other data under the same name."""

    def elsewhere(found: list[TrialRecord]) -> list[TrialRecord]:
        if words:
            return [with_point(t, config={**t.point.config, **words}) for t in found]
        return [with_point(t, data=["d", "y"]) for t in found]

    later = twice(DENSE)
    net = [trial(excess=(), **{"train.steps": 0})]
    here, there = study(GOOD), elsewhere(study(BAD))
    assert len(gather([*here, *there])) == 2
    (alone,) = gather([*here, *elsewhere(later), *elsewhere(net)])
    assert (list(alone.budgets), alone.given) == ([400], {})
    (both,) = gather([*here, *later, *net])
    assert sorted(both.budgets) == [400, 800]
    assert sorted(both.budgets[800]) == list(SEEDS)
    assert len(both.given) == 1
    # nor are their claims one and the same
    page = judged(gather([*here, *there]))
    assert len(page[0].registry.family) == 2 * 2 * 3


@pytest.mark.parametrize("words", [{"train.lr": 1.0}, {"model.channels": (8,)}])
def test_dense_networks_that_differ_in_more_than_their_steps_are_no_other_budget(words):
    later = [with_point(t, config={**t.point.config, **words}) for t in twice(DENSE)]
    assert list(only([*study(GOOD), *later])[0].budgets) == [400]


def test_a_given_network_of_another_task_is_not_compared():
    net = trial(excess=(), **{"train.steps": 0, "objective.prediction": "sample"})
    assert gather([*study(GOOD), net])[0].given == {}


# in words


def cell_of(found: list[TrialRecord], head: str) -> str:
    """Return the cell under `head` in the last row of a study's table."""
    heads, *rows = wording.table(verdict_of(found))
    return rows[-1][heads.index(head)]


def test_a_cell_is_a_mean_and_its_bound_at_the_level_of_its_test_starred_where_the_claim_holds():
    """Of three claims better, then matching hold: the last bound is at a level of .04 / 2."""
    bounds = [math.expm1(-0.02 + 1e-3 * ERROR * student.ppf(1 - ALPHA / n, 4)) for n in (3, 2)]
    assert cell_of(own(-0.02 + 1e-3 * UNITS), "own dense") == f"-2.0% (< {bounds[0]:+.1%})*"
    wide = 0.005 + 5e-3 * UNITS  # matching is not certain, nor is any other claim
    bound = math.expm1(0.005 + 5e-3 * ERROR * student.ppf(1 - ALPHA / 3, 4))
    assert cell_of(own(wide), "own dense") == f"+0.5% (< {bound:+.1%})"
    high = math.exp(-0.5 + 0.1 * ERROR * student.ppf(1 - ALPHA / 3, 4))
    assert cell_of(paced(np.exp(-0.5 + 0.1 * UNITS)), "steps") == f"x0.61 (< x{high:.2f})*"
    kid = -0.01 + 1e-3 * ERROR * student.ppf(1 - ALPHA / 3, 4)
    shown = wording.table(verdict_of(sampled(-0.01 + 1e-3 * UNITS)))[1]
    assert f"-0.010 (< {kid:+.3f})*" in shown


def test_an_outlier_is_told_in_its_cell_and_in_its_sentence():
    steady = np.array([-0.05, -0.051, -0.049, -0.0505, -0.0495, -0.05, -0.051])
    found = [trial(seed=s, excess=(d,)) for s, d in enumerate([*steady, -0.9])]
    assert cell_of(found, "own dense").endswith(" (outlier)")
    calm = [trial(seed=s, excess=(d,)) for s, d in enumerate([*steady, -0.0502])]
    assert cell_of(calm, "own dense").endswith("*")
    for tickets, is_told in ((found, True), (calm, False)):
        controls = [trial(c, s, (0.3,)) for c in ("shuffle", "reinit") for s in range(8)]
        sentences, _ = wording.told([*tickets, *controls], 1)
        assert (", 8 seeds, sensitive to outliers) " in " ".join(sentences)) == is_told


def test_never_in_so_many_counts_the_seeds_that_never_are():
    found = paced([0.5] * 5)
    dense, never = curve((10, 1.0), (20, 0.5), (40, 0.25)), curve((10, 0.5), (40, 0.3))
    found[3] = trial(seed=3, excess=(0.0,), curve={0: dense, 1: never})
    assert cell_of(found, "steps") == "never in 1 of 5"


def test_what_these_seeds_could_find_is_told_where_nothing_is_told_apart():
    """Four times in five, at the level of the claim: see lthray.findings.power."""
    noisy = 0.005 + 0.02 * UNITS / math.sqrt(2.5)
    found = study(GOOD, BAD, BAD, equal=GOOD - noisy, rungs=1)
    verdict = verdict_of(found)
    (key,) = verdict.evidence.recipes
    tested = verdict.find(matches(COMPUTE), key, PLACE)
    told = told_of(found)[1]
    least = f"{100 * tested.detectable:.2g}%"
    assert f"equal compute is not told apart (these seeds find {least})" in told
    at_five_per_cent = Statement("x", (), dict(enumerate(noisy)), 5)
    assert tested.detectable > st.upper_bound(list(at_five_per_cent.values.values())) > 0.02


@pytest.mark.parametrize(("steps", "older"), [(400, False), (401, True)])
def test_weights_that_have_seen_more_steps_in_one_seed_are_told(steps, older):
    found = study(GOOD, BAD, BAD)
    for each in found:
        for r in each.rounds:
            r.metrics["cost/steps_of_weights"] = steps if each.point.seed == 3 else 400
    told = told_of(found)[1]
    assert (f"have seen {steps} steps, which flatters tickets" in told) is older


def test_levels_of_looks_reach_the_bounds():
    """What holds at a first look by little does not hold at a second."""
    values = 1e-3 * (UNITS - 1.01 * student.ppf(1 - level_of(1) / 2, 4) * ERROR)
    first, second = (verdict_of(own(values), look) for look in (1, 2))
    (key,) = first.evidence.recipes
    assert first.holds(better(OWN), key, PLACE)
    assert not second.holds(better(OWN), key, PLACE)
    assert second.holds(matches(OWN), key, PLACE)
    found = second.find(better(OWN), key, PLACE)
    quantile = student.ppf(1 - level_of(2) / 2, 4)
    assert found.bound == pytest.approx(values.mean() + 1e-3 * ERROR * quantile)


def test_a_trial_that_is_not_finished_is_no_failure():
    found = [replace(t, end=None) for t in study(GOOD, BAD, BAD)]
    assert all(tested.statement.whole for tested in verdict_of(found).registry)
