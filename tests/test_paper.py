"""What a report says for a paper: answer, evidence, limits, methods, citations, glossary."""

import json
import math
import re
import runpy
from dataclasses import replace

import pytest

from lthray.core.record import Outcome
from lthray.findings import answers, citations, designs, methods
from lthray.findings.claims import OWN, judged, matches
from lthray.findings.evidence import gather
from lthray.findings.figures import Heat, Interval, Intervals, Line, Lines
from lthray.findings.formats import series
from lthray.findings.front import Front, study
from lthray.findings.glossary import Glossary
from lthray.findings.html import About, Chapter, Look
from lthray.findings.limits import limits
from lthray.findings.sections import Section, write
from lthray.findings.setting import Words, described, either, shown
from lthray.findings.sheets import drawn
from lthray.findings.traces import traces

from . import published
from .published import ROOT
from .test_report import SMALL, Page
from .test_report import published as as_recorded

REPORT = ROOT / "analysis" / "report.py"
NAMES = sorted(path.parent.name for path in (ROOT / "results").glob("*/trials.json"))
VERDICTS = [name for name in NAMES if not name.startswith("frequency")]
GLOSSARY = Glossary.of((ROOT / "docs" / "concepts.md").read_text())
BUILT = "lthray 0 (no commit)"
FIGURES = {
    "lines": Lines("x", "y", [Line("a", [1.0, 0.5], [0.0, 1.0], [-1.0, 0.0], [1.0, 2.0])]),
    "heat": Heat("x", "y", ["a"], ["b"], [[1.0]]),
    "intervals": Intervals("x", [Interval("a", 1.0, 0.0, 2.0, True)], 0.5),
}


def trials_of(name: str) -> list:
    return published.recorded(ROOT / "results" / name)


# figures


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_a_png_an_svg_and_a_pdf_and_always_the_same(figure, tmp_path):
    write([Section("a", "A", table=[["h"], ["1"]], figure=figure)], tmp_path)
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    for ending, start in starts.items():
        assert (tmp_path / f"a{ending}").read_bytes().startswith(start)
    assert {".csv", ".tex", ".md"} < {path.suffix for path in tmp_path.iterdir()}
    again = drawn(figure)
    assert again[".svg"] == (tmp_path / "a.svg").read_bytes()
    assert b"<dc:date>" not in again[".svg"]
    assert traces(figure)["data"]


def test_intervals_that_are_too_wide_leave_the_figure_and_means_never_do():
    rows = [Interval("a", -5.0, -math.inf, 1e9, False), Interval("b", 1.0, 0.0, 2.0, True)]
    low, high = Intervals("x", rows, 0.0).ends
    assert -20 < low < -5
    assert 2 <= high < 20
    assert Intervals("x", rows[1:], 0.0).ends == pytest.approx((-0.08, 2.08))
    assert Intervals("x", [Interval("a", 0.0, 0.0, 0.0, False)], 0.0).ends == (-0.04, 0.04)


# answer and evidence


@pytest.mark.parametrize("name", VERDICTS)
def test_an_answer_is_two_sentences_that_the_registry_bears_out(name):
    verdicts = judged(gather(trials_of(name)))
    first, second = answers.answer(verdicts)
    tickets = answers.places(verdicts)
    won = [ticket for ticket in tickets if ticket.wins]
    if not any(ticket.is_controlled for ticket in tickets):
        won = [ticket for ticket in tickets if ticket.matches]
        assert first.endswith("not both controls were trained.")
    assert first.startswith("Tickets match") == bool(won)
    if won:
        assert f"keep {min(density for *_, density in won):.1%} " in first
    assert second.endswith(".")
    assert "converged" in second.lower()


@pytest.mark.parametrize("name", ["layerwise_search.digits", "sanity.mnist", "convergence.digits"])
def test_the_interval_of_a_figure_is_the_bound_of_the_test(name):
    verdicts = judged(gather(trials_of(name)))
    sections = list(answers.evidence(verdicts))
    assert len({section.name for section in sections}) == len(sections) > 1
    own = sections[0].figure
    tested = [v.find(matches(OWN), r, d) for v, r, d in answers.places(verdicts)]
    whole = [each for each in tested if each and each.statement.whole]
    assert len(own.rows) == min(len(whole), answers.MOST)
    for row, each in zip(own.rows, whole, strict=False):
        assert row.holds == each.holds == (row.high < own.border)
        assert row.low < row.mean < row.high
    units = {section.figure.x for section in sections}
    assert len(units) == 1


