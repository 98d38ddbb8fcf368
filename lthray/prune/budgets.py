"""Budgets: share an overall density out over the layers.

A budget is a function (scores, keep, slope, dials) -> weights kept in each layer, which sum to
`keep` exactly. Scores come in forward order, -inf where a weight is already cut: those of the
criterion, or the sizes of the weights for a budget that is defined for these alone. How shares
become whole numbers is in `lthray.prune.shares`.
"""

import difflib
import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from lthray.config.fields import ConfigError
from lthray.config.parts import Prune
from lthray.core.ticket import Probe, Scores
from lthray.prune.responses import layer_hsic, layer_rises
from lthray.prune.shares import Counts, caps_of, filled, highest, rounded, sizes_of

Rule = tuple[str, float | str]


def assign(layers: Iterable[str], rules: Iterable[Rule]) -> dict[str, float | str]:
    """Return, for each layer, its fixed density or "free": the first of `rules` that matches it.

    A rule is a (pattern, density) pair; the pattern is compared with the name of the layer's
    module. Raises ConfigError for a layer without a rule, for a pattern that matches no layer (a
    misspelling would cut what it was meant to spare), and where no layer is free.
    """
    rules = tuple(rules)
    modules = [layer.removesuffix(".weight") for layer in layers]
    densities: dict[str, float | str] = {}
    bare = []
    for module in modules:
        density = _density_of(module, rules)
        if density is None:
            bare.append(module)
        else:
            densities[f"{module}.weight"] = density
    faults = _unmatched(rules, modules)
    if bare:
        others = f"{bare[0]!r} and {len(bare) - 1} more"
        faults.insert(0, f"prune.layers = {rules}: no pattern covers {others} ('*' would)")
    if not faults and "free" not in densities.values():
        faults = [f"prune.layers = {rules}: leaves no layer free to be cut"]
    if faults:
        raise ConfigError(faults)
    return densities


def policy(
    layers: Iterable[str], chosen: Iterable[Rule], own: Iterable[Rule], told: Collection[str]
) -> dict[str, float | str]:
    """Return layer -> fixed density or "free" by the `chosen` rules.

    Without any it is by the network's `own`, and whole where it is `told` the time or the class: a
    criterion that weighs gradients would leave next to nothing of such layers.
    """
    if chosen:
        return assign(layers, chosen)
    assigned = assign(layers, own)
    return {name: 1.0 if name in told else density for name, density in assigned.items()}


def _density_of(module: str, rules: Sequence[Rule]) -> float | str | None:
    return next((density for pattern, density in rules if fnmatchcase(module, pattern)), None)


def _unmatched(rules: Sequence[Rule], modules: Sequence[str]) -> list[str]:
    """Messages about patterns that match no module."""
    faults = []
    for pattern, _ in rules:
        if not any(fnmatchcase(module, pattern) for module in modules):
            near = difflib.get_close_matches(pattern, modules, n=1, cutoff=0.5) or modules[:3]
            faults.append(f"prune.layers: {pattern!r} matches no layer; layers are {near} ...")
    return faults


def dial_of(blocks: Mapping[str, str], prune: Prune) -> dict[str, float]:
    """Return, for each layer, the dial of its block; no dials where `prune` has none.

    `blocks` maps the free layers, in forward order, to the names of their blocks. Raises
    ConfigError unless `prune.dials` has one number for each block.
    """
    names = list(dict.fromkeys(blocks.values()))
    if not prune.dials:
        return {}
    if len(prune.dials) != len(names):
        wanted = f"needs {len(names)}, one each for {', '.join(names)}"
        raise ConfigError([f"prune.dials = {prune.dials}: {wanted}"])
    return {layer: prune.dials[names.index(block)] for layer, block in blocks.items()}


def evidence(
    layer_evidence: Mapping[str, float], groups: Mapping[str, str], gamma: float
) -> dict[str, float]:
    """Return, for each layer, the dial gamma x log(mean evidence of its group).

    `groups` maps each layer to its group. A mean below a tenth of the largest evidence of a layer
    counts as that tenth, so that densities differ at most by a factor of 10^gamma.
    """
    by_group: dict[str, list[float]] = {}
    for name, value in layer_evidence.items():
        by_group.setdefault(groups[name], []).append(value)
    least = max(layer_evidence.values()) / 10
    dials = {}
    for name in layer_evidence:
        mean = statistics.fmean(by_group[groups[name]])
        dials[name] = gamma * math.log(max(mean, least, 1e-30))
    return dials


def allot(
    scores: Scores,
    rules: Mapping[str, float | str],
    density: float,
    prune: Prune,
    dials: Mapping[str, float],
) -> Counts:
    """Return how many weights each layer keeps, by the budget of `prune`.

    The free layers of `rules` keep round(density x weights) between them, exactly, and each at
    least `prune.least` of its own; a layer with a fixed density keeps that.
    """
    free = {name: values for name, values in scores.items() if rules[name] == "free"}
    sizes = sizes_of(free)
    keep = round(density * sum(sizes.values()))
    counts = BUDGETS[prune.budget].share(free, keep, slope=prune.slope, dials=dials)
    if prune.least:
        least = {name: math.ceil(prune.least * size) for name, size in sizes.items()}
        counts = raised(counts, least)
    allotted = {}
    for name, values in scores.items():
        fixed = name not in free
        allotted[name] = round(float(rules[name]) * values.numel()) if fixed else counts[name]
    return allotted


