"""MLflow is a projection: recording twice changes nothing, an outage loses nothing, it refills."""

import base64
import contextlib
import http.server
import json
import math
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from lthray.config.fields import ConfigError
from lthray.core import metrics
from lthray.core.store import Store
from lthray.core.ticket_file import read_ticket
from lthray.findings.wording import told
from lthray.study.ledger import DONE, FAILED, Ledger
from lthray.study.queue import Queue
from lthray.study.results import trials
from lthray.tracking import views
from lthray.tracking.charts import Shown
from lthray.tracking.notes import Note
from lthray.tracking.read import Recorded
from lthray.tracking.write import Projector, Recorder, experiment_name, replay
from lthray.trial.run import run as run_trial

from .conftest import TINY
from .test_desk import LIST, opened, work_off

SAMPLED = {"measure.samples": "320", "measure.sampling_steps": "2"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with one call: three trials done, of which one sampled nothing, one failed."""
    root = tmp_path_factory.mktemp("made")
    store = Store(root / "store")
    call, ledger = opened(
        LIST, store, *(text for word, value in SAMPLED.items() for text in (f"--{word}", value))
    )
    work_off(call, ledger, store, last=2)
    ledger.finish(3, FAILED, "NonFinite: nan at step 3", trace="Traceback: here")
    return store, ledger


def uri_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def contents(uri: str, view: int = ViewType.ALL) -> dict:
    """Everything that MLflow holds, but for its own random ids; `view`: what is in its bin too."""
    client, found = MlflowClient(uri), {}
    for experiment in client.search_experiments():
        if experiment.name == "Default":
            continue
        runs, tags = {}, dict(experiment.tags)
        if note := tags.get("mlflow.note.content"):
            place = f"#/experiments/{experiment.experiment_id}/"
            tags["mlflow.note.content"] = note.replace(place, "#/experiments/ID/")
        for run in client.search_runs([experiment.experiment_id], run_view_type=view):
            history = {
                name: [
                    (m.step, m.timestamp, m.value)
                    for m in client.get_metric_history(run.info.run_id, name)
                ]
                for name in run.data.metrics
            }
            files = {
                str(p.relative_to(place)): p.read_bytes()
                for place in [Path(run.info.artifact_uri.removeprefix("file://"))]
                for p in sorted(place.rglob("*"))
                if p.is_file()
            }
            times = (run.info.start_time, run.info.end_time, run.info.status, run.info.run_name)
            inputs = [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs]
            key = run.data.tags.get("lthray.trial", run.info.run_id)
            assert key not in runs, "two runs of one trial"
            runs[key] = (run.data.params, run.data.tags, history, files, times, inputs)
        found[experiment.name] = (tags, runs)
    return found


@pytest.fixture(scope="module")
def recorded(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    assert replay(made[0], uri_of(folder), folder / "artifacts", sentences=told) == 4
    return folder, contents(uri_of(folder))


def test_one_experiment_a_study_and_one_top_level_run_a_trial(recorded, made):
    (name, (tags, runs)) = next(iter(recorded[1].items()))
    assert name == "list.digits"
    question, _, verdict = tags["mlflow.note.content"].partition("\n\n## Latest verdict\n\n")
    places = [views.place("ID", view) for view in (views.VIEW, views.RUNS)]
    assert question == f"Another. · [Charts]({places[0]}) · [Runs]({places[1]})"
    assert "* overall late25% (2 seeds, fewer than 5)" in verdict
    assert "verdict at this training budget" in verdict
    assert len(runs) == 4
    for params, run_tags, *_ in runs.values():
        assert "mlflow.parentRunId" not in run_tags
        assert run_tags["study"] == "list"
        assert {
            "call",
            "phase",
            "seed",
            "control",
            "arm",
            "curve",
            "key",
            "commit",
            "status",
            "mlflow.note.content",
        } <= run_tags.keys()
        assert params["prune.criterion"] in ("magnitude", "random")
        assert params["train.steps"] == "8"
    assert {run[4][2] for run in runs.values()} == {"FINISHED", "FAILED"}


def test_every_round_is_there_with_its_metrics_at_its_step_and_its_own_time(recorded, made):
    store, ledger = made
    _, runs = recorded[1]["list.digits"]
    assert len(runs) == len(list(trials(store, ledger))) > 1
    for trial in trials(store, ledger):
        _, _, history, files, _, inputs = runs[trial.id]
        assert inputs == [("digits", trial.point.data[1][:32])]
        for r in trial.rounds:
            for name, value in r.metrics.items():
                assert (r.index, int(1000 * r.created), value) in history[name]
            place = f"rounds/{r.index:02d}"
            facts = json.loads(files[f"{place}/round.json"])
            assert facts["metrics"] == r.metrics
            assert facts["densities"] == r.densities
            assert facts["keys"] == r.keys
            assert facts == json.loads(json.dumps(r.facts))
            if r.index:
                assert files[f"{place}/ticket.safetensors"] == r.files["ticket"]
        summary = json.loads(files["trial.json"])
        assert [s["index"] for s in summary["rounds"]] == [r.index for r in trial.rounds]
        assert b"torch==" in files["requirements.txt"]
        assert json.loads(files["config.json"])["train.steps"] == 8


def test_a_recorded_ticket_can_be_read(recorded, made):
    store, ledger = made
    trial = next(iter(trials(store, ledger)))
    files = recorded[1]["list.digits"][1][trial.id][3]
    data = files["rounds/01/ticket.safetensors"]
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    shapes = json.loads(header["__metadata__"]["lthray"])["shapes"]
    ticket, facts = read_ticket(data, shapes)
    assert ticket.mask.densities == trial.rounds[1].densities
    assert facts["weights"] == trial.rounds[1].keys["weights"]


def test_failures_leave_their_reason_and_traceback(recorded, made):
    _, runs = recorded[1]["list.digits"]
    _, tags, history, files, _, _ = next(run for run in runs.values() if run[4][2] == "FAILED")
    assert files["traceback.txt"] == b"Traceback: here"
    assert "NonFinite: nan at step 3" in tags["mlflow.note.content"]
    assert [step for step, _, _ in history["loss/excess"]] == [0]  # what was recorded before stays


def test_pictures_are_where_the_image_grid_looks_for_them(recorded, made):
    _, runs = recorded[1]["list.digits"]
    finished = [run for run in runs.values() if run[4][2] == "FINISHED"]
    assert len(finished) > 0
    for _, tags, _, files, _, _ in finished:
        pictures = sorted(name for name in files if name.startswith("images/"))
        assert len(pictures) == 6  # a PNG and a small copy at rounds 0 and 2, and of the last
        assert tags["mlflow.loggedImages"] == "true"
        stems = [name.removeprefix("images/").partition("+timestamp")[0] for name in pictures]
        places = ["samples_ddim+step+0", "samples_ddim+step+2", "samples_ddim_last+step+0"]
        assert stems == sorted([*places, *places])
        assert files[pictures[5]] == files[pictures[3]]  # the PNG of round 2


def test_recording_twice_changes_nothing(recorded, made):
    folder, before = recorded
    replay(made[0], uri_of(folder), folder / "artifacts", sentences=told)
    assert contents(uri_of(folder)) == before


def test_an_empty_mlflow_is_filled_to_the_same_contents(recorded, made, tmp_path):
    replay(made[0], uri_of(tmp_path), tmp_path / "artifacts", sentences=told)
    assert contents(uri_of(tmp_path)) == recorded[1]


def test_a_recording_cut_anywhere_and_done_again_ends_the_same(
    recorded, made, tmp_path, monkeypatch
):
    real, calls = MlflowClient.log_batch, []

    def failing(self, *args, **kwargs):
        calls.append(1)
        if len(calls) % 3 == 0:
            raise ConnectionError("gone")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", failing)
    for _ in range(40):
        try:
            replay(made[0], uri_of(tmp_path), tmp_path / "artifacts", sentences=told)
            break
        except ConnectionError:
            continue
    assert len(calls) > 6
    assert contents(uri_of(tmp_path)) == recorded[1]


def test_a_trial_is_recorded_as_it_grows(tmp_path):
    store = Store(tmp_path / "store")
    call, ledger = opened(LIST, store)
    queue = Queue(call, ledger)
    job = queue.task(queue.listed()[0], 0.0)
    recorder = Recorder(uri_of(tmp_path), tmp_path / "artifacts")

    def seen() -> tuple[int, str]:
        for trial in trials(store, ledger):
            recorder.record(trial, ledger.about)
        (run,) = recorder.client.search_runs([recorder.experiment(ledger.about)])
        return len(
            recorder.client.get_metric_history(run.info.run_id, "loss/excess")
        ), run.data.tags["status"]

    assert seen() == (0, "unfinished")
    rounds = run_trial(call.config_of(job.number, call.point(0)), store, device="cpu")
    next(rounds)
    assert seen() == (1, "unfinished")
    list(rounds)
    assert seen() == (3, "unfinished")
    ledger.finish(0, DONE)
    assert seen() == (3, "done")
    client, recorder.client = recorder.client, None  # what has not changed asks MLflow nothing
    (trial,) = trials(store, ledger)
    recorder.record(trial, ledger.about)
    recorder.forget()
    with pytest.raises(AttributeError):
        recorder.record(trial, ledger.about)
    recorder.client = client
    assert seen() == (3, "done")


def test_trials_that_have_not_begun_have_no_run_yet(tmp_path):
    """All trials of a list are given out together; a run for each of thousands would look busy."""
    store = Store(tmp_path / "store")
    call, ledger = opened(LIST, store)
    jobs = list(Queue(call, ledger).jobs(0.0))
    uri, artifacts = uri_of(tmp_path), tmp_path / "artifacts"
    experiment = Recorder(uri, artifacts).experiment(ledger.about)

    def runs() -> list[str]:
        assert replay(store, uri, artifacts) == len(ended)
        client = Recorder(uri, artifacts).client
        return sorted(run.data.tags["lthray.trial"] for run in client.search_runs([experiment]))

    ended: list[int] = []
    assert len(jobs) == len(ledger.numbers) == 4
    assert runs() == []
    next(run_trial(call.config_of(jobs[1].number, call.point(1)), store, device="cpu"))
    begun = [trial.id for trial in trials(store, ledger) if trial.rounds]
    assert 1 <= len(begun) < 4
    assert runs() == begun
    ledger.finish(jobs[3].number, FAILED, "out of memory")
    ended.append(jobs[3].number)
    assert runs() == sorted({*begun, list(trials(store, ledger))[3].id})


def test_studies_presets_and_smoke_runs_are_separate_experiments():
    about = {"study": "s", "preset": "mnist", "smoke": False}
    assert experiment_name(about) == "s.mnist"
    assert experiment_name(about | {"smoke": True}) == "s.mnist.smoke"


# outages


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def server(folder: Path, port: int) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    place = [
        "--backend-store-uri",
        uri_of(folder),
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        *place,
    ]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def test_a_server_that_is_away_at_first_gets_everything_when_it_comes(made, tmp_path):
    store, ledger = made
    port = free_port()
    projector = Projector(
        store, ledger, f"http://127.0.0.1:{port}", tmp_path / "artifacts", every=0.2
    )
    projector.start()
    time.sleep(4)
    assert projector.behind
    process = server(tmp_path / "server", port)
    try:
        assert projector.close(patience=120) is None
        client = MlflowClient(f"http://127.0.0.1:{port}")
        runs = client.search_runs([projector.experiment])
        assert len(runs) == 4
        assert sorted(
            len(client.get_metric_history(r.info.run_id, "loss/excess")) for r in runs
        ) == [1, 3, 3, 3]
        assert {f.path for f in client.list_artifacts(runs[-1].info.run_id)} >= {
            "rounds",
            "trial.json",
            "config.json",
        }
    finally:
        os.killpg(process.pid, signal.SIGKILL)


class Stuck(http.server.BaseHTTPRequestHandler):
    """A server that takes every request and never answers."""

    def do_GET(self):
        time.sleep(60)

    do_POST = do_GET

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("kind", ["down", "stuck", "database locked"])
def test_an_mlflow_that_does_not_answer_holds_nothing_up(made, tmp_path, kind):
    store, ledger = made
    uri = f"http://127.0.0.1:{free_port()}"
    if kind == "stuck":
        stuck = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stuck)
        stuck.daemon_threads = True
        threading.Thread(target=stuck.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{stuck.server_port}"
    elif kind == "database locked":
        uri = uri_of(tmp_path)
        Recorder(uri, tmp_path / "artifacts")
        holder = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
    projector = Projector(store, ledger, uri, tmp_path / "artifacts", every=0.2)
    began = time.monotonic()
    projector.start()
    assert time.monotonic() - began < 0.5  # starting it costs the study nothing
    assert projector.close(patience=3)  # it says what is in the way
    assert time.monotonic() - began < 5


# the chart page


def state_of(text: str) -> dict:
    """The state of the chart page in the tag of a view."""
    view = json.loads(text)
    return json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))


def drawn_in(state: dict) -> list[dict]:
    """The charts that are seen: MLflow keeps those that were deleted, too."""
    return [chart for chart in state["compareRunCharts"] if not chart["deleted"]]


def test_the_views_have_charts_for_what_was_recorded_and_fit_a_tag(recorded, made):
    tags, runs = recorded[1]["list.digits"]
    recorded_names = {name for _, _, history, *_ in runs.values() for name in history}
    for view in (views.VIEW, views.RUNS):
        text = tags[f"mlflow.sharedViewState.{view}"]
        assert len(text) < 5000
        state = state_of(text)
        charts = state["compareRunCharts"]
        sections = {s["uuid"] for s in state["compareRunSections"]}
        assert {c["metricSectionId"] for c in charts} == sections
        assert len({c["uuid"] for c in charts}) == len(charts)
        # MLflow would make a chart of its own for any metric that is not named here
        assert recorded_names <= {c.get("metricKey") for c in charts}
    curves = state_of(tags[f"mlflow.sharedViewState.{views.VIEW}"])
    lines = {c["metricKey"]: c for c in drawn_in(curves)}
    assert {c["type"] for c in lines.values()} == {"LINE"}
    assert lines["loss/excess"]["selectedXAxisMetricKey"] == "density/halvings"
    assert lines["loss/excess"]["selectedMetricKeys"] == ["loss/excess", "ticket/margin"]
    assert "quality/ddim/kid_lenet" in lines
    assert "cost/prunable" not in lines  # it never changes
    state = state_of(tags[f"mlflow.sharedViewState.{views.RUNS}"])
    shown = {c["type"]: c for c in drawn_in(state)}
    assert shown["PARALLEL"]["selectedParams"] == ["prune.criterion", "seed"]
    assert shown["IMAGE"] | {"imageKeys": ["samples_ddim_last"], "step": 0} == shown["IMAGE"]
    gone = [c for c in state["compareRunCharts"] if c["type"] == "IMAGE" and c["deleted"]]
    assert [c["imageKeys"] for c in gone] == [["samples_ddim"]]


def test_seeds_are_one_curve_with_a_band_and_the_table_lists_every_run(recorded):
    tags, runs = recorded[1]["list.digits"]
    curves = state_of(tags[f"mlflow.sharedViewState.{views.VIEW}"])
    table = state_of(tags[f"mlflow.sharedViewState.{views.RUNS}"])
    assert curves["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "curve"}]
    names = {run_tags["curve"] for _, run_tags, *_ in runs.values()}
    assert curves["groupsExpanded"] == {f"tag.curve.{name}": False for name in names}
    assert table["groupBy"] is None
    columns = [name.split("`")[1] for name in table["selectedColumns"]]
    wanted = ["recipe", "arm", "seed", "density/prunable", "loss/excess", "grade", "status"]
    assert columns == [*wanted, "prune.criterion"]


@pytest.mark.parametrize(
    ("runs", "is_grouped", "order"),
    [
        ([("a", 0), ("a", 1)], True, "attributes.start_time"),
        ([("a", 0), ("b", 0), ("c", 1)], False, "attributes.start_time"),
        ([("a", 0), ("a", 1), ("b", 0)], True, "attributes.start_time"),
        ([("a", 0), ("a", 1), ("b", 0), ("c", 0)], False, "attributes.start_time"),
        ([("a", seed) for seed in range(101)], True, "tags.`seed`"),
        ([(f"recipe {n}", 0) for n in range(101)], False, "attributes.start_time"),
        ([], False, "attributes.start_time"),
    ],
)
def test_curves_are_grouped_where_seeds_repeat_and_a_page_of_them_has_every_arm(
    runs, is_grouped, order
):
    shown = Shown()
    for curve, seed in runs:
        shown = shown.with_run(curve, seed)
    assert shown.repeats is is_grouped
    state = state_of(dict(views.tags(shown, []))[f"mlflow.sharedViewState.{views.VIEW}"])
    assert (state["groupBy"] is not None, state["orderByKey"]) == (is_grouped, order)


def test_every_run_has_what_charts_need_and_tickets_their_grade(recorded, made):
    _, runs = recorded[1]["list.digits"]
    for trial in trials(*made):
        _, tags, history, *_ = runs[trial.id]
        halvings = {step: value for step, _, value in history["density/halvings"]}
        exact = {r.index: -math.log2(r.density) for r in trial.rounds}
        assert halvings == pytest.approx(exact, abs=1e-4)
        assert tags["arm"] == "ticket"
        assert f"{tags['curve']} s{tags['seed']}" == tags["mlflow.runName"]
        assert tags["grade"].startswith("matches ")
        assert tags["grade"].endswith("; controls: not tried")
        assert ("ticket/margin" in history) == (len(trial.rounds) > 1)


NOTES = [
    Note("What?"),
    Note("What?", ("It is so.", "By 1%."), "python x.py --out a"),
    Note("What is it? More.\n\n    python x.py\n\nWhy.", ("It is.",), "lthray trial"),
    Note("What?\nTwo lines.\n\nAnd more."),
]


@pytest.mark.parametrize("note", NOTES)
def test_a_note_is_read_as_it_was_written(note):
    links = [("Charts", views.place("7")), ("Runs", views.place("7", views.RUNS))]
    for text in (note.text(), note.text(links)):
        assert Note.of(text) == note
    first, _, _ = note.text(links).partition("\n\n")
    assert first.endswith(f"[Runs]({views.place('7', views.RUNS)})")


def test_a_note_of_an_older_lthray_is_read():
    text = "What?\n\nMore of it.\n\n## Latest verdict\n\n* It is so.\n* By 1%."
    assert Note.of(text) == Note("What?\n\nMore of it.", ("It is so.", "By 1%."))


def test_a_verdict_that_is_too_long_for_a_tag_says_how_much_it_leaves_out():
    told_long = tuple(f"{n} " + "x" * 1000 for n in range(40))
    text = Note("What?", told_long, "python x.py").text()
    assert len(text) < 20_000
    left = 40 - len(re.findall(r"^\* \d+ x", text, re.M))
    assert f"* {left} more sentences: `python analysis/report.py`" in text


def test_charts_walk_what_was_recorded_whatever_the_sampler():
    names = {
        "loss/excess",
        "loss/heldout",
        "loss/train",
        "loss/t050",
        "density/prunable",
        "own/number",
    }
    names |= {"quality/heun/kid_inception", "quality/heun/memorised", "quality/lost"}
    shown = Shown().beside(names, {"samples_heun"}, 0)
    state = state_of(dict(views.tags(shown, ["seed"]))[f"mlflow.sharedViewState.{views.VIEW}"])
    charts = drawn_in(state)
    lines = {
        chart["metricKey"]: chart["displayName"] for chart in charts if chart["type"] == "LINE"
    }
    assert lines == {
        "loss/excess": metrics.EXCESS.label,
        "quality/lost": metrics.LOST.label,
        "quality/heun/kid_inception": "KID heun inception",
        "loss/heldout": metrics.HELDOUT.label,
        "loss/train": metrics.TRAIN.label,
        "loss/t050": "held-out loss from timestep 050 on",
    }
    scores = [chart["selectedMetrics"] for chart in charts if chart["type"] == "PARALLEL"]
    assert scores == [["loss/heldout"]]  # there is no rung yet
    assert [chart["imageKeys"] for chart in charts if chart["type"] == "IMAGE"] == [
        ["samples_heun_last"]
    ]
    assert "tags.`seed`" in state["selectedColumns"]


def test_the_link_names_the_view():
    assert views.link("http://h:5000/", "7") == (
        "http://h:5000/#/experiments/7/runs?compareRunsMode=CHART&workflowType=machine_learning"
        "&viewStateShareKey=lthray-tickets"
    )


def test_the_ledger_alone_is_enough_to_record(made, tmp_path):
    """Recording asks for no data set: a store can be copied to where MLflow is."""
    assert TINY["measure.samples"] == 0
    (ledger,) = Ledger.all(made[0])
    assert replay(made[0], uri_of(tmp_path), tmp_path / "artifacts", only=ledger) == 4


# what was deleted or damaged in MLflow


@pytest.fixture
def again(recorded, made, tmp_path, capsys, caplog):
    """A copy of the recorded MLflow, its client, and what records into it once more."""
    import shutil

    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()  # by run, and this copy has the same runs elsewhere
    folder = tmp_path / "copy"
    shutil.copytree(recorded[0], folder)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            moved = f"replace({column}, '{recorded[0]}', '{folder}')"
            database.execute(f"UPDATE {table} SET {column} = {moved}")
        database.commit()
    client = MlflowClient(uri_of(folder))

    def record() -> int:
        return replay(made[0], uri_of(folder), folder / "artifacts", sentences=told)

    return folder, client, record


def run_ids(client: MlflowClient) -> list[str]:
    (experiment,) = (e for e in client.search_experiments() if e.name == "list.digits")
    return [run.info.run_id for run in client.search_runs([experiment.experiment_id])]


def test_a_deleted_experiment_is_restored(again, recorded, caplog):
    folder, client, record = again
    client.delete_experiment(client.get_experiment_by_name("list.digits").experiment_id)
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    assert record() == 4
    assert contents(uri_of(folder)) == recorded[1]
    assert "list.digits was deleted in MLflow; it is restored" in caplog.text


def test_an_experiment_that_cannot_be_restored_is_made_anew_and_that_is_said(
    again, recorded, caplog, monkeypatch
):
    folder, client, record = again
    client.delete_experiment(client.get_experiment_by_name("list.digits").experiment_id)

    def forbidden(self, experiment_id):
        raise MlflowException("Permission denied")

    monkeypatch.setattr(MlflowClient, "restore_experiment", forbidden)
    for _ in range(2):
        assert record() == 4
    assert "cannot be restored (MlflowException); recorded as list.digits.2" in caplog.text
    found = contents(uri_of(folder))
    assert list(found) == ["list.digits.2"]
    assert found["list.digits.2"][1] == recorded[1]["list.digits"][1]
    assert Recorded(uri_of(folder)).name == "list.digits.2"
    with pytest.raises(ConfigError, match=r"mlflow.db has list.digits.2$"):
        Recorded(uri_of(folder), "list.digits")


def test_deleted_runs_files_and_tags_come_back(again, recorded, caplog):
    import shutil

    folder, client, record = again
    first, second, third, fourth = sorted(run_ids(client))
    client.delete_run(first)
    shutil.rmtree(folder / "artifacts" / "list.digits" / second)
    for name in ("rounds/00", "images"):
        shutil.rmtree(folder / "artifacts" / "list.digits" / third / "artifacts" / name)
    (cut,) = (folder / "artifacts" / "list.digits" / fourth).rglob("trial.json")
    cut.write_bytes(cut.read_bytes()[:-1])
    client.delete_tag(fourth, "status")
    client.delete_tag(fourth, "recipe")
    assert record() == 4
    assert client.get_run(first).info.lifecycle_stage == "deleted"
    experiment = client.get_experiment_by_name("list.digits")
    active = client.search_runs([experiment.experiment_id])
    assert len(active) == 4
    wanted = recorded[1]["list.digits"][1]
    for run in active:
        place = Path(run.info.artifact_uri.removeprefix("file://"))
        files = {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        key = run.data.tags["lthray.trial"]
        assert files == wanted[key][3]
        assert run.data.tags == wanted[key][1]
    assert "files were not in MLflow as they are stored; sent" in caplog.text


def test_an_emptied_bin_and_no_artifacts_at_all(again, recorded):
    import shutil

    folder, _, record = again
    shutil.rmtree(folder / "artifacts")
    assert record() == 4
    assert contents(uri_of(folder)) == recorded[1]


# every thing that is recorded, deleted by MLflow's own means


def garbage(folder: Path, *argv: str) -> None:
    """Empty MLflow's bin for good, as `mlflow gc` does."""
    from click.testing import CliRunner
    from mlflow.cli import gc

    place = ["--backend-store-uri", uri_of(folder), "--tracking-uri", uri_of(folder)]
    done = CliRunner().invoke(gc, [*place, *argv])
    mlflow.set_tracking_uri(None)  # of the whole process
    assert done.exit_code == 0, done.exception


def digits(client: MlflowClient) -> str:
    return client.get_experiment_by_name("list.digits").experiment_id


def without_the_experiment(folder: Path, client: MlflowClient, runs: list[str]) -> None:
    client.delete_experiment(digits(client))


def without_the_experiment_for_good(folder: Path, client: MlflowClient, runs: list[str]) -> None:
    experiment = digits(client)
    client.delete_experiment(experiment)
    garbage(folder, "--experiment-ids", experiment)
    assert client.get_experiment_by_name("list.digits") is None


def without_its_tags(folder: Path, client: MlflowClient, runs: list[str]) -> None:
    for name in client.get_experiment(digits(client)).tags:
        client.delete_experiment_tag(digits(client), name)
    assert not client.get_experiment(digits(client)).tags


def without_a_run_for_good(folder: Path, client: MlflowClient, runs: list[str]) -> None:
    client.delete_run(runs[0])
    garbage(folder, "--run-ids", runs[0])


def without_any_run(folder: Path, client: MlflowClient, runs: list[str]) -> None:
    for run in runs:
        client.delete_run(run)


def without_the_tags_of_runs(folder: Path, client: MlflowClient, runs: list[str]) -> None:
    for run in runs:
        for name in client.get_run(run).data.tags:
            client.delete_tag(run, name)


def without_artifacts(folder: Path, client: MlflowClient, runs: list[str]) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    for run in runs:
        get_artifact_repository(client.get_run(run).info.artifact_uri).delete_artifacts()


def with_a_run_that_was_made_twice(folder: Path, client: MlflowClient, runs: list[str]) -> None:
    """Restoring an experiment brings back all its runs, also one that was made again since."""
    run = client.get_run(runs[0])
    tags = {"lthray.trial": run.data.tags["lthray.trial"]}
    words = {"start_time": run.info.start_time, "run_name": run.info.run_name, "tags": tags}
    client.delete_run(client.create_run(run.info.experiment_id, **words).info.run_id)
    client.delete_experiment(run.info.experiment_id)


DELETIONS = [
    without_the_experiment,
    without_the_experiment_for_good,
    without_its_tags,
    without_a_run_for_good,
    without_any_run,
    without_the_tags_of_runs,
    without_artifacts,
    with_a_run_that_was_made_twice,
]


@pytest.mark.parametrize("deletion", DELETIONS)
def test_whatever_is_deleted_in_mlflow_is_there_again_and_once(again, recorded, deletion):
    folder, client, record = again
    deletion(folder, client, run_ids(client))
    assert contents(uri_of(folder), ViewType.ACTIVE_ONLY) != recorded[1]
    assert record() == 4
    assert contents(uri_of(folder), ViewType.ACTIVE_ONLY) == recorded[1]
    assert len(Recorded(uri_of(folder), "list.digits").trials) == 4


def test_what_an_older_lthray_recorded_gets_the_new_views(again, recorded):
    folder, client, record = again
    new = ("arm", "curve", "grade", "mlflow.source.type")
    for run in run_ids(client):
        for name in new:
            with contextlib.suppress(MlflowException):
                client.delete_tag(run, name)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        for table in ("metrics", "latest_metrics"):
            database.execute(
                f"DELETE FROM {table} WHERE key IN ('density/halvings', 'ticket/margin')"
            )
        database.commit()
    experiment = client.get_experiment_by_name("list.digits")
    told_then = "Another.\n\n## Latest verdict\n\n* It was so."
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", told_then)
    client.delete_experiment_tag(experiment.experiment_id, f"mlflow.sharedViewState.{views.RUNS}")
    assert Recorded(uri_of(folder)).question == "Another."
    assert record() == 4
    assert contents(uri_of(folder)) == recorded[1]
    assert Recorded(uri_of(folder)).question == "Another."


def test_what_a_user_adds_to_a_note_stays(again):
    _, client, record = again
    experiment = client.get_experiment_by_name("list.digits")
    note = experiment.tags["mlflow.note.content"] + "\n\nMy own remark."
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", note)
    assert record() == 4
    experiment = client.get_experiment_by_name("list.digits")
    assert experiment.tags["mlflow.note.content"] == note


def test_a_verdict_names_the_command_that_made_it_without_its_secrets(again, made):
    folder, client, _ = again
    about = made[1].about | {"command": "python x.py --tracking-uri http://me:secret@host"}
    Recorder(uri_of(folder), folder / "artifacts").verdict(about, ["It is so."], {})
    note = client.get_experiment_by_name("list.digits").tags["mlflow.note.content"]
    assert note.endswith("* It is so.\n\nMade by\n\n    python x.py --tracking-uri http://***@host")


def test_nothing_is_recorded_as_a_model(again):
    """A model of MLflow holds code that runs where it is loaded; tickets are files of tensors."""
    folder, client, _ = again
    experiments = [found.experiment_id for found in client.search_experiments()]
    assert list(client.search_logged_models(experiments)) == []
    assert list(client.search_registered_models()) == []
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        for table in ("logged_models", "registered_models", "model_versions"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    endings = {path.suffix for path in (folder / "artifacts").rglob("*") if path.is_file()}
    assert endings == {".json", ".png", ".safetensors", ".txt", ".webp"}


def test_a_trial_that_is_recorded_twice_is_read_once(again, recorded):
    """Whoever restores a run that was made again must not count one seed as two."""
    folder, client, record = again
    (first, *_) = run_ids(client)
    client.delete_run(first)
    assert record() == 4
    client.restore_run(first)
    assert len(run_ids(client)) == 5
    assert len(Recorded(uri_of(folder), "list.digits").trials) == 4
    assert record() == 4
    assert len(run_ids(client)) == 4


DAMAGES = {
    "not a database": (b"not a database at all" * 100, "not a database"),
    "cut in half": (0.5, "malformed"),
    "zeros": (b"\0" * 8192, "not a database"),
    "locked": (1.0, "database is locked; another process holds it"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_database_that_cannot_be_used_is_one_line_with_what_to_do(
    again, capsys, monkeypatch, name
):
    from lthray.__main__ import main
    from lthray.config import options
    from lthray.tracking import client as tracking_client

    folder, _, _ = again
    damage, said = DAMAGES[name]
    place = folder / "mlflow.db"
    data = place.read_bytes()
    place.unlink()
    monkeypatch.setattr(tracking_client, "PATIENCE", 0.3)
    part = data[: int(damage * len(data))] if isinstance(damage, float) else damage
    place.write_bytes(part)
    holder = sqlite3.connect(place, isolation_level=None) if name == "locked" else None
    if holder:
        holder.execute("BEGIN EXCLUSIVE")
    root = folder.parent / "root"
    Store(root / "store").put("0" * 64, facts={})
    began = time.monotonic()
    for argv in (["record"], ["preset", "mine"]):
        code = main([*argv, "--out", str(root), "--tracking-uri", uri_of(folder)])
        err = capsys.readouterr().err
        assert (code, err.count("\n")) == (options.ENVIRONMENT, 1), err
        assert said in err
        assert "`lthray record`" in err or name == "locked"
    assert time.monotonic() - began < 30  # MLflow alone waits for 100 s


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("DROP TABLE experiment_tags", "no such table: experiment_tags; move it away, and"),
        ("UPDATE alembic_version SET version_num = 'f'", r"out-of-date .*; or name an empty"),
        ("DROP TABLE alembic_version", r"out-of-date .* `mlflow db upgrade`"),
    ],
)
def test_a_database_that_lacks_something_is_one_line_for_writers_and_readers(
    again, made, capsys, harm, said
):
    from lthray.__main__ import main
    from lthray.config import options

    place = again[0] / "harmed.db"  # MLflow remembers those that it has opened
    (again[0] / "mlflow.db").rename(place)
    with contextlib.closing(sqlite3.connect(place)) as database:
        database.execute(harm)
        database.commit()
    root = str(made[0].root.parent)
    for argv in (["record"], ["preset", "mine", "--experiment", "list.digits"]):
        code = main([*argv, "--out", root, "--tracking-uri", f"sqlite:///{place}"])
        err = capsys.readouterr().err
        assert (code, err.count("\n")) == (options.ENVIRONMENT, 1), err
        assert re.search(said, err)
        assert "`lthray record` makes" in err


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_in_the_place_of_the_database_is_one_line(tmp_path, capsys, make):
    from lthray.__main__ import main
    from lthray.config import options

    Store(tmp_path / "store").put("0" * 64, facts={})
    make(tmp_path / "mlflow.db")
    began = time.monotonic()
    assert main(["record", "--out", str(tmp_path)]) == options.ENVIRONMENT
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(r"mlflow.db: (unable to open|disk I/O error).*; is it a file", err)
    assert time.monotonic() - began < 30  # MLflow alone waits for 100 s
