"""Commands that look after what is recorded: `lthray record`, `store`, `retry` and `explain`."""

from collections.abc import Sequence

from lthray.command import about_text, asked, existing, names_of, say
from lthray.config import commands, options
from lthray.config.fields import ConfigError
from lthray.config.shell import pasteable


def record(argv: Sequence[str]) -> int:
    """Fill an MLflow from the store: everything that is recorded there, as often as you like."""
    usage = "lthray record", about_text(record)
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
    chosen = asked(options.Reading, rest, usage, about_text(store), hidden=("tracking_uri",))
    code, line = VERBS[verb](existing(chosen))
    say(line)
    return code


def retry(argv: Sequence[str]) -> int:
    """Put failed trials in line again: `lthray retry [STUDY|CALL] [NUMBER ...]`.

    Then the study's own command goes on with them. How they had ended stays on record.
    """
    names = names_of(argv)
    usage, rest = "lthray retry [STUDY|CALL] [NUMBER ...]", argv[len(names) :]
    chosen = asked(commands.Retried, rest, usage, about_text(retry), hidden=("tracking_uri",))
    from lthray.study.ledger import retry as put_in_line

    name = names.pop(0) if names and not names[0].isdecimal() else ""
    wrong = [word for word in names if not word.isdecimal()]
    if wrong:
        raise ConfigError([f"lthray retry: {wrong[0]!r} is no number of a trial"])
    count = 0
    for call, entries in put_in_line(existing(chosen), name, list(map(int, names)), chosen.kind):
        for entry in entries:
            say(f"trial {entry.number} {entry.point.name}: {entry.ended.reason}")
        say(f"in line again; to go on:  {pasteable(call.about['command'])}")
        count += len(entries)
    return say(f"{count} failed trials were put in line again")


def explain(argv: Sequence[str]) -> int:
    """Explain a key or a trial of a store, or where two trials part: `lthray explain A [B]`."""
    names = names_of(argv)
    usage, rest = "lthray explain KEY|TRIAL [TRIAL]", argv[len(names) :]
    chosen = asked(options.Reading, rest, usage, about_text(explain), hidden=("tracking_uri",))
    if len(names) not in (1, 2):
        raise ConfigError([f"lthray explain: needs a key, or one or two trials, got {len(names)}"])
    from lthray.explain import explain as lines_about

    return say("\n".join(lines_about(existing(chosen), names)))
