"""All randomness: a number stream is a function of the words that name it, never of what ran before."""

import hashlib

import torch


def seed_of(*words: object) -> int:
    """A 63-bit seed from words such as ("noise", stream, step); equal words give equal seeds on every machine."""
    digest = hashlib.blake2b("/".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*words: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by `words`. CPU and GPU streams of the same words differ."""
    return torch.Generator(device).manual_seed(seed_of(*words))
