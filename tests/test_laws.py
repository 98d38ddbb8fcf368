"""One contract for every criterion x budget x unit x regime that the config admits: the laws of a trajectory."""

import itertools
import math
from typing import get_args

import pytest

from lthray.config import vocabulary as config
from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.core.record import Round
from lthray.core.store import Store
from lthray.core.ticket_file import read_ticket
from lthray.prune import regimes
from lthray.trial.trajectory import Trial, run

from .conftest import lenet, rounds, same

WORDS = {
    "model__hidden": (8, 8),
    "train__steps": 6,
    "measure__images": 20,
    "measure__checkpoints": 2,
    "prune__images": 16,
    "prune__terms": 2,
    "prune__layers": (("output", 1.0), ("*", "free")),
    "prune__ladder": (0.5, 0.25),
}


def admitted() -> list[dict]:
    """Every combination that makes a config."""
    found = []
    words = [get_args(each) for each in (config.Criterion, config.Budget, config.Unit, config.RegimeName)]
    for criterion, budget, unit, regime in itertools.product(*words):
        combined = {"prune__criterion": criterion, "prune__budget": budget, "prune__unit": unit, "regime__name": regime}
        combined |= {"prune__dials": (0.5, -0.5)} if budget == "sampled" else {}
        combined |= {"regime__every": 1} if regime != "static" else {}
        try:
            lenet(**WORDS, **combined)
        except ConfigError:
            continue
        found.append(combined)
    return found


COMBINATIONS = admitted()


def name_of(words: dict) -> str:
    return "-".join(str(words[f"{w}"]) for w in ("prune__criterion", "prune__budget", "prune__unit", "regime__name"))


def test_the_config_admits_what_it_should():
    criteria, budgets = len(get_args(config.Criterion)), len(get_args(config.Budget))
    every = len(get_args(config.RegimeName))
    n_of_m, channel = criteria, criteria * 2  # one budget, or two; one regime
    assert len(COMBINATIONS) == criteria * budgets * every + n_of_m + channel


@pytest.mark.parametrize("words", COMBINATIONS, ids=name_of)
def test_laws_of_every_combination(tmp_path, words):
    chosen = lenet(**WORDS, **words)
    store = Store(tmp_path / "store")
    found = rounds(chosen, store)
    trial = Trial(chosen, store, "cpu")
    sizes = {name: math.prod(trial.shapes[name]) for name in trial.free}
    masks = [read_ticket(r.files["ticket"])[0].mask for r in found[1:]]
    for density, mask, r in zip(chosen.prune.ladder, masks, found[1:], strict=True):
        kept, asked = sum(int(mask[name].sum()) for name in sizes), round(density * sum(sizes.values()))
        if chosen.prune.unit == "channel":  # as near below as whole channels come, and of nothing but them
            assert 0.7 * asked < kept <= asked
            assert trial.coupling.mask(trial.coupling.channels(mask), trial.whole) == mask
        else:
            assert kept == asked  # exact
        assert r.metrics["density/prunable"] == pytest.approx(mask.density)
        assert all(math.isfinite(value) for value in r.metrics.values())
        assert set(mask) == set(sizes)  # norms, biases and what is kept whole are never cut
    assert masks[1].within(masks[0]) or regimes.REGIMES[chosen.regime.name].exchanges
    for rung, mask in zip(trial.plan.rungs[1:], masks, strict=True):
        state = next(iter_of(trial.reach(rung, rung.chain, rung.chain.end)))
        assert mask.holds(state.weights)
        assert mask.holds(state.average)
    again = Store(tmp_path / "again")  # killed wherever a state was committed, and begun again
    assert all(same(a, b) for a, b in zip(found, resumed(chosen, again), strict=True))


def resumed(chosen: TrialConfig, store: Store) -> list[Round]:
    """The rounds of a trial that is cut at its every event."""
    found: list[Round] = []
    while len(found) < len(chosen.prune.ladder) + 1:
        events = run(chosen, store, device="cpu", commit=0.0)
        for _ in found:
            next(events)
        event = next(events)
        found += [event] if isinstance(event, Round) else []
        events.close()
    return found


def iter_of(steps):
    """What a generator of progress returns."""
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        yield stop.value
