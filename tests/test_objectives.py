"""Noise, loss and samplers agree with diffusers."""

from typing import get_args

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

from lthray.config.trial import Model, NoiseSchedule, Objective, Prediction
from lthray.task import networks
from lthray.task.data import load
from lthray.task.objectives import SAMPLERS, Autoencode, Classify, Denoise, sample, trained_scheduler

from .conftest import tiny


@pytest.fixture(scope="module")
def network():
    return networks.build(Model(channels=(8,), groups=4), (1, 8, 8), 10, 0).eval()


@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
def test_noised_images_and_loss_are_those_of_diffusers(network, schedule):
    objective = Objective(schedule=schedule)
    task, x = Denoise(objective, "cpu"), torch.randn(16, 1, 8, 8)
    x_t, t, eps = task.draw(x, torch.zeros(16), 5, 7)
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule=schedule)
    assert torch.allclose(x_t, scheduler.add_noise(x, eps, t), atol=1e-6)
    reference = torch.nn.functional.mse_loss(network(x_t, t).sample, eps)
    assert torch.allclose(task.errors(network, x_t, t, eps).mean(), reference, atol=1e-6)


@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_targets_are_those_of_diffusers(prediction):
    objective = Objective(prediction=prediction, schedule="squaredcos_cap_v2")
    task, x = Denoise(objective, "cpu"), torch.randn(16, 1, 8, 8)
    x_t, t, target = task.draw(x, torch.zeros(16), 5, 7)
    _, _, eps = Denoise(Objective(schedule="squaredcos_cap_v2"), "cpu").draw(x, torch.zeros(16), 5, 7)
    scheduler = trained_scheduler(objective)
    wanted = {"epsilon": eps, "sample": x, "v_prediction": scheduler.get_velocity(x, eps, t)}[prediction]
    assert torch.allclose(target, wanted, atol=1e-6)
    assert torch.allclose(x_t, scheduler.add_noise(x, eps, t), atol=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_a_network_that_knows_the_answer_samples_it(sampler, prediction):
    """Told the target of one image, every sampler arrives at it, whatever the network is asked for."""
    objective = Objective(prediction=prediction)
    image = torch.linspace(-0.9, 0.9, 64).reshape(1, 1, 8, 8)
    abar = trained_scheduler(objective).alphas_cumprod

    class Oracle(torch.nn.Module):
        def forward(self, x_t, t):  # as a user's own: t of every image, and the tensor itself
            signal, noise = (a[t][:, None, None, None].sqrt() for a in (abar, 1 - abar))
            eps = (x_t - signal * image) / noise
            return {"epsilon": eps, "sample": image.expand_as(x_t), "v_prediction": signal * eps - noise * image}[prediction]

    found = sample(Oracle(), objective, sampler, 20, torch.randn(3, 1, 8, 8))
    assert torch.allclose(found, image.expand_as(found), atol=0.05)


def test_a_network_that_is_told_the_class_samples_all_in_turn():
    net = networks.build(Model(channels=(8,), groups=4, conditional=True), (1, 8, 8), 10, 0).eval()
    torch.nn.init.normal_(net.class_embedding.weight, std=20.0)
    task, x, y = Denoise(Objective(), "cpu", conditional=True), torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    inputs = task.draw(x, y, 0, 0)
    assert torch.equal(inputs[2], y)
    other = task.errors(net, *inputs[:2], y.flip(0), inputs[3])
    assert not torch.allclose(task.errors(net, *inputs), other)
    x_T = torch.randn(1, 1, 8, 8).expand(12, 1, 8, 8)
    found = sample(net, Objective(), "ddim", 3, x_T)
    assert torch.allclose(found[0], found[10], atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    (_, (first, target)), *_ = enumerate(task.terms(x, y, 2))
    assert torch.equal(first[3], target)
    assert len(task.example(x)) == 3


def test_draws_are_functions_of_stream_and_step():
    task, x = Denoise(Objective(), "cpu"), torch.zeros(64, 1, 8, 8)
    a, b, c, d = (task.draw(x, x, stream, step) for stream, step in ((0, 3), (0, 3), (1, 3), (0, 4)))
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    assert not torch.equal(a[2], c[2])
    assert not torch.equal(a[2], d[2])
    t = torch.cat([task.draw(x, x, 0, step)[1] for step in range(200)])
    assert (int(t.min()), int(t.max())) == (0, 999)
    assert abs(float(t.float().mean()) - 499.5) < 10


def test_the_panel_is_fixed_and_stratified():
    task, x = Denoise(Objective(), "cpu"), torch.randn(6, 1, 8, 8)
    first, again = list(task.panel(x, x, 20)), list(task.panel(x, x, 20))
    assert task.strata(20) == [25 + 50 * k for k in range(20)]
    assert [int(t[0]) for _, t, _ in first] == task.strata(20)
    assert all(torch.equal(a[2], b[2]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][2], first[1][2])


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
def test_samplers_share_the_training_schedule_and_start_at_its_end(name, schedule):
    trained = trained_scheduler(Objective(schedule=schedule))
    scheduler = SAMPLERS[name](trained.config)
    assert torch.equal(scheduler.alphas_cumprod, trained.alphas_cumprod)
    theirs = DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule=schedule)
    assert torch.allclose(trained.alphas_cumprod, theirs.alphas_cumprod, atol=1e-6)
    scheduler.set_timesteps(10)
    assert int(scheduler.timesteps[0]) == 999
    assert scheduler.config.prediction_type == "epsilon"
    assert scheduler.config.clip_sample is True


def test_ddim_samples_are_those_of_the_diffusers_pipeline(network):
    scheduler = DDIMScheduler(beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing", clip_sample=True)
    pipe = DDIMPipeline(network, scheduler)
    pipe.set_progress_bar_config(disable=True)
    g = torch.Generator().manual_seed(0)
    x_T = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    theirs = pipe(batch_size=3, generator=g, num_inference_steps=5, output_type="np").images.transpose(0, 3, 1, 2)
    ours = sample(network, Objective(), "ddim", 5, x_T)
    assert torch.allclose((ours / 2 + 0.5).clamp(0, 1), torch.from_numpy(theirs), atol=1e-5)


def test_ddpm_samples_follow_the_diffusers_scheduler_with_fixed_noise(network):
    x_T = torch.randn(3, 1, 8, 8)
    assert torch.equal(sample(network, Objective(), "ddpm", 5, x_T), sample(network, Objective(), "ddpm", 5, x_T))
    scheduler = DDPMScheduler(beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing")
    pipe = DDPMPipeline(network, scheduler)
    assert pipe.scheduler.config.variance_type == trained_scheduler(Objective()).config.variance_type
    scheduler.set_timesteps(5)
    from lthray.core.random import generator

    x = x_T
    for i, t in enumerate(scheduler.timesteps):
        eps = network(x, t).sample.detach()
        x = scheduler.step(eps, t, x, generator=generator("ancestral", i)).prev_sample
    assert torch.allclose(x, sample(network, Objective(), "ddpm", 5, x_T), atol=1e-5)


def test_classification_is_cross_entropy():
    images = load(tiny().data)
    net = networks.build(Model(name="lenet300"), images.shape, 10, 0)
    task = Classify(Objective(name="classify"), "cpu")
    x, y = images.batch(0, 0, 16)
    inputs = task.draw(x, y, 0, 0)
    assert torch.allclose(task.errors(net, *inputs).mean(), torch.nn.functional.cross_entropy(net(x), y))
    assert len(list(task.panel(x, y, 20))) == 1


def test_autoencoding_is_squared_error_and_the_divergence_of_diffusers():
    network = networks.build(Model(name="autoencoder", channels=(8, 8), groups=4, latent=3), (1, 8, 8), 10, 0).eval()
    objective, x = Objective(name="autoencode", kl=0.5), torch.rand(5, 1, 8, 8) * 2 - 1
    task = Autoencode(objective, "cpu")
    latents = network.encode(x).latent_dist
    assert latents.mean.shape == (5, 3, 4, 4)
    divergence = latents.kl() / 48  # diffusers' own, summed over the numbers of a latent
    square = (network(x).sample - x).square().mean((1, 2, 3))  # of the mean of the latents
    assert torch.allclose(task.errors(network, *next(task.panel(x, x, 1))), square + 0.5 * divergence, atol=1e-6)
    drawn, again, other = (task.errors(network, *task.draw(x, x, 3, step)) for step in (7, 7, 8))
    assert torch.equal(drawn, again)
    assert not torch.allclose(drawn, other)
    assert not torch.allclose(drawn, square + 0.5 * divergence)


def test_latents_have_no_bounds_to_clip_at():
    assert trained_scheduler(Objective()).config.clip_sample
    assert not trained_scheduler(Objective(name="latent_denoise")).config.clip_sample
