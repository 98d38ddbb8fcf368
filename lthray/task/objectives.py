"""What is learnt: denoising images or their latents, classification, autoencoding.

Raw weights are pruned; what is measured is the exponential moving average of this round's weights.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps
    L = E_{x_0, t, eps} |target - f_theta(x_t, t)|^2 / dim

(Ho et al. 2020, arXiv 2006.11239). In place of an image, x_0 may be its latent (Rombach et al.
2022, arXiv 2112.10752).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lthray.config.parts import Objective
from lthray.core.random import drawn_on, fixed_noise, generator, seed_of
from lthray.core.task import Inputs, Task

MOST_NOISE = 0.999  # largest beta, that of the cosine schedule (Nichol and Dhariwal 2021)


@dataclass(frozen=True, kw_only=True)
class Learning:
    """One objective: the task that it is, and what others must know of it."""

    task: Callable[..., Task]
    """(objective, device, conditional) -> the task; a conditional network is told the class."""
    denoises: bool = False
    """Whether its networks make images of noise."""
    classifies: bool = False
    """Whether its networks answer with the scores of classes."""
    latent: bool = False
    """Whether its networks work on latents, which have no bounds as pixels have."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One noise schedule, known to diffusers by its word."""

    has_ends: bool = True
    """Whether it runs from a first beta to a last one."""
    known_to_all: bool = True
    """Whether every diffusers scheduler knows the word; if not, its betas are written out."""


