"""The private Ray of a study on one machine: nobody else reaches it."""

import ipaddress
import json
import os
import secrets
import subprocess
import sys

import pytest

STRANGER = """
import sys
from ray._raylet import GcsClient
print("answered", GcsClient(address=sys.argv[1]).internal_kv_get(b"x", b"y", timeout=10))
"""
"""Asks the control server of a Ray for a value, with the token of its environment, if any."""
LISTEN = """
import json, os
from lthray.study import cluster
from lthray.study.call import resolve
from lthray.study.page import Grid
import psutil  # Ray brings it

page = Grid(name="list", about="Tiny.", seeds=(0,), points=lambda config: [{}])
with cluster.cluster(resolve(page, [])):
    task = cluster.ray.remote(lambda: os.getpid())
    cluster.ray.get(task.remote())
    (member,) = cluster.members()
    me, found = psutil.Process(), []
    for process in [me, *me.children(recursive=True)]:
        for socket in process.net_connections("inet"):
            if socket.status == psutil.CONN_LISTEN:
                found.append([process.name(), socket.laddr.ip])
    token = os.environ["RAY_AUTH_TOKEN_PATH"]
    control = cluster.ray.get_runtime_context().gcs_address
    print(json.dumps([member.address, found, token, control]), flush=True)
    input()
"""


def loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """A private Ray that runs: its address, its listeners, the place of its token, its control
    server."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path_factory.mktemp("private"),
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1"},  # of a cluster that is no longer there
    )
    facts = next((line for line in process.stdout if line.startswith("[")), "")
    yield json.loads(facts)
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def test_every_port_of_a_private_ray_is_on_loopback(private):
    assert loopback("::ffff:127.0.0.1")
    assert not loopback("::")
    assert not loopback("192.0.2.7")
    address, found, *_ = private
    assert address == "127.0.0.1"
    names = {name for name, _ in found}
    assert {"gcs_server", "raylet"} <= names
    assert len(found) >= 5  # a driver, Ray's head, a node's two, a worker
    assert [entry for entry in found if not loopback(entry[1])] == []


@pytest.mark.parametrize("who", ["owner", "nobody", "another"])
def test_a_private_ray_answers_nobody_without_its_token(private, tmp_path, who):
    """As another account of the machine would ask, which can reach loopback but not the token."""
    *_, token, control = private
    assert os.stat(token).st_mode & 0o077 == 0
    assert os.stat(os.path.dirname(token)).st_mode & 0o077 == 0
    other = tmp_path / "token"
    other.write_text(secrets.token_hex(32))
    words = {
        "owner": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token},
        "nobody": {"RAY_AUTH_MODE": "disabled"},
        "another": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(other)},
    }
    asked = subprocess.run(
        [sys.executable, "-c", STRANGER, control],
        capture_output=True,
        text=True,
        env=os.environ | words[who],
    )
    assert (asked.stdout == "answered None\n") == (who == "owner"), asked.stderr
    refused = "AuthenticationError" in asked.stderr
    assert refused == (who != "owner"), asked.stderr
