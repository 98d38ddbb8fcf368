"""The Ray that a study runs on: joined or started, waited for, and every node greeted.

Only this file imports Ray, for Ray reads its environment when it is imported.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any

from lthray.study import handshake, resources

resources.before_ray()

import ray as ray
import torch
from ray import tune as tune
from ray._private import ray_constants
from ray._private.state import state
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lthray.study.call import Call
from lthray.study.handshake import Greeting
from lthray.study.resources import ClusterError, Member, Nodes, trials_on
from lthray.study.terminal import Watch, duration

VITAL = {"raylet", "gcs_server"}  # processes without which Ray does nothing
UNBOUNDED = 1000  # nodes of a type whose number nobody has told
REPORT = 10.0  # seconds for an autoscaler to say that it is there
ANSWER = 180.0  # seconds for a node to answer the greeting, with the imports that it takes
LOOK = 1.0  # seconds between two looks at the nodes
MANUAL = "node_"  # begin of the type of a node that no autoscaler has started


@contextlib.contextmanager
def cluster(call: Call) -> Iterator[str]:
    """Open Ray for the time of a study: the cluster at --address, or a private one.

    Yields a folder for Tune's own files. Raises ClusterError where it cannot be reached.
    """
    address = call.options.address
    shared = str(Path(call.options.out).absolute())  # every node of a cluster can write there
    with resources.private_folder(shared if address else resources.BASE) as scratch:
        try:
            _join(address, scratch)
            yield str(Path(scratch) / "tune")
        finally:
            ray.shutdown()


def _join(address: str, scratch: str) -> None:
    """Join the cluster at `address`, or start a private one below `scratch` where there is none."""
    private: dict[str, Any] = {}
    if not address:
        resources.private_token(scratch)
        # Ray opens its folder to every account of the machine, so it lies in one that is not open
        folder = str(Path(scratch) / "ray")
        private = {"_temp_dir": folder, "include_dashboard": False, "num_cpus": resources.cpus()}
    try:
        resources.knock(address)
        with _unreachable(alone=not address):
            ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **private)
    except Exception as error:  # of no class of their own where a node does not start in time
        raise resources.refused(address, error) from None


@contextlib.contextmanager
def _unreachable(*, alone: bool) -> Iterator[None]:
    """Let a Ray that starts within this listen on loopback only, where the machine is `alone`.

    By itself Ray listens on every interface, and takes an address of loopback for the machine's
    own. Its switch for systems without clusters is the one that is heeded everywhere.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not alone
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def lost() -> str:
    """Return in words what a private Ray has lost; empty while all of it is there."""
    node = ray._private.worker._global_node  # Ray has no public way to ask
    dead = [kind for kind, _ in node.dead_processes()] if node else []
    return f"Ray has lost its {' and '.join(dead)}" if VITAL & set(dead) else ""


# what there is


def members() -> list[Member]:
    """Return the nodes that are there."""
    found = []
    for node in ray.nodes():
        if node["Alive"]:
            found.append(Member(node["NodeID"], node["NodeManagerAddress"], node["Resources"]))
    return found


def alive() -> Nodes:
    """Return the resources of the nodes that are there, each once."""
    return [(member.resources, 1) for member in members()]


def declared() -> Nodes:
    """Return the node types that the cluster's autoscaler says it may start, with their limits."""
    config = state.get_cluster_config()
    startable: list[tuple[Any, int]] = []
    for group in config.node_group_configs if config else []:
        if group.max_count:
            count = group.max_count if group.max_count > 0 else UNBOUNDED
            startable.append((dict(group.resources), count))
    return startable


def gpus(call: Call) -> float:
    """Return the GPUs of a trial: as the user says, or a quarter where there is one."""
    if call.options.gpus_per_trial is not None:
        return call.options.gpus_per_trial
    if call.options.address:
        there = any(node.get("GPU") for node, _ in [*alive(), *declared()])
    else:
        there = torch.cuda.device_count() > 0
    return resources.SHARE if there else 0.0


def is_scaled() -> bool:
    """Return whether an autoscaler starts nodes of this cluster when they are wanted.

    Few say which nodes they may start (see `declared`), so it is told by the types of the nodes:
    those that were started by hand have none, or one that Ray has made of their ids.
    """
    until = time.monotonic() + REPORT
    kinds = _kinds()
    while not kinds and time.monotonic() < until:
        time.sleep(LOOK / 2)
        kinds = _kinds()
    return not all(kind.startswith(MANUAL) for kind in kinds)


def _kinds() -> list[str]:
    """Return the types of the nodes that are there, as far as they have one."""
    nodes = _status().cluster_resource_state.node_states
    named = [node.ray_node_type_name for node in nodes]
    reported = dict(_report().get("node_type_mapping") or {}).values()
    return list(filter(None, [*named, *reported]))


def _status() -> Any:
    """Return what Ray knows of its nodes and what its autoscaler (version 2) says of them."""
    reply = GetClusterStatusReply()
    reply.ParseFromString(ray._private.worker.global_worker.gcs_client.get_cluster_status())
    return reply


def _report() -> Mapping[str, Any]:
    """Return what an autoscaler of version 1 says of its nodes; nothing where there is none."""
    key = ray_constants.DEBUG_AUTOSCALING_STATUS.encode()
    text = ray._private.worker.global_worker.gcs_client.internal_kv_get(key, None)
    return json.loads(text)["autoscaler_report"] if text else {}


# the nodes of a study


@ray.remote(num_cpus=0, max_retries=0)
def _greet(greeting: Greeting) -> tuple[str, str]:
    """Answer a greeting, on the node that it was sent to."""
    return handshake.answer(greeting)


