"""Do tickets win, and how often: the grade of each recipe at each density, and the share of trajectories that win.

    python analysis/ticket_frequency.py                                    the study that was recorded last
    python analysis/ticket_frequency.py --experiment frequency.digits --by prune.criterion rewind.rule

A confirmation or a list is graded by claims over its seeds (lthray.verdicts). A design (studies/frequency.py) also yields
how often a ticket wins for this space of recipes, with intervals that count trajectories of one recipe as dependent; an
adaptive search yields no frequency. Reads MLflow only; writes tables, figures, sentences and the trials that they were made
from to <out>/reports/<experiment>/.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from lthray.cli import asked, guarded
from lthray.config.fields import ConfigError, words
from lthray.config.options import OPTIONS, Asked
from lthray.config.trial import TrialConfig
from lthray.findings import claims
from lthray.findings import stats as st
from lthray.findings.evidence import Evidence, comparable, gather
from lthray.findings.sections import Line, Lines, Section, write
from lthray.tracking.read import Recorded


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Wanted(Asked):
    """What is asked of it."""

    by: tuple[str, ...] = ()
    """Words of the config by which frequencies are told apart, the figures by the first; none = all that recipes differ in by
    name, the figures of all together."""


CLAIMS = [
    "Mean over seeds and 95 % t-interval; faster: log of the ratio of steps. A claim is that the mean lies below its bound.",
    "p is one-sided, of the t-test; Holm adjusts it over all matching, structure and initialisation claims of the table.",
    "Sign flips of fewer than five seeds can never be significant.",
]
MARGINS = (0.5, 1.0, 2.0)  # times the margin


def sections(recorded: Recorded, call: str = "", by: Sequence[str] = ()) -> Iterator[Section]:
    """Verdicts, then frequencies where the study has any."""
    trials = comparable(recorded.of(call))
    phase = trials[0]["point"]["phase"]
    if phase == "search":
        yield Section("verdict", "Search", ["An adaptive search yields no grade and no frequency; it was not confirmed."])
        return
    found = gather(trials)
    if phase == "design":
        yield from frequencies(found, by, recorded.provenance(trials))
        return
    for i, evidence in enumerate(found):
        name = evidence.name if len(found) > 1 else "verdict"
        at = f"at {evidence.steps} steps" + (" in latents" if evidence.space == "latents" else "")
        text = [
            *claims.sentences(evidence),
            *(["An adaptive search yields no frequency."] if phase == "confirm" and not i else []),
            recorded.provenance(trials),
        ]
        yield Section(name, f"Verdict {at}", text, claims.table(evidence), excess(evidence))
        yield Section(f"{name}_claims", f"Every claim {at}, by itself", CLAIMS, claim_rows(evidence))
        yield Section(f"{name}_margins", f"Grades by margin {at}", table=margins(evidence))


def excess(evidence: Evidence) -> Lines:
    """Each arm's excess over dense against density, mean and 95 % interval over seeds."""
    lines = []
    for cells in evidence.recipes.values():
        for arm, label in claims.ARMS.items():
            if points := {d: list(c.excess(arm).values()) for d, c in cells.items() if c.excess(arm)}:
                recipe = "" if len(evidence.recipes) == 1 else f" of {next(iter(cells.values())).recipe}"
                lines.append(Line.over(label + recipe, points))
    what = "accuracy lost to" if evidence.accurate else "excess over"
    return Lines("density of the prunable weights", f"{what} the own dense network", lines, level=evidence.margin)


def claim_rows(evidence: Evidence) -> list[list[str]]:
    """A row a claim: mean over seeds, interval, the bound it must stay below, one-sided p of two tests."""
    cells = [(cell, d) for cells in evidence.recipes.values() for d, cell in sorted(cells.items(), reverse=True)]
    found = [(cell, d, claim) for cell, d in cells for claim in claims.claims(evidence, cell).values()]
    found = [(cell, d, claim) for cell, d, claim in found if all(map(math.isfinite, claim.values))]
    family = [claim.p for _, _, claim in found if claim.name in claims.CONFIRMED]
    adjusted = iter(st.holm(family))
    rows = []
    for cell, d, claim in found:
        low, high = claim.interval
        holm = f"{next(adjusted):.2g}" if claim.name in claims.CONFIRMED else "–"
        numbers = [f"{v:+.4f}" for v in (claim.mean, low, high, claim.margin)]
        rows.append(
            [
                cell.recipe,
                f"{d:.4g}",
                claim.name,
                str(len(claim.values)),
                *numbers,
                f"{claim.p:.2g}",
                holm,
                f"{claim.p_flip:.2g}",
            ]
        )
    return [["recipe", "density", "claim", "seeds", "mean", "low", "high", "below", "p", "Holm", "p by sign flips"], *rows]


