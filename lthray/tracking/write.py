"""Stored Rounds -> MLflow: a projection of the store, made by the driver off the hot path, and the replay.

Names, timestamps and files are functions of what is stored, so recording a round twice changes nothing, and an empty
MLflow can be filled again from the store. An MLflow that is down or slow costs the study nothing: it is tried again.
"""

import io
import json
import logging
import os
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_tensors

from lthray.config.options import redacted
from lthray.core.store import Store, canonical, key_of
from lthray.core.ticket import Round
from lthray.findings.claims import sentences
from lthray.findings.evidence import gather
from lthray.study.ledger import FAILED, Ledger
from lthray.study.results import Trial, config_of, facts_of, trials, verdict
from lthray.tracking import views

RETRY = (2.0, 4.0, 8.0, 15.0, 30.0)  # seconds between tries while MLflow does not answer
ENVIRON = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # its own retries would block for minutes; ours start from the store
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def client(uri: str) -> Any:
    """MLflow's client, quiet, and soon to give up."""
    os.environ.update(ENVIRON)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(uri)


def experiment_name(about: Mapping[str, Any]) -> str:
    """Studies, presets and smoke runs are separate experiments and never mix."""
    return ".".join([about["study"], about["preset"], *(["smoke"] if about["smoke"] else [])])


