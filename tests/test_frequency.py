"""How often tickets win: what is counted, against what, and how often chance is taken for more."""

import runpy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import special, stats
from statsmodels.duration.survfunc import survdiff

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.core.record import Outcome, Point, Round, TrialRecord
from lthray.findings import designs, effects, forests, frequency, survival
from lthray.findings import stats as st
from lthray.findings.designs import Page
from lthray.findings.frequency import BOTH, MATCHES, WINS, Rung, Studied, best_of
from lthray.study.call import resolve

STUDY = runpy.run_path(str(Path(__file__).parent.parent / "studies/frequency.py"))["STUDY"]
SHUFFLED, FRESH = best_of("shuffle"), best_of("reinit")
AA, PAIRED, CONTROL, RHO = 0.01, 0.005, 0.025, 0.7
"""The named nulls: standard deviations of A/A, of a ticket, of a control, correlation of cells."""


@pytest.fixture
def few_forests(monkeypatch):
    """Grow few forests, where a test does not look at importances."""
    monkeypatch.setattr(forests, "FORESTS", 1)
    monkeypatch.setattr(forests, "SHUFFLES", 2)


def trial(
    words: Mapping[str, Any], seed: int, arm: tuple[str, int], excess: Mapping[float, float], **more
) -> TrialRecord:
    """Return a trial of a design: its recipe's words, seed, arm and excess by density."""
    control, draw = arm
    config = {**words, "measure.samples": 0} | ({"draw": draw} if draw else {})
    listed = {**words, "control": control, "measure.rounds": [0]}
    point = Point(
        name="x",
        recipe="x",
        phase="design",
        config={word: value for word, value in config.items() if word != "when"},
        seed=seed,
        control=control,
        data=("digits", "0" * 64),
        words=listed | ({"draw": draw, "rungs": [1, 2]} if draw else {}),
    )
    rounds = [Round(0, 1.0, {"loss/heldout": 0.2})]
    for index, (density, value) in enumerate(excess.items(), 1):
        metrics = {"loss/heldout": 0.2 * (1 + value), "loss/excess": value, "loss/excess_se": 0.001}
        rounds.append(Round(index, density, metrics))
    end = Outcome("failed" if more.get("failed") else "done")
    return TrialRecord(f"{'a' * 12}-{0}", point, end, tuple(rounds))


def trials_of(design: Studied) -> list[TrialRecord]:
    """Return trials whose design it is."""
    found = []
    for row, words in enumerate(design.drawn):
        for column, seed in enumerate(design.seeds):
            place = row, column
            ticket = {rung.density: float(rung.excess[place]) for rung in design.rungs}
            found.append(trial(words, seed, ("none", 0), ticket))
            for kind, number in arms_of(design.rungs):
                drawn = {
                    rung.density: float(rung.controls[kind][place][number])
                    for rung in design.rungs
                    if kind in rung.controls
                }
                found.append(trial(words, seed, (kind, number + 1), drawn))
    return found


def arms_of(rungs) -> list[tuple[str, int]]:
    last = rungs[-1]
    return [(kind, n) for kind, draws in last.controls.items() for n in range(draws.shape[-1])]


def design_of(drawn, rungs, seeds: int) -> Studied:
    """Return a design of recipes whose words are `drawn`."""
    recipes = [{**TrialConfig().flat(), **words} for words in drawn]
    return Studied(recipes, drawn, tuple(range(seeds)), rungs)


def rung_of(ticket, shuffled, fresh, density=0.1) -> Rung:
    controls = {"shuffle": np.asarray(shuffled), "reinit": np.asarray(fresh)}
    return Rung(density, np.asarray(ticket), np.full(np.shape(ticket), 1e-3), controls)


def words_of_study(*argv: str) -> list[dict[str, Any]]:
    """Return the words of every recipe of the study of frequency, negative controls too."""
    arm = {"control", "rungs", "measure.rounds", "draw"}
    points = [p for p in resolve(STUDY, argv).points if p["control"] == "none"]
    return [{word: value for word, value in p.items() if word not in arm} for p in points]


DRAWN = words_of_study()
LATE = [words for words in DRAWN if "random" not in words.values()]


