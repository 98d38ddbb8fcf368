"""Run a tiny trial with each member that docs/adding.md adds, where its diffs are applied.

`python -m tests.members` runs in a folder with the changed package and writes `outcomes.json`
there: family -> what is wrong with the trial of its member, empty where nothing is.
"""

import json
import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import lthray
from lthray.config.trial import TrialConfig
from lthray.core.record import Round
from lthray.core.store import Store
from lthray.core.ticket import Mask
from lthray.core.ticket_file import read_ticket
from lthray.task.objectives import answer
from lthray.trial.making import Making
from lthray.trial.trajectory import Trajectory
from lthray.trial.workshop import Run

from .conftest import TINY, TINY_LENET, making_of, rounds
from .test_data import fake_mnist

Words = dict[str, Any]
OUTCOMES = "outcomes.json"
MEMBERS: dict[str, Words] = {
    "criterion": {"prune.criterion": "initial_magnitude"},
    "budget": {"prune.budget": "er"},
    "unit": {"prune.unit": "per_output"},
    "regime": {"regime.name": "linear"},
    "rewinding rule": {"rewind.rule": "sign_lr"},
    "control": {"control": "reinit_shuffle"},
    "sampler": {"measure.samplers": ("dpm_solver", "dpm_solver_3")},
    "measure": {},
    "network": {"model.name": "perceptron"},
    "data set": {"data.name": "kmnist"},
    "objective": {"objective.name": "denoise_absolute"},
}
"""Family -> the word that names its member; a measure has none."""
SAMPLED: Words = {
    "prune.ladder": (0.5,),
    "measure.rounds": (-1,),
    "measure.samples": 320,
    "measure.sampling_steps": (6,),  # with fewer, a method of order three is one of order two
}
TRIALS: dict[str, Words] = {
    "criterion": TINY_LENET,
    "budget": TINY,
    "unit": TINY_LENET,
    "regime": TINY | {"regime.every": 1},
    "rewinding rule": TINY | {"prune.least": 0.05},
    "control": TINY,
    "sampler": TINY | SAMPLED,
    "measure": TINY | {"measure.images": 20},
    "network": TINY_LENET | {"model.hidden": (20,)},
    "data set": TINY_LENET | {"data.root": "."},
    "objective": TINY,
}
"""Family -> the other words of its trial."""


@dataclass(frozen=True)
class Trial:
    """A trial as it was run."""

    rounds: list[Round]
    making: Making
    chosen: Trajectory

    @cached_property
    def masks(self) -> list[Mask]:
        """The masks of its ticket files."""
        return [read_ticket(r.files["ticket"])[0].mask for r in self.rounds[1:]]

    def run(self, index: int) -> Run:
        """Return the training run that a rung shows."""
        run: Run = self.making.make(self.chosen.rungs[index].shown)
        return run


def laws(trial: Trial) -> None:
    """Assert that all is finite, and that masks keep as many weights as they should."""
    ladder = trial.chosen.config.prune.ladder
    assert len(trial.rounds) == len(ladder) + 1
    for r in trial.rounds:
        assert all(math.isfinite(value) for value in r.metrics.values()), r.metrics
    for density, mask, r in zip(ladder, trial.masks, trial.rounds[1:], strict=True):
        assert mask.kept == round(density * mask.size), (mask.kept, mask.size)
        assert math.isclose(r.metrics["density/prunable"], mask.density)


def criterion(trial: Trial) -> None:
    """Assert that those weights are kept that were largest when training began."""
    for index, mask in enumerate(trial.masks):
        before = trial.run(index).masked_begin().weights
        sizes = torch.cat([before[name].abs().flatten() for name in mask])
        bits = torch.cat([bits.flatten() for bits in mask.values()])
        assert sizes[bits].min() >= sizes[~bits].max()


def budget(trial: Trial) -> None:
    """Assert that densities below 1 are as (inputs + outputs) / (inputs x outputs)."""
    for mask in trial.masks:
        relative, factors = set(), []
        for name, density in mask.densities.items():
            outputs, inputs = mask[name].shape[:2]
            if density < 1:
                relative.add(1 / inputs + 1 / outputs)
                factors.append(density / (1 / inputs + 1 / outputs))
        assert len(relative) > 1
        assert max(factors) < 1.03 * min(factors), factors


def unit(trial: Trial) -> None:
    """Assert that outputs keep equal numbers of weights, but for one."""
    for mask in trial.masks:
        for bits in mask.values():
            kept = bits.flatten(1).sum(1)
            assert kept.max() - kept.min() <= 1, kept


