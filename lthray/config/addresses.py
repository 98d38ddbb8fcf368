"""Addresses of MLflow: which are taken, how a folder becomes one, and how no secret is told.

Texts that leave the program go through `redacted`: lines on a terminal, logs, errors, and the
command that is recorded with a study.
"""

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

SERVERS = ("http", "https")
TRACKERS = (*SERVERS, "sqlite", "postgresql", "mysql", "mssql")
SERVER = "http://127.0.0.1:5000"
FILE = "sqlite:////absolute/path/mlflow.db"
SPELT = {
    "postgres": "is written postgresql://host/database here",
    "mariadb": "is written mysql+pymysql://host/database here",
    "sqlite3": f"is written {FILE} here",
}
"""Scheme that other programs take for a database -> how it is written here."""
DRIVERS = {
    "postgresql": ("psycopg", "psycopg[binary]"),
    "postgresql+psycopg": ("psycopg", "psycopg[binary]"),
    "postgresql+psycopg2": ("psycopg2", "psycopg2-binary"),
    "mysql": ("MySQLdb", "mysqlclient"),
    "mysql+mysqldb": ("MySQLdb", "mysqlclient"),
    "mysql+pymysql": ("pymysql", "pymysql"),
}
"""Scheme of a database -> the module of its driver, and what is installed to have it."""
MARK = "lthray-store.json"  # of a store (lthray.core.store)
CLEAR = re.compile(r"http://[^/]*@(?!(?:localhost|127(?:\.\d+){3}|\[::1\])(?:[:/]|$))")
"""Address by which a password would go over a network as it is."""
SHORT = 4  # a secret with fewer characters is hidden where it stands in an address, and only there

USER = re.compile(r"(?<![\w+.-])(?!sqlite|file)([A-Za-z][\w+.-]*://)[^\s'\"]*@")
SECRET = "token|secret|pass|pwd|key|auth|sig|cred|session|odbc"
VALUE = re.compile(rf"(?i)([?&;](?!viewStateShareKey)[\w.%-]*(?:{SECRET})[\w.%-]*=)[^&;\s'\"]+")
TOKEN = re.compile(
    r"\b(?:hf_\w{16,}|gh[opsu]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"
    r"|AKIA[0-9A-Z]{16}|sk-[\w-]{20,})"
)
"""Keys of services that are known by their looks."""
BEARER = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}")
BARE = re.compile(r"[^\s/@:]+:([^\s/@]+)@")  # user and password without http:// before them
VARIABLES = (
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN", "RAY_AUTH_TOKEN"),
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PGPASSWORD", "MYSQL_PWD"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCESS_KEY"),
)
"""Variables of the environment that hold a secret of a server, a store or a hub."""


def checked(uri: str) -> str:
    """Return the address of an MLflow, or nothing; ValueError with what is wrong and what to use.

    A database in memory is refused, since all that is recorded there would be lost at the end.
    """
    fault = _fault(uri) if uri else ""
    if fault:
        raise ValueError(f"tracking_uri = {_hidden(uri)!r}: {fault}")
    return uri


def _fault(uri: str) -> str:
    """Return what is wrong with the address of an MLflow; empty where nothing is."""
    scheme, separator, rest = uri.partition("://")
    kind, _, _ = scheme.partition("+")
    if not separator or kind not in TRACKERS:
        allowed = "://, ".join(TRACKERS) + "://"
        return SPELT.get(kind, f"must begin with one of {allowed}, such as {FILE}")
    if scheme.startswith("sqlite"):
        return _fault_of_file(rest)
    user, _, _ = rest.rpartition("@")
    if re.search(r"[\s/?#@]", user):
        return "in a name or password write / as %2F, @ as %40, ? as %3F, # as %23, a blank as %20"
    rows = [
        (not _is_server(uri), f"names no server, such as {SERVER}"),
        (
            "?" in rest or "#" in rest,
            "takes no ? and no #; a token goes into MLFLOW_TRACKING_TOKEN",
        ),
        (
            bool(CLEAR.match(uri)),
            "would send the password in the clear; use https://, or a tunnel to 127.0.0.1",
        ),
    ]
    faults = [fault for is_wrong, fault in rows if is_wrong and scheme in SERVERS]
    return faults[0] if faults else _fault_of_driver(scheme)


def _fault_of_driver(scheme: str) -> str:
    """Return what is missing where a database's driver is not installed, and how it is installed.

    Empty where the driver is there, or is none that is known by name.
    """
    module, _ = DRIVERS.get(scheme, ("sys", ""))
    if find_spec(module):
        return ""
    return f"needs the driver {module}, which is not installed; {to_install(scheme)}"


def to_install(scheme: str) -> str:
    """Return how to install the driver of a database with this scheme: a command where we know."""
    _, package = DRIVERS.get(scheme, ("", ""))
    return f"pip install {shlex.quote(package)}" if package else "install it with pip, if it exists"


