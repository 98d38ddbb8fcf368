"""Cutting: how the mask of a rung is made of a trained network, by criterion, budget and unit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from lthray.config.parts import Prune
from lthray.config.spec import part_of
from lthray.core import layers
from lthray.core.kernels import hsic, normalised
from lthray.core.random import generator, seed_of
from lthray.core.task import Inputs
from lthray.core.ticket import Mask, Probe, Scores, TrialFailed, Weights, settled
from lthray.prune import budgets, channels, criteria, responses
from lthray.prune.coupling import Coupling, full, small
from lthray.prune.matching import matched
from lthray.prune.shares import Counts
from lthray.prune.units import UNITS
from lthray.task.blocks import block_of, group_of
from lthray.trial.state import Begin, Cut, State
from lthray.trial.steps import Step, marks
from lthray.trial.workshop import Implied, Parents, Run, Work, Workshop, cut_of


class Collapsed(TrialFailed):
    """A layer has no weight left."""


@dataclass(frozen=True)
class Cutting:
    """One cut: the network that was trained, and what says how much of it stays, and what."""

    trained: Run
    prune: Prune
    density: float
    """Share of the free weights that stays."""
    seed: int
    """Seed of what the criterion draws, and of the training images that it sees."""
    index: int
    """Rung that is made."""
    rewound: Begin | None = None
    """Weights that are scored in place of the trained ones: those that the rung begins from."""
    pair: tuple[Run, ...] = ()
    """Networks of two seeds, for a budget that compares them."""

    @property
    def workshop(self) -> Workshop:
        """The architecture and its task."""
        return self.trained.workshop

    @property
    def budget(self) -> budgets.Budget:
        """The rule that shares a density out over the layers."""
        return budgets.BUDGETS[self.prune.budget]

    @cached_property
    def rules(self) -> Mapping[str, float | str]:
        """Layer -> fixed density or "free"."""
        return self.workshop.rules(self.prune.layers)

    @cached_property
    def free(self) -> list[str]:
        """Layers whose density the budget decides, in forward order."""
        return self.workshop.free(self.prune.layers)

    @cached_property
    def whole(self) -> Mask:
        """The mask that cuts nothing."""
        return self.workshop.whole(self.prune.layers)

    @cached_property
    def coupling(self) -> Coupling:
        """Channels that are cut together; none where single weights are."""
        if not UNITS[self.prune.unit].coupled:
            return Coupling({})
        return self.workshop.coupling(self.prune.layers)

    @cached_property
    def network(self) -> nn.Module:
        """The network that is scored; it holds whatever weights were set last."""
        return self.trained.scratch

    def mask(self) -> tuple[Mask, dict[str, Any]]:
        """Return the mask of the rung, and facts: weights kept per layer, rules, and the step at
        which it was settled.

        Without prune.early the network at its end is cut; with it, the first checkpoint from which
        the mask stays. Raises Collapsed where a layer would be cut away.
        """
        exchanges = self.trained.schedule is not None and self.trained.schedule.exchanges
        within = self.whole if exchanges else self.trained.mask(self.prune.layers)
        seen = self.seen()
        agreement = self.agreement(seen) if self.budget.between_seeds else {}
        masks: list[Mask] = []
        for look in looks(self.trained.start, self.trained.end, self.prune):
            mask, counts = self.cut(self.scored(look), within, seen, agreement)
            masks.append(mask)
            if self.prune.early and settled(masks, self.prune.early):
                break
        if not masks[-1].within(within):
            raise AssertionError(f"masks do not nest at round {self.index}")
        return masks[-1], {"counts": counts, "rules": dict(self.rules), "step": look}

    def scored(self, look: int) -> State:
        """Return the state whose weights the criterion scores: as trained until step `look`, with
        their average in their place, or that of the rung's begin."""
        if self.rewound is not None:
            return self.rewound.state
        state = self.trained.state(look)
        if self.prune.scored == "average":
            return State.begin(state.average, state.step, state.buffers)
        return state

    def seen(self) -> list[tuple[Inputs, Tensor]]:
        """Return inputs and targets of the training images that the criterion or the budget sees;
        none if neither asks."""
        asked = criteria.CRITERIA[self.prune.criterion].sees or self.budget.asks
        return self.examples() if asked else []

    def examples(self) -> list[tuple[Inputs, Tensor]]:
        """Return inputs and targets of prune.images training images, for each of prune.terms."""
        images = self.trained.images
        train = images.splits["train"]
        seed = seed_of(self.seed, self.index)
        draw = generator("probe", seed)
        order = torch.randperm(len(train), generator=draw)
        chosen = train[order[: self.prune.images].to(train.device)]
        x, y = images.scaled(chosen), images.labels[chosen]
        return list(self.workshop.task.terms(x, y, self.prune.terms, seed))

    def agreement(self, seen: list[tuple[Inputs, Tensor]]) -> dict[str, float]:
        """Return layer -> debiased CKA between the networks of the pair, mean over timesteps."""
        kernels = []
        for run in self.pair:
            run.fill(self.network, run.final.weights, run.final.buffers)
            probe = self.probe(self.network, seen)
            kernels.append(responses.kernels(self.network, self.free, probe))
        values: dict[str, list[float]] = {name: [] for name in self.free}
        for mine, other in zip(*kernels, strict=True):
            for name in self.free:
                if float(hsic(mine[name], mine[name])) > 1e-12:  # else it sees the time alone
                    values[name].append(float(normalised(mine[name], other[name])))
        known = {name: fmean(layer) for name, layer in values.items() if layer}
        mean = fmean(known.values())
        return {name: known.get(name, mean) for name in self.free}

    def cut(
        self,
        scored: State,
        within: Mask,
        seen: list[tuple[Inputs, Tensor]],
        agreement: Mapping[str, float],
    ) -> tuple[Mask, Counts]:
        """Return the mask that `scored` weights give, a subset of `within`, and how many weights
        each layer keeps.

        The cut is made in prune.scoring_steps steps, by equal factors of density, with new scores
        at each.
        """
        steps, mask = self.prune.scoring_steps, within
        size = self.workshop.free_size(self.prune.layers)
        first = sum(int(within[name].sum()) for name in self.free) / size
        for step in range(1, steps + 1):
            scores = self.scores(scored, mask, seen)
            dials = self.dials(seen, agreement)
            density = first ** (1 - step / steps) * self.density ** (step / steps)
            shared_by = self.sizes(scored.weights, mask) if self.budget.by_size else scores
            mask, counts = self.kept(scores, shared_by, density, dials)
            empty = [name for name, count in counts.items() if count == 0]
            if empty:
                where = f"round {self.index}, density {self.density:g}"
                raise Collapsed(f"no weight left at {where}: {', '.join(empty)}")
        return mask, counts

    def scores(self, scored: State, mask: Mask, seen: list[tuple[Inputs, Tensor]]) -> Scores:
        """Return the scores of all weights of `scored` under `mask`, which the network then has.

        Where channels are cut, the smaller network is scored.
        """
        cover = self.coupling.cover(mask)
        network = channels.shrink(self.network, cover)
        masked = State.begin(scored.weights, 0, scored.buffers).masked(mask).smaller(cover)
        self.trained.fill(network, masked.weights, masked.buffers)
        before: Weights = {}
        if criteria.CRITERIA[self.prune.criterion].traces:
            before = small(self.trained.masked_begin().weights, cover)
        temperature = criteria.CRITERIA[self.prune.criterion].temperature
        probe = self.probe(network, seen, before, temperature)
        scores = criteria.score(self.prune.criterion, network, Mask(small(mask, cover)), probe)
        return full(scores, cover, -torch.inf)

    def probe(
        self,
        network: nn.Module,
        seen: list[tuple[Inputs, Tensor]],
        before: Mapping[str, Tensor] = MappingProxyType({}),
        temperature: float = 1.0,
    ) -> Probe:
        """Return all that a criterion may see besides the network.

        The scores that a classifier gives its classes are divided by `temperature`.
        """
        task = self.workshop.task
        answers = network
        if task.classifies and temperature != 1:
            answers = nn.Sequential(network, responses.Cooled(temperature))
        terms = tuple(
            lambda inputs=inputs: task.errors(answers, *inputs).mean() for inputs, _ in seen
        )
        targets = tuple(target for _, target in seen)
        seed = seed_of(self.seed, self.index)
        example, threshold = self.workshop.example, self.prune.threshold
        return Probe(terms, targets, example, dict(before), threshold, seed)

    def dials(
        self, seen: list[tuple[Inputs, Tensor]], agreement: Mapping[str, float]
    ) -> Mapping[str, float]:
        """Return layer -> log of its relative density, for the budgets that ask for one.

        What is measured is the network with the weights that were scored.
        """
        prune, budget = self.prune, self.budget
        if not budget.asks:
            blocks = {name: block_of(name) for name in self.free}
            return budgets.dial_of(blocks, prune)
        evidence = agreement
        if budget.evidence is not None:
            evidence = budget.evidence(self.network, self.free, self.probe(self.network, seen))
        levels = len(self.workshop.model.channels)
        groups = {name: group_of(name, prune.granularity, levels) for name in self.free}
        return budgets.evidence(evidence, groups, prune.gamma)

    def sizes(self, weights: Weights, mask: Mask) -> Scores:
        """Return |w| of all weights under `mask`, -inf where it cuts."""
        sizes = {}
        for name, bits in mask.items():
            sizes[name] = weights[name].cpu().abs().masked_fill(~bits, -torch.inf)
        return sizes

    def kept(
        self, scores: Scores, shared_by: Scores, density: float, dials: Mapping[str, float]
    ) -> tuple[Mask, Counts]:
        """Return the mask that budget and unit make of `scores`, and what it keeps of each layer or
        group of channels.

        A budget over layers shares `density` out by `shared_by`: the scores, or sizes of weights.
        """
        prune, coupling = self.prune, self.coupling
        unit = UNITS[prune.unit]
        if not coupling.groups:
            turned = self.workshop.turned
            scores = layers.outputs_first(scores, turned)
            shared_by = layers.outputs_first(shared_by, turned)
            counts = budgets.allot(shared_by, self.rules, density, prune, dials)
            kept = unit.keep(scores, counts, prune.group)
            return Mask(layers.as_stored(kept, turned)), counts
        by_channel = coupling.scores(scores)
        steps = {group.name: group.step for group in coupling.groups}
        keep = round(density * self.workshop.free_size(prune.layers))
        counts = budgets.allot_channels(
            by_channel, steps, keep, lambda left: coupling.size(left, self.free), prune.budget
        )
        self._refuse_more(coupling.size(counts, self.free), keep)
        return coupling.mask(unit.keep(by_channel, counts, prune.group), self.whole), counts

    def _refuse_more(self, least: int, keep: int) -> None:
        """Raise TrialFailed where the least that groups of channels leave is more than `keep`."""
        if least > keep:
            where = f"round {self.index}, density {self.density:g}"
            share = least / self.workshop.free_size(self.prune.layers)
            say = f"at least {share:.4g} of the weights stays, with some channels of every group"
            raise TrialFailed(f"too dense at {where}: {say}")


