"""Bad input of every kind that no other file has: one line, its exit code, nothing half-written."""

import io
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lthray.__main__ import main
from lthray.config import addresses, options
from lthray.config.fields import ConfigError, from_flat, words
from lthray.config.options import Options, split
from lthray.config.trial import TrialConfig
from lthray.core.record import Name, RecordError, checked
from lthray.core.store import MARK, Store
from lthray.findings.sections import Section, write
from lthray.study import resources, terminal
from lthray.study.ledger import Ledger
from lthray.study.tables import surface_table
from lthray.task import data

from .conftest import TINY
from .test_call import LIST, call, faults
from .test_cli import SMALL, argv_of
from .test_store import KEY, OTHER, filled


def refused(argv: list[str], capsys, code: int = options.BAD_INPUT) -> str:
    """The one line with which a command is refused."""
    try:
        left = main(argv)
    except SystemExit as error:
        left = error.code
    shown = capsys.readouterr()
    assert left == code, shown
    assert (shown.out, shown.err.count("\n")) == ("", 1), shown
    assert shown.err.startswith("error: ")
    assert shown.err.removesuffix("\n").isprintable()
    return shown.err


def lines_of(flat: dict, cls: type = TrialConfig) -> list[str]:
    """The faults of words."""
    with pytest.raises(ConfigError) as caught:
        from_flat(cls, flat) if cls is Options else TrialConfig.from_flat(flat)
    return caught.value.faults


# numbers

DEFAULTS = {word: row.default for word, row in words(TrialConfig).items()}
NUMBERS = [
    word for word, value in DEFAULTS.items() if type(value) in (int, float)
]  # True is 1 to Python
LISTS = [word for word, value in DEFAULTS.items() if type(value) is tuple]
FLOATS = [word for word, value in DEFAULTS.items() if type(value) is float]


@pytest.mark.parametrize("word", NUMBERS)
def test_a_number_is_no_truth_value_no_list_and_no_date(word):
    for bad in (True, False, [1], {"a": 1}, None, "12:30:45", "2026-01-01", "yes", "0x10", "1e999"):
        (line,) = lines_of({word: bad})
        assert line.startswith(f"{word} = ")
        assert "\n" not in line


@pytest.mark.parametrize("word", LISTS)
def test_a_list_is_no_number_and_holds_no_truth_value(word):
    for bad in (0.5, "0.5", True, None, (True,), ("yes",), (None,)):
        if word != "measure.samplers" or bad != ("yes",):
            (line,) = lines_of({word: bad})
            assert line.startswith(f"{word} = ")


@pytest.mark.parametrize("word", FLOATS)
def test_no_number_is_infinite_and_minus_nought_is_nought(word):
    for bad in ("nan", "inf", "-inf", float("nan"), float("inf"), float("-inf")):
        (line,) = lines_of({word: bad})
        assert line.startswith(f"{word} = ")
    specs = []
    for nought in (0.0, -0.0, "-0", "-0.0e5"):
        try:
            specs.append(repr(TrialConfig.from_flat({word: nought}).canonical()))
        except ConfigError as error:
            specs.append(repr([line.partition(": ")[2] for line in error.faults]))
    assert len(set(specs)) == 1


def test_minus_nought_in_a_list_is_nought_too():
    ends = {"prune.budget": "sampled"}
    one, other = (
        TrialConfig.from_flat(ends | {"prune.dials": (sign * 0.0,) * 5}).canonical()
        for sign in (1, -1)
    )
    assert repr(one) == repr(other)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (["--train.lr", "1e-4"], 0.0001),
        (["--train.lr", ".5e-2"], 0.005),
        (["--seed", "012"], 12),
        (["--data.download", "no"], False),
        (["--data.download", "off"], False),
        (["--origin", "no"], "no"),
        (["--origin", "2026-01-01"], "2026-01-01"),
        (["--origin", "!!python/object/apply:os.system"], "!!python/object/apply:os.system"),
        (["--prune.ladder", "5e-1", ".25"], (0.5, 0.25)),
    ],
)
def test_a_text_is_what_its_word_says_and_nothing_else(text, value):
    flat, wrong = split(text, words(TrialConfig))
    assert wrong == []
    assert TrialConfig.from_flat(flat).flat()[text[0][2:]] == value


@pytest.mark.parametrize("density", ["0", "1", "-0.1", "1.1", "20", "20%", "a fifth", "nan"])
def test_a_density_lies_between_nought_and_one(density):
    (line,) = lines_of({"prune.ladder": ["0.9", density]})
    assert line.startswith("prune.ladder = ")
    assert "(entry 1)" in line
    assert "than 0" in line or "than 1" in line or "valid number" in line or "finite" in line


