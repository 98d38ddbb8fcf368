"""What is recorded of a trial, in a run of MLflow and beside: names, tags, times, files."""

import io
import math
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import distributions
from typing import Any

from safetensors.torch import save as save_tensors

from lthray.core import metrics
from lthray.core.record import Round, TrialRecord
from lthray.findings.evidence import TICKET as UNCONTROLLED
from lthray.findings.evidence import arm_of
from lthray.findings.rounds import margin_of
from lthray.tracking.charts import CURVE, last_of
from lthray.tracking.notes import NOTE

TRIAL = "lthray.trial"  # tag by which the run of a trial is found: the trial's id
PLAN = "plan.json"  # of the call of a search: its space, seeds and config
TICKET = "ticket"  # the one file of a round that is no picture
DENSE = "dense"
COMMAND = "JOB"  # type of source that MLflow shows whole; of others it shows the end


def experiment_name(about: Mapping[str, Any]) -> str:
    """Return the name of a call's experiment: studies, data and smoke runs never mix."""
    parts = [about["study"], about.get("collection", about["preset"])]
    if about["smoke"]:
        parts.append("smoke")
    return ".".join(parts)


def milliseconds(seconds: float) -> int:
    """Return a Unix time as MLflow wants it."""
    return int(1000 * seconds)


def tags_of(trial: TrialRecord, about: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags by which a run is found, before its first round."""
    point = trial.point
    return {
        "study": about["study"],
        "preset": about["preset"],
        "call": trial.id[:12],
        "phase": point.phase,
        "control": point.control,
        "arm": _arm(trial),
        CURVE: curve_of(trial),
        "recipe": point.recipe,
        "seed": str(point.seed),
        "key": point.trial,
        "commit": about["commit"],
        "lthray": about["lthray"],
        "mlflow.source.name": about["command"],
        "mlflow.source.type": COMMAND,
        "mlflow.user": "lthray",
        "mlflow.runName": trial.name,
        "status": "unfinished",
    }


def _arm(trial: TrialRecord) -> str:
    """Return what is trained on a seed: the ticket, a control of it, or only a dense network."""
    arm = arm_of(trial.point)
    if not arm.startswith(UNCONTROLLED):
        return arm
    trained = DENSE if len(trial.point.rounds) == 1 else TICKET
    return trained + arm.removeprefix(UNCONTROLLED)


def curve_of(trial: TrialRecord) -> str:
    """Return the name of a trial without its seed: "reinit erk late5%"."""
    return trial.name.removesuffix(f" s{trial.point.seed}")


def drawn(trial: TrialRecord, r: Round) -> dict[str, float]:
    """Return what MLflow's charts need of a round beside what was measured; no analysis reads it.

    Its charts have no logarithmic axis for a metric, so the axis is in halvings of the weights: of
    the density that the ladder asks for, which is one for all seeds and arms. They have no line at
    a number either, so the margin is recorded with every rung of a ticket.
    """
    density = r.density or r.metrics[metrics.PRUNABLE.name]  # of a given ticket none is asked
    numbers = {metrics.HALVINGS.name: round(-math.log2(density), 4) + 0.0}
    if trial.point.is_ticket and len(trial.rounds) > 1:
        numbers[metrics.MARGIN.name] = margin_of(trial.rounds[-1])
    return numbers


def last_moment(trial: TrialRecord) -> float:
    """Return the Unix time at which a trial ended, made its last round, or was given out."""
    if trial.end and trial.end.at:
        return trial.end.at
    if trial.rounds:
        return trial.rounds[-1].created
    return trial.point.at


def pictures_of(r: Round) -> set[str]:
    """Return the names of a round's sample grids, samples_<sampler>."""
    return r.files.keys() - {TICKET}


def files_of(trial: str, r: Round) -> dict[str, Any]:
    """Return path -> content of the files of a round of the trial with id `trial`.

    Contents are bytes, or facts that are to be written as JSON.
    """
    place = f"rounds/{r.index:02d}"
    files: dict[str, Any] = {
        f"{place}/round.json": r.facts,
        f"{place}/arrays.safetensors": save_tensors(dict(r.arrays)),
    }
    for name, data in r.files.items():
        if name == TICKET:
            files[f"{place}/ticket.safetensors"] = data
        else:
            files[f"{place}/{name}.png"] = data
            files |= _grid_files(f"{trial}/{name}", name, r.index, r.created, data)
    return files


def closing_files(trial: TrialRecord, traceback: Mapping[str, bytes]) -> dict[str, Any]:
    """Return path -> content of the files that say how a trial stands: its record, the files that a
    failure left, and where it has ended the last of its pictures."""
    files: dict[str, Any] = {"trial.json": trial.to_json(), **traceback}
    last = {name: r for r in trial.rounds for name in pictures_of(r)} if trial.end else {}
    for picture, r in last.items():
        name = last_of(picture)
        files |= _grid_files(f"{trial.id}/{name}", name, 0, r.created, r.files[picture])
    return files


def _grid_files(
    key: str, name: str, step: int, at: float, png: bytes
) -> Iterator[tuple[str, bytes]]:
    """Yield the two files under which MLflow's image grid finds a picture; names never change."""
    from PIL import Image

    unique = uuid.uuid5(uuid.NAMESPACE_URL, f"{key}/{step}")
    stem = f"images/{name}+step+{step}+timestamp+{milliseconds(at)}+{unique}"
    small = io.BytesIO()
    Image.open(io.BytesIO(png)).save(small, "WEBP")
    yield f"{stem}.png", png
    yield f"{stem}+compressed.webp", small.getvalue()


def described(config: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the files of what is known of a trial before its first round; of a search its plan.

    `config` maps the words of its config to their values.
    """
    files: dict[str, Any] = {"config.json": dict(config), "requirements.txt": installed()}
    plan = about.get("plan", {})
    if plan.get("space"):
        files[PLAN] = {**plan, "order": list(about.get("order", ()))}
    return files


def closing_tags(trial: TrialRecord, note: str) -> dict[str, str]:
    """Return the tags of how a trial stands; `note` says it in Markdown."""
    tags = {"status": trial.status, NOTE: note}
    if any(map(pictures_of, trial.rounds)):
        tags["mlflow.loggedImages"] = "true"
    return tags


@cache
def installed() -> bytes:
    """Return the installed distributions as the text of a requirements file, sorted.

    Their metadata are read once in a process, for many trials have it.
    """
    lines = {f"{found.metadata['Name']}=={found.version}" for found in distributions()}
    return "\n".join(sorted(lines)).encode()
