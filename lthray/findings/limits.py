"""What a study does not show: its limits, each read from what is recorded."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import attrgetter

from lthray.core import metrics
from lthray.core.record import TrialRecord, machine_lines
from lthray.findings import floors
from lthray.findings.claims import FEW, Verdict
from lthray.findings.comparators import gains, is_converged
from lthray.findings.contrasts import CONTRASTS, EQUAL_COMPUTE
from lthray.findings.evidence import Evidence
from lthray.findings.formats import plural, series
from lthray.findings.phrases import budget_line, images_of
from lthray.findings.setting import Words, size

REASONS = 3  # reasons of failures that are told
SEARCHED = (
    "Recipes of a search were chosen for their scores, which chance flatters. Only what was "
    "confirmed on fresh seeds is graded."
)
ABSENT = "What is not shown is not refuted: it may be true, and these seeds too few to find it."


def limits(
    trials: Sequence[TrialRecord], settings: Sequence[Evidence], verdicts: Sequence[Verdict]
) -> list[str]:
    """Return a sentence on each limit of what the trials show, the gravest first.

    `settings` are what they show; `verdicts` are empty where none was given.
    """
    lines = list(failures(trials))
    for evidence in settings:
        lines += of_setting(evidence)
    lines += [*seeds(settings), *claims(verdicts), scope(trials)]
    lines += machine_lines(chain.from_iterable(map(attrgetter("rounds"), trials)))
    if "search" in map(attrgetter("point.phase"), trials):
        lines.append(SEARCHED)
    return list(dict.fromkeys(lines))


def failures(trials: Sequence[TrialRecord]) -> Iterator[str]:
    """Yield how many trials failed, and why."""
    failed = [trial for trial in trials if trial.status == "failed"]
    if failed:
        reasons = Counter(map(attrgetter("end.reason"), failed)).most_common(REASONS)
        told = "; ".join(f"{count} x {reason}" for reason, count in reasons)
        yield (
            f"{len(failed)} of {len(trials)} trials failed ({told}). A claim that needs one of "
            "them does not hold."
        )


def of_setting(evidence: Evidence) -> Iterator[str]:
    """Yield what is not shown in one setting: convergence, comparators, samples."""
    where = f"On {images_of(evidence)} in {evidence.space}, at {evidence.steps} steps: "
    if not is_converged(evidence, evidence.steps):
        yield where + budget_line(evidence)
        if gains(evidence, evidence.steps):
            yield (
                where + "so a ticket that matches learns as fast as a dense network of as many "
                "steps; it is not shown to be as good as one that has learnt all it can."
            )
    planned = chain.from_iterable(map(attrgetter("planned_arms"), evidence.cells))
    arms = {arm.split()[0] for arm in planned}  # such as "shuffle draw 1"
    lacking = [each.called for each in CONTRASTS if each.control not in arms]
    if lacking:
        yield where + f"tickets were not set beside {series(lacking)}."
    if EQUAL_COMPUTE not in arms:
        yield (
            where + "no dense network of equal compute was trained, so nothing says whether "
            "finding a ticket is worth its steps."
        )
    yield from samples(evidence, where)


def samples(evidence: Evidence, where: str) -> Iterator[str]:
    """Yield what samples do not say."""
    if evidence.accurate:
        return
    names = floors.all_samplers(evidence)
    if not names:
        yield where + "no images were sampled, so nothing is said of their quality."
    silent = [name for name in names if floors.kid_margin(evidence, name) is None]
    if silent:
        yield where + f"KID under {series(silent)} has no power, so samples decide nothing."


def seeds(settings: Sequence[Evidence]) -> Iterator[str]:
    """Yield that seeds are few, where they are."""
    cells = chain.from_iterable(map(attrgetter("cells"), settings))
    planned = list(filter(None, map(attrgetter("planned"), cells)))
    if planned and min(planned) < FEW:
        yield (
            f"Some tickets were trained on {plural(min(planned), 'seed')}. Fewer than {FEW} find "
            "large effects only."
        )


def claims(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield how many claims of the page hold, and what the others mean."""
    if verdicts:
        every = list(verdicts[0].registry)
        held = sum(map(attrgetter("holds"), every))
        yield f"{len(every) - held} of {len(every)} claims are not shown. {ABSENT}"


def scope(trials: Sequence[TrialRecord]) -> str:
    """Return how far the study reaches: network, data and budget."""
    words = Words(trials)
    return (
        f"All this is of networks of {size(trials, metrics.PARAMETERS)} parameters "
        f"({words['model.name']}), of {words['data.name']}, at {words['train.steps']} optimizer "
        f"steps, measured on the {words['measure.split']} split. Of other networks, data or "
        "budgets it says nothing."
    )
