"""What a study shows at its end: tables, the best recipe, the time; and the plan of a dry run."""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lthray.config.shell import pasteable
from lthray.core import metrics
from lthray.core.metrics import Metric
from lthray.core.record import Point, TrialRecord
from lthray.core.store import Store
from lthray.findings.evidence import Evidence, recipe, setting
from lthray.study.results import best, config_of, matching, pruned, ranked, spent, surface
from lthray.study.terminal import Table, duration, table

NONE = "–"


@dataclass(frozen=True)
class Column:
    """A metric in the table of trials: one column for each of its family that any trial has."""

    metric: Metric
    head: str
    form: str
    """Format of the number."""


UNCONFIRMED = (
    "no recipe went down the whole ladder at the dense network's own budget: nothing to confirm"
)


def trial_table(trials: Sequence[TrialRecord]) -> Table:
    """Return a table of trials, best first: those that went furthest, then by score at the last."""
    columns = _columns(trials)
    head = ["trial", "recipe", "end", "density", "excess ± SE", "matches to"]
    head += [*columns, "train s", "measure s"]
    rows = [_row(trial, columns) for trial in ranked(trials)]
    return table("trials, best first", head, rows, left=("recipe", "end"))


def so_far(trials: Sequence[TrialRecord]) -> str:
    """Return how many trials are done, for a study that was interrupted."""
    done = sum(trial.end is not None for trial in trials)
    return f"{done} of {len(trials)} trials that were begun are done; what is committed is kept"


def _columns(trials: Sequence[TrialRecord]) -> dict[str, tuple[str, str]]:
    """Return head -> (name of the metric, format), for metrics of a last round of any trial."""
    names: set[str] = set()
    for trial in trials:
        names |= _last(trial).keys()
    columns = {}
    if all(len(trial.rounds) < 2 for trial in trials):  # dense networks are ranked by it
        columns["held-out loss"] = (metrics.HELDOUT.name, "{:.4f}")
    for column in COLUMNS:
        for name in sorted(names):
            if match := column.metric.pattern.fullmatch(name):
                columns[" ".join([column.head, *match.groups()])] = (name, column.form)
    return columns


def _last(trial: TrialRecord) -> Mapping[str, float]:
    return trial.rounds[-1].metrics if trial.rounds else {}


def _row(trial: TrialRecord, columns: Mapping[str, tuple[str, str]]) -> list[str]:
    measured = _last(trial)
    row = [str(trial.number), trial.name, trial.status]
    if len(trial.rounds) > 1:
        row += [f"{measured[metrics.PRUNABLE.name]:.4g}", _excess(measured)]
    else:
        row += [NONE, NONE]
    density = matching(trial)
    row.append(f"{density:.4g}" if density else NONE)
    for name, form in columns.values():
        row.append(form.format(measured[name]) if name in measured else NONE)
    for metric in (metrics.TRAIN_SECONDS, metrics.MEASURE_SECONDS):
        seconds = sum(r.metrics[metric.name] for r in trial.rounds)
        row.append(f"{seconds:.0f}")
    return row


def _excess(measured: Mapping[str, float]) -> str:
    return f"{measured[metrics.EXCESS.name]:+.2%} ± {measured[metrics.EXCESS_SE.name]:.2%}"


def baseline_table(trials: Sequence[TrialRecord]) -> Table:
    """Return a table of the best dense network of each number of training steps.

    A training step costs thrice its forward pass.
    """
    budgets: dict[int, list[TrialRecord]] = {}
    for trial in ranked(trial for trial in trials if trial.rounds):
        budgets.setdefault(config_of(trial.point).train.steps, []).append(trial)
    rows = []
    for steps, (first, *others) in sorted(budgets.items()):
        measured = first.rounds[0].metrics
        images = steps * config_of(first.point).train.batch
        row = [
            str(steps),
            str(1 + len(others)),
            f"{measured[metrics.HELDOUT.name]:.4f}",
            f"{measured[metrics.PARAMETERS.name]:,.0f}",
            f"{3 * images * measured[metrics.MACS_DENSE.name]:.2e}",
            str(first.number),
            " ".join(_assigned(first.point)),
        ]
        rows.append(row)
    title = "dense networks: the best at each training budget"
    head = ["steps", "trials", "held-out loss", "parameters", "MACs to train", "trial", "words"]
    return table(title, head, rows, left=("words",))


def _assigned(point: Point) -> Iterator[str]:
    for word, value in point.words.items():
        yield f"{word}={value:.4g}" if isinstance(value, float) else f"{word}={value}"


def surface_table(trials: Sequence[TrialRecord], word: str, metric: str) -> Table:
    """Return a table of a metric by density (rows) and by one word of the config (columns).

    Each cell is over all trials in it that measured the metric. Controls and second runs are left
    out, unless `word` is the control.
    """
    cells: dict[tuple[str, float], list[float]] = {}
    for trial in trials:
        config = config_of(trial.point)
        is_wanted = trial.point.is_ticket or word == "control"
        if is_wanted and pruned(config):
            column = str(config.flat()[word])
            for r in filter(lambda r: metric in r.metrics, trial.rounds):
                cell = column, r.density
                cells.setdefault(cell, []).append(r.metrics[metric])
    head, *rows = surface(cells, word)
    return table(f"{metric} by density and {word}", head, rows)


