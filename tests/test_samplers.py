"""Samplers are those of diffusers, arrive where the exact solution is, and make as many calls as
they say."""

from typing import get_args

import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
)
from torch import Tensor

from lthray.config.parts import Model, Objective
from lthray.config.vocabulary import CALLS_A_STEP, FEWEST_CALLS, NoiseSchedule, Prediction
from lthray.core.random import generator
from lthray.task import networks
from lthray.task.samplers import SAMPLERS, sample, trained_scheduler

CPU = torch.device("cpu")
HIGHER_ORDER = ("dpm_solver", "heun")
WORDS = {"beta_start": 1e-4, "beta_end": 0.02, "timestep_spacing": "trailing"}


@pytest.fixture(scope="module")
def network():
    return networks.build(Model(channels=(8,), groups=4), (1, 8, 8), 10, 0).eval()


def noise(n: int = 3, side: int = 8) -> Tensor:
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(0))


class Counted(torch.nn.Module):
    """A user's own network that says that every image is black, and keeps the timesteps of its
    calls."""

    def __init__(self):
        super().__init__()
        self.timesteps: list[int] = []

    def forward(self, x, t):
        assert t.dtype == torch.int64  # as in training, so that an embedding may look it up
        self.timesteps.append(int(t[0]))
        return torch.zeros_like(x)


class Gaussian(torch.nn.Module):
    """The best denoiser of images x_0 ~ N(mu, s^2 I), as a user's own: it answers with a tensor."""

    def __init__(self, objective: Objective, mu: float = 0.1, s: float = 0.25):
        super().__init__()
        self.abar = trained_scheduler(objective).alphas_cumprod
        self.prediction, self.mu, self.s = objective.prediction, mu, s

    def forward(self, x_t, t):
        abar = self.abar[t][:, None, None, None]
        signal, noise_level = abar.sqrt(), (1 - abar).sqrt()
        gain = signal * self.s**2 / (abar * self.s**2 + 1 - abar)
        image = self.mu + gain * (x_t - signal * self.mu)
        eps = (x_t - signal * image) / noise_level
        velocity = signal * eps - noise_level * image
        return {"epsilon": eps, "sample": image, "v_prediction": velocity}[self.prediction]

    def solution(self, x_T: Tensor) -> Tensor:
        """Where the probability flow ODE takes the noise x_T (Song et al. 2021)."""
        abar = self.abar[-1]
        spread = (abar * self.s**2 + 1 - abar).sqrt()
        return self.mu + self.s * (x_T - abar.sqrt() * self.mu) / spread


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_a_network_that_knows_the_answer_samples_it(sampler, prediction):
    """Told the target of one image, every sampler arrives at it, whatever the network is asked
    for."""
    objective = Objective(prediction=prediction)
    image = torch.linspace(-0.9, 0.9, 64).reshape(1, 1, 8, 8)
    abar = trained_scheduler(objective).alphas_cumprod

    class Oracle(torch.nn.Module):
        def forward(self, x_t, t):  # as a user's own: t of every image, and the tensor itself
            signal, noise = (a[t][:, None, None, None].sqrt() for a in (abar, 1 - abar))
            eps = (x_t - signal * image) / noise
            velocity = signal * eps - noise * image
            answers = {"epsilon": eps, "sample": image.expand_as(x_t), "v_prediction": velocity}
            return answers[prediction]

    found = sample(Oracle(), objective, sampler, 20, torch.randn(3, 1, 8, 8))
    assert torch.allclose(found, image.expand_as(found), atol=0.05)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
def test_samplers_share_the_training_schedule_and_start_at_its_end(name, schedule):
    trained = trained_scheduler(Objective(schedule=schedule))
    scheduler = SAMPLERS[name].scheduler(trained.config, 10, CPU)
    assert torch.equal(scheduler.alphas_cumprod, trained.alphas_cumprod)
    theirs = DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule=schedule)
    assert torch.allclose(trained.alphas_cumprod, theirs.alphas_cumprod, atol=1e-6)
    first = int(scheduler.timesteps[0])
    if (
        name in HIGHER_ORDER and schedule == "squaredcos_cap_v2"
    ):  # the end is where no image is left
        assert first == 995
        assert float(scheduler.alphas_cumprod[first].sqrt()) < 0.01
    else:
        assert first == 999
    assert scheduler.config.prediction_type == "epsilon"


