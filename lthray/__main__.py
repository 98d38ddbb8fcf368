"""The `lthray` command: one trial without Ray, the record, the store, a preset of what a search has found."""

import contextlib
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from lthray import __version__
from lthray.cli import about_of, asked, configured, guarded, say, store_of
from lthray.config import options, presets
from lthray.config.fields import ConfigError
from lthray.config.trial import TrialConfig

if TYPE_CHECKING:
    from lthray.core.store import Store


@dataclass(frozen=True, kw_only=True, config=options.OPTIONS)
class Wanted(options.Asked):
    """Which search a preset is made of."""

    steps: Annotated[int, Field(ge=0)] = 0
    """Only among networks of so many training steps; 0 = all, whatever they cost."""


def main(argv: Sequence[str] | None = None) -> int:
    """lthray COMMAND [OPTIONS]"""
    argv = sys.argv[1:] if argv is None else argv
    command, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if command in ("--help", "-h"):
        about = "\n".join(f"  {name:8} {(run.__doc__ or '').splitlines()[0]}" for name, run in COMMANDS.items())
        return guarded(lambda: say(options.help_text("lthray COMMAND [OPTIONS]   (lthray COMMAND --help)", about, {})))
    if command == "--version":
        return guarded(lambda: say(__version__))
    if command not in COMMANDS:
        return guarded(lambda: _raise(ConfigError([f"{command!r}: must be one of {', '.join(COMMANDS)}"])))
    return guarded(lambda: COMMANDS[command](rest))


def trial(argv: Sequence[str]) -> int:
    """One trial in this process, without Ray: for a look, or a debugger."""
    return _one(*configured(argv, "lthray trial", trial.__doc__ or ""), argv)


def record(argv: Sequence[str]) -> int:
    """Fill an MLflow from the store: everything that is recorded there, as often as you like."""
    chosen = asked(options.Root, argv, "lthray record", record.__doc__ or "")
    from lthray.tracking import write as recording

    number = recording.replay(_existing(chosen), chosen.uri, chosen.artifacts)
    print(f"{number} trials recorded in {options.redacted(chosen.uri)}")
    return options.DONE


def store(argv: Sequence[str]) -> int:
    """Look after a store: `lthray store verify | size | sweep`."""
    verbs = ("verify", "size", "sweep")
    verb, rest = (argv[0], argv[1:]) if argv else ("", [])
    if verb not in verbs and not options.asks_for_help(argv):
        raise ConfigError([f"lthray store {verb!r}: must be one of {', '.join(verbs)}"])
    rest, usage = rest if verb in verbs else argv, "lthray store verify|size|sweep"
    chosen = asked(options.Root, rest, usage, store.__doc__ or "", hidden=("tracking_uri",))
    held = _existing(chosen)
    if verb == "size":
        print(f"{held.size() / 1e6:,.1f} MB in {sum(1 for _ in held):,} objects")
    elif verb == "sweep":
        print(f"{held.sweep()} abandoned or damaged objects removed")
    else:
        names = list(held)
        bad = [name for name in names if held.find(*name) is None]
        print(f"{len(names) - len(bad)} objects verified, {len(bad)} damaged (set aside, made again when needed)")
        return options.INTEGRITY if bad else options.DONE
    return options.DONE


def preset(argv: Sequence[str]) -> int:
    """Make a preset of the best dense network of a search: `lthray preset NAME --experiment baseline_tuning.digits`."""
    name, rest = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else ("", argv)
    chosen = asked(Wanted, rest, "lthray preset NAME", preset.__doc__ or "")
    from lthray.findings.evidence import setting_of
    from lthray.tracking.read import Recorded, tuned

    recorded = Recorded(chosen.uri, chosen.experiment)
    base = presets.words_of(recorded.preset, chosen.out)
    trial, words = tuned(recorded.trials, chosen.call, chosen.steps)
    path = presets.save(name, chosen.out, {w: v for w, v in base.items() if w not in setting_of(base)} | words)
    loss = trial["rounds"][0]["metrics"]["loss/heldout"]
    print(f"{path}: {trial['point']['name']}, held-out loss {loss:.4f}, " + " ".join(f"{w}={v}" for w, v in words.items()))
    print(f"use it:  --preset {name} --out {shlex.quote(chosen.out)}")
    return options.DONE


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"trial": trial, "record": record, "store": store, "preset": preset}


def _one(config: TrialConfig, chosen: options.Options, argv: Sequence[str]) -> int:
    import torch

    from lthray.core.ticket import Round, TrialFailed
    from lthray.study import terminal
    from lthray.study.ledger import DONE, FAILED, Ledger
    from lthray.tracking import write as recording
    from lthray.trial import trajectory
    from lthray.trial.plan import givens, point
    from lthray.trial.preflight import check

    torch.set_num_threads(chosen.cpus_per_trial)
    check(config)
    held, out = store_of(chosen), terminal.console()
    plan = {
        "study": "trial",
        "preset": chosen.preset,
        "smoke": False,
        "config": config.canonical(),
        "seed": config.seed,
    }
    if found := givens(config):
        plan["given"] = found
    ledger = Ledger.freeze(held, plan, about_of("trial", trial.__doc__ or "", chosen, argv))
    facts = ledger.begin(0, point(config, {}, "single"))
    last, code = len(facts["rounds"]) - 1, options.DONE
    try:
        with _interruptible():
            for event in trajectory.run(config, held):
                if isinstance(event, Round):
                    out.print(terminal.round_line(facts["name"], event.index, last, event.metrics))
                else:
                    done = f"step {event.step}/{event.of}, loss {event.loss:.4f}, {event.seconds:.0f} s"
                    out.print(f"  round {event.round}, {done}")
        ledger.finish(0, DONE)
    except KeyboardInterrupt:
        out.print(f"interrupted; to go on, the same command:  lthray trial {options.redacted(shlex.join(argv))}")
        return options.INTERRUPTED
    except TrialFailed as error:
        ledger.finish(0, FAILED, f"{type(error).__name__}: {error}", trace=traceback.format_exc())
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        code = options.PARTIAL
    recording.replay(held, chosen.uri, chosen.artifacts, only=ledger)
    return code


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is a Ctrl-C while this is open, and so is a SIGINT that whoever started us had set to be ignored."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _existing(chosen: options.Root) -> "Store":
    if not (held := store_of(chosen)).exists:
        raise ConfigError([f"--out {chosen.out!r}: there is no lthray store below it"])
    return held


def _raise(error: Exception) -> int:
    raise error


if __name__ == "__main__":
    sys.exit(main())
