"""Preflight: what only the data, the network and the given files can refuse, before anything is
trained.

One trial cut is made of each distinct recipe, and a training step of what it leaves. The makers are
those of a trial, but nothing is trained and nothing is stored: a run ends with the weights that it
began with. What depends on scores may come out otherwise after training; then only what holds for
every score is refused.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from lthray.config.fields import ConfigError
from lthray.config.trial import PLACES, TrialConfig, facts_of, input_shape, shape_of
from lthray.config.vocabulary import FEATURES, NETWORKS, OBJECTIVES
from lthray.core.layers import never_cut
from lthray.core.random import drawing
from lthray.core.ticket import TicketError, TrialFailed
from lthray.measure import cost, deep, quality
from lthray.prune import budgets
from lthray.prune.controls import CONTROLS
from lthray.prune.transfer import Origin
from lthray.prune.units import UNITS
from lthray.task import data, inputs
from lthray.task.blocks import block_of
from lthray.trial import pipelines
from lthray.trial.begins import stretched, taken_mask
from lthray.trial.makers import KINDS
from lthray.trial.making import Making
from lthray.trial.recipe import trajectory
from lthray.trial.sources import autoencoder_config
from lthray.trial.state import State
from lthray.trial.trajectory import Rung
from lthray.trial.tryout import try_out
from lthray.trial.workshop import Run, Workshop, workshop_of

log = logging.getLogger("lthray")
LITTLE = {
    "prune.images": 8,
    "prune.terms": 2,
    "prune.scoring_steps": 1,
    "prune.early": 0.0,
    "control": "none",
    "fork": 0,
    "rungs": (),
    "measure.samples": 0,
    "measure.rounds": (0,),
}
"""Words of a rehearsal: as little as shows whether a cut can be made."""
RECIPE = (
    *("data.", "model.", "objective.", "latent.", "regime.name", "rewind.rule", "origin"),
    "source.",
    *("prune.criterion", "prune.budget", "prune.granularity", "prune.between", "prune.scored"),
    *("prune.unit", "prune.group", "prune.ladder", "prune.least", "prune.layers"),
)
"""Beginnings of the words in which recipes must differ to be rehearsed one by one."""
SAID = (ConfigError, TicketError, OSError, MemoryError)
"""Errors that say themselves what is wrong."""
THIN = 1 / 64  # density below which a built-in network may have a layer without weights


def needs_check(config: TrialConfig) -> bool:
    """Return whether a config names what only a look at files or layers can tell to be right."""
    prune = config.prune
    if prune.unit != "weight" or min(prune.ladder, default=1.0) < THIN:
        return True
    if config.model.name not in NETWORKS or facts_of(config.data).brought:
        return True
    flat = config.flat()
    files = [flat[word] for word in PLACES if not word.startswith("data.")]
    return any((config.prune.layers, config.prune.dials, *files))


def check(config: TrialConfig, further: Iterable[TrialConfig] = ()) -> None:
    """Refuse what only the data and the network can show; raises ConfigError or TicketError.

    One trial cut is made of each distinct recipe of `config` and `further` ones.
    """
    images = data.load(config.data)
    rehearsal = Rehearsal()
    shape, classes = input_shape(config), shape_of(config.data)[2]
    workshop = rehearsal.workshop(config.model, config.objective, shape, classes)
    if config.model.name not in NETWORKS:
        try_out(workshop, config.model.name, config.seed)
        _tell_never_cut(workshop, config.model.name)
    _check_images(config, images)
    objective = OBJECTIVES[config.objective.name]
    if config.model.pretrained and objective.denoises:
        pipelines.check_scheduler(config)
    if config.latent.pretrained and objective.in_latents:
        workshop_of(autoencoder_config(config)).network(0)
        inputs.check_words(config.latent.pretrained, "vae", config.flat())
    if config.model.pretrained:
        workshop.network(config.seed)
        if config.model.name == "unet":
            inputs.check_words(config.model.pretrained, "unet", config.flat())
    _call(workshop, config)
    _tell_uncounted(workshop, config.model.name)
    _check_layers(workshop, config)
    _check_origin(workshop, config)
    if config.measure.inception:
        quality.inception(config.measure.inception)
    if config.measure.efficientnet:
        deep.load()
    rehearsal.rehearse((config, *further))


def _call(workshop: Workshop, config: TrialConfig) -> None:
    """Call the network once on a blank image; refuse given weights of one that cannot be called."""
    try:
        _ = workshop.shapes
    except Exception as error:  # whatever torch or diffusers raises
        if not config.model.pretrained or isinstance(error, SAID):
            raise
        why = f"{type(error).__name__}: {error}"
        raise inputs.wrong(config.model.pretrained, "unet", why) from None


def _tell_never_cut(workshop: Workshop, name: str) -> None:
    """Say which share of the weights of the user's network `name` no mask can cut."""
    share, weights = never_cut(workshop.twin, workshop.shapes)
    if weights:
        where = ", ".join(weights[:3]) + (", ..." if len(weights) > 3 else "")
        why = "which are never cut: only convolutions and linear layers that are called can be"
        log.warning(
            "model.name = %r: %.3g %% of its weights are in %s, %s", name, 100 * share, where, why
        )


