"""What `lthray store` can do for a store: each gives an exit code and what is to be printed."""

from collections.abc import Callable, Mapping

from lthray.config import options
from lthray.core.store import Store

Told = tuple[int, str]
"""Exit code, and lines."""


def verify(store: Store) -> Told:
    """Read every object, and set aside those that are damaged.

    One that a study drops meanwhile, such as a state on the way, is neither.
    """
    intact = f"{sum(store.find(*name) is not None for name in store)} objects verified"
    damaged = len(store.set_aside)
    line = f"{intact}, {damaged} damaged (set aside, made again when needed)"
    return options.INTEGRITY if damaged else options.DONE, line


def size(store: Store) -> Told:
    """Say how large a store is."""
    objects = sum(1 for _ in store)
    return options.DONE, f"{store.size() / 1e6:,.1f} MB in {objects:,} objects"


def conflicts(store: Store) -> Told:
    """List the objects that were made twice, with unlike bytes."""
    found, lines = store.conflicts(), []
    for facts in found:
        made = " | ".join(", ".join(map(str, each.values())) or "unknown" for each in facts["made"])
        unlike = ", ".join(facts["unlike"])
        lines.append(f"{facts['key'][:16]} {facts['part']}: unlike {unlike} ({made})")
    lines.append(f"{len(found)} objects were made twice, with unlike bytes; the first stays")
    return options.DONE, "\n".join(lines)


def sweep(store: Store) -> Told:
    """Remove what was abandoned or damaged."""
    return options.DONE, f"{store.sweep()} abandoned or damaged objects removed"


VERBS: Mapping[str, Callable[[Store], Told]] = {
    "verify": verify,
    "size": size,
    "conflicts": conflicts,
    "sweep": sweep,
}
