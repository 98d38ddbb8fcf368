"""Two spaces compared: planted differences are found, error rates right, silence proves nothing."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats.weightstats import DescrStatsW

from lthray.config.fields import ConfigError
from lthray.core.record import TrialRecord
from lthray.findings import spaces
from lthray.findings.evidence import gather

from .test_verdicts import LADDER, WHOLE, failed, studied, trial

PAGE = runpy.run_path(str(Path(__file__).parent.parent / "analysis/architectures.py"))
LATENT = {"objective.name": "latent_denoise"}


def recorded(pixels, latents, control=0.2, **more) -> list[TrialRecord]:
    """Return trials of two spaces: excess by seed at both rungs, controls worse by `control`, which
    may be [spaces, arms, seeds, rungs]."""
    found = []
    worse = np.broadcast_to(control, (2, 2, 5, len(LADDER)))
    for i, (space, values) in enumerate((({}, pixels), (LATENT, latents))):
        for seed, d in enumerate(values):
            found.append(trial("none", seed, tuple(d), **space, **more))
            for arm, by in zip(("shuffle", "reinit"), worse[i, :, seed], strict=True):
                found.append(trial(arm, seed, tuple(d + by), **space, **more))
    return found


def sections(found, look: int = 1) -> dict:
    return {section.name: section for section in PAGE["sections"](studied(found, look))}


SPREAD = np.array([-2, -1, 0, 1, 2]) * 1e-3
WIN = np.stack([-0.05 + SPREAD, -0.03 + SPREAD], 1)  # [seeds, rungs]


def test_what_wins_alike_in_both_generalises():
    found = sections(recorded(WIN, WIN + 0.02 + np.stack([SPREAD[::-1], SPREAD[::-1]], 1) / 10))
    head, *rows, last = found["spaces"].table
    assert [row[0] for row in rows] == [f"{d:.4g}" for d in LADDER]
    assert all(row[3] == row[5] == "wins" for row in rows)
    assert [row[-2] for row in rows] == ["not shown"] * 2  # the spaces differ, by two points
    assert last[0] == "interaction"
    assert last[-2] == "yes"  # but they differ everywhere alike
    assert "what holds in pixels generalises to latents" in " ".join(found["spaces"].text)
    assert found["spaces"].text[-1] == "Recorded."  # when, with what and on which machines
    assert len(head) == len(last)


def test_a_difference_that_grows_down_the_ladder_is_an_interaction():
    found = sections(recorded(WIN, WIN + np.array([0.0, 0.025])))
    assert found["spaces"].table[-1][-2] == "not shown"
    assert "+2.50%" in found["spaces"].table[-1][-3]
    assert "is not shown to generalise" in " ".join(found["spaces"].text)


def lost(found, seeds, rungs: int) -> list[TrialRecord]:
    """Return the trials, tickets of latents on some seeds as failed after so many rungs."""
    return [
        failed(t, rungs)
        if t.point.control == "none"
        and t.point.seed in seeds
        and "objective.name" in t.point.config
        else t
        for t in found
    ]


@pytest.mark.parametrize("rungs", [-1, 0, 1])
def test_what_diverged_in_latents_is_not_said_to_generalise(rungs):
    """Two of five tickets failed, of which the other three are as good in both spaces."""
    found = recorded(WIN, WIN + SPREAD[::-1, None] / 10, **WHOLE)
    assert "what holds in pixels generalises" in " ".join(sections(found)["spaces"].text)
    made = sections(lost(found, (1, 3), rungs))["spaces"]
    assert "is not shown to generalise" in " ".join(made.text)
    _, first, second, _ = made.table
    assert first[5] == ("wins" if rungs == 1 else "–")
    assert (second[3], second[5]) == ("wins", "–")


def test_a_space_whose_every_ticket_failed_is_told():
    made = sections(lost(recorded(WIN, WIN, **WHOLE), range(5), 0))["spaces"]
    assert [row[4:8] for row in made.table[1:3]] == [["–", "–", "–", "–"]] * 2
    assert made.text[0].startswith(
        "Tickets match their dense network and beat both controls at 0.5, 0.1 in pixels and at no "
        "density in latents."
    )
    assert "generalise" not in " ".join(made.text)


def test_all_claims_of_both_spaces_are_one_family_and_looks_are_counted():
    found = recorded(WIN, WIN)
    family = 2 * 2 * (3 + 2) + 2 * (2 + 1)  # of both spaces; from two sides, at rungs and between
    line = f"All {family} claims of this page are one family (Holm, level 0.008, look 2"
    assert line in sections(found, look=2)["spaces"].text[0]


def test_no_ticket_that_wins_in_one_space_only_generalises():
    found = sections(recorded(WIN, WIN, control=-0.01))
    assert found["spaces"].table[-1][-2] == "yes"
    assert "is not shown to generalise" in " ".join(found["spaces"].text)


def test_what_is_noisy_is_not_equivalent():
    noise = np.array([[-0.05, 0.05], [0.05, -0.05], [0.04, -0.04], [-0.04, 0.04], [0.0, 0.0]])
    found = sections(recorded(WIN, WIN + noise))
    assert [row[-2] for row in found["spaces"].table[1:]] == ["not shown"] * 3


def test_differences_are_paired_by_seed():
    """The mean of all seeds would be another where one is missing in a space."""
    found = recorded(WIN, WIN[:4] + 0.01)
    evidence = {e.space: e for e in gather(found)}
    cells = {space: next(iter(e.recipes.values())) for space, e in evidence.items()}
    paired = PAGE["differences"](cells, LADDER[1])
    assert sorted(paired) == [0, 1, 2, 3]
    assert list(paired.values()) == pytest.approx([0.01] * 4)
    assert sorted(PAGE["interaction"](cells)) == [0, 1, 2, 3]


def comparisons(found) -> dict:
    """Return (claim, at) -> the statement on two spaces."""
    evidence = {e.space: e for e in gather(found)}
    cells = PAGE["cells_of"](evidence, next(iter(evidence["pixels"].recipes)))
    return {(s.name, s.place[1]): s for s in spaces.equivalences(cells, "")}


def test_equivalence_is_two_one_sided_tests():
    g = np.random.default_rng(0)
    for _ in range(20):
        apart = g.normal(g.uniform(-0.02, 0.02), 0.01, 5)
        made = comparisons(recorded(WIN, WIN + np.stack([0 * apart, apart], 1)))
        p = DescrStatsW(apart).ttost_mean(-0.01, 0.01)[0]  # an independent implementation
        for at in (LADDER[1], "interaction"):
            sides = [made[PAGE[side], at].p for side in ("WORSE", "BETTER")]
            assert max(sides) == pytest.approx(p)


def test_a_page_on_two_spaces_of_which_nothing_is_true_claims_so_in_at_most_five_per_cent():
    """Tickets are worse than dense by the margin and as good as their controls; at each rung, and
    from the first to the last, latents are worse than pixels by the margin."""
    g, studies = np.random.default_rng(1), 400
    wrong = 0
    for _ in range(studies):
        pixels = 0.01 + g.normal(0, 0.005, (5, 2))
        latents = pixels + np.array([0.01, 0.02]) + g.normal(0, 0.002, (5, 2))
        page = sections(recorded(pixels, latents, control=g.normal(0, 0.025, (2, 2, 5, 2))))
        rows = page["spaces"].table[1:]
        wrong += any("yes" in row or "wins" in row for row in rows)
    assert wrong / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


def test_skill_is_against_the_loss_of_answering_zero():
    found = recorded(WIN * 0 + 0.1, WIN * 0 + 0.1)
    evidence = next(e for e in gather(found) if e.space == "pixels")
    cell = next(iter(evidence.recipes.values()))[LADDER[0]]
    assert PAGE["skill"](evidence, cell) == pytest.approx([(1 - 0.2 * 1.1) / (1 - 0.2)] * 5)
    words = {"objective.prediction": "sample"}
    told = sections([*recorded(WIN, WIN, **words)])["spaces"].table[1]
    assert told[-1] == "–"  # the clean image has no such zero


def test_failures_are_counted_by_seed():
    late = WIN + np.array([0.0, 0.06])  # no match at the second rung
    text = sections(recorded(WIN, late))["spaces"].text
    told = "Trajectories that fail to match at some rung: 0 of 5 in pixels, 5 of 5 in latents."
    assert told in text


def test_samples_are_compared_as_ratios_beside_the_floor():
    kid = ((0.04, 0.08), (0.02, 0.04))
    found = [
        trial("none", seed, (0.0, 0.0), kid, **space) for space in ({}, LATENT) for seed in range(3)
    ]
    for each in found:
        if each.point.config:
            each.rounds[0].metrics.update({"floor/mse": 0.005, "floor/kid_lenet": -0.004})
    section = sections(found)["samples"]
    assert "KID -0.0040" in section.text[0]
    assert {(row[0], row[1], row[5], row[6]) for row in section.table[1:]} == {
        (space, sampler, "0.500", "3")
        for space in ("pixels", "latents")
        for sampler in ("ddim", "ddpm")
    }


TWICE = [*recorded(WIN, WIN), *recorded(WIN, WIN, **{"train.lr": 0.1})]


@pytest.mark.parametrize("found", [recorded(WIN, []), recorded([], WIN), TWICE])
def test_without_one_setting_of_each_space_there_is_nothing_to_compare(found):
    with pytest.raises(ConfigError, match="in one setting of pixels and one of latents"):
        sections(found)
    assert "in one setting of pixels and one of latents" in PAGE["applies"](studied(found))


def test_it_applies_to_a_recipe_in_both_spaces():
    found = recorded(WIN, WIN)
    assert PAGE["applies"](studied(found)) == ""
