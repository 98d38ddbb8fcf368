"""Stress: what is done to a denoiser's inputs, weights or sampling, as a table of stressors.

A denoiser is looked at on one fixed set of images, at three noise levels (quantiles of the log
signal-to-noise ratio), with one noise each. What is measured is its error in the clean image,

    e = mean_i |f(z, t) - x_0|^2 / dim,    z = signal x_0 + noise eps,

as a geometric mean over the levels. Stressors of images are after Hendrycks and Dietterich (2019,
arXiv 1903.12261). Attacks are projected gradient ascent (Madry et al. 2018, arXiv 1706.06083) with
steps of 2.5 radius / steps; of all restarts each image keeps the one of largest error.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthray.config.stressors import STRESSES
from lthray.core.random import fixed_noise, generator

RESTARTS = 2  # of an attack
TINY = 1e-12
LEVELS = (0.2, 0.5, 0.8)  # quantiles of the log signal-to-noise ratio over timesteps


Errors = Callable[[Tensor], Tensor]
"""Inputs [n, ...] -> the error of each, [n]."""


@dataclass(frozen=True)
class View:
    """A denoiser at one noise level: the images, the noise, and what is known of both."""

    network: nn.Module
    task: Any
    """The objective, which turns answers into clean images."""
    x: Tensor
    """Clean images [n, C, H, W]."""
    y: Tensor
    t: Tensor
    """The timestep, once for each image [n]."""
    eps: Tensor
    steps: int
    """Gradient steps of an attack."""

    @property
    def signal(self) -> float:
        """Share of the image in the input."""
        return float(self.task.signal[self.t[0]])

    @property
    def noise(self) -> float:
        """Share of the noise in the input."""
        return float(self.task.noise[self.t[0]])

    @property
    def z(self) -> Tensor:
        """The noised images."""
        return self.noised(self.x)

    def noised(self, x: Tensor, times: float = 1.0) -> Tensor:
        """Return images with the noise of this level, `times` as strong as the network is told."""
        return self.signal * x + times * self.noise * self.eps

    def part(self, chosen: slice) -> "View":
        """Return the view of some of the images."""
        parts = {name: getattr(self, name)[chosen] for name in ("x", "y", "t", "eps")}
        return replace(self, **parts)

    def errors(self, z: Tensor) -> Tensor:
        """Return the squared error of each clean image, averaged over its pixels, [n]."""
        said = self.task.denoised(self.network, z, self.t, self.y)
        return (said - self.x).square().flatten(1).mean(1)


def views(network: nn.Module, task: Any, x: Tensor, y: Tensor, steps: int) -> Iterator[View]:
    """Yield a denoiser at each noise level."""
    ratio = (task.signal / task.noise).log().double()
    for level in LEVELS:
        nearest = (ratio - torch.quantile(ratio, level)).abs().argmin()
        eps = fixed_noise(x.shape, "stress", level, device=x.device)
        yield View(network, task, x, y, nearest.expand(len(x)), eps, steps)


# what is done to inputs


def _mismatched(view: View, times: float) -> Tensor:
    return view.noised(view.x, 1 + times)


def _gaussian(view: View, sigma: float) -> Tensor:
    return view.noised(view.x + sigma * _drawn(view, "gaussian"))


def _salted(view: View, share: float) -> Tensor:
    """Set a share of the pixels to black or white, with equal probability."""
    shape = (len(view.x), 1, *view.x.shape[2:])
    place = torch.rand(shape, generator=generator("stress", "salt")).to(view.x.device)
    side = torch.where(place < share / 2, -1.0, 1.0)
    return view.noised(torch.where(place < share, side, view.x))


def _blurred(view: View, sigma: float) -> Tensor:
    at = torch.arange(-2, 3, device=view.x.device, dtype=view.x.dtype)
    line = (-at.square() / (2 * sigma**2)).exp()
    kernel = torch.outer(line, line) / line.sum() ** 2
    channels = view.x.shape[1]
    padded = F.pad(view.x, (2, 2, 2, 2), mode="replicate")
    blurred = F.conv2d(padded, kernel.expand(channels, 1, 5, 5), groups=channels)
    return view.noised(blurred)


def _flattened(view: View, share: float) -> Tensor:
    """Move all pixels towards the image's mean, and leave a share of the contrast."""
    mean = view.x.mean((1, 2, 3), keepdim=True)
    return view.noised(mean + share * (view.x - mean))


