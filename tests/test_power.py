"""Power agrees with an independent implementation, and with simulated studies."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from lthray.__main__ import main
from lthray.cli import study
from lthray.config import options
from lthray.findings import power, stats


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("effect", [0.001, 0.005, 0.02])
def test_power_is_that_of_statsmodels(seeds, effect):
    theirs = TTestPower().power(effect / 0.005, seeds, power.ALPHA, alternative="larger")
    assert power.power_of(effect, seeds, 0.005) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(("seeds", "sd"), [(3, 0.005), (5, 0.025), (12, 0.01)])
def test_the_smallest_effect_is_found_four_times_in_five(seeds, sd):
    effect, rng = power.detectable(seeds, sd), np.random.default_rng(0)
    studies = rng.normal(-effect, sd, size=(2000, seeds))
    found = np.mean([stats.upper_bound(study) < 0.0 for study in studies])
    assert found == pytest.approx(power.POWER, abs=0.03)


def test_more_seeds_find_less_and_a_wished_effect_says_how_many():
    effects = [power.detectable(n, 0.005) for n in range(2, 20)]
    assert effects == sorted(effects, reverse=True)
    for n, effect in enumerate(effects, 2):
        assert power.seeds_for(effect * 1.0001, 0.005) == n
    assert power.seeds_for(1.0, 0.005) == 2


def test_a_line_says_what_seeds_find():
    told = power.line(5)
    assert told == (
        "5 seeds find, four times in five, 0.7% against its own dense network "
        "(SD 0.5%) and 3.6% against a control (SD 2.5%)"
    )
    assert "one seed finds nothing" in power.line(1)
    among = power.line(5, 20)
    effect = power.detectable(5, 0.005, alpha=power.level_of(1) / 20)
    assert f"among 20 claims or more, {effect:.1%} against its own dense network" in among


def test_a_command_says_what_seeds_find_and_how_many_an_effect_takes(capsys):
    assert main(["power", "--seeds", "10", "--sd", "2.5", "--effect", "3"]) == options.DONE
    told = capsys.readouterr().out
    assert f"10 seeds find an effect of {100 * power.detectable(10, 0.025):.2g} %" in told
    assert f"an effect of 3 % takes {power.seeds_for(0.03, 0.025)} seeds" in told
    assert main(["power", "--sd", "0"]) == options.BAD_INPUT
    assert "--sd = '0': must be greater than 0" in capsys.readouterr().err
    assert main(["power", "--out", "x"]) == options.BAD_INPUT


def test_a_plan_says_what_its_seeds_find(capsys):
    argv = ["--confirm-seeds", *map(str, range(1001, 1009)), "--dry-run"]
    page = runpy.run_path(str(Path(__file__).parent.parent / "studies/layerwise_search.py"))
    assert study(page["STUDY"], argv) == options.DONE
    told = " ".join(capsys.readouterr().out.split())
    assert " ".join(power.line(8, 36).split()) in told
