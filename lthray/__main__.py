"""The `lthray` command: one trial without Ray, the record, the store, a tuned preset."""

import inspect
import itertools
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lthray.command import (
    about_of,
    asked,
    asked_of_data,
    configured,
    existing,
    guarded,
    say,
    store_of,
)
from lthray.config import commands, options, presets
from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig
from lthray.version import __version__

if TYPE_CHECKING:
    from lthray.core.store import Store
    from lthray.study.ledger import Ledger


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
        about, *_ = _about(run).splitlines()
        lines.append(f"  {name:8} {about}")
    usage = "lthray COMMAND [OPTIONS]   (lthray COMMAND --help)"
    return say(options.help_text(usage, "\n".join(lines), {}))


def _version(argv: Sequence[str]) -> int:
    return say(__version__)


def _about(run: "Command") -> str:
    return inspect.getdoc(run) or ""


def trial(argv: Sequence[str]) -> int:
    """Run one trial in this process, without Ray: for a look, or a debugger."""
    config, chosen = configured(argv, "lthray trial", _about(trial))
    from lthray.findings.wording import told
    from lthray.study import terminal
    from lthray.study.single import progress_line, work_alone
    from lthray.tracking import write
    from lthray.trial.points import point
    from lthray.trial.recipe import trajectory
    from lthray.trial.run import run

    store, ledger = _begin(config, chosen, argv)
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
        again = f"interrupted; to go on, the same command:  lthray trial {shlex.join(argv)}"
        out.print(again, soft_wrap=True)
        return options.INTERRUPTED
    write.replay(store, chosen.uri, chosen.artifacts, only=ledger, sentences=told)
    return code


def record(argv: Sequence[str]) -> int:
    """Fill an MLflow from the store: everything that is recorded there, as often as you like."""
    usage = "lthray record", _about(record)
    chosen: options.Root = asked(options.Reading, argv, *usage)
    if not chosen.tracking_uri:
        chosen = asked(options.Root, argv, *usage)  # mlflow.db is written below --out
    from lthray.findings.wording import told
    from lthray.tracking import write

    number = write.replay(existing(chosen), chosen.uri, chosen.artifacts, sentences=told)
    return say(f"{number} trials recorded in {chosen.uri}")


def store(argv: Sequence[str]) -> int:
    """Look after a store: `lthray store verify | size | conflicts | sweep`."""
    from lthray.study.upkeep import VERBS

    verb, *rest = argv or [""]
    if options.asks_for_help(argv):
        verb, rest = next(iter(VERBS)), ["--help"]
    if verb not in VERBS:
        raise ConfigError([f"lthray store {verb!r}: must be one of {', '.join(VERBS)}"])
    usage = f"lthray store {'|'.join(VERBS)}"
    chosen = asked(options.Reading, rest, usage, _about(store), hidden=("tracking_uri",))
    code, line = VERBS[verb](existing(chosen))
    say(line)
    return code


def retry(argv: Sequence[str]) -> int:
    """Put failed trials in line again: `lthray retry [STUDY|CALL] [NUMBER ...]`.

    Then the study's own command goes on with them. How they had ended stays on record.
    """
    names = _names(argv)
    usage, rest = "lthray retry [STUDY|CALL] [NUMBER ...]", argv[len(names) :]
    chosen = asked(commands.Retried, rest, usage, _about(retry), hidden=("tracking_uri",))
    from lthray.study.ledger import retry as put_in_line

    name = names.pop(0) if names and not names[0].isdecimal() else ""
    wrong = [word for word in names if not word.isdecimal()]
    if wrong:
        raise ConfigError([f"lthray retry: {wrong[0]!r} is no number of a trial"])
    count = 0
    for call, entries in put_in_line(existing(chosen), name, list(map(int, names)), chosen.kind):
        for entry in entries:
            say(f"trial {entry.number} {entry.point.name}: {entry.ended.reason}")
        say(f"in line again; to go on:  {call.about['command']}")
        count += len(entries)
    return say(f"{count} failed trials were put in line again")


