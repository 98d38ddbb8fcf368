"""The report is one page that says what was recorded, runs nothing of it, and needs no network."""

import base64
import hashlib
import html
import json
import math
import os
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
import torch

from lthray.__main__ import main
from lthray.config.addresses import redacted
from lthray.config.fields import ConfigError
from lthray.config.options import Root
from lthray.core.record import Outcome, Point, Round, TrialRecord
from lthray.findings import front
from lthray.findings import html as pages
from lthray.findings.figures import Heat, Line, Lines
from lthray.findings.front import Front
from lthray.findings.glossary import Glossary
from lthray.findings.html import About, Chapter, Look
from lthray.findings.sections import Section
from lthray.tracking.read import Recorded

from .conftest import TINY

SMALL = 2_000_000  # bytes of a page that no script draws
REPORT = Path(__file__).parent.parent / "analysis" / "report.py"
HOSTILE = (
    "</script><script>alert(1)</script> \"quoted\" 'so' <img src=http://evil.example/x> &amp; 质 é"
)
MARKUP = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "details",
    "summary",
    "dl",
    "dt",
    "dd",
    "p",
    "h1",
    "div",
    "pre",
    "nav",
    "ul",
    "li",
    "a",
    "h2",
}
MARKUP |= {
    "section",
    "h3",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "figure",
    "script",
    "img",
    "figcaption",
}
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """What a browser would make of a page: elements, the text of each kind, scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.elements, self.texts = [], [], {}
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str, name: str) -> list[str]:
        return [attrs[name] for kind, attrs in self.elements if kind == tag and name in attrs]

    @property
    def stills(self) -> list[str]:
        """The figures of the page, as SVG."""
        start = "data:image/svg+xml;base64,"
        found = [src for src in self.all("img", "src") if src.startswith(start)]
        return [base64.b64decode(src.removeprefix(start)).decode() for src in found]

    @property
    def figures(self) -> list:
        kinds = [attrs.get("type") for tag, attrs in self.elements if tag == "script"]
        return [
            json.loads(text)
            for kind, text in zip(kinds, self.texts.get("script", []), strict=True)
            if kind
        ]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two recorded trials of one recipe in a study with a hostile page; and a study not begun."""
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("root") / "runs"
    words = [
        f"--{w}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for w, v in TINY.items()
    ]
    for seed in ("0", "1"):
        assert main(["trial", *words, "--seed", seed, "--out", str(place)]) == 0
    found = Recorded(Root(out=str(place)).uri, "trial.digits")
    note = f"Does {HOSTILE} win?\n\n    python   page.py  <x>\n\nIt may\nflow."
    found.client.set_experiment_tag(found.experiment.experiment_id, "mlflow.note.content", note)
    for trial in found.trials:
        found.client.set_tag(
            trial.run,
            "mlflow.source.name",
            f"python x.py --tracking-uri http://me:secret@host {HOSTILE}",
        )
    found.client.create_experiment("going.digits")
    found.client.create_run(found.client.create_experiment("begun.digits"))
    return place


def report(monkeypatch, root: Path, *argv: str) -> int:
    monkeypatch.setattr("sys.argv", ["analysis/report.py", "--out", str(root), *argv])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(REPORT), run_name="__main__")
    return left.value.code


