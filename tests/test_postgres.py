"""Postgres as the database of MLflow: a real server, which holds what SQLite would, and is killed.

The programs are those of Debian's package `postgresql`; the driver is in the extra `postgres`. The
server is started here, in a folder of its own, by an account without rights.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lthray.__main__ import main
from lthray.config import options
from lthray.core.store import Store
from lthray.findings.wording import told
from lthray.study.ledger import FAILED, Ledger
from lthray.tracking.client import TrackingError
from lthray.tracking.read import Recorded
from lthray.tracking.write import Projector, replay

from .test_addresses import SMALL, written
from .test_desk import LIST, opened, work_off
from .test_recording import contents, free_port, uri_of

pytestmark = pytest.mark.walk
NOBODY = 65534
PASSWORD = f"cAnArY{secrets.token_hex(6)}"


def programs() -> Path:
    """The folder of a Postgres server's programs; skips where there is none, or no driver."""
    pytest.importorskip("psycopg", reason="the driver is not there: pip install 'psycopg[binary]'")
    found = [Path(which).parent for which in [shutil.which("initdb")] if which]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in found:
        if (place / "initdb").exists() and (place / "pg_ctl").exists():
            return place
    pytest.skip("no Postgres server is installed (Debian: apt-get install postgresql)")


class Server:
    """A Postgres server of our own, on a port of loopback, that asks for a password."""

    def __init__(self, place: Path):
        self.programs, self.place, self.port = programs(), place, free_port()
        (place / "password").write_text(PASSWORD)
        if os.getuid() == 0:  # Postgres does not run as root
            os.chown(place, NOBODY, NOBODY)
            os.chown(place / "password", NOBODY, NOBODY)
        words = ["--auth=scram-sha-256", f"--pwfile={place}/password", "--username=lthray"]
        self.do("initdb", "-D", f"{place}/data", "--locale=C", "--encoding=UTF8", "-N", *words)
        (place / "password").unlink()
        self.start()

    def do(self, program: str, *words: str) -> None:
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        command = [*user * (os.getuid() == 0), str(self.programs / program), *words]
        done = subprocess.run(
            command, cwd=self.place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        words = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.place} -c fsync=on"
        self.do("pg_ctl", "-D", f"{self.place}/data", "-w", "-l", "log", "-o", words, "start")

    def kill(self) -> None:
        """End the server as a crash would: its next start must recover."""
        self.do("pg_ctl", "-D", f"{self.place}/data", "-w", "-m", "immediate", "stop")

    @property
    def is_up(self) -> bool:
        return (self.place / "data" / "postmaster.pid").exists()

    def address(self, name: str, password: str = PASSWORD, driver: str = "") -> str:
        return f"postgresql{driver}://lthray:{password}@127.0.0.1:{self.port}/{name}"

    def database(self, name: str) -> str:
        """Make an empty database; returns its address."""
        import psycopg

        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.address(name)


@pytest.fixture(scope="module")
def started() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="pg-") as place:
        server = Server(Path(place))
        yield server
        if server.is_up:
            server.kill()


@pytest.fixture
def server(started) -> Iterator[Server]:
    """The server, which runs after a test too, whatever the test has done to it."""
    yield started
    if not started.is_up:
        started.start()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Store, Ledger]:
    """A store with one call: two trials done, one failed, one not begun."""
    store = Store(tmp_path_factory.mktemp("made") / "store")
    call, ledger = opened(LIST, store)
    work_off(call, ledger, store, last=1)
    ledger.finish(2, FAILED, "NonFinite: nan at step 3", trace="Traceback: here")
    return store, ledger


@pytest.fixture(scope="module")
def wanted(made, tmp_path_factory) -> tuple[dict, list]:
    """What SQLite holds of that store, and what is read there."""
    folder = tmp_path_factory.mktemp("sqlite")
    uri = uri_of(folder)
    assert replay(made[0], uri, folder / "artifacts", sentences=told) == 3
    return contents(uri), read(uri)


def read(uri: str) -> list:
    """The finished trials as an analysis reads them, but for MLflow's own ids."""
    recorded = Recorded(uri, "list.digits")
    trials = [trial.to_json() | {"run": ""} for trial in recorded.trials]
    files = [sorted(recorded.arrays(trial, 1)) for trial in recorded.trials]
    return [trials, files, recorded.question, recorded.provenance(recorded.trials)]