@pytest.mark.parametrize(
    ("word", "given"),
    [
        ("prune.ladder", ["0.9", "20"]),
        ("prune.ladder", ["0.9", "20%"]),
        ("rewind.fraction", "5"),
        ("train.ema", "50%"),
    ],
)
def test_a_share_given_in_per_cent_is_told_how_it_is_written(word, given):
    (line,) = lines_of({word: given})
    assert "; 20 % is written 0.2" in line


@pytest.mark.parametrize(("word", "given"), [("train.lr", "-1"), ("train.lr", "x"), ("seed", "x")])
def test_what_is_no_share_has_no_word_on_per_cent(word, given):
    (line,) = lines_of({word: given})
    assert "%" not in line


def test_a_study_of_too_many_trials_is_refused_before_any_is_made():
    many = [str(seed) for seed in range(20_000)]
    (line,) = faults(LIST, "--seeds", *many)
    assert "60,000 trials (3 points on 20,000 seeds), at most 10,000 are run" in line
    assert call(LIST, "--trials", "4", "--seeds", *many).trials == 4
    assert call(LIST, "--seeds", *many[:3333]).trials == 9999
    for bad in ("0", "-1", "1000000000", "1e3"):
        assert faults(LIST, "--trials", bad)[0].startswith(f"--trials = '{bad}'")
    huge = replace(LIST, points=lambda config: [{"train.lr": 1e-6 * (1 + n)} for n in range(4000)])
    assert "12,000 trials" in faults(huge)[0]


# what a study shows


@pytest.mark.parametrize(
    ("surface", "said"),
    [
        (("prune.criterion", "loss/exces"), "did you mean 'loss/excess'?"),
        (("prune.criterion", "accuracy"), "must be a word of a config and a metric"),
        (("prune.criterio", "loss/excess"), "must be a word of a config"),
    ],
)
def test_a_table_of_no_metric_is_refused_before_anything_is_trained(surface, said):
    (line,) = faults(replace(LIST, surface=surface))
    assert line.startswith("surface of list = ")
    assert said in line
    assert call(replace(LIST, surface=("control", "quality/ddim/kid_lenet"))).trials == 9


def test_a_metric_that_nobody_measured_makes_an_empty_table(tmp_path):
    from lthray.study.results import trials

    from .test_desk import LIST as TWO
    from .test_desk import opened, work_off

    store = Store(tmp_path / "store")
    made, ledger = opened(TWO, store)
    work_off(made, ledger, store, last=0)
    shown = surface_table(list(trials(store, ledger)), "prune.criterion", "quality/accuracy")
    assert shown.row_count == 0


# a shell that has put in nothing, or not what it should

EMPTY = [
    ["--origin", ""],
    ["--origin="],
    ["--tracking-uri", " "],
    ["--data-root", ""],
    ["--preset", ""],
    ["--prune.ladder", ""],
    ["--prune.ladder", "0.5", ""],
    ["--train.lr", ""],
]


@pytest.mark.parametrize("argv", EMPTY, ids=" ".join)
def test_a_variable_that_is_not_set_is_no_default(argv, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINE", "my-own-secret")
    err = refused(["trial", *argv], capsys)
    name = argv[0].partition("=")[0].replace("-", "_").replace("__", "--")
    assert err == f"error: {name}: got an empty text (is a variable of the shell not set?)\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--seeds", "--confirm-seeds", "--beside"])
def test_an_option_without_a_value_is_no_default(option):
    assert f"--{option[2:].replace('-', '_')}: needs one value, got none" in faults(LIST, option)


OUT = {
    "~/runs": "begins with ~, which no shell has filled in",
    "~": "begins with ~",
    "$SCRATCH/runs": "has a $, which no shell has filled in",
    "/data/${USER}": "has a $",
    "/": "is the root of the file system",
    "s3://bucket/runs": "is an address; results go into a folder",
    "gs://bucket/runs": "is an address",
    "memory://runs": "is an address",
    "file://host/runs": "is an address",
    "http://169.254.169.254/latest/meta-data": "is an address",
    "s3://AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI@bucket/runs": "is an address",
}


@pytest.mark.parametrize("out", OUT)
def test_what_is_no_folder_of_results_is_refused(out, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    err = refused(["trial", *SMALL, "--out", out], capsys)
    assert OUT[out] in err
    assert "wJalr" not in err
    assert "AKIA" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["", "objects", "runs", "link"])