def regime(trial: Trial) -> None:
    """Assert that the number of kept weights falls in a straight line until the cut."""
    first, last = trial.masks[0].size, trial.masks[0].kept
    run = trial.run(1)
    assert run.schedule
    length = run.schedule.cut - run.start
    assert length > 3
    for step in range(1, length + 1):
        state = run.state(run.start + step + 1)  # the mask moves with the step that follows
        assert state.mask
        excess = state.mask.kept - (first + (last - first) * step / length)
        assert 0 <= excess < len(state.mask), (step, excess)  # each layer is rounded up


def rewinding(trial: Trial) -> None:
    """Assert that a rung begins at k, with initial signs at one size a layer."""
    initial = trial.run(0).begin.state.weights
    for index, mask in enumerate(trial.masks, 1):
        run = trial.run(index)
        assert (run.start, run.end) == (2, 8)
        for name in mask:
            weight = run.begin.state.weights[name]
            assert torch.equal(weight.sign(), initial[name].sign())
            assert torch.equal(weight.abs(), weight.abs().max().expand_as(weight))


def control(trial: Trial) -> None:
    """Assert that a rung shows another mask of equal densities, and new weights from step 0."""
    initial = trial.run(0).begin.state.weights
    for rung, mask in zip(trial.chosen.rungs[1:], trial.masks, strict=True):
        ticket = trial.making.make(rung.chain).cut.mask
        assert mask != ticket
        assert mask.densities == ticket.densities
        run = trial.run(rung.index)
        assert (run.start, run.end) == (0, 8)
        for name in mask:
            assert not torch.isclose(run.begin.state.weights[name], initial[name]).all()


def sampler(trial: Trial) -> None:
    """Assert that samples are judged, and are not those of order two."""
    last = trial.rounds[-1]
    named = {name.split("/")[2] for name in last.metrics if "/dpm_solver_3/" in name}
    assert named >= {"fid_lenet", "kid_lenet", "memorised"}, named
    assert last.files["samples_dpm_solver_3"] != last.files["samples_dpm_solver"]


def measure(trial: Trial) -> None:
    """Assert that every round has the mean of the highest losses."""
    for r in trial.rounds:
        highest = sorted(r.arrays["loss"].mean(1).tolist())[-2:]  # of 20 images
        assert math.isclose(r.metrics["loss/worst"], sum(highest) / 2, rel_tol=1e-6)


def network(trial: Trial) -> None:
    """Assert that one hidden layer is trained and cut."""
    shapes = {name: tuple(w.shape) for name, w in trial.run(0).final.weights.items()}
    hidden = {"hidden.weight": (20, 64), "hidden.bias": (20,)}
    assert shapes == hidden | {"output.weight": (10, 20), "output.bias": (10,)}
    assert all(list(mask) == ["hidden.weight"] for mask in trial.masks)


def data_set(trial: Trial) -> None:
    """Assert that the images of the files are learnt from."""
    images = trial.run(0).images.images
    (path,) = Path("KMNIST/raw").glob("train-images-idx3-ubyte")
    assert images[:120].numpy().tobytes() == path.read_bytes()[16:]
    assert trial.run(1).final.weights["hidden.0.weight"].shape == (20, 28 * 28)


def objective(trial: Trial) -> None:
    """Assert that the loss is the mean absolute error."""
    for index, r in enumerate(trial.rounds):
        run = trial.run(index)
        learnt, columns = run.network(), []
        with torch.no_grad():
            for *seen, target in run.workshop.task.panel(*run.images.held_out("validation", 8), 4):
                columns.append((answer(learnt, *seen) - target).abs().mean())
        assert math.isclose(r.metrics["loss/heldout"], torch.stack(columns).mean(), rel_tol=1e-5)


CHECKS: dict[str, Callable[[Trial], None]] = {
    "criterion": criterion,
    "budget": budget,
    "unit": unit,
    "regime": regime,
    "rewinding rule": rewinding,
    "control": control,
    "sampler": sampler,
    "measure": measure,
    "network": network,
    "data set": data_set,
    "objective": objective,
}
"""Family -> what says that its member took effect."""


def words_of(family: str) -> Words:
    """Return the words of a family's trial."""
    return TRIALS[family] | MEMBERS[family]


def outcome(family: str, store: Store) -> str:
    """Run a family's trial and return what is wrong with it; empty where nothing is."""
    try:
        config = TrialConfig.from_flat(words_of(family))
        trial = Trial(rounds(config, store), *making_of(config, store))
        laws(trial)
        CHECKS[family](trial)
    except Exception:
        return traceback.format_exc()
    return ""


def main() -> None:
    """Run all trials in one store and write what came of them."""
    here = Path.cwd()
    assert Path(lthray.__file__).is_relative_to(here), lthray.__file__
    torch.set_num_threads(1)
    fake_mnist(here, "KMNIST")
    store = Store(here / "store")
    found = {family: outcome(family, store) for family in MEMBERS}
    (here / OUTCOMES).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
