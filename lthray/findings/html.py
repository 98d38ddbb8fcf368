"""Sections as one HTML page that needs nothing beside it: it works from a file, without a network, narrow and in print.

Every string is escaped and every script is named by its hash in the page's policy, so that what a record says is read and
never run.
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
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lthray.findings.sections import Heat, Lines, Row, Section, traces

ONE = r"[x+−-]?\d+(\.\d+)?(e[+-]\d+)?%?"
NUMBER = re.compile(rf"{ONE}(\s?[±–-]\s?{ONE})?(\s?\(.*\))?\*?")
ABOUT = re.compile(r'<meta name="lthray\.study" content="([^"]*)">')

STYLE = """
:root{color-scheme:light;--ink:#1c2026;--soft:#5a6270;--rule:#dfe3e8;--wash:#f5f7f9;--mark:#0b57a4}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0 auto;max-width:72rem;padding:1.5rem 1.25rem 4rem;color:var(--ink);background:#fff;
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.9rem;line-height:1.22;margin:.15rem 0 .6rem;max-width:52rem;overflow-wrap:break-word}
h2{font-size:1.4rem;line-height:1.25;margin:3.2rem 0 .2rem;padding-top:1.1rem;border-top:2px solid var(--ink)}
h3{font-size:1.12rem;line-height:1.3;margin:0 0 .5rem}
section{margin:2rem 0}h2+section{margin-top:.4rem}
p{margin:.5rem 0;max-width:52rem}
a{color:var(--mark);text-underline-offset:.15em}
.soft{color:var(--soft)}.name{color:var(--soft);margin:0}
.verdict{border-left:5px solid var(--mark);background:var(--wash);padding:.7rem 1.2rem .8rem;margin:1.2rem 0 1.6rem}
.verdict p{max-width:60rem}.verdict .first{font-size:1.35rem;line-height:1.4;margin:.3rem 0 .5rem}
nav{margin:1.4rem 0;columns:19rem;column-gap:2rem;font-size:.95rem}
nav ul{list-style:none;margin:0 0 .7rem;padding:0;break-inside:avoid}nav li li{padding-left:1rem}nav ul ul{margin:0}
pre{background:var(--wash);border-radius:4px;padding:.6rem .8rem;overflow-x:auto;font:.84rem/1.5 ui-monospace,SFMono-Regular,
 Menlo,Consolas,monospace;margin:.6rem 0}
