"""Short names of trials, for tables and legends."""

from pathlib import Path

from lthray.config.trial import POINTED, TrialConfig


def name_of(config: TrialConfig) -> str:
    """A short name for tables and legends: "reinit erk late5% s3"."""
    fork = f"fork{config.fork}" if config.fork else ""
    return " ".join(w for w in (config.control, fork, recipe_of(config), f"s{config.seed}") if w not in ("", "none"))


def recipe_of(config: TrialConfig) -> str:
    """What a name says of all trials that differ in the seed alone, or in what stands in the ticket's place."""
    c, r = config.prune, config.rewind
    if not c.ladder and not config.origin:
        trained = f"dense {config.train.steps} steps" if config.train.steps else f"given {Path(config.model.pretrained).name}"
        return f"{'latent ' if config.objective.name == 'latent_denoise' else ''}{trained}"
    budget = {"ramp": f"ramp{c.slope:+.1f}", "sampled": "sampled(" + " ".join(f"{d:+.1f}" for d in c.dials) + ")"}
    at = f"{r.fraction:.0%}" if r.rule in POINTED else ""
    before = {
        "latent": config.objective.name == "latent_denoise",
        config.regime.name: config.regime.name != "static",
        c.criterion: c.criterion != "magnitude",
        "at start": c.scored == "rewound",
        f"in {c.scoring_steps}": c.scoring_steps > 1,
        f"early {c.early:g}": c.early > 0,
        f"of every {c.group}": c.unit == "n_of_m",
        "channels": c.unit == "channel",
        "origin": bool(config.origin),
        config.elastic: config.elastic != "interpolate",
    }
    after = {
        f"^{c.gamma:g}": c.gamma != 1,
        c.between: c.between != "tickets",
        f"by {c.granularity}": c.granularity != "layer",
    }
    first, second = ([word for word, is_so in told.items() if is_so] for told in (before, after))
    return " ".join([*first, budget.get(c.budget, c.budget), *second, f"{r.rule}{at}"])
