"""A config validates as a whole, says all that is wrong at once, and has one canonical form."""

import dataclasses
import json
from typing import Annotated, get_args

import pytest
from pydantic.dataclasses import dataclass

from lthray.config.fields import ConfigError, Only, Place, Role, declared, either, words
from lthray.config.help_page import help_text
from lthray.config.options import split
from lthray.config.presets import PRESETS, preset
from lthray.config.trial import DEPENDENT, PLACES, TrialConfig, words_of_role
from lthray.config.vocabulary import RoleName

from .conftest import tiny

# every field, a bad value for it, and what its line must say
# (the next test holds that no field is missing)
BAD = {
    "seed": (-1, "greater than or equal to 0"),
    "stream": (2**31, "less than"),
    "data.name": ("mnits", "did you mean 'mnist'?"),
    "data.side": (-1, "greater than or equal to 0"),
    "data.channels": (5, "must be one of 0, 1, 2, 3, 4"),
    "data.classes": (-1, "greater than or equal to 0"),
    "data.root": (3, "valid string"),
    "data.download": ("perhaps", "valid boolean"),
    "data.fraction": (0, "greater than 0"),
    "measure.robust": (-1, "greater than or equal to 0"),
    "measure.attack": (0, "greater than or equal to 1"),
    "data.scrambled": ("perhaps", "valid boolean"),
    "source.words": ((("data.name",),), "Field required"),
    "source.seeds": (-1, "greater than or equal to 0"),
    "source.takes": ("tickets", "did you mean 'ticket'?"),
    "source.align": ("activation", "did you mean 'activations'?"),
    "data.augment": ("flipp", "did you mean 'flip'?"),
    "model.name": ("unett", "did you mean 'unet'?"),
    "model.channels": ((16, 0), "greater than or equal to 1"),
    "model.layers": (0, "greater than or equal to 1"),
    "model.attention": ((-1,), "greater than or equal to 0"),
    "model.groups": (0, "greater than or equal to 1"),
    "model.head": ("many", "valid integer"),
    "model.hidden": ((3.5,), "valid integer"),
    "model.pretrained": (1, "valid string"),
    "objective.name": ("denoize", "did you mean 'denoise'?"),
    "objective.timesteps": (1, "greater than or equal to 2"),
    "objective.schedule": ("liner", "did you mean 'linear'?"),
    "train.steps": (-1, "greater than or equal to 0"),
    "train.batch": (0, "greater than or equal to 1"),
    "train.optimizer": ("adan", "did you mean 'adam"),
    "train.lr": (float("nan"), "finite"),
    "train.warmup": (-1, "greater than or equal to 0"),
    "train.decay": ("cosin", "did you mean 'cosine'?"),
    "train.floor": (2, "less than or equal to 1"),
    "train.momentum": (1, "less than 1"),
    "train.weight_decay": (-1, "greater than or equal to 0"),
    "train.clip": (float("inf"), "finite"),
    "train.ema": (1.0, "less than 1"),
    "train.autocast": ("bf16", "one of none, bfloat16"),
    "train.channels_last": (7, "valid boolean"),
    "train.compile": ("max", "one of none, default, reduce-overhead"),
    "prune.criterion": ("magnitud", "did you mean 'magnitude'?"),
    "prune.budget": ("lamb", "did you mean 'lamp'?"),
    "prune.slope": (float("inf"), "finite"),
    "prune.dials": (("a",), "valid number"),
    "data.width": (-1, "greater than or equal to 0"),
    "data.ground": ("grey", "must be one of white, black"),
    "data.skip_bad": ("perhaps", "valid boolean"),
    "prune.unit": ("wieght", "did you mean 'weight'?"),
    "prune.ladder": ((0.5, 1.5), "less than 1"),
    "prune.layers": ((("conv_in", 0.0),), "greater than 0"),
    "rewind.rule": ("lat", "did you mean 'late'?"),
    "rewind.fraction": (1.0, "less than 1"),
    "rewind.anchor": ("denes", "did you mean 'dense'?"),
    "rewind.state": ("rest", "did you mean 'reset'?"),
    "control": ("shufle", "did you mean 'shuffle'?"),
    "measure.split": ("train", "one of validation, test"),
    "objective.prediction": ("epsilonn", "did you mean 'epsilon'?"),
    "model.conditional": ("perhaps", "valid boolean"),
    "model.dropout": (1.0, "less than 1"),
    "objective.kl": (-1.0, "greater than or equal to 0"),
    "model.latent": (0, "greater than or equal to 1"),
    "latent.channels": (0, "greater than or equal to 1"),
    "latent.widths": ((0,), "greater than or equal to 1"),
    "latent.groups": (0, "greater than or equal to 1"),
    "latent.steps": (0, "greater than or equal to 1"),
    "latent.pretrained": (1, "valid string"),
    "prune.scored": ("later", "must be one of trained, average, rewound"),
    "prune.scoring_steps": (0, "greater than or equal to 1"),
    "prune.images": (7, "greater than or equal to 8"),
    "prune.terms": (0, "greater than or equal to 1"),
    "prune.threshold": (1.0, "less than 1"),
    "prune.granularity": ("levels", "did you mean 'level'?"),
    "prune.gamma": ("much", "valid number"),
    "prune.between": ("ticket", "did you mean 'tickets'?"),
    "prune.early": (1.0, "less than 1"),
    "prune.looks": (4, "greater than or equal to 5"),
    "prune.least": (1.0, "less than 1"),
    "prune.group": (1, "greater than or equal to 2"),
    "regime.name": ("rigll", "did you mean 'rigl'?"),
    "regime.every": (0, "greater than or equal to 1"),
    "regime.until": (0.0, "greater than 0"),
    "regime.share": (1.5, "less than or equal to 1"),
    "regime.penalty": (0.0, "greater than 0"),
    "regime.power": (4, "less than or equal to 3"),
    "measure.images": (0, "greater than or equal to 1"),
    "measure.timesteps": (0, "greater than or equal to 1"),
    "measure.checkpoints": (-1, "greater than or equal to 0"),
    "measure.samples": (-1, "greater than or equal to 0"),
    "measure.samplers": (("ddimm",), "did you mean 'ddim'?"),
    "measure.sampling_steps": ((0,), "greater than or equal to 1"),
    "measure.rounds": (("last",), "valid integer"),
    "measure.perturbations": (-1, "greater than or equal to 0"),
    "measure.sensitivity": ("perhaps", "valid boolean"),
    "measure.efficientnet": ("perhaps", "valid boolean"),
    "measure.connected": ("perhaps", "valid boolean"),
    "sigma": (0.0, "greater than 0"),
    "rates": ((), "at least 1 item"),
    "rungs": (("last",), "valid integer"),
    "draw": (-1, "greater than or equal to 0"),
    "fork": (1000, "less than 1000"),
    "measure.inception": (1, "valid string"),
    "origin": (1, "valid string"),
    "elastic": ("append_", "did you mean 'append'?"),
}

