"""A referee's recomputation of the claims that stand beside verdicts, with numpy alone.

Nothing of lthray is imported. A study in both spaces claims where they are alike; one that varies
the rewind point claims where barriers are, and where tickets do not match.
"""

import math
from typing import Any

import numpy as np

STABLE, MARGIN, STEPS, FRACTION = 0.005, 0.01, 400, 0.05
EXCESS, LOSS = "loss/excess", "loss/heldout"
EMA, PREVIOUS = "barrier/ema", "barrier/previous"

Trial = dict[str, Any]
Claims = dict[tuple[Any, str], tuple[dict[int, float], float]]
"""(place, name) -> values by seed, margin."""


def k_of(trial: Trial) -> float:
    """Return the rewind point of a trial."""
    words = trial["point"]["config"]
    return 0.0 if words.get("rewind.rule") == "init" else words.get("rewind.fraction", FRACTION)


def rungs(trials: list[Trial], control: str, metric: str, *, forked: bool) -> dict[Any, Any]:
    """Return (rewind point, density) -> seed -> metric, of one arm."""
    found: dict[Any, Any] = {}
    for trial in trials:
        point = trial["point"]
        if (point["control"], bool(point["fork"])) == (control, forked):
            for r in trial["rounds"][1:]:
                if metric in r["metrics"]:
                    own = found.setdefault((k_of(trial), r["density"]), {})
                    own[point["seed"]] = r["metrics"][metric]
    return found


def both_ways(name: str, values: dict[int, float], border: float, at: Any) -> Claims:
    """Return the claim that a mean lies below a border, and that it lies above."""
    less = {seed: -value for seed, value in values.items()}
    return {(at, name): (values, border), (at, f"not {name}"): (less, -border)}


def logs(barriers: dict[int, float]) -> dict[int, float]:
    """Return barriers on a log scale, none below a tenth of the border."""
    return {seed: float(np.log(max(value, STABLE / 10))) for seed, value in barriers.items()}


def accounts(trials: list[Trial]) -> Claims:
    """Return the claims of a study that varies nothing of its tickets but the rewind point."""
    words = set()
    for trial in trials:
        is_ticket = trial["point"]["control"] == "none" and not trial["point"]["fork"]
        if is_ticket and trial["rounds"][1:]:
            config = trial["point"]["config"]
            outside = ("seed", "stream", "rungs", "rewind.rule", "rewind.fraction", "measure.")
            words.add(str(sorted(w for w in config.items() if not w[0].startswith(outside))))
    anchors = rungs(trials, "dense", EMA, forked=True)
    ladder = rungs(trials, "none", LOSS, forked=False)
    chained = rungs(trials, "none", PREVIOUS, forked=False)
    if len(words) > 1 or len({k for k, _ in ladder}) < 2 or len({k for k, _ in anchors}) < 2:
        return {}
    dense = {t["point"]["seed"]: t["rounds"][0]["metrics"][LOSS] for t in trials if t["rounds"][1:]}
    claims: Claims = {}
    for (k, _), barriers in anchors.items():
        claims |= both_ways("stable", logs(barriers), math.log(STABLE), k)
    for at, losses in ladder.items():
        better = {seed: math.log(dense[seed] / loss) for seed, loss in losses.items()}
        claims[at, "fails"] = better, -math.log(1 + MARGIN)
    for at, barriers in chained.items():
        claims |= both_ways("connected", logs(barriers), math.log(STABLE), at)
    return claims


def spaces(trials: list[Trial]) -> Claims:
    """Return the claims of a study with one setting in pixels and one in latents."""
    found: dict[tuple[str, float], dict[int, float]] = {}
    settings = set()
    for trial in trials:
        point = trial["point"]
        words = point["config"]
        if words.get("train.steps", STEPS) != STEPS or point["fork"] or point["control"] != "none":
            continue
        space = words.get("objective.name", "denoise")
        own = ("data.", "model.", "objective.", "latent.", "train.")
        settings.add(str(sorted(w for w in words.items() if w[0].startswith(own))))
        for r in trial["rounds"][1:]:
            found.setdefault((space, r["density"]), {})[point["seed"]] = r["metrics"][EXCESS]
    both = [{d for s, d in found if s == space} for space in ("denoise", "latent_denoise")]
    densities = sorted(both[0] & both[1], reverse=True)
    if len(settings) != 2 or not densities:
        return {}
    alike: dict[Any, dict[int, float]] = {}
    for density in densities:
        pixels, latents = found["denoise", density], found["latent_denoise", density]
        alike[density] = {seed: latents[seed] - pixels[seed] for seed in pixels}
    first, last = alike[densities[0]], alike[densities[-1]]
    alike["interaction"] = {seed: last[seed] - first[seed] for seed in last}
    claims: Claims = {}
    for at, worse in alike.items():
        claims[at, "worse"] = worse, MARGIN
        claims[at, "better"] = {seed: -value for seed, value in worse.items()}, MARGIN
    return claims


def beside(trials: list[Trial]) -> Claims:
    """Return all claims of a study beside those on its tickets."""
    finished = [trial for trial in trials if trial["rounds"]]
    return accounts(finished) | spaces(finished)
