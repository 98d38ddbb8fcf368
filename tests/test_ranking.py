"""Which trial is best, which goes on, and what was spent: on made-up trials."""

import itertools
import math
from dataclasses import replace

import pytest

from lthray.core.record import Outcome, Point, Round, TrialRecord
from lthray.study.results import best, matching, ranked, spent, surface
from lthray.study.space import promoted, score_of


def round_of(index: int, excess: float, steps: float = 8.0, error: float = 0.0, **more) -> Round:
    """A round whose held-out loss is 0.2 (1 + excess), and that keeps less than it was asked to."""
    measured = {
        "loss/heldout": 0.2 * (1 + excess),
        "loss/excess": excess,
        "loss/excess_se": error,
        "cost/steps_of_weights": steps if index else 8.0,
        "density/prunable": 0.5**index - 0.01,
    }
    return Round(index, 0.5**index, measured, **more)


def trial(number: int, *excess: float, recipe: str = "a", control: str = "none", steps=8.0):
    """A trial with a dense round and one for each of `excess`."""
    rounds = [round_of(0, 0.0), *(round_of(i, e, steps) for i, e in enumerate(excess, 1))]
    point = Point("name", "name", "search", {"prune.criterion": recipe}, 0, control)
    return TrialRecord(f"x-{number:04d}", point, Outcome("done"), tuple(rounds))


def numbers(trials: list[TrialRecord]) -> list[int]:
    return [each.number for each in trials]


def test_the_furthest_come_first_then_the_smallest_excess_at_the_last_rung_then_the_first():
    found = [
        trial(0, -0.9),
        trial(1, -0.5, 0.2),
        trial(2, 0.3, 0.1),
        trial(4, 0.3, 0.1),
        trial(3, 0.0, 0.1),
        trial(5),
    ]
    for order in itertools.permutations(found):
        assert numbers(ranked(order)) == [2, 3, 4, 1, 0, 5]


def test_dense_networks_are_ranked_by_their_loss_and_tickets_by_their_excess():
    measured = {"loss/heldout": 0.4, "loss/excess": -0.1}
    assert (score_of(measured, 0), score_of(measured, 1)) == (0.4, -0.1)


def test_the_best_went_down_the_whole_ladder_as_tickets_on_the_dense_networks_steps():
    found = [
        trial(0, 0.1, -0.9, control="reinit", recipe="control"),
        trial(1, -0.9, recipe="stopped"),
        trial(2, 0.1, -0.5, recipe="older", steps=8.5),
        trial(3, 0.1, 0.3, recipe="a"),
        trial(4, 0.1, 0.2, recipe="b"),
        trial(5, 0.1, 0.1, recipe="a"),
    ]
    assert numbers(best(found, 2)) == [5, 4]
    assert numbers(best(found, 2, fair=False)) == [2, 5, 4]
    assert best(found, 3) == best(found, 0) == []
    assert numbers(best(found, 1)) == [1]


# words of a recipe, or of its dense network, that no short name tells
UNTOLD = [
    {},
    {"rewind.state": "reset"},
    {"rewind.anchor": "previous"},
    {"prune.images": 9},
    {"prune.least": 0.01},
    {"regime.every": 5},
    {"prune.ladder": (0.5, 0.2)},
    {"model.dropout": 0.1},
]


def test_recipes_are_told_apart_by_all_their_words_and_not_by_their_names():
    first = trial(0, 0.1, 0.2)
    found = []
    for number, words in enumerate([*UNTOLD, {"seed": 1}, {"measure.images": 9}]):
        point = replace(first.point, config={**words})
        found.append(replace(first, id=f"x-{number:04d}", point=point))
    assert numbers(best(found, 2)) == list(range(len(UNTOLD)))


@pytest.mark.parametrize(
    ("excess", "density"),
    [
        ((0.0, 0.0, 0.0), 0.115),
        ((0.0, 0.0, 0.02), 0.24),
        ((0.0, 0.02, 0.0), 0.49),  # a rung that does not match ends it
        ((0.02, 0.0, 0.0), None),
    ],
)
def test_a_trial_matches_down_to_the_density_that_was_reached_before_the_first_failure(
    excess, density
):
    assert matching(trial(0, *excess)) == (None if density is None else pytest.approx(density))


def test_time_is_spent_once_on_what_trials_share():
    def made(index: int, weights: str, created: float, key: str = "") -> Round:
        seconds = {"train": 10.0, "along": 2.0, "measure": 3.0}
        keys = {"round": key or f"{weights} {index}", "weights": weights}
        return round_of(index, 0.0, created=created, seconds=seconds, keys=keys)

    shared, before = made(0, "dense", 100.0), made(0, "old", 50.0)
    ours = (shared, made(1, "run", 130.0))
    theirs = (shared, made(1, "run", 140.0, "of the same weights"))
    point = Point("a", "a", "list", {}, 0, "none")
    found = [
        TrialRecord(f"x-{i:04d}", point, None, rounds)
        for i, rounds in enumerate((ours, theirs, (before,)))
    ]
    # two runs of 12 s, three rounds of 3 s; the first began 15 s before its end
    assert spent(found, 60.0) == (85.0, 2 * 12 + 3 * 3)
    assert spent(found, 90.0)[0] == 90.0
    assert spent(found, 100.0) == (100.0, 2 * 12 + 3 * 3)  # what ended at that very moment counts
    assert spent(found, 141.0) == (141.0, 0.0)


def test_a_cell_of_a_surface_is_mean_standard_deviation_and_number():
    head, row = surface({("x", 0.5): [1.0, 2.0, 6.0], ("y", 0.5): [4.0]}, "word")
    assert head == ["density", "word = x", "word = y"]
    assert row == ["0.5", f"3.0000 ± {math.sqrt(7):.4f} (3)", "4.0000 (1)"]


@pytest.mark.parametrize("reduction", [1, 2, 3, 4])
def test_of_those_that_came_so_far_the_best_share_goes_on_and_the_earlier_of_equals(reduction):
    """By sorting: of every sequence of up to six scores of three sizes."""
    for length in range(1, 7):
        for scores in itertools.product((0.1, 0.2, 0.3), repeat=length):
            order = sorted(range(length), key=scores.__getitem__)  # stable
            going = order[: math.ceil(length / reduction)]
            assert promoted(scores[-1], scores[:-1], reduction) is (length - 1 in going)
