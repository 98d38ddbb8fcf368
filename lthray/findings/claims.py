"""Claims: what a page says of its tickets, tested over seeds as one family.

At each recipe and density, a ticket is set beside the comparators of lthray.findings.comparators.
The value of a seed is how much worse its ticket is than a comparator of that seed.

    matches X       the mean is not inferior: it lies below the margin (Frankle et al. 2020)
    better than X   the mean lies below 0
    beaten by X     the mean lies above 0
    faster          the ticket needs fewer steps to its dense network's last loss
    X better than its other draw    a negative control: false, whatever the data say
    KID of X        the samples are not inferior to the dense network's under the sampler X

A grade has two words: which dense networks are matched, and what the controls show. A ticket that
is better than its shuffled mask shows that structure matters; one that is better than new weights
shows that the initialisation does (Frankle and Carbin 2019).

Four modules beside this one add to the family: lthray.findings.spaces where a study is in pixels
and in latents, accounts where it varies the rewind point, transfer where tickets come from
elsewhere, and robustness where that was measured.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lthray.core import metrics
from lthray.core.record import Outcome, Point, Round, TrialRecord
from lthray.findings import accounts, robustness, spaces, transfer
from lthray.findings.comparators import controls, converged, is_controlled, rivals, twins
from lthray.findings.contrasts import CONVERGED, LONGEST, NEEDED, OWN, RIVALS
from lthray.findings.evidence import Cell, Evidence, gather, panel_of, setting
from lthray.findings.evidence import recipe as recipe_of
from lthray.findings.floors import all_samplers, kid_margin, samplers, speed
from lthray.findings.power import level_of
from lthray.findings.registry import Place, Registry, Statement, Tested
from lthray.findings.rounds import Rounds, differences, kid_of, pairs_of

FEW = 5  # seeds below which every verdict says so
SAMPLERS = 2  # samplers under which samples must hold, at least
FASTER = "faster"
PER_RIVAL = 3  # claims against a dense network: matches, better, beaten
BOTH, NOTHING, UNTRIED = "both", "nothing", "not tried"


def matches(name: str) -> str:
    """Return the name of the claim that a ticket matches what is called `name`."""
    return f"matches {name}"


def better(name: str) -> str:
    """Return the name of the claim that a ticket is better than what is called `name`."""
    return f"better than {name}"


def beaten(name: str) -> str:
    """Return the name of the claim that a ticket is worse than what is called `name`."""
    return f"beaten by {name}"


def false(control: str) -> str:
    """Return the name of the claim that one draw of a control is better than another, which cannot
    be true."""
    return f"{control} better than its other draw"


def samples(sampler: str) -> str:
    """Return the name of the claim that a ticket's samples match the dense network's."""
    return f"KID of {sampler}"


def statements(evidence: Evidence, margin: float) -> Iterator[Statement]:
    """Yield every claim on the tickets that a setting has found.

    Which claims there are follows from what was planned, and from dense networks: what is their
    reference, and which KID has power. No ticket's outcome adds a claim or takes one away.
    """
    for recipe in transfer.found_here(evidence):
        for density, cell in evidence.ladder(recipe):
            place = evidence.place(recipe, density)
            yield from _on_loss(evidence, cell, place, margin)
            yield from _on_samples(evidence, cell, place)
            ratios = {seed: math.log(ratio) for seed, ratio in speed(evidence, cell).items()}
            if any(r.curve for r in evidence.dense.values()):
                yield Statement(FASTER, place, ratios, cell.planned)


def _on_loss(evidence: Evidence, cell: Cell, place: Place, margin: float) -> Iterator[Statement]:
    """Yield the claims on a ticket's loss, or on its accuracy."""
    for name, rounds in rivals(evidence, cell).items():
        worse = differences(cell.tickets, rounds, evidence.deciding)
        yield Statement(matches(name), place, worse, cell.planned, margin)
        yield Statement(better(name), place, worse, cell.planned)
        less = {seed: -value for seed, value in worse.items()}
        yield Statement(beaten(name), place, less, cell.planned)
    for contrast, rounds in controls(cell).items():
        worse = differences(cell.tickets, rounds, evidence.deciding)
        yield Statement(better(contrast.control), place, worse, cell.planned)
    for contrast, draws in twins(cell).items():
        worse = differences(*draws, evidence.deciding)
        yield Statement(false(contrast.control), place, worse, cell.planned)


