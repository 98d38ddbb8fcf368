"""The entry of pages: how a study's page and an analysis are run.

Imports are late on purpose: bad words are refused, and --help is printed, before torch or Ray is
loaded.
"""

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lthray.command import (
    about_of,
    asked,
    config_groups,
    configured,
    guarded,
    say,
    store_of,
)
from lthray.config import options
from lthray.config.fields import words
from lthray.config.help_page import asks_for_help, help_text, titled
from lthray.config.shell import command_line
from lthray.study.call import OURS, Call, preview, resolve
from lthray.study.page import Study

if TYPE_CHECKING:
    from lthray.core.record import TrialRecord
    from lthray.export.recorded import RecordedTicket
    from lthray.findings.sections import Section
    from lthray.study.queue import Queue
    from lthray.study.terminal import Table, Watch
    from lthray.study.worker import Run
    from lthray.tracking.closing import Ending
    from lthray.tracking.read import Recorded

__all__ = ["analysis", "asked", "configured", "guarded", "study"]

PATIENCE = 60.0  # seconds that a finished study waits for MLflow
HURRY = 5.0  # seconds that an interrupted one waits

Execute = Callable[["Queue", "Run", "Watch"], bool]
"""Runs what a queue holds by a function that runs one trial; returns whether it was interrupted."""


