"""A search goes on as if it had never stopped: laws over cuts, with scores instead of training."""

import random
from collections import Counter
from types import SimpleNamespace

import pytest

from lthray.core.keys import canonical
from lthray.core.metrics import EXCESS, HELDOUT
from lthray.core.random import seed_of
from lthray.core.store import Store
from lthray.study import local_runner, queue
from lthray.study.call import preview
from lthray.study.ledger import DONE, FAILED
from lthray.study.page import Search
from lthray.study.queue import Queue
from lthray.study.space import Choice, Past, Range, Sampler
from lthray.study.worker import work
from lthray.trial.recipe import trajectory
from lthray.trial.trajectory import place_of

from .conftest import TINY
from .test_desk import opened
from .test_local import Quiet

WIDE = Search(
    name="wide",
    about="A question.",
    seeds=(0, 1),
    trials=14,
    startup=4,
    words=TINY | {"prune.ladder": (0.6, 0.5, 0.4)},
    first=[{"prune.criterion": "magnitude"}],
    space=lambda config: {
        "prune.criterion": Choice(("magnitude", "random")),
        "rewind.fraction": Range(0.1, 0.6),
        "prune.budget": Choice(("overall", "ramp")),
        "prune.slope": Range(-1.0, 1.0, when=("prune.budget", ("ramp",))),
    },
)
NARROW = Search(
    name="narrow",
    about="Another.",
    seeds=(0, 1),
    trials=8,
    startup=2,
    words=TINY,
    space=lambda config: {
        "prune.criterion": Choice(("magnitude", "random")),
        "rewind.fraction": Choice((0.25, 0.5)),
    },
)


def scored(_store, place):
    """Return a round whose scores are a function of what it is."""
    score = seed_of("score", canonical(place)) / 2**63
    return SimpleNamespace(metrics={EXCESS.name: score, HELDOUT.name: score})


def score_only(config, store, *, anchors=(), progress=None):
    """Run a trial of which nothing is trained: its rounds have scores, and some fail."""
    chosen = trajectory(config)
    for index, rung in enumerate(chosen.shown):
        r = scored(store, place_of(rung, chosen))
        if index == 1 and config.rewind.fraction > 0.45:
            raise ValueError("it diverged")
        yield SimpleNamespace(index=index, metrics=r.metrics)


def score_instead_of_training(patch) -> None:
    patch.setattr(queue, "assemble", scored)
    patch.setattr(queue, "is_stored", lambda store, place: True)
    patch.setattr(local_runner, "round_line", lambda *about: "")


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch):
    score_instead_of_training(monkeypatch)


def story(ledger) -> list:
    """Return what each trial was, what was known when it was drawn, and how it ended."""
    told = []
    for entry in ledger:
        end = entry.end and (entry.end.status, entry.end.reason, entry.end.last)
        told.append((entry.number, entry.point.words, tuple(entry.point.known), end))
    return told


