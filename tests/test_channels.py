"""Channel tickets: what torch-pruning would cut is cut, and what is trained, measured and shipped
is the smaller network."""

import copy
import math

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lthray.config.fields import ConfigError
from lthray.config.parts import Model
from lthray.config.trial import TrialConfig
from lthray.core.random import generator
from lthray.core.store import Store
from lthray.core.ticket import Mask, TicketError, TrialFailed
from lthray.core.ticket_file import read_ticket
from lthray.measure import loss
from lthray.prune import budgets, channels, criteria
from lthray.prune.controls import CONTROLS
from lthray.prune.coupling import Coupling, full, small
from lthray.task import data, networks
from lthray.trial.cutting import Cutting
from lthray.trial.preflight import check
from lthray.trial.recipe import trajectory
from lthray.trial.workshop import workshop_of

from .conftest import lenet, making_of, resumed, rounds, same, tiny
from .test_trajectory import begun, masks

X = torch.randn(3, 1, 8, 8, generator=generator("channels"))
T = torch.tensor([3, 500, 999])
# name -> network, its inputs, layers that are kept whole
NETWORKS = {
    "unet": (Model(), (X, T), ["conv_in.weight", "time_embedding.linear_2.weight"]),
    "unet, all of it": (Model(groups=4), (X, T), []),
    "unet with attention and classes": (
        Model(channels=(8, 16), groups=4, attention=(1,), conditional=True),
        (X, T, T % 10),
        ["conv_in.weight"],
    ),
    "resnet": (Model(name="resnet", channels=(8, 16), layers=2, groups=4), (X,), ["stem.weight"]),
    "autoencoder": (Model(name="autoencoder", channels=(8, 16), groups=4), (X,), []),
    "lenet5": (Model(name="lenet5", channels=(4, 8, 6)), (X,), ["convs.0.weight"]),
    "lenet300": (Model(name="lenet300", hidden=(20, 12)), (X,), []),
}


def made(name: str) -> tuple[nn.Module, tuple, Coupling]:
    """Return a network whose norms and biases are not at their start, its inputs, and its groups of
    channels."""
    model, inputs, whole = NETWORKS[name]
    network = networks.build(model, (1, 8, 8), 10, 0).eval()
    with torch.no_grad():
        for key, p in network.named_parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator("moved", key)))
    return network, inputs, channels.find(network, inputs, networks.layers(network, inputs), whole)


def drawn(coupling: Coupling, seed: int = 0, share: float = 0.5) -> Mask:
    """Channels at random, a whole number of steps of each group."""
    found = {}
    for group in coupling.groups:
        kept = group.step * max(1, round(share * group.channels / group.step))
        order = torch.randperm(group.channels, generator=generator("drawn", seed, group.name))
        found[group.name] = torch.zeros(group.channels, dtype=torch.bool).index_fill(
            0, order[:kept], True
        )
    return Mask(found)


def answer(network: nn.Module, inputs: tuple) -> torch.Tensor:
    with torch.no_grad():
        found = network(*inputs)
    return found if isinstance(found, torch.Tensor) else found.sample


