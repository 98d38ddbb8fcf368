"""Citations: papers by the label under which a text names them, and the BibTeX of those it names.

A text cites in round brackets, labels parted by semicolons: (Ho et al. 2020; Rombach et al. 2022).
The entries lie in papers.bib, beside this file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

LETTERS = "abcdefghijklmnopqrstuvwxyz"  # with which a key begins: a name; then the year
ENTRY = re.compile(r"^@\w+\{(?P<key>\w+),\n(?P<fields>(?:  \w+ = \{.*\},\n)+)\}$", re.M)
FIELD = re.compile(r"^  (?P<name>\w+) = \{(?P<value>.*)\},$", re.M)
ACCENT = re.compile(r"\{\\(?:['\"]?)(\w)\}")
CITED = re.compile(r"\((?P<labels>[^()]*\b\d{4}[a-z]?)\)")


@dataclass(frozen=True)
class Paper:
    """One entry of the bibliography."""

    key: str
    fields: Mapping[str, str]
    entry: str
    """The entry in BibTeX."""

    @property
    def surnames(self) -> list[str]:
        """The surnames of the authors, without accents."""
        return [bare(name.partition(",")[0]) for name in self.fields["author"].split(" and ")]

    @property
    def label(self) -> str:
        """Name in a text, such as Frankle and Carbin 2019, or Fang et al. 2023a."""
        names = self.surnames
        who = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
        return f"{who} {self.key.lstrip(LETTERS)}"

    @property
    def reference(self) -> str:
        """The entry as a line of a list of references."""
        places = (self.fields.get(name, "") for name in ("journal", "booktitle", "note"))
        title = bare(self.fields["title"])
        mark = "" if title.endswith("?") else "."
        return f"{self.label}. {title}{mark} {', '.join(filter(None, places))}."


def bare(text: str) -> str:
    """Return a text of BibTeX without braces and accents."""
    return ACCENT.sub(r"\1", text).replace("{", "").replace("}", "")


@cache
def papers() -> Mapping[str, Paper]:
    """Return label -> paper of the whole bibliography, in its order."""
    text = resources.files("lthray.findings").joinpath("papers.bib").read_text(encoding="utf-8")
    found = {}
    for entry in ENTRY.finditer(text):
        fields = {each["name"]: each["value"] for each in FIELD.finditer(entry["fields"])}
        paper = Paper(entry["key"], fields, entry[0])
        found[paper.label] = paper
    return found


def cited(text: str) -> list[Paper]:
    """Return the papers that a text cites, each once, by their labels; KeyError for a label that
    the bibliography has not."""
    labels = set[str]()
    for found in CITED.finditer(text):
        labels.update(found["labels"].split("; "))
    return [papers()[label] for label in sorted(labels)]


def bibliography(text: str) -> str:
    """Return the BibTeX of the papers that a text cites."""
    return "\n\n".join(paper.entry for paper in cited(text)) + "\n"


def keyed(text: str) -> str:
    r"""Return a text with \citep{key, key} of natbib in the place of its citations."""

    def keys(found: re.Match[str]) -> str:
        named = [papers()[label].key for label in found["labels"].split("; ")]
        return f"\\citep{{{','.join(named)}}}"

    return CITED.sub(keys, text)
