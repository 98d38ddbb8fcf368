"""A ticket fits networks of other depths: copies are copies, squeezing undoes stretching, and
nothing is left to chance."""

import itertools
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from lthray.config import vocabulary as config
from lthray.config.labels import name_of
from lthray.config.parts import Model
from lthray.core.keys import key_of
from lthray.core.random import generator
from lthray.core.store import Store
from lthray.core.ticket import Mask, Ticket, TicketError
from lthray.core.ticket_file import read_ticket
from lthray.prune.transfer import BLOCK, READS, assigned, mirrored, stretch
from lthray.task import inputs, networks
from lthray.trial.preflight import check
from lthray.trial.recipe import trajectory
from lthray.trial.steps import VERSIONS

from .conftest import TINY, making_of, resumed, rounds, tiny
from .test_trajectory import begun

ORDERS = get_args(config.Elastic)
MODELS = {
    "unet": Model(channels=(8, 8), groups=4),
    "unet with attention": Model(channels=(8, 8, 8), groups=4, attention=(1,), conditional=True),
    "unet that widens": Model(channels=(4, 8, 12), groups=4, attention=(0, 2), head=4),
    "resnet": Model(name="resnet", channels=(8, 8), groups=4),
    "resnet that widens": Model(name="resnet", channels=(4, 8, 12), groups=4),
}
# a block that changes width or side cannot be copied, and where it is alone there is no other
DEPTHS = {
    name: (1, 2, 3, 5) if name in ("unet", "unet with attention") else (2, 3, 5) for name in MODELS
}
CASES = [
    (name, *depths, order)
    for name in MODELS
    for depths in itertools.combinations(DEPTHS[name], 2)
    for order in ORDERS
]


@cache
def network(name: str, layers: int) -> nn.Module:
    return networks.build(replace(MODELS[name], layers=layers), (1, 8, 8), 10, 0)


def shapes(name: str, layers: int) -> dict[str, tuple[int, ...]]:
    return {n: tuple(p.shape) for n, p in network(name, layers).named_parameters()}


def drawn(name: str, layers: int) -> dict[str, Tensor]:
    """Weights in which no tensor is like another."""
    return {
        n: torch.randn(shape, generator=generator("elastic", n))
        for n, shape in shapes(name, layers).items()
    }


def masked(name: str, layers: int) -> Mask:
    """A mask of every layer, each of another density."""
    prunable = {n: s for n, s in shapes(name, layers).items() if len(s) > 1}
    draws = {n: torch.rand(s, generator=generator("mask", n)) for n, s in prunable.items()}
    return Mask({n: draw < 0.1 + 0.8 * i / len(draws) for i, (n, draw) in enumerate(draws.items())})


def sizes(mask: Mask) -> dict[str, torch.Size]:
    return {n: bits.shape for n, bits in mask.items()}


@pytest.mark.parametrize(
    ("before", "after", "interpolated", "appended"),
    [
        (3, 3, [0, 1, 2], [0, 1, 2]),
        (3, 5, [0, 1, 1, 2, 2], [0, 1, 2, 1, 2]),  # ResNet-20 to ResNet-32, as the paper has it
        (5, 3, [0, 1, 3], [0, 1, 2]),
        (3, 4, [0, 1, 1, 2], [0, 1, 2, 1]),
        (1, 3, [0, 0, 0], [0, 0, 0]),
        (4, 1, [0], [0]),
    ],
)
def test_which_block_is_made_of_which(before, after, interpolated, appended):
    assert assigned(before, after, "interpolate") == interpolated
    assert assigned(before, after, "append") == appended
    assert mirrored([0, 1, 1], 2) == [0, 0, 1, 2]


@pytest.mark.parametrize("order", ORDERS)
def test_every_block_has_copies_the_first_keeps_its_place_and_squeezing_undoes_stretching(order):
    for before, after in itertools.combinations_with_replacement(range(1, 9), 2):
        there, back = assigned(before, after, order), assigned(after, before, order)
        assert len(there) == after
        assert len(back) == before
        assert set(there) == set(range(before))
        assert there[0] == back[0] == 0
        assert [there[block] for block in back] == list(range(before))