def pruned(network: nn.Module, inputs: tuple, kept: Mask, norms: dict[str, int]) -> nn.Module:
    """Return what torch-pruning makes of the network, cut group after group; at last its norms have
    as many groups as `norms` says."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.num_groups = 1  # whatever number of channels is left on the way
    for name, bits in kept.items():
        graph = tp.DependencyGraph().build_dependency(network, example_inputs=inputs, verbose=False)
        layer = network.get_submodule(name.removesuffix(".weight"))
        cut = (~bits).nonzero().flatten().tolist()
        if cut:
            graph.get_pruning_group(
                layer, graph.get_pruner_of_module(layer).prune_out_channels, cut
            ).prune()
        for module in network.modules():
            if type(module).__name__ in ("Upsample2D", "Downsample2D"):
                module.channels, module.out_channels = (
                    module.conv.in_channels,
                    module.conv.out_channels,
                )
    for name, groups in norms.items():
        network.get_submodule(name).num_groups = groups
    return network.eval()


def norms_of(network: nn.Module) -> dict[str, nn.GroupNorm]:
    return {name: m for name, m in network.named_modules() if isinstance(m, nn.GroupNorm)}


# the smaller network


@pytest.mark.parametrize("share", [0.7, 0.3])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_left_is_what_torch_pruning_leaves(name, share):
    network, inputs, coupling = made(name)
    kept = drawn(coupling, share=share)
    ours = channels.shrink(network, coupling.left(kept))
    theirs = pruned(network, inputs, kept, {n: m.num_groups for n, m in norms_of(ours).items()})
    assert answer(ours, inputs).isfinite().all()
    for (n, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(a, b), n
    assert torch.equal(answer(ours, inputs), answer(theirs, inputs))
    assert str(ours) == str(theirs)  # every size that a layer notes


@pytest.mark.parametrize("name", NETWORKS)
def test_inputs_outputs_heads_latents_and_layers_that_are_kept_whole_are_never_cut(name):
    network, inputs, coupling = made(name)
    layers = networks.layers(network, inputs)
    left = channels.shrink(network, coupling.left(drawn(coupling, share=0.0)))
    whole = [
        *NETWORKS[name][2],
        list(layers)[-1],
        *(n for n in layers if n.split(".")[-2] in channels.STAY),
    ]
    for layer in layers:
        shape = left.get_parameter(layer).shape
        assert (shape[0] == layers[layer][0]) == (
            layer in whole or coupled_to_a(whole, layer, network, inputs)
        ), layer
    assert left.get_parameter(next(iter(layers))).shape[1] == layers[next(iter(layers))][1]
    assert answer(left, inputs).shape == answer(network, inputs).shape


def coupled_to_a(whole: list[str], layer: str, network: nn.Module, inputs: tuple) -> bool:
    """Return whether torch-pruning cuts the outputs of a layer together with those of one that is
    kept whole."""
    graph = tp.DependencyGraph().build_dependency(
        copy.deepcopy(network), example_inputs=inputs, verbose=False
    )
    names = {m: n for n, m in graph.model.named_modules()}
    module = graph.model.get_submodule(layer.removesuffix(".weight"))
    group = graph.get_pruning_group(
        module, graph.get_pruner_of_module(module).prune_out_channels, [0]
    )
    return any(
        graph.is_out_channel_pruning_fn(d.handler)
        and f"{names.get(d.target.module)}.weight" in whole
        for d, _ in group
    )


@pytest.mark.parametrize(
    ("groups", "before", "left", "expected"),
    [
        (8, 16, 16, 8),
        (8, 16, 8, 4),  # whole groups: the others stay as they were
        (8, 32, 12, 3),
        (8, 16, 2, 1),
        (8, 16, 14, 7),
        (8, 16, 13, 1),
        (8, 48, 20, 2),  # of 10: of 5 would be smaller than the 6 of before
        (8, 48, 6, 1),
        (8, 48, 4, 1),  # fewer than a group had
        (1, 16, 5, 1),
    ],
)
def test_groups_of_a_norm(groups, before, left, expected):
    assert channels.groups_left(groups, before, left) == expected


def test_a_mask_is_not_its_network_under_group_norm_but_where_whole_groups_go():
    """Masked is not shrunk: channels of zeros still enter their group's mean and variance."""
    network, inputs, coupling = made("unet")
    every = {group.name: torch.ones(group.channels, dtype=torch.bool) for group in coupling.groups}
    inside = [name for name in every if name.endswith("resnets.0.conv1.weight")]
    for exact in (True, False):
        half = {
            n: i < len(i) // 2 if exact else i % 2 == 0
            for n in inside
            for i in [torch.arange(len(every[n]))]
        }
        cover = coupling.left(Mask(every | half))
        masked = copy.deepcopy(network)
        cover.apply_(dict(masked.named_parameters()))
        shrunk = channels.shrink(network, cover)
        for name, norm in norms_of(shrunk).items():
            assert (
                norm.num_channels // norm.num_groups == (norms_of(network)[name].num_channels) // 8
            )
        apart = (answer(masked, inputs) - answer(shrunk, inputs)).abs().max() / answer(
            shrunk, inputs
        ).std()
        assert apart < 1e-5 if exact else apart > 0.05


