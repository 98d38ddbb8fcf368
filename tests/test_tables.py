"""Tables at the end of a study walk the metrics that are there, whatever sampler and extractor."""

from dataclasses import replace

from lthray.config.shell import pasteable
from lthray.core import metrics
from lthray.core.record import Outcome, Point, Round, TrialRecord
from lthray.findings.evidence import gather
from lthray.study.tables import (
    best_lines,
    shrinkage_lines,
    surface_table,
    trial_table,
    verdict_table,
)

RUNG = {
    metrics.HELDOUT.name: 0.25,
    metrics.EXCESS.name: 0.0,
    metrics.EXCESS_SE.name: 0.001,
    metrics.PRUNABLE.name: 0.5,
    metrics.STEPS_OF_WEIGHTS.name: 8.0,
    metrics.TRAIN_SECONDS.name: 1.4,
    metrics.MEASURE_SECONDS.name: 0.4,
}


def trial(number: int, *rungs: dict, control: str = "none", density: float = 0.5) -> TrialRecord:
    """A trial with a dense round, and a round for each of `rungs`: metrics over those of RUNG."""
    point = Point(
        name=f"overall s{number}",
        recipe="overall",
        phase="search",
        config={"prune.ladder": [0.5], "control": control},
        seed=number,
        control=control,
        places={"origin": "my ticket"},
    )
    rounds = [Round(0, 1.0, RUNG)]
    rounds += [Round(i, density, RUNG | measured) for i, measured in enumerate(rungs, 1)]
    return TrialRecord(f"{'a' * 16}-{number:04d}", point, Outcome("done"), tuple(rounds))


def columns(table) -> dict[str, list[str]]:
    """Head -> cells."""
    return {column.header: list(column.cells) for column in table.columns}


def test_every_sampler_and_extractor_has_a_column_and_others_have_none():
    kid = metrics.KID.of(sampler="heun", extractor="inception")
    fid = metrics.FID.of(sampler="ddpm", extractor="lenet")
    shown = columns(trial_table([trial(0, {kid: 0.12345}), trial(1, {fid: 7.126})]))
    assert shown["KID heun inception"] == ["0.1235", "–"]
    assert shown["FID ddpm lenet"] == ["–", "7.13"]
    assert shown["steps"] == ["8", "8"]
    assert shown["train s"] == ["3", "3"]
    assert "accuracy" not in shown
    assert len([head for head in shown if head.startswith(("KID", "FID"))]) == 2


def test_a_dense_network_is_shown_by_its_loss_a_ticket_by_its_excess():
    dense = columns(trial_table([trial(0)]))
    assert dense["held-out loss"] == ["0.2500"]
    assert (dense["density"], dense["excess ± SE"], dense["matches to"]) == (["–"], ["–"], ["–"])
    tickets = columns(trial_table([trial(0), trial(1, {})]))
    assert "held-out loss" not in tickets
    assert tickets["trial"] == ["1", "0"]  # the one that went further first
    assert tickets["excess ± SE"] == ["+0.00% ± 0.10%", "–"]
    assert tickets["matches to"] == ["0.5", "–"]


def test_a_surface_is_of_tickets_unless_the_control_makes_its_columns():
    found = [trial(0, {}), trial(1, {metrics.EXCESS.name: 9.0}, control="reinit")]
    excess = metrics.EXCESS.name
    assert columns(surface_table(found, "prune.criterion", excess)).keys() == {
        "density",
        "prune.criterion = magnitude",
    }
    assert "control = reinit" in columns(surface_table(found, "control", excess))


def test_networks_of_several_widths_share_the_row_of_a_density():
    """They keep whole numbers of weights, so the densities that they reach differ."""
    reached = metrics.PRUNABLE.name
    found = [trial(n, {reached: 0.5 + n / 1000}) for n in range(3)]
    shown = columns(surface_table(found, "prune.criterion", metrics.EXCESS.name))
    assert shown["density"] == ["1", "0.5"]


def test_a_verdict_has_no_empty_columns():
    shown = columns(verdict_table([["recipe", "excess", "KID"], ["a", "–", "–"], ["b", "1", "–"]]))
    assert shown == {"recipe": ["a", "b"], "excess": ["–", "1"]}


def test_the_best_recipe_says_how_to_run_it_again():
    line, again = best_lines([trial(0, {}), trial(1)], 1, "my runs")
    assert line.startswith("best recipe: overall s0 (excess +0.00% ± 0.10% at density 0.5; matches")
    options = "--out 'my runs' --prune.ladder 0.5 --control none --origin 'my ticket'"
    assert again == f"  again:  {pasteable(f'lthray trial {options}')}"
    older = {metrics.STEPS_OF_WEIGHTS.name: 9.0}
    assert best_lines([trial(0, older)], 1, "runs")[0].startswith("best with more steps than dense")
    assert best_lines([trial(0)], 1, "runs") == []


def test_recipes_of_one_name_are_set_beside_their_own_confirmation():
    chosen, confirmed = [], []
    for number, state in enumerate(("rewound", "reset")):
        found = trial(number, {metrics.EXCESS.name: 0.01})
        point = replace(found.point, config={"prune.ladder": [0.5], "rewind.state": state})
        chosen.append(replace(found, point=point))
        again = trial(number, {metrics.EXCESS.name: 0.1 * (number + 1)})
        confirmed.append(replace(again, point=replace(point, seed=9)))
    (evidence,) = gather(confirmed)
    first, second = shrinkage_lines(chosen, evidence)
    assert "excess +1.00% in the search, +10.00% on fresh seeds" in first
    assert "excess +1.00% in the search, +20.00% on fresh seeds" in second
    evidence.setting = "another"
    assert shrinkage_lines(chosen, evidence) == []
