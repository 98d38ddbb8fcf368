"""What is measured agrees with independent formulas."""

import io
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg
from torch import nn

from lthray.config.parts import Model, Objective
from lthray.config.vocabulary import FEATURES
from lthray.core.task import to_bytes
from lthray.findings.stats import relative_excess
from lthray.measure import loss, quality
from lthray.measure.rows import Measured
from lthray.measure.table import MEASURES
from lthray.task import classifiers, networks
from lthray.task.data import load, taken
from lthray.task.objectives import Classify, Denoise
from lthray.trial.sources import judge_config
from lthray.trial.state import Samples
from lthray.trial.steps import marks

from .conftest import rounds, tiny


@pytest.fixture(scope="module")
def images():
    return load(tiny().data)


@pytest.fixture(scope="module")
def network():
    return networks.build(Model(channels=(8,), groups=4), (1, 8, 8), 10, 0).eval()


# the paired panel


def test_the_panel_is_the_plain_loss_at_each_image_and_timestep(images, network):
    task = Denoise(Objective(), "cpu")
    x, y = images.held_out("test", 7)
    found = loss.panel(network, task, x, y, 4)
    assert found.shape == (7, 4)
    for k, (x_t, t, eps) in enumerate(task.panel(x, y, 4)):
        for i in range(7):
            one = network(x_t[i : i + 1], t[i : i + 1]).sample.detach()
            assert float(found[i, k]) == pytest.approx(
                float((one - eps[i : i + 1]).square().mean()), rel=1e-4
            )


def test_the_panel_does_not_depend_on_how_it_is_cut_into_batches(images, network, monkeypatch):
    task = Denoise(Objective(), "cpu")
    x, y = images.held_out("test", 20)
    whole = loss.panel(network, task, x, y, 3)
    monkeypatch.setattr(loss, "SPLIT", 7)
    assert torch.allclose(loss.panel(network, task, x, y, 3), whole, atol=1e-5)


def test_bands_are_means_of_equal_parts_named_by_their_first_timestep():
    found = {band: at.tolist() for band, at in loss.bands(Denoise(Objective(), "cpu"), 20)}
    assert found == {f"t{200 * i:03d}": list(range(4 * i, 4 * i + 4)) for i in range(5)}
    assert [band for band, _ in loss.bands(Denoise(Objective(), "cpu"), 2)] == ["t000", "t200"]
    assert not list(loss.bands(Classify(Objective(name="classify"), "cpu"), 1))


class Trained:
    """A network as if trained, with what a measure may ask of it."""

    def __init__(self, network, task, images):
        self.images, self.workshop = images, SimpleNamespace(task=task)
        self._network = network

    def network(self):
        return self._network


def test_a_network_has_no_excess_over_itself_and_pairs_by_image(images, network):
    task = Denoise(Objective(), "cpu")
    spec = {"measure.images": 50, "measure.timesteps": 4}
    own = MEASURES["loss"].run(spec, Trained(network, task, images))
    excess = MEASURES["excess"].run({}, own, own).metrics
    assert excess == {"loss/excess": 0.0, "loss/excess_se": 0.0}
    halved = Measured(arrays={"loss": own.arrays["loss"] / 2})
    excess = MEASURES["excess"].run({}, own, halved).metrics
    assert excess["loss/excess"] == pytest.approx(1.0, abs=1e-6)
    assert excess["loss/excess_se"] == pytest.approx(0.0, abs=1e-6)
    assert own.metrics["loss/heldout"] == pytest.approx(float(own.arrays["loss"].mean()))
    x = images.scaled(images.splits["train"][:50])
    seen = float(loss.panel(network, task, x, x, 4).mean())
    assert own.metrics["loss/train"] == pytest.approx(seen)


def test_the_error_of_the_excess_is_that_of_a_bootstrap_over_images():
    rng = np.random.default_rng(0)
    dense = rng.gamma(4, 1, 300)
    ticket = dense * 1.03 + rng.normal(0, 0.2, 300)
    excess, error = relative_excess(ticket, dense)
    draws = [rng.integers(0, 300, 300) for _ in range(4000)]
    boot = [ticket[d].mean() / dense[d].mean() - 1 for d in draws]
    assert excess == pytest.approx(ticket.mean() / dense.mean() - 1)
    assert error == pytest.approx(np.std(boot), rel=0.05)
    unpaired = np.std(
        [
            ticket[rng.permutation(300)[:150]].mean() / dense[rng.permutation(300)[:150]].mean()
            for _ in range(999)
        ]
    )
    assert error < unpaired / 3  # pairing is what makes a margin of one per cent resolvable