def test_the_evidence_of_a_design_are_its_shares_beside_their_base_rates():
    sections = list(designs.evidence(trials_of("frequency.digits")))
    assert sections[0].name == "evidence_wins"
    assert sections[0].figure.border == 1 / 3
    assert [row.name for row in sections[0].figure.rows] == ["0.125"]
    assert [round(row.mean, 2) for row in sections[0].figure.rows] == [0.74]


# limits


def test_limits_are_read_from_what_is_recorded():
    trials = trials_of("layerwise_search.digits")
    told = limits(trials, gather(trials), judged(gather(trials)))
    assert any("NOT CONVERGED" in line for line in told)
    assert any("claims are not shown" in line for line in told)
    assert not any("failed" in line for line in told)
    lost = replace(trials[-1], end=Outcome("failed", "out of memory"), rounds=())
    left = [*trials[:-1], lost]
    told = limits(left, gather(left), judged(gather(left)))
    assert told[0].startswith(f"1 of {len(trials)} trials failed (1 x out of memory).")


def test_a_lack_of_controls_of_samples_and_of_seeds_is_a_limit():
    trials = [t for t in trials_of("budget.digits") if t.point.control == "none"]
    few = [t for t in trials if t.point.seed < 2]
    told = "\n".join(limits(few, gather(few), judged(gather(few))))
    assert "tickets were not set beside their shuffled masks, new weights and small dense" in told
    assert "no dense network of equal compute was trained" in told
    assert "no images were sampled" in told
    assert "Some tickets were trained on 2 seeds" in told


# methods


@pytest.mark.parametrize("name", NAMES)
def test_methods_hold_every_recorded_word_and_cite_what_the_bibliography_has(name):
    trials = trials_of(name)
    verdicts = [] if name.startswith("frequency") else judged(gather(trials))
    text = "\n".join(methods.text(trials, verdicts, BUILT))
    every = Words(trials).values
    many = {word for word, values in every.items() if "from " in either(values)}
    assert (many >= {"train.lr"}) == name.startswith("frequency")
    for word in many:  # numbers too many to name: the smallest and the largest
        assert either(every[word]) in text, word
    for trial in trials:
        for word, value in trial.point.config.items():
            if word != "control" and word not in many:  # controls have words of their own
                for part in value if isinstance(value, list) else [value]:
                    assert shown(part) in text, f"{word} = {value}"
    for each in re.findall(r"\(([^()]*\b(?:19|20)\d\d[a-z]?)\)", text):
        assert set(each.split("; ")) <= set(citations.papers())
    entries = parsed(citations.bibliography(text))
    assert set(entries) == {paper.key for paper in citations.cited(text)}
    keys = re.findall(r"\\citep\{([^}]*)\}", citations.keyed(text))
    assert set(",".join(keys).split(",")) == set(entries)
    assert not citations.CITED.search(citations.keyed(text))


def test_a_word_that_no_sentence_has_stands_at_the_end():
    trial = trials_of("budget.digits")[0]
    odd = {**trial.point.config, "prune.images": 77, "word.of.old": "x"}
    text = methods.text([replace(trial, point=replace(trial.point, config=odd))], [], BUILT)
    assert text[-1].startswith("Further words of the configuration")
    assert "prune.images = 77" in text[-1]
    assert "word.of.old = x" in text[-1]


def test_words_count_each_value_that_was_told():
    words = Words(trials_of("convergence.digits"))
    steps = words["train.steps"]
    assert steps.split(" or ") == words.values["train.steps"]
    assert len(words.values["train.steps"]) > 3
    assert not any(line.startswith("train.steps") for line in words.left())
    assert any(line.startswith("measure.split") for line in words.left())


def test_the_setting_says_network_data_and_budget():
    section = described(trials_of("sanity.mnist"))
    rows = dict(section.table)
    assert rows["network"] == "lenet300"
    assert "channels" not in rows
    assert rows["optimizer steps"] == "8000 or 16000"
    assert rows["training images"] == "55,000"
    assert "LeNet-300-100" in section.text[0]
    assert series(["a", "b", "c"]) == "a, b and c"
    assert series(["a"]) == "a"


# citations


