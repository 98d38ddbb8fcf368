"""Do tickets win, and how often: the grade of each recipe at each density, and the share of
trajectories that win.

    python analysis/ticket_frequency.py                   the study that was recorded last
    python analysis/ticket_frequency.py --experiment frequency.digits --by prune.criterion

A confirmation or a list is graded by claims over its seeds (lthray.findings.claims). A design
(studies/frequency.py) also yields how often a ticket wins for this space of recipes, with intervals
that count trajectories of one recipe as dependent; an adaptive search yields no frequency. Reads
MLflow only; writes tables, figures, sentences and the trials that they were made from to
<out>/reports/<experiment>/.
"""

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from lthray.cli import asked, guarded
from lthray.config.fields import ConfigError, words
from lthray.config.options import OPTIONS, Asked
from lthray.config.trial import TrialConfig
from lthray.findings import claims, floors, wording
from lthray.findings import stats as st
from lthray.findings.charts import excess_lines
from lthray.findings.claims import Verdict, judged
from lthray.findings.evidence import Evidence, comparable, gather
from lthray.findings.phrases import joined
from lthray.findings.sections import DENSITY, Line, Lines, Section, keep_trials, write
from lthray.tracking.read import Recorded

ORDER = 10  # place in a report


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Wanted(Asked):
    """Options of this page."""

    by: tuple[str, ...] = ()
    """Words of the config by which frequencies are told apart, the figures by the first; none = all
    that recipes differ in by name, the figures of all together."""


CLAIMS = [
    "Mean over seeds of how much worse the ticket is, a log-ratio; faster: log of the ratio of "
    "steps. A claim is that the mean lies below its margin.",
    "The bound is one-sided, at the level at which Holm's procedure tests the claim among all "
    "claims of the page; the claim holds where the bound is below the margin.",
    "Sign flips of fewer than five seeds can never be significant.",
]
MARGINS = (0.5, 1.0, 2.0)  # times the margin
ADAPTIVE = "An adaptive search yields no grade and no frequency; it was not confirmed."
DESIGN = "A design's frequency: for this space of recipes, on these seeds, at this training budget."
NO_CONTROLS = "no ticket has its re-initialised and shuffled masks: nothing can be called winning"
OUTCOMES = ("won", "undetermined", "of", "effective")
SHARES = ("share", "Jeffreys 95 %", "exact 95 %", "share at most")


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    trials = comparable(recorded.of(call))
    if trials[0].point.phase == "design":
        won = (trajectory.won for trajectory in trajectories(gather(trials), ""))
        return "" if any(won) else NO_CONTROLS
    return ""


def sections(recorded: Recorded, call: str = "", by: Sequence[str] = ()) -> Iterator[Section]:
    """Yield verdicts, or frequencies where the study is a design; of a search neither."""
    trials = comparable(recorded.of(call))
    phase = trials[0].point.phase
    if phase == "search":
        text = [ADAPTIVE, recorded.provenance(trials)]
        yield Section("verdict", "Search", text, verdict=True)
    elif phase == "design":
        yield from frequencies(gather(trials), by, recorded.provenance(trials))
    else:
        note = ["An adaptive search yields no frequency."] if phase == "confirm" else []
        look = recorded.look(trials)
        yield from verdicts(gather(trials), look, note, recorded.provenance(trials))


# one verdict a setting


def verdicts(
    settings: Sequence[Evidence], look: int, note: Sequence[str], provenance: str
) -> Iterator[Section]:
    """Yield of each setting its verdict, every claim by itself and grades by margin; `note` stands
    with the first."""
    others = {times: judged(settings, look, times) for times in MARGINS}
    for i, verdict in enumerate(judged(settings, look)):
        evidence = verdict.evidence
        name = evidence.name if len(settings) > 1 else "verdict"
        at = f"at {evidence.steps} steps"
        if evidence.space != "pixels":
            at += f" in {evidence.space}"
        text = [*wording.sentences(verdict), *([] if i else note), provenance]
        table = wording.table(verdict)
        yield Section(name, f"Verdict {at}", text, table, excess(evidence), verdict=True)
        title = f"Every claim {at}, by itself"
        yield Section(f"{name}_claims", title, CLAIMS, claim_rows(verdict))
        table = margins([alike[i] for alike in others.values()])
        yield Section(f"{name}_margins", f"Grades by margin {at}", table=table)


def excess(evidence: Evidence) -> Lines:
    """Return each arm's excess over dense against density, mean and 95 % interval over seeds."""
    lines: list[Line] = []
    for cells in evidence.recipes.values():
        name = next(iter(cells.values())).recipe
        ending = "" if len(evidence.recipes) == 1 else f" of {name}"
        lines += excess_lines(cells, ending)
    what = "accuracy lost to" if evidence.accurate else "excess over"
    return Lines(DENSITY, f"{what} the own dense network", lines, level=evidence.margin)


