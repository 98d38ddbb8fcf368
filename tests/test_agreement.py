"""Table, stars, grades and sentences of a page are views of one registry, whatever was recorded."""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from lthray.core.record import TrialRecord
from lthray.findings import claims, comparators, contrasts, wording
from lthray.findings import stats as st
from lthray.findings.claims import Verdict, beaten, better, judged, matches
from lthray.findings.contrasts import COMPUTE, CONVERGED, OWN
from lthray.findings.evidence import gather

from .test_verdicts import LADDER, WHOLE, curve, failed, trial, with_point

STUDIES = 200
RECIPES = ("magnitude", "random", "snip")
BUDGETS = (400, 800)
GAPS = {"shuffle": (0.0, 0.06), "reinit": (0.0, 0.06), "small_dense": (0.0, 0.06)}
EQUAL = (-0.05, -0.004, 0.0, 0.05)
BEGINS = re.compile(
    r"At (\d+) steps tickets with ([\d.]+)% of the free weights( \(\S+% of all parameters\))? "
    r"(beat|match|lose to|are not shown to match) their dense network \((.*?)\) (and beat .*)"
)
SHOWN = {
    "and beat both controls": "both",
    "and beat their shuffled masks, but not new weights": "structure",
    "and beat new weights, but not their shuffled masks": "initialisation",
    "and beat neither control": "nothing",
}
RIVALS = {
    COMPUTE: r"A dense network of equal compute (.*)",
    CONVERGED: r"The (?:converged|longest trained) dense network \(.*?\) (.*)",
}
MATCHED = re.compile(r"is matched|is \S+ worse|is \S+ better, within the margin")
OTHERWISE = re.compile(r"is \S+ better|is not told apart( \(these seeds find \S+%\))?")


def arms_of(rng: np.random.Generator) -> list[str]:
    """Return the arms that a recipe has."""
    arms = ["none"]
    if rng.random() < 0.8:
        arms += ["shuffle", "reinit"]
    if rng.random() < 0.3:
        arms.append("small_dense")
    return arms + ["equal_compute"] * int(rng.random() < 0.6)


def walked(rng: np.random.Generator) -> Iterator[TrialRecord]:
    """Yield the trials of a random page: two settings, several recipes, any of them may fail."""
    seeds, losing = int(rng.choice([3, 5, 5, 6])), rng.choice([0.0, 0.0, 0.05])
    sampled, timed = rng.random() < 0.5, rng.random() < 0.5
    losses = dict(
        zip((200, *BUDGETS), 0.2 - np.cumsum([0.0, 0.02, rng.choice([0.001, 0.007])]), strict=True)
    )
    dense = {(b, s): loss + rng.normal(0, 2e-4) for b, loss in losses.items() for s in range(seeds)}

    def kid(steps: int, worse: float) -> list | None:
        own = 40 / steps
        noise = rng.normal(0, 0.002, (2, 2))
        return [own + noise[0], own + worse + noise[1]] if sampled else None

    for steps in BUDGETS:
        for name in RECIPES[: rng.integers(1, 4)]:
            level, spread = rng.normal(-0.02, 0.03), rng.choice([0.001, 0.004, 0.02])
            worse, pace = rng.choice([0.0, 0.1]), rng.choice([0.7, 1.0])
            for arm in arms_of(rng):
                gap = rng.choice(EQUAL if arm == "equal_compute" else GAPS.get(arm, (0.0,)))
                for s in range(seeds):
                    excess = tuple(level + gap + rng.normal(0, spread, 2))
                    own = dense[steps, s]
                    found = trial(
                        arm,
                        s,
                        excess,
                        kid(steps, worse + 0.1 * (arm != "none")),
                        curves(own, pace * rng.normal(1, 0.05)) if timed else None,
                        dense=own,
                        **{"train.steps": steps, "prune.criterion": name},
                        **WHOLE,
                    )
                    found = with_point(found, recipe=name)
                    yield (
                        failed(found, int(rng.integers(-1, 2))) if rng.random() < losing else found
                    )
    for s in range(seeds):
        yield trial(seed=s, excess=(), kid=kid(200, 0), dense=dense[200, s], **{"train.steps": 200})
        for steps in BUDGETS:
            words = {"train.steps": steps, "fork": 1, "rewind.rule": "init"}
            again = kid(steps, 0), None, 0.001
            yield trial("dense", s, (rng.normal(0, 0.002),), *again, dense=dense[steps, s], **words)


def curves(last: float, pace: float) -> dict:
    """Return curves of a dense network and of its tickets, which need `pace` times the steps."""
    points = [(10, 4 * last), (20, 2 * last), (40, last)]
    ticket = [(step * pace, loss) for step, loss in points]
    return {0: curve(*points), 1: curve(*ticket), 2: curve(*ticket)}


def split(verdict: Verdict) -> dict[str, tuple[str, dict[float, str]]]:
    """Return by recipe the line on where it matches, and the sentences on its tickets."""
    found: dict[str, tuple[str, dict[float, str]]] = {}
    name = ""
    for line in wording.sentences(verdict):
        if head := re.match(r"(\w+) \(\d+ seeds.*?\) matches its dense network", line):
            name = head[1]
            found[name] = line, {}
        elif begin := BEGINS.match(line):
            found[name][1][float(begin[2]) / 100] = line
    return found


