"""Robustness: attacks reach what a closed form says, stress grows with severity, and a denoiser is
compared only with dense networks that are as good."""

import itertools
import math
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lthray.config.fields import ConfigError
from lthray.config.parts import Objective
from lthray.config.stressors import STRESSES
from lthray.core import metrics
from lthray.core.record import TrialRecord
from lthray.findings import robustness as rb
from lthray.findings.claims import judged
from lthray.findings.evidence import gather
from lthray.measure import stress
from lthray.measure.stress import (
    LEVELS,
    STRESSORS,
    View,
    at_random,
    attacked,
    changed,
    gradient,
    projected,
    views,
)
from lthray.task import data
from lthray.task.objectives import OBJECTIVES, PREDICTIONS
from lthray.task.samplers import jittered, unsettled
from lthray.trial.recipe import trajectory

from .conftest import making_of, rounds, tiny
from .test_verdicts import LADDER, studied, trial

PAGE = runpy.run_path(str(Path(__file__).parent.parent / "analysis/robustness.py"))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# attacks


@pytest.mark.parametrize("radius", [0.1, 1.0, 5.0])
def test_an_attack_on_a_linear_denoiser_is_the_closed_form(radius):
    """For f(z) = c z the error is c^2 |z - x / c|^2 / dim, largest straight away from x / c.

    Steps of 2.5 radius / steps leave exp(-2.5) of what is aside, in L2; signs leave nothing.
    """
    c, z = 0.7, drawn(6, 1, 4, 4)
    x = 10 * drawn(6, 1, 4, 4, seed=1).sign() + drawn(
        6, 1, 4, 4, seed=2
    )  # no other maximum is near

    def errors(moved: Tensor) -> Tensor:
        return (c * moved - x).square().flatten(1).mean(1)

    apart = (z - x / c).flatten(1)
    found = attacked(errors, z, radius, "l2", 40)
    want = c**2 * (apart.norm(dim=1) + radius) ** 2 / 16
    assert torch.allclose(errors(found), want, rtol=5e-3)
    assert (errors(found) <= want * (1 + 1e-6)).all()
    found = attacked(errors, z, radius, "linf", 40)
    want = c**2 * (apart.abs() + radius).square().mean(1)
    assert torch.allclose(errors(found), want, rtol=1e-4)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_an_attack_stays_within_its_radius_and_beats_random_noise(norm):
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1))
    z, x = drawn(5, 1, 8, 8), drawn(5, 1, 8, 8, seed=1)

    def errors(moved: Tensor) -> Tensor:
        return (network(moved) - x).square().flatten(1).mean(1)

    last = torch.zeros(5)
    for radius in (0.1, 0.5, 2.0):
        found = attacked(errors, z, radius, norm, 20)
        apart = (found - z).flatten(1)
        size = apart.norm(dim=1) if norm == "l2" else apart.abs().amax(1)
        assert (size <= radius * 1.0001).all()
        worst = errors(found)
        noise = errors(z + at_random(z, radius, norm))
        assert (worst > noise).all()
        assert (worst > last).all()
        last = worst


def test_more_restarts_are_never_weaker():
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 3, padding=1))
    z = drawn(5, 1, 6, 6)

    def errors(moved: Tensor) -> Tensor:
        return network(moved).square().flatten(1).mean(1)

    one, three = (errors(attacked(errors, z, 1.0, "l2", 5, restarts=n)) for n in (1, 3))
    assert (three >= one).all()


def test_projection_and_gradient():
    delta = drawn(4, 1, 3, 3)
    inside = projected(delta, 100.0, "l2")
    assert torch.equal(inside, delta)
    assert torch.allclose(projected(delta, 0.5, "l2").flatten(1).norm(dim=1), torch.full((4,), 0.5))
    assert float(projected(delta, 0.5, "linf").abs().max()) <= 0.5
    slope = gradient(lambda z: z.square().flatten(1).sum(1), delta)
    assert torch.allclose(slope, 2 * delta)


