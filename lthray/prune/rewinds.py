"""From where the rest begins again: a table of (which weights, which step of the schedule).

    weights   anchor: the dense run's (or the previous round's) state;  trained: what was just pruned;
              fresh: a new initialisation;  sign: the anchor's signs times its layer's scale;
              given: what the ticket of another trial begins with there
    start     0, k = rewind.fraction of the steps, T, the end of the schedule (fine-tuning at the last rate), or given:
              where that ticket begins

Every rule trains for as many steps as its row leaves of the schedule; `tuned` trains T - k steps past its end.
Norms and biases go back with the weights. Moments and average start anew, but for `late` with rewind.state = rewound, and
for `given`, where they are what the ticket's own trial begins with.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lthray.core.ticket import Mask, Weights


@dataclass(frozen=True)
class Rewinding:
    """One row of the table."""

    weights: Literal["anchor", "trained", "fresh", "sign", "given"]
    start: Literal["0", "k", "T", "given"]


REWINDS: dict[str, Rewinding] = {
    "init": Rewinding("anchor", "0"),  # Frankle and Carbin 2019, arXiv 1803.03635
    "late": Rewinding("anchor", "k"),  # Frankle et al. 2020, arXiv 1912.05671
    "tuned": Rewinding("trained", "T"),  # fine-tuning, Han et al. 2015, arXiv 1506.02626
    "lr": Rewinding("trained", "k"),  # learning-rate rewinding, Renda et al. 2020, arXiv 2003.02389
    "random": Rewinding("fresh", "0"),
    "sign": Rewinding("sign", "0"),  # Zhou et al. 2019, arXiv 1905.01067
    "given": Rewinding("given", "given"),  # transfer of mask and weights: Chen et al. 2021, arXiv 2103.16547
}


def signs(weights: Weights, mask: Mask) -> Weights:
    """Masked layers become sign(w) times the layer's standard deviation at that step; the rest stays (Zhou et al. 2019)."""
    return {name: _sign(w) if name in mask else w for name, w in weights.items()}


def _sign(weight: Tensor) -> Tensor:
    return torch.sign(weight) * weight.std(correction=0)


def span(rule: str, k: int, steps: int, given: int = 0) -> tuple[int, int]:
    """First and last step of the schedule that a rung trains under a rule; `given`: where a ticket of another trial begins."""
    start = {"0": 0, "k": k, "T": steps, "given": given}[REWINDS[rule].start]
    return start, steps if start < steps else 2 * steps - k
