"""Networks are functions of their seed, and layers are seen in the order in which data meets
them."""

import pytest
import torch
from torch import nn

from lthray.config.parts import Model
from lthray.core.random import drawing
from lthray.task import networks
from lthray.task.blocks import block_of

SHAPE = (1, 8, 8)
EXAMPLE = (torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_weights_are_a_function_of_the_seed_alone(name):
    config = Model(name=name)
    before = torch.random.get_rng_state()
    a, b, c = (networks.build(config, SHAPE, 10, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(a.parameters(), c.parameters(), strict=True))


def test_parameter_counts_are_the_published_ones():
    def count(model, shape, classes=10):
        return sum(p.numel() for p in networks.build(model, shape, classes, 0).parameters())

    assert count(Model(), SHAPE) == 159_697
    assert (
        count(Model(name="lenet300"), (1, 28, 28))
        == 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
        == 266_610
    )
    # He et al.'s 0.27 M and 11.2 M; shortcuts between stages are 1x1 convolutions without norms
    resnet20 = Model(name="resnet", channels=(16, 32, 64), layers=3)
    assert count(resnet20, (3, 32, 32)) == 269_722 + 16 * 32 + 32 * 64
    resnet18 = Model(name="resnet", channels=(64, 128, 256, 512), layers=2)
    assert count(resnet18, (3, 32, 32)) == 11_173_962 - 2 * (128 + 256 + 512)
    ddpm = Model(channels=(128, 256, 256, 256), layers=2, attention=(1,), groups=32, head=256)
    assert count(ddpm, (3, 32, 32)) == 35_746_307


def test_a_resnet_halves_the_side_at_every_stage_but_the_first():
    net, sides = (
        networks.build(Model(name="resnet", channels=(8, 16, 32), layers=2), (1, 16, 16), 10, 0),
        [],
    )
    for stage in net.stages:
        stage.register_forward_hook(lambda _m, _x, out: sides.append(tuple(out.shape[1:])))
    assert net(torch.zeros(2, 1, 16, 16)).shape == (2, 10)
    assert sides == [(8, 16, 16), (16, 8, 8), (32, 4, 4)]
    assert networks.features_of(net)(torch.zeros(2, 1, 16, 16)).shape == (2, 32)
    assert not list(net.buffers())  # nothing that a rewound weight would leave behind


def test_what_is_drawn_inside_is_a_function_of_the_seed_and_touches_nothing_outside():
    before = torch.random.get_rng_state()
    found = []
    for seed in (1, 1, 2):
        with drawing(seed, torch.device("cpu")):
            found.append(torch.nn.functional.dropout(torch.ones(50), 0.5))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(torch.random.get_rng_state(), before)


class Gated(nn.Module):
    """A denoiser that begins with no way through its middle, told the time before it sees x."""

    def __init__(self):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, 6), nn.SiLU(), nn.Linear(6, 6))
        self.way_in, self.gate = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.middle, self.way_out = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 1, 3, padding=1)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, x, t):
        e = self.time(t.float()[:, None])[:, :, None, None]
        inside = self.gate(self.way_in(input=x) + e)
        return self.way_out(self.middle(inside))  # zeros, whatever x is


def never_changing(network: nn.Module, classes: int = 0) -> set[str]:
    """Layers whose input is the same for two images, once no weight is zero."""
    with torch.no_grad():
        for i, p in enumerate(network.parameters()):
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    seen: dict[str, list[torch.Tensor]] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            seen[name] = []
            module.register_forward_hook(lambda _m, _i, out, n=name: seen[n].append(out.detach()))
    t = torch.zeros(1, dtype=torch.int64)
    for shift in (0.0, 1.0):
        network(torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(9)) + shift, t,
                *[t] * bool(classes))  # fmt: skip
    return {f"{name}.weight" for name, (one, other) in seen.items() if torch.equal(one, other)}