@pytest.mark.parametrize("name", ["lenet5", "lenet300"])
def test_without_norms_a_mask_is_its_network(name):
    network, inputs, coupling = made(name)
    cover = coupling.left(drawn(coupling))
    left = channels.shrink(network, cover)
    cover.apply_(dict(network.named_parameters()))
    assert torch.allclose(answer(network, inputs), answer(left, inputs), atol=1e-5)


# plain data


@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back(name):
    network, inputs, coupling = made(name)
    shapes, kept = networks.layers(network, inputs), drawn(coupling)
    whole, weights = Mask.full(shapes), {n: p.detach() for n, p in network.named_parameters()}
    mask = coupling.mask(kept, whole)
    cover = coupling.cover(mask)
    assert coupling.channels(mask) == kept
    assert coupling.mask(coupling.channels(mask), whole) == mask
    assert all(torch.equal(cover[n], mask[n]) for n in mask if n in cover)
    left = small(weights, cover)
    assert {n: p.shape for n, p in channels.shrink(network, cover).named_parameters()} == {
        n: w.shape for n, w in left.items()
    }
    back = full(left, cover)
    assert all(torch.equal(back[n], w * cover[n] if n in cover else w) for n, w in weights.items())
    assert all(torch.equal(w, left[n]) for n, w in small(back, cover).items())
    assert coupling.size({n: int(bits.sum()) for n, bits in kept.items()}, shapes) == mask.kept
    assert coupling.cover(whole) == Mask({})
    assert channels.shrink(network, Mask({})) is network
    assert small(weights, Mask({})) == full(weights, Mask({})) == weights


@pytest.mark.parametrize("name", NETWORKS)
def test_the_score_of_a_channel_is_torch_prunings_over_its_weights(name):
    """There the sum of |w| over all coupled weights; here their mean, for groups of unlike size are
    compared."""
    network, inputs, coupling = made(name)
    shapes = networks.layers(network, inputs)
    found = coupling.scores(criteria.score("magnitude", network, Mask.full(shapes), None))
    importance = tp.importance.GroupMagnitudeImportance(
        p=1, group_reduction="sum", normalizer=None, target_types=[nn.Conv2d, nn.Linear]
    )
    graph = tp.DependencyGraph().build_dependency(network, example_inputs=inputs, verbose=False)
    for group in coupling.groups:
        layer = network.get_submodule(group.name.removesuffix(".weight"))
        prune = graph.get_pruner_of_module(layer).prune_out_channels
        theirs = importance(graph.get_pruning_group(layer, prune, list(range(group.channels))))
        weights = sum(
            s.each * math.prod(n) / n[s.dim] for s in group.slices if (n := shapes.get(s.parameter))
        )
        assert torch.allclose(found[group.name].float() * weights, theirs, rtol=1e-4)


def test_what_is_cut_already_does_not_count():
    network, inputs, coupling = made("unet")
    whole, kept = Mask.full(networks.layers(network, inputs)), drawn(coupling)
    mask = coupling.mask(kept, whole)
    flat = {n: torch.ones(bits.shape).masked_fill(~bits, -torch.inf) for n, bits in mask.items()}
    for name, values in coupling.scores(flat).items():
        assert torch.equal(
            values,
            torch.ones(len(values), dtype=torch.float64).masked_fill(~kept[name], -torch.inf),
        )


# budgets over groups


