"""What a study shows: progress with the time left, the table of trials, the plan of a dry run."""

import shlex
import sys
import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lthray.core.store import Store
from lthray.findings.claims import table
from lthray.findings.evidence import Evidence, is_ticket
from lthray.study.ledger import Ledger
from lthray.study.results import Trial, best, config_of, pruned, ranked, spent, surface
from lthray.trial.plan import Plan


def console() -> Console:
    """Stdout; as wide as the terminal, and wide enough for the table in a log."""
    return Console(width=None if sys.stdout.isatty() else 180, highlight=False, soft_wrap=not sys.stdout.isatty())


class Tally:
    """Optimizer steps trained so far, and in all, as the store shows them; several trials may share a run."""

    def __init__(self, store: Store, ledger: Ledger, trials: int):
        self.store, self.ledger, self.trials = store, ledger, trials
        self.runs: dict[str, tuple[int, int]] = {}
        self.whole: set[str] = set()
        self.seen = 0

    def __call__(self) -> tuple[int, int]:
        """(steps trained, steps in all); trials that have no point yet count as much as the mean of those that have."""
        begun = [part for part in self.store.parts(self.ledger.key) if part.endswith("-point")]
        if len(begun) > self.seen:
            self.seen = len(begun)
            for entry in self.ledger:
                self.runs |= {key: (a, b) for key, (a, b) in entry.point["runs"].items()}
        done = sum(self._trained(key, *span) for key, span in self.runs.items())
        total = sum(end - start for start, end in self.runs.values())
        return done, total * max(self.trials, 1) // max(self.seen, 1) if self.seen < self.trials else total

    def _trained(self, key: str, start: int, end: int) -> int:
        if key not in self.whole:
            parts = self.store.parts(key)
            if "final" not in parts:
                return max([int(part[-8:]) - start for part in parts if part[:4] in ("step", "anch")], default=0)
            self.whole.add(key)
        return end - start


class Watch:
    """Progress of a study: a bar on a terminal, a line a round in a log."""

    def __init__(self, tally: Tally, title: str, every: float = 2.0):
        self.tally, self.every, self.left, self.slots = tally, every, "", 1
        self.began: tuple[float, int] | None = None
        self.looked = 0.0
        self.console = console()
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(), TextColumn("{task.fields[left]}"), console=self.console, transient=True,
            disable=not self.console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task(title, total=None, left="")

    def __enter__(self) -> "Watch":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self) -> None:
        """Look again how far the study is, not more often than every `every` seconds."""
        now = time.monotonic()
        if now - self.looked < self.every:
            return
        self.looked = now
        done, total = self.tally()
        self.began = self.began or (now, done)
        rate = (done - self.began[1]) / max(now - self.began[0], 1e-9)
        self.left = f"{duration((total - done) / rate)} left at most" if rate > 0 and done < total else ""
        self.bar.update(self.task, completed=done, total=total, left=self.left)

    def say(self, text: str) -> None:
        """A line above the bar, or in the log."""
        left = f"  ({self.left})" if self.left else ""
        self.console.print(f"{time.strftime('%H:%M:%S')}  {text}{left}")


