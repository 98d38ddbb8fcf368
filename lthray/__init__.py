"""Lottery tickets in diffusion models: whole pruning trajectories as Ray Tune trials, every ticket
recorded.

For a notebook: `load` a recorded ticket, `run_trial`, `run_study`, and `results` as a frame.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lthray.version import __version__

if TYPE_CHECKING:
    import pandas

    from lthray.export.recorded import RecordedTicket
    from lthray.study.page import Study

__all__ = ["__version__", "load", "results", "run_study", "run_trial"]


def load(
    name: str, *, out: str = "runs", round: int = -1, tracking_uri: str = ""
) -> "RecordedTicket":
    """Return a recorded ticket: of a trial or a run of MLflow by its id, or the best of a study.

    `round` is that of the trial, 0 = its dense network, -1 = the last. Raises ConfigError where
    nothing below `out` has the name.
    """
    from lthray.command import store_of
    from lthray.config.options import Reading
    from lthray.export.found import named

    chosen = Reading(out=out, tracking_uri=tracking_uri)
    return replace(named(store_of(chosen), name, round, chosen.uri), runs=run_trial)


def run_trial(words: Mapping[str, Any] | None = None, *, out: str = "runs") -> "RecordedTicket":
    """Run one trial in this process and return its last ticket; a trial that is recorded is found.

    `words` are those of the config, and options of `lthray trial` such as preset. Raises
    RuntimeError where the trial does not end well; why is printed.
    """
    from lthray.__main__ import main
    from lthray.command import configured, store_of
    from lthray.config.trial import argv_of
    from lthray.export.found import of_config

    argv = argv_of({**(words or {}), "out": out})
    _check(main(["trial", *argv]), "the trial")
    config, chosen = configured(argv, "", "", more=("log",))
    return replace(of_config(store_of(chosen), config), runs=run_trial)


def run_study(page: "Study", *argv: str) -> "pandas.DataFrame":
    """Run a study in this process, without Ray, and return its results as a frame.

    `argv` are the options of its command line. What is recorded is found, so that running it again
    goes on. Raises RuntimeError where it does not end well; why is printed.
    """
    from lthray.cli import study
    from lthray.command import about_of
    from lthray.study.call import resolve
    from lthray.tracking.contents import experiment_name

    words = ["--local", *argv]
    _check(study(page, words), f"study {page.name}")
    call = resolve(page, words)
    chosen = call.options
    about = about_of(page.name, page.about, chosen=chosen, config=call.config, command="")
    return results(experiment_name(about), out=chosen.out, tracking_uri=chosen.tracking_uri)


def results(
    experiment: str = "", *, out: str = "runs", tracking_uri: str = ""
) -> "pandas.DataFrame":
    """Return what MLflow holds of a study, such as rewinding.digits, as a frame: a row a round.

    Without a name it is the study that was recorded last. Raises ConfigError where there is none.
    """
    from lthray.config.options import Asked
    from lthray.export.frames import frame
    from lthray.tracking.read import Recorded

    chosen = Asked(out=out, tracking_uri=tracking_uri)
    return frame(Recorded(chosen.uri, experiment).trials)


def _check(code: int, what: str) -> None:
    """Raise RuntimeError for an exit code that is not 0."""
    from lthray.config.options import INTERRUPTED, KILLED

    if code in (INTERRUPTED, KILLED):
        raise RuntimeError(f"{what} was interrupted; the same call goes on with it")
    if code:
        raise RuntimeError(f"{what} ended with exit code {code}; the reason is printed above")