@pytest.fixture(scope="module")
def written(root):
    """The page of the recorded study and the index."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert report(monkeypatch, root) == 0
    return root / "reports/trial.digits/report.html", root / "reports/index.html"


@pytest.fixture(scope="module")
def defined():
    return runpy.run_path(str(REPORT))


def files(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.html")}


def test_a_page_holds_every_section_of_every_analysis_that_applies(root, written):
    page = Page(written[0].read_text())
    found = Recorded(Root(out=str(root)).uri, "trial.digits")
    sections = {}
    for name in ("ticket_frequency", "ticket_anatomy"):
        analysis = runpy.run_path(str(REPORT.with_name(f"{name}.py")))
        assert analysis["applies"](found) == ""
        for s in analysis["sections"](found):
            sections[f"{name}-{s.name}"] = s
    assert [i for i in page.all("section", "id") if i in sections] == list(sections)
    assert {f"#{i}" for i in sections} <= set(page.all("a", "href"))
    assert len(page.stills) >= sum(s.figure is not None for s in sections.values()) > 3
    for s in sections.values():
        assert s.title in page.texts["h3"]
        assert {cell for row in s.table for cell in row} <= {*page.texts["td"], *page.texts["th"]}
        assert {redacted(text) for text in s.text} <= set(page.texts["p"])
    silent = [text for text in page.texts["p"] if " does not apply: " in text]
    assert [text.split(" does")[0] for text in silent] == [
        "Convergence",
        "Width",
        "Pruning methods",
        "Architectures",
        "Rewinding",
        "Transfer",
        "Robustness",
        "Search",
    ]
    line = "Rewinding does not apply: no recipes of one setting differ in the rewind point alone."
    assert line in silent


def test_every_analysis_beside_the_report_is_in_it_in_its_declared_order(defined):
    found = [analysis.name for analysis in defined["analyses"]()]
    pages = {
        path.stem for path in REPORT.parent.glob("*.py") if "\ndef sections(" in path.read_text()
    }
    assert len(pages) > 4
    assert set(found) == pages
    assert found[0] == "ticket_frequency"


NEEDING_FILES = ("ticket_anatomy", "measuring")  # analyses of what is not published


def published(name: str, *, waiting: str = "") -> SimpleNamespace:
    """A published study, as if it were recorded: its trials, without arrays and files."""
    text = (REPORT.parent.parent / "results" / name / "trials.json").read_text()
    trials = [TrialRecord.from_json(facts) for facts in json.loads(text)]
    study = name.split(".")[0]
    tags = {t.run: {"commit": "", "lthray": "0", "study": study} for t in trials}
    return SimpleNamespace(
        look=lambda trials: 1,
        unfinished=lambda call: waiting,
        smoke=False,
        experiment=SimpleNamespace(experiment_id="7"),
        name=name,
        uri="sqlite:///x",
        question="Q?",
        trials=trials,
        tags=tags,
        of=lambda call: trials,
        provenance=lambda trials: "Recorded.",
        pictures=lambda trial, index: [],
        searched=without_search,
    )


def without_search(call: str) -> None:
    raise ConfigError(["no search is recorded there"])


def test_a_study_of_several_budgets_is_one_page(defined):
    """Each budget is a call, and what they have otherwise is the study's own question."""
    analyses = [a for a in defined["analyses"]() if a.name not in NEEDING_FILES]
    wanted = defined["Reported"](out="runs")
    made = defined["report"](published("convergence.digits"), wanted, analyses)
    first, second = made.front.answer
    assert first.startswith("Tickets match their own dense network and beat both controls")
    assert "the converged dense network (6400 steps) is matched by 2 of 20 tickets" in second
    assert "keep 25.0% of the free weights (overall late5%, 6400 steps, 5 seeds)" in second
    assert second.endswith("(< 2.9%), 5 seeds: converged.")
    silent = {chapter.name: chapter.silent for chapter in made.chapters}
    assert "several settings are recorded there" in silent["ticket_frequency"]
    assert not silent["convergence"]
    other = published("convergence.digits")
    other.tags = {run: {**tags, "study": "rewinding"} for run, tags in other.tags.items()}
    with pytest.raises(ConfigError, match="several settings"):
        defined["report"](other, wanted, analyses)


def test_a_study_over_two_spaces_opens_with_the_verdicts_of_both(defined):
    analyses = [a for a in defined["analyses"]() if a.name not in NEEDING_FILES]
    made = defined["report"](
        published("architectures.digits"), defined["Reported"](out="runs"), analyses
    )
    text = made.page()
    opening = text[text.index("<details>") : text.index("<nav>")]
    assert re.findall(r'class="name">([^<]*)<', opening) == [
        "Verdict at 400 steps",
        "Verdict at 400 steps in latents",
    ]
    assert opening.count("Recorded.") == 2
    page = Page(text)
    heads = page.texts["h2"]
    assert heads[:5] == [
        "Setting",
        "Evidence: a figure for each claim",
        "What this does not show",
        "Ticket frequency",
        "Architectures",
    ]
    assert "Excess over dense in both spaces" in page.texts["h3"]


