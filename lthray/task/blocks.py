"""Blocks and levels: what groups of layers are called by the names of their weights."""

from collections.abc import Callable


def block_of(layer: str) -> str:
    """Return the block of a layer, such as down_blocks.0, mid_block or a classifier's hidden.0."""
    first, second, *_ = (*layer.split("."), "")
    return f"{first}.{second}" if second.isdigit() else first


def group_of(layer: str, granularity: str, levels: int) -> str:
    """Return the name of what shares one density with `layer`: all layers of one name do.

    At `granularity` layer that is the layer alone; at block, its block; at level, its level of a
    U-Net of that many `levels`, on the way down and on the way up, where the middle block belongs
    to the lowest level.
    """
    return GRANULARITIES[granularity](layer, levels)


def _level(layer: str, levels: int) -> str:
    block = block_of(layer)
    part, _, number = block.partition(".")
    level_of_part = {
        "down_blocks": int(number or 0),
        "mid_block": levels - 1,
        "up_blocks": levels - 1 - int(number or 0),
    }
    return f"level {level_of_part[part]}" if part in level_of_part else block


GRANULARITIES: dict[str, Callable[[str, int], str]] = {
    "layer": lambda layer, _levels: layer,
    "block": lambda layer, _levels: block_of(layer),
    "level": _level,
}