def uninterrupted(root, trials: int, study=WIDE):
    call, ledger = opened(study, Store(root / "whole" / "store"), "--trials", str(trials))
    watch = Quiet()
    assert not local_runner.execute(Queue(call, ledger), score_only, watch)
    return call, ledger, watch


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list:
    """Return the story of a search of 14 trials that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        score_instead_of_training(patch)
        _, ledger, _ = uninterrupted(tmp_path_factory.mktemp("search"), 14)
        return story(ledger)


@pytest.mark.parametrize("cuts", range(4))
def test_a_search_cut_anywhere_and_extended_is_the_search_in_one_call(tmp_path, cuts, whole):
    dice = random.Random(cuts)
    wanted = 14
    store = Store(tmp_path / "cut" / "store")
    asked = 0
    while asked < wanted:
        asked = min(wanted, asked + dice.randint(1, 5))
        call, ledger = opened(WIDE, store, "--trials", str(asked))
        interrupted = True
        while interrupted:
            left = dice.randint(1, 12)

            def cut(config, store, **options):
                nonlocal left
                for r in score_only(config, store, **options):
                    left -= 1
                    if left == 0:
                        raise KeyboardInterrupt
                    yield r

            interrupted = local_runner.execute(Queue(call, ledger), cut, Quiet())
    assert story(ledger) == whole
    assert [known for _, _, known, _ in whole] == [tuple(range(n)) for n in range(wanted)]
    assert {end[0] for *_, end in whole} > {FAILED, DONE}


def redrawn(call, ledger) -> list:
    """Return the words of every trial, drawn again from what the ledger says was known."""
    everything = Queue(call, ledger).past
    drawn = []
    for entry in ledger:
        past = {}
        for number in range(entry.number):
            known = number in entry.point.known
            past[number] = everything[number] if known else Past(everything[number].words)
        drawn.append(call.sampler.draw(entry.number, past).words)
    return drawn


@pytest.mark.parametrize("order", range(3))
def test_with_several_trials_at_a_time_every_draw_can_be_made_again(tmp_path, order):
    from lthray.study.ray_runner import Rungs, Searching

    dice = random.Random(order)
    store = Store(tmp_path / "store")
    call, ledger = opened(WIDE, store)
    while (source := Queue(call, ledger)).left:  # a driver that is killed, and begun again
        search, rungs, running = Searching(source.jobs(0.0), Quiet()), Rungs(source), {}
        for _ in range(dice.randint(4, 30)):
            if source.left and len(running) < 3:
                config = search.suggest(f"tune-{source.left}")
                running[config["task"]["number"]] = config
            elif running:
                config = running.pop(dice.choice(sorted(running)))
                finish(config, rungs)
                search.on_trial_complete(str(config["task"]["number"]), {"round": 3, "score": 0.0})
    drawn = redrawn(call, ledger)
    assert [entry.point.words for entry in ledger] == drawn
    assert len({canonical(words) for words in drawn}) == 14
    known = [tuple(entry.point.known) for entry in ledger]
    assert known != [tuple(range(n)) for n in range(14)]  # some ran while others were drawn


def finish(config, rungs) -> None:
    """Run a trial of Tune's to its end, as a worker does."""
    trial = SimpleNamespace(config=config)

    def report(r) -> bool:
        result = {"round": r.index, "score": r.metrics[EXCESS.name]}
        return rungs.on_trial_result(None, trial, result) == rungs.CONTINUE

    job = queue.Job(**config["task"])
    work(job, score_only, report)


def test_one_trial_at_a_time_draws_the_same_by_either_runner(tmp_path, whole):
    from lthray.study.ray_runner import Rungs, Searching

    call, ledger = opened(WIDE, Store(tmp_path / "tune" / "store"))
    source = Queue(call, ledger)
    search = Searching(source.jobs(0.0), Quiet())
    while source.left:
        finish(search.suggest("any"), Rungs(source))
    assert story(ledger) == whole


def test_what_was_let_go_on_is_not_asked_again(tmp_path):
    call, ledger = opened(WIDE, Store(tmp_path / "store"))
    first = Queue(call, ledger)
    for _ in range(3):
        first.next(0.0)
    assert first.goes_on(0, 2, 0.5)
    assert first.goes_on(1, 2, 0.1)
    again = Queue(call, ledger)
    assert again.scores == {2: {0: 0.5, 1: 0.1}}
    assert again.goes_on(0, 2, 0.5)  # though by now it is the worse of two
    assert not again.goes_on(2, 2, 0.9)
    assert not again.goes_on(2, 2, 0.9)


def test_no_trial_is_drawn_twice_while_the_space_has_another(tmp_path):
    call, ledger, watch = uninterrupted(tmp_path, 8, NARROW)
    recipes = Counter((canonical(e.point.words), e.point.seed) for e in ledger)
    assert len(recipes) == 2 * 4  # every point on both seeds
    assert not [line for line in watch.said if "repeats" in line]
    assert len({canonical(config.canonical()) for config in preview(call)}) == 8


def test_a_trial_that_cannot_be_new_is_told(tmp_path):
    _, ledger, watch = uninterrupted(tmp_path, 9, NARROW)
    *_, last = ledger
    (line,) = [line for line in watch.said if "repeats" in line]
    (same,) = [
        e.number for e in ledger if (e.number, e.point.words) == (e.number & ~1, last.point.words)
    ][:1]
    assert line == f"trial 8 {last.point.name}: repeats trial {same}: nothing new was found to draw"
    assert same % 2 == 0  # on its seed


def test_draws_of_different_trials_are_independent():
    """Uniform and without correlation from one number to the next, as of one random stream."""
    from scipy import stats

    sampler = Sampler({"a": Range(0.0, 1.0), "b": Range(0.0, 1.0)}, {}, seed=0, startup=10)
    drawn = [sampler.draw(number, {}).words for number in range(600)]
    first, second = ([words[name] for words in drawn] for name in "ab")
    assert stats.kstest(first, "uniform").pvalue > 0.01
    assert stats.kstest(second, "uniform").pvalue > 0.01
    assert stats.spearmanr(first, second).pvalue > 0.01
    assert stats.spearmanr(first[:-1], first[1:]).pvalue > 0.01
