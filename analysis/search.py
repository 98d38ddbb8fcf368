"""What did a search try, which words mattered, and what is worth trying next?

    python analysis/search.py  the study that was recorded last
    python analysis/search.py --experiment layerwise_search.digits

Every trial of the search, best first, with what it cost. Importances, slices, contours, history and
parallel coordinates, drawn by Optuna. The trials that the study's own sampler would draw next, with
a forecast, as commands. Words are compared by the score at the sparsest density to which all trials
came, since those that went on were chosen.

Nothing here is a claim. The best of many is flattered by chance, and a search looks where scores
were good. Only the confirmation is graded. Reads MLflow only; writes tables, figures, sentences and
search.html, which needs no network, to <out>/reports/<experiment>/.
"""

import math
import re
import statistics as plain
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthray.cli import asked, guarded
from lthray.config.addresses import file_of, redacted
from lthray.config.fields import ConfigError
from lthray.config.options import Asked, Root
from lthray.core import metrics
from lthray.core.record import TrialRecord
from lthray.findings import forests, front, html, plots
from lthray.findings.chance import best_of, best_of_normal
from lthray.findings.evidence import gather
from lthray.findings.forests import Forecasts, Importance
from lthray.findings.formats import NONE
from lthray.findings.html import Chapter, Look
from lthray.findings.sections import Section, keep_trials, write
from lthray.study.ledger import FAILED
from lthray.study.results import best, ranked, score_of
from lthray.study.searched import Searched
from lthray.study.tables import shrinkage_lines, trial_command
from lthray.tracking.read import Recorded

if TYPE_CHECKING:
    import optuna

ORDER = 60  # place in a report
NEEDED = 10  # trials from which a forest is grown
NEXT = 3  # trials that are proposed
SEEN = 5  # trials that have a word, from which a slice is drawn
FEW = 5  # failures that are told one by one
LOSS = "held-out loss"
TRIALS = re.compile(r" --trials[ =]\d+")  # in a command
EXPLORATORY = (
    "Exploratory: a share of the variance of {} scores, by forests of these trials (fANOVA), mean "
    "and 90 % interval over forests. A search tries most where scores were good."
)
CHANCE = (
    "By chance, that is with scores shuffled among the trials, a share is up to what stands beside "
    "it in 95 % of forests. A share below that says nothing."
)
PED = (
    "PED-ANOVA asks otherwise: how a word differs between the best tenth and all trials. It counts "
    "words too that only some trials have."
)
SMOOTH = (
    "Dots were tried, of several at one dot the best is shown; what lies between them is drawn, "
    "not measured."
)
DRAWN = (
    "Drawn by the study's own sampler, given all {} trials, as if given out at once: with its own "
    "command, or one at a time."
)
ITSELF = "The first is what the study itself tries next."
UNLIKE = (
    "An older lthray has not recorded in which order words are drawn, so the study itself may try "
    "others."
)

Words = Mapping[str, Any]
Rows = list[list[str]]


def applies(recorded: Recorded, call: str = "") -> str:
    """Return why the page has nothing to say of a study; empty where it has."""
    try:
        search = recorded.searched(call)
    except ConfigError as error:
        return "; ".join(error.faults)
    return "" if search.common else "no trial of the search was scored"


def sections(recorded: Recorded, call: str = "") -> Iterator[Section]:
    """Yield what was tried, how scores came about, what mattered, and what is worth trying next."""
    if reason := applies(recorded, call):
        raise ConfigError([reason])
    search = recorded.searched(call)
    compared = Compared(search, search.study(search.common))
    text = [*counted(search), compared.told, *flattered(compared), *confirmed(recorded, search)]
    text.append(recorded.provenance(list(search.trials.values())))
    title, rows, said = "What was tried, best first", ranking(compared), answer(compared)
    yield Section("search_ranking", title, text, rows, answer=said)
    yield history(compared)
    yield from halving(search)
    yield from mattered(compared)
    yield parallel(compared)
    yield proposed(compared, recorded)