# stressors


def view(network: nn.Module | None = None, prediction: str = "epsilon", images: int = 12) -> View:
    task = OBJECTIVES["denoise"].task(Objective(prediction=prediction), "cpu")
    pixels = data.load(tiny().data)
    x, y = pixels.held_out("test", images)
    return list(views(network or nn.Identity(), task, x, y, 3))[1]


@pytest.mark.parametrize(
    "name", ["gaussian", "salt", "blur", "contrast", "less_noise", "more_noise"]
)
def test_stress_on_inputs_grows_with_severity(name):
    seen = view(images=100)
    moved = [0.0]
    for severity in STRESSES[name].severities:
        given = STRESSORS[name].inputs(seen, severity)
        moved.append(float((given - seen.z).square().mean()))
    assert all(one < other for one, other in itertools.pairwise(moved))


def test_images_keep_their_range_where_a_camera_would():
    seen = view(images=50)
    for severity in STRESSES["salt"].severities:
        image = (STRESSORS["salt"].inputs(seen, severity) - seen.noise * seen.eps) / seen.signal
        hit = (image - seen.x).abs() > 1e-4
        share = float(hit.float().mean())
        assert 0.3 * severity < share < 1.3 * severity  # some pixels are black or white already
        assert torch.allclose(image[hit].abs(), torch.ones(1), atol=1e-4)
    flat = (STRESSORS["contrast"].inputs(seen, 0.4) - seen.noise * seen.eps) / seen.signal
    assert torch.allclose(flat.mean((1, 2, 3)), seen.x.mean((1, 2, 3)), atol=1e-5)
    assert torch.allclose(flat.std((1, 2, 3)), 0.4 * seen.x.std((1, 2, 3)), rtol=1e-4)


def test_weights_that_are_cut_stay_cut():
    layer = nn.Linear(40, 30)
    with torch.no_grad():
        layer.weight[:, ::2] = 0
    cut = layer.weight == 0
    for name in ("weights", "integers"):
        for severity in STRESSES[name].severities:
            change = STRESSORS[name].weights
            other = changed(layer, ["weight"], lambda w, n: change(severity, w, n))  # noqa: B023
            assert (other.weight[cut] == 0).all()
            assert torch.equal(other.bias, layer.bias)
            assert not torch.equal(other.weight, layer.weight)
    shaken = STRESSORS["weights"].weights(0.1, layer.weight.detach(), "x")
    spread = (shaken - layer.weight)[~cut].std() / layer.weight[~cut].std()
    assert float(spread) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("bits", [8, 4])
def test_integers_are_as_many_as_their_bits_hold(bits):
    weight = drawn(6, 3, 3, 3)
    rounded = STRESSORS["integers"].weights(bits, weight, "x")
    scale = weight.abs().flatten(1).amax(1) / (2 ** (bits - 1) - 1)
    apart = (rounded - weight).abs().flatten(1).amax(1)
    assert (apart <= 0.5001 * scale).all()
    for row in rounded.flatten(1):
        assert len(row.unique()) <= 2**bits - 1


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_right_answer_is_the_clean_image(prediction):
    """A network that answers as it should has no error, whatever it is to predict."""
    seen = view(prediction=prediction)
    right = seen.task.target(seen.x, seen.eps, seen.signal, seen.noise)

    class Right(nn.Module):
        def forward(self, x, t):
            return right

    assert float(replace(seen, network=Right()).errors(seen.z).max()) < 1e-6


def test_levels_are_quantiles_of_the_signal_to_noise_ratio():
    task = OBJECTIVES["denoise"].task(Objective(), "cpu")
    x = torch.zeros(2, 1, 8, 8)
    seen = list(views(nn.Identity(), task, x, torch.zeros(2).long(), 1))
    ratio = (task.signal / task.noise).log()
    for level, each in zip(LEVELS, seen, strict=True):
        below = float((ratio < ratio[each.t[0]]).float().mean())
        assert below == pytest.approx(level, abs=0.005)
    assert len({float(each.eps.sum()) for each in seen}) == len(LEVELS)


