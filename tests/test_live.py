"""A study on a cluster whose autoscaler is alive: nodes are asked for, waited for and greeted.

Ray's own autoscaler (version 2, the one of `ray up`) runs over its provider of pretended nodes:
each is a real node of Ray, on this machine.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lthray.core.store import Store
from lthray.study.ledger import DONE, Ledger

from .conftest import TINY

pytestmark = pytest.mark.walk  # it takes minutes: `python -m pytest -m walk tests/test_live.py`
HEAD = "f" * 51 + "00000"  # the id that the provider expects of its head
PROVIDER = """
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider

class Provider(FakeMultiNodeProvider):
    def create_node_with_resources_and_labels(self, node_config, tags, count, resources, labels):
        if resources["CPU"] < 3:  # of the large ones the cloud has none left
            super().create_node_with_resources_and_labels(
                node_config, tags, count, resources, labels)
"""
CLUSTER = """
import json, pathlib, sys
from ray._private.services import get_node_ip_address
from ray.cluster_utils import Cluster

folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
small = {"CPU": 1, "object_store_memory": 100 * 2**20}
kinds = {
    "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
    "small": {"resources": small, "node_config": {}, "min_workers": 0, "max_workers": 2},
    "large": {"resources": small | {"CPU": 3}, "node_config": {}, "max_workers": 2},
}
provider = {"type": "external", "module": "provider.Provider", "launch_multiple": True,
            "gcs_address": f"{get_node_ip_address()}:{port}", "head_node_id": sys.argv[3]}
config = {"cluster_name": "live", "max_workers": 4, "idle_timeout_minutes": 5, "provider": provider,
          "available_node_types": kinds, "head_node_type": "ray.head.default", "file_mounts": {},
          "cluster_synced_files": [], "rsync_exclude": [], "rsync_filter": [], "auth": {},
          "file_mounts_sync_continuously": False, "initialization_commands": []}
config |= {f"{whose}setup_commands": [] for whose in ("", "head_", "worker_")}
config |= {f"{whose}_start_ray_commands": [] for whose in ("head", "worker")}
(folder / "config.json").write_text(json.dumps(config))
cluster = Cluster(initialize_head=True, head_node_args={
    "num_cpus": 0, "num_gpus": 0, "gcs_server_port": port, "include_dashboard": False,
    "autoscaling_config": str(folder / "config.json")})
print("address", cluster.address, flush=True)
sys.stdin.read()
"""
ASKED = """
import pathlib, sys, time
from lthray.core.store import Store
from lthray.study import cluster, handshake
from lthray.study.call import resolve
from lthray.study.page import Grid
from lthray.study.terminal import Watch

cluster.ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
for _ in range(60):
    asked = cluster._status().cluster_resource_state.pending_gang_resource_requests
    if not asked:
        break
    time.sleep(.5)
print("asked for", len(asked))
page = Grid(name="list", about="Tiny.", seeds=(0,), points=lambda config: [{}])
store = Store("asked")
store.put("0" * 64, facts={})
for cpus, wait in (("3", "1.5"), ("7", "100")):
    argv = ["--address", sys.argv[1], "--cpus-per-trial", cpus, "--node-wait", wait]
    call = resolve(page, argv)
    with handshake.greeting(store, call.config) as greeting:
        try:
            cluster.Site(call, greeting, Watch(None, "list")).open(lambda: False)
        except cluster.ClusterError as error:
            print("error:", error)
