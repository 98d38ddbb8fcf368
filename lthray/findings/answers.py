"""The answer of a study in two sentences, and the evidence: one figure for each claim.

Both read the registry of claims of a page, so that they cannot disagree with its tables.
"""

import math
from collections.abc import Iterator, Sequence
from operator import attrgetter, neg
from typing import NamedTuple

from lthray.config.parts import Model
from lthray.findings import comparators
from lthray.findings import stats as st
from lthray.findings.claims import UNTRIED, Verdict, better, matches
from lthray.findings.contrasts import COMPUTE, CONTRASTS, CONVERGED, OWN
from lthray.findings.evidence import Evidence
from lthray.findings.figures import Interval, Intervals
from lthray.findings.phrases import budget_line, rival_names
from lthray.findings.registry import Tested
from lthray.findings.sections import Section

MOST = 60  # rows of a figure
LARGEST = 20.0  # of a log-ratio that is drawn: bounds of two seeds may be beyond any number
WIDTH = "model.channels"
DOES = {
    True: "match their own dense network and beat both controls",
    False: "match their own dense network",
}
"""Whether there are controls -> what a ticket must do."""
KINDS = {True: "pairs of a recipe and a setting", False: "recipes"}
"""Whether there are several settings -> what is counted."""
ALONE = {True: "", False: "; not both controls were trained"}
INTERVALS = (
    "The upper end of an interval is the bound that the test compares with the dotted line, at the "
    "level at which the claim is tested among all claims of the page. A filled dot is a claim that "
    "holds. An interval that leaves the figure is wider than it."
)
BELOW = "Every number is how much worse the ticket is: to the left of the line is better."
UNITS = {True: "accuracy lost, in points", False: "how much worse the ticket is, in per cent"}
"""Whether accuracy decides -> what an axis shows."""


class Ticket(NamedTuple):
    """A ticket that is graded: a recipe at a density, in the setting of a verdict."""

    verdict: Verdict
    recipe: str
    density: float

    @property
    def place(self) -> tuple[str, float]:
        """Recipe and density."""
        return self.recipe, self.density

    @property
    def kind(self) -> tuple[str, str]:
        """Setting and recipe."""
        return self.verdict.evidence.setting, self.recipe

    @property
    def matches(self) -> bool:
        """Whether it is shown to match its own dense network."""
        return self.verdict.holds(matches(OWN), *self.place)

    @property
    def wins(self) -> bool:
        """Whether it is shown to match, and to be better than both controls."""
        return self.verdict.wins(*self.place)

    @property
    def is_controlled(self) -> bool:
        """Whether its controls were trained."""
        return self.verdict.shown(*self.place) != UNTRIED

    @property
    def told(self) -> str:
        """The ticket in words."""
        evidence = self.verdict.evidence
        cell = evidence.recipes[self.recipe][self.density]
        return (
            f"the sparsest keep {self.density:.1%} of the free weights ({cell.recipe}, "
            f"{evidence.steps} steps, {cell.seeds} seeds)"
        )


class Claimed(NamedTuple):
    """A ticket, and a claim on it as it was tested."""

    ticket: Ticket
    claim: Tested


def answer(verdicts: Sequence[Verdict]) -> list[str]:
    """Return two sentences: where tickets win, and what that is worth."""
    return [won(places(verdicts)), worth(verdicts)]


def places(verdicts: Sequence[Verdict]) -> list[Ticket]:
    """Return every ticket that is graded."""
    found = []
    for verdict in verdicts:
        for recipe in verdict.recipes:
            found += [Ticket(verdict, recipe, d) for d, _ in verdict.evidence.ladder(recipe)]
    return found


def won(tickets: Sequence[Ticket]) -> str:
    """Return under how many recipes tickets win, and the sparsest of them."""
    controlled = any(map(attrgetter("is_controlled"), tickets))
    matching = list(filter(attrgetter("matches"), tickets))
    chosen = list(filter(attrgetter("wins"), matching)) if controlled else matching
    if not chosen:
        partly = f"; some do match it: {sparsest(matching)}" if matching else ""
        return f"No tickets are shown to {DOES[controlled]}{partly}."
    kinds = len(set(map(attrgetter("kind"), tickets)))
    settings = set(map(attrgetter("verdict.evidence.setting"), tickets))
    won_by = len(set(map(attrgetter("kind"), chosen)))
    of = f", under {won_by} of {kinds} {KINDS[len(settings) > 1]}" if kinds > 1 else ""
    return f"Tickets {DOES[controlled]}{of}: {sparsest(chosen)}{ALONE[controlled]}."


def sparsest(tickets: Sequence[Ticket]) -> str:
    """Return the sparsest of some tickets in words."""
    return min(tickets, key=attrgetter("density")).told


def worth(verdicts: Sequence[Verdict]) -> str:
    """Return how tickets stand beside dense networks that trained for longer, and whether the dense
    network is converged, at the shortest and the longest budget."""
    told = list[str]()
    for name, made in [*against(verdicts, COMPUTE).items(), *against(verdicts, CONVERGED).items()]:
        matched = list(filter(attrgetter("claim.holds"), made))
        kept = f": {sparsest(list(map(attrgetter('ticket'), matched)))}" if matched else ""
        told.append(f"{name} is matched by {len(matched)} of {len(made)} tickets{kept}")
    by_steps = sorted(map(attrgetter("evidence"), verdicts), key=attrgetter("steps"))
    told += dict.fromkeys(map(_budget, (by_steps[0], by_steps[-1])))
    sentence = "; ".join(told)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _budget(evidence: Evidence) -> str:
    """Return whether the dense network is converged, as a part of a sentence."""
    line = budget_line(evidence).removesuffix(".")
    return f"at {evidence.steps} steps, {line[0].lower()}{line[1:]}"


