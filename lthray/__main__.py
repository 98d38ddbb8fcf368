"""The `lthray` command: pages by their names, one trial without Ray, tickets, presets."""

import json
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lthray.bookkeeping import data, preset, retry, store
from lthray.command import (
    about_of,
    about_text,
    asked,
    configured,
    existing,
    first_of,
    guarded,
    names_of,
    say,
    store_of,
)
from lthray.config import commands, options, shell
from lthray.config.fields import ConfigError, either, meant
from lthray.config.help_page import asks_for_help, help_text
from lthray.config.presets import read_options
from lthray.config.trial import TrialConfig
from lthray.version import __version__

if TYPE_CHECKING:
    from lthray.core.store import Store
    from lthray.study.ledger import Ledger


NOWHERE = ("out", "tracking_uri")
"""Options that a command does not have which reads and writes no results."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `lthray COMMAND [OPTIONS]`, by default the command line's; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    name, *rest = argv or ["--help"]
    return guarded(lambda: _command(name)(rest), argv)


def _command(name: str) -> "Command":
    """Return the command, or the option that stands alone; ConfigError where there is none."""
    if name in ALONE:
        return ALONE[name]
    if name not in COMMANDS:
        raise ConfigError([f"{name!r}: must be one of {', '.join(COMMANDS)}"])
    return COMMANDS[name]


def _help(argv: Sequence[str]) -> int:
    lines = []
    for name, run in COMMANDS.items():
        about, *_ = about_text(run).splitlines()
        lines.append(f"  {name:10} {about}")
    usage = "lthray COMMAND [OPTIONS]   (lthray COMMAND --help)"
    return say(help_text(usage, "\n".join(lines), {}))


def _version(argv: Sequence[str]) -> int:
    return say(__version__)


def study(argv: Sequence[str]) -> int:
    """Run a study by its name, from any folder: `lthray study NAME [OPTIONS]`."""
    return _page("study", argv, about_text(study))


def analysis(argv: Sequence[str]) -> int:
    """Run an analysis by its name, from any folder: `lthray analysis NAME [OPTIONS]`."""
    return _page("analysis", argv, about_text(analysis))


def report(argv: Sequence[str]) -> int:
    """Make the report of every study, or of one, and open it: `lthray report`."""
    chosen = asked(commands.Reported, argv, "lthray report", about_text(report))
    code = _run_page("analysis", "report", argv)
    if code == options.DONE:
        from lthray.tracking.ui import open_page

        reports = Path(chosen.out) / "reports"
        page = reports / chosen.experiment / "report.html"
        shown = page if chosen.experiment else reports / "index.html"
        open_page(shown.absolute().as_uri(), say)
    return code


def _page(kind: str, argv: Sequence[str], about: str) -> int:
    """Run the page of a kind that the first word names with the words behind it."""
    (name, rest), known = first_of(argv), shell.pages(kind)
    if not name and asks_for_help(argv):
        lines = [about, "", f"NAME is one of {', '.join(known)}."]
        return say(help_text(f"lthray {kind} NAME [OPTIONS]", "\n".join(lines), {}))
    if name not in known:
        allowed = f"must be {either(known)}{meant(name, known)}"
        raise ConfigError([f"lthray {kind} {name!r}: {allowed}"])
    return _run_page(kind, name, rest)


def _run_page(kind: str, name: str, argv: Sequence[str]) -> int:
    """Run a page as if it were the program; returns its exit code."""
    path, outer = str(shell.folder_of(kind) / f"{name}.py"), sys.argv
    sys.argv = [path, *argv]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as left:
        return int(left.code or options.DONE)
    finally:
        sys.argv = outer
    return options.DONE


def trial(argv: Sequence[str]) -> int:
    """Run one trial in this process, without Ray: for a look, or a debugger."""
    config, chosen = configured(argv, "lthray trial", about_text(trial), more=("log",))
    from lthray.findings.wording import told
    from lthray.study import terminal
    from lthray.study.single import progress_line, work_alone
    from lthray.tracking import logs, write
    from lthray.trial.points import point
    from lthray.trial.recipe import trajectory
    from lthray.trial.run import run

    logs.check(chosen.log, "a trial", is_search=False)
    command = shell.joined(["lthray", "trial", *argv])
    store, ledger = _begin(config, chosen, command)
    given_out = ledger.begin(0, point(trajectory(config), {}, "single"))
    out = terminal.console()
    try:
        rounds = run(
            config,
            store,
            progress=lambda reached: out.print(progress_line(reached)),
            allow_code_change=chosen.allow_code_change,
        )
        code = work_alone(rounds, ledger, given_out, out.print)
    except KeyboardInterrupt:
        again = f"interrupted; to go on, the same command:  {shell.pasteable(command)}"
        out.print(again, soft_wrap=True)
        return options.INTERRUPTED
    write.replay(store, chosen.uri, chosen.artifacts, only=ledger, sentences=told)
    for line in logs.fill(store, [ledger], chosen.log, chosen.out):
        say(line)
    return code


def record(argv: Sequence[str]) -> int:
    """Fill an MLflow from the store: everything that is recorded there, as often as you like."""
    chosen = _asked_to_fill(argv)
    from lthray.findings.wording import told
    from lthray.study.ledger import Ledger
    from lthray.tracking import logs, write

    store = existing(chosen)
    number = write.replay(store, chosen.uri, chosen.artifacts, sentences=told)
    beside = logs.fill(store, Ledger.all(store), chosen.log, chosen.out)
    return say("\n".join([f"{number} trials recorded in {chosen.uri}", *beside]))


def _asked_to_fill(argv: Sequence[str]) -> commands.Filled:
    """Return the options of `lthray record`; ConfigError also where something would be written
    below an --out that cannot be written."""
    chosen = asked(commands.Filled, argv, "lthray record", about_text(record))
    faults: list[str] = []
    if chosen.log or not chosen.tracking_uri:
        read_options(options.Root, {"out": chosen.out}, faults)
    if faults:
        raise ConfigError(faults)
    return chosen


def explain(argv: Sequence[str]) -> int:
    """Explain a key or a trial of a store, or where two trials part: `lthray explain A [B]`."""
    names = names_of(argv)
    usage, rest = "lthray explain KEY|TRIAL [TRIAL]", argv[len(names) :]
    chosen = asked(options.Reading, rest, usage, about_text(explain), hidden=("tracking_uri",))
    if len(names) not in (1, 2):
        raise ConfigError([f"lthray explain: needs a key, or one or two trials, got {len(names)}"])
    from lthray.explain import explain as lines_about

    return say("\n".join(lines_about(existing(chosen), names)))


def export(argv: Sequence[str]) -> int:
    """Take a ticket home: `lthray export TRIAL|STUDY FOLDER`.

    TRIAL is the id of a trial (CALL-NUMBER), or of its run in MLflow. Of a STUDY it is the sparsest
    ticket that its verdict grades best. FOLDER becomes a pipeline of diffusers, or a program of
    torch, with the ticket file and a model card; nothing of lthray is needed to read it.
    """
    names = names_of(argv)
    usage = "lthray export TRIAL|STUDY FOLDER"
    chosen = asked(commands.Exported, argv[len(names) :], usage, about_text(export))
    if len(names) != 2:
        raise ConfigError([f"lthray export: needs a trial or study and a folder, got {len(names)}"])
    from lthray.export import folder
    from lthray.export.found import call_of, named
    from lthray.findings.wording import of_ticket
    from lthray.tracking.models import register

    (name, place), store = names, existing(chosen)
    ticket = named(store, name, chosen.round, chosen.uri)
    grade, verdict = of_ticket(*call_of(store, ticket), ticket.trial, ticket.round.density)
    if chosen.register and not grade:
        why = "is not shown to match its own dense network, and is not registered"
        raise ConfigError([f"--register {chosen.register}: {ticket.trial.name} {why}"])
    folder.write(ticket, Path(place), verdict)
    say(f"{place}: {ticket.trial.name}, density {ticket.round.density:.4g}")
    if chosen.register:
        tags = {**ticket.tags, **grade}
        made = register(chosen.uri, ticket.trial.id, Path(place), chosen.register, tags)
        say(f"registered: {made}")
    return options.DONE


def tickets(argv: Sequence[str]) -> int:
    """List tickets by what their verdicts say, best first: `lthray tickets [STUDY]`.

    What stands in the last column is what `lthray export` takes.
    """
    names = names_of(argv)
    usage = "lthray tickets [STUDY]"
    chosen = asked(options.Reading, argv[len(names) :], usage, about_text(tickets))
    from lthray.export.found import listing
    from lthray.study.terminal import console, table

    head, *rows = listing(existing(chosen), *names[:1])
    if not rows:
        return say("no verdict was reached here; a study of several seeds reaches one")
    console().print(table("tickets, best first", head, rows, left=("recipe", "study", "ticket")))
    return options.DONE


def ui(argv: Sequence[str]) -> int:
    """Open MLflow at the charts of a study, the last one by default: `lthray ui [STUDY.PRESET]`."""
    name, rest = first_of(argv)
    chosen = asked(commands.Opened, rest, "lthray ui [STUDY.PRESET]", about_text(ui))
    from lthray.tracking.ui import show

    return show(chosen.uri, name, chosen.port, say)


def _begin(config: TrialConfig, chosen: options.Options, command: str) -> "tuple[Store, Ledger]":
    """Check a config before anything is written; return the store and the call of the trial, which
    `command` has asked for."""
    import torch

    from lthray.study.ledger import Ledger
    from lthray.task.data import load
    from lthray.trial.given import given_digests
    from lthray.trial.preflight import check

    torch.set_num_threads(chosen.cpus_per_trial)
    images = load(config.data)
    for line in images.notes:
        say(f"data: {line}")
    check(config)
    plan = {"study": "trial", "preset": chosen.preset, "smoke": False}
    plan |= {"config": config.canonical(), "seed": config.seed, "data": images.digest}
    digests = given_digests(config)
    if digests:
        plan["given"] = digests
    about = about_of("trial", about_text(trial), chosen=chosen, config=config, command=command)
    store = store_of(chosen)
    ledger = Ledger.freeze(store, plan, about)
    for line in ledger.changed_inputs():
        say(line)
    return store, ledger


def power(argv: Sequence[str]) -> int:
    """Say what effect a number of seeds can find, and how many seeds an effect takes."""
    from lthray.findings.power import told

    chosen = asked(commands.Powered, argv, "lthray power", about_text(power), hidden=NOWHERE)
    return say(told(chosen.seeds, chosen.sd, chosen.effect))


def schema(argv: Sequence[str]) -> int:
    """Print the JSON schema of a preset: every word of a trial, its type, text and default."""
    asked(options.Root, argv, "lthray schema", about_text(schema), hidden=NOWHERE)
    from lthray.config.schema import schema as of_words

    return say(json.dumps(of_words(), indent=2))


def completion(argv: Sequence[str]) -> int:
    """Print what completes commands in bash and zsh: `eval "$(lthray completion)"`."""
    asked(options.Root, argv, "lthray completion", about_text(completion), hidden=NOWHERE)
    from lthray.config.schema import completion as script

    return say(script(COMMANDS))


Command = Callable[[Sequence[str]], int]
"""Takes the words behind its name; returns the exit code. The docstring is its help."""


COMMANDS: Mapping[str, Command] = {
    "study": study,
    "analysis": analysis,
    "ui": ui,
    "report": report,
    "trial": trial,
    "record": record,
    "store": store,
    "retry": retry,
    "preset": preset,
    "data": data,
    "explain": explain,
    "tickets": tickets,
    "export": export,
    "power": power,
    "schema": schema,
    "completion": completion,
}
ALONE: Mapping[str, Command] = {"--help": _help, "-h": _help, "--version": _version}
if __name__ == "__main__":
    sys.exit(main())
