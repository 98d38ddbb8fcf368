"""When is a ticket winning: claims over seeds, each a test of its own, and the grade that they give together.

Per seed, d is the paired excess of the ticket's held-out loss over its own dense network. Over seeds, at a density:

    1 matching   d is not inferior: its upper one-sided 95 % bound is below the margin (Frankle et al. 2020)
    2            and the mask shuffled within its layers is worse (structure matters)
    3 winning    and the same mask over new weights is worse (initialisation matters; Frankle and Carbin 2019)
    4            and the samples' KID is not inferior under two samplers, and a small dense network is worse

Every part is tested at 5 %; a conjunction of such parts needs no correction (intersection-union; Berger 1982).
"""

import math
import statistics as plain
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from lthray.findings import stats as st
from lthray.findings.evidence import POINTS, Cell, Evidence, worse

ALPHA = 0.05
FEW = 5  # seeds below which every verdict says so
GAIN = 0.03  # of the loss: a dense network that twice the steps improve by more is undertrained
CONFIRMED = ("matching", "structure", "initialisation")  # what together is winning
ARMS = {"none": "ticket", "shuffle": "shuffled", "reinit": "re-initialised", "small_dense": "small dense"}  # as charts say
GRADES = ("none", "matching", "structure matters", "winning", "winning in samples")


@dataclass(frozen=True)
class Claim:
    """One test over seeds."""

    name: str
    values: tuple[float, ...]
    margin: float
    """The claim is that the mean is below it."""
    holds: bool

    @property
    def mean(self) -> float:
        """Of the seeds."""
        return plain.fmean(self.values)

    @property
    def interval(self) -> st.Interval:
        """Two-sided 95 % t-interval of the mean."""
        return st.t_interval(self.values)

    @property
    def p(self) -> float:
        """One-sided p of the t-test."""
        return st.t_test(self.values, "less", shift=self.margin)

    @property
    def p_flip(self) -> float:
        """The same of the sign-flip test, which fewer than five seeds can never make significant."""
        return st.sign_flip(self.values, "less", shift=self.margin)


# what is claimed


def claims(evidence: Evidence, cell: Cell, margin: float | None = None) -> dict[str, Claim]:
    """Every claim that the arms of a cell allow; with fewer than two seeds there is none."""
    ticket, margin = cell.excess("none"), evidence.margin if margin is None else margin
    tested = {"matching": (list(ticket.values()), margin), "better": (list(ticket.values()), 0.0)}
    for name, control in (("structure", "shuffle"), ("initialisation", "reinit"), ("small", "small_dense")):
        other = cell.excess(control)
        tested[name] = ([ticket[seed] - other[seed] for seed in ticket if seed in other], 0.0)
    tested["faster"] = ([math.log(s) for s in speed(evidence, cell)], 0.0)
    for sampler in samplers(cell):
        kid = f"quality/{sampler}/kid_lenet"
        floor = evidence_floor(evidence, kid)
        pairs = [(r["metrics"].get(kid), evidence.dense[seed]["metrics"].get(kid)) for seed, r in cell.arms["none"].items()]
        tested[sampler] = ([a - b for a, b in pairs if a is not None and b is not None], floor)
    return {name: _claim(name, values, bound) for name, (values, bound) in tested.items() if len(values) > 1}


def _claim(name: str, values: Sequence[float], margin: float) -> Claim:
    finite = all(map(math.isfinite, values))
    return Claim(name, tuple(values), margin, finite and st.non_inferior(values, margin, alpha=ALPHA))


def grade(found: Mapping[str, Claim]) -> int:
    """0 to 4; see the head of this file. What was not tested is not claimed."""
    holds = _held(found)
    steps = ({"matching"}, {"structure"}, {"initialisation"}, {"ddim", "ddpm", "small"})
    return st.fixed_sequence([step <= holds for step in steps])


def _held(found: Mapping[str, Claim]) -> set[str]:
    return {name for name, claim in found.items() if claim.holds}


def samplers(cell: Cell) -> list[str]:
    """Samplers whose KID was taken of the tickets."""
    names = {name for r in cell.arms.get("none", {}).values() for name in r["metrics"]}
    return sorted(name.split("/")[1] for name in names if name.startswith("quality/") and name.endswith("/kid_lenet"))


