"""Which Ray cluster is used: the one that is joined or started, and what its autoscaler could make of it. [ray]"""

import logging
import os
import re
import signal
import time

import ray

from datasets_io.interrupts import INTERRUPTS
from datasets_io.local_ray import (
    OTHER_ADDRESS,
    ensure_home,
    ensure_token,
    granted_to_ray,
    named_cluster,
    obstacle,
    overlooked,
    unanswered,
)
from datasets_io.ray_private import autoscaler_limits
from sweep.cli.exit_codes import ClusterLost
from sweep.engine.schedule import ClusterResources

ATTEMPTS_TO_START, TIMED_OUT = 3, "timed out during startup"  # the text of Ray's exception, which has no class
DASHBOARD = re.compile(r"lines of (\S+) \(it contains the error message from the dashboard\)")  # of another one
NODES, NODES_SECONDS = "RADSWEEP_NODES", 120.0  # of the environment: how many nodes the joined cluster will have
UNLIMITED = 1e9  # where nothing limits a resource Ray names sys.maxsize, and no cluster has a billion of anything


def resources_now() -> ClusterResources:
    """What the nodes have that are there, in use or not."""
    total = ray.cluster_resources()
    return ClusterResources(total.get("GPU", 0.0), total.get("CPU", 0.0))


def resources_at_most() -> ClusterResources:
    """What the cluster has, or what its autoscaler may make of it: an empty one has its GPUs yet to come.

    Work is offered for all of it: only what waits for a machine makes the autoscaler start one.
    """
    now = resources_now()
    limit = {name: value for name, value in autoscaler_limits().items() if value < UNLIMITED}
    return ClusterResources(max(now.gpus, limit.get("GPU", 0.0)), max(now.cpus, limit.get("CPU", 0.0), 1.0))


def start_ray(log_to_driver: bool = False) -> None:
    """Join the cluster that RAY_ADDRESS names, or start a local one that nothing else joins.

    Raises ClusterLost where Ray does not answer or start in time, KeyboardInterrupt where the user asked to stop.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    # A task that asks for no GPU, as one that starts pretraining, sees CUDA_VISIBLE_DEVICES as it was: not emptied.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    INTERRUPTS.raise_if_received()  # starting takes a while
    ensure_home()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _init_with_retries(log_to_driver)
    except SystemExit as error:  # by Ray's handler of SIGTERM, which would end the driver without a message
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
        signal.alarm(0)  # Ray's handler in C++, where it was called, would abort the process 3 s later
    INTERRUPTS.raise_if_received()


def _init_with_retries(log_to_driver: bool) -> None:
    """On a machine that is busy with much else, Ray's own parts may not find each other in the time that it allows."""
    for attempt in range(1, ATTEMPTS_TO_START + 1):
        try:
            return _init(log_to_driver)
        except Exception as error:  # Ray has no narrower one for this
            if (why := _not_in_time(error)) is None:
                raise
            ray.shutdown()
            if attempt == ATTEMPTS_TO_START:
                text = f"Ray did not start in {attempt} attempts; is this machine very busy? ({why})"
                raise ClusterLost(text) from error


def _not_in_time(error: Exception) -> str | None:
    """What of Ray did not start in time, by its exception's text; None for any other error."""
    if TIMED_OUT in str(error):
        return str(error)
    # Of the dashboard, for which it waits by the clock on the wall, Ray says nothing but the end of its log.
    found = DASHBOARD.search(str(error))
    return found and f"its dashboard did not answer; see {found[1]}"


def _init(log_to_driver: bool) -> None:
    address = named_cluster()
    if address:
        if (why_not := unanswered(address)) is not None:
            raise ClusterLost(why_not)
        try:
            ray.init(address=address, log_to_driver=log_to_driver, logging_level=logging.ERROR)
        except ConnectionError as error:
            raise ClusterLost(f"RAY_ADDRESS is {address}, and Ray finds none ({error}): {OTHER_ADDRESS}") from error
        _wait_for_nodes(os.environ.get(NODES) or "1")
        return
    if (others := overlooked()) is not None and others.refuse:
        raise ClusterLost(others.sentence)
    if (why_not := obstacle()) is not None:
        raise ClusterLost(f"Ray cannot start: {why_not}")
    ensure_token()
    # A worker that is just starting waits six times so long for a head that died with its driver; Ray's own is 5 s.
    os.environ.setdefault("RAY_gcs_rpc_server_connect_timeout_s", "4")
    # Else each group of workers has a process that waits for the cloud to announce that a node goes; here none does.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    # The dashboard also answers Ray Train's questions about its own actors; it listens on loopback only.
    ray.init(
        address="local",
        log_to_driver=log_to_driver,
        logging_level=logging.ERROR,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        **granted_to_ray(),
    )


def _wait_for_nodes(wanted: str) -> None:
    """Until the nodes of a job that start together are there: how work is cut is decided once, by what the first have.

    After NODES_SECONDS with those that are there: one that is late still takes work. Raises ClusterLost for what is no
    number.
    """
    if not wanted.isascii() or not wanted.isdecimal():
        text = f"{NODES} is {wanted!r}: it says for how many nodes of the cluster to wait, a whole number; or unset it"
        raise ClusterLost(text)
    deadline = time.monotonic() + NODES_SECONDS
    while time.monotonic() < deadline and sum(node["Alive"] for node in ray.nodes()) < int(wanted):
        INTERRUPTS.raise_if_received()
        time.sleep(0.5)


def stop_ray() -> None:
    """Leave the cluster; a local one ends with all its processes."""
    ray.shutdown()
