"""All ways to install agree: one lock, one range of Pythons, one gate, one page that tells them.

Nothing is downloaded: what is written in the files is held together, and to the packages here.
"""

import fnmatch
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text()
PAGE = (ROOT / "docs" / "install.md").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
GATE = (ROOT / ".ci" / "run").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "gate.yml").read_text())
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
EXCLUDES = [
    line
    for line in (ROOT / "requirements-cpu.excludes").read_text().splitlines()
    if line and not line.startswith("#")
]
WHEELS = {"torch", "torchvision"}
"""What the CPU's install takes from elsewhere; what else is on the list is left out for good."""
UNLOCKED = {"dashboards", "postgres"}  # extras that the lock leaves out
SYSTEMS = {
    "linux": ("Linux", "x86_64"),
    "darwin": ("Darwin", "arm64"),
    "win32": ("Windows", "AMD64"),
}


def supported() -> list[str]:
    """Return the Pythons that the project allows, oldest first."""
    allowed = SpecifierSet(PROJECT["requires-python"])
    return [f"3.{minor}" for minor in range(30) if f"3.{minor}" in allowed]


def entries() -> list[tuple[Requirement, list[str]]]:
    """Return what the lock has: each requirement, and the hashes of its files."""
    found: list[tuple[Requirement, list[str]]] = []
    for line in LOCK.splitlines():
        if line.startswith(" "):
            found[-1][1].append(line.strip().removesuffix("\\").strip())
        else:
            found.append((Requirement(line.removesuffix("\\").strip()), []))
    return found


ENTRIES = entries()


def locked(python: str, system: str) -> dict[str, str]:
    """Return name -> version of all that the lock installs there; one version each."""
    platform, machine = SYSTEMS[system]
    there = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": system,
        "platform_system": platform,
        "platform_machine": machine,
    }
    found: dict[str, str] = {}
    for entry, _ in ENTRIES:
        if entry.marker is None or entry.marker.evaluate(there):
            assert entry.name not in found, f"{entry.name}: two versions"
            (only,) = entry.specifier
            found[entry.name] = only.version
    return found


def asked_for() -> list[str]:
    """Return the requirements of the project and of its extras that the lock is made of."""
    found = [*PROJECT["dependencies"]]
    for name, words in PROJECT["optional-dependencies"].items():
        found += words if name not in UNLOCKED else []
    return found


