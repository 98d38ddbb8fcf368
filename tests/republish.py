"""Make published verdicts again from the recorded trials, after a change of words that is meant:
`python -m tests.republish`.

Rewrites the tables and sentences of results/, and in the README each line that showed one of them.
Figures and the pages of other analyses are left as they are.
"""

import csv
from pathlib import Path

from lthray.findings import wording
from lthray.findings.claims import Verdict

from .test_results import ROOT, published, rows


def table_of(table: list[list[str]]) -> str:
    """Return a table as the README shows it: its head, the line below, and its rows."""
    head, *below = ("| " + " | ".join(row) + " |" for row in table)
    return "\n".join([head, "|" + "---|" * len(table[0]), *below])


def retold(readme: str, was: list[str], now: list[str]) -> str:
    """Return the README with other sentences of a verdict where its list of them stood.

    Where there is no list, the first sentence alone is put for the first.
    """
    lines = readme.splitlines(keepends=True)
    listed = [f"* {sentence}\n" for sentence in was]
    if listed[0] not in lines:
        return readme.replace(was[0], now[0])
    begin = end = lines.index(listed[0])
    while end < len(lines) and lines[end] in listed:
        end += 1
    lines[begin:end] = [f"* {sentence}\n" for sentence in now]
    return "".join(lines)


def republish(place: Path, verdict: Verdict, readme: str) -> str:
    """Write one verdict anew and return the README with its lines."""
    table, told = wording.table(verdict), wording.sentences(verdict)
    before, text = rows(place.with_suffix(".csv")), place.with_suffix(".txt").read_text()
    old = text.splitlines()
    rest = [line for line in old if line.startswith(("An adaptive search", "Recorded: "))]
    with place.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    place.with_suffix(".txt").write_text("\n".join([*told, *rest]) + "\n")
    readme = readme.replace(table_of(before), table_of(table))
    return retold(readme, old[: len(old) - len(rest)], told)


def main() -> None:
    """Write every verdict and the README."""
    path = ROOT / "README.md"
    readme = path.read_text()
    for place, verdict in published():
        readme = republish(place, verdict, readme)
    path.write_text(readme)


if __name__ == "__main__":
    main()