@pytest.mark.parametrize(
    ("name", "layers"), [(name, layers) for name in MODELS for layers in DEPTHS[name][:3]]
)
def test_the_same_depth_changes_nothing(name, layers):
    weights, mask = drawn(name, layers), masked(name, layers)
    for order in ORDERS:
        made = stretch(weights, shapes(name, layers), (layers, layers), order)
        assert all(made[n] is w for n, w in weights.items())
        assert Mask(stretch(mask, sizes(mask), (layers, layers), order)) == mask


@pytest.mark.parametrize(("name", "few", "many", "order"), CASES)
def test_what_is_stretched_covers_all_keeps_densities_runs_and_is_squeezed_back(
    name, few, many, order
):
    weights, mask = drawn(name, few), masked(name, few)
    wide = stretch(weights, shapes(name, many), (few, many), order)
    assert {n: tuple(w.shape) for n, w in wide.items()} == shapes(name, many)
    back = stretch(wide, shapes(name, few), (many, few), order)
    assert all(torch.equal(back[n], w) for n, w in weights.items())
    bits = Mask(stretch(mask, sizes(masked(name, many)), (few, many), order))
    assert Mask(stretch(bits, sizes(mask), (many, few), order)) == mask
    for layer, density in bits.densities.items():
        if not (layer.startswith("up_blocks.") and layer.endswith(READS)):  # made of two halves
            assert density == mask.densities[original(layer, few, many, order)]
    bits.apply_(wide)
    net = networks.build(replace(MODELS[name], layers=many), (1, 8, 8), 10, 1).eval()
    networks.set_weights(net, wide)
    x = torch.randn(2, 1, 8, 8, generator=generator("images"))
    labels = {"class_labels": torch.tensor([1, 2])} if MODELS[name].conditional else {}
    with torch.no_grad():
        out = net(x, torch.tensor([3, 500]), **labels).sample if "unet" in name else net(x)
    assert torch.isfinite(out).all()


def original(layer: str, few: int, many: int, order: str) -> str:
    """The layer that one of another depth is a copy of."""
    if not (found := BLOCK.fullmatch(layer)):
        return layer
    down = assigned(few, many, order)
    of = (mirrored(down, few) if layer.startswith("up") else down)[int(found[2])]
    return f"{found[1]}{of}{found[3]}"


MAKER = re.compile(
    r"(down_blocks\.\d+\.|up_blocks\.\d+\.|mid_block\.)"
    r"(resnets|(up|down)samplers)\.\d+|conv_in"
)


def reads(name: str, layers: int) -> dict[str, tuple[str, str]]:
    """Each decoder block's (hidden, skip), by the names of the modules that made them: found by
    looking at a forward pass."""
    net, outputs, inputs, hooks = network(name, layers).eval(), {}, {}, []
    for part, module in net.named_modules():
        if MAKER.fullmatch(part):
            hooks.append(
                module.register_forward_hook(lambda _m, x, y, part=part: outputs.update({part: y}))
            )
            if part.startswith("up_blocks") and "resnets" in part:
                hooks.append(
                    module.register_forward_pre_hook(
                        lambda _m, x, part=part: inputs.update({part: x[0]})
                    )
                )
    with torch.no_grad():
        net(torch.randn(1, 1, 8, 8, generator=generator("look")), torch.tensor([7]))
    for hook in hooks:
        hook.remove()

    def maker(half: Tensor) -> str:
        return next(
            part
            for part, made in outputs.items()
            if made.shape == half.shape and torch.equal(made, half)
        )

    def halves(x: Tensor) -> tuple[str, str]:
        for made in outputs.values():
            skip = made.shape[1]
            if made.shape[2:] == x.shape[2:] and torch.equal(x[:, -skip:], made):
                return maker(x[:, :-skip]), maker(x[:, -skip:])
        raise AssertionError("reads what nobody made")

    return {part: halves(x) for part, x in inputs.items()}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("few", "many"), [(2, 3), (2, 5), (3, 4), (3, 2), (5, 2)])