def trained_mask(step: Step, parents: Parents, implied: Implied, work: Work) -> Cut:
    """Cut the mask of a rung from the network that was trained before it."""
    spec = step.spec
    pair = (implied["one"], implied["other"]) if "one" in implied else ()
    trained: Run = parents[0]
    cutting = Cutting(
        trained,
        part_of(Prune, "prune", spec),
        spec["density"],
        spec.get("seed", 0),
        implied["index"],
        implied.get("rewound"),
        pair,
    )
    mask, facts = cutting.mask()
    steps = facts["step"] - trained.start
    return Cut(mask, implied["index"], cutting.coupling, facts["step"], steps, facts)


def looks(start: int, end: int, prune: Prune) -> tuple[int, ...]:
    """Return the steps at which it is asked whether the next mask is settled: the end alone, unless
    prune.early."""
    return marks(start, end, prune.looks) if prune.early else (end,)


def align(step: Step, parents: Parents, implied: Implied, work: Work) -> Cut:
    """Permute the mask of another network, the third parent, to the channels of this one.

    The first two parents are this dense network and the other, at their ends. Both answer to the
    same training images of this one.
    """
    mine, theirs, lent = parents
    cut = cut_of(lent)
    prune = part_of(Prune, "prune", step.spec)
    coupling = mine.workshop.coupling(prune.layers)
    cutting = Cutting(mine, prune, 1.0, step.spec["seed"], 0)
    names = [group.name for group in coupling.groups]
    orders = matched(coupling, *(_answers(run, names, cutting) for run in (mine, theirs)))
    return replace(cut, mask=coupling.permuted(cut.mask, orders))


def _answers(run: Run, names: list[str], cutting: Cutting) -> dict[str, Tensor]:
    """Return layer -> answers to the images of `cutting`, [observations, channels]."""
    network = run.network()
    probe = cutting.probe(network, cutting.examples())
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for outputs, _ in responses.activations(network, names, probe):
        for name in names:
            parts[name].append(outputs[name].transpose(1, 2).flatten(0, 1).cpu())
    return {name: torch.cat(seen) for name, seen in parts.items()}
