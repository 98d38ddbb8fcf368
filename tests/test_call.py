"""A page and a command line make one call, or every reason why not."""

import hashlib
import json
import math
import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from lthray.config.fields import ConfigError, words
from lthray.config.help_page import help_text
from lthray.config.options import Options, split
from lthray.config.presets import PRESETS
from lthray.config.trial import TrialConfig
from lthray.study.call import preview, resolve
from lthray.study.comparators import AGAIN, against, doubled, longer, shorter, spaces
from lthray.study.page import Confirmation, Design, Grid, Search, Study
from lthray.study.space import (
    Choice,
    Past,
    Range,
    Sampler,
    draw,
    frozen,
    memory,
    promoted,
    without,
)
from lthray.trial.recipe import trajectory

STUDIES = Path(__file__).parent.parent / "studies"
SPACE = {
    "prune.criterion": Choice(("magnitude", "random")),
    "prune.budget": Choice(("overall", "ramp", "sampled")),
    "prune.slope": Range(-2.0, 2.0, when=("prune.budget", ("ramp",))),
    **{f"prune.dials.{i}": Range(-1.0, 1.0, when=("prune.budget", ("sampled",))) for i in range(5)},
    "rewind.fraction": Choice((0.05, 0.1)),
}
SEARCH = Search(
    name="search",
    about="A question.",
    seeds=(0, 1),
    trials=6,
    space=lambda config: SPACE,
    words={"train.steps": 100},
    presets={"mnist": {"train.steps": 200}},
    smoke={"train.steps": 20},
    first=[{"prune.criterion": "magnitude", "prune.budget": "overall", "rewind.fraction": 0.05}],
)
CONFIRMED = replace(
    SEARCH,
    confirm=Confirmation(
        seeds=(101, 102, 103),
        presets={"mnist": (101,)},
        arms=lambda config: against("reinit", "shuffle", rungs=(-1,)),
        references=lambda config, doublings: [AGAIN, *doubled(config, doublings)],
        words={"measure.split": "test"},
        smoke={"measure.samples": 0},
    ),
)
OWN = Confirmation(
    seeds=(101,), arms=lambda c: against("reinit", rungs=(2,)), references=lambda c, n: ()
)
SECOND = replace(SEARCH, confirm=OWN)
DESIGN = Design(
    name="design",
    about="A share.",
    seeds=(0, 1),
    space=lambda config: {
        **{word: dial for word, dial in SPACE.items() if "dials" not in word},
        "prune.budget": Choice(("overall", "ramp")),
        "train.lr": Range(1e-3, 1e-2, log=True),
    },
    arms=lambda config: against("reinit", "shuffle"),
)
LIST = Grid(
    name="list",
    about="Another.",
    seeds=(0, 1, 2),
    points=lambda config: [{"control": "none"}, {"control": "reinit"}, {"control": "shuffle"}],
)


def call(study: Study, *argv: str):
    return resolve(study, argv)