def _is_server(uri: str) -> bool:
    """Return whether an address names a host, and a port if any that can be one."""
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _fault_of_file(rest: str) -> str:
    """Return what is wrong with the part behind sqlite:// of an address; empty: nothing."""
    place, question, _ = rest.partition("?")
    name = unquote(place.removeprefix("/"))
    is_path = place.startswith("/") and not question and not name.startswith("file:")
    rows = [
        (not name or ":memory:" in name, "names no file, so all would be lost at the end"),
        (not is_path, "must be a path and nothing else (write ? in a path as %3F)"),
        (os.path.isdir(name), "is a folder"),
        (os.path.exists(name) and not os.path.isfile(name), "is no regular file"),
        (name.startswith("~"), "does not begin at your home, for only a shell knows what ~ is"),
    ]
    faults = [f"{fault}; use {FILE}" for is_wrong, fault in rows if is_wrong]
    return faults[0] if faults else unwritable(os.path.dirname(os.path.abspath(name)))


def is_text(word: str) -> bool:
    """Return whether a word, such as a path, is text: bytes that are no UTF-8 are none."""
    return word.encode("utf-8", "ignore").decode() == word


def misplaced(out: str) -> str:
    """Return why the folder `out` is no place for results, or nothing.

    That is the address of something else than a folder, what a shell should have put something else
    for, a name that MLflow could not record, the root of the file system, and a place within a
    store, whose names it would disturb.
    """
    place = Path(os.path.realpath(out))
    around = [str(folder) for folder in (place, *place.parents) if (folder / MARK).exists()]
    rows = [
        ("://" in out, "is an address; results go into a folder that all nodes share"),
        (out[:1] == "~", "begins with ~, which no shell has filled in; write the path in full"),
        ("$" in out, "has a $, which no shell has filled in; write the path in full"),
        (not is_text(str(place)), "lies in a folder whose name is no text in UTF-8"),
        (place == place.parent, "is the root of the file system; name a folder in it"),
        (bool(around), f"lies in the store {' '.join(around[:1])}; name the folder above it"),
    ]
    return next((fault for is_wrong, fault in rows if is_wrong), "")


def unwritable(folder: str) -> str:
    """Return why nothing can be written below a folder that may not be there yet, or nothing."""
    place = existing(folder)
    if not os.path.isdir(place):
        return f"{place} is a file"
    return "" if os.access(place, os.W_OK | os.X_OK) else f"{place} cannot be written"


def existing(folder: str) -> str:
    """Return `folder` in full, or the nearest folder above it that is there."""
    place = os.path.abspath(folder)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    return place


def database(file: Path | str) -> str:
    """Return the address of an sqlite database.

    Where a path must be quoted the driver is named: MLflow makes the folder that stands behind a
    plain sqlite:///, with the quotes in its name.
    """
    path = Path(os.path.abspath(file)).as_posix()
    quoted = quote(path)
    return f"{'sqlite' if quoted == path else 'sqlite+pysqlite'}:///{quoted}"


def file_of(uri: str) -> Path | None:
    """Return the file of an sqlite database, relative to the working folder; None of a server."""
    scheme, _, rest = uri.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    return Path(unquote(rest.removeprefix("/")))


def in_full(uri: str) -> str:
    """Return the address of an MLflow so that it means the same from every folder."""
    file = file_of(uri)
    return database(file) if file else uri


def page_of(uri: str) -> str:
    """Return the address of a server's pages: without a user, a password or a query."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(SplitResult(parts.scheme, host, parts.path, "", ""))


# secrets


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without passwords and tokens, so that it may be printed or recorded.

    Hidden are the user of an address, values of a query whose names speak of a secret, keys of
    services that are known by their looks, and every one of the known `secrets`.
    """
    for secret in secrets:
        text = text.replace(secret, "***")
    without_user = VALUE.sub(r"\1***", USER.sub(r"\1***@", text))
    return TOKEN.sub("***", BEARER.sub(r"\1***", without_user))


def secrets_of(argv: Sequence[str]) -> list[str]:
    """Return the secrets in the addresses of a command line and in the environment.

    Each is there as it was written and without its quotes, the longest first.
    """
    found = [os.environ.get(variable, "") for variable in VARIABLES]
    for text in argv:
        found += BARE.findall(text)
        scheme, separator, rest = text.partition("://")
        if separator and not scheme.endswith(("sqlite", "pysqlite", "file")):
            found += _secrets_in(rest)
    spelt = {*found, *map(unquote, found), *(quote(secret, safe="") for secret in found)}
    return sorted((one for one in spelt if len(one) >= SHORT), key=len, reverse=True)


def _secrets_in(rest: str) -> Iterator[str]:
    """Yield password or token, and the values of the query, of what stands behind ://."""
    user, _, place = rest.rpartition("@")
    name, _, password = user.partition(":")
    yield password or name
    for value in re.finditer(VALUE, place):
        yield value.group().partition("=")[2]


def _hidden(uri: str) -> str:
    """Return an address that may be printed although it is not well formed."""
    return redacted(uri, secrets_of([uri]))
