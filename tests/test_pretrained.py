"""Given weights: whatever form they come in, the same network; whatever is wrong with them, one
line."""

import json
import subprocess
import sys

import huggingface_hub
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from lthray.__main__ import main
from lthray.config import options
from lthray.config.fields import ConfigError
from lthray.config.labels import name_of
from lthray.config.parts import Model
from lthray.config.trial import TrialConfig
from lthray.findings.claims import judged
from lthray.findings.evidence import gather
from lthray.findings.floors import lead
from lthray.findings.wording import sentences, table
from lthray.measure import loss
from lthray.study import comparators
from lthray.study.call import preview, resolve
from lthray.study.results import config_of, trials
from lthray.task import data, inputs, networks
from lthray.trial.given import places_of
from lthray.trial.preflight import check
from lthray.trial.recipe import fresh_seed, trajectory
from lthray.trial.workshop import workshop_of

from .conftest import TINY, lenet, making_of, rounds, same, tiny
from .test_cli import argv_of
from .test_desk import LIST, SEARCH, opened, work_off

SHAPE = (1, 8, 8)
WORDS = {"channels": (8,), "groups": 4}


def saved(folder, shape=SHAPE, **words):
    """A U-Net as diffusers saves one."""
    network = networks.build(Model(**(WORDS | words)), shape, 10, 7)
    network.save_pretrained(folder)
    return network


def pipeline(folder, **scheduler):
    """A pipeline as diffusers saves one, of the same U-Net."""
    words = {"timestep_spacing": "trailing"} | scheduler
    DDPMPipeline(saved(folder / "x"), DDPMScheduler(**words)).save_pretrained(folder)


def old_pipeline(folder):
    """One whose files all lie beside its index, as the first ones on the Hub."""
    pipeline(folder / "new")
    for path in (folder / "new").rglob("*"):
        if path.is_file() and "x" not in path.parts:
            path.rename(folder / path.name)


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


