"""Check what a config takes from another trial: a ticket file, `origin`, or a trial, `source`."""

from typing import Any

from lthray.config.fields import changed
from lthray.config.rule import Faults, Rule, Table, broken
from lthray.config.vocabulary import CONTROLS, REGIMES, REWINDS, names


def faults(c: Any) -> Faults:
    """Yield a line for every rule of this file that the config `c` breaks."""
    yield from broken(TABLES, c)


def _trained(c: Any) -> bool:
    """Return whether the rewinding rule keeps trained weights."""
    return REWINDS[c.rewind.rule].trained


def _keeps_zeros(c: Any) -> bool:
    """Return whether a run begins from weights that are zero wherever a mask has cut."""
    return _trained(c) or c.rewind.anchor == "previous"


def _own_rewinds() -> str:
    """Return the rewinding rules that go back to the trial's own dense run."""
    return ", ".join(names(REWINDS, lambda rule: not (rule.trained or rule.ticket)))


NO_ORIGIN = (
    Rule(
        "rewind.rule",
        lambda c: REWINDS[c.rewind.rule].ticket,
        lambda c: "only with the ticket of another trial, origin",
    ),
    Rule(
        "elastic",
        lambda c: changed(c, "elastic"),
        lambda c: "only with the ticket of another trial, origin",
    ),
)

ORIGIN = (
    Rule(
        "origin",
        lambda c: changed(c, "prune.criterion") or changed(c, "prune.budget"),
        lambda c: "fixes the mask; leave prune.criterion and prune.budget at their defaults",
    ),
    Rule(
        "origin",
        lambda c: CONTROLS[c.control].chain,
        lambda c: (
            f"has one rung and no chain, so control = {c.control!r} has nothing to be made from"
        ),
    ),
    Rule(
        "origin",
        _keeps_zeros,
        lambda c: (
            "rewind.rule must go back to this trial's own dense run "
            f"({_own_rewinds()}) or be 'given'"
        ),
    ),
)

NO_SOURCE = (
    Rule(
        "source.takes",
        lambda c: changed(c, "source.takes"),
        lambda c: "only with the tickets of another trial, source.words or source.seeds",
    ),
    Rule(
        "source.align",
        lambda c: changed(c, "source.align"),
        lambda c: "only with the tickets of another trial, source.words or source.seeds",
    ),
)

SOURCE = (
    Rule("origin", lambda c: c.origin, lambda c: "not beside a source: both give the mask"),
    Rule(
        "regime.name",
        lambda c: REGIMES[c.regime.name].moves,
        lambda c: "moves the mask, which the source gives; use 'static'",
    ),
    Rule(
        "control",
        lambda c: CONTROLS[c.control].one_mask,
        lambda c: "cuts a mask of its own; leave out the source",
    ),
    Rule(
        "source.align",
        lambda c: changed(c, "source.align") and c.source.takes != "mask",
        lambda c: "only with source.takes = 'mask': what else is taken is of the source's channels",
    ),
    Rule(
        "source.takes",
        lambda c: c.source.takes == "signs" and _trained(c),
        lambda c: f"rewind.rule = {c.rewind.rule!r} keeps trained weights, with their own signs",
    ),
    Rule(
        "source.takes",
        lambda c: c.source.takes == "weights" and _keeps_zeros(c),
        lambda c: "takes weights that are zero off the source's mask; rewind to its dense run",
    ),
)

TABLES = (
    Table(NO_ORIGIN, when=lambda c: not c.origin),
    Table(ORIGIN, when=lambda c: c.origin),
    Table(NO_SOURCE, when=lambda c: not c.source.given),
    Table(SOURCE, when=lambda c: c.source.given),
)
