"""What did a study find, on one page that can be sent around: the answer, the evidence for it, what
it does not show, every analysis that applies, methods for a paper, the runs.

    python analysis/report.py                every study below --out that can be told
    python analysis/report.py --interactive  figures that one can point at (5 MB)
    python analysis/report.py --experiment layerwise_search.digits

Writes <out>/reports/<experiment>/report.html, which needs neither a network, a script nor a file
beside it, and report.bib, the papers that its methods cite. A folder `report` beside them has a
folder for each chapter, with its tables as CSV and LaTeX and its figures as SVG, PDF and PNG. The
index of all pages is <out>/reports/index.html. A page beside this one is an analysis if it defines
ORDER, its place; `applies(recorded, call)`, which says why it has nothing to say of a study; and
`sections(recorded, call)`. With ACROSS it sets side by side what the calls of its own study have
otherwise. Reads MLflow only. A study that goes on has a page without a verdict. One whose calls
cannot be averaged is passed over with a line, unless it is named.
"""

import runpy
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from lthray.cli import asked, guarded
from lthray.config.addresses import redacted
from lthray.config.commands import Reported
from lthray.config.fields import ConfigError
from lthray.core.record import TrialRecord, machine_lines
from lthray.findings import answers, citations, designs, front, html, methods
from lthray.findings.claims import Verdict, judged
from lthray.findings.evidence import Evidence, comparable, gather
from lthray.findings.front import Front
from lthray.findings.glossary import Glossary
from lthray.findings.html import About, Chapter, Look
from lthray.findings.limits import limits
from lthray.findings.rounds import worse
from lthray.findings.sections import Section, latex_text, write
from lthray.findings.setting import described
from lthray.tracking.client import TrackingError
from lthray.tracking.read import Recorded, experiments

TERMS = Path(__file__).parent.parent / "docs" / "concepts.md"
FILES = "report"  # folder of tables and figures, beside the page
METHODS = "methods"  # chapter and file
BULLET = "•"
GRADED = {"confirm", "list", "single"}  # phases whose claims are tested over seeds
SMOKE = (
    "Smoke run: all sizes are as small as can be, to see that everything works. No number of this "
    "page is a result."
)
UNGRADED = "Nothing is graded before all of them are: to look early and go on would flatter."
TRIED = 4  # tickets that are looked through for samples
RUNS_HEAD = ("name", "phase", "seed", "status", "rounds", "density", "excess", "run")


@dataclass(frozen=True)
class Analysis:
    """A page beside this one: the question that it answers of a study."""

    name: str
    order: int
    """Place in a report."""
    question: str
    applies: Callable[[Recorded, str], str]
    """Why the page has nothing to say of a study; empty where it has."""
    sections: Callable[[Recorded, str], Iterable[Section]]
    across: bool = False
    """Whether it sets side by side what calls of the study of its name have otherwise."""

    def chapter(self, recorded: Recorded, call: str, *, is_across: bool = False) -> Chapter:
        """Return what the analysis says of a study, or why it does not apply.

        `is_across` is whether the calls of the study are meant to differ.
        """
        title = self.name.replace("_", " ").capitalize()
        try:
            reason = self.applies(recorded, call)
        except ConfigError as error:
            reason = recorded.unfinished(call) or "; ".join(error.faults) * is_across
            if not reason:
                raise
        if reason:
            return Chapter(self.name, title, silent=reason)
        sections = []
        for section in self.sections(recorded, call):
            text, answer = ([*map(redacted, each)] for each in (section.text, section.answer))
            sections.append(replace(section, text=text, answer=answer, sheets=section.drawn))
        return Chapter(self.name, title, self.question, sections)


def analyses() -> list[Analysis]:
    """Return every analysis beside this page, in its order."""
    pages = []
    for file in Path(__file__).parent.glob("*.py"):
        if file.name != Path(__file__).name:
            page = runpy.run_path(str(file))
            if "sections" in page:
                question = (page["__doc__"] or "").partition("\n\n")[0].replace("\n", " ")
                functions = page["applies"], page["sections"]
                across = page.get("ACROSS", False)
                pages.append(Analysis(file.stem, page["ORDER"], question, *functions, across))
    return sorted(pages, key=lambda analysis: (analysis.order, analysis.name))


