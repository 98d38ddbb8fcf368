"""Criteria: score the weights of a network; the larger its score, the longer a weight is kept.

A criterion is a function (network, names, probe) -> Scores, one tensor of scores for each weight
that `names` lists. The network has the weights that are scored, already masked. A criterion that
needs data sees it through the probe alone. The terms of a probe are losses L_k: one for each batch
of a classifier, or for each timestep of a denoiser, low noise first; g_k is the gradient of L_k. A
value that belongs to a whole layer or channel is shared out over its weights in proportion to their
squares, so that the shares sum to the value.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from lthray.core import layers
from lthray.core.random import generator
from lthray.core.ticket import Mask, Probe, Scores
from lthray.prune.responses import channel_hsic, layer_rises, still


def magnitude(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """Score by size: s = |w| (Han et al. 2015, arXiv 1506.02626).

    Iterative magnitude pruning: Frankle and Carbin 2019, arXiv 1803.03635.
    """
    return _each(network, names, lambda name, weight: weight.abs())


def random(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """Score at random: s ~ U(0, 1), drawn by `probe.seed`; the baseline that looks at nothing."""

    def draw(name: str, weight: Tensor) -> Tensor:
        return torch.rand(weight.shape, generator=generator("random", probe.seed, name))

    return _each(network, names, draw)


def movement(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """Score by distance from `probe.before`: s = |w - w_0| (Zhou et al. 2019, arXiv 1905.01067)."""

    def distance(name: str, weight: Tensor) -> Tensor:
        return (weight.cpu() - probe.before[name].cpu()).abs()

    return _each(network, names, distance)


def magnitude_increase(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """Score by growth from `probe.before`: s = |w| - |w_0| (Zhou et al. 2019)."""

    def growth(name: str, weight: Tensor) -> Tensor:
        return weight.cpu().abs() - probe.before[name].cpu().abs()

    return _each(network, names, growth)


def snip(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """Score by s = |w sum_k g_k| (Lee et al. 2019, arXiv 1810.02340).

    To first order, this is how much the loss changes when w is cut.
    """
    total = _first_order(network, names, probe, lambda product: product)
    return {name: product.abs() for name, product in total.items()}


def taylor(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """Score by s = sum_k |w g_k| (Molchanov et al. 2019, arXiv 1906.10771).

    Unlike in snip, terms of opposite sign do not cancel.
    """
    return _first_order(network, names, probe, torch.abs)


def diff_pruning(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """Score by s = sum_k |w g_k| over the low-noise timesteps (Fang et al. 2023, arXiv 2305.10924).

    The sum stops before the first term whose loss is below `probe.threshold` times the largest so
    far.
    """
    return _first_order(network, names, probe, torch.abs, threshold=probe.threshold)


def grasp(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """Score by s = w (H g), signed (Wang et al. 2020, arXiv 2002.07376).

    H and g are the Hessian and the gradient of the sum of the probe's terms. The weights that are
    kept are those from which training gains most. The paper divides a classifier's logits by 200
    (its row has that), for at initialisation the order depends on how sure the network is; the
    squared error of other networks has no temperature, since a factor changes no order.
    """
    weights = _weights(network, names)
    leaves = list(weights.values())
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        summed = _zeros_like(leaves)
        for term in probe.terms:
            torch._foreach_add_(summed, list(torch.autograd.grad(term(), leaves)))
        products = _zeros_like(leaves)
        for term in probe.terms:
            gradient = torch.autograd.grad(term(), leaves, create_graph=True)
            along = _inner_product(gradient, summed)
            torch._foreach_add_(products, list(torch.autograd.grad(along, leaves)))
    return _times(weights, products)


def synflow(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """Score by s = |w| dR/d|w|, without data (Tanaka et al. 2020, arXiv 2006.05467).

    R is the sum of the outputs of the network of |w| for an input of ones. Norms and activations
    are left out and attention has no softmax, so that R is a sum of products along paths, as the
    paper needs it. A norm would hide the scale of a layer, and a softmax could make scores
    negative. The paper uses many scoring steps.
    """
    absolute = copy.deepcopy(network).double()
    with torch.no_grad():
        for parameter in absolute.parameters():
            parameter.abs_()
    inputs = [_ones_like(tensor[:1]) for tensor in probe.example]
    with LinearPaths():
        answer = absolute(*inputs)
    outputs = answer if isinstance(answer, Tensor) else answer[0]
    weights = _weights(absolute, names)
    return _times(weights, torch.autograd.grad(outputs.sum(), list(weights.values())))


def sensitivity(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """Score by the rise of the loss when the layer alone is cut (`layer_rises`), shared out."""
    rises = {}
    for name, rise in layer_rises(network, names, probe).items():
        rises[name] = torch.tensor(rise)
    return _shared_out(network, names, rises)


def hsic(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """Score by how much the output channel depends on the target (`channel_hsic`), shared out.

    After Guo et al. 2023 (APIB, ICCV) and Zheng et al. 2021 (arXiv 2108.08532), made for denoisers:
    the target is the noise, and each timestep has its own inputs.
    """
    return _shared_out(network, names, channel_hsic(network, names, probe))


class LinearPaths(TorchFunctionMode):
    """Skip norms, activations and the softmax of attention in every call inside the block."""

    SKIPPED = (
        *(F.group_norm, F.layer_norm, F.batch_norm, F.instance_norm),
        *(F.silu, F.relu, torch.relu, Tensor.relu, F.gelu),
        F.dropout,
    )

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return what a call of a torch function gives here."""
        keywords = kwargs or {}
        if function in self.SKIPPED:
            return args[0]
        if function is F.scaled_dot_product_attention:
            return _attention_without_softmax(*args[:3], **keywords)
        return function(*args, **keywords)


