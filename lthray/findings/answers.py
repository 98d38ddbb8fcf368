"""The answer of a study in two sentences, and the evidence: one figure for each claim.

Both read the registry of claims of a page, so that they cannot disagree with its tables.
"""

import math
from collections.abc import Iterator, Sequence

from lthray.config.parts import Model
from lthray.findings import comparators as beside
from lthray.findings import stats as st
from lthray.findings.claims import BOTH, UNTRIED, Verdict, better, matches
from lthray.findings.comparators import COMPUTE, CONVERGED, OWN
from lthray.findings.figures import Interval, Intervals
from lthray.findings.phrases import budget_line, rival_names
from lthray.findings.registry import Tested
from lthray.findings.sections import Section

MOST = 60  # rows of a figure
LARGEST = 20.0  # of a log-ratio that is drawn: bounds of two seeds may be beyond any number
WIDTH = "model.channels"
Place = tuple[Verdict, str, float]
"""A verdict, a recipe and a density: one ticket."""


def answer(verdicts: Sequence[Verdict]) -> list[str]:
    """Return two sentences: where tickets win, and what that is worth."""
    return [won(verdicts), worth(verdicts)]


def places(verdicts: Sequence[Verdict]) -> list[Place]:
    """Return every ticket that is graded."""
    found = []
    for verdict in verdicts:
        for recipe in verdict.recipes:
            found += [(verdict, recipe, density) for density, _ in verdict.evidence.ladder(recipe)]
    return found


def won(verdicts: Sequence[Verdict]) -> str:
    """Return how many recipes win, and how sparse the sparsest winner is."""
    tickets = places(verdicts)
    recipes = dict.fromkeys((id(v), recipe) for v, recipe, _ in tickets)
    matching = [place for place in tickets if OWN in place[0].matched(*place[1:])]
    winning = [place for place in matching if place[0].shown(*place[1:]) == BOTH]
    controlled = any(v.shown(recipe, density) != UNTRIED for v, recipe, density in tickets)
    does = "match their own dense network"
    if controlled:
        does += " and beat both controls"
    chosen = winning if controlled else matching
    if not chosen:
        partly = f"; {sparsest(matching)} match it without that" if matching and controlled else ""
        return f"No ticket is shown to {does}{partly}."
    count = len({(id(v), recipe) for v, recipe, _ in chosen})
    of = f", under {count} of {len(recipes)} recipes" if len(recipes) > 1 else ""
    bare = "" if controlled else "; no controls were trained"
    return f"Tickets {does}{of}: {sparsest(chosen)}{bare}."


def sparsest(tickets: Sequence[Place]) -> str:
    """Return the sparsest of some tickets in words."""
    verdict, recipe, density = min(tickets, key=lambda place: place[2])
    evidence = verdict.evidence
    name = evidence.recipes[recipe][density].recipe
    return (
        f"the sparsest keep {density:.1%} of the free weights ({name}, {evidence.steps} steps, "
        f"{evidence.recipes[recipe][density].seeds} seeds)"
    )


def worth(verdicts: Sequence[Verdict]) -> str:
    """Return how tickets stand beside dense networks that trained for longer, or whether the dense
    network is converged."""
    told = []
    names = rival_names(verdicts[0].evidence)
    for rival in (COMPUTE, CONVERGED):
        tested = [v.find(matches(rival), recipe, d) for v, recipe, d in places(verdicts)]
        made = [each for each in tested if each]
        if made:
            held = sum(each.holds for each in made)
            told.append(f"{names[rival]} is matched by {held} of {len(made)} tickets")
    line = budget_line(verdicts[0].evidence).rstrip(".")
    if len({verdict.evidence.steps for verdict in verdicts}) > 1:
        line = f"at {verdicts[0].evidence.steps} steps, {line[0].lower()}{line[1:]}"
    sentence = "; ".join([*told, line[0].lower() + line[1:]]) + "."
    return sentence[0].upper() + sentence[1:]


