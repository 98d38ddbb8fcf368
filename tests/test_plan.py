"""Keys say what a thing is: they change with what changes it, and with nothing else. The golden ones pin them."""

from typing import get_args

import pytest

from lthray.config.fields import ConfigError, words
from lthray.config.labels import name_of
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import Criterion, pointed_rules
from lthray.prune.rewinds import REWINDS
from lthray.task import inputs
from lthray.trial.plan import fresh_seed, given_digest, plan, point, twin_config

from .conftest import tiny


def keys(**flat) -> dict[str, list[str]]:
    found = plan(TrialConfig.from_flat({w.replace("__", "."): v for w, v in flat.items()}))
    return {
        "dense": [found.rungs[0].chain.key],
        "masks": [r.mask for r in found.rungs[1:]],
        "runs": [r.shown.key for r in found.rungs[1:]],
        "rounds": [r.round for r in found.rungs],
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
    assert found["rounds"][1] == BASE["rounds"][1]


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
    """If this fails, stored results of others no longer match: raise the kind's version and say so in the commit."""
    found = [key[:12] for kind in ("dense", "masks", "runs", "rounds") for key in BASE[kind][:2]]
    assert found == GOLDEN_KEYS


GOLDEN_KEYS = ["1213ba8c2e33", "ec7e5b274c04", "5e2e9e101a36", "33b03ed633f7", "9d5d30316bd6", "283d83d1a9cf", "804aa7c0f0e0"]


def test_golden_defaults():
    """A changed default changes every key that leaves it out: keep this list, or raise the versions."""
    assert {word: default for word, (_, default, _) in words(TrialConfig).items()} == GOLDEN_DEFAULTS


GOLDEN_DEFAULTS: dict[str, object] = {
    "seed": 0,
    "stream": 0,
    "data.name": "digits",
    "data.root": "",
    "data.side": 0,
    "data.channels": 0,
    "data.classes": 0,
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
    "train.lr": 0.004,
    "train.warmup": 0,
    "train.decay": "constant",
    "train.floor": 0.1,
    "train.momentum": 0.9,
    "train.weight_decay": 0.0,
    "train.clip": 1.0,
    "train.ema": 0.995,
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
    "measure.inception": "",
    "origin": "",
    "elastic": "interpolate",
}


def test_costs_of_a_plan():
    found = plan(tiny())
    assert [r.shown.steps for r in found.rungs] == [8, 6, 6]
    assert [r.shown.history for r in found.rungs] == [8, 8, 8]
    assert [r.spent for r in found.rungs] == [8, 14, 20]
    tuned = plan(tiny(rewind__rule="tuned"))
    assert [r.shown.history for r in tuned.rungs] == [8, 14, 20]
    reinit = plan(tiny(control="reinit"))
    assert [r.shown.history for r in reinit.rungs] == [8, 8, 8]
    assert [r.spent for r in reinit.rungs] == [8, 16, 22]
    assert len(reinit.runs) == 4  # dense, the first rung's chain, two controls


def test_fresh_seeds_never_meet_initial_ones():
    seeds = {fresh_seed(tiny(seed=s), i) for s in range(50) for i in range(1, 40)}
    assert len(seeds) == 50 * 39
    assert min(seeds) >= 2**31


def test_rules_with_a_rewind_point_are_those_whose_row_begins_or_ends_by_it():
    assert {rule for rule, row in REWINDS.items() if row.start in ("k", "T")} == set(pointed_rules())


def test_names_are_short_and_tell_the_recipe():
    assert name_of(tiny()) == "overall late25% s0"
    assert name_of(tiny(prune__ladder=())) == "dense 8 steps s0"
    assert name_of(tiny(control="dense", fork=2)) == "dense fork2 overall late25% s0"
    words = {"prune__criterion": "synflow", "prune__scored": "rewound", "prune__scoring_steps": 9, "rewind__rule": "init"}
    assert name_of(tiny(**words)) == "synflow at start in 9 overall init s0"
    words = {"prune__unit": "n_of_m", "prune__group": 16, "prune__budget": "uniform", "prune__ladder": (0.5,)}
    assert name_of(tiny(**words)) == "of every 16 uniform late25% s0"
    words = {"prune__budget": "cka", "prune__gamma": -1.0, "prune__between": "dense", "prune__granularity": "level"}
    assert name_of(tiny(**words)) == "cka ^-1 dense by level late25% s0"
    assert name_of(tiny(prune__early=0.1, prune__looks=5, train__steps=80)) == "early 0.1 overall late25% s0"
    assert name_of(tiny(prune__unit="channel")) == "channels overall late25% s0"
    assert name_of(tiny(regime__name="rigl", prune__criterion="random")) == "rigl random overall late25% s0"
    assert name_of(tiny(prune__budget="ramp", prune__slope=1.25, rewind__rule="init", seed=3)) == "ramp+1.2 init s3"
    assert name_of(tiny(prune__criterion="random", control="reinit", rewind__rule="lr")) == "reinit random overall lr25% s0"


def test_a_point_holds_all_that_recording_needs_without_the_data():
    found = point(tiny(), {"prune.criterion": "magnitude"}, "search")
    assert TrialConfig.from_flat(found["config"] | found["places"]) == tiny()
    assert found["rounds"] == [r.round for r in plan(tiny()).rungs]
    assert found["runs"] == {k: [r.start, r.end] for k, r in plan(tiny()).runs.items()}


def test_a_point_says_where_things_lie_for_whoever_stands_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inputs, "digest_of", lambda source, *_: "given" if source else "")
    (tmp_path / "net").mkdir()
    for source, place in (("net", str(tmp_path / "net")), ("google/ddpm-cifar10-32", "google/ddpm-cifar10-32")):
        found = point(tiny(model__pretrained=source, data__download=True), {}, "search")
        assert found["places"] == {"data.download": True, "model.pretrained": place}


def test_a_given_file_enters_the_keys_by_its_content(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    assert given_digest("origin", str(tmp_path / "f")).startswith("2d711642b726b044")
    assert given_digest("origin", "") == ""
    with pytest.raises(ConfigError, match=r"origin = '/nix': No such file"):
        given_digest("origin", "/nix")


def test_twins_are_each_others_and_no_control():
    config = tiny(seed=4, stream=4, control="reinit", rungs=(1,))
    twin = twin_config(config)
    assert (twin.seed, twin.stream, twin.control) == (5, 5, "none")
    assert twin_config(twin).canonical() == tiny(seed=4, stream=4).canonical()
    masks = [plan(tiny(prune__budget="cka", seed=s, stream=s)).rungs[1].mask for s in (0, 1)]
    assert len(set(masks)) == 2
