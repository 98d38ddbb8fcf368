"""Analyses read MLflow alone, say what is wrong in one line, leave tables, figures, sentences."""

import csv
import json
import math
import re
import runpy
import shutil
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import scipy
import torch
from PIL import Image
from statsmodels.stats.multitest import multipletests

from lthray.__main__ import main
from lthray.config.options import Root
from lthray.core.store import Store
from lthray.findings.sections import latex
from lthray.study.call import Call, resolve
from lthray.study.comparators import AGAIN, against, drawn, forked, longer
from lthray.study.ledger import DONE, Ledger
from lthray.study.page import Confirmation, Design, Grid, Search, Study
from lthray.study.queue import Queue
from lthray.study.space import Choice
from lthray.tracking.read import Recorded
from lthray.tracking.write import replay
from lthray.trial.run import run

from . import referee_frequency
from .conftest import TINY

CURVES = Path(__file__).parent.parent / "analysis" / "curves.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four recorded trials: two arms, two seeds."""
    place = tmp_path_factory.mktemp("root")
    words = [
        f"--{w}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for w, v in TINY.items()
    ]
    for control in ("none", "reinit"):
        for seed in ("0", "1"):
            argv = [
                "trial",
                *words,
                "--control",
                control,
                "--seed",
                seed,
                "--out",
                str(place / "runs"),
            ]
            assert main(argv) == 0
    shutil.rmtree(place / "runs/store")  # what an analysis says, it says from MLflow
    return place


def curves(monkeypatch, root: Path, *argv: str) -> int:
    monkeypatch.setattr("sys.argv", ["analysis/curves.py", "--out", str(root / "runs"), *argv])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(CURVES), run_name="__main__")
    return left.value.code


def test_curves_are_means_over_the_recorded_trials(monkeypatch, root, capsys):
    assert curves(monkeypatch, root, "--experiment", "trial.digits") == 0
    folder = root / "runs/reports/trial.digits"
    rows = list(csv.reader((folder / "loss_excess_by_control.csv").read_text().splitlines()))
    assert rows[0] == ["density", "control = none", "control = reinit"]
    assert [row[0] for row in rows[1:]] == ["1", "0.5", "0.2999"]
    found = Recorded(Root(out=str(root / "runs")).uri, "trial.digits").trials
    mine = [t.rounds[1].metrics["loss/excess"] for t in found if t.point.control == "reinit"]
    assert len(mine) == 2
    assert rows[2][2] == f"{statistics.mean(mine):.4f} ± {statistics.stdev(mine):.4f} (2)"
    assert "| density | control = none | control = reinit |" in capsys.readouterr().out
    assert (folder / "loss_excess_by_control.md").read_text().count("\n") == 5
    assert Image.open(folder / "loss_excess_by_control.png").size == (1050, 630)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["--experiment", "trial.digits", "--metrik", "x"],
            "--metrik: no such option; did you mean --metric?",
        ),
        (
            ["--experiment", "a.b", "--tracking-uri", "sqlite:////nix/mlflow.db"],
            "there is no /nix/mlflow.db",
        ),
        (["--experiment", "nosuch.digits"], "--experiment 'nosuch.digits': "),
        (["--experiment", "../../x"], "--experiment '../../x': study.preset"),
        (["--experiment", "trial.digits", "--by", "colour"], "--by 'colour': no word of a config"),
        (
            ["--experiment", "trial.digits", "--metric", "loss/none"],
            "--metric 'loss/none': recorded are cost/",
        ),
        (
            ["--experiment", "trial.digits", "--tracking-uri", "nix"],
            "--tracking-uri = 'nix': must begin with",
        ),
    ],
)
def test_bad_words_are_one_line(argv, said, monkeypatch, root, capsys):
    reports = sorted((root / "runs").rglob("*.csv"))
    assert curves(monkeypatch, root, *argv) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert sorted((root / "runs").rglob("*.csv")) == reports


# verdicts, surfaces, anatomy: of studies that are run here without Ray

