"""Which network interface do workers without GPUs talk over? That of their node's address in the cluster. [ray]"""

import fcntl
import os
import socket
import struct
import sys
from typing import Any

import ray
from ray.train.torch import TorchConfig

CHOSEN = "GLOO_SOCKET_IFNAME"
SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface


def interface_of(address: str) -> str | None:
    """The name of this machine's interface with an IPv4 address; None where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asked.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None


def choose_interface() -> None:
    """For this process, unless the user has chosen one.

    By itself gloo takes the interface that the host's own name leads to. That is loopback on many systems, and then
    workers of several hosts wait for each other until they time out.
    """
    if sys.platform == "linux" and CHOSEN not in os.environ:
        name = interface_of(ray.util.get_node_ip_address())
        if name is not None:
            os.environ[CHOSEN] = name


class _OnNodeAddress(TorchConfig().backend_cls):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(choose_interface)
        super().on_start(worker_group, backend_config)


class GroupConfig(TorchConfig):
    """Ray Train's setting up of a group of workers, with the interface chosen before."""

    @property
    def backend_cls(self) -> type:
        return _OnNodeAddress
