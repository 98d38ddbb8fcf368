"""Each criterion against its formula, computed another way; what it must not depend on, and what it
must tell apart."""

import math

import pytest
import torch
import torch_pruning as tp
from scipy.stats import spearmanr
from torch import nn
from torch.func import functional_call, grad, hessian

from lthray.config.parts import Model
from lthray.core.random import generator
from lthray.core.ticket import Mask, Probe, top
from lthray.core.ticket_file import read_ticket
from lthray.prune import criteria, responses
from lthray.task import networks
from lthray.trial.cutting import Cutting
from lthray.trial.recipe import trajectory

from .conftest import lenet, making_of, probe_of, rounds, tiny

SMALL = Model(name="lenet300", hidden=(5, 4))
LAYERS = ("hidden.0.weight", "hidden.1.weight")


@pytest.fixture
def net() -> nn.Module:
    found = networks.build(SMALL, (1, 8, 8), 10, 0).double()
    for i, p in enumerate(found.parameters()):
        nn.init.normal_(p, std=0.3, generator=generator("criteria", i))
    return found


def classifier(net: nn.Module, terms: int = 1, images: int = 12) -> tuple[Probe, list]:
    """A probe of batches in double precision, and the batches."""
    g = torch.Generator().manual_seed(1)
    x, y = (
        torch.rand(images, 1, 8, 8, generator=g).double() * 2 - 1,
        torch.randint(0, 10, (images,), generator=g),
    )
    parts = list(zip(x.chunk(terms), y.chunk(terms), strict=True))
    closures = tuple(lambda a=a, b=b: nn.functional.cross_entropy(net(a), b) for a, b in parts)
    return Probe(
        closures, tuple(nn.functional.one_hot(b, 10).double() for _, b in parts), (x[:1],)
    ), parts


def loss_of(net: nn.Module, parts: list, changed: dict[str, torch.Tensor]) -> torch.Tensor:
    weights = {**dict(net.named_parameters()), **changed}
    return sum(
        nn.functional.cross_entropy(functional_call(net, weights, (a,)), b) for a, b in parts
    )


def test_snip_is_the_gradient_of_the_loss_by_the_mask(net):
    """Lee et al.'s definition: c multiplies the weight, s = |dL/dc| at c = 1."""
    probe, parts = classifier(net, terms=3)
    weights = {n: p.detach() for n, p in net.named_parameters()}
    ones = {n: torch.ones_like(weights[n]) for n in LAYERS}
    by_mask = grad(lambda c: loss_of(net, parts, {n: c[n] * weights[n] for n in c}))(ones)
    found = criteria.snip(net, LAYERS, probe)
    for name in LAYERS:
        assert torch.allclose(found[name], by_mask[name].abs(), rtol=1e-9)


def test_grasp_is_the_weight_times_the_whole_hessian_times_the_gradient(net):
    probe, parts = classifier(net, terms=2)
    weights = {n: net.get_parameter(n).detach() for n in LAYERS}
    sizes = [w.numel() for w in weights.values()]

    def loss(flat):
        return loss_of(
            net,
            parts,
            {
                n: p.reshape(weights[n].shape)
                for n, p in zip(LAYERS, flat.split(sizes), strict=True)
            },
        )

    flat = torch.cat([w.flatten() for w in weights.values()])
    expected = flat * (hessian(loss)(flat) @ grad(loss)(flat))
    found = criteria.grasp(net, LAYERS, probe)
    assert torch.allclose(torch.cat([found[n].flatten() for n in LAYERS]), expected, rtol=1e-7)
    assert (expected < 0).any()
    assert (expected > 0).any()


def test_grasp_sees_the_published_temperature(store):
    """Wang et al. 2020, section 4.1 of their code: the loss is of logits / 200."""
    config = lenet(prune__criterion="grasp", prune__images=16, prune__terms=2)
    making, chosen = making_of(config, store)
    cutting = Cutting(making.make(chosen.rungs[0].chain), config.prune, 0.5, config.seed, 1)
    mask, seen = cutting.whole, cutting.seen()
    found = cutting.scores(cutting.trained.final, mask, seen)
    network = cutting.network
    terms = []
    for (x, y), _ in seen:
        terms.append(lambda x=x, y=y: nn.functional.cross_entropy(network(x) / 200, y))
    by_hand = criteria.grasp(network, list(mask), Probe(tuple(terms)))
    plain = criteria.grasp(network, list(mask), cutting.probe(network, seen))
    for name in mask:
        assert torch.allclose(found[name], by_hand[name], rtol=1e-4, atol=1e-12)
        assert spearmanr(found[name].flatten(), plain[name].flatten())[0] < 0.999
    assert {c for c, row in criteria.CRITERIA.items() if row.temperature != 1} == {"grasp"}