@pytest.mark.parametrize("name", SAMPLERS)
def test_pixels_have_bounds_and_latents_have_none(name):
    """A network that says 3 everywhere is cut to 1 in pixels, and believed in latents."""
    assert trained_scheduler(Objective()).config.clip_sample
    assert not trained_scheduler(Objective(name="latent_denoise")).config.clip_sample

    class Three(torch.nn.Module):
        def forward(self, x_t, t):
            return torch.full_like(x_t, 3.0)

    for objective, bound in (("denoise", 1.0), ("latent_denoise", 3.0)):
        config = Objective(name=objective, prediction="sample")
        found = sample(Three(), config, name, 9, noise())
        assert torch.allclose(found, torch.full_like(found, bound), atol=1e-4)


# the reference: diffusers' own loops


class Erring(torch.nn.Module):
    """The exact network of latents ~ N(0, 1), but for a small error that is always the same."""

    def __init__(self, objective: Objective):
        super().__init__()
        self.abar = trained_scheduler(objective).alphas_cumprod
        self.prediction = objective.prediction
        self.error = 0.2 * torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(2))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        abar = self.abar[t][:, None, None, None]
        exact = {
            "epsilon": (1 - abar).sqrt() * x_t,
            "v_prediction": torch.zeros_like(x_t),
            "sample": abar.sqrt() * x_t,
        }
        return exact[self.prediction] + self.error


