"""Commands that look after a store or make presets: `lthray store`, `retry`, `preset`, `data`."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from lthray.command import about_text, asked, asked_of_data, existing, first_of, names_of, say
from lthray.config import commands, options, presets
from lthray.config.fields import ConfigError
from lthray.config.help_page import asks_for_help
from lthray.config.shell import pasteable


def store(argv: Sequence[str]) -> int:
    """Look after a store: `lthray store verify | size | conflicts | sweep`."""
    from lthray.study.upkeep import VERBS

    verb, *rest = argv or [""]
    if asks_for_help(argv):
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
    from lthray.study.ledger import Ledger, is_called
    from lthray.study.ledger import retry as put_in_line

    name = names.pop(0) if names and not names[0].isdecimal() else ""
    wrong = [word for word in names if not word.isdecimal()]
    if wrong:
        raise ConfigError([f"lthray retry: {wrong[0]!r} is no number of a trial"])
    count, root = 0, existing(chosen)
    if not any(is_called(call, name) for call in Ledger.all(root)):
        raise ConfigError([f"lthray retry: {name!r} is no study and no call of this store"])
    for call, entries in put_in_line(root, name, list(map(int, names)), chosen.kind):
        for entry in entries:
            say(f"trial {entry.number} {entry.point.name}: {entry.ended.reason}")
        say(f"in line again; to go on:  {pasteable(call.about['command'])}")
        count += len(entries)
    return say(f"{count} failed trials were put in line again")


def preset(argv: Sequence[str]) -> int:
    """Make a preset of the best dense network of a search.

    Such as: lthray preset NAME --experiment baseline_tuning.digits
    """
    name, rest = first_of(argv)
    chosen = asked(commands.Wanted, rest, "lthray preset NAME", about_text(preset))
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
    place, rest = first_of(argv)
    chosen, of_data = asked_of_data(commands.Named, rest, "lthray data FOLDER", about_text(data))
    if not place:
        raise ConfigError(["lthray data: needs a folder of images, an .npz or a list"])
    name = presets.usable(chosen.name or presets.slug(Path(os.path.abspath(place)).stem))
    from lthray.study import survey

    brought = {"data.name": "folder", "data.root": os.path.abspath(place)}
    images, words = survey.survey(of_data | brought)
    say("\n".join(survey.lines(images, words)))
    return say("\n".join(survey.keep(name, chosen.out, images, words)))
