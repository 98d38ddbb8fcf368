"""Stored rounds -> MLflow: written by the driver off the hot path, and written again from the
store.

Names, timestamps and files are functions of what is stored. So recording a round twice changes
nothing, and an empty MLflow can be filled from the store. An MLflow that is down or slow costs the
study nothing: it is tried again.
"""

import json
import tempfile
import threading
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lthray.config.addresses import file_of, redacted
from lthray.core import metrics
from lthray.core.keys import canonical, key_of
from lthray.core.record import Round, TrialRecord
from lthray.core.store import Store
from lthray.findings.evidence import Evidence, gather
from lthray.study.ledger import FAILED, Ledger
from lthray.study.results import config_of, matching, trials, verdict
from lthray.tracking import views
from lthray.tracking.client import client
from lthray.tracking.contents import (
    files_of,
    installed,
    last_moment,
    milliseconds,
    pictures_of,
    tags_of,
)

RETRY = (2.0, 4.0, 8.0, 15.0, 30.0)  # seconds between tries while MLflow does not answer
GRADED = ("confirm", "list")  # phases of which a verdict is recorded

Sentences = Callable[[Evidence], Sequence[str]]
"""Words a verdict: evidence -> sentences."""


def experiment_name(about: Mapping[str, Any]) -> str:
    """Return the name of a call's experiment: studies, data and smoke runs never mix."""
    parts = [about["study"], about.get("collection", about["preset"])]
    if about["smoke"]:
        parts.append("smoke")
    return ".".join(parts)


