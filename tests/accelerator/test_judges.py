"""One owner of placement: extractors bring images to their device, and torch-fidelity moves
nothing, on a machine with CUDA as on any other."""

import pytest
import torch
from torch import nn

from lthray.measure import quality
from lthray.task.classifiers import LeNet5

from .conftest import Accelerator


@pytest.fixture
def with_cuda(monkeypatch):
    """Let the machine say that it has CUDA; whoever takes something there fails the test."""

    def moved(self, *_args, **_options):
        raise AssertionError("something was taken to CUDA behind the owner's back")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(nn.Module, "cuda", moved)
    monkeypatch.setattr(torch.Tensor, "cuda", moved)


def test_samples_are_judged_alike_on_every_device(accelerator: Accelerator, with_cuda):
    g = torch.Generator("cpu").manual_seed(5)
    images = torch.randint(0, 256, (400, 1, 8, 8), generator=g, dtype=torch.uint8)
    torch.manual_seed(1)
    network = LeNet5(1, (4, 8), 16, 10)
    found = []
    for device in (torch.device("cpu"), accelerator.device):
        judge = quality.Referee("lenet", network.to(device).features, images[:200], device)
        assert judge(images[:3]).device.type == "cpu"
        found.append(dict(quality.sample_metrics(images[200:], judge)))
    assert found[0].keys() == {"fid_lenet", "kid_lenet", "precision_lenet", "recall_lenet"}
    assert found[1] == {name: pytest.approx(value, rel=1e-2) for name, value in found[0].items()}


@pytest.mark.walk
def test_inception_works_on_the_device_that_it_is_given(accelerator, with_cuda, tmp_path):
    from safetensors.torch import save_file
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *a, **k: None)
        torch.manual_seed(0)
        weights = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict()
    path = tmp_path / "inception.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    g = torch.Generator("cpu").manual_seed(5)
    images = torch.randint(0, 256, (8, 1, 8, 8), generator=g, dtype=torch.uint8)
    found = []
    for device in ("cpu", accelerator.device):
        metrics = quality.inception_metrics(images[:4], images[4:], str(path), device)
        found.append(dict(metrics))
    near = {name: pytest.approx(value, rel=2e-2, abs=1e-4) for name, value in found[0].items()}
    assert found[1] == near
