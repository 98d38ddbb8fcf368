"""What did a study find, on one page that can be sent around: every analysis that applies, the
runs, how to make it again.

    python analysis/report.py  every study below --out that can be told
    python analysis/report.py --experiment layerwise_search.digits

Writes <out>/reports/<experiment>/report.html, which needs neither a network nor a file beside it,
and the index of all such pages, <out>/reports/index.html. A page beside this one is an analysis if
it defines ORDER, its place; `applies(recorded, call)`, which says why it has nothing to say of a
study; and `sections(recorded, call)`. Reads MLflow only. A study that goes on, or whose calls
cannot be averaged, is passed over with a line, unless it is named.
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
from lthray.config.fields import ConfigError
from lthray.config.options import Asked
from lthray.core.record import TrialRecord, machine_lines
from lthray.findings import html
from lthray.findings.evidence import comparable
from lthray.findings.html import About, Chapter
from lthray.findings.rounds import worse
from lthray.findings.sections import Section
from lthray.tracking.read import Recorded, experiments

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

    def chapter(self, recorded: Recorded, call: str) -> Chapter:
        """Return what the analysis says of a study, or why it does not apply."""
        title = self.name.replace("_", " ").capitalize()
        if reason := self.applies(recorded, call):
            return Chapter(self.name, title, silent=reason)
        sections = []
        for section in self.sections(recorded, call):
            sections.append(replace(section, text=[*map(redacted, section.text)]))
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
                pages.append(Analysis(file.stem, page["ORDER"], question, *functions))
    return sorted(pages, key=lambda analysis: (analysis.order, analysis.name))


def report(recorded: Recorded, wanted: Asked, pages: Sequence[Analysis]) -> str:
    """Return the page of a study; ConfigError if it goes on or cannot be averaged."""
    trials = comparable(recorded.of(wanted.call))
    verdicts, chapters = opening([page.chapter(recorded, wanted.call) for page in pages])
    if not any(section.pictures for chapter in chapters for section in chapter.sections):
        chapters += [Chapter("samples", "Samples", sections=[s]) for s in samples(recorded, trials)]
    chapters += [runs(recorded), again(recorded, wanted)]
    question, _, page_text = recorded.question.strip().partition("\n")
    day = datetime.fromtimestamp(max(map(ended, trials)), UTC).strftime("%Y-%m-%d")
    about = About(recorded.name, question or recorded.name, verdicts[0].text[0], day)
    compared = (r for trial in trials for r in trial.rounds)
    facts = " · ".join([day, counted(recorded.trials), *machine_lines(compared)])
    return html.study(about, facts, verdicts, page_text, chapters)


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


def runs(recorded: Recorded) -> Chapter:
    """Return every trial, with the address of its run where MLflow is a server."""
    text = [
        "Density, and excess over the own dense network (of a classifier: accuracy that is lost), "
        "at the last round."
    ]
    links, place = {}, redacted(recorded.uri)
    if recorded.uri.startswith("http"):
        server = place.replace("//***@", "//").rstrip("/")
        base = f"{server}/#/experiments/{recorded.experiment.experiment_id}/runs"
        links = {trial.run: f"{base}/{trial.run}" for trial in recorded.trials}
    else:
        command = f"    mlflow ui --backend-store-uri {shlex.quote(place)}"
        text += ["The runs are in MLflow:", command]
    rows = [RUNS_HEAD, *map(row, recorded.trials)]
    return Chapter("runs", "Runs", sections=[Section("all", "", text, rows)], links=links)


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


def again(recorded: Recorded, wanted: Asked) -> Chapter:
    """Return commands, code, data and seeds: all that is needed to make the study again."""
    trials = recorded.trials
    commands, versions, commits = (
        dict.fromkeys(filter(None, (recorded.tags[trial.run].get(tag) for trial in trials)))
        for tag in ("mlflow.source.name", "lthray", "commit")
    )
    text = ["The study:", *(f"    {redacted(line)}" for line in commands)]
    text += ["This page:", f"    {redacted(command(recorded, wanted))}"]
    rows = [["what", "value"], ["lthray", ", ".join(versions)], ["commit", ", ".join(commits)]]
    rows += [["made with", line] for line in makers(trials)]
    data = sorted({tuple(trial.point.data) for trial in trials})
    rows += [[f"data {name}", digest] for name, digest in data]
    for phase in dict.fromkeys(trial.point.phase for trial in trials):
        seeds = sorted({trial.point.seed for trial in trials if trial.point.phase == phase})
        rows.append([f"seeds of {phase}", " ".join(map(str, seeds))])
    facts = Section("facts", "", text, rows)
    return Chapter("again", "How to make it again", sections=[facts])


def command(recorded: Recorded, wanted: Asked) -> str:
    """Return the command that writes the page of this study."""
    argv = ["python", "analysis/report.py", "--out", wanted.out, "--experiment", recorded.name]
    if wanted.tracking_uri:
        argv += ["--tracking-uri", wanted.tracking_uri]
    if wanted.call:
        argv += ["--call", wanted.call]
    return shlex.join(argv)


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
    wanted = asked(Asked, sys.argv[1:], "python analysis/report.py", __doc__ or "")
    folder, pages, written = Path(wanted.out) / "reports", analyses(), 0
    for name in [wanted.experiment] if wanted.experiment else experiments(wanted.uri):
        try:
            page = report(Recorded(wanted.uri, name), wanted, pages)
        except ConfigError as error:
            if wanted.experiment:
                raise
            print(f"{name} is passed over: {'; '.join(error.faults)}")
            continue
        html.put(folder / name / "report.html", page)
        print(f"page: {folder / name / 'report.html'}")
        written += 1
    if not written:
        raise ConfigError([f"{redacted(wanted.uri)}: no study there can be told"])
    html.put(folder / "index.html", html.index(folder))
    print(f"index: {folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
