"""Latent diffusion: what the autoencoder makes is made once, has unit variance, and is decoded before anything judges it."""

from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.measure import quality
from lthray.task import data, networks
from lthray.task.samplers import sample
from lthray.trial import checkpoints
from lthray.trial.plan import autoencoder_config, givens, plan, small_config
from lthray.trial.preflight import check
from lthray.trial.setting import Setting, pace
from lthray.trial.trajectory import Trial, run

from .conftest import rounds, same, tiny


def latent(**words) -> TrialConfig:
    """A tiny trial in latents."""
    own = {"objective__name": "latent_denoise", "latent__widths": (8, 8), "latent__groups": 4, "latent__steps": 20}
    return tiny(**own | words)


def made(config: TrialConfig, store) -> Trial:
    """A trial that has made its latents."""
    trial = Trial(config, store, "cpu")
    list(trial.encoded())
    return trial


def autoencoder(trial: Trial, store) -> tuple[torch.nn.Module, float]:
    """The trained autoencoder of a trial, and the standard deviation of the latents of its training images."""
    maker = trial.plan.autoencoder
    network, end = Setting(maker.config, torch.device("cpu")).network(0).eval(), maker.rungs[0].chain
    networks.set_weights(network, checkpoints.load(store, end, end.end).average)
    train = trial.pixels.scaled(trial.pixels.splits["train"])
    return network, float(networks.encoded(network, train).std())


def test_latents_are_the_autoencoders_means_with_unit_variance(store):
    trial = made(latent(latent__channels=3), store)
    network, _ = autoencoder(trial, store)
    pixels = data.load(trial.config.data)
    train = pixels.splits["train"]
    with torch.no_grad():
        means = network.encode(pixels.scaled(train)).latent_dist.mean
    found = trial.images.scaled(train)
    assert trial.images.shape == trial.shape == (3, 4, 4)
    assert float(found.std()) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(found, means / means.std(), atol=1e-4)
    with torch.no_grad():
        again = network.decode(means).sample
    assert torch.allclose(trial.decode(found), again, atol=1e-3)
    assert torch.equal(trial.images.labels, pixels.labels)


def test_latents_of_mirrored_images_are_seen_where_pixels_would_be_mirrored(store):
    trial = made(latent(data__augment="flip"), store)
    network, std = autoencoder(trial, store)
    straight = replace(trial.pixels, augment="none")
    for step in (0, 1):
        images, whole = trial.pixels.batch(3, step, 16)[0], straight.batch(3, step, 16)[0]
        assert 0 < sum(not torch.equal(a, b) for a, b in zip(images, whole, strict=True)) < 16
        assert torch.allclose(trial.images.batch(3, step, 16)[0], networks.encoded(network, images) / std, atol=1e-4)
    held = trial.pixels.held_out("validation", 20)[0]
    assert torch.allclose(trial.images.held_out("validation", 20)[0], networks.encoded(network, held) / std, atol=1e-4)


def test_one_autoencoder_and_one_set_of_latents_serve_all_trials(store, monkeypatch):
    rounds(latent(), store)
    monkeypatch.setattr(networks, "encoded", lambda *_: pytest.fail("encoded again"))
    keys = {plan(latent(seed=seed, stream=9, model__channels=(4,))).autoencoder.key for seed in (0, 7)}
    assert len(keys) == 1
    rounds(latent(seed=7, stream=9, model__channels=(4,)), store)


def test_what_the_autoencoder_is_enters_the_keys_of_what_sees_it_and_of_nothing_else():
    runs = [plan(latent(latent__steps=n)).rungs[0].chain.key for n in (20, 21)]
    assert runs[0] != runs[1]
    assert plan(tiny()).rungs[0].chain.key not in runs
    assert plan(tiny()).autoencoder is None
    assert plan(latent()).autoencoder.rungs[0].chain.key in plan(latent()).runs


def test_closed_anywhere_and_run_again_equals_the_uninterrupted_run(store, tmp_path):
    whole = rounds(latent(), store)
    other = type(store)(tmp_path / "other")
    for stop in range(1, 12, 2):
        live = run(latent(), other, device="cpu", commit=0.0)
        for _ in zip(range(stop), live, strict=False):
            pass
        live.close()
    assert all(same(a, b) for a, b in zip(whole, rounds(latent(), other), strict=True))


def test_samples_are_judged_as_images_beside_what_the_autoencoder_loses(store, monkeypatch):
    seen = []
    real = quality.sample_metrics
    monkeypatch.setattr(quality, "sample_metrics", lambda fakes, referee: seen.append(fakes.shape) or real(fakes, referee))
    config = latent(measure__samples=320, measure__sampling_steps=(2,), measure__images=20)
    found = rounds(config, store)
    assert seen == [(320, 1, 8, 8)] * 4  # dense and last rung: samples, and images that only went through the autoencoder
    trial = made(config, store)
    index = trial.pixels.splits["train"][:320]
    error = (trial.decode(trial.images.scaled(index)) - trial.pixels.scaled(index)).square().mean()
    assert found[0].metrics["floor/mse"] == pytest.approx(float(error), rel=1e-5)
    assert {"floor/kid_lenet", "quality/ddim/kid_lenet"} <= found[-1].metrics.keys()
    assert not any(name.startswith("floor/") for name in rounds(tiny(), store)[0].metrics)


