"""What did a study find, on one page that can be sent around: every analysis that applies, the runs, how to make it again.

    python analysis/report.py                                              every study below --out that can be told
    python analysis/report.py --experiment layerwise_search.digits

Writes <out>/reports/<experiment>/report.html, which needs neither a network nor a file beside it, and the index of all such
pages, <out>/reports/index.html. Reads MLflow only. A study that goes on, or whose calls cannot be averaged, is passed over
with a line, unless it is named.
"""

import re
import runpy
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lthray.cli import asked, guarded
from lthray.config.fields import ConfigError
from lthray.config.options import Asked, redacted
from lthray.findings import html
from lthray.findings.evidence import comparable, is_ticket, worse
from lthray.findings.html import About, Chapter
from lthray.findings.sections import Section
from lthray.tracking.read import Recorded, experiments

PAGES = ("ticket_frequency", "rewinding", "ticket_anatomy")
OPENS = re.compile(r"verdict(_\d+)?|frequency")  # names of the sections of the first, with whose sentences a report opens
TRIED = 4  # tickets that are looked through for samples

Analysis = Mapping[str, Any]
Trial = Mapping[str, Any]


def analyses() -> dict[str, Analysis]:
    """The pages beside this one that have sections: name -> what it defines."""
    files = {name: Path(__file__).with_name(f"{name}.py") for name in PAGES}
    return {name: runpy.run_path(str(file)) for name, file in files.items()}


def report(recorded: Recorded, wanted: Asked, known: Mapping[str, Analysis]) -> str:
    """The page of a study; ConfigError if it goes on or cannot be averaged."""
    trials = comparable(recorded.of(wanted.call))
    verdict, chapters = opening([tell(name, analysis, recorded, wanted.call) for name, analysis in known.items()])
    if not any(s.pictures for c in chapters for s in c.sections):
        chapters += [Chapter("samples", "Samples", sections=[s]) for s in samples(recorded, trials)]
    chapters += [runs(recorded), again(recorded, wanted)]
    question, _, page = recorded.question.strip().partition("\n")
    last = max(trial["end"].get("at") or trial["point"]["at"] for trial in trials)
    day = datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d")
    about = About(recorded.name, question or recorded.name, verdict[0].text[0], day)
    return html.study(about, f"{day} · {counted(recorded.trials)}", verdict, page, chapters)


def tell(name: str, analysis: Analysis, recorded: Recorded, call: str) -> Chapter:
    """What an analysis says of a study, or why it does not apply."""
    title, asks = name.replace("_", " ").capitalize(), (analysis["__doc__"] or "").partition("\n")[0]
    try:
        found = [replace(s, text=[*map(redacted, s.text)]) for s in analysis["sections"](recorded, call)]
        return Chapter(name, title, asks, found)
    except ConfigError as error:
        return Chapter(name, title, silent="; ".join(error.faults))


def opening(chapters: Sequence[Chapter]) -> tuple[list[Section], list[Chapter]]:
    """The verdicts, with which a page opens, and the chapters without these sentences."""
    first, *rest = chapters
    found = [s for s in first.sections if s.text and OPENS.fullmatch(s.name)]
    if not found:
        found = [Section("verdict", "Verdict", [f"No verdict: {first.silent or 'nothing was graded'}."])]
    left = [replace(s, text=()) if OPENS.fullmatch(s.name) else s for s in first.sections]
    first = replace(first, sections=[s for s in left if s.text or s.table or s.figure])
    return found, [c for c in (first, *rest) if c.sections or c.silent]


def counted(trials: Sequence[Trial]) -> str:
    """How many trials, by phase."""
    phases = Counter(trial["point"]["phase"] for trial in trials)
    return f"{len(trials)} trials ({', '.join(f'{n} {phase}' for phase, n in phases.items())})"


