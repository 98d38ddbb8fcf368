"""The MLflow client of reader and writer: quiet, soon to give up, and one line for its faults."""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lthray.config.addresses import file_of, redacted, to_install
from lthray.config.fields import ConfigError

UNLESS_SET = {
    # MLflow's own retries would block for minutes; ours start again from the store
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""What is set unless the user has set it."""
ENVIRON = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
PAGE = 200  # runs that MLflow is asked for at a time: one of many metrics is large
PATIENCE = 10.0  # seconds that a locked database file is waited for
REMOTE = ("postgresql", "mysql")  # databases whose drivers take connect_timeout, in seconds
LEVELS = {
    "mlflow": logging.ERROR,
    "alembic": logging.ERROR,
    "urllib3": logging.ERROR,  # of tries again, which are told
    "mlflow.store.db.utils": logging.CRITICAL,  # with a traceback, of what is raised anyway
}
"""Logger of a library -> the least that it may say."""
LIBRARIES = ("mlflow", "sqlalchemy", "sqlite3", "alembic", "psycopg", "psycopg2")
AGAIN = "move it away, and `lthray record` makes it again from the store"
EMPTY = "name an empty database, and `lthray record` makes all again from the store"
WAYS_OUT = {
    "locked": "another process holds it; end that one, or try again",
    "not a database": AGAIN,
    "malformed": AGAIN,
    "unable to open": f"is it a file, and may you read it? if not, {AGAIN}",
    "I/O error": f"is it a file on a sound disk? if not, {AGAIN}",
    "full": "make room, then `lthray record`",
    "out-of-date": f"back it up, then `mlflow db upgrade` with its address; or {EMPTY}",
    "authentication failed": "is the password right? write / in it as %2F, @ as %40",
    "FATAL: database": "make the database first: MLflow makes tables, no databases",
    "no such table": AGAIN,
    "relation": EMPTY,
}
"""Words in a fault -> what can be done about it."""


class TrackingError(RuntimeError):
    """MLflow cannot be reached, or its database cannot be used."""


def client(uri: str) -> Any:
    """Return an MlflowClient for the server or database at `uri`.

    Sets MLflow's environment variables in this process and silences its loggers. Raises ConfigError
    where the driver of a database is not installed, and TrackingError for a database file that
    cannot be used, for which MLflow itself would wait long.
    """
    file = file_of(uri)
    if file:
        _check_file(file)
    os.environ.update({**UNLESS_SET, **os.environ, **ENVIRON})
    from mlflow import MlflowClient
    from sqlalchemy.exc import ArgumentError

    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
    try:
        _check_server(uri)
        return MlflowClient(uri)
    except (ImportError, ArgumentError) as error:
        why, _, _ = str(error).partition("\n")
        hint = to_install(uri.partition("://")[0])
        needed = f"the driver of this database cannot be loaded ({why}); {hint}"
        raise ConfigError([f"--tracking-uri {redacted(uri)}: {needed}"]) from None


@contextlib.contextmanager
def one_line(uri: str) -> Iterator[None]:
    """Raise what MLflow, or a library below it, raises as a TrackingError of one line."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in LIBRARIES:
            raise
        raise _told(uri, error) from None


def every(search: Callable[..., Any], *given: Any, **options: Any) -> Iterator[Any]:
    """Yield all that a search of MLflow finds, page by page: by itself it returns the first."""
    token = None
    while True:
        page = search(*given, **options, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _check_server(uri: str) -> None:
    """Raise TrackingError where a database server does not let us in, and what a driver raises.

    MLflow itself would try for minutes, and say nothing.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    if uri.startswith(REMOTE):
        patience = {"connect_timeout": int(PATIENCE)}
        engine = create_engine(uri, poolclass=NullPool, connect_args=patience)
        with one_line(uri):
            engine.connect().close()


def _check_file(path: Path) -> None:
    """Raise TrackingError where a database file is there and cannot be read as one."""
    if not path.exists():
        return
    if not (path.is_file() or path.is_dir()):  # a pipe would be waited for without end
        raise _told(str(path), OSError("unable to open what is no regular file"))
    try:
        address = f"file:{quote(str(path.absolute()))}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, PATIENCE, uri=True)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise _told(str(path), error) from None


def _told(place: str, error: Exception) -> TrackingError:
    """Return the error that says in one line what is wrong at `place`, and what can be done."""
    text = " ".join(str(error).partition("\n")[0].split())
    ways = [way for words, way in WAYS_OUT.items() if words in text]
    hint = ways[0] if ways else "everything is kept in the store; `lthray record` tries again"
    return TrackingError(f"{redacted(place)}: {redacted(text)[:200]}; {hint}")
