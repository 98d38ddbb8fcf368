"""Pages of text, 80 columns wide: the one that --help prints, and titles above two columns."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lthray.config.options import EXIT_CODES, Words, literals, members, option_of, tuples
from lthray.config.spec import text_of

WIDTH = 80  # of a page
COLUMN = 40  # at most, of the names beside which texts stand


def asks_for_help(argv: Sequence[str]) -> bool:
    """Return whether --help or -h is among the words."""
    return "--help" in argv or "-h" in argv


def help_text(usage: str, about: str, groups: Mapping[str, Words]) -> str:
    """Return the page that --help prints: `usage`, `about`, and every option of `groups`."""
    lines = [f"usage: {usage}", "", *_filled(about), ""]
    for title, known in groups.items():
        lines.append(f"{title}:")
        for word, (kind, default, description) in known.items():
            lines += _option_lines(word, kind, default, description)
        lines.append("")
    return "\n".join([*lines, EXIT_CODES])


def titled(title: str, rows: Mapping[str, str]) -> Iterator[str]:
    """Yield a title below a blank line, then names and texts in two columns, no wider than WIDTH;
    nothing where there are no rows."""
    if not rows:
        return
    yield from ("", *textwrap.wrap(title, WIDTH, subsequent_indent="  "))
    column = min(max(map(len, rows)), COLUMN) * any(rows.values())
    for name, text in rows.items():
        yield from textwrap.wrap(
            f"{name:{column}}  {text}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent=" " * (column + 4),
            break_long_words=False,
            break_on_hyphens=False,
        )


def _filled(text: str) -> Iterator[str]:
    """Yield the lines of a text no wider than WIDTH; paragraphs with indented lines stay as is."""
    for paragraph in text.strip("\n").rstrip().split("\n\n"):
        is_plain = not re.search(r"^\s", paragraph, re.MULTILINE)
        yield textwrap.fill(paragraph, WIDTH) if is_plain else paragraph
        yield ""


def _option_lines(word: str, kind: Any, default: Any, description: str) -> Iterator[str]:
    option = f"{option_of(word)} {_kind(kind)}".rstrip()
    if default not in ("", (), None):
        option += f" [{text_of(default)}]"
    head, below, text = "  ", "    ", "      "
    yield from textwrap.wrap(
        option, WIDTH, initial_indent=head, subsequent_indent=below, break_long_words=False
    )
    yield from textwrap.wrap(description, WIDTH, initial_indent=text, subsequent_indent=text)


def _kind(kind: Any) -> str:
    """Return what stands behind an option of type `kind` on the help page."""
    deep, parts = tuples(kind), members(kind)
    if deep > 1:
        return "PATTERN DENSITY ..." if float in parts else "WORD VALUE ..."
    plural = " ..." if deep else ""
    listed = list(map(str, literals(kind)))
    if listed:
        comma = ", " if len(listed) > 5 else ","
        takes_path = "pattern=" in str(
            kind
        )  # an import path is the only text that must match a pattern
        return "{" + comma.join(listed) + "}" + plural + " or PACKAGE.MODULE:FACTORY" * takes_path
    for simple, shown in SHOWN_TYPES.items():
        if simple in parts:
            return shown and shown + plural
    return "TEXT" + plural


SHOWN_TYPES: Mapping[type, str] = {bool: "", int: "INT", float: "NUMBER"}
"""What the help page shows for a type, the first that an option's type contains; TEXT for all
others."""
