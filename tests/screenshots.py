"""Remake the pictures of MLflow and of a report that the README and the docs show.

    python -m tests.screenshots RUNS FOLDER [STUDY]

RUNS is the root of a study that has ended, STUDY its name (the one recorded last). FOLDER takes
mlflow.png, the curves of the saved view; runs.png, the table of its runs; and report.png, if
`analysis/report.py` has written a report of it. MLflow is started by `lthray ui` on a free port,
and ended again. Chromium takes the pictures; one line says so where there is none.
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from lthray.tracking import views

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOST = "mlflow.example"  # MLflow opens a chat beside its pages where it is called 127.0.0.1
SIZE = (1500, 850)  # to the end of the first chart: those below are drawn when they are seen
PATIENCE = 60_000  # milliseconds of a page's own clock, which waits for the server
LIMIT = 300  # seconds for one picture
COLOURS = 128  # of a picture, which keeps it below 250 kB


class Refused(Exception):
    """No pictures can be taken; the message is one line."""


def browser() -> str:
    """Return the path of Chromium."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise Refused(f"no browser: one of {', '.join(BROWSERS)} must be on PATH")


@contextmanager
def served(root: Path, study: str) -> Iterator[tuple[str, str]]:
    """Give the address of the charts of a study, and its name, while MLflow runs on them."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")  # no window is opened
    environ = {name: value for name, value in os.environ.items() if name not in screens}
    environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = f"{HOST}:*,127.0.0.1:*"
    environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = f"http://{HOST}:*"
    command = [sys.executable, "-m", "lthray", "ui", *filter(None, [study]), "--out", str(root)]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environ, **piped) as running:
        try:
            link = running.stdout.readline().strip()
            if not link.startswith("http"):
                raise Refused(running.stderr.read().strip() or link)
            name, _, _ = running.stdout.readline().partition(";")
            yield link.replace("127.0.0.1", HOST), name
        finally:
            running.send_signal(signal.SIGINT)


def taken_of(page: str, size: tuple[int, int] = SIZE) -> bytes:
    """Return a page as a PNG of a size in pixels, as a browser with a new profile shows it."""
    with tempfile.TemporaryDirectory(prefix="lthray-") as folder:
        taken = Path(folder) / "taken.png"
        command = [
            *(browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={folder}/profile", f"--screenshot={taken}"),
            *(f"--window-size={size[0]},{size[1]}", f"--virtual-time-budget={PATIENCE}"),
            *(f"--host-resolver-rules=MAP {HOST} 127.0.0.1", page),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        if not taken.exists():
            *_, last = ["nothing", *done.stderr.splitlines()]
            raise Refused(f"{page}: the browser took no picture; its last line: {last}")
        return taken.read_bytes()


def picture(page: str) -> bytes:
    """Return a page as a PNG of few colours."""
    with Image.open(io.BytesIO(taken_of(page))) as image:
        small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    data = io.BytesIO()
    small.save(data, "PNG", optimize=True)
    return data.getvalue()


def pages(link: str, report: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of each picture and the address of its page."""
    yield "mlflow", link
    base, _, place = link.partition("/#/experiments/")
    experiment, _, _ = place.partition("/")
    yield "runs", views.link(base, experiment, views.RUNS)
    if report.exists():
        yield "report", report.absolute().as_uri()


def main(argv: list[str]) -> int:
    """Take all pictures; returns the exit code."""
    if len(argv) not in (2, 3):
        print("usage: python -m tests.screenshots RUNS FOLDER [STUDY]", file=sys.stderr)
        return 2
    root, folder, study = Path(argv[0]), Path(argv[1]), "".join(argv[2:])
    try:
        browser()
        folder.mkdir(parents=True, exist_ok=True)
        with served(root, study) as (link, shown):
            for name, page in pages(link, root / "reports" / shown / "report.html"):
                data = picture(page)
                (folder / f"{name}.png").write_bytes(data)
                print(f"{folder / name}.png  {len(data) // 1000} kB  {page}")
    except Refused as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
