"""An object is whole or absent, and never silently wrong, whatever backend holds it."""

import contextlib
import errno
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lthray.core import backends
from lthray.core.backends import Backend, Folder
from lthray.core.keys import canonical, key_of
from lthray.core.store import Store, StoreError
from lthray.study import upkeep

from . import forks

KEY, OTHER = key_of("test", 1, "a"), key_of("test", 1, "b")
FACTS = {"loss": 0.25, "name": "a"}


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {"w": torch.randn(16, 3, 3, generator=g), "b": torch.randn(5, generator=g)}


def filled(root: Path) -> Store:
    store = Store(root)
    store.put(KEY, facts=FACTS, tensors=tensors(), files={"picture": b"png"})
    store.put(OTHER, "step-00000001", facts={"step": 1}, tensors=tensors(1))
    return store


def test_what_is_put_is_found(tmp_path):
    filled(tmp_path / "s")
    item = Store(tmp_path / "s").find(KEY)
    assert item.facts == FACTS
    assert item.files["picture"] == b"png"
    assert all(torch.equal(item.tensors[n], t) for n, t in tensors().items())
    assert Store(tmp_path / "s").find(KEY, "other") is None
    assert Store(tmp_path / "s").parts(OTHER) == ["step-00000001"]
    assert set(Store(tmp_path / "s")) == {(KEY, "whole"), (OTHER, "step-00000001")}


