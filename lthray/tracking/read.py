"""A study as MLflow holds it: what analyses read, and all that they read."""

import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from torch import Tensor

from lthray.config.addresses import file_of, redacted
from lthray.config.fields import ConfigError
from lthray.config.options import NAME
from lthray.core import metrics
from lthray.core.keys import parsed
from lthray.core.record import RecordError, TrialRecord, machine_lines
from lthray.findings.evidence import panel_of, setting_of, task_of
from lthray.study.results import config_of, look_of, pruned
from lthray.study.searched import Searched
from lthray.tracking.client import client, every, one_line
from lthray.tracking.contents import PLAN, TRIAL
from lthray.tracking.notes import NOTE, Note

SEARCH = "search"  # phase of a search, without its confirmation
# options that say where something lay are no part of what was found
PLACE = re.compile(r" --(?:out|tracking[-_]uri|data[-_.]root)[ =]\S+")


def experiments(uri: str) -> list[str]:
    """Return the names of all experiments of an MLflow that can be a study's, sorted.

    ConfigError where `uri` is a database file that is not there.
    """
    with one_line(uri):
        return sorted(experiment.name for experiment in _studies(_client(uri)))


def _studies(mlflow: Any) -> list[Any]:
    return [found for found in every(mlflow.search_experiments) if NAME.fullmatch(found.name)]


def _client(uri: str) -> Any:
    file = file_of(uri)
    if file and not file.exists():  # MLflow would make it
        reason = f"there is no {file}: nothing was recorded there (--out, --tracking-uri)"
        raise ConfigError([reason])
    return client(uri)


def experiment_of(uri: str, name: str = "") -> Any:
    """Return the experiment of a study, as MLflow has it; `name` empty is the one recorded last.

    ConfigError where there is none of this name.
    """
    _check_name(name)
    with one_line(uri):
        return _experiment(_client(uri), uri, name)


def _check_name(name: str) -> None:
    if name and not NAME.fullmatch(name):
        raise ConfigError([f"--experiment {name!r}: study.preset, such as rewinding.digits"])


def _experiment(mlflow: Any, uri: str, name: str) -> Any:
    found = mlflow.get_experiment_by_name(name) if name else _latest(mlflow)
    if found is None or found.lifecycle_stage != "active":
        names = sorted(each.name for each in _studies(mlflow))
        has = f"{redacted(uri)} has {', '.join(names) or 'none'}"
        raise ConfigError([f"--experiment {name!r}: {has}"])
    return found


def _latest(mlflow: Any) -> Any:
    """Return the experiment in which lthray began a run last, or None."""
    ids = [found.experiment_id for found in _studies(mlflow)]
    order = ["start_time DESC"]
    ours = f"tags.`{TRIAL}` LIKE '%'"  # other tools may record there too
    runs = mlflow.search_runs(ids, ours, max_results=1, order_by=order) if ids else []
    return mlflow.get_experiment(runs[0].info.experiment_id) if runs else None


