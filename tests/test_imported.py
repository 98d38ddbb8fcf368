"""A network and a data set of a user's own, by import path: keys, laws, and a line for whatever may
be wrong with them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lthray.__main__ import main
from lthray.config import options
from lthray.config.parts import Data, Model
from lthray.config.trial import TrialConfig
from lthray.core.store import Store
from lthray.task import data, factories, networks
from lthray.trial.preflight import check
from lthray.trial.recipe import trajectory

from .conftest import TINY, resumed, rounds, same
from .test_cli import argv_of
from .test_study import PAGE

MINE = """
import numpy as np
import torch
from torch import nn

def images(root):
    return np.arange(600 * 64, dtype=np.uint8).reshape(600, 8, 8), np.arange(600) % 3

class network(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.first = nn.Conv2d(shape[0], 8, 3, padding=1)
        self.last = nn.Conv2d(8, shape[0], 3, padding=1)
        self.told = nn.Linear(1, 8)
    def forward(self, x, t):
        return self.last((self.first(x) + self.told(t[:, None] / 1000)[..., None, None]).relu())

def classifier(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, classes))
"""
OWN = {"data.name": "mine:images", "data.side": 8, "data.channels": 1, "data.classes": 3}
DENOISER = TINY | OWN | {"model.name": "mine:network", "prune.budget": "uniform"}
CLASSIFIER = (
    TINY | OWN | {"model.name": "mine:classifier", "objective.name": "classify", "prune.terms": 4}
)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes mine.py into the current directory, and forgets what was imported from there
    before."""

    def write(text: str = MINE) -> Path:
        sys.modules.pop("mine", None)
        factories.imported.cache_clear()
        data.read.cache_clear()
        (tmp_path / "mine.py").write_text(text)
        return tmp_path / "mine.py"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write()
    yield write
    sys.modules.pop("mine", None)
    factories.imported.cache_clear()
    data.read.cache_clear()


@pytest.mark.parametrize("words", [DENOISER, CLASSIFIER], ids=["denoiser", "classifier"])
def test_a_trial_of_ones_own_cut_anywhere_equals_the_whole(mine, words, store, tmp_path):
    config = TrialConfig.from_flat(words)
    check(config)
    whole = rounds(config, store)
    assert [len(r.densities) for r in whole] == [2] * 3  # every layer that sees the image
    for one, other in zip(whole, resumed(config, Store(tmp_path / "other")), strict=True):
        assert same(one, other)


def test_images_are_split_and_scaled_as_all_are(mine):
    found = data.load(Data(name="mine:images", side=8, channels=1, classes=3))
    assert found.images.shape == (600, 1, 8, 8)
    assert {name: len(rows) for name, rows in found.splits.items()} == {
        "test": 101,
        "validation": 101,
        "train": 398,
    }
    assert (float(found.scaled(torch.arange(600)).min()), found.levels) == (-1.0, 255)
    mine(MINE.replace("reshape(600, 8, 8)", "reshape(600, 1, 8, 8)").replace("% 3", "% 3 + 0"))
    again = data.load(Data(name="mine:images", side=8, channels=1, classes=3))
    assert again.digest == found.digest  # of the content, not of what made it
    mine(MINE.replace("% 3", "% 2"))
    assert data.load(Data(name="mine:images", side=8, channels=1, classes=3)).digest != found.digest


def test_an_edited_factory_is_another_network(mine):
    def keys():
        found = trajectory(TrialConfig.from_flat(DENOISER | {"control": "reinit"}))
        keys = set()
        for rung in found.rungs:
            keys |= {rung.chain.key, rung.shown.key, rung.mask.key, rung.round}
        return keys - {""}

    before = keys()
    mine(MINE + "\n# the same")
    assert not before & keys()
    mine()
    assert keys() == before


def test_weights_are_a_function_of_the_seed(mine):
    a, b, c = (networks.build(Model(name="mine:network"), (1, 8, 8), 3, seed) for seed in (0, 0, 1))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.first.weight, c.first.weight)


