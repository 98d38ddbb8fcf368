"""What became of the trials of a call, read back from the store.

Here is what each trial says by itself, which of several is best, and what they took.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lthray.config.trial import TrialConfig
from lthray.core import metrics
from lthray.core.record import Point, Round, TrialRecord, machine_lines
from lthray.core.store import Store
from lthray.findings.evidence import recipe, setting
from lthray.findings.rounds import margin_of, matches, worse
from lthray.study.comparators import pruned as pruned
from lthray.study.ledger import Entry, Ledger
from lthray.study.space import score_of as score_of
from lthray.trial.view import assemble, is_stored

SEARCH = "search"  # phase whose trials are not judged
UNJUDGED = (SEARCH, "single")


def trials(store: Store, ledger: Ledger) -> Iterator[TrialRecord]:
    """Yield the trials of a call as they stand in `store`."""
    for entry in ledger:
        yield record(store, ledger.key, entry)


class News:
    """Trials of a call, each when a round of it was stored, or its end, since it was yielded last.

    A trial is read where it has changed alone, so a look at thousands of trials is quick.
    """

    def __init__(self, store: Store, ledger: Ledger):
        self.store, self.ledger = store, ledger
        self.stored: dict[int, set[str]] = {}
        """Number of a trial -> keys of its rounds that were stored when it was last looked at."""
        self.ended: set[int] = set()
        """Trials that have ended, which are not looked at again."""

    def __iter__(self) -> Iterator[TrialRecord]:
        """Yield what is new; a trial counts as told when the next one is asked for."""
        for number in sorted(set(self.ledger.numbers) - self.ended):
            entry = self.ledger.entry(number)
            if entry is None:
                continue
            known = self.stored.get(number)
            stored = self._stored(entry, known or set())
            if stored != known or entry.end:
                yield record(self.store, self.ledger.key, entry)
            self.stored[number] = stored
            if entry.end:
                self.ended.add(number)

    def _stored(self, entry: Entry, known: set[str]) -> set[str]:
        """Return the keys of the rounds of a trial that are stored, of which some are known."""
        stored = set(known)
        for place in entry.rounds:
            if place["key"] not in known and is_stored(self.store, place):
                stored.add(place["key"])
        return stored


def judged_with(store: Store, ledger: Ledger) -> list[TrialRecord]:
    """Return the trials of a call that a verdict is made of; none of a search or a single trial."""
    return [trial for trial in trials(store, ledger) if trial.point.phase not in UNJUDGED]


def record(store: Store, call: str, entry: Entry) -> TrialRecord:
    """Return one trial of the call with key `call`, with those of its rounds that are stored."""
    rounds = []
    for place in entry.rounds:
        r = assemble(store, place)
        if r is not None:
            rounds.append(r)
    return TrialRecord(f"{call[:16]}-{entry.number:04d}", entry.point, entry.end, tuple(rounds))


def config_of(point: Point) -> TrialConfig:
    """Return the config of a trial from its point, as the ledger or MLflow has it."""
    return TrialConfig.from_flat({**point.config, **point.places})


def look(store: Store, judged: Sequence[TrialRecord]) -> int:
    """Return how often the seeds of the trials that are judged were looked at in a store."""
    recorded = []
    for ledger in Ledger.all(store):
        for entry in ledger:
            name = f"{ledger.key[:16]}-{entry.number:04d}"
            recorded.append(TrialRecord(name, entry.point, entry.end, ()))
    return look_of(judged, recorded)


def look_of(trials: Iterable[TrialRecord], recorded: Iterable[TrialRecord]) -> int:
    """Return how often the seeds of `trials` were looked at, this time included.

    Each call among all `recorded` trials that judged one of these recipes on some of these seeds,
    but not on all, was a look.
    """
    seeds, recipes = set[int](), set[str]()
    for trial in trials:
        seeds.add(trial.point.seed)
        recipes.add(setting(trial) + recipe(trial))
    calls: dict[str, set[int]] = {}
    for trial in recorded:
        if setting(trial) + recipe(trial) in recipes and trial.point.phase not in UNJUDGED:
            calls.setdefault(trial.id[:12], set()).add(trial.point.seed)
    return 1 + len({frozenset(own) for own in calls.values() if own < seeds})


# one trial


def matching(trial: TrialRecord) -> float | None:
    """Return the sparsest density down to which every rung matches the trial's own dense network.

    None where the first does not. It is one seed's fact, certain to the error of the evaluation
    alone; a grade needs fresh seeds and controls.
    """
    sparsest = None
    for r in trial.rounds[1:]:
        if not matches(r):
            break
        sparsest = r.metrics[metrics.PRUNABLE.name]
    return sparsest


def verdict(trial: TrialRecord) -> str:
    """Return what a trial says by itself, of its one seed, as Markdown."""
    reason = f": {trial.end.reason}" if trial.end and trial.end.reason else ""
    lines = [f"**{trial.name}** · {trial.status}{reason}"]
    if len(trial.rounds) > 1:
        lines += _rungs_in_markdown(trial)
    return "\n".join(lines)


def _rungs_in_markdown(trial: TrialRecord) -> list[str]:
    """Return a table of the rungs of a trial, and what follows from it."""
    rungs = trial.rounds[1:]
    accurate = metrics.LOST.name in rungs[0].metrics
    head = "accuracy lost to" if accurate else "excess over"
    lines = ["", f"| density | {head} its own dense network | standard error |", "|---|---|---|"]
    for r in rungs:
        difference, error = worse(r)
        density = r.metrics[metrics.PRUNABLE.name]
        lines.append(f"| {density:.4f} | {difference:+.2%} | {error:.2%} |")
    sparsest = matching(trial)
    match = f"down to density {sparsest:.4f}" if sparsest else "at no rung"
    margin = f"margin {100 * margin_of(rungs[0]):g}%, one seed, evaluation error only"
    lines += ["", f"Matches dense ({margin}) {match}."]
    if trial.older:
        steps = "Its weights have seen more optimizer steps than the dense network's"
        lines.append(f"{steps}, which flatters it.")
    lines += machine_lines(trial.rounds)
    lines.append("A grade needs controls and fresh seeds.")
    return lines


def round_line(name: str, index: int, last: int, measured: Mapping[str, float]) -> str:
    """Return one line on round `index` of the trial `name`, whose last round is `last`.

    `measured` holds the metrics of the round.
    """
    accuracy = measured.get(metrics.ACCURACY.name)
    tail = "" if accuracy is None else f", accuracy {accuracy:.2%}"
    if index == 0:
        steps, loss = measured[metrics.STEPS_OF_WEIGHTS.name], measured[metrics.HELDOUT.name]
        return f"{name}: dense, {steps:.0f} steps, held-out loss {loss:.4f}{tail}"
    density = measured[metrics.PRUNABLE.name]
    excess, error = measured[metrics.EXCESS.name], measured[metrics.EXCESS_SE.name]
    shown = f"density {density:.4g}, excess {excess:+.2%} ± {error:.2%}"
    return f"{name}: round {index}/{last}, {shown}{tail}"


# several trials


def ranked(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials, best first: the most rounds, then the smallest score at the last."""
    return sorted(records, key=_rank)