class Recorder:
    """Writes trials into one MLflow.

    `uri` is a server or database as MLflow takes it, `artifacts` the folder for files when it is a
    local database.
    """

    def __init__(self, uri: str, artifacts: Path):
        (file_of(uri) or artifacts).parent.mkdir(parents=True, exist_ok=True)
        self.client = client(uri)
        self.artifacts = None if uri.startswith("http") else artifacts.absolute()
        self.shown: dict[str, views.Shown] = {}  # by name of the experiment
        self.experiments: dict[str, str] = {}  # name -> id
        self.runs: dict[str, tuple[str, str]] = {}  # trial -> id of its run, what is recorded of it

    def forget(self) -> None:
        """Ask MLflow again for ids of experiments and runs, and for what of them is recorded."""
        self.experiments, self.runs = {}, {}

    def experiment(self, about: Mapping[str, Any]) -> str:
        """Return the id of a call's experiment, made and described if it is new."""
        name = experiment_name(about)
        if name not in self.experiments:
            experiment = self._experiment(name)
            note = experiment.tags.get("mlflow.note.content", "")
            if not note.startswith(about["question"]):
                self._tag(experiment, "mlflow.note.content", about["question"])
            self.experiments[name] = experiment.experiment_id
        return self.experiments[name]

    def _experiment(self, name: str) -> Any:
        if self.client.get_experiment_by_name(name) is None:
            place = (self.artifacts / name).as_uri() if self.artifacts else None
            self.client.create_experiment(name, artifact_location=place)
        return self.client.get_experiment_by_name(name)

    def verdict(
        self, about: Mapping[str, Any], trials: Iterable[TrialRecord], sentences: Sentences
    ) -> None:
        """Write the verdict on the trials of a call that has ended below its question."""
        told: list[str] = []
        for evidence in gather(trials):
            told += [f"* {sentence}" for sentence in sentences(evidence)]
        if told:
            experiment = self.client.get_experiment(self.experiment(about))
            note = "\n".join([about["question"], "", "## Latest verdict", "", *told])
            self._tag(experiment, "mlflow.note.content", note)

    def charts(self, about: Mapping[str, Any]) -> None:
        """Arrange the chart page of a call's experiment for what its runs have recorded."""
        shown = self.shown.get(experiment_name(about), views.Shown())
        if shown.metrics:
            experiment = self.client.get_experiment(self.experiment(about))
            self._tag(experiment, *views.tag(shown, about["varied"]))

    def _tag(self, experiment: Any, name: str, value: str) -> None:
        if experiment.tags.get(name) != value:
            self.client.set_experiment_tag(experiment.experiment_id, name, value)

    def record(
        self,
        trial: TrialRecord,
        about: Mapping[str, Any],
        traceback: Mapping[str, bytes] | None = None,
    ) -> None:
        """Bring a trial's run up to what is stored; what was recorded before is not sent again.

        `about` is what the trial's call holds beside its plan, `traceback` the files that a failure
        left.
        """
        experiment = experiment_name(about)
        for r in trial.rounds:
            shown = self.shown.get(experiment, views.Shown())
            self.shown[experiment] = shown.beside(r.metrics.keys(), pictures_of(r), r.index)
        state = f"{len(trial.rounds)} {trial.status}"
        run_id, recorded = self.runs.get(trial.id) or self._opened(trial, about)
        if recorded != state:
            known_rounds = int(recorded.split()[0])
            for r in trial.rounds[known_rounds:]:
                self._round(run_id, trial.id, r)
            self._files(run_id, {"trial.json": trial.to_json(), **(traceback or {})})
            self._finish(run_id, trial, state)
        self.runs[trial.id] = run_id, state

    def _opened(self, trial: TrialRecord, about: Mapping[str, Any]) -> tuple[str, str]:
        """Return the id of a trial's run, made and described if it is new, and what is recorded."""
        run = self._run(trial, about)
        recorded = run.data.tags.get("lthray.recorded")
        if not recorded:
            recorded = "0 unfinished"
            self._describe(
                run.info.run_id, trial, {**tags_of(trial, about), "lthray.recorded": recorded}
            )
        return run.info.run_id, recorded

    def _run(self, trial: TrialRecord, about: Mapping[str, Any]) -> Any:
        experiment = self.experiment(about)
        wanted = f"tags.`lthray.trial` = '{trial.id}'"
        runs = self.client.search_runs([experiment], wanted, max_results=1)
        if runs:
            return runs[0]
        return self.client.create_run(
            experiment,
            start_time=milliseconds(trial.point.at),
            tags={"lthray.trial": trial.id},
            run_name=trial.name,
        )

    def _describe(self, run_id: str, trial: TrialRecord, tags: Mapping[str, str]) -> None:
        """Record what is known of a trial before its first round, the tags last."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        flat = config_of(trial.point).flat()
        params = []
        for word, value in flat.items():
            params.append(Param(word, value if isinstance(value, str) else json.dumps(value)))
        name, digest = trial.point.data
        source = canonical({"digest": digest, "root": trial.point.places.get("data.root", "")})
        dataset = Dataset(name, digest[:32], "local", source)
        context = InputTag("mlflow.data.context", "training")
        self.client.log_inputs(run_id, [DatasetInput(dataset, [context])])
        self._files(run_id, {"config.json": flat, "requirements.txt": installed()})
        run_tags = [RunTag(name, text) for name, text in tags.items()]
        self.client.log_batch(run_id, params=params, tags=run_tags)

    def _round(self, run_id: str, trial: str, r: Round) -> None:
        from mlflow.entities import Metric, RunTag

        self._files(run_id, files_of(trial, r))
        at = milliseconds(r.created)
        measured = [Metric(name, value, at, r.index) for name, value in r.metrics.items()]
        recorded = RunTag("lthray.recorded", f"{r.index + 1} unfinished")
        self.client.log_batch(run_id, measured, tags=[recorded])

    def _finish(self, run_id: str, trial: TrialRecord, state: str) -> None:
        """Record how a trial stands: status, verdict, sparsest density that matches."""
        from mlflow.entities import Metric, RunTag

        last = milliseconds(last_moment(trial))
        measured = []
        density = matching(trial)
        if density:
            name = metrics.SPARSEST_MATCHING.name
            measured.append(Metric(name, density, last, len(trial.rounds) - 1))
        tags = {
            "lthray.recorded": state,
            "status": trial.status,
            "mlflow.note.content": verdict(trial),
        }
        if any(pictures_of(r) for r in trial.rounds):
            tags["mlflow.loggedImages"] = "true"
        if trial.end:
            ended = "FAILED" if trial.status == FAILED else "FINISHED"
            self.client.set_terminated(run_id, ended, end_time=last)
        run_tags = [RunTag(name, text) for name, text in tags.items()]
        self.client.log_batch(run_id, metrics=measured, tags=run_tags)

    def _files(self, run_id: str, files: Mapping[str, Any]) -> None:
        """Log files as artifacts in one call; what is not bytes is written as JSON."""
        with tempfile.TemporaryDirectory(prefix="lthray-") as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if not isinstance(content, bytes):
                    content = json.dumps(content, indent=1).encode()
                path.write_bytes(content)
            self.client.log_artifacts(run_id, folder)


class Projector(threading.Thread):
    """Records a call in the background for as long as it runs, every `every` seconds.

    `sentences` words the verdict on a call that has ended; None leaves it out.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        uri: str,
        artifacts: Path,
        *,
        every: float = 3.0,
        sentences: Sentences | None = None,
    ):
        super().__init__(name="lthray-mlflow", daemon=True)
        self.store, self.ledger = store, ledger
        self.uri, self.artifacts = uri, artifacts
        self.every, self.sentences = every, sentences
        self.closing = threading.Event()
        self.recorder: Recorder | None = None
        self.complete: set[int] = set()  # trials that are recorded for good
        self.behind: str | None = "it has not answered yet"
        self.experiment: str | None = None

    def run(self) -> None:
        """Record what is new, again and again, until `close`; never raises."""
        failures = 0
        while True:
            is_last = self.closing.is_set()  # asked before: what ends meanwhile needs another time
            self.behind = self._catch_up()
            if is_last and self.behind is None:
                return
            failures = failures + 1 if self.behind else 0
            pause = RETRY[min(failures, len(RETRY)) - 1] if failures else self.every
            if self.closing.wait(pause) and failures:
                threading.Event().wait(1.0)

    def _catch_up(self) -> str | None:
        """Record what is new; return what MLflow raised, or None."""
        try:
            if self.recorder is None:
                self.recorder = Recorder(self.uri, self.artifacts)
            self.experiment = self.recorder.experiment(self.ledger.about)
            self.complete |= _record(
                self.recorder, self.store, self.ledger, skip=self.complete, sentences=self.sentences
            )
        except (
            Exception
        ) as error:  # whatever it is, the study goes on and the store keeps everything
            if self.recorder:
                self.recorder.forget()
            reason = redacted(str(error).partition("\n")[0])[:160]
            return f"{type(error).__name__}: {reason}"
        return None

    def close(self, patience: float) -> str | None:
        """Wait at most `patience` seconds for everything to be recorded.

        Returns what is in the way, or None.
        """
        self.closing.set()
        self.join(patience)
        if self.behind is None and self.is_alive():
            return "it is slow"
        return self.behind