def _tell_uncounted(workshop: Workshop, name: str) -> None:
    """Say which share of the multiply-accumulates of the network `name` is not counted."""
    with drawing(0, workshop.device):
        share = cost.outside_layers(workshop.twin, workshop.example)
    if share:
        told = f"{100 * share:.3g} % of its multiply-accumulates lie in no layer"
        why = "as the products of attention do: cost/macs_dense and cost/macs_masked leave them out"
        log.warning("model.name = %r: %s, %s", name, told, why)


def _check_images(config: TrialConfig, images: data.Images) -> None:
    """Refuse what needs more training images than there are, where only loading them could tell how
    many."""
    n = len(images.splits["train"])
    samples = config.measure.samples
    if OBJECTIVES[config.objective.name].denoises and samples and n < 10 * FEATURES:
        why = f"0, for {n} training images are too few to compare with"
        raise ConfigError([f"measure.samples = {samples}: {why}"])
    wanted = {"train.batch": config.train.batch, "prune.images": config.prune.images}
    faults = []
    for word, number in wanted.items():
        if number > n:
            faults.append(f"{word} = {number}: at most the {n} training images")
    if faults:
        raise ConfigError(faults)


def _check_layers(workshop: Workshop, config: TrialConfig) -> None:
    """Refuse patterns, dials and channels that do not fit the network's layers."""
    prune = config.prune
    free = workshop.free(prune.layers)
    budgets.dial_of({name: block_of(name) for name in free}, prune)
    if not UNITS[prune.unit].coupled:
        return
    try:
        coupling = workshop.coupling(prune.layers)
    except SAID:
        raise
    except Exception as error:  # whatever torch-pruning makes of a module that it does not know
        raise _refused(config, error) from None
    counts = {group.name: group.step for group in coupling.groups}
    least, size = coupling.size(counts, free), workshop.free_size(prune.layers)
    if prune.ladder and not config.origin and round(prune.ladder[-1] * size) < least:
        say = f"with prune.unit = 'channel' at least {least / size:.4g} of the weights stays"
        why = "for every group of channels keeps some"
        raise ConfigError([f"prune.ladder = {prune.ladder}: {say}, {why}"])


def _check_origin(workshop: Workshop, config: TrialConfig) -> None:
    """Refuse a ticket of another trial that does not fit this network or this training."""
    spec = trajectory(config).rungs[-1].mask.spec
    origin = Origin.read(config.origin)
    if origin is None:
        return
    taken_mask(origin, workshop, spec)
    if config.rewind.rule != "given":
        return
    weights = origin.ticket.weights
    if not weights:
        weights = workshop_of(origin.trial(config)).weights(0, fresh=True)
    try:
        _check_begin(origin, config)
        stretched(weights, workshop.sizes, origin, workshop, spec)
    except TicketError as error:
        raise origin.refused(error) from None


