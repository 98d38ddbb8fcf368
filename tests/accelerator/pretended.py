"""A pretended accelerator: a device of its own for torch, whose numbers are computed on the CPU.

Tensors on it say that they are there, and not on the CPU: torch sends every operation on them to
`_run`, which computes it on a CPU tensor held inside. What a real accelerator refuses is refused
alike: operations on tensors of two devices, a generator of another device, `numpy()`. Its
generators draw other numbers than the CPU's of the same seed. What makes the host wait for a real
one, or sends it data, is noted in `EVENTS`, with the line of the package that asked for it.

It stands on torch's own device for backends that are written in Python (PrivateUse1), so nothing
of torch is replaced but `torch.Generator`, which knows only devices that are compiled in.
"""

import contextlib
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretended"
DEVICE = torch.device("cpu")
"""The device, once `install` was called."""
EVENTS: Counter[str] = Counter()
"""What a real accelerator would have made the host wait for, or copy: kind and place -> times."""
PACKAGE = "/lthray/"
OTHER = 0x5EED  # tells the device's streams from the CPU's

# operations whose result is a number or a size on the host, so that the host waits for the device
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "bincount")
WAITS += ("unique_dim", "_unique2", "unique_consecutive", "repeat_interleave", "histc")
INDEXES = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
LOWER = ("conv2d", "linear", "matmul", "mm", "bmm", "addmm", "baddbmm")
UNSEEN = ("copy_",)
COPIES = ("copy_", "_foreach_copy_", "_to_copy")


class Pretended(torch.Tensor):
    """A tensor on the pretended device; its numbers lie in `inner`, on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "Pretended":
        """Return a tensor with the numbers of `inner`, a plain CPU tensor."""
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.inner = inner
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """Name the tensor inside, so that a module that moves exchanges its parameters whole."""
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: Any, _facts: None, _size: Any, _stride: Any) -> "Pretended":
        return Pretended(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(op, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return f"Pretended({self.inner})"

    def __format__(self, form: str) -> str:
        return format(self.item(), form) if self.dim() == 0 else repr(self)

    def tolist(self) -> Any:
        """Return the numbers as lists, which waits as on a real device."""
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        """Refuse, as a real device does."""
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy ({_place()})")


class Generator(torch.Generator):
    """A generator on any device; one on the pretended device draws other numbers than the CPU's."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        """Return a generator of `device`."""
        wanted = torch.device(device)
        here = wanted.type == NAME
        made = super().__new__(cls, "cpu" if here else wanted)
        made.own = DEVICE if here else wanted
        if here:
            _GENERATORS[made._cdata] = made
        return made

    def __init__(self, device: Any = "cpu"):
        super().__init__()

    @property
    def device(self) -> torch.device:
        """The device on which it draws."""
        return self.own

    def manual_seed(self, seed: int) -> "Generator":
        """Seed it, on the pretended device for another stream than the CPU's."""
        self.given = seed
        super().manual_seed(seed ^ OTHER if self.own.type == NAME else seed)
        return self

    def initial_seed(self) -> int:
        """Return the seed that was given."""
        return self.given


class Module:
    """What torch asks of the module of a device: its presence, and its random state."""

    default: Generator
    """The device's own generator."""

    def is_initialized(self) -> bool:
        """Return whether the device is in use."""
        return True

    def is_available(self) -> bool:
        """Return whether there is such a device."""
        return True

    def device_count(self) -> int:
        """Return the number of devices."""
        return 1

    def current_device(self) -> int:
        """Return the number of the one device."""
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def get_device_name(self, device: Any = None) -> str:
        """Return the name of the chip."""
        return "none"

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """Return the types of autocast."""
        return [torch.bfloat16]

    def manual_seed_all(self, seed: int) -> None:
        """Seed the device's own generator."""
        self.default.manual_seed(seed)

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        """Return the state of the device's own generator."""
        return self.default.get_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        """Set the state of the device's own generator."""
        self.default.set_state(state)


def install() -> torch.device:
    """Make the device known to torch, for the life of this process, and return it."""
    global DEVICE
    if DEVICE.type != NAME:
        _setup_privateuseone_for_python_backend(NAME, _MODULE)
        DEVICE = torch.device(NAME, 0)
        _ANY.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
        for name in LOWER:
            op = getattr(torch.ops.aten, name).default
            _ATEN.impl(name, partial(_lower, op), "AutocastPrivateUse1")
        _ANY.fallback(lambda op, *args, **kwargs: _run(op, args, kwargs), "PrivateUse1")
        for name in UNSEEN:  # `torch.tensor` hides from torch that a tensor is a Python one
            op = getattr(torch.ops.aten, name).default
            _ATEN.impl(name, lambda *args, op=op, **kwargs: _run(op, args, kwargs), "PrivateUse1")
        _MODULE.default = Generator(NAME)
    return DEVICE


@contextlib.contextmanager
def unnoted() -> Iterator[None]:
    """Note nothing in the block."""
    kept = EVENTS.copy()
    try:
        yield
    finally:
        EVENTS.clear()
        EVENTS.update(kept)


@contextlib.contextmanager
def noted() -> Iterator[Counter[str]]:
    """Yield what is noted from now to the end of the block."""
    before, found = EVENTS.copy(), Counter[str]()
    try:
        yield found
    finally:
        found.update(EVENTS - before)