def speed(evidence: Evidence, cell: Cell) -> list[float]:
    """Per seed, steps of the schedule until the ticket is as good as its dense network in the end, over that network's own.

    inf where a ticket never is. Both curves are of the same part of the panel.
    """
    ratios = []
    for seed, r in cell.arms.get("none", {}).items():
        dense, own = ([(step, loss) for step, _, loss, *_ in curve] for curve in (evidence.dense[seed]["curve"], r["curve"]))
        if dense and own:
            ratios.append(st.steps_to(own, dense[-1][1]) / st.steps_to(dense, dense[-1][1]))
    return ratios


def wins(evidence: Evidence, cell: Cell, margin: float | None = None) -> dict[int, bool | None]:
    """Per seed: d below the margin, and below both controls of its own; None where d is within two errors of the margin."""
    margin = evidence.margin if margin is None else margin
    shuffle, reinit, found = cell.excess("shuffle"), cell.excess("reinit"), dict[int, bool | None]()
    for seed, r in cell.arms.get("none", {}).items():
        d, error = worse(r)
        if seed in shuffle and seed in reinit:
            beats = d < min(shuffle[seed], reinit[seed])
            found[seed] = None if beats and abs(d - margin) < 2 * error else beats and d < margin
    return found


def evidence_floor(evidence: Evidence, metric: str) -> float:
    """What chance does to a metric: the 95 % quantile of its difference between dense networks that differ in the stream
    alone, and between those of different seeds; of the loss, relative."""
    pairs = [(evidence.again[s], evidence.dense[s]) for s in evidence.again if s in evidence.dense]
    pairs += list(combinations(evidence.dense.values(), 2))
    values = [(a["metrics"].get(metric), b["metrics"].get(metric)) for a, b in pairs]
    scale = (lambda b: b) if metric.startswith("loss/") else (lambda b: 1.0)
    found = [(a - b) / scale(b) for a, b in values if a is not None and b is not None]
    return st.noise_floor(found) if found else 0.0


def undertrained(evidence: Evidence) -> tuple[bool | None, list[float]]:
    """Whether twice the steps lower the dense loss by 3 % or more, or raise accuracy by the margin (None: not measured);
    and the change for each seed."""
    pairs = [(evidence.longer[s]["metrics"], r["metrics"]) for s, r in evidence.dense.items() if s in evidence.longer]
    if evidence.accurate:
        gains = [longer["quality/accuracy"] - m["quality/accuracy"] for longer, m in pairs]
        return (plain.fmean(gains) >= POINTS if gains else None), gains
    gains = [longer["loss/heldout"] / m["loss/heldout"] - 1 for longer, m in pairs]
    return (plain.fmean(gains) <= -GAIN if gains else None), gains


def worth(evidence: Evidence, margin: float | None = None) -> float:
    """The margin in steps: the share of its last steps that a dense network would need to gain as much; mean over seeds."""
    margin = evidence.margin if margin is None else margin
    curves = [[(step, loss) for step, _, loss, *_ in r["curve"]] for r in evidence.dense.values() if r["curve"]]
    return plain.fmean(st.step_equivalent(curve, margin) for curve in curves) if curves else math.nan


def sparsest(evidence: Evidence, recipe: str, margin: float | None = None) -> float | None:
    """The lowest density down to which a recipe matches at every rung: a fixed sequence, so that all together err in 5 %."""
    rungs = sorted(evidence.recipes[recipe].items(), reverse=True)
    matched = st.fixed_sequence(["matching" in _held(claims(evidence, cell, margin)) for _, cell in rungs])
    return rungs[matched - 1][0] if matched else None


def winning(evidence: Evidence, recipe: str, margin: float | None = None) -> list[float]:
    """Densities at which a recipe wins, of those that have controls: matching, structure and initialisation hold together,
    adjusted over these rungs (Holm), so that all together err in 5 %.

    No fixed sequence: where little is cut a ticket matches but has nothing yet to beat a shuffled mask by, where much is
    cut it is the other way round.
    """
    found = {d: claims(evidence, cell, margin) for d, cell in sorted(evidence.recipes[recipe].items(), reverse=True)}
    p = {d: max(each[name].p for name in CONFIRMED) for d, each in found.items() if each.keys() >= set(CONFIRMED)}
    return [d for d, adjusted in zip(p, st.holm(list(p.values())), strict=True) if adjusted < ALPHA]


