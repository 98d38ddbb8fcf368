"""Name trials in a few words, for tables and legends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lthray.config.fields import default_of
from lthray.config.parts import Prune
from lthray.config.spec import text_of, texts
from lthray.config.transfer import Source
from lthray.config.trial import TrialConfig, words_of_role
from lthray.config.vocabulary import BUDGETS, CONTROLS, OBJECTIVES, REGIMES, REWINDS, UNITS

TOLD = (
    *("prune.criterion", "prune.scored", "prune.scoring_steps", "prune.budget", "prune.slope"),
    *("prune.dials", "prune.granularity", "prune.gamma", "prune.between", "prune.unit"),
    *("prune.group", "prune.early", "rewind.rule", "rewind.fraction", "regime.name"),
    *("origin", "elastic", "source.words", "source.seeds", "source.takes", "source.align"),
)
"""Words of a recipe that its name tells in its own way."""
UNTOLD = {*words_of_role("recipe")} - {*TOLD}


def name_of(config: TrialConfig, shared: TrialConfig | None = None) -> str:
    """Return a short name of a trial: "reinit erk late5% s3".

    `shared` is the config that the trials of its study share.
    """
    words: list[str] = []
    if CONTROLS[config.control].trains:
        words.append(config.control)
    if config.draw:
        words.append(f"draw{config.draw}")
    if config.fork:
        words.append(f"fork{config.fork}")
    return " ".join([*words, recipe_of(config, shared), f"s{config.seed}"])


def recipe_of(config: TrialConfig, shared: TrialConfig | None = None) -> str:
    """Return a trial's name without its seed and its control: "erk late5%".

    What it has otherwise than `shared`, and a name does not tell in its own way, stands at the end:
    "erk late5% state=reset". So recipes of a study have names of their own, but for rounding.
    """
    space = OBJECTIVES[config.objective.name].label
    if not config.prune.ladder and not config.origin:
        words = [space, _dense(config)]
    else:
        words = [
            space,
            *_regime(config),
            *_scoring(config.prune),
            UNITS[config.prune.unit].label.format(group=config.prune.group),
            *_origin(config),
            *_source(config.source),
            *_budget(config.prune),
            _rewinding(config),
            *_further(config, shared or config),
        ]
    return " ".join(word for word in words if word)


def setting_of(config: TrialConfig, shared: TrialConfig) -> str:
    """Return the words of a trial's setting that are otherwise than `shared`: "train.steps 200".

    The space is left out, and the steps of a dense network: its name tells them.
    """
    usual, own = shared.flat(), config.flat()
    told = {"objective.name"} if config.prune.ladder else {"objective.name", "train.steps"}
    parts = [
        f"{word} {_brief(own[word])}"
        for word in words_of_role("setting")
        if own[word] != usual[word] and word not in told
    ]
    return ", ".join(parts)


def _brief(value: Any) -> str:
    """Return a value as the command line has it, a number to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else text_of(value)


def _dense(config: TrialConfig) -> str:
    if config.train.steps:
        return f"dense {config.train.steps} steps"
    return f"given {Path(config.model.pretrained).name}"


def _regime(config: TrialConfig) -> Iterator[str]:
    if REGIMES[config.regime.name].moves:
        yield config.regime.name


def _scoring(prune: Prune) -> Iterator[str]:
    if prune.criterion != default_of(TrialConfig, "prune.criterion"):
        yield prune.criterion
    if prune.scored == "rewound":
        yield "at start"
    if prune.scored == "average":
        yield "of average"
    if prune.scoring_steps > 1:
        yield f"in {prune.scoring_steps}"
    if prune.early:
        yield f"early {prune.early:g}"


def _origin(config: TrialConfig) -> Iterator[str]:
    if config.origin:
        yield "origin"
    if config.elastic != default_of(TrialConfig, "elastic"):
        yield config.elastic


def _source(source: Source) -> Iterator[str]:
    """Yield what is taken of another trial, and of which: "mask from digits_high"."""
    if source.given:
        yield f"{source.taken} from {source.name}"


def _budget(prune: Prune) -> Iterator[str]:
    dials = " ".join(f"{dial:+.1f}" for dial in prune.dials)
    yield BUDGETS[prune.budget].label.format(slope=prune.slope, dials=dials)
    if prune.gamma != 1:
        yield f"^{prune.gamma:g}"
    if prune.between != default_of(TrialConfig, "prune.between"):
        yield prune.between
    if prune.granularity != default_of(TrialConfig, "prune.granularity"):
        yield f"by {prune.granularity}"


def _rewinding(config: TrialConfig) -> str:
    rule = config.rewind.rule
    return f"{rule}{100 * config.rewind.fraction:.3g}%" if REWINDS[rule].pointed else rule


def _further(config: TrialConfig, shared: TrialConfig) -> Iterator[str]:
    """Yield what a recipe has otherwise than the trials of its study share, if no other part of the
    name tells it."""
    usual = shared.flat()
    for word, value in config.flat().items():
        if word in UNTOLD and value != usual[word]:
            yield f"{word.rpartition('.')[2]}={','.join(texts(value))}"