def test_the_trunk_is_that_of_the_network_in_pixels(store):
    pixel, hidden = (Setting(config, torch.device("cpu")) for config in (tiny(), latent(latent__channels=3)))
    unlike = {n for n, w in pixel.weights(0).items() if hidden.weights(0)[n].shape != w.shape}
    assert unlike == {"conv_in.weight", "conv_out.weight", "conv_out.bias"}
    assert pixel.whole == hidden.whole


def test_nothing_but_a_trial_that_made_them_sees_latents():
    setting = Setting(latent(), torch.device("cpu"))
    with pytest.raises(AssertionError, match="not made yet"):
        _ = setting.images
    check(latent(prune__layers=(("conv_in", 1.0), ("*", "free"))))
    assert pace(latent())[0] == sum(w.numel() for w in setting.weights(0).values())


def test_samplers_work_in_latents(store):
    trial = made(latent(), store)
    noise = torch.randn(4, *trial.shape)
    for sampler in ("ddim", "ddpm"):
        assert trial.decode(sample(trial.twin, trial.config.objective, sampler, 3, noise)).shape == (4, 1, 8, 8)


def test_a_small_dense_network_works_in_the_same_latents(store):
    config = latent(model__channels=(16,), control="small_dense")
    assert plan(small_config(config, 0.3)).latents == plan(config).latents
    small, dense = rounds(config, store)[-1], rounds(latent(model__channels=(16,)), store)[0]
    assert small.metrics["cost/parameters"] < dense.metrics["cost/parameters"]


def test_an_autoencoder_is_a_network_like_any_other(store):
    """It can be cut, too."""
    words = {"prune.ladder": (0.5,), "rewind.fraction": 0.25, "measure.images": 20}
    found = rounds(TrialConfig.from_flat(words, autoencoder_config(latent())), store)
    assert found[1].metrics["density/prunable"] == pytest.approx(0.5, abs=1e-3)
    assert "encoder.conv_in.weight" not in found[1].densities


# an autoencoder that somebody trained


def saved(folder, seed: int = 5, **words) -> AutoencoderKL:
    """A saved autoencoder, as a pipeline of its own holds it."""
    torch.manual_seed(seed)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    shape = {"in_channels": 1, "out_channels": 1, "latent_channels": 2, "block_out_channels": (4, 8), "norm_num_groups": 2}
    network = AutoencoderKL(**shape | blocks | words).eval()
    network.save_pretrained(folder / "vae")
    (folder / "model_index.json").write_text("{}")
    return network


def test_a_given_autoencoder_is_used_as_it_is(store, tmp_path):
    network = saved(tmp_path)
    config = latent(latent__pretrained=str(tmp_path), latent__groups=8, latent__widths=(8, 8))
    trial = made(config, store)
    pixels = trial.pixels.scaled(trial.pixels.splits["train"])
    found = trial.images.scaled(trial.pixels.splits["train"])
    means = networks.encoded(network, pixels)
    assert torch.allclose(found, means / means.std(), atol=1e-4)
    assert trial.plan.autoencoder.rungs[0].chain.steps == 0
    assert len(rounds(config, store)) == 3
    keys = {plan(config).rungs[1].chain.key}
    saved(tmp_path / "other", seed=6)
    for place in ("", str(tmp_path / "other")):
        other = latent(latent__pretrained=place, latent__groups=8, latent__widths=(8, 8))
        keys.add(plan(other).rungs[1].chain.key)
        assert givens(other) != givens(config)
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"latent_channels": 3}, "has 3 latent channels, latent.channels = 2"),
        ({"in_channels": 3, "out_channels": 3}, "has 3 channels, data 1"),
        (
            {
                "block_out_channels": (8,),
                "down_block_types": ("DownEncoderBlock2D",),
                "up_block_types": ("UpDecoderBlock2D",),
            },
            "has 1 levels, latent.widths = (8, 8)",
        ),
    ],
)
def test_an_autoencoder_that_will_not_do_is_one_line(tmp_path, words, said):
    saved(tmp_path, **words)
    with pytest.raises(ConfigError) as caught:
        check(latent(latent__pretrained=str(tmp_path)))
    assert caught.value.faults == [f"latent.pretrained = {str(tmp_path)!r}: {said}"]


def test_no_autoencoder_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"latent.pretrained = .*: has no diffusion_pytorch_model"):
        check(latent(latent__pretrained=str(tmp_path)))
