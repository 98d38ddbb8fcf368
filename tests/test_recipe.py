"""The steps of a trial: keys say what a thing is, and the graph says what it is made from.

Keys change with what changes the thing, and with nothing else. The golden ones pin them.
"""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from safetensors.torch import save_file

from lthray.config import vocabulary
from lthray.config.fields import ConfigError, words
from lthray.config.labels import name_of, recipe_of
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import Criterion
from lthray.core.keys import key_of
from lthray.prune.rewinds import REWINDS
from lthray.task import inputs
from lthray.trial.points import point
from lthray.trial.recipe import fresh_seed, trajectory
from lthray.trial.sources import twin_config
from lthray.trial.steps import (
    STORED,
    VERSIONS,
    Step,
    alike,
    describe,
    history,
    lineage,
    parting,
    ready,
    walk,
)
from lthray.trial.trajectory import Trajectory, place_of
from lthray.trial.workshop import workshop_of

from .conftest import TINY, tiny


def keys(**flat) -> dict[str, list[str]]:
    chosen = trajectory(TrialConfig.from_flat({w.replace("__", "."): v for w, v in flat.items()}))
    return {
        "dense": [chosen.rungs[0].chain.key],
        "masks": [rung.mask.key for rung in chosen.rungs[1:]],
        "runs": [rung.shown.key for rung in chosen.rungs[1:]],
        "rounds": [rung.round for rung in chosen.rungs],
    }


BASE = keys()


# word and value -> which keys stay as they are
@pytest.mark.parametrize(
    ("word", "value", "same"),
    [
        ("data.root", "/elsewhere", {"dense", "masks", "runs", "rounds"}),
        ("data.download", True, {"dense", "masks", "runs", "rounds"}),
        ("measure.split", "test", {"dense", "masks", "runs"}),
        ("measure.images", 100, {"dense", "masks", "runs"}),
        ("measure.checkpoints", 5, {"dense", "masks", "runs"}),
        ("measure.samples", 0, {"dense", "masks", "runs"}),
        ("rewind.fraction", 0.1, {"dense"}),
        ("rewind.rule", "init", {"dense"}),
        ("rewind.state", "reset", {"dense"}),
        ("control", "reinit", {"dense", "masks"}),
        ("control", "small_dense", {"dense", "masks"}),
        ("fork", 1, {"dense", "masks"}),
        ("measure.perturbations", 3, {"dense", "masks", "runs"}),
        ("measure.sensitivity", True, {"dense", "masks", "runs"}),
        ("measure.connected", True, {"dense", "masks", "runs"}),
        ("prune.criterion", "random", {"dense"}),
        ("prune.budget", "erk", {"dense"}),
        ("prune.layers", (("*", "free"),), {"dense"}),
        ("seed", 1, set()),
        ("stream", 1, set()),
        ("train.lr", 1e-3, set()),
        ("train.steps", 800, set()),
        ("train.compile", "default", set()),
        ("train.channels_last", True, set()),
        ("data.augment", "flip", set()),
        ("data.fraction", 0.5, set()),
        ("model.channels", (16, 16), set()),
        ("objective.schedule", "squaredcos_cap_v2", set()),
    ],
)
def test_what_a_word_changes(word, value, same):
    found = keys(**{word: value})
    assert {kind for kind in BASE if found[kind] == BASE[kind]} == same


def test_a_ladder_shares_its_beginning():
    found = keys(**{"prune.ladder": (0.5, 0.25, 0.1)})
    assert found["masks"][:2] == BASE["masks"][:2]
    assert found["masks"][2] != BASE["masks"][2]
    assert found["rounds"][0] == BASE["rounds"][0]
    ladders = ((0.5, 0.25), (0.5, 0.1))
    ours, theirs = (trajectory(tiny(prune__ladder=ladder)).rungs[1].measures for ladder in ladders)
    differ = {name for name in ours if ours[name].key != theirs[name].key}
    assert ours.keys() == theirs.keys()
    assert differ == {"ticket"}  # the file names the trial that it comes from


def test_rules_that_share_a_first_cut_share_its_mask():
    assert keys(**{"rewind.rule": "init"})["masks"][0] == BASE["masks"][0]
    assert keys(**{"rewind.rule": "init"})["masks"][1] != BASE["masks"][1]