def _of(verdict: Verdict, rival: str) -> str:
    """Return the name of a rival in a verdict, whose own dense network may be the converged one."""
    is_own = comparators.converged(verdict.evidence) == verdict.evidence.steps
    return OWN if rival == CONVERGED and is_own else rival


def claims_on(verdicts: Sequence[Verdict], name: str = "", *, rival: str = "") -> list[Claimed]:
    """Return every ticket of which a claim was made, with the claim as it was tested: that of a
    `name`, or that it matches a `rival`."""
    found = []
    for ticket in places(verdicts):
        made = ticket.verdict.find(name or matches(_of(ticket.verdict, rival)), *ticket.place)
        if made:
            found.append(Claimed(ticket, made))
    return found


def against(verdicts: Sequence[Verdict], rival: str) -> dict[str, list[Claimed]]:
    """Return the claims that tickets match a rival, by its name, which settings may differ in."""
    found: dict[str, list[Claimed]] = {}
    for made in claims_on(verdicts, rival=rival):
        name = rival_names(made.ticket.verdict.evidence)[rival]
        found.setdefault(name, []).append(made)
    return found


def held(made: Sequence[Claimed]) -> int:
    """Return how many claims hold."""
    return sum(map(attrgetter("claim.holds"), made))


# one figure a claim


def evidence(verdicts: Sequence[Verdict]) -> Iterator[Section]:
    """Yield a section for each kind of claim on tickets: every ticket's mean with its interval."""
    before = [BELOW, INTERVALS]
    for name, title, made in kinds(verdicts):
        whole = list(filter(attrgetter("claim.statement.whole"), made))
        if whole:
            text = [*before, f"Shown of {held(made)} of {len(made)} tickets."]
            text += absent(len(made), len(whole))
            file = "_".join(["evidence", *name.split()])
            yield Section(file, title, text, figure=drawn(verdicts, whole))
            before = []


def kinds(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, str, list[Claimed]]]:
    """Yield each kind of claim in the order in which they are told: name, title of its figure, and
    the claims."""
    own = claims_on(verdicts, matches(OWN))
    yield matches(OWN), "Do tickets match their own dense network?", own
    for contrast in CONTRASTS:
        name = better(contrast.control)
        yield name, f"Are tickets better than {contrast.called}?", claims_on(verdicts, name)
    for rival in (COMPUTE, CONVERGED):
        for number, (called, made) in enumerate(against(verdicts, rival).items(), 1):
            name = matches(rival) if number == 1 else f"{matches(rival)} {number}"
            yield name, f"Do tickets match {called}?", made


def absent(made: int, whole: int) -> Iterator[str]:
    """Yield which tickets are not in a figure."""
    if made > whole:
        yield f"{made - whole} tickets have a planned seed without a number, and so no bound."
    if whole > MOST:
        yield f"The first {MOST} of {whole} are drawn; the table of claims has them all."


def drawn(verdicts: Sequence[Verdict], whole: Sequence[Claimed]) -> Intervals:
    """Return the figure of one kind of claim."""
    accurate = verdicts[0].evidence.accurate
    several = len(set(map(attrgetter("kind"), places(verdicts)))) > 1
    rows = []
    for ticket, claim in whole[:MOST]:
        rows.append(row(claim, label(verdicts, ticket, several), accurate))
    border = amount(whole[0].claim.statement.margin, accurate)
    return Intervals(UNITS[accurate], rows, border)


def row(made: Tested, name: str, accurate: bool) -> Interval:
    """Return the mean of a claim with the interval at the level of its test."""
    values = made.statement.finite
    low = -st.upper_bound(list(map(neg, values)), 1 - made.level)
    return Interval(
        name,
        mean=amount(made.statement.mean, accurate),
        low=amount(low, accurate),
        high=amount(made.bound, accurate),
        holds=made.holds,
    )


def amount(value: float, accurate: bool) -> float:
    """Return a difference in per cent or, of classifiers, in points of accuracy."""
    return 100 * (value if accurate else math.expm1(min(value, LARGEST)))


def label(verdicts: Sequence[Verdict], ticket: Ticket, several: bool) -> str:
    """Return what tells a ticket from the others of a page, which has `several` recipes or not."""
    settings = list(map(attrgetter("evidence"), verdicts))
    evidence = ticket.verdict.evidence
    parts = [evidence.recipes[ticket.recipe][ticket.density].recipe]
    parts *= several
    parts += [f"{evidence.steps} steps"] * (len(set(map(attrgetter("steps"), settings))) > 1)
    widths = {str(each.words.get(WIDTH)) for each in settings}
    channels = " ".join(map(str, evidence.words.get(WIDTH, Model().channels)))
    parts += [f"{channels} channels"] * (len(widths) > 1)
    return " ".join([*parts, f"density {ticket.density:.4g}"])
