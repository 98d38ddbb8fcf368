"""Define a trial: `TrialConfig`, the role of its words, and the numbers that follow from it.

`TrialConfig()` alone is the digits preset. Nothing here imports torch, so a bad word is refused in
a moment.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from lthray.config import fields, level_rules, recipe_rules, rules, transfer_rules
from lthray.config.fields import Only, Place, Role
from lthray.config.parts import (
    Data,
    Latent,
    Measure,
    Model,
    Objective,
    Positive,
    Prune,
    Rates,
    Regime,
    Rewind,
    Seed,
    Train,
    Whole,
)
from lthray.config.spec import STRICT, texts
from lthray.config.transfer import Source
from lthray.config.vocabulary import (
    OBJECTIVES,
    Control,
    DataFacts,
    Elastic,
    RoleName,
    data_facts,
    drawn_controls,
)

TICKET = "ticket.safetensors"  # name of the ticket file in a folder of `lthray export`


def _ticket_in(path: str) -> str:
    """Return the ticket file of a folder; any other path as it is."""
    return os.path.join(path, TICKET) if os.path.isdir(path) else path


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrialConfig:
    """Say all of a trial: a whole trajectory of train, prune, rewind, and what is measured."""

    seed: Annotated[Seed, Role("identity")] = 0
    """Seed of the initial weights."""
    stream: Annotated[Seed, Role("identity")] = 0
    """Seed of data order, timesteps and noise."""

    data: Annotated[Data, Role("setting")] = Field(default_factory=Data)
    model: Annotated[Model, Role("setting")] = Field(default_factory=Model)
    objective: Annotated[Objective, Role("setting")] = Field(default_factory=Objective)
    latent: Annotated[Latent, Role("setting")] = Field(default_factory=Latent)
    train: Annotated[Train, Role("setting")] = Field(default_factory=Train)

    prune: Annotated[Prune, Role("recipe")] = Field(default_factory=Prune)
    rewind: Annotated[Rewind, Role("recipe")] = Field(default_factory=Rewind)
    regime: Annotated[Regime, Role("recipe")] = Field(default_factory=Regime)
    origin: Annotated[str, AfterValidator(_ticket_in), Place(), Role("recipe")] = ""
    """Ticket file of another trial, or the folder in which `lthray export` has put it. Its mask is
    the only rung, trained from this trial's own rewound weights, or from the ticket's with
    rewind.rule = given. Its network may differ in model.layers, and in nothing else."""
    elastic: Annotated[Elastic, Role("recipe")] = "interpolate"
    """Order of a level's blocks where the network of `origin` is less deep (Chen et al. 2021): each
    block followed by its copies (0 1 1 2 2 of 0 1 2), or the level appended to itself (0 1 2 1 2).
    Where it is deeper, such copies are left out."""
    source: Annotated[Source, Role("recipe")] = Field(default_factory=Source)

    control: Annotated[Control, Role("control")] = "none"
    """What else is trained in each ticket's place, of the same chain of masks. reinit: new
    weights; shuffle: the mask permuted within its layers; random_mask: over the whole network;
    complement: weights that the ticket cuts; perturb: kept weights moved by sigma; dense: nothing
    cut, the same rewinding; small_dense: a narrower network with as many parameters, at a rate of
    its own; equal_compute: the dense network, trained on a schedule of as many steps as finding and
    training the ticket took; tuned, lr: trained weights, as the rewinding rules of these names take
    them; one_shot: cut in one step."""
    sigma: Annotated[Positive, Only("control", "perturb"), Role("control")] = 0.5
    """Noise on the kept weights, in standard deviations of the layer."""
    rates: Annotated[Rates, Only("control", "small_dense"), Role("control")] = (0.5, 1.0, 2.0)
    """Multiples of train.lr with which the narrower network is trained; the one of least loss on
    validation images is shown."""
    draw: Annotated[Whole, Only("control", *drawn_controls()), Role("control")] = 0
    """n > 0: the n-th other draw of the control's random mask, new weights or noise, of one chain
    and one stream. Draws of a control are independent of each other."""
    fork: Annotated[int, Field(ge=0, lt=1000), Role("control")] = 0
    """n > 0: the network in each ticket's place is trained on the n-th other stream, while the
    chain keeps its own; the loss is also measured between its end and that of the same weights on
    the chain's stream."""
    rungs: Annotated[tuple[int, ...], Role("control")] = ()
    """Rounds in which a control or a fork is trained: 1 = the first rung, -1 = the last; () =
    all."""

    measure: Annotated[Measure, Role("measure")] = Field(default_factory=Measure)

    def __post_init__(self) -> None:
        sizes = rules.Sizes(
            image_sides=image_of(self.data)[1:],
            input_sides=input_shape(self)[1:],
            training_images=images_of(self),
        )
        faults = [
            *rules.faults(self, sizes),
            *level_rules.faults(self, sizes),
            *recipe_rules.faults(self),
            *transfer_rules.faults(self),
        ]
        if not faults and self.source.given:
            faults = source_faults(self)
        if faults:
            raise ValueError("\n".join(faults))

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], base: "TrialConfig | None" = None) -> "TrialConfig":
        """Return `base` (or the default) with the dotted words of `flat` set.

        Raises ConfigError, which lists every fault.
        """
        spelt = {word: _spelt(word, value) for word, value in flat.items()}
        return fields.from_flat(cls, spelt, base)

    def flat(self) -> dict[str, Any]:
        """Return every field by its dotted word."""
        return dict(fields.walk(self))

    def canonical(self, *parts: str) -> dict[str, Any]:
        """Return dotted word -> value of the fields that differ from their default, without places.

        With `parts` ("prune", "seed"), only the words of these parts.
        """
        chosen = self._canonical.items()
        return {word: v for word, v in chosen if not parts or word.split(".")[0] in parts}

    @cached_property
    def _canonical(self) -> Mapping[str, Any]:
        """All that `canonical` may return; a trajectory asks for parts of it some sixty times."""
        default = fields.defaults(TrialConfig)
        result: dict[str, Any] = {}
        for word, value in self.flat().items():
            if value != default[word] and word not in PLACES:
                result[word] = value
        return result


