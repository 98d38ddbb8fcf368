"""Check the recipe and the controls of a config: rules that several of its words must keep.

A rule is a generator of fault lines, "word = value: what is allowed". It reads the config `c` by
its attributes alone, so that the config can import this file.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from lthray.config.fields import default_of, quoted
from lthray.config.vocabulary import (
    BUDGETS,
    CONTROLS,
    NETWORKS,
    OBJECTIVES,
    REGIMES,
    REWINDS,
    UNITS,
    names,
)

Faults = Iterator[str]


def faults(c: Any) -> Faults:
    """Yield a line for every rule of this file that the config `c` breaks."""
    for rule in RULES:
        yield from rule(c)


def ladder_falls(c: Any) -> Faults:
    """Require densities that fall, the last being no less than what a layer keeps."""
    ladder, least = c.prune.ladder, c.prune.least
    if any(above <= below for above, below in itertools.pairwise(ladder)):
        yield f"prune.ladder = {ladder}: densities must fall from rung to rung"
    if ladder and least > ladder[-1]:
        yield f"prune.least = {least}: at most the last density of prune.ladder, {ladder[-1]}"


def batches_of_a_criterion(c: Any) -> Faults:
    """Require enough images a batch where prune.terms are batches of labelled images."""
    images, terms = c.prune.images, c.prune.terms
    if OBJECTIVES[c.objective.name].classifies and images < 4 * terms:
        most = f"at most a quarter of prune.images = {images}, which it shares out"
        yield f"prune.terms = {terms}: {most}"


def budget_has_what_it_needs(c: Any) -> Faults:
    """Require the dials, the second seed and the free choice that a budget needs."""
    prune, facts = c.prune, BUDGETS[c.prune.budget]
    if bool(prune.dials) != facts.dials:
        able = quoted(names(BUDGETS, lambda budget: budget.dials))
        one = f"one a block for prune.budget = {able}, none for the others"
        yield f"prune.dials = {prune.dials}: {one}"
    if facts.pair and c.model.pretrained:
        without = "compares networks of two seeds, and given weights have none"
        yield f"prune.budget = {prune.budget!r}: {without}"


def early_is_on(c: Any) -> Faults:
    """Refuse prune.looks without prune.early."""
    if c.prune.looks != default_of(type(c), "prune.looks") and not c.prune.early:
        yield f"prune.looks = {c.prune.looks}: only for prune.early > 0"


def early_mask_can_be_compared(c: Any) -> Faults:
    """Refuse prune.early where the mask moves, or no training can be looked at so often."""
    early, looks, steps = c.prune.early, c.prune.looks, c.train.steps
    if not early:
        return
    if REGIMES[c.regime.name].moves:
        moves = f"regime.name = {c.regime.name!r} moves the mask while it is looked at"
        yield f"prune.early = {early}: {moves}"
    if c.prune.scored == "rewound":
        yield f"prune.early = {early}: prune.scored = 'rewound' looks at no training"
    if REWINDS[c.rewind.rule].trained:
        goes_on = f"rewind.rule = {c.rewind.rule!r} goes on from the end of the training"
        yield f"prune.early = {early}: {goes_on}"
    if looks > steps - round(c.rewind.fraction * steps):
        more = f"more than the steps of a ticket's training (train.steps = {steps})"
        yield f"prune.looks = {looks}: {more}"


def pattern_fits(c: Any) -> Faults:
    """Require, where N of every M weights are kept, densities N / M that all layers share."""
    prune, unit = c.prune, f"prune.unit = {c.prune.unit!r}"
    if not UNITS[prune.unit].pattern:
        return
    if not BUDGETS[prune.budget].uniform:
        same = f"with {unit} every layer has the same density"
        use = quoted(names(BUDGETS, lambda budget: budget.uniform))
        yield f"prune.budget = {prune.budget!r}: {same}; use {use}"
    if prune.scoring_steps > 1:
        between = f"with {unit} there are no densities between rungs"
        yield f"prune.scoring_steps = {prune.scoring_steps}: {between}"
    fixed = (density for _, density in prune.layers if density != "free")
    for density in (*prune.ladder, *fixed):
        kept = float(density) * prune.group
        if abs(kept - round(kept)) > 1e-9:
            no_pattern = f"{density} is no N / {prune.group} ({unit}, prune.group)"
            yield f"prune.ladder = {prune.ladder}: {no_pattern}"


def channels_fit(c: Any) -> Faults:
    """Require, where channels are cut, what can be said of channels that several layers share."""
    prune, unit = c.prune, f"with prune.unit = {c.prune.unit!r}"
    if not UNITS[prune.unit].coupled:
        return
    if not BUDGETS[prune.budget].channels:
        able = names(BUDGETS, lambda budget: budget.channels)
        use = " or ".join(repr(name) for name in able)
        yield f"prune.budget = {prune.budget!r}: {unit} layers share what is cut; use {use}"
    if prune.least:
        some = "every group of channels keeps some, whatever its layers"
        yield f"prune.least = {prune.least}: {unit} {some}"
    for pattern, density in prune.layers:
        if density not in (1.0, "free"):
            whole = "a layer is 'free' or stays whole (1.0)"
            yield f"prune.layers: {pattern!r} = {density}: {unit} {whole}"
    if CONTROLS[c.control].whole_network:
        empty = "it would leave groups without a channel; use 'shuffle'"
        yield f"control = {c.control!r}: {unit} {empty}"


def mask_may_move(c: Any) -> Faults:
    """Refuse a moving mask where single weights are not cut, or the mask is settled."""
    name = c.regime.name
    if not REGIMES[name].moves:
        return
    if not UNITS[c.prune.unit].single:
        unit = f"prune.unit = {c.prune.unit!r} would not hold"
        yield f"regime.name = {name!r}: moves single weights; {unit}"
    if c.origin:
        yield f"regime.name = {name!r}: origin = {c.origin!r} fixes the mask"
    elif CONTROLS[c.control].one_mask:
        yield f"regime.name = {name!r}: control {c.control} has the mask"


def rewind_point(c: Any) -> Faults:
    """Require a rewind point within the training run where the weights of that point are taken."""
    steps, fraction = c.train.steps, c.rewind.fraction
    k = round(fraction * steps)
    pruned = c.prune.ladder or c.origin
    if REWINDS[c.rewind.rule].midway and pruned and not 1 <= k < steps:
        needed = f"{c.rewind.rule} needs 1 <= k < steps"
        yield f"rewind.fraction = {fraction}: k = {k} of train.steps = {steps}, {needed}"


def origin_is_given(c: Any) -> Faults:
    """Refuse words on the ticket of another trial where there is none."""
    if c.origin:
        return
    only = "only with the ticket of another trial, origin"
    if REWINDS[c.rewind.rule].ticket:
        yield f"rewind.rule = {c.rewind.rule!r}: {only}"
    if c.elastic != default_of(type(c), "elastic"):
        yield f"elastic = {c.elastic!r}: {only}"


def origin_fits(c: Any) -> Faults:
    """Refuse, with another trial's ticket, what would make a mask or needs a chain of rungs."""
    if not c.origin:
        return
    for word in ("prune.criterion", "prune.budget"):
        if c.flat()[word] != default_of(type(c), word):
            leave = "leave prune.criterion and prune.budget at their defaults"
            yield f"origin = {c.origin!r}: fixes the mask; {leave}"
            break
    if CONTROLS[c.control].chain:
        nothing = f"so control = {c.control!r} has nothing to be made from"
        yield f"origin = {c.origin!r}: has one rung and no chain, {nothing}"
    if REWINDS[c.rewind.rule].trained or c.rewind.anchor == "previous":
        free = names(REWINDS, lambda rule: not (rule.trained or rule.ticket))
        own = f"this trial's own dense run ({', '.join(free)}) or be 'given'"
        yield f"origin = {c.origin!r}: rewind.rule must go back to {own}"