WORDS = TINY | {"measure.samples": 0}
STUDIES = {
    "design": Design(
        name="design",
        about="How often?",
        seeds=(0, 1),
        space=lambda config: {"rewind.rule": Choice(("late", "init"))},
        arms=lambda config: drawn("shuffle", "reinit", draws=2, rungs=(1, 2)),
        negatives=lambda config: [{"rewind.rule": "random"}],
        words=WORDS,
    ),
    "rewind": Grid(
        name="rewind",
        about="Where to?",
        seeds=(0, 1, 2),
        points=lambda config: [
            {"rewind.rule": "init", "rewind.fraction": 0.0},
            {"rewind.fraction": 0.25},
            {"rewind.fraction": 0.5},
        ],
        arms=lambda config: [*against("reinit", "shuffle", rungs=(-1,)), *forked(-1)],
        references=lambda config: [AGAIN, longer(config)],
        words=WORDS
        | {"measure.sensitivity": True, "measure.perturbations": 1, "measure.connected": True},
    ),
    "plain": Grid(
        name="plain",
        about="?",
        seeds=(0,),
        points=lambda config: [{}, {"train.lr": 0.001}],
        words=WORDS,
    ),
    "search": Search(
        name="search",
        about="?",
        seeds=(0,),
        trials=1,
        space=lambda config: {"train.lr": Choice((0.004,))},
        words=WORDS,
    ),
}


def recorded_study(root: Path, page: Study, argv: Sequence[str] = (), skip: int = 0) -> None:
    """Run a study to its end, or all but the last trials of it, and record it."""
    record_call(root, page, resolve(page, argv), skip)


def record_call(root: Path, page: Study, call: Call, skip: int = 0) -> None:
    store = Store(root / "runs/store")
    about = {
        "study": page.name,
        "preset": "digits",
        "smoke": False,
        "question": page.about,
        "varied": [],
        "commit": "",
        "lthray": "",
    }
    ledger = Ledger.freeze(store, call.plan("x"), about | {"command": "python page.py"})
    queue = Queue(call, ledger)
    for words in ([{"train.lr": 0.004}] if call.space else queue.listed())[: -skip or None]:
        task = queue.task(words, 0.0)
        list(run(call.config_of(task.number, words), store, device="cpu"))
        ledger.finish(task.number, DONE)
    replay(store, Root(out=str(root / "runs")).uri, root / "runs/artifacts", ledger)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("studies")
    for page in STUDIES.values():
        recorded_study(root, page)
    return root


def page(monkeypatch, capsys, name: str, root: Path, *argv: str, code: int = 0) -> str:
    monkeypatch.setattr("sys.argv", [f"analysis/{name}.py", "--out", str(root / "runs"), *argv])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(CURVES.parent / f"{name}.py"), run_name="__main__")
    shown = capsys.readouterr()
    assert left.value.code == code, shown.err
    assert not code or shown.out == ""
    return shown.err if code else shown.out


def rows_of(root: Path, experiment: str, name: str) -> list[list[str]]:
    return list(
        csv.reader((root / "runs/reports" / experiment / f"{name}.csv").read_text().splitlines())
    )