def margins(evidence: Evidence) -> list[list[str]]:
    """The grade of each cell under other margins, and what each margin is worth in steps."""
    tried = [factor * evidence.margin for factor in MARGINS]
    worth = ["" if evidence.accurate else f" (worth {claims.worth(evidence, m):.0%} of the steps)" for m in tried]
    rows = []
    for cells in evidence.recipes.values():
        for density, cell in sorted(cells.items(), reverse=True):
            grades = [claims.grade(claims.claims(evidence, cell, m)) for m in tried]
            rows.append([cell.recipe, f"{density:.4g}", *(f"{g} {claims.GRADES[g]}" for g in grades)])
    return [["recipe", "density", *(f"margin {m:.2%}{told}" for m, told in zip(tried, worth, strict=True))], *rows]


# how often


@dataclass(frozen=True)
class Trajectory:
    """One recipe on one seed: won at each density or not (None: too near the margin to say)."""

    recipe: str
    value: str
    won: dict[float, bool | None]


def frequencies(found: Sequence[Evidence], by: Sequence[str], provenance: str) -> Iterator[Section]:
    """The share of winning trajectories by density, with the survival of a win down the ladder."""
    first = by[0] if by else ""
    all_of = list(trajectories(found, first))
    if not any(t.won for t in all_of):
        raise ConfigError(["no ticket has its re-initialised and shuffled masks: nothing can be called winning"])
    values = sorted({t.value for t in all_of})
    rows = [row for value in values for row in shares(value, [t for t in all_of if t.value == value])]
    head = [first or "recipes", "density", "won", "undetermined", "of", "effective"]
    head += ["share", "Jeffreys 95 %", "exact 95 %", "share at most"]
    overall = list(shares("all", all_of)) if len(values) > 1 else rows
    text = [
        f"Of {row[4]} trajectories {row[2]} won at {row[1]} density (share {row[6]}, exact 95 % {row[8]})." for row in overall
    ]
    text.append("A design's frequency: for this space of recipes, on these seeds, at this training budget.")
    text.append(provenance)
    table = [head, *(overall if len(values) > 1 else []), *rows]
    yield Section("frequency", "How often tickets win", text, table, figure(values, all_of))
    yield survival(values, all_of)
    if by := by or named(found):
        yield Section("shares", "How often tickets win, by each word alone", table=by_words(found, by))


def by_words(found: Sequence[Evidence], by: Sequence[str]) -> list[list[str]]:
    """A row a value of each word, whatever the others are: the share that wins at each density, and its exact interval."""
    rows = {"all": list(shares("all", list(trajectories(found, ""))))}
    for word in by:
        own = list(trajectories(found, word))
        for value in sorted({t.value for t in own}):
            rows[f"{word} {value}"] = list(shares(value, [t for t in own if t.value == value]))
    head = ["", "trajectories", "effective", *(row[1] for row in rows["all"])]
    return [head, *([name, at[-1][4], at[-1][5], *(f"{row[6]} ({row[8]})" for row in at)] for name, at in rows.items())]


def named(found: Sequence[Evidence]) -> list[str]:
    """Words that recipes differ in and whose values are names, not numbers."""
    each = [words_of(evidence, key) for evidence in found for key in evidence.recipes]
    return [word for word, value in each[0].items() if isinstance(value, str) and any(w[word] != value for w in each)]


def words_of(evidence: Evidence, recipe: str) -> dict[str, Any]:
    """Every word of a recipe's config."""
    return {**TrialConfig().flat(), **json.loads(evidence.setting), **json.loads(recipe)}


def trajectories(found: Sequence[Evidence], by: str) -> Iterator[Trajectory]:
    """Every recipe and seed of a design, each against its own dense network and controls."""
    for evidence in found:
        for key, cells in evidence.recipes.items():
            won: dict[int, dict[float, bool | None]] = {}
            for density, cell in cells.items():
                for seed, outcome in claims.wins(evidence, cell).items():
                    won.setdefault(seed, {})[density] = outcome
            for outcomes in won.values():
                yield Trajectory(evidence.setting + key, str(words_of(evidence, key)[by]) if by else "all", outcomes)