@pytest.mark.parametrize(
    ("study", "applying"),
    [
        (
            "pruning_methods.digits",
            ["ticket_frequency", "pruning_methods", "ticket_anatomy", "efficiency", "measuring"],
        ),
        ("frequency.digits", ["ticket_frequency", "ticket_anatomy", "measuring"]),
        (
            "rewinding.digits",
            ["ticket_frequency", "rewinding", "ticket_anatomy", "efficiency", "measuring"],
        ),
        (
            "budget.digits",
            ["ticket_frequency", "convergence", "ticket_anatomy", "efficiency", "measuring"],
        ),
    ],
)
def test_each_analysis_says_which_studies_it_applies_to(defined, study, applying):
    found = published(study)
    assert [a.name for a in defined["analyses"]() if not a.applies(found, "")] == applying


def test_a_page_opens_with_its_question_and_verdict(written):
    text = written[0].read_text()
    page = Page(text)
    assert page.texts["h1"] == [f"Does {HOSTILE} win?"]
    verdict = next(p for p in page.texts["p"] if p.startswith("overall late25% (2 seeds"))
    assert text.count(html.escape(verdict)) == 1
    first = text[text.index('<div class="verdict">') : text.index("</div>")]
    assert first.count('class="first"') == 2
    assert text.index("</h1>") < text.index('class="first"') < text.index("<details>")
    assert "python   page.py  <x>" in page.texts["pre"]
    assert "It may\nflow." in page.texts["p"]


def test_runs_and_how_to_make_it_again(root, written):
    page = Page(written[0].read_text())
    found = Recorded(Root(out=str(root)).uri, "trial.digits")
    cells = page.texts["td"]
    for trial in found.trials:
        at = cells.index(trial.run)
        excess = f"{trial.rounds[-1].metrics['loss/excess']:+.2%}"
        assert cells[at - 7 : at] == [
            trial.name,
            "single",
            str(trial.point.seed),
            "done",
            "3",
            "0.3",
            excess,
        ]
        assert {trial.point.data[1], *filter(None, [found.tags[trial.run]["commit"]])} <= set(cells)
    assert f"lthray ui trial.digits --out {root}" in page.texts["pre"]
    assert f"python analysis/report.py --experiment trial.digits --out {root}" in page.texts["pre"]
    assert f"python x.py --tracking-uri http://***@host {HOSTILE}" in page.texts["pre"]
    assert cells[cells.index("seeds of single") + 1] == "0 1"
    assert f"torch {torch.__version__}" in cells[cells.index("made with") + 1]
    assert "secret" not in written[0].read_text()


def test_the_index_lists_what_is_there(monkeypatch, root, written, capsys):
    other = root / "reports/older.digits/report.html"
    about = About("older.digits", "<b>?", "It <i>won.", "2020-01-02", "smoke run")
    pages.put(other, front.study(Front(about, "", [], []), []))
    assert report(monkeypatch, root, "--experiment", "trial.digits") == 0
    assert capsys.readouterr().out.count("\n") == 2
    page = Page(written[1].read_text())
    links = page.all("a", "href")
    assert links == ["trial.digits/report.html", "older.digits/report.html"]  # the latest first
    assert all((written[1].parent / unquote(link)).is_file() for link in links)
    assert page.texts["a"] == ["trial.digits", "older.digits"]
    assert page.texts["p"][1::2] == [f"Does {HOSTILE} win?", "<b>?"]
    assert page.texts["p"][0].startswith("No tickets are shown to match")
    assert (page.texts["p"][2], page.texts["span"][1]) == ("It <i>won.", "2020-01-02")
    assert page.texts["span"][2] == "smoke run"
    other.unlink()


