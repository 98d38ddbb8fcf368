"""Two accounts of which rewind points yield tickets that match, and the claims that would
contradict them.

Frankle et al. 2020 (arXiv 1912.05671): tickets match where training is stable, which shows in the
error barrier between two children of one dense anchor. Paul et al. 2023 (arXiv 2210.03044): a
ticket matches if no barrier parts its solution from that of the rung before.

An account is contradicted at a rewind point where tickets are shown to match although the barrier
is shown to be there, or not to match although it is shown to be absent. Barriers are claimed on a
log scale, on which they spread alike at every rewind point.
"""

import json
import math
from collections.abc import Iterator, Mapping

from lthray.config.parts import Rewind
from lthray.core import metrics
from lthray.findings.evidence import Evidence
from lthray.findings.registry import Place, Statement
from lthray.findings.rounds import Rounds, differences

STABLE = 0.005  # of the loss: a lower barrier is called stable
LEAST = STABLE / 10  # a barrier below it is taken for as much
FAILS = "does not match own dense"
STABLE_THERE, CONNECTED = "stable", "connected"
POINTED = {"init": False, "late": True}
"""Rules whose tickets begin with weights of the dense run: whether at k, or at its first step."""
FORK = "dense fork 1"  # arm: the dense network once more, from the anchor on another stream


def absent(name: str) -> str:
    """Return the name of the claim that a rewind point is not `name`."""
    return f"not {name}"


def rewind_points(evidence: Evidence) -> dict[float, str]:
    """Return rewind point, as a share of the steps, -> recipe, earliest first.

    It is empty where there is one recipe, and where recipes differ in more than the rewind point.
    """
    found, others = dict[float, str](), set[str]()
    for recipe in evidence.recipes:
        words = json.loads(recipe)
        rule = words.pop("rewind.rule", Rewind().rule)
        fraction = words.pop("rewind.fraction", Rewind().fraction)
        if rule not in POINTED:
            return {}
        found[fraction * POINTED[rule]] = recipe
        others.add(str(words))  # its words are sorted
    alike = len(others) == 1 < len(found) == len(evidence.recipes)
    return dict(sorted(found.items())) if alike else {}


def anchors(evidence: Evidence, recipe: str) -> Rounds:
    """Return seed -> round of the dense network that was forked where a recipe rewinds to."""
    at_first_step = {"init": evidence.again}  # a fork from there is a second dense network
    rounds = dict(at_first_step.get(json.loads(recipe).get("rewind.rule"), {}))
    for cell in evidence.recipes[recipe].values():
        rounds |= cell.arms.get(FORK, {})
    return rounds


def statements(evidence: Evidence, margin: float) -> Iterator[Statement]:
    """Yield the claims of both accounts, where a setting has rewind points and their barriers.

    `margin` is that of the verdict, in units of `differences`.
    """
    recipes = rewind_points(evidence).values()
    forked = any(FORK in cell.planned_arms for cell in evidence.cells)
    path = metrics.BARRIER_PREVIOUS.name
    chained = any(path in r.metrics for r in evidence.rounds)
    for recipe in recipes:
        if forked:
            yield from _of_anchor(evidence, recipe)
        if forked or chained:
            yield from _of_tickets(evidence, recipe, margin, path if chained else "")


def _of_anchor(evidence: Evidence, recipe: str) -> Iterator[Statement]:
    """Yield the claims that training is stable from where a recipe rewinds to, and that it is
    not."""
    logs = barriers(anchors(evidence, recipe), metrics.BARRIER_EMA.name)
    planned = max(cell.planned for cell in evidence.recipes[recipe].values())
    return both_ways(STABLE_THERE, evidence.place(recipe), logs, planned)


def _of_tickets(evidence: Evidence, recipe: str, margin: float, path: str) -> Iterator[Statement]:
    """Yield the claims that tickets do not match and, where the barrier `path` was measured, that
    they are connected and that they are not."""
    for density, cell in evidence.ladder(recipe):
        place = evidence.place(recipe, density)
        worse = differences(cell.tickets, evidence.dense, evidence.deciding)
        less = {seed: -value for seed, value in worse.items()}
        yield Statement(FAILS, place, less, cell.planned, -margin)
        if path:
            yield from both_ways(CONNECTED, place, barriers(cell.tickets, path), cell.planned)


def barriers(rounds: Rounds, metric: str) -> dict[int, float]:
    """Return by seed the log of a barrier; of one that is hardly there, that of `LEAST`."""
    found = {seed: r.metrics[metric] for seed, r in rounds.items() if metric in r.metrics}
    return {seed: math.log(max(barrier, LEAST)) for seed, barrier in found.items()}


def both_ways(
    name: str, place: Place, logs: Mapping[int, float], planned: int
) -> Iterator[Statement]:
    """Yield the claim that barriers lie below `STABLE`, and the one that they lie above."""
    border = math.log(STABLE)
    yield Statement(name, place, logs, planned, border)
    less = {seed: -value for seed, value in logs.items()}
    yield Statement(absent(name), place, less, planned, -border)
