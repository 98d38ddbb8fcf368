"""The one function: `run(config, store)` trains, prunes and rewinds, rung by rung, and yields what it measured.

    init weights; train dense 0 -> T (its state at step k is the anchor)
    for each rung:  prune (criterion, budget, unit; on the trained weights, within the old mask)
                    -> rewind -> train -> measure -> yield Round

Every step asks the store first whether it is done, so stopping early is `break` and resuming is calling again. Each thing
is made on demand from what it is made from: if a stored object is damaged, its makers run again and nobody else notices.
"""

import itertools
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from statistics import fmean
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lthray.config.trial import EVIDENCE, TrialConfig
from lthray.core.kernels import hsic, normalised
from lthray.core.random import generator, seed_of
from lthray.core.store import Item, Store
from lthray.core.ticket import Mask, Progress, Round, Ticket, TrialFailed, Weights
from lthray.measure import anatomy, cost, loss, quality
from lthray.prune import channels, criteria
from lthray.prune.controls import CONTROLS, MASKS, UNCHAINED, Control, moved
from lthray.prune.coupling import full, small
from lthray.prune.regimes import EXCHANGES, Schedule
from lthray.prune.rewinds import REWINDS, signs, span
from lthray.task import data, networks
from lthray.trial import checkpoints
from lthray.trial.plan import Plan, Run, Rung, fresh_seed, plan, twin_config
from lthray.trial.setting import Seen, Setting
from lthray.trial.training import State

COMMIT = 5.0  # seconds of training after which the state is committed
T = TypeVar("T")
Steps = Generator[Progress, None, T]


def run(
    config: TrialConfig,
    store: Store,
    *,
    device: str | torch.device | None = None,
    anchors: tuple[int, ...] = (),
    commit: float = COMMIT,
) -> Iterator[Progress | Round]:
    """Run a trial, or go on with it: yields Progress where a state was committed, and each Round once it is stored.

    `device` is CUDA where there is one; `anchors` are further steps of the dense run to keep, for trials that will share
    it; `commit` is the time in seconds between commits inside a training run. Raises TrialFailed where trying again
    would fail again: a loss that is not finite, a layer without weights.
    """
    trial = Trial(config, store, device, anchors, commit)
    for rung in trial.plan.shown:
        yield (yield from trial.round(rung))


