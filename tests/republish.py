"""Make published verdicts again from the recorded trials, after a change of words that is meant:
`python -m tests.republish`.

Rewrites the tables and sentences of results/, verdicts and comparisons, and in the README each line
that showed one of them. Figures are left as they are.
"""

import csv
from pathlib import Path

from lthray.findings import wording
from lthray.findings.evidence import Evidence

from .test_results import MADE, ROOT, made_again, published, rows


def lines_of(table: list[list[str]], told: list[str]) -> list[str]:
    """Return the lines by which the README shows a verdict: rows in Markdown, then sentences."""
    return [*("| " + " | ".join(row) + " |" for row in table), *told]


def republish(place: Path, evidence: Evidence, readme: str) -> str:
    """Write one verdict anew and return the README with its lines."""
    table, told = wording.table(evidence), wording.sentences(evidence)
    before, text = rows(place.with_suffix(".csv")), place.with_suffix(".txt").read_text()
    old = text.splitlines()
    rest = [line for line in old if line.startswith(("An adaptive search", "Recorded: "))]
    with place.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    place.with_suffix(".txt").write_text("\n".join([*told, *rest]) + "\n")
    shown = lines_of(before, old[: len(told)])
    for was, now in zip(shown, lines_of(table, told), strict=True):
        readme = readme.replace(was, now)
    return readme


def rule_of(table: list[list[str]]) -> str:
    """Return the head of a table in Markdown with the line below it."""
    return "| " + " | ".join(table[0]) + " |\n|" + "---|" * len(table[0])


def compare_again(place: Path, page: str, readme: str) -> str:
    """Write the table and sentences of a comparison anew and return the README with its lines.

    Where and when its trials were made is told as it was.
    """
    section, before = made_again(place, page), rows(place)
    table = [list(row) for row in section.table]
    with place.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    for was, now in zip(before[1:], table[1:], strict=True):
        readme = readme.replace(f"| {' | '.join(was)} |", f"| {' | '.join(now)} |")
    readme = readme.replace(rule_of(before), rule_of(table))
    told = list(filter(None, section.text))
    if told:
        path = place.with_suffix(".txt")
        old = path.read_text().splitlines()
        new = [*told, *(line for line in old if line.startswith("Recorded: "))]
        path.write_text("\n".join(new) + "\n")
        readme = readme.replace(*("".join(f"* {line}\n" for line in lines) for lines in (old, new)))
    return readme


def main() -> None:
    """Write every verdict, every comparison and the README."""
    path = ROOT / "README.md"
    readme = path.read_text()
    for place, evidence in published():
        head = rule_of(rows(place.with_suffix(".csv")))
        readme = readme.replace(head, rule_of(wording.table(evidence)))
        readme = republish(place, evidence, readme)
    for place, page in MADE:
        readme = compare_again(place, page, readme)
    path.write_text(readme)


if __name__ == "__main__":
    main()
