"""Does what holds in pixels (DDPM) hold in latents (LDM)? Interaction and equivalence, not two separate p-values.

    python analysis/architectures.py --experiment architectures.digits

Losses of the two spaces cannot be compared, so what is compared is relative: d, the excess over the own dense network, by
seed. At each density the spaces are equivalent where the 90 % interval of d(latents) - d(pixels) lies within the margin on
both sides (two one-sided tests at 5 %; Schuirmann 1987), and so is the interaction, how much that difference changes from the
first rung to the last. What holds generalises where tickets win in both spaces at one density and the interaction is
equivalent to none. Reads MLflow only; writes tables, a figure and sentences to <out>/reports/<experiment>/.
"""

import json
import math
import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.findings import claims
from lthray.findings import stats as st
from lthray.findings.evidence import MARGIN, Cell, Evidence, comparable, gather, matches
from lthray.findings.sections import Line, Lines, Section
from lthray.tracking.read import Recorded

SPACES = ("pixels", "latents")
Cells = Mapping[float, Cell]


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Every recipe that is recorded in both spaces."""
    trials = recorded.of(call)
    found = {evidence.space: evidence for evidence in gather(comparable(trials))}
    both = [r for r in found["pixels"].recipes if r in found["latents"].recipes] if found.keys() == set(SPACES) else []
    if not both:
        raise ConfigError(["no recipe is recorded in pixels and in latents: there is nothing to compare"])
    for i, recipe in enumerate(both):
        cells = {space: found[space].recipes[recipe] for space in SPACES}
        name = f"_{i}" if i else ""
        text = [*told(found, recipe), recorded.provenance(trials)]
        yield Section(f"spaces{name}", "Excess over dense in both spaces", text, table(found, cells), figure(cells))
        yield Section(f"samples{name}", "Samples, as images, in both spaces", floors(found), samples(found, cells))


def differences(cells: Mapping[str, Cells], density: float) -> dict[int, float]:
    """By seed, d in latents less d in pixels."""
    pixels, latents = (cells[space][density].excess("none") for space in SPACES)
    return {seed: latents[seed] - d for seed, d in pixels.items() if seed in latents}


def interaction(cells: Mapping[str, Cells]) -> list[float]:
    """By seed, how much that difference changes from the first rung to the last."""
    first, last = (differences(cells, density) for density in (max(shared(cells)), min(shared(cells))))
    return [last[seed] - d for seed, d in first.items() if seed in last]


def shared(cells: Mapping[str, Cells]) -> list[float]:
    """Densities of both spaces, densest first."""
    return sorted(cells["pixels"].keys() & cells["latents"].keys(), reverse=True)


def equivalent(values: Sequence[float], margin: float = MARGIN) -> bool:
    """Whether the mean is shown to lie within the margin on both sides of zero (two one-sided t-tests, each at 5 %)."""
    low, high = st.t_interval(values, 0.9)
    return -margin < low and high < margin


def skill(evidence: Evidence, cell: Cell) -> list[float]:
    """By seed, (1 - L) / (1 - L_dense): 1 is the loss of answering zero where unit noise is asked for."""
    losses = [(r, evidence.dense[seed]) for seed, r in cell.arms["none"].items()]
    return [(1 - own["metrics"]["loss/heldout"]) / (1 - dense["metrics"]["loss/heldout"]) for own, dense in losses]


def failures(evidence: Evidence, cells: Cells) -> tuple[list[float], list[bool]]:
    """By seed, the sparsity of the first rung that does not match, and whether there was one (else the last tried)."""
    times, failed = [], []
    for seed in evidence.dense:
        at = [(1 - d, c.arms["none"][seed]) for d, c in sorted(cells.items(), reverse=True) if seed in c.arms["none"]]
        lost = [sparsity for sparsity, own in at if not matches(own)]
        if at:
            times.append(lost[0] if lost else at[-1][0])
            failed.append(bool(lost))
    return times, failed


def table(found: Mapping[str, Evidence], cells: Mapping[str, Cells]) -> list[list[str]]:
    """A row a density, and the interaction last."""
    rows = [["density", "seeds", "pixels", "grade", "latents", "grade", "latents - pixels [90 %]", "equivalent", "skill kept"]]
    for density in shared(cells):
        row = [f"{density:.4g}", str(len(differences(cells, density)))]
        for space in SPACES:
            cell = cells[space][density]
            row += [f"{plain.fmean(cell.excess('none').values()):+.2%}", str(graded(found[space], cell))]
        rows.append([*row, *compared(list(differences(cells, density).values())), " / ".join(kept(found, cells, density))])
    change = interaction(cells)
    return [*rows, ["interaction", str(len(change)), "", "", "", "", *compared(change), ""]]


def graded(evidence: Evidence, cell: Cell) -> int:
    """The grade, 0 to 4, of a recipe at a density."""
    return claims.grade(claims.claims(evidence, cell))


def kept(found: Mapping[str, Evidence], cells: Mapping[str, Cells], density: float) -> list[str]:
    """Mean skill over the dense network's, in pixels and in latents; it has a zero where noise is asked for only."""
    if json.loads(found["pixels"].setting).get("objective.prediction", "epsilon") != "epsilon":
        return ["–"]
    return [f"{plain.fmean(skill(found[space], cells[space][density])):.3f}" for space in SPACES]


