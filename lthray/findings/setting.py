"""The setting of a study: network, data and training budget, in words and in a small table.

All of it is read from the recorded trials: their configs, their data and their dense networks.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

from lthray.config.fields import defaults
from lthray.config.trial import TrialConfig
from lthray.config.vocabulary import data_facts, network_facts
from lthray.core import metrics
from lthray.core.record import TrialRecord
from lthray.findings.formats import NONE, plural, series
from lthray.findings.rounds import values_of
from lthray.findings.sections import Section

NAMES = {
    "unet": "a U-Net",
    "lenet300": "LeNet-300-100",
    "lenet5": "a LeNet-5",
    "resnet": "a ResNet",
}
"""Network -> what a sentence calls it; others go by their own names."""
TASKS = {
    "denoise": "predict the noise that was added to an image",
    "latent_denoise": "predict the noise that was added to the latent of an image",
    "classify": "tell the class of an image",
    "autoencode": "reconstruct an image from its latent",
}
"""Objective -> what a network learns to do."""


MANY = 6
"""Numbers that a text names one by one."""


class Words:
    """The words of the recorded configs, with all values that trials have; it counts which values
    were told."""

    def __init__(self, trials: Iterable[TrialRecord]):
        configs = list(map(attrgetter("point.config"), trials))
        usual = defaults(TrialConfig)
        self.told: set[tuple[str, str]] = set()
        self.recorded = list(dict.fromkeys(chain.from_iterable(configs)))
        """Words that some trial does not have at its default."""
        self.values: dict[str, list[str]] = {}
        for word in {**usual, **dict.fromkeys(self.recorded)}:
            found = {shown(config.get(word, usual.get(word, NONE))) for config in configs}
            self.values[word] = sorted(found, key=by_size)

    def __getitem__(self, word: str) -> str:
        """Return the values of a word as text, joined by "or", and count them as told; of many
        numbers the ends."""
        return either(self.all(word))

    def all(self, word: str) -> list[str]:
        """Return each value of a word as text, and count them as told."""
        self.told.update((word, value) for value in self.values[word])
        return self.values[word]

    def given(self, word: str) -> bool:
        """Return whether some trial has a word not at its default."""
        return word in self.recorded

    def left(self) -> list[str]:
        """Return the recorded words of which some value was not told, each with those values."""
        lines = []
        for word in self.recorded:
            values = [value for value in self.values[word] if (word, value) not in self.told]
            lines += [f"{word} = {either(values)}"] * bool(values)
        return lines


def either(values: Sequence[str]) -> str:
    """Return values as text, smallest first, joined by "or"; of many numbers the ends."""
    numbers = [value for value in values if by_size(value)[0] < math.inf]
    if len(numbers) <= MANY:
        return " or ".join(values)
    ends = f"from {numbers[0]} to {numbers[-1]} ({len(numbers)} values)"
    return " or ".join([ends, *values[len(numbers) :]])  # names come behind numbers


def shown(value: Any) -> str:
    """Return the value of a word as text: numbers short, lists by commas."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "none"
    return str(value)


def by_size(text: str) -> tuple[float, str]:
    """Return a key that sorts numbers by their size, and names behind them."""
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def size(trials: Iterable[TrialRecord], metric: metrics.Metric) -> str:
    """Return a number of the dense networks, or its ends where they differ."""
    dense = [trial.rounds[0] for trial in trials if trial.rounds]
    values = values_of(dense, metric.name)
    if not values:
        return "an unknown number of"
    ends = dict.fromkeys(f"{value:,.0f}" for value in (min(values), max(values)))
    return " to ".join(ends)


def digests(trials: Iterable[TrialRecord]) -> str:
    """Return the beginnings of the digests of the trials' data."""
    found = sorted({tuple(trial.point.data) for trial in trials})
    return series([digest[:12] for _, digest in found]) or NONE


def seeds_of(trials: Sequence[TrialRecord]) -> dict[str, list[int]]:
    """Return phase -> the seeds of its trials, in order."""
    found: dict[str, set[int]] = {}
    for trial in trials:
        found.setdefault(trial.point.phase, set()).add(trial.point.seed)
    return {phase: sorted(seeds) for phase, seeds in found.items()}


def described(trials: Sequence[TrialRecord]) -> Section:
    """Return the setting of trials, in words and as a table."""
    words = Words(trials)
    names = [NAMES.get(name, name) for name in words.values["model.name"]]
    tasks = [TASKS.get(name, name) for name in words.values["objective.name"]]
    data = series(words.values["data.name"])
    count = max(map(len, seeds_of(trials).values()))
    text = [
        f"The network is {' or '.join(names)} of {size(trials, metrics.PARAMETERS)} parameters, "
        f"of which {size(trials, metrics.PRUNABLE_SIZE)} weights may be cut. "
        f"It learns to {', or to '.join(tasks)}. The images are {data}.",
        f"The budget of a training run is {words['train.steps']} optimizer steps of "
        f"{words['train.batch']} images. Each recipe was trained on {plural(count, 'seed')} at "
        "most; a seed is one dense network and all that is cut from it.",
    ]
    return Section("setting", "", text, table(trials, words))


def has_levels(name: str) -> bool:
    """Return whether a network has levels, whose widths are its channels."""
    return network_facts(name).levels


def table(trials: Sequence[TrialRecord], words: Words) -> list[list[str]]:
    """Return a row for each fact of the setting."""
    rows = [["what", "value"]]
    rows.append(["network", words["model.name"]])
    if any(map(has_levels, words.values["model.name"])):
        rows.append(["channels", words["model.channels"]])
    rows.append(["parameters", size(trials, metrics.PARAMETERS)])
    rows.append(["free weights", size(trials, metrics.PRUNABLE_SIZE)])
    rows.append(["data", f"{series(words.all('data.name'))} ({digests(trials)})"])
    rows.append(["training images", training_images(words)])
    rows.append(["objective", words["objective.name"]])
    rows.append(["optimizer steps", words["train.steps"]])
    split, count = words["measure.split"], words["measure.images"]
    rows.append(["measured on", f"{split} images, {count} at most"])
    for phase, seeds in seeds_of(trials).items():
        count_of = sum(trial.point.phase == phase for trial in trials)
        rows.append([f"trials, {phase}", str(count_of)])
        rows.append([f"seeds, {phase}", " ".join(map(str, seeds))])
    rows.append(["hours of one machine", hours(trials)])
    return rows


def training_images(words: Words) -> str:
    """Return how many images the networks learn from, where the package knows it."""
    counts = [data_facts(name).training_images for name in words.values["data.name"]]
    told = " or ".join(f"{count:,}" if count else "the user's own" for count in counts)
    share = words["data.fraction"]
    return told if share == "1" else f"{told}, of which a share of {share}"


def hours(trials: Iterable[TrialRecord]) -> str:
    """Return the hours that the trials would have taken one after the other, each alone."""
    rounds = list(chain.from_iterable(map(attrgetter("rounds"), trials)))
    seconds = sum(values_of(rounds, metrics.TRAIN_SECONDS.name))
    seconds += sum(values_of(rounds, metrics.MEASURE_SECONDS.name))
    return f"{seconds / 3600:.2g}, were each trial run alone"