def test_an_excess_of_matrices_takes_the_image_as_the_unit():
    rng = np.random.default_rng(1)
    a, b = rng.gamma(4, 1, (40, 20)), rng.gamma(4, 1, (40, 20))
    assert relative_excess(a, b) == pytest.approx(relative_excess(a.mean(1), b.mean(1)))


def test_a_glance_is_a_part_of_the_panel(images, network):
    task = Denoise(Objective(), "cpu")
    x, y = images.held_out("test", 20)
    part = loss.glance(network, task, x, y, 6)
    assert torch.equal(part, loss.panel(network, task, x[::4], y[::4], 3))
    assert loss.glance(network, task, x, y, 1).shape == (5, 1)
    assert loss.along(network, task, x, y, 6) == [float(part.mean())]


def test_a_point_along_a_classifiers_training_has_its_accuracy(images):
    net, task = (
        networks.build(Model(name="lenet300"), images.shape, 10, 0),
        Classify(Objective(name="classify"), "cpu"),
    )
    x, y = images.held_out("test", 40)
    held_out, accuracy = loss.along(net, task, x, y, 1)
    assert held_out == pytest.approx(
        nn.functional.cross_entropy(net(x[::4]), y[::4]).item(), rel=1e-5
    )
    assert accuracy == loss.accuracy(loss.correct(net, x, y)[::4])


def test_excess_and_lost_accuracy_are_zero_against_oneself_and_paired_against_others():
    losses = torch.rand(30, 4, generator=torch.Generator().manual_seed(0)) + 1
    assert loss.excess(losses, losses) == {"loss/excess": 0.0, "loss/excess_se": 0.0}
    excess, error = relative_excess((2 * losses).numpy(), losses.numpy())
    assert loss.excess(2 * losses, losses) == {"loss/excess": excess, "loss/excess_se": error}
    right = torch.arange(30) % 3 > 0
    assert loss.accuracy_lost(right, right) == {"quality/lost": 0.0, "quality/lost_se": 0.0}
    lost = loss.accuracy_lost(right, torch.ones(30, dtype=torch.bool))
    assert lost["quality/lost"] == pytest.approx(1 / 3)
    assert lost["quality/lost_se"] == pytest.approx(np.std([1, 0, 0] * 10, ddof=1) / 30**0.5)


def test_a_curve_has_the_mean_training_loss_between_its_points():
    points = [
        [10, 20.0, 10, 0.1, 1.5, 0.5],
        [20, 30.0, 20, 0.1, 1.2, 0.6],
        [20, 30.0, 20, 0.1, 1.1, 0.7],
    ]
    assert loss.curve(points) == [[10, 2.0, 1.5, 0.5], [20, 1.0, 1.2, 0.6], [20, 0.0, 1.1, 0.7]]
    assert loss.curve([]) == []


def test_accuracy_is_counted(images):
    net, task = (
        networks.build(Model(name="lenet300"), images.shape, 10, 0),
        Classify(Objective(name="classify"), "cpu"),
    )
    trained = Trained(net, task, images)
    found = MEASURES["accuracy"].run({"measure.images": 80}, trained)
    x, y = images.held_out("validation", 80)
    assert found.metrics["quality/accuracy"] == float((net(x).argmax(1) == y).double().mean())
    assert found.arrays["correct"].shape == (80,)
    losses = MEASURES["loss"].run({"measure.images": 80}, trained)
    assert losses.metrics["loss/heldout"] == pytest.approx(
        nn.functional.cross_entropy(net(x), y).item(), rel=1e-5
    )


@pytest.mark.parametrize(
    ("start", "end", "points"),
    [(0, 400, 10), (20, 400, 10), (400, 780, 10), (0, 8, 2), (0, 3, 10), (5, 9, 0)],
)
def test_marks_end_where_the_run_ends(start, end, points):
    found = marks(start, end, points)
    assert len(found) == min(points, end - start)
    assert list(found) == sorted(set(found))
    assert all(start < mark <= end for mark in found)
    assert not found or found[-1] == end


def test_the_curve_along_training_ends_at_the_panels_own_part(store):
    found = rounds(
        tiny(measure__checkpoints=4, measure__images=40, measure__timesteps=4, train__steps=40),
        store,
    )
    for r in found:
        curve = torch.tensor(r.curve)
        assert curve.shape == (4, 3)
        assert bool((curve[1:, 0] > curve[:-1, 0]).all())
        assert float(curve[-1, 2]) == pytest.approx(float(r.arrays["loss"][::4].mean()), rel=0.8)
    dense = torch.tensor(found[0].curve)
    assert dense[0, 2] > dense[-1, 2]
    assert bool((dense[:, 1] > 0).all())


