"""Stored rounds -> runs of one MLflow: made, brought up to date, and repaired.

Names, timestamps and files are functions of what is stored. So recording a round twice changes
nothing, and what was deleted in MLflow is made again.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lthray.config.addresses import file_of, redacted
from lthray.core import metrics
from lthray.core.keys import canonical
from lthray.core.record import Round, TrialRecord
from lthray.study.ledger import FAILED
from lthray.study.results import config_of, matching, verdict
from lthray.tracking import views
from lthray.tracking.charts import Shown
from lthray.tracking.client import client, every
from lthray.tracking.contents import (
    TRIAL,
    closing_files,
    closing_tags,
    curve_of,
    described,
    drawn,
    experiment_name,
    files_of,
    last_moment,
    milliseconds,
    pictures_of,
    tags_of,
)
from lthray.tracking.notes import NOTE, Note

log = logging.getLogger("lthray")

GRADE = "grade"  # tag of a run: the grade of its recipe
LONGEST = 250  # characters of a run's name in a database of MLflow
DELETED = "deleted"  # MLflow's word for what is in its bin
Sentences = Callable[[Sequence[TrialRecord], int], tuple[Sequence[str], Mapping[str, str]]]
"""Words a verdict, sentence by sentence, and the grade of each ticket by the id of its trial: of
trials that are judged, and how often their seeds were looked at."""


class Recorder:
    """Writes trials into one MLflow.

    `uri` is a server or database as MLflow takes it, `artifacts` the folder for files when it is a
    local database.
    """

    def __init__(self, uri: str, artifacts: Path):
        (file_of(uri) or artifacts).parent.mkdir(parents=True, exist_ok=True)
        self.client = client(uri)
        self.artifacts = None if uri.startswith("http") else artifacts.absolute()
        self.shown: dict[str, Shown] = {}  # by name of the experiment
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
            known = Note.of(experiment.tags.get(NOTE, ""))
            if not known.question.startswith(about["question"]):
                self._tag(experiment, NOTE, Note(about["question"]).text())
            self.experiments[name] = experiment.experiment_id
        return self.experiments[name]

    def _experiment(self, name: str) -> Any:
        """Return the experiment of a name; made if there is none, restored if it was deleted.

        One that cannot be restored is made anew, as NAME.2.
        """
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            place = (self.artifacts / name).as_uri() if self.artifacts else None
            self.client.create_experiment(name, artifact_location=place)
        elif experiment.lifecycle_stage == DELETED:
            try:
                self.client.restore_experiment(experiment.experiment_id)
                log.warning("experiment %s was deleted in MLflow; it is restored", name)
            except Exception as error:  # such as that this user may not
                anew = _next(name)
                message = "experiment %s was deleted and cannot be restored (%s); recorded as %s"
                log.warning(message, name, type(error).__name__, anew)
                return self._experiment(anew)
        return self.client.get_experiment_by_name(name)

    def verdict(
        self, about: Mapping[str, Any], told: Sequence[str], grades: Mapping[str, str]
    ) -> None:
        """Write the verdict on a call, sentence by sentence, below its question, and on the run of
        each ticket, by the id of its trial, the grade of its recipe."""
        if not told:
            return
        experiment = self.client.get_experiment(self.experiment(about))
        self._note(experiment, Note(about["question"], told, redacted(about["command"])))
        for run in every(self.client.search_runs, [experiment.experiment_id]):
            grade = grades.get(run.data.tags.get(TRIAL, ""))
            if grade and run.data.tags.get(GRADE) != grade:
                self.client.set_tag(run.info.run_id, GRADE, grade)

    def _note(self, experiment: Any, note: Note) -> None:
        """Write the note of an experiment, unless it begins as it should: users add to notes."""
        known = experiment.tags.get(NOTE, "")
        text = note.text(views.links(experiment.experiment_id))
        if not known.startswith(text):
            self._tag(experiment, NOTE, text)

    def charts(self, about: Mapping[str, Any]) -> None:
        """Arrange the chart page of a call's experiment for what its runs have recorded."""
        shown = self.shown.get(experiment_name(about), Shown())
        if shown.metrics:
            experiment = self.client.get_experiment(self.experiment(about))
            for name, value in views.tags(shown, about["varied"]):
                self._tag(experiment, name, value)
            known = Note.of(experiment.tags.get(NOTE, ""))
            self._note(experiment, replace(known, question=about["question"]))

    def _tag(self, experiment: Any, name: str, value: str) -> None:
        if experiment.tags.get(name) != value:
            self.client.set_experiment_tag(experiment.experiment_id, name, value)

    def record(
        self,
        trial: TrialRecord,
        about: Mapping[str, Any],
        traceback: Mapping[str, bytes] | None = None,
        *,
        repair: bool = False,
    ) -> None:
        """Bring a trial's run up to what is stored; what was recorded before is not sent again.

        `about` is what the trial's call holds beside its plan, `traceback` the files that a failure
        left. With `repair`, files and tags that are gone from MLflow are sent again.
        """
        experiment = experiment_name(about)
        shown = self.shown.get(experiment, Shown()).with_run(curve_of(trial), trial.point.seed)
        for r in trial.rounds:
            shown = shown.beside(r.metrics.keys(), pictures_of(r), r.index)
        self.shown[experiment] = shown
        state = f"{len(trial.rounds)} {trial.status}"
        run_id, recorded = self.runs.get(trial.id) or self._opened(trial, about)
        if recorded != state:
            known_rounds = int(recorded.split()[0])
            for r in trial.rounds[known_rounds:]:
                self._round(run_id, trial.id, r)
            self._files(run_id, closing_files(trial, traceback or {}))
            self._draw(run_id, trial)
            self._finish(run_id, trial, state)
        elif repair:
            self._repair(run_id, trial, about, traceback or {})
        self.runs[trial.id] = run_id, state

    def _repair(
        self,
        run_id: str,
        trial: TrialRecord,
        about: Mapping[str, Any],
        traceback: Mapping[str, bytes],
    ) -> None:
        """Send what a run that was recorded whole lacks: files that are gone or new, and tags."""
        from mlflow.entities import RunTag

        wanted = closing_files(trial, traceback)
        for r in trial.rounds:
            wanted |= files_of(trial.id, r)
        there = dict(self._there(run_id, ""))
        for name, content in described(config_of(trial.point).flat(), about).items():
            if name not in there:  # packages may have changed since they were listed
                wanted[name] = content
        contents = {name: _bytes_of(content) for name, content in wanted.items()}
        lacking = {name: data for name, data in contents.items() if there.get(name) != len(data)}
        if lacking:
            message = "%s: %d files were not in MLflow as they are stored; sent"
            log.warning(message, trial.name, len(lacking))
            self._files(run_id, lacking)
        known = self.client.get_run(run_id).data
        if metrics.HALVINGS.name not in known.metrics:  # an older lthray has recorded it
            self._draw(run_id, trial)
        tags = {**tags_of(trial, about), **closing_tags(trial, verdict(trial))}
        lost = [RunTag(name, text) for name, text in tags.items() if name not in known.tags]
        if lost:
            self.client.log_batch(run_id, tags=lost)

    def _there(self, run_id: str, folder: str) -> Iterator[tuple[str, int]]:
        """Yield every file of a run, with its size."""
        for item in self.client.list_artifacts(run_id, folder):
            if item.is_dir:
                yield from self._there(run_id, item.path)
            else:
                yield item.path, item.file_size

    def _opened(self, trial: TrialRecord, about: Mapping[str, Any]) -> tuple[str, str]:
        """Return the id of a trial's run, made and described if it is new, and what is recorded."""
        run = self._run(trial, about)
        recorded = run.data.tags.get("lthray.recorded")
        if not recorded:
            recorded = "0 unfinished"
            self._describe(run.info.run_id, trial, about, recorded)
        return run.info.run_id, recorded

    def _run(self, trial: TrialRecord, about: Mapping[str, Any]) -> Any:
        """Return the run of a trial, made if there is none; any other run of it goes to the bin.

        Restoring an experiment in MLflow brings back all its runs, also those that were deleted and
        made again.
        """
        experiment = self.experiment(about)
        wanted = f"tags.`{TRIAL}` = '{trial.id}'"
        runs = self.client.search_runs([experiment], wanted)
        if not runs:
            runs = self._untagged(experiment, trial)
        for other in runs[1:]:
            self.client.delete_run(other.info.run_id)
            log.warning("%s had a second run in MLflow; that is in its bin now", trial.name)
        if runs:
            return runs[0]
        return self.client.create_run(
            experiment,
            start_time=milliseconds(trial.point.at),
            tags={TRIAL: trial.id},
            run_name=trial.name[:LONGEST],
        )

    def _untagged(self, experiment: str, trial: TrialRecord) -> list[Any]:
        """Return the runs of a trial that have lost the tag by which they are found, tagged again.

        They are known by the moment at which the trial was given out, and by its name.
        """
        at = milliseconds(trial.point.at)
        found = self.client.search_runs([experiment], f"attributes.start_time = {at}")
        named = [run for run in found if run.info.run_name == trial.name[:LONGEST]]
        runs = [run for run in named if TRIAL not in run.data.tags]
        for run in runs:
            self.client.set_tag(run.info.run_id, TRIAL, trial.id)
        return runs

    def _describe(
        self, run_id: str, trial: TrialRecord, about: Mapping[str, Any], recorded: str
    ) -> None:
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
        self._files(run_id, described(flat, about))
        tags = {**tags_of(trial, about), "lthray.recorded": recorded}
        run_tags = [RunTag(name, text) for name, text in tags.items()]
        self.client.log_batch(run_id, params=params, tags=run_tags)

    def _round(self, run_id: str, trial: str, r: Round) -> None:
        from mlflow.entities import Metric, RunTag

        self._files(run_id, files_of(trial, r))
        at = milliseconds(r.created)
        measured = [Metric(name, value, at, r.index) for name, value in r.metrics.items()]
        recorded = RunTag("lthray.recorded", f"{r.index + 1} unfinished")
        self.client.log_batch(run_id, measured, tags=[recorded])

    def _draw(self, run_id: str, trial: TrialRecord) -> None:
        """Record what charts need of each round, again after every round: MLflow keeps it once."""
        from mlflow.entities import Metric

        numbers = []
        for r in trial.rounds:
            at = milliseconds(r.created)
            numbers += [Metric(name, value, at, r.index) for name, value in drawn(trial, r).items()]
        self.client.log_batch(run_id, metrics=numbers)

    def _finish(self, run_id: str, trial: TrialRecord, state: str) -> None:
        """Record how a trial stands: status, verdict, sparsest density that matches."""
        from mlflow.entities import Metric, RunTag

        last = milliseconds(last_moment(trial))
        measured = []
        density = matching(trial)
        if density:
            name = metrics.SPARSEST_MATCHING.name
            measured.append(Metric(name, density, last, len(trial.rounds) - 1))
        tags = {"lthray.recorded": state, **closing_tags(trial, verdict(trial))}
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
                path.write_bytes(_bytes_of(content))
            self.client.log_artifacts(run_id, folder)


def _bytes_of(content: Any) -> bytes:
    """Return the bytes of a file: JSON of what is not bytes."""
    return content if isinstance(content, bytes) else json.dumps(content, indent=1).encode()


def _next(name: str) -> str:
    """Return the name after NAME or NAME.2: NAME.2 or NAME.3."""
    stem, _, number = name.rpartition(".")
    return f"{stem}.{int(number) + 1}" if number.isdecimal() else f"{name}.2"
