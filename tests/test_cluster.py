"""The cluster file is one that Ray takes, and holds to what Ray does not check; its scripts run."""

import http.server
import os
import re
import subprocess
import threading
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "cluster.yaml").read_text()
CONFIG = yaml.safe_load(TEXT)
TYPES = CONFIG["available_node_types"]
WORKERS = {name: kind for name, kind in TYPES.items() if name != "head"}
SETUP = CONFIG["setup_commands"]


def test_ray_takes_it():
    validate_config(prepare_config(yaml.safe_load(TEXT)))


@pytest.mark.parametrize(
    "broken",
    [
        lambda c: c.update(max_worker=3),
        lambda c: c["available_node_types"]["spot_l4"].update(max_workerz=3),
        lambda c: c.update(head_node_type="hed"),
        lambda c: c["available_node_types"]["spot_l4"]["resources"].update(GPU=0.5),
    ],
)
def test_that_check_can_fail(broken):
    config = yaml.safe_load(TEXT)
    broken(config)
    with pytest.raises(Exception):  # noqa: B017, PT011 - Ray and jsonschema raise several kinds
        validate_config(prepare_config(config))


def test_words_of_a_node_are_aws_words():
    """Ray passes node_config on unseen: a misspelt InstanceMarketOptions would mean paying on
    demand."""
    known = {
        "InstanceType",
        "ImageId",
        "SubnetIds",
        "SecurityGroupIds",
        "IamInstanceProfile",
        "MetadataOptions",
    }
    known |= {"BlockDeviceMappings", "InstanceMarketOptions"}
    for node in TYPES.values():
        assert set(node["node_config"]) <= known


def is_spot(kind: dict) -> bool:
    return kind["node_config"].get("InstanceMarketOptions") == {"MarketType": "spot"}