def faults(study: Study, *argv: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        call(study, *argv)
    return caught.value.faults


def test_presets_pages_smoke_and_command_line_come_in_this_order():
    assert call(SEARCH).config.train.steps == 100
    assert call(SEARCH, "--preset", "mnist").config.train.steps == 200
    assert call(SEARCH, "--preset", "mnist", "--smoke").config.train.steps == 20
    assert call(SEARCH, "--smoke", "--train.steps", "30").config.train.steps == 30
    assert call(SEARCH, "--preset", "mnist", "--data-root", "/x").config.data.root == "/x"


def test_giving_a_searched_word_fixes_it():
    fixed = call(
        SEARCH,
        "--prune.criterion",
        "random",
        "--prune.budget",
        "sampled",
        "--prune.dials",
        "0",
        "0",
        "0",
        "1",
        "1",
    )
    assert set(fixed.space) == {"rewind.fraction"}
    assert {c.prune.criterion for c in preview(fixed)} == {"random"}
    assert all(c.prune.dials == (0, 0, 0, 1, 1) for c in preview(fixed))


def test_fixing_everything_leaves_one_point_a_seed():
    fixed = call(
        SEARCH,
        "--prune.criterion",
        "random",
        "--prune.budget",
        "overall",
        "--rewind.fraction",
        "0.1",
    )
    assert fixed.space == {}
    assert fixed.points == ({},)
    assert fixed.trials == 2


def test_fixing_a_word_of_a_list_merges_its_points():
    fixed = call(LIST, "--control", "reinit")
    assert fixed.points == ({},)
    assert fixed.trials == 3
    assert {(c.control, c.seed, c.stream) for c in preview(fixed)} == {
        ("reinit", s, s) for s in (0, 1, 2)
    }


def test_references_are_made_of_what_is_given_not_overruled_by_it():
    study = replace(LIST, references=lambda config: [AGAIN, longer(config)])
    found = call(study, "--train.steps", "30", "--prune.ladder", "0.5", "--rewind.rule", "late")
    again, last = preview(found)[-6::3]
    assert (again.rewind.rule, again.train.steps) == ("init", 30)
    assert (last.train.steps, last.prune.ladder) == (60, ())


def test_a_list_crosses_its_points_with_the_seeds():
    configs = preview(call(LIST))
    assert [(c.control, c.seed) for c in configs] == [
        (k, s) for k in ("none", "reinit", "shuffle") for s in (0, 1, 2)
    ]
    assert call(LIST, "--seeds", "7", "8").trials == 6
    assert call(LIST, "--trials", "4").trials == 4


def test_a_search_walks_through_its_seeds_and_tries_the_first_points_first():
    configs = preview(call(SEARCH))
    assert [c.seed for c in configs] == [0, 1, 0, 1, 0, 1]
    assert (configs[0].prune.criterion, configs[0].prune.budget, configs[0].rewind.fraction) == (
        "magnitude",
        "overall",
        0.05,
    )
    assert preview(call(SEARCH)) == configs
    assert preview(call(SEARCH, "--seed", "1"))[1:] != configs[1:]


def test_conditional_words_are_drawn_only_with_theirs():
    for config in preview(call(SEARCH, "--trials", "40")):
        assert bool(config.prune.dials) == (config.prune.budget == "sampled")
        assert config.prune.slope == 0 or config.prune.budget == "ramp"


def test_the_plan_names_the_call():
    plan = call(SEARCH).plan("data")
    for same in (
        ["--trials", "9"],
        ["--max-concurrent", "1"],
        ["--out", "elsewhere"],
        ["--cpus-per-trial", "2"],
    ):
        assert call(SEARCH, *same).plan("data") == plan
    for other in (
        ["--seed", "1"],
        ["--seeds", "3"],
        ["--smoke"],
        ["--train.lr", "0.1"],
        ["--prune.criterion", "random"],
    ):
        assert call(SEARCH, *other).plan("data") != plan
    assert call(SEARCH).plan("other data") != plan
    assert call(SEARCH).plan("data", "a ticket") != plan


def test_where_a_search_may_stop_a_trial():
    assert call(SEARCH).stops == {2}
    assert call(
        SEARCH, "--prune.ladder", *["0.8", "0.7", "0.6", "0.5", "0.4", "0.3", "0.2", "0.1", "0.05"]
    ).stops == {2, 4, 8}
    assert call(SEARCH, "--prune.ladder", "0.5").stops == set()


def test_shared_configs_cover_every_seed_and_anchor():
    shared = call(SEARCH).shared()
    assert {(c.seed, c.rewind.fraction) for c in shared} == {
        (s, f) for s in (0, 1) for f in (0.05, 0.1)
    }


# every bad word has its line

BAD = [
    (["--trials", "0"], "--trials = '0': must be greater than or equal to 1"),
    (["--trials", "many"], "--trials = 'many'"),
    (["--seed", "-1"], "--seed = '-1'"),
    (["--seeds", "1", "1"], "--seeds = 1 1: each seed once"),
    (["--seeds", "a"], "--seeds = 'a': must be a valid integer"),
    (["--seeds", "1.5"], "--seeds = '1.5': must be a valid integer"),
    (["--seeds", "-1"], "--seeds = '-1': must be greater than or equal to 0"),
    (["--seeds", "0", "9223372036854775808"], "must be less than 2147483648 (entry 1)"),
    (["--confirm-seeds", "7", "7"], "--confirm-seeds = 7 7: each seed once"),
    (["--seed", "9223372036854775808"], "must be less than 2147483648"),
    (["--seed", "1e3"], "--seed = '1e3': must be a valid integer"),
    (["--cpus-per-trial", "all"], "--cpus-per-trial = 'all': must be a valid integer"),
    (["--gpus-per-trial", "lots"], "--gpus-per-trial = 'lots': must be a valid number"),
    (["--max-concurrent", "0"], "--max-concurrent = '0'"),
    (["--cpus-per-trial", "0"], "--cpus-per-trial = '0'"),
    (["--gpus-per-trial", "-1"], "--gpus-per-trial = '-1'"),
    (
        ["--gpus-per-trial", "1.5"],
        "--gpus-per-trial = 1.5: must be a fraction of one GPU or a whole number",
    ),
    (["--gpus-per-trial", "nan"], "--gpus-per-trial = 'nan'"),
    (["--preset", "mnits"], "--preset = 'mnits': must be one of digits, mnist"),
    (["--out", "/proc/version/x"], "is a file"),
    (["--smoke", "perhaps"], "--smoke = 'perhaps'"),
    (["--smoke", "--smoke"], "--smoke: given twice"),
    (["--trials", "3", "--trials=3"], "--trials: given twice"),
    (["--max-concurrent", "3", "--max_concurrent", "4"], "--max_concurrent: given twice"),
    (["--train.lr", "1", "--train.lr", "1"], "--train.lr: given twice"),
    (["--no-smoke"], "--no-smoke: no such option; did you mean --smoke?"),
    (["--train..lr=1"], "--train..lr=1: no such option; did you mean --train.lr?"),
    (["---trials", "1"], "---trials: no such option; did you mean --trials?"),
    (["--=3"], "--=3: no such option"),
    (["--", "--trials", "1"], "--: no such option"),
    (["-t", "3"], "'-t': options begin with --"),
    (["--set", "train.lr=1"], "--set: no such option"),
    (["--set=a\nerror: forged\x1b[31m"], r"--set=a\nerror: forged\x1b[31m: no such option"),
    (["--train.lr", "1", "a\nerror: forged"], r"needs one value, got 1 a\nerror: forged"),
    (
        ["--train.lr", "a\nerror: forged"],
        r"--train.lr = 'a\nerror: forged': must be a valid number",
    ),
    (["a\nerror: forged"], r"'a\nerror: forged': options begin with --"),
    (["--prune.layers", "conv_in"], "--prune.layers"),
    (["--prune.criterio", "random"], "did you mean --prune.criterion?"),
    (["--criterion", "random"], "did you mean --prune.criterion?"),
    (["--trails", "3"], "did you mean --trials?"),
    (["--prune.criterion"], "--prune.criterion: needs one value, got none"),
    (["--prune.criterion", "random", "magnitude"], "needs one value, got random magnitude"),
    (["random"], "'random': options begin with --"),
    (["--prune.ladder", "0.5", "0.6"], "--prune.ladder = (0.5, 0.6): densities must fall"),
    (["--train.lr=fast"], "--train.lr = 'fast'"),
    (["--stream", "3"], "--stream: no such option"),
    (["--address", "local"], "leave it out for a private Ray"),
    (["--address", "ray://head:10001"], "is a driver on a node of the cluster"),
]


@pytest.mark.parametrize(("argv", "said"), BAD, ids=[" ".join(argv) for argv, _ in BAD])
def test_bad_words(argv, said):
    lines = faults(SEARCH, *argv)
    assert any(said in line for line in lines), lines
    assert all("\n" not in line for line in lines)


def test_all_bad_words_at_once():
    lines = faults(
        SEARCH,
        "--trials",
        "0",
        "--preset",
        "x",
        "--prune.ladder",
        "0.5",
        "0.6",
        "--rewind.rule",
        "y",
        "--nix",
        "1",
    )
    assert len(lines) == 5


def test_ways_to_write_a_word():
    known = {**words(Options), **words(TrialConfig)}
    flat, wrong = split(
        ["--max_concurrent=3", "--prune.ladder=0.5,0.25", "--train.channels-last", "--dry-run"],
        known,
    )
    assert wrong == []
    assert flat == {
        "max_concurrent": "3",
        "prune.ladder": ["0.5", "0.25"],
        "train.channels_last": True,
        "dry_run": True,
    }
    assert (
        call(SEARCH, "--data.channels", "1").config.data.channels == 1
    )  # text, of words that are numbers
    flat, _ = split(["--prune.slope", "-1.5", "--prune.layers", "conv_in", "1", "*", "free"], known)
    assert flat == {"prune.slope": "-1.5", "prune.layers": [["conv_in", "1"], ["*", "free"]]}


def test_help_names_every_option_what_it_may_be_and_its_default():
    text = help_text("usage", "About.", {"study": words(Options), "config": words(TrialConfig)})
    for word in [*words(TrialConfig), *(w.replace("_", "-") for w in words(Options))]:
        assert f"--{word}" in text
    assert "--prune.scored {trained,average,rewound} [trained]" in text
    assert "--train.lr NUMBER [0.006]" in text
    assert "exit codes" in text
    assert max(map(len, text.splitlines())) <= 128


# the memory of a search


def test_before_enough_trials_have_ended_a_draw_does_not_depend_on_any():
    past = [Past({"rewind.fraction": 0.05}, [0.1 * n, 0.2], "complete") for n in range(3)]
    past += [Past({"rewind.fraction": 0.1})] * 5
    assert memory(SPACE, 0, 4, past).trials == []
    for seed in range(20):
        taught = memory(SPACE, seed, 4)
        for trial in past:
            taught.add_trial(frozen(SPACE, trial, trial.state))
        assert draw(SPACE, taught.ask(), {}) == draw(SPACE, memory(SPACE, seed, 4).ask(), {})


@pytest.mark.parametrize(
    "words",
    [
        ("--prune.early", "0.3", "--regime.name", "static", "--seed", "24"),
        ("--train.steps", "20"),  # of which 2 % are no step
    ],
)
def test_a_search_draws_no_trial_that_a_rule_refuses_however_much_it_has_learnt(words):
    """The trial of a number is always drawn alike, so a study could never have gone on."""
    page = runpy.run_path(str(STUDIES / "layerwise_search.py"))["STUDY"]
    asked = resolve(page, ["--trials", "12", *words])
    past: dict[int, Past] = {}
    for number in range(asked.trials):
        drawn = asked.sampler.draw(number, past).words
        asked.config_of(number, drawn)
        past[number] = Past(drawn, [math.sin(number)] * 3, "complete")
    assert asked.shared()


def test_a_search_of_which_no_trial_can_be_is_told_so():
    never = replace(SEARCH, space=lambda config: {"rewind.fraction": Choice((0.001, 0.002))})
    asked = resolve(never, ["--train.steps", "20"])
    with pytest.raises(ConfigError, match=r"rewind\.fraction"):
        preview(asked)


def test_a_trial_cut_short_never_looks_better_than_one_that_went_on():
    import optuna

    past = [
        Past({"rewind.fraction": 0.05}, [-0.05, -0.04], "pruned"),
        Past({"rewind.fraction": 0.1}, [0.0, 0.1, 0.2, 0.3], "complete"),
        Past({"rewind.fraction": 0.1}, [-9.0], "failed"),
        Past({"rewind.fraction": 0.05}),
        Past({"rewind.fraction": 0.1}, [0.1, float("nan")], "complete"),
    ]
    study = memory(SPACE, 0, 3, past)
    states = optuna.trial.TrialState
    expected = [states.PRUNED, states.COMPLETE, states.RUNNING, states.PRUNED]
    assert [t.state for t in study.trials] == expected  # the failed one teaches nothing
    assert study.best_trial.number == 1
    assert study.best_trial.value == 0.3
    assert study.trials[0].intermediate_values == {1: -0.05, 2: -0.04}


def test_a_search_learns_from_what_it_remembers():
    space = {"rewind.fraction": SPACE["rewind.fraction"]}
    past = {}
    for number in range(20):
        fraction = (0.05, 0.1)[number % 2]
        score = 0.0 if fraction == 0.1 else 1.0
        past[number] = Past({"rewind.fraction": fraction}, [score], "complete")
    sampler = Sampler(space, {}, seed=0, startup=4, repetitions=100)  # each is on another seed
    drawn = [sampler.draw(n, past).words["rewind.fraction"] for n in range(20, 40)]
    assert drawn.count(0.1) > 14


def test_seeds_decide_what_is_drawn():
    def first(seed):
        sampler = Sampler(SPACE, {}, seed, startup=4, repetitions=4)
        return [sampler.draw(number, {}).words for number in range(4)]

    assert first(0) == first(0) != first(1)
    assert len({repr(words) for words in first(0)}) > 1


def test_halving_keeps_the_best_share_and_the_first_to_come():
    assert promoted(9.0, [], 2)
    assert not promoted(9.0, [1.0], 2)
    assert promoted(0.5, [1.0], 2)
    assert promoted(2.0, [1.0, 3.0], 2)
    assert not promoted(4.0, [1.0, 3.0], 2)
    assert promoted(9.0, [1.0, 2.0], 1)
    scores = [0.3, 0.1, 0.4, 0.2, 0.5, 0.9, 0.6, 0.8]
    kept = [s for i, s in enumerate(scores) if promoted(s, scores[:i], 2)]
    assert 3 <= len(kept) <= 5


def test_without_drops_entries_of_a_given_tuple_and_what_can_never_be_drawn():
    assert not any(
        word.startswith("prune.dials")
        for word in without(SPACE, {"prune.dials"}, {"prune.budget": "sampled"})
    )
    assert set(without(SPACE, {"prune.budget"}, {"prune.budget": "ramp"})) == {
        "prune.criterion",
        "prune.slope",
        "rewind.fraction",
    }


# search, then confirm


def test_a_confirmation_runs_frozen_recipes_with_all_arms_on_fresh_seeds_and_the_test_split():
    first = call(CONFIRMED, "--trials", "4")
    recipes = [
        {"prune.criterion": "magnitude", "prune.budget": "erk"},
        {"prune.budget": "uniform", "rewind.fraction": 0.1},
    ]
    again = first.confirmation(recipes)
    configs = preview(again)
    assert {c.seed for c in configs} == {c.stream for c in configs} == {101, 102, 103}
    assert {c.measure.split for c in configs} == {"test"}
    assert (
        len(configs) == again.trials == 3 * (2 * 3 + 2)
    )  # recipes x (ticket, two controls), two references
    assert [(c.control, c.prune.budget) for c in configs[::3]] == [
        *(
            ("none", "erk"),
            ("none", "uniform"),
            ("reinit", "erk"),
            ("reinit", "uniform"),
            ("shuffle", "erk"),
        ),
        *(("shuffle", "uniform"), ("dense", "overall"), ("none", "overall")),
    ]
    assert {c.rungs for c in configs if c.control in ("reinit", "shuffle")} == {(-1,)}
    assert configs[-1].train.steps == 2 * first.config.train.steps
    assert (first.phase, again.phase, again.recipes) == ("search", "confirm", 0)
    assert again.plan("x") != first.plan("x")
    assert again.plan("x") == call(CONFIRMED).confirmation(recipes).plan(
        "x"
    )  # more trials, the same recipes: the same call
    assert again.plan("x") != first.confirmation(recipes[:1]).plan("x")


def test_each_kind_of_dense_network_has_references_of_its_own():
    recipes = [
        {"objective.name": "latent_denoise"},
        {"train.lr": 1e-3},
        {"prune.budget": "erk"},
        {"prune.budget": "lamp"},
    ]
    again = call(CONFIRMED).confirmation(recipes)
    dense = [p for p in again.points if p.get("train.steps") == 200]
    assert [{w: v for w, v in p.items() if w in ("objective.name", "train.lr")} for p in dense] == [
        {"objective.name": "latent_denoise"},
        {"train.lr": 1e-3},
        {},
    ]
    assert len(again.points) == 3 * len(recipes) + 2 * 3


JOINT = replace(
    SEARCH,
    space=lambda config: {"objective.name": Choice(spaces(config)), **SPACE},
    first=[
        {"objective.name": name, "rewind.fraction": 0.05} for name in ("denoise", "latent_denoise")
    ],
)


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        ((), ["denoise", "latent_denoise"]),
        (
            ("--model.channels", "8,8,8,8"),
            ["denoise"],
        ),  # latents have half the side, which three halvings do not fit
        (("--data.augment", "shift"), ["denoise"]),
        (("--objective.name", "latent_denoise"), [None]),
        (("--smoke",), ["denoise", "latent_denoise"]),
    ],
)
def test_a_search_tries_first_what_it_may_draw(argv, found):
    assert [point.get("objective.name") for point in call(JOINT, *argv).first] == found


