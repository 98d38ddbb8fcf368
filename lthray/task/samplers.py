"""How images are made of noise by a trained denoiser: one loop over the schedulers of diffusers.

All samplers begin with equal noise, so that the images of two networks, or of two samplers, can be
compared one by one. A sampler's budget is its number of network calls.
"""

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lthray.config.parts import Objective
from lthray.core.random import fixed_noise, generator
from lthray.task.objectives import (
    OBJECTIVES,
    PREDICTIONS,
    alphas_cumprod,
    answer,
    schedule_words,
)

CHUNK = 512  # images a forward pass
RHO = 7  # exponent of the noise levels of Karras et al. (2022)
MOST_LEVELS = 100_000  # of noise, in a saved schedule that is read
LEAST_SIGNAL = -5.1  # ln(signal / noise) below which nothing of an image is left


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """One sampler: all that is particular to it."""

    scheduler: Callable[[Any, int, torch.device], Any]
    """(config of the training scheduler, steps, device) -> a diffusers scheduler with its timesteps
    set. They are whole numbers, of any dtype: levels of noise on which the network was trained."""
    steps_of_calls: Callable[[int], int]
    """Number of network calls -> scheduler steps; ValueError for too few calls."""
    label: str
    """Name in figures and texts."""
    fresh_noise: bool = False
    """Whether each step adds noise of its own."""


def sample(
    network: nn.Module,
    objective: Objective,
    sampler: str,
    calls: int,
    x_T: Tensor,
    *,
    bound: float = math.inf,
) -> Tensor:
    """Return the images in [-1, 1], or latents, that `network` makes of noise `x_T` [n, C, H, W].

    Each takes `calls` calls of the network, or as many of them as whole steps of `sampler` take.
    Predictions of clean latents are cut at +-`bound`, the largest number in those of training: what
    a network should predict is a mean over them. Uncut, an error of a predicted noise counts
    sqrt(1 / abar_T) times, 20,000 at the end of the cosine schedule.

    Fresh noise is equal for every network. A conditional network makes all classes in turn. Raises
    ValueError for too few calls, and for more steps than the noise schedule has.
    """
    row = SAMPLERS[sampler]
    steps = row.steps_of_calls(calls)
    if steps > objective.timesteps:
        raise ValueError(
            f"{calls} calls of {sampler} are {steps} steps, "
            f"more than objective.timesteps = {objective.timesteps}"
        )
    scheduler = row.scheduler(trained_scheduler(objective).config, steps, x_T.device)
    x = x_T * scheduler.init_noise_sigma
    classes = _classes_in_turn(network, x)
    cut = Cut(objective, bound, x.device)
    with torch.no_grad():
        for i, t in enumerate(scheduler.timesteps):
            x_t = scheduler.scale_model_input(x, t)
            answers = cut(_answers(network, x_t, t, *classes), x_t, t)
            options: dict[str, Any] = {"return_dict": False}
            if row.fresh_noise:
                options["generator"] = generator("ancestral", i)  # on the CPU: equal everywhere
            x = scheduler.step(answers, t, x, **options)[0]
    return x


class Cut:
    """Cuts what a network says so that the clean image it implies is within +-`bound`."""

    def __init__(self, objective: Objective, bound: float, device: torch.device):
        abar = alphas_cumprod(objective).to(device)  # [T]
        self.signal, self.noise = abar.sqrt(), (1 - abar).sqrt()  # [T]
        self.prediction, self.bound = PREDICTIONS[objective.prediction], bound
        self.clean = CLEAN[objective.prediction]

    def __call__(self, answers: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the answers at timestep `t`, others only where their clean image is cut."""
        if math.isinf(self.bound):
            return answers
        signal, noise = self.signal[t.to(torch.int64)], self.noise[t.to(torch.int64)]
        clean = self.clean(answers, x_t, signal, noise)
        bounded = clean.clamp(-self.bound, self.bound)
        eps = (x_t - signal * bounded) / noise
        again = self.prediction(bounded, eps, signal, noise)
        return torch.where(clean.abs() > self.bound, again, answers)


def trained_scheduler(objective: Objective) -> Any:
    """Return the diffusers scheduler of training, on which every sampler is built."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        **schedule_words(objective),
        variance_type="fixed_small",
        clip_sample=not OBJECTIVES[objective.name].latent,  # pixels have bounds, latents have none
        clip_sample_range=1.0,
        prediction_type=objective.prediction,
        timestep_spacing="trailing",
    )


