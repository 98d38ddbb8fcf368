"""What is learnt: denoising, of images (Ho et al. 2020, arXiv 2006.11239) or of their latents (Rombach et al. 2022, arXiv
2112.10752), which is the same of other data; classification; autoencoding.

Policy of the average: raw weights are pruned, the exponential moving average of this round is what is measured.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,   L = E_{x_0, t, eps} |target - f_theta(x_t, t)|^2 / dim

with the target eps, v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0 (Salimans and Ho 2022, arXiv 2202.00512), or x_0.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from lthray.config.trial import Objective
from lthray.core.random import generator, seed_of

Inputs = tuple[Tensor, ...]


class Task(Protocol):
    """An objective on one device."""

    def draw(self, x: Tensor, y: Tensor, stream: int, step: int) -> Inputs:
        """The inputs of one training step; every random number is a function of (stream, step)."""
        ...

    def errors(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """The loss of each image, [n]."""
        ...

    def panel(self, x: Tensor, y: Tensor, columns: int) -> Iterator[Inputs]:
        """The fixed inputs that every network of a study is measured on, one column a timestep."""
        ...

    def example(self, x: Tensor) -> Inputs:
        """What the network is called with, for images x."""
        ...

    def terms(self, x: Tensor, y: Tensor, parts: int) -> Iterator[tuple[Inputs, Tensor]]:
        """What a criterion may see: inputs, and what the network should answer, of every batch or timestep."""
        ...


class Classify:
    """Cross-entropy."""

    def __init__(self, objective: Objective, device: torch.device | str, conditional: bool = False):
        pass

    def draw(self, x: Tensor, y: Tensor, stream: int, step: int) -> Inputs:
        return x, y

    def errors(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        x, y = inputs
        return nn.functional.cross_entropy(network(x), y, reduction="none")

    def panel(self, x: Tensor, y: Tensor, columns: int) -> Iterator[Inputs]:
        yield x, y

    def example(self, x: Tensor) -> Inputs:
        return (x,)

    def terms(self, x: Tensor, y: Tensor, parts: int) -> Iterator[tuple[Inputs, Tensor]]:
        answers = nn.functional.one_hot(y).float()
        yield from (((a, b), c) for a, b, c in zip(x.chunk(parts), y.chunk(parts), answers.chunk(parts), strict=True))


class Autoencode:
    """Squared error of the images that come back, plus the weighted divergence of their latents (Kingma and Welling 2014,
    arXiv 1312.6114). Inputs are (x, seed), by which latents are drawn, or (x,), whose latents are the means. The network is
    a diffusers AutoencoderKL."""

    def __init__(self, objective: Objective, device: torch.device | str, conditional: bool = False):
        self.kl = objective.kl

    def draw(self, x: Tensor, y: Tensor, stream: int, step: int) -> Inputs:
        return x, torch.tensor(seed_of("latent", stream, step))

    def errors(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        x, *seed = inputs
        found = network.encode(x).latent_dist  # type: ignore[operator]
        z = found.sample(torch.Generator(x.device).manual_seed(int(seed[0]))) if seed else found.mode()
        again = network.decode(z).sample  # type: ignore[operator]
        divergence = 0.5 * (found.mean.square() + found.var - 1 - found.logvar)
        return (again - x).square().flatten(1).mean(1) + self.kl * divergence.flatten(1).mean(1)

    def panel(self, x: Tensor, y: Tensor, columns: int) -> Iterator[Inputs]:
        yield (x,)

    def example(self, x: Tensor) -> Inputs:
        return (x,)

    def terms(self, x: Tensor, y: Tensor, parts: int) -> Iterator[tuple[Inputs, Tensor]]:
        yield from (((part,), part) for part in x.chunk(parts))


class Denoise:
    """T timesteps, uniform t, squared error averaged over the pixels. Inputs are (x_t, t, target), or (x_t, t, class,
    target) where the network is told the class."""

    def __init__(self, objective: Objective, device: torch.device | str, conditional: bool = False):
        abar = trained_scheduler(objective).alphas_cumprod.to(device)
        self.timesteps, self.prediction, self.conditional = objective.timesteps, objective.prediction, conditional
        self.signal, self.noise = abar.sqrt(), (1 - abar).sqrt()  # [T]

    def draw(self, x: Tensor, y: Tensor, stream: int, step: int) -> Inputs:
        g = generator("noise", stream, step, device=x.device)
        t = torch.randint(0, self.timesteps, (len(x),), generator=g, device=x.device)
        return self._noised(x, y, t, torch.randn(x.shape, generator=g, device=x.device))

    def errors(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        *given, target = inputs
        return (answer(network, *given) - target).square().flatten(1).mean(1)

    def panel(self, x: Tensor, y: Tensor, columns: int) -> Iterator[Inputs]:
        for k, t in enumerate(self.strata(columns)):
            eps = torch.randn(x.shape, generator=generator("panel", k, device=x.device), device=x.device)
            yield self._noised(x, y, torch.full((len(x),), t, device=x.device), eps)

    def example(self, x: Tensor) -> Inputs:
        t = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return (x, t, t) if self.conditional else (x, t)

    def terms(self, x: Tensor, y: Tensor, parts: int) -> Iterator[tuple[Inputs, Tensor]]:
        yield from ((inputs, inputs[-1]) for inputs in self.panel(x, y, parts))

    def strata(self, columns: int) -> list[int]:
        """The middle timesteps of `columns` equal parts of the schedule."""
        return [int((k + 0.5) * self.timesteps / columns) for k in range(columns)]

    def _noised(self, x: Tensor, y: Tensor, t: Tensor, eps: Tensor) -> Inputs:
        signal, noise = self.signal[t][:, None, None, None], self.noise[t][:, None, None, None]
        target = {"epsilon": eps, "sample": x}.get(self.prediction)
        target = signal * eps - noise * x if target is None else target
        told = (t, y) if self.conditional else (t,)
        return signal * x + noise * eps, *told, target


def answer(network: nn.Module, *inputs: Tensor) -> Tensor:
    """What a denoiser says of (x_t, t): a user's answers with the tensor, diffusers' with an output that begins with it."""
    found = network(*inputs)
    return found if isinstance(found, Tensor) else found[0]


def trained_scheduler(objective: Objective):
    """The diffusers scheduler of training, every value named: from_config drops values left at their defaults."""
    from diffusers import DDPMScheduler

    betas = None
    if objective.schedule == "sigmoid":  # which only some of diffusers' schedulers know by name
        betas = DDPMScheduler(objective.timesteps, beta_schedule="sigmoid", beta_start=1e-4, beta_end=0.02).betas.tolist()
    return DDPMScheduler(
        num_train_timesteps=objective.timesteps,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear" if betas else objective.schedule,
        trained_betas=betas,
        variance_type="fixed_small",
        clip_sample=objective.name == "denoise",  # pixels have bounds, latents have none
        clip_sample_range=1.0,
        prediction_type=objective.prediction,
        timestep_spacing="trailing",
    )


def sample(network: nn.Module, objective: Objective, sampler: str, steps: int, x_T: Tensor) -> Tensor:
    """Images in [-1, 1] that `network` makes of the noise `x_T` [n, C, H, W] in `steps` calls.

    Equal x_T and (for ddpm) equal fresh noise for every network, so images can be compared one by one; of a conditional
    network, classes in turn.
    """
    scheduler = SAMPLERS[sampler](trained_scheduler(objective).config)
    scheduler.set_timesteps(steps, device=x_T.device)
    x = x_T * scheduler.init_noise_sigma
    classes: int | None = getattr(getattr(network, "config", None), "num_class_embeds", None)
    told = [torch.arange(len(x), device=x.device) % classes] if classes else []
    with torch.no_grad():
        for i, t in enumerate(scheduler.timesteps):
            parts = zip(x.split(512), *(y.split(512) for y in told), strict=True)
            found = torch.cat([answer(network, part, t.expand(len(part)), *y) for part, *y in parts])
            g = generator("ancestral", i, device=x.device)
            x = scheduler.step(found, t, x, generator=g, return_dict=False)[0]
    return x


def _ddim(config):
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(config, timestep_spacing="trailing")


def _ddpm(config):
    from diffusers import DDPMScheduler

    return DDPMScheduler.from_config(config, timestep_spacing="trailing")


OBJECTIVES: dict[str, Callable[..., Task]] = {
    "denoise": Denoise,
    "latent_denoise": Denoise,
    "classify": Classify,
    "autoencode": Autoencode,
}
SAMPLERS: dict[str, Callable] = {"ddim": _ddim, "ddpm": _ddpm}
