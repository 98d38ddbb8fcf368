"""Does what holds in pixels (DDPM) hold in latents (LDM)? Interaction and equivalence, not two
separate p-values.

    python analysis/architectures.py --experiment architectures.digits

Losses of the two spaces cannot be compared, so what is compared is relative: d, the excess over the
own dense network, by seed. At each density the spaces are equivalent where d(latents) - d(pixels)
is shown to lie within the margin on both sides (two one-sided tests; Schuirmann 1987). The
interaction is how much that difference changes from the first rung to the last. It is tested in
that way too. These tests are of one family with the verdicts on both spaces. What holds generalises
where tickets win in both spaces at one density and the interaction is equivalent to none. Reads
MLflow only; writes tables, a figure and sentences to <out>/reports/<experiment>/.
"""

import math
import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.config.parts import Objective
from lthray.core import metrics
from lthray.core.record import TrialRecord
from lthray.findings.charts import excess_lines
from lthray.findings.claims import Verdict, judged
from lthray.findings.evidence import TICKET, Cell, Evidence, comparable, gather
from lthray.findings.figures import DENSITY, Line, Lines
from lthray.findings.floors import samplers
from lthray.findings.formats import NONE, listed, series
from lthray.findings.phrases import budget_line
from lthray.findings.registry import Registry
from lthray.findings.rounds import EXTRACTOR, MARGIN, kid_of, matches, pairs_of
from lthray.findings.sections import Section
from lthray.findings.spaces import (
    BETTER,
    INTERACTION,
    SPACES,
    WORSE,
    Cells,
    by_space,
    cells_of,
    differences,
    interaction,
    shared,
    shared_recipes,
)
from lthray.findings.wording import family
from lthray.tracking.read import Recorded

