"""Whole trials on an accelerator are what they are on the CPU, and their steps wait for nothing.

`COVERING` holds few trials that between them use every criterion, budget, unit, regime, control,
objective and measure. All trials of the golden table are walked with `-m walk`.
"""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from lthray.config.trial import TrialConfig
from lthray.core.store import Store
from lthray.measure import deep
from lthray.measure.table import MEASURES
from lthray.prune.budgets import BUDGETS
from lthray.prune.controls import CONTROLS
from lthray.prune.criteria import CRITERIA
from lthray.prune.regimes import REGIMES
from lthray.prune.units import UNITS
from lthray.task.objectives import OBJECTIVES
from lthray.trial import sources
from lthray.trial.recipe import trajectory
from lthray.trial.run import run

from .. import nets
from ..conftest import resumed, same
from ..golden import trials
from ..golden.table import LATENT, LENET, TABLE, UNET, Words
from .conftest import Accelerator, assert_equal, outcome

KEPT = (("output", 1.0), ("*", "free"))
HALVES: Words = {"prune.ladder": (0.5, 0.25)}
WAYS = {
    "magnitude": {"prune.budget": "overall", "control": "reinit", "regime.name": "set"},
    "random": {"prune.budget": "uniform", "control": "shuffle", "regime.name": "rigl"},
    "movement": {"prune.budget": "erk", "control": "random_mask", "regime.name": "gradual"},
    "magnitude_increase": {"prune.budget": "lamp", "control": "complement", "regime.name": "rst"},
    "snip": {"prune.budget": "ramp", "control": "perturb", "prune.early": 0.5, "prune.looks": 5},
    "grasp": {"prune.budget": "sensitivity", "control": "dense", "rewind.rule": "sign"},
    "synflow": {"prune.budget": "hsic", "control": "small_dense", "rewind.rule": "init"},
    "taylor": {"prune.budget": "cka", "control": "tuned", "rewind.rule": "random"},
    "diff_pruning": {"prune.budget": "overall", "control": "lr", "train.optimizer": "sgd"},
    "sensitivity": {"prune.budget": "sampled", "prune.dials": (0.5, -0.5), "control": "one_shot"},
    "hsic": {"prune.budget": "uniform", "prune.unit": "n_of_m", "prune.layers": KEPT, **HALVES}
    | {"control": "equal_compute"},
}
"""Criterion -> the other words of a classifier's trial."""
CLASSIFIERS: dict[str, Words] = {}
for criterion, others in WAYS.items():
    words = {"prune.criterion": criterion, "regime.every": 1, **others}
    if "regime.name" not in others:
        del words["regime.every"]
    CLASSIFIERS[criterion] = LENET | words
SAMPLED: Words = {"measure.samples": 320, "measure.rounds": (-1,), "prune.ladder": (0.5,)}
DENOISERS: dict[str, Words] = {
    "probed": UNET
    | SAMPLED
    | {
        "model.conditional": True,
        "model.dropout": 0.2,
        "data.augment": "flip_shift",
        "measure.samplers": ("ddpm", "dpm_solver"),
        "measure.sampling_steps": (2,),
        "measure.perturbations": 1,
        "measure.sensitivity": True,
        "measure.connected": True,
        "measure.efficientnet": True,
    },
    "channels": UNET
    | {"model.channels": (16,), "prune.unit": "channel", "prune.ladder": (0.5,), "fork": 1}
    | {"measure.images": 4},
    "latent": LATENT | SAMPLED | {"data.augment": "flip", "measure.sampling_steps": (2,)},
    "lent and stressed": UNET
    | {"source.seeds": 7, "source.takes": "mask", "source.align": "activations"}
    | {"measure.robust": 4, "measure.attack": 1, "measure.sampling_steps": (2,)}
    | {"prune.ladder": (0.5,)},
    "autoencoder": UNET
    | {"model.name": "autoencoder", "objective.name": "autoencode", "model.channels": (4, 8)}
    | {"prune.ladder": (0.5,)},
}
BUFFERED: Words = UNET | nets.OWN | {"prune.budget": "uniform", "prune.ladder": (0.5,)}
OWN: dict[str, Words] = {
    "running statistics": BUFFERED | {"model.name": "tests.nets:Norm"},
    "channels between norms": BUFFERED
    | {"model.name": "tests.nets:Norm", "prune.unit": "channel", "control": "reinit"},
    "drawn buffers": BUFFERED | {"model.name": "tests.nets:Fourier"},
}
"""Networks of a user's own, with tensors that are no parameters."""
COVERING = CLASSIFIERS | DENOISERS | OWN
ELSEWHERE = {"inception"}  # a measure that needs a large file


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    """Where the stores of both devices lie, for trials that share their dense runs."""
    return tmp_path_factory.mktemp("accelerator")


