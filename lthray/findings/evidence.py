"""Evidence: recorded trials grouped by setting, recipe, density, arm and seed, ready to be judged.

A setting is data, network and training; a recipe is how a ticket is found; an arm is the ticket or
what was trained in its place. Console and analyses gather the same records, so they judge the same
numbers.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lthray.config.fields import ConfigError
from lthray.config.parts import Measure, Objective, Prune, Train
from lthray.config.trial import parts_of_role
from lthray.config.vocabulary import OBJECTIVES
from lthray.core import metrics
from lthray.core.record import Point, Round, TrialRecord
from lthray.findings.rounds import MARGIN, POINTS, worse

SETTING = parts_of_role("setting")  # parts that a dense network differs in
TASK = ("objective", "latent")  # parts that say what is learnt
NOT_RECIPE = (
    *parts_of_role("identity"),
    *parts_of_role("control"),
    *parts_of_role("measure"),
    *SETTING,
)
PANEL = ("split", "images", "timesteps")
"""Words of the config's part `measure` that fix the evaluation set."""

TICKET = "none"  # arm of the ticket itself: the one without a control
SECOND_DENSE = ("dense", "init")
"""Control and rewind rule of a dense network that is trained once more."""

Panel = tuple[Any, ...]
"""Data set, its digest, and the words of `PANEL`."""


@dataclass
class Cell:
    """A recipe at a density."""

    recipe: str
    density: float
    """Density that the ladder asks for."""
    arms: dict[str, dict[int, Round]] = field(default_factory=dict)
    """Arm -> seed -> round."""
    failed: dict[str, set[int]] = field(default_factory=dict)
    """Arm -> seeds whose trial failed before it was measured here."""

    @property
    def seeds(self) -> str:
        """How many tickets there are, as "5", or "5 of 8" where trials failed."""
        count = len(self.tickets)
        return str(count) if count == self.planned else f"{count} of {self.planned}"

    @property
    def planned(self) -> int:
        """How many tickets were planned."""
        return len(self.tickets.keys() | self.failed.get(TICKET, set()))

    @property
    def planned_arms(self) -> set[str]:
        """Arms that were trained here, or were to be."""
        return {*self.arms, *self.failed}

    @property
    def tickets(self) -> dict[int, Round]:
        """Round of the ticket itself, by seed."""
        return self.arms.get(TICKET, {})

    def excess(self, arm: str) -> dict[int, float]:
        """Return by seed how much worse an arm is than its own dense network; see `worse`."""
        return {seed: worse(r)[0] for seed, r in self.arms.get(arm, {}).items()}


@dataclass
class Evidence:
    """All that was recorded of one setting (data, network, training) on one evaluation set."""

    setting: str
    """Words of the setting as JSON."""
    panel: Panel
    dense: dict[int, Round] = field(default_factory=dict)
    """Seed -> round of the dense network."""
    again: dict[int, Round] = field(default_factory=dict)
    """Seed -> round of a second dense network, on another stream (A/A)."""
    budgets: dict[int, dict[int, Round]] = field(default_factory=dict)
    """Training steps -> seed -> round of a dense network, of all settings that are this one but for
    their steps."""
    recipes: dict[str, dict[float, Cell]] = field(default_factory=dict)
    """Recipe as JSON -> density -> cell."""
    given: dict[str, Round] = field(default_factory=dict)
    """Name -> round of a trained network that was only measured."""
    rounds: list[Round] = field(default_factory=list)
    """All rounds of its trials."""

    @property
    def accurate(self) -> bool:
        """Whether the networks are classifiers, whose accuracy decides."""
        return any(metrics.LOST.name in r.metrics for r in self.dense.values())

    @property
    def margin(self) -> float:
        """By how much a ticket may be worse and still match: of the dense loss, or of accuracy."""
        return POINTS if self.accurate else MARGIN

    @property
    def deciding(self) -> str:
        """Name of the metric that decides: accuracy of a classifier, else the held-out loss."""
        return metrics.ACCURACY.name if self.accurate else metrics.HELDOUT.name

    @property
    def words(self) -> dict[str, Any]:
        """Words of the setting that differ from the defaults, and train.steps."""
        return json.loads(self.setting)

    @property
    def steps(self) -> int:
        """Optimizer steps of a full training run."""
        return self.words["train.steps"]

    @property
    def but_for_steps(self) -> str:
        """Words of the setting without train.steps, as JSON."""
        return json.dumps(self.words | {"train.steps": 0}, sort_keys=True)

    def ladder(self, recipe: str) -> list[tuple[float, Cell]]:
        """Return the cells of a recipe with their densities, densest first."""
        return sorted(self.recipes[recipe].items(), reverse=True)

    def place(self, *at: str | float) -> tuple[str | float, ...]:
        """Return what a claim is about that is made at a recipe, or at a recipe and density."""
        return self.setting, str(self.panel), *at

    @property
    def cells(self) -> list[Cell]:
        """All cells of all recipes."""
        cells: list[Cell] = []
        for by_density in self.recipes.values():
            cells += by_density.values()
        return cells

    @property
    def space(self) -> str:
        """Space in which the network works: pixels or latents."""
        objective = OBJECTIVES[self.words.get("objective.name", Objective().name)]
        return "latents" if objective.in_latents else "pixels"

    @property
    def name(self) -> str:
        """Name of the files of its verdict, where a study has several settings."""
        return f"verdict_{self.steps}" + ("_latents" if self.space == "latents" else "")