def test_lamp_shares_out_by_the_sizes_of_weights_whatever_ranks_them(store):
    """Squares of signed or gradient scores are no bound of what a cut changes (Lee et al. 2021)."""
    common = {"prune__budget": "lamp", "prune__ladder": (0.3,), "prune__images": 8}
    densities = {}
    for criterion in ("magnitude", "grasp", "taylor", "magnitude_increase", "random"):
        config = tiny(**common, prune__terms=2, prune__criterion=criterion)
        densities[criterion] = rounds(config, store)[1].densities
    sizes = densities.pop("magnitude")
    assert len(set(sizes.values())) > 5
    for criterion, found in densities.items():
        assert found == sizes, criterion


def test_synflow_of_a_chain_is_the_product_along_its_paths(net):
    """R = 1' |W_3| |W_2| |W_1| 1 (biases too): by matrix products, as Tanaka et al. write it."""
    w = {n: p.detach().abs() for n, p in net.named_parameters()}
    inside = [torch.ones(64, dtype=torch.float64)]  # an input of ones is a grey level of 1
    for layer in ("hidden.0", "hidden.1"):
        inside.append(w[f"{layer}.weight"] @ inside[-1] + w[f"{layer}.bias"])
    behind = [torch.ones(10, dtype=torch.float64) @ w["output.weight"]]
    behind.insert(0, behind[0] @ w["hidden.1.weight"])
    found = criteria.synflow(net, LAYERS, classifier(net)[0])
    for i, name in enumerate(LAYERS):
        assert torch.allclose(found[name], w[name] * torch.outer(behind[i], inside[i]), rtol=1e-9)


def test_synflow_gives_each_factor_of_attention_the_same_share():
    """Synaptic flow is conserved: what goes through the queries goes through the keys and the
    values (bias aside)."""
    network = networks.build(Model(channels=(8,), groups=4, attention=(0,)), (1, 8, 8), 10, 0)
    names = [f"mid_block.attentions.0.to_{part}.weight" for part in "qkv"]
    with torch.no_grad():
        for name in names:
            network.get_parameter(name.replace("weight", "bias")).zero_()
    q, k, v = (float(s.sum()) for s in criteria.synflow(network, names, probe_of(network)).values())
    assert q == pytest.approx(v, rel=1e-9)
    assert k == pytest.approx(v, rel=1e-9)


@pytest.mark.parametrize("channels", [(8,), (8, 16)])
@pytest.mark.parametrize("attention", [(), (0,)])
def test_synflow_sees_no_data(channels, attention):
    network = networks.build(
        Model(channels=channels, groups=4, attention=attention), (1, 8, 8), 10, 0
    )
    names = list(networks.layers(network, probe_of(network).example))
    found = [criteria.synflow(network, names, probe_of(network, images=n)) for n in (8, 16)]
    assert all(torch.equal(found[0][n], found[1][n]) for n in names)
    assert all((found[0][n] >= 0).all() and (found[0][n] > 0).any() for n in names)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    criteria.synflow(network, names, probe_of(network))
    assert all(torch.equal(p, before[n]) for n, p in network.named_parameters())


def test_taylor_of_one_term_is_torch_prunings(net):
    """There of whole channels, with the gradients that a backward pass left: their sum over a
    channel is ours."""
    probe, parts = classifier(net)
    loss_of(net, parts, {}).backward()
    graph = tp.DependencyGraph().build_dependency(net, example_inputs=parts[0][0][:1])
    group = graph.get_pruning_group(net.hidden[1], tp.prune_linear_out_channels, idxs=[0, 1, 2, 3])
    importance = tp.importance.TaylorImportance(
        group_reduction="first", normalizer=None, multivariable=False, bias=False
    )
    found = criteria.taylor(net, LAYERS, probe)
    assert torch.allclose(importance(group), found["hidden.1.weight"].sum(1).float(), rtol=1e-5)