def compare(accelerator: Accelerator, words: Words, places: Path) -> None:
    """Run a trial on the CPU and on the device, and compare all of it."""
    config = TrialConfig.from_flat(words)
    with accelerator.twins():
        theirs = outcome(config, Store(places / "cpu"), "cpu")
        ours = outcome(config, Store(places / accelerator.device.type), accelerator.device)
    grown_by_gradient = words.get("regime.name") == "rigl"  # where many are nearly equal
    assert_equal(accelerator, ours, theirs, overlap=0.99 if grown_by_gradient else 1.0)


@pytest.fixture
def quick_judge(monkeypatch):
    """Let the classifier that judges samples learn for few steps, and a deep one see few pixels."""
    monkeypatch.setattr(deep, "SIDE", 32)
    monkeypatch.setattr(deep, "REAL", 30)
    real = sources.judge_config

    def quick(config: TrialConfig) -> TrialConfig:
        judge = real(config)
        return replace(judge, train=replace(judge.train, steps=20))

    monkeypatch.setattr(sources, "judge_config", quick)


def test_the_covering_trials_use_every_member():
    configs = [TrialConfig.from_flat(words) for words in COVERING.values()]
    used: dict[str, set[str]] = {
        "criterion": {config.prune.criterion for config in configs},
        "budget": {config.prune.budget for config in configs},
        "unit": {config.prune.unit for config in configs},
        "regime": {config.regime.name for config in configs},
        "control": {config.control for config in configs} - {"none"},
        "objective": {config.objective.name for config in configs},
        "measure": {
            step.spec["measure"]
            for config in configs
            for rung in trajectory(config).rungs
            for step in rung.measures.values()
            if step.kind == "measure"
        },
    }
    families = (CRITERIA, BUDGETS, UNITS, REGIMES, CONTROLS, OBJECTIVES, MEASURES)
    for (family, names), table in zip(used.items(), families, strict=True):
        assert names >= table.keys() - ELSEWHERE, family


@pytest.mark.parametrize("name", COVERING)
def test_a_trial_is_on_a_device_what_it_is_on_the_cpu(name, accelerator, places, quick_judge):
    compare(accelerator, COVERING[name], places)


CUT = {name: COVERING[name] for name in ("random", "probed", "latent")} | {
    "default network": {
        "train.steps": 30,
        "prune.ladder": (0.5,),
        "measure.images": 8,
        "measure.checkpoints": 2,
        "measure.samples": 0,
    },
}


@pytest.mark.parametrize("name", CUT)
def test_a_trial_cut_at_each_commit_is_on_a_device_the_whole_trial(
    name, accelerator, tmp_path, quick_judge
):
    config, device = TrialConfig.from_flat(CUT[name]), accelerator.device
    whole = list(run(config, Store(tmp_path / "whole"), device=device))
    cut = resumed(config, Store(tmp_path / "cut"), device)
    assert len(whole) == len(cut) > 1
    for a, b in zip(whole, cut, strict=True):
        assert same(a, b), f"round {a.index}"


@pytest.mark.walk
@pytest.mark.parametrize("name", TABLE)
def test_a_trial_of_the_golden_table_is_on_a_device_what_it_is_on_the_cpu(
    name, accelerator, places, quick_judge
):
    compare(accelerator, trials.words(name, places / "tickets"), places)


@pytest.mark.walk
@pytest.mark.parametrize("density", [0.1, None])
def test_the_throughput_page_trains_on_a_device(density, accelerator):
    page = runpy.run_path(str(Path(__file__).parents[2] / "studies" / "throughput.py"))
    config = TrialConfig.from_flat(UNET)
    images = page["images_of"](config, accelerator.device)
    with accelerator.twins():
        next(page["ours"](config, images, density))
    next(page["plain"](config, images))
