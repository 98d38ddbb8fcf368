"""The recipe of a trial: config -> steps. It reads like the paper, from top to bottom.

    init weights; train the dense network 0 -> T (its state at step k is the anchor)
    for each rung:  prune (criterion, budget, unit; on the trained weights, within the old mask)
                    -> rewind -> train -> measure

Nothing is made here. Data and given files are opened only to take a digest of their content.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from lthray.config.trial import PLAIN, TrialConfig, source_of
from lthray.config.vocabulary import UNITS
from lthray.core.keys import key_of
from lthray.prune.budgets import BUDGETS
from lthray.prune.controls import CONTROLS, MASKS, Control
from lthray.prune.criteria import CRITERIA
from lthray.prune.regimes import REGIMES
from lthray.prune.rewinds import REWINDS, span
from lthray.prune.transfer import Origin
from lthray.trial.borrowed import Borrowed
from lthray.trial.cutting import looks
from lthray.trial.lender import Lender
from lthray.trial.measuring import Measuring
from lthray.trial.sources import Sources, small_config, twin_config, words_of
from lthray.trial.steps import VERSIONS, Step
from lthray.trial.trajectory import WHOLE, Rung, Trajectory

SECOND = 2**31
"""Streams from here on are those of second runs; seeds from here on are those of fresh weights."""
DRAW = 2**42
"""Seeds of a further draw lie so far above those of the one before: no seed is so large."""


def trajectory(config: TrialConfig) -> Trajectory:
    """Return the steps of a trial.

    Raises ConfigError or TicketError where a file that the config names is not there, or unfit.
    """
    return Recipe(config).trajectory()


class Recipe:
    """The steps of one config, each made when it is asked for."""

    def __init__(self, config: TrialConfig):
        self.config = config
        self.k = round(config.rewind.fraction * config.train.steps)
        self.sources = Sources(config)
        origin = Origin.read(config.origin)
        self.borrowed = Borrowed(origin, self.sources, trajectory) if origin else None
        lends = config.source.given
        self.lender = Lender(Recipe(source_of(config)), self.sources) if lends else None
        self.densities = (0.0,) if origin else config.prune.ladder
        self.chained: list[Rung] = []

    # the paper's loop

    def trajectory(self) -> Trajectory:
        """Return all rungs, and what is measured of each."""
        c, measuring = self.config, Measuring(self.sources, self.rung)
        rungs = [measuring.measured(self.rung(0))]
        for index in range(1, len(self.densities) + 1):
            rungs.append(measuring.measured(self.shown(index)))
        digest, given = self.sources.digest, ""
        if self.borrowed:
            given = self.borrowed.origin.digest
        if self.lender:
            given = self.lender.recipe.sources.digest
        return Trajectory(
            config=c,
            key=key_of("trial", VERSIONS["trial"], c.canonical(), digest, given),
            rungs=tuple(rungs),
            digest=digest,
            curves=measuring.curves(rungs),
            served=measuring.served,
            saved=self.saved(rungs[1:]),
        )

    def rung(self, index: int) -> Rung:
        """Return a rung of the chain: the dense network (0), or the ticket of a density."""
        while len(self.chained) <= index:
            self.chained.append(self.next_rung(len(self.chained)))
        return self.chained[index]

    def next_rung(self, index: int) -> Rung:
        """Return the rung that follows those made so far."""
        if index == 0:
            dense = self.sources.dense
            return Rung(0, 1.0, WHOLE, dense, dense)
        if self.lender and not self.config.source.lends_mask:
            return self.native.rung(index)
        density, before = self.densities[index - 1], self.rung(index - 1)
        mask = self.prune(density, before)
        ticket = self.rewound(self.config.rewind.rule, mask, before, index)
        return Rung(index, density, mask, ticket, ticket)

    # what is trained in a ticket's place

    def shown(self, index: int) -> Rung:
        """Return a rung with what is shown of it: the ticket, a control, or a second run."""
        rung, row = self.rung(index), CONTROLS.get(self.config.control)
        if row and row.mask == "narrow":
            return self.narrowed(rung)
        other = self.lender is not None and not self.config.source.lends_mask
        if row is None and not self.config.fork and not other:
            return rung
        shown = self.in_place(row, rung, self.config.fork)
        fellow = self.in_place(row, rung, 0) if self.config.fork else None
        return replace(rung, shown=shown, fellow=fellow)

    def narrowed(self, rung: Rung) -> Rung:
        """Return a rung that shows a dense network of its size, with the best of `rates`.

        Each rate is a training run; the one of least loss on validation images is shown.
        """
        small = small_config(self.config, rung.density)
        tried = []
        for factor in self.config.rates:
            words = {"train.lr": factor * small.train.lr, "measure.split": "validation"}
            tried.append(trajectory(TrialConfig.from_flat(words, small)).rungs[0])
        runs = [dense.chain for dense in tried]
        losses = [dense.measures["loss"] for dense in tried]
        chosen = Step("choose", {}, (*runs, *losses)) if len(runs) > 1 else runs[0]
        return replace(rung, small=small, shown=chosen)

    def in_place(self, row: Control | None, rung: Rung, fork: int) -> Step:
        """Return the run in a ticket's place: of the control `row`, on the `fork`-th other stream.

        Without a row it is the ticket's own; fork 0 is the trial's own stream.
        """
        stream = SECOND + 1000 * self.config.stream + fork if fork else self.config.stream
        before, index = self.rung(rung.index - 1), rung.index
        rule = (row.rule if row else "") or self.config.rewind.rule
        if row is None:
            return self.rewound(rule, rung.mask, before, index, stream)
        if row.mask == "whole":
            return self.whole(row, rule, index, stream)
        if row.mask == "longer":
            return self.longer(rung.spent, stream)
        if row.mask == "at_once":
            mask = self.prune(rung.density, self.rung(0))
            return self.rewound(rule, mask, self.rung(0), index, stream, row=row)
        mask = rung.chain if self.moves else rung.mask  # as the ticket's training has left it
        if row.mask in MASKS:
            drawn = {"mask": row.mask, "seed": fresh_seed(self.config, index, self.config.draw)}
            if UNITS[self.config.prune.unit].pattern:
                drawn["group"] = self.config.prune.group
            mask = Step("control", drawn, (mask,))
        return self.rewound(rule, mask, before, index, stream, row=row)

    def whole(self, row: Control, rule: str, index: int, stream: int) -> Step:
        """Return the dense network as a rung rewinds it.

        Where it would go on as it went, that is the dense run itself, or one on another stream.
        """
        c, dense = self.config, self.sources.dense
        from_anchor = REWINDS[rule].weights == "anchor"
        if from_anchor and rule == "init":
            return self.sources.train(dense.parents[0], 0, c.train.steps, stream)
        if from_anchor and stream == c.stream and c.rewind.state == "rewound":
            return dense
        return self.rewound(rule, WHOLE, self.rung(0), index, stream, row=row)

    def longer(self, steps: int, stream: int) -> Step:
        """Return the dense network on a schedule of its own of so many `steps`."""
        sources = Sources(TrialConfig.from_flat({"train.steps": steps}, self.config))
        return sources.train(sources.dense.parents[0], 0, steps, stream)

    # one step of the loop

    def prune(self, density: float, last: Rung) -> Step:
        """Return the mask that is cut from the network that `last` has trained, within its mask."""
        c, index = self.config, last.index + 1
        if self.borrowed:
            return self.borrowed.mask()
        if self.lender and c.source.lends_mask:
            return self.lender.mask(index)
        budget = BUDGETS[c.prune.budget]
        spec = c.canonical("prune") | {"density": density}
        spec.pop("prune.ladder", None)
        implied: dict[str, Any] = {"index": index}
        if self.seeded:
            spec["seed"] = c.seed
        if budget.between_seeds:
            spec["pair"] = twin_config(c).canonical("seed", "stream")
            compared = last.index if c.prune.between == "tickets" else 0
            implied["one"] = self.rung(compared).chain
            implied["other"] = self.twin.rung(compared).chain
        if c.prune.scored == "rewound":
            spec |= c.canonical("rewind")
            implied["rewound"] = self.begin(c.rewind.rule, last.mask, last, index)
        if c.prune.early:
            implied["looks"] = looks(*last.chain.span, c.prune)[:-1]
        weights = implied.get("rewound", last.chain)
        scored = (implied.get("one"), implied.get("other"), weights if self.looks else None)
        implied["scored"] = tuple(filter(None, scored))  # what the mask depends on
        return Step("prune", spec, (last.chain, last.mask), implied)

    def begin(self, rule: str, mask: Step, before: Rung, index: int, draw: int = 0) -> Step:
        """Return the weights from which a run begins under `mask`, as the rewinding `rule` says.

        `before` is the rung before, `index` the rung's own, `draw` which of the new weights are
        taken where the rule draws them.
        """
        c, row = self.config, REWINDS[rule]
        if row.weights == "given":
            assert self.borrowed
            return self.borrowed.begin(mask)
        spec: dict[str, Any] = {"from": row.weights}
        previous = row.weights == "trained" or c.rewind.anchor == "previous"
        source = before.chain if previous else self.sources.dense
        if row.weights == "fresh":
            source = self.sources.init(fresh_seed(c, index, draw))
        if row.weights == "sign" and mask is WHOLE:  # no mask tells the layers that may be cut
            spec |= words_of(c, ("prune.layers",))
        if row.weights == "anchor":
            midway = row.start == "k"
            spec["at"] = source.span[0] + self.k if midway else 0
            spec["state"] = c.rewind.state if midway else "reset"
        return Step("rewind", spec, (source, mask))

    def rewound(
        self,
        rule: str,
        mask: Step,
        before: Rung,
        index: int,
        stream: int | None = None,
        *,
        row: Control | None = None,
    ) -> Step:
        """Return the training run of `mask` from the weights that `rule` gives.

        `row` is that of the control which is trained; of a ticket there is none, and a regime may
        move its mask on the way. Weights are drawn otherwise only where the control draws them.
        """
        draw = self.config.draw
        begin = self.begin(rule, mask, before, index, draw if row and row.rule else 0)
        if self.lender and rule == self.config.rewind.rule:
            begin = self.lender.begin(rule, begin, index)
        if row and row.moved:
            spec = {"sigma": self.config.sigma, "seed": fresh_seed(self.config, index, draw)}
            begin = Step("control", spec, (begin,))
        given = self.borrowed.origin.ticket.start if self.borrowed else 0
        start, end = span(rule, self.k, self.config.train.steps, given)
        moving = before.chain if self.moves and not row else None
        return self.sources.train(begin, start, end, stream, moving)

    @property
    def seeded(self) -> bool:
        """Whether a mask depends on the seed, beside the network that it is cut from.

        A criterion or budget may draw, or see images that are drawn. Given weights are alike on
        every seed, and new ones beside them are not.
        """
        c = self.config
        is_new = REWINDS[c.rewind.rule].weights == "fresh"
        beside = all((c.model.pretrained, c.prune.scored == "rewound", is_new))
        return any((CRITERIA[c.prune.criterion].seeded, BUDGETS[c.prune.budget].asks, beside))

    @property
    def looks(self) -> bool:
        """Whether a mask depends on weights: those that the rung before it has trained, or those
        that it rewinds to. One that is drawn depends on none."""
        prune, regime = self.config.prune, REGIMES[self.config.regime.name]
        budget = BUDGETS[prune.budget]
        drawn = CRITERIA[prune.criterion].blind and not (budget.asks or budget.by_size)
        return not drawn or regime.from_before

    @property
    def moves(self) -> bool:
        """Whether a regime moves the mask of a ticket while it is trained."""
        return REGIMES[self.config.regime.name].moves

    @cached_property
    def twin(self) -> "Recipe":
        """The recipe on the other seed of a pair, whose twin is this one."""
        twin = Recipe(twin_config(self.config))
        twin.twin = self
        return twin

    @cached_property
    def native(self) -> "Recipe":
        """The recipe without a source: of the tickets that are found here."""
        return Recipe(TrialConfig.from_flat(PLAIN, self.config))

    def saved(self, rungs: Sequence[Rung]) -> dict[int, int]:
        """Return rung -> optimizer steps that a ticket from elsewhere saves beside one found here,
        as far as it is known how many rounds it took."""
        if self.lender:
            return {rung.index: self.lender.saved(rung) for rung in rungs}
        if not self.borrowed or not self.borrowed.origin.round:
            return {}
        rounds, dense = self.borrowed.origin.round, self.sources.dense
        length = self.rung(1).chain.length
        return {rung.index: dense.length + rounds * length - rung.spent for rung in rungs}


def fresh_seed(config: TrialConfig, index: int, draw: int = 0) -> int:
    """Return the seed of a rung's new weights and random masks: never an initial seed.

    Each further `draw` has one of its own.
    """
    return SECOND + config.seed * 1000 + index + DRAW * draw
