"""Where a claim begins to hold: every bound of a verdict, from both sides, on made-up numbers."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import t as student

from lthray.core.record import Round, TrialRecord
from lthray.findings import claims, wording
from lthray.findings.evidence import Evidence, gather, matches

from .test_verdicts import (
    BAD,
    DENSE,
    FINE,
    GOOD,
    MEDIUM,
    SEEDS,
    SPREAD,
    again,
    curve,
    only,
    study,
    trial,
    with_point,
)

T_95 = 2.1318  # Student's table: one-sided 95 %, four degrees of freedom
ERROR = math.sqrt(0.5)  # standard error of -2, -1, 0, 1, 2
UNITS = np.arange(-2.0, 3.0)


def sampled(differences: np.ndarray) -> list[TrialRecord]:
    """A study whose tickets' KID differs by so much; dense networks differ by 0.02 by chance."""
    kid = [((0.3, 0.4), (0.3 + d, 0.4)) for d in differences]
    return study(GOOD, kid=kid) + again(kid)


def paced(ratios: Sequence[float]) -> list[TrialRecord]:
    """A study whose tickets need `ratios` times the steps of their dense networks."""
    points = ((10, 1.0), (20, 0.5), (40, 0.25))
    dense = curve(*points)
    found = []
    for seed, times in enumerate(ratios):
        ticket = curve(*((step * times, loss) for step, loss in points))
        found.append(trial(seed=seed, curve={0: dense, 2: ticket}))
    return found


# claim -> (margin, one step of the spread, numbers of five seeds -> study)
CLAIMS = {
    "matching": (0.01, 1e-3, study),
    "better": (0.0, 1e-3, study),
    "structure": (0.0, 1e-3, lambda x: study(np.zeros(5), shuffle=-x)),
    "initialisation": (0.0, 1e-3, lambda x: study(np.zeros(5), reinit=-x)),
    "small": (0.0, 1e-3, lambda x: study(np.zeros(5), small=-x)),
    "faster": (0.0, 0.1, lambda x: paced(np.exp(x))),
    "ddim": (0.02, 1e-3, sampled),
}


def test_every_claim_is_held_to_its_bound():
    found = only(study(GOOD, BAD, BAD, BAD, FINE, curve={0: curve((8, 1)), 2: curve((8, 1))}))
    assert set(claims.claims(*found)) - {"ddpm"} == set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize(("beyond", "holds"), [(1.01, True), (0.99, False), (-1.01, False)])
def test_a_claim_holds_where_the_upper_bound_of_its_mean_is_below_its_margin(name, beyond, holds):
    """By hand: mean + 2.1318 s / sqrt(5), at a mean so far below the margin, or above it."""
    margin, unit, of = CLAIMS[name]
    values = margin + unit * (UNITS - beyond * T_95 * ERROR)
    claim = claims.claims(*only(of(values)))[name]
    assert claim.values == pytest.approx(values.tolist())
    assert claim.margin == pytest.approx(margin)
    assert claim.holds is holds
    assert claim.p == pytest.approx(0.95 if beyond < 0 else 0.05, abs=1.5e-3)
    assert (claim.p < claims.ALPHA) is holds


def test_the_numbers_of_a_claim_are_means_whose_intervals_have_two_sides():
    skewed = claims.claims(*only(study([-0.02, -0.02, -0.02, -0.02, 0.03])))["matching"]
    assert skewed.mean == pytest.approx(-0.01)  # no median
    half = 2.7764 * 0.01  # Student's table: two-sided 95 %
    assert skewed.interval == pytest.approx((-0.01 - half, -0.01 + half), abs=1e-6)
    medium = claims.claims(*only(study(MEDIUM)))["matching"]
    assert medium.p_flip == 1 / 32  # all five are above 0 and below the margin


def test_a_claim_needs_two_seeds():
    one, two = (study(GOOD[:n], BAD[:n], BAD[:n]) for n in (1, 2))
    assert claims.claims(*only(one)) == {}
    tested = claims.claims(*only(two))
    assert set(tested) == {"matching", "better", "structure", "initialisation"}
    assert tested["structure"].holds


def test_a_ticket_that_is_slower_in_most_seeds_is_not_said_to_learn_faster():
    def told(*ratios: float) -> str:
        return wording.sentences(only(paced(ratios) + study(None, BAD, BAD))[0])[0]

    assert "and learns faster" in told(0.5, 0.6, 0.7, 0.5, 0.6)
    assert "does not learn faster" in told(1.5, 1.6, 1.4, 1.5, 1.6)
    assert "does not learn faster" in told(0.3, 0.3, 2.0, 0.3, 2.0)  # faster on average alone


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
    own = {0.5: 20, 0.25: 20 * 2 ** (math.log(2) / math.log(2.5))}[target]
    evidence, cell = only([trial(seed=s, curve={0: curve(*dense), 2: ticket}) for s in SEEDS])
    assert claims.speed(evidence, cell) == pytest.approx([own / steps] * 5)