# what is counted


def test_a_ticket_wins_that_matches_and_is_the_best_of_both_kinds():
    ticket = [[-0.02, -0.02, -0.02], [0.02, 0.0, -0.02]]
    shuffled = [[[0, 1], [-0.03, 1], [0, 1]], [[1, 1], [1, 1], [-0.02, 1]]]
    fresh = [[[0, 1], [0, 1], [-1, 1]], [[1, 1], [1, 1], [1, 1]]]
    found = rung_of(ticket, shuffled, fresh).outcomes
    assert {name: holds.tolist() for name, holds in found.items()} == {
        MATCHES: [[True] * 3, [False, True, True]],
        SHUFFLED: [[True, False, True], [True, True, False]],  # the last is as good, not better
        FRESH: [[True, True, False], [True] * 3],
        BOTH: [[True, False, False], [True, True, False]],
        WINS: [[True, False, False], [False, True, False]],
    }


def test_a_planned_trial_without_a_number_is_the_worst_outcome():
    """A ticket that failed wins nowhere; a control that failed is beaten by no ticket."""
    drawn = [{"prune.criterion": "taylor"}, {"prune.criterion": "magnitude"}]
    good, bad = {0.5: -0.05, 0.1: -0.05}, {0.5: 0.1, 0.1: 0.1}
    found = []
    for words in drawn:
        for seed in range(3):
            lost = words is drawn[0] and seed == 1
            found.append(trial(words, seed, ("none", 0), {0.5: -0.05} if lost else good))
            for kind in ("shuffle", "reinit"):
                for draw in range(1, 5):
                    missing = words is drawn[1] and (seed, kind, draw) == (2, "reinit", 4)
                    found.append(trial(words, seed, (kind, draw), {} if missing else bad))
    design = frequency.studied(found)
    dense, sparse = design.rungs
    assert design.size == 6
    assert design.missing == 1
    assert dense.outcomes[MATCHES].all()
    assert sparse.outcomes[WINS].tolist() == [[True, False, True], [True, True, False]]
    assert sparse.outcomes[SHUFFLED].tolist() == [[True, False, True], [True] * 3]
    assert "and 1 have no number: they do not match" in " ".join(designs.remarks(Page(design, {})))


def test_a_recipe_of_which_every_trial_failed_is_counted():
    drawn = [{"prune.criterion": "taylor"}, {"prune.criterion": "magnitude"}]
    found = trials_of(design_of(drawn, [random_rung(2, 2)], 2))
    found = [
        replace(t, rounds=t.rounds[:1]) if t.point.words["prune.criterion"] == "taylor" else t
        for t in found
    ]
    design = frequency.studied(found)
    assert design.size == 4
    assert design.rungs[0].outcomes[MATCHES][0].tolist() == [False, False]


def random_rung(recipes: int, seeds: int, draws: int = 4, density: float = 0.1, seed: int = 0):
    rng = np.random.default_rng(seed)
    controls = 0.02 * rng.normal(size=(2, recipes, seeds, draws))
    return rung_of(0.02 * rng.normal(size=(recipes, seeds)), *controls, density=density)


def test_trials_give_the_arrays_that_they_were_made_of():
    """Second runs and dense references are no part of a design, and no draw is another's."""
    made = design_of(DRAWN[:6], [random_rung(6, 3, 4, d, n) for n, d in enumerate((0.5, 0.1))], 3)
    others = [
        replace(trials_of(made)[0].point, fork=1),
        replace(trials_of(made)[0].point, config={"prune.ladder": []}),
    ]
    extra = [replace(trials_of(made)[0], point=point) for point in others]
    found = frequency.studied([*trials_of(made), *extra])
    assert found.seeds == [0, 1, 2]
    assert list(found.drawn) == [dict(words) for words in DRAWN[:6]]
    for mine, theirs in zip(found.rungs, made.rungs, strict=True):
        assert mine.density == theirs.density
        assert (mine.excess == theirs.excess).all()
        for kind, draws in theirs.controls.items():
            assert (mine.controls[kind] == draws).all()


