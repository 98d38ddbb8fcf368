"""Tickets from another trial: what is taken of it, from where, and what is claimed of it."""

import math
import runpy
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lthray.config.fields import ConfigError
from lthray.config.labels import name_of, recipe_of
from lthray.config.trial import LENT, TrialConfig, source_of
from lthray.core.store import Store
from lthray.core.ticket import TicketError
from lthray.findings import stats as st
from lthray.findings import transfer
from lthray.findings.claims import judged
from lthray.findings.evidence import gather
from lthray.prune.coupling import Coupling, Group, Slices
from lthray.prune.matching import assigned, correlations, matched
from lthray.task import data
from lthray.trial.preflight import check
from lthray.trial.recipe import Recipe, trajectory
from lthray.trial.steps import history, lineage
from lthray.trial.workshop import workshop_of

from .conftest import lenet, making_of, resumed, rounds, tiny
from .test_verdicts import LADDER, studied, trial

ROOT = Path(__file__).parent.parent
PAGE = runpy.run_path(str(ROOT / "analysis/transfer.py"))
HIGH = (("data.name", "digits_high"),)
LOW = {"data__name": "digits_low"}


def lent(**words) -> TrialConfig:
    return tiny(**LOW, source__words=HIGH, **words)


def begin_of(config: TrialConfig, store, index: int = 1):
    """Return what a rung's shown run begins from."""
    making, chosen = making_of(config, store)
    return making.make(chosen.rungs[index].shown).begin


# what the source is


def test_the_source_is_a_trial_of_its_own_on_another_stream():
    config = lent(source__takes="mask", control="shuffle", draw=1, fork=0, seed=3, stream=3)
    source = source_of(config)
    assert (source.seed, source.stream) == (3, 3 + LENT)
    assert source.data.name == "digits_high"
    assert (source.control, source.draw, source.source.given) == ("none", 0, False)
    assert source.prune == config.prune
    apart = source_of(tiny(source__seeds=1000, seed=3))
    assert (apart.seed, apart.data.name) == (1003, "digits")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"source.words": (("data.nam", "x"),)}, "did you mean 'data.name'?"),
        ({"source.words": (("seed", "3"),)}, "seed is this trial's own; it may name data, model"),
        ({"source.words": (("control", "reinit"),)}, "control is this trial's own"),
        ({"source.words": (("model.groups", "2"),)}, "may differ in model.layers"),
        ({"source.words": (("data.root", "/x"),)}, "is a place on this machine"),
        ({"source.words": (("prune.ladder", "0.5"),)}, "prune.ladder"),
        ({"source.takes": "mask"}, "only with the tickets of another trial"),
        ({"source.align": "activations"}, "only with the tickets of another trial"),
        ({"source.words": HIGH, "origin": "x"}, "not beside a source"),
        ({"source.words": HIGH, "regime.name": "rigl"}, "use 'static'"),
        ({"source.words": HIGH, "control": "one_shot"}, "cuts a mask of its own"),
        ({"source.words": HIGH, "source.align": "activations"}, "only with source.takes = 'mask'"),
        (
            {"source.words": HIGH, "source.takes": "signs", "rewind.rule": "tuned"},
            "keeps trained weights",
        ),
        (
            {
                "source.words": (("model.layers", "2"),),
                "source.takes": "mask",
                "source.align": "activations",
            },
            "compares networks of one shape",
        ),
    ],
)
def test_what_no_source_can_be_is_said_in_one_line(words, said):
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_flat(words)
    (line,) = caught.value.faults
    assert said in line


@pytest.mark.parametrize("word", [("data.fraction", "0.2"), ("data.augment", "flip")])
def test_a_source_learns_from_its_own_part_of_the_same_images(word, store, tmp_path):
    """Both runs have one data set, and one network in training served them both."""
    config = tiny(source__words=(word,))
    recipe = Recipe(config)
    own, source = recipe.sources.dense, recipe.lender.recipe.sources.dense
    together, _ = making_of(config, store)
    _ = together.make(own).final
    learner = together.learner(together.make(source))
    assert learner.images.augment == dict([word]).get("data.augment", "none")
    alone, _ = making_of(config, Store(tmp_path / "alone"))
    for making in (together, alone):
        making.make(source)
    first, second = (making.make(source).final for making in (together, alone))
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_a_network_that_cannot_take_the_masks_is_refused_before_anything_is_trained():
    config = tiny(model__channels=(4, 8), source__words=(("model.layers", "2"),))
    check(config)  # squeezed: a block is left out
    deeper = tiny(model__channels=(4, 8), model__layers=2, source__words=(("model.layers", "1"),))
    with pytest.raises(TicketError, match="from 1 to 2 blocks a level"):
        check(deeper)


