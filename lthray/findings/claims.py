"""Claims: tests over seeds of when a ticket is winning, and the grade that they give together.

Per seed, d is the paired excess of the ticket's held-out loss over its own dense network. Over
seeds, at a density:

    1 matching   d is not inferior: its upper one-sided 95 % bound is below the margin
                 (Frankle et al. 2020)
    2            and the mask shuffled within its layers is worse (structure matters)
    3 winning    and the same mask over new weights is worse
                 (initialisation matters; Frankle and Carbin 2019)
    4            and the samples' KID is not inferior under every sampler that was used, at least
                 two, and a small dense network is worse

Every part is tested at 5 %; a conjunction of such parts needs no correction (intersection-union;
Berger 1982).
"""

import math
import statistics as plain
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from lthray.core import metrics
from lthray.core.record import Round
from lthray.findings import stats as st
from lthray.findings.evidence import POINTS, TICKET, Cell, Evidence, worse
from lthray.findings.rounds import heldout_curve, kid_of, paired, pairs_of, samplers_of, values_of

ALPHA = 0.05
FEW = 5  # seeds below which every verdict says so
GAIN = 0.03  # of the loss: a dense network that twice the steps improve by more is undertrained
BORDER = 2  # standard errors around the margin within which one seed decides nothing
SAMPLERS = 2  # samplers under which samples must hold, at least

MATCHING, BETTER, FASTER = "matching", "better", "faster"
GRADES = ("none", "matching", "structure matters", "winning", "winning in samples")


@dataclass(frozen=True)
class Contrast:
    """A claim that the ticket has a lower loss than what a control puts in its place."""

    claim: str
    control: str
    heading: str
    """Head of its column in a verdict."""
    margins: float = 0.0
    """By how many margins the ticket may be worse where the claim is that it matches."""


STRUCTURE = Contrast("structure", "shuffle", "- shuffled")
INITIALISATION = Contrast("initialisation", "reinit", "- reinit")
SMALL = Contrast("small", "small_dense", "- small dense")
CONTRASTS = (STRUCTURE, INITIALISATION, SMALL)
EQUAL = Contrast("equal", "equal_compute", "- equal compute", margins=1)
"""Of this control the claim is that the ticket matches it."""
CONFIRMED = (MATCHING, STRUCTURE.claim, INITIALISATION.claim)  # what together is winning
NEEDED = (STRUCTURE.control, INITIALISATION.control)  # controls without which nothing can win


@dataclass(frozen=True)
class Claim:
    """One test over seeds."""

    name: str
    values: tuple[float, ...]
    """One number per seed."""
    margin: float
    """The claim is that the mean is below it."""
    holds: bool
    sampler: str = ""
    """Sampler whose KID the claim is about; empty for a claim about the loss or the steps."""
    whole: bool = True
    """Whether no trial that it is about failed. Else it does not hold: a failure is the worst
    outcome."""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return plain.fmean(self.values)

    @property
    def finite(self) -> bool:
        """Whether every seed has a finite value."""
        return all(map(math.isfinite, self.values))

    @property
    def interval(self) -> st.Interval:
        """Two-sided 95 % t-interval of the mean."""
        return st.t_interval(self.values)

    @property
    def p(self) -> float:
        """One-sided p of the t-test; 1 where a trial failed."""
        return st.t_test(self.values, "less", shift=self.margin) if self.whole else 1.0

    @property
    def p_flip(self) -> float:
        """One-sided p of sign flips, which fewer than five seeds can never make significant."""
        return st.sign_flip(self.values, "less", shift=self.margin)


