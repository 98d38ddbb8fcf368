"""The ticket of another trial that a trial is given: its file, and what that says of the trial it comes from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthray.config.fields import ConfigError
from lthray.config.trial import PLACES, Model, TrialConfig
from lthray.core.ticket import Ticket, TicketError, read_ticket

DEEPEST = 1000  # blocks a level that a file may speak of


@dataclass(frozen=True)
class Origin:
    """A ticket file as it was read. What it does not say is 0: a ticket for its own depth, of no known round."""

    path: str
    digest: str
    ticket: Ticket
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, path: str) -> "Origin | None":
        """The ticket in a file; None for no path, TicketError where it is none, ConfigError where there is no such file."""
        if not path:
            return None
        data = content("origin", path)
        try:
            return cls(path, hashlib.sha256(data).hexdigest(), *read_ticket(data))
        except TicketError as error:
            raise TicketError(f"origin = {path!r}: {error}") from None

    @property
    def round(self) -> int:
        """The round of its trial that it is."""
        return self._count(self.facts.get("round", 0))

    @property
    def layers(self) -> int:
        """Blocks a level of its network."""
        config = self.facts.get("config")
        return self._count(config.get("model.layers", Model().layers)) if isinstance(config, dict) else 0

    def stretches(self, config: TrialConfig) -> bool:
        """Whether the network of a trial is of another depth."""
        return self.layers not in (0, config.model.layers)

    def trial(self, here: TrialConfig) -> TrialConfig:
        """The config of its trial, whose images lie where those of the trial that is given it do: no file of ours is opened
        because a ticket names it."""
        if not self.layers:
            raise self.refused("has neither weights nor the config of its trial")
        known = {word: value for word, value in self.facts["config"].items() if word not in PLACES}
        try:
            return TrialConfig.from_flat({**known, "data.root": here.data.root, "data.download": here.data.download})
        except ConfigError as error:
            raise self.refused(f"its config cannot be used: {'; '.join(error.faults)}") from None

    def refused(self, why: object) -> TicketError:
        """The error that says which file cannot be used, and why."""
        return TicketError(f"origin = {self.path!r}: {why}")

    def _count(self, number: Any) -> int:
        if type(number) is not int or not 0 <= number <= DEEPEST:
            raise self.refused(f"round or model.layers = {str(number)[:20]}: must be 0 to {DEEPEST}")
        return number


def content(word: str, path: str) -> bytes:
    """What is in a file that somebody gave as `word`; ConfigError where there is no such file."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError([f"{word} = {path!r}: {error.strerror}"]) from None
