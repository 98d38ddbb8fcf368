"""Do tickets transfer, and what comes along: the mask, the weights, or what any ticket would bring?

    python analysis/transfer.py --experiment transfer.digits

At each density, a ticket from a source is set beside others on the target, on the same seeds.
Numbers are log-ratios of held-out losses; below zero the first network is better.

    - shuffled      its mask is worth more than its layer densities
    - unrelated     it is worth more than a ticket of scrambled images
    - native        how much worse it is than a ticket found on the target
    mask - shuffled the mask alone, over the target's own weights

A ticket transfers where it is better than its shuffled mask and matches the target's dense network.
It brings what this source knows where it is better than an unrelated ticket too. It transfers fully
where it is shown to be no worse, by the margin, than a native one. The efficiency of a ticket T is
(E - T) / (E - N): what it gains beside a random mask E, as a share of what the native ticket N
gains. It has an interval of Fieller (1954), and is told only where E - N is more than three
standard errors. All claims of the page are one family (Holm). Reads MLflow only; writes tables, a
figure and sentences to <out>/reports/<experiment>/.
"""

import math
import statistics as plain
import sys
from collections.abc import Iterator, Sequence

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.core import metrics
from lthray.findings import stats as st
from lthray.findings.claims import UNTRIED, Verdict, judged
from lthray.findings.evidence import gather
from lthray.findings.figures import Heat
from lthray.findings.formats import NONE, listed, percent
from lthray.findings.phrases import budget_line, images_of, noise
from lthray.findings.registry import Tested
from lthray.findings.sections import Section
from lthray.findings.transfer import (
    ALIGNED,
    FULL,
    LARGER,
    LEAK,
    MATCHES,
    SIGNED,
    STRUCTURE,
    UNRELATED,
    Lent,
    Transfer,
    place,
    transfers,
)
from lthray.findings.wording import cell_of, family
from lthray.tracking.read import Recorded

ORDER = 40  # place in a report
NOTHING = "no ticket of another trial (source.words) is recorded beside one that was found there"
SURE = 3.0  # standard errors of E - N from which an efficiency is told
HEAD = (
    "target", "source", "density", "seeds", "- dense", "- shuffled", "- unrelated", "- native",
    "efficiency [95 %]", "steps saved", "verdict",
)  # fmt: skip
PARTS = ("target", "source", "density", "mask - shuffled", "ticket - weights", "aligned - mask",
         "signed - mask", "- fewer images")  # fmt: skip


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    found = gather(recorded.of(call))
    return "" if any(transfers(evidence) for evidence in found) else NOTHING


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield what transfers and how far, then what comes along."""
    trials = recorded.of(call)
    verdicts = judged(gather(trials), recorded.look(trials))
    told = [(verdict, found) for verdict in verdicts if (found := transfers(verdict.evidence))]
    if not told:
        raise ConfigError([NOTHING])
    text, rows, parts = list[str](), [list(HEAD)], [list(PARTS)]
    for verdict, found in told:
        for source in found.sources:
            text += sentence(verdict, found, source)
            for density in found.densities(source):
                rows.append(row(verdict, found, source, density))
                parts.append(part(verdict, found, source, density))
    for verdict, found in told:
        own = [budget_line(verdict.evidence), *noise(verdict.evidence)]
        text += [f"On {target(found)}: {line}" for line in own]
    first = verdicts[0]
    text += [*positive(told), family(first.registry, first.look), recorded.provenance(trials)]
    title = "What transfers, and how far"
    drawn, said = figure(told), answer(told)
    yield Section("transfer", title, text, rows, drawn, verdict=True, answer=said)
    yield Section("parts", "What comes along", [*accounts(told)], parts)


def answer(told: Sequence[tuple[Verdict, Transfer]]) -> list[str]:
    """Return at how many places tickets transfer, and whether that is of a converged network."""
    words = []
    for verdict, found in told:
        for source in found.sources:
            words += [outcome(verdict, found, source, d) for d in found.densities(source)]
    tried = [word for word in words if word != UNTRIED]
    count = sum(word.startswith("transfers") for word in tried)
    verdict, found = told[0]
    return [
        f"Tickets are shown to transfer at {count} of {len(tried)} places, a place being a source, "
        "a target and a density.",
        f"On {target(found)}: {budget_line(verdict.evidence)}",
    ]


def target(found: Transfer) -> str:
    """Return the images, and the space, that tickets are brought to."""
    name = images_of(found.evidence)
    return name if found.evidence.space == "pixels" else f"{name} in latents"


def claim(
    verdict: Verdict, found: Transfer, source: Lent, density: float, name: str, taken: str = ""
) -> Tested | None:
    """Return a claim on what is taken of a source, its ticket unless said; None if not made."""
    if not taken:
        return verdict.registry.find(name, *place(found, source, density))
    recipe = source.recipes.get(taken)
    return verdict.find(name, recipe, density) if recipe else None


def cell(made: Tested | None) -> str:
    """Return a claim as tables of verdicts have it."""
    return cell_of(made, percent) if made else NONE


def row(verdict: Verdict, found: Transfer, source: Lent, density: float) -> list[str]:
    """Return how a source's ticket stands beside the others at a density."""
    rounds = found.rounds(source.run("ticket"), density)
    saved = [r.metrics.get(metrics.STEPS_SAVED.name, math.nan) for r in rounds.values()]
    names = (MATCHES, STRUCTURE, UNRELATED, FULL)
    made = [claim(verdict, found, source, density, name) for name in names]
    return [
        target(found),
        source.source.name,
        f"{density:.4g}",
        made[0].statement.seeds if made[0] else NONE,
        *map(cell, made),
        efficiency(found, source, density),
        f"{plain.fmean(saved):,.0f}" if saved else NONE,
        outcome(verdict, found, source, density),
    ]


