"""Which weights are worth keeping: (network, names, probe) -> Scores, larger = kept."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from lthray.seeds import generator
from lthray.ticket import Mask, Probe, Scores


def magnitude(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """s = |w| of the trained weights (Han et al. 2015, arXiv 1506.02626; Frankle and Carbin 2019, arXiv 1803.03635)."""
    weights = dict(network.named_parameters())
    return {name: weights[name].detach().abs() for name in names}


def random(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """s ~ U(0, 1): the criterion that knows nothing."""
    weights = dict(network.named_parameters())
    return {name: torch.rand(weights[name].shape, generator=generator("random", probe.seed, name)) for name in names}


def score(criterion: str, network: nn.Module, within: Mask, probe: Probe) -> Scores:
    """Scores on the CPU in forward order, -inf where `within` has already cut, so that masks nest."""
    scores = CRITERIA[criterion](network, list(within), probe)
    for name, values in scores.items():
        if not torch.isfinite(values).all():
            raise FloatingPointError(f"criterion {criterion} gives a score of {name} that is not finite")
    return {name: values.cpu().masked_fill(~within[name], -torch.inf) for name, values in scores.items()}


CRITERIA: dict[str, Callable[[nn.Module, Sequence[str], Probe], Scores]] = {"magnitude": magnitude, "random": random}