# samples


def features_of(images: torch.Tensor) -> torch.Tensor:
    """Eight fixed random features."""
    g = torch.Generator().manual_seed(0)
    return torch.tanh(images.flatten(1) @ torch.randn(images[0].numel(), 8, generator=g) / 4)


def fid(a: np.ndarray, b: np.ndarray) -> float:
    """|mu_a - mu_b|^2 + tr(A + B - 2 (AB)^1/2), by scipy's square root (Heusel et al. 2017)."""
    A, B = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return float(
        ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(A + B - 2 * linalg.sqrtm(A @ B).real)
    )


@pytest.fixture(scope="module")
def real(images):
    return to_bytes(images.scaled(images.splits["train"]))


@pytest.fixture(scope="module")
def referee(real):
    return quality.Referee("test", features_of, real[:600])


def measured(fakes, referee) -> dict[str, float]:
    return dict(quality.sample_metrics(fakes, referee))


def test_features_are_standardised_by_the_real_images(referee):
    seen = referee(referee.real)
    assert torch.allclose(seen.mean(0), torch.zeros(8), atol=1e-5)
    assert torch.allclose(seen.std(0), torch.ones(8), atol=1e-4)


def test_fid_is_that_of_an_independent_formula(real, referee):
    fakes = spoilt(real)
    a, b = referee(fakes).double().numpy(), referee(referee.real).double().numpy()
    assert measured(fakes, referee)["fid_test"] == pytest.approx(fid(a, b), rel=1e-4)


