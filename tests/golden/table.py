"""Some hundred small trials that between them use every word of the vocabulary: name -> the dotted
words of the config.

`origin = "NAME#ROUND"` stands for the ticket of that round of another trial of the table.
"""

from typing import Any

Words = dict[str, Any]

UNET: Words = {
    "model.channels": (8,),
    "model.groups": 4,
    "train.steps": 8,
    "train.batch": 8,
    "train.ema": 0.2,
    "rewind.fraction": 0.25,
    "prune.ladder": (0.5, 0.3),
    "prune.images": 16,
    "prune.terms": 2,
    "measure.images": 8,
    "measure.timesteps": 4,
    "measure.checkpoints": 2,
    "measure.samples": 0,
}
LENET: Words = {
    "model.name": "lenet300",
    "model.hidden": (12, 8),
    "objective.name": "classify",
    "train.steps": 12,
    "train.batch": 20,
    "rewind.fraction": 0.25,
    "prune.ladder": (0.5, 0.3),
    "prune.images": 16,
    "prune.terms": 2,
    "measure.images": 50,
    "measure.checkpoints": 2,
    "measure.samples": 0,
}
LATENT: Words = UNET | {
    "objective.name": "latent_denoise",
    "latent.steps": 12,
    "latent.widths": (4, 8),
    "latent.groups": 4,
}

HIGH: Words = {"data.name": "digits_low", "source.words": (("data.name", "digits_high"),)}

CRITERIA = (
    "magnitude", "random", "movement", "magnitude_increase", "snip", "grasp", "synflow", "taylor",
    "diff_pruning", "sensitivity", "hsic",
)  # fmt: skip
BUDGETS = ("uniform", "overall", "erk", "lamp", "ramp", "sensitivity", "hsic", "cka")
REWINDS = ("init", "late", "tuned", "lr", "random", "sign")
CONTROLS = (
    "reinit", "shuffle", "random_mask", "complement", "perturb", "dense", "small_dense",
    "equal_compute", "tuned", "lr", "one_shot",
)  # fmt: skip
MOVING = ("set", "rigl", "gradual", "rst")


def _rewinds() -> dict[str, Words]:
    table = {f"rewind {rule}": UNET | {"rewind.rule": rule} for rule in REWINDS}
    table["rewind late reset"] = UNET | {"rewind.state": "reset"}
    table["rewind late previous"] = UNET | {"rewind.anchor": "previous"}
    table["rewind late previous reset"] = UNET | {
        "rewind.anchor": "previous",
        "rewind.state": "reset",
    }
    table["rewind at half"] = UNET | {"rewind.fraction": 0.5}
    for rule in REWINDS:
        table[f"lenet rewind {rule}"] = LENET | {"rewind.rule": rule}
    return table


def _controls() -> dict[str, Words]:
    table = {}
    for control in CONTROLS:
        base = UNET | {"model.channels": (16,)} if control == "small_dense" else UNET
        table[f"control {control}"] = base | {"control": control}
        for rule in ("init", "tuned", "lr"):
            if rule == "init" or control in ("reinit", "perturb", "dense", "tuned", "one_shot"):
                table[f"control {control} of {rule}"] = base | {
                    "control": control,
                    "rewind.rule": rule,
                }
    for control in ("shuffle", "dense", "one_shot", "reinit"):
        table[f"control {control} reset"] = UNET | {"control": control, "rewind.state": "reset"}
        table[f"control {control} last"] = UNET | {"control": control, "rungs": (-1,)}
        table[f"lenet control {control}"] = LENET | {"control": control}
    small = UNET | {"model.channels": (16,), "control": "small_dense"}
    table["control small_dense at one rate"] = small | {"rates": (1.0,)}
    table["control perturb little"] = UNET | {"control": "perturb", "sigma": 0.1}
    return table