"""
PAGE = f"""
import sys
from lthray.cli import study
from lthray.study.page import Grid
WORDS = {TINY!r} | {{"train.steps": 4}}
sys.exit(study(Grid(name="list", about="Tiny.", seeds=(0,), words=WORDS,
    points=lambda config: [{{"prune.criterion": name}} for name in ("magnitude", "random")]),
    sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A cluster with a head that carries nothing and no node yet: its address, what a driver must
    know, and a folder that stands before the nodes' own packages."""
    folder = Path(tempfile.mkdtemp(prefix="live-"))  # short: Ray's sockets lie below it
    (folder / "ray").mkdir()
    (folder / "provider.py").write_text(PROVIDER)
    token = folder / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    path = os.pathsep.join([str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    of_nodes = {
        "RAY_TMPDIR": str(folder),
        "PYTHONPATH": path,
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        "RAY_NODE_TYPE_NAME": "ray.head.default",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(folder), port, HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env={**os.environ, **env, **of_nodes},
        start_new_session=True,  # all of Ray's processes are in this group, and end with it
    )
    try:
        assert process.stdout is not None
        address = next(line.split()[1] for line in process.stdout if line.startswith("address"))
        yield address, env, folder
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def begin(folder: Path, live: tuple, *argv: str, out: str = "runs") -> subprocess.Popen:
    """Start a study in a folder of its own."""
    address, env, _ = live
    folder.mkdir()
    (folder / "page.py").write_text(PAGE)
    return subprocess.Popen(
        [sys.executable, "page.py", "--address", address, "--out", out, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, **env},
    )


def end(process: subprocess.Popen) -> tuple[int, str]:
    """Return the exit code and the output of a study, once it has ended."""
    text = process.communicate(timeout=200)[0]
    return process.returncode, text


def until(process: subprocess.Popen, said: str) -> str:
    """Return what a study prints up to a line that has `said`."""
    text = ""
    assert process.stdout is not None
    for line in process.stdout:
        text += line
        if said in line:
            return text
    raise AssertionError(text)


def trained(root: Path) -> list:
    """Return what a store has of training runs."""
    return [path for path in root.rglob("final") if path.is_dir()]


def test_nodes_come_and_are_used_by_a_head_that_carries_nothing(live, tmp_path):
    code, text = end(begin(tmp_path / "used", live))
    assert code == 0, text
    assert "waiting for 30 min at most (--node-wait) for the cluster to start a node" in text
    assert "a node with 1 CPUs 0 GPUs" in text
    assert "as many trials at a time as the cluster carries (now 1)" in text
    (ledger,) = Ledger.all(Store(tmp_path / "used" / "runs" / "store"))
    assert [entry.end and entry.end.status for entry in ledger] == [DONE, DONE]
    assert not list((tmp_path / "used" / "runs" / "store" / "greetings").iterdir())


def test_a_node_with_another_folder_and_another_torch_is_refused_in_one_line(live, tmp_path):
    """--out leads each process below the folder that it was started in, so the nodes have another;
    and a record of a torch that is not there stands before the nodes' own."""
    other = live[2] / "torch-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
    try:
        code, text = end(begin(tmp_path / "apart", live, out="/proc/self/cwd/apart"))
    finally:
        shutil.rmtree(other)
    assert code == 4, text
    (line,) = (line for line in text.splitlines() if line.startswith("error: "))
    assert "does not share --out with the driver: /proc/self/cwd/apart/store there is" in line
    assert "torch is 1.0 there and 2." in line
    assert line.startswith("error: node ")
    assert "Traceback" not in text
    assert trained(tmp_path) == []
    assert trained(live[2]) == []


def test_what_does_not_come_is_asked_for_as_long_as_is_said_and_by_nobody_who_has_ended(
    live, tmp_path
):
    """A request ends with its study: by Ctrl-C, where it is killed, and at its time.

    (Keep it behind those that want a small node: Ray has them wait for the large one.)
    """
    studies = {n: begin(tmp_path / n, live, "--cpus-per-trial", "3") for n in ("killed", "stopped")}
    for process in studies.values():
        said = until(process, "waiting for")
        assert (
            "30 min at most (--node-wait) for the cluster to start a node with 3 CPUs 0 GPUs"
            in said
        )
    studies["killed"].kill()
    studies["stopped"].send_signal(signal.SIGINT)
    end(studies["killed"])
    code, text = end(studies["stopped"])
    assert code == 75, text
    assert "interrupted; to go on, the same command" in text
    assert "0 of 0 trials that were begun are done" in text
    assert trained(tmp_path) == []
    done = subprocess.run(
        [sys.executable, "-c", ASKED, live[0]],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **live[1]},
        timeout=200,
    )
    assert "asked for 0" in done.stdout, done.stderr
    assert "waiting for 2 s at most" in done.stdout
    late, never = (line for line in done.stdout.splitlines() if line.startswith("error: "))
    assert late.startswith("error: no node with 3 CPUs 0 GPUs after 2 s (--node-wait): see ")
    assert never == "error: no type of node that the cluster may start has 7 CPUs 0 GPUs"