def test_names_say_what_is_taken_and_of_which_trial():
    assert name_of(lent()) == "ticket from digits_high overall late25% s0"
    assert "mask from digits_high, another seed" in recipe_of(
        lent(source__takes="mask", source__seeds=7)
    )
    aligned = tiny(source__seeds=7, source__takes="mask", source__align="activations")
    assert "aligned from another seed" in recipe_of(aligned)
    space = tiny(source__words=(("objective.name", "latent_denoise"),))
    assert "ticket from latents" in recipe_of(space)
    assert "from scrambled" in recipe_of(tiny(source__words=(("data.scrambled", "true"),)))


# what is taken


def test_a_ticket_is_the_mask_and_the_weights_of_the_source_itself():
    config = lent()
    own, there = trajectory(config), trajectory(source_of(config))
    for mine, theirs in zip(own.rungs[1:], there.rungs[1:], strict=True):
        assert mine.mask.key == theirs.mask.key
        assert mine.shown.parents[0].key == theirs.shown.parents[0].key  # begins as it began
        assert mine.shown.key != theirs.shown.key  # other images
    assert own.rungs[0].shown.key == trajectory(tiny(**LOW)).rungs[0].shown.key


def test_a_mask_alone_is_over_the_targets_own_weights(store):
    config = lent(source__takes="mask")
    there, native = trajectory(source_of(config)), trajectory(tiny(**LOW))
    begin = begin_of(config, store, 2)
    assert trajectory(config).rungs[2].mask.key == there.rungs[2].mask.key
    making, _ = making_of(config, store)
    state = making.make(native.rungs[0].shown).state(2)  # k = 2 of the dense run
    for name, weight in begin.state.weights.items():
        assert torch.equal(weight, state.weights[name])


def test_weights_alone_are_under_the_masks_that_are_found_here():
    config = lent(source__takes="weights")
    own, native = trajectory(config), trajectory(tiny(**LOW))
    there = trajectory(source_of(config))
    for rung, found in zip(own.rungs[1:], native.rungs[1:], strict=True):
        assert rung.mask.key == found.mask.key
        assert rung.chain.key == found.chain.key  # the chain stays that of tickets found here
        source = rung.shown.parents[0].parents[0]
        assert source.key == there.rungs[0].shown.key
    shuffled = trajectory(lent(source__takes="weights", control="shuffle"))
    begin = shuffled.rungs[1].shown.parents[0]
    assert begin.parents[0].key == there.rungs[0].shown.key
    assert begin.parents[1].parents[0].key == native.rungs[1].mask.key


def test_signs_and_norms_come_over_the_sizes_of_the_targets_weights(store):
    config = lent(source__takes="signs")
    begin = begin_of(config, store).masked()
    making, _ = making_of(config, store)
    own = making.make(trajectory(tiny(**LOW)).rungs[0].shown).state(2).weights
    there = making.make(trajectory(source_of(config)).rungs[1].shown).final.weights
    mask = making.make(trajectory(config).rungs[1].mask).mask
    for name, bits in mask.items():
        assert torch.equal(begin.weights[name][bits].abs(), own[name][bits].abs())
        assert torch.equal(begin.weights[name][bits].sign(), there[name][bits].sign())
        assert not begin.weights[name][~bits].any()
    norms = [name for name in own if "norm" in name]
    assert norms
    assert all(torch.equal(begin.weights[name], there[name]) for name in norms)
    rest = own.keys() - set(mask) - set(norms)
    assert all(torch.equal(begin.weights[name], own[name]) for name in rest)


def test_shuffled_masks_keep_the_sources_weights_and_layer_densities(store):
    plain, shuffled = lent(), lent(control="shuffle")
    making, _ = making_of(plain, store)
    ticket = making.make(trajectory(plain).rungs[1].shown).begin
    control = making.make(trajectory(shuffled).rungs[1].shown).begin
    assert ticket.cut.mask != control.cut.mask
    for name, bits in ticket.cut.mask.items():
        assert bits.sum() == control.cut.mask[name].sum()
    for name, weight in ticket.state.weights.items():
        assert torch.equal(weight, control.state.weights[name])