def verdict_table(rows: Sequence[Sequence[str]]) -> Table:
    """Return the table of a verdict from its rows, the head first, without empty columns."""
    head, *below = rows
    used = [i for i in range(len(head)) if any(row[i] != NONE for row in below)]
    return table(
        "confirmed on fresh seeds: how much worse tickets are than each comparator; "
        "* = the claim holds (mean and its one-sided bound, Holm over all)",
        [head[i] for i in used],
        [[row[i] for i in used] for row in below],
        left=("recipe", "matches", "shows"),
    )


def shrinkage_lines(chosen: Sequence[TrialRecord], evidence: Evidence) -> list[str]:
    """Return a line for each recipe that a search chose: its excess there, and again on fresh
    seeds.

    The difference is the winner's curse.
    """
    lines = []
    for trial in chosen:
        last, name = trial.rounds[-1], trial.point.recipe
        confirmed = _confirmed(evidence, trial)
        if confirmed:
            then, now = last.metrics[metrics.EXCESS.name], sum(confirmed) / len(confirmed)
            lines.append(
                f"{name} at density {last.density:.4g}: excess {then:+.2%} in the search, "
                f"{now:+.2%} on fresh seeds (shrinkage {now - then:+.2%})"
            )
    return lines


def _confirmed(evidence: Evidence, trial: TrialRecord) -> list[float]:
    """Return the excess, on every fresh seed, of a trial's recipe at the trial's last density.

    Nothing is returned of `evidence` in another setting.
    """
    if evidence.setting != setting(trial):
        return []
    cell = evidence.recipes.get(recipe(trial), {}).get(trial.rounds[-1].density)
    return list(cell.excess("none").values()) if cell else []


def closing_lines(
    trials: Sequence[TrialRecord], store: Store, since: float, slots: int
) -> list[str]:
    """Return lines on what the trials had in common, and on how the time since a moment was spent.

    `since` is in seconds of Unix time; `slots` trials ran at a time.
    """
    steps: dict[str, int] = {}  # of each training run that is there
    alone = 0
    for trial in trials:
        for key, (start, end) in trial.point.runs.items():
            if key in steps or "final" in store.parts(key):
                steps[key] = end - start
                alone += end - start
    trained = f"{sum(steps.values()):,} training steps served for {alone:,}"
    lines = [f"{trained}, which the trials would have needed alone"]
    first, busy = spent(trials, since)
    if busy:
        wall = time.time() - since
        share = f"{busy / (wall * slots):.0%} of {slots} slots trained or measured"
        lines.append(f"{duration(wall)}; the first step after {first - since:.0f} s; {share}")
    conflicts = len(store.conflicts())
    if conflicts:
        lines.append(
            f"{conflicts} objects were made twice with unlike bytes: lthray store conflicts"
        )
    return lines


def best_lines(trials: Sequence[TrialRecord], rungs: int, out: str) -> list[str]:
    """Return lines on the best recipe that went down all `rungs`, and how to run it again below
    `out`.

    First at the dense network's own training budget; then the best of all, if its weights have seen
    more steps.
    """
    lines = []
    for trial in best(trials, rungs)[:1]:
        lines += _best_lines("best recipe", trial, out)
    for trial in best(trials, rungs, fair=False)[:1]:
        if trial.older:
            lines += _best_lines("best with more steps than dense", trial, out)
    return lines


def _best_lines(title: str, trial: TrialRecord, out: str) -> list[str]:
    measured, density = trial.rounds[-1].metrics, matching(trial)
    matches = f"matches dense down to {density:.4g}" if density else "matches dense at no rung"
    at = f"at density {measured[metrics.PRUNABLE.name]:.4g}"
    words = {"out": out, **trial.point.config, **trial.point.places}
    return [
        f"{title}: {trial.name} (excess {_excess(measured)} {at}; {matches})",
        f"  again:  {pasteable(trial_command(words))}",
    ]


def trial_command(words: Mapping[str, object]) -> str:
    """Return the command that runs one trial with these words."""
    options = [f"--{word} {_quoted(value)}" for word, value in words.items()]
    return f"lthray trial {' '.join(options)}"


def _quoted(value: object) -> str:
    values = value if isinstance(value, list | tuple) else [value]
    return " ".join(shlex.quote(str(one)) for one in values)


COLUMNS = (
    Column(metrics.ACCURACY, "accuracy", "{:.2%}"),
    Column(metrics.KID, "KID", "{:.4f}"),
    Column(metrics.FID, "FID", "{:.2f}"),
    Column(metrics.STEPS_OF_WEIGHTS, "steps", "{:.0f}"),
)
"""Metrics in the table of trials, in the order of the columns."""
