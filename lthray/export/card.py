"""The README of an exported ticket, in the form of a model card."""

import json
import shlex
from collections.abc import Iterator, Sequence

from torch import Tensor

from lthray.config.trial import argv_of
from lthray.core import metrics
from lthray.export.recorded import RecordedTicket

PIPELINE = """\
import torch
from diffusers import {name}

pipeline = {name}.from_pretrained("."{trust})
images = pipeline(batch_size=4, num_inference_steps=50, generator=torch.manual_seed(0)).images
"""
LOOP = """\
import torch
from diffusers import {name}

pipeline = {name}.from_pretrained("."{trust})
unet, scheduler = pipeline.unet, pipeline.scheduler
scheduler.set_timesteps(50)
{classes}x = torch.randn(4, unet.config.in_channels, {sides})
for t in scheduler.timesteps:
    with torch.no_grad():
        answers = unet(x, t{labels}).sample
    x = scheduler.step(answers, t, x).prev_sample
{images}
"""
CLASSES = """\
classes = torch.arange(4) % unet.config.num_class_embeds  # no pipeline tells them to the network
"""
PIXELS = "images = x"
DECODED = "images = pipeline.vqvae.decode(x / pipeline.vqvae.config.scaling_factor).sample"
PROGRAM = """\
import torch

network = torch.export.load("network.pt2").module()
answers = network({example})
"""
TRUST = ", trust_remote_code=True"
SMALL = """\
Its channels were cut one by one, so that no config of diffusers says how wide its layers are. The
class that builds it lies in `unet/small_unet.py`; with `trust_remote_code=True` diffusers runs it.
"""
AGAIN = "In this folder, from the weights in the ticket file; moments of the optimizer start anew:"
ALONE = "Nothing is claimed of it: it was not confirmed on fresh seeds beside its controls."


def card(ticket: RecordedTicket, verdict: Sequence[str], use: str) -> str:
    """Return the README of a ticket in Markdown: what it is, what `verdict` may be claimed of it,
    code that uses it, and how to train it again."""
    lines = list(_header(use))
    lines += [f"# {ticket.trial.name}, density {ticket.round.density:.4g}", ""]
    lines += [_what(ticket), "", "## What is claimed", ""]
    lines += [f"* {line}" for line in verdict or [ALONE]]
    lines += ["", "## Use", "", "In this folder:", "", "```python", use.rstrip(), "```", ""]
    if TRUST in use:
        lines += [SMALL]
    lines += ["## Where it comes from", "", *_lineage(ticket), ""]
    lines += ["## Train it again", "", AGAIN, "", "```bash", *_again(ticket), "```", ""]
    return "\n".join(lines)


def of_pipeline(ticket: RecordedTicket, name: str) -> str:
    """Return code that samples with a pipeline of diffusers of class `name`.

    No pipeline tells classes to a network, and that of latents knows squares alone: then the loop
    is written out.
    """
    height, width = ticket.run.workshop.shape[1:]
    is_told = ticket.config.model.conditional
    is_plain = not is_told and (height == width or not ticket.latents)
    return (PIPELINE if is_plain else LOOP).format(
        name=name,
        trust=TRUST if ticket.is_small else "",
        classes=CLASSES * is_told,
        labels=", class_labels=classes" * is_told,
        sides=f"{height}, {width}",
        images=DECODED if ticket.latents else PIXELS,
    )


def of_program(example: Sequence[Tensor]) -> str:
    """Return code that calls a network with inputs like an `example`."""
    zeros = []
    for tensor in example:
        dtype = "" if tensor.is_floating_point() else f", dtype={tensor.dtype}"
        zeros.append(f"torch.zeros({', '.join(map(str, tensor.shape))}{dtype})")
    return PROGRAM.format(example=", ".join(zeros))


def _header(use: str) -> Iterator[str]:
    """Yield the facts that the Hub reads; the library is diffusers where the code uses it."""
    yield from ("---", "tags:", "- lottery-ticket", "- pruning")
    if "diffusers" in use:
        yield "library_name: diffusers"
    yield from ("---", "")


def _what(ticket: RecordedTicket) -> str:
    """Return what the network is, and what of it is left."""
    r, config = ticket.round, ticket.config
    dense = ticket.trial.rounds[0]
    kept, total = r.metrics[metrics.KEPT.name], dense.metrics[metrics.PARAMETERS.name]
    loss = r.metrics.get(metrics.HELDOUT.name)
    told = (
        f"A `{config.model.name}` for `{config.data.name}`, trained for {config.train.steps:,} "
        f"optimizer steps on one seed ({config.seed}): {kept:,.0f} of {total:,.0f} parameters "
        f"({kept / total:.1%}), {r.density:.4g} of the weights that may be pruned."
    )
    if loss is not None:
        told += f" Its held-out loss is {loss:.4f}, {r.metrics[metrics.EXCESS.name]:+.2%} beside "
        told += "its own dense network."
    return told


def _lineage(ticket: RecordedTicket) -> Iterator[str]:
    about = ticket.about
    yield f"* study: {about['study']}, trial {ticket.trial.id}, round {ticket.round.index}"
    yield f"* command: `{about.get('command', '?')}`"
    yield f"* lthray {about.get('lthray', '?')}, commit {about.get('commit') or 'unknown'}"
    made = ", ".join(f"{word} {value}" for word, value in ticket.round.made.items())
    yield f"* made on: {made}"
    for name, key in ticket.round.keys.items():
        if key:
            yield f"* {name}: `{key}`"
    words = json.dumps(ticket.config.canonical(), sort_keys=True, default=list)
    yield f"* config: `{words}`"


def _again(ticket: RecordedTicket) -> Iterator[str]:
    """Yield the command that trains this ticket from where it begins."""
    if not ticket.mask:
        yield ticket.about.get("command", "")
        return
    config = ticket.config
    own = config.canonical("data", "model", "objective", "latent", "train")
    words = {"rewind.rule": "given", "seed": config.seed, "stream": config.stream, **own}
    argv = ["lthray", "trial", "--origin", "ticket.safetensors", *argv_of(words)]
    root = " --data.root FOLDER" if ticket.config.data.root else ""
    yield shlex.join(argv) + root