def test_samples_are_moved_at_their_start_or_on_their_way():
    network, bank = nn.Conv2d(1, 1, 1), drawn(3, 1, 4, 4)
    same, moved = unsettled(network, bank, "start", 0.1)
    assert same is network
    assert float((moved - bank).std()) == pytest.approx(0.1, rel=0.3)
    other, kept = unsettled(network, bank, "steps", 0.1)
    assert torch.equal(kept, bank)
    first, second = other(bank), other(bank)
    assert not torch.equal(first, second)  # other noise at every call
    again = jittered(network, 0.1)
    assert torch.equal(first, again(bank))  # and the same for every network
    assert torch.equal(network(bank), network(bank))


def test_no_two_stressors_share_their_noise(monkeypatch):
    calls, drawn_noise = [], stress.fixed_noise

    def noted(shape, *words, device):
        calls.append(words)
        return drawn_noise(shape, *words, device=device)

    class Silent(nn.Module):
        def forward(self, x, t):
            return x

    seen = view(Silent())
    monkeypatch.setattr(stress, "fixed_noise", noted)
    for name in ("gaussian", "l2"):
        STRESSORS[name].inputs(seen, 0.1)
    assert len(set(calls)) == len(calls) >= 3


# as a measure of a round

STRESSED = {"measure__robust": 10, "measure__attack": 2, "measure__sampling_steps": (2,)}


def test_every_stressor_is_measured_of_dense_network_ticket_and_control(store):
    found = [
        *rounds(tiny(**STRESSED), store),
        rounds(tiny(control="shuffle", **STRESSED), store)[1],
    ]
    for r in found:
        for name, row in STRESSES.items():
            assert len(rb.severities(r, name)) == len(row.severities)
            assert all(error > 0 for error in rb.severities(r, name))
        assert r.metrics[metrics.HUGE_ATTACK.name] > 1
        assert (metrics.TRANSFERRED.name in r.metrics) == (r.index > 0)
        assert {"stress_l2", "stress_blur"} <= set(r.files)
    own = rb.severities(found[1], "l2")[1]
    assert found[1].metrics[metrics.TRANSFERRED.name] != pytest.approx(own)


def test_latents_are_stressed_too(store):
    config = tiny(
        model__channels=(4, 8), objective__name="latent_denoise", latent__steps=4, **STRESSED
    )
    r = rounds(config, store)[-1]
    assert r.metrics[metrics.CLEAN_ERROR.name] > 0
    assert not any(name.startswith("stress_") for name in r.files)


def test_stress_is_measured_of_stored_networks_and_trains_nothing(store, monkeypatch):
    plain = rounds(tiny(), store)
    making, chosen = making_of(tiny(**STRESSED), store)
    monkeypatch.setattr(type(making), "learner", lambda *_: pytest.fail("something is trained"))
    for rung in chosen.rungs:
        for name in ("robust", "attack"):
            making.make(rung.measures[name])
    assert len(plain) == len(chosen.rungs)


def test_classifiers_are_not_asked():
    from .conftest import lenet

    rung = trajectory(lenet(measure__robust=8)).rungs[1]
    assert not {"robust", "attack", "transferred"} & set(rung.measures)


# at matched clean error

SEEDS, STEPS = 6, 400
SHARES = (0.25, 0.35, 0.5, 0.6, 0.7, 0.85, 1.2, 1.4, 1.7, 2.0)
VALID = {
    metrics.OVER_RANDOM.name: 9.0,
    metrics.LONGER_ATTACK.name: 1.001,
    metrics.HUGE_ATTACK.name: 900.0,
    metrics.TRANSFERRED.name: 0.0,
}


