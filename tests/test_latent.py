"""Latent diffusion: what the autoencoder makes is made once, has unit variance, and is decoded
before anything judges it."""

from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.core.store import Store
from lthray.measure import quality
from lthray.study.preview import pace
from lthray.task import data, networks
from lthray.task.samplers import sample
from lthray.trial import makers
from lthray.trial.given import given_digests
from lthray.trial.preflight import check
from lthray.trial.recipe import trajectory
from lthray.trial.sources import autoencoder_config, small_config
from lthray.trial.steps import Step, walk
from lthray.trial.workshop import Encoded, workshop_of

from .conftest import making_of, resumed, rounds, same, tiny


def latent(**words) -> TrialConfig:
    """Return a tiny trial in latents."""
    own = {
        "objective__name": "latent_denoise",
        "latent__widths": (8, 8),
        "latent__groups": 4,
        "latent__steps": 20,
    }
    return tiny(**own | words)


def latents_of(config: TrialConfig) -> Step:
    """Return the images of a trial's dense run, as a step."""
    return trajectory(config).rungs[0].chain.parents[1]


def encoded(config: TrialConfig, store: Store) -> Encoded:
    """Return the latents that a trial learns from."""
    making, chosen = making_of(config, store)
    return making.make(chosen.rungs[0].chain).images


def autoencoder(config: TrialConfig, store: Store) -> tuple[torch.nn.Module, float]:
    """Return the trained autoencoder of a trial, and the standard deviation of the latents of its
    training images."""
    own = autoencoder_config(config)
    making, chosen = making_of(own, store)
    network = workshop_of(own).network(0).eval()
    networks.set_weights(network, making.make(chosen.rungs[0].chain).final.average)
    pixels = data.load(config.data)
    train = pixels.scaled(pixels.splits["train"])
    return network, float(networks.encoded(network, train).std())


def test_latents_are_the_autoencoders_means_with_unit_variance(store):
    config = latent(latent__channels=3)
    images = encoded(config, store)
    network, _ = autoencoder(config, store)
    pixels = data.load(config.data)
    train = pixels.splits["train"]
    with torch.no_grad():
        means = network.encode(pixels.scaled(train)).latent_dist.mean
    found = images.scaled(train)
    assert images.shape == workshop_of(config).shape == (3, 4, 4)
    assert float(found.std()) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(found, means / means.std(), atol=1e-4)
    with torch.no_grad():
        again = network.decode(means).sample
    assert torch.allclose(images.decode(found), again, atol=1e-3)
    assert torch.equal(images.labels, pixels.labels)


def test_latents_are_scaled_by_all_training_images_whatever_part_is_learnt_from(store):
    whole, half = (latents_of(latent(data__fraction=share)) for share in (1.0, 0.5))
    assert whole.key == half.key
    images = encoded(latent(data__fraction=0.5), store)
    train = data.load(latent().data).splits["train"]
    assert len(images.splits["train"]) < len(train)
    assert float(images.scaled(train).std()) == pytest.approx(1, abs=1e-5)


def test_latents_of_mirrored_images_are_seen_where_pixels_would_be_mirrored(store):
    config = latent(data__augment="flip")
    images = encoded(config, store)
    network, std = autoencoder(config, store)
    mirrored = data.load(config.data)
    straight = replace(mirrored, augment="none")
    for step in (0, 1):
        seen, plain = mirrored.batch(3, step, 16)[0], straight.batch(3, step, 16)[0]
        flipped = sum(not torch.equal(a, b) for a, b in zip(seen, plain, strict=True))
        assert 0 < flipped < 16
        expected = networks.encoded(network, seen) / std
        assert torch.allclose(images.batch(3, step, 16)[0], expected, atol=1e-4)
    held_out = networks.encoded(network, mirrored.held_out("validation", 20)[0]) / std
    assert torch.allclose(images.held_out("validation", 20)[0], held_out, atol=1e-4)


def test_one_autoencoder_and_one_set_of_latents_serve_all_trials(store, monkeypatch):
    rounds(latent(), store)
    monkeypatch.setattr(networks, "encoded", lambda *_: pytest.fail("encoded again"))
    steps = [latents_of(latent(seed=seed, stream=9, model__channels=(4,))) for seed in (0, 7)]
    assert len({step.key for step in steps}) == 1
    assert len({step.parents[0].key for step in steps}) == 1
    rounds(latent(seed=7, stream=9, model__channels=(4,)), store)


def test_what_the_autoencoder_is_enters_the_keys_of_what_sees_it_and_of_nothing_else():
    runs = [trajectory(latent(latent__steps=n)).rungs[0].chain.key for n in (20, 21)]
    assert runs[0] != runs[1]
    assert trajectory(tiny()).rungs[0].chain.key not in runs
    assert trajectory(tiny()).served == ()
    assert trajectory(latent()).served == (autoencoder_config(latent()),)
    made_by = trajectory(autoencoder_config(latent())).rungs[0].chain
    assert made_by.key in trajectory(latent()).runs


def test_closed_anywhere_and_run_again_equals_the_uninterrupted_run(store, tmp_path):
    whole = rounds(latent(), store)
    again = resumed(latent(), Store(tmp_path / "other"))
    assert len(whole) == 3
    assert all(same(a, b) for a, b in zip(whole, again, strict=True))