def setting_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words of a config that a dense network differs in: data, network and training."""
    return _under(config, SETTING)


def task_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words of a config that say what is learnt.

    Losses of two tasks cannot be compared.
    """
    return _under(config, TASK)


def recipe(trial: TrialRecord) -> str:
    """Return the group key of a recipe, as JSON: the config without seed, arm, measurement and
    setting."""
    config = trial.point.config
    words = {word: value for word, value in config.items() if _part(word) not in NOT_RECIPE}
    return json.dumps(words, sort_keys=True)


def setting(trial: TrialRecord) -> str:
    """Return the group key of a setting, as JSON: its words that differ from the defaults, and
    train.steps."""
    words = {"train.steps": Train().steps, **setting_of(trial.point.config)}
    return json.dumps(words, sort_keys=True)


def panel_of(trial: TrialRecord) -> Panel:
    """Return the evaluation set of a trial: the data, and the part of them that it was measured
    on."""
    defaults, config = Measure(), trial.point.config
    chosen = (config.get(f"measure.{word}", getattr(defaults, word)) for word in PANEL)
    return tuple(trial.point.data), *chosen


def gather(trials: Iterable[TrialRecord]) -> list[Evidence]:
    """Group recorded trials by setting and evaluation set; settings without a ticket are left out.

    A setting finds its dense networks of other training budgets, and given networks of the same
    task, among the others. A trial that failed stands in every cell that it was to come to.
    """
    only_measured, trained = _split(trials)
    groups: dict[tuple[str, Panel], Evidence] = {}
    for trial in trained:
        if trial.rounds:
            key = (setting(trial), panel_of(trial))
            _enter(groups.setdefault(key, Evidence(*key)), trial)
    for trial in trained:
        if trial.status == "failed":
            key = (setting(trial), panel_of(trial))
            _enter_failed(groups.setdefault(key, Evidence(*key)), trial)
    budgets: dict[tuple[str, Panel], dict[int, dict[int, Round]]] = {}
    for evidence in groups.values():
        evidence.budgets = budgets.setdefault((evidence.but_for_steps, evidence.panel), {})
        evidence.budgets[evidence.steps] = evidence.dense
        evidence.given = _beside(evidence, only_measured)
    return [evidence for evidence in groups.values() if evidence.recipes]