def test_what_trials_share_is_the_dense_network_of_each_space_with_all_anchors():
    shared = call(JOINT).shared()
    assert {(c.seed, c.objective.name, c.rewind.fraction) for c in shared} == {
        (seed, name, k)
        for seed in (0, 1)
        for name in ("denoise", "latent_denoise")
        for k in (0.05, 0.1)
    }


def test_seeds_of_a_confirmation():
    assert call(CONFIRMED).confirm_seeds == (101, 102, 103)
    assert call(CONFIRMED, "--preset", "mnist").confirm_seeds == (101,)
    assert call(CONFIRMED, "--smoke").confirm_seeds == (101, 102)
    assert call(CONFIRMED, "--confirm-seeds", "5", "6").confirmation([{}]).seeds == (5, 6)
    assert call(CONFIRMED, "--smoke").confirmation([{}]).config.measure.samples == 0
    assert [call(CONFIRMED, "--recipes", n).recipes for n in "023"] == [0, 2, 3]
    assert (call(CONFIRMED).recipes, call(SEARCH).recipes) == (1, 0)


@pytest.mark.parametrize(
    ("study", "argv", "said"),
    [
        (CONFIRMED, ["--seeds", "3", "101"], "--confirm-seeds 101: is a seed of the search"),
        (CONFIRMED, ["--confirm-seeds", "0", "9"], "--confirm-seeds 0: is a seed of the search"),
        (CONFIRMED, ["--recipes", "4"], "--recipes = '4': must be less than or equal to 3"),
        (LIST, ["--recipes", "1"], "--recipes: list is no search"),
        (LIST, ["--confirm-seeds", "1"], "--confirm-seeds: list is no search"),
        (LIST, ["--local", "--address", "auto"], "--local: runs in this process and joins no cl"),
        (LIST, ["--doublings", "2"], "--doublings: list is no search, so there is nothing to co"),
        (LIST, ["--seed", "0"], "--seed: list is no search, so there is nothing to draw"),
        (
            SECOND,
            ["--prune.ladder", "0.5"],
            "rungs = (2,): rounds of a control are 1 to 1 (prune.ladder), or -1",
        ),
    ],
)
def test_options_that_would_do_nothing_are_refused(study, argv, said):
    assert said in faults(study, *argv)[0]