@pytest.mark.usefixtures("few_forests")
def test_negative_controls_are_in_no_share():
    design = design_of(DRAWN, [random_rung(len(DRAWN), 2)], 2)
    real, negative = frequency.apart(design)
    assert len(real.recipes) == len(LATE) == 64
    assert {rule: len(each.recipes) for rule, each in negative.items()} == {
        "prune.criterion random": 4,
        "rewind.rule random": 4,
    }
    made = {s.name: s for s in designs.sections(trials_of(design), [], "Recorded.")}
    assert {row[3] for row in made["frequency"].table[1:]} == {"128"}
    assert {row[4] for row in made["negatives"].table[1:]} == {"8"}


# base rates


@pytest.mark.parametrize("draws", [1, 4])
@pytest.mark.parametrize("kind", ["normal", "heavy"])
def test_base_rates_are_what_exchangeable_networks_do(draws, kind):
    """Whatever the distribution: 1 / (k + 1) among k, and 1 / (2k + 1) among both kinds."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(1, 40_000, 2 * draws + 1))
    values = values if kind == "normal" else np.tan(values)
    rung = rung_of(values[..., 0], values[..., 1 : draws + 1], values[..., draws + 1 :])
    rates = {name: holds.mean() for name, holds in rung.outcomes.items()}
    assert rung.bases == dict.fromkeys((SHUFFLED, FRESH, BOTH, WINS), 1 / (draws + 1))
    for name in (SHUFFLED, FRESH):
        assert rates[name] == pytest.approx(1 / (draws + 1), abs=0.008)
    assert rates[BOTH] == pytest.approx(1 / (2 * draws + 1), abs=0.008)
    assert f"{1 / (2 * draws + 1):.2f} are best of both" in " ".join(
        designs.remarks(Page(design_of([{}], [rung], 40_000), {}))
    )
    rung = rung_of(values[..., 0], values[..., 1 : draws + 1], values[..., draws + 1 :] + 1e9)
    assert rung.outcomes[BOTH].mean() == pytest.approx(rung.bases[BOTH], abs=0.008)


# intervals


def by_survey(holds: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """svyciprop(method = "beta") of R's survey, as it is documented, of one cluster a row."""
    groups, n, p = len(holds), holds.size, holds.mean()
    totals = (holds - p).sum(1) / n
    v = groups / (groups - 1) * ((totals - totals.mean()) ** 2).sum()
    tail = (1 - level) / 2
    ratio = special.stdtrit(n - 1, tail) / special.stdtrit(groups - 1, tail)
    size = min(p * (1 - p) / v * ratio**2, n)
    low = special.betaincinv(size * p, size * (1 - p) + 1, tail)
    return low, special.betaincinv(size * p + 1, size * (1 - p), 1 - tail)


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_one_way_clusters_give_the_interval_of_r_survey(level):
    rng = np.random.default_rng(1)
    for _ in range(50):
        holds = rng.random((12, 5)) < rng.beta(0.6, 0.6, size=(12, 1))
        off = (holds - holds.mean()).mean(1)
        variance = (off**2).sum() / 12 / 11
        found = st.korn_graubard(holds.mean(), variance, 60, 11, clusters=12, level=level)
        assert found[:2] == pytest.approx(by_survey(holds, level))


def test_independent_outcomes_have_the_interval_of_clopper_and_pearson():
    low, high, size = st.korn_graubard(0.3, 0.3 * 0.7 / 40, 40, 39, clusters=40)
    assert size == pytest.approx(40)
    assert (low, high) == pytest.approx(st.clopper_pearson(12, 40))
    assert st.korn_graubard(0.3, 1e-9, 40, 39, clusters=40).size == 40  # at most n
    assert st.korn_graubard(1.0, 0.0, 40, 4, clusters=5)[:2] == pytest.approx(
        st.clopper_pearson(5, 5)
    )
    assert st.korn_graubard(0.0, 0.0, 40, 4, clusters=5).low == 0
    assert st.above(0.2, 3 / 12, 12) == pytest.approx(stats.binom.sf(2, 12, 0.2))
    assert (st.above(0.2, 0.0, 5), st.above(0.2, 1.0, 5)) == pytest.approx((1, 0.2**5))