def _criteria() -> dict[str, Words]:
    table = {}
    for criterion in CRITERIA:
        table[f"criterion {criterion}"] = UNET | {"prune.criterion": criterion, "prune.least": 0.05}
        table[f"lenet criterion {criterion}"] = LENET | {"prune.criterion": criterion}
        if criterion in ("movement", "magnitude_increase"):
            continue  # before training nothing has moved
        table[f"criterion {criterion} at start"] = LENET | {
            "prune.criterion": criterion,
            "prune.scored": "rewound",
            "rewind.rule": "init",
        }
    for criterion in ("magnitude", "taylor"):
        table[f"criterion {criterion} in three"] = UNET | {
            "prune.criterion": criterion,
            "prune.scoring_steps": 3,
            "prune.least": 0.05,
        }
    table["scored rewound late"] = UNET | {"prune.scored": "rewound"}
    table["scored average"] = UNET | {"prune.scored": "average"}
    table["scored rewound previous"] = UNET | {
        "prune.scored": "rewound",
        "rewind.anchor": "previous",
    }
    table["scored rewound random"] = UNET | {"prune.scored": "rewound", "rewind.rule": "random"}
    table["scored rewound sign"] = UNET | {
        "prune.scored": "rewound",
        "rewind.rule": "sign",
        "prune.least": 0.05,
    }
    table["early"] = UNET | {"train.steps": 20, "prune.early": 0.5, "prune.looks": 5}
    table["early movement"] = UNET | {
        "train.steps": 20,
        "prune.early": 0.9,
        "prune.looks": 5,
        "prune.criterion": "movement",
    }
    return table


def _budgets() -> dict[str, Words]:
    table = {f"budget {budget}": UNET | {"prune.budget": budget} for budget in BUDGETS}
    table |= {f"lenet budget {budget}": LENET | {"prune.budget": budget} for budget in BUDGETS}
    table["budget sampled"] = LENET | {"prune.budget": "sampled", "prune.dials": (0.5, -0.5)}
    table["budget sampled whole"] = LENET | {
        "prune.budget": "sampled",
        "prune.dials": (0.5, -0.5),
        "prune.layers": (("output", 1.0), ("*", "free")),
    }
    table["budget ramp up"] = UNET | {"prune.budget": "ramp", "prune.slope": -1.0}
    table["budget ramp down"] = UNET | {"prune.budget": "ramp", "prune.slope": 1.0}
    table["budget cka dense"] = UNET | {"prune.budget": "cka", "prune.between": "dense"}
    table["budget cka reversed"] = UNET | {"prune.budget": "cka", "prune.gamma": -1.0}
    table["budget cka of seed 3"] = UNET | {"prune.budget": "cka", "seed": 3, "stream": 3}
    table["budget hsic by level"] = UNET | {"prune.budget": "hsic", "prune.granularity": "level"}
    table["budget sensitivity by block"] = UNET | {
        "prune.budget": "sensitivity",
        "prune.granularity": "block",
    }
    table["budget overall with a floor"] = UNET | {"prune.least": 0.1}
    table["fixed layers"] = UNET | {
        "prune.layers": (("conv_*", 1.0), ("mid_block.*", 0.5), ("*", "free"))
    }
    return table


def _units() -> dict[str, Words]:
    channels = UNET | {"model.channels": (16,), "prune.unit": "channel"}
    table = {
        "n of m": UNET
        | {"prune.unit": "n_of_m", "prune.budget": "uniform", "prune.ladder": (0.5, 0.25)},
        "n of m shuffled": UNET
        | {
            "prune.unit": "n_of_m",
            "prune.budget": "uniform",
            "prune.ladder": (0.5, 0.25),
            "control": "shuffle",
        },
        "channels": channels,
        "channels uniform": channels | {"prune.budget": "uniform"},
        "channels taylor": channels | {"prune.criterion": "taylor"},
        "channels init": channels | {"rewind.rule": "init"},
    }
    for control in ("shuffle", "reinit", "complement", "dense", "perturb"):
        table[f"channels {control}"] = channels | {"control": control}
    return table


def _regimes() -> dict[str, Words]:
    table = {}
    for name in MOVING:
        moving = {"regime.name": name, "regime.every": 1}
        table[f"regime {name}"] = UNET | moving
        table[f"regime {name} init"] = UNET | moving | {"rewind.rule": "init"}
        table[f"lenet regime {name} tuned"] = LENET | moving | {"rewind.rule": "tuned"}
        for control in ("shuffle", "reinit", "dense"):
            table[f"regime {name} {control}"] = UNET | moving | {"control": control}
        table[f"regime {name} fork"] = UNET | moving | {"fork": 1}
    table["regime rst squared"] = UNET | {
        "regime.name": "rst",
        "regime.every": 1,
        "regime.power": 2,
        "regime.penalty": 2.0,
    }
    return table


