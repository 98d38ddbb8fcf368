"""What a step is made of, word by word and parent by parent: graphs alone, nothing is trained.

A word that is missing in a spec makes two things share one key, and a swapped parent makes one
thing another.
"""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest

from lthray.config.trial import TrialConfig
from lthray.core.store import key_of
from lthray.prune.budgets import BUDGETS
from lthray.task import data, inputs
from lthray.trial.recipe import trajectory
from lthray.trial.sources import twin_config
from lthray.trial.steps import Step, history, walk
from lthray.trial.trajectory import Rung, Trajectory

from .conftest import lenet, tiny
from .test_recipe import keys

FRESH = 2**31
"""Seeds and streams from here on are drawn for what stands in a ticket's place."""


# words


@pytest.mark.parametrize(
    ("words", "change", "same"),
    [
        ({"control": "perturb"}, {"sigma": 0.1}, {"dense", "masks"}),
        ({"regime.name": "rigl"}, {"regime.every": 5}, {"dense"}),
        ({"regime.name": "rigl"}, {"regime.name": "set"}, {"dense"}),
        ({"prune.criterion": "snip"}, {"prune.images": 9}, {"dense"}),
        ({"prune.criterion": "snip"}, {"prune.terms": 3}, {"dense"}),
        ({"prune.budget": "cka"}, {"prune.gamma": 2.0}, {"dense"}),
        ({"prune.scored": "rewound"}, {"rewind.fraction": 0.1}, {"dense"}),
        ({"prune.early": 0.1}, {"prune.looks": 5}, {"dense"}),
        (
            {"control": "dense", "rewind.rule": "sign"},
            {"prune.layers": (("*", "free"),)},
            {"dense"},
        ),
        ({"objective.name": "latent_denoise"}, {"data.augment": "flip"}, set()),
        ({"objective.name": "latent_denoise"}, {"latent.steps": 900}, set()),
        ({}, {"objective.prediction": "sample"}, set()),
    ],
)
def test_what_a_word_changes_where_it_matters(words, change, same):
    before, after = keys(**words), keys(**{**words, **change})
    assert {kind for kind in before if before[kind] == after[kind]} == same


def test_the_first_mask_depends_on_what_it_scores_and_on_no_later_rung():
    def first(**words) -> str:
        return trajectory(tiny(**words)).rungs[1].mask.key

    assert first(prune__ladder=(0.5, 0.2)) == first(prune__ladder=(0.5, 0.3)) == first()
    assert first(prune__ladder=(0.6,)) != first(prune__ladder=(0.5,))
    scored = {"prune__scored": "rewound"}
    assert first(**scored) != first(**scored, rewind__fraction=0.5)
    assert first() == first(rewind__fraction=0.5)


PANEL = {"curve", "loss", "excess", "sharpness", "sensitivity", "barrier"}
SAMPLES = {"judged ddim", "memorised ddim", "paired ddim", "grid ddim"}


@pytest.mark.parametrize(
    ("word", "value", "changed"),
    [
        ("measure__split", "test", PANEL),
        ("measure__images", 12, PANEL),
        ("measure__timesteps", 2, PANEL),
        ("measure__checkpoints", 4, {"curve"}),
        ("measure__samples", 330, SAMPLES),
        ("measure__sampling_steps", (3,), SAMPLES),
        ("measure__perturbations", 3, {"sharpness"}),
    ],
)
def test_which_measures_a_word_changes(word, value, changed):
    asked = {
        "measure__samples": 320,
        "measure__sampling_steps": (2,),
        "measure__perturbations": 2,
        "measure__sensitivity": True,
        "fork": 1,
    }
    before, after = (
        trajectory(tiny(**words)).rungs[-1].measures for words in (asked, asked | {word: value})
    )
    assert before.keys() == after.keys()
    named = {name for name in before if before[name].key != after[name].key}
    assert named - {"ticket"} == changed  # the file names the trial that it comes from


@pytest.mark.parametrize(("word", "value"), [("measure__split", "test"), ("measure__images", 40)])
def test_accuracy_is_of_the_evaluation_set(word, value):
    before, after = (trajectory(lenet(**words)).rungs[1].measures for words in ({}, {word: value}))
    assert before["accuracy"].key != after["accuracy"].key
    assert before["lost"].key != after["lost"].key


def test_every_measure_of_a_round_is_part_of_its_key_under_its_name():
    rung = trajectory(tiny()).rungs[1]
    assert len(rung.measures) > 4
    for name in rung.measures:
        others = {other: step for other, step in rung.measures.items() if other != name}
        assert replace(rung, measures=others).round != rung.round
    swapped = {**rung.measures, "loss": rung.measures["macs"], "macs": rung.measures["loss"]}
    assert replace(rung, measures=swapped).round != rung.round