@pytest.mark.parametrize(("recipe", "seed"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.7, 0.7)])
def test_a_share_is_covered_whichever_of_recipe_and_seed_makes_outcomes_alike(recipe, seed):
    """1,000 designs of 64 recipes on 5 seeds; to take outcomes for independent would cover less."""
    rng, covered, naive = np.random.default_rng(5), 0, 0
    cut = stats.norm.ppf(0.4) * np.sqrt(recipe**2 + seed**2 + 1)
    for _ in range(1000):
        latent = recipe * rng.normal(size=(64, 1)) + seed * rng.normal(size=(1, 5))
        holds = latent + rng.normal(size=(64, 5)) < cut
        found = frequency.share(holds).interval
        covered += found.low <= 0.4 <= found.high
        low, high = st.clopper_pearson(int(holds.sum()), holds.size)
        naive += low <= 0.4 <= high
    assert covered / 1000 >= 0.92
    assert not (recipe or seed) or naive / 1000 < 0.9


# what chance is taken for


def correlated(rng, shape: tuple[int, ...]) -> np.ndarray:
    """Return noise of SD 1, [cells, recipes, seeds, ...], correlated between cells by seed."""
    cells, recipes, *rest = shape
    shared = np.sqrt(RHO) * rng.normal(size=(1, 1, *rest))
    return shared + np.sqrt(1 - RHO) * rng.normal(size=(cells, recipes, *rest))


def null(rng, scenario: str, drawn, seeds: int = 5) -> list[Rung]:
    """Return the rungs of a study of which nothing is true that a page might claim."""
    shape = (2, len(drawn), seeds)
    ticket, *controls = (correlated(rng, (*shape, n))[..., :] for n in (1, 4, 4))
    ticket = ticket[..., 0]
    spread = {"exchangeable": CONTROL, "one kind": CONTROL, "paired": PAIRED}[scenario]
    worse = 0.2 if scenario == "one kind" else 0.0  # new weights are much worse
    aa = AA * correlated(rng, (*shape,))  # a dense network that another stream had made otherwise
    shuffled, fresh = (CONTROL * each - aa[..., None] for each in controls)
    rungs = []
    for at, density in enumerate((0.25, 0.0625)):
        own = spread * ticket[at] - aa[at]
        rungs.append(rung_of(own, shuffled[at], fresh[at] + worse, density))
    return rungs


FALSE = {
    "paired": (2000, lambda key: True),
    "exchangeable": (500, lambda key: True),
    "one kind": (500, lambda key: key[1] != FRESH),  # that one is true
}
"""Scenario -> number of studies, and whether a claim of it is false."""


@pytest.mark.parametrize("scenario", FALSE)
def test_no_page_claims_more_than_one_time_in_twenty_where_nothing_is_true(scenario):
    """Studies of the design as it is planned, gathered once and told each time."""
    rng, wrong, (studies, false) = np.random.default_rng(7), 0, FALSE[scenario]
    gathered = frequency.studied(trials_of(design_of(DRAWN, null(rng, scenario, DRAWN), 5)))
    for _ in range(studies):
        rungs = null(rng, scenario, DRAWN)
        page = Page(*frequency.apart(replace(gathered, rungs=rungs)))
        wrong += any(map(false, page.held))
    assert wrong / studies <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)


@pytest.mark.usefixtures("few_forests")
def test_a_negative_control_claims_nothing_and_a_planted_ticket_is_found():
    rng = np.random.default_rng(2)
    rungs = null(rng, "exchangeable", DRAWN)
    real = np.array([words in LATE for words in DRAWN])
    for rung in rungs:
        rung.excess[real] -= 0.2
    made = Page.of(trials_of(design_of(DRAWN, rungs, 5)))
    assert {key[0] for key in made.held} == {""}
    assert {key[1] for key in made.held} == {SHUFFLED, FRESH, WINS}
    sections = {s.name: s for s in designs.sections(trials_of(design_of(DRAWN, rungs, 5)), [], "")}
    assert "64 of 320" not in sections["frequency"].text[0]
    assert "320 of 320 trajectories win: more often than by chance" in sections["frequency"].text[0]
    assert "None of them wins more often" in sections["negatives"].text[-1]