FORMS = {
    "network": lambda folder: saved(folder),
    "pipeline": pipeline,
    "old pipeline": old_pipeline,
    "weights alone": lambda folder: (
        saved(folder / "x"),
        (folder / "x" / inputs.UNET).rename(folder / inputs.PLAIN),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["folder", "hub", "file"])
def test_every_form_of_a_unet_gives_its_weights_and_its_digest(tmp_path, monkeypatch, form, where):
    FORMS[form](tmp_path / "net")
    source, words = str(tmp_path / "net"), {}
    if where == "hub":
        monkeypatch.setattr(
            huggingface_hub, "snapshot_download", lambda name, **_: str(tmp_path / "net")
        )
        # each its own id, for what was looked up is not looked up again
        source = f"me/{form.replace(' ', '-')}"
    if where == "file":
        (source,) = map(str, inputs.source_files(source).weights)
    if where == "file" or form == "weights alone":
        words = WORDS  # nothing else says what the network is
    found = networks.build(Model(pretrained=source, **words), SHAPE, 10, 0)
    assert equal(found, saved(tmp_path / "again"))
    saved(tmp_path / "other", channels=(4,))
    assert (
        inputs.digest_of(source)
        != inputs.digest_of(str(tmp_path / "other"))
        != inputs.digest_of("")
        == ""
    )
    if not words:
        assert inputs.digest_of(source) == inputs.digest_of(str(tmp_path / "again"))


@pytest.mark.parametrize("name", ["lenet300", "lenet5", "resnet"])
def test_classifiers_take_a_file_of_their_names(tmp_path, name):
    network = networks.build(Model(name=name), SHAPE, 10, 7)
    save_file({n: p.detach() for n, p in network.named_parameters()}, tmp_path / inputs.PLAIN)
    for source in (tmp_path, tmp_path / inputs.PLAIN):
        assert equal(
            networks.build(Model(name=name, pretrained=str(source)), SHAPE, 10, 0), network
        )


def test_old_names_and_half_precision_are_read(tmp_path):
    network = saved(tmp_path, channels=(8, 8), attention=(1,))
    weights = load_file(tmp_path / inputs.UNET)
    for now, then in (
        ("to_q", "query"),
        ("to_k", "key"),
        ("to_v", "value"),
        ("to_out.0", "proj_attn"),
    ):
        weights = {name.replace(f".{now}.", f".{then}."): w.half() for name, w in weights.items()}
    save_file(weights, tmp_path / inputs.UNET)
    found = networks.build(Model(pretrained=str(tmp_path)), SHAPE, 10, 0)
    for (name, a), (_, b) in zip(network.named_parameters(), found.named_parameters(), strict=True):
        assert b.dtype == torch.float32
        assert torch.equal(a.half().float(), b), name


def edited(folder, **words):
    """The same network, said to be another."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | words))


def without_first(folder):
    weights = load_file(folder / inputs.UNET)
    save_file(dict(sorted(weights.items())[1:]), folder / inputs.UNET)


def with_another(folder):
    save_file(load_file(folder / inputs.UNET) | {"another": torch.zeros(1)}, folder / inputs.UNET)


FAULTS = {
    "no config": (
        lambda f: (f / "config.json").unlink(),
        "has no diffusion_pytorch_model.safetensors with its config.json",
    ),
    "pickle only": (
        lambda f: (f / inputs.UNET).rename(f / "diffusion_pytorch_model.bin"),
        "diffusion_pytorch_model.bin is a pickle, which can run code and is never loaded; convert",
    ),
    "damaged": (lambda f: (f / inputs.UNET).write_bytes(b"\x80\x04pickle"), "SafetensorError"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "Expecting property name"),
    "channels": (lambda f: saved(f, (3, 8, 8)), "has 3 channels, data 1"),
    "variance": (lambda f: edited(f, out_channels=2), "answers with 2 channels"),
    "classes": (lambda f: edited(f, num_class_embeds=10), "is told the class of an image"),
    "another class": (
        lambda f: edited(f, _class_name="UNet2DConditionModel"),
        "is a UNet2DConditionModel, not a UNet2DModel",
    ),
    "another shape": (
        lambda f: edited(f, block_out_channels=[16]),
        "has another shape for conv_in.bias and ",
    ),
    "too few": (without_first, "lacks conv_in.bias and 0 more"),
    "too many": (with_another, "has, where the network has none, another and 0 more"),
    "no such block": (lambda f: edited(f, down_block_types=["NoBlock"]), "NoBlock does not exist"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_will_not_do_is_one_line(tmp_path, fault):
    spoil, said = FAULTS[fault]
    saved(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ConfigError) as caught:
        networks.build(Model(pretrained=str(tmp_path)), SHAPE, 10, 0)
    (line,) = caught.value.faults
    assert line.startswith(f"model.pretrained = {str(tmp_path)!r}: ")
    assert said in line
    assert "\n" not in line


# the Hub


def hub(monkeypatch, cached=None, online=None):
    """A Hub with what is in its cache and what is online; returns the calls made."""
    calls = []

    def download(name, *, revision, allow_patterns, local_files_only):
        calls.append((name, revision, local_files_only))
        assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in allow_patterns)
        found = cached if local_files_only else online
        if found is None:
            raise LocalEntryNotFoundError("cannot be found\nin three lines\nof text")
        return str(found)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


def test_what_is_in_the_cache_is_not_fetched_again(tmp_path, monkeypatch):
    saved(tmp_path / "net")
    calls = hub(monkeypatch, cached=tmp_path / "net")
    inputs.source_files("me/cached@v1")
    assert calls == [("me/cached", "v1", True)]


@pytest.mark.parametrize("cached", [False, True])
def test_what_is_not_there_or_not_whole_is_fetched(tmp_path, monkeypatch, cached):
    saved(tmp_path / "net")
    (tmp_path / "part").mkdir()
    calls = hub(monkeypatch, cached=tmp_path / "part" if cached else None, online=tmp_path / "net")
    assert inputs.source_files(f"me/online{cached}").weights == (tmp_path / "net" / inputs.UNET,)
    assert [local for _, _, local in calls] == [True, False]


FIRST, SECOND = "1" * 40, "2" * 40
"""Commits of a repository on the Hub."""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache as the Hub's own library keeps it, without a network: `main` is at the first of two
    commits, and moves at a call."""
    root = tmp_path / "hub" / "models--me--net"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root.parent))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for seed, commit in enumerate((FIRST, SECOND)):
        network = networks.build(Model(**WORDS), SHAPE, 10, seed)
        network.save_pretrained(root / "snapshots" / commit)
    (root / "refs").mkdir()

    def move(commit: str) -> None:
        (root / "refs" / "main").write_text(commit)
        inputs.source_files.cache_clear()

    move(FIRST)
    yield move
    inputs.source_files.cache_clear()


@pytest.mark.parametrize("source", ["me/net", "me/net@main", f"me/net@{FIRST}"])
def test_an_id_on_the_hub_is_pinned_to_the_commit_that_was_read(cache, source):
    places = places_of(tiny(model__pretrained=source))
    assert places == {"model.pretrained": f"me/net@{FIRST}"}
    digest = inputs.digest_of(source)
    cache(SECOND)  # what a branch is at tomorrow, or on another machine, is another network
    assert inputs.digest_of("me/net") != digest
    assert inputs.digest_of(places["model.pretrained"]) == digest
    assert places_of(tiny(model__pretrained=places["model.pretrained"])) == places