@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_masks_over_given_weights_differ_by_seed_where_something_is_drawn(monkeypatch, criterion):
    """Chance itself, or the images that a criterion sees."""
    monkeypatch.setattr(inputs, "digest_of", lambda folder, *_: "given" if folder else "")
    words = {"model.pretrained": "folder", "prune.criterion": criterion, "measure.samples": 0}
    a, b = (keys(**words, seed=seed) for seed in (0, 1))
    assert a["dense"] == b["dense"]  # the same weights, the same stream
    blind = criterion in ("magnitude", "movement", "magnitude_increase", "synflow")
    assert bool(set(a["masks"]) & set(b["masks"])) == blind


def test_golden_keys():
    """Hold the keys: if this fails, stored results of others no longer match.

    Then raise the kind's version, and say so in the commit.
    """
    found = [key[:12] for kind in ("dense", "masks", "runs", "rounds") for key in BASE[kind][:2]]
    assert found == GOLDEN_KEYS


GOLDEN_KEYS = [
    "633986324c85",
    "db4b7693f01e",
    "884f0e17e738",
    "0f867e7bca55",
    "795684f4ccc5",
    "3841ec8ad712",
    "b78356ac1bf0",
]


def test_golden_defaults():
    """A changed default changes every key that leaves it out.

    Keep this list, or raise the versions.
    """
    assert {
        word: default for word, (_, default, _) in words(TrialConfig).items()
    } == GOLDEN_DEFAULTS


GOLDEN_DEFAULTS: dict[str, object] = {
    "seed": 0,
    "stream": 0,
    "data.name": "digits",
    "data.root": "",
    "data.side": 0,
    "data.channels": 0,
    "data.classes": 0,
    "data.width": 0,
    "data.ground": "white",
    "data.skip_bad": False,
    "data.download": False,
    "data.fraction": 1.0,
    "data.augment": "none",
    "model.name": "unet",
    "model.channels": (16, 32),
    "model.layers": 1,
    "model.latent": 2,
    "model.attention": (),
    "model.groups": 8,
    "model.head": 8,
    "model.conditional": False,
    "model.dropout": 0.0,
    "model.hidden": (300, 100),
    "model.pretrained": "",
    "objective.name": "denoise",
    "objective.timesteps": 1000,
    "objective.schedule": "linear",
    "objective.prediction": "epsilon",
    "objective.kl": 1e-4,
    "latent.channels": 2,
    "latent.widths": (16, 32),
    "latent.groups": 8,
    "latent.steps": 1000,
    "latent.pretrained": "",
    "train.steps": 400,
    "train.batch": 32,
    "train.optimizer": "adam",
    "train.lr": 0.006,
    "train.warmup": 0,
    "train.decay": "cosine",
    "train.floor": 0.1,
    "train.momentum": 0.9,
    "train.weight_decay": 0.0,
    "train.clip": 1.0,
    "train.ema": 0.1,
    "train.autocast": "none",
    "train.channels_last": False,
    "train.compile": "none",
    "prune.criterion": "magnitude",
    "prune.scored": "trained",
    "prune.scoring_steps": 1,
    "prune.images": 128,
    "prune.terms": 10,
    "prune.threshold": 0.05,
    "prune.budget": "overall",
    "prune.slope": 0.0,
    "prune.dials": (),
    "prune.granularity": "layer",
    "prune.gamma": 1.0,
    "prune.between": "tickets",
    "prune.early": 0.0,
    "prune.looks": 10,
    "prune.least": 0.0,
    "prune.unit": "weight",
    "prune.group": 4,
    "prune.ladder": (0.5, 0.25, 0.125, 0.0625),
    "prune.layers": (),
    "rewind.rule": "late",
    "rewind.fraction": 0.05,
    "rewind.anchor": "dense",
    "rewind.state": "rewound",
    "regime.name": "static",
    "regime.every": 10,
    "regime.until": 0.75,
    "regime.share": 0.3,
    "regime.penalty": 1.0,
    "regime.power": 1,
    "control": "none",
    "sigma": 0.5,
    "rates": (0.5, 1.0, 2.0),
    "draw": 0,
    "fork": 0,
    "rungs": (),
    "measure.split": "validation",
    "measure.images": 300,
    "measure.timesteps": 20,
    "measure.checkpoints": 10,
    "measure.samples": 400,
    "measure.samplers": ("ddim",),
    "measure.sampling_steps": (20,),
    "measure.rounds": (0, -1),
    "measure.perturbations": 0,
    "measure.sensitivity": False,
    "measure.connected": False,
    "measure.inception": "",
    "measure.efficientnet": False,
    "measure.robust": 0,
    "measure.attack": 20,
    "data.scrambled": False,
    "origin": "",
    "elastic": "interpolate",
    "source.words": (),
    "source.seeds": 0,
    "source.takes": "ticket",
    "source.align": "none",
}


