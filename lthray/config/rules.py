"""Check the setting and the measurement of a config: rules that several of its words must keep.

A rule is a generator of fault lines, "word = value: what is allowed". It reads the config `c` by
its attributes alone, so that the config can import this file; the rules of `SIZE_RULES` also need
`Sizes`. The rules of the recipe and the controls are in recipe_rules.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lthray.config.fields import Only, declared, default_of, either, quoted
from lthray.config.vocabulary import (
    AUGMENTS,
    CONTROLS,
    FEATURES,
    NETWORKS,
    OBJECTIVES,
    data_facts,
    denoisers,
    learners,
    names,
    network_facts,
)

Faults = Iterator[str]


@dataclass(frozen=True)
class Sizes:
    """Hold the numbers that follow from several words of a config."""

    image_side: int
    """Side of the images."""
    input_side: int
    """Side of the network's input: of the images, or of their latents."""
    training_images: int


def faults(c: Any, sizes: Sizes) -> Faults:
    """Yield a line for every rule of this file that the config `c`, of these sizes, breaks."""
    for rule in RULES:
        yield from rule(c)
    for size_rule in SIZE_RULES:
        yield from size_rule(c, sizes)


def words_without_use(c: Any) -> Faults:
    """Refuse words that are set where the word that they depend on gives them no use."""
    flat = c.flat()
    for word, only in declared(c.__class__, Only).items():
        if flat[word] == default_of(type(c), word) or flat[only.word] in only.values:
            continue
        needed = f"only for {only.word} = {quoted(only.values)}, not {flat[only.word]!r}"
        hint = f"; {only.hint}" if only.hint else ""
        yield f"{word} = {flat[word]!r}: {needed}{hint}"


def data_set_of_the_package(c: Any) -> Faults:
    """Refuse classes, or colour, that a data set of the package has not."""
    data, facts = c.data, data_facts(c.data.name)
    if facts.brought:
        return
    if data.classes:
        own = f"{data.name} has {facts.classes}"
        yield f"data.classes = {data.classes}: only for data.name = 'folder' or your own; {own}"
    if data.channels == 3 and facts.channels == 1:
        yield f"data.channels = 3: {data.name} is grey"


def data_set_of_the_user(c: Any) -> Faults:
    """Require the shape of images that the user brings, and their classes where these are used."""
    data = c.data
    if not data_facts(data.name).brought:
        return
    for word, value in {"side": data.side, "channels": data.channels}.items():
        if not value:
            yield f"data.{word} = 0: data.name = {data.name!r} needs it"
    if data.classes:
        return
    if OBJECTIVES[c.objective.name].classifies or c.model.conditional:
        yield f"data.classes = 0: the network must know how many {data.name!r} has"
    if c.measure.samples:
        yield (
            f"measure.samples = {c.measure.samples}: samples are judged by a classifier of the "
            "same images; give data.classes, or 0 samples"
        )


def network_learns_objective(c: Any) -> Faults:
    """Refuse a network that does not learn the objective."""
    objective = c.objective.name
    if objective not in network_facts(c.model.name).learns:
        needed = either(learners(objective))
        yield f"model.name = {c.model.name!r}: objective.name = {objective!r} needs {needed}"


def classes_are_told(c: Any) -> Faults:
    """Refuse conditioning on the class where nothing is denoised, or with given weights."""
    if not c.model.conditional:
        return
    if not OBJECTIVES[c.objective.name].denoises:
        yield f"model.conditional = True: only for objective.name = {either(denoisers())}"
    if c.model.pretrained:
        trained = f"model.pretrained = {c.model.pretrained!r} was trained without classes"
        yield f"model.conditional = True: {trained}"


def attention_levels(c: Any) -> Faults:
    """Require self-attention to be at levels that the network has, in heads of whole channels."""
    model, facts = c.model, network_facts(c.model.name)
    if not facts.levels or not model.attention:
        return
    if facts.attention:
        yield from _multiples("model.channels", model.channels, "model.head", model.head)
    else:
        able = quoted(names(NETWORKS, lambda network: network.attention))
        yield f"model.attention = {model.attention}: only for model.name = {able}"
    last = len(model.channels) - 1
    if max(model.attention) > last:
        yield f"model.attention = {model.attention}: levels are 0 to {last}"


def network_levels(c: Any, sizes: Sizes) -> Faults:
    """Require the side of the network's input to be halved evenly at each of its levels."""
    if not network_facts(c.model.name).levels:
        return
    latents = OBJECTIVES[c.objective.name].in_latents
    side = f"the latents' side {sizes.input_side}" if latents else f"{sizes.input_side}"
    if not _halves(c.model.channels, sizes.input_side):
        yield _uneven("model.channels", c.model.channels, side)
    yield from _multiples("model.channels", c.model.channels, "model.groups", c.model.groups)


def latents_are_used(c: Any) -> Faults:
    """Refuse words on latents where nothing is denoised; in pixels a search may set them."""
    if not OBJECTIVES[c.objective.name].denoises and c.latent != type(c.latent)():
        yield f"latent = {c.latent}: only for a denoiser, not objective.name = {c.objective.name!r}"


