"""What does a ticket save? Counted, executed, timed and stored, side by side, and never one alone.

    python analysis/efficiency.py --experiment efficiency.digits

Counted are the multiply-accumulates of the kept weights. Executed are those that torch runs: zeros
are multiplied like any other weight, so that only cut channels count. Timed are the ticket and its
dense network in turns, on this machine, one thread, for batches of 1 and 64; a second copy of the
dense network says what timing by itself does. Weight tickets are also timed with their weights as
CSR matrices. Stored are the bytes of the ticket file beside those of the dense weights.

Faster is said where the lower bound of the speed-up is above 1.05 times the upper bound of that of
the dense network over its copy. What finding the ticket took is won back after so many images of 50
network calls; never, where the speed-up does not stand out from that of the copy.

The trained networks are read from the store below --out, on one seed: a latency is a matter of
shapes. The rest is read from MLflow. Writes tables, sentences and timings.json, the seconds of all
blocks, to <out>/reports/<experiment>/.
"""

import json
import math
import statistics as plain
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import lthray
from lthray.cli import asked, guarded
from lthray.config.fields import ConfigError
from lthray.config.options import Asked
from lthray.core import metrics
from lthray.core.record import Round, TrialRecord
from lthray.export.recorded import RecordedTicket
from lthray.findings.charts import arms
from lthray.findings.evidence import Cell, Evidence, comparable, gather
from lthray.findings.formats import NONE, listed, series
from lthray.findings.rounds import share_of_all
from lthray.findings.sections import Section, keep_trials, write
from lthray.findings.stats import median_interval, t_interval
from lthray.measure import speed
from lthray.tracking.read import Recorded

ORDER = 60  # place in a report
BATCHES = (1, 64)
FASTER = 1.05  # lower bound of a speed-up from which a ticket is called faster
TWICE = "dense twice"
CALLS = 50  # of the network, for one image
FLOAT = 4  # bytes
NO_TICKET = "no ticket is recorded there"
COSTS = (
    "recipe", "density", "of all", "seeds", "excess", "counted MACs", "stored bytes", "steps to it",
)  # fmt: skip
ALIKE = ("recipe", "density", "network", "measure", "seeds", "mean [95 %]")
BESIDE = (metrics.PAIRED, metrics.PERCEPTUAL, metrics.SSIM)
IMAGES = (
    "Each image stands beside the one that the dense network makes of the same noise. A second "
    "dense network says how far two of them lie apart. Distances are of features (paired, "
    "perceptual); ssim is 1 where two images are equal."
)
TIMED = (
    "recipe", "density", "counted", "executed", "batch", "speed-up [95 %]", "as CSR [95 %]",
    "dense twice [95 %]", "speed-up x executed", "peak memory", "modelled energy",
    "images to win it back",
)  # fmt: skip


