"""Check the setting and the measurement of a config: rules that several of its words must keep.

The rules are tables, checked from the first row to the last: the word, whether its value breaks the
rule in a config `c`, and what is allowed. Those of the recipe and the controls are in
recipe_rules, those of the levels of networks in level_rules.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lthray.config.fields import Only, changed, declared, either, quoted
from lthray.config.rule import EntryRule, Faults, Rule, Table, broken, value_of
from lthray.config.vocabulary import (
    AUGMENTS,
    CALLS_A_STEP,
    CONTROLS,
    FEATURES,
    FEWEST_CALLS,
    OBJECTIVES,
    data_facts,
    denoisers,
    learners,
    network_facts,
)

WIDEST = 0.5
"""Largest train.ema: the plain mean of all weights of a run has half its length as mean age."""


TRANSPARENT = (2, 4)  # numbers of channels of which the last is transparency


@dataclass(frozen=True)
class Sizes:
    """Hold the numbers that follow from several words of a config."""

    image_sides: tuple[int, int]
    """Height and width of the images."""
    input_sides: tuple[int, int]
    """Height and width of the network's input: of the images, or of their latents."""
    training_images: int


def faults(c: Any, sizes: Sizes) -> Faults:
    """Yield a line for every rule of this file that the config `c`, of these sizes, breaks."""
    yield from broken(TABLES, c)
    yield from broken(SIZE_TABLES, c, sizes)


def words_without_use(c: Any) -> Faults:
    """Refuse words that are set where the word that they depend on gives them no use."""
    for word, only in declared(c.__class__, Only).items():
        chosen = value_of(c, only.word)
        if changed(c, word) and chosen not in only.values:
            needed = f"only for {only.word} = {quoted(only.values)}, not {chosen!r}"
            hint = f"; {only.hint}" if only.hint else ""
            yield f"{word} = {value_of(c, word)!r}: {needed}{hint}"


def _brought(c: Any) -> bool:
    """Return whether the user brings the images, so that the config must say their shape."""
    return data_facts(c.data.name).brought


def _lacks_classes(c: Any) -> bool:
    """Return whether the network must know the classes of the user's images and does not."""
    needed = OBJECTIVES[c.objective.name].classifies or c.model.conditional
    return needed and not c.data.classes


def _in_latents(c: Any) -> bool:
    return OBJECTIVES[c.objective.name].in_latents


def _denoises(c: Any) -> bool:
    return OBJECTIVES[c.objective.name].denoises


def _prunes_untrained(c: Any) -> bool:
    """Return whether something is pruned and nothing is trained."""
    return not c.train.steps and bool(c.prune.ladder or c.origin)


def _width_of_decay(c: Any) -> float:
    """Return the train.ema that is as wide, at the end of the run, as a decay of that value."""
    return min(WIDEST, 1 / ((1 - c.train.ema) * max(c.train.steps, 1)))


def _most_images(sizes: Sizes) -> str:
    return f"at most the {sizes.training_images} training images"


def _last_round(c: Any) -> int:
    return 1 if c.origin else len(c.prune.ladder)


def _not_among(rounds: Iterable[int], *, first: int, last: int) -> list[int]:
    """Return the rounds that are neither `first` to `last`, nor -1 for the last."""
    return [index for index in rounds if index not in (-1, *range(first, last + 1))]


def _calls(c: Any) -> list[tuple[str, int]]:
    """Return each sampler with its network calls an image."""
    samplers, calls = c.measure.samplers, c.measure.sampling_steps
    if len(calls) == 1:
        calls = calls * len(samplers)
    return list(zip(samplers, calls, strict=False))  # unlike lengths are a fault of their own