def _run(op: Any, args: Any, kwargs: Any) -> Any:
    """Compute one operation on the tensors inside, as the device would."""
    kwargs = dict(kwargs)
    flat = tree_flatten((args, kwargs))[0]
    here = [value for value in flat if isinstance(value, Pretended)]
    name = op._schema.name.removeprefix("aten::")
    asked = kwargs.get("device")
    on_device = bool(here) if asked is None else torch.device(asked).type == NAME
    if asked is not None and on_device:
        kwargs["device"] = torch.device("cpu")
    _check_devices(name, args, flat, here)
    _check_generator(name, kwargs, on_device)
    _note(name, args, flat, here, on_device)
    inside = _drawn if torch.Tag.nondeterministic_seeded in op.tags else _plain
    out = inside(op, tree_map(_inner, args), tree_map(_inner, kwargs), on_device)
    if not on_device or name == "_local_scalar_dense":
        return out
    known = {id(value.inner): value for value in here}
    return tree_map(lambda value: _wrapped(value, known), out)


def _lower(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Compute an operation in bfloat16, as autocast does with products."""
    with torch.autocast(NAME, enabled=False):
        return op(*tree_map(_lowered, args), **tree_map(_lowered, kwargs))


def _lowered(value: Any) -> Any:
    wide = isinstance(value, torch.Tensor) and value.dtype == torch.float32
    return value.to(torch.bfloat16) if wide else value


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, Pretended) else value


def _wrapped(value: Any, known: dict[int, Pretended]) -> Any:
    if not isinstance(value, torch.Tensor) or isinstance(value, Pretended):
        return value
    return known[id(value)] if id(value) in known else Pretended(value)


def _plain(op: Any, args: Any, kwargs: Any, on_device: bool) -> Any:
    return op(*args, **kwargs)


def _drawn(op: Any, args: Any, kwargs: Any, on_device: bool) -> Any:
    """Compute an operation that draws; without a generator, by that of its own device."""
    if not on_device or kwargs.get("generator") is not None:
        return op(*args, **kwargs)
    host = torch.get_rng_state()
    torch.set_rng_state(_MODULE.default.get_state())
    try:
        return op(*args, **kwargs)
    finally:
        _MODULE.default.set_state(torch.get_rng_state())
        torch.set_rng_state(host)


def _check_devices(name: str, args: Any, flat: list[Any], here: list[Pretended]) -> None:
    """Refuse tensors of two devices where a real accelerator does.

    It takes a CPU tensor without dimensions beside its own, and CPU indices.
    """
    others = [v for v in flat if isinstance(v, torch.Tensor) and not isinstance(v, Pretended)]
    if not here or not others or name in COPIES:
        return
    if name in INDEXES and isinstance(args[0], Pretended):
        return
    in_lists = [arg for arg in args if isinstance(arg, list | tuple)]
    listed = [other for each in in_lists for other in each if any(other is o for o in others)]
    if listed or any(other.dim() for other in others):
        shapes = [tuple(other.shape) for other in others]
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {name} got {DEVICE} and CPU "
            f"tensors of shapes {shapes} ({_place()})"
        )


def _check_generator(name: str, kwargs: dict[str, Any], on_device: bool) -> None:
    generator = kwargs.get("generator")
    if generator is None:
        return
    wanted = NAME if on_device else "cpu"
    found = NAME if generator._cdata in _GENERATORS else generator.device.type
    if found != wanted:
        raise RuntimeError(
            f"Expected a {wanted!r} device type for generator but found {found!r} "
            f"({name}, {_place()})"
        )


def _note(name: str, args: Any, flat: list[Any], here: list[Pretended], on_device: bool) -> None:
    """Note where the host waits for the device, or sends it data."""
    if name == "_to_copy":
        if bool(here) != on_device:
            EVENTS[f"{'to the device' if on_device else 'wait: to the host'} at {_place()}"] += 1
    elif name in COPIES:
        plain = [v for v in flat if isinstance(v, torch.Tensor) and not isinstance(v, Pretended)]
        if here and plain:
            to_device = isinstance(tree_flatten(args[0])[0][0], Pretended)
            EVENTS[f"{'to the device' if to_device else 'wait: to the host'} at {_place()}"] += 1
    elif here and name in WAITS:
        EVENTS[f"wait: {name} at {_place()}"] += 1
    elif here and name in INDEXES:
        indices = [v for v in tree_flatten(args[1])[0] if isinstance(v, torch.Tensor)]
        if any(index.dtype == torch.bool for index in indices):
            EVENTS[f"wait: index by a mask at {_place()}"] += 1
        if any(not isinstance(index, Pretended) for index in indices):
            EVENTS[f"index to the device at {_place()}"] += 1
        if "put" in name:  # where bits are to be equal each time, CUDA looks at the indices first
            EVENTS[f"wait: {name} at {_place()}"] += 1


def _place() -> str:
    """Return the line of the package that asks, and the function; the tests' own if none."""
    frame: Any = sys._getframe(1)
    while frame:
        file = frame.f_code.co_filename
        if PACKAGE in file and "/tests/" not in file and "site-packages" not in file:
            return f"{file.rpartition(PACKAGE)[2]}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "no line of the package"


_GENERATORS: weakref.WeakValueDictionary[int, Generator] = weakref.WeakValueDictionary()
_ANY, _ATEN = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
_MODULE = Module()