def test_the_decoder_mirrors_the_encoder_half_by_half(few, many, order, monkeypatch):
    """By what blocks really read: a copy's skip half is of the block that read what the copied
    encoder block had made, its hidden half of one that read the same kind of thing."""
    monkeypatch.setitem(MODELS, "plain", Model(channels=(4, 8, 12), groups=4))
    before, after = reads("plain", few), reads("plain", many)
    parts, weights = list(before), {n: torch.full(s, -1.0) for n, s in shapes("plain", few).items()}
    for i, part in enumerate(parts):  # each half says whose it is
        width = len(weights[f"{part}.conv1.weight"])
        for rest in (".conv1.weight", ".conv_shortcut.weight", ".norm1.bias"):
            inputs = along_inputs(weights[part + rest])
            hidden = len(inputs) - width if part.endswith(".0") else width
            inputs[:hidden], inputs[hidden:] = i, 100 + i
        weights[f"{part}.conv2.weight"].fill_(i)
    made = stretch(weights, shapes("plain", many), (few, many), order)
    for part, (hidden, skip) in after.items():
        for rest in (".conv1.weight", ".conv_shortcut.weight", ".norm1.bias"):
            whose = (
                along_inputs(made[part + rest]).flatten(1)
                if ".conv" in rest
                else made[part + rest][:, None]
            )
            assert (whose == whose[:, :1]).all()
            # in this order, and no others
            of_hidden, of_skip = dict.fromkeys(whose[:, 0].int().tolist())
            assert kind(before[parts[of_hidden]][0]) == kind(hidden)
            assert before[parts[of_skip - 100]][1] == copied(skip, few, many, order)
        # the block goes with its skip half
        assert (made[f"{part}.conv2.weight"] == of_skip - 100).all()


def along_inputs(tensor: Tensor) -> Tensor:
    """A view, inputs first."""
    return tensor.movedim(min(tensor.dim() - 1, 1), 0)


def copied(skip: str, few: int, many: int, order: str) -> str:
    """The encoder's module in place of one of another depth."""
    found = re.fullmatch(r"(down_blocks\.\d+\.resnets\.)(\d+)", skip)
    return f"{found[1]}{assigned(few, many, order)[int(found[2])]}" if found else skip


def kind(maker: str) -> str:
    return re.sub(r"(up_blocks\.\d+\.resnets)\.\d+", r"\1", maker)


@pytest.mark.parametrize(
    ("name", "few", "many"),
    [("unet with attention", 1, 2), ("unet that widens", 2, 3), ("resnet", 3, 5)],
)
def test_every_missing_or_needless_tensor_is_named(name, few, many):
    weights = drawn(name, few)
    for gone in weights:
        found = BLOCK.fullmatch(gone)
        named = rf"{re.escape(found[1])}\d+{re.escape(found[3])}" if found else re.escape(gone)
        with pytest.raises(TicketError, match=rf"\b{named}\b"):
            stretch(
                {n: w for n, w in weights.items() if n != gone},
                shapes(name, many),
                (few, many),
                "interpolate",
            )
    with pytest.raises(TicketError, match=r"class_embedding.other \(3,\) here None"):
        stretch(
            {**weights, "class_embedding.other": torch.ones(3)},
            shapes(name, many),
            (few, many),
            "interpolate",
        )


def test_other_widths_are_refused_with_the_tensor_and_both_shapes():
    with pytest.raises(TicketError, match=r"conv_in.weight \(8, 1, 3, 3\) here \(4, 1, 3, 3\)"):
        stretch(drawn("unet", 2), shapes("unet that widens", 3), (2, 3), "append")
    said = (
        r"from 1 to 2 blocks a level: ticket of another network: .*"
        r"down_blocks.1.resnets.1.conv1.weight \(8, 4, 3, 3\) here \(8, 8, 3, 3\)"
    )
    with pytest.raises(TicketError, match=said):
        stretch(drawn("unet that widens", 1), shapes("unet that widens", 2), (1, 2), "append")


