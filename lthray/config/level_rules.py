"""Check the levels of the network and of the autoencoder: rules that its words must keep.

Levels are the entries of model.channels or latent.widths; each but the first is at half the side.
"""

from typing import Any

from lthray.config.fields import quoted
from lthray.config.rule import EntryRule, Faults, Rule, Table, broken
from lthray.config.vocabulary import NETWORKS, OBJECTIVES, names, network_facts


def faults(c: Any, sizes: Any) -> Faults:
    """Yield a line for every rule of this file that the config `c`, of these sizes, breaks."""
    yield from broken(TABLES, c)
    yield from broken(SIZE_TABLES, c, sizes)


def _has_levels(c: Any) -> bool:
    """Return whether model.channels of the config `c` are levels."""
    return network_facts(c.model.name).levels


def _needs_widths(c: Any) -> bool:
    """Return whether model.channels are read and no rule of levels looks at their number."""
    return c.model.name in NETWORKS and not network_facts(c.model.name).even


def _has_attention(c: Any) -> bool:
    """Return whether levels of the network may have self-attention."""
    return network_facts(c.model.name).attention


def _last_level(c: Any) -> int:
    return len(c.model.channels) - 1


def _odd_heads(c: Any) -> list[int]:
    """Return the channels of levels that are no multiple of a head, if the network has heads."""
    return _no_multiples(c.model.channels, c.model.head) if _has_attention(c) else []


def _no_multiples(widths: tuple[int, ...], of: int) -> list[int]:
    return [width for width in widths if width % of]


def _odd_side(widths: tuple[int, ...], sides: tuple[int, int]) -> int | None:
    """Return the first of two sides that cannot be halved at each level but the first, if any."""
    for side in sides:
        if not side or not widths or side % 2 ** (len(widths) - 1):
            return side
    return None


def _uneven(widths: tuple[int, ...], sides: tuple[int, int], of_what: str = "") -> str:
    side = _odd_side(widths, sides)
    return f"{len(widths)} levels, but {of_what}{side} is no multiple of 2^(levels - 1)"


def _in_latents(c: Any) -> bool:
    """Return whether the network of the config `c` works on latents."""
    return OBJECTIVES[c.objective.name].in_latents


def _uneven_input(c: Any, sizes: Any) -> str:
    """Return why the levels of the network do not fit its input."""
    of_what = "the latents' side " if _in_latents(c) else ""
    return _uneven(c.model.channels, sizes.input_sides, of_what)


ATTENTION = (
    EntryRule(
        "model.channels",
        _odd_heads,
        lambda c, width: f"{width} is no multiple of model.head = {c.model.head}",
    ),
    Rule(
        "model.attention",
        lambda c: not _has_attention(c),
        lambda c: (
            f"only for model.name = {quoted(names(NETWORKS, lambda network: network.attention))}"
        ),
    ),
    Rule(
        "model.attention",
        lambda c: _has_attention(c) and max(c.model.attention) > _last_level(c),
        lambda c: f"levels are 0 to {_last_level(c)}",
    ),
)

WIDTHS = (
    Rule(
        "model.channels",
        lambda c: not c.model.channels,
        lambda c: f"model.name = {c.model.name!r} needs at least one",
    ),
)

NETWORK_LEVELS = (
    Rule(
        "model.channels",
        lambda c, sizes: (
            network_facts(c.model.name).even
            and _odd_side(c.model.channels, sizes.input_sides) is not None
        ),
        _uneven_input,
    ),
    EntryRule(
        "model.channels",
        lambda c: _no_multiples(c.model.channels, c.model.groups),
        lambda c, width: f"{width} is no multiple of model.groups = {c.model.groups}",
    ),
)

LATENT_LEVELS = (
    Rule(
        "latent.widths",
        lambda c, sizes: _odd_side(c.latent.widths, sizes.image_sides) is not None,
        lambda c, sizes: _uneven(c.latent.widths, sizes.image_sides),
    ),
    EntryRule(
        "latent.widths",
        lambda c: _no_multiples(c.latent.widths, c.latent.groups),
        lambda c, width: f"{width} is no multiple of latent.groups = {c.latent.groups}",
    ),
)

TABLES = (
    Table(WIDTHS, when=_needs_widths),
    Table(ATTENTION, when=lambda c: c.model.attention),
)
SIZE_TABLES = (
    Table(NETWORK_LEVELS, when=_has_levels),
    Table(LATENT_LEVELS, when=_in_latents),
)