@pytest.mark.parametrize("density", [0.7, 0.4, 0.1])
@pytest.mark.parametrize("budget", [name for name, row in budgets.BUDGETS.items() if row.cut_first])
def test_groups_are_cut_step_by_step_until_the_density_is_reached(budget, density):
    network, inputs, coupling = made("unet")
    shapes = networks.layers(network, inputs)
    total = sum(map(math.prod, shapes.values()))
    drawn = {
        g.name: torch.rand(g.channels, generator=generator("score", g.name))
        for g in coupling.groups
    }
    scores = {name: values.double() + i % 3 for i, (name, values) in enumerate(drawn.items())}
    steps = {g.name: g.step for g in coupling.groups}
    keep = round(density * total)
    found = budgets.allot_channels(
        scores, steps, keep, lambda counts: coupling.size(counts, shapes), budget
    )
    assert coupling.size(found, shapes) <= keep
    worth = {n: scores[n].sort(descending=True).values for n in scores}
    last = {
        n: (found[n] / len(scores[n]), float(worth[n][found[n] - steps[n] : found[n]].mean()))
        for n in found
    }
    gone = {
        n: float(worth[n][found[n] : found[n] + steps[n]].mean())
        for n in found
        if found[n] < len(worth[n])
    }
    assert all(count % steps[n] == 0 and count >= steps[n] for n, count in found.items())
    more = [{**found, n: found[n] + steps[n]} for n in gone]
    assert any(coupling.size(counts, shapes) > keep for counts in more)  # the last cut was needed
    still = {n: v for n, v in last.items() if found[n] > steps[n]}
    if budget == "overall":
        assert max(gone.values()) <= min(value for _, value in still.values())
    else:
        shares = {n: found[n] / len(scores[n]) for n in found}
        assert all(
            shares[n] + steps[n] / len(scores[n]) >= max(s for s, _ in still.values()) for n in gone
        )


# trajectories


SMALL = {"model__channels": (8,), "model__attention": (0,), "measure__checkpoints": 0}
WORDS = {
    "prune__unit": "channel",
    "model__channels": (8, 16),
    "model__attention": (1,),
    "model__head": 4,
}
RESNET = {"model__name": "resnet", "model__channels": (8, 8), "model__groups": 4, "train__steps": 8}
LENET5 = {"model__name": "lenet5", "model__channels": (6, 8), "train__steps": 8}
LATENT = {
    "objective__name": "latent_denoise",
    "latent__widths": (8, 16),
    "latent__groups": 4,
    "latent__steps": 3,
}
KINDS = [
    (tiny, {"prune__unit": "channel", "prune__budget": "uniform"}),
    (tiny, WORDS),
    (lenet, {"prune__unit": "channel"}),
    (lenet, {"prune__unit": "channel", **LENET5}),
    (lenet, {"prune__unit": "channel", **RESNET}),
    (tiny, {"prune__unit": "channel", "prune__early": 0.3, "prune__looks": 5, "train__steps": 20}),
    (tiny, {"prune__unit": "channel", **LATENT}),
]


@pytest.mark.parametrize(("make", "words"), KINDS)
def test_masks_are_of_whole_channels_they_nest_and_what_is_realised_is_recorded(store, make, words):
    config = make(**words)
    found, chain = rounds(config, store), masks(config, store)
    workshop, layers = workshop_of(config), config.prune.layers
    coupling, twin = workshop.coupling(layers), workshop.twin
    total = sum(p.numel() for p in twin.parameters())
    for r, before, mask, asked in zip(
        found[1:], chain[:-1], chain[1:], config.prune.ladder, strict=True
    ):
        assert mask.within(before)
        assert coupling.mask(coupling.channels(mask), workshop.whole(layers)) == mask
        assert all(bits.any() for bits in coupling.channels(mask).values())
        left = channels.shrink(twin, coupling.cover(mask))
        m, parameters = r.metrics, sum(p.numel() for p in left.parameters())
        assert m["density/prunable"] == pytest.approx(mask.density)
        assert 0.6 * asked < m["density/prunable"] <= asked == r.density
        assert m["cost/parameters"] == m["cost/kept"] == parameters
        assert m["density/total"] == pytest.approx(parameters / total)
        for name, norm in norms_of(left).items():
            whole = norms_of(twin)[name]
            if name.endswith("norm2"):  # of the channels of one group, which come in steps
                size = whole.num_channels // whole.num_groups
                assert norm.num_channels // norm.num_groups == size
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            left(*workshop.example)
        assert m["cost/macs_dense"] == m["cost/macs_masked"]
        if not config.model.attention:  # the products of which are counted there
            assert 2 * m["cost/macs_dense"] == counter.get_total_flops()
        assert r.densities == mask.densities