def test_a_design_yields_frequencies_that_count_what_was_recorded(monkeypatch, capsys, studies):
    text = page(monkeypatch, capsys, "ticket_frequency", studies, "--experiment", "design.digits")
    assert "A design's frequency: for this space of recipes" in text
    head, *rows = rows_of(studies, "design.digits", "frequency")
    found = Recorded(Root(out=str(studies / "runs")).uri, "design.digits").trials
    excess: dict = defaultdict(dict)
    for t in found:
        config = t.point.config
        if config.get("rewind.rule") != "random":
            recipe = (config.get("rewind.rule"), t.point.seed)
            for r in t.rounds[1:]:
                arm = (t.point.control, config.get("draw", 0))
                excess[f"{r.density:.4g}", recipe][arm] = r.metrics["loss/excess"]
    assert len(excess) == 2 * 2 * 2  # two rungs, two recipes, two seeds
    counts: dict = defaultdict(int)
    for (density, _), arms in excess.items():
        assert len(arms) == 1 + 2 * 2
        d = arms["none", 0]
        best = {
            kind: all(d < arms[kind, draw] for draw in (1, 2)) for kind in ("shuffle", "reinit")
        }
        counts[density, "matches"] += d < 0.01
        counts[density, "best of shuffled"] += best["shuffle"]
        counts[density, "best of re-initialised"] += best["reinit"]
        counts[density, "best of both"] += all(best.values())
        counts[density, "wins"] += all(best.values()) and d < 0.01
    told = [dict(zip(head, row, strict=True)) for row in rows]
    assert {(row["density"], row["outcome"]): int(row["count"]) for row in told} == counts
    assert {row["of"] for row in told} == {"4"}
    assert {row["base rate"] for row in told} == {"0.33", "–"}
    names = [row[0] for row in rows_of(studies, "design.digits", "shares")[1:]]
    assert list(dict.fromkeys(names)) == ["all", "rewind.rule init", "rewind.rule late"]
    rules = {row[0] for row in rows_of(studies, "design.digits", "negatives")[1:]}
    assert rules == {"rewind.rule random"}
    folder = studies / "runs/reports/design.digits"
    for name in ("frequency.png", "frequency.tex", "frequency.txt", "survival.csv", "survival.png"):
        assert (folder / name).stat().st_size > 0
    assert list(referee_frequency.of_design(folder)) == []


def test_frequencies_by_a_word_of_the_config(monkeypatch, capsys, studies):
    by = ("--by", "rewind.rule", "prune.budget")
    page(monkeypatch, capsys, "ticket_frequency", studies, "--experiment", "design.digits", *by)
    head, *shares = rows_of(studies, "design.digits", "shares")
    assert head[:3] == ["recipes", "density", "of"]
    assert list(dict.fromkeys(row[0] for row in shares)) == [
        "all",
        "rewind.rule init",
        "rewind.rule late",
        "prune.budget overall",
    ]
    assert shares[-2:] == [["prune.budget overall", *row[1:]] for row in shares[:2]]
    assert [row[2] for row in shares] == ["4", "4", *["2"] * 4, "4", "4"]
    folder = studies / "runs/reports/design.digits"
    assert list(referee_frequency.of_design(folder, "rewind.rule")) == []
    names = {row[0] for row in rows_of(studies, "design.digits", "survival")[1:]}
    assert names <= {"init", "late", "init against late"}


def test_references_of_twice_the_steps_are_in_no_mean_over_dense_networks(
    monkeypatch, capsys, studies
):
    page(
        monkeypatch,
        capsys,
        "curves",
        studies,
        "--experiment",
        "rewind.digits",
        "--metric",
        "loss/heldout",
    )
    head, first, *_ = rows_of(studies, "rewind.digits", "loss_heldout_by_control")
    # three points, three seeds; nor are forks
    assert first[head.index("control = none")].endswith("(9)")


def test_a_list_gets_a_verdict_for_every_recipe(monkeypatch, capsys, studies):
    text = page(monkeypatch, capsys, "ticket_frequency", studies, "--experiment", "rewind.digits")
    head, *rows, chance = rows_of(studies, "rewind.digits", "verdict")
    assert chance[:4] == ["chance alone", "1", "1", "3"]
    assert [[row[0], row[1], row[3]] for row in rows] == [
        [f"overall {k}", d, "3"] for k in ("init", "late25%", "late50%") for d in ("0.5", "0.3")
    ]
    assert [row[-1] == "not tried" for row in rows] == [True, False] * 3
    assert "(3 seeds, fewer than 5)" in text
    assert "Twice the steps gain the dense network" in text
    assert head[-2:] == ["matches", "shows"]