def test_samples_are_judged_as_images_beside_what_the_autoencoder_loses(store, monkeypatch):
    seen = []
    real = quality.sample_metrics

    def noted(fakes, referee):
        seen.append(fakes.shape)
        return real(fakes, referee)

    monkeypatch.setattr(quality, "sample_metrics", noted)
    config = latent(measure__samples=320, measure__sampling_steps=(2,), measure__images=20)
    found = rounds(config, store)
    # dense and last rung: samples; and once, for all rungs, images that only went through the
    # autoencoder
    assert seen == [(320, 1, 8, 8)] * 3
    images, pixels = encoded(config, store), data.load(config.data)
    index = pixels.splits["train"][:320]
    error = (images.decode(images.scaled(index)) - pixels.scaled(index)).square().mean()
    assert found[0].metrics["floor/mse"] == pytest.approx(float(error), rel=1e-5)
    assert found[-1].metrics["floor/mse"] == found[0].metrics["floor/mse"]
    assert {"floor/kid_lenet", "quality/ddim/kid_lenet"} <= found[-1].metrics.keys()
    in_pixels = rounds(tiny(), store)[0].metrics
    assert not any(name.startswith("floor/") for name in in_pixels)


def test_the_trunk_is_that_of_the_network_in_pixels():
    pixel, hidden = workshop_of(tiny()), workshop_of(latent(latent__channels=3))
    unlike = {name for name, size in pixel.sizes.items() if hidden.sizes[name] != size}
    assert unlike == {"conv_in.weight", "conv_out.weight", "conv_out.bias"}
    assert pixel.whole(()) == hidden.whole(())


def test_nothing_but_a_trial_in_latents_sees_them_and_none_are_needed_to_check_one():
    assert latents_of(tiny()).kind == "data"
    images = latents_of(latent())
    assert images.kind == "latents"
    assert [parent.kind for parent in images.parents] == ["train", "data"]
    check(latent(prune__layers=(("conv_in", 1.0), ("*", "free"))))
    weights = workshop_of(latent()).weights(0)
    assert pace(latent())[0] == sum(weight.numel() for weight in weights.values())


def test_samplers_work_in_latents(store):
    images, workshop = encoded(latent(), store), workshop_of(latent())
    noise = torch.randn(4, *workshop.shape)
    for sampler in ("ddim", "ddpm"):
        made = sample(workshop.twin, workshop.objective, sampler, 3, noise)
        assert images.decode(made).shape == (4, 1, 8, 8)


def test_samples_have_the_range_of_the_latents_that_were_learnt(store):
    """An untrained network is wrong by far; uncut, its samples are in the hundreds."""
    images, workshop = encoded(latent(), store), workshop_of(latent())
    train = images.splits["train"]
    assert images.bound == float(images.images[0][train].abs().max()) < 10
    making, chosen = making_of(latent(measure__samples=320, measure__sampling_steps=(4,)), store)
    drawn = [step for step in walk(chosen.wanted) if step.kind == "sample"]
    assert drawn
    bounds = []

    def noted(*arguments, bound: float):
        made = sample(*arguments, bound=bound)
        bounds.append((bound, float(made.abs().max())))
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(makers, "sample", noted)
        making.make(drawn[0])
    ((bound, largest),) = bounds
    assert bound == images.bound
    assert largest < 1.01 * bound


def test_a_small_dense_network_works_in_the_same_latents(store):
    config = latent(model__channels=(16,), control="small_dense")
    assert latents_of(small_config(config, 0.3)).key == latents_of(config).key
    small = rounds(config, store)[-1]
    dense = rounds(latent(model__channels=(16,)), store)[0]
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
    blocks = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    }
    shape = {
        "in_channels": 1,
        "out_channels": 1,
        "latent_channels": 2,
        "block_out_channels": (4, 8),
        "norm_num_groups": 2,
    }
    network = AutoencoderKL(**shape | blocks | words).eval()
    network.save_pretrained(folder / "vae")
    (folder / "model_index.json").write_text("{}")
    return network


def test_a_given_autoencoder_is_used_as_it_is(store, tmp_path):
    network = saved(tmp_path)
    config = latent(latent__pretrained=str(tmp_path), latent__groups=8, latent__widths=(8, 8))
    pixels = data.load(config.data)
    train = pixels.splits["train"]
    means = networks.encoded(network, pixels.scaled(train))
    found = encoded(config, store).scaled(train)
    assert torch.allclose(found, means / means.std(), atol=1e-4)
    assert latents_of(config).parents[0].length == 0
    assert len(rounds(config, store)) == 3
    keys = {trajectory(config).rungs[1].chain.key}
    saved(tmp_path / "other", seed=6)
    for place in ("", str(tmp_path / "other")):
        other = latent(latent__pretrained=place, latent__groups=8, latent__widths=(8, 8))
        keys.add(trajectory(other).rungs[1].chain.key)
        assert given_digests(other) != given_digests(config)
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
    with pytest.raises(
        ConfigError, match=r"latent.pretrained = .*: has no diffusion_pytorch_model"
    ):
        check(latent(latent__pretrained=str(tmp_path)))