def _steps_of_samplers(c: Any) -> list[int]:
    """Return the timesteps that each sampler visits."""
    return [-(-number // CALLS_A_STEP.get(sampler, 1)) for sampler, number in _calls(c)]


def _short_of_calls(c: Any) -> list[str]:
    """Return the samplers that are given fewer network calls an image than they take."""
    return [sampler for sampler, number in _calls(c) if number < FEWEST_CALLS.get(sampler, 1)]


def _rounds_of_a_ticket(c: Any) -> bool:
    """Return whether rounds are chosen although the tickets themselves are trained in them."""
    return c.rungs and not CONTROLS[c.control].trains and not c.fork


DATA_OF_THE_PACKAGE = (
    Rule(
        "data.classes",
        lambda c: c.data.classes,
        lambda c: (
            "only for data.name = 'folder' or your own; "
            f"{c.data.name} has {data_facts(c.data.name).classes}"
        ),
    ),
    Rule(
        "data.channels",
        lambda c: c.data.channels == 3 and data_facts(c.data.name).channels == 1,
        lambda c: f"{c.data.name} is grey",
    ),
    Rule(
        "data.channels",
        lambda c: c.data.channels in TRANSPARENT,
        lambda c: f"{c.data.name} has no transparency; use 1 or 3",
    ),
    Rule("data.width", lambda c: c.data.width, lambda c: f"{c.data.name} is square"),
)

DATA_OF_THE_USER = (
    Rule("data.side", lambda c: not c.data.side, lambda c: f"data.name = {c.data.name!r} needs it"),
    Rule(
        "data.width",
        lambda c: c.data.width and c.data.width == c.data.side,
        lambda c: f"is data.side = {c.data.side}; leave it out",
    ),
    Rule(
        "data.channels",
        lambda c: not c.data.channels,
        lambda c: f"data.name = {c.data.name!r} needs it",
    ),
    Rule(
        "data.classes",
        _lacks_classes,
        lambda c: f"the network must know how many {c.data.name!r} has",
    ),
    Rule(
        "measure.samples",
        lambda c: c.measure.samples and not c.data.classes,
        lambda c: (
            "samples are judged by a classifier of the same images; give data.classes, or 0 samples"
        ),
    ),
    Rule(
        "measure.inception",
        lambda c: c.measure.inception and c.data.channels in TRANSPARENT,
        lambda c: f"Inception sees 1 or 3 channels, not data.channels = {c.data.channels}",
    ),
    Rule(
        "measure.efficientnet",
        lambda c: c.measure.efficientnet and c.data.channels in TRANSPARENT,
        lambda c: f"EfficientNet sees 1 or 3 channels, not data.channels = {c.data.channels}",
    ),
    Rule(
        "measure.samples",
        lambda c: c.measure.samples and c.data.classes == 1,
        lambda c: (
            "samples are judged by a classifier of the same images, which learns nothing of "
            "one class (data.classes = 1); give 0 samples"
        ),
    ),
)

MODEL = (
    Rule(
        "model.name",
        lambda c: c.objective.name not in network_facts(c.model.name).learns,
        lambda c: (
            f"objective.name = {c.objective.name!r} needs {either(learners(c.objective.name))}"
        ),
    ),
    Rule(
        "model.conditional",
        lambda c: c.model.conditional and not _denoises(c),
        lambda c: f"only for objective.name = {either(denoisers())}",
    ),
    Rule(
        "model.conditional",
        lambda c: c.model.conditional and c.model.pretrained,
        lambda c: f"model.pretrained = {c.model.pretrained!r} was trained without classes",
    ),
)

LATENT = (
    # in pixels a search may set words on latents
    Rule(
        "latent",
        lambda c: not _denoises(c) and c.latent != type(c.latent)(),
        lambda c: f"only for a denoiser, not objective.name = {c.objective.name!r}",
    ),
    Rule(
        "data.augment",
        lambda c: _in_latents(c) and AUGMENTS[c.data.augment].shifts,
        lambda c: f"latents of {c.objective.name!r} are made once, of images and of mirrored ones",
    ),
)

TRAIN = (
    Rule(
        "train.steps",
        _prunes_untrained,
        lambda c: (
            "nothing is trained, so nothing can be pruned; "
            f"prune.ladder = {c.prune.ladder} must be ()"
        ),
    ),
    Rule(
        "train.ema",
        lambda c: c.train.ema > WIDEST,
        lambda c: (
            f"the mean age of the averaged weights as a share of the run, at most {WIDEST}; a "
            f"decay of {c.train.ema} is as wide as {_width_of_decay(c):.2g} "
            f"of {c.train.steps} steps"
        ),
    ),
    Rule(
        "train.warmup",
        lambda c: c.train.warmup and c.train.warmup >= c.train.steps,
        lambda c: f"must be less than train.steps = {c.train.steps}",
    ),
)

RUNGS = (
    Rule(
        "rungs",
        lambda c: _not_among(c.rungs, first=1, last=_last_round(c)),
        lambda c: (
            f"rounds of a control are 1 to {_last_round(c)} (prune.ladder), or -1 for the last"
        ),
    ),
    Rule(
        "rungs",
        _rounds_of_a_ticket,
        lambda c: "only for a control or a fork; a ticket needs every round before it",
    ),
)

MEASURE = (
    Rule(
        "measure.samples",
        lambda c: 0 < c.measure.samples < 10 * FEATURES,
        lambda c: f"0, or at least {10 * FEATURES} (ten a feature), or FID is all bias",
    ),
    Rule(
        "measure.sampling_steps",
        lambda c: max(_steps_of_samplers(c), default=0) > c.objective.timesteps,
        lambda c: f"at most objective.timesteps = {c.objective.timesteps} steps",
    ),
    EntryRule(
        "measure.samplers",
        lambda c: sorted(s for s, times in Counter(c.measure.samplers).items() if times > 1),
        lambda c, sampler: f"{sampler} is there twice, and has one number of calls",
    ),
    Rule(
        "measure.sampling_steps",
        lambda c: len(c.measure.sampling_steps) not in (1, len(c.measure.samplers)),
        lambda c: f"one, or one each for {', '.join(c.measure.samplers)}",
    ),
    EntryRule(
        "measure.sampling_steps",
        _short_of_calls,
        lambda c, sampler: f"{sampler} takes at least {FEWEST_CALLS[sampler]} calls an image",
    ),
    Rule(
        "measure.timesteps",
        lambda c: c.measure.timesteps > c.objective.timesteps,
        lambda c: f"at most objective.timesteps = {c.objective.timesteps}",
    ),
    EntryRule(
        "measure.rounds",
        lambda c: _not_among(c.measure.rounds, first=0, last=_last_round(c)),
        lambda c, _: f"rounds are 0 (dense) to {_last_round(c)}, or -1 for the last",
    ),
)

TRAINING_IMAGES = (
    Rule(
        "train.batch",
        lambda c, sizes: c.train.batch > sizes.training_images,
        lambda c, sizes: f"{_most_images(sizes)} (data.fraction = {c.data.fraction})",
    ),
    Rule(
        "prune.images",
        lambda c, sizes: c.prune.images > sizes.training_images,
        lambda c, sizes: _most_images(sizes),
    ),
)

TABLES = (
    Table((words_without_use,)),
    Table(DATA_OF_THE_PACKAGE, when=lambda c: not _brought(c)),
    Table(DATA_OF_THE_USER, when=_brought),
    Table(MODEL),
    Table(LATENT),
    Table(TRAIN),
    Table(RUNGS),
    Table(MEASURE),
)
SIZE_TABLES = (Table(TRAINING_IMAGES),)
