"""How a density is shared out over the layers: (scores, keep) -> weights kept in each layer, summing to `keep` exactly.

Scores come in forward order with -inf where a weight is already cut, so a layer's cap is its finite scores. Formulas
that give relative densities p_l are brought to the overall density by water-filling,

    d_l = min(cap_l, c p_l),   c such that sum_l n_l d_l = keep,

and to whole weights by largest remainders, ties by layer order.
"""

import difflib
import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from lthray.config.fields import ConfigError
from lthray.config.trial import Prune
from lthray.core.ticket import Scores

Counts = dict[str, int]


Rule = tuple[str, float | str]


def assign(layers: Iterable[str], rules: Iterable[Rule]) -> dict[str, float | str]:
    """Layer -> its fixed density, or "free": the first pattern of `rules` that matches its module's name.

    ConfigError for a layer without a rule and for a pattern that matches nothing (a misspelling would cut what it was
    meant to spare).
    """
    names = [layer.removesuffix(".weight") for layer in layers]
    found = {name: next((v for p, v in rules if fnmatchcase(name, p)), None) for name in names}
    bare = [name for name in names if found[name] is None]
    faults = [f"prune.layers = {rules}: no pattern covers {bare[0]!r} and {len(bare) - 1} more ('*' would)"] if bare else []
    for pattern, _ in rules:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.5)
            faults.append(f"prune.layers: {pattern!r} matches no layer; layers are {near or names[:3]} ...")
    if not faults and "free" not in found.values():
        faults.append(f"prune.layers = {rules}: leaves no layer free to be cut")
    if faults:
        raise ConfigError(faults)
    return {f"{name}.weight": found[name] for name in names}  # type: ignore[misc]


def dial_of(blocks: Mapping[str, str], prune: Prune) -> dict[str, float]:
    """Layer -> the dial of its block; `blocks` maps the free layers, in forward order, to their blocks."""
    names = list(dict.fromkeys(blocks.values()))
    if not prune.dials:
        return {}
    if len(prune.dials) != len(names):
        raise ConfigError([f"prune.dials = {prune.dials}: needs {len(names)}, one each for {', '.join(names)}"])
    return {layer: prune.dials[names.index(block)] for layer, block in blocks.items()}


def allot(scores: Scores, rules: Mapping[str, float | str], density: float, prune: Prune, dials: Mapping) -> Counts:
    """Weights kept in every layer: exactly round(density x weights) over the free ones, each fixed layer at its own."""
    free = {name: values for name, values in scores.items() if rules[name] == "free"}
    keep = round(density * sum(values.numel() for values in free.values()))
    counts = BUDGETS[prune.budget](free, keep, slope=prune.slope, dials=dials)
    if prune.least:
        counts = raised(counts, {name: math.ceil(prune.least * values.numel()) for name, values in free.items()})
    return {n: counts[n] if n in free else round(float(rules[n]) * v.numel()) for n, v in scores.items()}


def allot_channels(scores: Scores, steps: Mapping[str, int], keep: int, size: Callable[[Counts], int], budget: str) -> Counts:
    """Channels kept in every group of coupled ones: cut `steps` at a time, lowest scores of a group first, the groups in
    the budget's order, until at most `keep` weights are left (`size` of the counts). Every group keeps one step.

    A channel's weights are those of its makers times its readers, so no density is exact: what is left is what is recorded.
    """
    counts = {name: int((values > -torch.inf).sum()) for name, values in scores.items()}
    cuts: list[tuple[tuple[float, ...], str]] = []
    for name, values in scores.items():
        ranked = values.sort(descending=True).values
        for first in range(steps[name], counts[name], steps[name]):
            share, worth = (first + steps[name]) / len(values), float(ranked[first : first + steps[name]].mean())
            cuts.append((CHANNELS[budget](share, worth), name))
    for _, name in sorted(cuts, key=lambda cut: cut[0]):  # stable: ties by order
        if size(counts) <= keep:
            break
        counts[name] -= steps[name]
    return counts


def raised(counts: Counts, least: Counts) -> Counts:
    """The same sum with at least so many in every layer; the others give in proportion to what they have above that."""
    lacking = sum(max(0, least[name] - count) for name, count in counts.items())
    above = {name: max(0, count - least[name]) for name, count in counts.items()}
    exact = {name: lacking * extra / max(1, sum(above.values())) for name, extra in above.items()}
    given = {name: math.floor(share) for name, share in exact.items()}
    for name in sorted(counts, key=lambda name: given[name] - exact[name])[: lacking - sum(given.values())]:
        given[name] += 1
    return {name: max(count, least[name]) - given[name] for name, count in counts.items()}