class Recorder:
    """Writes trials into one MLflow; `uri` as MLflow takes it, `artifacts` where files go when it is a local database."""

    def __init__(self, uri: str, artifacts: Path):
        self.client = client(uri)
        self.artifacts = None if uri.startswith("http") else artifacts.absolute()
        self.shown: dict[str, tuple[set[str], set[str], int]] = {}
        self.experiments: dict[str, str] = {}
        self.known: dict[str, tuple[str, str]] = {}

    def forget(self) -> None:
        """Look again what MLflow holds: an experiment's id, a trial's run and what of it is recorded are asked for once."""
        self.experiments, self.known = {}, {}

    def experiment(self, about: Mapping[str, Any]) -> str:
        """The id of a call's experiment, made and described if it is new."""
        name = experiment_name(about)
        if name not in self.experiments:
            if self.client.get_experiment_by_name(name) is None:
                place = (self.artifacts / name).as_uri() if self.artifacts else None
                self.client.create_experiment(name, artifact_location=place)
            found = self.client.get_experiment_by_name(name)
            if not found.tags.get("mlflow.note.content", "").startswith(about["question"]):
                self._tag(found, "mlflow.note.content", about["question"])
            self.experiments[name] = found.experiment_id
        return self.experiments[name]

    def verdict(self, about: Mapping[str, Any], trials: Iterable[Trial]) -> None:
        """Put the verdict of a call that has ended under its question."""
        said = [f"* {s}" for evidence in gather(t.summary for t in trials) for s in sentences(evidence)]
        if said:
            experiment = self.client.get_experiment(self.experiment(about))
            self._tag(experiment, "mlflow.note.content", "\n".join([about["question"], "", "## Latest verdict", "", *said]))

    def charts(self, about: Mapping[str, Any]) -> None:
        """Arrange the experiment's chart page for what its runs have recorded."""
        metrics, pictures, last = self.shown.get(experiment_name(about), (set(), set(), 0))
        if metrics:
            experiment = self.client.get_experiment(self.experiment(about))
            self._tag(experiment, *views.tag(metrics, pictures, about["varied"], last))

    def _tag(self, experiment: Any, name: str, value: str) -> None:
        if experiment.tags.get(name) != value:
            self.client.set_experiment_tag(experiment.experiment_id, name, value)

    def record(self, trial: Trial) -> None:
        """Bring the trial's run up to what is stored; what was recorded before is not sent again."""
        state = f"{len(trial.rounds)} {trial.status}"
        for r in trial.rounds:
            metrics, pictures, last = self.shown.get(experiment_name(trial.about), (set(), set(), 0))
            found = metrics | r.metrics.keys(), pictures | r.files.keys() - {"ticket"}, max(last, r.index)
            self.shown[experiment_name(trial.about)] = found
        run_id, recorded = self.known.get(trial.id) or self._found(trial)
        if recorded != state:
            for r in trial.rounds[int(recorded.split()[0]) :]:
                self._round(run_id, trial, r)
            self._finish(run_id, trial, state)
        self.known[trial.id] = run_id, state

    def _found(self, trial: Trial) -> tuple[str, str]:
        """The trial's run, made and described if it is new, and what of it is recorded."""
        run = self._run(trial)
        return run.info.run_id, run.data.tags.get("lthray.recorded") or self._describe(run.info.run_id, trial)

    def _run(self, trial: Trial):
        experiment = self.experiment(trial.about)
        found = self.client.search_runs([experiment], f"tags.`lthray.trial` = '{trial.id}'", max_results=1)
        began = int(1000 * trial.entry.point["at"])
        tags = {"lthray.trial": trial.id}
        return found[0] if found else self.client.create_run(experiment, start_time=began, tags=tags, run_name=trial.name)

    def _describe(self, run_id: str, trial: Trial) -> str:
        """What is known of a trial before its first round; returns what of it counts as recorded."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        point, about = trial.entry.point, trial.about
        flat = config_of(point).flat()
        params = [Param(word, value if isinstance(value, str) else json.dumps(value)) for word, value in flat.items()]
        name, digest = point["data"]
        source = canonical({"digest": digest, "root": point["places"].get("data.root", "")})
        used = DatasetInput(Dataset(name, digest[:32], "local", source), [InputTag("mlflow.data.context", "training")])
        self.client.log_inputs(run_id, [used])
        self._files(run_id, {"config.json": flat, "requirements.txt": _installed()})
        tags = {
            "study": about["study"],
            "call": trial.ledger.key[:12],
            "phase": point["phase"],
            "control": point["control"],
            "recipe": point["recipe"],
        }
        tags |= {"seed": str(point["seed"]), "key": point["trial"], "commit": about["commit"], "lthray": about["lthray"]}
        tags |= {"mlflow.source.name": about["command"], "mlflow.user": "lthray", "status": "unfinished"}
        tags["lthray.recorded"] = "0 unfinished"
        self.client.log_batch(run_id, params=params, tags=[RunTag(name, text) for name, text in tags.items()])
        return tags["lthray.recorded"]

    def _round(self, run_id: str, trial: Trial, r: Round) -> None:
        from mlflow.entities import Metric, RunTag

        at, place = int(1000 * r.created), f"rounds/{r.index:02d}"
        files: dict[str, Any] = {f"{place}/round.json": facts_of(r), f"{place}/arrays.safetensors": save_tensors(r.arrays)}
        for name, data in r.files.items():
            if name == "ticket":
                files[f"{place}/ticket.safetensors"] = data
            else:
                files |= {f"{place}/{name}.png": data, **dict(_pictures(trial.id, name, r.index, at, data))}
        self._files(run_id, files)
        metrics = [Metric(name, value, at, r.index) for name, value in r.metrics.items()]
        self.client.log_batch(run_id, metrics, tags=[RunTag("lthray.recorded", f"{r.index + 1} unfinished")])

    def _finish(self, run_id: str, trial: Trial, state: str) -> None:
        from mlflow.entities import Metric, RunTag

        end, rounds = trial.entry.end or {}, trial.rounds
        self._files(run_id, {"trial.json": trial.summary, **trial.ledger.traceback(trial.entry.number)})
        last = int(1000 * (end.get("at") or (rounds[-1].created if rounds else trial.entry.point["at"])))
        density = trial.matching
        metrics = [Metric("ticket/sparsest_matching_density", density, last, len(rounds) - 1)] if density else []
        tags = {"lthray.recorded": state, "status": trial.status, "mlflow.note.content": verdict(trial)}
        if any(name != "ticket" for r in rounds for name in r.files):
            tags["mlflow.loggedImages"] = "true"
        if end:
            self.client.set_terminated(run_id, "FAILED" if end["status"] == FAILED else "FINISHED", end_time=last)
        self.client.log_batch(run_id, metrics=metrics, tags=[RunTag(name, text) for name, text in tags.items()])

    def _files(self, run_id: str, files: Mapping[str, Any]) -> None:
        """Log files as artifacts in one call; what is not bytes is written as JSON."""
        with tempfile.TemporaryDirectory(prefix="lthray-") as folder:
            for name, value in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(value if isinstance(value, bytes) else json.dumps(value, indent=1).encode())
            self.client.log_artifacts(run_id, folder)


class Projector(threading.Thread):
    """Records a call in the background for as long as it runs; `close` gives it a last, bounded chance to catch up."""

    def __init__(self, store: Store, ledger: Ledger, uri: str, artifacts: Path, every: float = 3.0):
        super().__init__(name="lthray-mlflow", daemon=True)
        self.store, self.ledger, self.uri, self.artifacts, self.every = store, ledger, uri, artifacts, every
        self.closing = threading.Event()
        self.behind: str | None = "it has not answered yet"
        self.experiment: str | None = None

    def run(self) -> None:
        """Record what is new, again and again; never raises."""
        recorder, failures, complete = None, 0, set[int]()
        while True:
            last = self.closing.is_set()
            try:
                recorder = recorder or Recorder(self.uri, self.artifacts)
                self.experiment = recorder.experiment(self.ledger.about)
                complete |= _record(recorder, self.store, self.ledger, complete)
                self.behind, failures = None, 0
                if last:
                    return
            except Exception as error:  # whatever MLflow raises, the study goes on and the store keeps everything
                reason = redacted(str(error).partition("\n")[0])[:160]
                self.behind, failures = f"{type(error).__name__}: {reason}", failures + 1
                if recorder:
                    recorder.forget()
            pause = RETRY[min(failures, len(RETRY)) - 1] if failures else self.every
            if self.closing.wait(pause) and failures:
                threading.Event().wait(1.0)

    def close(self, patience: float) -> str | None:
        """Wait at most `patience` seconds for everything to be recorded; what is in the way, or None."""
        self.closing.set()
        self.join(patience)
        return self.behind or ("it is slow" if self.is_alive() else None)


def replay(store: Store, uri: str, artifacts: Path, only: Ledger | None = None) -> int:
    """Record every call of a store, or only one; returns the number of trials."""
    recorder, ledgers = Recorder(uri, artifacts), [only] if only else Ledger.all(store)
    return sum(len(_record(recorder, store, ledger)) for ledger in sorted(ledgers, key=lambda call: call.about["created"]))


def _record(recorder: Recorder, store: Store, ledger: Ledger, skip: set[int] | None = None) -> set[int]:
    """Record the trials of a call but those to skip; the numbers of those that are finished for good."""
    complete = set()
    with store.lock(key_of("recording", 1, recorder.client.tracking_uri)):
        for trial in trials(store, ledger, skip or ()):
            recorder.record(trial)
            complete |= {trial.entry.number} if trial.entry.end else set()
        recorder.charts(ledger.about)
        if complete and ledger.about["plan"].get("phase") in ("confirm", "list") and all(entry.end for entry in ledger):
            recorder.verdict(ledger.about, trials(store, ledger))
    return complete


def _pictures(trial: str, name: str, index: int, at: int, png: bytes) -> Iterator[tuple[str, bytes]]:
    """The two files under which MLflow's image grid finds a picture, with names that never change."""
    from PIL import Image

    stem = f"images/{name}+step+{index}+timestamp+{at}+{uuid.uuid5(uuid.NAMESPACE_URL, f'{trial}/{name}/{index}')}"
    small = io.BytesIO()
    Image.open(io.BytesIO(png)).save(small, "WEBP")
    yield f"{stem}.png", png
    yield f"{stem}+compressed.webp", small.getvalue()


def _installed() -> bytes:
    return "\n".join(sorted({f"{d.metadata['Name']}=={d.version}" for d in distributions()})).encode()