def numbers(clean: float, offset: float = 0.0, slope: float = 0.6) -> dict[str, float]:
    """Metrics of a denoiser whose error under stress follows its clean error, but for an offset."""
    made = {metrics.CLEAN_ERROR.name: clean, **VALID}
    for name, row in STRESSES.items():
        for place, severity in enumerate(row.severities):
            worse = 1.0 + 0.2 * (place + 1)
            stressed = worse * clean**slope * math.exp(offset)
            made[metrics.STRESSED.of(stressor=name, severity=f"{severity:g}")] = stressed
    return made


def clean_of(steps: float, seed: int) -> float:
    return 0.1 * (steps / STEPS) ** -0.15 * (1 + 0.01 * seed)


def measured(record: TrialRecord, *rows: dict[str, float]) -> TrialRecord:
    for r, found in zip(record.rounds, rows, strict=False):
        r.metrics.update(found)
    return record


def recorded(ticket=0.0, quality=0.95, noise=0.0, control=0.2, shares=SHARES, seed=0):
    """Six seeds: eleven dense networks, tickets and controls; `ticket` is their offset, `quality`
    their clean error over the dense one."""
    draw = np.random.default_rng(seed)

    def jitter() -> float:
        return float(noise * draw.standard_normal())

    found = []
    for s in range(SEEDS):
        dense = numbers(clean_of(STEPS, s), jitter())
        for arm, offset, better in (
            ("none", ticket, quality),
            ("shuffle", 0.0, 1 + control),
            ("reinit", 0.0, 1 + control),
        ):
            rows = [numbers(better * clean_of(STEPS, s), offset + jitter()) for _ in LADDER]
            one = trial(arm, s, (better - 1,) * 2, **{"prune.ladder": list(LADDER)})
            found.append(measured(one, dense, *rows))
        again = trial("dense", s, (0.001,), fork=1, **{"rewind.rule": "init", "rungs": [1]})
        found.append(measured(again, dense, numbers(clean_of(STEPS, s) * 1.001, jitter())))
        for share in shares:
            words = {"train.steps": round(share * STEPS), "prune.ladder": []}
            other = trial("none", s, (), dense=0.09 * share**-0.15, **words)
            found.append(measured(other, numbers(clean_of(share * STEPS, s), jitter())))
    return found


def verdict_of(found):
    evidence = next(e for e in gather(found) if e.steps == STEPS)
    (verdict,) = judged([evidence])
    return verdict


def test_a_planted_difference_is_found_at_matched_clean_error():
    for planted in (-0.2, 0.0, 0.3):
        evidence = verdict_of(recorded(planted)).evidence
        (cells,) = evidence.recipes.values()
        for cell in cells.values():
            for name in STRESSES:
                values = list(rb.deltas(evidence, cell.tickets, name).values())
                assert values == pytest.approx([planted] * SEEDS, abs=1e-6)


def test_a_worse_denoiser_is_not_called_more_robust():
    """Its ratio of errors is smaller, and delta is not."""
    evidence = verdict_of(recorded(0.0, quality=1.1)).evidence
    (cells,) = evidence.recipes.values()
    cell = cells[LADDER[0]]
    ticket, dense = (
        float(PAGE["ratio"](rounds, "l2")) for rounds in (cell.tickets, evidence.dense)
    )
    assert ticket < 0.98 * dense
    assert max(map(abs, rb.deltas(evidence, cell.tickets, "l2").values())) < 1e-6


def test_nothing_is_said_from_outside_of_the_dense_networks_or_beside_too_few():
    evidence = verdict_of(recorded(0.0, quality=0.5)).evidence
    (cells,) = evidence.recipes.values()
    values = rb.deltas(evidence, cells[LADDER[0]].tickets, "l2").values()
    assert all(map(math.isnan, values))
    assert verdict_of(recorded(0.0, quality=0.5)).claims
    few = verdict_of(recorded(0.0, shares=SHARES[:5]))
    assert not any(t.holds for t in few.claims if t.statement.name.startswith("not less"))