def test_results_never_lie_within_another_store(tmp_path, capsys, place):
    inner = tmp_path / "mine" / "store"
    filled(inner)
    (tmp_path / "link").symlink_to(inner)
    out = tmp_path / "link" / "x" if place == "link" else inner / place
    before = sorted(tmp_path.rglob("*"))
    assert f"lies in the store {inner}; name" in refused(
        ["trial", *SMALL, "--out", str(out)], capsys
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_the_mark_of_a_store_is_one_word():
    assert addresses.MARK == MARK


@pytest.mark.parametrize("word", ["²", "1.5", "-1", "٣x", "0x1"])
def test_what_is_no_number_of_a_trial_is_refused(word, tmp_path, capsys):
    filled(tmp_path / "store")
    assert word in refused(["retry", "trial", word, "--out", str(tmp_path)], capsys)


def test_a_preset_that_is_not_there_tells_of_no_other_folder(tmp_path, capsys):
    (tmp_path / "theirs.json").write_text("{}")
    err = refused(["trial", "--preset", "../../x", "--out", str(tmp_path / "runs")], capsys)
    assert "theirs" not in err


# a cluster of another version


def test_a_cluster_of_another_version_is_told_with_both():
    text = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.11.9\n"
        "This process on node 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.12.1\n"
    )
    told = str(resources.refused("10.0.0.1:6379", RuntimeError(text)))
    assert "\n" not in told
    for each in ("2.59.0", "2.60.0", "3.11.9", "3.12.1", "RAY_AUTH_TOKEN_PATH"):
        assert each in told
    assert str(resources.refused("", TimeoutError())).startswith("Ray does not start here ()")


# names

NAMES = [
    "../../x", "/abs", "a/b", "..", ".", "", "-rf", "x ", " x", "x\0", "x\n", "x\ny", "CON", "Con",
    "x\u202ey", "x\u200by", "größe", "京" * 90, "a" * 65, "a" * 300, "a\\b", "*", "a:b", "$HOME",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_becomes_part_of_paths_is_plain(tmp_path, name, capsys):
    """Of a study, a preset, and whatever a record says; of two, none differs in case alone."""
    with pytest.raises(ValueError, match=r"Study.name .*: up to 64 of a-z 0-9"):
        replace(LIST, name=name)
    with pytest.raises(RecordError):
        checked(Name, name)
    for row in range(16):
        folder = tmp_path / "pets"
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 7 * row, np.uint8)).save(folder / f"{row}.png")
    if name.strip():  # an option without a text is told apart
        argv = ["data", str(folder), "--out", str(tmp_path / "runs"), "--name", name]
        assert "up to 64 of a-z 0-9" in refused(argv, capsys)
    assert not (tmp_path / "runs").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pets"]


# files that are there already