ORDER = 30  # place in a report
NOISE = "epsilon"  # objective.prediction under which answering zero has a loss of 1
HEAD = (
    "density", "seeds", "pixels", "wins", "latents", "wins",
    "latents - pixels [bounds]", "equivalent", "skill kept",
)  # fmt: skip
ONE_SPACE = "no recipe is recorded in one setting of pixels and one of latents"


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    return "" if shared_recipes(by_space(settings_of(recorded.of(call)))) else ONE_SPACE


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield for every recipe that is recorded in both spaces a comparison of losses and one of
    samples."""
    trials = recorded.of(call)
    settings = settings_of(trials)
    evidence = by_space(settings)
    recipes = shared_recipes(evidence)
    if not recipes:
        raise ConfigError([ONE_SPACE])
    verdicts = {v.evidence.space: v for v in judged(settings, recorded.look(trials))}
    for i, recipe in enumerate(recipes):
        cells = cells_of(evidence, recipe)
        suffix = f"_{i}" if i else ""
        yield Section(
            f"spaces{suffix}",
            "Excess over dense in both spaces",
            [*sentences(verdicts, recipe), recorded.provenance(trials)],
            table(verdicts, recipe),
            figure(cells),
            answer=answer(verdicts, recipe),
        )
        yield Section(
            f"samples{suffix}",
            "Samples, as images, in both spaces",
            floors(evidence),
            samples(evidence, cells),
        )


def answer(verdicts: Mapping[str, Verdict], recipe: str) -> list[str]:
    """Return at which densities tickets win in each space, and whether one carries over to the
    other."""
    cells = cells_of({space: verdict.evidence for space, verdict in verdicts.items()}, recipe)
    won = {space: verdicts[space].winning(recipe) for space in SPACES}
    told = [f"at {listed(won[space]) or 'no density'} in {space}" for space in SPACES]
    common = any(density in won["latents"] for density in won["pixels"])
    lines = generalising(verdicts["pixels"].registry, cells, recipe, common)
    return [f"Tickets match their dense network and beat both controls {series(told)}.", *lines]


def settings_of(trials: Sequence[TrialRecord]) -> list[Evidence]:
    """Return what was recorded of each setting."""
    return gather(comparable(trials))


def skill(evidence: Evidence, cell: Cell) -> list[float]:
    """Return by seed (1 - L) / (1 - L_dense): a loss of 1 is that of answering zero where unit
    noise is asked for."""
    loss = metrics.HELDOUT.name
    kept = []
    for seed, r in cell.tickets.items():
        kept.append((1 - r.metrics[loss]) / (1 - evidence.dense[seed].metrics[loss]))
    return kept


def failing(evidence: Evidence, cells: Cells) -> list[bool]:
    """Return for each planned seed whether its ticket does not match at some rung, or has none."""
    outcomes = []
    for seed in evidence.dense:
        rungs = [cell.tickets.get(seed) for cell in cells.values()]
        outcomes.append(not all(r is not None and matches(r) for r in rungs))
    return outcomes


def table(verdicts: Mapping[str, Verdict], recipe: str) -> list[list[str]]:
    """Return a row per density, and the interaction last."""
    evidence = {space: verdict.evidence for space, verdict in verdicts.items()}
    cells, registry = cells_of(evidence, recipe), verdicts["pixels"].registry
    rows = [list(HEAD)]
    for density in shared(cells):
        row = [f"{density:.4g}", str(len(differences(cells, density)))]
        for space in SPACES:
            cell = cells[space][density]
            mean = NONE
            if cell.tickets:
                mean = f"{plain.fmean(cell.excess(TICKET).values()):+.2%}"
            row += [mean, "wins" if verdicts[space].wins(recipe, density) else NONE]
        row += compared(registry, recipe, density)
        rows.append([*row, " / ".join(kept(evidence, cells, density))])
    seeds = str(len(interaction(cells)))
    change = compared(registry, recipe, INTERACTION)
    rows.append([INTERACTION, seeds, "", "", "", "", *change, ""])
    return rows


def kept(evidence: Mapping[str, Evidence], cells: Mapping[str, Cells], density: float) -> list[str]:
    """Return the mean skill over the dense network's, in pixels and in latents.

    A loss has a zero of skill only where noise is asked for.
    """
    words = evidence["pixels"].words
    if words.get("objective.prediction", Objective().prediction) != NOISE:
        return [NONE]
    skills = (skill(evidence[space], cells[space][density]) for space in SPACES)
    return [f"{plain.fmean(values):.3f}" if values else NONE for values in skills]


def compared(registry: Registry, recipe: str, at: str | float) -> list[str]:
    """Return the mean of a comparison with its bounds, and whether it is equivalent to none."""
    worse = registry.find(WORSE, recipe, at)
    if worse is None or len(worse.statement.finite) < 2:
        return [NONE, NONE]
    mean = f"{worse.statement.mean:+.2%}"
    if worse.statement.whole:
        low, high = bounds(registry, recipe, at)
        mean += f" [{low:+.2%}, {high:+.2%}]"
    return [mean, "yes" if equivalent(registry, recipe, at) else "not shown"]


def bounds(registry: Registry, recipe: str, at: str | float) -> tuple[float, float]:
    """Return between what a comparison lies, each end at the level of its test."""
    better, worse = registry.find(BETTER, recipe, at), registry.find(WORSE, recipe, at)
    assert better is not None
    assert worse is not None
    return -better.bound, worse.bound


def equivalent(registry: Registry, recipe: str, at: str | float) -> bool:
    """Return whether a comparison is shown to lie within the margin on both sides of zero."""
    return all(registry.holds(name, recipe, at) for name in (WORSE, BETTER))


def figure(cells: Mapping[str, Cells]) -> Lines:
    """Return tickets and their controls in both spaces, as curves over density."""
    lines: list[Line] = []
    for space in SPACES:
        lines += excess_lines(cells[space], f", {space}")
    return Lines(DENSITY, "excess over the own dense network", lines, level=MARGIN)


def sentences(verdicts: Mapping[str, Verdict], recipe: str) -> list[str]:
    """Return where tickets win, whether that generalises, how many fail, and how long dense
    networks were trained."""
    evidence = {space: verdict.evidence for space, verdict in verdicts.items()}
    cells = cells_of(evidence, recipe)
    won = {space: verdicts[space].winning(recipe) for space in SPACES}
    one = verdicts["pixels"]
    at = {space: listed(densities) or "no density" for space, densities in won.items()}
    lines = [
        f"Tickets match their dense network and beat both controls at {at['pixels']} in pixels "
        f"and at {at['latents']} in latents. {family(one.registry, one.look)}"
    ]
    common = any(density in won["latents"] for density in won["pixels"])
    lines += generalising(one.registry, cells, recipe, common)
    lines.append(survival(evidence, cells))
    for space in SPACES:
        lines.append(f"In {space}: {budget_line(evidence[space])}")
    return lines


def generalising(
    registry: Registry, cells: Mapping[str, Cells], recipe: str, common: bool
) -> list[str]:
    """Return whether what holds in pixels holds in latents; `common`: tickets win in both at one
    density."""
    change = list(interaction(cells).values())
    if len(change) < 2:
        return []
    flat = equivalent(registry, recipe, INTERACTION)
    verdict = "generalises" if common and flat else "is not shown to generalise"
    shown = "equivalent to none" if flat else "not shown to be equivalent to none"
    low, high = bounds(registry, recipe, INTERACTION)
    told = f" (bounds {low:+.2%} and {high:+.2%})" if math.isfinite(high) else ""
    densities = shared(cells)
    return [
        f"From density {densities[0]:.4g} to {densities[-1]:.4g} the difference between the spaces "
        f"changes by {plain.fmean(change):+.2%}{told}, {shown} within {MARGIN:.0%}: what holds in "
        f"pixels {verdict} to latents."
    ]


def survival(evidence: Mapping[str, Evidence], cells: Mapping[str, Cells]) -> str:
    """Return how many trajectories fail to match at some rung in each space."""
    counts = []
    for space in SPACES:
        outcomes = failing(evidence[space], cells[space])
        counts.append(f"{sum(outcomes)} of {len(outcomes)} in {space}")
    return f"Trajectories that fail to match at some rung: {', '.join(counts)}."


def floors(evidence: Mapping[str, Evidence]) -> list[str]:
    """Return what the autoencoder alone loses."""
    error = metrics.FLOOR_MSE.name
    kid = metrics.FLOOR.of(name=f"kid_{EXTRACTOR}")
    for r in evidence["latents"].dense.values():
        if error in r.metrics:
            return [
                f"Images that only went through the autoencoder have KID {r.metrics[kid]:+.4f} "
                f"and a mean squared error of {r.metrics[error]:.4f} (range 2): "
                "no sampler of latents can be expected to do better."
            ]
    return ["No samples were taken."]


def samples(evidence: Mapping[str, Evidence], cells: Mapping[str, Cells]) -> list[list[str]]:
    """Return KID of dense networks and tickets, decoded, by sampler.

    The ratio is a geometric mean over seeds where both are positive.
    """
    rows = [["space", "sampler", "density", "dense", "ticket", "ratio", "seeds"]]
    for space in SPACES:
        for density, cell in sorted(cells[space].items(), reverse=True):
            for sampler in samplers(cell):
                pairs = pairs_of(evidence[space].dense, cell.tickets, kid_of(sampler))
                rows.append([space, sampler, f"{density:.4g}", *_compared_kid(pairs)])
    return rows


def _compared_kid(pairs: Sequence[tuple[float, float]]) -> list[str]:
    """Return mean KID of dense networks and of tickets, their mean ratio, and its number of
    seeds."""
    means = [f"{plain.fmean(side):.4f}" for side in zip(*pairs, strict=True)]
    ratios = [ticket / dense for dense, ticket in pairs if dense > 0 and ticket > 0]
    ratio = NONE
    if ratios:
        ratio = f"{math.exp(plain.fmean(map(math.log, ratios))):.3f}"
    return [*means, ratio, str(len(ratios))]


if __name__ == "__main__":
    sys.exit(analysis("architectures", __doc__ or "", sections))
