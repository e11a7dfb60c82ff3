"""Which network interface do workers without GPUs use? That of their node's address. [ray]"""

import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Protocol

import ray
from ray.train.torch import TorchConfig

CHOSEN = "GLOO_SOCKET_IFNAME"
SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface


def interface_of(address: str) -> str | None:
    """The name of this machine's interface with an IPv4 address; None where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                # struct ifreq: 16 bytes of name, then family (2), port (2) and address (4): bytes 20 to 24.
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


class WorkerGroup(Protocol):
    """What of Ray Train's group of workers is used here."""

    def execute(self, work: Callable[[], None]) -> object:
        """Call `work` in every worker and wait for all."""
        ...


# Ray's own backend for torch, asked of its configuration, since its class has a private name.
class _OnNodeAddress(TorchConfig().backend_cls):  # type: ignore[misc]  # a base class known at run time only
    def on_start(self, worker_group: WorkerGroup, backend_config: TorchConfig) -> None:
        worker_group.execute(choose_interface)
        super().on_start(worker_group, backend_config)


class GroupConfig(TorchConfig):
    """Ray Train's setting up of a group of workers, with the interface chosen before."""

    @property
    def backend_cls(self) -> type:
        """The class that Ray makes in the driver and calls before a group begins."""
        return _OnNodeAddress