.box{overflow:auto;max-height:75vh;width:fit-content;max-width:100%;border:1px solid var(--rule);border-radius:4px;
 margin:.9rem 0;background:linear-gradient(90deg,#fff 1rem,#fff0) 0/2.5rem 100% no-repeat local,
 linear-gradient(-90deg,#fff 1rem,#fff0) 100%/2.5rem 100% no-repeat local,
 linear-gradient(90deg,#0003,#0000) 0/.8rem 100% no-repeat,linear-gradient(-90deg,#0003,#0000) 100%/.8rem 100% no-repeat}
table{border-collapse:separate;border-spacing:0;font-size:.82rem;line-height:1.4;font-variant-numeric:tabular-nums;
 overflow-wrap:normal}
th,td{padding:.3rem .45rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
tr:last-child td{border-bottom:0}
th{position:sticky;top:0;z-index:1;background:var(--wash);font-weight:600;vertical-align:bottom}
.n{text-align:right}td.n{white-space:nowrap}.wide{min-width:8.5rem}.long{min-width:16rem;max-width:36rem;overflow-wrap:anywhere}
figure{margin:.9rem 0}
.chart{overflow:hidden}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(15rem,100%),1fr));gap:.3rem 1.2rem}
.pictures img{display:block;width:100%;max-width:26rem;height:auto;image-rendering:pixelated;border:1px solid var(--rule)}
figcaption{font-size:.88rem;color:var(--soft);padding-top:.2rem}
.index{list-style:none;padding:0}.index li{padding:.9rem 0;border-top:1px solid var(--rule)}.index p{margin:.1rem 0}
.index a{font-size:1.12rem;font-weight:600;margin-right:.8rem}
@media (max-width:40rem){body{padding:1rem .9rem 3rem}h1{font-size:1.5rem}.verdict{padding:.5rem .9rem}
 .verdict .first{font-size:1.15rem}nav{columns:1}.pictures{grid-template-columns:repeat(auto-fit,minmax(9rem,1fr))}}
@media print{@page{margin:14mm}body{font-size:10pt;padding:0;max-width:none}nav{display:none}h1{font-size:18pt}
 .verdict .first{font-size:13pt}h2,h3,h2+p,section>p{break-after:avoid}h2{margin-top:1.6rem}
 figure,tr,.verdict,pre,.pictures>*{break-inside:avoid}
 .box{max-height:none;overflow:visible;width:auto;border:0}table{font-size:7pt;width:100%}th{position:static}
 thead{display:table-header-group}th,td{white-space:normal;padding:.15rem .25rem}.long,.wide{min-width:0}
 td.n{white-space:normal}pre{white-space:pre-wrap}.chart{overflow:visible}.modebar-container{display:none}
 .pictures{grid-template-columns:repeat(4,1fr)}a[href^="http"]::after{content:" (" attr(href) ")";font-size:85%}}
"""

# Bands as the PNGs have them. A finger that scrolls the page must not drag a figure. Paper has a width of its own.
DRAW = """
const axis = {gridcolor: "#e6e9ed", zerolinecolor: "#b9c0c8", linecolor: "#8a929c", showline: true, ticks: "outside",
  ticklen: 4, tickcolor: "#8a929c", automargin: true, title: {standoff: 10, font: {size: 13}}};
const colors = ["#1f6fb8", "#d9602b", "#2b9a6b", "#8c4bb3", "#b58900", "#c43d6b", "#3f7f93", "#6a6f76"];
const template = {layout: {font: {family: "system-ui, -apple-system, Segoe UI, Roboto, Arial, sans-serif", size: 12,
  color: "#1c2026"}, colorway: colors, xaxis: axis, yaxis: axis, paper_bgcolor: "#fff",
  legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom"}}};
const finger = matchMedia("(pointer: coarse)").matches;
const settings = {responsive: true, displaylogo: false, displayModeBar: finger ? false : "hover",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]};
const look = (line, i) => {
  if (line.type !== "scatter") return [line];
  const color = colors[i % colors.length], dash = i < colors.length ? "solid" : "dot", error = line.error_y;
  const seen = {...line, line: {...line.line, color, dash}, marker: {color}, legendgroup: `line ${i}`};
  const at = error ? line.y.map((_, k) => k).filter(k => ![line.y[k], error.array[k], error.arrayminus[k]].includes(null)) : [];
  if (at.length < 2) return [seen];
  const edge = [...at.map(k => [line.x[k], line.y[k] + error.array[k]]),
    ...at.reverse().map(k => [line.x[k], line.y[k] - error.arrayminus[k]])];
  return [{type: "scatter", mode: "lines", x: edge.map(p => p[0]), y: edge.map(p => p[1]), fill: "toself",
    fillcolor: `${color}26`, line: {width: 0}, hoverinfo: "skip", showlegend: false, legendgroup: seen.legendgroup},
    {...seen, error_y: {...error, thickness: 0, width: 0}}];
};
const plots = [...document.querySelectorAll(".plot")];
for (const box of plots) {
  const drawn = JSON.parse(box.previousElementSibling.textContent);
  const layout = {...drawn.layout, template, autosize: true};
  if (innerWidth < 640 && drawn.data[0].type === "heatmap") {
    drawn.data[0].colorbar = {orientation: "h", y: 1, yanchor: "bottom", thickness: 10};
    layout.yaxis = {...layout.yaxis, tickfont: {size: 9}};
    layout.xaxis = {...layout.xaxis, title: {text: layout.xaxis.title.text.replace(/^(.{10,}?) /, "$1<br>"), font: {size: 11}}};
  }
  if (finger) for (const name of ["xaxis", "yaxis"]) layout[name] = {...layout[name], fixedrange: true};
  Plotly.newPlot(box, drawn.data.flatMap(look), layout, settings);
}
addEventListener("beforeprint", () => plots.forEach(box => Plotly.relayout(box, {width: 660, autosize: false})));
addEventListener("afterprint", () => plots.forEach(box => Plotly.relayout(box, {width: null, autosize: true})));
"""


@dataclass(frozen=True)
class About:
    """What an index says of a page; each page holds its own."""

    name: str
    question: str
    verdict: str
    date: str


@dataclass(frozen=True)
class Chapter:
    """What one analysis has to say, or why it says nothing."""

    name: str
    """Of its anchors."""
    title: str
    asks: str = ""
    sections: Sequence[Section] = ()
    silent: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    """Cell of its tables -> address."""


def prose(text: str) -> str:
    """Plain text as paragraphs: what is indented stays line by line, as commands are; other lines flow."""
    blocks = [block for block in re.split(r"\n[ \t]*\n", text) if block.strip()]
    return "\n".join(
        f"<pre>{escape(textwrap.dedent(block).strip())}</pre>" if block.lstrip("\n")[0] == " " else f"<p>{escape(block)}</p>"
        for block in blocks
    )


def table(rows: Sequence[Row], label: str, links: Mapping[str, str] | None = None) -> str:
    """Rows, a head first, in a box that scrolls by itself; columns of numbers end on the right; `links`: cell -> address."""
    (head, *body), to = rows, links or {}
    right = [_numbers([row[i] for row in body]) for i in range(len(head))]
    lines = ["".join(f"<th{_class(cell, n)}>{escape(cell)}</th>" for cell, n in zip(head, right, strict=True))]
    for row in body:
        cells = zip(row, right, strict=True)
        lines.append("".join(f"<td{_class(cell, n)}>{_linked(cell, to.get(cell, ''))}</td>" for cell, n in cells))
    first, *rest = [f"<tr>{line}</tr>" for line in lines]
    box = f'<div class="box" role="region" tabindex="0" aria-label="{escape(label)}">'
    return "\n".join([f"{box}<table><thead>{first}</thead><tbody>", *rest, "</tbody></table></div>"])


def _numbers(cells: Sequence[str]) -> bool:
    told = [cell for cell in cells if cell not in ("", "–")]
    return 2 * sum(bool(NUMBER.fullmatch(cell)) for cell in told) >= len(told)


def _class(cell: str, number: bool) -> str:
    return ' class="n"' if number else ' class="long"' if len(cell) > 48 else ' class="wide"' if len(cell) > 16 else ""


def _linked(text: str, address: str) -> str:
    return f'<a href="{escape(address)}">{escape(text)}</a>' if address else escape(text)


def clean(value: Any) -> Any:
    """The value with null for every number that JSON does not know, and with text that plotly does not take for markup."""
    if isinstance(value, Mapping):
        return {name: clean(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner) for inner in value]
    if isinstance(value, str):
        return escape(value, quote=False)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def chart(figure: Lines | Heat, label: str) -> str:
    """A figure as data for plotly; nothing in it can end the element that holds it."""
    drawn, kind, height = traces(figure), "lines", 430
    if isinstance(figure, Heat):
        kind, height = "heat", 140 + 18 * len(figure.rows)
    data = json.dumps(clean(drawn), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    plot = f'<div class="plot {kind}" style="height:{height}px"></div>'
    return f'<figure class="chart" aria-label="{escape(label)}"><script type="application/json">{data}</script>{plot}</figure>'


def pictures(found: Mapping[str, bytes]) -> str:
    """PNGs side by side, each over its caption."""
    cells = []
    for caption, png in found.items():
        image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        cells.append(f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>")
    return f'<div class="pictures">{"".join(cells)}</div>'


def section(found: Section, anchor: str, links: Mapping[str, str] | None = None) -> str:
    """Title, text, table, figure, pictures: of these what there is."""
    parts = [f"<h3>{escape(found.title)}</h3>"] if found.title else []
    parts += [*map(prose, found.text)]
    parts += [table(found.table, found.title or found.name, links)] if found.table else []
    parts += [chart(found.figure, found.title)] if found.figure else []
    parts += [pictures(found.pictures)] if found.pictures else []
    return "\n".join([f'<section id="{escape(anchor)}">', *parts, "</section>"])


def chapter(found: Chapter) -> str:
    """An analysis with its sections; nothing where it is silent."""
    if not found.sections:
        return ""
    head = f'<h2 id="{escape(found.name)}">{escape(found.title)}</h2>' + (f"<p>{escape(found.asks)}</p>" if found.asks else "")
    return "\n".join([head, *(section(s, f"{found.name}-{s.name}", found.links) for s in found.sections)])


def contents(chapters: Iterable[Chapter]) -> str:
    """Links to what is on the page, and a line for each analysis that is not."""
    items, silent = [], []
    for found in chapters:
        titled = [(f"{found.name}-{s.name}", s.title) for s in found.sections if s.title]
        inner = "".join(f'<li><a href="#{escape(anchor)}">{escape(title)}</a></li>' for anchor, title in titled)
        if found.sections:
            items.append(f'<ul><li><a href="#{escape(found.name)}">{escape(found.title)}</a><ul>{inner}</ul></li></ul>')
        else:
            silent.append(f'<p class="soft">{escape(found.title)} does not apply: {escape(found.silent)}.</p>')
    return "\n".join(["<nav>", *items, "</nav>", *silent])


def lead(found: Sequence[Section]) -> str:
    """What was found, in large: the sentences of the verdicts, one for each recipe first."""
    lines = []
    for s in found:
        recipes = tuple(row[0] for row in s.table[1:])
        lines += [f'<p class="name">{escape(s.title)}</p>'] if len(found) > 1 else []
        for i, text in enumerate(s.text):
            large = ' class="first"' if not i or text.startswith(recipes) else ""
            lines.append(f"<p{large}>{escape(text)}</p>")
    return "\n".join(['<div class="verdict">', *lines, "</div>"])


def study(about: About, facts: str, verdict: Sequence[Section], page: str, chapters: Sequence[Chapter]) -> str:
    """The page of a study: its question, what was found, the rest of its own `page`, then everything in order."""
    head = [f'<p class="name">{escape(about.name)} · {escape(facts)}</p>', f"<h1>{escape(about.question)}</h1>"]
    body = [*head, lead(verdict), prose(page), contents(chapters), *map(chapter, chapters)]
    return document(about.name, "\n".join(body), about)


def document(title: str, body: str, about: About | None = None) -> str:
    """A whole page; plotly is in it if anything is drawn."""
    scripts = []
    if 'class="plot ' in body:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

        scripts = [get_plotlyjs().replace("\r\n", "\n"), DRAW]
    known = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts) or "'none'"
    policy = f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {known}"
    told = f'<meta name="lthray.study" content="{escape(json.dumps(asdict(about)))}">\n' if about else ""
    without = "<noscript><p>The figures need JavaScript; the tables hold what was found.</p></noscript>\n" if scripts else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{told}'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{without}{body}\n"
        + "".join(f"<script>{script}</script>\n" for script in scripts)
        + "</body>\n</html>\n"
    )


def index(folder: Path) -> str:
    """The page over all report.html below a folder, the latest study first."""
    items = []
    for about, place in sorted(_pages(folder), key=lambda found: (found[0].date, found[0].name), reverse=True):
        link = f'<a href="{escape(quote(place))}/report.html">{escape(about.name)}</a>'
        items.append(
            f'<li>{link}<span class="soft">{escape(about.date)}</span><p>{escape(about.verdict)}</p>'
            f'<p class="soft">{escape(about.question)}</p></li>'
        )
    return document("Studies", "\n".join(["<h1>Studies</h1>", '<ul class="index">', *items, "</ul>"]))


def _pages(folder: Path) -> Iterable[tuple[About, str]]:
    for file in folder.glob("*/report.html"):
        with file.open(encoding="utf-8") as text:
            found = ABOUT.search(text.read(100_000))  # it stands at the top; the rest is plotly
        if found:
            yield About(**json.loads(unescape(found[1]))), file.parent.name


def put(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
