"""A training run is what it is, wherever it is cut; and what a mask cuts stays cut everywhere."""

import itertools
import math

import pytest
import torch
from diffusers.training_utils import EMAModel

from lthray.config.trial import TrialConfig
from lthray.core.ticket import Mask
from lthray.task import networks
from lthray.task.data import load
from lthray.task.objectives import OBJECTIVES
from lthray.trial.state import NonFinite, State
from lthray.trial.training import CHUNK, Learner, decay_of, learning_rate

from .conftest import lenet, tiny

STEPS = 12


def learner_of(config: TrialConfig) -> Learner:
    images = load(config.data)
    network = networks.build(config.model, images.shape, 10, config.seed)
    make_task = OBJECTIVES[config.objective.name].task
    task = make_task(config.objective, "cpu", config.model.conditional)
    return Learner(network, task, images, config.train)


def mask_of(learner: Learner, density: float = 0.3) -> Mask:
    x = torch.zeros(1, *learner.images.shape)
    shapes = networks.layers(learner.network, learner.task.example(x))
    layers = {}
    for name, shape in shapes.items():
        draws = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        layers[name] = draws < density
    return Mask(layers)


def begin(learner: Learner, mask: Mask, step: int = 0) -> State:
    weights = {n: p.detach().clone() for n, p in learner.network.named_parameters()}
    return State.begin(weights, step).masked(mask)


def frozen(live: State) -> State:
    """Return a copy that does not change with the next step."""
    groups = []
    for group in (live.weights, live.average, live.moments):
        groups.append({n: t.clone() for n, t in group.items()})
    return State(live.step, live.age, *groups, live.seconds, live.loss_sum, live.losses)


def states(
    config: TrialConfig, stops, start: State | None = None, mask: Mask | None = None, **options
) -> list[State]:
    learner = learner_of(config)
    mask = mask if mask is not None else mask_of(learner)
    state = start or begin(learner, mask)
    trained = learner.run(state, mask, stream=config.stream, stops=stops, **options)
    return [frozen(live) for live in trained]


def assert_equal(a: State, b: State) -> None:
    assert (a.step, a.age, a.loss_sum, a.losses) == (b.step, b.age, b.loss_sum, b.losses)
    for group in ("weights", "average", "moments"):
        left, right = getattr(a, group), getattr(b, group)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[n], right[n]) for n in left), group