def test_claims_follow_the_planted_difference():
    for planted, less, more in ((-0.2, True, True), (0.0, True, False), (0.3, False, False)):
        verdict = verdict_of(recorded(planted, noise=0.003))
        for tested in verdict.claims:
            name = tested.statement.name
            if name.startswith("not less robust"):
                assert tested.holds == less
            if name.startswith("more robust"):
                assert tested.holds == more


FAULTS = {
    metrics.OVER_RANDOM.name: 1.0,
    metrics.LONGER_ATTACK.name: 1.1,
    metrics.HUGE_ATTACK.name: 1.5,
    metrics.TRANSFERRED.name: 9.0,
    metrics.STRESSED.of(stressor="l2", severity="0.05"): 9.0,  # larger than at a larger radius
}


def with_fault(found, name: str, seeds, tickets: bool):
    """Let attacks on the tickets, or on two of the dense networks of these seeds, fail a check."""
    for each in found:
        if each.point.seed not in seeds or each.point.control != "none":
            continue
        steps = each.point.config.get("train.steps")
        if tickets:
            chosen = each.rounds[1:]
        else:
            chosen = each.rounds[:1] * (steps in (round(SHARES[0] * STEPS), 2 * STEPS))
        for r in chosen:
            r.metrics[name] = FAULTS[name]
    return found


def rows_of(found, label: str):
    return [row[5:] for row in page(found)["robustness"].table if label in row]


@pytest.mark.parametrize("name", FAULTS)
def test_a_ticket_whose_attack_is_not_valid_is_a_seed_without_a_value(name):
    found = with_fault(recorded(0.0, noise=0.002), name, {2}, tickets=True)
    held = {t.statement.name for t in verdict_of(found).claims if t.holds}
    assert rb.not_less("blur") in held
    assert not {rb.not_less("l2"), rb.not_less("linf")} & held
    seeds, mean, held_cell, _ = rows_of(found, "attack in L2")[0]
    assert (seeds, held_cell) == (f"5 of {SEEDS}", "–")
    assert "<" not in mean  # no bound is told of a part of the seeds
    table = page(found)["attacks"].table
    assert table[1][-1] == "–"
    assert all(row[-1].endswith(f"(1 of {SEEDS})") for row in table[2:])


def test_why_nothing_is_told_of_an_attack():
    name, everyone = metrics.LONGER_ATTACK.name, set(range(SEEDS))
    tickets = with_fault(recorded(0.0), name, everyone, tickets=True)
    dense = with_fault(recorded(0.0), name, everyone, tickets=False)
    for found, why in ((tickets, "attack invalid"), (dense, "too few dense networks")):
        for row in rows_of(found, "attack in L2"):
            assert row == [f"0 of {SEEDS}", "–", why, "–"]
        assert all("yes" in row for row in rows_of(found, "blur"))


def test_dense_networks_of_other_budgets_are_called_as_robust(quick):
    """Calibration: dense at .6 S and dense at S, in simulated studies."""
    outcomes = []
    for seed in range(60):
        evidence = verdict_of(recorded(noise=0.012, seed=seed)).evidence
        outcomes += [rb.calibrated(evidence, name) for name in STRESSES]
    assert len(outcomes) == 60 * len(STRESSES)
    assert np.mean(outcomes) >= 0.95


def test_a_stressor_that_tells_dense_networks_of_other_budgets_apart_decides_nothing():
    """Planted: the network of .6 of the steps is 10 % less robust to one stressor."""
    found = recorded(-0.2, noise=0.002)
    for each in found:
        if each.point.config.get("train.steps") == round(0.6 * STEPS):
            for name in each.rounds[0].metrics:
                if name.startswith("robust/blur_"):
                    each.rounds[0].metrics[name] *= 1.1
    held = {t.statement.name for t in verdict_of(found).claims if t.holds}
    assert {rb.more("gaussian"), rb.not_less("gaussian")} <= held
    assert not {rb.more("blur"), rb.not_less("blur"), rb.by_chance("blur")} & held
    assert [row[2] for row in rows_of(found, "blur")] == ["not calibrated"] * 2
    (line,) = [line for line in page(found)["robustness"].text if "Calibration" in line]
    assert "11 of 12 stressors; nothing is claimed under blur." in line