def replay(
    store: Store,
    uri: str,
    artifacts: Path,
    only: Ledger | None = None,
    *,
    sentences: Sentences | None = None,
) -> int:
    """Record every call of a store, or `only` one; returns the number of trials.

    `sentences` words the verdicts on calls that have ended; None leaves them out.
    """
    ledgers = [only] if only else Ledger.all(store)
    ledgers.sort(key=lambda ledger: ledger.about["created"])
    for ledger in ledgers:
        list(ledger)  # one that is damaged is told before anything is written
    recorder = Recorder(uri, artifacts)
    number = 0
    for ledger in ledgers:
        number += len(_record(recorder, store, ledger, sentences=sentences))
    return number


def _record(
    recorder: Recorder,
    store: Store,
    ledger: Ledger,
    *,
    skip: Container[int] = (),
    sentences: Sentences | None = None,
) -> set[int]:
    """Record the trials of a call but those to skip; return numbers of those that ended."""
    about, complete = ledger.about, set[int]()
    with store.lock(key_of("recording", 1, recorder.client.tracking_uri)):
        for trial in trials(store, ledger, skip):
            traceback = ledger.traceback(trial.number) if trial.status == FAILED else {}
            recorder.record(trial, about, traceback)
            if trial.end:
                complete.add(trial.number)
        recorder.charts(about)
        is_graded = complete and about["plan"].get("phase") in GRADED
        if sentences and is_graded and all(entry.end for entry in ledger):
            recorder.verdict(about, trials(store, ledger), sentences)
    return complete
