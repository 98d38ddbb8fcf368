"""Weights as people have them: read where they can be, else refused with what is there and how."""

import json
import logging
import os
import shlex
import subprocess
import sys

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DModel,
)
from safetensors.torch import load_file, save_file

from lthray.config.fields import ConfigError, content
from lthray.config.parts import Model
from lthray.core.ticket import TicketError
from lthray.measure import quality
from lthray.task import inputs, networks
from lthray.task.saved import SHARDS, UNET, pickled
from lthray.trial.preflight import check

from .conftest import tiny
from .test_pretrained import SHAPE, edited, equal, saved


def refused(source, **words) -> str:
    """Return the one line that refuses given weights before anything is trained."""
    with pytest.raises(ConfigError) as caught:
        check(tiny(model__pretrained=str(source), **words))
    (line,) = caught.value.faults
    assert line.startswith(f"model.pretrained = {str(source)!r}: ")
    assert "\n" not in line
    return line


def built(source):
    return networks.build(Model(channels=(8,), groups=4, pretrained=str(source)), SHAPE, 10, 0)


# forms of a folder


@pytest.mark.parametrize("form", ["fp16", "sharded", "sharded fp16", "sharded in a pipeline"])
def test_variants_and_shards_are_the_network(tmp_path, form):
    network = saved(tmp_path / "whole")
    folder = tmp_path / "net"
    at = folder / "unet" if form.endswith("pipeline") else folder
    if form == "fp16":
        network.save_pretrained(at, variant="fp16")
    else:
        variant = "fp16" if "fp16" in form else None
        network.save_pretrained(at, max_shard_size="10KB", variant=variant)
        assert len(list(at.glob("*.safetensors"))) > 2
    if form.endswith("pipeline"):
        (folder / "model_index.json").write_text("{}")
    assert equal(built(folder), network)
    files_read = inputs.source_files(str(folder))
    assert sorted(files_read.weights) == sorted(at.glob("*.safetensors"))
    before = inputs.digest_of(str(folder))
    last = files_read.weights[-1]
    weights = load_file(last)
    save_file({name: weight + 1 for name, weight in weights.items()}, last)
    os.utime(last, ns=(1, 1))
    assert inputs.digest_of(str(folder)) != before  # of every shard


def spoilt_index(folder, change) -> None:
    index = json.loads((folder / SHARDS).read_text())
    index["weight_map"] = change(index["weight_map"])
    (folder / SHARDS).write_text(json.dumps(index))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: min(folder.glob("*.safetensors")).unlink(),
        lambda folder: (folder / SHARDS).write_text("[1, 2"),
        lambda folder: (folder / SHARDS).write_text('{"weight_map": [1]}'),
        lambda folder: spoilt_index(folder, lambda names: {"a": "../whole/" + UNET}),
        lambda folder: spoilt_index(folder, lambda names: {"a": 1}),
    ],
    ids=["missing", "no JSON", "no map", "outside", "no name"],
)
def test_shards_that_are_not_whole_are_one_line(tmp_path, spoil):
    saved(tmp_path / "whole")
    built(tmp_path / "whole").save_pretrained(tmp_path / "net", max_shard_size="10KB")
    spoil(tmp_path / "net")
    assert f"shards that {SHARDS} names are missing" in refused(tmp_path / "net")


def test_several_variants_are_named(tmp_path):
    network = saved(tmp_path / "x")
    for variant in ("fp16", "bf16"):
        network.save_pretrained(tmp_path / "net", variant=variant)
    line = refused(tmp_path / "net")
    assert (
        "there are diffusion_pytorch_model.bf16.safetensors, diffusion_pytorch_model.fp16" in line
    )
    assert equal(built(tmp_path / "net" / "diffusion_pytorch_model.fp16.safetensors"), network)


def test_a_checkpoint_says_which_of_its_parts_to_name(tmp_path):
    for part in ("unet", "unet_ema"):
        saved(tmp_path / "check point" / part)
    (tmp_path / "check point" / "optimizer.bin").write_bytes(b"\x80")
    line = refused(tmp_path / "check point")
    *_, first, _, second = shlex.split(line)
    assert first == str(tmp_path / "check point" / "unet")
    assert second == str(tmp_path / "check point" / "unet_ema")
    assert "its folders hold networks (2), name one: " in line
    check(tiny(model__pretrained=second))
    line = refused(tmp_path)
    assert shlex.quote(first) in line


def test_a_folder_of_something_else_says_what_is_there(tmp_path):
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).touch()
    assert refused(tmp_path).endswith("nor a model.safetensors; there is a.txt, b.txt")