def test_keys_depend_on_kind_version_spec_and_parents():
    keys = {
        key_of("a", 1, {}),
        key_of("b", 1, {}),
        key_of("a", 2, {}),
        key_of("a", 1, {"x": 1}),
        key_of("a", 1, {}, KEY),
    }
    assert len(keys) == 5
    assert key_of("a", 1, {"x": 1, "y": (2,)}) == key_of("a", 1, {"y": [2], "x": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical({"x": float("nan")})


def test_the_first_writer_wins(tmp_path):
    store = filled(tmp_path / "s")
    again = store.put(KEY, facts={"loss": 9}, tensors=tensors(9))
    assert again.facts == FACTS
    assert store.find(KEY).facts == FACTS


def test_300_random_bit_flips_are_all_caught_and_the_object_is_made_again(tmp_path, caplog):
    store, rng = filled(tmp_path / "s"), random.Random(0)
    for flip in range(300):
        files = sorted(p for p in (store.root / "objects").rglob("*") if p.is_file())
        path = rng.choice(files)
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.chmod(0o644)
        path.write_bytes(data)
        key, part = path.parts[-4], path.parts[-3]
        assert store.find(key, part) is None, f"flip {flip} in {path} was not noticed"
        store.put(KEY, facts=FACTS, tensors=tensors(), files={"picture": b"png"})
        store.put(OTHER, "step-00000001", facts={"step": 1}, tensors=tensors(1))
        assert store.find(key, part) is not None
    assert caplog.text.count("set aside") == 300
    assert len(list((store.root / "damaged").iterdir())) == 300
    assert store.sweep(older=0) == 300


@pytest.mark.parametrize(
    "harm", ["truncate", "empty", "extend", "delete", "zero tail", "folder", "manifest of another"]
)
def test_other_damage_is_caught(tmp_path, harm):
    store = filled(tmp_path / "s")
    place = next((store.root / "objects").glob(f"??/{KEY}/whole/000"))
    path = place / "tensors"
    data = path.read_bytes()
    path.chmod(0o644)
    if harm == "truncate":
        path.write_bytes(data[:-1])
    elif harm == "empty":
        (place / "manifest.json").unlink()
        (place / "manifest.json").write_bytes(b"")
    elif harm == "extend":
        path.write_bytes(data + b"\0")
    elif harm == "delete":
        path.unlink()
    elif harm == "zero tail":
        path.write_bytes(data[:-64] + bytes(64))
    elif harm == "folder":
        path.unlink()
        (place / "manifest.json").unlink()
    else:
        other = next((store.root / "objects").glob(f"??/{OTHER}/*/000/manifest.json"))
        (place / "manifest.json").unlink()
        (place / "manifest.json").write_bytes(other.read_bytes())
    assert store.find(KEY) is None
    assert store.find(OTHER, "step-00000001") is not None


def test_an_earlier_damaged_attempt_does_not_hide_a_later_one(tmp_path, monkeypatch):
    store = filled(tmp_path / "s")
    place = next((store.root / "objects").glob(f"??/{KEY}/whole/000"))
    (place / "picture").unlink()
    monkeypatch.setattr(Folder, "set_aside", lambda *_: None)  # as where a worker may not delete
    store.put(KEY, facts=FACTS, tensors=tensors())
    assert sorted(p.name for p in place.parent.iterdir()) == ["000", "001"]
    assert store.find(KEY).facts == FACTS


class Crash(BaseException):
    """The process ends here."""


def calls_of(monkeypatch, stop_after: int | None = None) -> list[str]:
    """Count (and, at one, crash after) the system calls that a commit makes."""
    made: list[str] = []

    def wrap(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            found = real(*args, **kwargs)
            made.append(name)
            if len(made) == stop_after:
                raise Crash
            return found

        monkeypatch.setattr(os, name, call)

    for name in ("open", "fsync", "rename", "replace", "mkdir", "close"):
        wrap(name)
    return made


def test_a_crash_after_any_system_call_leaves_the_object_whole_or_absent(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        made = calls_of(patch)
        filled(tmp_path / "count")
        total = len(made)
    assert total > 20
    for after in range(1, total + 1):
        root = tmp_path / str(after)
        with monkeypatch.context() as patch:
            calls_of(patch, after)
            patch.setattr("shutil.rmtree", lambda *a, **k: None)  # a dead process cleans nothing up
            with pytest.raises(Crash):
                filled(root)
        store = Store(root)
        for key, part in ((KEY, "whole"), (OTHER, "step-00000001")):
            visible = list((root / "objects").glob(f"??/{key}/{part}/*"))
            assert (store.find(key, part) is not None) == bool(visible), f"after call {after}"
        filled(root)
        assert Store(root).find(KEY).facts == FACTS


def test_files_are_durable_before_they_are_visible(tmp_path, monkeypatch):
    made = calls_of(monkeypatch)
    Store(tmp_path / "s").put(KEY, facts=FACTS, tensors=tensors())
    order = made[made.index("replace") + 1 :]
    assert order.index("rename") > order.index("fsync")
    assert order[: order.index("rename")].count("fsync") == 3  # tensors, manifest, their folder
    assert "fsync" in order[order.index("rename") :]


HOLDER = """
import sys, time
from lthray.core.store import Store
with Store(sys.argv[1]).lock(sys.argv[2]):
    print(1, flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def writers_of(root, count):
    """Start `count` processes that write and drop objects in one store, and end them all."""

    def start(seed):
        return forks.begin(forks.write, root, seed)

    writers = [start(i) for i in range(count)]
    try:
        yield writers, start
    finally:
        for writer, _ in writers:
            writer.kill()
            writer.join()


def test_four_writers_under_random_sigkills_leave_no_bad_object(tmp_path, caplog):
    root, rng = tmp_path / "s", random.Random(1)
    with writers_of(root, 4) as (writers, start):
        for _ in range(20):
            i = rng.randrange(4)
            writer, told = writers[i]
            assert told.recv() == "ready"
            time.sleep(rng.uniform(0.1, 0.5))
            assert writer.is_alive()
            writer.kill()
            writer.join()
            writers[i] = start(rng.randrange(10**6))
    store = Store(root)
    found = {key: store.find(key, part) for key, part in store}
    assert found
    for n in range(12):
        if item := found.get(key_of("torture", 1, n)):
            assert torch.equal(item.tensors["w"], forks.weights(n))
    assert "set aside" not in caplog.text
    assert all(item for item in found.values())


@pytest.mark.parametrize("call", ["mkdir", "rename"])
def test_a_folder_that_vanishes_at_any_moment_of_a_write_costs_nothing(tmp_path, monkeypatch, call):
    """As where another process drops an object at that moment, again and again."""
    store, vanished = Store(tmp_path / "s"), []
    store.put(KEY, facts=FACTS)
    parent = next((store.root / "objects").glob(f"??/{KEY}")) / "whole"
    store.drop(KEY)
    parent.mkdir()
    real = getattr(os, call)

    def vanish() -> None:
        if len(vanished) < 5 and parent.is_dir():
            vanished.append(call)
            parent.rmdir()

    def mkdir(path, *args, **kwargs):
        try:
            real(path, *args, **kwargs)
        except FileExistsError:
            vanish()
            raise

    def rename(source, target):
        vanish()
        real(source, target)

    monkeypatch.setattr(os, call, {"mkdir": mkdir, "rename": rename}[call])
    store.put(KEY, facts=FACTS)
    assert vanished
    assert Store(store.root).find(KEY).facts == FACTS


def test_a_full_disk_is_one_error_and_leaves_nothing_behind(tmp_path):
    store = filled(tmp_path / "s")
    before = sorted(store)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            store.put(key_of("big", 1, 0), facts={}, tensors={"w": torch.randn(100_000)})
        assert caught.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, old)
    assert sorted(store) == before
    assert list((store.root / "tmp").iterdir()) == []


def test_a_foreign_folder_is_refused_and_nothing_is_written_before_the_first_put(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="not an lthray store"):
        Store(tmp_path / "home")
    with pytest.raises(StoreError, match="not an lthray store"):
        Store(tmp_path / "home" / "thesis.tex")
    Store(tmp_path / "new").find(KEY)
    assert not (tmp_path / "new").exists()
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "lthray-store.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(StoreError, match="format 99"):
        Store(tmp_path / "later")


@pytest.mark.parametrize(
    ("key", "part"),
    [("../../x", "whole"), (KEY.upper(), "whole"), (KEY, "../x"), (KEY, ""), ("", "whole")],
)
def test_names_never_become_paths(tmp_path, key, part):
    with pytest.raises(ValueError, match="not an object's name"):
        Store(tmp_path / "s").put(key, part, facts={})


def test_locks_exclude_and_end_with_the_process(tmp_path):
    store = Store(tmp_path / "s")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.root), KEY], stdout=subprocess.PIPE
    )
    other.stdout.readline()
    with store.lock(KEY, wait=False) as mine:
        assert not mine
    with store.lock(OTHER, wait=False) as mine:
        assert mine
    other.kill()
    other.wait()
    with store.lock(KEY) as mine:
        assert mine


def test_stored_files_cannot_be_opened_for_writing_by_accident(tmp_path):
    store = filled(tmp_path / "s")
    files = [p for p in (store.root / "objects").rglob("*") if p.is_file()]
    assert all(p.stat().st_mode & 0o222 == 0 for p in files)


def test_an_object_that_is_dropped_while_all_are_verified_is_not_damaged(tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    for part in ("first", "second"):
        store.put(KEY, part, facts={})
    find = Store.find

    def find_late(self, key, part="whole"):
        self.drop(KEY, "second")  # as a study does with a state that it needs no more
        return find(self, key, part)

    monkeypatch.setattr(Store, "find", find_late)
    code, line = upkeep.verify(store)
    assert (code, line[:18]) == (0, "1 objects verified")
    assert "0 damaged" in line


def test_sizes_and_sweeps_do_not_mind_what_goes_meanwhile(tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    store.put(KEY, facts={}, files={"note": b"1234"})

    def gone(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(backends.os, "lstat", gone)
    assert store.size() == 0
    monkeypatch.undo()
    assert store.size() > 4
    renamed = tmp_path / "store" / "tmp" / "renamed"
    monkeypatch.setattr(backends.Path, "glob", lambda self, pattern: iter([renamed]))
    assert store.sweep(0.0) == 0


def test_dropped_objects_are_gone_and_can_be_made_again(tmp_path):
    store = filled(tmp_path / "s")
    store.drop(KEY)
    store.drop(KEY)
    assert store.find(KEY) is None
    store.put(KEY, facts=FACTS)
    assert store.find(KEY).facts == FACTS
    assert list((store.root / "tmp").iterdir()) == []


# the contract of a backend


class Memory:
    """The smallest backend: a dictionary of names."""

    place = "/memory"

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.aside: dict[str, bytes] = {}
        self.locked: set[str] = set()

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def names(self, prefix: str) -> list[str]:
        start = f"{prefix}/" if prefix else ""
        below = [name.removeprefix(start) for name in self.files if name.startswith(start)]
        return sorted({name.split("/")[0] for name in below})

    def write_file(self, name: str, data: bytes) -> None:
        self.files[name] = data

    def write_group(self, name: str, files: dict[str, bytes]) -> bool:
        if self.names(name):
            return False
        self.files |= {f"{name}/{file}": data for file, data in files.items()}
        return True

    def remove(self, name: str) -> None:
        self.files = {
            file: data for file, data in self.files.items() if not file.startswith(f"{name}/")
        }

    def set_aside(self, name: str) -> None:
        self.aside |= {
            file: data for file, data in self.files.items() if file.startswith(f"{name}/")
        }
        self.remove(name)

    @contextlib.contextmanager
    def lock(self, name: str, *, wait: bool):
        acquired = name not in self.locked
        assert acquired or not wait, "one process would wait for itself"
        self.locked.add(name)
        yield acquired
        if acquired:
            self.locked.remove(name)

    def size(self, prefix: str) -> int:
        return sum(len(data) for name, data in self.files.items() if name.startswith(f"{prefix}/"))

    def latest(self, prefix: str) -> float:
        return float(len(self.files))

    def sweep(self, older: float) -> int:
        swept = len({name.rpartition("/")[0] for name in self.aside})
        self.aside = {}
        return swept


@pytest.fixture(params=["folder", "memory"])
def backend(request, tmp_path) -> Backend:
    return Folder(tmp_path / "s") if request.param == "folder" else Memory()


def test_a_backend_holds_groups_that_are_whole_or_absent(backend):
    assert backend.names("") == backend.names("a/b") == []
    assert backend.write_group("a/b/0", {"x": b"1", "y": b"22"})
    assert not backend.write_group("a/b/0", {"x": b"other"})
    assert backend.write_group("a/b/1", {"x": b"3"})
    assert (backend.names("a"), backend.names("a/b"), backend.names("a/b/0")) == (
        ["b"],
        ["0", "1"],
        ["x", "y"],
    )
    assert (backend.read("a/b/0/x"), backend.read("a/b/0/y")) == (b"1", b"22")
    assert backend.size("a") == 4
    with pytest.raises(FileNotFoundError):
        backend.read("a/b/2/x")
    backend.write_file("mark", b"0")
    backend.write_file("mark", b"1")
    assert backend.read("mark") == b"1"


def test_a_backend_removes_and_sets_aside_whole_groups(backend):
    for name in ("a/key/part/0", "a/key/part/1", "a/key/other/0"):
        assert backend.write_group(name, {"x": b"1"})
    backend.set_aside("a/key/part/0")
    assert backend.names("a/key/part") == ["1"]
    backend.remove("a/key/part")
    backend.remove("a/key/part")
    assert backend.names("a/key") == ["other"]
    assert backend.sweep(older=0) == 1
    assert backend.sweep(older=0) == 0
    assert backend.read("a/key/other/0/x") == b"1"


def test_a_backend_locks_one_name_for_one_holder(backend):
    with backend.lock("a", wait=True) as first:
        assert first
        with backend.lock("a", wait=False) as second, backend.lock("b", wait=False) as other:
            assert not second
            assert other
    with backend.lock("a", wait=True) as again:
        assert again


def test_a_store_is_the_same_over_every_backend(backend):
    store = Store(backend)
    assert not store.exists
    assert store.find(KEY) is None
    assert list(store) == []
    store.put(KEY, facts=FACTS, tensors=tensors(), files={"picture": b"png"})
    store.put(OTHER, "step-00000001", facts={"step": 1})
    again = Store(backend)
    assert again.exists
    files = {"picture": b"png"}
    assert again.put(KEY, facts={"loss": 9}, tensors=tensors(), files=files).facts == FACTS
    assert again.find(KEY).files["picture"] == b"png"
    assert all(torch.equal(again.find(KEY).tensors[n], t) for n, t in tensors().items())
    assert again.parts(OTHER) == ["step-00000001"]
    assert set(again) == {(KEY, "whole"), (OTHER, "step-00000001")}
    assert again.size() == backend.size("objects") > 0
    with again.lock(KEY) as first, again.lock(KEY, wait=False) as second:
        assert (first, second) == (True, False)
    again.drop(OTHER, "step-00000001")
    assert set(again) == {(KEY, "whole")}


def test_damage_is_caught_over_every_backend(backend, caplog):
    store = Store(backend)
    store.put(KEY, facts=FACTS, files={"picture": b"png"})
    attempt = f"objects/{KEY[:2]}/{KEY}/whole/000"
    if isinstance(backend, Folder):
        (backend.root / attempt / "picture").chmod(0o644)
        (backend.root / attempt / "picture").write_bytes(b"gnp")
    else:
        backend.files[f"{attempt}/picture"] = b"gnp"
    assert store.find(KEY) is None
    assert "set aside" in caplog.text
    assert store.put(KEY, facts=FACTS).facts == FACTS
    assert store.sweep(older=0) == 1
    backend.write_file("lthray-store.json", b"{}")
    with pytest.raises(StoreError, match="is damaged"):
        Store(backend)


# what lies on the disk


def sealed(manifest: dict) -> bytes:
    """A manifest as it has always been written."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return f'{{"manifest":{text},"sha256":"{hashlib.sha256(text.encode()).hexdigest()}"}}'.encode()


def laid(root: Path, name: str, data: bytes) -> Path:
    """A store with one object that holds one file, laid down by hand."""
    attempt = root / "objects" / KEY[:2] / KEY / "whole" / "000"
    attempt.mkdir(parents=True)
    (root / "lthray-store.json").write_text('{"format":1}')
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {"format": 1, "key": KEY, "part": "whole", "facts": FACTS, "files": {name: entry}}
    (attempt / "manifest.json").write_bytes(sealed(manifest))
    return attempt


def test_the_layout_on_disk_is_for_ever(tmp_path):
    attempt = laid(tmp_path / "old", "picture", b"png")
    (attempt / "picture").write_bytes(b"png")
    item = Store(tmp_path / "old").find(KEY)
    assert (item.facts, item.files) == (FACTS, {"picture": b"png"})
    Store(tmp_path / "new").put(KEY, facts=FACTS, files={"picture": b"png"})
    written = [tmp_path / store for store in ("old", "new")]
    trees = []
    for root in written:
        files = sorted(path for path in root.rglob("*") if path.is_file())
        trees.append({str(path.relative_to(root)): path.read_bytes() for path in files})
    assert trees[0] == trees[1]
    assert len(trees[0]) == 3


@pytest.mark.parametrize(
    "name", ["../secret", "/secret", "a/b", "..", ".", "", ".hidden", "a\\b", "manifest.json"]
)
def test_a_manifest_reads_and_writes_nothing_outside_its_own_folder(tmp_path, name, monkeypatch):
    attempt = laid(tmp_path / "s", name, b"secret")
    for place in (attempt.parent / "secret", tmp_path / "secret"):
        place.write_bytes(b"secret")
    read: list[str] = []
    real = Folder.read
    monkeypatch.setattr(Folder, "read", lambda self, at: read.append(at) or real(self, at))
    store = Store(tmp_path / "s")
    assert store.find(KEY) is None
    assert {at.rpartition("/")[2] for at in read} == {"lthray-store.json", "manifest.json"}
    with pytest.raises(ValueError, match="not a file's name"):
        store.put(OTHER, facts={}, files={name: b"x"})
    assert store.find(OTHER) is None
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_link_in_an_object_leads_nowhere(tmp_path):
    attempt = laid(tmp_path / "s", "picture", b"secret")
    (tmp_path / "secret").write_bytes(b"secret")
    (attempt / "picture").symlink_to(tmp_path / "secret")
    assert Store(tmp_path / "s").find(KEY) is None
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_folder_in_the_place_of_a_file_is_damage(tmp_path):
    attempt = laid(tmp_path / "s", "picture", b"secret")
    (attempt / "picture").mkdir()
    assert Store(tmp_path / "s").find(KEY) is None


def test_stray_files_beside_the_objects_hold_nothing(tmp_path):
    store = filled(tmp_path / "s")
    before = sorted(store)
    (store.root / "objects" / "notes.txt").write_text("x")
    (store.root / "objects" / KEY[:2] / OTHER).write_text("x")
    (store.root / "objects" / KEY[:2] / KEY / "notes.txt").write_text("x")
    assert sorted(store) == before
    assert len(before) == 2
