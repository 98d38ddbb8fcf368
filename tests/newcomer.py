"""Play the first hour of somebody with a fresh clone: `python -m tests.newcomer PLACE`.

In PLACE, a new folder, the repository is cloned and the README's first command run, as --smoke.
Then everything that the quickstart names is done by the commands that it names: the
charts and the report are opened in a browser without a window, images of one's own are studied, a
study is interrupted and goes on, and a ticket is exported and sampled by plain diffusers. Each step
says how long it took. Pictures of what was seen lie in PLACE/seen, to be looked at.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sklearn.datasets import load_digits

from .published import ROOT
from .screenshots import taken_of

STUDY = "layerwise_search.digits.smoke"
SAMPLE = """\
import sys
sys.modules["lthray"] = None  # nothing of it may be imported
import torch
from diffusers import DiffusionPipeline  # of which kind, the folder says
pipeline = DiffusionPipeline.from_pretrained(".")
made = pipeline(batch_size=4, num_inference_steps=20, generator=torch.manual_seed(0)).images
assert len(made) == 4 and made[0].size == (8, 8)
print("4 images by", type(pipeline).__name__)
"""


@dataclass
class Newcomer:
    """Somebody at a shell in a fresh clone."""

    place: Path
    seen: list[str] = field(default_factory=list)
    """Names of the pictures that were taken."""

    @property
    def clone(self) -> Path:
        """Folder of the clone."""
        return self.place / "lthray"

    @property
    def environment(self) -> dict[str, str]:
        """What the shell of a newcomer holds: nothing of this environment."""
        kept = {word: value for word, value in os.environ.items() if word != "PYTHONPATH"}
        return kept | {"VIRTUAL_ENV": ""}

    def types(self, command: str, code: int = 0) -> str:
        """Run a command in the clone as a shell would; return what it prints."""
        print(f"$ {command}", flush=True)
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=self.clone,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != code:
            raise SystemExit(f"exit code {done.returncode}, not {code}:\n{done.stdout[-3000:]}")
        return done.stdout

    def begins(self, command: str) -> "subprocess.Popen[str]":
        """Start a command in the clone and leave it running."""
        print(f"$ {command}", flush=True)
        return subprocess.Popen(
            ["bash", "-euc", f"exec {command}"],
            cwd=self.clone,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def opens(self, address: str, name: str, height: int = 1000) -> None:
        """Take a picture of a page as a browser shows it."""
        picture = self.place / "seen" / f"{name}.png"
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(taken_of(address, (1500, height)))
        if picture.stat().st_size < 20_000:
            raise SystemExit(f"{picture}: nearly nothing is on it")
        self.seen.append(picture.name)


def installs(user: Newcomer) -> None:
    """Clone, install and run the main study, all in one line of the README."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(user.clone)], check=True)
    command = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)[0]
    told = user.types(f"{command.strip()} --smoke")
    assert "look:  .venv/bin/lthray ui --out runs" in told


def lists_tickets(user: Newcomer) -> None:
    """List the tickets that were found."""
    assert "layerwise_search.digits.smoke" in user.types(".venv/bin/lthray tickets")


def sees_charts(user: Newcomer) -> None:
    """Open MLflow by the closing line of the study."""
    with user.begins(".venv/bin/lthray ui --out runs") as server:
        address = server.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), address
        user.opens(address, "charts")
        user.opens(address.partition("#")[0], "front_page")
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=120) == 0


def reads_the_report(user: Newcomer) -> None:
    """Make the report and open it as a file."""
    *_, address = user.types(".venv/bin/lthray report").splitlines()
    assert address.startswith("file://")
    user.opens(address, "reports")
    page = Path(address.removeprefix("file://")).parent / STUDY / "report.html"
    user.opens(page.as_uri(), "report", 4000)


def brings_images(user: Newcomer) -> None:
    """Study a folder of pictures."""
    from PIL import Image

    digits = load_digits()
    for number in range(400):
        folder = user.clone / "pictures" / str(digits.target[number] % 2)
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((digits.images[number] * 15.9).astype("uint8"))
        picture.resize((16, 16)).save(folder / f"{number}.png")
    told = user.types(".venv/bin/lthray data pictures")
    command = re.search(r"use it:  (.+)", told)[1]
    assert "look:  " in user.types(f"{command} --smoke --recipes 0 --trials 2")
    shutil.copy(user.clone / "runs/presets/pictures.png", user.place / "seen/contact_sheet.png")


def interrupts(user: Newcomer) -> None:
    """Stop a study by Ctrl-C once it has measured a ticket; the same command goes on."""
    command = ".venv/bin/python studies/layerwise_search.py --smoke --out interrupted"
    with user.begins(command) as study:
        for line in study.stdout:
            if "round 1/" in line:
                break
        study.send_signal(signal.SIGINT)
        said = study.stdout.read()
        assert study.wait(timeout=300) == 75, said
    again = re.search(r"to go on, the same command:  (.+)", said)[1]
    assert again == command
    told = said[said.index("trials that were begun are done") :].splitlines()
    assert len(told) <= 5, said
    user.types(again)


def takes_a_ticket_home(user: Newcomer) -> None:
    """Export a ticket and draw images from it where lthray cannot be imported."""
    *_, name = re.findall(r"\S+-\d{4}(?= --round)", user.types(".venv/bin/lthray tickets"))
    user.types(f".venv/bin/lthray export {name} my_ticket")
    (user.clone / "my_ticket/sample.py").write_text(SAMPLE)
    print(user.types("cd my_ticket && ../.venv/bin/python sample.py").strip())


def reads_the_docs(user: Newcomer) -> None:
    """Build the pages of the documentation and open three of them."""
    tool = Path(sys.executable).with_name("mkdocs")
    subprocess.run([tool, "build", "-q", "-d", user.place / "site"], cwd=ROOT, check=True)
    for name in ("index", "quickstart", "verdicts"):
        user.opens((user.place / "site" / f"{name}.html").as_uri(), f"docs_{name}", 1400)


HOUR: tuple[Callable[[Newcomer], None], ...] = (
    installs,
    lists_tickets,
    sees_charts,
    reads_the_report,
    brings_images,
    interrupts,
    takes_a_ticket_home,
    reads_the_docs,
)


def main() -> None:
    """Play all steps, or those from the one that is named on; say how long each took."""
    place, *first = sys.argv[1:]
    user = Newcomer(Path(place).absolute())
    user.place.mkdir(parents=True, exist_ok=True)
    (user.place / "seen").mkdir(exist_ok=True)
    names = [step.__name__ for step in HOUR]
    for step in HOUR[names.index(first[0]) if first else 0 :]:
        began = time.monotonic()
        step(user)
        print(f"{step.__name__}: {time.monotonic() - began:.0f} s\n", flush=True)
    print(f"look at {user.place / 'seen'}: {', '.join(user.seen)}")


if __name__ == "__main__":
    main()