LENT = 2**20
"""Streams and seeds below are those of trials; a source has the stream that lies so far above."""


def source_of(config: TrialConfig) -> TrialConfig:
    """Return the trial that the tickets of `config` come from.

    Raises ConfigError where its words do not make one.
    """
    source = config.source
    identity = {"seed": config.seed + source.seeds, "stream": config.stream + LENT}
    return TrialConfig.from_flat({**PLAIN, **identity, **dict(source.words)}, config)


def source_faults(config: TrialConfig) -> list[str]:
    """Return a line for all that is wrong with the trial that tickets are to come from."""
    value = f"source.words = {config.source.words!r}"
    for word, _ in config.source.words:
        if word.split(".")[0] not in LENDS:
            return [f"{value}: {word} is this trial's own; it may name {', '.join(LENDS)}"]
        if word in PLACES:
            return [f"{value}: {word} is a place on this machine, where both trials read"]
    try:
        other = source_of(config)
    except fields.ConfigError as error:
        return [f"{value}: {fault}" for fault in error.faults]
    apart = other.model != config.model or input_shape(other) != input_shape(config)
    begun = {(each.train.optimizer, each.rewind.state) for each in (config, other)}
    rows = {
        "the two networks may differ in model.layers, and in nothing else": (
            replace(other.model, layers=config.model.layers) != config.model
        ),
        "source.align compares networks of one shape": apart and config.source.align != "none",
        "weights are taken with the moments of one train.optimizer, rewind.state": (
            config.source.takes == "weights" and len(begun) > 1
        ),
        "both trials go down one prune.ladder": other.prune.ladder != config.prune.ladder,
    }
    return [f"{value}: {why}" for why, is_so in rows.items() if is_so][:1]


LENDS = ("data", "model", "objective", "latent", "train", "prune", "rewind")
"""Parts of a config in which a source may differ."""


def _spelt(word: str, value: Any) -> Any:
    """Return the value of a word, where a truth value stands for a number as text.

    True is 1 to Python, but whoever says that there are True steps has mistaken the word.
    """
    if isinstance(value, list | tuple):
        return tuple(map(partial(_spelt, word), value))
    kinds = (type(value), type(fields.defaults(TrialConfig).get(word)))
    return str(value) if kinds in MISTAKEN else value


MISTAKEN = ((bool, int), (bool, float), (bool, tuple))
"""Types of a value and of the default in whose place it was given, that do not go together."""

PLACES = tuple(fields.declared(TrialConfig, Place))
"""Words that say where a given file lies; the digest of its content enters the keys instead."""

DEPENDENT: Mapping[str, Only] = fields.declared(TrialConfig, Only)
"""Word -> the word, and the values of it, without which it must be left at its default."""


def words_of_role(role: RoleName) -> tuple[str, ...]:
    """Return the dotted words that have a role: identity, setting, recipe, control or measure."""
    roles = fields.declared(TrialConfig, Role)
    return tuple(word for word, row in roles.items() if row.name == role)


PLAIN: Mapping[str, Any] = {
    word: default
    for word, default in fields.defaults(TrialConfig).items()
    if word in words_of_role("control") or word.startswith("source.") or word == "elastic"
}
"""Words of a trial that has neither a source nor a control."""


def parts_of_role(role: RoleName) -> tuple[str, ...]:
    """Return the parts of a config that have a role; a word that is in no part is one itself."""
    return tuple(dict.fromkeys(word.split(".")[0] for word in words_of_role(role)))


def facts_of(data: Data) -> DataFacts:
    """Return what is known of a data set before it is loaded."""
    return data_facts(data.name)


def shape_of(data: Data) -> tuple[int, int, int]:
    """Return channels, height and classes of the images as the network sees them."""
    facts = facts_of(data)
    side = data.side or facts.side
    return data.channels or facts.channels, side, data.classes or facts.classes


def image_of(data: Data) -> tuple[int, int, int]:
    """Return channels, height and width of the images."""
    channels, side, _ = shape_of(data)
    return channels, side, data.width or side


def input_shape(config: TrialConfig) -> tuple[int, int, int]:
    """Return channels, height and width of what the network works on: images, or their latents."""
    channels, height, width = image_of(config.data)
    if not OBJECTIVES[config.objective.name].in_latents:
        return channels, height, width
    smaller = 2 ** (len(config.latent.widths) - 1)
    return config.latent.channels, height // smaller, width // smaller


def images_of(config: TrialConfig) -> int:
    """Return the number of training images; of a folder or your own, as many as there may be."""
    available = facts_of(config.data).training_images or 10**9
    return math.ceil(available * config.data.fraction)


def argv_of(words: Mapping[str, Any]) -> list[str]:
    """Return words of a config as a command line takes them."""
    argv: list[str] = []
    for word, value in words.items():
        argv += [f"--{word}", *texts(value)]
    return argv
