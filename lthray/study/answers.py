"""Words of a config that a user's own images answer where the user leaves them out."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lthray.config.fields import ConfigError, from_flat
from lthray.config.parts import Data
from lthray.config.vocabulary import data_facts

PREFIX = "data."


def answered(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return words of a config, with those that a user's own images answer where they are missing.

    These are data.side, data.width, data.channels and data.classes. Images are only opened where a
    word is missing. Raises ConfigError where they cannot be read.
    """
    try:
        data = data_of(flat)
    except ConfigError:  # whoever makes a config of the words will say it
        return dict(flat)
    is_told = all((data.side, data.channels, data.classes))
    if is_told or not data_facts(data.name).brought:
        return dict(flat)
    return {**flat, **asked(data)}


def asked(data: Data) -> dict[str, int]:
    """Return the words data.side, width, channels and classes that the user's images answer.

    Only words that `data` leaves at 0 are answered. Raises ConfigError where they cannot be read.
    """
    from lthray.task.data import seen

    given = {f"{PREFIX}{name}": value for name, value in asdict(data).items()}
    square = {"data.width": 0} if data.side else {}  # a side alone says so
    answers = seen(data) | square
    left = {word: value for word, value in answers.items() if not given[word]}
    return {word: value for word, value in left.items() if value}


def data_of(flat: Mapping[str, Any]) -> Data:
    """Return the part on data that dotted words of a config make of the defaults.

    Raises ConfigError with every fault of these words.
    """
    words = {word: value for word, value in flat.items() if word.startswith(PREFIX)}
    try:
        return from_flat(Data, {word.removeprefix(PREFIX): words[word] for word in words})
    except ConfigError as error:
        raise ConfigError([f"--{PREFIX}{fault}" for fault in error.faults]) from None