class Site:
    """The nodes that a study runs on, as they come and go."""

    def __init__(self, call: Call, greeting: Greeting, watch: Watch):
        self.call, self.greeting, self.watch = call, greeting, watch
        self.slots, self.share = 0, gpus(call)
        self.refusal = ""
        """Which node was refused, and why; empty while none was."""
        self.known: dict[str, Member] = {}
        self.asked: dict[Any, tuple[Member, float]] = {}
        self.due = 0.0
        """Time of the next look at the nodes."""

    @property
    def bundle(self) -> dict[str, float]:
        """Resources of one trial."""
        wanted = {"CPU": float(self.call.options.cpus_per_trial), "GPU": self.share}
        return {name: amount for name, amount in wanted.items() if amount}

    def open(self, stopped: Callable[[], bool]) -> None:
        """Wait until there is a node for a trial and all nodes have answered, or for `stopped`.

        Sets how many trials run at a time. Raises ClusterError where none will ever run.
        """
        options = self.call.options
        startable = declared()
        if options.address and not startable and is_scaled():
            startable = [({"CPU": options.cpus_per_trial, "GPU": ceil(self.share)}, UNBOUNDED)]
        self.slots = resources.slots(options, self.share, alive(), startable)
        if options.address:
            self._wait_for_one(stopped)
            self.share = gpus(self.call)
            self._wait_for_answers(stopped)
        self.watch.slots = min(self.slots, max(1, self.room))

    @property
    def room(self) -> int:
        """Number of trials that the nodes that are there can carry."""
        return sum(map(self._carried, members()))

    @property
    def counted(self) -> str:
        """How many trials run at a time, in words."""
        if self.slots == UNBOUNDED:
            return f"as many trials at a time as the cluster carries (now {self.room})"
        return f"{self.slots} trials at a time"

    def _carried(self, node: Member) -> int:
        return trials_on(node.resources, self.call.options.cpus_per_trial, self.share)

    def _wait_for_one(self, stopped: Callable[[], bool]) -> None:
        """Ask the autoscaler for a node for one trial, and wait for it.

        The request is a placement group: Ray withdraws it with this process, however that ends.
        The trials themselves are the request for more nodes.
        """
        if self.room:
            return
        began, patience = time.monotonic(), self.call.options.node_wait
        wanted = resources.shown(self.bundle["CPU"], self.share)
        within = f"for {duration(patience)} at most (--node-wait)"
        words = "(--cpus-per-trial, --gpus-per-trial)"
        self.watch.say(f"waiting {within} for the cluster to start a node with {wanted} {words}")
        request = placement_group([self.bundle])
        try:
            while not (request.wait(LOOK) or stopped()):
                if _never(request):
                    raise ClusterError(f"no type of node that the cluster may start has {wanted}")
                if time.monotonic() - began > patience:
                    after = f"after {duration(patience)} (--node-wait)"
                    raise ClusterError(f"no node with {wanted} {after}: see `ray status` there")
        finally:
            remove_placement_group(request)

    def _wait_for_answers(self, stopped: Callable[[], bool]) -> None:
        """Greet the nodes that are there and hear them; ClusterError where one is unfit."""
        self.look()
        while self.asked and not stopped():
            ray.wait([*self.asked], timeout=LOOK)
            self.due = 0.0
            self.look()
        self.check()

    def check(self) -> None:
        """Raise ClusterError where a node was refused."""
        if self.refusal:
            raise ClusterError(self.refusal)

    def look(self) -> None:
        """Greet nodes that have come, tell which have gone, and hear those that have answered.

        Does nothing where it has looked just now, nor on one's own machine.
        """
        now = time.monotonic()
        if not self.call.options.address or now < self.due:
            return
        self.due = now + LOOK
        there = {node.name: node for node in members() if self._carried(node)}
        for name in self.known.keys() - there.keys():
            gone = self.known[name]
            self.watch.say(f"node {gone} is gone; its trials go on elsewhere from what is stored")
        for name in there.keys() - self.known.keys():
            on_it = NodeAffinitySchedulingStrategy(name, soft=False)
            asked = _greet.options(scheduling_strategy=on_it).remote(self.greeting)
            self.asked[asked] = there[name], now + ANSWER
        self.known = there
        self.watch.slots = min(self.slots, max(self.watch.slots, self.room))
        for asked, (node, until) in list(self.asked.items()):
            self._hear(asked, node, late=now > until)

    def _hear(self, asked: Any, node: Member, *, late: bool) -> None:
        """Take the answer of a node if it is there, or that it is late."""
        done, _ = ray.wait([asked], timeout=0)
        if not done and not late:
            return
        del self.asked[asked]
        fault = _fault(asked, self.greeting)
        if fault and node.name in self.known:
            self.refusal = f"node {node} {fault}"


def _fault(asked: Any, greeting: Greeting) -> str:
    """Return what keeps trials off a node that has answered; empty if nothing."""
    try:
        nonce, fault = ray.get(asked, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return f"does not answer within {duration(ANSWER)}: does --out hang there?"
    except ray.exceptions.RayError as error:
        return f"cannot run lthray: {str(error).strip().splitlines()[-1][:200]}"
    return fault or handshake.heard(greeting, nonce)


def _never(request: Any) -> bool:
    """Return whether the autoscaler (version 2) says that it has no node for a placement group."""
    refused = _status().autoscaling_state.infeasible_gang_resource_requests
    return any(each.details.startswith(request.id.hex()) for each in refused)
