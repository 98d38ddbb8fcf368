"""An object is whole or absent, and never silently wrong."""

import errno
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

from lthray.core.store import Store, StoreError, canonical, key_of

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
    keys = {key_of("a", 1, {}), key_of("b", 1, {}), key_of("a", 2, {}), key_of("a", 1, {"x": 1}), key_of("a", 1, {}, KEY)}
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


@pytest.mark.parametrize("harm", ["truncate", "empty", "extend", "delete", "zero tail", "folder", "manifest of another"])
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
    monkeypatch.setattr(Store, "_set_aside", lambda *_: None)  # as where a worker may not delete
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


WRITER = """
import sys, random, torch
from lthray.core.store import Store, key_of
store, rng = Store(sys.argv[1]), random.Random(int(sys.argv[2]))
while True:
    n = rng.randrange(12)
    g = torch.Generator().manual_seed(n)
    store.put(key_of("torture", 1, n), facts={"n": n}, tensors={"w": torch.randn(20_000, generator=g)})
    if rng.random() < 0.3:
        store.drop(key_of("torture", 1, n))
"""


HOLDER = """
import sys, time
from lthray.core.store import Store
with Store(sys.argv[1]).lock(sys.argv[2]):
    print(1, flush=True)
    time.sleep(60)
"""


def test_four_writers_under_random_sigkills_leave_no_bad_object(tmp_path, caplog):
    root, rng = tmp_path / "s", random.Random(1)
    begin = [sys.executable, "-c", WRITER, str(root)]
    writers = [subprocess.Popen([*begin, str(i)], stderr=subprocess.PIPE) for i in range(4)]
    until, kills = time.monotonic() + 20, 0
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.3, 1.0))
        i = rng.randrange(4)
        if writers[i].poll() is None:
            writers[i].send_signal(signal.SIGKILL)
            kills += 1
        else:
            assert writers[i].returncode == -signal.SIGKILL, writers[i].stderr.read().decode()
        writers[i].wait()
        writers[i] = subprocess.Popen([*begin, str(rng.randrange(10**6))], stderr=subprocess.PIPE)
    for writer in writers:
        writer.kill()
        writer.wait()
    store = Store(root)
    found = {key: store.find(key, part) for key, part in store}
    assert kills >= 5
    assert found
    for n in range(12):
        if item := found.get(key_of("torture", 1, n)):
            assert torch.equal(item.tensors["w"], torch.randn(20_000, generator=torch.Generator().manual_seed(n)))
    assert "set aside" not in caplog.text
    assert all(item for item in found.values())


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
    Store(tmp_path / "new").find(KEY)
    assert not (tmp_path / "new").exists()
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "lthray-store.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(StoreError, match="format 99"):
        Store(tmp_path / "later")


@pytest.mark.parametrize(
    ("key", "part"), [("../../x", "whole"), (KEY.upper(), "whole"), (KEY, "../x"), (KEY, ""), ("", "whole")]
)
def test_names_never_become_paths(tmp_path, key, part):
    with pytest.raises(ValueError, match="not an object's name"):
        Store(tmp_path / "s").put(key, part, facts={})


def test_locks_exclude_and_end_with_the_process(tmp_path):
    store = Store(tmp_path / "s")
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(store.root), KEY], stdout=subprocess.PIPE)
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


def test_dropped_objects_are_gone_and_can_be_made_again(tmp_path):
    store = filled(tmp_path / "s")
    store.drop(KEY)
    store.drop(KEY)
    assert store.find(KEY) is None
    store.put(KEY, facts=FACTS)
    assert store.find(KEY).facts == FACTS
    assert list((store.root / "tmp").iterdir()) == []