@dataclass(frozen=True)
class Report:
    """The report of a study: its page, and what lies beside it."""

    front: Front
    chapters: Sequence[Chapter]

    @property
    def sections(self) -> list[Section]:
        """All sections, in the order of the page."""
        return [section for chapter in self.chapters for section in chapter.sections]

    @property
    def methods(self) -> list[str]:
        """The paragraphs of the methods."""
        found = [section for section in self.sections if section.name == METHODS]
        return [text for section in found for text in section.text]

    def page(self, *, interactive: bool = False) -> str:
        """Return the page, with the terms of the glossary that its answer and tables use."""
        cells = (cell for s in self.sections for row in s.table for cell in row)
        look = Look(interactive, known().used([*cells, *self.front.answer]), FILES)
        return front.study(self.front, self.chapters, look)

    def write(self, folder: Path, *, interactive: bool) -> Path:
        """Write page, bibliography and the files of all sections; return the place of the page."""
        text = "\n\n".join(self.methods)
        for chapter in self.chapters:
            if chapter.sections:
                write(chapter.sections, folder / FILES / chapter.name)
        if text:
            tex = citations.keyed(latex_text(text))
            html.put(folder / FILES / METHODS / f"{METHODS}.tex", tex + "\n")
            html.put(folder / "report.bib", citations.bibliography(text))
        html.put(folder / "report.html", self.page(interactive=interactive))
        return folder / "report.html"


def known() -> Glossary:
    """Return the glossary of the docs; without any term where they are not beside this page."""
    return Glossary.of(TERMS.read_text(encoding="utf-8") if TERMS.is_file() else "")


def report(recorded: Recorded, wanted: Reported, pages: Sequence[Analysis]) -> Report:
    """Return the report of a study; ConfigError if its calls cannot be averaged."""
    waiting = recorded.unfinished(wanted.call)
    trials: Sequence[TrialRecord] = recorded.trials if waiting else recorded.of(wanted.call)
    is_across = study_of(recorded) in {page.name for page in pages if page.across}
    if not (waiting or is_across):
        trials = comparable(trials)
    made = [page.chapter(recorded, wanted.call, is_across=is_across) for page in pages]
    verdicts, chapters = opening(made)
    if not any(section.pictures for chapter in chapters for section in chapter.sections):
        chapters += [Chapter("samples", "Samples", sections=[s]) for s in samples(recorded, trials)]
    settings = [] if waiting else gather(trials)
    is_graded = {trial.point.phase for trial in trials} <= GRADED
    look = recorded.look(trials)
    told = judged(settings, look) if is_graded and settings else []
    question, _, page_text = recorded.question.strip().partition("\n")
    day = datetime.fromtimestamp(max(map(ended, trials)), UTC).strftime("%Y-%m-%d")
    banners = warnings(recorded, waiting)
    said = answer_of(recorded, made) or verdicts[0].text[:2]
    mark = ", ".join(name for name, _ in banners)
    about = About(recorded.name, question or recorded.name, " ".join(said), day, mark)
    compared = (r for trial in trials for r in trial.rounds)
    facts = " · ".join([day, counted(recorded.trials), *machine_lines(compared)])
    opened = Front(about, facts, said, verdicts, [text for _, text in banners])
    setting = Chapter("setting", "Setting", sections=[described(recorded.trials)])
    before = [setting, *evidence(trials, told, look), bounds(recorded, settings, told)]
    after = [methods_of(recorded, told), *own_words(page_text), runs(recorded, wanted)]
    after.append(again(recorded, wanted))
    return Report(opened, [*before, *chapters, *after])


def warnings(recorded: Recorded, waiting: str) -> list[tuple[str, str]]:
    """Return the name of each warning, and its text."""
    found = []
    if recorded.smoke:
        found.append(("smoke run", SMOKE))
    if waiting:
        found.append(("unfinished", f"Unfinished: {waiting}. {UNGRADED}"))
    return found


def answer_of(recorded: Recorded, chapters: Sequence[Chapter]) -> Sequence[str]:
    """Return the sentences of the analysis that is named like the study or, where it has none, of
    the first that answers anything."""
    study = study_of(recorded)
    first = sorted(chapters, key=lambda chapter: chapter.name != study)
    answers = [section.answer for chapter in first for section in chapter.sections]
    return next(filter(None, answers), ())


def study_of(recorded: Recorded) -> str:
    """Return the name of the page that made a study; empty where it was not recorded."""
    return recorded.tags[recorded.trials[0].run].get("study", "")


def own_words(page_text: str) -> list[Chapter]:
    """Return what the study's own page says, which a reader may open."""
    if not page_text.strip():
        return []
    section = Section("text", "", [redacted(page_text)])
    return [Chapter("page", "The study in its own words", sections=[section], folded=True)]


