"""What does a training step cost: masked, unmasked, beside a plain diffusers loop?

    python studies/throughput.py  digits U-Net, one thread
    python studies/throughput.py --preset cifar10 --train.autocast bfloat16 \\
        --train.channels-last --train.compile reduce-overhead

All three train the same network. They are timed in turn, a block of steps each, so that a machine
which gets slower slows all of them; what counts is the ratio of neighbouring blocks. Prints
milliseconds a step and the median ratios with their quartiles; writes nothing. On a GPU ours uses
algorithms that give equal bits each time, as trials do, and plain the fastest. Goals: masked at
most 1.03 x unmasked; ours at most 1.0 x plain (0.4 x on a GPU). Needs no data set: images are
noise.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel

from lthray.cli import configured, guarded
from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig, input_shape, shape_of
from lthray.config.vocabulary import OBJECTIVES
from lthray.core.ticket import Mask
from lthray.task import networks
from lthray.task.data import Images
from lthray.task.objectives import Denoise
from lthray.trial.fingerprint import settle_algorithms
from lthray.trial.state import State
from lthray.trial.training import Learner

BLOCKS, STEPS = 30, 25  # blocks that are timed, steps of each
WARM = 2  # blocks before them
RATIOS = (("masked", "unmasked"), ("masked", "plain"), ("unmasked", "plain"))


def images_of(config: TrialConfig, device: torch.device) -> Images:
    """Return noise in the shape of the config's data set, or of its latents."""
    classes, count = shape_of(config.data)[2], 4096
    pixels = torch.randint(0, 256, (count, *input_shape(config)), dtype=torch.uint8)
    labels = torch.randint(0, classes, (count,))
    images = Images(pixels, labels, 255, {"train": torch.arange(count)}, "none", "")
    return images.to(device)


def ours(config: TrialConfig, images: Images, density: float | None) -> Iterator[None]:
    """Train by our step, under a random mask of `density` or none; yields after each block."""
    device = images.images.device
    network = networks.build(config.model, images.shape, 10, seed=0)
    task = Denoise(config.objective, device)
    learner = Learner(network, task, images, config.train)
    first = images.scaled(torch.zeros(1, dtype=torch.int64, device=device))
    mask = Mask({})
    if density is not None:
        shapes = networks.layers(network, task.example(first))
        mask = Mask({name: torch.rand(shape) < density for name, shape in shapes.items()})
    weights = {name: p.detach().cpu().clone() for name, p in network.named_parameters()}
    stops = range(STEPS, (BLOCKS + WARM + 1) * STEPS, STEPS)
    for _ in learner.run(State.begin(weights, 0).masked(mask), mask, stream=0, stops=stops):
        yield


def plain(config: TrialConfig, images: Images) -> Iterator[None]:
    """Train as diffusers' unconditional training example does; yields after each block.

    Its step is AdamW, clipping and EMAModel in float32.
    """
    device = images.images.device
    network = networks.build(config.model, images.shape, 10, seed=0).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.train.lr)
    average = EMAModel(network.parameters(), decay=0.999, use_ema_warmup=True)
    timesteps = config.objective.timesteps
    scheduler = DDPMScheduler(timesteps, beta_schedule=config.objective.schedule)
    everything = images.scaled(images.splits["train"])
    while True:
        for _ in range(STEPS):
            batch = torch.randint(0, len(everything), (config.train.batch,), device=device)
            clean = everything[batch]
            noise = torch.randn_like(clean)
            t = torch.randint(0, timesteps, (len(clean),), device=device)
            predicted = network(scheduler.add_noise(clean, noise, t), t).sample
            loss = torch.nn.functional.mse_loss(predicted, noise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            average.step(network.parameters())
            loss.detach().item()  # as the example does, to log it
        yield


def measure(config: TrialConfig) -> dict[str, list[float]]:
    """Return the seconds a step of each rival, block by block; rivals take turns."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = images_of(config, device)
    rivals = {
        "masked": ours(config, images, 0.1),
        "unmasked": ours(config, images, None),
        "plain": plain(config, images),
    }
    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else _nothing
    times: dict[str, list[float]] = {name: [] for name in rivals}
    settle_algorithms(device)
    is_exact = torch.are_deterministic_algorithms_enabled()
    for block in range(WARM + BLOCKS):
        for name, rival in rivals.items():
            torch.use_deterministic_algorithms(is_exact and name != "plain", warn_only=True)
            wait()
            began = time.perf_counter()
            next(rival)
            wait()
            if block >= WARM:
                times[name].append((time.perf_counter() - began) / STEPS)
    return times


def _nothing() -> None:
    """Wait for nothing: a CPU is done when its call returns."""


def main() -> int:
    """Print the table."""
    config, options = configured(sys.argv[1:], "python studies/throughput.py", __doc__ or "")
    if not OBJECTIVES[config.objective.name].denoises or config.model.conditional:
        raise ConfigError(["only a denoiser that is told no class is timed beside plain diffusers"])
    torch.set_num_threads(options.cpus_per_trial)
    times = measure(config)
    where = f"CPU, {torch.get_num_threads()} thread(s)"
    if torch.cuda.is_available():
        where = torch.cuda.get_device_name()
    size = f"batch {config.train.batch}, {BLOCKS} blocks of {STEPS} steps each"
    print(f"{where}, torch {torch.__version__}, {size}")
    for name, seconds in times.items():
        print(f"  {name:9} {1e3 * statistics.median(seconds):7.2f} ms a step")
    for a, b in RATIOS:
        ratios = [x / y for x, y in zip(times[a], times[b], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"  {a} / {b}: {middle:.3f}  (quartiles {low:.3f} to {high:.3f})")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
