"""Say what a rule of the config is: a row of a table, which yields the faults of a config.

A row is called with the config `c`, which it reads by its attributes alone, so that the config can
import the tables. A fault is a line, "word = value: what is allowed".
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

Faults = Iterator[str]
# (config) -> fault lines, or (config, sizes) -> fault lines
Row = Callable[..., Faults]


@dataclass(frozen=True)
class Rule:
    """State when the value of a word is refused: a row of at most one fault.

    Both functions take what the table is checked with: the config, or the config and its sizes.
    """

    word: str
    """Dotted word, which begins the fault line with its value."""
    breaks: Callable[..., Any]
    """Whether a config breaks the rule."""
    allowed: Callable[..., str]
    """End of the fault line: what is allowed, or why the value is not."""

    def __call__(self, c: Any, *sizes: Any) -> Faults:
        """Yield the fault line of the config `c` if it breaks the rule."""
        if self.breaks(c, *sizes):
            yield f"{self.word} = {value_of(c, self.word)!r}: {self.allowed(c, *sizes)}"


@dataclass(frozen=True)
class EntryRule:
    """State which entries of a tuple are refused: a row of one fault an entry."""

    word: str
    """Dotted word, which begins each fault line with its value."""
    refused: Callable[[Any], Iterable[Any]]
    """Entries that break the rule in a config."""
    allowed: Callable[[Any, Any], str]
    """End of the fault line of a config and a refused entry."""

    def __call__(self, c: Any, *_: Any) -> Faults:
        """Yield a fault line for every entry that the config `c` may not have."""
        for entry in self.refused(c):
            yield f"{self.word} = {value_of(c, self.word)!r}: {self.allowed(c, entry)}"


@dataclass(frozen=True)
class Table:
    """Hold rows that are checked together, of every config or of some."""

    rows: Sequence[Row]
    when: Callable[[Any], Any] = lambda c: True
    """Whether the rows are checked of a config."""


def broken(tables: Iterable[Table], c: Any, *sizes: Any) -> Faults:
    """Yield the fault lines of the config `c`, in the order of the `tables` and their rows."""
    for table in tables:
        if table.when(c):
            for row in table.rows:
                yield from row(c, *sizes)


def value_of(c: Any, word: str) -> Any:
    """Return the value of a dotted word in the config `c`."""
    return attrgetter(word)(c)
