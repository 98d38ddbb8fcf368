"""Recorded tickets by the name that a user has for them: a trial, a run of MLflow, or a study."""

import re

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.core.record import Round, TrialRecord
from lthray.core.store import Store
from lthray.export.recorded import RecordedTicket
from lthray.findings.claims import best, judged
from lthray.findings.evidence import gather
from lthray.study.ledger import Entry, Ledger
from lthray.study.named import trial_named
from lthray.study.results import config_of, judged_with, look, record
from lthray.tracking.read import trial_of_run
from lthray.trial.makers import KINDS
from lthray.trial.making import Making
from lthray.trial.recipe import trajectory

LAST = -1  # round that is taken where none is named
RUN = re.compile("[0-9a-f]{32}")  # id of a run of MLflow
TRIAL = re.compile("[0-9a-f]*-[0-9]+")


def named(store: Store, name: str, index: int, uri: str) -> RecordedTicket:
    """Return a round of the trial that `name` means, or the best ticket of the study of that name.

    A trial is named by its id (CALL-NUMBER), or by its run in MLflow (at `uri`); a study as MLflow
    names it, such as convergence.digits. ConfigError where nothing in the store has the name.
    """
    if RUN.fullmatch(name):
        name = trial_of_run(uri, name)
    if TRIAL.fullmatch(name):
        return _round(store, *trial_named(store, name), index)
    return _best(store, name)


def of_config(store: Store, config: TrialConfig) -> RecordedTicket:
    """Return the last round of a recorded trial; ConfigError where no trial has that config."""
    key = trajectory(config).key
    recorded = ((call, entry) for call in Ledger.all(store) for entry in call)
    same = (named for named in recorded if named[1].point.trial == key)
    for call, entry in same:
        return _round(store, call, entry, LAST)
    raise ConfigError([f"{str(store.root)!r}: no trial of that config is recorded there"])


def _round(store: Store, ledger: Ledger, entry: Entry, index: int) -> RecordedTicket:
    """Return round `index` of a trial, or its last one; ConfigError where there is none."""
    trial = record(store, ledger.key, entry)
    if not trial.rounds:
        raise ConfigError([f"{trial.id}: has no round yet ({entry.ended.status})"])
    rounds = {r.index: r for r in trial.rounds}
    chosen = max(rounds) if index == LAST else index
    if chosen not in rounds:
        listed = ", ".join(map(str, rounds))
        raise ConfigError([f"--round {index}: {trial.id} has rounds {listed}"])
    return _recorded(store, ledger, trial, rounds[chosen])


def _recorded(store: Store, ledger: Ledger, trial: TrialRecord, r: Round) -> RecordedTicket:
    """Return a round with its training run; ConfigError where today's code, or the data and given
    files that are there now, would make another."""
    config = config_of(trial.point)
    rung = trajectory(config).rungs[r.index]
    if rung.shown.key != r.keys["weights"]:
        why = "the data, a given file or the code of lthray has changed since"
        raise ConfigError([f"{trial.id}: another trial was recorded than could be made now; {why}"])
    run = Making(KINDS, store, "cpu").make(rung.shown)
    return RecordedTicket(str(store.root.parent), trial, r, config, run, ledger.about)


def _best(store: Store, name: str) -> RecordedTicket:
    """Return the ticket that the latest verdict of a study grades best; ConfigError where it has
    none that matches."""
    calls: dict[str, list[Ledger]] = {}
    for call in sorted(Ledger.all(store), key=lambda call: -float(call.about["created"])):
        calls.setdefault("{study}.{preset}".format(**call.about), []).append(call)
    if name not in calls:
        known = ", ".join(sorted(calls))
        raise ConfigError([f"{name!r}: no trial, and no study of this store: {known}"])
    for call in calls[name]:
        recorded = judged_with(store, call)
        chosen = best(judged(gather(recorded), look(store, recorded)))
        if chosen:
            return _round(store, call, _trial_of(call, chosen), chosen.index)
    why = "no ticket of this study is shown to match its dense network; name a trial by its id"
    raise ConfigError([f"{name!r}: {why}"])


def _trial_of(call: Ledger, chosen: Round) -> Entry:
    """Return the trial of a call that a round is of."""
    keys = {entry.number: [place["key"] for place in entry.rounds] for entry in call}
    return next(entry for entry in call if chosen.keys["round"] in keys[entry.number])
