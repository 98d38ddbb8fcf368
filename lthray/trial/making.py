"""Making: a step is found in the store, or its parents are made and then it."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from lthray.config.parts import Data, Model, Objective, Regime, Train
from lthray.config.spec import part_of
from lthray.core.random import drawing, seed_of
from lthray.core.record import Progress
from lthray.core.store import Item, Store
from lthray.core.ticket import Mask, TrialFailed
from lthray.measure.rows import Measured
from lthray.prune.coupling import small
from lthray.trial import checkpoints, code
from lthray.trial.along import Along
from lthray.trial.fingerprint import Machines, fingerprint, settle_algorithms
from lthray.trial.state import State
from lthray.trial.steps import STORED, Step, describe
from lthray.trial.training import Learner
from lthray.trial.workshop import Kind, Run, Workshop

COMMIT = 5.0  # seconds of training after which the state is committed


class Objects(Sequence[Any]):
    """The objects of some steps, each made when it is first looked at."""

    def __init__(self, make: Callable[[Step], Any], steps: Sequence[Step]):
        self._make, self._steps = make, steps

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: Any) -> Any:
        return self._make(self._steps[index])


class Named(Mapping[str, Any]):
    """Implied steps as their objects, each made when it is first looked at, and implied facts as
    they are."""

    def __init__(self, make: Callable[[Step], Any], implied: Mapping[str, Any]):
        self._make, self._implied = make, implied

    def __getitem__(self, name: str) -> Any:
        value = self._implied[name]
        return self._make(value) if isinstance(value, Step) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._implied)

    def __len__(self) -> int:
        return len(self._implied)


def _ignore(progress: Progress) -> None:
    pass


class Making:
    """Makes steps on one device, keeping in the store what is worth keeping.

    Without a store nothing is kept, and nothing can be trained.
    """

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        store: Store | None,
        device: str | torch.device | None = None,
        *,
        commit: float = COMMIT,
        progress: Callable[[Progress], None] = _ignore,
        allow_code_change: bool = False,
    ):
        """Make steps as the rows of `kinds` say, on CUDA where there is one, unless `device` is
        named.

        `commit` is the time in seconds between commits inside a training run; `progress` is called
        after each commit.
        """
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.device = torch.device(chosen)
        settle_algorithms(self.device)
        self.kinds, self._store = kinds, store
        self.commit, self.progress = commit, progress
        self.allow_code_change = allow_code_change
        self.anchors: dict[str, set[int]] = {}
        """Key of a run -> steps whose states are kept for others."""
        self.curves: dict[str, Step] = {}
        """Key of a run -> the curve that is measured along it when it is trained."""
        self.steps_trained = 0
        """Optimizer steps that were made here, and not found."""
        self.mixed: set[str] = set()
        """Kinds of objects made by other code that were used all the same."""
        self._objects: dict[tuple[str, str], Any] = {}
        self._lasting_facts: dict[str, dict[str, Any]] = {}
        self._workshops: dict[Any, Workshop] = {}
        self._learner: tuple[Workshop, Train, tuple[str, Data], Learner] | None = None
        self._committed = time.monotonic()

    @property
    def store(self) -> Store:
        """The store that keeps what is made."""
        assert self._store is not None, "nothing is kept without a store"
        return self._store

    @cached_property
    def machines(self) -> Machines:
        """On what the steps in the store were made."""
        return Machines(self.store)

    def make(self, step: Step) -> Any:
        """Return the object of a step: made before, found in the store, or made now."""
        name = (step.kind, step.key)
        if name not in self._objects:
            self._objects[name] = self._find_or_make(step)
        return self._objects[name]

    def _find_or_make(self, step: Step) -> Any:
        kind = self.kinds[step.kind]
        parents, implied = Objects(self.make, step.parents), Named(self.make, step.implied)
        if kind.pack is None or self._store is None:
            return self._call(step, parents, implied)
        item = self.find(step)
        if item is None and kind.shared:
            with self.store.lock(step.key):
                item = self.find(step)
                if item is None:
                    return self._make(step, parents, implied)
        if item is None:
            return self._make(step, parents, implied)
        return self.unpacked(item, step, parents, implied)

    def unpacked(
        self, item: Item, step: Step, parents: Sequence[Any], implied: Mapping[str, Any]
    ) -> Any:
        """Return the object of a step that a stored item holds."""
        unpack = self.kinds[step.kind].unpack
        assert unpack is not None
        return unpack(item, step, parents, implied)

    def _make(self, step: Step, parents: Objects, implied: Named) -> Any:
        kind = self.kinds[step.kind]
        assert kind.pack is not None
        for parent in parents:  # parents first, so that their time is not counted here
            _ = parent
        began = time.perf_counter()
        made = self._call(step, parents, implied)
        packed = kind.pack(made)
        _check_finite(step, packed["facts"].get("metrics", {}))
        spent = time.perf_counter() - began
        packed["facts"] = {"seconds": spent, **packed["facts"], **self.facts(step)}
        self.store.put(step.key, **packed)
        return replace(made, facts=packed["facts"]) if isinstance(made, Measured) else made

    def _call(self, step: Step, parents: Objects, implied: Named) -> Any:
        """Call a maker; what its network draws is drawn alike for all, so rounds are paired."""
        with drawing(seed_of("made", step.kind), self.device):
            return self.kinds[step.kind].make(step, parents, implied, self)

    def find(self, step: Step) -> Item | None:
        """Return the stored object of a step, made by this code; None where there is none."""
        item = self.store.find(step.key)
        if item is not None:
            self.check_code(item)
        return item

    def check_code(self, item: Item) -> None:
        """Raise CodeChanged where an object was made by other code, unless that is allowed.

        Where it is, what is made from now on is marked as mixed.
        """
        kinds = code.changed(item.facts)
        if not self.allow_code_change:
            code.refuse(kinds)
        self.mixed |= kinds

    def facts(self, step: Step) -> dict[str, Any]:
        """Return what is recorded with an object: what it is, when, on what and by which code."""
        made = fingerprint(self.device)
        moment = {"created": time.time(), "made": made}
        others = {"beside": self.machines.beside(step, made), "mixed": sorted(self.mixed)}
        return {**moment, **others, **self._lasting(step)}

    def _lasting(self, step: Step) -> dict[str, Any]:
        """Return the facts of a step that stay as they are, however often it commits."""
        if step.key not in self._lasting_facts:
            what = {"what": describe(step, STORED)}
            self._lasting_facts[step.key] = what | code.record(step)
        return self._lasting_facts[step.key]

    # what makers use

    def workshop(self, model: Model, objective: Objective, shape: Any, classes: int) -> Workshop:
        """Return the networks of an architecture at its task, built once."""
        name = (model, objective, tuple(shape), classes)
        if name not in self._workshops:
            made = Workshop(model, objective, tuple(shape), classes, self.device)
            self._workshops[name] = made
        return self._workshops[name]

    def run(self, step: Step, **sources: Callable[[], Any]) -> Run:
        """Return a training run whose states are stored, or trained when they are asked for."""
        train, regime = part_of(Train, "train", step.spec), part_of(Regime, "regime", step.spec)
        run = Run(step, train, regime, sources=sources, reach=self.reach)
        sources["network"] = lambda: self.learner(run).network
        return run

    def learner(self, run: Run) -> Learner:
        """Return the network of a run in training; the last one is kept, because compiling and
        moving it costs time."""
        step = run.step  # a part of the same images, or latents of another autoencoder, is another
        images = (step.parents[1].key, part_of(Data, "data", step.spec))
        name = (run.workshop, run.train, images)
        if self._learner is None or self._learner[:3] != name:
            network = run.workshop.network(0, fresh=True)
            made = Learner(network, run.workshop.task, run.images, run.train)
            self._learner = (*name, made)
        return self._learner[3]

    def reach(self, run: Run, at: int) -> State:
        """Return the state of a run at a step, on the CPU: stored, or trained from the nearest
        earlier one.

        A run that is trained to its end is measured along the way, where a curve of it is asked
        for.
        """
        state = self.stored_state(run, at)
        if state is None:
            begin = run.masked_begin()
            with self.store.lock(run.step.key):
                state = self.stored_state(run, at)
                if state is None:
                    self._train(run, at, begin, self.curves.get(run.step.key))
            state = state or self.stored_state(run, at)
        if state is None:
            where = f"the state of run {run.step.key[:12]} at step {at}"
            raise OSError(f"{where} was stored and cannot be read back")
        return state

    def stored_state(self, run: Run, at: int) -> State | None:
        """Return a state that the store has; None where it has none."""
        return checkpoints.load(self.store, run.step, at, self.check_code)

    def measure_along(self, run: Run, curve: Step) -> Measured:
        """Train a run to its end and return the curve that was measured along it.

        Where the run was trained with no such curve, it is trained once more: only then can it be
        seen on the way.
        """
        curve = replace(curve, parents=(run.step,))  # the run's own, where it is one of several
        begin = run.masked_begin()
        with self.store.lock(run.step.key):
            item = self.find(curve)
            if item is None:
                self._train(run, run.end, begin, curve)
                item = self.find(curve)
        if item is None:
            raise OSError(f"the curve {curve.key[:12]} was stored and cannot be read back")
        measured: Measured = self.unpacked(item, curve, (), {})
        return measured

    def _train(self, run: Run, target: int, begin: State, curve: Step | None) -> None:
        """Train a run to a step, from the nearest stored state or its begin, and store on the way.

        Stored are the state at `target`, those at anchors, and, at its end, the `curve` along it.
        """
        along = Along(run, curve if target == run.end else None)
        found = checkpoints.nearest(
            self.store, run.step, target, along.key, along.points, self.check_code
        )
        state, along.measured = found or (begin, [])
        anchors = {at for at in self.anchors.get(run.step.key, ()) if at <= target}
        keep = {target, *anchors}
        cover = run.begin.cut.cover
        for live in self._states(run, state, sorted({*keep, *along.points})):
            along.see(live)
            if along.curve and live.step == run.end:
                facts = {**along.facts(live), **self.facts(along.curve)}
                self.store.put(along.key, facts=facts)
            if live.step in keep or self._due():
                self._commit(run, live.larger(cover), anchors, along.so_far)

    def _states(self, run: Run, state: State, stops: list[int]) -> Iterator[State]:
        """Yield the live states of a run in training; of the smaller network for channels."""
        cover = run.begin.cut.cover
        learner = self.learner(run)
        if cover:
            learner = learner.smaller(cover)
        state = state.smaller(cover)
        mask = Mask(small(run.first_mask, cover))
        before = state.step
        for live in learner.run(
            state, mask, stream=run.stream, stops=stops, due=self._due, moves=run.schedule
        ):
            self.steps_trained += live.step - before
            before = live.step
            yield live

    def _commit(self, run: Run, state: State, anchors: set[int], curves: Mapping[str, Any]) -> None:
        facts = {"curves": curves, **self.facts(run.step)}
        checkpoints.save(self.store, run.step, state, anchors=anchors, facts=facts)
        self._committed = time.monotonic()
        mean = state.loss_sum / max(state.losses, 1)
        rung = run.begin.cut.index
        self.progress(Progress(rung, state.step, run.end, mean, state.seconds))

    def forget(self) -> None:
        """Forget all objects but those that every rung needs, so that memory does not grow with the
        ladder."""
        kept = ("data", "latents", "judge", "deep", "file", "whole")
        for name in [name for name in self._objects if name[0] not in kept]:
            del self._objects[name]

    def _due(self) -> bool:
        return time.monotonic() - self._committed >= self.commit


def _check_finite(step: Step, metrics: Mapping[str, float]) -> None:
    wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        raise TrialFailed(f"not finite: {', '.join(wrong)} (step {step.key[:12]})")
