"""Noise and loss agree with diffusers; draws are functions of (stream, step)."""

import itertools
from typing import get_args

import pytest
import torch
from diffusers import DDPMScheduler

from lthray.config.parts import Model, Objective
from lthray.config.vocabulary import NoiseSchedule, Prediction
from lthray.task import networks
from lthray.task.data import load
from lthray.task.objectives import OBJECTIVES, Autoencode, Classify, Denoise, alphas_cumprod
from lthray.task.samplers import sample, trained_scheduler

from .conftest import tiny


@pytest.fixture(scope="module")
def network():
    return networks.build(Model(channels=(8,), groups=4), (1, 8, 8), 10, 0).eval()


@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
def test_noised_images_and_loss_are_those_of_diffusers(network, schedule):
    objective = Objective(schedule=schedule)
    task, x = Denoise(objective, "cpu"), torch.randn(16, 1, 8, 8)
    x_t, t, eps = task.draw(x, torch.zeros(16), 5, 7)
    scheduler = DDPMScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule=schedule
    )
    assert torch.allclose(x_t, scheduler.add_noise(x, eps, t), atol=1e-6)
    reference = torch.nn.functional.mse_loss(network(x_t, t).sample, eps)
    assert torch.allclose(task.errors(network, x_t, t, eps).mean(), reference, atol=1e-6)


@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_targets_are_those_of_diffusers(prediction):
    objective = Objective(prediction=prediction, schedule="squaredcos_cap_v2")
    task, x = Denoise(objective, "cpu"), torch.randn(16, 1, 8, 8)
    x_t, t, target = task.draw(x, torch.zeros(16), 5, 7)
    _, _, eps = Denoise(Objective(schedule="squaredcos_cap_v2"), "cpu").draw(
        x, torch.zeros(16), 5, 7
    )
    scheduler = trained_scheduler(objective)
    wanted = {"epsilon": eps, "sample": x, "v_prediction": scheduler.get_velocity(x, eps, t)}[
        prediction
    ]
    assert torch.allclose(target, wanted, atol=1e-6)
    assert torch.allclose(x_t, scheduler.add_noise(x, eps, t), atol=1e-6)


@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
@pytest.mark.parametrize("timesteps", [2, 3, 10, 20, 100, 250, 1000, 4000])
def test_nothing_of_an_image_is_left_at_the_last_timestep(schedule, timesteps):
    """Sampling begins with noise alone, so training must end there, however short the schedule."""
    abar = alphas_cumprod(Objective(schedule=schedule, timesteps=timesteps)).double()
    assert len(abar) == timesteps
    assert 0 < float(abar[-1]) < (1e-4 if timesteps >= 20 else 5e-3)
    assert bool((abar.diff() < 0).all())


def test_a_short_schedule_has_the_noise_of_a_long_one_at_the_same_share_of_it():
    """beta x 1000 / T, as guided-diffusion has it."""
    short, long = (alphas_cumprod(Objective(timesteps=t)).double() for t in (100, 1000))
    assert torch.allclose(short, long[9::10], atol=0.01)
    theirs = DDPMScheduler(100, beta_start=1e-3, beta_end=0.2).alphas_cumprod.double()
    assert torch.allclose(short, theirs)