@pytest.mark.parametrize("words", [{"variant": "fp16"}, {"max_shard_size": "10KB"}])
def test_a_pickle_in_shards_or_of_a_variant_is_converted_by_its_line(tmp_path, words):
    network = saved(tmp_path / "whole")
    network.save_pretrained(tmp_path / "net", safe_serialization=False, **words)
    command = shlex.split(refused(tmp_path / "net").partition("convert it once: ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True, timeout=120, capture_output=True)
    assert equal(built(tmp_path / "net"), network)


def test_weights_that_are_none_are_refused_with_the_reason(tmp_path):
    spoilt = saved(tmp_path / "nan")
    spoilt.conv_in.weight.data[0, 0, 0, 0] = torch.nan
    spoilt.save_pretrained(tmp_path / "nan")
    assert "holds NaN or infinity in conv_in.weight" in refused(tmp_path / "nan")
    saved(tmp_path / "lfs")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n"
    (tmp_path / "lfs" / UNET).write_text(pointer)
    assert "is a pointer of Git LFS and not the file" in refused(tmp_path / "lfs")


def test_a_network_that_cannot_be_called_is_one_line(tmp_path):
    down, up = ("SkipDownBlock2D",) * 2, ("SkipUpBlock2D",) * 2
    words = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    words |= {"down_block_types": down, "up_block_types": up, "add_attention": False}
    UNet2DModel(sample_size=8, in_channels=1, out_channels=1, **words).save_pretrained(tmp_path)
    assert "RuntimeError: " in refused(tmp_path, model__channels=(8, 8), model__layers=1)


@pytest.mark.parametrize("form", ["a folder", "a file"])
def test_a_pickle_is_told_with_the_line_that_converts_it(tmp_path, form):
    network = saved(tmp_path / "whole")
    network.save_pretrained(tmp_path / "it's", safe_serialization=False)
    (pickle,) = (tmp_path / "it's").glob("*.bin")
    line = refused(tmp_path / "it's" if form == "a folder" else pickle)
    assert "is a pickle, which can run code and is never loaded" in line
    command = shlex.split(line.partition("convert it once: ")[2])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True, timeout=120, capture_output=True)
    assert equal(built(tmp_path / "it's"), network)


def test_the_inception_of_torch_fidelity_is_told_with_the_line_that_converts_it(tmp_path):
    weights = {"Conv2d_1a_3x3.conv.weight": torch.rand(2, 3).T}
    for name, zipped in (("now.pth", True), ("then.pth", False)):
        path = tmp_path / name
        torch.save(weights, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ConfigError, match=r"^measure.inception = .*is a pickle") as caught:
            quality.inception(str(path))
        command = shlex.split(str(caught.value).partition("convert it once: ")[2])
        assert command[-2:] == [str(path), str(path.with_suffix(".safetensors"))]
    subprocess.run([sys.executable, *command[1:]], check=True, timeout=120)
    found = load_file(tmp_path / "then.safetensors")
    assert torch.equal(found["Conv2d_1a_3x3.conv.weight"], weights["Conv2d_1a_3x3.conv.weight"])


# what could be read without end


@pytest.mark.parametrize("word", ["origin", "measure__inception", "model__pretrained"])
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/dev/zero", "is a device, not a regular file"),
        ("pipe", "is a pipe, not a regular file"),
        ("huge", "has more than 8 GiB"),
        ("folder", "is a folder, not a regular file"),
    ],
)
def test_only_regular_files_of_a_sane_size_are_read(tmp_path, monkeypatch, word, place, said):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.mkdir("folder")
    with open("huge", "wb") as file:
        file.truncate(9 * 2**30)  # a hole: it takes no room
    if (word, place) == ("model__pretrained", "folder"):
        said = "there is nothing"
    named = place
    if (word, place) == ("origin", "folder"):
        named, said = "folder/ticket.safetensors", "No such file"  # as `lthray export` names it
    with pytest.raises((ConfigError, TicketError)) as caught:
        check(tiny(**{word: place}))
    assert str(caught.value).startswith(f"{word.replace('__', '.')} = {named!r}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_regular_file_is_read(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert content("origin", str(tmp_path / "f")) == b"abc"
    assert pickled(tmp_path / "f") == ""
    safe = tmp_path / "a.safetensors"
    save_file({"n" * 68: torch.zeros(1)}, safe)  # its first byte, a length, is that of a pickle
    assert safe.read_bytes()[:1] == b"\x80"
    assert pickled(safe) == ""


# the noise and the words of a given network


def abar(scheduler) -> list[float]:
    return scheduler.alphas_cumprod.tolist()


@pytest.mark.parametrize("place", ["", "unet", f"unet/{UNET}"], ids=["whole", "part", "file"])
@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (DDPMScheduler(1000, rescale_betas_zero_snr=True), "rescale_betas_zero_snr = True"),
        (DDPMScheduler(1000, prediction_type="v_prediction"), "prediction_type = 'v_prediction'"),
        (DDIMScheduler(1000, beta_start=0.001), "beta_start = 0.001, the first beta = 0.0001"),
        (DDPMScheduler(trained_betas=[0.01] * 1000), "betas of its own"),
        (EDMEulerScheduler(), "the noise of EDMEulerScheduler, which has no betas"),
        (FlowMatchEulerDiscreteScheduler(), "FlowMatchEulerDiscreteScheduler, which has no betas"),
    ],
    ids=["zero snr", "v", "ddim", "betas", "edm", "flow"],
)
def test_the_noise_of_a_pipeline_is_asked_wherever_in_it_the_weights_lie(
    tmp_path, place, scheduler, said
):
    DDPMPipeline(saved(tmp_path / "x"), scheduler).save_pretrained(tmp_path / "net")
    assert said in refused(tmp_path / "net" / place)


