"""The MLflow client of reader and writer: quiet, and soon to give up."""

import logging
import os
from typing import Any

from lthray.config.addresses import redacted
from lthray.config.fields import ConfigError

ENVIRON = {
    # MLflow's own retries would block for minutes; ours start again from the store
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def client(uri: str) -> Any:
    """Return an MlflowClient for the server or database at `uri`.

    Sets MLflow's environment variables in this process and silences its loggers. ConfigError where
    the driver of a database is not installed.
    """
    os.environ.update(ENVIRON)
    from mlflow import MlflowClient
    from sqlalchemy.exc import ArgumentError

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return MlflowClient(uri)
    except (ImportError, ArgumentError) as error:
        needed = f"the driver of this database cannot be loaded ({error}); install it with pip"
        raise ConfigError([f"--tracking-uri {redacted(uri)}: {needed}"]) from None
