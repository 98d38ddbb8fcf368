"""A UNet2DModel whose channels were cut one by one. This file travels with such a network.

No config of diffusers can say how wide each of its layers is. So the whole network is built, and
takes its weights as they are. It needs torch, diffusers and safetensors, and nothing of lthray.
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = "diffusion_pytorch_model.safetensors"
GROUPS = "norm_num_groups.json"  # name of a norm -> its number of groups
RESIZING = ("Upsample2D", "Downsample2D")  # modules that note how many channels they see


class SmallUNet2DModel(UNet2DModel):
    """A network of the whole one's structure, with fewer channels in places."""

    @classmethod
    def from_pretrained(cls, place: str, subfolder: str = "", **options: Any) -> "SmallUNet2DModel":
        """Return the network in a folder, for evaluation, in options["torch_dtype"] or float32."""
        folder = Path(place) / subfolder
        network: SmallUNet2DModel = cls.from_config(cls.load_config(folder))
        network.take(load_file(folder / WEIGHTS), json.loads((folder / GROUPS).read_text()))
        return network.to(options.get("torch_dtype") or torch.float32).eval()

    def take(self, weights: dict[str, Tensor], groups: dict[str, int]) -> None:
        """Take weights of whatever sizes, and the number of groups of each norm."""
        for name, tensor in weights.items():
            owner, _, last = name.rpartition(".")
            setattr(self.get_submodule(owner), last, nn.Parameter(tensor))
        for name, number in groups.items():
            norm = self.get_submodule(name)
            norm.num_groups, norm.num_channels = number, len(norm.weight)
        for module in self.modules():
            if type(module).__name__ in RESIZING and module.conv is not None:
                module.out_channels, module.channels = module.conv.weight.shape[:2]