def test_other_data_under_the_same_name_are_another_trial(monkeypatch):
    before = trajectory(tiny())
    monkeypatch.setattr(data, "load", lambda _: SimpleNamespace(digest="d" * 64))
    after = trajectory(tiny())
    assert after.key != before.key
    assert after.rungs[0].chain.key != before.rungs[0].chain.key


# parents


def test_parents_have_roles():
    a, b = key_of("a", 1, {}), key_of("b", 1, {})
    assert key_of("x", 1, {}, a, b) != key_of("x", 1, {}, b, a)
    assert key_of("x", 1, {}, a) != key_of("x", 1, {}, a, a)
    assert key_of("x", 1, {"y": [a]}) != key_of("x", 1, {}, a)


def of(steps: tuple[Step, ...]) -> list[str]:
    """Return the keys of steps."""
    return [step.key for step in steps]


def test_a_ticket_is_compared_with_the_dense_network_and_not_the_other_way_round():
    for chosen, names in ((trajectory(tiny()), {"excess": "loss"}), (trajectory(lenet()), BOTH)):
        dense = chosen.rungs[0].measures
        for rung in chosen.rungs:
            for name, what in names.items():
                assert of(rung.measures[name].parents) == of((rung.measures[what], dense[what]))


BOTH = {"excess": "loss", "lost": "accuracy"}


def test_networks_of_two_seeds_are_compared_at_the_rung_that_is_cut():
    for between, compared in (("tickets", [0, 1]), ("dense", [0, 0])):
        config = tiny(prune__budget="cka", prune__between=between)
        own, other = trajectory(config).rungs, trajectory(twin_config(config)).rungs
        for rung, index in zip(own[1:], compared, strict=True):
            pair = (rung.mask.implied["one"], rung.mask.implied["other"])
            assert of(pair) == of((own[index].chain, other[index].chain))


def test_what_each_measure_is_taken_of():
    forked = trajectory(tiny(fork=1, seed=1, prune__early=0.1, prune__looks=5)).rungs
    for index in (1, 2):
        rung = forked[index]
        assert rung.fellow is not None
        assert of(rung.measures["barrier"].parents) == of((rung.shown, rung.fellow))
        begin = forked[0].chain.parents[0]  # the weights of seed 1 before the first step
        assert of(rung.measures["initial"].parents) == of((rung.shown, begin))
        masks = tuple(each.mask for each in forked[1 : index + 1])
        assert of(rung.measures["masks"].parents) == of(masks)


def test_a_ticket_is_set_beside_the_rung_before_it_and_nothing_else_is():
    rungs = trajectory(tiny(measure__connected=True)).rungs
    assert [rung.index for rung in rungs if "connected" in rung.measures] == [1, 2]
    for before, rung in pairwise(rungs):
        assert of(rung.measures["connected"].parents) == of((rung.shown, before.shown))
    for words in ({"control": "shuffle"}, {"fork": 1}, {"measure__connected": False}):
        other = trajectory(tiny(**{"measure__connected": True, **words})).rungs
        assert not any("connected" in rung.measures for rung in other)


def test_a_control_is_not_probed_and_a_ticket_is():
    words = {"measure__perturbations": 2, "measure__sensitivity": True}
    for control, probed in (("none", [0, 2]), ("shuffle", [0])):
        rungs = trajectory(tiny(control=control, **words)).rungs
        for name in ("sharpness", "sensitivity"):
            assert [rung.index for rung in rungs if name in rung.measures] == probed


# where a run begins


def begin_of(rung: Rung) -> Step:
    """Return the rewinding from which a rung's own run begins."""
    return rung.chain.parents[0]


def test_a_rung_begins_with_the_weights_and_the_state_of_its_rule():
    dense = trajectory(tiny()).rungs[0].chain.key
    for rule, state, spec in (
        ("late", "rewound", {"from": "anchor", "at": 2, "state": "rewound"}),
        ("late", "reset", {"from": "anchor", "at": 2, "state": "reset"}),
        ("init", "rewound", {"from": "anchor", "at": 0, "state": "reset"}),
    ):
        rungs = trajectory(tiny(rewind__rule=rule, rewind__state=state)).rungs
        for rung in rungs[1:]:
            assert begin_of(rung).spec == spec
            assert of(begin_of(rung).parents) == [dense, rung.mask.key]