def raised(counts: Counts, least: Counts) -> Counts:
    """Return counts of the same sum with at least `least` of every layer.

    The other layers give way in proportion to what they have above their own least.
    """
    lacking = 0
    spare = {}
    for name, count in counts.items():
        lacking += max(0, least[name] - count)
        spare[name] = max(0, count - least[name])
    total = max(1, sum(spare.values()))
    exact = {name: lacking * count / total for name, count in spare.items()}
    taken = rounded(exact, lacking, counts)
    return {name: max(count, least[name]) - taken[name] for name, count in counts.items()}


def allot_channels(
    scores: Scores,
    steps: Mapping[str, int],
    keep: int,
    size: Callable[[Counts], int],
    budget: str,
) -> Counts:
    """Return how many channels each group of coupled channels keeps, group -> count.

    Channels are cut `steps` at a time, the lowest scores of a group first, groups in the budget's
    order. Cutting ends when at most `keep` weights are left, which `size` counts; each group keeps
    one step. The weights of a channel depend on the channels of its neighbours, so that no density
    is exact: the one that is reached is the one to record.
    """
    cut_first = BUDGETS[budget].cut_first
    assert cut_first, f"prune.budget = {budget!r} is not for channels"
    counts = caps_of(scores)
    cuts: list[tuple[tuple[float, ...], str]] = []
    for name, values in scores.items():
        step = steps[name]
        ranked = values.sort(descending=True).values
        for first in range(step, counts[name], step):
            share_left = (first + step) / len(values)
            worth = float(ranked[first : first + step].mean())
            cuts.append((cut_first(share_left, worth), name))
    cuts.sort(key=lambda cut: cut[0])  # stable: ties by order
    for _, name in cuts:
        if size(counts) <= keep:
            break
        counts[name] -= steps[name]
    return counts


def uniform(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """Share out evenly: every layer has one density."""
    return filled(scores, keep, dict.fromkeys(scores, 1.0))


def erk(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """Share out by the Erdos-Renyi kernel (Evci et al. 2020, arXiv 1911.11134).

    p = (sum of the weight's shape) / (product of the weight's shape).
    """
    relative = {}
    for name, values in scores.items():
        relative[name] = sum(values.shape) / math.prod(values.shape)
    return filled(scores, keep, relative)


def ramp(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """Share out by depth: p = exp(-slope x), x from 0 in the first layer to 1 in the last.

    slope > 0 cuts downstream layers more. The idea, without a formula, is of Jiang et al. 2023
    (arXiv 2310.18823).
    """
    last = max(len(scores) - 1, 1)
    relative = {name: math.exp(-slope * i / last) for i, name in enumerate(scores)}
    return filled(scores, keep, relative)


def sampled(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """Share out by dials, one for each layer: p = exp(dial)."""
    return filled(scores, keep, {name: math.exp(dials[name]) for name in scores})


def overall(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """Share out by global ranking: the `keep` highest scores of the network, ties by index."""
    return highest(scores, keep)


def lamp(scores: Scores, keep: int, *, slope: float, dials: Mapping[str, float]) -> Counts:
    """Share out by a global ranking of `lamp_scores` (Lee et al. 2021, arXiv 2010.07611).

    The scores must be sizes of weights, |w|: LAMP bounds the output's change by their squares.
    """
    return highest({name: lamp_scores(values) for name, values in scores.items()}, keep)


def lamp_scores(values: Tensor) -> Tensor:
    """Return s_u^2 / (sum of s_v^2 over all v with s_v >= s_u) of a layer's sizes, [weights].

    Scores of -inf stay, and count for nothing (Lee et al. 2021, arXiv 2010.07611).
    """
    flat = values.flatten().double()
    order = torch.sort(flat, stable=True, descending=True).indices
    squares = flat[order].square().where(flat[order] > -torch.inf, 0.0)
    sums = squares.cumsum(0).clamp_min(torch.finfo(torch.float64).tiny)
    ranked = torch.full_like(flat, -torch.inf)
    ranked[order] = squares / sums
    return ranked.masked_fill(flat == -torch.inf, -torch.inf)


@dataclass(frozen=True)
class Budget:
    """One row of the table: a rule that shares out a density, and what it asks the network for."""

    share: Callable[..., Counts]
    """(scores, keep, *, slope, dials) -> weights kept in each layer."""
    evidence: Callable[[nn.Module, Sequence[str], Probe], dict[str, float]] | None = None
    """(network, names, probe) -> layer -> what its dial is made of, measured on one network."""
    by_size: bool = False
    """Whether it is defined for sizes of weights alone, |w|, whatever the criterion ranks by."""
    between_seeds: bool = False
    """Whether dials are made of a comparison between networks of two seeds."""
    by_scores: bool = False
    """Whether densities follow from the scores."""
    cut_first: Callable[[float, float], tuple[float, ...]] | None = None
    """Sort key of a cut of whole channels, lowest first: (share of the group left before the cut,
    mean score of the channels that go). None: the budget is not for channels."""

    @property
    def asks(self) -> bool:
        """Whether densities follow from what is measured of networks."""
        return self.evidence is not None or self.between_seeds

    @property
    def follows_shapes(self) -> bool:
        """Whether densities follow from the shapes of the layers alone, whatever is learnt."""
        return not (self.asks or self.by_scores or self.by_size)


BUDGETS: dict[str, Budget] = {
    "uniform": Budget(uniform, cut_first=lambda share_left, worth: (-share_left, worth)),
    "overall": Budget(overall, by_scores=True, cut_first=lambda share_left, worth: (worth,)),
    "erk": Budget(erk),
    "lamp": Budget(lamp, by_size=True),
    "ramp": Budget(ramp),
    "sampled": Budget(sampled),
    "sensitivity": Budget(sampled, evidence=layer_rises),
    "hsic": Budget(sampled, evidence=layer_hsic),
    "cka": Budget(sampled, between_seeds=True),
}
