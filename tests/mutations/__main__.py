"""Break a copy of the code in one place after another, and see whether the named tests fail.

python -m tests.mutations [--only TEXT] [--jobs N]

Nothing of the repository itself is touched. The exit code is 0 if every breakage is caught, 1 if
one survives, and 2 if the named tests cannot be run, or fail on the code as it is.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from .table import TABLE, Mutation

ROOT = Path(__file__).parents[2]
PARTS = (
    *("lthray", "tests", "docs", "analysis", "studies", "results"),
    *("pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
    "mkdocs.yml",
)
"""What the tests need of the repository."""
PYTEST = (sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider")
PASSED, FAILED = 0, 1  # exit codes of pytest; others mean that the tests could not be run
PATIENCE = 600.0  # seconds after which a run of tests counts as hanging


class Unrunnable(Exception):
    """The tests could not be run, or fail without any breakage."""


def copied(folder: Path) -> Path:
    """Copy what the tests need into `folder`, and return it; no bytecode comes along."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def outcome(copy: Path, tests: Iterable[str]) -> tuple[int, str]:
    """Run tests in a copy; returns the exit code of pytest and what it said.

    No bytecode is written, since a file that changes twice a second would not be compiled again.
    """
    env = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = (*PYTEST, *tests)
    try:
        done = subprocess.run(
            command, cwd=copy, env=env, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise Unrunnable(f"no end after {PATIENCE:.0f} s: {' '.join(tests)}") from None
    return done.returncode, done.stdout + done.stderr


def check_unbroken(copy: Path, rows: Sequence[Mutation]) -> None:
    """Raise Unrunnable unless all tests that the rows name pass on the code as it is."""
    tests = dict.fromkeys(test for row in rows for test in row.tests)
    code, said = outcome(copy, tests)
    if code != PASSED:
        raise Unrunnable(f"the tests do not pass on the code as it is ({code}):\n{said}")


def is_caught(copy: Path, row: Mutation) -> bool:
    """Break a copy as a row says, run the row's tests, and mend the copy."""
    path = copy / row.file
    text = path.read_text()
    if text.count(row.before) != 1:
        raise Unrunnable(f"{row.file}: not there exactly once: {row.before!r}")
    broken = text.replace(row.before, row.after)
    compile(broken, row.file, "exec")  # a breakage is wrong, not misspelt
    path.write_text(broken)
    try:
        code, said = outcome(copy, row.tests)
    finally:
        path.write_text(text)
    if code not in (PASSED, FAILED):
        raise Unrunnable(f"pytest ended with {code} on {row.after!r}:\n{said}")
    return code == FAILED


def survivors(rows: Sequence[Mutation], folder: Path, jobs: int) -> list[Mutation]:
    """Print a line for each row as it is done, and return those that no test has caught."""
    copies = SimpleQueue[Path]()
    for job in range(jobs):
        copies.put(copied(folder / str(job)))

    def run(row: Mutation) -> tuple[Mutation, bool, float]:
        copy, began = copies.get(), time.monotonic()
        try:
            return row, is_caught(copy, row), time.monotonic() - began
        finally:
            copies.put(copy)

    found = []
    pool = ThreadPoolExecutor(jobs)
    try:
        for done in as_completed([pool.submit(run, row) for row in rows]):
            row, caught, seconds = done.result()
            label = "caught  " if caught else "SURVIVED"
            print(f"{label} {seconds:5.1f} s  {row.file}: {row.why}", flush=True)
            found += [] if caught else [row]
    finally:
        pool.shutdown(cancel_futures=True)  # no more of them once one could not be run
    return found


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--only", default="", help="only rows that hold this text")
    parser.add_argument("--jobs", type=int, default=1, help="breakages tried side by side")
    options = parser.parse_args()
    rows = [row for row in TABLE if any(options.only in part for part in row.words)]
    if not rows or options.jobs < 1:
        parser.error(f"{len(rows)} rows hold {options.only!r}, for {options.jobs} jobs")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            check_unbroken(copied(Path(folder) / "unbroken"), rows)
            print(f"the tests pass unbroken, {time.monotonic() - began:.0f} s", flush=True)
            found = survivors(rows, Path(folder), options.jobs)
        except Unrunnable as error:
            print(error, file=sys.stderr)
            return 2
    print(f"{len(rows) - len(found)} of {len(rows)} caught, {time.monotonic() - began:.0f} s")
    for row in found:
        print(f"SURVIVED {row.file}: {row.before!r} -> {row.after!r}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