@pytest.mark.usefixtures("few_forests")
def test_stars_are_the_claims_that_hold_and_there_are_no_others():
    rng = np.random.default_rng(4)
    for shift in (0.0, 0.05):
        rungs = null(rng, "exchangeable", DRAWN)
        latent = np.array([words["objective.name"] == "latent_denoise" for words in DRAWN])
        for rung in rungs:
            rung.excess[latent] -= shift
        found = trials_of(design_of(DRAWN, rungs, 5))
        page, made = Page.of(found), list(designs.sections(found, ["objective.name"], ""))
        stars = sum(cell.endswith("*") for s in made for row in s.table for cell in row)
        assert stars == len(page.held)
        assert bool(stars) == bool(shift)


# what words do


@pytest.mark.filterwarnings("ignore:The MLE may be on the boundary")
def test_the_mixed_model_is_that_of_statsmodels():
    """Crossed random effects of recipe and seed, by restricted maximum likelihood."""
    rng = np.random.default_rng(8)
    drawn = LATE[::3]
    recipes, seeds = len(drawn), 4
    y = (
        0.02 * rng.normal(size=(recipes, 1))
        + 0.015 * rng.normal(size=(1, seeds))
        + 0.01 * rng.normal(size=(recipes, seeds))
    )
    y += 0.03 * np.array([[words["rewind.rule"] == "late"] for words in drawn])
    rung = rung_of(np.expm1(y), np.ones((recipes, seeds, 4)), np.ones((recipes, seeds, 4)))
    model = effects.fitted(design_of(drawn, [rung], seeds), rung)
    names, columns = effects.coded(drawn)
    table = pd.DataFrame({f"x{n}": np.repeat(c, seeds) for n, c in enumerate(columns)})
    table["y"] = y.ravel()
    table["recipe"] = np.repeat(np.arange(recipes), seeds)
    table["seed"] = np.tile(np.arange(seeds), recipes)
    formula = "y ~ " + " + ".join(f"x{n}" for n in range(len(columns)))
    theirs = smf.mixedlm(
        formula,
        table,
        groups=np.ones(len(table)),
        vc_formula={"recipe": "0 + C(recipe)", "seed": "0 + C(seed)"},
    ).fit(reml=True, method=["bfgs", "powell"])
    for n, (effect, name) in enumerate(zip(model.effects, names, strict=True)):
        assert (effect.word, effect.change) == name
        assert effect.estimate == pytest.approx(theirs.params[f"x{n}"], abs=2e-5)
        assert effect.of_recipes == pytest.approx(theirs.bse[f"x{n}"], rel=0.02)
    spreads = np.sqrt([*theirs.vcomp, theirs.scale])  # recipe, seed, rest
    assert [model.recipe, model.seed, model.rest] == pytest.approx(spreads, rel=0.02)


@pytest.mark.parametrize("interaction", [0.0, 0.01])
def test_a_word_without_effect_is_found_to_have_one_no_oftener_than_it_should(interaction):
    """Though all recipes of a seed may share what that seed does to a word."""
    rng, found, by_recipes = np.random.default_rng(9), [], []
    latent = np.array([[words["objective.name"] == "latent_denoise"] for words in LATE])
    for _ in range(200):
        y = 0.02 * rng.normal(size=(64, 1)) + 0.01 * rng.normal(size=(1, 5))
        y = y + latent * interaction * rng.normal(size=(1, 5))
        rung = rung_of(y + 0.01 * rng.normal(size=(64, 5)), *np.ones((2, 64, 5, 4)))
        model = effects.fitted(design_of(LATE, [rung], 5), rung)
        found += [effect.p < 0.05 for effect in model.effects]
        (moved,) = (e for e in model.effects if e.word == "objective.name")
        by_recipes.append(st.t_of(moved.estimate, moved.of_recipes, 56)[1] < 0.05)
    assert np.mean(found) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(found))
    assert (np.mean(by_recipes) > 0.15) == bool(interaction)