@dataclass(frozen=True)
class Compared:
    """A search whose trials are compared at the sparsest rung to which all of them came."""

    search: Searched
    study: "optuna.Study"
    """Its trials, each by its score there."""

    @property
    def scores(self) -> dict[int, float]:
        """Number of a trial -> score."""
        return self.search.at(self.search.common)

    @property
    def density(self) -> str:
        """Density that the rung asks for; empty of dense networks."""
        densities = self.search.densities
        return f"{densities[self.search.common - 1]:.4g}" if densities else ""

    @property
    def score(self) -> str:
        """Name of the score."""
        return f"excess at density {self.density}" if self.density else LOSS

    @property
    def told(self) -> str:
        """Sentence that says what is compared."""
        if not self.density:
            return "Compared is the held-out loss."
        return (
            f"Compared is the excess over the own dense network at density {self.density}, the "
            "sparsest to which all of them came."
        )

    def shown(self, number: int) -> str:
        """Return the score of a trial as text."""
        return form(self.scores.get(number), loss=not self.density)


def form(score: float | None, *, loss: bool, sign: str = "+") -> str:
    """Return a score as text: a held-out loss as it is, an excess in per cent, with its `sign`."""
    if score is None or not math.isfinite(score):
        return NONE
    return f"{score:.4f}" if loss else f"{score:{sign}.2%}"


def value_of(value: object) -> str:
    """Return the value of a word as text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# what was tried


def answer(compared: Compared) -> list[str]:
    """Return which of the trials that went furthest is best, and that it was chosen."""
    trials = [t for t in ranked(compared.search.trials.values()) if t.status != FAILED]
    best_of_all = trials[0]
    words = assigned(compared.search.past[best_of_all.number].words)
    shown = compared.shown(best_of_all.number)
    return [
        f"Of {len(compared.search.trials)} trials, number {best_of_all.number} came furthest and "
        f"is best, with {compared.score} {shown} ({words}).",
        "It was chosen for its score, which flatters it, so nothing here is a claim.",
    ]


def counted(search: Searched) -> Iterator[str]:
    """Yield how many trials ended in which way, and why some failed."""
    ends = Counter(trial.status for trial in search.trials.values())
    seeds = " ".join(map(str, search.seeds))
    yield (
        f"{len(search.trials)} trials on seed {seeds}: {ends['done']} done, {ends['stopped']} "
        f"stopped at a rung, {ends[FAILED]} failed."
    )
    failed = [trial for trial in search.trials.values() if trial.status == FAILED]
    for trial in failed[:FEW]:
        reason = trial.end.reason if trial.end else ""
        yield f"Trial {trial.number} failed, and is no part of what follows: {reason}."
    if len(failed) > FEW:
        yield f"{len(failed) - FEW} more failed."


def flattered(compared: Compared) -> Iterator[str]:
    """Yield that the best of many is too good, and by how much at least."""
    yield (
        f"The best of {len(compared.scores)} is flattered: it was chosen for its score, chance "
        "included. Nothing on this page is a claim; only a confirmation on fresh seeds is one."
    )
    rounds = [trial.rounds for trial in compared.search.trials.values() if len(trial.rounds) > 1]
    errors = [r[-1].metrics[metrics.EXCESS_SE.name] for r in rounds]
    if errors and len(compared.scores) > 1:
        error = plain.fmean(errors)
        lead = best_of_normal(len(compared.scores)) * error
        yield (
            f"If all were equal, the error of the evaluation alone ({error:.2%}) would make the "
            f"best look {lead:.2%} better; what seeds differ by comes on top."
        )


def confirmed(recorded: Recorded, search: Searched) -> list[str]:
    """Return by how much the search has flattered its best, where it was confirmed."""
    trials = [trial for trial in recorded.trials if trial.point.phase == "confirm"]
    chosen = best(search.trials.values(), search.rungs)
    lines: list[str] = []
    for evidence in gather(trials):
        lines += shrinkage_lines(chosen, evidence)
    return lines


def ranking(compared: Compared) -> Rows:
    """Return a row per trial: first those that went furthest, by score; those that failed last."""
    search = compared.search
    trials = sorted(ranked(search.trials.values()), key=lambda trial: trial.status == FAILED)
    head = ["rank", "trial", "words", "end", "rungs", "last score", "± SE", compared.score]
    rows = [[*head, "steps", "seconds"]]
    for rank, trial in enumerate(trials, 1):
        own = NONE if trial.status == FAILED else str(rank)
        row = [own, str(trial.number), assigned(search.past[trial.number].words)]
        row += [
            end_of(trial),
            f"{max(len(trial.rounds) - 1, 0)} of {search.rungs}",
            *last_of(trial, search.rungs),
        ]
        rows.append([*row, compared.shown(trial.number), *spent_on(trial)])
    return rows


def assigned(words: Words) -> str:
    """Return drawn words as text."""
    return " ".join(f"{word}={value_of(value)}" for word, value in words.items())


def end_of(trial: TrialRecord) -> str:
    """Return how a trial ended, and whether its weights have seen more steps than its dense
    network."""
    if trial.rounds and trial.older:
        return f"{trial.status}, more steps than dense"
    return trial.status


def last_of(trial: TrialRecord, rungs: int) -> list[str]:
    """Return the score of a trial's last round, of so many `rungs`, and its standard error."""
    if len(trial.rounds) < min(rungs, 1) + 1:
        return [NONE, NONE]
    last = trial.rounds[-1]
    score = form(score_of(last.metrics, last.index), loss=not last.index)
    error = last.metrics.get(metrics.EXCESS_SE.name)
    return [score, f"{error:.2%}" if last.index and error is not None else NONE]


