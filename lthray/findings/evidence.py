"""What was recorded, gathered to be judged: by setting and panel, recipe, density, arm and seed.

A trial is read as it is recorded (`trial.json`), so the console and the analyses say the same.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig

MARGIN = 0.01  # of the dense loss, fixed before any run
POINTS = 0.005  # of accuracy, likewise, for classifiers
SETTING = ("data", "model", "objective", "latent", "train")  # parts of a config in which a dense network differs

Trial = Mapping[str, Any]  # point, end, rounds as facts
Facts = Mapping[str, Any]  # one round


@dataclass
class Cell:
    """A recipe at a density: arm -> seed -> round."""

    recipe: str
    density: float
    arms: dict[str, dict[int, Facts]] = field(default_factory=dict)

    def excess(self, arm: str) -> dict[int, float]:
        """By seed, how much worse than its dense network: relative loss; of a classifier, accuracy that is lost."""
        return {seed: worse(r)[0] for seed, r in self.arms.get(arm, {}).items()}


@dataclass
class Evidence:
    """All that was recorded of one setting (data, network, training) on one panel."""

    setting: str
    panel: tuple[Any, ...]
    dense: dict[int, Facts] = field(default_factory=dict)
    again: dict[int, Facts] = field(default_factory=dict)
    """Round of the second dense network of a seed."""
    longer: dict[int, Facts] = field(default_factory=dict)
    """Dense round of twice the steps."""
    recipes: dict[str, dict[float, Cell]] = field(default_factory=dict)
    given: dict[str, Facts] = field(default_factory=dict)
    """Trained networks that were only measured, by name."""

    @property
    def accurate(self) -> bool:
        """Whether it is of classifiers, whose accuracy decides."""
        return any("quality/lost" in r["metrics"] for r in self.dense.values())

    @property
    def margin(self) -> float:
        """By how much a ticket may be worse and still match: of the dense loss, or of accuracy."""
        return POINTS if self.accurate else MARGIN

    @property
    def steps(self) -> int:
        """Of a training run."""
        return json.loads(self.setting)["train.steps"]

    @property
    def space(self) -> str:
        """What the network works on."""
        return "latents" if json.loads(self.setting).get("objective.name") == "latent_denoise" else "pixels"

    @property
    def name(self) -> str:
        """Of its files, where there are several."""
        return f"verdict_{self.steps}" + ("_latents" if self.space == "latents" else "")


def is_ticket(point: Mapping[str, Any]) -> bool:
    """Whether a trial's point is what a study asks about, neither a control nor a second run on another stream."""
    return (point["control"], point["fork"]) == ("none", 0)


def worse(r: Facts) -> tuple[float, float]:
    """By how much a round is worse than its dense network, and the standard error of the evaluation."""
    m = r["metrics"]
    return (m["quality/lost"], m["quality/lost_se"]) if "quality/lost" in m else (m["loss/excess"], m["loss/excess_se"])


def matches(r: Facts) -> bool:
    """Whether a round is as good as its dense network but for the margin: one seed's fact, to the error of its evaluation."""
    d, error = worse(r)
    return d + 1.645 * error < margin_of(r)


def margin_of(r: Facts) -> float:
    """By how much a round may be worse than its dense network and still match: of the dense loss, or of accuracy."""
    return POINTS if "quality/lost" in r["metrics"] else MARGIN


def setting_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config's words a dense network differs in: data, network and training."""
    return {word: value for word, value in config.items() if word.split(".")[0] in SETTING}


