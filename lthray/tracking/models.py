"""Tickets as models of MLflow: shown beside their run, and registered under a name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lthray.config.addresses import redacted
from lthray.config.fields import ConfigError
from lthray.tracking.client import client, every, one_line
from lthray.tracking.contents import TRIAL

TYPE = "ticket"  # type of the model
ROUND = "round"  # tag of a model that says which round of its trial it is


def has_model(uri: str, trial: str, index: int) -> bool:
    """Return whether a round of a trial is there already, as a model of its run.

    Raises ConfigError where MLflow at `uri` has no run of the trial.
    """
    with one_line(uri):
        mlflow = client(uri)
        run = _run_of(mlflow, uri, trial)
        found = every(mlflow.search_logged_models, [run.info.experiment_id])
        places = {(model.source_run_id, model.tags.get(ROUND)) for model in found}
    return (run.info.run_id, str(index)) in places


def log(uri: str, trial: str, folder: Path, tags: Mapping[str, str]) -> None:
    """Log an exported folder as a model of the run of a trial.

    Raises ConfigError where MLflow at `uri` has no run of the trial.
    """
    with one_line(uri):
        mlflow = client(uri)
        _logged(mlflow, _run_of(mlflow, uri, trial), folder, tags)


def register(uri: str, trial: str, folder: Path, name: str, tags: Mapping[str, str]) -> str:
    """Log an exported folder as a model of the run of a trial, and register it as `name`.

    Returns the name with its new version. Raises ConfigError where MLflow at `uri` has no run of
    the trial.
    """
    with one_line(uri):
        mlflow = client(uri)
        run = _run_of(mlflow, uri, trial)
        model = _logged(mlflow, run, folder, tags)
        if not mlflow.search_registered_models(f"name = '{name}'"):
            mlflow.create_registered_model(name)
        version = mlflow.create_model_version(
            name, model.artifact_location, run.info.run_id, dict(tags), model_id=model.model_id
        )
    return f"{name}, version {version.version}"


def _run_of(mlflow: Any, uri: str, trial: str) -> Any:
    known = [each.experiment_id for each in every(mlflow.search_experiments)]
    runs = mlflow.search_runs(known, f"tags.`{TRIAL}` = '{trial}'")
    if not runs:
        why = "has no run of it; `lthray record` makes one from the store"
        raise ConfigError([f"{trial}: {redacted(uri)} {why}"])
    return runs[0]


def _logged(mlflow: Any, run: Any, folder: Path, tags: Mapping[str, str]) -> Any:
    model = mlflow.create_logged_model(
        run.info.experiment_id,
        name=TYPE,
        source_run_id=run.info.run_id,
        tags=dict(tags),
        model_type=TYPE,
    )
    mlflow.log_model_artifacts(model.model_id, str(folder))
    mlflow.finalize_logged_model(model.model_id, "READY")
    return model