def compared(values: Sequence[float]) -> list[str]:
    """Mean with its 90 % interval, and whether that is equivalent to none."""
    if len(values) < 2:
        return ["–", "–"]
    low, high = st.t_interval(values, 0.9)
    return [f"{plain.fmean(values):+.2%} [{low:+.2%}, {high:+.2%}]", "yes" if equivalent(values) else "not shown"]


def figure(cells: Mapping[str, Cells]) -> Lines:
    """Tickets and their controls in both spaces."""
    lines = [
        Line.over(f"{label}, {space}", points)
        for space in SPACES
        for arm, label in claims.ARMS.items()
        if (points := {d: list(c.excess(arm).values()) for d, c in cells[space].items() if c.excess(arm)})
    ]
    return Lines("density of the prunable weights", "excess over the own dense network", lines, level=MARGIN)


def told(found: Mapping[str, Evidence], recipe: str) -> list[str]:
    """What follows from it."""
    cells = {space: found[space].recipes[recipe] for space in SPACES}
    won = {space: claims.winning(found[space], recipe) for space in SPACES}
    common = [d for d in won["pixels"] if d in won["latents"]]
    listed = {space: ", ".join(f"{d:.4g}" for d in densities) or "no density" for space, densities in won.items()}
    lines = [f"Tickets win at {listed['pixels']} in pixels and at {listed['latents']} in latents (Holm over the rungs, 5 %)."]
    change = interaction(cells)
    if len(change) > 1:
        low, high = st.t_interval(change, 0.9)
        flat = equivalent(change)
        verdict = "generalises to latents" if common and flat else "is not shown to generalise to latents"
        shown = "equivalent to none" if flat else "not shown to be equivalent to none"
        lines.append(
            f"From density {max(shared(cells)):.4g} to {min(shared(cells)):.4g} the difference between the spaces changes by "
            f"{plain.fmean(change):+.2%} (90 % interval {low:+.2%} to {high:+.2%}), {shown} within {MARGIN:.0%}: what holds in "
            f"pixels {verdict}."
        )
    times = [failures(found[space], cells[space]) for space in SPACES]
    lost = ", ".join(f"{sum(failed)} of {len(failed)} in {space}" for space, (_, failed) in zip(SPACES, times, strict=True))
    lines.append(f"Trajectories that fail to match at some rung: {lost} (log-rank p {st.logrank(*times[0], *times[1]):.2g}).")
    for space in SPACES:
        short, gains = claims.undertrained(found[space])
        if short is not None:
            label = "UNDERTRAINED, which flatters tickets" if short else "not undertrained"
            lines.append(f"Dense network in {space}: twice the steps change its loss by {plain.fmean(gains):+.1%}: {label}.")
    return lines


def floors(found: Mapping[str, Evidence]) -> list[str]:
    """What the autoencoder alone loses."""
    seen = [r["metrics"] for r in found["latents"].dense.values() if "floor/mse" in r["metrics"]]
    if not seen:
        return ["No samples were taken."]
    return [
        f"Images that only went through the autoencoder have KID {seen[0]['floor/kid_lenet']:+.4f} and a mean squared error of "
        f"{seen[0]['floor/mse']:.4f} (range 2): no sampler of latents can be expected to do better."
    ]


def samples(found: Mapping[str, Evidence], cells: Mapping[str, Cells]) -> list[list[str]]:
    """KID of dense networks and tickets, decoded, by sampler; the ratio is a geometric mean over seeds where both are
    positive."""
    rows = [["space", "sampler", "density", "dense", "ticket", "ratio", "seeds"]]
    for space in SPACES:
        for density, cell in sorted(cells[space].items(), reverse=True):
            for sampler in claims.samplers(cell):
                kid = f"quality/{sampler}/kid_lenet"
                pairs = [
                    (found[space].dense[s]["metrics"].get(kid), r["metrics"].get(kid)) for s, r in cell.arms["none"].items()
                ]
                known = [(a, b) for a, b in pairs if a is not None and b is not None]
                ratios = [b / a for a, b in known if a > 0 and b > 0]
                means = [f"{plain.fmean(side):.4f}" for side in zip(*known, strict=True)]
                ratio = f"{math.exp(plain.fmean(map(math.log, ratios))):.3f}" if ratios else "–"
                rows.append([space, sampler, f"{density:.4g}", *means, ratio, str(len(ratios))])
    return rows


if __name__ == "__main__":
    sys.exit(analysis("architectures", __doc__ or "", sections))