@pytest.mark.parametrize(("make", "words"), KINDS[1:3])
@pytest.mark.parametrize("rule", ["late", "tuned"])
def test_closed_anywhere_and_run_again_equals_the_uninterrupted_run(tmp_path, make, words, rule):
    config = make(**words, rewind__rule=rule, prune__criterion="movement")
    whole = rounds(config, Store(tmp_path / "whole"))
    again = resumed(config, Store(tmp_path / "cut"))
    assert len(whole) == 3
    assert all(same(a, b) for a, b in zip(whole, again, strict=True))


@pytest.mark.parametrize("state", ["rewound", "reset"])
def test_what_stays_is_rewound_to_the_bit_norms_and_biases_with_it_and_the_rest_is_zero(
    store, state
):
    config = tiny(**WORDS, rewind__state=state)
    rounds(config, store)
    coupling = workshop_of(config).coupling(config.prune.layers)
    making, chosen = making_of(config, store)
    anchor = making.make(chosen.rungs[0].chain).state(2)
    for index in (1, 2):
        mask, start = begun(config, store, index)
        cover = coupling.cover(mask)
        norms = [n for n in cover if "norm" in n]
        assert any(cover[n].any() and not cover[n].all() for n in norms)
        whole = [
            (start.weights, anchor.weights),
            (start.average, anchor.weights if state == "reset" else anchor.average),
        ]
        for got, want in whole:
            assert all(
                torch.equal(w, want[n] * cover[n] if n in cover else want[n])
                for n, w in got.items()
            )
        for key, moment in start.moments.items():
            name = key.split("/")[1]
            assert torch.equal(
                moment, anchor.moments[key] * cover[name] if name in cover else anchor.moments[key]
            )
        assert bool(start.moments) == (state == "rewound")
        end = making.make(chosen.rungs[index].chain).final
        assert cover.holds(end.weights)
        for name, bits in cover.items():
            assert (end.average[name] != 0).eq(bits).float().mean() > 0.99


def test_the_smaller_network_is_made_again_from_the_ticket_file_and_measures_the_same(store):
    config = tiny(**WORDS, prune__budget="uniform")
    tickets, measure = rounds(config, store)[1:], config.measure
    making, chosen = making_of(config, store)
    assert len(tickets) == 2
    for r in tickets:
        ticket, facts = read_ticket(r.files["ticket"])
        own = TrialConfig.from_flat(facts["config"])
        workshop, images = workshop_of(own), data.load(own.data)
        cover = workshop.coupling(own.prune.layers).cover(ticket.mask)
        left = channels.shrink(workshop.twin, cover)
        trained = making.make(chosen.rungs[r.index].chain).final
        networks.set_weights(left, small(trained.average, cover))
        index = images.splits[measure.split][: measure.images]
        x, y = images.scaled(index), images.labels[index]
        panel = loss.panel(left, workshop.task, x, y, measure.timesteps)
        assert torch.equal(panel, r.arrays["loss"])


@pytest.mark.parametrize("criterion", criteria.CRITERIA)
def test_every_criterion_scores_the_smaller_network(store, criterion):
    words = {
        "train__steps": 4,
        "prune__images": 8,
        "prune__terms": 2,
        "prune__scoring_steps": 2,
        "prune__ladder": (0.4,),
    }
    config = tiny(**WORDS | SMALL, **words, prune__criterion=criterion)
    rounds(config, store)
    assert 0.2 < masks(config, store)[1].density <= 0.4


