"""What a node is asked before a trial runs there, and what it is refused for; without Ray."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lthray.core.keys import key_of
from lthray.study import handshake
from lthray.study.handshake import Greeting, NodeRefused, answer, check, heard, versions

from .conftest import tiny


@pytest.fixture
def store(store):
    """A store that a study has begun."""
    store.put(key_of("plan", 1, {}), facts={})
    return store


@pytest.fixture
def asked(store):
    with handshake.greeting(store, tiny()) as made:
        yield made


def another(asked: Greeting, **changed) -> Greeting:
    """Return a greeting as a node would see it that differs in something."""
    return dataclasses.replace(asked, **changed)


def changed(pairs, name: str, value: str):
    return tuple({**dict(pairs), name: value}.items())


def test_a_node_like_the_driver_is_let_in(asked):
    nonce, fault = answer(asked)
    assert fault == ""
    assert heard(asked, nonce) == ""
    check(asked)


def test_nothing_of_a_greeting_is_left_in_the_store(store):
    with handshake.greeting(store, tiny()) as made:
        answer(made)
        assert len(list((store.root / made.place).iterdir())) == 2
    assert not (store.root / made.place).exists()


def test_a_greeting_is_its_own(store):
    with (
        handshake.greeting(store, tiny()) as one,
        handshake.greeting(store, tiny()) as other,
    ):
        assert one.nonce != other.nonce
        nonce, _ = answer(one)
        assert heard(one, nonce) == ""
        assert "does not share --out" in heard(other, nonce)


def test_a_node_that_sees_another_folder_is_refused(asked, tmp_path):
    elsewhere = another(asked, root=str(tmp_path / "local disk"))
    nonce, fault = answer(elsewhere)
    assert fault == (
        f"does not share --out with the driver: {tmp_path}/local disk there is another folder"
    )
    assert "is not seen here" in heard(asked, nonce)
    with pytest.raises(NodeRefused, match="does not share --out"):
        check(elsewhere)


def test_a_folder_that_was_copied_is_not_shared(store, asked, tmp_path):
    """The nonce is there to read, but what the node writes does not come back."""
    shutil.copytree(store.root, tmp_path / "copy")
    nonce, fault = answer(another(asked, root=str(tmp_path / "copy")))
    assert fault == ""
    assert heard(asked, nonce).endswith(f"what it writes to {store.root} is not seen here")


def test_a_node_that_cannot_write_is_refused(store, asked, monkeypatch):
    def full(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("lthray.core.backends.Folder.write_file", full)
    nonce, fault = answer(asked)
    assert fault == "cannot write to --out ([Errno 30] Read-only file system)"
    assert heard(asked, nonce) != ""


@pytest.mark.parametrize("name", list(versions()))
def test_each_version_that_differs_is_named_with_both(asked, name):
    there = another(asked, versions=changed(asked.versions, name, "0.0.9"))
    _, fault = answer(there)
    assert fault == f"{name} is {versions()[name][:12]} there and 0.0.9 here"


def test_all_that_differs_stands_in_one_line(asked, tmp_path):
    words = {"versions": changed(asked.versions, "torch", "1.0"), "root": str(tmp_path / "x")}
    _, fault = answer(another(asked, **words))
    assert "\n" not in fault
    assert fault.index("does not share --out") < fault.index("torch is 2.")


def test_a_build_of_torch_is_not_another_version(monkeypatch):
    monkeypatch.setattr(handshake.metadata, "version", lambda name: "2.15.0+cu132")
    assert versions()["torch"] == "2.15.0"


@pytest.mark.parametrize("alone", [True, False])
def test_code_is_compared_with_other_machines_only(store, monkeypatch, alone):
    """On one machine it may be edited while a study runs; what that changes, the store tells."""
    with handshake.greeting(store, tiny(), alone=alone) as made:
        monkeypatch.setattr(handshake, "_code", lambda: "edited")
        _, fault = answer(made)
    assert (fault == "") is alone
    assert alone or fault.startswith("code of lthray is edited there and ")


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), shade, np.uint8)).save(path)


def test_data_that_is_read_from_a_path_is_compared(store, tmp_path, monkeypatch):
    """Both nodes have a folder of that name; one picture differs in one value."""
    for node, shade in (("driver", 3), ("worker", 4)):
        for number in range(12):
            shown = shade if number == 5 else number * 20
            picture(tmp_path / node / "data" / f"{number % 2}" / f"{number}.png", shown)
    os.symlink(tmp_path / "driver", tmp_path / "mounted")
    words = {"data__name": "folder", "data__root": str(tmp_path / "mounted" / "data")}
    config = tiny(**words, data__side=8, data__channels=1, data__classes=2)
    with handshake.greeting(store, config) as made:
        assert answer(made)[1] == ""
        os.remove(tmp_path / "mounted")
        os.symlink(tmp_path / "worker", tmp_path / "mounted")
        handshake.data.read.cache_clear()
        handshake.differences.cache_clear()
        assert answer(made)[1].startswith("data is ")
        os.remove(tmp_path / "mounted")
        handshake.data.read.cache_clear()
        handshake.differences.cache_clear()
        assert answer(made)[1].startswith("cannot read what the trials need: ")
