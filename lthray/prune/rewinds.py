"""Rewinding rules: from where training begins again after a cut, as a table of (weights, start).

Every rule trains for as many steps as its row leaves of the schedule; `tuned` trains T - k steps
past the end of the schedule. Norms and biases go back with the weights. Optimizer moments and the
average start anew, with two exceptions: `late` with rewind.state = rewound takes the anchor's, and
`given` those that the ticket begins with in its own trial.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lthray.core.ticket import Mask, Weights


@dataclass(frozen=True)
class Rewinding:
    """One row of the table: which weights training begins with, and at which step."""

    weights: Literal["anchor", "trained", "fresh", "sign", "given"]
    """anchor: the state of the dense run, or of the round before; trained: the weights that were
    just pruned; fresh: a new initialisation; sign: the anchor's signs times the scale of the layer;
    given: what the ticket of another trial begins with there."""
    start: Literal["0", "k", "T", "given"]
    """0; k = rewind.fraction of the steps; T: the end of the schedule (fine-tuning at the last
    learning rate); given: where the ticket of another trial begins."""

    @property
    def pointed(self) -> bool:
        """Whether the rule depends on the rewind point k: training starts at it, or ends by it."""
        return self.start in ("k", "T")


REWINDS: dict[str, Rewinding] = {
    "init": Rewinding("anchor", "0"),  # Frankle and Carbin 2019, arXiv 1803.03635
    "late": Rewinding("anchor", "k"),  # Frankle et al. 2020, arXiv 1912.05671
    "tuned": Rewinding("trained", "T"),  # fine-tuning, Han et al. 2015, arXiv 1506.02626
    "lr": Rewinding("trained", "k"),  # learning rate alone, Renda et al. 2020, arXiv 2003.02389
    "random": Rewinding("fresh", "0"),
    "sign": Rewinding("sign", "0"),  # Zhou et al. 2019, arXiv 1905.01067
    "given": Rewinding("given", "given"),  # mask and weights: Chen et al. 2021, arXiv 2103.16547
}


def span(rule: str, k: int, steps: int, given: int = 0) -> tuple[int, int]:
    """Return the first and last step of the schedule that a rung trains under a rule.

    k is the rewind point, `steps` the length of the schedule, and `given` the step at which the
    ticket of another trial begins.
    """
    start = {"0": 0, "k": k, "T": steps, "given": given}[REWINDS[rule].start]
    end = steps if start < steps else 2 * steps - k
    return start, end


def signs(weights: Weights, mask: Mask) -> Weights:
    """Replace each masked layer by sign(w) times its standard deviation (Zhou et al. 2019).

    Tensors without a mask stay as they are.
    """
    signed = {}
    for name, weight in weights.items():
        signed[name] = _sign(weight) if name in mask else weight
    return signed


def _sign(weight: Tensor) -> Tensor:
    return torch.sign(weight) * weight.std(correction=0)