class Recorded:
    """The finished trials of one experiment in the order in which they were given out.

    `name` empty is the experiment that was recorded to last. ConfigError where there is none, where
    nothing in it is finished, or where an older lthray has recorded it.
    """

    def __init__(self, uri: str, name: str = ""):
        _check_name(name)
        with one_line(uri):
            self.client, self.uri = _client(uri), uri
            self.experiment = _experiment(self.client, uri, name)
            self.tags: dict[str, dict[str, str]] = self._finished()  # id of a run -> tags
        self.name: str = self.experiment.name
        if not self.tags:
            reason = "no finished trial is recorded there"
            raise ConfigError([f"--experiment {self.name!r}: {reason}"])
        try:
            trials = {trial.id: trial for trial in self._read()}  # a trial counts once
        except RecordError as error:
            fault = f"what is recorded there is damaged ({error})"
            raise ConfigError([f"--experiment {self.name!r}: {fault}"]) from None
        except KeyError:
            reason = "was recorded by an older lthray; run the study again"
            raise ConfigError([f"--experiment {self.name!r}: {reason}"]) from None
        self.trials: list[TrialRecord] = sorted(trials.values(), key=lambda trial: trial.point.at)

    @property
    def question(self) -> str:
        """The study's own page, in Markdown."""
        return Note.of(self.experiment.tags.get(NOTE, "")).question

    @property
    def smoke(self) -> bool:
        """Whether the study was run as small as can be, to see that all works."""
        return "smoke" in self.name.split(".")[2:]

    @property
    def preset(self) -> str:
        """Name of the preset that the study began from."""
        tags = self.tags[self.trials[0].run]
        named = self.name.removeprefix(f"{tags['study']}.").removesuffix(".smoke")
        return tags.get("preset", named)

    def of(self, call: str = "") -> list[TrialRecord]:
        """Return the trials that answer the study's question.

        They are those of the confirmation where a search had one, or those of `call`, the beginning
        of a call's key. ConfigError where there are none, or while any of them is still to come.
        """
        trials = self._chosen(call)
        self._check_complete(trials)
        return trials

    def unfinished(self, call: str = "") -> str:
        """Return how many of the trials that `of` would return are finished, in words; empty where
        all of them are."""
        return next(iter(_waiting(self._chosen(call)).values()), "")

    def _chosen(self, call: str) -> list[TrialRecord]:
        """Return the finished trials of those that answer the study's question."""
        trials = [trial for trial in self.trials if trial.id.startswith(call)]
        if not trials:
            calls = ", ".join(_by_call(self.trials))
            raise ConfigError([f"--call {call!r}: {self.name} has {calls}"])
        confirmed = [trial for trial in trials if trial.point.phase == "confirm"]
        return confirmed if confirmed and not call else trials

    def look(self, trials: Sequence[TrialRecord]) -> int:
        """Return how often the seeds of `trials` were looked at in this experiment."""
        return look_of(trials, self.trials)

    def searched(self, call: str = "") -> Searched:
        """Return the one search that is recorded here, whether it was confirmed or not.

        `call` is the beginning of a call's key. ConfigError where there is no search or are
        several, while trials of it are still to come, or where an older lthray has recorded it.
        """
        trials = [t for t in self.trials if t.point.phase == SEARCH and t.id.startswith(call)]
        calls = _by_call(trials)
        if not calls:
            raise ConfigError(["no search is recorded there: nothing was drawn and learnt from"])
        if len(calls) > 1:
            raise ConfigError(
                [f"several searches are recorded; name one: --call {' '.join(calls)}"]
            )
        self._check_complete(trials)
        plan = self.file(trials[0], PLAN)
        if plan is None:
            reason = "its space was not recorded by that older lthray; `lthray record` adds it"
            raise ConfigError([f"--experiment {self.name!r}: {reason}"])
        try:
            return Searched.of(parsed(plan), trials)
        except (RecordError, KeyError, TypeError) as error:
            fault = f"the plan that is recorded there is damaged ({error})"
            raise ConfigError([f"--experiment {self.name!r}: {fault}"]) from None

    def _check_complete(self, trials: Sequence[TrialRecord]) -> None:
        """Raise ConfigError for the first call of which some trials are not finished."""
        waiting = _waiting(trials)
        whole = [key for key in _by_call(trials) if key not in waiting]
        for reason in waiting.values():
            if whole:
                reason += f" (--call names another: {', '.join(whole)})"
            raise ConfigError([f"--experiment {self.name!r}: {reason}"])

    def provenance(self, trials: Sequence[TrialRecord]) -> str:
        """Return one line on when, with what and on what `trials` were made."""
        days, devices, builds, data, commands = (set[str]() for _ in range(5))
        for trial in trials:
            tags = self.tags[trial.run]
            name, digest = trial.point.data
            data.add(f"{name} {digest[:12]}")
            builds.add(
                f"lthray {tags.get('lthray', '?')} ({tags.get('commit', '')[:10] or 'no commit'})"
            )
            commands.add(PLACE.sub("", redacted(tags.get("mlflow.source.name", "?"))))
            for r in trial.rounds:
                days.add(time.strftime("%Y-%m-%d", time.gmtime(r.created)))
                devices.add(", ".join(f"{word} {value}" for word, value in sorted(r.made.items())))
        first_and_last = dict.fromkeys((min(days, default="?"), max(days, default="?")))
        seeds = sorted({trial.point.seed for trial in trials})
        parts = [
            "; ".join(sorted(commands)),
            "–".join(first_and_last),
            *sorted(builds),
            *sorted(devices),
            f"data {', '.join(sorted(data))}",
            f"seeds {' '.join(map(str, seeds))}",
        ]
        compared = (r for trial in trials for r in trial.rounds)
        return " ".join([f"Recorded: {'; '.join(parts)}.", *machine_lines(compared)])

    def file(self, trial: TrialRecord, path: str) -> bytes | None:
        """Return the artifact at `path` of a trial's run; None where there is none."""
        if path not in self._listed(trial.run, os.path.dirname(path)):
            return None
        return self._download(trial.run, path)

    def arrays(self, trial: TrialRecord, index: int) -> dict[str, Tensor]:
        """Return the arrays of a round: loss [images, timesteps], those of measure.anatomy."""
        data = self.file(trial, f"rounds/{index:02d}/arrays.safetensors")
        return load_tensors(data) if data else {}

    def pictures(self, trial: TrialRecord, index: int) -> Iterator[tuple[str, bytes]]:
        """Yield the sample grids of round `index`: (samples_<sampler>, PNG)."""
        for path in self._listed(trial.run, f"rounds/{index:02d}"):
            name = Path(path).name
            if name.endswith(".png"):
                yield name.removesuffix(".png"), self._download(trial.run, path)

    def _listed(self, run: str, folder: str) -> list[str]:
        """Return the paths of a run's artifacts in a folder of them."""
        with one_line(self.uri):
            return [item.path for item in self.client.list_artifacts(run, folder)]

    def _download(self, run: str, path: str) -> bytes:
        """Return the bytes of an artifact; TrackingError where there is none."""
        with one_line(self.uri), tempfile.TemporaryDirectory(prefix="lthray-") as folder:
            return Path(self.client.download_artifacts(run, path, folder)).read_bytes()

    def _finished(self) -> dict[str, dict[str, str]]:
        """Return the tags of the runs of all finished trials, by id of the run."""
        tags = {}
        for run in every(self.client.search_runs, [self.experiment.experiment_id]):
            is_ours = TRIAL in run.data.tags
            if is_ours and run.data.tags.get("status", "unfinished") != "unfinished":
                tags[run.info.run_id] = run.data.tags
        return tags

    def _read(self) -> Iterator[TrialRecord]:
        """Yield the trial.json of every finished run; KeyError where an older lthray wrote it."""
        for run in self.tags:
            facts = parsed(self._download(run, "trial.json"))
            yield TrialRecord.from_json(facts, run)