def test_costs_of_a_trajectory():
    chosen = trajectory(tiny())
    assert [r.shown.length for r in chosen.rungs] == [8, 6, 6]
    assert [history(r.shown) for r in chosen.rungs] == [8, 8, 8]
    assert [r.spent for r in chosen.rungs] == [8, 14, 20]
    tuned = trajectory(tiny(rewind__rule="tuned"))
    assert [history(r.shown) for r in tuned.rungs] == [8, 14, 20]
    reinit = trajectory(tiny(control="reinit"))
    assert [history(r.shown) for r in reinit.rungs] == [8, 8, 8]
    assert [r.spent for r in reinit.rungs] == [8, 16, 22]
    assert len(reinit.runs) == 4  # dense, the first rung's chain, two controls


def test_what_was_spent_is_all_training_that_mask_and_weights_come_from():
    def spent(**words) -> list[int]:
        return [rung.spent for rung in trajectory(tiny(**words)).rungs]

    assert spent(fork=1) == [8, 14, 20]  # not the ticket's own run on the first stream
    assert spent(control="dense", fork=1, rewind__rule="init") == [8, 8, 8]  # a second dense run
    assert spent(control="small_dense", rates=(1.0,)) == [8, 8, 8]
    assert spent(control="small_dense") == [8, 24, 24]  # each rate is tried
    assert spent(control="one_shot") == [8, 14, 14]
    moving = {"regime__name": "rigl", "regime__every": 1, "control": "reinit"}
    assert spent(**moving) == [8, 8 + 6 + 8, 8 + 6 + 6 + 8]  # the ticket's run has moved the mask


@pytest.mark.parametrize("criterion", ["snip", "synflow", "magnitude"])
def test_what_is_cut_from_initial_weights_costs_one_run(criterion):
    words = {"prune__criterion": criterion, "prune__scored": "rewound", "rewind__rule": "init"}
    assert [rung.spent for rung in trajectory(tiny(**words)).rungs] == [8, 8, 8]
    midway = trajectory(tiny(**{**words, "rewind__rule": "late"}))
    assert [rung.spent for rung in midway.rungs] == [8, 14, 14]  # the dense run up to k


def test_masks_that_are_drawn_cost_no_training_that_they_do_not_see():
    def spent(**words) -> list[int]:
        drawn = {"prune__criterion": "random", "prune__budget": "erk", "rewind__rule": "init"}
        return [rung.spent for rung in trajectory(tiny(**drawn | words)).rungs]

    assert spent() == spent(regime__name="rigl", regime__every=1) == [8, 8, 8]
    assert spent(control="reinit") == [8, 8, 8]
    assert spent(prune__budget="lamp") == [8, 16, 24]  # it weighs what was trained
    assert spent(regime__name="gradual", regime__every=1) == [8, 16, 24]
    assert spent(rewind__rule="late") == [8, 14, 14]


def test_a_mask_that_two_seeds_decide_costs_the_training_of_both():
    tickets = trajectory(tiny(prune__budget="cka"))
    assert [rung.spent for rung in tickets.rungs] == [8, 2 * 8 + 6, 2 * (8 + 6) + 6]
    assert sum(run.length for run in tickets.runs.values()) >= tickets.rungs[-1].spent


def test_masks_of_new_weights_differ_by_seed_where_given_ones_do_not(tmp_path):
    save_file(workshop_of(tiny()).weights(0), tmp_path / "w.safetensors")
    words = {"model__pretrained": str(tmp_path / "w.safetensors"), "prune__scored": "rewound"}

    def masks(rule: str) -> set[str]:
        trials = [trajectory(tiny(**words, rewind__rule=rule, seed=seed)) for seed in (0, 1)]
        return {trial.rungs[1].mask.key for trial in trials}

    assert len(masks("random")) == 2
    assert len(masks("late")) == 1


def test_a_pair_of_seeds_may_have_controls_with_words_of_their_own():
    for told in ({"control": "shuffle", "draw": 1}, {"control": "perturb", "sigma": 0.5}):
        chosen = trajectory(tiny(prune__budget="cka", **told))
        plain = trajectory(tiny(prune__budget="cka"))
        assert chosen.rungs[1].mask.key == plain.rungs[1].mask.key


