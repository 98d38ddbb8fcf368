"""What measuring costs, and what a smaller evaluation set would tell, on made-up losses."""

import runpy
import statistics
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lthray.config.trial import TrialConfig

from .test_verdicts import trial

PAGE = runpy.run_path(str(Path(__file__).parent.parent / "analysis/measuring.py"))
IMAGES, TIMESTEPS = 40, 8


def losses(rng: np.random.Generator, noise: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return losses of six seeds whose tickets are 1 % worse, by so much noise on each image."""
    found = []
    for _ in range(6):
        dense = np.full((IMAGES, TIMESTEPS), 0.1)
        ticket = dense * (1.01 + noise * rng.standard_normal((IMAGES, TIMESTEPS)))
        found.append((ticket, dense))
    return found


def test_parts_of_the_evaluation_set_are_as_noisy_as_sampling_says():
    """Independent noise on every loss: half of them have the square root of two of its error."""
    rng = np.random.default_rng(0)
    whole, halves, quarters = [], [], []
    for _ in range(40):
        seeds = losses(rng, 0.1)
        for kept, parts in ((whole, (1, 1)), (halves, (2, 1)), (quarters, (2, 2))):
            kept.append(PAGE["parted"](seeds, *parts))
    true = 0.1 / np.sqrt(IMAGES * TIMESTEPS)
    for kept, factor in ((whole, 1), (halves, np.sqrt(2)), (quarters, 2)):
        spread, error = np.sqrt(np.square(kept).mean(0))
        assert spread == pytest.approx(true * factor, rel=0.1)
        assert error == pytest.approx(true * factor, rel=0.05)


def test_the_whole_set_is_measured_as_it_was_recorded():
    seeds = losses(np.random.default_rng(1), 0.1)
    spread, _ = PAGE["parted"](seeds, 1, 1)
    excess = [ticket.mean() / dense.mean() - 1 for ticket, dense in seeds]
    assert spread == pytest.approx(statistics.stdev(excess))


def test_what_smaller_sets_cost_and_find_stands_in_a_row_each():
    head, *rows = PAGE["panels"]({"r": losses(np.random.default_rng(2), 0.1)})
    assert head[:4] == ["recipe", "images", "timesteps", "evaluations"]
    assert [row[1:4] for row in rows[:3]] == [
        ["40", "8", "320"],
        ["40", "4", "160"],
        ["40", "2", "80"],
    ]
    assert len(rows) == 9
    assert float(rows[-1][4].rstrip("%")) > 3 * float(rows[0][4].rstrip("%"))


@pytest.mark.parametrize(
    ("words", "name", "count", "share"),
    [
        ({}, "evaluation set", "6,000", "16%"),
        ({}, "10 looks along the run", "15,000", "39%"),
        ({"measure.checkpoints": 4}, "4 looks along the run", "6,000", "16%"),
        ({"measure.samples": 400}, "samples, where a round has them", "8,000", "21%"),
        (
            {
                "measure.samples": 400,
                "measure.samplers": ("ddim", "ddpm"),
                "measure.sampling_steps": (20, 50),
            },
            "samples, where a round has them",
            "28,000",
            "73%",
        ),
    ],
)
def test_costs_are_evaluations_as_a_share_of_a_training_run(words, name, count, share):
    """400 steps of 32 images, each worth three evaluations: 38,400."""
    base = {"train.steps": 400, "train.batch": 32, "measure.images": 300, "measure.timesteps": 20}
    table = PAGE["costs"](TrialConfig.from_flat({**base, "measure.checkpoints": 10, **words}))
    assert [name, count, share] in table


def study(found) -> SimpleNamespace:
    """Return a recorded study of these trials, with losses."""
    rng = np.random.default_rng(3)
    arrays = lambda trial, index: {"loss": torch.tensor(0.1 + 0.01 * rng.random((8, 4)))}  # noqa: E731
    return SimpleNamespace(
        of=lambda call: found, arrays=arrays, provenance=lambda trials: "Recorded."
    )


def timed(number: int, *, seconds: tuple[float, float, float]):
    """Return a trial whose two runs took so long to train, to look at, and to measure."""
    own = trial(seed=number)
    rounds = []
    for r in own.rounds:
        keys = {"weights": f"w{number}{r.index}", "round": f"r{number}{r.index}"}
        names = ("train", "along", "measure")
        rounds.append(replace(r, keys=keys, seconds=dict(zip(names, seconds, strict=True))))
    return replace(own, rounds=tuple(rounds))


def test_every_run_is_counted_once_however_many_trials_share_it():
    found = [timed(0, seconds=(6.0, 1.0, 3.0)), timed(1, seconds=(6.0, 1.0, 3.0))]
    (told,) = PAGE["spent"](found)
    assert "trained for 36 s" in told  # two trials of three rounds
    assert "40% of the time" in told
    assert PAGE["spent"]([*found, *found]) == [told]


def test_the_page_has_both_tables_and_applies_where_two_seeds_have_losses():
    found = [timed(seed, seconds=(6.0, 1.0, 3.0)) for seed in (0, 1)]
    made = {section.name: section for section in PAGE["sections"](study(found))}
    assert list(made) == ["measuring", "panels"]
    assert made["measuring"].text[-1] == "Recorded."
    assert PAGE["applies"](study(found)) == ""
    assert "two seeds" in PAGE["applies"](study(found[:1]))
