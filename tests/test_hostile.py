"""Stores from somebody else, damaged, hostile or read-only: one line, and nothing outside."""

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lthray.__main__ import main
from lthray.config import options
from lthray.core import store as storing
from lthray.core.keys import canonical, key_of, parsed
from lthray.core.store import CONFLICTS, Store
from lthray.study.ledger import Ledger

from .test_cli import SMALL
from .test_store import FACTS, KEY, tensors

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """The root of one finished trial."""
    root = tmp_path_factory.mktemp("recorded") / "runs"
    words = ["--prune.ladder", "0.5", "--train.steps", "4"]
    assert main(["trial", *_without(SMALL, words), "--out", str(root)]) == 0
    return root


def _without(argv: list[str], words: list[str]) -> list[str]:
    """`argv` with the values of `words` for its own."""
    kept, skipping = [], False
    for text in argv:
        if text.startswith("--"):
            skipping = text in words
        if not skipping:
            kept.append(text)
    return [*kept, *words]


@pytest.fixture
def root(recorded, tmp_path) -> Path:
    """A copy of that root, which a test may harm."""
    import shutil

    return Path(shutil.copytree(recorded, tmp_path / "theirs" / "runs", symlinks=True))


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its size and time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns)
    return found


def parts_of(root: Path, ending: str) -> Path:
    """The one stored object whose part has this name."""
    (found,) = (root / "store" / "objects").glob(f"*/*/{ending}/000")
    return found


def forge(root: Path, part: str, **changed: Any) -> None:
    """Change facts of the object, and seal it again as its writer would."""
    path = parts_of(root, part) / "manifest.json"
    manifest = json.loads(path.read_bytes())["manifest"]
    for name, value in changed.items():
        if value is None:
            del manifest["facts"][name]
        else:
            manifest["facts"][name] = value
    path.chmod(0o600)
    path.write_bytes(storing._sealed(manifest))


def round_with(root: Path, **changed: Any) -> list[dict]:
    """The rounds of the trial's point, the first of them changed."""
    manifest = json.loads((parts_of(root, "trial-0000-point") / "manifest.json").read_bytes())
    first, *others = manifest["manifest"]["facts"]["rounds"]
    return [{**first, **changed}, *others]


ESCAPE = "../../../escaped"
LEDGER = {
    "study": ("plan", {"study": ESCAPE}),
    "study, absolute": ("plan", {"study": "/escaped"}),
    "preset": ("plan", {"preset": ESCAPE}),
    "study, newline": ("plan", {"study": "a\nb"}),
    "no study": ("plan", {"study": None}),
    "study, a number": ("plan", {"study": 7}),
    "created": ("plan", {"created": "yesterday"}),
    "plan": ("plan", {"plan": [1]}),
    "varied": ("plan", {"varied": 1}),
    "trial key": ("trial-0000-point", {"trial": ESCAPE}),
    "runs": ("trial-0000-point", {"runs": {ESCAPE: [0, 1]}}),
    "span": ("trial-0000-point", {"runs": {KEY: [0]}}),
    "config": ("trial-0000-point", {"config": ["x"]}),
    "at": ("trial-0000-point", {"at": "x"}),
    "no name": ("trial-0000-point", {"name": None}),
    "data": ("trial-0000-point", {"data": 3}),
    "status": ("trial-0000-end", {"status": ESCAPE}),
    "an unknown fact of an end": ("trial-0000-end", {"last": "x"}),
}
ROUND = {
    "index": ESCAPE,
    "index, a text": "7",
    "index, negative": -1,
    "key": ESCAPE,
    "mask": ESCAPE,
    "weights": KEY.upper(),
    "measures": {"loss": ESCAPE},
    "metrics": {"a": "b"},
    "density": None,
}


def refused(argv: list[str], capsys) -> str:
    """The one line with which a command refuses a store."""
    assert main(argv) == options.INTEGRITY, capsys.readouterr()
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    return err


