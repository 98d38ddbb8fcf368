"""How fast networks run: interleaved timing, executed operations, and layers of sparse weights.

Whatever the machine does meanwhile, networks that take turns share. So a ratio of two of them is
steadier than either of its times.
"""

import copy
import random
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

BLOCKS = 30  # times that every network has its turn
LEAST = 0.01  # seconds of one turn, at least
WARM = 3  # calls before anything is timed
JOULES_OF_A_MAC, JOULES_OF_A_READ = 4.6e-12, 640e-12
"""Of a multiplication and an addition of 32-bit floats, and of one read from memory."""


def executed(network: nn.Module, example: Sequence[Tensor]) -> float:
    """Return the multiply-accumulates that one forward pass executes for each image, as torch
    counts them: zeros are multiplied like any other weight."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*example)
    return counter.get_total_flops() / 2 / len(example[0])


class _Held(TorchDispatchMode):
    """Follows the bytes of all tensors that operations have made and that still live."""

    def __init__(self, kept: Sequence[Tensor]):
        super().__init__()
        self.now = self.most = 0
        self.known = {tensor.untyped_storage()._cdata for tensor in kept}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in filter(torch.is_tensor, tree_leaves(made)):
            self._hold(tensor.untyped_storage())
        return made

    def _hold(self, storage: Any) -> None:
        place = storage._cdata
        if place in self.known:
            return
        self.known.add(place)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._let_go, place, storage.nbytes())

    def _let_go(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.now -= size


def peak(network: nn.Module, example: Sequence[Tensor]) -> int:
    """Return the bytes that one forward pass holds at most: weights, buffers, inputs, and all that
    lives at once of what is computed. What a kernel takes for itself is left out."""
    kept = [*network.parameters(), *network.buffers(), *example]
    with torch.no_grad(), _Held(kept) as held:
        network(*example)
    return held.most + sum(tensor.nbytes for tensor in kept)


def energy(macs: float, weights: float, batch: int) -> float:
    """Return the modelled joules of one image: of its multiply-accumulates, and of reading so many
    weights from memory once a batch (Horowitz 2014; 45 nm, 32 bits). It is no measurement."""
    return macs * JOULES_OF_A_MAC + weights * JOULES_OF_A_READ / batch


def interleaved(calls: Mapping[str, Callable[[], object]], blocks: int) -> dict[str, list[float]]:
    """Return name -> seconds of one call, once for each of `blocks`.

    In a block each of `calls` has its turn, of as many calls as take `LEAST` seconds. The order
    changes from block to block, and a turn begins with a call that is not timed: nothing that was
    called before, and filled the caches, is felt.
    """
    number = {name: _calls_of_a_turn(call) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for block in range(blocks):
        for name in random.Random(block).sample(list(calls), len(calls)):
            calls[name]()
            seconds[name].append(_timed(calls[name], number[name]) / number[name])
    return seconds


def _calls_of_a_turn(call: Callable[[], object]) -> int:
    _timed(call, WARM)
    return max(1, round(LEAST / max(_timed(call, 1), 1e-9)))


def _timed(call: Callable[[], object], number: int) -> float:
    """Return the seconds that so many calls take, all work of a GPU included."""
    _settle()
    begin = time.perf_counter()
    for _ in range(number):
        call()
    _settle()
    return time.perf_counter() - begin


def _settle() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def sparse(network: nn.Module) -> nn.Module:
    """Return a copy whose linear layers and convolutions hold their weights as CSR matrices.

    A convolution becomes a product with its unfolded inputs. Those with groups stay as they are.
    """
    changed = copy.deepcopy(network)
    for name, module in list(changed.named_modules()):
        match module:
            case nn.Linear():
                instead: nn.Module = SparseLinear(module)
            case nn.Conv2d(groups=1, padding_mode="zeros", padding=tuple()):
                instead = SparseConvolution(module)
            case _:
                continue
        owner, _, last = name.rpartition(".")
        setattr(changed.get_submodule(owner), last, instead)
    return changed


def _csr(matrix: Tensor) -> Tensor:
    """Return a matrix as CSR; torch warns once a process that this is in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return matrix.to_sparse_csr()


class SparseLinear(nn.Module):
    """A linear layer whose weight is a CSR matrix."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.weight, self.bias = _csr(layer.weight.detach()), layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b, for x [..., inputs]."""
        rows = x.reshape(-1, x.shape[-1])
        out = torch.sparse.mm(self.weight, rows.T).T
        out = out if self.bias is None else out + self.bias
        return out.reshape(*x.shape[:-1], -1)


class SparseConvolution(nn.Module):
    """A convolution in two dimensions whose weight is a CSR matrix [outputs, inputs x taps]."""

    def __init__(self, layer: nn.Conv2d):
        super().__init__()
        self.weight = _csr(layer.weight.detach().flatten(1))
        self.bias = layer.bias
        self.size, self.stride, self.dilation = layer.kernel_size, layer.stride, layer.dilation
        self.padding: tuple[int, ...] = tuple(map(int, layer.padding))

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x [n, inputs, height, width]."""
        steps = self.dilation, self.padding, self.stride
        unfolded = functional.unfold(x, self.size, *steps)  # [n, inputs x taps, places]
        columns = unfolded.permute(1, 0, 2).flatten(1)
        out = torch.sparse.mm(self.weight, columns)
        out = out if self.bias is None else out + self.bias[:, None]
        sides = [self._side(x.shape[2 + axis], axis) for axis in (0, 1)]
        return out.reshape(-1, len(x), *sides).transpose(0, 1)

    def _side(self, length: int, axis: int) -> int:
        """Return how many outputs there are along an axis of so many inputs."""
        seen = length + 2 * self.padding[axis] - self.dilation[axis] * (self.size[axis] - 1)
        return (seen - 1) // self.stride[axis] + 1