def test_of_a_confirmed_search_only_the_confirmation_is_graded(monkeypatch, capsys, tmp_path):
    again = Confirmation(
        seeds=(11, 12),
        arms=lambda config: against("reinit", "shuffle"),
        references=lambda config, doublings: [],
        words={"measure.split": "test"},
    )
    page_of = replace(STUDIES["search"], confirm=again)
    search = resolve(page_of, [])
    record_call(tmp_path, page_of, search)
    record_call(tmp_path, page_of, search.confirmation([{"train.lr": 0.004}]))
    text = page(monkeypatch, capsys, "ticket_frequency", tmp_path)
    assert "seeds 11 12." in text
    assert "An adaptive search yields no frequency." in text
    assert {row[3] for row in rows_of(tmp_path, "search.digits", "verdict")[1:]} == {"2"}
    trials = json.loads((tmp_path / "runs/reports/search.digits/trials.json").read_text())
    assert {t["point"]["phase"] for t in trials} == {"confirm"}
    assert {t["point"]["config"]["measure.split"] for t in trials} == {"test"}


def test_every_claim_stands_by_itself_with_its_p_and_level(monkeypatch, capsys, studies):
    text = page(monkeypatch, capsys, "ticket_frequency", studies, "--experiment", "rewind.digits")
    rows = [
        dict(zip(head, row, strict=True))
        for head, *body in [rows_of(studies, "rewind.digits", "verdict_claims")]
        for row in body
    ]
    own = {f"{kind} own" for kind in ("matches", "better than", "beaten by")}
    # own ones at both rungs, the others where there are controls
    assert len([row for row in rows if row["claim"] in own]) == 3 * 2 * 3
    stable = [row["density"] for row in rows if row["claim"] == "stable"]
    assert stable == ["–"] * 3  # of a rewind point, not of a ticket
    controls = [
        row for row in rows if row["claim"] in ("better than shuffle", "better than reinit")
    ]
    assert {row["density"] for row in controls} == {"0.3"}
    assert len(controls) == 3 * 2
    found = Recorded(Root(out=str(studies / "runs")).uri, "rewind.digits").trials
    loss = {
        (t.point.control, t.point.seed): t.rounds[-1].metrics["loss/heldout"]
        for t in found
        if t.point.recipe == "overall init" and not t.point.fork
    }
    ratios = [math.log(loss["none", s] / loss["reinit", s]) for s in (0, 1, 2)]
    (row,) = (
        r for r in controls if (r["recipe"], r["claim"]) == ("overall init", "better than reinit")
    )
    assert row["mean"] == f"{statistics.fmean(ratios):+.4f}"
    assert row["p"] == f"{scipy.stats.ttest_1samp(ratios, 0, alternative='less').pvalue:.2g}"
    # all claims of the page are adjusted together, at what is left of the level
    adjusted = multipletests([float(row["p"]) for row in rows], method="holm")[1]
    assert [row["holds"] == "yes" for row in rows] == list(adjusted < 0.04)
    steps = [f"{0.04 / n:.2g}" for n in range(1, len(rows) + 1)]
    assert {row["level"] for row in rows} <= set(steps)
    assert all((float(row["bound"]) < float(row["margin"])) == (row["holds"] == "yes")
               for row in rows)  # fmt: skip
    assert f"All {len(rows)} claims of this page are one family (Holm, level 0.04, look 1" in text


def test_recipes_that_differ_in_more_than_the_rewind_point_have_no_surface(
    monkeypatch, capsys, studies
):
    text = page(monkeypatch, capsys, "rewinding", studies, "--experiment", "design.digits", code=2)
    assert text == "error: no recipes of one setting differ in the rewind point alone\n"


def test_an_adaptive_search_yields_no_frequency(monkeypatch, capsys, studies):
    text = page(monkeypatch, capsys, "ticket_frequency", studies, "--experiment", "search.digits")
    assert "An adaptive search yields no grade and no frequency" in text
    assert "\nRecorded: python page.py; " in text


