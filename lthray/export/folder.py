"""A ticket as a folder: a pipeline of diffusers, or a program of torch.export for other networks.

    README.md              what it is, what may be claimed of it, how to train it again
    ticket.safetensors     mask, and the weights from which it begins (docs/tickets.md)
    model_index.json       of a denoiser: DDPMPipeline or LDMPipeline with unet/, scheduler/, vqvae/
    network.pt2            of any other network: what it computes, for torch.export.load
    model.safetensors      its weights by name

Nothing of lthray is needed to read it.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from lthray.config.fields import ConfigError
from lthray.config.trial import TICKET
from lthray.export import card, small_unet
from lthray.export.recorded import RecordedTicket
from lthray.task.samplers import trained_scheduler

BATCH = 2  # images of the example with which a network is traced; one would be taken for a constant


def write(ticket: RecordedTicket, folder: Path, verdict: Sequence[str]) -> None:
    """Write a ticket to a new `folder`; `verdict` is what may be claimed of it, in sentences.

    The folder is complete or absent: it is written beside its place, and moved there. Raises
    ConfigError where something is there already.
    """
    if folder.exists():
        raise ConfigError([f"{str(folder)!r}: is there already; name a new folder"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        _fill(ticket, beside, verdict)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _fill(ticket: RecordedTicket, folder: Path, verdict: Sequence[str]) -> None:
    from diffusers import UNet2DModel

    save = _pipeline if isinstance(ticket.trained, UNet2DModel) else _program
    use = save(ticket, folder)
    if ticket.mask:
        (folder / TICKET).write_bytes(ticket.ticket())
    (folder / "README.md").write_text(card.card(ticket, verdict, use))


def _program(ticket: RecordedTicket, folder: Path) -> str:
    """Write what the network computes, for any number of images, and its weights; return code that
    uses it."""
    network, workshop = ticket.trained, ticket.run.workshop
    example = workshop.task.example(torch.zeros(BATCH, *workshop.shape))
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in example)
    try:
        program = torch.export.export(network, example, dynamic_shapes=shapes)
    except Exception as error:  # of many classes, as a forward pass may hold anything
        why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
        name = ticket.config.model.name
        raise ConfigError([f"{name}: torch.export cannot follow its forward ({why})"]) from None
    torch.export.save(program, folder / "network.pt2")
    save_file(_tensors(network), folder / "model.safetensors")
    return card.of_program(example)


def _tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights and buffers of a network, one that has two names under each."""
    return {name: tensor.clone().contiguous() for name, tensor in network.state_dict().items()}


def _pipeline(ticket: RecordedTicket, folder: Path) -> str:
    """Write a pipeline of diffusers: the network, the noise of its training, and the autoencoder of
    its latents; return code that uses it."""
    scheduler = trained_scheduler(ticket.run.workshop.objective)
    index: dict[str, Any] = {"_class_name": "DDPMPipeline"}
    latents = ticket.latents
    if latents is not None:
        autoencoder: Any = latents.network
        autoencoder.register_to_config(scaling_factor=1 / latents.scale)
        autoencoder.save_pretrained(folder / "vqvae")
        index = {"_class_name": "LDMPipeline", "vqvae": _named(autoencoder)}
        # where clean latents are cut here, in the word that diffusers has for it
        scheduler.register_to_config(clip_sample=True, clip_sample_range=latents.bound)
    scheduler.save_pretrained(folder / "scheduler")
    index["scheduler"] = _named(scheduler)
    index["unet"] = _unet(ticket, folder / "unet")
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return card.of_pipeline(ticket, index["_class_name"])


def _unet(ticket: RecordedTicket, folder: Path) -> list[str]:
    """Write the network and return what the index of its pipeline says of it.

    One without the channels that were cut has a class of its own, which travels with it.
    """
    network: Any = ticket.trained
    height, width = ticket.run.workshop.shape[1:]
    network.register_to_config(sample_size=height if height == width else (height, width))
    if not ticket.is_small:
        network.save_pretrained(folder)
        return _named(network)
    folder.mkdir()
    network.save_config(folder)
    save_file(_tensors(network), folder / small_unet.WEIGHTS)
    norms = {n: m.num_groups for n, m in network.named_modules() if isinstance(m, nn.GroupNorm)}
    (folder / small_unet.GROUPS).write_text(json.dumps(norms, indent=2) + "\n")
    shutil.copy(small_unet.__file__, folder / "small_unet.py")
    return ["small_unet", small_unet.SmallUNet2DModel.__name__]


def _named(part: Any) -> list[str]:
    return ["diffusers", type(part).__name__]