def _rank(trial: TrialRecord) -> tuple[int, float, int]:
    score = 0.0
    if trial.rounds:
        last = trial.rounds[-1]
        score = score_of(last.metrics, last.index)
    return -len(trial.rounds), score, trial.number


def best(records: Iterable[TrialRecord], rungs: int, *, fair: bool = True) -> list[TrialRecord]:
    """Return the trials that went down the whole ladder of `rungs`, best first, each recipe once.

    Trials are of one recipe that agree in all words of it and of their dense network. With `fair`,
    those alone whose weights have seen no more steps than their dense network's.
    """
    if not rungs:
        return []
    by_recipe: dict[tuple[str, str], TrialRecord] = {}
    for trial in ranked(records):
        whole = trial.point.control == "none" and len(trial.rounds) == rungs + 1
        if whole and not (fair and trial.older):
            by_recipe.setdefault((recipe(trial), setting(trial)), trial)
    return list(by_recipe.values())


def spent(records: Iterable[TrialRecord], since: float) -> tuple[float, float]:
    """Return when the first round since a moment began, and the seconds spent on all of them.

    `since` and the first result are Unix times. Seconds are those of training and measuring, each
    training run and each round counted once.
    """
    fresh: dict[str, Round] = {}
    for trial in records:
        for r in trial.rounds:
            if r.created >= since:
                fresh[r.keys["round"]] = r
    training: dict[str, float] = {}
    measuring, begins = 0.0, []
    for r in fresh.values():
        training[r.keys["weights"]] = r.seconds["train"] + r.seconds["along"]
        measuring += r.seconds["measure"]
        begins.append(r.created - sum(r.seconds.values()))
    return max(min(begins, default=since), since), sum(training.values()) + measuring


def surface(cells: Mapping[tuple[str, float], Sequence[float]], word: str) -> list[list[str]]:
    """Return a table of text: a row a density, a column a value of `word`, a head above.

    `cells` maps (value, density) to the numbers of the trials there. A cell shows their mean, the
    standard deviation and their number.
    """
    values = list(dict.fromkeys(value for value, _ in cells))
    rows = [["density", *(f"{word} = {value}" for value in values)]]
    for density in sorted({density for _, density in cells}, reverse=True):
        cells_of_row = [_cell(cells.get((value, density), ())) for value in values]
        rows.append([f"{density:.4g}", *cells_of_row])
    return rows


def _cell(numbers: Sequence[float]) -> str:
    if not numbers:
        return "–"
    spread = f" ± {statistics.stdev(numbers):.4f}" if len(numbers) > 1 else ""
    return f"{statistics.mean(numbers):.4f}{spread} ({len(numbers)})"
