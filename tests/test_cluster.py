"""The cluster file is one that Ray takes, and holds to what Ray does not check."""

import re
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "cluster.yaml").read_text()
CONFIG = yaml.safe_load(TEXT)
TYPES = CONFIG["available_node_types"]


def test_ray_takes_it():
    validate_config(prepare_config(yaml.safe_load(TEXT)))


@pytest.mark.parametrize(
    "broken",
    [
        lambda c: c.update(max_worker=3),
        lambda c: c["available_node_types"]["gpu_worker"].update(max_workerz=3),
        lambda c: c.update(head_node_type="hed"),
        lambda c: c["available_node_types"]["gpu_worker"]["resources"].update(GPU=0.5),
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
        "SubnetId",
        "SecurityGroupIds",
        "IamInstanceProfile",
        "MetadataOptions",
    }
    known |= {"BlockDeviceMappings", "InstanceMarketOptions"}
    for node in TYPES.values():
        assert set(node["node_config"]) <= known


def test_workers_are_spot_gpus_within_a_cap_and_the_head_runs_no_trial():
    worker, head = TYPES["gpu_worker"], TYPES["head"]
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert worker["resources"]["GPU"] >= 1
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert worker["max_workers"] <= CONFIG["max_workers"] <= 8
    assert CONFIG["idle_timeout_minutes"] <= 15


def test_nothing_is_public():
    assert CONFIG["provider"]["use_internal_ips"] is True
    for node in TYPES.values():
        config = node["node_config"]
        assert config["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        assert all(disk["Ebs"]["Encrypted"] for disk in config["BlockDeviceMappings"])
        assert "private" in config["SubnetId"]
        assert "AssociatePublicIpAddress" not in str(config)
    assert "0.0.0.0" not in TEXT
    assert (
        TYPES["head"]["node_config"]["IamInstanceProfile"]
        != TYPES["gpu_worker"]["node_config"]["IamInstanceProfile"]
    )


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


def test_nodes_are_set_up_from_the_lock():
    (command,) = (c for c in CONFIG["setup_commands"] if "requirements.lock" in c)
    assert "--require-hashes" in command
    assert ".git" in CONFIG["rsync_exclude"]


def test_there_are_no_secrets_in_it():
    assert not re.search(r"AKIA[0-9A-Z]{16}|[0-9a-f]{32}|password|AmazonS3FullAccess", TEXT)


def test_what_must_be_filled_in_says_so():
    assert len(re.findall(r"REPLACE-", TEXT)) >= 8
    assert "ami-0" not in TEXT
