"""Which weights are worth keeping: (network, names, probe) -> Scores, larger = kept.

The network has the weights that are scored, already cut. Those that need data see it through the probe alone: its terms
are losses L_k, one a batch of a classifier or one a timestep of a denoiser, low noise first; g_k is the gradient of L_k.
What belongs to a layer or a channel is shared out over its weights by their squares, so that the shares sum to it.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from lthray.core.kernels import gaussian, linear, normalised
from lthray.core.random import generator
from lthray.core.ticket import Mask, Probe, Scores, top

REMAINS = 0.1  # of a layer that is cut alone
POOL = 4  # side to which an activation is averaged before channels are compared
Found = dict[str, Tensor]


def magnitude(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """s = |w| (Han et al. 2015, arXiv 1506.02626; Frankle and Carbin 2019, arXiv 1803.03635)."""
    return {name: w.detach().abs() for name, w in _weights(network, names).items()}


def random(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """s ~ U(0, 1): the criterion that knows nothing."""
    return {
        name: torch.rand(w.shape, generator=generator("random", probe.seed, name))
        for name, w in _weights(network, names).items()
    }


def movement(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """s = |w - w_0|, w_0 being where the round began (Zhou et al. 2019, arXiv 1905.01067)."""
    return {name: (w.detach().cpu() - probe.before[name].cpu()).abs() for name, w in _weights(network, names).items()}


def magnitude_increase(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """s = |w| - |w_0| (Zhou et al. 2019)."""
    return {name: w.detach().cpu().abs() - probe.before[name].cpu().abs() for name, w in _weights(network, names).items()}


def snip(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """s = |w sum_k g_k|, what cutting w does to the loss, to first order (Lee et al. 2019, arXiv 1810.02340)."""
    return {name: s.abs() for name, s in _first_order(network, names, probe, lambda s: s).items()}


def taylor(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """s = sum_k |w g_k|: as snip, but what terms say against each other does not cancel (Molchanov et al. 2019, arXiv
    1906.10771)."""
    return _first_order(network, names, probe, torch.abs)


def diff_pruning(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """As taylor, up to the first timestep whose loss is less than a share of the largest so far (Fang et al. 2023, arXiv
    2305.10924)."""
    return _first_order(network, names, probe, torch.abs, threshold=probe.threshold)


def grasp(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """s = w (H g), H and g of the sum of the terms: keeps what training will gain most from (Wang et al. 2020, arXiv
    2002.07376)."""
    weights = _weights(network, names)
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        first = [torch.zeros_like(w) for w in weights.values()]
        for term in probe.terms:
            torch._foreach_add_(first, list(torch.autograd.grad(term(), list(weights.values()))))
        second = [torch.zeros_like(w) for w in weights.values()]
        for term in probe.terms:
            gradients = torch.autograd.grad(term(), list(weights.values()), create_graph=True)
            along = torch.stack([(g * f).sum() for g, f in zip(gradients, first, strict=True)]).sum()
            torch._foreach_add_(second, list(torch.autograd.grad(along, list(weights.values()))))
    return {name: w.detach() * h for (name, w), h in zip(weights.items(), second, strict=True)}


def synflow(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """s = |w| dR/d|w|, R = the sum of the outputs of the network of |w| for an input of ones: no data (Tanaka et al. 2020,
    arXiv 2006.05467). Meant for many scoring steps.

    Norms and activations are left out and attention has no softmax, so that R is a sum of products along paths, as the
    paper needs it: through a norm the scale of a layer would not count, through a softmax s could be negative.
    """
    copied = copy.deepcopy(network).double()
    with torch.no_grad():
        for p in copied.parameters():
            p.abs_()
    inputs = [torch.ones_like(x[:1], dtype=torch.float64) if x.is_floating_point() else x[:1] for x in probe.example]
    with Paths():
        found = copied(*inputs)
    weights = _weights(copied, names)
    total = (found if isinstance(found, Tensor) else found[0]).sum()
    gradients = torch.autograd.grad(total, list(weights.values()))
    return {name: w.detach() * g for (name, w), g in zip(weights.items(), gradients, strict=True)}


class Paths(TorchFunctionMode):
    """Whatever is called inside lets values through norms and activations as they are; attention has no softmax."""

    THROUGH = (F.group_norm, F.layer_norm, F.batch_norm, F.silu, F.relu, torch.relu, Tensor.relu, F.gelu, F.dropout)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in self.THROUGH:
            return args[0]
        if function is F.scaled_dot_product_attention:
            q, k, v = args[:3] if len(args) > 2 else ((kwargs or {})[name] for name in ("query", "key", "value"))
            pattern = q @ k.mT
            return pattern / pattern.sum(-1, keepdim=True).detach() @ v  # q, k and v each count as one factor of a path
        return function(*args, **(kwargs or {}))


def sensitivity(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """The rise of the loss when the layer alone is cut to its largest tenth, shared out over its weights."""
    return _shared(network, names, {name: torch.tensor(rise) for name, rise in layer_rises(network, names, probe).items()})


def hsic(network: nn.Module, names: Sequence[str], probe: Probe) -> Scores:
    """How much each channel of a layer's output has to do with what the network should answer: unbiased normalised HSIC
    with Gaussian kernels, mean over the terms, shared out over the channel's weights.

    After Guo et al. 2023 (APIB, ICCV) and Zheng et al. 2021 (arXiv 2108.08532), made for denoisers: the answer is the
    noise, and each timestep has its own inputs.
    """
    return _shared(network, names, channel_hsic(network, names, probe))


def layer_rises(network: nn.Module, names: Sequence[str], probe: Probe) -> dict[str, float]:
    """Relative rise of the mean loss when one layer alone is cut to the largest tenth of what it has; a layer that does
    not matter counts as a thousandth of the one that matters most."""
    weights, rises = _weights(network, names), {}
    with torch.no_grad(), still(network):
        before = sum(float(term()) for term in probe.terms)
        for name, w in weights.items():
            whole = w.clone()
            w.copy_(largest(whole, whole != 0))
            rises[name] = sum(float(term()) for term in probe.terms) / before - 1
            w.copy_(whole)
    least = max(rises.values()) / 1000
    return {name: max(rise, least, torch.finfo(torch.float32).tiny) for name, rise in rises.items()}


def largest(weight: Tensor, layer: Tensor) -> Tensor:
    """The largest tenth of what a layer's mask keeps, ties by index; zeros elsewhere."""
    kept = top(weight.abs().flatten(), max(1, round(REMAINS * int(layer.sum()))))
    return weight * kept.reshape(layer.shape)


