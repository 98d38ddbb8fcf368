"""The page of a search: every trial is told, figures are of what was recorded, proposals can be
pasted, nothing is claimed, and what is no search is one line."""

import csv
import json
import re
import runpy
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from PIL import Image

from lthray.config.fields import ConfigError
from lthray.config.options import Root
from lthray.config.trial import TrialConfig
from lthray.core.store import Store
from lthray.core.ticket import TrialFailed
from lthray.findings import forests
from lthray.findings.front import ABOUT
from lthray.study.comparators import against
from lthray.study.ledger import Ledger
from lthray.study.page import Grid, Search
from lthray.study.results import ranked
from lthray.study.space import Choice, Range
from lthray.tracking.client import client
from lthray.tracking.read import Recorded
from lthray.tracking.write import replay

from .conftest import TINY
from .test_desk import opened
from .test_local import execute, failing
from .test_searched import LOST, walked  # noqa: F401

PAGE = runpy.run_path(str(Path(__file__).parent.parent / "analysis" / "search.py"))


def told(found) -> dict:
    """Return the sections of a search that was walked through, by name."""
    study = recorded(found)
    return {section.name.removeprefix("search_"): section for section in PAGE["sections"](study)}


def recorded(found, uri="sqlite:////elsewhere/mlflow.db") -> SimpleNamespace:
    command = "python studies/tried.py --trials 14 --seed 0"
    return SimpleNamespace(
        searched=lambda call: found.search,
        trials=found.trials,
        uri=uri,
        tags={trial.run: {"mlflow.source.name": command} for trial in found.trials},
        provenance=lambda trials: "Recorded.",
    )


