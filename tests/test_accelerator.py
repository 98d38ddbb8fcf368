"""The tier of the pretended device, in a process of its own (see `tests/conftest.py`)."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_trials_that_cover_every_family_are_on_a_device_what_they_are_on_the_cpu():
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/accelerator"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
