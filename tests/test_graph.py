"""The graph of steps: makers read their spec and parents and nothing else, and keys tell all."""

import importlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lthray
from lthray.config.trial import TrialConfig
from lthray.core.metrics import Metric
from lthray.core.store import CodeChanged, Store
from lthray.measure import deep, table
from lthray.measure.rows import Measure, Measured
from lthray.trial import code
from lthray.trial.makers import KINDS
from lthray.trial.making import Making
from lthray.trial.recipe import trajectory
from lthray.trial.run import run
from lthray.trial.steps import STORED, Step, alike, parting, ready, walk
from lthray.trial.workshop import Kind

from .conftest import lenet, making_of, rounds, same, tiny
from .golden.table import LATENT, TABLE, UNET

EVERY_KIND = [
    UNET
    | {"measure.samples": 320, "measure.sampling_steps": (2,), "control": "shuffle"}
    | {"measure.efficientnet": True},
    LATENT | {"prune.ladder": (0.5,), "control": "perturb"},
    UNET | {"control": "small_dense", "model.channels": (16,), "rates": (0.5, 1.0)},
    UNET | {"prune.budget": "cka", "regime.name": "set", "regime.every": 1},
    UNET | {"source.words": (("model.layers", "2"),), "source.takes": "signs"},
    UNET | {"source.seeds": 7, "source.takes": "mask", "source.align": "activations"},
    UNET | {"measure.robust": 4, "measure.attack": 1, "measure.sampling_steps": (2,)},
]
"""Trials that between them have a step of every kind."""


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch):
    """Let a deep extractor see few pixels of few images."""
    monkeypatch.setattr(deep, "SIDE", 32)
    monkeypatch.setattr(deep, "REAL", 30)


class Sealed:
    """A step as a maker may see it: whatever is neither its spec nor its name raises."""

    ALLOWED = ("spec", "key", "kind", "span")

    def __init__(self, step: Step):
        self._step = step

    def __getattr__(self, name: str) -> Any:
        if name not in self.ALLOWED:
            raise AssertionError(f"a maker has read step.{name}")
        return getattr(self._step, name)


class Workbench:
    """What a maker may use, and nothing else of what makes steps."""

    def __init__(self, making: Making):
        self.device = making.device
        self.workshop = making.workshop
        self.run = lambda step, **sources: making.run(step._step, **sources)
        self.measure_along = lambda run, curve: making.measure_along(run, curve._step)


@pytest.mark.parametrize("words", EVERY_KIND)
def test_a_maker_reads_its_spec_and_its_parents_and_nothing_else(words, store, monkeypatch):
    seen = set()

    def sealed(kind: str, row: Kind) -> Kind:
        def make(step, parents, implied, work):
            seen.add(kind)
            return row.make(Sealed(step), parents, implied, Workbench(work))

        return Kind(make, row.pack, row.unpack, row.shared)

    chosen = trajectory(TrialConfig.from_flat(words))
    wanted = chosen.wanted
    making = Making(KINDS, store, "cpu")
    for kind, row in list(KINDS.items()):
        monkeypatch.setitem(KINDS, kind, sealed(kind, row))
    monkeypatch.setattr(TrialConfig, "__getattribute__", _poisoned)
    for step in wanted:
        making.make(step)
    monkeypatch.undo()
    assert {step.kind for step in walk(wanted)} <= seen


def _poisoned(config: TrialConfig, name: str) -> Any:
    raise AssertionError(f"a maker has read config.{name}")


def test_every_kind_is_seen_by_the_test_above():
    kinds = set()
    for words in EVERY_KIND:
        kinds |= {step.kind for step in walk(trajectory(TrialConfig.from_flat(words)).wanted)}
    assert kinds - {"file", "whole"} == set(KINDS) - {"file", "whole"}


def by_key(value: Any) -> Any:
    """Return an implied fact with the keys of its steps in their place."""
    if isinstance(value, tuple):
        return tuple(map(by_key, value))
    return value.key if isinstance(value, Step) else value


def test_equal_keys_have_equal_implied_steps_and_facts():
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    pairs = 0
    for name, words in TABLE.items():
        if "origin" in words:
            continue
        for step in walk(trajectory(TrialConfig.from_flat(words)).wanted):
            told = step.implied.items() if step.content is None else ()
            implied = {word: by_key(value) for word, value in told}
            before = seen.setdefault((step.kind, step.key), implied)
            assert before == implied, f"{name}: {step.kind}"
            pairs += before is not implied
    assert pairs > 500