# faults that only several fields together show
PREVIOUS = {"rewind.rule": "late", "rewind.anchor": "previous"}
KERNELS = {"prune.criterion": "hsic", "prune.images": 64, "prune.terms": 10}
TOGETHER = [
    ({"model.name": "lenet5", "objective.name": "classify", "model.channels": ()}, "at least one"),
    ({"model.attention": (7,), "model.name": "lenet300"}, "only for model.name = 'unet'"),
    ({"measure.samplers": ()}, "at least 1 item"),
    ({"measure.samplers": ("ddim", "ddim")}, "ddim is there twice"),
    ({"measure.samplers": ("heun",), "measure.sampling_steps": (2001,)}, "at most objective"),
    ({**PREVIOUS, "control": "shuffle"}, "zero off the mask before"),
    ({**PREVIOUS, "rewind.fraction": 0.5}, "no step before its end"),
    ({"source.words": (("data.augment", "flip"),), "source.takes": "weights", **PREVIOUS}, "zero"),
    (
        {"source.words": (("train.optimizer", "sgd"),), "source.takes": "weights"},
        "moments of one train.optimizer",
    ),
    ({"prune.criterion": "movement", "prune.scored": "rewound"}, "have not moved"),
    ({**KERNELS, "model.name": "lenet5", "objective.name": "classify"}, "1 are left for the last"),
    (
        {"prune.unit": "n_of_m", "prune.budget": "uniform", "control": "random_mask"},
        "would break the pattern",
    ),
    ({"model.name": "lenet300"}, "model.name = 'lenet300': objective.name = 'denoise' needs unet"),
    ({"objective.name": "classify"}, "needs one of lenet300, lenet5, resnet"),
    (
        {"latent.steps": 5, "objective.name": "classify", "model.name": "lenet5"},
        "only for a denoiser, not objective.name = 'classify'",
    ),
    ({"model.latent": 5}, "only for model.name = 'autoencoder'"),
    ({"objective.kl": 1.0}, "only for objective.name = 'autoencode'"),
    (
        {"objective.name": "latent_denoise", "latent.widths": (8,) * 5},
        "5 levels, but 8 is no multiple",
    ),
    (
        {"objective.name": "latent_denoise", "latent.widths": (8, 12)},
        "12 is no multiple of latent.groups = 8",
    ),
    (
        {"objective.name": "latent_denoise", "data.augment": "shift"},
        "are made once, of images and of mirrored ones",
    ),
    (
        {"objective.name": "latent_denoise", "model.channels": (8,) * 4},
        "4 levels, but the latents' side 4 is no multiple",
    ),
    (
        {"objective.name": "autoencode"},
        "model.name = 'unet': objective.name = 'autoencode' needs autoencoder",
    ),
    ({"model.channels": (16,) * 5}, "5 levels, but 8 is no multiple"),
    ({"model.channels": ()}, "0 levels"),
    ({"model.channels": (12, 24)}, "12 is no multiple of model.groups = 8"),
    ({"model.attention": (1,), "model.head": 5}, "no multiple of model.head = 5"),
    ({"model.attention": (2,)}, "levels are 0 to 1"),
    ({"train.batch": 1198}, "at most the 1197 training images"),
    ({"train.batch": 700, "data.fraction": 0.5}, "at most the 599 training images"),
    ({"train.steps": 0}, "train.steps = 0: nothing is trained, so nothing can be pruned"),
    ({"train.warmup": 400}, "must be less than train.steps"),
    ({"prune.ladder": (0.5, 0.5)}, "must fall from rung to rung"),
    ({"prune.slope": 1.0}, "only for prune.budget = 'ramp'"),
    ({"prune.dials": (1.0,)}, "for prune.budget = 'sampled'"),
    ({"prune.budget": "sampled"}, "one a block"),
    ({"origin": "t", "prune.budget": "erk"}, "leave prune.criterion and prune.budget"),
    (
        {"model.name": "resnet", "objective.name": "classify", "model.attention": (1,)},
        "only for model.name = 'unet'",
    ),
    (
        {"model.name": "lenet5", "objective.name": "classify", "objective.prediction": "sample"},
        "only for objective.name = one of denoise, latent_denoise",
    ),
    (
        {"model.name": "lenet5", "objective.name": "classify", "model.conditional": True},
        "only for objective.name = one of denoise, latent_denoise",
    ),
    (
        {"model.name": "lenet5", "objective.name": "classify", "model.dropout": 0.1},
        "only for model.name = one of unet, resnet",
    ),
    ({"model.conditional": True, "model.pretrained": "x"}, "was trained without classes"),
    ({"data.classes": 3}, "only for data.name = 'folder' or your own; digits has 10"),
    ({"data.channels": 3}, "digits is grey"),
    ({"data.channels": 4}, "digits has no transparency; use 1 or 3"),
    ({"data.width": 12}, "digits is square"),
    ({"data.ground": "black"}, "data.ground = 'black': only for data.name = 'folder'"),
    ({"data.skip_bad": True}, "data.skip_bad = True: only for data.name = 'folder'"),
    ({"data.name": "folder"}, "data.side = 0: data.name = 'folder' needs it"),
    ({"data.name": "folder", "data.side": 8, "data.width": 8}, "is data.side = 8; leave it out"),
    ({"data.name": "folder", "data.side": 8, "data.width": 9}, "2 levels, but 9 is no multiple"),
    (
        {"data.name": "folder", "data.side": 8, "data.channels": 4, "measure.inception": "x"},
        "Inception sees 1 or 3 channels, not data.channels = 4",
    ),
    (
        {"data.name": "folder", "data.side": 8, "data.channels": 4, "measure.efficientnet": True},
        "EfficientNet sees 1 or 3 channels, not data.channels = 4",
    ),
    (
        {"data.name": "folder", "data.side": 8, "data.channels": 1, "data.classes": 1},
        "which learns nothing of one class (data.classes = 1); give 0 samples",
    ),
    (
        {"data.name": "folder", "data.side": 8, "data.channels": 1},
        "give data.classes, or 0 samples",
    ),
    (
        {"data.name": "mine:images", "data.side": 8},
        "data.channels = 0: data.name = 'mine:images' needs it",
    ),
    ({"data.name": "mine.images"}, "or an import path package.module:factory"),
    (
        {"model.name": "mine:"},
        "must be one of unet, lenet300, lenet5, resnet, autoencoder or an import path "
        "package.module:factory",
    ),
    (
        {"model.name": "mine:net", "control": "small_dense"},
        "model.name = 'mine:net' has no narrower network",
    ),
    (
        {"model.name": "mine:net", "model.conditional": True},
        "only for model.name = 'unet', not 'mine:net'",
    ),
    ({"data.side": 7}, "2 levels, but 7 is no multiple"),
    ({"prune.gamma": 2.0}, "only for prune.budget = one of sensitivity, hsic, cka, not 'overall'"),
    ({"prune.between": "dense", "prune.budget": "hsic"}, "only for prune.budget = "),
    ({"prune.budget": "cka", "model.pretrained": "x"}, "given weights have none"),
    ({"prune.least": 0.1}, "at most the last density of prune.ladder, 0.0625"),
    ({"prune.group": 8}, "only for prune.unit = 'n_of_m', not 'weight'"),
    ({"prune.unit": "n_of_m"}, "every layer has the same density; use 'uniform'"),
    ({"prune.unit": "n_of_m", "prune.budget": "uniform"}, "0.125 is no N / 4"),
    (
        {"prune.unit": "n_of_m", "prune.budget": "uniform", "prune.scoring_steps": 2},
        "no densities between rungs",
    ),
    ({"prune.looks": 8}, "only for prune.early > 0"),
    ({"prune.early": 0.1, "regime.name": "rst"}, "moves the mask while it is looked at"),
    ({"prune.early": 0.1, "prune.scored": "rewound"}, "looks at no training"),
    ({"prune.early": 0.1, "rewind.rule": "tuned"}, "goes on from the end"),
    ({"prune.early": 0.1, "prune.looks": 400}, "more than the steps of a ticket's training"),
    (
        {"prune.unit": "channel", "prune.budget": "erk"},
        "layers share what is cut; use 'uniform' or 'overall'",
    ),
    ({"prune.unit": "channel", "prune.least": 0.01}, "every group of channels keeps some"),
    (
        {"prune.unit": "channel", "prune.layers": (("mid*", 0.5), ("*", "free"))},
        "a layer is 'free' or stays whole (1.0)",
    ),
    (
        {"prune.unit": "channel", "control": "random_mask"},
        "it would leave groups without a channel; use 'shuffle'",
    ),
    (
        {"prune.unit": "channel", "regime.name": "gradual"},
        "moves single weights; prune.unit = 'channel' would not hold",
    ),
    ({"prune.unit": "channel", "prune.group": 8}, "only for prune.unit = 'n_of_m', not 'channel'"),
    ({"regime.share": 0.5}, "only for regime.name = one of set, rigl, not 'static'"),
    ({"regime.name": "rst", "prune.unit": "n_of_m"}, "moves single weights"),
    ({"regime.name": "set", "origin": "t"}, "origin = 't' fixes the mask"),
    ({"regime.name": "set", "control": "one_shot"}, "control one_shot has the mask"),
    ({"prune.threshold": 0.2}, "only for prune.criterion = 'diff_pruning', not 'magnitude'"),
    ({"prune.images": 1198}, "prune.images = 1198: at most the 1197 training images"),
    (
        {"objective.name": "classify", "model.name": "lenet5", "prune.terms": 33},
        "prune.terms = 33: at most a quarter of",
    ),
    ({"prune.scored": "average", "train.ema": 0.0}, "keeps no average; use 'trained'"),
    ({"train.ema": 0.995}, "at most 0.5; a decay of 0.995 is as wide as 0.5 of 400 steps"),
    (
        {"train.ema": 0.999, "train.steps": 20_000},
        "a decay of 0.999 is as wide as 0.05 of 20000 steps",
    ),
    (
        {"rewind.rule": "lr", "train.decay": "constant"},
        "the same from step 20 on (train.decay = 'constant', train.floor = 0.1), so that this is "
        "fine-tuning; use 'tuned', or train.decay = one of linear, cosine with train.floor < 1",
    ),
    ({"control": "lr", "train.decay": "constant"}, "fine-tuning; use 'tuned'"),
    ({"rewind.rule": "lr", "train.floor": 1.0}, "train.floor = 1.0), so that this is fine-tuning"),
    (
        {"rewind.rule": "lr", "train.decay": "constant", "train.warmup": 20},
        "the same from step 20 on",
    ),
    ({"rewind.fraction": 0.001}, "late needs 1 <= k < steps"),
    ({"rewind.rule": "init", "rewind.anchor": "previous"}, "only for rewind.rule = 'late'"),
    ({"control": "shuffle", "rewind.rule": "lr"}, "keeps trained weights"),
    ({"control": "complement", "rewind.rule": "tuned"}, "keeps trained weights"),
    ({"origin": "t", "control": "one_shot"}, "has one rung and no chain"),
    ({"origin": "t", "control": "lr"}, "has one rung and no chain"),
    ({"model.pretrained": "x", "control": "small_dense"}, "no narrower network"),
    ({"sigma": 1.0, "control": "shuffle"}, "only for control = 'perturb', not 'shuffle'"),
    ({"draw": 1, "control": "one_shot"}, "only for control = one of reinit, shuffle"),
    ({"fork": 1, "control": "small_dense"}, "shares no weights with the chain"),
    ({"origin": "t", "rewind.rule": "tuned"}, "this trial's own dense run"),
    ({"rewind.rule": "given"}, "only with the ticket of another trial, origin"),
    ({"elastic": "append"}, "elastic = 'append': only with the ticket of another trial"),
    ({"measure.samples": 319}, "at least 320"),
    ({"measure.sampling_steps": (2, 3)}, "one, or one each for ddim"),
    ({"control": "reinit", "rungs": (0,)}, "rounds of a control are 1 to 4"),
    ({"control": "reinit", "rungs": (5,)}, "rounds of a control are 1 to 4"),
    ({"rungs": (1,)}, "only for a control or a fork"),
    ({"measure.sampling_steps": (1001,)}, "at most objective.timesteps"),
    (
        {"measure.samplers": ("ddim", "heun"), "measure.sampling_steps": (2,)},
        "heun takes at least 3 calls",
    ),
    ({"measure.timesteps": 1001}, "at most objective.timesteps"),
    ({"measure.rounds": (5,)}, "0 (dense) to 4"),
]


