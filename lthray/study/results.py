"""What became of the trials of a call, read back from the store; what each says by itself, and several in a table."""

import statistics
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lthray.config.trial import TrialConfig
from lthray.core.store import Store
from lthray.core.ticket import Round
from lthray.findings.evidence import margin_of, matches, worse
from lthray.study.ledger import Entry, Ledger


@dataclass(frozen=True)
class Trial:
    """A trial of a call, with those of its rounds that are stored."""

    ledger: Ledger
    about: Mapping[str, Any]
    entry: Entry
    rounds: tuple[Round, ...]

    @property
    def id(self) -> str:
        """Names the trial for ever."""
        return f"{self.ledger.key[:16]}-{self.entry.number:04d}"

    @property
    def name(self) -> str:
        """Its recipe and seed, in short."""
        return self.entry.point["name"]

    @property
    def status(self) -> str:
        """done, stopped, failed, or unfinished."""
        return self.entry.end["status"] if self.entry.end else "unfinished"

    @property
    def matching(self) -> float | None:
        """The sparsest density down to which every rung matches the trial's own dense network, if the first does.

        One seed's fact, its error that of the evaluation alone; a grade needs fresh seeds and controls.
        """
        found = None
        for r in self.rounds[1:]:
            if not matches(facts_of(r)):
                break
            found = r.metrics["density/prunable"]
        return found

    @property
    def summary(self) -> dict[str, Any]:
        """The trial as JSON, as it is recorded and as verdicts are given on it."""
        rounds = [facts_of(r) for r in self.rounds]
        return {"id": self.id, "point": self.entry.point, "end": self.entry.end or {}, "rounds": rounds}

    @property
    def older(self) -> bool:
        """Whether its weights have seen more optimizer steps than its dense network's: then its excess flatters it."""
        return self.rounds[-1].metrics["cost/steps_of_weights"] > self.rounds[0].metrics["cost/steps_of_weights"]


def trials(store: Store, ledger: Ledger, skip: Container[int] = ()) -> Iterator[Trial]:
    """The trials of a call as they stand in the store, but for the numbers to skip."""
    about = ledger.about
    for entry in ledger:
        if entry.number not in skip:
            found = (store.find(key) for key in entry.rounds)
            yield Trial(ledger, about, entry, tuple(Round.of(i.facts, i.tensors, i.files) for i in found if i))


def facts_of(r: Round) -> dict[str, Any]:
    """A round as JSON: all but the panel and the pictures."""
    return {name: getattr(r, name) for name in Round.FACTS} | {"curve": r.arrays["curve"].tolist()}


def score_of(metrics: Mapping[str, float], index: int) -> float:
    """What a search makes small: the excess of a ticket over its own dense network; of a dense one alone its held-out loss."""
    return metrics["loss/excess" if index else "loss/heldout"]


def ranked(found: Iterable[Trial]) -> list[Trial]:
    """Best first: the most rounds, then the smallest score at the last."""

    def rank(trial: Trial) -> tuple[int, float, int]:
        score = score_of(trial.rounds[-1].metrics, trial.rounds[-1].index) if trial.rounds else 0.0
        return -len(trial.rounds), score, trial.entry.number

    return sorted(found, key=rank)


def best(found: Iterable[Trial], rungs: int, *, fair: bool = True) -> list[Trial]:
    """Trials that went the whole ladder, best first, each recipe once; `fair`: at the dense network's own training budget."""
    whole = [t for t in ranked(found) if rungs and t.entry.point["control"] == "none" and len(t.rounds) == rungs + 1]
    kept = [t for t in whole if not (fair and t.older)]
    return list({t.entry.point["recipe"]: t for t in reversed(kept)}.values())[::-1]


def verdict(trial: Trial) -> str:
    """The trial's own seed's facts, in Markdown."""
    end = trial.entry.end
    reason = f": {end['reason']}" if end and end["reason"] else ""
    lines = [f"**{trial.name}** · {trial.status}{reason}"]
    if len(trial.rounds) > 1:
        rounds = [facts_of(r) for r in trial.rounds[1:]]
        what, margin = "accuracy lost to" if "quality/lost" in rounds[0]["metrics"] else "excess over", margin_of(rounds[0])
        lines += ["", f"| density | {what} its own dense network | standard error |", "|---|---|---|"]
        told = [(r["metrics"]["density/prunable"], *worse(r)) for r in rounds]
        lines += [f"| {density:.4f} | {d:+.2%} | {error:.2%} |" for density, d, error in told]
        match = f"down to density {trial.matching:.4f}" if trial.matching else "at no rung"
        lines += ["", f"Matches dense (margin {100 * margin:g}%, one seed, evaluation error only) {match}."]
        if trial.older:
            lines.append("Its weights have seen more optimizer steps than the dense network's, which flatters it.")
        lines.append("A grade needs controls and fresh seeds.")
    return "\n".join(lines)


def spent(found: Iterable[Trial], since: float) -> tuple[float, float]:
    """Of the rounds committed since a moment, each once: when the first began, and seconds of training and measuring."""
    fresh = {r.keys["round"]: r for trial in found for r in trial.rounds if r.created >= since}.values()
    runs = {r.keys["weights"]: r.seconds["train"] + r.seconds["along"] for r in fresh}
    first = min((r.created - sum(r.seconds.values()) for r in fresh), default=since)
    return max(first, since), sum(runs.values()) + sum(r.seconds["measure"] for r in fresh)


def config_of(point: Mapping[str, Any]) -> TrialConfig:
    """The config of a trial, from its point in the ledger or in MLflow."""
    return TrialConfig.from_flat({**point["config"], **point["places"]})


def pruned(config: TrialConfig) -> bool:
    """Whether a trial goes down a ladder; one that only trains a dense network is a reference, in no table of rungs."""
    return bool(config.prune.ladder or config.origin)


def surface(cells: Mapping[tuple[str, float], Sequence[float]], word: str) -> list[list[str]]:
    """(value of the word, density) -> numbers, as rows of text: a row a density, a column a value, a head above.

    Each cell is the mean, the standard deviation over the trials and their number.
    """
    values = list(dict.fromkeys(value for value, _ in cells))
    densities = sorted({density for _, density in cells}, reverse=True)
    rows = [[f"{density:.4g}", *(_cell(cells.get((value, density), ())) for value in values)] for density in densities]
    return [["density", *(f"{word} = {value}" for value in values)], *rows]


def _cell(found: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(found):.4f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):.4f}{spread} ({len(found)})" if found else "–"