def test_tensors_of_any_shape_are_refused_and_not_joined():
    for name, odd in itertools.product(
        ("conv1.weight", "norm1.bias"), (torch.ones(()), torch.ones(3), torch.ones(4, 2, 5))
    ):
        weights = drawn("unet", 1) | {f"up_blocks.0.resnets.0.{name}": odd}
        with pytest.raises(TicketError, match=r"up_blocks.0.resnets"):
            stretch(weights, shapes("unet", 2), (1, 2), "append")


# as trials


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """One for all tests: what trials share is made once."""
    return Store(tmp_path_factory.mktemp("elastic") / "store")


@pytest.fixture
def given(store, tmp_path):
    """Writes the ticket of a trial's last round to a file; returns its path and that round."""

    def write(**words):
        last = rounds(tiny(**words), store)[-1]
        path = tmp_path / f"{last.keys['round'][:12]}.safetensors"
        path.write_bytes(last.files["ticket"])
        return str(path), last

    return write


def unlike(a, b) -> list[str]:
    """Metrics and arrays in which two rounds differ, but for what they cost."""
    metrics = [
        n
        for n in {**a.metrics, **b.metrics}
        if not n.startswith("cost/") and a.metrics.get(n) != b.metrics.get(n)
    ]
    arrays = {**a.arrays, **b.arrays}
    return metrics + [
        n
        for n in arrays
        if n not in a.arrays or n not in b.arrays or not torch.equal(a.arrays[n], b.arrays[n])
    ]


NATIVE = [
    {},
    {"rewind__rule": "init"},
    {"rewind__state": "reset"},
    {"rewind__anchor": "previous"},
    {"rewind__rule": "lr"},
    {"rewind__rule": "random"},
    {"rewind__rule": "sign"},
    {"train__optimizer": "sgd"},
    {"control": "reinit"},
    {"control": "shuffle"},
    {"control": "perturb", "rewind__rule": "init"},
    {"control": "one_shot"},
    {"prune__early": 0.9, "prune__looks": 5},
    {
        "objective__name": "latent_denoise",
        "latent__widths": (8, 8),
        "latent__groups": 4,
        "latent__steps": 20,
    },
]


@pytest.mark.parametrize("words", NATIVE, ids=str)
def test_the_same_ticket_with_its_own_weights_is_the_native_round_bit_for_bit(store, given, words):
    path, native = given(**words)
    task = {w: v for w, v in words.items() if w.startswith(("train", "objective", "latent"))}
    again = task | {"origin": path, "rewind__rule": "given"}
    check(tiny(**again))
    assert unlike(rounds(tiny(**again), store)[1], native) == []


def test_the_weights_are_made_again_where_they_are_not(tmp_path, given):
    path, native = given()
    chosen = tiny(origin=path, rewind__rule="given")
    assert unlike(rounds(chosen, Store(tmp_path / "empty"))[1], native) == []


def test_a_file_with_weights_is_taken_as_it_is(store, tmp_path, given):
    _, native = given(rewind__rule="init")
    mask, begin = begun(tiny(rewind__rule="init"), store, 2)
    file = tmp_path / "whole"
    file.write_bytes(Ticket(mask, begin.weights, 0).to_bytes({"round": 2}, with_weights=True))
    chosen = tiny(origin=str(file), rewind__rule="given")
    assert unlike(rounds(chosen, Store(tmp_path / "empty"))[1], native) == []
    check(replace(chosen, control="reinit"))
    for control in ("shuffle", "random_mask", "complement", "perturb", "dense"):
        with pytest.raises(
            TicketError, match=f"holds only the weights that it keeps, control = '{control}'"
        ):
            check(replace(chosen, control=control))


