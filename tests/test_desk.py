"""The ledger keeps what was given out; the queue hands out the rest; results read it back."""

import json
from dataclasses import asdict, replace

import pytest

from lthray.core.store import Store, StoreError
from lthray.study.call import resolve
from lthray.study.ledger import DONE, FAILED, STOPPED, Ledger
from lthray.study.page import Grid, Search, Study
from lthray.study.preview import lines, plan_rows, planned
from lthray.study.queue import Queue
from lthray.study.results import (
    News,
    best,
    look,
    matching,
    ranked,
    round_line,
    spent,
    trials,
    verdict,
)
from lthray.study.space import Choice
from lthray.study.tables import best_lines, closing_lines, surface_table, trial_table
from lthray.study.terminal import Tally, duration
from lthray.trial.points import point
from lthray.trial.recipe import trajectory

from .conftest import TINY, rounds, tiny

SEARCH = Search(
    name="search",
    about="A question.",
    seeds=(0,),
    trials=3,
    words=TINY | {"prune.ladder": (0.6, 0.5, 0.4)},
    space=lambda config: {
        "prune.criterion": Choice(("magnitude", "random")),
        "rewind.fraction": Choice((0.25, 0.5)),
    },
)
LIST = Grid(
    name="list",
    about="Another.",
    seeds=(0, 1),
    words=TINY,
    points=lambda config: [{"prune.criterion": "magnitude"}, {"prune.criterion": "random"}],
    surface=("prune.criterion", "loss/excess"),
)


def opened(study: Study, store: Store, *argv: str):
    call = resolve(study, ["--out", str(store.root.parent), *argv])
    about = {
        "study": study.name,
        "preset": "digits",
        "smoke": False,
        "question": study.about,
        "varied": call.varied,
        "order": list(call.space),
    }
    ledger = Ledger.freeze(
        store, call.plan("digest"), about | {"command": "", "commit": "", "lthray": "0"}
    )
    return call, ledger


def work_off(call, ledger: Ledger, store: Store, *, last: int) -> None:
    """Give out every trial of a list, and run those up to `last` to their end."""
    queue = Queue(call, ledger)
    for number, words in enumerate(queue.listed()):
        queue.task(words, 0.0)
        if number <= last:
            rounds(call.config_of(number, words), store)
            ledger.finish(number, DONE)


def console_text(table) -> str:
    from rich.console import Console

    console = Console(width=160)
    with console.capture() as got:
        console.print(table)
    return got.get()


def test_the_same_plan_is_the_same_call_and_its_first_story_stays(store):
    _, a = opened(SEARCH, store)
    _, b = opened(SEARCH, store, "--trials", "9")
    _, c = opened(SEARCH, store, "--seed", "1")
    assert a.key == b.key != c.key
    assert {ledger.key for ledger in Ledger.all(store)} == {a.key, c.key}
    assert a.about["question"] == "A question."


def test_points_and_ends_are_written_once(store):
    _, ledger = opened(SEARCH, store)
    first = ledger.begin(0, point(trajectory(tiny()), {}, "search"))
    assert ledger.begin(0, point(trajectory(tiny(seed=9)), {}, "search")) == first
    ledger.finish(0, STOPPED, "because")
    ledger.finish(0, DONE)
    (entry,) = ledger
    assert entry.end.status == STOPPED
    assert [ledger.happened(0, "resource") for _ in range(3)] == [1, 2, 3]
    assert ledger.happened(1, "resource") == ledger.happened(0, "device") == 1
    ledger.begin(1, first)
    ledger.finish(1, FAILED, "broken", trace="Traceback: ...")
    assert ledger.traceback(1) == {"traceback.txt": b"Traceback: ..."}
    assert ledger.traceback(0) == {}