def test_a_trial_is_given_out_with_the_commit_and_has_its_key(cache, store):
    call, ledger = opened(LIST, store, "--model.pretrained", "me/net")
    work_off(call, ledger, store, last=-1)
    cache(SECOND)
    for trial in trials(store, ledger):
        assert trial.point.places == {"model.pretrained": f"me/net@{FIRST}"}
        assert config_of(trial.point).model.pretrained == f"me/net@{FIRST}"
        assert trajectory(config_of(trial.point)).key == trial.point.trial


def test_what_is_no_id_on_the_hub_stays_a_place(tmp_path):
    place = tmp_path / "snapshots" / FIRST / "net"
    saved(place)
    assert places_of(tiny(model__pretrained=str(place))) == {"model.pretrained": str(place)}


NO_ID = "is no file, no folder, and no Hub id such as google/ddpm-cifar10-32"


@pytest.mark.parametrize(
    ("source", "online", "said"),
    [
        (
            "me/offline",
            None,
            "is no folder here, is not in the Hub's cache, and cannot be fetched "
            "(LocalEntryNotFoundError)",
        ),
        (
            "me/pickles",
            "empty",
            "has no diffusion_pytorch_model.safetensors with its config.json, "
            "nor a model.safetensors; there is nothing",
        ),
        ("/nix/net", None, NO_ID),
        ("../../local", None, NO_ID),
        ("me/../you", None, NO_ID),
        ("https://huggingface.co/me/net", None, NO_ID),
        ("me/net@", None, NO_ID),
        ("me/net@../main", None, NO_ID),
        ("me/net;rm", None, NO_ID),
    ],
)
def test_weights_that_cannot_be_had_are_one_line_and_exit_2(
    tmp_path, monkeypatch, capsys, source, online, said
):
    (tmp_path / "empty").mkdir()
    hub(monkeypatch, online=online and tmp_path / online)
    monkeypatch.chdir(tmp_path)
    assert main(["trial", *argv_of(TINY), "--model.pretrained", source]) == options.BAD_INPUT
    assert capsys.readouterr().err == f"error: model.pretrained = {source!r}: {said}\n"


def test_a_gated_repository_is_one_line_without_the_token(tmp_path, monkeypatch, capsys):
    def gated(*_, **__):
        raise type("GatedRepoError", (OSError,), {})("403 for hf_abcdefghijklmnopqrstuv\nask it")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    monkeypatch.chdir(tmp_path)
    for source in ("me/gated", "me/gated@0123456789abcdef0123456789abcdef01234567"):
        assert main(["trial", *argv_of(TINY), "--model.pretrained", source]) == options.BAD_INPUT
        err = capsys.readouterr().err
        assert err.endswith("and cannot be fetched (GatedRepoError)\n")
        assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# the noise that a pipeline was trained on


@pytest.mark.parametrize(
    ("scheduler", "words", "said"),
    [
        ({}, {}, None),
        (
            {"beta_schedule": "squaredcos_cap_v2", "beta_end": 0.1},
            {"objective__schedule": "squaredcos_cap_v2"},
            None,
        ),
        ({"num_train_timesteps": 500}, {}, "num_train_timesteps = 500, objective.timesteps = 1000"),
        (
            {"prediction_type": "v_prediction"},
            {},
            "prediction_type = 'v_prediction', objective.prediction = 'epsilon'",
        ),
        (
            {"beta_schedule": "scaled_linear"},
            {},
            "beta_schedule = 'scaled_linear', objective.schedule = 'linear'",
        ),
        ({"beta_end": 0.012}, {}, "beta_end = 0.012, the last beta = 0.02"),
        ({"trained_betas": [0.1] * 1000}, {}, "betas of its own, objective.schedule = 'linear'"),
    ],
)
def test_a_pipeline_of_another_noise_is_refused_naming_both(tmp_path, scheduler, words, said):
    pipeline(tmp_path, **scheduler)
    config = tiny(model__pretrained=str(tmp_path), **words)
    if said is None:
        check(config)
    else:
        with pytest.raises(ConfigError) as caught:
            check(config)
        assert [said in fault for fault in caught.value.faults] == [True]


# a trial from given weights


