"""When a ticket is winning: grades on made-up numbers, error rates by simulation, real runs."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig, words_of_role
from lthray.core import metrics
from lthray.core.record import Outcome, Round, TrialRecord
from lthray.findings import charts, claims, wording
from lthray.findings.evidence import (
    MARGIN,
    POINTS,
    Cell,
    Evidence,
    comparable,
    gather,
    recipe,
    setting_of,
)  # fmt: skip
from lthray.findings.rounds import kid_of
from lthray.prune.controls import CONTROLS
from lthray.study.comparators import AGAIN, against, longer
from lthray.study.ledger import Ledger
from lthray.study.results import trials
from lthray.trial.points import point
from lthray.trial.recipe import trajectory

from .conftest import TINY, rounds, tiny

LADDER = (0.5, 0.1)
DENSE, SEEDS = 0.2, range(5)
_ids = itertools.count()


SAMPLERS = ("ddim", "ddpm", "heun")


def trial(
    control="none",
    seed=0,
    excess=(0.0, 0.0),
    kid=None,
    curve=None,
    error=0.001,
    call="a" * 16,
    dense=None,
    **config,
) -> TrialRecord:
    """Return a recorded trial.

    `excess` is that at each rung, `kid` that of dense network and ticket under each sampler,
    `curve` the loss along training.
    """

    def facts(index: int, density: float, d: float) -> dict:
        measured = {
            "loss/heldout": (dense or DENSE) * (1 + d),
            "loss/excess": d,
            "loss/excess_se": error,
            "density/total": 0.05 + 0.95 * density,
        }
        if kid and index in (0, len(excess)):
            measured |= {
                kid_of(s): value for s, value in zip(SAMPLERS, kid[min(index, 1)], strict=False)
            }
        return {
            "index": index,
            "density": density,
            "metrics": measured,
            "curve": (curve or {}).get(index, []),
        }

    fork = config.pop("fork", 0)
    shown = [
        facts(i, density, d) for i, (density, d) in enumerate(zip(LADDER, excess, strict=False), 1)
    ]
    about = {
        "seed": seed,
        "control": control,
        "fork": fork,
        "recipe": "overall late5%",
        "config": config,
        "data": ["d", "x"],
    }
    about |= {"name": f"overall late5% s{seed}", "phase": "list"}
    return TrialRecord.from_json(
        {
            "id": f"{call}-{next(_ids):04d}",
            "point": about,
            "end": {},
            "rounds": [facts(0, 1.0, 0.0), *shown],
        }
    )


def with_point(trial: TrialRecord, **fields) -> TrialRecord:
    """The trial with other fields of its point."""
    return replace(trial, point=replace(trial.point, **fields))


def round_of(excess: float) -> Round:
    """A round of which only the excess is known."""
    return Round(1, 0.5, {"loss/excess": excess, "loss/excess_se": 0.001})


def study(d, shuffle=None, reinit=None, small=None, kid=None, **more) -> list[TrialRecord]:
    """One trial an arm and seed; numbers by seed."""
    arms = {"none": d, "shuffle": shuffle, "reinit": reinit, "small_dense": small}
    found = []
    for control, values in arms.items():
        for seed, value in zip(SEEDS, values if values is not None else (), strict=False):
            samples = kid[seed] if kid and control == "none" else None
            found.append(trial(control, seed, (value, value), samples, **more))
    return found


def only(found) -> tuple[Evidence, Cell]:
    (evidence,) = gather(comparable(found))
    ((_, cells),) = evidence.recipes.items()
    return evidence, cells[LADDER[-1]]


def graded(found) -> int:
    return claims.grade(claims.claims(*only(found)))


SPREAD = np.array([-2, -1, 0, 1, 2]) * 1e-3
GOOD, MEDIUM, BAD = -0.02 + SPREAD, 0.005 + SPREAD[::-1], 0.2 + SPREAD
# (dense, ticket) x (ddim, ddpm)
FINE = [((0.3, 0.4), (0.3 + 0.001 * i, 0.4 - 0.001 * i)) for i in range(5)]
POOR = [((0.3, 0.4), (0.3, 0.9 + 0.01 * i)) for i in range(5)]


@pytest.mark.parametrize(
    ("arms", "grade"),
    [
        # better than its controls, but no match
        ({"d": BAD, "shuffle": BAD + 1, "reinit": BAD + 1}, 0),
        ({"d": GOOD}, 1),  # without controls nothing more is claimed
        ({"d": GOOD, "reinit": BAD}, 1),
        ({"d": GOOD, "shuffle": GOOD[::-1], "reinit": BAD}, 1),  # no better than shuffled
        ({"d": GOOD, "shuffle": BAD}, 2),
        ({"d": GOOD, "shuffle": BAD, "reinit": GOOD[::-1]}, 2),
        # a little worse than dense, within the margin
        ({"d": MEDIUM, "shuffle": BAD, "reinit": BAD}, 3),
        ({"d": GOOD, "shuffle": BAD, "reinit": BAD, "small": BAD}, 3),  # no samples
        # one sampler only
        ({"d": GOOD, "shuffle": BAD, "reinit": BAD, "small": BAD, "kid": POOR}, 3),
        ({"d": GOOD, "shuffle": BAD, "reinit": BAD, "small": GOOD - 1, "kid": FINE}, 3),
        ({"d": GOOD, "shuffle": BAD, "reinit": BAD, "small": BAD, "kid": FINE}, 4),
        ({"d": GOOD[:1], "shuffle": BAD[:1], "reinit": BAD[:1]}, 0),  # one seed
    ],
)
def test_grades(arms, grade):
    assert graded(study(**arms) + again(arms.get("kid", ()))) == grade


def again(kid, fork: int = 1) -> list[TrialRecord]:
    """A second dense network a seed, whose KID differs by 0.02."""
    words = {"fork": fork, "rewind.rule": "init"}
    return [
        trial("dense", s, (0.0,), [k[0], tuple(value + 0.02 for value in k[0])], **words)
        for s, k in zip(SEEDS, kid, strict=False)
    ]


@pytest.mark.parametrize(
    ("third", "grade"),
    [((0.5, 0.5), 4), ((0.5, 0.9), 3)],  # KID of dense and ticket under a third sampler
)
def test_every_sampler_that_was_used_decides_and_has_its_column(third, grade):
    kid = [
        ((*dense, third[0]), (*ticket, third[1] + 0.001 * i))
        for i, (dense, ticket) in enumerate(FINE)
    ]
    found = study(GOOD, BAD, BAD, BAD, kid) + again(kid)
    assert graded(found) == grade
    evidence, cell = only(found)
    assert claims.samplers(cell) == ["ddim", "ddpm", "heun"]
    head, *rows = wording.table(evidence)
    assert [name for name in head if name.startswith("KID")] == ["KID ddim", "KID ddpm", "KID heun"]
    assert rows[-2][head.index("KID heun")].endswith("*") is (grade == 4)
    assert rows[-1][head.index("KID heun")] == "0.020"  # chance alone


def test_one_sampler_alone_gives_no_grade_in_samples():
    kid = [(dense[:1], ticket[:1]) for dense, ticket in FINE]
    found = study(GOOD, BAD, BAD, BAD, kid) + again(kid)
    assert claims.claims(*only(found))["ddim"].holds
    assert graded(found) == 3


@pytest.mark.parametrize(
    ("longer", "stands", "cell"),
    [(-0.15, "does not match", "+10.0±"), (-0.04, "matches", "-1.0±"), (0.02, "matches", "-7.0±")],
)
def test_a_dense_network_of_equal_compute_stands_beside_the_ticket(longer, stands, cell):
    shift = longer - sum(GOOD) / len(GOOD)
    equal = [trial("equal_compute", s, (0.0, d + shift)) for s, d in zip(SEEDS, GOOD, strict=True)]
    found = study([-0.05 + (d - sum(GOOD) / len(GOOD)) for d in GOOD[::-1]], BAD, BAD)
    evidence, _ = only(found + equal)
    head, *rows = wording.table(evidence)
    shown = rows[-1][head.index("- equal compute")]
    assert shown.startswith(cell)
    assert shown.endswith("*") == (stands == "matches")
    told = wording.sentences(evidence)[0]
    assert f" It {stands} a dense network that trained for as many steps as finding" in told
    assert f"({cell}" in told
    assert "- equal compute" not in wording.table(only(found)[0])[0]
    assert "as many steps" not in wording.sentences(only(found)[0])[0]


def failed(trial: TrialRecord, rungs: int) -> TrialRecord:
    """Return a trial that failed after so many rungs."""
    end = Outcome("failed", "NonFinite: training loss is nan", None, 0.0, "deterministic")
    return replace(trial, end=end, rounds=trial.rounds[: 1 + rungs] if rungs >= 0 else ())


@pytest.mark.parametrize("rungs", [-1, 0, 1])
@pytest.mark.parametrize("arm", ["none", "shuffle", "reinit"])
def test_trials_that_failed_count_against_the_claims_they_would_have_supported(arm, rungs):
    """Three of eight seeds diverge, before the dense network, the first rung or the second."""
    eight = [trial(a, s, (-0.05 + 1e-3 * s,) * 2) for s in range(8) for a in ("none",)]
    eight += [trial(a, s, (0.1 + 2e-3 * s,) * 2) for s in range(8) for a in ("shuffle", "reinit")]
    lost = [
        failed(t, rungs) if t.point.control == arm and t.point.seed in (1, 4, 6) else t
        for t in eight
    ]
    assert graded(eight) == 3
    assert graded(lost) == (0 if arm == "none" else 1 if arm == "shuffle" else 2)
    evidence, cell = only(lost)
    tested = claims.claims(evidence, cell)
    named = {"none": "matching", "shuffle": "structure", "reinit": "initialisation"}[arm]
    assert not tested[named].holds
    assert tested[named].p == 1
    last = next(iter(evidence.recipes))
    assert (LADDER[1] in claims.winning(evidence, last)) is False
    row = wording.table(evidence)[2]
    told = wording.sentences(evidence)[0]
    assert row[3] == ("5 of 8" if arm == "none" else "8")
    assert ("(5 of 8 seeds)" in told) == (arm == "none")
    unfinished = [replace(t, end=None) for t in lost]  # they may yet come
    assert graded(unfinished) == 3


def test_without_samples_the_table_has_the_customary_columns():
    head = wording.table(only(study(GOOD))[0])[0]
    assert head[4:] == [
        "excess",
        "- shuffled",
        "- reinit",
        "- small dense",
        "KID ddim",
        "KID ddpm",
        "steps",
        "grade",
    ]


@pytest.mark.parametrize("fork", [1, 2, 7])
def test_forks_of_any_number_are_arms_of_their_own_and_a_second_dense_network(fork):
    found = [
        *study(GOOD),
        *again(FINE, fork),
        *(trial(seed=s, fork=fork, excess=(0.1, 0.1)) for s in SEEDS),
    ]
    evidence, cell = only(found)
    assert sorted(cell.arms) == ["none", f"none fork {fork}"]
    assert sorted(evidence.again) == list(SEEDS)
    assert claims.claims(evidence, cell)["matching"].holds  # of the ticket alone


def test_charts_name_every_control_those_of_claims_first():
    labels = charts.arms()
    assert list(labels)[:4] == ["none", "shuffle", "reinit", "small_dense"]
    assert list(labels.values())[:4] == ["ticket", "shuffled", "re-initialised", "small dense"]
    assert labels.keys() == {"none", *CONTROLS}


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("null", ["margin", "shuffle", "reinit"])
def test_a_ticket_that_does_not_win_is_called_winning_in_at_most_one_study_of_twenty(null, n):
    """2,000 studies each: one part of the claim at its border, the others far on the good side."""
    rng, studies, won = np.random.default_rng(7), 2000, 0
    evidence, cell = only(study(GOOD))
    for _ in range(studies):
        d = (MARGIN if null == "margin" else -0.05) + 0.004 * rng.standard_normal(n)
        other = {
            c: d + (0.0 if null == c else 0.2) + 0.004 * rng.standard_normal(n)
            for c in ("shuffle", "reinit")
        }
        cell.arms = {
            arm: {s: round_of(v) for s, v in enumerate(values)}
            for arm, values in {"none": d, **other}.items()
        }
        evidence.dense = {seed: Round(0, 1.0, {}) for seed in range(n)}
        won += claims.grade(claims.claims(evidence, cell)) >= 3
    assert 0.025 < won / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


def test_equal_arms_win_almost_never():
    """Where nothing matters all parts must err together: they share the ticket, so not never."""
    rng, won = np.random.default_rng(3), 0
    for _ in range(300):
        d, shuffle, reinit = 0.02 * rng.standard_normal((3, 5))
        won += graded(study(d, shuffle, reinit)) >= 3
    assert won <= 9


def test_claims_carry_their_numbers():
    found = claims.claims(*only(study(GOOD, BAD, BAD)))
    matching, structure = found["matching"], found["structure"]
    assert (matching.mean, matching.margin) == (pytest.approx(-0.02), MARGIN)
    assert matching.interval == pytest.approx(
        (-0.02 - 2.776 * 0.000707, -0.02 + 2.776 * 0.000707), abs=1e-5
    )
    assert matching.p < 1e-4
    assert matching.p_flip == 1 / 32
    assert structure.mean == pytest.approx(-0.22)
    assert found["better"].holds
    assert not claims.claims(*only(study(MEDIUM)))["better"].holds
    assert "initialisation" in found
    assert "small" not in found


def test_pairs_are_of_the_same_seed():
    """Shuffled masks that are worse in every seed are worse, however far seeds lie apart."""
    apart = np.array([-0.3, -0.2, -0.1, -0.05, -0.02])
    worse = apart + 0.005 + SPREAD / 2
    found = []
    for t in study(apart, worse, worse):
        moved = (t.point.seed + 1) % 5 if t.point.control == "shuffle" else t.point.seed
        found.append(with_point(t, seed=moved))
    assert not claims.claims(*only(found))["structure"].holds
    assert claims.claims(*only(study(apart, worse, worse)))["structure"].holds


# how fast, at what budget, against which noise


def curve(*points: tuple[int, float]) -> list[tuple[int, float, float]]:
    return [(step, 9.0, loss) for step, loss in points]


def test_faster_is_the_ratio_of_steps_to_the_dense_networks_last_quality():
    dense = curve((10, 1.0), (20, 0.5), (40, 0.25))
    fast, never = curve((10, 0.5), (20, 0.25), (40, 0.2)), curve((10, 0.5), (40, 0.3))
    found = [trial(seed=s, curve={0: dense, 2: fast}) for s in SEEDS]
    assert claims.speed(*only(found)) == pytest.approx([0.5] * 5)
    assert claims.claims(*only(found))["faster"].holds
    found[3] = trial(seed=3, curve={0: dense, 2: never})
    assert claims.speed(*only(found))[3] == math.inf
    assert not claims.claims(*only(found))["faster"].holds
    assert "never in 1 of 5" in wording.table(only(found)[0])[2]


@pytest.mark.parametrize(("later", "label"), [(0.19, True), (0.196, False)])
def test_a_dense_network_that_gains_from_twice_the_steps_is_undertrained(later, label):
    twice = [trial(seed=s, excess=(), dense=later, **{"train.steps": 800}) for s in SEEDS]
    evidence, _ = only(study(GOOD) + twice)
    short, gains = claims.undertrained(evidence)
    assert short is label
    assert gains == pytest.approx([later / DENSE - 1] * 5)
    assert ("UNDERTRAINED" in " ".join(wording.sentences(evidence))) is label
    half = [trial(seed=s, dense=0.3, **{"train.steps": 200}) for s in SEEDS]
    (first,) = (e for e in gather(study(GOOD) + half) if e.steps == 200)
    # 400 steps are the default
    assert claims.undertrained(first) == (True, pytest.approx([DENSE / 0.3 - 1] * 5))
    alone, _ = only(study(GOOD))
    assert claims.undertrained(alone) == (None, [])
    assert "not measured" in " ".join(wording.sentences(alone))


def test_the_noise_floor_is_of_dense_networks_among_themselves():
    again = [
        trial("dense", s, (0.01 * (s + 1),), fork=1, dense=DENSE, **{"rewind.rule": "init"})
        for s in SEEDS
    ]
    evidence, _ = only(study(GOOD) + again)
    # five A/A pairs, ten pairs of equal dense networks
    pairs = [0.01, 0.02, 0.03, 0.04, 0.05] + [0.0] * 10
    assert claims.evidence_floor(evidence, "loss/heldout") == pytest.approx(
        np.quantile(pairs, 0.95)
    )
    assert "5.00% at most (5 seeds)" in " ".join(wording.sentences(evidence))


def test_the_margin_in_steps():
    dense = curve((10, 1.0), (20, 0.5), (40, 0.25))
    evidence, _ = only([trial(seed=s, curve={0: dense}) for s in SEEDS])
    # at 20 of 40 steps it was twice as high
    assert claims.worth(evidence, margin=1.0) == pytest.approx(0.5)


def test_classifiers_are_judged_by_their_accuracy():
    def study_of(lost: float, later: float) -> list[TrialRecord]:
        found = [trial("none", s, (0.5, 0.5)) for s in SEEDS] + [
            trial("reinit", s, (0.5, 0.5)) for s in SEEDS
        ]
        found += [trial(seed=s, excess=(), **{"train.steps": 800}) for s in SEEDS]
        for t in found:
            worse = {"none": lost, "reinit": 0.1}[t.point.control]
            for r in t.rounds:
                own = worse + 1e-4 * t.point.seed if r.index else 0.0
                gained = later if "train.steps" in t.point.config else 0.0
                r.metrics.update(
                    {
                        "quality/lost": own,
                        "quality/lost_se": 1e-4,
                        "quality/accuracy": 0.9 - own + gained,
                    }
                )
        return found

    evidence, cell = only(study_of(0.003, 0.004))
    assert evidence.margin == POINTS
    assert claims.claims(evidence, cell)["matching"].holds
    assert claims.claims(evidence, cell)["initialisation"].holds
    assert claims.undertrained(evidence) == (False, pytest.approx([0.004] * 5))
    assert "not undertrained" in " ".join(wording.sentences(evidence))
    assert not claims.claims(*only(study_of(0.006, 0.0)))["matching"].holds
    assert claims.undertrained(only(study_of(0.003, 0.006))[0])[0] is True


# by seed, and down the ladder


@pytest.mark.parametrize(
    ("d", "shuffle", "reinit", "won"),
    [
        (0.0, 0.1, 0.1, True),
        (0.0, 0.1, -0.1, False),
        (0.0, -0.1, 0.1, False),
        (0.02, 0.1, 0.1, False),
        (0.0085, 0.1, 0.1, None),
        (0.0115, 0.1, 0.1, None),
        (0.0115, 0.0, 0.1, False),  # it lost to a control; the margin no longer matters
    ],
)
def test_one_seed_wins_loses_or_is_undetermined(d, shuffle, reinit, won):
    assert claims.wins(*only(study([d], [shuffle], [reinit]))) == {0: won}


def test_without_controls_no_seed_wins():
    assert claims.wins(*only(study(GOOD))) == {}


def test_the_sentence_speaks_of_the_sparsest_rung_that_wins():
    found = []
    for seed, spread in zip(SEEDS, SPREAD, strict=True):
        found.append(trial("none", seed, (-0.02 + spread, 0.2 + spread)))
        found += [
            trial(control, seed, (0.3 + spread, 0.3 - spread)) for control in ("shuffle", "reinit")
        ]
    told = wording.sentences(only(found)[0])[0]
    assert "wins down to 0.5 (tried at 0.5, 0.1). At 0.5 it is better than dense" in told


def test_where_a_recipe_matches_and_where_it_wins():
    def ladder(*ds, controls=(True, True)) -> tuple[float | None, list[float]]:
        found = []
        for seed, spread in zip(SEEDS, SPREAD, strict=True):
            found.append(trial("none", seed, tuple(d + spread for d in ds)))
            for control in ("shuffle", "reinit"):
                arm = trial(control, seed, (0.3 + spread, 0.3 - spread))
                found.append(
                    replace(
                        arm,
                        rounds=tuple(r for r in arm.rounds if not r.index or controls[r.index - 1]),
                    )
                )
        evidence, _ = only(found)
        recipe = next(iter(evidence.recipes))
        return claims.sparsest(evidence, recipe), claims.winning(evidence, recipe)

    assert ladder(-0.02, -0.02) == (0.1, [0.5, 0.1])
    assert ladder(-0.02, 0.2) == (0.5, [0.5])
    assert ladder(0.2, -0.02) == (None, [0.1])
    assert ladder(-0.02, -0.02, controls=(False, True)) == (0.1, [0.1])
    assert ladder(-0.02, 0.2, controls=(True, False)) == (0.5, [0.5])
    assert ladder(-0.02, -0.02, controls=(False, False)) == (0.1, [])


def test_a_ticket_may_win_where_much_is_cut_though_little_tells_where_little_is():
    """As LeNet on MNIST does: at the first rung a shuffled mask is as good."""
    found = []
    for seed, spread in zip(SEEDS, SPREAD, strict=True):
        found.append(trial("none", seed, (-0.02 + spread, -0.02 - spread)))
        found += [
            trial(control, seed, (-0.02 - 2 * spread, 0.3 + spread))
            for control in ("shuffle", "reinit")
        ]
    told = wording.sentences(only(found)[0])[0]
    assert (
        "matches its dense network down to density 0.1 and wins at 0.1 (tried at 0.5, 0.1)." in told
    )
    assert "(tried at 0.5, 0.1). At 0.1 it is" in told


@pytest.mark.parametrize("null", ["margin", "shuffle", "reinit"])
def test_over_all_rungs_a_loser_is_said_to_win_in_at_most_one_study_of_twenty(null):
    """2,000 studies of five rungs, each at the border in one part: unadjusted, one in five errs."""
    rng, studies, said, plain = np.random.default_rng(11), 2000, 0, 0
    evidence, _ = only(study(GOOD))
    (recipe,) = evidence.recipes
    evidence.recipes = {recipe: {d: Cell("r", d) for d in (0.5, 0.4, 0.3, 0.2, 0.1)}}
    evidence.dense = {seed: Round(0, 1.0, {}) for seed in SEEDS}
    for _ in range(studies):
        graded_3 = False
        for cell in evidence.recipes[recipe].values():
            d = (MARGIN if null == "margin" else -0.05) + 0.004 * rng.standard_normal(5)
            other = {
                c: d + (0.0 if null == c else 0.2) + 0.004 * rng.standard_normal(5)
                for c in ("shuffle", "reinit")
            }
            cell.arms = {
                arm: {s: round_of(v) for s, v in enumerate(values)}
                for arm, values in {"none": d, **other}.items()
            }
            graded_3 |= claims.grade(claims.claims(evidence, cell)) >= 3
        said, plain = said + bool(claims.winning(evidence, recipe)), plain + graded_3
    assert 0.02 < said / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)
    assert plain / studies > 0.15


def test_a_recipe_that_wins_nowhere_is_told_by_its_sparsest_rung():
    told = wording.sentences(only(study(GOOD, GOOD[::-1], BAD))[0])[0]
    assert "and wins at none of the rungs that have controls (tried at 0.5, 0.1)." in told
    assert "(tried at 0.5, 0.1). At 0.1 it is better than dense" in told


def test_sentences_say_how_few_and_how_samples_stand():
    told = " ".join(wording.sentences(only(study(GOOD, BAD, BAD, kid=FINE))[0]))
    assert "(5 seeds) matches its dense network down to density 0.1 and wins down to 0.1 " in told
    assert "and wins down to 0.1 (tried at 0.5, 0.1). At 0.1 it is" in told
    assert "is better than dense" in told
    few = study(GOOD[:3], BAD[:3], BAD[:3])
    assert "(3 seeds, fewer than 5)" in wording.sentences(only(few)[0])[0]
    assert "no controls were trained" in wording.sentences(only(study(GOOD))[0])[0]
    assert "one seed only" in wording.sentences(only(study(GOOD[:1]))[0])[0]
    assert (
        "is good or bad by the sampler"
        in wording.sentences(only(study(GOOD, BAD, BAD, kid=POOR) + again(POOR))[0])[0]
    )
    worse = [((0.3, 0.4), (0.9, 0.9 + 0.01 * i)) for i in range(5)]
    assert (
        "samples that disagree with the loss"
        in wording.sentences(only(study(GOOD, BAD, BAD, kid=worse))[0])[0]
    )


def test_tickets_that_were_trained_longer_are_told_as_such():
    found = study(GOOD, BAD, BAD)
    for t in found:
        for r in t.rounds:
            r.metrics[metrics.STEPS_OF_WEIGHTS.name] = (
                400 if t.point.control != "none" or not r.index else 780
            )
    assert (
        "with weights that have seen 780 steps, which flatters it"
        in wording.sentences(only(found)[0])[0]
    )
    assert "flatters it" not in wording.sentences(only(study(GOOD, BAD, BAD))[0])[0]


# what may be averaged


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"train.lr": 1.0}, "several settings"),
        ({"measure.split": "test"}, "several panels"),
        ({"measure.images": 10}, "panels"),
    ],
)
def test_calls_that_are_not_comparable_are_not_averaged(words, said):
    with pytest.raises(ConfigError, match=said) as caught:
        comparable([*study(GOOD), *study(GOOD, call="b" * 16, **words)])
    assert "--call: aaaaaaaaaaaa, bbbbbbbbbbbb" in caught.value.faults[0]
    # of one call: what differs was meant to
    assert len(comparable([*study(GOOD), *study(GOOD, **words)])) == 10
    assert len(comparable([*study(GOOD), *study(GOOD, call="b" * 16)])) == 10


def test_settings_and_recipes_are_made_of_the_words_that_the_config_declares_for_them():
    words = TrialConfig().flat()
    setting, recipe_words = set(words_of_role("setting")), set(words_of_role("recipe"))
    assert set(setting_of(words)) == setting
    assert set(json.loads(recipe(with_point(trial(), config=words)))) == recipe_words


def test_recipes_are_apart_even_under_one_name():
    other = study(BAD, **{"rewind.state": "reset"})
    (evidence,) = gather([*study(GOOD), *other])
    assert sorted(len(cells[0.1].arms["none"]) for cells in evidence.recipes.values()) == [5, 5]


def test_nothing_recorded_is_one_line():
    with pytest.raises(ConfigError, match="no finished ticket"):
        comparable([])


# real runs


def recorded(store, configs) -> list[TrialRecord]:
    ledger = Ledger.freeze(
        store, {"test": 1}, {"study": "t", "preset": "digits", "smoke": False, "question": ""}
    )
    for number, config in enumerate(configs):
        ledger.begin(number, point(trajectory(config), {}, "list"))
        rounds(config, store)
        ledger.finish(number, "done")
    return list(trials(store, ledger))


def with_arms(seeds, arms, **words) -> list:
    base = {w.replace("__", "."): v for w, v in words.items()}
    return [
        tiny(seed=s, stream=s, **{w.replace(".", "__"): v for w, v in {**base, **arm}.items()})
        for s in seeds
        for arm in arms
    ]


def test_the_arms_of_a_study_become_evidence(store):
    arms = [*against("reinit", "shuffle", "small_dense", rungs=(-1,)), AGAIN, longer(tiny())]
    (evidence,) = gather(recorded(store, with_arms((0, 1), arms)))
    ((_, cells),) = evidence.recipes.items()
    assert {d: sorted(cell.arms) for d, cell in cells.items()} == {
        0.5: ["none"],
        0.3: ["none", "reinit", "shuffle", "small_dense"],
    }
    assert sorted(evidence.again) == sorted(evidence.dense) == sorted(evidence.longer) == [0, 1]
    assert len(claims.undertrained(evidence)[1]) == 2
    assert evidence.steps == TINY["train.steps"]


def test_a_study_of_nothing_but_chance_finds_nothing(store):
    """A/A: the same dense networks on two streams, taken for tickets."""
    seeds, config = (
        range(8),
        {"train__steps": 40, "control": "dense", "fork": 1, "rewind__rule": "init", "rungs": (1,)},
    )
    found = [
        next(r for r in rounds(tiny(seed=s, stream=s, **config), store) if r.index) for s in seeds
    ]
    d = [r.metrics["loss/excess"] for r in found]
    claim = claims.Claim("better", tuple(d), 0.0, False)
    assert min(map(abs, d)) > 0
    assert claim.interval.low < 0 < claim.interval.high
    assert 0.05 < claim.p < 0.95
    assert 0.05 < claim.p_flip < 0.95


def test_random_masks_at_low_density_never_win(store):
    words = {
        "prune__criterion": "random",
        "prune__ladder": (0.05,),
        "train__steps": 60,
        "rewind__fraction": 0.05,
    }
    (evidence,) = gather(
        recorded(store, with_arms(range(4), against("reinit", "shuffle"), **words))
    )
    ((_, cells),) = evidence.recipes.items()
    assert claims.grade(claims.claims(evidence, cells[0.05])) == 0
    assert not any(claims.wins(evidence, cells[0.05]).values())
