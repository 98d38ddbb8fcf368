"""What does a ticket save, in time, in memory and on the disk? Single weights and whole channels.

    python studies/efficiency.py   digits, 2 cores, a quarter of an hour
    python analysis/efficiency.py  four measures of cost, timed on this machine

One recipe cuts single weights, and another whole channels, down one ladder. Beside each stand small
dense networks of as many parameters, and a dense network of equal compute. What a ticket costs is
counted (multiply-accumulates), executed (by torch), timed (interleaved with its dense network) and
stored. Finding it costs a whole trajectory; the page says after how many images that is won back.
Expect: masked weights save nothing but room on the disk; channels save time.
"""

import sys

from lthray.cli import study
from lthray.study.comparators import AGAIN, LEAN, against, longer, twins
from lthray.study.page import Grid

GRADED = (2, -1)  # rungs with controls

STUDY = Grid(
    name="efficiency",
    about=__doc__,
    seeds=(0, 1, 2, 3, 4, 5),
    points=lambda config: [{"prune.unit": "weight"}, {"prune.unit": "channel"}],
    arms=lambda config: [
        *against("reinit", "shuffle", "small_dense", "equal_compute", rungs=GRADED),
        *twins("reinit", "shuffle"),
    ],
    references=lambda config: [AGAIN, longer(config)],
    words={"measure.samples": 0, "prune.ladder": (0.5, 0.25, 0.1), **LEAN},
    smoke={"train.steps": 40, "prune.ladder": (0.5, 0.25), "measure.images": 100},
)

if __name__ == "__main__":
    sys.exit(study(STUDY))