@pytest.mark.parametrize("driver", ["", "+psycopg"])
def test_postgres_holds_what_sqlite_holds(server, made, wanted, tmp_path, driver):
    name = f"holds{len(driver)}"
    server.database(name)
    uri = server.address(name, driver=driver)
    for _ in range(2):  # the second time changes nothing
        assert replay(made[0], uri, tmp_path / "artifacts", sentences=told) == 3
        assert contents(uri) == wanted[0]
    assert read(uri) == wanted[1]


def test_a_server_that_is_killed_and_restarted_loses_nothing(
    server, made, wanted, tmp_path, monkeypatch, capsys
):
    uri, root = server.database("killed"), made[0].root.parent
    real, calls = MlflowClient.log_batch, []

    def killing(self, *args, **words):
        calls.append(1)
        if len(calls) == 5:
            server.kill()
        return real(self, *args, **words)

    monkeypatch.setattr(MlflowClient, "log_batch", killing)
    argv = ["record", "--out", str(root), "--tracking-uri", uri]
    assert main(argv) == options.ENVIRONMENT
    assert len(calls) == 5
    assert main(argv) == options.ENVIRONMENT  # while it is away
    err = capsys.readouterr().err
    assert err.count("\n") == 2, err
    assert err.count("`lthray record` tries again") == 2
    server.start()
    before = contents(uri)
    assert before["list.digits"][1].keys() < wanted[0]["list.digits"][1].keys()
    for _ in range(2):
        assert main(argv) == options.DONE
        assert contents(uri) == wanted[0]
    assert read(uri) == wanted[1]


def test_a_study_goes_on_while_its_server_is_killed(server, made, wanted, tmp_path, monkeypatch):
    uri = server.database("away")
    store, ledger = made
    monkeypatch.setattr("lthray.tracking.write.RETRY", (0.5,) * 5)
    projector = Projector(store, ledger, uri, tmp_path / "artifacts", every=0.2, sentences=told)
    real, calls = MlflowClient.log_batch, []

    def killing(self, *args, **words):
        calls.append(1)
        if len(calls) in (2, 7):
            server.kill()
            try:
                return real(self, *args, **words)
            finally:
                server.start()
        return real(self, *args, **words)

    monkeypatch.setattr(MlflowClient, "log_batch", killing)
    projector.start()
    assert projector.close(patience=120) is None
    assert len(calls) > 7
    assert contents(uri) == wanted[0]


def test_the_password_is_told_nowhere(server, made, tmp_path, capfd, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = server.database("told")
    root = str(made[0].root.parent)
    addresses = {
        uri: options.DONE,
        server.address("nosuch"): options.ENVIRONMENT,
        server.address("told", PASSWORD + "x"): options.ENVIRONMENT,
        server.address("told", driver="+nosuch"): options.BAD_INPUT,
        uri.replace("postgresql", "postgres"): options.BAD_INPUT,
    }
    for address, code in addresses.items():
        assert main(["record", "--out", root, "--tracking-uri", address]) == code
    assert main(["trial", *SMALL, "--tracking-uri", uri]) == options.DONE
    done = subprocess.run(
        [sys.executable, "-m", "lthray", "record", "--out", root, "--tracking-uri", uri],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    shown = capfd.readouterr()
    assert 'FATAL: database "nosuch" does not exist; make the database first' in shown.err
    assert 'password authentication failed for user "lthray"; is the password right' in shown.err
    assert "trials recorded in postgresql://***@127.0.0.1" in done.stdout
    assert ": is written postgresql://host/database here\n" in shown.err
    texts = [shown.out, shown.err, caplog.text, done.stdout, done.stderr, written(tmp_path)]
    texts += [str(contents(uri)), written(made[0].root.parent)]
    for text in texts:
        assert PASSWORD not in text


def test_a_password_from_the_environment_is_used_and_told_nowhere(
    server, made, tmp_path, monkeypatch, capfd
):
    server.database("secret")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    uri = f"postgresql://lthray@127.0.0.1:{server.port}/secret"
    assert main(["record", "--out", str(made[0].root.parent), "--tracking-uri", uri]) == 0
    shown = capfd.readouterr()
    assert PASSWORD not in shown.out + shown.err


def test_a_damaged_database_is_one_line(server, made, tmp_path):
    import psycopg

    uri = server.database("damaged")
    replay(made[0], uri, tmp_path / "artifacts")
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute("DROP TABLE tags CASCADE")
    with pytest.raises(TrackingError) as raised:
        replay(made[0], uri, tmp_path / "artifacts")
    line = str(raised.value)
    assert "\n" not in line
    assert PASSWORD not in line