@pytest.mark.parametrize(
    "model", [Model(), Model(attention=(1,), conditional=True, layers=2), None], ids=str
)
def test_layers_that_never_see_the_image_are_those_that_no_image_changes(model):
    network = Gated() if model is None else networks.build(model, SHAPE, 10, 0).eval()
    example = (*EXAMPLE, EXAMPLE[1]) if model and model.conditional else EXAMPLE
    found = networks.told(network, example)
    assert found == never_changing(network, len(example) - 2)
    if model is None:
        assert found == {"time.0.weight", "time.2.weight"}
    else:
        assert all("time_emb" in name for name in found)
        assert len(found) == 2 + sum("time_emb_proj.w" in n for n, _ in network.named_parameters())


@pytest.mark.parametrize("name", ["lenet300", "lenet5", "resnet"])
def test_every_layer_of_a_classifier_sees_the_image(name):
    assert networks.told(networks.build(Model(name=name), SHAPE, 10, 0), EXAMPLE[:1]) == set()


def test_forward_order_is_what_hooks_see():
    found = list(networks.layers(networks.build(Model(attention=(1,)), SHAPE, 10, 0), EXAMPLE))
    blocks = list(dict.fromkeys(block_of(name) for name in found))
    assert blocks == [
        "time_embedding",
        "conv_in",
        "down_blocks.0",
        "down_blocks.1",
        "mid_block",
        "up_blocks.0",
        "up_blocks.1",
    ] + ["conv_out"]
    modules = [n for n, _ in networks.build(Model(attention=(1,)), SHAPE, 10, 0).named_modules()]
    assert modules.index("up_blocks") < modules.index(
        "mid_block"
    )  # which is why named_modules() will not do
    assert found.index("mid_block.resnets.0.conv1.weight") < found.index(
        "mid_block.attentions.0.to_q.weight"
    )
    assert found.index("mid_block.attentions.0.to_q.weight") < found.index(
        "mid_block.resnets.1.conv1.weight"
    )


def test_layers_are_convolutions_and_linear_maps_and_hooks_are_gone():
    network = networks.build(Model(), SHAPE, 10, 0)
    found = networks.layers(network, EXAMPLE)
    assert len(found) == 35
    assert all(
        dict(network.named_parameters())[name].shape == shape for name, shape in found.items()
    )
    assert not any("norm" in name or name.endswith("bias") for name in found)
    assert not any(module._forward_pre_hooks for module in network.modules())


class Standardised(nn.Conv2d):
    """A layer whose stored zeros are no zeros in use."""

    def forward(self, x):
        w = (self.weight - self.weight.mean()) / self.weight.std()
        return nn.functional.conv2d(x, w, self.bias, padding=self.padding)


@pytest.mark.parametrize(
    "layer",
    [
        Standardised(1, 4, 3, padding=1),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3, padding=1)),
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 4, 3, padding=1)),
    ],
)
def test_layers_that_transform_their_weight_are_refused(layer):
    with pytest.raises(ValueError, match=r"1: .*transforms its weight"):
        networks.layers(nn.Sequential(nn.Identity(), layer), EXAMPLE[:1])


def test_the_effective_weight_of_every_layer_is_the_stored_one():
    network = networks.build(Model(channels=(8,), groups=4), SHAPE, 10, 0)
    before = network(*EXAMPLE, return_dict=False)[0]
    for name in networks.layers(network, EXAMPLE):
        nn.init.zeros_(dict(network.named_parameters())[name])
    after = network(torch.randn(1, 1, 8, 8), EXAMPLE[1], return_dict=False)[0]
    assert not torch.equal(before, after)
    bias = network.conv_out.bias.detach().reshape(1, -1, 1, 1).expand_as(after)
    assert torch.equal(
        after, bias
    )  # with all stored weights zero, nothing but the last bias comes out


def test_lenet300_is_the_published_network():
    net = networks.build(Model(name="lenet300"), (1, 28, 28), 10, 0)
    for layer in (*net.hidden, net.output):
        glorot = (2 / (layer.in_features + layer.out_features)) ** 0.5
        assert layer.weight.std().item() == pytest.approx(glorot, rel=0.05)
        assert not layer.bias.any()
    assert not net(
        torch.full((1, 1, 28, 28), -1.0)
    ).any()  # the background is grey level 0: no weight acts as a bias