# the kinds of a study


@pytest.mark.parametrize(
    ("study", "phase", "stops"),
    [(SEARCH, "search", {2}), (LIST, "list", set()), (DESIGN, "design", set())],
)
def test_each_kind_names_its_phase_and_only_a_search_stops_trials(study, phase, stops):
    made = call(study)
    assert (made.phase, made.stops) == (phase, stops)
    assert bool(made.space) == (study is SEARCH)
    assert bool(made.points) == (study is not SEARCH)
    assert made.plan("x")["search"] == [4, 2, 2]  # of every kind, as every plan has it


# A finished study is found by its plan: a page whose plan changes is another study, and begins
# anew. So these change only where a page, or the vocabulary that it draws from, is meant to.
PLANS = {
    "architectures": "74737972e16257f30b287789403092e793c5947b10549541ef61699302f891ff",
    "baseline_tuning": "4c33acbecd205dbd0d5658910faa554f1b25e426bb65298fe3bf9a0ccbfa2bae",
    "budget": "81650e9a88586d41dced614cd56a74d7e9fbbf967789c595b305f06538ede922",
    "convergence": "a0bebe19618b9108b4b7d84400f98ed69961ec1dcf91af626c5e2e32269cd9a3",
    "efficiency": "ae8aeb954873c940d3b544d4303e3494473d909178ff66df8aaa8b1c555fe8e7",
    "frequency": "b53f9bb132985322c6630c35c32b03f11ce58a580faed6fc7a1d9dd104477971",
    "layerwise_search": "1bc6545b81386a30dff5c8b18b80f38b7b6ca4b9c63fd4a7c29e814ae64ea499",
    "layerwise_search confirmed": "316173f0495d2c62532c348a88a25d3b247c6186819f5404e837acac7a089878",  # noqa: E501
    "pruning_methods": "fc8980c0c55fb3576f8d56bf62210417b3649ef11d4779792eacee70b3e86546",
    "rewinding": "8df2401596e3a8ab69bcbaf27329d0cc92032342694ee12b4dce35b5b0912265",
    "robustness": "89319092f007cf008645ac4edd35b751dba086cbf291c4eeb69a7eb867a97396",
    "sanity": "4095c7d9577144d9253424b2d4a7d3305ebcd776b7900225865cd6a8edf875b6",
    "sanity cifar10": "2b95a9b21feafe767629535bcc05f86584be50e63e265d169f253f748b41fe47",
    "sanity smoke": "ef4ddac2c6b29055f173428dd6d01d1188e699ab04dc5bd0f1ac1eb81f7c56c5",
    "transfer": "3d025049736d81c3628b8ba71faf475408bbfc00373f7196ea19f678959795d5",
    "width": "32ea8441d8df0ec435ae48081d3f1a29688053614e92cdbbd88826fd181a42a9",
}
VARIANTS = {"": [], "cifar10": ["--preset", "cifar10"], "smoke": ["--smoke"], "confirmed": []}
RECIPES = [
    {"prune.criterion": "magnitude", "rewind.fraction": 0.05},
    {"objective.name": "latent_denoise"},
]


