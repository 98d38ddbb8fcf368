"""Addresses: a folder of any name becomes one and comes back, and no secret is ever told."""

import logging
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy.engine import make_url

from lthray.__main__ import main
from lthray.config import options
from lthray.config.addresses import (
    DRIVERS,
    checked,
    database,
    file_of,
    page_of,
    redacted,
    secrets_of,
)
from lthray.config.options import Root
from lthray.config.shell import command_line
from lthray.core.store import Store
from lthray.study.ledger import FAILED, Ledger
from lthray.trial.points import point
from lthray.trial.recipe import trajectory

from .conftest import TINY, tiny
from .test_images import PETS, folder_of

FOLDERS = [
    "plain",
    "a b%25c",
    "x?y",
    "x#y",
    'it\'s "so"',
    "größe 京",
    "a@b:c",
    "[bold]:cat:",
    "a&b;c=d+e",
]
SMALL = [
    part
    for word, value in TINY.items()
    for part in (f"--{word}", *map(str, value if isinstance(value, tuple) else [value]))
]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_database_of_any_name_comes_back_as_the_file_that_it_is(tmp_path, name):
    file = tmp_path / name / "mlflow.db"
    address = database(file)
    assert make_url(address).database == str(file)  # as SQLAlchemy reads it
    assert file_of(address) == file
    assert Root(out=str(tmp_path / name)).uri == address
    assert shlex.split(shlex.quote(address)) == [address]
    if name == "plain":
        assert address == f"sqlite:///{file}"


@pytest.mark.parametrize("name", FOLDERS[1:4])
def test_mlflow_lies_inside_a_root_of_any_name_and_is_read_again(
    tmp_path, monkeypatch, capsys, name
):
    from lthray.tracking.client import client
    from lthray.tracking.write import Recorder

    out = tmp_path / name
    out.mkdir()
    root = Root(out=str(out))
    recorder = Recorder(root.uri, root.artifacts)
    about = {"study": "s", "preset": "digits", "smoke": False, "question": "Which?"}
    experiment = recorder.experiment(about)
    run = recorder.client.create_run(experiment)
    recorder._files(run.info.run_id, {"trial.json": {"a": 1}})
    again = client(root.uri)
    assert [found.name for found in again.search_experiments(filter_string="name = 's.digits'")]
    local = again.download_artifacts(run.info.run_id, "trial.json", str(tmp_path))
    assert Path(local).read_text().split() == ["{", '"a":', "1", "}"]
    assert sorted(path.name for path in out.iterdir()) == ["artifacts", "mlflow.db"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "trial.json"])


