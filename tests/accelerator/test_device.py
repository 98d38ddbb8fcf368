"""The pretended device refuses what a real one refuses, and notes what a real one waits for; and
what is measured is drawn alike on every device."""

import pytest
import torch

from lthray.config.parts import Objective
from lthray.config.trial import TrialConfig
from lthray.core.random import fixed_noise, generator
from lthray.task import data, networks
from lthray.task.objectives import OBJECTIVES
from lthray.task.samplers import sample
from lthray.task.statistics import STREAM

from ..golden.table import UNET
from . import pretended
from .conftest import Accelerator


def test_tensors_of_two_devices_do_not_mix(accelerator: Accelerator):
    here, there = torch.ones(3, device=accelerator.device), torch.ones(3)
    for mixed in (
        lambda: here + there,
        lambda: torch.cat([here, there]),
        lambda: torch._foreach_mul([here], [there]),
        lambda: torch.where(there > 0, here, here),
        lambda: torch.nn.functional.linear(here, torch.ones(2, 3)),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()
    assert (here + torch.tensor(1.0)).cpu().tolist() == [2, 2, 2]  # a number may lie on the CPU
    assert here[torch.tensor([0, 1])].cpu().tolist() == [1, 1]  # and so may an index
    with pytest.raises(TypeError, match="numpy"):
        here.numpy()


def test_a_generator_draws_on_its_own_device_another_stream(accelerator: Accelerator):
    device = accelerator.device
    drawn = torch.randn(4, generator=generator("a", device=device), device=device)
    again = torch.randn(4, generator=generator("a", device=device), device=device)
    assert torch.equal(drawn.cpu(), again.cpu())
    assert not torch.equal(drawn.cpu(), torch.randn(4, generator=generator("a")))
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(4, generator=generator("a"), device=device)
    with accelerator.twins(), pytest.raises(RuntimeError, match="generator"):
        torch.randn(4, generator=generator("a", device=device))


def test_waits_and_copies_are_noted():
    device = pretended.install()
    x, index = torch.arange(4.0, device=device), torch.tensor([1], device=device)
    asks = {
        "_local_scalar_dense": lambda: float(x.sum()),
        "nonzero": lambda: x.nonzero(),
        "index by a mask": lambda: x[x > 1],
        "index_put": lambda: x.index_put_((index,), x[:1].clone()),
        "to the host": lambda: x.cpu(),
        "to the device": lambda: torch.ones(2).to(device),
    }
    for what, ask in asks.items():
        with pretended.noted() as found:
            ask()
        assert [what in event for event in found] == [True], (what, found)
    with pretended.noted() as found:
        (x * 2 + 1).sort(stable=True).indices[:2].sum().sqrt()
        torch.ones(2, device=device).to(torch.float64)
    assert not found


def test_gradients_and_optimizers_work_there(accelerator: Accelerator):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.GroupNorm(2, 4))
    x, results = torch.randn(2, 1, 6, 6), []
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    for device in (torch.device("cpu"), accelerator.device):
        networks.set_weights(network, weights)
        network = network.to(device)
        optimizer = torch.optim.Adam(network.parameters(), 1e-2, fused=True)
        for _ in range(3):
            network(x.to(device)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append(torch.cat([p.detach().cpu().flatten() for p in network.parameters()]))
    assert results[1].tolist() == pytest.approx(results[0].tolist(), **accelerator.tolerance)


def test_dropout_on_a_device_is_a_function_of_the_seed_and_leaves_all_states(accelerator):
    device = accelerator.device
    module, ones = torch.get_device_module(device), torch.ones(64, device=device)
    before = torch.get_rng_state(), module.get_rng_state(device)
    drawn = []
    for seed in (1, 1, 2):
        with networks.drawing(seed, device):
            drawn.append(torch.nn.functional.dropout(ones, 0.5).cpu())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(module.get_rng_state(device), before[1])


def test_panels_are_equal_on_every_device_and_training_draws_are_the_devices_own(accelerator):
    g = torch.Generator().manual_seed(3)
    x, y = torch.rand(6, 1, 8, 8, generator=g), torch.arange(6)
    panels, draws = [], []
    for device in (torch.device("cpu"), accelerator.device):
        task = OBJECTIVES["denoise"].task(Objective(), device)
        seen = [column for inputs in task.panel(x.to(device), y.to(device), 3) for column in inputs]
        panels.append([column.cpu() for column in seen])
        draws.append(task.draw(x.to(device), y.to(device), 0, 1)[1].cpu())
    for here, there in zip(*panels, strict=True):
        assert torch.allclose(here.float(), there.float(), atol=1e-6)
    assert not torch.equal(*draws)
    noise = fixed_noise((2, 3), "bank", device=accelerator.device)
    assert torch.equal(noise.cpu(), torch.randn(2, 3, generator=generator("bank")))


def test_what_statistics_are_estimated_with_is_equal_on_every_device(accelerator: Accelerator):
    config = TrialConfig.from_flat(UNET | {"data.augment": "flip_shift"})
    seen = []
    for device in (torch.device("cpu"), accelerator.device):
        images = data.load(config.data).to(device)
        x, y = images.batch(STREAM, 3, 8)
        t = OBJECTIVES["denoise"].task(config.objective, device).draw(x, y, STREAM, 3)[1]
        seen.append((x.cpu(), t.cpu()))
    for here, there in zip(*seen, strict=True):
        assert torch.equal(here, there)


def test_samples_begin_with_and_are_given_equal_noise_on_every_device(accelerator):
    network = torch.nn.Identity()  # says that an image is all noise
    network.forward = lambda x, t: x  # type: ignore[method-assign]
    made = []
    for device in (torch.device("cpu"), accelerator.device):
        bank = fixed_noise((3, 1, 4, 4), "bank", device=device)
        made.append(sample(network, Objective(), "ddpm", 5, bank).cpu())
    assert torch.allclose(*made, atol=1e-4)
