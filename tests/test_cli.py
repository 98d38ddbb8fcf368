"""The command line as users meet it: help, bad input, hostile files, a trial, the store, a stop."""

import json
import os
import pickle
import re
import runpy
import shlex
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from lthray.__main__ import main as command
from lthray.config import options
from lthray.config.options import Root
from lthray.config.presets import PRESETS
from lthray.config.trial import TrialConfig
from lthray.core.store import Store
from lthray.core.ticket import Mask, Ticket
from lthray.study.ledger import Ledger
from lthray.tracking.read import Recorded
from lthray.trial.workshop import workshop_of

from .conftest import TINY, rounds, tiny

ROOT = Path(__file__).parent.parent
PAGES = sorted(path.name for path in (ROOT / "studies").glob("*.py"))


def argv_of(flat: dict) -> list[str]:
    """Words of a config as a command line."""
    found = []
    for word, value in flat.items():
        found += [f"--{word}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return found


SMALL = argv_of(TINY)


def main(argv: list[str]) -> object:
    """The exit code of a command, however it leaves."""
    try:
        return command(argv)
    except SystemExit as left:
        return left.code


# help


@pytest.mark.parametrize("page", PAGES)
def test_help_of_a_page_needs_neither_torch_nor_ray(page):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{page}', '--help']\n"
        "try: runpy.run_path('studies/' + sys.argv[0], run_name='__main__')\n"
        "except SystemExit as left: assert not left.code, left.code\n"
        "heavy = {'torch', 'ray', 'mlflow', 'diffusers'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"usage: python studies/{page}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "--prune.scored {trained,average,rewound} [trained]" in done.stdout
    if page != "throughput.py":  # which holds a diffusers loop of its own
        assert "HEAVY []" in done.stdout


@pytest.mark.parametrize(
    "command",
    [[], ["--help"], ["trial", "-h"], ["record", "--help"], ["store", "--help"], ["preset", "-h"]],
)
def test_help_of_a_command(command, capsys):
    assert main(command) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("usage: lthray")
    assert shown.err == ""


def test_the_installed_command_is_this_one():
    (installed,) = metadata.entry_points(group="console_scripts", name="lthray")
    assert installed.load() is command


def test_version(capsys):
    assert command(["--version"]) == 0
    assert capsys.readouterr().out.count(".") == 2


def test_a_reader_who_leaves_is_no_error():
    pipe = subprocess.run(
        f"{sys.executable} studies/sanity.py --help | true; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, cwd=ROOT, timeout=60,
        check=False,
    )  # fmt: skip
    assert pipe.stderr == ""
    assert pipe.stdout.strip() in (
        str(options.INTERRUPTED),
        str(options.DONE),
    )  # done, where the pipe took it all


# bad input: one line a fault on stderr, exit 2, nothing written


BAD = [
    (["frob"], "'frob': must be one of study, analysis, ui, report, trial, record"),
    (
        ["trial", "--prune.criterion", "magnitud"],
        "--prune.criterion = 'magnitud': must be one of magnitude, random, movement",
    ),
    (["trial", "--prune.layers", "conv_in"], "--prune.layers"),
    (
        ["trial", "--prune.layers", "conv_in", "1"],
        "no pattern covers 'time_embedding.linear_1' and 33 more",
    ),
    (
        ["trial", "--prune.layers", "conv_im", "1", "*", "free"],
        "'conv_im' matches no layer; layers are ['conv_in'",
    ),
    (["trial", "--prune.budget", "sampled", "--prune.dials", "0", "0"], "prune.dials"),
    (["trial", "--preset", "cifar"], "--preset = 'cifar'"),
    (["trial", "--preset", "cifar10"], "data.root = ''"),
    (["trial", "--preset", "cifar10", "--data-root", "/nix"], "no usable CIFAR10 below /nix"),
    (["trial", "--origin", "/nix"], "origin = '/nix': No such file"),
    (
        ["trial", "--model.pretrained", "/nix"],
        "model.pretrained = '/nix': is no file, no folder, and no Hub id",
    ),
    (
        ["trial", "--measure.inception", "/proc/version"],
        "measure.inception = '/proc/version': not torch-fidelity's",
    ),
    (
        ["trial", "--tracking-uri", "htp://me:secret@host"],
        "--tracking-uri = 'htp://***@host': must begin with one of http://",
    ),
    (["trial", "--out", "/proc/version"], "--out = '/proc/version': /proc/version is a file"),
    (["record", "--seed", "1"], "--seed: no such option"),
    (["record"], "there is no lthray store below it"),
    (["store", "verify"], "there is no lthray store below it"),
    (["store", "frob"], "must be one of verify, size, conflicts, sweep"),
]


@pytest.mark.parametrize(("argv", "said"), BAD, ids=[" ".join(argv) for argv, _ in BAD])
def test_bad_input_is_one_line_and_exit_2(argv, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code = main(argv)
    err = capsys.readouterr().err
    assert code == options.BAD_INPUT
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert "secret" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_default_root_is_checked_too(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("mine")
    assert command(["trial", *SMALL]) == options.BAD_INPUT
    assert capsys.readouterr().err == f"error: --out = 'runs': {tmp_path}/runs is a file\n"
    assert Path("runs").read_text() == "mine"


def test_every_fault_of_a_line_at_once(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    faulty = [
        "--seed",
        "x",
        "--train.lr",
        "0",
        "--prune.ladder",
        "0.1",
        "0.5",
        "--nosuch",
        "1",
        "--out",
        "/proc/version",
    ]
    assert command(["trial", *faulty]) == options.BAD_INPUT
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("error: --") for line in lines)


@pytest.mark.parametrize(
    "argv",
    [["--trials", "0"], ["--preset", "cifar10"], ["--train.steps", "0"], ["--origin", "/nix"]],
)
def test_a_study_refuses_before_ray_is_loaded(argv, tmp_path):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['page.py'] + {argv!r}\n"
        f"try: runpy.run_path({str(ROOT / 'studies/layerwise_search.py')!r}, run_name='__main__')\n"
        "except SystemExit as left: print('LEFT', left.code, 'ray' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert done.stdout == "LEFT 2 False\n", done.stderr
    assert done.stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


# hostile and damaged tickets: one line, exit 3, nothing executed, nothing written


class Evil:
    """Touches a file where it is unpickled."""

    def __reduce__(self):
        return (os.system, ("touch EXECUTED",))


def ticket_file() -> bytes:
    """A fit ticket of the tiny network."""
    config = tiny()
    workshop = workshop_of(config)
    tensors = {}
    for name, whole in workshop.whole(config.prune.layers).items():
        tensors[name] = torch.arange(whole.numel()).reshape(whole.shape) % 2 == 0
    return Ticket(Mask(tensors), workshop.weights(0), 0).to_bytes({"config": {}})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda good: pickle.dumps(Evil()), "never loads pickles"),
        (lambda good: b"", "not a safetensors file"),
        (lambda good: good[:-1], "not a safetensors file"),
        (lambda good: good + b"x", "not a safetensors file"),
        (lambda good: (2**40).to_bytes(8, "little") + good[8:], "not a safetensors file"),
        (lambda good: good.replace(b"down_blocks", b"up__blocks_", 1), "another network"),
    ],
)
def test_a_ticket_that_is_none_is_refused(make, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("bad").write_bytes(make(ticket_file()))
    assert command(["trial", *SMALL, "--origin", "bad"]) == options.INTEGRITY
    err = capsys.readouterr().err
    assert err.startswith("error: origin = 'bad': ")
    assert err.count("\n") == 1
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


# one trial, its record, its store


def test_a_trial_from_the_command_line_is_the_trial(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert command(["trial", *SMALL, "--seed", "3"]) == options.DONE
    said = capsys.readouterr().out
    assert "overall late25% s3: round 2/2, density 0.2999" in said
    store = Store("runs/store")
    mine = rounds(tiny(seed=3), store)  # all found, none made again
    (trial,) = Recorded(Root(out="runs").uri, "trial.digits").trials
    assert [r.metrics for r in mine] == [r.metrics for r in trial.rounds]
    (call,) = Ledger.all(store)
    assert call.about["command"] == f"lthray trial {shlex.join(SMALL)} --seed 3"

    assert command(["record", "--tracking-uri", f"sqlite:///{tmp_path}/other.db"]) == options.DONE
    assert capsys.readouterr().out.startswith("1 trials recorded in sqlite:///")
    assert len(Recorded(f"sqlite:///{tmp_path}/other.db", "trial.digits").trials) == 1

    assert command(["store", "verify"]) == options.DONE
    intact = capsys.readouterr().out
    assert intact.endswith(" objects verified, 0 damaged (set aside, made again when needed)\n")
    assert command(["store", "size"]) == options.DONE
    assert " MB in " in capsys.readouterr().out
    damaged = max(Path("runs/store/objects").rglob("tensors"), key=lambda path: path.stat().st_size)
    damaged.chmod(0o600)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert command(["store", "verify"]) == options.INTEGRITY
    assert "1 damaged" in capsys.readouterr().out
    assert command(["store", "verify"]) == options.DONE


def test_passwords_are_neither_printed_nor_recorded(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    secret = "postgresql+psycopg://me:secret@host/mlflow"
    monkeypatch.setattr("lthray.tracking.write.replay", lambda *a, **k: 0)
    monkeypatch.setattr("lthray.config.addresses.find_spec", lambda module: True)  # as if installed
    assert command(["trial", *SMALL, "--tracking-uri", secret]) == options.DONE
    assert command(["record", "--tracking-uri", secret]) == options.DONE
    (call,) = Ledger.all(Store("runs/store"))
    shown = capsys.readouterr()
    assert "//***@" in call.about["command"]
    assert "0 trials recorded in postgresql+psycopg://***@host/mlflow" in shown.out
    for text in (shown.out, shown.err, json.dumps(call.about)):
        assert "secret" not in text


def test_a_ticket_of_one_trial_is_the_origin_of_another(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    store = Store("runs/store")
    last = rounds(tiny(), store)[-1]
    Path("ticket.safetensors").write_bytes(last.files["ticket"])
    assert (
        command(["trial", *SMALL, "--seed", "5", "--origin", "ticket.safetensors"]) == options.DONE
    )
    assert "origin overall late25% s5: round 1/1, density 0.2999" in capsys.readouterr().out
    moved = rounds(tiny(seed=5, origin="ticket.safetensors"), store)[-1]
    assert moved.densities == last.densities
    Path("ticket.safetensors").write_bytes(rounds(tiny(), store)[1].files["ticket"])
    again = [
        "--seed",
        "5",
        "--origin",
        "ticket.safetensors",
        "--model.layers",
        "2",
        "--rewind.rule",
        "given",
    ]
    assert command(["trial", *SMALL, *again[:4]]) == options.DONE
    assert command(["trial", *SMALL, *again]) == options.DONE
    assert "origin overall given s5: round 1/1, density 0.49" in capsys.readouterr().out
    trials = Recorded(Root(out="runs").uri, "trial.digits").trials
    tickets = [trial.rounds[-1].keys["mask"] for trial in trials]
    assert len(set(tickets)) == 3  # the file, not its name, says which trial it is
    assert command(["trial", *SMALL, *again, "--model.attention", "0"]) == options.INTEGRITY
    err = capsys.readouterr().err
    refused = "from 1 to 2 blocks a level: ticket of another network: "
    assert err.startswith(f"error: origin = 'ticket.safetensors': {refused}")
    assert err.count("\n") == 1


def test_a_trial_that_fails_says_why_and_exits_5(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert command(["trial", *SMALL, "--train.lr", "1e30"]) == options.PARTIAL
    assert capsys.readouterr().err.startswith("error: NonFinite: training loss is ")
    (call,) = Ledger.all(Store("runs/store"))
    assert [entry.end.status for entry in call] == ["failed"]
    assert b"NonFinite" in call.traceback(0)["traceback.txt"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_trial_is_resumable(number, tmp_path):
    # a shell starts background jobs with SIGINT ignored, and children inherit that
    start = ["bash", "-c", 'trap "" INT; exec "$@"', "-", sys.executable, "-m", "lthray", "trial"]
    worker = subprocess.Popen(
        [*start, *argv_of(TINY | {"train.steps": 100_000})],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert "round 0, step" in worker.stdout.readline()  # a state was committed
    worker.send_signal(number)
    said, _ = worker.communicate(timeout=60)
    assert worker.returncode == options.INTERRUPTED
    assert re.search(r"to go on, the same command:  \S*lthray trial --model.channels 8", said)


# a study without Ray


LOCAL = f"""
import sys
from lthray.cli import study
from lthray.study.page import Grid

PAGE = Grid(name="small", about="Tiny.", seeds=(0, 1), words={TINY!r},
            points=lambda config: [{{"prune.criterion": "magnitude"}}])
code = study(PAGE, sys.argv[1:])
print("LEFT", code, "ray" in sys.modules)
"""


def test_a_study_runs_in_one_process_without_ray(tmp_path):
    (tmp_path / "page.py").write_text(LOCAL)
    argv = [sys.executable, "page.py", "--local", "--measure.images", "16"]
    for seeds, number in (("0", 1), ("0 1", 2), ("0 1", 2)):
        done = subprocess.run(
            [*argv, "--seeds", *seeds.split()],
            capture_output=True, text=True, cwd=tmp_path, timeout=240, check=False,
        )  # fmt: skip
        assert done.stdout.endswith("LEFT 0 False\n"), done.stdout + done.stderr
        assert "trials, best first" in done.stdout
        assert re.search(r"^look:  \S*lthray ui --out runs$", done.stdout, re.M)
        recorded = Recorded(Root(out=str(tmp_path / "runs")).uri, "small.digits")
        latest = recorded.of(recorded.trials[-1].id[:12])
        assert len(latest) == number
        assert {trial.status for trial in latest} == {"done"}
        assert [len(trial.rounds) for trial in latest] == [3] * number


# the plan of every page


@pytest.mark.parametrize("page", [page for page in PAGES if page != "throughput.py"])
@pytest.mark.parametrize("smoke", [[], ["--smoke"]])
def test_dry_runs_print_the_plan_and_write_nothing(page, smoke, tmp_path, monkeypatch, capsys):
    path = str(ROOT / "studies" / page)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [path, "--dry-run", *smoke])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(path, run_name="__main__")
    shown = capsys.readouterr()
    assert left.value.code == 0, shown.err
    for said in (
        "trials of the ",
        "unique of",
        "training time   at most",
        "store           about",
        "power  ",
    ):
        assert said in shown.out
    assert list(tmp_path.iterdir()) == []
    assert not re.search(r"\w\(\w+=|\('|None|True|False", shown.out)  # Python's own spelling
    assert max(map(len, shown.out.splitlines())) <= 80


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_trial_that_can_be_planned(preset):
    config = TrialConfig.from_flat(PRESETS[preset])
    assert TrialConfig.from_flat(json.loads(json.dumps(config.canonical()))) == config
