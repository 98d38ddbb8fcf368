"""Options that every study shares, the words of a command line, and exit codes.

A command line is words: `--trials 16 --prune.criterion random --prune.ladder 0.5 0.25`. `split`
only finds the words. The dataclasses, here and in lthray.config.trial, say what a word may be. So
there is one validator, and every fault is reported at once, one line each.
"""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo
from pydantic.dataclasses import dataclass

from lthray.config import addresses
from lthray.config.vocabulary import LogName

DONE = 0
BAD_INPUT = 2
INTEGRITY = 3
ENVIRONMENT = 4
PARTIAL = 5
INTERRUPTED = 75
KILLED = 130
EXIT_CODES = """exit codes: 0 done, 2 bad input, 3 damaged or hostile file,
4 environment (disk, permissions, cluster), 5 done but some trials failed,
75 interrupted and resumable, 130 second Ctrl-C"""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

OPTIONS = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

Words = Mapping[str, tuple[Any, Any, str]]  # word -> (type, default, description)


# validators: each returns the value that it was given, or raises ValueError


def _readable(out: str) -> str:
    place = addresses.existing(out)
    if not os.path.isdir(place):
        raise ValueError(f"out = {out!r}: {place} is a file")
    return out


def _writable(out: str) -> str:
    fault = addresses.misplaced(out) or addresses.unwritable(out)
    if fault:
        raise ValueError(f"out = {out!r}: {fault}")
    return out


def _share(gpus: float | None) -> float | None:
    if gpus and gpus > 1 and gpus % 1:
        raise ValueError(
            f"gpus_per_trial = {gpus}: must be a fraction of one GPU or a whole number"
        )
    return gpus


def _joinable(address: str) -> str:
    if address == "local":
        raise ValueError("address = 'local': leave it out for a private Ray on this machine")
    if address.startswith("ray://"):
        how = "a study is a driver on a node of the cluster; run it there with 'auto'"
        raise ValueError(f"address = {address!r}: {how}")
    return address


