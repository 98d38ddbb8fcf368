"""Command lines: what pages and commands share, from reading options to exit codes.

Imports are late on purpose: bad words are refused, and --help is printed, before torch or Ray is
loaded.
"""

import contextlib
import inspect
import io
import itertools
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from lthray.config import addresses, options
from lthray.config.fields import ConfigError, words
from lthray.config.help_page import asks_for_help, help_text
from lthray.config.presets import collection, flagged, read_options, words_of
from lthray.config.trial import TrialConfig
from lthray.study.answers import answered
from lthray.version import __version__

if TYPE_CHECKING:
    from lthray.core.store import Store

T = TypeVar("T")

PRIVATE = 0o077  # umask: folders are 0700, files 0600
GIT = 10.0  # seconds that git has to name the commit

OF_A_CONFIG = ("preset", "data_root", "out", "tracking_uri", "cpus_per_trial", "allow_code_change")
"""Options of a study that a command for a single config has too."""
OF_IMAGES = (
    "data.side",
    "data.width",
    "data.channels",
    "data.classes",
    "data.ground",
    "data.skip_bad",
)
"""Words of a config that say how a user's own images are read."""
EXIT_OF: Mapping[str, int] = {
    "ConfigError": options.BAD_INPUT,
    "DamagedStore": options.INTEGRITY,
    "StoreError": options.BAD_INPUT,
    "LeadsOutside": options.INTEGRITY,
    "DecompressionBombError": options.INTEGRITY,
    "CodeChanged": options.INTEGRITY,
    "TicketError": options.INTEGRITY,
    "ClusterError": options.ENVIRONMENT,
    "MlflowException": options.ENVIRONMENT,
    "TrackingError": options.ENVIRONMENT,
    "OSError": options.ENVIRONMENT,
}
"""Exit code of an error by the name of its class, so that telling it imports nothing."""


def guarded(run: Callable[[], int], argv: Sequence[str] | None = None) -> int:
    """Return what `run` returns, or the exit code of what went wrong outside a trial.

    A fault that EXIT_OF knows is one line on stderr; any other error is raised. What is written
    meanwhile can be read by this user alone. Whatever is printed is without the secrets of `argv`
    (default: the command line's).
    """
    words = sys.argv if argv is None else argv
    secrets = addresses.secrets_of(words)
    _fill_numbers()
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(Redacting(sys.stdout or nowhere, secrets)),
        contextlib.redirect_stderr(Redacting(sys.stderr or nowhere, secrets)),
    ):
        return _guarded(run, words, secrets)


def _fill_numbers() -> None:
    """Let no file that is opened later have the number of a standard stream that is closed."""
    number = 0
    while number <= 2:
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)