def test_fresh_seeds_never_meet_initial_ones():
    seeds = {fresh_seed(tiny(seed=s), i) for s in range(50) for i in range(1, 40)}
    assert len(seeds) == 50 * 39
    assert min(seeds) >= 2**31
    last = tiny(seed=2**31 - 1)  # the largest seed that there is
    assert fresh_seed(last, 999) < fresh_seed(tiny(), 1, 1) < fresh_seed(last, 999, 1) < 2**63
    assert fresh_seed(last, 999, 1) < fresh_seed(tiny(), 1, 2)


@pytest.mark.parametrize("control", vocabulary.drawn_controls())
@pytest.mark.parametrize("rule", ["late", "random"])
def test_draws_of_a_control_share_the_chain_and_are_trained_apart(control, rule):
    """Masks of the chain are those of the ticket, whatever is drawn in its place."""
    words = {"rewind__rule": rule}
    ticket = trajectory(tiny(**words))
    drawn = [trajectory(tiny(control=control, draw=n, **words)) for n in range(5)]
    for index in (1, 2):
        chains = {each.rungs[index].chain.key for each in drawn}
        assert chains == {ticket.rungs[index].chain.key}
        shown = [each.rungs[index].shown for each in drawn]
        assert len({run.key for run in shown}) == 5
        assert {run.spec["stream"] for run in shown} == {ticket.rungs[index].shown.spec["stream"]}


def test_a_first_draw_of_new_weights_is_the_ticket_of_weights_drawn_anew_and_no_other_is():
    ticket, *drawn = (
        trajectory(tiny(rewind__rule="random", **words)).rungs[1].shown.key
        for words in ({}, *({"control": "reinit", "draw": n} for n in range(3)))
    )
    assert [key == ticket for key in drawn] == [True, False, False]


def test_rules_with_a_rewind_point_are_those_whose_row_begins_or_ends_by_it():
    pointed = {rule for rule, row in vocabulary.REWINDS.items() if row.pointed}
    assert pointed == {rule for rule, row in REWINDS.items() if row.start in ("k", "T")}


def test_names_are_short_and_tell_the_recipe():
    assert name_of(tiny()) == "overall late25% s0"
    assert name_of(tiny(prune__ladder=())) == "dense 8 steps s0"
    assert name_of(tiny(control="shuffle", draw=3)) == "shuffle draw3 overall late25% s0"
    assert name_of(tiny(control="dense", fork=2)) == "dense fork2 overall late25% s0"
    words = {
        "prune__criterion": "synflow",
        "prune__scored": "rewound",
        "prune__scoring_steps": 9,
        "rewind__rule": "init",
    }
    assert name_of(tiny(**words)) == "synflow at start in 9 overall init s0"
    words = {"prune__unit": "n_of_m", "prune__group": 16, "prune__budget": "uniform"}
    words |= {"prune__ladder": (0.5,)}
    assert name_of(tiny(**words)) == "of every 16 uniform late25% s0"
    words = {"prune__budget": "cka", "prune__gamma": -1.0, "prune__between": "dense"}
    words |= {"prune__granularity": "level"}
    assert name_of(tiny(**words)) == "cka ^-1 dense by level late25% s0"
    words = {"prune__early": 0.1, "prune__looks": 5, "train__steps": 80}
    assert name_of(tiny(**words)) == "early 0.1 overall late25% s0"
    assert name_of(tiny(prune__unit="channel")) == "channels overall late25% s0"
    words = {"regime__name": "rigl", "prune__criterion": "random"}
    assert name_of(tiny(**words)) == "rigl random overall late25% s0"
    words = {"prune__budget": "ramp", "prune__slope": 1.25, "rewind__rule": "init", "seed": 3}
    assert name_of(tiny(**words)) == "ramp+1.2 init s3"
    words = {"prune__criterion": "random", "control": "reinit", "rewind__rule": "lr"}
    assert name_of(tiny(**words)) == "reinit random overall lr25% s0"