def _others() -> dict[str, Words]:
    return {
        "base": UNET,
        "lenet": LENET,
        "dense only": UNET | {"prune.ladder": ()},
        "seed 1": UNET | {"seed": 1, "stream": 1},
        "stream 1": UNET | {"stream": 1},
        "sgd cosine": UNET | {"train.optimizer": "sgd", "train.decay": "cosine", "train.warmup": 2},
        "adamw linear": UNET
        | {"train.optimizer": "adamw", "train.decay": "linear", "train.weight_decay": 0.1},
        "no average": UNET | {"train.ema": 0.0, "train.clip": 0.0},
        "flipped": UNET | {"data.augment": "flip_shift"},
        "half the data": UNET | {"data.fraction": 0.5},
        "low digits": UNET | {"data.name": "digits_low"},
        "velocity": UNET
        | {"objective.prediction": "v_prediction", "objective.schedule": "squaredcos_cap_v2"},
        "clean image": UNET | {"objective.prediction": "sample", "objective.schedule": "sigmoid"},
        "conditional": UNET | {"model.conditional": True},
        "dropout": UNET | {"model.dropout": 0.2},
        "lenet5": LENET
        | {"model.name": "lenet5", "model.channels": (4, 8), "model.hidden": (16, 8)},
        "resnet": LENET | {"model.name": "resnet", "model.channels": (8, 16), "model.groups": 4},
        "autoencoder": UNET
        | {"model.name": "autoencoder", "objective.name": "autoencode", "model.channels": (4, 8)},
        "two levels": UNET | {"model.channels": (8, 16), "model.attention": (1,)},
        "latent": LATENT,
        "latent flipped": LATENT | {"data.augment": "flip"},
        "latent shuffled": LATENT | {"control": "shuffle"},
        "latent taylor": LATENT | {"prune.criterion": "taylor", "prune.least": 0.05},
        "fork": UNET | {"fork": 1},
        "fork 2": UNET | {"fork": 2, "rungs": (2,)},
        "fork of dense": UNET | {"fork": 1, "control": "dense", "rungs": (1,)},
        "fork of dense init": UNET
        | {"fork": 1, "control": "dense", "rewind.rule": "init", "rungs": (1,)},
        "fork of shuffled": UNET | {"fork": 1, "control": "shuffle"},
        "draw of shuffled": UNET | {"draw": 1, "control": "shuffle"},
        "draw of new weights": UNET | {"draw": 2, "control": "reinit"},
        "fork of tuned": UNET | {"fork": 1, "rewind.rule": "tuned"},
        "origin": UNET | {"origin": "base#2"},
        "origin of another seed": UNET | {"origin": "base#2", "seed": 1, "stream": 1},
        "origin shuffled": UNET | {"origin": "base#2", "control": "shuffle"},
        "origin with weights": UNET
        | {"origin": "base#2", "rewind.rule": "given", "seed": 1, "stream": 1},
        "origin with weights shuffled": UNET
        | {
            "origin": "base#1",
            "rewind.rule": "given",
            "control": "shuffle",
            "seed": 1,
            "stream": 1,
        },
        "origin deeper": UNET | {"origin": "base#2", "model.layers": 2, "rewind.rule": "given"},
        "origin deeper appended": UNET
        | {"origin": "base#2", "model.layers": 3, "elastic": "append"},
        "lent ticket": UNET | HIGH,
        "lent ticket shuffled": UNET | HIGH | {"control": "shuffle"},
        "lent mask": UNET | HIGH | {"source.takes": "mask"},
        "lent weights": UNET | HIGH | {"source.takes": "weights"},
        "lent signs": UNET | HIGH | {"source.takes": "signs"},
        "lent mask aligned": UNET
        | {"source.seeds": 7, "source.takes": "mask", "source.align": "activations"},
        "lent from another depth": UNET | {"source.words": (("model.layers", "2"),)},
        "lent from scrambled images": UNET | {"source.words": (("data.scrambled", "true"),)},
        "under stress": UNET
        | {
            "measure.robust": 8,
            "measure.attack": 2,
            "measure.sampling_steps": (2,),
            "prune.ladder": (0.5,),
        },
        "probed": UNET | {"measure.perturbations": 2, "measure.sensitivity": True},
        "sampled": UNET
        | {
            "measure.samples": 320,
            "measure.samplers": ("ddim", "ddpm"),
            "measure.sampling_steps": (3, 4),
            "measure.rounds": (0, -1),
        },
        "sampled control": UNET
        | {"measure.samples": 320, "measure.sampling_steps": (3,), "control": "reinit"},
        "sampled latent": LATENT | {"measure.samples": 320, "measure.sampling_steps": (3,)},
    }


TABLE: dict[str, Words] = {
    **_others(),
    **_rewinds(),
    **_controls(),
    **_criteria(),
    **_budgets(),
    **_units(),
    **_regimes(),
}