class Trial(Setting):
    """A trial at work; all that it makes goes through the store."""

    def __init__(
        self,
        config: TrialConfig,
        store: Store,
        device: str | torch.device | None = None,
        anchors: tuple[int, ...] = (),
        commit: float = COMMIT,
    ):
        super().__init__(config, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
        self.store, self.commit = store, commit
        self.plan: Plan = plan(config, anchors)
        self.committed = time.monotonic()
        self.referee: quality.Referee | None = None
        self.decode: quality.Decode = _as_it_is

    def encoded(self) -> Steps[None]:
        """Make the latents that the network works on, where it does; nothing below may look at images before."""
        if not self.plan.autoencoder or self.decode is not _as_it_is:
            return
        autoencoder = yield from self._parent(self.plan.autoencoder)
        with self.store.lock(self.plan.latents):
            item = self.store.find(self.plan.latents) or self._encode(autoencoder)
        self.images = data.Latents.of(self.pixels, item.tensors["latents"])
        self.decode = lambda z: networks.decoded(autoencoder, z * item.facts["std"])

    def _parent(self, dense: Plan) -> Steps[nn.Module]:
        """What a dense run of another plan has learnt, trained once for all trials that need it."""
        maker = Trial(dense.config, self.store, self.device, commit=self.commit)
        rung = maker.plan.rungs[0]
        yield from maker.round(rung)
        state = yield from maker.reach(rung, rung.chain, rung.chain.end)
        networks.set_weights(maker.twin, state.average)
        return maker.twin

    def _encode(self, autoencoder: nn.Module) -> Item:
        """Means of the latents of all images, and of them mirrored if they are to be seen so, over the standard deviation
        of those of the training images."""
        parts = torch.arange(len(self.pixels.images), device=self.device).split(loss.SPLIT)
        ways = (lambda x: x, lambda x: x.flip(-1))[: 2 if self.config.data.augment == "flip" else 1]
        found = torch.stack(
            [torch.cat([networks.encoded(autoencoder, way(self.pixels.scaled(part))).cpu() for part in parts]) for way in ways]
        )
        std = float(found[0, self.pixels.splits["train"].cpu()].std())
        return self.store.put(self.plan.latents, facts={"std": std}, tensors={"latents": found / std})

    def mask(self, rung: Rung) -> Steps[Mask]:
        """The chain's mask at a rung, as it was cut."""
        if rung.index == 0:
            return self.whole
        if self.given:
            return self.given.mask
        if item := self.store.find(rung.mask):
            return Mask.unpacked(item.tensors["mask"], {name: mask.shape for name, mask in self.whole.items()})
        mask, facts = yield from self._cut(rung, self.plan.rungs[rung.index - 1])
        self.store.put(rung.mask, facts=facts, tensors={"mask": mask.packed()})
        return mask

    def final(self, rung: Rung) -> Steps[Mask]:
        """The same as the training has left it, where a regime moves it."""
        if not rung.chain.moves:
            return (yield from self.mask(rung))
        mask = (yield from self.reach(rung, rung.chain, rung.chain.end)).mask
        assert mask is not None
        return mask

    def _cut(self, rung: Rung, last: Rung) -> Steps[tuple[Mask, dict[str, Any]]]:
        """The mask of a rung, cut from what `last` was trained to; anew from the whole where a regime regrows what was cut."""
        within = (yield from self.final(last)) if self.config.regime.name not in EXCHANGES else self.whole
        prune = self.config.prune
        seen, found = (yield from self._seen(rung, last)), list[Mask]()
        alike = (yield from self._alike(rung, last, seen)) if prune.budget == "cka" else {}
        for look in last.chain.looks(prune):
            weights = yield from self._scored(rung, last, look)
            mask, counts = self.cut(weights, rung, within, seen, alike)
            found.append(mask)
            if prune.early and _settled(found, prune.early):
                break
        if not mask.within(within):
            raise AssertionError(f"masks do not nest at round {rung.index}")
        return mask, {"counts": counts, "rules": self.rules, "step": look}

    def _alike(self, rung: Rung, last: Rung, seen: Seen) -> Steps[dict[str, float]]:
        """Layer -> debiased CKA between two seeds' networks, mean over timesteps: tickets of the rung before, or dense."""
        twin, network = Trial(twin_config(self.config), self.store, self.device, commit=self.commit), self.learner.network
        probe, kernels = self.probe(rung, network, seen), []
        for trial in (self, twin):
            at = trial.plan.rungs[last.index if self.config.prune.between == "tickets" else 0]
            state = yield from trial.reach(at, at.chain, at.chain.end)
            networks.set_weights(network, state.weights)
            kernels.append(criteria.kernels(network, self.free, probe))
        found = {
            name: [float(normalised(a[name], b[name])) for a, b in zip(*kernels, strict=True) if _varies(a[name])]
            for name in self.free
        }
        known = {name: fmean(values) for name, values in found.items() if values}
        return {name: known.get(name, fmean(known.values())) for name in found}  # what sees the timestep alone has no CKA

    def _scored(self, rung: Rung, last: Rung, step: int) -> Steps[Weights]:
        """The weights that a criterion scores: what was trained last, at a step, or what will be trained next."""
        if self.config.prune.scored == "rewound":
            whole = yield from self.mask(last)
            return (yield from self._rewound(rung.index, last, self.config.rewind.rule, whole)).weights
        return (yield from self.reach(last, last.chain, step)).weights

    def _seen(self, rung: Rung, last: Rung) -> Steps[Seen]:
        """What is seen of the training images, and the weights from which the last round began, for criteria that ask."""
        yield from self.encoded()
        prune, seed = self.config.prune, seed_of(self.config.seed, rung.index)
        before = (yield from self.start(last, last.chain))[1].weights if prune.criterion in criteria.TRACED else {}
        if prune.criterion not in criteria.SEEING and prune.budget not in EVIDENCE:
            return [], before
        train = self.images.splits["train"]
        index = train[torch.randperm(len(train), generator=generator("probe", seed))[: prune.images].to(train.device)]
        return list(self.task.terms(self.images.scaled(index), self.images.labels[index], prune.terms)), before

    def start(self, rung: Rung, run: Run) -> Steps[tuple[Mask, State]]:
        """The mask and the state from which a run begins: the chain's own, or the control's in its place."""
        mask, state = yield from self._begun(rung, run)
        return mask, state.masked(self.coupling.cover(mask) or mask)

    def _begun(self, rung: Rung, run: Run) -> Steps[tuple[Mask, State]]:
        """The same with whole weights, before the mask."""
        if run.key == self.plan.rungs[0].chain.key:
            return self.whole, State.begin(self.weights(self.config.seed), 0)
        row = None if run.key == rung.chain.key else CONTROLS.get(self.config.control)
        mask = yield from self._shown_mask(rung, row)
        if run.moves:
            mask = (yield from self._moves(rung, run)).first
        last = self.plan.rungs[0 if row and row.mask in UNCHAINED else rung.index - 1]
        state = yield from self._rewound(rung.index, last, row.rule if row and row.rule else self.config.rewind.rule, mask)
        if row and row.moved:
            seed = fresh_seed(self.config, rung.index)
            moves = {n: w - state.weights[n] for n, w in moved(state.weights, mask, self.config.sigma, seed).items()}
            weights, average = ({n: w + moves[n] for n, w in group.items()} for group in (state.weights, state.average))
            state = replace(state, weights=weights, average=average)
        return mask, state

    def _shown_mask(self, rung: Rung, row: Control | None) -> Steps[Mask]:
        if row is None:
            return (yield from self.mask(rung))
        if row.mask == "ticket":
            return (yield from self.final(rung))
        if row.mask == "whole":
            return self.whole
        if row.mask == "at_once":
            return (yield from self._cut(rung, self.plan.rungs[0]))[0]
        mask, seed = (yield from self.final(rung)), fresh_seed(self.config, rung.index)
        if self.coupling.groups:
            return self.coupling.mask(MASKS[row.mask](self.coupling.channels(mask), seed), self.whole)
        return MASKS[row.mask](mask, seed)

    def _moves(self, rung: Rung, run: Run) -> Steps[Schedule]:
        """What the regime does to the mask along a run of the ticket."""
        before, target = (yield from self.final(self.plan.rungs[rung.index - 1])), (yield from self.mask(rung))
        return Schedule(self.config.regime, run.start, run.end, before, target, run.stream)

    def _rewound(self, index: int, last: Rung, rule: str, mask: Mask) -> Steps[State]:
        """Whole weights, before the mask, as the rule's row says; with moments and average where it carries them."""
        rewind, row = self.config.rewind, REWINDS[rule]
        if row.weights == "given":
            return (yield from self._from_origin())
        start, _ = span(rule, self.plan.k, self.config.train.steps)
        if row.weights == "fresh":
            return State.begin(self.weights(fresh_seed(self.config, index)), start)
        if row.weights == "sign":
            return State.begin(signs(self.weights(self.config.seed), mask), start)
        if row.weights == "trained":
            trained = yield from self.reach(last, last.chain, last.chain.end)
            return State.begin(trained.weights, start)
        if start == 0:
            return State.begin(self.weights(self.config.seed), 0)
        source = last if rewind.anchor == "previous" else self.plan.rungs[0]
        anchor = yield from self.reach(source, source.chain, source.chain.start + self.plan.k)
        if rewind.state == "reset":
            return State.begin(anchor.weights, start)
        return State(start, anchor.age, anchor.weights, anchor.average, anchor.moments)

    def _from_origin(self) -> Steps[State]:
        """What a given ticket begins with in its own trial, there found or made again, as this network takes it."""
        assert self.given
        assert self.origin
        if self.given.weights:
            return State.begin(self.given.weights, self.given.start)
        there = Trial(self.origin.trial(self.config), self.store, self.device, commit=self.commit)
        rung = there.plan.rungs[self.origin.round]
        _, begun = yield from there._begun(rung, rung.shown)
        return begun.mapped(lambda tensors: self.taken(tensors, self.sizes))

    def reach(self, rung: Rung, run: Run, target: int, *, measured: bool = False) -> Steps[State]:
        """The state of a run at a step, on the CPU: stored, or trained from the nearest earlier stored state.

        A run that is trained to its end is measured along the way; `measured`: a stored one counts only with its curve.
        """
        if (state := self._done(rung, run, target, measured)) is None:
            yield from self.encoded()
            mask, begin = yield from self.start(rung, run)
            with self.store.lock(run.key):
                if self._done(rung, run, target, measured) is None:
                    yield from self._train(rung, run, target, mask, begin)
            state = checkpoints.load(self.store, run, target)
        if state is None:
            raise OSError(f"the state of run {run.key[:12]} at step {target} was stored and cannot be read back")
        return state

    def _done(self, rung: Rung, run: Run, target: int, measured: bool) -> State | None:
        if measured and checkpoints.load_curve(self.store, run, rung.curve) is None:
            return None
        return checkpoints.load(self.store, run, target)

    def _train(self, rung: Rung, run: Run, target: int, mask: Mask, begin: State) -> Steps[None]:
        points = run.marks(self.config.measure.checkpoints) if target == run.end else ()
        state, curve = checkpoints.nearest(self.store, run, target, rung.curve, points) or (begin, [])
        keep = {target, *(anchor for anchor in run.anchors if anchor <= target)}
        stops = sorted(keep | set(points))
        moves = (yield from self._moves(rung, run)) if run.moves else None
        cover = self.coupling.cover(mask)
        learner, twin = self.learner_of(cover), channels.shrink(self.twin, cover)
        state, mask = state.mapped(lambda tensors: small(tensors, cover)), Mask(small(mask, cover))
        for live in learner.run(state, mask, stream=run.stream, stops=stops, due=self._due, moves=moves):
            if live.step in points:
                began, held_out = time.perf_counter(), self._along(twin, live)
                curve.append([live.step, live.loss_sum, live.losses, time.perf_counter() - began, *held_out])
            if live.step == run.end:
                checkpoints.save_curve(self.store, run, rung.curve, curve)
            if live.step in keep or self._due():
                known = {rung.curve: curve} if points else {}
                found = live.mapped(lambda tensors: full(tensors, cover))
                checkpoints.save(self.store, run, found, known, fingerprint(self.device))
                self.committed = time.monotonic()
                yield Progress(rung.index, live.step, run.end, live.loss_sum / max(live.losses, 1), live.seconds)

    def _due(self) -> bool:
        return time.monotonic() - self.committed >= self.commit

    def _along(self, twin: nn.Module, live: State) -> list[float]:
        networks.set_weights(twin, live.average)
        return loss.along(twin, self.task, self.images, self.config.measure)

    def round(self, rung: Rung) -> Steps[Round]:
        """The Round of a rung, from the store or made now."""
        if item := self.store.find(rung.round):
            return Round.of(item.facts, item.tensors, item.files)
        yield from self.encoded()
        dense = (yield from self.round(self.plan.rungs[0])).arrays if rung.index else {}
        who, at = self, rung
        if rung.small:  # another network stands in the ticket's place; everything but itself is ours
            who = Trial(rung.small.config, self.store, self.device, commit=self.commit)
            at = who.plan.rungs[0]
        state = yield from who.reach(at, at.shown, at.shown.end, measured=True)
        mask, begin = yield from who.start(at, at.shown)
        mask = state.mask or mask
        fellow = (yield from self.reach(rung, rung.fellow, rung.fellow.end)) if rung.fellow else None
        referee = (yield from self._judged()) if rung.examined and self.plan.referee else None
        began = time.perf_counter()
        metrics, arrays, files = self._measured(rung, who, state, mask, dense, fellow, referee)
        if rung.small:
            metrics |= cost.as_if(metrics, self.learner.network, self.whole, self.free)
        metrics |= {"cost/steps_of_weights": rung.shown.history, "cost/steps_spent": rung.spent}
        if rung.native:  # what the ticket has cost where it was found does not count: it is paid once, for all that take it
            metrics["cost/steps_saved"] = rung.native - rung.spent
        if rung.index and mask.kept < mask.size:
            files["ticket"], metrics["cost/ticket_bytes_with_weights"] = self._ticket(rung, mask, begin)
            metrics["cost/ticket_bytes"] = len(files["ticket"])
        if rung.index and self.config.prune.early:
            metrics["cost/steps_to_mask"] = yield from self._steps_to_mask(rung)
        points = checkpoints.load_curve(self.store, at.shown, at.curve) or []
        arrays["curve"] = loss.curve(points)
        along = sum(seconds for _, _, _, seconds, *_ in points)
        spent = {"train": state.seconds, "along": along, "measure": time.perf_counter() - began}
        metrics |= {"cost/train_seconds": spent["train"], "cost/measure_seconds": spent["along"] + spent["measure"]}
        facts = {"metrics": metrics, "densities": mask.densities, "seconds": spent}
        return self._keep(rung, facts, arrays, files)

    def _steps_to_mask(self, rung: Rung) -> Steps[int]:
        """Optimizer steps after which the chain's mask was known, had each training ended where the next mask had settled."""
        steps = 0
        for before, at in itertools.pairwise(self.plan.rungs[: rung.index + 1]):
            yield from self.mask(at)
            item = self.store.find(at.mask)
            steps += (item.facts["step"] if item else before.chain.end) - before.chain.start
        return steps

    def _measured(
        self, rung: Rung, who: Setting, state: State, mask: Mask, dense: dict, fellow: State | None,
        referee: quality.Referee | None,
    ) -> tuple[dict[str, float], dict[str, Tensor], dict[str, bytes]]:  # fmt: skip
        """Metrics, arrays and pictures of a trained network of ours, or of another's."""
        cover = who.coupling.cover(mask)
        twin = channels.shrink(who.twin, cover)
        networks.set_weights(twin, small(state.average, cover))
        measure, named = self.config.measure, (twin, self.task, self.images, self.config.measure)
        metrics, arrays = loss.paired(*named, dense)
        metrics |= cost.parameters(who.twin, mask, who.free, gone=cover.size - cover.kept)
        metrics |= cost.macs(twin, Mask(small(mask, cover)), who.example)
        files: dict[str, bytes] = {}
        if referee:
            found, files = quality.examine(twin, self.config, self.images, referee, self.decode)
            metrics |= found
            if self.plan.autoencoder:
                index = self.pixels.splits["train"][: measure.samples]
                metrics |= quality.floor(self.decode(self.images.scaled(index)), self.pixels.scaled(index), referee)
        if rung.index:
            arrays["initial"] = anatomy.initial(who.weights(self.config.seed), mask)

        def losses(weights: Weights) -> Tensor:
            networks.set_weights(twin, small(weights, cover))
            return loss.glance(*named)

        if rung.probed and measure.perturbations:
            metrics["loss/sharpness"] = anatomy.sharpness(losses, state.average, mask, measure.perturbations)
        if rung.probed and measure.sensitivity:
            arrays["sensitivity"] = anatomy.sensitivity(losses, state.average, mask)
        if fellow:
            raw, ema = anatomy.path(losses, fellow.weights, state.weights), anatomy.path(losses, fellow.average, state.average)
            metrics |= {"barrier/raw": anatomy.barrier(raw), "barrier/ema": anatomy.barrier(ema)}
            metrics |= {f"barrier/{band}": anatomy.barrier(ema[:, at]) for band, at in loss.bands(self.task, ema.shape[1])}
            arrays["barrier"] = torch.stack([raw, ema])
        return metrics, arrays, files

    def _ticket(self, rung: Rung, mask: Mask, begin: State) -> tuple[bytes, int]:
        """The ticket file, which names its weights by store key, and how long it would be with them."""
        lineage = {"mask": rung.mask, "weights": rung.shown.key, "dense": self.plan.rungs[0].chain.key}
        facts = {"config": self.config.canonical(), "round": rung.index, **lineage}
        ticket = Ticket(mask, begin.weights, begin.step)
        return ticket.to_bytes(facts), len(ticket.to_bytes(facts, with_weights=True))

    def _keep(self, rung: Rung, facts: dict[str, Any], arrays: dict, files: dict[str, bytes]) -> Round:
        wrong = [name for name, value in facts["metrics"].items() if not math.isfinite(value)]
        if wrong:
            raise TrialFailed(f"not finite at round {rung.index}: {', '.join(wrong)}")
        facts |= {
            "index": rung.index,
            "density": rung.density,
            "created": time.time(),
            "made": fingerprint(self.device),
        }
        facts["keys"] = {"round": rung.round, "mask": rung.mask, "weights": rung.shown.key}
        item = self.store.put(rung.round, facts=facts, tensors=arrays, files=files)
        return Round.of(item.facts, item.tensors, item.files)

    def _judged(self) -> Steps[quality.Referee]:
        """The extractor of sample metrics: the dense run of another plan, trained once for each data set."""
        if self.referee is None:
            assert self.plan.referee is not None
            judge = yield from self._parent(self.plan.referee)
            real = data.to_bytes(self.pixels.scaled(self.pixels.splits["train"][: quality.REAL]))
            self.referee = quality.Referee("lenet", networks.features_of(judge.cpu()), real)
        return self.referee


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _settled(masks: list[Mask], early: float) -> bool:
    """Whether the last mask keeps, but for a share `early`, what each of the four before it keeps.

    Shares of what is kept, not Hamming distance, which sparse masks keep small whatever they are.
    """
    last = masks[-1]
    return len(masks) > 4 and all(1 - (last & before).kept / last.kept <= early for before in masks[-5:-1])


def _varies(kernel: Tensor) -> bool:
    return float(hsic(kernel, kernel)) > 1e-12


def fingerprint(device: torch.device) -> dict[str, Any]:
    """What bits depend on beside the key: recorded with every object, never hashed."""
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "device": f"{device.type} {chip}", "threads": torch.get_num_threads()}
