"""The private Ray of a study on one machine: nobody else reaches it."""

import ipaddress
import json
import os
import subprocess
import sys

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
print(json.dumps([member.address, found]))
"""


def loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def test_every_port_of_a_private_ray_is_on_loopback(tmp_path):
    assert loopback("::ffff:127.0.0.1")
    assert not loopback("::")
    assert not loopback("192.0.2.7")
    done = subprocess.run(
        [sys.executable, "-c", LISTEN],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ,
        timeout=120,
    )
    address, found = json.loads(done.stdout.splitlines()[-1]) if done.stdout else ("", [])
    assert address == "127.0.0.1", done.stderr
    names = {name for name, _ in found}
    assert {"gcs_server", "raylet"} <= names
    assert len(found) >= 5  # a driver, Ray's head, a node's two, a worker
    assert [entry for entry in found if not loopback(entry[1])] == []