def test_what_cannot_be_told_is_passed_over(monkeypatch, root, capsys):
    assert report(monkeypatch, root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "begun.digits is passed over",
        "going.digits is passed over",
        "page",
        "index",
    ]
    assert "no finished trial is recorded there" in lines[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("going.digits", "no finished trial is recorded there"),
        ("begun.digits", "no finished trial is recorded there"),
        ("nosuch.digits", "has begun.digits, going.digits, trial.digits"),
        ("../../x", "study.preset"),
    ],
)
def test_a_named_study_that_cannot_be_told_is_one_line_and_no_page(
    monkeypatch, root, written, name, said, capsys
):
    before = files(root.parent.parent)
    assert report(monkeypatch, root, "--experiment", name) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"--experiment {name!r}: " in err
    assert said in err
    assert files(root.parent.parent) == before


def test_an_empty_root_is_one_line(monkeypatch, tmp_path, capsys):
    assert report(monkeypatch, tmp_path / "runs") == 2
    assert capsys.readouterr().err.startswith(
        f"error: there is no {tmp_path}/runs/mlflow.db: nothing was recorded there"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_root_of_which_nothing_can_be_told_is_one_line(monkeypatch, root, written, capsys):
    before = files(root)
    assert report(monkeypatch, root, "--call", "nosuch") == 2
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (
        3,
        f"error: sqlite:///{root}/mlflow.db: no study there can be told\n",
    )
    assert files(root) == before


# what a page may be made of


def quiet(page: Page) -> None:
    """Nothing is fetched, and only what the policy names by its hash is run."""
    for tag, attrs in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name in attrs), attrs
        src = attrs.get("src", "data:image/png;base64,")
        assert re.match(r"data:image/(png|svg\+xml);base64,", src)
        assert re.fullmatch("height:[0-9]+px", attrs.get("style", "height:1px"))
    assert all(re.match(r"#|report/\w+/\w+\.\w{3}$", href) for href in page.all("a", "href"))
    assert not {"url(", "@import"} & set(page.texts["style"][0].replace("(", "( ").split())
    (policy,) = (
        a["content"]
        for t, a in page.elements
        if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data: blob:",
        "style-src": "'unsafe-inline'",
        "script-src": rules["script-src"],
    }
    kinds = [attrs.get("type") for tag, attrs in page.elements if tag == "script"]
    assert set(kinds) <= {None, "application/json"}
    run = [
        text for kind, text in zip(kinds, page.texts.get("script", []), strict=True) if kind is None
    ]
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in run
    ]
    assert rules["script-src"] == (" ".join(hashes) or "'none'")


def test_pages_ask_nothing_of_a_network(written):
    page = Page(written[0].read_text())
    quiet(page)
    assert "script" not in page.texts
    assert written[0].stat().st_size < SMALL
    index = written[1].read_text()
    assert "<script" not in index
    assert "//" not in index.replace(html.escape(HOSTILE), "")


def shown(figure) -> str:
    """A figure in a page where a script draws it."""
    return pages.chart(figure, b"<svg/>", "", interactive=True)


def live(figure) -> list:
    """What a script is given to draw."""
    return Page(shown(figure)).figures


def everywhere() -> Chapter:
    """A chapter that is hostile wherever it can be."""
    lines = Lines(HOSTILE, HOSTILE, [Line(HOSTILE, [1.0, 2.0], [1.0, 2.0])])
    heat = Heat(HOSTILE, HOSTILE, [HOSTILE], [HOSTILE], [[1.0]])
    rows = [[HOSTILE, HOSTILE], [HOSTILE, HOSTILE]]
    sections = [
        Section(HOSTILE, HOSTILE, [HOSTILE, f"    {HOSTILE}"], rows, figure, {HOSTILE: b"png"})
        for figure in (lines, heat)
    ]
    return Chapter(HOSTILE, HOSTILE, HOSTILE, sections)