def check_sentence(line: str, verdict: Verdict, key: str, density: float, stars: dict) -> str:
    """Assert that a sentence says what the stars of its row say, and nothing else; return the
    verb."""
    first, *parts = re.split(r"\. (?=[A-Z])", line.removesuffix("."))
    *_, verb, _, controls = BEGINS.match(first).groups()
    assert (verb in ("beat", "match")) == stars["own dense"]
    assert (verb == "beat") == verdict.holds(better(OWN), key, density)
    lost = verdict.holds(beaten(OWN), key, density)
    assert (verb == "lose to") == (lost and not stars["own dense"])
    assert SHOWN[controls] == verdict.shown(key, density)
    said = Counter()
    for name, pattern in RIVALS.items():
        told = [found[1] for part in parts if (found := re.fullmatch(pattern, part))]
        tested = verdict.find(matches(name), key, density)
        assert len(told) == (tested is not None)
        for standing in told:
            said["rivals"] += 1
            whole = MATCHED if tested.holds else OTHERWISE
            assert whole.fullmatch(standing), standing
    for beginning, head in (
        ("Small dense networks are", "small dense"),
        ("Tickets reach the loss", "steps"),
    ):
        count = sum(part.startswith(beginning) for part in parts)
        said["others"] += count
        assert count == stars[head]
    alike = {head.removeprefix("KID ") for head in stars if head.startswith("KID") and stars[head]}
    told = [part for part in parts if part.startswith("Their samples match")]
    assert {s for part in told for s in part.split(" under ")[1].split(" and ")} == alike
    assert len(parts) == said.total() + len(told)
    return verb


def check_grade(row: dict[str, str], verdict: Verdict, stars: dict) -> None:
    """Assert that the two words of a grade are the stars of its row."""
    evidence = verdict.evidence
    words = set(row["matches"].split(" and ")) - {"none"}
    assert (OWN in words) == stars["own dense"]
    assert (COMPUTE in words) == stars.get(COMPUTE, False)
    longest = stars.get(f"dense of {comparators.reference(evidence)} steps", False)
    steps = comparators.converged(evidence)
    if steps is None:
        assert (contrasts.LONGEST in words) == longest
        assert CONVERGED not in words
    else:
        one = steps == evidence.steps and stars["own dense"]
        assert (CONVERGED in words) == (longest or one)
        assert contrasts.LONGEST not in words
    if row["shows"] != "not tried":
        parts = {"structure": stars["shuffled"], "initialisation": stars["reinit"]}
        shown = [part for part, held in parts.items() if held]
        assert row["shows"] == {0: "nothing", 1: "".join(shown), 2: "both"}[len(shown)]


def test_everything_that_a_page_says_agrees_on_random_evidence(quick):
    seen = Counter()
    for study in range(STUDIES):
        page = judged(gather(walked(np.random.default_rng(study))))
        registry = page[0].registry
        adjusted = st.holm([t.statement.p for t in registry])
        for tested, p in zip(registry, adjusted, strict=True):
            holds = tested.holds
            assert holds == (tested.bound < tested.statement.margin) == (p < registry.alpha)
        assert len(page) == len(BUDGETS)
        for verdict in page:
            assert verdict.registry is registry
            check_setting(verdict, seen)
    assert {"beat", "match", "lose to", "are not shown to match"} <= set(seen)
    heads = ("own dense", COMPUTE, "shuffled", "reinit", "small dense", "KID ddim", "KID ddpm")
    for head in (*heads, "dense of 800 steps", "dense of 400 steps", "steps"):
        assert seen[head, True] > 5, head
        assert seen[head, False] > 5, head
    assert seen["in samples"] > 5
    assert seen["uncontrolled"] > 50


def check_setting(verdict: Verdict, seen: Counter) -> None:
    """Assert that table and sentences of one setting agree with the registry; count what was
    seen."""
    evidence, told = verdict.evidence, split(verdict)
    head, *rows = wording.table(verdict)
    shown = {(row[0], row[1]): dict(zip(head, row, strict=True)) for row in rows}
    columns = wording.columns(evidence)
    won = []
    for key in evidence.recipes:
        ladder = evidence.ladder(key)
        name = ladder[0][1].recipe
        line, sentences = told[name]
        listed = []
        for density, _ in ladder:
            row, stars = shown[name, f"{density:.4g}"], {}
            for column in columns:
                tested = verdict.find(column.claim, key, density)
                stars[column.heading] = "*" in row[column.heading]
                assert stars[column.heading] == (tested is not None and tested.holds)
                seen[column.heading, stars[column.heading]] += 1
            check_grade(row, verdict, stars)
            listed += [f"{density:.4g}"] if stars["own dense"] else []
            is_told = verdict.shown(key, density) != claims.UNTRIED
            assert is_told == (density in sentences)
            if is_told:
                seen[check_sentence(sentences[density], verdict, key, density, stars)] += 1
            seen["uncontrolled"] += not is_told
            if verdict.in_samples(key, density):
                won.append(f"{name} at density {density:.4g} wins in samples")
        at = f"at density {', '.join(listed)} (" if listed else "at no density ("
        assert at in line
        assert ("not both controls were trained" in line) == (not sentences)
    said = [line for line in wording.sentences(verdict) if "wins in samples" in line]
    assert [line.split(",")[0] for line in said] == won
    seen["in samples"] += len(won)
    assert {f"{d:.4g}" for d in LADDER} >= {d for _, d in shown if d != "1"}