def latents_are_made_once(c: Any) -> Faults:
    """Refuse images that are moved anew at each step where their latents are kept."""
    if OBJECTIVES[c.objective.name].in_latents and AUGMENTS[c.data.augment].shifts:
        made = f"latents of {c.objective.name!r} are made once, of images and of mirrored ones"
        yield f"data.augment = {c.data.augment!r}: {made}"


def latent_levels(c: Any, sizes: Sizes) -> Faults:
    """Require the side of the images to be halved evenly at each level of the autoencoder."""
    if not OBJECTIVES[c.objective.name].in_latents:
        return
    if not _halves(c.latent.widths, sizes.image_side):
        yield _uneven("latent.widths", c.latent.widths, f"{sizes.image_side}")
    yield from _multiples("latent.widths", c.latent.widths, "latent.groups", c.latent.groups)


def _halves(widths: tuple[int, ...], side: int) -> bool:
    """Return whether a side can be halved at each level but the first."""
    return bool(side and widths) and side % 2 ** (len(widths) - 1) == 0


def _uneven(word: str, widths: tuple[int, ...], side: str) -> str:
    return f"{word} = {widths}: {len(widths)} levels, but {side} is no multiple of 2^(levels - 1)"


def _multiples(word: str, widths: tuple[int, ...], of_word: str, of: int) -> Faults:
    """Refuse widths that are no multiple of the value `of` of the word `of_word`."""
    for width in widths:
        if width % of:
            yield f"{word} = {widths}: {width} is no multiple of {of_word} = {of}"


def training_steps(c: Any) -> Faults:
    """Require steps where something is pruned, and more of them than the warm-up takes."""
    steps, ladder = c.train.steps, c.prune.ladder
    if not steps and (ladder or c.origin):
        nothing = "nothing is trained, so nothing can be pruned"
        yield f"train.steps = 0: {nothing}; prune.ladder = {ladder} must be ()"
    if c.train.warmup and c.train.warmup >= steps:
        yield f"train.warmup = {c.train.warmup}: must be less than train.steps = {steps}"


def training_images(c: Any, sizes: Sizes) -> Faults:
    """Require that batches and criteria find as many training images as they use."""
    most = f"at most the {sizes.training_images} training images"
    if c.train.batch > sizes.training_images:
        yield f"train.batch = {c.train.batch}: {most} (data.fraction = {c.data.fraction})"
    if c.prune.images > sizes.training_images:
        yield f"prune.images = {c.prune.images}: {most}"


def sample_counts(c: Any) -> Faults:
    """Require enough samples for FID, or none."""
    least = 10 * FEATURES
    if 0 < c.measure.samples < least:
        why = "(ten a feature), or FID is all bias"
        yield f"measure.samples = {c.measure.samples}: 0, or at least {least} {why}"


def timesteps_of_the_schedule(c: Any) -> Faults:
    """Refuse more timesteps, measured or sampled, than the noise schedule has."""
    measure, length = c.measure, c.objective.timesteps
    most = f"at most objective.timesteps = {length}"
    if max(measure.sampling_steps, default=0) > length:
        yield f"measure.sampling_steps = {measure.sampling_steps}: {most}"
    if len(measure.sampling_steps) not in (1, len(measure.samplers)):
        each = f"one, or one each for {', '.join(measure.samplers)}"
        yield f"measure.sampling_steps = {measure.sampling_steps}: {each}"
    if measure.timesteps > length:
        yield f"measure.timesteps = {measure.timesteps}: {most}"


def rounds_of_a_control(c: Any) -> Faults:
    """Require the rounds of a control to be rungs, and a control or fork to be trained in them."""
    last = _last_round(c)
    if not _among(c.rungs, first=1, last=last):
        allowed = f"rounds of a control are 1 to {last} (prune.ladder), or -1 for the last"
        yield f"rungs = {c.rungs}: {allowed}"
    if c.rungs and not CONTROLS[c.control].trains and not c.fork:
        needs = "a ticket needs every round before it"
        yield f"rungs = {c.rungs}: only for a control or a fork; {needs}"


def measured_rounds(c: Any) -> Faults:
    """Refuse rounds to measure that the trial does not have."""
    last = _last_round(c)
    for index in c.measure.rounds:
        if not _among([index], first=0, last=last):
            allowed = f"rounds are 0 (dense) to {last}, or -1 for the last"
            yield f"measure.rounds = {c.measure.rounds}: {allowed}"


def _last_round(c: Any) -> int:
    return 1 if c.origin else len(c.prune.ladder)


def _among(rounds: Iterable[int], *, first: int, last: int) -> bool:
    """Return whether all rounds are `first` to `last`, or -1 for the last."""
    return all(index in (-1, *range(first, last + 1)) for index in rounds)


RULES = (
    words_without_use,
    data_set_of_the_package,
    data_set_of_the_user,
    network_learns_objective,
    classes_are_told,
    latents_are_used,
    latents_are_made_once,
    attention_levels,
    training_steps,
    rounds_of_a_control,
    sample_counts,
    timesteps_of_the_schedule,
    measured_rounds,
)
SIZE_RULES = (network_levels, latent_levels, training_images)
