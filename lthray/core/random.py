"""All randomness: a random stream is a function of the words that name it.

What ran before never matters, so a run that is cut and continued draws the same numbers. What is
drawn for a training step is drawn where training is, and streams of two kinds of devices differ.
What networks are measured with is drawn on the CPU, so that it is equal wherever they are measured.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


def seed_of(*words: object) -> int:
    """Return the 63-bit seed of words such as ("noise", stream, step), equal on every machine."""
    digest = hashlib.blake2b("/".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*words: object, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on `device` seeded by `words`; CPU and GPU streams differ."""
    return torch.Generator(device).manual_seed(seed_of(*words))


def drawn_on(stream: int, device: torch.device) -> torch.device:
    """Return where a stream is drawn for `device`: a trial's own there, measuring's on the CPU.

    Streams of trials are 0 and above, those of measuring are below.
    """
    return device if stream >= 0 else torch.device("cpu")


def fixed_noise(shape: Sequence[int], *words: object, device: torch.device | str) -> Tensor:
    """Return the standard normal noise of `words`, float32 of `shape`: equal on every `device`."""
    return torch.randn(*shape, generator=generator(*words)).to(device)


@contextlib.contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Make all that torch's global generators draw inside, as for dropout, a function of `seed`."""
    others = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=others, device_type=device.type):
        _seed(seed, device)
        yield


def _seed(seed: int, device: torch.device) -> None:
    """Seed torch's global generators: the CPU's, and those of all devices where `device` is one.

    `torch.manual_seed` also formats the stack for every kind of device that was not begun yet. On
    the CPU that would take longer than all else here, at each step of a network that draws.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def draws(call: Callable[[], object], device: torch.device) -> bool:
    """Return whether `call` draws from torch's global generators, which are left as they were."""
    with drawing(0, device), torch.no_grad():
        before = _generator_states(device)
        call()
        after = _generator_states(device)
    return not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def _generator_states(device: torch.device) -> list[torch.Tensor]:
    """Return the states of torch's global generators: the CPU's and that of `device`."""
    states = [torch.get_rng_state()]
    if device.type != "cpu":
        states.append(torch.get_device_module(device).get_rng_state(device))
    return states