class Classify:
    """Cross-entropy. Inputs are (x, y)."""

    classifies = True
    timesteps: int | None = None

    def __init__(self, objective: Objective, device: torch.device | str, conditional: bool = False):
        pass

    def draw(self, x: Tensor, y: Tensor, stream: int, step: int) -> Inputs:
        """Return images and classes as they are."""
        return x, y

    def errors(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """Return the cross-entropy of each image, [n]."""
        x, y = inputs
        return nn.functional.cross_entropy(network(x), y, reduction="none")

    def panel(self, x: Tensor, y: Tensor, columns: int) -> Iterator[Inputs]:
        """Yield one column, whatever `columns`."""
        yield x, y

    def example(self, x: Tensor) -> Inputs:
        """Return the arguments of the network: the images."""
        return (x,)

    def terms(self, x: Tensor, y: Tensor, parts: int, seed: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Yield (x, y) and the classes as one-hot rows, [n, classes], batch by batch."""
        answers = nn.functional.one_hot(y).float()
        batches = zip(x.chunk(parts), y.chunk(parts), answers.chunk(parts), strict=True)
        for images, classes, answer_rows in batches:
            yield (images, classes), answer_rows


class Autoencode:
    """Squared error of the images that come back, plus the weighted divergence of their latents.

    The divergence is that from the standard normal (Kingma and Welling 2014, arXiv 1312.6114).
    Inputs are (x, seed), by which latents are drawn, or (x,), whose latents are the means. The
    network is a diffusers AutoencoderKL.
    """

    classifies = False
    timesteps: int | None = None

    def __init__(self, objective: Objective, device: torch.device | str, conditional: bool = False):
        self.kl = objective.kl

    def draw(self, x: Tensor, y: Tensor, stream: int, step: int) -> Inputs:
        """Return the images, and the seed of the latents' noise at this step."""
        return x, torch.tensor(seed_of("latent", stream, step))

    def errors(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """Return the loss of each image, [n]."""
        x, *seed = inputs
        posterior = network.encode(x).latent_dist  # type: ignore[operator]
        if seed:
            z = posterior.sample(torch.Generator(x.device).manual_seed(int(seed[0])))
        else:
            z = posterior.mode()
        again = network.decode(z).sample  # type: ignore[operator]
        squares = (again - x).square().flatten(1).mean(1)
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar)
        return squares + self.kl * divergence.flatten(1).mean(1)

    def panel(self, x: Tensor, y: Tensor, columns: int) -> Iterator[Inputs]:
        """Yield one column, whatever `columns`: the images without a seed."""
        yield (x,)

    def example(self, x: Tensor) -> Inputs:
        """Return the arguments of the network: the images."""
        return (x,)

    def terms(self, x: Tensor, y: Tensor, parts: int, seed: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Yield images, which are their own answers, batch by batch."""
        for part in x.chunk(parts):
            yield (part,), part


class Denoise:
    """Squared error of what a denoiser says of noised images, averaged over their pixels.

    Timesteps are drawn uniformly. Inputs are (x_t, t, target), or (x_t, t, class, target) where
    the network is told the class.
    """

    classifies = False

    def __init__(self, objective: Objective, device: torch.device | str, conditional: bool = False):
        abar = alphas_cumprod(objective).to(device)  # [T]
        self.timesteps = objective.timesteps
        self.target = PREDICTIONS[objective.prediction]
        self.clean = CLEAN[objective.prediction]
        self.conditional = conditional
        self.signal = abar.sqrt()  # [T]
        self.noise = (1 - abar).sqrt()  # [T]

    def draw(self, x: Tensor, y: Tensor, stream: int, step: int) -> Inputs:
        """Return images noised at random timesteps, and what the network should answer."""
        place = drawn_on(stream, x.device)
        g = generator("noise", stream, step, device=place)
        t = torch.randint(0, self.timesteps, (len(x),), generator=g, device=place)
        eps = torch.randn(x.shape, generator=g, device=place)
        return self._noised(x, y, t.to(x.device), eps.to(x.device))

    def errors(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """Return the mean squared error of each image, [n]."""
        *arguments, target = inputs
        return (answer(network, *arguments) - target).square().flatten(1).mean(1)

    def panel(self, x: Tensor, y: Tensor, columns: int) -> Iterator[Inputs]:
        """Yield the images at each of the stratified timesteps, with noise of that column."""
        yield from self._columns(x, y, columns, "panel")

    def example(self, x: Tensor) -> Inputs:
        """Return the arguments of the network: (x, t), or (x, t, class), at timestep 0."""
        t = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return (x, t, t) if self.conditional else (x, t)

    def terms(self, x: Tensor, y: Tensor, parts: int, seed: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Yield the images at stratified timesteps, with noise that nothing else sees."""
        for inputs in self._columns(x, y, parts, "terms", seed):
            yield inputs, inputs[-1]

    def denoised(self, network: nn.Module, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Return the clean images [n, C, H, W] that the answer of a network means."""
        said = answer(network, *((x_t, t, y) if self.conditional else (x_t, t)))
        signal = self.signal[t][:, None, None, None]  # [n, 1, 1, 1]
        noise = self.noise[t][:, None, None, None]  # [n, 1, 1, 1]
        return self.clean(x_t, said, signal, noise)

    def strata(self, columns: int) -> list[int]:
        """Return the middle timesteps of `columns` equal parts of the schedule."""
        return [int((k + 0.5) * self.timesteps / columns) for k in range(columns)]

    def _columns(self, x: Tensor, y: Tensor, columns: int, *words: object) -> Iterator[Inputs]:
        """Yield the images at each of the stratified timesteps, with fixed noise of `words`."""
        for k, timestep in enumerate(self.strata(columns)):
            eps = fixed_noise(x.shape, *words, k, device=x.device)
            t = torch.full((len(x),), timestep, device=x.device)
            yield self._noised(x, y, t, eps)

    def _noised(self, x: Tensor, y: Tensor, t: Tensor, eps: Tensor) -> Inputs:
        signal = self.signal[t][:, None, None, None]  # [n, 1, 1, 1]
        noise = self.noise[t][:, None, None, None]  # [n, 1, 1, 1]
        x_t = signal * x + noise * eps
        target = self.target(x, eps, signal, noise)
        return (x_t, t, y, target) if self.conditional else (x_t, t, target)


def answer(network: nn.Module, *inputs: Tensor) -> Tensor:
    """Return what a denoiser says of (x_t, t) or (x_t, t, class), [n, C, H, W].

    A user's own network answers with the tensor, diffusers' with an output that begins with it.
    """
    output = network(*inputs)
    return output if isinstance(output, Tensor) else output[0]


def schedule_words(objective: Objective) -> dict[str, Any]:
    """Return the noise schedule of an objective as arguments of any diffusers scheduler.

    The ends are those of Ho et al. for 1000 timesteps, and as much larger as there are fewer
    (Nichol and Dhariwal 2021): as much noise in all, so that nothing of an image is left at the
    last. Every value is named, since diffusers' from_config drops those that are left at their
    defaults.
    """
    from diffusers import DDPMScheduler

    scale = 1000 / objective.timesteps
    words: dict[str, Any] = {
        "num_train_timesteps": objective.timesteps,
        "beta_start": 1e-4 * scale,
        "beta_end": min(0.02 * scale, MOST_NOISE),
        "beta_schedule": objective.schedule,
        "trained_betas": None,
    }
    if SCHEDULES[objective.schedule].known_to_all:
        return words
    betas = DDPMScheduler(**words).betas.tolist()
    return words | {"beta_schedule": "linear", "trained_betas": betas}


def alphas_cumprod(objective: Objective) -> Tensor:
    """Return abar_t, the share of the signal's variance that is left at each timestep, [T]."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(**schedule_words(objective)).alphas_cumprod


def _velocity(x: Tensor, eps: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
    """v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0 (Salimans and Ho 2022, arXiv 2202.00512)."""
    return signal * eps - noise * x


OBJECTIVES: dict[str, Learning] = {
    "denoise": Learning(task=Denoise, denoises=True),
    "latent_denoise": Learning(task=Denoise, denoises=True, latent=True),
    "classify": Learning(task=Classify, classifies=True),
    "autoencode": Learning(task=Autoencode),
}
SCHEDULES: dict[str, Schedule] = {
    "linear": Schedule(),
    "squaredcos_cap_v2": Schedule(has_ends=False),
    "sigmoid": Schedule(known_to_all=False),
}
PREDICTIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda x, eps, signal, noise: eps,
    "v_prediction": _velocity,
    "sample": lambda x, eps, signal, noise: x,
}
"""Word -> what a denoiser should answer, of (x_0, eps, signal, noise)."""
CLEAN: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda x_t, said, signal, noise: (x_t - noise * said) / signal,
    "v_prediction": lambda x_t, said, signal, noise: signal * x_t - noise * said,
    "sample": lambda x_t, said, signal, noise: said,
}
"""Word -> the clean image that an answer means, of (x_t, answer, signal, noise)."""