def parsed(text: str) -> dict[str, dict[str, str]]:
    """BibTeX as a strict reader takes it: braces that close, each field once, nothing between."""
    entries: dict[str, dict[str, str]] = {}
    at = 0
    while text[at:].strip():
        head = re.compile(r"\s*@(\w+)\{(\w+),").match(text, at)
        assert head, text[at : at + 60]
        assert head[2] not in entries
        fields = entries.setdefault(head[2], {"type": head[1]})
        at = head.end()
        while field := re.compile(r"\s*(\w+) = \{").match(text, at):
            start = at = field.end()
            depth = 1
            while depth:
                depth += {"{": 1, "}": -1}.get(text[at], 0)
                at += 1
            assert field[1] not in fields
            fields[field[1]] = text[start : at - 1]
            comma = re.compile(r"\s*,").match(text, at)
            assert comma
            at = comma.end()
        end = re.compile(r"\s*\}").match(text, at)
        assert end, text[at : at + 60]
        at = end.end()
    return entries


def test_the_bibliography_is_bibtex_and_every_label_is_of_one_paper():
    text = (ROOT / "lthray" / "findings" / "papers.bib").read_text()
    entries = parsed(text)
    papers = citations.papers()
    assert len(papers) == len(entries) == text.count("\n@") + 1 > 40
    for paper in papers.values():
        fields = entries[paper.key]
        assert {"author", "title", "year"} < fields.keys()
        assert {"journal", "booktitle"} & fields.keys()
        assert fields["year"] in paper.label
        assert not set("{}\\") & set(paper.reference)
    assert citations.papers()["Binkowski et al. 2018"].surnames[0] == "Binkowski"


def test_a_citation_that_the_bibliography_has_not_is_an_error():
    with pytest.raises(KeyError, match="Nobody 2020"):
        citations.cited("So it is (Nobody 2020).")
    assert citations.cited("Nothing (in 3 of 5) is cited.") == []


@pytest.mark.parametrize("said", methods.SAYS.values())
def test_every_phrase_of_the_methods_cites_known_papers(said):
    citations.cited(said)


# glossary


def test_terms_of_a_head_lead_to_their_definitions():
    glossary = Glossary.of("**Own dense**: The <b>.\n\n**Seed**: See [there](x.md), `a`.\n")
    assert glossary.terms == {"Own dense": "The <b>.", "Seed": "See there, a."}
    assert glossary.linked("own dense & seeds") == (
        '<a class="term" href="#term-own-dense">own dense</a> &amp; '
        '<a class="term" href="#term-seed">seeds</a>'
    )
    assert glossary.linked("seeded") == "seeded"
    assert list(glossary.used(["the seeds"]).terms) == ["Seed"]
    assert "The &lt;b&gt;." in glossary.html()
    assert Glossary().linked("a & b") == "a &amp; b"


PLAIN_HEADS = re.compile(
    r"(of|share|count|p|mean|space|pixels|latents|ratio|rule|verdict|budget|equivalent|holds|"
    r"source|target|network|channels|batch|failed|still tried|word|fault|sampler|average|neither|"
    r"method|claim|excess|95 %|k|against|steps|k = .*|k that .*|0\..*|5 x steps|unbounded|"
    r"over random noise|transferred / own|gain of twice the steps|change a doubling|dense.*|"
    r"from timestep \d+|apart|meets the margin at|less the reference|modelled energy|peak memory|"
    r"counted|executed|speed-up.*|images to win it back|stored bytes|skill kept|unstable|"
    r"steps saved|efficiency.*|- fewer images|- dense|weights kept|raw weights|more robust|"
    r"not less robust.*|less contrast|blur|salt and pepper|attack in .*|moved x_T|"
    r"(more|less) noise than told|noise .*|weights of 8 and 4 bits|sparsity|share that matches|"
    r"mean \[95 %\]|measure|latents - pixels \[bounds\]|not matching|matching|p by sign flips|"
    r"change|points|low|high)"
)
"""Heads that are plain English, or that the sentences beside their table explain."""


@pytest.mark.parametrize("name", NAMES)
def test_every_term_in_the_head_of_a_published_table_is_in_the_glossary(name):
    for path in (ROOT / "results" / name).glob("*.csv"):
        for head in published.rows(path)[0]:
            cells = [cell.strip() for cell in head.split(",")]
            explained = GLOSSARY.found(head) or all(map(PLAIN_HEADS.fullmatch, cells))
            assert explained, f"{path.name}: {head}"