def _distinct(seeds: tuple[int, ...], field: ValidationInfo) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{field.field_name} = {' '.join(map(str, seeds))}: each seed once")
    return seeds


Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[tuple[Seed, ...], AfterValidator(_distinct)]


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Root:
    """Folder and MLflow of every command."""

    out: Annotated[str, AfterValidator(_writable)] = "runs"
    """Folder that holds everything: store, mlflow.db, artifacts, reports."""
    tracking_uri: Annotated[str, AfterValidator(addresses.checked)] = ""
    """MLflow server or database; empty = mlflow.db in --out."""

    @property
    def uri(self) -> str:
        """Address of the MLflow that is recorded to."""
        return addresses.in_full(self.tracking_uri or addresses.database(self.database))

    @property
    def database(self) -> Path:
        """File of the MLflow that a root holds itself."""
        return Path(self.out) / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Folder where MLflow keeps files, unless a server decides: beside a database file."""
        file = addresses.file_of(self.uri) or self.database
        return file.parent / "artifacts"


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Reading(Root):
    """Options of a command that writes nothing below --out, which may be somebody else's."""

    out: Annotated[str, AfterValidator(_readable)] = "runs"
    """Folder that holds everything: store, mlflow.db, artifacts, reports."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Asked(Root):
    """Options of an analysis: which recorded study it reads."""

    experiment: str = ""
    """The study and its data as MLflow names them, such as layerwise_search.digits; empty = the
    one recorded last."""
    call: str = ""
    """Beginning of the key of one call (tag `call`), where several are recorded that cannot be
    averaged."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Options(Root):
    """Options of a study beside the config of its trials."""

    preset: str = "digits"
    """Data set with network and training to match: digits, mnist, fashion_mnist, cifar10, cifar100,
    or one that `lthray preset` has made below --out."""
    data_root: str = ""
    """Folder of the torchvision data sets; the same as --data.root."""
    trials: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Trials in all; a larger number extends a finished study. Empty = the study's own."""
    seed: Seed = 0
    """Seed of the search."""
    seeds: Seeds = ()
    """Seeds of the trials' weights and streams. Empty = the study's own."""
    recipes: Annotated[int, Field(ge=0, le=3)] | None = None
    """Recipes that a search confirms on fresh seeds; 0 = none. Empty = the study's own."""
    confirm_seeds: Seeds = ()
    """Fresh seeds of the confirmation, none of those of the search. Empty = the study's own."""
    doublings: Annotated[int, Field(ge=0, le=8)] = 1
    """Doublings of the steps to which a confirmation trains dense networks, to find the converged
    one: that which twice the steps hardly improve."""
    beside: tuple[str, ...] = ()
    """Trained networks (files, folders, pipelines, Hub ids; see model.pretrained), each measured
    once as it is beside the tickets of a list, a design or a confirmation."""
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials at a time; empty = as many as the resources carry."""
    cpus_per_trial: Annotated[int, Field(ge=1)] = 1
    """CPU threads of one trial."""
    gpus_per_trial: Annotated[Annotated[float, Field(ge=0)] | None, AfterValidator(_share)] = None
    """Share of a GPU of one trial: 0, a fraction such as 0.25, or a whole number. Empty = 0.25
    where there is a GPU."""
    log: tuple[LogName, ...] = ()
    """Also written, beside MLflow: event files of TensorBoard, a storage file of Optuna."""
    address: Annotated[str, AfterValidator(_joinable)] = ""
    """Ray cluster to join: auto on one of its nodes, or HOST:PORT; empty = a private Ray on this
    machine."""
    node_wait: Annotated[float, Field(gt=0)] = 1800.0
    """Seconds to wait for a cluster to start its first node, where it starts them on demand."""
    local: bool = False
    """Run in this process without Ray: for a debugger, a notebook or a test."""
    silence: Annotated[float, Field(gt=0)] = 60.0
    """Minutes without any event or step after which a study on Ray is ended, resumable: more than
    the longest measure takes."""
    smoke: bool = False
    """The whole pipeline in about two minutes; proves that it runs, says nothing about tickets."""
    allow_code_change: bool = False
    """Go on with stored results that other code has made, and mark what comes of them."""
    dry_run: bool = False
    """Print the plan, what is shared, bytes and time; write nothing."""


def split(argv: Sequence[str], known: Words) -> tuple[dict[str, Any], list[str]]:
    """Split a command line into words of `known`: ({word: text, or a list for a tuple}, faults).

    Options may be written with - or _. What a word may be is not looked at here.
    """
    faults: list[str] = []
    flat: dict[str, Any] = {}
    for word, texts in _texts(argv, known, faults).items():
        value = _value(word, texts, known[word][0], faults)
        if value is not None:
            flat[word] = value
    return flat, faults


def option_of(word: str) -> str:
    """Return the option of a word as --help shows it: dashes in the place of underscores, but in
    the dotted words of a config."""
    return "--" + (word if "." in word else word.replace("_", "-"))


def _texts(argv: Sequence[str], known: Words, faults: list[str]) -> dict[str, list[str]]:
    """Return the texts behind each known word; faults are added to `faults`."""
    texts: dict[str, list[str]] = {}
    unknown: list[str] = []
    current: list[str] | None = None  # texts of the option that was read last
    for text in argv:
        if text.startswith("--"):
            name, equals, value = text[2:].partition("=")
            word = name.replace("-", "_")
            current = [value] if equals else []
            if word not in known:
                faults.append(_unknown(text, word, known))
                unknown.append(word)
            elif word in texts:
                faults.append(f"--{name}: given twice")
            texts[word] = current
        elif current is None:
            faults.append(f"{text!r}: options begin with --")
        else:
            current.append(text)
    return {word: behind for word, behind in texts.items() if word not in unknown}


def _unknown(text: str, word: str, known: Words) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    near = near or [candidate for candidate in known if candidate.endswith(f".{word}")]
    hint = f"; did you mean --{near[0].replace('_', '-')}?" if near else ""
    return f"{_plain(text)}: no such option{hint}"


def _plain(text: str) -> str:
    """Return a text as a line may show it: control characters and other scripts as escapes."""
    return text.encode("unicode_escape").decode()


def _value(word: str, texts: list[str], kind: Any, faults: list[str]) -> Any:
    """Return the texts of a word as its type wants them; None, and a fault, if one is wanted.

    An empty text is a fault: it is what a shell makes of a variable that is not set. A list of a
    config may have no entries; an option of that kind says nothing without any.
    """
    deep = tuples(kind)
    if "" in map(str.strip, texts):
        faults.append(f"--{word}: got an empty text (is a variable of the shell not set?)")
        return None
    if deep and (texts or "." in word):
        return _entries(texts, deep)
    if kind is bool and not texts:
        return True
    if len(texts) != 1:
        faults.append(f"--{word}: needs one value, got {_plain(' '.join(texts)) or 'none'}")
        return None
    for literal in literals(kind):
        if str(literal) == texts[0]:
            return literal
    return texts[0]


def _entries(texts: list[str], deep: int) -> list[Any]:
    """Return what is parted by blanks or commas, in pairs where lists are two `deep`."""
    parts = " ".join(texts).replace(",", " ").split()
    return parts if deep == 1 else [parts[i : i + 2] for i in range(0, len(parts), 2)]


def members(kind: Any) -> list[Any]:
    """Return a type and all types that it is made of, outermost first; a Literal counts as one."""
    found = [kind]
    if get_origin(kind) is not Literal:
        for inner in get_args(kind):
            found += members(inner)
    return found


def tuples(kind: Any) -> int:
    """Return how many tuples a type has: 0 for a value, 1 for a list, 2 for a list of pairs."""
    return sum(get_origin(member) is tuple for member in members(kind))


def literals(kind: Any) -> list[Any]:
    """Return the words of all Literals in a type."""
    found: list[Any] = []
    for member in members(kind):
        if get_origin(member) is Literal:
            found += get_args(member)
    return found