@pytest.mark.parametrize("takes", ["ticket", "mask", "weights", "signs"])
@pytest.mark.parametrize(
    "words",
    [(("model.layers", "2"),), (("objective.name", "latent_denoise"), ("latent.steps", "8"))],
)
def test_other_depths_and_spaces_keep_their_own_ways_in_and_out(store, takes, words):
    shape = {"model__channels": (4, 8)}
    config = tiny(**LOW, **shape, source__words=words, source__takes=takes)
    found = rounds(config, store)
    assert all(math.isfinite(r.metrics["loss/heldout"]) for r in found)
    begin = begin_of(config, store)
    own = begin_of(tiny(**LOW, **shape), store).state.weights
    assert {name: w.shape for name, w in begin.state.weights.items()} == {
        name: w.shape for name, w in own.items()
    }
    if words[0][0] == "objective.name":
        assert torch.equal(begin.state.weights["conv_in.weight"], own["conv_in.weight"])


def test_whole_channels_are_lent_with_their_coupling(store):
    found = rounds(lent(prune__unit="channel"), store)
    assert found[-1].metrics["density/prunable"] < 0.31


def test_a_killed_transfer_goes_on_and_steps_are_told(store, tmp_path):
    config = lent()
    chosen = trajectory(config)
    dense, length = chosen.rungs[0].shown.length, chosen.rungs[1].shown.length
    # found here it would have cost the dense run and all rungs; a lent ticket is trained once
    assert chosen.saved == {1: dense, 2: dense + length}
    with_mask = trajectory(lent(source__takes="mask"))
    assert with_mask.saved == {1: 0, 2: length}  # it asks for the dense run's weights
    assert chosen.rungs[2].spent == sum(run.length for run in lineage(chosen.rungs[2].shown))
    assert history(chosen.rungs[2].shown) == dense  # k steps there and the rest here
    whole = rounds(config, store)
    cut = resumed(config, Store(tmp_path / "cut"))
    assert [r.metrics["loss/heldout"] for r in cut] == [r.metrics["loss/heldout"] for r in whole]


def test_a_source_of_other_content_is_another_trial(tmp_path, monkeypatch):
    one = trajectory(lent()).key
    whole = data.load(replace(lent().data, name="digits_high"))
    monkeypatch.setattr(
        data, "read", lambda d: replace(whole, digest="other" if d.name == "digits_high" else "x")
    )
    assert trajectory(lent()).key != one


def test_scrambled_images_keep_their_grey_levels_and_nothing_else():
    plain = data.load(lent().data)
    mixed = data.load(replace(lent().data, scrambled=True))
    assert mixed.digest != plain.digest
    assert torch.equal(mixed.images.flatten(1).sort()[0], plain.images.flatten(1).sort()[0])
    assert not torch.equal(mixed.images, plain.images)
    place = (mixed.images[0] == plain.images[0]).all()
    assert not place
    counts = [torch.bincount(x.labels) for x in (plain, mixed)]
    assert torch.equal(*counts)
    agree = (plain.labels == mixed.labels).float().mean()
    assert agree < 0.35  # of five classes, one in five by chance
    for name in plain.splits:
        assert torch.equal(plain.splits[name], mixed.splits[name])


# matching channels


def group(name: str, channels: int, step: int = 1) -> Group:
    every = torch.arange(channels)
    return Group(name, channels, step, (Slices(name, 0, every), Slices("next.weight", 1, every)))


def test_a_known_permutation_is_recovered():
    draw = torch.Generator().manual_seed(0)
    theirs = torch.randn(200, 12, generator=draw)
    order = torch.randperm(12, generator=draw)
    noise = 0.3 * torch.randn(200, 12, generator=draw)
    coupling = Coupling({}, (group("a", 12),))
    found = matched(coupling, {"a": theirs[:, order] + noise}, {"a": theirs})
    assert torch.equal(found["a"], order)