@pytest.fixture(scope="module")
def made(walked):  # noqa: F811
    """The sections of the search that was walked through, by few forests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forests, "FORESTS", 2)
        patch.setattr(forests, "SHUFFLES", 2)
        yield told(walked)


def test_every_trial_is_ranked_with_its_words_its_end_and_what_was_spent(walked, made):  # noqa: F811
    head, *rows = made["ranking"].table
    assert head[7] == "excess at density 0.5"
    assert len(rows) == 14
    by_number = {int(row[1]): dict(zip(head, row, strict=True)) for row in rows}
    for trial in walked.trials:
        row = by_number[trial.number]
        for word, value in trial.point.words.items():
            shown = f"{value:.4g}" if isinstance(value, float) else value
            assert f"{word}={shown}" in row["words"].split()
        assert row["end"] == trial.status
        assert row["rungs"] == f"{max(len(trial.rounds) - 1, 0)} of 3"
        if trial.number != LOST:
            last = trial.rounds[-1].metrics
            assert row["last score"] == f"{last['loss/excess']:+.2%}"
            assert row["steps"] == str(last["cost/steps_spent"])
            assert row["seconds"] == str(2 * len(trial.rounds))
    assert rows[-1][:2] == ["–", str(LOST)]
    assert rows[-1][3:] == ["failed", "0 of 3", "–", "–", "–", "8", "2"]
    best = [trial.number for trial in ranked(walked.trials) if trial.number != LOST]
    assert [int(row[1]) for row in rows[:-1]] == best
    assert {row[3] for row in rows} == {"done", "stopped", "failed"}


def test_failures_are_told_and_the_winner_is_said_to_be_flattered(walked, made):  # noqa: F811
    text = made["ranking"].text
    ends = [trial.status for trial in walked.trials]
    counted = f"{ends.count('done')} done, {ends.count('stopped')} stopped at a rung, 1 failed."
    assert text[0] == f"14 trials on seed 0 1: {counted}"
    assert text[1] == "Trial 5 failed, and is no part of what follows: NonFinite: nan at step 3."
    assert "The best of 13 is flattered" in " ".join(text)
    assert "only a confirmation on fresh seeds is one" in " ".join(text)
    assert "would make the best look 0.17% better" in " ".join(text)  # 1.67 x 0.1 %
    assert text[-1] == "Recorded."


def test_nothing_on_the_page_is_a_claim(made):
    for section in made.values():
        assert not section.verdict
        for cell in [*section.text, *(cell for row in section.table for cell in row)]:
            assert "*" not in cell


def test_tables_are_optunas_numbers(walked, made):  # noqa: F811
    study = walked.search.study(2)
    rows = {row[0]: row[1:] for row in made["importances"].table[1:]}
    shares = [
        optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed)
        )
        for seed in (0, 1)
    ]
    ped = optuna.importance.get_param_importances(study)
    assert "prune.slope" not in shares[0]
    for word, share in shares[0].items():
        assert rows[word][0] == f"{np.mean([share, shares[1][word]]):.2f}"
        assert rows[word][3] == f"{ped[word]:.2f}"
    assert rows["prune.slope"] == ["–", "–", "–", f"{ped['prune.slope']:.2f}"]
    assert next(iter(rows)) == "prune.criterion"  # which was planted
    scores = walked.search.at(2)
    history = made["history"].table[1:]
    assert [float(row[2].rstrip("%")) for row in history] == pytest.approx(
        list(100 * np.minimum.accumulate(list(scores.values()))), abs=0.006
    )
    rows = made["parallel"].table
    for number, row in zip(scores, rows[1:], strict=True):
        words = dict(zip(rows[0][2:], row[2:], strict=True))
        drawn = walked.search.past[number].words
        assert {word for word, value in words.items() if value != "–"} == set(drawn)


def test_figures_are_there_and_only_of_words_that_enough_trials_have(walked, made):  # noqa: F811
    assert [name for name, section in made.items() if section.figure] == [
        *("history", "rungs", "importances", "slices_1"),
        *([name for name in made if name.startswith("slices_") and name != "slices_1"]),
        *("contour", "parallel"),
    ]
    assert made["contour"].title.startswith("Score by prune.criterion and ")
    drawn = sum("prune.slope" in past.words for past in walked.search.past.values() if past.scores)
    titles = " ".join(section.title for section in made.values())
    assert ("prune.slope" in titles) == (drawn >= PAGE["SEEN"])


def test_proposals_are_commands_of_the_next_draws(walked, made):  # noqa: F811
    section = made["next"]
    drawn = walked.search.proposals(3)
    assert [row[0] for row in section.table[1:]] == ["14", "15", "16"]
    commands = [line.strip() for line in section.text if line.startswith("    ")]
    assert commands[0] == "python studies/tried.py --seed 0 --trials 17"
    for line, (number, each) in zip(commands[1:], drawn.items(), strict=True):
        program, verb, *options = shlex.split(line)
        assert (program, verb) == ("lthray", "trial")
        words = parsed(options)
        assert words.pop("--out") == ["/elsewhere"]
        config = walked.search.config_of(number, each.words)
        flat = {word: str(value) for word, value in config.canonical().items()}
        assert set(words) == {f"--{word}" for word in flat}
        assert words["--train.lr"] == [flat["train.lr"]]
    forecast = forests.forecasts(walked.search.study(2), [each.words for each in drawn.values()])
    assert [row[2] for row in section.table[1:]] == [f"{mean:+.2%}" for mean in forecast.means]
    again = PAGE["proposed"](compared(walked), recorded(walked))
    assert again == section
    assert "better than the mean of the others" in " ".join(section.text)


def compared(found):
    return PAGE["Compared"](found.search, found.search.study(found.search.common))


def parsed(options: list[str]) -> dict[str, list[str]]:
    words: dict[str, list[str]] = {}
    for option in options:
        if option.startswith("--"):
            words[option] = []
        else:
            words[list(words)[-1]].append(option)
    return words


def test_of_few_trials_no_importance_is_told(walked, monkeypatch):  # noqa: F811
    monkeypatch.setitem(PAGE["sections"].__globals__, "NEEDED", 14)
    made = told(walked)
    assert made["importances"].text == [
        "13 trials were scored; for importances at least 14 are needed."
    ]
    assert "contour" not in made
    assert {tuple(row[2:]) for row in made["next"].table[1:]} == {("–", "–")}


# a search that was run and recorded

SMALL = Search(
    name="small",
    about="What works?",
    seeds=(0,),
    trials=4,
    startup=3,
    words=TINY | {"measure.samples": 0},
    space=lambda config: {
        "prune.criterion": Choice(("magnitude", "random")),
        "rewind.fraction": Range(0.1, 0.6),
    },
)
LISTED = Grid(
    name="listed",
    about="?",
    seeds=(0,),
    points=lambda config: [{}],
    arms=lambda config: against("reinit"),
    words=TINY | {"measure.samples": 0},
)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A root with a recorded search of four trials, of which the second failed, and a list."""
    place = tmp_path_factory.mktemp("searched")
    store = Store(place / "store")
    for page, errors in ((SMALL, [None, TrialFailed("nan at step 3")]), (LISTED, [])):
        call, ledger = opened(page, store)
        execute(call, ledger, failing(*errors))
        replay(store, Root(out=str(place)).uri, place / "artifacts", ledger)
    return place


