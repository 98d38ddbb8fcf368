"""A study as MLflow holds it: what analyses read, and all that they read."""

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from torch import Tensor

from lthray.config.fields import ConfigError
from lthray.config.options import NAME, redacted
from lthray.findings.evidence import panel_of, setting_of, task_of
from lthray.study.results import config_of, pruned
from lthray.tracking.write import client

PLACE = re.compile(r" --(?:out|tracking[-_]uri|data[-_.]root)[ =]\S+")  # where things lay is no part of what was found


def experiments(uri: str) -> list[str]:
    """The names of all experiments of an MLflow that can be a study's."""
    return sorted(e.name for e in _studies(_client(uri)))


def _studies(client: Any) -> list[Any]:
    return [e for e in client.search_experiments() if NAME.fullmatch(e.name)]


def _client(uri: str) -> Any:
    file = uri.removeprefix("sqlite:///")
    if file != uri and not Path(file).is_file():  # MLflow would make it
        raise ConfigError([f"there is no {file}: nothing was recorded there (--out, --tracking-uri)"])
    return client(uri)


class Recorded:
    """The finished trials of one experiment, in their order, each as its `trial.json` with the id of its `run`.

    `name` empty is the experiment that was recorded to last. ConfigError where there is none, or nothing in it is finished.
    """

    def __init__(self, uri: str, name: str = ""):
        if name and not NAME.fullmatch(name):
            raise ConfigError([f"--experiment {name!r}: study.preset, such as rewinding.digits"])
        self.client, self.uri = _client(uri), uri
        self.experiment = self._experiment(name)
        self.name: str = self.experiment.name
        runs = self.client.search_runs([self.experiment.experiment_id], max_results=50_000)
        finished = [run for run in runs if run.data.tags.get("status", "unfinished") != "unfinished"]
        if not finished:
            raise ConfigError([f"--experiment {self.name!r}: no finished trial is recorded there"])
        with tempfile.TemporaryDirectory(prefix="lthray-") as folder:
            found = [{**self._json(run.info.run_id, Path(folder)), "run": run.info.run_id} for run in finished]
        if any(word not in trial["point"] for trial in found for word in ("recipe", "fork")):
            raise ConfigError([f"--experiment {self.name!r}: was recorded by an older lthray; run the study again"])
        self.trials: list[dict[str, Any]] = sorted(found, key=lambda trial: trial["point"]["at"])
        self.tags = {run.info.run_id: run.data.tags for run in finished}

    @property
    def question(self) -> str:
        """The study's own page."""
        return self.experiment.tags.get("mlflow.note.content", "").partition("\n## Latest verdict")[0]

    @property
    def preset(self) -> str:
        """The preset that the study began from."""
        study = self.tags[self.trials[0]["run"]]["study"]
        return self.name.removeprefix(f"{study}.").removesuffix(".smoke")

    def of(self, call: str = "") -> list[dict[str, Any]]:
        """The trials that answer the study's question: those of the confirmation where a search had one; of `call`, if given.

        ConfigError while any of them is still to come.
        """
        found = [trial for trial in self.trials if trial["id"].startswith(call)]
        if not found:
            calls = sorted({trial["id"][:12] for trial in self.trials})
            raise ConfigError([f"--call {call!r}: {self.name} has {', '.join(calls)}"])
        confirmed = [trial for trial in found if trial["point"]["phase"] == "confirm"]
        found = confirmed if confirmed and not call else found
        calls = sorted({trial["id"][:12] for trial in found})
        sizes = {key: [t["point"].get("of", 1) for t in found if t["id"].startswith(key)] for key in calls}
        whole = [key for key, of in sizes.items() if len(of) >= max(of)]
        for key in calls:
            if key not in whole:
                told = f"{len(sizes[key])} of {max(sizes[key])} trials are finished; the study goes on"
                other = f" (--call names another: {', '.join(whole)})" if whole else ""
                raise ConfigError([f"--experiment {self.name!r}: {told}{other}"])
        return found

    def provenance(self, trials: Sequence[Mapping[str, Any]]) -> str:
        """When, with what and on what some trials were made, in one line."""
        rounds = [r for trial in trials for r in trial["rounds"]]
        days = sorted({time.strftime("%Y-%m-%d", time.gmtime(r["created"])) for r in rounds})
        made = sorted({", ".join(f"{word} {value}" for word, value in sorted(r.get("made", {}).items())) for r in rounds})
        tags = [self.tags[trial["run"]] for trial in trials]
        built = sorted({f"lthray {tag.get('lthray', '?')} ({tag.get('commit', '')[:10] or 'no commit'})" for tag in tags})
        data = sorted({f"{trial['point']['data'][0]} {trial['point']['data'][1][:12]}" for trial in trials})
        seeds = " ".join(map(str, sorted({trial["point"]["seed"] for trial in trials})))
        command = sorted({PLACE.sub("", redacted(tag.get("mlflow.source.name", "?"))) for tag in tags})
        parts = [
            "; ".join(command),
            "–".join(dict.fromkeys((days[0], days[-1]))),
            *built,
            *made,
            f"data {', '.join(data)}",
            f"seeds {seeds}",
        ]
        return f"Recorded: {'; '.join(parts)}."

    def file(self, trial: Mapping[str, Any], path: str) -> bytes | None:
        """An artifact of a trial, if there is one."""
        listed = self.client.list_artifacts(trial["run"], os.path.dirname(path))
        if path not in {item.path for item in listed}:
            return None
        with tempfile.TemporaryDirectory(prefix="lthray-") as folder:
            return Path(self.client.download_artifacts(trial["run"], path, folder)).read_bytes()

    def arrays(self, trial: Mapping[str, Any], index: int) -> dict[str, Tensor]:
        """The arrays of a round: loss [images, timesteps], and what measure.anatomy found."""
        data = self.file(trial, f"rounds/{index:02d}/arrays.safetensors")
        return load_tensors(data) if data else {}

    def pictures(self, trial: Mapping[str, Any], index: int) -> Iterator[tuple[str, bytes]]:
        """Sample grids of a round: (samples_<sampler>, PNG)."""
        for item in self.client.list_artifacts(trial["run"], f"rounds/{index:02d}"):
            name = Path(item.path).name
            if name.endswith(".png") and (data := self.file(trial, item.path)):
                yield name.removesuffix(".png"), data

    def _experiment(self, name: str) -> Any:
        if name:
            if found := self.client.get_experiment_by_name(name):
                return found
        else:
            ids = [e.experiment_id for e in _studies(self.client)]
            if ids and (last := self.client.search_runs(ids, max_results=1, order_by=["start_time DESC"])):
                return self.client.get_experiment(last[0].info.experiment_id)
        names = sorted(e.name for e in _studies(self.client))
        raise ConfigError([f"--experiment {name!r}: {redacted(self.uri)} has {', '.join(names) or 'none'}"])

    def _json(self, run: str, folder: Path) -> dict[str, Any]:
        place = folder / run
        place.mkdir()
        return json.loads(Path(self.client.download_artifacts(run, "trial.json", str(place))).read_bytes())


def tuned(trials: Sequence[Mapping[str, Any]], call: str = "", steps: int = 0) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The dense network with the smallest held-out loss of a search, and what its config says of data, network and training;
    ConfigError where there is none, or not all were measured alike."""
    found = [t for t in trials if t["id"].startswith(call) and t["rounds"] and t["point"]["phase"] == "search"]
    found = [t for t in found if not pruned(config_of(t["point"])) and steps in (0, config_of(t["point"]).train.steps)]
    if not found:
        raise ConfigError(["no finished search of dense networks is recorded there (studies/baseline_tuning.py)"])
    if len({repr((panel_of(t), sorted(task_of(t["point"]["config"]).items()))) for t in found}) > 1:
        calls = ", ".join(sorted({t["id"][:12] for t in found}))
        raise ConfigError([f"losses on several data, panels or tasks are recorded there; name one with --call: {calls}"])
    best = min(found, key=lambda t: t["rounds"][0]["metrics"]["loss/heldout"])
    return best, setting_of(best["point"]["config"])