def duration(seconds: float) -> str:
    """About how long, in words."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def round_line(name: str, index: int, last: int, metrics: Mapping[str, float]) -> str:
    """One round in one line."""
    known = f", accuracy {metrics['quality/accuracy']:.2%}" if "quality/accuracy" in metrics else ""
    if not index:
        return (
            f"{name}: dense, {metrics['cost/steps_of_weights']:.0f} steps, held-out loss {metrics['loss/heldout']:.4f}{known}"
        )
    excess = f"excess {metrics['loss/excess']:+.2%} ± {metrics['loss/excess_se']:.2%}"
    return f"{name}: round {index}/{last}, density {metrics['density/prunable']:.4g}, {excess}{known}"


# column -> (metric, format), each shown where any trial has the metric at its last round
SHOWN = {
    "accuracy": ("quality/accuracy", "{:.2%}"),
    "KID ddim": ("quality/ddim/kid_lenet", "{:.4f}"),
    "FID ddim": ("quality/ddim/fid_lenet", "{:.2f}"),
    "KID ddpm": ("quality/ddpm/kid_lenet", "{:.4f}"),
    "FID ddpm": ("quality/ddpm/fid_lenet", "{:.2f}"),
    "steps": ("cost/steps_of_weights", "{:.0f}"),
}


def trial_table(found: Sequence[Trial]) -> Table:
    """The trials, best first: those that went furthest, then by excess at their last rung."""
    table = Table(title="trials, best first", title_justify="left", box=None, pad_edge=False)
    shown = {c: s for c, s in SHOWN.items() if any(t.rounds and s[0] in t.rounds[-1].metrics for t in found)}
    if all(len(t.rounds) < 2 for t in found):  # of dense networks it is what they are ranked by
        shown = {"held-out loss": ("loss/heldout", "{:.4f}")} | shown
    for column in ("trial", "recipe", "end", "density", "excess ± SE", "matches to", *shown, "train s", "measure s"):
        table.add_column(column, justify="left" if column in ("recipe", "end") else "right")
    for trial in ranked(found):
        own = trial.rounds[-1].metrics if trial.rounds else {}
        m = own if len(trial.rounds) > 1 else {}
        table.add_row(
            *(str(trial.entry.number), trial.name, trial.status),
            f"{m['density/prunable']:.4g}" if m else "–",
            f"{m['loss/excess']:+.2%} ± {m['loss/excess_se']:.2%}" if m else "–",
            f"{trial.matching:.4g}" if trial.matching else "–",
            *(form.format(own[metric]) if metric in own else "–" for metric, form in shown.values()),
            *(f"{sum(r.metrics[f'cost/{part}_seconds'] for r in trial.rounds):.0f}" for part in ("train", "measure")),
        )
    return table


def baseline_table(found: Sequence[Trial]) -> Table:
    """The best dense network of each number of steps, and what its training took: a step costs thrice its forward pass."""
    table = Table(title="dense networks: the best at each training budget", title_justify="left", box=None, pad_edge=False)
    for column in ("steps", "trials", "held-out loss", "parameters", "MACs to train", "trial", "words"):
        table.add_column(column, justify="left" if column == "words" else "right")
    budgets: dict[int, list[Trial]] = {}
    for trial in ranked(trial for trial in found if trial.rounds):
        budgets.setdefault(config_of(trial.entry.point).train.steps, []).append(trial)
    for steps, (first, *others) in sorted(budgets.items()):
        m, batch = first.rounds[0].metrics, config_of(first.entry.point).train.batch
        words = " ".join(f"{w}={v:.4g}" if isinstance(v, float) else f"{w}={v}" for w, v in first.entry.point["words"].items())
        shown = f"{m['loss/heldout']:.4f}", f"{m['cost/parameters']:,.0f}", f"{3 * steps * batch * m['cost/macs_dense']:.2e}"
        table.add_row(str(steps), str(1 + len(others)), *shown, str(first.entry.number), words)
    return table


def surface_table(found: Sequence[Trial], word: str, metric: str) -> Table:
    """A metric by density (rows) and by one word of the config (columns), over the trials in each cell."""
    cells: dict[tuple[str, float], list[float]] = {}
    for trial in found:
        point = trial.entry.point
        if word != "control" and not is_ticket(point):
            continue  # what stands in a ticket's place is no ticket
        config = config_of(point)
        for r in trial.rounds if pruned(config) else ():
            cells.setdefault((str(config.flat()[word]), r.metrics["density/prunable"]), []).append(r.metrics[metric])
    head, *rows = surface(cells, word)
    table = Table(title=f"{metric} by density and {word}", title_justify="left", box=None, pad_edge=False)
    for title in head:
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def verdict_table(evidence: Evidence) -> Table:
    """Every claim at every density, with its grade."""
    head, *rows = table(evidence)
    used = [i for i in range(len(head)) if any(row[i] != "–" for row in rows)]
    title = "confirmed on fresh seeds: excess over dense, and minus each control's; * = the claim holds (mean ± 95 %)"
    out = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for i in used:
        out.add_column(head[i], justify="left" if head[i] in ("recipe", "grade") else "right")
    for row in rows:
        out.add_row(*(row[i] for i in used))
    return out


def shrinkage_lines(chosen: Sequence[Trial], evidence: Evidence) -> list[str]:
    """What became of the search's own estimate of each frozen recipe: the winner's curse, measured."""
    lines = []
    for trial in chosen:
        last = trial.rounds[-1]
        cells = [c for cells in evidence.recipes.values() for c in cells.values() if c.recipe == trial.entry.point["recipe"]]
        again = [d for cell in cells if cell.density == last.density for d in cell.excess("none").values()]
        if again:
            then, now = last.metrics["loss/excess"], sum(again) / len(again)
            lines.append(
                f"{trial.entry.point['recipe']} at density {last.density:.4g}: excess {then:+.2%} in the search, {now:+.2%} on "
                f"fresh seeds (shrinkage {now - then:+.2%})"
            )
    return lines


def closing_lines(found: Sequence[Trial], store: Store, since: float, slots: int) -> list[str]:
    """How the time since a moment was spent, and what the trials had in common."""
    runs = [(key, end - start) for t in found for key, (start, end) in t.entry.point["runs"].items()]
    made = {key: steps for key, steps in runs if "final" in store.parts(key)}
    unshared = sum(steps for key, steps in runs if key in made)
    lines = [f"{sum(made.values()):,} training steps served for {unshared:,}, which the trials would have needed alone"]
    first, busy = spent(found, since)
    if busy:
        wall = time.time() - since
        share = f"{busy / (wall * slots):.0%} of {slots} slots trained or measured"
        lines.append(f"{duration(wall)}; the first step after {first - since:.0f} s; {share}")
    return lines


def best_lines(found: Sequence[Trial], rungs: int, out: str) -> list[str]:
    """The best recipe that went the whole ladder at the dense network's own training budget, and the best without it."""
    fair, whole = best(found, rungs), best(found, rungs, fair=False)
    lines = []
    for title, trial in [("best recipe", fair[:1]), ("best with more steps than dense", whole[:1])]:
        if trial and not (title != "best recipe" and not trial[0].older):
            last, match = trial[0].rounds[-1].metrics, trial[0].matching
            known = f"matches dense down to {match:.4g}" if match else "matches dense at no rung"
            lines.append(
                f"{title}: {trial[0].name} (excess {last['loss/excess']:+.2%} ± {last['loss/excess_se']:.2%} "
                f"at density {last['density/prunable']:.4g}; {known})"
            )
            words = {"out": out, **trial[0].entry.point["config"], **trial[0].entry.point["places"]}
            lines.append("  again:  lthray trial " + " ".join(f"--{w} {_text(v)}" for w, v in words.items()))
    return lines


def _text(value: object) -> str:
    return " ".join(shlex.quote(str(v)) for v in (value if isinstance(value, list | tuple) else [value]))


def plan_lines(plans: Sequence[Plan], parameters: int, per_step: float, slots: int) -> list[str]:
    """What the given trials would do: steps shared and unshared, bytes to expect, time."""
    alone = [plan.runs for plan in plans]
    runs = {key: run for found in alone for key, run in found.items()}
    steps, unshared = (sum(run.steps for run in found) for found in (runs.values(), (r for one in alone for r in one.values())))
    rounds = {rung.round: plan.config.measure for plan in plans for rung in plan.shown}
    size = sum(8 * parameters + 16 * parameters * len(run.anchors) for run in runs.values())
    size += sum(parameters // 8 + 4 * m.images * m.timesteps + 20_000 for m in rounds.values())
    return [
        f"training steps  {steps:,} unique of {unshared:,} if nothing were shared ({steps / max(unshared, 1):.0%})",
        f"training runs   {len(runs)} unique of {sum(map(len, alone))}",
        f"store           about {size / 1e6:,.0f} MB",
        f"training time   at most {duration(steps * per_step / slots)}: {per_step * 1e3:.0f} ms a step, {slots} at a time",
    ]
