"""What of Ray is used that Ray does not promise to keep? All is here; a test says what breaks when it moves. [ray]"""

from collections.abc import Callable, Mapping
from typing import Any

# Each function imports what it needs by itself: what Ray has moved then costs one use of it, and not every command.

PROCESS_TITLE = "ray::"  # begins the title of each of Ray's processes; a class or a task's name follows


def autoscaler_limits() -> Mapping[str, float]:
    """Resource -> the most of it that the autoscaler of the joined cluster may make; empty where there is none.

    A resource without a limit has a very large number.
    """
    from ray._private.state import state

    return state.get_max_resources_from_cluster_config() or {}


def launcher_config(config: dict[str, Any]) -> dict[str, Any]:
    """A cluster file's content as `ray up` completes it, which is the one public way to ask Ray, and starts machines.

    Raises what Ray's validators and providers raise for one that it does not take; that is no class of their own.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(config)
    validate_config(prepared)
    return prepared


def aws_launcher() -> tuple[Callable[..., dict[str, Any]], type]:
    """What `ray up` does with a cluster file in AWS before it starts machines, and who starts and ends these.

    (content of the file, no_config_cache=True) -> the file completed; the class of Ray's provider of nodes.
    """
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.commands import _bootstrap_config

    return _bootstrap_config, AWSNodeProvider


def kubernetes_account() -> tuple[str, str]:
    """Where the autoscaler's pod must have its account's token and the certificate of Kubernetes."""
    from ray.autoscaler._private.kuberay.node_provider import IN_CLUSTER_CA_CERT_PATH, IN_CLUSTER_TOKEN_PATH

    return IN_CLUSTER_TOKEN_PATH, IN_CLUSTER_CA_CERT_PATH


def note_address(address: str) -> str:
    """Write down a cluster's address as `ray start` does; what a driver on this machine then reads."""
    from ray._private.utils import read_ray_address, write_ray_address

    write_ray_address(address)
    return str(read_ray_address())


def check_socket_path(path: str) -> None:
    """Raise OSError for a path that is too long for a socket, as Ray does when it starts."""
    from ray._private.utils import validate_socket_filepath

    validate_socket_filepath(path)


def trial_title() -> str:
    """How the title begins of a process in which Ray Tune runs trials."""
    from ray.tune.trainable import wrap_function

    return (
        f"{PROCESS_TITLE}{wrap_function(lambda config: None).__name__}"  # a class of each function; all have one name
    )


def keep_keys_out_of_trials() -> None:
    """Have Ray Tune copy no key of AWS from the environment into what it asks of a trial's process, which Ray logs.

    For the process that makes a Tuner. A trial has its own node's keys, as every other process of a cluster.
    """
    from ray.tune.execution import class_cache

    kept = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")}
    class_cache.ENV_VARS_TO_PROPAGATE = kept


def train_titles() -> tuple[str, ...]:
    """How the titles begin of the processes of Ray Train: its workers, and the controller of each group of them."""
    from ray.train.v2._internal.execution.controller.controller import TrainController
    from ray.train.v2._internal.execution.worker_group.worker import RayTrainWorker

    return tuple(f"{PROCESS_TITLE}{actor.__name__}" for actor in (RayTrainWorker, TrainController))


def agent_titles() -> tuple[str, ...]:
    """How the titles begin of the two processes that Ray keeps on each node beside its workers."""
    from ray._private import ray_constants

    return ray_constants.AGENT_PROCESS_TYPE_DASHBOARD_AGENT, ray_constants.AGENT_PROCESS_TYPE_RUNTIME_ENV_AGENT


def token_that_ray_reads() -> str | None:
    """The token that Ray would guard a cluster with if it were started now; None where it finds none."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled; the stub lacks it

    loader = AuthenticationTokenLoader.instance()
    loader.reset_cache()  # one for each process: it keeps what it has read, in another home folder too
    try:
        if not loader.has_token(ignore_auth_mode=True):
            return None
        token: str = loader.get_raw_token(ignore_auth_mode=True)
        return token
    finally:
        loader.reset_cache()