def spent_on(trial: TrialRecord) -> list[str]:
    """Return the optimizer steps and seconds that a trial would have taken alone."""
    if not trial.rounds:
        return [NONE, NONE]
    steps = trial.rounds[-1].metrics.get(metrics.STEPS_SPENT.name)
    seconds = 0.0
    for metric in (metrics.TRAIN_SECONDS, metrics.MEASURE_SECONDS):
        seconds += sum(r.metrics.get(metric.name, 0.0) for r in trial.rounds)
    return [NONE if steps is None else f"{steps:.0f}", f"{seconds:.0f}"]


# how scores came about


def history(compared: Compared) -> Section:
    """Return the best so far, beside what a random order of these trials comes to."""
    numbers, values = zip(*compared.scores.items(), strict=True)
    chance = best_of(values)
    rows = [["trial", compared.score, "best so far", "in random order", "5 %", "95 %"]]
    for i, number in enumerate(numbers):
        numbers_of_row = [min(values[: i + 1]), chance.mean[i], chance.low[i], chance.high[i]]
        told = [form(float(each), loss=not compared.density) for each in numbers_of_row]
        rows.append([str(number), compared.shown(number), *told])
    text = [
        "Beside the best so far stands what these trials come to in a random order: how far a "
        "search gets that learns nothing, but draws as well as this one did."
    ]
    figure = plots.history(compared.study, compared.score, chance)
    return Section("search_history", "The best so far", text, rows, figure)


def halving(search: Searched) -> Iterator[Section]:
    """Yield the scores of all trials from rung to rung, where there are several."""
    densities = search.densities
    if len(densities) > 1:
        figure = plots.rungs(search.study(search.common), densities, "excess")
        text = ["A line that ends early was stopped: it was not among the best at that rung."]
        yield Section("search_rungs", "From rung to rung", text, figure=figure)


# which words mattered


def mattered(compared: Compared) -> Iterator[Section]:
    """Yield importances, a slice for each word, and the contour of the two that mattered most."""
    count, study, score = len(compared.scores), compared.study, compared.score
    words = varied(compared)
    found: list[Importance] = []
    if count >= NEEDED:
        found = forests.importances(study)
        shares = {each.word: each.mean for each in found}
        ped = forests.ped_anova(study)
        text = [EXPLORATORY.format(count), CHANCE, PED]
        title = "Which words mattered"
        rows, figure = shares_of(found, ped), plots.importance(study, shares)
        yield Section("search_importances", title, text, rows, figure)
    else:
        text = [f"{count} trials were scored; for importances at least {NEEDED} are needed."]
        yield Section("search_importances", "Which words mattered", text)
    for i in range(0, len(words), plots.SLICED):
        some = words[i : i + plots.SLICED]
        name, title = f"search_slices_{i // plots.SLICED + 1}", f"Score by {', by '.join(some)}"
        yield Section(name, title, figure=plots.slices(study, some, score))
    pair = [each.word for each in found if each.word in words][:2]
    if len(pair) == 2:
        title = f"Score by {pair[0]} and {pair[1]} together"
        yield Section("search_contour", title, [SMOOTH], figure=plots.contour(study, pair, score))


def varied(compared: Compared) -> list[str]:
    """Return the words that enough of the compared trials have, with two values or more."""
    values: dict[str, list[str]] = {word: [] for word in compared.search.space}
    for trial in forests.complete(compared.study):
        for word, value in trial.params.items():
            values[word].append(repr(value))
    least = min(SEEN, len(compared.scores))
    return [word for word, each in values.items() if len(each) >= least and len(set(each)) > 1]