def faults(flat):
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_flat(flat)
    return caught.value.faults


def test_every_field_has_a_bad_value_here():
    assert set(BAD) == set(words(TrialConfig))


@pytest.mark.parametrize("word", BAD)
def test_a_bad_value_gets_one_line_naming_word_value_and_what_is_allowed(word):
    value, allowed = BAD[word]
    lines = faults({word: value})
    assert len(lines) == 1
    assert lines[0].startswith(f"{word}")
    assert allowed in lines[0]
    assert "\n" not in lines[0]


@pytest.mark.parametrize(("flat", "said"), TOGETHER)
def test_fields_that_contradict_each_other(flat, said):
    assert any(said in line for line in faults(flat))


ALLOWED = [
    {"measure.samplers": ("heun",), "measure.sampling_steps": (1999,)},  # a thousand steps
    {
        "model.name": "resnet",
        "objective.name": "classify",
        "data.name": "mnist",
        "model.channels": (64, 128, 256, 512),
    },
    {**KERNELS},  # of a denoiser each term is a batch of its own
    {**KERNELS, "prune.terms": 16, "model.name": "lenet5", "objective.name": "classify"},
    {**PREVIOUS, "rewind.fraction": 0.4},
]


@pytest.mark.parametrize("flat", ALLOWED)
def test_fields_that_go_together(flat):
    assert TrialConfig.from_flat(flat).flat()