@pytest.mark.parametrize(("growth", "tells"), [(1.14, False), (1.17, True)])
def test_a_stressor_that_hardly_harms_the_dense_network_decides_nothing(growth, tells):
    """Whoever is not harmed is robust: below three margins of 5 % (x1.158) nothing is told."""
    found = recorded(-0.2, noise=0.002)
    for r in {id(r): r for each in found for r in each.rounds}.values():
        clean = r.metrics.get(metrics.CLEAN_ERROR.name)
        for name in r.metrics:
            if name.startswith("robust/blur_"):
                worse = 1 + 0.2 * (1 + [0.4, 0.6, 0.8].index(float(name.rpartition("_")[2])))
                r.metrics[name] *= growth / worse * clean**0.4
    evidence = verdict_of(found).evidence
    assert rb.calibrated(evidence, "blur")
    assert rb.harms(evidence, "blur") == tells
    held = {t.statement.name for t in verdict_of(found).claims if t.holds}
    assert ({rb.more("blur"), rb.not_less("blur")} <= held) == tells
    assert {rb.more("gaussian"), rb.not_less("gaussian")} <= held
    weak = [line for line in page(found)["robustness"].text if "Too weak to tell" in line]
    assert bool(weak) != tells
    assert {row[2] for row in rows_of(found, "blur")} == {"yes" if tells else "too weak to tell"}


def test_false_claims_of_a_page_are_rare(quick):
    """Tickets that are as robust as dense networks are called more robust in at most 5 %."""
    studies, false = 150, 0
    for seed in range(studies):
        verdict = verdict_of(recorded(noise=0.02, seed=1000 + seed))
        wrong = [
            t
            for t in verdict.claims
            if t.holds and t.statement.name.startswith(("more robust", "robust by chance"))
        ]
        false += bool(wrong)
    assert false / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


# the page


def page(found) -> dict:
    return {section.name: section for section in PAGE["sections"](studied(found))}


def test_the_page_says_what_holds_and_checks_itself():
    made = page(recorded(0.0, noise=0.002))
    text = made["robustness"].text
    assert text[0].startswith(f"At {STEPS} steps, tickets of density 0.5 are shown to be not less")
    assert "attack in L2" in text[0]
    assert any(line.startswith("Calibration:") for line in text)
    assert any("is claimed 0 times of 12" in line for line in text)
    head, *rows = made["robustness"].table
    assert len(rows) == 2 * len(STRESSES)
    assert all(row[head.index("not less robust (< 5.0%)")] == "yes" for row in rows)
    names = [row[1] for row in made["controls"].table[1:]]
    assert names == ["ticket", "shuffled", "re-initialised"] * 2 + ["second dense"]
    assert made["stress_l2"].figure.lines[0].name == "dense"
    assert made["stress_l2"].figure.lines[0].x[0] == 0.0


def test_the_page_of_verdicts_lists_what_is_claimed_of_dense_networks_too():
    page = runpy.run_path(str(Path(__file__).parent.parent / "analysis/ticket_frequency.py"))
    made = {s.name: s for s in page["sections"](studied(recorded(0.0, noise=0.002)))}
    (claims,) = [s for name, s in made.items() if name.endswith("_claims")]
    chance = [row for row in claims.table if row[2].startswith("robust by chance")]
    assert len(chance) == len(STRESSES)
    assert all(row[:2] == ["–", "–"] for row in chance)


def test_other_studies_have_no_such_page():
    found = [trial("none", s, (-0.05, -0.05)) for s in range(3)]
    assert PAGE["applies"](studied(found)) == PAGE["NOTHING"]
    with pytest.raises(ConfigError):
        list(PAGE["sections"](studied(found)))