DRAWN = ("search", "design")
"""Phases whose recipes were drawn: many, on few seeds or at one density each."""
DRAWN_RECIPES = (
    "its recipes were drawn, so a table of what each costs would say nothing of a method"
)


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    trials = recorded.of(call)
    if trials[0].point.phase in DRAWN:
        return DRAWN_RECIPES
    return "" if cells_of(trials) else NO_TICKET


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield what tickets cost, as it is recorded."""
    trials = recorded.of(call)
    cells = cells_of(trials)
    if not cells:
        raise ConfigError([NO_TICKET])
    text = [
        "Counted and stored are shares of the dense network's. A masked network computes as much "
        "as a dense one, whatever is counted: see the timed table, which "
        "`python analysis/efficiency.py` makes.",
        recorded.provenance(trials),
    ]
    rows = [costs(evidence, cell) for evidence, cell in cells]
    table, said = [list(COSTS), *rows], answer(cells)
    yield Section("efficiency", "What tickets cost", text, table, answer=said)
    alike = [row for evidence, cell in cells for row in images(evidence, cell)]
    if alike:
        title = "Images from equal noise, beside the dense network's"
        yield Section("images", title, [IMAGES], [list(ALIKE), *alike])


def answer(cells: Sequence[tuple[Evidence, Cell]]) -> list[str]:
    """Return what the sparsest ticket of each recipe costs, and what that does not say."""
    last: dict[str, list[str]] = {}
    for evidence, cell in cells:
        last[cell.recipe] = costs(evidence, cell)
    told = []
    for name, row in last.items():
        cost = dict(zip(COSTS, row, strict=True))
        told.append(
            f"{float(cost['counted MACs']):.0%} of the multiplications of a dense network and "
            f"{float(cost['stored bytes']):.0%} of its bytes at density {cost['density']} ({name})"
        )
    return [
        f"On paper tickets take {series(told)}.",
        "A masked network computes as much as a dense one: whether any time is saved is told by "
        "the timed table alone.",
    ]


def cells_of(trials: Sequence[TrialRecord]) -> list[tuple[Evidence, Cell]]:
    """Return all recipes at all densities with tickets, each recipe densest first."""
    found: list[tuple[Evidence, Cell]] = []
    for evidence in gather(comparable(trials)):
        for recipe in evidence.recipes:
            ladder = evidence.ladder(recipe)
            found += [(evidence, cell) for _, cell in ladder if cell.tickets]
    return found


def images(evidence: Evidence, cell: Cell) -> Iterator[list[str]]:
    """Yield how far the images of a density lie from the dense network's, for each arm."""
    networks = {label: cell.arms.get(arm, {}) for arm, label in arms().items()}
    networks["second dense"] = evidence.again
    for label, rounds in networks.items():
        for metric in BESIDE:
            for name in sorted({n for r in rounds.values() for n in r.metrics}):
                if metric.pattern.fullmatch(name):
                    values = [r.metrics[name] for r in rounds.values() if name in r.metrics]
                    place = [cell.recipe, f"{cell.density:.4g}", label]
                    yield [*place, name.removeprefix("quality/"), str(len(values)), between(values)]


def between(values: Sequence[float]) -> str:
    """Return a mean with its 95 % interval; alone where one value has none."""
    mean = f"{plain.fmean(values):.4g}"
    if len(values) < 2:
        return mean
    low, high = t_interval(values)
    return f"{mean} [{low:.4g}, {high:.4g}]"


def costs(evidence: Evidence, cell: Cell) -> list[str]:
    """Return the row of a recipe at a density: means over seeds."""
    tickets = list(cell.tickets.values())
    macs = plain.fmean(counted(r, evidence.dense[seed]) for seed, r in cell.tickets.items())
    excess = plain.fmean(cell.excess("none").values())
    stored = plain.fmean(map(stored_share, tickets))
    steps = plain.fmean(r.metrics[metrics.STEPS_SPENT.name] for r in tickets)
    row = [cell.recipe, f"{cell.density:.4g}", f"{share_of_all(tickets):.4g}", cell.seeds]
    row += [f"{excess:+.2%}", f"{macs:.3f}", f"{stored:.3f}"]
    return [*row, f"{steps:,.0f}"]


def counted(ticket: Round, dense: Round) -> float:
    """Return the multiply-accumulates of the kept weights over those of the dense network."""
    return ticket.metrics[metrics.MACS_MASKED.name] / dense.metrics[metrics.MACS_DENSE.name]


def stored_share(r: Round) -> float:
    """Return the bytes of a ticket file with its weights over those of the dense network's
    weights."""
    dense = r.metrics[metrics.KEPT.name] / r.metrics[metrics.TOTAL.name] * FLOAT
    return r.metrics[metrics.TICKET_BYTES_WITH_WEIGHTS.name] / dense


# on this machine