def uniform(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """The same density in every layer."""
    return _fill(scores, keep, dict.fromkeys(scores, 1.0))


def erk(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """Erdos-Renyi kernel: p = (sum of the shape) / (product of the shape) (Evci et al. 2020, arXiv 1911.11134)."""
    return _fill(scores, keep, {name: sum(s.shape) / math.prod(s.shape) for name, s in scores.items()})


def ramp(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """p = exp(-slope x) for depth x from 0 (first layer) to 1 (last): slope > 0 cuts downstream layers more.

    The idea, without a formula, is of Jiang et al. 2023 (arXiv 2310.18823).
    """
    last = max(len(scores) - 1, 1)
    return _fill(scores, keep, {name: math.exp(-slope * i / last) for i, name in enumerate(scores)})


def sampled(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """p = exp(dial of the layer's block): the dials that a search draws."""
    return _fill(scores, keep, {name: math.exp(dials[name]) for name in scores})


def evidence(found: Mapping[str, float], groups: Mapping[str, str], gamma: float) -> dict[str, float]:
    """Layer -> dial, gamma x the log of its group's mean evidence; what is less than a tenth of the most counts as
    that much, so that densities differ by no more than ten times to the power of gamma."""
    most = max(found.values())
    means = {g: statistics.fmean(v for name, v in found.items() if groups[name] == g) for g in set(groups.values())}
    return {name: gamma * math.log(max(means[groups[name]], most / 10, 1e-30)) for name in found}


def overall(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """The `keep` highest scores of the whole network (global ranking), ties by index."""
    return _global(scores, keep)


def lamp(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """Global ranking of s_u^2 / sum over {v: s_v >= s_u} of s_v^2 within the layer (Lee et al. 2021, arXiv 2010.07611)."""
    return _global({name: _lamp(values) for name, values in scores.items()}, keep)


def _lamp(values: Tensor) -> Tensor:
    flat = values.flatten().double()
    order = torch.sort(flat, stable=True, descending=True).indices
    squares = flat[order].square().where(flat[order] > -torch.inf, 0.0)
    ranked = torch.full_like(flat, -torch.inf)
    ranked[order] = squares / squares.cumsum(0).clamp_min(torch.finfo(torch.float64).tiny)
    return ranked.masked_fill(flat == -torch.inf, -torch.inf)


def _global(scores: Scores, keep: int) -> Counts:
    flat = torch.cat([values.flatten() for values in scores.values()])
    top = torch.sort(flat, stable=True, descending=True).indices[:keep]
    layer = torch.repeat_interleave(torch.arange(len(scores)), torch.tensor([v.numel() for v in scores.values()]))
    counts = torch.bincount(layer[top], minlength=len(scores))
    return dict(zip(scores, counts.tolist(), strict=True))


def _fill(scores: Scores, keep: int, p: Mapping[str, float]) -> Counts:
    caps = {name: int((values > -torch.inf).sum()) for name, values in scores.items()}
    if keep > sum(caps.values()):
        raise ValueError(f"{keep} weights to keep, only {sum(caps.values())} are left")
    exact: dict[str, float] = {}
    free = dict(caps)
    while free:  # layers whose share exceeds their cap are full; the rest is shared out again
        c = (keep - sum(exact.values())) / sum(scores[name].numel() * p[name] for name in free)
        full = {name for name, cap in free.items() if c * p[name] * scores[name].numel() >= cap}
        if not full:
            exact |= {name: c * p[name] * scores[name].numel() for name in free}
            break
        exact |= {name: float(free.pop(name)) for name in full}
    counts = {name: min(math.floor(exact[name]), caps[name]) for name in scores}
    by_remainder = sorted(scores, key=lambda name: counts[name] - exact[name])  # stable: ties by layer order
    room = [name for name in by_remainder if counts[name] < caps[name]]
    for name in room[: keep - sum(counts.values())]:
        counts[name] += 1
    return counts


BUDGETS: dict[str, Callable[..., Counts]] = {
    "uniform": uniform,
    "overall": overall,
    "erk": erk,
    "lamp": lamp,
    "ramp": ramp,
    "sampled": sampled,
    "sensitivity": sampled,
    "hsic": sampled,
    "cka": sampled,
}
# what is cut first of coupled channels: (share of the group left before the cut, mean score of what is cut) -> lowest first
CHANNELS: dict[str, Callable[[float, float], tuple[float, ...]]] = {
    "uniform": lambda share, worth: (-share, worth),
    "overall": lambda share, worth: (worth,),
}