def claims(evidence: Evidence, cell: Cell, margin: float | None = None) -> dict[str, Claim]:
    """Return every claim that the arms of a cell allow, by name; each needs two seeds."""
    margin = evidence.margin if margin is None else margin
    ticket = cell.excess(TICKET)
    whole = cell.whole(TICKET)
    tested = [
        _claim(MATCHING, ticket.values(), margin, whole=whole),
        _claim(BETTER, ticket.values(), whole=whole),
        _claim(FASTER, map(math.log, speed(evidence, cell)), whole=whole),
    ]
    for contrast in (*CONTRASTS, EQUAL):
        differences = paired(ticket, cell.excess(contrast.control)).values()
        both = cell.whole(TICKET, contrast.control)
        border = contrast.margins * margin
        tested.append(_claim(contrast.claim, differences, border, whole=both))
    for sampler in samplers(cell):
        tested.append(_kid_claim(evidence, cell, sampler))
    return {claim.name: claim for claim in tested if len(claim.values) > 1}


def _kid_claim(evidence: Evidence, cell: Cell, sampler: str) -> Claim:
    """Return the claim that tickets have a larger KID than dense networks by chance at most."""
    kid = kid_of(sampler)
    pairs = pairs_of(evidence.dense, cell.tickets, kid)
    differences = [ticket - dense for dense, ticket in pairs]
    floor, whole = evidence_floor(evidence, kid), cell.whole(TICKET)
    return _claim(sampler, differences, floor, sampler, whole=whole)


def _claim(
    name: str,
    values: Iterable[float],
    margin: float = 0.0,
    sampler: str = "",
    *,
    whole: bool,
) -> Claim:
    numbers = tuple(values)
    testable = whole and len(numbers) > 1 and all(map(math.isfinite, numbers))
    holds = testable and st.non_inferior(numbers, margin, alpha=ALPHA)
    return Claim(name, numbers, margin, holds, sampler, whole)


def grade(tested: Mapping[str, Claim]) -> int:
    """Return the grade, 0 to 4, that claims give together; see the head of this file.

    A claim that was not tested does not hold.
    """
    outcomes = sampled(tested)
    in_samples = len(outcomes) >= SAMPLERS and all(outcomes) and holds(tested, SMALL.claim)
    parts = [holds(tested, name) for name in CONFIRMED]
    return st.fixed_sequence([*parts, in_samples])


def holds(tested: Mapping[str, Claim], name: str) -> bool:
    """Return whether a claim was tested and holds."""
    return name in tested and tested[name].holds


def sampled(tested: Mapping[str, Claim]) -> list[bool]:
    """Return whether the claim about samples holds, for each sampler that was used."""
    return [claim.holds for claim in tested.values() if claim.sampler]


def samplers(cell: Cell) -> list[str]:
    """Return the samplers whose KID was taken of the tickets."""
    return samplers_of(cell.tickets.values())


def all_samplers(evidence: Evidence) -> list[str]:
    """Return the samplers whose KID was taken of any dense network or ticket."""
    rounds = list(evidence.dense.values())
    for cell in evidence.cells:
        rounds += cell.tickets.values()
    return samplers_of(rounds)


def speed(evidence: Evidence, cell: Cell) -> list[float]:
    """Return per seed a ticket's steps to its dense network's last loss, over the network's own.

    inf where a ticket never is. Both curves are of the same part of the evaluation set.
    """
    ratios = []
    for seed, r in cell.tickets.items():
        dense, ticket = heldout_curve(evidence.dense[seed]), heldout_curve(r)
        if dense and ticket:
            target = dense[-1][1]
            ratios.append(st.steps_to(ticket, target) / st.steps_to(dense, target))
    return ratios


def wins(evidence: Evidence, cell: Cell, margin: float | None = None) -> dict[int, bool | None]:
    """Return by seed whether d is below the margin and below both controls of its own.

    None where both controls are beaten but d is within two standard errors of the margin.
    """
    margin = evidence.margin if margin is None else margin
    shuffled = cell.excess(STRUCTURE.control)
    fresh = cell.excess(INITIALISATION.control)
    outcomes: dict[int, bool | None] = {}
    for seed, r in cell.tickets.items():
        if seed not in shuffled or seed not in fresh:
            continue
        d, error = worse(r)
        beats_both = d < min(shuffled[seed], fresh[seed])
        outcomes[seed] = beats_both and d < margin
        if beats_both and abs(d - margin) < BORDER * error:
            outcomes[seed] = None
    return outcomes