@pytest.mark.parametrize(
    ("word", "value", "usual", "told"),
    [
        ("rewind.state", "reset", "rewound", "state=reset"),
        ("rewind.state", "rewound", "reset", "state=rewound"),
        ("rewind.anchor", "previous", "dense", "anchor=previous"),
        ("prune.images", 9, 128, "images=9"),
        ("prune.images", 9, 9, ""),
        ("prune.ladder", (0.5, 0.2), (0.5, 0.3), "ladder=0.5,0.2"),
        ("prune.layers", (("*", "free"),), (), "layers=*,free"),
        ("prune.least", 0.0, 0.1, "least=0.0"),
        ("prune.budget", "overall", "erk", ""),
        ("train.steps", 80, 8, ""),
    ],
)
def test_a_word_that_a_study_varies_is_told_where_names_are_silent(word, value, usual, told):
    config, shared = (TrialConfig.from_flat(TINY | {word: each}) for each in (value, usual))
    name = " ".join(["overall late25%", told]).strip()
    assert recipe_of(config, shared) == name
    assert recipe_of(config) == "overall late25%"
    assert name_of(config, shared) == f"{name} s0"
    found = point(trajectory(config), {word: value}, "search", shared)
    assert (found.recipe, found.name) == (name, f"{name} s0")


def test_no_two_rewind_points_have_one_name():
    names = {recipe_of(tiny(rewind__fraction=share)) for share in (0.25, 0.251, 0.254)}
    assert len(names) == 3


# a trial as it is given out


def test_a_point_holds_all_that_recording_needs_without_the_data():
    given_out, chosen = (
        point(trajectory(tiny()), {"prune.criterion": "magnitude"}, "search"),
        trajectory(tiny()),
    )
    assert TrialConfig.from_flat({**given_out.config, **given_out.places}) == tiny()
    assert given_out.rounds == [place_of(rung, chosen) for rung in chosen.rungs]
    assert [place["key"] for place in given_out.rounds] == [rung.round for rung in chosen.rungs]
    assert given_out.runs == {key: list(run.span) for key, run in chosen.runs.items()}


def test_a_point_says_where_things_lie_for_whoever_stands_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inputs, "digest_of", lambda source, *_: "given" if source else "")
    cached = Path("/cache/snapshots", "a" * 40, "weights.safetensors")
    monkeypatch.setattr(inputs, "source_files", lambda *_: SimpleNamespace(weights=[cached]))
    (tmp_path / "net").mkdir()
    hub = "google/ddpm-cifar10-32"
    for source, place in (("net", str(tmp_path / "net")), (hub, f"{hub}@{'a' * 40}")):
        given_out = point(
            trajectory(tiny(model__pretrained=source, data__download=True)), {}, "search"
        )
        assert given_out.places == {"data.download": True, "model.pretrained": place}