def shell_of(page: str) -> list[str]:
    """Return the commands of a page, one a line."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


# the lock


def test_there_is_one_lock_and_those_of_uv_which_have_addresses_are_not_kept():
    assert [path.name for path in ROOT.glob("*.lock") if path.name != "uv.lock"] == [
        "requirements.lock"
    ]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"uv.lock", "pylock.toml"} <= set(ignored)


@pytest.mark.parametrize(
    "name",
    [
        *("requirements.lock", "requirements-cpu.excludes", "Dockerfile", ".dockerignore"),
        *(".github/workflows/gate.yml", ".pre-commit-config.yaml", "pyproject.toml"),
    ],
)
def test_no_address_and_no_index_is_named(name):
    text = (ROOT / name).read_text()
    assert text.strip()
    assert "://" not in text
    assert not re.search(r"index-url|--index|--find-links|\b[a-z0-9-]+\.(?:org|io|com)\b", text)


def test_every_entry_is_one_version_with_hashes():
    assert len(ENTRIES) > 150
    for entry, hashes in ENTRIES:
        (only,) = entry.specifier
        assert only.operator == "=="
        assert hashes, entry.name
        for each in hashes:
            assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each), entry.name


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", supported())
def test_the_lock_has_what_the_project_asks_for_on_every_python_and_system(python, system):
    pins = locked(python, system)
    assert len(asked_for()) > 25
    for word in asked_for():
        wanted = Requirement(word)
        name = canonicalize_name(wanted.name)
        assert pins[name] in wanted.specifier, word


# the install for the CPU alone


def reached(asked: list[Requirement]) -> set[str]:
    """Return all that some requirements bring, by what the packages here ask for.

    Torch is taken to be built for the CPU: it asks for what it asks for where there is no CUDA.
    """
    found: set[str] = set()
    ahead = [(canonicalize_name(each.name), frozenset(each.extras)) for each in asked]
    seen = set(ahead)
    while ahead:
        name, extras = ahead.pop()
        found.add(name)
        system = {"platform_system": "Darwin"} if name == "torch" else {}
        for word in importlib.metadata.requires(name) or []:
            wanted = Requirement(word)
            ways = [{**system, "extra": extra} for extra in ("", *extras)]
            if wanted.marker is None or any(wanted.marker.evaluate(way) for way in ways):
                more = (canonicalize_name(wanted.name), frozenset(wanted.extras))
                ahead += [more] if more not in seen else []
                seen.add(more)
    return found


def test_what_is_left_out_is_in_the_lock_once():
    assert set(EXCLUDES) > WHEELS
    assert len(set(EXCLUDES)) == len(EXCLUDES) > 10
    assert set(EXCLUDES) <= {entry.name for entry, _ in ENTRIES}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere these wheels have no CUDA")
def test_what_is_left_out_is_what_nothing_needs_beside_a_torch_for_the_cpu():
    """All of it, and no more."""
    pins = locked(f"3.{sys.version_info.minor}", "linux")
    stays = reached([Requirement(word) for word in asked_for()])
    assert len(stays) > 100
    assert set(pins) - stays | WHEELS == set(EXCLUDES)


def test_the_wheels_for_the_cpu_have_the_versions_of_the_lock():
    pins = locked("3.11", "linux")
    both = [f"{name}=={pins[name]}" for name in sorted(WHEELS)]
    for text in (PAGE, DOCKERFILE):
        assert set(re.findall(r"\b(?:torch|torchvision)==[\d.]+\d", text)) == set(both)


def plain(command: str) -> str:
    """Return a command of uv without the words that only an image needs."""
    return re.sub(r" --(?:system|no-cache)\b", "", " ".join(command.replace("\\\n", " ").split()))


def test_page_and_image_install_for_the_cpu_alike():
    of_image = [plain(step) for step in run_of("cpu").split("&&") if " uv pip " in step]
    of_page = [plain(line) for line in shell_of(PAGE) if "excludes" in line or "-backend" in line]
    assert len(of_image) == 2
    assert [line.strip() for line in of_image] == of_page[:2]


# Python


def test_oldest_and_newest_python_are_the_same_everywhere():
    oldest, *_, newest = supported()
    assert WORKFLOW["jobs"]["gate"]["strategy"]["matrix"]["python"] == [oldest, newest]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["mypy"]["python_version"] == oldest
    (image,) = re.findall(r"^FROM python:([\d.]+)-slim\b", DOCKERFILE, re.M)
    assert image in supported()
    (heads,) = re.findall(r"^\| system \| Python (.*) \|$", PAGE, re.M)
    assert heads.split(" | ") == supported()
    for name in ("README.md", "docs/quickstart.md", "docs/install.md"):
        said = re.findall(r"Python[^\n]{0,3}(3\.\d+) or newer", (ROOT / name).read_text())
        assert set(said) == {oldest}, name


def test_this_python_is_supported():
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in supported()


# the gate on GitHub, and the hooks


def test_the_workflow_runs_the_gate_and_nothing_else():
    assert set(WORKFLOW[True]) == {"push", "pull_request"}  # YAML takes the word "on" for true
    assert WORKFLOW["permissions"] == {"contents": "read"}
    (job,) = WORKFLOW["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert [name.partition("@")[0] for name in used] == ["actions/checkout", "actions/setup-python"]
    (python,) = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert python["python-version"] == "${{ matrix.python }}"
    assert (ROOT / python["cache-dependency-path"]).read_text() == LOCK
    assert job["timeout-minutes"] >= 90


def hooks() -> dict[str, dict]:
    """Return id -> hook of all that run before a commit."""
    return {hook["id"]: hook for repo in HOOKS["repos"] for hook in repo["hooks"]}


def test_hooks_are_tools_of_the_lock_and_steps_of_the_gate():
    assert [repo["repo"] for repo in HOOKS["repos"]] == ["local"]
    assert set(hooks()) == {"ruff-check", "ruff-format", "mypy"}
    for hook in hooks().values():
        assert hook["language"] == "system"
        command = hook["entry"].removesuffix(" --force-exclude")
        assert re.search(rf"^{re.escape(command)}(?: \.)?$", GATE, re.M), command
        tool = command.split()[0].removeprefix(".venv/bin/")
        assert tool in locked("3.11", "linux")


@pytest.mark.parametrize("name", ["ruff-check", "ruff-format"])
def test_a_hook_refuses_what_the_gate_would_refuse(name, tmp_path):
    entry = hooks()[name]["entry"].split()
    tool = str(Path(sys.executable).parent / Path(entry[0]).name)
    for text, fails in (('"""Nothing."""\n', False), ("import os,sys\nx = 'a'\n", True)):
        page = tmp_path / "page.py"
        page.write_text(text)
        told = subprocess.run([tool, *entry[1:], str(page)], capture_output=True, cwd=ROOT)
        assert bool(told.returncode) == fails, told


# the image


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile: word and rest."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line.strip()]


def run_of(stage: str) -> str:
    """Return what a stage runs."""
    runs: dict[str, list[str]] = {}
    for word, rest in instructions():
        if word == "FROM":
            inside = rest.partition(" AS ")[2]
            runs[inside] = []
        elif word == "RUN":
            runs[inside].append(rest)
    return " && ".join(runs[stage])


def test_the_image_takes_every_package_of_the_lock_by_its_hash():
    steps = [step.strip() for stage in ("cuda", "cpu", "") for step in run_of(stage).split("&&")]
    installs = [step for step in steps if " install " in f" {step}" and "pip" in step]
    of_lock = [step for step in installs if "-r requirements.lock" in step]
    assert len(installs) == 5
    assert len(of_lock) == 2
    for step in of_lock:
        assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(step.split())
    others = [step for step in installs if step not in of_lock]
    for step in others:
        assert "--no-deps" in step or re.search(r"\buv==\d", step), step


def test_the_default_image_is_the_one_with_every_hash():
    (default,) = [rest for word, rest in instructions() if word == "ARG"]
    stages = re.findall(r" AS (\w+)$", DOCKERFILE, re.M)
    assert default == "TORCH=cuda"
    assert stages == ["base", "cuda", "cpu"]
    assert [rest for word, rest in instructions() if word == "FROM"][-1] == "${TORCH}"
    assert "pip install" in run_of("cuda")
    assert "uv" not in run_of("cuda")


def test_the_image_runs_lthray_for_a_user_without_rights():
    words = dict(instructions())  # the last of each
    assert json.loads(words["ENTRYPOINT"]) == ["lthray"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", words["USER"])
    order = [word for word, _ in instructions()]
    assert order.index("USER") > max(place for place, word in enumerate(order) if word == "RUN")
    (folder,) = re.findall(r'-v "\$PWD/runs:(\S+)/runs" lthray trial$', PAGE, re.M)
    assert folder == words["WORKDIR"]


def test_the_image_is_given_what_runs_and_not_what_was_made():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = [line.removeprefix("**/") for line in lines if line and not line.startswith("#")]
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY"]
    needed = {"lthray", "studies", "analysis", "pyproject.toml", "README.md", "LICENSE"}
    for name in needed | {name for names in copied for name in names if name != "."}:
        assert (ROOT / name).exists(), name
        assert not any(fnmatch.fnmatch(name, pattern) for pattern in ignored), name
    kept_by_git = (ROOT / ".gitignore").read_text().splitlines()
    made = {name.rstrip("/") for name in kept_by_git} - {"uv.lock", "pylock.toml"}
    assert made | {".git"} <= set(ignored)


# the page


def test_the_page_installs_as_the_readme_does():
    readme = shell_of((ROOT / "README.md").read_text())[0]
    lines = shell_of(PAGE)
    assert lines[:3] == readme.split(" && ")[:3]


WORDS = ("fcntl", "O_NOFOLLOW", "O_NONBLOCK", "SIGHUP", "sched_getaffinity", "sysconf", "getuid")
"""What macOS or Windows lacks of the standard library."""


def test_the_page_names_every_place_that_another_system_lacks():
    rows = re.findall(r"^\| `(lthray/\S+\.py)` \| (.*?) \| (?:x )?\| (?:x )?\|$", PAGE, re.M)
    named: dict[str, str] = {}
    for path, text in rows:
        named[path] = named.get(path, "") + text
    assert len(rows) == len(re.findall(r"^\| `lthray/", PAGE, re.M)) > 6
    for path in sorted((ROOT / "lthray").rglob("*.py")):
        code = path.read_text()
        name = str(path.relative_to(ROOT))
        for word in WORDS:
            uses = re.search(rf"\b(?:os|signal)\.{word}\b|\bimport {word}\b", code)
            assert bool(uses) == (word in named.get(name, "")), (name, word)