def test_a_relative_database_is_told_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Root(tracking_uri="sqlite:///my.db").uri == f"sqlite:///{tmp_path}/my.db"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite://", "names no file, so all would be lost at the end; use sqlite:////absolute"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file::memory:?cache=shared&uri=true", "names no file"),
        ("sqlite+pysqlite://", "names no file"),
        ("sqlite:///a.db?mode=memory", "must be a path and nothing else"),
        ("sqlite:///file:a.db", "must be a path and nothing else"),
        ("sqlite://a.db", "must be a path and nothing else"),
        ("sqlite:////proc/version/a.db", "/proc/version is a file"),
        ("sqlite:////dev/null", "is no regular file; use sqlite:////absolute/path/mlflow.db"),
        ("sqlite:///~/a.db", "only a shell knows what ~ is"),
        ("sqlite:////tmp", "is a folder; use sqlite:////absolute/path/mlflow.db"),
        ("file:///mlruns", "must begin with one of http://"),
        ("./mlruns", "must begin with one of http://"),
        ("postgres://me:canary@host/db", "is written postgresql://host/database here"),
        ("postgres+psycopg2://me@host/db", "is written postgresql://host/database here"),
        ("mariadb://me@host/db", "is written mysql+pymysql://host/database here"),
        ("oracle://host/db", "must begin with one of http://"),
        ("databricks", "must begin with one of http://"),
        ("http://", "names no server, such as http://127.0.0.1:5000"),
        ("http://:5000", "names no server"),
        ("http://host:port", "names no server"),
        ("http://host/?token=canary", "a token goes into MLFLOW_TRACKING_TOKEN"),
        ("http://me:ca/nary@host", "write / as %2F"),
        ("http://me:ca@nary@host", "write / as %2F, @ as %40"),
        ("postgresql://me:ca nary@host/db", "a blank as %20"),
        ("http://me:ca?nary@host/db", "? as %3F"),
        ("http://me:canary@host:5000", "would send the password in the clear; use https://"),
        ("http://canary@mlflow.example", "in the clear"),
        ("http://me:canary@10.0.0.7:5000", "in the clear"),
        ("http://me:canary@localhost.evil.example", "in the clear"),
        ("http://me:canary@127.evil.example", "in the clear"),
    ],
)
def test_an_address_that_would_lose_what_is_recorded_is_refused(uri, said):
    with pytest.raises(ValueError, match=r"^tracking_uri = ") as raised:
        checked(uri)
    assert said in str(raised.value)
    assert "nary" not in str(raised.value)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "http://host",
        "https://me:a%2Fb%40c@host:5000/base",
        "http://me:pw@127.0.0.1:5000",
        "http://me:pw@localhost:5000",
        "http://me:pw@[::1]:5000",
        "postgresql://me:pw@host:5432/db?sslmode=require",
        "postgresql+psycopg://me:pw@host/db",
        "postgresql:///db",
        "mysql+pymysql://me:pw@host/db",
        "sqlite:///my.db",
        "sqlite:///{folder}/my%3Fdb",
    ],
)
def test_an_address_that_mlflow_takes_is_taken(uri, tmp_path, monkeypatch):
    monkeypatch.setattr("lthray.config.addresses.find_spec", lambda module: module)
    uri = uri.replace("{folder}", str(tmp_path))
    assert checked(uri) == uri