def test_a_previous_anchor_is_k_steps_after_the_last_rungs_start():
    words = {"rewind__anchor": "previous", "prune__ladder": (0.6, 0.45, 0.3)}
    rungs = trajectory(tiny(**words)).rungs
    assert [begin_of(rung).spec["at"] for rung in rungs[1:]] == [2, 4, 4]
    for before, rung in pairwise(rungs):
        assert begin_of(rung).parents[0].key == before.chain.key
    some = trajectory(tiny(**words, control="perturb", rungs=(1,)))
    assert [rung.index for rung in some.shown] == [0, 1]
    assert some.anchors == {
        rungs[0].chain.key: {2},
        rungs[1].chain.key: {4},
        rungs[2].chain.key: {4},
    }


def test_a_perturbed_ticket_has_seen_as_many_steps_as_the_ticket():
    for rule in ("late", "tuned"):
        pair = [trajectory(tiny(rewind__rule=rule, control=c)).rungs for c in ("none", "perturb")]
        ticket, perturbed = ([history(rung.shown) for rung in rungs] for rungs in pair)
        assert perturbed == ticket


# what is drawn


def drawn(chosen: Trajectory) -> list[int]:
    """Return the fresh seeds and streams in the steps that each rung shows."""
    found = []
    for rung in chosen.rungs[1:]:
        specs = [step.spec for step in walk([rung.shown])]
        fresh = {spec.get(word, 0) for spec in specs for word in ("seed", "stream")}
        found += sorted(number for number in fresh if number >= FRESH)
    return found


@pytest.mark.parametrize("given", ["", "folder"])
@pytest.mark.parametrize("control", ["reinit", "shuffle", "random_mask", "complement", "perturb"])
def test_what_a_control_draws_is_drawn_for_one_seed_and_one_rung(monkeypatch, control, given):
    monkeypatch.setattr(inputs, "digest_of", lambda folder, *_: "given" if folder else "")
    numbers = []
    for seed in range(3):
        numbers += drawn(trajectory(tiny(seed=seed, control=control, model__pretrained=given)))
    assert len(set(numbers)) == len(numbers) == 3 * 2


@pytest.mark.parametrize("budget", [name for name, row in BUDGETS.items() if not row.between_seeds])
def test_masks_over_given_weights_differ_by_seed_where_a_budget_sees_images(monkeypatch, budget):
    monkeypatch.setattr(inputs, "digest_of", lambda folder, *_: "given" if folder else "")
    words = {"model__pretrained": "folder", "prune__budget": budget}
    words |= {"prune__dials": (1.0,)} if budget == "sampled" else {}
    one, other = (trajectory(tiny(**words, seed=seed)).rungs[1] for seed in (0, 2))
    assert one.mask.parents[0].key == other.mask.parents[0].key
    assert (one.mask.key != other.mask.key) is BUDGETS[budget].asks


def test_a_second_run_is_on_a_stream_of_its_own():
    streams = []
    for stream in range(4):
        for fork in (1, 2, 3):
            chosen = trajectory(tiny(stream=stream, fork=fork))
            assert {rung.shown.spec["stream"] for rung in chosen.rungs[1:]} == {drawn(chosen)[0]}
            streams.append(drawn(chosen)[0])
    assert len(set(streams)) == len(streams) == 12


def test_every_control_is_another_run():
    controls = ("none", "reinit", "shuffle", "random_mask", "complement", "perturb", "tuned", "lr")
    shown = [trajectory(tiny(control=control)).rungs[2].shown.key for control in controls]
    assert len(set(shown)) == len(controls)


def test_networks_of_other_shapes_begin_with_other_weights():
    words = {"objective.name": "latent_denoise", "latent.steps": 12}
    begins = []
    for channels in (2, 3):
        config = TrialConfig.from_flat(words | {"latent.channels": channels}, tiny())
        begins.append(trajectory(config).rungs[0].chain.parents[0].key)
    assert len({*begins, trajectory(tiny()).rungs[0].chain.parents[0].key}) == 3


def test_a_narrower_network_is_measured_as_in_its_own_trial():
    layers = (("conv_in", 0.5), ("mid*", "free"), ("*", 1.0))
    words = {"control": "small_dense", "rates": (1.0,), "prune__layers": layers}
    chosen = trajectory(tiny(model__channels=(16,), **words))
    for rung in chosen.rungs[1:]:
        assert rung.small is not None
        alone = trajectory(rung.small).rungs[0].measures
        for name in ("loss", "size", "macs", "curve"):
            assert rung.measures[name].key == alone[name].key