@pytest.mark.parametrize("name", LEDGER)
def test_a_ledger_of_somebody_else_is_validated_when_it_is_read(root, tmp_path, capsys, name):
    part, changed = LEDGER[name]
    forge(root, part, **changed)
    before = listing(root)
    other = ["--tracking-uri", f"sqlite:///{tmp_path}/other.db"]
    for elsewhere in ([], other):
        err = refused(["record", "--out", str(root), *elsewhere], capsys)
        assert next(iter(changed)) in err
    assert listing(root) == before
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
    assert not list(tmp_path.rglob("*escaped*"))
    assert not Path("/escaped").exists()


@pytest.mark.parametrize("name", ROUND)
def test_a_round_of_somebody_else_is_validated_when_it_is_read(root, tmp_path, capsys, name):
    word = name.partition(",")[0]
    forge(root, "trial-0000-point", rounds=round_with(root, **{word: ROUND[name]}))
    refused(["record", "--out", str(root), "--tracking-uri", f"sqlite:///{tmp_path}/o.db"], capsys)
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_measure_without_its_metrics_is_one_line(root, tmp_path, capsys):
    point = json.loads((parts_of(root, "trial-0000-point") / "manifest.json").read_bytes())
    key = point["manifest"]["facts"]["rounds"][0]["measures"]["loss"]
    path = root / "store" / "objects" / key[:2] / key / "whole" / "000" / "manifest.json"
    manifest = json.loads(path.read_bytes())["manifest"]
    del manifest["facts"]["metrics"]
    path.chmod(0o600)
    path.write_bytes(storing._sealed(manifest))
    uri = f"sqlite:///{tmp_path}/o.db"
    err = refused(["record", "--out", str(root), "--tracking-uri", uri], capsys)
    assert "not what lthray writes (KeyError: 'metrics')" in err


@pytest.mark.parametrize("name", ["../../x", "/x", "a/b", ".hidden", "manifest.json", "", ".."])
def test_files_that_a_manifest_names_outside_its_folder_are_never_opened(
    root, tmp_path, capsys, name
):
    path = parts_of(root, "trial-0000-end") / "manifest.json"
    manifest = json.loads(path.read_bytes())["manifest"]
    manifest["files"] = {name: {"bytes": 1, "sha256": "0" * 64}}
    path.chmod(0o600)
    path.write_bytes(storing._sealed(manifest))
    assert main(["store", "verify", "--out", str(root)]) == options.INTEGRITY
    shown = capsys.readouterr()
    assert "1 damaged" in shown.out


@pytest.mark.parametrize("folder", ["objects", "tmp", "locks", "damaged", "shelf"])
def test_links_in_a_store_lead_nowhere(root, tmp_path, capsys, folder):
    """Nothing is written through a link that somebody has laid in a store."""
    aim = tmp_path / "outside"
    aim.mkdir()
    place = root / "store" / folder
    if folder == "shelf":
        place = root / "store" / "objects" / KEY[:2]
    elif place.exists():
        place.rename(place.with_name("moved"))
    place.symlink_to(aim)
    with pytest.raises(ValueError, match="a link leads to"):
        _use(Store(root / "store"))
    assert list(aim.iterdir()) == []


def _use(store: Store) -> None:
    """Write by every way that a store has."""
    with store.lock(KEY):
        store.put(KEY, facts=FACTS)
    path = next((store.root / "objects").glob(f"*/{KEY}/whole/000/manifest.json"))
    path.chmod(0o600)
    path.write_bytes(b"")
    store.find(KEY)