def _attention_without_softmax(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    pattern = query @ key.mT
    # the detached sum makes query, key and value count as one factor of a path each
    return pattern / pattern.sum(-1, keepdim=True).detach() @ value


def _ones_like(image: Tensor) -> Tensor:
    """Ones in double precision for an image; a timestep or label as it is."""
    if image.is_floating_point():
        return torch.ones_like(image, dtype=torch.float64)
    return image


def _weights(network: nn.Module, names: Sequence[str]) -> dict[str, nn.Parameter]:
    parameters = dict(network.named_parameters())
    return {name: parameters[name] for name in names}


def _each(
    network: nn.Module, names: Sequence[str], formula: Callable[[str, Tensor], Tensor]
) -> Scores:
    """Scores by a formula of a layer's name and weights."""
    scores = {}
    for name, weight in _weights(network, names).items():
        scores[name] = formula(name, weight.detach())
    return scores


def _times(weights: Mapping[str, Tensor], factors: Sequence[Tensor]) -> Scores:
    scores = {}
    for (name, weight), factor in zip(weights.items(), factors, strict=True):
        scores[name] = weight.detach() * factor
    return scores


def _zeros_like(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(tensor) for tensor in tensors]


def _inner_product(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    products = [(a * b).sum() for a, b in zip(first, second, strict=True)]
    return torch.stack(products).sum()


def _first_order(
    network: nn.Module,
    names: Sequence[str],
    probe: Probe,
    each: Callable[[Tensor], Tensor],
    *,
    threshold: float = 0.0,
) -> Scores:
    """Sum each(w g_k) over the terms, up to the first with a loss below threshold x the largest."""
    weights = _weights(network, names)
    leaves = list(weights.values())
    total = dict(zip(weights, _zeros_like(leaves), strict=True))
    highest = 0.0
    for term in probe.terms:
        loss = term()
        value = float(loss.detach())
        highest = max(highest, value)
        if value < threshold * highest:
            break
        products = _times(weights, torch.autograd.grad(loss, leaves))
        for name, product in products.items():
            total[name] += each(product)
    return total


def _shared_out(network: nn.Module, names: Sequence[str], values: Mapping[str, Tensor]) -> Scores:
    """Scores that sum to the value of each layer ([]) or output channel ([channels]), 0 if none."""
    scores = {}
    tiny = torch.finfo(torch.float64).tiny
    turned = layers.turned_groups(network)
    weights = {name: weight.detach() for name, weight in _weights(network, names).items()}
    for name, weight in layers.outputs_first(weights, turned).items():
        squares = weight.cpu().double().square()
        value = values.get(name, torch.tensor(0.0)).cpu().double()
        if value.dim():
            per_square = value / squares.flatten(1).sum(1).clamp_min(tiny)
            per_square = per_square.reshape(-1, *[1] * (weight.dim() - 1))
        else:
            per_square = value / squares.sum().clamp_min(tiny)
        scores[name] = squares * per_square
    return layers.as_stored(scores, turned)


def score(criterion: str, network: nn.Module, within: Mask, probe: Probe) -> Scores:
    """Return the scores that a criterion gives the layers of `within`, on the CPU in forward order.

    A weight that `within` has already cut scores -inf, so that masks nest. Raises
    FloatingPointError where a score is not finite.
    """
    with still(network):
        raw = CRITERIA[criterion].score(network, list(within), probe)
    scores = {}
    for name, values in raw.items():
        if not torch.isfinite(values).all():
            fault = f"criterion {criterion} gives a score of {name} that is not finite"
            raise FloatingPointError(fault)
        scores[name] = values.cpu().masked_fill(~within[name], -torch.inf)
    return scores


@dataclass(frozen=True)
class Criterion:
    """One row of the table: a score, and all that it depends on besides the network's weights."""

    score: Callable[[nn.Module, Sequence[str], Probe], Scores]
    sees: bool = False
    """Whether it looks at training images, through the terms of the probe."""
    draws: bool = False
    """Whether it draws at random, by the seed of the probe."""
    traces: bool = False
    """Whether it asks for the weights from which the training began."""
    temperature: float = 1.0
    """Number by which a classifier's logits are divided in the losses that it sees."""

    @property
    def seeded(self) -> bool:
        """Whether scores depend on the seed: it draws, or sees images that are drawn."""
        return self.sees or self.draws

    @property
    def blind(self) -> bool:
        """Whether scores are drawn alone: no weight of the network has a part in them."""
        return self.draws and not self.sees


CRITERIA: dict[str, Criterion] = {
    "magnitude": Criterion(magnitude),
    "random": Criterion(random, draws=True),
    "movement": Criterion(movement, traces=True),
    "magnitude_increase": Criterion(magnitude_increase, traces=True),
    "snip": Criterion(snip, sees=True),
    "grasp": Criterion(grasp, sees=True, temperature=200.0),
    "synflow": Criterion(synflow),
    "taylor": Criterion(taylor, sees=True),
    "diff_pruning": Criterion(diff_pruning, sees=True),
    "sensitivity": Criterion(sensitivity, sees=True),
    "hsic": Criterion(hsic, sees=True),
}