def test_taylor_sums_what_snip_lets_cancel(net):
    probe, parts = classifier(net, terms=3)
    by_term = []
    for part in parts:
        gradients = torch.autograd.grad(
            loss_of(net, [part], {}), [net.get_parameter(n) for n in LAYERS]
        )
        by_term.append(
            [net.get_parameter(n).detach() * g for n, g in zip(LAYERS, gradients, strict=True)]
        )
    found, snip = criteria.taylor(net, LAYERS, probe), criteria.snip(net, LAYERS, probe)
    for i, name in enumerate(LAYERS):
        assert torch.allclose(found[name], sum(term[i].abs() for term in by_term), rtol=1e-9)
        assert torch.allclose(snip[name], sum(term[i] for term in by_term).abs(), rtol=1e-9)
        assert (found[name] >= snip[name] - 1e-12).all()


def test_diff_pruning_stops_where_the_loss_is_small_beside_the_largest(net):
    """Terms whose losses are 1, 2, .5, .05, 3 times that of a batch: a threshold of .1 stops before
    the fourth."""
    probe, _ = classifier(net)
    scaled = [lambda c=c: c * probe.terms[0]() for c in (1.0, 2.0, 0.5, 0.05, 3.0)]
    found = {
        t: criteria.diff_pruning(net, LAYERS, Probe(tuple(scaled), threshold=t))
        for t in (0.0, 0.1, 0.3)
    }
    one = criteria.taylor(net, LAYERS, probe)
    for name in LAYERS:
        for threshold, total in ((0.0, 6.55), (0.1, 3.5), (0.3, 3.0)):
            assert torch.allclose(found[threshold][name], total * one[name], rtol=1e-9)


def test_movement_and_increase_are_measured_from_where_the_round_began(net):
    before = {n: torch.full_like(p, -0.2) for n, p in net.named_parameters()}
    for name in LAYERS:
        w = net.get_parameter(name).detach()
        assert torch.equal(
            criteria.movement(net, LAYERS, Probe(before=before))[name], (w + 0.2).abs()
        )
        assert torch.equal(
            criteria.magnitude_increase(net, LAYERS, Probe(before=before))[name], w.abs() - 0.2
        )


def test_sensitivity_shares_the_rise_of_the_loss_out_over_the_layer(net):
    probe, parts = classifier(net, terms=2)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):  # so that layers matter
        optimizer.zero_grad()
        loss_of(net, parts, {}).backward()
        optimizer.step()
    found, base = criteria.sensitivity(net, LAYERS, probe), float(loss_of(net, parts, {}).detach())
    rises = {}
    for name in LAYERS:
        w = net.get_parameter(name).detach()
        kept = w.abs() >= w.abs().flatten().sort(descending=True).values[round(0.1 * w.numel()) - 1]
        rises[name] = float(loss_of(net, parts, {name: w * kept}).detach()) / base - 1
    assert min(rises.values()) > 0.1
    for name in LAYERS:
        assert float(found[name].sum()) == pytest.approx(rises[name], rel=1e-6)
        w2 = net.get_parameter(name).detach().square()
        assert torch.allclose(found[name] / found[name].sum(), w2 / w2.sum(), rtol=1e-6)


# HSIC