def _check_begin(origin: Origin, config: TrialConfig) -> None:
    """Refuse a ticket whose weights cannot be trained here as the config says."""
    steps, row = config.train.steps, CONTROLS.get(config.control)
    start = origin.ticket.start
    if start >= steps:
        left = f"which leaves nothing of train.steps = {steps}"
        raise TicketError(f"begins at step {start}, {left}")
    needs_all = row is not None and not row.rule and (row.mask != "ticket" or row.moved)
    if origin.ticket.weights and needs_all:
        why = f"control = {config.control!r} needs all"
        raise TicketError(f"holds only the weights that it keeps, {why}")


class Rehearsal(Making):
    """Makes steps as a trial does, but nothing is trained; on the CPU, without a store."""

    def __init__(self) -> None:
        super().__init__(KINDS, None, "cpu")

    def reach(self, run: Run, at: int) -> State:
        """Return the state from which a run begins, as that of step `at`."""
        return replace(run.masked_begin(), step=at)

    def rehearse(self, configs: Iterable[TrialConfig]) -> None:
        """Cut once by each distinct recipe of `configs`; ConfigError where that cannot be done."""
        recipes: dict[Any, TrialConfig] = {}
        for config in configs:
            recipes.setdefault(_recipe(config), config)
        for config in recipes.values():
            if config.prune.ladder or config.origin:
                self._cut(config)

    def _cut(self, config: TrialConfig) -> None:
        """Cut the dense network to the last density of the ladder, and make a training step."""
        words = {**LITTLE, "prune.ladder": config.prune.ladder[-1:]}
        rung = trajectory(TrialConfig.from_flat(words, config)).rungs[-1]
        try:
            self._cut_and_learn(rung)
        except SAID:
            raise
        except FloatingPointError:
            pass  # scores of initial weights need not be finite
        except TrialFailed as error:
            dense: Run = self.make(trajectory(config).rungs[0].chain)
            _refuse_empty(config, dense.workshop, error)
        except Exception as error:  # whatever a library or a user's network raises
            raise _refused(config, error) from None
        finally:
            self.forget()

    def _cut_and_learn(self, rung: Rung) -> None:
        self.make(rung.mask)
        run: Run = self.make(rung.chain)
        state = run.masked_begin()
        cover = run.begin.cut.cover
        learner = self.learner(run).smaller(cover)
        learner.try_step(state.smaller(cover))


def _recipe(config: TrialConfig) -> str:
    """Return what recipes share that are cut in the same way."""
    words = config.canonical().items()
    return repr(sorted((word, value) for word, value in words if word.startswith(RECIPE)))


def _refuse_empty(config: TrialConfig, workshop: Workshop, error: Exception) -> None:
    """Raise ConfigError where the last density leaves a layer without weights, whatever the scores.

    `error` is what a trial cut has raised, whose scores are those of initial weights. By other
    scores a ranking over all layers may leave none empty, so it is not refused for that.
    """
    prune = config.prune
    free = workshop.free(prune.layers)
    keep = round(prune.ladder[-1] * workshop.free_size(prune.layers))
    if keep < len(free):
        left = f"{keep} weights are fewer than the {len(free)} layers that may be cut"
        raise ConfigError([f"prune.ladder = {prune.ladder}: {left}, so one would be empty"])
    if budgets.BUDGETS[prune.budget].follows_shapes:
        out = "prune.least keeps a share of every layer"
        raise ConfigError([f"prune.ladder = {prune.ladder}: {error}; {out}"])


def _refused(config: TrialConfig, error: Exception) -> ConfigError:
    """Return the ConfigError that says which cut of which network has failed."""
    prune = config.prune
    words = [f"prune.criterion = {prune.criterion!r}", f"prune.budget = {prune.budget!r}"]
    lines = str(error).splitlines() or [""]
    why = f"{type(error).__name__}: {lines[0]}"
    what = f"cannot cut model.name = {config.model.name!r} with {' and '.join(words)}"
    out = "; prune.unit = 'weight' cuts single weights" * UNITS[prune.unit].coupled
    return ConfigError([f"prune.unit = {prune.unit!r}: {what} ({why}){out}"])