def test_init_means_the_given_weights_and_new_ones_are_new(store, tmp_path):
    given = saved(tmp_path)
    config = tiny(model__pretrained=str(tmp_path), rewind__rule="init")
    rounds(config, store)
    making, chosen = making_of(config, store)
    ticket = making.make(chosen.rungs[2].chain)
    mask, start = ticket.begin.cut.mask, ticket.masked_begin()
    for name, weight in given.named_parameters():
        bits = mask.get(name, torch.ones_like(weight, dtype=torch.bool))
        assert torch.equal(start.weights[name][bits], weight.detach()[bits])
    random = trajectory(tiny(model__pretrained=str(tmp_path), rewind__rule="random"))
    drawn = random.rungs[1].chain.parents[0].parents[0]
    assert drawn.spec["seed"] == fresh_seed(config, 1)
    fresh = making.make(drawn).state.weights
    assert not any(torch.equal(fresh[n], w) for n, w in given.named_parameters() if w.dim() > 1)


def test_a_classifier_is_pruned_from_given_weights(store, tmp_path):
    network = workshop_of(lenet()).network(99)
    save_file({n: p.detach() for n, p in network.named_parameters()}, tmp_path / "net.safetensors")
    config = lenet(model__pretrained=str(tmp_path / "net.safetensors"), rewind__rule="init")
    check(config)
    assert len(rounds(config, store)) == 3
    making, chosen = making_of(config, store)
    start = making.make(chosen.rungs[1].chain).masked_begin()
    assert torch.equal(start.weights["output.bias"], network.output.bias.detach())


# measured as they are


def test_a_given_network_is_measured_as_it_is(store, tmp_path):
    """The reference: its panel loss by hand, of the weights themselves."""
    network = saved(tmp_path / "net")
    config = TrialConfig.from_flat(comparators.given(str(tmp_path / "net")), tiny(seed=5, stream=5))
    (found,) = rounds(config, store)
    x, y = data.load(config.data).held_out("validation", config.measure.images)
    task = workshop_of(config).task
    expected = loss.panel(network.eval(), task, x, y, config.measure.timesteps)
    assert torch.equal(found.arrays["loss"], expected)
    assert (
        found.metrics["cost/steps_spent"],
        found.metrics["cost/steps_of_weights"],
        found.metrics["loss/excess"],
    ) == (
        0,
        0,
        0,
    )
    other = TrialConfig.from_flat(comparators.given(str(tmp_path / "net")), tiny())
    keys = {trajectory(each).rungs[0].round for each in (config, other)}
    assert len(keys) == 1  # no seed changes it
    assert name_of(config) == "given net s5"
    assert same(found, rounds(config, store)[0])


def test_given_networks_stand_beside_the_tickets_of_a_study(store, tmp_path):
    saved(tmp_path / "net")
    call, ledger = opened(LIST, store, "--beside", str(tmp_path / "net"), "--train.steps", "8")
    assert call.trials == len(call.points) * len(call.seeds) + 1  # once, whatever the seeds
    assert "given net s0" in [name_of(config) for config in preview(call)]
    without, _ = opened(LIST, store, "--train.steps", "8")
    assert call.plan("x") != without.plan("x")
    work_off(call, ledger, store, last=call.trials)
    found = list(trials(store, ledger))
    (verdict,) = judged(gather(found))
    evidence = verdict.evidence
    row = table(verdict)[-1]
    assert row[:4] == ["given net", "1", "1", str(len(call.seeds))]
    assert f"{100 * lead(evidence, 'given net'):+.1f}%" == row[4]
    assert "Beside them, given net (" in sentences(verdict)[-1]
    rivals = [r.metrics["loss/heldout"] for r in evidence.dense.values()]
    ratio = evidence.given["given net"].metrics["loss/heldout"] / torch.tensor(rivals)
    assert lead(evidence, "given net") == pytest.approx(float((ratio - 1).mean()), rel=1e-5)


def test_what_cannot_stand_beside_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError, match="--beside: a search grades nothing"):
        resolve(SEARCH, ["--beside", "x"])
    with pytest.raises(ConfigError, match="--beside a/net b/net: two of them would have one name"):
        resolve(LIST, ["--beside", "a/net", "b/net"])
    with pytest.raises(ConfigError, match="--beside: --trials 4 leaves out the last of 5 trials"):
        resolve(LIST, ["--beside", "a/net", "--trials", "4"])
    assert resolve(LIST, ["--beside", "a/net", "--trials", "5"]).trials == 5
    with pytest.raises(ConfigError, match=r"was trained without classes \(a trial of list\)"):
        resolve(LIST, ["--beside", "x", "--model.conditional"])
    page = (
        "import sys; from tests.test_desk import LIST; from lthray.cli import study\n"
        "sys.exit(study(LIST, ['--beside', '/nix', '--out', sys.argv[1]]))"
    )
    words = [sys.executable, "-c", page, str(tmp_path / "runs")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == options.BAD_INPUT
    assert (
        done.stderr == "error: model.pretrained = '/nix': is no file, no folder, "
        "and no Hub id such as google/ddpm-cifar10-32\n"
    )
    assert not (tmp_path / "runs").exists()
