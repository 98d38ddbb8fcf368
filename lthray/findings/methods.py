"""The methods of a study as text for a paper, made from the recorded configs, with citations.

Every word of a config that a trial does not have at its default is in the text: in the sentence of
its subject or, where no sentence has it, by its name at the end.
"""

from collections.abc import Iterator, Sequence

from lthray.config.vocabulary import OBJECTIVES
from lthray.core.record import MIXED, TrialRecord
from lthray.findings.claims import Verdict
from lthray.findings.comparators import GAIN
from lthray.findings.formats import UNITS, series
from lthray.findings.setting import Words, digests, has_levels, seeds_of, training_images
from lthray.findings.stats import ALPHA
from lthray.prune.controls import CONTROLS

SAYS = {
    "unet": "a U-Net of residual blocks (Ho et al. 2020)",
    "resnet": "a residual network (He et al. 2016) with group normalisation",
    "denoise": "predicts the noise in an image (Ho et al. 2020)",
    "latent_denoise": "predicts the noise in the latent of an autoencoder (Rombach et al. 2022)",
    "classify": "tells the class of an image by cross-entropy",
    "autoencode": "reconstructs images (Kingma and Welling 2014)",
    "v_prediction": "v_prediction (Salimans and Ho 2022)",
    "squaredcos_cap_v2": "squaredcos_cap_v2 (Nichol and Dhariwal 2021)",
    "sigmoid": "sigmoid (Xu et al. 2022)",
    "adam": "adam (Kingma and Ba 2015)",
    "adamw": "adamw (Loshchilov and Hutter 2019)",
    "cosine": "cosine (Loshchilov and Hutter 2017)",
    "magnitude": "magnitude (Han et al. 2015)",
    "movement": "movement (Zhou et al. 2019)",
    "magnitude_increase": "magnitude_increase (Zhou et al. 2019)",
    "snip": "snip (Lee et al. 2019)",
    "grasp": "grasp (Wang et al. 2020)",
    "synflow": "synflow (Tanaka et al. 2020)",
    "taylor": "taylor (Molchanov et al. 2019)",
    "diff_pruning": "diff_pruning (Fang et al. 2023b)",
    "erk": "erk (Evci et al. 2020)",
    "lamp": "lamp (Lee et al. 2021)",
    "channel": "channel, with all that is coupled to it (Fang et al. 2023a)",
    "n_of_m": "n_of_m (Mishra et al. 2021)",
    "set": "set (Mocanu et al. 2018)",
    "rigl": "rigl (Evci et al. 2020)",
    "gradual": "gradual (Zhu and Gupta 2017)",
    "rst": "rst (Bai et al. 2022)",
    "init": "init (Frankle and Carbin 2019)",
    "late": "late (Frankle et al. 2020)",
    "tuned": "tuned (Han et al. 2015)",
    "lr": "lr (Renda et al. 2020)",
    "sign": "sign (Zhou et al. 2019)",
    "reinit": "the same masks over new weights (Frankle and Carbin 2019)",
    "shuffle": "masks shuffled within their layers (Frankle et al. 2021)",
    "random_mask": "random masks of the same density (Su et al. 2020)",
    "perturb": "kept weights moved at random (Frankle et al. 2021)",
    "small_dense": "narrower dense networks with as many parameters",
    "equal_compute": "dense networks trained for as many steps as finding and training the ticket "
    "took (Liu et al. 2019)",
    "dense": "the dense network with the same rewinding",
    "one_shot": "masks cut in one step",
    "complement": "masks of the weights that the ticket cuts",
    "ddim": "ddim (Song et al. 2021)",
    "ddpm": "ddpm (Ho et al. 2020)",
    "dpm_solver": "dpm_solver (Lu et al. 2022)",
    "heun": "heun (Karras et al. 2022)",
}
"""Value of a word -> what the text says of it, with its citation; others are told as they are."""


def said(words: Words, word: str) -> str:
    """Return the values of a word as the text has them, with their citations."""
    return " or ".join(SAYS.get(value, value) for value in words.all(word))


def listed(words: Words, word: str) -> str:
    """Return the values of a word that is a list of names, each name once, with its citation."""
    names = [name for value in words.all(word) for name in value.split(", ")]
    return series([SAYS.get(name, name) for name in dict.fromkeys(names)])


def text(trials: Sequence[TrialRecord], verdicts: Sequence[Verdict], built: str) -> list[str]:
    """Return the paragraphs of the methods of a study.

    `verdicts` are empty where none was given; `built` names the package and its version.
    """
    words = Words(trials)
    tickets = [trial for trial in trials if trial.point.is_ticket and len(trial.rounds) > 1]
    recipes = Words(tickets or trials)
    paragraphs = [learnt(trials, words), trained(words), pruned(tickets, recipes)]
    words.told |= recipes.told
    paragraphs += [*lent(words), controls(trials, words), measured(words), *searched(trials)]
    paragraphs += [seeds(trials, words), *tests(trials, verdicts), software(trials, built)]
    left = words.left()
    if left:
        told = "; ".join(left)
        paragraphs.append(f"Further words of the configuration, in some or all trials: {told}.")
    return paragraphs