def test_reports_take_the_place_of_links_and_never_write_through_them(tmp_path):
    aim = tmp_path / "thesis.tex"
    aim.write_text("mine")
    folder = tmp_path / "reports"
    folder.mkdir()
    for ending in (".tex", ".csv", ".md"):
        (folder / f"table{ending}").symlink_to(aim)
    section = Section("table", "A table.", table=[["a"], ["1"]])
    write([section], folder)
    write([section], folder)
    assert aim.read_text() == "mine"
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["table.csv", "table.md", "table.tex"]
    (folder / "table.csv").unlink()
    (folder / "table.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        write([section], folder)
    assert sorted(path.name for path in folder.iterdir()) == ["table.csv", "table.md", "table.tex"]


# a store that is in use


def test_a_sweep_takes_nothing_that_is_in_use(tmp_path, capsys):
    """Objects, a writer at work, and what was set aside just now."""
    store = filled(tmp_path / "runs" / "store")
    (store.root / "tmp" / "writing").mkdir()
    path = next((store.root / "objects").glob(f"*/{OTHER}/step-00000001/000/tensors"))
    path.chmod(0o600)
    path.write_bytes(b"x")
    assert store.find(OTHER, "step-00000001") is None
    with store.lock(KEY):
        before = {path for path in store.root.rglob("*") if path.name != "locks"}
        assert main(["store", "sweep", "--out", str(tmp_path / "runs")]) == options.DONE
        assert capsys.readouterr().out == "0 abandoned or damaged objects removed\n"
        assert {path for path in store.root.rglob("*") if path.name != "locks"} == before
        for stale in (store.root / "tmp" / "writing", *(store.root / "damaged").iterdir()):
            os.utime(stale, (1, 1))
        assert main(["store", "sweep", "--out", str(tmp_path / "runs")]) == options.DONE
    assert capsys.readouterr().out == "2 abandoned or damaged objects removed\n"
    assert Store(store.root).find(KEY) is not None


def test_a_sweep_leaves_what_it_cannot_read(tmp_path, capsys):
    """A manifest that is damaged makes nothing garbage: not its object, and no other."""
    store = filled(tmp_path / "runs" / "store")
    manifest = next((store.root / "objects").glob(f"*/{KEY}/whole/000/manifest.json"))
    manifest.chmod(0o600)
    manifest.write_bytes(manifest.read_bytes()[:-9])
    before = set((store.root / "objects").rglob("*"))
    assert store.sweep(older=0) == 0
    assert set((store.root / "objects").rglob("*")) == before
    assert main(["store", "verify", "--out", str(tmp_path / "runs")]) == options.INTEGRITY
    assert capsys.readouterr().out.startswith("1 objects verified, 1 damaged")
    assert store.find(OTHER, "step-00000001") is not None
    (aside,) = (store.root / "damaged").iterdir()
    assert {path.name for path in aside.iterdir()} == {"manifest.json", "tensors", "picture"}


# a terminal that is none


def lthray(*argv: str, shell: str = "", **env: str) -> subprocess.CompletedProcess:
    """A command in a process of its own; `shell` stands behind it."""
    line = f'exec "$@" {shell}'
    return subprocess.run(
        ["bash", "-c", line, "-", sys.executable, "-m", "lthray", *argv],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("shell", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "< /dev/null"])
def test_a_closed_stream_is_no_error(tmp_path, shell):
    done = lthray("--version", shell=shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (shell in ("<&-", "2>&-", "< /dev/null"))
    done = lthray("trial", "--seed", "-1", "--out", f"{tmp_path}/none", shell=shell)
    assert done.returncode == options.BAD_INPUT
    assert done.stdout == ""
    assert done.stderr.startswith("error: --seed = '-1'") == ("2>&-" not in shell)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_cannot_say_is_said_as_python_would(tmp_path, encoding):
    place = tmp_path / "größe 京"
    for row in range(16):
        place.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 7 * row, np.uint8)).save(place / f"{row}.png")
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    script = "import sys; from lthray.__main__ import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", script, "data", str(place), "--out", str(tmp_path / "é")]
    done = subprocess.run(argv, capture_output=True, env={**os.environ, **env}, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "16 images" in done.stdout.decode(encoding)


@pytest.mark.parametrize(
    "argv", [["trial", "--out"], ["trial", "--data.root"], ["trial", "--origin"], ["data"]]
)
def test_a_name_that_is_no_text_is_refused(argv, tmp_path, monkeypatch, capsys):
    """Of a file system without UTF-8, or where the locale cannot say what is there."""
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"gr\xf6\xdfe")
    err = refused([*argv, name], capsys)
    assert err == (
        "error: 'gr\\udcf6\\udcdfe': no text in UTF-8; rename it, or set LC_ALL=C.UTF-8\n"
    )
    assert list(tmp_path.iterdir()) == []
    os.mkdir(name)
    monkeypatch.chdir(tmp_path / name)
    assert "lies in a folder whose name is no text in UTF-8" in refused(["trial", *SMALL], capsys)
    assert os.listdir(".") == []


class Terminal(io.StringIO):
    """A terminal that does not know how wide it is."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", ["0", "7", "-3", "wide", ""])
def test_a_terminal_of_no_width_is_written_to(columns, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "stdout", Terminal())
    terminal.console().print("a line")
    terminal.console().print(terminal.table("of", ["head"], [["cell"]]))
    shown = sys.stdout.getvalue()
    for word in ("a line", "of", "head", "cell"):
        assert word in shown


# data that have changed


def test_the_same_command_on_changed_data_is_another_trial(tmp_path, monkeypatch, capsys):
    """Nothing of the one is taken for the other, and both stay on record."""
    monkeypatch.setattr("lthray.tracking.write.replay", lambda *_, **__: 0)
    place = tmp_path / "pets"
    place.mkdir()
    for row in range(40):
        Image.fromarray(np.full((8, 8), 6 * row, np.uint8)).save(place / f"{row:02}.png")
    mine = {"data.name": "folder", "data.root": str(place), "prune.images": 8}
    argv = ["trial", *argv_of(TINY | mine | {"prune.ladder": (0.5,)})]
    argv += ["--out", str(tmp_path / "runs")]
    assert main(argv) == options.DONE
    assert "changed" not in capsys.readouterr().out
    Image.fromarray(np.full((8, 8), 241, np.uint8)).save(place / "07.png")
    data.read.cache_clear()
    (before,) = Ledger.all(Store(tmp_path / "runs" / "store"))
    assert main(argv) == options.DONE
    told = f"have changed since call {before.key[:16]}: all is made anew\n"
    assert told in capsys.readouterr().out
    assert main([*argv, "--train.lr", "0.001"]) == options.DONE  # another trial for other reasons
    assert "changed" not in capsys.readouterr().out
    calls = {ledger.key: ledger for ledger in Ledger.all(Store(tmp_path / "runs" / "store"))}
    first = calls.pop(before.key)
    second = next(ledger for ledger in calls.values() if "0.001" not in ledger.about["command"])
    (a,), (b,) = first, second
    assert a.point.data[1] != b.point.data[1]
    assert not {*a.point.runs} & {*b.point.runs}
    assert a.end.status == b.end.status == "done"