BOUND = (*("architectures", "convergence", "report", "robustness", "search", "transfer", "width"),)
"""Pages with tests of their own, since trials of the studies here have nothing for them; and what
binds all pages."""
ANALYSES = sorted({path.stem for path in CURVES.parent.glob("*.py")} - set(BOUND))


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_says_when_with_what_and_on_which_machines(
    monkeypatch, capsys, studies, name
):
    unlike = "Measured on unlike machines (threads 1, 4): they differ by that, too."
    monkeypatch.setattr("lthray.tracking.read.machine_lines", lambda rounds: [unlike])
    monkeypatch.setattr("lthray.measure.speed.BLOCKS", 6)
    monkeypatch.setattr("lthray.measure.speed.LEAST", 0.001)
    text = page(monkeypatch, capsys, name, studies, "--experiment", "rewind.digits")
    told = re.findall(r"^Recorded: .*$", text, re.M)
    assert len(told) == 1
    for part in ("python page.py; ", "device cpu", "threads 1", "torch ", "data digits ", unlike):
        assert part in told[0]
    files = (studies / "runs/reports/rewind.digits").glob("*.txt")
    assert any(told[0] in path.read_text() for path in files)


def test_the_surface_and_its_barriers(monkeypatch, capsys, studies):
    text = page(monkeypatch, capsys, "rewinding", studies, "--experiment", "rewind.digits")
    assert rows_of(studies, "rewind.digits", "surface")[0] == [
        "density",
        "k = 0",
        "k = 0.25",
        "k = 0.5",
    ]
    head, *rows = rows_of(studies, "rewind.digits", "barriers")
    assert [row[0] for row in rows] == ["0", "0.25", "0.5"]
    assert head[1:] == ["dense, average", "dense, raw weights", "ticket at 0.3, average"]
    found = Recorded(Root(out=str(studies / "runs")).uri, "rewind.digits").trials
    mine = [
        t.rounds[1].metrics["barrier/ema"]
        for t in found
        if t.point.control == "dense" and t.point.config.get("rewind.fraction") == 0.5
    ]
    assert rows[2][1] == f"{statistics.fmean(mine):.4f} (max {max(mine):.4f}, 3)"
    counts = [row[1:5] for row in rows_of(studies, "rewind.digits", "stability")[1:]]
    assert all(sum(map(int, row)) == 9 for row in counts)
    assert "Is a stable anchor a matching one?" in text
    head, *rows = rows_of(studies, "rewind.digits", "connections")
    assert head[:2] == ["density", "barrier"]
    own = [
        t.rounds[-1].metrics["barrier/previous"]
        for t in found
        if t.point.control == "none" and not t.point.fork and len(t.rounds) > 1
    ]
    assert rows[-1][1] == f"{statistics.fmean(own):.4f} (max {max(own):.4f}, {len(own)})"
    assert all(sum(map(int, row[-6:-2])) == 9 for row in rows)
    assert "Does a ticket match that is connected?" in text


