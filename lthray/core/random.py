"""All randomness: a random stream is a function of the words that name it.

What ran before never matters, so a run that is cut and continued draws the same numbers.
"""

import hashlib

import torch


def seed_of(*words: object) -> int:
    """Return the 63-bit seed of words such as ("noise", stream, step), equal on every machine."""
    digest = hashlib.blake2b("/".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*words: object, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on `device` seeded by `words`; CPU and GPU streams differ."""
    return torch.Generator(device).manual_seed(seed_of(*words))
