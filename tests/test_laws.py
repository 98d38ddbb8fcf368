"""The laws of a trajectory, for every pair of criterion, budget, unit and regime that the config
admits."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, get_args

import pytest

from lthray.config import vocabulary
from lthray.config.fields import ConfigError
from lthray.config.parts import Prune
from lthray.core.store import Store
from lthray.core.ticket import Mask
from lthray.core.ticket_file import read_ticket
from lthray.prune.regimes import REGIMES
from lthray.trial.workshop import Run, Workshop

from .conftest import lenet, making_of, resumed, rounds, same

Words = dict[str, Any]
WORDS: Words = {
    "model__hidden": (8, 8),
    "train__steps": 6,
    "measure__images": 20,
    "measure__checkpoints": 2,
    "prune__images": 16,
    "prune__terms": 2,
    "prune__layers": (("output", 1.0), ("*", "free")),
    "prune__ladder": (0.5, 0.25),
}
FAMILIES: dict[str, tuple[str, ...]] = {
    "prune__criterion": get_args(vocabulary.Criterion),
    "prune__budget": get_args(vocabulary.Budget),
    "prune__unit": get_args(vocabulary.Unit),
    "regime__name": get_args(vocabulary.RegimeName),
}


def admitted() -> list[Words]:
    """Return every combination of the families that makes a config."""
    found = []
    for combination in itertools.product(*FAMILIES.values()):
        words: Words = dict(zip(FAMILIES, combination, strict=True))
        if words["prune__budget"] == "sampled":
            words["prune__dials"] = (0.5, -0.5)
        if words["regime__name"] != "static":
            words["regime__every"] = 1
        try:
            lenet(**WORDS, **words)
        except ConfigError:
            continue
        found.append(words)
    return found


def members(words: Words) -> set[Any]:
    """Return (family, member) for each family."""
    return {(family, words[family]) for family in FAMILIES}


def pairs(words: Words) -> set[Any]:
    """Return each pair of members of two families."""
    chosen = [(family, words[family]) for family in FAMILIES]
    return set(itertools.combinations(chosen, 2))


def parts_of(combinations: Sequence[Words], parts: Callable[[Words], set[Any]]) -> set[Any]:
    """Return all that occurs in some of the combinations."""
    return set().union(*(parts(words) for words in combinations))


def covering(combinations: Sequence[Words], parts: Callable[[Words], set[Any]]) -> list[Words]:
    """Return few of the combinations in which all occurs that occurs in any.

    It takes again and again the first of those that add most.
    """
    missing = parts_of(combinations, parts)
    chosen = []
    while missing:
        best = max(combinations, key=lambda words: len(parts(words) & missing))
        missing -= parts(best)
        chosen.append(best)
    return chosen


def name_of(words: Words) -> str:
    """Return the members of a combination, for the name of its test."""
    return "-".join(words[family] for family in FAMILIES)


ADMITTED = admitted()
PAIRWISE = covering(ADMITTED, pairs)
INTERRUPTED = covering(PAIRWISE, members)


def test_the_config_admits_what_it_should():
    criteria, budgets, _, regimes = (len(family) for family in FAMILIES.values())
    n_of_m, channel = criteria, criteria * 2  # one budget, or two; one regime
    assert len(ADMITTED) == criteria * budgets * regimes + n_of_m + channel


def test_each_pair_that_the_config_admits_is_held_to_the_laws():
    criteria, budgets, units, regimes = (len(family) for family in FAMILIES.values())
    expected = criteria * (budgets + units + regimes) + budgets * regimes
    expected += budgets + 1 + 2  # of weights any budget; of n of m one, of channels two
    expected += regimes + 1 + 1  # of weights any regime; of the others one
    assert units == 3
    assert len(parts_of(PAIRWISE, pairs)) == len(parts_of(ADMITTED, pairs)) == expected
    assert criteria * budgets <= len(PAIRWISE) < 1.2 * criteria * budgets


def test_each_member_of_each_family_is_interrupted():
    expected = {(family, member) for family, names in FAMILIES.items() for member in names}
    assert parts_of(INTERRUPTED, members) == expected
    assert len(expected) == sum(len(names) for names in FAMILIES.values())


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Store:
    """One store for all combinations: they have the dense network, and many masks, in common."""
    return Store(tmp_path_factory.mktemp("laws") / "store")


@pytest.mark.parametrize("words", PAIRWISE, ids=name_of)
def test_laws_of_a_combination(shared, words):
    config = lenet(**WORDS, **words)
    found, (making, chosen) = rounds(config, shared), making_of(config, shared)
    assert len(found) == 3
    workshop = making.make(chosen.rungs[0].chain).workshop
    layers = config.prune.layers
    sizes = {name: math.prod(workshop.shapes[name]) for name in workshop.free(layers)}
    masks = [read_ticket(r.files["ticket"])[0].mask for r in found[1:]]
    for density, mask, r in zip(config.prune.ladder, masks, found[1:], strict=True):
        assert set(mask) == set(sizes)  # norms, biases and what is kept whole are never cut
        check_count(mask, round(density * sum(sizes.values())), workshop, config.prune)
        assert r.metrics["density/prunable"] == pytest.approx(mask.density)
        assert all(math.isfinite(value) for value in r.metrics.values())
    assert masks[1].within(masks[0]) or REGIMES[config.regime.name].exchanges
    for rung, mask in zip(chosen.rungs[1:], masks, strict=True):
        trained: Run = making.make(rung.chain)
        assert mask.holds(trained.final.weights)
        assert mask.holds(trained.final.average)


def check_count(mask: Mask, wanted: int, workshop: Workshop, prune: Prune) -> None:
    """Assert that a mask keeps as many weights as it should, and whole channels where they are
    cut."""
    kept = sum(int(bits.sum()) for bits in mask.values())
    if prune.unit != "channel":
        assert kept == wanted  # exact
        return
    coupling = workshop.coupling(prune.layers)
    assert 0.7 * wanted < kept <= wanted  # as near below as whole channels come
    channels = coupling.channels(mask)
    assert coupling.mask(channels, workshop.whole(prune.layers)) == mask  # nothing but channels


@pytest.mark.parametrize("words", INTERRUPTED, ids=name_of)
def test_a_trial_that_is_killed_wherever_it_can_be_equals_the_whole(shared, tmp_path, words):
    config = lenet(**WORDS, **words)
    whole = rounds(config, shared)
    again = resumed(config, Store(tmp_path / "again"))
    assert len(again) == 3
    assert all(same(a, b) for a, b in zip(whole, again, strict=True))
