"""Dense networks are searched by their own loss, and the best becomes a preset that is found like
any other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lthray.__main__ import main
from lthray.config import options, presets
from lthray.config.fields import ConfigError
from lthray.config.presets import PRESETS
from lthray.core.metrics import HELDOUT
from lthray.core.record import Outcome, Point, Round, TrialRecord
from lthray.core.store import Store
from lthray.study.call import resolve
from lthray.study.ledger import DONE, Ledger
from lthray.study.page import Search
from lthray.study.queue import Queue
from lthray.study.results import ranked, trials
from lthray.study.space import Choice
from lthray.study.tables import baseline_table, trial_table
from lthray.tracking.read import tuned

from .conftest import TINY, rounds
from .test_cli import argv_of
from .test_desk import opened

ROOT = Path(__file__).parent.parent
DENSE = Search(
    name="dense",
    about="Tiny.",
    seeds=(0,),
    trials=3,
    words=TINY | {"prune.ladder": ()},
    space=lambda config: {
        "train.lr": Choice((1e-4, 4e-3)),
        "train.steps": Choice((8, 16)),
        "model.channels.0": Choice((4, 8)),
    },
)


def test_a_preset_of_a_root_is_found_like_any_other(tmp_path):
    assert presets.words_of("mnist", str(tmp_path)) == PRESETS["mnist"]
    presets.save("mine", str(tmp_path), {"train.lr": 0.01, "model.channels": (8, 8)})
    call = resolve(DENSE, ["--preset", "mine", "--out", str(tmp_path)])
    assert (call.config.train.lr, call.config.model.channels) == (
        0.01,
        (8,),
    )  # a study's words come after a preset's
    assert call.plan("x")["preset"] == "mine"
    with pytest.raises(
        ConfigError, match=r"preset = 'mien': must be one of digits.*, mine; did you mean 'mine'"
    ):
        resolve(DENSE, ["--preset", "mien", "--out", str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mnist", "preset 'mnist': is one of the package's own"),
        ("../mine", "preset '../mine': up to 64 of a-z 0-9"),
        ("", "preset '': up to 64 of a-z 0-9"),
        ("mine", "mine.json is there and says something else; choose another name"),
    ],
)
def test_names_that_are_taken_or_are_none(tmp_path, name, said):
    presets.save("mine", str(tmp_path), {"train.lr": 0.01})
    presets.save("mine", str(tmp_path), {"train.lr": 0.01})
    with pytest.raises(ConfigError) as caught:
        presets.save(name, str(tmp_path), {"train.lr": 0.02})
    assert said in caught.value.faults[0]
    assert presets.words_of("mine", str(tmp_path)) == {"train.lr": 0.01}
    assert [path.name for path in tmp_path.rglob("*.json")] == ["mine.json"]


DAMAGED = {
    "empty": ("", "Expecting value: line 1 column 1"),
    "blanks": (" \n\t\n", "Expecting value: line 3 column 1"),
    "a remark": ("# mine", "Expecting value: line 1 column 1"),
    "cut short": ("{", "Expecting property name"),
    "a missing comma": ('{\n"seed": 1\n"stream": 1}', "Expecting ',' delimiter: line 3 column 1"),
    "yaml": ("train.lr: 0.1", "line 1 column 1"),
    "a tag of yaml": ("!!python/object/apply:os.system ['x']", "line 1 column 1"),
    "a list": ("[]", "is not a mapping"),
    "null": ("null", "is not a mapping"),
    "a number": ("3", "is not a mapping"),
    "not text": (b"\x80\x81", "can't decode"),
    "a word twice": ('{"seed": 1, "train.lr": 1, "train.lr": 2}', "given twice: train.lr"),
    "an unknown word": ('{"train.lrr": 1}', "no such field; did you mean 'train.lr'?"),
    "out of range": ('{"train.lr": -1}', "train.lr = -1: must be greater than 0"),
    "nan": ('{"train.lr": NaN}', "train.lr = nan: must be a finite number"),
    "a truth value": ('{"train.steps": true}', "train.steps = 'True': must be a valid integer"),
    "a part": ('{"train": {"lr": 1}}', "train = {'lr': 1}: no such field"),
    "nested": ("[" * 100_000, "recursion"),
    "a huge integer": ('{"train.steps": ' + "9" * 5000 + "}", "5000 digits"),
    "larger than any": (" " * 2**20 + "{}", "Expecting value: line 1 column 1048577"),
}
"""What stands in the file of a preset -> what is said of it."""


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_preset_is_one_line(tmp_path, name, capsys):
    content, said = DAMAGED[name]
    presets.save("mine", str(tmp_path), {})
    path = tmp_path / "presets" / "mine.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["trial", "--preset", "mine", "--out", str(tmp_path)]) == options.BAD_INPUT
    err = capsys.readouterr().err
    assert err.startswith("error: --preset = 'mine': ")
    assert said in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine.json", "presets"]


NO_FILES = {
    "nothing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_a_preset_that_is_no_file_is_one_line_and_is_not_opened(tmp_path, name, capsys):
    (tmp_path / "presets").mkdir()
    NO_FILES[name](tmp_path / "presets" / "mine.json")
    assert main(["trial", "--preset", "mine", "--out", str(tmp_path)]) == options.BAD_INPUT
    err = capsys.readouterr().err
    assert err.startswith("error: --preset = 'mine': must be one of digits, mnist")
    assert err.count("\n") == 1


def test_a_search_of_dense_networks_is_scored_by_their_own_loss(store):
    call, ledger = opened(DENSE, store)
    queue = Queue(call, ledger)
    for number, (lr, steps) in enumerate(((1e-4, 8), (4e-3, 8), (4e-3, 16))):
        words = {"train.lr": lr, "train.steps": steps, "model.channels.0": 8}
        queue.task(words, 0.0)
        rounds(call.config_of(number, words), store)
        ledger.finish(number, DONE)
    found = list(trials(store, ledger))
    losses = [t.rounds[0].metrics["loss/heldout"] for t in found]
    past = Queue(call, ledger).past
    assert [past[number].scores for number in range(3)] == [[loss] for loss in losses]
    assert [t.number for t in ranked(found)] == sorted(range(3), key=losses.__getitem__)
    told = {column.header: list(column.cells) for column in trial_table(found).columns}
    assert told["held-out loss"] == [f"{loss:.4f}" for loss in sorted(losses)]
    table = baseline_table(found)
    columns = {column.header: list(column.cells) for column in table.columns}
    assert columns["steps"] == ["8", "16"]
    assert columns["held-out loss"] == [f"{min(losses[:2]):.4f}", f"{losses[2]:.4f}"]
    assert call.shared() == []  # no network is trained that nobody asked for


def recorded(number, loss, call="a" * 12, phase="search", images=8, **config):
    """A trial as MLflow holds it."""
    config = {"prune.ladder": [], "measure.images": images, **config}
    point = Point(
        name="dense",
        recipe="dense",
        phase=phase,
        config=config,
        seed=0,
        control="none",
        data=("digits", "x"),
    )
    dense = Round(0, 1.0, {HELDOUT.name: loss})
    return TrialRecord(f"{call}-{number:04d}", point, Outcome(DONE), (dense,))


def test_the_best_is_of_one_panel_one_task_and_if_asked_one_budget():
    found = [
        recorded(0, 0.3),
        recorded(1, 0.2, **{"train.steps": 800, "train.lr": 0.1, "model.channels": [8]}),
    ]
    best, words = tuned(found)
    assert (best.id, words) == (
        "a" * 12 + "-0001",
        {"train.steps": 800, "train.lr": 0.1, "model.channels": [8]},
    )
    assert tuned(found, steps=400)[0] is found[0]
    other = [
        recorded(0, 0.1, call="b" * 12, images=9),
        recorded(0, 0.1, call="b" * 12, **{"objective.schedule": "sigmoid"}),
    ]
    for trial in other:
        with pytest.raises(
            ConfigError,
            match="on several data, panels or tasks are recorded there; name one with --call",
        ):
            tuned([*found, trial])
        assert tuned([*found, trial], call="aaa")[0] is best
    for none in (
        [],
        [recorded(0, 0.1, phase="list")],
        [recorded(0, 0.1, **{"prune.ladder": [0.5]})],
    ):
        with pytest.raises(
            ConfigError, match="no finished search of dense networks is recorded there"
        ):
            tuned(none)


def test_a_tuning_becomes_a_preset_from_which_a_trial_begins(tmp_path, capsys):
    out = str(tmp_path / "runs")
    page = [
        sys.executable,
        str(ROOT / "studies/baseline_tuning.py"),
        "--smoke",
        "--local",
        "--out",
        out,
        "--trials",
        "2",
    ]
    small = ["--train.steps", "20", "--train.batch", "8", "--measure.images", "8"]
    done = subprocess.run([*page, *small], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dense networks: the best at each training budget" in done.stdout
    assert (
        main(["preset", "tuned", "--experiment", "baseline_tuning.digits.smoke", "--out", out]) == 0
    )
    said = capsys.readouterr().out
    words = json.loads((tmp_path / "runs/presets/tuned.json").read_text())
    assert set(words) >= {"train.lr", "train.steps", "train.batch"}
    assert not {
        word for word in words if word.split(".")[0] in ("prune", "measure", "seed")
    }  # those are the studies' own
    assert f"use it:  --preset tuned --out {out}" in said
    short = {
        "prune.ladder": (0.5,),
        "measure.samples": 0,
        "measure.images": 8,
        "measure.checkpoints": 1,
    }
    assert main(["trial", *argv_of(short), "--preset", "tuned", "--out", out]) == 0
    (ledger,) = (
        found
        for found in Ledger.all(Store(tmp_path / "runs/store"))
        if found.about["study"] == "trial"
    )
    assert ledger.about["plan"]["config"].items() >= words.items()
    assert (
        main(["preset", "mnist", "--experiment", "baseline_tuning.digits.smoke", "--out", out])
        == options.BAD_INPUT
    )