def comparable(trials: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
    """Return the trials, if all calls among them have the same settings and evaluation sets.

    Raises ConfigError otherwise, since what differs between calls cannot be averaged. Within a call
    it was meant to differ.
    """
    calls: dict[str, set[tuple[str, Panel]]] = {}
    for trial in _split(trials)[1]:
        if trial.rounds:
            calls.setdefault(trial.id[:12], set()).add((setting(trial), panel_of(trial)))
    if not calls:
        raise ConfigError(["no finished ticket is recorded there"])
    kinds = list(calls.values())
    if kinds.count(kinds[0]) == len(kinds):
        return trials
    panels = list(map(_panels, kinds))
    what = "panels (data, split, images, timesteps)"
    if panels.count(panels[0]) == len(panels):
        what = "settings"
    raise ConfigError(
        [
            f"several {what} are recorded there, which cannot be averaged; "
            f"name one with --call: {', '.join(calls)}"
        ]
    )


def _panels(kinds: Iterable[tuple[str, Panel]]) -> set[Panel]:
    return {panel for _, panel in kinds}


def _under(config: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """Return the words of a config that belong to some of its parts."""
    return {word: value for word, value in config.items() if _part(word) in parts}


def _part(word: str) -> str:
    """Return the part of a config that a dotted word belongs to."""
    return word.split(".")[0]


def _split(trials: Iterable[TrialRecord]) -> tuple[list[TrialRecord], list[TrialRecord]]:
    """Return finished trials of networks that were only measured, and all trials that train."""
    only_measured, trained = list[TrialRecord](), list[TrialRecord]()
    for trial in trials:
        if trial.point.config.get("train.steps") != 0:
            trained.append(trial)
        elif trial.rounds:
            only_measured.append(trial)
    return only_measured, trained


def _beside(evidence: Evidence, only_measured: Sequence[TrialRecord]) -> dict[str, Round]:
    """Return the given networks of the same task on the same evaluation set, by name."""
    task, rounds = task_of(evidence.words), {}
    for trial in only_measured:
        if panel_of(trial) == evidence.panel and task_of(trial.point.config) == task:
            rounds[trial.point.recipe] = trial.rounds[0]
    return rounds


def _enter(evidence: Evidence, trial: TrialRecord) -> None:
    """Put the rounds of a trial where they belong."""
    point, (dense, *rungs) = trial.point, trial.rounds
    evidence.rounds += trial.rounds
    recorded = evidence.dense.get(point.seed)
    if recorded is None or len(recorded.metrics) < len(dense.metrics):  # not every trial samples it
        evidence.dense[point.seed] = dense
    if _is_second_dense(point):
        if rungs:  # else it is not trained yet
            evidence.again[point.seed] = rungs[0]
        return
    for r in rungs:
        cells = evidence.recipes.setdefault(recipe(trial), {})
        cell = cells.setdefault(r.density, Cell(point.recipe, r.density))
        cell.arms.setdefault(arm_of(point), {})[point.seed] = r


def _enter_failed(evidence: Evidence, trial: TrialRecord) -> None:
    """Enter a trial that failed in every cell that it was to come to and did not."""
    point = trial.point
    if _is_second_dense(point):
        return
    for density in _planned(point):
        cells = evidence.recipes.setdefault(recipe(trial), {})
        cell = cells.setdefault(density, Cell(point.recipe, density))
        arm = arm_of(point)
        if point.seed not in cell.arms.get(arm, {}):
            cell.failed.setdefault(arm, set()).add(point.seed)


def _planned(point: Point) -> list[float]:
    """Return the densities of a trial's rungs that were to be measured."""
    ladder = (1.0, *point.config.get("prune.ladder", Prune().ladder))
    rungs = point.config.get("rungs") or range(len(ladder))
    return sorted({ladder[rung] for rung in rungs} - {1.0}, reverse=True)


def _is_second_dense(point: Point) -> bool:
    """Return whether a trial trains the dense network once more from its initial weights, on
    another stream."""
    return point.fork > 0 and (point.control, point.config.get("rewind.rule")) == SECOND_DENSE


def arm_of(point: Point) -> str:
    """Return the name of an arm: the control, its noise where one was chosen, draw and fork."""
    words = [point.control]
    if "sigma" in point.config:
        words.append(f"{point.config['sigma']:g}")
    numbers = {"draw": point.config.get("draw", 0), "fork": point.fork}
    words += [f"{word} {number}" for word, number in numbers.items() if number]
    return " ".join(words)