# one seed


@pytest.mark.parametrize(
    ("d", "shuffle", "reinit", "won"),
    [
        (0.0, 0.0, 0.1, False),  # as good as a control is not better
        (0.0, 0.1, 0.0, False),
        (0.0079, 0.1, 0.1, True),  # two standard errors of 0.001 below the margin
        (0.0081, 0.1, 0.1, None),
        (0.0119, 0.1, 0.1, None),
        (0.0121, 0.1, 0.1, False),
    ],
)
def test_a_seed_wins_below_both_controls_and_two_errors_off_the_margin(d, shuffle, reinit, won):
    assert claims.wins(*only(study([d], [shuffle], [reinit]))) == {0: won}


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
    assert matches(Round(1, 0.5, plain | measured)) is certain


# rungs


def at(p: float) -> np.ndarray:
    """Numbers of five seeds whose one-sided t-test against 0 gives `p`."""
    return 1e-3 * (UNITS + student.ppf(p, 4) * ERROR)


@pytest.mark.parametrize(
    ("p", "won"),
    [
        ((0.02, 0.04), [0.5, 0.1]),  # adjusted by Holm: .04 and .04
        ((0.024, 0.06), [0.5]),  # .048 and .06
        ((0.06, 0.024), [0.1]),
        ((0.026, 0.04), []),  # .052 and .052
    ],
)
@pytest.mark.parametrize("part", ["matching", "shuffle", "reinit"])
def test_the_weakest_part_of_each_rung_is_adjusted_over_the_rungs_with_controls(part, p, won):
    tested = np.stack([at(each) for each in p], 1)
    ticket = 0.01 + tested if part == "matching" else np.full((5, 2), -0.02)
    arms = {"none": ticket}
    for control in ("shuffle", "reinit"):
        arms[control] = ticket - (tested if part == control else SPREAD[:, None] - 0.5)
    found = []
    for control, rows in arms.items():
        found += [trial(control, s, tuple(row)) for s, row in enumerate(rows)]
    evidence, _ = only(found)
    assert claims.winning(evidence, next(iter(evidence.recipes))) == won


def unfinished(last: int) -> Evidence:
    """A study of two rungs with controls at both, whose tickets of `last` seeds alone are done."""
    found = study(None, BAD, BAD)
    found += [trial("none", s, (0.5 + d, 0.5 - d)[: 1 + (s < last)]) for s, d in enumerate(SPREAD)]
    return gather(found)[0]


@pytest.mark.parametrize("last", [0, 1])
def test_a_rung_that_fewer_than_two_tickets_have_reached_is_not_tried_yet(last):
    told = wording.sentences(unfinished(last))[0]
    assert "wins at none of the rungs that have controls (tried at 0.5). At 0.5 it is not" in told
    assert "(tried at 0.5, 0.1). At 0.1 it is not" in wording.sentences(unfinished(2))[0]


# what stands beside


def budget(*changes: float, accurate: bool = False) -> bool | None:
    """Say whether dense networks that twice the steps change by so much are undertrained."""
    found = study(GOOD)
    for seed, change in enumerate(changes):
        words = {"train.steps": 800}
        found.append(trial(seed=seed, excess=(), dense=DENSE * (1 + change), **words))
    for each in found if accurate else ():
        longer = each.point.config.get("train.steps")
        gain = changes[each.point.seed] if longer else 0.0
        for r in each.rounds:
            more = {"quality/lost": 0.0, "quality/lost_se": 0.0, "quality/accuracy": 0.9 + gain}
            r.metrics.update(more)
    return claims.undertrained(only(found)[0])[0]


def test_a_dense_network_is_undertrained_from_three_per_cent_or_half_a_point_on():
    assert budget(*[-0.0301] * 5) is True
    assert budget(*[-0.0299] * 5) is False
    assert budget(*[0.0301] * 5) is False
    assert budget(*[0.0051] * 5, accurate=True) is True
    assert budget(*[0.0049] * 5, accurate=True) is False
    assert budget(*[-0.0051] * 5, accurate=True) is False


def test_what_twice_the_steps_change_is_a_mean_over_seeds():
    assert budget(-0.05, -0.05, -0.05, 0.01, 0.01) is False  # the mean is -.026
    assert budget(-0.01, -0.01, -0.01, -0.1, -0.1) is True


def test_what_the_margin_is_worth_is_a_mean_over_seeds():
    early, late = curve((10, 2.0), (40, 1.0)), curve((10, 4.0), (20, 2.0), (40, 1.0))
    pair = [trial(seed=s, curve={0: dense}) for s, dense in enumerate((early, late))]
    assert claims.worth(only(pair)[0], margin=1.0) == pytest.approx((0.75 + 0.5) / 2)


def with_given(own: dict, *dense: dict) -> dict[str, float]:
    """Return by how much a given network is worse than dense ones with these metrics."""
    found = study(GOOD[: len(dense)])
    for each, measured in zip(found, dense, strict=True):
        each.rounds[0].metrics.update(measured)
    evidence, _ = only(found)
    evidence.given["net"] = Round(0, 1.0, own)
    return claims.lead(evidence, "net")