def _drawn(view: View, name: str) -> Tensor:
    return fixed_noise(view.x.shape, "stress", name, device=view.x.device)


def reach(view: View, radius: float, norm: str) -> float:
    """Return the size of a perturbation: a radius in units of the noise, in L2 of all of it."""
    return radius * view.noise * (view.x[0].numel() ** 0.5 if norm == "l2" else 1.0)


def _attacked(norm: str, view: View, radius: float) -> Tensor:
    return attacked(view.errors, view.z, reach(view, radius, norm), norm, view.steps)


def _at_random(norm: str, view: View, radius: float) -> Tensor:
    return view.z + at_random(view.z, reach(view, radius, norm), norm)


# what is done to weights


def _shaken(sigma: float, weight: Tensor, name: str) -> Tensor:
    """Add noise of sigma standard deviations of what is kept to every weight that is not zero."""
    kept = weight != 0
    noise = fixed_noise(weight.shape, "stress", name, device=weight.device)
    return weight + sigma * weight[kept].std(correction=0) * noise * kept


def _rounded(bits: float, weight: Tensor, name: str) -> Tensor:
    """Round a weight to integers of so many bits, symmetric, with one scale an output."""
    most = 2 ** (int(bits) - 1) - 1
    scale = weight.abs().flatten(1).amax(1).clamp_min(1e-12) / most
    scale = scale.reshape(-1, *[1] * (weight.dim() - 1))
    return (weight / scale).round() * scale


@dataclass(frozen=True)
class Stressor:
    """One row of the table: what is done, and to what."""

    inputs: Callable[[View, float], Tensor] | None = None
    """(view, severity) -> what the denoiser is given in place of its noised images."""
    weights: Callable[[float, Tensor, str], Tensor] | None = None
    """(severity, weight of a layer, name) -> the weight in its place."""
    norm: str = ""
    """Norm in which an attack is bounded."""


STRESSORS: dict[str, Stressor] = {
    "less_noise": Stressor(_mismatched),
    "more_noise": Stressor(_mismatched),
    "gaussian": Stressor(_gaussian),
    "salt": Stressor(_salted),
    "blur": Stressor(_blurred),
    "contrast": Stressor(_flattened),
    "l2": Stressor(partial(_attacked, "l2"), norm="l2"),
    "linf": Stressor(partial(_attacked, "linf"), norm="linf"),
    "weights": Stressor(weights=_shaken),
    "integers": Stressor(weights=_rounded),
    "start": Stressor(),
    "steps": Stressor(),
}
"""Name -> what is done; the last two act on sampling (`samplers.unsettled`)."""


def changed(
    network: nn.Module, names: Sequence[str], change: Callable[[Tensor, str], Tensor]
) -> nn.Module:
    """Return a copy of a network with `change` applied to the weights `names`."""
    other = copy.deepcopy(network)
    parameters = dict(other.named_parameters())
    with torch.no_grad():
        for name in names:
            parameters[name].copy_(change(parameters[name], name))
    return other


def stressed(seen: Sequence[View], layers: Sequence[str]) -> dict[str, Tensor]:
    """Return stressor -> error of each image at each severity and level, [severities, levels, n].

    These are the stressors on inputs and on weights, but for attacks; `layers` are the weights that
    are changed.
    """
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, row in STRESSORS.items():
            severities = STRESSES[name].severities
            if row.inputs and not row.norm:
                found[name] = errors_of(seen, inputs_of(seen, row.inputs, severities))
            if row.weights:
                found[name] = _on_weights(seen, layers, row.weights, severities)
    return found


