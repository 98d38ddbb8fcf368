"""The page of efficiency: counted, executed, timed and stored, and when finding a ticket pays."""

import csv
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import lthray
from lthray.measure import speed
from lthray.study.page import Grid

from .conftest import TINY
from .published import ROOT
from .test_verdicts import trial

PAGE = runpy.run_path(str(ROOT / "analysis/efficiency.py"))
SMALL = Grid(
    name="saved",
    about="Single weights and whole channels.",
    seeds=(0,),
    words=TINY | {"model.channels": (8, 16)},
    points=lambda config: [{"prune.unit": "weight"}, {"prune.unit": "channel"}],
)


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("efficiency") / "runs"
    lthray.run_study(SMALL, "--out", str(place))
    return place


@pytest.fixture(scope="module")
def tables(out):
    """Name of a section -> its rows by (recipe, density), and by batch where it was timed."""
    patch = pytest.MonkeyPatch()
    patch.setattr(speed, "BLOCKS", 6)
    patch.setattr(speed, "LEAST", 0.001)
    patch.setattr(sys, "argv", ["efficiency.py", "--out", str(out)])
    assert PAGE["main"]() == 0
    patch.undo()
    found = {}
    for name in ("efficiency", "timed"):
        text = (out / "reports" / "saved.digits" / f"{name}.csv").read_text()
        found[name] = list(csv.DictReader(text.splitlines()))
    return found


def test_a_row_for_each_recipe_density_and_batch(tables):
    assert len(tables["efficiency"]) == 2 * 2
    assert len(tables["timed"]) == 2 * 2 * len(PAGE["BATCHES"])


def test_what_is_counted_and_stored_is_that_of_the_ticket(tables, out):
    for row in tables["efficiency"]:
        frame = lthray.results(out=str(out))
        same = (frame["recipe"] == row["recipe"]) & (
            frame["density"].map("{:.4g}".format) == row["density"]
        )
        (ticket,) = frame[same].to_dict("records")
        dense = frame[(frame["trial"] == ticket["trial"]) & (frame["round"] == 0)].iloc[0]
        counted = ticket["cost/macs_masked"] / dense["cost/macs_dense"]
        stored = ticket["cost/ticket_bytes_with_weights"] / (4 * dense["cost/parameters"])
        assert row["counted MACs"] == f"{counted:.3f}"
        assert float(row["stored bytes"]) == pytest.approx(stored, abs=1e-3)
        assert 0 < counted < 1


def test_masked_weights_execute_all_operations_and_channels_only_what_is_left(tables):
    for row in tables["timed"]:
        counted, executed = float(row["counted"]), float(row["executed"])
        if row["recipe"].startswith("channels"):
            assert executed == pytest.approx(counted, abs=0.02)  # groups of a norm count nothing
            assert float(row["peak memory"]) < 1.0
            assert float(row["modelled energy"]) < 1.0
            assert row["as CSR [95 %]"] == "–"
        else:
            assert executed == 1.0 > counted
            assert row["peak memory"] == row["modelled energy"] == "1.000"
            assert row["as CSR [95 %]"] != "–"


def test_images_of_equal_noise_stand_beside_those_of_a_second_dense_network():
    found = []
    for seed in range(3):
        ticket = trial("none", seed, (-0.05, -0.05))
        again = trial("dense", seed, (0.001,), fork=1, **{"rewind.rule": "init", "rungs": [1]})
        for one, value in ((ticket, 0.25), (again, 0.125)):
            for r in one.rounds[1:]:
                r.metrics["quality/ddim/paired_lenet"] = value * (1 + seed)
                r.metrics["quality/ddpm/ssim"] = value
        found += [ticket, again]
    rows = [row for place in PAGE["cells_of"](found) for row in PAGE["images"](*place)]
    assert len(rows) == 2 * 2 * 2  # densities, networks, measures
    assert rows[0][2:] == ["ticket", "ddim/paired_lenet", "3", "0.5 [-0.121, 1.121]"]
    assert rows[1][2:] == ["ticket", "ddpm/ssim", "3", "0.25 [0.25, 0.25]"]
    assert rows[2][2:4] == ["second dense", "ddim/paired_lenet"]
    plain = [trial("none", seed, (-0.05, -0.05)) for seed in range(3)]
    assert not [row for place in PAGE["cells_of"](plain) for row in PAGE["images"](*place)]


def timing(seconds: float, speed_up: float):
    """Return a timing of a ticket that took 20 seconds to find."""
    ratios = {"ticket": [speed_up] * 30, "dense twice": [1.0] * 30}
    return PAGE["Timed"]("overall", 0.1, 0.2, 0.25, 400, 64, [seconds] * 30, ratios, 1.0, 1.0, 20.0)


def test_finding_a_ticket_is_paid_at_the_pace_of_its_dense_network():
    dense, ticket = (
        SimpleNamespace(metrics={"cost/steps_spent": steps}, seconds={"train": 10.0})
        for steps in (100, 300)
    )
    assert PAGE["finding"](ticket, dense) == pytest.approx(20.0)


def test_the_timed_table_is_made_again_of_what_is_kept(tables, out):
    made = PAGE["again"](out / "reports" / "saved.digits" / "timings.json")
    assert [dict(zip(made.table[0], row, strict=True)) for row in made.table[1:]] == tables["timed"]


def test_a_speed_up_stands_beside_the_reduction_of_operations():
    head = list(PAGE["TIMED"])
    assert PAGE["row"](timing(0.01, 3.0))[head.index("speed-up x executed")] == "0.75"


def test_a_ticket_pays_after_the_seconds_of_finding_it_are_saved():
    """Finding took 20 s; an image of 50 calls takes .5 s, and half of it is saved."""
    assert PAGE["break_even"](timing(0.01, 2.0)) == "80 [80, 80]"
    assert PAGE["break_even"](timing(0.01, 1.0)) == "never shown"
    assert PAGE["break_even"](timing(0.01, 0.5)) == "never shown"


def test_only_a_lower_bound_above_the_margin_is_called_faster():
    for speed_up, told in ((1.5, 1), (1.05, 0), (1.0, 0)):
        assert len(list(PAGE["faster"](timing(0.01, speed_up)))) == told
    told = PAGE["timed_section"]([timing(0.01, 1.0)], "a CPU").text
    assert told[1:] == ["overall is not shown to be faster at any density (0.1) or batch size."]
    noisy = {"ticket": [1.2] * 30, "dense twice": [1.15] * 30}  # timing alone does as much
    assert not list(PAGE["faster"](replace(timing(0.01, 1.0), ratios=noisy)))
    assert PAGE["break_even"](replace(timing(0.01, 1.0), ratios=noisy)) != "never shown"
    worse = {"ticket": [1.2] * 30, "dense twice": [1.3] * 30}
    assert PAGE["break_even"](replace(timing(0.01, 1.0), ratios=worse)) == "never shown"
    twice = {"ticket": [1.0] * 30, "dense twice": [2.0] * 30}
    assert not list(PAGE["faster"](replace(timing(0.01, 1.0), ratios=twice)))
    assert PAGE["shown"]([1.0] * 5).endswith("[-inf, inf]")