@pytest.mark.parametrize(
    ("scheme", "module", "command"),
    [
        ("postgresql", "psycopg", "pip install 'psycopg[binary]'"),
        ("postgresql+psycopg", "psycopg", "pip install 'psycopg[binary]'"),
        ("postgresql+psycopg2", "psycopg2", "pip install psycopg2-binary"),
        ("mysql", "MySQLdb", "pip install mysqlclient"),
    ],
)
def test_a_driver_that_is_missing_is_told_before_anything_is_done(
    tmp_path, monkeypatch, capsys, scheme, module, command
):
    monkeypatch.setattr("lthray.config.addresses.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    uri = f"{scheme}://me:{CANARY}@127.0.0.1:9/db"
    assert main(["trial", *SMALL, "--tracking-uri", uri]) == options.BAD_INPUT
    err = capsys.readouterr().err
    assert f"needs the driver {module}, which is not installed; {command}" in err
    assert err.count("\n") == 1
    assert CANARY not in err
    assert list(tmp_path.iterdir()) == []


def test_the_drivers_are_those_that_sqlalchemy_takes_and_the_extra_has():
    import tomllib

    for scheme, (module, _) in DRIVERS.items():
        dialect = make_url(f"{scheme}://").get_dialect()
        assert dialect.driver.lower() == module.lower(), scheme
    facts = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    wanted = facts["project"]["optional-dependencies"]["postgres"]
    assert [re.split("[><=]", name)[0] for name in wanted] == [DRIVERS["postgresql"][1]]


def test_a_driver_that_cannot_be_loaded_is_one_line(monkeypatch):
    from lthray.config.fields import ConfigError
    from lthray.tracking import client

    def broken(*args, **words):
        raise ImportError("no pq wrapper available.\nAttempts made:\n- couldn't import")

    monkeypatch.setattr("sqlalchemy.create_engine", broken)
    with pytest.raises(ConfigError) as raised:
        client.client(f"postgresql://me:{CANARY}@127.0.0.1:9/db")
    (line,) = raised.value.faults
    assert line.endswith("(no pq wrapper available.); pip install 'psycopg[binary]'")
    assert "\n" not in line
    assert CANARY not in line


CANARY = "cAnArY7"
ADDRESSES = {
    "password": f"http://me:{CANARY}@127.0.0.1:9",
    "token for a name": f"http://{CANARY}@127.0.0.1:9",
    "a slash": f"http://me:{CANARY}/{CANARY}@127.0.0.1:9",
    "an at": f"http://me:{CANARY}@{CANARY}@127.0.0.1:9",
    "a blank": f"http://me:x {CANARY}@127.0.0.1:9",
    "quoted": f"http://me:a%2F{CANARY}%40b@127.0.0.1:9",
    "a query of a server": f"http://127.0.0.1:9/?token={CANARY}",
    "more of a query": f"http://127.0.0.1:9/?a=b&api_key={CANARY}",
    "a database": f"postgresql://me:{CANARY}@127.0.0.1:9/db",
    "its query": f"postgresql://127.0.0.1:9/db?password={CANARY}",
    "an unknown one": f"htp://me:{CANARY}@host",
    "no driver": f"mssql+nix://me:{CANARY}@host/db",
}
STUDY = """
import sys
from lthray.cli import analysis, study
from lthray.study.page import Grid
PAGE = Grid(name="page", about="Tiny.", seeds=(0,), points=lambda config: [{}])
sys.exit(study(PAGE) if sys.argv.pop(1) == "study" else analysis("x", "Tiny.", lambda *_: []))
"""
COMMANDS = {
    "trial": ["trial", *SMALL],
    "record": ["record"],
    "preset": ["preset", "mine", "--experiment", "a.b"],
    "study": ["study", "--local", *SMALL],
    "dry": ["study", "--local", "--dry-run", *SMALL],
    "analysis": ["analysis", "--experiment", "a.b"],
}


def written(root: Path) -> str:
    """Return the names and the bytes of all files below a folder."""
    texts = []
    for path in root.rglob("*"):
        texts.append(str(path))
        if path.is_file():
            texts.append(path.read_bytes().decode("latin-1"))
    return "\n".join(texts)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Make an MLflow that does not answer give up at once, and a page to run in this process."""
    from lthray import cli
    from lthray.tracking import client

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "PATIENCE", 0.5)
    monkeypatch.setitem(client.ENVIRON, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setitem(client.ENVIRON, "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "1")
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)

    def go(*argv: str) -> None:
        if argv[0] in ("study", "analysis"):
            monkeypatch.setattr(sys, "argv", ["page.py", *argv])
            with pytest.raises(SystemExit):
                exec(compile(STUDY, "page.py", "exec"), {"__name__": "page"})
        else:
            monkeypatch.setattr(sys, "argv", ["lthray", *argv])
            main(argv)

    return go


@pytest.mark.parametrize("command", COMMANDS)
def test_no_secret_leaves_the_program(quick, command, capfd, caplog, tmp_path):
    rows = ADDRESSES if command == "record" else {"password": ADDRESSES["password"]}
    if command == "record":
        main(["trial", *SMALL])
    for address in rows.values():
        quick(*COMMANDS[command], "--tracking-uri", address)
    shown = capfd.readouterr()
    assert shown.err or shown.out
    for text in (shown.out, shown.err, caplog.text, written(tmp_path)):
        assert CANARY not in text


# command -> the words before an address that is given where it does not belong
MISPLACED = {
    "data, an option": ["data", "pets", "--tracking-uri"],
    "data, the place": ["data"],
    "data, the name": ["data", "pets", "--name"],
    "data, the root": ["data", "pets", "--out"],
    "retry, an option": ["retry", "--tracking-uri"],
    "retry, the study": ["retry"],
    "retry, a number": ["retry", "a"],
    "explain": ["explain"],
    "store": ["store"],
    "no command": [],
    "model.pretrained": ["trial", "--model.pretrained"],
    "origin": ["trial", "--origin"],
    "measure.inception": ["trial", "--measure.inception"],
    "a word": ["trial", "--prune.criterion"],
}


@pytest.mark.parametrize("words", MISPLACED.values(), ids=MISPLACED)
def test_an_address_in_the_wrong_place_is_told_without_its_secret(quick, words, capfd, caplog):
    folder_of(Path("pets"), PETS)
    for address in [*ADDRESSES.values(), f"me:{CANARY}@host:5000"]:
        quick(*words, address)
        quick(*words[:-1], f"{words[-1]}={address}") if words else None
    shown = capfd.readouterr()
    assert "***" in shown.err + shown.out
    assert CANARY not in shown.out + shown.err + caplog.text


def test_what_a_store_says_is_told_without_secrets(quick, capfd, tmp_path):
    address = ADDRESSES["password"]
    store = Store(tmp_path / "runs" / "store")
    about = {"study": "s", "preset": "digits", "smoke": False, "question": "?", "varied": []}
    about |= {"command": f"python x.py --tracking-uri {address}", "commit": "", "lthray": "0"}
    ledger = Ledger.freeze(store, {"study": "s"}, about)
    ledger.begin(0, point(trajectory(tiny()), {}, "list"))
    trace = f"Traceback\nOSError: {address}\n"
    ledger.finish(0, FAILED, f"OSError: {address}", trace=trace, kind="deterministic")
    assert ledger.end(0).reason == "OSError: http://***@127.0.0.1:9"
    assert CANARY not in ledger.traceback(0)["traceback.txt"].decode()
    quick("retry")
    shown = capfd.readouterr()
    assert "1 failed trials were put in line again" in shown.out
    assert "http://***@" in shown.out
    assert CANARY not in shown.out + shown.err


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_an_error_and_what_caused_it_are_told_without_secrets(address, capsys, monkeypatch):
    from lthray.command import guarded

    def fails() -> int:
        logging.getLogger("lthray.test").warning("cannot reach %s", address)
        print(f"asking {address}")
        try:
            raise ValueError(
                f"Max retries exceeded with url: {address.partition('9')[2]} {address}"
            )
        except ValueError as error:
            raise OSError(f"{address}: {error!r}") from error

    argv = ["record", f"--tracking-uri={address}"]
    assert guarded(fails, argv) == options.ENVIRONMENT
    shown = capsys.readouterr()
    assert "asking " in shown.out
    assert "***" in shown.err
    assert CANARY not in shown.out + shown.err


def test_an_unforeseen_error_leaves_as_it_is_but_is_printed_without_secrets(capsys, monkeypatch):
    from lthray.command import guarded

    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)

    def fails() -> int:
        raise KeyError(ADDRESSES["password"])

    with pytest.raises(KeyError) as raised:
        guarded(fails, [ADDRESSES["password"]])
    sys.excepthook(raised.type, raised.value, raised.tb)
    err = capsys.readouterr().err
    assert "KeyError: 'http://***@127.0.0.1:9'" in err
    assert CANARY not in err


def test_secrets_of_a_command_line_and_of_the_environment(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "from-the-environment")
    argv = ["--tracking-uri", "http://me:pass%2Fword@host/?token=abcdef&page=12345", "--out", "a"]
    found = secrets_of(argv)
    assert {"from-the-environment", "pass%2Fword", "pass/word", "abcdef"} <= set(found)
    assert "12345" not in found
    assert "hidden" in secrets_of(["--tracking-uri", "me:hidden@host:5000"])
    monkeypatch.setenv("HF_TOKEN", "of-the-hub")
    assert "of-the-hub" in secrets_of([])
    assert secrets_of(["--tracking-uri", f"sqlite:///{os.getcwd()}/a@b.db"]) == secrets_of([])


@pytest.mark.parametrize(
    "key",
    [
        "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "sk-proj-abcdefghijklmnopqrstuvwx",
    ],
)
def test_what_looks_like_a_key_of_a_service_is_hidden(key, capsys, monkeypatch, tmp_path):
    """In whatever word it was written, and in the command that is recorded."""
    monkeypatch.chdir(tmp_path)
    assert redacted(f"--origin {key}") == "--origin ***"
    assert redacted(f"'{key}': no such file") == "'***': no such file"
    assert key not in command_line(["--origin", key])
    for argv in (["--origin", key], ["--preset", key], ["--train.lr", key], ["--model.name", key]):
        assert main(["trial", *SMALL[2:], *argv]) == options.BAD_INPUT
        shown = capsys.readouterr()
        assert "***" in shown.err
        assert key not in shown.err + shown.out
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_secret_stays():
    for text in (
        "sqlite:////data/a@b/mlflow.db",
        "look:  http://127.0.0.1:5000/#/experiments/1?viewStateShareKey=lthray-tickets"[:40],
        "mail me@host",
        "--out 'x?y=1'",
    ):
        assert redacted(text) == text
    assert redacted("see http://a/b and http://me:x@c/d") == "see http://a/b and http://***@c/d"
    assert redacted("url: /?token=abc&page=1") == "url: /?token=***&page=1"
    assert page_of("https://me:x@host:5/base/?token=y#z") == "https://host:5/base/"
    assert redacted("short", ["short"]) == "***"
    assert redacted("authorization: Bearer abc.def-123=") == "authorization: Bearer ***"
    assert redacted("token glpat-abcdefghijklmnopq is wrong") == "token *** is wrong"
    odbc = "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Dabc"
    assert redacted(odbc) == "mssql+pyodbc:///?odbc_connect=***"
    assert redacted("models:/name@alias owner/name@main") == "models:/name@alias owner/name@main"
    assert quote("a/b", safe="") in secrets_of(["http://me:a/bc@host"])[0]


def test_the_link_to_the_charts_keeps_its_words():
    from lthray.tracking.views import link

    address = link("http://127.0.0.1:5000", "1")
    assert redacted(address) == address


def test_without_git_the_commit_is_unknown(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["trial", *SMALL]) == options.DONE
    (call,) = Ledger.all(Store("runs/store"))
    assert call.about["commit"] == "unknown"
    monkeypatch.undo()
    from lthray.command import about_of

    about = about_of("x", "?", chosen=options.Options(), command="", config=tiny())
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", about["commit"])


def test_lines_of_a_study_in_an_odd_folder_can_be_pasted(quick, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("lthray.cli.PATIENCE", 60.0)
    out = tmp_path / "it's a b%25c?[x]"
    quick("study", "--local", *SMALL, "--out", str(out))
    shown = capsys.readouterr().out
    (look,) = re.findall("look:  (.*)", shown)
    lthray, *words = shlex.split(look)
    assert shutil.which(lthray)
    assert words == ["ui", "--out", str(out)]
    assert {path.name for path in out.iterdir()} >= {"artifacts", "mlflow.db", "store"}
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    (out / "mlflow.db").unlink()
    assert main(["record", "--out", str(out)]) == options.DONE
    (address,) = re.findall("1 trials recorded in (.*)\n", capsys.readouterr().out)
    assert make_url(address).database == str(out / "mlflow.db")


# estimates ask the machine


def test_a_dry_run_counts_the_cpus_that_it_may_use(monkeypatch, tmp_path):
    from lthray.study import preview, resources

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    monkeypatch.setattr(resources, "free_memory", lambda: 64e9)
    many = options.Options(max_concurrent=99, cpus_per_trial=2, gpus_per_trial=0.0)
    assert preview.slots_here(many) == 3
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert resources.cpus() == 2
    assert preview.slots_here(many) == 1
    assert preview.slots_here(options.Options(cpus_per_trial=1, local=True)) == 1
    with pytest.raises(resources.ClusterError, match=r"--cpus-per-trial 3 .*no node has that much"):
        preview.slots_here(options.Options(cpus_per_trial=3, gpus_per_trial=0.0))
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert resources.cpus() == 6
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert resources.cpus() == 6
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    assert resources.cpus() == 1


def test_free_memory_is_that_of_the_group(monkeypatch, tmp_path):
    from lthray.study import preview, resources

    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    meminfo = tmp_path / "meminfo"
    monkeypatch.setattr(resources, "MEMORY_OF_ALL", meminfo)
    assert resources.free_memory() > 0  # a system without such a file
    meminfo.write_text("MemFree:  900 kB\nMemAvailable:  8000000 kB\n")
    assert resources.free_memory() == 8.192e9
    (tmp_path / "memory.max").write_text("5000000000\n")
    (tmp_path / "memory.current").write_text("1900000000\n")
    assert resources.free_memory() == 3.1e9
    (tmp_path / "memory.stat").write_text("anon 900000000\ninactive_file 900000000\n")
    assert resources.free_memory() == 4e9  # what files lie in memory is given up
    monkeypatch.setattr(resources, "free_memory", lambda: 3.1e9)
    monkeypatch.setattr(resources, "cpus", lambda: 16)
    assert preview.slots_here(options.Options(gpus_per_trial=0.0)) == 2