def saved_scheduler(saved: Mapping[str, Any]) -> Any:
    """Return the scheduler that diffusers has `saved`; None of one without betas to compare.

    What was not saved has the default of its own class. One whose class this diffusers does not
    have is read as one of training is, where it names its betas.
    """
    import diffusers

    named: Any = getattr(diffusers, str(saved.get("_class_name")), None)
    is_known = isinstance(named, type) and issubclass(named, diffusers.SchedulerMixin)
    kind = named if is_known else diffusers.DDPMScheduler
    levels = saved.get("num_train_timesteps", 0)
    if not (is_known or "beta_schedule" in saved) or levels not in range(MOST_LEVELS):
        return None
    try:
        scheduler = kind.from_config(dict(saved))
    except Exception:  # whatever diffusers makes of a schedule or a value that it does not know
        return None
    return scheduler if "alphas_cumprod" in vars(scheduler) else None


def _classes_in_turn(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Return [0, 1, 2, ..., 0, 1, ...], one an image, for a conditional network; else nothing."""
    config = getattr(network, "config", None)  # only diffusers' networks have one
    classes: int | None = getattr(config, "num_class_embeds", None)
    return [torch.arange(len(x), device=x.device) % classes] if classes else []


def _answers(network: nn.Module, x: Tensor, t: Tensor, *classes: Tensor) -> Tensor:
    """Return what `network` says of all images `x` at timestep `t`, [n, C, H, W]."""
    inputs = (x, t.to(torch.int64).expand(len(x)), *classes)
    chunks = zip(*(column.split(CHUNK) for column in inputs), strict=True)
    return torch.cat([answer(network, *chunk) for chunk in chunks])


def _one_call_a_step(calls: int) -> int:
    if calls < 1:
        raise ValueError(f"{calls} calls: a sampler needs at least 1")
    return calls


def _two_calls_a_step(calls: int) -> int:
    """Return n for 2n - 1 or 2n calls: the last step, to zero noise, needs one call only."""
    if calls < 3:
        raise ValueError(f"{calls} calls: heun needs at least 3, which are its first two steps")
    return (calls + 1) // 2


def _ddim(config: Any, steps: int, device: torch.device) -> Any:
    """DDIM without fresh noise (Song et al. 2021, arXiv 2010.02502).

    That of diffusers removes the noise of T // steps timesteps at each step, and so leaves some
    where steps do not divide T. DPM-Solver++ of order one is DDIM between any timesteps (Lu et al.
    2022, arXiv 2211.01095, section 4).
    """
    from diffusers import DDIMScheduler

    if config.num_train_timesteps % steps == 0:
        return _trailing(DDIMScheduler, config, steps, device)
    timesteps = np.round(np.arange(1, steps + 1) * config.num_train_timesteps / steps)[::-1] - 1
    return _dpm_plus_plus(config, 1, timesteps, device)


def _ddpm(config: Any, steps: int, device: torch.device) -> Any:
    """Ancestral sampling with the smaller of the two fixed variances (Ho et al. 2020)."""
    from diffusers import DDPMScheduler

    return _trailing(DDPMScheduler, config, steps, device)


def _trailing(kind: Any, config: Any, steps: int, device: torch.device) -> Any:
    """Return a scheduler whose steps are even in t and begin at the last timestep of training.

    For some numbers of steps, such as 61 of 1000, diffusers rounds its way to one timestep more, a
    level of -1 that there is not.
    """
    scheduler = kind.from_config(config, timestep_spacing="trailing")
    scheduler.set_timesteps(steps, device=device)
    scheduler.timesteps = scheduler.timesteps[:steps]
    return scheduler


def _dpm_solver(config: Any, steps: int, device: torch.device) -> Any:
    """DPM-Solver++(2M), a multistep method of order two (Lu et al. 2022, arXiv 2211.01095).

    Levels at which nothing is left of the image are left out; see `_usable_levels`.
    """
    from diffusers import DDPMScheduler

    abar = DDPMScheduler.from_config(config).alphas_cumprod
    levels = _usable_levels(abar, steps)
    timesteps = np.round(levels * (1 - np.arange(steps) / steps)) - 1
    return _dpm_plus_plus(config, 2, timesteps, device)


def _dpm_plus_plus(config: Any, order: int, timesteps: np.ndarray, device: torch.device) -> Any:
    """Return DPM-Solver++ of an order, at falling timesteps of training.

    Its predictions of the clean image are cut at the bounds of pixels, as those of training's
    scheduler are: dynamic thresholding with a largest value of 1 is that cut. Latents have none.
    """
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler.from_config(
        config,
        algorithm_type="dpmsolver++",
        solver_order=order,
        thresholding=config.clip_sample,
        sample_max_value=1.0,
    )
    scheduler.set_timesteps(timesteps=timesteps.astype(int).tolist(), device=device)
    return scheduler


def _heun(config: Any, steps: int, device: torch.device) -> Any:
    """Heun's method on the probability flow ODE in the noise level (Karras et al. 2022).

    That is arXiv 2206.00364. Steps are even in sigma^(1/7), as there, where 35 calls are taken:
    even in t, the first step may be too long for the trapezoid rule. Each level is the nearest one
    of training, for the network knows no other. Predictions of the clean image are cut at the
    bounds of pixels, as those of training's scheduler are; latents have none.
    """
    from diffusers import HeunDiscreteScheduler

    # with timesteps given, this spacing decides one thing: x_T is that of the other samplers
    scheduler = HeunDiscreteScheduler.from_config(config, timestep_spacing="leading")
    scheduler.set_timesteps(timesteps=_karras_timesteps(scheduler, steps), device=device)
    return scheduler


def _karras_timesteps(scheduler: Any, steps: int) -> list[int]:
    """Return falling timesteps near to Karras et al.'s levels, from the last usable one to 0.

    Where levels of training are further apart than theirs, the next free ones are taken.
    """
    abar = scheduler.alphas_cumprod.double().numpy()
    sigmas = np.sqrt((1 - abar) / abar)[: _usable_levels(scheduler.alphas_cumprod, steps)]
    wanted = np.linspace(sigmas[-1] ** (1 / RHO), sigmas[0] ** (1 / RHO), steps) ** RHO
    timesteps: list[int] = []
    before = len(sigmas)
    for i, sigma in enumerate(wanted):
        nearest = int(np.abs(sigmas - sigma).argmin())
        left = steps - 1 - i  # timesteps that must still follow
        before = max(min(nearest, before - 1), left)
        timesteps.append(before)
    return timesteps


def _usable_levels(alphas_cumprod: Tensor, steps: int) -> int:
    """Return how many levels of training, from the lowest, a sampler of higher order uses.

    Levels at which nothing is left of the image are left out, unless so many steps need them. Only
    the cosine schedule has such: the noise of its last four is 200 to 20 000 times the signal. A
    step across them multiplies errors of the network as often; diffusers' lambda_min_clipped, which
    its documentation calls critical for this schedule, is there to leave them out.
    """
    abar = alphas_cumprod.double()
    log_signal = 0.5 * (abar / (1 - abar)).log()
    return max(int((log_signal >= LEAST_SIGNAL).sum()), steps)


CLEAN: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda eps, x_t, signal, noise: (x_t - noise * eps) / signal,
    "v_prediction": lambda v, x_t, signal, noise: signal * x_t - noise * v,
    "sample": lambda x, x_t, signal, noise: x,
}
"""Prediction -> the clean image that an answer implies, by (answer, x_t, signal, noise)."""
SAMPLERS: dict[str, Sampler] = {
    "ddim": Sampler(scheduler=_ddim, steps_of_calls=_one_call_a_step, label="DDIM"),
    "ddpm": Sampler(
        scheduler=_ddpm, steps_of_calls=_one_call_a_step, label="DDPM", fresh_noise=True
    ),
    "dpm_solver": Sampler(
        scheduler=_dpm_solver, steps_of_calls=_one_call_a_step, label="DPM-Solver++(2M)"
    ),
    "heun": Sampler(scheduler=_heun, steps_of_calls=_two_calls_a_step, label="Heun"),
}


def unsettled(
    network: nn.Module, bank: Tensor, stressor: str, severity: float
) -> tuple[nn.Module, Tensor]:
    """Return a denoiser and the noise that samples begin from, as a stressor of sampling has them.

    start moves the noise; steps adds noise to what the denoiser sees at every call.
    """
    if stressor == "steps":
        return jittered(network, severity), bank
    aside = fixed_noise(bank.shape, "stress", "start", device=bank.device)
    return network, bank + severity * aside


def jittered(network: nn.Module, sigma: float) -> nn.Module:
    """Return a copy of a denoiser that sees its images with noise, other noise at every call."""
    other, calls = copy.deepcopy(network), itertools.count()

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *told = inputs
        noise = fixed_noise(x.shape, "jitter", next(calls), device=x.device)
        return (x + sigma * noise, *told)

    other.register_forward_pre_hook(add)
    return other