@dataclass(frozen=True)
class Timed:
    """What was measured of one ticket beside its dense network, at one batch size."""

    recipe: str
    density: float
    counted: float
    """Multiply-accumulates of the kept weights, as a share of the dense network's."""
    executed: float
    """Multiply-accumulates that torch runs, as such a share."""
    steps: int
    """Training steps of the networks."""
    batch: int
    dense: list[float]
    """Seconds of the dense network for an image, by block."""
    ratios: Mapping[str, list[float]]
    """What was timed -> the dense network's seconds over its own, by block."""
    memory: float
    """Bytes that a pass holds at most, as a share of the dense network's."""
    energy: float
    """Modelled joules of an image, as a share of the dense network's."""
    finding: float
    """Seconds that finding and training the ticket took beyond those of the dense network."""

    @property
    def noise(self) -> float:
        """The upper bound of the speed-up of the dense network over itself."""
        return max(1.0, median_interval(self.ratios[TWICE])[1])


def timings(trials: Sequence[TrialRecord], out: str) -> Iterator[Timed]:
    """Time the tickets of the first seed of each recipe, on this machine."""
    for trial in first_seed(trials):
        dense = lthray.load(trial.id, out=out, round=0)
        for r in trial.rounds[1:]:
            ticket = lthray.load(trial.id, out=out, round=r.index)
            for batch in BATCHES:
                yield timed(ticket, dense, batch)


