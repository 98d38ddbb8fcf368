"""lthray in a notebook: tickets at hand, trials and studies as calls, results as frames."""

import builtins
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import lthray
from lthray.config.fields import ConfigError
from lthray.config.shell import command_line

from .conftest import TINY, TINY_LENET
from .test_desk import LIST

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("notebook") / "runs")


@pytest.fixture(scope="module")
def ticket(out):
    return lthray.run_trial(TINY, out=out)


def test_a_trial_returns_its_last_ticket(ticket):
    assert ticket.density == 0.3
    assert ticket.metrics["density/prunable"] == pytest.approx(ticket.mask.density)
    assert repr(ticket) == f"<overall late25% s0 at density 0.3, trial {ticket.trial.id}>"


def test_a_trial_that_is_recorded_is_found_and_not_run_again(ticket, out):
    again = lthray.run_trial(TINY, out=out)
    assert again.trial.id == ticket.trial.id
    assert again.round.created == ticket.round.created


def test_a_ticket_is_loaded_by_the_id_of_its_trial_or_run(ticket, out):
    loaded = lthray.load(ticket.trial.id, out=out)
    assert loaded.mask == ticket.mask
    run = lthray.results(out=out)["run"].iloc[0]
    assert lthray.load(run, out=out, round=1).density == 0.5
    dense = lthray.load(ticket.trial.id, out=out, round=0)
    assert not dense.mask
    assert dense.density == 1.0


def test_the_network_is_a_copy_that_is_zero_where_it_is_cut(ticket):
    network = ticket.network()
    weights = dict(network.named_parameters())
    assert all((weights[name][~mask] == 0).all() for name, mask in ticket.mask.items())
    assert not network.training
    next(network.parameters()).data.zero_()
    assert not torch.equal(next(network.parameters()), next(ticket.network().parameters()))


def test_samples_are_pictures_and_a_function_of_the_seed(ticket):
    first, again = (ticket.sample(images=3, calls=4, seed=1) for _ in range(2))
    assert first.shape == (3, 1, 8, 8)
    assert 0 <= first.min() < first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, ticket.sample(images=3, calls=4, seed=2))


def test_a_ticket_is_trained_again_from_its_own_weights_or_from_others(ticket, out):
    begun = ticket.run.masked_begin()
    again = ticket.train({"train.steps": 12})
    assert again.mask == ticket.mask
    assert all(
        torch.equal(again.run.masked_begin().weights[name], weight)
        for name, weight in begun.weights.items()
    )
    assert (again.config.train.steps, again.config.stream) == (12, ticket.config.stream)
    other = ticket.train({"seed": 5, "rewind.rule": "late", "rewind.fraction": 0.25})
    assert other.mask == ticket.mask
    assert other.run.masked_begin().weights.keys() == begun.weights.keys()
    name = next(iter(begun.weights))
    assert not torch.equal(other.run.masked_begin().weights[name], begun.weights[name])


def test_a_study_runs_without_ray_and_gives_a_row_for_each_round(tmp_path):
    words = [word for name, value in TINY_LENET.items() for word in _argv(name, value)]
    frame = lthray.run_study(LIST, "--out", str(tmp_path / "runs"), *words)
    recorded = lthray.results(f"{LIST.name}.digits", out=str(tmp_path / "runs"))
    assert frame.equals(recorded)
    assert {"trial", "recipe", "control", "seed", "density", "loss/excess"} <= {*frame.columns}
    assert frame.groupby("trial").size().min() >= 2
    assert (frame[frame["round"] == 0]["loss/excess"] == 0).all()


def test_a_smoke_run_of_other_data_is_found_under_its_own_name(tmp_path):
    """What a study is recorded as hangs on its data, and on whether it is a smoke run."""
    out = str(tmp_path / "runs")
    words = [word for name, value in TINY_LENET.items() for word in _argv(name, value)]
    study = replace(LIST, seeds=(0,))
    argv = ("--out", out, "--smoke", "--data.name", "digits_low", *words)
    frame = lthray.run_study(study, *argv)
    assert frame.equals(lthray.results(f"{LIST.name}.digits_low.smoke", out=out))
    assert len(frame) == 6


def test_where_no_command_was_given_the_call_is_told(monkeypatch):
    """A Python prompt has no program, and that of a notebook is its kernel."""
    words = ["--local", "--out", "a b"]
    monkeypatch.setattr(sys, "argv", ["page.py"])
    assert command_line(words) == "python page.py --local --out 'a b'"
    monkeypatch.setattr(builtins, "get_ipython", None, raising=False)
    assert command_line(words) == "the call in Python, with --local --out 'a b'"
    monkeypatch.delattr(builtins, "get_ipython")
    monkeypatch.setattr(sys, "argv", [""])
    assert command_line(words) == "the call in Python, with --local --out 'a b'"


def _argv(name, value):
    return [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]


def test_the_example_in_the_readme_runs(ticket, out, monkeypatch):
    monkeypatch.chdir(Path(out).parent)
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)
    (code,) = [block for block in blocks if "import lthray" in block]
    assert len(code.splitlines()) <= 12
    shorter = {
        'load("layerwise_search.digits")': f'load("{ticket.trial.id}")',
        'results("layerwise_search.digits")': "results()",
        "run_trial({": "run_trial(TINY | {",
        '"train.steps": 800': '"train.steps": 12',
        "(0.5, 0.1)": "(0.5,)",  # so small a network has not two rungs for it
    }
    for text, instead in shorter.items():
        assert text in code
        code = code.replace(text, instead)
    names = {"TINY": TINY}
    exec(code, names)
    assert len(names["images"]) == 16
    assert names["other"].config.prune.criterion == "taylor"
    assert len(names["frame"]) >= 3


def test_what_cannot_be_done_is_raised(out, ticket, tmp_path, capsys):
    with pytest.raises(RuntimeError, match="exit code 2; the reason is printed above"):
        lthray.run_trial({"train.steps": -1}, out=out)
    assert "--train.steps = '-1': must be" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no study of this store"):
        lthray.load("nix", out=out)
    with pytest.raises(ConfigError, match="nothing was recorded there"):
        lthray.results(out=str(tmp_path / "none"))


def test_importing_it_imports_nothing_heavy():
    code = "import sys, lthray; print({'torch', 'ray', 'mlflow', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