def test_scores_are_those_of_the_smaller_network(store):
    """By hand, for the second rung."""
    config = tiny(**WORDS | SMALL, prune__criterion="taylor")
    rounds(config, store)
    making, chosen = making_of(config, store)
    trained = making.make(chosen.rungs[1].chain)
    cutting = Cutting(trained, config.prune, density=0.3, seed=config.seed, index=2)
    mask, weights = trained.cut.mask, trained.final.weights
    cover = cutting.coupling.cover(mask)
    left = channels.shrink(workshop_of(config).twin, cover)
    networks.set_weights(left, small(weights, cover))
    inside = {}
    for name, parameter in left.named_parameters():
        if name in mask:
            inside[name] = torch.ones(parameter.shape, dtype=torch.bool)
    seen = cutting.seen()
    by_hand = criteria.score("taylor", left, Mask(inside), cutting.probe(left, seen))
    scores = cutting.scores(trained.final, mask, seen)
    assert scores.keys() == mask.keys()
    for name, values in scores.items():
        assert torch.equal(values > -torch.inf, mask[name])
        assert torch.equal(values[mask[name]], by_hand[name].flatten())


# what stands in a ticket's place


@pytest.mark.parametrize("control", [name for name in CONTROLS if name != "random_mask"])
def test_controls_are_of_whole_channels_too(store, control):
    own, config = (lenet(prune__unit="channel", control=name) for name in ("none", control))
    rounds(own, store)
    found, workshop = rounds(config, store), workshop_of(config)
    coupling, whole = workshop.coupling(config.prune.layers), workshop.whole(config.prune.layers)
    assert masks(config, store) == masks(own, store)
    for index in (1, 2) if control not in ("dense", "small_dense") else ():
        mask, ticket = begun(config, store, index)[0], begun(own, store, index)[0]
        kept, theirs = coupling.channels(mask), coupling.channels(ticket)
        assert coupling.mask(kept, whole) == mask
        if control in ("shuffle", "complement"):
            assert kept != theirs
            counts = {
                n: (int(k.sum()), int(theirs[n].sum()), int((~theirs[n]).sum()))
                for n, k in kept.items()
            }
            shuffle = control == "shuffle"
            assert all(k == t if shuffle else k in (min(t, c), t) for k, t, c in counts.values())
            assert found[index].metrics["cost/parameters"] == found[index].metrics["cost/kept"]
    if control == "small_dense":
        assert found[1].metrics["cost/parameters"] < found[0].metrics["cost/parameters"]


def test_a_given_channel_ticket_is_trained_as_the_smaller_network(store, tmp_path):
    words = WORDS | SMALL
    own = rounds(tiny(**words), store)
    (tmp_path / "t").write_bytes(own[2].files["ticket"])
    config = tiny(**words, seed=1, origin=str(tmp_path / "t"))
    found = rounds(config, store)
    assert found[1].metrics["cost/parameters"] == own[2].metrics["cost/parameters"]
    assert found[1].densities == own[2].densities
    zeroed = tiny(**words | {"prune__unit": "weight"}, seed=1, origin=str(tmp_path / "t"))
    one, other = trajectory(zeroed).rungs, trajectory(config).rungs
    assert one[1].chain.key != other[1].chain.key
    assert one[0].chain.key == other[0].chain.key
    weights = rounds(tiny(**words | {"prune__unit": "weight"}), store)
    (tmp_path / "w").write_bytes(weights[2].files["ticket"])
    with pytest.raises(TicketError, match="its mask does not cut whole channels"):
        check(tiny(**words, origin=str(tmp_path / "w")))


def test_a_density_that_cannot_be_reached_is_refused_with_the_one_that_can(store):
    config = tiny(prune__unit="channel", prune__ladder=(0.5, 0.01))
    said = r"prune.ladder = \(0.5, 0.01\): .* at least 0.2\d+ of the weights stays"
    with pytest.raises(ConfigError, match=said):
        check(config)
    said = r"too dense at round 2, density 0.01: at least 0.2\d+ of the weights stays"
    with pytest.raises(TrialFailed, match=said):
        rounds(config, store)
    check(tiny(prune__unit="channel", prune__ladder=(0.5, 0.25)))
    second_only = (("*conv2", "free"), ("conv_in", 1.0), ("*", 1.0))
    with pytest.raises(ConfigError, match="at least 1 of the weights stays"):
        check(tiny(prune__unit="channel", prune__layers=second_only))
