"""What does measuring cost, and what does it buy?

    python analysis/measuring.py --experiment layerwise_search.digits

How long the recorded trials trained and measured; and what a smaller evaluation set would have
done. Losses of every image and timestep are recorded, so that the excess over dense can be taken
again on a part of them. Told are the standard error of one network by itself, the standard
deviation over seeds that it adds to, and the effect that these seeds then find. Where halving the
set hardly widens the spread over seeds, the larger half buys nothing. Reads MLflow only; writes
tables and sentences to <out>/reports/<experiment>/.
"""

import math
import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from lthray.cli import analysis
from lthray.config.fields import ConfigError
from lthray.config.labels import setting_of
from lthray.config.trial import TrialConfig
from lthray.core.record import TrialRecord
from lthray.findings.evidence import TICKET, comparable, recipe, setting
from lthray.findings.power import detectable
from lthray.findings.sections import Section
from lthray.findings.stats import relative_excess
from lthray.study.results import config_of
from lthray.tracking.read import Recorded

ORDER = 80  # place in a report
PARTS = (1, 2, 4)  # the evaluation set is divided by these, in images and in timesteps
BACKWARD = 3  # evaluations of a network that one image's share of a training step is worth
NOTHING = "no ticket of two seeds or more is recorded with its losses by image"

Losses = tuple[np.ndarray, np.ndarray]
"""Losses [images, timesteps] of a ticket and of its dense network."""


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    return "" if tickets_of(recorded.of(call)) else NOTHING


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield what measuring took, and what smaller evaluation sets would have told."""
    trials = recorded.of(call)
    tickets = tickets_of(trials)
    if not tickets:
        raise ConfigError([NOTHING])
    text = [*spent(trials), recorded.provenance(trials)]
    yield Section("measuring", "What measuring took", text, costs(config_of(trials[0].point)))
    losses = {name: losses_of(recorded, own) for name, own in tickets.items()}
    yield Section("panels", "What smaller evaluation sets tell", (), panels(losses))


def tickets_of(trials: Sequence[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Return recipe -> its tickets that came to the last rung, where there are two seeds.

    Tickets of two settings are no seeds of one another, and each is named with its setting.
    """
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for trial in comparable(trials):
        point = trial.point
        if point.control == TICKET and not point.fork and len(trial.rounds) > 1:
            groups.setdefault((setting(trial), recipe(trial)), []).append(trial)
    found = {}
    shared = config_of(trials[0].point)
    for own in groups.values():
        first = own[0].point
        name = ", ".join(filter(None, (first.recipe, setting_of(config_of(first), shared))))
        if len(own) > 1:
            found[name] = own
    return found


def losses_of(recorded: Recorded, trials: Sequence[TrialRecord]) -> list[Losses]:
    """Return by trial the losses of its sparsest ticket and of its dense network."""
    found = []
    for trial in trials:
        rounds = (len(trial.rounds) - 1, 0)
        ticket, dense = (recorded.arrays(trial, index)["loss"] for index in rounds)
        found.append((ticket.numpy(), dense.numpy()))
    return found


def spent(trials: Sequence[TrialRecord]) -> list[str]:
    """Return how long the trials trained and measured, each run and each round counted once."""
    training: dict[str, float] = {}
    along: dict[str, float] = {}
    ends: dict[str, float] = {}
    for trial in trials:
        for r in trial.rounds:
            training[r.keys["weights"]] = r.seconds["train"]
            along[r.keys["weights"]] = r.seconds["along"]
            ends[r.keys["round"]] = r.seconds["measure"]
    parts = [sum(each.values()) for each in (training, along, ends)]
    total = sum(parts)
    share = f"{(total - parts[0]) / total:.0%}" if total else "nothing"
    return [
        f"The trials trained for {parts[0]:.0f} s, looked at runs under way for {parts[1]:.0f} s, "
        f"and measured networks for {parts[2]:.0f} s: {share} of the time was measuring."
    ]


def costs(config: TrialConfig) -> list[list[str]]:
    """Return what each measure of a round costs in evaluations of the network, and as a share of a
    training run."""
    measure = config.measure
    panel = measure.images * measure.timesteps
    run = BACKWARD * config.train.steps * config.train.batch
    calls = measure.sampling_steps
    each = calls * len(measure.samplers) if len(calls) == 1 else calls
    rows = {
        "evaluation set": panel,
        f"{measure.checkpoints} looks along the run": measure.checkpoints * panel // 4,
        "samples, where a round has them": measure.samples * sum(each),
        "perturbations, where a round has them": measure.perturbations * panel,
    }
    table = [["measure of a round", "evaluations", "share of a training run"]]
    for name, count in rows.items():
        table.append([name, f"{count:,}", f"{count / run:.0%}"])
    return table


def panels(losses: Mapping[str, Sequence[Losses]]) -> list[list[str]]:
    """Return a row for each recipe and size of the evaluation set: error of one network, spread
    over seeds, and the effect that is found four times in five."""
    head = ["recipe", "images", "timesteps", "evaluations"]
    rows = [[*head, "standard error", "SD over seeds", "found effect"]]
    for name, seeds in losses.items():
        for images, timesteps in product(PARTS, PARTS):
            excess, error = parted(seeds, images, timesteps)
            shape = seeds[0][0].shape
            size = [shape[0] // images, shape[1] // timesteps]
            effect = detectable(len(seeds), excess)
            numbers = [f"{value:.2%}" for value in (error, excess, effect)]
            counts = [*map(str, size), f"{math.prod(size):,}"]
            rows.append([name, *counts, *numbers])
    return rows


def parted(seeds: Sequence[Losses], images: int, timesteps: int) -> tuple[float, float]:
    """Return the SD over seeds of the excess, and its standard error, on parts of the evaluation
    set.

    The set is divided into so many parts in images and in timesteps; variances are averaged over
    all of them.
    """
    spreads, errors = [], []
    for i, j in product(range(images), range(timesteps)):
        part = np.s_[i::images, j::timesteps]
        measured = [relative_excess(ticket[part], dense[part]) for ticket, dense in seeds]
        spreads.append(plain.variance(excess for excess, _ in measured))
        errors += [error**2 for _, error in measured]
    return math.sqrt(plain.fmean(spreads)), math.sqrt(plain.fmean(errors))


if __name__ == "__main__":
    sys.exit(analysis("measuring", __doc__ or "", sections))