def shares_of(found: Sequence[Importance], ped: Words) -> Rows:
    """Return a row per word: fANOVA over forests, chance, PED-ANOVA."""
    rows = [["word", "fANOVA", "over forests", "by chance, up to", "PED-ANOVA"]]
    for each in found:
        interval = f"{each.low:.2f}-{each.high:.2f}"
        rows.append([each.word, f"{each.mean:.2f}", interval, f"{each.chance:.2f}"])
        rows[-1].append(f"{ped[each.word]:.2f}")
    of_all = {each.word for each in found}
    for word, share in ped.items():
        if word not in of_all:
            rows.append([word, NONE, NONE, NONE, f"{share:.2f}"])
    return rows


def parallel(compared: Compared) -> Section:
    """Return each trial as a line through its words, and as a row."""
    words = [word for word in varied(compared) if compared.search.space[word].when is None]
    rows = [["trial", compared.score, *compared.search.space]]
    for number in compared.scores:
        drawn = compared.search.past[number].words
        values = [value_of(drawn.get(word, NONE)) for word in compared.search.space]
        rows.append([str(number), compared.shown(number), *values])
    figure = plots.parallel(compared.study, words, compared.score) if words else None
    return Section("search_parallel", "All words of all trials", (), rows, figure)


# what is worth trying next


def proposed(compared: Compared, recorded: Recorded) -> Section:
    """Return what the study's own sampler would draw next, with a forecast, as commands."""
    search = compared.search
    drawn = search.proposals(NEXT)
    recipes = [each.words for each in drawn.values()]
    rows = [["trial", "words", f"forecast of {compared.score}", "spread"]]
    text = [DRAWN.format(len(search.trials)), ITSELF if search.ordered else UNLIKE]
    text += extended(search, recorded)
    told, loss = [[NONE, NONE]] * len(recipes), not compared.density
    if len(compared.scores) >= NEEDED:
        forecasts = forests.forecasts(compared.study, recipes)
        told = []
        for mean, spread in zip(forecasts.means, forecasts.spreads, strict=True):
            told.append([form(mean, loss=loss), form(spread, loss=loss, sign="")])
        text.append(worth(forecasts, compared))
    for (number, each), forecast in zip(drawn.items(), told, strict=True):
        again = "" if each.repeats is None else f" (again, as trial {each.repeats})"
        rows.append([str(number), assigned(each.words) + again, *forecast])
        text.append(f"    {command(search, number, each.words, recorded)}")
    return Section("search_next", "What is worth trying next", text, rows)


def worth(forecasts: Forecasts, compared: Compared) -> str:
    """Return how good forecasts are on trials that were not seen."""
    errors, loss = (forecasts.error, forecasts.blind), not compared.density
    error, blind = (form(each, loss=loss, sign="") for each in errors)
    verdict = "better than" if forecasts.informed else "no better than"
    return (
        f"On trials that it has not seen the forecast errs by {error}, {verdict} the mean of the "
        f"others ({blind}). Its spread is that over the trees of a forest of "
        f"{len(compared.scores)} trials."
    )


def extended(search: Searched, recorded: Recorded) -> list[str]:
    """Return the study's own command with as many more trials."""
    tags = recorded.tags[next(iter(search.trials.values())).run]
    asked_for = redacted(TRIALS.sub("", tags.get("mlflow.source.name", "")))
    return [f"    {asked_for} --trials {len(search.trials) + NEXT}"] if asked_for else []


def command(search: Searched, number: int, words: Words, recorded: Recorded) -> str:
    """Return the command that runs one trial outside of the study."""
    config = search.config_of(number, words)
    file = file_of(recorded.uri)
    out = {} if file is None or str(file.parent) == Root().out else {"out": str(file.parent)}
    places = next(iter(search.trials.values())).point.places
    return trial_command({**out, **config.canonical(), **places})


def main() -> int:
    """Write the sections, the trials and the page; return the exit code."""
    wanted = asked(Asked, sys.argv[1:], "python analysis/search.py", __doc__ or "")
    recorded = Recorded(wanted.uri, wanted.experiment)
    made = list(sections(recorded, wanted.call))
    folder = Path(wanted.out) / "reports" / recorded.name
    lines = write(made, folder)
    trials = recorded.searched(wanted.call).trials.values()
    keep_trials(trials, folder, "search_trials.json")
    chapter = Chapter("search", recorded.name, sections=made)
    look = Look(interactive=True)
    body = [front.contents([chapter]), html.chapter(chapter, look)]
    html.put(folder / "search.html", html.document(f"Search: {recorded.name}", "\n".join(body)))
    print("\n".join([*lines, f"page: {folder / 'search.html'}"]))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
