"""Options of the small commands, such as `lthray preset`, `export`, `ui` and `report`."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from lthray.config.options import OPTIONS, Asked, Reading, Root
from lthray.config.vocabulary import LogName


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Filled(Reading):
    """Options of `lthray record`: what is filled beside MLflow."""

    log: tuple[LogName, ...] = ()
    """Also filled: event files of TensorBoard, a storage file of Optuna."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Wanted(Asked):
    """Options of `lthray preset`: the search that a preset is made of."""

    steps: Annotated[int, Field(ge=0)] = 0
    """Only among networks of so many training steps; 0 = all, whatever they cost."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Named(Root):
    """Options of `lthray data`: the preset that is made."""

    name: str = ""
    """Name of the preset; empty = that of the folder or file."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Retried(Root):
    """Options of `lthray retry`: which of the failed trials."""

    kind: Literal["", "resource", "device", "deterministic"] = ""
    """Only trials whose failure is of this class; empty = all that have failed."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Exported(Reading):
    """Options of `lthray export`: which round of the trial."""

    round: Annotated[int, Field(ge=-1)] = -1
    """Round of the trial, 0 = its dense network; -1 = the last one, or the one that is graded
    best."""
    register: Annotated[str, Field(pattern=r"[\w.-]{0,64}")] = ""
    """Name under which the registry of MLflow takes the folder, as a new version; only a ticket
    that its verdict shows to match its own dense network. Empty = it is not registered."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Opened(Reading):
    """Options of `lthray ui`: where MLflow is to answer."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port of the pages; 0 = the first free one from 5000 on."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Powered(Root):
    """Options of `lthray power`. Effects and deviations are per cent of the dense loss."""

    seeds: Annotated[int, Field(ge=2, le=10_000)] = 5
    """Seeds that are run."""
    sd: Annotated[float, Field(gt=0, le=1000)] = 0.5
    """Standard deviation over seeds of what is compared: about 0.5 of a ticket and its own dense
    network, about 2.5 of a ticket and a control, on digits."""
    effect: Annotated[float, Field(ge=0.01, le=1000)] = 1.0
    """Effect that is to be found."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Reported(Asked):
    """Options of `lthray report`: which study, and whether its figures can be pointed at."""

    interactive: bool = False
    """Let a script draw the figures, so that one can point at them; the page then has 5 MB."""
