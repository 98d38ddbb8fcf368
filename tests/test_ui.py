"""`lthray ui`: MLflow on the right database, opened at the charts of a study."""

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from lthray.__main__ import main
from lthray.config import options
from lthray.tracking import ui, views

from . import screenshots
from .conftest import TINY

VIEW = re.compile(r"http://127.0.0.1:(\d+)/#/experiments/(\d+)/runs\?.*=lthray-tickets")


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("ui") / "runs"
    words = [
        f"--{w}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for w, v in TINY.items()
    ]
    assert main(["trial", *words, "--out", str(place)]) == 0
    return place


def test_mlflow_answers_at_the_page_that_is_said_and_ctrl_c_ends_it(out):
    command = [sys.executable, "-m", "lthray", "ui", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        said = running.stdout.readline()
        port, experiment = VIEW.fullmatch(said.strip()).groups()
        assert running.stdout.readline() == "trial.digits; Ctrl-C ends it\n"
        page = f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/experiments/get"
        with urllib.request.urlopen(f"{page}?experiment_id={experiment}") as answer:
            assert b"trial.digits" in answer.read()
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == options.DONE
    until = time.monotonic() + 30
    with socket.socket() as tried:
        while not tried.connect_ex(("127.0.0.1", int(port))) and time.monotonic() < until:
            time.sleep(0.2)


def test_a_port_that_is_taken_is_passed_over():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        first = ui.PORT
        try:
            ui.PORT = port
            assert ui.free() > port
        finally:
            ui.PORT = first


def test_an_mlflow_that_ends_at_once_is_one_line(out, monkeypatch, capsys):
    monkeypatch.setattr(ui.sys, "executable", "/bin/echo")
    assert main(["ui", "--out", str(out), "--port", "5999"]) == options.BAD_INPUT
    err = capsys.readouterr().err
    assert "--port 5999: MLflow did not begin there; its last line: -m mlflow ui" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ui", "other.digits"], "--experiment 'other.digits': "),
        (["ui", "../x"], "--experiment '../x': study.preset"),
        (["ui", "--port", "99999"], "--port = '99999': must be less than or equal to 65535"),
    ],
)
def test_what_cannot_be_opened_is_one_line(words, said, out, capsys):
    assert main([*words, "--out", str(out)]) == options.BAD_INPUT
    assert said in capsys.readouterr().err


def test_a_server_is_only_opened(monkeypatch):
    opened, said = [], []
    monkeypatch.setattr(ui, "experiment_of", lambda uri, name: SimpleNamespace(experiment_id="7"))
    monkeypatch.setattr(ui.webbrowser, "open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    assert ui.show("https://me:secret@host/base", "", 0, said.append) == 0
    assert said == opened
    assert said[0].startswith("https://host/base/#/experiments/7/runs?")


# the pictures of the README and the docs


def test_pictures_need_a_browser_and_say_so_in_one_line(out, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(screenshots.shutil, "which", lambda name: None)
    assert screenshots.main([str(out), str(tmp_path / "pictures")]) == options.BAD_INPUT
    err = capsys.readouterr().err
    assert err.startswith("no browser: one of chromium, ")
    assert err.count("\n") == 1
    assert not (tmp_path / "pictures").exists()
    assert screenshots.main([]) == options.BAD_INPUT
    assert "usage: python -m tests.screenshots RUNS FOLDER" in capsys.readouterr().err


def test_what_is_wrong_with_a_root_is_said_by_the_command_that_serves_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(screenshots.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert screenshots.main([str(tmp_path / "none"), str(tmp_path)]) == options.BAD_INPUT
    err = capsys.readouterr().err
    assert "nothing was recorded there" in err
    assert err.count("\n") == 1


def test_there_is_a_picture_of_each_view_and_of_a_report_that_is_there(tmp_path):
    link = "http://mlflow.example:5000/#/experiments/7/runs?compareRunsMode=CHART"
    report = tmp_path / "report.html"
    runs = views.link("http://mlflow.example:5000", "7", views.RUNS)
    assert dict(screenshots.pages(link, report)) == {"mlflow": link, "runs": runs}
    report.write_text("")
    assert dict(screenshots.pages(link, report))["report"] == report.as_uri()