def _on_samples(evidence: Evidence, cell: Cell, place: Place) -> Iterator[Statement]:
    """Yield the claims on the KID of a ticket's samples, of each sampler that has power.

    Where no ticket is left, all samplers and controls count as planned.
    """
    for sampler in samplers(cell) if cell.tickets else all_samplers(evidence):
        margin = kid_margin(evidence, sampler)
        if margin is None:
            continue
        worse = kids(evidence.dense, cell.tickets, sampler)
        yield Statement(samples(sampler), place, worse, cell.planned, margin)
        for contrast, rounds in controls(cell).items():
            worse, name = kids(rounds, cell.tickets, sampler), contrast.control
            if worse or not all((cell.tickets, rounds)):
                yield Statement(samples_better(sampler, name), place, worse, cell.planned)


def samples_better(sampler: str, control: str) -> str:
    """Return the name of the claim that a ticket's samples are better than those of a control."""
    return f"{samples(sampler)} better than {control}"


def kids(others: Rounds, tickets: Rounds, sampler: str) -> dict[int, float]:
    """Return by seed the KID of a ticket less that of another network, where both have it."""
    found = {}
    for seed in tickets.keys() & others.keys():
        for other, ticket in pairs_of(others, {seed: tickets[seed]}, kid_of(sampler)):
            found[seed] = ticket - other
    return found


@dataclass(frozen=True)
class Verdict:
    """What is claimed of one setting, of those that share a page."""

    evidence: Evidence
    registry: Registry
    """All claims of the page."""
    margin: float
    look: int = 1
    """How often these seeds, or a part of them, were looked at."""

    @property
    def claims(self) -> list[Tested]:
        """Every claim on this setting as it was tested."""
        own = self.evidence.place()
        return [tested for tested in self.registry if tested.statement.place[:2] == own]

    @property
    def recipes(self) -> list[str]:
        """The recipes whose tickets this setting has found; lthray.findings.transfer has others."""
        return transfer.found_here(self.evidence)

    @property
    def negatives(self) -> list[Tested]:
        """The claims on this setting that cannot be true: negative controls."""
        names = [false(contrast.control) for contrast in NEEDED]
        return [tested for tested in self.claims if tested.statement.name in names]

    def find(self, name: str, recipe: str, density: float) -> Tested | None:
        """Return a claim as it was tested; None where it was not made."""
        return self.registry.find(name, *self.evidence.place(recipe, density))

    def holds(self, name: str, recipe: str, density: float) -> bool:
        """Return whether a claim was made and holds."""
        return self.registry.holds(name, *self.evidence.place(recipe, density))

    def matched(self, recipe: str, density: float) -> list[str]:
        """Return the dense networks that a ticket matches.

        The longest trained one is called converged only where it is shown to be.
        """
        names = [name for name in RIVALS if self.holds(matches(name), recipe, density)]
        steps = converged(self.evidence)
        if steps is None:
            return [name.replace(CONVERGED, LONGEST) for name in names]
        if OWN in names and steps == self.evidence.steps:
            names.append(CONVERGED)  # they are one
        return names

    def shown(self, recipe: str, density: float) -> str:
        """Return what the controls show of a ticket: nothing, structure, initialisation, both."""
        if not is_controlled(self.evidence.recipes[recipe][density]):
            return UNTRIED
        holds = lambda contrast: self.holds(better(contrast.control), recipe, density)  # noqa: E731
        parts = [contrast.shows for contrast in NEEDED if holds(contrast)]
        return {0: NOTHING, len(NEEDED): BOTH}.get(len(parts), "".join(parts))

    def wins(self, recipe: str, density: float) -> bool:
        """Return whether a ticket matches its own dense network and beats both controls."""
        return OWN in self.matched(recipe, density) and self.shown(recipe, density) == BOTH

    def winning(self, recipe: str) -> list[float]:
        """Return the densities at which a recipe wins, densest first."""
        ladder = self.evidence.ladder(recipe)
        return [density for density, _ in ladder if self.wins(recipe, density)]

    def grade(self, recipe: str) -> str:
        """Return the two words of a recipe's best grade: "matches own at 0.1; controls: both".

        It is that of the sparsest density at which tickets win, else at which they match their own
        dense network, else of the sparsest that was tried.
        """
        tried = [density for density, _ in self.evidence.ladder(recipe)]
        matching = [density for density in tried if OWN in self.matched(recipe, density)]
        density = min(self.winning(recipe) or matching or tried)
        matched = " and ".join(self.matched(recipe, density)) or "none"
        return f"matches {matched} at {density:.4g}; controls: {self.shown(recipe, density)}"

    def grades(self, trials: Iterable[TrialRecord]) -> dict[str, str]:
        """Return by id of a trial the grade of its recipe, which is one for all its seeds; of the
        tickets alone that are judged here."""
        here = self.evidence.panel, self.evidence.setting
        recipes = {
            trial.id: recipe_of(trial)
            for trial in trials
            if trial.rounds and trial.point.is_ticket and (panel_of(trial), setting(trial)) == here
        }
        return {
            name: self.grade(recipe) for name, recipe in recipes.items() if recipe in self.recipes
        }

    def in_samples(self, recipe: str, density: float) -> bool | None:
        """Return whether samples match the dense network's and are better than the controls', under
        every sampler that has power; None where fewer than two have."""
        outcomes = []
        for sampler in samplers(self.evidence.recipes[recipe][density]):
            if self.find(samples(sampler), recipe, density) is None:
                continue
            names = [samples_better(sampler, contrast.control) for contrast in NEEDED]
            held = [self.holds(name, recipe, density) for name in (samples(sampler), *names)]
            outcomes.append(all(held))
        return all(outcomes) if len(outcomes) >= SAMPLERS else None