def evidence(
    trials: Sequence[TrialRecord], verdicts: Sequence[Verdict], look: int
) -> list[Chapter]:
    """Return a figure for each claim; nothing where nothing is claimed."""
    sections = list(answers.evidence(verdicts)) if verdicts else []
    if is_design(trials):
        sections = list(designs.evidence(trials, look))
    sections = [replace(section, sheets=section.drawn) for section in sections]
    title = "Evidence: a figure for each claim"
    return [Chapter("evidence", title, sections=sections)] if sections else []


def is_design(trials: Sequence[TrialRecord]) -> bool:
    """Return whether trials are a design that yields frequencies."""
    if {trial.point.phase for trial in trials} != {"design"}:
        return False
    try:
        designs.Page.of(trials)
    except ConfigError:
        return False
    return True


def bounds(
    recorded: Recorded, settings: Sequence[Evidence], verdicts: Sequence[Verdict]
) -> Chapter:
    """Return what the study does not show."""
    text = list(map(redacted, limits(recorded.trials, settings, verdicts)))
    section = Section("limits", "", [f"{BULLET} {line}" for line in text])
    return Chapter("limits", "What this does not show", sections=[section])


def methods_of(recorded: Recorded, verdicts: Sequence[Verdict]) -> Chapter:
    """Return the methods as text for a paper, and the papers that they cite."""
    paragraphs = methods.text(recorded.trials, verdicts, built(recorded))
    papers = citations.cited("\n".join(paragraphs))
    sections = [
        Section(METHODS, "", list(map(redacted, paragraphs))),
        Section("references", "References (report.bib)", [paper.reference for paper in papers]),
    ]
    return Chapter(METHODS, "Methods, for a paper", sections=sections)


def built(recorded: Recorded) -> str:
    """Return the versions and commits of the package that made the trials."""
    names = dict.fromkeys(
        f"lthray {tags.get('lthray', '?')} ({tags.get('commit', '')[:10] or 'no commit'})"
        for tags in (recorded.tags[trial.run] for trial in recorded.trials)
    )
    return " and ".join(names)


def ended(trial: TrialRecord) -> float:
    """Return the Unix time of a trial's end, or of its beginning where the end has none."""
    end = trial.end.at if trial.end else 0.0
    return end or trial.point.at


def opening(chapters: Sequence[Chapter]) -> tuple[list[Section], list[Chapter]]:
    """Return the verdicts, with which a page opens, and the chapters without these sentences."""
    verdicts: list[Section] = []
    rest = []
    for chapter in chapters:
        spoken = [section for section in chapter.sections if section.verdict and section.text]
        left = list(filter(None, (_without(section, spoken) for section in chapter.sections)))
        verdicts += spoken
        if left or chapter.silent:
            rest.append(replace(chapter, sections=left))
    if not verdicts:
        reason = chapters[0].silent or "nothing was graded"
        verdicts = [Section("verdict", "Verdict", [f"No verdict: {reason}."])]
    return verdicts, rest


def _without(section: Section, spoken: Sequence[Section]) -> Section | None:
    """Return a section without its text where that was spoken; None where nothing is left."""
    if section not in spoken:
        return section
    left = replace(section, text=())
    return left if left.table or left.figure or left.pictures else None


def counted(trials: Sequence[TrialRecord]) -> str:
    """Return how many trials there are, by phase."""
    phases = Counter(trial.point.phase for trial in trials)
    each = ", ".join(f"{n} {phase}" for phase, n in phases.items())
    return f"{len(trials)} trials ({each})"


def samples(recorded: Recorded, trials: Sequence[TrialRecord]) -> Iterator[Section]:
    """Yield the dense network beside the sparsest ticket of the first trial that was sampled."""
    tickets = [t for t in trials if t.point.is_ticket and len(t.rounds) > 1]
    for trial in tickets[:TRIED]:
        last = trial.rounds[-1]
        dense = dict(recorded.pictures(trial, 0))
        sparse = dict(recorded.pictures(trial, last.index))
        pictures: dict[str, bytes] = {}
        for name in sorted(dense.keys() & sparse.keys()):
            sampler = name.removeprefix("samples_")
            pictures[f"dense, {sampler}"] = dense[name]
            pictures[f"ticket at {last.density:.4g}, {sampler}"] = sparse[name]
        if pictures:
            text = [f"{trial.name}: the same noise for all."]
            yield Section("grids", "", text, pictures=pictures)
            return


