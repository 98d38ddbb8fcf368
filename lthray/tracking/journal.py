"""Searches -> a storage file of Optuna, one study a search: as `optuna.load_study` and Optuna's
dashboard read them.

The file is a journal: a line an operation, only ever added to, so that a dashboard that is open
follows. It is never read for a decision; a search draws from the store alone.
"""

import json
import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthray.core import metrics
from lthray.core.keys import canonical
from lthray.core.record import TrialRecord
from lthray.study.searched import Searched
from lthray.study.space import Choice, Dial, Past, State, frozen
from lthray.tracking.contents import experiment_name, last_moment

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

log = logging.getLogger("lthray")

TRIAL = "trial"  # user attribute by which a trial is found: its id
SIMPLE = (bool, int, float, str, type(None))  # what Optuna keeps of a choice


class Journal:
    """Writes trials of searches into the storage file at `path`.

    A file that cannot be read is made again.
    """

    def __init__(self, path: Path):
        self.path = path
        self.storage = _storage(path)
        self.studies: dict[str, Study] = {}

    def record(self, trial: TrialRecord, about: Mapping[str, Any]) -> None:
        """Bring a trial of a search up to what is stored.

        `about` is what its call holds beside its plan. Of one call trials are to be recorded in
        order; then their numbers are Optuna's. FileNotFoundError where somebody has taken the file
        away.
        """
        if self.studies and not self.path.exists():
            raise FileNotFoundError(f"{self.path} is gone")
        plan = {**about["plan"], "order": list(about.get("order", ()))}
        search = Searched.of(plan, [trial])
        name = f"{experiment_name(about)}/{trial.id[:12]}"
        if name not in self.studies:
            self.studies[name] = self._opened(name, about, search)
        wanted = described(trial, search)
        known = self.studies[name].get_trials(deepcopy=False)
        there = {each.user_attrs.get(TRIAL): each for each in known}.get(trial.id)
        if there is None:
            self.studies[name].add_trial(wanted)
        elif _grows(there, wanted):
            self._grow(there, wanted)
        elif _facts(there) != _facts(wanted):
            again = [wanted if each is there else each for each in known]
            self.studies[name] = self._again(name, about, search, again)

    def _opened(self, name: str, about: Mapping[str, Any], search: Searched) -> "Study":
        """Return the study of a search, made if it is new."""
        import optuna

        named = {"storage": self.storage, "study_name": name}
        if name in optuna.get_all_study_names(self.storage):
            return optuna.load_study(**named)
        study = optuna.create_study(**named, direction="minimize")
        study.set_user_attr("question", about["question"])
        study.set_user_attr("command", about["command"])
        score = metrics.EXCESS if search.rungs else metrics.HELDOUT
        with warnings.catch_warnings(action="ignore"):  # that naming it is experimental
            study.set_metric_names([score.label])
        return study

    def _again(
        self,
        name: str,
        about: Mapping[str, Any],
        search: Searched,
        trials: "Sequence[FrozenTrial]",
    ) -> "Study":
        """Write a study anew: Optuna never changes a trial that has ended."""
        import optuna

        optuna.delete_study(study_name=name, storage=self.storage)
        study = self._opened(name, about, search)
        study.add_trials(trials)
        return study

    def _grow(self, there: "FrozenTrial", wanted: "FrozenTrial") -> None:
        """Add to a running trial what came since."""
        key = there._trial_id
        for rung, score in wanted.intermediate_values.items():
            if rung not in there.intermediate_values:
                self.storage.set_trial_intermediate_value(key, rung, score)
        for word, value in wanted.user_attrs.items():
            if word not in there.user_attrs:
                self.storage.set_trial_user_attr(key, word, value)
        if wanted.state.is_finished():
            self.storage.set_trial_state_values(key, wanted.state, wanted.values)


def _storage(path: Path) -> "JournalStorage":
    """Open the storage file at `path`, made if there is none, or if that cannot be read."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path.parent.mkdir(parents=True, exist_ok=True)
    _end_line(path)
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        aside = path.with_name(f"{path.name}.damaged")
        os.replace(path, aside)
        reason = f"{type(error).__name__}: {str(error)[:100]}"
        log.warning("%s cannot be read (%s); it is %s now", path, reason, aside.name)
        return JournalStorage(JournalFileBackend(str(path)))


def _end_line(path: Path) -> None:
    """Cut off a last line that is not whole: whoever wrote it was killed, or lost its power.

    Optuna passes over such a line until another one is behind it.
    """
    content = path.read_bytes() if path.exists() else b""
    rest = content[content.rfind(b"\n", 0, -1) + 1 :]
    try:
        is_whole = rest.endswith(b"\n") and isinstance(json.loads(rest), dict)
    except ValueError:
        is_whole = False
    if rest and not is_whole:
        os.truncate(path, len(content) - len(rest))


def described(trial: TrialRecord, search: Searched) -> "FrozenTrial":
    """Return a trial of a search as Optuna keeps it: parameters, score at each rung, state.

    Its value is the score at the last rung, where it came so far.
    """
    past = search.past[trial.number]
    space = {word: _simple_dial(dial) for word, dial in search.space.items()}
    words = {word: _simple(value) for word, value in past.words.items()}
    made = frozen(space, Past(words, past.scores, past.state), _state(past))
    made.datetime_start = datetime.fromtimestamp(trial.point.at)
    made.user_attrs = {TRIAL: trial.id, "name": trial.name, "seed": trial.point.seed}
    if trial.end:
        made.datetime_complete = datetime.fromtimestamp(last_moment(trial))
        made.user_attrs |= {"reason": trial.end.reason}
    return made


def _state(past: Past) -> State:
    """Return what a trial is to Optuna, which takes no value that is no number."""
    score = (math.nan, *past.scores)[-1]
    if past.state == "complete" and math.isnan(score):
        return "pruned"
    return past.state


def _simple_dial(dial: Dial) -> Dial:
    """Return a dial whose choices are such as Optuna keeps in a file."""
    if isinstance(dial, Choice):
        return replace(dial, values=tuple(map(_simple, dial.values)))
    return dial


def _simple(value: Any) -> Any:
    return value if isinstance(value, SIMPLE) else canonical(value)


def _facts(trial: "FrozenTrial") -> str:
    """Return what is recorded of a trial, but for its times; NaN equals NaN."""
    scores = sorted(trial.intermediate_values.items())
    words = sorted(trial.params.items()), sorted(trial.distributions.items())
    return repr((trial.state, trial.values, scores, words, sorted(trial.user_attrs.items())))


def _grows(there: "FrozenTrial", wanted: "FrozenTrial") -> bool:
    """Return whether all that is recorded of a trial, which is running, is still so."""
    scores, attributes = there.intermediate_values.items(), there.user_attrs.items()
    same = [repr(wanted.intermediate_values.get(rung)) == repr(score) for rung, score in scores]
    same += [wanted.user_attrs.get(word) == value for word, value in attributes]
    agree = there.params == wanted.params and there.distributions == wanted.distributions
    return not there.state.is_finished() and agree and all(same)