def run_page(monkeypatch, capsys, name: str, root: Path, *argv: str, code: int = 0) -> str:
    monkeypatch.setattr("sys.argv", [f"analysis/{name}.py", "--out", str(root), *argv])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(
            str(Path(__file__).parent.parent / f"analysis/{name}.py"), run_name="__main__"
        )
    shown = capsys.readouterr()
    assert left.value.code == code, shown.err
    return shown.err if code else shown.out


def test_a_recorded_search_becomes_tables_pictures_and_a_page(monkeypatch, capsys, root):
    text = run_page(monkeypatch, capsys, "search", root, "--experiment", "small.digits")
    folder = root / "reports/small.digits"
    rows = list(csv.reader((folder / "search_ranking.csv").read_text().splitlines()))
    assert len(rows) == 5
    assert "Trial 1 failed" in text
    assert "nan at step 3" in text
    for name in ("history", "rungs", "slices_1", "parallel"):
        assert Image.open(folder / f"search_{name}.png").width > 700
    kept = json.loads((folder / "search_trials.json").read_text())
    assert {trial["point"]["phase"] for trial in kept} == {"search"}
    assert not (folder / "trials.json").exists()
    page = (folder / "search.html").read_text()
    assert page.count('class="plot drawn"') == 4
    assert page.count("Plotly.newPlot(box") == 1
    without_scripts = re.sub("<script>.*?</script>", "", page, flags=re.S)
    assert not re.search("https?:", without_scripts)
    found = Recorded(Root(out=str(root)).uri, "small.digits").searched()
    assert (found.space, found.seeds) == (SMALL.space(TrialConfig()), [0])


def test_the_report_of_a_search_has_its_page(monkeypatch, capsys, root):
    run_page(monkeypatch, capsys, "report", root, "--experiment", "small.digits")
    page = (root / "reports/small.digits/report.html").read_text()
    assert ABOUT.search(page)
    assert '<h2 id="search">Search</h2>' in page
    assert '<a href="#search-search_ranking">What was tried, best first</a>' in page
    drawn = list((root / "reports/small.digits/report/search").glob("*.svg"))
    assert len(drawn) == 4
    assert page.count('class="still"') > 4
    assert "<script" not in page


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--experiment", "listed.digits"], "no search is recorded there"),
        (["--experiment", "small.digits", "--call", "ffff"], "no search is recorded there"),
        (["--experiment", "other.digits"], "--experiment 'other.digits': "),
        (["--experiment", "small.digits", "--by", "x"], "--by: no such option"),
    ],
)
def test_what_is_no_search_is_one_line(monkeypatch, capsys, root, argv, said):
    text = run_page(monkeypatch, capsys, "search", root, *argv, code=2)
    assert said in text
    assert text.count("\n") == 1
    assert not (root / "reports/listed.digits").exists()


def test_runs_without_a_plan_are_told_and_record_adds_it(monkeypatch, capsys, root):
    uri = Root(out=str(root)).uri
    experiment = client(uri).get_experiment_by_name("small.digits")
    place = Path(experiment.artifact_location.removeprefix("file://"))
    plans = list(place.rglob("plan.json"))
    assert len(plans) == 4
    for plan in plans:
        plan.unlink()
    text = run_page(monkeypatch, capsys, "search", root, "--experiment", "small.digits", code=2)
    assert "`lthray record` adds it" in text
    store = Store(root / "store")
    for ledger in Ledger.all(store):
        replay(store, uri, root / "artifacts", ledger)
    assert len(list(place.rglob("plan.json"))) == 4
    assert Recorded(uri, "small.digits").searched().common >= 1


def test_several_searches_must_be_named(root, monkeypatch):
    found = Recorded(Root(out=str(root)).uri, "small.digits")
    call = found.trials[0].id[:12]
    other = [type(t)("b" * 16 + t.id[16:], t.point, t.end, t.rounds, t.run) for t in found.trials]
    found.trials += other
    with pytest.raises(ConfigError, match=rf"several searches .*--call {call}|{call}"):
        found.searched()
    assert len(found.searched(call).trials) == 4


def test_a_damaged_plan_is_one_line(root, monkeypatch):
    found = Recorded(Root(out=str(root)).uri, "small.digits")
    monkeypatch.setattr(found, "file", lambda trial, path: b'{"space": {"x": "print(1)"}}')
    with pytest.raises(ConfigError, match=r"damaged \('print\(1\)' is no dial"):
        found.searched()
