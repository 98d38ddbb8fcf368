"""The front of a report: banners, the question, its answer, and the way to all the rest.

Here too the index of all reports below a folder, which reads it from their pages.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from urllib.parse import quote

from lthray.findings.html import PLAIN, About, Chapter, Look, chapter, document, folded, prose
from lthray.findings.sections import Section

ABOUT = re.compile(r'<meta name="lthray\.study" content="([^"]*)">')
HEAD = 100_000  # characters at the top of a page in which its `About` stands


@dataclass(frozen=True)
class Front:
    """What a report opens with."""

    about: About
    facts: str
    """Line on day, trials and machines."""
    answer: Sequence[str]
    """Sentences that answer the question: two at most."""
    verdicts: Sequence[Section]
    """All that is said of the claims, which a reader may open."""
    banners: Sequence[str] = ()
    """Warnings that stand before all else."""


def study(front: Front, chapters: Sequence[Chapter], look: Look = PLAIN) -> str:
    """Return the page of a study: banners, question, answer, contents, chapters, glossary."""
    about = front.about
    body = [
        *(f'<p class="banner" role="note">{escape(text)}</p>' for text in front.banners),
        f'<p class="name">{escape(about.name)} · {escape(front.facts)}</p>',
        f"<h1>{escape(about.question)}</h1>",
        answer(front.answer, look),
        *verdicts(front.verdicts),
        contents(chapters, look),
    ]
    body += [chapter(each, look) for each in chapters]
    body += glossary(look)
    body += silent(chapters)
    return document(about.name, "\n".join(body), about)


def answer(sentences: Sequence[str], look: Look = PLAIN) -> str:
    """Return the sentences that answer the question, in large type, their terms explained."""
    lines = [f'<p class="first">{look.glossary.linked(text)}</p>' for text in sentences]
    return "\n".join(['<div class="verdict">', *lines, "</div>"])


def verdicts(sections: Sequence[Section]) -> list[str]:
    """Return all sentences on the claims, below a line that opens them."""
    lines, count = list[str](), 0
    for verdict in sections:
        if len(sections) > 1:
            lines.append(f'<p class="name">{escape(verdict.title)}</p>')
        lines += map(prose, verdict.text)
        count += len(verdict.text)
    return [folded(f"The verdict in full: {count} sentences", lines)] if lines else []


def contents(chapters: Iterable[Chapter], look: Look = PLAIN) -> str:
    """Return links to what is on the page."""
    items = []
    for each in chapters:
        if each.sections:
            inner = [_link(each, content) for content in each.sections if content.title]
            head = f'<li><a href="#{escape(each.name)}">{escape(each.title)}</a>'
            items.append(f"<ul>{head}<ul>{''.join(inner)}</ul></li></ul>")
    if look.glossary.terms:
        items.append('<ul><li><a href="#glossary">Glossary</a></li></ul>')
    return "\n".join(["<nav>", *items, "</nav>"])


def _link(analysis: Chapter, content: Section) -> str:
    anchor = escape(f"{analysis.name}-{content.name}")
    return f'<li><a href="#{anchor}">{escape(content.title)}</a></li>'


def glossary(look: Look) -> list[str]:
    """Return the terms that the page uses, each explained."""
    if not look.glossary.terms:
        return []
    return ['<h2 id="glossary">Glossary</h2>', look.glossary.html()]


def silent(chapters: Iterable[Chapter]) -> list[str]:
    """Return a line for each analysis that does not apply, below one that opens them."""
    lines = []
    for each in chapters:
        if not each.sections:
            line = f"{each.title} does not apply: {each.silent}."
            lines.append(f'<p class="soft">{escape(line)}</p>')
    return [folded(f"{len(lines)} analyses do not apply", lines)] if lines else []


def index(folder: Path) -> str:
    """Return the page over all report.html below a folder, the latest study first."""
    pages = sorted(_pages(folder), key=lambda page: (page[0].date, page[0].name), reverse=True)
    items = []
    for about, place in pages:
        address = f"{escape(quote(place))}/report.html"
        mark = f'<span class="mark">{escape(about.mark)}</span>' if about.mark else ""
        items.append(
            f'<li><a href="{address}">{escape(about.name)}</a>'
            f'<span class="soft">{escape(about.date)}</span>{mark}<p>{escape(about.verdict)}</p>'
            f'<p class="soft">{escape(about.question)}</p></li>'
        )
    body = ["<h1>Studies</h1>", '<ul class="index">', *items, "</ul>"]
    return document("Studies", "\n".join(body))


def _pages(folder: Path) -> Iterable[tuple[About, str]]:
    for file in folder.glob("*/report.html"):
        with file.open(encoding="utf-8") as text:
            about = ABOUT.search(text.read(HEAD))
        if about:
            yield About(**json.loads(unescape(about[1]))), file.parent.name