def part(verdict: Verdict, found: Transfer, source: Lent, density: float) -> list[str]:
    """Return what comes along with a source's ticket at a density."""
    mask = claim(verdict, found, source, density, STRUCTURE, "mask")
    names = (LEAK, ALIGNED, SIGNED, LARGER)
    made = [claim(verdict, found, source, density, name) for name in names]
    return [target(found), source.source.name, f"{density:.4g}", *map(cell, (mask, *made))]


def efficiency(found: Transfer, source: Lent, density: float) -> str:
    """Return the share of a native ticket's gain that a source's ticket has, with its interval."""
    pairs = found.efficiency(source, density)
    if len(pairs) < 2:
        return NONE
    gained, possible = zip(*pairs, strict=True)
    error = plain.stdev(possible) / math.sqrt(len(possible))
    mean = plain.fmean(possible)
    if mean <= SURE * error:
        return "native gain not told"
    low, high = st.fieller(gained, possible)
    ends = f"{low:.2f}, {high:.2f}" if math.isfinite(high - low) else "unbounded"
    return f"{plain.fmean(gained) / mean:.2f} [{ends}]"


def outcome(verdict: Verdict, found: Transfer, source: Lent, density: float) -> str:
    """Return in a word or two how far a source's ticket transfers at a density."""

    def holds(name: str) -> bool:
        made = claim(verdict, found, source, density, name)
        return made is not None and made.holds

    if claim(verdict, found, source, density, STRUCTURE) is None:
        return UNTRIED  # without its shuffled mask
    if not (holds(MATCHES) and holds(STRUCTURE)):
        return "not shown to transfer"
    words = "transfers what this source knows" if holds(UNRELATED) else "transfers"
    return f"{words}, fully" if holds(FULL) else words


def sentence(verdict: Verdict, found: Transfer, source: Lent) -> list[str]:
    """Return at which densities a source's tickets transfer, and how far; nothing where that was
    not tried."""
    by_outcome: dict[str, list[float]] = {}
    for density in found.densities(source):
        word = outcome(verdict, found, source, density)
        by_outcome.setdefault(word, []).append(density)
    steps = verdict.evidence.steps
    told = [f"{word} at density {listed(each)}" for word, each in by_outcome.items()]
    if by_outcome.keys() == {UNTRIED}:
        return []
    return [f"At {steps} steps, from {source.source.name} to {target(found)}: {'; '.join(told)}."]


def positive(told: Sequence[tuple[Verdict, Transfer]]) -> list[str]:
    """Return whether larger sources transfer better: the positive control."""
    return counted(
        told, LARGER, "tickets of the whole source are better than those of a part of it"
    )


def accounts(told: Sequence[tuple[Verdict, Transfer]]) -> Iterator[str]:
    """Yield how often the mask alone is worth something, and whether aligning or signs lift it."""
    yield from counted(told, STRUCTURE, "the mask alone is better than its shuffled mask", "mask")
    yield from counted(told, LEAK, "a ticket is better than its weights under a random mask")
    yield from counted(told, ALIGNED, "a mask is better when it is permuted to the target")
    yield from counted(told, SIGNED, "a mask is better with the signs and norms of its source")


def counted(
    told: Sequence[tuple[Verdict, Transfer]], name: str, what: str, taken: str = ""
) -> list[str]:
    """Return at how many places a claim holds, of those where it was made; none where at none."""
    held = []
    for verdict, found in told:
        for source in found.sources:
            for density in found.densities(source):
                made = claim(verdict, found, source, density, name, taken)
                held += [made.holds] if made else []
    if not held:
        return []
    return [f"At {sum(held)} of {len(held)} places it is shown that {what}."]


def figure(told: Sequence[tuple[Verdict, Transfer]]) -> Heat:
    """Return how much worse transferred tickets are than native ones, by source and density."""
    rows, values = list[str](), list[list[float]]()
    densities = sorted({d for _, found in told for s in found.sources for d in found.densities(s)})
    for verdict, found in told:
        for source in found.sources:
            rows.append(f"{source.source.name} to {target(found)}")
            means = []
            for density in reversed(densities):
                made = claim(verdict, found, source, density, FULL)
                means.append(100 * math.expm1(made.statement.mean) if made else math.nan)
            values.append(means)
    columns = [f"{density:.4g}" for density in reversed(densities)]
    return Heat("density", "per cent worse than a native ticket", columns, rows, values)


if __name__ == "__main__":
    sys.exit(analysis("transfer", __doc__ or "", sections))