def preset(argv: Sequence[str]) -> int:
    """Make a preset of the best dense network of a search.

    Such as: lthray preset NAME --experiment baseline_tuning.digits
    """
    name, rest = _first(argv)
    chosen = asked(commands.Wanted, rest, "lthray preset NAME", _about(preset))
    presets.usable(name)
    from lthray.core.metrics import HELDOUT
    from lthray.findings.evidence import setting_of
    from lthray.tracking.read import Recorded, tuned

    recorded = Recorded(chosen.uri, chosen.experiment)
    best, tuned_words = tuned(recorded.trials, chosen.call, chosen.steps)
    base = presets.words_of(recorded.preset, chosen.out)
    replaced = setting_of(base)
    words = {word: value for word, value in base.items() if word not in replaced} | tuned_words
    words |= {word: at for word, at in best.point.places.items() if word.startswith("data.")}
    path = presets.save(name, chosen.out, words)
    loss = f"held-out loss {best.rounds[0].metrics[HELDOUT.name]:.4f}"
    settings = " ".join(f"{word}={value}" for word, value in tuned_words.items())
    say(f"{path}: {best.name}, {loss}, {settings}")
    return say(f"use it:  --preset {name} --out {shlex.quote(chosen.out)}")


def data(argv: Sequence[str]) -> int:
    """Look at images of your own, and make a preset of them: `lthray data FOLDER`.

    FOLDER may also be an .npz, or a list of pictures as .csv, .jsonl or .parquet (docs/images.md).
    """
    place, rest = _first(argv)
    chosen, of_data = asked_of_data(commands.Named, rest, "lthray data FOLDER", _about(data))
    if not place:
        raise ConfigError(["lthray data: needs a folder of images, an .npz or a list"])
    name = presets.usable(chosen.name or presets.slug(Path(os.path.abspath(place)).stem))
    from lthray.study import survey

    brought = {"data.name": "folder", "data.root": os.path.abspath(place)}
    images, words = survey.survey(of_data | brought)
    say("\n".join(survey.lines(images, words)))
    return say("\n".join(survey.keep(name, chosen.out, images, words)))


def explain(argv: Sequence[str]) -> int:
    """Explain a key or a trial of a store, or where two trials part: `lthray explain A [B]`."""
    names = _names(argv)
    usage, rest = "lthray explain KEY|TRIAL [TRIAL]", argv[len(names) :]
    chosen = asked(options.Reading, rest, usage, _about(explain), hidden=("tracking_uri",))
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
    names = _names(argv)
    usage = "lthray export TRIAL|STUDY FOLDER"
    chosen = asked(commands.Exported, argv[len(names) :], usage, _about(export))
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
    names = _names(argv)
    usage = "lthray tickets [STUDY]"
    chosen = asked(options.Reading, argv[len(names) :], usage, _about(tickets))
    from lthray.export.found import listing
    from lthray.study.terminal import console, table

    head, *rows = listing(existing(chosen), *names[:1])
    if not rows:
        return say("no verdict was reached here; a study of several seeds reaches one")
    console().print(table("tickets, best first", head, rows, left=("recipe", "study", "ticket")))
    return options.DONE


def ui(argv: Sequence[str]) -> int:
    """Open MLflow at the charts of a study, the last one by default: `lthray ui [STUDY.PRESET]`."""
    name, rest = _first(argv)
    chosen = asked(commands.Opened, rest, "lthray ui [STUDY.PRESET]", _about(ui))
    from lthray.tracking.ui import show

    return show(chosen.uri, name, chosen.port, say)


def _first(argv: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the first word, empty where an option stands first, and the words behind it."""
    count = len(_names(argv)[:1])
    return "".join(argv[:count]), argv[count:]


def _names(argv: Sequence[str]) -> list[str]:
    """Return the words before the first option."""
    return list(itertools.takewhile(lambda word: not word.startswith("-"), argv))


def _begin(
    config: TrialConfig, chosen: options.Options, argv: Sequence[str]
) -> "tuple[Store, Ledger]":
    """Check a config before anything is written; return the store and the call of the trial."""
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
    about = about_of("trial", _about(trial), chosen=chosen, config=config, argv=argv)
    store = store_of(chosen)
    ledger = Ledger.freeze(store, plan, about)
    for line in ledger.changed_inputs():
        say(line)
    return store, ledger


Command = Callable[[Sequence[str]], int]
"""Takes the words behind its name; returns the exit code. The docstring is its help."""


def power(argv: Sequence[str]) -> int:
    """Say what effect a number of seeds can find, and how many seeds an effect takes."""
    from lthray.findings.power import told

    chosen = asked(
        commands.Powered, argv, "lthray power", _about(power), hidden=("out", "tracking_uri")
    )
    return say(told(chosen.seeds, chosen.sd, chosen.effect))


COMMANDS: Mapping[str, Command] = {
    "trial": trial,
    "record": record,
    "store": store,
    "retry": retry,
    "preset": preset,
    "data": data,
    "explain": explain,
    "tickets": tickets,
    "export": export,
    "ui": ui,
    "power": power,
}
ALONE: Mapping[str, Command] = {"--help": _help, "-h": _help, "--version": _version}
if __name__ == "__main__":
    sys.exit(main())
