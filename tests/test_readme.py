"""The README's commands are those that the gate runs; what it and the users' pages name exists."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from lthray.__main__ import COMMANDS as PROGRAMS
from lthray.__main__ import main
from lthray.config import vocabulary as config
from lthray.config.fields import words
from lthray.config.options import EXIT_CODES, Options
from lthray.config.trial import TrialConfig

from .test_docs import LONGEST, sentences

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TRIALS = (ROOT / "docs/trials.md").read_text()
NETWORKS = (ROOT / "docs/networks.md").read_text()
USERS = ["README.md", *(f"docs/{name}.md" for name in ("quickstart", "studies", "trials", "gpus"))]
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", README, re.M | re.S)


def test_two_commands_that_differ_only_in_what_they_do_at_last():
    install = [command.split(" && ")[:-1] for command in COMMANDS]
    assert len(COMMANDS) == 2
    assert install[0] == install[1]
    assert [command.split(" && ")[-1].strip() for command in COMMANDS] == [
        ".venv/bin/python studies/layerwise_search.py",
        ".venv/bin/python -m pytest",
    ]
    assert "requirements.lock" in COMMANDS[0]
    assert README.index(COMMANDS[1]) < 2500  # near the top


def test_the_gate_runs_the_second_command_as_it_stands_here():
    script = (ROOT / ".ci/run").read_text()
    function = re.search(r"^command_of_readme\(\).*?^}$", script, re.M | re.S)
    shell = f"{function[0]}\ncommand_of_readme 2"
    found = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    assert found == COMMANDS[1]
    assert 'bash -euc "$(command_of_readme 2)"' in script
    assert "--smoke" in script


def test_it_is_a_screen_and_a_half_of_short_sentences():
    assert len(README.splitlines()) < 90
    text = re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S)
    assert len(sentences(text)) > 20
    for sentence in sentences(text):
        assert len(sentence.split()) <= LONGEST, sentence


def test_links_and_files_that_are_named_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def test_options_and_commands_that_are_named_exist():
    known = {word.replace("_", "-") for word in words(Options)} | set(words(TrialConfig)) | {"help"}
    pages = "".join((ROOT / page).read_text() for page in USERS)
    options = re.findall(r"`--([a-z._-]+)", pages)
    commands = re.findall(r"`lthray ([a-z]+)", pages)
    assert len(set(options)) > 20
    assert set(commands) == set(PROGRAMS)
    for option in options:
        assert option.replace("_", "-") in known or option in known, option


def test_every_study_and_analysis_has_a_row():
    page = (ROOT / "docs/studies.md").read_text()
    named = set(re.findall(r"^\| `((?:studies|analysis)/\w+\.py)` \|", page, re.M))
    there = [*(ROOT / "studies").glob("*.py"), *(ROOT / "analysis").glob("*.py")]
    assert named == {str(path.relative_to(ROOT)) for path in there}


def test_the_example_of_ones_own_network_and_images_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```$", NETWORKS, re.M | re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (command,) = re.findall(r"^lthray (trial --model.name mine:.*)$", NETWORKS, re.M)
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    small = "--train.steps 8 --rewind.fraction 0.25 --prune.ladder 0.5 "
    small += "--measure.samples 0 --measure.images 8"
    assert main([*command.split(), *small.split()]) == 0
    assert "round 1/1, density 0.5" in capsys.readouterr().out


def literals_of(source: str) -> list[str]:
    """Return the texts in a module as they are said: what stands in f-strings as `...`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        if isinstance(node, ast.JoinedStr):
            parts = (
                each.value if isinstance(each, ast.Constant) else "..." for each in node.values
            )
            found.append("".join(map(str, parts)))
    return found


def test_every_line_of_troubleshooting_is_said_somewhere():
    page = (ROOT / "docs/troubleshooting.md").read_text()
    table = page[page.index("## What a line says") : page.index("## What looks wrong")]
    lines = re.findall(r"^\| `(.+?)` \|", table, re.M)
    sources = (path.read_text() for path in (ROOT / "lthray").rglob("*.py"))
    said = "\n".join(text for source in sources for text in literals_of(source))
    assert len(lines) > 8
    for line in lines:
        for part in filter(None, line.split("...")):
            assert part.strip() in said, part
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)}
    assert codes == {int(code) for code in re.findall(r"\b\d+\b", EXIT_CODES)}


def test_the_lock_has_versions_and_hashes_but_no_addresses():
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^[a-z0-9].*==", lock, re.M)
    assert len(pins) > 100
    assert lock.count("--hash=sha256:") >= len(pins)
    assert "://" not in lock
    assert "index-url" not in lock


DIMENSIONS = {
    "objective.name": config.ObjectiveName,
    "objective.prediction": config.Prediction,
    "objective.schedule": config.NoiseSchedule,
    "model.name": config.ModelName,
    "data.name": config.DataName,
    "prune.criterion": config.Criterion,
    "prune.budget": config.Budget,
    "prune.unit": config.Unit,
    "regime.name": config.RegimeName,
    "rewind.rule": config.RewindRule,
    "control": config.Control,
}


@pytest.mark.parametrize("word", DIMENSIONS)
def test_no_word_is_listed_that_a_trial_may_not_use(word):
    """Not the other way round: who adds a member need not touch the README."""
    row = re.search(rf"^\| `{re.escape(word)}` \| (.*) \|$", TRIALS, re.M)
    found = re.findall(r"`([a-z0-9_]+)`", row[1])
    assert len(found) > 2
    assert set(found) <= set(get_args(DIMENSIONS[word]))