NORMED = MINE.replace("self.told =", "self.n = nn.BatchNorm2d(1); self.told =").replace(
    "(x) +", "(self.n(x)) +"
)
NETWORKS = {
    "missing": ("", "mine:other", "AttributeError: module 'mine' has no attribute 'other'"),
    "no module": ("", "yours:network", "ModuleNotFoundError: No module named 'yours'"),
    "no Python": ("def", "mine:network", "SyntaxError"),
    "no function": ("network = 3", "mine:network", "is a int, not a function"),
    "raises": ("def network(shape, classes): raise OSError('a\\nb')", "mine:network", "OSError: a"),
    "no network": (
        "def network(shape, classes): return 3",
        "mine:network",
        "gives a int, not a torch.nn.Module",
    ),
    "other inputs": (
        MINE.replace("forward(self, x, t)", "forward(self, x)"),
        "mine:network",
        "TypeError: network.forward() takes 2",
    ),
    "other answer": (
        MINE.replace(".relu())", ".relu()).mean(1)"),
        "mine:network",
        "answers with (2, 8, 8), not with a tensor of (2, 1, 8, 8)",
    ),
    "frozen": (
        MINE.replace("self.told =", "self.first.requires_grad_(False); self.told ="),
        "mine:network",
        "frozen",
    ),
    "not seeded": (
        MINE.replace(
            "self.told =", "self.first.weight.data += float(np.random.rand()); self.told ="
        ),
        "mine:network",
        "gives other weights at every call",
    ),
    "transformed": (
        NORMED.replace("BatchNorm2d(1)", "utils.weight_norm(nn.Conv2d(1, 1, 1))"),
        "mine:network",
        "cannot be pruned",
    ),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_a_network_that_will_not_do_is_one_line(mine, case, capsys):
    text, name, said = NETWORKS[case]
    mine(text or MINE)
    assert main(["trial", *argv_of(TINY), "--model.name", name]) == options.BAD_INPUT
    err = capsys.readouterr().err
    assert err.startswith(f"error: model.name = {name!r}: ")
    assert said in err
    assert err.count("\n") == 1
    assert not Path("runs").exists()


SETS = {
    "float": ("return np.zeros((600, 8, 8)), np.zeros(600, int)", "images are float64, not uint8"),
    "size": (
        "return np.zeros((600, 9, 8), np.uint8), np.zeros(600, int)",
        "images are (1, 9, 8), data.channels and",
    ),
    "few": (
        "return np.zeros((6, 8, 8), np.uint8), np.zeros(6, int)",
        "has 6 images, 12 are needed",
    ),
    "labels": (
        "return np.zeros((600, 8, 8), np.uint8), np.zeros(60, int)",
        "has 600 images and labels (60,)",
    ),
    "kind": (
        "return np.zeros((600, 8, 8), np.uint8), np.zeros(600)",
        "labels are float64, not integers",
    ),
    "classes": (
        "return np.zeros((600, 8, 8), np.uint8), np.arange(600) % 4",
        "labels are 0 to 3, data.classes = 3",
    ),
    "one": ("return np.zeros((600, 8, 8), np.uint8)", "ValueError: too many values to unpack"),
    "raises": ("raise FileNotFoundError(root)", "FileNotFoundError"),
}


@pytest.mark.parametrize("case", SETS)
def test_a_data_set_that_will_not_do_is_one_line(mine, case, capsys):
    body, said = SETS[case]
    mine(f"import numpy as np\ndef images(root): {body}")
    assert main(["trial", *argv_of(TINY | OWN)]) == options.BAD_INPUT
    err = capsys.readouterr().err
    assert err.startswith("error: data.name = 'mine:images': ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"train.batch": 399}, "train.batch = 399: at most the 398 training images"),
        ({"prune.images": 400}, "prune.images = 400: at most the 398 training images"),
    ],
)
def test_more_than_there_are_images_is_refused_before_anything_is_made(mine, words, said, capsys):
    assert main(["trial", *argv_of(TINY | OWN | words)]) == options.BAD_INPUT
    assert capsys.readouterr().err == f"error: {said}\n"


def test_workers_of_a_study_find_what_is_in_the_current_directory(mine, tmp_path):
    (tmp_path / "pages").mkdir()
    page = tmp_path / "pages" / "page.py"  # not beside the module
    page.write_text(PAGE)
    words = [
        sys.executable,
        str(page),
        "list",
        "--trials",
        "1",
        *argv_of(OWN),
        "--model.name",
        "mine:network",
        "--prune.budget",
        "erk",
    ]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=dict(os.environ),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " done " in done.stdout