def test_a_given_file_enters_the_keys_by_its_content(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    assert inputs.file_digest("origin", str(tmp_path / "f")).startswith("2d711642b726b044")
    assert inputs.file_digest("origin", "") == ""
    with pytest.raises(ConfigError, match=r"origin = '/nix': No such file"):
        inputs.file_digest("origin", "/nix")


def test_twins_are_each_others_and_no_control():
    config = tiny(seed=4, stream=4, control="reinit", rungs=(1,))
    twin = twin_config(config)
    assert (twin.seed, twin.stream, twin.control) == (5, 5, "none")
    assert twin_config(twin).canonical() == tiny(seed=4, stream=4).canonical()
    pair = [trajectory(tiny(prune__budget="cka", seed=s, stream=s)) for s in (0, 1)]
    assert len({chosen.rungs[1].mask.key for chosen in pair}) == 2


# the graph

GRAPHS = {
    "ticket": tiny(),
    "control": tiny(control="shuffle"),
    "second run": tiny(fork=1),
    "pair": tiny(prune__budget="cka"),
    "early": tiny(train__steps=20, prune__early=0.5, prune__looks=5),
    "moving": tiny(regime__name="rigl", control="reinit"),
    "sampled": tiny(measure__samples=320, measure__sampling_steps=(3,)),
    "latent": tiny(objective__name="latent_denoise", latent__steps=12),
    "small": tiny(model__channels=(16,), control="small_dense"),
}


def names_of(steps: Iterable[Step]) -> list[tuple[str, str]]:
    return [(step.kind, step.key) for step in steps]


@pytest.mark.parametrize("name", GRAPHS)
def test_a_key_is_of_kind_version_spec_and_parents(name):
    steps = list(walk(trajectory(GRAPHS[name]).wanted))
    assert len(steps) > 10
    for step in steps:
        if step.content is None:
            parents = [parent.key for parent in step.parents]
            assert step.key == key_of(step.kind, VERSIONS[step.kind], step.spec, *parents)
        else:
            assert step.key == step.content


@pytest.mark.parametrize("name", GRAPHS)
def test_a_walk_meets_every_step_once_and_after_all_that_it_needs(name):
    chosen = trajectory(GRAPHS[name])
    steps = list(walk(chosen.wanted))
    order = names_of(steps)
    assert len(set(order)) == len(order)
    assert set(names_of(chosen.wanted)) <= set(order)
    for place, step in enumerate(steps):
        assert set(names_of(step.needs)) <= set(order[:place])
    assert list(chosen.runs) == [step.key for step in steps if step.kind == "train"]


@pytest.mark.parametrize("name", GRAPHS)
def test_steps_that_are_ready_can_be_made_wave_by_wave_until_all_is_made(name):
    wanted = trajectory(GRAPHS[name]).wanted
    made: set[tuple[str, str]] = set()
    waves = []

    def stored(step: Step) -> bool:
        return (step.kind, step.key) in made

    while wave := ready(wanted, stored, STORED):
        assert not made & set(names_of(wave))
        made |= set(names_of(wave))
        waves.append({step.kind for step in wave})
    assert made == {(step.kind, step.key) for step in walk(wanted) if step.kind in STORED}
    assert waves[0] == {"train"}  # all that is stored comes from a training run
    assert len(waves) >= 3


def test_runs_that_may_train_in_one_program_differ_in_begin_mask_and_stream_alone():
    def shown(**words) -> str:
        return alike(trajectory(tiny(**words)).rungs[1].shown)

    ticket = shown()
    others: list[dict] = [
        {"seed": 1},
        {"stream": 1},
        {"control": "shuffle"},
        {"prune__criterion": "random"},
        {"fork": 1},
    ]
    assert [shown(**words) for words in others] == [ticket] * len(others)
    others = [
        {"train__lr": 0.1},
        {"rewind__rule": "init"},
        {"data__name": "digits_low"},
        {"model__layers": 2},
        {"regime__name": "rigl"},
    ]
    assert ticket not in [shown(**words) for words in others]
    latents: dict = {"objective__name": "latent_denoise"}  # whose making no word of the run tells
    assert shown(**latents, latent__steps=12) != shown(**latents, latent__steps=13)


def test_a_step_is_described_in_full_and_what_is_stored_by_its_key():
    run = trajectory(tiny()).rungs[1].shown
    described = describe(run, STORED)
    assert (described["kind"], described["version"], described["key"]) == ("train", 2, run.key)
    assert described["spec"] == dict(run.spec)
    begin, images = described["parents"]
    assert begin["kind"] == "rewind"
    assert begin["spec"] == {"from": "anchor", "at": 2, "state": "rewound"}
    assert set(images) == {"kind", "key"}  # the data set: given
    assert [set(parent) for parent in begin["parents"]] == [{"kind", "key"}] * 2
    kinds = [parent["kind"] for parent in begin["parents"]]
    assert kinds == ["train", "prune"]


def test_two_steps_part_where_they_first_differ():
    def parts(**words) -> tuple[str, str]:
        pair = parting(trajectory(tiny()).rungs[1].shown, trajectory(tiny(**words)).rungs[1].shown)
        assert pair is not None
        return pair[0].kind, pair[1].kind

    run = trajectory(tiny()).rungs[1].shown
    assert parting(run, trajectory(tiny(measure__split="test")).rungs[1].shown) is None
    assert parts(seed=1) == ("init", "init")
    assert parts(stream=1) == ("train", "train")
    assert parts(prune__criterion="random") == ("prune", "prune")
    assert parts(control="shuffle") == ("prune", "control")
    assert parts(rewind__state="reset") == ("rewind", "rewind")
    dense = parting(run, trajectory(tiny(stream=1)).rungs[1].shown)
    assert dense is not None
    assert dense[0].key == trajectory(tiny()).rungs[0].chain.key


def test_the_lineage_of_a_run_leaves_out_what_only_made_data_or_judges():
    def lengths(chosen: Trajectory) -> list[list[int]]:
        return [[run.length for run in lineage(rung.shown)] for rung in chosen.rungs]

    assert lengths(trajectory(tiny())) == [[8], [8, 6], [8, 6, 6]]
    latent = trajectory(GRAPHS["latent"])
    assert lengths(latent) == [[8], [8, 6], [8, 6, 6]]
    assert sorted(run.length for run in latent.runs.values()) == [6, 6, 8, 12]