# one figure a claim


INTERVALS = (
    "The upper end of an interval is the bound that the test compares with the dotted line, at the "
    "level at which the claim is tested among all claims of the page. A filled dot is a claim that "
    "holds. An interval that leaves the figure is wider than it."
)
BELOW = "Every number is how much worse the ticket is: to the left of the line is better."


def evidence(verdicts: Sequence[Verdict]) -> Iterator[Section]:
    """Yield a section for each kind of claim on tickets: every ticket's mean with its interval."""
    before: Sequence[str] = (BELOW, INTERVALS)
    for name, title in kinds(verdicts).items():
        tested = [(place, place[0].find(name, *place[1:])) for place in places(verdicts)]
        made = [(place, each) for place, each in tested if each]
        if any(each.statement.whole for _, each in made):
            yield shown(verdicts, title, made, before)
            before = ()


def kinds(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Return claim -> the title of its figure, in the order in which they are told."""
    rival = rival_names(verdicts[0].evidence)
    titles = {matches(OWN): "Do tickets match their own dense network?"}
    for contrast in beside.CONTRASTS:
        titles[better(contrast.control)] = f"Are tickets better than {contrast.called}?"
    for name in (COMPUTE, CONVERGED):
        titles[matches(name)] = f"Do tickets match {rival[name]}?"
    return titles


def shown(
    verdicts: Sequence[Verdict],
    title: str,
    made: Sequence[tuple[Place, Tested]],
    before: Sequence[str] = (),
) -> Section:
    """Return the section of one kind of claim; lines `before` say how to read its figure."""
    whole = [(place, each) for place, each in made if each.statement.whole][:MOST]
    held = sum(each.holds for _, each in made)
    text = [*before, f"Shown of {held} of {len(made)} tickets."]
    missing = sum(not each.statement.whole for _, each in made)
    if missing:
        text.append(f"{missing} tickets have a planned seed without a number, and so no bound.")
    if len(made) - missing > MOST:
        count = len(made) - missing
        text.append(f"The first {MOST} of {count} are drawn; the table of claims has them all.")
    accurate = verdicts[0].evidence.accurate
    rows = [row(each, label(verdicts, place), accurate) for place, each in whole]
    border = amount(whole[0][1].statement.margin, accurate)
    unit = "accuracy lost, in points" if accurate else "how much worse the ticket is, in per cent"
    name = f"evidence_{'_'.join(made[0][1].statement.name.split())}"
    return Section(name, title, text, figure=Intervals(unit, rows, border))


def row(tested: Tested, name: str, accurate: bool) -> Interval:
    """Return the mean of a claim with the interval at the level of its test."""
    values = tested.statement.finite
    low = -st.upper_bound([-value for value in values], 1 - tested.level)
    ends = [amount(value, accurate) for value in (tested.statement.mean, low, tested.bound)]
    return Interval(name, *ends, tested.holds)


def amount(value: float, accurate: bool) -> float:
    """Return a difference in per cent or, of classifiers, in points of accuracy."""
    if accurate:
        return 100 * value
    return 100 * math.expm1(min(value, LARGEST))


def label(verdicts: Sequence[Verdict], place: Place) -> str:
    """Return what tells a ticket from the others of a page."""
    verdict, recipe, density = place
    evidence = verdict.evidence
    parts = []
    if len({(id(v), r) for v, r, _ in places(verdicts)}) > 1:
        parts.append(evidence.recipes[recipe][density].recipe)
    if len({each.evidence.steps for each in verdicts}) > 1:
        parts.append(f"{evidence.steps} steps")
    widths = {str(each.evidence.words.get(WIDTH)) for each in verdicts}
    if len(widths) > 1:
        parts.append(" ".join(map(str, evidence.words.get(WIDTH, Model().channels))))
    return " ".join([*parts, f"{density:.4g}"])