def channel_hsic(network: nn.Module, names: Sequence[str], probe: Probe) -> dict[str, Tensor]:
    """Layer -> normalised HSIC of every output channel with the target, mean over the terms, [channels].

    What chance alone gives, 1 / images, counts as that much: a layer that only sees the timestep is not cut whole.
    """
    found: Found = {}
    for seen, target in activations(network, names, probe):
        answer = gaussian(target.flatten(1).double())
        for name, x in seen.items():
            layer_kernels = gaussian(x.transpose(0, 1).double())
            found[name] = found.get(name, 0.0) + normalised(layer_kernels, answer) / len(probe.terms)
    return {name: channels.clamp_min(1 / len(probe.targets[0])) for name, channels in found.items()}


def kernels(network: nn.Module, names: Sequence[str], probe: Probe) -> list[Found]:
    """Of each term, layer -> inner products of its outputs, [images, images]."""
    seen = (layers for layers, _ in activations(network, names, probe))
    return [{name: linear(x.flatten(1).double()) for name, x in layers.items()} for layers in seen]


def activations(network: nn.Module, names: Sequence[str], probe: Probe) -> Iterator[tuple[Found, Tensor]]:
    """Of each term: the outputs of all layers as [images, channels, positions], pooled to 4 x 4, and the target."""
    modules, seen = dict(network.named_modules()), {}

    def keep(name: str, output: Tensor) -> None:
        seen[name] = _pooled(output.detach())

    hooks = [
        modules[name.removesuffix(".weight")].register_forward_hook(lambda _m, _x, out, name=name: keep(name, out))
        for name in names
    ]
    try:
        with torch.no_grad(), still(network):
            for term, target in zip(probe.terms, probe.targets, strict=True):
                term()
                n = len(target)
                yield {name: x for name, x in seen.items() if len(x) == n}, target
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Inside, nothing is left out of the network at random."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def _pooled(x: Tensor) -> Tensor:
    if x.dim() == 4:
        return nn.functional.adaptive_avg_pool2d(x, min(POOL, x.shape[-1])).flatten(2)
    return x.movedim(-1, 1).flatten(2) if x.dim() > 2 else x[:, :, None]


def _weights(network: nn.Module, names: Sequence[str]) -> dict[str, nn.Parameter]:
    held = dict(network.named_parameters())
    return {name: held[name] for name in names}


def _first_order(
    network: nn.Module, names: Sequence[str], probe: Probe, each: Callable[[Tensor], Tensor], threshold: float = 0.0
) -> Scores:
    """sum_k each(w g_k), up to the first term whose loss is below `threshold` of the largest so far."""
    weights, most = _weights(network, names), 0.0
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    for term in probe.terms:
        loss = term()
        most = max(most, float(loss.detach()))
        if float(loss.detach()) < threshold * most:
            break
        for (name, w), g in zip(weights.items(), torch.autograd.grad(loss, list(weights.values())), strict=True):
            total[name] += each(w.detach() * g)
    return total


def _shared(network: nn.Module, names: Sequence[str], value: Found) -> Scores:
    """The value of a layer, or of each of its output channels, shared out over its weights by their squares."""
    shares = {}
    for name, w in _weights(network, names).items():
        squares, own = w.detach().cpu().double().square(), value.get(name, torch.tensor(0.0)).cpu().double()
        group = squares.flatten(1).sum(1) if own.dim() else squares.sum()
        part = (own / group.clamp_min(torch.finfo(torch.float64).tiny)).reshape(-1, *[1] * (w.dim() - 1) if own.dim() else [])
        shares[name] = squares * part
    return shares


def score(criterion: str, network: nn.Module, within: Mask, probe: Probe) -> Scores:
    """Scores on the CPU in forward order, -inf where `within` has already cut, so that masks nest."""
    with still(network):
        scores = CRITERIA[criterion](network, list(within), probe)
    for name, values in scores.items():
        if not torch.isfinite(values).all():
            raise FloatingPointError(f"criterion {criterion} gives a score of {name} that is not finite")
    return {name: values.cpu().masked_fill(~within[name], -torch.inf) for name, values in scores.items()}


CRITERIA: dict[str, Callable[[nn.Module, Sequence[str], Probe], Scores]] = {
    "magnitude": magnitude,
    "random": random,
    "movement": movement,
    "magnitude_increase": magnitude_increase,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
    "taylor": taylor,
    "diff_pruning": diff_pruning,
    "sensitivity": sensitivity,
    "hsic": hsic,
}
SEEING = ("snip", "grasp", "taylor", "diff_pruning", "sensitivity", "hsic")  # look at images
SEEDED = ("random", *SEEING)  # draw, or see drawn images
TRACED = ("movement", "magnitude_increase")  # ask where the round began