@pytest.mark.parametrize("order", ORDERS)
def test_a_stretched_trial_begins_with_copies_of_mask_weights_and_moments(
    store, given, order, tmp_path
):
    path, _ = given(model__layers=2)
    chosen = tiny(model__layers=3, origin=path, rewind__rule="given", elastic=order, seed=4)
    mask, begin = begun(chosen, store, 1)
    making, source = making_of(tiny(model__layers=2), store)
    anchor = making.make(source.rungs[0].chain).state(2)
    was = read_ticket(Path(path).read_bytes())[0].mask
    for target, of in enumerate(assigned(2, 3, order)):
        here, there = (f"down_blocks.0.resnets.{i}.conv2.weight" for i in (target, of))
        assert torch.equal(mask[here], was[there])
        for mine, its in ((begin.weights, anchor.weights), (begin.average, anchor.average)):
            assert torch.equal(mine[here], its[there] * was[there])
        moment = anchor.moments[f"exp_avg/{there}"] * was[there]
        assert torch.equal(begin.moments[f"exp_avg/{here}"], moment)
    assert (begin.step, begin.age) == (2, 2)
    found = rounds(chosen, store)
    again = resumed(chosen, Store(tmp_path / "cut"))
    assert [unlike(a, b) for a, b in zip(found, again, strict=True)] == [[], []]


@pytest.mark.parametrize("rule", ["given", "late"])
@pytest.mark.parametrize(
    "control", ["reinit", "shuffle", "random_mask", "complement", "perturb", "dense"]
)
def test_controls_of_a_stretched_ticket(store, given, control, rule):
    path, _ = given(model__layers=1)
    chosen = tiny(model__layers=2, origin=path, rewind__rule=rule, seed=4)
    other = replace(chosen, control=control)
    check(other)
    making, ticket = making_of(chosen, store)
    whole = making.make(ticket.rungs[1].shown).begin
    mask = whole.cut.mask
    its, weights = begun(other, store, 1)
    kept = {"dense": mask.size, "complement": its.kept}.get(control, mask.kept)
    assert its.kept == kept
    if control in ("shuffle", "reinit", "perturb"):
        assert its.densities == mask.densities
    assert (its == mask) == (control in ("reinit", "perturb"))
    the_dense_run = (control, rule) == ("dense", "late")  # it goes on as the dense run went
    others = control in ("reinit", "perturb") or the_dense_run
    equal = [torch.equal(weights.weights[n], whole.state.weights[n] * its[n]) for n in its]
    assert all(equal) == (not others)
    assert rounds(other, store)[1].keys["weights"] != ticket.rungs[1].shown.key


def test_what_is_saved_is_what_the_rounds_would_have_cost_here(store, given):
    path, native = given()  # 8 steps, rounds from step 2 on
    assert native.metrics["cost/steps_spent"] == 8 + 6 + 6
    assert "cost/steps_saved" not in native.metrics
    found = rounds(tiny(origin=path, seed=3), store)
    assert "cost/steps_saved" not in found[0].metrics
    assert found[1].metrics["cost/steps_saved"] == (8 + 2 * 6) - (8 + 6)
    # nothing of the dense run is in this one
    carried = rounds(tiny(origin=path, rewind__rule="given", train__steps=12), store)[1]
    assert carried.metrics["cost/steps_saved"] == (12 + 2 * 10) - 10
    assert carried.metrics["cost/steps_of_weights"] == 2 + 10


def test_keys_tell_ticket_depth_order_and_weights_apart(given):
    path, _ = given(model__layers=2)
    words = {
        "own": {},
        "given": {"rewind__rule": "given"},
        "append": {"elastic": "append"},
        "deeper": {"model__layers": 3},
        "deeper append": {"model__layers": 3, "elastic": "append"},
        "deepest": {"model__layers": 4},
        "deeper given": {"model__layers": 3, "rewind__rule": "given"},
        "deeper given append": {"model__layers": 3, "rewind__rule": "given", "elastic": "append"},
    }
    plans = {}
    for name, more in words.items():
        plans[name] = trajectory(tiny(**{"model__layers": 2, **more}, origin=path))
    masks = {name: plan.rungs[1].mask.key for name, plan in plans.items()}
    runs = {name: plan.rungs[1].shown.key for name, plan in plans.items()}
    spec = {"origin": inputs.file_digest("origin", path)}
    assert masks["own"] == key_of(
        "prune", VERSIONS["prune"], spec
    )  # as if there were no other depths
    assert masks["own"] == masks["given"] == masks["append"]
    assert runs["own"] == runs["append"]
    assert masks["deeper"] == masks["deeper given"]
    assert len(set(masks.values())) == 4
    assert trajectory(tiny(model__layers=2)).key not in {plan.key for plan in plans.values()}
    assert len(set(runs.values())) == 7
    dense = set()
    for name in ("deeper given", "deeper given append"):
        config = replace(plans[name].config, control="dense")
        dense.add(trajectory(config).rungs[1].shown.key)
    assert len(dense) == 2  # of whole weights, which the order has arranged