def test_hostile_strings_are_read_and_never_run():
    found = everywhere()
    silent = Chapter(HOSTILE, HOSTILE, silent=HOSTILE)
    about = About(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    opened = Front(about, HOSTILE, [HOSTILE], found.sections, [HOSTILE])
    look = Look(interactive=True, glossary=Glossary({HOSTILE: HOSTILE}))
    text = front.study(opened, [found, silent], look)
    page = Page(text)
    quiet(page)
    assert {tag for tag, _ in page.elements} == MARKUP
    for tag in ("title", "h1", "h3", "td", "th", "figcaption", "pre", "dt", "dd"):
        assert set(page.texts[tag]) == {HOSTILE}, tag
    assert page.texts["h2"] == [HOSTILE, "Glossary"]
    assert set(page.all("img", "alt")) == {HOSTILE}
    (about,) = (
        a["content"] for t, a in page.elements if t == "meta" and a.get("name") == "lthray.study"
    )
    words = ("name", "question", "verdict", "date", "mark")
    assert json.loads(about) == dict.fromkeys(words, HOSTILE)
    # plotly takes some of HTML for markup, so there it is escaped once more
    lines, heat = page.figures
    assert (
        html.unescape(lines["data"][0]["name"]) == html.unescape(heat["data"][0]["y"][0]) == HOSTILE
    )
    assert "<" not in json.dumps(page.figures)


def test_data_cannot_end_the_element_that_holds_it(monkeypatch):
    monkeypatch.setattr(pages, "clean", lambda value: value)
    (drawn,) = live(everywhere().sections[0].figure)
    assert drawn["data"][0]["name"] == HOSTILE


def test_what_is_not_finite_is_null():
    lines = Lines(
        "x",
        "y",
        [Line("a", [1.0, 2.0, 3.0], [1.0, math.nan, math.inf], [0.0, -math.inf, 0.0], [2.0] * 3)],
    )
    heat = Heat("x", "y", ["a"], ["b", "c"], [[math.nan], [1.0]])
    one, other = (
        json.loads(page.texts["script"][0], parse_constant=pytest.fail)["data"][0]
        for page in (Page(shown(lines)), Page(shown(heat)))
    )
    assert one["y"] == [1.0, None, None]
    assert one["error_y"]["arrayminus"] == [1.0, None, None]
    assert other["z"] == [[None], [1.0]]


def test_labels_of_doublings_stand_apart():
    curve = Line("a", [695.04, 1700.0, 2000.0, 3400.0, 278016.0], [0.0] * 5)
    figure = Lines("weights", "y", [curve], ladder=False, doublings=True)
    (drawn,) = live(figure)
    axis = drawn["layout"]["xaxis"]
    assert axis["tickvals"] == [695.04, 1700.0, 3400.0, 278016.0]
    assert axis["ticktext"] == ["695", "1,700", "3,400", "278,016"]


def test_a_heat_map_is_coloured_as_its_png_and_names_its_columns():
    (drawn,) = live(Heat("x", "y", ["0.5", "0.25"], ["a"], [[-1.0, 1.0]]))
    scale = drawn["data"][0]["colorscale"]
    low, high = (bytes.fromhex(scale[at][1][1:]) for at in (0, -1))
    assert low[2] > low[0]  # blue
    assert high[0] > high[2]  # red
    assert drawn["layout"]["xaxis"]["type"] == "category"


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        (["1", "0.0625", "-4.8±0.5%*"], True),
        (["x0.58 (0.45-0.75)*", "never in 1 of 3"], True),
        (["-0.1232 ± 0.0299 (3)", "–"], True),
        (["0.16-1.00"], True),
        (["0.0210 (max 0.0288, 3)"], True),
        (["–", ""], True),
        (["3 winning", "1 matching (no controls)", "2"], False),
        (["0.1.0", "89d8611979e3", "1001 1002 1003", "0"], False),
        (["overall late5%"], False),
    ],
)
def test_columns_of_numbers_end_on_the_right(cells, right):
    page = Page(pages.table([["head"], *([cell] for cell in cells)], "label"))
    assert {attrs.get("class") == "n" for tag, attrs in page.elements if tag in ("td", "th")} == {
        right
    }


