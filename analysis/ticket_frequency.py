"""Do tickets win, and how often: the grade of each recipe at each density, and the share of
trajectories that win.

    python analysis/ticket_frequency.py  the study recorded last
    python analysis/ticket_frequency.py --by prune.criterion

A confirmation or a list is graded by claims over its seeds (lthray.findings.claims). A design
(studies/frequency.py) yields how often a ticket wins for this space of recipes, beside what chance
does (lthray.findings.designs); an adaptive search yields no frequency. Reads MLflow only; writes
tables, figures, sentences and the trials that they were made from to <out>/reports/<experiment>/.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic.dataclasses import dataclass

from lthray.cli import asked, guarded
from lthray.config.fields import ConfigError, words
from lthray.config.options import OPTIONS, Asked
from lthray.config.trial import TrialConfig
from lthray.findings import answers, designs, floors, wording
from lthray.findings.charts import excess_lines
from lthray.findings.claims import Verdict, judged
from lthray.findings.evidence import Evidence, comparable, gather
from lthray.findings.figures import DENSITY, Line, Lines
from lthray.findings.formats import NONE, joined
from lthray.findings.phrases import images_of
from lthray.findings.sections import Section, keep_trials, write
from lthray.tracking.read import Recorded

ORDER = 10  # place in a report


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Wanted(Asked):
    """Options of this page."""

    by: tuple[str, ...] = ()
    """Words of the config by which shares are told apart, the figures by the first; none = all that
    recipes differ in by name, the figures of all together."""


CLAIMS = [
    "Mean over seeds of how much worse the ticket is, a log-ratio; faster: log of the ratio of "
    "steps; stable, connected: log of the barrier. A claim is that the mean lies below its margin; "
    "a claim of the opposite is shown with all signs turned.",
    "The bound is one-sided, at the level at which Holm's procedure tests the claim among all "
    "claims of the page; the claim holds where the bound is below the margin.",
    "Sign flips of fewer than five seeds can never be significant.",
]
MARGINS = (0.5, 1.0, 2.0)  # times the margin
ADAPTIVE = "An adaptive search yields no grade and no frequency; it was not confirmed."


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    trials = comparable(recorded.of(call))
    if trials[0].point.phase == "design":
        try:
            designs.Page.of(trials)
        except ConfigError as error:
            return error.faults[0]
    return ""


def sections(recorded: Recorded, call: str = "", by: Sequence[str] = ()) -> Iterator[Section]:
    """Yield verdicts, or frequencies where the study is a design; of a search neither."""
    trials = comparable(recorded.of(call))
    phase = trials[0].point.phase
    if phase == "search":
        text = [ADAPTIVE, recorded.provenance(trials)]
        yield Section("verdict", "Search", text, verdict=True, answer=[ADAPTIVE])
    elif phase == "design":
        look = recorded.look(trials)
        yield from designs.sections(trials, by, recorded.provenance(trials), look)
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
    by_margin = {times: judged(settings, look, times) for times in MARGINS}
    names = names_of(settings)
    for i, verdict in enumerate(by_margin[1.0]):
        evidence, name = verdict.evidence, names[i]
        at = f"at {evidence.steps} steps"
        if evidence.space != "pixels":
            at += f" in {evidence.space}"
        if len(set(map(images_of, settings))) > 1:
            at += f" on {images_of(evidence)}"
        text = [*wording.sentences(verdict), *([] if i else note), provenance]
        verdict_table, figure = wording.table(verdict), excess(verdict)
        answer = () if i else answers.answer(by_margin[1.0])
        title = f"Verdict {at}"
        yield Section(name, title, text, verdict_table, figure, verdict=True, answer=answer)
        title = f"Every claim {at}, by itself"
        yield Section(f"{name}_claims", title, CLAIMS, claim_rows(verdict))
        rows = margins([alike[i] for alike in by_margin.values()])
        yield Section(f"{name}_margins", f"Grades by margin {at}", table=rows)


def names_of(settings: Sequence[Evidence]) -> list[str]:
    """Return the names of the files of each setting's verdict: by steps and space, and where these
    are equal by data or, where those are too, by number."""
    if len(settings) == 1:
        return ["verdict"]
    names = [evidence.name for evidence in settings]
    by_data = [f"{evidence.name}_{images_of(evidence)}" for evidence in settings]
    numbered = [f"{name}_{i}" for i, name in enumerate(names)]
    for longer in (by_data, numbered):
        names = [
            name if names.count(name) == 1 else other
            for name, other in zip(names, longer, strict=True)
        ]
    return names


def excess(verdict: Verdict) -> Lines:
    """Return each arm's excess over dense against density, mean and 95 % interval over seeds."""
    lines: list[Line] = []
    evidence = verdict.evidence
    for cells in (evidence.recipes[recipe] for recipe in verdict.recipes):
        name = next(iter(cells.values())).recipe
        ending = "" if len(verdict.recipes) == 1 else f" of {name}"
        lines += excess_lines(cells, ending)
    what = "accuracy lost to" if evidence.accurate else "excess over"
    return Lines(DENSITY, f"{what} the own dense network", lines, level=evidence.margin)


def claim_rows(verdict: Verdict) -> list[list[str]]:
    """Return a row per claim: mean over seeds, the bound at the level of its test, the margin that
    the bound must stay below, one-sided p of two tests, and whether the claim holds."""
    head = ["recipe", "density", "claim", "seeds", "mean", "bound", "margin"]
    rows = [[*head, "level", "p", "p by sign flips", "holds"]]
    recipes = verdict.evidence.recipes
    for tested in verdict.claims:
        claim = tested.statement
        recipe, density = [*claim.place[2:], "", ""][:2]
        at = f"{density:.4g}" if density else NONE
        numbers = [f"{value:+.4f}" for value in (claim.mean, tested.bound, claim.margin)]
        name = next(iter(recipes[str(recipe)].values())).recipe if recipe else NONE
        row = [name, at, claim.name, claim.seeds, *numbers]
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
    for recipe in verdicts[0].recipes:
        for density, cell in evidence.ladder(recipe):
            matched = [verdict.matched(recipe, density) for verdict in verdicts]
            shown = [joined(names) for names in matched]
            rows.append([cell.recipe, f"{density:.4g}", *shown])
    return rows


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