# how it is told

COLUMNS = {
    "matching": "excess",
    "structure": "- shuffled",
    "initialisation": "- reinit",
    "small": "- small dense",
    "ddim": "KID ddim",
    "ddpm": "KID ddpm",
    "faster": "steps",
}


def table(evidence: Evidence, margin: float | None = None) -> list[list[str]]:
    """A row a recipe and density, a head above: seeds; each claim's mean over them with its 95 % interval, * = it holds; grade.

    Excess of the ticket over dense, and minus that of each control; KID minus the dense network's; steps until it is as
    good as the dense network at its end, as a share of that network's own. Last, what chance alone does to each: the 95 %
    quantile of the difference between dense networks; and trained networks that were given, against the dense ones.
    """
    rows = []
    for cells in evidence.recipes.values():
        for density, cell in sorted(cells.items(), reverse=True):
            found = claims(evidence, cell, margin)
            told = [_told(found.get(name)) for name in COLUMNS]
            tried = sum(1 for arm in cell.arms if arm in ("shuffle", "reinit"))
            best = f"{grade(found)} {GRADES[grade(found)]}" + ("" if tried == 2 or not found else " (no controls)")
            rows.append([cell.recipe, f"{density:.4g}", str(len(cell.arms.get("none", {}))), *told, best if found else "–"])
    floors = {"matching": evidence_floor(evidence, "quality/accuracy" if evidence.accurate else "loss/heldout")}
    floors |= {sampler: evidence_floor(evidence, f"quality/{sampler}/kid_lenet") for sampler in ("ddim", "ddpm")}
    told = [f"{100 * floors[n]:.1f}%" if n == "matching" else f"{floors[n]:.3f}" if floors.get(n) else "–" for n in COLUMNS]
    chance = [["chance alone", "1", str(len(evidence.again)), *told, ""]] if evidence.again else []
    given = [[name, "1", str(len(evidence.dense)), *_against(evidence, name), ""] for name in evidence.given]
    return [["recipe", "density", "seeds", *COLUMNS.values(), "grade"], *rows, *chance, *given]


def lead(evidence: Evidence, name: str) -> dict[str, float]:
    """By how much a given network is worse than the dense ones, mean over seeds: loss (of a classifier accuracy) and KID."""
    own, found = evidence.given[name]["metrics"], {}
    rivals = [r["metrics"] for r in evidence.dense.values()]
    if evidence.accurate:
        found["matching"] = plain.fmean(m["quality/accuracy"] - own["quality/accuracy"] for m in rivals)
    else:
        found["matching"] = plain.fmean(own["loss/heldout"] / m["loss/heldout"] - 1 for m in rivals)
    for sampler in ("ddim", "ddpm"):
        kid = f"quality/{sampler}/kid_lenet"
        if kid in own and (known := [m[kid] for m in rivals if kid in m]):
            found[sampler] = own[kid] - plain.fmean(known)
    return found


def _against(evidence: Evidence, name: str) -> list[str]:
    found = lead(evidence, name)
    forms = {"matching": "{:+.1%}"}
    return [forms.get(column, "{:+.3f}").format(found[column]) if column in found else "–" for column in COLUMNS]


def _told(claim: Claim | None) -> str:
    if claim is None:
        return "–"
    if not all(map(math.isfinite, claim.values)):
        return f"never in {sum(map(math.isinf, claim.values))} of {len(claim.values)}"
    low, high = claim.interval
    half = (high - low) / 2
    if claim.name == "faster":
        text = f"x{math.exp(claim.mean):.2f} ({math.exp(low):.2f}-{math.exp(high):.2f})"
    elif claim.name in ("ddim", "ddpm"):
        text = f"{claim.mean:+.3f}±{half:.3f}"
    else:
        text = f"{100 * claim.mean:+.1f}±{100 * half:.1f}%"
    return text + ("*" if claim.holds else "")


def sentences(evidence: Evidence, margin: float | None = None) -> list[str]:
    """The verdict in words: one for each recipe, then what it must be read beside."""
    margin = evidence.margin if margin is None else margin
    return [*(_verdict(evidence, recipe, margin) for recipe in evidence.recipes), *_beside(evidence, margin)]