HOSTILE_JSON = {
    "nested 100,000 deep": (DEEP, "nested too deep"),
    "an object, deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
    "a huge integer": (b'{"format":' + b"9" * 5000 + b"}", "an integer of 5000 digits"),
    "NaN": (b'{"format":NaN}', "NaN is not a finite number"),
    "Infinity": (b'{"format":-Infinity}', "is not a finite number"),
    "too large": (b'{"format":1e999}', "1e999 is not a finite number"),
    "twice": (b'{"format":1,"format":1}', "duplicate names"),
    "no object": (b"[1]", "list indices"),
    "a text": (b'"format"', ""),
    "null": (b"null", ""),
    "empty": (b"", "Expecting value"),
    "not text": (b"\xff\xfe\x00", ""),
}


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_a_damaged_mark_is_one_line(root, capsys, name):
    data, said = HOSTILE_JSON[name]
    mark = root / "store" / "lthray-store.json"
    mark.chmod(0o600)
    mark.write_bytes(data)
    for argv in (["store", "size"], ["record"], ["trial", *SMALL]):
        err = refused([*argv, "--out", str(root)], capsys)
        assert "lthray-store.json is damaged" in err
        assert said in err


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_json_that_no_record_has_is_a_value_error(name):
    data, _ = HOSTILE_JSON[name]
    if name in ("no object", "a text", "null"):
        assert parsed(data) is not Ellipsis
    else:
        with pytest.raises(ValueError):  # noqa: PT011 (each says something else)
            parsed(data)
    assert parsed(b'{"a":[1,-2.5,"x",null,true]}') == {"a": [1, -2.5, "x", None, True]}


@pytest.mark.parametrize("name", ["nested 100,000 deep", "NaN", "a huge integer"])
def test_a_manifest_of_hostile_json_is_damage_and_no_traceback(root, capsys, name):
    """Sealed as a writer would seal it, so that the digest says nothing."""
    import hashlib

    data, _ = HOSTILE_JSON[name]
    path = parts_of(root, "plan") / "manifest.json"
    seal = hashlib.sha256(data).hexdigest().encode()
    path.chmod(0o600)
    path.write_bytes(b'{"manifest":' + data + b',"sha256":"' + seal + b'"}')
    assert main(["store", "verify", "--out", str(root)]) == options.INTEGRITY
    assert main(["record", "--out", str(root)]) == 0  # the call is told of, and left out
    assert "0 trials recorded" in capsys.readouterr().out


def test_a_damaged_plan_is_told_and_restored_by_its_own_command(root, capsys, caplog):
    path = parts_of(root, "plan") / "manifest.json"
    path.chmod(0o600)
    path.write_bytes(b"{}")
    assert main(["explain", "x-1", "--out", str(root)]) == options.BAD_INPUT
    assert "the plan of call" in caplog.text
    argv = _without(SMALL, ["--prune.ladder", "0.5", "--train.steps", "4"])
    assert main(["trial", *argv, "--out", str(root)]) == 0
    (call,) = Ledger.all(Store(root / "store"))
    assert [entry.end.status for entry in call] == ["done"]


# private


def test_what_is_written_can_be_read_by_its_owner_alone(root):
    modes = {}
    for path in [root.parent / "runs", *root.rglob("*")]:
        modes[str(path)] = stat.S_IMODE(path.stat().st_mode) & 0o077
    assert len(modes) > 50
    assert [name for name, mode in modes.items() if mode] == []
    assert {"mlflow.db", "store", "artifacts"} <= {path.name for path in root.iterdir()}


def test_a_store_that_a_notebook_makes_is_private_under_any_umask(tmp_path):
    before = os.umask(0o000)
    try:
        Store(tmp_path / "s").put(KEY, facts=FACTS, tensors=tensors())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
    files = [path for path in (tmp_path / "s" / "objects").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o400}


# read-only