def test_fid_precision_and_recall_are_those_that_torch_fidelity_makes_of_the_images(real, referee):
    from torch_fidelity import FeatureExtractorBase, calculate_metrics
    from torch_fidelity.registry import register_feature_extractor

    class Registered(FeatureExtractorBase):
        def __init__(self, name, features_list, **_):
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list():
            return ("8",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric):
            return "8"

        def forward(self, x):
            return (referee(x),)

    fakes = spoilt(real)
    register_feature_extractor("tests-of-quality", Registered)
    theirs = calculate_metrics(
        input1=quality._Images(fakes), input2=quality._Images(referee.real), fid=True, prc=True,
        feature_extractor="tests-of-quality", cuda=False, cache=False, verbose=False,
    )  # fmt: skip
    found = measured(fakes, referee)
    assert found["fid_test"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    assert found["precision_test"] == pytest.approx(theirs["precision"])
    assert found["recall_test"] == pytest.approx(theirs["recall"])


def test_real_images_are_seen_once_however_many_samples_are_judged(real):
    seen = []

    def features(x):
        seen.append(len(x))
        return features_of(x)

    referee = quality.Referee("test", features, real[:600])
    assert sum(seen) == 600
    for _ in range(2):
        measured(real[600:1000], referee)
    assert sum(seen) == 600 + 2 * 400


def test_kid_is_the_unbiased_sum_over_pairs_and_torch_fidelitys_where_both_sets_are_as_large(real):
    from torch_fidelity.metric_kid import kid_features_to_metric

    small = quality.Referee("small", features_of, real[:100])
    a, b = small(spoilt(real)[:100]), small(real[100:200])
    x, y = a.double().numpy(), b.double().numpy()
    k = lambda u, v: (float(u @ v) / 8 + 1) ** 3  # noqa: E731
    inner = [
        np.mean([k(u[i], u[j]) for i in range(100) for j in range(100) if i != j]) for u in (x, y)
    ]
    expected = sum(inner) - 2 * np.mean([k(u, v) for u in x for v in y])
    assert quality.kid(a, quality.Reals(b)) == pytest.approx(expected, rel=1e-9)
    theirs = kid_features_to_metric(a, b, kid_subsets=1, kid_subset_size=100, verbose=False)
    assert quality.kid(a, quality.Reals(b)) == pytest.approx(
        theirs["kernel_inception_distance_mean"], rel=1e-4
    )


def test_kid_keeps_what_is_small_beside_an_outlier():
    """The kernel of the outlier and itself is 1e24 times that of the others."""
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(quality.SPLIT + 40, 8, generator=g), torch.randn(100, 8, generator=g)
    a[520] = torch.eye(8)[0] * 3e4
    a[:520, 0] = b[:, 0] = 0.0  # what others have in common with it is small
    a[521:, 0] = 0.0
    x, y = a.double().numpy().astype(np.longdouble), b.double().numpy().astype(np.longdouble)
    within = []
    for rows in (x, y):
        kernel = (rows @ rows.T / 8 + 1) ** 3
        np.fill_diagonal(kernel, 0)
        within.append(kernel.sum() / (len(rows) * (len(rows) - 1)))
    expected = sum(within) - 2 * ((x @ y.T / 8 + 1) ** 3).mean()
    assert quality.kid(a, quality.Reals(b)) == pytest.approx(float(expected), rel=1e-9)


def spoilt(images: torch.Tensor) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return to_bytes(to_float(images[600:1000]) * 0.8 + 0.1 * torch.randn(400, 1, 8, 8, generator=g))


def to_float(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1


def test_fid_of_a_set_with_itself_is_zero_and_its_kid_negative(referee):
    found = measured(referee.real, referee)
    assert found["fid_test"] == pytest.approx(0, abs=1e-6)
    assert found["kid_test"] < 0
    assert found["precision_test"] == found["recall_test"] == 1


def test_fid_does_not_care_for_the_order_of_images(real, referee):
    """SCIENCE 0.1: the published FID took its covariance between images, so it did."""
    fakes = real[600:1000]
    again = fakes[torch.randperm(400, generator=torch.Generator().manual_seed(1))]
    a, b = measured(fakes, referee), measured(again, referee)
    assert a["fid_test"] == pytest.approx(b["fid_test"], rel=1e-5)
    assert a["precision_test"] == pytest.approx(b["precision_test"])


def test_fid_of_the_same_distribution_falls_with_n_and_kid_does_not(real, referee):
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(2))
    few = [measured(real[order[i * 100 : (i + 1) * 100]], referee) for i in range(5)]
    many = measured(real[order[:1000]], referee)
    assert np.mean([m["fid_test"] for m in few]) > 2 * many["fid_test"]
    assert abs(np.mean([m["kid_test"] for m in few]) - many["kid_test"]) < 0.03


def test_worse_images_have_worse_numbers(real, referee):
    noise = torch.randint(
        0, 256, (400, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )
    good, bad = measured(real[600:1000], referee), measured(noise, referee)
    assert bad["fid_test"] > 10 * good["fid_test"]
    assert bad["kid_test"] > 10 * abs(good["kid_test"])
    assert bad["precision_test"] < 0.5 < good["precision_test"]


def test_images_of_one_class_only_are_precise_and_lack_recall(images, referee):
    index = images.splits["train"][600:]
    ones = to_bytes(images.scaled(index[images.labels[index] == 1]))
    found = measured(ones[torch.arange(200) % len(ones)], referee)
    assert found["precision_test"] > 0.7
    assert found["recall_test"] < 0.3


def test_too_few_images_for_the_features_are_refused(real, referee):
    with pytest.raises(ValueError, match="79 images for 8 features: FID needs ten a feature"):
        measured(real[:79], referee)


def test_a_second_referee_of_the_same_name_is_not_confused_with_the_first(real, referee):
    other = quality.Referee("test", lambda x: features_of(x.flip(-1).roll(1, -2)), real[:600])
    a, b = measured(real[600:1000], referee), measured(real[600:1000], other)
    assert a["fid_test"] != b["fid_test"]
    assert measured(real[600:1000], referee) == a


def test_float_images_become_the_bytes_that_a_data_set_has(images):
    x = images.scaled(images.splits["train"][:50]) * 1.2
    assert int(to_bytes(x).max()) == 255
    assert torch.equal(
        to_bytes(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])),
        torch.tensor([0, 0, 128, 255, 255]),
    )


def test_memorised_images_are_found(real):
    copies = torch.unique(real.flatten(1), dim=0).reshape(-1, 1, 8, 8)[:50]
    assert quality.memorised(copies, copies) == 1.0
    assert quality.memorised(torch.zeros(10, 1, 8, 8, dtype=torch.uint8), real) == 0.0
    half = torch.cat([copies, torch.full_like(copies, 128)])
    assert quality.memorised(half, copies) == pytest.approx(0.5)
    assert quality.memorised(copies.flip(-1), copies) < 0.5
    assert quality.memorised(copies.flip(-1), copies, mirrored=True) == 1.0


def test_images_that_are_there_twice_can_be_memorised(real):
    copies = torch.unique(real.flatten(1), dim=0).reshape(-1, 1, 8, 8)[:50]
    assert quality.memorised(copies, torch.cat([copies, copies[:20]])) == 1.0
    mirrors = torch.cat([copies, copies.flip(-1)])
    assert quality.memorised(copies, mirrors, mirrored=True) == 1.0
    assert quality.memorised(copies, mirrors) == quality.memorised(copies, torch.cat([mirrors] * 2))


