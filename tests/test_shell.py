"""Pages by their names, and commands as the shell finds them."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lthray.__main__ import main
from lthray.config import options, shell

ROOT = Path(__file__).parent.parent


@pytest.fixture
def venv(monkeypatch, tmp_path) -> Path:
    """A folder of commands that the shell does not know, in which this Python lies."""
    commands = tmp_path / ".venv/bin"
    commands.mkdir(parents=True)
    for name in ("python", "lthray"):
        (commands / name).touch()
    monkeypatch.setattr(shell.sys, "executable", str(commands / "python"))
    monkeypatch.setattr(shell.shutil, "which", lambda name: None)
    return commands


def test_commands_that_the_shell_does_not_know_are_said_with_their_place(venv, monkeypatch):
    assert shell.pasteable("lthray ui --out runs") == f"{venv}/lthray ui --out runs"
    assert shell.pasteable("python studies/width.py") == f"{venv}/python studies/width.py"
    assert shell.pasteable("mlflow ui") == "mlflow ui"
    monkeypatch.chdir(venv.parent.parent)
    assert shell.pasteable("lthray ui") == ".venv/bin/lthray ui"
    assert shell.pasteable("python -m lthray") == ".venv/bin/python -m lthray"


def test_commands_that_the_shell_knows_are_said_by_their_names(venv, monkeypatch):
    monkeypatch.setattr(shell.shutil, "which", lambda name: str(venv / name))
    assert shell.pasteable("lthray ui") == "lthray ui"
    assert shell.pasteable("python studies/width.py") == "python studies/width.py"


def test_a_command_of_another_installation_is_not_taken_for_ours(venv, monkeypatch):
    monkeypatch.setattr(shell.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert shell.own_command() == f"{venv}/lthray"
    assert shell.interpreter() == f"{venv}/python"
    (venv / "lthray").unlink()  # commands of this Python lie elsewhere
    assert shell.own_command() == "lthray"


def test_a_wheel_takes_every_folder_of_pages_into_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    folders = list(shell.FOLDERS.values())
    assert wheel["only-include"] == ["lthray", *folders, "docs/concepts.md"]  # a report's glossary
    assert wheel["sources"] == {folder: f"lthray/{folder}" for folder in [*folders, "docs"]}


def test_every_page_has_a_name():
    assert {"layerwise_search", "transfer"} < set(shell.pages("study"))
    assert {"report", "ticket_frequency"} < set(shell.pages("analysis"))


def test_a_page_is_called_by_its_path_in_a_clone_and_by_its_name_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(shell.sys, "argv", [str(ROOT / "studies/width.py")])
    monkeypatch.chdir(ROOT)
    assert shell.program() == ["python", "studies/width.py"]
    monkeypatch.chdir(tmp_path)
    assert shell.program() == ["lthray", "study", "width"]
    monkeypatch.setattr(shell.sys, "argv", ["mine/page.py"])
    assert shell.program() == ["python", "mine/page.py"]


@pytest.mark.parametrize("kind", ["study", "analysis"])
def test_the_help_of_pages_by_name_lists_them_all(kind, capsys):
    assert main([kind, "--help"]) == options.DONE
    shown = " ".join(capsys.readouterr().out.split())
    assert f"NAME is one of {', '.join(shell.pages(kind))}." in shown


def test_the_help_of_a_page_is_that_of_the_page(capsys):
    assert main(["study", "width", "--help"]) == options.DONE
    assert "usage: python studies/width.py" in capsys.readouterr().out
    argv = list(sys.argv)
    assert main(["analysis", "width", "--help"]) == options.DONE
    assert "usage: python analysis/width.py" in capsys.readouterr().out
    assert sys.argv == argv


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study"], "lthray study '': must be one of architectures, "),
        (["study", "--smoke"], "lthray study '': must be"),
        (["study", "widht"], "did you mean 'width'?"),
        (["analysis", "../x"], "lthray analysis '../x': must be one of "),
        (["study", "width", "--frob"], "--frob: no such option"),
    ],
)
def test_a_page_that_is_none_is_one_line(words, said, capsys):
    assert main(words) == options.BAD_INPUT
    assert said in capsys.readouterr().err


def test_a_plan_is_the_same_by_path_and_by_name(tmp_path):
    words = ["--dry-run", "--out", str(tmp_path / "runs")]
    calls = ["studies/width.py"], ["-m", "lthray", "study", "width"]
    by_path, by_name = (
        subprocess.run(
            [sys.executable, *call, *words], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        for call in calls
    )
    planned = [line for line in by_path.splitlines() if "training time" not in line]
    assert len(planned) > 20
    assert [line for line in by_name.splitlines() if line in planned] == planned
    assert not (tmp_path / "runs").exists()
