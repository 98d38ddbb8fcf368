"""Robustness of a trained denoiser, as measures of a round; whether attacks on it are valid, too.

An attack says nothing of a network unless it is better than random noise of its size, more steps
hardly make it stronger, one without bounds destroys everything, and one that was made on another
network is no stronger than its own (Carlini et al. 2019, arXiv 1902.06705).
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lthray.config.parts import Measure as Words
from lthray.config.spec import part_of
from lthray.config.stressors import RADII, STRESSES
from lthray.core import metrics
from lthray.core.task import to_bytes
from lthray.measure import quality
from lthray.measure.rows import Measured, Network, Spec
from lthray.measure.stress import (
    STRESSORS,
    View,
    attacked,
    besieged,
    errors_of,
    gradient,
    mean_log,
    reach,
    stressed,
    views,
)

FEWER = 5  # one image of so many is attacked with more steps
LONGER = 5  # times the steps
HUGE = 20.0  # radius of an attack without bounds, in units of the noise
COLUMNS = 8  # images of a sheet
MIDDLE = 1  # place of the radius at which attacks are checked


def robust(spec: Spec, trained: Network, plain: Any, *others: Any) -> Measured:
    """Measure the error of a denoiser under every stressor that is no attack.

    `plain` and `others` are samples without and with the stressors of sampling.
    """
    seen = _views(spec, trained)
    found = stressed(seen, list(trained.workshop.shapes))
    clean = torch.stack([_errors(view) for view in seen])
    errors = {name: mean_log(by_image).tolist() for name, by_image in found.items()}
    measured = {metrics.CLEAN_ERROR.name: float(mean_log(clean))}
    measured |= _named(errors | moved(plain, iter(others)))
    return Measured(measured, files=pictured(trained, seen[-1], attacks=False))


def attack(spec: Spec, trained: Network) -> Measured:
    """Measure the error of a denoiser under attack, and what the attacks are worth.

    The inputs that an attack in L2 of middle radius has found, [levels, n, C, H, W], are kept.
    """
    seen = _views(spec, trained)
    inputs = besieged(seen)
    found = {name: errors_of(seen, each) for name, each in inputs.items()}
    attacks = {name: mean_log(found[name]).tolist() for name in STRESSES if name in found}
    return Measured(
        _named(attacks) | validity(seen, found),
        {"attacked": inputs["l2"][MIDDLE]},
        pictured(trained, seen[-1], attacks=True),
    )


def transferred(spec: Spec, trained: Network, dense: Measured) -> Measured:
    """Measure the error of a network under the attack that was made on its dense network."""
    seen = _views(spec, trained)
    errors = errors_of(seen, dense.arrays["attacked"].to(seen[0].z.device)[None])
    return Measured({metrics.TRANSFERRED.name: float(mean_log(errors)[0])})


def _named(errors: dict[str, list[float]]) -> dict[str, float]:
    """Return metrics of stressor -> error by severity."""
    measured = {}
    for name, found in errors.items():
        for severity, error in zip(STRESSES[name].severities, found, strict=True):
            measured[metrics.STRESSED.of(stressor=name, severity=f"{severity:g}")] = error
    return measured


def moved(plain: Any, others: Iterator[Any]) -> dict[str, list[float]]:
    """Return stressor of sampling -> mean squared distance of images from the plain ones, by
    severity; `others` are the samples of all of them in their order.

    Images of bytes are scaled to [-1, 1].
    """
    found: dict[str, list[float]] = {}
    for name, row in STRESSES.items():
        if row.sampled:
            found[name] = [_distance(next(others), plain) for _ in row.severities]
    return found


def _distance(one: Any, other: Any) -> float:
    """Mean squared distance of samples, and at least that of rounding to bytes."""
    apart = (one.images.double() - other.images.double()) / 127.5
    return max(float(apart.square().mean()), 1 / 127.5**2 / 12)


def pictured(trained: Network, view: View, attacks: bool) -> dict[str, bytes]:
    """Return stressor -> a sheet of some images at one level, for attacks or for all other
    stressors on inputs; none of latents.

    Below the images stands what the network makes of them without stress, then for each severity
    what it is given and what it makes of that.
    """
    sheets: dict[str, bytes] = {}
    if trained.images.images.dtype != torch.uint8:
        return sheets
    few = view.part(slice(COLUMNS))
    for name, row in STRESSORS.items():
        if row.inputs is None or bool(row.norm) != attacks:
            continue
        rows = [few.x, _made(few, few.z)]
        for severity in STRESSES[name].severities:
            z = row.inputs(few, severity)
            rows += [z, _made(few, z)]
        sheets[f"stress_{name}"] = quality.grid(to_bytes(torch.cat(rows)), COLUMNS)
    return sheets


def _made(view: View, z: Tensor) -> Tensor:
    with torch.no_grad():
        clean: Tensor = view.task.denoised(view.network, z, view.t, view.y)
    return clean


def validity(seen: list[View], found: dict[str, Tensor]) -> dict[str, float]:
    """Return what the attacks on a network are worth.

    More steps, and a size without bounds, are tried on some of the images at the middle level.
    """
    middle = len(seen) // 2
    some = seen[middle].part(slice(None, None, FEWER))
    short = found["l2"][MIDDLE, middle, ::FEWER].mean()
    longer = _errors(some, _attack(some, RADII[MIDDLE], LONGER)).mean()
    huge = _errors(some, _attack(some, HUGE)).mean()
    slopes = [gradient(view.errors, view.z).flatten(1).norm(dim=1).mean() for view in seen]
    margins = [_surplus(found[name], found[f"{name}_random"]) for name in ("l2", "linf")]
    return {
        metrics.OVER_RANDOM.name: min(margins),
        metrics.LONGER_ATTACK.name: float(longer / short),
        metrics.HUGE_ATTACK.name: float(huge / _errors(some).mean()),
        metrics.GRADIENT.name: float(torch.stack(slopes).mean()),
    }


def _surplus(attack: Tensor, noise: Tensor) -> float:
    """The least surplus of an attack over noise, of all severities and levels, in standard errors
    over images; both are [severities, levels, n]."""
    surplus = (attack - noise).double()
    error = surplus.std(-1) / surplus.shape[-1] ** 0.5
    return float((surplus.mean(-1) / error.clamp_min(1e-12)).min())


def _words(spec: Spec) -> Words:
    return part_of(Words, "measure", spec)


def _views(spec: Spec, trained: Network) -> list[View]:
    words = _words(spec)
    x, y = trained.images.held_out(words.split, words.robust)
    network = copy.deepcopy(trained.network())  # runs of one architecture share it
    return list(views(network, trained.workshop.task, x, y, words.attack))


def _attack(view: View, radius: float, times: int = 1) -> Tensor:
    """Attack in L2, with so many times the steps."""
    return attacked(view.errors, view.z, reach(view, radius, "l2"), "l2", times * view.steps)


def _errors(view: View, z: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return view.errors(view.z if z is None else z)