def samples(recorded: Recorded, trials: Sequence[Trial]) -> Iterator[Section]:
    """Dense network beside sparsest ticket of the first trial that was sampled."""
    tickets = [t for t in trials if is_ticket(t["point"]) and len(t["rounds"]) > 1]
    for trial in tickets[:TRIED]:
        last = trial["rounds"][-1]
        dense, sparse = (dict(recorded.pictures(trial, index)) for index in (0, last["index"]))
        found: dict[str, bytes] = {}
        for name in sorted(dense.keys() & sparse.keys()):
            sampler = name.removeprefix("samples_")
            found |= {f"dense, {sampler}": dense[name], f"ticket at {last['density']:.4g}, {sampler}": sparse[name]}
        if found:
            yield Section("grids", "", [f"{trial['point']['name']}: the same noise for all."], pictures=found)
            return


def runs(recorded: Recorded) -> Chapter:
    """Every trial, with the address of its run where MLflow is a server."""
    head = ["name", "phase", "seed", "status", "rounds", "density", "excess", "run"]
    text = ["Density, and excess over the own dense network (of a classifier: accuracy that is lost), at the last round."]
    links, place = {}, redacted(recorded.uri)
    if recorded.uri.startswith("http"):
        base = f"{place.replace('//***@', '//').rstrip('/')}/#/experiments/{recorded.experiment.experiment_id}/runs"
        links = {trial["run"]: f"{base}/{trial['run']}" for trial in recorded.trials}
    else:
        text += ["The runs are in MLflow:", f"    mlflow ui --backend-store-uri {shlex.quote(place)}"]
    rows = [head, *map(row, recorded.trials)]
    return Chapter("runs", "Runs", sections=[Section("all", "", text, rows)], links=links)


def row(trial: Trial) -> list[str]:
    """A trial."""
    point, end, rounds = trial["point"], trial["end"], trial["rounds"]
    status = ": ".join(filter(None, [end.get("status", "–"), end.get("reason", "")]))
    last = [f"{rounds[-1]['density']:.4g}", f"{worse(rounds[-1])[0]:+.2%}"] if rounds else ["–", "–"]
    return [point["name"], point["phase"], str(point["seed"]), status, str(len(rounds)), *last, trial["run"]]


def again(recorded: Recorded, wanted: Asked) -> Chapter:
    """Commands, code, data and seeds."""
    tags = [recorded.tags[trial["run"]] for trial in recorded.trials]
    told = {name: dict.fromkeys(t[name] for t in tags if t.get(name)) for name in ("mlflow.source.name", "lthray", "commit")}
    argv = ["python", "analysis/report.py", "--out", wanted.out, "--experiment", recorded.name]
    argv += ["--tracking-uri", wanted.tracking_uri] if wanted.tracking_uri else []
    argv += ["--call", wanted.call] if wanted.call else []
    text = ["The study:", *(f"    {redacted(line)}" for line in told["mlflow.source.name"])]
    text += ["This page:", f"    {redacted(shlex.join(argv))}"]
    rows = [["what", "value"], *([name, ", ".join(told[name])] for name in ("lthray", "commit"))]
    made = dict.fromkeys(
        ", ".join(f"{k} {v}" for k, v in r.get("made", {}).items()) for t in recorded.trials for r in t["rounds"]
    )
    rows += [["made with", line] for line in made if line]
    rows += [[f"data {name}", digest] for name, digest in sorted({tuple(t["point"]["data"]) for t in recorded.trials})]
    for phase in dict.fromkeys(trial["point"]["phase"] for trial in recorded.trials):
        seeds = sorted({trial["point"]["seed"] for trial in recorded.trials if trial["point"]["phase"] == phase})
        rows.append([f"seeds of {phase}", " ".join(map(str, seeds))])
    return Chapter("again", "How to make it again", sections=[Section("facts", "", text, rows)])


def main() -> int:
    """Write the pages and the index of all."""
    wanted = asked(Asked, sys.argv[1:], "python analysis/report.py", __doc__ or "")
    folder, known, written = Path(wanted.out) / "reports", analyses(), 0
    for name in [wanted.experiment] if wanted.experiment else experiments(wanted.uri):
        try:
            page = report(Recorded(wanted.uri, name), wanted, known)
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
