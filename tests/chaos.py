"""Kill a study at random, again and again: `python -m tests.chaos --kills 10 --seed 1`.

A study on Ray is run with an MLflow server beside it. At moments and of kinds that the seed
chooses, its worker, its raylet, its driver or the server is killed with SIGKILL, and what is dead
is started again by the same command. At the end every round must equal, bit for bit, that of the
study run in one process without a kill, and `lthray record` must find every trial.
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from lthray.core.store import Store
from lthray.study.ledger import Ledger
from lthray.study.results import trials

from .conftest import same
from .test_recording import free_port, server
from .test_study import PAGE

TARGETS = {
    "worker": re.compile(r"ray::(ImplicitFunc|_dense)"),
    "raylet": re.compile(r"\S*/raylet/raylet "),
    "driver": None,
    "server": None,
}
"""What may be killed -> how its command line begins."""
RESUMABLE = (75, 4, -signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Return the processes below one, nearest first."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, rest = status.read_text().rsplit(")", 1)
        except OSError:  # it has just ended
            continue
        children.setdefault(int(rest.split()[1]), []).append(int(status.parent.name))
    found = [pid]
    for each in found:
        found.extend(children.get(each, ()))
    return found[1:]


def commands(pids: list[int]) -> dict[int, str]:
    """Return the command line of each process that still lives."""
    found = {}
    for pid in pids:
        try:
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


class Study:
    """A study in a process of its own, with an MLflow server beside it."""

    def __init__(self, folder: Path, words: list[str]):
        self.folder, self.port, self.words = folder, free_port(), words
        self.page = folder / "page.py"
        self.page.write_text(PAGE)
        self.log = open(folder / "log.txt", "ab")  # noqa: SIM115 (as long as the process)
        self.driver: subprocess.Popen | None = None
        self.server = server(folder / "server", self.port)
        self.left: Counter[int] = Counter()
        """Exit code of the driver -> how often it left so before it was done."""

    def command(self) -> list[str]:
        """The command line of the study."""
        place = ["--out", str(self.folder / "runs")]
        tracking = ["--tracking-uri", f"http://127.0.0.1:{self.port}"]
        return [sys.executable, str(self.page), "list", *place, *tracking, *self.words]

    def keep_up(self) -> bool:
        """Start what is dead; return whether the study is done."""
        if self.server.poll() is not None:
            self.server = server(self.folder / "server", self.port)
        code = self.driver.poll() if self.driver else -signal.SIGKILL
        if code is None or code == 0:
            return code == 0
        assert code in RESUMABLE, f"the driver left with {code}; see {self.log.name}"
        self.left[code] += self.driver is not None
        # its own Ray lives on for seconds, and must not hold the new one up
        self.driver = subprocess.Popen(
            self.command(), stdout=self.log, stderr=self.log, start_new_session=True
        )
        return False

    def victims(self, target: str) -> list[int]:
        """Return the processes that a kill of this kind may hit."""
        assert self.driver is not None
        begin = TARGETS[target]
        if begin is None:
            process = {"driver": self.driver, "server": self.server}[target]
            return [process.pid] if process.poll() is None else []
        alive = commands(descendants(self.driver.pid))
        return [pid for pid, text in alive.items() if begin.match(text)]

    def kill(self, target: str, rng: random.Random) -> bool:
        """Kill one process of a kind; return whether there was one."""
        victims = self.victims(target)
        if not victims:
            return False
        victim = rng.choice(sorted(victims))
        if target == "server":
            os.killpg(victim, signal.SIGKILL)
        else:
            os.kill(victim, signal.SIGKILL)
        return True

    def close(self) -> None:
        """End what is left."""
        for process in (self.server, self.driver):
            if process and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.log.close()


def outcome(root: Path) -> dict[str, list]:
    """Return name -> rounds of every trial below a root; all of them are done."""
    store = Store(root / "store")
    (ledger,) = Ledger.all(store)
    found = list(trials(store, ledger))
    assert {trial.status for trial in found} == {"done"}
    return {trial.name: list(trial.rounds) for trial in found}


def storm(study: Study, kills: int, seed: int, patience: float = 1800.0) -> Counter[str]:
    """Run a study to its end under so many kills; return how many there were of each kind."""
    rng, hits, until = random.Random(seed), Counter[str](), time.monotonic() + patience
    targets = [list(TARGETS)[n % len(TARGETS)] for n in range(kills)]
    rng.shuffle(targets)
    while not study.keep_up():
        assert time.monotonic() < until, f"not done; see {study.log.name}"
        time.sleep(rng.uniform(0.5, 4.0))
        if targets and study.victims("worker") and study.kill(targets[0], rng):
            print(f"{time.strftime('%H:%M:%S')}  killed: {targets[0]}", flush=True)
            hits[targets.pop(0)] += 1
            time.sleep(rng.uniform(2.0, 6.0))
    return hits


def main() -> int:
    """Run the command; the exit code is 0 where resumed equals uninterrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--steps", type=int, default=1000, help="of a training run; more last longer"
    )
    chosen = parser.parse_args()
    words = ["--train.steps", str(chosen.steps), "--seeds", "0"]
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    began = time.monotonic()
    calm = [sys.executable, str(folder / "page.py"), "list", "--out", str(folder / "calm")]
    study = Study(folder, words)
    try:
        subprocess.run([*calm, "--local", *words], check=True, stdout=study.log, stderr=study.log)
        print(f"without a kill: {time.monotonic() - began:.0f} s", flush=True)
        began = time.monotonic()
        hits = storm(study, chosen.kills, chosen.seed)
    finally:
        study.close()
    print(f"under kills {dict(hits)}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"the driver was started {1 + study.left.total()} times; it left with {dict(study.left)}")
    whole, torn = outcome(folder / "calm"), outcome(folder / "runs")
    equal = whole.keys() == torn.keys() and all(
        len(whole[n]) == len(torn[n]) and all(map(same, whole[n], torn[n])) for n in whole
    )
    place = ["--out", str(folder / "runs"), "--tracking-uri", f"sqlite:///{folder}/again.db"]
    record = [sys.executable, "-m", "lthray", "record", *place]
    said = subprocess.run(record, capture_output=True, text=True, check=True).stdout.strip()
    verify = [sys.executable, "-m", "lthray", "store", "verify", *place[:2]]
    store = subprocess.run(verify, capture_output=True, text=True, check=False).stdout.strip()
    print(said, store, sep="\n")
    print(f"{len(whole)} trials: resumed {'=' if equal else 'IS NOT'} uninterrupted")
    if hits.total() < chosen.kills:
        print(f"only {hits.total()} of {chosen.kills} kills came in time: give more --steps")
        return 1
    return 0 if equal and f"{len(whole)} trials recorded" in said else 1


if __name__ == "__main__":
    sys.exit(main())