def control_has_weights(c: Any) -> Faults:
    """Refuse a control that keeps cut weights where those are zero."""
    rule = c.rewind.rule
    if CONTROLS[c.control].other_weights and REWINDS[rule].trained:
        zero = "keeps trained weights, which are zero off the mask"
        yield f"control = {c.control!r}: rewind.rule = {rule!r} {zero}"


def narrower_network(c: Any) -> Faults:
    """Refuse the control of a narrower network where there is none, or nothing to fork."""
    if not CONTROLS[c.control].narrower:
        return
    if c.model.pretrained:
        source = f"model.pretrained = {c.model.pretrained!r}"
        yield f"control = {c.control!r}: {source} has no narrower network"
    if c.model.name not in NETWORKS:
        yield f"control = {c.control!r}: model.name = {c.model.name!r} has no narrower network"
    if c.fork:
        shared = "which shares no weights with the chain"
        yield f"fork = {c.fork}: not for control = {c.control!r}, {shared}"


RULES = (
    ladder_falls,
    batches_of_a_criterion,
    budget_has_what_it_needs,
    early_is_on,
    early_mask_can_be_compared,
    pattern_fits,
    channels_fit,
    mask_may_move,
    rewind_point,
    origin_is_given,
    origin_fits,
    control_has_weights,
    narrower_network,
)
