"""Recorded tickets by the name that a user has for them (a trial, a run of MLflow, a study), and by
their grade; the best of a study is kept in MLflow with all that is needed to use it."""

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lthray.config.fields import ConfigError
from lthray.config.shell import pasteable
from lthray.config.trial import TrialConfig
from lthray.core.metrics import HELDOUT
from lthray.core.record import Round, TrialRecord
from lthray.core.store import Store
from lthray.export.recorded import RecordedTicket
from lthray.findings.claims import Verdict, best, judged
from lthray.findings.evidence import gather
from lthray.findings.formats import joined
from lthray.findings.rounds import share_of_all
from lthray.study.ledger import Entry, Ledger
from lthray.study.named import trial_named
from lthray.study.results import config_of, judged_with, look, record
from lthray.tracking import models
from lthray.tracking.client import TrackingError
from lthray.tracking.contents import experiment_name
from lthray.tracking.read import trial_of_run
from lthray.trial.makers import KINDS
from lthray.trial.making import Making
from lthray.trial.recipe import trajectory

LAST = -1  # round that is taken where none is named
RUN = re.compile("[0-9a-f]{32}")  # id of a run of MLflow
TRIAL = re.compile("[0-9a-f]*-[0-9]+")
Write = Callable[[RecordedTicket, Path, list[TrialRecord], int], dict[str, str]]
"""Writes a ticket to a new folder with the verdict on trials, at this look at their seeds; returns
its grade as tags."""
HEAD = (
    "matches", "shows", "density", "of all", "excess", "seeds", "recipe", "study", "ticket",
)  # fmt: skip


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
    # what was recorded is read as it is, whatever code has made it; the card names its commit
    run = Making(KINDS, store, "cpu", allow_code_change=True).make(rung.shown)
    return RecordedTicket(str(store.root.parent), trial, r, config, run, ledger.about)


def _best(store: Store, name: str) -> RecordedTicket:
    """Return the ticket that the latest verdict of a study grades best; ConfigError where it has
    none that matches."""
    calls = [call for call in _by_age(store) if _study_of(call) == name]
    if not calls:
        known = ", ".join(sorted(set(map(_study_of, _by_age(store)))))
        raise ConfigError([f"{name!r}: no trial, and no study of this store: {known}"])
    for call in calls:
        ticket = best_of(store, call)
        if ticket:
            return ticket
    why = "no ticket of this study is shown to match its dense network; name a trial by its id"
    raise ConfigError([f"{name!r}: {why}"])


def best_of(store: Store, call: Ledger) -> RecordedTicket | None:
    """Return the ticket that the latest verdict on a call grades best; None where none matches."""
    chosen = best(_verdicts_of(store, call))
    return _round(store, call, _trial_of(call, chosen), chosen.index) if chosen else None


def _by_age(store: Store) -> list[Ledger]:
    """Return all calls of a store, the latest first."""
    return sorted(Ledger.all(store), key=lambda call: -float(call.about["created"]))


def _study_of(call: Ledger) -> str:
    """Return the name under which MLflow has the study of a call, such as convergence.digits."""
    return experiment_name(call.about)


def _verdicts_of(store: Store, call: Ledger) -> list[Verdict]:
    """Return the verdict on each setting of a call; none of a search or a single trial."""
    recorded = judged_with(store, call)
    return judged(gather(recorded), look(store, recorded))


def _trial_of(call: Ledger, chosen: Round) -> Entry:
    """Return the trial of a call that a round is of."""
    keys = {entry.number: [place["key"] for place in entry.rounds] for entry in call}
    return next(entry for entry in call if chosen.keys["round"] in keys[entry.number])


def listing(store: Store, study: str = "") -> list[list[str]]:
    """Return a row for each recipe and density that a verdict was reached on, a head above.

    Those that win come first, then those that match their own dense network, the sparsest first.
    The ticket is that of the seed of least loss. `study` leaves out all others.
    """
    graded: list[tuple[bool, bool, float, list[str]]] = []
    calls = list(_by_age(store))
    known = dict.fromkeys(map(_study_of, calls))
    if study not in ("", *known):
        raise ConfigError([f"{study!r}: no study of this store: {', '.join(known)}"])
    for call in calls:
        if study in ("", _study_of(call)):
            for verdict in _verdicts_of(store, call):
                graded += _graded(call, verdict)
    ordered = sorted(graded, key=lambda grade: (not grade[0], not grade[1], grade[2]))
    return [list(HEAD), *(row for *_, row in ordered)]


def _graded(call: Ledger, verdict: Verdict) -> Iterator[tuple[bool, bool, float, list[str]]]:
    """Yield whether tickets win, whether they match, their density, and their row."""
    trials = {place["key"]: entry.number for entry in call for place in entry.rounds}
    for recipe in verdict.recipes:
        for density, cell in verdict.evidence.ladder(recipe):
            if not cell.tickets:
                continue
            matched, tickets = verdict.matched(recipe, density), cell.tickets.values()
            least = min(tickets, key=lambda r: r.metrics[HELDOUT.name])
            excess = list(cell.excess("none").values())
            row = [joined(matched) or "none", verdict.shown(recipe, density), f"{density:.4g}"]
            row += [f"{share_of_all(tickets):.4g}", f"{sum(excess) / len(excess):+.2%}"]
            number = trials[least.keys["round"]]
            ticket = f"{call.key[:16]}-{number:04d} --round {least.index}"
            row += [cell.seeds, cell.recipe, _study_of(call), ticket]
            yield verdict.wins(recipe, density), bool(matched), density, row


def call_of(store: Store, ticket: RecordedTicket) -> tuple[list[TrialRecord], int]:
    """Return the trials that a ticket is judged with, and how often their seeds were looked at."""
    recorded = judged_with(store, trial_named(store, ticket.trial.id)[0])
    return recorded, look(store, recorded)


def keep(store: Store, call: Ledger, uri: str, write: Write) -> list[str]:
    """Put the best ticket of a call into MLflow, as a model of its run, unless it is there.

    Returns the line that says so; none where no ticket is shown to match its own dense network. A
    study does not fail for it: a line says what MLflow lacks.
    """
    try:
        return _kept(store, best_of(store, call), uri, write)
    except (ConfigError, TrackingError) as error:
        why = " ".join(str(error).split())
        later = pasteable(f"lthray export {_study_of(call)} FOLDER --register NAME")
        return [f"MLflow has no model of the best ticket ({why}); later:  {later}"]


def _kept(store: Store, ticket: RecordedTicket | None, uri: str, write: Write) -> list[str]:
    if ticket is None or models.has_model(uri, ticket.trial.id, ticket.round.index):
        return []
    with tempfile.TemporaryDirectory(prefix="lthray-") as place:
        exported = Path(place) / models.TYPE
        grade = write(ticket, exported, *call_of(store, ticket))
        models.log(uri, ticket.trial.id, exported, {**ticket.tags, **grade})
    return [f"in MLflow, as a model of its run: {ticket.trial.name}, density {ticket.density:.4g}"]