def claim_rows(verdict: Verdict) -> list[list[str]]:
    """Return a row per claim: mean over seeds, the bound at the level of its test, the margin that
    the bound must stay below, one-sided p of two tests, and whether the claim holds."""
    head = ["recipe", "density", "claim", "seeds", "mean", "bound", "margin"]
    rows = [[*head, "level", "p", "p by sign flips", "holds"]]
    for recipe in verdict.evidence.recipes:
        for density, cell in verdict.evidence.ladder(recipe):
            for tested in verdict.claims(recipe, density):
                claim = tested.statement
                numbers = [f"{value:+.4f}" for value in (claim.mean, tested.bound, claim.margin)]
                row = [cell.recipe, f"{density:.4g}", claim.name, claim.seeds, *numbers]
                row += [f"{tested.level:.2g}", f"{claim.p:.2g}", f"{claim.p_flip:.2g}"]
                rows.append([*row, "yes" if tested.holds else "no"])
    return rows


def margins(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Return what each cell matches under several margins, and what each margin is worth in
    steps."""
    head = ["recipe", "density"]
    for verdict in verdicts:
        worth = ""
        share = floors.worth(verdict.evidence, verdict.margin)
        if not verdict.evidence.accurate and not math.isnan(share):
            worth = f" (worth {share:.0%} of the steps)"
        head.append(f"margin {verdict.margin:.2%}{worth}")
    rows = [head]
    evidence = verdicts[0].evidence
    for recipe in evidence.recipes:
        for density, cell in evidence.ladder(recipe):
            matched = [verdict.matched(recipe, density) for verdict in verdicts]
            shown = [joined(names) for names in matched]
            rows.append([cell.recipe, f"{density:.4g}", *shown])
    return rows


# how often


@dataclass(frozen=True)
class Trajectory:
    """One recipe on one seed."""

    recipe: str
    value: str
    """Value of the word by which frequencies are told apart."""
    won: dict[float, bool | None]
    """Density -> whether the ticket won there; None: too near the margin to say."""

    @property
    def anywhere(self) -> bool | None:
        """Whether it won at any density; None where it is open."""
        outcomes = self.won.values()
        if True in outcomes:
            return True
        return None if None in outcomes else False


def frequencies(
    settings: Sequence[Evidence], by: Sequence[str], provenance: str
) -> Iterator[Section]:
    """Yield the share of winning trajectories by density, the survival of a win down the ladder,
    and shares by word.

    Raises ConfigError where no ticket has the controls without which nothing is called winning.
    """
    first = by[0] if by else ""
    paths = list(trajectories(settings, first))
    if not any(path.won for path in paths):
        raise ConfigError([NO_CONTROLS])
    values = sorted({path.value for path in paths})
    rows = [row for value in values for row in shares(value, of_value(paths, value))]
    table = [[first or "recipes", "density", *OUTCOMES, *SHARES], *rows]
    overall = rows
    if len(values) > 1:
        overall = shares("all", paths)
        table[1:1] = overall
    text = [*map(counted, overall), DESIGN, provenance]
    chart = figure(values, paths)
    yield Section("frequency", "How often tickets win", text, table, chart, verdict=True)
    yield survival(values, paths)
    if words_apart := by or named(settings):
        table = by_words(settings, words_apart)
        yield Section("shares", "How often tickets win, by each word alone", table=table)


def counted(row: Sequence[str]) -> str:
    """Return a row of `shares` in words."""
    _, density, won, _, total, _, part, _, exact, _ = row
    return (
        f"Of {total} trajectories {won} won at {density} density "
        f"(share {part}, exact 95 % {exact})."
    )


def of_value(paths: Iterable[Trajectory], value: str) -> list[Trajectory]:
    """Return the trajectories with one value of the word that tells them apart."""
    return [path for path in paths if path.value == value]


def by_words(settings: Sequence[Evidence], by: Sequence[str]) -> list[list[str]]:
    """Return a row per value of each word, whatever the others are: the share that wins at each
    density.

    With each share stands its exact interval.
    """
    overall = shares("all", list(trajectories(settings, "")))
    groups = {"all": overall}
    for word in by:
        paths = list(trajectories(settings, word))
        for value in sorted({path.value for path in paths}):
            groups[f"{word} {value}"] = shares(value, of_value(paths, value))
    rows = [["", "trajectories", "effective", *(row[1] for row in overall)]]
    for name, group in groups.items():
        cells = [f"{row[6]} ({row[8]})" for row in group]
        rows.append([name, group[-1][4], group[-1][5], *cells])
    return rows


def named(settings: Sequence[Evidence]) -> list[str]:
    """Return the words that recipes differ in and whose values are names, not numbers."""
    recipes = [words_of(evidence, key) for evidence in settings for key in evidence.recipes]
    first = recipes[0]
    named_words = [word for word, value in first.items() if isinstance(value, str)]
    return [word for word in named_words if any(each[word] != first[word] for each in recipes)]


def words_of(evidence: Evidence, recipe: str) -> dict[str, Any]:
    """Return every word of a recipe's config."""
    return {**TrialConfig().flat(), **evidence.words, **json.loads(recipe)}


def trajectories(settings: Sequence[Evidence], by: str) -> Iterator[Trajectory]:
    """Yield every recipe and seed of a design, each against its own dense network and controls."""
    for evidence in settings:
        for key, cells in evidence.recipes.items():
            won: dict[int, dict[float, bool | None]] = {}
            for density, cell in cells.items():
                for seed, outcome in claims.wins(evidence, cell).items():
                    won.setdefault(seed, {})[density] = outcome
            value = str(words_of(evidence, key)[by]) if by else "all"
            for outcomes in won.values():
                yield Trajectory(evidence.setting + key, value, outcomes)


def shares(value: str, paths: Sequence[Trajectory]) -> list[list[str]]:
    """Return a row per density, and a last one of the trajectories that win at any.

    Undetermined counts as not won, but for the share at most.
    """
    rows = []
    for density in sorted({d for path in paths for d in path.won}, reverse=True):
        outcomes = [(path.recipe, path.won[density]) for path in paths if density in path.won]
        rows.append([value, f"{density:.4g}", *share(outcomes)])
    anywhere = [(path.recipe, path.anywhere) for path in paths]
    return [*rows, [value, "any", *share(anywhere)]]


def share(outcomes: Sequence[tuple[str, bool | None]]) -> list[str]:
    """Return the cells of (recipe, outcome) pairs: counts, share, two intervals, share at most.

    Intervals are taken at the effective number: outcomes of one recipe are dependent.
    """
    groups: dict[str, list[bool]] = {}
    for recipe, outcome in outcomes:
        groups.setdefault(recipe, []).append(outcome is True)
    total = len(outcomes)
    won = sum(outcome is True for _, outcome in outcomes)
    undetermined = sum(outcome is None for _, outcome in outcomes)
    n = max(1, math.floor(st.effective_size(list(groups.values()))))
    successes = round(won / total * n)
    intervals = []
    for interval in (st.jeffreys, st.clopper_pearson):
        low, high = interval(successes, n)
        intervals.append(f"{low:.2f}-{high:.2f}")
    counts = [str(won), str(undetermined), str(total), str(n)]
    return [*counts, f"{won / total:.2f}", *intervals, f"{(won + undetermined) / total:.2f}"]


def figure(values: Sequence[str], paths: Sequence[Trajectory]) -> Lines:
    """Return the share that wins against density, with exact intervals at the effective number."""
    lines = []
    for value in values:
        *rows, _ = shares(value, of_value(paths, value))
        rows.reverse()  # sparsest first
        x, y, low, high = [], [], [], []
        for row in rows:
            ends = row[8].split("-")
            x.append(float(row[1]))
            y.append(float(row[6]))
            low.append(float(ends[0]))
            high.append(float(ends[1]))
        lines.append(Line(value, x, y, low, high))
    return Lines(DENSITY, "share of trajectories that win", lines)


def survival(values: Sequence[str], paths: Sequence[Trajectory]) -> Section:
    """Return Kaplan-Meier over sparsity: a trajectory's time is the sparsity of its first rung that
    does not win."""
    lines = []
    rows = [["recipes", "trajectories", "failed", "median sparsity of the first failure"]]
    outcomes: dict[str, tuple[list[float], list[bool]]] = {}
    for value in values:
        ends = [first_failure(path) for path in of_value(paths, value) if path.won]
        times, failed = [sparsity for sparsity, _ in ends], [fails for _, fails in ends]
        outcomes[value] = times, failed
        curve = st.kaplan_meier(times, failed)
        lines.append(Line(value, [0.0, *curve.t.tolist()], [1.0, *curve.survival.tolist()]))
        median = "not reached" if math.isinf(curve.median) else f"{curve.median:.4g}"
        rows.append([value, str(len(ends)), str(sum(failed)), median])
    text = []
    if len(values) == 2:
        a, b = values
        p = st.logrank(*outcomes[a], *outcomes[b])
        text.append(
            f"Log-rank p of {a} against {b}: {p:.3g}; trajectories of one recipe are not "
            "independent."
        )
    chart = Lines("sparsity", "share that still wins", lines, ladder=False, steps=True)
    return Section("survival", "Down to which sparsity tickets win", text, rows, chart)


def first_failure(path: Trajectory) -> tuple[float, bool]:
    """Return the sparsity at which a trajectory first does not win, and True.

    Where it always does, the last sparsity that was tried, and False (censored).
    """
    for density, won in sorted(path.won.items(), reverse=True):
        if won is False:
            return 1 - density, True
    return 1 - min(path.won), False


def main() -> int:
    """Write sections and trials and print what was found; return the exit code."""
    wanted = asked(Wanted, sys.argv[1:], "python analysis/ticket_frequency.py", __doc__ or "")
    allowed = words(TrialConfig)
    if unknown := [word for word in wanted.by if word not in allowed]:
        raise ConfigError([f"--by {unknown[0]!r}: no word of a config"])
    recorded = Recorded(wanted.uri, wanted.experiment)
    folder = Path(wanted.out) / "reports" / recorded.name
    lines = write(sections(recorded, wanted.call, wanted.by), folder)
    keep_trials(recorded.of(wanted.call), folder)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
