"""How small an effect a number of seeds can find, before any is run, and at which level of a test.

All claims are one-sided t-tests over seeds, so that power is that of the noncentral t distribution
(Cohen 1988, chapter 2). Effects and standard deviations are shares of the dense loss.
"""

import itertools
import math

import scipy  # scipy.stats and scipy.optimize load at first use

from lthray.findings.stats import ALPHA

FIRST = 0.8  # share of the level that is spent at the first look, and of what is left at the next

POWER = 0.8
MOST = 10_000.0  # standard deviations
SPREADS = {"its own dense network": 0.005, "a control": 0.025}
"""With what a ticket is compared -> standard deviation of the difference over seeds, as it was
recorded of the digits preset."""


def level_of(look: int) -> float:
    """Return the level of a page that looks at its seeds for the `look`-th time, 1 the first.

    Seeds may be added after a look, and the claims be tested again. A share of .8 of what is left
    of the level is spent each time: .04, .008, .0016, ..., which sums to less than .05.
    """
    return ALPHA * FIRST * (1 - FIRST) ** (look - 1)


def power_of(effect: float, seeds: int, sd: float, alpha: float = ALPHA) -> float:
    """Return the probability that `seeds` find an `effect`, seeds differing by `sd`."""
    border = scipy.stats.t.ppf(1 - alpha, seeds - 1)
    return float(scipy.stats.nct.sf(border, seeds - 1, effect / sd * math.sqrt(seeds)))


def detectable(seeds: int, sd: float, power: float = POWER, alpha: float = ALPHA) -> float:
    """Return the smallest effect that two or more `seeds` find with probability `power`.

    nan where none does that is less than 10,000 standard deviations `sd`.
    """
    missing = lambda effect: power_of(effect, seeds, 1.0, alpha) - power  # noqa: E731
    return sd * float(scipy.optimize.brentq(missing, 0.0, MOST)) if missing(MOST) > 0 else math.nan


def seeds_for(effect: float, sd: float, power: float = POWER) -> int:
    """Return the least number of seeds, two at least, that find an `effect` with probability
    `power`."""
    return next(n for n in itertools.count(2) if power_of(effect, n, sd) >= power)


def line(seeds: int, claims: int = 1) -> str:
    """Return in one line what `seeds` can find at the first look, by the first of so many `claims`
    of a family."""
    if seeds < 2:
        return "one seed finds nothing that could be generalised"
    parts = []
    for rival, sd in SPREADS.items():
        effect = detectable(seeds, sd, alpha=level_of(1) / max(claims, 1))
        parts.append(f"{effect:.1%} against {rival} (SD {sd:.1%})")
    found = " and ".join(parts)
    family = f", among {claims} claims or more" if claims > 1 else ""
    return f"{seeds} seeds find, four times in five{family}, {found}"


def told(seeds: int, percent: float, wanted: float) -> str:
    """Return the answer of `lthray power`; SD and the wanted effect are per cent of the loss."""
    sd = percent / 100
    lines = [
        f"where a difference varies by {percent:g} % over seeds (SD), at 5 % and power 80 %:",
        f"{seeds} seeds find an effect of {100 * detectable(seeds, sd):.2g} %",
        f"an effect of {wanted:g} % takes {seeds_for(wanted / 100, sd)} seeds",
    ]
    return "\n".join(lines)