def learnt(trials: Sequence[TrialRecord], words: Words) -> str:
    """Return data, network and objective."""
    lines = [
        f"Images. The data are {words['data.name']}, with {training_images(words)} training images "
        f"(their contents begin with the digests {digests(trials)})."
    ]
    if words.given("data.augment"):
        lines.append(f"Augmentation is {words['data.augment']}.")
    lines.append(
        f"The network is {said(words, 'model.name')}, {sizes(words)}. "
        f"Its objective is {words['objective.name']}: it {said(words, 'objective.name')}."
    )
    names = words.values["objective.name"]
    if any(name in OBJECTIVES and OBJECTIVES[name].denoises for name in names):
        lines.append(
            f"The noise schedule is {said(words, 'objective.schedule')} of "
            f"{words['objective.timesteps']} timesteps, and the output is "
            f"{said(words, 'objective.prediction')}."
        )
    if any(name in OBJECTIVES and OBJECTIVES[name].in_latents for name in names):
        lines.append(
            f"Latents have {words['latent.channels']} channels, of an autoencoder of widths "
            f"{words['latent.widths']} that is trained for {words['latent.steps']} steps."
        )
    return " ".join(lines)


def sizes(words: Words) -> str:
    """Return the widths of a network, and its depth where it has levels."""
    if not any(map(has_levels, words.values["model.name"])):
        return f"with hidden layers of {words['model.hidden']} units"
    return (
        f"with {words['model.channels']} channels, {words['model.layers']} residual block(s) a "
        f"level and {words['model.groups']} groups of its normalisation"
    )


def trained(words: Words) -> str:
    """Return how one training run goes."""
    average = f"a moving average of relative width {words['train.ema']} (Karras et al. 2024)"
    return (
        f"Training. A run takes {words['train.steps']} optimizer steps of {words['train.batch']} "
        f"images with {said(words, 'train.optimizer')}: learning rate {words['train.lr']}, "
        f"momentum {words['train.momentum']}, weight decay {words['train.weight_decay']}, "
        f"{words['train.warmup']} steps of warm-up, then {said(words, 'train.decay')} decay to "
        f"{words['train.floor']} of the peak. Gradients are clipped at norm {words['train.clip']} "
        f"(0: not at all). Of the weights {average} is measured (0: the weights themselves)."
    )


def pruned(trials: Sequence[TrialRecord], words: Words) -> str:
    """Return how tickets are found: the recipe's own words."""
    recipes = {trial.point.recipe for trial in trials}
    line = (
        "Tickets. A dense network is trained, cut and rewound in rounds (Frankle and Carbin 2019), "
        f"down to the densities {words['prune.ladder']} of its free weights. The criterion is "
        f"{said(words, 'prune.criterion')}, shared out over the layers by "
        f"{said(words, 'prune.budget')}; what is cut as one is {said(words, 'prune.unit')}; the "
        f"mask is {said(words, 'regime.name')} in training. Weights are rewound by the rule "
        f"{said(words, 'rewind.rule')}, with a rewind point at {words['rewind.fraction']} of the "
        "steps where the rule has one."
    )
    if words.given("prune.early"):
        line += f" Masks are drawn early, at a change of {words['prune.early']} (You et al. 2020)."
    several = f" In all {len(recipes)} recipes were tried." if len(recipes) > 1 else ""
    return line + several


def lent(words: Words) -> Iterator[str]:
    """Yield what tickets are taken from other trials, where any are."""
    if words.given("source.words") or words.given("source.seeds"):
        yield (
            "Transfer. Tickets come from other trials (Morcos et al. 2019), which differ in "
            f"{words['source.words']}, and by {words['source.seeds']} in their seeds; taken is "
            f"{words['source.takes']} (Oh et al. 2025), aligned by {words['source.align']} "
            "(Adnan et al. 2025)."
        )


def controls(trials: Sequence[TrialRecord], words: Words) -> str:
    """Return what was trained in the tickets' place, and the runs on other streams."""
    arms = [arm for arm in words.all("control") if arm in CONTROLS]
    if not arms:
        return "Controls. None were trained."
    told = series([SAYS.get(arm, arm) for arm in arms])
    line = f"Controls. In the place of a ticket were trained: {told}."
    drawn: dict[str, set[int]] = {}
    for trial in trials:
        drawn.setdefault(trial.point.control, set()).add(int(trial.point.config.get("draw", 0)))
    draws = max(map(len, drawn.values()))
    if draws > 1 or words.given("draw"):
        line += f" Random ones were drawn {draws} times at most (draw = {words['draw']})."
    if words.given("fork"):
        line += f" Second runs took another order of the data (fork = {words['fork']})."
    if words.given("rungs"):
        line += f" They were trained in the rounds {words['rungs']} (-1: the last; none: in all)."
    return line


