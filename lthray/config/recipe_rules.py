"""Check the recipe and the controls of a config: rules that several of its words must keep.

The rules are tables, checked from the first row to the last: the word, whether its value breaks the
rule in a config `c`, and what is allowed.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from lthray.config.fields import changed, quoted
from lthray.config.rule import EntryRule, Faults, Rule, Table, broken
from lthray.config.vocabulary import (
    BUDGETS,
    COMPARING,
    CONTROLS,
    DECAYS,
    NETWORKS,
    OBJECTIVES,
    REGIMES,
    REWINDS,
    TRACING,
    UNITS,
    names,
)


def faults(c: Any) -> Faults:
    """Yield a line for every rule of this file that the config `c` breaks."""
    yield from broken(TABLES, c)


def _rises(c: Any) -> bool:
    """Return whether a density of the ladder is no less than the one before it."""
    return any(above <= below for above, below in itertools.pairwise(c.prune.ladder))


def _batches_too_small(c: Any) -> bool:
    """Return whether labelled batches, which share out prune.images, hold under four images."""
    return OBJECTIVES[c.objective.name].classifies and c.prune.images < 4 * c.prune.terms


def _last_batch(c: Any) -> int:
    """Return the images of the last of the batches that share out prune.images."""
    size = -(-c.prune.images // c.prune.terms)
    return c.prune.images % size or size


def _last_batch_too_small(c: Any) -> bool:
    """Return whether images are compared in batches of which the last holds under four."""
    compared = not {c.prune.criterion, c.prune.budget}.isdisjoint(COMPARING)
    return compared and not OBJECTIVES[c.objective.name].denoises and _last_batch(c) < 4


def _keeps_zeros(c: Any) -> bool:
    """Return whether a run begins from weights that are zero wherever a mask has cut."""
    return _trained(c) or c.rewind.anchor == "previous"


def _rewind_step(c: Any) -> int:
    return round(c.rewind.fraction * c.train.steps)


def _misses_rewind_step(c: Any) -> bool:
    """Return whether weights of a step are taken that does not lie within the training run."""
    taken = REWINDS[c.rewind.rule].midway and (c.prune.ladder or c.origin)
    return taken and not 1 <= _rewind_step(c) < c.train.steps


def _rate_stays(c: Any) -> bool:
    """Return whether the learning rate is one and the same from the rewind point on."""
    falls = DECAYS[c.train.decay].falls and c.train.floor < 1
    pruned = c.prune.ladder or c.origin
    return bool(pruned) and not falls and c.train.warmup <= _rewind_step(c)


def _only_tuned(c: Any) -> str:
    """Return why a rewound learning rate is no treatment of its own, and what to use."""
    falling = quoted(names(DECAYS, lambda decay: decay.falls))
    rate = f"train.decay = {c.train.decay!r}, train.floor = {c.train.floor}"
    return (
        f"the learning rate is the same from step {_rewind_step(c)} on ({rate}), so that this is "
        f"fine-tuning; use 'tuned', or train.decay = {falling} with train.floor < 1"
    )


def _trained(c: Any) -> bool:
    """Return whether the rewinding rule keeps trained weights."""
    return REWINDS[c.rewind.rule].trained


def _unit(c: Any) -> str:
    return f"with prune.unit = {c.prune.unit!r}"


def _densities_without_pattern(c: Any) -> Iterator[float | str]:
    """Yield the densities, of rungs and of layers, that are no N / prune.group."""
    fixed = (density for _, density in c.prune.layers if density != "free")
    for density in (*c.prune.ladder, *fixed):
        kept = float(density) * c.prune.group
        if abs(kept - round(kept)) > 1e-9:
            yield density


def whole_or_free_layers(c: Any) -> Faults:
    """Refuse, where channels are cut, layers whose density is fixed below 1."""
    for pattern, density in c.prune.layers:
        if density not in (1.0, "free"):
            whole = "a layer is 'free' or stays whole (1.0)"
            yield f"prune.layers: {pattern!r} = {density}: {_unit(c)} {whole}"


def _budgets_of_channels() -> str:
    able = names(BUDGETS, lambda budget: budget.channels)
    return " or ".join(map(repr, able))


LADDER = (
    Rule("prune.ladder", _rises, lambda c: "densities must fall from rung to rung"),
    Rule(
        "prune.least",
        lambda c: c.prune.ladder and c.prune.least > c.prune.ladder[-1],
        lambda c: f"at most the last density of prune.ladder, {c.prune.ladder[-1]}",
    ),
    Rule(
        "prune.terms",
        _last_batch_too_small,
        lambda c: (
            f"shares out prune.images = {c.prune.images} so that {_last_batch(c)} are left for the "
            "last batch, and at least 4 are compared"
        ),
    ),
    Rule(
        "prune.terms",
        _batches_too_small,
        lambda c: f"at most a quarter of prune.images = {c.prune.images}, which it shares out",
    ),
)

BUDGET = (
    Rule(
        "prune.dials",
        lambda c: bool(c.prune.dials) != BUDGETS[c.prune.budget].dials,
        lambda c: (
            f"one a block for prune.budget = {quoted(names(BUDGETS, lambda row: row.dials))}, "
            "none for the others"
        ),
    ),
    Rule(
        "prune.budget",
        lambda c: BUDGETS[c.prune.budget].pair and c.model.pretrained,
        lambda c: "compares networks of two seeds, and given weights have none",
    ),
    Rule(
        "prune.scored",
        lambda c: c.prune.scored == "average" and not c.train.ema,
        lambda c: "train.ema = 0 keeps no average; use 'trained'",
    ),
    Rule(
        "prune.criterion",
        lambda c: c.prune.criterion in TRACING and c.prune.scored == "rewound",
        lambda c: (
            "scores how far weights have moved; those of prune.scored = 'rewound' have not moved"
        ),
    ),
    Rule(
        "prune.looks",
        lambda c: changed(c, "prune.looks") and not c.prune.early,
        lambda c: "only for prune.early > 0",
    ),
)

EARLY = (
    Rule(
        "prune.early",
        lambda c: REGIMES[c.regime.name].moves,
        lambda c: f"regime.name = {c.regime.name!r} moves the mask while it is looked at",
    ),
    Rule(
        "prune.early",
        lambda c: c.prune.scored == "rewound",
        lambda c: "prune.scored = 'rewound' looks at no training",
    ),
    Rule(
        "prune.early",
        _trained,
        lambda c: f"rewind.rule = {c.rewind.rule!r} goes on from the end of the training",
    ),
    Rule(
        "prune.looks",
        lambda c: c.prune.looks > c.train.steps - _rewind_step(c),
        lambda c: f"more than the steps of a ticket's training (train.steps = {c.train.steps})",
    ),
)

PATTERN = (
    Rule(
        "prune.budget",
        lambda c: not BUDGETS[c.prune.budget].uniform,
        lambda c: (
            f"{_unit(c)} every layer has the same density; "
            f"use {quoted(names(BUDGETS, lambda row: row.uniform))}"
        ),
    ),
    Rule(
        "prune.scoring_steps",
        lambda c: c.prune.scoring_steps > 1,
        lambda c: f"{_unit(c)} there are no densities between rungs",
    ),
    Rule(
        "control",
        lambda c: CONTROLS[c.control].whole_network,
        lambda c: f"{_unit(c)} it would break the pattern; use 'shuffle', which keeps it",
    ),
    EntryRule(
        "prune.ladder",
        _densities_without_pattern,
        lambda c, density: (
            f"{density} is no N / {c.prune.group} (prune.unit = {c.prune.unit!r}, prune.group)"
        ),
    ),
)

CHANNELS = (
    Rule(
        "prune.budget",
        lambda c: not BUDGETS[c.prune.budget].channels,
        lambda c: f"{_unit(c)} layers share what is cut; use {_budgets_of_channels()}",
    ),
    Rule(
        "prune.least",
        lambda c: c.prune.least,
        lambda c: f"{_unit(c)} every group of channels keeps some, whatever its layers",
    ),
    whole_or_free_layers,
    Rule(
        "measure.connected",
        lambda c: c.measure.connected,
        lambda c: f"{_unit(c)} two rungs are networks of two sizes, with no way between them",
    ),
    Rule(
        "control",
        lambda c: CONTROLS[c.control].whole_network,
        lambda c: f"{_unit(c)} it would leave groups without a channel; use 'shuffle'",
    ),
)

MOVING_MASK = (
    Rule(
        "regime.name",
        lambda c: not UNITS[c.prune.unit].single,
        lambda c: f"moves single weights; prune.unit = {c.prune.unit!r} would not hold",
    ),
    Rule(
        "regime.name",
        lambda c: c.origin,
        lambda c: f"origin = {c.origin!r} fixes the mask",
    ),
    Rule(
        "regime.name",
        lambda c: CONTROLS[c.control].one_mask and not c.origin,
        lambda c: f"control {c.control} has the mask",
    ),
)

REWIND = (
    Rule("rewind.rule", lambda c: REWINDS[c.rewind.rule].rate and _rate_stays(c), _only_tuned),
    Rule("control", lambda c: CONTROLS[c.control].rate and _rate_stays(c), _only_tuned),
    Rule(
        "rewind.fraction",
        _misses_rewind_step,
        lambda c: (
            f"k = {_rewind_step(c)} of train.steps = {c.train.steps}, "
            f"{c.rewind.rule} needs 1 <= k < steps"
        ),
    ),
    Rule(
        "rewind.anchor",
        lambda c: c.rewind.anchor == "previous" and 2 * _rewind_step(c) >= c.train.steps,
        lambda c: (
            f"k = {_rewind_step(c)} steps into a run that begins at k is no step before its end, "
            f"{c.train.steps}"
        ),
    ),
)

CONTROL = (
    Rule(
        "control",
        lambda c: CONTROLS[c.control].other_weights and _keeps_zeros(c),
        lambda c: (
            f"rewind.rule = {c.rewind.rule!r} keeps trained weights, which are zero off the mask"
            if _trained(c)
            else "rewind.anchor = 'previous' takes weights that are zero off the mask before"
        ),
    ),
)

NARROWER = (
    Rule(
        "control",
        lambda c: c.model.pretrained,
        lambda c: f"model.pretrained = {c.model.pretrained!r} has no narrower network",
    ),
    Rule(
        "control",
        lambda c: c.model.name not in NETWORKS,
        lambda c: f"model.name = {c.model.name!r} has no narrower network",
    ),
    Rule(
        "fork",
        lambda c: c.fork,
        lambda c: f"not for control = {c.control!r}, which shares no weights with the chain",
    ),
)

TABLES = (
    Table(LADDER),
    Table(BUDGET),
    Table(EARLY, when=lambda c: c.prune.early),
    Table(PATTERN, when=lambda c: UNITS[c.prune.unit].pattern),
    Table(CHANNELS, when=lambda c: UNITS[c.prune.unit].coupled),
    Table(MOVING_MASK, when=lambda c: REGIMES[c.regime.name].moves),
    Table(REWIND),
    Table(CONTROL),
    Table(NARROWER, when=lambda c: CONTROLS[c.control].narrower),
)