def _verdict(evidence: Evidence, recipe: str, margin: float) -> str:
    cells = evidence.recipes[recipe]
    graded = {d: claims(evidence, cell, margin) for d, cell in sorted(cells.items(), reverse=True)}
    name, seeds = next(iter(cells.values())).recipe, max(len(cell.arms.get("none", {})) for cell in cells.values())
    few = f", fewer than {FEW}" if seeds < FEW else ""
    if seeds < 2:
        return f"{name}: one seed only, which no test can generalise."
    matched, won = sparsest(evidence, recipe, margin), winning(evidence, recipe, margin)
    lowest = f"matches its dense network down to density {matched:.4g}" if matched else "matches its dense network at no rung"
    tested = [d for d in graded if {"shuffle", "reinit"} <= cells[d].arms.keys()]
    if not tested:
        return f"{name} ({seeds} seeds{few}) {lowest}; no controls were trained, so nothing more is claimed."
    wins = f"wins at {_listed(won)}" if won else "wins at none of the rungs that have controls"
    if won and won == tested[: len(won)]:
        wins = f"wins down to {won[-1]:.4g}"
    at = (won or tested)[-1]
    more = f"{_extras(graded[at])}{_older(evidence, cells[at])}"
    return f"{name} ({seeds} seeds{few}) {lowest} and {wins} (tried at {_listed(tested)}). At {at:.4g} it {more}."


def _listed(densities: Sequence[float]) -> str:
    return ", ".join(f"{d:.4g}" for d in densities)


def _older(evidence: Evidence, cell: Cell) -> str:
    """Whether a ticket's weights have seen more optimizer steps than its dense network's."""
    steps = [r["metrics"].get("cost/steps_of_weights", 0) for r in cell.arms["none"].values()]
    return f", with weights that have seen {max(steps):.0f} steps, which flatters it" if max(steps) > evidence.steps else ""


def _extras(found: Mapping[str, Claim]) -> str:
    """Better, faster, and how the samples stand beside the loss."""
    parts = [f"is {'' if found['better'].holds else 'not '}better than dense"]
    if "faster" in found:
        parts.append(f"{'learns' if found['faster'].holds else 'does not learn'} faster")
    kids = [found[name].holds for name in ("ddim", "ddpm") if name in found]
    if kids:
        agree = "agree" if all(kid == found["matching"].holds for kid in kids) else "disagree" if len(set(kids)) == 1 else ""
        parts.append(f"has samples that {agree} with the loss" if agree else "is good or bad by the sampler")
    return " and ".join([", ".join(parts[:-1])] * (len(parts) > 1) + parts[-1:])


def _floors(evidence: Evidence) -> str:
    """The same of every sample metric."""
    names = sorted(n for n in next(iter(evidence.dense.values()))["metrics"] if n.split("/")[-1].startswith(("kid_", "fid_")))
    return "".join(f", {n.removeprefix('quality/')} by {evidence_floor(evidence, n):.3g}" for n in names)


def _beside(evidence: Evidence, margin: float) -> list[str]:
    """Noise floor, margin, budget."""
    lines = []
    if evidence.again:
        floor = evidence_floor(evidence, "quality/accuracy" if evidence.accurate else "loss/heldout")
        same = [worse(r)[0] for r in evidence.again.values()]
        lines.append(
            f"Noise floor: two dense networks of one seed on two streams differ by {max(map(abs, same)):.2%} at most "
            f"({len(same)} seeds), any two dense networks by {floor:.2%} in 95 %{_floors(evidence)}."
        )
    lines.append(
        f"The margin of {margin:.1%} is worth {worth(evidence, margin):.0%} of the dense network's {evidence.steps} steps."
    )
    short, gains = undertrained(evidence)
    if short is None:
        lines.append("Whether the dense network is undertrained was not measured: a verdict at this training budget.")
    else:
        label = "UNDERTRAINED, which flatters tickets" if short else "not undertrained"
        what = "accuracy" if evidence.accurate else "loss"
        lines.append(f"Twice the steps change the dense {what} by {plain.fmean(gains):+.1%} ({len(gains)} seeds): {label}.")
    for name, r in evidence.given.items():
        what, size = "accuracy lost" if evidence.accurate else "loss", r["metrics"]["cost/parameters"]
        told = f"{what} {lead(evidence, name)['matching']:+.1%} against the dense networks"
        lines.append(f"Beside them, {name} ({size:,.0f} parameters, measured as it was given): {told}.")
    return lines