def study(page: Study, argv: Sequence[str] | None = None) -> int:
    """Run a study's page with `argv` (default: the command line's); returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if asks_for_help(argv):
        usage = f"python studies/{page.name}.py [OPTIONS]"
        groups = {"study": words(options.Options), **config_groups(hidden=OURS)}
        return guarded(lambda: say(help_text(usage, page.about, groups)))
    return guarded(lambda: _study(resolve(page, argv)), argv)


def analysis(
    name: str, about: str, sections: "Callable[[Recorded, str], Iterable[Section]]"
) -> int:
    """Run the analysis page `name` with the options of every analysis; returns the exit code.

    `about` heads its page of --help; `sections` are made of a recorded study and of --call.
    """

    def run() -> int:
        chosen = asked(options.Asked, sys.argv[1:], f"python analysis/{name}.py", about)
        from lthray.findings.sections import keep_trials, write
        from lthray.tracking.read import Recorded

        recorded = Recorded(chosen.uri, chosen.experiment)
        folder = Path(chosen.out) / "reports" / recorded.name
        lines = write(sections(recorded, chosen.call), folder)
        keep_trials(recorded.of(chosen.call), folder)
        return say("\n".join(lines))

    return guarded(run)


@dataclass(frozen=True)
class Phase:
    """What came of a call."""

    trials: "Sequence[TrialRecord]"
    left: int
    """Trials that are not finished."""
    ending: "Ending"

    @property
    def code(self) -> int:
        """The exit code."""
        if self.ending.interrupted:
            return options.INTERRUPTED
        failed = any(trial.status == "failed" for trial in self.trials)
        return options.PARTIAL if failed or self.left else options.DONE


class Cluster:
    """Ray for all phases of a study: started when one has something to run, ended by `stack`."""

    def __init__(self, call: Call, stack: contextlib.ExitStack):
        self.call, self.stack = call, stack
        self.scratch = ""  # folder of a Ray that was started

    def execute(self, queue: "Queue", run: "Run", watch: "Watch") -> bool:
        """Run what a queue holds; returns whether it was interrupted."""
        from lthray.study import ray_runner

        if not self.scratch:
            self.scratch = self.stack.enter_context(ray_runner.cluster(self.call))
        return ray_runner.execute(queue, run, watch, scratch=self.scratch)


def _study(call: Call) -> int:
    """Run a call and, of a search, its confirmation; returns the exit code."""
    from lthray.study import results, tables
    from lthray.tracking import logs

    logs.check(call.options.log, call.study.name, is_search=bool(call.space))
    digest = _check(call)
    if call.options.dry_run:
        return _dry_run(call)
    with contextlib.ExitStack() as stack:
        execute = _runner(call, stack)
        phases = [_phase(call, digest, execute, varied=call.varied)]
        is_over = phases[0].code in (options.DONE, options.PARTIAL) and not phases[0].left
        if call.recipes and is_over:
            best = results.best(phases[0].trials, call.rungs)[: call.recipes]
            if best:
                again = call.confirmation([trial.point.words for trial in best])
                varied = [*call.varied, "control"]
                phases.append(_phase(again, digest, execute, varied=varied, recipes=best))
            else:
                say(tables.UNCONFIRMED)
    return _end(call, phases)


def _check(call: Call) -> str:
    """Load the data of a call and check what it is given; returns the digest of the data."""
    from lthray.task import data
    from lthray.trial import preflight

    images = data.load(call.config.data)
    for line in images.notes:
        say(f"data: {line}")
    trials = [config for config in (call.config, *preview(call)) if preflight.needs_check(config)]
    if trials:
        preflight.check(call.config, trials)
    for network in call.beside:
        preflight.check(call.config_of(0, network))
    return images.digest


def _runner(call: Call, stack: contextlib.ExitStack) -> Execute:
    """Return the function that runs the phases of a call: in this process, or on a Ray cluster."""
    if call.options.local:
        from lthray.study import local_runner

        return local_runner.execute
    return Cluster(call, stack).execute


def _phase(
    call: Call,
    digest: str,
    execute: Execute,
    *,
    varied: Sequence[str],
    recipes: "Sequence[TrialRecord]" = (),
) -> Phase:
    """Run what is left of a call and show what there is.

    `digest` is that of the data; the call confirms the recipes of the trials `recipes`.
    """
    from lthray.export import found
    from lthray.study import results, tables
    from lthray.study.ledger import Ledger
    from lthray.study.queue import Queue
    from lthray.study.terminal import PULSE, SMOKE_PULSE, Tally, Watch
    from lthray.trial.given import given_digests

    began, chosen, page = time.time(), call.options, call.study
    _check_code(call)
    about = about_of(
        page.name,
        page.about,
        chosen=chosen,
        config=call.config,
        command=command_line(call.argv),
        varied=varied,
        order=tuple(call.space),
    )
    store = store_of(chosen)
    ledger = Ledger.freeze(store, call.plan(digest, given_digests(call.config)), about)
    for line in ledger.changed_inputs():
        say(line)
    pulse = SMOKE_PULSE if chosen.smoke else PULSE
    watch = Watch(Tally(store, ledger, call.trials), f"{page.name}, {call.phase}", pulse=pulse)
    queue = Queue(call, ledger)
    ending = _run(queue, execute, watch)
    trials, left = list(results.trials(store, ledger)), queue.again().left
    confirmed = () if left else recipes
    look = results.look(store, trials) if confirmed else 1
    account = _account(call, trials, confirmed, look)
    for shown in [tables.so_far(trials)] if ending.interrupted else account:
        watch.console.print(shown)
    settled = confirmed or not (left or call.space)
    said = found.keep(store, ledger, chosen.uri, _written) if settled else []
    for line in [*said, *tables.closing_lines(trials, store, began, watch.slots)]:
        watch.console.print(line)
    return Phase(trials, left, ending)


def _written(
    ticket: "RecordedTicket", place: Path, trials: "Sequence[TrialRecord]", look: int
) -> dict[str, str]:
    from lthray.export import folder
    from lthray.findings.wording import of_ticket

    grade, verdict = of_ticket(trials, look, ticket.trial, ticket.round.density)
    folder.write(ticket, place, verdict)
    return grade


def _check_code(call: Call) -> None:
    """Refuse to go on with stored results that other code has made (CodeChanged)."""
    from lthray.study.ledger import Ledger
    from lthray.trial import code
    from lthray.trial.recipe import trajectory

    store = store_of(call.options)
    if call.options.allow_code_change or not store.exists:
        return
    for trial in map(trajectory, call.shared()):
        code.check_steps(store, trial.rungs[0].measures.values())
    own = [each for each in Ledger.all(store) if each.about["study"] == call.study.name]
    code.check_points(store, [entry.point for entry in itertools.chain(*own)])


def _run(queue: "Queue", execute: Execute, watch: "Watch") -> "Ending":
    """Run what a queue holds while it is recorded, with nobody else running the same call."""
    from lthray.findings.wording import told
    from lthray.study.room import roomy
    from lthray.tracking.closing import Ending
    from lthray.tracking.logs import Log
    from lthray.tracking.write import Projector
    from lthray.trial.recipe import trajectory
    from lthray.trial.run import run

    ledger, chosen = queue.ledger, queue.call.options
    store = ledger.store
    with store.lock(ledger.key, wait=False) as is_ours:
        if not is_ours:
            raise BlockingIOError(f"another process is running this study in {chosen.out}")
        current = queue.again()
        logs = [Log(name, chosen.out) for name in dict.fromkeys(chosen.log)]
        place = chosen.uri, chosen.artifacts
        projector = Projector(store, ledger, *place, sentences=told, beside=logs)
        projector.start()
        interrupted = False
        if current.left:
            with watch:
                trial = partial(run, allow_code_change=chosen.allow_code_change)
                planned = list(map(trajectory, preview(queue.call)))
                interrupted = execute(current, roomy(trial, planned, store), watch)
        behind = projector.close(HURRY if interrupted else PATIENCE)
    written = [line for log in logs for line in log.lines()]
    return Ending(interrupted, projector.experiment, behind, written)


def _account(
    call: Call, trials: "Sequence[TrialRecord]", recipes: "Sequence[TrialRecord]", look: int
) -> "Iterator[Table | str]":
    """Yield the table of trials, then the best recipe, or the verdict on confirmed `recipes`, at
    this `look` at their seeds."""
    from lthray.core.record import machine_lines
    from lthray.findings import wording
    from lthray.findings.claims import judged
    from lthray.findings.evidence import gather
    from lthray.study import tables

    yield ""
    yield tables.trial_table(trials)
    yield from machine_lines(r for trial in trials for r in trial.rounds)
    yield ""
    if call.study.surface:
        yield tables.surface_table(trials, *call.study.surface)
    if call.space and not call.rungs:
        yield tables.baseline_table(trials)
    if call.space:
        yield from tables.best_lines(trials, call.rungs, call.options.out)
    for verdict in judged(gather(trials), look) if recipes else ():
        yield tables.verdict_table(wording.table(verdict))
        yield from wording.sentences(verdict)
        yield from tables.shrinkage_lines(recipes, verdict.evidence)


def _dry_run(call: Call) -> int:
    """Print the plan of a call; write nothing."""
    from lthray.findings import claims, power
    from lthray.study import preview, terminal

    out = terminal.console()
    seeds = len(call.confirm_seeds if call.recipes else call.seeds)
    plan = preview.planned(call)
    found = {"power": power.line(seeds, claims.planned(preview.judged(call, *plan)))}
    for line in [*preview.lines(call, *plan), *titled("what its seeds can find", found)]:
        out.print(line)
    return options.DONE


def _end(call: Call, phases: Sequence[Phase]) -> int:
    """Print how to look closer, or to go on; returns the exit code."""
    from lthray.study import terminal
    from lthray.tracking import closing

    last = phases[-1]
    for line in closing.lines(call.options, last.ending, last.left, command_line(call.argv)):
        terminal.console().print(line, soft_wrap=True)  # a broken line cannot be pasted
    return max(phase.code for phase in phases)