def test_a_measure_that_is_added_measures_what_is_recorded_and_trains_nothing(store, monkeypatch):
    config = tiny()
    before = rounds(config, store)
    metric = Metric("loss/median", "median loss over images", better="lower")

    def median(spec, own: Measured) -> Measured:
        return Measured({metric.name: float(own.arrays["loss"].mean(1).median())})

    monkeypatch.setitem(table.MEASURES, "median", Measure(("loss",), median, (metric,)))
    making, chosen = making_of(config, store)
    for rung in chosen.shown:
        for step in rung.measures.values():
            making.make(step)
    assert making.steps_trained == 0
    after = rounds(config, store)
    assert len(after) == len(before) == 3
    for old, new in zip(before, after, strict=True):
        expected = float(old.arrays["loss"].mean(1).median())
        assert new.metrics[metric.name] == expected
        kept = {name: value for name, value in old.metrics.items() if "seconds" not in name}
        assert kept.items() <= new.metrics.items()


def test_training_steps_are_counted(store):
    making, chosen = making_of(tiny(), store)
    for step in chosen.wanted:
        making.make(step)
    assert making.steps_trained == sum(run.length for run in chosen.runs.values()) == 8 + 6 + 6


def test_two_alike_runs_are_seen_side_by_side(store):
    configs = [tiny(control=control) for control in ("none", "reinit", "shuffle")]
    trials = [trajectory(config) for config in configs]
    wanted = [step for trial in trials for step in trial.wanted]

    def stored(step: Step) -> bool:
        return bool(store.parts(step.key))

    def runs() -> list[Step]:
        return [step for step in ready(wanted, stored, STORED) if step.kind == "train"]

    assert [step.key for step in runs()] == [trials[0].rungs[0].chain.key]  # the dense run alone
    making = Making(KINDS, store, "cpu")
    _ = making.make(runs()[0]).final
    assert runs() == []  # now the mask, from which all others come
    making.make(trials[0].rungs[1].mask)
    side_by_side = runs()
    assert {step.key for step in side_by_side} == {trial.rungs[1].shown.key for trial in trials}
    groups = defaultdict(list)
    for step in side_by_side:
        groups[alike(step)].append(step.span)
    spans = sorted(sorted(group) for group in groups.values())
    assert spans == [[(0, 8)], [(2, 8), (2, 8)]]  # reinit has the whole schedule before it


def test_where_two_trials_part():
    one, other = trajectory(tiny()), trajectory(tiny(prune__budget="erk"))
    pair = parting(one.rungs[2].shown, other.rungs[2].shown)
    assert pair is not None
    assert [step.kind for step in pair] == ["prune", "prune"]
    assert pair[0].key == one.rungs[1].mask.key
    assert pair[1].key == other.rungs[1].mask.key
    assert parting(one.rungs[0].chain, other.rungs[0].chain) is None


# the code that makes numbers


def test_the_modules_of_a_kind_are_those_that_its_maker_runs_through(tmp_path):
    """Whatever module of ours runs while a kind is made is in its digest, or makes no numbers."""
    root = Path(lthray.__file__).parent
    neutral = {
        *("trial.making", "trial.makers", "trial.steps", "trial.workshop", "trial.checkpoints"),
        *("trial.along", "trial.code", "core.keys", "core.store", "core.backends"),
        *("core.metrics", "core.record", "trial.fingerprint"),
    }
    seen: dict[str, set[str]] = defaultdict(set)
    stack: list[str] = []

    def profile(frame, event, argument) -> None:
        path = frame.f_code.co_filename
        if event == "call" and stack and path.startswith(str(root)):
            module = ".".join(Path(path).relative_to(root).with_suffix("").parts)
            seen[stack[-1]].add(module)

    for number, words in enumerate(EVERY_KIND):
        chosen = trajectory(TrialConfig.from_flat(words))
        making = Making(KINDS, Store(tmp_path / str(number)), "cpu")
        for step in walk(chosen.wanted):
            if step.kind not in STORED:
                continue
            for need in step.needs:
                making.make(need)
                if need.kind == "train":
                    _ = making.make(need).final
            stack.append(step.kind)
            sys.setprofile(profile)
            made = making.make(step)
            if step.kind == "train":
                _ = made.final
            sys.setprofile(None)
            stack.pop()
    assert set(seen) == set(STORED)
    for kind, modules in seen.items():
        config = {module for module in modules if module.startswith("config.")}
        assert modules - config - neutral <= set(code.MODULES[kind]), kind