def test_channels_of_one_norm_group_stay_together():
    draw = torch.Generator().manual_seed(0)
    theirs = torch.randn(500, 12, generator=draw)
    blocks = torch.randperm(4, generator=draw)
    within = torch.stack([torch.randperm(3, generator=draw) for _ in range(4)])
    order = (3 * blocks[:, None] + within).flatten()
    coupling = Coupling({}, (group("a", 12, 3),))
    assert torch.equal(matched(coupling, {"a": theirs[:, order]}, {"a": theirs})["a"], order)
    # a permutation over the groups is not allowed, whatever it would gain
    mixed = torch.randperm(12, generator=draw)
    found = matched(coupling, {"a": theirs[:, mixed]}, {"a": theirs})["a"]
    assert all(len({c // 3 for c in block}) == 1 for block in found.reshape(4, 3).tolist())
    assert sorted(found.tolist()) == list(range(12))


def test_the_best_assignment_is_that_of_all_permutations():
    import itertools

    draw = torch.Generator().manual_seed(1)
    for _ in range(5):
        alike = torch.rand(5, 5, generator=draw, dtype=torch.float64)
        best = max(
            itertools.permutations(range(5)),
            key=lambda columns: sum(float(alike[r, c]) for r, c in enumerate(columns)),
        )
        assert assigned(alike).tolist() == list(best)


def test_a_silent_channel_correlates_with_none():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(50, 3, generator=draw)
    silent = x.clone()
    silent[:, 1] = 7.0
    found = correlations(silent, x)
    assert torch.equal(found[1], torch.zeros(3, dtype=torch.float64))
    want = np.corrcoef(silent[:, 0], x[:, 2])[0, 1]
    assert float(found[0, 2]) == pytest.approx(want)


@pytest.mark.parametrize("network", ["lenet5", "unet"])
def test_a_mask_follows_its_channels_to_a_network_that_was_permuted(network, store):
    """A network whose channels are permuted answers alike; its mask is found again."""
    config = tiny() if network == "unet" else lenet(model__name=network, model__channels=(6, 8))
    workshop = workshop_of(config)
    coupling = workshop.coupling(())
    draw = torch.Generator().manual_seed(0)
    orders = {}
    for each in coupling.groups:
        blocks = torch.randperm(each.channels // each.step, generator=draw)
        orders[each.name] = torch.cat(
            [b * each.step + torch.randperm(each.step, generator=draw) for b in blocks]
        )
    whole = workshop.whole(())
    mask = type(whole)({n: torch.rand(b.shape, generator=draw) < 0.3 for n, b in whole.items()})
    permuted = coupling.permuted(mask, orders)
    assert permuted != mask
    assert permuted.kept == mask.kept
    back = {name: torch.argsort(order) for name, order in orders.items()}
    assert coupling.permuted(permuted, back) == mask


def test_masks_are_aligned_to_a_network_with_its_channels_in_another_order(store):
    """The dense network there is this one with its channels permuted: aligning undoes it."""
    from types import SimpleNamespace

    from lthray.trial.cutting import align
    from lthray.trial.state import Cut
    from lthray.trial.steps import Step

    config = lenet(model__name="lenet5", model__channels=(6, 8), seed=1)
    making, _ = making_of(config, store)
    mine = making.make(trajectory(config).rungs[0].shown)
    coupling = mine.workshop.coupling(())
    draw = torch.Generator().manual_seed(0)
    orders = {g.name: torch.randperm(g.channels, generator=draw) for g in coupling.groups}
    network = mine.network()
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    for each in coupling.groups:
        for part in each.slices:
            if part.parameter in weights:
                source = part.reordered(orders[each.name])
                taken = weights[part.parameter].index_select(part.dim, source)
                weights[part.parameter] = taken
    other = mine.workshop.network(0, fresh=True)
    for name, parameter in other.named_parameters():
        parameter.data.copy_(weights[name])
    x = torch.rand(4, 1, 8, 8, generator=draw)
    assert torch.allclose(network(x), other(x), atol=1e-5)
    theirs = SimpleNamespace(network=lambda: other.eval(), workshop=mine.workshop)
    mask = making.make(trajectory(config).rungs[1].mask).mask
    moved = coupling.permuted(mask, orders)
    step = Step("align", {"seed": 0})
    found = align(step, (mine, theirs, Cut(moved, 1)), {}, making)
    assert found.mask == mask


# what is claimed


def test_fieller_covers_the_ratio_and_says_when_there_is_none():
    draw = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        below = 1.0 + 0.6 * draw.standard_normal(6)
        above = 0.5 + 0.3 * (below - 1.0) + 0.3 * draw.standard_normal(6)
        low, high = st.fieller(above, below)
        covered += low <= 0.5 <= high
    assert 0.94 <= covered / 2000 <= 0.97
    assert st.fieller([0.1, -0.1, 0.2], [0.1, -0.2, 0.05]) == (-math.inf, math.inf)
    even = st.fieller([3.0, 3.1, 3.2], [6.0, 6.2, 6.4])
    assert even == pytest.approx((0.5, 0.5))


SPREAD = np.array([-3, -2, -1, 1, 2, 3]) * 1e-3
NATIVE = {"prune.ladder": list(LADDER)}
TAKES = {
    "ticket": {},
    "mask": {"source.takes": "mask"},
    "weights": {"source.takes": "weights"},
    "signs": {"source.takes": "signs"},
    "aligned": {"source.takes": "mask", "source.align": "activations"},
}


def arm(excess: float, control: str = "none", **words):
    """One trial a seed at one excess, with noise of its own."""
    noise = np.random.default_rng(zlib.crc32(f"{excess:.4f} {control} {words}".encode()))
    spread = SPREAD if control == "none" else noise.permutation(SPREAD)
    return [
        trial(control, seed, (excess + by,) * 2, **{**NATIVE, **words})
        for seed, by in enumerate(spread)
    ]


def recorded(ticket, shuffled, unrelated, native, mask=0.1, random=0.1, leak=0.1, part=0.0):
    source = {"source.words": [["data.name", "digits_high"]]}
    return [
        *arm(native),
        *arm(random, **transfer.RANDOM),
        *arm(unrelated, **{"source.words": [["data.scrambled", "true"]]}),
        *arm(ticket, **source),
        *arm(shuffled, "shuffle", **source),
        *arm(mask, **source, **TAKES["mask"]),
        *arm(mask + 0.05, "shuffle", **source, **TAKES["mask"]),
        *arm(leak, "shuffle", **source, **TAKES["weights"]),
        *arm(mask, **source, **TAKES["signs"]),
        *arm(mask - 0.05, **source, **TAKES["aligned"]),
        *arm(part, **{"source.words": [*source["source.words"], ["data.fraction", "0.25"]]}),
    ]


def page(found) -> dict:
    return {section.name: section for section in PAGE["sections"](studied(found))}


def test_a_ticket_that_does_all_of_it_transfers_fully():
    made = page(recorded(-0.06, 0.1, 0.05, -0.06))
    head, *rows = made["transfer"].table
    whole = [row for row in rows if row[1] == "digits_high"]
    assert [row[2] for row in whole] == [f"{d:.4g}" for d in LADDER]
    for row in whole:
        assert row[-1] == "transfers what this source knows, fully"
        assert row[head.index("efficiency [95 %]")].startswith("1.00")
    part = [row for row in rows if row[1] == "digits_high, fraction 0.25"]
    assert {row[-1] for row in part} == {"not tried"}  # it has no shuffled mask
    assert not any("fraction" in line for line in made["transfer"].text)
    first = made["transfer"].text[0]
    assert first.startswith("At 400 steps, from digits_high to digits: transfers what this source")
    assert "At 2 of 2 places" in " ".join(made["parts"].text[:1])
    aligned = [line for line in made["parts"].text if "permuted" in line]
    assert aligned == [
        "At 2 of 2 places it is shown that a mask is better when it is permuted to the target."
    ]
    signed = [line for line in made["parts"].text if "signs" in line]
    assert signed[0].startswith("At 0 of 2 places")


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ((-0.06, 0.1, -0.06, -0.06), "transfers, fully"),  # any sparse ticket would do
        ((-0.06, -0.06, 0.05, -0.06), "not shown to transfer"),  # weights alone do it
        ((0.03, 0.1, 0.05, -0.06), "not shown to transfer"),  # worse than dense
        ((-0.03, 0.1, 0.05, -0.06), "transfers what this source knows"),  # native is better
    ],
)
def test_false_positives_are_caught(numbers, word):
    rows = page(recorded(*numbers))["transfer"].table[1:]
    assert {row[-1] for row in rows if row[1] == "digits_high"} == {word}


def test_an_efficiency_beside_a_random_mask_that_is_as_good_is_not_told():
    made = page(recorded(-0.06, 0.1, 0.05, -0.06, random=-0.06))
    head, *rows = made["transfer"].table
    told = {row[head.index("efficiency [95 %]")] for row in rows}
    assert told == {"native gain not told"}


def test_lent_tickets_have_their_own_claims_and_no_others():
    (evidence,) = gather(recorded(-0.06, 0.1, 0.05, -0.06))
    (verdict,) = judged([evidence])
    names = {}
    for tested in verdict.claims:
        names.setdefault(tested.statement.place[2], set()).add(tested.statement.name)
    for recipe, made in names.items():
        if not transfer.is_lent(recipe):
            assert {"matches own", "better than own", "beaten by own"} <= made
            continue
        assert "beaten by own" not in made
    assert any(transfer.FULL in made for made in names.values())


def test_a_failed_arm_takes_no_claim_away():
    whole = recorded(-0.06, 0.1, 0.05, -0.06)
    lost = [t for t in whole if not (t.point.control == "none" and t.point.seed == 5)]
    (evidence,) = gather(lost)
    (verdict,) = judged([evidence])
    held = [t for t in verdict.claims if t.statement.name == transfer.FULL]
    assert held
    assert all(len(t.statement.values) == 5 for t in held)


def test_the_images_of_a_setting_need_not_be_those_of_the_default_config():
    """A mask that is aligned between two sets of one size, which is not that of digits."""
    mnist = {"data.name": "mnist"}
    source = {"source.words": [["data.name", "fashion_mnist"]]}
    found = [
        *arm(-0.05, **mnist),
        *arm(-0.05, **mnist, **source),
        *arm(0.1, **mnist, **source, **TAKES["mask"]),
        *arm(0.0, **mnist, **source, **TAKES["aligned"]),
    ]
    head, row, *_ = page(found)["parts"].table
    assert row[:2] == ["mnist", "fashion_mnist"]
    assert row[head.index("aligned - mask")].endswith("*")


def test_other_pages_tell_of_tickets_that_were_found_here():
    found = studied(recorded(-0.06, 0.1, 0.05, -0.06))
    methods = runpy.run_path(str(ROOT / "analysis/pruning_methods.py"))
    assert methods["applies"](found) == methods["ELSEWHERE"]
    page = runpy.run_path(str(ROOT / "analysis/ticket_frequency.py"))
    made = {section.name: section for section in page["sections"](found)}
    assert len(made["verdict"].table) == 1 + 2 * len(LADDER)  # native and random
    claimed = {row[2] for row in made["verdict_claims"].table}
    assert {transfer.FULL, transfer.LEAK} <= claimed  # all claims of the family are listed


def test_studies_without_transfers_have_no_such_page():
    found = [*arm(-0.05), *arm(0.1, "shuffle")]
    assert PAGE["applies"](studied(found)) == PAGE["NOTHING"]
    with pytest.raises(ConfigError):
        list(PAGE["sections"](studied(found)))


def test_nothing_is_claimed_where_nothing_transfers(quick):
    """Exchangeable arms: the share of pages with any false claim stays below the level."""
    draw = np.random.default_rng(0)
    false = 0
    studies = 300
    for _ in range(studies):
        seeds = 0.007 * draw.standard_normal((6, 1))

        def null(control="none", *, shared=seeds, **words):
            noise = shared + 0.006 * draw.standard_normal((6, 2))
            return [
                trial(control, s, tuple(float(e) for e in noise[s]), **{**NATIVE, **words})
                for s in range(6)
            ]

        source = {"source.words": [["data.name", "digits_high"]]}
        found = [
            *null(),
            *null(**source),
            *null("shuffle", **source),
            *null(**source, **TAKES["mask"]),
            *null("shuffle", **source, **TAKES["mask"]),
            *null("shuffle", **source, **TAKES["weights"]),
            *null(**source, **TAKES["signs"]),
            *null(**source, **TAKES["aligned"]),
            *null(**{"source.words": [["data.scrambled", "true"]]}),
        ]
        (evidence,) = gather(found)
        (verdict,) = judged([evidence])
        wrong = [
            t
            for t in verdict.claims
            if t.holds and transfer.is_lent(str(t.statement.place[2])) and t.statement.margin == 0
        ]
        false += bool(wrong)
    assert false / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)
