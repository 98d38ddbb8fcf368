"""Command lines: how a study's page is run, and what every command shares.

Imports are late on purpose: bad words are refused, and --help is printed, before torch or Ray is loaded.
"""

import contextlib
import functools
import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lthray import __version__
from lthray.config import options
from lthray.config.fields import ConfigError, words
from lthray.config.presets import words_of
from lthray.config.trial import IMAGES, POLICY, TrialConfig, own_of
from lthray.findings.evidence import gather
from lthray.study.call import OURS, Call, Study, flagged, read_options, resolve

if TYPE_CHECKING:
    from lthray.core.store import Store
    from lthray.findings.sections import Section
    from lthray.study.results import Trial
    from lthray.tracking.read import Recorded

T = TypeVar("T")
PATIENCE = 60.0  # seconds that a finished study waits for MLflow


def study(page: Study, argv: Sequence[str] | None = None) -> int:
    """Run a study's page; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if options.asks_for_help(argv):
        usage = f"python studies/{page.name}.py [OPTIONS]"
        groups = {"study": words(options.Options), **_config_groups()}
        return guarded(lambda: say(options.help_text(usage, page.about, groups)))
    return guarded(lambda: _study(resolve(page, argv)))


def analysis(name: str, about: str, sections: "Callable[[Recorded, str], Iterable[Section]]") -> int:
    """Run an analysis page whose sections need no options of their own; returns the exit code."""

    def told() -> int:
        wanted = asked(options.Asked, sys.argv[1:], f"python analysis/{name}.py", about)
        from lthray.findings.sections import write
        from lthray.tracking.read import Recorded

        recorded = Recorded(wanted.uri, wanted.experiment)
        print("\n".join(write(sections(recorded, wanted.call), Path(wanted.out) / "reports" / recorded.name)))
        return options.DONE

    return guarded(told)


def configured(argv: Sequence[str], usage: str, about: str) -> tuple[TrialConfig, options.Options]:
    """The config that a command line makes of a preset; ConfigError with every fault, --help leaves."""
    wanted = ("preset", "data_root", "out", "tracking_uri", "cpus_per_trial")
    mine = {word: words(options.Options)[word] for word in wanted}
    if options.asks_for_help(argv):
        print(options.help_text(f"{usage} [OPTIONS]", about, {"options": mine, **_config_groups(())}))
        raise SystemExit(options.DONE)
    flat, faults = options.split(argv, {**mine, **words(TrialConfig)})
    chosen = read_options(options.Options, {w: value for w, value in flat.items() if w in mine}, faults)
    base = words_of(chosen.preset, chosen.out)
    place = {"data.root": chosen.data_root} if chosen.data_root else {}
    try:
        config = TrialConfig.from_flat({**base, **place, **{w: v for w, v in flat.items() if w not in mine}})
    except ConfigError as error:
        faults += [flagged(fault) for fault in error.faults]
    if faults:
        raise ConfigError(faults)
    return config, chosen


def _study(call: Call) -> int:
    from lthray.task import data
    from lthray.trial import preflight

    prune, config = call.config.prune, call.config
    images = data.load(config.data)
    own = config.model.name not in POLICY or own_of(config.data) == IMAGES["folder"]
    files = (config.origin, config.model.pretrained, config.latent.pretrained, config.measure.inception)
    if own or prune.layers or prune.dials or any(files):
        preflight.check(config)
    for given in call.beside:
        preflight.check(call.config_of(0, given))
    if call.options.dry_run:
        return _dry_run(call)
    from lthray.study import results

    held = store_of(call.options)
    with contextlib.ExitStack() as stack:
        room = functools.cache(lambda: _cluster(stack, call))  # one Ray for all phases, if any has something to run
        phases = [_phase(call, call.varied, images.digest, held, room)]
        if call.recipes and phases[0].code in (options.DONE, options.PARTIAL) and not phases[0].left:
            chosen = results.best(phases[0].trials, call.rungs)[: call.recipes]
            if chosen:
                again = call.confirmation([trial.entry.point["words"] for trial in chosen])
                phases.append(_phase(again, [*call.varied, "control"], images.digest, held, room, chosen))
            else:
                print("no recipe went down the whole ladder at the dense network's own budget: nothing to confirm")
    return _end(call, phases)


@dataclass(frozen=True)
class Phase:
    """What came of a call: its trials, its experiment in MLflow, what keeps MLflow behind, how many trials are left."""

    trials: "list[Trial]"
    experiment: str | None
    behind: str | None
    interrupted: bool
    left: int

    @property
    def code(self) -> int:
        """The exit code."""
        if self.interrupted:
            return options.INTERRUPTED
        failed = any(t.entry.end and t.entry.end["status"] == "failed" for t in self.trials)
        return options.PARTIAL if failed or self.left else options.DONE


def _cluster(stack: contextlib.ExitStack, call: Call) -> tuple[int, str]:
    from lthray.study.ray_runner import cluster

    return stack.enter_context(cluster(call))


def _phase(
    call: Call, varied: Sequence[str], digest: str, held: "Store", room: Callable[[], tuple[int, str]],
    chosen: "Sequence[Trial]" = (),
) -> Phase:  # fmt: skip
    """Run what is left of a call and show what there is."""
    from lthray.study import results
    from lthray.study.ledger import Ledger
    from lthray.study.terminal import Tally, Watch
    from lthray.tracking.write import Projector
    from lthray.trial.plan import givens

    began = time.time()
    about = about_of(call.study.name, call.study.about, call.options, call.argv, varied)
    ledger = Ledger.freeze(held, call.plan(digest, givens(call.config)), about)
    with held.lock(ledger.key, wait=False) as mine:
        if not mine:
            raise BlockingIOError(f"another process is running this study in {call.options.out}")
        projector = Projector(held, ledger, call.options.uri, call.options.artifacts)
        projector.start()
        interrupted, slots = False, 1
        entries = list(ledger)
        if len(entries) < call.trials or any(entry.end is None for entry in entries):
            slots, scratch = room()
            from lthray.study.ray_runner import execute

            with Watch(Tally(held, ledger, call.trials), call.study.name) as watch:
                interrupted = execute(call, held, ledger, watch, slots, scratch)
        behind = projector.close(5.0 if interrupted else PATIENCE)
    trials = list(results.trials(held, ledger))
    left = max(0, call.trials - len(trials)) + sum(t.entry.end is None for t in trials)
    _show(call, trials, held, began, slots, chosen if not left else ())
    return Phase(trials, projector.experiment, behind, interrupted, left)


def _show(call: Call, trials: "list[Trial]", held: "Store", began: float, slots: int, chosen: "Sequence[Trial]") -> None:
    """The table of trials, the best recipe or the verdict, how the time was spent."""
    from lthray.findings import claims
    from lthray.study import terminal

    out = terminal.console()
    out.print()
    out.print(terminal.trial_table(trials))
    out.print()
    if call.study.surface:
        out.print(terminal.surface_table(trials, *call.study.surface))
    if call.space and not call.rungs:
        out.print(terminal.baseline_table(trials))
    for line in terminal.best_lines(trials, call.rungs, call.options.out) if call.space else []:
        out.print(line)
    for evidence in gather(trial.summary for trial in trials) if chosen else []:
        out.print(terminal.verdict_table(evidence))
        for line in [*claims.sentences(evidence), *terminal.shrinkage_lines(chosen, evidence)]:
            out.print(line)
    for line in terminal.closing_lines(trials, held, began, slots):
        out.print(line)


def _end(call: Call, phases: Sequence[Phase]) -> int:
    """How to look closer, or to go on; the exit code."""
    from lthray.study import terminal
    from lthray.tracking import views

    out, last = terminal.console(), phases[-1]
    if last.behind:
        out.print(f"MLflow is behind ({last.behind}); later:  lthray record --out {shlex.quote(call.options.out)}")
    if not call.options.tracking_uri:
        out.print(f"look:  mlflow ui --port 5000 --backend-store-uri {call.options.uri}")
    if last.experiment:
        base = call.options.tracking_uri if call.options.tracking_uri.startswith("http") else "http://127.0.0.1:5000"
        out.print(f"then:  {views.link(base, last.experiment)}")
    if last.interrupted or last.left:
        word = "interrupted" if last.interrupted else "unfinished"
        out.print(f"{word}; to go on, the same command:  {_command(call.argv)}")
    return max(phase.code for phase in phases)


def _dry_run(call: Call) -> int:
    """Print the plan of a call; write nothing."""
    import torch

    from lthray.config.labels import name_of
    from lthray.study import terminal
    from lthray.study.call import preview
    from lthray.trial.plan import plan
    from lthray.trial.setting import pace

    out, configs = terminal.console(), preview(call)
    confirmed = preview(call.confirmation(([*call.first, {}] * 3)[: call.recipes])) if call.recipes else []
    out.print(f"{call.study.name}: {call.trials} trials, seeds {call.seeds}, densities {call.config.prune.ladder}")
    for word, value in call.config.canonical().items():
        out.print(f"  {word} = {value}")
    for word, dial in call.space.items():
        out.print(f"  {word} in {dial}")
    for number, config in enumerate(configs):
        out.print(f"trial {number}: {name_of(config)}")
    for number, config in enumerate(confirmed):
        out.print(f"confirmation {number}: {name_of(config)}" + " (recipes stand in for those to be found)" * (not number))
    torch.set_num_threads(call.options.cpus_per_trial)
    parameters, per_step = pace(call.config)
    slots = call.options.max_concurrent or max(1, (os.cpu_count() or 1) // call.options.cpus_per_trial)
    for line in terminal.plan_lines([plan(config) for config in [*configs, *confirmed]], parameters, per_step, slots):
        out.print(line)
    return options.DONE


def guarded(run: Callable[[], int]) -> int:
    """Run, and turn what can go wrong outside a trial into one line a fault and an exit code."""
    logging.basicConfig(format="warning: %(message)s")
    try:
        done = run()
        sys.stdout.flush()
        return done
    except KeyboardInterrupt:
        return options.KILLED
    except BrokenPipeError:  # whoever read our output has left; nothing is lost, and nobody is there to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return options.INTERRUPTED
    except Exception as error:
        code = _code(error)
        if code is None:
            raise
        for fault in getattr(error, "faults", [str(error)]):
            print(f"error: {fault}", file=sys.stderr)
        return code


def _code(error: Exception) -> int | None:
    """The exit code of an error by its name, so that naming it imports nothing."""
    if isinstance(error, OSError):
        return options.ENVIRONMENT
    names = {"ConfigError": options.BAD_INPUT, "StoreError": options.BAD_INPUT, "TicketError": options.INTEGRITY}
    names |= {"ClusterError": options.ENVIRONMENT, "MlflowException": options.ENVIRONMENT}
    return next((names[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in names), None)


def say(text: str) -> int:
    """Print, and be done."""
    print(text)
    return options.DONE


def asked(cls: type[T], argv: Sequence[str], usage: str, about: str, *, hidden: Sequence[str] = ()) -> T:
    """The options of a small command or an analysis; ConfigError with every fault, --help leaves."""
    mine = {word: told for word, told in words(cls).items() if word not in hidden}
    if options.asks_for_help(argv):
        print(options.help_text(f"{usage} [OPTIONS]", about, {"options": mine}))
        raise SystemExit(options.DONE)
    flat, faults = options.split(argv, mine)
    chosen = read_options(cls, flat, faults)
    if faults:
        raise ConfigError(faults)
    return chosen


def store_of(chosen: options.Root) -> "Store":
    """The store of a root."""
    from lthray.core.store import Store

    return Store(Path(chosen.out) / "store")


def about_of(
    name: str, question: str, chosen: options.Options, argv: Sequence[str], varied: Sequence[str] = ()
) -> dict[str, Any]:
    """What is recorded beside a plan."""
    here = Path(__file__).parent
    git = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    facts = {"study": name, "preset": chosen.preset, "smoke": chosen.smoke, "question": question, "varied": list(varied)}
    return facts | {"command": _command(argv), "commit": git.stdout.strip(), "lthray": __version__}


def _command(argv: Sequence[str]) -> str:
    return options.redacted(shlex.join(["python", os.path.relpath(sys.argv[0]), *argv]))


def _config_groups(ours: Sequence[str] = OURS) -> dict[str, Any]:
    """The words of a config by part, for --help."""
    groups: dict[str, Any] = {}
    for word, about in words(TrialConfig).items():
        if word in ours:
            continue
        groups.setdefault(f"{word.split('.')[0]}" if "." in word else "trial config", {})[word] = about
    return groups
