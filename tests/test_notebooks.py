"""The notebooks run from the top in an empty folder, show what they promise, and are saved bare."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parent.parent / "notebooks"
NAMES = ("first_ticket", "your_own_images")
INTERRUPTED = "your_own_images"  # the notebook whose study is stopped on its way
SECONDS = 1800  # that a cell may take on a busy machine
VERDICT = re.compile(
    r"At \d+ steps tickets with [\d.]+% of the free weights .*"
    r" (?:match|beat|lose to|are not shown to match) their dense network"
)
Cell = Any


class Client(NotebookClient):
    """Runs a notebook's cells; presses its stop button once, when a line holds `stop`."""

    def __init__(self, notebook: Any, place: Path, stop: str = ""):
        resources = {"metadata": {"path": str(place)}}
        super().__init__(notebook, timeout=SECONDS, resources=resources, kernel_name="python3")
        self.stop, self.pressed = stop, None

    def output(self, outs, msg, display_id, cell_index):
        if self.stop and not self.pressed and self.stop in msg["content"].get("text", ""):
            self.pressed = asyncio.ensure_future(self._press())
        return super().output(outs, msg, display_id, cell_index)

    async def _press(self) -> None:
        pressed = self.km.interrupt_kernel()
        if asyncio.iscoroutine(pressed):
            await pressed


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Path]:
    """An empty folder, in which kernels also keep whatever they would put into a home."""
    place = tmp_path_factory.mktemp("notebooks")
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    with pytest.MonkeyPatch.context() as patch:
        for name in own:
            patch.setenv(name, str(place / name.lower()))
        patch.setenv("TMPDIR", str(place))
        yield place


@pytest.fixture(scope="module", params=NAMES)
def executed(request, place) -> tuple[str, Any, str]:
    """Return a notebook's name, the notebook with its outputs, and what it said when stopped."""
    notebook = nbformat.read(FOLDER / f"{request.param}.ipynb", as_version=4)
    client = Client(notebook, place, "round 1/" if request.param == INTERRUPTED else "")
    said = ""
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            if client.stop and cell.id == "study":
                with pytest.raises(CellExecutionError, match="the same call goes on with it"):
                    client.execute_cell(cell, index)
                said = text_of(cell)
            client.execute_cell(cell, index)
    return request.param, notebook, said


def code_of(notebook: Any) -> list[Cell]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell: Cell) -> str:
    """Return what a cell printed, in one line."""
    streams = [output for output in cell.outputs if output.output_type == "stream"]
    return " ".join("".join(output.text for output in streams).split())


def kinds_of(cell: Cell) -> set[str]:
    """Return the kinds of what a cell showed, such as image/png."""
    return {kind for output in cell.outputs for kind in output.get("data", {})}


def test_it_ends_with_a_verdict_and_pictures(executed):
    name, notebook, _ = executed
    cells = code_of(notebook)
    assert [cell.execution_count is not None for cell in cells] == [True] * len(cells)
    (study,) = [cell for cell in cells if cell.id == "study"]
    assert VERDICT.search(text_of(study)), text_of(study)
    assert sum("image/png" in kinds_of(cell) for cell in cells) >= 2, name


def test_a_study_tells_each_ticket_in_lines_and_little_else(executed):
    """Text alone, so that it goes through what hides secrets; and no page full of it."""
    _, notebook, _ = executed
    (study,) = [cell for cell in code_of(notebook) if cell.id == "study"]
    assert kinds_of(study) == set()
    lines = "".join(output.text for output in study.outputs).splitlines()
    told = [line for line in lines if re.match(r"[\d:]{8}  trial \d+ .*: round", line)]
    pulses = [line for line in lines if " steps, " in line]  # on a busy machine; two lines each
    assert len(told) > 4
    assert 30 < len(lines) < 80 + 2 * len(pulses)
    assert max(map(len, lines[:-1])) <= 120


def test_a_study_that_is_stopped_goes_on_when_its_cell_is_run_again(executed):
    name, notebook, said = executed
    if name != INTERRUPTED:
        assert said == ""
        return
    cells = {cell.id: text_of(cell) for cell in code_of(notebook)}
    assert "stopping; everything committed so far is kept" in said
    assert "to go on, the same command: the call in Python, with --local --preset shapes" in said
    assert VERDICT.search(said) is None
    assert "trial 0 overall late5% s0: round 1/2" in said
    assert "trial 0 overall late5% s0: round 2/2" in cells["study"]
    assert "the same numbers: True" in cells["again"]
    assert not re.search(r"[\d:]{8} trial", cells["again"])  # nothing was left to do


CELL = """
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from lthray.command import guarded
from lthray.study import terminal

class Tally:
    begun, store = 1, SimpleNamespace(root=Path("none"))
    def __call__(self):
        return 10, 100

def run():
    out = terminal.console()
    out.print("the word is hunter2hunter2")
    out.print(terminal.table("of", ["head"], [["hunter2hunter2"]]))
    with terminal.Watch(Tally(), "a study", every=0.1, pulse=0.2):
        sleep(1)
    return 0

guarded(run, ["--tracking-uri", "http://me:hunter2hunter2@127.0.0.1:9"])
"""


def test_a_line_tells_what_is_at_work_and_no_secret_is_shown(place):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    Client(notebook, place).execute()
    (cell,) = notebook.cells
    assert "hunter2" not in json.dumps(cell.outputs)
    assert "the word is ***" in text_of(cell)
    assert "a study: 10 of 100 steps" in text_of(cell)
    assert "\x1b" not in text_of(cell)
    assert kinds_of(cell) == {"text/plain"}  # the exit code


def test_every_notebook_is_run():
    assert sorted(path.name for path in FOLDER.iterdir()) == [f"{name}.ipynb" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_saved_bare_and_says_first_what_it_shows_and_how_long_it_takes(name):
    text = (FOLDER / f"{name}.ipynb").read_text()
    saved = json.loads(text)
    assert (saved["nbformat"], saved["nbformat_minor"]) == (4, 5)
    assert saved["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in saved["cells"]:
        assert cell["metadata"] == {}
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    assert len(saved["cells"]) <= 16
    assert str(Path.home()) not in text
    title, _, first, *_ = "".join(saved["cells"][0]["source"]).splitlines()
    assert title.startswith("# ")
    assert re.fullmatch(r"This notebook [^.]+, in about a minute on one CPU core\.", first)


@pytest.mark.parametrize("name", NAMES)
def test_its_sentences_are_short(name):
    saved = json.loads((FOLDER / f"{name}.ipynb").read_text())
    texts = ["".join(cell["source"]) for cell in saved["cells"] if cell["cell_type"] == "markdown"]
    assert len(texts) > 4
    for text in texts:
        for sentence in re.split(r"(?<=[.!?:])\s+|\n\n", text):
            assert len(sentence.split()) <= 35, sentence
