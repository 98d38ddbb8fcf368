"""A recorded search: its space is read from its plan, its trials are Optuna's, its next draws are
those of the study; importances, forecasts and figures are Optuna's and sklearn's own."""

import io
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from PIL import Image

from lthray.core.keys import canonical
from lthray.core.metrics import EXCESS
from lthray.core.random import seed_of
from lthray.core.record import RecordError, TrialRecord
from lthray.core.store import Store
from lthray.findings import forests, html, plots
from lthray.findings.chance import best_of, best_of_normal
from lthray.findings.sections import Section
from lthray.study import queue
from lthray.study.call import Call
from lthray.study.ledger import DONE, FAILED, Entry
from lthray.study.page import Search
from lthray.study.queue import Queue
from lthray.study.searched import Searched, dial_of
from lthray.study.space import Choice, Range

from .conftest import TINY
from .test_desk import opened

PAGE = Search(
    name="tried",
    about="What works?",
    seeds=(0, 1),
    trials=14,
    startup=4,
    words=TINY | {"prune.ladder": (0.6, 0.5, 0.4)},
    first=[{"prune.criterion": "magnitude"}],
    space=lambda config: {
        "prune.criterion": Choice(("magnitude", "random")),
        "train.lr": Range(0.001, 0.01, log=True),
        "prune.budget": Choice(("overall", "ramp")),
        "prune.slope": Range(-1.0, 1.0, when=("prune.budget", ("ramp",))),
        "rewind.rule": Choice(("late", "sign")),
        "rewind.fraction": Range(0.1, 0.6, when=("rewind.rule", ("late",))),
    },
)
SCORES = {"magnitude": -0.05, "random": 0.05}
LOST = 5  # trial that fails


def score_at(config: Mapping[str, Any], rung: int) -> float:
    """A score that is a function of the words of a trial: the criterion, and a little chance."""
    noise = seed_of("score", canonical(dict(config)), rung) / 2**63 - 0.5
    return SCORES[config.get("prune.criterion", "magnitude")] * rung + 0.01 * noise


def walk(desk: Queue, measured: dict[str, float]) -> list[TrialRecord]:
    """Walk through a search without training, and return its trials as they are recorded.

    The score of each place that was come to is entered in `measured`.
    """
    came: dict[int, list[dict]] = {}
    for _ in range(desk.call.trials):
        job = desk.next(0.0)
        point = desk.entries[job.number].point
        rounds = came.setdefault(job.number, [round_of(0, 1.0, 0.0)])
        if job.number == LOST:
            desk.ledger.finish(job.number, FAILED, "NonFinite: nan at step 3")
            continue
        for rung, density in enumerate(desk.call.config.prune.ladder, 1):
            score = score_at(point.config, rung)
            measured[canonical(dict(point.rounds[rung]))] = score
            rounds.append(round_of(rung, density, score))
            if not desk.goes_on(job.number, rung, score):
                break
        else:
            desk.ledger.finish(job.number, DONE)
    return [record_of(entry, came[entry.number]) for entry in desk.ledger]


def record_of(entry: Entry, rounds: list[dict]) -> TrialRecord:
    facts = {"id": f"{'a' * 16}-{entry.number:04d}", "rounds": rounds}
    facts["end"] = {"status": entry.end.status, "reason": entry.end.reason}
    facts["point"] = json.loads(json.dumps(asdict(entry.point), sort_keys=True))
    return TrialRecord.from_json(facts, run=str(entry.number))


def round_of(index: int, density: float, excess: float) -> dict:
    measured = {"loss/heldout": 0.1 * (1 + excess), "loss/excess": excess, "loss/excess_se": 0.001}
    measured |= {"cost/steps_spent": 8 * (index + 1), "cost/steps_of_weights": 8}
    measured |= {"cost/train_seconds": 1.5, "cost/measure_seconds": 0.5}
    return {
        "index": index,
        "density": density,
        "metrics": {**measured, "density/prunable": density},
    }