def test_calls_on_some_of_the_seeds_are_looks_whether_they_ended_or_not(store):
    ledgers = []
    for seeds in ((0,), (0, 1), (0, 1, 2), (7, 8)):
        call, ledger = opened(LIST, store, "--seeds", *map(str, seeds))
        work_off(call, ledger, store, last=-1)
        ledgers.append(ledger)
    looks = [look(store, list(trials(store, ledger))) for ledger in ledgers]
    assert looks == [1, 2, 3, 1]
    searched, ledger = opened(SEARCH, store)
    Queue(searched, ledger).task({"prune.criterion": "random", "rewind.fraction": 0.25}, 0.0)
    assert look(store, list(trials(store, ledgers[1]))) == 2


def test_a_search_gives_out_unfinished_points_again_and_then_new_ones(store):
    call, ledger = opened(SEARCH, store)
    queue = Queue(call, ledger)
    assert queue.left == 3
    given = [
        queue.task({"prune.criterion": c, "rewind.fraction": 0.25}, 0.0)
        for c in ("magnitude", "random")
    ]
    assert [t.number for t in given] == [0, 1]
    ledger.finish(0, DONE)
    again = Queue(call, ledger)
    assert again.left == 2
    task = again.task({"prune.criterion": "never asked"}, 0.0)
    assert (task.number, task.words) == (1, given[1].words)
    assert again.task({"prune.criterion": "random", "rewind.fraction": 0.5}, 0.0).number == 2
    assert Queue(call, ledger).left == 2
    more, _ = opened(SEARCH, store, "--trials", "5")
    assert Queue(more, ledger).left == 4


def test_what_a_search_knows_is_in_the_ledger_and_the_store(store):
    call, ledger = opened(SEARCH, store)
    queue = Queue(call, ledger)
    for criterion in ("magnitude", "random", "random"):
        queue.task({"prune.criterion": criterion, "rewind.fraction": 0.25}, 0.0)
    rounds(call.config_of(0, {"prune.criterion": "magnitude", "rewind.fraction": 0.25}), store)
    ledger.finish(0, DONE)
    ledger.finish(2, FAILED, "nan")
    past = Queue(call, ledger).past
    assert [past[number].state for number in range(3)] == ["complete", "running", "failed"]
    assert len(past[0].scores) == 3
    assert past[1].scores == ()
    assert queue.past[0].state == "running"  # until it looks again
    assert queue.ended() == [0, 2]
    assert queue.past == past


def test_a_list_is_finished_in_order_wherever_it_was_left(store):
    call, ledger = opened(LIST, store)
    queue = Queue(call, ledger)
    assert [w["prune.criterion"] for w in queue.listed()] == ["magnitude"] * 2 + ["random"] * 2
    for words in queue.listed()[:2]:
        queue.task(words, 0.0)
    ledger.finish(1, DONE)
    again = Queue(call, ledger)
    assert [w["prune.criterion"] for w in again.listed()] == ["magnitude", "random", "random"]
    numbers = [again.task(words, 0.0).number for words in again.listed()]
    assert numbers == [0, 2, 3]
    assert {e.point.seed for e in ledger} == {0, 1}


def test_a_list_is_entered_as_a_whole_and_a_search_as_it_is_drawn(store):
    call, ledger = opened(LIST, store)
    jobs = Queue(call, ledger).jobs(0.5)
    assert len(list(ledger)) == 0
    first = next(jobs)
    assert len(list(ledger)) == call.trials == 4
    rest = list(jobs)
    assert [job.number for job in (first, *rest)] == [0, 1, 2, 3]
    assert {job.gpus for job in rest} == {0.5}

    searched, ledger = opened(SEARCH, store)
    jobs = Queue(searched, ledger).jobs(0.0)
    for number in range(searched.trials):
        assert next(jobs).number == number
        assert len(list(ledger)) == number + 1
    assert next(jobs, None) is None