def _by_call(trials: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Return the trials by the beginning of their call's key, sorted."""
    calls: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        calls.setdefault(trial.id[:12], []).append(trial)
    return dict(sorted(calls.items()))


def _waiting(trials: Iterable[TrialRecord]) -> dict[str, str]:
    """Return the calls of which trials are still to come -> how many are finished, in words."""
    told = {}
    for key, own in _by_call(trials).items():
        wanted = max(trial.point.of for trial in own)
        if len(own) < wanted:
            told[key] = f"{len(own)} of {wanted} trials are finished; the study goes on"
    return told


def tuned(
    trials: Iterable[TrialRecord], call: str = "", steps: int = 0
) -> tuple[TrialRecord, dict[str, Any]]:
    """Return the dense network with the smallest held-out loss of a search, and the words that made
    it.

    The words are those of its config on data, network and training. `call` is the beginning of a
    call's key, `steps` the number of training steps (0: any). ConfigError where no dense network
    was searched, or where not all were measured alike.
    """
    dense = []
    for trial in trials:
        is_searched = trial.id.startswith(call) and trial.point.phase == "search"
        if is_searched and trial.rounds and _is_dense(trial, steps):
            dense.append(trial)
    if not dense:
        reason = (
            "no finished search of dense networks is recorded there (studies/baseline_tuning.py)"
        )
        raise ConfigError([reason])
    if len(set(map(_measured_on, dense))) > 1:
        calls = ", ".join(_by_call(dense))
        reason = "losses on several data, panels or tasks are recorded there"
        raise ConfigError([f"{reason}; name one with --call: {calls}"])
    best = min(dense, key=lambda trial: trial.rounds[0].metrics[metrics.HELDOUT.name])
    return best, setting_of(best.point.config)


def _is_dense(trial: TrialRecord, steps: int) -> bool:
    config = config_of(trial.point)
    return not pruned(config) and steps in (0, config.train.steps)


def _measured_on(trial: TrialRecord) -> str:
    """Return a key that two trials share whose losses can be compared."""
    return repr((panel_of(trial), sorted(task_of(trial.point.config).items())))


def trial_of_run(uri: str, run: str) -> str:
    """Return the id of the trial that a run records; ConfigError where it records none."""
    with one_line(uri):
        tags = _client(uri).get_run(run).data.tags
    if TRIAL not in tags:
        raise ConfigError([f"{run!r}: no run of a trial of lthray"])
    return str(tags[TRIAL])