def test_a_file_is_whole_or_absent(monkeypatch, tmp_path):
    pages.put(tmp_path / "a/b.html", "old")
    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            pages.put(tmp_path / "a/b.html", "new")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.html"]
    assert (tmp_path / "a/b.html").read_text() == "old"
    pages.put(tmp_path / "a/b.html", "half of a pair: \ud800")
    assert (tmp_path / "a/b.html").read_text() == "half of a pair: ?"


# what a page says of trials, of which a few are made up here

METRICS = {"loss/excess": -0.05, "loss/excess_se": 0.01}
ROUNDS = tuple(Round(i, d, METRICS, made={"torch": "2"}) for i, d in enumerate((1.0, 0.5, 0.25)))


def trial(number: int, rounds=ROUNDS, control: str = "none", **end) -> TrialRecord:
    point = Point(f"t{number}", "recipe", "list", {}, number, control, data=("digits", "abc"))
    return TrialRecord(
        f"call-{number:04d}",
        point,
        Outcome(**{"status": "done", **end}),
        tuple(rounds),
        f"run{number}",
    )


def test_runs_are_linked_where_mlflow_is_a_server(defined):
    uri, trials = (
        "http://me:secret@host:5000/",
        [trial(0), trial(1, [], status="failed", reason="out of memory")],
    )
    recorded = SimpleNamespace(
        uri=uri, trials=trials, experiment=SimpleNamespace(experiment_id="7")
    )
    text = pages.chapter(defined["runs"](recorded, defined["Reported"]()))
    page = Page(text)
    assert page.all("a", "href") == [
        f"http://host:5000/#/experiments/7/runs/run{n}" for n in (0, 1)
    ]
    assert page.texts["a"] == ["run0", "run1"]
    assert page.texts["td"][11:16] == ["failed: out of memory", "0", "–", "–", "run1"]
    assert "secret" not in text
    assert "lthray ui" not in text


def test_how_to_make_it_again_names_every_command_and_commit(defined):
    tags = {
        f"run{n}": {"lthray": "0.1.0", "commit": f"c{n}", "mlflow.source.name": f"python {n}.py"}
        for n in (0, 1)
    }
    recorded = SimpleNamespace(name="a.digits", trials=[trial(0), trial(1)], tags=tags)
    wanted = defined["Reported"](out="runs", tracking_uri="https://me:secret@host", call="abc")
    (facts,) = defined["again"](recorded, wanted).sections
    page = "python analysis/report.py --experiment a.digits --call abc"
    page += " --out runs --tracking-uri https://***@host"
    assert facts.text == [
        "The study:",
        "    python 0.py",
        "    python 1.py",
        "This page:",
        f"    {page}",
    ]
    values = [
        ["lthray", "0.1.0"],
        ["commit", "c0, c1"],
        ["made with", "torch 2"],
        ["data digits", "abc"],
    ]
    assert facts.table[1:] == [*values, ["seeds of list", "0 1"]]


def test_samples_of_dense_and_sparsest_of_the_first_ticket_that_has_any(defined):
    asked = []

    def pictures(trial, index):
        asked.append((trial.run, index))
        return [
            (f"samples_{s}", f"{trial.run} {index} {s}".encode())
            for s in ("ddpm", "ddim")
            if trial.run != "run1"
        ]

    recorded = SimpleNamespace(pictures=pictures)
    trials = [trial(0, control="shuffle"), trial(1), trial(2, ROUNDS[:1]), trial(3), trial(4)]
    (found,) = defined["samples"](recorded, trials)
    assert found.pictures == {
        "dense, ddim": b"run3 0 ddim",
        "ticket at 0.25, ddim": b"run3 2 ddim",
        "dense, ddpm": b"run3 0 ddpm",
        "ticket at 0.25, ddpm": b"run3 2 ddpm",
    }
    assert asked == [("run1", 0), ("run1", 2), ("run3", 0), ("run3", 2)]
    image = base64.b64encode(b"run3 0 ddim").decode()
    assert (
        Page(pages.pictures(found.pictures)).all("img", "src")[0]
        == f"data:image/png;base64,{image}"
    )
    assert list(defined["samples"](recorded, [trial(1)])) == []
