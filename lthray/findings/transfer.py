"""Tickets from elsewhere: what comes along with a ticket that was found on other images, from
another seed, at another depth or in another space.

At a source and a density, the value of a seed is how much worse one network is than another:

    matches own             a transferred ticket matches the dense network of the target
    better than shuffle     of a transferred ticket: its mask is worth more than its layer
                            densities and the weights that came with it; of a mask alone,
                            over the target's own weights, than its layer densities
    better than unrelated   than a ticket of scrambled images: it is worth more than any ticket
    full transfer           it is not inferior, by the margin, to a ticket that is found here
    better than weights     than the weights of the source under a random mask of the layer
                            densities found here: more than what training elsewhere leaks
    aligned better, signed better    than the mask alone
    larger source better    than a ticket from the same source with fewer images (Morcos et al.
                            2019, arXiv 1906.02773): a positive control

These are all claims that are made of a ticket from elsewhere.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lthray.config.spec import part_of
from lthray.config.transfer import Source
from lthray.findings.evidence import TICKET, Evidence
from lthray.findings.registry import Place, Statement
from lthray.findings.rounds import Rounds, differences

RANDOM = {"prune.budget": "erk", "prune.criterion": "random"}
"""Words of a mask from nowhere, over the target's own weights."""
SHUFFLED = "shuffle"
SHOWN = {"ticket": True, "mask": False}
"""What is taken of a source and set beside its shuffled masks -> whether it is to match, too."""
MATCHES, STRUCTURE = "matches own", "better than shuffle"
UNRELATED, FULL, LEAK = "better than unrelated", "full transfer", "better than weights"
ALIGNED, SIGNED, LARGER = "aligned better", "signed better", "larger source better"
SCRAMBLED, SHARE = "data.scrambled", "data.fraction"
"""Words of a source of which nothing can be learnt, and of one with fewer images."""


@dataclass(frozen=True)
class Run:
    """What was trained: an arm of a recipe."""

    recipe: str
    arm: str = TICKET


NOWHERE = Run("")


@dataclass(frozen=True)
class Lent:
    """What was recorded of one source, in one setting."""

    source: Source
    recipes: dict[str, str] = field(default_factory=dict)
    """What is taken of it (ticket, mask, weights, signs, aligned) -> recipe."""

    def run(self, taken: str, arm: str = TICKET) -> Run:
        """Return what was trained of what is taken of it."""
        return Run(self.recipes.get(taken, ""), arm)


@dataclass(frozen=True)
class Transfer:
    """All transfers to one setting, beside the ticket that is found there."""

    evidence: Evidence
    native: str
    """Recipe of the ticket that is found here."""
    sources: tuple[Lent, ...]
    """Where tickets come from, but for unrelated sources."""
    unrelated: tuple[Lent, ...]
    """Sources of which nothing can be learnt; one at most."""
    random: str
    """Recipe of random masks, over the target's own weights; it need not be recorded."""

    def rounds(self, run: Run, density: float) -> Rounds:
        """Return the rounds of a run by seed; none where it was not to be."""
        cell = self.evidence.recipes.get(run.recipe, {}).get(density)
        return cell.arms.get(run.arm, {}) if cell else {}

    def planned(self, run: Run, density: float) -> bool:
        """Return whether a run was made, or was to be."""
        cell = self.evidence.recipes.get(run.recipe, {}).get(density)
        return cell is not None and run.arm in cell.planned_arms

    def densities(self, source: Lent) -> list[float]:
        """Return the densities at which its tickets were trained, densest first."""
        return [density for density, _ in self.evidence.ladder(source.recipes["ticket"])]

    def worse(self, first: Run, second: Run, density: float) -> dict[int, float]:
        """Return by seed how much worse one network is than another."""
        rounds = self.rounds(first, density), self.rounds(second, density)
        return differences(*rounds, self.evidence.deciding)

    def contrasts(self, source: Lent, density: float) -> dict[str, dict[int, float]]:
        """Return claim -> by seed how much worse the first network is than the second, of those
        claims for which both were run, or were to be."""
        ticket, mask = source.run("ticket"), source.run("mask")
        smaller = self.smaller(source)
        pairs = {
            UNRELATED: (ticket, self.unrelated[0].run("ticket") if self.unrelated else NOWHERE),
            FULL: (ticket, Run(self.native)),
            LEAK: (ticket, source.run("weights", SHUFFLED)),
            ALIGNED: (source.run("aligned"), mask),
            SIGNED: (source.run("signs"), mask),
            LARGER: (ticket, smaller.run("ticket") if smaller else NOWHERE),
        }
        found = {}
        for name, pair in pairs.items():
            if all(self.planned(run, density) for run in pair):
                found[name] = self.worse(*pair, density)
        return found

    def smaller(self, lent: Lent) -> Lent | None:
        """Return the source that is this one with fewer images, if it was run."""
        for other in self.sources:
            words = tuple(pair for pair in other.source.words if pair[0] != SHARE)
            if other is not lent and replace(other.source, words=words) == lent.source:
                return other
        return None

    def efficiency(self, source: Lent, density: float) -> list[tuple[float, float]]:
        """Return by seed (E - T, E - N): what a transferred ticket, and one found here, gain beside
        a random mask; empty unless all three were run."""
        random = Run(self.random)
        gained = self.worse(random, source.run("ticket"), density)
        possible = self.worse(random, Run(self.native), density)
        return [(gained[seed], possible[seed]) for seed in gained if seed in possible]