@pytest.mark.parametrize("name", PLANS)
def test_plans_of_the_studies_are_as_they_were(name):
    page, _, variant = name.partition(" ")
    made = call(runpy.run_path(str(STUDIES / f"{page}.py"))["STUDY"], *VARIANTS[variant])
    made = made.confirmation(RECIPES) if variant == "confirmed" else made
    text = json.dumps(made.plan("digest"), sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == PLANS[name]


PAGES = sorted({name.partition(" ")[0] for name in PLANS})
OURS = ("model.", "train.")  # words that the page of ResNet-20 lays over CIFAR-10


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"digits"}))
@pytest.mark.parametrize("page", PAGES)
def test_a_smoke_run_of_every_preset_is_that_of_the_digits(page, preset):
    study = runpy.run_path(str(STUDIES / f"{page}.py"))["STUDY"]
    of_digits, made = (call(study, "--smoke", *more) for more in ([], ["--preset", preset]))
    assert made.trials == of_digits.trials
    assert made.config.data.side == 8
    assert made.config.data.fraction == 1  # it would be one of other data too, such as --data.name
    usual, words = of_digits.config.flat(), made.config.flat()
    changed = {word for word in words if words[word] != usual[word]}
    is_theirs = page == "sanity" and preset == "cifar10"
    allowed = ("data.", *OURS, "prune.") if is_theirs else ("data.",)
    assert all(word.startswith(allowed) for word in changed), changed
    for word in ("train.steps", "train.batch", "measure.images", "measure.samples"):
        assert word not in changed