# the page


def report_of(recorded, needless: tuple[str, ...] = ("ticket_anatomy", "measuring")):
    """The report of a published study, without the analyses that need its files."""
    defined = runpy.run_path(str(REPORT))
    pages = [page for page in defined["analyses"]() if page.name not in needless]
    return defined["report"](recorded, defined["Reported"](out="runs"), pages)


@pytest.fixture(scope="module")
def frequency():
    return report_of(as_recorded("frequency.digits"))


def test_a_page_without_scripts_has_its_figures_and_is_small(frequency):
    text = frequency.page()
    page = Page(text)
    assert "script" not in page.texts
    assert "script-src 'none'" in text
    figures = [section for section in frequency.sections if section.figure]
    assert len(page.stills) == len(figures) > 3
    assert all(still.startswith("<?xml") and "<svg" in still for still in page.stills)
    assert len(text.encode()) < SMALL
    live = frequency.page(interactive=True)
    assert len(Page(live).figures) == len(Page(live).stills) == len(figures)


def test_a_term_of_two_words_is_not_taken_for_one_of_its_words():
    linked = GLOSSARY.linked("at this training budget, at a budget")
    assert re.findall(r'href="#([a-z-]+)"', linked) == ["term-training-budget", "term-budget"]


def test_a_report_of_many_sentences_opens_with_two(frequency):
    text = frequency.page()
    opened = text[text.index('<div class="verdict">') : text.index("<details>")]
    first, second = Page(opened).texts["p"]
    assert "142 of 192 trajectories at density 0.125" in first
    assert second == designs.DESIGN
    folded = text[text.index("<details>") : text.index("</details>")]
    assert "At density 0.125, 17 of 192 tickets are within two standard errors" in folded


def test_files_lie_beside_a_page(frequency, tmp_path):
    place = frequency.write(tmp_path, interactive=False)
    page = Page(place.read_text())
    links = [href for href in page.all("a", "href") if not href.startswith("#")]
    assert len(links) > 10
    assert all((tmp_path / href).is_file() for href in links)
    assert {href.rpartition(".")[2] for href in links} == {"csv", "tex", "svg", "pdf"}
    entries = parsed((tmp_path / "report.bib").read_text())
    tex = (tmp_path / "report" / "methods" / "methods.tex").read_text()
    keys = ",".join(re.findall(r"\\citep\{([^}]*)\}", tex)).split(",")
    assert set(keys) == set(entries) != set()
    assert {f"#{each}" for each in page.all("dt", "id")} >= {
        href for href in page.all("a", "href") if href.startswith("#term-")
    }


def test_smoke_runs_and_unfinished_studies_have_a_banner_and_the_latter_no_verdict():
    waiting = "3 of 9 trials are finished; the study goes on"
    found = as_recorded("efficiency.digits", waiting=waiting)
    found.smoke = True

    def unfinished(call):
        raise runpy.run_path(str(REPORT))["ConfigError"]([waiting])

    found.of = unfinished
    text = report_of(found).page()
    page = Page(text)
    banners = [a for tag, a in page.elements if a.get("class") == "banner"]
    assert len(banners) == 2
    assert page.texts["p"][0].startswith("Smoke run: ")
    assert page.texts["p"][1].startswith(f"Unfinished: {waiting}. Nothing is graded")
    assert "Evidence: a figure for each claim" not in page.texts["h2"]
    assert {"Setting", "Methods, for a paper", "Runs"} <= set(page.texts["h2"])
    (about,) = re.findall(r'name="lthray\.study" content="([^"]*)"', text)
    assert json.loads(about.replace("&quot;", '"'))["mark"] == "smoke run, unfinished"


def test_a_finished_study_has_no_banner(frequency):
    page = Page(frequency.page())
    assert not [a for _, a in page.elements if a.get("class") == "banner"]


def test_an_empty_page_has_neither_glossary_nor_folds():
    about = About("a.b", "Q?", "", "2020-01-01")
    text = study(Front(about, "", ["A."], []), [Chapter("a", "A", sections=[Section("s", "S")])])
    assert "<details" not in text
    assert "Glossary" not in text
    look = Look(glossary=Glossary({"Seed": "S."}))
    assert "Glossary" in study(Front(about, "", [], []), [], look)
