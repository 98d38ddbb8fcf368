"""The options that every study shares, the command line, and exit codes.

A command line is words: `--trials 16 --prune.criterion random --prune.ladder 0.5 0.25`. `split` only finds the words;
what they may be is said by the dataclasses (here and in config.py), so there is one validator and every fault is told at
once, one line each.
"""

import difflib
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

DONE, BAD_INPUT, INTEGRITY, ENVIRONMENT, PARTIAL, INTERRUPTED, KILLED = 0, 2, 3, 4, 5, 75, 130
EXIT_CODES = """exit codes: 0 done, 2 bad input, 3 damaged or hostile file, 4 environment (disk, permissions, cluster),
5 done but some trials failed, 75 interrupted and resumable, 130 second Ctrl-C"""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
TRACKERS = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")

OPTIONS = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

Words = Mapping[str, tuple[Any, Any, str]]  # word -> (type, default, description)


def redacted(text: str) -> str:
    """The text without the passwords of its addresses: what is printed or recorded never holds one."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def _writable(out: str) -> str:
    place = os.path.abspath(out)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise ValueError(f"out = {out!r}: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"out = {out!r}: {place} cannot be written")
    return out


def _tracker(uri: str) -> str:
    scheme, separator, _ = uri.partition("://")
    if uri and (scheme.partition("+")[0] not in TRACKERS or not separator):
        raise ValueError(f"tracking_uri = {redacted(uri)!r}: must begin with one of {', '.join(f'{t}://' for t in TRACKERS)}")
    return uri


def _share(gpus: float | None) -> float | None:
    if gpus and gpus > 1 and gpus % 1:
        raise ValueError(f"gpus_per_trial = {gpus}: must be a fraction of one GPU or a whole number")
    return gpus


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds = {' '.join(map(str, seeds))}: each seed once")
    return seeds


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Root:
    """Where everything is."""

    out: Annotated[str, AfterValidator(_writable)] = "runs"
    """Folder that holds everything: store, mlflow.db, artifacts, reports."""
    tracking_uri: Annotated[str, AfterValidator(_tracker)] = ""
    """MLflow server or database; empty = sqlite in --out."""

    @property
    def uri(self) -> str:
        """The MLflow that is recorded to."""
        return self.tracking_uri or f"sqlite:///{os.path.abspath(self.out)}/mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps files, unless a server decides."""
        return Path(self.out) / "artifacts"


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Asked(Root):
    """What an analysis is asked of."""

    experiment: str = ""
    """The study and its preset as MLflow names them, such as layerwise_search.digits; empty = the one recorded last."""
    call: str = ""
    """Beginning of the key of one call (tag `call`), where several are recorded that cannot be averaged."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Options(Root):
    """What a study is told besides the config of its trials."""

    preset: str = "digits"
    """Data set with network and training to match: digits, mnist, fashion_mnist, cifar10, cifar100, or one that
    `lthray preset` has made below --out."""
    data_root: str = ""
    """Folder of the torchvision data sets; the same as --data.root."""
    trials: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Trials in all; a larger number extends a finished study. Empty = the study's own."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the search."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], AfterValidator(_distinct)] = ()
    """Seeds of the trials' weights and streams. Empty = the study's own."""
    recipes: Annotated[int, Field(ge=0, le=3)] | None = None
    """Recipes that a search confirms on fresh seeds; 0 = none. Empty = the study's own."""
    confirm_seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], AfterValidator(_distinct)] = ()
    """Fresh seeds of the confirmation, none of those of the search. Empty = the study's own."""
    beside: tuple[str, ...] = ()
    """Trained networks (files, folders, pipelines, Hub ids; see model.pretrained), each measured once as it is beside the
    tickets of a list, a design or a confirmation."""
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials at a time; empty = as many as the resources carry."""
    cpus_per_trial: Annotated[int, Field(ge=1)] = 1
    """CPU threads of one trial."""
    gpus_per_trial: Annotated[Annotated[float, Field(ge=0)] | None, AfterValidator(_share)] = None
    """Share of a GPU of one trial: 0, a fraction such as 0.25, or a whole number. Empty = 0.25 where there is a GPU."""
    address: str = ""
    """Ray cluster to join; empty = a private Ray on this machine."""
    smoke: bool = False
    """The whole pipeline in under 90 seconds; proves that it runs, says nothing about tickets."""
    dry_run: bool = False
    """Print the plan, what is shared, bytes and time; write nothing."""


def split(argv: Sequence[str], known: Words) -> tuple[dict[str, Any], list[str]]:
    """Command line -> ({word: text, or list of texts for a tuple}, faults). Options may be written with - or _."""
    found: dict[str, Any] = {}
    faults: list[str] = []
    word: str | None = None
    for text in argv:
        if text.startswith("--"):
            name, equals, value = text[2:].partition("=")
            word = name.replace("-", "_")
            if word not in known:
                near = difflib.get_close_matches(word, known, n=1) or [w for w in known if w.endswith(f".{word}")][:1]
                faults.append(f"{text}: no such option" + (f"; did you mean --{near[0].replace('_', '-')}?" if near else ""))
            elif word in found:
                faults.append(f"--{name}: given twice")
            found[word] = [value] if equals else []
        elif word is None:
            faults.append(f"{text!r}: options begin with --")
        else:
            found[word].append(text)
    flat: dict[str, Any] = {}
    for word, texts in found.items():
        if word in known and (value := _value(word, texts, known[word][0], faults)) is not None:
            flat[word] = value
    return flat, faults


def _value(word: str, texts: list[str], kind: Any, faults: list[str]) -> Any:
    if "tuple" in str(kind):
        parts = [text for part in texts for text in part.replace(",", " ").split()]
        return [parts[i : i + 2] for i in range(0, len(parts), 2)] if "tuple[tuple" in str(kind) else parts
    if kind is bool and not texts:
        return True
    if len(texts) != 1:
        faults.append(f"--{word}: needs one value, got {' '.join(texts) or 'none'}")
        return None
    return next((word for word in _literals(kind) if str(word) == texts[0]), texts[0])


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether --help or -h is among the words."""
    return any(text in ("--help", "-h") for text in argv)