def test_workers_are_gpus_within_a_cap_and_the_head_runs_no_trial():
    assert TYPES["head"]["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in TYPES["head"]["node_config"]
    for kind in WORKERS.values():
        assert kind["resources"]["GPU"] >= 1
        assert kind["min_workers"] == 0
        assert kind["max_workers"] <= CONFIG["max_workers"] <= 8
    assert CONFIG["idle_timeout_minutes"] <= 15


def test_what_cannot_be_had_is_replaced_by_another_market_and_then_by_one_on_demand():
    """The autoscaler chooses by priority among types that carry the same."""
    order = sorted(WORKERS.values(), key=lambda kind: kind["priority"], reverse=True)
    assert len({kind["priority"] for kind in order}) == len(order)
    assert [is_spot(kind) for kind in order] == [True, True, False]
    assert len({str(kind["resources"]) for kind in order}) == 1
    assert len({kind["node_config"]["InstanceType"] for kind in order if is_spot(kind)}) == 2


def test_every_type_may_start_in_three_zones():
    """SubnetIds is Ray's word: with AWS's own SubnetId, Ray would look for subnets itself."""
    for kind in TYPES.values():
        zones = kind["node_config"]["SubnetIds"]
        assert len(set(zones)) == 3
        assert all("private" in zone for zone in zones)
        assert "SubnetId" not in kind["node_config"]
    assert "NAT gateway" in TEXT


def test_nothing_is_public():
    assert CONFIG["provider"]["use_internal_ips"] is True
    for node in TYPES.values():
        config = node["node_config"]
        assert config["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        assert all(disk["Ebs"]["Encrypted"] for disk in config["BlockDeviceMappings"])
        assert "AssociatePublicIpAddress" not in str(config)
    assert "0.0.0.0" not in TEXT
    profiles = {
        name: kind["node_config"]["IamInstanceProfile"]["Name"] for name, kind in TYPES.items()
    }
    assert profiles.pop("head") not in profiles.values()


def test_every_start_asks_for_the_token_and_the_dashboard_stays_inside():
    starts = [
        c
        for c in CONFIG["head_start_ray_commands"] + CONFIG["worker_start_ray_commands"]
        if "ray start" in c
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert CONFIG["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in command for command in CONFIG["setup_commands"])


def test_nodes_are_set_up_from_the_lock_and_a_baked_image_is_left_as_it_is():
    (command,) = (c for c in SETUP if "--require-hashes" in c)
    assert command.startswith("cmp -s ~/lthray/requirements.lock ~/venv/requirements.lock || (")
    assert ".git" in CONFIG["rsync_exclude"]
    done_once = ("apt-get", "efs-utils-installer", "mount -t", "-m venv", "-e ~/lthray")
    for what in done_once:
        (command,) = (c for c in SETUP if what in c)
        assert " || " in command, what  # asked first whether it is there


def test_packages_wait_for_the_lock_of_whoever_else_installs():
    assert CONFIG["initialization_commands"] == ["cloud-init status --wait > /dev/null || true"]
    calls = re.findall(r"apt-get.*?(?: update| install)", " ".join(SETUP))
    assert len(calls) == 2
    assert all("-o DPkg::Lock::Timeout=" in call for call in calls)
    assert "DEBIAN_FRONTEND=noninteractive" in " ".join(SETUP)


def test_the_shared_folder_is_encrypted_on_its_way_and_belongs_to_who_runs_trials():
    (mount,) = (c for c in SETUP if "mount -t" in c)
    assert "mount -t efs -o tls,iam," in mount
    assert mount.startswith("mountpoint -q /shared || ")
    (owned,) = (c for c in SETUP if "install -d" in c)
    user = CONFIG["auth"]["ssh_user"]
    assert f"-o {user} -g {user} -m 700 /shared/runs /shared/data" in owned
    assert SETUP.index(mount) < SETUP.index(owned)


def test_a_worker_watches_for_its_notice():
    *_, command = CONFIG["worker_start_ray_commands"]
    assert command.endswith("~/lthray/cluster/drain.sh")
    assert "--setenv=RAY_AUTH_MODE=token" in command
    assert "drain.sh" not in str(CONFIG["head_start_ray_commands"])


class Metadata(http.server.BaseHTTPRequestHandler):
    """What an instance is told of itself: nothing without a token, a notice at the third look."""

    looks: ClassVar[list[int]] = []

    def do_PUT(self):
        asked = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        self.reply(200 if self.path == "/latest/api/token" and asked else 400, b"token")

    def do_GET(self):
        assert self.path == "/latest/meta-data/spot/instance-action"
        known = self.headers.get("X-aws-ec2-metadata-token") == "token"
        self.looks.append(401 if not known else 404 if len(self.looks) < 2 else 200)
        self.reply(self.looks[-1], b'{"action": "terminate"}')

    def reply(self, status: int, text: bytes):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_notice_drains_the_node_once(tmp_path):
    server = http.server.HTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    worker = "--python_worker_command=python --gcs-address=10.9.9.9:1"
    raylet = f"raylet/raylet --node_id=abc123 --gcs-address=10.0.0.1:6379 {worker}"
    script(tmp_path / "bin" / "pgrep", f"echo 7 /opt/{raylet}")
    ray = script(tmp_path / "bin" / "ray", f'echo "$@" >> {tmp_path}/said')
    env = {"METADATA": f"http://127.0.0.1:{server.server_port}/latest", "EVERY": "0.05"}
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    try:
        done = subprocess.run(
            ["bash", str(ROOT / "cluster" / "drain.sh")],
            env={**os.environ, **env, "RAY": str(ray), "PATH": path},
            timeout=60,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0
    assert Metadata.looks == [404, 404, 200]
    assert (tmp_path / "said").read_text() == (
        "drain-node --address 10.0.0.1:6379 --node-id abc123 --reason DRAIN_NODE_REASON_PREEMPTION"
        " --reason-message spot notice --deadline-remaining-seconds 110\n"
    )


def test_a_driver_is_started_again_but_not_with_what_would_fail_again(tmp_path):
    sudo = script(tmp_path / "sudo", f"printf '%s\\n' \"$@\" > {tmp_path}/said")
    env = {"PATH": f"{sudo.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    page = ["studies/growth.py", "--address", "auto", "--out", "/shared/a b"]
    drive = str(ROOT / "cluster" / "drive.sh")
    subprocess.run([drive, *page], env={**os.environ, **env}, check=True, timeout=60)
    said = (tmp_path / "said").read_text().splitlines()
    assert said[0] == "systemd-run"
    assert said[-6:] == [f"{tmp_path}/venv/bin/python", *page]
    assert "--property=Restart=on-failure" in said
    assert "--property=RestartPreventExitStatus=2 3 5" in said
    assert f"--working-directory={ROOT}" in said
    assert "--setenv=RAY_AUTH_MODE=token" in said
    assert "lthray/cluster/drive.sh studies/" in TEXT


def test_there_are_no_secrets_in_it():
    assert not re.search(r"AKIA[0-9A-Z]{16}|[0-9a-f]{32}|password|AmazonS3FullAccess", TEXT)


def test_what_must_be_filled_in_says_so():
    assert len(re.findall(r"REPLACE-", TEXT)) >= 8
    assert "ami-0" not in TEXT