def measured(words: Words) -> str:
    """Return what networks are measured on."""
    line = (
        f"Measurement. All networks of a study are measured on the same {words['measure.images']} "
        f"images at most of the {words['measure.split']} split, at {words['measure.timesteps']} "
        "timesteps with the same noise. Along each training run there are "
        f"{words['measure.checkpoints']} points of measurement."
    )
    if words["measure.samples"] != "0":
        line += (
            f" {words['measure.samples']} images are sampled by "
            f"{listed(words, 'measure.samplers')} in {words['measure.sampling_steps']} network "
            f"calls, in the rounds {words['measure.rounds']}, and compared by KID "
            "(Binkowski et al. 2018)."
        )
    if words.given("measure.robust"):
        line += (
            f" Robustness is measured on {words['measure.robust']} images, with attacks of "
            f"{words['measure.attack']} gradient steps (Carlini et al. 2019)."
        )
    if words.given("measure.connected"):
        line += (
            f" Whether rungs are linearly connected is measured: {words['measure.connected']} "
            "(Paul et al. 2023)."
        )
    return line


def searched(trials: Sequence[TrialRecord]) -> Iterator[str]:
    """Yield how recipes were searched for, where they were."""
    drawn = [trial for trial in trials if trial.point.phase == "search"]
    if drawn:
        stopped = sum(trial.status == "stopped" for trial in drawn)
        names = sorted({word for trial in drawn for word in trial.point.words})
        yield (
            f"Search. {len(drawn)} trials were drawn by the tree-structured Parzen estimator "
            "(Bergstra et al. 2011) of Optuna (Akiba et al. 2019), over "
            f"{', '.join(names) or 'no words'}; {stopped} of them were stopped at a rung."
        )


def seeds(trials: Sequence[TrialRecord], words: Words) -> str:
    """Return the seeds by phase; those of streams follow the initial weights'."""
    told = [f"{phase}: {', '.join(map(str, each))}" for phase, each in seeds_of(trials).items()]
    line = f"Seeds. The seeds of the initial weights are, by phase, {'; '.join(told)}."
    words.all("seed")
    if words.given("stream"):
        line += f" The seeds of data order, timesteps and noise are {words['stream']}."
    return line


def tests(trials: Sequence[TrialRecord], verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield how claims were tested, and corrected for their number."""
    if any(trial.point.phase == "design" for trial in trials):
        yield (
            "Statistics. A trajectory is one recipe on one seed. Shares have the intervals of "
            "clustered samples (Korn and Graubard 1998), with recipes and seeds as clusters "
            "(Cameron et al. 2011). That a share lies above its base rate is tested by a t-test "
            "over seeds and by that interval, of which the larger p counts. All claims are one "
            f"family (Holm 1979), at level {ALPHA:.2g} over all looks at the seeds."
        )
    if not verdicts:
        return
    first = verdicts[0]
    family = first.registry
    accurate = first.evidence.accurate
    value = "the accuracy lost" if accurate else "the log-ratio of held-out losses"
    margin = f"{100 * first.margin:.2g}{UNITS[accurate]}"
    yield (
        f"Statistics. The unit of replication is the seed, and its value is {value} of two "
        "networks of that seed, on the same images and noise. Claims are one-sided t-tests over "
        f"seeds. A ticket matches another network where the mean lies below a margin of {margin} "
        "(Frankle et al. 2020). "
        f"The {len(family.family)} claims are one family, corrected together (Holm 1979) at level "
        f"{family.alpha:.2g}, at look {first.look} at these seeds (Lan and DeMets 1983). Bounds "
        "are shown at the level at which a claim is tested. A planned run that failed counts as "
        "the worst outcome. A dense network counts as converged where twice the steps gain less "
        f"than {GAIN:.0%} (Ma et al. 2021)."
    )


def software(trials: Sequence[TrialRecord], built: str) -> str:
    """Return with what the trials were run: `built` names the package."""
    made = dict.fromkeys(
        ", ".join(f"{word} {value}" for word, value in r.made.items() if word != MIXED)
        for trial in trials
        for r in trial.rounds
    )
    machines = "; ".join(filter(None, made)) or "machines that were not recorded"
    return (
        f"Software. Trials were run by {built} on {machines}, and recorded in MLflow "
        "(Zaharia et al. 2018)."
    )
