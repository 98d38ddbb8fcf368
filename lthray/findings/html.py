"""HTML: sections as one page that works from a file, without a network, narrow and in print.

Every string is escaped and every script is named by its hash in the page's policy, so that what a
record says is read and never run.
"""

import base64
import hashlib
import json
import math
import os
import re
import textwrap
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape, unescape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lthray.findings.sections import Drawn, Figure, Heat, Row, Section, traces

ONE = r"[x+−-]?\d+(\.\d+)?(e[+-]\d+)?%?"
NUMBER = re.compile(rf"{ONE}(\s?[±–-]\s?{ONE})?(\s?\(.*\))?\*?")
ABOUT = re.compile(r'<meta name="lthray\.study" content="([^"]*)">')
HEAD = 100_000  # characters at the top of a page in which its `About` stands; the rest is plotly

WIDE, LONG = 16, 48  # characters above which a cell of a table asks for room
LINES_HEIGHT, HEAT_HEIGHT, HEAT_ROW = 430, 140, 18  # pixels

NO_SCRIPT = "<p>The figures need JavaScript; the tables hold what was found.</p>"


@dataclass(frozen=True)
class About:
    """Line of the index on a page; each page holds its own."""

    name: str
    question: str
    verdict: str
    date: str


@dataclass(frozen=True)
class Chapter:
    """Sections of one analysis, or the reason why it does not apply."""

    name: str
    """Beginning of its anchors."""
    title: str
    asks: str = ""
    """Question of the analysis."""
    sections: Sequence[Section] = ()
    silent: str = ""
    """Reason why there are no sections."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Cell of its tables -> address."""


def prose(text: str) -> str:
    """Return plain text as paragraphs; indented text, such as commands, stays line by line."""
    blocks = [block for block in re.split(r"\n[ \t]*\n", text) if block.strip()]
    return "\n".join(map(_block, blocks))


def _block(text: str) -> str:
    if text.lstrip("\n")[0] == " ":
        return f"<pre>{escape(textwrap.dedent(text).strip())}</pre>"
    return f"<p>{escape(text)}</p>"


def table(rows: Sequence[Row], label: str, links: Mapping[str, str] | None = None) -> str:
    """Return rows, a head first, as a table in a box that scrolls by itself.

    Columns of numbers end on the right. `links` are cell -> address; `label` names the box to a
    screen reader.
    """
    head, *body = rows
    columns = list(zip(*body, strict=True)) or [()] * len(head)
    right = list(map(_numbers, columns))
    lines = [_row("td", row, right, links or {}) for row in body]
    box = f'<div class="box" role="region" tabindex="0" aria-label="{escape(label)}">'
    first = f"{box}<table><thead>{_row('th', head, right, {})}</thead><tbody>"
    return "\n".join([first, *lines, "</tbody></table></div>"])


def _row(tag: str, row: Row, right: Sequence[bool], links: Mapping[str, str]) -> str:
    """Return a row of cells, each a `tag`; `right` says which are of a column of numbers."""
    cells = []
    for cell, is_number in zip(row, right, strict=True):
        text = _linked(cell, links.get(cell, ""))
        cells.append(f"<{tag}{_class(cell, is_number)}>{text}</{tag}>")
    return f"<tr>{''.join(cells)}</tr>"


def _numbers(cells: Sequence[str]) -> bool:
    """Return whether at least half of the cells that are not empty are numbers."""
    filled = numbers = 0
    for cell in cells:
        if cell not in ("", "–"):
            filled += 1
            numbers += bool(NUMBER.fullmatch(cell))
    return 2 * numbers >= filled


def _class(cell: str, is_number: bool) -> str:
    if is_number:
        return ' class="n"'
    if len(cell) > LONG:
        return ' class="long"'
    return ' class="wide"' if len(cell) > WIDE else ""


def _linked(text: str, address: str) -> str:
    return f'<a href="{escape(address)}">{escape(text)}</a>' if address else escape(text)