def test_a_network_that_is_told_the_class_samples_all_in_turn():
    net = networks.build(Model(channels=(8,), groups=4, conditional=True), (1, 8, 8), 10, 0).eval()
    torch.nn.init.normal_(net.class_embedding.weight, std=20.0)
    task, x, y = (
        Denoise(Objective(), "cpu", conditional=True),
        torch.randn(4, 1, 8, 8),
        torch.tensor([0, 1, 2, 3]),
    )
    inputs = task.draw(x, y, 0, 0)
    assert torch.equal(inputs[2], y)
    other = task.errors(net, *inputs[:2], y.flip(0), inputs[3])
    assert not torch.allclose(task.errors(net, *inputs), other)
    x_T = torch.randn(1, 1, 8, 8).expand(12, 1, 8, 8)
    found = sample(net, Objective(), "ddim", 3, x_T)
    assert torch.allclose(found[0], found[10], atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    (_, (first, target)), *_ = enumerate(task.terms(x, y, 2, 0))
    assert torch.equal(first[3], target)
    assert len(task.example(x)) == 3


def test_draws_are_functions_of_stream_and_step():
    task, x = Denoise(Objective(), "cpu"), torch.zeros(64, 1, 8, 8)
    a, b, c, d = (
        task.draw(x, x, stream, step) for stream, step in ((0, 3), (0, 3), (1, 3), (0, 4))
    )
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


def numbers(noise: torch.Tensor) -> set[float]:
    """The numbers of a draw, each of which comes once in 2^24 or so."""
    return set(noise.flatten().tolist())


def test_a_criterion_sees_noise_that_nothing_is_trained_or_measured_with():
    """The seeds of criterion and stream are equal here; so are the images."""
    task, x = Denoise(Objective(), "cpu"), torch.zeros(16, 1, 8, 8)
    draws = {
        "panel": [target for *_, target in task.panel(x, x, 20)],
        "training": [task.draw(x, x, 0, step)[-1] for step in range(20)],
        "criterion": [target for _, target in task.terms(x, x, 10, 0)],
        "another rung": [target for _, target in task.terms(x, x, 10, 1)],
    }
    seen = {name: numbers(torch.stack(noise)) for name, noise in draws.items()}
    for one, other in itertools.combinations(seen, 2):
        assert len(seen[one] & seen[other]) < 0.01 * len(seen[other]), (one, other)
    again = [target for _, target in task.terms(x, x, 10, 0)]
    assert all(map(torch.equal, draws["criterion"], again))
    assert len(seen["criterion"]) > 0.99 * 10 * x.numel()  # and no term has that of another


def test_classification_is_cross_entropy():
    images = load(tiny().data)
    net = networks.build(Model(name="lenet300"), images.shape, 10, 0)
    task = Classify(Objective(name="classify"), "cpu")
    x, y = images.batch(0, 0, 16)
    inputs = task.draw(x, y, 0, 0)
    assert torch.allclose(
        task.errors(net, *inputs).mean(), torch.nn.functional.cross_entropy(net(x), y)
    )
    assert len(list(task.panel(x, y, 20))) == 1


def test_autoencoding_is_squared_error_and_the_divergence_of_diffusers():
    network = networks.build(
        Model(name="autoencoder", channels=(8, 8), groups=4, latent=3), (1, 8, 8), 10, 0
    ).eval()
    objective, x = Objective(name="autoencode", kl=0.5), torch.rand(5, 1, 8, 8) * 2 - 1
    task = Autoencode(objective, "cpu")
    latents = network.encode(x).latent_dist
    assert latents.mean.shape == (5, 3, 4, 4)
    divergence = latents.kl() / 48  # diffusers' own, summed over the numbers of a latent
    square = (network(x).sample - x).square().mean((1, 2, 3))  # of the mean of the latents
    assert torch.allclose(
        task.errors(network, *next(task.panel(x, x, 1))), square + 0.5 * divergence, atol=1e-6
    )
    drawn, again, other = (task.errors(network, *task.draw(x, x, 3, step)) for step in (7, 7, 8))
    assert torch.equal(drawn, again)
    assert not torch.allclose(drawn, other)
    assert not torch.allclose(drawn, square + 0.5 * divergence)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_task_says_whether_it_classifies_and_how_long_its_schedule_is(name):
    row = OBJECTIVES[name]
    task = row.task(Objective(name=name, timesteps=300), "cpu", False)
    assert task.classifies == row.classifies
    assert task.timesteps == (300 if row.denoises else None)
    assert row.denoises or not row.latent