CONFIGS = {
    "unet": tiny(),
    "attention": tiny(model__attention=(0,), train__warmup=3, train__decay="cosine"),
    "adamw": tiny(train__optimizer="adamw", train__weight_decay=0.1),
    "sgd": tiny(train__optimizer="sgd", train__decay="linear", train__weight_decay=0.01),
    "no average": tiny(train__ema=0.0, train__clip=0.0),
    "channels last": tiny(train__channels_last=True),
    "bfloat16": tiny(train__autocast="bfloat16"),
    "shifted": tiny(data__augment="shift"),
    "dropout": tiny(model__dropout=0.3),
    "told the class": tiny(
        model__conditional=True, objective__prediction="v_prediction", objective__schedule="sigmoid"
    ),
    "lenet300": lenet(),
    "lenet5": lenet(model__name="lenet5", model__channels=(4, 4)),
    "resnet": lenet(model__name="resnet", model__channels=(8, 16), model__dropout=0.1),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_cut_at_every_step_and_continued_equals_whole_bit_for_bit(name):
    config = CONFIGS[name]
    whole = states(config, [STEPS])[-1]
    at_each = states(config, range(1, STEPS + 1))
    assert_equal(at_each[-1], whole)
    for cut in at_each[:-1]:
        assert_equal(states(config, [STEPS], start=cut)[-1], whole)


@pytest.mark.parametrize("lost", ["average", "moments", "age", "step"])
def test_dropping_a_part_of_the_state_is_noticed(lost):
    """Guard the test above: were a part of the state without effect, equality would prove
    nothing."""
    config = tiny(train__decay="cosine")
    whole, cut = states(config, [STEPS])[-1], states(config, [5])[-1]
    if lost == "average":
        cut.average = {n: w.clone() for n, w in cut.weights.items()}
    elif lost == "moments":
        cut.moments = {}
    elif lost == "age":
        cut.age = 0
    else:
        cut.step = 4
    other = states(config, [STEPS], start=cut)[-1]
    group = "average" if lost == "average" else "weights"
    left, right = getattr(other, group), getattr(whole, group)
    assert left
    assert not all(torch.equal(left[n], right[n]) for n in left)


@pytest.mark.parametrize("name", CONFIGS)
def test_zeros_of_weights_average_and_moments_are_the_mask_after_every_step(name):
    config = CONFIGS[name]
    learner = learner_of(config)
    mask = mask_of(learner)
    seen = 0
    for live in learner.run(begin(learner, mask), mask, stream=0, stops=range(1, STEPS + 1)):
        seen += 1
        slots = {key.split("/")[0] for key in live.moments}
        assert slots
        groups = [live.weights, live.average]
        groups += [{n: live.moments[f"{slot}/{n}"] for n in mask} for slot in slots]
        for group in groups:
            assert mask.holds(group)
        for tensors in (live.weights, live.average):  # and nothing else is zero
            assert all(torch.equal(tensors[n] != 0, bits) for n, bits in mask.items())
        parameters = dict(learner.network.named_parameters())
        assert all(torch.equal(parameters[n] != 0, bits) for n, bits in mask.items())
    assert seen == STEPS


def test_weights_without_a_mask_all_train():
    config = tiny()
    learner = learner_of(config)
    mask = mask_of(learner)
    start = begin(learner, mask)
    (end,) = states(config, [STEPS], start=start, mask=mask)
    assert all(
        not torch.equal(end.weights[n], w) for n, w in start.weights.items() if n not in mask
    )


def test_the_dense_step_is_torchs_own_loop():
    """Write the run as anybody would: Adam, clipping, an average by diffusers' EMAModel."""
    config = tiny(train__ema=0.1, train__decay="constant")
    learner = learner_of(config)
    mine = states(config, [STEPS], mask=Mask({}))[-1]
    network = networks.build(config.model, learner.images.shape, 10, config.seed).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=config.train.lr)
    average = EMAModel(network.parameters(), decay=0.999)
    total = 0.0
    for step in range(STEPS):
        x, y = learner.images.batch(config.stream, step, config.train.batch)
        x_t, t, eps = learner.task.draw(x, y, config.stream, step)
        loss = torch.nn.functional.mse_loss(network(x_t, t).sample, eps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.step(network.parameters())
        total += loss.item()
    for name, parameter in network.named_parameters():
        assert torch.allclose(mine.weights[name], parameter, atol=1e-5), name
    assert mine.loss_sum == pytest.approx(total, rel=1e-5)
    assert mine.losses == STEPS
    decays = [(1 + n) / (10 + n) for n in range(STEPS)]
    assert [decay_of(config.train, n) for n in range(STEPS)] == decays
    # diffusers' first update has decay 0 and its ramp begins one step later; past that the rule is
    # the same
    assert average.get_decay(7) == decay_of(config.train, 6)


def profile_of(width: float, updates: int) -> torch.Tensor:
    """Weights of the average by the closed form: Gamma(t + g) / Gamma(t), g = 1 / width - 2."""
    t = torch.arange(1, updates + 2, dtype=torch.float64)  # the first is what it began with
    logs = torch.lgamma(t + 1 / width - 2) - torch.lgamma(t)
    return torch.softmax(logs, 0)


@pytest.mark.parametrize("width", [0.02, 0.1, 0.3, 0.5])
def test_the_average_is_as_wide_as_its_word_says(width):
    """By the run's own states, and the mean age of what is averaged is width x updates."""
    config = tiny(train__ema=width)
    first = begin(learner_of(config), Mask({}))
    each = [first, *states(config, range(1, STEPS + 1), mask=Mask({}))]
    counts = profile_of(width, STEPS)
    for name, averaged in each[-1].average.items():
        wanted = sum(c * s.weights[name].double() for c, s in zip(counts, each, strict=True))
        assert torch.allclose(averaged.double(), wanted, atol=1e-6), name
    for updates in (1, STEPS, 400):
        decays = [decay_of(config.train, age) for age in range(updates)]
        left = torch.tensor([1.0, *(1 - d for d in decays)], dtype=torch.float64)
        for age, decay in enumerate(decays):
            left[: age + 1] *= decay
        ages = torch.arange(updates, -1, -1, dtype=torch.float64)
        assert torch.allclose(left, profile_of(width, updates), atol=1e-12)
        assert float(left @ ages) == pytest.approx(width * updates)


def test_no_width_is_no_average():
    train = tiny(train__ema=0.0).train
    assert [decay_of(train, age) for age in range(3)] == [0.0, 0.0, 0.0]


def test_the_average_is_the_lerp_of_its_own_weights():
    config = tiny(train__ema=0.5)
    each = states(config, range(1, 5), mask=Mask({}))
    for age, (a, b) in enumerate(itertools.pairwise(each), 1):
        d = decay_of(config.train, age)
        for name in a.weights:
            lerp = d * a.average[name] + (1 - d) * b.weights[name]
            assert torch.allclose(b.average[name], lerp, atol=1e-7)


def test_gradients_are_masked_before_they_are_clipped(monkeypatch):
    """METHODS 14.7: clipped first, the gradients of dead weights shrink the step of the living."""
    seen: list[float] = []
    real = torch.nn.utils.clip_grad_norm_

    def spy(parameters, limit):
        parameters = list(parameters)
        names = [n for n, _ in learner.network.named_parameters()]
        for name, parameter in zip(names, parameters, strict=True):
            if name in mask:
                assert bool((parameter.grad[~mask[name]] == 0).all())
        seen.append(float(real(parameters, limit)))
        return seen[-1]

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    config = tiny()
    learner = learner_of(config)
    mask = mask_of(learner)
    list(learner.run(begin(learner, mask), mask, stream=0, stops=[3]))
    assert len(seen) == 3


def test_two_runs_of_one_learner_share_nothing():
    config = tiny()
    learner = learner_of(config)
    mask = mask_of(learner)
    start = begin(learner, mask)
    first = [frozen(s) for s in learner.run(start, mask, stream=0, stops=[STEPS])][-1]
    list(learner.run(begin(learner, Mask({})), Mask({}), stream=9, stops=[7]))
    again = [frozen(s) for s in learner.run(start, mask, stream=0, stops=[STEPS])][-1]
    assert_equal(first, again)


def test_commits_between_stops_come_at_chunk_ends_and_change_nothing():
    config = tiny(train__steps=60)
    whole = states(config, [60])[-1]
    each = states(config, [60], due=lambda: True)
    assert [s.step for s in each] == [CHUNK, 2 * CHUNK, 60]
    assert_equal(each[-1], whole)
    assert_equal(states(config, [60], start=each[0])[-1], whole)


@pytest.mark.parametrize("bad_step", [0, 4, CHUNK, CHUNK + 3])
def test_the_first_loss_that_is_not_finite_is_named_and_nothing_after_it_is_yielded(
    bad_step, monkeypatch
):
    config = tiny()
    learner = learner_of(config)
    real, calls = learner.task.errors, []

    def errors(network, *inputs):
        calls.append(1)
        return real(network, *inputs) * (math.nan if len(calls) == bad_step + 1 else 1.0)

    monkeypatch.setattr(learner.task, "errors", errors)
    seen = []
    start = begin(learner, Mask({}))
    trained = learner.run(start, Mask({}), stream=0, stops=[60], due=lambda: True)
    with pytest.raises(NonFinite, match=f"nan at step {bad_step}$"):
        seen.extend(live.step for live in trained)
    assert all(step <= bad_step for step in seen)
    assert len(calls) <= (bad_step // CHUNK + 1) * CHUNK


@pytest.mark.parametrize("group", ["weights", "average", "moments"])
def test_a_state_that_is_not_finite_or_not_masked_is_never_committed(group):
    learner = learner_of(tiny())
    mask = mask_of(learner)
    (live,) = [frozen(s) for s in learner.run(begin(learner, mask), mask, stream=0, stops=[2])]
    live.check(mask)
    name = next(iter(mask))
    tensor = getattr(live, group)[name if group != "moments" else f"exp_avg/{name}"]
    dead = (~mask[name]).flatten().nonzero()[0]
    tensor.view(-1)[dead] = 1.0
    with pytest.raises(AssertionError, match="a cut weight is not zero at step 2"):
        live.check(mask)
    tensor.view(-1)[dead] = torch.inf
    with pytest.raises(NonFinite, match=f"{name} is not finite at step 2"):
        live.check(mask)


def test_the_rate_of_each_step():
    words = {"train__warmup": 10, "train__decay": "cosine", "train__floor": 0.1}
    train = tiny(train__steps=100, train__lr=1.0, **words).train
    rates = [learning_rate(train, s) for s in range(140)]
    assert rates[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55)
    assert rates[100:] == pytest.approx([0.1] * 40)
    linear = tiny(train__steps=100, train__decay="linear", train__lr=1.0, train__floor=0.5).train
    assert learning_rate(linear, 50) == 0.75
    constant = tiny(train__decay="constant", train__lr=0.3).train
    assert {learning_rate(constant, s) for s in range(50)} == {0.3}


def test_the_optimizer_gets_that_rate(monkeypatch):
    config = tiny(train__decay="linear", train__lr=0.01)
    learner, rates = learner_of(config), []
    real = torch.optim.Adam.step

    def spy(self):
        rates.append(self.param_groups[0]["lr"])
        return real(self)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    list(learner.run(begin(learner, Mask({}), step=2), Mask({}), stream=0, stops=[8]))
    assert rates == [learning_rate(config.train, s) for s in range(2, 8)]