def test_news_is_each_trial_when_it_has_changed_and_reads_nothing_else(store, monkeypatch):
    call, ledger = opened(LIST, store)
    work_off(call, ledger, store, last=-1)
    news, read = News(store, ledger), []
    monkeypatch.setattr(Store, "find", seen(Store.find, read))
    assert [trial.number for trial in news] == [0, 1, 2, 3]
    ends = len(ledger.numbers)
    read.clear()
    assert list(news) == []
    assert len(read) == ends, "of a trial at which nothing is new, more is read than its end"

    rounds(call.config_of(1, ledger.entry(1).point.words), store)
    first = next(iter(news))
    assert (first.number, len(first.rounds), first.end) == (1, 3, None)
    assert next(iter(news)).number == 1  # it could not be told: the next was never asked for
    told = [(trial.number, len(trial.rounds)) for trial in news]
    assert told == [(1, 3), (3, 1)], "the other trial of its seed has its dense network"
    ledger.finish(1, DONE)
    ledger.finish(2, FAILED, "nan")
    assert [(trial.number, trial.status) for trial in news] == [(1, DONE), (2, FAILED)]
    assert list(news) == []
    assert news.ended == {1, 2}


def seen(read, calls: list):
    """Wrap a method so that each of its calls is listed."""

    def wrapped(*args, **options):
        calls.append(args[1:])
        return read(*args, **options)

    return wrapped


def test_the_rungs_stop_the_worse_half_and_remember_across_a_restart(store):
    call, ledger = opened(SEARCH, store)
    queue = Queue(call, ledger)
    for _ in range(3):
        queue.task({"prune.criterion": "magnitude", "rewind.fraction": 0.25}, 0.0)
    assert call.stops == {2}
    assert queue.goes_on(0, 1, 9.0)  # no rung of the search
    assert queue.goes_on(0, 2, 0.1)
    assert queue.goes_on(0, 2, 0.1)  # reported again after a retry: still alone on its rung
    assert not queue.goes_on(1, 2, 0.2)
    assert queue.goes_on(2, 2, float("nan"))
    ends = {e.number: e.end for e in ledger}
    assert (ends[1].status, ends[1].last) == (STOPPED, 2)
    assert "excess +20.00% at round 2: not among the best 1/2 of 2" in ends[1].reason
    again = Queue(call, ledger)
    assert again.scores == {2: {0: 0.1}}  # of trial 1, which the store has no rounds of, none
    assert again.goes_on(0, 2, 0.1)
    assert not queue.goes_on(1, 2, 0.2)


def test_a_stopped_trial_does_not_take_rounds_that_another_made(store):
    call, ledger = opened(SEARCH, store)
    queue = Queue(call, ledger)
    words = {"prune.criterion": "magnitude", "rewind.fraction": 0.25}
    for _ in range(2):
        queue.task(words, 0.0)
    rounds(call.config_of(0, words), store)
    ledger.finish(0, DONE)
    ledger.finish(1, STOPPED, "worse", last=2)
    assert [len(t.rounds) for t in trials(store, ledger)] == [4, 3]
    past = Queue(call, ledger).past
    assert [len(past[number].scores) for number in range(2)] == [3, 2]


def test_scores_come_back_from_the_store(store):
    call, ledger = opened(SEARCH, store)
    queue = Queue(call, ledger)
    task = queue.task({"prune.criterion": "magnitude", "rewind.fraction": 0.25}, 0.0)
    found = rounds(
        call.config_of(0, {"prune.criterion": "magnitude", "rewind.fraction": 0.25}), store
    )
    ledger.finish(task.number, DONE)
    again = Queue(call, ledger)
    assert again.scores[2] == {0: found[2].metrics["loss/excess"]}
    assert again.past[0].state == "complete"


