"""What a network keeps beside its weights is state; its statistics are those of the weights that it
has; and what it draws is a function of the trial."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.optim.swa_utils import update_bn

from lthray.config.fields import ConfigError
from lthray.config.parts import Model
from lthray.config.trial import TrialConfig
from lthray.core.random import drawing, seed_of
from lthray.core.store import Store
from lthray.core.ticket import Mask, Ticket
from lthray.core.ticket_file import read_ticket
from lthray.measure import loss
from lthray.task import networks, statistics
from lthray.trial.preflight import check
from lthray.trial.training import Learner

from . import nets
from .conftest import TINY, making_of, resumed, rounds, same, tiny

SHAPE = (1, 8, 8)


def own(name: str, **words) -> TrialConfig:
    """Return a tiny trial of a network of `tests.nets`."""
    changed = {word.replace("__", "."): value for word, value in words.items()}
    flat = TINY | nets.OWN | {"model.name": f"tests.nets:{name}", "prune.budget": "uniform"}
    return TrialConfig.from_flat(flat | changed)


def classifier(**words) -> TrialConfig:
    return own("Classifier", objective__name="classify", prune__terms=4, **words)


# buffers


def test_buffers_are_a_function_of_the_seed_as_weights_are():
    model = Model(name="tests.nets:Fourier")
    with drawing(seed_of("init", 3), torch.device("cpu")):
        by_hand = nets.Fourier(SHAPE, 2)
    same_seed, other = networks.build(model, SHAPE, 2, 3), networks.build(model, SHAPE, 2, 4)
    assert torch.equal(same_seed.frequencies, by_hand.frequencies)
    assert not torch.equal(other.frequencies, by_hand.frequencies)


@pytest.mark.parametrize("seed", [0, 5])
def test_a_given_network_answers_as_it_did_whatever_the_seed(tmp_path, seed):
    given = nets.Fourier(SHAPE, 2)
    file = tmp_path / "model.safetensors"
    save_file(given.state_dict(), file)
    model = Model(name="tests.nets:Fourier", pretrained=str(file))
    taken = networks.build(model, SHAPE, 2, seed)
    x, t = torch.rand(3, *SHAPE), torch.tensor([1, 500, 999])
    assert torch.equal(taken(x, t), given(x, t))
    without = {name: p.detach() for name, p in given.named_parameters()}
    save_file(without, file)
    with pytest.raises(ConfigError, match="lacks frequencies and 0 more"):
        networks.build(model, SHAPE, 2, seed)


@pytest.mark.parametrize("words", [{}, {"seed": 3, "rewind__rule": "random"}])
def test_what_is_measured_is_the_network_with_its_own_buffers(store, words):
    config = own("Fourier", **words)
    check(config)
    found = rounds(config, store)
    making, chosen = making_of(config, store)
    for index, r in enumerate(found):
        run = making.make(chosen.rungs[index].chain)
        seed = config.seed if index == 0 or not words else None
        state = run.final
        network = nets.Fourier(SHAPE, 2)
        network.load_state_dict({**state.average, **state.buffers})
        if seed is not None:
            with drawing(seed_of("init", seed), torch.device("cpu")):
                drawn = nets.Fourier(SHAPE, 2)
            assert torch.equal(state.buffers["frequencies"], drawn.frequencies)
        x, y = run.images.held_out("validation", 8)
        losses = loss.panel(network.eval(), run.workshop.task, x, y, 4)
        assert float(losses.mean()) == r.metrics["loss/heldout"]
    drawn_anew = len(
        {tuple(making.make(r.chain).final.buffers["frequencies"].tolist()) for r in chosen.rungs}
    )
    assert drawn_anew == (3 if words else 1)


@pytest.mark.parametrize("name", ["Fourier", "Norm", "Drops", "DropsAlways", "Noisy"])
def test_closed_anywhere_and_run_again_equals_the_uninterrupted_run(tmp_path, name):
    config = own(name, prune__criterion="taylor", prune__images=8, prune__terms=2)
    torch.manual_seed(1)
    whole = rounds(config, Store(tmp_path / "whole"))
    torch.manual_seed(2)
    again = resumed(config, Store(tmp_path / "cut"))
    assert len(whole) == 3
    assert all(same(a, b) for a, b in zip(whole, again, strict=True))


def test_a_ticket_file_brings_its_buffers():
    mask = Mask({"a.weight": torch.tensor([[True, False]])})
    weights = {"a.weight": torch.tensor([[2.0, 0.0]])}
    buffers = {"steps": torch.tensor(7), "edge": torch.tensor([-torch.inf, 1.0])}
    data = Ticket(mask, weights, 3, buffers).to_bytes({}, with_weights=True)
    again, _ = read_ticket(data)
    assert again.weights.keys() == {"a.weight"}
    assert all(torch.equal(again.buffers[name], tensor) for name, tensor in buffers.items())


# running statistics


def test_estimated_statistics_are_those_of_torchs_update_bn(store):
    config = classifier()
    rounds(config, store)
    making, chosen = making_of(config, store)
    for rung in chosen.rungs:
        run = making.make(rung.chain)
        reference = nets.Classifier(SHAPE, 2)
        networks.set_weights(reference, run.final.average)
        size = config.train.batch
        steps = range(statistics.BATCHES)
        update_bn([run.images.batch(statistics.STREAM, step, size)[0] for step in steps], reference)
        measured, expected = run.network().state_dict(), reference.state_dict()
        assert all(torch.equal(measured[name], expected[name]) for name in expected)
        assert not torch.equal(run.final.buffers["1.running_var"], measured["1.running_var"])


def test_statistics_do_not_depend_on_those_of_before_and_momentum_stays(store):
    network = nets.Norm(SHAPE, 2)
    config = own("Norm")
    making, chosen = making_of(config, store)
    run = making.make(chosen.rungs[0].chain)
    weights = {name: p.detach() for name, p in network.named_parameters()}
    seen = []
    for mean in (0.0, 50.0):
        buffers = networks.buffers_of(network) | {"norm.running_mean": torch.full((8,), mean)}
        run.fill(network, weights, buffers)
        seen.append(networks.buffers_of(network))
    assert all(torch.equal(seen[0][name], seen[1][name]) for name in seen[0])
    assert network.norm.momentum == 0.1
    assert network.training


def test_a_norm_that_stays_in_evaluation_keeps_its_statistics():
    network = nets.FrozenNorm(SHAPE, 2)
    assert statistics.followed(network) == []
    assert statistics.followed(nets.Norm(SHAPE, 2).eval()) != []


def test_a_given_network_that_is_only_measured_keeps_the_statistics_it_came_with(tmp_path, store):
    given = nets.Norm(SHAPE, 2)
    given.norm.running_var.fill_(4.0)
    save_file(given.state_dict(), tmp_path / "model.safetensors")
    words = {"model__pretrained": str(tmp_path), "train__steps": 0, "prune__ladder": ()}
    config = own("Norm", **words)
    (found,) = rounds(config, store)
    making, chosen = making_of(config, store)
    run = making.make(chosen.rungs[0].chain)
    x, y = run.images.held_out("validation", 8)
    losses = loss.panel(given.eval(), run.workshop.task, x, y, 4)
    assert float(losses.mean()) == found.metrics["loss/heldout"]


def test_running_statistics_are_cut_with_their_channels(store):
    config = classifier(prune__unit="channel")
    check(config)
    found = rounds(config, store)
    making, chosen = making_of(config, store)
    for rung, r in zip(chosen.rungs[1:], found[1:], strict=True):
        run = making.make(rung.chain)
        network = run.network()
        left = network[0].out_channels
        assert left < 8
        assert network[1].num_features == len(network[1].running_var) == left
        assert r.metrics["cost/parameters"] == sum(p.numel() for p in network.parameters())
        assert {len(run.final.buffers[f"1.running_{of}"]) for of in ("mean", "var")} == {8}


# what a network draws


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Plain", False), ("Norm", False), ("Drops", True), ("DropsAlways", True), ("Noisy", True)],
)
def test_whether_a_network_draws_is_asked_of_the_generators(name, expected):
    making, chosen = making_of(own(name), None)
    run = making.make(chosen.rungs[0].chain)
    before = torch.get_rng_state()
    assert making.learner(run).draws == expected
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("dropout", "expected"), [(0.0, False), (0.1, True)])
def test_dropout_of_the_unet_is_one_case_of_drawing(dropout, expected):
    making, chosen = making_of(tiny(model__dropout=dropout), None)
    learner = making.learner(making.make(chosen.rungs[0].chain))
    assert isinstance(learner, Learner)
    assert learner.draws == expected


REFUSED = {
    "ByNumpy": "draws from numpy or from Python's random",
    "ByPython": "draws from numpy or from Python's random",
    "ByItself": "answers otherwise at a second call",
    "Counts": "answers otherwise at a second call",
    "Hides": "keeps what it draws outside of parameters and buffers; use register_buffer",
    "Grows": "makes or resizes tensors when it is called",
    "Lazy": "has lazy layers",
    "Standardised": "middle: Reshaped transforms its weight, or may",
    "Patched": "a torch.nn.Conv2d, without a forward of its own, can be",
    "Spectral": "torch.nn.utils.parametrize.remove_parametrizations(LAYER, 'weight') makes it",
    "WeightNorm": "torch.nn.utils.parametrize.remove_parametrizations(LAYER, 'weight') makes it",
    "OldSpectral": "torch.nn.utils.remove_spectral_norm(LAYER) makes it a plain layer again",
    "OldWeightNorm": "torch.nn.utils.remove_weight_norm(LAYER) makes it a plain layer again",
    "Pruned": "torch.nn.utils.prune.remove(LAYER, 'weight') makes it a plain layer again",
    "Untaught": "first.weight: no gradient reaches it, so it would not be trained",
    "Halved": "has parameters that are neither float32 nor float64",
    "Complex": "has parameters that are neither float32 nor float64",
    "Moves": "changes its parameters when it is called",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_continued_exactly_is_refused_before_training(name):
    with pytest.raises(ConfigError) as caught:
        check(own(name))
    (line,) = caught.value.faults
    assert line.startswith(f"model.name = 'tests.nets:{name}': ")
    assert REFUSED[name] in line


REMOVERS = {
    "Spectral": lambda layer: parametrize.remove_parametrizations(layer, "weight"),
    "WeightNorm": lambda layer: parametrize.remove_parametrizations(layer, "weight"),
    "OldSpectral": nn.utils.remove_spectral_norm,
    "OldWeightNorm": nn.utils.remove_weight_norm,
    "Pruned": lambda layer: prune.remove(layer, "weight"),
}


@pytest.mark.parametrize("name", REMOVERS)
def test_what_a_refusal_says_makes_a_layer_that_is_taken(name):
    network = getattr(nets, name)(SHAPE, 2).eval()
    x, t = torch.zeros(1, *SHAPE), torch.tensor([3])
    before = network(x, t)
    REMOVERS[name](network.middle)
    assert "middle.weight" in networks.layers(network, (x, t))
    assert torch.allclose(network(x, t), before, atol=1e-6)