def shares(value: str, found: Sequence[Trajectory]) -> Iterator[list[str]]:
    """A row a density, and a last one of those that win at any. Undetermined counts as not won, but for the share at most."""
    densities = sorted({d for t in found for d in t.won}, reverse=True)
    cases = {f"{d:.4g}": [(t.recipe, t.won[d]) for t in found if d in t.won] for d in densities}
    cases["any"] = [(t.recipe, True if True in t.won.values() else None if None in t.won.values() else False) for t in found]
    for at, outcomes in cases.items():
        groups: dict[str, list[bool]] = {}
        for recipe, outcome in outcomes:
            groups.setdefault(recipe, []).append(outcome is True)
        won, open_ = (sum(outcome is kind for _, outcome in outcomes) for kind in (True, None))
        total = len(outcomes)
        n = max(1, math.floor(st.effective_size(list(groups.values()))))
        intervals = [interval(round(won / total * n), n) for interval in (st.jeffreys, st.clopper_pearson)]
        told = [f"{low:.2f}-{high:.2f}" for low, high in intervals]
        counts = [str(won), str(open_), str(total), str(n)]
        yield [value, at, *counts, f"{won / total:.2f}", *told, f"{(won + open_) / total:.2f}"]


def figure(values: Sequence[str], found: Sequence[Trajectory]) -> Lines:
    """The share that wins against density, exact intervals at the effective number."""
    lines = []
    for value in values:
        rows = list(shares(value, [t for t in found if t.value == value]))[-2::-1]
        low, high = zip(*(map(float, row[8].split("-")) for row in rows), strict=True)
        lines.append(Line(value, [float(row[1]) for row in rows], [float(row[6]) for row in rows], list(low), list(high)))
    return Lines("density of the prunable weights", "share of trajectories that win", lines)


def survival(values: Sequence[str], found: Sequence[Trajectory]) -> Section:
    """Kaplan-Meier over sparsity: a trajectory's time is the sparsity of its first rung that does not win."""
    lines, rows, times = [], [], {}
    for value in values:
        mine = [first_failure(t) for t in found if t.value == value and t.won]
        times[value] = mine
        curve = st.kaplan_meier([s for s, _ in mine], [failed for _, failed in mine])
        lines.append(Line(value, [0.0, *curve.t.tolist()], [1.0, *curve.survival.tolist()]))
        median = "not reached" if math.isinf(curve.median) else f"{curve.median:.4g}"
        rows.append([value, str(len(mine)), str(sum(failed for _, failed in mine)), median])
    text = []
    if len(values) == 2:
        a, b = (times[value] for value in values)
        p = st.logrank([t for t, _ in a], [f for _, f in a], [t for t, _ in b], [f for _, f in b])
        text.append(f"Log-rank p of {values[0]} against {values[1]}: {p:.3g}; trajectories of one recipe are not independent.")
    chart = Lines("sparsity", "share that still wins", lines, ladder=False, steps=True)
    head = ["recipes", "trajectories", "failed", "median sparsity of the first failure"]
    return Section("survival", "Down to which sparsity tickets win", text, [head, *rows], chart)


def first_failure(t: Trajectory) -> tuple[float, bool]:
    """The sparsity at which a trajectory first does not win; where it always does, the last one, and False (censored)."""
    for density, won in sorted(t.won.items(), reverse=True):
        if won is False:
            return 1 - density, True
    return 1 - min(t.won), False


def bare(trial: Mapping[str, Any]) -> dict[str, Any]:
    """All of a recorded trial that a verdict is given on."""
    used = ("index", "density", "metrics", "curve", "created", "made")
    point = {word: value for word, value in trial["point"].items() if word not in ("runs", "rounds", "places")}
    return {**trial, "point": point, "rounds": [{word: r[word] for word in used if word in r} for r in trial["rounds"]]}


def main() -> int:
    """Write what was found and print it."""
    wanted = asked(Wanted, sys.argv[1:], "python analysis/ticket_frequency.py", __doc__ or "")
    if unknown := [word for word in wanted.by if word not in words(TrialConfig)]:
        raise ConfigError([f"--by {unknown[0]!r}: no word of a config"])
    recorded = Recorded(wanted.uri, wanted.experiment)
    found = sections(recorded, wanted.call, wanted.by)
    folder = Path(wanted.out) / "reports" / recorded.name
    lines = write(found, folder)
    (folder / "trials.json").write_text(json.dumps([*map(bare, recorded.of(wanted.call))], separators=(",", ":")))
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