@pytest.mark.parametrize("page", PAGES)
def test_a_smoke_run_sees_few_images(page):
    """Images through networks, there and back three times, which is nearly all that it computes."""
    made = call(runpy.run_path(str(STUDIES / f"{page}.py"))["STUDY"], "--smoke")
    configs = preview(made)
    if made.recipes:
        configs += preview(made.confirmation([{}]))
    trained: dict[str, int] = {}
    measured: dict[str, int] = {}
    for trial in map(trajectory, configs):
        for key, run in trial.runs.items():
            first, last = run.spec["span"]
            trained[key] = 3 * (last - first) * trial.config.train.batch
        measure = trial.config.measure
        each = measure.images * measure.timesteps * (1 + measure.checkpoints)
        measured |= {rung.measures["loss"].key: each for rung in trial.shown}
    assert sum(trained.values()) + sum(measured.values()) < 2_000_000


def test_every_study_has_its_plan_here():
    pages = {path.stem for path in STUDIES.glob("*.py")} - {"throughput"}  # which is a benchmark
    assert pages == {name.partition(" ")[0] for name in PLANS}


@pytest.mark.parametrize(("doublings", "steps"), [(0, []), (1, [200]), (3, [200, 400, 800])])
def test_a_confirmation_trains_dense_networks_as_far_as_it_is_asked(doublings, steps):
    base = TrialConfig.from_flat({"train.steps": 100})
    assert [words["train.steps"] for words in doubled(base, doublings)] == steps
    own = call(CONFIRMED, "--doublings", str(doublings), "--train.steps", "100").confirmation(
        RECIPES
    )
    longest = sorted({point["train.steps"] for point in own.points if "train.steps" in point})
    assert longest == steps