def test_all_faults_at_once():
    lines = faults({word: value for word, (value, _) in BAD.items()} | {"prune.criterio": 1})
    assert {line.split(" = ")[0].split(".")[0] for line in lines} >= {
        "data",
        "train",
        "prune",
        "rewind",
        "measure",
    }
    assert len(lines) == len(BAD) + 1


@pytest.mark.parametrize(
    ("word", "meant"),
    [("prune.criterio", "prune.criterion"), ("criterion", "prune.criterion"), ("sed", "seed")],
)
def test_unknown_words_name_the_near_one(word, meant):
    (line,) = faults({word: 1})
    assert f"did you mean '{meant}'?" in line


def test_parts_refuse_what_they_do_not_know_and_are_frozen():
    with pytest.raises(Exception, match="nonsense"):
        TrialConfig(nonsense=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrialConfig().train.steps = 3


def test_every_field_is_described():
    assert [word for word, (_, _, text) in words(TrialConfig).items() if len(text) < 5] == []


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_survive_flat_and_json(name):
    config = preset(name)
    assert config.data.name == name
    assert TrialConfig.from_flat(config.flat()) == config
    assert TrialConfig.from_flat(json.loads(json.dumps(config.canonical()))) == config


def test_the_default_is_the_digits_preset_and_its_canonical_form_is_empty():
    assert TrialConfig() == preset("digits")
    assert TrialConfig().canonical() == {}


def test_canonical_leaves_out_defaults_and_places():
    config = TrialConfig.from_flat(
        {"train.lr": 1e-3, "data.root": "/x", "train.steps": TrialConfig().train.steps}
    )
    assert config.canonical() == {"train.lr": 1e-3}
    assert config.canonical("prune") == {}
    assert set(PLACES) < set(words(TrialConfig))


def test_every_word_has_one_role():
    roles = {role: words_of_role(role) for role in get_args(RoleName)}
    assert sorted(word for each in roles.values() for word in each) == sorted(words(TrialConfig))
    assert roles["identity"] == ("seed", "stream")
    assert roles["control"] == ("control", "sigma", "rates", "draw", "fork", "rungs")
    parts = {role: {word.split(".")[0] for word in each} for role, each in roles.items()}
    assert parts["setting"] == {"data", "model", "objective", "latent", "train"}
    assert parts["recipe"] == {"prune", "rewind", "regime", "origin", "elastic", "source"}
    assert parts["measure"] == {"measure"}


def test_places_are_the_words_that_say_where_a_given_file_lies():
    files = {"model.pretrained", "latent.pretrained", "measure.inception", "origin"}
    assert set(PLACES) == files | {"data.root", "data.download", "data.skip_bad"}


def test_a_word_that_depends_on_another_says_so_in_help():
    described = words(TrialConfig)
    page = " ".join(help_text("x", "x", {"all": described}).split())
    assert DEPENDENT
    for word, only in DEPENDENT.items():
        assert described[word].text.endswith(f"(only with {only.word} = {either(only.values)})")
        assert described[word].text in page
        assert all(value in str(described[only.word].kind) for value in only.values)
    assert "(only with prune.budget = ramp)" in page


LENET = {"model.name": "lenet5", "objective.name": "classify"}
# every word that depends on another: a value that is not its default, and what takes its use away
USELESS = {
    "data.ground": ("black", {}),
    "data.skip_bad": (True, {}),
    "model.dropout": (0.1, LENET),
    "model.conditional": (True, LENET),
    "model.latent": (5, {}),
    "objective.prediction": ("sample", LENET),
    "objective.kl": (1.0, {}),
    "prune.threshold": (0.2, {}),
    "prune.slope": (1.0, {}),
    "prune.granularity": ("block", {}),
    "prune.gamma": (2.0, {}),
    "prune.between": ("dense", {}),
    "prune.group": (8, {}),
    "rewind.anchor": ("previous", {"rewind.rule": "init"}),
    "regime.every": (3, {}),
    "regime.until": (0.5, {}),
    "regime.share": (0.5, {}),
    "regime.penalty": (2.0, {}),
    "regime.power": (2, {}),
    "sigma": (1.0, {}),
    "rates": ((1.0,), {}),
    "draw": (1, {"control": "dense"}),
}


def test_every_word_that_depends_on_another_is_tried_here():
    assert set(USELESS) == set(DEPENDENT)


@pytest.mark.parametrize("word", USELESS)
def test_a_word_without_use_is_refused(word):
    value, without = USELESS[word]
    needed = f"{word} = {value!r}: only for {DEPENDENT[word].word} = "
    assert any(line.startswith(needed) for line in faults({word: value} | without))


def test_declarations_do_not_change_what_a_word_may_be():
    assert words(TrialConfig)["data.download"].kind is bool
    assert split(["--data.download"], words(TrialConfig)) == ({"data.download": True}, [])


def test_a_part_declares_for_all_its_words():
    @dataclass
    class Inner:
        a: int = 0
        b: Annotated[int, Place()] = 0

    @dataclass
    class Outer:
        c: Annotated[str, Only("d", "x", hint="y")] = ""
        d: str = ""
        inner: Annotated[Inner, Role("recipe")] = dataclasses.field(default_factory=Inner)

    assert declared(Outer, Role) == {"inner.a": Role("recipe"), "inner.b": Role("recipe")}
    assert declared(Outer, Place) == {"inner.b": Place()}
    assert declared(Outer, Only) == {"c": Only("d", "x", hint="y")}


def test_indexed_words_make_a_tuple_and_text_makes_numbers():
    config = tiny(
        **{
            "prune.budget": "sampled",
            "prune.dials.1": "0.5",
            "prune.dials.0": -1,
            "train.steps": "12",
        }
    )
    assert config.prune.dials == (-1.0, 0.5)
    assert config.train.steps == 12


def test_from_flat_changes_a_base():
    base = tiny(seed=3)
    assert TrialConfig.from_flat({"train.lr": 1e-4}, base) == dataclasses.replace(
        base, train=dataclasses.replace(base.train, lr=1e-4)
    )