def first_seed(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return of each recipe the ticket of its first seed that came to its end."""
    found: dict[str, TrialRecord] = {}
    for trial in sorted(trials, key=lambda trial: trial.point.seed):
        if trial.point.is_ticket and trial.rounds[1:] and trial.status == "done":
            found.setdefault(trial.point.recipe, trial)
    return list(found.values())


def timed(ticket: RecordedTicket, dense: RecordedTicket, batch: int) -> Timed:
    """Time a ticket in turns with its dense network, and with a copy of that; one of single weights
    also with CSR matrices."""
    workshop = ticket.run.workshop
    example = workshop.task.example(torch.zeros(batch, *workshop.shape))
    networks = {
        "dense": dense.network(),
        TWICE: dense.network(),
        "ticket": ticket.network(),
    }
    if not ticket.is_small:
        networks["as CSR"] = speed.sparse(ticket.network())
    calls = {name: caller(network, example) for name, network in networks.items()}
    seconds = speed.interleaved(calls, speed.BLOCKS)
    own = seconds.pop("dense")
    shares = [costs_of(networks[name], example) for name in ("ticket", "dense")]
    executed, memory, energy = (mine / whole for mine, whole in zip(*shares, strict=True))
    return Timed(
        recipe=ticket.trial.point.recipe,
        density=ticket.density,
        counted=counted(ticket.round, dense.round),
        executed=executed,
        steps=ticket.config.train.steps,
        batch=batch,
        dense=[each / batch for each in own],
        ratios={
            name: [d / s for d, s in zip(own, each, strict=True)] for name, each in seconds.items()
        },
        memory=memory,
        energy=energy,
        finding=finding(ticket.round, dense.round),
    )


def costs_of(network: nn.Module, example: Sequence[torch.Tensor]) -> tuple[float, float, float]:
    """Return the operations of an image, the bytes that a pass holds at most, and modelled joules
    of an image.

    Zeros are held, read and multiplied like any other weight.
    """
    weights = sum(parameter.numel() for parameter in network.parameters())
    operations = speed.executed(network, example)
    joules = speed.energy(operations, weights, len(example[0]))
    return operations, speed.peak(network, example), joules


def caller(network: nn.Module, example: Sequence[torch.Tensor]):
    """Return a call of a network without gradients."""

    def call() -> None:
        with torch.inference_mode():
            network(*example)

    return call


def finding(ticket: Round, dense: Round) -> float:
    """Return the seconds that a ticket took beyond its dense network, at the pace of that."""
    steps = [r.metrics[metrics.STEPS_SPENT.name] for r in (ticket, dense)]
    return (steps[0] - steps[1]) * dense.seconds["train"] / steps[1]


def timed_section(found: Sequence[Timed], on: str) -> Section:
    """Return the timed table; `on` says what machine it is of."""
    told = [line for each in found for line in faster(each)]
    steps = ", ".join(map(str, sorted({each.steps for each in found})))
    text = [
        f"One thread of {on}; {speed.BLOCKS} blocks, each with a turn of every network, "
        f"trained for {steps} steps: a latency is a matter of shapes, what finding took is not. "
        "Intervals are of the median over blocks. Peak memory and energy are shares of the dense "
        "network's; energy is modelled from operations and weights that are read (Horowitz 2014), "
        "not measured.",
        *told,
        *no_faster(found),
    ]
    rows = [list(TIMED), *map(row, found)]
    return Section("timed", "What tickets save on this machine", text, rows)


def row(found: Timed) -> list[str]:
    """Return the row of a ticket at a batch size."""
    speed_ups = [shown(found.ratios.get(name)) for name in ("ticket", "as CSR", TWICE)]
    own = float(np.median(found.ratios["ticket"]))
    return [
        found.recipe,
        f"{found.density:.4g}",
        f"{found.counted:.3f}",
        f"{found.executed:.3f}",
        str(found.batch),
        *speed_ups,
        f"{own * found.executed:.2f}",
        f"{found.memory:.3f}",
        f"{found.energy:.3f}",
        break_even(found),
    ]


def shown(ratios: Sequence[float] | None) -> str:
    """Return a median with its interval."""
    if ratios is None:
        return NONE
    low, high = median_interval(ratios)
    return f"{np.median(ratios):.2f} [{low:.2f}, {high:.2f}]"


def faster(found: Timed) -> Iterator[str]:
    """Yield that a ticket is faster, where its speed-up is shown to be above `FASTER`."""
    for name, ratios in found.ratios.items():
        low, _ = median_interval(ratios)
        if low > FASTER * found.noise and name != TWICE:
            how = "" if name == "ticket" else f" {name}"
            yield (
                f"{found.recipe} at density {found.density:.4g} is {np.median(ratios):.2f} times "
                f"as fast{how} as its dense network, for batches of {found.batch}."
            )


def no_faster(found: Sequence[Timed]) -> Iterator[str]:
    """Yield of which recipes no ticket is faster, masked or as CSR, at any batch size."""
    recipes = {
        each.recipe: [other for other in found if other.recipe == each.recipe] for each in found
    }
    for recipe, own in recipes.items():
        if not any(line for each in own for line in faster(each)):
            densities = listed(sorted({each.density for each in own}, reverse=True))
            yield f"{recipe} is not shown to be faster at any density ({densities}) or batch size."


def break_even(found: Timed) -> str:
    """Return after how many images the seconds of finding a ticket are won back, with the interval
    that follows from that of its speed-up."""
    image = plain.median(found.dense) * CALLS

    def images(speed_up: float) -> float:
        saved = image * (1 - 1 / speed_up)
        return found.finding / saved if saved > 0 else math.inf

    low, high = median_interval(found.ratios["ticket"])
    if low <= found.noise:
        return "never shown"
    ends = f"[{images(high):,.0f}, {images(low):,.0f}]"
    return f"{images(float(np.median(found.ratios['ticket']))):,.0f} {ends}"


def again(path: Path) -> Section:
    """Return the timed table of timings that are kept in a file."""
    kept = json.loads(path.read_text())
    return timed_section([Timed(**each) for each in kept["timings"]], kept["on"])


def main() -> int:
    """Write the tables, and the timings from which the timed one is made; return the exit code."""
    wanted = asked(Asked, sys.argv[1:], "python analysis/efficiency.py", __doc__ or "")
    recorded = Recorded(wanted.uri, wanted.experiment)
    torch.set_num_threads(1)
    made, trials = list(sections(recorded, wanted.call)), recorded.of(wanted.call)
    found = [asdict(each) for each in timings(trials, wanted.out)]
    machine = f"a CPU with {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"
    folder = Path(wanted.out) / "reports" / recorded.name
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "timings.json"
    kept.write_text(json.dumps({"on": machine, "timings": found}))
    print("\n".join(write([*made, again(kept)], folder)))
    keep_trials(trials, folder)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