def test_objects_of_other_code_are_refused_with_their_kinds_named(store, monkeypatch):
    config = tiny()
    first = rounds(config, store)
    real = code.digest

    def edited(kind: str, members: code.Members) -> str:
        return "new" if kind == "train" else real(kind, members)

    monkeypatch.setattr(code, "digest", edited)
    trial = run(tiny(control="reinit"), store, device="cpu")
    with pytest.raises(CodeChanged, match=r"\(train\).*--allow-code-change"):
        list(trial)
    mixed = rounds(tiny(control="reinit"), store, allow_code_change=True)
    assert mixed[1].made["mixed code"] == "train"
    assert "mixed code" not in first[1].made
    with pytest.raises(CodeChanged, match=r"\(train\)"):
        code.check_steps(store, trajectory(config).wanted)


def test_a_docstring_is_no_code_and_a_number_is(tmp_path, monkeypatch):
    digests = []
    for text in ('"""A."""\nX = 1\n', '"""B."""\nX = 1  # a remark\n', '"""A."""\nX = 2\n'):
        (tmp_path / "module.py").write_text(text)
        monkeypatch.setattr(code, "ROOT", tmp_path)
        code.digest_of.cache_clear()
        digests.append(code.digest_of("module", ()))
    code.digest_of.cache_clear()
    assert digests[0] == digests[1] != digests[2]


def test_every_object_says_what_it_is_and_by_which_code_it_was_made(store):
    rounds(lenet(), store)
    count = 0
    for key, part in store:
        facts = store.facts(key, part)
        assert facts is not None
        assert facts["what"]["key"] == key
        kind = facts["what"]["kind"]
        assert facts["code"][kind] == code.digest(kind, facts["members"])
        json.dumps(facts["what"])
        count += 1
    assert count > 15


MODULE = """
def shared(x):
    return x


def first(x):
    return shared(x)


def second(x):
    return {second}


TABLE = {{"first": Row(first), "second": Row(second){more}}}
"""


def test_a_member_that_is_added_or_edited_changes_nothing_for_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "ROOT", tmp_path)
    monkeypatch.setattr(code, "FAMILIES", {"module": ("TABLE", "word")})

    def digests(text: str) -> list[str]:
        (tmp_path / "module.py").write_text(text)
        code.digest_of.cache_clear()
        return [code.digest_of("module", (member,)) for member in ("first", "second")]

    before = digests(MODULE.format(second="shared(x) + 1", more=""))
    added = "def third(x):\n    return 3\n" + MODULE
    assert digests(added.format(second="shared(x) + 1", more=', "third": Row(third)')) == before
    edited = digests(MODULE.format(second="shared(x) + 2", more=""))
    assert edited[0] == before[0]
    assert edited[1] != before[1]
    helper = MODULE.replace("    return x", "    return -x")
    changed = digests(helper.format(second="shared(x) + 1", more=""))
    assert all(new != old for new, old in zip(changed, before, strict=True))
    code.digest_of.cache_clear()


def test_every_family_of_code_is_a_table_of_its_module_that_a_word_chooses_from():
    for module, (rows_name, word) in code.FAMILIES.items():
        rows = getattr(importlib.import_module(f"lthray.{module}"), rows_name)
        assert len(rows) > 2
        assert any(module in modules for modules in code.MODULES.values())
        assert "." not in word or word in TrialConfig().flat()


# one store for all


def in_one_store(names: list[str], store: Store) -> Iterator[tuple[str, list]]:
    for name in names:
        yield name, rounds(TrialConfig.from_flat(TABLE[name]), store)


def test_trials_in_one_store_are_as_they_are_alone(tmp_path):
    """Two ladders, controls, rules: a shared step is the step that each would have made alone."""
    names = [name for name, words in TABLE.items() if "origin" not in words][::11]
    ladders = {
        "small dense of another ladder": {"control": "small_dense", "model.channels": (16,)},
        "dense of another ladder": {"control": "dense"},
    }
    shared = Store(tmp_path / "shared")
    made = dict(in_one_store(names, shared))
    for name, changed in ladders.items():
        for ladder in ((0.5, 0.3), (0.6, 0.2)):
            config = TrialConfig.from_flat(UNET | changed | {"prune.ladder": ladder})
            made[f"{name} {ladder}"] = rounds(config, shared)
            assert tuple(r.density for r in made[f"{name} {ladder}"][1:]) == ladder
    assert len(made) > 20
    compared = 0
    for name in names:
        alone = rounds(TrialConfig.from_flat(TABLE[name]), Store(tmp_path / name))
        assert all(same(a, b) for a, b in zip(made[name], alone, strict=True)), name
        compared += len(alone)
    assert compared > 40