class ReadOnly:
    """Refuses every change below a folder, as a read-only file system does."""

    EVENTS = frozenset({"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.link"})

    def __init__(self) -> None:
        self.root = ""
        self.refused: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple) -> None:
        if not self.root or not (event in self.EVENTS or event == "open"):
            return
        writes = event != "open" or bool((args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        places = [os.path.abspath(os.fsdecode(a)) for a in args if isinstance(a, str | bytes)]
        if writes and any(place.startswith(self.root) for place in places):
            self.refused.append(event)
            raise OSError(30, "Read-only file system", places[0])


HOOK = ReadOnly()


@pytest.fixture
def read_only(root, monkeypatch) -> Iterator[Path]:
    """A root that cannot be written, whoever asks."""
    real, mine = os.access, str(root.parent)

    def access(path, mode, **words):
        is_asked = bool(mode & os.W_OK) and os.path.abspath(path).startswith(mine)
        return not is_asked and real(path, mode, **words)

    monkeypatch.setattr(os, "access", access)
    HOOK.root, HOOK.refused = str(root.parent), []
    yield root
    HOOK.root = ""


def test_a_read_only_store_is_verified_listed_and_recorded_elsewhere(read_only, tmp_path, capsys):
    before = listing(read_only)
    for verb in ("verify", "size", "conflicts"):
        assert main(["store", verb, "--out", str(read_only)]) == 0
    assert " 0 damaged" in capsys.readouterr().out
    (call,) = Ledger.all(Store(read_only / "store"))
    assert main(["explain", f"{call.key[:16]}-0000", "--out", str(read_only)]) == 0
    os.mkdir(tmp_path / "mine")
    uri = f"sqlite:///{tmp_path}/mine/other.db"
    assert main(["record", "--out", str(read_only), "--tracking-uri", uri]) == 0
    assert "1 trials recorded" in capsys.readouterr().out
    assert list((tmp_path / "mine" / "artifacts").rglob("trial.json"))
    assert listing(read_only) == before


def test_what_writes_into_a_read_only_root_says_so_at_once(read_only, capsys):
    for argv in (["record"], ["trial", *SMALL]):
        assert main([*argv, "--out", str(read_only)]) == options.BAD_INPUT
        assert "cannot be written" in capsys.readouterr().err


# two writers


def test_two_writers_of_unlike_bytes_are_reported_and_the_first_stays(tmp_path, caplog, capsys):
    store = Store(tmp_path / "store")
    made = {"torch": "2", "device": "cpu AVX512", "threads": 1}
    facts = FACTS | {"metrics": {"loss/heldout": 0.5}, "made": made}
    store.put(KEY, facts=facts, tensors=tensors())
    store.put(KEY, facts=facts | {"created": 9.0, "seconds": 3.0}, tensors=tensors())
    assert store.conflicts() == []
    assert caplog.text == ""
    nudged = tensors()
    nudged["w"][0, 0, 0] = nudged["w"][0, 0, 0].nextafter(nudged["w"].new_tensor(9.0))
    other = facts | {"made": made | {"device": "cpu AVX2"}}
    for _ in range(2):  # told each time, listed once
        assert store.put(KEY, facts=other, tensors=nudged).facts == facts
    assert caplog.text.count(f"two writers made {KEY[:16]} whole with unlike tensors") == 2
    (conflict,) = store.conflicts()
    assert (conflict["key"], conflict["part"], conflict["unlike"]) == (KEY, "whole", ["tensors"])
    assert conflict["made"] == [made, other["made"]]
    key = key_of("test", 1, "metrics")
    store.put(key, "step-00000001", facts={"metrics": {"a": 1.0}})
    store.put(key, "step-00000001", facts={"metrics": {"a": 1.5}})
    assert [each["unlike"] for each in store.conflicts()].count(["metrics"]) == 1
    assert main(["store", "conflicts", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"{KEY[:16]} whole: unlike tensors (cpu AVX512, 1, 2 | cpu AVX2, 1, 2)" in said
    assert "2 objects were made twice" in said
    assert main(["store", "verify", "--out", str(tmp_path)]) == 0
    assert canonical(CONFLICTS)


def test_what_is_entered_once_is_no_conflict(tmp_path):
    store = Store(tmp_path / "store")
    ledger = Ledger.freeze(store, {"x": 1}, {"study": "s", "preset": "p"})
    ledger.finish(0, "failed", "a", trace="one")
    ledger.finish(0, "failed", "b", trace="another")
    assert store.conflicts() == []
