"""Exploratory claims of a page: one family, of whose findings at most 5 % are false on average.

A table of many methods is looked through for what stands out. There a family that errs in 5 % at
all (lthray.findings.registry) would find little, and claims by themselves would find what is not
there. The procedure of Benjamini and Hochberg (1995) bounds the share of false claims among those
that hold. What it finds is a candidate for a confirmation on fresh seeds, and is said to be that.
"""

from functools import cached_property

from lthray.findings import stats as st
from lthray.findings.registry import Place, Registry
from lthray.findings.stats import ALPHA


class Discoveries(Registry):
    """All exploratory claims of a page, by name and place."""

    @cached_property
    def levels(self) -> dict[tuple[str, Place], float]:
        """The level at which every claim is tested, and has its bound: k / m of 5 %, where k of the
        m claims hold.

        Bounds at that level miss the mean in at most 5 % of the claims that hold (Benjamini and
        Yekutieli 2005). Where none holds it is the level of the first.
        """
        if not self.family:
            return {}
        adjusted = st.benjamini_hochberg([statement.p for statement in self.family.values()])
        found = int((adjusted <= ALPHA).sum())
        return dict.fromkeys(self.family, max(found, 1) * ALPHA / len(self.family))