def clean(value: Any) -> Any:
    """Return the value with null for what is not finite, and without markup for plotly."""
    if isinstance(value, Mapping):
        return {name: clean(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return list(map(clean, value))
    if isinstance(value, str):
        return escape(value, quote=False)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def chart(figure: Figure, label: str) -> str:
    """Return a figure as data for plotly; nothing in it can end the element that holds it."""
    kind, height = "lines", LINES_HEIGHT
    if isinstance(figure, Heat):
        kind, height = "heat", HEAT_HEIGHT + HEAT_ROW * len(figure.rows)
    if isinstance(figure, Drawn):
        kind, height = "drawn", figure.height
    data = json.dumps(clean(traces(figure)), allow_nan=False, separators=(",", ":"))
    data = data.replace("<", "\\u003c")
    inner = f'<script type="application/json">{data}</script>'
    inner += f'<div class="plot {kind}" style="height:{height}px"></div>'
    return f'<figure class="chart" aria-label="{escape(label)}">{inner}</figure>'


def pictures(images: Mapping[str, bytes]) -> str:
    """Return PNGs, caption -> data, side by side, each over its caption."""
    cells = []
    for caption, png in images.items():
        data = base64.b64encode(png).decode()
        image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        cells.append(f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>")
    return f'<div class="pictures">{"".join(cells)}</div>'


def section(content: Section, anchor: str, links: Mapping[str, str] | None = None) -> str:
    """Return a section: of title, text, table, figure and pictures what there is."""
    parts = [f'<section id="{escape(anchor)}">']
    if content.title:
        parts.append(f"<h3>{escape(content.title)}</h3>")
    parts += map(prose, content.text)
    if content.table:
        parts.append(table(content.table, content.title or content.name, links))
    if content.figure:
        parts.append(chart(content.figure, content.title))
    if content.pictures:
        parts.append(pictures(content.pictures))
    return "\n".join([*parts, "</section>"])


def chapter(analysis: Chapter) -> str:
    """Return an analysis with its sections; nothing where it has none."""
    if not analysis.sections:
        return ""
    head = f'<h2 id="{escape(analysis.name)}">{escape(analysis.title)}</h2>'
    if analysis.asks:
        head += f"<p>{escape(analysis.asks)}</p>"
    parts = [head]
    for content in analysis.sections:
        parts.append(section(content, f"{analysis.name}-{content.name}", analysis.links))
    return "\n".join(parts)


def contents(chapters: Iterable[Chapter]) -> str:
    """Return links to what is on the page, and a line for each analysis that does not apply."""
    items, silent = [], []
    for analysis in chapters:
        title = escape(analysis.title)
        if not analysis.sections:
            line = f"{title} does not apply: {escape(analysis.silent)}."
            silent.append(f'<p class="soft">{line}</p>')
            continue
        inner = [_link(analysis, content) for content in analysis.sections if content.title]
        head = f'<li><a href="#{escape(analysis.name)}">{title}</a>'
        items.append(f"<ul>{head}<ul>{''.join(inner)}</ul></li></ul>")
    return "\n".join(["<nav>", *items, "</nav>", *silent])


def _link(analysis: Chapter, content: Section) -> str:
    anchor = escape(f"{analysis.name}-{content.name}")
    return f'<li><a href="#{anchor}">{escape(content.title)}</a></li>'


def lead(verdicts: Sequence[Section]) -> str:
    """Return the sentences of verdicts: large are the first and those that begin with a recipe."""
    lines = []
    for verdict in verdicts:
        recipes = tuple(row[0] for row in verdict.table[1:])
        if len(verdicts) > 1:
            lines.append(f'<p class="name">{escape(verdict.title)}</p>')
        for i, text in enumerate(verdict.text):
            large = ' class="first"' if not i or text.startswith(recipes) else ""
            lines.append(f"<p{large}>{escape(text)}</p>")
    return "\n".join(['<div class="verdict">', *lines, "</div>"])


def study(
    about: About, facts: str, verdict: Sequence[Section], page: str, chapters: Sequence[Chapter]
) -> str:
    """Return the page of a study: question, verdict, the rest of its own `page`, chapters."""
    body = [
        f'<p class="name">{escape(about.name)} · {escape(facts)}</p>',
        f"<h1>{escape(about.question)}</h1>",
        lead(verdict),
        prose(page),
        contents(chapters),
        *map(chapter, chapters),
    ]
    return document(about.name, "\n".join(body), about)


def document(title: str, body: str, about: About | None = None) -> str:
    """Return a whole page; plotly is in it if anything is drawn."""
    scripts = _scripts() if 'class="plot ' in body else []
    hashes = " ".join(map(_hash, scripts)) or "'none'"
    policy = (
        f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {hashes}"
    )
    lines = ["<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">']
    if about:
        facts = escape(json.dumps(asdict(about)))
        lines.append(f'<meta name="lthray.study" content="{facts}">')
    lines.append(f'<meta http-equiv="Content-Security-Policy" content="{policy}">')
    lines.append('<meta name="viewport" content="width=device-width, initial-scale=1">')
    lines.append(f"<title>{escape(title)}</title>")
    lines += [f"<style>{_asset('report.css')}</style>", "</head>", "<body>"]
    if scripts:
        lines.append(f"<noscript>{NO_SCRIPT}</noscript>")
    lines.append(body)
    lines += [f"<script>{script}</script>" for script in scripts]
    return "\n".join([*lines, "</body>", "</html>\n"])


def _scripts() -> list[str]:
    """Return plotly, and what draws the figures of a page with it."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    return [get_plotlyjs().replace("\r\n", "\n"), _asset("report.js")]


def _asset(name: str) -> str:
    """Return the text of a file beside this one, from a line of its own on."""
    return "\n" + resources.files("lthray.findings").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """Return the name of a script in a page's policy."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def index(folder: Path) -> str:
    """Return the page over all report.html below a folder, the latest study first."""
    pages = sorted(_pages(folder), key=lambda page: (page[0].date, page[0].name), reverse=True)
    items = []
    for about, place in pages:
        address = f"{escape(quote(place))}/report.html"
        items.append(
            f'<li><a href="{address}">{escape(about.name)}</a>'
            f'<span class="soft">{escape(about.date)}</span><p>{escape(about.verdict)}</p>'
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


def put(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