def test_names_tell_whose_weights_and_which_order(given):
    path, _ = given()
    assert name_of(tiny(origin=path, rewind__rule="given")) == "origin overall given s0"
    assert (
        name_of(tiny(origin=path, elastic="append", control="shuffle"))
        == "shuffle origin append overall late25% s0"
    )


def edited(path: str, **facts) -> str:
    """The same ticket with other facts."""
    ticket, known = read_ticket(Path(path).read_bytes())
    known = {**known, **{w: v for w, v in facts.items() if w != "start"}}
    Path(f"{path}.edited").write_bytes(
        Ticket(ticket.mask, {}, facts.get("start", ticket.start)).to_bytes(known)
    )
    return f"{path}.edited"


@pytest.mark.parametrize(
    ("facts", "words", "said"),
    [
        (
            {},
            {"train__steps": 2, "rewind__fraction": 0.5},
            "begins at step 2, which leaves nothing of train.steps = 2",
        ),
        ({}, {"model__conditional": True}, r"class_embedding.weight None here \(10, 32\)"),
        ({"config": {**TINY, "seed": 1}}, {}, "its weights cannot be made again here: other data"),
        ({"start": 3}, {}, "its weights cannot be made again here"),
        ({"round": 7}, {}, "its weights cannot be made again here"),
        ({"round": -1}, {}, "must be 0 to 1000"),
        ({"round": True}, {}, "must be 0 to 1000"),
        ({"config": {"model.layers": 10**9}}, {}, "must be 0 to 1000"),
        ({"config": {"model.layers": "1" * 99}}, {}, "must be 0 to 1000"),
        (
            {"config": {"data.name": "cifar10"}},
            {},
            "its weights cannot be made again here: data.root",
        ),
        ({"config": {"prune.criterion": "gone"}}, {}, "its config cannot be used: prune.criterion"),
        ({"config": None}, {}, "has neither weights nor the config of its trial"),
        ({"config": [1]}, {}, "has neither weights nor the config of its trial"),
    ],
    ids=str,
)
def test_a_ticket_whose_weights_cannot_be_had_is_refused_in_one_line(given, facts, words, said):
    path, _ = given()
    chosen = tiny(origin=edited(path, **facts), rewind__rule="given", **words)
    with pytest.raises(TicketError, match=said) as found:
        check(chosen)
    assert str(found.value).startswith(f"origin = '{path}.edited': ")
    assert str(found.value).count("origin = ") == 1
    assert "\n" not in str(found.value)


def test_a_ticket_that_names_files_of_ours_opens_none(given):
    path, _ = given()
    config = read_ticket(Path(path).read_bytes())[1]["config"]
    places = dict.fromkeys(("origin", "data.root", "model.pretrained", "measure.inception"), "/nix")
    check(tiny(origin=edited(path, config={**config, **places}), rewind__rule="given"))


def test_a_stretched_mask_that_leaves_a_layer_without_weights_is_refused(given):
    path, _ = given(model__layers=2)
    ticket, facts = read_ticket(Path(path).read_bytes())
    layers = {n: bits.clone() for n, bits in ticket.mask.items()}
    # of the copy in place 1 the skip half, and the hidden half
    layers["up_blocks.0.resnets.0.conv1.weight"][:, 8:] = False
    layers["up_blocks.0.resnets.1.conv1.weight"][:, :8] = False
    Path(path).write_bytes(Ticket(Mask(layers), {}, ticket.start).to_bytes(facts))
    with pytest.raises(
        TicketError, match=r"mask keeps no weight of up_blocks.0.resnets.1.conv1.weight"
    ):
        check(tiny(model__layers=3, origin=path))