def test_memorised_is_the_ratio_of_the_two_nearest_of_all_images(real):
    """By brute force, whatever part of the images the nearest ones lie in."""
    g = torch.Generator().manual_seed(0)
    training = torch.randint(0, 256, (quality.SPLIT + 90, 1, 8, 8), generator=g).to(torch.uint8)
    shares = torch.linspace(0, 1, 40)[:, None, None, None]
    fakes = ((1 - shares) * training[-40:] + shares * training[:40]).to(torch.uint8)
    distances = (fakes[:, None].double() - training.double()).square().sum((2, 3, 4)).sqrt()
    first, second = distances.sort(1).values[:, :2].unbind(1)
    wanted = float((first < second / 3).double().mean())
    assert 0.2 < wanted < 0.8
    assert quality.memorised(fakes, training) == wanted


def test_copies_are_looked_for_in_every_image_that_was_trained_on():
    """In the last one as in the first; in none that data.fraction left out; of mirrored ones too"""
    pixels = load(tiny().data)
    size = len(pixels.splits["train"])
    last = to_bytes(pixels.scaled(pixels.splits["train"][size // 2 :]))

    def found(**words) -> float:
        images = taken(pixels, replace(tiny().data, **words))
        (share,) = (
            MEASURES["memorised"]
            .run({"sampler": "ddim"}, Samples(last), SimpleNamespace(images=images), pixels)
            .metrics.values()
        )
        return share

    assert found() > 0.9
    assert found(fraction=0.5) < 0.5
    assert found(augment="flip") > 0.9


def test_inception_reads_only_safetensors_and_gives_both_metrics(tmp_path, real, monkeypatch):
    from safetensors.torch import save_file
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with monkeypatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *a, **k: None)
        torch.manual_seed(0)
        weights = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict()
    save_file({n: t.contiguous() for n, t in weights.items()}, tmp_path / "inception.safetensors")
    found = dict(
        quality.inception_metrics(real[:6], real[6:12], str(tmp_path / "inception.safetensors"))
    )
    assert found.keys() == {"fid_inception", "kid_inception"}
    assert all(math.isfinite(value) for value in found.values())
    (tmp_path / "evil.safetensors").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(Exception, match="is a pickle, which can run code and is never loaded"):
        dict(quality.inception_metrics(real[:6], real[6:12], str(tmp_path / "evil.safetensors")))


def test_a_grid_is_a_picture_of_the_first_images(real):
    png = Image.open(io.BytesIO(quality.grid(real[:70])))
    assert png.size == (8 * 26 + 2, 8 * 26 + 2)
    first = np.asarray(png)[2:26, 2:26, 0].reshape(8, 3, 8, 3)[:, 0, :, 0]
    assert (first == real[0, 0].numpy()).all()
    assert quality.grid(real[:70]) == quality.grid(real[:64])


def test_a_sampled_round_carries_its_metrics_by_sampler_and_extractor_and_a_picture(store):
    config = tiny(
        measure__samples=320,
        measure__sampling_steps=(2,),
        measure__rounds=(-1,),
        measure__samplers=("ddim", "ddpm"),
    )
    dense, _, last = rounds(config, store)
    assert not any(name.startswith("quality/") for name in dense.metrics)
    for sampler in ("ddim", "ddpm"):
        names = {
            f"quality/{sampler}/{m}"
            for m in ("fid_lenet", "kid_lenet", "precision_lenet", "recall_lenet", "memorised")
        }
        assert names <= last.metrics.keys()
        assert last.files[f"samples_{sampler}"].startswith(b"\x89PNG")


def test_the_registered_extractor_knows_the_digits(store):
    """A referee that cannot tell digits apart would judge nothing."""
    (r,) = rounds(judge_config(tiny()), store)
    assert r.metrics["quality/accuracy"] > 0.95
    assert FEATURES * 10 <= 400


# the network that judges


@pytest.mark.parametrize(("height", "width"), [(4, 4), (7, 7), (8, 5), (3, 6)])
def test_a_judge_pools_by_torchs_adaptive_average(height, width):
    x = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    rows, columns = classifiers.averages(height, 4, x), classifiers.averages(width, 4, x)
    pooled = nn.functional.adaptive_avg_pool2d(x, 4)
    assert torch.allclose(rows @ x @ columns.mT, pooled, atol=1e-6)
