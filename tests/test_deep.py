"""A deep extractor: its numbers against the package's own and against definitions."""

import importlib.util

import numpy as np
import pytest
import torch

from lthray.__main__ import main
from lthray.config.fields import ConfigError
from lthray.measure import deep, quality
from lthray.task import data

from .conftest import rounds, tiny

SAMPLED = {"measure__samples": 320, "measure__sampling_steps": (2,), "measure__efficientnet": True}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let images be small, and real ones few."""
    monkeypatch.setattr(deep, "SIDE", 64)
    monkeypatch.setattr(deep, "REAL", 30)


@pytest.fixture(scope="module")
def real():
    pixels = data.load(tiny().data)
    return pixels.images[:40]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_those_of_the_package(channels):
    images = drawn(5, channels, 12, 10)
    extractor = deep.Extractor(images)
    x = images.expand(-1, 3, -1, -1).float() / 127.5 - 1
    x = torch.nn.functional.interpolate(x, (64, 64), mode="bilinear", align_corners=False)
    with torch.no_grad():
        theirs = extractor.network.extract_features(x)
    assert torch.equal(extractor.stages(images)[-1], theirs)
    assert torch.allclose(extractor(images), theirs.mean((2, 3)))
    assert not extractor.network.training


def test_the_perceptual_distance_is_its_definition():
    one, other = drawn(3, 1, 8, 8), drawn(3, 1, 8, 8, seed=1)
    extractor = deep.Extractor(one)
    assert len(extractor.stages(one)) == 5
    want = np.zeros(3)
    for a, b in zip(extractor.stages(one), extractor.stages(other), strict=True):
        a, b = a.double().numpy(), b.double().numpy()
        for image in range(3):
            places = [(i, j) for i in range(a.shape[2]) for j in range(a.shape[3])]
            far = []
            for i, j in places:
                u, v = a[image, :, i, j], b[image, :, i, j]
                u, v = u / max(np.linalg.norm(u), 1e-10), v / max(np.linalg.norm(v), 1e-10)
                far.append(((u - v) ** 2).sum())
            want[image] += np.mean(far)
    assert extractor.distances(one, other).numpy() == pytest.approx(want, rel=1e-4)
    assert torch.equal(extractor.distances(one, one), torch.zeros(3))


def test_a_distance_grows_with_the_noise_on_an_image(real):
    extractor = deep.Extractor(real)
    found = [0.0]
    for sigma in (10, 30, 90):
        noisy = (real[:10] + sigma * torch.randn(real[:10].shape)).clamp(0, 255).to(torch.uint8)
        found.append(float(extractor.distances(real[:10], noisy).mean()))
    assert found == sorted(found)
    assert len(set(found)) == len(found)


def test_fid_and_kid_are_their_definitions(real):
    fakes, extractor = drawn(25, 1, 8, 8), deep.Extractor(real)
    found = dict(deep.judged(fakes, extractor))
    assert found.keys() == {"fid_efficientnet", "kid_efficientnet"}
    mine, theirs = extractor(fakes).double().numpy(), extractor(real[:30]).double().numpy()
    a, b = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (mine, theirs))
    fid = ((mine.mean(0) - theirs.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum()
    fid -= 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum()  # the trace of the root of both
    assert found["fid_efficientnet"] == pytest.approx(fid, rel=1e-3)
    assert found["kid_efficientnet"] == pytest.approx(
        quality.kid(torch.tensor(mine), quality.Reals(torch.tensor(theirs)))
    )


def test_it_is_measured_of_dense_network_and_ticket_under_its_own_name(store):
    dense, ticket = rounds(tiny(prune__ladder=(0.5,), **SAMPLED), store)
    for r in (dense, ticket):
        assert r.metrics["quality/ddim/fid_efficientnet"] > 0
        assert "quality/ddim/kid_efficientnet" in r.metrics
        assert "quality/ddim/fid_lenet" in r.metrics
    assert ticket.metrics["quality/ddim/perceptual_efficientnet"] > 0
    assert "quality/ddim/perceptual_efficientnet" not in dense.metrics


def test_without_the_extra_it_is_told_how_to_install_it(monkeypatch, capsys, tmp_path):
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "efficientnet" in name else known(name)
    )
    words = ["trial", "--measure.efficientnet", "true", "--out", str(tmp_path)]
    assert main(words) == 2
    line = capsys.readouterr().err
    assert "measure.efficientnet = True: needs efficientnet_lite_pytorch" in line
    assert "pip install 'lthray[efficientnet]'" in line


def test_weights_that_are_not_known_are_refused(monkeypatch):
    monkeypatch.setattr(deep, "DIGEST", "0123456789abcdef")
    with pytest.raises(ConfigError, match="is not the file that is known"):
        deep.load()