def best(verdicts: Iterable[Verdict]) -> Round | None:
    """Return the round of the sparsest ticket that wins or, where none does, that matches its own
    dense network: of its seeds the one of least loss. None where no ticket matches."""
    graded: list[tuple[bool, float, Cell]] = []
    for verdict in verdicts:
        for recipe in verdict.recipes:
            for density, cell in verdict.evidence.ladder(recipe):
                if verdict.holds(matches(OWN), recipe, density):
                    graded.append((verdict.wins(recipe, density), -density, cell))
    if not graded:
        return None
    _, _, cell = max(graded, key=lambda grade: grade[:2])
    return min(cell.tickets.values(), key=lambda r: r.metrics[metrics.HELDOUT.name])


def planned(points: Iterable[Point]) -> int:
    """Return how many claims, at least, a page will make on planned trials.

    It is known before any trial has run; what samples can tell is not, and is not counted.
    """
    lost = Outcome("failed")
    count = 0
    settings = gather(TrialRecord(str(i), p, lost, ()) for i, p in enumerate(points))
    for evidence in settings:
        cells = sum(len(evidence.recipes[recipe]) for recipe in transfer.found_here(evidence))
        count += cells * (1 + PER_RIVAL * (len(evidence.budgets) > 1))
    return count + len(family_of(settings, [evidence.margin for evidence in settings]))


def family_of(settings: Sequence[Evidence], margins: Sequence[float]) -> list[Statement]:
    """Return all claims on the settings of a study: of verdicts, on what spaces have in common, of
    accounts of what matches, of tickets from elsewhere and of robustness. `margins` are those of
    the verdicts."""
    family = list(spaces.statements(settings))
    for evidence, margin in zip(settings, margins, strict=True):
        border = margin if evidence.accurate else math.log1p(margin)
        for page in (statements, accounts.statements, transfer.statements, robustness.statements):
            family += page(evidence, border)
    return family


def judged(found: Iterable[Evidence], look: int = 1, times: float = 1.0) -> list[Verdict]:
    """Return the verdict on each setting of a study, all claims of its pages being one family.

    `look` counts how often these seeds were looked at; `times` multiplies the margin.
    """
    settings = list(found)
    margins = [times * each.margin for each in settings]
    registry = Registry(family_of(settings, margins), level_of(look))
    return [Verdict(e, registry, m, look) for e, m in zip(settings, margins, strict=True)]
