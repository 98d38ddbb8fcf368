"""Read the diffs that a page shows, and apply them to text."""

import re
from typing import NamedTuple


class Hunk(NamedTuple):
    """One place of a file that a diff changes."""

    path: str
    before: list[str]
    """Lines that the file must have."""
    after: list[str]
    """Lines that it has then."""


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code of one language of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def hunks(diff: str) -> list[Hunk]:
    """Return the hunks of a diff, whose heads are a bare @@."""
    found: list[Hunk] = []
    path = ""
    for line in diff.splitlines():
        if line.startswith("+++ b/"):
            path = line.removeprefix("+++ b/")
        elif line == "@@":
            found.append(Hunk(path, [], []))
        elif found and not line.startswith("--- a/"):
            if line[:1] != "+":
                found[-1].before.append(line[1:])
            if line[:1] != "-":
                found[-1].after.append(line[1:])
    return found


def by_section(page: str) -> dict[str, list[Hunk]]:
    """Return heading, without its article -> hunks, for each section of a page that has a diff."""
    found = {}
    for section in page.split("\n## ")[1:]:
        heading = section.splitlines()[0]
        diffs = blocks(section, "diff")
        if diffs:
            found[re.sub(r"^An? ", "", heading)] = hunks("".join(diffs))
    return found


def applied(text: str, hunk: Hunk) -> str:
    """Return `text` as it is after a hunk; ValueError unless its lines stand there just once."""
    before, after = ("\n".join(["", *lines, ""]) for lines in (hunk.before, hunk.after))
    whole = f"\n{text}"
    if whole.count(before) != 1:
        raise ValueError(f"{hunk.path} has {whole.count(before)} places for{before}")
    return whole.replace(before, after)[1:]