@pytest.mark.usefixtures("few_forests")
def test_recipes_without_a_number_are_counted_and_nothing_is_claimed_where_they_are():
    """They are left out by their outcome: what is left says nothing of all."""
    rungs = null(np.random.default_rng(2), "exchangeable", DRAWN)
    rungs[0].excess[0, 0] = np.inf
    trials = trials_of(design_of(DRAWN, rungs, 5))
    page = Page.of(trials)
    assert [model.lost for model in page.models] == [1, 0]
    words = {word for words in LATE for word in words}
    assert {density for word, _, density in page.p if word in words} == {"0.0625"}
    (section,) = (s for s in designs.sections(trials, [], "") if s.name == "effects")
    assert "At density 0.25, 1 of 64 recipes have no number on some seed" in section.text[-1]


@pytest.mark.usefixtures("few_forests")
def test_a_later_look_at_the_same_seeds_has_less_of_the_level():
    trials = trials_of(design_of(DRAWN, null(np.random.default_rng(2), "paired", DRAWN), 5))
    key = ("", WINS, "0.25")
    for look, holds in ((1, True), (2, False)):
        page = Page.of(trials, look)
        page.__dict__["adjusted"] = {key: 0.02}
        assert page.held == [key] * holds
        text = next(designs.sections(trials, [], "", look)).text
        assert any(f"look {look} at these seeds" in line for line in text)


def test_words_of_one_value_and_too_few_recipes_have_no_model():
    for drawn in (LATE[:6], [{"prune.criterion": "taylor"}] * 3):
        rung = random_rung(len(drawn), 3)
        design = design_of(drawn, [rung], 3)
        assert effects.fitted(design, rung) is None
    rung = random_rung(64, 3)
    holes = rung.excess.copy()
    holes[0, 0] = np.inf
    assert effects.fitted(design_of(LATE, [rung], 3), replace(rung, excess=holes)).recipes == 63


def test_the_word_that_decides_is_the_most_important():
    rng = np.random.default_rng(1)
    y = 0.005 * rng.normal(size=(64, 5))
    y += 0.1 * np.array([[words["prune.criterion"] == "taylor"] for words in LATE])
    rung = rung_of(y, *np.ones((2, 64, 5, 4)))
    found = effects.importances_of(design_of(LATE, [rung], 5), rung)
    shares = {each.word: each.mean for each in found}
    assert set(shares) == {
        *("objective.name", "prune.criterion", "prune.budget", "rewind.rule", "train.lr")
    }
    assert max(shares, key=shares.get) == "prune.criterion"
    assert shares["prune.criterion"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    assert found[0].mean > found[0].chance


def test_without_any_effect_no_word_is_more_important_than_by_chance():
    """A number of many values gets most of what there is: without chance beside it, it misleads."""
    rng = np.random.default_rng(3)
    rung = rung_of(0.02 * rng.normal(size=(64, 5)), *np.ones((2, 64, 5, 4)))
    found = effects.importances_of(design_of(LATE, [rung], 5), rung)
    assert found[0].word == "train.lr"
    assert 0.4 < found[0].mean < found[0].chance


# survival


def test_survival_is_of_matching_and_not_of_winning():
    """Controls that beat every ticket do not end a trajectory."""
    dense = rung_of([[0.0, 0.0], [0.0, 0.02]], *np.full((2, 2, 2, 4), -1.0), density=0.5)
    sparse = rung_of([[0.0, 0.02], [0.0, 0.02]], *np.full((2, 2, 2, 4), -1.0), density=0.1)
    drawn = [{"prune.criterion": "taylor"}, {"prune.criterion": "magnitude"}]
    design = design_of(drawn, [dense, sparse], 2)
    times, failed = survival.first_failures(design)
    assert times.tolist() == [[0.9, 0.9], [0.9, 0.5]]
    assert failed.tolist() == [[False, True], [False, True]]
    section = designs.survival(design, [])
    assert section.table[1:] == [["all", "0.5", "4", "1", "0.75"], ["all", "0.9", "3", "1", "0.50"]]
    assert section.text == ["all: 2 of 4 trajectories cease to match, half of them by 0.9."]


def test_groups_are_compared_only_where_both_have_failures():
    rung = rung_of([[0.0, 0.0], [0.02, 0.02]], *np.ones((2, 2, 2, 4)))
    design = design_of([{"rewind.rule": "late"}, {"rewind.rule": "init"}], [rung], 2)
    section = designs.survival(design, ["rewind.rule"])
    text = section.text
    assert section.table[-1] == ["init against late", "log-rank p", "–", "–", "–"]
    assert text[-1] == "init and late are not compared: one of them never ceases to match."
    assert "p " not in text[-1]
    both = rung_of([[0.0, 0.02], [0.02, 0.02]], *np.ones((2, 2, 2, 4)))
    section = designs.survival(replace(design, rungs=[both]), ["rewind.rule"])
    assert section.table[-1] == ["init against late", "log-rank p", "–", "–", "1"]
    assert "Log-rank p of init against late: 1, by permutation of whole" in section.text[-1]


def test_the_permutation_of_recipes_errs_as_it_should_where_log_rank_does_not():
    """Trajectories of one recipe fail together: log-rank takes 5 seeds for 5 recipes."""
    rng, mine, theirs, studies = np.random.default_rng(6), 0, 0, 300
    first = np.arange(16) < 8
    for _ in range(studies):
        latent = rng.normal(size=(16, 1)) + 0.1 * rng.normal(size=(16, 5))
        times = np.digitize(latent, [-1, 0, 1]).astype(float) + 1
        failed = times < 4
        mine += survival.logrank(times, failed, first, draws=199) <= 0.05
        _, p = survdiff(times.ravel(), failed.ravel(), np.repeat(first, 5))
        theirs += p <= 0.05
    assert mine / studies <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)
    assert theirs / studies > 0.15