@pytest.mark.parametrize("timesteps", [100, 1000])
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_latents_stay_in_their_range_whatever_error_a_network_makes(
    prediction, schedule, name, timesteps
):
    """Uncut, the clean latent that a noise implies is off by the error / sqrt(abar_T)."""
    objective = Objective(
        name="latent_denoise", prediction=prediction, schedule=schedule, timesteps=timesteps
    )
    x_T = torch.randn(256, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    network = Erring(objective)
    found = sample(network, objective, name, 20, x_T, bound=4.0)
    assert float(found.abs().max()) < 4.2
    assert 0.5 < float(found.std()) < 2.6
    if (name, prediction, schedule) == ("ddim", "epsilon", "squaredcos_cap_v2"):
        assert float(sample(network, objective, name, 20, x_T).abs().max()) > 6.0


@pytest.mark.parametrize("name", ["ddpm", "dpm_solver", "heun"])
@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_a_bound_of_latents_is_what_diffusers_has_for_pixels(prediction, schedule, name):
    """DDIM alone keeps the noise that a cut image no longer goes with."""
    words = {"prediction": prediction, "schedule": schedule}
    network = Erring(Objective(name="latent_denoise", **words))
    x_T = torch.randn(16, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    pixels = sample(network, Objective(name="denoise", **words), name, 20, x_T)
    latents = Objective(name="latent_denoise", **words)
    assert torch.allclose(sample(network, latents, name, 20, x_T, bound=1.0), pixels, atol=2e-3)
    far = sample(network, latents, name, 20, x_T, bound=1e9)
    assert torch.equal(far, sample(network, latents, name, 20, x_T))


def test_ddim_samples_are_those_of_the_diffusers_pipeline(network):
    pipe = DDIMPipeline(network, DDIMScheduler(clip_sample=True, **WORDS))
    pipe.set_progress_bar_config(disable=True)
    g = torch.Generator().manual_seed(0)
    theirs = pipe(batch_size=3, generator=g, num_inference_steps=5, output_type="np").images
    ours = (sample(network, Objective(), "ddim", 5, noise()) / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(ours, torch.from_numpy(theirs.transpose(0, 3, 1, 2)), atol=1e-5)


@torch.no_grad()
def literal_loop(network, scheduler, x_T: Tensor, **generators) -> Tensor:
    """The sampling loop as diffusers' pipelines have it."""
    x = x_T * scheduler.init_noise_sigma
    for i, t in enumerate(scheduler.timesteps):
        answers = network(scheduler.scale_model_input(x, t), t).sample
        options = {"generator": generator("ancestral", i)} if generators.get("fresh") else {}
        x = scheduler.step(answers, t, x, **options).prev_sample
    return x


@pytest.mark.parametrize("calls", [1, 8, 20])
def test_ddim_is_a_literal_loop_bit_for_bit_where_calls_divide_the_timesteps(network, calls):
    ddim = DDIMScheduler(clip_sample=True, **WORDS)
    ddim.set_timesteps(calls)
    ours = sample(network, Objective(), "ddim", calls, noise())
    assert torch.equal(ours, literal_loop(network, ddim, noise()))


@pytest.mark.parametrize("calls", [1, 7, 20])
def test_ddpm_is_a_literal_loop_bit_for_bit(network, calls):
    ddpm = DDPMScheduler(**WORDS)
    ddpm.set_timesteps(calls)
    ours = sample(network, Objective(), "ddpm", calls, noise())
    assert torch.equal(ours, literal_loop(network, ddpm, noise(), fresh=True))


def test_ddpm_samples_follow_the_diffusers_scheduler_with_fixed_noise(network):
    first, again = (sample(network, Objective(), "ddpm", 5, noise()) for _ in range(2))
    assert torch.equal(first, again)
    pipe = DDPMPipeline(network, DDPMScheduler(**WORDS))
    variance = trained_scheduler(Objective()).config.variance_type
    assert pipe.scheduler.config.variance_type == variance


def test_dpm_solver_is_that_of_diffusers(network):
    objective = Objective(name="latent_denoise")
    theirs = DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_order=2, **WORDS)
    theirs.set_timesteps(20)
    ours = sample(network, objective, "dpm_solver", 20, noise())
    assert torch.allclose(ours, literal_loop(network, theirs, noise()), atol=1e-5)


def test_heun_is_that_of_diffusers_near_the_levels_of_karras(network):
    objective = Objective(name="latent_denoise")
    trained = trained_scheduler(objective)
    scheduler = SAMPLERS["heun"].scheduler(trained.config, 10, CPU)
    ours = sample(network, objective, "heun", 19, noise())
    assert torch.equal(ours, literal_loop(network, scheduler, noise()))
    theirs = HeunDiscreteScheduler.from_config(
        trained.config, use_karras_sigmas=True, timestep_spacing="linspace"
    )
    theirs.set_timesteps(10)
    assert len(scheduler.sigmas) == 20
    assert torch.allclose(scheduler.sigmas, theirs.sigmas, rtol=0.03)
    assert torch.allclose(scheduler.timesteps, theirs.timesteps, atol=0.5)


# the law: where the exact solution is known


@pytest.mark.parametrize("sampler", HIGHER_ORDER)
@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
@pytest.mark.parametrize("prediction", get_args(Prediction))
@pytest.mark.parametrize("space", ["denoise", "latent_denoise"])
def test_samples_of_gaussian_images_converge_to_the_exact_ones(
    sampler, schedule, prediction, space
):
    objective = Objective(name=space, schedule=schedule, prediction=prediction)
    network, x_T = Gaussian(objective), noise(500, side=2)
    exact = network.solution(x_T)
    bounds = (-1, 1) if space == "denoise" else (-10, 10)
    errors = []
    for calls in (21, 51, 201):
        found = sample(network, objective, sampler, calls, x_T)
        errors.append(distance(found, exact.clamp(*bounds)))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.004
    assert errors[-1] < errors[0] / 5 or space == "denoise"  # cutting is not part of the ODE
    assert float(found.mean()) == pytest.approx(0.1, abs=0.02)
    assert float(found.std()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
@pytest.mark.parametrize("space", ["denoise", "latent_denoise"])
@pytest.mark.parametrize(("fewer", "calls"), [(50, 61), (250, 300), (500, 501), (500, 999)])
def test_calls_of_ddim_that_do_not_divide_the_timesteps_arrive_as_well(
    space, schedule, fewer, calls
):
    """DDIM of diffusers leaves noise there: at 501 calls twice the spread of the images."""
    objective = Objective(name=space, schedule=schedule)
    network, x_T = Gaussian(objective), noise(500, side=2)
    limit = sample(network, objective, "ddim", 1000, x_T)
    divided, found = (sample(network, objective, "ddim", n, x_T) for n in (fewer, calls))
    assert distance(found, limit) < 1.05 * distance(divided, limit)


@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
def test_twenty_calls_of_dpm_solver_are_nearer_to_the_end_than_twenty_of_ddim(schedule):
    objective = Objective(schedule=schedule)
    network, x_T = Gaussian(objective), noise(500, side=2)
    limit = sample(network, objective, "ddim", 1000, x_T)
    ddim, solver = (sample(network, objective, s, 20, x_T) for s in ("ddim", "dpm_solver"))
    assert distance(solver, limit) < 0.8 * distance(ddim, limit)


@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
def test_forty_calls_of_heun_are_nearer_to_the_end_than_forty_of_ddim(schedule):
    objective = Objective(name="latent_denoise", schedule=schedule)
    network, x_T = Gaussian(objective), noise(500, side=2)
    limit = network.solution(x_T)
    ddim, heun = (sample(network, objective, s, 40, x_T) for s in ("ddim", "heun"))
    assert distance(heun, limit) < distance(ddim, limit)


# calls


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("schedule", get_args(NoiseSchedule))
@pytest.mark.parametrize("calls", [3, 7, 20, 61, 999])
def test_calls_are_as_many_as_asked_for_at_levels_of_training(sampler, schedule, calls):
    objective = Objective(schedule=schedule, prediction="sample")
    network = Counted()
    found = sample(network, objective, sampler, calls, noise(2, side=2))
    made = calls - 1 if sampler == "heun" and calls % 2 == 0 else calls
    assert len(network.timesteps) == made
    assert network.timesteps == sorted(network.timesteps, reverse=True)
    assert 0 <= min(network.timesteps) <= max(network.timesteps) <= 999
    distinct = (made + 1) // 2 if sampler == "heun" else made
    assert len(set(network.timesteps)) == distinct
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_config_knows_how_many_calls_a_step_takes(sampler):
    assert SAMPLERS[sampler].steps_of_calls(100) == 100 // CALLS_A_STEP.get(sampler, 1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_as_many_steps_as_there_are_timesteps_and_no_more(sampler):
    objective = Objective(timesteps=10, schedule="squaredcos_cap_v2", prediction="sample")
    calls = {"heun": 19}.get(sampler, 10)
    network = Counted()
    sample(network, objective, sampler, calls, noise(2, side=2))
    assert sorted(set(network.timesteps)) == list(range(10))
    with pytest.raises(ValueError, match=r"11 steps, more than objective.timesteps = 10"):
        sample(network, objective, sampler, calls + 2 if sampler == "heun" else 11, noise())


@pytest.mark.parametrize(
    ("sampler", "calls", "said"),
    [
        ("ddim", 0, "0 calls: a sampler needs at least 1"),
        ("dpm_solver", 0, "0 calls: a sampler needs at least 1"),
        ("heun", 2, "2 calls: heun needs at least 3"),
    ],
)
def test_too_few_calls_are_refused(network, sampler, calls, said):
    with pytest.raises(ValueError, match=said):
        sample(network, Objective(), sampler, calls, noise())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_config_knows_the_fewest_calls_of_a_sampler(sampler):
    fewest = FEWEST_CALLS.get(sampler, 1)
    assert SAMPLERS[sampler].steps_of_calls(fewest) >= 1
    with pytest.raises(ValueError, match="at least"):
        SAMPLERS[sampler].steps_of_calls(fewest - 1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_equal_noise_gives_equal_samples(network, sampler):
    first, again = (sample(network, Objective(), sampler, 9, noise()) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.allclose(first[0], first[1], atol=1e-3)
    labels = {row.label for row in SAMPLERS.values()}
    assert len(labels) == len(SAMPLERS)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_conditional_network_gets_the_classes_in_turn(sampler):
    model = Model(channels=(8,), groups=4, conditional=True)
    network = networks.build(model, (1, 8, 8), 10, 0).eval()
    torch.nn.init.normal_(network.class_embedding.weight, std=20.0)
    x_T = noise(1).expand(12, 1, 8, 8)
    found = sample(network, Objective(), sampler, 5, x_T)
    if not SAMPLERS[sampler].fresh_noise:
        assert torch.allclose(found[0], found[10], atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-3)