def test_a_given_network_is_worse_by_what_it_has_more_of_loss_and_kid_and_less_of_accuracy():
    kid = "quality/ddim/kid_lenet"
    loss = with_given(
        {"loss/heldout": 0.2, kid: 0.5, "quality/ddim/kid_inception": 9.0},
        {"loss/heldout": 0.1, kid: 0.3, "quality/ddim/kid_inception": 1.0},
        {"loss/heldout": 0.4, kid: 0.6},
    )
    assert loss == pytest.approx({"matching": (1.0 - 0.5) / 2, "ddim": 0.05})
    accurate = with_given(
        {"quality/accuracy": 0.87},
        {"quality/accuracy": 0.9, "quality/lost": 0.0},
        {"quality/accuracy": 0.94, "quality/lost": 0.0},
    )
    assert accurate == pytest.approx({"matching": 0.05})


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

    twice = [trial(seed=s, excess=(), **{"train.steps": 800}) for s in SEEDS]
    net = [trial(excess=(), **{"train.steps": 0})]
    here, there = study(GOOD), elsewhere(study(BAD))
    assert len(gather([*here, *there])) == 2
    (alone,) = gather([*here, *elsewhere(twice), *elsewhere(net)])
    assert (alone.longer, alone.given) == ({}, {})
    (both,) = gather([*here, *twice, *net])
    assert sorted(both.longer) == list(SEEDS)
    assert len(both.given) == 1


def test_a_given_network_of_another_task_is_not_compared():
    net = trial(excess=(), **{"train.steps": 0, "objective.prediction": "sample"})
    assert gather([*study(GOOD), net])[0].given == {}


# in words


def cell_of(found: list[TrialRecord], head: str) -> str:
    """Return the cell under `head` in the last row of a study's table."""
    heads, *rows = wording.table(only(found)[0])
    return rows[-1][heads.index(head)]


def test_a_cell_is_a_mean_and_half_an_interval_starred_where_the_claim_holds():
    half = 100 * 2.7764 * 1e-3 * ERROR
    assert cell_of(study(GOOD), "excess") == f"-2.0±{half:.1f}%*"
    assert cell_of(study(0.005 + 5 * SPREAD), "excess") == f"+0.5±{5 * half:.1f}%"  # not certain
    ratios = np.exp(-0.5 + 0.1 * UNITS)
    low, high = (math.exp(-0.5 + sign * 0.1 * 2.7764 * ERROR) for sign in (-1, 1))
    assert cell_of(paced(ratios), "steps") == f"x0.61 ({low:.2f}-{high:.2f})*"


def test_never_in_so_many_counts_the_seeds_that_never_are():
    found = paced([0.5] * 5)
    never = curve((10, 0.5), (40, 0.3))
    found[3] = trial(seed=3, curve={0: curve((10, 1.0), (20, 0.5), (40, 0.25)), 2: never})
    assert cell_of(found, "steps") == "never in 1 of 5"


@pytest.mark.parametrize(
    ("d", "kid", "said"),
    [
        (GOOD, 0.3, "is better than dense and has samples that agree with the loss"),
        (GOOD, 0.9, "is better than dense and has samples that disagree with the loss"),
        (MEDIUM, 0.3, "is not better than dense and has samples that agree with the loss"),
        (BAD, 0.9, "is not better than dense and has samples that agree with the loss"),
        (BAD, 0.3, "is not better than dense and has samples that disagree with the loss"),
    ],
)
def test_how_samples_stand_beside_the_loss(d, kid, said):
    pairs = [((0.3, 0.4), (kid + 0.001 * i, kid + 0.1 - 0.001 * i)) for i in range(5)]
    found = study(d, d + 0.5 + SPREAD, d + 0.5 + SPREAD, kid=pairs) + again(pairs)
    assert said in wording.sentences(only(found)[0])[0]


@pytest.mark.parametrize("arms", [{"shuffle": BAD}, {"reinit": BAD}, {}])
def test_with_fewer_than_both_controls_nothing_more_than_a_match_is_claimed(arms):
    found = study(GOOD, **arms)
    assert "no controls were trained, so nothing more is" in wording.sentences(only(found)[0])[0]
    assert cell_of(found, "grade").endswith("(no controls)")
    assert "(no controls)" not in cell_of(study(GOOD, BAD, BAD), "grade")


@pytest.mark.parametrize(("steps", "older"), [(400, False), (401, True)])
def test_weights_that_have_seen_more_steps_in_one_seed_are_told(steps, older):
    found = study(GOOD, BAD, BAD)
    for each in found:
        for r in each.rounds:
            r.metrics["cost/steps_of_weights"] = steps if each.point.seed == 3 else 400
    told = wording.sentences(only(found)[0])[0]
    assert (f"have seen {steps} steps, which flatters it" in told) is older
