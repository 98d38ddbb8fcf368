"""Contrasts: what stands beside a ticket, by name, and what is shown where the ticket is better."""

from dataclasses import dataclass

OWN, COMPUTE, CONVERGED = "own", "equal compute", "converged"
RIVALS = (OWN, COMPUTE, CONVERGED)
LONGEST = "longest"  # what stands for the converged one where none is shown to be
EQUAL_COMPUTE = "equal_compute"  # arm of the dense network of equal compute
SECOND_DRAW = "{} draw 1"  # arm of a control that was drawn once more


@dataclass(frozen=True)
class Contrast:
    """A control, and what is shown where a ticket is better than it."""

    control: str
    """Arm of the control."""
    shows: str
    called: str
    """What sentences call it."""
    heading: str
    """Head of its column in a verdict."""


STRUCTURE = Contrast("shuffle", "structure", "their shuffled masks", "shuffled")
INITIALISATION = Contrast("reinit", "initialisation", "new weights", "reinit")
SMALL = Contrast("small_dense", "size", "small dense networks", "small dense")
CONTRASTS = (STRUCTURE, INITIALISATION, SMALL)
EQUAL = Contrast(EQUAL_COMPUTE, "worth", "dense networks of equal compute", COMPUTE)
"""Of this one the claim is that a ticket matches it."""
NEEDED = (STRUCTURE, INITIALISATION)
"""Controls without which nothing is shown of a ticket."""