def test_a_list_is_never_cut_short(store):
    call, ledger = opened(LIST, store)
    queue = Queue(call, ledger)
    queue.task(queue.listed()[0], 0.0)
    assert all(queue.goes_on(0, r, 9.0) for r in (1, 2, 3, 4))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A list of four trials that has been run; the last failed."""
    store = Store(tmp_path_factory.mktemp("finished") / "store")
    call, ledger = opened(LIST, store)
    work_off(call, ledger, store, last=2)
    ledger.finish(3, FAILED, "NonFinite: training loss is nan at step 3", trace="Traceback")
    return call, ledger, list(trials(store, ledger))


def test_results_read_the_trials_back(finished):
    _, ledger, found = finished
    assert [t.status for t in found] == ["done", "done", "done", "failed"]
    assert [len(t.rounds) for t in found] == [
        3,
        3,
        3,
        1,
    ]  # the failed one shares a dense network that is there
    assert found[0].id == f"{ledger.key[:16]}-0000"
    assert ranked(found)[-1].status == "failed"
    excess = [t.rounds[-1].metrics["loss/excess"] for t in ranked(found)[:3]]
    assert excess == sorted(excess)


def test_matching_goes_down_the_ladder_to_the_first_failure(finished):
    trial = finished[2][0]
    for metrics, expected in [
        ([(0.0, 0.001), (0.005, 0.001)], 1),
        ([(0.0, 0.001), (0.02, 0.001)], 0),
        ([(0.02, 0.001), (0.0, 0.001)], None),
        ([(0.0, 0.1), (0.0, 0.001)], None),  # too uncertain to be called matching
    ]:
        for r, (excess, error) in zip(trial.rounds[1:], metrics, strict=True):
            r.metrics.update({"loss/excess": excess, "loss/excess_se": error})
        want = None if expected is None else trial.rounds[1 + expected].metrics["density/prunable"]
        assert matching(trial) == want
    assert not trial.older


def test_verdicts_are_markdown_and_say_what_they_are_not(finished):
    text = verdict(finished[2][1])
    assert text.count("|---|---|---|") == 1
    assert "A grade needs controls and fresh seeds." in text
    assert "NonFinite" in verdict(finished[2][3])


def test_tables_and_lines(finished):
    call, _, found = finished
    text = console_text(trial_table(found))
    assert "failed" in text
    assert found[0].name in text
    surface = console_text(surface_table(found, *call.study.surface))
    assert "magnitude" in surface
    assert "(2)" in surface
    lines = best_lines(found, call.rungs, "my runs")
    assert lines[0].startswith("best recipe")
    assert "--out 'my runs'" in lines[1]
    assert "round 1/2, density 0.5, excess" in round_line("x", 1, 2, found[0].rounds[1].metrics)
    assert (duration(3), duration(200), duration(9000)) == ("3 s", "3 min", "2.5 h")


def test_a_surface_is_of_tickets_not_of_what_stands_in_their_place(finished):
    import copy

    first, *others = copy.deepcopy(finished[2])
    first.rounds[1].metrics["loss/excess"] = 99.0
    config = {**first.point.config, "control": "reinit"}
    found = [replace(first, point=replace(first.point, control="reinit", config=config)), *others]
    assert "99.0" not in console_text(surface_table(found, "prune.criterion", "loss/excess"))
    assert "99.0" in console_text(surface_table(found, "control", "loss/excess"))


def test_the_end_says_what_was_shared_and_how_the_time_was_spent(finished):
    _, ledger, found = finished
    began = min(r.created for t in found for r in t.rounds) - 10
    done, shared = closing_lines(found, ledger.store, began, 2)
    # one dense run of 8 steps a seed and two rungs of 6 a trial; the fourth has only its seed's
    assert done == "52 training steps served for 68, which the trials would have needed alone"
    first, busy = spent(found, began)
    rounds_of = {r.keys["round"]: r for t in found for r in t.rounds}.values()
    assert len(rounds_of) == 2 + 3 * 2
    assert busy == pytest.approx(sum(sum(r.seconds.values()) for r in rounds_of))
    assert began + 9 < first < began + 10
    assert f"; the first step after {first - began:.0f} s; " in shared
    assert shared.endswith("% of 2 slots trained or measured")
    assert closing_lines(found, ledger.store, began + 1e6, 2) == [done]  # nothing was made since


def test_the_best_recipe_is_named_at_the_dense_networks_own_budget(finished):
    import copy

    _, _, found = finished
    older = copy.deepcopy(found[1])
    older.rounds[-1].metrics.update({"loss/excess": -9.0, "cost/steps_of_weights": 999.0})
    lines = best_lines([found[0], older], 2, "runs")
    assert lines[0].startswith(f"best recipe: {found[0].name} ")
    assert lines[2].startswith("best with more steps than dense: ")
    assert "more optimizer steps" in verdict(older)


def test_each_recipe_is_named_once_by_its_best_trial(finished):
    first = finished[2][0]

    def trial(number: int, recipe: str, excess: float):
        metrics = {**first.rounds[-1].metrics, "loss/excess": excess}
        point = replace(first.point, config={**first.point.config, "prune.criterion": recipe})
        rounds = (*first.rounds[:-1], replace(first.rounds[-1], metrics=metrics))
        return replace(first, id=f"x-{number:04d}", point=point, rounds=rounds)

    found = [trial(0, "a", 0.3), trial(1, "b", 0.2), trial(2, "a", 0.1)]
    assert [t.number for t in best(found, 2)] == [2, 1]
    assert (
        best(found, 3) == best(found, 0) == []
    )  # none went down three rungs; dense networks are ranked otherwise


def test_a_ledger_holds_points_and_ends_as_they_were(store):
    _, ledger = opened(SEARCH, store)
    made = ledger.begin(0, point(trajectory(tiny()), {"prune.criterion": "random"}, "search"))
    ledger.finish(0, STOPPED, "because", last=1)
    (entry,) = ledger
    assert entry.point == made
    assert json.loads(json.dumps(asdict(made))) == asdict(made)
    assert entry.rounds == made.rounds[:2]
    assert (entry.end.status, entry.end.reason, entry.end.last) == (STOPPED, "because", 1)


def test_a_ledger_of_an_older_lthray_is_one_line(store):
    _, ledger = opened(SEARCH, store)
    facts = asdict(point(trajectory(tiny()), {}, "search"))
    keys = [place["key"] for place in facts["rounds"]]  # a round was one object then
    store.put(ledger.key, "trial-0000-point", facts={**facts, "rounds": keys})
    with pytest.raises(
        StoreError, match=r"stored by an older lthray.*; run the study again in another --out"
    ):
        list(trials(store, ledger))


def test_the_tally_counts_steps_as_the_store_shows_them(finished, store):
    call, ledger, _ = finished
    tally = Tally(ledger.store, ledger, call.trials)
    unique = {
        k: r.length
        for e in ledger
        for k, r in trajectory(call.config_of(e.number, e.point.words)).runs.items()
    }
    assert tally()[1] == sum(unique.values())
    assert (
        tally()[0] == tally()[1] - 12
    )  # all but the rungs of the failed trial; what it shares is there
    assert Tally(ledger.store, ledger, 8)()[1] == 2 * sum(unique.values())


def test_a_plan_is_a_page_that_a_person_reads():
    call = resolve(LIST, ["--train.lr", "1e-3"])
    shown = list(lines(call, *planned(call)))
    assert shown[0] == f"list: {len(LIST.seeds) * 2} trials"
    at = shown.index("what all trials share")
    assert "  prune.ladder" in shown[at + 1]
    assert any(line.split() == ["train.lr", "0.001"] for line in shown)
    arms = shown[shown.index("trials of the list, each with seeds 0 1") + 1 :]
    assert arms[: arms.index("")] == ["  overall late25%", "  random overall late25%"]
    call = resolve(SEARCH, [])
    search = list(lines(call, *planned(call)))
    drawn = search[search.index("what each trial draws") + 1 :]
    assert drawn[: drawn.index("")] == [
        "  prune.criterion  magnitude, random",
        "  rewind.fraction  0.25, 0.5",
    ]
    assert any(line.startswith("trials of the search") for line in search)


def test_a_dry_run_counts_shared_and_unshared_steps():
    call = resolve(LIST, ["--dry-run"])
    plans = [trajectory(call.config_of(i, call.point(i))) for i in range(4)]
    rows = plan_rows(plans, 10_000, 0.01, 2)
    alone = 4 * (8 + 6 + 6)
    unique = 2 * 8 + 4 * 12
    assert f"{unique} unique of {alone} if nothing were shared (80%)" in rows["training steps"]