def help_text(usage: str, about: str, groups: Mapping[str, Words]) -> str:
    """The page that --help prints: what it is, then every option by group with what it may be and its default."""
    lines = [f"usage: {usage}", "", about.strip(), ""]
    for title, known in groups.items():
        lines += [f"{title}:"]
        for word, (kind, default, text) in known.items():
            shown = "" if default in ("", (), None) else f" [{_shown(default)}]"
            option = f"--{word if '.' in word else word.replace('_', '-')} {_kind(kind)}".rstrip() + shown
            lines += textwrap.wrap(option, 120, initial_indent="  ", subsequent_indent="    ", break_long_words=False)
            lines += textwrap.wrap(text, 96, initial_indent="      ", subsequent_indent="      ")
        lines.append("")
    return "\n".join([*lines, EXIT_CODES])


def _shown(default: Any) -> str:
    return (
        " ".join(str(x) for x in default)
        if isinstance(default, tuple)
        else str(default).lower()
        if isinstance(default, bool)
        else str(default)
    )


def _kind(kind: Any) -> str:
    text = str(kind)
    if "tuple[tuple" in text:
        return "PATTERN DENSITY ..."
    plural = " ..." if "tuple" in text else ""
    literals = [str(word) for word in _literals(kind)]
    if literals:
        path = " or PACKAGE.MODULE:FACTORY" if "pattern=" in text else ""
        return "{" + (", " if len(literals) > 9 else ",").join(literals) + "}" + plural + path
    if kind is bool or "bool" in text:
        return ""
    return ("INT" if "int" in text else "NUMBER" if "float" in text else "TEXT") + plural


def _literals(kind: Any) -> list[Any]:
    if getattr(kind, "__origin__", None) is Literal:
        return list(kind.__args__)
    return [word for inner in getattr(kind, "__args__", ()) for word in _literals(inner)]
