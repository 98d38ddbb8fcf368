"""What a recipe is compared with, as words that are laid over it.

Every study that grades tickets uses these. Each arm of a seed shares all it can with the ticket:
the dense run, the chain of masks, the evaluation set.
"""

from collections.abc import Sequence

from lthray.config.fields import ConfigError
from lthray.config.trial import PLAIN, TrialConfig
from lthray.config.vocabulary import denoisers
from lthray.study.space import Words

# a second dense network from the same weights on another stream (A/A): what chance alone does
AGAIN: Words = {
    "control": "dense",
    "fork": 1,
    "rewind.rule": "init",
    "rewind.fraction": 0.0,
    "rungs": (1,),
    "measure.rounds": (0, 1),
}


# half of the default's timesteps and looks: seeds find as small an effect (analysis/measuring.py)
LEAN: Words = {"measure.timesteps": 10, "measure.checkpoints": 5}


def against(*controls: str, rungs: Sequence[int] = (), sampled: Sequence[str] = ()) -> list[Words]:
    """Return the arms of a recipe: the ticket itself, then each of `controls` at `rungs`.

    Where no rungs are named it is at all. Of the controls that are `sampled`, the last rung is
    measured as a ticket's is, with its samples.
    """
    arms: list[Words] = [{"control": "none"}]
    for name in controls:
        rounds = (0, -1) if name in sampled else (0,)
        arms.append({"control": name, "rungs": tuple(rungs), "measure.rounds": rounds})
    return arms


def twins(*controls: str) -> list[Words]:
    """Return each of `controls` drawn once more at the last rung: a negative control.

    The two draws are exchangeable. A page that finds one better than the other is wrong.
    """
    return [{**arm, "draw": 1} for arm in against(*controls, rungs=(-1,))[1:]]


def drawn(*controls: str, draws: int, rungs: Sequence[int]) -> list[Words]:
    """Return the arms of a recipe: the ticket itself, then so many `draws` of each of `controls`.

    Draws of a control are independent of each other and share the ticket's chain and stream. Where
    a ticket is no better than they are, it is the best of all with probability 1 / (draws + 1).
    """
    arms: list[Words] = [{"control": "none"}]
    for control in against(*controls, rungs=rungs)[1:]:
        arms += [{**control, "draw": draw} for draw in range(1, draws + 1)]
    return arms


def shorter(config: TrialConfig) -> Words:
    """Return the words of the dense network at half the steps of `config`, with its samples.

    What the second half of the training gains says how much a metric of samples can tell.
    """
    half = max(config.train.steps // 2, 1)
    warmup = {"train.warmup": half - 1} if config.train.warmup >= half else {}
    return {"train.steps": half, "prune.ladder": (), "measure.rounds": (0,), **warmup}


def doubled(config: TrialConfig, doublings: int) -> list[Words]:
    """Return the words of dense networks at 2, 4, ... times the steps of `config`.

    The shortest that twice the steps hardly improve is the converged one.
    """
    return [longer(config, 2**doubling) for doubling in range(1, doublings + 1)]


def longer(config: TrialConfig, times: int = 2) -> Words:
    """Return the words of the dense network at twice the steps of `config`, or more.

    If it is much better, the reference was undertrained.
    """
    return {
        "train.steps": times * config.train.steps,
        "prune.ladder": (),
        "measure.samples": 0,
        "measure.rounds": (0,),
    }


def forked(*rungs: int) -> list[Words]:
    """Return two arms that are trained once more on another stream.

    These are the dense network from its checkpoint at k, and tickets at `rungs`. Each is measured
    with the error barrier to the first run.
    """
    return [{"control": "dense", "fork": 1, "rungs": (1,)}, {"fork": 1, "rungs": rungs}]


def given(source: str) -> Words:
    """Return the words of a trained network that is measured as it is, neither trained nor pruned.

    `source` is a file, a folder, a pipeline or a Hub id.
    """
    return {
        "train.steps": 0,
        "train.warmup": 0,
        "prune.ladder": (),
        "prune.least": 0.0,
        **PLAIN,
        "origin": "",
        "measure.rounds": (0,),
        "model.pretrained": source,
    }


def spaces(config: TrialConfig) -> tuple[str, ...]:
    """Return the objectives of a denoiser that `config` admits.

    One is in pixels; the one in latents needs sides that fit.
    """
    return tuple(name for name in denoisers() if _admits(config, {"objective.name": name}))


def _admits(config: TrialConfig, words: Words) -> bool:
    try:
        TrialConfig.from_flat(words, config)
    except ConfigError:
        return False
    return True


def rungs_of(config: TrialConfig) -> int:
    """Return the number of rounds of a trial after the dense one."""
    return 1 if config.origin else len(config.prune.ladder)


def pruned(config: TrialConfig) -> bool:
    """Return whether a trial goes down a ladder; else it only trains a dense network."""
    return bool(config.prune.ladder or config.origin)