def noticing(seed: int = 0, images: int = 96) -> tuple[nn.Module, Probe]:
    """Return a convolution of four channels: the first answers the target, the second half of it,
    two see nothing of it."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(images, 4, 8, 8, generator=g)
    target = x[:, :1]
    conv = nn.Conv2d(4, 4, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.diag(torch.tensor([1.0, 0.5, 1.0, 1.0])).reshape(4, 4, 1, 1))
        conv.weight[1, 1] = 0.5
        conv.weight[1, 0] = 0.5
    network = nn.Sequential(conv)
    terms = tuple(lambda: (network(x)[:, :1] - target).square().mean() for _ in range(2))
    return network, Probe(terms, (target, target))


def test_hsic_tells_channels_that_answer_from_those_that_do_not():
    network, probe = noticing()
    found = responses.channel_hsic(network, ["0.weight"], probe)["0.weight"]
    assert found[0] > 0.5
    assert found[0] > found[1] > 5 * found[2:].max()
    assert (found[2:] <= 0.05).all()
    assert (found >= 1 / 96).all()
    scores = criteria.hsic(network, ["0.weight"], probe)["0.weight"]
    assert torch.allclose(scores.flatten(1).sum(1), found)


def test_hsic_does_not_reward_scale():
    network, probe = noticing()
    plain = responses.channel_hsic(network, ["0.weight"], probe)["0.weight"]
    with torch.no_grad():
        network[0].weight[2] *= 100
    assert torch.allclose(
        responses.channel_hsic(network, ["0.weight"], probe)["0.weight"], plain, atol=1e-6
    )


def test_hooks_do_not_outlive_a_score():
    network, probe = noticing()
    criteria.hsic(network, ["0.weight"], probe)
    assert not network[0]._forward_hooks


def test_the_hsic_of_a_layer_is_the_mean_over_its_channels():
    network, probe = noticing()
    channels = responses.channel_hsic(network, ["0.weight"], probe)["0.weight"]
    layers = responses.layer_hsic(network, ["0.weight"], probe)
    assert layers == {"0.weight": pytest.approx(float(channels.mean()))}


# what a row says of its criterion


@pytest.mark.parametrize("criterion", criteria.CRITERIA)
def test_a_row_says_what_a_score_depends_on(unet, criterion):
    """Other images, another seed and other weights of before change the scores of those rows that
    say so, and no others."""
    network, names = unet
    row, within = (
        criteria.CRITERIA[criterion],
        Mask.full({n: network.get_parameter(n).shape for n in names}),
    )
    before = {name: 2 * p.detach() for name, p in network.named_parameters()}
    plain = criteria.score(criterion, network, within, probe_of(network))
    for says, probe in (
        (row.sees, probe_of(network, images=12)),
        (row.draws, probe_of(network, seed=1)),
        (row.traces, probe_of(network, before=before)),
    ):
        other = criteria.score(criterion, network, within, probe)
        assert any(not torch.equal(plain[n], other[n]) for n in names) == says
    assert row.seeded == (row.sees or row.draws)


# on a whole network


@pytest.fixture(scope="module")
def unet() -> tuple[nn.Module, list[str]]:
    network = networks.build(Model(attention=(1,)), (1, 8, 8), 10, 0)
    for i, p in enumerate(network.parameters()):
        nn.init.normal_(p, std=0.05, generator=generator("unet", i))
    return network, list(networks.layers(network, probe_of(network).example))


@pytest.mark.parametrize("criterion", criteria.CRITERIA)
def test_scores_are_finite_repeatable_and_leave_the_network_as_it_was(unet, criterion):
    network, names = unet
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    within = Mask.full({n: network.get_parameter(n).shape for n in names})
    first, again = (criteria.score(criterion, network, within, probe_of(network)) for _ in range(2))
    for name in names:
        assert first[name].shape == before[name].shape
        assert torch.equal(first[name], again[name])
    assert all(torch.equal(p, before[n]) and p.grad is None for n, p in network.named_parameters())


@pytest.mark.parametrize("criterion", [c for c in criteria.CRITERIA if c != "random"])
def test_no_criterion_but_chance_is_chance(unet, criterion):
    network, names = unet
    scores = criteria.CRITERIA[criterion].score(network, names, probe_of(network))
    name = "mid_block.resnets.0.conv1.weight"
    rho = spearmanr(
        scores[name].detach().flatten(), network.get_parameter(name).detach().abs().flatten()
    ).statistic
    chance = 4 / math.sqrt(scores[name].numel())
    if criterion == "grasp":  # signed: what it keeps is not what is large
        assert abs(rho) < 0.5
    else:
        assert rho > chance


# in a trajectory


@pytest.mark.parametrize("criterion", criteria.CRITERIA)
def test_every_criterion_goes_down_a_whole_ladder(store, criterion):
    config = tiny(
        prune__criterion=criterion, prune__budget="uniform", prune__images=8, prune__terms=2
    )
    found = rounds(config, store)
    assert [r.metrics["density/prunable"] for r in found] == pytest.approx(
        [1.0, 0.5, 0.3], abs=1e-3
    )


def test_steps_of_scoring_are_equal_factors_and_end_at_the_rung(store, monkeypatch):
    densities, allot = [], criteria.score

    def seen(criterion, network, within, probe):
        densities.append(within.kept / within.size)
        return allot(criterion, network, within, probe)

    monkeypatch.setattr(criteria, "score", seen)
    config = lenet(
        prune__criterion="synflow",
        prune__scoring_steps=4,
        prune__ladder=(0.0625,),
        prune__budget="overall",
    )
    *_, last = rounds(config, store)
    assert densities == pytest.approx([1.0, 0.5, 0.25, 0.125], abs=0.02)
    assert last.metrics["density/prunable"] == pytest.approx(0.0625, abs=1e-3)


def test_what_is_scored_may_be_what_will_be_trained(store):
    """Pruning at initialisation: the mask is that of the initial weights, whatever was trained
    before."""
    words = {
        "rewind__rule": "init",
        "prune__ladder": (0.3,),
        "prune__images": 40,
        "prune__terms": 2,
    }
    config = lenet(
        prune__criterion="magnitude", prune__scored="rewound", prune__budget="uniform", **words
    )
    network = networks.build(config.model, (1, 8, 8), 10, config.seed)
    (_, last) = rounds(config, store)
    name = "hidden.0.weight"
    w = network.get_parameter(name).detach().abs()
    mask = read_ticket(last.files["ticket"])[0].mask
    threshold = w.flatten().sort(descending=True).values[int(mask[name].sum()) - 1]
    assert torch.equal(mask[name], w >= threshold)


def test_the_moving_average_may_be_scored(store):
    config = tiny(prune__scored="average", prune__ladder=(0.3,), prune__budget="uniform")
    making, chosen = making_of(config, store)
    end = making.make(chosen.rungs[0].chain).final
    mask = making.make(chosen.rungs[1].mask).mask
    others = 0
    for name, bits in mask.items():
        kept = int(bits.sum())
        assert torch.equal(bits, top(end.average[name].abs().flatten(), kept).reshape(bits.shape))
        others += int(
            (bits != top(end.weights[name].abs().flatten(), kept).reshape(bits.shape)).sum()
        )
    assert others > 10


def test_masks_of_different_scores_are_different_steps():
    def key(**words) -> str:
        return trajectory(tiny(**words)).rungs[1].mask.key

    keys = [key(prune__criterion=criterion) for criterion in criteria.CRITERIA]
    changes = {"seed": 1, "prune__images": 9, "prune__terms": 3, "prune__scored": "rewound"}
    for word, value in changes.items():
        keys.append(key(prune__criterion="snip", **{word: value}))
    keys.append(key(prune__criterion="snip", prune__scored="rewound", rewind__rule="init"))
    assert len(set(keys)) == len(keys)


# budgets that follow from what is measured


@pytest.mark.parametrize(
    "words",
    [
        {"budget": "sensitivity"},
        {"budget": "hsic", "granularity": "block"},
        {"budget": "cka"},
        {"budget": "cka", "between": "dense", "gamma": -1.0},
    ],
)
def test_budgets_from_evidence_go_down_a_ladder_and_keep_its_counts(store, words):
    config = tiny(**{f"prune__{w}": v for w, v in words.items()}, prune__images=8, prune__terms=2)
    found = rounds(config, store)
    assert [r.metrics["density/prunable"] for r in found] == pytest.approx(
        [1.0, 0.5, 0.3], abs=1e-3
    )
    assert len(set(found[1].densities.values())) > 1


def test_the_reverse_of_cka_gives_less_where_two_seeds_are_alike(store):
    words = {
        "prune__budget": "cka",
        "prune__between": "dense",
        "prune__images": 32,
        "prune__terms": 2,
        "prune__ladder": (0.3,),
    }
    plain, reverse = (
        rounds(tiny(prune__gamma=g, **words), store)[1].densities for g in (1.0, -1.0)
    )
    names = [n for n, d in plain.items() if d < 0.99 and reverse[n] < 0.99]
    assert spearmanr([plain[n] for n in names], [reverse[n] for n in names]).statistic < -0.9