def gather(trials: Iterable[Trial]) -> list[Evidence]:
    """Recorded trials by setting and panel; a trial of half the steps finds its twice-as-long dense networks there."""
    found: dict[tuple[str, tuple[Any, ...]], Evidence] = {}
    given, trials = _given(trials)
    for trial in trials:
        if trial["rounds"]:
            at = _setting(trial), panel_of(trial)
            _enter(found.setdefault(at, Evidence(*at)), trial)
    for (setting, panel), evidence in found.items():
        words = json.loads(setting)
        twice = json.dumps({**words, "train.steps": 2 * evidence.steps}, sort_keys=True)
        if other := found.get((twice, panel)):
            evidence.longer = other.dense
        for trial in given:  # on the same panel, of the same task
            if panel_of(trial) == panel and task_of(trial["point"]["config"]) == task_of(words):
                evidence.given[trial["point"]["recipe"]] = trial["rounds"][0]
    return [evidence for evidence in found.values() if evidence.recipes]


def comparable(trials: Sequence[Trial]) -> Sequence[Trial]:
    """The trials, if all calls among them have the same settings and panels; ConfigError otherwise, for what differs there
    cannot be averaged. Within a call what differs was meant to."""
    calls: dict[str, set[Any]] = {}
    for trial in _given(trials)[1]:
        if trial["rounds"]:
            calls.setdefault(trial["id"][:12], set()).add((_setting(trial), panel_of(trial)))
    if not calls:
        raise ConfigError(["no finished ticket is recorded there"])
    first = next(iter(calls.values()))
    if any(kinds != first for kinds in calls.values()):
        panels = [{panel for _, panel in kinds} for kinds in calls.values()]
        what = "settings" if all(p == panels[0] for p in panels) else "panels (data, split, images, timesteps)"
        raise ConfigError(
            [f"several {what} are recorded there, which cannot be averaged; name one with --call: {', '.join(calls)}"]
        )
    return trials


def _given(trials: Iterable[Trial]) -> tuple[list[Trial], list[Trial]]:
    """Measured trials of networks that were given and not trained, and all others."""
    given, others = list[Trial](), list[Trial]()
    for trial in trials:
        (given if trial["point"]["config"].get("train.steps") == 0 else others).append(trial)
    return [trial for trial in given if trial["rounds"]], others


def task_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config says what is learnt: losses of two tasks cannot be compared."""
    return {word: value for word, value in config.items() if word.split(".")[0] in ("objective", "latent")}


def _enter(evidence: Evidence, trial: Trial) -> None:
    point, (dense, *rounds) = trial["point"], trial["rounds"]
    seed, config = point["seed"], point["config"]
    known = evidence.dense.get(seed)
    if known is None or len(known["metrics"]) < len(dense["metrics"]):  # some trials sample it, some do not
        evidence.dense[seed] = dense
    if point["control"] == "dense" and point["fork"] and config.get("rewind.rule") == "init":
        evidence.again[seed] = rounds[0]
        return
    more = [f"{config[word]:g}" for word in ("sigma",) if word in config] + [f"fork {n}" for n in (point["fork"],) if n]
    for r in rounds:
        cells = evidence.recipes.setdefault(recipe(trial), {})
        cell = cells.setdefault(r["density"], Cell(point["recipe"], r["density"]))
        cell.arms.setdefault(" ".join([point["control"], *more]), {})[seed] = r


def recipe(trial: Trial) -> str:
    """What makes two trials of a setting the same recipe: all but the seed, what stands in its place, what is measured."""
    outside = ("seed", "stream", "control", "sigma", "fork", "rungs", "measure", *SETTING)
    return json.dumps({w: v for w, v in trial["point"]["config"].items() if w.split(".")[0] not in outside}, sort_keys=True)


def _setting(trial: Trial) -> str:
    words = {"train.steps": TrialConfig().train.steps, **setting_of(trial["point"]["config"])}
    return json.dumps(words, sort_keys=True)


def panel_of(trial: Trial) -> tuple[Any, ...]:
    """The data, and what of them a trial was measured on."""
    flat = {**TrialConfig().flat(), **trial["point"]["config"]}
    return tuple(trial["point"]["data"]), *(flat[f"measure.{word}"] for word in ("split", "images", "timesteps"))