def test_noise_is_compared_by_its_numbers_not_by_its_words(tmp_path):
    own = DDPMScheduler(1000)
    for number, scheduler in enumerate(
        [
            DDIMScheduler(1000, steps_offset=1, timestep_spacing="leading", clip_sample=False),
            DDPMScheduler(1000, trained_betas=own.betas.tolist(), beta_end=0.5),
        ]
    ):
        assert abar(scheduler) == pytest.approx(abar(own))
        place = tmp_path / str(number)
        DDPMPipeline(saved(tmp_path / "x"), scheduler).save_pretrained(place)
        check(tiny(model__pretrained=str(place)))


@pytest.mark.parametrize(
    ("scheduler", "told"),
    [
        (DDPMScheduler(1000, timestep_spacing="trailing"), []),
        (DDPMScheduler(1000), ["timestep_spacing = 'leading', here 'trailing'"]),
        (
            DDPMScheduler(1000, steps_offset=1, timestep_spacing="trailing"),
            ["steps_offset = 1, here 0"],
        ),
        (
            DDIMScheduler(1000, set_alpha_to_one=False, timestep_spacing="trailing"),
            ["set_alpha_to_one = False, here True"],
        ),
        (
            DDPMScheduler(1000, variance_type="fixed_large", clip_sample=False),
            ["variance_type = 'fixed_large', here 'fixed_small'", "clip_sample = False, here True"],
        ),
    ],
    ids=["equal", "spacing", "offset", "end", "variance"],
)
def test_what_only_its_own_sampling_differs_in_is_told(tmp_path, caplog, scheduler, told):
    DDPMPipeline(saved(tmp_path / "x"), scheduler).save_pretrained(tmp_path / "net")
    with caplog.at_level(logging.WARNING, "lthray"):
        check(tiny(model__pretrained=str(tmp_path / "net")))
    assert len(caplog.messages) == bool(told)
    for words in told:
        assert words in caplog.messages[0]


@pytest.mark.parametrize(
    ("saved_words", "said"),
    [
        ({"_class_name": "DDPMScheduler"}, ""),
        ({"_class_name": "DDIMScheduler"}, ""),
        ({"_class_name": "HeunDiscreteScheduler"}, "beta_start = 0.00085, the first beta = 0.0001"),
        ({"_class_name": "Gone", "beta_schedule": "linear"}, ""),
        ({"_class_name": "Gone"}, "the noise of Gone, which has no betas"),
        ({"_class_name": "DDPMPipeline"}, "the noise of DDPMPipeline, which has no betas"),
        ({"_class_name": "DDPMScheduler", "beta_start": "x"}, "which has no betas that can be"),
        ({"_class_name": "DDPMScheduler", "num_train_timesteps": 10**12}, "which has no betas"),
    ],
)
def test_what_a_scheduler_does_not_say_is_the_default_of_its_class(tmp_path, saved_words, said):
    DDPMPipeline(saved(tmp_path / "x"), DDPMScheduler()).save_pretrained(tmp_path / "net")
    place = tmp_path / "net" / "scheduler" / "scheduler_config.json"
    place.write_text(json.dumps(saved_words))
    if said:
        assert said in refused(tmp_path / "net")
    else:
        check(tiny(model__pretrained=str(tmp_path / "net")))


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ({"channels": (8, 8)}, "--model.channels 8 8"),
        ({"layers": 2}, "--model.layers 2"),
        ({"groups": 8}, "--model.groups 8"),
        ({"channels": (8, 16), "attention": (1,), "head": 4},
         "--model.channels 8 16 --model.attention 1 --model.head 4"),
    ],
)  # fmt: skip
def test_a_network_of_other_words_is_refused_with_the_words_to_give(tmp_path, words, given):
    saved(tmp_path, **words)
    line = refused(tmp_path)
    assert line.endswith(f"is another network than the words say; give {given}")
    check(tiny(model__pretrained=str(tmp_path), **{f"model__{w}": v for w, v in words.items()}))


def test_the_words_of_more_levels_than_the_images_have_are_told_too(tmp_path):
    saved(tmp_path, channels=(8,) * 5)
    assert "give --model.channels 8 8 8 8 8" in refused(tmp_path)


def test_dropout_is_a_word_of_the_network_too(tmp_path):
    saved(tmp_path)
    edited(tmp_path, dropout=0.1)
    assert refused(tmp_path).endswith("give --model.dropout 0.1")
