"""What holds in pixels and in latents: recipes recorded in both spaces, compared by relative loss.

Losses of the two spaces cannot be compared. What is compared is d, the excess over the own dense
network, by seed. Spaces are equivalent at a density where d(latents) - d(pixels) is shown to lie
within the margin on both sides (two one-sided tests; Schuirmann 1987).
"""

from collections.abc import Iterator, Mapping, Sequence

from lthray.findings.evidence import TICKET, Cell, Evidence
from lthray.findings.registry import Statement
from lthray.findings.rounds import MARGIN

SPACES = ("pixels", "latents")
WORSE, BETTER = "latents hardly worse", "latents hardly better"
"""The two claims that make an equivalence."""
INTERACTION = "interaction"

Cells = Mapping[float, Cell]
"""Density -> what was recorded of a recipe."""


def by_space(settings: Sequence[Evidence]) -> dict[str, Evidence]:
    """Return space -> its setting; empty unless there is one setting of each space."""
    found = {evidence.space: evidence for evidence in settings}
    return found if found.keys() == set(SPACES) and len(settings) == len(SPACES) else {}


def shared_recipes(evidence: Mapping[str, Evidence]) -> list[str]:
    """Return the recipes that are recorded in both spaces."""
    if not evidence:
        return []
    pixels, latents = (evidence[space].recipes for space in SPACES)
    return [recipe for recipe in pixels if recipe in latents]


def cells_of(evidence: Mapping[str, Evidence], recipe: str) -> dict[str, Cells]:
    """Return space -> density -> what was recorded of a recipe."""
    return {space: evidence[space].recipes[recipe] for space in SPACES}


def shared(cells: Mapping[str, Cells]) -> list[float]:
    """Return the densities that are recorded in both spaces, densest first."""
    pixels, latents = (cells[space].keys() for space in SPACES)
    return sorted(pixels & latents, reverse=True)


def differences(cells: Mapping[str, Cells], density: float) -> dict[int, float]:
    """Return by seed d in latents less d in pixels."""
    pixels, latents = (cells[space][density].excess(TICKET) for space in SPACES)
    return {seed: latents[seed] - d for seed, d in pixels.items() if seed in latents}


def interaction(cells: Mapping[str, Cells]) -> dict[int, float]:
    """Return by seed how much the difference between the spaces changes from the first rung to the
    last."""
    densities = shared(cells)
    first, last = differences(cells, densities[0]), differences(cells, densities[-1])
    return {seed: last[seed] - d for seed, d in first.items() if seed in last}


def statements(settings: Sequence[Evidence]) -> Iterator[Statement]:
    """Yield the claims that the spaces are alike, of every recipe recorded in both: at each
    density, and from the first to the last."""
    evidence = by_space(settings)
    for recipe in shared_recipes(evidence):
        yield from equivalences(cells_of(evidence, recipe), recipe)


def equivalences(cells: Mapping[str, Cells], recipe: str) -> Iterator[Statement]:
    """Yield the claims that a recipe is alike in both spaces.

    A ticket that failed has no difference between the spaces, and nothing is shown without it.
    """
    values: dict[str | float, dict[int, float]] = {}
    for density in shared(cells):
        values[density] = differences(cells, density)
    if values:
        values[INTERACTION] = interaction(cells)
    planned = min(cell.planned for own in cells.values() for cell in own.values())
    for at, worse in values.items():
        yield Statement(WORSE, (recipe, at), worse, planned, MARGIN)
        better = {seed: -value for seed, value in worse.items()}
        yield Statement(BETTER, (recipe, at), better, planned, MARGIN)