def evidence_floor(evidence: Evidence, metric: str) -> float:
    """Return the 95 % quantile of a metric's difference between dense networks: chance alone.

    Pairs are dense networks that differ in the stream alone, and those of different seeds. Of a
    loss the difference is relative.
    """
    relative = metric == metrics.HELDOUT.name
    differences = []
    for one, other in _dense_pairs(evidence):
        a, b = one.metrics.get(metric), other.metrics.get(metric)
        if a is not None and b is not None:
            differences.append((a - b) / b if relative else a - b)
    return st.noise_floor(differences) if differences else 0.0


def _dense_pairs(evidence: Evidence) -> list[tuple[Round, Round]]:
    pairs = []
    for seed, r in evidence.again.items():
        if seed in evidence.dense:
            pairs.append((r, evidence.dense[seed]))
    return pairs + list(combinations(evidence.dense.values(), 2))


def undertrained(evidence: Evidence) -> tuple[bool | None, list[float]]:
    """Return whether dense networks are undertrained, and what twice the steps change by seed.

    They are where twice the steps lower the dense loss by 3 % or more or, of a classifier, raise
    accuracy by the margin.
    """
    changes = []
    for seed, r in evidence.dense.items():
        if seed in evidence.longer:
            now = r.metrics[evidence.deciding]
            later = evidence.longer[seed].metrics[evidence.deciding]
            changes.append(later - now if evidence.accurate else later / now - 1)
    if not changes:
        return None, changes
    mean = plain.fmean(changes)
    return mean >= POINTS if evidence.accurate else mean <= -GAIN, changes


def worth(evidence: Evidence, margin: float | None = None) -> float:
    """Return the share of its last steps in which a dense network gains the margin, on average.

    nan where no curve was recorded.
    """
    margin = evidence.margin if margin is None else margin
    shares = []
    for r in evidence.dense.values():
        if r.curve:
            shares.append(st.step_equivalent(heldout_curve(r), margin))
    return plain.fmean(shares) if shares else math.nan


def sparsest(evidence: Evidence, recipe: str, margin: float | None = None) -> float | None:
    """Return the lowest density down to which a recipe matches at every rung; None: at no rung.

    Rungs are a fixed sequence, so that all together err in 5 %.
    """
    rungs = evidence.ladder(recipe)
    matching = []
    for _, cell in rungs:
        matching.append(holds(claims(evidence, cell, margin), MATCHING))
    matched = st.fixed_sequence(matching)
    return rungs[matched - 1][0] if matched else None


def winning(evidence: Evidence, recipe: str, margin: float | None = None) -> list[float]:
    """Return the densities at which a recipe wins, of those that have controls.

    Matching, structure and initialisation hold together, adjusted over these rungs (Holm), so that
    all together err in 5 %. Rungs are no fixed sequence: where little is cut a ticket matches but
    has nothing yet to beat a shuffled mask by; where much is cut it is the other way round.
    """
    p: dict[float, float] = {}
    for density, cell in evidence.ladder(recipe):
        tested = claims(evidence, cell, margin)
        if tested.keys() >= set(CONFIRMED):
            p[density] = max(tested[name].p for name in CONFIRMED)
    adjusted = st.holm(list(p.values()))
    return [density for density, value in zip(p, adjusted, strict=True) if value < ALPHA]


def lead(evidence: Evidence, name: str) -> dict[str, float]:
    """Return by how much the given network `name` is worse than the dense ones, mean over seeds.

    "matching" is relative loss, or accuracy of a classifier; a sampler's name is KID.
    """
    own = evidence.given[name].metrics
    dense = list(evidence.dense.values())
    value, others = own[evidence.deciding], values_of(dense, evidence.deciding)
    if evidence.accurate:
        behind = {MATCHING: plain.fmean(other - value for other in others)}
    else:
        behind = {MATCHING: plain.fmean(value / other - 1 for other in others)}
    for sampler in all_samplers(evidence):
        kid = kid_of(sampler)
        kids = values_of(dense, kid)
        if kid in own and kids:
            behind[sampler] = own[kid] - plain.fmean(kids)
    return behind
