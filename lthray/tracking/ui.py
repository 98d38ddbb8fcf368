"""MLflow's pages, started on the right database and opened at the charts of a study."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import IO

from lthray.config import addresses
from lthray.config.fields import ConfigError
from lthray.tracking import views
from lthray.tracking.read import experiment_of

PORT = 5000  # the first that is tried
PATIENCE = 120.0  # seconds for MLflow to begin
HERE = "127.0.0.1"


def show(uri: str, name: str, port: int, say: Callable[[str], object]) -> int:
    """Start MLflow on a database, open the charts of a study in a browser, and wait for its end.

    `name` empty is the study that was recorded last; `port` 0 is the first free one from 5000 on. A
    server that runs already is only opened. Returns the exit code of MLflow; 0 after Ctrl-C.
    """
    experiment = experiment_of(uri, name)
    if uri.startswith(addresses.SERVERS):
        open_page(views.link(addresses.page_of(uri), experiment.experiment_id), say)
        return 0
    chosen = port or free()
    place = ["--host", HERE, "--port", str(chosen), "--backend-store-uri", uri]
    command = [sys.executable, "-m", "mlflow", "ui", *place]
    with TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            _wait(server, chosen, log)
            base = f"http://{HERE}:{chosen}"
            open_page(views.link(base, experiment.experiment_id), say)
            say(f"{experiment.name}; Ctrl-C ends it")
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            return 0


def free() -> int:
    """Return the first free port; macOS has something of its own on 5000."""
    for port in range(PORT, PORT + 100):
        with socket.socket() as tried:
            if tried.connect_ex((HERE, port)):
                return port
    raise ConfigError([f"--port: none from {PORT} to {PORT + 99} is free; name another"])


def _wait(server: "subprocess.Popen[bytes]", port: int, log: IO[bytes]) -> None:
    """Wait until MLflow answers; ConfigError, with its last line, where it ends or never does."""
    until = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://{HERE}:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    server.terminate()
    log.seek(0)
    *_, last = [b"nothing", *log.read().splitlines()]
    why = last.decode(errors="replace")
    raise ConfigError([f"--port {port}: MLflow did not begin there; its last line: {why}"])


def open_page(page: str, say: Callable[[str], object]) -> None:
    """Say where a page is, and open it where there is a screen."""
    say(page)
    screen = sys.platform in ("darwin", "win32") or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
    if screen:
        webbrowser.open(page)
