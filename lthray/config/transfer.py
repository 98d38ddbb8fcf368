"""Say what a trial takes from a trial of another kind: from other images, another seed or depth."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from lthray.config.spec import STRICT
from lthray.config.vocabulary import OBJECTIVES

Words = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Source:
    """Say of which trial the tickets come, and what is taken of them."""

    words: Words = ()
    """The trial that the tickets come from, as pairs of a word and its value (data.name
    digits_high): what it has otherwise than this trial. It is run first, down the same ladder. Its
    network may differ in model.layers and in what its images ask for; its stream is never this
    trial's. () = the tickets are this trial's own."""
    seeds: Annotated[int, Field(ge=0, lt=2**20)] = 0
    """How far the seed of its initial weights lies above this trial's; 0 = the same weights."""
    takes: Literal["ticket", "mask", "weights", "signs"] = "ticket"
    """ticket: its masks, and the weights that they begin from there; mask: its masks, over this
    trial's own weights; weights: this trial's own masks, over the weights of the source; signs:
    its masks, the signs of its trained weights and its trained norms, over the sizes of this
    trial's weights (Oh et al. 2025, arXiv 2504.05357)."""
    align: Literal["none", "activations"] = "none"
    """activations: its masks are permuted first, so that its channels stand where this trial's
    dense network has the channels that answer most alike (Adnan et al. 2025, arXiv 2505.05143)."""

    @property
    def given(self) -> bool:
        """Whether tickets come from another trial at all."""
        return bool(self.words or self.seeds)

    @property
    def name(self) -> str:
        """What the other trial has otherwise, in a few words: "digits_high", "another seed"."""
        told = [_told(word, value) for word, value in self.words]
        return ", ".join([*told, *["another seed"] * bool(self.seeds)])

    @property
    def taken(self) -> str:
        """What is taken of it, in a word: "aligned" is its masks, permuted."""
        return self.takes if self.align == "none" else "aligned"

    @property
    def lends_mask(self) -> bool:
        """Whether the masks are those of the other trial."""
        return self.given and self.takes != "weights"


def _told(word: str, value: str) -> str:
    """Return a word of the other trial and its value, as names and tables tell them."""
    if word == "data.name":
        return value
    if word == "objective.name" and value in OBJECTIVES:
        return "latents" if OBJECTIVES[value].in_latents else "pixels"
    name = word.rpartition(".")[2]
    return name if value == "true" else f"{name} {value}"