def test_the_score_that_is_permuted_is_that_of_log_rank():
    """Two groups of four that never fail alike: as far apart are 2 of the 70 ways to part them."""
    times = np.array([[1.0]] * 4 + [[2.0]] * 4)
    failed, first = np.ones((8, 1), dtype=bool), np.arange(8) < 4
    assert survival.logrank(times, failed, first) == pytest.approx(2 / 70, abs=0.005)
    assert survival.logrank(times[::2], failed[::2], first[::2]) == pytest.approx(2 / 6, abs=0.02)


# the page


def test_a_design_of_the_former_kind_is_told_as_one():
    drawn = [
        {"objective.name": "denoise", "train.lr": 0.002 + 0.001 * n}
        if n < 4
        else {"objective.name": "latent_denoise", "train.lr": 0.007 + 0.001 * n}
        for n in range(8)
    ]
    text = " ".join(designs.remarks(Page(design_of(drawn, [random_rung(8, 3)], 3), {})))
    assert "a design of the former kind, which is not crossed: objective.name and train.lr" in text
    text = " ".join(designs.remarks(Page(design_of(LATE, [random_rung(64, 3)], 3), {})))
    assert "former" not in text
    assert "go together most (0." in text


def test_what_cannot_win_has_no_page():
    bare = [
        t
        for t in trials_of(design_of(LATE[:2], [random_rung(2, 2)], 2))
        if t.point.control == "none"
    ]
    with pytest.raises(ConfigError, match="no ticket has its re-initialised and shuffled masks"):
        Page.of(bare)
    only = [{"prune.criterion": "random"}]
    with pytest.raises(ConfigError, match="all recipes are negative controls"):
        Page.of(trials_of(design_of(only, [random_rung(1, 2)], 2)))


@pytest.mark.usefixtures("few_forests")
def test_the_page_has_a_table_for_every_number():
    rungs = [random_rung(len(DRAWN), 5, 4, d, n) for n, d in enumerate((0.25, 0.0625))]
    found = trials_of(design_of(DRAWN, rungs, 5))
    analysis = runpy.run_path(
        str(Path(designs.__file__).parents[2] / "analysis/ticket_frequency.py")
    )
    study = SimpleNamespace(
        of=lambda call: found, provenance=lambda trials: "Recorded.", look=lambda trials: 1
    )
    assert analysis["applies"](study) == ""
    made = list(analysis["sections"](study))
    assert [s.name for s in made] == [
        *("frequency", "negatives", "shares", "survival", "effects", "importances")
    ]
    assert all(s.table for s in made)
    assert made[0].text[-1] == "Recorded."
    for section in made:
        assert {len(row) for row in section.table} == {len(section.table[0])}
