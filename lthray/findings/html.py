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
from dataclasses import asdict, dataclass, field, replace
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lthray.findings.figures import Drawn, Figure, Heat, Intervals
from lthray.findings.glossary import Glossary
from lthray.findings.sections import Row, Section, endings
from lthray.findings.traces import traces

ONE = r"[x+−-]?\d+(\.\d+)?(e[+-]\d+)?%?"
NUMBER = re.compile(rf"{ONE}(\s?[±–-]\s?{ONE})?(\s?\(.*\))?\*?")

KINDS = {".csv": "CSV", ".tex": "LaTeX", ".svg": "SVG", ".pdf": "PDF"}
"""End of a file's name -> what a page calls it."""
WIDE, LONG = 16, 48  # characters above which a cell of a table asks for room
LINES_HEIGHT, HEAT_HEIGHT, HEAT_ROW = 430, 140, 18  # pixels


@dataclass(frozen=True)
class About:
    """Line of the index on a page; each page holds its own."""

    name: str
    question: str
    verdict: str
    date: str
    mark: str = ""
    """Word that warns of it: smoke run, or unfinished."""


@dataclass(frozen=True)
class Look:
    """How sections are shown on a page."""

    interactive: bool = False
    """Whether a script draws the figures, so that one can point at them."""
    glossary: Glossary = field(default_factory=Glossary)
    """Terms that heads of tables lead to."""
    folder: str = ""
    """Folder beside the page that holds the files of its sections, a folder for each chapter; empty
    where there is none."""


PLAIN = Look()


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
    folded: bool = False
    """Whether its sections are shown only when a reader opens them."""


def prose(text: str) -> str:
    """Return plain text as paragraphs; indented text, such as commands, stays line by line."""
    blocks = [block for block in re.split(r"\n[ \t]*\n", text) if block.strip()]
    return "\n".join(map(_block, blocks))


def _block(text: str) -> str:
    if text.lstrip("\n")[0] == " ":
        return f"<pre>{escape(textwrap.dedent(text).strip())}</pre>"
    return f"<p>{escape(text)}</p>"


def table(
    rows: Sequence[Row],
    label: str,
    *,
    links: Mapping[str, str] | None = None,
    glossary: Glossary | None = None,
) -> str:
    """Return rows, a head first, as a table in a box that scrolls by itself.

    Columns of numbers end on the right. `links` are cell -> address; `label` names the box to a
    screen reader; terms of the head lead to the `glossary`.
    """
    head, *body = rows
    terms = glossary or Glossary()
    columns = list(zip(*body, strict=True)) or [()] * len(head)
    right = list(map(_numbers, columns))
    lines = [_row(row, right, links or {}) for row in body]
    heads = []
    for cell, is_number in zip(head, right, strict=True):
        heads.append(f"<th{_class(cell, is_number)}>{terms.linked(cell)}</th>")
    box = f'<div class="box" role="region" tabindex="0" aria-label="{escape(label)}">'
    first = f"{box}<table><thead><tr>{''.join(heads)}</tr></thead><tbody>"
    return "\n".join([first, *lines, "</tbody></table></div>"])


def _row(row: Row, right: Sequence[bool], links: Mapping[str, str]) -> str:
    """Return a row of cells; `right` says which are of a column of numbers."""
    cells = []
    for cell, is_number in zip(row, right, strict=True):
        text = _linked(cell, links.get(cell, ""))
        cells.append(f"<td{_class(cell, is_number)}>{text}</td>")
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


def chart(figure: Figure, svg: bytes, label: str, *, interactive: bool = False) -> str:
    """Return a figure, drawn as an SVG, as an image; where `interactive`, also as data that a
    script draws in its place."""
    data = base64.b64encode(svg).decode()
    name = escape(label)
    inner = f'<img class="still" alt="{name}" src="data:image/svg+xml;base64,{data}">'
    if interactive:
        inner += _live(figure)
    return f'<figure class="chart" aria-label="{name}">{inner}</figure>'


def _live(figure: Figure) -> str:
    """Return a figure as data for plotly; nothing in it can end the element that holds it."""
    kind, height = "lines", LINES_HEIGHT
    if isinstance(figure, Heat):
        kind, height = "heat", HEAT_HEIGHT + HEAT_ROW * len(figure.rows)
    if isinstance(figure, Intervals):
        kind, height = "drawn", HEAT_HEIGHT + HEAT_ROW * len(figure.rows)
    if isinstance(figure, Drawn):
        kind, height = "drawn", figure.height
    data = json.dumps(clean(traces(figure)), allow_nan=False, separators=(",", ":"))
    data = data.replace("<", "\\u003c")
    inner = f'<script type="application/json">{data}</script>'
    return f'{inner}<div class="plot {kind}" style="height:{height}px" hidden></div>'


def pictures(images: Mapping[str, bytes]) -> str:
    """Return PNGs, caption -> data, side by side, each over its caption."""
    cells = []
    for caption, png in images.items():
        data = base64.b64encode(png).decode()
        image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        cells.append(f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>")
    return f'<div class="pictures">{"".join(cells)}</div>'


def section(
    content: Section,
    anchor: str,
    *,
    links: Mapping[str, str] | None = None,
    look: Look = PLAIN,
) -> str:
    """Return a section: of title, text, table, figure, pictures and its files what there is."""
    parts = [f'<section id="{escape(anchor)}">']
    if content.title:
        parts.append(f"<h3>{escape(content.title)}</h3>")
    parts += map(prose, content.text)
    if content.table:
        label = content.title or content.name
        parts.append(table(content.table, label, links=links, glossary=look.glossary))
    if content.figure:
        svg = content.drawn[".svg"]
        parts.append(chart(content.figure, svg, content.title, interactive=look.interactive))
    if content.pictures:
        parts.append(pictures(content.pictures))
    if look.folder:
        parts.append(_files(content, look.folder))
    return "\n".join([*parts, "</section>"])


def _files(content: Section, folder: str) -> str:
    """Return links to the files of a section's table and figure, which lie beside the page."""
    links = []
    for ending in endings(content):
        address = f"{quote(folder)}/{quote(content.name)}{ending}"
        links.append(f'<a href="{address}">{KINDS[ending]}</a>')
    return f'<p class="files">{" · ".join(links)}</p>' if links else ""


def chapter(analysis: Chapter, look: Look = PLAIN) -> str:
    """Return an analysis with its sections; nothing where it has none."""
    if not analysis.sections:
        return ""
    head = f'<h2 id="{escape(analysis.name)}">{escape(analysis.title)}</h2>'
    if analysis.asks:
        head += f"<p>{escape(analysis.asks)}</p>"
    parts = [head]
    own = replace(look, folder=f"{look.folder}/{analysis.name}") if look.folder else look
    for content in analysis.sections:
        anchor = f"{analysis.name}-{content.name}"
        parts.append(section(content, anchor, links=analysis.links, look=own))
    if analysis.folded:
        return "\n".join([head, folded("Show", parts[1:])])
    return "\n".join(parts)


def folded(title: str, parts: Iterable[str]) -> str:
    """Return parts of a page below a line that opens them, which needs no script."""
    head = f"<details><summary>{escape(title)}</summary>"
    return "\n".join([head, *parts, "</details>"])


def document(title: str, body: str, about: About | None = None) -> str:
    """Return a whole page; plotly is in it if a script draws anything."""
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


def put(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