@pytest.mark.parametrize(
    ("steps", "warmup", "half"), [(400, 0, {}), (400, 300, {"train.warmup": 199})]
)
def test_a_dense_network_of_half_the_steps_is_one_that_can_be_trained(steps, warmup, half):
    base = TrialConfig.from_flat({"train.steps": steps, "train.warmup": warmup})
    words = shorter(base)
    assert words == {"train.steps": 200, "prune.ladder": (), "measure.rounds": (0,), **half}
    assert TrialConfig.from_flat(words, base).train.steps == 200


def test_samples_are_taken_of_the_controls_that_are_named():
    arms = against("reinit", "shuffle", "small_dense", rungs=(2, -1), sampled=("shuffle",))
    assert [arm.get("measure.rounds") for arm in arms] == [None, (0,), (0, -1), (0,)]


# designs


def test_a_design_is_frozen_crossed_with_arms_and_seeds():
    found = call(DESIGN)
    assert (found.phase, found.space) == ("design", {})
    words = ("control", "rungs", "measure.rounds")
    tickets = [{w: v for w, v in p.items() if w not in words} for p in found.points]
    cells = {tuple(v for v in p.values() if isinstance(v, str)) for p in tickets}
    count = len(tickets) // 3
    assert count > 2 * len(cells)
    assert found.trials == 3 * count * 2
    assert [p["control"] for p in found.points[::count]] == ["none", "reinit", "shuffle"]
    assert tickets[:count] == tickets[count : 2 * count] == tickets[2 * count :]
    for point in tickets[:count]:
        assert ("prune.slope" in point) == (point["prune.budget"] == "ramp")
    assert call(DESIGN).points == found.points
    assert len(call(DESIGN, "--smoke").points) < len(found.points)
    few = call(replace(DESIGN, space=lambda config: {"prune.criterion": SPACE["prune.criterion"]}))
    assert len(few.points) == 2 * 3  # a cell without a number has one point


def test_negative_controls_are_laid_over_a_few_points_and_never_over_a_given_word():
    rules = [{"rewind.rule": "random"}, {"prune.criterion": "random"}]
    page = replace(DESIGN, negatives=lambda config: rules, rare=8)
    plain, found = call(DESIGN).points, call(page).points
    more = [p for p in found if p not in plain]
    assert 0 < len(more) <= len(plain) // 4
    assert {p.get("rewind.rule") for p in more} == {None, "random"}
    assert len(call(page, "--rewind.rule", "init").points) < len(found)
    given = call(page, "--rewind.rule", "init", "--prune.criterion", "taylor")
    sloped = call(page, "--prune.budget", "ramp", "--rewind.rule", "init").points
    assert all("prune.slope" in p for p in sloped), "what hangs on a given word is kept"
    assert not any("random" in p.values() for p in given.points)
