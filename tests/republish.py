"""Make published verdicts again from the recorded trials, after a change of words that is meant:
`python -m tests.republish`.

Rewrites the tables and sentences of results/, and in the README each line that showed one of them.
Of a design the figures are made again too. Figures of verdicts and the pages of other analyses are
left as they are.
"""

import csv
import re
from pathlib import Path

from lthray.findings import designs, sections, wording
from lthray.findings.evidence import Evidence, comparable

from .test_results import BY, DESIGN, ROOT, published, recorded, rows


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


def of_design(readme: str) -> str:
    """Write the page of the design anew and return the README with its tables and sentences."""
    provenance = (DESIGN / "frequency.txt").read_text().splitlines()[-1]
    made = {s.name: s for s in designs.sections(comparable(recorded(DESIGN)), BY, provenance)}
    for name, section in made.items():
        with (DESIGN / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(section.table)
        if section.text:
            (DESIGN / f"{name}.txt").write_text("\n".join(section.text) + "\n")
        if section.figure:
            (DESIGN / f"{name}.png").write_bytes(sections.png(section.figure))
    tables = (sections.markdown(made[name].table) for name in ("frequency", "survival"))
    before, part, after = re.split(r"(^## How often .*?)(?=^## )", readme, flags=re.M | re.S)
    part = re.sub(r"(?:^\|.*\n)+", lambda found: next(tables), part, flags=re.M)
    told = "".join(f"* {line}\n" for line in made["frequency"].text)
    part = re.sub(r"(?:^\* .*\n)+", lambda found: told, part, flags=re.M)
    return before + part + after


def main() -> None:
    """Write every verdict, the page of the design, and the README."""
    path = ROOT / "README.md"
    readme = of_design(path.read_text())
    for place, evidence in published():
        head = rule_of(rows(place.with_suffix(".csv")))
        readme = readme.replace(head, rule_of(wording.table(evidence)))
        readme = republish(place, evidence, readme)
    path.write_text(readme)


if __name__ == "__main__":
    main()