def recorded_plan(call: Call, **more: Any) -> dict[str, Any]:
    """The plan of a search as MLflow holds it: its words are sorted, their order stands beside."""
    facts = {**call.plan("x"), "order": list(call.space), **more}
    return json.loads(json.dumps(facts, sort_keys=True))


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A search of 14 trials: its call, queue and trials, and what is read back of it."""
    measured: dict[str, float] = {}

    def assembled(_store, place):
        score = measured.get(canonical(dict(place)))
        return None if score is None else SimpleNamespace(metrics={EXCESS.name: score})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "assemble", assembled)
        call, ledger = opened(PAGE, Store(tmp_path_factory.mktemp("walked") / "store"))
        desk = Queue(call, ledger)
        trials = walk(desk, measured)
        desk.ended()
        plan = recorded_plan(call)
        search = Searched.of(plan, trials)
        yield SimpleNamespace(call=call, desk=desk, trials=trials, search=search)


@pytest.mark.parametrize(
    "dial",
    [
        Choice(("a", 1, 0.5, None, True)),
        Choice((1, 2), when=("prune.budget", ("ramp", "sampled"))),
        Choice(((16, 32), (32, 64))),
        Range(-1.5, 1.5),
        Range(1e-05, 0.1, log=True, when=("x", (1,))),
    ],
)
def test_a_dial_is_read_back_from_its_plan(dial):
    assert dial_of(repr(dial)) == dial


@pytest.mark.parametrize(
    "text", ["", "1", "Choice(", "Choice(low=1)", "print(1)", "Choice(values=__import__('os'))"]
)
def test_what_is_no_dial_is_told_and_never_run(text):
    with pytest.raises(RecordError, match="no dial of a search's space"):
        dial_of(text)


def test_a_search_is_read_back_as_it_was(walked):
    search, call = walked.search, walked.call
    assert list(search.space.items()) == list(call.space.items())
    assert search.config == call.config
    assert search.past == walked.desk.past
    assert search.common == 2  # where the search may first stop a trial
    assert sorted(search.at(2)) == [n for n in range(14) if n != LOST]
    assert search.densities == [0.6, 0.5, 0.4]


def test_words_are_drawn_after_those_that_they_hang_on_where_no_order_was_recorded(walked):
    search = Searched.of(recorded_plan(walked.call, order=[]), walked.trials)
    assert list(search.space) != list(walked.call.space)
    assert (search.ordered, walked.search.ordered) == (False, True)
    assert dict(search.space) == dict(walked.call.space)
    for each in search.proposals(6).values():
        assert ("rewind.fraction" in each.words) == (each.words["rewind.rule"] == "late")


def test_trials_are_optunas(walked):
    search = walked.search
    study = search.study(search.common)
    states = [trial.state for trial in study.trials]
    assert states[LOST] == TrialState.FAIL
    assert states.count(TrialState.COMPLETE) == 13
    for trial in study.trials:
        past = search.past[trial.number]
        assert trial.params == past.words
        assert ("prune.slope" in trial.params) == (trial.params["prune.budget"] == "ramp")
        if trial.number != LOST:
            assert trial.value == past.scores[1]
            assert list(trial.intermediate_values.values()) == past.scores
    last = [trial.state for trial in search.study(3).trials]
    ends = {t.number: t.status for t in walked.trials}
    wanted = {"done": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    assert last == [wanted[ends[number]] for number in range(14)]
    assert set(ends.values()) == set(wanted)


def test_proposals_are_what_the_study_itself_draws_next(walked):
    search, more = (
        walked.search,
        replace(walked.call, options=replace(walked.call.options, trials=17)),
    )
    drawn = search.proposals(3)
    assert list(drawn) == [14, 15, 16]
    desk = Queue(more, walked.desk.ledger)
    for number, each in drawn.items():
        job = desk.next(0.0)
        assert job.number == number
        assert desk.past[number].words == each.words
        assert search.config_of(number, each.words) == more.config_of(number, each.words)
    assert Searched.of(recorded_plan(walked.call), walked.trials).proposals(3) == drawn


def test_a_search_of_dense_networks_is_scored_by_their_loss():
    trial = {"id": "a-0", "end": {"status": "done"}, "rounds": [round_of(0, 1.0, 0.0)]}
    trial["point"] = {"name": "x", "recipe": "x", "phase": "search", "config": {}, "seed": 0}
    trial["point"] |= {"control": "none", "fork": 0, "words": {"train.lr": 0.002}}
    space = {"train.lr": repr(Range(0.001, 0.01))}
    plan = {"space": space, "config": {"prune.ladder": []}, "seeds": [0], "seed": 0, "search": [4]}
    search = Searched.of(plan, [TrialRecord.from_json(trial)])
    assert (search.rungs, search.common, search.at(1)) == (0, 1, {0: 0.1})


# importances and forecasts


def planted(n: int, seed: int = 0) -> optuna.Study:
    """A study of n trials in which `a` matters much, `b` a little and `c` not at all."""
    rng, study = np.random.default_rng(seed), optuna.create_study()
    dials = {
        "a": optuna.distributions.CategoricalDistribution(("x", "y", "z")),
        "b": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True),
        "c": optuna.distributions.FloatDistribution(0.0, 1.0),
    }
    for _ in range(n):
        a, b, c = str(rng.choice(["x", "y", "z"])), float(10 ** rng.uniform(-3, 0)), rng.uniform()
        value = {"x": 0.0, "y": 0.5, "z": 1.0}[a] + 0.2 * np.log10(b) + rng.normal(0, 0.02)
        params = {"a": a, "b": b, "c": float(c)}
        study.add_trial(
            optuna.trial.create_trial(
                value=value,
                params=params,
                distributions=dials,
                intermediate_values={1: value, 2: value},
            )
        )
    return study


def test_importances_are_optunas_and_beside_them_stands_chance(monkeypatch):
    monkeypatch.setattr(forests, "FORESTS", 4)
    monkeypatch.setattr(forests, "SHUFFLES", 6)
    study = planted(24)
    found = forests.importances(study)
    assert [each.word for each in found] == ["a", "b", "c"]
    shares = [
        optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed)
        )
        for seed in range(forests.FORESTS)
    ]
    for each in found:
        own = [share[each.word] for share in shares]
        assert each.mean == pytest.approx(np.mean(own))
        assert (each.low, each.high) == pytest.approx(tuple(np.quantile(own, (0.05, 0.95))))
    a, _, c = found
    assert a.mean > 0.8 > a.chance
    assert c.mean < c.chance
    assert forests.importances(study) == found
    ped = optuna.importance.get_param_importances(study)
    assert forests.ped_anova(study) == ped


def test_a_forecast_knows_what_it_was_taught_and_tells_its_error():
    study = planted(40)
    told = forests.forecasts(
        study, [{"a": "x", "b": 0.03, "c": 0.5}, {"a": "z", "b": 0.03, "c": 0.5}]
    )
    assert told.means[1] - told.means[0] > 0.7
    assert told.informed
    assert told.error < 0.2 < told.blind
    assert told == forests.forecasts(
        study, [{"a": "x", "b": 0.03, "c": 0.5}, {"a": "z", "b": 0.03, "c": 0.5}]
    )
    noise = forests._shuffled(study, 0)
    assert not forests.forecasts(noise, [{"a": "x"}]).informed
    values = [trial.value for trial in study.trials]
    others = [value - np.mean(values[:i] + values[i + 1 :]) for i, value in enumerate(values)]
    assert told.blind == pytest.approx(np.sqrt(np.mean(np.square(others))))


def test_words_are_encoded_as_choices_and_numbers_and_none_where_they_are_not_drawn():
    dials = planted(1).trials[0].distributions
    rows = forests.encoded([{"a": "y", "b": 0.1}, {"c": 0.25}], dials)
    assert rows[0][:4] == pytest.approx([0, 1, 0, np.log(0.1)])
    assert np.isnan(rows[0][4])
    assert list(rows[1][:3]) == [0, 0, 0]
    assert rows[1][4] == 0.25


def test_the_best_in_random_order_is_the_mean_over_all_orders():
    values = [0.3, -1.0, 0.5, 0.1, 2.0]
    orders = np.array([np.minimum.accumulate(order) for order in itertools.permutations(values)])
    found = best_of(values)
    assert found.mean == pytest.approx(orders.mean(0))
    for k in range(5):
        for border, share in ((found.low[k], 0.05), (found.high[k], 0.95)):
            assert border in values
            assert np.mean(orders[:, k] <= border) >= share - 1e-9
            assert np.mean(orders[:, k] < border) < share
    rng = np.random.default_rng(0)
    assert best_of_normal(12) == pytest.approx(rng.normal(size=(20000, 12)).max(1).mean(), abs=0.03)


# figures


def figures() -> dict:
    study = planted(12)
    values = [trial.value for trial in study.trials]
    return {
        "history": plots.history(study, "score", best_of(values)),
        "rungs": plots.rungs(study, (0.5, 0.25), "score"),
        "slices": plots.slices(study, ["a", "b"], "score"),
        "contour": plots.contour(study, ["a", "b"], "score"),
        "parallel": plots.parallel(study, ["a", "b", "c"], "score"),
        "importance": plots.importance(study, {"a": 0.9, "b": 0.1}),
    }


def test_figures_are_drawn_both_ways_and_leave_no_style_behind():
    import matplotlib

    before = {word: v for word, v in matplotlib.rcParams.items() if "backend" not in word}
    for name, figure in figures().items():
        assert Image.open(io.BytesIO(figure.sheets[".png"])).width > 700, name
        assert figure.plotly["data"], name
        assert "title" not in figure.plotly["layout"], name
        page = html.chart(figure, figure.sheets[".svg"], name, interactive=True)
        assert 'class="plot drawn"' in page
        _, data = page.split('<script type="application/json">')
        assert json.loads(data.partition("</script>")[0])
    assert {word: matplotlib.rcParams[word] for word in before} == before


def test_figures_hold_the_scores():
    made = figures()
    study = planted(12)
    values = [trial.value for trial in study.trials]
    first, best, *_, order = made["history"].plotly["data"]
    assert first["y"] == pytest.approx(values)
    assert best["y"] == pytest.approx(list(np.minimum.accumulate(values)))
    assert order["name"] == plots.ORDER
    bars = made["importance"].plotly["data"][0]
    assert sorted(zip(bars["y"], bars["x"], strict=True)) == [("a", 0.9), ("b", 0.1)]
    section = Section("s", "S", figure=made["slices"])
    assert 'class="still"' in html.section(section, "s")
