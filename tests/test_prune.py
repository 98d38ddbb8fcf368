"""What is cut: counts are exact, masks nest, budgets equal independent computations."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn.utils import prune as torch_prune

from lthray.config.fields import ConfigError
from lthray.config.parts import Model, Prune
from lthray.config.vocabulary import network_facts
from lthray.core.random import generator
from lthray.core.ticket import Mask
from lthray.prune import budgets, controls, criteria, rewinds, units
from lthray.task import networks
from lthray.task.blocks import block_of, group_of

from .conftest import probe_of

EXAMPLE = (torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64))
LADDER = (0.7, 0.31, 0.1, 0.013)


def trained(found: nn.Module, rung: int) -> nn.Module:
    """Return the network as if trained: layers differ in scale, so that budgets differ, and have no
    two equal weights."""
    for i, p in enumerate(found.parameters()):
        nn.init.normal_(p, std=0.02 * (1 + i % 7), generator=generator("prune", rung, i))
    return found


@pytest.fixture
def network():
    return trained(networks.build(Model(), (1, 8, 8), 10, 0), 0)


@pytest.fixture
def layers(network):
    shapes, told = networks.layers(network, EXAMPLE), networks.told(network, EXAMPLE)
    rules = budgets.policy(shapes, (), network_facts("unet").layers, told)
    return {n: s for n, s in shapes.items() if rules[n] == "free"}


def free_scores(network, layers, within=None, criterion="magnitude", rung=0):
    return criteria.score(
        criterion, network, within or Mask.full(layers), probe_of(network, seed=rung)
    )


def dials_of(layers) -> dict[str, float]:
    blocks = list(dict.fromkeys(block_of(n) for n in layers))
    return {n: (-1.0, 0.7, 0.0, 1.3, -0.4)[blocks.index(block_of(n))] for n in layers}


def cut(network, layers, budget, density, within=None, criterion="magnitude", slope=1.5, rung=0):
    scores = free_scores(network, layers, within, criterion, rung)
    keep = round(density * sum(s.numel() for s in scores.values()))
    counts = budgets.BUDGETS[budget].share(
        scores, keep, slope=slope if budget == "ramp" else 0.0, dials=dials_of(layers)
    )
    return units.weight(scores, counts, 4), counts, keep


# laws of every criterion x budget


@pytest.mark.parametrize("criterion", criteria.CRITERIA)
@pytest.mark.parametrize("budget", budgets.BUDGETS)
def test_masks_nest_and_counts_are_exact(network, layers, budget, criterion):
    within = Mask.full(layers)
    for rung, density in enumerate(
        LADDER
    ):  # what is cut stays cut, however the rest has been trained since
        mask, counts, keep = cut(
            trained(network, rung), layers, budget, density, within, criterion, rung=rung
        )
        assert mask.kept == keep == sum(counts.values())
        assert {n: int(m.sum()) for n, m in mask.items()} == counts
        assert mask.within(within)
        within = mask


@pytest.mark.parametrize("budget", budgets.BUDGETS)
def test_a_rung_in_one_cut_or_in_many_has_the_same_layer_counts_where_scores_stay(
    network, layers, budget
):
    at_once = cut(network, layers, budget, 0.1)[0]
    by_steps = cut(network, layers, budget, 0.1, within=cut(network, layers, budget, 0.6)[0])[0]
    assert at_once.overlap(by_steps) > 0.999


@pytest.mark.parametrize("budget", budgets.BUDGETS)
def test_ties_are_broken_by_index_and_stay_exact(layers, budget):
    scores = {n: torch.ones(s) for n, s in layers.items()}
    keep = round(0.37 * sum(s.numel() for s in scores.values()))
    counts = budgets.BUDGETS[budget].share(scores, keep, slope=0.0, dials=dials_of(layers))
    mask = units.weight(scores, counts, 4)
    assert mask.kept == keep
    for name, bits in mask.items():  # the first of each layer, by index
        assert bits.flatten()[: counts[name]].all()


@pytest.mark.parametrize("budget", budgets.BUDGETS)
def test_keeping_everything_keeps_everything(network, layers, budget):
    mask, _, _ = cut(network, layers, budget, 1.0)
    assert mask.density == 1


# references


def test_overall_is_torchs_global_unstructured_pruning(network, layers):
    modules = dict(network.named_modules())
    copies = {n: nn.Module() for n in layers}
    for name, holder in copies.items():
        holder.weight = nn.Parameter(modules[name.removesuffix(".weight")].weight.detach().clone())
    for density in LADDER:
        mask, _, keep = cut(network, layers, "overall", density)
        fresh = {n: nn.Module() for n in layers}
        for name, holder in fresh.items():
            holder.weight = nn.Parameter(copies[name].weight.detach().clone())
        total = sum(h.weight.numel() for h in fresh.values())
        torch_prune.global_unstructured(
            [(h, "weight") for h in fresh.values()], torch_prune.L1Unstructured, amount=total - keep
        )
        assert all(torch.equal(mask[n], h.weight_mask.bool()) for n, h in fresh.items())


def test_uniform_is_torchs_l1_pruning_of_each_layer(network, layers):
    mask, counts, _ = cut(network, layers, "uniform", 0.3)
    for name, shape in layers.items():
        assert abs(counts[name] - 0.3 * math.prod(shape)) < 1
        holder = nn.Module()
        holder.weight = nn.Parameter(dict(network.named_parameters())[name].detach().clone())
        torch_prune.l1_unstructured(holder, "weight", amount=math.prod(shape) - counts[name])
        assert torch.equal(mask[name], holder.weight_mask.bool())


@pytest.mark.parametrize("density", LADDER)
def test_erk_is_the_published_allocation(layers, density):
    """Evci et al.'s code, written down independently: raise dense layers until no probability
    exceeds one."""
    shapes, dense = list(layers.values()), set()
    while True:
        raw = [sum(s) / math.prod(s) for s in shapes]
        target = density * sum(map(math.prod, shapes)) - sum(
            math.prod(s) for i, s in enumerate(shapes) if i in dense
        )
        divisor = sum(
            r * math.prod(s)
            for i, (r, s) in enumerate(zip(raw, shapes, strict=True))
            if i not in dense
        )
        epsilon = target / divisor
        worst = max((i for i in range(len(shapes)) if i not in dense), key=lambda i: raw[i])
        if raw[worst] * epsilon <= 1:
            break
        dense |= {i for i in range(len(shapes)) if raw[i] == raw[worst]}
    expected = [1.0 if i in dense else r * epsilon for i, r in enumerate(raw)]
    scores = {n: torch.rand(s) for n, s in layers.items()}
    keep = round(density * sum(s.numel() for s in scores.values()))
    counts = budgets.erk(scores, keep, slope=0.0, dials={})
    for count, share, shape in zip(counts.values(), expected, shapes, strict=True):
        assert abs(count - share * math.prod(shape)) < 1


def test_lamp_is_the_published_score(network, layers):
    """Lee et al.'s score by brute force on the sorted squares of each layer, then one global
    threshold."""
    weights = dict(network.named_parameters())
    lamp = {}
    for name in layers:
        w2 = weights[name].detach().double().flatten().square().numpy()
        order = np.argsort(w2)
        tails = np.array([w2[order[i:]].sum() for i in range(0, len(w2), max(1, len(w2) // 97))])
        lamp[name] = (order, w2, tails)
    scores = {n: budgets.lamp_scores(weights[n].detach().abs()).numpy() for n in layers}
    for name, (order, w2, tails) in lamp.items():
        step = max(1, len(w2) // 97)
        assert np.allclose(scores[name][order[::step]], w2[order[::step]] / tails, rtol=1e-6)
    keep = round(0.1 * sum(s.size for s in scores.values()))
    threshold = np.sort(np.concatenate(list(scores.values())))[-keep]
    counts = budgets.lamp(free_scores(network, layers), keep, slope=0.0, dials={})
    assert counts == {n: int((s >= threshold).sum()) for n, s in scores.items()}


def test_lamp_of_a_layer_already_cut_counts_only_what_is_left():
    values = torch.tensor([3.0, -torch.inf, 1.0, 2.0])
    assert torch.allclose(
        budgets.lamp_scores(values),
        torch.tensor([1.0, -torch.inf, 1 / 14, 4 / 13], dtype=torch.float64),
    )


def test_a_ramp_falls_with_depth_and_its_reverse_rises(network, layers):
    for slope in (1.5, -1.5):
        _, counts, _ = cut(network, layers, "ramp", 0.2, slope=slope)
        densities = [counts[n] / math.prod(s) for n, s in layers.items()]
        assert spearmanr(range(len(densities)), densities)[0] == pytest.approx(
            -math.copysign(1, slope), abs=0.01
        )
    _, flat, _ = cut(network, layers, "ramp", 0.2, slope=0.0)
    assert flat == cut(network, layers, "uniform", 0.2)[1]


def test_dials_move_blocks_and_only_their_differences_matter(layers):
    scores = {n: torch.rand(s) for n, s in layers.items()}
    keep = round(0.1 * sum(s.numel() for s in scores.values()))
    dials = dials_of(layers)
    counts = budgets.sampled(scores, keep, slope=0.0, dials=dials)
    assert counts == budgets.sampled(
        scores, keep, slope=0.0, dials={n: d + 0.3 for n, d in dials.items()}
    )
    density = {n: counts[n] / math.prod(s) for n, s in layers.items()}
    first, last = "down_blocks.0.resnets.0.conv1.weight", "up_blocks.0.resnets.0.conv2.weight"
    assert density[last] / density[first] == pytest.approx(math.exp(1.3 + 1.0), rel=0.01)


def test_random_knows_nothing_of_the_weights(network, layers):
    scores, weights = (
        free_scores(network, layers, criterion="random"),
        dict(network.named_parameters()),
    )
    for name, values in scores.items():
        rho = spearmanr(values.flatten(), weights[name].detach().abs().flatten())
        assert abs(rho.statistic) < 4 / math.sqrt(values.numel())
    assert torch.equal(free_scores(network, layers, criterion="random")[name], values)


def test_scores_that_are_not_finite_are_refused(layers):
    broken = networks.build(Model(), (1, 8, 8), 10, 0)
    with torch.no_grad():
        broken.mid_block.resnets[0].conv1.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match=r"mid_block.resnets.0.conv1.weight"):
        free_scores(broken, layers)


# rules of layers


def test_the_first_pattern_that_matches_decides():
    rules = budgets.assign(
        ["conv_in.weight", "mid.a.weight", "mid.b.weight"],
        (("mid.a", 0.5), ("mid.*", "free"), ("*", 1.0)),
    )
    assert rules == {"conv_in.weight": 1.0, "mid.a.weight": 0.5, "mid.b.weight": "free"}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ((("mid.*", "free"),), "no pattern covers 'conv_in'"),
        ((("conv_inn", 1.0), ("*", "free")), "'conv_inn' matches no layer"),
        ((("*", 1.0),), "leaves no layer free"),
    ],
)
def test_rules_that_leave_something_open_are_refused(rules, said):
    with pytest.raises(ConfigError, match=said):
        budgets.assign(["conv_in.weight", "mid.a.weight"], rules)


def test_a_fixed_layer_keeps_its_own_density_at_every_rung(network, layers):
    first = next(iter(layers))
    rules = {n: 0.3 if n == first else "free" for n in layers}
    for density in (0.5, 0.1):
        counts = budgets.allot(free_scores(network, layers), rules, density, Prune(), {})
        assert counts[first] == round(0.3 * math.prod(layers[first]))
        others = sum(math.prod(s) for n, s in layers.items() if n != first)
        assert sum(c for n, c in counts.items() if n != first) == round(density * others)


def test_dials_must_be_one_a_block(layers):
    blocks = {n: block_of(n) for n in layers}
    found = budgets.dial_of(blocks, Prune(budget="sampled", dials=(1.0, 2.0, 3.0, 4.0, 5.0)))
    assert found["mid_block.resnets.0.conv1.weight"] == 3.0
    with pytest.raises(ConfigError, match=r"needs 5, one each for down_blocks.0, .*up_blocks.1"):
        budgets.dial_of(blocks, Prune(budget="sampled", dials=(1.0,)))


# from where the rest begins again


def test_the_table_of_rewinds():
    assert {rule: (row.weights, row.start) for rule, row in rewinds.REWINDS.items()} == {
        "init": ("anchor", "0"),
        "late": ("anchor", "k"),
        "tuned": ("trained", "T"),
        "lr": ("trained", "k"),
        "random": ("fresh", "0"),
        "sign": ("sign", "0"),
        "given": ("given", "given"),
    }
    spans = {rule: rewinds.span(rule, 20, 400, given=7) for rule in rewinds.REWINDS}
    assert spans["late"] == spans["lr"] == (20, 400)
    assert spans["tuned"] == (400, 780)
    assert spans["given"] == (7, 400)
    assert {spans[rule] for rule in ("init", "random", "sign")} == {(0, 400)}
    moved = {
        rule for rule in rewinds.REWINDS if rewinds.span(rule, 40, 400, given=7) != spans[rule]
    }
    assert moved == {rule for rule, row in rewinds.REWINDS.items() if row.pointed}


def test_signs_keep_the_sign_and_one_magnitude_a_layer(layers):
    weights = {n: 3 + torch.rand(s) for n, s in layers.items()} | {
        "norm.weight": torch.randn(8)
    }  # an exact 0 has no sign
    weights |= {
        n: w.where(torch.rand(w.shape) < 0.5, -w) for n, w in weights.items() if n in layers
    }
    found = rewinds.signs(weights, Mask.full(layers))
    for name in layers:
        assert torch.equal(found[name].sign(), weights[name].sign())
        assert torch.allclose(
            found[name].abs(), weights[name].std(correction=0).expand_as(found[name])
        )
    assert torch.equal(found["norm.weight"], weights["norm.weight"])


# controls


def test_shuffling_moves_the_mask_but_no_layers_density(network, layers):
    mask = cut(network, layers, "overall", 0.2)[0]
    found = controls.shuffled(mask, 5)
    assert found.densities == mask.densities
    assert abs(found.overlap(mask) - expected_overlap(mask)) < 0.02
    assert controls.shuffled(mask, 5) == found
    assert controls.shuffled(mask, 6) != found


def expected_overlap(mask: Mask) -> float:
    both = sum(m.numel() * (int(m.sum()) / m.numel()) ** 2 for m in mask.values())
    return both / (2 * mask.kept - both)


def test_a_random_mask_keeps_the_density_and_no_layers_own(network, layers):
    mask = cut(network, layers, "overall", 0.2)[0]
    found = controls.anywhere(mask, 5)
    assert found.kept == mask.kept
    assert max(mask.densities.values()) - min(mask.densities.values()) > 0.2
    for name, layer in found.items():
        error = math.sqrt(0.2 * 0.8 / layer.numel())
        assert abs(found.densities[name] - mask.density) < 5 * error
    assert controls.anywhere(mask, 6) != found


@pytest.mark.parametrize("density", [0.1, 0.5, 0.8])
def test_the_complement_is_of_what_is_cut_and_as_large_where_that_is_enough(
    network, layers, density
):
    mask = cut(network, layers, "overall", density)[0]
    found = controls.complement(mask, 5)
    for name, layer in mask.items():
        assert not (found[name] & layer).any()
        assert int(found[name].sum()) == min(int(layer.sum()), int((~layer).sum()))
    assert density > 0.4 or controls.complement(mask, 6) != found


def test_a_layer_of_which_nothing_is_cut_has_no_complement_and_stays():
    mask = Mask({"a": torch.ones(4, dtype=torch.bool), "b": torch.tensor([True, False, False])})
    found = controls.complement(mask, 0)
    assert torch.equal(found["a"], mask["a"])
    assert not (found["b"] & mask["b"]).any()


def test_perturbed_weights_move_by_sigma_deviations_of_their_layer():
    weights = {
        "w": 3 * torch.randn(400, 100, generator=torch.Generator().manual_seed(0)),
        "bias": torch.ones(5),
    }
    mask = Mask({"w": torch.ones(400, 100, dtype=torch.bool)})
    found = controls.moved(weights, mask, 0.5, seed=1)
    moves = (found["w"] - weights["w"]) / weights["w"].std(correction=0)
    assert float(moves.std()) == pytest.approx(0.5, rel=0.02)
    assert abs(float((moves * weights["w"]).mean())) < 0.02
    assert found["bias"] is weights["bias"]
    assert torch.equal(controls.moved(weights, mask, 0.5, seed=1)["w"], found["w"])
    assert not torch.equal(controls.moved(weights, mask, 0.5, seed=2)["w"], found["w"])


def test_rows_of_the_table_name_what_there_is():
    for row in controls.CONTROLS.values():
        assert row.rule in ("", *rewinds.REWINDS)
        assert row.chained == (row.mask not in ("whole", "at_once", "narrow", "longer"))
    labels = [row.label for row in controls.CONTROLS.values()]
    assert all(labels)
    assert len(set(labels)) == len(labels)
    assert {name for name, row in controls.CONTROLS.items() if not row.chained} == {
        "dense",
        "small_dense",
        "equal_compute",
        "one_shot",
    }


# N of M


@pytest.mark.parametrize(
    ("group", "ladder"), [(4, (0.75, 0.5, 0.25)), (2, (0.5,)), (8, (0.5, 0.125))]
)
def test_n_of_m_keeps_the_largest_n_of_every_m_inputs(network, layers, group, ladder):
    """By loops over outputs, places of the kernel and groups of inputs."""
    wide = {n: s for n, s in layers.items() if s[1] % group == 0}
    within = Mask.full(wide)
    for density in ladder:
        scores = free_scores(network, wide, within)
        counts = budgets.uniform(
            scores, round(density * sum(map(math.prod, wide.values()))), slope=0.0, dials={}
        )
        mask = units.n_of_m(scores, counts, group)
        assert mask.kept == sum(counts.values())
        assert mask.within(within)
        name = "mid_block.resnets.0.conv1.weight"
        for out, row in ((0, 0), (3, 2), (-1, 1)):
            for first in range(0, wide[name][1], group):
                some = scores[name][out, first : first + group, row, 0].tolist()
                best = sorted(range(group), key=lambda i: (-some[i], i))[: round(density * group)]
                assert mask[name][
                    out, first : first + group, row, 0
                ].nonzero().flatten().tolist() == sorted(best)
        within = mask


def test_two_of_four_is_what_torch_takes_for_semi_structured():
    weight = torch.randn(64, 64, generator=generator("semi"))
    mask = units.n_of_m({"w": weight.abs()}, {"w": 2048}, 4)["w"]
    assert (mask.reshape(-1, 4).sum(1) == 2).all()


def test_layers_that_no_group_fits_are_named(network, layers):
    scores = {"conv_in.weight": torch.rand(8, 1, 3, 3)}
    with pytest.raises(
        ConfigError,
        match=r"prune.group = 4: conv_in.weight has 1 inputs; prune.layers can keep it whole",
    ):
        units.n_of_m(scores, {"conv_in.weight": 36}, 4)


# no layer is cut away


@pytest.mark.parametrize("budget", budgets.BUDGETS)
def test_no_layer_comes_below_the_least_and_the_sum_stays_exact(network, layers, budget):
    """Scores so unlike between layers that a global ranking leaves several with nothing."""
    scores = {
        n: torch.rand(s, generator=generator("least", n)) * 10.0 ** -(i % 5)
        for i, (n, s) in enumerate(layers.items())
    }
    prune = Prune(budget=budget, least=0.02, dials=(1.0,) if budget == "sampled" else ())
    rules, within, dials = dict.fromkeys(layers, "free"), Mask.full(layers), dials_of(layers)
    for density in (0.3, 0.05, 0.021):
        seen = {n: s.masked_fill(~within[n], -torch.inf) for n, s in scores.items()}
        counts = budgets.allot(seen, rules, density, prune, dials)
        assert sum(counts.values()) == round(density * sum(map(math.prod, layers.values())))
        assert all(counts[n] >= math.ceil(0.02 * math.prod(s)) for n, s in layers.items())
        within = units.weight(seen, counts, 4)
    free = budgets.allot(scores, rules, 0.05, Prune(budget=budget, dials=prune.dials), dials)
    if budget == "overall":
        assert min(free.values()) == 0


def test_what_is_above_the_least_gives_in_proportion():
    assert budgets.raised({"a": 0, "b": 30, "c": 70}, {"a": 20, "b": 10, "c": 10}) == {
        "a": 20,
        "b": 25,
        "c": 55,
    }
    assert budgets.raised({"a": 5, "b": 30}, {"a": 5, "b": 10}) == {"a": 5, "b": 30}


# densities from evidence


def test_density_goes_as_the_mean_evidence_of_the_group():
    found, groups = {"a": 4.0, "b": 2.0, "c": 0.0}, {"a": "a", "b": "b", "c": "c"}
    dials = budgets.evidence(found, groups, 2.0)
    assert dials["a"] - dials["b"] == pytest.approx(2 * math.log(2))
    assert dials["a"] - dials["c"] == pytest.approx(
        2 * math.log(10)
    )  # what does not matter counts as a tenth
    reverse = budgets.evidence(found, groups, -2.0)
    assert {n: -d for n, d in reverse.items()} == pytest.approx(dials)
    shared = budgets.evidence(found, {"a": "x", "b": "x", "c": "c"}, 1.0)
    assert shared["a"] == shared["b"] == pytest.approx(math.log(3))


def test_groups_of_layers():
    names = [
        "down_blocks.1.resnets.0.conv1.weight",
        "mid_block.resnets.0.conv1.weight",
        "up_blocks.0.resnets.1.conv2.weight",
    ]
    assert [group_of(n, "layer", 2) for n in names] == names
    assert [group_of(n, "block", 2) for n in names] == [
        "down_blocks.1",
        "mid_block",
        "up_blocks.0",
    ]
    assert {group_of(n, "level", 2) for n in names} == {"level 1"}
    assert group_of("up_blocks.1.resnets.0.conv1.weight", "level", 2) == "level 0"
    assert group_of("hidden.0.weight", "level", 2) == "hidden.0"