def besieged(seen: Sequence[View]) -> dict[str, Tensor]:
    """Return attack -> inputs of largest error, [severities, levels, n, C, H, W].

    Random noise of the same sizes stands beside an attack, as its name and "_random".
    """
    found: dict[str, Tensor] = {}
    for name, row in STRESSORS.items():
        if row.norm and row.inputs:
            severities = STRESSES[name].severities
            found[name] = inputs_of(seen, row.inputs, severities)
            found[f"{name}_random"] = inputs_of(seen, partial(_at_random, row.norm), severities)
    return found


def inputs_of(
    seen: Sequence[View], given: Callable[[View, float], Tensor], severities: Sequence[float]
) -> Tensor:
    """Return what a denoiser is given, [severities, levels, n, C, H, W]."""
    return torch.stack([torch.stack([given(view, s) for view in seen]) for s in severities])


def errors_of(seen: Sequence[View], inputs: Tensor) -> Tensor:
    """Return the error of each input, [severities, levels, n]."""
    with torch.no_grad():
        return torch.stack(
            [
                torch.stack([view.errors(z) for view, z in zip(seen, levels, strict=True)])
                for levels in inputs
            ]
        )


def _on_weights(
    seen: Sequence[View],
    layers: Sequence[str],
    change: Callable[[float, Tensor, str], Tensor],
    severities: Sequence[float],
) -> Tensor:
    found = []
    for severity in severities:
        other = changed(seen[0].network, layers, partial(change, severity))
        views = [replace(view, network=other) for view in seen]
        found.append(torch.stack([view.errors(view.z) for view in views]))
    return torch.stack(found)


def mean_log(errors: Tensor) -> Tensor:
    """Return the mean over images, as a geometric mean over levels: [..., levels, n] -> [...]."""
    return errors.double().mean(-1).log().mean(-1).exp()


# attacks


def attacked(
    errors: Errors,
    z: Tensor,
    radius: float,
    norm: str,
    steps: int,
    restarts: int = RESTARTS,
) -> Tensor:
    """Return inputs [n, ...] within `radius` of `z` in a `norm` (l2, linf), of largest error."""
    best, found = torch.full((len(z),), -torch.inf, device=z.device), z
    for restart in range(restarts):
        delta = at_random(z, radius, norm, restart)
        for _ in range(steps):
            uphill = _direction(gradient(errors, z + delta), norm)
            delta = projected(delta + 2.5 * radius / steps * uphill, radius, norm)
        with torch.no_grad():
            error = errors(z + delta)
        better = error > best
        best = torch.where(better, error, best)
        found = torch.where(_each(better, z), z + delta, found)
    return found


def at_random(z: Tensor, radius: float, norm: str, draw: int = 0) -> Tensor:
    """Return random perturbations of size `radius`, each of another image, [n, ...]."""
    noise = fixed_noise(z.shape, "attack", draw, device=z.device)
    return radius * _direction(noise, norm)


def gradient(errors: Errors, z: Tensor) -> Tensor:
    """Return the gradient of the error of each input, [n, ...]."""
    moved = z.detach().requires_grad_(True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(errors(moved).sum(), moved)
    return slope


def projected(delta: Tensor, radius: float, norm: str) -> Tensor:
    """Return perturbations brought back to at most `radius`."""
    if norm == "linf":
        return delta.clamp(-radius, radius)
    size = _each(delta.flatten(1).norm(dim=1), delta)
    return delta * (radius / size.clamp_min(TINY)).clamp_max(1.0)


def _direction(slope: Tensor, norm: str) -> Tensor:
    """The direction of length 1 in which an error grows most."""
    if norm == "linf":
        return slope.sign()
    return slope / _each(slope.flatten(1).norm(dim=1).clamp_min(TINY), slope)


def _each(values: Tensor, z: Tensor) -> Tensor:
    """Numbers of images [n], as they are laid over inputs [n, ...]."""
    return values.reshape(-1, *[1] * (z.dim() - 1))