def transfers(evidence: Evidence) -> Transfer | None:
    """Return the transfers to a setting; None where there are none, or several ways to find the
    ticket that they stand beside."""
    found: dict[Source, Lent] = {}
    natives = set[str]()
    for recipe in filter(is_lent, evidence.recipes):
        words = json.loads(recipe)
        said = {word: words.pop(word) for word in list(words) if word.startswith("source.")}
        taken = part_of(Source, "source", said)
        where = replace(taken, takes="ticket", align="none")
        found.setdefault(where, Lent(where)).recipes[taken.taken] = recipe
        natives.add(json.dumps(words, sort_keys=True))
    tickets = [lent for lent in found.values() if "ticket" in lent.recipes]
    if len(natives) != 1 or not tickets:
        return None
    (native,) = natives
    unrelated = tuple(lent for lent in tickets if SCRAMBLED in dict(lent.source.words))
    return Transfer(
        evidence,
        native,
        tuple(lent for lent in tickets if lent not in unrelated),
        unrelated,
        json.dumps(json.loads(native) | RANDOM, sort_keys=True),
    )


def is_lent(recipe: str) -> bool:
    """Return whether the tickets of a recipe come from another trial."""
    return '"source.' in recipe


def found_here(evidence: Evidence) -> list[str]:
    """Return the recipes whose tickets a setting has found itself."""
    return [recipe for recipe in evidence.recipes if not is_lent(recipe)]


def statements(evidence: Evidence, margin: float) -> Iterator[Statement]:
    """Yield the claims on the tickets that a setting was lent.

    `margin` is that of the verdict, in units of `differences`.
    """
    found = transfers(evidence)
    if found is None:
        return
    for lent in (*found.sources, *found.unrelated):
        for taken in filter(lent.recipes.__contains__, SHOWN):
            yield from _beside(evidence, lent.recipes[taken], SHOWN[taken], margin)
    for source in found.sources:
        for density, cell in evidence.ladder(source.recipes["ticket"]):
            for name, worse in found.contrasts(source, density).items():
                at, border = place(found, source, density), margin if name == FULL else 0.0
                yield Statement(name, at, worse, cell.planned, border)


def _beside(evidence: Evidence, recipe: str, matched: bool, margin: float) -> Iterator[Statement]:
    """Yield the claims that lent tickets match the dense network, if they are to be `matched`, and
    that they are better than their shuffled masks, if these were run."""
    for density, cell in evidence.ladder(recipe):
        at = evidence.place(recipe, density)
        if matched:
            worse = differences(cell.tickets, evidence.dense, evidence.deciding)
            yield Statement(MATCHES, at, worse, cell.planned, margin)
        if SHUFFLED in cell.planned_arms:
            worse = differences(cell.tickets, cell.arms.get(SHUFFLED, {}), evidence.deciding)
            yield Statement(STRUCTURE, at, worse, cell.planned)


def place(found: Transfer, source: Lent, density: float) -> Place:
    """Return what the claims on a source at a density are about."""
    return found.evidence.place(source.recipes["ticket"], density)
