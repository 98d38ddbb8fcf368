"""Trials of a store by the name that a user has for them."""

from collections.abc import Mapping
from typing import TypeVar

from lthray.config.fields import ConfigError
from lthray.core.store import Store
from lthray.study.ledger import Entry, Ledger

SHORT = 16  # hex digits of a key that are shown
SHOWN = 5  # names that are offered where one is not enough
T = TypeVar("T")


def trial_named(store: Store, name: str) -> tuple[Ledger, Entry]:
    """Return the trial whose id (CALL-NUMBER) begins with `name`, and its call; ConfigError where
    not exactly one does."""
    call, _, number = name.rpartition("-")
    wanted = number.zfill(4)
    ledgers = [ledger for ledger in Ledger.all(store) if ledger.key.startswith(call)]
    found = {
        f"{ledger.key[:SHORT]}-{wanted}": (ledger, entry)
        for ledger in ledgers
        for entry in ledger
        if f"{entry.number:04d}" == wanted
    }
    return the_one(name, found, "trial of the store has an id")


def the_one(name: str, found: Mapping[str, T], what: str) -> T:
    """Return the only thing that was `found`, by its name; ConfigError where it is not only one.

    `name` is what was asked for, `what` says of none that it begins so.
    """
    if not found:
        raise ConfigError([f"{name!r}: no {what} that begins so"])
    if len(found) > 1:
        shown = ", ".join(sorted(found)[:SHOWN])
        raise ConfigError([f"{name!r}: {len(found)} begin so, such as {shown}; give more of it"])
    (only,) = found.values()
    return only