class Redacting(io.TextIOBase):
    """A stream that writes to another one, without `secrets` and what else `redacted` hides."""

    def __init__(self, stream: TextIO, secrets: Sequence[str]):
        self.stream, self.secrets = stream, secrets

    def write(self, text: str) -> int:
        """Write `text` without secrets; returns its length.

        What the encoding of the other stream cannot say is written as Python would.
        """
        told = addresses.redacted(text, self.secrets)
        self.stream.write(told.encode(self.encoding, "backslashreplace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the other stream."""
        self.stream.flush()

    def fileno(self) -> int:
        """Return the file descriptor of the other stream."""
        return self.stream.fileno()

    def isatty(self) -> bool:
        """Return whether the other stream is a terminal."""
        return self.stream.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the other stream; UTF-8 where it does not say."""
        return self.stream.encoding or "utf-8"


def _check_text(argv: Sequence[str]) -> None:
    """Raise ConfigError where a word of a command line is no text: MLflow could not record it."""
    bad = [ascii(word) for word in argv if not addresses.is_text(word)]
    if bad:
        way_out = "no text in UTF-8; rename it, or set LC_ALL=C.UTF-8"
        raise ConfigError([f"{', '.join(bad)}: {way_out}"])


def _guarded(run: Callable[[], int], argv: Sequence[str], secrets: Sequence[str]) -> int:
    """Return what `run` returns, or an exit code, as `guarded` does."""
    logging.basicConfig(format="warning: %(message)s")
    shared = os.umask(PRIVATE)
    try:
        _check_text(argv)
        code = run()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return options.KILLED
    except BrokenPipeError:  # whoever read our output has left; nothing is lost, nobody is there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return options.INTERRUPTED
    except Exception as error:
        for kind in type(error).__mro__:
            if kind.__name__ in EXIT_OF:
                _print_faults(error)
                return EXIT_OF[kind.__name__]
        sys.excepthook = partial(_print_trace, secrets)
        raise
    finally:
        os.umask(shared)


def _print_faults(error: Exception) -> None:
    faults = error.faults if isinstance(error, ConfigError) else [str(error)]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)


def _print_trace(secrets: Sequence[str], _: object, error: BaseException, *__: object) -> None:
    """Print the traceback of an error that nobody foresaw, without secrets."""
    traceback.print_exception(error, file=Redacting(sys.stderr, secrets))


def say(text: str) -> int:
    """Print `text`; returns the exit code of a command that is done."""
    print(text)
    return options.DONE


def asked(
    cls: type[T], argv: Sequence[str], usage: str, about: str, *, hidden: Sequence[str] = ()
) -> T:
    """Return the options, of class `cls`, of a small command or an analysis.

    `usage` and `about` head the page of --help, which is printed and left with SystemExit. `hidden`
    words are not offered. ConfigError with every fault of `argv`.
    """
    every = words(cls)  # type: ignore[arg-type]
    known = {word: about for word, about in every.items() if word not in hidden}
    if asks_for_help(argv):
        say(help_text(f"{usage} [OPTIONS]", about, {"options": known}))
        raise SystemExit(options.DONE)
    flat, faults = options.split(argv, known)
    chosen = read_options(cls, flat, faults)
    if faults:
        raise ConfigError(faults)
    return chosen


def asked_of_data(
    cls: type[T], argv: Sequence[str], usage: str, about: str
) -> tuple[T, dict[str, Any]]:
    """Return the options, of class `cls`, of a command on a user's images, and its words on data.

    --help is printed and left with SystemExit. ConfigError with every fault of `argv`.
    """
    every = words(cls)  # type: ignore[arg-type]
    own = {word: row for word, row in every.items() if word != "tracking_uri"}
    of_data = {word: words(TrialConfig)[word] for word in OF_IMAGES}
    if asks_for_help(argv):
        say(help_text(f"{usage} [OPTIONS]", about, {"options": own, "data": of_data}))
        raise SystemExit(options.DONE)
    flat, faults = options.split(argv, own | of_data)
    chosen = read_options(cls, {word: flat.pop(word) for word in own if word in flat}, faults)
    if faults:
        raise ConfigError(faults)
    return chosen, flat


def configured(
    argv: Sequence[str], usage: str, about: str, *, more: Sequence[str] = ()
) -> tuple[TrialConfig, options.Options]:
    """Return the config that a command line makes of a preset, and its options.

    `usage` and `about` head the page of --help, which is printed and left with SystemExit. `more`
    are options of a study that are offered beside OF_A_CONFIG. ConfigError with every fault of
    `argv`.
    """
    known = {word: words(options.Options)[word] for word in (*OF_A_CONFIG, *more)}
    if asks_for_help(argv):
        say(help_text(f"{usage} [OPTIONS]", about, {"options": known, **config_groups()}))
        raise SystemExit(options.DONE)
    flat, faults = options.split(argv, {**known, **words(TrialConfig)})
    own = {word: flat.pop(word) for word in known if word in flat}
    chosen = read_options(options.Options, own, faults)
    base = dict(words_of(chosen.preset, chosen.out))
    if chosen.data_root:
        base["data.root"] = chosen.data_root
    try:
        config = TrialConfig.from_flat(answered({**base, **flat}))
    except ConfigError as error:
        faults += list(map(flagged, error.faults))
    if faults:
        raise ConfigError(faults)
    return config, chosen


def config_groups(hidden: Sequence[str] = ()) -> dict[str, Any]:
    """Return the words of a config by part, for `help_text`; without the `hidden` ones."""
    groups: dict[str, Any] = {}
    for word, about in words(TrialConfig).items():
        if word not in hidden:
            part, dot, _ = word.partition(".")
            groups.setdefault(part if dot else "trial config", {})[word] = about
    return groups


def store_of(chosen: options.Root) -> "Store":
    """Return the store of a root; it need not exist yet."""
    from lthray.core.store import Store

    return Store(Path(chosen.out) / "store")


def existing(chosen: options.Root) -> "Store":
    """Return the store below --out; ConfigError where there is none."""
    store = store_of(chosen)
    if not store.exists:
        raise ConfigError([f"--out {chosen.out!r}: there is no lthray store below it"])
    return store


def about_of(
    name: str,
    question: str,
    *,
    chosen: options.Options,
    config: TrialConfig,
    command: str,
    varied: Sequence[str] = (),
    order: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what is recorded of a call beside its plan: its study `name`, the `command`, the code.

    `config` is what its trials share, `varied` are the words in which they differ, `order` those of
    a search's space in the order in which they are drawn.
    """
    return {
        "study": name,
        "preset": chosen.preset,
        "collection": collection(chosen.preset, chosen.out, config.data),
        "smoke": chosen.smoke,
        "question": question,
        "varied": list(varied),
        "order": list(order),
        "command": command,
        "commit": _commit(),
        "lthray": __version__,
    }


def _commit() -> str:
    """Return the commit of this code; unknown without git, and where it is no checkout."""
    here = Path(__file__).parent
    try:
        ask = ["git", "-C", str(here), "rev-parse", "HEAD"]
        told = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=GIT)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told.stdout.strip()


def about_text(run: Callable[..., int]) -> str:
    """Return the docstring of a command, which is its help."""
    return inspect.getdoc(run) or ""


def first_of(argv: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the first word, empty where an option stands first, and the words behind it."""
    count = len(names_of(argv)[:1])
    return "".join(argv[:count]), argv[count:]


def names_of(argv: Sequence[str]) -> list[str]:
    """Return the words before the first option."""
    return list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