MANY = 200  # trials of which a list is folded


def runs(recorded: Recorded, wanted: Reported) -> Chapter:
    """Return every trial, with the address of its run where MLflow is a server."""
    text = [
        "Density, and excess over the own dense network (of a classifier: accuracy that is lost), "
        "at the last round."
    ]
    links = {}
    if recorded.uri.startswith("http"):
        server = redacted(recorded.uri).replace("//***@", "//").rstrip("/")
        base = f"{server}/#/experiments/{recorded.experiment.experiment_id}/runs"
        links = {trial.run: f"{base}/{trial.run}" for trial in recorded.trials}
    else:
        opened = with_place(["lthray", "ui", recorded.name], wanted)
        text += ["The runs are in MLflow:", f"    {opened}"]
    rows = [RUNS_HEAD, *map(row, recorded.trials)]
    listed = [Section("all", "", text, rows)]
    return Chapter("runs", "Runs", sections=listed, links=links, folded=len(rows) > MANY)


def row(trial: TrialRecord) -> list[str]:
    """Return the cells of a trial."""
    point, rounds = trial.point, trial.rounds
    status = trial.status
    if trial.end and trial.end.reason:
        status += f": {trial.end.reason}"
    last = ["–", "–"]
    if rounds:
        last = [f"{rounds[-1].density:.4g}", f"{worse(rounds[-1])[0]:+.2%}"]
    return [point.name, point.phase, str(point.seed), status, str(len(rounds)), *last, trial.run]


def again(recorded: Recorded, wanted: Reported) -> Chapter:
    """Return commands, code, data and seeds: all that is needed to make the study again."""
    trials = recorded.trials
    commands, versions, commits = (
        dict.fromkeys(filter(None, (recorded.tags[trial.run].get(tag) for trial in trials)))
        for tag in ("mlflow.source.name", "lthray", "commit")
    )
    text = ["The study:", *(f"    {redacted(line)}" for line in commands)]
    text += ["This page:", f"    {command(recorded, wanted)}"]
    rows = [["what", "value"], ["lthray", ", ".join(versions)], ["commit", ", ".join(commits)]]
    rows += [["made with", line] for line in makers(trials)]
    data = sorted({tuple(trial.point.data) for trial in trials})
    rows += [[f"data {name}", digest] for name, digest in data]
    for phase in dict.fromkeys(trial.point.phase for trial in trials):
        seeds = sorted({trial.point.seed for trial in trials if trial.point.phase == phase})
        rows.append([f"seeds of {phase}", " ".join(map(str, seeds))])
    facts = Section("facts", "", text, rows)
    return Chapter("again", "How to make it again", sections=[facts])


def command(recorded: Recorded, wanted: Reported) -> str:
    """Return the command that writes the page of this study."""
    words = ["python", "analysis/report.py", "--experiment", recorded.name]
    if wanted.call:
        words += ["--call", wanted.call]
    return with_place(words, wanted)


def with_place(words: Sequence[str], wanted: Reported) -> str:
    """Return a command of these words that reads where this page has read."""
    place = ["--out", wanted.out]
    if wanted.tracking_uri:
        place += ["--tracking-uri", wanted.tracking_uri]
    return redacted(shlex.join([*words, *place]))


def makers(trials: Sequence[TrialRecord]) -> list[str]:
    """Return what rounds were made with (torch, device, threads), each once."""
    lines = []
    for trial in trials:
        for r in trial.rounds:
            line = ", ".join(f"{word} {value}" for word, value in r.made.items())
            if line and line not in lines:
                lines.append(line)
    return lines


def main() -> int:
    """Write the pages and the index of all; return the exit code."""
    wanted = asked(Reported, sys.argv[1:], "python analysis/report.py", __doc__ or "")
    folder, pages, written = Path(wanted.out) / "reports", analyses(), 0
    for name in [wanted.experiment] if wanted.experiment else experiments(wanted.uri):
        try:
            made = report(Recorded(wanted.uri, name), wanted, pages)
        except (ConfigError, TrackingError) as error:
            if wanted.experiment:
                raise
            why = "; ".join(error.faults) if isinstance(error, ConfigError) else error
            print(f"{name} is passed over: {why}")
            continue
        print(f"page: {made.write(folder / name, interactive=wanted.interactive)}")
        written += 1
    if not written:
        raise ConfigError([f"{redacted(wanted.uri)}: no study there can be told"])
    html.put(folder / "index.html", front.index(folder))
    print(f"index: {folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