def test_the_anatomy_of_a_ticket(monkeypatch, capsys, studies):
    text = page(monkeypatch, capsys, "ticket_anatomy", studies, "--experiment", "rewind.digits")
    layers = rows_of(studies, "rewind.digits", "layers")
    found = [
        t
        for t in Recorded(Root(out=str(studies / "runs")).uri, "rewind.digits").trials
        if t.point.recipe == "overall init"
    ]
    mine = [t for t in found if t.point.is_ticket]
    assert layers[0] == ["layer", "0.5", "0.3"]
    for row in layers[1:]:
        assert (
            row[2]
            == f"{statistics.fmean(t.rounds[2].densities[row[0] + '.weight'] for t in mine):.4f}"
        )
    assert [row[1] for row in rows_of(studies, "rewind.digits", "masks")[1:]] == ["3", "3"]
    # chance, between seeds
    assert all(abs(float(row[2])) < 0.1 for row in rows_of(studies, "rewind.digits", "masks")[1:])
    kept, cut = map(float, re.findall(r"([\d.]+) of what is (?:kept|cut)", text))
    assert kept > cut  # after so few steps magnitudes are still the initial ones
    folder = studies / "runs/reports/rewind.digits"
    for name in ("layers", "initial", "timesteps", "sensitivity", "flatness", "learning"):
        assert Image.open(folder / f"{name}.png").size == (1050, 630)
    sharp = [row[3] for row in rows_of(studies, "rewind.digits", "flatness")]
    # measure.rounds: the dense one and the last
    assert [value == "–" for value in sharp[1:]] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "argv", "said"),
    [
        (
            "ticket_frequency",
            ["--experiment", "none.digits"],
            "--experiment 'none.digits': sqlite:",
        ),
        (
            "ticket_frequency",
            ["--experiment", "design.digits", "--call", "ffff"],
            "--call 'ffff': design.digits has ",
        ),
        (
            "ticket_frequency",
            ["--experiment", "design.digits", "--by", "rewind"],
            "--by 'rewind': no word of a config",
        ),
        ("rewinding", ["--experiment", "plain.digits"], "no recipes of one setting"),
        ("ticket_anatomy", ["--experiment", "none.digits"], "--experiment 'none.digits': sqlite:"),
        ("ticket_frequency", ["--out", "nowhere"], "--out: given twice"),
    ],
)
def test_what_an_analysis_cannot_use_is_one_line(monkeypatch, capsys, studies, name, argv, said):
    text = page(monkeypatch, capsys, name, studies, *argv, code=2)
    assert said in text
    assert text.count("\n") == 1


def test_a_server_that_is_not_there_is_one_line(monkeypatch, capsys, tmp_path):
    (tmp_path / "runs").mkdir()
    text = page(
        monkeypatch,
        capsys,
        "ticket_frequency",
        tmp_path,
        "--tracking-uri",
        "http://127.0.0.1:9",
        code=4,
    )
    assert text.startswith("error: ")
    assert text.count("\n") == 1


def test_a_study_that_still_runs_is_not_analysed(monkeypatch, capsys, tmp_path):
    recorded_study(tmp_path, STUDIES["plain"], skip=1)
    text = page(monkeypatch, capsys, "ticket_frequency", tmp_path, code=2)
    assert "1 of 2 trials are finished; the study goes on\n" in text
    assert not (tmp_path / "runs/reports").exists()
    recorded_study(tmp_path, STUDIES["plain"], ["--measure.images", "4"])
    text = page(monkeypatch, capsys, "ticket_frequency", tmp_path, code=2)
    other = re.search(r"the study goes on \(--call names another: ([0-9a-f]{12})\)", text)[1]
    page(monkeypatch, capsys, "ticket_frequency", tmp_path, "--call", other)


def test_calls_of_different_panels_are_not_averaged(monkeypatch, capsys, tmp_path):
    recorded_study(tmp_path, STUDIES["plain"])
    recorded_study(tmp_path, STUDIES["plain"], ["--measure.images", "4"])
    text = page(monkeypatch, capsys, "ticket_frequency", tmp_path, code=2)
    assert "several panels" in text
    call = re.search(r"--call: ([0-9a-f]{12})", text)[1]
    assert "one seed only" in page(
        monkeypatch, capsys, "ticket_frequency", tmp_path, "--call", call
    )


def test_of_runs_without_controls_nothing_is_shown(monkeypatch, capsys, tmp_path):
    recorded_study(tmp_path, STUDIES["plain"], ["--seeds", "0", "1", "2"])
    page(monkeypatch, capsys, "ticket_frequency", tmp_path)
    tables = sorted((tmp_path / "runs/reports/plain.digits").glob("verdict*[0-9t].csv"))
    told = [row.split(",")[-2:] for path in tables for row in path.read_text().splitlines()[1:]]
    assert {shown for _, shown in told} == {"not tried"}
    assert {matched for matched, _ in told} <= {"none", "own"}


def test_latex_is_escaped():
    text = latex([["a_b", "x"], ["50% & more", "1 ± 2"]])
    assert r"a\_b & x \\" in text
    assert r"50\% \& more & 1 $\pm$ 2 \\" in text
