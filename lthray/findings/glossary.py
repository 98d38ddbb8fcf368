"""The glossary of a report: the terms that a page uses, each where it stands and once below.

Terms are those of docs/concepts.md, where each is defined once.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape

ENTRY = re.compile(r"^\*\*(?P<term>[^*]+)\*\*: (?P<said>.+)$", re.M)
MARKUP = re.compile(r"\[([^\]]+)\]\([^)]*\)|`([^`]*)`")


def plain(text: str) -> str:
    """Return a line of Markdown without its marks for links and code."""
    return MARKUP.sub(lambda found: found[1] or found[2], text)


@dataclass(frozen=True)
class Glossary:
    """Terms that are explained on a page."""

    terms: Mapping[str, str] = field(default_factory=dict)
    """Term -> what it means."""

    @classmethod
    def of(cls, page: str) -> "Glossary":
        """Return the terms of a page in Markdown, each in bold before a colon, and their
        definitions."""
        return cls({found["term"]: plain(found["said"]) for found in ENTRY.finditer(page)})

    @cached_property
    def _places(self) -> dict[str, str]:
        """Term in lower case -> its anchor."""
        return {term.lower(): _anchor(term) for term in self.terms}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Whole terms, the longest first, each also with an s at its end."""
        longest = sorted(self.terms, key=len, reverse=True)
        either = "|".join(map(re.escape, longest)) or r"(?!)"
        return re.compile(rf"(?<![\w/])(?P<term>{either})s?(?![\w/])", re.I)

    def found(self, text: str) -> list[str]:
        """Return the terms of a text in the order in which they stand there, in lower case."""
        return [each["term"].lower() for each in self._pattern.finditer(text)]

    def used(self, texts: Iterable[str]) -> "Glossary":
        """Return the glossary of the terms that stand in any of some texts."""
        seen = {term for text in texts for term in self.found(text)}
        return Glossary({term: said for term, said in self.terms.items() if term.lower() in seen})

    def linked(self, text: str) -> str:
        """Return a text as HTML, in which each term leads to its definition."""
        parts, end = [], 0
        for each in self._pattern.finditer(text):
            parts.append(escape(text[end : each.start()]))
            anchor = self._places[each["term"].lower()]
            parts.append(f'<a class="term" href="#{anchor}">{escape(each[0])}</a>')
            end = each.end()
        return "".join([*parts, escape(text[end:])])

    def html(self) -> str:
        """Return the definitions as a list in HTML."""
        items = []
        for term, said in sorted(self.terms.items(), key=lambda item: item[0].lower()):
            items.append(f'<dt id="{_anchor(term)}">{escape(term)}</dt><dd>{escape(said)}</dd>')
        return "\n".join(['<dl class="glossary">', *items, "</dl>"])


def _anchor(term: str) -> str:
    return "term-" + re.sub(r"[^a-z0-9]+", "-", term.lower()).strip("-")
